//! The whole job in one command.
#![allow(clippy::unwrap_used)]

mod support;

use std::{fs, io::BufRead, io::BufReader, net::TcpListener};

use support::{Folder, rest, triquest, wait};

const ONCE: [&str; 4] = ["quickstart", "--once", "--listen", "127.0.0.1:0"];

#[test]
fn two_seats_three_clients_one_refused_that_then_gets_in() {
    let folder = Folder::new();
    let run = triquest(&folder, ONCE).run();
    run.expect(
        0,
        "",
        "     Created vendor demo.example (demo key: never sign real licenses with it)\n     \
         Serving 127.0.0.1:[PORT], server key [KEY]\n      \
         Signed DEMO-0001: demo-app, 2 seats, until [DATE]\n     \
         Granted client 1: demo-app, 1 of 2 in use ([TIME])\n     \
         Granted client 2: demo-app, 2 of 2 in use ([TIME])\n      \
         Denied client 3: no seat free, 2 of 2 in use; waits, place 1\n    \
         Released client 1\n     \
         Granted client 3 after [TIME] in the queue\n    \
         Verified 3 grants: demo.example -> DEMO-0001 -> [KEY]\n    \
         Released client 2\n    \
         Released client 3\n    \
         Finished in [TIME]; all files are in ./triquest-lm-quickstart, delete it when you like\n",
    );
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(left, ["triquest-lm-quickstart"]);

    // A second time the same folder, vendor, server and license are used.
    let again = triquest(&folder, ONCE).run().ok();
    assert!(
        again.stderr.starts_with("      Reused ./triquest-lm-quickstart with vendor demo.example from an earlier run\n"),
        "{}",
        again.stderr
    );
    assert!(again.stderr.contains("Installed DEMO-0001 of an earlier run"), "{}", again.stderr);
    assert!(again.stderr.contains("Verified 3 grants"), "{}", again.stderr);
}

#[test]
fn an_interrupted_run_does_not_spoil_the_next() {
    let folder = Folder::new();
    let mut first = triquest(&folder, ["quickstart", "--listen", "127.0.0.1:0"]).start();
    let mut lines = BufReader::new(first.stderr.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains("Denied client 3")), "the third client is refused");
    first.kill().unwrap();
    first.wait().unwrap();
    let again = triquest(&folder, ONCE).run().ok();
    assert!(again.stderr.contains("Granted client 3 after"), "{}", again.stderr);
}

#[test]
fn a_second_quickstart_beside_the_first_is_told_apart_and_the_hint_works() {
    let folder = Folder::new();
    let mut first = triquest(&folder, ["quickstart", "--listen", "127.0.0.1:0"]).start();
    let mut lines = BufReader::new(first.stderr.take().unwrap()).lines().map_while(Result::ok);
    let serving = lines.find(|line| line.contains("Serving 127.0.0.1:")).unwrap();
    let address = serving.split_whitespace().nth(1).unwrap().trim_end_matches(',').to_owned();
    assert!(lines.any(|line| line.contains("until Ctrl-C")), "it goes on serving");
    triquest(&folder, ["quickstart", "--once", "--listen", &address]).run().expect(
        1,
        "",
        "error: TCP [PORT] is held by `triquest-lm quickstart --listen 127.0.0.1:0` (pid [PID], user root, since [TIME])\n\
         hint: stop that one with Ctrl-C, or run beside it: triquest-lm quickstart --listen 127.0.0.1:0 --dir triquest-lm-quickstart-2\n"
            .replace("user root", &format!("user {}", user()))
            .as_str(),
    );
    let run = triquest(&folder, ONCE).run();
    assert_eq!(run.code, 1, "{}", run.stderr);
    assert!(run.stderr.starts_with("error: another quickstart runs in ./triquest-lm-quickstart\n"), "{}", run.stderr);
    triquest(&folder, ["quickstart", "--once", "--listen", "127.0.0.1:0", "--dir", "triquest-lm-quickstart-2"]).run().ok();

    // Ctrl-C ends the first in order.
    std::process::Command::new("kill").args(["-INT", &first.id().to_string()]).status().unwrap();
    let left: Vec<String> = lines.collect();
    assert_eq!(wait(&mut first), Some(0), "{left:?}");
    assert_eq!(rest(first.stdout.take()), "");
    assert!(left.iter().any(|line| line.contains("triquest-lm-quickstart")), "{left:?}");
}

fn user() -> String {
    String::from_utf8(std::process::Command::new("id").arg("-un").output().unwrap().stdout).unwrap().trim_end().to_owned()
}

#[test]
fn a_port_that_another_program_holds_is_named_and_nothing_is_made() {
    let folder = Folder::new();
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let run = triquest(&folder, ["quickstart", "--once", "--listen", &other.local_addr().unwrap().to_string()]).run();
    assert_eq!(run.code, 1, "{}", run.stderr);
    assert!(run.stderr.contains(&format!("(pid {}, user ", std::process::id())), "{}", run.stderr);
    assert!(
        run.stderr.contains("hint: that is no TriQuest LM; run beside it: triquest-lm quickstart --listen 127.0.0.1:0\n"),
        "{}",
        run.stderr
    );
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_folder_that_no_quickstart_made_is_left_alone() {
    let folder = Folder::new();
    fs::create_dir(folder.path().join("triquest-lm-quickstart")).unwrap();
    fs::write(folder.path().join("triquest-lm-quickstart/thesis.txt"), "mine").unwrap();
    triquest(&folder, ONCE).run().expect(
        1,
        "",
        "error: ./triquest-lm-quickstart is there already, and no quickstart made it: it is left alone\nhint: name another folder with `--dir DIR`\n",
    );
    assert_eq!(fs::read_dir(folder.path().join("triquest-lm-quickstart")).unwrap().count(), 1);
}
