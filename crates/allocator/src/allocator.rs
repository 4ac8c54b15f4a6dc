//! The state and its public face.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use triquest_license::{FeatureName, LicenseHash, LicenseId, Version, Word, Words};

use crate::{
    Actor, Between, Charge, Command, ContentDigest, EntitlementId, Epoch, EpochRecord, Event, Holder, Index, InstalledTerms, Instance,
    LeaseId, Limits, Lineage, Moment, NamedNetwork, Network, Outcome, PoolId, PoolNumbers, RightEnd, TakenOff, Timestamp, VendorId,
    VerifierKeys,
    crowd::Crowd,
    limits::{
        CLOCK_ENTRY_MS, DUE_PER_BATCH_MAX, ENTRY_BYTES_MAX, FORGET_EVERY_MS, KEY_SETS_IN_LINE_MAX, TURNED_AWAY_MS, TURNED_AWAY_NAMED_MAX,
    },
    lineage::Proof,
    memory::Memory,
    rank::Ranks,
    regrets::Regrets,
    store::{Features, Holders, KeySet, Kind, LeaseTable, Rank, Slot, UNSEALED, Wheel, WishItem, Wishes},
};

/// Switches for the simulation: nearly each rule of leases.md can be turned off to show that it is needed. All on in a server.
#[derive(Clone, Debug)]
pub struct Safeguards {
    /// What is taken over belongs to a vendor that the request names, and is never more than an entitlement has.
    pub adoption_is_bounded: bool,
    /// The end of a presence connection counts for a lease that was added to it only after that lease's own renewal, not by another's.
    pub added_counts_from_its_renewal: bool,
    /// An answer that needs no entry leaves only after it was confirmed, by something that began later, that this server still leads.
    pub answers_wait_for_confirm: bool,
    /// An answer waits for every entry in flight that its lease or entitlement stands in.
    pub answers_wait_for_entries: bool,
    /// Whoever asked for what is its own and was refused, for want of room or because too much waits, is heard as soon as that can be written, before
    /// anything that is due ends.
    pub asked_in_vain_is_heard: bool,
    /// A lower attempt than the last is refused, and the same attempt gets the same answer.
    pub attempts_ordered: bool,
    /// At one instant rights begin before others end.
    pub begin_before_end: bool,
    /// Charges go to another entitlement when theirs ends or when that makes room.
    pub charges_move: bool,
    /// A seat granted to a waiter is taken back if it does not come for it.
    pub claims_end: bool,
    /// While a deadline is hard, entries carry lease time across restarts.
    pub clock_is_marked: bool,
    /// The same counter with another nonce is a cloned client.
    pub counters_detect_clones: bool,
    /// The end of a presence connection frees nothing of a lease that was dropped from it.
    pub dropped_is_not_freed: bool,
    /// What is due is freed before anything is decided, not only by a sweep.
    pub due_before_decide: bool,
    /// Nothing is due past the arrival of the oldest renewal that still waits.
    pub due_not_past_the_lane: bool,
    /// Nothing is due past the arrival of the oldest repeat of a lease or a place that lives and still waits, and one that is refused counts as heard.
    pub due_not_past_repeats: bool,
    /// An ending lease keeps its seats until the end of its promise.
    pub ending_keeps_deadline: bool,
    /// A start has a random instance: the same epoch and index of another start is not ours.
    pub epoch_has_instance: bool,
    /// What does not fit an entry waits for the next pass, renewals and parts of batches too.
    pub entries_are_bounded: bool,
    /// An entry is decided only if it and all that are being written fit what the journal has left.
    pub entry_fits_the_room: bool,
    /// Recovery gives every heard lease its full time to live.
    pub extend_on_recovery: bool,
    /// While the disk is full no time to live is lowered.
    pub full_disk_lowers_nothing: bool,
    /// No grant takes more seats than the pool has.
    pub grant_within_total: bool,
    /// No grant takes more seats than the entitlements of its version and newer ones have, whoever must go is counted there too.
    pub grant_within_versions: bool,
    /// The first renewal in an epoch is an event.
    pub heard_is_durable: bool,
    /// An id that is remembered already is none more: its next attempt is decided although the limit of remembered ids is reached.
    pub known_ids_are_taken: bool,
    /// A lower time to live has a floor: nothing ends before the longer promise that came before it.
    pub lowered_ttl_has_floor: bool,
    /// No renewal waits for a fact that only lowers its time to live.
    pub lowering_keeps_nobody_waiting: bool,
    /// A longer time to live than a lease had counts only when the fact that says so is durable.
    pub longer_ttl_is_durable: bool,
    /// In a named network the end of a presence connection frees nothing before its client had time to come back.
    pub named_network_waits: bool,
    /// In the quarantine of a new lineage leases and claims end by release only.
    pub new_lineage_frees_nothing: bool,
    /// A waiter whose answer is held hears its place when the server stops.
    pub held_waiters_are_told_at_stop: bool,
    /// An answer that waited for its entry takes no confirmation away from answers of later passes.
    pub later_confirmation_is_kept: bool,
    /// While the disk is full nothing is granted, nothing ends, and nobody leaves a line; with room again claims and waits begin anew.
    pub lines_stand_while_full: bool,
    /// In a named network a client that opens a presence connection again keeps its seats.
    pub opening_ends_the_wait: bool,
    /// No seat comes from a license that none of the keys which its client embeds has signed.
    pub keys_bind_charges: bool,
    /// The end of a presence connection counts only if the client has confirmed it by a renewal.
    pub presence_confirmed: bool,
    /// The end of a presence connection counts only if both ends see the same addresses and ports.
    pub presence_ends_agree: bool,
    /// Seats that linger are given up before a live lease loses its license.
    pub linger_gives_way: bool,
    /// Nothing is forgotten before its time, however many ids are remembered: at the limit new ones are refused.
    pub nothing_is_forgotten_early: bool,
    /// Only the newest presence connection of a lease counts.
    pub presence_generation: bool,
    /// Nothing is freed by presence before what waits and says that its client lives.
    pub presence_hears_first: bool,
    /// A client that comes back after presence freed its seats turns early freeing off for its network.
    pub presence_regret: bool,
    /// No network can turn early freeing off for others than those of its own wider network.
    pub presence_off_by_network: bool,
    /// Deadlines are set by the time to live that the lease was promised, not by what its license permits now.
    pub promised_ttl_counts: bool,
    /// A proof of a rollback counts from its arrival, and not only when its turn comes.
    pub proof_counts_from_its_arrival: bool,
    /// From a proof of a rollback on nothing is granted, also while the disk has no room for the new lineage.
    pub proof_stops_at_once: bool,
    /// After a restore nothing is granted until what was granted in lost history must have ended.
    pub quarantine_after_restore: bool,
    /// An administrator ends the quarantine of the history that was looked at, and none that has begun since.
    pub quarantine_end_names_its_history: bool,
    /// The quarantine is as long as any license that this history or the license folder has known may have promised.
    pub quarantine_from_lineage_start: bool,
    /// Nobody passes an earlier waiter that shares a pool.
    pub queue_strict: bool,
    /// In a named network a client whose opening of a presence connection was refused keeps its seats.
    pub refused_opening_ends_the_wait: bool,
    /// A refusal of a known id does not say that nothing happened.
    pub refusals_know_their_id: bool,
    /// A license replaces only what was installed before it.
    pub reissue_order: bool,
    /// A client that is heard after the end of its presence connection in a named network keeps its seats.
    pub renewal_ends_the_wait: bool,
    /// An id that was released before it was known never grants.
    pub release_before_known: bool,
    /// Whatever keys requests name, few sets of keys are kept that are not one vendor's.
    pub made_up_keys_are_few: bool,
    /// Nobody makes the server remember more than a share of ids.
    pub remembered_by_network: bool,
    /// Nobody takes more than a share of the places in line.
    pub shares_by_network: bool,
    /// A wider network is a party too: it has no more than its share, however many networks are in it.
    pub shares_by_wider_network: bool,
    /// An id that ended never grants again.
    pub remember_ended: bool,
    /// What took the place of a license in a future that is taken back is known although it was removed by hand meanwhile.
    pub removed_successors_are_known: bool,
    /// A signed grant of entries that are not there begins a new lineage.
    pub rollback_is_proved: bool,
    /// A waiter that does not ask again leaves the line.
    pub silent_waiters_leave: bool,
    /// A lease that lost its entitlement is not renewed as if nothing had happened before its turn came.
    pub stranded_checked_at_renewal: bool,
    /// Nothing of a named network is freed early while its connections are turned away: any could be that of a client that comes back.
    pub turned_away_frees_nothing: bool,
    /// Nothing is freed early any more because its network once was named.
    pub unnamed_frees_nothing: bool,
    /// No seat comes from an entitlement whose words its client did not accept.
    pub words_are_accepted: bool,
    /// The first asking of a waiter in an epoch is an event, and who was not heard keeps the deadline of the recovery before.
    pub waiter_heard: bool,
    /// When licenses change, waiters are looked at wherever they stand, not only at the head of a line.
    pub waiters_looked_at: bool,
}

