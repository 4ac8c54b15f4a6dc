//! Programs that run while they hold a seat, and seats that scripts hold, with a real server.
#![allow(clippy::unwrap_used)]

mod support;

use std::{
    fs,
    io::{BufRead, BufReader, Write as _},
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    process::Command,
    time::{Duration, Instant},
};

use support::{Call, Folder, Running, Server, first_line_of, rest, serving, sign, triquest, until, vendor, wait};

/// A call with the server and the key in the environment.
fn at<const N: usize>(folder: &Folder, server: &Server, key: &str, arguments: [&str; N]) -> Call {
    triquest(folder, arguments).env("TRIQUEST_LM_SERVER", server.name()).env("TRIQUEST_LM_VERIFIER_KEY", key)
}

fn pool(folder: &Folder) -> serde_json::Value {
    let status: serde_json::Value = serde_json::from_str(&triquest(folder, ["status", "--json"]).run().ok().stdout).unwrap();
    find(&status, "used").expect("a status has numbers").clone()
}

/// The first object with this member.
fn find<'a>(value: &'a serde_json::Value, member: &str) -> Option<&'a serde_json::Value> {
    match value {
        serde_json::Value::Object(members) if members.contains_key(member) => Some(value),
        serde_json::Value::Object(members) => members.values().find_map(|value| find(value, member)),
        serde_json::Value::Array(values) => values.iter().find_map(|value| find(value, member)),
        _ => None,
    }
}

fn used(folder: &Folder) -> u64 {
    pool(folder)["used"].as_u64().unwrap()
}

/// A program that holds a seat until its standard input ends. One process: a shell that is just starting another cannot be stopped.
fn holding(folder: &Folder, server: &Server, key: &str, feature: &str) -> Running {
    let mut child = at(folder, server, key, ["run", "--feature", feature, "--", "sh", "-c", "echo held; exec cat"]).start();
    assert_eq!(first_line_of(&mut child), "held");
    child
}

fn let_go(mut child: Running) -> Option<i32> {
    drop(child.stdin.take());
    wait(&mut child)
}

fn signal(name: &str, pid: u32) {
    assert!(Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status().unwrap().success());
}

/// The letter of the process's state.
fn state(pid: u32) -> char {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next()).unwrap_or('-')
}

/// The program that `run` runs.
fn parent_of(pid: u32) -> u32 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit_once(") ").unwrap().1.split(' ').nth(1).unwrap().parse().unwrap()
}

fn child_of(pid: u32) -> u32 {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let all = tasks.flatten().map(|task| fs::read_to_string(task.path().join("children")).unwrap_or_default()).collect::<String>();
    (text + &all).split_whitespace().next().unwrap().parse().unwrap()
}

#[test]
fn a_programs_own_exit_code_is_passed_on_and_its_seat_given_back_however_it_ends() {
    let folder = Folder::new();
    let (server, key) = serving(&folder, 2);
    let run = |script: &str| at(&folder, &server, &key, ["run", "--feature", "cad", "--", "sh", "-c", script]).run();
    run("echo out; echo err >&2; exit 7").expect(7, "out\n", "err\n");
    assert_eq!(run("kill -9 $$").code, 137);
    assert_eq!(run("kill -TERM $$").code, 143);
    assert_eq!(run("cat").code, 0);
    assert_eq!(used(&folder), 0);
    // While it runs, the seat is held in the program's name.
    let child = holding(&folder, &server, &key, "cad:2");
    assert_eq!(used(&folder), 2);
    assert!(triquest(&folder, ["status"]).run().ok().stdout.contains(":sh"));
    assert_eq!(let_go(child), Some(0));
    assert_eq!(used(&folder), 0);
}

