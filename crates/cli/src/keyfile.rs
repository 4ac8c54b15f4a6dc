//! The vendor's key file: one private key on a line, the active ones and the retired ones. Made with mode 0600 and never through a
//! link; not read while others can read it.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
};

use triquest_license::{Signer, SigningKey, VendorName, VerifierKey, VerifierKeyError, VerifierKeys, limits::VERIFIERS_MAX};

use crate::{
    failure::{Failure, cannot_read, exit},
    terminal::escape,
};

/// Bytes of a key file: many times what the keys of the limit need.
const KEY_FILE_BYTES_MAX: u64 = 64 * 1024;
const RETIRED: &str = "retired ";

/// `--key FILE`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct KeyFileArgument {
    /// The vendor's key file [default: triquest-lm/vendor.key in your configuration folder]
    #[arg(long = "key", value_name = "FILE", env = "TRIQUEST_LM_VENDOR_KEY", hide_env_values = true)]
    path: Option<PathBuf>,
}

impl KeyFileArgument {
    /// The file that is meant.
    ///
    /// # Errors
    /// If there is no home folder to put it in.
    pub(crate) fn path(&self) -> Result<PathBuf, Failure> {
        if let Some(path) = &self.path {
            return Ok(path.clone());
        }
        let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let folder = absolute("XDG_CONFIG_HOME").or_else(|| absolute("HOME").map(|home| home.join(".config")));
        match folder {
            Some(folder) => Ok(folder.join("triquest-lm/vendor.key")),
            None => Err(Failure::usage("there is no HOME, so no place for the key file is known").hint("name it with --key FILE")),
        }
    }
}

/// The keys of one vendor.
#[derive(Debug)]
pub(crate) struct KeyFile {
    path: PathBuf,
    active: Vec<Signer>,
    retired: Vec<Signer>,
}

