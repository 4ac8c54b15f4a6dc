//! The last committed state, for reading.
//!
//! Folded from committed events by the publisher alone, so nothing is shown before it is durable. Beside the facts stand soft ones (last
//! heard, idle, deadlines), which the driver hands over in bulk. Readers hold the lock for a bounded number of rows.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::{Mutex, RwLock};
use triquest_allocator::{
    CheckoutItem, ClockReading, ContentDigest, EndReason, EntitlementId, Event, GrantedItem, Index, InstalledEntitlement, InstalledLeftOut,
    InstalledTerms, LeaseId as Id, Moment, PoolId, Regrets, RightEnd, StateRecord, TakenOff, Timestamp, VendorId, limits::STALL_MS,
    note_freed_early,
};
use triquest_engine::Heard;
use triquest_journal::record::Entry;
use triquest_license::{LicenseHash, Version};
use triquest_wire::{
    Bytes32, LeaseId, Lineage, Position,
    lease::{EndReason as WireEndReason, PoolNumbers},
    license::{EntitlementSummary, LeftOutSummary, LicenseState, LicenseSummary},
    limits::{LICENSE_WARNINGS_MAX, LICENSES_SHOWN_BYTES_MAX, LICENSES_SHOWN_MAX},
    status::{Claim, FreedEarly, HeldItem, HolderStatus, LeaseList, LeaseState, LeaseStatus, PoolStatus},
};

use crate::clock::Clock;

/// Rows that a reader looks at before it lets the publisher in.
const ROWS_PER_LOCK: usize = 2_048;
/// Soft facts that are taken over before a reader is let in.
const HEARD_PER_LOCK: usize = 16;
/// Leases are kept in so many sorted lists by the first bits of their ids, so that none ever grows large and nothing is ever rehashed.
const SHARDS: usize = 16_384;

/// Which leases to list. Absent members do not restrict.
#[derive(Clone, Debug, Default)]
pub struct LeaseFilter {
    /// Only leases with a part of this feature.
    pub feature: Option<String>,
    /// Only leases with a part of a vendor of this name.
    pub vendor: Option<String>,
    /// Only in this state.
    pub state: Option<LeaseState>,
}

/// What is shown of a lease that asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// What it is doing.
    pub state: LeaseState,
    /// The attempt that has a place in line.
    pub waits: Option<u32>,
}

impl Known {
    /// Whether it holds seats.
    #[must_use]
    pub fn holds(self) -> bool {
        matches!(self.state, LeaseState::Live | LeaseState::Ending)
    }

    /// Whether this attempt is decided already, whatever became of it since: one of a lease that was granted, or no later one than that which waits.
    #[must_use]
    pub fn is_decided(self, attempt: u32) -> bool {
        self.waits.is_none_or(|waits| attempt <= waits)
    }
}

/// Which pools to show. Absent members do not restrict.
#[derive(Clone, Debug, Default)]
pub struct PoolFilter {
    /// Only those of this feature.
    pub feature: Option<String>,
    /// Only those of vendors that have one of these keys.
    pub vendor_keys: Vec<[u8; 32]>,
}

/// A page of pools.
#[derive(Clone, Debug)]
pub struct PoolPage {
    /// Where in history.
    pub position: Position,
    /// In order of vendor and feature.
    pub pools: Vec<PoolStatus>,
    /// Set if more follow: pass it as `after`.
    pub next: Option<String>,
}

/// A page of licenses.
#[derive(Clone, Debug)]
pub struct LicensePage {
    /// Where in history.
    pub position: Position,
    /// In order of installation.
    pub licenses: Vec<LicenseSummary>,
    /// Set if more follow: pass it as `after`.
    pub next: Option<u32>,
}

/// Where a waiter stands.
#[derive(Clone, Copy, Debug)]
pub struct WaiterPlace {
    /// Where in history.
    pub position: Position,
    /// Its place in line, from 1.
    pub place: u32,
    /// The pool that it waits longest for.
    pub pool: PoolNumbers,
    /// When it gives up.
    pub gives_up_in_ms: u64,
}

/// A waiter, beside its row.
struct Waiting {
    order: u64,
    attempt: u32,
    content: ContentDigest,
    /// It asked in this start of the server, and that is durable.
    asked: bool,
}

/// The read model, folded from committed events only, with soft facts beside them (last heard, idle, deadlines).
pub struct View {
    clock: Arc<dyn Clock>,
    stamp: Mutex<Stamp>,
    inner: RwLock<Inner>,
    /// The last committed entry: answers may tell of it.
    committed: AtomicU64,
    /// The last entry that is folded in.
    folded: AtomicU64,
}

/// The driver's last pass: what time it was, and what the boot clock said.
#[derive(Clone, Copy)]
struct Stamp {
    moment: Moment,
    boot_ms: u64,
}

impl View {
    /// The view of a state right after recovery (`records` are its snapshot), committed at `position`.
    ///
    /// # Errors
    /// A license that cannot be read.
    pub(crate) fn new(
        clock: Arc<dyn Clock>,
        position: Position,
        moment: Moment,
        records: impl Iterator<Item = StateRecord>,
    ) -> Result<Self, String> {
        let mut inner = Inner::new(position);
        for record in records {
            inner.load(record, moment)?;
        }
        let stamp = Stamp { moment, boot_ms: clock.boot_ms() };
        Ok(Self {
            clock,
            stamp: Mutex::new(stamp),
            inner: RwLock::new(inner),
            committed: AtomicU64::new(position.index),
            folded: AtomicU64::new(position.index),
        })
    }

    /// Notes that an entry is committed, before anything that tells of it leaves.
    pub(crate) fn expect(&self, index: Index) {
        self.committed.store(index.0, Ordering::Release);
    }

    /// Whether something is committed that is not folded in yet.
    pub(crate) fn is_behind(&self) -> bool {
        self.folded.load(Ordering::Acquire) < self.committed.load(Ordering::Acquire)
    }

    /// Folds a committed entry in, and the soft facts that come with it.
    pub(crate) fn publish(&self, entry: &Entry, heard: &[Heard]) {
        let mut inner = self.inner.write();
        for event in &entry.events {
            inner.fold(event, entry.moment);
        }
        inner.position.epoch = entry.epoch.0;
        inner.position.index = entry.index.0;
        inner.position.lineage = Lineage(entry.lineage.0);
        heard.iter().for_each(|heard| inner.hear(heard));
        drop(inner);
        self.folded.store(entry.index.0, Ordering::Release);
    }

    /// Notes the driver's pass.
    pub(crate) fn stamp(&self, moment: Moment, reading: ClockReading) {
        *self.stamp.lock() = Stamp { moment, boot_ms: reading.boot_ms };
    }

    /// Takes soft facts over, a few at a time so that readers wait for few, unless somebody reads or writes just now and few are waiting: then they stay
    /// in `heard` for the next time.
    pub(crate) fn hear(&self, heard: &mut Vec<Heard>) {
        let mut taken = 0;
        for few in heard.chunks(HEARD_PER_LOCK) {
            let inner = if heard.len() - taken < 4_096 { self.inner.try_write() } else { Some(self.inner.write()) };
            let Some(mut inner) = inner else { break };
            few.iter().for_each(|heard| inner.hear(heard));
            taken += few.len();
        }
        heard.drain(..taken);
    }

    /// Lets other tasks go first while something is folded in: a thread that waits for that costs more than a task that comes back.
    pub(crate) async fn after_a_fold(&self) {
        if self.inner.is_locked_exclusive() {
            tokio::task::yield_now().await;
        }
    }

    /// The last committed entry.
    #[must_use]
    pub fn position(&self) -> Position {
        self.inner.read().position
    }

    /// Lease time (milliseconds) and believed civil time (unix milliseconds) now.
    #[must_use]
    pub fn now(&self) -> (u64, i64) {
        let stamp = *self.stamp.lock();
        let passed = self.clock.boot_ms().saturating_sub(stamp.boot_ms).min(STALL_MS);
        (stamp.moment.at.after_ms(passed).0, stamp.moment.wall_ms.saturating_add_unsigned(passed))
    }

    /// Live leases, without waiters and lingering seats.
    #[must_use]
    pub fn live_leases(&self) -> u64 {
        self.inner.read().live
    }

    /// How long nothing new is granted because entries of this history are or may be lost: it was restored from a backup, begins anew after a lost journal,
    /// or a grant that was shown proved it.
    #[must_use]
    pub fn quarantine_ms(&self) -> Option<u64> {
        let (at, _) = self.now();
        self.inner.read().quarantine_until.map(|until| until.since_ms(Timestamp(at)))
    }

