//! From a draft to a signed text, by people and by build pipelines; dates and their ends; requests of servers.
#![allow(clippy::unwrap_used)]

mod support;

use support::{acme, server, signer};
use triquest_license::draft::{self, DraftError, Prepare};
use triquest_license::request::{RequestError, ServerRequest};
use triquest_license::{CivilMs, LicenseId, LicenseTerms, SigningKey, VerifierKeys, Version, Written};

fn date(text: &str) -> Written {
    text.parse().unwrap()
}

fn keys() -> VerifierKeys {
    VerifierKeys::new(vec![acme().verifier_key().clone()]).unwrap()
}

fn prepare_with(draft: &str, change: impl Fn(&mut Prepare<'_>)) -> Result<String, DraftError> {
    let keys = keys();
    let mut with = Prepare {
        verifier: &keys,
        issued: date("2026-11-23"),
        now: date("2026-11-23").begins(),
        any_server: false,
        each_server_counts: false,
        words: triquest_license::Vocabulary::OURS,
    };
    change(&mut with);
    draft::prepare(draft, &with)
}

fn prepare(draft: &str) -> Result<String, DraftError> {
    prepare_with(draft, |_| {})
}

fn filled() -> String {
    let mut draft = draft::new_draft(Some(&LicenseId::new("ACME-1").unwrap()), &[server(7)], date("2026-11-23"));
    for (path, value) in [
        ("licensee", "Initech GmbH"),
        ("entitlement.cad-pro.seats", "25"),
        ("entitlement.cad-pro.version", "12.4"),
        ("entitlement.cad-pro.expires", "2027-12-31"),
    ] {
        draft = draft::set(&draft, path, value).unwrap();
    }
    draft
}

#[track_caller]
fn refused(draft: &str, message: &str) -> String {
    let error = prepare(draft).expect_err("must be refused");
    assert!(error.to_string().contains(message), "{error}");
    error.hint().unwrap_or_default().to_owned()
}

#[test]
fn a_new_draft_says_what_is_missing_one_thing_at_a_time() {
    let draft = draft::new_draft(None, &[], date("2026-11-23"));
    refused(&draft, "line 4, column 11: `license`: a license's id is empty");
    let draft = draft::set(&draft, "license", "A-1").unwrap();
    refused(&draft, "the licensee is empty");
    let draft = draft::set(&draft, "licensee", "Initech GmbH").unwrap();
    let hint = refused(&draft, "`servers` is empty");
    assert!(hint.contains("triquest-lm server id"));
    let draft = draft::set(&draft, "servers", &server(7).to_string()).unwrap();
    refused(&draft, "`feature`: a feature's name is empty");
    // A list as a license writes it is taken too.
    let listed = |value: &str| draft::set(&draft, "replaces", value).unwrap();
    assert_eq!(listed("[\"ACME-1\", \"ACME-2\"]"), listed("ACME-1,ACME-2"));
    let draft = draft::set(&draft, "entitlement[0].feature", "cad-pro").unwrap();
    assert!(prepare(&draft).is_ok());
}

#[test]
fn what_is_set_lands_in_its_place_and_comments_stay() {
    let draft = filled();
    assert!(draft.contains("# Your customer.\nlicensee = \"Initech GmbH\"\n"));
    assert!(draft.contains("feature = \"cad-pro\"\nseats = 25\nversion = \"12.4\"\nexpires = 2027-12-31\n"));
    let terms = LicenseTerms::parse(&prepare(&draft).unwrap()).unwrap();
    assert_eq!(terms.vendor.as_str(), "acme.example");
    assert_eq!(terms.verifier, keys());
    assert_eq!(terms.issued, date("2026-11-23"));
    assert_eq!(terms.entitlements[0].version, Some(Version::new(&[12, 4]).unwrap()));
    // An empty value takes a key out again.
    let perpetual = draft::set(&draft, "entitlement.cad-pro.expires", "").unwrap();
    assert!(LicenseTerms::parse(&prepare(&perpetual).unwrap()).unwrap().entitlements[0].expires.is_none());
    // As long as there is only one entitlement, it needs no name.
    let renamed = draft::set(&draft, "entitlement.feature", "cad-lite").unwrap();
    let renamed = draft::set(&renamed, "entitlement.seats", "7").unwrap();
    assert!(renamed.contains("feature = \"cad-lite\"\nseats = 7\n"));
    // The index after the last one adds an entitlement.
    let two = draft::set(&draft, "entitlement[1].feature", "cad.sim").unwrap();
    let two = draft::set(&two, "entitlement.cad.sim.seats", "3").unwrap();
    assert_eq!(LicenseTerms::parse(&prepare(&two).unwrap()).unwrap().entitlements.len(), 2);
    assert!(draft::set(&two, "entitlement.seats", "3").unwrap_err().to_string().contains("2 entitlements; say which"));
}

#[test]
fn what_cannot_be_set_is_refused_with_the_place_named() {
    let draft = filled();
    for (path, value, message) in [
        ("seats", "25", "a license has no such key"),
        ("entitlement.cad-pro.seat", "25", "an entitlement has no such key"),
        ("entitlement.cad-pro.seats", "many", "`many` is no number of seats"),
        ("entitlement.cad-pro.seats", "-1", "`-1` is no number of seats"),
        ("entitlement.cad-pro.expires", "soon", "is no date"),
        ("entitlement.cad-pro.presence", "yes", "neither true nor false"),
        ("entitlement.cad-por.seats", "25", "no entitlement for `cad-por`"),
        ("entitlement[7].seats", "25", "the draft has 1 entitlements"),
        ("licensee", "Initech \"GmbH\"", "no escapes"),
        ("licensee", "Initech\nGmbH", "no escapes"),
        ("licensee", "Init\u{202e}ech", "changes the direction"),
    ] {
        let error = draft::set(&draft, path, value).unwrap_err().to_string();
        assert!(error.contains(message) && error.contains(path), "{error}");
    }
}

#[test]
fn json_makes_the_same_license_as_a_draft() {
    let json = format!(
        r#"{{"license": "ACME-1", "licensee": "Initech GmbH", "servers": ["{}"],
            "entitlements": [{{"feature": "cad-pro", "seats": 25, "version": "12.4", "expires": "2027-12-31"}}]}}"#,
        server(7)
    );
    let draft = draft::from_json(json.as_bytes()).unwrap();
    assert_eq!(prepare(&draft).unwrap(), prepare(&filled()).unwrap());
    let message = |json: &str| draft::from_json(json.as_bytes()).unwrap_err().to_string();
    assert!(message(&json.replace("licensee", "licencee")).contains("line 1, column 32: unknown field `licencee`"));
    assert!(message(&json.replace("\"seats\": 25", "\"seats\": 25, \"seats\": 26")).contains("duplicate field `seats`"));
    assert!(message(&json.replace("25", "-25")).contains("line 2"));
    assert!(message(&json.replace("2027-12-31", "soon")).contains("is no date"));
    assert!(message(&json.replace("2027-12-31", "soon")).starts_with("`entitlement[0].expires`: "));
    let told = |json: &str| {
        let error = draft::from_json(json.as_bytes()).unwrap_err();
        format!("{error}; {}", error.hint().unwrap_or_default())
    };
    for (json, says) in [
        ("[]".to_owned(), "line 1, column 1: a draft in JSON is one object; such as {"),
        (" ".to_owned(), "the JSON ends before it is complete; is the end missing?"),
        (json[..json.len() - 2].to_owned(), "the JSON ends before it is complete"),
        (json.replace("25", "\"25\""), "string \"25\" stands where a whole number belongs; a number stands without quotes"),
        (json.replace("\"Initech GmbH\"", "7"), "integer `7` stands where a string belongs; put it in double quotes"),
        (json.replace("licensee", "licencee"), "unknown field `licencee`; did you mean `licensee`?"),
        (json.replace("\"seats\"", "\"seat\""), "unknown field `seat`; did you mean `seats`?"),
    ] {
        assert!(told(&json).contains(says), "{json}: {}", told(&json));
    }
    assert!(message("{").contains("line 1"));
}

