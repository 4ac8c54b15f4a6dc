//! What a client believes, line by line of what must be refused. Pure: bytes in, verdict out.
#![allow(clippy::unwrap_used)]

mod support;

use support::{CAD, SIM, World, note, signer};
use triquest_client::verify::{self, Bundle, Distrust, GrantExpected, TrustExpected, TrustedServer};
use triquest_license::{CivilMs, ServerKey, Signer, SigningKey, VerifierKey, statement};
use triquest_wire::{
    Blob, Bytes32, Bytes64, Secret,
    lease::{CheckoutRequest, HolderClaim, Item},
    limits::LICENSES_SHOWN_MAX,
    trust::{GrantPayload, SignedGrant, TrustAnswer, TrustPayload, TrustRequest},
};

const NONCE: [u8; 32] = [9; 32];
const SPKI: [u8; 32] = [8; 32];
/// 2026-06-01.
const NOW: CivilMs = CivilMs(1_780_272_000_000);

fn keys(world: &World) -> Vec<VerifierKey> {
    vec![world.vendor.verifier_key().clone()]
}

fn asked(keys: &[VerifierKey]) -> TrustRequest {
    TrustRequest {
        vendor_keys: verify::vendor_keys(keys),
        nonce: Bytes32(NONCE),
        tls_spki: Bytes32(SPKI),
        accepts: triquest_wire::WordList::default(),
    }
}

fn answer(world: &World, bend: impl FnOnce(&mut TrustPayload)) -> TrustAnswer {
    let mut payload = world.trust_payload(&asked(&keys(world)));
    bend(&mut payload);
    world.sign_trust(&serde_json::to_vec(&payload).unwrap(), &world.server)
}

fn believe(world: &World, answer: &TrustAnswer) -> Result<TrustedServer, Distrust> {
    believe_as(world, answer, false)
}

fn believe_as(world: &World, answer: &TrustAnswer, any_server: bool) -> Result<TrustedServer, Distrust> {
    verify::trust(answer, &TrustExpected { keys: &keys(world), nonce: NONCE, tls_spki: SPKI, any_server })
}

fn refused(world: &World, answer: &TrustAnswer) -> String {
    believe(world, answer).expect_err("must be refused").to_string()
}

#[test]
fn a_genuine_proof_is_believed() {
    let world = World::new();
    let server = believe(&world, &answer(&world, |_| {})).unwrap();
    assert_eq!(server.server_key(), &world.server_key());
    assert_eq!(server.licenses().len(), 1);
}

#[test]
fn a_proof_for_another_question_is_refused() {
    let world = World::new();
    assert!(refused(&world, &answer(&world, |proof| proof.nonce.0[0] ^= 1)).contains("nonce"));
    assert!(refused(&world, &answer(&world, |proof| proof.tls_spki.0[31] ^= 1)).contains("certificate"));
    assert!(refused(&world, &answer(&world, |proof| proof.vendor_keys[0].0[0] ^= 1)).contains("keys"));
    assert!(refused(&world, &answer(&world, |proof| proof.vendor_keys.clear())).contains("keys"));
    let twice = answer(&world, |proof| proof.vendor_keys.push(proof.vendor_keys[0]));
    assert!(refused(&world, &twice).contains("keys"));
}

#[test]
fn a_proof_signed_by_another_key_is_refused() {
    let world = World::new();
    let payload = serde_json::to_vec(&world.trust_payload(&asked(&keys(&world)))).unwrap();
    assert!(refused(&world, &world.sign_trust(&payload, &SigningKey::from_seed([4; 32]))).contains("signed"));
}

#[test]
fn a_genuine_license_served_by_a_thiefs_key_is_refused() {
    let world = World::new();
    let thief = SigningKey::from_seed([4; 32]);
    let mut payload = world.trust_payload(&asked(&keys(&world)));
    payload.server_key = ServerKey::new(*thief.public()).to_string();
    let proof = world.sign_trust(&serde_json::to_vec(&payload).unwrap(), &thief);
    assert!(matches!(believe(&world, &proof), Err(Distrust::NotItsServer { .. })));
}