    /// What the wall clock said when it was told that the server does not follow it, unix milliseconds.
    #[must_use]
    pub fn clock_refused_ms(&self) -> Option<i64> {
        self.inner.read().clock_refused_ms
    }

    /// Networks in which presence frees nothing early, at most `limit`, and for how long still, milliseconds.
    #[must_use]
    pub fn presence_off(&self, limit: usize) -> Vec<(String, u64)> {
        let (at, _) = self.now();
        let inner = self.inner.read();
        let off = inner.presence_off.iter(Timestamp(at)).take(limit);
        off.map(|(networks, until)| (networks.to_string(), until.since_ms(Timestamp(at)))).collect()
    }

    /// Possible over-use: whose promises still run, of leases that were freed before.
    #[must_use]
    pub fn freed_early(&self) -> Option<FreedEarly> {
        let at = Timestamp(self.now().0);
        let inner = self.inner.read();
        let running = || inner.freed_early.range(at.after_ms(1)..);
        let (last, _) = running().next_back()?;
        Some(FreedEarly { leases: running().map(|(_, leases)| leases).sum(), remaining_ms: last.since_ms(at) })
    }

    /// Whether this history is one that a lineage belongs to, as far back as is remembered.
    #[must_use]
    pub fn knows_lineage(&self, lineage: Lineage) -> bool {
        self.inner.read().lineages.contains(&lineage.0)
    }

    /// Pools in order of vendor and feature, at most `limit`. `after` is the `next` of the page before.
    #[must_use]
    pub fn pools(&self, filter: &PoolFilter, after: Option<&str>, limit: usize) -> PoolPage {
        use std::ops::Bound::{Excluded, Unbounded};
        let mut from = after.map(PoolKey::of_cursor);
        let mut pools = Vec::new();
        let mut next = None;
        loop {
            let inner = self.inner.read();
            let mut last = None;
            let mut more = false;
            for (looked, (key, pool)) in inner.order.range((from.as_ref().map_or(Unbounded, Excluded), Unbounded)).enumerate() {
                if looked == ROWS_PER_LOCK {
                    more = true;
                    break;
                }
                last = Some(key);
                if filter.feature.as_ref().is_some_and(|feature| *key.feature != **feature) || !inner.is_of(*pool, &filter.vendor_keys) {
                    continue;
                }
                if pools.len() >= limit {
                    return PoolPage { position: inner.position, pools, next };
                }
                if let Some(status) = inner.pool_status(*pool) {
                    pools.push(status);
                    if pools.len() == limit {
                        next = Some(key.cursor());
                    }
                }
            }
            let last = last.cloned();
            if !more {
                return PoolPage { position: inner.position, pools, next: None };
            }
            from = last;
        }
    }

    /// Leases, waiters and lingering seats in order of id. `after` is the `next` of the page before.
    #[must_use]
    pub fn leases(&self, filter: &LeaseFilter, after: Option<LeaseId>, limit: usize) -> LeaseList {
        let now = self.now();
        let mut cursor = after.map(|lease| Id(lease.0));
        let mut leases: Vec<LeaseStatus> = Vec::new();
        loop {
            let inner = self.inner.read();
            let wanted = inner.pools_wanted(filter);
            let mut looked = 0;
            let (mut shard, mut row) = match &cursor {
                None => (0, 0),
                Some(last) => {
                    let shard = shard_of(last);
                    (shard, inner.shards[shard].partition_point(|row| row.id <= *last))
                }
            };
            let more = 'scan: loop {
                let Some(rows) = inner.shards.get(shard) else { break false };
                while let Some(found) = rows.get(row) {
                    if looked == ROWS_PER_LOCK {
                        break 'scan true;
                    }
                    looked += 1;
                    let matches = filter.state.is_none_or(|state| found.state.wire() == state)
                        && wanted
                            .as_ref()
                            .is_none_or(|pools| inner.shapes.items(found.shape).iter().any(|item| pools.contains(&item.pool)));
                    if matches {
                        if leases.len() >= limit {
                            let next = leases.last().map(|lease| lease.lease);
                            return LeaseList { position: inner.position, leases, next };
                        }
                        leases.push(inner.status(found, now));
                        looked += 7;
                        looked = looked.min(ROWS_PER_LOCK);
                    }
                    cursor = Some(found.id);
                    row += 1;
                }
                shard += 1;
                row = 0;
            };
            if !more {
                return LeaseList { position: inner.position, leases, next: None };
            }
        }
    }

    /// One of them.
    #[must_use]
    pub fn lease(&self, lease: LeaseId) -> Option<LeaseStatus> {
        let now = self.now();
        let inner = self.inner.read();
        inner.row(&Id(lease.0)).map(|row| inner.status(row, now))
    }

    /// Installed licenses in order of installation.
    #[must_use]
    pub fn licenses(&self) -> Vec<LicenseSummary> {
        let inner = self.inner.read();
        inner.licenses.iter().map(|(first, license)| inner.summary(*first, license)).collect()
    }

    /// A page of installed licenses in order of installation. `after` is the `next` of the page before.
    #[must_use]
    pub fn license_page(&self, after: Option<u32>, limit: usize) -> LicensePage {
        use std::ops::Bound::{Excluded, Unbounded};
        let inner = self.inner.read();
        let from = after.map_or(Unbounded, |after| Excluded(EntitlementId(after)));
        let mut rest = inner.licenses.range((from, Unbounded));
        let page: Vec<_> = rest.by_ref().take(limit).collect();
        let next = page.last().map(|(first, _)| first.0).filter(|_| rest.next().is_some());
        LicensePage {
            position: inner.position,
            licenses: page.into_iter().map(|(first, license)| inner.summary(*first, license)).collect(),
            next,
        }
    }

    /// Installed licenses by hash, each with its id and its vendor's name.
    #[must_use]
    pub fn license_names(&self) -> Vec<(LicenseHash, (String, String))> {
        let name = |there: &Installed| (there.hash, (there.terms.license.to_string(), there.terms.vendor.to_string()));
        self.inner.read().licenses.values().map(name).collect()
    }

    /// Installed licenses as they were installed, by hash.
    #[must_use]
    pub fn license_notes(&self) -> Vec<(LicenseHash, String)> {
        self.inner.read().licenses.values().map(|there| (there.hash, there.file.to_string())).collect()
    }

    /// What is to be said of the installed licenses: what is left out, and signatures that are not good any more.
    #[must_use]
    pub fn license_warnings(&self) -> Vec<String> {
        let inner = self.inner.read();
        let mut said = Vec::new();
        for license in inner.licenses.values() {
            let id = &license.terms.license;
            said.extend(
                license.problem.iter().map(|why| format!("license {id}: its signatures are not good by this version's rules: {why}")),
            );
            for out in &license.terms.left_out {
                let feature = out.feature.as_ref().map(|feature| format!(" ({feature})")).unwrap_or_default();
                let words: Vec<&str> = out.unknown.iter().map(triquest_license::Word::as_str).collect();
                said.push(format!(
                    "license {id}: entitlement {}{feature} is left out, because it needs {}, which this version does not know",
                    u32::from(out.position) + 1,
                    words.join(", ")
                ));
            }
            if said.len() >= LICENSE_WARNINGS_MAX {
                said.truncate(LICENSE_WARNINGS_MAX);
                break;
            }
        }
        said
    }

    /// Installed texts with this license id: none, one, or several of different vendors.
    #[must_use]
    pub fn licenses_by_id(&self, license: &str) -> Vec<LicenseHash> {
        self.inner.read().licenses.values().filter(|there| there.terms.license.as_str() == license).map(|there| there.hash).collect()
    }

    /// Installed licenses that one of these keys has signed, as file texts, in order of installation: what others of a merged vendor's keys signed, the
    /// client could not verify. A license that waits for its day is
    /// among them. If all have ended, the newest of those, so that a client can say which and when. Of more than one answer may show, the newest; and whether
    /// that is all.
    #[must_use]
    pub fn licenses_for(&self, vendor_keys: &[[u8; 32]]) -> (Vec<(LicenseHash, String)>, bool) {
        let inner = self.inner.read();
        let (mut shown, mut left) = (Vec::new(), LICENSES_SHOWN_BYTES_MAX);
        let mut ended = None;
        for (first, license) in inner.licenses.iter().rev().filter(|(_, license)| license.is_signed_by_one_of(vendor_keys)) {
            if inner.license_state(*first, license) == LicenseState::Expired {
                ended = ended.or(Some(license));
                continue;
            }
            let bytes = license.bytes_in_json();
            if shown.len() == LICENSES_SHOWN_MAX || bytes > left {
                shown.reverse();
                return (shown, false);
            }
            left -= bytes;
            shown.push((license.hash, license.file.to_string()));
        }
        shown.reverse();
        if shown.is_empty() {
            shown.extend(ended.map(|license| (license.hash, license.file.to_string())));
        }
        (shown, true)
    }

    /// What a lease is doing; `None` if it is not live, waiting or lingering. Cheaper than [`View::lease`].
    #[must_use]
    pub fn lease_state(&self, lease: LeaseId) -> Option<LeaseState> {
        self.inner.read().row(&Id(lease.0)).map(|row| row.state.wire())
    }

    /// The same, and which attempt a waiter made last.
    #[must_use]
    pub fn known(&self, lease: LeaseId) -> Option<Known> {
        let (inner, id) = (self.inner.read(), Id(lease.0));
        let state = inner.row(&id)?.state.wire();
        Some(Known { state, waits: inner.waiting.get(&id).map(|waiting| waiting.attempt) })
    }

    /// What is free of each part for these vendors' applications, as `(feature, wanted, free)`; empty if one of them is not free, or it cannot
    /// be told from here. Careful: what is counted as free is free whichever entitlements others are charged to.
    #[must_use]
    pub fn free_seats<'a>(&self, vendor_keys: &[[u8; 32]], items: &'a [CheckoutItem]) -> Vec<(&'a str, u64, u64)> {
        let inner = self.inner.read();
        if inner.quarantine_until.is_some() {
            return Vec::new();
        }
        let mut free = Vec::with_capacity(items.len());
        for item in items {
            let Some(pool) = inner.pools_for(vendor_keys, item.feature.as_str()).next() else { return Vec::new() };
            let covers = |right: &&Right| {
                let license = inner.licenses.get(&right.license).filter(|license| license.is_signed_by_one_of(vendor_keys));
                let entitlement = license.and_then(|license| license.terms.entitlement(right.position));
                right.in_force()
                    && entitlement.is_some_and(|entitlement| match (&entitlement.version, &item.version) {
                        (None, _) => true,
                        (Some(newest), Some(version)) => version <= newest,
                        (Some(_), None) => false,
                    })
            };
            let seats: u64 =
                pool.rights.iter().filter_map(|right| inner.rights.get(right)).filter(covers).map(|right| u64::from(right.seats)).sum();
            let left = seats.saturating_sub(pool.used + pool.lingering);
            if !pool.line.is_empty() || left < u64::from(item.seats) {
                return Vec::new();
            }
            free.push((item.feature.as_str(), u64::from(item.seats), left));
        }
        free
    }

    /// The numbers of the pool of this feature of one of these vendors, if they are all of seats that a client with these keys can verify. Of a part of a
    /// pool only a decision knows them.
    #[must_use]
    pub fn numbers(&self, vendor_keys: &[[u8; 32]], feature: &str) -> Option<PoolNumbers> {
        let inner = self.inner.read();
        inner.pools_for(vendor_keys, feature).next().filter(|pool| inner.is_all_verifiable(pool, vendor_keys)).map(Pool::numbers)
    }

    /// The pool of this feature of one of these vendors.
    #[must_use]
    pub fn pool_asked(&self, vendor_keys: &[[u8; 32]], feature: &str) -> Option<PoolId> {
        self.inner.read().pool_ids_for(vendor_keys, feature).next()
    }

    /// The place of a waiter that asked within so many milliseconds, with this attempt and content, durably and in this start of the server.
    /// None also while the view is behind what is committed: somebody may have heard already that the waiter was granted its seat. And none where the pool
    /// has seats that a client with these keys cannot verify, since they are in none of its numbers.
    #[must_use]
    pub fn asked_within(
        &self,
        lease: &Id,
        attempt: u32,
        content: ContentDigest,
        vendor_keys: &[[u8; 32]],
        within_ms: u64,
    ) -> Option<WaiterPlace> {
        let (at, _) = self.now();
        let committed = self.committed.load(Ordering::Acquire);
        let inner = self.inner.read();
        if inner.position.index < committed {
            return None;
        }
        let waiting = inner.waiting.get(lease)?;
        let row = inner.row(lease)?;
        let asked = waiting.asked && (waiting.attempt, waiting.content) == (attempt, content);
        if !asked || at.saturating_sub(row.heard_at()) >= within_ms {
            return None;
        }
        let worst = inner
            .shapes
            .items(row.shape)
            .iter()
            .map(|item| (inner.place(item.pool, waiting.order), item.pool))
            .max_by_key(|(place, _)| *place);
        let (place, pool) = worst?;
        Some(WaiterPlace {
            position: inner.position,
            place,
            pool: inner.pools.get(&pool).filter(|pool| inner.is_all_verifiable(pool, vendor_keys))?.numbers(),
            gives_up_in_ms: row.deadline.0.saturating_sub(at),
        })
    }

    /// The names of a pool: vendor and feature.
    #[must_use]
    pub fn pool_name(&self, pool: PoolId) -> Option<(String, String)> {
        let inner = self.inner.read();
        let pool = inner.pools.get(&pool.resolve(&inner.merged))?;
        let vendor = inner.vendors.get(&pool.vendor).map(|vendor| vendor.name.to_string()).unwrap_or_default();
        Some((vendor, pool.feature.to_string()))
    }

    /// Installed licenses as file texts, by the hashes that grants name; of more than one answer may bring, some.
    #[must_use]
    pub fn license_files(&self, hashes: &[LicenseHash]) -> Vec<(LicenseHash, String)> {
        let inner = self.inner.read();
        let mut left = LICENSES_SHOWN_BYTES_MAX;
        let mut files = Vec::with_capacity(hashes.len());
        for license in inner.licenses.values().filter(|license| hashes.contains(&license.hash)) {
            let Some(less) = left.checked_sub(license.bytes_in_json()) else { continue };
            left = less;
            files.push((license.hash, license.file.to_string()));
        }
        files
    }
}

