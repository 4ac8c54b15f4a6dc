//! The two times, pure: readings go in, a [`Moment`] comes out.

use crate::Timestamp;

/// One reading of the machine's clocks.
#[derive(Clone, Copy, Debug)]
pub struct ClockReading {
    /// CLOCK_BOOTTIME in milliseconds.
    pub boot_ms: u64,
    /// Civil time, unix milliseconds.
    pub wall_ms: i64,
    /// The kernel calls its clock synchronized.
    pub synchronized: bool,
}

/// The time at which a batch is decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Lease time.
    pub at: Timestamp,
    /// Civil time as believed, unix milliseconds.
    pub wall_ms: i64,
}

/// Lease time from boot-clock steps: at most [`crate::limits::STALL_MS`] for each reading, downtime counts as zero.
#[derive(Debug)]
pub struct LeaseClock {
    at: Timestamp,
    last_boot_ms: Option<u64>,
}

impl LeaseClock {
    /// Goes on from the last entry's time.
    #[must_use]
    pub fn resume(at: Timestamp) -> Self {
        Self { at, last_boot_ms: None }
    }

    /// Takes a reading and says what lease time it is. A reading that goes back counts as no time.
    pub fn advance(&mut self, reading: ClockReading) -> Timestamp {
        if let Some(last) = self.last_boot_ms {
            self.at = self.at.after_ms(reading.boot_ms.saturating_sub(last).min(crate::limits::STALL_MS));
        }
        self.last_boot_ms = Some(reading.boot_ms);
        self.at
    }
}

/// Civil time as believed: never back behind the high-water mark, no far jump ahead while the kernel does not vouch for it.
#[derive(Debug)]
pub struct CivilClock {
    believed_ms: i64,
    /// The boot clock at the last reading; none before the first.
    last_boot_ms: Option<u64>,
    /// The last reading was far behind the believed time.
    behind: bool,
}

impl CivilClock {
    /// Goes on from the last entry's civil time; zero is no time, then the first reading is believed.
    #[must_use]
    pub fn resume(believed_ms: i64) -> Self {
        Self { believed_ms, last_boot_ms: None, behind: false }
    }

    /// Takes a reading and says what civil time to decide by, and the reading if it was refused: (believed, refused reading).
    ///
    /// A clock that was set back stands at the high-water mark until it has caught up; if it is more than
    /// [`crate::limits::WALL_BACK_MS_MAX`] behind, the reading counts as refused, so that somebody is told. A clock far
    /// ahead (more than [`crate::limits::WALL_JUMP_AT_START_MS_MAX`] at start, more than [`crate::limits::WALL_JUMP_RUNNING_MS_MAX`]
    /// beyond what the boot clock says has passed while running) is refused until the kernel calls it synchronized, an administrator
    /// accepts it, or it comes back. Time that is refused stands still, so nothing begins or ends by it.
    pub fn advance(&mut self, reading: ClockReading) -> (i64, Option<i64>) {
        let passed = self.last_boot_ms.map(|last| reading.boot_ms.saturating_sub(last));
        let credible = match passed {
            None if self.believed_ms <= 0 => i64::MAX,
            None => self.believed_ms.saturating_add(crate::limits::WALL_JUMP_AT_START_MS_MAX),
            Some(passed) => {
                let passed = i64::try_from(passed).unwrap_or(i64::MAX);
                self.believed_ms.saturating_add(passed).saturating_add(crate::limits::WALL_JUMP_RUNNING_MS_MAX)
            }
        };
        if reading.wall_ms > credible && !reading.synchronized {
            // The boot time of the last believed reading stays, so that an honest clock is believed again when it has come back.
            return (self.believed_ms, Some(reading.wall_ms));
        }
        self.last_boot_ms = Some(reading.boot_ms);
        let behind = self.believed_ms.saturating_sub(reading.wall_ms);
        self.believed_ms = self.believed_ms.max(reading.wall_ms);
        // Once it was told to be behind, it is until it has caught up: a clock at the edge is not told again and again.
        self.behind = behind > if self.behind { 0 } else { crate::limits::WALL_BACK_MS_MAX };
        (self.believed_ms, self.behind.then_some(reading.wall_ms))
    }

