//! What is shown is what is so.

use std::collections::BTreeMap;

use triquest_allocator::{Allocator, Command, InstallLicense, PoolId, Safeguards, StateRecord};
use triquest_server::view::{LeaseFilter, PoolFilter};
use triquest_wire::status::LeaseState;

use crate::world::{World, actor, checkout_of, install, install_with, lease, license, release, renew};

/// SplitMix64: enough for a test that must be the same on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % bound
    }
}

fn cad() -> PoolFilter {
    PoolFilter { feature: Some("cad".into()), ..PoolFilter::default() }
}

async fn compare(world: &World, step: u64) {
    let mut journal = world.disk.copy().open();
    let state: Allocator = triquest_journal::load(&mut journal, Safeguards::default()).unwrap();
    let mut leases = BTreeMap::new();
    let mut used: BTreeMap<u32, (u64, u64, u64)> = BTreeMap::new();
    let mut features = BTreeMap::new();
    for record in state.snapshot() {
        match record {
            StateRecord::Pool { pool, feature, into: None, .. } => {
                features.insert(pool.0, feature.to_string());
            }
            StateRecord::Lease { lease, items, ending, holder, .. } => {
                for item in &items {
                    used.entry(item.pool.0).or_default().0 += u64::from(item.seats);
                }
                let state = if ending.is_some() { LeaseState::Ending } else { LeaseState::Live };
                leases.insert(lease.0, (state, items.iter().map(|item| item.seats).sum::<u32>(), holder.user.map(|claim| claim.value)));
            }
            StateRecord::Lingering { lease, items, .. } => {
                for item in &items {
                    used.entry(item.pool.0).or_default().1 += u64::from(item.seats);
                }
                leases.insert(lease.0, (LeaseState::Lingering, items.iter().map(|item| item.seats).sum(), None));
            }
            StateRecord::Waiter { lease, items, holder, .. } => {
                for item in &items {
                    used.entry(item.pool.0).or_default().2 += 1;
                }
                leases.insert(
                    lease.0,
                    (LeaseState::Waiting, items.iter().map(|item| item.seats).sum(), holder.user.map(|claim| claim.value)),
                );
            }
            _ => {}
        }
    }
    let view = world.driver.view();
    let mut shown = BTreeMap::new();
    let mut after = None;
    loop {
        let page = view.leases(&LeaseFilter::default(), after, 7);
        for lease in page.leases {
            let user = lease.holder.user.map(|claim| claim.value).filter(|_| lease.state != LeaseState::Lingering);
            shown.insert(lease.lease.0, (lease.state, lease.items.iter().map(|item| item.seats).sum::<u32>(), user));
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(shown, leases, "step {step}");
    let mut pools = Vec::new();
    let mut after = None;
    loop {
        let page = view.pools(&PoolFilter::default(), after.as_deref(), 2);
        pools.extend(page.pools);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(pools.len(), features.len(), "step {step}");
    for (pool, probe) in pools.into_iter().zip(0u32..) {
        let id = features.iter().find(|(_, feature)| **feature == pool.feature).map(|(id, _)| *id).unwrap();
        let (held, lingering, waiting) = used.get(&id).copied().unwrap_or_default();
        let numbers = pool.numbers;
        assert_eq!((numbers.used, numbers.lingering, numbers.queued), (held, lingering, waiting), "step {step}");
        assert_eq!(numbers.free + numbers.used + numbers.lingering + numbers.reserved_idle, numbers.total + numbers.over, "step {step}");
        assert!(numbers.free == 0 || numbers.over == 0);
        // What a denial says of the pool is what the view says of it.
        let probe = world.decide(checkout_of(1_000_000 + 10 * step as u32 + probe, 1, &[(&pool.feature, 9_999_999)], None)).await.unwrap();
        if let triquest_allocator::Outcome::Denied(denial) = probe.outcome
            && denial.code == triquest_allocator::DenialCode::MoreThanPool
        {
            assert_eq!((denial.pool.total, denial.pool.free), (numbers.total, numbers.free), "step {step}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_view_is_the_allocators_state_after_random_commands_and_after_a_restart() {
    let mut world = World::new();
    let mut random = Random(20_261_123);
    world.install("A-1", &[("cad", 7), ("sim", 3)]).await;
    for step in 0..700u64 {
        let number = random.below(40) as u32;
        let feature = ["cad", "sim", "cam"][random.below(3) as usize];
        match random.below(20) {
            0..=7 => {
                let seats = 1 + random.below(3) as u32;
                let mut items = vec![(feature, seats)];
                if feature != "cad" && random.below(3) == 0 {
                    items.push(("cad", 1));
                }
                let wait = (random.below(2) == 0).then_some(60_000);
                let attempt = 1 + random.below(2) as u32;
                let _ = world.decide(checkout_of(number + 100 * random.below(20) as u32, attempt, &items, wait)).await.unwrap();
            }
            8..=10 => {
                world.decide(release(number + 100 * random.below(20) as u32)).await.unwrap();
            }
            11..=12 => {
                world.decide(renew(number + 100 * random.below(20) as u32, step)).await.unwrap();
            }
            13 => {
                let now = random.below(2) == 0;
                world.decide(Command::Reclaim { lease: lease(number), now, actor: actor() }).await.unwrap();
            }
            14 => {
                world.decide(install(&format!("B-{}", random.below(4)), &[(feature, 1 + random.below(4) as u32)])).await.unwrap();
            }
            15 => {
                let id = format!("B-{}", random.below(4));
                if let Some(license) = world.driver.view().licenses_by_id(&id).first() {
                    world.decide(Command::Remove { license: *license, actor: actor() }).await.unwrap();
                    assert!(world.driver.view().licenses_by_id(&id).is_empty());
                }
            }
            16..=18 => {
                for _ in 0..random.below(30) {
                    world.clock.advance_ms(2_000);
                    world.tick().await;
                }
            }
            _ => {
                if random.below(4) == 0 {
                    world = world.restart().await;
                }
            }
        }
        if step % 10 == 0 {
            world.tick().await;
            compare(&world, step).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_are_filtered_and_paged_in_order_of_id() {
    let world = World::new();
    world.install("A-1", &[("cad", 500), ("sim", 500)]).await;
    for number in 0..300 {
        let feature = if number % 10 == 0 { "sim" } else { "cad" };
        world.decide(checkout_of(number, 1, &[(feature, 1)], None)).await.unwrap();
    }
    let filter = LeaseFilter { feature: Some("sim".to_owned()), ..LeaseFilter::default() };
    let mut found = Vec::new();
    let mut after = None;
    loop {
        let page = world.driver.view().leases(&filter, after, 4);
        assert!(page.leases.len() <= 4);
        found.extend(page.leases.iter().map(|lease| lease.lease));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(found.len(), 30);
    assert!(found.is_sorted());
    let none = LeaseFilter { vendor: Some("other.example".to_owned()), ..LeaseFilter::default() };
    assert!(world.driver.view().leases(&none, None, 10).leases.is_empty());
    let live = LeaseFilter { state: Some(LeaseState::Waiting), ..LeaseFilter::default() };
    assert!(world.driver.view().leases(&live, None, 10).leases.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn licenses_are_shown_with_their_states_and_given_to_who_names_their_vendor() {
    let world = World::new();
    world.install("A-1", &[("cad", 5)]).await;
    world.install("A-2", &[("cad", 2)]).await;
    let key = *crate::world::vendor().key().public().as_bytes();
    assert_eq!(world.driver.view().licenses().len(), 2);
    let files = world.driver.view().licenses_for(&[[0; 32], key]).0;
    assert_eq!(files.len(), 2);
    assert_eq!(files[0].0, license("A-1", &[("cad", 5)]).hash());
    assert!(files[0].1.contains("acme.example"));
    assert!(world.driver.view().licenses_for(&[[0; 32]]).0.is_empty());
    let pools = world.driver.view().pools(&cad(), None, 10).pools;
    assert_eq!((pools.len(), pools[0].numbers.total), (1, 7));
    assert_eq!(pools[0].ends.as_deref(), Some("2027-12-31"));
}

#[tokio::test]
async fn a_client_is_shown_only_licenses_that_a_key_of_its_own_has_signed() {
    let world = World::new();
    let (old, new) = (crate::world::vendor(), crate::world::vendor_of(2));
    for (id, signers) in [("OLD", vec![&old]), ("BOTH", vec![&old, &new]), ("NEW", vec![&new])] {
        let signers: Vec<_> = signers.into_iter().cloned().collect();
        let license = Box::new(crate::world::signed_by(&signers, id, "", &[("cad", 1)]));
        world.decide(Command::Install(InstallLicense { license, actor: crate::world::actor() })).await.unwrap();
    }
    // The three are of one vendor, whose seats add up.
    assert_eq!(world.driver.view().pools(&cad(), None, 10).pools[0].numbers.total, 3);
    let (old, new) = (*old.key().public().as_bytes(), *new.key().public().as_bytes());
    let shown = |keys: &[[u8; 32]]| {
        let ids = |text: &str| text.lines().find_map(|line| line.strip_prefix("license = ")).unwrap_or_default().to_owned();
        world.driver.view().licenses_for(keys).0.iter().map(|(_, text)| ids(text)).collect::<Vec<_>>()
    };
    assert_eq!(shown(&[old]), ["\"OLD\"", "\"BOTH\""]);
    assert_eq!(shown(&[new]), ["\"BOTH\"", "\"NEW\""]);
    assert_eq!(shown(&[old, new]).len(), 3);
}

#[tokio::test]
async fn a_seat_is_held_since_its_grant_also_after_restarts() {
    let world = World::with_seats(1).await;
    world.decide(checkout_of(1, 1, &[("cad", 1)], None)).await.unwrap();
    let since = |world: &World| world.driver.view().leases(&LeaseFilter::default(), None, 1).leases[0].since_at.clone();
    let granted_at = since(&world);
    world.clock.advance_ms(30_000);
    world.tick().await;
    let world = world.restart().await;
    // Lease time has stood still meanwhile; civil time has not.
    world.clock.advance_ms(90_000);
    let world = world.crash();
    assert_eq!(since(&world), granted_at);
}

#[tokio::test]
async fn a_clock_that_was_set_back_is_told_until_it_is_accepted() {
    let world = World::with_seats(1).await;
    let today_ms = world.driver.view().now().1;
    world.clock.set_wall_ms(today_ms - 86_400_000);
    world.tick().await;
    world.tick().await;
    assert_eq!(world.driver.clock_state(), triquest_wire::status::ClockState::Held);
    assert_eq!(world.driver.view().clock_refused_ms(), Some(today_ms - 86_400_000));
    // The fact is durable: another start knows it before its first pass.
    let world = world.crash();
    assert_eq!(world.driver.view().clock_refused_ms(), Some(today_ms - 86_400_000));
    world.decide(Command::AcceptClock { actor: actor() }).await.unwrap();
    world.tick().await;
    assert_eq!(world.driver.view().clock_refused_ms(), None);
    assert_ne!(world.driver.clock_state(), triquest_wire::status::ClockState::Held);
}

#[tokio::test]
async fn what_was_replaced_in_a_wrong_future_is_shown_again_when_the_clock_is_taken_back() {
    let world = World::new();
    world.install("A-1", &[("cad", 2)]).await;
    world.decide(install_with("A-2", "starts = 2027-06-01\nreplaces = [\"A-1\"]\n", &[("cad", 3)])).await.unwrap();
    let today_ms = world.driver.view().now().1;
    let total = |world: &World| world.driver.view().pools(&cad(), None, 10).pools[0].numbers.total;
    let installed = |world: &World| world.driver.view().licenses().len();
    assert_eq!((total(&world), installed(&world)), (2, 2));
    world.clock.set_wall_ms(today_ms + 400 * 86_400_000);
    world.tick().await;
    world.tick().await;
    assert_eq!((total(&world), installed(&world)), (3, 1));
    // Another start has it as well.
    let world = world.restart().await;
    assert_eq!((total(&world), installed(&world)), (3, 1));
    world.clock.set_wall_ms(today_ms);
    world.decide(Command::AcceptClock { actor: actor() }).await.unwrap();
    world.tick().await;
    world.tick().await;
    assert_eq!((total(&world), installed(&world)), (2, 2));
    assert_eq!(world.driver.view().licenses_by_id("A-1").len(), 1);
}

#[tokio::test]
async fn what_comes_back_to_a_vendor_that_became_part_of_another_meanwhile_is_shown_there() {
    let world = World::new();
    let (one, other) = (crate::world::vendor_of(7), crate::world::vendor_of(8));
    let install = |signers: &[triquest_license::Signer], id: &str, top: &str, rights: &[(&str, u32)]| {
        let license = Box::new(crate::world::signed_by(signers, id, top, rights));
        Command::Install(InstallLicense { license, actor: actor() })
    };
    world.decide(install(std::slice::from_ref(&one), "B-1", "", &[("cad", 5)])).await.unwrap();
    world.decide(install(std::slice::from_ref(&other), "A-1", "", &[("cad", 2)])).await.unwrap();
    let replaces = "starts = 2027-06-01\nreplaces = [\"A-1\"]\n";
    world.decide(install(std::slice::from_ref(&other), "A-2", replaces, &[("cad", 3)])).await.unwrap();
    let today_ms = world.driver.view().now().1;
    world.clock.set_wall_ms(today_ms + 400 * 86_400_000);
    world.tick().await;
    world.tick().await;
    world.decide(install(&[one, other], "BOTH", "", &[("sim", 1)])).await.unwrap();
    world.tick().await;
    let totals =
        |world: &World| -> Vec<u64> { world.driver.view().pools(&cad(), None, 10).pools.iter().map(|pool| pool.numbers.total).collect() };
    assert_eq!(totals(&world), [8]);
    world.clock.set_wall_ms(today_ms);
    world.decide(Command::AcceptClock { actor: actor() }).await.unwrap();
    world.tick().await;
    world.tick().await;
    assert_eq!(totals(&world), [7]);
}

#[tokio::test]
async fn facts_of_a_pool_that_became_part_of_another_are_told_by_that_ones_name() {
    let world = World::new();
    let (one, other) = (crate::world::vendor_of(7), crate::world::vendor_of(8));
    let install = |signers: &[triquest_license::Signer], id: &str| {
        let license = Box::new(crate::world::signed_by(signers, id, "", &[("cad", 2)]));
        Command::Install(InstallLicense { license, actor: actor() })
    };
    world.decide(install(std::slice::from_ref(&one), "OLD")).await.unwrap();
    world.decide(install(std::slice::from_ref(&other), "NEW")).await.unwrap();
    let names = |world: &World| [0, 1].map(|pool| world.driver.view().pool_name(PoolId(pool)));
    let before = names(&world);
    assert!(before.iter().all(Option::is_some));
    world.decide(install(&[one, other], "BOTH")).await.unwrap();
    world.tick().await;
    assert_eq!(world.driver.view().pools(&cad(), None, 10).pools.len(), 1);
    assert_eq!(names(&world), before);
    let world = world.restart().await;
    assert_eq!(names(&world), before, "also after a start");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_licenses_that_have_all_ended_the_newest_is_shown_so_that_a_client_can_say_which() {
    let world = World::new();
    world.install("A-1", &[("cad", 5)]).await;
    world.install("A-2", &[("cad", 2)]).await;
    let key = *crate::world::vendor().key().public().as_bytes();
    world.clock.set_wall_ms(crate::world::TODAY_MS + 800 * 86_400_000);
    world.tick().await;
    world.tick().await;
    let (files, are_all) = world.driver.view().licenses_for(&[key]);
    assert_eq!(files.iter().map(|(hash, _)| *hash).collect::<Vec<_>>(), [license("A-2", &[("cad", 2)]).hash()]);
    assert!(are_all);
    assert!(world.driver.view().licenses_for(&[[0; 32]]).0.is_empty(), "and to nobody else's client");
}
