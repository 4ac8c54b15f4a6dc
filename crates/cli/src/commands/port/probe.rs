//! Our own probe of what listens: is it a TriQuest LM server and which, or what it says of itself.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::Duration,
};

use serde::Serialize;
use triquest_client::{
    identity::{self, Proof},
    pins::Noted,
};
use triquest_ports::{
    advice::Standing,
    banner::{self, Answer, Http, Manner, NotAsked, Says, Spoken, Target, Tls, TlsVersion},
    registry::{Protocol as Registered, Registry},
    sockets::{Namespace, Protocol, Socket},
};
use triquest_wire::limits::PORT;

use super::Setting;
use crate::commands::{
    find::{Told, each_of, pin, seen_before, short_instance},
    status::short_key,
};

/// Most probes at once.
const AT_ONCE_MAX: usize = 32;
/// Most probes of one look; the rest is said not to have been asked.
const PROBES_MAX: usize = 1_024;
/// Whether two instances answer at the same time is known after this.
const CLONES_MS_MAX: u64 = 1_500;
/// The name under which the kernel knows this program.
const OURS: &str = "triquest-lm";

/// What one address answered.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Probe {
    pub(super) address: SocketAddr,
    /// Of what may be one of ours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) identity: Option<Identity>,
    /// Of anything else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) says: Option<Says>,
    pub(super) took_ms: u64,
}

/// Who a server is, as far as it was proved.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Identity {
    /// `known_key`, `unknown_key`, `other`, `silent` or `unproved`.
    pub(super) verdict: &'static str,
    /// `here` (the data directory of this machine's server), `license`, `name` (the user named it) or `pin`.
    known_by: Option<&'static str>,
    known_since: Option<String>,
    pub(super) server_key: Option<String>,
    name: Option<String>,
    version: Option<String>,
    instance: Option<String>,
    /// The process of this program that takes connections there and does not answer: a server that is stopped, or that hangs.
    #[serde(skip_serializing_if = "Option::is_none")]
    hung_pid: Option<u32>,
    /// The same key answers with two instances at the same time.
    pub(super) clone: bool,
    /// The key that was seen here before, unless a license or the user vouches for the new one.
    pub(super) changed_from: Option<String>,
    /// The user named keys, and it proved none of them.
    unlike_named: bool,
    /// `agrees`, `silent`, or how UDP contradicts TCP.
    pub(super) udp: &'static str,
    /// Why the key could not be remembered.
    #[serde(skip_serializing_if = "Option::is_none")]
    not_kept: Option<String>,
    /// That it be remembered was asked for.
    #[serde(skip)]
    to_be_kept: bool,
    /// Why it is none of ours, or silent.
    detail: Option<String>,
}

impl Probe {
    /// Whether somebody should look at it.
    pub(super) fn needs_a_look(&self) -> bool {
        self.identity.as_ref().is_some_and(|identity| {
            identity.clone
                || identity.changed_from.is_some()
                || identity.unlike_named
                || identity.hung_pid.is_some()
                || identity.to_be_kept && identity.not_kept.is_some()
                || matches!(identity.verdict, "other" | "unknown_key" | "unproved")
        })
    }

    /// Whether nobody here knows the key that it proved, or it is not the one that was known or named.
    pub(super) fn is_a_stranger(&self) -> bool {
        self.identity.as_ref().is_some_and(|identity| {
            let is_unlike = identity.unlike_named && identity.server_key.is_some();
            identity.clone || identity.changed_from.is_some() || is_unlike || identity.verdict == "unknown_key"
        })
    }

    /// Whether the user named keys, and none of them was proved: another one, or none at all.
    pub(super) fn is_unlike_named(&self) -> bool {
        self.identity.as_ref().is_some_and(|identity| identity.unlike_named)
    }

    /// Whether a server of this program is there and does not answer.
    pub(super) fn is_hung(&self) -> bool {
        self.identity.as_ref().is_some_and(|identity| identity.hung_pid.is_some())
    }

    /// Whether it proved a key that somebody vouches for: the user, this machine's data directory, or a license of the vendor. That it was seen before is
    /// none; nor is anything else where the user says whose key must be there.
    pub(super) fn is_vouched_for(&self) -> bool {
        self.identity
            .as_ref()
            .is_some_and(|identity| matches!(identity.known_by, Some("here" | "license" | "name")) && !identity.unlike_named)
    }

