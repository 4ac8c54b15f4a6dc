//! Who the server is: its data directory, its Ed25519 key, its TLS certificate. Whatever others could have read is refused, not used.

use std::{
    fs::{self, File, Permissions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use arc_swap::ArcSwap;
use rustls::{
    ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    server::{ClientHello, ParsedCertificate, ResolvesServerCert},
    sign::CertifiedKey,
};
use triquest_license::{ServerKey, SigningKey, sha256};

use crate::{
    config::{Config, Fault, Settings},
    sys,
};

/// The server's Ed25519 key: `tqs-private:` and 64 hexadecimal digits.
pub const SERVER_KEY_FILE: &str = "server.key";
/// The key of a server that begins, until there is a journal: so a [`SERVER_KEY_FILE`] without a journal always says that history was lost, be it
/// that the journal was deleted or that the key alone came back from a backup.
const NEW_KEY_FILE: &str = "server.key.new";
/// The journal, whose absence beside a key means that history was lost.
pub const JOURNAL_FILE: &str = "journal.sqlite";
/// The Unix socket for administration.
pub const ADMIN_SOCKET_FILE: &str = "admin.sock";
/// What this run of the server is, for commands on this machine.
pub const RUNTIME_FILE: &str = "server.json";
const TLS_KEY_FILE: &str = "tls.key";
const TLS_CERTIFICATE_FILE: &str = "tls.crt";
/// What files end with while they are being written; before it stands the process that writes them.
const PART: &str = ".part";
const PRIVATE_PREFIX: &str = "tqs-private:";
/// Largest file of a key or certificate chain that is read.
const PEM_BYTES_MAX: u64 = 256 * 1024;

/// Random bytes of the system.
#[must_use]
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    ::aws_lc_rs::rand::fill(&mut bytes).expect("the system's random generator works, or nothing here may go on");
    bytes
}

/// What a start finds in its data directory, and so what it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Beginning {
    /// The server's key is there and its journal is not: the key is kept, since licenses name it, and a new history begins with a quarantine.
    AfterLoss,
    /// Key and journal are there: the server goes on.
    GoesOn,
    /// Neither is there, or no start has come as far as the first entry: a new server with a new key.
    New,
}

/// Looks at the data directory and changes nothing: what a start would begin. A named directory without a journal becomes a server only with
/// [`Settings::init`]: a volume that is not mounted and a typo look the same, and a new key serves nobody's licenses.
///
/// # Errors
/// As the start would be refused: a directory of somebody else, one that others may write, a named one without a journal, or one that lost a part.
pub fn look_at_data_dir(settings: &Settings) -> Result<Beginning, Fault> {
    let dir = settings.config.data_dir();
    let shown = dir.display();
    let may_begin = settings.config.data.is_none() || settings.init;
    let was_open = match fs::symlink_metadata(&dir) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound && !may_begin => return Err(needs_init(&dir, "is not there")),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(Beginning::New),
        Err(cause) => {
            return Err(Fault::new(format!("cannot look at the data directory {shown}: {cause}"), "name another one with `--data DIR`"));
        }
        Ok(meta) => {
            if meta.is_symlink() {
                return Err(Fault::new(
                    format!("the data directory {shown} is a symbolic link, which whoever made it could point elsewhere"),
                    format!("name the directory itself: `--data {}`", fs::canonicalize(&dir).unwrap_or_else(|_| "DIR".into()).display()),
                ));
            }
            if !meta.is_dir() {
                return Err(Fault::new(format!("the data directory {shown} is no directory"), "name another one with `--data DIR`"));
            }
            check_owner(&dir, &meta)?;
            meta.mode() & 0o022 != 0
        }
    };
    let fault = |cause: io::Error| unusable(&dir, &cause);
    let has = |name: &str| fs::symlink_metadata(dir.join(name)).is_ok();
    let (has_key, has_journal) = (has(SERVER_KEY_FILE), has(JOURNAL_FILE));
    let empty = fs::read_dir(&dir).map_err(fault)?.flatten().all(|entry| entry.file_name() == "lost+found");
    // Before anything in it is changed: it may be somebody's folder of other things.
    if !has_key && !has_journal && !may_begin {
        return Err(needs_init(&dir, if empty { "is empty" } else { "has no journal and no server's key" }));
    }
    if was_open && !empty {
        let mode = fs::symlink_metadata(&dir).map_err(fault)?.mode() & 0o777;
        return Err(Fault::new(
            format!("others may write the data directory {shown} (mode {mode:04o}), so what lies in it may be theirs"),
            format!("look at what is in it, then: chmod 700 {shown}"),
        ));
    }
    match (has_key, has_journal) {
        (true, true) => Ok(Beginning::GoesOn),
        // A first start ended after it had made the journal.
        (false, true) if has(NEW_KEY_FILE) => Ok(Beginning::New),
        (false, true) => Err(no_key(&dir)),
        (true, false) if !settings.init => Err(Fault::new(
            format!("{shown} has the server's key but no journal: what was granted is not known here"),
            "`triquest-lm journal restore BACKUP NEW-DIRECTORY` brings a backup back; without one, `serve --init` keeps the key and begins a new \
             history, which waits until seats of the lost one must have ended",
        )),
        (true, false) => Ok(Beginning::AfterLoss),
        (false, false) => Ok(Beginning::New),
    }
}