/// Sorts pools by vendor's name, then feature; the vendor's number tells vendors of one name apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct PoolKey {
    vendor: Box<str>,
    feature: Box<str>,
    number: u32,
}

impl PoolKey {
    /// Names hold no newline, so it separates.
    fn cursor(&self) -> String {
        format!("{}\n{}\n{}", self.vendor, self.feature, self.number)
    }

    /// Any text is a cursor: one that was never given out stands somewhere in the order.
    fn of_cursor(text: &str) -> Self {
        let mut parts = text.splitn(3, '\n');
        let mut part = || parts.next().unwrap_or_default();
        Self { vendor: part().into(), feature: part().into(), number: part().parse().unwrap_or(0) }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Ending,
    Lingering,
    Live,
    Waiting,
}

impl State {
    fn wire(self) -> LeaseState {
        match self {
            Self::Ending => LeaseState::Ending,
            Self::Lingering => LeaseState::Lingering,
            Self::Live => LeaseState::Live,
            Self::Waiting => LeaseState::Waiting,
        }
    }
}

/// No idleness was said.
const NOT_SAID: u32 = u32::MAX;

/// One lease, waiter or lingering seat. Small, for there may be millions.
struct Row {
    id: Id,
    /// Civil time of the grant.
    since_ms: i64,
    /// End of the promise, of the linger, or of the wait.
    deadline: Timestamp,
    /// How long before that it was last heard: a time to live or a wait, cut at 49 days.
    heard_before_ms: u32,
    holder: u32,
    /// The process number, which leases do not share.
    process: u32,
    shape: u32,
    idle_ms: u32,
    state: State,
    ending: Option<EndReason>,
    /// It was held before, in a history that was lost.
    adopted: bool,
}

const _: () = assert!(size_of::<Row>() <= 56);

impl Row {
    fn heard_at(&self) -> u64 {
        self.deadline.0.saturating_sub(self.heard_before_ms.into())
    }
}

fn before(deadline: Timestamp, heard: Timestamp) -> u32 {
    u32::try_from(deadline.since_ms(heard)).unwrap_or(u32::MAX)
}

struct Vendor {
    name: Box<str>,
    keys: Vec<[u8; 32]>,
}

struct Pool {
    vendor: VendorId,
    feature: Box<str>,
    total: u64,
    used: u64,
    lingering: u64,
    denied: u64,
    /// The orders of its waiters, ascending: a place is found by halving.
    line: Vec<u64>,
    /// Entitlements that count or will.
    rights: Vec<EntitlementId>,
}

impl Pool {
    fn numbers(&self) -> PoolNumbers {
        let taken = self.used + self.lingering;
        PoolNumbers {
            total: self.total,
            used: self.used,
            lingering: self.lingering,
            reserved_idle: 0,
            free: self.total.saturating_sub(taken),
            over: taken.saturating_sub(self.total),
            queued: self.line.len() as u64,
        }
    }

