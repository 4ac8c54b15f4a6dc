//! The pages: plain HTML that works without scripts, in light and dark, on a phone, and asks for nothing from anywhere.
//!
//! Every fact is the registry's, RFC 6335's, or how to look oneself. Words from the registry go through [`escape`].

use std::{fmt::Write as _, sync::LazyLock};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use triquest_ports::registry::{Assignment, Entry, Found, Known, LicenseManager, PortReport, Protocol, Range, Registry};
use triquest_wire::limits::PORT;

const STYLE: &str = include_str!("style.css");

/// The style as a content security policy names it (CSP level 3, section 6.7.3.3).
pub(super) fn style_hash() -> &'static str {
    static HASH: LazyLock<String> = LazyLock::new(|| format!("sha256-{}", STANDARD.encode(triquest_license::sha256(STYLE.as_bytes()))));
    &HASH
}

/// Text between tags or in a quoted attribute.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// A path segment (RFC 3986, section 3.3), with everything but unreserved characters escaped.
fn segment(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}

/// The whole document around `main`.
fn document(title: &str, words: &str, main: &str, registry: &Registry) -> String {
    format!(
        r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>{STYLE}</style>
</head>
<body>
<header><a href="/ports">Port reference</a><form action="/ports" method="get" role="search"><label><span class="tiny">Number or name</span> <input name="q" value="{words}" maxlength="200" autocomplete="off"></label><button>Look up</button></form></header>
<main>
{main}</main>
<footer><p>Registered names: {source}. Ranges and procedures: RFC 6335. This page is made by the license server that you asked; it asks nothing from anywhere, probes nothing, and does not show what runs on this server's machine.</p></footer>
</body>
</html>
"#,
        title = escape(title),
        words = escape(words),
        source = escape(&registry.source().to_string()),
    )
}

/// `ssh, http and https`.
fn list(words: &[String]) -> String {
    match words {
        [] => String::new(),
        [one] => one.clone(),
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
    }
}

fn protocol_names(protocols: impl IntoIterator<Item = Protocol>) -> String {
    list(&protocols.into_iter().map(|protocol| protocol.name().to_uppercase()).collect::<Vec<_>>())
}

/// Names that the port is registered under, each once.
fn names(report: &PortReport<'_>) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for name in report.entries.iter().filter_map(|entry| entry.name) {
        if !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }
    names
}

fn assigned(report: &PortReport<'_>) -> Vec<Protocol> {
    report.protocols.iter().filter(|protocol| protocol.assignment == Assignment::Assigned).map(|protocol| protocol.protocol).collect()
}

/// The page of one port.
pub(super) fn port(registry: &Registry, port: u16, thanks: bool) -> String {
    let report = registry.report(port);
    let names = names(&report);
    let assigned = assigned(&report);
    let mut main = String::new();
    let title = if names.is_empty() { summary_word(&report).to_owned() } else { names.join(", ") };
    let _ = write!(main, "<h1>Port {port} <small>{}</small></h1>\n{}", escape(&title), lead(&report, &names, &assigned));
    unauthorized(&mut main, &report);
    registered(&mut main, &report);
    license_managers(&mut main, &report);
    range(&mut main, &report);
    how_to_look(&mut main, port);
    security(&mut main, &report, &names);
    dead_names(&mut main, &report);
    questions(&mut main, &report, &names, &assigned);
    helpful(&mut main, port, thanks);
    neighbors(&mut main, port);
    document(&format!("Port {port}: {title}"), "", &main, registry)
}

