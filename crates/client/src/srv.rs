//! DNS SRV records (RFC 2782), asked for by a small client of our own: the system's resolver does not give them, and no async runtime belongs into a
//! vendor's process. An answer is data of a stranger: it is taken only from the asked server, for the asked question, under a random id and port, and names
//! hosts and nothing more. Who such a host is, it has to prove itself.

use std::{
    fmt, fs,
    io::{self, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs, UdpSocket},
    thread,
    time::{Duration, Instant},
};

use simple_dns::{CLASS, Name, Packet, PacketFlag, QCLASS, QTYPE, Question, RCODE, TYPE, rdata::RData};

use crate::{
    clock,
    limits::{ALIASES_MAX, DOMAINS_MAX, NAMESERVERS_MAX, SRV_RECORDS_MAX, SYSTEM_FILE_BYTES_MAX},
    tls::Timed,
};

/// What stands before the domain.
pub const SERVICE: &str = "_triquest-lm._tcp";
/// The port of name servers.
const DNS_PORT: u16 = 53;
/// Largest answer over UDP that is read; what is larger comes over TCP.
const UDP_BYTES: usize = 4_096;

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Lower ones first.
    pub priority: u16,
    /// Among equal priorities, how often it comes first.
    pub weight: u16,
    /// The port.
    pub port: u16,
    /// The host's name, without a final dot.
    pub target: String,
}

/// Why there is no record. Kept alphabetical.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NoRecord {
    /// The name server could not answer, by its own word.
    Failed(&'static str),
    /// No name server answered in time, or none could be reached.
    NoAnswer(String),
    /// The domain says that it has no such service (a target of `.`).
    NotOffered,
    /// There is no such record.
    Unknown,
}

impl fmt::Display for NoRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(why) => write!(f, "the name server says: {why}"),
            Self::NoAnswer(why) => f.write_str(why),
            Self::NotOffered => f.write_str("the domain says that it has no license server"),
            Self::Unknown => f.write_str("no record"),
        }
    }
}

impl std::error::Error for NoRecord {}

/// Who is asked, and of which domains.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolver {
    nameservers: Vec<SocketAddr>,
    domains: Vec<String>,
}

impl Resolver {
    /// These name servers and domains, as many as are asked.
    #[must_use]
    pub fn new(nameservers: impl IntoIterator<Item = SocketAddr>, domains: impl IntoIterator<Item = String>) -> Self {
        let mut kept: Vec<String> = Vec::new();
        for domain in domains {
            let domain = domain.trim_matches('.').to_ascii_lowercase();
            // Nobody is asked for `.`, and `.local` belongs to multicast DNS (RFC 6762, section 3).
            if kept.len() < DOMAINS_MAX && !domain.is_empty() && domain != "local" && !domain.ends_with(".local") && !kept.contains(&domain)
            {
                kept.push(domain);
            }
        }
        Self { nameservers: nameservers.into_iter().take(NAMESERVERS_MAX).collect(), domains: kept }
    }

    /// As /etc/resolv.conf says; the domain of this machine's full name counts after its search list.
    #[must_use]
    pub fn of_this_machine() -> Self {
        let read = |path| {
            let mut text = Vec::new();
            let file = fs::File::open(path).map(|file| file.take(SYSTEM_FILE_BYTES_MAX));
            let _ = file.and_then(|mut file| file.read_to_end(&mut text));
            String::from_utf8_lossy(&text).into_owned()
        };
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Self::parse(&read("/etc/resolv.conf"), &read("/etc/hosts"), &host)
    }

    /// The same name servers, asked of this domain only.
    #[must_use]
    pub fn with_domain(self, domain: &str) -> Self {
        Self::new(self.nameservers, [domain.to_owned()])
    }

    /// The domains, in order.
    #[must_use]
    pub fn domains(&self) -> &[String] {
        &self.domains
    }

