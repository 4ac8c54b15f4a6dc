//! The only clock of the server: readings of boot time and civil time, handed to the driver as arguments.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use parking_lot::Mutex;
use triquest_allocator::ClockReading;

/// Where the driver reads the time. The machine's, or one that a test moves by hand.
pub trait Clock: Send + Sync {
    /// Reads both times now.
    fn read(&self) -> ClockReading;

    /// Reads the boot time alone, in milliseconds: what rates and durations need.
    fn boot_ms(&self) -> u64 {
        self.read().boot_ms
    }
}

/// CLOCK_BOOTTIME (counts suspend), CLOCK_REALTIME, and whether the kernel calls the latter synchronized.
#[derive(Debug, Default)]
pub struct MachineClock {
    /// Boot second in which the kernel was last asked, shifted left by one, and its answer in the lowest bit. Asking costs a system call,
    /// and the answer changes over minutes.
    synchronized: AtomicU64,
}

impl Clock for MachineClock {
    fn read(&self) -> ClockReading {
        let boot = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let wall = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
        let boot_ms = milliseconds(boot).unsigned_abs();
        let second = boot_ms / 1_000 + 1;
        let known = self.synchronized.load(Ordering::Relaxed);
        let synchronized = if known >> 1 == second {
            known & 1 == 1
        } else {
            let answer = kernel_says_synchronized();
            self.synchronized.store(second << 1 | u64::from(answer), Ordering::Relaxed);
            answer
        };
        ClockReading { boot_ms, wall_ms: milliseconds(wall), synchronized }
    }

    fn boot_ms(&self) -> u64 {
        milliseconds(rustix::time::clock_gettime(rustix::time::ClockId::Boottime)).unsigned_abs()
    }
}

/// Microseconds that this thread has worked: what a request costs is told by it, however many others run beside.
#[must_use]
pub fn work_us() -> u64 {
    let worked = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    worked.tv_sec.saturating_mul(1_000_000).saturating_add(worked.tv_nsec / 1_000).unsigned_abs()
}

fn milliseconds(time: rustix::time::Timespec) -> i64 {
    time.tv_sec.saturating_mul(1_000).saturating_add(time.tv_nsec / 1_000_000)
}

/// adjtimex(2) in its reading mode: TIME_ERROR or STA_UNSYNC is "nobody vouches for it". A container that forbids the call gets false.
#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
fn kernel_says_synchronized() -> bool {
    // SAFETY: `timex` is plain data for which all zeros is a valid value; `modes = 0` only reads, into memory that outlives the call.
    let (state, status) = unsafe {
        let mut timex: libc::timex = std::mem::zeroed();
        let state = libc::adjtimex(&raw mut timex);
        (state, timex.status)
    };
    state >= 0 && state != libc::TIME_ERROR && status & libc::STA_UNSYNC == 0
}

/// Other systems give no such answer that this version knows how to read.
#[cfg(not(target_os = "linux"))]
fn kernel_says_synchronized() -> bool {
    false
}

/// A clock that stands still until a test moves it. Clones are the same clock.
#[derive(Clone, Debug)]
pub struct HandClock {
    reading: Arc<Mutex<ClockReading>>,
}

impl HandClock {
    /// A synchronized clock at this civil time (unix milliseconds), just booted.
    #[must_use]
    pub fn new(wall_ms: i64) -> Self {
        Self { reading: Arc::new(Mutex::new(ClockReading { boot_ms: 1_000, wall_ms, synchronized: true })) }
    }

    /// Both times go on by so many milliseconds.
    pub fn advance_ms(&self, ms: u64) {
        let mut reading = self.reading.lock();
        reading.boot_ms = reading.boot_ms.saturating_add(ms);
        reading.wall_ms = reading.wall_ms.saturating_add(i64::try_from(ms).unwrap_or(i64::MAX));
    }

    /// The wall clock is set, as an administrator or a time service does.
    pub fn set_wall_ms(&self, wall_ms: i64) {
        self.reading.lock().wall_ms = wall_ms;
    }

    /// The kernel vouches for the wall clock, or does not.
    pub fn set_synchronized(&self, synchronized: bool) {
        self.reading.lock().synchronized = synchronized;
    }
}

impl Clock for HandClock {
    fn read(&self) -> ClockReading {
        *self.reading.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::{Clock, HandClock, MachineClock};

    #[test]
    fn boot_time_of_the_machine_does_not_go_back() {
        let clock = MachineClock::default();
        let first = clock.read();
        let second = clock.read();
        assert!(first.boot_ms > 0 && second.boot_ms >= first.boot_ms);
        assert_eq!(first.synchronized, second.synchronized);
    }

    #[test]
    fn a_hand_moved_clock_moves_both_times_only_when_told() {
        let clock = HandClock::new(5);
        clock.clone().advance_ms(7);
        assert_eq!(clock.read().wall_ms, 12);
        clock.set_wall_ms(3);
        assert_eq!((clock.read().wall_ms, clock.boot_ms()), (3, 1_007));
    }
}
