//! Where a client's servers are named: the program's argument, the environment, the user's file, the machine's file, DNS SRV. The first place that names any
//! decides. Every place that was looked at is kept with what it said, so that a client that finds nobody can tell where it looked.
//!
//! Places name servers and nothing else: what a server must prove is embedded in the program, and no file or variable changes it.

use std::{
    env, fmt,
    fs::File,
    io::{self, Read},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Deserialize;
use toml::Spanned;

use crate::{
    address::{ServerAddress, ServerList},
    clock,
    error::{Error, ErrorKind},
    limits::{CLIENT_FILE_BYTES_MAX, SERVERS_MAX, SRV_MS_MAX},
    srv::{self, Resolver},
};

/// The variable that names the servers, as `1588@host`, several with commas.
pub const SERVER_VARIABLE: &str = "TRIQUEST_LM_SERVER";
/// The machine's file.
pub const MACHINE_FILE: &str = "/etc/triquest-lm/client.toml";
/// The user's file, below `$XDG_CONFIG_HOME` or `~/.config`.
const USER_FILE: &str = "triquest-lm/client.toml";

/// A place that may name servers. Kept alphabetical; [`Lookup::find`] has the order in which they count.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Place {
    /// The program itself, or its command line.
    Argument,
    /// [`SERVER_VARIABLE`].
    Environment,
    /// The machine's file.
    MachineFile(PathBuf),
    /// DNS SRV records `_triquest-lm._tcp` of this domain.
    Srv(String),
    /// The user's file.
    UserFile(PathBuf),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Argument => f.write_str("argument"),
            Self::Environment => f.write_str(SERVER_VARIABLE),
            Self::MachineFile(path) | Self::UserFile(path) => write!(f, "{}", path.display()),
            Self::Srv(domain) if domain.is_empty() => f.write_str("DNS SRV"),
            Self::Srv(domain) => write!(f, "DNS SRV {}.{domain}", srv::SERVICE),
        }
    }
}

/// What a place said. Kept alphabetical.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Said {
    /// These servers.
    Named(ServerList),
    /// No server, and why, such as `not set` or `no record`.
    Nothing(String),
}

/// A place that was looked at. Both may hold text from outside: escape it before printing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Looked {
    /// Where.
    pub place: Place,
    /// What was there.
    pub said: Said,
}

impl fmt::Display for Looked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.said {
            Said::Named(servers) => write!(f, "{}: {servers}", self.place),
            Said::Nothing(why) => write!(f, "{}: {why}", self.place),
        }
    }
}

/// Where to look. What is `None` is not looked at; [`Lookup::usual`] is what programs want.
#[derive(Clone, Debug, Default)]
pub struct Lookup {
    /// What the program or its command line names.
    pub argument: Option<String>,
    /// What the variable says; empty counts as not set.
    pub environment: Option<String>,
    /// The user's file.
    pub user_file: Option<PathBuf>,
    /// The machine's file.
    pub machine_file: Option<PathBuf>,
    /// Who is asked for SRV records, and of which domains.
    pub resolver: Option<Resolver>,
}

/// Servers, and where they are named.
#[derive(Clone, Debug)]
pub struct Found {
    /// In the order of preference.
    pub servers: ServerList,
    /// The place that decided.
    pub from: Place,
    /// All places that were looked at, in order; the last one decided.
    pub looked: Vec<Looked>,
    /// For each server, what may not be asked before what: the priority of its SRV record, else 0.
    pub(crate) ranks: Vec<u16>,
}

impl Lookup {
    /// All places, as this process and this machine have them.
    #[must_use]
    pub fn usual() -> Self {
        let variable = env::var_os(SERVER_VARIABLE).map(|value| value.to_string_lossy().into_owned());
        Self {
            argument: None,
            environment: Some(variable.unwrap_or_default()),
            user_file: base_folder("XDG_CONFIG_HOME", ".config").map(|folder| folder.join(USER_FILE)),
            machine_file: Some(PathBuf::from(MACHINE_FILE)),
            resolver: Some(Resolver::of_this_machine()),
        }
    }

