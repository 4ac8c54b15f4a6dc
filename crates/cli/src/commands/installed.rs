//! `license request`, `install`, `list`, `remove`: the licenses of the server on this machine.

use std::{
    io::Read as _,
    path::{Path, PathBuf},
};

use triquest_license::{CivilDate, CivilMs, LicenseHash, PublicKey, VendorName, VerifierKey, limits::INPUT_BYTES_MAX, read_any};
use triquest_wire::{
    Bytes32,
    license::{InstallAnswer, InstallOutcome, InstallRequest, LicenseState, LicenseSummary, RemoveAnswer, RemoveRequest},
};

use crate::{
    admin::{Admin, DataDir},
    commands::status::{ends_text, json_word},
    failure::{Failure, exit},
    terminal::{Align, Table, Terminal, escape},
};

/// The part of `license` that needs the server's data directory.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum InstalledCommand {
    /// Install licenses on the server of this machine, while it runs
    Install(InstallCommand),
    /// List the licenses of the server of this machine
    List(ListCommand),
    /// Take a license off the server; its seats end with the promises already made
    Remove(RemoveLicenseCommand),
    /// Write the signed request that a vendor needs to make a license for this server
    Request(RequestCommand),
}

impl InstalledCommand {
    pub(crate) fn run(self, terminal: &Terminal) -> Result<u8, Failure> {
        match self {
            Self::Install(command) => command.run(terminal),
            Self::List(command) => command.run(terminal),
            Self::Remove(command) => command.run(terminal),
            Self::Request(command) => command.run(terminal),
        }
    }
}

/// `license install FILE...`.
#[derive(Debug, clap::Args)]
pub(crate) struct InstallCommand {
    /// License files, licenses on one line (tql1....), or - for standard input
    #[arg(required = true, value_name = "FILE|LINE|-")]
    licenses: Vec<String>,
    /// Why, for the record
    #[arg(long, default_value = "", hide_default_value = true)]
    reason: String,
    #[command(flatten)]
    data: DataDir,
}

impl InstallCommand {
    /// Each license is tried, whatever becomes of the others, and what became of it is said.
    fn run(self, terminal: &Terminal) -> Result<u8, Failure> {
        let [given] = self.licenses.as_slice() else { return self.several(terminal) };
        let license = read_license(given)?;
        self.install(terminal, &Admin::connect(&self.data)?, given, license)?;
        Ok(exit::OK)
    }

    fn several(&self, terminal: &Terminal) -> Result<u8, Failure> {
        let mut admin = None;
        let mut failed = 0;
        for given in &self.licenses {
            let installed = match (read_license(given), &mut admin) {
                (Err(failure), _) => Err(failure),
                (Ok(license), Some(admin)) => self.install(terminal, admin, given, license),
                // Without a server none can be installed, so that ends it.
                (Ok(license), none) => self.install(terminal, none.insert(Admin::connect(&self.data)?), given, license),
            };
            if let Err(failure) = installed {
                failed += 1;
                terminal.failure(&failure);
            }
        }
        if failed == 0 {
            return Ok(exit::OK);
        }
        Err(Failure::new(format_args!("{failed} of {} licenses were not installed", self.licenses.len())))
    }

    fn install(&self, terminal: &Terminal, admin: &Admin, given: &str, license: String) -> Result<(), Failure> {
        let request = InstallRequest { license, reason: self.reason.clone() };
        let answer: InstallAnswer = admin.post("/v1/licenses", &request).map_err(|failure| named(failure, given))?;
        let id = escape(&answer.license).into_owned();
        match answer.outcome {
            InstallOutcome::AlreadyInstalled => terminal.verb("Unchanged", format_args!("{id}: already installed")),
            InstallOutcome::Replaced => {
                let by = answer.successor.as_ref().map_or_else(String::new, |successor| {
                    format!(" by {}, in force since {}", escape(&successor.license), CivilDate::of(CivilMs(successor.since_ms)))
                });
                terminal.verb("Unchanged", format_args!("{id} was replaced{by}; nothing to do"));
            }
            InstallOutcome::Installed => {
                let ends = if answer.ending == 0 { String::new() } else { format!(": {}", ending(answer.ending)) };
                terminal.verb("Installed", format_args!("{id}{}{ends}", replaced(&answer.replaced)));
            }
            InstallOutcome::Waiting => {
                terminal.verb(
                    "Installed",
                    format_args!("{id}{}: waiting, takes effect by itself on its first day", replaced(&answer.replaced)),
                );
            }
        }
        for notice in &answer.notices {
            terminal.warning(escape(notice));
        }
        if !answer.notices.is_empty() {
            terminal.hint(format_args!(
                "if {id} was to take the place of another, remove it (triquest-lm license remove {id} --reason TEXT{}) and ask the vendor for one that `replaces` the other and that a key of the other signs",
                self.data.argument()
            ));
        }
        Ok(())
    }
}

