//! `doctor`: is everything in order between this computer and its license server? Looks in the order in which things depend on each other,
//! and checks nothing out.

use std::{
    fmt::Display,
    net::{SocketAddr, TcpStream, ToSocketAddrs as _, UdpSocket},
    path::Path,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use triquest_client::{
    Client, Error, ErrorKind, SERVER_VARIABLE, ServerProof,
    address::{ServerAddress, ServerList},
    identity::{self, Known, Proof, Udp},
    lookup::{Lookup, Place},
    pins::Noted,
    wire::{
        Bytes32,
        license::LicenseSummary,
        status::{JournalState, PoolStatus, ServerId, Status},
    },
};
use triquest_license::{
    CivilMs, FeatureName, LicenseId, LicenseTerms, ServerKey, Signer, SigningKey, VendorName, VerifiedLicense, VerifierKeys,
};
use triquest_server::{
    identity::{Runtime, random},
    sys::{PortHolder, port_holder},
};

use crate::{
    admin::{Admin, DataDir, let_it_go_on},
    commands::{
        find::{day_of, pin},
        run::{any_text, with_places},
        status::short_key,
    },
    failure::{Failure, exit},
    keyfile::verifier_keys,
    terminal::{Terminal, Verdict, duration, escape, left},
};

/// The variable that holds the vendor's verifier keys for commands. Programs with the SDK embed theirs and never look at it.
pub(crate) const VERIFIER_VARIABLE: &str = "TRIQUEST_LM_VERIFIER_KEY";
/// Whether one key runs twice is asked for at most so long.
const CLONES_MS_MAX: u64 = 1_500;
/// A port that does not answer within this is silent.
const PORT_MS_MAX: u64 = 2_000;
/// Most addresses of one name that are tried.
const ADDRESSES_MAX: usize = 16;
/// Clocks that are not further apart than this say the same.
const CLOCK_SAME_MS: u64 = 100;
/// Clocks further apart than this deserve a look: it is what a license's first and last hour may differ by.
const CLOCK_WARN_MS: u64 = 60_000;
/// Clocks further apart than this break licenses' dates.
const CLOCK_FAIL_MS: u64 = 86_400_000;
/// A license that ends so soon deserves a look.
const LICENSE_WARN_MS: i64 = 45 * 86_400_000;

/// `doctor [SERVER]`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Nothing is checked out. Exit codes: 0 nothing fails, though there may be warnings; 1 something fails; 2 wrong usage."
)]
pub(crate) struct DoctorCommand {
    /// The server, as 1588@HOST; several with commas [default: TRIQUEST_LM_SERVER, else client.toml of the user or the machine, else DNS SRV, else the
    /// server of this machine]
    server: Option<String>,
    /// The feature whose seats matter
    #[arg(long, short)]
    feature: Option<String>,
    /// The vendor's verifier key (or a file that holds it), several with commas [env: TRIQUEST_LM_VERIFIER_KEY]
    #[arg(long, value_name = "KEY", env = VERIFIER_VARIABLE, hide_env = true, value_parser = any_text())]
    verifier_key: Option<String>,
    /// Accept a license with servers = "any", as programs do that are told to
    #[arg(long)]
    accept_any_server: bool,
    #[command(flatten)]
    data: DataDir,
}

/// What was found so far.
struct Report<'a> {
    terminal: &'a Terminal,
    failures: u32,
    warnings: u32,
    /// The disk of this machine's server is full, and that was said.
    said_disk: bool,
    /// What every server has proved, for telling whether two of them are copies of one.
    proofs: Vec<Proof>,
}

impl Report<'_> {
    fn ok(&self, name: &str, text: impl Display) {
        self.terminal.verdict(Verdict::Ok, name, text);
    }

    fn warn(&mut self, name: &str, text: impl Display) {
        self.warnings += 1;
        self.terminal.verdict(Verdict::Warn, name, text);
    }

    fn fail(&mut self, name: &str, text: impl Display) {
        self.failures += 1;
        self.terminal.verdict(Verdict::Fail, name, text);
    }
}

