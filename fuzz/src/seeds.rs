//! Good inputs to start from.

use triquest_allocator::{
    Actor, Charge, ContentDigest, EndReason, EntitlementId, Epoch, Event, GrantedItem, Holder, Index, LeaseId, Lineage, Moment, PoolId,
    Timestamp, VendorId,
};
use triquest_journal::record::{Entry, encode_entry};
use triquest_license::{FeatureName, LicenseHash, Note, ServerKey, Signer, SigningKey, VendorName};
use triquest_wire::identity::{IdentityReply, IdentityRequest};
use triquest_wire::lease::{
    CheckoutRequest, HolderClaim, Item, PresenceChangeRequest, PresenceRequest, RenewBatchRequest, RenewRequest, SecretRequest,
};
use triquest_wire::{Bytes16, Bytes32, Position, Secret, trust};

/// The text of a license, before it is signed.
#[must_use]
pub fn license_text(signer: &Signer) -> String {
    let server = ServerKey::from(*SigningKey::from_seed([9; 32]).public());
    format!(
        r#"format = "triquest-lm/v1/license"
license  = "ACME-2026-00017"
vendor   = "acme.example"
verifier = ["{}"]
licensee = "Initech GmbH"
issued   = 2026-11-23
servers  = ["{server}"]

[[entitlement]]
feature = "cad-pro"
version = "12.4"
seats   = 25
expires = 2027-12-31
borrow  = "14d"

[[entitlement]]
feature = "cad-sim"
seats   = 100
expires = 2027-12-31T12:00:00+01:00
"#,
        signer.verifier_key()
    )
}

/// Files, lines, texts, drafts and keys.
///
/// # Panics
/// If the license made here is refused.
#[must_use]
pub fn licenses() -> Vec<Vec<u8>> {
    let name = VendorName::new("acme.example").expect("a good name");
    let signer = Signer::new(name.clone(), SigningKey::from_seed([7; 32]));
    let text = license_text(&signer);
    let note = Note::sign(&text, std::slice::from_ref(&signer)).expect("a good text");
    vec![
        note.to_file_bytes(),
        note.to_line().into_bytes(),
        text.into_bytes(),
        signer.verifier_key().to_string().into_bytes(),
        br#"{"licensee":"Initech","servers":"any","entitlement":[{"feature":"cad","seats":2,"expires":"2027-12-31"}]}"#.to_vec(),
    ]
}

/// Entries.
#[must_use]
pub fn records() -> Vec<Vec<u8>> {
    let lease = LeaseId([1; 16]);
    let item = GrantedItem { pool: PoolId(0), version: None, seats: 2, charges: vec![Charge { entitlement: EntitlementId(0), seats: 2 }] };
    let actor = Actor { name: "unix:root".into(), reason: "left the building".into() };
    let events = vec![
        Event::Recovered {
            instance: triquest_allocator::Instance([7; 16]),
            epoch: Epoch(1),
            lineage: Lineage([3; 16]),
            quarantine_until: None,
            remember_ms: triquest_allocator::limits::REMEMBER_MS,
            wait_ttl_ms: triquest_allocator::limits::WAIT_TTL_MS,
        },
        Event::VendorKeys { vendor: VendorId(0), name: "acme.example".into(), keys: vec![[7; 32]] },
        Event::PoolOpened { pool: PoolId(0), vendor: VendorId(0), feature: FeatureName::new("cad-pro").expect("a good name") },
        Event::LicenseInstalled {
            license: LicenseHash::of_text("x"),
            terms: {
                let note = triquest_license::read_any(&licenses().swap_remove(0)).expect("a good note");
                let terms = triquest_license::LicenseTerms::parse(note.text()).expect("a good text");
                std::sync::Arc::new(triquest_allocator::InstalledTerms::of(&terms))
            },
            note: licenses().swap_remove(0),
            vendor: VendorId(0),
            first_entitlement: EntitlementId(0),
            pools: vec![PoolId(0), PoolId(0)],
            actor: actor.clone(),
        },
        Event::EntitlementBegan { entitlement: EntitlementId(0) },
        Event::Granted {
            lease,
            attempt: 1,
            content: ContentDigest([2; 16]),
            holder: Holder::default(),
            items: vec![item],
            ttl_ms: 300_000,
            linger_ms: 0,
            asked_ttl_ms: None,
            claim_due: None,
            embeds: triquest_allocator::VerifierKeys::of(&[[7; 32]]),
            network: None,
        },
        Event::Heard { lease },
        Event::ClockMarked,
        Event::Ended {
            lease,
            due: Timestamp(9),
            reason: EndReason::Expired,
            linger_until: Some(Timestamp(12)),
            items: Vec::new(),
            actor: Some(actor),
        },
        Event::Forgot { until: Timestamp(20) },
    ];
    let entry = |events: Vec<Event>, index| {
        encode_entry(&Entry {
            lineage: Lineage([3; 16]),
            epoch: Epoch(1),
            index: Index(index),
            moment: Moment { at: Timestamp(5), wall_ms: 1_795_000_000_000 },
            events,
        })
    };
    let mut seeds: Vec<Vec<u8>> = events.iter().map(|event| entry(vec![event.clone()], 1)).collect();
    seeds.push(entry(events, 2));
    seeds
}

