//! Strangers can check our files: Go's own signed-note package does, without a line of ours.
#![allow(clippy::unwrap_used)]

mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use support::{acme, file, signer, text_signed_by};
use triquest_license::{Note, NoteSignature};

fn go(arguments: &[&str]) -> Output {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/go");
    match Command::new("go").args(["run", "."]).args(arguments).current_dir(folder).env("GOWORK", "off").output() {
        Ok(output) => output,
        Err(error) => panic!(
            "this test checks our files with Go's own package, and `go` does not start ({error}); install it: apt-get install golang-go"
        ),
    }
}

fn write(folder: &tempfile::TempDir, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn go_verifies_every_kind_of_file_that_we_emit() {
    let folder = tempfile::tempdir().unwrap();
    let acme_key = acme().verifier_key().to_string();

    let plain = write(&folder, "plain.lic", file().as_bytes());

    let next = signer("acme.example", 2);
    let keys = [acme().verifier_key().clone(), next.verifier_key().clone()];
    let rotated = Note::sign(&text_signed_by(&keys), &[acme(), next.clone()]).unwrap();
    let rotated = write(&folder, "rotated.lic", &rotated.to_file_bytes());
    let both = format!("{acme_key},{}", next.verifier_key());

    let unicode = support::text().replace("Initech GmbH", "Ünïtech 株式会社 — Łódź ✓");
    let mut witnessed = Note::sign(&unicode, &[acme()]).unwrap();
    let witness = signer("witness.example", 9);
    let signature = witness.key().sign(witnessed.text().as_bytes());
    witnessed.add_signature(NoteSignature::ed25519(witness.verifier_key(), signature)).unwrap();
    let witnessed_path = write(&folder, "witnessed.lic", &witnessed.to_file_bytes());

    let read = triquest_license::read_any(witnessed.to_line().as_bytes()).unwrap();
    let from_line = write(&folder, "from-line.lic", &read.to_file_bytes());

    let arguments: Vec<&str> = vec![
        plain.to_str().unwrap(),
        &acme_key,
        rotated.to_str().unwrap(),
        &both,
        rotated.to_str().unwrap(),
        &acme_key,
        witnessed_path.to_str().unwrap(),
        &acme_key,
        from_line.to_str().unwrap(),
        &acme_key,
    ];
    let output = go(&arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let rotated_text = text_signed_by(&keys).len();
    let expected = format!("1 {}\n2 {rotated_text}\n1 {rotated_text}\n1 {}\n1 {}\n", support::text().len(), unicode.len(), unicode.len());
    assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
}

#[test]
fn go_verifies_what_we_sign_in_every_script_that_we_permit() {
    let folder = tempfile::tempdir().unwrap();
    let key = acme().verifier_key().to_string();
    // Each sixteenth block of the Basic Multilingual Plane and beyond, as far as we take its characters.
    let mut files = Vec::new();
    for block in (0x00a1..0x2_0000u32).step_by(0x1000) {
        let characters: String = (block..block + 64).filter_map(char::from_u32).collect();
        let text = support::text().replace("Initech GmbH", &format!("Initech {characters}"));
        let Ok(note) = Note::sign(&text, &[acme()]) else { continue };
        let path = write(&folder, &format!("{block:x}.lic"), &note.to_file_bytes());
        files.push((path.to_str().unwrap().to_owned(), text.len()));
    }
    assert!(files.len() > 5, "too few scripts to say something: {}", files.len());
    let arguments: Vec<&str> = files.iter().flat_map(|(path, _)| [path.as_str(), key.as_str()]).collect();
    let output = go(&arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let expected: String = files.iter().map(|(_, length)| format!("1 {length}\n")).collect();
    assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
}

#[test]
fn go_refuses_a_changed_file_as_we_do() {
    let folder = tempfile::tempdir().unwrap();
    let changed = write(&folder, "changed.lic", file().replace("seats = 25", "seats = 250").as_bytes());
    let output = go(&[changed.to_str().unwrap(), &acme().verifier_key().to_string()]);
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("invalid signature"));
}
