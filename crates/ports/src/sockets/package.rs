//! Which package a file belongs to, by the word of the system's package manager.

use std::{
    collections::HashMap,
    ffi::OsString,
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::{Package, sys::run};

/// Asks for all files at once where the manager can, within `limit` in all.
pub(super) fn owners(files: &[PathBuf], limit: Duration) -> HashMap<PathBuf, Package> {
    let deadline = Instant::now() + limit;
    let managers = present(Path::new("/"));
    let mut answers = HashMap::new();
    for file in files {
        let plain = file.is_absolute() && !file.as_os_str().as_bytes().iter().any(u8::is_ascii_control);
        let why = if !plain {
            "its path is not one that can be asked for"
        } else if managers.is_empty() {
            "no package manager of a known kind is here"
        } else {
            continue;
        };
        answers.insert(file.clone(), Package::Unknown { why: why.to_owned() });
    }
    for manager in managers {
        // A second manager is asked only about what the first one does not have: rpm on Debian is a tool, not the system's.
        let open: Vec<&PathBuf> =
            files.iter().filter(|file| matches!(answers.get(*file), None | Some(Package::NoPackage { .. }))).collect();
        for (file, answer) in manager.ask(&open, deadline) {
            match (answers.get(&file), &answer) {
                (Some(Package::NoPackage { .. }), Package::NoPackage { .. } | Package::Unknown { .. }) => {}
                _ => {
                    answers.insert(file, answer);
                }
            }
        }
    }
    answers
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PackageManager {
    Apk,
    Dpkg,
    Pacman,
    Rpm,
}

/// Those that have a database here.
fn present(root: &Path) -> Vec<PackageManager> {
    let databases = [
        (PackageManager::Dpkg, "var/lib/dpkg/status"),
        (PackageManager::Rpm, "usr/lib/sysimage/rpm"),
        (PackageManager::Rpm, "var/lib/rpm"),
        (PackageManager::Pacman, "var/lib/pacman/local"),
        (PackageManager::Apk, "lib/apk/db/installed"),
        (PackageManager::Apk, "usr/lib/apk/db/installed"),
    ];
    let mut found = Vec::new();
    for (manager, database) in databases {
        if root.join(database).exists() && !found.contains(&manager) {
            found.push(manager);
        }
    }
    found
}

impl PackageManager {
    fn name(self) -> &'static str {
        match self {
            Self::Apk => "apk",
            Self::Dpkg => "dpkg",
            Self::Pacman => "pacman",
            Self::Rpm => "rpm",
        }
    }

    fn ask(self, files: &[&PathBuf], deadline: Instant) -> Vec<(PathBuf, Package)> {
        if files.is_empty() {
            return Vec::new();
        }
        if self == Self::Dpkg {
            return self.ask_dpkg(files, deadline);
        }
        files.iter().map(|file| ((*file).clone(), self.ask_one(file, deadline))).collect()
    }

    fn ask_dpkg(self, files: &[&PathBuf], deadline: Instant) -> Vec<(PathBuf, Package)> {
        let mut words = vec![OsString::from("-S"), OsString::from("--")];
        words.extend(files.iter().flat_map(|file| with_and_without_usr(file)).map(|file| dpkg_pattern(&file)));
        let answer = run("dpkg-query", &words, left(deadline));
        let found = answer.as_ref().map(|text| parse_dpkg(text)).unwrap_or_default();
        let not_found = match answer {
            Ok(_) => Package::NoPackage { manager: self.name() },
            Err(why) => Package::Unknown { why: format!("dpkg-query: {why}") },
        };
        let answer_for = |file: &Path| {
            let name = with_and_without_usr(file).iter().find_map(|file| found.get(file).cloned());
            name.map_or_else(|| not_found.clone(), |name| Package::Owned { manager: self.name(), name })
        };
        files.iter().map(|file| ((*file).clone(), answer_for(file))).collect()
    }

    fn ask_one(self, file: &Path, deadline: Instant) -> Package {
        let file: OsString = file.into();
        let (program, words) = match self {
            Self::Apk => ("apk", vec!["info".into(), "--who-owns".into(), "--".into(), file]),
            Self::Dpkg => ("dpkg-query", vec!["-S".into(), "--".into(), file]),
            Self::Pacman => ("pacman", vec!["-Qqo".into(), "--".into(), file]),
            Self::Rpm => ("rpm", vec!["-qf".into(), "--queryformat".into(), "%{NAME}\\n".into(), "--".into(), file]),
        };
        match run(program, &words, left(deadline)) {
            Err(why) => Package::Unknown { why: format!("{program}: {why}") },
            Ok(text) => match self.parse_one(&String::from_utf8_lossy(&text)) {
                Some(name) => Package::Owned { manager: self.name(), name },
                None => Package::NoPackage { manager: self.name() },
            },
        }
    }

    /// The package's name in the first line of an answer.
    fn parse_one(self, text: &str) -> Option<String> {
        let line = text.lines().next().filter(|line| !line.is_empty())?;
        match self {
            // `/bin/busybox is owned by busybox-1.36.1-r19`: the version begins at the last but one dash.
            Self::Apk => {
                let (_, package) = line.rsplit_once(" is owned by ")?;
                Some(package.rsplitn(3, '-').nth(2).unwrap_or(package).to_owned())
            }
            Self::Dpkg => line.split_once(": ").map(|(name, _)| name.to_owned()),
            Self::Pacman => (!line.contains(' ')).then(|| line.to_owned()),
            // `file /x is not owned by any package`, in every language more than one word.
            Self::Rpm => (!line.contains(' ')).then(|| line.to_owned()),
        }
    }
}

fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}