/// What a port without a name is.
fn summary_word(report: &PortReport<'_>) -> &'static str {
    let said = |wanted| report.protocols.iter().any(|protocol| protocol.assignment == wanted);
    if said(Assignment::Assigned) {
        "for private use"
    } else if said(Assignment::Reserved) {
        "reserved"
    } else if said(Assignment::Withdrawn) {
        "withdrawn"
    } else if said(Assignment::Unassigned) {
        "unassigned"
    } else if said(Assignment::Dynamic) {
        "dynamic, never assigned"
    } else {
        "not listed"
    }
}

fn lead(report: &PortReport<'_>, names: &[String], assigned: &[Protocol]) -> String {
    let port = report.port;
    let registered = if names.is_empty() {
        format!("IANA has no service registered on port {port}: it is {}.", summary_word(report))
    } else {
        let escaped: Vec<String> = names.iter().map(|name| format!("<strong>{}</strong>", escape(name))).collect();
        let named = report.entries.iter().any(|entry| entry.name.is_some() && entry.protocols.named().next().is_some());
        let over = if named { format!(" over {}", protocol_names(assigned.iter().copied())) } else { String::new() };
        let unsaid = if named { "" } else { ", and names no protocol" };
        format!("IANA has registered port {port}{over} for {}{unsaid}.", list(&escaped))
    };
    let ours = if port == PORT {
        " TriQuest LM serves licenses on it: this page comes from such a server, and <code>triquest-lm port 1588</code> proves whether what listens on a machine is one."
    } else {
        ""
    };
    format!("<p class=\"lead\">{registered}{ours} A registration does not say what runs: look at the machine itself.</p>\n")
}

fn unauthorized(main: &mut String, report: &PortReport<'_>) {
    for entry in &report.entries {
        if let Some(note) = entry.unauthorized {
            let _ = writeln!(
                main,
                "<p class=\"note\"><strong>Unauthorized use is known:</strong> {}. <span class=\"source\">IANA's note at {}</span></p>",
                escape(note.trim_end_matches('.')),
                escape(entry.name.unwrap_or("this port"))
            );
        }
    }
}

fn registered(main: &mut String, report: &PortReport<'_>) {
    let _ = writeln!(main, "<h2>What it is registered for</h2>");
    if report.entries.is_empty() {
        let _ = writeln!(main, "<p>The registry has no row for this port.</p>");
    }
    for entry in &report.entries {
        row(main, entry, report.entries.len() > 1 || entry.ports.is_some_and(|ports| ports.first != ports.last));
    }
    let unlike: Vec<String> = report
        .protocols
        .iter()
        .filter(|protocol| protocol.assignment != Assignment::Assigned)
        .map(|protocol| format!("{} {}", protocol.protocol.name().to_uppercase(), protocol.assignment.words()))
        .collect();
    if !unlike.is_empty() && unlike.len() < report.protocols.len() {
        let _ = writeln!(main, "<p class=\"tiny\">Other protocols: {}.</p>", escape(&unlike.join(", ")));
    }
}

/// One row of the registry.
fn row(main: &mut String, entry: &Entry<'_>, with_ports: bool) {
    let name = entry.name.unwrap_or(entry.description);
    let _ = write!(main, "<div class=\"row\"><p><strong>{}</strong>", escape(name));
    let protocols = protocol_names(entry.protocols.named());
    if !protocols.is_empty() {
        let _ = write!(main, " over {protocols}");
    }
    if with_ports && let Some(ports) = entry.ports {
        let _ = write!(main, ", port {ports}");
    }
    main.push_str("</p>");
    if entry.name.is_some() && !entry.description.is_empty() {
        let _ = write!(main, "<p>{}</p>", escape(entry.description));
    }
    let mut facts: Vec<(&str, String)> = Vec::new();
    let mut fact = |name, value: String| {
        if !value.is_empty() {
            facts.push((name, value));
        }
    };
    fact("Registrant", escape(&entry.registrants.join(", ")));
    fact("Registered", entry.registered.map(|date| date.to_string()).unwrap_or_default());
    fact("Changed", entry.modified.map(|date| date.to_string()).unwrap_or_default());
    fact("References", entry.references.iter().map(|reference| linked(reference)).collect::<Vec<_>>().join(", "));
    fact("Service code", entry.service_code.map(|code| code.to_string()).unwrap_or_default());
    fact("Notes", escape(entry.notes.unwrap_or_default()));
    if !facts.is_empty() {
        main.push_str("<dl>");
        for (name, value) in facts {
            let _ = write!(main, "<dt>{name}</dt><dd>{value}</dd>");
        }
        main.push_str("</dl>");
    }
    main.push_str("</div>\n");
}

/// An RFC as a link that nobody follows by itself; anything else as text.
fn linked(reference: &str) -> String {
    match reference.strip_prefix("RFC ").filter(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())) {
        Some(number) => format!("<a rel=\"noreferrer\" href=\"https://www.rfc-editor.org/rfc/rfc{number}\">RFC {number}</a>"),
        None => escape(reference),
    }
}

