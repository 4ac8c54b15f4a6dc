//! How the state keeps a million leases small: interned holders and wishes, a chunked slab, a sharded index, a lazy wheel of deadlines.
//!
//! Nothing here doubles in one step: chunks never move, shards and buckets are small, so that no command pays for growth.

use std::{
    borrow::Borrow,
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
    io::Write as _,
    sync::Arc,
};

use triquest_license::{FeatureName, Version};

use crate::{Charge, Claim, ContentDigest, EndReason, EntitlementId, Holder, LeaseId, Network, PoolId, Timestamp, VerifierKeys};

/// A version as coverage compares it: an entitlement covers a lease whose rank is at most its own. A right without a version covers all;
/// who does not say what it runs asks for no gate, and any right covers it.
pub(crate) type Rank = [u32; 5];

/// The rank of what is asked for.
pub(crate) fn asked_rank(version: Option<&Version>) -> Rank {
    version.map_or([0; 5], |version| covered_rank(Some(version)))
}

/// The rank of what a right covers.
pub(crate) fn covered_rank(version: Option<&Version>) -> Rank {
    match version {
        None => [1, 0, 0, 0, 0],
        Some(version) => {
            let [a, b, c, d] = version.parts();
            [0, a, b, c, d]
        }
    }
}

/// A holder without its process number, and its network, encoded: for each field that is there a tag, whether it is proved, its length and
/// its bytes.
#[derive(Debug)]
pub(crate) struct HolderBase(Box<[u8]>);

impl Keyed for HolderBase {
    fn key(&self) -> &[u8] {
        &self.0
    }
}

/// A pointer to a shared [`HolderBase`] with the one number that no two leases share.
#[derive(Clone, Debug)]
pub(crate) struct HolderRef {
    base: Arc<HolderBase>,
    pid: u32,
}

const TAG_PROVED: u8 = 0x40;
/// The process begins with a number that is kept apart.
const TAG_NUMBERED: u8 = 0x80;

/// Splits `pid` or `pid:name` if putting it together again gives the same text.
fn numbered(process: &str) -> Option<(u32, &str)> {
    let digits = process.bytes().take_while(u8::is_ascii_digit).count();
    let (number, rest) = process.split_at(digits);
    let plain = digits == 1 || !number.starts_with('0');
    if digits == 0 || !plain || !(rest.is_empty() || rest.starts_with(':')) {
        return None;
    }
    number.parse().ok().map(|pid| (pid, rest))
}

/// What is shared is found by the bytes that it is made of.
pub(crate) trait Keyed {
    fn key(&self) -> &[u8];
}

/// A key with its fingerprint, which settles nearly all comparisons without a look at the bytes. Clients choose the bytes, so equal
/// fingerprints must be harmless: then the bytes decide.
trait Probe {
    fn probe(&self) -> (u64, &[u8]);
}

struct Wanted<'a>(u64, &'a [u8]);

impl Probe for Wanted<'_> {
    fn probe(&self) -> (u64, &[u8]) {
        (self.0, self.1)
    }
}

#[derive(Debug)]
struct Shared<T>(u64, Arc<T>);

impl<T: Keyed> Probe for Shared<T> {
    fn probe(&self) -> (u64, &[u8]) {
        (self.0, self.1.key())
    }
}

impl PartialEq for dyn Probe + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.probe() == other.probe()
    }
}

impl Eq for dyn Probe + '_ {}

impl PartialOrd for dyn Probe + '_ {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for dyn Probe + '_ {
    fn cmp(&self, other: &Self) -> Ordering {
        self.probe().cmp(&other.probe())
    }
}

impl<T: Keyed> PartialEq for Shared<T> {
    fn eq(&self, other: &Self) -> bool {
        self.probe() == other.probe()
    }
}

impl<T: Keyed> Eq for Shared<T> {}

impl<T: Keyed> PartialOrd for Shared<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T: Keyed> Ord for Shared<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.probe().cmp(&other.probe())
    }
}

