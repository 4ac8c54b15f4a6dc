//! Who answers at an address: the identity datagram over UDP, and the proof over TCP.
//!
//! [`ask`] finds servers; what it hears is a hint, since anyone may answer. [`prove`] gives one of four verdicts. A server is *known* only if TLS ends at the
//! holder of a server's key, for this very connection and question, and if that key is known: named by the user, listed in a license that the vendor's key
//! verifies, or pinned earlier. Nothing about the user is sent, and neither a verdict nor a datagram ever gives a client a seat: a seat takes the whole chain of
//! [`crate::verify`].

use std::{
    collections::BTreeSet,
    fmt, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use if_addrs::{IfAddr, Interface};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use triquest_license::{ServerKey, SigningKey, VerifiedLicense, VerifierKeys};
use triquest_wire::{
    Bytes32, ErrorCode, Lineage,
    identity::{GROUP_IPV4, GROUP_IPV6, IdentityReply, IdentityRequest},
    limits::IDENTITY_BYTES,
    text,
};

use crate::{
    address::ServerAddress,
    clock, dial,
    error::says,
    limits::{
        INSTANCES_ASKED_MAX, PAPER_PORTS, PROVE_LOOPBACK_MS_MAX, PROVE_MS_MAX, SAID_BYTES_MAX, UDP_AFTER_TCP_MS, UDP_DATAGRAMS_MAX,
        UDP_QUESTIONS_MAX,
    },
    pins::{self, Pin, Pins},
    transport::{CallError, Unspoken, explain, speak},
    verify::{self, Distrust, TrustExpected},
};

/// Whom to ask. Kept alphabetical.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Target {
    /// Everyone on the IPv4 networks of this machine.
    Broadcast {
        /// The port.
        port: u16,
    },
    /// The servers that joined the groups, on the networks of this machine.
    Multicast {
        /// The port.
        port: u16,
    },
    /// One address.
    Unicast(SocketAddr),
}

impl Target {
    fn port(&self) -> u16 {
        match self {
            Self::Broadcast { port } | Self::Multicast { port } => *port,
            Self::Unicast(address) => address.port(),
        }
    }
}

/// Why those ports are left alone.
const PAPER: &str = "nothing is sent to ports 9100 to 9107, where printers print whatever they get";

/// A signed answer over UDP. A hint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What it says.
    pub reply: IdentityReply,
    /// Where it came from.
    pub from: SocketAddr,
    /// What was asked.
    pub asked: Target,
    /// From the question to the answer.
    pub round_trip: Duration,
}

impl Answer {
    fn is_same(&self, asked: Target, from: SocketAddr, reply: &IdentityReply) -> bool {
        let (own, other) = (&self.reply, reply);
        (self.asked, self.from) == (asked, from) && (own.server_key, own.instance) == (other.server_key, other.instance)
    }
}

/// What a round of questions brought.
#[derive(Clone, Debug, Default)]
pub struct Heard {
    /// Each start of a server at each address once for each target.
    pub answers: Vec<Answer>,
    /// Datagrams that were no answer to the question: another nonce, no or another signature, another form.
    pub dropped: usize,
    /// Answers that came again.
    pub repeated: usize,
    /// Questions that could not be sent, and why.
    pub unsent: Vec<(Target, String)>,
}

/// Asks over UDP who is there and collects answers for so long, or until every single address that was asked has answered. Each question has a fresh
/// nonce and a socket of its own, so an answer counts only for its question; what comes later meets a closed port.
#[must_use]
pub fn ask(targets: &[Target], within: Duration) -> Heard {
    let mut heard = Heard::default();
    let mut questions = Vec::new();
    for target in targets {
        if PAPER_PORTS.contains(&target.port()) {
            heard.unsent.push((*target, PAPER.into()));
            continue;
        }
        for question in Question::all(*target) {
            match question {
                _ if questions.len() >= UDP_QUESTIONS_MAX => heard.unsent.push((*target, "too many questions at once".into())),
                Ok(question) => questions.push(question),
                Err(error) => heard.unsent.push((*target, error.to_string())),
            }
        }
    }
    collect(&mut questions, within, &mut heard);
    heard
}

struct Question {
    socket: UdpSocket,
    to: SocketAddr,
    target: Target,
    nonce: [u8; 32],
    sent_at: Instant,
    /// No more is expected: a single address has answered, or said that nobody listens.
    is_over: bool,
}

