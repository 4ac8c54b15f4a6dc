//! Where an updated registry is kept, and which one is in use.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::error::RegistryError;
use super::limits::ENCODED_BYTES_MAX;
use super::table::{Header, Registry};

/// The name of the file.
const FILE: &str = "triquest-lm/ports.registry";
/// Where the machine's table is kept, below which [`FILE`] lies.
const SYSTEM: &str = "/usr/local/share";
/// What is below the home folder where `XDG_DATA_HOME` is not set (XDG Base Directory Specification).
const USER: &str = ".local/share";

/// Where tables are kept. Tests name a folder of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// The machine's, which root writes.
    pub system: PathBuf,
    /// The user's; none without a home.
    pub user: Option<PathBuf>,
}

impl Places {
    /// The usual places, by the values of `HOME` and `XDG_DATA_HOME`; values that are no absolute paths do not count.
    pub fn usual(home: Option<&Path>, data_home: Option<&Path>) -> Self {
        let data_home = data_home.filter(|path| path.is_absolute()).map(Path::to_owned);
        let home = home.filter(|path| path.is_absolute()).map(|path| path.join(USER));
        Self { system: Path::new(SYSTEM).join(FILE), user: data_home.or(home).map(|folder| folder.join(FILE)) }
    }
}

/// Why a table was not kept.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file cannot be written.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file or its folder.
        path: PathBuf,
        /// Why not.
        #[source]
        error: io::Error,
    },
    /// [`RegistryError::Older`] than the one that is built in.
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

/// What to do with a table that is older than the one built in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Older {
    /// Keep it and use it, because an administrator asked for it.
    Accept,
    /// Do not keep it.
    Refuse,
}

/// Keeps `registry` in `path`, whole or not at all, readable by all (0644).
///
/// # Errors
/// [`RegistryError::Older`] under [`Older::Refuse`], otherwise what the file system says.
pub fn store(registry: &Registry, path: &Path, older: Older) -> Result<(), StoreError> {
    let known = Registry::embedded().updated();
    let mut registry = registry.clone();
    if registry.updated() < known {
        match older {
            Older::Accept => registry = registry.although_older(),
            Older::Refuse => return Err(RegistryError::Older { updated: registry.updated(), known }.into()),
        }
    }
    let folder = path.parent().unwrap_or(Path::new("."));
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |error| StoreError::Io { path, error }
    };
    fs::create_dir_all(folder).map_err(failed(folder))?;
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let new = PathBuf::from(name);
    // What a process of this number left behind when it was killed.
    let _ = fs::remove_file(&new);
    let written = write(&new, &registry.encode()).and_then(|()| fs::rename(&new, path));
    if written.is_err() {
        // Best effort: the error that counts is the first.
        let _ = fs::remove_file(&new);
    }
    written.map_err(failed(path))
}

/// The registry in use.
#[derive(Clone, Debug)]
pub struct Current {
    /// It.
    pub registry: Registry,
    /// Where it came from.
    pub from: FoundIn,
    /// Kept tables that could not be used, to be told to the user.
    pub unusable: Vec<Unusable>,
}

/// Where a registry came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FoundIn {
    /// Built into the program.
    Embedded,
    /// The machine's file.
    System(PathBuf),
    /// The user's file.
    User(PathBuf),
}

/// A kept table that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unusable {
    /// Its file.
    pub path: PathBuf,
    /// Why not.
    pub reason: String,
}

/// The newest of the user's table, the machine's and the one built in; of equal age the first of these. A table that was kept although it is older
/// ([`Older::Accept`]) goes before all. A file that cannot be read or is damaged is passed over and told.
pub fn current(places: &Places) -> Current {
    let mut unusable = Vec::new();
    let mut kept = Vec::new();
    let user = places.user.clone().map(|path| (path.clone(), FoundIn::User(path)));
    let system = (places.system.clone(), FoundIn::System(places.system.clone()));
    for (path, from) in user.into_iter().chain([system]) {
        match read(&path) {
            Ok(None) => {}
            Ok(Some(bytes)) => match Header::peek(&bytes) {
                Ok(header) => kept.push((header, bytes, path, from)),
                Err(error) => unusable.push(Unusable { path, reason: error.to_string() }),
            },
            Err(error) => unusable.push(Unusable { path, reason: error.to_string() }),
        }
    }
    // A stable sort: of equal age the user's stays first. Only the chosen one is decoded in full.
    kept.sort_by_key(|(header, ..)| std::cmp::Reverse((header.although_older, header.updated)));
    let embedded = Header::embedded();
    for (header, bytes, path, from) in kept {
        if !header.although_older && header.updated < embedded.updated {
            continue;
        }
        match Registry::decode(&bytes) {
            Ok(registry) => return Current { registry, from, unusable },
            Err(error) => unusable.push(Unusable { path, reason: error.to_string() }),
        }
    }
    Current { registry: Registry::embedded().clone(), from: FoundIn::Embedded, unusable }
}

/// The bytes of a file, up to the limit; `None` if there is none.
fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    // Before it is opened: opening a pipe in its place would wait without end.
    let kind = match fs::metadata(path) {
        Ok(metadata) => metadata.file_type(),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => return Ok(None),
        Err(error) => return Err(error),
    };
    if !kind.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let file = fs::File::open(path)?;
    let mut bytes = Vec::new();
    file.take(ENCODED_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create_new(true).open(path)?;
    // By the file's handle, so that the umask does not count.
    #[cfg(unix)]
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
    file.write_all(bytes)?;
    file.sync_all()
}