impl<'a, T: Keyed + 'a> Borrow<dyn Probe + 'a> for Shared<T> {
    fn borrow(&self) -> &(dyn Probe + 'a) {
        self
    }
}

/// FNV-1a.
fn fingerprint(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Things that many leases have in common, kept once.
#[derive(Debug)]
struct Interned<T> {
    all: BTreeSet<Shared<T>>,
}

impl<T> Default for Interned<T> {
    fn default() -> Self {
        Self { all: BTreeSet::new() }
    }
}

impl<T: Keyed> Interned<T> {
    fn intern(&mut self, key: &[u8], make: impl FnOnce() -> T) -> Arc<T> {
        let fingerprint = fingerprint(key);
        if let Some(found) = self.all.get(&Wanted(fingerprint, key) as &dyn Probe) {
            return Arc::clone(&found.1);
        }
        let made = Arc::new(make());
        self.all.insert(Shared(fingerprint, Arc::clone(&made)));
        made
    }

    /// Lets go of one; the last to share it frees it.
    fn release(&mut self, item: &Arc<T>) {
        if Arc::strong_count(item) == 2 {
            let key = item.key();
            self.all.remove(&Wanted(fingerprint(key), key) as &dyn Probe);
        }
    }
}

/// Holders that leases share.
#[derive(Debug, Default)]
pub(crate) struct Holders {
    bases: Interned<HolderBase>,
    scratch: Vec<u8>,
}

impl Holders {
    /// Keeps a holder.
    pub(crate) fn intern(&mut self, holder: &Holder, network: Option<Network>) -> HolderRef {
        let mut bytes = std::mem::take(&mut self.scratch);
        bytes.clear();
        let mut pid = 0;
        for (tag, claim) in fields(holder) {
            let Some(claim) = claim else { continue };
            let mut text = claim.value.as_str();
            let mut tag = tag | if claim.proved { TAG_PROVED } else { 0 };
            if tag & 0x3f == PROCESS
                && let Some((number, rest)) = numbered(text)
            {
                (pid, text) = (number, rest);
                tag |= TAG_NUMBERED;
            }
            bytes.push(tag);
            bytes.extend_from_slice(&(text.len() as u32).to_le_bytes()[..3]);
            bytes.extend_from_slice(text.as_bytes());
        }
        let network: &[u8] = match &network {
            Some(Network::V4(network)) => network,
            Some(Network::V6(network)) => network,
            None => &[],
        };
        if !network.is_empty() {
            bytes.extend_from_slice(&[NETWORK, network.len() as u8, 0, 0]);
            bytes.extend_from_slice(network);
        }
        let base = self.bases.intern(&bytes, || HolderBase(bytes.as_slice().into()));
        self.scratch = bytes;
        HolderRef { base, pid }
    }

    /// Lets a holder go.
    pub(crate) fn release(&mut self, holder: HolderRef) {
        self.bases.release(&holder.base);
    }
}

const PROCESS: u8 = 6;
/// No field of the holder: the network that its lease is counted for.
const NETWORK: u8 = 9;

fn fields(holder: &Holder) -> [(u8, Option<&Claim>); 9] {
    [
        (0, holder.user.as_ref()),
        (1, holder.host.as_ref()),
        (2, holder.display.as_ref()),
        (3, holder.session.as_ref()),
        (4, holder.address.as_ref()),
        (5, holder.container.as_ref()),
        (PROCESS, holder.process.as_ref()),
        (7, holder.job.as_ref()),
        (8, holder.project.as_ref()),
    ]
}

/// Takes the first field off.
fn next_field<'a>(rest: &mut &'a [u8]) -> Option<(u8, &'a [u8])> {
    let [tag, a, b, c, tail @ ..] = *rest else { return None };
    let length = u32::from_le_bytes([*a, *b, *c, 0]) as usize;
    let (text, tail) = tail.split_at(length.min(tail.len()));
    *rest = tail;
    Some((*tag, text))
}

