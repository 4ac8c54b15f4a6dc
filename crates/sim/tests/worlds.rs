//! A few worlds under plain `cargo test`; `triquest-sim ci` runs hundreds, and every mutation.

use triquest_sim::{Options, scripts::SCRIPTS, simulate, world};

#[test]
fn the_same_seed_gives_the_same_bytes() {
    for seed in [2, 3] {
        let (first, second) = (simulate(world(seed), Options::default()), simulate(world(seed), Options::default()));
        assert_eq!((first.fingerprint, first.steps, first.entries), (second.fingerprint, second.steps, second.entries));
    }
}

#[test]
fn every_script_has_a_name_of_its_own_and_a_world() {
    for (number, script) in SCRIPTS.iter().enumerate() {
        let plan = world(2 * number as u64 + 1);
        assert_eq!(plan.name, script.name);
        assert!(!plan.acts.is_empty() || !plan.clients.is_empty(), "{} does nothing", script.name);
    }
}