impl Question {
    /// The questions that a target takes: one for each network.
    fn all(target: Target) -> Vec<io::Result<Self>> {
        let interfaces = || -> Vec<Interface> {
            let all = if_addrs::get_if_addrs().unwrap_or_default();
            all.into_iter().filter(|interface| !interface.is_loopback()).collect()
        };
        match target {
            Target::Unicast(address) => vec![Self::to_one(address, target)],
            Target::Broadcast { port } => interfaces()
                .iter()
                .filter_map(|interface| match &interface.addr {
                    IfAddr::V4(own) if !interface.is_p2p() => {
                        let by_mask = Ipv4Addr::from(u32::from(own.ip) | !u32::from(own.netmask));
                        // Where none was set, the system says the interface's own address.
                        let everyone = own.broadcast.filter(|everyone| *everyone != own.ip).unwrap_or(by_mask);
                        // A network of one has nobody to ask.
                        (everyone != own.ip).then(|| Self::to_network(own.ip, everyone, port, target))
                    }
                    _ => None,
                })
                .collect(),
            Target::Multicast { port } => {
                let mut seen = BTreeSet::new();
                let mut questions = Vec::new();
                for interface in interfaces() {
                    match (&interface.addr, interface.index) {
                        (IfAddr::V4(own), _) => questions.push(Self::to_network(own.ip, GROUP_IPV4, port, target)),
                        (IfAddr::V6(_), Some(index)) if seen.insert(index) => {
                            let group = SocketAddrV6::new(GROUP_IPV6, port, 0, index);
                            questions.push(UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).and_then(|socket| {
                                rustix::net::sockopt::set_ipv6_multicast_if(&socket, index)?;
                                Self::send(socket, group.into(), target)
                            }));
                        }
                        _ => {}
                    }
                }
                questions
            }
        }
    }

    /// Only what comes from the address that was asked reaches a connected socket, and a closed port is told at once.
    fn to_one(address: SocketAddr, target: Target) -> io::Result<Self> {
        let any = if address.is_ipv4() { IpAddr::from(Ipv4Addr::UNSPECIFIED) } else { Ipv6Addr::UNSPECIFIED.into() };
        let socket = UdpSocket::bind((any, 0))?;
        socket.connect(address)?;
        Self::send(socket, address, target)
    }

    fn to_network(own: Ipv4Addr, to: Ipv4Addr, port: u16, target: Target) -> io::Result<Self> {
        let socket = UdpSocket::bind((own, 0))?;
        if to.is_multicast() {
            rustix::net::sockopt::set_ip_multicast_if(&socket, &own)?;
            rustix::net::sockopt::set_ip_multicast_ttl(&socket, 1)?;
        } else {
            socket.set_broadcast(true)?;
        }
        Self::send(socket, SocketAddr::new(to.into(), port), target)
    }

    #[expect(clippy::disallowed_methods, reason = "how long a packet took, no right of a lease")]
    fn send(socket: UdpSocket, to: SocketAddr, target: Target) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let question = Self { socket, to, target, nonce: clock::random(), sent_at: Instant::now(), is_over: false };
        question.send_again()?;
        Ok(question)
    }

    fn is_to_one(&self) -> bool {
        matches!(self.target, Target::Unicast(_))
    }

    fn send_again(&self) -> io::Result<()> {
        let bytes = IdentityRequest { nonce: self.nonce }.encode();
        if self.is_to_one() { self.socket.send(&bytes) } else { self.socket.send_to(&bytes, self.to) }.map(drop)
    }

    /// What has come. False if nothing more is here for now.
    fn receive(&mut self, heard: &mut Heard) -> bool {
        // One byte more than an answer has, so that a longer one shows.
        let mut bytes = [0; IDENTITY_BYTES + 1];
        let (length, from) = match self.socket.recv_from(&mut bytes) {
            Ok(received) => received,
            Err(error) => {
                if error.kind() == io::ErrorKind::ConnectionRefused {
                    self.is_over = true;
                }
                return error.kind() == io::ErrorKind::Interrupted;
            }
        };
        match IdentityReply::open(&bytes[..length], &self.nonce) {
            Err(_) => heard.dropped += 1,
            Ok(reply) if heard.answers.iter().any(|known| known.is_same(self.target, from, &reply)) => heard.repeated += 1,
            Ok(reply) => {
                heard.answers.push(Answer { reply, from, asked: self.target, round_trip: self.sent_at.elapsed() });
                self.is_over = self.is_to_one();
            }
        }
        true
    }
}