    /// Almost always at the end.
    fn join(&mut self, order: u64) {
        if let Err(place) = self.line.binary_search(&order) {
            self.line.insert(place, order);
        }
    }
}

struct Installed {
    hash: LicenseHash,
    vendor: VendorId,
    file: Box<str>,
    terms: Arc<InstalledTerms>,
    /// What was wrong with its signatures at the last start.
    problem: Option<String>,
}

impl Installed {
    /// Whether a client that embeds these keys can verify it: of a vendor's keys that became one, it may embed others than those that signed it.
    fn is_signed_by_one_of(&self, keys: &[[u8; 32]]) -> bool {
        self.terms.keys.iter().any(|key| keys.contains(key))
    }

    /// Bytes that its text takes in a list of an answer.
    fn bytes_in_json(&self) -> usize {
        // What JSON escapes takes two bytes.
        let escapes = self.file.bytes().filter(|byte| matches!(byte, b'"' | b'\\' | ..b' ')).count();
        self.file.len() + escapes + 3
    }
}

struct Right {
    /// The first entitlement of its license.
    license: EntitlementId,
    position: u16,
    pool: PoolId,
    seats: u32,
    began: bool,
    ended: Option<RightEnd>,
}

impl Right {
    fn in_force(&self) -> bool {
        self.began && self.ended.is_none()
    }

    fn state(&self) -> LicenseState {
        match (self.ended, self.began) {
            (Some(_), _) => LicenseState::Expired,
            (None, true) => LicenseState::InForce,
            (None, false) => LicenseState::Waiting,
        }
    }
}

struct Inner {
    position: Position,
    quarantine_until: Option<Timestamp>,
    clock_refused_ms: Option<i64>,
    presence_off: Regrets,
    /// When the promises of leases that were freed before would have been over, soonest first, and how many of each.
    freed_early: BTreeMap<Timestamp, u64>,
    /// This history's, and those that it comes from.
    lineages: BTreeSet<[u8; 16]>,
    live: u64,
    shards: Vec<Vec<Row>>,
    holders: HolderTable,
    shapes: Shapes,
    vendors: BTreeMap<VendorId, Vendor>,
    pools: BTreeMap<PoolId, Pool>,
    /// Pools that became part of another when vendors merged: facts of before name them yet.
    merged: BTreeMap<PoolId, PoolId>,
    order: BTreeMap<PoolKey, PoolId>,
    licenses: BTreeMap<EntitlementId, Installed>,
    rights: BTreeMap<EntitlementId, Right>,
    /// Licenses that others replaced and that may come back, with their entitlements, ...
    aside: BTreeMap<EntitlementId, (Installed, Vec<(EntitlementId, Right)>)>,
    /// ... in order.
    taken_off: TakenOff,
    waiting: BTreeMap<Id, Waiting>,
    next_order: u64,
}

fn shard_of(id: &Id) -> usize {
    usize::from(u16::from_be_bytes([id.0[0], id.0[1]]) >> 2)
}

impl Inner {
    fn new(position: Position) -> Self {
        Self {
            position,
            quarantine_until: None,
            clock_refused_ms: None,
            presence_off: Regrets::default(),
            freed_early: BTreeMap::new(),
            lineages: BTreeSet::new(),
            live: 0,
            shards: (0..SHARDS).map(|_| Vec::new()).collect(),
            holders: HolderTable::default(),
            shapes: Shapes::default(),
            vendors: BTreeMap::new(),
            pools: BTreeMap::new(),
            merged: BTreeMap::new(),
            order: BTreeMap::new(),
            licenses: BTreeMap::new(),
            rights: BTreeMap::new(),
            aside: BTreeMap::new(),
            taken_off: TakenOff::default(),
            waiting: BTreeMap::new(),
            next_order: 0,
        }
    }

    fn hear(&mut self, heard: &Heard) {
        if let Some(waiting) = self.waiting.get_mut(&heard.lease) {
            waiting.asked = true;
        }
        // Soft facts of two passes may come in another order than the passes: what was heard later counts.
        if let Some(row) = self.row_mut(&heard.lease)
            && matches!(row.state, State::Live | State::Waiting)
            && heard.at.0 >= row.heard_at()
        {
            if row.state == State::Live {
                row.deadline = heard.at.after_ms(heard.remaining_ms);
            }
            row.heard_before_ms = before(row.deadline, heard.at);
            if let Some(idle_ms) = heard.idle_ms {
                row.idle_ms = u32::try_from(idle_ms).unwrap_or(NOT_SAID - 1).min(NOT_SAID - 1);
            }
        }
    }

    fn row(&self, id: &Id) -> Option<&Row> {
        let shard = &self.shards[shard_of(id)];
        shard.binary_search_by(|row| row.id.cmp(id)).ok().map(|found| &shard[found])
    }

    fn row_mut(&mut self, id: &Id) -> Option<&mut Row> {
        let shard = &mut self.shards[shard_of(id)];
        shard.binary_search_by(|row| row.id.cmp(id)).ok().map(|found| &mut shard[found])
    }

    fn insert(&mut self, row: Row) {
        let shard = &mut self.shards[shard_of(&row.id)];
        match shard.binary_search_by(|there| there.id.cmp(&row.id)) {
            Ok(found) => shard[found] = row,
            Err(place) => {
                if shard.len() == shard.capacity() {
                    // Doubling would leave a third of a million rows unused.
                    shard.reserve_exact(shard.len() / 8 + 4);
                }
                shard.insert(place, row);
            }
        }
    }

    fn remove(&mut self, id: &Id) -> Option<Row> {
        let shard = &mut self.shards[shard_of(id)];
        let found = shard.binary_search_by(|row| row.id.cmp(id)).ok()?;
        let row = shard.remove(found);
        if shard.capacity() > 2 * shard.len() + 8 {
            shard.shrink_to(shard.len() + shard.len() / 8 + 4);
        }
        Some(row)
    }

    /// Lets go of what a removed row shared.
    fn forget(&mut self, row: Row) {
        self.shapes.release(row.shape);
        self.holders.release(row.holder);
    }

    fn load(&mut self, record: StateRecord, moment: Moment) -> Result<(), String> {
        match record {
            StateRecord::Head { quarantine_until, lineage, clock_refused, .. } => {
                self.quarantine_until = quarantine_until;
                self.clock_refused_ms = clock_refused.map(|(_, reading_ms)| reading_ms);
                self.lineages.insert(lineage.0);
            }
            StateRecord::Epoch(epoch) => {
                self.lineages.insert(epoch.lineage.0);
            }
            StateRecord::PresenceOff { networks, until } => self.presence_off.insert(networks, until),
            StateRecord::FreedEarly { until, leases } => {
                self.freed_early.insert(until, leases);
            }
            StateRecord::Format { .. } | StateRecord::Remembered { .. } | StateRecord::WordsAccepted { .. } => {}
            StateRecord::Vendor { vendor, name, keys, into: _ } => {
                self.vendors.insert(vendor, Vendor { name: name.into(), keys });
            }
            StateRecord::Pool { pool, vendor, feature, into: None } => self.open_pool(pool, vendor, feature.as_str()),
            StateRecord::Pool { pool, into: Some(into), .. } => drop(self.merged.insert(pool, into)),
            // Taken off, and kept by the allocator only for leases that still name it.
            StateRecord::License { removed: Some(RightEnd::Expired | RightEnd::Removed), .. } => {}
            StateRecord::License { license, note, terms, problem, vendor, first_entitlement, pools, removed, replaced, .. } => {
                self.install(license, &note, terms, vendor, first_entitlement, &pools);
                if let Some(installed) = self.licenses.get_mut(&first_entitlement) {
                    installed.problem = problem;
                }
                if removed.is_some() {
                    self.set_aside(first_entitlement);
                    match replaced {
                        Some(order) => self.taken_off.put(first_entitlement, order),
                        None => drop(self.aside.remove(&first_entitlement)),
                    }
                }
            }
            StateRecord::Entitlement { entitlement, began, ended } => {
                if began.is_some() && ended.is_none() {
                    self.begin(entitlement);
                } else if let Some(right) = self.rights.get_mut(&entitlement) {
                    (right.began, right.ended) = (began.is_some(), ended);
                }
            }
            StateRecord::Lease { lease, holder, items, granted_wall_ms, unheard_deadline, ending, adopted, .. } => {
                let shape = self.shapes.intern(&items);
                let (holder, process) = self.holders.intern(&holder);
                let (state, deadline, ending) = match ending {
                    Some((due, reason)) => (State::Ending, due, Some(reason)),
                    None => (State::Live, unheard_deadline, None),
                };
                self.insert(Row {
                    id: lease,
                    holder,
                    process,
                    since_ms: granted_wall_ms,
                    deadline,
                    heard_before_ms: before(deadline, moment.at),
                    shape,
                    idle_ms: NOT_SAID,
                    state,
                    ending,
                    adopted: !adopted.is_empty(),
                });
                self.live += 1;
                self.count(shape, |pool| &mut pool.used, true);
            }
            StateRecord::Lingering { lease, items, until, .. } => {
                let shape = self.shapes.intern(&items);
                let (holder, process) = self.holders.intern(&triquest_allocator::Holder::default());
                let row = Row {
                    id: lease,
                    holder,
                    process,
                    since_ms: moment.wall_ms,
                    deadline: until,
                    heard_before_ms: before(until, moment.at),
                    shape,
                    idle_ms: NOT_SAID,
                    state: State::Lingering,
                    ending: None,
                    adopted: false,
                };
                self.insert(row);
                self.count(shape, |pool| &mut pool.lingering, true);
            }
            StateRecord::Waiter { lease, attempt, content, holder, items, gives_up, order, .. } => {
                let waiting = Waiting { order, attempt, content, asked: false };
                self.queue(lease, &holder, &items, gives_up, waiting, moment);
            }
        }
        Ok(())
    }

