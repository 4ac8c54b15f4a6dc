//! The server as an administrator starts, asks and stops it.
#![allow(clippy::unwrap_used)]

mod support;

use std::{fs, net::TcpListener, os::unix::fs::PermissionsExt, process::Command};

use support::{Folder, Server, serving, sign, triquest, until, vendor};

#[test]
fn a_server_says_its_address_and_key_and_answers_to_its_administrator() {
    let folder = Folder::new();
    let server = Server::start(&folder);
    assert!(server.key().starts_with("tqs1:") && server.key().len() == 69);
    triquest(&folder, ["server", "id"]).run().expect(0, "[KEY]\n", "");
    assert_eq!(triquest(&folder, ["server", "id"]).run().stdout.trim_end(), server.key());
    let id: serde_json::Value = serde_json::from_str(&triquest(&folder, ["server", "id", "--json"]).run().ok().stdout).unwrap();
    assert_eq!(id["server_key"], server.key());
    let run = triquest(&folder, ["status"]).run().ok();
    assert!(run.stdout.contains("no license is installed yet"), "{}", run.stdout);
    triquest(&folder, ["license", "list"]).run().expect(
        0,
        "",
        "no license is installed\nhint: triquest-lm license request > request.txt, mail it to your vendor, then triquest-lm license install FILE\n",
    );
    let key = server.key().to_owned();
    assert_eq!(server.stop(), Some(0));
    // The key is known without the server too, and is the same at the next start.
    assert_eq!(triquest(&folder, ["server", "id"]).run().stdout.trim_end(), key);
    assert_eq!(Server::start(&folder).key(), key);
}

#[test]
fn a_named_data_directory_without_a_journal_becomes_a_new_server_only_when_told_to() {
    let folder = Folder::new();
    fs::create_dir_all(folder.path().join("stray")).unwrap();
    fs::write(folder.path().join("stray/notes.txt"), "").unwrap();
    for name in ["missing", "stray"] {
        let run = triquest(&folder, ["serve", "--listen", "127.0.0.1:0", "--data", name]).run();
        assert_eq!(run.code, 1, "{}", run.stderr);
        assert!(run.stderr.contains("error: the data directory ") && run.stderr.contains("serve --init --data "), "{}", run.stderr);
    }
    assert!(!folder.path().join("missing").exists());
    let server = Server::start(&folder);
    assert!(server.log().contains("Made a new server with a new key in "), "{}", server.log());
    assert_eq!(server.stop(), Some(0));
    let again = Server::start(&folder);
    assert!(!again.log().contains("a new server"), "{}", again.log());
}

