//! `triquest-lm port`: against real listeners, in a network of its own where the port must be 1588.
#![allow(clippy::unwrap_used)]

mod support;

use std::{
    fs,
    net::{TcpListener, TcpStream, UdpSocket},
    os::unix::fs::PermissionsExt as _,
    process::Command,
};

use serde_json::Value;
use support::{Folder, Run, Server, first_line_of, triquest, until};

fn port(folder: &Folder, arguments: &[&str]) -> Run {
    triquest(folder, ["port"].iter().chain(arguments)).run()
}

fn json(run: &Run) -> Value {
    serde_json::from_str(&run.stdout).unwrap_or_else(|cause| panic!("{cause}: {}{}", run.stdout, run.stderr))
}

#[test]
fn a_port_is_told_with_its_sources_and_nothing_is_guessed() {
    let folder = Folder::new();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let run = port(&folder, &[&free.to_string()]).ok();
    assert!(run.stdout.contains("here  nothing listens, TCP or UDP"), "{}", run.stdout);
    assert!(!run.stdout.contains("proof"), "nothing was asked: {}", run.stdout);
    let run = port(&folder, &["1588", "--no-probe"]).ok();
    let first = run.stdout.lines().next().unwrap();
    assert!(first.starts_with("1588  triquest-lm, TCP and UDP") && first.ends_with("IANA, 2025-02-25"), "{first}");
    assert!(run.stdout.contains("in User Ports, 1024-49151") && run.stdout.contains("RFC 6335"), "{}", run.stdout);
    assert!(run.stdout.contains("does not say what runs"));
    let registered = &json(&port(&folder, &["1576", "--json"]))["registered"];
    assert_eq!(registered["entries"][0]["name"], "moldflow-lm");
    assert_eq!(registered["protocols"][0]["license_manager"]["known"], "registered");
}

#[test]
fn names_and_words_are_looked_up() {
    let folder = Folder::new();
    assert!(port(&folder, &["TRIQUEST-LM"]).ok().stdout.starts_with("1588  triquest-lm"));
    let found = json(&port(&folder, &["license", "manager", "--json"]));
    assert!(found["total"].as_u64().unwrap() > 50, "{found}");
    let none = port(&folder, &["no", "such", "words", "anywhere"]);
    assert_eq!(none.code, 1);
    assert!(none.stderr.contains("nothing in the registry has the words"), "{}", none.stderr);
    for (wrong, code) in [(&["65536"][..], 2), (&[], 2), (&["--all", "22"], 2)] {
        assert_eq!(port(&folder, wrong).code, code, "{wrong:?}");
    }
}

#[test]
fn a_newer_registry_is_taken_and_a_damaged_one_is_not() {
    let folder = Folder::new();
    let data = folder.path().join("share");
    let with = |arguments: &[&str]| triquest(&folder, ["port"].iter().chain(arguments)).env("XDG_DATA_HOME", &data).run();
    let wrong = folder.path().join("wrong.xml");
    fs::write(&wrong, "<registry><record><number>99999</number></record></registry>").unwrap();
    let refused = with(&["--update", "wrong.xml"]);
    assert_eq!(refused.code, 1);
    assert!(refused.stderr.contains("wrong.xml") && refused.stderr.contains("hint: IANA publishes it"), "{}", refused.stderr);
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/../ports/data/iana-service-names-port-numbers.xml.gz");
    if rustix::process::geteuid().is_root() {
        // Root would write the machine's own table.
        println!("keeping a table is left out as root; the tests of the ports crate do it");
        return;
    }
    let taken = with(&["--update", source]).ok();
    assert!(taken.stderr.contains("14468 records") && taken.stderr.contains("0 added"), "{}", taken.stderr);
    assert!(data.join("triquest-lm/ports.registry").is_file());
}