fn license_managers(main: &mut String, report: &PortReport<'_>) {
    let mut known: Vec<(&LicenseManager, Vec<Protocol>)> = Vec::new();
    for protocol in &report.protocols {
        let Some(manager) = &protocol.license_manager else { continue };
        match known.iter_mut().find(|(other, _)| *other == manager) {
            Some((_, protocols)) => protocols.push(protocol.protocol),
            None => known.push((manager, vec![protocol.protocol])),
        }
    }
    // Of our own port it was said at the top.
    if known.is_empty() || report.port == PORT {
        return;
    }
    let _ = writeln!(main, "<h2>A license manager's port</h2>");
    for (manager, protocols) in known {
        let how = match manager.known {
            Known::Both => "is registered for it and uses it",
            Known::Practice => "uses it in practice, although the registry says otherwise",
            Known::Registered => "is registered for it",
        };
        let role = manager.role.map(|role| format!(": {}", escape(role))).unwrap_or_default();
        let _ = writeln!(
            main,
            "<p><strong>{}</strong> {how} over {}{role}. <span class=\"source\">{}</span></p>",
            escape(&manager.product),
            protocol_names(protocols),
            escape(&manager.sources.join("; ")),
        );
    }
}

fn range(main: &mut String, report: &PortReport<'_>) {
    let range = report.range;
    let (first, last) = range.bounds();
    // Where the port lies among all, each range drawn equally wide: the lowest would be too small to see.
    let within = f64::from(report.port - first) / f64::from(last - first);
    let part = match range {
        Range::System => 0.0,
        Range::User => 1.0,
        Range::Dynamic => 2.0,
    };
    let place = (part + within) * 100.0;
    let _ = writeln!(
        main,
        r#"<h2>The range it lies in</h2>
<p><strong>{}</strong> (also called {}), {first} to {last}. {}</p>
<div class="scale"><svg viewBox="0 0 300 10" preserveAspectRatio="none" role="img" aria-label="System Ports, User Ports, Dynamic Ports; this port is marked"><rect x="0" width="99" height="10" fill="currentColor" opacity=".12"/><rect x="100" width="99" height="10" fill="currentColor" opacity=".2"/><rect x="200" width="100" height="10" fill="currentColor" opacity=".12"/><rect x="{:.1}" width="3" height="10" fill="currentColor"/></svg></div>
<p class="tiny">0 to 1023 System, 1024 to 49151 User, 49152 to 65535 Dynamic; not to scale.</p>
<p>How IANA assigns a port here: {}. <span class="source">{}</span></p>"#,
        range.name(),
        escape(range.other_names()),
        escape(range.meaning()),
        (place - 1.5).clamp(0.0, 297.0),
        escape(range.procedure()),
        range.source(),
    );
}

fn how_to_look(main: &mut String, port: u16) {
    let _ = writeln!(
        main,
        r#"<h2>What listens on it, on your machine</h2>
<p>Only the machine itself can tell. With TriQuest LM installed, <code>triquest-lm port {port}</code> names socket, process, user and service, and says so where the system hides an owner. By hand:</p>
<h3>Linux</h3>
<pre><code>sudo ss -tulpn 'sport = :{port}'</code></pre>
<p class="tiny">Without <code>sudo</code> the line of another user's program is there but its process is not named; <code>lsof</code> and <code>fuser</code> then show nothing at all, as if the port were free.</p>
<h3>macOS</h3>
<pre><code>sudo lsof -nP -iTCP:{port} -sTCP:LISTEN
sudo lsof -nP -iUDP:{port}</code></pre>
<h3>Windows</h3>
<pre><code>Get-NetTCPConnection -LocalPort {port} -State Listen | Select-Object LocalAddress, OwningProcess
Get-NetUDPEndpoint -LocalPort {port} | Select-Object LocalAddress, OwningProcess
Get-Process -Id PROCESS_ID</code></pre>
<p class="tiny">In PowerShell. In the old command prompt: <code>netstat -ano | findstr :{port}</code>, then <code>tasklist /fi "PID eq PROCESS_ID"</code>.</p>"#
    );
}