#[test]
fn a_program_that_cannot_be_run_takes_no_seat_or_gives_it_back() {
    let folder = Folder::new();
    let (server, key) = serving(&folder, 1);
    at(&folder, &server, &key, ["run", "--feature", "cad", "--", "no-such-program"]).run().expect(
        127,
        "",
        "error: no-such-program was not found\nhint: no seat was taken; check the program's name and PATH\n",
    );
    fs::write(folder.path().join("data.txt"), "text").unwrap();
    let run = at(&folder, &server, &key, ["run", "--feature", "cad", "--", "./data.txt"]).run();
    assert_eq!(run.code, 126, "{}", run.stderr);
    fs::write(folder.path().join("script"), "#!/no/such/interpreter\n").unwrap();
    fs::set_permissions(folder.path().join("script"), fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(at(&folder, &server, &key, ["run", "--feature", "cad", "--", "./script"]).run().code, 127);
    assert_eq!(used(&folder), 0);
}

#[test]
fn a_denial_says_its_numbers_and_by_its_code_whether_later_may_help() {
    let folder = Folder::new();
    let (server, key) = serving(&folder, 1);
    let child = holding(&folder, &server, &key, "cad");
    let run = at(&folder, &server, &key, ["run", "--feature", "cad", "--", "true"]).run();
    assert_eq!(run.code, 75);
    assert!(run.stderr.starts_with("denied: ") && run.stderr.contains("1 of 1 in use"), "{}", run.stderr);
    assert!(run.stderr.contains("may be free in ") && !run.stderr.contains("soonest"), "the time is said once: {}", run.stderr);
    assert!(run.stderr.ends_with("hint: wait for a seat with `--wait 30m`\n"), "{}", run.stderr);
    for (feature, says) in [("cad:2", "2"), ("cam", "cam"), ("cad@99", "")] {
        let run = at(&folder, &server, &key, ["run", "--feature", feature, "--", "true"]).run();
        // A license without a version covers every version.
        let code = if feature == "cad@99" { 75 } else { 77 };
        assert_eq!(run.code, code, "{feature}: {}", run.stderr);
        assert!(run.stderr.contains(says), "{}", run.stderr);
    }
    assert_eq!(let_go(child), Some(0));
}

#[test]
fn no_server_and_no_key_are_told_apart() {
    let folder = Folder::new();
    let key = vendor(&folder);
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let server = format!("{closed}@127.0.0.1");
    triquest(&folder, ["run", "--feature", "cad", "--server", &server, "--verifier-key", &key, "--", "true"]).run().expect(
        75,
        "",
        "error: no license server answered for `cad`\n  [PORT]@127.0.0.1  connection refused; nothing listens there\nhint: triquest-lm doctor [PORT]@127.0.0.1\n",
    );
    let run = triquest(&folder, ["run", "--feature", "cad", "--verifier-key", &key, "--", "true"]).env("TRIQUEST_LM_SERVER", &server).run();
    assert!(run.code == 75 && run.stderr.contains(&format!("  TRIQUEST_LM_SERVER  {server}: connection refused")), "{}", run.stderr);
    assert_eq!(triquest(&folder, ["run", "--feature", "cad", "--server", &server, "--", "true"]).run().code, 2);
    assert_eq!(triquest(&folder, ["run", "--feature", "cad:0", "--server", &server, "--verifier-key", &key, "--", "true"]).run().code, 2);
}

#[test]
fn a_wrong_number_of_seats_and_a_wrong_process_say_what_belongs_there() {
    let folder = Folder::new();
    let run = triquest(&folder, ["run", "--feature", "cad", "--seats", "0", "--", "true"]).run();
    assert!(run.code == 2 && run.stderr.contains("write a whole number from 1"), "{}", run.stderr);
    let run = triquest(&folder, ["checkout", "--feature", "cad", "--for", "abc"]).run();
    assert!(run.code == 2 && run.stderr.contains("`abc` is no number of a process; in a script `--for $$`"), "{}", run.stderr);
}

#[test]
fn a_server_that_does_not_know_the_name_it_is_called_by_is_asked_by_its_address() {
    let folder = Folder::new();
    let (server, key) = serving(&folder, 1);
    // The resolver takes it for 127.0.0.1; to the server it is a name that is not its own, as an alias in DNS would be.
    let alias = format!("{}@127.1", server.port());
    let mut child =
        triquest(&folder, ["run", "--feature", "cad", "--server", &alias, "--verifier-key", &key, "--", "sh", "-c", "echo ready; read x"])
            .start();
    assert_eq!(first_line_of(&mut child), "ready");
    assert_eq!(used(&folder), 1);
    until("presence", || fs::read_dir(format!("/proc/{}/fd", child.id())).is_ok_and(|open| sockets(open) >= 2));
    drop(child.stdin.take());
    wait(&mut child);
    assert_eq!(used(&folder), 0);
}

#[test]
fn another_vendors_key_gives_no_seat() {
    let folder = Folder::new();
    let (server, _) = serving(&folder, 1);
    let other = triquest(&folder, ["vendor", "init", "other.example", "--key", "other.key"]).run().ok().stdout;
    let run = at(&folder, &server, other.trim(), ["run", "--feature", "cad", "--", "true"]).run();
    assert_eq!(run.code, 77, "{}", run.stderr);
    assert_eq!(run.stderr.matches("no license of this vendor").count(), 1, "it is said once: {}", run.stderr);
}

#[test]
fn several_features_are_granted_all_or_none() {
    let folder = Folder::new();
    let key = vendor(&folder);
    let server = Server::start(&folder);
    let entitlements = "[[entitlement]]\nfeature = \"cad\"\nseats = 2\nexpires = 2090-12-31\n[[entitlement]]\nfeature = \"sim\"\nseats = 1\nexpires = 2090-12-31\n";
    sign(&folder, "ACME-1", server.key(), entitlements);
    triquest(&folder, ["license", "install", "ACME-1.lic"]).run().ok();
    let child = holding(&folder, &server, &key, "sim");
    let run = at(&folder, &server, &key, ["run", "--feature", "cad:2", "--feature", "sim", "--", "true"]).run();
    assert_eq!(run.code, 75, "{}", run.stderr);
    let status: serde_json::Value = serde_json::from_str(&triquest(&folder, ["status", "cad", "--json"]).run().ok().stdout).unwrap();
    assert_eq!(find(&status, "used").unwrap()["used"], 0);
    assert_eq!(let_go(child), Some(0));
    assert_eq!(at(&folder, &server, &key, ["run", "-f", "cad:2", "-f", "sim", "--", "true"]).run().code, 0);
}

#[test]
fn if_run_itself_is_killed_the_seat_comes_back_at_once() {
    let folder = Folder::new();
    let (server, key) = serving(&folder, 1);
    let mut child = holding(&folder, &server, &key, "cad");
    let program = child_of(child.id());
    // The presence connection is opened just after the grant; killed before that, only time would free the seat.
    until("presence", || fs::read_dir(format!("/proc/{}/fd", child.id())).is_ok_and(|open| sockets(open) >= 2));
    // Asking this takes far longer than the server's answer on that connection.
    assert_eq!(used(&folder), 1);
    child.kill().unwrap();
    // Waiting closes what it still has, and the program ends with its input.
    let input = child.stdin.take();
    child.wait().unwrap();
    until("the seat comes back", || used(&folder) == 0);
    // The program lives on; it never had the connection.
    signal("KILL", program);
    drop(input);
}

#[test]
fn a_program_whose_presence_connection_hears_nothing_keeps_its_seat() {
    let folder = Folder::new();
    let (server, key) = serving(&folder, 1);
    // Passes everything up and holds back what the server says on every connection but the first.
    let (ended, end) = std::sync::mpsc::channel();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (relay, port) = (format!("{}@127.0.0.1", listener.local_addr().unwrap().port()), server.port());
    std::thread::spawn(move || {
        for (number, client) in listener.incoming().enumerate() {
            let (mut client, mut up) = (client.unwrap(), std::net::TcpStream::connect(("127.0.0.1", port)).unwrap());
            let (mut back, mut down, ended) = (client.try_clone().unwrap(), up.try_clone().unwrap(), ended.clone());
            // The server's part of the handshake passes, and what it answers after the client's second flight does not.
            let withheld = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
            let withhold = withheld.clone();
            std::thread::spawn(move || {
                let mut chunk = [0; 16_384];
                while let Ok(read @ 1..) = std::io::Read::read(&mut down, &mut chunk) {
                    if !withheld.load(std::sync::atomic::Ordering::SeqCst) {
                        let _ = std::io::Write::write_all(&mut back, &chunk[..read]);
                    }
                }
                let _ = ended.send(number);
            });
            std::thread::spawn(move || {
                let mut chunk = [0; 16_384];
                let mut flights = 0;
                while let Ok(read @ 1..) = std::io::Read::read(&mut client, &mut chunk) {
                    flights += 1;
                    withhold.store(number > 0 && flights > 1, std::sync::atomic::Ordering::SeqCst);
                    let _ = std::io::Write::write_all(&mut up, &chunk[..read]);
                }
                // However the client left, the server sees an end in order.
                let _ = up.shutdown(std::net::Shutdown::Write);
            });
        }
    });
    let mut child =
        triquest(&folder, ["run", "--feature", "cad", "--server", &relay, "--verifier-key", &key, "--", "sh", "-c", "echo held; exec cat"])
            .start();
    assert_eq!(first_line_of(&mut child), "held");
    while end.recv_timeout(support::STEP).unwrap() == 0 {}
    assert_eq!(used(&folder), 1, "{}", server.log());
    assert_eq!(at(&folder, &server, &key, ["run", "--feature", "cad", "--", "true"]).run().code, 75);
    assert_eq!(let_go(child), Some(0));
    assert_eq!(used(&folder), 0);
}

fn sockets(open: fs::ReadDir) -> usize {
    open.flatten().filter(|entry| fs::read_link(entry.path()).is_ok_and(|to| to.to_string_lossy().starts_with("socket:"))).count()
}

#[test]
fn signals_are_passed_on_to_the_program() {
    let folder = Folder::new();
    let (server, key) = serving(&folder, 1);
    for (name, number, trapped) in [("TERM", 15, "exit 42"), ("INT", 2, "exit 43"), ("HUP", 1, "exit 44"), ("USR1", 10, "exit 45")] {
        // A shell in the background begins with SIGINT ignored, one under nohup with SIGHUP, and what it starts cannot trap these.
        if is_ignored_here(number) {
            println!("SIG{name} is ignored where this test runs, so it is left out");
            continue;
        }
        let script = format!("trap '{trapped}' {name}; echo ready; while :; do sleep 0.02; done");
        let mut child = at(&folder, &server, &key, ["run", "--feature", "cad", "--", "sh", "-c", &script]).start();
        assert_eq!(first_line_of(&mut child), "ready");
        signal(name, child.id());
        assert_eq!(wait(&mut child), trapped[5..].parse().ok(), "{name}");
    }
    assert_eq!(used(&folder), 0);
}

/// Whether this process, and so its children, began with the signal ignored.
fn is_ignored_here(number: u32) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap();
    u64::from_str_radix(ignored.trim(), 16).unwrap() >> (number - 1) & 1 == 1
}

