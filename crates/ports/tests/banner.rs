//! What services say of themselves, asked of real ones on loopback.
#![allow(clippy::unwrap_used)]

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    sync::{Arc, mpsc},
};

use triquest_ports::banner::{
    ANSWER_BYTES_MAX, Answer, Greeting, Manner, NotAsked, Says, Spoken, TEXT_BYTES_MAX, Target, Tls, TlsVersion, ask,
};
use triquest_ports::sockets::{Ask, Protocol, listening};

/// A machine under load may miss the short times that a service has to answer.
const TRIES_MAX: usize = 30;

/// Serves each connection on a thread of its own.
fn serve(with: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let with = Arc::new(with);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let with = with.clone();
            std::thread::spawn(move || with(stream));
        }
    });
    address
}

fn answer(address: SocketAddr) -> Answer {
    let answer = ask(Target::this_machine(address).unwrap(), Manner::Usual);
    println!("{} ms: {:?}", answer.took_ms, answer.says);
    answer
}

fn answer_until<T>(address: SocketAddr, wanted: impl Fn(Says) -> Option<T>) -> T {
    let mut last = None;
    for _ in 0..TRIES_MAX {
        let says = answer(address).says;
        if let Some(found) = wanted(says.clone()) {
            return found;
        }
        last = Some(says);
    }
    panic!("the last answer: {last:?}")
}

fn read_to_silence(stream: &mut TcpStream) {
    let _ = stream.read_to_end(&mut Vec::new());
}

#[test]
fn a_mute_listener_is_called_mute_in_bounded_time() {
    let address = serve(|mut stream| read_to_silence(&mut stream));
    assert_eq!(answer(address).says, Says::Mute);
}

#[test]
fn a_listener_that_never_accepts_is_called_mute() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    assert_eq!(answer(listener.local_addr().unwrap()).says, Says::Mute);
}

#[test]
fn a_banner_without_end_is_cut() {
    let address = serve(|mut stream| while stream.write_all(&[b'A'; 8_192]).is_ok() {});
    let text = answer_until(address, |says| match says {
        Says::Greeting(greeting) => Some(greeting.text),
        _ => None,
    });
    assert_eq!(text, "A".repeat(TEXT_BYTES_MAX));
    const { assert!(TEXT_BYTES_MAX < ANSWER_BYTES_MAX) };
}

#[test]
fn a_service_that_answers_without_end_is_cut() {
    let address = serve(|mut stream| {
        let _ = stream.read(&mut [0; 1_024]);
        while stream.write_all(&[b'B'; 8_192]).is_ok() {}
    });
    let text = answer_until(address, |says| match says {
        Says::Other { text } => Some(text),
        _ => None,
    });
    assert_eq!(text, "B".repeat(TEXT_BYTES_MAX));
}

#[test]
fn a_service_that_greets_is_told_by_its_greeting_and_is_sent_nothing() {
    let (sender, received) = mpsc::channel();
    let address = serve(move |mut stream| {
        let _ = stream.write_all(b"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u5\r\n");
        let mut heard = Vec::new();
        let _ = stream.read_to_end(&mut heard);
        let _ = sender.send(heard);
    });
    let greeting = answer_until(address, |says| match says {
        Says::Greeting(greeting) => Some(greeting),
        _ => None,
    });
    assert_eq!((greeting.protocol, greeting.text.as_str()), (Some(Spoken::Ssh), "SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u5"));
    assert_eq!(received.recv().unwrap(), b"");
}

/// A MySQL server counts whoever hangs up before the handshake has ended, and shuts that machine out after 100.
#[test]
fn who_greets_as_mysql_gets_a_handshake_that_ends_in_order() {
    let (sender, received) = mpsc::channel();
    let address = serve(move |mut stream| {
        // Protocol 10, version, connection, 8 bytes to prove a password with, what the server can.
        let mut greeting = b"\x0a10.11.6-MariaDB\0\x01\0\0\0abcdefgh\0\xff\xf7\x21\x02\0\xff\x81\x15".to_vec();
        greeting.extend([0; 10]);
        greeting.extend(b"ijklmnopqrst\0mysql_native_password\0");
        let mut packet = vec![u8::try_from(greeting.len()).unwrap(), 0, 0, 0];
        packet.extend(greeting);
        let _ = stream.write_all(&packet);
        let mut head = [0; 4];
        if stream.read_exact(&mut head).is_err() {
            return;
        }
        let mut answer = vec![0; usize::from(head[0])];
        let _ = stream.read_exact(&mut answer);
        let _ = stream.write_all(b"\x09\0\0\x02\xff\x15\x04#28000");
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
        let _ = sender.send((head[3], answer, rest));
    });
    let greeting = answer_until(address, |says| match says {
        Says::Greeting(greeting) => Some(greeting),
        _ => None,
    });
    assert_eq!((greeting.protocol, greeting.text.as_str()), (Some(Spoken::Mysql), "10.11.6-MariaDB"));
    let (number, answer, rest) = received.recv_timeout(std::time::Duration::from_secs(30)).expect("the handshake ends in order");
    assert_eq!((number, rest.as_slice()), (1, &[][..]), "the second packet of the handshake, and nothing after the refusal");
    assert!(answer[32..].starts_with(b"triquest-lm-port\0\0mysql_native_password\0"), "{answer:?}");
}