impl DoctorCommand {
    pub(crate) fn run(mut self, terminal: &Terminal) -> Result<u8, Failure> {
        self.verifier_key = self.verifier_key.as_deref().map(verifier_keys).transpose()?.map(|keys| keys.to_string());
        let (servers, from) = self.servers()?;
        let feature = match &self.feature {
            Some(name) => {
                Some(FeatureName::new(name).map_err(|cause| Failure::usage(format_args!("`{}` is no feature: {cause}", escape(name))))?)
            }
            None => None,
        };
        let mut report = Report { terminal, failures: 0, warnings: 0, said_disk: false, proofs: Vec::new() };
        for server in servers.as_slice() {
            self.look_at(server, &from, feature.as_ref(), &mut report);
        }
        // What only its administrators see of the server of this machine, if that was meant.
        if self.server.is_none()
            && !report.said_disk
            && let Some(status) = self.local_status().filter(|status| status.journal == JournalState::DiskFull)
        {
            report.fail("disk", super::status::full_disk(&status));
        }
        let counted = |count: u32, one: &str| format!("{count} {one}{}", if count == 1 { "" } else { "s" });
        let summary = match (report.failures, report.warnings) {
            (0, 0) => "all in order".to_owned(),
            (0, warnings) => counted(warnings, "warning"),
            (failures, 0) => counted(failures, "failure"),
            (failures, warnings) => format!("{}, {}", counted(failures, "failure"), counted(warnings, "warning")),
        };
        terminal.data(format_args!("{summary}; nothing was checked out"));
        Ok(if report.failures == 0 { exit::OK } else { exit::FAILURE })
    }

    /// Which servers, and where that is written.
    fn servers(&self) -> Result<(ServerList, String), Failure> {
        let error = match (Lookup { argument: self.server.clone(), ..Lookup::usual() }).find() {
            Ok(found) => {
                let from = match &found.from {
                    Place::Argument => "as given".to_owned(),
                    place => format!("from {place}"),
                };
                return Ok((found.servers, from));
            }
            Err(error) if error.kind() != ErrorKind::NoServerNamed => {
                return Err(Failure::usage(escape(error.explanation())).hint(escape(error.hint().unwrap_or_default())));
            }
            Err(error) => error,
        };
        let data = self.data.path();
        if let Some(address) = Runtime::read(&data).and_then(|runtime| runtime.addresses.first().copied()) {
            let ip = match address.ip() {
                ip if !ip.is_unspecified() => ip,
                std::net::IpAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
                std::net::IpAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
            };
            let server =
                format!("{}@{ip}", address.port()).parse::<ServerList>().map_err(|cause| Failure::usage(escape(&cause.to_string())))?;
            return Ok((server, format!("the server of this machine, {}", data.display())));
        }
        Err(with_places(Failure::new("no license server is named"), &error)
            .row(escape(&data.to_string_lossy()), "no server runs there")
            .hint(format_args!("triquest-lm doctor 1588@HOST, or set {SERVER_VARIABLE}")))
    }

    fn look_at(&self, server: &ServerAddress, from: &str, feature: Option<&FeatureName>, report: &mut Report<'_>) {
        let Some(addresses) = name(server, from, report) else { return };
        let data = self.data.path();
        if !port(&addresses, &data, report) {
            return;
        }
        proxy(report);
        let Some((client, proof)) = self.proof(server, addresses[0], report) else { return };
        clock(&proof, report);
        licenses(&proof, feature, report);
        match client.status_of_vendor(feature) {
            Ok(mut status) => {
                if status.disk.is_some()
                    && let Some(local) = self.local_status().filter(|local| local.server_key == status.server_key)
                {
                    // With its place, which not everybody is told.
                    status.disk = local.disk.or(status.disk);
                    report.said_disk = true;
                }
                let given = self.verifier_key.as_deref().and_then(|keys| keys.parse::<VerifierKeys>().ok());
                limits(&status, report);
                seats(&status, given.as_ref(), &proof, feature, report);
            }
            Err(error) => report.fail("seats", escape(error.explanation())),
        }
    }