/// What is wrong with a data directory whose journal has entries and that has no key.
pub(crate) fn no_key(dir: &Path) -> Fault {
    Fault::new(
        format!(
            "{} has a journal but no {SERVER_KEY_FILE}: licenses name the server's key, so a new key could serve none of them",
            dir.display()
        ),
        format!("put {SERVER_KEY_FILE} back from a backup"),
    )
}

fn unusable(dir: &Path, cause: &io::Error) -> Fault {
    Fault::new(format!("cannot use the data directory {}: {cause}", dir.display()), "it must belong to the server's user")
}

/// Makes or checks the data directory, and says what begins in it.
///
/// # Errors
/// As [`look_at_data_dir`], and if the directory cannot be made or closed to others.
pub fn prepare_data_dir(settings: &Settings) -> Result<Beginning, Fault> {
    let beginning = look_at_data_dir(settings)?;
    let dir = settings.config.data_dir();
    let shown = dir.display();
    let group = settings.config.admin_group.is_some();
    let fault = |cause: io::Error| unusable(&dir, &cause);
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir).map_err(|cause| {
        Fault::new(
            format!("cannot make the data directory {shown}: {cause}"),
            "name another one with `--data DIR`, or run as a user who may make it",
        )
    })?;
    // Tightened rather than refused: nothing lies in it yet, or only its owner could put it there.
    let wanted = if group { 0o710 } else { 0o700 };
    if fs::metadata(&dir).map_err(fault)?.mode() & 0o777 != wanted {
        fs::set_permissions(&dir, Permissions::from_mode(wanted)).map_err(fault)?;
    }
    if let Some(name) = &settings.config.admin_group {
        let gid = sys::group_id(name)
            .ok_or_else(|| Fault::new(format!("admin_group = {name:?}: there is no such group"), "`groupadd --system NAME` makes one"))?;
        std::os::unix::fs::chown(&dir, None, Some(gid)).map_err(|cause| {
            Fault::new(format!("cannot give {shown} to group {name}: {cause}"), "the server's user must be root or a member of that group")
        })?;
    }
    Ok(beginning)
}

fn needs_init(dir: &Path, how: &str) -> Fault {
    let shown = dir.display();
    Fault::new(
        format!("the data directory {shown} {how}: is its volume not mounted, or its name mistyped?"),
        format!("if a new server with a new key is to begin there: triquest-lm serve --init --data {shown}"),
    )
}

fn check_owner(path: &Path, meta: &fs::Metadata) -> Result<(), Fault> {
    let me = sys::user_id();
    if meta.uid() == me {
        return Ok(());
    }
    Err(Fault::new(
        format!("{} belongs to user {}, not to {} who runs this server", path.display(), sys::user_name(meta.uid()), sys::user_name(me)),
        format!("`chown -R {} {}`, if you know how it came there", sys::user_name(me), path.display()),
    ))
}

/// Reads a secret file: no symbolic link, ours, and closed to everybody else.
///
/// # Errors
/// By reason.
pub fn read_secret(path: &Path) -> Result<Vec<u8>, Fault> {
    let cannot = |cause: io::Error| match cause.raw_os_error() {
        Some(libc::ELOOP) => {
            Fault::new(format!("{} is a symbolic link; keys are read from plain files only", path.display()), "put the file itself there")
        }
        _ => Fault::new(format!("cannot read {}: {cause}", path.display()), ""),
    };
    let file =
        fs::OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC | libc::O_NONBLOCK).open(path).map_err(cannot)?;
    let meta = file.metadata().map_err(cannot)?;
    if !meta.is_file() {
        return Err(Fault::new(format!("{} is no plain file", path.display()), ""));
    }
    check_owner(path, &meta)?;
    let mode = meta.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(Fault::new(
            format!("others may read or write {} (mode {mode:04o}), so it must be taken as known to them", path.display()),
            format!("if you are sure that nobody has: chmod 600 {}; otherwise replace the key", path.display()),
        ));
    }
    read_bounded(file, path)
}