#[test]
fn a_draft_from_a_windows_editor_is_read() {
    let draft = format!("\u{feff}{}", filled().replace('\n', "\r\n"));
    assert_eq!(prepare(draft.trim_end()).unwrap(), prepare(&filled()).unwrap());
}

#[test]
fn a_draft_that_could_never_be_served_is_refused_and_says_why() {
    let draft = filled();
    refused(&draft.replace("2027-12-31", "2026-11-20"), "the right to `cad-pro` has ended already, on 2026-11-20");
    refused(&draft.replace("seats = 25", "seats = 0"), "`seats` is 0");
    refused(&draft.replace("seats = 25", "seats = 25\nstarts = 2028-02-01"), "ends before it starts");
    let (head, _) = draft.split_once("[[entitlement]]").unwrap();
    refused(head, "no [[entitlement]]");
    refused(&draft.replace(&server(7).to_string(), &format!("tqs1:{:064x}", 0)), "of small order");
    refused(&draft.replace("licensee =", "# licensee ="), "the key `licensee` is missing");
    refused(&format!("vendor = \"other.example\"\n{draft}"), "but its key acme.example+");
    let other = signer("acme.example", 9).verifier_key().to_string();
    refused(&format!("verifier = [\"{other}\"]\n{draft}"), "other verifier keys than those that will sign");
}

