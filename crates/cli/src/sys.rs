//! What depends on the operating system: processes, as Linux shows them.

use std::{
    fs,
    os::fd::OwnedFd,
    process::Child,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open},
};

/// Whether a child process ends within this time. It stays to be waited for.
pub(crate) fn ends_within(child: &Child, ms: u64) -> bool {
    let process = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let Some(Ok(process)) = process.map(|process| pidfd_open(process, PidfdFlags::empty())) else { return false };
    ends_by(&process, ms)
}

/// The same for any process, by a handle on it.
pub(crate) fn ends_by(process: &OwnedFd, ms: u64) -> bool {
    let until = Instant::now() + Duration::from_millis(ms);
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let timeout = Timespec { tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX), tv_nsec: i64::from(left.subsec_nanos()) };
        match poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&timeout)) {
            Ok(ready) => return ready > 0,
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return false,
        }
    }
}

/// Lets this process end with the one that started it, however that ends.
pub(crate) fn end_with_parent() {
    // Where this is not possible, the end of the input ends it a little later.
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM));
}

/// What the kernel says of a process in `/proc/PID/stat` (proc(5)).
pub(crate) struct Stat(String);

impl Stat {
    /// Of a process by its number, or of `self`; none if it is not there.
    pub(crate) fn of(pid: impl std::fmt::Display) -> Option<Self> {
        let line = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The second field is a name in parentheses and may hold anything; the others count from its end.
        line.rsplit_once(") ").map(|(_, rest)| Self(rest.to_owned()))
    }

    fn field<T: std::str::FromStr>(&self, number: usize) -> Option<T> {
        self.0.split(' ').nth(number)?.parse().ok()
    }

    /// It has ended, and nobody has waited for it yet.
    pub(crate) fn has_ended(&self) -> bool {
        self.0.starts_with(['Z', 'X'])
    }

    /// It stands still, by a signal or a debugger.
    pub(crate) fn is_stopped(&self) -> bool {
        self.0.starts_with(['T', 't'])
    }

    /// The process that started it.
    pub(crate) fn parent(&self) -> Option<i32> {
        self.field(1)
    }

    /// The leader of its session.
    pub(crate) fn session(&self) -> Option<i32> {
        self.field(3)
    }

    /// When it began, in clock ticks since the machine started.
    pub(crate) fn began(&self) -> Option<u64> {
        self.field(19)
    }
}

/// The short name of a process, which it may choose itself; empty if it is not there.
pub(crate) fn name_of(pid: i32) -> String {
    String::from_utf8_lossy(&fs::read(format!("/proc/{pid}/comm")).unwrap_or_default()).trim_end().to_owned()
}

/// When a process began, by the kernel's count of clock ticks since the machine started.
pub(crate) fn started_at(pid: u32) -> Option<jiff::Zoned> {
    let ticks = Stat::of(pid)?.began()?;
    let boot: i64 = fs::read_to_string("/proc/stat").ok()?.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    let per_second = rustix::param::clock_ticks_per_second().max(1);
    let seconds = i64::try_from(ticks / per_second).ok()?;
    Some(jiff::Timestamp::from_second(boot.checked_add(seconds)?).ok()?.to_zoned(jiff::tz::TimeZone::system()))
}

/// Sends a signal to a process and its descendants: a script's child is the one that uses the feature.
pub(crate) fn signal_family(pid: Pid, signal: Signal) {
    let own = rustix::process::getpid();
    for member in family(pid).into_iter().filter(|member| *member != own) {
        let _ = kill_process(member, signal);
    }
}

fn family(root: Pid) -> Vec<Pid> {
    let mut members = vec![root];
    let mut parents = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        let parent = Stat::of(pid).and_then(|stat| stat.parent());
        if let (Some(pid), Some(parent)) = (Pid::from_raw(pid), parent.and_then(Pid::from_raw)) {
            parents.push((pid, parent));
        }
    }
    let mut next = 0;
    while let Some(&member) = members.get(next) {
        members.extend(parents.iter().filter(|(_, parent)| *parent == member).map(|(pid, _)| *pid));
        next += 1;
    }
    members
}

/// One of the masks of signals that the kernel tells of a process, by its number or of `self`: bit 0 is signal 1.
fn signals(pid: impl std::fmt::Display, mask: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(mask)?.strip_prefix(':'));
    line.and_then(|signals| u64::from_str_radix(signals.trim(), 16).ok()).unwrap_or(0)
}

/// The signals that a process ignores, by its number or of `self`: bit 0 is signal 1.
pub(crate) fn ignored_signals(pid: impl std::fmt::Display) -> u64 {
    signals(pid, "SigIgn")
}

/// Whether a process ignores a signal.
pub(crate) fn ignores(pid: Pid, signal: Signal) -> bool {
    ignored_signals(pid.as_raw_nonzero()) >> (signal.as_raw() - 1) & 1 == 1
}

/// Whether a process has a handler for a signal, so that it does not end by it.
pub(crate) fn catches(pid: Pid, signal: Signal) -> bool {
    signals(pid.as_raw_nonzero(), "SigCgt") >> (signal.as_raw() - 1) & 1 == 1
}
