//! Simulated client machines: a real keeper each, the clocks that it looks at, and what it believes.

use std::{collections::BTreeMap, sync::Arc};

use triquest_allocator::{Claim, ContentDigest, Epoch, Grant, Holder, Index, Instance, LeaseId, Lineage, ShownGrant, ShownItem};
use triquest_client::keeper::{Keeper, Now};
use triquest_wire::trust::SignedGrant;

use crate::{clock::MachineClock, ledger::Ledger, plan::ClientPlan};

/// A point of a server's history as a client saw it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seen {
    /// Of which history.
    pub lineage: Lineage,
    /// Of which start.
    pub epoch: Epoch,
    /// The last entry that it depends on.
    pub index: Index,
}

/// A signed grant that a client could show.
#[derive(Clone, Debug)]
pub struct Shown {
    /// Of which lease.
    pub lease: LeaseId,
    ttl_ms: u64,
    /// Where it was signed.
    signed: Seen,
    instance: Instance,
    items: Arc<[ShownItem]>,
    /// With its signature, where that was made.
    pub signed_grant: Option<Arc<SignedGrant>>,
}

impl Shown {
    /// What is kept of a grant that was signed here.
    #[must_use]
    pub fn of(lease: LeaseId, grant: &Grant, signed: Seen, instance: Option<[u8; 16]>) -> Self {
        let items = grant.items.iter().map(|item| ShownItem { feature: item.feature.clone(), from: item.from.clone() }).collect();
        Self { lease, ttl_ms: grant.ttl_ms, signed, instance: Instance(instance.unwrap_or_default()), items, signed_grant: None }
    }

    /// Whether it proves to a history that entries of it were lost: it is of its lineage and does not stand in it.
    #[must_use]
    pub fn is_lost(&self, lease: LeaseId, ledger: &Ledger) -> bool {
        // A late copy shows an older grant than the one that is kept by now.
        if self.lease != lease {
            return false;
        }
        let Seen { lineage, epoch, index } = self.signed;
        lineage == ledger.lineage && !ledger.holds(lineage, epoch, Some(self.instance), index)
    }

    /// What the server is told when its signature was verified.
    #[must_use]
    pub fn as_told(&self) -> ShownGrant {
        ShownGrant {
            lineage: self.signed.lineage,
            epoch: self.signed.epoch,
            instance: self.instance,
            index: self.signed.index,
            ttl_ms: self.ttl_ms,
            items: self.items.to_vec(),
        }
    }
}

/// One client: a process on a machine, again and again.
#[derive(Debug)]
pub struct Client {
    /// What it wants.
    pub plan: ClientPlan,
    /// The vendor keys that its application embeds.
    pub vendor_keys: Vec<[u8; 32]>,
    /// Who it is.
    pub holder: Holder,
    /// Digest of who it is and what it wants.
    pub content: ContentDigest,
    /// Its clocks.
    pub machine: MachineClock,
    /// The keeper of its present process, if one runs.
    pub keeper: Option<Keeper>,
    /// Counts its processes: answers to an earlier one go nowhere.
    pub life: u32,
    /// Lease ids of this life by the keeper's number.
    ids: BTreeMap<u32, LeaseId>,
    /// The lease for which it was last granted or renewed a right.
    pub right_of: Option<LeaseId>,
    /// Its looks at the clock are late until then.
    pub asleep_until_ms: u64,
    /// Nothing reaches it before then.
    pub cut_off_until_ms: u64,
    /// Only the newest planned look counts.
    pub wake: u64,
    /// The newest generation of its presence connection; 0 before the first.
    pub generation: u64,
    /// Generations whose connection stands, each with the server that it leads to.
    pub standing: Vec<(u64, usize)>,
    /// The next opening is seen by the server and not by the client.
    pub opening_unseen: bool,
    /// Until then its openings are refused; known are they then as those of its leases.
    pub full_until_ms: u64,
    /// Whether the server knows whose openings it refuses.
    pub full_is_known: bool,
    /// The highest point that it has seen.
    pub seen: Option<Seen>,
    /// The last grant that it could show.
    pub shown: Option<Shown>,
    /// A grant that it keeps even when it is worth nothing any more.
    pub kept: Option<Shown>,
    /// It does not come back by itself.
    pub gone: bool,
    /// The last checkout's attempt by the keeper's number.
    pub attempts: BTreeMap<u32, u32>,
}