impl KeyFile {
    /// Makes a new key in a new file; never over an old one.
    ///
    /// # Errors
    /// If the file exists or cannot be written.
    pub(crate) fn create(path: &Path, name: VendorName) -> Result<Self, Failure> {
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            sys::create_private_folders(folder).map_err(|cause| cannot("make the folder", folder, &cause))?;
        }
        let keys = Self { path: path.to_owned(), active: vec![Signer::new(name, new_key()?)], retired: Vec::new() };
        match keys.write(path) {
            Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => {
                Err(Failure::new(format_args!("{} is there already, and a signing key is never overwritten", shown(path)))
                    .hint("`triquest-lm vendor rotate` adds the next key to it; another vendor's keys go elsewhere: --key FILE"))
            }
            Err(cause) => Err(cannot("write", path, &cause)),
            Ok(()) => Ok(keys),
        }
    }

    /// Reads a key file that only its owner can read.
    ///
    /// # Errors
    /// If it is not there, is a link, can be read by others, or is malformed.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let file = sys::open_private(path).map_err(|cause| match cause.kind() {
            io::ErrorKind::NotFound => Failure::new(format_args!("there is no key file {}", shown(path)))
                .hint("make one with `triquest-lm vendor init NAME`, or name it with --key FILE"),
            _ => cannot("read", path, &cause),
        })?;
        if let Some(mode) = sys::mode_open_to_others(&file).map_err(|cause| cannot("read", path, &cause))? {
            return Err(Failure::new(format_args!(
                "{} can be read by others (mode {mode:04o}), so it may not be secret any more",
                shown(path)
            ))
            .hint(format_args!("chmod 600 {}; if others had access to it, `triquest-lm vendor rotate`", shown(path))));
        }
        let mut text = String::new();
        file.take(KEY_FILE_BYTES_MAX).read_to_string(&mut text).map_err(|cause| cannot("read", path, &cause))?;
        Self::parse(path, &text)
    }

    fn parse(path: &Path, text: &str) -> Result<Self, Failure> {
        let mut keys = Self { path: path.to_owned(), active: Vec::new(), retired: Vec::new() };
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (list, key) = match line.strip_prefix(RETIRED) {
                Some(key) => (&mut keys.retired, key),
                None => (&mut keys.active, line),
            };
            // The line itself is never shown: it is a secret.
            let signer = Signer::from_private_text(key)
                .map_err(|cause| Failure::new(format_args!("{}, line {}: {cause}", shown(path), number + 1)))?;
            list.push(signer);
        }
        let Some(first) = keys.active.first().map(|signer| signer.name().clone()) else {
            return Err(Failure::new(format_args!("{} has no active key", shown(path)))
                .hint("make one with `triquest-lm vendor init NAME --key FILE`"));
        };
        if let Some(other) = keys.active.iter().chain(&keys.retired).find(|signer| *signer.name() != first) {
            return Err(Failure::new(format_args!("{} has keys of two vendors, {first} and {}", shown(path), other.name()))
                .hint("keep one file for each vendor"));
        }
        // Also refuses a key that is there twice.
        VerifierKeys::new(keys.active.iter().map(|signer| signer.verifier_key().clone()).collect())
            .map_err(|cause| Failure::new(format_args!("{}: {cause}", shown(path))))?;
        Ok(keys)
    }

    /// The vendor's name.
    pub(crate) fn name(&self) -> &VendorName {
        self.active[0].name()
    }

    /// The keys that sign.
    pub(crate) fn active(&self) -> &[Signer] {
        &self.active
    }

    /// The verifier keys of all that ever signed: what they signed is still genuine.
    pub(crate) fn all_verifier_keys(&self) -> Vec<VerifierKey> {
        self.active.iter().chain(&self.retired).map(|signer| signer.verifier_key().clone()).collect()
    }

    /// The verifier keys that sign no more.
    pub(crate) fn retired_verifier_keys(&self) -> impl Iterator<Item = &VerifierKey> {
        self.retired.iter().map(Signer::verifier_key)
    }

    /// Adds a new active key and writes the file.
    ///
    /// # Errors
    /// If there are too many, or the file cannot be written.
    pub(crate) fn rotate(&mut self) -> Result<&Signer, Failure> {
        if self.active.len() == VERIFIERS_MAX {
            return Err(Failure::new(format_args!("{} has {VERIFIERS_MAX} active keys already", shown(&self.path)))
                .hint("retire one first: `triquest-lm vendor retire ID`"));
        }
        self.active.push(Signer::new(self.name().clone(), new_key()?));
        self.replace()?;
        Ok(&self.active[self.active.len() - 1])
    }

    /// Takes a key out of use, by its id, and writes the file. It stays in there, so that `license renew` still knows what it signed.
    ///
    /// # Errors
    /// If it is no active key, or the last one, or the file cannot be written.
    pub(crate) fn retire(&mut self, id: u32) -> Result<VerifierKey, Failure> {
        let Some(place) = self.active.iter().position(|signer| signer.verifier_key().id() == id) else {
            return Err(Failure::new(format_args!("no active key has the id {id:08x}")).hint("`triquest-lm vendor show` lists the keys"));
        };
        if self.active.len() == 1 {
            return Err(
                Failure::new("this is the only active key; nothing could be signed without it").hint("`triquest-lm vendor rotate` first")
            );
        }
        let signer = self.active.remove(place);
        let key = signer.verifier_key().clone();
        self.retired.push(signer);
        self.replace()?;
        Ok(key)
    }

    /// Writes a new file beside the old one and puts it in its place: no moment without a whole file.
    fn replace(&self) -> Result<(), Failure> {
        let mut beside = self.path.clone().into_os_string();
        beside.push(".new");
        let beside = PathBuf::from(beside);
        self.write(&beside).and_then(|()| std::fs::rename(&beside, &self.path)).and_then(|()| sys::sync_folder_of(&self.path)).map_err(
            |cause| {
                if cause.kind() == io::ErrorKind::AlreadyExists {
                    Failure::new(format_args!("{} is there already, from a change that did not finish", shown(&beside)))
                        .hint("compare it with the key file, and delete it")
                } else {
                    cannot("write", &self.path, &cause)
                }
            },
        )
    }

    fn write(&self, path: &Path) -> io::Result<()> {
        let mut text = format!(
            "# Signing keys of {}. Whoever has this file can sign licenses as you: keep it secret, and keep a copy.\n",
            self.name()
        );
        for signer in &self.active {
            text.push_str(&signer.to_private_text());
            text.push('\n');
        }
        for signer in &self.retired {
            text.push_str(RETIRED);
            text.push_str(&signer.to_private_text());
            text.push('\n');
        }
        let mut file = sys::create_private(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        sys::sync_folder_of(path)
    }
}