#[test]
fn the_server_of_this_machine_is_known_and_a_named_key_must_be_the_one_that_answers() {
    let folder = Folder::new();
    let server = Server::start(&folder);
    let number = server.port().to_string();
    let run = port(&folder, &[&number]).ok();
    assert!(run.stdout.contains("known key: TriQuest LM") && run.stdout.contains(", the server of this machine"), "{}", run.stdout);
    assert!(run.stdout.contains(&format!("triquest-lm pid {}", server.pid())), "{}", run.stdout);
    assert!(run.stdout.contains("tcp 127.0.0.1") && run.stdout.contains("udp 127.0.0.1") && run.stdout.contains("only from this machine"));
    // Somebody else on this machine knows nothing of it, however often he looks.
    let other = Folder::new();
    for _ in 0..2 {
        let run = port(&other, &[&number, "--json"]);
        let seen = json(&run);
        assert_eq!(seen["probes"][0]["identity"]["verdict"], "unknown_key", "{seen}");
        assert_eq!(seen["probes"][0]["identity"]["server_key"], server.key());
        assert_eq!((seen["needs_a_look"].as_bool(), run.code), (Some(true), 1), "anyone can run this program");
    }
    let stranger = format!("tqs1:{}", "5866666666666666666666666666666666666666666666666666666666666666");
    let unlike = port(&Folder::new(), &[&number, "--server-key", &stranger]);
    assert_eq!(unlike.code, 1, "{}", unlike.stdout);
    assert!(unlike.stdout.contains("NOT the key that you named: TriQuest LM"), "{}", unlike.stdout);
    assert!(!unlike.stdout.contains("do    keep"), "what exits 1 is not to be left: {}", unlike.stdout);
    let unknown = port(&other, &[&number]);
    assert!(unknown.code == 1 && unknown.stdout.contains("do    look: "), "{}", unknown.stdout);
    assert_eq!(port(&other, &[&number, "--server-key", &stranger, "--no-probe"]).code, 2, "a key is proved by asking");
    let named_host = port(&other, &[&number, "--host", "127.0.0.1"]);
    assert!(named_host.code == 1 && named_host.stdout.contains("unknown key: TriQuest LM"), "{}", named_host.stdout);
    // One verdict, also of the server that this machine knows as its own; and nothing is closed that is genuine.
    let own = port(&folder, &[&number, "--server-key", &stranger]);
    let said = &own.stdout;
    assert!(own.code == 1 && said.contains("do    look: "), "{said}");
    assert!(said.contains("NOT the key that you named: TriQuest LM") && said.contains(", the server of this machine"), "{said}");
    assert!(
        !said.contains("known key")
            && !said.contains("as named")
            && !said.contains("do    close")
            && !said.contains("do    keep")
            && !said.contains("belongs there"),
        "{said}"
    );
    let right = port(&folder, &[&number, "--server-key", server.key()]).ok();
    assert!(right.stdout.contains("known key: TriQuest LM") && right.stdout.contains("as named"), "{}", right.stdout);
    let named = json(&port(&Folder::new(), &[&number, "--json", "--server-key", server.key()]));
    assert_eq!(named["probes"][0]["identity"]["known_by"], "name");
    server.stop();
    let nobody = port(&Folder::new(), &[&number, "--remember"]);
    assert!(nobody.code == 1 && nobody.stdout.contains("nothing was remembered"), "{}", nobody.stdout);
    let nobody = port(&Folder::new(), &[&number, "--server-key", &stranger]);
    assert_eq!(nobody.code, 1, "a key that must be there is not: {}", nobody.stdout);
    assert!(nobody.stdout.contains("proof nobody listens there; the key is not proved\n"), "{}", nobody.stdout);
}