/// Reads a file that the server obeys, such as its configuration: no symbolic link, root's or ours, and nobody else may write it.
///
/// # Errors
/// By reason.
pub fn read_trusted(path: &Path) -> Result<String, Fault> {
    let shown = path.display();
    let elsewhere = "name another file with `--config FILE`";
    let cannot = |cause: io::Error| match cause.raw_os_error() {
        Some(libc::ELOOP) => Fault::new(
            format!("the configuration {shown} is a symbolic link; it is read from a plain file only"),
            "name the file itself with `--config FILE`",
        ),
        _ => Fault::new(format!("cannot read the configuration {shown}: {cause}"), elsewhere),
    };
    let file =
        fs::OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC | libc::O_NONBLOCK).open(path).map_err(cannot)?;
    let meta = file.metadata().map_err(cannot)?;
    if !meta.is_file() {
        return Err(Fault::new(format!("the configuration {shown} is no plain file"), elsewhere));
    }
    if meta.uid() != 0 {
        check_owner(path, &meta)?;
    }
    let mode = meta.mode() & 0o777;
    if mode & 0o022 != 0 {
        return Err(Fault::new(
            format!("others may write the configuration {shown} (mode {mode:04o}), so it may say what they want"),
            format!("look at what it says, then: chmod go-w {shown}"),
        ));
    }
    String::from_utf8(read_bounded(file, path)?).map_err(|_| Fault::new(format!("the configuration {shown} is not UTF-8"), elsewhere))
}

fn read_bounded(file: File, path: &Path) -> Result<Vec<u8>, Fault> {
    let mut bytes = Vec::new();
    file.take(PEM_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|cause| Fault::new(format!("cannot read {}: {cause}", path.display()), ""))?;
    if bytes.len() as u64 > PEM_BYTES_MAX {
        return Err(Fault::new(format!("{} has more than {PEM_BYTES_MAX} bytes, which no key or certificate has", path.display()), ""));
    }
    Ok(bytes)
}

/// Writes a new file with mode 0600 that must not exist, durably. It has its name only once it is whole: no full disk and no kill leaves half of it.
///
/// # Errors
/// If it exists or cannot be written.
pub fn write_new_secret(path: &Path, bytes: &[u8]) -> Result<(), Fault> {
    write_secret(path, bytes, name_new)
}

/// The same, with what gives the finished file its name.
fn write_secret(path: &Path, bytes: &[u8], name: fn(&Path, &Path) -> io::Result<()>) -> Result<(), Fault> {
    let mut part = path.as_os_str().to_owned();
    part.push(format!(".{}{PART}", std::process::id()));
    let part = PathBuf::from(part);
    let write = || {
        // Of a process that had the same number.
        match fs::remove_file(&part) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => return Err(cause),
            _ => {}
        }
        let mut file =
            fs::OpenOptions::new().write(true).create_new(true).mode(0o600).custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC).open(&part)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        name(&part, path)?;
        sync_dir_of(path)
    };
    write().map_err(|cause| {
        let _ = fs::remove_file(&part);
        cannot_write(path, &cause)
    })
}