impl HolderRef {
    /// The network that its lease is counted for.
    pub(crate) fn network(&self) -> Option<Network> {
        let mut rest = &self.base.0[..];
        let (_, bytes) = std::iter::from_fn(|| next_field(&mut rest)).find(|(tag, _)| *tag == NETWORK)?;
        match (bytes.try_into(), bytes.try_into()) {
            (Ok(network), _) => Some(Network::V4(network)),
            (_, Ok(network)) => Some(Network::V6(network)),
            _ => None,
        }
    }

    /// The holder as it came.
    pub(crate) fn holder(&self) -> Holder {
        let mut holder = Holder::default();
        let mut rest = &self.base.0[..];
        while let Some((tag, text)) = next_field(&mut rest) {
            if tag & 0x3f == NETWORK {
                continue;
            }
            let mut value = String::from_utf8_lossy(text).into_owned();
            if tag & TAG_NUMBERED != 0 {
                value = format!("{}{value}", self.pid);
            }
            let claim = Some(Claim { value, proved: tag & TAG_PROVED != 0 });
            match tag & 0x3f {
                0 => holder.user = claim,
                1 => holder.host = claim,
                2 => holder.display = claim,
                3 => holder.session = claim,
                4 => holder.address = claim,
                5 => holder.container = claim,
                PROCESS => holder.process = claim,
                7 => holder.job = claim,
                _ => holder.project = claim,
            }
        }
        holder
    }
}

/// One part of a wish.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WishItem {
    pub(crate) pool: PoolId,
    pub(crate) version: Option<Version>,
    pub(crate) seats: u32,
}

impl WishItem {
    pub(crate) fn rank(&self) -> Rank {
        asked_rank(self.version.as_ref())
    }
}

/// Keys that the applications of leases and waiters embed, kept once for all that embed the same.
#[derive(Debug)]
pub(crate) struct KeySet {
    /// No two sets that are kept have the same, and none has that of one that was kept before.
    pub(crate) id: u64,
    pub(crate) keys: VerifierKeys,
}

impl Keyed for KeySet {
    fn key(&self) -> &[u8] {
        self.keys.as_slice().as_flattened()
    }
}

/// Sets of keys that leases and waiters share.
#[derive(Debug, Default)]
pub(crate) struct KeySets {
    all: Interned<KeySet>,
    next: u64,
}

impl KeySets {
    /// Keeps a set.
    pub(crate) fn intern(&mut self, keys: &VerifierKeys) -> Arc<KeySet> {
        let next = &mut self.next;
        self.all.intern(keys.as_slice().as_flattened(), || {
            *next += 1;
            KeySet { id: *next, keys: keys.clone() }
        })
    }

    /// Whether a set is kept.
    pub(crate) fn contains(&self, keys: &VerifierKeys) -> bool {
        let key = keys.as_slice().as_flattened();
        self.all.all.contains(&Wanted(fingerprint(key), key) as &dyn Probe)
    }

    /// All that are kept, in no order that means anything.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &VerifierKeys> {
        self.all.all.iter().map(|set| &set.1.keys)
    }

    /// Lets one go.
    pub(crate) fn release(&mut self, set: &Arc<KeySet>) {
        self.all.release(set);
    }
}

/// What moves alike between entitlements: leases of one version, whose clients embed the same keys (the id of their [`KeySet`]).
pub(crate) type Kind = (Rank, u64);

/// What a lease is for, shared by all that want the same.
#[derive(Debug)]
pub(crate) struct Wish {
    key: Box<[u8]>,
    pub(crate) items: Box<[WishItem]>,
    /// What its client can verify.
    pub(crate) embeds: Arc<KeySet>,
    pub(crate) ttl_ms: u32,
    pub(crate) linger_ms: u32,
    /// The time to live that was asked for; none: what the license says.
    pub(crate) asked_ttl_ms: Option<u32>,
}