#[test]
fn a_key_without_its_journal_is_kept_and_a_new_history_begins_with_its_quarantine() {
    let folder = Folder::new();
    let server = Server::start(&folder);
    let key = server.key().to_owned();
    assert_eq!(server.stop(), Some(0));
    for name in ["journal.sqlite", "journal.sqlite-wal", "journal.sqlite-shm"] {
        let _ = fs::remove_file(folder.path().join("data").join(name));
    }
    let refused = triquest(&folder, ["serve", "--listen", "127.0.0.1:0"]).run();
    assert!(refused.code == 1 && refused.stderr.contains("keeps the key and begins a new history"), "{}", refused.stderr);
    let check = triquest(&folder, ["serve", "--check", "--init"]).run().ok();
    assert!(check.stderr.contains("a start would keep the server's key in "), "{}", check.stderr);
    let server = Server::start(&folder);
    let said = server.log();
    assert_eq!(server.key(), key);
    assert!(!said.contains("a new server") && said.contains("Kept the server's key in "), "{said}");
    until("it is said", || server.log().contains("  Quarantine no new seats for 1 h, "));
    let status = triquest(&folder, ["status"]).run().ok().stdout;
    assert!(status.contains("RESTORED OR ROLLED BACK: no new seats for "), "{status}");
    assert!(triquest(&folder, ["journal", "check"]).run().code != 0, "its server has it");
    assert_eq!(server.stop(), Some(0));
    triquest(&folder, ["journal", "check"]).run().ok();
    // It goes on from there, and what ends the quarantine leaves no word of one.
    let lineage = status.split("quarantine end --lineage ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap();
    let server = Server::start_with(&folder, "127.0.0.1:0", &["--end-quarantine", lineage]);
    let said = server.log();
    assert!(said.contains("--end-quarantine ended the quarantine of this history"), "{said}");
    assert!(!said.contains("Quarantine") && !said.contains("nothing new is granted") && !said.contains("Kept"), "{said}");
    let status = triquest(&folder, ["status"]).run().ok().stdout;
    assert!(!status.contains("RESTORED"), "{status}");
}

#[test]
fn a_first_start_that_was_refused_leaves_nothing_that_the_corrected_command_stumbles_over() {
    for wrong in [
        "licenses = \"no-such-folder\"\n",
        "[tls]\ncertificate = \"no-such.crt\"\nkey = \"no-such.key\"\n",
        "admin_group = \"no-such-group-here\"\n",
    ] {
        let folder = Folder::new();
        fs::write(folder.path().join("c.toml"), wrong).unwrap();
        let log = Server::try_start(&folder, "127.0.0.1:0", &["--config", "c.toml"]).err().unwrap();
        assert!(log.contains("error: ") && log.contains("no-such"), "{log}");
        assert!(!folder.path().join("data/server.key").exists(), "{wrong}");
        let server = Server::start(&folder);
        let said = server.log();
        assert!(said.contains("Made a new server with a new key in ") && !said.contains("Quarantine"), "{wrong}: {said}");
    }
    // A socket that cannot be made: something else has its name.
    let folder = Folder::new();
    fs::create_dir_all(folder.path().join("data/admin.sock")).unwrap();
    fs::set_permissions(folder.path().join("data"), fs::Permissions::from_mode(0o700)).unwrap();
    let log = Server::try_start(&folder, "127.0.0.1:0", &[]).err().unwrap();
    assert!(log.contains("is no socket"), "{log}");
    fs::remove_dir(folder.path().join("data/admin.sock")).unwrap();
    let said = Server::start(&folder).log();
    assert!(said.contains("Made a new server with a new key in ") && !said.contains("Quarantine"), "{said}");
}

#[test]
fn what_a_server_says_of_itself_to_commands_keeps_it_from_nothing() {
    let folder = Folder::new();
    assert_eq!(Server::start(&folder).stop(), Some(0));
    fs::create_dir_all(folder.path().join("data/server.json/in-the-way")).unwrap();
    let server = Server::start(&folder);
    until("it is said", || server.log().contains("may not find on which addresses this server serves"));
    triquest(&folder, ["status"]).run().ok();
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn a_key_that_came_back_alone_is_that_of_a_lost_history() {
    let folder = Folder::new();
    let server = Server::start(&folder);
    let key = server.key().to_owned();
    assert_eq!(server.stop(), Some(0));
    fs::rename(folder.path().join("data"), folder.path().join("lost")).unwrap();
    fs::create_dir(folder.path().join("data")).unwrap();
    fs::set_permissions(folder.path().join("data"), fs::Permissions::from_mode(0o700)).unwrap();
    fs::copy(folder.path().join("lost/server.key"), folder.path().join("data/server.key")).unwrap();
    let server = Server::start(&folder);
    assert_eq!(server.key(), key);
    until("the quarantine is said", || server.log().contains("  Quarantine no new seats for 1 h, "));
}

#[test]
fn a_check_says_what_a_start_would_do_with_the_data_directory_and_changes_nothing() {
    let folder = Folder::new();
    let check = |more: &[&str]| triquest(&folder, ["serve", "--check"].iter().chain(more).collect::<Vec<_>>()).run();
    let start = triquest(&folder, ["serve", "--listen", "127.0.0.1:0"]).run();
    let refused = check(&[]);
    assert_eq!((refused.code, &refused.stderr), (start.code, &start.stderr), "as the start");
    assert!(refused.stderr.contains("is not there: is its volume not mounted"), "{}", refused.stderr);
    check(&["--init"]).expect(
        0,
        "",
        "     Checked no file, so the defaults: good; a start would make a new server with a new key in [DIR]/data\n",
    );
    assert!(!folder.path().join("data").exists());
    Server::start(&folder).stop();
    check(&[]).expect(0, "", "     Checked no file, so the defaults: good; a start would go on with the server in [DIR]/data\n");
}

#[test]
fn a_configuration_that_is_made_after_the_start_is_read_at_reload() {
    let folder = Folder::new();
    let server = Server::start(&folder);
    let file = folder.path().join("data/config.toml");
    let write = |text: &str| {
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    };
    let reload = |what: &str, log: &str| {
        let signal = Command::new("kill").args(["-HUP", &server.pid().to_string()]).status();
        assert!(signal.unwrap().success());
        until(what, || server.log().contains(log));
    };
    write("nonsense = 1");
    reload("the fault", "not reloaded: ");
    write("names_open = true\npresence_networks = ['0.0.0.0/0']");
    reload("the change", "names_open changed");
    assert!(server.log().contains("config.toml is there now and was read"), "{}", server.log());
    assert!(server.log().contains("presence_networks has 0.0.0.0/0, which is every address"), "{}", server.log());
    let check = triquest(&folder, ["serve", "--check"]).run().ok();
    assert!(check.stderr.contains("warning: presence_networks has 0.0.0.0/0"), "{}", check.stderr);
    fs::remove_file(&file).unwrap();
    reload("that it is gone", "was read before and is gone");
}

#[test]
fn licenses_come_and_go_while_it_runs() {
    let folder = Folder::new();
    let key = vendor(&folder);
    let server = Server::start(&folder);
    triquest(&folder, ["license", "request", "-o", "request.txt"]).run().expect(
        0,
        "",
        "       Wrote request.txt: mail it to your vendor\n",
    );
    assert!(fs::read_to_string(folder.path().join("request.txt")).unwrap().contains(server.key()));
    triquest(&folder, ["license", "request", "-o", "request.txt"]).run().expect(
        1,
        "",
        "error: request.txt is there already, and is not overwritten\nhint: name another file with --output\n",
    );
    let cad = |seats: u32| format!("[[entitlement]]\nfeature = \"cad\"\nversion = \"12.4\"\nseats = {seats}\nexpires = 2090-12-31\n");
    sign(&folder, "ACME-1", server.key(), &cad(25));
    triquest(&folder, ["license", "install", "ACME-1.lic"]).run().expect(0, "", "   Installed ACME-1\n");
    triquest(&folder, ["license", "install", "ACME-1.lic"]).run().expect(0, "", "   Unchanged ACME-1: already installed\n");
    let line = triquest(&folder, ["license", "convert", "ACME-1.lic", "--to", "line"]).run().ok().stdout;
    triquest(&folder, ["license", "install", line.trim_end()]).run().expect(0, "", "   Unchanged ACME-1: already installed\n");
    triquest(&folder, ["license", "install", "-"]).input(&line).run().expect(0, "", "   Unchanged ACME-1: already installed\n");
    sign(&folder, "ACME-2", server.key(), &cad(5));
    let run = triquest(&folder, ["license", "install", "ACME-2.lic"]).run().ok();
    assert!(run.stderr.starts_with("   Installed ACME-2\nwarning: ") && run.stderr.contains("25 + 5 = 30"), "{}", run.stderr);
    let list = triquest(&folder, ["license", "list"]).run().ok().stdout;
    let heading: Vec<&str> = list.lines().next().unwrap().split("  ").map(str::trim).filter(|word| !word.is_empty()).collect();
    assert_eq!(heading, ["LICENSE", "VENDOR", "SIGNED BY", "FEATURE", "UP TO VERSION", "SEATS", "FROM", "LAST DAY", "STATE"]);
    let id = key.split('+').nth(1).unwrap();
    for (license, seats) in [("ACME-1", "25"), ("ACME-2", "5")] {
        let words = [license, "acme.example", id, "cad", "12.4", seats, "-", "2090-12-31"];
        assert!(list.lines().any(|line| line.split_whitespace().take(8).eq(words) && line.ends_with("in force")), "{list}");
    }
    for command in [
        ["license", "remove", "ACME-2", "--reason", " "].as_slice(),
        &["reclaim", "abcd1234", "--reason", ""],
        &["clock", "accept", "--reason", ""],
        &["quarantine", "end", "--reason", " "],
        &["presence", "allow", "10.0.0.1", "--reason", ""],
    ] {
        let run = triquest(&folder, command).run();
        assert!(run.code == 2 && run.stderr.contains("say why, for the record"), "{}", run.stderr);
    }
    // What is so already is no fault, whatever the command is called.
    for command in [["clock", "accept"].as_slice(), &["quarantine", "end"], &["presence", "allow", "10.0.0.1"]] {
        let run = triquest(&folder, command.iter().chain(&["--reason", "to be sure"])).run();
        assert_eq!(run.code, 0, "{}", run.stderr);
    }
    triquest(&folder, ["license", "remove", "ACME-2", "--reason", "bought by mistake"]).run().expect(
        0,
        "",
        "     Removed ACME-2 of acme.example: no lease ends by it\n",
    );
    let run = triquest(&folder, ["license", "remove", "ACME-2", "--reason", "again"]).run();
    run.expect(1, "", "error: no license `ACME-2` is installed\nhint: `triquest-lm license list` lists what is installed\n");
}

#[test]
fn what_a_license_takes_away_and_what_brings_a_removed_one_back_is_said() {
    let folder = Folder::new();
    let key = vendor(&folder);
    let server = Server::start(&folder);
    let cad = |seats: u32| format!("[[entitlement]]\nfeature = \"cad\"\nseats = {seats}\nexpires = 2090-12-31\n");
    sign(&folder, "ACME-1", server.key(), &cad(2));
    triquest(&folder, ["license", "install", "ACME-1.lic"]).run().ok();
    let call = |arguments: &[&str]| {
        triquest(&folder, arguments).env("TRIQUEST_LM_SERVER", server.name()).env("TRIQUEST_LM_VERIFIER_KEY", &key).run()
    };
    for file in ["1.lease", "2.lease"] {
        call(&["checkout", "--feature", "cad", "--lease-file", file]).ok();
    }
    // Fewer seats than are in use.
    let draft = format!("replaces = [\"ACME-1\"]\n{}", cad(1));
    sign(&folder, "ACME-2", server.key(), &draft);
    let installed = "   Installed ACME-2, replaces ACME-1: 1 lease ends with its present promise\n";
    triquest(&folder, ["license", "install", "ACME-2.lic"]).run().expect(0, "", installed);
    for file in ["1.lease", "2.lease"] {
        call(&["release", file]).ok();
    }
    // A command that a hint names works as it is printed.
    sign(&folder, "ACME-3", server.key(), &cad(5));
    let said = triquest(&folder, ["license", "install", "ACME-3.lic"]).run().ok().stderr;
    let data = folder.path().join("data");
    let hint = format!("(triquest-lm license remove ACME-3 --reason TEXT --data {})", data.display());
    assert!(said.contains(&hint), "{said}");
    let remove =
        |id: &str| triquest(&folder, ["license", "remove", id, "--reason", "a trial", "--data", &data.to_string_lossy()]).run().ok();
    assert!(!remove("ACME-3").stderr.contains("warning"));
    // By which the server goes on to prove itself.
    sign(&folder, "ACME-4", server.key(), &cad(1).replace("cad", "sim"));
    triquest(&folder, ["license", "install", "ACME-4.lic"]).run().ok();
    // A license of the folder comes back, under whatever name it lies there.
    fs::create_dir_all(data.join("licenses")).unwrap();
    fs::copy(folder.path().join("ACME-2.lic"), data.join("licenses/acme.lic")).unwrap();
    let removed = remove("ACME-2").stderr;
    assert!(removed.starts_with("     Removed ACME-2 of acme.example: no lease ends by it\nwarning: "), "{removed}");
    assert!(removed.contains("licenses/acme.lic holds it: the next start or reload of the server installs it again\nhint: "), "{removed}");
    // Nobody says that its last day was another one.
    let run = call(&["run", "--feature", "cad", "--", "true"]);
    assert!(
        run.code == 77 && run.stderr.contains("was taken off this server: it was removed, or another one took its place"),
        "{}",
        run.stderr
    );
    // What the folder installs is said as the command says it.
    fs::copy(folder.path().join("ACME-3.lic"), data.join("licenses/more.lic")).unwrap();
    assert!(Command::new("kill").args(["-HUP", &server.pid().to_string()]).status().unwrap().success());
    until("the warning", || server.log().lines().any(|line| line.contains("WARN") && line.contains("more.lic: ") && line.contains("= 6")));
}

#[test]
fn whoever_starts_a_second_server_on_one_data_directory_hears_what_works() {
    let folder = Folder::new();
    let server = Server::start(&folder);
    let listen = format!("127.0.0.1:{}", server.port());
    let run = triquest(&folder, ["serve", "--listen", &listen]).run();
    assert!(run.code != 0 && run.stderr.contains("and a server runs on "), "{}", run.stderr);
    assert!(run.stderr.contains("triquest-lm serve --listen 127.0.0.1:0 --data DIR --init"), "{}", run.stderr);
}

#[test]
fn a_license_that_was_replaced_is_told_which_one_is_in_force_and_since_when() {
    let folder = Folder::new();
    vendor(&folder);
    let server = Server::start(&folder);
    let cad = |seats: u32| format!("[[entitlement]]\nfeature = \"cad\"\nseats = {seats}\nexpires = 2090-12-31\n");
    sign(&folder, "L4", server.key(), &cad(25));
    sign(&folder, "L4b", server.key(), &format!("replaces = [\"L4\"]\n{}", cad(30)));
    triquest(&folder, ["license", "install", "L4.lic"]).run().ok();
    triquest(&folder, ["license", "install", "L4b.lic"]).run().expect(0, "", "   Installed L4b, replaces L4\n");
    let run = triquest(&folder, ["license", "install", "L4.lic"]).run().ok();
    let (said, since) = run.stderr.trim_start().split_once("in force since ").unwrap();
    assert_eq!(said, "Unchanged L4 was replaced by L4b, ");
    assert!(since.starts_with("20") && since.ends_with("; nothing to do\n"), "{since}");
}

#[test]
fn a_license_of_another_server_a_forged_one_and_another_text_are_refused_with_the_reason() {
    let folder = Folder::new();
    vendor(&folder);
    let server = Server::start(&folder);
    let cad = "[[entitlement]]\nfeature = \"cad\"\nseats = 3\nexpires = 2090-12-31\n";
    let other = triquest_license::ServerKey::new(*triquest_license::SigningKey::from_seed([9; 32]).public());
    sign(&folder, "ACME-9", &other.to_string(), cad);
    let run = triquest(&folder, ["license", "install", "ACME-9.lic"]).run();
    assert_eq!(run.code, 1, "{}", run.stderr);
    assert!(run.stderr.starts_with("error: ") && run.stderr.contains("server") && run.stderr.contains("hint: "), "{}", run.stderr);

    sign(&folder, "ACME-1", server.key(), cad);
    let genuine = fs::read_to_string(folder.path().join("ACME-1.lic")).unwrap();
    fs::write(folder.path().join("forged.lic"), genuine.replace("seats = 3", "seats = 9")).unwrap();
    let run = triquest(&folder, ["license", "install", "forged.lic"]).run();
    assert_eq!(run.code, 1, "{}", run.stderr);
    triquest(&folder, ["license", "install", "ACME-1.lic"]).run().ok();
    fs::remove_file(folder.path().join("ACME-1.lic")).unwrap();
    sign(&folder, "ACME-1", server.key(), &cad.replace("seats = 3", "seats = 4"));
    let run = triquest(&folder, ["license", "install", "ACME-1.lic"]).run();
    assert_eq!(run.code, 1, "{}", run.stderr);
    assert!(run.stderr.contains("ACME-1"), "{}", run.stderr);
    let run = triquest(&folder, ["license", "install", "nothing.lic"]).run();
    run.expect(
        1,
        "",
        "error: cannot read nothing.lic: there is no such file\nhint: a name without `/` is looked for in the folder that this was started in\n",
    );
    drop(server);
}

#[test]
fn configuration_is_checked_without_starting_and_faults_point_at_the_place() {
    let folder = Folder::new();
    let fine = triquest(&folder, ["serve", "--check", "--init"]).run().ok().stderr;
    assert!(fine.starts_with("     Checked no file, so the defaults: good; "), "{fine}");
    fs::write(folder.path().join("c.toml"), "listen = [\"127.0.0.1:0\"]\nnames = true\n").unwrap();
    let run = triquest(&folder, ["serve", "--check", "--config", "c.toml"]).run();
    assert_eq!(run.code, 2, "{}", run.stderr);
    assert!(run.stderr.contains("line 2") && run.stderr.contains("names"), "{}", run.stderr);
    assert!(run.stderr.contains("hint: `triquest-lm serve --help`"), "{}", run.stderr);
    assert!(triquest(&folder, ["serve", "--help"]).run().ok().stdout.contains("tls.certificate  [env: TRIQUEST_LM_TLS_CERTIFICATE]"));
    fs::write(folder.path().join("c.toml"), "admin_group = \"no-such-group-here\"\n").unwrap();
    let run = triquest(&folder, ["serve", "--check", "--config", "c.toml"]).run();
    assert_eq!(run.code, 2, "{}", run.stderr);
    assert!(!folder.path().join("data").exists(), "a check makes nothing");
}

#[test]
fn a_port_that_is_taken_says_which_process_has_it() {
    let folder = Folder::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let log = Server::try_start(&folder, &taken.local_addr().unwrap().to_string(), &[]).err().unwrap();
    assert!(log.contains(&format!("pid {}", std::process::id())), "{log}");
    assert!(log.contains("hint: "), "{log}");
}

#[test]
fn a_second_server_on_the_same_data_is_refused() {
    let folder = Folder::new();
    let first = Server::start(&folder);
    let log = Server::try_start(&folder, "127.0.0.1:0", &[]).err().unwrap();
    assert!(log.contains("error: ") && log.contains("data"), "{log}");
    triquest(&folder, ["status"]).run().ok();
    drop(first);
}

#[test]
fn commands_tell_apart_no_data_no_server_and_no_such_lease() {
    let folder = Folder::new();
    triquest(&folder, ["status"]).run().expect(
        1,
        "",
        "error: there is no data directory [DIR]/data, so no server of this machine keeps its data there\n\
         hint: name the server's directory with `--data DIR`, or start a new server: triquest-lm serve --init --data [DIR]/data\n",
    );
    drop(Server::start(&folder));
    for command in [["status", "--json"], ["license", "list"], ["events", "--json"]] {
        let run = triquest(&folder, command).run();
        assert_eq!(run.code, 75, "{}", run.stderr);
        assert!(run.stderr.starts_with("error: no server is running on "), "{}", run.stderr);
        assert!(run.stderr.contains("hint: start it: triquest-lm serve --data "), "{}", run.stderr);
    }
    let (_server, _) = serving(&Folder::new(), 1);
    let folder = Folder::new();
    let _server = Server::start(&folder);
    let run = triquest(&folder, ["reclaim", "abcd1234", "--reason", "x"]).run();
    run.expect(
        1,
        "",
        "error: no lease here begins with abcd1234\nhint: it may have ended by now; `triquest-lm status` lists those that live\n",
    );
    assert_eq!(triquest(&folder, ["reclaim", "xyz", "--reason", "x"]).run().code, 2);
    let run = triquest(&folder, ["status", "cad"]).run();
    run.expect(1, "", "error: no license on this server has a feature `cad`\nhint: `triquest-lm status` lists what there is\n");
}

#[test]
fn keys_that_others_can_read_are_refused_at_start() {
    let folder = Folder::new();
    drop(Server::start(&folder));
    let key = folder.path().join("data/server.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let log = Server::try_start(&folder, "127.0.0.1:0", &[]).err().unwrap();
    assert!(log.contains("mode 0644") && log.contains("chmod 600"), "{log}");
}

#[test]
fn a_named_data_directory_that_is_empty_needs_init() {
    let folder = Folder::new();
    fs::create_dir(folder.path().join("data")).unwrap();
    let run = triquest(&folder, ["serve", "--listen", "127.0.0.1:0"]).run();
    assert_eq!(run.code, 1, "{}", run.stderr);
    assert!(run.stderr.contains("volume") && run.stderr.contains("--init"), "{}", run.stderr);
}

#[test]
fn a_corrupt_journal_is_said_and_nothing_is_served() {
    let folder = Folder::new();
    let (server, _) = serving(&folder, 2);
    assert_eq!(server.stop(), Some(0));
    let journal = folder.path().join("data/journal.sqlite");
    let mut bytes = fs::read(&journal).unwrap();
    let half = bytes.len() / 2;
    bytes[half..].iter_mut().for_each(|byte| *byte ^= 0x5a);
    fs::write(&journal, &bytes).unwrap();
    let log = Server::try_start(&folder, "127.0.0.1:0", &[]).err().unwrap();
    assert!(log.contains("error: ") && log.contains("journal"), "{log}");
    assert!(log.contains("hint: "), "{log}");
    let run = triquest(&folder, ["journal", "check"]).run();
    assert_ne!(run.code, 0, "{}{}", run.stdout, run.stderr);
}

#[test]
fn version_says_what_this_build_speaks() {
    let folder = Folder::new();
    let run = triquest(&folder, ["--version"]).run().ok();
    assert!(run.stdout.starts_with(concat!("triquest-lm ", env!("CARGO_PKG_VERSION"), "\n")), "{}", run.stdout);
    assert!(run.stdout.contains("triquest-lm/v1/license") && run.stdout.contains("1588"), "{}", run.stdout);
    assert_eq!(triquest(&folder, ["-V"]).run().ok().stdout, concat!("triquest-lm ", env!("CARGO_PKG_VERSION"), "\n"));
}
