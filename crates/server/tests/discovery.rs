//! UDP 1588 of a real server on the loopback: what it answers, and what it leaves unanswered. Silence is seen by a good question behind the bad one:
//! the loopback keeps their order.
#![allow(clippy::unwrap_used, missing_docs)]

use std::{
    net::{IpAddr, SocketAddr, UdpSocket},
    path::Path,
    time::Duration,
};

use triquest_server::{Config, Running, Server, Settings};
use triquest_wire::{
    identity::{IdentityReply, IdentityRequest},
    limits::{IDENTITY_ANSWERS_PER_NETWORK_BURST, IDENTITY_BYTES},
};

struct World {
    running: Running,
    dir: tempfile::TempDir,
}

impl World {
    async fn start(listen: &str) -> Self {
        Self::start_with(listen, |_| {}).await
    }

    async fn start_with(listen: &str, edit: impl FnOnce(&mut Config)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config { data: Some(dir.path().join("data")), listen: vec![listen.into()], ..Config::default() };
        edit(&mut config);
        let running = Server::start(Settings { init: true, ..Settings::of(config) }).await.unwrap();
        Self { running, dir }
    }

    fn port(&self) -> u16 {
        self.running.addresses()[0].port()
    }

    fn at(&self, address: &str) -> SocketAddr {
        SocketAddr::new(address.parse().unwrap(), self.port())
    }
}

struct Asker(UdpSocket);

impl Asker {
    fn at(address: &str) -> Self {
        let socket = UdpSocket::bind((address, 0)).unwrap();
        // Only ever waited out by a test that fails.
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Self(socket)
    }

    fn send(&self, bytes: &[u8], to: SocketAddr) {
        assert_eq!(self.0.send_to(bytes, to).unwrap(), bytes.len());
    }

    fn receive(&self) -> (Vec<u8>, SocketAddr) {
        let mut buffer = [0; 2_048];
        let (count, from) = self.0.recv_from(&mut buffer).unwrap();
        (buffer[..count].to_vec(), from)
    }

