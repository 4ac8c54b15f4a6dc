//! Licenses on the command line: drafted, signed, renewed, shown, verified, converted, by people and by build pipelines.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::process::Command;

use serde_json::{Value, json};
use support::{Folder, triquest};
use triquest_license::{
    CivilMs, LicenseTerms, Note, PublicKey, ServerKey, SigningKey, VendorName, VerifiedLicense, VerifierKey, read_any,
    request::ServerRequest,
};

fn server() -> ServerKey {
    ServerKey::new(*SigningKey::from_seed([7; 32]).public())
}

/// A folder with the vendor's key in v.key and a filled draft in draft.toml.
fn vendor() -> Folder {
    let folder = Folder::new();
    ok(&folder, ["vendor", "init", "acme.example", "--key", "v.key"]);
    let servers = format!("servers={}", server());
    let run = triquest(
        &folder,
        [
            "license",
            "new",
            "--id",
            "ACME-1",
            "--set",
            "licensee=Initech GmbH",
            "--set",
            &servers,
            "--set",
            "entitlement.cad-pro.seats=25",
            "--set",
            "entitlement.cad-pro.expires=2090-12-31",
            "-o",
            "draft.toml",
        ],
    )
    .run();
    assert_eq!(run.code, 0, "{}", run.stderr);
    folder
}

/// The same with the signed license in a.lic.
fn signed() -> Folder {
    let folder = vendor();
    ok(&folder, ["license", "sign", "draft.toml", "--key", "v.key", "-o", "a.lic"]);
    folder
}

fn read(folder: &Folder, name: &str) -> String {
    fs::read_to_string(folder.path().join(name)).unwrap()
}

fn write(folder: &Folder, name: &str, bytes: impl AsRef<[u8]>) {
    fs::write(folder.path().join(name), bytes).unwrap();
}

fn note(folder: &Folder, name: &str) -> Note {
    read_any(read(folder, name).as_bytes()).unwrap()
}

fn terms(folder: &Folder, name: &str) -> LicenseTerms {
    VerifiedLicense::verify_named(&note(folder, name)).unwrap().terms().clone()
}

/// The verifier key on the first place of a license; what a program prints of it is blanked by the tests' support.
fn key_in(folder: &Folder, name: &str) -> String {
    terms(folder, name).verifier[0].to_string()
}

#[track_caller]
fn ok<const N: usize>(folder: &Folder, arguments: [&str; N]) -> String {
    let run = triquest(folder, arguments).run();
    assert_eq!(run.code, 0, "{arguments:?}: {}", run.stderr);
    run.stdout
}

#[track_caller]
fn refused<const N: usize>(folder: &Folder, arguments: [&str; N], message: &str) {
    let run = triquest(folder, arguments).run();
    assert_eq!(run.code, 1, "{arguments:?} must be refused: {}{}", run.stdout, run.stderr);
    assert!(run.stderr.contains(message), "{arguments:?}: {}", run.stderr);
}

