//! Waiting, repeats, many at once, signatures.

use triquest_allocator::{Between, Command, Outcome};
use triquest_license::{merkle, statement};
use triquest_server::feed::Begin;
use triquest_wire::trust::{GrantPayload, GrantsStatement};

use crate::world::{World, checkout, checkout_of, is_granted, lease, release, renew};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_waiting_checkout_is_answered_as_soon_as_the_seat_is_its_own() {
    let world = World::with_seats(1).await;
    assert!(is_granted(&world.decide(checkout(1)).await));
    let waiting = tokio::spawn({
        let driver = world.driver.clone();
        async move { driver.local().decide_waiting(checkout_of(2, 1, &[("cad", 1)], Some(600_000)), [5; 32], 600_000).await }
    });
    // It stands in line when the view shows it.
    let mut reader = world.driver.feed().reader(Begin::Now).unwrap();
    while world.driver.view().lease(triquest_wire::LeaseId(lease(2).0)).is_none() {
        reader.next().await.unwrap();
    }
    assert_eq!(world.driver.view().lease(triquest_wire::LeaseId(lease(2).0)).unwrap().place, Some(1));
    assert!(!waiting.is_finished());
    world.decide(release(1)).await.unwrap();
    let answer = waiting.await.unwrap();
    assert!(is_granted(&answer));
    assert!(answer.unwrap().signed.is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_held_request_that_gets_no_seat_in_time_is_told_its_place() {
    let world = World::with_seats(1).await;
    assert!(is_granted(&world.decide(checkout(1)).await));
    let answer = world.driver.local().decide_waiting(checkout_of(2, 1, &[("cad", 1)], Some(600_000)), [5; 32], 0).await.unwrap();
    assert!(matches!(answer.outcome, Outcome::Waiting { place: 1, .. }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_waiter_whose_connection_broke_keeps_its_place_and_claims_its_seat() {
    let world = World::with_seats(1).await;
    assert!(is_granted(&world.decide(checkout(1)).await));
    let wish = || checkout_of(2, 1, &[("cad", 1)], Some(600_000));
    assert!(matches!(world.decide(wish()).await.unwrap().outcome, Outcome::Waiting { place: 1, .. }));
    let broken = tokio::spawn({
        let driver = world.driver.clone();
        async move { driver.local().decide_waiting(wish(), [5; 32], 600_000).await }
    });
    broken.abort();
    assert!(broken.await.unwrap_err().is_cancelled());
    world.decide(release(1)).await.unwrap();
    assert!(matches!(world.decide(checkout(3)).await.unwrap().outcome, Outcome::Denied(_)), "the seat is the waiter's");
    assert!(is_granted(&world.decide(wish()).await));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_waiter_that_gives_up_is_answered_at_once() {
    let world = World::with_seats(1).await;
    assert!(is_granted(&world.decide(checkout(1)).await));
    assert!(matches!(world.decide(checkout_of(2, 1, &[("cad", 1)], Some(600_000))).await.unwrap().outcome, Outcome::Waiting { .. }));
    let waiting = world.driver.local().decide_waiting(checkout_of(2, 1, &[("cad", 1)], Some(600_000)), [5; 32], 600_000);
    let (answer, released) = tokio::join!(waiting, world.driver.decide(release(2), None));
    released.unwrap();
    assert!(!matches!(answer.unwrap().outcome, Outcome::Granted(_) | Outcome::Waiting { .. }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeat_gets_the_same_grant_with_its_own_nonce_and_a_signature_that_holds() {
    let world = World::with_seats(1).await;
    let first = world.driver.decide(checkout(1), Some([1; 32])).await.unwrap();
    let again = world.driver.decide(checkout(1), Some([2; 32])).await.unwrap();
    let mut entries = Vec::new();
    for (answer, nonce) in [(first, 1u8), (again, 2)] {
        let signed = answer.signed.unwrap();
        statement::verify(world.server_key.public(), statement::StatementKind::Grants, &signed.statement.0, &signed.signature.0).unwrap();
        let body: GrantsStatement = serde_json::from_slice(&signed.statement.0).unwrap();
        let path: Vec<_> = signed.path.iter().map(|hash| hash.0).collect();
        assert!(merkle::verify_path(&merkle::leaf_hash(&signed.grant.0), signed.position, body.size, &path, &body.root.0));
        let grant: GrantPayload = serde_json::from_slice(&signed.grant.0).unwrap();
        assert_eq!(grant.nonce.0, [nonce; 32]);
        assert_eq!(grant.lease.0, lease(1).0);
        entries.push((grant.epoch, grant.index, grant.granted_at_ms));
    }
    assert_eq!(entries[0], entries[1], "both name the entry that granted it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_renewals_are_answered_together_in_the_order_asked() {
    let world = World::with_seats(100).await;
    for number in 0..50 {
        assert!(is_granted(&world.decide(checkout(number)).await));
    }
    let answers = world.driver.local().decide_many((0..60).map(|number| renew(number, 1)).collect()).await.unwrap();
    assert_eq!(answers.len(), 60);
    for (number, answer) in answers.iter().enumerate() {
        assert_eq!(matches!(answer.as_ref().unwrap().outcome, Outcome::Renewed { .. }), number < 50, "{number}");
    }
    assert!(world.driver.local().decide_many(Vec::new()).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn presence_that_ends_in_order_frees_the_seat_and_an_old_generation_does_not() {
    let world = World::with_seats(1).await;
    assert!(is_granted(&world.decide(checkout(1)).await));
    let lease = lease(1);
    world.decide(Command::PresenceOpened { lease, connection: 2, generation: 2, between: Between::Nothing }).await.unwrap();
    let renew = Command::Renew { lease, counter: 1, nonce: [1; 16], idle_ms: None, presence: Some(2), regained: false };
    world.decide(renew).await.unwrap();
    world.decide(Command::PresenceClosed { lease, generation: 1, network: None, unnamings: 0 }).await.unwrap();
    assert_eq!(world.driver.view().live_leases(), 1);
    world.decide(Command::PresenceClosed { lease, generation: 2, network: None, unnamings: 0 }).await.unwrap();
    assert_eq!(world.driver.view().live_leases(), 0);
}
