//! `/proc`: which process has which socket, and what it is. A process that ends meanwhile is simply not there any more.

use std::{
    collections::{HashMap, HashSet},
    ffi::OsStr,
    fs,
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{CWD, Dir, Mode, OFlags, openat, readlinkat_raw},
    io::Errno,
};

use super::{
    super::super::{COMMAND_BYTES_MAX, COMMAND_WORDS_MAX, Container, HOLDERS_MAX, Unit, cgroup},
    bounded,
};

/// Bytes that are read of a small file in `/proc`.
const SMALL_BYTES_MAX: u64 = 64 << 10;

/// The numbers of all processes that can be seen, in order.
pub(super) fn all() -> Vec<u32> {
    let mut pids: Vec<u32> =
        fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    pids.sort_unstable();
    pids
}

/// Who has which socket.
#[derive(Debug, Default)]
pub(super) struct Holders {
    /// Processes by the number of the socket, and how many more than are listed.
    pub(super) of: HashMap<u64, (Vec<u32>, usize)>,
    /// Processes whose files this user may not see.
    pub(super) hidden: usize,
    /// Some processes are not even listed: /proc is mounted so (`hidepid=2`, `ProtectProc=invisible`).
    pub(super) unlisted: bool,
}

impl Holders {
    /// Somebody may hold a socket without being seen here.
    pub(super) fn may_hide(&self) -> bool {
        self.hidden > 0 || self.unlisted
    }
}

/// Looks through the open files of all processes for these sockets.
pub(super) fn holders(pids: &[u32], wanted: &HashSet<u64>) -> Holders {
    // Every PID namespace has a first process; where it is not listed, others are not either.
    let mut holders = Holders { unlisted: !pids.contains(&1), ..Holders::default() };
    if wanted.is_empty() {
        return holders;
    }
    for pid in pids {
        // Any other failure is a process that ended meanwhile.
        if let Err(Errno::ACCESS | Errno::PERM) = sockets_of(*pid, wanted, &mut holders.of) {
            holders.hidden += 1;
        }
    }
    holders
}

fn sockets_of(pid: u32, wanted: &HashSet<u64>, of: &mut HashMap<u64, (Vec<u32>, usize)>) -> Result<(), Errno> {
    let folder = openat(CWD, format!("/proc/{pid}/fd"), OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let mut files = Dir::new(folder)?;
    let mut link = [0u8; 64];
    while let Some(file) = files.read() {
        let file = file?;
        let target = match readlinkat_raw(files.fd()?, file.file_name(), &mut link[..]) {
            Ok(target) => target,
            Err(cause @ (Errno::ACCESS | Errno::PERM)) => return Err(cause),
            Err(_) => continue,
        };
        let Some(inode) = socket_inode(&link[..target]) else { continue };
        if !wanted.contains(&inode) {
            continue;
        }
        let (listed, more) = of.entry(inode).or_default();
        if listed.last() == Some(&pid) {
            continue;
        }
        if listed.len() < HOLDERS_MAX {
            listed.push(pid);
        } else {
            *more += 1;
        }
    }
    Ok(())
}

/// `socket:[1216]`
fn socket_inode(target: &[u8]) -> Option<u64> {
    str::from_utf8(target.strip_prefix(b"socket:[")?.strip_suffix(b"]")?).ok()?.parse().ok()
}

/// What `/proc` tells of a process, before names of users and packages.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) name: String,
    pub(super) uid: Option<u32>,
    pub(super) executable: Option<PathBuf>,
    pub(super) deleted: bool,
    pub(super) replaced: Option<bool>,
    /// The executable's path is one of this process' file system too.
    pub(super) same_files: bool,
    pub(super) command: Vec<String>,
    pub(super) command_cut: bool,
    pub(super) since: Option<u64>,
    pub(super) unit: Option<Unit>,
    pub(super) container: Option<Container>,
}

/// Reads a process. `boot` is when the machine started, in seconds since 1970.
pub(super) fn facts(pid: u32, boot: Option<u64>) -> Facts {
    let folder = PathBuf::from(format!("/proc/{pid}"));
    let (unit, container) = control_group(pid);
    let (executable, deleted, replaced) = executable(&folder);
    let (command, command_cut) = command(&folder);
    let mounts = |folder: &Path| fs::read_link(folder.join("ns/mnt")).ok();
    Facts {
        name: text(&folder.join("comm")).map(|text| text.trim_end_matches('\n').to_owned()).unwrap_or_default(),
        uid: text(&folder.join("status")).and_then(|text| effective_user(&text)),
        executable,
        deleted,
        replaced,
        same_files: mounts(&folder).is_some_and(|theirs| mounts(Path::new("/proc/self")) == Some(theirs)),
        command,
        command_cut,
        since: text(&folder.join("stat")).zip(boot).and_then(|(text, boot)| since(&text, boot)),
        unit,
        container,
    }
}