/// A program that is killed when the test ends.
struct Started(Child);

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn a_real_redis_is_told_and_takes_no_question_for_an_attack() {
    let folder = tempfile::tempdir().unwrap();
    let (port, log) = (free_port(), folder.path().join("log"));
    let started = Command::new("redis-server")
        .args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", "", "--logfile"])
        .arg(&log)
        .arg("--dir")
        .arg(folder.path())
        .stdout(Stdio::null())
        .spawn();
    let Ok(started) = started else {
        println!("skipped: no redis-server here");
        return;
    };
    let _started = Started(started);
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    // Until it listens, nobody takes a connection.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while TcpStream::connect(address).is_err() && std::time::Instant::now() < deadline {
        std::thread::yield_now();
    }
    let greeting = answer_until(address, |says| match says {
        Says::Greeting(greeting) => Some(greeting),
        _ => None,
    });
    assert_eq!(greeting.protocol, Some(Spoken::Redis), "{greeting:?}");
    let log = std::fs::read_to_string(&log).unwrap();
    assert!(!log.contains("SECURITY"), "{log}");
}

/// A real PostgreSQL in a folder of its own. It runs as nobody if this is root: it refuses to run as root.
struct Postgresql {
    _folder: tempfile::TempDir,
    server: Started,
    address: SocketAddr,
    log: std::path::PathBuf,
}

impl Postgresql {
    /// None if there is none here; the reason is printed.
    fn start(tls: bool) -> Option<Self> {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        let data = folder.path().join("data");
        let is_root = rustix::process::geteuid().is_root();
        let run = |program: &std::path::Path| {
            let mut command = if is_root { Command::new("setpriv") } else { Command::new(program) };
            if is_root {
                command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]).arg(program);
            }
            command.current_dir(folder.path()).env("LC_ALL", "C").stdin(Stdio::null());
            command
        };
        // Debian keeps the programs of each version in a folder of its own, out of the path.
        let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|version| version.path().join("bin"));
        let path = std::env::var_os("PATH").unwrap_or_default();
        let programs = versions.chain(std::env::split_paths(&path)).find(|folder| folder.join("initdb").exists());
        let made = programs.as_ref().is_some_and(|programs| {
            let made = run(&programs.join("initdb"))
                .args(["--no-sync", "--auth=trust", "--username=postgres", "--encoding=UTF8", "-D"])
                .arg(&data)
                .output();
            made.is_ok_and(|output| output.status.success())
        });
        let Some(programs) = programs.filter(|_| made) else {
            println!("skipped: no PostgreSQL here that can be run");
            return None;
        };
        let (port, log) = (free_port(), folder.path().join("log"));
        let mut command = run(&programs.join("postgres"));
        command.arg("-D").arg(&data).args([
            "-c",
            "listen_addresses=127.0.0.1",
            "-c",
            "unix_socket_directories=",
            "-c",
            &format!("port={port}"),
        ]);
        // All that it ever says of a client.
        command.args(["-c", "log_min_messages=info", "-c", "log_line_prefix="]);
        if tls {
            let certified = rcgen::generate_simple_self_signed(vec!["db.example".to_owned()]).unwrap();
            for (name, text) in [("server.crt", certified.cert.pem()), ("server.key", certified.signing_key.serialize_pem())] {
                let file = data.join(name);
                std::fs::write(&file, text).unwrap();
                std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
                if is_root {
                    std::os::unix::fs::chown(&file, Some(65_534), Some(65_534)).unwrap();
                }
            }
            command.args(["-c", "ssl=on"]);
        }
        let server = command.stdout(Stdio::null()).stderr(std::fs::File::create(&log).unwrap()).spawn().unwrap();
        Some(Self { _folder: folder, server: Started(server), address: SocketAddr::from(([127, 0, 0, 1], port)), log })
    }

    /// What a look hears.
    fn look(&self) -> Greeting {
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
        loop {
            match ask(Target::this_machine(self.address).unwrap(), Manner::Postgresql).says {
                Says::Greeting(greeting) => return greeting,
                other => assert!(std::time::Instant::now() < deadline, "{other:?}: {}", std::fs::read_to_string(&self.log).unwrap()),
            }
        }
    }

    /// Its log, after it has ended in order and so has said all.
    fn end(mut self) -> String {
        let server = rustix::process::Pid::from_child(&self.server.0);
        rustix::process::kill_process(server, rustix::process::Signal::INT).unwrap();
        self.server.0.wait().unwrap();
        std::fs::read_to_string(&self.log).unwrap()
    }
}

