//! What is broken on purpose: every safeguard of the core can be switched off, and a few things outside of it can be done wrong. Each must be found by
//! the invariant that it breaks.

use triquest_allocator::Safeguards;

use crate::judge::Invariant;

/// What is done wrong outside of the core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// Nothing.
    Nothing,
    /// The server answers before anything is durable.
    AnswersBeforeDurable,
    /// The journal shows that a grant is charged for fewer seats than it gives.
    ChargesLess,
    /// The journal commits an entry twice.
    CommitsTwice,
    /// The server answers without making sure that it still leads.
    ConfirmsBlindly,
    /// The journal shows that a lease was given back, and nobody did.
    GivesBackForNobody,
    /// The journal shows a grant of some of the features that were asked for.
    GrantsInPart,
    /// Lease time runs twice as fast as real time.
    LeaseTimeRunsFast,
    /// A client whose presence connection could not be opened closes it in order.
    PresenceClosesInOrder,
    /// A repeat of what was decided is told something else.
    RepeatsAnswerAnew,
    /// A repeat is promised more than its lease has.
    RepeatsPromiseMore,
    /// What is read back holds a fact about a lease that there never was.
    ReplayFails,
    /// What is read back holds an entry more than what was committed.
    ReplayHasMore,
    /// A client counts its right from the answer, not from its request.
    RightFromAnswer,
    /// A client makes no allowance for the drift of clocks.
    RightWithoutDrift,
    /// The server tells whoever is granted a seat that it may have none.
    SendsAway,
    /// The server signs grants without the nonces of their requests.
    SignsForNobody,
    /// Lease time counts a stall.
    StallCounts,
}

/// One thing that is broken on purpose.
#[derive(Clone, Copy, Debug)]
pub struct Mutation {
    /// The safeguard's name, or what is done wrong.
    pub name: &'static str,
    /// The invariant that must find it.
    pub invariant: Invariant,
    /// Switches the safeguard off.
    pub off: fn(&mut Safeguards),
    /// Or what is done wrong.
    pub wrong: Wrong,
}

const fn off(name: &'static str, invariant: Invariant, off: fn(&mut Safeguards)) -> Mutation {
    Mutation { name, invariant, off, wrong: Wrong::Nothing }
}

const fn wrong(name: &'static str, invariant: Invariant, wrong: Wrong) -> Mutation {
    Mutation { name, invariant, off: |_| {}, wrong }
}

/// Declares the safeguards that have a mutation.
macro_rules! safeguards {
    ($($name:ident => $invariant:ident,)*) => {
        &[$(off(stringify!($name), Invariant::$invariant, |safeguards| safeguards.$name = false),)*]
    };
}