    fn fold(&mut self, event: &Event, moment: Moment) {
        match event {
            Event::Adopted { lease, holder, items, ttl_ms, .. } => {
                self.grant(*lease, holder, items, moment.at.after_ms(*ttl_ms), moment);
                if let Some(row) = self.row_mut(lease) {
                    row.adopted = true;
                }
            }
            Event::Granted { lease, holder, items, ttl_ms, claim_due, .. } => {
                self.leave_line(lease);
                self.grant(*lease, holder, items, claim_due.unwrap_or(moment.at.after_ms(*ttl_ms)), moment);
            }
            Event::Queued { lease, attempt, content, holder, items, gives_up, .. } => {
                let waiting = Waiting { order: self.next_order, attempt: *attempt, content: *content, asked: true };
                self.queue(*lease, holder, items, *gives_up, waiting, moment);
            }
            Event::Denied { vendor, denial, .. } => {
                if let (Some(vendor), Some(feature)) = (vendor, &denial.feature)
                    && let Some(pool) = self.pool_of(*vendor, feature.as_str()).and_then(|pool| self.pools.get_mut(&pool))
                {
                    pool.denied += 1;
                }
            }
            Event::DenialsCounted { pools, .. } => {
                for (pool, denials) in pools {
                    if let Some(pool) = self.pools.get_mut(pool) {
                        pool.denied += denials;
                    }
                }
            }
            Event::Dequeued { lease, .. } => self.leave_line(lease),
            Event::Ending { lease, due, reason, .. } => {
                if let Some(row) = self.row_mut(lease) {
                    let heard_at = Timestamp(row.heard_at());
                    row.state = State::Ending;
                    row.deadline = *due;
                    row.heard_before_ms = before(*due, heard_at);
                    row.ending = Some(*reason);
                }
            }
            Event::Ended { lease, due, linger_until, .. } => {
                self.end(lease, *linger_until);
                note_freed_early(&mut self.freed_early, *due, moment.at);
            }
            Event::Released { lease, linger_until, .. } => self.end(lease, *linger_until),
            Event::LingerEnded { lease, .. } => self.end(lease, None),
            Event::EntitlementBegan { entitlement } => self.begin(*entitlement),
            Event::EntitlementEnded { entitlement, reason } => self.end_right(*entitlement, *reason),
            Event::EntitlementsUnderstood { license, entitlements, left_out, pools } => {
                self.understand(license, entitlements, left_out, pools);
            }
            Event::LicenseChecked { license, problem } => {
                for installed in self.licenses.values_mut().filter(|installed| installed.hash == *license) {
                    installed.problem.clone_from(problem);
                }
            }
            Event::LicenseInstalled { license, note, terms, vendor, first_entitlement, pools, .. } => {
                self.install(*license, note, Arc::clone(terms), *vendor, *first_entitlement, pools);
            }
            Event::LicenseRemoved { license, reason, .. } => {
                let firsts: Vec<_> = self.licenses.iter().filter(|(_, there)| there.hash == *license).map(|(first, _)| *first).collect();
                for first in firsts {
                    for right in self.rights_of(first) {
                        self.end_right(right, *reason);
                    }
                    self.set_aside(first);
                    let gone = if *reason == RightEnd::Replaced { self.taken_off.push(first) } else { Some(first) };
                    if let Some(gone) = gone {
                        self.aside.remove(&gone);
                    }
                }
            }
            Event::ReplacementUndone { first_entitlement, entitlements, .. } => {
                self.taken_off.remove(*first_entitlement);
                if let Some((installed, rights)) = self.aside.remove(first_entitlement) {
                    self.licenses.insert(*first_entitlement, installed);
                    for (id, right) in rights {
                        if let Some(pool) = self.pools.get_mut(&right.pool) {
                            pool.rights.push(id);
                        }
                        self.rights.insert(id, right);
                    }
                }
                for right in entitlements {
                    if let Some(right) = self.rights.get_mut(right) {
                        (right.began, right.ended) = (false, None);
                    }
                }
            }
            Event::PoolOpened { pool, vendor, feature } => self.open_pool(*pool, *vendor, feature.as_str()),
            Event::VendorKeys { vendor, name, keys } => {
                let there = self.vendors.entry(*vendor).or_insert_with(|| Vendor { name: name.as_str().into(), keys: Vec::new() });
                for key in keys {
                    if !there.keys.contains(key) {
                        there.keys.push(*key);
                    }
                }
            }
            Event::PoolsMerged { from, into, pools } => self.take_over_pools(*from, *into, pools),
            Event::VendorsMerged { from, into } => self.merge(*from, *into),
            Event::QuarantineEnded { .. } => self.quarantine_until = None,
            Event::LineageBegan { lineage, quarantine_until, lease, epoch, index, .. } => {
                tracing::error!(
                    %lease, epoch = epoch.0, index = index.0, ms = quarantine_until.since_ms(moment.at),
                    "a signed grant shows that entries of this history are lost: was an old copy of the data directory put back? A new history begins; for so \
                     long nothing new is granted, and seats in use are taken over; `triquest-lm quarantine end --lineage {} --reason TEXT` ends it sooner",
                    Lineage(lineage.0).short()
                );
                self.quarantine_until = Some(*quarantine_until);
                self.lineages.insert(lineage.0);
            }
            Event::QuarantineLengthened { until } => self.quarantine_until = Some(*until),
            Event::Recovered { quarantine_until, lineage, .. } => {
                self.quarantine_until = *quarantine_until;
                self.lineages.insert(lineage.0);
            }
            Event::ClockAccepted { .. } => self.clock_refused_ms = None,
            Event::ClockStepped { to_ms, believed, .. } => self.clock_refused_ms = (!believed).then_some(*to_ms),
            Event::PresenceAllowed { networks, .. } => self.presence_off.allow(*networks),
            Event::PresenceRegretted { networks: Some(networks), until, .. } => self.presence_off.put(*networks, *until, moment.at),
            Event::Forgot { .. } => self.presence_off.forget(moment.at),
            // Nothing of these is shown by a list; the stream of events has them.
            Event::ChargeMoved { .. }
            | Event::ClockMarked
            | Event::Heard { .. }
            | Event::LinesResumed { .. }
            | Event::PresenceRegretted { networks: None, .. }
            | Event::ReleasedUnknown { .. }
            | Event::TtlLowered { .. }
            | Event::TtlRaised { .. }
            | Event::FormatRaised { .. }
            | Event::WaiterHeard { .. }
            | Event::WordsAccepted { .. } => {}
        }
    }

    /// Adds the seats of a shape to a number of its pools, or takes them away.
    fn count(&mut self, shape: u32, number: impl Fn(&mut Pool) -> &mut u64, add: bool) {
        for item in self.shapes.items(shape) {
            if let Some(pool) = self.pools.get_mut(&item.pool) {
                let number = number(pool);
                let seats = u64::from(item.seats);
                *number = if add { *number + seats } else { number.saturating_sub(seats) };
            }
        }
    }

    fn grant(&mut self, lease: Id, holder: &triquest_allocator::Holder, items: &[GrantedItem], deadline: Timestamp, moment: Moment) {
        // An id that lingers may not grant again, so a row that is there is a repair of an adopted lease: it is taken off first.
        self.end(&lease, None);
        let shape = self.shapes.intern(items);
        let (holder, process) = self.holders.intern(holder);
        self.insert(Row {
            id: lease,
            holder,
            process,
            since_ms: moment.wall_ms,
            deadline,
            heard_before_ms: before(deadline, moment.at),
            shape,
            idle_ms: NOT_SAID,
            state: State::Live,
            ending: None,
            adopted: false,
        });
        self.live += 1;
        self.count(shape, |pool| &mut pool.used, true);
    }

