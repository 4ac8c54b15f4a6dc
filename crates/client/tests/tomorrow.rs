//! An invented next version against today's client: what its server says in answers, grants and licenses, over the real protocol.
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use serde_json::{Value, json};
use support::{CAD, Double, Reply, World, identity, text};
use triquest_client::{Client, ErrorKind};
use triquest_license::{Note, NoteSignature};
use triquest_wire::{lease::CheckoutRequest, trust::TrustRequest};

fn client(world: &World, double: &Double) -> Client {
    Client::builder().servers(double.name()).verifier_keys(world.keys()).remember_in(None).build().unwrap()
}

/// What the double would answer, with members changed.
fn bent(reply: Reply, bend: impl FnOnce(&mut Value)) -> Reply {
    let Reply::Answer(status, headers, body) = reply else { return reply };
    let mut value: Value = serde_json::from_slice(&body).unwrap();
    bend(&mut value);
    Reply::Answer(status, headers, serde_json::to_vec(&value).unwrap())
}

/// A double that is honest but for what `bend` does to an answer, given the path.
fn double(world: &World, bend: impl Fn(&str, &mut Value) + Send + Sync + 'static) -> Double {
    let honest = world.clone();
    Double::start(&identity(), move |ask| bent(honest.honest(ask), |value| bend(&ask.path, value)))
}

fn signed(world: &World, entitlements: &str) -> String {
    let servers = format!("[\"{}\"]", world.server_key());
    let text = text("ACME-1", &[&world.vendor], &servers, entitlements);
    let signature = NoteSignature::ed25519(world.vendor.verifier_key(), world.vendor.key().sign(text.as_bytes()));
    String::from_utf8(Note::assemble(&text, vec![signature]).unwrap().to_file_bytes()).unwrap()
}

#[test]
fn answers_may_gain_members() {
    let world = World::new();
    let double = double(&world, |_, value| value["tomorrow"] = json!({ "deep": [1, null] }));
    let seat = client(&world, &double).checkout("cad").take().unwrap();
    assert!(seat.may_run());
    seat.release(std::time::Duration::from_secs(5)).unwrap();
}

#[test]
fn a_grant_that_uses_a_word_is_refused_by_its_name() {
    let world = World::new();
    let honest = world.clone();
    let double = Double::start(&identity(), move |ask| {
        if ask.path != "/v1/leases" {
            return honest.honest(ask);
        }
        let asked: CheckoutRequest = serde_json::from_slice(&ask.body).unwrap();
        let mut payload = serde_json::to_value(honest.grant_payload(&asked)).unwrap();
        payload["uses"] = json!(["tokens"]);
        payload["tokens"] = json!(3);
        let signed = honest.sign_grant(&serde_json::to_vec(&payload).unwrap(), &honest.server);
        let mut answer = serde_json::to_value(&signed).unwrap();
        answer["outcome"] = json!("granted");
        answer["position"] = json!(honest.position());
        answer["remaining_ms"] = json!(honest.ttl_ms);
        Reply::json(&answer)
    });
    let error = client(&world, &double).checkout("cad").take().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotTrusted);
    assert_eq!(
        (error.code(), error.explanation()),
        ("words", "the grant needs `tokens`, which this version of the software does not know")
    );
}

#[test]
fn a_trust_statement_that_uses_a_word_is_refused_by_its_name_and_one_that_offers_more_is_not() {
    let world = World::new();
    let with = |change: fn(&mut Value)| {
        let honest = world.clone();
        Double::start(&identity(), move |ask| {
            if ask.path != "/v1/trust" {
                return honest.honest(ask);
            }
            let asked: TrustRequest = serde_json::from_slice(&ask.body).unwrap();
            let mut payload = serde_json::to_value(honest.trust_payload(&asked)).unwrap();
            change(&mut payload);
            Reply::json(&honest.sign_trust(&serde_json::to_vec(&payload).unwrap(), &honest.server))
        })
    };
    let uses = with(|payload| {
        payload["uses"] = json!(["attested"]);
        payload["attested"] = json!({});
    });
    let error = client(&world, &uses).prove().unwrap_err();
    assert_eq!(error.code(), "words", "{error}");
    assert!(error.explanation().contains("`attested`"), "{error}");
    let offers = with(|payload| payload["offers"] = json!(["1.0", "1.1", "share", "x-2"]));
    assert!(client(&world, &offers).checkout("cad").take().is_ok());
}

