//! `find`: which license servers are near, how each was found, and who it is.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Display,
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

use mdns_sd::{ServiceDaemon, ServiceEvent};
use serde::Serialize;
use triquest_client::{
    Client, ErrorKind,
    address::ServerAddress,
    identity::{self, Answer, Clones, Known, KnownBy, Proof, Proved, Target, Udp, Verdict},
    lookup::{Found, Looked, Lookup, Place, Said},
    pins::{self, Noted, Pin, Pins},
    srv::Resolver,
    wire::{limits::PORT, status::PoolStatus},
};
use triquest_license::{FeatureName, ServerKey, VerifierKeys};

use crate::{
    commands::{
        run::{any_text, span},
        status::short_key,
    },
    failure::{Failure, exit},
    keyfile::verifier_keys,
    terminal::{Align, Table, Terminal, escape},
};

/// The name under which servers announce themselves to people (RFC 6763).
const MDNS_SERVICE: &str = "_triquest-lm._tcp.local.";
/// Most addresses that are looked at.
const ADDRESSES_MAX: usize = 256;
/// Most of them at once.
const AT_ONCE_MAX: usize = 16;
/// Longest time to listen.
const LISTEN_MS_MAX: u64 = 60_000;
/// A name that is not resolved within this is not known.
const RESOLVE_MS_MAX: u64 = 2_000;
/// A server that proved itself has so long to tell its seats.
const SEATS_MS_MAX: u64 = 3_000;

/// `find [--feature F]`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Looks at what TRIQUEST_LM_SERVER and client.toml name, asks DNS (SRV records _triquest-lm._tcp), asks this machine and its networks over \
UDP (broadcast and multicast), and listens for mDNS announcements. Then every address has to prove over TCP whose key it holds. Anyone \
can run this program: a key is known only if a license of --verifier-key lists it, or if it was kept in \
~/.local/share/triquest-lm/known_servers before, by --remember or because such a license listed it. One that changed is called out.

Exit codes: 0 a TriQuest LM server was found; 1 so it was, but --remember could not keep its key; 75 none.")]
pub(crate) struct FindCommand {
    /// Show the seats of this feature too; needs --verifier-key; may be repeated
    #[arg(long, short)]
    feature: Vec<String>,
    /// Ask DNS about this domain instead of those of this machine
    #[arg(long)]
    domain: Option<String>,
    /// Listen for so long for answers of the network, such as 2s
    #[arg(long, value_name = "SPAN", default_value = "2s", value_parser = span)]
    timeout: Duration,
    /// The port to ask over UDP
    #[arg(long, default_value_t = PORT)]
    port: u16,
    /// The vendor's verifier key (or a file that holds it), several with commas [env: TRIQUEST_LM_VERIFIER_KEY]
    #[arg(long, value_name = "KEY", env = super::doctor::VERIFIER_VARIABLE, hide_env = true, value_parser = any_text())]
    verifier_key: Option<String>,
    /// Do not listen for mDNS
    #[arg(long)]
    no_mdns: bool,
    /// Keep the keys that are proved now in ~/.local/share/triquest-lm/known_servers: from then on they are known, and another one is called out.
    /// Loopback and link-local addresses are never kept
    #[arg(long)]
    remember: bool,
    /// As JSON: {"servers": [...], "looked": [...]}
    #[arg(long)]
    json: bool,
}

/// An address, and the ways that led to it.
#[derive(Debug, Default)]
struct Candidate {
    names: BTreeSet<String>,
    ways: BTreeSet<String>,
}

/// What was found in all, before anybody had to prove anything.
#[derive(Default)]
struct Candidates {
    addresses: BTreeMap<SocketAddr, Candidate>,
    /// Named servers without an address, with the way and the reason.
    nameless: Vec<(String, String, String)>,
    looked: Vec<Looked>,
    /// What could not be looked at.
    troubles: Vec<String>,
}

/// One server: all its addresses.
#[derive(Debug, Serialize)]
struct Server {
    addresses: Vec<String>,
    names: Vec<String>,
    found_by: Vec<String>,
    /// `known_key`, `unknown_key`, `other`, `silent` or `unproved`.
    verdict: &'static str,
    /// `license` or `pin`.
    known_by: Option<&'static str>,
    /// When a pinned key was first seen.
    known_since: Option<String>,
    server_key: Option<String>,
    vendor: Option<String>,
    version: Option<String>,
    instances: Vec<String>,
    /// Two of them answer at the same time.
    clone: bool,
    /// The key that was pinned to an address of it.
    changed_from: Option<String>,
    /// What else is known of it.
    detail: Option<String>,
    /// Why its key could not be remembered, where that was asked for or a license vouches for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    not_kept: Option<String>,
    /// `agrees`, `silent`, or how it contradicts TCP.
    udp: &'static str,
    features: Vec<PoolStatus>,
}

