//! Configuration: one struct, read from one TOML file, with the environment above it and the command line above both.
//!
//! The text behind each key here is the text of `docs/reference/config.md`; a test writes that page and fails when it is stale.

use std::{
    ffi::OsString,
    fmt,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
    str::FromStr,
};

use serde::{Deserialize, Serialize};
use triquest_wire::{Bytes32, limits};

use crate::prefix::Prefix;

/// A fault in words for the administrator, with a next step. What [`crate::Server::start`] fails with can be downcast to it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    /// What is wrong and where.
    pub message: String,
    /// What to do next, empty if nothing is known to help.
    pub hint: String,
}

impl Fault {
    /// A fault with its next step.
    #[must_use]
    pub fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { message: message.into(), hint: hint.into() }
    }
}

/// One documented key of the configuration.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// As it stands in the file, with its table: `tls.certificate`.
    pub name: &'static str,
    /// What it means.
    pub doc: &'static str,
}

/// Declares one table of the configuration: a struct, and the same comments as data for the reference page.
macro_rules! table {
    ($(#[$outer:meta])* $name:ident, $prefix:literal { $($(#[doc = $doc:literal])+ $field:ident: $type:ty,)* }) => {
        $(#[$outer])*
        #[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct $name { $($(#[doc = $doc])+ pub $field: $type,)* }

        impl $name {
            /// Its keys and what they mean.
            pub const KEYS: &[Key] = &[$(Key { name: concat!($prefix, stringify!($field)), doc: concat!($($doc, "\n"),+) },)*];
        }
    };
}

table! {
    /// The whole configuration. Empty is valid.
    Config, "" {
        /// Group whose members may administer this server through its Unix socket, besides root and the server's own user. None by default.
        /// With a group, the data directory may be entered by it (mode 0710) so that the socket can be reached; files in it stay closed.
        admin_group: Option<String>,
        /// Folders, each with its whole path, that `triquest-lm journal backup` may write into while the server runs, besides `backups` in the data
        /// directory. Only root and the server's user may be able to write them. Default: none. Needs a restart.
        backups: Vec<PathBuf>,
        /// The data directory: keys, journal, admin socket. Default: `/var/lib/triquest-lm` for root, otherwise `~/.local/state/triquest-lm`.
        data: Option<PathBuf>,
        /// How clients find this server. Needs a restart.
        discovery: Discovery,
        /// More names by which this server is asked for in URLs, besides its addresses, `localhost`, this machine's name and the names
        /// in its certificate. A request under any other name is refused, which keeps foreign web pages out.
        hosts: Vec<String>,
        /// Folder of license files, read at start and at reload. A file that vanishes removes nothing. Default: `licenses` in the data directory.
        licenses: Option<PathBuf>,
        /// Limits that differ from the built-in ones.
        limits: Limits,
        /// Where to listen, each as `ADDRESS:PORT`. Default: port 1588 on every address, IPv6 and IPv4. Needs a restart.
        listen: Vec<String>,
        /// The log.
        log: Log,
        /// Whether everybody who may look sees the names of users and hosts, the list of licenses and the keys of vendors; otherwise only
        /// administrators do. Default: false.
        names_open: bool,
        /// Networks whose clients come through something that translates addresses or stands in their place: NAT, a bridge for containers, a proxy. Each
        /// as `10.1.0.0/16`, as this server sees its clients. There a presence connection that ends in order frees its seats 30 s later, unless the
        /// client is heard before; this is recorded as possible over-use. Elsewhere such connections free nothing early. Default: none.
        presence_networks: Vec<Prefix>,
        /// The certificate of TLS.
        tls: Tls,
        /// SHA-256 over the SubjectPublicKeyInfo of TLS proxies in front of this server, as hexadecimal or base64url digits. The server then
        /// vouches for connections that end there. Presence connections free nothing early while this is set, since a proxy's end is not a program's,
        /// but for those from `presence_networks`.
        vouch_for: Vec<KeyHash>,
    }
}

table! {
    /// The table `[discovery]`.
    Discovery, "discovery." {
        /// The interfaces on which questions to groups and to everybody are answered and mDNS announces, by name, with `*` at the end for all that
        /// begin so. Default: all but the loopback and those of containers, virtual machines and tunnels. Needs a restart.
        interfaces: Vec<String>,
        /// Whether the server announces itself by mDNS, for people who look for one on their network. Default: false. Needs a restart.
        mdns: bool,
        /// Whether the server answers questions for its identity over UDP, on the same addresses and port. Default: true. Needs a restart.
        udp: UnlessOff,
    }
}

table! {
    /// The table `[limits]`.
    Limits, "limits." {
        /// Most connections at once. Default: 20000, less if the system allows fewer open files. Needs a restart.
        connections: Option<usize>,
        /// Most connections at once from one IPv4 address or IPv6 /64. Default: 12000. Needs a restart.
        connections_per_address: Option<usize>,
        /// Denials of one feature that one address may cause at once before it must slow down. Default: 200. Needs a restart.
        denials_burst: Option<u32>,
        /// Denials of one feature per second that one address may cause for long. Default: 5. Needs a restart.
        denials_per_second: Option<u32>,
        /// New leases that one address may ask for at once, for networks that come through one address. Default: 20000. Needs a restart.
        new_ids_burst: Option<u32>,
        /// New leases per second that one address may ask for for long. Default: 300. Needs a restart.
        new_ids_per_second: Option<u32>,
        /// Reads (the status, lists, pages) that one address may make at once. Default: 2000. Needs a restart.
        reads_burst: Option<u32>,
        /// Reads per second that one address may make for long. Default: 200. Needs a restart.
        reads_per_second: Option<u32>,
    }
}

table! {
    /// The table `[log]`.
    Log, "log." {
        /// `text` for people, `json` for collectors. Default: text. Needs a restart.
        format: LogFormat,
        /// `error`, `warn`, `info`, `debug` or `trace`. Default: info.
        level: LogLevel,
    }
}

table! {
    /// The table `[tls]`.
    Tls, "tls." {
        /// Certificate chain in PEM. Read again at reload. Default: one that the server makes itself and vouches for with its own key.
        certificate: Option<PathBuf>,
        /// The certificate's private key in PEM, which only the server's user may read.
        key: Option<PathBuf>,
    }
}

/// A switch that is on unless it is switched off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(transparent)]
pub struct UnlessOff(pub bool);

impl Default for UnlessOff {
    fn default() -> Self {
        Self(true)
    }
}

/// Form of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// One JSON object for each line.
    Json,
    /// For people.
    #[default]
    Text,
}

/// How much is logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LogLevel {
    /// Steps of the program.
    Debug,
    /// What needs somebody.
    Error,
    /// What an administrator wants to know.
    #[default]
    Info,
    /// Everything.
    Trace,
    /// What may need somebody.
    Warn,
}