#[test]
fn a_proof_in_other_bytes_is_refused_unless_those_bytes_were_signed() {
    let world = World::new();
    let genuine = answer(&world, |_| {});
    let pretty = |bytes: &[u8]| serde_json::to_vec_pretty(&serde_json::from_slice::<serde_json::Value>(bytes).unwrap()).unwrap();
    let respaced = TrustAnswer { statement: Blob(pretty(&genuine.statement.0)), ..genuine.clone() };
    assert!(refused(&world, &respaced).contains("signed"));
    let signed = world.sign_trust(&respaced.statement.0, &world.server);
    assert!(believe(&world, &signed).is_ok());
}

#[test]
fn a_proof_with_unknown_missing_or_repeated_members_is_refused() {
    let world = World::new();
    let genuine = String::from_utf8(answer(&world, |_| {}).statement.0).unwrap();
    let key = world.server_key().to_string();
    for bent in [
        genuine.replacen('{', "{\"more\":1,", 1),
        genuine.replacen('{', &format!("{{\"server_key\":\"{key}\","), 1),
        genuine.replacen("\"server_time_ms\":0,", "", 1),
        format!("{genuine}{{}}"),
        genuine[..genuine.len() - 1].to_owned(),
        "null".to_owned(),
    ] {
        let proof = world.sign_trust(bent.as_bytes(), &world.server);
        assert!(matches!(believe(&world, &proof), Err(Distrust::Form { .. })), "{bent}");
    }
}

#[test]
fn each_kind_of_statement_offered_as_a_proof_or_a_grant_is_refused() {
    let world = World::new();
    let genuine = answer(&world, |_| {});
    for kind in statement::StatementKind::ALL.into_iter().filter(|kind| *kind != statement::StatementKind::Trust) {
        let signature = Bytes64(statement::sign(&world.server, kind, &genuine.statement.0));
        assert!(refused(&world, &TrustAnswer { signature, ..genuine.clone() }).contains("signed"), "{kind:?}");
    }
    let signed = granted(&world, |_| {});
    for kind in statement::StatementKind::ALL.into_iter().filter(|kind| *kind != statement::StatementKind::Grants) {
        let signature = Bytes64(statement::sign(&world.server, kind, &signed.statement.0));
        let bent = SignedGrant { signature, ..signed.clone() };
        assert!(check(&world, &bent).unwrap_err().to_string().contains("signed"), "{kind:?}");
    }
    // A grant's bytes as a proof, and a proof's bytes as a grant.
    assert!(believe(&world, &world.sign_trust(&signed.grant.0, &world.server)).is_err());
    assert!(check(&world, &world.sign_grant(&genuine.statement.0, &world.server)).is_err());
}

#[test]
fn server_keys_that_prove_nothing_are_refused() {
    let world = World::new();
    let small = format!("tqs1:01{}", "0".repeat(62));
    for key in [small, world.server_key().to_string().to_uppercase(), "tqs1:".into(), String::new()] {
        let proof = answer(&world, |proof| proof.server_key.clone_from(&key));
        assert!(matches!(believe(&world, &proof), Err(Distrust::Form { .. })), "{key}");
    }
}