impl Default for Safeguards {
    fn default() -> Self {
        Self {
            adoption_is_bounded: true,
            added_counts_from_its_renewal: true,
            answers_wait_for_confirm: true,
            answers_wait_for_entries: true,
            asked_in_vain_is_heard: true,
            attempts_ordered: true,
            begin_before_end: true,
            charges_move: true,
            claims_end: true,
            clock_is_marked: true,
            counters_detect_clones: true,
            dropped_is_not_freed: true,
            due_before_decide: true,
            due_not_past_the_lane: true,
            due_not_past_repeats: true,
            ending_keeps_deadline: true,
            epoch_has_instance: true,
            entries_are_bounded: true,
            entry_fits_the_room: true,
            extend_on_recovery: true,
            full_disk_lowers_nothing: true,
            grant_within_total: true,
            grant_within_versions: true,
            heard_is_durable: true,
            known_ids_are_taken: true,
            longer_ttl_is_durable: true,
            lowered_ttl_has_floor: true,
            lowering_keeps_nobody_waiting: true,
            named_network_waits: true,
            new_lineage_frees_nothing: true,
            held_waiters_are_told_at_stop: true,
            later_confirmation_is_kept: true,
            lines_stand_while_full: true,
            opening_ends_the_wait: true,
            keys_bind_charges: true,
            presence_confirmed: true,
            presence_ends_agree: true,
            linger_gives_way: true,
            nothing_is_forgotten_early: true,
            presence_generation: true,
            presence_hears_first: true,
            presence_regret: true,
            presence_off_by_network: true,
            promised_ttl_counts: true,
            proof_counts_from_its_arrival: true,
            proof_stops_at_once: true,
            quarantine_after_restore: true,
            quarantine_end_names_its_history: true,
            quarantine_from_lineage_start: true,
            queue_strict: true,
            refused_opening_ends_the_wait: true,
            refusals_know_their_id: true,
            reissue_order: true,
            renewal_ends_the_wait: true,
            release_before_known: true,
            made_up_keys_are_few: true,
            remembered_by_network: true,
            shares_by_network: true,
            shares_by_wider_network: true,
            remember_ended: true,
            removed_successors_are_known: true,
            rollback_is_proved: true,
            silent_waiters_leave: true,
            stranded_checked_at_renewal: true,
            turned_away_frees_nothing: true,
            unnamed_frees_nothing: true,
            words_are_accepted: true,
            waiter_heard: true,
            waiters_looked_at: true,
        }
    }
}