/// The file, and where it was before `/usr` was merged or is after it: databases hold either.
fn with_and_without_usr(file: &Path) -> Vec<PathBuf> {
    let moved = |path: &Path| ["bin", "sbin", "lib", "lib32", "lib64"].iter().any(|folder| path.starts_with(folder));
    let mut paths = vec![file.to_owned()];
    if let Ok(inner) = file.strip_prefix("/usr") {
        if moved(inner) {
            paths.push(Path::new("/").join(inner));
        }
    } else if let Ok(inner) = file.strip_prefix("/")
        && moved(inner)
    {
        paths.push(Path::new("/usr").join(inner));
    }
    paths
}

/// dpkg takes what it is asked for as a pattern.
fn dpkg_pattern(file: &Path) -> OsString {
    let mut pattern = Vec::new();
    for byte in file.as_os_str().as_bytes() {
        if matches!(byte, b'*' | b'?' | b'[' | b'\\') {
            pattern.push(b'\\');
        }
        pattern.push(*byte);
    }
    OsString::from_vec(pattern)
}

/// Lines like `libc6:amd64, libc6-x: /lib/x`; the first package is taken. Diversions are no owners.
fn parse_dpkg(text: &[u8]) -> HashMap<PathBuf, String> {
    let mut found = HashMap::new();
    for line in text.split(|byte| *byte == b'\n') {
        let Some(place) = line.windows(3).position(|three| three == b": /") else { continue };
        let packages = String::from_utf8_lossy(&line[..place]);
        let name = packages.split(',').next().unwrap_or_default().split(':').next().unwrap_or_default();
        if name.is_empty() || name.contains(' ') {
            continue;
        }
        let path = PathBuf::from(OsString::from_vec(line[place + 2..].to_vec()));
        found.entry(path).or_insert_with(|| name.to_owned());
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_asked_for_where_it_was_and_where_it_is() {
        let paths = |file: &str| with_and_without_usr(Path::new(file));
        assert_eq!(paths("/usr/bin/x"), [PathBuf::from("/usr/bin/x"), "/bin/x".into()]);
        assert_eq!(paths("/lib64/x"), [PathBuf::from("/lib64/x"), "/usr/lib64/x".into()]);
        assert_eq!(paths("/usr/share/bin/x"), [PathBuf::from("/usr/share/bin/x")]);
        assert_eq!(paths("/opt/x"), [PathBuf::from("/opt/x")]);
    }

    #[test]
    fn a_path_with_glob_characters_means_itself() {
        assert_eq!(dpkg_pattern(Path::new("/opt/a*b?[c]\\d")), OsString::from("/opt/a\\*b\\?\\[c]\\\\d"));
    }

    #[test]
    fn answers_of_dpkg_name_the_first_package_and_never_a_diversion() {
        let found = parse_dpkg(b"coreutils: /bin/sleep\nlibc6:amd64, other: /lib/x: /y\ndiversion by dash from: /bin/sh\nnonsense\n: /z\n");
        assert_eq!(found.get(Path::new("/bin/sleep")).map(String::as_str), Some("coreutils"));
        assert_eq!(found.get(Path::new("/lib/x: /y")).map(String::as_str), Some("libc6"));
        assert_eq!(found.len(), 2);
    }

    #[test]
    fn answers_of_the_other_managers_are_read() {
        assert_eq!(PackageManager::Apk.parse_one("/bin/busybox is owned by busybox-1.36.1-r19\n").as_deref(), Some("busybox"));
        assert_eq!(PackageManager::Rpm.parse_one("openssh-server\n").as_deref(), Some("openssh-server"));
        assert_eq!(PackageManager::Rpm.parse_one("file /x is not owned by any package\n"), None);
        assert_eq!(PackageManager::Pacman.parse_one("openssh\n").as_deref(), Some("openssh"));
        assert_eq!(PackageManager::Pacman.parse_one(""), None);
    }

    #[test]
    fn on_a_system_without_a_known_manager_the_package_is_unknown() {
        assert!(present(Path::new("/nonexistent")).is_empty());
    }
}