fn cannot_write(path: &Path, cause: &io::Error) -> Fault {
    let dir = dir_of(path).display();
    let next = match cause.kind() {
        io::ErrorKind::AlreadyExists => "it is never overwritten: move it away, or name another file".to_owned(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => format!("make room on the file system of {dir}, then try again"),
        io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => format!("this user must be able to write in {dir}"),
        _ => "see what the system says about the disk (`dmesg`), then try again".to_owned(),
    };
    Fault::new(format!("cannot write {}: {cause}", path.display()), next)
}

fn dir_of(path: &Path) -> &Path {
    path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn sync_dir_of(path: &Path) -> io::Result<()> {
    File::open(dir_of(path)).and_then(|dir| dir.sync_all())
}

/// Names a finished file; a file that has the name already stays.
fn name_new(from: &Path, to: &Path) -> io::Result<()> {
    use rustix::{
        fs::{CWD, RenameFlags, renameat_with},
        io::Errno,
    };
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // Not every file system has this, but those have links.
        Err(Errno::INVAL | Errno::NOSYS) => {
            fs::hard_link(from, to)?;
            fs::remove_file(from)
        }
        named => Ok(named?),
    }
}

/// Removes what starts that were killed had begun to write. The caller has locked the directory.
pub fn remove_parts(dir: &Path) {
    let ours = [SERVER_KEY_FILE, TLS_KEY_FILE, TLS_CERTIFICATE_FILE, RUNTIME_FILE];
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let is_part = |name: &str| name.ends_with(PART) && ours.iter().any(|ours| name.starts_with(&format!("{ours}.")));
        if name.to_str().is_some_and(is_part) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn is_there(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

/// Sees to it that there is a key before there is a journal: the server's, or one that becomes it in [`keep_key`].
///
/// # Errors
/// If it cannot be made.
pub fn make_key(dir: &Path) -> Result<(), Fault> {
    let fresh = dir.join(NEW_KEY_FILE);
    if is_there(&dir.join(SERVER_KEY_FILE)) {
        // A server that was about to begin here gives way to this key, which somebody put here, unless it has begun a journal.
        return if is_there(&dir.join(JOURNAL_FILE)) { Ok(()) } else { remove_new_key(dir) };
    }
    if is_there(&fresh) {
        return Ok(());
    }
    let hex: String = random::<32>().iter().map(|byte| format!("{byte:02x}")).collect();
    write_new_secret(&fresh, format!("{PRIVATE_PREFIX}{hex}\n").as_bytes())
}

fn remove_new_key(dir: &Path) -> Result<(), Fault> {
    let fresh = dir.join(NEW_KEY_FILE);
    match fs::remove_file(&fresh) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
            Err(Fault::new(format!("cannot remove {}: {cause}", fresh.display()), "move it away"))
        }
        _ => Ok(()),
    }
}

/// Gives the key of a server that begins its name, now that its journal is durable, and reads the server's key. `is_empty` says that the journal has no
/// entry. The caller has locked the directory.
///
/// # Errors
/// As [`server_key`], if it cannot be named, and if somebody put another key to the empty journal of the one that was about to begin: the other one's
/// history is not known here.
pub fn keep_key(dir: &Path, is_empty: bool) -> Result<SigningKey, Fault> {
    let (fresh, path) = (dir.join(NEW_KEY_FILE), dir.join(SERVER_KEY_FILE));
    match (is_there(&path), is_there(&fresh)) {
        (true, true) if is_empty => {
            return Err(Fault::new(
                format!(
                    "{} was put beside {NEW_KEY_FILE} and the journal of another server, which was about to begin here",
                    path.display()
                ),
                format!(
                    "if {SERVER_KEY_FILE} is the right one, move {NEW_KEY_FILE} and {JOURNAL_FILE} away and start once with `--init`, which begins a new \
                     history for it; if not, move {SERVER_KEY_FILE} away"
                ),
            ));
        }
        (true, true) => remove_new_key(dir)?,
        (true, false) => {}
        (false, _) => name_new(&fresh, &path).and_then(|()| sync_dir_of(&path)).map_err(|cause| cannot_write(&path, &cause))?,
    }
    server_key(dir)
}

/// The server's key in a data directory.
///
/// # Errors
/// If there is none yet; a file that others can read, a link, a stranger's, or one that is no key.
pub fn server_key(dir: &Path) -> Result<SigningKey, Fault> {
    let path = dir.join(SERVER_KEY_FILE);
    if !is_there(&path) {
        return Err(Fault::new(
            format!("there is no server key in {}", dir.display()),
            format!(
                "name the server's directory with `--data DIR`, or start a new server, which makes one: triquest-lm serve --init --data {}",
                dir.display()
            ),
        ));
    }
    let bytes = read_secret(&path)?;
    let seed = std::str::from_utf8(&bytes).ok().and_then(|text| text.trim_end().strip_prefix(PRIVATE_PREFIX)).and_then(seed_of);
    seed.map(SigningKey::from_seed).ok_or_else(|| {
        Fault::new(
            format!("{} is no server key: it needs `{PRIVATE_PREFIX}` and 64 hexadecimal digits", path.display()),
            "put it back from a backup",
        )
    })
}

fn seed_of(hex: &str) -> Option<[u8; 32]> {
    // The same strict digits as a hash has.
    hex.parse::<triquest_license::LicenseHash>().ok().map(|seed| *seed.as_bytes())
}

/// The public half of the key in a data directory, for commands beside the server.
///
/// # Errors
/// As [`server_key`].
pub fn public_server_key(dir: &Path) -> Result<ServerKey, Fault> {
    server_key(dir).map(|key| ServerKey::new(*key.public()))
}

/// A certificate that is served now.
pub struct Served {
    key: Arc<CertifiedKey>,
    leaf: CertificateDer<'static>,
    spki: [u8; 32],
}

impl Served {
    /// SHA-256 over its SubjectPublicKeyInfo.
    #[must_use]
    pub fn spki(&self) -> [u8; 32] {
        self.spki
    }

    /// Whether the certificate is for this DNS name, by the rules of browsers.
    #[must_use]
    pub fn names(&self, host: &str) -> bool {
        let Ok(parsed) = ParsedCertificate::try_from(&self.leaf) else { return false };
        ServerName::try_from(host).is_ok_and(|name| rustls::client::verify_server_name(&parsed, &name).is_ok())
    }
}

/// The certificate as it stands, exchanged at reload without a connection lost.
pub struct Certificate {
    served: ArcSwap<Served>,
}

impl std::fmt::Debug for Certificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Certificate(..)")
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // Whatever name is asked for: clients trust the server's own key, not a name.
        Some(Arc::clone(&self.served.load().key))
    }
}