/// What an allocator is made with. A server has the default of both; the simulation switches safeguards off and draws limits.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// What is switched on.
    pub safeguards: Safeguards,
    /// How much and how long.
    pub limits: Limits,
}

impl From<Safeguards> for Rules {
    fn from(safeguards: Safeguards) -> Self {
        Self { safeguards, limits: Limits::default() }
    }
}

/// The state, and the only code that changes it.
#[derive(Debug)]
pub struct Allocator {
    pub(crate) safeguards: Safeguards,
    pub(crate) limits: Limits,

    // Hard: what events say.
    pub(crate) lineage: Lineage,
    pub(crate) epoch: Epoch,
    pub(crate) index: Index,
    /// The moment of the last entry.
    pub(crate) head: Moment,
    /// Random for this start.
    pub(crate) instance: Instance,
    /// Finished epochs, oldest first.
    pub(crate) epochs: VecDeque<EpochRecord>,
    /// When the lineage began.
    pub(crate) lineage_since: Timestamp,
    /// The longest `ttl_max` of all licenses that were ever installed.
    pub(crate) ttl_max_seen_ms: u64,
    /// How long the present start has ended ids remembered.
    pub(crate) remember_ms: u64,
    /// How long the present start lets a waiter stay that does not ask.
    pub(crate) wait_ttl_ms: u64,
    pub(crate) quarantine_until: Option<Timestamp>,
    /// The wall clock is not followed: what was believed when it was told, and what it said.
    pub(crate) clock_refused: Option<(i64, i64)>,
    pub(crate) forgotten_until: Timestamp,
    pub(crate) vendors: Vec<Option<Vendor>>,
    pub(crate) pools: Vec<Option<Pool>>,
    pub(crate) rights: Vec<Option<Right>>,
    /// By first entitlement: a text that was removed and installed again while a lease still held on to it is there twice.
    pub(crate) licenses: BTreeMap<EntitlementId, InstalledLicense>,
    pub(crate) leases: LeaseTable,
    pub(crate) line: BTreeMap<u64, Waiter>,
    pub(crate) remembered: Memory,
    /// What clients of leases and waiters accept, where that is anything.
    pub(crate) accepted: BTreeMap<LeaseId, Words>,
    /// The words of kinds of records that the journal may hold.
    pub(crate) format: Words,
    /// Networks in which presence frees nothing early, and until when.
    pub(crate) presence_off: Regrets,
    /// How many leases were freed before their promise was over, by the whole second until which it runs.
    pub(crate) freed_early: BTreeMap<Timestamp, u64>,
    /// Leases that were taken over, with what their shown grants were charged to.
    pub(crate) adopted: BTreeMap<LeaseId, Box<[Charge]>>,
    /// Leases whose time to live was lowered: nothing ends before.
    pub(crate) floors: BTreeMap<LeaseId, Timestamp>,
    /// Licenses that others replaced, and such others that were removed by hand.
    pub(crate) taken_off: TakenOff,

    // Derived from the hard state.
    pub(crate) holders: Holders,
    pub(crate) wishes: Wishes,
    pub(crate) keys: BTreeMap<[u8; 32], VendorId>,
    /// Pools that became part of another when vendors merged.
    pub(crate) aliases: BTreeMap<PoolId, PoolId>,
    pub(crate) by_hash: BTreeMap<LicenseHash, EntitlementId>,
    pub(crate) by_id: BTreeMap<(VendorId, LicenseId), BTreeSet<EntitlementId>>,
    /// Licenses that name an id in `replaces`.
    pub(crate) successors: BTreeMap<(VendorId, LicenseId), BTreeSet<EntitlementId>>,
    pub(crate) waiting_ids: BTreeMap<LeaseId, u64>,
    pub(crate) next_order: u64,
    /// Who waits, by network.
    pub(crate) waiting_crowd: Crowd,
    /// When each entitlement that is not in force begins by date.
    pub(crate) begins: BTreeSet<(i64, EntitlementId)>,
    /// When each entitlement that is in force ends by date.
    pub(crate) ends: BTreeSet<(i64, EntitlementId)>,
    /// Licenses that began to take the place of others, whose rights have not all ended yet.
    pub(crate) replacing: BTreeSet<EntitlementId>,
    /// Licenses whose replacement is to be undone, because the wall clock was taken back.
    pub(crate) returning: BTreeSet<EntitlementId>,
    /// Vendors that became part of another and have pools that have not followed yet.
    pub(crate) merging: BTreeMap<VendorId, VendorId>,
    /// Ended entitlements whose leases have not all been moved or marked yet.
    pub(crate) stranded: BTreeSet<(PoolId, EntitlementId)>,
    pub(crate) live: usize,
    /// Leases whose deadline is hard: lingering, ending, unclaimed, not heard in this epoch.
    pub(crate) restless: usize,
    /// Waiters not heard in this epoch: their deadline is hard.
    pub(crate) unheard_waiters: usize,
    /// Seats that live adopted leases show of each entitlement.
    pub(crate) adopted_seats: BTreeMap<EntitlementId, u64>,

