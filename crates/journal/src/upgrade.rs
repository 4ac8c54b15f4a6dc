//! A new version of the server keeps the way back open: before its first entry it makes a backup of what the version before has left.
//!
//! Until a record of a new kind is written, going back needs nothing but the older program. From that record on (it follows
//! [`triquest_allocator::Event::FormatRaised`], with the words that it takes to read it) an older program refuses the journal and names the backup.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::sys::DataDir;
use crate::{History, JournalError, JournalErrorKind, SqliteJournal, backup};

/// Where they are, in the data directory.
const BACKUPS_DIR: &str = "backups";
/// Backups of this kind that are kept; those that an administrator makes are not counted.
pub const UPGRADE_BACKUPS_MAX: usize = 3;
/// What a refusal of newer bytes advises where no data directory is known.
pub(crate) const HOW_BACK: &str = "start the version that wrote it, or a newer one; or go back to what was before: the newer version made a backup at its first start, `backups/upgrade-from-...` in the data directory, and `triquest-lm journal restore BACKUP NEW-DIRECTORY` brings it back";

/// Makes a backup if another version has written this journal last, and notes that `version` writes it from now on. Before the first entry of a start.
///
/// What an earlier start did not finish of such a backup is removed: this one holds the lock of the data directory, so nobody else writes it.
///
/// The backup's path, if one was made. Where an error is [`JournalErrorKind::Full`] nothing was noted, and the next start tries again.
///
/// # Errors
/// Why there is no backup.
pub fn prepare(journal: &mut SqliteJournal, version: &str) -> Result<Option<PathBuf>, JournalError> {
    let dir = journal.directory().join(BACKUPS_DIR);
    remove_unfinished(&dir);
    let before = journal.version()?;
    if before.as_deref() == Some(version) {
        return Ok(None);
    }
    let index = journal.head().index;
    if index.0 == 0 {
        journal.set_version(version)?;
        return Ok(None);
    }
    if !journal.has_room_for_a_copy()? {
        return Err(JournalError::new(
            JournalErrorKind::Full,
            format!("there is no room in {} for a backup of what the version before has written", dir.display()),
            "make room and start again; or make a backup elsewhere with `triquest-lm journal backup FILE`",
        ));
    }
    DataDir::open(&dir, true).map_err(|error| if dir.is_symlink() { linked(&dir) } else { error })?;
    let from = plain(before.as_deref().unwrap_or("unknown"));
    let path = (1..1_000)
        .map(|number: u32| dir.join(format!("{}{}-{number}.sqlite", prefix(&from), index.0)))
        .find(|path| std::fs::symlink_metadata(path).is_err())
        .ok_or_else(|| JournalError::new(JournalErrorKind::System, format!("{} is full of backups", dir.display()), "remove old ones"))?;
    let data = journal.directory().to_owned();
    backup::backup(journal, Some(&data), &path)?;
    journal.set_version(version)?;
    let kept = made(&data, "upgrade-");
    for (_, old) in kept.iter().take(kept.len().saturating_sub(UPGRADE_BACKUPS_MAX)) {
        // One that cannot be removed is no reason not to start.
        let _ = std::fs::remove_file(old);
    }
    Ok(Some(path))
}

/// How to go back to `version` from a journal that it cannot read: names the backup that was made when `version` was replaced, or else the newest.
#[must_use]
pub fn how_back(data: &Path, version: &str) -> String {
    let newest = made(data, &prefix(&plain(version))).pop().or_else(|| made(data, "upgrade-").pop());
    match newest {
        Some((_, backup)) => format!(
            "start the version that wrote it, or a newer one; or go back to what was before it: `triquest-lm journal restore {} NEW-DIRECTORY`, which waits until seats that were granted since must have ended",
            backup.display()
        ),
        None => HOW_BACK.to_owned(),
    }
}

/// The place of these backups is fixed, so there is no other that could be named.
fn linked(dir: &Path) -> JournalError {
    let shown = dir.display();
    JournalError::new(
        JournalErrorKind::System,
        format!("{shown} is a symbolic link; whoever can change it could read the backups, which hold the server's key"),
        format!(
            "remove the link and start again, which makes the directory; to keep backups on another disk of this machine, `mount --bind` a directory of \
             the server's user with mode 0700 at {shown}"
        ),
    )
}

/// Removes what a start that was killed has left of a backup.
fn remove_unfinished(dir: &Path) {
    // Nothing is removed through a link.
    if dir.is_symlink() {
        return;
    }
    let Ok(names) = std::fs::read_dir(dir) else { return };
    for name in names.filter_map(Result::ok) {
        let is_one = |name: &str| name.starts_with(".upgrade-from-") && name.ends_with(".partial");
        if name.file_name().to_str().is_some_and(is_one) {
            // One that cannot be removed is no reason not to start.
            let _ = std::fs::remove_file(name.path());
        }
    }
}

fn prefix(version: &str) -> String {
    format!("upgrade-from-{version}-at-")
}

/// Fit for a file's name.
fn plain(version: &str) -> String {
    version.chars().filter(|letter| letter.is_ascii_alphanumeric() || ".+".contains(*letter)).take(32).collect()
}

/// Those that are there, the oldest first.
fn made(data: &Path, prefix: &str) -> Vec<(SystemTime, PathBuf)> {
    let Ok(names) = std::fs::read_dir(data.join(BACKUPS_DIR)) else { return Vec::new() };
    let mut made: Vec<_> = names
        .filter_map(Result::ok)
        .filter(|name| name.file_name().to_str().is_some_and(|name| name.starts_with(prefix) && name.ends_with(".sqlite")))
        .filter_map(|name| Some((name.metadata().ok()?.modified().ok()?, name.path())))
        .collect();
    made.sort();
    made
}
