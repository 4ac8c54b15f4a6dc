//! Avahi, where it runs: it owns mDNS on its machine, so it announces the server, from a file.

use std::{fmt::Write, os::unix::net::UnixStream, path::Path};

use super::Announced;

/// Where Avahi reads what others want announced (avahi.service(5)).
pub const SERVICE_FILE: &str = "/etc/avahi/services/triquest-lm.service";
/// Where a running Avahi can be spoken to.
const SOCKET: &str = "/run/avahi-daemon/socket";

/// Whether Avahi runs on this machine. A socket that nobody answers is a dead one's.
#[must_use]
pub fn runs() -> bool {
    UnixStream::connect(SOCKET).is_ok()
}

/// Whether the administrator has given Avahi a file for this server.
#[must_use]
pub fn has_service_file() -> bool {
    Path::new(SERVICE_FILE).exists()
}

/// The text of that file.
#[must_use]
pub fn service_file(announced: &Announced, udp: bool) -> String {
    let mut text = format!(
        "<?xml version=\"1.0\" standalone='no'?>\n\
         <!DOCTYPE service-group SYSTEM \"avahi-service.dtd\">\n\
         <!-- Made by: triquest-lm server avahi-service -->\n\
         <service-group>\n  <name>{}</name>\n",
        escape(&announced.name)
    );
    let kinds = [Announced::TCP, Announced::UDP];
    for kind in &kinds[..if udp { 2 } else { 1 }] {
        let _ = write!(text, "  <service>\n    <type>{kind}</type>\n    <port>{}</port>\n", announced.port);
        for (key, value) in announced.txt() {
            let _ = writeln!(text, "    <txt-record>{}</txt-record>", escape(&format!("{key}={value}")));
        }
        text.push_str("  </service>\n");
    }
    text.push_str("</service-group>\n");
    text
}

/// Text between tags (XML 1.0, section 2.4); control characters, which XML cannot hold, are left out.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars().filter(|c| !c.is_control()) {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&apos;"),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_service_file_names_both_services_and_escapes_what_is_from_outside() {
        let announced = Announced { name: "a<b>&\"c'\u{1b}".into(), port: 1599, server_key: "tqs1:00".into(), version: "0.1.0".into() };
        let text = service_file(&announced, true);
        assert!(text.contains("<name>a&lt;b&gt;&amp;&quot;c&apos;</name>"), "{text}");
        assert_eq!(text.matches("<port>1599</port>").count(), 2, "{text}");
        assert_eq!(text.matches("<txt-record>key=tqs1:00</txt-record>").count(), 2, "{text}");
        assert!(text.contains("_triquest-lm._tcp<") && text.contains("_triquest-lm._udp<"), "{text}");
        assert!(!service_file(&announced, false).contains("_udp"));
    }
}