    // Soft: lost in a crash, in no snapshot.
    pub(crate) now: Moment,
    /// Deadlines and silent waiters are due up to here: no further than the arrival of a renewal or a repeat that still waits.
    pub(crate) due_until: Timestamp,
    /// Clients of named networks have not come back up to here: no further than the arrival of anything that waits and may say that one has.
    pub(crate) silent_until: Timestamp,
    /// There is room for everything, as was said last.
    pub(crate) has_room: bool,
    pub(crate) wheel: Wheel,
    pub(crate) waiters_due: BTreeSet<(Timestamp, u64)>,
    /// Pools whose line must be looked at again.
    pub(crate) dirty: BTreeSet<PoolId>,
    /// Pools whose licenses changed, with the place in line from which on waiters have not been looked at since.
    pub(crate) recheck: BTreeMap<PoolId, u64>,
    pub(crate) presence: BTreeMap<LeaseId, Presence>,
    /// Leases of named networks whose presence connection has ended, and when their seats are free if nothing is heard; the same in order.
    pub(crate) presence_waits: BTreeMap<LeaseId, PresenceWait>,
    pub(crate) presence_waits_due: BTreeSet<(Timestamp, LeaseId)>,
    pub(crate) turned_away: TurnedAway,
    /// How often a network was taken out of those that are named, since the server started. Soft.
    pub(crate) unnamings: u64,
    pub(crate) freed_by_presence: BTreeMap<LeaseId, FreedByPresence>,
    pub(crate) unsealed: Vec<Slot>,
    /// Leases whose time to live was raised by an entry that is not known to be durable.
    pub(crate) raising: Raising,
    /// Lease time of the last fact: entries carry it across restarts.
    pub(crate) fact_at: Timestamp,
    /// This pass may become an entry.
    pub(crate) pass_writes: bool,
    /// The disk has room again, and lines have not gone on yet.
    pub(crate) resumes_lines: bool,
    /// Leases and places, not heard in this epoch, whose clients asked and were refused: the fact that they are heard is owed. Each once, so there are
    /// never more than leases and places.
    pub(crate) asked_in_vain: BTreeSet<LeaseId>,
    /// A rollback is proved, and the new lineage not written yet.
    pub(crate) proof: Option<Proof>,
    /// The longest that grants of lost history were shown to promise, as far as the quarantine is to be lengthened by it and is not yet, in milliseconds; 0
    /// if it is not.
    pub(crate) shown_ttl_ms: u64,
    /// Whose grant proved last, in this start, that history was lost.
    pub(crate) proved_by: Option<LeaseId>,
    /// The longest `ttl_max` in the license folder, as the start found it.
    pub(crate) folder_ttl_max_ms: u64,
    /// What the client whose lease is being placed can use.
    pub(crate) accepting: Accepting,
}

/// What a client can use: which seats of a pool are anything to it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Accepting {
    /// The words that it knows.
    pub(crate) words: Words,
    /// The keys that its application embeds.
    pub(crate) embeds: VerifierKeys,
}

/// A vendor on this server.
#[derive(Debug)]
pub(crate) struct Vendor {
    pub(crate) name: String,
    pub(crate) keys: Vec<[u8; 32]>,
    pub(crate) features: Features,
}

/// Where the seats of one vendor's feature add up.
#[derive(Debug)]
pub(crate) struct Pool {
    pub(crate) vendor: VendorId,
    pub(crate) feature: FeatureName,
    /// Soonest-ending first, then lowest version: the order in which they are charged.
    pub(crate) rights: Vec<EntitlementId>,
    pub(crate) total: u64,
    pub(crate) used: u64,
    pub(crate) lingering: u64,
    /// What the entitlements say is charged; must be `used + lingering`.
    pub(crate) charged: u64,
    /// The seats that are taken, by the version that they are taken for.
    pub(crate) asked: BTreeMap<Rank, u64>,
    /// Who waits here, in order.
    pub(crate) line: Ranks,
    /// The same by the keys that their clients embed, which are found by the id of their set.
    pub(crate) line_by_keys: BTreeMap<u64, (Arc<KeySet>, BTreeSet<u64>)>,
    /// Who waits, by network; none if nobody waits.
    pub(crate) crowd: Option<Box<Crowd>>,
    /// Whose seats linger here, soonest free first.
    pub(crate) lingerers: BTreeSet<(Timestamp, Slot)>,
}

impl Pool {
    /// Puts somebody in line.
    pub(crate) fn stand_in_line(&mut self, order: u64, embeds: &Arc<KeySet>) {
        self.line.insert(order);
        self.line_by_keys.entry(embeds.id).or_insert_with(|| (Arc::clone(embeds), BTreeSet::new())).1.insert(order);
    }

    /// Takes somebody out of the line; false if it is not there.
    pub(crate) fn leave_line(&mut self, order: u64, embeds: &KeySet) -> bool {
        if let Some((_, orders)) = self.line_by_keys.get_mut(&embeds.id) {
            orders.remove(&order);
            if orders.is_empty() {
                self.line_by_keys.remove(&embeds.id);
            }
        }
        self.line.remove(order)
    }

    /// The first from this order on who is not behind another whose client embeds the same keys.
    pub(crate) fn first_in_line_from(&self, order: u64) -> Option<u64> {
        if self.line_by_keys.len() > KEY_SETS_IN_LINE_MAX {
            return self.line.first().filter(|first| *first >= order);
        }
        self.line_by_keys.values().filter_map(|(_, orders)| orders.first().copied()).filter(|first| *first >= order).min()
    }

    pub(crate) fn taken(&self) -> u64 {
        self.used + self.lingering
    }

    pub(crate) fn free(&self) -> u64 {
        self.total.saturating_sub(self.taken())
    }

    pub(crate) fn over(&self) -> u64 {
        self.taken().saturating_sub(self.total)
    }

    pub(crate) fn numbers(&self) -> PoolNumbers {
        PoolNumbers {
            total: self.total,
            used: self.used,
            lingering: self.lingering,
            reserved_idle: 0,
            free: self.free(),
            over: self.over(),
            queued: self.line.len() as u64,
        }
    }
}