#[test]
fn a_draft_is_signed_and_says_what_it_grants() {
    let folder = vendor();
    let run = triquest(&folder, ["license", "sign", "draft.toml", "--key", "v.key", "-o", "a.lic"]).run();
    assert_eq!(run.code, 0);
    assert!(run.stderr.contains("Signed ACME-1 for Initech GmbH: cad-pro, 25 seats, until 2090-12-31"), "{}", run.stderr);
    let terms = terms(&folder, "a.lic");
    assert!(terms.servers.include(&server()));
    let shown = ok(&folder, ["license", "show", "a.lic"]);
    for part in ["ACME-1  acme.example for Initech GmbH", "good: acme.example+", "cad-pro", "2090-12-31", "state      runs"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
}

#[test]
fn the_comments_of_a_draft_name_options_that_there_are() {
    let draft = ok(&vendor(), ["license", "new"]);
    assert!(draft.contains("`triquest-lm license sign --server-request FILE`"), "{draft}");
}

#[test]
fn what_people_see() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = Folder::new();
    let signer = triquest_license::Signer::new(VendorName::new("acme.example").unwrap(), SigningKey::from_seed([1; 32]));
    write(&folder, "v.key", format!("{}\n", signer.to_private_text()));
    fs::set_permissions(folder.path().join("v.key"), fs::Permissions::from_mode(0o600)).unwrap();
    write(
        &folder,
        "draft.toml",
        format!(
            "license = \"ACME-2\"\nlicensee = \"Initech GmbH\"\nservers = [\"{}\"]\nreplaces = [\"ACME-1\"]\n\
             [[entitlement]]\nfeature = \"cad-pro\"\nversion = \"13.4\"\nseats = 30\nstarts = 2090-01-01\nexpires = 2090-12-31\n\
             borrow = \"14d\"\ngrace = \"15min\"\n[[entitlement]]\nfeature = \"cad-sim\"\nseats = 1\n",
            server()
        ),
    );
    let sign = triquest(&folder, ["license", "sign", "draft.toml", "--key", "v.key", "-o", "a.lic"]).run();
    sign.expect(0, "", "      Signed ACME-2 for Initech GmbH: cad-pro, 30 seats, until [DATE]; cad-sim, 1 seat\n");
    triquest(&folder, ["license", "show", "a.lic"]).run().expect(
        0,
        "ACME-2  acme.example for Initech GmbH, issued [DATE]\n\
         signed     good: acme.example+94ab9541\n\
         served by  [KEY]\n\
         replaces   ACME-1\n\
         FEATURE  UP TO VERSION  SEATS  FROM        LAST DAY    TERMS\n\
         cad-pro  13.4              30  [DATE]  [DATE]  borrow 14d, grace 15min\n\
         cad-sim  any                1  -           never ends  -\n\
         state      1 of 2 entitlements run, without end\n",
        "",
    );
    write(&folder, "bad.toml", read(&folder, "draft.toml").replace("seats = 30", "seat = 30"));
    triquest(&folder, ["license", "sign", "bad.toml", "--key", "v.key"]).run().expect(
        1,
        "",
        "error: bad.toml: line 8, column 1: the key `seat` is unknown in this entitlement\nhint: did you mean `seats`?\n",
    );
}

#[test]
fn a_file_a_line_and_standard_input_are_one_license_to_every_command() {
    let folder = signed();
    ok(&folder, ["license", "convert", "a.lic", "--to", "line", "-o", "a.line"]);
    let line = read(&folder, "a.line");
    assert!(line.starts_with("tql1.") && line.lines().count() == 1);
    ok(&folder, ["license", "convert", "a.line", "--to", "file", "-o", "b.lic"]);
    assert_eq!(read(&folder, "a.lic"), read(&folder, "b.lic"));
    let key = key_in(&folder, "a.lic");
    for given in ["a.lic", "a.line", line.trim(), "-"] {
        for arguments in [
            vec!["license", "show", given, "--json"],
            vec!["license", "verify", given, "--verifier-key", &key],
            vec!["license", "convert", given, "--to", "line"],
            vec!["license", "renew", given, "--until", "2091-12-31", "--key", "v.key"],
        ] {
            let run = triquest(&folder, arguments.clone()).input(line.as_bytes()).run();
            assert_eq!(run.code, 0, "{arguments:?}: {}", run.stderr);
        }
    }
}

#[test]
fn a_build_pipeline_signs_json_from_standard_input() {
    let folder = vendor();
    let order = json!({
        "license": "WEB-4711", "licensee": "Initech GmbH", "servers": [server().to_string()],
        "entitlements": [{"feature": "cad-pro", "seats": 3, "version": "12.4", "expires": "2090-12-31", "grace": "15min"}],
    });
    let run =
        triquest(&folder, ["license", "sign", "-", "--key", "v.key", "--json", "-o", "web.lic"]).input(order.to_string().as_bytes()).run();
    assert_eq!(run.code, 0, "{}", run.stderr);
    let answer: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(answer["license"], "WEB-4711");
    assert_eq!(answer["entitlements"][0]["grace_ms"], 900_000);
    assert_eq!(answer["entitlements"][0]["expires_at"], "2091-01-01T12:00:00Z");
    assert!(answer["line"].as_str().unwrap().starts_with("tql1."));
    assert_eq!(terms(&folder, "web.lic").entitlements[0].seats, 3);

    write(&folder, "order.json", order.to_string().replace("\"seats\":3", "\"seats\":3,\"seats\":4"));
    refused(&folder, ["license", "sign", "order.json", "--key", "v.key"], "order.json: line 1, column");
    refused(&folder, ["license", "new", "--from-json", "order.json"], "duplicate field `seats`");
}

