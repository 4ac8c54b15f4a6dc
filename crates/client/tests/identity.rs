//! Who answers on a port: the four verdicts, against honest doubles, impostors, relays and the mute.
#![allow(clippy::unwrap_used)]

mod support;

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use support::{Ask, Double, Reply, Responder, World, identity, udp_reply};
use triquest_client::{
    Client, ErrorKind,
    identity::{Known, KnownBy, Proof, Target, Udp, Verdict, ask, clones, patience, prove},
    pins::{self, Pin, Pins},
};
use triquest_license::{ServerKey, SigningKey, VerifierKeys};
use triquest_wire::{Bytes32, identity::IdentityRequest, trust::TrustRequest};

const WITHIN: Duration = Duration::from_millis(800);
const STEP: Duration = Duration::from_secs(30);

fn keys(world: &World) -> VerifierKeys {
    world.keys().parse().unwrap()
}

fn prove_as(double: &Double, known: &Known<'_>) -> Proof {
    prove(double.address, known, WITHIN)
}

#[expect(clippy::disallowed_methods, reason = "the bound itself is under test; generous against a slow machine")]
fn bounded<T>(act: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    let outcome = act();
    assert!(began.elapsed() < Duration::from_secs(15), "took {:?}", began.elapsed());
    outcome
}

fn not_known(proof: &Proof) -> &str {
    match &proof.verdict {
        Verdict::Other(what) => what,
        other => panic!("must be told apart from a server: {other:?}"),
    }
}

#[test]
fn a_key_is_known_by_name_or_by_license_and_else_it_is_unknown() {
    let world = World::new();
    let double = Double::honest(&world);
    let _udp = Responder::honest(&world, &double);
    let proof = prove_as(&double, &Known::default());
    assert_eq!((&proof.verdict, proof.udp), (&Verdict::UnknownKey, Udp::Agrees));
    let proved = proof.proved.clone().unwrap();
    assert_eq!((proved.server_key, proved.lineage, proved.instance), (world.server_key(), support::LINEAGE, [3; 32]));
    assert_eq!((proof.version(), proof.name()), (Some("0.1.0"), Some("tqlic01.initech.example")));
    assert!(proof.hint.as_ref().unwrap().round_trip < WITHIN && !proof.is_clone());

    let named = [world.server_key()];
    let by = |known: Known<'_>| match prove_as(&double, &known).verdict {
        Verdict::KnownKey(by) => by,
        other => panic!("{other:?}"),
    };
    assert_eq!(by(Known { servers: &named, ..Known::default() }), KnownBy::Name);
    let vendor = keys(&world);
    assert_eq!(by(Known { vendors: Some(&vendor), ..Known::default() }), KnownBy::License);
    // A vendor that licensed another server only.
    let stranger: VerifierKeys = support::signer("other.example", 9).verifier_key().to_string().parse().unwrap();
    let proof = prove_as(&double, &Known { vendors: Some(&stranger), ..Known::default() });
    assert_eq!(proof.verdict, Verdict::UnknownKey);
    assert!(proof.proved.unwrap().not_licensed.is_some());

    // An address of this machine alone is another machine elsewhere: what is written for it makes no key known and calls none changed.
    let folder = tempfile::tempdir().unwrap();
    for key in [world.server_key(), ServerKey::new(*SigningKey::from_seed([77; 32]).public())] {
        let file = folder.path().join(key.to_string());
        let pin = Pin { address: double.address.to_string(), server_key: key, first_seen_s: 100, last_seen_s: 100, instance: [3; 32] };
        pins::note(&file, pin, false).unwrap();
        let seen = Pins::read(&file).unwrap();
        let proof = prove_as(&double, &Known { pins: Some(&seen), ..Known::default() });
        assert_eq!((proof.verdict, proof.changed), (Verdict::UnknownKey, None));
    }
}

#[test]
fn a_server_that_is_silent_over_udp_is_proved_over_tcp_alone() {
    let world = World::new();
    let double = Double::honest(&world);
    let proof = bounded(|| prove_as(&double, &Known::default()));
    assert_eq!((proof.verdict, proof.udp, proof.hint), (Verdict::UnknownKey, Udp::Silent, None));
}

#[test]
fn an_answer_with_a_certificate_that_tcp_does_not_serve_is_no_known_key() {
    let world = World::new();
    let double = Double::honest(&world);
    let (key, port) = (world.server.clone(), double.address.port());
    let _udp = Responder::start(double.address, move |request, from| {
        vec![udp_reply(&key, [9; 32], [3; 8], port, request.nonce, from).encode(&key)]
    });
    let named = [world.server_key()];
    let proof = prove_as(&double, &Known { servers: &named, ..Known::default() });
    assert_eq!(proof.udp, Udp::OtherCertificate);
    assert!(not_known(&proof).contains("another certificate"));
}

