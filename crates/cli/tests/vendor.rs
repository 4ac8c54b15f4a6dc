//! The vendor's key file: made once, for its owner only, rotated and retired.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use support::{Folder, triquest};

fn key_file(folder: &Folder) -> String {
    fs::read_to_string(folder.path().join("v.key")).unwrap()
}

#[track_caller]
fn ok<const N: usize>(folder: &Folder, arguments: [&str; N]) -> String {
    let run = triquest(folder, arguments).run();
    assert_eq!(run.code, 0, "{arguments:?}: {}", run.stderr);
    run.stdout + &run.stderr
}

#[track_caller]
fn refused<const N: usize>(folder: &Folder, arguments: [&str; N], message: &str) {
    let run = triquest(folder, arguments).run();
    assert_ne!(run.code, 0, "{arguments:?} must be refused: {}", run.stdout);
    assert!(run.stderr.contains(message), "{arguments:?}: {}", run.stderr);
}

#[test]
fn a_key_is_made_once_for_its_owner_only() {
    let folder = Folder::new();
    let said = ok(&folder, ["vendor", "init", "acme.example", "--key", "v.key"]);
    assert!(said.contains("acme.example+"), "{said}");
    let mode = fs::metadata(folder.path().join("v.key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let secret = key_file(&folder);
    assert!(secret.contains("PRIVATE+KEY+acme.example+"));
    refused(&folder, ["vendor", "init", "acme.example", "--key", "v.key"], "never overwritten");
    assert_eq!(key_file(&folder), secret);
    let private = secret.lines().last().unwrap();
    // PRIVATE+KEY+name+id+seed, of which the last, in base64, may have a plus sign of its own.
    let seed = private.splitn(5, '+').last().unwrap();
    for command in ["show", "rotate"] {
        let said = ok(&folder, ["vendor", command, "--key", "v.key"]);
        assert!(!said.contains("PRIVATE") && !said.contains(seed), "{said}");
    }
}

#[test]
fn the_key_file_has_a_place_of_its_own_when_none_is_named() {
    let folder = Folder::new();
    let home = folder.path().display().to_string();
    let run = triquest(&folder, ["vendor", "init", "acme.example"]).env("HOME", &home).env("XDG_CONFIG_HOME", "").run();
    assert_eq!(run.code, 0, "{}", run.stderr);
    let place = folder.path().join(".config/triquest-lm");
    assert!(place.join("vendor.key").is_file());
    assert_eq!(fs::metadata(place).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn a_name_that_no_key_can_bear_is_refused() {
    let folder = Folder::new();
    refused(&folder, ["vendor", "init", "acme example", "--key", "v.key"], "the character ' '");
    refused(&folder, ["vendor", "init", "", "--key", "v.key"], "is empty");
    refused(&folder, ["vendor", "init", "a+b", "--key", "v.key"], "the character '+'");
    assert!(!folder.path().join("v.key").exists());
}

#[test]
fn a_key_file_that_others_can_read_is_refused() {
    let folder = Folder::new();
    ok(&folder, ["vendor", "init", "acme.example", "--key", "v.key"]);
    for mode in [0o644, 0o640, 0o604, 0o660] {
        fs::set_permissions(folder.path().join("v.key"), fs::Permissions::from_mode(mode)).unwrap();
        refused(&folder, ["vendor", "show", "--key", "v.key"], "can be read by others");
        refused(&folder, ["vendor", "rotate", "--key", "v.key"], "can be read by others");
    }
}

#[test]
fn a_link_in_place_of_a_key_file_is_refused() {
    let folder = Folder::new();
    ok(&folder, ["vendor", "init", "acme.example", "--key", "real.key"]);
    std::os::unix::fs::symlink("real.key", folder.path().join("v.key")).unwrap();
    refused(&folder, ["vendor", "show", "--key", "v.key"], "symbolic link");
    std::os::unix::fs::symlink("nowhere.key", folder.path().join("w.key")).unwrap();
    refused(&folder, ["vendor", "init", "acme.example", "--key", "w.key"], "w.key is there already");
    assert!(!folder.path().join("nowhere.key").exists());
}

#[test]
fn a_damaged_key_file_is_refused_without_showing_it() {
    let folder = Folder::new();
    ok(&folder, ["vendor", "init", "acme.example", "--key", "v.key"]);
    let good = key_file(&folder);
    let write = |text: String| fs::write(folder.path().join("v.key"), text).unwrap();
    write(good.replace("acme.example+", "acme.examplf+"));
    refused(&folder, ["vendor", "show", "--key", "v.key"], "v.key, line 2: the key's id is");
    write(good.replace("PRIVATE+KEY+", ""));
    refused(&folder, ["vendor", "show", "--key", "v.key"], "v.key, line 2: this is no private key");
    write(format!("{good}{}", good.lines().last().unwrap()));
    refused(&folder, ["vendor", "show", "--key", "v.key"], "is there twice");
    write("# nothing\n".into());
    refused(&folder, ["vendor", "show", "--key", "v.key"], "has no active key");
    refused(&folder, ["vendor", "show", "--key", "none.key"], "there is no key file");
}

#[test]
fn keys_are_added_retired_and_kept() {
    let folder = Folder::new();
    ok(&folder, ["vendor", "init", "acme.example", "--key", "v.key"]);
    let first = key_file(&folder).lines().last().unwrap().split('+').nth(3).unwrap().to_owned();
    refused(&folder, ["vendor", "retire", &first, "--key", "v.key"], "the only active key");
    ok(&folder, ["vendor", "rotate", "--key", "v.key"]);
    assert_eq!(key_file(&folder).lines().filter(|line| line.starts_with("PRIVATE+KEY+")).count(), 2);
    assert_eq!(fs::metadata(folder.path().join("v.key")).unwrap().permissions().mode() & 0o777, 0o600);
    refused(&folder, ["vendor", "retire", "00000000", "--key", "v.key"], "no active key has the id 00000000");
    refused(&folder, ["vendor", "retire", "old", "--key", "v.key"], "eight digits");
    ok(&folder, ["vendor", "retire", &first, "--key", "v.key"]);
    assert_eq!(key_file(&folder).lines().filter(|line| line.starts_with("PRIVATE+KEY+")).count(), 1);
    assert!(key_file(&folder).contains(&format!("retired PRIVATE+KEY+acme.example+{first}+")));
    assert!(!folder.path().join("v.key.new").exists());
}