    /// The server of this machine as its administrators see it, if one runs and this user is one.
    fn local_status(&self) -> Option<Status> {
        Admin::connect(&self.data).ok()?.get("/v1/status").ok()
    }

    /// What the server of this machine has of the vendor's name under other keys than the given ones, if it is the one that `why` names. Only its
    /// administrators see that.
    fn signed_by_others(&self, keys: &str, why: &str) -> Option<String> {
        let keys: VerifierKeys = keys.parse().ok()?;
        let admin = Admin::connect(&self.data).ok()?;
        let key = admin.get::<ServerId>("/v1/server/id").ok()?.server_key;
        let is_of_others = |license: &&LicenseSummary| {
            let is_of_vendor = keys.as_slice().iter().any(|key| key.name().as_str() == license.vendor);
            is_of_vendor && !keys.public_keys().any(|key| license.vendor_keys.contains(&Bytes32(*key.as_bytes())))
        };
        let licenses = admin.licenses().ok()?.licenses;
        let vendor = &licenses.iter().filter(|_| why.contains(&key)).find(is_of_others)?.vendor;
        let ids: Vec<String> = keys.as_slice().iter().map(|key| format!("+{:08x}", key.id())).collect();
        let which = if let [_] = ids.as_slice() { "your key" } else { "any of your keys" };
        Some(format!(
            "the server has licenses of {vendor}, but none that {which} {} signed; ask the vendor for one that is (`triquest-lm license list` shows who \
             signed those that are there)",
            ids.join(", ")
        ))
    }

    /// TLS and trust are one exchange; its error says how far it came.
    fn proof(&self, server: &ServerAddress, address: SocketAddr, report: &mut Report<'_>) -> Option<(Client, ServerProof)> {
        let known = self.verifier_key.clone();
        // Without a key of the vendor, a key that nobody uses still lets the server prove which key it has.
        let keys = known.clone().unwrap_or_else(nobodys_key);
        let builder = Client::builder().servers(server.to_string()).verifier_keys(keys).connect_timeout(Duration::from_secs(5));
        let built = if self.accept_any_server { builder.accept_any_server() } else { builder }.build();
        let proved = built.and_then(|client| client.prove().map(|proof| (client, proof)));
        let error = match proved {
            Ok((client, proof)) => {
                report.ok(
                    "tls",
                    format_args!("1.3, {}, the key behind it vouched for by {}", proof.address, short_key(&proof.server_key.to_string())),
                );
                let mut chain: Vec<String> = proof.licenses.iter().map(|license| license.terms().license.to_string()).collect();
                chain.dedup();
                let vendor = proof.licenses.first().map(|license| license.terms().vendor.to_string()).unwrap_or_default();
                let chain = format!("{} -> {} -> {}", escape(&vendor), escape(&chain.join(", ")), short_key(&proof.server_key.to_string()));
                second_opinion(proof.address, &chain, Some(&proof.server_key), report);
                return Some((client, proof));
            }
            Err(error) => error,
        };
        let answered = error.tried().iter().any(|tried| tried.answered);
        let why = error.tried().first().map_or_else(|| error.explanation().to_owned(), |tried| tried.reason.clone());
        match error.kind() {
            ErrorKind::NotTrusted if error.code() == "no_license" => {
                report.ok("tls", "1.3, and the server proved its own key over it");
                if let Some(known) = &known {
                    match self.signed_by_others(known, &why) {
                        Some(text) => report.fail("trust", escape(&text)),
                        None => report.fail("trust", next(&why, &error)),
                    }
                } else {
                    let text = "a TriQuest LM server; whether it serves your vendor is not known without `--verifier-key KEY`";
                    second_opinion(address, text, None, report);
                }
            }
            ErrorKind::NotTrusted if error.code() == "license_ended" => {
                report.ok("tls", "1.3, and the server proved its own key over it");
                report.fail("license", next(&why, &error));
            }
            ErrorKind::NotTrusted => {
                report.ok("tls", "1.3");
                report.fail("trust", next(&why, &error));
            }
            _ if answered => {
                report.ok("tls", "1.3");
                report.fail("trust", next(&why, &error));
            }
            _ => match listener(address, &self.data.path()) {
                Some(Listener { pid: Some(pid), is_ours: true, .. }) => {
                    let next = let_it_go_on(Some(pid));
                    report.fail("tls", format_args!("a server of this machine has {address} (pid {pid}) and does not answer; {next}"));
                }
                Some(Listener { pid: Some(pid), command, .. }) => {
                    report.fail("tls", format_args!("{}; what listens there is {} (pid {pid})", escape(&why), escape(&command)));
                }
                _ => report.fail("tls", format_args!("{}; is it a TriQuest LM server that listens there?", escape(&why))),
            },
        }
        None
    }
}