impl Keyed for Wish {
    fn key(&self) -> &[u8] {
        &self.key
    }
}

impl Wish {
    /// Where one of its parts may move.
    pub(crate) fn kind(&self, item: usize) -> Kind {
        (self.items[item].rank(), self.embeds.id)
    }
}

/// Wishes that leases share.
#[derive(Debug, Default)]
pub(crate) struct Wishes {
    all: Interned<Wish>,
    pub(crate) key_sets: KeySets,
    scratch: Vec<u8>,
}

impl Wishes {
    /// Keeps a wish. The key has versions as they were written: 12 and 12.0 are equal, but not the same text.
    pub(crate) fn intern(
        &mut self,
        items: impl Iterator<Item = WishItem> + Clone,
        ttl_ms: u64,
        linger_ms: u64,
        asked_ttl_ms: Option<u64>,
        embeds: &VerifierKeys,
    ) -> Arc<Wish> {
        let embeds = self.key_sets.intern(embeds);
        let mut key = std::mem::take(&mut self.scratch);
        key.clear();
        let (ttl_ms, linger_ms, asked_ttl_ms) = (narrow(ttl_ms), narrow(linger_ms), asked_ttl_ms.map(narrow));
        key.push(u8::from(asked_ttl_ms.is_some()));
        key.extend_from_slice(&asked_ttl_ms.unwrap_or(0).to_le_bytes());
        key.extend_from_slice(&ttl_ms.to_le_bytes());
        key.extend_from_slice(&linger_ms.to_le_bytes());
        key.extend_from_slice(&embeds.id.to_le_bytes());
        for item in items.clone() {
            key.extend_from_slice(&item.pool.0.to_le_bytes());
            key.extend_from_slice(&item.seats.to_le_bytes());
            if let Some(version) = item.version {
                write!(key, "{version}").expect("writing to memory does not fail");
            }
            key.push(0);
        }
        let wish = self.all.intern(&key, || Wish {
            key: key.as_slice().into(),
            items: items.collect(),
            embeds: Arc::clone(&embeds),
            ttl_ms,
            linger_ms,
            asked_ttl_ms,
        });
        self.scratch = key;
        // The wish holds it.
        self.key_sets.release(&embeds);
        wish
    }

    /// Lets a wish go.
    pub(crate) fn release(&mut self, wish: Arc<Wish>) {
        let embeds = Arc::clone(&wish.embeds);
        self.all.release(&wish);
        drop(wish);
        self.key_sets.release(&embeds);
    }
}

/// Milliseconds that a lease carries fit 32 bits: times to live are under a day, lingers are cut at 49 days when they are taken over.
pub(crate) fn narrow(ms: u64) -> u32 {
    u32::try_from(ms).unwrap_or(u32::MAX)
}

/// Where a lease is kept.
pub(crate) type Slot = u32;

/// Charged to more than one entitlement or with more than one part: the side table has it.
pub(crate) const SPREAD: u32 = u32::MAX;
/// Granted by events that no index is known for yet.
pub(crate) const UNSEALED: u64 = u64::MAX;

/// A live or lingering lease.
#[derive(Debug)]
pub(crate) struct Lease {
    pub(crate) id: LeaseId,
    pub(crate) content: ContentDigest,
    pub(crate) holder: HolderRef,
    /// The one entitlement that all its seats are charged to, or [`SPREAD`].
    pub(crate) charged_to: u32,
    pub(crate) wish: Arc<Wish>,
    pub(crate) granted_at: Timestamp,
    pub(crate) granted_wall_ms: i64,
    pub(crate) granted_index: u64,
    /// Soft, but for an ending, lingering or unheard lease.
    pub(crate) deadline: Timestamp,
    /// Soft: the last renewal's counter.
    pub(crate) counter: u64,
    /// Soft: what is left of its nonce.
    pub(crate) nonce: u32,
    pub(crate) granted_epoch: u32,
    pub(crate) heard: u32,
    pub(crate) attempt: u32,
    /// Soft: the second of the wheel that has it.
    pub(crate) bucket: u32,
    pub(crate) ending: Option<EndReason>,
    pub(crate) phase: Phase,
    /// Soft: charges moved since the client's last grant.
    pub(crate) regrant: bool,
}