#[test]
fn before_proof_no_word_is_told_but_those_of_the_statement_and_grease() {
    let world = World::new();
    let double = Double::honest(&world);
    client(&world, &double).checkout("cad").take().unwrap();
    let log = double.log.lock().unwrap();
    let words = |path: &str| -> Vec<String> {
        let ask = log.iter().find(|ask| ask.path == path).unwrap();
        let body: Value = serde_json::from_slice(&ask.body).unwrap();
        body["accepts"].as_array().unwrap().iter().map(|word| word.as_str().unwrap().to_owned()).collect()
    };
    let before = words("/v1/trust");
    assert!(before.len() == 1 && before[0].starts_with("x-") && before[0].len() == 3, "{before:?}");
    let after = words("/v1/leases");
    assert!(after.contains(&"1.0".to_owned()) && after.contains(&before[0]), "{after:?}");
}

#[test]
fn an_unknown_denial_is_acted_on_by_its_retry() {
    for (retry, later) in [("later", true), ("never", false), ("after_lunch", true)] {
        let world = World::new();
        world.seats.lock().unwrap().total = 0;
        let double = double(&world, move |path, value| {
            if path == "/v1/leases" {
                value["denial"]["code"] = json!("budget_spent");
                value["denial"]["retry"] = json!(retry);
            }
        });
        let error = client(&world, &double).checkout("cad").take().unwrap_err();
        assert_eq!((error.kind(), error.code(), error.may_help_later()), (ErrorKind::Denied, "budget_spent", later), "{retry}");
    }
}

#[test]
fn an_unknown_error_is_acted_on_by_its_retry() {
    for (retry, later) in [("never", false), ("later", true), ("when_the_moon_is_full", true)] {
        let world = World::new();
        let honest = world.clone();
        let double = Double::start(&identity(), move |ask| match ask.path.as_str() {
            "/v1/leases" => support::problem(418, "teapot", retry),
            _ => honest.honest(ask),
        });
        let error = client(&world, &double).checkout("cad").take().unwrap_err();
        assert_eq!((error.kind(), error.code(), error.may_help_later()), (ErrorKind::Refused, "teapot", later), "{retry}");
    }
}

#[test]
fn a_member_that_the_server_does_not_know_is_left_out_after_it_has_proved_itself_again() {
    let world = World::new();
    let honest = world.clone();
    let refused = Arc::new(AtomicUsize::new(0));
    let counter = refused.clone();
    // An older server took the place of a newer one: it does not know `accepts` yet.
    let double = Double::start(&identity(), move |ask| {
        let body: Value = serde_json::from_slice(&ask.body).unwrap_or_default();
        if ask.path == "/v1/leases" && body.get("accepts").is_some() {
            counter.fetch_add(1, Ordering::SeqCst);
            let problem = json!({
                "type": "urn:triquest-lm:error:unknown_member", "title": "", "status": 400, "detail": "unknown field `accepts`",
                "code": "unknown_member", "retry": "never", "took_effect": "no", "member": "accepts",
            });
            return Reply::Answer(400, String::new(), serde_json::to_vec(&problem).unwrap());
        }
        honest.honest(ask)
    });
    client(&world, &double).checkout("cad").take().unwrap();
    assert_eq!(refused.load(Ordering::SeqCst), 1, "it is asked with it once");
    let paths = double.paths();
    assert_eq!(paths[..4], ["/v1/trust", "/v1/leases", "/v1/trust", "/v1/leases"], "{paths:?}");
}

#[test]
fn what_a_license_says_beyond_this_version_is_left_out_and_the_rest_used() {
    let mut world = World::new();
    let tomorrow = "\n[[entitlement]]\nfeature = \"sim\"\nseats = 4\ntoken_rate = 3\nneeds = [\"token-rate\"]\n";
    world.licenses = vec![signed(&world, &format!("{CAD}{tomorrow}\n[info]\nx-1 = \"\"\n"))];
    let double = Double::honest(&world);
    let client = client(&world, &double);
    let seat = client.checkout("cad").take().unwrap();
    // A server that knows the word charges the second one; this client does not believe in what it cannot read.
    let error = client.checkout("sim").take().unwrap_err();
    assert_eq!(error.explanation(), "the license needs `token-rate`, which this version of the software does not know");
    seat.release(std::time::Duration::from_secs(5)).unwrap();
    // A word that binds servers only is none of its business.
    let mut world = World::new();
    let tomorrow = tomorrow.replace("[\"token-rate\"]", "[\"server.token-rate\"]");
    world.licenses = vec![signed(&world, &format!("{CAD}{tomorrow}"))];
    let double = Double::honest(&world);
    assert!(self::client(&world, &double).checkout("sim").take().is_ok());
}