    fn parse(resolv_conf: &str, hosts: &str, host: &str) -> Self {
        let (mut nameservers, mut search) = (Vec::new(), Vec::new());
        for line in resolv_conf.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => nameservers.extend(words.next().and_then(nameserver)),
                // The last line of either kind counts (resolv.conf(5)).
                Some("search" | "domain") => search = words.map(str::to_owned).collect(),
                _ => {}
            }
        }
        if nameservers.is_empty() {
            nameservers.extend([IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()].map(|ip| SocketAddr::new(ip, DNS_PORT)));
        }
        // The full name is the first of its line in /etc/hosts, unless the host is called by it anyway.
        let full = hosts.lines().map(|line| line.split('#').next().unwrap_or_default()).find_map(|line| {
            let names: Vec<&str> = line.split_whitespace().skip(1).collect();
            names.contains(&host).then(|| names[0])
        });
        let domain = [Some(host), full].into_iter().flatten().find_map(|name| name.split_once('.')).map(|(_, domain)| domain.to_owned());
        Self::new(nameservers, search.into_iter().chain(domain))
    }

    /// Asks for the records of all domains at once, within one time for all.
    #[must_use]
    pub fn ask(&self, within: Duration) -> Vec<(String, Result<Vec<Record>, NoRecord>)> {
        let deadline = Deadline::after(within);
        thread::scope(|scope| {
            let asking: Vec<_> = self.domains.iter().map(|domain| scope.spawn(move || self.ask_for(domain, deadline))).collect();
            let answers = asking.into_iter().map(|asked| asked.join().unwrap_or(Err(NoRecord::Failed("its answer cannot be read"))));
            self.domains.iter().cloned().zip(answers).collect()
        })
    }

    /// One name server after the other; a single one is asked twice, because datagrams get lost.
    fn ask_for(&self, domain: &str, deadline: Deadline) -> Result<Vec<Record>, NoRecord> {
        let attempts = self.nameservers.len().max(2);
        let mut failure = NoRecord::NoAnswer("there is no name server".into());
        for (attempt, server) in self.nameservers.iter().cycle().take(attempts).enumerate() {
            let share = deadline.left() / u32::try_from(attempts - attempt).unwrap_or(1);
            match ask_one(domain, *server, Deadline::after(share)) {
                // A server that is broken or does not serve us may stand before one that does.
                Err(error @ (NoRecord::Failed(_) | NoRecord::NoAnswer(_))) => failure = error,
                outcome => return outcome,
            }
        }
        Err(failure)
    }
}

/// An address as resolv.conf has it, with a zone maybe.
fn nameserver(text: &str) -> Option<SocketAddr> {
    let is_zoned = || text.split_once('%').is_some_and(|(ip, _)| ip.parse::<Ipv6Addr>().is_ok());
    match text.parse::<IpAddr>() {
        Ok(ip) => Some(SocketAddr::new(ip, DNS_PORT)),
        // The system reads the zone; for an address it asks nobody.
        Err(_) if is_zoned() => (text, DNS_PORT).to_socket_addrs().ok()?.next(),
        Err(_) => None,
    }
}

#[derive(Clone, Copy)]
struct Deadline(Instant);

impl Deadline {
    #[expect(clippy::disallowed_methods, reason = "a question's deadline, no right of a lease")]
    fn after(within: Duration) -> Self {
        Self(Instant::now() + within)
    }

    #[expect(clippy::disallowed_methods, reason = "a question's deadline, no right of a lease")]
    fn left(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }
}

fn ask_one(domain: &str, server: SocketAddr, deadline: Deadline) -> Result<Vec<Record>, NoRecord> {
    let unheard = |error: io::Error| {
        NoRecord::NoAnswer(match error.kind() {
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => format!("the name server {} does not answer", server.ip()),
            io::ErrorKind::ConnectionRefused => format!("no name server listens on {}", server.ip()),
            _ => format!("the name server {} cannot be asked: {error}", server.ip()),
        })
    };
    let [low, high, ..] = clock::random();
    let id = u16::from_le_bytes([low, high]);
    let question = question(domain, id).ok_or(NoRecord::Unknown)?;
    match over_udp(&question, domain, id, server, deadline).map_err(unheard)? {
        Reading::Answer(answer) => answer,
        _ => match over_tcp(&question, domain, id, server, deadline).map_err(unheard)? {
            Reading::Answer(answer) => answer,
            _ => Err(NoRecord::Failed("its answer cannot be read")),
        },
    }
}