impl LogLevel {
    /// As `tracing` names it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Error => "error",
            Self::Info => "info",
            Self::Trace => "trace",
            Self::Warn => "warn",
        }
    }
}

/// SHA-256 over a SubjectPublicKeyInfo.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyHash(pub [u8; 32]);

impl FromStr for KeyHash {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = "a key hash is 64 hexadecimal or 43 base64url digits";
        if let Ok(hash) = triquest_license::LicenseHash::from_str(&text.to_ascii_lowercase().replace(':', "")) {
            return Ok(Self(*hash.as_bytes()));
        }
        let quoted = serde_json::Value::String(text.to_owned());
        Bytes32::deserialize(quoted).map(|bytes| Self(bytes.0)).map_err(|_| wrong)
    }
}

impl TryFrom<String> for KeyHash {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<KeyHash> for String {
    fn from(hash: KeyHash) -> Self {
        hash.to_string()
    }
}

impl fmt::Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyHash({self})")
    }
}

/// What the command line says, above environment and file.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// `--data`.
    pub data: Option<PathBuf>,
    /// `--listen`, any number of times.
    pub listen: Vec<String>,
    /// `--log-format`.
    pub log_format: Option<LogFormat>,
    /// `--log-level`.
    pub log_level: Option<LogLevel>,
}

/// A configuration together with what only the command line may say.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// File, environment and flags, merged.
    pub config: Config,
    /// The file it was read from, if any: read again at reload.
    pub file: Option<PathBuf>,
    /// Where a file that is made after the start is looked for at reload: `config.toml` in the data directory. None if a file was named, and for a
    /// configuration that was made in code.
    pub beside: Option<PathBuf>,
    /// The command line's part, put above the file again at reload.
    pub overrides: Overrides,
    /// `--init`: a named data directory without a journal becomes a new server.
    pub init: bool,
    /// `--accept-clock`: believe the wall clock as it stands now.
    pub accept_clock: bool,
    /// What anonymous clients can take, before the configuration's own values; for tests and programs that embed the server.
    pub limits: crate::limits::Limits,
    /// `--end-quarantine`: grant again now after the restore or rollback that began this history. The quarantine of another one goes on.
    pub end_quarantine: Option<triquest_wire::NamedLineage>,
    /// The version that writes the journal; none is this program's own. For tests.
    pub version: Option<String>,
}