impl Certificate {
    /// Loads the administrator's certificate, or the server's own, which is made if it is not there.
    ///
    /// # Errors
    /// By reason.
    pub fn load(config: &Config) -> Result<Self, Fault> {
        Ok(Self { served: ArcSwap::from_pointee(load(config)?) })
    }

    /// Reads it again. True if another key is served now.
    ///
    /// # Errors
    /// By reason; the old one stays.
    pub fn reload(&self, config: &Config) -> Result<bool, Fault> {
        let fresh = load(config)?;
        let changed = fresh.spki != self.served.load().spki || fresh.leaf != self.served.load().leaf;
        self.served.store(Arc::new(fresh));
        Ok(changed)
    }

    /// What is served now.
    #[must_use]
    pub fn served(&self) -> Arc<Served> {
        self.served.load_full()
    }
}

fn load(config: &Config) -> Result<Served, Fault> {
    let dir = config.data_dir();
    let (certificate, key) = match (&config.tls.certificate, &config.tls.key) {
        (Some(certificate), Some(key)) => (certificate.clone(), key.clone()),
        _ => {
            let own = (dir.join(TLS_CERTIFICATE_FILE), dir.join(TLS_KEY_FILE));
            make_own(&own.0, &own.1)?;
            own
        }
    };
    let chain = read_chain(&certificate)?;
    let private = PrivateKeyDer::from_pem_slice(&read_tls_key(&key, config)?).map_err(|cause| {
        Fault::new(
            format!("{}: no private key in PEM: {cause}", key.display()),
            "needs PKCS#8, SEC1 or PKCS#1 in PEM, without a passphrase",
        )
    })?;
    let leaf = chain[0].clone();
    let parsed = ParsedCertificate::try_from(&leaf)
        .map_err(|cause| Fault::new(format!("{}: no X.509 certificate: {cause}", certificate.display()), ""))?;
    let spki = sha256(parsed.subject_public_key_info().as_ref());
    let signer = provider().key_provider.load_private_key(private).map_err(|cause| {
        Fault::new(format!("{}: this key cannot be used: {cause}", key.display()), "ECDSA P-256 or P-384, Ed25519 or RSA from 2048 bits")
    })?;
    let certified = CertifiedKey::new(chain, signer);
    certified.keys_match().map_err(|_| {
        Fault::new(
            format!("{} is not the key of the certificate {}", key.display(), certificate.display()),
            "name the two files that were made together",
        )
    })?;
    Ok(Served { key: Arc::new(certified), leaf, spki })
}

fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let file = File::open(path).map_err(|cause| Fault::new(format!("cannot read the certificate {}: {cause}", path.display()), ""))?;
    let bytes = read_bounded(file, path)?;
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&bytes).collect::<Result<_, _>>().map_err(|cause| {
        Fault::new(format!("{}: no certificate in PEM: {cause}", path.display()), "needs the server's certificate first, then the issuers'")
    })?;
    if chain.is_empty() {
        return Err(Fault::new(
            format!("{} holds no certificate", path.display()),
            "needs the server's certificate first, then the issuers'",
        ));
    }
    Ok(chain)
}

/// The administrator's key may belong to root and be readable through a group (as certificate tools leave it), but never by everybody.
fn read_tls_key(path: &Path, config: &Config) -> Result<Vec<u8>, Fault> {
    if config.tls.key.as_deref() != Some(path) {
        return read_secret(path);
    }
    let cannot = |cause: io::Error| {
        Fault::new(format!("cannot read the key {}: {cause}", path.display()), "the server's user must be able to read it")
    };
    let file = File::open(path).map_err(cannot)?;
    let meta = file.metadata().map_err(cannot)?;
    let mode = meta.mode() & 0o777;
    if mode & 0o027 != 0 {
        return Err(Fault::new(
            format!("others may read or write the key {} (mode {mode:04o})", path.display()),
            format!("chmod 640 {}", path.display()),
        ));
    }
    read_bounded(file, path)
}

