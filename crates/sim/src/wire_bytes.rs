//! Bodies of the wire, through their bytes and back: what the simulation sends must be what a peer reads. Grants are signed as the server signs
//! them, and verified as the SDK does.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use serde::{Serialize, de::DeserializeOwned};
use triquest_allocator::{CheckoutItem, Command, Denial, Grant, Instance, LeaseId, Lineage as CoreLineage, Outcome};
use triquest_client::{
    keeper::{Answer as Told, Terms},
    verify::{self, Distrust, GrantExpected, TrustExpected, TrustedServer},
};
use triquest_engine::{
    Asked, Renewal,
    grants::{self, GrantSigner, Place},
};
use triquest_license::{
    CivilMs, LicenseHash, ServerKey, SigningKey, VerifiedLicense, Vocabulary, sha256,
    statement::{self, StatementKind},
};
use triquest_wire::{
    Blob, Bytes16, Bytes32, Bytes64, Lineage, Position, Secret, WordList,
    lease::{
        CheckoutAnswer, CheckoutRequest, Denial as WireDenial, HolderClaim, Item, PoolNumbers, PresenceChangeRequest, PresenceRequest,
        ReleaseAnswer, ReleaseOutcome, RenewAnswer, RenewBatchRequest, RenewRequest, SecretRequest,
    },
    trust::{SignedGrant, TrustAnswer, TrustPayload},
};

use crate::{
    client::Seen,
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

/// A lease's secret; here it begins with the id itself.
fn secret(lease: LeaseId) -> Secret {
    let mut bytes = [0; 32];
    bytes[..16].copy_from_slice(&lease.0);
    Secret(Bytes32(bytes))
}

fn lease_of(secret: &Secret) -> LeaseId {
    LeaseId(*secret.0.0.first_chunk().expect("a secret is longer than an id"))
}

/// A request on its way, with what its client says beside what it asks.
pub struct Asking<'a> {
    /// Its parts, in the order of what is asked; none of what no keeper waits for.
    pub sendings: &'a [Sending],
    /// The highest point of history that the client has seen.
    pub seen: Option<Seen>,
}

impl Asking<'_> {
    fn seen(&self) -> Option<Position> {
        self.seen.map(|seen| Position { lineage: Lineage(seen.lineage.0), epoch: seen.epoch.0, index: seen.index.0 })
    }

    fn nonce(&self) -> [u8; 32] {
        self.sendings.first().map(nonce_of).unwrap_or_default()
    }

    fn renewal(&self, renewal: &Renewal) -> RenewRequest {
        let Renewal { lease, counter, nonce, idle_ms, presence, regained } = *renewal;
        RenewRequest { secret: secret(lease), nonce: Bytes16(nonce), counter, idle_ms, presence, regained, seen: self.seen() }
    }
}

fn renewal_in(command: &Command) -> Option<Renewal> {
    match *command {
        Command::Renew { lease, counter, nonce, idle_ms, presence, regained } => {
            Some(Renewal { lease, counter, nonce, idle_ms, presence, regained })
        }
        _ => None,
    }
}

/// As the server reads it.
fn renewal_of(body: &RenewRequest) -> Renewal {
    let RenewRequest { secret, nonce, counter, idle_ms, presence, regained, seen: _ } = body;
    let (counter, idle_ms, presence, regained) = (*counter, *idle_ms, *presence, *regained);
    Renewal { lease: lease_of(secret), counter, nonce: nonce.0, idle_ms, presence, regained }
}

fn same(good: bool, what: &str) -> Result<(), String> {
    if good { Ok(()) } else { Err(format!("{what} comes back from its bytes as another")) }
}

/// A request through its bytes.
///
/// # Errors
/// What came back as another.
pub fn request(asked: &Asked, asking: &Asking<'_>) -> Result<(), String> {
    match asked {
        Asked::Renew(asked) => {
            let back = through(&asking.renewal(asked))?;
            same(renewal_of(&back) == *asked && back.seen == asking.seen(), "a renewal")
        }
        Asked::Many(commands) => {
            let renewals: Vec<Renewal> = commands.iter().filter_map(renewal_in).collect();
            let back = through(&RenewBatchRequest { renewals: renewals.iter().map(|renewal| asking.renewal(renewal)).collect() })?;
            same(back.renewals.iter().map(renewal_of).eq(renewals), "a batch")
        }
        Asked::One(command) => match &**command {
            Command::Adopt { .. } | Command::Checkout { .. } => checkout(command, asking),
            Command::Release { lease, .. } => {
                same(lease_of(&through(&SecretRequest { secret: secret(*lease) })?.secret) == *lease, "a release")
            }
            Command::PresenceOpened { lease, generation, .. } => {
                let [client, server] = [4_000, 1588].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
                let leases = vec![SecretRequest { secret: secret(*lease) }];
                let back = through(&PresenceRequest { leases, generation: *generation, client, server })?;
                let leases = back.leases.iter().map(|request| lease_of(&request.secret));
                same(leases.eq([*lease]) && (back.generation, back.client, back.server) == (*generation, client, server), "an opening")
            }
            Command::PresenceAdded { lease, connection, generation, .. } => change(*connection, *generation, Some(*lease), None),
            Command::PresenceDropped { lease, connection, generation, .. } => change(*connection, *generation, None, Some(*lease)),
            _ => Ok(()),
        },
    }
}