impl Settings {
    /// Settings for a configuration that was made in code.
    #[must_use]
    pub fn of(config: Config) -> Self {
        Self { config, ..Self::default() }
    }

    /// Reads the file (`--config`, else `TRIQUEST_LM_CONFIG`, else `config.toml` in the data directory if there is one), then the
    /// environment, then the overrides.
    ///
    /// # Errors
    /// [`Fault`] that points at the place.
    pub fn load(file: Option<&Path>, overrides: Overrides, environment: &dyn Fn(&str) -> Option<OsString>) -> Result<Self, Fault> {
        let named =
            file.map(Path::to_owned).or_else(|| environment("TRIQUEST_LM_CONFIG").filter(|name| !name.is_empty()).map(PathBuf::from));
        let beside = || {
            let data =
                overrides.data.clone().or_else(|| environment("TRIQUEST_LM_DATA").filter(|name| !name.is_empty()).map(PathBuf::from));
            data.unwrap_or_else(default_data_dir).join("config.toml")
        };
        let beside = named.is_none().then(beside);
        let file = named.or_else(|| beside.clone().filter(|file| is_there(file)));
        let mut config = match &file {
            Some(file) => Config::read(file)?,
            None => Config::default(),
        };
        config.apply_environment(environment)?;
        config.apply(&overrides);
        config.check()?;
        Ok(Self { config, file, beside, overrides, ..Self::default() })
    }

    /// The file that a reload reads: the one that was read before, else one that was made since in the data directory.
    pub(crate) fn file_now(&self) -> Option<PathBuf> {
        self.file.clone().or_else(|| self.beside.clone().filter(|file| is_there(file)))
    }
}

/// Whether anything has this name, also what cannot be read: that is said then, and not passed over.
fn is_there(file: &Path) -> bool {
    std::fs::symlink_metadata(file).is_ok()
}

