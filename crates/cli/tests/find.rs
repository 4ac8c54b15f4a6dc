//! From nothing to a server, in a network of its own: DNS from a real name server, UDP, mDNS; and who it is that was found.
#![allow(clippy::unwrap_used)]

mod support;

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, UdpSocket},
};

use mdns_sd::{ServiceDaemon, ServiceInfo};
use serde_json::Value;
use support::{Folder, Run, Running, Server, sign, triquest, vendor};
use triquest_client::{
    Client,
    wire::identity::{GROUP_IPV4, IdentityReply, IdentityRequest},
};
use triquest_license::{ServerKey, SigningKey};

/// What makes this program another one: see [`beside_a_server`].
const BESIDE: &str = "TRIQUEST_TEST_BESIDE";
const ADDRESS: &str = "10.99.0.1";

/// No test of its own: started once more with a variable, this program stands beside a server on port 1588 of its network, announces it over mDNS, and answers for
/// it over UDP unless it does so itself.
#[test]
fn beside_a_server() {
    let Ok(keys) = std::env::var(BESIDE) else { return };
    let (private, verifier) = keys.split_once(' ').unwrap();
    let seed: Vec<u8> = (0..32).map(|byte| u8::from_str_radix(&private[2 * byte..2 * byte + 2], 16).unwrap()).collect();
    let key = SigningKey::from_seed(seed.try_into().unwrap());
    let proof = Client::builder().servers(format!("1588@{ADDRESS}")).verifier_keys(verifier).build().unwrap().prove().unwrap();
    assert_eq!(proof.server_key, ServerKey::new(*key.public()));
    let daemon = ServiceDaemon::new().unwrap();
    let info = ServiceInfo::new("_triquest-lm._tcp.local.", "tqlic01", "tqlic01.local.", ADDRESS, 1588, None).unwrap();
    daemon.register(info).unwrap();
    let udp = UdpSocket::bind("0.0.0.0:1588");
    println!("\nready");
    std::io::stdout().flush().unwrap();
    let Ok(socket) = udp else {
        let _ = std::io::stdin().read(&mut [0]);
        std::thread::park();
        return;
    };
    socket.join_multicast_v4(&GROUP_IPV4, &ADDRESS.parse().unwrap()).unwrap();
    let mut bytes = [0; 1_024];
    while let Ok((length, from)) = socket.recv_from(&mut bytes) {
        let Some(request) = IdentityRequest::parse(&bytes[..length]) else { continue };
        let reply = IdentityReply {
            nonce: request.nonce,
            server_key: proof.server_key,
            tls_spki: proof.tls_spki,
            instance: proof.instance[..8].try_into().unwrap(),
            tcp_port: 1588,
            asker: SocketAddr::new(from.ip().to_canonical(), from.port()),
            answerer: None,
            name: "tqlic01.initech.example".into(),
            version: env!("CARGO_PKG_VERSION").into(),
        };
        let _ = socket.send_to(&reply.encode(&key), from);
    }
}

fn said(mut child: Running, word: &str) -> Running {
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let heard = lines.by_ref().map_while(Result::ok).any(|line| line.contains(word));
    if !heard {
        panic!("it did not say {word}: {}", support::rest(child.stderr.take()));
    }
    std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
    child
}

/// A name server that knows where the license server is. None, with the reason printed, if it is not installed.
fn name_server(folder: &Folder) -> Option<Running> {
    let there = std::process::Command::new("dnsmasq").arg("--version").output();
    if there.is_err() {
        eprintln!("skipped: there is no `dnsmasq` here (Debian: dnsmasq-base)");
        return None;
    }
    let script = "exec dnsmasq --no-daemon --conf-file=/dev/null --no-resolv --no-hosts --log-facility=- --pid-file= --local=/example/ --user=root \
        --listen-address=127.0.0.1 --bind-interfaces --srv-host=_triquest-lm._tcp.initech.example,tqlic01.initech.example,1588,10 \
        --host-record=tqlic01.initech.example,10.99.0.1 2>&1";
    Some(said(folder.start("sh", &["-c", script], &[]).unwrap(), "started"))
}