    /// Whether it is not genuine: something else where one of ours should be, another key than before or than named, or one of two that cannot both be right.
    /// Whoever only cannot prove itself now is not called so, nor is what says nothing at all, nor a server that is known, though not the one that was named.
    pub(super) fn is_not_genuine(&self) -> bool {
        self.identity.as_ref().is_some_and(|identity| match identity.verdict {
            "other" => true,
            "unproved" | "silent" => identity.clone,
            "known_key" => identity.clone || identity.changed_from.is_some(),
            _ => identity.clone || identity.unlike_named || identity.changed_from.is_some(),
        })
    }

    /// Whether it says over UDP, or by its process, that it is one of ours, and takes nobody who would let it prove that.
    pub(super) fn is_unproved(&self) -> bool {
        self.identity.as_ref().is_some_and(|identity| identity.verdict == "unproved" || identity.hung_pid.is_some())
    }

    /// Whether the key that was seen here before is another one.
    pub(super) fn is_changed(&self) -> bool {
        self.identity.as_ref().is_some_and(|identity| identity.changed_from.is_some())
    }

    /// Whether it proved to be one of ours.
    pub(super) fn is_ours(&self) -> bool {
        self.identity.as_ref().is_some_and(|identity| matches!(identity.verdict, "known_key" | "unknown_key"))
    }

    /// In words. Texts from outside are in it: escape it.
    pub(super) fn words(&self) -> String {
        match (&self.identity, &self.says) {
            (Some(identity), says) => identity.words(says.as_ref()),
            (None, Some(says)) => words(says),
            (None, None) => "not asked".to_owned(),
        }
    }
}

impl Identity {
    fn of(proof: &Proof, setting: &Setting) -> Self {
        let Told { verdict, known_by, known_since, detail, udp } = Told::of(proof);
        let is_vouched_for = matches!(known_by, Some("license" | "name"));
        let proved_a_named_one = proof.proved.as_ref().is_some_and(|proved| setting.named.contains(&proved.server_key));
        // Nobody named it for this look: the data directory of this machine's server has it.
        let known_by = if known_by == Some("name") && !proved_a_named_one { Some("here") } else { known_by };
        // What was known before the look counts even if nothing can be kept now.
        let mut changed = proof.changed.clone();
        let mut not_kept = None;
        if let (Some(proved), true) = (&proof.proved, proof.verdict.is_server()) {
            match pin(proof.address, proved, is_vouched_for, setting.remember) {
                Ok(Noted::Changed(old)) => changed = Some(old),
                Ok(_) => {}
                Err(cause) => not_kept = Some(cause.to_string()),
            }
        }
        let changed_from = changed.filter(|_| !is_vouched_for).map(|old| seen_before(&old));
        let has_a_named_one = setting.named.is_empty() || proved_a_named_one && proof.verdict.is_server();
        Self {
            verdict,
            known_by,
            known_since,
            server_key: proof.proved.as_ref().map(|proved| proved.server_key.to_string()),
            name: proof.name().map(str::to_owned),
            version: proof.version().map(str::to_owned),
            instance: proof.proved.as_ref().map(|proved| short_instance(&proved.instance)),
            hung_pid: None,
            clone: false,
            changed_from,
            unlike_named: !has_a_named_one,
            udp,
            not_kept,
            to_be_kept: setting.remember,
            detail,
        }
    }

    fn words(&self, says: Option<&Says>) -> String {
        let key = self.server_key.as_deref().map(short_key).unwrap_or_default();
        let version = self.version.as_ref().map_or_else(String::new, |version| format!(" {version}"));
        let how = match (self.verdict, self.known_by) {
            ("known_key", Some("here")) => ", the server of this machine".to_owned(),
            ("known_key", Some("license")) => ", listed in a license of the vendor".to_owned(),
            ("known_key", Some("pin")) => format!(", as on {}", self.known_since.as_deref().unwrap_or("an earlier day")),
            ("known_key", _) => ", as named".to_owned(),
            _ => "; anyone can run this program".to_owned(),
        };
        let mut text = match (self.verdict, self.unlike_named) {
            ("known_key" | "unknown_key", true) => format!("NOT the key that you named: TriQuest LM{version}, {key}{how}"),
            ("known_key", false) => format!("known key: TriQuest LM{version}, {key}{how}"),
            ("unknown_key", false) => format!("unknown key: TriQuest LM{version}, {key}{how}"),
            ("unproved", _) => format!(
                "unproved now: {}; a server that is at its limit of connections looks so",
                self.detail.as_deref().unwrap_or("nothing proves it over TCP")
            ),
            ("silent", _) if self.hung_pid.is_some() => {
                format!("triquest-lm pid {} is here and does not answer: restart it", self.hung_pid.unwrap_or_default())
            }
            ("silent", _) => format!("silent: TCP: {}; UDP: no signed answer", self.detail.as_deref().unwrap_or("no answer")),
            _ => format!("NOT genuine: {}", self.detail.as_deref().unwrap_or("it proves no key")),
        };
        if let Some(says) = says.filter(|says| !matches!(says, Says::Mute | Says::NoConnection { .. })) {
            text.push_str("; ");
            text.push_str(&words(says));
        }
        if self.clone {
            text.push_str("; CLONE: the same key runs twice at the same time, so one of the two is a copy");
        }
        if self.unlike_named && !matches!(self.verdict, "known_key" | "unknown_key") {
            text.push_str("; the key that you named is not proved there");
        }
        if let Some(cause) = &self.not_kept {
            text.push_str("; it cannot be remembered: ");
            text.push_str(cause);
        }
        if let Some(old) = &self.changed_from {
            text.push_str("; KEY CHANGED: it was ");
            text.push_str(old);
        }
        text
    }
}

