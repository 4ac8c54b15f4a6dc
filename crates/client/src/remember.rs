//! The server that answered last, remembered for each vendor, so that the next start tries it first. It is a hint about order and nothing else: it never adds
//! a server, and a file that is lost, damaged or forged costs a quarter of a second.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use triquest_license::{VerifierKey, sha256};

use crate::{address::ServerAddress, files, limits::REMEMBERED_BYTES_MAX};

/// What is remembered for one set of verifier keys, in this process and in a file.
#[derive(Debug, Default)]
pub(crate) struct Remembered {
    file: Option<PathBuf>,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    was_read: bool,
    server: Option<ServerAddress>,
}

impl Remembered {
    /// In this folder, or in this process only.
    pub(crate) fn new(folder: Option<&Path>, keys: &[VerifierKey]) -> Self {
        let all: Vec<u8> = keys.iter().flat_map(|key| *key.public().as_bytes()).collect();
        let name: String = sha256(&all)[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        Self { file: folder.map(|folder| folder.join(format!("last-server-{name}"))), held: Mutex::default() }
    }

    pub(crate) fn server(&self) -> Option<ServerAddress> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if !held.was_read {
            held.was_read = true;
            held.server = self.file.as_ref().and_then(|file| read(file));
        }
        held.server.clone()
    }

    /// Failures are silent: it is a convenience, and a program without a home directory is a good one too.
    pub(crate) fn note(&self, server: &ServerAddress) {
        if self.server().as_ref() == Some(server) {
            return;
        }
        self.held.lock().unwrap_or_else(PoisonError::into_inner).server = Some(server.clone());
        if let Some(file) = &self.file {
            let _ = files::replace(file, |out| writeln!(out, "{server}"));
        }
    }
}

fn read(file: &Path) -> Option<ServerAddress> {
    let meta = fs::symlink_metadata(file).ok()?;
    if !meta.is_file() || meta.len() > REMEMBERED_BYTES_MAX {
        return None;
    }
    fs::read_to_string(file).ok()?.trim_end().parse().ok()
}