/// One entitlement of an installed license.
#[derive(Debug)]
pub(crate) struct Right {
    /// The first entitlement of its license.
    pub(crate) license: EntitlementId,
    pub(crate) hash: LicenseHash,
    /// The keys that have signed its license.
    pub(crate) signers: VerifierKeys,
    pub(crate) position: u16,
    pub(crate) pool: PoolId,
    pub(crate) seats: u64,
    pub(crate) version: Option<Version>,
    pub(crate) starts: Option<i64>,
    pub(crate) expires: Option<i64>,
    /// When it came into force, in civil time.
    pub(crate) began: Option<i64>,
    pub(crate) ended: Option<RightEnd>,
    pub(crate) ttl_ms: Option<u64>,
    pub(crate) ttl_max_ms: u64,
    pub(crate) linger_ms: u64,
    pub(crate) grace_ms: u64,
    pub(crate) presence: bool,
    pub(crate) vendor_data: Option<Box<str>>,
    /// The words that a client must have accepted for a seat of it.
    pub(crate) needs: Words,
    pub(crate) charged: u64,
    /// Of them, those that linger.
    pub(crate) lingering: u64,
    /// Who is charged to it and may be moved.
    pub(crate) held: BTreeMap<Kind, BTreeSet<Slot>>,
}

impl Allocator {
    /// What the client of a lease can use.
    pub(crate) fn accepting_of(&self, slot: Slot) -> Accepting {
        let lease = self.leases.at(slot);
        Accepting { words: self.words_of(&lease.id), embeds: lease.wish.embeds.keys.clone() }
    }

    /// What the client of a waiter can use.
    pub(crate) fn accepting_in_line(&self, waiter: &Waiter) -> Accepting {
        Accepting { words: self.words_of(&waiter.lease), embeds: waiter.embeds.keys.clone() }
    }

    /// The words that the client of a lease or waiter accepted.
    fn words_of(&self, lease: &LeaseId) -> Words {
        self.accepted.get(lease).cloned().unwrap_or_default()
    }

    /// Before a lease, a place or an adoption becomes a fact: what its client accepts, if that is anything.
    pub(crate) fn keep_accepted(&mut self, lease: LeaseId, sink: &mut Sink<'_>) {
        let words = self.accepting.words.clone();
        if self.accepted.get(&lease).map_or(!words.is_empty(), |kept| *kept != words) {
            self.emit(sink, Event::WordsAccepted { lease, words });
        }
    }

    /// Whether the client whose lease is being placed can use a seat of this entitlement: it can verify its license, and knows all words that
    /// the seat needs.
    pub(crate) fn is_accepted(&self, right: &Right) -> bool {
        let knows = || right.needs.iter().all(|word| self.accepting.words.contains(word));
        self.is_verifiable(right) && (!self.safeguards.words_are_accepted || knows())
    }

    /// Whether the client whose lease is being placed embeds a key that has signed the license of this entitlement.
    pub(crate) fn is_verifiable(&self, right: &Right) -> bool {
        self.can_verify(&self.accepting.embeds, right)
    }

    /// Whether a client that embeds these keys can verify the license of this entitlement. Of a vendor's keys that became one, it may embed others
    /// than those that signed it.
    pub(crate) fn can_verify(&self, embeds: &VerifierKeys, right: &Right) -> bool {
        !self.safeguards.keys_bind_charges || right.signers.shares(embeds)
    }
}

impl Right {
    pub(crate) fn in_force(&self) -> bool {
        self.began.is_some() && self.ended.is_none()
    }

    pub(crate) fn rank(&self) -> Rank {
        crate::store::covered_rank(self.version.as_ref())
    }

    pub(crate) fn free(&self) -> u64 {
        self.seats.saturating_sub(self.charged)
    }

    /// It counts, and not only until its beginning, which was taken back, is undone.
    pub(crate) fn stands_at(&self, wall_ms: i64) -> bool {
        self.in_force() && !self.was_taken_back(wall_ms)
    }

    /// It began in a future that the wall clock was taken back from.
    pub(crate) fn was_taken_back(&self, wall_ms: i64) -> bool {
        self.began.is_some() && self.starts.is_some_and(|starts| starts > wall_ms)
    }

    /// It began, in no future that was taken back, or is about to: whether it still counts is another matter.
    pub(crate) fn has_begun_at(&self, wall_ms: i64) -> bool {
        let begins = self.ended.is_none() && self.runs_at(wall_ms);
        (self.began.is_some() || begins) && self.starts.is_none_or(|starts| starts <= wall_ms)
    }

    /// Whether its dates say that it counts at this civil time.
    pub(crate) fn runs_at(&self, wall_ms: i64) -> bool {
        self.starts.is_none_or(|starts| starts <= wall_ms) && self.expires.is_none_or(|expires| wall_ms < expires)
    }

    /// When it begins by date, the beginning of time if that has come; none if it is in force or will never begin.
    pub(crate) fn begins_at(&self, wall_ms: i64) -> Option<i64> {
        let gone = match self.ended {
            Some(RightEnd::Removed | RightEnd::Replaced) => true,
            // Unless it was ended by a date that has been taken back.
            Some(RightEnd::Expired) => self.expires.is_some_and(|expires| expires <= wall_ms),
            None => false,
        };
        let due = self.starts.unwrap_or(i64::MIN);
        (!gone && !self.in_force()).then_some(if due <= wall_ms { i64::MIN } else { due })
    }

    /// It does not count and never will. What a date has ended that was taken back begins again.
    pub(crate) fn is_over_at(&self, wall_ms: i64) -> bool {
        !self.in_force() && self.begins_at(wall_ms).is_none()
    }

    /// When it ends by date, the beginning of time if that has come; none if it is not in force or ends by no date.
    pub(crate) fn ends_at(&self, wall_ms: i64) -> Option<i64> {
        if !self.in_force() {
            return None;
        }
        // Its beginning was taken back.
        let due = if self.starts.is_some_and(|starts| starts > wall_ms) { i64::MIN } else { self.expires? };
        Some(if due <= wall_ms { i64::MIN } else { due })
    }
}