#[test]
fn connections_that_a_server_has_accepted_do_not_stand_among_what_listens() {
    let folder = Folder::new();
    let server = Server::start(&folder);
    let _open: Vec<_> = (0..3).map(|_| TcpStream::connect(("127.0.0.1", server.port())).unwrap()).collect();
    let shown = port(&folder, &["--no-probe", &server.port().to_string()]).ok().stdout;
    assert!(shown.contains("tcp 127.0.0.1; udp 127.0.0.1; only from this machine"), "{shown}");
    assert!(!shown.contains("the own end of a connection"), "{shown}");
    assert!(shown.contains("\nconn  3 open connections with 127.0.0.1 (3)"), "{shown}");
}

#[test]
fn a_key_is_remembered_on_request_and_another_one_in_its_place_is_called_out() {
    let Some(folder) = Folder::with_network() else { return };
    let server = Server::start_with(&folder, "10.99.0.1:0", &[]);
    let number = server.port().to_string();
    // Somebody else, who looks from the same network and has no data directory.
    let look = |more: &[&str]| {
        let all: Vec<&str> = ["port", &number].into_iter().chain(more.iter().copied()).collect();
        triquest(&folder, all).env("HOME", folder.path().join("other")).env("XDG_DATA_HOME", folder.path().join("other/share")).run()
    };
    fs::create_dir_all(folder.path().join("other")).unwrap();
    let data = folder.path().join("nothing-there");
    let more = ["--json", "--data", data.to_str().unwrap()];
    for _ in 0..2 {
        let run = look(&more);
        assert_eq!((json(&run)["probes"][0]["identity"]["verdict"].as_str(), run.code), (Some("unknown_key"), 1), "{}", run.stdout);
    }
    look(&[&more[..], &["--remember"]].concat());
    let run = look(&more);
    let seen = json(&run);
    assert_eq!((seen["probes"][0]["identity"]["known_by"].as_str(), run.code), (Some("pin"), 0), "{seen}");
    assert_ne!(seen["do"]["why"], "it is what belongs there", "seen before is not vouched for");
    server.stop();
    let stranger = Folder::new();
    let second = triquest(
        &folder,
        ["serve", "--init", "--data", stranger.path().join("data").to_str().unwrap(), "--listen", &format!("10.99.0.1:{number}")],
    )
    .start();
    let mut changed = look(&more[1..]);
    until("the second server answers", || {
        changed = look(&more[1..]);
        changed.stdout.contains("KEY CHANGED")
    });
    assert_eq!(changed.code, 1, "{}", changed.stdout);
    drop(second);
}

#[test]
fn a_named_key_is_asked_for_on_every_port_and_of_every_program() {
    let folder = Folder::new();
    let key = format!("tqs1:{}", "5866666666666666666666666666666666666666666666666666666666666666");
    let script = "import http.server\ns=http.server.ThreadingHTTPServer(('127.0.0.1',0),http.server.SimpleHTTPRequestHandler)\nprint(s.server_address[1],flush=True)\ns.serve_forever()";
    let Ok(mut web) = folder.start("python3", &["-c", script], &[]) else {
        println!("skipped: there is no python3 here");
        return;
    };
    let number = first_line_of(&mut web);
    assert_eq!(port(&folder, &[&number]).code, 0, "a web server on a port of no name is nobody's business");
    let run = port(&folder, &[&number, "--server-key", &key]);
    assert_eq!(run.code, 1, "{}", run.stdout);
    assert!(run.stdout.contains("NOT genuine") && run.stdout.contains("the key that you named is not proved there"), "{}", run.stdout);
}

