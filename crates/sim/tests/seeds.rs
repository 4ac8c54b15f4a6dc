//! A handful of seeds under plain `cargo test`; `triquest-sim run` and `meta` look at thousands.

use triquest_sim::{Mutation, Scenario, simulate};

fn scenario(seed: u64) -> Scenario {
    Scenario { seed, duration_ms: 8 * 60_000, steps_max: 200_000, mutation: None }
}

#[test]
fn every_invariant_holds_for_a_handful_of_seeds() {
    for seed in 0..12 {
        let report = simulate(scenario(seed));
        assert_eq!(report.broken, None, "seed {seed}; the steps before: {:#?}", report.trace);
    }
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let (first, second) = (simulate(scenario(3)), simulate(scenario(3)));
    assert_eq!((first.fingerprint, first.steps, first.entries), (second.fingerprint, second.steps, second.entries));
}

#[test]
fn a_rule_switched_off_is_found() {
    let found = (0..20).any(|seed| simulate(Scenario { mutation: Some(Mutation::HeardIsSoft), ..scenario(seed) }).broken.is_some());
    assert!(found, "leases that are heard softly only must be lost by some restart");
}