fn security(main: &mut String, report: &PortReport<'_>, names: &[String]) {
    let port = report.port;
    let _ = writeln!(main, "<h2>Security</h2>\n<ul>");
    let mut item = |text: String| {
        let _ = writeln!(main, "<li>{text}</li>");
    };
    item("Traffic on a port is neither good because a name is registered nor bad because none is. Any program may listen on any port that its user may open.".to_owned());
    match report.range {
        Range::System => item("On Unix systems a program usually needs a privilege to listen below 1024, so what listens here was started by an administrator, or by somebody with an administrator's rights.".to_owned()),
        Range::User => item("Any user of the machine may listen here. If something does and nobody knows why, find its process first.".to_owned()),
        Range::Dynamic => item("Systems take source ports of outgoing connections from this range or near it, so a number here is often seen for a short time and means nothing by itself.".to_owned()),
    }
    item(format!(
        "Listening on <code>127.0.0.1</code> or <code>::1</code> is for this machine only; <code>0.0.0.0</code> and <code>::</code> are for every network that reaches it. What only one network needs, a firewall should open for that network only: <code>sudo ufw allow proto tcp from 10.1.0.0/16 to any port {port}</code>, with your own network."
    ));
    if port == PORT {
        item("A TriQuest LM server proves itself by its key, over TLS 1.3. A program that only looks like one cannot: <code>triquest-lm port 1588 --host NAME</code> tells them apart, and a client accepts no seat from it.".to_owned());
    } else if report.protocols.iter().any(|protocol| protocol.license_manager.is_some()) {
        item("License servers are for the own network. They have no business on the open Internet.".to_owned());
    } else if names.is_empty() {
        item("Scanners and old malware lists name many ports without a registered service. A number on such a list proves nothing; the process does.".to_owned());
    }
    main.push_str("</ul>\n");
}

fn dead_names(main: &mut String, report: &PortReport<'_>) {
    let historic = report
        .entries
        .iter()
        .filter(|entry| entry.is_historic() || entry.alias_of().is_some())
        .filter_map(|entry| entry.name)
        .map(escape)
        .collect::<Vec<_>>();
    let here = if historic.is_empty() { String::new() } else { format!(" Here that concerns {}.", list(&historic)) };
    let _ = writeln!(
        main,
        "<h2>Why the registry keeps names that nobody uses</h2>\n<p>A registration has no end. It goes when its holder gives it back, or when IANA takes it back after asking around; a company that is gone answers to neither, so its name stays. And a name that still stands in old programs, firewalls and traffic records is worth explaining: reused too early, it would mean two things.{here} <span class=\"source\">RFC 6335, section 8</span></p>"
    );
}

fn questions(main: &mut String, report: &PortReport<'_>, names: &[String], assigned: &[Protocol]) {
    let port = report.port;
    let _ = writeln!(main, "<h2>Questions people ask</h2>");
    let mut ask = |question: String, answer: String| {
        let _ = writeln!(main, "<details><summary>{question}</summary><p>{answer}</p></details>");
    };
    let transport = match (assigned.contains(&Protocol::Tcp), assigned.contains(&Protocol::Udp)) {
        (true, true) => "It is registered over both. Which of them a program uses, only the program tells.".to_owned(),
        (true, false) => "It is registered over TCP. A program may use UDP there all the same.".to_owned(),
        (false, true) => "It is registered over UDP. A program may use TCP there all the same.".to_owned(),
        (false, false) if assigned.is_empty() => "It is registered over neither.".to_owned(),
        (false, false) => format!("It is registered over {}.", protocol_names(assigned.iter().copied())),
    };
    ask(format!("Is port {port} TCP or UDP?"), transport);
    ask(
        format!("Is port {port} open on my computer?"),
        format!(
            "It is open if a program listens on it and no firewall keeps others away. The commands above show the first; for the second, try from another machine: <code>nc -vz HOST {port}</code>."
        ),
    );
    ask(
        format!("Is port {port} dangerous? Is it a virus?"),
        "A number is not. Find the process, then judge the program: where its file lies, which package it came with, who started it."
            .to_owned(),
    );
    let own = match report.range {
        Range::Dynamic => "For something that comes and goes, yes. For a service that others are to find, no: nothing registers it here, and the system may hand the number to another program at any time.".to_owned(),
        _ if port == 0 => "No. Port 0 is reserved: asking for it means any free port.".to_owned(),
        _ if names.is_empty() => "Not for a product without asking IANA first: it may be assigned to somebody tomorrow. On your own machines nobody stops you.".to_owned(),
        _ => format!("On your own machines nobody stops you, unless {} runs there too. For a product, ask IANA for a port of its own.", escape(&names.join(" or "))),
    };
    ask(format!("May my own program use port {port}?"), own);
    ask(
        "How do I close it?".to_owned(),
        format!(
            "Stop what listens: on Linux with <code>systemctl disable --now UNIT</code>, where <code>triquest-lm port {port}</code> names the unit. A firewall rule only hides it."
        ),
    );
}