/// One mutation for each safeguard, but for [`TESTED_ELSEWHERE`].
pub const SAFEGUARDS: &[Mutation] = safeguards! {
    added_counts_from_its_renewal => OnlyDeathFrees,
    adoption_is_bounded => NoGrantPastEntitlement,
    answers_wait_for_confirm => KeeperStopsBeforeServerFrees,
    answers_wait_for_entries => AnsweredImpliesDurable,
    asked_in_vain_is_heard => RenewingNeverExpires,
    attempts_ordered => LeaseHistoryLinearizable,
    begin_before_end => BeginBeforeEnd,
    charges_move => BeginBeforeEnd,
    claims_end => DeadSeatReturns,
    clock_is_marked => DeadSeatReturns,
    counters_detect_clones => OneHolderPerSeat,
    dropped_is_not_freed => OnlyDeathFrees,
    due_before_decide => QueueMoves,
    due_not_past_repeats => QueueMoves,
    due_not_past_the_lane => RenewingNeverExpires,
    ending_keeps_deadline => KeeperStopsBeforeServerFrees,
    epoch_has_instance => RestoredWaits,
    entries_are_bounded => BoundedEntry,
    entry_fits_the_room => EntryFitsTheRoom,
    extend_on_recovery => PromiseSurvivesRecovery,
    full_disk_lowers_nothing => FullDiskStandsStill,
    grant_within_total => NoGrantPastEntitlement,
    grant_within_versions => NoGrantPastEntitlement,
    heard_is_durable => PromiseSurvivesRecovery,
    known_ids_are_taken => FairShares,
    linger_gives_way => BeginBeforeEnd,
    longer_ttl_is_durable => PromiseSurvivesRecovery,
    lowered_ttl_has_floor => PromiseSurvivesRecovery,
    lowering_keeps_nobody_waiting => RenewingNeverExpires,
    named_network_waits => OnlyDeathFrees,
    new_lineage_frees_nothing => KeeperStopsBeforeServerFrees,
    nothing_is_forgotten_early => OneGrantPerId,
    held_waiters_are_told_at_stop => NoFalseNo,
    keys_bind_charges => ClientCanVerify,
    later_confirmation_is_kept => EveryRequestComesBack,
    lines_stand_while_full => FullDiskStandsStill,
    opening_ends_the_wait => OnlyDeathFrees,
    presence_confirmed => OnlyDeathFrees,
    presence_ends_agree => OnlyDeathFrees,
    presence_generation => OnlyDeathFrees,
    presence_hears_first => OnlyDeathFrees,
    presence_off_by_network => FairShares,
    presence_regret => OnlyDeathFrees,
    promised_ttl_counts => PromiseSurvivesRecovery,
    proof_counts_from_its_arrival => RestoredWaits,
    proof_stops_at_once => RestoredWaits,
    quarantine_after_restore => RestoredWaits,
    quarantine_end_names_its_history => RestoredWaits,
    quarantine_from_lineage_start => RestoredWaits,
    queue_strict => QueueOrder,
    refused_opening_ends_the_wait => OnlyDeathFrees,
    refusals_know_their_id => NoFalseNo,
    reissue_order => ReissueOrder,
    renewal_ends_the_wait => OnlyDeathFrees,
    release_before_known => LeaseHistoryLinearizable,
    remembered_by_network => FairShares,
    remember_ended => OneGrantPerId,
    removed_successors_are_known => WrongFutureIsTakenBack,
    shares_by_network => FairShares,
    shares_by_wider_network => FairShares,
    rollback_is_proved => RestoredWaits,
    silent_waiters_leave => QueueMoves,
    stranded_checked_at_renewal => NoGrantPastEntitlement,
    turned_away_frees_nothing => OnlyDeathFrees,
    unnamed_frees_nothing => OnlyDeathFrees,
    waiter_heard => QueueMoves,
    waiters_looked_at => QueueMoves,
};

/// Safeguards that no world comes near; the core's own tests switch them off.
pub const TESTED_ELSEWHERE: &[&str] = &[
    // No word of this version is one that a license can need, and a server leaves out what needs others: `allocator/tests/words.rs`.
    "words_are_accepted",
    // The few clients of a world embed its vendors' keys: `allocator/tests/keys.rs`.
    "made_up_keys_are_few",
];

/// Mutations that the fixed seeds do not find yet: said in every run, until a script or an invariant finds them.
pub const NOT_FOUND_YET: &[&str] = &[];

/// What can be done wrong outside of the core.
pub const WRONGS: &[Mutation] = &[
    wrong("answers_before_durable", Invariant::AnsweredImpliesDurable, Wrong::AnswersBeforeDurable),
    wrong("charges_less", Invariant::SeatsConserved, Wrong::ChargesLess),
    wrong("commits_twice", Invariant::OneWriter, Wrong::CommitsTwice),
    wrong("confirms_blindly", Invariant::AnsweredImpliesDurable, Wrong::ConfirmsBlindly),
    wrong("gives_back_for_nobody", Invariant::OnlyTheOwnerOrAnAdministrator, Wrong::GivesBackForNobody),
    wrong("grants_in_part", Invariant::AtomicCheckout, Wrong::GrantsInPart),
    wrong("lease_time_runs_fast", Invariant::LeaseTimeNeverFast, Wrong::LeaseTimeRunsFast),
    wrong("presence_closes_in_order", Invariant::OnlyDeathFrees, Wrong::PresenceClosesInOrder),
    wrong("replay_fails", Invariant::ApplyTotal, Wrong::ReplayFails),
    wrong("replay_has_more", Invariant::HardStateEqual, Wrong::ReplayHasMore),
    wrong("repeats_answer_anew", Invariant::OneGrantPerId, Wrong::RepeatsAnswerAnew),
    wrong("repeats_promise_more", Invariant::PromiseOnlyGrows, Wrong::RepeatsPromiseMore),
    wrong("right_from_answer", Invariant::KeeperStopsBeforeServerFrees, Wrong::RightFromAnswer),
    wrong("right_without_drift", Invariant::KeeperStopsBeforeServerFrees, Wrong::RightWithoutDrift),
    wrong("sends_away", Invariant::NobodySentAway, Wrong::SendsAway),
    wrong("signs_for_nobody", Invariant::ToldAsDecided, Wrong::SignsForNobody),
    wrong("stall_counts", Invariant::RenewingNeverExpires, Wrong::StallCounts),
];