/// What is known of each socket by what was asked of it: one that was not asked, as in another network namespace, is known for nothing that another one said.
pub(super) fn standing(socket: &Socket, sockets: &[Socket], probes: &[Probe]) -> Standing {
    if socket.namespace != Namespace::This {
        return Standing::Unknown;
    }
    let Some(probe) = asked(socket, probes) else {
        return if all_vouched_for(sockets, probes) { Standing::Expected } else { Standing::Unknown };
    };
    // Over UDP somebody may be whom nobody proves over TCP: then the socket over TCP is the one in doubt.
    let speaks = socket.protocol == Protocol::Tcp || probe.identity.as_ref().is_some_and(|identity| identity.udp != "silent");
    match () {
        () if speaks && probe.is_not_genuine() => Standing::NotGenuine,
        // The word over UDP is all that there is of it.
        () if probe.is_unproved() => Standing::Unproved,
        () if all_vouched_for(std::slice::from_ref(socket), probes) || all_vouched_for(sockets, probes) => Standing::Expected,
        () => Standing::Unknown,
    }
}

/// What was asked at this socket's address.
fn asked<'a>(socket: &Socket, probes: &'a [Probe]) -> Option<&'a Probe> {
    let address = Target::this_machine(socket.endpoint()).ok()?.address();
    probes.iter().find(|probe| probe.address == address)
}

/// Whether somebody vouches for every one of these sockets: each was asked, and proved a key that is named or licensed. A UDP socket is one with the TCP
/// socket that a process has beside it, or with the proof that agrees with it.
fn all_vouched_for(sockets: &[Socket], probes: &[Probe]) -> bool {
    let proof_of = |socket: &Socket| asked(socket, probes).filter(|probe| probe.is_vouched_for());
    let here = |socket: &&Socket| socket.namespace == Namespace::This;
    let (tcp, udp): (Vec<&Socket>, Vec<&Socket>) = sockets.iter().partition(|socket| socket.protocol == Protocol::Tcp);
    let good: Vec<&Socket> = tcp.iter().copied().filter(here).filter(|socket| proof_of(socket).is_some()).collect();
    let pids = |socket: &Socket| socket.processes().iter().map(|process| process.pid).collect::<Vec<_>>();
    let udp_is_good = |socket: &&Socket| {
        let agrees = proof_of(socket).and_then(|probe| probe.identity.as_ref()).is_some_and(|identity| identity.udp == "agrees");
        here(socket) && (agrees || good.iter().any(|other| !pids(other).is_empty() && pids(other) == pids(socket)))
    };
    !good.is_empty() && good.len() == tcp.len() && udp.iter().all(udp_is_good)
}

/// What a service says of itself, in words.
pub(super) fn words(says: &Says) -> String {
    match says {
        Says::Greeting(greeting) => match greeting.protocol {
            Some(protocol) => format!("{}: {}", spoken(protocol), greeting.text),
            None => format!("it greets: {}", greeting.text),
        },
        Says::Http(http) => format!("HTTP without TLS, {}", http_words(http)),
        Says::Mute => "mute: takes connections and says nothing".to_owned(),
        Says::NoConnection { why } => format!("takes no connection: {why}"),
        Says::Other { text } => format!("it answers: {text}"),
        Says::Tls(tls) => tls_words(tls),
    }
}