#[test]
fn licenses_that_do_not_fit_are_refused() {
    let world = World::new();
    let servers = format!("[\"{}\"]", world.server_key());
    let with = |licenses: Vec<String>| World { licenses, ..world.clone() };

    let none = with(vec![]);
    assert!(matches!(believe(&none, &answer(&none, |_| {})), Err(Distrust::NoLicense { .. })));

    // Over by the server's time: told as such, for what is over proves nothing any more.
    let over = with(vec![
        note("ACME-1", &[&world.vendor], &servers, "\n[[entitlement]]\nfeature = \"cad\"\nseats = 1\nexpires = 2025-03-31\n"),
        note("ACME-2", &[&world.vendor], &servers, "\n[[entitlement]]\nfeature = \"cad\"\nseats = 1\nexpires = 2026-03-31\n"),
    ]);
    let at = |server_time_ms: i64| believe(&over, &answer(&over, |proof| proof.server_time_ms = server_time_ms));
    let (march_2026, later) = (1_773_000_000_000, 1_790_000_000_000);
    assert_eq!(at(march_2026).unwrap().licenses().len(), 2, "one of them runs");
    let ended = at(later).unwrap_err();
    assert_eq!(ended.to_string(), "the license ACME-2 of this server has ended: its last day was 2026-03-31");

    let customer = signer("acme.example", 66);
    let own = with(vec![note("ACME-1", &[&customer], &servers, CAD)]);
    assert!(matches!(believe(&own, &answer(&own, |_| {})), Err(Distrust::License { .. })));

    let spoiled = with(vec![world.licenses[0].replace("seats = 25", "seats = 26")]);
    assert!(matches!(believe(&spoiled, &answer(&spoiled, |_| {})), Err(Distrust::License { .. })));

    let elsewhere = ServerKey::new(*SigningKey::from_seed([5; 32]).public());
    let other = with(vec![note("ACME-1", &[&world.vendor], &format!("[\"{elsewhere}\"]"), CAD)]);
    assert!(matches!(believe(&other, &answer(&other, |_| {})), Err(Distrust::NotItsServer { .. })));

    // The hash is of another text, or not listed, or of one that was not sent.
    assert!(refused(&world, &answer(&world, |proof| proof.licenses[0].0[0] ^= 1)).contains("licenses"));
    assert!(refused(&world, &answer(&world, |proof| proof.licenses.clear())).contains("licenses"));
    assert!(refused(&world, &answer(&world, |proof| proof.licenses.push(Bytes32([0; 32])))).contains("licenses"));
}

#[test]
fn a_license_for_any_server_counts_only_for_who_opted_in() {
    let world = World::new();
    let any = note("DEMO-1", &[&world.vendor], "\"any\"", SIM);
    let alone = World { licenses: vec![any.clone()], ..world.clone() };
    assert!(matches!(believe(&alone, &answer(&alone, |_| {})), Err(Distrust::AnyServer { .. })));
    assert_eq!(believe_as(&alone, &answer(&alone, |_| {}), true).unwrap().licenses().len(), 1);
    // Beside one that names the server it is not counted and does no harm.
    let beside = World { licenses: vec![any, world.licenses[0].clone()], ..world.clone() };
    let server = believe(&beside, &answer(&beside, |_| {})).unwrap();
    assert_eq!((server.licenses().len(), server.left_aside().len()), (1, 1));
    // A grant that is charged to it says why it does not count.
    let reason = check(&beside, &granted(&beside, |_| {})).unwrap_err();
    assert!(matches!(&reason, Distrust::AnyServer { license } if license == "DEMO-1"), "{reason}");
}

#[test]
fn an_old_and_a_new_program_accept_one_license_that_both_keys_signed() {
    let world = World::new();
    let next = signer("acme.example", 11);
    let servers = format!("[\"{}\"]", world.server_key());
    let both = World { licenses: vec![note("ACME-2", &[&world.vendor, &next], &servers, CAD)], ..world.clone() };
    for embedded in [vec![&world.vendor], vec![&next], vec![&next, &world.vendor]] {
        let keys: Vec<VerifierKey> = embedded.into_iter().map(Signer::verifier_key).cloned().collect();
        let request = asked(&keys);
        let proof = both.sign_trust(&serde_json::to_vec(&both.trust_payload(&request)).unwrap(), &both.server);
        let expected = TrustExpected { keys: &keys, nonce: NONCE, tls_spki: SPKI, any_server: false };
        verify::trust(&proof, &expected).unwrap();
    }
}

// Grants.

fn items() -> Vec<Item> {
    vec![Item { feature: "cad".into(), version: Some("12.4".into()), seats: 2 }, Item { feature: "sim".into(), version: None, seats: 1 }]
}

