//! A server that is stopped or hangs: whoever asks it hears so, and soon.
#![allow(clippy::unwrap_used)]

mod support;

use std::process::Command;

use support::{Folder, Server, serving, triquest, until};

/// Stops the process, and waits until it stands.
fn stop(server: &Server) {
    assert!(Command::new("kill").args(["-STOP", &server.pid().to_string()]).status().unwrap().success());
    let state = || std::fs::read_to_string(format!("/proc/{}/stat", server.pid())).unwrap_or_default();
    until("the server stops", || state().rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T')));
}

#[test]
fn every_command_of_an_administrator_says_that_the_server_does_not_answer() {
    let folder = Folder::new();
    let (server, _key) = serving(&folder, 1);
    stop(&server);
    let commands: [&[&str]; 9] = [
        &["status"],
        &["license", "list"],
        &["license", "install", "ACME-1.lic"],
        &["license", "remove", "ACME-1", "--reason", "test"],
        &["events"],
        &["events", "--follow"],
        &["reclaim", "0123456789", "--reason", "test"],
        &["journal", "backup"],
        &["quarantine", "end", "--reason", "test"],
    ];
    let pid = format!("(pid {})", server.pid());
    std::thread::scope(|scope| {
        for command in commands {
            let (folder, pid) = (&folder, &pid);
            scope.spawn(move || {
                let run = triquest(folder, command.iter().copied()).run();
                assert_eq!(run.code, 75, "{command:?}: {}{}", run.stdout, run.stderr);
                assert!(run.stderr.contains("a server runs on ") && run.stderr.contains("does not answer"), "{command:?}: {}", run.stderr);
                assert!(run.stderr.contains(pid), "{command:?}: {}", run.stderr);
            });
        }
    });
    // What stands on the disk needs no answer.
    assert_eq!(triquest(&folder, ["server", "id"]).run().ok().stdout.trim(), server.key());
}

#[test]
fn a_port_of_a_server_that_hangs_is_to_be_looked_at() {
    let folder = Folder::new();
    let server = Server::start(&folder);
    stop(&server);
    let port = server.port().to_string();
    for named in [&[][..], &["--server-key", server.key()]] {
        let run = triquest(&folder, ["port", port.as_str()].iter().chain(named)).run();
        let hung = format!("triquest-lm pid {} is here and does not answer: restart it", server.pid());
        assert!(run.stdout.contains(&hung), "{}{}", run.stdout, run.stderr);
        assert!(!run.stdout.contains("its key is not one that is known"), "no key was seen: {}", run.stdout);
        assert_eq!(run.code, 1, "{}{}", run.stdout, run.stderr);
    }
}

#[test]
fn a_wait_is_over_in_time_also_where_the_server_takes_connections_and_says_nothing() {
    let folder = Folder::new();
    let (server, key) = serving(&folder, 1);
    stop(&server);
    let began = std::time::Instant::now();
    let run =
        triquest(&folder, ["run", "-f", "cad", "--wait", "1s", "--server", &server.name(), "--verifier-key", &key, "--", "true"]).run();
    assert_eq!(run.code, 75, "{}{}", run.stdout, run.stderr);
    // The wait and 2 s more; without the bound it is 10 s.
    assert!(began.elapsed() < std::time::Duration::from_secs(8), "{:?}", began.elapsed());
}

#[test]
fn seats_that_any_server_may_give_are_told_as_such() {
    let folder = Folder::new();
    let (server, key) = serving(&folder, 1);
    let draft = "license = \"DEMO-1\"\nlicensee = \"anyone\"\nservers = \"any\"\n[[entitlement]]\nfeature = \"anyf\"\nseats = 3\nexpires = 2090-12-31\n";
    std::fs::write(folder.path().join("any.toml"), draft).unwrap();
    triquest(&folder, ["license", "sign", "any.toml", "--key", "v.key", "--any-server", "-o", "any.lic"]).run().ok();
    triquest(&folder, ["license", "install", "any.lic"]).run().ok();
    let name = server.name();
    let run = |more: &[&str]| {
        let arguments = ["run", "-f", "anyf", "--server", name.as_str(), "--verifier-key", key.as_str()];
        triquest(&folder, arguments.iter().chain(more).chain(&["--", "true"])).run()
    };
    let refused = run(&[]);
    assert_ne!(refused.code, 0);
    assert!(refused.stderr.contains("may be served by any server") && refused.stderr.contains("--accept-any-server"), "{}", refused.stderr);
    run(&["--accept-any-server"]).ok();
    for feature in [&[][..], &["-f", "anyf"]] {
        let doctor = triquest(&folder, ["doctor", name.as_str(), "--verifier-key", key.as_str()].iter().chain(feature)).run();
        assert!(doctor.stdout.contains("--accept-any-server") && !doctor.stdout.contains("other keys"), "{}", doctor.stdout);
    }
}

#[test]
fn what_other_keys_of_a_vendor_signed_is_neither_replaced_nor_given_and_everybody_says_so() {
    let folder = Folder::new();
    let (server, old) = serving(&folder, 1);
    let id = |key: &str| key.split('+').nth(1).unwrap().to_owned();
    triquest(&folder, ["vendor", "rotate", "--key", "v.key"]).run().ok();
    let retired = triquest(&folder, ["vendor", "retire", &id(&old), "--key", "v.key"]).run().ok();
    assert!(retired.stderr.contains("replaces nothing"), "{}", retired.stderr);
    let shown = triquest(&folder, ["vendor", "show", "--key", "v.key"]).run().ok().stdout;
    let new = shown.trim();
    let doctor = triquest(&folder, ["doctor", &server.name(), "--verifier-key", new]).run();
    let none = format!("has licenses of acme.example, but none that your key +{} signed", id(new));
    assert!(doctor.code == 1 && doctor.stdout.contains(&none), "{}", doctor.stdout);
    let renewed =
        triquest(&folder, ["license", "renew", "ACME-1.lic", "--until", "2091-12-31", "--key", "v.key", "-o", "next.lic"]).run().ok();
    assert!(renewed.stderr.contains("no key that signed ACME-1 signs it, so that it replaces nothing"), "{}", renewed.stderr);
    assert!(!renewed.stderr.contains("it replaces ACME-1"), "{}", renewed.stderr);
    let installed = triquest(&folder, ["license", "install", "next.lic"]).run().ok();
    assert!(installed.stderr.contains("it is to replace ACME-1 and does not"), "{}", installed.stderr);
}

#[test]
fn doctor_names_the_process_that_has_the_port_and_does_not_answer() {
    let folder = Folder::new();
    let (server, key) = serving(&folder, 1);
    stop(&server);
    let name = server.name();
    let (named, found) = (["doctor", name.as_str(), "--verifier-key", key.as_str()], ["doctor"]);
    std::thread::scope(|scope| {
        for arguments in [&named[..], &found] {
            let (folder, pid) = (&folder, server.pid());
            scope.spawn(move || {
                let run = triquest(folder, arguments).run();
                let hung = format!(
                    "(pid {pid}) and does not answer; `ps -o stat= -p {pid}` shows T if it is stopped: `kill -CONT {pid}` lets it go on"
                );
                assert!(run.code == 1 && run.stdout.contains(&hung), "{}{}", run.stdout, run.stderr);
                assert!(!run.stdout.contains("firewall"), "{}", run.stdout);
            });
        }
    });
}

#[test]
fn doctor_names_another_program_that_has_the_port() {
    let folder = Folder::new();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let server = format!("{}@127.0.0.1", silent.local_addr().unwrap().port());
    let run = triquest(&folder, ["doctor", &server]).run();
    let listens = format!("(pid {})", std::process::id());
    assert!(run.code == 1 && run.stdout.contains("what listens there is ") && run.stdout.contains(&listens), "{}", run.stdout);
}

#[test]
fn a_server_that_begins_to_hang_in_the_middle_of_a_command_is_left_soon() {
    let folder = Folder::new();
    let data = folder.path().join("data");
    std::fs::create_dir(&data).unwrap();
    // A server that shows once that it lives, takes the request, and says nothing from then on.
    let socket = data.join("admin.sock");
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let hangs = std::thread::spawn(move || {
        let (mut kept, mut asked) = (Vec::new(), Vec::new());
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = [0; 12];
            // One that only tried says nothing.
            if std::io::Read::read_exact(&mut stream, &mut head).is_err() {
                continue;
            }
            let head = String::from_utf8_lossy(&head).into_owned();
            if head.starts_with("END") {
                break;
            }
            if head.starts_with("GET /healthz") && asked.is_empty() {
                std::io::Write::write_all(&mut stream, b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap();
            }
            asked.push(head);
            kept.push(stream);
        }
        asked
    });
    let run = triquest(&folder, ["clock", "accept", "--reason", "test"]).run();
    assert_eq!(run.code, 75, "{}{}", run.stdout, run.stderr);
    assert!(run.stderr.contains("does not answer; whether it took effect is not known"), "{}", run.stderr);
    std::io::Write::write_all(&mut std::os::unix::net::UnixStream::connect(&socket).unwrap(), b"END END END ").unwrap();
    assert_eq!(hangs.join().unwrap(), ["GET /healthz", "POST /v1/clo", "GET /healthz"]);
}