fn json(run: &Run) -> Value {
    serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{error}\n{}\n{}", run.stdout, run.stderr))
}

fn words(value: &Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect()
}

#[test]
fn a_server_is_found_every_way_and_used_by_every_command_without_being_named() {
    let Some(folder) = Folder::with_network() else { return };
    let Some(_dns) = name_server(&folder) else { return };
    let key = vendor(&folder);
    // A name that is not the machine's own has to be told to the server.
    fs::write(folder.path().join("server.toml"), "hosts = [\"tqlic01.initech.example\"]\n").unwrap();
    let mut server = Server::start_with(&folder, "0.0.0.0:1588", &["--config", "server.toml"]);
    sign(&folder, "ACME-1", server.key(), "[[entitlement]]\nfeature = \"cad\"\nseats = 3\nexpires = 2090-12-31\n");
    triquest(&folder, ["license", "install", "ACME-1.lic"]).run().ok();
    let private = fs::read_to_string(folder.path().join("data/server.key")).unwrap();
    let private = private.trim().strip_prefix("tqs-private:").unwrap();
    let this = std::env::current_exe().unwrap();
    let arguments = ["--exact", "beside_a_server", "--nocapture"];
    let _beside = said(folder.start(this, &arguments, &[(BESIDE, &format!("{private} {key}"))]).unwrap(), "ready");

    // Nobody has seen its key, and no vendor is named.
    let first = json(&triquest(&folder, ["find", "--json"]).run().ok());
    let found = first["servers"].as_array().unwrap();
    assert_eq!(found.len(), 1, "{first:#}");
    let found = &found[0];
    assert_eq!((found["verdict"].as_str(), found["server_key"].as_str()), (Some("unknown_key"), Some(server.key())));
    assert_eq!(words(&found["found_by"]), ["DNS SRV", "UDP broadcast", "UDP multicast", "mDNS", "this machine"], "{first:#}");
    assert_eq!(words(&found["addresses"]), ["10.99.0.1:1588", "127.0.0.1:1588"]);
    assert_eq!((found["clone"].as_bool(), found["udp"].as_str()), (Some(false), Some("agrees")));
    assert_eq!(found["version"].as_str(), Some(env!("CARGO_PKG_VERSION")));
    let places: Vec<&str> = first["looked"].as_array().unwrap().iter().map(|row| row["place"].as_str().unwrap()).collect();
    assert_eq!(places[0], "TRIQUEST_LM_SERVER");
    assert!(places.contains(&"DNS SRV _triquest-lm._tcp.nothing.example"), "{places:?}");

    // It is remembered on request; and a vendor's license says more.
    triquest(&folder, ["find", "--no-mdns", "--timeout", "300ms", "--remember"]).run().ok();
    let again = triquest(&folder, ["find", "--no-mdns", "--timeout", "300ms"]).run().ok();
    assert!(again.stdout.contains("  known key tqs1:") && again.stdout.contains(", as on 2"), "{}", again.stdout);
    let run = triquest(&folder, ["find", "--feature", "cad", "--verifier-key", &key, "--no-mdns", "--timeout", "300ms"]).run().ok();
    let lines: Vec<&str> = run.stdout.lines().collect();
    assert!(lines[0].starts_with("SERVER") && lines[0].contains("  CAD"), "{}", run.stdout);
    assert!(lines[1].contains("3 of 3 free") && lines[1].ends_with(", licensed by acme.example"), "{}", run.stdout);
    assert_eq!((lines.len(), run.stderr.as_str()), (2, ""));

    // Whoever needs a seat needs no more.
    triquest(&folder, ["run", "--feature", "cad", "--verifier-key", &key, "--", "true"]).run().ok();
    let lease = triquest(&folder, ["checkout", "--feature", "cad", "--verifier-key", &key, "--lease-file", "l.lease"]).run().ok();
    triquest(&folder, ["release", lease.stdout.trim()]).run().ok();
    let doctor = triquest(&folder, ["doctor", "--verifier-key", &key, "--feature", "cad"]).run().ok();
    let from = "ok    server   1588@tqlic01.initech.example, from DNS SRV _triquest-lm._tcp.initech.example: 10.99.0.1\n";
    assert!(doctor.stdout.starts_with(from), "{}", doctor.stdout);
    assert!(doctor.stdout.contains("same key over UDP, one history"), "{}", doctor.stdout);
    // On a machine without a server of its own: counts of the one that is named.
    let status = triquest(&folder, ["status", "--verifier-key", &key]).env("TRIQUEST_LM_DATA", folder.path().join("none")).run().ok();
    assert!(status.stdout.starts_with("1588@tqlic01.initech.example  "), "{}", status.stdout);

    // The machine's own words come before DNS.
    fs::create_dir_all(folder.path().join(".config/triquest-lm")).unwrap();
    fs::write(folder.path().join(".config/triquest-lm/client.toml"), "servers = [\"1588@127.0.0.1\"]\n").unwrap();
    let doctor = triquest(&folder, ["doctor", "--verifier-key", &key]).run().ok();
    assert!(doctor.stdout.starts_with("ok    server   1588@127.0.0.1, from "), "{}", doctor.stdout);
    assert!(doctor.stdout.lines().next().unwrap().ends_with(".config/triquest-lm/client.toml"), "{}", doctor.stdout);
    fs::write(folder.path().join(".config/triquest-lm/client.toml"), "\nserver = \"1588@127.0.0.1\"\n").unwrap();
    let run = triquest(&folder, ["run", "--feature", "cad", "--verifier-key", &key, "--", "true"]).run();
    assert!(run.code == 2 && run.stderr.contains("client.toml, line 2: unknown field `server`"), "{}", run.stderr);
    fs::remove_file(folder.path().join(".config/triquest-lm/client.toml")).unwrap();

    server.kill();
    let run = triquest(&folder, ["run", "--feature", "cad", "--verifier-key", &key, "--", "true"]).run();
    assert_eq!(run.code, 75);
    for row in [
        "error: no license server answered for `cad`\n",
        "  TRIQUEST_LM_SERVER  ",
        "/.config/triquest-lm/client.toml  ",
        "  /etc/triquest-lm/client.toml  ",
        "  DNS SRV _triquest-lm._tcp.nothing.example  ",
        "  DNS SRV _triquest-lm._tcp.initech.example  1588@tqlic01.initech.example: connection refused",
    ] {
        let squeezed = run.stderr.lines().map(|line| {
            format!("  {}\n", line.trim().split("  ").filter(|part| !part.is_empty()).map(str::trim).collect::<Vec<_>>().join("  "))
        });
        assert!(run.stderr.contains(row) || squeezed.collect::<String>().contains(row), "{row} in\n{}", run.stderr);
    }
}