fn question() -> CheckoutRequest {
    CheckoutRequest {
        accepts: triquest_wire::WordList::default(),
        secret: Secret(Bytes32([6; 32])),
        attempt: 1,
        nonce: Bytes32(NONCE),
        vendor_keys: vec![],
        items: items(),
        holder: HolderClaim::default(),
        ttl_ms: None,
        wait_ms: None,
        seen: None,
        shown: None,
        regained: false,
    }
}

fn granted(world: &World, bend: impl FnOnce(&mut GrantPayload)) -> SignedGrant {
    let mut payload = world.grant_payload(&question());
    bend(&mut payload);
    world.sign_grant(&serde_json::to_vec(&payload).unwrap(), &world.server)
}

fn check(world: &World, signed: &SignedGrant) -> Result<(), Distrust> {
    check_at(world, signed, NOW)
}

fn check_at(world: &World, signed: &SignedGrant, now: CivilMs) -> Result<(), Distrust> {
    let server = believe(world, &answer(world, |_| {})).unwrap();
    let items = items();
    let expected = GrantExpected { lease: question().secret.lease_id(), nonce: NONCE, items: &items, now };
    verify::grant(signed, &server, &expected).map(drop)
}

#[test]
fn a_genuine_grant_is_believed_until_the_first_of_its_entitlements_ends() {
    let world = World::new();
    let server = believe(&world, &answer(&world, |_| {})).unwrap();
    let items = items();
    let expected = GrantExpected { lease: question().secret.lease_id(), nonce: NONCE, items: &items, now: NOW };
    let grant = verify::grant(&granted(&world, |_| {}), &server, &expected).unwrap();
    // 2099-12-31 ends at noon UTC of the day after.
    assert_eq!(grant.entitled_until().unwrap().to_string(), "2100-01-01T12:00:00Z");
    assert_eq!(grant.payload().items.len(), 2);
}

#[test]
fn a_grant_that_says_something_else_than_was_asked_is_refused() {
    let world = World::new();
    type Bend = fn(&mut GrantPayload);
    let bends: [(&str, Bend); 23] = [
        ("lease", |grant| grant.lease.0[0] ^= 1),
        ("nonce", |grant| grant.nonce.0[0] ^= 1),
        ("parts", |grant| grant.items[0].feature = "sim".into()),
        ("parts", |grant| grant.items[0].version = Some("12.3".into())),
        ("parts", |grant| grant.items[0].version = None),
        ("parts", |grant| grant.items[0].seats = 3),
        ("parts", |grant| drop(grant.items.pop())),
        ("parts", |grant| grant.items.reverse()),
        ("add up", |grant| grant.items[0].from[0].seats = 1),
        ("more than", |grant| grant.items[0].from[0].seats = 26),
        ("more than", |grant| grant.items[0].from[0].seats = 0),
        ("twice", |grant| grant.items[0].from = vec![grant.items[0].from[0].clone(); 2]),
        ("twice", |grant| {
            let one = triquest_wire::trust::From { seats: 1, ..grant.items[0].from[0].clone() };
            grant.items[0].from = vec![one; 2];
        }),
        ("add up", |grant| grant.items[0].from.clear()),
        ("for sim", |grant| grant.items[0].from[0].entitlement = 1),
        ("does not have", |grant| grant.items[0].from[0].entitlement = 2),
        ("not shown", |grant| grant.items[0].from[0].license.0[0] ^= 1),
        ("time to live", |grant| grant.ttl_ms = 300_001),
        ("time to live", |grant| grant.ttl_ms = 0),
        ("grace", |grant| grant.grace_ms = 1),
        ("early freeing", |grant| grant.presence = true),
        ("server", |grant| grant.server_key = ServerKey::new(*SigningKey::from_seed([5; 32]).public()).to_string()),
        ("history", |grant| grant.index = 6),
    ];
    // `sim` permits neither grace nor presence, and five minutes; `cad` would.
    for (says, bend) in bends {
        let reason = check(&world, &granted(&world, bend)).expect_err(says).to_string();
        assert!(reason.contains(says), "{says}: {reason}");
    }
    check(&world, &granted(&world, |_| {})).unwrap();
}