    fn queue(
        &mut self,
        lease: Id,
        holder: &triquest_allocator::Holder,
        items: &[GrantedItem],
        gives_up: Timestamp,
        waiting: Waiting,
        moment: Moment,
    ) {
        let order = waiting.order;
        self.leave_line(&lease);
        let shape = self.shapes.intern(items);
        let (holder, process) = self.holders.intern(holder);
        for item in self.shapes.items(shape) {
            if let Some(pool) = self.pools.get_mut(&item.pool) {
                pool.join(order);
            }
        }
        self.waiting.insert(lease, waiting);
        self.next_order = self.next_order.max(order + 1);
        self.insert(Row {
            id: lease,
            holder,
            process,
            since_ms: moment.wall_ms,
            deadline: gives_up,
            heard_before_ms: before(gives_up, moment.at),
            shape,
            idle_ms: NOT_SAID,
            state: State::Waiting,
            ending: None,
            adopted: false,
        });
    }

    fn leave_line(&mut self, lease: &Id) {
        let Some(Waiting { order, .. }) = self.waiting.remove(lease) else { return };
        let Some(row) = self.remove(lease) else { return };
        for item in self.shapes.items(row.shape) {
            if let Some(pool) = self.pools.get_mut(&item.pool)
                && let Ok(place) = pool.line.binary_search(&order)
            {
                pool.line.remove(place);
            }
        }
        self.forget(row);
    }

    /// A lease's seats are free, or linger.
    fn end(&mut self, lease: &Id, linger_until: Option<Timestamp>) {
        let Some(row) = self.row_mut(lease) else { return };
        let (shape, state) = (row.shape, row.state);
        match state {
            State::Waiting => return self.leave_line(lease),
            State::Lingering => self.count(shape, |pool| &mut pool.lingering, false),
            State::Ending | State::Live => {
                self.live -= 1;
                self.count(shape, |pool| &mut pool.used, false);
            }
        }
        if let Some(until) = linger_until {
            self.count(shape, |pool| &mut pool.lingering, true);
            if let Some(row) = self.row_mut(lease) {
                let heard_at = Timestamp(row.heard_at());
                row.state = State::Lingering;
                row.deadline = until;
                row.heard_before_ms = before(until, heard_at);
                row.ending = None;
            }
        } else if let Some(row) = self.remove(lease) {
            self.forget(row);
        }
    }

    fn pool_of(&self, vendor: VendorId, feature: &str) -> Option<PoolId> {
        let first = PoolKey { vendor: self.vendors.get(&vendor)?.name.clone(), feature: feature.into(), number: 0 };
        self.order
            .range(&first..)
            .take_while(|(key, _)| (&key.vendor, &key.feature) == (&first.vendor, &first.feature))
            .map(|(_, pool)| *pool)
            .find(|pool| self.pools.get(pool).is_some_and(|pool| pool.vendor == vendor))
    }

    fn open_pool(&mut self, pool: PoolId, vendor: VendorId, feature: &str) {
        let name = self.vendors.get(&vendor).map(|vendor| vendor.name.clone()).unwrap_or_default();
        self.order.insert(PoolKey { vendor: name, feature: feature.into(), number: pool.0 }, pool);
        self.pools.entry(pool).or_insert_with(|| Pool {
            vendor,
            feature: feature.into(),
            total: 0,
            used: 0,
            lingering: 0,
            denied: 0,
            line: Vec::new(),
            rights: Vec::new(),
        });
    }

    fn install(
        &mut self,
        hash: LicenseHash,
        note: &[u8],
        terms: Arc<InstalledTerms>,
        vendor: VendorId,
        first: EntitlementId,
        pools: &[PoolId],
    ) {
        self.put_rights(first, &terms.entitlements, pools);
        // As it was installed, byte for byte: whether this version can read it is another question.
        let file = String::from_utf8_lossy(note).into_owned().into_boxed_str();
        self.licenses.insert(first, Installed { hash, vendor, file, terms, problem: None });
    }

    fn put_rights(&mut self, first: EntitlementId, entitlements: &[InstalledEntitlement], pools: &[PoolId]) {
        for (entitlement, pool) in entitlements.iter().zip(pools) {
            let id = EntitlementId(first.0 + u32::from(entitlement.position));
            let position = entitlement.position;
            let right = Right { license: first, position, pool: *pool, seats: entitlement.seats, began: false, ended: None };
            if let Some(pool) = self.pools.get_mut(pool) {
                pool.rights.push(id);
            }
            self.rights.insert(id, right);
        }
    }

    fn understand(&mut self, hash: &LicenseHash, entitlements: &[InstalledEntitlement], left_out: &[InstalledLeftOut], pools: &[PoolId]) {
        let firsts: Vec<_> = self.licenses.iter().filter(|(_, there)| there.hash == *hash).map(|(first, _)| *first).collect();
        for first in firsts {
            if let Some(installed) = self.licenses.get_mut(&first) {
                let terms = Arc::make_mut(&mut installed.terms);
                terms.entitlements.extend(entitlements.iter().cloned());
                terms.entitlements.sort_by_key(|entitlement| entitlement.position);
                terms.left_out = left_out.to_vec();
            }
            self.put_rights(first, entitlements, pools);
        }
    }

    /// The entitlements of a license.
    fn rights_of(&self, first: EntitlementId) -> Vec<EntitlementId> {
        self.rights.range(first..).take_while(|(_, right)| right.license == first).map(|(id, _)| *id).collect()
    }

    /// A license was replaced: nobody sees it any more, but it may come back.
    fn set_aside(&mut self, first: EntitlementId) {
        let mut rights = Vec::new();
        for id in self.rights_of(first) {
            let Some(right) = self.rights.remove(&id) else { continue };
            if let Some(pool) = self.pools.get_mut(&right.pool) {
                pool.rights.retain(|there| *there != id);
            }
            rights.push((id, right));
        }
        let Some(installed) = self.licenses.remove(&first) else { return };
        self.aside.insert(first, (installed, rights));
    }

    fn begin(&mut self, entitlement: EntitlementId) {
        let Some(right) = self.rights.get_mut(&entitlement) else { return };
        if right.in_force() {
            return;
        }
        (right.began, right.ended) = (true, None);
        if let Some(pool) = self.pools.get_mut(&right.pool) {
            pool.total += u64::from(right.seats);
        }
    }

    fn end_right(&mut self, entitlement: EntitlementId, reason: RightEnd) {
        let Some(right) = self.rights.get_mut(&entitlement) else { return };
        let counted = right.in_force();
        right.ended = right.ended.or(Some(reason));
        if counted && let Some(pool) = self.pools.get_mut(&right.pool) {
            pool.total = pool.total.saturating_sub(u64::from(right.seats));
        }
    }

    /// Keys and licenses of a vendor are another's now; its pools follow.
    fn merge(&mut self, from: VendorId, into: VendorId) {
        let keys = self.vendors.get_mut(&from).map(|gone| std::mem::take(&mut gone.keys)).unwrap_or_default();
        if let Some(vendor) = self.vendors.get_mut(&into) {
            for key in keys {
                if !vendor.keys.contains(&key) {
                    vendor.keys.push(key);
                }
            }
        }
        // Those that may come back too.
        let aside = self.aside.values_mut().map(|(license, _)| license);
        for license in self.licenses.values_mut().chain(aside).filter(|license| license.vendor == from) {
            license.vendor = into;
        }
    }

    /// Pools of a vendor that became part of another, each with the pool that it is part of now.
    fn take_over_pools(&mut self, from: VendorId, into: VendorId, pools: &[(PoolId, PoolId)]) {
        let name = self.vendors.get(&from).map(|vendor| vendor.name.clone()).unwrap_or_default();
        for (old, new) in pools {
            let Some(mut pool) = self.pools.remove(old) else { continue };
            self.order.remove(&PoolKey { vendor: name.clone(), feature: pool.feature.clone(), number: old.0 });
            self.open_pool(*new, into, &pool.feature);
            if old == new {
                pool.vendor = into;
                self.pools.insert(*new, pool);
                continue;
            }
            for right in &pool.rights {
                if let Some(right) = self.rights.get_mut(right) {
                    right.pool = *new;
                }
            }
            if let Some(there) = self.pools.get_mut(new) {
                there.total += pool.total;
                there.used += pool.used;
                there.lingering += pool.lingering;
                there.denied += pool.denied;
                pool.line.iter().for_each(|order| there.join(*order));
                there.rights.extend(pool.rights);
            }
        }
        let renamed: BTreeMap<PoolId, PoolId> = pools.iter().filter(|(old, new)| old != new).copied().collect();
        self.shapes.rename(&renamed);
        self.merged.extend(&renamed);
        for (_, right) in self.aside.values_mut().flat_map(|(_, rights)| rights) {
            right.pool = renamed.get(&right.pool).copied().unwrap_or(right.pool);
        }
        if !self.pools.values().any(|pool| pool.vendor == from) {
            self.vendors.remove(&from);
        }
    }