/// Asks over UDP too, on a connection of its own: the key, the certificate and the start must be those of TCP, and the key the one that was seen here before.
/// `trusted` is the key that a license of the vendor vouches for; whoever passes one connection on to that server and ends the other himself shows here.
fn second_opinion(address: SocketAddr, text: &str, trusted: Option<&ServerKey>, report: &mut Report<'_>) {
    let proof = identity::prove(address, &Known::default(), identity::patience(address));
    let port = address.port();
    if let (Some(trusted), Some(proved)) = (trusted, &proof.proved)
        && proved.server_key != *trusted
    {
        let other = short_key(&proved.server_key.to_string());
        let what = "something between this computer and the server answers some connections itself; ask your network's administrator";
        report.fail("trust", format_args!("{text}; but a second connection to {address} ends at {other}: {what}"));
        return;
    }
    let is_trusted = trusted.is_some();
    match proof.udp {
        Udp::OtherCertificate | Udp::OtherKey => {
            report.fail("trust", format_args!("{text}; {}", escape(&proof.verdict.to_string())));
            return;
        }
        Udp::Agrees | Udp::OtherInstance | Udp::Silent => {}
    }
    report.proofs.push(proof.clone());
    let key = proof.proved.as_ref().map(|proved| proved.server_key);
    let clones = identity::clones(&report.proofs, Duration::from_millis(CLONES_MS_MAX));
    if let Some(clones) = clones.iter().find(|clones| Some(clones.server_key) == key) {
        let at = clones.at.iter().map(|(address, _)| address.to_string()).collect::<std::collections::BTreeSet<_>>();
        let at = at.into_iter().collect::<Vec<_>>().join(" and ");
        let what = "somebody copied the server's data directory, and each copy counts from zero";
        report.fail("trust", format_args!("{text}; this key runs twice at the same time ({at}): {what}"));
        return;
    }
    let heard = if proof.udp == Udp::Agrees { "same key over UDP, one history".to_owned() } else { format!("UDP {port} is silent") };
    let changed = proof.proved.as_ref().and_then(|proved| match pin(address, proved, is_trusted, false) {
        Ok(Noted::Changed(old) | Noted::Replaced(old)) => {
            Some(format!("its key changed: {} since {}", short_key(&old.server_key.to_string()), day_of(old.first_seen_s)))
        }
        Ok(_) => None,
        Err(cause) => Some(format!("its key cannot be remembered: {}", escape(&cause.to_string()))),
    });
    match (changed, is_trusted) {
        (Some(changed), _) => report.warn("trust", format_args!("{text}, {heard}; {changed}")),
        (None, true) => report.ok("trust", format_args!("{text}, {heard}")),
        (None, false) => report.warn("trust", format_args!("{text}; {heard}")),
    }
}

fn next(why: &str, error: &Error) -> String {
    match error.hint() {
        Some(hint) => format!("{}; {}", escape(why), escape(hint)),
        None => escape(why).into_owned(),
    }
}