/// The same in a process group of its own, as a batch system starts it.
fn holding_as_a_group(folder: &Folder, server: &Server, key: &str) -> Running {
    let mut call = at(folder, server, key, ["run", "--feature", "cad", "--", "sh", "-c", "echo held; exec cat"]);
    std::os::unix::process::CommandExt::process_group(call.command(), 0);
    let mut child = call.start();
    assert_eq!(first_line_of(&mut child), "held");
    child
}

fn both_go_on(run: u32, program: u32) {
    until("both go on", || state(run) != 'T' && state(program) != 'T');
}

#[test]
fn a_program_that_is_stopped_by_itself_keeps_its_seat_and_run_goes_on() {
    let folder = Folder::new();
    let (server, key) = serving(&folder, 1);
    let child = holding(&folder, &server, &key, "cad");
    let program = child_of(child.id());
    for _ in 0..8 {
        signal("STOP", program);
        until("the program stops", || state(program) == 'T');
        signal("CONT", program);
        both_go_on(child.id(), program);
    }
    signal("STOP", program);
    until("the program stops", || state(program) == 'T');
    // However long it stands still, its seat is renewed.
    assert_ne!(state(child.id()), 'T');
    assert_eq!(used(&folder), 1);
    assert_ne!(state(child.id()), 'T');
    signal("CONT", program);
    assert_eq!(let_go(child), Some(0));
    assert_eq!(used(&folder), 0);
}

#[test]
fn a_group_that_is_stopped_and_goes_on_leaves_nobody_behind() {
    let folder = Folder::new();
    let (server, key) = serving(&folder, 1);
    let child = holding_as_a_group(&folder, &server, &key);
    let program = child_of(child.id());
    let group = |name: &str| {
        assert!(Command::new("kill").args([&format!("-{name}"), "--", &format!("-{}", child.id())]).status().unwrap().success());
    };
    for _ in 0..8 {
        group("STOP");
        until("both stop", || state(child.id()) == 'T' && state(program) == 'T');
        group("CONT");
        both_go_on(child.id(), program);
    }
    assert_eq!(let_go(child), Some(0));
    assert_eq!(used(&folder), 0);
}

#[test]
fn at_the_terminals_ctrl_z_both_stop_and_run_is_never_stopped_longer_than_its_program() {
    let folder = Folder::new();
    let (server, key) = serving(&folder, 1);
    let program = env!("CARGO_BIN_EXE_triquest-lm");
    let run = format!(
        // The program leaves the terminal alone: whoever reads it from the background is stopped for that. The shell stays until its input ends.
        "{program} run --feature cad --server {} --verifier-key {key} -- sh -c \"echo ready \\$\\$; exec tail -f /dev/null\"; echo back; read line; fg; echo end; read line",
        server.name()
    );
    // Where a hangup was ignored before (under nohup, say), no shell could trap it.
    let started = Command::new("env")
        .args(["--default-signal=HUP", "script", "-qec", &format!("bash -m -c '{run}'"), "/dev/null"])
        .env("HOME", folder.path())
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn();
    let Ok(mut terminal) = started else {
        println!("skipped: there is no `script` here, which makes a terminal");
        return;
    };
    let mut typed = terminal.stdin.take().unwrap();
    let mut shown = BufReader::new(terminal.stdout.take().unwrap()).lines().map_while(Result::ok);
    let ready = shown.find(|line| line.contains("ready")).expect("the program begins");
    let program: u32 = ready.split_whitespace().next_back().unwrap().parse().unwrap();
    let stat = fs::read_to_string(format!("/proc/{program}/stat")).unwrap();
    let run: u32 = stat.rsplit_once(") ").unwrap().1.split(' ').nth(1).unwrap().parse().unwrap();
    // As a user who presses again if nothing happens: a key that comes while the job is just going on may find it not ready to stop.
    let stop = |typed: &mut std::process::ChildStdin| {
        for _ in 0..20 {
            typed.write_all(b"\x1a").unwrap();
            let until = Instant::now() + Duration::from_secs(2);
            while Instant::now() < until {
                if state(run) == 'T' && state(program) == 'T' {
                    return;
                }
                std::thread::yield_now();
            }
        }
        panic!("it does not stop: {} {}", state(run), state(program));
    };
    stop(&mut typed);
    // The shell goes on to its next line only because its job stands still as a whole; `fg` lets it go on.
    shown.find(|line| line.contains("back")).expect("the shell sees its job stopped");
    typed.write_all(b"\n").unwrap();
    both_go_on(run, program);
    stop(&mut typed);
    shown.find(|line| line.contains("end")).expect("the shell sees its job stopped again");
    // Somebody lets the program alone go on.
    signal("CONT", program);
    both_go_on(run, program);
    signal("TERM", run);
    drop(typed);
    until("it ends", || state(run) == '-');
    let _ = terminal.kill();
    let _ = terminal.wait();
    until("the seat is back", || used(&folder) == 0);
}

#[test]
fn whoever_waits_sees_the_place_and_gets_the_seat_when_it_comes_back() {
    let folder = Folder::new();
    let (server, key) = serving(&folder, 1);
    let holder = holding(&folder, &server, &key, "cad");
    let mut waiting = at(&folder, &server, &key, ["run", "--feature", "cad", "--wait", "5m", "--", "echo", "mine"]).start();
    let mut stderr = BufReader::new(waiting.stderr.take().unwrap());
    let mut line = String::new();
    stderr.read_line(&mut line).unwrap();
    assert!(line.contains("Waiting place 1, 1 of 1 in use"), "{line}");
    assert_eq!(let_go(holder), Some(0));
    assert_eq!(wait(&mut waiting), Some(0));
    assert_eq!(rest(waiting.stdout.take()), "mine\n");
}

#[test]
fn a_signal_while_waiting_gives_the_place_back() {
    let folder = Folder::new();
    let (server, key) = serving(&folder, 1);
    let holder = holding(&folder, &server, &key, "cad");
    let mut waiting = at(&folder, &server, &key, ["run", "--feature", "cad", "--wait", "5m", "--", "true"]).start();
    until("it is in line", || pool(&folder)["queued"] == 1);
    signal("TERM", waiting.id());
    assert_eq!(wait(&mut waiting), Some(143));
    assert_eq!(pool(&folder)["queued"], 0);
    assert_eq!(let_go(holder), Some(0));
}

/// A server whose leases are renewed every few seconds.
fn short_lived(folder: &Folder) -> (Server, String) {
    let key = vendor(folder);
    let server = Server::start(folder);
    sign(folder, "ACME-1", server.key(), "[[entitlement]]\nfeature = \"cad\"\nseats = 1\nttl = \"10s\"\nexpires = 2090-12-31\n");
    triquest(folder, ["license", "install", "ACME-1.lic"]).run().ok();
    (server, key)
}