#[derive(Serialize)]
struct Report<'a> {
    servers: &'a [Server],
    looked: Vec<Row>,
}

/// A place that was looked at, and what it said.
#[derive(Serialize)]
struct Row {
    place: String,
    said: String,
}

impl From<&Looked> for Row {
    fn from(looked: &Looked) -> Self {
        let said = match &looked.said {
            Said::Named(servers) => servers.to_string(),
            Said::Nothing(why) => why.clone(),
            _ => String::new(),
        };
        Self { place: looked.place.to_string(), said }
    }
}

impl FindCommand {
    pub(crate) fn run(self, terminal: &Terminal) -> Result<u8, Failure> {
        let keys = self.keys()?;
        let mut candidates = self.candidates()?;
        let pins_file = pins::usual_file();
        let known_pins = match &pins_file {
            Some(file) => Pins::read(file).unwrap_or_else(|cause| {
                candidates.troubles.push(format!("the keys that were seen before cannot be read: {cause}"));
                Pins::default()
            }),
            None => Pins::default(),
        };
        if let (Some(file), [first, ..]) = (&pins_file, known_pins.damaged()) {
            candidates.troubles.push(format!("{}: line {first} cannot be read and is left out", file.display()));
        }
        let known = Known { vendors: keys.as_ref(), pins: Some(&known_pins), ..Known::default() };
        let proofs = prove_all(candidates.addresses.keys().copied().take(ADDRESSES_MAX).collect(), &known);
        let clones = identity::clones(&proofs, Duration::from_millis(SEATS_MS_MAX));
        let servers = self.servers(&candidates, &proofs, &clones, keys.as_ref());
        for trouble in &candidates.troubles {
            terminal.warning(escape(trouble));
        }
        for server in &servers {
            tell(terminal, server);
        }
        let forgotten = self.remember && servers.iter().any(|server| server.not_kept.is_some());
        if self.json {
            terminal.json(&Report { servers: &servers, looked: candidates.looked.iter().map(Row::from).collect() })?;
        } else if !servers.is_empty() {
            terminal.table(&self.table(&servers));
        }
        if servers.iter().any(|server| matches!(server.verdict, "known_key" | "unknown_key")) {
            return Ok(if forgotten { exit::FAILURE } else { exit::OK });
        }
        let found = if servers.iter().any(|server| server.verdict == "unproved") {
            "a license server answers over UDP, and takes no connection now"
        } else {
            "no license server was found"
        };
        let mut failure = Failure::new(format_args!("{found} (port {} over UDP)", self.port)).with_code(exit::LATER);
        for row in candidates.looked.iter().map(Row::from) {
            failure = failure.row(escape(&row.place), escape(&row.said));
        }
        Err(failure
            .hint("broadcast and mDNS end at routers: ask the administrator for the server's name, then triquest-lm doctor 1588@HOST"))
    }

    fn keys(&self) -> Result<Option<VerifierKeys>, Failure> {
        for name in &self.feature {
            FeatureName::new(name).map_err(|cause| Failure::usage(format_args!("`{}` is no feature: {cause}", escape(name))))?;
        }
        let Some(keys) = &self.verifier_key else {
            return if self.feature.is_empty() {
                Ok(None)
            } else {
                Err(Failure::usage("a server tells its seats only to who knows that it serves a vendor")
                    .hint(format_args!("name the vendor's key: --verifier-key KEY, or set {}", super::doctor::VERIFIER_VARIABLE)))
            };
        };
        verifier_keys(keys).map(Some)
    }