fn face(name: &str, mouth: &str) -> String {
    let (word, value) = (name, name.to_ascii_lowercase());
    format!(
        r#"<button name="answer" value="{value}"><svg viewBox="0 0 24 24" aria-hidden="true" fill="none" stroke="currentColor" stroke-width="1.8" stroke-linecap="round"><circle cx="12" cy="12" r="9.5"/><path d="M9 9.2v.6M15 9.2v.6"/><path d="{mouth}"/></svg>{word}</button>"#
    )
}

fn helpful(main: &mut String, port: u16, thanks: bool) {
    let _ = writeln!(main, "<h2 id=\"helpful\">Was this helpful?</h2>");
    if thanks {
        let _ = writeln!(main, "<p role=\"status\">Thank you. It was counted on this server, and nowhere else.</p>");
        return;
    }
    let _ = writeln!(
        main,
        "<form class=\"faces\" action=\"/ports/{port}/feedback\" method=\"post\">{}{}{}</form>\n<p class=\"tiny\">Counted on this server only; who answers is not kept.</p>",
        face("Yes", "M7.5 14a5 5 0 0 0 9 0"),
        face("Partly", "M8 15.5h8"),
        face("No", "M7.5 16.5a5 5 0 0 1 9 0"),
    );
}

fn neighbors(main: &mut String, port: u16) {
    main.push_str("<nav aria-label=\"Neighbors\">");
    for (other, arrow) in [(port.checked_sub(1), "Previous: "), (port.checked_add(1), "Next: ")] {
        if let Some(other) = other {
            let _ = write!(main, "<a href=\"/ports/{other}\">{arrow}{other}</a>");
        }
    }
    main.push_str("</nav>\n");
}

