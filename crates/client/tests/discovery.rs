//! From nothing but a domain or a list to the server that grants: real DNS, dead servers, the last good one, every server asked.
#![allow(clippy::unwrap_used)]

mod support;

use std::{
    io::{BufRead, BufReader},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::Duration,
};

use support::{Double, World, closed_port, identity};
use triquest_client::{
    Client, ClientBuilder, ErrorKind,
    lookup::{Lookup, Place},
    srv::{NoRecord, Resolver},
};
use triquest_license::SigningKey;

const STEP: Duration = Duration::from_secs(30);

fn client(world: &World) -> ClientBuilder {
    Client::builder().verifier_keys(world.keys()).remember_in(None)
}

/// dnsmasq on a port of loopback, killed when it is dropped.
struct NameServer {
    child: Child,
    address: SocketAddr,
}

impl NameServer {
    /// None, with the reason printed, if dnsmasq is not installed.
    fn start(records: &[&str]) -> Option<Self> {
        // Found free for both, and taken at once.
        let address = (0..20).find_map(|_| {
            let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
            let address = udp.local_addr().unwrap();
            TcpListener::bind(address).is_ok().then_some(address)
        })?;
        let mut command = Command::new("dnsmasq");
        command.args([
            "--no-daemon",
            "--conf-file=/dev/null",
            "--no-resolv",
            "--no-hosts",
            "--bind-interfaces",
            "--listen-address=127.0.0.1",
        ]);
        command.args(["--log-facility=-", "--pid-file=", "--local=/example/", "--user=root", &format!("--port={}", address.port())]);
        command.args(records);
        let Ok(mut child) = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn() else {
            eprintln!("skipped: there is no `dnsmasq` here (Debian: dnsmasq-base)");
            return None;
        };
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let started = lines.by_ref().map_while(Result::ok).find(|line| line.contains("started") || line.contains("failed"));
        let server = Self { child, address };
        if started.as_ref().is_none_or(|line| line.contains("failed")) {
            eprintln!("skipped: dnsmasq does not start: {started:?}");
            return None;
        }
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        Some(server)
    }

    fn resolver(&self, domains: &[&str]) -> Resolver {
        Resolver::new([self.address], domains.iter().map(|domain| (*domain).to_owned()))
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_client_that_is_told_nothing_finds_its_server_in_dns() {
    let world = World::new();
    let double = Double::honest(&world);
    // The target is written as an address, so that the name of no machine must be known.
    let dead = format!("--srv-host=_triquest-lm._tcp.initech.example,127.0.0.1,{},5,0", closed_port());
    let live = format!("--srv-host=_triquest-lm._tcp.initech.example,127.0.0.1,{},10,0", double.address.port());
    let Some(dns) = NameServer::start(&[&live, &dead]) else { return };
    let lookup = Lookup {
        environment: Some(String::new()),
        user_file: Some("/nonexistent/user.toml".into()),
        resolver: Some(dns.resolver(&["nothing.example", "initech.example"])),
        ..Lookup::default()
    };
    let client = client(&world).lookup(lookup).connect().unwrap();
    assert_eq!(client.servers_from(), &Place::Srv("initech.example".into()));
    assert_eq!(client.servers().as_slice().len(), 2);
    assert_eq!(client.servers().as_slice()[1].port(), double.address.port(), "by priority");
    let looked: Vec<String> = client.looked().iter().map(|looked| looked.place.to_string()).collect();
    assert_eq!(
        looked,
        [
            "TRIQUEST_LM_SERVER",
            "/nonexistent/user.toml",
            "DNS SRV _triquest-lm._tcp.nothing.example",
            "DNS SRV _triquest-lm._tcp.initech.example"
        ]
    );
    drop(client.checkout("cad").take().unwrap());
}

#[test]
fn a_domain_without_records_one_that_offers_none_and_an_answer_too_long_for_a_datagram_are_told_apart() {
    let many: Vec<String> =
        (0..40).map(|n| format!("--srv-host=_triquest-lm._tcp.many.example,server-{n:02}.many.example,1588,{n},0")).collect();
    let mut records: Vec<&str> = many.iter().map(String::as_str).collect();
    records.push("--srv-host=_triquest-lm._tcp.none.example");
    let Some(dns) = NameServer::start(&records) else { return };
    let answers = dns.resolver(&["empty.example", "none.example", "many.example", "refused.test"]).ask(STEP);
    let answer = |domain: &str| &answers.iter().find(|(asked, _)| asked == domain).unwrap().1;
    assert_eq!(answer("empty.example"), &Err(NoRecord::Unknown));
    assert_eq!(answer("none.example"), &Err(NoRecord::NotOffered));
    assert_eq!(answer("many.example").as_ref().unwrap().len(), 40, "over TCP");
    assert_eq!(answer("refused.test"), &Err(NoRecord::Failed("REFUSED")));
}

#[test]
fn name_servers_that_are_dead_or_lie_end_in_time_and_the_next_one_is_asked() {
    let mute = UdpSocket::bind("127.0.0.1:0").unwrap();
    let ask = |servers: Vec<SocketAddr>| {
        let answers = Resolver::new(servers, ["initech.example".to_owned()]).ask(Duration::from_millis(400));
        answers.into_iter().next().unwrap().1
    };
    let dead: SocketAddr = format!("127.0.0.1:{}", closed_port()).parse().unwrap();
    assert!(matches!(ask(vec![mute.local_addr().unwrap()]), Err(NoRecord::NoAnswer(_))));
    assert!(matches!(ask(vec![dead]), Err(NoRecord::NoAnswer(_))));
    // It sends noise, another id, and the question itself.
    let liar = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = liar.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut bytes = [0; 600];
        while let Ok((length, from)) = liar.recv_from(&mut bytes) {
            let mut other = bytes[..length].to_vec();
            other[0] ^= 1;
            other[2] |= 0x80;
            for noise in [&b"noise"[..], &[], &other, &bytes[..length]] {
                let _ = liar.send_to(noise, from);
            }
        }
    });
    assert!(matches!(ask(vec![address]), Err(NoRecord::NoAnswer(_))));
    let Some(dns) = NameServer::start(&["--srv-host=_triquest-lm._tcp.initech.example,a.example,1588"]) else { return };
    assert_eq!(ask(vec![dead, address, dns.address]).unwrap().len(), 1);
}