#[expect(clippy::disallowed_methods, reason = "how long to listen, no right of a lease")]
fn collect(questions: &mut [Question], within: Duration, heard: &mut Heard) {
    let began = Instant::now();
    let mut resend_at = Some(within / 2);
    let mut datagrams = 0;
    while questions.iter().any(|question| !question.is_over) {
        let passed = began.elapsed();
        let Some(left) = within.checked_sub(passed).filter(|left| !left.is_zero()) else { return };
        // Datagrams get lost: half the time is for a second try with the same nonce.
        if resend_at.is_some_and(|at| passed >= at) {
            resend_at = None;
            for question in questions.iter().filter(|question| !question.is_over) {
                let _ = question.send_again();
            }
        }
        let patience = resend_at.map_or(left, |at| at.saturating_sub(passed).min(left));
        let timeout = Timespec { tv_sec: i64::try_from(patience.as_secs()).unwrap_or(i64::MAX), tv_nsec: patience.subsec_nanos().into() };
        let waiting: Vec<usize> = questions.iter().enumerate().filter(|(_, question)| !question.is_over).map(|(place, _)| place).collect();
        let mut polled: Vec<_> = waiting.iter().map(|place| PollFd::new(&questions[*place].socket, PollFlags::IN)).collect();
        match poll(&mut polled, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return,
        }
        let ready: Vec<usize> =
            polled.iter().zip(&waiting).filter(|(polled, _)| !polled.revents().is_empty()).map(|(_, place)| *place).collect();
        for place in ready {
            while questions[place].receive(heard) {
                datagrams += 1;
                if datagrams >= UDP_DATAGRAMS_MAX {
                    return;
                }
            }
        }
    }
}

/// Which keys are known. By default none is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Known<'a> {
    /// Keys of servers that the user names.
    pub servers: &'a [ServerKey],
    /// Keys of vendors whose licenses count.
    pub vendors: Option<&'a VerifierKeys>,
    /// Keys that were seen before.
    pub pins: Option<&'a Pins>,
}

/// Why a key is known. Kept alphabetical.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KnownBy {
    /// A license of the vendor lists it.
    License,
    /// The user named it.
    Name,
    /// It was seen before.
    Pin(Pin),
}

/// What answers at an address. Texts may hold what the other side says: escape them before printing. Kept alphabetical.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A TriQuest LM server with a known key.
    KnownKey(KnownBy),
    /// Something else, or something that passes itself off as a server: what is known of it.
    Other(String),
    /// Nothing answers: what was seen of that.
    Silent(String),
    /// A TriQuest LM server whose key nobody here knows. Anyone can run this program.
    UnknownKey,
    /// A signed answer over UDP, and nobody who takes a connection over TCP and proves it: a server at its limit, or somebody who passes answers on.
    Unproved(String),
}

impl Verdict {
    /// Whether it is a TriQuest LM server that proved its key.
    #[must_use]
    pub fn is_server(&self) -> bool {
        matches!(self, Self::KnownKey(_) | Self::UnknownKey)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KnownKey(_) => f.write_str("known key"),
            Self::Other(what) => write!(f, "NOT a known server: {what}"),
            Self::Silent(why) => write!(f, "silent: {why}"),
            Self::UnknownKey => f.write_str("unknown key"),
            Self::Unproved(what) => write!(f, "unproved now: {what}"),
        }
    }
}

/// What UDP says beside TCP. Kept alphabetical.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Udp {
    /// The same key, certificate and instance.
    Agrees,
    /// The same key, but another certificate than TCP serves: an answer that was passed on from elsewhere.
    OtherCertificate,
    /// The same key and certificate, but another instance runs: a clone.
    OtherInstance,
    /// Another key.
    OtherKey,
    /// No answer.
    Silent,
}

/// What was found at an address.
#[derive(Clone, Debug)]
pub struct Proof {
    /// The address that was asked.
    pub address: SocketAddr,
    /// What it is.
    pub verdict: Verdict,
    /// Proved over TCP: the key, the certificate, the start, the history.
    pub proved: Option<Proved>,
    /// What was said over UDP, if anything.
    pub hint: Option<Answer>,
    /// Whether both agree.
    pub udp: Udp,
    /// The key that was pinned to this address, if another one answers now.
    pub changed: Option<Pin>,
    /// From the first packet over TCP to the proof.
    pub round_trip: Duration,
}