    fn pools_wanted(&self, filter: &LeaseFilter) -> Option<Vec<PoolId>> {
        if filter.feature.is_none() && filter.vendor.is_none() {
            return None;
        }
        let wanted = |pool: &Pool| {
            filter.feature.as_ref().is_none_or(|feature| **feature == *pool.feature)
                && filter.vendor.as_ref().is_none_or(|vendor| self.vendors.get(&pool.vendor).is_some_and(|there| *there.name == **vendor))
        };
        Some(self.pools.iter().filter(|(_, pool)| wanted(pool)).map(|(id, _)| *id).collect())
    }

    /// Whether a pool is of a vendor that has one of these keys; of any vendor, if there are none.
    fn is_of(&self, pool: PoolId, vendor_keys: &[[u8; 32]]) -> bool {
        let vendor = || self.vendors.get(&self.pools.get(&pool)?.vendor);
        vendor_keys.is_empty() || vendor().is_some_and(|vendor| vendor.keys.iter().any(|key| vendor_keys.contains(key)))
    }

    fn pool_status(&self, pool: PoolId) -> Option<PoolStatus> {
        let pool = self.pools.get(&pool)?;
        let vendor = self.vendors.get(&pool.vendor)?;
        let first_end = pool
            .rights
            .iter()
            .filter_map(|right| self.rights.get(right))
            .filter(|right| right.in_force())
            .filter_map(|right| self.licenses.get(&right.license)?.terms.entitlement(right.position))
            .filter_map(|entitlement| entitlement.expires.map(|expires| (expires, entitlement)))
            .min_by_key(|(expires, _)| *expires);
        let next_start = pool
            .rights
            .iter()
            .filter_map(|right| self.rights.get(right))
            .filter(|right| right.state() == LicenseState::Waiting)
            .filter_map(|right| self.licenses.get(&right.license)?.terms.entitlement(right.position))
            .filter_map(|entitlement| entitlement.starts.map(|starts| (starts, entitlement)))
            .min_by_key(|(starts, _)| *starts);
        Some(PoolStatus {
            vendor: vendor.name.to_string(),
            vendor_keys: vendor.keys.iter().copied().map(Bytes32).collect(),
            feature: pool.feature.to_string(),
            numbers: pool.numbers(),
            denied: pool.denied,
            ends: first_end.and_then(|(_, entitlement)| entitlement.expires_written.clone()),
            ends_ms: first_end.map(|(expires, _)| expires),
            starts: next_start.and_then(|(_, entitlement)| entitlement.starts_written.clone()),
        })
    }

    fn status(&self, row: &Row, (at, wall_ms): (u64, i64)) -> LeaseStatus {
        let items = self.shapes.items(row.shape);
        let place = (row.state == State::Waiting).then(|| {
            // The worst of its lines is what it waits for.
            let order = self.waiting.get(&row.id).map_or(0, |waiting| waiting.order);
            items.iter().map(|item| self.place(item.pool, order)).max().unwrap_or(1)
        });
        LeaseStatus {
            lease: LeaseId(row.id.0),
            state: row.state.wire(),
            items: items
                .iter()
                .map(|item| {
                    let pool = self.pools.get(&item.pool);
                    HeldItem {
                        vendor: pool
                            .and_then(|pool| self.vendors.get(&pool.vendor))
                            .map(|vendor| vendor.name.to_string())
                            .unwrap_or_default(),
                        feature: pool.map(|pool| pool.feature.to_string()).unwrap_or_default(),
                        version: item.version.as_ref().map(ToString::to_string),
                        seats: item.seats,
                    }
                })
                .collect(),
            holder: self.holders.holder(row.holder, row.process),
            since_at: rfc3339(row.since_ms),
            adopted: row.adopted,
            age_ms: wall_ms.saturating_sub(row.since_ms).max(0).unsigned_abs(),
            heard_ms: at.saturating_sub(row.heard_at()),
            idle_ms: (row.idle_ms != NOT_SAID).then_some(u64::from(row.idle_ms)),
            remaining_ms: row.deadline.0.saturating_sub(at),
            place,
            ending: row.ending.map(wire_end_reason),
        }
    }

    /// From 1.
    fn place(&self, pool: PoolId, order: u64) -> u32 {
        let before = self.pools.get(&pool).map_or(0, |pool| pool.line.partition_point(|other| *other < order));
        u32::try_from(before + 1).unwrap_or(u32::MAX)
    }

    /// Whether a client with these keys can verify all licenses of a pool.
    fn is_all_verifiable(&self, pool: &Pool, vendor_keys: &[[u8; 32]]) -> bool {
        let mut rights = pool.rights.iter().filter_map(|right| self.rights.get(right));
        rights.all(|right| self.licenses.get(&right.license).is_none_or(|license| license.is_signed_by_one_of(vendor_keys)))
    }

    /// The pools of a feature of the vendors that these keys name.
    fn pools_for<'a>(&'a self, vendor_keys: &'a [[u8; 32]], feature: &'a str) -> impl Iterator<Item = &'a Pool> {
        self.pool_ids_for(vendor_keys, feature).filter_map(|pool| self.pools.get(&pool))
    }

    fn pool_ids_for<'a>(&'a self, vendor_keys: &'a [[u8; 32]], feature: &'a str) -> impl Iterator<Item = PoolId> + 'a {
        let named = self.vendors.iter().filter(|(_, vendor)| vendor.keys.iter().any(|key| vendor_keys.contains(key)));
        named.filter_map(move |(vendor, _)| self.pool_of(*vendor, feature))
    }

    fn license_state(&self, first: EntitlementId, license: &Installed) -> LicenseState {
        let of = |right: &InstalledEntitlement| self.rights.get(&EntitlementId(first.0 + u32::from(right.position)));
        let states = license.terms.entitlements.iter().filter_map(of).map(Right::state);
        // What is left out may be understood one day.
        let mut waits = !license.terms.left_out.is_empty();
        for state in states {
            match state {
                LicenseState::InForce => return LicenseState::InForce,
                LicenseState::Waiting => waits = true,
                LicenseState::Expired => {}
            }
        }
        if waits { LicenseState::Waiting } else { LicenseState::Expired }
    }

    fn summary(&self, first: EntitlementId, license: &Installed) -> LicenseSummary {
        let terms = &license.terms;
        LicenseSummary {
            hash: Bytes32(*license.hash.as_bytes()),
            license: terms.license.to_string(),
            vendor: terms.vendor.to_string(),
            vendor_keys: terms.keys.iter().copied().map(Bytes32).collect(),
            licensee: terms.licensee.clone(),
            state: self.license_state(first, license),
            entitlements: terms
                .entitlements
                .iter()
                .map(|entitlement| EntitlementSummary {
                    feature: entitlement.feature.to_string(),
                    version: entitlement.version.as_ref().map(ToString::to_string),
                    seats: entitlement.seats,
                    starts: entitlement.starts_written.clone(),
                    expires: entitlement.expires_written.clone(),
                    ends_ms: entitlement.expires,
                    state: self
                        .rights
                        .get(&EntitlementId(first.0 + u32::from(entitlement.position)))
                        .map_or(LicenseState::Expired, Right::state),
                })
                .collect(),
            left_out: terms
                .left_out
                .iter()
                .map(|out| LeftOutSummary {
                    entitlement: out.position,
                    feature: out.feature.as_ref().map(ToString::to_string),
                    unknown_words: out.unknown.iter().map(ToString::to_string).collect(),
                })
                .collect(),
            problem: license.problem.clone(),
        }
    }
}

/// A civil time for people; beyond the calendar, the nearest time within it.
pub(crate) fn rfc3339(unix_ms: i64) -> String {
    jiff::Timestamp::from_millisecond(unix_ms).unwrap_or(if unix_ms < 0 { jiff::Timestamp::MIN } else { jiff::Timestamp::MAX }).to_string()
}