fn reclaim(folder: &Folder) {
    let status = triquest(folder, ["status", "cad"]).run().ok().stdout;
    let lease = status.split_whitespace().rfind(|word| word.len() >= 8 && word.bytes().all(|byte| byte.is_ascii_hexdigit())).unwrap();
    triquest(folder, ["reclaim", lease, "--reason", "maintenance", "--now"]).run().ok();
}

#[test]
fn a_program_whose_seat_is_taken_back_is_told_to_end() {
    let folder = Folder::new();
    let (server, key) = short_lived(&folder);
    // The program that uses the feature is a grandchild.
    let script = "trap '' HUP; sh -c 'trap \"echo saved; exit 9\" TERM; echo ready; while :; do sleep 0.02; done'; exit 5";
    let mut child = at(&folder, &server, &key, ["run", "--feature", "cad", "--", "sh", "-c", script]).start();
    assert_eq!(first_line_of(&mut child), "ready");
    reclaim(&folder);
    let code = wait(&mut child);
    assert!(matches!(code, Some(5 | 143)), "{code:?}");
    assert_eq!(rest(child.stdout.take()), "saved\n");
    let said = rest(child.stderr.take());
    assert!(
        said.contains("warning: the seat of `cad` is lost (an administrator took the seat back); the program is told to end"),
        "{said}"
    );
}

#[test]
fn with_on_lost_warn_the_program_runs_on() {
    let folder = Folder::new();
    let (server, key) = short_lived(&folder);
    let mut child =
        at(&folder, &server, &key, ["run", "--feature", "cad", "--on-lost", "warn", "--", "sh", "-c", "echo held; cat; exit 3"]).start();
    assert_eq!(first_line_of(&mut child), "held");
    reclaim(&folder);
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    stderr.read_line(&mut line).unwrap();
    assert!(line.contains("is lost") && line.contains("runs on"), "{line}");
    assert_eq!(let_go(child), Some(3));
}

#[test]
fn a_program_that_stands_still_for_its_seat_goes_on_with_one_and_ends_where_none_can_come_back() {
    let folder = Folder::new();
    let (mut server, key) = short_lived(&folder);
    let suspended = |script: &str| {
        let mut child = at(&folder, &server, &key, ["run", "--feature", "cad", "--on-lost", "suspend", "--", "sh", "-c", script]).start();
        assert_eq!(first_line_of(&mut child), "held");
        child
    };
    // Nobody gives back what an administrator took.
    let mut child = suspended("trap 'echo saved; exit 9' TERM; echo held; while :; do sleep 0.02; done");
    reclaim(&folder);
    let code = wait(&mut child);
    assert!(matches!(code, Some(9 | 143)), "{code:?}");
    let said = rest(child.stderr.take());
    assert!(said.contains("is lost (an administrator took the seat back); the program is told to end"), "{said}");
    // A server that is away may come back.
    let child = suspended("echo held; exec cat");
    let program = child_of(child.id());
    let listen = format!("127.0.0.1:{}", server.port());
    server.kill();
    until("it is stopped", || state(program) == 'T');
    signal("CONT", child.id());
    signal("CONT", program);
    until("it is stopped again", || {
        signal("CONT", child.id());
        state(program) == 'T'
    });
    let server = Server::start_with(&folder, &listen, &[]);
    until("it goes on", || state(program) != 'T');
    assert_eq!(used(&folder), 1);
    assert_eq!(let_go(child), Some(0));
    drop(server);
}

#[test]
fn a_program_that_stands_still_for_its_seat_ends_when_it_is_told_to() {
    let folder = Folder::new();
    let (mut server, key) = short_lived(&folder);
    let mut child =
        at(&folder, &server, &key, ["run", "--feature", "cad", "--on-lost", "suspend", "--", "sh", "-c", "echo held; exec cat"]).start();
    assert_eq!(first_line_of(&mut child), "held");
    let program = child_of(child.id());
    server.kill();
    until("it is stopped", || state(program) == 'T');
    signal("TERM", child.id());
    assert_eq!(wait(&mut child), Some(143));
}

/// A program of `run --on-lost suspend` whose seat is lost and whose shell, with a terminal, was killed then: the kernel tells its group of a hangup and lets
/// it go on. `run` and the program, and what the program has written is in FOLDER/heard.
fn suspended_and_orphaned(folder: &Folder, on_hangup: &str) -> Option<(Running, u32, u32)> {
    let (mut server, key) = short_lived(folder);
    std::fs::write(folder.path().join("program.sh"), format!("{on_hangup}\necho ready $$\nwhile :; do sleep 0.05; done\n")).unwrap();
    let (binary, name) = (env!("CARGO_BIN_EXE_triquest-lm"), server.name());
    let run = format!("{binary} run --feature cad --on-lost suspend --server {name} --verifier-key {key} -- sh program.sh & read line");
    let started = Command::new("script")
        .args(["-qec", &format!("bash -m -c '{run}'"), "/dev/null"])
        .env("HOME", folder.path())
        .current_dir(folder.path())
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn();
    let Ok(terminal) = started else {
        println!("skipped: there is no `script` here, which makes a terminal");
        return None;
    };
    let mut terminal = Running::from(terminal);
    let mut shown = BufReader::new(terminal.stdout.take().unwrap()).lines().map_while(Result::ok);
    let ready = shown.find(|line| line.contains("ready")).expect("the program begins");
    std::thread::spawn(move || shown.for_each(drop));
    let program: u32 = ready.split_whitespace().next_back().unwrap().parse().unwrap();
    let run = parent_of(program);
    server.kill();
    until("it is stopped", || state(program) == 'T');
    signal("KILL", parent_of(run));
    Some((terminal, run, program))
}

#[test]
fn a_suspended_program_whose_shell_is_gone_hears_the_hangup_and_does_not_run_on_without_a_seat() {
    let folder = Folder::new();
    let Some((_terminal, run, program)) = suspended_and_orphaned(&folder, "trap 'echo hangup > heard' HUP") else { return };
    until("it hears the hangup", || folder.path().join("heard").exists());
    until("it stands still again", || state(program) == 'T');
    assert_ne!(state(run), '-', "who runs it waits for a seat, and for its end");
    signal("KILL", program);
    until("who runs it ends with it", || state(run) == '-' || state(run) == 'Z');
    // One that does not hear it ends by it, as without `run`.
    let folder = Folder::new();
    let Some((_terminal, run, program)) = suspended_and_orphaned(&folder, "") else { return };
    until("both end", || state(program) == '-' && (state(run) == '-' || state(run) == 'Z'));
    // One that ignores it stands still.
    let folder = Folder::new();
    let Some((_terminal, run, program)) = suspended_and_orphaned(&folder, "trap '' HUP") else { return };
    until("it stands still", || state(program) == 'T');
    signal("TERM", run);
    until("both end", || state(program) == '-' && (state(run) == '-' || state(run) == 'Z'));
}

#[test]
fn status_shows_the_program_that_has_the_seat_and_not_who_keeps_it() {
    let folder = Folder::new();
    let (server, key) = serving(&folder, 2);
    let child = holding(&folder, &server, &key, "cad");
    let status = || triquest(&folder, ["status"]).run().ok().stdout;
    assert!(status().contains(&format!("pid {}:sh", child_of(child.id()))), "{}", status());
    assert_eq!(let_go(child), Some(0));
    let mut script = Command::new("sleep").arg("600").spawn().unwrap();
    let pid = script.id().to_string();
    at(&folder, &server, &key, ["checkout", "--feature", "cad", "--for", &pid, "--lease-file", "seat.lease"]).run().ok();
    assert!(status().contains(&format!("pid {pid}:sleep")), "{}", status());
    script.kill().unwrap();
    script.wait().unwrap();
}