#[test]
fn whoever_finds_nobody_is_told_where_was_looked_and_what_else_to_do() {
    let Some(folder) = Folder::with_network() else { return };
    let key = vendor(&folder);
    let run = triquest(&folder, ["find", "--no-mdns", "--timeout", "200ms"]).run();
    assert_eq!((run.code, run.stdout.as_str()), (75, ""));
    assert!(run.stderr.starts_with("error: no license server was found (port 1588 over UDP)\n"), "{}", run.stderr);
    assert!(run.stderr.contains("no name server listens on 127.0.0.1\n") && run.stderr.contains("\nhint: "), "{}", run.stderr);
    let run = triquest(&folder, ["run", "--feature", "cad", "--verifier-key", &key, "--", "true"]).run();
    assert_eq!(run.code, 75);
    assert!(run.stderr.starts_with("error: no license server is named for `cad`\n  TRIQUEST_LM_SERVER "), "{}", run.stderr);
    assert_eq!(run.stderr.matches("DNS SRV").count(), 2, "{}", run.stderr);
    let run = triquest(&folder, ["find", "--feature", "cad"]).run();
    assert!(run.code == 2 && run.stderr.contains("--verifier-key"), "{}", run.stderr);
    assert_eq!(triquest(&folder, ["find", "--verifier-key", "nonsense"]).run().code, 2);
    // Without any other word, doctor looks at the server of this machine.
    let _server = Server::start(&folder);
    let run = triquest(&folder, ["doctor", "--verifier-key", &key]).run();
    assert!(run.stdout.contains(", the server of this machine, "), "{}{}", run.stdout, run.stderr);
}