    /// All ways at once.
    fn candidates(&self) -> Result<Candidates, Failure> {
        let within = self.timeout.min(Duration::from_millis(LISTEN_MS_MAX));
        let resolver = match &self.domain {
            Some(domain) => Resolver::of_this_machine().with_domain(domain),
            None => Resolver::of_this_machine(),
        };
        let (configured, by_dns, answers, announced) = thread::scope(|scope| {
            let configured = scope.spawn(|| Lookup { resolver: None, ..Lookup::usual() }.find());
            let by_dns = scope.spawn(|| Lookup { resolver: Some(resolver), ..Lookup::default() }.find());
            let answers = scope.spawn(|| identity::ask(&self.targets(), within));
            let announced = (!self.no_mdns).then(|| scope.spawn(|| announced(within)));
            let lost = "a look ends with a result, not with a panic";
            (
                configured.join().expect(lost),
                by_dns.join().expect(lost),
                answers.join().expect(lost),
                announced.map(|announced| announced.join().expect(lost)),
            )
        });
        let mut candidates = Candidates::default();
        for found in [configured, by_dns] {
            match found {
                Ok(found) => candidates.named(&found),
                Err(error) if error.kind() == ErrorKind::NoServerNamed => candidates.looked.extend_from_slice(error.places()),
                Err(error) => candidates.troubles.push(error.explanation().to_owned()),
            }
        }
        for answer in &answers.answers {
            candidates.answered(answer);
        }
        match announced {
            Some(Ok(announced)) => {
                for (name, address) in announced {
                    candidates.add(address, Some(name), "mDNS");
                }
            }
            Some(Err(cause)) => candidates.troubles.push(format!("mDNS cannot be listened to: {cause}")),
            None => {}
        }
        Ok(candidates)
    }

    fn targets(&self) -> [Target; 4] {
        let port = self.port;
        [
            Target::Broadcast { port },
            Target::Multicast { port },
            Target::Unicast((Ipv4Addr::LOCALHOST, port).into()),
            Target::Unicast((Ipv6Addr::LOCALHOST, port).into()),
        ]
    }

    fn servers(&self, candidates: &Candidates, proofs: &[Proof], clones: &[Clones], keys: Option<&VerifierKeys>) -> Vec<Server> {
        let mut servers = Vec::new();
        let mut by_key: BTreeMap<ServerKey, Vec<&Proof>> = BTreeMap::new();
        for proof in proofs {
            match &proof.proved {
                Some(proved) if proof.verdict.is_server() => by_key.entry(proved.server_key).or_default().push(proof),
                _ => servers.push(Server::of(candidates, &[proof])),
            }
        }
        let mut proved = Vec::new();
        for (key, of_key) in by_key {
            let mut server = Server::of(candidates, &of_key);
            server.clone = clones.iter().any(|clones| clones.server_key == key);
            let somewhere = of_key.iter().any(|proof| pins::name_of(proof.address).is_some());
            for proof in &of_key {
                let Some(now) = &proof.proved else { continue };
                let is_vouched_for = matches!(proof.verdict, Verdict::KnownKey(KnownBy::License | KnownBy::Name));
                // What was known before the look counts even if nothing can be kept now.
                let mut changed = proof.changed.clone();
                // That an address cannot be kept is said only where none of them can.
                let remember = self.remember && (!somewhere || pins::name_of(proof.address).is_some());
                match pin(proof.address, now, is_vouched_for, remember) {
                    Ok(Noted::Changed(old)) => {
                        server.not_kept = remember.then(|| "another key is pinned to its address".to_owned());
                        changed = Some(old);
                    }
                    Ok(Noted::Replaced(old)) => changed = Some(old),
                    Ok(_) => {}
                    Err(cause) => server.not_kept = Some(cause.to_string()),
                }
                if let Some(old) = changed {
                    server.changed_from = Some(seen_before(&old));
                }
            }
            if let Some(keys) = keys.filter(|_| server.known_by == Some("license")) {
                self.seats(&mut server, of_key[0].address, keys);
            }
            proved.push(server);
        }
        proved.append(&mut servers);
        for (name, way, why) in &candidates.nameless {
            proved.push(Server::nowhere(name, way, why));
        }
        proved
    }

    /// Counts of the features, through the whole proof of a client.
    fn seats(&self, server: &mut Server, address: SocketAddr, keys: &VerifierKeys) {
        let limit = Duration::from_millis(SEATS_MS_MAX);
        let client = Client::builder()
            .servers(address.to_string())
            .verifier_keys(keys.to_string())
            .connect_timeout(limit)
            .call_timeout(limit)
            .build();
        let Ok(client) = client else { return };
        for name in &self.feature {
            let Ok(feature) = FeatureName::new(name) else { continue };
            match client.status_of_vendor(Some(&feature)) {
                Ok(status) => {
                    server.version.get_or_insert(status.version);
                    server.features.extend(status.pools);
                }
                Err(error) => server.detail = Some(error.explanation().to_owned()),
            }
        }
    }