/// Request bodies and signed payloads.
#[must_use]
pub fn bodies() -> Vec<Vec<u8>> {
    let secret = Secret(Bytes32([5; 32]));
    let position = Position::default();
    let accepts = triquest_wire::WordList::with_grease(&triquest_license::Vocabulary::OURS.all(), 7);
    let checkout = CheckoutRequest {
        accepts: accepts.clone(),
        secret,
        attempt: 1,
        nonce: Bytes32([6; 32]),
        vendor_keys: vec![Bytes32([7; 32])],
        items: vec![Item { feature: "cad-pro".into(), version: Some("12.4".into()), seats: 2 }],
        holder: HolderClaim { user: Some("ana".into()), host: Some("ws1".into()), ..HolderClaim::default() },
        ttl_ms: Some(60_000),
        wait_ms: Some(600_000),
        seen: Some(position),
        shown: None,
        regained: false,
    };
    let renewal =
        RenewRequest { secret, nonce: Bytes16([8; 16]), counter: 3, idle_ms: Some(10), seen: None, presence: Some(1), regained: true };
    let statement = trust::GrantsStatement {
        server_key: format!("tqs1:{}", "9f".repeat(32)),
        lineage: position.lineage,
        epoch: 1,
        instance: Bytes16([6; 16]),
        index: 2,
        size: 1,
        root: Bytes32([4; 32]),
    };
    let grant = trust::GrantPayload {
        uses: triquest_wire::WordList::default(),
        lease: secret.lease_id(),
        nonce: Bytes32([6; 32]),
        server_key: statement.server_key.clone(),
        lineage: position.lineage,
        epoch: 1,
        index: 2,
        granted_at_ms: 5,
        ttl_ms: 300_000,
        grace_ms: 0,
        presence: true,
        items: vec![trust::GrantedItem {
            feature: "cad-pro".into(),
            version: None,
            seats: 1,
            from: vec![trust::From { license: Bytes32([1; 32]), entitlement: 0, seats: 1 }],
        }],
        vendor_data: vec!["x".into()],
    };
    let trust = trust::TrustRequest { vendor_keys: vec![Bytes32([7; 32])], nonce: Bytes32([6; 32]), tls_spki: Bytes32([2; 32]), accepts };
    let presence = PresenceRequest {
        leases: vec![SecretRequest { secret }],
        generation: 1,
        client: ([192, 0, 2, 7], 40_112).into(),
        server: ([192, 0, 2, 1], 1588).into(),
    };
    let change = PresenceChangeRequest {
        connection: Bytes16([9; 16]),
        generation: 1,
        add: vec![SecretRequest { secret }],
        drop: vec![SecretRequest { secret }],
    };
    vec![
        json(&checkout),
        json(&renewal),
        json(&RenewBatchRequest { renewals: vec![renewal; 2] }),
        json(&SecretRequest { secret }),
        json(&presence),
        json(&change),
        json(&trust),
        json(&statement),
        json(&grant),
        br#"{"reason":"left the building","now":true}"#.to_vec(),
        br#"{"outcome":"renewed","position":{"lineage":"00000000000000000000000000000000","epoch":1,"index":2},"nonce":"AAAAAAAAAAAAAAAAAAAAAA","counter":1,"remaining_ms":5}"#.to_vec(),
        position.to_string().into_bytes(),
    ]
}

/// Identity datagrams: a question, and answers with and without what may be missing.
#[must_use]
pub fn identities() -> Vec<Vec<u8>> {
    let key = SigningKey::from_seed(crate::IDENTITY_SEED);
    let reply = IdentityReply {
        nonce: [3; 32],
        server_key: ServerKey::from(*key.public()),
        tls_spki: [4; 32],
        instance: [5; 8],
        tcp_port: 1588,
        asker: ([10, 1, 4, 20], 40_000).into(),
        answerer: Some([0xfd00, 4, 0, 0, 0, 0, 0, 0x20].into()),
        name: "tqlic01.initech.example".into(),
        version: "0.1.0+dev".into(),
    };
    let bare = IdentityReply { answerer: None, name: String::new(), version: String::new(), ..reply.clone() };
    vec![IdentityRequest { nonce: [3; 32] }.encode().to_vec(), reply.encode(&key), bare.encode(&key)]
}

fn json<T: serde::Serialize>(body: &T) -> Vec<u8> {
    serde_json::to_vec(body).expect("a body is JSON")
}