/// What kind of life a lease has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Granted to a waiter that has not come for it yet.
    Claimable,
    /// Held.
    Live,
    /// Given back, seats taken until the deadline.
    Lingering,
}

const CHUNK: usize = 1_024;
/// Shards and rows of shards: each is made when it is first needed, so that a small state stays small.
const SHARDS: usize = 128;

/// All live and lingering leases.
#[derive(Debug, Default)]
pub(crate) struct LeaseTable {
    chunks: Vec<Box<[Option<Lease>]>>,
    free: Vec<Slot>,
    next: Slot,
    /// Slots by id: row and shard are the id's first and second seven bits, so that walking the shards is walking the ids in order.
    /// Beside each slot stand the next bits of its id: a search touches the slab once.
    shards: Vec<Vec<Vec<(u32, Slot)>>>,
    len: usize,
    /// Charges, for each part, of leases that are [`SPREAD`].
    spread: BTreeMap<Slot, Box<[Vec<Charge>]>>,
}

fn shard_of(id: &LeaseId) -> (usize, usize) {
    let bits = usize::from(u16::from_be_bytes([id.0[0], id.0[1]]) >> 2);
    (bits / SHARDS, bits % SHARDS)
}

/// The 32 bits of an id that follow those of its shard.
fn fragment_of(id: &LeaseId) -> u32 {
    let [a, b, c, d, e, f, ..] = id.0;
    let bits = u64::from_be_bytes([0, 0, a, b, c, d, e, f]);
    // 48 bits, of which the shard has the first 14.
    (bits >> 2) as u32
}

impl LeaseTable {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn get(&self, slot: Slot) -> Option<&Lease> {
        self.chunks.get(slot as usize / CHUNK)?[slot as usize % CHUNK].as_ref()
    }

    pub(crate) fn get_mut(&mut self, slot: Slot) -> Option<&mut Lease> {
        self.chunks.get_mut(slot as usize / CHUNK)?[slot as usize % CHUNK].as_mut()
    }

    /// The lease of a slot that an index names.
    pub(crate) fn at(&self, slot: Slot) -> &Lease {
        self.get(slot).expect("an index names only slots in use")
    }

    /// The same, to be changed.
    pub(crate) fn at_mut(&mut self, slot: Slot) -> &mut Lease {
        self.get_mut(slot).expect("an index names only slots in use")
    }

    fn position(&self, id: &LeaseId) -> Result<usize, usize> {
        let (row, shard) = shard_of(id);
        match self.shards.get(row).and_then(|row| row.get(shard)) {
            Some(shard) => {
                let fragment = fragment_of(id);
                shard.binary_search_by(|(found, slot)| found.cmp(&fragment).then_with(|| self.at(*slot).id.cmp(id)))
            }
            None => Err(0),
        }
    }

    pub(crate) fn find(&self, id: &LeaseId) -> Option<Slot> {
        let (row, shard) = shard_of(id);
        self.position(id).ok().map(|position| self.shards[row][shard][position].1)
    }