/// Shut by a rule that lets UDP in: what a server looks like that takes no more connections.
#[test]
fn a_server_that_takes_no_connection_now_is_unproved_and_nobody_is_told_to_stop_it() {
    let Some(folder) = Folder::with_network() else { return };
    let server = Server::start_with(&folder, "0.0.0.0:1588", &[]);
    if !folder.shell("nft 'add table inet shut; add chain inet shut input { type filter hook input priority 0; }; add rule inet shut input tcp dport 1588 drop'") {
        println!("skipped: no nft here");
        return;
    }
    let run = port(&folder, &["1588", "--server-key", server.key()]);
    assert_eq!(run.code, 1, "{}", run.stdout);
    assert!(run.stdout.contains("unproved now") && run.stdout.contains("limit of connections"), "{}", run.stdout);
    assert!(!run.stdout.contains("NOT genuine") && !run.stdout.contains("close:") && !run.stdout.contains("kill "), "{}", run.stdout);
    let found = triquest(&folder, ["find", "--no-mdns", "--timeout", "300ms"]).run();
    assert_eq!(found.code, 75, "{}", found.stdout);
    assert!(found.stdout.contains("unproved now"), "it is found: {}{}", found.stdout, found.stderr);
    assert!(folder.shell("nft delete table inet shut"));
    port(&folder, &["1588", "--server-key", server.key()]).ok();
}

#[test]
fn a_fake_in_one_network_brings_no_genuine_server_in_another_down() {
    let (Some(own), Some(other)) = (Folder::with_network(), Folder::with_network()) else { return };
    let genuine = Server::start_with(&other, "0.0.0.0:1588", &[]);
    let words = "c.settimeout(2); c.recv(4096); c.sendall(b\"HTTP/1.1 400 Bad Request\\r\\nContent-Length: 0\\r\\n\\r\\n\"); c.close()";
    let Some(fake) = impostor(&own, words) else { return };
    let report = json(&port(&own, &["1588", "--json"]));
    let close: Vec<&Value> = report["do"]["steps"].as_array().unwrap().iter().filter(|step| step["action"] == "close").collect();
    assert_eq!(report["do"]["action"], "close", "{report}");
    let texts: Vec<&str> = close.iter().filter_map(|step| step["command"]["text"].as_str()).collect();
    assert!(texts.iter().any(|text| text.ends_with(&format!("kill {}", fake.id()))), "{texts:?}");
    assert!(!texts.iter().any(|text| text.contains(&genuine.pid().to_string())), "{texts:?}");
    assert!(close.iter().all(|step| step["note"].as_str().is_some_and(|note| note.contains("python3"))), "{close:?}");
}

/// Shuts a machine out that hangs up three times in the middle of a handshake.
#[test]
fn a_real_mariadb_shuts_nobody_out_who_looked_at_it() {
    let Some(folder) = Folder::with_network() else { return };
    let data = folder.path().join("mariadb");
    // It changes its folder, so that it takes a whole path only.
    let made = folder.shell(&format!(
        "mariadb-install-db --no-defaults --user=root --datadir={} --auth-root-authentication-method=normal --skip-test-db",
        data.display()
    ));
    // It counts only hosts whose names it can find out.
    fs::write(folder.path().join("hosts"), "127.0.0.1 localhost\n10.99.0.1 looks.example\n").unwrap();
    assert!(folder.shell("mount --bind hosts /etc/hosts"));
    // It greets only where some user may come from there.
    fs::write(folder.path().join("users.sql"), "CREATE USER 'somebody'@'%';\n").unwrap();
    let arguments = [
        "--no-defaults",
        "--user=root",
        &format!("--init-file={}", folder.path().join("users.sql").display()),
        "--bind-address=10.99.0.1",
        "--port=3306",
        "--max-connect-errors=3",
        "--skip-name-resolve=0",
        &format!("--datadir={}", data.display()),
        &format!("--socket={}", folder.path().join("s").display()),
        &format!("--pid-file={}", folder.path().join("p").display()),
        &format!("--log-error={}", folder.path().join("log").display()),
    ];
    let Some(_mariadb) = made.then(|| folder.start("mariadbd", &arguments, &[]).ok()).flatten() else {
        println!("skipped: no MariaDB here");
        return;
    };
    let heard = || port(&folder, &["3306"]).stdout;
    until("it answers", || heard().contains("MySQL"));
    for _ in 0..6 {
        let said = heard();
        assert!(said.contains("MySQL") && !said.contains("blocked"), "{said}");
    }
}