#[test]
fn a_server_killed_and_started_again_costs_a_running_program_nothing() {
    let folder = Folder::new();
    let (mut server, key) = short_lived(&folder);
    let child = holding(&folder, &server, &key, "cad");
    let listen = format!("127.0.0.1:{}", server.port());
    server.kill();
    let server = Server::start_with(&folder, &listen, &[]);
    // Heard again in the new epoch, with the same lease.
    until("it renews", || {
        let events = triquest(&folder, ["events", "--json"]).run().stdout;
        events.contains("heard")
    });
    assert_eq!(used(&folder), 1);
    assert_eq!(let_go(child), Some(0));
    assert_eq!(used(&folder), 0);
    drop(server);
}

#[test]
fn a_script_takes_a_seat_and_gives_it_back_by_its_lease_file() {
    let folder = Folder::new();
    let (server, key) = serving(&folder, 1);
    let checkout = || at(&folder, &server, &key, ["checkout", "--feature", "cad", "--lease-file", "seat.lease"]).run();
    let run = checkout().ok();
    let path = folder.path().join("seat.lease");
    assert_eq!(run.stdout.trim_end(), path.to_string_lossy());
    assert!(run.stderr.starts_with("     Granted `cad`, lease "), "{}", run.stderr);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(used(&folder), 1);
    // Neither a second seat nor a denial: nothing is asked for.
    let run = checkout();
    assert!(run.code == 2 && run.stderr.contains("exists already"), "{}", run.stderr);
    assert_eq!(at(&folder, &server, &key, ["checkout", "--feature", "cad", "--lease-file", "other.lease"]).run().code, 75);
    let run = triquest(&folder, ["release", "seat.lease"]).run().ok();
    assert!(run.stderr.starts_with("    Released cad, lease "), "{}", run.stderr);
    assert_eq!(used(&folder), 0);
    assert!(!path.exists());
    assert_eq!(triquest(&folder, ["release", "seat.lease"]).run().code, 1);
}

#[test]
fn a_scripts_seat_comes_back_when_the_process_that_it_is_for_has_ended() {
    let folder = Folder::new();
    let (server, key) = serving(&folder, 1);
    let mut script = Command::new("sleep").arg("600").spawn().unwrap();
    let pid = script.id().to_string();
    at(&folder, &server, &key, ["checkout", "--feature", "cad", "--for", &pid, "--lease-file", "seat.lease"]).run().ok();
    assert_eq!(used(&folder), 1);
    script.kill().unwrap();
    script.wait().unwrap();
    until("the seat comes back", || used(&folder) == 0);
    until("the lease file is gone", || !folder.path().join("seat.lease").exists());
}

#[test]
fn the_loss_of_a_scripts_seat_is_done_to_its_process_and_said_by_seat_and_release() {
    let folder = Folder::new();
    let (server, key) = short_lived(&folder);
    let mut script = Command::new("sleep").arg("600").spawn().unwrap();
    let pid = script.id().to_string();
    let checkout = |more: &[&str]| {
        let arguments = ["checkout", "--feature", "cad", "--for", &pid, "--lease-file", "seat.lease"];
        let call = triquest(&folder, arguments.iter().chain(more).collect::<Vec<_>>());
        call.env("TRIQUEST_LM_SERVER", server.name()).env("TRIQUEST_LM_VERIFIER_KEY", &key).run().ok();
    };
    let seat = || triquest(&folder, ["seat", "seat.lease"]).run();
    checkout(&[]);
    let run = seat().ok();
    assert!(run.stderr.starts_with("        Held cad, lease "), "{}", run.stderr);
    reclaim(&folder);
    until("the loss is known", || seat().code == 76);
    let run = seat();
    assert!(run.stderr.contains("the seat of cad was lost: an administrator took the seat back; it is not held now"), "{}", run.stderr);
    let state: serde_json::Value = serde_json::from_str(&triquest(&folder, ["seat", "--json", "seat.lease"]).run().stdout).unwrap();
    assert_eq!((&state["held"], &state["lost"]), (&false.into(), &"an administrator took the seat back".into()));
    let run = triquest(&folder, ["release", "seat.lease"]).run();
    assert_eq!(run.code, 76, "{}", run.stderr);
    assert!(run.stderr.contains("had been lost: an administrator took the seat back; there was nothing to give back"), "{}", run.stderr);
    assert_eq!(seat().code, 1);
    // The script itself was left alone; now it is told to end, as is one that would stand still for a seat that cannot come back.
    assert_eq!(script.try_wait().unwrap(), None);
    checkout(&["--on-lost", "terminate"]);
    reclaim(&folder);
    until("the script is ended", || script.try_wait().unwrap().is_some());
    until("the lease file is gone", || !folder.path().join("seat.lease").exists());
    let mut script = Command::new("sleep").arg("600").spawn().unwrap();
    let pid = script.id().to_string();
    let arguments = ["checkout", "--feature", "cad", "--for", &pid, "--lease-file", "seat.lease", "--on-lost", "suspend"];
    at(&folder, &server, &key, arguments).run().ok();
    reclaim(&folder);
    until("the script is ended", || script.try_wait().unwrap().is_some());
    assert_eq!(used(&folder), 0);
    let run = at(&folder, &server, &key, ["checkout", "--feature", "cad", "--on-lost", "terminate"]).run();
    assert!(run.code == 2 && run.stderr.contains("--for PID"), "{}", run.stderr);
}

#[test]
fn seat_asks_the_server_anew_and_says_how_old_its_answer_is_where_none_is_there() {
    let folder = Folder::new();
    // Leases of five minutes, so that no renewal comes by itself.
    let (mut server, key) = serving(&folder, 1);
    let checkout = || at(&folder, &server, &key, ["checkout", "--feature", "cad", "--lease-file", "seat.lease"]).run().ok();
    let seat = |more: &[&str]| triquest(&folder, ["seat", "seat.lease"].iter().chain(more).collect::<Vec<_>>()).run();
    checkout();
    let state: serde_json::Value = serde_json::from_str(&seat(&["--json"]).ok().stdout).unwrap();
    assert!(state["held"] == true && state["lost"].is_null() && state["heard_ms"].as_u64().unwrap() < 10_000, "{state}");
    reclaim(&folder);
    let run = seat(&[]);
    assert_eq!(run.code, 76, "told at once, not at the next renewal: {}", run.stderr);
    assert!(run.stderr.contains("an administrator took the seat back; it is not held now"), "{}", run.stderr);
    assert_eq!(triquest(&folder, ["release", "seat.lease"]).run().code, 76);
    checkout();
    server.kill();
    until("the answer is old", || {
        let run = seat(&[]).ok();
        assert!(run.stderr.starts_with("        Held cad, lease "), "{}", run.stderr);
        run.stderr.contains(", as it was ") && run.stderr.contains(" ago; no server answers now")
    });
    let file: serde_json::Value = serde_json::from_slice(&fs::read(folder.path().join("seat.lease")).unwrap()).unwrap();
    signal("KILL", u32::try_from(file["keeper"].as_u64().unwrap()).unwrap());
    until("its keeper is gone", || seat(&[]).code == 76);
}