    /// Puts a lease in; its id must be new.
    pub(crate) fn insert(&mut self, lease: Lease, charges: Vec<Vec<Charge>>) -> Slot {
        let spread = lease.charged_to == SPREAD;
        let id = lease.id;
        let slot = self.free.pop().unwrap_or_else(|| {
            self.next += 1;
            self.next - 1
        });
        if slot as usize / CHUNK == self.chunks.len() {
            self.chunks.push(std::iter::repeat_with(|| None).take(CHUNK).collect());
        }
        let (row, shard) = shard_of(&id);
        self.shards.resize_with(SHARDS, Vec::new);
        self.shards[row].resize_with(SHARDS, Vec::new);
        let position = self.position(&id).expect_err("a lease id is put in once");
        self.chunks[slot as usize / CHUNK][slot as usize % CHUNK] = Some(lease);
        let shard = &mut self.shards[row][shard];
        if shard.len() == shard.capacity() {
            // Half again rather than double: the index is a visible part of a lease's memory.
            shard.reserve_exact(4.max(shard.len() / 4));
        }
        shard.insert(position, (fragment_of(&id), slot));
        if spread {
            self.spread.insert(slot, charges.into_boxed_slice());
        }
        self.len += 1;
        slot
    }

    pub(crate) fn remove(&mut self, slot: Slot) -> Option<Lease> {
        let id = self.get(slot)?.id;
        let position = self.position(&id).ok()?;
        let (row, shard) = shard_of(&id);
        self.shards[row][shard].remove(position);
        self.spread.remove(&slot);
        self.free.push(slot);
        self.len -= 1;
        self.chunks[slot as usize / CHUNK][slot as usize % CHUNK].take()
    }

    /// Slots in the order of their ids.
    pub(crate) fn slots(&self) -> impl Iterator<Item = Slot> + '_ {
        self.shards.iter().flatten().flatten().map(|(_, slot)| *slot)
    }

    /// Where each part of a lease is charged.
    pub(crate) fn charges(&self, slot: Slot, item: usize) -> Vec<Charge> {
        let lease = self.at(slot);
        if lease.charged_to == SPREAD {
            self.spread.get(&slot).and_then(|parts| parts.get(item)).cloned().unwrap_or_default()
        } else {
            vec![Charge { entitlement: EntitlementId(lease.charged_to), seats: lease.wish.items[item].seats }]
        }
    }

    /// Calls `f` with each charge of a lease and its part.
    pub(crate) fn each_charge(&self, slot: Slot, mut f: impl FnMut(usize, Charge)) {
        let lease = self.at(slot);
        if lease.charged_to == SPREAD {
            for (item, charges) in self.spread.get(&slot).into_iter().flatten().enumerate() {
                charges.iter().for_each(|charge| f(item, *charge));
            }
        } else {
            f(0, Charge { entitlement: EntitlementId(lease.charged_to), seats: lease.wish.items[0].seats });
        }
    }

    /// Moves seats of one part between entitlements. False if it does not have so many there.
    pub(crate) fn move_charge(&mut self, slot: Slot, item: usize, from: EntitlementId, to: EntitlementId, seats: u32) -> bool {
        let lease = self.at_mut(slot);
        let parts = lease.wish.items.len();
        if item >= parts || seats == 0 || from == to {
            return false;
        }
        if lease.charged_to != SPREAD {
            let all = lease.wish.items[0].seats;
            if EntitlementId(lease.charged_to) != from || seats > all {
                return false;
            }
            if seats == all {
                lease.charged_to = to.0;
                return true;
            }
            let mut charges = vec![Charge { entitlement: from, seats: all - seats }, Charge { entitlement: to, seats }];
            charges.sort_unstable();
            lease.charged_to = SPREAD;
            self.spread.insert(slot, Box::new([charges]));
            return true;
        }
        let Some(charges) = self.spread.get_mut(&slot).and_then(|parts| parts.get_mut(item)) else { return false };
        let Some(position) = charges.iter().position(|charge| charge.entitlement == from && charge.seats >= seats) else { return false };
        charges[position].seats -= seats;
        if charges[position].seats == 0 {
            charges.remove(position);
        }
        match charges.iter_mut().find(|charge| charge.entitlement == to) {
            Some(charge) => charge.seats += seats,
            None => charges.push(Charge { entitlement: to, seats }),
        }
        // Canonical, so that equal histories give equal snapshots whatever moved in between.
        charges.sort_unstable();
        if parts == 1 && charges.len() == 1 {
            let only = charges[0].entitlement.0;
            self.spread.remove(&slot);
            self.at_mut(slot).charged_to = only;
        }
        true
    }
}

