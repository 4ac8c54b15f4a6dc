//! Entries for tests, made without an allocator.
#![allow(clippy::unwrap_used, dead_code, missing_docs, unreachable_pub)]

use triquest_allocator::{
    Charge, Claim, ContentDigest, EntitlementId, Epoch, Event, GrantedItem, Holder, Index, LeaseId, Lineage, Moment, PoolId, Timestamp,
};
use triquest_journal::record::{Entry, encode_entry};

pub const LINEAGE: Lineage = Lineage([7; 16]);

pub fn lease(number: u64) -> LeaseId {
    let digest = triquest_license::sha256(&number.to_be_bytes());
    LeaseId(digest[..16].try_into().unwrap())
}

pub fn claim(value: &str, proved: bool) -> Option<Claim> {
    Some(Claim { value: value.to_owned(), proved })
}

/// A holder as workstations have them.
pub fn holder(number: u64) -> Holder {
    Holder {
        user: claim(&format!("user{:04}", number % 5000), false),
        host: claim(&format!("ws{:05}", number % 9000), false),
        display: claim(":0", false),
        session: claim("x11", false),
        address: claim(&format!("10.1.{}.{}", number / 256 % 256, number % 256), true),
        process: claim("48213:cad", false),
        ..Holder::default()
    }
}

pub fn granted(number: u64) -> Event {
    Event::Granted {
        lease: lease(number),
        attempt: 1,
        content: ContentDigest(lease(number).0),
        holder: holder(number),
        items: vec![GrantedItem {
            pool: PoolId(3),
            version: "12.4".parse().ok(),
            seats: 1,
            charges: vec![Charge { entitlement: EntitlementId(5), seats: 1 }],
        }],
        ttl_ms: 300_000,
        linger_ms: 0,
        asked_ttl_ms: None,
        claim_due: None,
        embeds: triquest_allocator::VerifierKeys::of(&[[7; 32]]),
        network: None,
    }
}

pub fn entry_of(lineage: Lineage, epoch: u64, index: u64, events: Vec<Event>) -> Vec<u8> {
    encode_entry(&Entry {
        lineage,
        epoch: Epoch(epoch),
        index: Index(index),
        moment: Moment { at: Timestamp(1000 * index), wall_ms: 1_795_000_000_000 + 1000 * index.cast_signed() },
        events,
    })
}

pub fn entry(lineage: Lineage, epoch: u64, index: u64) -> Vec<u8> {
    entry_of(lineage, epoch, index, vec![granted(index)])
}