    /// Asks with this nonce; the answer must be to it, and come from where it was asked.
    #[track_caller]
    fn ask(&self, nonce: u8, to: SocketAddr) -> IdentityReply {
        self.send(&IdentityRequest { nonce: [nonce; 32] }.encode(), to);
        let (bytes, from) = self.receive();
        assert!(bytes.len() <= IDENTITY_BYTES);
        assert_eq!(from, to);
        IdentityReply::open(&bytes, &[nonce; 32]).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_says_who_it_is_over_ipv4_and_ipv6_and_both_at_once() {
    for (listen, askers) in [
        ("127.0.0.1:0", &[("127.0.0.1", "127.0.0.1")][..]),
        ("[::1]:0", &[("::1", "::1")]),
        // On one socket; from the address that was asked, though it is not the one that the kernel would take.
        ("[::]:0", &[("127.0.0.1", "127.0.0.1"), ("::1", "::1"), ("127.0.0.1", "127.0.0.77")]),
        ("0.0.0.0:0", &[("127.0.0.1", "127.0.0.77")]),
    ] {
        let world = World::start(listen).await;
        assert_eq!(world.running.discovery().udp, world.running.addresses(), "{listen}");
        for (from, to) in askers {
            let asker = Asker::at(from);
            let reply = asker.ask(1, world.at(to));
            assert_eq!(reply.server_key, world.running.server_key());
            assert_eq!((reply.tcp_port, reply.answerer), (world.port(), Some(to.parse::<IpAddr>().unwrap())));
            assert_eq!(reply.asker, asker.0.local_addr().unwrap());
            assert_eq!(reply.version, env!("CARGO_PKG_VERSION"));
            assert!(triquest_server::sys::host_name().starts_with(&reply.name));
            let again = Asker::at(from).ask(2, world.at(to));
            assert_eq!((again.tls_spki, again.instance), (reply.tls_spki, reply.instance));
        }
        world.running.shutdown().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_question_gets_silence() {
    let world = World::start("127.0.0.1:0").await;
    let (to, asker) = (world.at("127.0.0.1"), Asker::at("127.0.0.1"));
    let good = IdentityRequest { nonce: [1; 32] }.encode();
    asker.send(&good, to);
    let mut answer = asker.receive().0;
    let with = |place: usize, byte: u8| {
        let mut bytes = good.to_vec();
        bytes[place] = byte;
        bytes
    };
    asker.send(&good[..511], to);
    asker.send(&[&good[..], &[0]].concat(), to);
    asker.send(&[&good[..], &good[..]].concat(), to);
    asker.send(&with(511, 1), to);
    asker.send(&with(5, 2), to);
    asker.send(&with(7, 1), to);
    asker.send(&with(0, 0x4a), to);
    asker.send(&answer, to);
    answer.resize(IDENTITY_BYTES, 0);
    asker.send(&answer, to);
    asker.send(&[], to);
    asker.send(&vec![10; 65_507], to);
    asker.ask(2, to);
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_from_ports_of_services_get_silence() {
    let world = World::start("127.0.0.1:0").await;
    let to = world.at("127.0.0.1");
    // An address of the loop that no other service of this machine listens on.
    let low: Vec<_> = [53, 1_023].iter().filter_map(|port| UdpSocket::bind(("127.0.0.153", *port)).ok()).collect();
    if low.is_empty() {
        eprintln!("skipped: this user may not send from ports below 1024");
        return;
    }
    for socket in &low {
        socket.send_to(&IdentityRequest { nonce: [9; 32] }.encode(), to).unwrap();
    }
    // Behind it on the same way; when this is answered, the others have been seen.
    Asker::at("127.0.0.153").ask(1, to);
    for socket in low {
        socket.set_nonblocking(true).unwrap();
        assert_eq!(socket.recv_from(&mut [0; 600]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answer_of_one_server_is_no_question_to_another() {
    let (one, other) = (World::start("127.0.0.1:0").await, World::start("127.0.0.1:0").await);
    let asker = Asker::at("127.0.0.1");
    for (from, to) in [(&one, &other), (&other, &one)] {
        asker.send(&IdentityRequest { nonce: [1; 32] }.encode(), from.at("127.0.0.1"));
        let answer = asker.receive().0;
        asker.send(&answer, to.at("127.0.0.1"));
        let reply = asker.ask(2, to.at("127.0.0.1"));
        assert_eq!(reply.server_key, to.running.server_key());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_address_gets_its_burst_and_no_flood() {
    let world = World::start("0.0.0.0:0").await;
    let (to, asker) = (world.at("127.0.0.1"), Asker::at("127.0.0.1"));
    // No more than the kernel keeps for a socket by default, or it would be what drops them.
    let count = IDENTITY_ANSWERS_PER_NETWORK_BURST * 2;
    for number in 0..count {
        asker.send(&IdentityRequest { nonce: [u8::try_from(number % 256).unwrap(); 32] }.encode(), to);
    }
    // Another address has its own burst; when it is answered, all before it have been seen.
    Asker::at("127.0.0.2").ask(1, to);
    asker.0.set_nonblocking(true).unwrap();
    let answers = std::iter::from_fn(|| asker.0.recv_from(&mut [0; 600]).ok()).count();
    // A slow machine earns some more meanwhile, but not all.
    let burst = usize::try_from(IDENTITY_ANSWERS_PER_NETWORK_BURST).unwrap();
    assert!((burst..burst * 2).contains(&answers), "{answers} of {count}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answer_names_the_certificate_that_is_served_now() {
    let world = World::start("127.0.0.1:0").await;
    let (to, asker) = (world.at("127.0.0.1"), Asker::at("127.0.0.1"));
    let before = asker.ask(1, to);
    let data = world.dir.path().join("data");
    for name in ["tls.key", "tls.crt"] {
        std::fs::remove_file(data.join(name)).unwrap();
    }
    world.running.reload().await.unwrap();
    let after = asker.ask(2, to);
    assert_ne!(after.tls_spki, before.tls_spki);
    assert_eq!((after.server_key, after.instance), (before.server_key, before.instance));
    assert_eq!(after.tls_spki, spki(&data.join("tls.crt")));
}

/// SHA-256 over the SubjectPublicKeyInfo, as openssl has it.
fn spki(certificate: &Path) -> [u8; 32] {
    let script = format!("openssl x509 -in '{}' -noout -pubkey | openssl pkey -pubin -outform DER", certificate.display());
    let output = std::process::Command::new("sh").args(["-c", &script]).output().expect("openssl is installed");
    triquest_license::sha256(&output.stdout)
}

#[tokio::test(flavor = "multi_thread")]
async fn another_holder_of_the_udp_port_is_named_and_tcp_is_served_all_the_same() {
    // A port that is free over TCP, and whose UDP somebody holds.
    let (tcp, _holder) = std::iter::repeat_with(|| std::net::TcpListener::bind("127.0.0.1:0").unwrap())
        .find_map(|tcp| UdpSocket::bind(tcp.local_addr().unwrap()).ok().map(|udp| (tcp, udp)))
        .unwrap();
    let port = tcp.local_addr().unwrap().port();
    drop(tcp);
    let world = World::start(&format!("127.0.0.1:{port}")).await;
    let found = world.running.discovery();
    assert!(found.udp.is_empty());
    assert!(found.to_string().starts_with(&format!("UDP {port} is held by `")), "{found}");
    assert!(found.to_string().contains(&format!("pid {}", std::process::id())), "{found}");
    assert!(world.running.announcement().iter().any(|(verb, rest)| *verb == "Discovery" && rest.contains("is held by")));
    tokio::net::TcpStream::connect(world.running.addresses()[0]).await.unwrap();
    world.running.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn udp_can_be_switched_off_and_ends_with_the_server() {
    let off = World::start_with("127.0.0.1:0", |config| config.discovery.udp = triquest_server::config::UnlessOff(false)).await;
    assert_eq!(off.running.discovery().to_string(), "UDP is off");
    UdpSocket::bind(off.at("127.0.0.1")).expect("nobody has it");
    let world = World::start("127.0.0.1:0").await;
    let to = world.at("127.0.0.1");
    UdpSocket::bind(to).expect_err("the server has it");
    world.running.shutdown().await.unwrap();
    UdpSocket::bind(to).expect("nobody has it any more");
}