/// When to look at which lease again: by second, lazily. A lease stands in one bucket, no later than its deadline; renewals do not touch it.
#[derive(Debug, Default)]
pub(crate) struct Wheel {
    buckets: BTreeMap<u32, Vec<Slot>>,
    /// Leases of the buckets that have come, in the exact order of deadlines.
    ready: BTreeSet<(Timestamp, Slot)>,
}

/// The bucket of a time: about a second.
pub(crate) fn bucket_of(at: Timestamp) -> u32 {
    u32::try_from(at.0 >> 10).unwrap_or(u32::MAX - 1)
}

/// No bucket: the lease stands among the ready ones.
pub(crate) const READY: u32 = u32::MAX;

impl Wheel {
    /// Puts a lease where its deadline says; returns the bucket, for [`Lease::bucket`].
    pub(crate) fn put(&mut self, slot: Slot, deadline: Timestamp) -> u32 {
        let bucket = bucket_of(deadline);
        self.buckets.entry(bucket).or_default().push(slot);
        bucket
    }

    /// Forgets everything, for rebuilding.
    pub(crate) fn clear(&mut self) {
        self.buckets.clear();
        self.ready.clear();
    }

    /// No bucket before this has anything.
    pub(crate) fn first_bucket(&self) -> Option<u32> {
        self.buckets.first_key_value().map(|(bucket, _)| *bucket)
    }

    /// Takes one lease out of the first bucket that has come, if any.
    pub(crate) fn take_come(&mut self, at: Timestamp) -> Option<(u32, Slot)> {
        loop {
            let mut first = self.buckets.first_entry()?;
            if *first.key() > bucket_of(at) {
                return None;
            }
            if let Some(slot) = first.get_mut().pop() {
                return Some((*first.key(), slot));
            }
            first.remove();
        }
    }

    pub(crate) fn ready(&mut self, deadline: Timestamp, slot: Slot) {
        self.ready.insert((deadline, slot));
    }

    /// Drops what is left in a ready place.
    pub(crate) fn unready(&mut self, deadline: Timestamp, slot: Slot) {
        self.ready.remove(&(deadline, slot));
    }

    pub(crate) fn first_ready(&self) -> Option<(Timestamp, Slot)> {
        self.ready.first().copied()
    }
}

/// A vendor's pools by feature. Found by a fingerprint first, so that a search among 100,000 does not read as many names.
#[derive(Debug, Default)]
pub(crate) struct Features {
    pools: BTreeMap<u64, Vec<(FeatureName, PoolId)>>,
}

impl Features {
    /// Names that collide stand in one list; vendors sign them.
    fn fingerprint(feature: &FeatureName) -> u64 {
        fingerprint(feature.as_str().as_bytes())
    }

    pub(crate) fn get(&self, feature: &FeatureName) -> Option<PoolId> {
        let same = self.pools.get(&Self::fingerprint(feature))?;
        same.iter().find(|(name, _)| name == feature).map(|(_, pool)| *pool)
    }

    /// False if the feature has a pool already.
    pub(crate) fn insert(&mut self, feature: FeatureName, pool: PoolId) -> bool {
        let new = self.get(&feature).is_none();
        if new {
            let same = self.pools.entry(Self::fingerprint(&feature)).or_default();
            same.reserve_exact(1);
            same.push((feature, pool));
        }
        new
    }

