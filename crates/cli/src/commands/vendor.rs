//! `vendor init`, `rotate`, `retire`, `show`: the vendor's signing keys.

use serde_json::json;
use triquest_license::{VendorName, VerifierKey};

use crate::{
    failure::{Failure, exit},
    keyfile::{KeyFile, KeyFileArgument, shown},
    terminal::Terminal,
};

/// The vendor's signing keys.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum VendorCommand {
    /// Make a signing key, and print the verifier key that your applications embed
    Init(InitCommand),
    /// Take a key out of use, once no application that knows only this key is left
    Retire(RetireCommand),
    /// Add the next key: from then on all active keys sign, so that old and new applications accept the same license
    Rotate(RotateCommand),
    /// Print the verifier keys that your applications embed
    Show(ShowCommand),
}

impl VendorCommand {
    pub(crate) fn run(self, terminal: &Terminal) -> Result<u8, Failure> {
        match self {
            Self::Init(command) => command.run(terminal),
            Self::Retire(command) => command.run(terminal),
            Self::Rotate(command) => command.run(terminal),
            Self::Show(command) => command.run(terminal),
        }
    }
}

/// `vendor init NAME`.
#[derive(Debug, clap::Args)]
pub(crate) struct InitCommand {
    /// Your name as a vendor, best your domain; it stands in every license
    name: String,
    #[command(flatten)]
    key: KeyFileArgument,
    /// As JSON
    #[arg(long)]
    json: bool,
}

impl InitCommand {
    fn run(self, terminal: &Terminal) -> Result<u8, Failure> {
        let name = VendorName::new(&self.name).map_err(|cause| Failure::usage(cause).hint("use a domain of yours, like acme.example"))?;
        let path = self.key.path()?;
        let keys = KeyFile::create(&path, name)?;
        terminal.verb(
            "Created",
            format_args!("the signing key of {} in {} (keep a copy where nobody else gets at it)", keys.name(), shown(&path)),
        );
        print_keys(terminal, &keys, self.json)?;
        terminal.hint("embed the verifier key in your application; `triquest-lm license new` starts a license");
        Ok(exit::OK)
    }
}

/// `vendor rotate`.
#[derive(Debug, clap::Args)]
pub(crate) struct RotateCommand {
    #[command(flatten)]
    key: KeyFileArgument,
    /// As JSON
    #[arg(long)]
    json: bool,
}

impl RotateCommand {
    fn run(self, terminal: &Terminal) -> Result<u8, Failure> {
        let path = self.key.path()?;
        let mut keys = KeyFile::read(&path)?;
        let id = keys.rotate()?.verifier_key().id();
        terminal.verb(
            "Added",
            format_args!("{}+{id:08x} to {}: {} keys now sign each license", keys.name(), shown(&path), keys.active().len()),
        );
        print_keys(terminal, &keys, self.json)?;
        terminal.hint("embed all of these in your next release; when no older one is in use, `triquest-lm vendor retire ID`");
        Ok(exit::OK)
    }
}

/// `vendor retire ID`.
#[derive(Debug, clap::Args)]
pub(crate) struct RetireCommand {
    /// The key's id: the eight digits in the middle of its verifier key
    id: String,
    #[command(flatten)]
    key: KeyFileArgument,
}

impl RetireCommand {
    fn run(self, terminal: &Terminal) -> Result<u8, Failure> {
        let plain = self.id.len() == 8 && self.id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let id = u32::from_str_radix(&self.id, 16).ok().filter(|_| plain);
        let id =
            id.ok_or_else(|| Failure::usage("a key's id is eight digits like 1f3a09c2").hint("`triquest-lm vendor show` lists the keys"))?;
        let path = self.key.path()?;
        let mut keys = KeyFile::read(&path)?;
        let key = keys.retire(id)?;
        terminal.verb("Retired", format_args!("{}+{:08x}: it signs no more; what it signed stays good", key.name(), key.id()));
        terminal.warning("a renewal of a license that this key alone signed replaces nothing from now on, and the seats of both count");
        terminal.hint(
            "`triquest-lm license show FILE` tells who signed a license; take such a one off the server when its renewal is installed",
        );
        Ok(exit::OK)
    }
}

/// `vendor show`.
#[derive(Debug, clap::Args)]
pub(crate) struct ShowCommand {
    #[command(flatten)]
    key: KeyFileArgument,
    /// As JSON
    #[arg(long)]
    json: bool,
}

impl ShowCommand {
    fn run(self, terminal: &Terminal) -> Result<u8, Failure> {
        print_keys(terminal, &KeyFile::read(&self.key.path()?)?, self.json)?;
        Ok(exit::OK)
    }
}

fn print_keys(terminal: &Terminal, keys: &KeyFile, json: bool) -> Result<(), Failure> {
    if json {
        let list = |keys: Vec<&VerifierKey>| keys.into_iter().map(ToString::to_string).collect::<Vec<_>>();
        return terminal.json(&json!({
            "vendor": keys.name().as_str(),
            "verifier": list(keys.active().iter().map(|signer| signer.verifier_key()).collect()),
            "retired": list(keys.retired_verifier_keys().collect()),
        }));
    }
    for signer in keys.active() {
        terminal.data(signer.verifier_key());
    }
    for key in keys.retired_verifier_keys() {
        terminal.note(format_args!("retired: {key}"));
    }
    Ok(())
}