impl Client {
    /// A machine on which nothing runs yet.
    #[must_use]
    pub fn new(number: u32, plan: ClientPlan, vendor_keys: Vec<[u8; 32]>, wall_ms: i64) -> Self {
        let machine = MachineClock::new(plan.drift_per_million, wall_ms);
        let mut content = [7; 16];
        content[..4].copy_from_slice(&number.to_be_bytes());
        let [.., high, low] = number.to_be_bytes();
        let holder = Holder {
            user: Some(Claim { value: format!("user{number}"), proved: false }),
            address: Some(Claim { value: format!("10.0.{high}.{low}"), proved: true }),
            ..Holder::default()
        };
        Self {
            plan,
            vendor_keys,
            holder,
            content: ContentDigest(content),
            machine,
            keeper: None,
            life: 0,
            ids: BTreeMap::new(),
            right_of: None,
            asleep_until_ms: 0,
            cut_off_until_ms: 0,
            wake: 0,
            generation: 0,
            standing: Vec::new(),
            opening_unseen: false,
            full_until_ms: 0,
            full_is_known: false,
            seen: None,
            shown: None,
            kept: None,
            gone: false,
            attempts: BTreeMap::new(),
        }
    }

    /// Both clocks.
    #[must_use]
    pub fn now(&self, real_ms: u64) -> Now {
        Now { boot_ms: self.machine.boot_ms(real_ms), wall_ms: self.machine.wall_ms(real_ms) }
    }

    /// A new process begins.
    pub fn begin(&mut self, keeper: Keeper) {
        self.life += 1;
        self.ids.clear();
        self.attempts.clear();
        self.right_of = None;
        self.shown = None;
        self.keeper = Some(keeper);
    }

    /// Its process ends, however.
    pub fn end(&mut self) {
        self.life += 1;
        self.keeper = None;
        self.right_of = None;
        self.shown = None;
    }

    /// The lease id that belongs to the keeper's number; made by `make` the first time.
    pub fn lease_id(&mut self, id: u32, make: impl FnOnce(u32) -> LeaseId) -> LeaseId {
        let life = self.life;
        *self.ids.entry(id).or_insert_with(|| make(life))
    }

    /// The ids of the present life, for a copy of this process.
    #[must_use]
    pub fn copy_ids(&self) -> BTreeMap<u32, LeaseId> {
        self.ids.clone()
    }

    /// Goes on with another process's ids.
    pub fn take_ids(&mut self, ids: BTreeMap<u32, LeaseId>) {
        self.ids = ids;
    }

    /// The ids of the present life.
    pub fn ids(&self) -> impl Iterator<Item = LeaseId> + '_ {
        self.ids.values().copied()
    }

    /// Milliseconds by its own clocks for which it believes in its right to this lease; none if it does not.
    #[must_use]
    pub fn left_ms(&self, lease: LeaseId, real_ms: u64) -> Option<u64> {
        if self.right_of != Some(lease) {
            return None;
        }
        let now = self.now(real_ms);
        self.keeper.as_ref().filter(|keeper| keeper.promised(now)).map(|keeper| keeper.promise_left_ms(now))
    }

    /// The lease to whose seats it believes to have a right now.
    #[must_use]
    pub fn promised(&self, real_ms: u64) -> Option<LeaseId> {
        self.right_of.filter(|lease| self.left_ms(*lease, real_ms).is_some())
    }

    /// Whether the process that made this id still runs.
    #[must_use]
    pub fn lives(&self, lease: LeaseId) -> bool {
        self.keeper.is_some() && life_of(lease) == self.life
    }
}

/// An id says whose it is, so that the judge finds its client without a search.
#[must_use]
pub fn lease_id(client: u32, life: u32, id: u32, random: u32) -> LeaseId {
    let mut bytes = [0; 16];
    for (part, number) in bytes.chunks_exact_mut(4).zip([client, life, id, random]) {
        part.copy_from_slice(&number.to_be_bytes());
    }
    LeaseId(bytes)
}

fn part(lease: LeaseId, number: usize) -> u32 {
    let mut bytes = [0; 4];
    bytes.copy_from_slice(&lease.0[4 * number..4 * number + 4]);
    u32::from_be_bytes(bytes)
}

/// The client that made an id.
#[must_use]
pub fn client_of(lease: LeaseId) -> usize {
    part(lease, 0) as usize
}

/// In which of its lives.
#[must_use]
pub fn life_of(lease: LeaseId) -> u32 {
    part(lease, 1)
}