#[test]
fn a_template_keeps_its_comments_and_takes_values() {
    let folder = vendor();
    write(&folder, "template.toml", read(&folder, "draft.toml").replace("seats = 25", "seats = 25 # ask sales"));
    ok(&folder, ["license", "new", "--template", "template.toml", "--id", "ACME-2", "--set", "entitlement[0].seats=7", "-o", "next.toml"]);
    let draft = read(&folder, "next.toml");
    assert!(draft.contains("seats = 7 # ask sales\n") && draft.contains("license = \"ACME-2\"\n"), "{draft}");
    refused(&folder, ["license", "new", "--template", "template.toml", "--set", "seats=7"], "a license has no such key");
    for (place, near) in [
        ("entitlement.expiers", "entitlement.expires"),
        ("entitlement.cad-pro.seat", "entitlement.cad-pro.seats"),
        ("licensees", "licensee"),
    ] {
        let set = format!("{place}=2");
        refused(&folder, ["license", "new", "--template", "template.toml", "--set", &set], &format!("hint: did you mean `{near}`?"));
    }
    refused(
        &folder,
        ["license", "new", "--template", "template.toml", "--set", "entitlement.cad-por.seats=7"],
        "no entitlement for `cad-por`",
    );
}

#[test]
fn a_signed_license_is_a_template_for_another_one() {
    let folder = signed();
    let run = triquest(&folder, ["license", "new", "--template", "a.lic", "-o", "next.toml"]).run().ok();
    assert!(run.stderr.contains("hint: fill it in, then: triquest-lm license sign next.toml"), "{}", run.stderr);
    let draft = read(&folder, "next.toml");
    assert!(draft.contains("license = \"\"\n") && draft.contains("seats = 25\n") && !draft.contains('\u{2014}'), "{draft}");
    ok(&folder, ["license", "sign", "next.toml", "--set", "license=ACME-7", "--key", "v.key", "-o", "b.lic"]);
    assert_eq!(terms(&folder, "b.lic").entitlements, terms(&folder, "a.lic").entitlements);
}

#[test]
fn only_a_draft_with_gaps_has_to_be_filled_in() {
    let folder = signed();
    for (id, hint) in [(None, "hint: fill it in, then: triquest-lm license sign"), (Some("ACME-8"), "hint: triquest-lm license sign")] {
        let output = format!("{}.toml", id.unwrap_or("none"));
        let mut arguments = vec!["license", "new", "--template", "a.lic", "-o", &output];
        arguments.extend(id.into_iter().flat_map(|id| ["--id", id]));
        let run = triquest(&folder, arguments).run().ok();
        assert!(run.stderr.contains(hint), "{}", run.stderr);
    }
}

#[test]
fn a_draft_that_could_never_be_served_is_refused_and_says_why() {
    let folder = vendor();
    let draft = read(&folder, "draft.toml");
    let cases = [
        ("expires = 2090-12-31", "expires = 2020-12-31", "has ended already"),
        ("seats = 25", "seats = 0", "`seats` is 0"),
        ("seats = 25", "seats = 25\nstarts = 2091-06-01", "ends before it starts"),
        ("[[entitlement]]\n", "# [[entitlement]]\n", "is unknown in this license"),
        ("\"Initech GmbH\"", "\"\"", "the licensee is empty"),
        ("tqs1:", "tqs1:0", "another length"),
    ];
    for (from, to, message) in cases {
        assert!(draft.contains(from), "{from}");
        write(&folder, "bad.toml", draft.replace(from, to));
        refused(&folder, ["license", "sign", "bad.toml", "--key", "v.key"], message);
        refused(&folder, ["license", "sign", "bad.toml", "--key", "v.key"], "bad.toml: line ");
    }
    refused(
        &folder,
        ["license", "sign", "draft.toml", "--set", "servers=any", "--key", "v.key"],
        "everybody who has the file could serve it",
    );
    ok(&folder, ["license", "sign", "draft.toml", "--set", "servers=any", "--any-server", "--key", "v.key"]);
    let other = ServerKey::new(*SigningKey::from_seed([8; 32]).public());
    let two = format!("servers={},{other}", server());
    refused(&folder, ["license", "sign", "draft.toml", "--set", &two, "--key", "v.key"], "2 times the seats");
    ok(&folder, ["license", "sign", "draft.toml", "--set", &two, "--each-server-counts", "--key", "v.key"]);
}

