//! The client's only clock.

use rustix::time::{ClockId, clock_gettime};

use crate::keeper::{Fresh, Now};

/// Looks at both clocks.
#[expect(clippy::disallowed_methods, reason = "this is the clock")]
pub(crate) fn now() -> Now {
    let boot = clock_gettime(ClockId::Boottime);
    let wall = clock_gettime(ClockId::Realtime);
    Now {
        boot_ms: u64::try_from(boot.tv_sec).unwrap_or(0) * 1000 + u64::try_from(boot.tv_nsec).unwrap_or(0) / 1_000_000,
        wall_ms: wall.tv_sec * 1000 + wall.tv_nsec / 1_000_000,
    }
}

/// 32 random bytes.
pub(crate) fn random() -> [u8; 32] {
    let mut bytes = [0; 32];
    aws_lc_rs::rand::fill(&mut bytes).expect("the system has randomness: aws-lc aborts otherwise");
    bytes
}

/// Randomness for one step of a keeper.
pub(crate) fn fresh() -> Fresh {
    let jitter = random();
    Fresh { nonce: random(), jitter: u16::from_le_bytes([jitter[0], jitter[1]]) }
}

/// Chooses the word of grease of this program: one random byte for each start.
pub(crate) fn grease() -> u8 {
    static GREASE: std::sync::OnceLock<u8> = std::sync::OnceLock::new();
    *GREASE.get_or_init(|| random()[0])
}