fn spoken(protocol: Spoken) -> &'static str {
    match protocol {
        Spoken::Ftp => "FTP",
        Spoken::Imap => "IMAP",
        Spoken::Mysql => "MySQL",
        Spoken::Pop3 => "POP3",
        Spoken::Postgresql => "PostgreSQL",
        Spoken::Redis => "Redis",
        Spoken::Smtp => "SMTP",
        Spoken::Ssh => "SSH",
        Spoken::Vnc => "VNC",
    }
}

fn http_words(http: &Http) -> String {
    let server = http.server.as_ref().map_or_else(String::new, |server| format!(", server {server}"));
    format!("status {}{server}", http.status)
}

fn tls_words(tls: &Tls) -> String {
    let mut text = match tls.version {
        TlsVersion::Older => "TLS older than 1.3".to_owned(),
        TlsVersion::Tls13 => "TLS 1.3".to_owned(),
        TlsVersion::Unknown => "TLS".to_owned(),
    };
    if let Some(certificate) = &tls.certificate {
        text.push_str(", certificate of ");
        text.push_str(&certificate.subject);
    }
    if let Some(http) = &tls.http {
        text.push_str(", HTTP ");
        text.push_str(&http_words(http));
    }
    text
}

/// Which of the registered names fit what was heard: yes, no, or nobody can tell.
///
/// Very much is carried in HTTP and TLS, so that they contradict only a name whose own first words are known and others: HTTP where SSH, a database or HTTPS
/// belongs is something else.
pub(super) fn fits(names: &[&str], says: &Says) -> Option<bool> {
    let heard = match says {
        Says::Greeting(greeting) => Words::Greets(greeting.protocol?),
        Says::Http(_) => Words::Http,
        Says::Tls(tls) if tls.http.is_some() => Words::Https,
        Says::Tls(_) => Words::Tls,
        Says::Mute | Says::NoConnection { .. } | Says::Other { .. } => return None,
    };
    let expected: Vec<Option<Words>> = names.iter().map(|name| Words::of(name)).collect();
    if expected.iter().flatten().any(|expected| expected.takes(heard)) {
        return Some(true);
    }
    match heard {
        // A greeting that is known is one protocol's and no other's.
        Words::Greets(_) => Some(false),
        _ if expected.iter().all(Option::is_some) => Some(false),
        _ => None,
    }
}

/// With what a service begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Words {
    Greets(Spoken),
    Http,
    Https,
    Tls,
}

impl Words {
    /// Of a registered name, if that says it.
    fn of(name: &str) -> Option<Self> {
        let name = name.to_ascii_lowercase();
        let contains = |word: &str| name.contains(word);
        let is = |words: &[&str]| words.contains(&name.as_str());
        Some(match () {
            () if contains("https") => Self::Https,
            () if contains("http") || contains("www") => Self::Http,
            () if is(&["ftps", "ftps-data", "imaps", "pop3s", "submissions", "smtps", "ldaps", "nntps", "ircs-u"]) => Self::Tls,
            () if contains("ftp") && !contains("tftp") && !contains("sftp") => Self::Greets(Spoken::Ftp),
            () if contains("imap") => Self::Greets(Spoken::Imap),
            () if contains("mysql") => Self::Greets(Spoken::Mysql),
            () if is(&["pop2", "pop3"]) => Self::Greets(Spoken::Pop3),
            () if contains("postgresql") => Self::Greets(Spoken::Postgresql),
            () if is(&["redis"]) => Self::Greets(Spoken::Redis),
            () if contains("smtp") || contains("submission") => Self::Greets(Spoken::Smtp),
            () if is(&["ssh", "sftp", "netconf-ssh"]) => Self::Greets(Spoken::Ssh),
            () if contains("vnc") || is(&["rfb"]) => Self::Greets(Spoken::Vnc),
            () => return None,
        })
    }

    /// Whether a service that should begin so may begin as it was heard.
    fn takes(self, heard: Self) -> bool {
        self == heard || self == Self::Tls && heard == Self::Https || self == Self::Https && heard == Self::Tls
    }
}

/// What may be one of ours: on our port, or a process of our name.
fn may_be_ours(socket: &Socket) -> bool {
    socket.port == PORT || socket.processes().iter().any(|process| process.name == OURS)
}

/// What services said at earlier looks of the same run. A service is asked once for each socket: some count and log every question.
#[derive(Default)]
pub(super) struct Answers(BTreeMap<(SocketAddr, u64), Answer>);