/// A license on this server.
#[derive(Debug)]
pub(crate) struct InstalledLicense {
    pub(crate) hash: LicenseHash,
    pub(crate) id: LicenseId,
    pub(crate) vendor: VendorId,
    pub(crate) note: Box<[u8]>,
    pub(crate) terms: Arc<InstalledTerms>,
    /// What was wrong with its signatures at the last start, if anything.
    pub(crate) problem: Option<String>,
    pub(crate) replaces: Box<[LicenseId]>,
    /// As many as the text has: one that is left out keeps its number.
    pub(crate) entitlements: u32,
    pub(crate) actor: Actor,
    /// Taken off, but leases that are ending still name it.
    pub(crate) removed: Option<RightEnd>,
}

impl InstalledLicense {
    pub(crate) fn rights(&self, first: EntitlementId) -> impl Iterator<Item = EntitlementId> + Clone + use<> {
        (first.0..first.0 + self.entitlements).map(EntitlementId)
    }
}

/// Somebody in line.
#[derive(Debug)]
pub(crate) struct Waiter {
    pub(crate) lease: LeaseId,
    pub(crate) attempt: u32,
    pub(crate) content: ContentDigest,
    pub(crate) holder: Holder,
    pub(crate) items: Vec<WishItem>,
    pub(crate) ttl_ms: u64,
    pub(crate) linger_ms: u64,
    pub(crate) gives_up: Timestamp,
    /// The epoch in which it last asked.
    pub(crate) heard: u32,
    /// When it leaves if it does not ask again; soft once it was heard in this epoch.
    pub(crate) due: Timestamp,
    /// What its client can verify.
    pub(crate) embeds: Arc<KeySet>,
    pub(crate) network: Option<Network>,
}

/// The newest presence connection of a lease. Soft.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Presence {
    pub(crate) generation: u64,
    /// Which of the server's connections.
    pub(crate) connection: u64,
    pub(crate) between: Between,
    /// The last renewal said that this generation stands.
    pub(crate) confirmed: bool,
    /// The connection stands for the lease no more. It never will again: a lease enters a generation once, so that no late request revives it.
    pub(crate) dropped: bool,
}

/// A lease of a named network whose presence connection has ended. Soft.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PresenceWait {
    pub(crate) due: Timestamp,
    /// Where its client would open another one from.
    pub(crate) network: Option<Network>,
}

/// When connections were last turned away before anybody knew whose they were, within ranges that the administrator named. Soft.
///
/// Each may have been that of any client of the range: one that comes back need not come from the address that it had, where a range is what several of
/// them are translated to.
#[derive(Debug, Default)]
pub(crate) struct TurnedAway {
    /// At most [`TURNED_AWAY_NAMED_MAX`].
    named: BTreeMap<NamedNetwork, Timestamp>,
    /// From somewhere that is not known, or of too many ranges.
    elsewhere: Option<Timestamp>,
}

impl TurnedAway {
    pub(crate) fn note(&mut self, named: Option<NamedNetwork>, now: Timestamp) {
        if self.named.len() >= TURNED_AWAY_NAMED_MAX {
            self.named.retain(|_, last| is_lately(*last, now));
        }
        match named.filter(|named| self.named.len() < TURNED_AWAY_NAMED_MAX || self.named.contains_key(named)) {
            Some(named) => drop(self.named.insert(named, now)),
            None => self.elsewhere = Some(now),
        }
    }

    /// Whether a client whose connection came from this network may have tried to come back in vain, within
    /// [`TURNED_AWAY_MS`].
    pub(crate) fn lately(&self, network: Option<Network>, now: Timestamp) -> bool {
        let within = self.named.iter().filter(|(named, _)| network.is_none_or(|network| named.covers(network))).map(|(_, last)| *last);
        within.chain(self.elsewhere).any(|last| is_lately(last, now))
    }
}

fn is_lately(last: Timestamp, now: Timestamp) -> bool {
    last.after_ms(TURNED_AWAY_MS) > now
}

/// What a client that comes back is asked about.
#[derive(Debug)]
pub(crate) struct FreedByPresence {
    pub(crate) network: Option<Network>,
    pub(crate) right_until: Timestamp,
}

/// Leases whose time to live was raised by entries that may not be durable yet. Soft.
#[derive(Debug, Default)]
pub(crate) struct Raising {
    /// What answers may say still, in milliseconds, and by how many such entries it was raised.
    leases: BTreeMap<LeaseId, (u64, u32)>,
    /// By events that no index is known for yet.
    unsealed: Vec<LeaseId>,
    entries: VecDeque<(Index, Vec<LeaseId>)>,
}

impl Raising {
    /// A fact raises it now; until it is durable answers say `told_ms`.
    pub(crate) fn begin(&mut self, lease: LeaseId, told_ms: u64) {
        let (told, entries) = self.leases.entry(lease).or_insert((told_ms, 0));
        *told = (*told).min(told_ms);
        *entries += 1;
        self.unsealed.push(lease);
    }

    /// What answers may say of this lease, if that is less than it has.
    pub(crate) fn told_ms(&self, lease: &LeaseId) -> Option<u64> {
        self.leases.get(lease).map(|(told_ms, _)| *told_ms)
    }

    fn sealed(&mut self, index: Index) {
        if !self.unsealed.is_empty() {
            self.entries.push_back((index, std::mem::take(&mut self.unsealed)));
        }
    }

