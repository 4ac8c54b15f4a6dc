//! `triquest-sim`: runs the simulation by seed.

use std::process::ExitCode;

use triquest_sim::{ALL_MUTATIONS, Report, Scenario, simulate};

const USAGE: &str = "\
triquest-sim run [--seeds FROM..TO] [--minutes N]   look for a broken invariant
triquest-sim replay SEED [--minutes N]              one seed, with the steps before its end
triquest-sim meta [--seeds FROM..TO]                break each rule and show that the simulation finds it
triquest-sim short                                  what CI runs: 300 seeds, meta, and the same seed twice";

fn scenario(seed: u64, minutes: u64) -> Scenario {
    Scenario { seed, duration_ms: minutes * 60_000, steps_max: 2_000_000, mutation: None }
}

fn tell(seed: u64, minutes: u64, report: &Report) -> bool {
    let Some((step, what)) = &report.broken else { return true };
    println!("sim: invariant {} broke at step {step} of seed {seed}: {}", what.invariant, what.detail);
    println!("replay: cargo run --release -p triquest-sim -- replay {seed} --minutes {minutes}");
    false
}

fn run(from: u64, to: u64, minutes: u64) -> bool {
    let mut sum = Report::default();
    for seed in from..to {
        let report = simulate(scenario(seed, minutes));
        if !tell(seed, minutes, &report) {
            return false;
        }
        sum.steps += report.steps;
        sum.entries += report.entries;
        sum.grants += report.grants;
        sum.denials += report.denials;
        sum.crashes += report.crashes;
        sum.restores += report.restores;
    }
    println!(
        "sim: {} seeds of {minutes} min: {} steps, {} entries, {} grants, {} denials, {} crashes, {} restores; every invariant held",
        to - from,
        sum.steps,
        sum.entries,
        sum.grants,
        sum.denials,
        sum.crashes,
        sum.restores
    );
    true
}

fn meta(from: u64, to: u64) -> bool {
    let mut all = true;
    for mutation in ALL_MUTATIONS {
        let found = (from..to).find_map(|seed| {
            let report = simulate(Scenario { mutation: Some(*mutation), ..scenario(seed, 30) });
            report.broken.map(|(step, what)| (seed, step, what))
        });
        match found {
            Some((seed, step, what)) => println!("{mutation:?}: {} at step {step} of seed {seed}: {}", what.invariant, what.detail),
            None => {
                println!("{mutation:?}: NOT FOUND in {} seeds", to - from);
                all = false;
            }
        }
    }
    all
}

fn same_twice(seed: u64) -> bool {
    let (first, second) = (simulate(scenario(seed, 30)), simulate(scenario(seed, 30)));
    let same = first.fingerprint == second.fingerprint && first.steps == second.steps;
    println!("sim: seed {seed} twice: {}", if same { "the same bytes" } else { "DIFFERENT" });
    same
}

fn range(text: &str) -> Option<(u64, u64)> {
    let (from, to) = text.split_once("..")?;
    Some((from.parse().ok()?, to.parse().ok()?))
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let option = |name: &str| arguments.iter().position(|word| word == name).and_then(|at| arguments.get(at + 1));
    let minutes = option("--minutes").and_then(|word| word.parse().ok()).unwrap_or(30);
    let (from, to) = option("--seeds").and_then(|word| range(word)).unwrap_or((0, 1_000));
    let good = match (arguments.first().map(String::as_str), arguments.get(1).and_then(|word| word.parse().ok())) {
        (Some("run"), _) => run(from, to, minutes),
        (Some("meta"), _) => meta(from, to),
        (Some("short"), _) => run(0, 300, 30) && same_twice(7) && meta(0, 2_000),
        (Some("replay"), Some(seed)) => {
            let report = simulate(scenario(seed, minutes));
            for line in &report.trace {
                println!("{line}");
            }
            tell(seed, minutes, &report)
        }
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
