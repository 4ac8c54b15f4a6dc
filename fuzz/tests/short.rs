//! The short form of every target: the same mutations each time, in seconds, on stable.

use triquest_fuzz::mutate::{Numbers, mutate};
use triquest_fuzz::{bodies, identity, license, record, sealed, seeds};

const ROUNDS: usize = 20_000;

fn short(target: fn(&[u8]), seeds: &[Vec<u8>]) {
    let mut numbers = Numbers::new(1588);
    for seed in seeds {
        target(seed);
        for cut in 0..seed.len().min(512) {
            target(&seed[..cut]);
        }
    }
    for _ in 0..ROUNDS {
        target(&mutate(&mut numbers, seeds));
    }
}

#[test]
fn any_bytes_offered_as_a_license_are_read_or_refused() {
    short(license, &seeds::licenses());
}

#[test]
fn any_bytes_found_in_the_journal_are_read_or_refused() {
    let seeds = seeds::records();
    for seed in &seeds {
        assert!(triquest_journal::record::decode_entry(seed).is_ok(), "a seed is a good entry");
        // Mutations of a sealed entry nearly always die at the checksum: the target seals what it gets again.
        assert_eq!(sealed(0x01, &seed[1..seed.len() - 8]), *seed);
    }
    let bodies: Vec<Vec<u8>> = seeds.iter().map(|seed| seed[..seed.len() - 8].to_vec()).chain(seeds.iter().cloned()).collect();
    short(record, &bodies);
}

#[test]
fn any_bytes_sent_as_a_body_are_read_or_refused() {
    let seeds = seeds::bodies();
    assert!(serde_json::from_slice::<triquest_wire::lease::CheckoutRequest>(&seeds[0]).is_ok(), "a seed is a good body");
    short(bodies, &seeds);
}

#[test]
fn any_bytes_that_come_over_udp_are_a_datagram_or_none() {
    let seeds = seeds::identities();
    assert!(triquest_wire::identity::IdentityRequest::parse(&seeds[0]).is_some(), "a seed is a good question");
    assert!(triquest_wire::identity::IdentityReply::open(&seeds[1], &[3; 32]).is_ok(), "a seed is a good answer");
    short(identity, &seeds);
}
