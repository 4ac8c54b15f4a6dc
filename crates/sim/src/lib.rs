//! A deterministic simulation: real allocator, real keepers, a journal in memory, and a wire that loses, delays, repeats and resets, with crashes
//! between any two steps, clock steps and stalls, all by seed. Each rule of `docs/leases.md` has a switch ([`Mutation`]) with which the same simulation
//! must find a broken invariant; `triquest-sim meta` shows that it does.

pub mod checks;
pub mod clock;
pub mod random;
pub mod server;
pub mod world;

pub use world::{ALL_MUTATIONS, Mutation, Report, Scenario, simulate};
