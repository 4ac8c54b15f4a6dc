//! `triquest-sim`: runs the simulation by seed.

use std::{
    fmt::Write as _,
    process::ExitCode,
    sync::atomic::{AtomicU64, Ordering},
};

use triquest_sim::{
    Options, Report, measured_world,
    mutation::{self, Mutation},
    node, simulate, world,
};

const USAGE: &str = "\
triquest-sim run FROM..TO    look for a broken invariant: even seeds are random worlds, odd ones scripts
triquest-sim replay SEED [MUTATION]
                             one seed, with the steps before its end
triquest-sim meta            break each safeguard, show what finds it, and print the table of README.md
triquest-sim ci              what the tests run: fixed seeds, every mutation, and the same seed twice
triquest-sim nightly [COUNT] fresh seeds, which are printed
triquest-sim measure         client operations a second on one core";

/// The seeds that the tests run.
const CI_SEEDS: u64 = 1_200;
/// The table that `meta` prints.
const README: &str = include_str!("../README.md");

fn say(text: &str) {
    use std::io::Write;
    // Whoever reads no more has seen enough.
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Runs what `work` makes of each number on all cores; results in order.
fn on_all_cores<R: Send>(from: u64, to: u64, work: impl Fn(u64) -> R + Sync) -> Vec<R> {
    let next = AtomicU64::new(from);
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut done: Vec<(u64, R)> = std::thread::scope(|scope| {
        let work = &work;
        let next = &next;
        let run = move || {
            let mut done = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= to {
                    return done;
                }
                done.push((number, work(number)));
            }
        };
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("a world catches what its server does")).collect()
    });
    done.sort_by_key(|(number, _)| *number);
    done.into_iter().map(|(_, result)| result).collect()
}

fn run(from: u64, to: u64) -> bool {
    let reports = on_all_cores(from, to, |seed| {
        let plan = world(seed);
        let name = plan.name;
        let mut report = simulate(plan, Options::default());
        report.trace.clear();
        (seed, name, report)
    });
    let mut sum = Report::default();
    let mut broken = 0;
    // Worlds that lost a history, and those of them that spent at least half of the rest outside of a quarantine.
    let (mut lost, mut lively) = (0, 0);
    for (seed, name, report) in &reports {
        sum.steps += report.steps;
        sum.operations += report.operations;
        sum.entries += report.entries;
        sum.grants += report.grants;
        sum.starts += report.starts;
        sum.losses += report.losses;
        sum.passed_ms += report.passed_ms;
        sum.quarantine_ms += report.quarantine_ms;
        sum.after_loss_ms += report.after_loss_ms;
        lost += usize::from(report.losses > 0);
        lively += usize::from(report.losses > 0 && 2 * report.quarantine_ms <= report.after_loss_ms);
        if let Some((at_ms, what)) = &report.broken {
            broken += 1;
            say(&format!("sim: {} broke at {at_ms} ms of seed {seed} ({name}): {}", what.invariant.name(), what.detail));
            say(&format!("replay: cargo run --profile sim -p triquest-sim -- replay {seed}"));
        }
    }
    say(&format!(
        "sim: seeds {from}..{to}: {} operations, {} entries, {} grants, {} starts, {} lost histories, {} steps; {}",
        sum.operations,
        sum.entries,
        sum.grants,
        sum.starts,
        sum.losses,
        sum.steps,
        if broken == 0 { "every invariant held".to_owned() } else { format!("{broken} WORLDS BROKE") }
    ));
    say(&format!(
        "sim: servers passed {} s, {} s of it in quarantines ({} s after a loss); of {lost} worlds that lost a history {lively} spent at least \
         half of the rest outside of one",
        sum.passed_ms / 1_000,
        sum.quarantine_ms / 1_000,
        sum.after_loss_ms / 1_000,
    ));
    broken == 0
}

/// Whether a mutation breaks its invariant in this world, which holds without it.
fn found(seed: u64, mutation: &'static Mutation) -> Option<String> {
    let only = Some(mutation.invariant);
    let report = simulate(world(seed), Options { mutation: Some(mutation), only, ..Options::default() });
    let (_, what) = report.broken?;
    let without = simulate(world(seed), Options { only, ..Options::default() });
    without.broken.is_none().then_some(what.detail)
}

/// The seed at which the table says that a mutation is found.
fn recorded(mutation: &Mutation) -> Option<u64> {
    let row = format!("| `{}` |", mutation.name);
    let row = README.lines().find(|line| line.starts_with(&row))?;
    row.split('|').nth(3)?.trim().parse().ok()
}

fn first_seed(mutation: &'static Mutation) -> Option<(u64, String)> {
    (0..CI_SEEDS).find_map(|seed| Some((seed, found(seed, mutation)?)))
}

fn meta() -> bool {
    let mutations: Vec<&'static Mutation> = mutation::all().collect();
    let rows = on_all_cores(0, mutations.len() as u64, |number| {
        let mutation = mutations[usize::try_from(number).expect("few")];
        (mutation, first_seed(mutation))
    });
    let mut table = String::from("| mutation | found by | first seed | world |\n|---|---|---|---|\n");
    let mut all = true;
    for (mutation, first) in rows {
        let (seed, world) = match &first {
            Some((seed, _)) => (seed.to_string(), world(*seed).name.to_owned()),
            None => {
                all = false;
                ("NOT FOUND".to_owned(), String::new())
            }
        };
        let _ = writeln!(table, "| `{}` | {} | {seed} | {world} |", mutation.name, mutation.invariant.name());
    }
    say(table.trim_end());
    all
}