#[test]
fn a_real_postgresql_writes_nothing_of_a_look_into_its_log() {
    for tls in [false, true] {
        let Some(postgresql) = Postgresql::start(tls) else { return };
        for _ in 0..5 {
            let greeting = postgresql.look();
            assert_eq!(greeting.protocol, Some(Spoken::Postgresql), "{greeting:?}");
            assert_eq!(greeting.text.contains("with TLS, certificate of"), tls, "{greeting:?}");
        }
        let log = postgresql.end();
        let of_itself = [
            "starting PostgreSQL",
            "listening on",
            "database system ",
            "received fast shutdown",
            "aborting any active",
            "background worker",
            "shutting down",
            "checkpoint ",
        ];
        let wrong: Vec<&str> = log.lines().filter(|line| !line.is_empty() && !of_itself.iter().any(|known| line.contains(known))).collect();
        assert!(wrong.is_empty(), "{wrong:?}\n{log}");
    }
}

#[test]
fn who_is_known_as_postgresql_is_asked_in_its_own_words_only() {
    assert_eq!(
        (Manner::of(["postgresql"]), Manner::of(["postgres", "x"]), Manner::of(["ssh"])),
        (Manner::Postgresql, Manner::Postgresql, Manner::Usual)
    );
    let (sender, received) = mpsc::channel();
    let address = serve(move |mut stream| {
        let mut question = [0; 8];
        if stream.read_exact(&mut question).is_err() {
            return;
        }
        let _ = stream.write_all(b"N");
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
        let _ = sender.send((question, rest));
    });
    let says = ask(Target::this_machine(address).unwrap(), Manner::Postgresql).says;
    assert!(matches!(&says, Says::Greeting(greeting) if greeting.protocol == Some(Spoken::Postgresql)), "{says:?}");
    assert_eq!(received.recv().unwrap(), ([0, 0, 0, 8, 4, 210, 22, 47], Vec::new()));
}

#[test]
fn a_hostile_greeting_is_carried_as_it_is() {
    let hostile = "220 \u{1b}]52;c;cm0=\u{7}\u{1b}]8;;http://x\u{7}\u{202e}$(reboot) * ESMTP";
    let address = serve(move |mut stream| {
        let _ = stream.write_all(format!("{hostile}\r\nmore\r\n").as_bytes());
        read_to_silence(&mut stream);
    });
    let greeting = answer_until(address, |says| match says {
        Says::Greeting(greeting) => Some(greeting),
        _ => None,
    });
    assert_eq!((greeting.protocol, greeting.text.as_str()), (Some(Spoken::Smtp), hostile));
    assert!(!serde_json::to_string(&greeting).unwrap().chars().any(char::is_control));
}

/// Answers every request with the same, as a server of HTTP does that closes after garbage.
fn http_server(reply: &'static str) -> SocketAddr {
    serve(move |mut stream| {
        let mut request = [0; 1_024];
        let count = stream.read(&mut request).unwrap_or(0);
        if request[..count].starts_with(b"HEAD / HTTP/1.0\r\n") {
            let _ = stream.write_all(reply.as_bytes());
        } else {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nServer: none\r\n\r\n");
        }
    })
}

#[test]
fn a_web_server_is_told_by_status_and_server() {
    let address = http_server("HTTP/1.1 301 Moved\r\nserver: nginx/1.22.1\r\nLocation: https://x/\r\n\r\nServer: no header any more\r\n");
    let http = answer_until(address, |says| match says {
        Says::Http(http) if http.status != 400 => Some(http),
        _ => None,
    });
    assert_eq!((http.status, http.server.as_deref(), http.location.as_deref()), (301, Some("nginx/1.22.1"), Some("https://x/")));
}

#[test]
fn a_closed_port_has_no_connection() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    assert!(matches!(answer(address).says, Says::NoConnection { .. }));
}