/// The wire's name for it.
#[must_use]
pub fn wire_end_reason(reason: EndReason) -> WireEndReason {
    match reason {
        EndReason::Excluded => WireEndReason::Excluded,
        EndReason::Expired => WireEndReason::Expired,
        EndReason::LicenseEnded => WireEndReason::LicenseEnded,
        EndReason::LicenseRemoved => WireEndReason::LicenseRemoved,
        EndReason::LicenseReplaced => WireEndReason::LicenseReplaced,
        EndReason::Presence => WireEndReason::Presence,
        EndReason::Reclaimed => WireEndReason::Reclaimed,
        EndReason::Released => WireEndReason::Released,
        EndReason::Unclaimed => WireEndReason::Unclaimed,
    }
}

/// One part of what leases hold.
#[derive(Clone, Copy, Debug)]
struct ShapeItem {
    pool: PoolId,
    version: Option<Version>,
    seats: u32,
}

/// What leases hold, each kept once: there are few different ones.
#[derive(Default)]
struct Shapes {
    slots: Vec<(Arc<[ShapeItem]>, u32)>,
    free: Vec<u32>,
    by_key: HashMap<Box<[u8]>, u32>,
    scratch: Vec<u8>,
}

impl Shapes {
    /// Versions as written: 12 and 12.0 are equal but not the same text.
    fn key(items: impl Iterator<Item = ShapeItem>, key: &mut Vec<u8>) {
        use std::io::Write as _;
        key.clear();
        for ShapeItem { pool, version, seats } in items {
            key.extend_from_slice(&pool.0.to_le_bytes());
            key.extend_from_slice(&seats.to_le_bytes());
            if let Some(version) = version {
                write!(key, "{version}").expect("memory takes all");
            }
            key.push(0);
        }
    }

    fn intern(&mut self, items: &[GrantedItem]) -> u32 {
        let items = || items.iter().map(|item| ShapeItem { pool: item.pool, version: item.version, seats: item.seats });
        Self::key(items(), &mut self.scratch);
        if let Some(slot) = self.by_key.get(self.scratch.as_slice()) {
            self.slots[*slot as usize].1 += 1;
            return *slot;
        }
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push((Arc::from([]), 0));
            self.slots.len() as u32 - 1
        });
        self.slots[slot as usize] = (items().collect(), 1);
        self.by_key.insert(self.scratch.as_slice().into(), slot);
        slot
    }

    fn items(&self, slot: u32) -> &[ShapeItem] {
        &self.slots[slot as usize].0
    }

    fn release(&mut self, slot: u32) {
        let (items, count) = &mut self.slots[slot as usize];
        *count -= 1;
        if *count == 0 {
            let items = std::mem::replace(items, Arc::from([]));
            Self::key(items.iter().copied(), &mut self.scratch);
            // After pools were merged, another slot may have the same content and the name.
            if self.by_key.get(self.scratch.as_slice()) == Some(&slot) {
                self.by_key.remove(self.scratch.as_slice());
            }
            self.free.push(slot);
        }
    }

    /// Pools became part of others.
    fn rename(&mut self, pools: &BTreeMap<PoolId, PoolId>) {
        for slot in 0..self.slots.len() {
            let items = &self.slots[slot].0;
            if !items.iter().any(|item| pools.contains_key(&item.pool)) {
                continue;
            }
            let renamed: Vec<_> = items
                .iter()
                .map(|item| {
                    let pool = pools.get(&item.pool).copied().unwrap_or(item.pool);
                    ShapeItem { pool, ..*item }
                })
                .collect();
            Self::key(items.iter().copied(), &mut self.scratch);
            if self.by_key.get(self.scratch.as_slice()) == Some(&(slot as u32)) {
                self.by_key.remove(self.scratch.as_slice());
            }
            Self::key(renamed.iter().copied(), &mut self.scratch);
            self.by_key.entry(self.scratch.as_slice().into()).or_insert(slot as u32);
            self.slots[slot].0 = renamed.into();
        }
    }
}

/// Holders without their process numbers, each kept once: `tag, length, text` for each field that is there.
#[derive(Default)]
struct HolderTable {
    slots: Vec<(Arc<[u8]>, u32)>,
    free: Vec<u32>,
    by_bytes: BTreeMap<Arc<[u8]>, u32>,
    scratch: Vec<u8>,
}

const PROVED: u8 = 0x40;
const NUMBERED: u8 = 0x80;
const PROCESS: u8 = 6;

impl HolderTable {
    fn intern(&mut self, holder: &triquest_allocator::Holder) -> (u32, u32) {
        let bytes = &mut self.scratch;
        bytes.clear();
        let mut number = 0;
        let fields = [
            &holder.user,
            &holder.host,
            &holder.display,
            &holder.session,
            &holder.address,
            &holder.container,
            &holder.process,
            &holder.job,
            &holder.project,
        ];
        for (field, tag) in fields.into_iter().zip(0u8..) {
            let Some(claim) = field else { continue };
            let mut text = claim.value.as_str();
            let mut tag = if claim.proved { tag | PROVED } else { tag };
            if tag & !PROVED == PROCESS
                && let Some((process, rest)) = numbered(text)
            {
                (number, text) = (process, rest);
                tag |= NUMBERED;
            }
            let length = text.len().min(usize::from(u16::MAX));
            bytes.push(tag);
            bytes.extend_from_slice(&(length as u16).to_le_bytes());
            bytes.extend_from_slice(&text.as_bytes()[..length]);
        }
        if let Some(slot) = self.by_bytes.get(bytes.as_slice()) {
            self.slots[*slot as usize].1 += 1;
            return (*slot, number);
        }
        let shared: Arc<[u8]> = bytes.as_slice().into();
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push((Arc::from([]), 0));
            self.slots.len() as u32 - 1
        });
        self.slots[slot as usize] = (Arc::clone(&shared), 1);
        self.by_bytes.insert(shared, slot);
        (slot, number)
    }

    fn release(&mut self, slot: u32) {
        let (bytes, count) = &mut self.slots[slot as usize];
        *count -= 1;
        if *count == 0 {
            self.by_bytes.remove(bytes);
            *bytes = Arc::from([]);
            self.free.push(slot);
        }
    }

    fn holder(&self, slot: u32, number: u32) -> HolderStatus {
        let mut bytes = &*self.slots[slot as usize].0;
        let mut holder = HolderStatus::default();
        while let [tag, low, high, rest @ ..] = bytes {
            let length = usize::from(u16::from_le_bytes([*low, *high])).min(rest.len());
            let (text, tail) = rest.split_at(length);
            bytes = tail;
            let text = String::from_utf8_lossy(text);
            let value = if tag & NUMBERED == 0 { text.into_owned() } else { format!("{number}{text}") };
            let claim = Some(Claim { value, proved: tag & PROVED != 0 });
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

/// Splits `pid` or `pid:name` if putting it together again gives the same text.
fn numbered(process: &str) -> Option<(u32, &str)> {
    let digits = process.bytes().take_while(u8::is_ascii_digit).count();
    let (number, rest) = process.split_at(digits);
    if digits == 0 || digits > 1 && number.starts_with('0') {
        return None;
    }
    Some((number.parse().ok()?, rest))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_was_heard_earlier_and_is_told_later_changes_nothing() {
        let position = Position { lineage: Lineage([1; 16]), epoch: 1, index: 1 };
        let mut inner = Inner::new(position);
        let (lease, waiter) = (Id([1; 16]), Id([2; 16]));
        let moment = Moment { at: Timestamp(1_000), wall_ms: 0 };
        inner.grant(lease, &triquest_allocator::Holder::default(), &[], Timestamp(61_000), moment);
        let waiting = Waiting { order: 0, attempt: 1, content: ContentDigest([0; 16]), asked: false };
        inner.queue(waiter, &triquest_allocator::Holder::default(), &[], Timestamp(90_000), waiting, moment);
        let mut hear = |lease: Id, at: u64, remaining_ms: u64, idle_ms: Option<u64>| {
            inner.hear(&Heard { lease, at: Timestamp(at), remaining_ms, idle_ms });
            let row = inner.row(&lease).unwrap();
            (row.deadline.0, row.heard_at(), row.idle_ms)
        };
        assert_eq!(hear(lease, 20_000, 60_000, Some(5)), (80_000, 20_000, 5));
        assert_eq!(hear(lease, 10_000, 60_000, Some(7)), (80_000, 20_000, 5), "it is older");
        assert_eq!(hear(lease, 20_000, 50_000, Some(9)), (70_000, 20_000, 9), "of one pass the last counts");
        assert_eq!(hear(lease, 500, 60_000, None), (70_000, 20_000, 9), "before its grant");
        assert_eq!(hear(waiter, 30_000, 0, None), (90_000, 30_000, NOT_SAID));
        assert_eq!(hear(waiter, 25_000, 0, None), (90_000, 30_000, NOT_SAID));
        assert!(inner.waiting[&waiter].asked, "whenever it was");
    }
}