#[test]
fn an_entitlement_gives_no_more_than_it_has_over_the_whole_grant() {
    let world = World::new();
    let server = believe(&world, &answer(&world, |_| {})).unwrap();
    let mut asked = question();
    for (seats, fits) in [(12, true), (13, false)] {
        let part = |version: &str| Item { feature: "cad".into(), version: Some(version.into()), seats };
        asked.items = vec![part("12.4"), part("12.3")];
        let signed = world.sign_grant(&serde_json::to_vec(&world.grant_payload(&asked)).unwrap(), &world.server);
        let expected = GrantExpected { lease: asked.secret.lease_id(), nonce: NONCE, items: &asked.items, now: NOW };
        let checked = verify::grant(&signed, &server, &expected);
        assert_eq!(checked.is_ok(), fits, "{checked:?}");
    }
}

#[test]
fn a_version_newer_than_the_entitlement_is_refused_although_granted() {
    let world = World::new();
    let server = believe(&world, &answer(&world, |_| {})).unwrap();
    let mut asked = question();
    asked.items = vec![Item { feature: "cad".into(), version: Some("12.5".into()), seats: 1 }];
    let signed = world.sign_grant(&serde_json::to_vec(&world.grant_payload(&asked)).unwrap(), &world.server);
    let expected = GrantExpected { lease: asked.secret.lease_id(), nonce: NONCE, items: &asked.items, now: NOW };
    assert!(verify::grant(&signed, &server, &expected).unwrap_err().to_string().contains("newer"));
}

#[test]
fn the_day_counts_by_the_clients_own_clock_however_the_servers_stands() {
    let world = World::new();
    let servers = format!("[\"{}\"]", world.server_key());
    let short = "\n[[entitlement]]\nfeature = \"cad\"\nseats = 25\nstarts = 2026-03-01\nexpires = 2026-12-31\n\n[[entitlement]]\nfeature = \"sim\"\nseats = 4\n";
    let world = World { licenses: vec![note("ACME-1", &[&world.vendor], &servers, short)], ..world };
    let signed = granted(&world, |_| {});
    let at = |text: &str| text.parse::<triquest_license::Written>().unwrap().begins();
    check_at(&world, &signed, at("2026-06-01T00:00:00Z")).unwrap();
    // The last day is over everywhere at noon UTC of the next.
    check_at(&world, &signed, at("2027-01-01T11:59:59Z")).unwrap();
    let ended = check_at(&world, &signed, at("2027-01-01T12:00:00Z")).unwrap_err();
    assert!(ended.to_string().contains("has ended"), "{ended}");
    let early = check_at(&world, &signed, at("2026-02-28T09:59:59Z")).unwrap_err();
    assert!(early.to_string().contains("has not begun"), "{early}");
    let decade = check_at(&world, &signed, at("2036-06-01T00:00:00Z")).unwrap_err();
    assert!(matches!(decade, Distrust::Day { .. }));
}

#[test]
fn a_grant_outside_the_signed_tree_is_refused() {
    let world = World::new();
    let genuine = granted(&world, |_| {});
    let mut other = genuine.clone();
    *other.grant.0.last_mut().unwrap() = b' ';
    let bent = [
        SignedGrant { position: 0, ..genuine.clone() },
        SignedGrant { position: 3, ..genuine.clone() },
        SignedGrant { path: vec![], ..genuine.clone() },
        SignedGrant { path: genuine.path.iter().rev().copied().collect(), ..genuine.clone() },
        SignedGrant { path: [genuine.path.clone(), vec![Bytes32([0; 32])]].concat(), ..genuine.clone() },
        other,
        // A node's two hashes offered as a leaf: the prefix of a leaf keeps them apart.
        SignedGrant { grant: Blob([genuine.path[0].0, genuine.path[1].0].concat()), path: vec![], position: 0, ..genuine.clone() },
    ];
    for signed in bent {
        assert!(matches!(check(&world, &signed), Err(Distrust::Unsigned)), "{signed:?}");
    }
    let long = SignedGrant { path: vec![Bytes32([0; 32]); 65], ..genuine };
    assert!(matches!(check(&world, &long), Err(Distrust::TooMany { .. })));
}