/// The question's bytes, if the domain can be written as a name.
fn question(domain: &str, id: u16) -> Option<Vec<u8>> {
    let name = format!("{SERVICE}.{domain}");
    let mut packet = Packet::new_query(id);
    packet.set_flags(PacketFlag::RECURSION_DESIRED);
    packet.questions.push(Question::new(Name::new(&name).ok()?, QTYPE::TYPE(TYPE::SRV), QCLASS::CLASS(CLASS::IN), false));
    packet.build_bytes_vec().ok()
}

/// The kernel picks the port at random and lets through only what comes from the server that was asked.
fn over_udp(question: &[u8], domain: &str, id: u16, server: SocketAddr, deadline: Deadline) -> io::Result<Reading> {
    let any = if server.is_ipv4() { IpAddr::from(Ipv4Addr::UNSPECIFIED) } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(server)?;
    socket.send(question)?;
    let mut bytes = [0; UDP_BYTES];
    loop {
        let left = deadline.left();
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        socket.set_read_timeout(Some(left))?;
        let length = match socket.recv(&mut bytes) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            length => length?,
        };
        match read(&bytes[..length], domain, id) {
            // An answer to nothing that was asked is no end of the wait.
            Reading::Other => {}
            reading => return Ok(reading),
        }
    }
}

fn over_tcp(question: &[u8], domain: &str, id: u16, server: SocketAddr, deadline: Deadline) -> io::Result<Reading> {
    let left = deadline.left().max(Duration::from_millis(1));
    let mut stream = Timed::new(TcpStream::connect_timeout(&server, left)?);
    stream.set_deadline(Some(deadline.left()));
    let length = u16::try_from(question.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes()[..], question].concat())?;
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut bytes = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut bytes)?;
    Ok(read(&bytes, domain, id))
}

/// What a message is. Kept alphabetical.
#[derive(Debug, PartialEq, Eq)]
enum Reading {
    /// The answer to our question.
    Answer(Result<Vec<Record>, NoRecord>),
    /// It answers something else, or cannot be read.
    Other,
    /// The answer is longer than a datagram.
    Truncated,
}

/// Reads a message, which may be anything at all.
fn read(bytes: &[u8], domain: &str, id: u16) -> Reading {
    const TRUNCATED: u8 = 0x02;
    const RESPONSE: u8 = 0x80;
    // A message that was cut somewhere need not be readable to the end.
    if bytes.len() >= 12 && bytes[..2] == id.to_be_bytes() && bytes[2] & (RESPONSE | TRUNCATED) == RESPONSE | TRUNCATED {
        return Reading::Truncated;
    }
    let Ok(packet) = Packet::parse(bytes) else { return Reading::Other };
    let asked = format!("{SERVICE}.{domain}");
    let asked_exactly = match packet.questions.as_slice() {
        [question] => {
            same(&question.qname.to_string(), &asked)
                && question.qtype == QTYPE::TYPE(TYPE::SRV)
                && question.qclass == QCLASS::CLASS(CLASS::IN)
        }
        _ => false,
    };
    if packet.id() != id || !packet.has_flags(PacketFlag::RESPONSE) || !asked_exactly {
        return Reading::Other;
    }
    Reading::Answer(match packet.rcode() {
        RCODE::NoError => records(&packet, asked),
        RCODE::NameError => Err(NoRecord::Unknown),
        RCODE::ServerFailure => Err(NoRecord::Failed("SERVFAIL")),
        RCODE::Refused => Err(NoRecord::Failed("REFUSED")),
        _ => Err(NoRecord::Failed("an error")),
    })
}