/// A verifier key whose private half is forgotten at once.
fn nobodys_key() -> String {
    let name = VendorName::new("doctor.invalid").expect("a name with a dot is a vendor's name");
    Signer::new(name, SigningKey::from_seed(random())).verifier_key().to_string()
}

fn name(server: &ServerAddress, from: &str, report: &mut Report<'_>) -> Option<Vec<SocketAddr>> {
    let found = (server.host(), server.port()).to_socket_addrs().map(|found| found.take(ADDRESSES_MAX).collect::<Vec<_>>());
    match found {
        Ok(addresses) if !addresses.is_empty() => {
            let mut ips: Vec<String> = addresses.iter().map(|address| address.ip().to_string()).collect();
            ips.dedup();
            let is_name = ips.iter().all(|ip| ip != server.host());
            let resolved = if is_name { format!(": {}", ips.join(", ")) } else { String::new() };
            report.ok("server", format_args!("{server}, {}{resolved}", escape(from)));
            Some(addresses)
        }
        Ok(_) => {
            report.fail("server", format_args!("{server}, {}: the name has no address", escape(from)));
            None
        }
        Err(cause) => {
            report.fail(
                "server",
                format_args!(
                    "{server}, {}: the name is not known here ({cause}); `getent hosts {}` asks the same",
                    escape(from),
                    server.host()
                ),
            );
            None
        }
    }
}

/// Who listens at an address of this machine.
struct Listener {
    pid: Option<u32>,
    command: String,
    /// A server of this program.
    is_ours: bool,
}

/// Looks up who listens at an address, if that is one of this machine: the kernel says it to whoever may know, the data directory to its owner.
fn listener(address: SocketAddr, data: &Path) -> Option<Listener> {
    // Only an address of this machine can be bound here.
    UdpSocket::bind((address.ip(), 0)).ok()?;
    let said = Runtime::read(data).filter(|runtime| runtime.addresses.iter().any(|listens| listens.port() == address.port()));
    let ours = said.map(|runtime| Listener { pid: Some(runtime.pid), command: "triquest-lm".to_owned(), is_ours: true });
    match port_holder(address.port()) {
        Some(PortHolder { pid: Some(pid), command, .. }) => {
            let is_named = ours.is_some_and(|ours| ours.pid == Some(pid));
            let is_ours = is_named || crate::sys::name_of(i32::try_from(pid).ok()?) == "triquest-lm";
            Some(Listener { pid: Some(pid), command, is_ours })
        }
        _ => ours,
    }
}

/// Tries all addresses at once.
fn port(addresses: &[SocketAddr], data: &Path, report: &mut Report<'_>) -> bool {
    let (sender, results) = mpsc::channel();
    for (place, &address) in addresses.iter().enumerate() {
        let sender = sender.clone();
        thread::spawn(move || {
            let began = Instant::now();
            let tried = TcpStream::connect_timeout(&address, Duration::from_millis(PORT_MS_MAX)).map(drop);
            let _ = sender.send((place, tried.map(|()| began.elapsed())));
        });
    }
    drop(sender);
    let mut results: Vec<_> = results.iter().collect();
    results.sort_by_key(|(place, _)| *place);
    let (mut open, mut texts) = (0, Vec::new());
    for (place, tried) in &results {
        let address = addresses[*place];
        texts.push(match tried {
            Ok(took) => {
                open += 1;
                format!("{address} open in {}", duration(u64::try_from(took.as_millis()).unwrap_or(u64::MAX)))
            }
            Err(cause) => match cause.kind() {
                std::io::ErrorKind::ConnectionRefused => format!("{address} refused: nothing listens there"),
                std::io::ErrorKind::TimedOut => match listener(address, data) {
                    Some(Listener { pid: Some(pid), is_ours: true, .. }) => {
                        format!("a server of this machine has {address} (pid {pid}) and takes no connections; {}", let_it_go_on(Some(pid)))
                    }
                    _ => format!("{address} silent: a firewall may drop TCP {}", address.port()),
                },
                _ => format!("{address}: {cause}"),
            },
        });
    }
    let text = texts.join("; ");
    match open {
        0 => report.fail("port", text),
        all if all == results.len() => report.ok("port", text),
        _ => report.warn("port", text),
    }
    open > 0
}