/// Every environment variable that the server reads, with the key that it stands for.
pub const VARIABLES: &[(&str, &str)] = &[
    ("TRIQUEST_LM_ADMIN_GROUP", "admin_group"),
    ("TRIQUEST_LM_CONFIG", ""),
    ("TRIQUEST_LM_DATA", "data"),
    ("TRIQUEST_LM_DISCOVERY_INTERFACES", "discovery.interfaces"),
    ("TRIQUEST_LM_DISCOVERY_MDNS", "discovery.mdns"),
    ("TRIQUEST_LM_DISCOVERY_UDP", "discovery.udp"),
    ("TRIQUEST_LM_HOSTS", "hosts"),
    ("TRIQUEST_LM_LICENSES", "licenses"),
    ("TRIQUEST_LM_LISTEN", "listen"),
    ("TRIQUEST_LM_LOG_FORMAT", "log.format"),
    ("TRIQUEST_LM_LOG_LEVEL", "log.level"),
    ("TRIQUEST_LM_NAMES_OPEN", "names_open"),
    ("TRIQUEST_LM_PRESENCE_NETWORKS", "presence_networks"),
    ("TRIQUEST_LM_TLS_CERTIFICATE", "tls.certificate"),
    ("TRIQUEST_LM_TLS_KEY", "tls.key"),
    ("TRIQUEST_LM_VOUCH_FOR", "vouch_for"),
];

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    /// [`Fault`] that shows the line with a caret under the place.
    pub fn read(file: &Path) -> Result<Self, Fault> {
        let text = crate::identity::read_trusted(file)?;
        Self::parse(&text, &file.display().to_string())
    }

    /// Reads text; `name` stands in errors.
    ///
    /// # Errors
    /// [`Fault`] that shows the line with a caret under the place.
    pub fn parse(text: &str, name: &str) -> Result<Self, Fault> {
        toml::from_str(text).map_err(|cause| Fault::new(format!("{name}: {}", cause.to_string().trim_end()), hint(cause.message())))
    }

    fn apply_environment(&mut self, environment: &dyn Fn(&str) -> Option<OsString>) -> Result<(), Fault> {
        let list = |text: String| text.split(',').map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect::<Vec<_>>();
        for (variable, key) in VARIABLES {
            let Some(given) = environment(variable).filter(|given| !given.is_empty()) else { continue };
            let wrong = |why: &str| Fault::new(format!("{variable}={given:?}: {why}"), "`triquest-lm serve --help` lists every variable");
            // A path may be any bytes; all else is text.
            let text = match *key {
                "data" | "licenses" | "tls.certificate" | "tls.key" => String::new(),
                _ => given.to_str().ok_or_else(|| wrong("is not UTF-8"))?.to_owned(),
            };
            let truth = || text.parse::<bool>().map_err(|_| wrong("needs `true` or `false`"));
            let word = |text: &str| toml::Value::String(text.to_owned());
            match *key {
                "admin_group" => self.admin_group = Some(text),
                "data" => self.data = Some(given.into()),
                "discovery.interfaces" => self.discovery.interfaces = list(text),
                "discovery.mdns" => self.discovery.mdns = truth()?,
                "discovery.udp" => self.discovery.udp = UnlessOff(truth()?),
                "hosts" => self.hosts = list(text),
                "licenses" => self.licenses = Some(given.into()),
                "listen" => self.listen = list(text),
                "log.format" => self.log.format = word(&text).try_into().map_err(|_| wrong("needs `text` or `json`"))?,
                "log.level" => {
                    self.log.level = word(&text).try_into().map_err(|_| wrong("needs `error`, `warn`, `info`, `debug` or `trace`"))?
                }
                "names_open" => self.names_open = truth()?,
                "presence_networks" => {
                    let networks = list(text.clone()).iter().map(|part| part.parse()).collect::<Result<_, String>>();
                    self.presence_networks = networks.map_err(|why| wrong(&why))?;
                }
                "tls.certificate" => self.tls.certificate = Some(given.into()),
                "tls.key" => self.tls.key = Some(given.into()),
                "vouch_for" => {
                    self.vouch_for = list(text.clone()).iter().map(|part| part.parse()).collect::<Result<_, _>>().map_err(wrong)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn apply(&mut self, overrides: &Overrides) {
        if let Some(data) = &overrides.data {
            self.data = Some(data.clone());
        }
        if !overrides.listen.is_empty() {
            self.listen.clone_from(&overrides.listen);
        }
        if let Some(format) = overrides.log_format {
            self.log.format = format;
        }
        if let Some(level) = overrides.log_level {
            self.log.level = level;
        }
    }

    /// What no parser can see: addresses, pairs, bounds.
    ///
    /// # Errors
    /// [`Fault`] that names the key.
    pub fn check(&self) -> Result<(), Fault> {
        self.listen_addresses()?;
        if self.tls.certificate.is_some() != self.tls.key.is_some() {
            return Err(Fault::new(
                "tls.certificate and tls.key belong together, and one of them is missing",
                "name both, or neither to use the server's own certificate",
            ));
        }
        let at_most = |key: &str, value: Option<usize>, most: usize| match value {
            Some(value) if value == 0 || value > most => Err(Fault::new(format!("{key} = {value}: must be from 1 to {most}"), "")),
            _ => Ok(()),
        };
        at_most("limits.connections", self.limits.connections, limits::CONNECTIONS_MAX)?;
        at_most("limits.connections_per_address", self.limits.connections_per_address, limits::CONNECTIONS_MAX)?;
        at_most("limits.denials_burst", self.limits.denials_burst.map(|n| n as usize), 1_000_000)?;
        at_most("limits.denials_per_second", self.limits.denials_per_second.map(|n| n as usize), 100_000)?;
        at_most("limits.new_ids_burst", self.limits.new_ids_burst.map(|n| n as usize), 10_000_000)?;
        at_most("limits.new_ids_per_second", self.limits.new_ids_per_second.map(|n| n as usize), 100_000)?;
        at_most("limits.reads_burst", self.limits.reads_burst.map(|n| n as usize), 10_000_000)?;
        at_most("limits.reads_per_second", self.limits.reads_per_second.map(|n| n as usize), 100_000)?;
        if let Some(folder) = self.backups.iter().find(|folder| !folder.is_absolute()) {
            return Err(Fault::new(format!("backups: {} is no whole path", folder.display()), "begin it with `/`"));
        }
        for name in &self.discovery.interfaces {
            // IFNAMSIZ with its final zero; the rest is what the kernel takes as a name.
            let plain = name.strip_suffix('*').unwrap_or(name);
            if name.is_empty() || name.len() > 15 || plain.contains(|c: char| c == '*' || c == '/' || c.is_whitespace() || c.is_control()) {
                return Err(Fault::new(
                    format!("discovery.interfaces: {name:?} is no name of an interface"),
                    "`ip link` lists them; `*` may stand at the end, such as `eth*`",
                ));
            }
        }
        for host in &self.hosts {
            if host.is_empty() || !host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte)) {
                return Err(Fault::new(
                    format!("hosts: {host:?} is no host name"),
                    "give names without scheme and port, such as `licenses.example.com`",
                ));
            }
        }
        Ok(())
    }

    /// What may be meant and most likely is not, in sentences for the administrator.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let everything = self.presence_networks.iter().filter(|network| network.is_everything());
        everything
            .map(|network| {
                format!(
                    "presence_networks has {network}, which is every address: the end of any client's connection then frees its seats 30 s later, \
                     also where something between them ended it, so that seats may be in use twice; name only the networks that translate addresses"
                )
            })
            .collect()
    }

    /// Where to listen; empty means the default, [`Config::DEFAULT_LISTEN`].
    ///
    /// # Errors
    /// [`Fault`] naming what is no address with a port.
    pub fn listen_addresses(&self) -> Result<Vec<SocketAddr>, Fault> {
        self.listen
            .iter()
            .map(|text| {
                let port_only = text.strip_prefix(':').or_else(|| text.strip_prefix("*:")).and_then(|port| port.parse().ok());
                let all = port_only.map(|port| SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)));
                let localhost =
                    || text.strip_prefix("localhost:").and_then(|port| port.parse().ok()).map(|port| (Ipv4Addr::LOCALHOST, port).into());
                all.or_else(localhost).or_else(|| text.parse().ok()).ok_or_else(|| {
                    Fault::new(
                        format!("cannot listen on {text:?}: that is no ADDRESS:PORT"),
                        "such as `0.0.0.0:1588`, `[::]:1588`, `127.0.0.1:0` or `:1588`; the address is one of this machine's, not a name",
                    )
                })
            })
            .collect()
    }

    /// Where a server without configuration listens: every address, by IPv6 and IPv4.
    pub const DEFAULT_LISTEN: SocketAddr = SocketAddr::V6(std::net::SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, limits::PORT, 0, 0));

    /// The data directory that counts.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.data.clone().unwrap_or_else(default_data_dir)
    }

    /// The folder of licenses that counts.
    #[must_use]
    pub fn licenses_dir(&self) -> PathBuf {
        self.licenses.clone().unwrap_or_else(|| self.data_dir().join("licenses"))
    }

    /// Every key with its meaning, tables included.
    #[must_use]
    pub fn all_keys() -> Vec<Key> {
        let tables = ["discovery", "limits", "log", "tls"];
        let own = Self::KEYS.iter().filter(|key| !tables.contains(&key.name));
        own.chain(Discovery::KEYS).chain(Limits::KEYS).chain(Log::KEYS).chain(Tls::KEYS).copied().collect()
    }

    /// What `triquest-lm serve --help` says of the file and the environment.
    #[must_use]
    pub fn help() -> String {
        let mut help = String::from("Keys of the configuration file, in TOML, and the environment variables above them:\n");
        for key in Self::all_keys() {
            let variable = VARIABLES.iter().find(|(_, of)| *of == key.name).map_or("", |(variable, _)| variable);
            let doc = key.doc.split_whitespace().collect::<Vec<_>>().join(" ");
            help.push_str(&format!("\n  {}", key.name));
            if !variable.is_empty() {
                help.push_str(&format!("  [env: {variable}]"));
            }
            help.push_str(&format!("\n      {doc}\n"));
        }
        help.push_str(
            "\nIn the file, a list stands in brackets: listen = [\"127.0.0.1:1588\"]. In a variable, its parts are separated by commas.",
        );
        help
    }

    /// The page `docs/reference/config.md`.
    #[must_use]
    pub fn reference() -> String {
        let mut page = String::from(
            "# Configuration of the server\n\n\
             <!-- Generated from crates/server/src/config.rs: `UPDATE=1 cargo test -p triquest-server config`. -->\n\n\
             `triquest-lm serve` needs none. What there is comes from one TOML file, with environment variables above it and the command line above\n\
             both. The file is `--config FILE`, else `TRIQUEST_LM_CONFIG`, else `config.toml` in the data directory. An unknown key is an error.\n\
             `triquest-lm serve --check` reads everything, says what is wrong, and exits. At reload (SIGHUP, `systemctl reload`) the file, the\n\
             certificate and the folder of licenses are read again; keys that say so need a restart.\n\n\
             | key | environment | meaning |\n|---|---|---|\n",
        );
        for key in Self::all_keys() {
            let variable =
                VARIABLES.iter().find(|(_, of)| *of == key.name).map(|(variable, _)| format!("`{variable}`")).unwrap_or_default();
            let doc = key.doc.split_whitespace().collect::<Vec<_>>().join(" ");
            page.push_str(&format!("| `{}` | {variable} | {doc} |\n", key.name));
        }
        page.push_str(
            "\nLists in environment variables are separated by commas.\n\n\
             ```toml\n\
             listen = [\"10.1.4.20:1588\", \"127.0.0.1:1588\"]\n\
             admin_group = \"licadmin\"\n\
             licenses = \"/etc/triquest-lm/licenses\"\n\n\
             [tls]\n\
             certificate = \"/etc/triquest-lm/tls.crt\"\n\
             key = \"/etc/triquest-lm/tls.key\"\n\n\
             [log]\n\
             format = \"json\"\n\
             ```\n",
        );
        page
    }
}