/// The records under the asked name, or under what it is an alias of.
fn records(packet: &Packet<'_>, mut name: String) -> Result<Vec<Record>, NoRecord> {
    for _ in 0..ALIASES_MAX {
        let alias = packet.answers.iter().find_map(|answer| match &answer.rdata {
            RData::CNAME(target) if same(&answer.name.to_string(), &name) => Some(target.0.to_string()),
            _ => None,
        });
        let Some(alias) = alias else { break };
        name = alias;
    }
    let of_name = packet.answers.iter().filter(|answer| answer.class == CLASS::IN && same(&answer.name.to_string(), &name));
    let found: Vec<Record> = of_name
        .filter_map(|answer| match &answer.rdata {
            RData::SRV(srv) => Some(Record {
                priority: srv.priority,
                weight: srv.weight,
                port: srv.port,
                target: srv.target.to_string().trim_end_matches('.').to_owned(),
            }),
            _ => None,
        })
        .take(SRV_RECORDS_MAX)
        .collect();
    match found.as_slice() {
        [] => Err(NoRecord::Unknown),
        [only] if only.target.is_empty() => Err(NoRecord::NotOffered),
        _ => Ok(found.into_iter().filter(|record| !record.target.is_empty()).collect()),
    }
}

fn same(one: &str, other: &str) -> bool {
    one.trim_end_matches('.').eq_ignore_ascii_case(other.trim_end_matches('.'))
}