    /// An administrator confirms the present reading (either way).
    pub fn accept(&mut self, reading: ClockReading) -> i64 {
        self.last_boot_ms = Some(reading.boot_ms);
        self.believed_ms = reading.wall_ms;
        self.behind = false;
        self.believed_ms
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;
    use crate::limits::STALL_MS;

    const DAY_MS: i64 = 86_400_000;

    fn reading(boot_ms: u64, wall_ms: i64, synchronized: bool) -> ClockReading {
        ClockReading { boot_ms, wall_ms, synchronized }
    }

    proptest! {
        /// lease_time_never_fast: it does not go back, and in any stretch it is no faster than the boot clock, however readings jump.
        #[test]
        fn lease_time_never_goes_back_and_is_never_faster_than_real(start in 0..u64::MAX / 2, steps in prop::collection::vec((0..10_000u64, any::<bool>()), 1..200)) {
            let mut clock = LeaseClock::resume(Timestamp(start));
            let mut boot_ms = 5_000_000;
            let first = clock.advance(reading(boot_ms, 0, true));
            prop_assert_eq!(first, Timestamp(start));
            let (mut last, mut real_ms) = (first, 0u64);
            for (step, back) in steps {
                let at = if back {
                    // A reading that goes back is no time, and what follows is counted from it.
                    boot_ms -= step;
                    clock.advance(reading(boot_ms, 0, true))
                } else {
                    boot_ms += step;
                    real_ms += step;
                    clock.advance(reading(boot_ms, 0, true))
                };
                prop_assert!(at >= last);
                prop_assert!(at.since_ms(last) <= STALL_MS);
                prop_assert!(at.since_ms(first) <= real_ms);
                last = at;
            }
        }

        /// Whatever a wall clock says, the believed time does not go back by itself, and is at most what some reading said.
        #[test]
        fn believed_time_never_goes_back_by_itself(readings in prop::collection::vec((0..100_000u64, -400 * DAY_MS..400 * DAY_MS, any::<bool>()), 1..100)) {
            let mut clock = CivilClock::resume(1_000 * DAY_MS);
            let (mut boot_ms, mut last) = (0, 1_000 * DAY_MS);
            for (step, wall, synchronized) in readings {
                boot_ms += step;
                let (believed, refused) = clock.advance(reading(boot_ms, 1_000 * DAY_MS + wall, synchronized));
                prop_assert!(believed >= last);
                prop_assert!(believed == last || believed == 1_000 * DAY_MS + wall);
                prop_assert!(refused.is_none() || believed == last);
                prop_assert!(refused.is_none_or(|refused| !synchronized || refused < believed));
                last = believed;
            }
        }
    }

    #[test]
    fn a_stall_and_downtime_count_as_little_and_nothing() {
        let mut clock = LeaseClock::resume(Timestamp(77));
        assert_eq!(clock.advance(reading(1_000_000, 0, true)), Timestamp(77));
        assert_eq!(clock.advance(reading(1_000_500, 0, true)), Timestamp(577));
        assert_eq!(clock.advance(reading(9_000_000, 0, true)), Timestamp(577 + STALL_MS));
    }

    #[test]
    fn a_clock_that_was_set_back_stands_at_the_high_water_mark() {
        let mut clock = CivilClock::resume(100 * DAY_MS);
        assert_eq!(clock.advance(reading(0, 99 * DAY_MS, true)), (100 * DAY_MS, Some(99 * DAY_MS)), "and it is told");
        assert_eq!(
            clock.advance(reading(5, 100 * DAY_MS - 1_000, true)),
            (100 * DAY_MS, Some(100 * DAY_MS - 1_000)),
            "until it has caught up"
        );
        assert_eq!(clock.advance(reading(10, 100 * DAY_MS + 5, true)), (100 * DAY_MS + 5, None));
        assert_eq!(clock.advance(reading(20, 100 * DAY_MS - 5, true)), (100 * DAY_MS + 5, None), "time services correct by as little");
    }

    #[test]
    fn far_ahead_is_not_believed_until_the_kernel_vouches_for_it_or_an_administrator_does() {
        let mut clock = CivilClock::resume(100 * DAY_MS);
        assert_eq!(clock.advance(reading(0, 106 * DAY_MS, false)), (106 * DAY_MS, None), "a week of downtime is believed");
        let far = 200 * DAY_MS;
        assert_eq!(clock.advance(reading(1_000, far, false)), (106 * DAY_MS, Some(far)));
        assert_eq!(clock.advance(reading(2_000, 106 * DAY_MS + 2_000, false)), (106 * DAY_MS + 2_000, None), "it came back");
        assert_eq!(clock.advance(reading(3_000, far, true)), (far, None));
        assert_eq!(clock.accept(reading(4_000, 107 * DAY_MS, false)), 107 * DAY_MS, "a wrong future is taken back");
        assert_eq!(clock.advance(reading(5_000, 107 * DAY_MS + 1_000, false)), (107 * DAY_MS + 1_000, None));
    }

    #[test]
    fn a_first_start_believes_its_first_reading_and_a_start_after_long_downtime_asks() {
        assert_eq!(CivilClock::resume(0).advance(reading(0, 500 * DAY_MS, false)), (500 * DAY_MS, None));
        assert_eq!(CivilClock::resume(i64::MIN).advance(reading(0, 500 * DAY_MS, false)), (500 * DAY_MS, None));
        let mut clock = CivilClock::resume(500 * DAY_MS);
        assert_eq!(clock.advance(reading(0, 600 * DAY_MS, false)), (500 * DAY_MS, Some(600 * DAY_MS)));
        assert_eq!(clock.advance(reading(1_000, 600 * DAY_MS + 1_000, false)), (500 * DAY_MS, Some(600 * DAY_MS + 1_000)));
    }

    #[test]
    fn hours_of_suspend_are_no_step_because_the_boot_clock_counts_them() {
        let mut clock = CivilClock::resume(0);
        clock.advance(reading(1_000, 500 * DAY_MS, false));
        let asleep = 2 * DAY_MS as u64;
        assert_eq!(clock.advance(reading(1_000 + asleep, 502 * DAY_MS, false)), (502 * DAY_MS, None));
    }
}