#[test]
fn any_server_and_several_servers_must_be_said_twice() {
    let any = draft::set(&filled(), "servers", "any").unwrap();
    assert!(refused(&any, "everybody who has the file could serve it").contains("--any-server"));
    assert!(prepare_with(&any, |with| with.any_server = true).is_ok());
    let two = draft::set(&filled(), "servers", &format!("{},{}", server(7), server(8))).unwrap();
    assert!(refused(&two, "each would count alone: 2 times the seats").contains("--each-server-counts"));
    assert!(prepare_with(&two, |with| with.each_server_counts = true).is_ok());
}

#[test]
fn a_successor_replaces_and_continues() {
    let old = LicenseTerms::parse(&support::text()).unwrap();
    let id = LicenseId::new("ACME-2027-00003").unwrap();
    let next = draft::successor(&old, date("2028-12-31"), id.clone(), date("2027-11-01")).unwrap();
    assert_eq!(next.replaces, std::slice::from_ref(&old.license));
    assert_eq!(next.entitlements[0].expires, Some(date("2028-12-31").ends()));
    assert_eq!(next.entitlements[0].seats, 25);
    let text = next.to_text();
    assert_eq!(LicenseTerms::parse(&text).unwrap(), next);
    let message = |result: Result<LicenseTerms, DraftError>| result.unwrap_err().to_string();
    assert!(
        message(draft::successor(&old, date("2027-12-31"), id.clone(), date("2027-11-01"))).contains("no later than the end of `cad-pro`")
    );
    assert!(message(draft::successor(&old, date("2028-12-31"), old.license.clone(), date("2027-11-01"))).contains("another id"));
    let mut perpetual = old;
    perpetual.entitlements[0].expires = None;
    perpetual.entitlements[0].expires_written = None;
    assert!(message(draft::successor(&perpetual, date("2028-12-31"), id, date("2027-11-01"))).contains("never ends"));
}

#[test]
fn a_last_day_is_everybodys_on_earth_and_a_first_day_too() {
    // 2027-12-31 ends when it has ended on Baker Island (UTC-12), and 2028-01-01 begins on Kiritimati (UTC+14).
    assert_eq!(date("2027-12-31").ends(), date("2028-01-01T12:00:00Z").ends());
    assert_eq!(date("2028-01-01").begins(), date("2027-12-31T10:00:00Z").begins());
    // An instant is one instant.
    assert_eq!(date("2027-12-31T18:00:00+01:00").ends(), date("2027-12-31T17:00:00Z").begins());
    assert_eq!(date("1970-01-01").begins(), CivilMs(-14 * 3_600_000));
    // No gap between a license that ends with a year and one that begins with the next.
    assert!(date("2028-01-01").begins() < date("2027-12-31").ends());
    let terms = LicenseTerms::parse(&support::text().replace("seats = 25", "seats = 25\nstarts = 2027-01-01")).unwrap();
    let entitlement = &terms.entitlements[0];
    assert!(!entitlement.runs_at(CivilMs(date("2027-01-01").begins().0 - 1)));
    assert!(entitlement.runs_at(date("2027-01-01").begins()));
    assert!(entitlement.runs_at(CivilMs(date("2027-12-31").ends().0 - 1)));
    assert!(!entitlement.runs_at(date("2027-12-31").ends()));
}

#[test]
fn the_licenses_own_start_holds_for_all_its_entitlements() {
    let text = support::text().replace("issued = 2026-11-23", "issued = 2026-11-23\nstarts = 2027-03-01");
    let both = text.replace("seats = 25", "seats = 25\nstarts = 2027-01-01");
    for text in [text, both] {
        let terms = LicenseTerms::parse(&text).unwrap();
        assert_eq!(terms.entitlements[0].starts, Some(date("2027-03-01").begins()));
        assert_eq!(LicenseTerms::parse(&terms.to_text()).unwrap(), terms);
    }
}

