//! An invented next version against today's server: what its clients ask, and what its vendors sign.

use serde_json::{Value, json};
use triquest_license::{Note, NoteSignature};

use crate::world::{World, blob, renewal, spki};

fn next_version(world: &World) -> String {
    let signed = world.license("A-1", "cad", 2);
    let text = Note::parse(signed.as_bytes()).unwrap().text().to_owned()
        + "\n[[entitlement]]\nfeature = \"mesh\"\nseats = 7\ntoken_rate = [3, \"per hour\"]\nneeds = [\"token-rate\"]\n\n[info]\nx-4 = \"\"\n";
    let signature = NoteSignature::ed25519(world.vendor.verifier_key(), world.vendor.key().sign(text.as_bytes()));
    String::from_utf8(Note::assemble(&text, vec![signature]).unwrap().to_file_bytes()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_license_of_tomorrow_serves_what_is_understood_and_says_what_is_not() {
    let mut world = World::start().await;
    let installed = world.install(&next_version(&world)).await;
    assert_eq!(installed["outcome"], "installed");
    let said = installed["notices"][0].as_str().unwrap();
    assert!(said.contains("entitlement 2 (mesh, 7 seats) needs the word token-rate"), "{said}");
    world.take(1, "cad").await;
    let (_, denied) = world.post("/v1/leases", &world.checkout(2, "mesh")).await;
    assert_eq!(denied["denial"]["code"], "unknown_feature");
    assert_eq!(denied["denial"]["retry"], "never");
    let check = |licenses: Value, status: Value| {
        let license = &licenses["licenses"][0];
        assert_eq!(license["entitlements"].as_array().unwrap().len(), 1);
        assert_eq!(license["left_out"][0], json!({ "entitlement": 1, "feature": "mesh", "unknown_words": ["token-rate"] }));
        assert!(license.get("problem").is_none());
        let said = status["license_warnings"][0].as_str().unwrap();
        assert!(said.contains("entitlement 2 (mesh) is left out, because it needs token-rate"), "{said}");
    };
    check(world.admin("GET", "/v1/licenses", &json!(null)).await.1, world.admin("GET", "/v1/status", &json!(null)).await.1);
    // Which licenses there are is for viewers.
    assert!(world.get("/v1/status").await.1.get("license_warnings").is_none());
    // And after a start, which reads it again.
    world.running.take().unwrap().shutdown().await.unwrap();
    world.running = Some(world.run(|_| {}).await.unwrap());
    check(world.admin("GET", "/v1/licenses", &json!(null)).await.1, world.admin("GET", "/v1/status", &json!(null)).await.1);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_strict_but_for_the_words_that_a_client_accepts() {
    let world = World::with_seats().await;
    let with = |change: &dyn Fn(&mut Value)| {
        let mut body = world.checkout(1, "cad");
        change(&mut body);
        body
    };
    let (status, body) = world.post("/v1/leases", &with(&|body| body["tomorrow"] = json!(1))).await;
    assert_eq!((status, body["code"].as_str(), body["member"].as_str()), (400, Some("unknown_member"), Some("tomorrow")), "{body}");
    assert_eq!(body["took_effect"], "no");
    for (accepts, taken) in
        [(json!(["1.0", "share", "x-9"]), true), (json!(["UPPER"]), false), (json!("1.0"), false), (json!(vec!["a-b"; 300]), false)]
    {
        let (status, body) = world.post("/v1/leases", &with(&|body| body["accepts"] = accepts.clone())).await;
        assert_eq!(status == 200, taken, "{accepts}: {body}");
    }
    let (status, body) = world.post("/v1/leases", &with(&|body| body["wait_ms"] = json!(null))).await;
    assert_eq!((status, body["code"].as_str()), (400, Some("bad_request")), "an optional member is absent, never null: {body}");
    // What comes later about the lease needs no words again.
    let (status, body) = world.post(&format!("/v1/leases/{}/renew", crate::world::lease(1)), &renewal(1, 1)).await;
    assert_eq!((status, body["outcome"].as_str()), (200, Some("renewed")), "{body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_say_what_they_use_and_what_the_server_offers() {
    let world = World::with_seats().await;
    let mut client = world.connect().await;
    let key = triquest_wire::Bytes32(*world.vendor.verifier_key().public().as_bytes());
    let nonce = triquest_wire::Bytes32([5; 32]);
    let asked = json!({ "vendor_keys": [key], "nonce": nonce, "tls_spki": spki(&client.stream), "accepts": ["attested", "x-1"] });
    let answer = client.json("POST", "/v1/trust", &asked).await;
    assert_eq!(answer.status, 200, "{:?}", answer.json());
    let payload: Value = serde_json::from_slice(&blob(&answer.json()["statement"])).unwrap();
    assert_eq!(payload["uses"], json!([]));
    let offers: Vec<&str> = payload["offers"].as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect();
    assert!(offers.contains(&"1.0") && offers.iter().any(|word| word.starts_with("x-")), "{offers:?}");
    assert!(payload["at_ms"].is_u64());
    let (_, granted) = world.post("/v1/leases", &world.checkout(1, "cad")).await;
    let payload: Value = serde_json::from_slice(&blob(&granted["grant"])).unwrap();
    assert_eq!(payload["uses"], json!([]));
}
