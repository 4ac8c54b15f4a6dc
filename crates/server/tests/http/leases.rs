//! *Grants and leases*, as far as they show at HTTP.

use serde_json::{Value, json};
use triquest_license::{Note, Signer, merkle, statement};
use triquest_server::limits::Frequency;
use triquest_wire::{
    Bytes16, Bytes32,
    limits::{ANSWER_BYTES_MAX, LICENSES_SHOWN_BYTES_MAX},
    trust::{GrantPayload, GrantsStatement, SignedGrant},
};

use crate::world::{World, lease, renewal, secret, spki, vendor};

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_carries_a_proof_that_anyone_can_check() {
    let world = World::with_seats().await;
    let (status, body) = world.post("/v1/leases", &world.checkout(1, "cad")).await;
    assert_eq!((status, body["outcome"].as_str()), (200, Some("granted")), "{body}");
    let signed: SignedGrant = serde_json::from_value(body.clone()).unwrap();
    let key = *world.running().server_key().public();
    statement::verify(&key, statement::StatementKind::Grants, &signed.statement.0, &signed.signature.0).unwrap();
    let root: GrantsStatement = serde_json::from_slice(&signed.statement.0).unwrap();
    let path: Vec<_> = signed.path.iter().map(|hash| hash.0).collect();
    assert!(merkle::verify_path(&merkle::leaf_hash(&signed.grant.0), signed.position, root.size, &path, &root.root.0));
    let grant: GrantPayload = serde_json::from_slice(&signed.grant.0).unwrap();
    assert_eq!((grant.lease, grant.nonce), (lease(1), Bytes32([9; 32])));
    assert_eq!((grant.items[0].feature.as_str(), grant.items[0].from[0].seats), ("cad", 1));
    // The connection had not asked for trust, so the text of the license comes along.
    assert_eq!(body["licenses"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_with_another_nonce_never_takes_a_second_seat() {
    let world = World::with_seats().await;
    world.take(1, "cad").await;
    let mut again = world.checkout(1, "cad");
    again["nonce"] = json!(Bytes32([8; 32]));
    let (_, body) = world.post("/v1/leases", &again).await;
    assert_eq!(body["outcome"], "granted");
    let grant: GrantPayload = serde_json::from_slice(&crate::world::blob(&body["grant"])).unwrap();
    assert_eq!(grant.nonce, Bytes32([8; 32]));
    let (_, status) = world.get("/v1/status?feature=cad").await;
    assert_eq!((status["pools"][0]["used"].as_u64(), status["pools"][0]["free"].as_u64()), (Some(1), Some(1)), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denial_is_an_outcome_with_its_numbers() {
    let world = World::with_seats().await;
    world.take(1, "cad").await;
    world.take(2, "cad").await;
    let (status, body) = world.post("/v1/leases", &world.checkout(3, "cad")).await;
    assert_eq!((status, body["outcome"].as_str()), (200, Some("denied")));
    let denial = &body["denial"];
    assert_eq!(
        (denial["code"].as_str(), denial["pool"]["used"].as_u64(), denial["pool"]["total"].as_u64()),
        (Some("no_seat_free"), Some(2), Some(2)),
        "{body}"
    );
    assert!(denial["message"].as_str().unwrap().contains("2 of 2 in use"), "{denial}");
    for (feature, code) in [("nothing", "unknown_feature")] {
        let (_, body) = world.post("/v1/leases", &world.checkout(4, feature)).await;
        assert_eq!(body["denial"]["code"], code, "{body}");
    }
    let mut stranger = world.checkout(5, "cad");
    stranger["vendor_keys"] = json!([Bytes32(*crate::world::vendor(9).verifier_key().public().as_bytes())]);
    let (_, body) = world.post("/v1/leases", &stranger).await;
    assert_eq!(body["denial"]["code"], "unknown_vendor", "{body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_knows_only_the_id_can_do_nothing() {
    let world = World::with_seats().await;
    let id = world.take(1, "cad").await;
    for (path, body) in [
        (format!("/v1/leases/{id}/renew"), renewal(2, 1)),
        (format!("/v1/leases/{id}/release"), json!({ "secret": secret(2) })),
        (format!("/v1/leases/{id}/inspect"), json!({ "secret": secret(2) })),
    ] {
        let (status, problem) = world.post(&path, &body).await;
        assert_eq!((status, problem["code"].as_str()), (403, Some("wrong_secret")), "{path} {problem}");
    }
    let (status, problem) = world.post(&format!("/v1/leases/{id}/release"), &json!({})).await;
    assert_eq!((status, problem["code"].as_str()), (400, Some("bad_request")));
    let short = secret(1).0.to_string()[..42].to_owned();
    let (status, _) = world.post(&format!("/v1/leases/{id}/release"), &json!({ "secret": short })).await;
    assert_eq!(status, 400);
    let (_, own) = world.post(&format!("/v1/leases/{id}/inspect"), &json!({ "secret": secret(1) })).await;
    assert_eq!(
        (own["leases"][0]["state"].as_str(), own["leases"][0]["holder"]["host"]["value"].as_str()),
        (Some("live"), Some("ws1")),
        "{own}"
    );
    assert_eq!(own["leases"][0]["holder"]["address"], json!({ "value": "127.0.0.1", "proved": true }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cloned_client_is_refused_and_a_retry_is_not() {
    let world = World::with_seats().await;
    let id = world.take(1, "cad").await;
    let path = format!("/v1/leases/{id}/renew");
    for _ in 0..2 {
        let (status, body) = world.post(&path, &renewal(1, 5)).await;
        assert_eq!((status, body["outcome"].as_str(), body["counter"].as_u64()), (200, Some("renewed"), Some(5)), "{body}");
        assert_eq!(body["nonce"], json!(Bytes16([5; 16])));
    }
    let mut clone = renewal(1, 5);
    clone["nonce"] = json!(Bytes16([77; 16]));
    let (status, problem) = world.post(&path, &clone).await;
    assert_eq!((status, problem["code"].as_str()), (409, Some("cloned_client")), "{problem}");
    let (status, problem) = world.post(&path, &renewal(1, 4)).await;
    assert_eq!((status, problem["code"].as_str()), (409, Some("stale_counter")), "{problem}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_released_never_grants_again() {
    let world = World::with_seats().await;
    let id = world.take(1, "cad").await;
    for _ in 0..2 {
        let (status, body) = world.post(&format!("/v1/leases/{id}/release"), &json!({ "secret": secret(1) })).await;
        assert_eq!((status, body["outcome"].as_str()), (200, Some("released")), "{body}");
    }
    let (_, body) = world.post("/v1/leases", &world.checkout(1, "cad")).await;
    assert_ne!(body["outcome"], "granted", "{body}");
    // Released before it was known.
    let unknown = lease(2);
    let (status, _) = world.post(&format!("/v1/leases/{unknown}/release"), &json!({ "secret": secret(2) })).await;
    assert_eq!(status, 200);
    let (_, body) = world.post("/v1/leases", &world.checkout(2, "cad")).await;
    assert_ne!(body["outcome"], "granted", "{body}");
    let (_, status) = world.get("/v1/status").await;
    assert_eq!(status["leases"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_holder_or_other_parts_under_one_secret_are_refused() {
    let world = World::with_seats().await;
    world.take(1, "cad").await;
    let mut other = world.checkout(1, "cad");
    other["holder"]["user"] = json!("bo");
    for body in [other, world.checkout(1, "sim")] {
        let (status, problem) = world.post("/v1/leases", &body).await;
        assert_eq!((status, problem["code"].as_str()), (409, Some("id_taken")), "{problem}");
    }
    // The same holder in another spelling is the same.
    let mut same = world.checkout(1, "cad");
    same["holder"] = json!({ "user": " ana", "host": "ws1" });
    let (status, _) = world.post("/v1/leases", &same).await;
    assert_eq!(status, 200);
    // And so is one whose next version embeds one more of its vendor's keys.
    let mut newer = world.checkout(1, "cad");
    newer["vendor_keys"].as_array_mut().unwrap().push(json!(Bytes32([9; 32])));
    let (status, granted) = world.post("/v1/leases", &newer).await;
    assert_eq!((status, granted["outcome"].as_str()), (200, Some("granted")), "{granted}");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_renewals_are_answered_in_their_order_with_their_own_errors() {
    let world = World::with_seats().await;
    for number in 1..=3 {
        world.take(number, "sim").await;
    }
    let (status, body) = world.post("/v1/renewals", &json!({ "renewals": [renewal(3, 1), renewal(99, 1), renewal(1, 1)] })).await;
    assert_eq!(status, 200);
    let answers = body["answers"].as_array().unwrap();
    assert_eq!((&answers[0]["outcome"], &answers[2]["outcome"]), (&json!("renewed"), &json!("renewed")), "{body}");
    assert_eq!(answers[1], json!({ "outcome": "refused", "problem": 0 }));
    assert_eq!((&body["problems"][0]["code"], &body["problems"][1]), (&json!("unknown_lease"), &Value::Null), "{body}");
    let (status, problem) = world.post("/v1/renewals", &json!({ "renewals": [renewal(3, 2), renewal(2, 2), renewal(3, 3)] })).await;
    assert_eq!((status, &problem["code"]), (400, &json!("bad_request")), "each lease once: {problem}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unsigned_claim_to_have_seen_more_history_changes_nothing() {
    let world = World::with_seats().await;
    let (_, id) = world.get("/v1/server/id").await;
    let mut seen = id["position"].clone();
    seen["index"] = json!(seen["index"].as_u64().unwrap() + 1_000);
    let mut body = world.checkout(1, "cad");
    body["seen"] = seen;
    // Anybody can make that up: only a signed grant proves it.
    let (status, granted) = world.post("/v1/leases", &body).await;
    assert_eq!((status, granted["outcome"].as_str()), (200, Some("granted")), "{granted}");
    let mut renewal = renewal(1, 1);
    renewal["seen"] = body["seen"].clone();
    let (_, renewed) = world.post(&format!("/v1/leases/{}/renew", crate::world::lease(1)), &renewal).await;
    assert_eq!(renewed["outcome"], "renewed", "{renewed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_that_somebody_else_signed_is_not_adopted() {
    let world = World::with_seats().await;
    let (_, granted) = world.post("/v1/leases", &world.checkout(1, "cad")).await;
    let shown = |granted: &Value| json!({ "grant": granted["grant"], "leaf": granted["leaf"], "path": granted["path"], "statement": granted["statement"], "signature": granted["signature"] });
    let mut other_lease = world.checkout(2, "cad");
    other_lease["shown"] = shown(&granted);
    let (status, problem) = world.post("/v1/leases", &other_lease).await;
    assert_eq!(status, 400, "{problem}");
    let mut forged = world.checkout(1, "cad");
    forged["shown"] = shown(&granted);
    forged["shown"]["signature"] = json!(triquest_wire::Bytes64([0; 64]));
    let (status, problem) = world.post("/v1/leases", &forged).await;
    assert_eq!((status, problem["detail"].as_str()), (400, Some("shown: not signed by this server")), "{problem}");
    // Of history that is here: it is simply the lease.
    let mut own = world.checkout(1, "cad");
    own["shown"] = shown(&granted);
    let (_, body) = world.post("/v1/leases", &own).await;
    assert_eq!(body["outcome"], "granted", "{body}");
    let (_, status) = world.get("/v1/status?feature=cad").await;
    assert_eq!(status["pools"][0]["used"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_are_strict() {
    let world = World::with_seats().await;
    let good = world.checkout(1, "cad");
    let mut cases = Vec::new();
    for (member, value) in [
        ("attempt", json!(0)),
        ("items", json!([])),
        ("vendor_keys", json!([])),
        ("extra", json!(1)),
        ("nonce", json!("x")),
        ("attempt", json!(-1)),
        ("attempt", json!(1.5)),
    ] {
        let mut body = good.clone();
        body[member] = value;
        cases.push(body.to_string());
    }
    cases.push(good.to_string().replacen("\"attempt\":1", "\"attempt\":1,\"attempt\":2", 1));
    cases.push("[".repeat(100_000)[..60_000].to_owned());
    cases.push(String::from("null"));
    for body in cases {
        let answer = world.connect().await.send("POST", "/v1/leases", &["Content-Type: application/json"], body.as_bytes()).await;
        assert_eq!((answer.status, answer.header("content-type")), (400, Some("application/problem+json")), "{body}");
        assert_eq!(answer.json()["took_effect"], "no");
    }
    let (_, status) = world.get("/v1/status").await;
    assert_eq!(status["leases"], 0);
    // What a name holds that no name should is left out of it, and is no reason to refuse a seat.
    let body = good.to_string().replace("ana", "an\\u001ba");
    let answer = world.connect().await.send("POST", "/v1/leases", &["Content-Type: application/json"], body.as_bytes()).await;
    assert_eq!((answer.status, answer.json()["outcome"].as_str()), (200, Some("granted")), "{}", answer.json());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiter_is_granted_as_soon_as_the_seat_is_free() {
    let world = World::with_seats().await;
    let first = world.take(1, "cad").await;
    world.take(2, "cad").await;
    let mut waiting = world.checkout(3, "cad");
    waiting["wait_ms"] = json!(600_000);
    let mut client = world.connect().await;
    let mut other = world.connect().await;
    let held = tokio::spawn(async move { client.json("POST", "/v1/leases", &waiting).await.json() });
    // In line: seen in the numbers, not by waiting for a time.
    while world.get("/v1/status?feature=cad").await.1["pools"][0]["queued"] != 1 {
        tokio::task::yield_now().await;
    }
    let released = other.json("POST", &format!("/v1/leases/{first}/release"), &json!({ "secret": secret(1) })).await;
    assert_eq!(released.status, 200);
    let granted = held.await.unwrap();
    assert_eq!(granted["outcome"], "granted", "{granted}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_more_licenses_than_one_answer_shows_is_believed_and_grants_bring_the_others() {
    let world = World::start().await;
    world.install(&world.license("OLDEST", "cad", 2)).await;
    let data = "d".repeat(4_000);
    let terms: String =
        (0..14).map(|part| format!("\n[[entitlement]]\nfeature = \"part{part}\"\nseats = 1\nvendor_data = \"{data}\"\n")).collect();
    let count = LICENSES_SHOWN_BYTES_MAX / terms.len() + 2;
    for number in 0..count {
        world.install(&world.license_with(&format!("LARGE-{number}"), "sim", 1, "", &terms)).await;
    }
    let mut client = world.connect().await;
    let asked = json!({
        "vendor_keys": world.checkout(1, "cad")["vendor_keys"], "nonce": Bytes32([4; 32]), "tls_spki": spki(&client.stream),
    });
    let answer = client.json("POST", "/v1/trust", &asked).await;
    assert_eq!(answer.status, 200);
    assert!(answer.body.len() <= ANSWER_BYTES_MAX, "a client reads it: {}", answer.body.len());
    let shown = answer.json()["licenses"].as_array().unwrap().len();
    assert!(shown < count && shown > count - 6, "{shown} of {count}");
    assert!(answer.json()["licenses"][shown - 1].as_str().unwrap().contains(&format!("\"LARGE-{}\"", count - 1)), "the newest is shown");
    let granted = client.json("POST", "/v1/leases", &world.checkout(1, "cad")).await.json();
    assert!(granted["licenses"][0].as_str().unwrap().contains("\"OLDEST\""), "{granted}");
    let granted = client.json("POST", "/v1/leases", &world.checkout(2, "cad")).await.json();
    assert_eq!((granted["outcome"].as_str(), granted.get("licenses")), (Some("granted"), None), "it was sent on this connection");
    // Whoever asks for trust once more may lack it.
    assert_eq!(client.json("POST", "/v1/trust", &asked).await.status, 200);
    let granted = client.json("POST", "/v1/leases", &world.checkout(2, "cad")).await.json();
    assert!(granted["licenses"][0].as_str().unwrap().contains("\"OLDEST\""), "{granted}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_brings_the_texts_of_licenses_once_on_a_connection() {
    let world = World::with_seats().await;
    let mut client = world.connect().await;
    let asked = json!({
        "vendor_keys": world.checkout(1, "cad")["vendor_keys"], "nonce": Bytes32([4; 32]), "tls_spki": spki(&client.stream),
    });
    let mut texts = Vec::new();
    for step in 0..6 {
        match step {
            2 => assert_eq!(client.json("POST", "/v1/trust", &asked).await.status, 200),
            4 => drop(world.install(&world.license("A-3", "other", 1)).await),
            5 => assert_eq!(client.json("POST", "/v1/trust", &asked).await.status, 200),
            _ => {}
        }
        let granted = client.json("POST", "/v1/leases", &world.checkout(1, "cad")).await.json();
        assert_eq!(granted["outcome"], "granted", "{granted}");
        texts.push(granted["licenses"].as_array().map_or(0, Vec::len));
    }
    assert_eq!(
        texts,
        [1, 0, 0, 0, 1, 0],
        "the state of the licenses is another one after the trust exchange, and the connection is told once"
    );
    let mut other = world.connect().await;
    let granted = other.json("POST", "/v1/leases", &world.checkout(1, "cad")).await.json();
    assert_eq!(granted["licenses"].as_array().map(Vec::len), Some(1), "another connection was told nothing yet");
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_that_grants_bring_count_as_trust_exchanges_and_a_grant_comes_without_where_these_are_too_many() {
    let world = World::limited(|limits| limits.trust.network = Frequency { burst: 2, per_second: 1 }).await;
    let mut texts = Vec::new();
    for number in 1..=4 {
        let (status, granted) = world.post("/v1/leases", &world.checkout(number, "sim")).await;
        assert_eq!((status, granted["outcome"].as_str()), (200, Some("granted")), "{granted}");
        texts.push(granted["licenses"].as_array().map_or(0, Vec::len));
    }
    assert_eq!(texts, [1, 1, 0, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn which_keys_a_vendor_has_is_told_viewers_and_which_pools_are_its_own_whoever_knows_one() {
    let world = World::with_seats().await;
    let key = Bytes32(*world.vendor.verifier_key().public().as_bytes());
    let stranger = Bytes32(*vendor(9).verifier_key().public().as_bytes());
    let (_, status) = world.admin("GET", "/v1/status", &json!(null)).await;
    assert_eq!(status["pools"][0]["vendor_keys"], json!([key]), "{status}");
    let (_, status) = world.get("/v1/status").await;
    assert_eq!(status["pools"].as_array().map(Vec::len), Some(2));
    assert!(!status.to_string().contains(&key.to_string()), "{status}");
    for (keys, pools) in [(format!("{key}"), 2), (format!("{stranger},{key}"), 2), (format!("{stranger}"), 0)] {
        let (_, status) = world.get(&format!("/v1/status?vendor_keys={keys}")).await;
        assert_eq!(status["pools"].as_array().map(Vec::len), Some(pools), "{status}");
        assert!(!status.to_string().contains(&key.to_string()), "{status}");
    }
    let too_many = vec![key.to_string(); 17].join(",");
    for wrong in ["", "x", too_many.as_str(), &format!("{key},{key}")] {
        let (code, problem) = world.get(&format!("/v1/status?vendor_keys={wrong}")).await;
        assert!((400..500).contains(&code), "{wrong}: {problem}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_can_verify_a_part_of_a_pool_is_told_no_numbers_of_the_rest() {
    let world = World::limited(|limits| limits.denials.network = Frequency { burst: 1, per_second: 1 }).await;
    const OLD: u8 = 1;
    const NEW: u8 = 2;
    let server = world.running().server_key();
    let text = |id: &str, signers: &[u8], seats: u32| {
        let signers: Vec<Signer> = signers.iter().map(|number| vendor(*number)).collect();
        let keys: Vec<String> = signers.iter().map(|signer| format!("\"{}\"", signer.verifier_key())).collect();
        let text = format!(
            "format = \"triquest-lm/v1/license\"\nlicense = \"{id}\"\nvendor = \"acme.example\"\nverifier = [{}]\nlicensee = \"Initech GmbH\"\n\
             issued = 2026-11-20\nservers = [\"{server}\"]\n\n[[entitlement]]\nfeature = \"cad\"\nseats = {seats}\n",
            keys.join(", ")
        );
        String::from_utf8(Note::sign(&text, &signers).unwrap().to_file_bytes()).unwrap()
    };
    world.install(&text("NEW", &[NEW], 40)).await;
    world.install(&text("BOTH", &[OLD, NEW], 1)).await;
    // Two and one seats of the old key, and forty of the new one.
    world.until("cad", "total", 43).await;
    for number in 1..=3 {
        world.take(number, "cad").await;
    }
    let asks = |number: u64, keys: &[u8]| {
        let mut body = world.checkout(number, "cad");
        body["vendor_keys"] = keys.iter().map(|key| json!(Bytes32(*vendor(*key).verifier_key().public().as_bytes()))).collect();
        body["items"][0]["seats"] = json!(if keys.len() > 1 { 43 } else { 1 });
        body
    };
    let (_, denied) = world.post("/v1/leases", &asks(10, &[OLD])).await;
    assert_eq!((&denied["outcome"], &denied["denial"]["pool"]["total"]), (&json!("denied"), &json!(3)), "{denied}");
    let (status, refused) = world.post("/v1/leases", &asks(11, &[OLD])).await;
    assert_eq!((status, refused.get("pool")), (429, None), "{refused}");
    let (status, refused) = world.post("/v1/leases", &asks(12, &[OLD, NEW])).await;
    assert_eq!((status, &refused["pool"]["total"]), (429, &json!(43)), "{refused}");
    // In line too, and however often it asks.
    let mut waits = asks(13, &[OLD]);
    waits["wait_ms"] = json!(60_000);
    world.clock.advance_ms(1_000);
    for _ in 0..3 {
        let mut client = world.connect().await;
        let headers = ["Content-Type: application/json", "Prefer: wait=0"];
        let answer = client.send("POST", "/v1/leases", &headers, waits.to_string().as_bytes()).await.json();
        assert_eq!((&answer["outcome"], &answer["pool"]["total"]), (&json!("waiting"), &json!(3)), "{answer}");
    }
}