#[test]
fn malformed_licenses_are_refused_with_line_and_column() {
    let folder = signed();
    let good = read(&folder, "a.lic");
    let cases = [
        (good.replace('\n', "\r\n"), "a.bad: line 1, column 34: a carriage return (Windows line ends, CRLF)"),
        (good.replace("seats = 25", "seats =\t25"), "column 8: a tab"),
        (format!("\u{feff}{good}"), "line 1, column 1: a byte order mark"),
        (good.replace('\u{2014}', "\u{2013}"), "an en dash, where an em dash"),
        (good.trim_end().to_owned(), "does not end with a newline"),
        (good.replace("seats = 25", "seats = 0x19"), "hexadecimal"),
        (good.replace("Initech", "Init\u{202e}ech"), "changes the direction of the text (U+202E)"),
        (good.replace("Initech", "Init\u{1b}]0;ech"), "a control character (U+001B)"),
    ];
    for (text, message) in cases {
        write(&folder, "a.bad", text);
        refused(&folder, ["license", "show", "a.bad"], message);
        let run = triquest(&folder, ["license", "show", "a.bad"]).run();
        assert!(run.stderr.bytes().all(|byte| byte == b'\n' || !byte.is_ascii_control()), "{:?}", run.stderr);
    }
    refused(&folder, ["license", "show", "draft.toml"], "there is no signature under this text");
    refused(&folder, ["license", "show", "missing.lic"], "cannot read missing.lic");
}

#[test]
fn an_old_and_a_new_application_accept_the_same_file_after_rotation() {
    let folder = signed();
    let old = key_in(&folder, "a.lic");
    ok(&folder, ["vendor", "rotate", "--key", "v.key"]);
    ok(&folder, ["license", "sign", "draft.toml", "--key", "v.key", "-o", "both.lic"]);
    let keys = terms(&folder, "both.lic").verifier.clone();
    assert_eq!(keys.len(), 2);
    assert_eq!(keys[0].to_string(), old);
    // The old application knows the first key, the new one the second, a third knows both.
    for known in [keys[0].to_string(), keys[1].to_string(), keys.to_string()] {
        ok(&folder, ["license", "verify", "both.lic", "--verifier-key", &known]);
    }
    // Before rotation, only the old one accepts.
    refused(&folder, ["license", "verify", "a.lic", "--verifier-key", &keys[1].to_string()], "not signed by any of the verifier keys");
    // After the old key has been retired, what it signed can still be renewed.
    let id = format!("{:08x}", keys[0].id());
    ok(&folder, ["vendor", "retire", &id, "--key", "v.key"]);
    ok(&folder, ["license", "renew", "a.lic", "--until", "2091-12-31", "--key", "v.key", "-o", "next.lic"]);
    assert_eq!(terms(&folder, "next.lic").verifier.as_slice(), &keys[1..]);
}

#[test]
fn a_successor_replaces_the_old_license_and_only_ours_is_followed() {
    let folder = signed();
    ok(&folder, ["license", "renew", "a.lic", "--until", "2091-12-31", "--key", "v.key", "-o", "b.lic"]);
    let next = terms(&folder, "b.lic");
    assert_eq!((next.license.as_str(), next.replaces[0].as_str()), ("ACME-1-r2", "ACME-1"));
    assert_eq!(next.entitlements[0].expires_written.unwrap().to_string(), "2091-12-31");
    ok(
        &folder,
        ["license", "renew", "b.lic", "--until", "2092-12-31", "--set", "entitlement.cad-pro.seats=30", "--key", "v.key", "-o", "c.lic"],
    );
    let next = terms(&folder, "c.lic");
    assert_eq!((next.license.as_str(), next.entitlements[0].seats), ("ACME-1-r3", 30));
    refused(&folder, ["license", "renew", "a.lic", "--until", "2089-12-31", "--key", "v.key"], "no later than the end");
    // A customer sends a license with more seats, or one that they signed themselves.
    write(&folder, "more.lic", read(&folder, "a.lic").replace("seats = 25", "seats = 1000"));
    refused(&folder, ["license", "renew", "more.lic", "--until", "2091-12-31", "--key", "v.key"], "does not verify");
    ok(&folder, ["vendor", "init", "acme.example", "--key", "thief.key"]);
    ok(&folder, ["license", "sign", "draft.toml", "--set", "entitlement.cad-pro.seats=1000", "--key", "thief.key", "-o", "thief.lic"]);
    refused(
        &folder,
        ["license", "renew", "thief.lic", "--until", "2091-12-31", "--key", "v.key"],
        "not signed by any of the verifier keys",
    );
}