    /// Looks in the order of the fields until a place names servers. DNS is asked only if no place before it does.
    ///
    /// # Errors
    /// [`ErrorKind::NoServerNamed`] with every place; [`ErrorKind::Invalid`] for a place that names what is no server, and for a file that cannot be read
    /// or that others may write: who edits a file wants to hear of it, not to be led to another server.
    pub fn find(&self) -> Result<Found, Error> {
        let mut looked = Vec::new();
        if let Some(text) = self.argument.as_ref() {
            return Ok(named(Place::Argument, text.parse()?, Vec::new(), looked));
        }
        if let Some(text) = &self.environment {
            if !text.trim().is_empty() {
                let servers = text.parse().map_err(|error| Error::from(error).prefixed(SERVER_VARIABLE))?;
                return Ok(named(Place::Environment, servers, Vec::new(), looked));
            }
            looked.push(Looked { place: Place::Environment, said: Said::Nothing("not set".into()) });
        }
        let files = [(&self.user_file, Place::UserFile as fn(PathBuf) -> Place), (&self.machine_file, Place::MachineFile)];
        for (path, place) in files.into_iter().filter_map(|(path, place)| Some((path.as_ref()?, place))) {
            match read_file(path) {
                Ok(Some(servers)) => return Ok(named(place(path.clone()), servers, Vec::new(), looked)),
                Ok(None) => looked.push(Looked { place: place(path.clone()), said: Said::Nothing("names no server".into()) }),
                Err(FileError::Missing(why)) => looked.push(Looked { place: place(path.clone()), said: Said::Nothing(why) }),
                Err(FileError::Refused(why)) => {
                    return Err(Error::new(ErrorKind::Invalid, "bad_client_file", format!("{}{why}", path.display()), false)
                        .with_hint("it holds `servers = [\"1588@host\"]` and nothing else"));
                }
                Err(FileError::Unsafe(why)) => {
                    return Err(Error::new(ErrorKind::Invalid, "unsafe_client_file", format!("{} {why}", path.display()), false)
                        .with_hint(format!(
                            "whoever may write it chooses your license server; chown it, or chmod go-w {}",
                            path.display()
                        )));
                }
            }
        }
        if let Some(resolver) = &self.resolver
            && let Some((at, servers, ranks)) = ask_dns(resolver, &mut looked)
        {
            // What was asked at the same time and counts for less is no part of the story.
            looked.truncate(at);
            let place = looked.pop().map_or(Place::Srv(String::new()), |last| last.place);
            return Ok(named(place, servers, ranks, looked));
        }
        Err(Error::new(ErrorKind::NoServerNamed, "no_server_named", "no license server is named", true)
            .with_hint(format!("set {SERVER_VARIABLE}=1588@HOST"))
            .with_places(looked))
    }
}

fn named(place: Place, servers: ServerList, mut ranks: Vec<u16>, mut looked: Vec<Looked>) -> Found {
    ranks.resize(servers.as_slice().len(), 0);
    looked.push(Looked { place: place.clone(), said: Said::Named(servers.clone()) });
    Found { servers, from: place, looked, ranks }
}

/// The servers of the first domain that has any, and how many places of `looked` that makes.
fn ask_dns(resolver: &Resolver, looked: &mut Vec<Looked>) -> Option<(usize, ServerList, Vec<u16>)> {
    if resolver.domains().is_empty() {
        looked.push(Looked { place: Place::Srv(String::new()), said: Said::Nothing("this machine has no domain".into()) });
        return None;
    }
    let mut found = None;
    for (domain, answer) in resolver.ask(Duration::from_millis(SRV_MS_MAX)) {
        let said = match answer.map(|records| servers_of(records, &mut random_up_to)) {
            Ok(Some((servers, ranks))) => {
                if found.is_none() {
                    found = Some((looked.len() + 1, servers.clone(), ranks));
                }
                Said::Named(servers)
            }
            Ok(None) => Said::Nothing("no record names a usable server".into()),
            Err(error) => Said::Nothing(error.to_string()),
        };
        looked.push(Looked { place: Place::Srv(domain), said });
    }
    found
}

/// In the order of RFC 2782, as many as a list holds; names that no host has are left out.
fn servers_of(records: Vec<srv::Record>, random: &mut dyn FnMut(u32) -> u32) -> Option<(ServerList, Vec<u16>)> {
    let mut servers: Vec<ServerAddress> = Vec::new();
    let mut ranks = Vec::new();
    for record in srv::in_order(records, random) {
        let Ok(server) = format!("{}@{}", record.port, record.target).parse::<ServerAddress>() else { continue };
        if servers.len() < SERVERS_MAX && !servers.contains(&server) {
            servers.push(server);
            ranks.push(record.priority);
        }
    }
    Some((ServerList::new(servers).ok()?, ranks))
}

/// A random number from 0 to `most`.
fn random_up_to(most: u32) -> u32 {
    let [a, b, c, d, ..] = clock::random();
    // A sum of weights is below 2^23, so the rest of this division favors none noticeably.
    u32::from_le_bytes([a, b, c, d]) % most.saturating_add(1).max(1)
}

/// Why a file names no server.
enum FileError {
    /// There is none to read.
    Missing(String),
    /// It is there and wrong: what follows its name.
    Refused(String),
    /// Others may write it: what follows its name.
    Unsafe(String),
}

/// `servers = ["1588@host", ...]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClientFile {
    #[serde(default)]
    servers: Vec<Spanned<String>>,
}