/// All mutations.
pub fn all() -> impl Iterator<Item = &'static Mutation> {
    SAFEGUARDS.iter().chain(WRONGS)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use triquest_allocator::Safeguards;

    fn names(text: &str) -> Vec<&str> {
        let fields = text.trim_start_matches("Safeguards {").trim_end_matches('}').split(',');
        fields.filter_map(|field| field.split(':').next()).map(str::trim).filter(|name| !name.is_empty()).collect()
    }

    #[test]
    fn the_table_of_rules_has_every_switch_and_no_other() {
        let text = format!("{:?}", Safeguards::default());
        let switches: BTreeSet<&str> = names(&text).into_iter().collect();
        let document = include_str!("../../../docs/leases.md");
        let (_, table) = document.split_once("| rule | switch in `Safeguards` | test |").unwrap_or_default();
        let rows = table.lines().take_while(|line| line.is_empty() || line.starts_with('|'));
        let second = rows.filter_map(|row| row.split('|').nth(2)).map(str::trim);
        let listed: BTreeSet<&str> = second.filter_map(|cell| cell.strip_prefix('`')?.strip_suffix('`')).collect();
        assert_eq!(listed, switches);
    }

    #[test]
    fn the_page_names_the_switches_without_a_mutation_and_no_other() {
        let (_, said) = include_str!("../README.md").split_once("(`TESTED_ELSEWHERE` in `mutation.rs`):").unwrap_or_default();
        let named: Vec<&str> = said.split('`').skip(1).step_by(2).collect();
        assert_eq!(named, super::TESTED_ELSEWHERE);
    }

    #[test]
    fn the_page_lists_every_mutation_with_its_invariant() {
        let (_, table) = include_str!("../README.md").split_once("| mutation | found by |").unwrap_or_default();
        let rows = table.lines().skip(1).take_while(|line| line.starts_with('|')).filter(|line| line.contains('`'));
        let listed: Vec<_> = rows.filter_map(|row| Some((row.split('`').nth(1)?, row.split('|').nth(2)?.trim()))).collect();
        let all: Vec<_> = super::all().map(|mutation| (mutation.name, mutation.invariant.name())).collect();
        assert_eq!(listed, all, "`triquest-sim meta` prints the table anew");
    }

    #[test]
    fn every_invariant_finds_a_mutation() {
        let found: BTreeSet<_> = super::all().map(|mutation| mutation.invariant.name()).collect();
        let blind: Vec<_> = super::Invariant::ALL.iter().map(|invariant| invariant.name()).filter(|name| !found.contains(name)).collect();
        assert!(blind.is_empty(), "nothing shows that these would find anything: {blind:?}");
    }

    #[test]
    fn every_safeguard_has_a_mutation() {
        let text = format!("{:?}", Safeguards::default());
        let names = names(&text);
        let missing: Vec<_> = names
            .iter()
            .filter(|name| !super::TESTED_ELSEWHERE.contains(name) && !super::SAFEGUARDS.iter().any(|mutation| mutation.name == **name))
            .collect();
        assert!(missing.is_empty(), "safeguards without a mutation: {missing:?}");
    }
}
