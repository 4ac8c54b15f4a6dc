//! Licenses with words: what a reader of this version makes of a license of the next one, and how the next one's tools write it.
#![allow(clippy::unwrap_used)]

mod support;

use support::{acme, text};
use triquest_license::words::{Binds, Registered};
use triquest_license::{
    LicenseError, LicenseTerms, Note, Reader, Role, VerifiedLicense, VerifierKeys, Vocabulary, Word,
    draft::{self, Prepare},
};

/// The registry of an invented next version.
const TOMORROW: &[Registered] = &[
    Registered { word: "1.0", since: "1.0", binds: Binds::Everyone, includes: &[], key: None, what: "version 1" },
    Registered { word: "token-rate", since: "1.1", binds: Binds::Everyone, includes: &[], key: Some("token_rate"), what: "tokens" },
    Registered { word: "weekly-cap", since: "1.1", binds: Binds::Servers, includes: &[], key: Some("weekly_cap"), what: "a cap" },
    Registered {
        word: "1.1",
        since: "1.1",
        binds: Binds::Everyone,
        includes: &["1.0", "token-rate", "weekly-cap"],
        key: None,
        what: "1.1",
    },
];

/// Three entitlements: one that everybody understands, one that needs a new word of everybody, one that needs one of servers only.
fn next_version() -> String {
    text()
        + "\n[[entitlement]]\nfeature = \"mesh\"\nseats = 7\ntoken_rate = [3, \"per hour\"]\nneeds = [\"token-rate\"]\n"
        + "\n[[entitlement]]\nfeature = \"solve\"\nseats = 9\nweekly_cap = 40\nneeds = [\"server.weekly-cap\"]\n"
        + "\n[info]\nx-3 = \"\"\ncolor = [\"red\", \"green\"]\n"
}

fn note(text: &str) -> Note {
    // Not by our own signing, which would refuse what a next version signs.
    Note::assemble(text, vec![triquest_license::NoteSignature::ed25519(acme().verifier_key(), acme().key().sign(text.as_bytes()))]).unwrap()
}

fn as_server(text: &str) -> Result<VerifiedLicense, LicenseError> {
    VerifiedLicense::verify_named(&note(text))
}

fn as_application(text: &str) -> Result<VerifiedLicense, LicenseError> {
    VerifiedLicense::verify(&note(text), &[acme().verifier_key().clone()])
}

fn features(terms: &LicenseTerms) -> Vec<(u16, String)> {
    terms.entitlements.iter().map(|right| (right.position, right.feature.to_string())).collect()
}

#[test]
fn a_server_leaves_out_what_it_does_not_understand_and_uses_the_rest() {
    let license = as_server(&next_version()).unwrap();
    let terms = license.terms();
    assert_eq!(features(terms), [(0, "cad-pro".to_owned())]);
    let left_out: Vec<_> = terms
        .left_out
        .iter()
        .map(|out| (out.position, out.feature.as_ref().unwrap().to_string(), out.seats, out.unknown[0].to_string()))
        .collect();
    assert_eq!(
        left_out,
        [(1, "mesh".to_owned(), Some(7), "token-rate".to_owned()), (2, "solve".to_owned(), Some(9), "weekly-cap".to_owned())]
    );
    assert!(terms.entitlement(1).is_none() && terms.left_out(1).is_some());
    assert_eq!(terms.entitlements_in_text(), 3);
}

#[test]
fn an_application_is_not_bound_by_words_of_servers() {
    let license = as_application(&next_version()).unwrap();
    assert_eq!(features(license.terms()), [(0, "cad-pro".to_owned()), (2, "solve".to_owned())]);
    assert_eq!(license.terms().left_out(1).unwrap().unknown, [Word::new("token-rate").unwrap()]);
}

#[test]
fn the_next_version_understands_all_of_it() {
    let license = VerifiedLicense::verify_named_knowing(&note(&next_version()), Vocabulary::of(TOMORROW)).unwrap();
    let terms = license.terms();
    assert_eq!(features(terms).len(), 3);
    assert!(terms.left_out.is_empty());
    assert_eq!(terms.entitlements[1].more[0].literal, "[3, \"per hour\"]");
    let needed: Vec<_> = terms.entitlements.iter().map(|right| terms.needed_by_applications(right).count()).collect();
    assert_eq!(needed, [0, 1, 0]);
    let reader = Reader { role: Role::Server, words: Vocabulary::of(TOMORROW) };
    assert_eq!(LicenseTerms::parse_as(&terms.to_text(), reader).unwrap(), *terms);
}

#[test]
fn a_left_out_entitlement_may_say_whatever_its_words_mean() {
    let text = text() + "\n[[entitlement]]\nfeature = \"mesh v2\"\nseats = \"many\"\nversion = [12, 4]\nneeds = [\"mesh2\"]\n";
    let license = as_server(&text).unwrap();
    assert_eq!(license.terms().entitlements.len(), 1);
    let left_out = &license.terms().left_out[0];
    assert_eq!((left_out.position, left_out.feature.clone(), left_out.seats), (1, None, None));
}