#[test]
fn a_changed_key_and_an_impostor_are_called_out() {
    let Some(folder) = Folder::with_network() else { return };
    let server = Server::start_with(&folder, "10.99.0.1:0", &[]);
    let name = format!("{}@10.99.0.1", server.port());
    let find = |server: &str| triquest(&folder, ["find", "--no-mdns", "--timeout", "200ms"]).env("TRIQUEST_LM_SERVER", server).run();
    let known = folder.path().join(".local/share/triquest-lm/known_servers");
    for _ in 0..2 {
        let run = find(&name).ok();
        assert!(run.stdout.contains("unknown key tqs1:"), "that it was seen makes it no known key: {}", run.stdout);
    }
    assert!(!known.exists(), "nothing is kept that nobody asked for");
    triquest(&folder, ["find", "--no-mdns", "--timeout", "200ms", "--remember"]).env("TRIQUEST_LM_SERVER", &name).run().ok();
    assert!(find(&name).ok().stdout.contains("known key tqs1:"));
    let text = fs::read_to_string(&known).unwrap();
    let other = ServerKey::new(*SigningKey::from_seed([7; 32]).public()).to_string();
    fs::write(&known, format!("{}nonsense\n", text.replace(server.key(), &other))).unwrap();
    for _ in 0..2 {
        let run = find(&name).ok();
        assert!(run.stdout.contains("unknown key tqs1:") && run.stdout.contains("; KEY CHANGED"), "{}", run.stdout);
        let told = format!("is not the one that was seen there: it was {other} since 2");
        assert!(run.stderr.contains(&told) && run.stderr.contains(server.key()), "{}", run.stderr);
        assert!(run.stderr.contains("known_servers: line 3 cannot be read and is left out"), "{}", run.stderr);
    }
    // What copies the banner of a server proves nothing.
    let script = "import socketserver\nclass A(socketserver.BaseRequestHandler):\n  def handle(s):\n    s.request.recv(999)\n    \
        s.request.sendall(b'HTTP/1.1 400 Bad Request\\r\\n\\r\\nTriQuest LM \\x1b[2J speaks TLS')\n\
        socketserver.TCPServer.allow_reuse_address=True\nt=socketserver.ThreadingTCPServer(('127.0.0.1',1588),A)\nprint('ready',flush=True)\nt.serve_forever()";
    let Ok(child) = folder.start("python3", &["-c", script], &[]) else { return };
    let _impostor = said(child, "ready");
    let run = find("1588@127.0.0.1");
    assert_eq!(run.code, 75, "{}", run.stdout);
    assert!(run.stdout.contains("NOT a known server: it speaks no TLS 1.3") && !run.stdout.contains('\u{1b}'), "{}", run.stdout);
}