fn proxy(report: &Report<'_>) {
    let set = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"]
        .into_iter()
        .find(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()));
    match set {
        Some(name) => report.ok("proxy", format_args!("{name} is set and not used for license traffic")),
        None => report.ok("proxy", "none set"),
    }
}

fn clock(proof: &ServerProof, report: &mut Report<'_>) {
    let (apart, text) = apart(proof.clock_ahead_ms, proof.round_trip_ms);
    match apart {
        CLOCK_FAIL_MS.. => {
            report.fail("clock", format_args!("{text}: licenses begin and end by the clock; is it synchronized? timedatectl"))
        }
        CLOCK_WARN_MS.. => report.warn("clock", format_args!("{text}; is it synchronized? timedatectl")),
        _ => report.ok("clock", text),
    }
}

/// How far the clocks are apart at least, and that in words. What a slow answer may be the reason of is no difference.
fn apart(ahead_ms: i64, round_trip_ms: u64) -> (u64, String) {
    // The server said its time at some moment of the round trip, and it was compared with the middle of it.
    let apart = ahead_ms.unsigned_abs().saturating_sub(round_trip_ms / 2);
    match (apart, ahead_ms >= 0) {
        _ if ahead_ms.unsigned_abs() < CLOCK_SAME_MS => (0, "as the server's".to_owned()),
        (..CLOCK_SAME_MS, _) => (0, format!("as the server's, as far as an answer after {} tells", duration(round_trip_ms))),
        // The server is ahead, so this computer is behind it.
        (_, true) => (apart, format!("{} behind the server", duration(apart))),
        (_, false) => (apart, format!("{} ahead of the server", duration(apart))),
    }
}

/// One right of a license, for its feature.
struct Right<'a> {
    license: &'a LicenseId,
    feature: &'a FeatureName,
    starts: Option<(CivilMs, String)>,
    ends: Option<(CivilMs, String)>,
}

impl Right<'_> {
    /// Begun and not ended.
    fn runs_at(&self, now: CivilMs) -> bool {
        self.waits_until(now).is_none() && self.ends.as_ref().is_none_or(|(ends, _)| *ends > now)
    }

    /// Its first day as written, if it has not begun.
    fn waits_until(&self, now: CivilMs) -> Option<&str> {
        self.starts.as_ref().filter(|(starts, _)| *starts > now).map(|(_, written)| written.as_str())
    }
}

/// What programs have to be told before they take such a license.
const ANY_SERVER: &str = "may be served by any server, which programs take only where they are told to (`--accept-any-server`, in a program `accept_any_server`)";