#[test]
fn an_answer_of_another_key_is_no_known_key() {
    let world = World::new();
    let double = Double::honest(&world);
    let thief = World { server: SigningKey::from_seed([8; 32]), ..world.clone() };
    let _udp = Responder::honest(&thief, &double);
    let named = [world.server_key(), thief.server_key()];
    let proof = prove_as(&double, &Known { servers: &named, ..Known::default() });
    assert_eq!(proof.udp, Udp::OtherKey);
    assert!(not_known(&proof).contains(&thief.server_key().to_string()));
}

#[test]
fn a_genuine_answer_that_is_relayed_from_another_host_is_no_known_key() {
    let world = World::new();
    let genuine = Double::honest(&world);
    let genuine_udp = Responder::honest(&world, &genuine);
    // The relay passes datagrams on and has TLS of its own, with a certificate that the genuine server does not vouch for.
    let honest = world.clone();
    let relay = Double::start(&identity(), move |ask| honest.honest(&Ask { spki: [0; 32], ..ask.clone() }));
    let to = genuine_udp.address;
    let _udp = Responder::start(relay.address, move |request, _| vec![through(to, request)]);
    let named = [world.server_key()];
    let vendor = keys(&world);
    let proof = prove(relay.address, &Known { servers: &named, vendors: Some(&vendor), pins: None }, WITHIN);
    let what = not_known(&proof);
    assert!(what.contains("does not vouch for it") && what.contains(&world.server_key().to_string()), "{what}");
    // With a key of its own instead it is that key, which nobody knows.
    let own = World { server: SigningKey::from_seed([8; 32]), ..world.clone() };
    let relay = Double::honest(&own);
    let _udp = Responder::start(relay.address, move |request, _| vec![through(to, request)]);
    let proof = prove(relay.address, &Known { servers: &named, vendors: Some(&vendor), pins: None }, WITHIN);
    assert_eq!(proof.udp, Udp::OtherKey);
    not_known(&proof);
    // What passes whole connections on as well ends at the genuine server: there is nobody in between any more.
    let address = genuine.address;
    let tunnel = support::raw(move |client| tunnel(client, address));
    let _udp = Responder::start(tunnel, move |request, _| vec![through(to, request)]);
    let proof = prove(tunnel, &Known { servers: &named, ..Known::default() }, WITHIN);
    assert_eq!(proof.verdict, Verdict::KnownKey(KnownBy::Name));
}

fn through(to: SocketAddr, request: IdentityRequest) -> Vec<u8> {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(STEP)).unwrap();
    socket.send_to(&request.encode(), to).unwrap();
    let mut bytes = [0; 600];
    let length = socket.recv(&mut bytes).unwrap();
    bytes[..length].to_vec()
}

fn tunnel(client: TcpStream, to: SocketAddr) {
    let server = TcpStream::connect(to).unwrap();
    let pump = |mut from: TcpStream, mut to: TcpStream| std::thread::spawn(move || drop(std::io::copy(&mut from, &mut to)));
    pump(client.try_clone().unwrap(), server.try_clone().unwrap());
    pump(server, client);
}

#[test]
fn answers_with_another_nonce_or_no_signature_are_dropped_and_repeated_ones_count_once() {
    let world = World::new();
    let (key, spki) = (world.server.clone(), [4; 32]);
    let udp = Responder::start("127.0.0.1:0".parse().unwrap(), move |request, from| {
        let good = udp_reply(&key, spki, [3; 8], 1588, request.nonce, from).encode(&key);
        let other_nonce = udp_reply(&key, spki, [3; 8], 1588, [0; 32], from).encode(&key);
        let other_key = udp_reply(&key, spki, [3; 8], 1588, request.nonce, from).encode(&SigningKey::from_seed([8; 32]));
        let mut long = good.clone();
        long.resize(700, 0);
        vec![other_nonce, other_key, long, good[..40].to_vec(), vec![], request.encode().to_vec(), good.clone(), good]
    });
    // The second one never answers, so that the whole time is listened.
    let mute = UdpSocket::bind("127.0.0.1:0").unwrap();
    let heard = ask(&[Target::Unicast(udp.address), Target::Unicast(mute.local_addr().unwrap())], Duration::from_millis(300));
    assert_eq!(heard.answers.len(), 1);
    assert_eq!((heard.answers[0].from, heard.answers[0].reply.server_key), (udp.address, world.server_key()));
    assert_eq!(heard.dropped, 6);
    // Who answers first and alone is not waited for longer.
    let heard = bounded(|| ask(&[Target::Unicast(udp.address)], Duration::from_secs(60)));
    assert_eq!(heard.answers.len(), 1);
}