    fn table(&self, servers: &[Server]) -> Table {
        let features: Vec<String> = self.feature.iter().map(|feature| feature.to_uppercase()).collect();
        let mut headings = vec![("SERVER", Align::Left), ("FOUND BY", Align::Left), ("VERSION", Align::Left)];
        headings.extend(features.iter().map(|feature| (feature.as_str(), Align::Left)));
        headings.push(("PROOF", Align::Left));
        let mut table = Table::new(&headings);
        for server in servers {
            let shown = if server.addresses.is_empty() { &server.names } else { &server.addresses };
            let mut cells = vec![shown.join(", "), server.found_by.join(", "), server.version.clone().unwrap_or_else(|| "-".into())];
            for feature in &self.feature {
                let of_feature: Vec<String> = server
                    .features
                    .iter()
                    .filter(|pool| pool.feature == *feature)
                    .map(|pool| format!("{} of {} free", pool.numbers.free, pool.numbers.total))
                    .collect();
                cells.push(if of_feature.is_empty() { "-".into() } else { of_feature.join(", ") });
            }
            cells.push(server.proof());
            table.row(cells);
        }
        table
    }
}

impl Candidates {
    fn add(&mut self, address: SocketAddr, name: Option<String>, way: impl Display) {
        if self.addresses.len() >= ADDRESSES_MAX && !self.addresses.contains_key(&address) {
            return;
        }
        let candidate = self.addresses.entry(address).or_default();
        candidate.names.extend(name);
        candidate.ways.insert(way.to_string());
    }

    fn named(&mut self, found: &Found) {
        self.looked.extend_from_slice(&found.looked);
        let way = match &found.from {
            Place::Srv(_) => "DNS SRV".to_owned(),
            place => place.to_string(),
        };
        for server in found.servers.as_slice() {
            match server.resolve(Duration::from_millis(RESOLVE_MS_MAX)) {
                Ok(addresses) => addresses.into_iter().for_each(|address| self.add(address, Some(server.to_string()), &way)),
                Err(cause) => self.nameless.push((server.to_string(), way.clone(), cause.to_string())),
            }
        }
    }

    /// Where it serves TLS, on the address that answered.
    fn answered(&mut self, answer: &Answer) {
        let mut address = answer.from;
        address.set_port(answer.reply.tcp_port);
        let way = match answer.asked {
            Target::Broadcast { .. } => "UDP broadcast",
            Target::Multicast { .. } => "UDP multicast",
            _ => "this machine",
        };
        if answer.reply.tcp_port != 0 {
            self.add(address, None, way);
        }
    }
}

impl Server {
    fn of(candidates: &Candidates, proofs: &[&Proof]) -> Self {
        let first = proofs[0];
        let of_all = |part: fn(&Candidate) -> &BTreeSet<String>| -> Vec<String> {
            let parts = proofs.iter().filter_map(|proof| candidates.addresses.get(&proof.address)).flat_map(|one| part(one).clone());
            parts.collect::<BTreeSet<_>>().into_iter().collect()
        };
        let best = proofs.iter().find(|proof| matches!(proof.verdict, Verdict::KnownKey(_))).unwrap_or(&first);
        let Told { verdict, known_by, known_since, detail, udp } = Told::of(best);
        let licensed = best.proved.as_ref().and_then(|proved| proved.licenses.first());
        let instances: BTreeSet<String> =
            proofs.iter().filter_map(|proof| proof.proved.as_ref()).map(|proved| short_instance(&proved.instance)).collect();
        Self {
            addresses: proofs.iter().map(|proof| proof.address.to_string()).collect(),
            names: of_all(|candidate| &candidate.names).into_iter().chain(best.name().map(str::to_owned)).collect(),
            found_by: of_all(|candidate| &candidate.ways),
            verdict,
            known_by,
            known_since,
            server_key: best.proved.as_ref().map(|proved| proved.server_key.to_string()),
            vendor: licensed.map(|license| license.terms().vendor.to_string()),
            version: proofs.iter().find_map(|proof| proof.version()).map(str::to_owned),
            instances: instances.into_iter().collect(),
            clone: false,
            changed_from: None,
            detail,
            not_kept: None,
            udp,
            features: Vec::new(),
        }
    }

