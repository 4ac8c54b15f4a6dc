//! A folder of license files, read at start and at reload. What appears is installed; a file that vanishes removes nothing, because a share
//! that is not mounted must not take seats from anybody.

use std::{
    fs,
    io::Read,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use triquest_allocator::Actor;
use triquest_license::limits::INPUT_BYTES_MAX;
use triquest_wire::{license::InstallOutcome, limits::FOLDER_FILES_MAX};

use crate::{config::Fault, http::App, sys};

/// What license files end with.
pub const EXTENSIONS: [&str; 2] = ["lic", "tql"];

/// What became of a reading of the folder, for log and terminal: one line for each file that changed something or was refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// What was installed.
    pub installed: Vec<String>,
    /// What deserves a look in what was installed, as the command would say it.
    pub warnings: Vec<String>,
    /// What was refused, with the reason.
    pub refused: Vec<String>,
}

/// The license files of a folder in order of name; none if there is no folder and it need not exist.
///
/// # Errors
/// A folder that others may write, or one that cannot be read.
pub fn files(folder: &Path, must_exist: bool) -> Result<Vec<PathBuf>, Fault> {
    let meta = match fs::metadata(folder) {
        Ok(meta) => meta,
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound && !must_exist => return Ok(Vec::new()),
        Err(cause) => {
            return Err(Fault::new(
                format!("cannot read the folder of licenses {}: {cause}", folder.display()),
                "make it, or take `licenses` out of the configuration",
            ));
        }
    };
    if !meta.is_dir() {
        return Err(Fault::new(
            format!("licenses = {}: that is no folder", folder.display()),
            "name a folder; single files are installed with `triquest-lm license install FILE`",
        ));
    }
    if meta.mode() & 0o002 != 0 {
        return Err(Fault::new(
            format!("everybody may write the folder of licenses {} (mode {:04o})", folder.display(), meta.mode() & 0o777),
            format!("chmod o-w {}", folder.display()),
        ));
    }
    if ![0, sys::user_id()].contains(&meta.uid()) {
        return Err(Fault::new(
            format!("the folder of licenses {} belongs to user {}", folder.display(), sys::user_name(meta.uid())),
            "it must belong to root or to the server's user",
        ));
    }
    let cannot = |cause: std::io::Error| Fault::new(format!("cannot read the folder of licenses {}: {cause}", folder.display()), "");
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(cannot)? {
        let path = entry.map_err(cannot)?.path();
        if path.extension().and_then(|extension| extension.to_str()).is_some_and(|extension| EXTENSIONS.contains(&extension)) {
            files.push(path);
        }
        if files.len() > FOLDER_FILES_MAX {
            return Err(Fault::new(
                format!("{} holds more than {FOLDER_FILES_MAX} license files", folder.display()),
                "keep only those in use",
            ));
        }
    }
    files.sort();
    Ok(files)
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    // No pipe or device may hold the server up.
    let file =
        fs::OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC).open(path).map_err(|cause| cause.to_string())?;
    if !file.metadata().map_err(|cause| cause.to_string())?.is_file() {
        return Err("no plain file".to_owned());
    }
    let mut bytes = Vec::new();
    file.take(INPUT_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map_err(|cause| cause.to_string())?;
    Ok(bytes)
}

/// The longest `ttl_max` among the folder's licenses, in milliseconds; 0 if there is none that can be read. Signatures are not looked at: this
/// only lengthens the time for which a restored server grants nothing.
pub async fn longest_ttl_max_ms(folder: &Path) -> u64 {
    let folder = folder.to_owned();
    let longest = move || {
        let files = files(&folder, false).unwrap_or_default();
        let terms = files.iter().filter_map(|file| {
            let note = triquest_license::read_any(&read(file).ok()?).ok()?;
            triquest_license::LicenseTerms::parse(note.text()).ok()
        });
        terms.flat_map(|terms| terms.entitlements).map(|right| right.ttl_max.ms()).max().unwrap_or(0)
    };
    tokio::task::spawn_blocking(longest).await.unwrap_or(0)
}

/// The files of the folder that hold this text, and so install it again at the next reading.
pub async fn holding(folder: &Path, license: [u8; 32]) -> Vec<String> {
    let folder = folder.to_owned();
    let holding = move || {
        let files = files(&folder, false).unwrap_or_default().into_iter();
        let is_it = |file: &PathBuf| {
            let note = read(file).ok().and_then(|bytes| triquest_license::read_any(&bytes).ok());
            note.is_some_and(|note| *triquest_license::LicenseHash::of_text(note.text()).as_bytes() == license)
        };
        files.filter(is_it).map(|file| sys::visible(&file.display().to_string())).collect()
    };
    tokio::task::spawn_blocking(holding).await.unwrap_or_default()
}

/// Installs what the folder holds. A file that is refused does not keep the others out.
///
/// # Errors
/// As [`files`].
pub async fn install(app: &App, folder: &Path, must_exist: bool) -> Result<Report, Fault> {
    let folder = folder.to_owned();
    let read_all = move || files(&folder, must_exist).map(|files| files.into_iter().map(|file| (read(&file), file)).collect::<Vec<_>>());
    let inputs = tokio::task::spawn_blocking(read_all).await.map_err(|_| Fault::new("reading the folder of licenses failed", ""))??;
    let mut report = Report::default();
    for (input, file) in inputs {
        let name = sys::visible(&file.display().to_string());
        let actor = Actor {
            name: "folder".to_owned(),
            reason: file.file_name().map(|name| sys::visible(&name.to_string_lossy())).unwrap_or_default(),
        };
        let outcome = match input {
            Ok(bytes) => {
                crate::http::install_bytes(app, &bytes, actor).await.map_err(|problem| format!("{}: {}", problem.title, problem.detail))
            }
            Err(cause) => Err(cause),
        };
        match outcome {
            Ok(answer) if matches!(answer.outcome, InstallOutcome::AlreadyInstalled | InstallOutcome::Replaced) => {}
            Ok(answer) => {
                let waiting = if answer.outcome == InstallOutcome::Waiting { ", waiting for its first day" } else { "" };
                let ends = if answer.ending == 0 { String::new() } else { format!(", by which {} leases end", answer.ending) };
                report.installed.push(format!("{name}: installed {}{waiting}{ends}", answer.license));
                report.warnings.extend(answer.notices.iter().map(|notice| format!("{name}: {}", sys::visible(notice))));
            }
            Err(why) => report.refused.push(format!("{name}: {why}")),
        }
    }
    Ok(report)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn only_license_files_of_a_folder_that_nobody_else_may_write_are_read() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b.lic", "a.lic", "notes.txt", "c.tql"] {
            fs::write(dir.path().join(name), "x").unwrap();
        }
        let names: Vec<_> =
            files(dir.path(), true).unwrap().iter().map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect();
        assert_eq!(names, ["a.lic", "b.lic", "c.tql"]);
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
        assert!(files(dir.path(), true).unwrap_err().message.contains("everybody may write"));
    }

    #[test]
    fn a_folder_that_is_not_there_is_an_error_only_if_it_was_named() {
        assert_eq!(files(Path::new("/no/such/folder"), false).unwrap(), Vec::<PathBuf>::new());
        assert!(files(Path::new("/no/such/folder"), true).is_err());
        assert!(files(Path::new("/etc/passwd"), true).unwrap_err().message.contains("no folder"));
    }
}