/// What a server proved over TCP.
#[derive(Clone, Debug)]
pub struct Proved {
    /// Its key.
    pub server_key: ServerKey,
    /// SHA-256 of the SubjectPublicKeyInfo of its certificate.
    pub tls_spki: [u8; 32],
    /// Random for each start.
    pub instance: [u8; 32],
    /// Its history.
    pub lineage: Lineage,
    /// Its civil time, unix milliseconds.
    pub server_time_ms: i64,
    /// Licenses of the asked vendors that name it, verified.
    pub licenses: Vec<VerifiedLicense>,
    /// Why it is no server of the asked vendors, if some were asked for.
    pub not_licensed: Option<Distrust>,
}

impl Proof {
    /// The program's version, as UDP says.
    #[must_use]
    pub fn version(&self) -> Option<&str> {
        self.hint.as_ref().map(|hint| hint.reply.version.as_str()).filter(|version| !version.is_empty() && self.udp == Udp::Agrees)
    }

    /// The machine's name, as UDP says.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.hint.as_ref().map(|hint| hint.reply.name.as_str()).filter(|name| !name.is_empty() && self.udp == Udp::Agrees)
    }

    /// One key runs twice here, at the same time.
    #[must_use]
    pub fn is_clone(&self) -> bool {
        self.udp == Udp::OtherInstance
    }
}

/// How long [`prove`] should be given for an address.
#[must_use]
pub fn patience(address: SocketAddr) -> Duration {
    Duration::from_millis(if address.ip().to_canonical().is_loopback() { PROVE_LOOPBACK_MS_MAX } else { PROVE_MS_MAX })
}

/// Lets whatever answers at an address prove who it is, over UDP and TCP, within this time in all. Sends no more than the address of this computer.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "how long to look, no right of a lease")]
pub fn prove(address: SocketAddr, known: &Known<'_>, within: Duration) -> Proof {
    let deadline = Instant::now() + within;
    let (tcp, hint, round_trip) = if PAPER_PORTS.contains(&address.port()) {
        (Err(NoProof::Nobody(PAPER.into())), None, Duration::ZERO)
    } else {
        look(address, known, within)
    };
    let pinned = known.pins.and_then(|pins| pins.at(&pins::name_of(address)?));
    let mut proof =
        Proof { address, verdict: Verdict::Silent(String::new()), proved: None, hint, udp: Udp::Silent, changed: None, round_trip };
    match tcp {
        Ok(proved) => {
            proof.udp = agreement(&proved, proof.hint.as_ref());
            proof.proved = Some(proved);
            if proof.udp == Udp::OtherInstance {
                look_again(&mut proof, known, deadline.saturating_duration_since(Instant::now()));
            }
            let key = proof.proved.as_ref().expect("it was put there above").server_key;
            proof.changed = pinned.filter(|pin| pin.server_key != key).cloned();
            proof.verdict = verdict(&proof, known, key);
        }
        Err(no) => {
            proof.verdict = match (no, &proof.hint) {
                (NoProof::Nobody(why) | NoProof::Mute(why), Some(hint)) => Verdict::Unproved(format!(
                    "over UDP it says that it is {}, and TCP takes nobody to prove it: {why}",
                    hint.reply.server_key
                )),
                (NoProof::Nobody(why) | NoProof::Mute(why), None) => Verdict::Silent(why),
                (NoProof::Other(what), Some(hint)) => Verdict::Other(format!("{what}; over UDP it claims to be {}", hint.reply.server_key)),
                (NoProof::Other(what), None) => Verdict::Other(what),
            };
        }
    }
    proof
}

fn verdict(proof: &Proof, known: &Known<'_>, key: ServerKey) -> Verdict {
    match proof.udp {
        Udp::OtherKey => {
            let claimed = proof.hint.as_ref().map_or_else(String::new, |hint| hint.reply.server_key.to_string());
            return Verdict::Other(format!("over TCP it is {key}, over UDP another server answers: {claimed}"));
        }
        Udp::OtherCertificate => {
            return Verdict::Other(format!(
                "over UDP {key} names another certificate than TCP serves: one of the two answers was passed on"
            ));
        }
        Udp::Agrees | Udp::OtherInstance | Udp::Silent => {}
    }
    if known.servers.contains(&key) {
        return Verdict::KnownKey(KnownBy::Name);
    }
    if proof.proved.as_ref().is_some_and(|proved| !proved.licenses.is_empty()) {
        return Verdict::KnownKey(KnownBy::License);
    }
    // Only a pin of this very address counts: a key that somebody once showed at an address of his own is not known here by it.
    match known.pins.and_then(|pins| pins.at(&pins::name_of(proof.address)?)) {
        Some(pin) if pin.server_key == key => Verdict::KnownKey(KnownBy::Pin(pin.clone())),
        _ => Verdict::UnknownKey,
    }
}