    fn nowhere(name: &str, way: &str, why: &str) -> Self {
        Self {
            addresses: Vec::new(),
            names: vec![name.to_owned()],
            found_by: vec![way.to_owned()],
            verdict: "silent",
            known_by: None,
            known_since: None,
            server_key: None,
            vendor: None,
            version: None,
            instances: Vec::new(),
            clone: false,
            changed_from: None,
            detail: Some(why.to_owned()),
            not_kept: None,
            udp: "silent",
            features: Vec::new(),
        }
    }

    /// For the table, whose cells escape themselves.
    fn proof(&self) -> String {
        let key = self.server_key.as_deref().map(short_key).unwrap_or_default();
        let mut text = match (self.verdict, self.known_by) {
            ("known_key", Some("license")) => format!("known key {key}, licensed by {}", self.vendor.as_deref().unwrap_or("?")),
            ("known_key", _) => format!("known key {key}, as on {}", self.known_since.as_deref().unwrap_or("?")),
            ("unknown_key", _) => format!("unknown key {key}"),
            ("other", _) => "NOT a known server".to_owned(),
            ("unproved", _) => "unproved now".to_owned(),
            _ => "silent".to_owned(),
        };
        if self.clone {
            text.push_str("; CLONE");
        }
        if self.changed_from.is_some() {
            text.push_str("; KEY CHANGED");
        }
        if let Some(detail) = &self.detail {
            text.push_str(": ");
            text.push_str(detail);
        }
        text
    }
}

/// What nobody should overlook.
fn tell(terminal: &Terminal, server: &Server) {
    let place = escape(&server.addresses.join(", ")).into_owned();
    if server.clone {
        let key = server.server_key.as_deref().map(short_key).unwrap_or_default();
        terminal.warning(format_args!(
            "{key} runs twice at the same time ({place}): somebody copied the server's data directory, and each copy counts from zero"
        ));
    }
    if let Some(why) = &server.not_kept {
        terminal.warning(format_args!("the key at {place} is not remembered: {}", escape(why)));
    }
    if let Some(old) = &server.changed_from {
        let now = server.server_key.as_deref().unwrap_or_default();
        terminal.warning(format_args!("the key at {place} is not the one that was seen there: it was {old}, it is {now}"));
        match (server.known_by, pins::usual_file()) {
            (Some("license"), _) => terminal.hint("a license of the vendor lists the new key, which is pinned now"),
            (_, Some(file)) => terminal.hint(format_args!(
                "if the server was set up anew, take its line out of {}; else somebody else answers there",
                escape(&file.to_string_lossy())
            )),
            _ => {}
        }
    }
}

/// What a look proved, in the words of tables and JSON.
pub(crate) struct Told {
    /// `known_key`, `unknown_key`, `other`, `silent` or `unproved`.
    pub(crate) verdict: &'static str,
    /// `license`, `name` or `pin`.
    pub(crate) known_by: Option<&'static str>,
    /// When a pinned key was first seen.
    pub(crate) known_since: Option<String>,
    /// What else answers, or why nothing does.
    pub(crate) detail: Option<String>,
    /// `agrees`, `silent`, or how UDP contradicts TCP.
    pub(crate) udp: &'static str,
}

impl Told {
    pub(crate) fn of(proof: &Proof) -> Self {
        let (verdict, known_by, known_since, detail) = match &proof.verdict {
            Verdict::KnownKey(KnownBy::License) => ("known_key", Some("license"), None, None),
            Verdict::KnownKey(KnownBy::Name) => ("known_key", Some("name"), None, None),
            Verdict::KnownKey(KnownBy::Pin(pin)) => ("known_key", Some("pin"), Some(day_of(pin.first_seen_s)), None),
            Verdict::UnknownKey => ("unknown_key", None, None, None),
            Verdict::Other(what) => ("other", None, None, Some(what.clone())),
            Verdict::Silent(why) => ("silent", None, None, Some(why.clone())),
            Verdict::Unproved(what) => ("unproved", None, None, Some(what.clone())),
        };
        let udp = match proof.udp {
            Udp::Agrees => "agrees",
            Udp::OtherCertificate => "other_certificate",
            Udp::OtherInstance => "other_instance",
            Udp::OtherKey => "other_key",
            Udp::Silent => "silent",
        };
        Self { verdict, known_by, known_since, detail, udp }
    }
}