/// What may help with what the parser says: `unknown field `X`, expected one of `A`, `B``, or `invalid type: string "X", expected a sequence`.
fn hint(message: &str) -> String {
    const KEYS: &str = "`triquest-lm serve --help` lists every key";
    let mut quoted = message.split('`').skip(1).step_by(2);
    if let Some(found) = quoted.next().filter(|_| message.starts_with("unknown field "))
        && let Some(near) = triquest_license::nearest(found, &quoted.collect::<Vec<_>>())
    {
        return format!("did you mean `{near}`? {KEYS}");
    }
    let Some((found, wanted)) = message.strip_prefix("invalid type: ").and_then(|rest| rest.rsplit_once(", expected ")) else {
        return KEYS.to_owned();
    };
    match (wanted, found.strip_prefix("string ")) {
        ("a sequence", Some(string)) => format!("a list stands in brackets: [{string}]"),
        ("a sequence", None) => "a list stands in brackets, such as [\"127.0.0.1:1588\"]".to_owned(),
        ("a string", _) => "text stands in double quotes".to_owned(),
        ("a boolean", _) => "write true or false, without quotes".to_owned(),
        (_, Some(_)) => format!("a number stands without quotes; {KEYS}"),
        _ => KEYS.to_owned(),
    }
}

/// A variable of the environment, if it is set. The server reads it nowhere else.
pub(crate) fn environment(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

/// The data directory where none is named: `/var/lib/triquest-lm` for root, otherwise `triquest-lm` in the user's state folder.
#[must_use]
pub fn default_data_dir() -> PathBuf {
    if rustix::process::geteuid().is_root() {
        return PathBuf::from("/var/lib/triquest-lm");
    }
    let absolute = |name: &str| environment(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = absolute("XDG_STATE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".local/state")));
    // Without a home there is no better place; the checks of the directory's owner and mode still hold.
    state.unwrap_or_else(|| PathBuf::from("/var/tmp")).join("triquest-lm")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn nothing(_: &str) -> Option<OsString> {
        None
    }

    #[test]
    fn empty_configuration_is_valid() {
        assert_eq!(Config::parse("", "x").unwrap(), Config::default());
        Config::default().check().unwrap();
    }

    #[test]
    fn an_unknown_key_is_an_error_that_points_at_the_place() {
        let fault = Config::parse("listen = []\nlisen = 3\n", "server.toml").unwrap_err();
        assert!(fault.message.starts_with("server.toml: TOML parse error at line 2, column 1"), "{}", fault.message);
        assert!(fault.message.contains("^^^^^"), "{}", fault.message);
        assert!(Config::parse("[tls]\ncertifcate = 'x'", "x").unwrap_err().message.contains("line 2"));
    }

    #[test]
    fn a_fault_names_the_nearest_key_or_what_belongs_there_and_where_all_keys_are_listed() {
        for (text, says) in [
            ("lisen = []", "did you mean `listen`?"),
            ("[tls]\ncertifcate = 'x'", "did you mean `certificate`?"),
            ("nonsense = 1", "`triquest-lm serve --help` lists every key"),
            ("listen = '127.0.0.1:0'", "a list stands in brackets: [\"127.0.0.1:0\"]"),
            ("names_open = 'yes'", "write true or false"),
            ("[limits]\nconnections = '7'", "a number stands without quotes"),
        ] {
            let fault = Config::parse(text, "server.toml").unwrap_err();
            assert!(fault.hint.contains(says), "{text}: {}", fault.hint);
        }
        for key in Config::all_keys() {
            assert!(Config::help().contains(&format!("\n  {}", key.name)), "{}", key.name);
        }
    }

    #[test]
    fn the_environment_is_above_the_file_and_the_command_line_above_both() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("c.toml");
        std::fs::write(&file, "listen = ['1.1.1.1:1']\nnames_open = true\n[log]\nlevel='warn'\nformat='json'").unwrap();
        let environment = |name: &str| match name {
            "TRIQUEST_LM_LISTEN" => Some("2.2.2.2:2, [::1]:3".into()),
            "TRIQUEST_LM_LOG_LEVEL" => Some("debug".into()),
            _ => None,
        };
        let settings = Settings::load(Some(&file), Overrides::default(), &environment).unwrap();
        assert_eq!(settings.config.listen, ["2.2.2.2:2", "[::1]:3"]);
        assert_eq!(settings.config.log, Log { format: LogFormat::Json, level: LogLevel::Debug });
        assert!(settings.config.names_open);
        let overrides = Overrides { listen: vec!["127.0.0.1:0".into()], log_level: Some(LogLevel::Error), ..Overrides::default() };
        let settings = Settings::load(Some(&file), overrides, &environment).unwrap();
        assert_eq!(settings.config.listen, ["127.0.0.1:0"]);
        assert_eq!(settings.config.log.level, LogLevel::Error);
        let wrong = |name: &str| (name == "TRIQUEST_LM_NAMES_OPEN").then(|| "perhaps".into());
        assert!(Settings::load(Some(&file), Overrides::default(), &wrong).unwrap_err().message.contains("TRIQUEST_LM_NAMES_OPEN"));
    }

    #[test]
    fn a_variable_that_is_no_text_is_told_where_it_must_be_and_taken_where_it_names_a_file() {
        use std::os::unix::ffi::OsStrExt as _;
        let strange = std::ffi::OsStr::from_bytes(b"x\xff");
        let set = |wanted: &'static str| move |name: &str| (name == wanted).then(|| strange.to_owned());
        let fault = Settings::load(None, Overrides::default(), &set("TRIQUEST_LM_HOSTS")).unwrap_err();
        assert!(fault.message.starts_with("TRIQUEST_LM_HOSTS=") && fault.message.ends_with("is not UTF-8"), "{}", fault.message);
        let data = Settings::load(None, Overrides::default(), &set("TRIQUEST_LM_DATA")).unwrap().config.data_dir();
        assert_eq!(data.as_os_str(), strange);
    }

    #[test]
    fn a_server_is_found_over_udp_unless_that_is_switched_off_and_by_mdns_if_it_is_switched_on() {
        let load = |variables: &'static [(&str, &str)]| {
            let environment = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, text)| (*text).into());
            let mut config = Config::default();
            config.apply_environment(&environment).map(|()| config.discovery)
        };
        assert_eq!(load(&[]).unwrap(), Discovery { interfaces: Vec::new(), mdns: false, udp: UnlessOff(true) });
        let wished = load(&[
            ("TRIQUEST_LM_DISCOVERY_UDP", "false"),
            ("TRIQUEST_LM_DISCOVERY_MDNS", "true"),
            ("TRIQUEST_LM_DISCOVERY_INTERFACES", "eth0, bond*"),
        ]);
        let interfaces = vec!["eth0".to_owned(), "bond*".to_owned()];
        assert_eq!(wished.unwrap(), Discovery { interfaces, mdns: true, udp: UnlessOff(false) });
        assert!(load(&[("TRIQUEST_LM_DISCOVERY_UDP", "perhaps")]).unwrap_err().message.contains("TRIQUEST_LM_DISCOVERY_UDP"));
        assert_eq!(Config::parse("[discovery]\nmdns = true", "x").unwrap().discovery.udp, UnlessOff(true));
    }

    #[test]
    fn the_file_in_the_data_directory_is_found() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("config.toml"), "names_open = true").unwrap();
        let overrides = Overrides { data: Some(dir.path().to_owned()), ..Overrides::default() };
        assert!(Settings::load(None, overrides, &nothing).unwrap().config.names_open);
    }

    #[test]
    fn a_network_that_is_every_address_is_taken_with_a_warning() {
        let said = |networks: &str| Config::parse(&format!("presence_networks=[{networks}]"), "x").unwrap().warnings();
        assert!(said("'0.0.0.0/0'")[0].contains("0.0.0.0/0, which is every address"));
        assert_eq!(said("'10.0.0.0/8', '::/0'").len(), 1);
        assert!(said("'10.0.0.0/8', 'fd00::/8'").is_empty());
    }

    #[test]
    fn a_file_that_others_can_write_or_a_link_is_not_obeyed() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config.toml");
        std::fs::write(&file, "names_open = true").unwrap();
        for (mode, taken) in [(0o600, true), (0o644, true), (0o664, false), (0o666, false), (0o602, false)] {
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
            let read = Config::read(&file);
            assert_eq!(read.is_ok(), taken, "{mode:o}");
            assert!(taken || read.unwrap_err().hint.contains("chmod go-w"));
        }
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        let link = dir.path().join("link.toml");
        std::os::unix::fs::symlink(&file, &link).unwrap();
        assert!(Config::read(&link).unwrap_err().message.contains("symbolic link"));
        assert!(Config::read(dir.path()).unwrap_err().message.contains("no plain file"));
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(&file, Some(12_345), None).unwrap();
            assert!(Config::read(&file).unwrap_err().message.contains("belongs to user"));
        }
    }

    #[test]
    fn half_a_certificate_and_a_bad_address_are_refused() {
        assert!(Config::parse("[tls]\nkey='k'", "x").unwrap().check().unwrap_err().message.contains("tls.certificate"));
        assert!(Config::parse("listen=['ws1:1588']", "x").unwrap().check().unwrap_err().message.contains("ws1:1588"));
        assert!(Config::parse("listen=['1588']", "x").unwrap().check().is_err());
        assert!(Config::parse("[limits]\nconnections=0", "x").unwrap().check().is_err());
        for name in ["", "a*b", "eth 0", "eth/0", "an-interface-too-long"] {
            let config = Config::parse(&format!("[discovery]\ninterfaces=[{name:?}]"), "x").unwrap();
            assert!(config.check().unwrap_err().message.contains("discovery.interfaces"), "{name:?}");
        }
        assert_eq!(Config::parse("listen=[':7']", "x").unwrap().listen_addresses().unwrap(), ["[::]:7".parse().unwrap()]);
    }

    #[test]
    fn networks_are_read_and_what_is_none_is_refused() {
        let config = Config::parse("presence_networks=['10.1.0.0/16', 'fd00::7']", "x").unwrap();
        assert_eq!(config.presence_networks, ["10.1.0.0/16".parse().unwrap(), "fd00::7".parse().unwrap()]);
        assert!(Config::parse("presence_networks=['10.1.2.3/16']", "x").unwrap_err().message.contains("10.1.0.0/16"));
        let load = |text: &'static str| {
            let mut config = Config::default();
            config.apply_environment(&|name| (name == "TRIQUEST_LM_PRESENCE_NETWORKS").then(|| text.into())).map(|()| config)
        };
        assert_eq!(load("10.1.0.0/16,fd00::7").unwrap().presence_networks, config.presence_networks);
        assert!(load("lab").unwrap_err().message.contains("TRIQUEST_LM_PRESENCE_NETWORKS"));
    }

    #[test]
    fn key_hashes_are_read_in_both_forms() {
        let hex = "ab".repeat(32);
        let hash: KeyHash = hex.parse().unwrap();
        assert_eq!(hash.0, [0xab; 32]);
        assert_eq!(Bytes32(hash.0).to_string().parse::<KeyHash>().unwrap(), hash);
        assert!("zz".parse::<KeyHash>().is_err());
    }

    #[test]
    fn the_reference_page_is_not_stale_and_every_key_is_on_it() {
        let page = Config::reference();
        let mut table = toml::Table::try_from(Config {
            admin_group: Some(String::new()),
            data: Some(PathBuf::new()),
            licenses: Some(PathBuf::new()),
            limits: Limits {
                connections: Some(1),
                connections_per_address: Some(1),
                denials_burst: Some(1),
                denials_per_second: Some(1),
                new_ids_burst: Some(1),
                new_ids_per_second: Some(1),
                reads_burst: Some(1),
                reads_per_second: Some(1),
            },
            tls: Tls { certificate: Some(PathBuf::new()), key: Some(PathBuf::new()) },
            ..Config::default()
        })
        .unwrap();
        let mut names: Vec<String> = Vec::new();
        for (name, value) in std::mem::take(&mut table) {
            match value {
                toml::Value::Table(inner) => names.extend(inner.keys().map(|key| format!("{name}.{key}"))),
                _ => names.push(name),
            }
        }
        names.sort();
        let mut documented: Vec<String> = Config::all_keys().iter().map(|key| key.name.to_owned()).collect();
        documented.sort();
        assert_eq!(names, documented);
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/config.md");
        if std::env::var_os("UPDATE").is_some() {
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(&file, &page).unwrap();
        }
        assert_eq!(std::fs::read_to_string(&file).unwrap_or_default(), page, "run `UPDATE=1 cargo test -p triquest-server config`");
    }
}
