//! Servers, relays and networks that mean no good, run for real over loopback.
#![allow(clippy::unwrap_used)]

mod support;

use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use support::{Double, Reply, World, identity, problem, raw, stolen_certificate};
use triquest_client::{Client, ClientBuilder, Error, ErrorKind};
use triquest_license::{ServerKey, SigningKey};

const SHORT: Duration = Duration::from_millis(600);

fn client(world: &World, servers: impl Into<String>) -> ClientBuilder {
    Client::builder().servers(servers).verifier_keys(world.keys()).connect_timeout(SHORT).call_timeout(SHORT)
}

fn refused(world: &World, servers: impl Into<String>) -> Error {
    client(world, servers).connect().expect_err("must be refused")
}

/// Takes no longer than a few of the deadlines that were set.
#[expect(clippy::disallowed_methods, reason = "the bound itself is under test; generous against a slow machine")]
fn bounded<T>(act: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    let outcome = act();
    assert!(began.elapsed() < Duration::from_secs(15), "took {:?}", began.elapsed());
    outcome
}

#[test]
fn a_relay_with_its_own_certificate_gets_no_seat_and_never_sees_secret_or_user() {
    let world = World::new();
    let genuine = Arc::new(Double::honest(&world));
    // It terminates TLS with its own certificate and passes every request on to the genuine server over a connection of its own.
    let through = genuine.clone();
    let relay = Double::start(&identity(), move |ask| forward(&through, &ask.path, &ask.body));
    let error = bounded(|| {
        let client = client(&world, relay.name()).build().unwrap();
        client.checkout("cad").holder(triquest_client::wire::lease::HolderClaim { user: Some("carl".into()), ..Default::default() }).take()
    })
    .expect_err("a relay gives no seat");
    // The genuine server does not vouch for the relay's certificate.
    assert_eq!((error.kind(), error.code()), (ErrorKind::Refused, "misdirected"));
    for heard in [relay.heard(), genuine.heard()] {
        assert!(heard.contains("/v1/trust"));
        assert!(!heard.contains("/v1/leases") && !heard.contains("secret") && !heard.contains("carl"), "{heard}");
    }
}

#[test]
fn a_relay_that_lies_about_the_certificate_cannot_use_the_answer() {
    let world = World::new();
    let genuine = Arc::new(Double::honest(&world));
    let through = genuine.clone();
    let relay = Double::start(&identity(), move |ask| {
        let mut body: serde_json::Value = serde_json::from_slice(&ask.body).unwrap();
        if ask.path == "/v1/trust" {
            body["tls_spki"] = serde_json::to_value(triquest_wire::Bytes32(spki_of(&through))).unwrap();
        }
        forward(&through, &ask.path, &serde_json::to_vec(&body).unwrap())
    });
    let error = bounded(|| refused(&world, relay.name()));
    assert_eq!((error.kind(), error.code()), (ErrorKind::NotTrusted, "intercepted"));
    assert!(!relay.heard().contains("secret"));
}

/// What the genuine double proves of itself, as any client can learn it.
fn spki_of(double: &Double) -> [u8; 32] {
    let world = World::new();
    Client::builder().servers(double.name()).verifier_keys(world.keys()).build().unwrap().prove().unwrap().tls_spki
}

fn forward(to: &Double, path: &str, body: &[u8]) -> Reply {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(TakesAnything(provider)))
        .with_no_client_auth();
    let tls = rustls::ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap();
    let mut stream = rustls::StreamOwned::new(tls, TcpStream::connect(to.address).unwrap());
    let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body).unwrap();
    let mut answer = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&answer).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length: usize =
                head.to_lowercase().lines().find_map(|line| line.strip_prefix("content-length: ").map(|n| n.parse().unwrap())).unwrap();
            if body.len() >= length {
                return Reply::Raw(answer);
            }
        }
        match stream.read(&mut chunk) {
            Ok(read) if read > 0 => answer.extend_from_slice(&chunk[..read]),
            _ => return Reply::Close,
        }
    }
}

/// The relay does not care whom it talks to.
#[derive(Debug)]
struct TakesAnything(Arc<rustls::crypto::CryptoProvider>);