#[test]
fn versions_compare_number_by_number() {
    let version = |text: &str| text.parse::<Version>().unwrap();
    assert!(version("1.10") > version("1.2"));
    assert!(version("12") == version("12.0.0"));
    assert!(version("12.4.1") > version("12.4"));
    for bad in ["", "1.", ".1", "1..2", "01", "1.2.3.4.5", "4294967296", "v1", "1.x", "-1", "1 "] {
        assert!(bad.parse::<Version>().is_err(), "{bad}");
    }
}

#[test]
fn an_entitlement_covers_its_version_and_all_before_it() {
    let version = |text: &str| text.parse::<Version>().unwrap();
    let mut entitlement = LicenseTerms::parse(&support::text()).unwrap().entitlements[0].clone();
    assert!(entitlement.covers(Some(&version("12.4"))) && entitlement.covers(Some(&version("9.99"))));
    assert!(!entitlement.covers(Some(&version("12.4.1"))) && !entitlement.covers(Some(&version("13"))));
    // No version stated, no gate; no version in the license, every version.
    assert!(entitlement.covers(None));
    entitlement.version = None;
    assert!(entitlement.covers(Some(&version("99.9"))) && entitlement.covers(None));
}

#[test]
fn a_request_survives_the_mail_and_proves_possession() {
    let key = SigningKey::from_seed([7; 32]);
    let request = ServerRequest {
        server_key: server(7),
        host: "tqlic01.initech.example".into(),
        made_at: date("2026-11-23T10:00:00Z").begins(),
        software: "triquest-lm 0.1.0".into(),
    };
    let text = request.to_text(&key);
    assert!(text.lines().all(|line| line.len() <= 80));
    assert_eq!(ServerRequest::parse(text.as_bytes()).unwrap(), request);
    let mailed: String = text.lines().map(|line| format!("> {line}\r\n")).collect();
    let mailed = format!("Hello,\r\nhere it is:\r\n\r\n{mailed}\r\n-- \r\nEve\r\n");
    assert_eq!(ServerRequest::parse(mailed.as_bytes()).unwrap(), request);

    // People read the lines above, and go by them.
    let other = text.replacen(&request.server_key.to_string(), &server(8).to_string(), 1);
    let told = ServerRequest::parse(other.as_bytes()).unwrap_err().to_string();
    let says = format!("line 2 names the server {}, and what is signed below names {}", server(8), server(7));
    assert!(told.contains(&says), "{told}");
    assert!(ServerRequest::parse(format!("> {}", other.replace('\n', "\n> ")).as_bytes()).is_err());

    let thief = ServerRequest { server_key: server(8), ..request.clone() }.to_text(&key);
    assert_eq!(ServerRequest::parse(thief.as_bytes()), Err(RequestError::Signature));
    let message = |text: &str| ServerRequest::parse(text.as_bytes()).unwrap_err().to_string();
    assert!(message(&text.replacen("REQUEST-----\n", "REQUEST-----\nA", 1)).contains("this is no server request"));
    assert!(message("hello").contains("BEGIN line is missing"));
    assert!(message(&text.replace("-----END", "")).contains("END line is missing"));
    assert!(message(&format!("{text}{text}")).contains("two in one file"));
    let hostile = ServerRequest { host: "\u{1b}]0;x".into(), ..request }.to_text(&key);
    assert!(message(&hostile).contains("characters that hide something"));
}

#[test]
fn one_entry_of_grease_stands_under_info_and_says_nothing() {
    let text = prepare(&filled()).unwrap();
    let grease = |text: &str| text.lines().filter(|line| line.starts_with("x-")).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(grease(&text).len(), 1, "{text}");
    assert!(text.ends_with(&format!("\n[info]\n{}\n", grease(&text)[0])), "{text}");
    assert_eq!(prepare(&filled()).unwrap(), text, "the same draft, the same text");
    let renewed =
        draft::successor(&LicenseTerms::parse(&text).unwrap(), date("2028-12-31"), LicenseId::new("ACME-2").unwrap(), date("2027-01-01"));
    let renewed = prepare(&draft::from_terms(&renewed.unwrap())).unwrap();
    assert_eq!(grease(&renewed).len(), 1, "its own, and not the old one's too: {renewed}");
    let own = prepare(&format!("{}\n[info]\nproject = \"P-1\"\n", filled())).unwrap();
    assert!(own.contains("\n[info]\nproject = \"P-1\"\nx-"), "{own}");
    assert_eq!(LicenseTerms::parse(&own).unwrap().entitlements, LicenseTerms::parse(&text).unwrap().entitlements);
}