/// A listener of root's, seen by nobody: held, with its owner hidden, never free.
#[test]
fn a_socket_whose_owner_is_hidden_is_held_and_never_looks_free() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root can become another user");
        return;
    }
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let udp = UdpSocket::bind(tcp.local_addr().unwrap()).unwrap();
    let number = tcp.local_addr().unwrap().port();
    let folder = Folder::new();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let program = folder.path().join("triquest-lm");
    fs::copy(env!("CARGO_BIN_EXE_triquest-lm"), &program).unwrap();
    let output = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(&program)
        .args(["port", "--no-probe", &number.to_string()])
        .env("HOME", folder.path())
        .output()
        .unwrap();
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(shown.contains("HELD, owner hidden (root, uid 0)"), "{shown}{}", String::from_utf8_lossy(&output.stderr));
    assert!(shown.contains(&format!("sudo triquest-lm port {number}")), "{shown}");
    assert!(shown.contains("tcp 127.0.0.1; udp 127.0.0.1"), "{shown}");
    drop((tcp, udp));
}

#[test]
fn a_port_that_is_held_without_listening_does_not_look_free() {
    let folder = Folder::new();
    let Ok(mut bound) = folder.start(
        "python3",
        &["-c", "import socket,time\ns=socket.socket()\ns.bind((\"127.0.0.1\",0))\nu=socket.socket(socket.AF_INET,socket.SOCK_DGRAM)\nu.bind(s.getsockname())\nu.connect((\"127.0.0.1\",9))\nprint(s.getsockname()[1],flush=True)\ntime.sleep(600)"],
        &[],
    ) else {
        println!("skipped: there is no python3 here");
        return;
    };
    let number = first_line_of(&mut bound);
    let run = port(&folder, &[&number]).ok();
    assert!(run.stdout.contains("nothing listens, and yet the port is HELD"), "{}", run.stdout);
    assert!(run.stdout.contains("udp 127.0.0.1") && run.stdout.contains("the own end of a connection with 127.0.0.1:9"), "{}", run.stdout);
}

/// With `hidepid=2` the processes of others are not even listed.
#[test]
fn where_processes_are_not_listed_an_owner_is_hidden_and_not_the_kernel() {
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let number = tcp.local_addr().unwrap().port();
    let folder = Folder::new();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let program = folder.path().join("triquest-lm");
    fs::copy(env!("CARGO_BIN_EXE_triquest-lm"), &program).unwrap();
    let script = format!(
        "mount -t proc -o hidepid=2 proc /proc && exec setpriv --reuid=65534 --regid=65534 --clear-groups {} port --no-probe {number}",
        program.display()
    );
    let output = Command::new("unshare").args(["-m", "sh", "-c", &script]).env("HOME", folder.path()).output().unwrap();
    if !output.status.success() {
        println!("skipped: /proc cannot be mounted here: {}", String::from_utf8_lossy(&output.stderr));
        return;
    }
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(shown.contains("HELD, owner hidden") && !shown.contains("HELD by no process"), "{shown}");
    assert!(shown.contains("processes that are not even listed"), "{shown}");
}

/// Takes connections on TCP 1588 of the folder's network and does as the Python says with each, `c`.
fn impostor(folder: &Folder, does: &str) -> Option<support::Running> {
    let script = format!(
        "import socket\ns = socket.create_server((\"0.0.0.0\", 1588))\nprint(\"ready\", flush=True)\nkept = []\nwhile True:\n c, _ = s.accept()\n kept.append(c)\n {does}\n"
    );
    let Ok(mut running) = folder.start("python3", &["-c", &script], &[]) else {
        println!("skipped: there is no python3 here");
        return None;
    };
    assert_eq!(first_line_of(&mut running), "ready");
    Some(running)
}