    /// All entries up to here are durable; hands out whose longer time to live counts from now on.
    pub(crate) fn end(&mut self, through: Index) -> Vec<LeaseId> {
        let mut counts = Vec::new();
        while let Some((_, leases)) = self.entries.pop_front_if(|(index, _)| *index <= through) {
            for lease in leases {
                let Some((_, entries)) = self.leases.get_mut(&lease) else { continue };
                *entries -= 1;
                if *entries == 0 {
                    self.leases.remove(&lease);
                    counts.push(lease);
                }
            }
        }
        counts
    }
}

/// Events of one entry, with what they weigh.
#[derive(Debug)]
pub(crate) struct Sink<'a> {
    pub(crate) events: &'a mut Vec<Event>,
    pub(crate) bytes: usize,
    /// Follow-ups stop here.
    pub(crate) follow_ups_until: usize,
    /// And here, in bytes.
    pub(crate) follow_up_bytes_until: usize,
}

impl<'a> Sink<'a> {
    pub(crate) fn new(events: &'a mut Vec<Event>) -> Self {
        let bytes = events.iter().map(Event::weight).sum();
        let follow_ups_until = events.len() + DUE_PER_BATCH_MAX;
        Self { events, bytes, follow_ups_until, follow_up_bytes_until: ENTRY_BYTES_MAX / 2 }
    }

    /// No more follow-ups fit this entry; the rest is for the next.
    pub(crate) fn full(&self) -> bool {
        self.events.len() >= self.follow_ups_until || self.bytes >= self.follow_up_bytes_until
    }
}

impl Allocator {
    /// An empty state, before the first entry.
    #[must_use]
    pub fn new(rules: impl Into<Rules>) -> Self {
        let Rules { safeguards, limits } = rules.into();
        let start = Moment { at: Timestamp(0), wall_ms: 0 };
        Self {
            safeguards,
            lineage: Lineage::default(),
            epoch: Epoch(0),
            index: Index(0),
            head: start,
            instance: Instance::default(),
            epochs: VecDeque::new(),
            lineage_since: Timestamp(0),
            ttl_max_seen_ms: 0,
            remember_ms: limits.remember_ms,
            wait_ttl_ms: limits.wait_ttl_ms,
            quarantine_until: None,
            clock_refused: None,
            forgotten_until: Timestamp(0),
            vendors: Vec::new(),
            pools: Vec::new(),
            rights: Vec::new(),
            licenses: BTreeMap::new(),
            leases: LeaseTable::default(),
            line: BTreeMap::new(),
            remembered: Memory::default(),
            presence_off: Regrets::default(),
            freed_early: BTreeMap::new(),
            adopted: BTreeMap::new(),
            floors: BTreeMap::new(),
            taken_off: TakenOff::default(),
            holders: Holders::default(),
            wishes: Wishes::default(),
            keys: BTreeMap::new(),
            aliases: BTreeMap::new(),
            by_hash: BTreeMap::new(),
            by_id: BTreeMap::new(),
            successors: BTreeMap::new(),
            waiting_ids: BTreeMap::new(),
            next_order: 0,
            waiting_crowd: Crowd::default(),
            begins: BTreeSet::new(),
            ends: BTreeSet::new(),
            replacing: BTreeSet::new(),
            returning: BTreeSet::new(),
            merging: BTreeMap::new(),
            stranded: BTreeSet::new(),
            live: 0,
            restless: 0,
            unheard_waiters: 0,
            adopted_seats: BTreeMap::new(),
            now: start,
            due_until: start.at,
            silent_until: start.at,
            has_room: true,
            wheel: Wheel::default(),
            waiters_due: BTreeSet::new(),
            dirty: BTreeSet::new(),
            recheck: BTreeMap::new(),
            presence: BTreeMap::new(),
            presence_waits: BTreeMap::new(),
            presence_waits_due: BTreeSet::new(),
            turned_away: TurnedAway::default(),
            unnamings: 0,
            freed_by_presence: BTreeMap::new(),
            unsealed: Vec::new(),
            raising: Raising::default(),
            fact_at: Timestamp(0),
            pass_writes: true,
            resumes_lines: false,
            asked_in_vain: BTreeSet::new(),
            proof: None,
            shown_ttl_ms: 0,
            proved_by: None,
            folder_ttl_max_ms: 0,
            accepting: Accepting::default(),
            accepted: BTreeMap::new(),
            format: Words::default(),
            limits,
        }
    }

    /// Decides one command; appends what happened to `events` and has folded it in already.
    ///
    /// Goes on until the command is decided, however much is due; only [`Allocator::decide_batch`] keeps entries within their bounds.
    pub fn decide(&mut self, moment: Moment, command: Command, events: &mut Vec<Event>) -> Outcome {
        self.step_to(moment);
        let mut sink = Sink::new(events);
        let heard_first = command.tells_presence() && self.safeguards.presence_hears_first;
        let immediate = matches!(command, Command::Recover { .. }) || self.comes_before_due(&command) || heard_first;
        if immediate && let Some(outcome) = self.try_decide(&command, &mut sink) {
            return outcome;
        }
        let works = self.safeguards.due_before_decide || matches!(command, Command::Sweep);
        loop {
            sink.follow_ups_until = sink.events.len() + DUE_PER_BATCH_MAX;
            sink.bytes = 0;
            if works {
                self.work(&mut sink);
            }
            if let Some(outcome) = self.try_decide(&command, &mut sink) {
                self.mark_clock(&mut sink);
                return outcome;
            }
        }
    }

    pub(crate) fn step_to(&mut self, moment: Moment) {
        self.now = Moment { at: self.now.at.max(moment.at), wall_ms: moment.wall_ms };
        self.due_until = self.now.at;
        self.silent_until = self.now.at;
    }

