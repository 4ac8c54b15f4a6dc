//! What depends on the operating system: who may touch the data directory, its lock, and room kept for a full disk. Linux.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, FlockOperation, Mode, OFlags, Stat};
use rustix::io::Errno;
use triquest_allocator::{Index, Lineage};

use crate::{JournalError, JournalErrorKind};

/// Bytes kept on the disk so that `Recovered` and releases can be written when it is full.
pub const RESERVE_BYTES: u64 = 16 * 1024 * 1024;
/// Name of the lock file.
pub const LOCK_FILE: &str = "lock";
/// Name of the reserve file.
pub const RESERVE_FILE: &str = "reserve";

/// A data directory that was looked at: not a symbolic link, ours, closed to others, on a local file system.
#[derive(Debug)]
pub(crate) struct DataDir {
    /// For messages, as the administrator gave it.
    pub(crate) path: PathBuf,
    /// The same without symbolic links, which SQLite refuses.
    pub(crate) canonical: PathBuf,
    dir: File,
}

/// Turns an error of the system into one for the administrator.
pub(crate) fn fault(path: &Path, doing: &str, errno: Errno) -> JournalError {
    let message = format!("{}: cannot {doing}: {errno}", path.display());
    let (kind, hint) = match errno {
        Errno::NOSPC | Errno::DQUOT | Errno::FBIG => {
            (JournalErrorKind::Full, "make room on this file system (or raise the quota), then start again")
        }
        Errno::ROFS => (
            JournalErrorKind::ReadOnly,
            "the file system is mounted read-only: look at `dmesg` for disk errors, mount it writable, start again",
        ),
        Errno::ACCESS | Errno::PERM => {
            (JournalErrorKind::ReadOnly, "run as the user who owns the data directory, or give it to the server's user with `chown -R`")
        }
        Errno::NOENT | Errno::NOTDIR => (JournalErrorKind::Missing, "check the path, and that the volume is mounted"),
        Errno::LOOP => (JournalErrorKind::System, "it is a symbolic link, which is not followed here: name the real place"),
        _ => (JournalErrorKind::System, "look at `dmesg` for disk errors"),
    };
    JournalError::new(kind, message, hint)
}

fn errno(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

/// The name of a network file system by its magic number. Locks and fsync do not mean the same there, so two servers could run on one journal.
pub(crate) fn network_filesystem(magic: u64) -> Option<&'static str> {
    match magic {
        0x0000_6969 => Some("NFS"),
        0x0000_517b => Some("SMB"),
        0xff53_4d42 => Some("CIFS"),
        0xfe53_4d42 => Some("SMB2"),
        0x0102_1997 => Some("9p"),
        0x5346_414f | 0x6b41_4653 => Some("AFS"),
        0x00c3_6400 => Some("Ceph"),
        0x7375_7245 => Some("Coda"),
        0x0bd0_0bd0 => Some("Lustre"),
        0x1983_0326 => Some("BeeGFS"),
        0x4750_4653 => Some("GPFS"),
        _ => None,
    }
}

/// Permission bits of group and others on a file.
const FILE_OTHERS: u32 = 0o077;
/// The same on the directory, where a group may pass through to the socket for administration.
const DIR_OTHERS: u32 = 0o067;