/// The unit and the container of a process.
pub(super) fn control_group(pid: u32) -> (Option<Unit>, Option<Container>) {
    text(&PathBuf::from(format!("/proc/{pid}/cgroup"))).map_or((None, None), |text| cgroup::read(&text))
}

/// When the machine started, in seconds since 1970, as `/proc/stat` has it.
pub(super) fn boot_time() -> Option<u64> {
    let text = bounded("/proc/stat".as_ref(), 4 << 20).ok()?;
    text.split(|byte| *byte == b'\n').find_map(|line| str::from_utf8(line.strip_prefix(b"btime ")?).ok()?.trim().parse().ok())
}

/// The path of the file that runs, whether it is gone from there, and whether another one is there now: in the process's own file system.
fn executable(folder: &Path) -> (Option<PathBuf>, bool, Option<bool>) {
    const DELETED: &[u8] = b" (deleted)";
    let Ok(path) = fs::read_link(folder.join("exe")) else { return (None, false, None) };
    let inside = |path: &Path| folder.join("root").join(path.strip_prefix("/").unwrap_or(path));
    let is_there = |path: &Path| match fs::symlink_metadata(inside(path)) {
        Ok(_) => Some(true),
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => Some(false),
        Err(_) => None,
    };
    match path.as_os_str().as_bytes().strip_suffix(DELETED) {
        // A file may have such a name.
        Some(bare) if is_there(&path) != Some(true) => {
            let bare = PathBuf::from(OsStr::from_bytes(bare));
            let replaced = is_there(&bare);
            (Some(bare), true, replaced)
        }
        _ => (Some(path), false, None),
    }
}

fn command(folder: &Path) -> (Vec<String>, bool) {
    let line = bounded(&folder.join("cmdline"), COMMAND_BYTES_MAX).unwrap_or_default();
    let mut cut = line.len() as u64 >= COMMAND_BYTES_MAX;
    let line = line.strip_suffix(b"\0").unwrap_or(&line);
    let mut words: Vec<String> = if line.is_empty() {
        Vec::new()
    } else {
        line.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect()
    };
    cut |= words.len() > COMMAND_WORDS_MAX;
    words.truncate(COMMAND_WORDS_MAX);
    (words, cut)
}

/// The second number of `Uid:` in `/proc/PID/status`.
fn effective_user(status: &str) -> Option<u32> {
    status.lines().find_map(|line| line.strip_prefix("Uid:"))?.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// Field 22 of `/proc/PID/stat` counts the clock's ticks from the machine's start. The name in parentheses may hold anything.
fn since(stat: &str, boot: u64) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let ticks: u64 = rest.split_ascii_whitespace().nth(19)?.parse().ok()?;
    boot.checked_add(ticks.checked_div(rustix::param::clock_ticks_per_second())?)
}

fn text(path: &Path) -> Option<String> {
    bounded(path, SMALL_BYTES_MAX).ok().map(lossy)
}

fn lossy(bytes: Vec<u8>) -> String {
    std::ffi::OsString::from_vec(bytes).to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_name_full_of_parentheses_and_spaces_does_not_shift_the_start_time() {
        let tail = "S 1 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 500 1 2 3";
        let ticks = rustix::param::clock_ticks_per_second();
        assert_eq!(since(&format!("7 (a) b 9 (x)) {tail}"), 1_000), Some(1_000 + 500 / ticks));
        assert_eq!(since("7 (a", 1_000), None);
        assert_eq!(since("7 (a) S 1", 1_000), None);
    }

    #[test]
    fn the_rights_of_a_process_are_its_effective_user() {
        assert_eq!(effective_user("Name:\tx\nUid:\t1000\t0\t0\t0\nGid:\t1\t1\t1\t1\n"), Some(0));
        assert_eq!(effective_user("Name:\tx\n"), None);
    }

    proptest! {
        #[test]
        fn no_text_of_a_process_panics(text in "\\PC{0,200}") {
            let _ = since(&text, u64::MAX);
            let _ = effective_user(&text);
            let _ = socket_inode(text.as_bytes());
        }
    }
}