/// An Ed25519 key that only openssl has, as a key service would; its verifier key.
fn openssl_key(folder: &Folder) -> VerifierKey {
    let run = |arguments: &[&str]| {
        let output = Command::new("openssl").args(arguments).current_dir(folder.path()).output();
        let output = output.unwrap_or_else(|cause| panic!("openssl does not start ({cause}); install it: apt-get install openssl"));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    run(&["genpkey", "-algorithm", "ed25519", "-out", "service.pem"]);
    let der = run(&["pkey", "-in", "service.pem", "-pubout", "-outform", "DER"]);
    VerifierKey::new(VendorName::new("acme.example").unwrap(), PublicKey::parse(&der[der.len() - 32..]).unwrap())
}

#[test]
fn a_key_service_signs_through_a_command() {
    let folder = vendor();
    let key = openssl_key(&folder).to_string();
    let sign = "cat > text && openssl pkeyutl -sign -rawin -in text -inkey service.pem";
    ok(&folder, ["license", "sign", "draft.toml", "--signer", sign, "--verifier-key", &key, "-o", "raw.lic"]);
    let base64 = format!("{sign} | openssl base64");
    ok(&folder, ["license", "sign", "draft.toml", "--signer", &base64, "--verifier-key", &key, "-o", "base64.lic"]);
    assert_eq!(read(&folder, "raw.lic"), read(&folder, "base64.lic"));
    assert_eq!(key_in(&folder, "raw.lic"), key);
    ok(&folder, ["license", "verify", "raw.lic", "--verifier-key", &key]);
    let bad = |command: &str, message: &str| {
        refused(&folder, ["license", "sign", "draft.toml", "--signer", command, "--verifier-key", &key], message);
    };
    bad("false", "the signing command failed: exit status: 1");
    bad("echo hello", "is no Ed25519 signature");
    bad("head -c 64 /dev/zero", "signed something else, or with another key");
    bad("yes", "is no Ed25519 signature");
}

#[test]
fn a_machine_without_network_signs_a_prepared_text() {
    let folder = vendor();
    let key = openssl_key(&folder).to_string();
    ok(&folder, ["license", "sign", "draft.toml", "--prepare", "--verifier-key", &key, "-o", "text"]);
    assert!(read(&folder, "text").starts_with(LicenseTerms::FIRST_LINE));
    let status = Command::new("openssl")
        .args(["pkeyutl", "-sign", "-rawin", "-in", "text", "-inkey", "service.pem", "-out", "signature"])
        .current_dir(folder.path())
        .status();
    assert!(status.unwrap().success());
    ok(&folder, ["license", "sign", "text", "--attach", "signature", "-o", "a.lic"]);
    ok(&folder, ["license", "verify", "a.lic", "--verifier-key", &key]);
    write(&folder, "bad", [1; 64]);
    refused(&folder, ["license", "sign", "text", "--attach", "bad"], "bad is no signature of this text by any of its keys");
    write(&folder, "short", "hello");
    refused(&folder, ["license", "sign", "text", "--attach", "short"], "is no Ed25519 signature");
    refused(&folder, ["license", "sign", "draft.toml", "--attach", "signature"], "draft.toml: line ");
    // Changed after signing: the last newline, say.
    write(&folder, "changed", read(&folder, "text").replace("seats = 25", "seats = 26"));
    refused(&folder, ["license", "sign", "changed", "--attach", "signature"], "signature is no signature of this text");
}

#[test]
fn two_keys_in_two_places_sign_one_text() {
    let folder = vendor();
    ok(&folder, ["license", "sign", "draft.toml", "--key", "v.key", "-o", "first.lic"]);
    ok(&folder, ["vendor", "init", "acme.example", "--key", "other.key"]);
    ok(&folder, ["license", "sign", "draft.toml", "--key", "other.key", "-o", "second.lic"]);
    let both = format!("{},{}", key_in(&folder, "first.lic"), key_in(&folder, "second.lic"));
    ok(&folder, ["license", "sign", "draft.toml", "--prepare", "--verifier-key", &both, "-o", "text"]);
    // The first signs the prepared text through a command, and the second adds its line.
    let keys = read(&folder, "v.key");
    let signer = triquest_license::Signer::from_private_text(keys.lines().last().unwrap()).unwrap();
    write(&folder, "signature", signer.key().sign(read(&folder, "text").as_bytes()));
    let run = triquest(&folder, ["license", "sign", "text", "--attach", "signature", "-o", "half.lic"]).run();
    assert!(run.code == 0 && run.stderr.contains("not complete"), "{}", run.stderr);
    let run = triquest(&folder, ["license", "show", "half.lic"]).run();
    assert!(run.code == 1 && run.stdout.contains("missing: acme.example+"), "{}", run.stdout);
    ok(&folder, ["license", "sign", "half.lic", "--key", "other.key", "-o", "whole.lic"]);
    assert_eq!(terms(&folder, "whole.lic").verifier.to_string(), both);
    refused(&folder, ["license", "sign", "whole.lic", "--key", "other.key"], "is signed already");
}

#[test]
fn a_text_that_names_two_keys_is_signed_where_each_of_them_is_and_no_other_key_is_added() {
    let folder = vendor();
    ok(&folder, ["vendor", "init", "acme.example", "--key", "new.key"]);
    ok(&folder, ["vendor", "init", "acme.example", "--key", "third.key"]);
    ok(&folder, ["license", "sign", "draft.toml", "--key", "v.key", "-o", "old.lic"]);
    ok(&folder, ["license", "sign", "draft.toml", "--key", "new.key", "-o", "new.lic"]);
    let (old, new) = (key_in(&folder, "old.lic"), key_in(&folder, "new.lic"));
    let both = format!("{old},{new}");
    let run = triquest(&folder, ["license", "sign", "draft.toml", "--key", "v.key", "--verifier-key", &both, "-o", "half.lic"]).run().ok();
    assert!(run.stderr.contains("not complete: servers refuse it without the signature by "), "{}", run.stderr);
    assert_eq!(LicenseTerms::parse(note(&folder, "half.lic").text()).unwrap().verifier.len(), 2);
    refused(&folder, ["license", "sign", "half.lic", "--key", "third.key"], "the key that has not signed half.lic is not here");
    refused(&folder, ["license", "sign", "half.lic", "--key", "v.key"], "the key that has not signed half.lic is not here");
    let run = triquest(&folder, ["license", "sign", "half.lic", "--key", "new.key", "-o", "whole.lic"]).run().ok();
    assert!(!run.stderr.contains("not complete"), "{}", run.stderr);
    for key in [&old, &new] {
        ok(&folder, ["license", "verify", "whole.lic", "--verifier-key", key]);
    }
    // Nothing is taken and not used.
    refused(&folder, ["license", "sign", "old.lic", "--key", "new.key"], "its text does not name acme.example+");
    ok(&folder, ["license", "sign", "draft.toml", "--key", "third.key", "-o", "third.lic"]);
    let third = key_in(&folder, "third.lic");
    refused(
        &folder,
        ["license", "sign", "half.lic", "--key", "third.key", "--verifier-key", &third],
        "its text does not name acme.example+",
    );
    let third = triquest(&folder, ["license", "sign", "draft.toml", "--key", "third.key", "--verifier-key", &both]).run();
    assert!(
        third.code == 2 && third.stderr.contains("none of the keys of --verifier-key is an active key of third.key"),
        "{}",
        third.stderr
    );
    let attached = triquest(&folder, ["license", "sign", "half.lic", "--attach", "x", "--verifier-key", &both]).run();
    assert!(attached.code == 2 && attached.stderr.contains("cannot be used with"), "{}", attached.stderr);
}

#[test]
fn a_servers_request_puts_its_key_into_the_license() {
    let folder = vendor();
    let key = SigningKey::from_seed([9; 32]);
    let request = ServerRequest {
        server_key: ServerKey::new(*key.public()),
        host: "tqlic01".into(),
        made_at: CivilMs(1_795_000_000_000),
        software: "triquest-lm 0.1.0".into(),
    };
    write(&folder, "request.txt", format!("Hello,\n\n{}\nbye\n", request.to_text(&key)));
    ok(&folder, ["license", "sign", "draft.toml", "--server-request", "request.txt", "--key", "v.key", "-o", "a.lic"]);
    assert!(terms(&folder, "a.lic").servers.include(&request.server_key));
    write(&folder, "thief.txt", request.to_text(&SigningKey::from_seed([10; 32])));
    refused(
        &folder,
        ["license", "sign", "draft.toml", "--server-request", "thief.txt", "--key", "v.key"],
        "not signed by the server key that it names",
    );
    let run = triquest(&folder, ["license", "show", "request.txt"]).run();
    assert!(run.code == 1 && run.stderr.contains("it is a server's request"), "{}", run.stderr);
}

#[test]
fn a_license_is_verified_against_its_vendors_keys() {
    let folder = signed();
    let key = key_in(&folder, "a.lic");
    let run = triquest(&folder, ["license", "verify", "a.lic"]).env("TRIQUEST_LM_VERIFIER_KEY", &key).run();
    assert!(run.code == 0 && run.stderr.contains("Verified ACME-1"), "{}", run.stderr);
    let run = triquest(&folder, ["license", "verify", "a.lic", "--verifier-key", "nonsense"]).run();
    assert!(run.code == 2 && run.stderr.contains("a verifier key has the form"), "{}", run.stderr);
    let server = server().to_string();
    ok(&folder, ["license", "verify", "a.lic", "--verifier-key", &key, "--server", &server]);
    let other = ServerKey::new(*SigningKey::from_seed([8; 32]).public()).to_string();
    refused(&folder, ["license", "verify", "a.lic", "--verifier-key", &key, "--server", &other], "is not among its servers");
    write(&folder, "changed.lic", read(&folder, "a.lic").replace("seats = 25", "seats = 26"));
    let run = triquest(&folder, ["license", "verify", "changed.lic", "--verifier-key", &key, "--json"]).run();
    assert_eq!(run.code, 1);
    let answer: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(answer["verified"], false);
    assert!(answer["reason"].as_str().unwrap().contains("does not verify"));
    let run = triquest(&folder, ["license", "show", "changed.lic"]).run();
    assert!(run.code == 1 && run.stdout.contains("bad: acme.example+"), "{}", run.stdout);
}

#[test]
fn a_file_of_verifier_keys_is_read_and_its_faults_are_named_with_file_and_line() {
    let folder = signed();
    let key = key_in(&folder, "a.lic");
    write(&folder, "keys.txt", format!("# acme\n\n{key}  # since 2026\n"));
    ok(&folder, ["license", "verify", "a.lic", "--verifier-key", "keys.txt"]);
    write(&folder, "bad.txt", format!("# acme\n{key}\nacme.example+00000000+AAAA\n"));
    let private = read(&folder, "v.key");
    for (given, says) in [
        ("bad.txt", "bad.txt, line 3: "),
        ("missing.txt", "there is no file missing.txt"),
        ("v.key", "v.key, line 2: this is a private key"),
    ] {
        for command in [&["license", "verify", "a.lic"][..], &["run", "--feature", "cad-pro", "--server", "localhost"][..]] {
            let mut arguments = [command, &["--verifier-key", given]].concat();
            if command[0] == "run" {
                arguments.extend(["--", "true"]);
            }
            let run = triquest(&folder, arguments.clone()).run();
            assert!(run.code == 2 && run.stderr.contains(says) && run.stderr.contains("hint: "), "{arguments:?}: {}", run.stderr);
            assert!(private.lines().all(|line| line.starts_with('#') || !run.stderr.contains(line)), "a secret is never shown");
        }
    }
    let run = triquest(&folder, ["license", "verify", "a.lic"]).run();
    assert!(run.code == 2 && run.stderr.contains("TRIQUEST_LM_VERIFIER_KEY"), "{}", run.stderr);
}

#[test]
fn a_file_that_is_there_is_never_overwritten() {
    let folder = signed();
    let before = read(&folder, "a.lic");
    refused(&folder, ["license", "sign", "draft.toml", "--set", "license=ACME-9", "--key", "v.key", "-o", "a.lic"], "is there already");
    refused(&folder, ["license", "convert", "a.lic", "--to", "line", "-o", "a.lic"], "is there already");
    assert_eq!(read(&folder, "a.lic"), before);
}

#[test]
fn what_cannot_be_written_is_no_success_and_a_reader_who_left_is_no_failure() {
    use std::process::Stdio;
    let folder = signed();
    let start = |arguments: &[&str], stdout: Stdio| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_triquest-lm"));
        command.args(arguments).current_dir(folder.path()).env_clear().stdout(stdout).stderr(Stdio::piped());
        command.spawn().unwrap()
    };
    for arguments in [
        &["license", "sign", "draft.toml", "--key", "v.key"][..],
        &["license", "convert", "a.lic", "--to", "line"],
        &["license", "show", "a.lic"],
        &["license", "show", "a.lic", "--json"],
        &["vendor", "show", "--key", "v.key"],
    ] {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = start(arguments, full.into()).wait_with_output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {stderr}");
        assert!(stderr.contains("error: cannot write to standard output") && !stderr.contains("Signed"), "{arguments:?}: {stderr}");
        let (read, write) = std::io::pipe().unwrap();
        drop(read);
        let output = start(arguments, write.into()).wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn show_and_verify_agree_with_servers_about_missing_and_bad_signatures() {
    let folder = signed();
    ok(&folder, ["vendor", "rotate", "--key", "v.key"]);
    ok(&folder, ["license", "sign", "draft.toml", "--key", "v.key", "-o", "two.lic"]);
    let keys: Vec<String> = terms(&folder, "two.lic").verifier.iter().map(ToString::to_string).collect();
    assert_eq!(keys.len(), 2, "the old and the new key sign");
    let whole = read(&folder, "two.lic");
    ok(&folder, ["license", "verify", "two.lic", "--verifier-key", &keys[0]]);

    write(&folder, "half.lic", whole.trim_end().rsplit_once('\n').map(|(file, _)| format!("{file}\n")).unwrap());
    let signer = keys.iter().find(|key| note(&folder, "half.lic").bears(&key.parse().unwrap())).unwrap();
    let message = "applications with this key would take it, but no server does: no signature by acme.example+";
    refused(&folder, ["license", "verify", "half.lic", "--verifier-key", signer], message);
    let json = triquest(&folder, ["license", "verify", "half.lic", "--verifier-key", signer, "--json"]).run();
    let answer: Value = serde_json::from_str(&json.stdout).unwrap();
    assert!(json.code == 1 && answer["verified"] == false && answer["reason"].as_str().unwrap().contains(message), "{answer}");
    refused(&folder, ["license", "show", "half.lic"], "no server takes it, though an application with a key that signed would");

    write(&folder, "edited.lic", whole.replace("seats = 25", "seats = 9999"));
    let shown = triquest(&folder, ["license", "show", "edited.lic"]).run();
    assert!(shown.code == 1 && shown.stdout.contains("state      not in force anywhere"), "{}", shown.stdout);
    assert!(shown.stderr.contains("no server and no application takes it"), "{}", shown.stderr);
    let shown: Value = serde_json::from_str(&triquest(&folder, ["license", "show", "edited.lic", "--json"]).run().stdout).unwrap();
    assert_eq!(shown["entitlements"][0]["runs_now"], false);
}

#[test]
fn a_draft_takes_no_value_that_a_license_could_not_have() {
    let folder = vendor();
    let new = |sets: &[&str]| {
        let sets = sets.iter().flat_map(|set| ["--set", set]);
        triquest(&folder, ["license", "new", "-o", "new.toml", "--set", "entitlement.cad.seats=3"].into_iter().chain(sets)).run()
    };
    for (set, place, allowed) in [
        ("entitlement.cad.grace=never", "entitlement.cad.grace", "15min"),
        ("entitlement.cad.ttl=1s", "entitlement.cad.ttl", "it must be 10s to 1d"),
        ("entitlement.cad.ttl=2h", "entitlement.cad.ttl", "write a larger ttl_max"),
        ("entitlement.cad.borrow=9mo", "entitlement.cad.borrow", "use days"),
        ("entitlement.cad.version=new", "entitlement.cad.version", "12.4"),
        ("entitlement.cad.seats=0", "entitlement.cad.seats", "at least one seat"),
        ("entitlement.cad.expires=2020-12-31", "entitlement.cad.expires", "write a later date"),
        ("entitlement.cad.feature=c a d", "entitlement[0].feature", ""),
        ("servers=here", "servers", "triquest-lm server id"),
        ("license=a b", "license", ""),
        ("replaces=a/b", "replaces", ""),
        ("vendor=ac me", "vendor", "are allowed"),
        ("verifier=key", "verifier", ""),
    ] {
        let run = new(&[set]);
        assert_eq!(run.code, 1, "{set}: {}", run.stderr);
        assert!(run.stderr.starts_with(&format!("error: the draft: `{place}`: ")) && run.stderr.contains(allowed), "{set}: {}", run.stderr);
        assert!(!folder.path().join("new.toml").exists(), "{set}");
    }
    // What is only empty yet is no fault, and what goes together is looked at together.
    new(&["entitlement.cad.ttl=2h", "entitlement.cad.ttl_max=3h"]).ok();
    let json = r#"{"entitlement": [{"feature": "cad", "seats": 3}, {"feature": "cad", "seats": 1, "grace": "never"}]}"#;
    write(&folder, "order.json", json);
    refused(&folder, ["license", "new", "--from-json", "order.json"], "the draft: `entitlement[1].grace`: ");
    write(&folder, "template.toml", "licensee = \"x\"\n[[entitlement]]\nfeature = \"cad\"\nseats = 1\nlinger = \"soon\"\n");
    refused(&folder, ["license", "new", "--template", "template.toml"], "the draft: `entitlement.cad.linger`: ");
}