impl DataDir {
    /// Looks at the directory, which is made (0700) if `create`.
    pub(crate) fn open(path: &Path, create: bool) -> Result<Self, JournalError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = match rustix::fs::open(path, flags, Mode::empty()) {
            Err(Errno::NOENT) if create => {
                use std::os::unix::fs::DirBuilderExt;
                std::fs::DirBuilder::new()
                    .recursive(true)
                    .mode(0o700)
                    .create(path)
                    .map_err(|error| fault(path, "make the data directory", errno(&error)))?;
                rustix::fs::open(path, flags, Mode::empty())
            }
            opened => opened,
        };
        let dir = fd.map_err(|errno| match errno {
            Errno::NOTDIR | Errno::LOOP if path.is_symlink() => JournalError::new(
                JournalErrorKind::System,
                format!("{} is a symbolic link; whoever can change it could swap the journal", path.display()),
                "name the real directory",
            ),
            errno => fault(path, "open the data directory", errno),
        })?;
        let dir = File::from(dir);
        let stat = rustix::fs::fstat(&dir).map_err(|errno| fault(path, "look at the data directory", errno))?;
        ours(path, &stat)?;
        let kind = rustix::fs::fstatfs(&dir).map_err(|errno| fault(path, "look at the file system of", errno))?;
        #[allow(clippy::unnecessary_cast, reason = "its type differs by architecture")]
        if let Some(name) = network_filesystem(kind.f_type as u64 & 0xffff_ffff) {
            return Err(JournalError::new(
                JournalErrorKind::System,
                format!("{} lies on a network file system ({name}), where a lock does not keep a second server out", path.display()),
                "put the data directory on a local disk; to move seats to another machine, use `triquest-lm journal backup` and `restore`",
            ));
        }
        if stat.st_mode & DIR_OTHERS != 0 {
            if first_name(path)?.is_some() {
                return Err(JournalError::new(
                    JournalErrorKind::ReadOnly,
                    format!("{} is open to other users (mode {:04o})", path.display(), stat.st_mode & 0o7777),
                    format!("look whether anyone has read the keys in it, then `chmod 700 {}`", path.display()),
                ));
            }
            rustix::fs::fchmod(&dir, Mode::RWXU).map_err(|errno| fault(path, "close the data directory to others", errno))?;
        }
        let canonical = std::fs::canonicalize(path).map_err(|error| fault(path, "find the real path of", errno(&error)))?;
        Ok(Self { path: path.to_owned(), canonical, dir })
    }

    /// Makes names durable.
    pub(crate) fn sync(&self) -> Result<(), JournalError> {
        rustix::fs::fsync(&self.dir).map_err(|errno| fault(&self.path, "sync", errno))
    }

    /// Makes a new file, 0600, never over or through anything that is there.
    pub(crate) fn create(&self, name: &str) -> Result<File, JournalError> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(&self.dir, name, flags, Mode::RUSR | Mode::WUSR)
            .map(File::from)
            .map_err(|errno| fault(&self.path.join(name), "make this file", errno))
    }

    /// Looks whether a file is there; a link, a stranger's file or one that others can read is an error.
    pub(crate) fn file(&self, name: &str) -> Result<Option<Stat>, JournalError> {
        let path = self.path.join(name);
        match rustix::fs::statat(&self.dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(fault(&path, "look at this file", errno)),
            Ok(stat) => {
                if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
                    return Err(JournalError::new(
                        JournalErrorKind::System,
                        format!("{} is not a plain file", path.display()),
                        "put the file itself there, no link",
                    ));
                }
                ours(&path, &stat)?;
                if stat.st_mode & FILE_OTHERS != 0 {
                    return Err(JournalError::new(
                        JournalErrorKind::ReadOnly,
                        format!("{} is open to other users (mode {:04o})", path.display(), stat.st_mode & 0o7777),
                        format!("`chmod 600 {}`", path.display()),
                    ));
                }
                Ok(Some(stat))
            }
        }
    }

    /// Removes a file; one that is not there is fine.
    pub(crate) fn remove(&self, name: &str) -> Result<bool, JournalError> {
        match rustix::fs::unlinkat(&self.dir, name, AtFlags::empty()) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(fault(&self.path.join(name), "remove this file", errno)),
        }
    }

    /// Gives a finished file its name.
    pub(crate) fn rename(&self, from: &str, to: &str) -> Result<(), JournalError> {
        rustix::fs::renameat(&self.dir, from, &self.dir, to).map_err(|errno| fault(&self.path.join(to), "name this file", errno))?;
        self.sync()
    }

    /// Keeps room on the disk. False if there is not enough.
    pub(crate) fn reserve(&self) -> Result<bool, JournalError> {
        if self.file(RESERVE_FILE)?.is_some_and(|stat| stat.st_size.cast_unsigned() >= RESERVE_BYTES) {
            return Ok(true);
        }
        self.remove(RESERVE_FILE)?;
        let mut file = match self.create(RESERVE_FILE) {
            Ok(file) => file,
            // There is room for bytes perhaps, but for no file.
            Err(error) if error.kind == JournalErrorKind::Full => return Ok(false),
            Err(error) => return Err(error),
        };
        // fallocate(2) takes the blocks; where a file system has no such thing, zeros are written.
        let taken = match rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, RESERVE_BYTES) {
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
                let zeros = vec![0; 1024 * 1024];
                (0..RESERVE_BYTES / zeros.len() as u64).try_for_each(|_| file.write_all(&zeros)).map_err(|error| errno(&error))
            }
            taken => taken,
        };
        match taken.and_then(|()| rustix::fs::fsync(&file)) {
            Ok(()) => self.sync().map(|()| true),
            Err(Errno::NOSPC | Errno::DQUOT | Errno::FBIG) => {
                self.remove(RESERVE_FILE)?;
                Ok(false)
            }
            Err(errno) => Err(fault(&self.path.join(RESERVE_FILE), "keep room in reserve", errno)),
        }
    }

    /// Bytes that this user can still write on the file system, as far as it knows: it may know nothing of a quota.
    pub(crate) fn available_bytes(&self) -> Result<u64, JournalError> {
        let said = rustix::fs::fstatvfs(&self.dir).map_err(|errno| fault(&self.path, "ask how much room there is in", errno))?;
        Ok(said.f_bavail.saturating_mul(said.f_frsize))
    }

    /// The size of a file; 0 if it is not there.
    pub(crate) fn size_of(&self, name: &str) -> Result<u64, JournalError> {
        match rustix::fs::statat(&self.dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(stat.st_size.unsigned_abs()),
            Err(Errno::NOENT) => Ok(0),
            Err(errno) => Err(fault(&self.path.join(name), "look at this file", errno)),
        }
    }

    /// True if so little room is left that a write of a few pages fails.
    pub(crate) fn is_full(&self) -> bool {
        const PROBE: &str = "probe";
        let full = |errno: Errno| matches!(errno, Errno::NOSPC | Errno::DQUOT | Errno::FBIG);
        if self.remove(PROBE).is_err() {
            return false;
        }
        let probed = self
            .create(PROBE)
            .map_err(|error| error.kind == JournalErrorKind::Full)
            .and_then(|mut file| file.write_all(&[0x5a; 64 * 1024]).and_then(|()| file.sync_data()).map_err(|error| full(errno(&error))));
        let _ = self.remove(PROBE);
        probed == Err(true)
    }
}