fn every_mutation_is_found() -> bool {
    let mutations: Vec<&'static Mutation> = mutation::all().collect();
    let lost = on_all_cores(0, mutations.len() as u64, |number| {
        let mutation = mutations[usize::try_from(number).expect("few")];
        if mutation::NOT_FOUND_YET.contains(&mutation.name) {
            return None;
        }
        if let Some(seed) = recorded(mutation)
            && found(seed, mutation).is_some()
        {
            return None;
        }
        Some((mutation.name, mutation.invariant, first_seed(mutation).map(|(seed, _)| seed)))
    });
    let mut good = true;
    for (name, invariant, seed) in lost.into_iter().flatten() {
        match seed {
            Some(seed) => say(&format!("sim: {name} is found at seed {seed} now; `triquest-sim meta` prints the table anew")),
            None => {
                good = false;
                say(&format!("sim: {name} was switched off and {} did not find it in {CI_SEEDS} seeds", invariant.name()));
            }
        }
    }
    let missing = mutation::NOT_FOUND_YET.join(", ");
    if !missing.is_empty() {
        say(&format!("sim: NOT FOUND YET, and not looked for: {missing}"));
    }
    say(&format!(
        "sim: {} mutations; {}",
        mutations.len() - mutation::NOT_FOUND_YET.len(),
        if good { "each is found by its invariant" } else { "SOME ARE NOT FOUND" }
    ));
    good
}

fn same_twice(seeds: &[u64]) -> bool {
    seeds.iter().all(|seed| {
        let (first, second) = (simulate(world(*seed), Options::default()), simulate(world(*seed), Options::default()));
        let same = (first.fingerprint, first.steps, first.operations) == (second.fingerprint, second.steps, second.operations);
        say(&format!("sim: seed {seed} twice: {}", if same { "the same bytes" } else { "DIFFERENT" }));
        same
    })
}

#[allow(clippy::disallowed_methods, reason = "how fast it is can only be measured")]
fn measure() -> bool {
    let plan = measured_world(1_000);
    let simulated_s = plan.duration_ms / 1_000;
    let began = std::time::Instant::now();
    let report = simulate(plan, Options::default());
    let ms = began.elapsed().as_millis().max(1);
    say(&format!(
        "sim: {} operations of 1000 clients, {} entries, {} steps, {simulated_s} s simulated in {ms} ms: {} operations a second on one core",
        report.operations,
        report.entries,
        report.steps,
        u128::from(report.operations) * 1_000 / ms
    ));
    if let Some((at_ms, what)) = &report.broken {
        say(&format!("sim: {} broke at {at_ms} ms: {}", what.invariant.name(), what.detail));
    }
    report.broken.is_none()
}

#[allow(clippy::disallowed_methods, reason = "fresh seeds are meant")]
fn fresh_seed() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |now| now.as_secs());
    now * 1_000_000
}

fn replay(seed: u64, name: Option<&str>) -> bool {
    let mutation = name.and_then(|name| mutation::all().find(|mutation| mutation.name == name));
    if let (Some(name), None) = (name, mutation) {
        say(&format!("sim: no mutation is called {name}"));
        return false;
    }
    let plan = world(seed);
    let name = plan.name;
    let report = simulate(plan, Options { mutation, only: mutation.map(|mutation| mutation.invariant), trace: true });
    for line in &report.trace {
        say(line);
    }
    match &report.broken {
        Some((at_ms, what)) => say(&format!("sim: {} broke at {at_ms} ms of seed {seed} ({name}): {}", what.invariant.name(), what.detail)),
        None => say(&format!("sim: seed {seed} ({name}): every invariant held")),
    }
    report.broken.is_none()
}

fn range(text: &str) -> Option<(u64, u64)> {
    let (from, to) = text.split_once("..")?;
    Some((from.parse().ok()?, to.parse().ok()?))
}

fn main() -> ExitCode {
    node::quiet_panics();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let word = |place: usize| arguments.get(place).map(String::as_str);
    let good = match (word(0), word(1)) {
        (Some("run"), Some(seeds)) => match range(seeds) {
            Some((from, to)) => run(from, to),
            None => {
                say(USAGE);
                return ExitCode::from(2);
            }
        },
        (Some("replay"), Some(seed)) => match seed.parse() {
            Ok(seed) => replay(seed, word(2)),
            Err(_) => {
                say(USAGE);
                return ExitCode::from(2);
            }
        },
        (Some("meta"), None) => meta(),
        (Some("ci"), None) => {
            let held = run(0, CI_SEEDS);
            let same = same_twice(&[6, 7]);
            every_mutation_is_found() && held && same
        }
        (Some("nightly"), count) => {
            let from = fresh_seed();
            run(from, from + count.and_then(|count| count.parse().ok()).unwrap_or(20_000))
        }
        (Some("measure"), None) => measure(),
        _ => {
            say(USAGE);
            return ExitCode::from(2);
        }
    };
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
