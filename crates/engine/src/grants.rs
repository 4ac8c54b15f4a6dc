//! Signed grants: the grants of one entry are leaves of one Merkle tree, and the server signs its root once. A client shows them again, and they are
//! read here too.

use std::sync::Arc;

use serde::Serialize;
use triquest_allocator::{Epoch, Grant, Index, Instance, Lineage, ShownGrant, ShownItem};
use triquest_license::{
    FeatureName, LicenseHash, PublicKey, ServerKey, SigningKey, Version, merkle,
    statement::{self, StatementKind},
};
use triquest_wire::{
    Blob, Bytes16, Bytes32, Bytes64, LeaseId,
    lease::Item as AskedItem,
    trust::{GrantPayload, GrantedItem, GrantsStatement, SignedGrant},
};

/// Signs for this server.
pub struct GrantSigner {
    key: Arc<SigningKey>,
    server_key: String,
    instance: Bytes16,
}

/// Of which entry a statement speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The history.
    pub lineage: Lineage,
    /// The epoch.
    pub epoch: Epoch,
    /// The entry.
    pub index: Index,
}

/// Whether this very entry made the grant.
#[must_use]
pub fn granted_in(grant: &Grant, here: Place) -> bool {
    grant.granted_in.is_none_or(|(epoch, index)| (epoch, index) == (here.epoch, here.index))
}

/// The entry that granted what is told at this place: an older one if a request is repeated.
#[must_use]
pub fn granted_at(grant: &Grant, here: Place) -> Place {
    grant.granted_in.map_or(here, |(epoch, index)| Place { epoch, index, ..here })
}

/// [`GrantPayload`] without copies of its texts: this is written for every grant.
#[derive(Serialize)]
struct Payload<'a> {
    uses: &'static [&'static str],
    lease: LeaseId,
    nonce: Bytes32,
    server_key: &'a str,
    lineage: triquest_wire::Lineage,
    epoch: u64,
    index: u64,
    granted_at_ms: u64,
    ttl_ms: u64,
    grace_ms: u64,
    presence: bool,
    items: Vec<Item<'a>>,
    vendor_data: &'a [String],
}

#[derive(Serialize)]
struct Item<'a> {
    feature: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<Text<'a, Version>>,
    seats: u32,
    from: Vec<triquest_wire::trust::From>,
}

/// Written as text.
struct Text<'a, T>(&'a T);

impl<T: std::fmt::Display> Serialize for Text<'_, T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self.0)
    }
}

impl GrantSigner {
    /// Signs with this key, for the start that has this instance.
    #[must_use]
    pub fn new(key: Arc<SigningKey>, server_key: &ServerKey, instance: Instance) -> Self {
        Self { key, server_key: server_key.to_string(), instance: Bytes16(instance.0) }
    }

    /// The bytes of a grant's payload, told at this place.
    #[must_use]
    pub fn payload(&self, grant: &Grant, nonce: [u8; 32], here: Place) -> Vec<u8> {
        let granted = granted_at(grant, here);
        let payload = Payload {
            uses: &[],
            lease: LeaseId(grant.lease.0),
            nonce: Bytes32(nonce),
            server_key: &self.server_key,
            lineage: triquest_wire::Lineage(granted.lineage.0),
            epoch: granted.epoch.0,
            index: granted.index.0,
            granted_at_ms: grant.granted_at.0,
            ttl_ms: grant.ttl_ms,
            grace_ms: grant.grace_ms,
            presence: grant.presence,
            items: grant
                .items
                .iter()
                .map(|item| Item {
                    feature: item.feature.as_str(),
                    version: item.version.as_ref().map(Text),
                    seats: item.seats,
                    from: item
                        .from
                        .iter()
                        .map(|(license, entitlement, seats)| triquest_wire::trust::From {
                            license: Bytes32(*license.as_bytes()),
                            entitlement: *entitlement,
                            seats: *seats,
                        })
                        .collect(),
                })
                .collect(),
            vendor_data: &grant.vendor_data,
        };
        let mut bytes = Vec::with_capacity(640);
        serde_json::to_writer(&mut bytes, &payload).expect("a grant has only text keys, and memory takes all");
        bytes
    }

    /// Signs payloads as the leaves of one tree, in their order: those that an entry granted, or repeats that are told at one place.
    #[must_use]
    pub fn sign(&self, payloads: Vec<Vec<u8>>, at: Place) -> Vec<SignedGrant> {
        if payloads.is_empty() {
            return Vec::new();
        }
        let leaves: Vec<_> = payloads.iter().map(|payload| merkle::leaf_hash(payload)).collect();
        let body = GrantsStatement {
            server_key: self.server_key.clone(),
            lineage: triquest_wire::Lineage(at.lineage.0),
            epoch: at.epoch.0,
            instance: self.instance,
            index: at.index.0,
            size: leaves.len() as u64,
            root: Bytes32(merkle::root(&leaves)),
        };
        let body = serde_json::to_vec(&body).expect("a statement has only text keys, and memory takes all");
        let signature = Bytes64(statement::sign(&self.key, StatementKind::Grants, &body));
        payloads
            .into_iter()
            .zip(merkle::paths(&leaves))
            .zip(0..)
            .map(|((grant, path), position)| SignedGrant {
                grant: Blob(grant),
                position,
                path: path.into_iter().map(Bytes32).collect(),
                statement: Blob(body.clone()),
                signature,
            })
            .collect()
    }
}