#[test]
fn printers_udp_and_other_machines_are_not_asked() {
    for port in 9100..=9107 {
        assert_eq!(Target::named_by_the_user(([127, 0, 0, 1], port).into()), Err(NotAsked::Paper));
        // A listener there may belong to somebody else; what counts is that it is no target.
        if let Ok(printer) = TcpListener::bind(("0.0.0.0", port)) {
            let found = listening(Some(port), Ask::default()).unwrap();
            let socket = found.sockets.iter().find(|socket| socket.protocol == Protocol::Tcp).unwrap();
            assert_eq!(Target::of(socket), Err(NotAsked::Paper));
            drop(printer);
        }
    }
    assert_eq!(Target::this_machine(([192, 0, 2, 1], 80).into()), Err(NotAsked::NotThisMachine));
    let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let found = listening(Some(udp.local_addr().unwrap().port()), Ask::default()).unwrap();
    assert_eq!(Target::of(&found.sockets[0]), Err(NotAsked::Udp));
    let tcp = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = tcp.local_addr().unwrap().port();
    let found = listening(Some(port), Ask::default()).unwrap();
    assert_eq!(Target::of(&found.sockets[0]).unwrap().address(), ([127, 0, 0, 1], port).into());
}

fn tls_of(address: SocketAddr, wanted: impl Fn(&Tls) -> bool) -> Tls {
    answer_until(address, |says| match says {
        Says::Tls(tls) if wanted(&tls) => Some(tls),
        _ => None,
    })
}

fn tls_server(alpn: &'static [u8]) -> (SocketAddr, String) {
    let made = rcgen::generate_simple_self_signed(["tqlic01.example".to_owned()]).unwrap();
    let key = rustls_pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let spki = rustls::server::ParsedCertificate::try_from(made.cert.der()).unwrap().subject_public_key_info();
    let spki = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &spki).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let mut config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    config.alpn_protocols = vec![alpn.to_vec()];
    let config = Arc::new(config);
    let address = serve(move |mut stream| {
        let mut tls = rustls::ServerConnection::new(config.clone()).unwrap();
        let mut inner = rustls::Stream::new(&mut tls, &mut stream);
        let mut request = [0; 1_024];
        if inner.read(&mut request).is_ok_and(|count| count > 0) {
            let _ = inner.write_all(b"HTTP/1.1 200 OK\r\nServer: inside\r\n\r\n");
            let _ = inner.flush();
        }
    });
    (address, spki)
}

#[test]
fn a_tls_server_is_told_with_version_certificate_and_what_it_says_inside() {
    let (address, spki) = tls_server(b"http/1.1");
    let tls = tls_of(address, |tls| tls.http.is_some());
    assert_eq!((tls.version, tls.alpn.as_deref(), tls.has_key), (TlsVersion::Tls13, Some("http/1.1"), true));
    let certificate = tls.certificate.unwrap();
    assert_eq!((certificate.subject.as_str(), certificate.spki_sha256), ("CN=rcgen self signed cert", spki));
    let http = tls.http.unwrap();
    assert_eq!((http.status, http.server.as_deref()), (200, Some("inside")));
}

#[test]
fn a_tls_server_that_refuses_our_protocol_inside_is_still_told_as_tls() {
    let (address, _) = tls_server(b"h2");
    let tls = tls_of(address, |_| true);
    assert_eq!(tls.alert.as_deref(), Some("no_application_protocol"));
}

#[test]
fn a_server_of_tls_1_2_is_told_as_older() {
    let Some(server) = OpenSsl::start(&["-tls1_2"]) else { return };
    let tls = tls_of(server.address, |_| true);
    assert_eq!((tls.version, tls.alert.as_deref()), (TlsVersion::Older, Some("protocol_version")));
}

#[test]
fn openssl_s_server_is_told_with_the_names_of_its_certificate() {
    let Some(server) = OpenSsl::start(&["-tls1_3", "-www"]) else { return };
    let tls = tls_of(server.address, |tls| tls.certificate.is_some());
    assert_eq!((tls.version, tls.has_key), (TlsVersion::Tls13, true));
    assert_eq!(tls.certificate.unwrap().subject, "O=Initech, CN=\u{1b}[2J$(reboot)");
}

/// `openssl s_server` with a certificate of its own.
struct OpenSsl {
    child: Child,
    address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl OpenSsl {
    fn start(options: &[&str]) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let (key, certificate) = (folder.path().join("key"), folder.path().join("certificate"));
        let made = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"])
            .args(["-utf8", "-subj", "/O=Initech/CN=\u{1b}[2J$(reboot)", "-keyout"])
            .arg(&key)
            .arg("-out")
            .arg(&certificate)
            .stderr(Stdio::null())
            .status();
        if !made.is_ok_and(|status| status.success()) {
            println!("skipped: no openssl here");
            return None;
        }
        let mut child = Command::new("openssl")
            .args(["s_server", "-accept", "127.0.0.1:0", "-key"])
            .arg(&key)
            .arg("-cert")
            .arg(&certificate)
            .args(options)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let address = lines.by_ref().map_while(Result::ok).find_map(|line| line.strip_prefix("ACCEPT ")?.parse().ok()).unwrap();
        // It stops when nobody hears it.
        std::thread::spawn(move || lines.count());
        Some(Self { child, address, _folder: folder })
    }
}

impl Drop for OpenSsl {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