#[test]
fn a_home_that_is_read_only_or_not_there_is_no_fault_of_what_was_asked_for() {
    let Some(folder) = Folder::with_network() else { return };
    let key = vendor(&folder);
    let server = Server::start_with(&folder, "10.99.0.1:0", &[]);
    sign(&folder, "ACME-1", server.key(), "[[entitlement]]\nfeature = \"cad\"\nseats = 3\nexpires = 2090-12-31\n");
    triquest(&folder, ["license", "install", "ACME-1.lic"]).run().ok();
    let name = format!("{}@10.99.0.1", server.port());
    let port = server.port().to_string();
    assert!(folder.shell("mkdir home && mount -t tmpfs -o ro tmpfs home"));
    let read_only = folder.path().join("home");
    for home in [None, Some(read_only.as_path()), Some("/dev/null".as_ref()), Some("/proc/no/home".as_ref())] {
        let with = |arguments: &[&str]| {
            let mut call = triquest(&folder, arguments).env("TRIQUEST_LM_SERVER", &name).env("TRIQUEST_LM_VERIFIER_KEY", &key);
            match home {
                None => call.command().env_remove("HOME"),
                Some(home) => call.command().env("HOME", home),
            };
            call.run()
        };
        let find = ["find", "--no-mdns", "--timeout", "200ms", "--feature", "cad", "--verifier-key", &key];
        let found = with(&find).ok();
        assert!(found.stdout.contains("3 of 3 free"), "{home:?}: {}{}", found.stdout, found.stderr);
        let note = "is not remembered: ";
        assert!(found.stderr.contains("warning: the key at ") && found.stderr.contains(note), "{home:?}: {}", found.stderr);
        let remembered = with(&find.iter().chain(&["--remember"]).copied().collect::<Vec<_>>());
        assert_eq!(remembered.code, 1, "that was asked for: {home:?}: {}{}", remembered.stdout, remembered.stderr);
        let doctor = with(&["doctor", &name, "--verifier-key", &key]).ok();
        assert!(doctor.stdout.contains("cannot be remembered: "), "{home:?}: {}", doctor.stdout);
        with(&["port", &port]).ok();
        with(&["status", "--server", &name]).ok();
        with(&["status"]).ok();
        with(&["run", "--feature", "cad", "--", "true"]).ok();
        with(&["checkout", "--feature", "cad", "--lease-file", "seat.lease"]).ok();
        with(&["seat", "seat.lease"]).ok();
        with(&["release", "seat.lease"]).ok();
    }
}

#[test]
fn what_cannot_be_remembered_is_told_and_is_no_success() {
    let Some(folder) = Folder::with_network() else { return };
    let server = Server::start_with(&folder, "127.0.0.1:0", &[]);
    let find = |more: &[&str]| {
        let all: Vec<&str> = ["find", "--no-mdns", "--timeout", "200ms"].iter().chain(more).copied().collect();
        triquest(&folder, all).env("TRIQUEST_LM_SERVER", server.name()).run()
    };
    find(&[]).ok();
    let run = find(&["--remember"]);
    assert_eq!(run.code, 1, "{}{}", run.stdout, run.stderr);
    assert!(run.stderr.contains("is not remembered: loopback and link-local addresses are never pinned"), "{}", run.stderr);
    assert!(!folder.path().join(".local/share/triquest-lm/known_servers").exists());
    let run = triquest(&folder, ["port", &server.port().to_string(), "--remember"]).run();
    assert_eq!(run.code, 1, "{}{}", run.stdout, run.stderr);
    assert!(run.stdout.contains("it cannot be remembered: loopback and link-local"), "{}", run.stdout);
}

#[test]
fn find_port_and_doctor_agree_that_two_servers_are_copies_of_one() {
    let (first, second) = (Folder::new(), Folder::new());
    assert_eq!(Server::start(&first).stop(), Some(0));
    let copied = std::process::Command::new("cp").arg("-a").args([first.path().join("data"), second.path().join("data")]).status().unwrap();
    assert!(copied.success());
    let (one, other) = (Server::start(&first), Server::start(&second));
    assert_eq!(one.key(), other.key());
    let names = format!("{},{}", one.name(), other.name());
    let run = triquest(&first, ["doctor", &names]).run();
    assert_eq!(run.code, 1, "{}{}", run.stdout, run.stderr);
    let said = format!("{}{}", run.stdout, run.stderr);
    assert!(said.contains("this key runs twice at the same time (127.0.0.1:"), "{said}");
    let run = triquest(&first, ["find", "--no-mdns", "--timeout", "1s"]).env("TRIQUEST_LM_SERVER", &names).run();
    assert!(run.stdout.contains("CLONE"), "{}{}", run.stdout, run.stderr);
}