impl rustls::client::danger::ServerCertVerifier for TakesAnything {
    fn verify_server_cert(
        &self,
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &[rustls::pki_types::CertificateDer<'_>],
        _: &rustls::pki_types::ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[test]
fn the_genuine_certificate_without_its_key_is_refused_in_the_handshake() {
    let world = World::new();
    let genuine = identity();
    let stolen = stolen_certificate(&genuine, &identity());
    let thief = {
        let world = world.clone();
        Double::start(&stolen, move |ask| world.honest(ask))
    };
    let error = bounded(|| refused(&world, thief.name()));
    assert_eq!(error.kind(), ErrorKind::NoServer);
    assert!(error.tried()[0].reason.contains("TLS"), "{:?}", error.tried());
    assert_eq!(thief.heard(), "");
}

#[test]
fn a_valid_server_of_another_owner_is_not_trusted() {
    let world = World::new();
    let elsewhere = World { server: SigningKey::from_seed([5; 32]), ..world.clone() };
    // It shows our license, which names another key.
    let double = Double::honest(&elsewhere);
    let error = bounded(|| refused(&world, double.name()));
    assert_eq!(error.kind(), ErrorKind::NotTrusted);
    assert!(error.explanation().contains(&ServerKey::new(*elsewhere.server.public()).to_string()));
    assert!(!error.may_help_later());
}

#[test]
fn a_recorded_proof_that_is_replayed_is_refused() {
    let world = World::new();
    let recorded: Arc<Mutex<Option<Vec<u8>>>> = Arc::default();
    let (memory, honest) = (recorded.clone(), world.clone());
    let double = Double::start(&identity(), move |ask| {
        let mut memory = memory.lock().unwrap();
        match (&*memory, honest.honest(ask)) {
            (Some(old), _) => Reply::Answer(200, String::new(), old.clone()),
            (None, Reply::Answer(status, headers, body)) => {
                *memory = Some(body.clone());
                Reply::Answer(status, headers, body)
            }
            (None, other) => other,
        }
    });
    client(&world, double.name()).connect().unwrap();
    let error = bounded(|| refused(&world, double.name()));
    assert_eq!(error.code(), "intercepted");
}

#[test]
fn a_server_that_speaks_tls_1_2_only_is_refused() {
    let world = World::new();
    let address = raw(|mut socket: TcpStream| {
        let mut hello = [0; 1024];
        let _ = socket.read(&mut hello);
        // ServerHello of TLS 1.2 with TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 and no extension.
        let mut record = vec![0x16, 3, 3, 0, 42, 2, 0, 0, 38, 3, 3];
        record.extend([7; 32]);
        record.extend([0, 0xc0, 0x2b, 0]);
        let _ = socket.write_all(&record);
        let _ = socket.read(&mut hello);
    });
    let error = bounded(|| refused(&world, address.to_string()));
    assert_eq!(error.kind(), ErrorKind::NoServer);
    assert!(error.tried()[0].reason.contains("TLS 1.3"), "{:?}", error.tried());
}

#[test]
fn tickets_are_never_used_and_no_early_data_is_sent() {
    let world = World::new();
    let double = Double::honest(&world);
    // Two full handshakes: the connections of two clients, and each passes the verifier.
    for connection in 1..=2 {
        let client = client(&world, double.name()).connect().unwrap();
        drop(client.checkout("cad").take().unwrap());
        drop(client);
        assert!(double.connections.load(Ordering::SeqCst) >= connection);
    }
}

#[test]
fn a_redirect_is_not_followed() {
    let world = World::new();
    let elsewhere = Arc::new(Double::honest(&world));
    for status in [301, 302, 303, 307, 308] {
        let to = elsewhere.address;
        let double = Double::start(&identity(), move |_| {
            Reply::Answer(status, format!("Location: https://127.0.0.1:{}/v1/trust\r\n", to.port()), vec![])
        });
        let error = bounded(|| refused(&world, double.name()));
        assert_eq!(error.kind(), ErrorKind::NoServer, "{status}");
        assert_eq!(double.paths(), ["/v1/trust"]);
    }
    assert_eq!(elsewhere.connections.load(Ordering::SeqCst), 0);
}

#[test]
fn a_proxy_in_the_environment_is_not_used() {
    // In a process of its own, whose environment names a proxy that would see everything.
    if std::env::var_os("TRIQUEST_TEST_PROXIED").is_some() {
        let world = World::new();
        let double = Double::honest(&world);
        client(&world, double.name()).connect().unwrap();
        // Another vendor's key in the environment changes nothing for a program that embeds its own.
        drop(client(&world, double.name()).build().unwrap().checkout("cad").take().unwrap());
        return;
    }
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = asked.clone();
    let proxy = raw(move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
    });
    let url = format!("http://{proxy}");
    let mut program = std::process::Command::new(std::env::current_exe().unwrap());
    program.args(["--exact", "a_proxy_in_the_environment_is_not_used"]).env("TRIQUEST_TEST_PROXIED", "1");
    for name in ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"] {
        program.env(name, &url);
    }
    let other = support::signer("acme.example", 66);
    program.env("TRIQUEST_LM_VERIFIER_KEY", other.verifier_key().to_string());
    let output = program.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert_eq!(asked.load(Ordering::SeqCst), 0);
}

#[test]
fn an_answer_of_a_gigabyte_is_cut_off() {
    let world = World::new();
    let double = Double::start(&identity(), |_| {
        Reply::Endless(b"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n".to_vec(), vec![b' '; 65_536])
    });
    let error = bounded(|| client(&world, double.name()).connect_timeout(Duration::from_secs(10)).connect()).unwrap_err();
    assert!(error.tried()[0].reason.contains("8388608 bytes"), "{:?}", error.tried());
}

#[test]
fn headers_without_an_end_are_cut_off() {
    let world = World::new();
    let double = Double::start(&identity(), |_| Reply::Endless(b"HTTP/1.1 200 OK\r\n".to_vec(), b"x: yyyyyyyyyyyyyyyy\r\n".repeat(64)));
    let error = bounded(|| refused(&world, double.name()));
    assert_eq!(error.kind(), ErrorKind::NoServer);
}

#[test]
fn interim_answers_without_an_end_are_cut_off() {
    let world = World::new();
    let double = Double::start(&identity(), |_| Reply::Endless(vec![], b"HTTP/1.1 103 Early Hints\r\n\r\n".repeat(64)));
    assert_eq!(bounded(|| refused(&world, double.name())).kind(), ErrorKind::NoServer);
}

#[test]
fn a_handshake_of_one_byte_at_a_time_ends_at_its_deadline() {
    let world = World::new();
    let address = raw(|mut socket: TcpStream| {
        // A record of 16 KiB that never gets complete; each byte would renew a deadline that counted from the last byte.
        let _ = socket.write_all(&[0x16, 3, 3, 0x40, 0]);
        socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let mut ignored = [0; 4096];
        while socket.write_all(&[2]).is_ok() {
            let _ = socket.read(&mut ignored);
        }
    });
    let error = bounded(|| refused(&world, address.to_string()));
    assert!(error.tried()[0].reason.contains("TLS"), "{:?}", error.tried());
}

#[test]
fn a_listener_that_says_nothing_ends_at_its_deadline() {
    let world = World::new();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let error = bounded(|| refused(&world, silent.local_addr().unwrap().to_string()));
    assert_eq!((error.kind(), error.may_help_later()), (ErrorKind::NoServer, true));
}

#[test]
fn what_is_no_license_server_is_told_as_such() {
    let world = World::new();
    let page = Double::start(&identity(), |_| Reply::Answer(200, String::new(), b"<html>".to_vec()));
    let error = bounded(|| refused(&world, page.name()));
    assert!(error.tried()[0].reason.contains("no TriQuest LM server"), "{:?}", error.tried());
    let banner = raw(|mut socket: TcpStream| drop(socket.write_all(b"220 mail.example ESMTP\r\n")));
    assert!(bounded(|| refused(&world, banner.to_string())).tried()[0].reason.contains("TLS"));
}

#[test]
fn a_forged_grant_gives_no_seat_and_what_was_taken_is_given_back() {
    let world = World::new();
    let thief = World { server: SigningKey::from_seed([4; 32]), ..world.clone() };
    let honest = world.clone();
    let double = Double::start(&identity(), move |ask| if ask.path == "/v1/leases" { thief.honest(ask) } else { honest.honest(ask) });
    let client = client(&world, double.name()).build().unwrap();
    let error = bounded(|| client.checkout("cad").take()).unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::NotTrusted, "not_trusted"));
    drop(client);
    assert!(double.paths().last().unwrap().ends_with("/release"), "{:?}", double.paths());
}