fn licenses(proof: &ServerProof, feature: Option<&FeatureName>, report: &mut Report<'_>) {
    let licenses = &proof.licenses;
    let now = CivilMs(jiff::Timestamp::now().as_millisecond());
    let rights_of = |license| {
        let terms: &LicenseTerms = VerifiedLicense::terms(license);
        terms.entitlements.iter().map(move |right| Right {
            license: &terms.license,
            feature: &right.feature,
            starts: right.starts.map(|starts| (starts, terms.starts_of(right).map_or_else(String::new, |day| day.to_string()))),
            ends: right.expires.map(|ends| (ends, right.expires_written.map_or_else(String::new, |day| day.to_string()))),
        })
    };
    let mut rights: Vec<Right<'_>> =
        licenses.iter().flat_map(rights_of).filter(|right| feature.is_none_or(|feature| right.feature == feature)).collect();
    // What ends first is what matters; what never ends comes last.
    rights.sort_by_key(|right| right.ends.as_ref().map_or(CivilMs(i64::MAX), |(ends, _)| *ends));
    let aside = |license: &&VerifiedLicense| {
        license.terms().entitlements.iter().any(|right| feature.is_none_or(|feature| right.feature == *feature))
    };
    if let (true, Some(license)) = (rights.is_empty(), proof.left_aside.iter().find(aside)) {
        let what = feature.map_or_else(String::new, |feature| format!(" of `{feature}`"));
        report.fail("license", escape(&format!("{}{what} {ANY_SERVER}", license.terms().license)));
        return;
    }
    if rights.is_empty() {
        let what = feature.map_or_else(String::new, |feature| format!(" of `{feature}`"));
        report.fail("license", format_args!("the server has no license{what} of this vendor"));
        return;
    }
    let running = || rights.iter().filter(|right| right.runs_at(now));
    if running().next().is_none() {
        for right in &rights {
            let text = match (right.waits_until(now), &right.ends) {
                (Some(day), _) => format!("begins {day}"),
                (None, Some((_, day))) => format!("ended {day}"),
                (None, None) => "is not in force".to_owned(),
            };
            report.fail("license", escape(&format!("{} of `{}` {text}", right.license, right.feature)));
        }
        return;
    }
    let mut soon = 0;
    for right in running() {
        let Some((ends, written)) = &right.ends else { continue };
        if ends.0 - now.0 >= LICENSE_WARN_MS {
            continue;
        }
        soon += 1;
        let left = duration((ends.0 - now.0).unsigned_abs());
        let follows = rights.iter().find(|next| next.feature == right.feature && next.waits_until(now).is_some());
        let follows = follows.map_or_else(String::new, |next| format!("; {} takes over", next.license));
        report.warn("license", escape(&format!("{} of `{}` ends {written} ({left}){follows}", right.license, right.feature)));
    }
    if let (0, Some(first)) = (soon, running().next()) {
        let text = match &first.ends {
            Some((ends, written)) => format!("ends {written} ({})", duration((ends.0 - now.0).unsigned_abs())),
            None => "has no end".to_owned(),
        };
        report.ok("license", escape(&format!("{} of `{}` {text}", first.license, first.feature)));
    }
}

/// Whether this computer's network came up against a limit of the server lately.
fn limits(status: &Status, report: &mut Report<'_>) {
    for limited in &status.limited {
        let (network, limit) = (escape(&limited.network), limited.limit.replace('_', " "));
        let when = format!("{} times, {} ago", limited.times, duration(limited.last_ms));
        if limited.limit == "reopenings_anywhere" {
            let what = "meanwhile no seat of a dead program is free early in any network of `presence_networks`";
            report.warn("presence", format_args!("connections from nobody knows where had to wait or were turned away ({when}): {what}"));
            continue;
        }
        if limited.limit == "reopenings" {
            let what = "meanwhile no seat of a dead program there is free early: any of them may be that of a client that comes back";
            report.warn("presence", format_args!("connections of network {network} had to wait or were turned away ({when}): {what}"));
            continue;
        }
        let what = "every program behind that address shares it; what asks in a loop should wait in line instead";
        report.warn("limits", format_args!("network {network} came up against the server's limit of {} ({when}): {what}", escape(&limit)));
    }
}

