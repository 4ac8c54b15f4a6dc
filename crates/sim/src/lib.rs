//! A deterministic simulation: the engine that the server runs, real keepers, a journal in memory with every answer that a journal can give, and a wire that
//! loses, delays and repeats, with crashes between any two steps, clocks that part, and disks that fill, all from one seed.
//!
//! An even seed is a random world, an odd one a script with random times. A judge who sees only committed facts, answers and what clients believe
//! looks at every invariant of `docs/leases.md`. Each safeguard can be switched off ([`mutation`]), and the same worlds must then find the
//! invariant broken that it keeps.

pub mod client;
pub mod clock;
pub mod history;
pub mod judge;
pub mod ledger;
pub mod mutation;
pub mod node;
pub mod plan;
pub mod random;
pub mod scripts;
pub mod wire_bytes;
pub mod world;

pub use world::{Options, Report, simulate};

/// The world that belongs to a seed.
#[must_use]
pub fn world(seed: u64) -> plan::Plan {
    if seed.is_multiple_of(2) {
        return plan::random_world(seed);
    }
    let number = usize::try_from(seed / 2 % scripts::SCRIPTS.len() as u64).expect("few scripts");
    scripts::directed_world(seed, &scripts::SCRIPTS[number])
}

/// A world of many clients that mostly renew, to measure by.
#[must_use]
pub fn measured_world(clients: u32) -> plan::Plan {
    use plan::{Act, ClientPlan, Draft, Plan, issue, item};
    let mut random = random::Random::new(1);
    let mut plan = Plan::quiet(1, "measured", &mut random);
    let features = ["cad", "cam", "mesh", "sim"];
    let drafts: Vec<Draft> = features.iter().map(|feature| Draft::new(feature, clients / 5, 60, 600)).collect();
    plan.licenses.push(issue(&[0], "A", &[], &drafts));
    plan.acts.push((5, Act::Install(0)));
    plan.ttl_ms = 60_000;
    plan.ttl_max_ms = 600_000;
    plan.duration_ms = 1_200_000;
    plan.wire = plan::Wire { lost: 5, slow: 20, twice: 2, slow_ms_max: 2_000 };
    plan.clients = (0..clients)
        .map(|number| ClientPlan {
            items: vec![item(features[number as usize % 4], None, 1)],
            keys: vec![0],
            ttl_ms: None,
            wait_ms: (number % 5 == 0).then_some(120_000),
            presence: number % 3 == 0,
            behind_proxy: false,
            named_network: false,
            begins_ms: Some(random.between(10, 30_000)),
            uses_ms: Some((60_000, 600_000)),
            drift_per_million: plan::drift(&mut random),
            virtual_machine: false,
            batch: None,
        })
        .collect();
    plan
}