/// Whether a proof is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ours {
    /// It may be one of ours, or must be.
    Yes,
    /// Only if it answers as one of ours does: its process cannot be seen from here, and most services take a proof's questions for an error.
    IfItSpeaksSo,
    No,
}

/// Something to ask.
struct Question {
    target: Target,
    ours: Ours,
    manner: Manner,
    /// The socket's number in the kernel, 0 if not known.
    inode: u64,
    /// The process of our name that holds the socket, if the kernel shows one.
    our_pid: Option<u32>,
}

/// Asks each TCP socket of this machine once, many at a time. UDP is asked only where one of ours may be. A key that the user named for one port must be
/// proved by whatever listens there.
pub(super) fn sockets(sockets: &[Socket], only_port: bool, registry: &Registry, setting: &Setting, answers: &mut Answers) -> Vec<Probe> {
    if setting.no_probe {
        return Vec::new();
    }
    let mut seen = BTreeSet::new();
    let mut questions = Vec::new();
    for socket in sockets {
        let ours = may_be_ours(socket) || only_port && !setting.named.is_empty();
        let target = match Target::of(socket) {
            Ok(target) => target,
            // Somebody who answers on UDP 1588 alone is asked too: the proof then finds TCP silent.
            Err(NotAsked::Udp) if ours => match Target::this_machine(socket.endpoint()) {
                Ok(target) => target,
                Err(_) => continue,
            },
            Err(_) => continue,
        };
        if seen.insert(target.address()) && questions.len() < PROBES_MAX {
            let manner = manner(registry, socket.port, socket.processes().iter().map(|process| process.name.as_str()));
            let our_pid = socket.processes().iter().find(|process| process.name == OURS).map(|process| process.pid);
            questions.push(Question { target, ours: if ours { Ours::Yes } else { Ours::No }, manner, inode: socket.inode, our_pid });
        }
    }
    ask_all(questions, setting, answers)
}

/// Asks addresses that the user named.
pub(super) fn named(addresses: &[SocketAddr], registry: &Registry, setting: &Setting, answers: &mut Answers) -> Vec<Probe> {
    if setting.no_probe {
        return Vec::new();
    }
    let question = |address: &SocketAddr| {
        let ours = if address.port() == PORT || !setting.named.is_empty() { Ours::Yes } else { Ours::IfItSpeaksSo };
        let manner = manner(registry, address.port(), std::iter::empty());
        Some(Question { target: Target::named_by_the_user(*address).ok()?, ours, manner, inode: 0, our_pid: None })
    };
    ask_all(addresses.iter().filter_map(question).collect(), setting, answers)
}

/// By which etiquette: as the port's registered names and the processes say.
fn manner<'a>(registry: &'a Registry, port: u16, processes: impl Iterator<Item = &'a str>) -> Manner {
    Manner::of(registry.on(port, Registered::Tcp).iter().filter_map(|entry| entry.name).chain(processes))
}

/// What a server of ours says to a stranger: TLS, or to HTTP without it that this is the wrong way to ask.
fn speaks_as_ours(says: &Says) -> bool {
    match says {
        Says::Http(http) => http.status == 400,
        Says::Tls(_) => true,
        Says::Greeting(_) | Says::Mute | Says::NoConnection { .. } | Says::Other { .. } => false,
    }
}