/// The key that was seen at an address before, and since when.
pub(crate) fn seen_before(pin: &Pin) -> String {
    format!("{} since {}", pin.server_key, day_of(pin.first_seen_s))
}

/// The first bytes of an instance, enough to tell two apart.
pub(crate) fn short_instance(instance: &[u8; 32]) -> String {
    instance[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Does one thing with each, at most so many at once; results in the order in which they were ready.
pub(crate) fn each_of<T: Send, R: Send>(things: Vec<T>, at_once: usize, does: impl Fn(T) -> R + Sync) -> Vec<R> {
    let count = things.len().min(at_once);
    let waiting = Mutex::new(things.into_iter());
    let next = || waiting.lock().unwrap_or_else(std::sync::PoisonError::into_inner).next();
    let work = || std::iter::from_fn(|| next().map(&does)).collect::<Vec<R>>();
    thread::scope(|scope| {
        let workers: Vec<_> = (0..count).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("a probe ends with an answer, not with a panic")).collect()
    })
}

/// Every address, some at a time.
fn prove_all(addresses: Vec<SocketAddr>, known: &Known<'_>) -> Vec<Proof> {
    let mut proofs = each_of(addresses, AT_ONCE_MAX, |address| identity::prove(address, known, identity::patience(address)));
    proofs.sort_by_key(|proof| proof.address);
    proofs
}

/// Keeps the key of a server that proved it, if a license or the user vouches for it, or the user asks for it with `--remember`: that it was seen makes no key
/// known. Where nothing is kept, what was kept before counts. Without a home directory nothing is kept, and that is said.
pub(crate) fn pin(address: SocketAddr, proved: &Proved, is_vouched_for: bool, remember: bool) -> io::Result<Noted> {
    let not_kept = |why: &str| if remember { Err(io::Error::other(why)) } else { Ok(Noted::First) };
    if !is_vouched_for && !remember {
        return Ok(Noted::First);
    }
    let Some(name) = pins::name_of(address) else {
        return not_kept(
            "loopback and link-local addresses are never pinned, since elsewhere they are another machine; name the server by its address in the network",
        );
    };
    let Some(file) = pins::usual_file() else {
        return Err(io::Error::other("neither HOME nor XDG_DATA_HOME names a folder to keep it in"));
    };
    let now = u64::try_from(jiff::Timestamp::now().as_second()).unwrap_or(0);
    let seen = Pin { address: name, server_key: proved.server_key, first_seen_s: now, last_seen_s: now, instance: proved.instance };
    pins::note(&file, seen, is_vouched_for)
}

/// `2026-10-13`.
pub(crate) fn day_of(unix_s: u64) -> String {
    let at = i64::try_from(unix_s).ok().and_then(|at| jiff::Timestamp::from_second(at).ok());
    at.map_or_else(|| "an unknown day".to_owned(), |at| at.to_zoned(jiff::tz::TimeZone::system()).date().to_string())
}

/// Servers that announce themselves over mDNS: name and address.
fn announced(within: Duration) -> Result<Vec<(String, SocketAddr)>, mdns_sd::Error> {
    let daemon = ServiceDaemon::new()?;
    let events = daemon.browse(MDNS_SERVICE)?;
    let until = Instant::now() + within;
    let mut found = Vec::new();
    while let Ok(event) = events.recv_timeout(until.saturating_duration_since(Instant::now())) {
        if let ServiceEvent::ServiceResolved(service) = event {
            let host = service.get_hostname().trim_end_matches('.').to_owned();
            // A name that is none is left out; the address is what counts.
            let name = format!("{}@{host}", service.get_port()).parse::<ServerAddress>().map_or(host, |server| server.to_string());
            for ip in service.get_addresses() {
                let address = match ip {
                    // Only a link-local address needs to say its link.
                    mdns_sd::ScopedIp::V6(scoped) if scoped.addr().is_unicast_link_local() => {
                        std::net::SocketAddrV6::new(*scoped.addr(), service.get_port(), 0, scoped.scope_id().index).into()
                    }
                    other => SocketAddr::new(other.to_ip_addr(), service.get_port()),
                };
                if found.len() < ADDRESSES_MAX && address.port() != 0 {
                    found.push((name.clone(), address));
                }
            }
        }
        if Instant::now() >= until {
            break;
        }
    }
    let _ = daemon.shutdown();
    Ok(found)
}