fn agreement(proved: &Proved, hint: Option<&Answer>) -> Udp {
    let Some(reply) = hint.map(|hint| &hint.reply) else { return Udp::Silent };
    match () {
        () if reply.server_key != proved.server_key => Udp::OtherKey,
        () if reply.tls_spki != proved.tls_spki => Udp::OtherCertificate,
        () if reply.instance[..] != proved.instance[..8] => Udp::OtherInstance,
        () => Udp::Agrees,
    }
}

/// Two instances were seen, which a restart in between explains as well as a clone. An instance never comes back: only if both answer again do both run.
fn look_again(proof: &mut Proof, known: &Known<'_>, within: Duration) {
    let first = proof.proved.as_ref().map(|proved| proved.instance);
    let hint = ask(&[Target::Unicast(proof.address)], within / 2).answers.into_iter().next();
    let same_hint = match (&hint, &proof.hint) {
        (Some(now), Some(before)) => now.reply.instance == before.reply.instance,
        _ => false,
    };
    let Ok(proved) = over_tcp(proof.address, known, within / 2) else {
        // Whoever answered over TCP is gone by now, so nobody can say that both run.
        proof.udp = Udp::Silent;
        return;
    };
    let same_start = first == Some(proved.instance);
    let now = agreement(&proved, hint.as_ref());
    if !(same_hint && same_start && now == Udp::OtherInstance) {
        // Seen in this order the newer pair tells what is there; what still differs is a restart that goes on just now.
        proof.udp = if now == Udp::OtherInstance { Udp::Agrees } else { now };
        proof.hint = hint.or(proof.hint.take());
        proof.proved = Some(proved);
    }
}

/// One key that answers at several addresses with several instances at the same time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clones {
    /// The key.
    pub server_key: ServerKey,
    /// Addresses, and the first 8 bytes of the instances, which are what UDP tells.
    pub at: Vec<(SocketAddr, [u8; 8])>,
}