#[test]
fn a_question_is_asked_twice_with_one_nonce_and_a_fresh_one_each_time() {
    let nonces: Arc<Mutex<Vec<[u8; 32]>>> = Arc::default();
    let seen = nonces.clone();
    let udp = Responder::start("127.0.0.1:0".parse().unwrap(), move |request, _| {
        seen.lock().unwrap().push(request.nonce);
        vec![]
    });
    for _ in 0..2 {
        assert!(ask(&[Target::Unicast(udp.address)], Duration::from_millis(200)).answers.is_empty());
    }
    let nonces = nonces.lock().unwrap().clone();
    assert_eq!(nonces.len(), 4);
    assert!(nonces[0] == nonces[1] && nonces[2] == nonces[3] && nonces[0] != nonces[2]);
}

#[test]
fn a_late_answer_meets_a_closed_port_and_counts_for_no_later_question() {
    let world = World::new();
    let key = world.server.clone();
    let first: Mutex<Option<[u8; 32]>> = Mutex::default();
    let udp = Responder::start("127.0.0.1:0".parse().unwrap(), move |request, from| {
        // Each question is answered with the nonce of the first.
        let nonce = *first.lock().unwrap().get_or_insert(request.nonce);
        if nonce == request.nonce { vec![] } else { vec![udp_reply(&key, [4; 32], [3; 8], 1588, nonce, from).encode(&key)] }
    });
    assert!(ask(&[Target::Unicast(udp.address)], Duration::from_millis(100)).answers.is_empty());
    let heard = ask(&[Target::Unicast(udp.address)], Duration::from_millis(200));
    assert_eq!((heard.answers.len(), heard.dropped), (0, 2));
}

#[test]
fn an_impostor_that_copies_the_banner_is_something_else() {
    let address = support::raw(|mut socket| {
        let mut bytes = [0; 1024];
        let _ = socket.read(&mut bytes);
        let _ = socket.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 59\r\nConnection: close\r\n\r\nThis is TriQuest LM, which speaks TLS 1.3 here. Use https.\n");
    });
    let proof = bounded(|| prove(address, &Known::default(), WITHIN));
    assert!(not_known(&proof).contains("no TLS 1.3"), "{:?}", proof.verdict);
    assert!(proof.proved.is_none());
    // With an answer over UDP as well it is none the more genuine.
    let world = World::new();
    let key = world.server.clone();
    let _udp = Responder::start(address, move |request, from| {
        vec![udp_reply(&key, [4; 32], [3; 8], address.port(), request.nonce, from).encode(&key)]
    });
    let named = [world.server_key()];
    let proof = bounded(|| prove(address, &Known { servers: &named, ..Known::default() }, WITHIN));
    assert!(not_known(&proof).contains("over UDP it claims to be"), "{:?}", proof.verdict);
}

#[test]
fn tls_without_a_proof_is_something_else() {
    let world = World::new();
    let answers: [fn(&World, &Ask) -> Reply; 4] = [
        |_, _| Reply::Answer(200, String::new(), b"<html>welcome</html>".to_vec()),
        |_, _| Reply::Answer(404, String::new(), b"not found".to_vec()),
        |_, _| Reply::Close,
        // Signed by another key than it names.
        |world, ask| {
            let asked: TrustRequest = serde_json::from_slice(&ask.body).unwrap();
            let payload = serde_json::to_vec(&world.trust_payload(&asked)).unwrap();
            Reply::json(&world.sign_trust(&payload, &SigningKey::from_seed([8; 32])))
        },
    ];
    for answer in answers {
        let of = world.clone();
        let double = Double::start(&identity(), move |ask| answer(&of, ask));
        let named = [world.server_key()];
        not_known(&bounded(|| prove_as(&double, &Known { servers: &named, ..Known::default() })));
    }
    // A statement for another connection.
    let of = world.clone();
    let double = Double::start(&identity(), move |ask| {
        let asked: TrustRequest = serde_json::from_slice(&ask.body).unwrap();
        let payload = triquest_wire::trust::TrustPayload { tls_spki: Bytes32([9; 32]), ..of.trust_payload(&asked) };
        Reply::json(&of.sign_trust(&serde_json::to_vec(&payload).unwrap(), &of.server))
    });
    assert!(not_known(&prove_as(&double, &Known::default())).contains("connection's certificate"));
}