/// Listeners that take a connection and never say a word.
fn black_holes(count: usize) -> Vec<TcpListener> {
    (0..count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect()
}

fn list(holes: &[TcpListener]) -> String {
    holes.iter().map(|hole| format!("127.0.0.1:{},", hole.local_addr().unwrap().port())).collect()
}

#[test]
fn many_dead_servers_before_a_live_one_cost_no_more_than_one() {
    let world = World::new();
    let double = Double::honest(&world);
    let holes = black_holes(12);
    // Each dead one may take a minute, so the answer comes only if all are tried beside each other.
    let client =
        client(&world).servers(format!("{}{}", list(&holes), double.name())).connect_timeout(Duration::from_secs(60)).build().unwrap();
    let (sender, done) = mpsc::channel();
    std::thread::spawn(move || sender.send(client.checkout("cad").take().map(drop)));
    done.recv_timeout(STEP).expect("the dead ones are not waited for one after the other").unwrap();
    // The losers are cut off, not left behind: each of them sees its connection end.
    for hole in holes {
        let (socket, _) = hole.accept().unwrap();
        socket.set_read_timeout(Some(STEP)).unwrap();
        let ended = std::io::copy(&mut &socket, &mut std::io::sink());
        assert!(ended.is_ok() || ended.unwrap_err().kind() == std::io::ErrorKind::ConnectionReset);
    }
}

#[test]
fn a_client_that_finds_nobody_names_every_place_and_every_server() {
    let world = World::new();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("client.toml");
    let holes = black_holes(1);
    let ports = (closed_port(), holes[0].local_addr().unwrap().port());
    std::fs::write(&file, format!("servers = [\"{}@127.0.0.1\", \"127.0.0.1:{}\"]\n", ports.0, ports.1)).unwrap();
    let lookup = Lookup { environment: Some(String::new()), machine_file: Some(file.clone()), ..Lookup::default() };
    let error = client(&world).lookup(lookup).connect_timeout(Duration::from_millis(300)).connect().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoServer);
    let places: Vec<String> = error.places().iter().map(|looked| looked.place.to_string()).collect();
    assert_eq!(places, ["TRIQUEST_LM_SERVER".to_owned(), file.display().to_string()]);
    let tried: Vec<(u16, &str)> = error.tried().iter().map(|tried| (tried.server.port(), tried.reason.as_str())).collect();
    assert_eq!(tried[0], (ports.0, "connection refused; nothing listens there"));
    assert!(tried[1].0 == ports.1 && tried[1].1.contains("takes connections and says nothing"), "{tried:?}");
    assert!(error.to_string().contains(&file.display().to_string()) && error.to_string().contains("connection refused"), "{error}");
}

fn two_servers(world: &World) -> (World, Double, Double) {
    let other = World { server: SigningKey::from_seed([3; 32]), seats: std::sync::Arc::default(), ..world.clone() };
    other.seats.lock().unwrap().total = 25;
    let servers = format!("[\"{}\"]", other.server_key());
    let other = World { licenses: vec![support::note("ACME-2", &[&world.vendor], &servers, support::CAD)], ..other };
    let (first, second) = (Double::honest(world), Double::honest(&other));
    (other, first, second)
}

