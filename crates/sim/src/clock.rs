//! Clocks of simulated machines: each a function of real time that drifts, is set, and counts suspend.

/// Clocks drift by no more than 1/128 either way, so two of them part by no more than the 1/64 that the promise allows for.
pub const DRIFT_MAX_PER_MILLION: i64 = 7_800;

/// One machine's clocks.
#[derive(Clone, Debug)]
pub struct MachineClock {
    drift_per_million: i64,
    wall_offset_ms: i64,
    boot_offset_ms: u64,
    /// The kernel calls the wall clock synchronized.
    pub synchronized: bool,
}

impl MachineClock {
    /// A clock that is fast (positive) or slow by so many millionths.
    #[must_use]
    pub fn new(drift_per_million: i64, wall_ms_at_zero: i64) -> Self {
        Self { drift_per_million, wall_offset_ms: wall_ms_at_zero, boot_offset_ms: 1_000, synchronized: true }
    }

    fn drifted(&self, real_ms: u64) -> u64 {
        let real = i128::from(real_ms);
        let drifted = real + real * i128::from(self.drift_per_million) / 1_000_000;
        u64::try_from(drifted).expect("drift is far below one, so time stays positive")
    }

    /// Boot time (counts suspend).
    #[must_use]
    pub fn boot_ms(&self, real_ms: u64) -> u64 {
        self.boot_offset_ms + self.drifted(real_ms)
    }

    /// Civil time.
    #[must_use]
    pub fn wall_ms(&self, real_ms: u64) -> i64 {
        self.wall_offset_ms + i64::try_from(self.drifted(real_ms)).expect("simulated time is short")
    }

    /// Somebody sets the wall clock.
    pub fn step_wall(&mut self, by_ms: i64) {
        self.wall_offset_ms += by_ms;
    }
}