#[test]
fn nobody_and_a_mute_listener_are_silent_in_bounded_time() {
    let closed: SocketAddr = format!("127.0.0.1:{}", support::closed_port()).parse().unwrap();
    let proof = bounded(|| prove(closed, &Known::default(), patience(closed)));
    assert!(matches!(&proof.verdict, Verdict::Silent(why) if why.contains("nothing listens")), "{:?}", proof.verdict);
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    let proof = bounded(|| prove(mute.local_addr().unwrap(), &Known::default(), patience(closed)));
    assert!(matches!(&proof.verdict, Verdict::Silent(why) if why.contains("says nothing")), "{:?}", proof.verdict);
    // One byte a second is no faster.
    let slow = support::raw(|mut socket| {
        let (_hold, forever) = std::sync::mpsc::channel::<()>();
        while socket.write_all(b"\x16").is_ok() {
            let _ = forever.recv_timeout(Duration::from_millis(100));
        }
    });
    let proof = bounded(|| prove(slow, &Known::default(), patience(slow)));
    assert!(!proof.verdict.is_server(), "{:?}", proof.verdict);
}

#[test]
fn one_key_with_two_instances_at_once_is_a_clone_and_a_restart_is_none() {
    let world = World::new();
    let double = Double::honest(&world);
    let (key, spki, port) = (world.server.clone(), prove_as(&double, &Known::default()).proved.unwrap().tls_spki, double.address.port());
    let times = Arc::new(AtomicUsize::new(0));
    let (count, is_clone) = (times.clone(), Arc::new(AtomicUsize::new(1)));
    let clone = is_clone.clone();
    let _udp = Responder::start(double.address, move |request, from| {
        // As a clone it is always another one; else only once, which is the start before.
        let other = clone.load(Ordering::SeqCst) == 1 || count.fetch_add(1, Ordering::SeqCst) == 0;
        let instance = if other { [66; 8] } else { [3; 8] };
        vec![udp_reply(&key, spki, instance, port, request.nonce, from).encode(&key)]
    });
    let proof = prove_as(&double, &Known::default());
    assert!(proof.is_clone() && proof.verdict == Verdict::UnknownKey, "{proof:?}");
    is_clone.store(0, Ordering::SeqCst);
    let proof = prove_as(&double, &Known::default());
    assert_eq!((proof.udp, proof.is_clone()), (Udp::Agrees, false));
}

/// A server of this world whose instance is what the cell says.
fn with_instance(world: &World, instance: &Arc<Mutex<[u8; 32]>>) -> Double {
    let (world, instance) = (world.clone(), instance.clone());
    Double::start(&identity(), move |ask| {
        let asked: TrustRequest = serde_json::from_slice(&ask.body).unwrap();
        let payload = triquest_wire::trust::TrustPayload { instance: Bytes32(*instance.lock().unwrap()), ..world.trust_payload(&asked) };
        Reply::json(&world.sign_trust(&serde_json::to_vec(&payload).unwrap(), &world.server))
    })
}

#[test]
fn a_copied_data_directory_shows_at_two_addresses_and_a_server_with_two_addresses_does_not() {
    let world = World::new();
    let (one, two) = (Arc::new(Mutex::new([1; 32])), Arc::new(Mutex::new([2; 32])));
    let (a, b, same) = (with_instance(&world, &one), with_instance(&world, &two), with_instance(&world, &one));
    let look = |doubles: &[&Double]| doubles.iter().map(|double| prove_as(double, &Known::default())).collect::<Vec<_>>();
    let found = clones(&look(&[&a, &b, &same]), WITHIN);
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].server_key, found[0].at.len()), (world.server_key(), 2), "one address for each instance");
    assert!(clones(&look(&[&a, &same]), WITHIN).is_empty());
    // It was restarted between the two looks: the older instance is gone.
    let proofs = look(&[&a, &b]);
    *one.lock().unwrap() = [2; 32];
    assert!(clones(&proofs, WITHIN).is_empty());
}

#[test]
fn a_fake_server_that_answers_everything_under_its_own_key_gets_no_seat_and_hears_nothing_of_the_user() {
    let world = World::new();
    // Genuine licenses, its own key: over UDP, in TLS and in the trust statement all is well signed.
    let fake = World { server: SigningKey::from_seed([8; 32]), ..world.clone() };
    let double = Double::honest(&fake);
    let _udp = Responder::honest(&fake, &double);
    let vendor = keys(&world);
    let proof = prove_as(&double, &Known { vendors: Some(&vendor), ..Known::default() });
    assert_eq!((&proof.verdict, proof.udp), (&Verdict::UnknownKey, Udp::Agrees));
    let client = Client::builder().servers(double.name()).verifier_keys(world.keys()).build().unwrap();
    let error = client.checkout("cad").take().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotTrusted);
    assert!(!double.heard().contains("holder") && !double.heard().contains("secret"));
}