/// Leases that end because of a change of licenses.
fn ending(leases: u32) -> String {
    match leases {
        0 => "no lease ends by it".to_owned(),
        1 => "1 lease ends with its present promise".to_owned(),
        many => format!("{many} leases end with their present promises"),
    }
}

fn replaced(ids: &[String]) -> String {
    if ids.is_empty() { String::new() } else { format!(", replaces {}", escape(&ids.join(", "))) }
}

/// With several inputs, a failure says which.
fn named(failure: Failure, given: &str) -> Failure {
    if given == "-" || given.starts_with("tql1.") { failure } else { failure.row("in", escape(given)) }
}

/// Reads a license as given: a file, one line, or standard input, bounded.
fn read_license(given: &str) -> Result<String, Failure> {
    if given.trim_start().starts_with("tql1.") {
        return Ok(given.to_owned());
    }
    // One byte more than may be, so that too much is seen.
    let limit = INPUT_BYTES_MAX as u64 + 1;
    let mut bytes = Vec::new();
    if given == "-" {
        std::io::stdin().lock().take(limit).read_to_end(&mut bytes)?;
    } else {
        let cannot = |cause: std::io::Error| crate::failure::cannot_read(escape(given), &cause);
        std::fs::File::open(Path::new(given)).and_then(|file| file.take(limit).read_to_end(&mut bytes)).map_err(cannot)?;
    }
    let wrong = |cause: &dyn std::fmt::Display| named(Failure::new(escape(&cause.to_string())), given);
    // The server verifies; reading it here gives the message before a server is needed.
    read_any(&bytes).map_err(|cause| match cause.hint() {
        Some(hint) => wrong(&cause).hint(hint),
        None => wrong(&cause),
    })?;
    String::from_utf8(bytes).map_err(|_| wrong(&"a license is UTF-8 text"))
}

/// `license list`.
#[derive(Debug, clap::Args)]
pub(crate) struct ListCommand {
    /// As JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    data: DataDir,
}

impl ListCommand {
    fn run(self, terminal: &Terminal) -> Result<u8, Failure> {
        let list = Admin::connect(&self.data)?.licenses()?;
        if self.json {
            let mut value = serde_json::to_value(&list)?;
            // As `license show` and messages spell it, and as `license remove` takes it whatever its first digit is.
            for (shown, license) in value["licenses"].as_array_mut().into_iter().flatten().zip(&list.licenses) {
                shown["hash"] = hex(license).into();
            }
            terminal.json(&value)?;
        } else if list.licenses.is_empty() {
            terminal.note("no license is installed");
            terminal.hint("triquest-lm license request > request.txt, mail it to your vendor, then triquest-lm license install FILE");
        } else {
            terminal.table(&license_table(&list.licenses, jiff::Timestamp::now().as_millisecond()));
        }
        Ok(exit::OK)
    }
}

/// The ids of the keys that signed a license, as `vendor show` and verifier keys spell them.
fn key_ids(license: &LicenseSummary) -> String {
    let id = |key: &Bytes32| {
        let public = PublicKey::parse(&key.0).ok()?;
        Some(format!("{:08x}", VerifierKey::new(VendorName::new(&license.vendor).ok()?, public).id()))
    };
    license.vendor_keys.iter().filter_map(id).collect::<Vec<_>>().join(", ")
}

fn license_table(licenses: &[LicenseSummary], now_ms: i64) -> Table {
    // Who embeds none of the keys that signed a license gets none of its seats.
    let mut table = Table::new(&[
        ("LICENSE", Align::Left),
        ("VENDOR", Align::Left),
        ("SIGNED BY", Align::Left),
        ("FEATURE", Align::Left),
        ("UP TO VERSION", Align::Left),
        ("SEATS", Align::Right),
        ("FROM", Align::Left),
        ("LAST DAY", Align::Left),
        ("STATE", Align::Left),
    ]);
    for license in licenses {
        for (place, entitlement) in license.entitlements.iter().enumerate() {
            let first = |text: &str| if place == 0 { text.to_owned() } else { String::new() };
            let state = match entitlement.state {
                LicenseState::InForce => "in force".to_owned(),
                other => json_word(&other),
            };
            table.row(vec![
                first(&license.license),
                first(&license.vendor),
                first(&key_ids(license)),
                entitlement.feature.clone(),
                entitlement.version.clone().unwrap_or_else(|| "any".to_owned()),
                entitlement.seats.to_string(),
                entitlement.starts.clone().unwrap_or_else(|| "-".to_owned()),
                ends_text(entitlement.expires.as_deref(), entitlement.ends_ms, now_ms),
                state,
            ]);
        }
    }
    table
}