/// The verifier keys of `--verifier-key`: keys, several with commas, or a file that holds them, with comments after `#`.
///
/// # Errors
/// If it is neither; for a file with its name and the line.
pub(crate) fn verifier_keys(given: &str) -> Result<VerifierKeys, Failure> {
    // A file's name may have a `+` too, so what reads as keys is keys.
    let wrong = match given.parse() {
        Ok(keys) => return Ok(keys),
        Err(cause) => cause,
    };
    let path = Path::new(given.trim());
    // What has the parts of a key and is no file is a key with a fault in it.
    if matches!(wrong, VerifierKeyError::None | VerifierKeyError::Private) || (given.contains('+') && !path.is_file()) {
        return Err(refused("--verifier-key", &wrong));
    }
    let mut text = String::new();
    File::open(path).and_then(|file| file.take(KEY_FILE_BYTES_MAX).read_to_string(&mut text)).map_err(|cause| match cause.kind() {
        io::ErrorKind::NotFound => Failure::usage(format_args!("--verifier-key: {wrong}; and there is no file {}", shown(path)))
            .hint(wrong.hint().unwrap_or_default()),
        _ => cannot_read(shown(path), &cause).with_code(exit::USAGE),
    })?;
    let mut keys: Vec<VerifierKey> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default();
        for key in line.split(|c: char| c == ',' || c.is_whitespace()).filter(|key| !key.is_empty()) {
            keys.push(key.parse().map_err(|cause| refused(&format!("{}, line {}", shown(path), number + 1), &cause))?);
        }
    }
    VerifierKeys::new(keys).map_err(|cause| refused(&shown(path), &cause))
}

/// The key itself is not shown: it may be a private one.
fn refused(place: &str, cause: &VerifierKeyError) -> Failure {
    Failure::usage(format_args!("{place}: {}", escape(&cause.to_string()))).hint(escape(cause.hint().unwrap_or_default()))
}

fn new_key() -> Result<SigningKey, Failure> {
    let mut seed = [0; 32];
    aws_lc_rs::rand::fill(&mut seed).map_err(|_| Failure::new("the system gave no random bytes"))?;
    Ok(SigningKey::from_seed(seed))
}

fn cannot(what: &str, path: &Path, cause: &io::Error) -> Failure {
    Failure::new(format_args!("cannot {what} {}: {cause}", shown(path)))
}

/// A path for a message.
pub(crate) fn shown(path: &Path) -> String {
    escape(&path.display().to_string()).into_owned()
}

/// What depends on the operating system.
mod sys {
    use super::{File, OpenOptions, Path, io};

    #[cfg(unix)]
    mod unix {
        use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};

        use super::{File, OpenOptions, Path, io};

        /// Bits of group and others.
        const OTHERS: u32 = 0o077;

        pub(in super::super) fn create_private(path: &Path) -> io::Result<File> {
            // `create_new` is O_EXCL, which also refuses a link.
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
        }

        pub(in super::super) fn create_private_folders(folder: &Path) -> io::Result<()> {
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
        }

        pub(in super::super) fn open_private(path: &Path) -> io::Result<File> {
            OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC).open(path).map_err(|cause| {
                if cause.raw_os_error() == Some(libc::ELOOP) {
                    io::Error::new(io::ErrorKind::InvalidInput, "it is a symbolic link; name the file itself")
                } else {
                    cause
                }
            })
        }

        pub(in super::super) fn mode_open_to_others(file: &File) -> io::Result<Option<u32>> {
            let mode = file.metadata()?.mode() & 0o7777;
            Ok((mode & OTHERS != 0).then_some(mode))
        }

        pub(in super::super) fn sync_folder_of(path: &Path) -> io::Result<()> {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
            File::open(folder)?.sync_all()
        }
    }

    #[cfg(unix)]
    pub(super) use unix::{create_private, create_private_folders, mode_open_to_others, open_private, sync_folder_of};
}