fn change(connection: u64, generation: u64, add: Option<LeaseId>, drop: Option<LeaseId>) -> Result<(), String> {
    let one = |lease: LeaseId| SecretRequest { secret: secret(lease) };
    let connection = Bytes16(u128::from(connection).to_be_bytes());
    let change = PresenceChangeRequest {
        connection,
        generation,
        add: add.map(one).into_iter().collect(),
        drop: drop.map(one).into_iter().collect(),
    };
    let back = through(&change)?;
    let read = |requests: &[SecretRequest]| requests.iter().map(|request| lease_of(&request.secret)).collect::<Vec<_>>();
    let leases = (read(&back.add), read(&back.drop)) == (Vec::from_iter(add), Vec::from_iter(drop));
    same(leases && (back.connection, back.generation) == (connection, generation), "a change of presence")
}

/// The body of a checkout, without the grant that it may show.
fn checkout_body(command: &Command, asking: &Asking<'_>) -> Option<CheckoutRequest> {
    let (Command::Adopt { lease, attempt, holder, vendor_keys, items, ttl_ms, wait_ms, regained, .. }
    | Command::Checkout { lease, attempt, holder, vendor_keys, items, ttl_ms, wait_ms, regained, .. }) = command
    else {
        return None;
    };
    let nonce = asking.nonce();
    Some(CheckoutRequest {
        secret: secret(*lease),
        attempt: *attempt,
        nonce: Bytes32(nonce),
        vendor_keys: vendor_keys.iter().map(|key| Bytes32(*key)).collect(),
        items: wire_items(items),
        holder: HolderClaim { user: holder.user.as_ref().map(|claim| claim.value.clone()), ..HolderClaim::default() },
        ttl_ms: *ttl_ms,
        wait_ms: *wait_ms,
        seen: asking.seen(),
        shown: None,
        accepts: WordList::with_grease(&Vocabulary::OURS.all(), nonce[23]),
        regained: *regained,
    })
}

fn checkout(command: &Command, asking: &Asking<'_>) -> Result<(), String> {
    let Some(body) = checkout_body(command, asking) else { return Ok(()) };
    let back = through(&body)?;
    let part = |item: &Item| {
        let version = item.version.as_deref().map(str::parse).transpose().ok()?;
        Some(CheckoutItem { feature: item.feature.parse().ok()?, version, seats: item.seats })
    };
    let read: Option<Vec<CheckoutItem>> = back.items.iter().map(part).collect();
    let (Command::Adopt { lease, attempt, holder, vendor_keys, items, ttl_ms, wait_ms, regained, .. }
    | Command::Checkout { lease, attempt, holder, vendor_keys, items, ttl_ms, wait_ms, regained, .. }) = command
    else {
        return Ok(());
    };
    let keys = back.vendor_keys.iter().map(|key| key.0).eq(vendor_keys.iter().copied());
    let user = back.holder.user == holder.user.as_ref().map(|claim| claim.value.clone());
    let numbers = (back.attempt, back.ttl_ms, back.wait_ms, back.regained) == (*attempt, *ttl_ms, *wait_ms, *regained);
    let about = lease_of(&back.secret) == *lease && back.nonce.0 == asking.nonce() && back.seen == asking.seen();
    same(read.as_deref() == Some(items.as_slice()) && keys && user && numbers && about && back.accepts == body.accepts, "a checkout")
}

/// The server's key, and what clients have verified of it.
pub struct Office {
    key: Arc<SigningKey>,
    server_key: ServerKey,
    issued: BTreeMap<LicenseHash, Arc<Issued>>,
    /// By the numbers of the vendor keys that an application embeds, of one start in one history.
    trusted: BTreeMap<(Vec<u8>, [u8; 16], CoreLineage), TrustedServer>,
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
    /// Lease time of the decision.
    pub at_ms: u64,
    /// Civil time of the decision.
    pub wall_ms: i64,
    /// The start that answers.
    pub instance: [u8; 16],
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