/// A name that stands on several ports, or on none.
pub(super) fn name(registry: &Registry, asked: &str, entries: &[Entry<'_>]) -> String {
    let name = entries.first().and_then(|entry| entry.name).unwrap_or(asked);
    let mut main = format!("<h1>{} <small>a registered service name</small></h1>\n", escape(name));
    if entries.iter().all(|entry| entry.ports.is_none()) {
        main.push_str("<p class=\"lead\">Registered without a port: programs find such a service by its name, in DNS (SRV) or with DNS-SD on the local network.</p>\n");
    }
    for entry in entries {
        row(&mut main, entry, true);
        if let Some(ports) = entry.ports {
            let _ = writeln!(main, "<p><a href=\"/ports/{first}\">Port {first}</a></p>", first = ports.first);
        }
    }
    document(&format!("{name}: a registered service name"), asked, &main, registry)
}

/// No such name, and what comes near if that is known.
pub(super) fn unknown(registry: &Registry, asked: &str, near: Option<&Found<'_>>) -> String {
    let mut main = format!(
        "<h1>No such name <small>{}</small></h1>\n<p class=\"lead\">No service is registered under this name.</p>\n",
        escape(asked)
    );
    if let Some(found) = near.filter(|found| !found.hits.is_empty()) {
        main.push_str("<h2>Near it</h2>\n");
        hits(&mut main, found);
    }
    document("No such name", asked, &main, registry)
}

/// The search page, empty or with what was found.
pub(super) fn search(registry: &Registry, words: &str, found: &Found<'_>) -> String {
    let mut main = "<h1>Port reference</h1>\n".to_owned();
    if words.is_empty() {
        let _ = writeln!(
            main,
            "<p class=\"lead\">What IANA's registry says of a port or a service name, what that means, and how to see what really listens.</p>\n<p>Begin with <a href=\"/ports/1588\">1588, triquest-lm</a>, or look up any number from 0 to 65535, a name, or words of a description.</p>"
        );
    } else if found.total == 0 {
        let _ = writeln!(main, "<p class=\"lead\">Nothing in the registry has the words {}.</p>", escape(&format!("{words:?}")));
    } else {
        let shown = if found.hits.len() < found.total { format!(", the first {} are shown", found.hits.len()) } else { String::new() };
        let _ = writeln!(main, "<p class=\"lead\">{} found{shown}.</p>", found.total);
        hits(&mut main, found);
    }
    document("Port reference", words, &main, registry)
}

fn hits(main: &mut String, found: &Found<'_>) {
    main.push_str("<table><thead><tr><th>Port</th><th>Name</th><th>Description</th></tr></thead><tbody>\n");
    for hit in &found.hits {
        let entry = &hit.entry;
        let port = entry.ports.map_or_else(String::new, |ports| format!("<a href=\"/ports/{}\">{ports}</a>", ports.first));
        let name = entry.name.map_or_else(String::new, |name| format!("<a href=\"/ports/{}\">{}</a>", segment(name), escape(name)));
        let protocols = protocol_names(entry.protocols.named());
        let _ = writeln!(
            main,
            "<tr><td>{port} <span class=\"tiny\">{protocols}</span></td><td>{name}</td><td>{}</td></tr>",
            escape(entry.description)
        );
    }
    main.push_str("</tbody></table>\n");
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Tags that are opened and closed, in order; void ones left out.
    fn well_formed(page: &str) {
        let mut open: Vec<String> = Vec::new();
        for part in page.split('<').skip(1) {
            let tag = part.split('>').next().unwrap();
            let name: String = tag.trim_start_matches('/').chars().take_while(|character| character.is_ascii_alphanumeric()).collect();
            if tag.starts_with('!') || tag.ends_with('/') || matches!(&*name, "meta" | "input") {
                continue;
            }
            if tag.starts_with('/') {
                assert_eq!(open.pop().as_deref(), Some(&*name), "{page}");
            } else {
                open.push(name);
            }
        }
        assert!(open.is_empty(), "{open:?}");
    }

    #[test]
    fn every_port_has_a_whole_page_that_asks_for_nothing_from_elsewhere() {
        let registry = Registry::embedded();
        for number in (0..=u16::MAX).step_by(97).chain([0, 1, 1023, 1024, 1551, 1576, 1588, 27000, 49151, 49152, 65535]) {
            let page = port(registry, number, false);
            well_formed(&page);
            for wrong in ["<script", "<img", "<link", "src=", "@import", "url(", "onclick", "javascript:"] {
                assert!(!page.contains(wrong), "port {number}: {wrong}");
            }
        }
    }

    #[test]
    fn the_page_of_1588_says_what_it_is() {
        let page = port(Registry::embedded(), 1588, false);
        for said in [
            "<strong>triquest-lm</strong>",
            "User Ports",
            "1024 to 49151",
            "TCP and UDP",
            "sudo ss -tulpn 'sport = :1588'",
            "Get-NetUDPEndpoint -LocalPort 1588",
            "lsof -nP -iTCP:1588",
            "RFC 6335",
            "/ports/1587",
            "/ports/1589",
            "value=\"partly\"",
        ] {
            assert!(page.contains(said), "{said}");
        }
    }

    #[test]
    fn facts_that_others_have_wrong_are_right_here() {
        let registry = Registry::embedded();
        for (number, name) in [(1551, "hecmtl-db"), (1576, "moldflow-lm")] {
            let entries = registry.on_port(number);
            assert_eq!(entries.first().unwrap().name, Some(name));
            assert!(port(registry, number, false).contains(&format!("<strong>{name}</strong>")));
        }
        assert!(port(registry, 27000, false).contains("FlexNet"));
        assert!(port(registry, 60000, false).contains("dynamic, never assigned"));
    }

    #[test]
    fn words_from_outside_are_text_and_nothing_else() {
        let hostile = "\"><script>alert(1)</script>'&";
        let found = Registry::embedded().search(hostile, 5);
        for page in [unknown(Registry::embedded(), hostile, Some(&found)), search(Registry::embedded(), hostile, &found)] {
            well_formed(&page);
            assert!(!page.contains("<script"));
        }
        assert_eq!(segment("a b/ü"), "a%20b%2F%C3%BC");
    }
}