/// Priorities in order; within one, by weight and luck as RFC 2782 has it: `random(most)` is a number from 0 to `most`, each as likely.
pub(crate) fn in_order(mut records: Vec<Record>, random: &mut dyn FnMut(u32) -> u32) -> Vec<Record> {
    // Weight 0 stands first, so that it has its small chance.
    records.sort_by_key(|record| (record.priority, record.weight != 0));
    let mut ordered = Vec::with_capacity(records.len());
    while let Some(priority) = records.first().map(|record| record.priority) {
        let group = records.iter().take_while(|record| record.priority == priority).count();
        let total: u32 = records[..group].iter().map(|record| u32::from(record.weight)).sum();
        let drawn = random(total);
        let mut sum = 0;
        let chosen = records[..group].iter().position(|record| {
            sum += u32::from(record.weight);
            sum >= drawn
        });
        ordered.push(records.remove(chosen.unwrap_or(0)));
    }
    ordered
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;
    use simple_dns::{ResourceRecord, rdata::SRV};

    use super::*;

    fn record(priority: u16, weight: u16, port: u16, target: &str) -> Record {
        Record { priority, weight, port, target: target.into() }
    }

    /// An answer to `domain` as a name server writes it.
    fn answer(domain: &str, id: u16, records: &[Record]) -> Vec<u8> {
        let name = format!("{SERVICE}.{domain}");
        let mut packet = Packet::new_reply(id);
        let name = Name::new(&name).unwrap();
        packet.questions.push(Question::new(name.clone(), QTYPE::TYPE(TYPE::SRV), QCLASS::CLASS(CLASS::IN), false));
        for record in records {
            let target = Name::new(&record.target).unwrap();
            let srv = SRV { priority: record.priority, weight: record.weight, port: record.port, target };
            packet.answers.push(ResourceRecord::new(name.clone(), CLASS::IN, 60, RData::SRV(srv)));
        }
        packet.build_bytes_vec_compressed().unwrap()
    }

    #[test]
    fn an_answer_is_taken_only_for_its_own_question() {
        let records = [record(10, 5, 1588, "a.example"), record(20, 0, 1599, "b.example")];
        let good = answer("initech.example", 7, &records);
        assert_eq!(read(&good, "initech.example", 7), Reading::Answer(Ok(records.to_vec())));
        assert_eq!(read(&good, "INITECH.example", 7), Reading::Answer(Ok(records.to_vec())), "names have no case");
        assert_eq!(read(&good, "initech.example", 8), Reading::Other, "another id");
        assert_eq!(read(&good, "other.example", 7), Reading::Other, "another question");
        let asked = question("initech.example", 7).unwrap();
        assert_eq!(read(&asked, "initech.example", 7), Reading::Other, "our own question sent back");
        assert_eq!(read(&[], "initech.example", 7), Reading::Other);
        let mut cut = good.clone();
        cut[2] |= 0x02;
        assert_eq!(read(&cut[..20], "initech.example", 7), Reading::Truncated);
    }

    #[test]
    fn no_record_no_service_and_a_failing_name_server_are_told_apart() {
        let with_rcode = |code: u8| {
            let mut bytes = answer("initech.example", 7, &[]);
            bytes[3] = (bytes[3] & 0xf0) | code;
            read(&bytes, "initech.example", 7)
        };
        assert_eq!(with_rcode(0), Reading::Answer(Err(NoRecord::Unknown)));
        assert_eq!(with_rcode(3), Reading::Answer(Err(NoRecord::Unknown)));
        assert_eq!(with_rcode(2), Reading::Answer(Err(NoRecord::Failed("SERVFAIL"))));
        assert_eq!(with_rcode(5), Reading::Answer(Err(NoRecord::Failed("REFUSED"))));
        let none = answer("initech.example", 7, &[record(0, 0, 0, "")]);
        assert_eq!(read(&none, "initech.example", 7), Reading::Answer(Err(NoRecord::NotOffered)));
    }

    #[test]
    fn priorities_come_in_order_and_weights_by_the_number_that_was_drawn() {
        let records = vec![record(20, 0, 1, "late"), record(10, 60, 1, "heavy"), record(10, 0, 1, "zero"), record(10, 40, 1, "light")];
        let order = |drawn: &[u32]| {
            let mut drawn = drawn.iter().copied();
            in_order(records.clone(), &mut |most| drawn.next().unwrap().min(most))
                .into_iter()
                .map(|record| record.target)
                .collect::<Vec<_>>()
        };
        assert_eq!(order(&[0, 0, 0, 0]), ["zero", "heavy", "light", "late"]);
        assert_eq!(order(&[1, 0, 0, 0]), ["heavy", "zero", "light", "late"]);
        assert_eq!(order(&[61, 0, 0, 0]), ["light", "zero", "heavy", "late"]);
        assert_eq!(order(&[100, 60, 0, 0]), ["light", "heavy", "zero", "late"]);
    }

    #[test]
    fn the_machines_files_say_whom_to_ask_of_what() {
        let conf = "# made by hand\ndomain old.example\nsearch initech.example. corp.initech.example local . a b c d\nnameserver 10.0.0.1\n\
                    nameserver fd00::53\nnameserver bad\nnameserver 10.0.0.3\nnameserver 10.0.0.4\noptions ndots:1\n";
        let resolver = Resolver::parse(conf, "127.0.0.1 localhost\n10.1.4.20 ws1.plant.example ws1 # me\n", "ws1");
        let nameservers: Vec<String> = resolver.nameservers.iter().map(ToString::to_string).collect();
        assert_eq!(nameservers, ["10.0.0.1:53", "[fd00::53]:53", "10.0.0.3:53"]);
        assert_eq!(resolver.domains, ["initech.example", "corp.initech.example", "a", "b", "c", "d"]);
        let bare = Resolver::parse("", "127.0.0.1 localhost\n10.1.4.20 ws1.plant.example ws1 # me\n", "ws1");
        assert_eq!(bare.domains, ["plant.example"]);
        assert_eq!(bare.nameservers.len(), 2, "the machine itself");
        assert_eq!(Resolver::parse("search x.example", "", "ws1.plant.example").domains, ["x.example", "plant.example"]);
        assert!(Resolver::parse("\u{0}\nsearch\nnameserver\n", "\n#\n1\n", "").domains.is_empty());
    }

    #[test]
    fn a_name_that_cannot_be_written_is_asked_of_nobody() {
        assert_eq!(question(&"x".repeat(64), 1), None);
        assert_eq!(question(&"x.".repeat(130), 1), None);
    }

    proptest! {
        #[test]
        fn hostile_answers_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = read(&bytes, "initech.example", 7);
        }

        #[test]
        fn good_answers_with_a_few_changed_bytes_never_panic(changes in proptest::collection::vec((0usize..200, any::<u8>()), 1..8), cut in 0usize..200) {
            let mut bytes = answer("initech.example", 7, &[record(10, 5, 1588, "a.initech.example"), record(20, 0, 1599, "b.initech.example")]);
            for (place, byte) in changes {
                if let Some(at) = bytes.get_mut(place) {
                    *at = byte;
                }
            }
            let cut = bytes.len().saturating_sub(cut);
            for bytes in [&bytes[..], &bytes[..cut]] {
                if let Reading::Answer(Ok(records)) = read(bytes, "initech.example", 7) {
                    let length = records.len();
                    prop_assert_eq!(in_order(records, &mut |most| most).len(), length);
                }
            }
        }
    }
}