/// Checks the signature and form of a grant that a client shows for this lease and these parts. What it says of our history is for the
/// allocator to judge.
///
/// # Errors
/// What is wrong with it, as the end of a sentence.
pub fn shown(shown: &SignedGrant, key: &PublicKey, lease: LeaseId, items: &[AskedItem]) -> Result<ShownGrant, &'static str> {
    statement::verify(key, StatementKind::Grants, &shown.statement.0, &shown.signature.0).map_err(|_| "not signed by this server")?;
    let root: GrantsStatement = serde_json::from_slice(&shown.statement.0).map_err(|_| "no statement over grants")?;
    let path: Vec<[u8; 32]> = shown.path.iter().map(|hash| hash.0).collect();
    if !merkle::verify_path(&merkle::leaf_hash(&shown.grant.0), shown.position, root.size, &path, &root.root.0) {
        return Err("the grant is not among those that were signed");
    }
    let grant: GrantPayload = serde_json::from_slice(&shown.grant.0).map_err(|_| "no grant")?;
    if grant.lease != lease {
        return Err("it is the grant of another lease");
    }
    let asked = items.iter().map(|item| (&item.feature, &item.version, item.seats));
    if !grant.items.iter().map(|item| (&item.feature, &item.version, item.seats)).eq(asked) {
        return Err("it grants other parts");
    }
    let part = |item: &GrantedItem| {
        let feature = FeatureName::new(&item.feature).map_err(|_| "no feature")?;
        let from = item.from.iter().map(|from| (LicenseHash::from_bytes(from.license.0), from.entitlement, from.seats));
        Ok(ShownItem { feature, from: from.collect() })
    };
    Ok(ShownGrant {
        lineage: Lineage(root.lineage.0),
        epoch: Epoch(root.epoch),
        instance: Instance(root.instance.0),
        index: Index(root.index),
        ttl_ms: grant.ttl_ms,
        items: grant.items.iter().map(part).collect::<Result<_, &'static str>>()?,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::Arc;

    use triquest_allocator::{Epoch, Grant, GrantItem, Index, Instance, LeaseId, Lineage, Timestamp};
    use triquest_license::{FeatureName, LicenseHash, ServerKey, SigningKey, merkle, statement};
    use triquest_wire::trust::{GrantPayload, GrantsStatement};

    use super::{GrantSigner, Place};

    fn grant(number: u8) -> Grant {
        Grant {
            lease: LeaseId([number; 16]),
            granted_at: Timestamp(77),
            granted_in: None,
            ttl_ms: 300_000,
            remaining_ms: 300_000,
            grace_ms: 60_000,
            presence: true,
            items: vec![GrantItem {
                feature: FeatureName::new("cad-pro").unwrap(),
                version: Some("12.4".parse().unwrap()),
                seats: 3,
                from: vec![(LicenseHash::from_bytes([1; 32]), 0, 2), (LicenseHash::from_bytes([2; 32]), 1, 1)],
            }],
            vendor_data: vec!["a \"quoted\" text".to_owned()],
        }
    }

    #[test]
    fn every_grant_of_an_entry_is_proved_by_one_signature() {
        let key = Arc::new(SigningKey::from_seed([7; 32]));
        let server_key = ServerKey::new(*key.public());
        let signer = GrantSigner::new(Arc::clone(&key), &server_key, Instance([6; 16]));
        let place = Place { lineage: Lineage([9; 16]), epoch: Epoch(3), index: Index(41) };
        for size in 1..=9u8 {
            let payloads: Vec<_> = (0..size).map(|number| signer.payload(&grant(number), [number; 32], place)).collect();
            let signed = signer.sign(payloads, place);
            assert_eq!(signed.len(), usize::from(size));
            for (number, signed) in (0u8..).zip(&signed) {
                statement::verify(server_key.public(), statement::StatementKind::Grants, &signed.statement.0, &signed.signature.0).unwrap();
                let body: GrantsStatement = serde_json::from_slice(&signed.statement.0).unwrap();
                let path: Vec<_> = signed.path.iter().map(|hash| hash.0).collect();
                assert!(merkle::verify_path(&merkle::leaf_hash(&signed.grant.0), signed.position, body.size, &path, &body.root.0));
                assert_eq!((body.epoch, body.instance.0, body.index), (3, [6; 16], 41));
                assert_eq!(body.server_key, server_key.to_string());
                let payload: GrantPayload = serde_json::from_slice(&signed.grant.0).unwrap();
                assert_eq!(
                    serde_json::to_vec(&payload).unwrap(),
                    signed.grant.0,
                    "the borrowed form writes what the wire's own form writes"
                );
                assert_eq!(payload.lease.0, [number; 16]);
                assert_eq!(payload.nonce.0, [number; 32]);
                assert_eq!(payload.items[0].from.iter().map(|from| from.seats).sum::<u32>(), payload.items[0].seats);
            }
        }
    }
}
