//! Shell completions and manual pages under `contrib/` are those of the binary. `UPDATE=1 cargo test -p triquest-lm --test generated` writes them.
#![allow(clippy::unwrap_used)]

mod support;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use support::{Folder, triquest};

fn contrib(what: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../contrib").join(what)
}

/// Compares a folder with what it should hold, or writes it.
#[track_caller]
fn same(folder: &Path, wanted: &BTreeMap<String, String>) {
    if std::env::var_os("UPDATE").is_some() {
        let _ = fs::remove_dir_all(folder);
        fs::create_dir_all(folder).unwrap();
        for (name, text) in wanted {
            fs::write(folder.join(name), text).unwrap();
        }
    }
    let found: BTreeMap<String, String> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read_to_string(entry.path()).unwrap()))
        .collect();
    let stale: Vec<_> = wanted.keys().chain(found.keys()).filter(|name| wanted.get(*name) != found.get(*name)).collect();
    assert!(stale.is_empty(), "stale in {}: {stale:?}; renew with: UPDATE=1 cargo test -p triquest-lm --test generated", folder.display());
}

#[test]
fn the_completions_that_are_checked_in_are_those_of_the_binary() {
    let folder = Folder::new();
    let names = [
        ("bash", "triquest-lm.bash"),
        ("elvish", "triquest-lm.elv"),
        ("fish", "triquest-lm.fish"),
        ("powershell", "triquest-lm.ps1"),
        ("zsh", "_triquest-lm"),
    ];
    let wanted = names.map(|(shell, name)| (name.to_owned(), triquest(&folder, ["completions", shell]).run().ok().stdout));
    assert!(wanted.iter().all(|(_, text)| text.contains("quickstart")));
    same(&contrib("completions"), &BTreeMap::from(wanted));
}

#[test]
fn the_manual_pages_that_are_checked_in_are_those_of_the_binary() {
    let folder = Folder::new();
    triquest(&folder, ["man", "pages"]).run().expect(0, "", "       Wrote the manual pages into pages\n");
    let pages = fs::read_dir(folder.path().join("pages")).unwrap().map(|entry| entry.unwrap());
    let wanted: BTreeMap<_, _> =
        pages.map(|entry| (entry.file_name().into_string().unwrap(), fs::read_to_string(entry.path()).unwrap())).collect();
    assert!(wanted.contains_key("triquest-lm.1") && wanted.contains_key("triquest-lm-serve.1"));
    assert!(!wanted.keys().any(|name| name.contains("quickstart-client")), "hidden commands have no page");
    same(&contrib("man"), &wanted);
}