    /// False if the feature has no pool here.
    pub(crate) fn remove(&mut self, feature: &FeatureName) -> bool {
        let fingerprint = Self::fingerprint(feature);
        let Some(same) = self.pools.get_mut(&fingerprint) else { return false };
        let Some(at) = same.iter().position(|(name, _)| name == feature) else { return false };
        same.remove(at);
        if same.is_empty() {
            self.pools.remove(&fingerprint);
        }
        true
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.pools.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&FeatureName, PoolId)> {
        self.pools.values().flatten().map(|(feature, pool)| (feature, *pool))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn claim(value: &str, proved: bool) -> Option<Claim> {
        Some(Claim { value: value.into(), proved })
    }

    #[test]
    fn a_holder_comes_back_as_it_went_in_and_is_freed_with_its_last_lease() {
        let mut holders = Holders::default();
        for process in ["4711", "4711:cad", "0", "007:bond", "x", "", "4294967296:big", "12:a:b"] {
            let holder = Holder {
                user: claim("ana", false),
                host: claim("ws1", true),
                address: claim("10.0.0.1", true),
                process: claim(process, false),
                project: claim("süd", false),
                ..Holder::default()
            };
            for network in [None, Some(Network::V4([10, 0, 0, 1])), Some(Network::V6([1; 8]))] {
                let kept = holders.intern(&holder, network);
                assert_eq!((kept.holder(), kept.network()), (holder.clone(), network));
                holders.release(kept);
            }
            assert!(holders.bases.all.is_empty());
        }
    }

    #[test]
    fn two_processes_of_one_user_share_all_but_a_number() {
        let mut holders = Holders::default();
        let holder = |process: &str| Holder { user: claim("ana", false), process: claim(process, false), ..Holder::default() };
        let (a, b) = (holders.intern(&holder("1:cad"), None), holders.intern(&holder("2:cad"), None));
        assert_eq!(holders.bases.all.len(), 1);
        holders.release(a);
        assert_eq!(holders.bases.all.len(), 1);
        holders.release(b);
        assert!(holders.bases.all.is_empty());
    }

    #[test]
    fn versions_that_are_equal_but_written_otherwise_are_kept_as_written() {
        let mut wishes = Wishes::default();
        let item = |version: &str| WishItem { pool: PoolId(0), version: Some(version.parse().unwrap()), seats: 1 };
        let nobody = VerifierKeys::default();
        let (a, b) =
            (wishes.intern([item("12")].into_iter(), 1, 0, None, &nobody), wishes.intern([item("12.0")].into_iter(), 1, 0, None, &nobody));
        assert_eq!(a.items[0].version.unwrap().to_string(), "12");
        assert_eq!(b.items[0].version.unwrap().to_string(), "12.0");
        wishes.release(a);
        wishes.release(b);
        assert!(wishes.all.all.is_empty() && wishes.key_sets.all.all.is_empty());
    }

    #[test]
    fn leases_whose_clients_embed_the_same_keys_share_them() {
        let mut wishes = Wishes::default();
        let item = WishItem { pool: PoolId(0), version: None, seats: 1 };
        let (old, both) = (VerifierKeys::of(&[[1; 32]]), VerifierKeys::of(&[[2; 32], [1; 32]]));
        let a = wishes.intern([item].into_iter(), 1, 0, None, &old);
        let b = wishes.intern([item].into_iter(), 1, 0, None, &VerifierKeys::of(&[[1; 32]]));
        let c = wishes.intern([item].into_iter(), 1, 0, None, &both);
        let d = wishes.intern([item].into_iter(), 2, 0, None, &VerifierKeys::of(&[[1; 32], [2; 32], [1; 32]]));
        assert!(Arc::ptr_eq(&a, &b) && !Arc::ptr_eq(&a, &c) && Arc::ptr_eq(&c.embeds, &d.embeds));
        assert!(a.kind(0) != c.kind(0) && c.kind(0) == d.kind(0));
        [a, b, c, d].into_iter().for_each(|wish| wishes.release(wish));
        assert!(wishes.all.all.is_empty() && wishes.key_sets.all.all.is_empty());
    }

    #[test]
    fn a_lease_in_the_slab_stays_small() {
        assert!(size_of::<Option<Lease>>() <= 128, "{}", size_of::<Option<Lease>>());
    }
}