/// ECDSA P-256, because browsers take no Ed25519; ten years, because nobody trusts it for its dates.
fn make_own(certificate: &Path, key: &Path) -> Result<(), Fault> {
    if is_there(key) && is_there(certificate) {
        return Ok(());
    }
    let failed = |cause: rcgen::Error| Fault::new(format!("cannot make a certificate: {cause}"), "");
    let pair = if is_there(key) {
        let pem = String::from_utf8(read_secret(key)?)
            .map_err(|_| Fault::new(format!("{} is no PEM", key.display()), "delete it to have a new one made"))?;
        rcgen::KeyPair::from_pem(&pem).map_err(|cause| {
            Fault::new(
                format!("{}: no private key in PEM: {cause}", key.display()),
                "put it back from a backup, or delete it to have a new one made",
            )
        })?
    } else {
        rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(failed)?
    };
    let host = sys::host_name();
    let is_name = |name: &str| !name.is_empty() && ServerName::try_from(name).is_ok_and(|name| matches!(name, ServerName::DnsName(_)));
    let mut names = vec!["localhost".to_owned()];
    if is_name(&host) && host != "localhost" {
        names.push(host.clone());
    }
    names.extend(["127.0.0.1".to_owned(), "::1".to_owned()]);
    let mut params = rcgen::CertificateParams::new(names).map_err(failed)?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, "TriQuest LM server");
    let today = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date();
    let year = i32::from(today.year());
    params.not_before = rcgen::date_time_ymd(year - 1, 1, 1);
    params.not_after = rcgen::date_time_ymd(year + 10, u8::try_from(today.month()).unwrap_or(1), 1);
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    let made = params.self_signed(&pair).map_err(failed)?;
    if !is_there(key) {
        write_new_secret(key, pair.serialize_pem().as_bytes())?;
    }
    if is_there(certificate) {
        fs::remove_file(certificate).map_err(|cause| Fault::new(format!("cannot replace {}: {cause}", certificate.display()), ""))?;
    }
    write_new_secret(certificate, made.pem().as_bytes())
}

/// aws-lc-rs with X25519 first. A hybrid group with ML-KEM is taken from a client that offers nothing else: what travels here is of value
/// for minutes (leases) or can be revoked (tokens), a server that prefers another group than the client's first costs a round trip, and the
/// hybrid costs 14 % of a handshake.
fn provider() -> Arc<CryptoProvider> {
    let mut provider = aws_lc_rs::default_provider();
    provider.kx_groups = vec![
        aws_lc_rs::kx_group::X25519,
        aws_lc_rs::kx_group::SECP256R1,
        aws_lc_rs::kx_group::SECP384R1,
        aws_lc_rs::kx_group::X25519MLKEM768,
    ];
    provider.cipher_suites.retain(|suite| suite.tls13().is_some());
    Arc::new(provider)
}

/// TLS as this server speaks it: 1.3 only, no resumption (a resumed session never calls the client's verifier), no early data.
#[must_use]
pub fn tls_config(certificate: Arc<Certificate>) -> ServerConfig {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("the provider has the suites of TLS 1.3")
        .with_no_client_auth()
        .with_cert_resolver(certificate);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    config
}

/// What this run is, for commands on this machine. Mode 0600; replaced at each start, removed at an orderly stop.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct Runtime {
    /// The process.
    pub pid: u32,
    /// Where it listens.
    pub addresses: Vec<std::net::SocketAddr>,
    /// Where it answers over UDP.
    #[serde(default)]
    pub udp: Vec<std::net::SocketAddr>,
    /// Its key.
    pub server_key: String,
    /// The Unix socket.
    pub admin_socket: PathBuf,
    /// The program's version.
    pub version: String,
}