/// What is in a directory, if anything: the top of a volume is empty although it has `lost+found`.
pub(crate) fn first_name(path: &Path) -> Result<Option<String>, JournalError> {
    let list = |error: std::io::Error| fault(path, "list it", errno(&error));
    for name in std::fs::read_dir(path).map_err(list)? {
        let name = name.map_err(list)?.file_name();
        if name != "lost+found" {
            return Ok(Some(name.to_string_lossy().into_owned()));
        }
    }
    Ok(None)
}

fn ours(path: &Path, stat: &Stat) -> Result<(), JournalError> {
    let me = rustix::process::geteuid().as_raw();
    if stat.st_uid == me {
        return Ok(());
    }
    Err(JournalError::new(
        JournalErrorKind::ReadOnly,
        format!("{} belongs to user {}, not to user {me} who runs this", path.display(), stat.st_uid),
        "run as its owner, or give it away with `chown -R`",
    ))
}

/// The lock of a data directory, held for life, and the mark in it: how far the journal had come when it was last heard of.
///
/// The mark is written after each append and not synced, so it is never ahead of what was durable. Before a new journal has its name the old mark is
/// forgotten, and that is synced. A journal that ends before its mark has lost
/// acknowledged entries: SQLite drops a damaged end of its write-ahead log without a word.
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
    path: PathBuf,
}

/// What the mark says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) lineage: Lineage,
    pub(crate) index: Index,
}