#[test]
fn an_older_grant_that_is_replayed_gives_no_seat() {
    let world = World::new();
    let first: Arc<Mutex<Option<Vec<u8>>>> = Arc::default();
    let honest = world.clone();
    let double = Double::start(&identity(), move |ask| match honest.honest(ask) {
        Reply::Answer(status, headers, body) if ask.path == "/v1/leases" => {
            Reply::Answer(status, headers, first.lock().unwrap().get_or_insert(body).clone())
        }
        other => other,
    });
    let client = client(&world, double.name()).build().unwrap();
    let seat = client.checkout("cad").take().unwrap();
    let error = bounded(|| client.checkout("cad").take()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotTrusted);
    assert!(error.explanation().contains("lease is not ours"), "{error}");
    drop(seat);
}

#[test]
fn a_rotated_certificate_of_the_same_server_works_and_another_server_in_its_place_does_not() {
    let world = World::new();
    let double = Double::start(&identity(), {
        let world = world.clone();
        // Every connection ends after one answer, so each call needs a handshake.
        move |ask| match world.honest(ask) {
            Reply::Answer(status, headers, body) => Reply::Answer(status, format!("Connection: close\r\n{headers}"), body),
            other => other,
        }
    });
    let client = client(&world, double.name()).build().unwrap();
    let seat = client.checkout("cad").take().unwrap();
    double.rotate(&identity());
    // The pinned connection is refused, and the whole proof is made again, for the same key.
    let second = bounded(|| client.checkout("cad").take()).unwrap();
    assert_eq!(seat.server_key(), second.server_key());
    drop((seat, second));
    drop(client);

    let impostor = World { server: SigningKey::from_seed([5; 32]), ..world.clone() };
    let now = Arc::new(Mutex::new(world.clone()));
    let current = now.clone();
    let double = Double::start(&identity(), move |ask| match current.lock().unwrap().honest(ask) {
        Reply::Answer(status, headers, body) => Reply::Answer(status, format!("Connection: close\r\n{headers}"), body),
        other => other,
    });
    let client = Client::builder().servers(double.name()).verifier_keys(world.keys()).connect_timeout(SHORT).call_timeout(SHORT).build();
    let client = client.unwrap();
    let seat = client.checkout("cad").take().unwrap();
    let before = double.paths().len();
    *now.lock().unwrap() = impostor;
    double.rotate(&identity());
    let error = bounded(|| seat.release(Duration::from_secs(2))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutcomeUnknown);
    // It was asked for its proof, and told nothing more.
    assert!(double.paths()[before..].iter().all(|path| path == "/v1/trust"), "{:?}", &double.paths()[before..]);
}

#[test]
fn a_problem_of_a_server_counts_by_its_retry_even_if_its_code_is_new() {
    let world = World::new();
    let honest = world.clone();
    let times = Arc::new(AtomicUsize::new(0));
    let double = Double::start(&identity(), move |ask| {
        if ask.path == "/v1/leases" && times.fetch_add(1, Ordering::SeqCst) == 0 {
            problem(503, "something_of_tomorrow", "same_id")
        } else {
            honest.honest(ask)
        }
    });
    let client = client(&world, double.name()).build().unwrap();
    drop(bounded(|| client.checkout("cad").take()).unwrap());
    // The same secret and attempt were asked again, with a fresh nonce.
    let asked: Vec<serde_json::Value> = double
        .log
        .lock()
        .unwrap()
        .iter()
        .filter(|ask| ask.path == "/v1/leases")
        .map(|ask| serde_json::from_slice(&ask.body).unwrap())
        .collect();
    assert_eq!(asked.len(), 2);
    assert_eq!((&asked[0]["secret"], &asked[0]["attempt"]), (&asked[1]["secret"], &asked[1]["attempt"]));
    assert_ne!(asked[0]["nonce"], asked[1]["nonce"]);
}
