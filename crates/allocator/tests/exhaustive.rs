//! Every order of every five of eight commands, on two seats.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;

use support::{Right, Server, actor, content, holder, install, item, key, lease, license, moment};
use triquest_allocator::{Command, Event, LeaseId, Safeguards, invariants};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    AskAna,
    AskBo,
    LeaveAna,
    Pass,
    Reclaim,
    Renew,
    Restart,
    WaitForTwo,
}

const STEPS: [Step; 8] =
    [Step::AskAna, Step::AskBo, Step::LeaveAna, Step::Pass, Step::Reclaim, Step::Renew, Step::Restart, Step::WaitForTwo];

fn checkout(name: &str, seats: u32, attempt: u32, wait_ms: Option<u64>) -> Command {
    Command::Checkout {
        accepts: Default::default(),
        lease: lease(name),
        attempt,
        content: content(name),
        holder: holder(name, "ws1"),
        vendor_keys: vec![key("acme")],
        items: vec![item("cad", seats, None)],
        ttl_ms: None,
        wait_ms,
        regained: false,
        network: None,
    }
}

fn run(install: &Command, steps: &[Step]) -> Result<(), String> {
    let mut server = Server::new(Safeguards::default());
    server.checked = false;
    let mut at_ms = 0;
    let mut over: BTreeSet<LeaseId> = BTreeSet::new();
    let mut order = invariants::QueueOrder::default();
    let mut events = server.restart(moment(0))?.1;
    events.extend(server.decide(moment(0), install.clone())?.1);
    for step in steps {
        at_ms += 1_000;
        let before = invariants::over(&server.live);
        let command = match step {
            Step::AskAna => checkout("ana", 1, 1, None),
            Step::AskBo => checkout("bo", 1, 1, None),
            Step::LeaveAna => Command::Release { lease: lease("ana"), network: None },
            Step::Pass => {
                at_ms += 300_000;
                Command::Sweep
            }
            Step::Reclaim => Command::Reclaim { lease: lease("bo"), now: false, actor: actor() },
            Step::Renew => {
                Command::Renew { lease: lease("ana"), counter: at_ms, nonce: [1; 16], idle_ms: None, presence: None, regained: false }
            }
            Step::Restart => Command::Sweep,
            Step::WaitForTwo => checkout("cy", 2, 1, Some(3_600_000)),
        };
        let (_, mut done) =
            if *step == Step::Restart { server.restart(moment(at_ms))? } else { server.decide(moment(at_ms), command.clone())? };
        invariants::atomic_checkout(&command, &done)?;
        done.extend(server.settle(moment(at_ms))?);
        invariants::no_grant_past_entitlement(&before, &done, &server.live)?;
        invariants::seats_conserved(&server.live)?;
        for event in &done {
            order.watch(event)?;
            match event {
                Event::Granted { lease, .. } if over.contains(lease) => return Err(format!("{lease} was granted after it had ended")),
                Event::Released { lease, .. } | Event::ReleasedUnknown { lease, .. } | Event::Ended { lease, .. } => {
                    over.insert(*lease);
                }
                _ => {}
            }
        }
        let numbers = server.live.pools().next().ok_or("no pool")?.numbers;
        if numbers.over > 0 || numbers.used > 2 {
            return Err(format!("{numbers:?}"));
        }
        events.extend(done);
    }
    invariants::one_grant_per_id(&events)?;
    // A restart in the sequence has replayed it already.
    if steps.contains(&Step::Restart) { Ok(()) } else { server.replayed() }
}

/// Calls `f` with every order of every choice of `left` of the steps.
fn every(chosen: &mut Vec<Step>, left: usize, f: &mut impl FnMut(&[Step])) {
    if left == 0 {
        f(chosen);
        return;
    }
    for step in STEPS {
        if !chosen.contains(&step) {
            chosen.push(step);
            every(chosen, left - 1, f);
            chosen.pop();
        }
    }
}

#[test]
fn no_order_of_five_commands_on_two_seats_breaks_an_invariant() {
    let install = install(license(&["acme"], "A", &[], &[Right::new("cad", 2)]));
    let mut orders = 0;
    every(&mut Vec::new(), 5, &mut |steps| {
        orders += 1;
        if let Err(why) = run(&install, steps) {
            panic!("{steps:?}: {why}");
        }
    });
    assert_eq!(orders, 6_720);
}