fn read_file(path: &Path) -> Result<Option<ServerList>, FileError> {
    let text = match read_guarded(path, CLIENT_FILE_BYTES_MAX)? {
        Guarded::Text(text) => text,
        Guarded::Unsafe(why) => return Err(FileError::Unsafe(why)),
    };
    let wrong = |span: Option<std::ops::Range<usize>>, why: &str| {
        let line = span.map(|span| 1 + text.as_bytes().iter().take(span.start).filter(|byte| **byte == b'\n').count());
        FileError::Refused(format!("{}: {}", line.map_or_else(String::new, |line| format!(", line {line}")), why.trim_end()))
    };
    let file: ClientFile = toml::from_str(&text).map_err(|error| wrong(error.span(), error.message()))?;
    let mut servers = Vec::new();
    for entry in &file.servers {
        servers.push(entry.get_ref().parse::<ServerAddress>().map_err(|error| wrong(Some(entry.span()), &error.to_string()))?);
    }
    if servers.is_empty() {
        return Ok(None);
    }
    ServerList::new(servers).map(Some).map_err(|error| wrong(file.servers.first().map(Spanned::span), &error.to_string()))
}

enum Guarded {
    Text(String),
    Unsafe(String),
}

/// Reads a small file that only root or this user may write. What is looked at is what was opened.
fn read_guarded(path: &Path, most: u64) -> Result<Guarded, FileError> {
    let refused = |error: io::Error| FileError::Refused(format!(" cannot be read: {error}"));
    // Without waiting: a pipe would never end.
    let opened = File::options().read(true).custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed()).open(path);
    let file = match opened {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Err(FileError::Missing("no such file".into()));
        }
        // A machine's file that is not for this user names no server for it.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            return Err(FileError::Missing("not readable for this user".into()));
        }
        Err(error) => return Err(refused(error)),
    };
    let meta = file.metadata().map_err(refused)?;
    if !meta.is_file() {
        return Err(FileError::Refused(" is no file".into()));
    }
    let me = rustix::process::geteuid().as_raw();
    if meta.uid() != 0 && meta.uid() != me {
        return Ok(Guarded::Unsafe(format!("belongs to user {}, who is neither root nor you", meta.uid())));
    }
    if meta.mode() & 0o022 != 0 {
        return Ok(Guarded::Unsafe(format!("can be written by others (mode {:04o})", meta.mode() & 0o7777)));
    }
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes).map_err(refused)?;
    if bytes.len() as u64 > most {
        return Err(FileError::Refused(format!(" is larger than {most} bytes")));
    }
    String::from_utf8(bytes).map(Guarded::Text).map_err(|_| FileError::Refused(" is not UTF-8".into()))
}