#[test]
fn a_grant_signed_by_another_server_is_refused() {
    let world = World::new();
    let payload = serde_json::to_vec(&world.grant_payload(&question())).unwrap();
    let thief = world.sign_grant(&payload, &SigningKey::from_seed([4; 32]));
    assert!(check(&world, &thief).unwrap_err().to_string().contains("signed"));
}

#[test]
fn a_license_of_another_vendor_with_the_same_feature_does_not_carry_a_grant() {
    let world = World::new();
    let other = signer("other.example", 21);
    let servers = format!("[\"{}\"]", world.server_key());
    let foreign =
        World { vendor: other.clone(), licenses: vec![note("OTHER-1", &[&other], &servers, &format!("{CAD}{SIM}"))], ..world.clone() };
    let reason = check(&world, &granted(&foreign, |_| {})).unwrap_err();
    assert!(matches!(reason, Distrust::UnknownLicense { .. }), "{reason}");
}

#[test]
fn a_bundle_is_verified_later_without_a_connection_by_anyone_with_the_vendors_keys() {
    let world = World::new();
    let bundle = Bundle { signed: granted(&world, |_| {}), licenses: world.licenses.clone() };
    let text = serde_json::to_string(&bundle).unwrap();
    let read: Bundle = serde_json::from_str(&text).unwrap();
    let grant = verify::bundle(&read, &keys(&world), Some(NOW), false).unwrap();
    assert_eq!(grant.server_key(), &world.server_key());
    let other = [signer("acme.example", 66).verifier_key().clone()];
    assert!(verify::bundle(&read, &other, Some(NOW), false).is_err());
    let decades_later = CivilMs(NOW.0 + 100 * 366 * 86_400_000);
    assert!(verify::bundle(&read, &keys(&world), Some(decades_later), false).is_err());
    let mut cut = read.clone();
    cut.licenses.clear();
    assert!(verify::bundle(&cut, &keys(&world), Some(NOW), false).is_err());
}

#[test]
fn licenses_that_come_with_a_later_answer_are_believed_like_the_first() {
    let world = World::new();
    let mut server = believe(&world, &answer(&world, |_| {})).unwrap();
    let servers = format!("[\"{}\"]", world.server_key());
    let later = note("ACME-2", &[&world.vendor], &servers, CAD);
    server.learn(&[later.clone(), later], &keys(&world)).unwrap();
    assert_eq!(server.licenses().len(), 2);
    let forged = note("ACME-3", &[&signer("acme.example", 66)], &servers, CAD);
    assert!(server.learn(&[forged], &keys(&world)).is_err());
    assert_eq!(server.licenses().len(), 2);
}

#[test]
fn of_more_licenses_than_a_client_keeps_it_keeps_those_that_came_last() {
    let world = World::new();
    let mut server = believe(&world, &answer(&world, |_| {})).unwrap();
    let first = server.licenses()[0].hash();
    let servers = format!("[\"{}\"]", world.server_key());
    let more: Vec<String> =
        (1..=LICENSES_SHOWN_MAX).map(|number| note(&format!("MORE-{number}"), &[&world.vendor], &servers, SIM)).collect();
    server.learn(&more[1..], &keys(&world)).unwrap();
    assert_eq!((server.licenses().len(), server.licenses()[0].hash()), (LICENSES_SHOWN_MAX, first));
    // What a grant names again stays, and what it names for the first time comes in.
    server.learn(&[world.licenses[0].clone(), more[0].clone()], &keys(&world)).unwrap();
    let ids: Vec<String> = server.licenses().iter().map(|license| license.terms().license.to_string()).collect();
    assert_eq!(ids.len(), LICENSES_SHOWN_MAX);
    assert_eq!(ids[LICENSES_SHOWN_MAX - 2..], ["ACME-1", "MORE-1"]);
    assert!(!ids.contains(&"MORE-2".to_owned()));
    let mut too_many = more;
    too_many.push(world.licenses[0].clone());
    assert!(matches!(server.learn(&too_many, &keys(&world)), Err(Distrust::TooMany { .. })));
}
