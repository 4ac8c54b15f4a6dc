//! The README's commands are run, in their order, in an empty folder, as one reader would type them.
//!
//! A block after the line `<!-- heavy -->` is run by `./test` instead. A command that ends in `&` is a server: the next one waits for it.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const HEAVY: &str = "<!-- heavy -->";

/// Commands of the `console` blocks: light ones and heavy ones.
fn commands(page: &str) -> (Vec<String>, Vec<String>) {
    let (mut light, mut heavy) = (Vec::new(), Vec::new());
    let mut before = "";
    let mut inside = None;
    for line in page.lines() {
        match inside {
            None if line.trim() == "```console" => inside = Some(before == HEAVY),
            None if !line.trim().is_empty() => before = line.trim(),
            Some(_) if line.trim() == "```" => {
                inside = None;
                before = "";
            }
            Some(is_heavy) => {
                if let Some(command) = line.strip_prefix("$ ") {
                    if is_heavy { &mut heavy } else { &mut light }.push(command.to_owned());
                }
            }
            None => {}
        }
    }
    (light, heavy)
}

/// The program, built beside this test. Built here only if nobody has: the tests of the workspace have.
fn program() -> PathBuf {
    let folder = std::env::current_exe().unwrap().parent().unwrap().parent().unwrap().to_owned();
    let program = folder.join("triquest-lm");
    if !program.is_file() {
        let status = Command::new("cargo").args(["build", "--locked", "--bin", "triquest-lm"]).current_dir(crate::root()).status().unwrap();
        assert!(status.success(), "triquest-lm does not build");
    }
    program
}

/// One shell script of all commands. A server is on a free port and ends with the script.
fn script(commands: &[String]) -> String {
    let mut script = String::from("set -eu\nserver=\ntrap 'if [ -n \"$server\" ]; then kill $server; wait $server || true; fi' EXIT\n");
    for command in commands {
        script += &format!("echo \"+ \"{}\n", quoted(command));
        match command.strip_suffix('&') {
            // What works on the checkout works in the checkout.
            None if command.starts_with("cargo ") => {
                script += &format!("(cd {} && {command})\n", quoted(&crate::root().display().to_string()))
            }
            // The server under test is on a port of its own.
            None => script += &format!("{}\n", command.replace("1588@localhost", "$port@localhost")),
            Some(server) => {
                script += &format!("{server} >server.log 2>&1 &\nserver=$!\n");
                // Ready is when an administrator's command is answered; a server that ended is noticed.
                script += "until triquest-lm status >/dev/null 2>&1; do kill -0 $server || { cat server.log; exit 1; }; read -r -t 0.05 <>waiting || true; done\n";
                script += "port=$(sed -n 's/.*\"127\\.0\\.0\\.1:\\([0-9]*\\)\".*/\\1/p' \"$TRIQUEST_LM_DATA/server.json\" | head -n 1)\n";
            }
        }
    }
    script
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[test]
fn every_command_of_the_readme_works() {
    let page = fs::read_to_string(crate::root().join("README.md")).unwrap();
    let (light, heavy) = commands(&page);
    assert!(light.len() > 8, "{light:?}");
    // What `./test` itself runs or is.
    assert_eq!(heavy, ["cargo run --release --locked -p triquest-lm -- quickstart", "./test"]);
    let folder = std::env::temp_dir().join(format!("triquest-readme-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("commands.sh"), script(&light)).unwrap();
    assert!(Command::new("mkfifo").arg(folder.join("waiting")).status().unwrap().success());
    let path = format!("{}:{}", program().parent().unwrap().display(), std::env::var("PATH").unwrap());
    let output = Command::new("bash")
        .arg("commands.sh")
        .current_dir(&folder)
        .env("PATH", path)
        .env("HOME", &folder)
        .env("CARGO_HOME", cargo_home())
        .env("RUSTUP_HOME", rustup_home())
        .env("TRIQUEST_LM_DATA", folder.join("data"))
        .env("TRIQUEST_LM_LISTEN", "127.0.0.1:0")
        .env("NO_COLOR", "1")
        .output()
        .unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let log = fs::read_to_string(folder.join("server.log")).unwrap_or_default();
    fs::remove_dir_all(&folder).unwrap();
    assert!(output.status.success(), "{said}\nserver:\n{log}");
}

fn home() -> PathBuf {
    std::env::home_dir().unwrap_or_else(|| Path::new("/").to_owned())
}

fn cargo_home() -> PathBuf {
    std::env::var_os("CARGO_HOME").map_or_else(|| home().join(".cargo"), PathBuf::from)
}

fn rustup_home() -> PathBuf {
    std::env::var_os("RUSTUP_HOME").map_or_else(|| home().join(".rustup"), PathBuf::from)
}

#[test]
fn blocks_of_other_kinds_are_no_commands() {
    let (light, heavy) = commands(
        "```\n$ no\n```\n\n```console\n$ one\noutput\n$ two\n```\n\n<!-- heavy -->\n```console\n$ three\n```\n\n```console\n$ four\n```\n",
    );
    assert_eq!((light, heavy), (vec!["one".into(), "two".into(), "four".into()], vec!["three".to_owned()]));
}