/// A folder by the rules of the XDG base directories: the variable if it is an absolute path, else below the home directory.
pub(crate) fn base_folder(variable: &str, below_home: &str) -> Option<PathBuf> {
    let absolute = |name: &str| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute(variable).or_else(|| Some(absolute("HOME")?.join(below_home)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// A folder with the user's and the machine's file, and a lookup that knows no other.
    fn files(user: Option<&str>, machine: Option<&str>) -> (tempfile::TempDir, Lookup) {
        let folder = tempfile::tempdir().unwrap();
        let (user_file, machine_file) = (folder.path().join("user.toml"), folder.path().join("machine.toml"));
        for (path, text) in [(&user_file, user), (&machine_file, machine)] {
            if let Some(text) = text {
                std::fs::write(path, text).unwrap();
                std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644)).unwrap();
            }
        }
        let lookup =
            Lookup { environment: Some(String::new()), user_file: Some(user_file), machine_file: Some(machine_file), ..Lookup::default() };
        (folder, lookup)
    }

    const FILE: &str = "# our servers\nservers = [\n  \"1588@a\",\n  \"b:1599\",\n]\n";

    #[test]
    fn the_first_place_that_names_a_server_decides() {
        let (folder, mut lookup) = files(None, Some(FILE));
        let found = lookup.find().unwrap();
        assert_eq!(found.servers.to_string(), "1588@a,1599@b");
        assert_eq!(found.from, Place::MachineFile(folder.path().join("machine.toml")));
        let looked: Vec<String> = found.looked.iter().map(ToString::to_string).collect();
        let (user, machine) = (folder.path().join("user.toml"), folder.path().join("machine.toml"));
        assert_eq!(
            looked,
            [
                "TRIQUEST_LM_SERVER: not set".to_owned(),
                format!("{}: no such file", user.display()),
                format!("{}: 1588@a,1599@b", machine.display()),
            ]
        );
        let (_folder, with_both) = files(Some("servers = [\"u\"]"), Some(FILE));
        assert_eq!(with_both.find().unwrap().servers.to_string(), "1588@u");
        lookup.environment = Some("1588@e".into());
        let found = lookup.find().unwrap();
        assert_eq!((found.servers.to_string().as_str(), &found.from, found.looked.len()), ("1588@e", &Place::Environment, 1));
        lookup.argument = Some("1588@p".into());
        let found = lookup.find().unwrap();
        assert_eq!((found.servers.to_string().as_str(), found.from), ("1588@p", Place::Argument));
    }

    #[test]
    fn whoever_finds_no_server_is_told_every_place_and_what_it_said() {
        let (folder, lookup) = files(Some("servers = []\n"), None);
        let error = lookup.find().unwrap_err();
        assert_eq!((error.kind(), error.code(), error.may_help_later()), (ErrorKind::NoServerNamed, "no_server_named", true));
        let said: Vec<String> = error.places().iter().map(ToString::to_string).collect();
        let shown = |name: &str| folder.path().join(name).display().to_string();
        assert_eq!(
            said,
            [
                "TRIQUEST_LM_SERVER: not set".to_owned(),
                format!("{}: names no server", shown("user.toml")),
                format!("{}: no such file", shown("machine.toml")),
            ]
        );
        // A program that prints the error alone says it too.
        assert!(said.iter().all(|said| error.to_string().contains(said)), "{error}");
    }

    #[test]
    fn a_file_with_a_mistake_is_refused_with_its_line() {
        for (text, line, says) in [
            ("servers = [\"1588@a\"]\nverifier_key = \"acme+1+x\"\n", 2, "unknown field `verifier_key`"),
            ("\nserver = \"1588@a\"\n", 2, "unknown field `server`"),
            ("# list\nservers = [\n\"1588@a\",\n\"1588@b c\",\n]\n", 4, "no host name has"),
            ("servers = \"1588@a\"\n", 1, "sequence"),
            ("servers = [\n", 1, ""),
            ("servers = [\"a\"]\nservers = [\"b\"]\n", 2, "duplicate"),
        ] {
            let (folder, lookup) = files(Some(text), Some(FILE));
            let error = lookup.find().unwrap_err();
            assert_eq!((error.kind(), error.code()), (ErrorKind::Invalid, "bad_client_file"), "{text}");
            let begin = format!("{}, line {line}: ", folder.path().join("user.toml").display());
            assert!(error.explanation().starts_with(&begin) && error.explanation().contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn a_file_that_others_may_write_is_refused() {
        for mode in [0o664, 0o646, 0o666] {
            let (folder, lookup) = files(Some(FILE), None);
            std::fs::set_permissions(folder.path().join("user.toml"), std::fs::Permissions::from_mode(mode)).unwrap();
            let error = lookup.find().unwrap_err();
            assert_eq!(error.code(), "unsafe_client_file");
            assert!(error.explanation().contains(&format!("{mode:04o}")), "{error}");
        }
        let (folder, lookup) = files(Some(FILE), None);
        if std::os::unix::fs::chown(folder.path().join("user.toml"), Some(65_534), None).is_err() {
            eprintln!("skipped: another owner needs root");
            return;
        }
        assert!(lookup.find().unwrap_err().explanation().contains("belongs to user 65534"));
    }

    #[test]
    fn a_file_that_is_none_or_too_large_is_refused_and_nobody_waits_for_a_pipe() {
        let (folder, lookup) = files(Some(&format!("servers = [\"a\"]\n#{}", "x".repeat(70_000))), None);
        assert!(lookup.find().unwrap_err().explanation().contains("is larger than 65536 bytes"));
        let path = folder.path().join("user.toml");
        std::fs::remove_file(&path).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, rustix::fs::Mode::from_raw_mode(0o600), 0).unwrap();
        assert!(lookup.find().unwrap_err().explanation().ends_with(" is no file"));
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, b"servers = [\"\xff\"]").unwrap();
        assert!(lookup.find().unwrap_err().explanation().ends_with(" is not UTF-8"));
    }

    #[test]
    fn a_name_that_is_no_host_is_left_out_of_what_dns_says() {
        let record = |target: &str, port, priority| srv::Record { target: target.into(), port, priority, weight: 0 };
        let records = vec![record("b.example", 1599, 20), record("a b", 1, 5), record("zero.example", 0, 6), record("A.example", 1588, 10)];
        let (servers, ranks) = servers_of(records, &mut |_| 0).unwrap();
        assert_eq!((servers.to_string().as_str(), ranks), ("1588@a.example,1599@b.example", vec![10, 20]));
        assert!(servers_of(vec![record("\u{1b}[2J", 1588, 0)], &mut |_| 0).is_none());
        let many = (0..100).map(|n| record(&format!("s{n}.example"), 1588, n)).collect();
        assert_eq!(servers_of(many, &mut |_| 0).unwrap().0.as_slice().len(), SERVERS_MAX);
    }
}