    pub(crate) fn mark_clock(&mut self, sink: &mut Sink<'_>) {
        if sink.events.is_empty() && self.clock_mark_due().is_some_and(|due| due <= self.now.at) {
            self.emit(sink, Event::ClockMarked);
        }
    }

    pub(crate) fn clock_mark_due(&self) -> Option<Timestamp> {
        (self.restless + self.unheard_waiters > 0 && self.safeguards.clock_is_marked).then(|| self.fact_at.after_ms(CLOCK_ENTRY_MS))
    }

    /// Folds a fact in and hands it out. A fact that does not fit here would stop every later start, so it stops this server now.
    pub(crate) fn emit(&mut self, sink: &mut Sink<'_>, event: Event) {
        if let Some(word) = event.word().and_then(|word| Word::new(word).ok()).filter(|word| !self.format.contains(word)) {
            let words = Words::new([word]).unwrap_or_default();
            self.emit(sink, Event::FormatRaised { words });
        }
        if let Err(why) = self.fold(&event) {
            panic!("decided what does not apply ({why}): {event:?}");
        }
        sink.bytes += event.weight();
        sink.events.push(event);
    }

    /// Folds one committed entry in: for replay and standbys. `Err` describes an entry that does not fit; the server must stop.
    ///
    /// # Errors
    /// What does not fit: an index out of order, a fact about nothing that is here, a broken conservation law.
    pub fn apply_entry(&mut self, index: Index, moment: Moment, events: &[Event]) -> Result<(), String> {
        if index.0 != self.index.0 + 1 {
            return Err(format!("entry {} follows entry {}", index.0, self.index.0));
        }
        if moment.at < self.head.at {
            return Err(format!("entry {}: lease time goes back from {} to {}", index.0, self.head.at.0, moment.at.0));
        }
        self.now = moment;
        for (position, event) in events.iter().enumerate() {
            self.fold(event).map_err(|why| format!("entry {}, event {position}: {why}", index.0))?;
        }
        self.sealed(index);
        Ok(())
    }

    /// The driver says under which index the events since the last call will stand (granted leases remember it).
    pub fn sealed(&mut self, index: Index) {
        self.index = index;
        self.head = self.now;
        self.raising.sealed(index);
        for slot in std::mem::take(&mut self.unsealed) {
            // Released or gone in the same entry: nobody will ask.
            if let Some(lease) = self.leases.get_mut(slot)
                && lease.granted_index == UNSEALED
            {
                lease.granted_index = index.0;
            }
        }
    }

    /// The earliest lease time at which something is due. It may be early by about a second for a lease that is renewed; a sweep then
    /// does nothing but look again.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        if self.lines_stand() {
            // With room again there will be.
            return self.owes_lineage().then_some(self.now.at);
        }
        if self.has_backlog_now() {
            return Some(self.now.at);
        }
        let bucket = self.wheel.first_bucket().map(|bucket| Timestamp(u64::from(bucket) << 10));
        let ready = self.wheel.first_ready().map(|(due, _)| due);
        let waiter = self.waiters_due.first().map(|(due, _)| *due);
        let presence = self.presence_waits_due.first().map(|(due, _)| *due);
        let forget = self.remembered.first_due().map(|due| due.after_ms(FORGET_EVERY_MS));
        [bucket, ready, waiter, presence, forget, self.quarantine_until, self.clock_mark_due()].into_iter().flatten().min()
    }

    /// The earliest civil time (unix ms) at which an entitlement begins or ends.
    #[must_use]
    pub fn next_civil_deadline_ms(&self) -> Option<i64> {
        if self.clock_is_ahead() {
            return None;
        }
        let first = [self.begins.first(), self.ends.first()].into_iter().flatten().map(|(due, _)| *due).min();
        first.map(|due| due.max(self.now.wall_ms))
    }

    /// Which safeguards are on.
    #[must_use]
    pub fn safeguards(&self) -> &Safeguards {
        &self.safeguards
    }

    /// Its limits.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The state's lineage.
    #[must_use]
    pub fn lineage(&self) -> Lineage {
        self.lineage
    }

    /// The state's epoch, 0 before the first `Recover`.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The last entry folded in or sealed.
    #[must_use]
    pub fn index(&self) -> Index {
        self.index
    }

    /// Live leases, not counting lingering ones.
    #[must_use]
    pub fn leases(&self) -> usize {
        self.live
    }

    /// The moment of the last entry: where the two clocks go on after a start.
    #[must_use]
    pub fn head_moment(&self) -> Moment {
        self.head
    }

    /// The wall clock is far ahead of what is believed: nothing begins and nothing ends by it.
    pub(crate) fn clock_is_ahead(&self) -> bool {
        self.clock_refused.is_some_and(|(believed_ms, reading_ms)| reading_ms > believed_ms)
    }

    /// The pool that an id means now: itself, or the one it became part of.
    pub(crate) fn resolve(&self, pool: PoolId) -> PoolId {
        pool.resolve(&self.aliases)
    }

    pub(crate) fn pool(&self, pool: PoolId) -> Option<&Pool> {
        self.pools.get(self.resolve(pool).0 as usize)?.as_ref()
    }

    pub(crate) fn pool_mut(&mut self, pool: PoolId) -> Option<&mut Pool> {
        let pool = self.resolve(pool);
        self.pools.get_mut(pool.0 as usize)?.as_mut()
    }

    pub(crate) fn right(&self, right: EntitlementId) -> Option<&Right> {
        self.rights.get(right.0 as usize)?.as_ref()
    }

    pub(crate) fn right_mut(&mut self, right: EntitlementId) -> Option<&mut Right> {
        self.rights.get_mut(right.0 as usize)?.as_mut()
    }

    pub(crate) fn vendor(&self, vendor: VendorId) -> Option<&Vendor> {
        self.vendors.get(vendor.0 as usize)?.as_ref()
    }
}