/// The pools of the vendor whose keys were given, which are all that were asked for; those of others are not for this user.
fn seats(status: &Status, keys: Option<&VerifierKeys>, proof: &ServerProof, feature: Option<&FeatureName>, report: &mut Report<'_>) {
    if let Some(says) = &status.clock_says {
        let how = "if the clock is right: triquest-lm clock accept --reason TEXT on the server";
        report.warn("clock", format_args!("the server's clock says {} and is not followed; {how}", escape(says)));
    }
    for notice in super::status::notices(status) {
        report.warn("server", notice);
    }
    let (running, idle): (Vec<_>, Vec<_>) = status.pools.iter().partition(|pool| pool.numbers.total > 0);
    if running.is_empty() {
        match (feature, idle.first()) {
            // Its license was removed, has ended or has not begun.
            (Some(feature), Some(_)) => report.fail("seats", format_args!("no license for `{feature}` of this vendor is in force")),
            (Some(feature), None) => report.fail("seats", format_args!("the server has no feature `{feature}` of this vendor")),
            (None, Some(_)) => report.fail("seats", "no license of this vendor is in force"),
            (None, None) => report.fail("seats", "the server has no seats of this vendor"),
        }
        return;
    }
    if status.journal == JournalState::DiskFull {
        report.fail("seats", super::status::full_disk(status));
        return;
    }
    let text = |pool: &PoolStatus| {
        let numbers = &pool.numbers;
        let waiting = if numbers.queued > 0 { format!(", {} waiting", numbers.queued) } else { String::new() };
        format!("{} of {} free for `{}`{waiting}", numbers.free, numbers.total, escape(&pool.feature))
    };
    // A vendor with several keys may have signed some licenses with others than the given ones.
    let now = CivilMs(jiff::Timestamp::now().as_millisecond());
    let seats_of = |licenses: &[VerifiedLicense], pool: &PoolStatus| -> u64 {
        let rights = licenses.iter().flat_map(|license| &license.terms().entitlements).filter(|right| right.runs_at(now));
        rights.filter(|right| right.feature.as_str() == pool.feature).map(|right| u64::from(right.seats)).sum()
    };
    let in_reach = |pool: &PoolStatus| keys.is_some().then(|| seats_of(&proof.licenses, pool)).filter(|all| *all < pool.numbers.total);
    const OTHERS: &str = "of licenses that other keys of this vendor signed (`triquest-lm license list` on the server shows which)";
    let others = |pool: &PoolStatus, most: u64| match seats_of(&proof.left_aside, pool) {
        0 => format!("the rest is {OTHERS}"),
        any if most + any >= pool.numbers.total => format!("the rest {ANY_SERVER}"),
        any => format!("of the rest {any} {ANY_SERVER}, the others are {OTHERS}"),
    };
    if let Some(ms) = status.quarantine_ms {
        let what = "the server's history was restored or rolled back, and seats granted before may still be in use";
        let lineage = status.position.lineage.short();
        let how = format!("to end it sooner: triquest-lm quarantine end --lineage {lineage} --reason TEXT");
        report.fail("seats", format_args!("{what}: no new seats for {}; {how}", left(ms)));
        return;
    }
    for pool in running {
        match in_reach(pool) {
            Some(0) if feature.is_some() => {
                report.fail("seats", format_args!("{}, and none of them for this key: {}", text(pool), others(pool, 0)));
                continue;
            }
            Some(0) => {
                report.warn("seats", format_args!("{}, and none of them for this key: {}", text(pool), others(pool, 0)));
                continue;
            }
            Some(most) if pool.numbers.free > 0 => {
                report.ok("seats", format_args!("{}, {most} of them at most for this key: {}", text(pool), others(pool, most)));
                continue;
            }
            _ => {}
        }
        match (pool.numbers.free, feature) {
            (0, Some(_)) => {
                report.fail("seats", format_args!("{}; who holds them: triquest-lm status {}", text(pool), escape(&pool.feature)))
            }
            (0, None) => report.warn("seats", text(pool)),
            _ => report.ok("seats", text(pool)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_slow_answer_may_be_the_reason_of_is_no_difference_of_clocks() {
        for (ahead_ms, round_trip_ms, apart_ms, text) in [
            (40, 1, 0, "as the server's"),
            (-1_400, 2_900, 0, "as the server's, as far as an answer after 2.9 s tells"),
            (90_000, 2_900, 88_550, "1 min behind the server"),
            (-90_000, 6, 89_997, "1 min ahead of the server"),
            (61_000, 3_000, 59_500, "59.5 s behind the server"),
        ] {
            assert_eq!(apart(ahead_ms, round_trip_ms), (apart_ms, text.to_owned()));
        }
    }
}
