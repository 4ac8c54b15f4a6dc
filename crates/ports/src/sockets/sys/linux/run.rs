//! A program that is asked something: never through a shell, with a time limit, its answer bounded, its errors unheard.

use std::{
    ffi::OsString,
    io::Read as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, pidfd_open},
};

/// Bytes of an answer that are read.
const ANSWER_BYTES_MAX: usize = 4 << 20;
/// Where programs of the system are. Not `PATH`: what this is run from may be anybody's.
const FOLDERS: &[&str] = &["/usr/bin", "/bin", "/usr/sbin", "/sbin", "/run/current-system/sw/bin"];

/// What the program said on its standard output, whatever its exit code: package managers fail when one of many files has no owner.
///
/// # Errors
/// Why there is no answer.
pub(in super::super::super) fn run(program: &str, words: &[OsString], within: Duration) -> Result<Vec<u8>, String> {
    let path = find(program).ok_or("not on this system")?;
    if within.is_zero() {
        return Err("no time was left to ask".to_owned());
    }
    let deadline = Instant::now() + within;
    let mut child = Command::new(path)
        .args(words)
        .env("LC_ALL", "C")
        .env("SYSTEMD_COLORS", "0")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|cause| cause.to_string())?;
    let answer = read(&mut child, deadline);
    // Whoever is done is not hurt by this; whoever is not shall not stay.
    let _ = child.kill();
    let _ = child.wait();
    answer
}

fn find(program: &str) -> Option<PathBuf> {
    FOLDERS.iter().map(|folder| Path::new(folder).join(program)).find(|path| path.is_file())
}

fn read(child: &mut Child, deadline: Instant) -> Result<Vec<u8>, String> {
    let mut pipe = child.stdout.take().ok_or("no standard output")?;
    let mut answer = Vec::new();
    let mut chunk = vec![0; 64 << 10];
    loop {
        wait(&pipe, deadline)?;
        let count = pipe.read(&mut chunk).map_err(|cause| cause.to_string())?;
        if count == 0 {
            break;
        }
        answer.extend_from_slice(&chunk[..count]);
        if answer.len() > ANSWER_BYTES_MAX {
            return Err("its answer is too long".to_owned());
        }
    }
    // A program may close its output a moment before it ends. Old kernels have no such handle; then it is not waited for.
    let ended = i32::try_from(child.id()).ok().and_then(Pid::from_raw).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
    if let Some(ended) = ended {
        wait(&ended, deadline)?;
    }
    Ok(answer)
}

fn wait(file: &impl std::os::fd::AsFd, deadline: Instant) -> Result<(), String> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).map_err(|_| "no such time limit")?;
        match poll(&mut [PollFd::new(file, PollFlags::IN)], Some(&left)) {
            Ok(0) => return Err("no answer in time".to_owned()),
            Ok(_) => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            Err(cause) => return Err(cause.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn words_reach_a_program_as_they_are() {
        let words = ["%s|", "$(reboot)", "a b", "*", "\u{1b}[2J"].map(OsString::from);
        assert_eq!(run("printf", &words, Duration::from_secs(20)).unwrap(), "$(reboot)|a b|*|\u{1b}[2J|".as_bytes());
    }

    #[test]
    fn a_program_that_says_nothing_is_stopped_at_its_time() {
        let started = Instant::now();
        let answer = run("sleep", &["60".into()], Duration::from_millis(50));
        assert_eq!(answer.unwrap_err(), "no answer in time");
        assert!(started.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn a_program_without_end_is_stopped_at_its_limit() {
        assert_eq!(run("yes", &[], Duration::from_secs(60)).unwrap_err(), "its answer is too long");
    }

    #[test]
    fn a_program_that_is_not_here_is_said_to_be_so() {
        assert_eq!(run("no-such-program-here", &[], Duration::from_secs(1)).unwrap_err(), "not on this system");
    }
}
