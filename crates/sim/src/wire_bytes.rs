//! Bodies of the wire, through their bytes and back: what the simulation sends must be what a peer reads.

use serde::{Serialize, de::DeserializeOwned};
use triquest_allocator::{CheckoutItem, Command, LeaseId, Outcome};
use triquest_engine::Asked;
use triquest_wire::{
    Bytes16, Bytes32, Position, Secret,
    lease::{CheckoutRequest, Item, RenewAnswer, RenewBatchRequest, RenewRequest, SecretRequest},
};

fn through<T: Serialize + DeserializeOwned>(body: &T) -> Result<T, String> {
    let bytes = serde_json::to_vec(body).map_err(|error| format!("a body does not serialize: {error}"))?;
    let back: T = serde_json::from_slice(&bytes).map_err(|error| format!("a body does not read back: {error}"))?;
    let again = serde_json::to_vec(&back).map_err(|error| format!("a body does not serialize: {error}"))?;
    if again == bytes { Ok(back) } else { Err("a body that was read back has other bytes".to_owned()) }
}

fn secret(lease: LeaseId) -> Secret {
    let mut bytes = [0; 32];
    bytes[..16].copy_from_slice(&lease.0);
    Secret(Bytes32(bytes))
}

fn renewal(lease: LeaseId, counter: u64, nonce: [u8; 16]) -> RenewRequest {
    RenewRequest {
        secret: secret(lease),
        nonce: Bytes16(nonce),
        counter,
        idle_ms: None,
        presence: Some(3),
        regained: !counter.is_multiple_of(2),
        seen: Some(Position::default()),
    }
}

fn same(good: bool, what: &str) -> Result<(), String> {
    if good { Ok(()) } else { Err(format!("{what} comes back from its bytes as another")) }
}

/// A request through its bytes.
///
/// # Errors
/// What came back as another.
pub fn request(asked: &Asked) -> Result<(), String> {
    match asked {
        Asked::Renew(asked) => {
            let back = through(&renewal(asked.lease, asked.counter, asked.nonce))?;
            same((back.secret, back.counter, back.nonce.0) == (secret(asked.lease), asked.counter, asked.nonce), "a renewal")
        }
        Asked::Many(commands) => {
            let renewals = commands.iter().filter_map(|command| match command {
                Command::Renew { lease, counter, nonce, .. } => Some(renewal(*lease, *counter, *nonce)),
                _ => None,
            });
            let batch = RenewBatchRequest { renewals: renewals.collect() };
            let back = through(&batch)?;
            same(
                back.renewals.iter().zip(&batch.renewals).all(|(one, other)| (one.secret, one.counter) == (other.secret, other.counter)),
                "a batch",
            )
        }
        Asked::One(command) => match &**command {
            Command::Checkout { lease, attempt, vendor_keys, items, ttl_ms, wait_ms, .. } => {
                checkout(*lease, *attempt, vendor_keys, items, *ttl_ms, *wait_ms)
            }
            Command::Release { lease, .. } => {
                same(through(&SecretRequest { secret: secret(*lease) })?.secret == secret(*lease), "a release")
            }
            _ => Ok(()),
        },
    }
}

fn checkout(
    lease: LeaseId,
    attempt: u32,
    vendor_keys: &[[u8; 32]],
    items: &[CheckoutItem],
    ttl_ms: Option<u64>,
    wait_ms: Option<u64>,
) -> Result<(), String> {
    let body = CheckoutRequest {
        secret: secret(lease),
        attempt,
        nonce: Bytes32([9; 32]),
        vendor_keys: vendor_keys.iter().map(|key| Bytes32(*key)).collect(),
        items: items
            .iter()
            .map(|item| Item {
                feature: item.feature.as_str().to_owned(),
                version: item.version.as_ref().map(ToString::to_string),
                seats: item.seats,
            })
            .collect(),
        holder: triquest_wire::lease::HolderClaim::default(),
        ttl_ms,
        wait_ms,
        seen: None,
        shown: None,
        accepts: triquest_wire::WordList::default(),
        regained: attempt.is_multiple_of(2),
    };
    let back = through(&body)?;
    let read: Option<Vec<CheckoutItem>> = back
        .items
        .iter()
        .map(|item| {
            let version = item.version.as_deref().map(str::parse).transpose().ok()?;
            Some(CheckoutItem { feature: item.feature.parse().ok()?, version, seats: item.seats })
        })
        .collect();
    same(read.as_deref() == Some(items) && (back.attempt, back.ttl_ms, back.wait_ms) == (attempt, ttl_ms, wait_ms), "a checkout")
}

/// An answer through its bytes.
///
/// # Errors
/// What came back as another.
pub fn answer(outcome: &Outcome) -> Result<(), String> {
    let Outcome::Renewed { remaining_ms, regrant } = outcome else { return Ok(()) };
    let position = Position { epoch: 3, index: 17, ..Position::default() };
    let answer = RenewAnswer::Renewed { position, nonce: Bytes16([5; 16]), counter: 8, remaining_ms: *remaining_ms, regrant: *regrant };
    match through(&answer)? {
        RenewAnswer::Renewed { remaining_ms: back, .. } => same(back == *remaining_ms, "an answer to a renewal"),
        RenewAnswer::Ended { .. } => Err("a renewed lease reads back as ended".to_owned()),
    }
}