/// How often an event of this kind stands in the journal.
fn count(folder: &Folder, event: &str) -> usize {
    let events = triquest(folder, ["events", "--json"]).run().ok().stdout;
    events.lines().filter(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["kind"] == event).count()
}

fn keeper_of(folder: &Folder, file: &str) -> u32 {
    let file: serde_json::Value = serde_json::from_slice(&fs::read(folder.path().join(file)).unwrap()).unwrap();
    u32::try_from(file["keeper"].as_u64().unwrap()).unwrap()
}

#[test]
fn seat_says_when_a_reclaimed_seat_ends_and_hears_that_it_ended_before() {
    let folder = Folder::new();
    // Leases of five minutes, so that no renewal comes by itself.
    let (server, key) = serving(&folder, 1);
    at(&folder, &server, &key, ["checkout", "--feature", "cad", "--lease-file", "seat.lease"]).run().ok();
    let file: serde_json::Value = serde_json::from_slice(&fs::read(folder.path().join("seat.lease")).unwrap()).unwrap();
    let lease = file["lease"].as_str().unwrap().to_owned();
    let seat = || triquest(&folder, ["seat", "seat.lease"]).run();
    triquest(&folder, ["reclaim", &lease, "--reason", "maintenance"]).run().ok();
    for _ in 0..2 {
        let said = seat().ok().stderr;
        let is_ending = said.starts_with("      Ending cad, lease ") && said.ends_with(": an administrator took the seat back\n");
        assert!(is_ending && !said.contains("no server answers"), "{said}");
    }
    let state: serde_json::Value = serde_json::from_str(&triquest(&folder, ["seat", "--json", "seat.lease"]).run().ok().stdout).unwrap();
    let left_ms = state["ending_ms"].as_u64().unwrap();
    assert!((200_000..=300_000).contains(&left_ms) && state["answered"] == true && state["held"] == true, "{state}");
    triquest(&folder, ["reclaim", &lease, "--reason", "maintenance", "--now"]).run().ok();
    let run = seat();
    assert_eq!(run.code, 76, "{}", run.stderr);
    assert!(run.stderr.contains("an administrator took the seat back; it is not held now"), "{}", run.stderr);
}

#[test]
fn release_says_that_a_seat_was_freed_when_its_keeper_was_killed() {
    let folder = Folder::new();
    let (server, key) = serving(&folder, 1);
    at(&folder, &server, &key, ["checkout", "--feature", "cad", "--lease-file", "seat.lease"]).run().ok();
    let keeper = keeper_of(&folder, "seat.lease");
    until("presence", || fs::read_dir(format!("/proc/{keeper}/fd")).is_ok_and(|open| sockets(open) >= 2));
    // Asking this takes far longer than the server's answer on that connection.
    assert_eq!(used(&folder), 1);
    signal("KILL", keeper);
    until("the seat is free", || used(&folder) == 0);
    let run = triquest(&folder, ["release", "seat.lease"]).run();
    assert_eq!(run.code, 76, "{}", run.stderr);
    assert!(run.stderr.contains("the server saw the program's connection end; there was nothing to give back"), "{}", run.stderr);
    assert_eq!(count(&folder, "granted"), 1);
}

#[test]
fn release_frees_the_seat_of_a_keeper_that_was_stopped_at_once_and_takes_no_other() {
    let folder = Folder::new();
    let (server, key) = short_lived(&folder);
    let checkout = || at(&folder, &server, &key, ["checkout", "--feature", "cad", "--lease-file", "seat.lease"]).run().ok();
    checkout();
    let keeper = keeper_of(&folder, "seat.lease");
    signal("STOP", keeper);
    until("its keeper stands still", || state(keeper) == 'T');
    let began = Instant::now();
    let run = triquest(&folder, ["release", "seat.lease"]).run().ok();
    assert!(run.stderr.starts_with("    Released cad, lease "), "{}", run.stderr);
    assert!(began.elapsed() < Duration::from_secs(8), "it takes {:?}", began.elapsed());
    assert!(matches!(state(keeper), 'Z' | '-'), "its keeper has ended");
    assert_eq!((used(&folder), count(&folder, "granted")), (0, 1));
    // One whose seat had come free meanwhile takes no other, and says so.
    checkout();
    let keeper = keeper_of(&folder, "seat.lease");
    signal("STOP", keeper);
    until("the seat is free", || used(&folder) == 0);
    let run = triquest(&folder, ["release", "seat.lease"]).run();
    assert_eq!(run.code, 76, "{}", run.stderr);
    assert!(run.stderr.contains("no renewal reached the server in time; there was nothing to give back"), "{}", run.stderr);
    assert!(matches!(state(keeper), 'Z' | '-'), "its keeper has ended");
    assert_eq!((used(&folder), count(&folder, "granted")), (0, 2));
}

#[test]
fn release_says_that_the_server_still_had_a_seat_that_its_keeper_had_lost() {
    let folder = Folder::new();
    let (server, key) = short_lived(&folder);
    at(&folder, &server, &key, ["checkout", "--feature", "cad", "--lease-file", "seat.lease"]).run().ok();
    // A server that stands still lets no lease expire meanwhile.
    signal("STOP", server.pid());
    until("the loss is known", || triquest(&folder, ["seat", "seat.lease"]).run().code == 76);
    let keeper = keeper_of(&folder, "seat.lease");
    signal("STOP", keeper);
    until("its keeper stands still", || state(keeper) == 'T');
    signal("CONT", server.pid());
    let run = triquest(&folder, ["release", "seat.lease"]).run();
    assert_eq!(run.code, 76, "{}", run.stderr);
    assert!(run.stderr.contains("; the server still had it, and it is given back"), "{}", run.stderr);
    assert_eq!((used(&folder), count(&folder, "granted"), count(&folder, "released")), (0, 1, 1));
}

#[test]
fn the_loss_of_a_scripts_seat_is_said_where_its_errors_go_unless_that_is_a_pipe() {
    let folder = Folder::new();
    let (server, key) = short_lived(&folder);
    let mut script = Command::new("sleep").arg("600").spawn().unwrap();
    let pid = script.id().to_string();
    let program = env!("CARGO_BIN_EXE_triquest-lm");
    let line = format!("{program} checkout --feature cad --for {pid} --on-lost warn --lease-file seat.lease 2>said.txt");
    let mut call = triquest(&folder, ["--version"]);
    let environment: Vec<_> = call.command().get_envs().map(|(name, value)| (name.to_owned(), value.map(ToOwned::to_owned))).collect();
    let mut shell = Command::new("sh");
    shell.args(["-c", &line]).current_dir(folder.path()).env_clear();
    shell.envs(environment.into_iter().filter_map(|(name, value)| Some((name, value?))));
    shell.env("TRIQUEST_LM_SERVER", server.name()).env("TRIQUEST_LM_VERIFIER_KEY", &key);
    // The shell's own output is a pipe, which ends although the keeper lives on.
    assert!(shell.output().unwrap().status.success());
    reclaim(&folder);
    let said = || fs::read_to_string(folder.path().join("said.txt")).unwrap();
    let words = format!("warning: the seat of `cad` is lost (an administrator took the seat back); process {pid} runs on\n");
    until("the loss is said", || said().contains(&words));
    assert_eq!(script.try_wait().unwrap(), None);
    script.kill().unwrap();
    script.wait().unwrap();
}

