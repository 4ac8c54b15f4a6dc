//! Clocks of simulated machines: functions of real time that drift, are set, count suspend, and lose the time for which a virtual machine
//! was paused.

/// Clocks drift by no more than 1/128 either way, so two of them part by no more than the 1/64 that the promise allows for.
pub const DRIFT_MAX_PER_MILLION: i64 = 7_800;

/// One machine's clocks.
#[derive(Clone, Debug)]
pub struct MachineClock {
    drift_per_million: i64,
    wall_offset_ms: i64,
    boot_offset_ms: i64,
    /// The kernel calls the wall clock synchronized.
    pub synchronized: bool,
}

impl MachineClock {
    /// A clock that is fast (positive) or slow by so many millionths, with this civil time at the beginning of real time.
    #[must_use]
    pub fn new(drift_per_million: i64, wall_ms_at_zero: i64) -> Self {
        Self { drift_per_million, wall_offset_ms: wall_ms_at_zero, boot_offset_ms: 1_000, synchronized: true }
    }

    fn drifted(&self, real_ms: u64) -> i64 {
        let real = i64::try_from(real_ms).expect("simulated time is short");
        real + real / 1_000_000 * self.drift_per_million + real % 1_000_000 * self.drift_per_million / 1_000_000
    }

    /// Boot time: counts suspend, stands still while a virtual machine is paused.
    #[must_use]
    pub fn boot_ms(&self, real_ms: u64) -> u64 {
        u64::try_from(self.boot_offset_ms + self.drifted(real_ms)).unwrap_or(0)
    }

    /// Civil time.
    #[must_use]
    pub fn wall_ms(&self, real_ms: u64) -> i64 {
        self.wall_offset_ms + self.drifted(real_ms)
    }

    /// Somebody sets the wall clock.
    pub fn step_wall(&mut self, by_ms: i64) {
        self.wall_offset_ms += by_ms;
    }

    /// A virtual machine was paused for so long: its boot clock did not count it.
    pub fn lose_boot(&mut self, ms: u64) {
        self.boot_offset_ms -= i64::try_from(ms).expect("simulated time is short");
    }

    /// The machine starts anew: its boot clock begins again.
    pub fn reboot(&mut self, real_ms: u64) {
        self.boot_offset_ms = 1_000 - self.drifted(real_ms);
    }

    /// Real milliseconds, rounded up, until this clock has advanced by `ms`.
    #[must_use]
    pub fn real_until(&self, ms: u64) -> u64 {
        let rate = u64::try_from(1_000_000 + self.drift_per_million).expect("drift is far below one");
        let (seconds, rest) = (ms / 1_000_000, ms % 1_000_000);
        seconds.saturating_mul(1_000_000).saturating_mul(1_000_000) / rate + rest * 1_000_000 / rate + 1
    }
}