#[test]
fn a_word_of_the_whole_license_binds_all_its_entitlements() {
    let text = text().replace("\n[[entitlement]]", "audit = \"daily\"\nneeds = [\"audit\"]\n\n[[entitlement]]");
    let license = as_server(&text).unwrap();
    assert!(license.terms().entitlements.is_empty());
    assert_eq!(license.terms().left_out[0].unknown, [Word::new("audit").unwrap()]);
    let only_servers = text.replace("[\"audit\"]", "[\"server.audit\"]");
    assert!(as_server(&only_servers).unwrap().terms().entitlements.is_empty());
    assert_eq!(as_application(&only_servers).unwrap().terms().entitlements.len(), 1);
}

#[test]
fn a_key_that_no_word_names_refuses_the_file() {
    for (from, to, message) in [
        ("seats = 25", "seats = 25\ntoken_rate = 3", "the key `token_rate` is unknown in this entitlement"),
        ("seats = 25", "seats = 25\ntoken_rate = 3\nneeds = [\"1.1\"]", "the key `token_rate` is unknown in this entitlement"),
        ("issued", "audit = 1\nissued", "the key `audit` is unknown in this license"),
        // What an entitlement needs does not cover a key of the whole license.
        ("seats = 25", "seats = 25\naudit_all = 3\nneeds = [\"audit\"]", "the key `audit_all` is unknown"),
    ] {
        for result in [as_server(&text().replacen(from, to, 1)), as_application(&text().replacen(from, to, 1))] {
            let error = result.unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
    }
}

#[test]
fn needs_are_words_of_their_form_each_once() {
    for (needs, message) in [
        ("\"token\"", "array of strings"),
        ("[\"Token\"]", "is no word"),
        ("[\"x-3\"]", "is no word"),
        ("[\"a\", \"a\"]", "a is listed twice"),
        ("[\"server.\"]", "is no word"),
    ] {
        let error = as_server(&text().replacen("seats = 25", &format!("seats = 25\nneeds = {needs}"), 1)).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
}

#[test]
fn one_section_may_be_ignored_by_everybody_and_only_one() {
    let with_info = text() + "\n[info]\nx-7 = 1\nnote = \"two\"\n";
    assert_eq!(as_server(&with_info).unwrap().terms().info.len(), 2);
    assert_eq!(LicenseTerms::parse(&as_server(&with_info).unwrap().terms().to_text()).unwrap(), *as_server(&with_info).unwrap().terms());
    let error = as_server(&(with_info.clone() + "\n[info]\na = 1\n")).unwrap_err().to_string();
    assert!(error.contains("a second [info] section"), "{error}");
    // Other sections are no information.
    assert!(as_server(&(with_info + "\n[more]\na = 1\n")).is_err());
}

#[test]
fn a_verifier_key_for_a_newer_algorithm_is_passed_over_beside_one_that_is_known() {
    let newer = "\"acme.example+11223344+AgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"";
    let both = text().replacen("verifier = [", &format!("verifier = [{newer}, "), 1);
    assert_eq!(as_server(&both).unwrap().terms().verifier.len(), 1);
    let line = |line: &str| if line.starts_with("verifier") { format!("verifier = [{newer}]\n") } else { format!("{line}\n") };
    let error = as_server(&text().lines().map(line).collect::<String>()).unwrap_err().to_string();
    assert!(error.contains("none of these keys is for an algorithm that is known here"), "{error}");
}

#[test]
fn signing_writes_needs_by_itself() {
    let verifier = VerifierKeys::new(vec![acme().verifier_key().clone()]).unwrap();
    let issued: triquest_license::Written = "2026-11-23".parse().unwrap();
    let with = |words| Prepare { verifier: &verifier, issued, now: issued.begins(), any_server: false, each_server_counts: false, words };
    let draft = text() + "\n[[entitlement]]\nfeature = \"mesh\"\nseats = 7\ntoken_rate = 3\nweekly_cap = 40\n";
    let signed = draft::prepare(&draft, &with(Vocabulary::of(TOMORROW))).unwrap();
    assert!(signed.contains("needs = [\n  \"token-rate\",\n  \"server.weekly-cap\",\n]\ntoken_rate = 3\nweekly_cap = 40\n"), "{signed}");
    // A version that does not know the key refuses to sign it, with or without its word.
    let error = draft::prepare(&draft, &with(Vocabulary::OURS)).unwrap_err().to_string();
    assert!(error.contains("the key `token_rate` is unknown"), "{error}");
    let named = draft + "needs = [\"token-rate\", \"server.weekly-cap\"]\n";
    let error = draft::prepare(&named, &with(Vocabulary::OURS)).unwrap_err().to_string();
    assert!(error.contains("this needs the word `token-rate` and the word `weekly-cap`, which this version does not know"), "{error}");
}

#[test]
fn a_license_that_is_not_understood_as_a_whole_is_not_renewed() {
    let old = as_server(&next_version()).unwrap();
    let next = draft::successor(
        old.terms(),
        "2029-01-01".parse().unwrap(),
        triquest_license::LicenseId::new("ACME-2").unwrap(),
        "2027-12-01".parse().unwrap(),
    );
    let error = next.unwrap_err().to_string();
    assert!(error.contains("needs the word `token-rate`, which this version does not know"), "{error}");
}
