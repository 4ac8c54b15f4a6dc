//! Bodies of the wire, through their bytes and back: what the simulation sends must be what a peer reads. Grants are signed as the server signs
//! them, and verified as the SDK does.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Serialize, de::DeserializeOwned};
use triquest_allocator::{CheckoutItem, Command, Denial, Grant, Instance, LeaseId, Outcome, ShownGrant};
use triquest_client::{
    keeper::{Answer as Told, Terms},
    verify::{self, Distrust, GrantExpected, TrustExpected, TrustedServer},
};
use triquest_engine::{
    Asked,
    grants::{self, GrantSigner, Place},
};
use triquest_license::{
    CivilMs, LicenseHash, ServerKey, SigningKey, VerifiedLicense,
    statement::{self, StatementKind},
};
use triquest_wire::{
    Blob, Bytes16, Bytes32, Bytes64, Lineage, Position, Secret, WordList,
    lease::{
        CheckoutAnswer, CheckoutRequest, Denial as WireDenial, Item, PoolNumbers, RenewAnswer, RenewBatchRequest, RenewRequest,
        SecretRequest,
    },
    trust::{SignedGrant, TrustAnswer, TrustPayload},
};

use crate::{
    judge::{Asks, Sending},
    plan::{self, Issued},
    world::{denial_code, end_reason},
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

fn checkout_body(
    lease: LeaseId,
    attempt: u32,
    vendor_keys: &[[u8; 32]],
    items: &[CheckoutItem],
    ttl_ms: Option<u64>,
    wait_ms: Option<u64>,
) -> CheckoutRequest {
    CheckoutRequest {
        secret: secret(lease),
        attempt,
        nonce: Bytes32([9; 32]),
        vendor_keys: vendor_keys.iter().map(|key| Bytes32(*key)).collect(),
        items: wire_items(items),
        holder: triquest_wire::lease::HolderClaim::default(),
        ttl_ms,
        wait_ms,
        seen: None,
        shown: None,
        accepts: triquest_wire::WordList::default(),
        regained: attempt.is_multiple_of(2),
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
    let back = through(&checkout_body(lease, attempt, vendor_keys, items, ttl_ms, wait_ms))?;
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

/// The server's key, and what clients have verified of it.
pub struct Office {
    key: Arc<SigningKey>,
    server_key: ServerKey,
    issued: BTreeMap<LicenseHash, Arc<Issued>>,
    /// By the numbers of the vendor keys that an application embeds.
    trusted: BTreeMap<Vec<u8>, TrustedServer>,
}

/// The nonce of a checkout.
fn nonce_of(sending: &Sending) -> [u8; 32] {
    let mut nonce = [0; 32];
    nonce[..16].copy_from_slice(&sending.lease.0);
    nonce[16..24].copy_from_slice(&sending.call.to_be_bytes());
    nonce
}

fn wire_items(items: &[CheckoutItem]) -> Vec<Item> {
    let one = |item: &CheckoutItem| Item {
        feature: item.feature.as_str().to_owned(),
        version: item.version.as_ref().map(ToString::to_string),
        seats: item.seats,
    };
    items.iter().map(one).collect()
}

fn position_of(at: Place) -> Position {
    Position { lineage: Lineage(at.lineage.0), epoch: at.epoch.0, index: at.index.0 }
}

/// An answer on its way, with what its client knows.
pub struct Telling<'a> {
    /// What it answers.
    pub sending: &'a Sending,
    /// Where in history.
    pub at: Place,
    /// The vendor keys that the application embeds, by number.
    pub keys: &'a [u8],
    /// The parts that it asked for.
    pub items: &'a [CheckoutItem],
    /// Civil time of the decision.
    pub wall_ms: i64,
    /// Its grant, signed.
    pub signed: Option<&'a SignedGrant>,
}

impl Office {
    /// An office that has these licenses at hand.
    #[must_use]
    pub fn new(issued: &BTreeMap<LicenseHash, Arc<Issued>>) -> Self {
        let key = Arc::new(plan::key(200));
        Self { server_key: ServerKey::new(*key.public()), key, issued: issued.clone(), trusted: BTreeMap::new() }
    }

    /// Signs one of the grants of an entry: a new one with all others that are new, one that is told again alone. Without the nonce of its
    /// request it is of no use.
    #[must_use]
    pub fn sign(
        &self,
        instance: [u8; 16],
        granted: &[(&Sending, &Grant)],
        which: usize,
        at: Place,
        with_nonce: bool,
    ) -> Option<SignedGrant> {
        let signer = GrantSigner::new(Arc::clone(&self.key), &self.server_key, Instance(instance));
        let nonce = |sending: &Sending| if with_nonce { nonce_of(sending) } else { [0; 32] };
        let (sending, grant) = granted.get(which)?;
        if !grants::granted_in(grant, at) {
            return signer.sign_again(grant, nonce(sending), at);
        }
        let payloads = granted.iter().map(|(sending, grant)| signer.payload(grant, nonce(sending), at)).collect();
        signer.sign(payloads, at).into_iter().nth(which)
    }

    /// A grant that a client shows, through its request and as the server reads it.
    ///
    /// # Errors
    /// What came back as another.
    pub fn shown(&self, signed: &SignedGrant, lease: LeaseId, items: &[CheckoutItem], told: &ShownGrant) -> Result<(), String> {
        let body = CheckoutRequest { shown: Some(signed.clone()), ..checkout_body(lease, 2, &[[1; 32]], items, None, None) };
        let back = through(&body)?;
        let shown = back.shown.ok_or("a shown grant is lost on the way")?;
        let read = grants::shown(&shown, self.server_key.public(), triquest_wire::LeaseId(lease.0), &back.items)?;
        same(format!("{read:?}") == format!("{told:?}"), "a shown grant")
    }

    /// An answer through its bytes, as its client reads it. `None` if it is none of those that a body carries.
    ///
    /// # Errors
    /// What came back as another, or is not believed.
    pub fn told(&mut self, telling: &Telling<'_>, outcome: &Outcome) -> Result<Option<Told>, String> {
        let (sending, position) = (telling.sending, position_of(telling.at));
        if let Asks::Renew(counter, nonce) = sending.asks {
            let answer = match outcome {
                Outcome::Renewed { remaining_ms, regrant } => {
                    RenewAnswer::Renewed { position, nonce: Bytes16(nonce), counter, remaining_ms: *remaining_ms, regrant: *regrant }
                }
                Outcome::Ended { reason, remaining_ms } => {
                    let reason = end_reason(*reason);
                    RenewAnswer::Ended { position, reason, retry: reason.retry(), remaining_ms: *remaining_ms }
                }
                _ => return Ok(None),
            };
            return Ok(Some(match through(&answer)? {
                RenewAnswer::Renewed { nonce, counter, remaining_ms, regrant, .. } => {
                    Told::Renewed { counter, nonce: nonce.0, remaining_ms, regrant }
                }
                RenewAnswer::Ended { reason, retry, remaining_ms, .. } => Told::Ended { reason: reason.beside(retry), remaining_ms },
            }));
        }
        let answer = match (outcome, telling.signed) {
            (Outcome::Denied(denial), _) => CheckoutAnswer::Denied { position, denial: wire_denial(denial) },
            (Outcome::Ended { reason, remaining_ms }, _) => {
                let reason = end_reason(*reason);
                CheckoutAnswer::Ended { position, reason, retry: reason.retry(), remaining_ms: *remaining_ms }
            }
            (Outcome::Granted(grant), Some(signed)) => {
                let licenses = self.texts(grant);
                CheckoutAnswer::Granted { position, grant: signed.clone(), remaining_ms: grant.remaining_ms, licenses }
            }
            (Outcome::Waiting { place, pool, gives_up_in_ms, first_due_ms }, _) => CheckoutAnswer::Waiting {
                position,
                place: *place,
                pool: numbers(pool),
                gives_up_in_ms: *gives_up_in_ms,
                first_due_ms: *first_due_ms,
            },
            _ => return Ok(None),
        };
        Ok(Some(match (through(&answer)?, outcome) {
            (CheckoutAnswer::Denied { denial: back, .. }, Outcome::Denied(denial)) => {
                let as_decided = (back.pool, back.seats, back.first_due_ms, back.feature.as_deref())
                    == (numbers(&denial.pool), denial.seats, denial.first_due_ms, denial.feature.as_ref().map(|feature| feature.as_str()));
                same(as_decided, "a denial")?;
                Told::Denied { code: back.code.beside(back.retry) }
            }
            (CheckoutAnswer::Ended { reason, retry, remaining_ms, .. }, _) => Told::Ended { reason: reason.beside(retry), remaining_ms },
            (CheckoutAnswer::Granted { grant: signed, remaining_ms, licenses, .. }, Outcome::Granted(grant)) => {
                match self.believe(telling, &signed, &licenses, grant, remaining_ms)? {
                    Some(terms) => Told::Granted(terms),
                    None => return Ok(None),
                }
            }
            (CheckoutAnswer::Waiting { place, .. }, _) => Told::Waiting { place },
            _ => return Err("an answer comes back from its bytes as another".to_owned()),
        }))
    }

    /// The texts that the server sends along: of the licenses that a grant is charged to.
    fn texts(&self, grant: &Grant) -> Vec<String> {
        let mut hashes: Vec<LicenseHash> = grant.items.iter().flat_map(|item| item.from.iter().map(|from| from.0)).collect();
        hashes.sort_unstable();
        hashes.dedup();
        hashes.iter().filter_map(|hash| Some(file_of(&self.issued.get(hash)?.license))).collect()
    }

    /// What the client makes of a signed grant; none if its entitlement has ended by the clock this very moment.
    fn believe(
        &mut self,
        telling: &Telling<'_>,
        signed: &SignedGrant,
        licenses: &[String],
        grant: &Grant,
        remaining_ms: u64,
    ) -> Result<Option<Terms>, String> {
        let keys: Vec<_> = telling.keys.iter().map(|key| plan::verifier_key(*key)).collect();
        let mut server = self.trusted(telling.keys, &keys)?;
        server.learn(licenses, &keys).map_err(|why| format!("a client does not believe in a license that its grant names: {why}"))?;
        let expected = GrantExpected {
            lease: triquest_wire::LeaseId(telling.sending.lease.0),
            nonce: nonce_of(telling.sending),
            items: &wire_items(telling.items),
            now: CivilMs(telling.wall_ms),
        };
        let verified = match verify::grant(signed, &server, &expected) {
            Err(Distrust::Day { .. }) => return Ok(None),
            verified => verified.map_err(|why| format!("a client does not believe its grant: {why}"))?,
        };
        let payload = verified.payload();
        let granted = grant.granted_in.unwrap_or((telling.at.epoch, telling.at.index));
        same((payload.epoch, payload.index) == (granted.0.0, granted.1.0) && payload.lineage.0 == telling.at.lineage.0, "a grant's place")?;
        same(
            (payload.granted_at_ms, payload.ttl_ms, payload.grace_ms, payload.presence, &payload.vendor_data)
                == (grant.granted_at.0, grant.ttl_ms, grant.grace_ms, grant.presence, &grant.vendor_data),
            "a grant",
        )?;
        let read = payload.items.iter().flat_map(|item| item.from.iter().map(|from| (from.license.0, from.entitlement, from.seats)));
        let decided = grant.items.iter().flat_map(|item| item.from.iter().map(|from| (*from.0.as_bytes(), from.1, from.2)));
        same(read.eq(decided), "what a grant is charged to")?;
        Ok(Some(Terms {
            remaining_ms: remaining_ms.min(payload.ttl_ms),
            ttl_ms: payload.ttl_ms,
            grace_ms: payload.grace_ms,
            entitled_until_ms: verified.entitled_until().map(|until| until.0),
        }))
    }

    /// The server as an application with these keys knows it, after the trust exchange.
    fn trusted(&mut self, numbers: &[u8], keys: &[triquest_license::VerifierKey]) -> Result<TrustedServer, String> {
        if let Some(server) = self.trusted.get(numbers) {
            return Ok(server.clone());
        }
        let ours = |issued: &&Arc<Issued>| issued.keys.iter().any(|key| numbers.contains(key));
        let licenses: Vec<&VerifiedLicense> = self.issued.values().filter(ours).map(|issued| &issued.license).collect();
        let payload = TrustPayload {
            server_key: self.server_key.to_string(),
            vendor_keys: verify::vendor_keys(keys),
            nonce: Bytes32([3; 32]),
            tls_spki: Bytes32([4; 32]),
            lineage: Lineage::default(),
            instance: Bytes32([5; 32]),
            at_ms: 0,
            server_time_ms: plan::WALL_START_MS,
            uses: WordList::default(),
            offers: WordList::default(),
            licenses: licenses.iter().map(|license| Bytes32(*license.hash().as_bytes())).collect(),
        };
        let statement = serde_json::to_vec(&payload).map_err(|error| error.to_string())?;
        let signature = Bytes64(statement::sign(&self.key, StatementKind::Trust, &statement));
        let answer =
            TrustAnswer { statement: Blob(statement), signature, licenses: licenses.iter().map(|license| file_of(license)).collect() };
        let expected = TrustExpected { keys, nonce: [3; 32], tls_spki: [4; 32], any_server: true };
        let server = verify::trust(&through(&answer)?, &expected).map_err(|why| format!("a client does not trust its server: {why}"))?;
        self.trusted.insert(numbers.to_vec(), server.clone());
        Ok(server)
    }
}

fn file_of(license: &VerifiedLicense) -> String {
    String::from_utf8_lossy(&license.note().to_file_bytes()).into_owned()
}

fn numbers(pool: &triquest_allocator::PoolNumbers) -> PoolNumbers {
    let triquest_allocator::PoolNumbers { total, used, lingering, reserved_idle, free, over, queued } = *pool;
    PoolNumbers { total, used, lingering, reserved_idle, free, over, queued }
}

fn wire_denial(denial: &Denial) -> WireDenial {
    let code = denial_code(denial.code);
    WireDenial {
        code,
        retry: code.retry(),
        feature: denial.feature.as_ref().map(ToString::to_string),
        seats: denial.seats,
        pool: numbers(&denial.pool),
        first_due_ms: denial.first_due_ms,
        newest_version: denial.newest_version.as_ref().map(ToString::to_string),
        at: denial.at_civil_ms.map(|ms| CivilMs(ms).to_string()),
        message: "simulated".to_owned(),
        hint: String::new(),
    }
}