impl Runtime {
    /// Reads what a running server left in its data directory.
    #[must_use]
    pub fn read(dir: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(dir.join(RUNTIME_FILE)).ok()?).ok()
    }

    /// Writes it in place of an older one.
    ///
    /// # Errors
    /// The system's.
    pub fn write(&self, dir: &Path) -> Result<(), Fault> {
        let bytes = serde_json::to_vec_pretty(self).expect("plain data serializes");
        write_secret(&dir.join(RUNTIME_FILE), &bytes, |from, to| fs::rename(from, to))
    }

    /// Removes it.
    pub fn remove(dir: &Path) {
        let _ = fs::remove_file(dir.join(RUNTIME_FILE));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// What a first start makes of the key.
    fn begin(dir: &Path) -> Result<SigningKey, Fault> {
        make_key(dir)?;
        keep_key(dir, true)
    }

    fn named(dir: &Path) -> Settings {
        Settings::of(Config { data: Some(dir.to_owned()), ..Config::default() })
    }

    #[test]
    fn the_key_is_made_once_and_only_we_can_read_it() {
        let dir = tempfile::tempdir().unwrap();
        let first = begin(dir.path()).unwrap();
        let again = begin(dir.path()).unwrap();
        assert_eq!(first.public(), again.public());
        assert_eq!(fs::metadata(dir.path().join(SERVER_KEY_FILE)).unwrap().mode() & 0o777, 0o600);
        assert_eq!(public_server_key(dir.path()).unwrap().public(), first.public());
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        begin(dir.path()).unwrap();
        let file = dir.path().join(SERVER_KEY_FILE);
        for mode in [0o644, 0o640, 0o604, 0o660] {
            fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
            let fault = server_key(dir.path()).unwrap_err();
            assert!(fault.message.contains(&format!("{mode:04o}")), "{fault}");
        }
    }

    #[test]
    fn a_key_that_is_a_symbolic_link_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let other = tempfile::tempdir().unwrap();
        begin(other.path()).unwrap();
        std::os::unix::fs::symlink(other.path().join(SERVER_KEY_FILE), dir.path().join(SERVER_KEY_FILE)).unwrap();
        assert!(server_key(dir.path()).unwrap_err().message.contains("symbolic link"));
        std::os::unix::fs::symlink("/nowhere/at/all", other.path().join(TLS_KEY_FILE)).unwrap();
        assert!(read_secret(&other.path().join(TLS_KEY_FILE)).is_err());
    }

    #[test]
    fn text_that_is_no_key_is_refused_without_being_shown() {
        let dir = tempfile::tempdir().unwrap();
        write_new_secret(&dir.path().join(SERVER_KEY_FILE), b"tqs-private:zz").unwrap();
        let fault = server_key(dir.path()).unwrap_err();
        assert!(!fault.message.contains("zz"));
    }

    #[test]
    fn a_named_directory_without_a_journal_needs_init_and_is_left_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let (missing, empty, stray) = (dir.path().join("missing"), dir.path().join("empty"), dir.path().join("stray"));
        fs::create_dir(&empty).unwrap();
        fs::create_dir(&stray).unwrap();
        fs::write(stray.join("notes.txt"), "").unwrap();
        fs::set_permissions(&stray, Permissions::from_mode(0o755)).unwrap();
        for (data, words) in [(&missing, "is not there"), (&empty, "is empty"), (&stray, "has no journal")] {
            let fault = prepare_data_dir(&named(data)).unwrap_err();
            assert!(fault.message.contains(words), "{}", fault.message);
        }
        assert!(!missing.exists());
        assert_eq!(fs::metadata(&stray).unwrap().mode() & 0o777, 0o755);
        for data in [missing, empty, stray] {
            let settings = Settings { init: true, ..named(&data) };
            assert_eq!(look_at_data_dir(&settings).unwrap(), Beginning::New);
            assert_eq!(prepare_data_dir(&settings).unwrap(), Beginning::New);
        }
    }

    #[test]
    fn a_directory_that_lost_its_key_or_its_journal_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(JOURNAL_FILE), "").unwrap();
        assert!(prepare_data_dir(&named(dir.path())).unwrap_err().message.contains("no server.key"));
        fs::remove_file(dir.path().join(JOURNAL_FILE)).unwrap();
        begin(dir.path()).unwrap();
        assert!(prepare_data_dir(&named(dir.path())).unwrap_err().message.contains("no journal"));
        assert_eq!(prepare_data_dir(&Settings { init: true, ..named(dir.path()) }).unwrap(), Beginning::AfterLoss);
        fs::write(dir.path().join(JOURNAL_FILE), "").unwrap();
        assert_eq!(prepare_data_dir(&named(dir.path())).unwrap(), Beginning::GoesOn);
    }

    #[test]
    fn a_first_start_that_ended_anywhere_leaves_a_new_server_and_a_key_alone_is_a_loss() {
        let dir = tempfile::tempdir().unwrap();
        let look = || look_at_data_dir(&Settings { init: true, ..named(dir.path()) });
        make_key(dir.path()).unwrap();
        assert!(server_key(dir.path()).is_err(), "nobody can name in a license what is not kept yet");
        assert_eq!(look().unwrap(), Beginning::New);
        assert!(look_at_data_dir(&named(dir.path())).is_err(), "it needs what the empty directory needed");
        fs::write(dir.path().join(JOURNAL_FILE), "").unwrap();
        assert_eq!(look_at_data_dir(&named(dir.path())).unwrap(), Beginning::New);
        // Somebody puts another key beside it, whose history that journal is not.
        fs::write(dir.path().join(SERVER_KEY_FILE), "").unwrap();
        make_key(dir.path()).unwrap();
        assert!(keep_key(dir.path(), true).unwrap_err().hint.contains("move server.key.new and journal.sqlite away"));
        fs::remove_file(dir.path().join(SERVER_KEY_FILE)).unwrap();
        keep_key(dir.path(), true).unwrap();
        assert_eq!(look().unwrap(), Beginning::GoesOn);
        fs::remove_file(dir.path().join(JOURNAL_FILE)).unwrap();
        assert_eq!(look().unwrap(), Beginning::AfterLoss);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "the key alone");
    }

    #[test]
    fn a_secret_has_its_name_only_when_it_is_whole_and_never_takes_that_of_another() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(SERVER_KEY_FILE);
        let part = dir.path().join(format!("{SERVER_KEY_FILE}.{}{PART}", std::process::id()));
        // What a killed process of the same number left is no hindrance.
        fs::write(&part, "hal").unwrap();
        write_new_secret(&path, b"whole").unwrap();
        let fault = write_new_secret(&path, b"another").unwrap_err();
        assert!(fault.message.contains("server.key") && fault.hint.contains("never overwritten"), "{fault}");
        assert_eq!(fs::read(&path).unwrap(), b"whole");
        assert!(!part.exists());
        for name in ["server.key.new.7.part", "tls.key.1.part", "mine.part"] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        remove_parts(dir.path());
        let mut left: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["mine.part", "server.key"]);
    }

    #[test]
    fn the_data_directory_is_closed_to_others() {
        let dir = tempfile::tempdir().unwrap();
        let inner = dir.path().join("new/deep");
        assert_eq!(prepare_data_dir(&Settings { init: true, ..named(&inner) }).unwrap(), Beginning::New);
        assert_eq!(fs::metadata(&inner).unwrap().mode() & 0o777, 0o700);
        fs::set_permissions(&inner, Permissions::from_mode(0o755)).unwrap();
        begin(&inner).unwrap();
        fs::write(inner.join(JOURNAL_FILE), "").unwrap();
        prepare_data_dir(&named(&inner)).unwrap();
        assert_eq!(fs::metadata(&inner).unwrap().mode() & 0o777, 0o700);
    }

    #[test]
    fn an_open_directory_with_something_in_it_is_refused_and_an_empty_one_is_closed() {
        let dir = tempfile::tempdir().unwrap();
        let inner = dir.path().join("data");
        fs::create_dir(&inner).unwrap();
        let mut settings = named(&inner);
        settings.init = true;
        for mode in [0o777, 0o775, 0o702] {
            fs::set_permissions(&inner, Permissions::from_mode(mode)).unwrap();
            assert_eq!(prepare_data_dir(&settings).unwrap(), Beginning::New);
            assert_eq!(fs::metadata(&inner).unwrap().mode() & 0o777, 0o700);
            fs::write(inner.join("config.toml"), "admin_group = 'everybody'").unwrap();
            fs::set_permissions(&inner, Permissions::from_mode(mode)).unwrap();
            let fault = prepare_data_dir(&settings).unwrap_err();
            assert!(fault.message.contains(&format!("mode {mode:04o}")) && fault.hint.contains("chmod 700"), "{fault}");
            fs::remove_file(inner.join("config.toml")).unwrap();
        }
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&inner, &link).unwrap();
        let mut settings = named(&link);
        settings.init = true;
        assert!(prepare_data_dir(&settings).unwrap_err().message.contains("symbolic link"));
    }

    #[test]
    fn a_strangers_data_directory_is_refused() {
        if sys::user_id() != 0 {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::chown(dir.path(), Some(12_345), None).unwrap();
        assert!(prepare_data_dir(&named(dir.path())).unwrap_err().message.contains("belongs to user uid 12345"));
    }

    #[test]
    fn the_own_certificate_names_this_machine_and_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let config = Config { data: Some(dir.path().to_owned()), ..Config::default() };
        let certificate = Certificate::load(&config).unwrap();
        assert!(certificate.served().names("localhost"));
        assert!(!certificate.served().names("example.com"));
        let spki = certificate.served().spki();
        assert!(!certificate.reload(&config).unwrap());
        assert_eq!(certificate.served().spki(), spki);
        // A lost certificate is made again with the same key, so that pinned clients go on.
        fs::remove_file(dir.path().join(TLS_CERTIFICATE_FILE)).unwrap();
        assert!(certificate.reload(&config).unwrap());
        assert_eq!(certificate.served().spki(), spki);
    }

    #[test]
    fn a_certificate_with_another_key_is_refused_and_the_old_one_stays() {
        let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let config = |dir: &Path| Config { data: Some(dir.to_owned()), ..Config::default() };
        let certificate = Certificate::load(&config(a.path())).unwrap();
        Certificate::load(&config(b.path())).unwrap();
        let mixed = Config {
            tls: crate::config::Tls { certificate: Some(a.path().join(TLS_CERTIFICATE_FILE)), key: Some(b.path().join(TLS_KEY_FILE)) },
            ..config(a.path())
        };
        let before = certificate.served().spki();
        assert!(certificate.reload(&mixed).unwrap_err().message.contains("is not the key of the certificate"));
        assert_eq!(certificate.served().spki(), before);
        fs::set_permissions(b.path().join(TLS_KEY_FILE), Permissions::from_mode(0o644)).unwrap();
        assert!(certificate.reload(&mixed).unwrap_err().message.contains("0644"));
    }
}