/// `license remove ID`.
#[derive(Debug, clap::Args)]
pub(crate) struct RemoveLicenseCommand {
    /// The license's id, or the beginning of its hash as `license list --json` shows it
    // A hash in base64url, as the API spells it, may begin with a hyphen.
    #[arg(value_name = "ID", allow_hyphen_values = true)]
    license: String,
    /// The vendor, if two have a license of this id
    #[arg(long)]
    vendor: Option<String>,
    /// Why, for the record
    #[arg(long, value_parser = crate::admin::reason)]
    reason: String,
    #[command(flatten)]
    data: DataDir,
}

impl RemoveLicenseCommand {
    fn run(self, terminal: &Terminal) -> Result<u8, Failure> {
        let admin = Admin::connect(&self.data)?;
        let list = admin.licenses()?;
        let wanted = |license: &&LicenseSummary| {
            let by_hash =
                self.license.len() >= 8 && (license.hash.to_string().starts_with(&self.license) || hex(license).starts_with(&self.license));
            (license.license == self.license || by_hash) && self.vendor.as_ref().is_none_or(|vendor| *vendor == license.vendor)
        };
        let found: Vec<_> = list.licenses.iter().filter(wanted).collect();
        let license = match found.as_slice() {
            [one] => one,
            [] => {
                return Err(Failure::new(format_args!("no license `{}` is installed", escape(&self.license)))
                    .hint("`triquest-lm license list` lists what is installed"));
            }
            several => {
                let vendors = several.iter().map(|license| license.vendor.as_str()).collect::<Vec<_>>().join(", ");
                return Err(Failure::new(format_args!("{} licenses have the id `{}`", several.len(), escape(&self.license)))
                    .row("vendors", escape(&vendors))
                    .hint("say which with `--vendor NAME`, or name the license by the beginning of its hash (license list --json)"));
            }
        };
        let answer: RemoveAnswer = admin.delete(&format!("/v1/licenses/{}", license.hash), &RemoveRequest { reason: self.reason })?;
        terminal.verb("Removed", format_args!("{} of {}: {}", escape(&license.license), escape(&license.vendor), ending(answer.ending)));
        for file in &answer.files {
            terminal.warning(format_args!("{} holds it: the next start or reload of the server installs it again", escape(file)));
        }
        if !answer.files.is_empty() {
            terminal.hint("take it out of that folder, if the license is to stay removed");
        }
        Ok(exit::OK)
    }
}

fn hex(license: &LicenseSummary) -> String {
    LicenseHash::from_bytes(license.hash.0).to_string()
}

/// `license request`.
#[derive(Debug, clap::Args)]
pub(crate) struct RequestCommand {
    /// The host's name in the request, for people [default: this machine's]
    #[arg(long)]
    host: Option<String>,
    /// Write it into a new file instead of standard output
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    data: DataDir,
}

impl RequestCommand {
    fn run(self, terminal: &Terminal) -> Result<u8, Failure> {
        let key = super::server::read_server_key(&self.data)?;
        let host = self.host.unwrap_or_else(|| rustix::system::uname().nodename().to_string_lossy().into_owned());
        let request = triquest_license::request::ServerRequest {
            server_key: triquest_license::ServerKey::new(*key.public()),
            host: escape(&host).into_owned(),
            made_at: triquest_license::CivilMs(jiff::Timestamp::now().as_millisecond()),
            software: concat!("triquest-lm ", env!("CARGO_PKG_VERSION")).to_owned(),
        };
        let text = request.to_text(&key);
        match self.output {
            None => terminal.raw(text.as_bytes()),
            Some(file) => {
                let shown = escape(&file.to_string_lossy()).into_owned();
                std::fs::OpenOptions::new()
                    .write(true)
                    .create_new(true)
                    .open(&file)
                    .and_then(|mut open| std::io::Write::write_all(&mut open, text.as_bytes()))
                    .map_err(|cause| match cause.kind() {
                        std::io::ErrorKind::AlreadyExists => Failure::new(format_args!("{shown} is there already, and is not overwritten"))
                            .hint("name another file with --output"),
                        _ => Failure::new(format_args!("cannot write {shown}: {cause}")),
                    })?;
                terminal.verb("Wrote", format_args!("{shown}: mail it to your vendor"));
            }
        }
        Ok(exit::OK)
    }
}