#[test]
fn an_impostor_that_copies_our_words_is_called_not_genuine() {
    let Some(folder) = Folder::with_network() else { return };
    let words = "c.settimeout(2); c.recv(4096); c.sendall(b\"HTTP/1.1 400 Bad Request\\r\\nContent-Length: 47\\r\\n\\r\\nthis is TriQuest LM (triquest-lm), use https\\n\\n\\n\"); c.close()";
    let Some(_impostor) = impostor(&folder, words) else { return };
    let run = port(&folder, &["1588"]);
    assert_eq!(run.code, 1, "{}", run.stdout);
    assert!(run.stdout.contains("NOT genuine"), "{}", run.stdout);
    assert!(run.stdout.contains("python3 pid"), "{}", run.stdout);
    assert!(run.stdout.contains("do    close"), "{}", run.stdout);
    let all = port(&folder, &["--all", "--json"]);
    assert_eq!(all.code, 1);
    assert_eq!(json(&all)["rows"][0]["finding"], "not_genuine", "{}", all.stdout);
}

#[test]
fn a_mute_listener_is_told_in_bounded_time() {
    let Some(folder) = Folder::with_network() else { return };
    let Some(_mute) = impostor(&folder, "pass") else { return };
    let run = port(&folder, &["1588", "--json"]);
    let report = json(&run);
    let probe = &report["probes"][0];
    assert_eq!(probe["says"]["kind"], "mute", "{report}");
    assert!(probe["took_ms"].as_u64().unwrap() < 10_000, "{probe}");
}

#[test]
fn an_audit_tells_ours_from_what_is_not_registered() {
    let Some(folder) = Folder::with_network() else { return };
    let server = Server::start_with(&folder, "0.0.0.0:1588", &[]);
    let Ok(mut other) = folder.start(
        "python3",
        &["-c", "import socket,time\na=socket.create_server((\"10.99.0.1\", 60123))\nb=socket.create_server((\"127.0.0.1\", 60124))\nprint(\"ready\",flush=True)\ntime.sleep(600)"],
        &[],
    ) else {
        println!("skipped: there is no python3 here");
        return;
    };
    assert_eq!(first_line_of(&mut other), "ready");
    let run = port(&folder, &["--all", "--json"]);
    let report = json(&run);
    let row = |number: u64, over: &str| {
        let rows = report["rows"].as_array().unwrap();
        rows.iter()
            .find(|row| row["port"] == number && row["protocol"] == over)
            .cloned()
            .unwrap_or_else(|| panic!("{number} {over}: {report}"))
    };
    assert_eq!(row(1588, "tcp")["finding"], "ours");
    assert_eq!((row(60123, "tcp")["finding"].as_str(), row(60123, "tcp")["needs_a_look"].as_bool()), (Some("unregistered"), Some(true)));
    assert_eq!(row(60124, "tcp")["needs_a_look"], false, "only this machine reaches it");
    assert_eq!(run.code, 1);
    drop(other);
    until("the other listener is gone", || port(&folder, &["--all"]).code == 0);
    drop(server);
}

#[test]
fn what_a_process_calls_itself_does_no_harm() {
    let folder = Folder::new();
    // The kernel keeps 15 bytes of a process's name, any bytes.
    let script = "import socket,time,ctypes\nctypes.CDLL(None).prctl(15, b'\\x1b]52;c;A\\x07\\n$(x)*')\ns=socket.create_server(('127.0.0.1',0))\nprint(s.getsockname()[1],flush=True)\ntime.sleep(600)";
    let Ok(mut running) = folder.start("python3", &["-c", script], &[]) else {
        println!("skipped: there is no python3 here");
        return;
    };
    let number = first_line_of(&mut running);
    let run = port(&folder, &[&number]);
    assert!(!run.stdout.contains('\u{1b}') && !run.stdout.contains('\u{7}'), "{:?}", run.stdout);
    assert!(run.stdout.contains("]52;c"), "{}", run.stdout);
}