#[test]
fn the_server_that_answered_last_is_tried_first_and_adds_nothing_to_the_list() {
    let world = World::new();
    let (_, first, second) = two_servers(&world);
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("cache/triquest-lm");
    let connect = |servers: String| {
        let client = client(&world).remember_in(Some(cache.clone())).servers(servers).connect_timeout(Duration::from_secs(20)).connect();
        client.unwrap().prove().unwrap().server
    };
    let hole = black_holes(1);
    assert_eq!(connect(format!("{}{}", list(&hole), second.name())).port(), second.address.port());
    let file = std::fs::read_dir(&cache).unwrap().next().unwrap().unwrap().path();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), format!("{}\n", second.name()));
    use std::os::unix::fs::MetadataExt;
    assert_eq!(std::fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
    // Before the one that is named first, though that one answers.
    assert_eq!(connect(format!("{},{}", first.name(), second.name())).port(), second.address.port());
    assert_eq!(first.connections.load(std::sync::atomic::Ordering::SeqCst), 0);
    // It is not named here, so it is not asked.
    assert_eq!(connect(format!("{},127.0.0.1:{}", first.name(), closed_port())).port(), first.address.port());
    // What is damaged, or cannot be written, is no trouble.
    std::fs::write(&file, b"\x1b[2J\xff").unwrap();
    assert_eq!(connect(format!("{},{}", first.name(), second.name())).port(), first.address.port());
    std::fs::remove_dir_all(&cache).unwrap();
    std::fs::write(&cache, "a file where the folder should be").unwrap();
    assert_eq!(connect(format!("{},{}", first.name(), second.name())).port(), first.address.port());
}

#[test]
fn every_server_is_asked_for_a_seat_and_the_error_has_each_ones_answer() {
    let world = World::new();
    let (other, first, second) = two_servers(&world);
    world.seats.lock().unwrap().total = 1;
    other.seats.lock().unwrap().total = 1;
    let refusing =
        {
            let third = World { server: SigningKey::from_seed([4; 32]), ..world.clone() };
            let servers = format!("[\"{}\"]", third.server_key());
            let third = World { licenses: vec![support::note("ACME-3", &[&world.vendor], &servers, support::CAD)], ..third };
            Double::start(&identity(), move |ask| {
                if ask.path == "/v1/leases" { support::problem(400, "bad_request", "never") } else { third.honest(ask) }
            })
        };
    let dead = closed_port();
    let servers = format!("{},127.0.0.1:{dead},{},{}", refusing.name(), first.name(), second.name());
    let client = client(&world).servers(servers).connect_timeout(Duration::from_secs(5)).build().unwrap();
    let one = client.checkout("cad").take().unwrap();
    let two = client.checkout("cad").take().unwrap();
    assert_ne!(one.server_key(), two.server_key());
    let error = client.checkout("cad").take().unwrap_err();
    // A denial that time may heal says more than a refusal.
    assert_eq!((error.kind(), error.code(), error.may_help_later()), (ErrorKind::Denied, "no_seat_free", true));
    let tried: Vec<(u16, bool)> = error.tried().iter().map(|tried| (tried.server.port(), tried.answered)).collect();
    assert_eq!(tried, [(refusing.address.port(), true), (dead, false), (first.address.port(), true), (second.address.port(), true)]);
    assert!(error.tried()[2].reason.contains("1 of 1 in use"), "{:?}", error.tried());
}

#[test]
fn two_names_of_one_server_are_one_server() {
    let world = World::new();
    world.seats.lock().unwrap().total = 0;
    let double = Double::honest(&world);
    let port = double.address.port();
    let client = client(&world).servers(format!("127.0.0.1:{port},{port}@localhost")).build().unwrap();
    let error = client.checkout("cad").take().unwrap_err();
    assert_eq!(error.code(), "no_seat_free");
    assert_eq!(double.paths().iter().filter(|path| *path == "/v1/leases").count(), 1);
    assert!(error.tried()[1].reason.starts_with("the same server as") || error.tried()[0].reason.starts_with("the same server as"));
}

#[test]
fn a_listener_that_only_takes_connections_is_given_up_when_a_server_has_answered() {
    let world = World::new();
    let double = Double::honest(&world);
    let hole = TcpListener::bind("127.0.0.1:0").unwrap();
    let servers = format!("{},{}", hole.local_addr().unwrap(), double.name());
    let session = client(&world).servers(servers).connect_timeout(Duration::from_secs(60)).connect().unwrap();
    let (socket, _): (TcpStream, _) = hole.accept().unwrap();
    socket.set_read_timeout(Some(STEP)).unwrap();
    assert!(std::io::copy(&mut &socket, &mut std::io::sink()).is_ok(), "its connection was ended");
    drop(session);
}