#[test]
fn no_word_of_the_environment_and_no_home_is_a_reason_to_refuse_a_seat() {
    use std::os::unix::ffi::OsStrExt as _;
    let folder = Folder::new();
    let (server, key) = serving(&folder, 1);
    let strange = std::ffi::OsStr::from_bytes(b"P\xff-2207");
    let nowhere = std::ffi::OsStr::new("/no/such/home");
    let odd: &[&[(&str, &std::ffi::OsStr)]] = &[
        &[
            ("TRIQUEST_LM_PROJECT", strange),
            ("USER", strange),
            ("DISPLAY", strange),
            ("SSH_CONNECTION", strange),
            ("SLURM_JOB_ID", strange),
        ],
        &[
            ("HOME", nowhere),
            ("USER", "".as_ref()),
            ("TERM", "".as_ref()),
            ("XDG_RUNTIME_DIR", strange),
            ("TMPDIR", folder.path().as_os_str()),
        ],
        &[
            ("HOME", strange),
            ("TERM", strange),
            ("COLUMNS", "0".as_ref()),
            ("XDG_DATA_HOME", strange),
            ("TRIQUEST_LM_PROJECT", "".as_ref()),
        ],
    ];
    for variables in odd {
        let with = |arguments: &[&str]| {
            let call = triquest(&folder, arguments).env("TRIQUEST_LM_SERVER", server.name()).env("TRIQUEST_LM_VERIFIER_KEY", &key);
            variables.iter().fold(call, |call, (name, value)| call.env(name, value))
        };
        with(&["run", "--feature", "cad", "--", "true"]).run().ok();
        with(&["checkout", "--feature", "cad", "--lease-file", "seat.lease"]).run().ok();
        with(&["release", "seat.lease"]).run().ok();
    }
    let mut bare = at(&folder, &server, &key, ["run", "--feature", "cad", "--", "true"]);
    bare.command().env_remove("HOME");
    bare.run().ok();
    let events = triquest(&folder, ["events", "--json"]).run().ok().stdout;
    assert!(events.contains("P\u{fffd}-2207"), "{events}");
    // A path is its bytes, and what the script reads of it is what it can use.
    let file = folder.path().join(std::ffi::OsStr::from_bytes(b"\xfe.lease"));
    let mut call = at(&folder, &server, &key, ["checkout", "--feature", "cad", "--lease-file"]);
    let output = call.command().arg(&file).output().unwrap();
    assert_eq!(output.stdout.strip_suffix(b"\n"), Some(file.as_os_str().as_bytes()), "{}", String::from_utf8_lossy(&output.stderr));
    let mut call = triquest(&folder, ["release"]);
    assert!(call.command().arg(&file).output().unwrap().status.success());
}

#[test]
fn a_script_whose_runtime_folder_is_not_there_and_whose_project_has_strange_letters_gets_its_seat() {
    let folder = Folder::new();
    let (server, key) = serving(&folder, 1);
    for project in ["P\u{200b}-2207", "\u{1f680} Apollo", "\u{645}\u{6cc}\u{200c}\u{62e}\u{648}\u{627}\u{647}\u{645}"] {
        let run = at(&folder, &server, &key, ["checkout", "--feature", "cad"])
            .env("XDG_RUNTIME_DIR", "/no/such/folder")
            .env("TMPDIR", folder.path())
            .env("TRIQUEST_LM_PROJECT", project)
            .run()
            .ok();
        assert!(run.stdout.starts_with(&*folder.path().to_string_lossy()), "{}", run.stdout);
        triquest(&folder, ["release", run.stdout.trim_end()]).run().ok();
    }
    let events = triquest(&folder, ["events", "--json"]).run().ok().stdout;
    assert!(events.contains("\"P-2207\"") && events.contains("\u{1f680} Apollo"), "{events}");
}