impl Lock {
    /// Takes the lock or says who has it.
    pub(crate) fn take(dir: &DataDir) -> Result<Self, JournalError> {
        let path = dir.path.join(LOCK_FILE);
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&dir.dir, LOCK_FILE, flags, Mode::RUSR | Mode::WUSR)
            .map(File::from)
            .map_err(|errno| fault(&path, "open the lock", errno))?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { file, path }),
            Err(Errno::WOULDBLOCK) => {
                let holder =
                    read_line(&file).and_then(|line| line.rsplit_once("pid ").map(|(_, pid)| pid.trim_start_matches('0').to_owned()));
                let holder = holder.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"));
                Err(JournalError::new(
                    JournalErrorKind::Locked,
                    format!("{} is in use by {holder}", dir.path.display()),
                    "one data directory serves one server: stop the other, or choose another directory with `--data`",
                ))
            }
            Err(errno) => Err(fault(&path, "lock", errno)),
        }
    }

    /// The mark of the last server that ran here; none in a new directory, or if it is not readable.
    pub(crate) fn mark(&self) -> Option<Mark> {
        parse_mark(&read_line(&self.file)?)
    }

    /// Marks how far the journal has come.
    pub(crate) fn set_mark(&self, mark: Mark) -> Result<(), JournalError> {
        let mut line = [0; LINE_BYTES];
        let mut rest = &mut line[..];
        writeln!(rest, "head {:020} lineage {} pid {:010}", mark.index.0, mark.lineage, std::process::id())
            .expect("a line has room for its parts");
        self.file.write_all_at(&line, 0).map_err(|error| fault(&self.path, "mark the journal's end", errno(&error)))
    }

    /// Forgets the mark of whatever ran here before, for good: a new journal follows, and no loss of power may bring the mark of another one back to it.
    pub(crate) fn forget_mark(&self) -> Result<(), JournalError> {
        const NO_MARK: &str = "no journal yet";
        let line = format!("{NO_MARK:<width$}pid {:010}\n", std::process::id(), width = LINE_BYTES - 15);
        self.file
            .write_all_at(line.as_bytes(), 0)
            .and_then(|()| self.file.sync_all())
            .map_err(|error| fault(&self.path, "forget the mark of an earlier journal", errno(&error)))
    }
}

impl Drop for Lock {
    /// Closing alone would do, if no child process had the file for the moment between its fork and its exec: until then the lock would stand.
    fn drop(&mut self) {
        let _ = rustix::fs::flock(&self.file, FlockOperation::Unlock);
    }
}

/// Reads the mark of a directory without taking its lock.
pub(crate) fn read_mark(dir: &Path) -> Option<Mark> {
    let fd = rustix::fs::open(dir.join(LOCK_FILE), OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()).ok()?;
    parse_mark(&read_line(&File::from(fd))?)
}

const LINE_BYTES: usize = 5 + 20 + 9 + 32 + 5 + 10 + 1;

fn read_line(file: &File) -> Option<String> {
    let mut line = Vec::new();
    let mut file = file;
    file.seek(SeekFrom::Start(0)).ok()?;
    file.take(LINE_BYTES as u64).read_to_end(&mut line).ok()?;
    Some(String::from_utf8(line).ok()?.trim_end().to_owned())
}

fn parse_mark(line: &str) -> Option<Mark> {
    let mut words = line.split(' ');
    let mut after = |word: &str| words.next().filter(|found| *found == word).and_then(|_| words.next());
    let index = after("head")?.parse().ok()?;
    let hex = after("lineage")?;
    let mut lineage = [0; 16];
    if hex.len() != 32 || !hex.is_ascii() {
        return None;
    }
    for (at, byte) in lineage.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(Mark { lineage: Lineage(lineage), index: Index(index) })
}

/// 16 bytes from the system's generator.
pub(crate) fn random_lineage() -> Result<Lineage, JournalError> {
    let mut bytes = [0; 16];
    let mut filled = 0;
    while filled < bytes.len() {
        match rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty()) {
            Ok(count) => filled += count,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(fault(Path::new("getrandom"), "get random bytes", errno)),
        }
    }
    Ok(Lineage(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_file_systems_are_known_by_their_numbers() {
        assert_eq!(network_filesystem(0x6969), Some("NFS"));
        assert_eq!(network_filesystem(0xff53_4d42), Some("CIFS"));
        assert_eq!(network_filesystem(0xef53), None, "ext4");
        assert_eq!(network_filesystem(0x794c_7630), None, "overlayfs of containers");
    }

    #[test]
    fn a_mark_reads_back_and_garbage_is_no_mark() {
        let mark = Mark { lineage: Lineage([0xab; 16]), index: Index(812) };
        let line = format!("head {:020} lineage {} pid {:010}", mark.index.0, mark.lineage, 7);
        assert_eq!(line.len() + 1, LINE_BYTES);
        assert_eq!(parse_mark(&line), Some(mark));
        for garbage in [
            "",
            "no journal yet      pid 0000000007",
            "head",
            "head x",
            "head 1 lineage zz",
            "head 1 lineage \u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}",
        ] {
            assert_eq!(parse_mark(garbage), None, "{garbage}");
        }
    }
}