    /// Signs one of the grants that are told at one place and stand in one tree. Without the nonce of its request it is of no use.
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
        let payloads = granted.iter().map(|(sending, grant)| signer.payload(grant, nonce(sending), at)).collect();
        signer.sign(payloads, at).into_iter().nth(which)
    }

    /// A grant that a client shows, through its request and as the server reads it.
    ///
    /// # Errors
    /// What came back as another.
    pub fn shown(&self, signed: &SignedGrant, command: &Command, asking: &Asking<'_>) -> Result<(), String> {
        let (Command::Adopt { lease, shown: told, .. }, Some(body)) = (command, checkout_body(command, asking)) else { return Ok(()) };
        let back = through(&CheckoutRequest { shown: Some(signed.clone()), ..body })?;
        let shown = back.shown.ok_or("a shown grant is lost on the way")?;
        let read = grants::shown(&shown, self.server_key.public(), triquest_wire::LeaseId(lease.0), &back.items)?;
        same(read == **told, "a shown grant")
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
        if let (Asks::Release, Outcome::Released { linger_ms, ended }) = (sending.asks, outcome) {
            let ended = ended.map(end_reason);
            let back = through(&ReleaseAnswer { outcome: ReleaseOutcome::Released, position, linger_ms: *linger_ms, ended })?;
            same((back.position, back.linger_ms, back.ended) == (position, *linger_ms, ended), "a release's answer")?;
            return Ok(Some(Told::Released));
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
                same(back == wire_denial(denial), "a denial")?;
                Told::Denied { code: back.code.beside(back.retry), over_in_ms: back.first_due_ms }
            }
            (CheckoutAnswer::Ended { reason, retry, remaining_ms, .. }, _) => Told::Ended { reason: reason.beside(retry), remaining_ms },
            (CheckoutAnswer::Granted { grant: signed, remaining_ms, licenses, .. }, Outcome::Granted(grant)) => {
                match self.believe(telling, &signed, &licenses, grant, remaining_ms)? {
                    Some(terms) => Told::Granted(terms),
                    None => return Ok(None),
                }
            }
            (
                CheckoutAnswer::Waiting { place, pool: back, gives_up_in_ms, first_due_ms, .. },
                Outcome::Waiting { place: decided, pool, gives_up_in_ms: gives_up, first_due_ms: first_due },
            ) => {
                let as_decided = (place, back, gives_up_in_ms, first_due_ms) == (*decided, numbers(pool), *gives_up, *first_due);
                same(as_decided, "a place in line")?;
                Told::Waiting { place }
            }
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
        let mut server = self.trusted(telling, &keys)?;
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
    fn trusted(&mut self, telling: &Telling<'_>, keys: &[triquest_license::VerifierKey]) -> Result<TrustedServer, String> {
        let (numbers, instance) = (telling.keys, telling.instance);
        let start = (numbers.to_vec(), instance, telling.at.lineage);
        if let Some(server) = self.trusted.get(&start) {
            return Ok(server.clone());
        }
        let (nonce, tls_spki) = (nonce_of(telling.sending), sha256(&instance));
        // The journal keeps the first half.
        let mut whole = tls_spki;
        whole[..16].copy_from_slice(&instance);
        let ours = |issued: &&Arc<Issued>| issued.keys.iter().any(|key| numbers.contains(key));
        let licenses: Vec<&VerifiedLicense> = self.issued.values().filter(ours).map(|issued| &issued.license).collect();
        let payload = TrustPayload {
            server_key: self.server_key.to_string(),
            vendor_keys: verify::vendor_keys(keys),
            nonce: Bytes32(nonce),
            tls_spki: Bytes32(tls_spki),
            lineage: Lineage(telling.at.lineage.0),
            instance: Bytes32(whole),
            at_ms: telling.at_ms,
            server_time_ms: telling.wall_ms,
            uses: WordList::default(),
            offers: WordList::with_grease(&Vocabulary::OURS.all(), instance[0]),
            licenses: licenses.iter().map(|license| Bytes32(*license.hash().as_bytes())).collect(),
        };
        let statement = serde_json::to_vec(&payload).map_err(|error| error.to_string())?;
        let signature = Bytes64(statement::sign(&self.key, StatementKind::Trust, &statement));
        let answer =
            TrustAnswer { statement: Blob(statement), signature, licenses: licenses.iter().map(|license| file_of(license)).collect() };
        let expected = TrustExpected { keys, nonce, tls_spki, any_server: true };
        let server = verify::trust(&through(&answer)?, &expected).map_err(|why| format!("a client does not trust its server: {why}"))?;
        self.trusted.insert(start, server.clone());
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