/// The one judge of clones among what was proved: a key with two instances at one time, at one address (TCP and UDP) or at several. A server that was restarted in between is none, so whoever looks like a clone is asked once more, within this time in
/// all; of a key with very many addresses, the first few.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "how long to look, no right of a lease")]
pub fn clones(proofs: &[Proof], within: Duration) -> Vec<Clones> {
    let proved = || proofs.iter().filter_map(|proof| Some((proof.address, proof.proved.as_ref()?)));
    let keys: BTreeSet<ServerKey> = proved().map(|(_, proved)| proved.server_key).collect();
    let deadline = Instant::now() + within;
    let mut clones = Vec::new();
    for server_key in keys {
        // At one address this was looked at twice already.
        let twice = |proof: &&Proof| proof.is_clone() && proof.proved.as_ref().is_some_and(|proved| proved.server_key == server_key);
        if let Some(proof) = proofs.iter().find(twice) {
            let over_udp = proof.hint.iter().map(|hint| (hint.from, hint.reply.instance));
            let over_tcp = proof.proved.iter().map(|proved| (proof.address, short(&proved.instance)));
            clones.push(Clones { server_key, at: over_tcp.chain(over_udp).collect() });
            continue;
        }
        let mut of_key: Vec<_> = proved().filter(|(_, proved)| proved.server_key == server_key).collect();
        // One address for each instance is enough to tell, and a few instances are.
        let mut instances = BTreeSet::new();
        of_key.retain(|(_, proved)| instances.insert(proved.instance) && instances.len() <= INSTANCES_ASKED_MAX);
        if of_key.iter().all(|(_, proved)| proved.instance == of_key[0].1.instance) {
            continue;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        let still = |address: SocketAddr, before: &Proved| {
            let now = over_tcp(address, &Known::default(), left).ok()?;
            (now.server_key == server_key && now.instance == before.instance).then_some((address, short(&now.instance)))
        };
        let at: Vec<_> = thread::scope(|scope| {
            let asked: Vec<_> = of_key.iter().map(|(address, before)| scope.spawn(|| still(*address, before))).collect();
            asked.into_iter().filter_map(|asked| asked.join().expect("a look ends with a result, not with a panic")).collect()
        });
        if at.iter().any(|(_, instance)| *instance != at[0].1) {
            clones.push(Clones { server_key, at });
        }
    }
    clones
}

fn short(instance: &[u8; 32]) -> [u8; 8] {
    *instance.first_chunk().expect("8 of 32")
}

/// Why TCP proves nothing. Kept alphabetical.
enum NoProof {
    /// Something is there and says nothing.
    Mute(String),
    /// No connection.
    Nobody(String),
    /// Something else is there.
    Other(String),
}

/// Both at once; UDP is waited for only a little longer than TCP.
#[expect(clippy::disallowed_methods, reason = "how long to look, no right of a lease")]
fn look(address: SocketAddr, known: &Known<'_>, within: Duration) -> (Result<Proved, NoProof>, Option<Answer>, Duration) {
    let began = Instant::now();
    let (sender, heard) = mpsc::sync_channel(1);
    let asking = thread::Builder::new().name("triquest-lm udp".into()).spawn(move || {
        // Nobody listens any more if it took too long.
        let _ = sender.send(ask(&[Target::Unicast(address)], within).answers.into_iter().next());
    });
    let tcp = over_tcp(address, known, within);
    let round_trip = began.elapsed();
    let left = within.saturating_sub(round_trip).min(Duration::from_millis(UDP_AFTER_TCP_MS));
    let hint = asking.ok().and_then(|_| heard.recv_timeout(left).ok().flatten());
    (tcp, hint, round_trip)
}

#[expect(clippy::disallowed_methods, reason = "how long to look, no right of a lease")]
fn over_tcp(address: SocketAddr, known: &Known<'_>, within: Duration) -> Result<Proved, NoProof> {
    let deadline = Instant::now() + within;
    let socket = dial::connect(&[address], within).map_err(|error| NoProof::Nobody(explain(&error)))?;
    // Without a vendor's key, a key that nobody uses still lets the server prove its own.
    let nobody = SigningKey::from_seed(clock::random());
    let vendor_keys = match known.vendors {
        Some(keys) => verify::vendor_keys(keys),
        None => vec![Bytes32(*nobody.public().as_bytes())],
    };
    let name: ServerAddress = format!("{}@{}", address.port(), address.ip()).parse().expect("a port and an address are a server's address");
    let spoken = speak(&name, socket, vendor_keys.clone(), deadline).map_err(|unspoken| match unspoken {
        Unspoken::Tls(error) => match error.kind() {
            io::ErrorKind::TimedOut => NoProof::Mute("it takes connections and says nothing".into()),
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
                NoProof::Other("it closes the connection at the first word of TLS".into())
            }
            _ => NoProof::Other(format!("it speaks no TLS 1.3: {}", explain(&error))),
        },
        Unspoken::Http(CallError::BadAnswer(reason)) => {
            NoProof::Other(format!("it speaks TLS and not as a TriQuest LM server: {}", text::tidy(&reason, SAID_BYTES_MAX)))
        }
        Unspoken::Http(CallError::Problem(problem)) if problem.code == ErrorCode::Misdirected => {
            NoProof::Other("it passes questions on to a TriQuest LM server that does not vouch for it".into())
        }
        Unspoken::Http(CallError::Problem(problem)) => NoProof::Other(format!("it proves nothing; {}", says(address, &problem.detail))),
        Unspoken::Http(CallError::Unreachable(reason)) => NoProof::Other(format!("it speaks TLS and proves nothing: {reason}")),
    })?;
    let (server_key, payload) = verify::identity(&spoken.answer, &vendor_keys, spoken.nonce, spoken.tls_spki)
        .map_err(|reason| NoProof::Other(format!("its proof is none: {reason}")))?;
    let (mut licenses, mut not_licensed) = (Vec::new(), None);
    if let Some(keys) = known.vendors {
        // A license for any server does not make a key known.
        let expected = TrustExpected { keys, nonce: spoken.nonce, tls_spki: spoken.tls_spki, any_server: false };
        match verify::trust(&spoken.answer, &expected) {
            Ok(trusted) => licenses = trusted.licenses().to_vec(),
            Err(reason) => not_licensed = Some(reason),
        }
    }
    Ok(Proved {
        server_key,
        tls_spki: spoken.tls_spki,
        instance: payload.instance.0,
        lineage: payload.lineage,
        server_time_ms: payload.server_time_ms,
        licenses,
        not_licensed,
    })
}