#[test]
fn a_seat_whose_keeper_was_killed_is_given_back_by_its_secret() {
    let folder = Folder::new();
    let (server, key) = serving(&folder, 1);
    let run = at(&folder, &server, &key, ["checkout", "--feature", "cad", "--lease-file", "seat.lease"]).run().ok();
    let file: serde_json::Value = serde_json::from_str(&fs::read_to_string(run.stdout.trim_end()).unwrap()).unwrap();
    let keeper = u32::try_from(file["keeper"].as_u64().unwrap()).unwrap();
    let seat = || triquest(&folder, ["seat", "seat.lease"]).run().code;
    assert_eq!(seat(), 0);
    signal("STOP", keeper);
    until("its keeper stands still", || state(keeper) == 'T');
    assert_eq!(seat(), 76, "nobody renews it");
    signal("CONT", keeper);
    until("its keeper goes on", || state(keeper) != 'T');
    assert_eq!(seat(), 0);
    signal("KILL", keeper);
    until("its keeper has ended", || matches!(state(keeper), 'Z' | '-'));
    assert_eq!(seat(), 76, "also where nobody waits for what has ended");
    // The server may have freed it already: its presence connection ended with the keeper.
    let released = triquest(&folder, ["release", "seat.lease"]).run().code;
    assert!(matches!(released, 0 | 76), "{released}");
    assert_eq!(used(&folder), 0);
    // What others could have read is not used.
    fs::write(folder.path().join("open.lease"), file.to_string()).unwrap();
    fs::set_permissions(folder.path().join("open.lease"), fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(triquest(&folder, ["release", "open.lease"]).run().code, 2);
}

#[test]
fn a_seat_held_in_the_foreground_is_given_back_at_a_signal() {
    let folder = Folder::new();
    let (server, key) = serving(&folder, 1);
    let mut child = at(&folder, &server, &key, ["checkout", "--feature", "cad", "--hold", "--lease-file", "seat.lease"]).start();
    assert!(first_line_of(&mut child).ends_with("seat.lease"));
    assert_eq!(used(&folder), 1);
    signal("INT", child.id());
    assert_eq!(wait(&mut child), Some(0));
    assert_eq!(used(&folder), 0);
}

#[test]
fn a_wait_is_one_span_whatever_becomes_of_the_server_and_ends_with_what_it_waited_for_last() {
    let folder = Folder::new();
    let (mut server, key) = serving(&folder, 1);
    let listen = format!("127.0.0.1:{}", server.port());
    let holder = holding(&folder, &server, &key, "cad");
    let begin = |server: &Server, span: &str| {
        let waiting = at(&folder, server, &key, ["run", "--feature", "cad", "--wait", span, "--", "true"]).start();
        until("it is in line", || pool(&folder)["queued"] == 1);
        waiting
    };
    // The server goes away and stays away.
    let began = Instant::now();
    let mut waiting = begin(&server, "6s");
    server.kill();
    assert_eq!(wait(&mut waiting), Some(75));
    let (took, stderr) = (began.elapsed(), rest(waiting.stderr.take()));
    assert!(took >= Duration::from_secs(6) && took < Duration::from_secs(11), "{took:?}: {stderr}");
    assert!(stderr.contains("error: no license server has answered for the last ") && stderr.contains(" of the wait of 6 s"), "{stderr}");
    assert!(stderr.contains(&format!("  {}  connection refused", server.name())), "{stderr}");
    // It is there again before the wait is over, which does not begin anew.
    let mut server = Server::start_with(&folder, &listen, &[]);
    until("nobody waits", || pool(&folder)["queued"] == 0);
    let began = Instant::now();
    let mut waiting = begin(&server, "8s");
    server.kill();
    let server = Server::start_with(&folder, &listen, &[]);
    assert_eq!(wait(&mut waiting), Some(75));
    let (took, stderr) = (began.elapsed(), rest(waiting.stderr.take()));
    assert!(took >= Duration::from_secs(8) && took < Duration::from_secs(13), "{took:?}: {stderr}");
    assert!(stderr.contains("denied: the wait ") && stderr.contains("1 of 1 in use"), "{stderr}");
    assert_eq!(let_go(holder), Some(0));
    drop(server);
}

#[test]
fn a_release_that_no_server_hears_says_when_the_seat_comes_free_and_can_be_repeated() {
    let folder = Folder::new();
    let (mut server, key) = serving(&folder, 2);
    let listen = format!("127.0.0.1:{}", server.port());
    at(&folder, &server, &key, ["checkout", "--feature", "cad", "--lease-file", "seat.lease"]).run().ok();
    let mut program = at(&folder, &server, &key, ["run", "--feature", "cad", "--", "sh", "-c", "echo held; cat; exit 3"]).start();
    assert_eq!(first_line_of(&mut program), "held");
    server.kill();
    let began = Instant::now();
    drop(program.stdin.take());
    assert_eq!(wait(&mut program), Some(3), "the program's own code");
    let stderr = rest(program.stderr.take());
    assert!(began.elapsed() < Duration::from_secs(7), "it takes {:?}", began.elapsed());
    assert!(stderr.contains("Releasing `cad`: no server has confirmed it yet; tried for 5 s at most"), "{stderr}");
    assert!(
        stderr.contains(
            "warning: the seat of `cad` was not given back: no server confirmed the release; so the seat comes free by itself: at "
        ),
        "{stderr}"
    );

    let began = Instant::now();
    let run = triquest(&folder, ["release", "seat.lease"]).run();
    assert!(run.code == 75 && began.elapsed() < Duration::from_secs(15), "{:?}: {}", began.elapsed(), run.stderr);
    assert!(run.stderr.contains("so the seat comes free by itself: at "), "{}", run.stderr);
    assert!(run.stderr.contains("hint: when the server answers again: triquest-lm release seat.lease"), "{}", run.stderr);
    assert!(folder.path().join("seat.lease").exists());
    let run = triquest(&folder, ["seat", "seat.lease"]).run();
    assert!(run.code == 76 && run.stderr.contains("given back"), "{}", run.stderr);
    let server = Server::start_with(&folder, &listen, &[]);
    assert_eq!(used(&folder), 2);
    let run = triquest(&folder, ["release", "seat.lease"]).run().ok();
    assert!(run.stderr.starts_with("    Released cad, lease "), "{}", run.stderr);
    assert_eq!(used(&folder), 1);
    assert!(!folder.path().join("seat.lease").exists());
    drop(server);
}

#[test]
fn a_server_that_comes_back_in_time_hears_the_release_of_a_program_that_has_ended() {
    let folder = Folder::new();
    let (mut server, key) = serving(&folder, 1);
    let listen = format!("127.0.0.1:{}", server.port());
    let mut program = holding(&folder, &server, &key, "cad");
    server.kill();
    drop(program.stdin.take());
    let server = Server::start_with(&folder, &listen, &[]);
    assert_eq!(wait(&mut program), Some(0));
    assert_eq!(used(&folder), 0);
    drop(server);
}

#[test]
fn seat_answers_soon_where_no_server_does_and_believes_no_time_that_is_yet_to_come() {
    let folder = Folder::new();
    let (mut server, key) = serving(&folder, 1);
    at(&folder, &server, &key, ["checkout", "--feature", "cad", "--lease-file", "seat.lease"]).run().ok();
    server.kill();
    let asked = || {
        let began = Instant::now();
        let run = triquest(&folder, ["seat", "seat.lease"]).run().ok();
        assert!(began.elapsed() < Duration::from_millis(2_500), "{:?}", began.elapsed());
        run.stderr
    };
    let stderr = asked();
    assert!(stderr.contains(" ago; no server answers now"), "however new its last word is: {stderr}");
    // The clock was set back since, or the file was written by hand.
    let path = folder.path().join("seat.lease");
    let mut file: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    file["heard_ms"] = (file["heard_ms"].as_i64().unwrap() + 3_600_000).into();
    fs::write(&path, file.to_string()).unwrap();
    let stderr = asked();
    assert!(stderr.contains("no server answers now"), "{stderr}");
    let state: serde_json::Value = serde_json::from_str(&triquest(&folder, ["seat", "--json", "seat.lease"]).run().ok().stdout).unwrap();
    assert!(state["heard_ms"].as_u64().unwrap() < 60_000 && state["answered"] == false, "{state}");
}

#[test]
fn where_a_vendors_keys_signed_different_licenses_each_is_shown_with_its_keys_and_doctor_counts_what_a_key_can_have() {
    let folder = Folder::new();
    let (server, old) = serving(&folder, 1);
    let right = |seats: u32| format!("[[entitlement]]\nfeature = \"cad\"\nseats = {seats}\nexpires = 2090-12-31\n");
    let list = || triquest(&folder, ["license", "list"]).run().ok().stdout;
    assert!(list().contains("SIGNED BY") && list().contains(old.split('+').nth(1).unwrap()), "{}", list());
    let doctor = |key: &str| triquest(&folder, ["doctor", &server.name(), "--verifier-key", key, "--feature", "cad"]).run();
    assert!(doctor(&old).ok().stdout.contains("1 of 1 free for `cad`\n"));
    triquest(&folder, ["vendor", "rotate", "--key", "v.key"]).run().ok();
    sign(&folder, "ACME-2", server.key(), &right(2));
    let id = |key: &str| key.split('+').nth(1).unwrap().to_owned();
    triquest(&folder, ["vendor", "retire", &id(&old), "--key", "v.key"]).run().ok();
    sign(&folder, "ACME-3", server.key(), &right(4));
    triquest(&folder, ["license", "install", "ACME-2.lic", "ACME-3.lic"]).run().ok();
    let text = fs::read_to_string(folder.path().join("ACME-3.lic")).unwrap();
    let new = text.lines().find_map(|line| line.strip_prefix("verifier = [\"")?.strip_suffix("\"]")).unwrap();
    let list = list();
    assert!(list.contains("SIGNED BY") && list.contains(&format!("{}, {}", id(&old), id(new))), "{list}");
    let run = doctor(&old).ok();
    assert!(run.stdout.contains("7 of 7 free for `cad`, 3 of them at most for this key: the rest is of licenses"), "{}", run.stdout);
    let run = doctor(new).ok();
    assert!(run.stdout.contains("7 of 7 free for `cad`, 6 of them at most for this key"), "{}", run.stdout);
    let run = doctor(&format!("{old},{new}")).ok();
    assert!(run.stdout.contains("7 of 7 free for `cad`\n"), "{}", run.stdout);
    drop(server);
}