fn ask_all(questions: Vec<Question>, setting: &Setting, answers: &mut Answers) -> Vec<Probe> {
    let known = setting.known();
    let before = &answers.0;
    let pids: BTreeMap<SocketAddr, u32> = questions.iter().filter_map(|asked| Some((asked.target.address(), asked.our_pid?))).collect();
    let mut heard = each_of(questions, AT_ONCE_MAX, |Question { target, ours, manner, inode, our_pid: _ }| {
        let address = target.address();
        let prove = || identity::prove(address, &known, identity::patience(address));
        let is_server = |proof: &Proof| proof.verdict.is_server();
        let again = || before.get(&(address, inode)).filter(|_| inode != 0).cloned();
        let ask = || again().unwrap_or_else(|| banner::ask(target, manner));
        match ours {
            // Whoever is not one of ours is asked what else it is.
            Ours::Yes => {
                let proof = prove();
                let answer = (!is_server(&proof)).then(ask);
                (address, inode, Some(proof), answer)
            }
            Ours::IfItSpeaksSo => {
                let answer = ask();
                match speaks_as_ours(&answer.says).then(prove).filter(is_server) {
                    Some(proof) => (address, inode, Some(proof), None),
                    None => (address, inode, None, Some(answer)),
                }
            }
            Ours::No => (address, inode, None, Some(ask())),
        }
    });
    heard.sort_by_key(|(address, ..)| *address);
    answers.0 = heard
        .iter()
        .filter_map(|(address, inode, _, answer)| {
            let answer = answer.as_ref().filter(|answer| *inode != 0 && !matches!(answer.says, Says::NoConnection { .. }))?;
            Some(((*address, *inode), answer.clone()))
        })
        .collect();
    let proofs: Vec<Proof> = heard.iter().filter_map(|(_, _, proof, _)| proof.clone()).collect();
    let clones = identity::clones(&proofs, Duration::from_millis(CLONES_MS_MAX));
    heard
        .into_iter()
        .map(|(address, _, proof, answer)| {
            let took_ms = proof.as_ref().map_or(0, |proof| u64::try_from(proof.round_trip.as_millis()).unwrap_or(u64::MAX));
            let mut identity = proof.as_ref().map(|proof| Identity::of(proof, setting));
            if let (Some(identity), Some(proved)) = (&mut identity, proof.as_ref().and_then(|proof| proof.proved.as_ref())) {
                identity.clone = clones.iter().any(|clones| clones.server_key == proved.server_key);
            }
            if let Some(identity) = identity.as_mut().filter(|identity| identity.verdict == "silent") {
                identity.hung_pid = pids.get(&address).copied();
            }
            let says_took = answer.as_ref().map_or(0, |answer| answer.took_ms);
            Probe { address, identity, says: answer.map(|answer| answer.says), took_ms: took_ms.max(says_took) }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::{
        io::Write as _,
        net::TcpListener,
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
    };

    use triquest_client::pins::Pins;
    use triquest_ports::{
        banner::Greeting,
        sockets::{Ask, listening},
    };

    use super::*;

    #[test]
    fn a_service_is_asked_once_for_each_socket_however_often_it_is_looked_at() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                count.fetch_add(1, Ordering::SeqCst);
                let _ = stream.unwrap().write_all(b"SSH-2.0-x\r\n");
            }
        });
        let setting =
            Setting { no_probe: false, vendors: None, servers: Vec::new(), named: Vec::new(), pins: Pins::default(), remember: false };
        let found = listening(Some(port), Ask { other_namespaces: false, packages: false, socket_units: false }).unwrap().sockets;
        let mut answers = Answers::default();
        for _ in 0..3 {
            let probes = sockets(&found, false, Registry::embedded(), &setting, &mut answers);
            assert_eq!(probes.len(), 1);
            assert!(probes[0].words().contains("SSH"), "{}", probes[0].words());
        }
        assert_eq!(asked.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn the_proof_and_the_banner_leave_the_same_ports_alone() {
        assert_eq!(triquest_client::limits::PAPER_PORTS, banner::PAPER_PORTS);
    }

    #[test]
    fn a_greeting_confirms_or_contradicts_a_registered_name() {
        let ssh = Says::Greeting(Greeting { protocol: Some(Spoken::Ssh), text: "SSH-2.0-x".into() });
        assert_eq!(fits(&["ssh"], &ssh), Some(true));
        assert_eq!(fits(&["https"], &ssh), Some(false));
        let unknown = Says::Greeting(Greeting { protocol: None, text: "hello".into() });
        assert_eq!(fits(&["ssh"], &unknown), None);
        let http = Says::Http(Http { status: 200, server: None, location: None });
        assert_eq!(fits(&["http-alt"], &http), Some(true));
        assert_eq!(fits(&["ipp"], &http), None, "printing is carried in HTTP");
        assert_eq!(fits(&["ssh"], &Says::Mute), None);
        for wrong in [&["https"][..], &["ssh"], &["mysql"], &["http", "postgresql"][1..]] {
            assert_eq!(fits(wrong, &http), Some(false), "HTTP without TLS is not what belongs on {wrong:?}");
        }
        assert_eq!(fits(&["http", "www-http"], &http), Some(true));
        let tls = |http| Says::Tls(Tls { version: TlsVersion::Tls13, alpn: None, certificate: None, has_key: true, alert: None, http });
        let inside = Http { status: 200, server: None, location: None };
        assert_eq!(fits(&["https"], &tls(Some(inside.clone()))), Some(true));
        assert_eq!(fits(&["http"], &tls(Some(inside))), Some(false));
        assert_eq!((fits(&["imaps"], &tls(None)), fits(&["ssh"], &tls(None)), fits(&["ipp"], &tls(None))), (Some(true), Some(false), None));
    }
}
