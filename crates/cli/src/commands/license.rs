//! `license new`, `sign`, `renew`, `show`, `verify`, `convert`: licenses as files, without a server.

use std::{
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};
use serde_json::{Value, json};
use triquest_license::{
    CivilDate, CivilMs, Entitlement, LicenseError, LicenseHash, LicenseId, LicenseTerms, Note, NoteError, NoteSignature, ServerKey,
    Servers, Signer, Span, TextError, VerifiedLicense, VerifierKey, VerifierKeys, Written,
    draft::{self, DraftError, Prepare},
    limits::{INPUT_BYTES_MAX, NAME_BYTES_MAX, REQUEST_BYTES_MAX, TTL_MAX_MS_DEFAULT},
    read_any,
    request::ServerRequest,
};

use crate::{
    failure::{Failure, cannot_read, exit},
    keyfile::{KeyFile, KeyFileArgument, shown, verifier_keys},
    terminal::{Align, Table, Terminal, escape},
};

/// Bytes that a signing command may answer: 64 raw ones, or the same as text with something around it.
const SIGNER_ANSWER_BYTES_MAX: u64 = 4096;
/// Features that a one-line summary names.
const SUMMARY_FEATURES_MAX: usize = 3;

/// What the part of `license` does that needs only files.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum LicenseCommand {
    /// Write a license as a file or on one line; both are the same license
    Convert(ConvertCommand),
    /// Write a draft, from nothing, a template or JSON
    New(NewCommand),
    /// Write and sign the license that follows an old one
    Renew(RenewCommand),
    /// Show what a license says
    Show(ShowCommand),
    /// Sign a draft
    Sign(SignCommand),
    /// Check a license against its vendor's verifier keys
    Verify(VerifyCommand),
}

impl LicenseCommand {
    pub(crate) fn run(self, terminal: &Terminal) -> Result<u8, Failure> {
        match self {
            Self::Convert(command) => command.run(terminal),
            Self::New(command) => command.run(terminal),
            Self::Renew(command) => command.run(terminal),
            Self::Show(command) => command.run(terminal),
            Self::Sign(command) => command.run(terminal),
            Self::Verify(command) => command.run(terminal),
        }
    }
}

// Writing.

/// `license new`.
#[derive(Debug, clap::Args)]
pub(crate) struct NewCommand {
    /// The license's id: your own number for it
    #[arg(long)]
    id: Option<LicenseId>,
    /// A draft to start from, whose comments stay; or a signed license, without its id, vendor, date of issue and signatures
    #[arg(long, value_name = "FILE|-", conflicts_with = "from_json")]
    template: Option<String>,
    /// JSON to start from: {"license": ..., "licensee": ..., "servers": [...], "entitlement": [{"feature": ..., "seats": ...}]}
    #[arg(long, value_name = "FILE|-")]
    from_json: Option<String>,
    #[command(flatten)]
    changes: Changes,
    /// Write to this file instead of standard output
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl NewCommand {
    fn run(self, terminal: &Terminal) -> Result<u8, Failure> {
        let mut text = match (&self.template, &self.from_json) {
            (Some(template), _) => self.template(template)?,
            (None, Some(json)) => draft::from_json(&read_input(json)?).map_err(|cause| draft_failure(json, &cause))?,
            (None, None) => draft::new_draft(self.id.as_ref(), &[], Written::Date(CivilDate::of(now()))),
        };
        if let (Some(id), true) = (&self.id, self.template.is_some() || self.from_json.is_some()) {
            text = draft::set(&text, "license", id.as_str()).map_err(|cause| draft_failure("the draft", &cause))?;
        }
        let text = self.changes.apply(&text)?;
        draft::check(&text, now()).map_err(|cause| draft_failure("the draft", &cause))?;
        put_out(terminal, self.output.as_deref(), text.as_bytes())?;
        if let Some(output) = &self.output {
            terminal.verb("Wrote", format_args!("the draft {}", shown(output)));
            let first = if draft::is_filled(&text) { "" } else { "fill it in, then: " };
            terminal.hint(format_args!("{first}triquest-lm license sign {}", shown(output)));
        }
        Ok(exit::OK)
    }

    /// A draft as it is, or what a signed license says, as a draft of another license.
    fn template(&self, given: &str) -> Result<String, Failure> {
        let bytes = read_input(given)?;
        let Ok(note) = read_any(&bytes) else { return utf8(given, bytes) };
        let terms = LicenseTerms::parse(note.text()).map_err(|cause| text_failure(given, &cause))?;
        if let Some(left_out) = terms.left_out.first() {
            return Err(Failure::new(format_args!("{}: {left_out}, which this version does not know", name_of(given)))
                .hint("make the draft with a version that knows it: this one would leave the entitlement out"));
        }
        // No two licenses share an id. The text is canonical, so the line is found as it is written.
        let id = |id: &str| format!("license = \"{id}\"\n");
        Ok(draft::from_terms(&terms).replacen(&id(terms.license.as_str()), &id(""), 1))
    }
}

/// What is changed in a draft before it is used.
#[derive(Debug, clap::Args)]
struct Changes {
    /// Set a value in the draft, like licensee="Initech GmbH" or entitlement.cad-pro.seats=25; an empty one takes it out
    #[arg(long = "set", value_name = "PLACE=VALUE")]
    sets: Vec<String>,
    /// Let the server serve it that made this request (`triquest-lm license request`), once checked
    #[arg(long = "server-request", value_name = "FILE|-")]
    requests: Vec<String>,
}

impl Changes {
    fn apply(&self, text: &str) -> Result<String, Failure> {
        let mut text = text.to_owned();
        if !self.requests.is_empty() {
            let keys = self.requests.iter().map(|given| server_of(given)).collect::<Result<Vec<_>, _>>()?;
            let keys = keys.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
            text = draft::set(&text, "servers", &keys).map_err(|cause| draft_failure("the draft", &cause))?;
        }
        for set in &self.sets {
            let (place, value) = set.split_once('=').ok_or_else(|| {
                Failure::usage(format_args!("--set {}: there is no `=`", escape(set))).hint("--set licensee='Initech GmbH'")
            })?;
            text = draft::set(&text, place.trim(), value).map_err(|cause| draft_failure("the draft", &cause))?;
        }
        Ok(text)
    }
}

fn server_of(given: &str) -> Result<ServerKey, Failure> {
    let bytes = read_bounded(given, REQUEST_BYTES_MAX)?;
    let request = ServerRequest::parse(&bytes)
        .map_err(|cause| Failure::new(format_args!("{}: {}", name_of(given), escape(&cause.to_string()))).hint(cause.hint()))?;
    Ok(request.server_key)
}

/// `license sign DRAFT`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The text names the keys that sign it, and never changes once it is signed: a key that it does not name cannot be added. All active keys of \
the key file sign. Where the keys of a rotation are in two places, name both in the first:

  triquest-lm license sign draft.toml --key old.key --verifier-key OLD,NEW -o half.lic
  triquest-lm license sign half.lic --key new.key -o whole.lic")]
pub(crate) struct SignCommand {
    /// The draft (TOML or JSON), - for standard input; with --attach the prepared text. A license whose text names a key that has not signed yet gets that
    /// signature
    #[arg(value_name = "DRAFT|-")]
    draft: String,
    #[command(flatten)]
    changes: Changes,
    /// Everybody who has the file may serve it: servers = "any" is meant
    #[arg(long)]
    any_server: bool,
    /// Several servers are listed, and each having the full count is meant
    #[arg(long)]
    each_server_counts: bool,
    /// Only print the text that is to be signed, for a machine without network that has the key
    #[arg(long, conflicts_with = "attach")]
    prepare: bool,
    /// Put this signature of the prepared text under it: 64 bytes, or base64 or hexadecimal digits of them
    #[arg(long, value_name = "SIGNATURE", conflicts_with_all = ["signer", "verifier_key", "sets", "requests", "any_server", "each_server_counts", "issued"])]
    attach: Vec<PathBuf>,
    #[command(flatten)]
    with: With,
}

/// With what is signed, and where it goes.
#[derive(Debug, clap::Args)]
struct With {
    #[command(flatten)]
    key: KeyFileArgument,
    /// Let this command sign: it gets the text on standard input, and writes the signature to standard output
    #[arg(long, value_name = "COMMAND", requires = "verifier_key")]
    signer: Option<String>,
    /// The verifier keys that the text names, several with commas, or repeated: of --signer, or of whoever signs what --prepare prints. With a key file
    /// [default: its active keys]; those that are not in it sign later, elsewhere
    #[arg(long, value_name = "KEY")]
    verifier_key: Vec<String>,
    /// The date of issue [default: today]
    #[arg(long, value_name = "DATE")]
    issued: Option<Written>,
    /// Write to this file instead of standard output
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// On one line (tql1....)
    #[arg(long)]
    line: bool,
    /// As JSON: what it says, and the file and the line
    #[arg(long, conflicts_with = "line")]
    json: bool,
}

impl SignCommand {
    fn run(self, terminal: &Terminal) -> Result<u8, Failure> {
        let input = read_input(&self.draft)?;
        if !self.attach.is_empty() {
            return self.attach(terminal, &input);
        }
        if let Ok(note) = read_any(&input) {
            return self.cosign(terminal, note);
        }
        let draft = if input.trim_ascii_start().starts_with(b"{") {
            draft::from_json(&input).map_err(|cause| draft_failure(&self.draft, &cause))?
        } else {
            utf8(&self.draft, input)?
        };
        let draft = self.changes.apply(&draft)?;
        let power = self.with.power(self.prepare)?;
        let verifier = power.verifier_keys();
        let now = now();
        let prepare = Prepare {
            verifier: &verifier,
            issued: self.with.issued.unwrap_or(Written::Date(CivilDate::of(now))),
            now,
            any_server: self.any_server,
            each_server_counts: self.each_server_counts,
            words: triquest_license::Vocabulary::OURS,
        };
        let text = draft::prepare(&draft, &prepare).map_err(|cause| draft_failure(&self.draft, &cause))?;
        if self.prepare {
            put_out(terminal, self.with.output.as_deref(), text.as_bytes())?;
            for key in verifier.iter() {
                terminal.note(format_args!("to be signed, byte for byte, by {key}"));
            }
            terminal.hint("triquest-lm license sign TEXT --attach SIGNATURE");
            return Ok(exit::OK);
        }
        let note = power.sign(&text, verifier.iter().filter(|key| power.has(key)))?;
        self.with.finish(terminal, &note)
    }

    /// Signatures made elsewhere go under the text that names their keys, wherever they belong: each is tried with each key.
    fn attach(&self, terminal: &Terminal, input: &[u8]) -> Result<u8, Failure> {
        let (text, mut signatures) = match read_any(input) {
            Ok(note) => (note.text().to_owned(), note.signatures().to_vec()),
            Err(_) => (utf8(&self.draft, input.to_vec())?, Vec::new()),
        };
        let terms = LicenseTerms::parse(&text).map_err(|cause| {
            text_failure(&self.draft, &cause).hint("--attach wants the text exactly as `license sign --prepare` printed it")
        })?;
        for path in &self.attach {
            let mut bytes = Vec::new();
            std::fs::File::open(path)
                .and_then(|file| file.take(SIGNER_ANSWER_BYTES_MAX).read_to_end(&mut bytes))
                .map_err(|cause| cannot_read(shown(path), &cause))?;
            let signature = signature_of(&bytes).ok_or_else(|| no_signature(&shown(path)))?;
            let key = terms.verifier.iter().find(|key| key.public().verify(text.as_bytes(), &signature).is_ok()).ok_or_else(|| {
                Failure::new(format_args!("{} is no signature of this text by any of its keys", shown(path)))
                    .row("keys", key_names(terms.verifier.iter()))
                    .hint("sign exactly the bytes that --prepare printed, the last newline included")
            })?;
            signatures.push(NoteSignature::ed25519(key, signature));
        }
        let note = Note::assemble(&text, signatures).map_err(|cause| license_failure(&self.draft, &cause.into()))?;
        self.with.finish(terminal, &note)
    }

    /// A signed license gets the signatures that its text names and that we can make.
    fn cosign(&self, terminal: &Terminal, mut note: Note) -> Result<u8, Failure> {
        let terms = LicenseTerms::parse(note.text()).map_err(|cause| text_failure(&self.draft, &cause))?;
        let power = self.with.power(false)?;
        let ours = power.verifier_keys();
        let unnamed = |key: &&VerifierKey| !terms.verifier.contains(key);
        if !self.with.verifier_key.is_empty()
            && let Some(key) = ours.iter().find(unnamed)
        {
            return Err(unnamed_key(&self.draft, &terms, key));
        }
        let lacking: Vec<_> = terms.verifier.iter().filter(|key| !note.bears(key)).collect();
        let missing: Vec<_> = lacking.iter().copied().filter(|key| ours.contains(key) && power.has(key)).collect();
        if missing.is_empty() {
            return Err(match (lacking.is_empty(), ours.iter().find(unnamed)) {
                (false, _) => Failure::new(format_args!("the key that has not signed {} is not here", name_of(&self.draft)))
                    .row("missing", key_names(lacking.into_iter()))
                    .row("here", key_names(ours.iter().filter(|key| power.has(key))))
                    .hint("triquest-lm license sign LICENSE --key FILE, with the file of that key"),
                (true, Some(key)) => unnamed_key(&self.draft, &terms, key),
                (true, None) => Failure::new(format_args!("{} is signed already: {}", name_of(&self.draft), terms.license))
                    .hint("`triquest-lm license renew` writes the license that follows it; `license show` tells what it says"),
            });
        }
        let signed = power.sign(note.text(), missing.into_iter())?;
        for signature in signed.signatures() {
            note.add_signature(signature.clone()).map_err(|cause| license_failure(&self.draft, &cause.into()))?;
        }
        self.with.finish(terminal, &note)
    }
}

/// A signed text names its keys once and for all.
fn unnamed_key(given: &str, terms: &LicenseTerms, key: &VerifierKey) -> Failure {
    let key = key_names(std::iter::once(key));
    Failure::new(format_args!("{} is signed, and its text does not name {key}, which therefore cannot sign it", name_of(given)))
        .row("named", key_names(terms.verifier.iter()))
        .hint("`triquest-lm license renew` writes the license that follows it, signed by all active keys of the key file; or sign its draft anew")
}

/// Who signs.
enum Power {
    Command {
        command: String,
        keys: VerifierKeys,
    },
    /// The keys that the text is to name: some of them may be elsewhere.
    File {
        file: KeyFile,
        named: VerifierKeys,
    },
    /// Nobody here: the text is only prepared.
    Nobody(VerifierKeys),
}

impl Power {
    /// The keys that the text names.
    fn verifier_keys(&self) -> VerifierKeys {
        match self {
            Self::Command { keys, .. } | Self::Nobody(keys) | Self::File { named: keys, .. } => keys.clone(),
        }
    }

    /// Whether this key signs here.
    fn has(&self, key: &VerifierKey) -> bool {
        match self {
            Self::Command { keys, .. } => keys.contains(key),
            Self::File { file, .. } => file.active().iter().any(|signer| signer.verifier_key() == key),
            Self::Nobody(_) => false,
        }
    }

    /// The keys by which we know what we signed before.
    fn known_keys(&self) -> Vec<VerifierKey> {
        match self {
            Self::Command { keys, .. } | Self::Nobody(keys) => keys.to_vec(),
            Self::File { file, .. } => file.all_verifier_keys(),
        }
    }

    fn sign<'a>(&self, text: &str, keys: impl Iterator<Item = &'a VerifierKey>) -> Result<Note, Failure> {
        let signatures = keys
            .map(|key| {
                let signature = match self {
                    Self::Command { command, .. } => run_signer(command, key, text)?,
                    Self::File { file, .. } => {
                        let signer: Option<&Signer> = file.active().iter().find(|signer| signer.verifier_key() == key);
                        signer
                            .map(|signer| signer.key().sign(text.as_bytes()))
                            .ok_or_else(|| Failure::new("this key is not in the key file"))?
                    }
                    Self::Nobody(_) => return Err(Failure::usage("nothing to sign with").hint("give --key FILE or --signer COMMAND")),
                };
                Ok(NoteSignature::ed25519(key, signature))
            })
            .collect::<Result<Vec<_>, Failure>>()?;
        Note::assemble(text, signatures).map_err(|cause| license_failure("the signed license", &cause.into()))
    }
}

impl With {
    fn power(&self, only_prepare: bool) -> Result<Power, Failure> {
        let keys = || parse_keys(&self.verifier_key);
        match &self.signer {
            Some(command) => Ok(Power::Command { command: command.clone(), keys: keys()? }),
            None if only_prepare && !self.verifier_key.is_empty() => Ok(Power::Nobody(keys()?)),
            None => {
                let path = self.key.path()?;
                let file = KeyFile::read(&path)?;
                let active = || VerifierKeys::new(file.active().iter().map(|signer| signer.verifier_key().clone()).collect());
                let named = if self.verifier_key.is_empty() { active().map_err(|cause| Failure::new(cause.to_string()))? } else { keys()? };
                if !file.active().iter().any(|signer| named.contains(signer.verifier_key())) {
                    return Err(Failure::usage(format_args!("none of the keys of --verifier-key is an active key of {}", shown(&path)))
                        .row("named", key_names(named.iter()))
                        .row("active", key_names(file.active().iter().map(Signer::verifier_key)))
                        .hint("`triquest-lm vendor show` lists its keys; --signer or --prepare sign with a key that is elsewhere"));
                }
                Ok(Power::File { file, named })
            }
        }
    }

    /// Checks once more what was made, as a server will, and puts it out.
    fn finish(&self, terminal: &Terminal, note: &Note) -> Result<u8, Failure> {
        let terms = LicenseTerms::parse(note.text()).map_err(|cause| text_failure("the signed license", &cause))?;
        let lacking: Vec<_> = terms.verifier.iter().filter(|key| !note.bears(key)).collect();
        if lacking.is_empty() {
            VerifiedLicense::verify_named(note).map_err(|cause| license_failure("the signed license", &cause))?;
        }
        if self.json {
            let mut value = license_json(&terms, note);
            value["file"] = json!(String::from_utf8_lossy(&note.to_file_bytes()));
            value["line"] = json!(note.to_line());
            terminal.json(&value)?;
        }
        if !self.json || self.output.is_some() {
            let bytes = if self.line { format!("{}\n", note.to_line()).into_bytes() } else { note.to_file_bytes() };
            put_out(terminal, self.output.as_deref(), &bytes)?;
        }
        terminal.verb("Signed", escape(&summary(&terms)));
        if !lacking.is_empty() {
            terminal.warning(format_args!("not complete: servers refuse it without the signature by {}", key_names(lacking.into_iter())));
            terminal.hint("triquest-lm license sign LICENSE, where that key is");
        }
        Ok(exit::OK)
    }
}

/// Lets a command sign: the text on its standard input, the signature on its standard output.
fn run_signer(command: &str, key: &VerifierKey, text: &str) -> Result<[u8; 64], Failure> {
    let failed = |what: &dyn std::fmt::Display| Failure::new(format_args!("the signing command {what}")).row("command", escape(command));
    let mut child = Command::new("sh")
        .args(["-c", command])
        // With several keys, the command learns whose turn it is.
        .env("TRIQUEST_LM_SIGN_AS", key.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|cause| failed(&format_args!("does not start: {cause}")))?;
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    let mut answer = Vec::new();
    let read = std::thread::scope(|scope| {
        // A command that does not read its input is judged by what it answers.
        scope.spawn(move || stdin.map(|mut stdin| stdin.write_all(text.as_bytes())));
        stdout.map_or(Ok(0), |stdout| stdout.take(SIGNER_ANSWER_BYTES_MAX).read_to_end(&mut answer))
    });
    read.map_err(|cause| failed(&format_args!("cannot be read: {cause}")))?;
    let status = child.wait().map_err(|cause| failed(&format_args!("cannot be waited for: {cause}")))?;
    // A command that was cut off while it still talked has failed by our doing.
    if answer.len() as u64 == SIGNER_ANSWER_BYTES_MAX {
        return Err(no_signature("its answer").row("command", escape(command)));
    }
    if !status.success() {
        return Err(failed(&format_args!("failed: {status}")));
    }
    let signature = signature_of(&answer).ok_or_else(|| no_signature("its answer").row("command", escape(command)))?;
    key.public().verify(text.as_bytes(), &signature).map_err(|_| {
        failed(&format_args!("signed something else, or with another key than {}+{:08x}", key.name(), key.id()))
            .hint("it must sign exactly its standard input with plain Ed25519 (RFC 8032); TRIQUEST_LM_SIGN_AS names the key")
    })?;
    Ok(signature)
}

fn no_signature(what: &str) -> Failure {
    Failure::new(format_args!("{what} is no Ed25519 signature")).hint("64 bytes, or base64 or hexadecimal digits of them")
}

/// 64 bytes as they are, or in base64 or hexadecimal digits. What is taken is verified afterwards.
fn signature_of(bytes: &[u8]) -> Option<[u8; 64]> {
    if let Ok(raw) = bytes.try_into() {
        return Some(raw);
    }
    let text = std::str::from_utf8(bytes).ok()?;
    let text: String = text.chars().filter(|character| !character.is_ascii_whitespace()).collect();
    if text.len() == 128 {
        let digits = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
        return text.as_bytes().chunks(2).map(digits).collect::<Option<Vec<u8>>>()?.try_into().ok();
    }
    let bare = text.trim_end_matches('=');
    STANDARD_NO_PAD.decode(bare).or_else(|_| URL_SAFE_NO_PAD.decode(bare)).ok()?.try_into().ok()
}

/// `license renew OLD`.
#[derive(Debug, clap::Args)]
pub(crate) struct RenewCommand {
    /// The license that is to be followed: a file, one line (tql1....), or - for standard input
    #[arg(value_name = "OLD|LINE|-")]
    old: String,
    /// The new last day, like 2028-12-31
    #[arg(long, value_name = "DATE")]
    until: Written,
    /// The new license's id [default: the old one with -r2, -r3 ...]
    #[arg(long)]
    id: Option<LicenseId>,
    #[command(flatten)]
    changes: Changes,
    /// Print the draft of the new license and sign nothing
    #[arg(long)]
    draft: bool,
    #[command(flatten)]
    with: With,
}

impl RenewCommand {
    fn run(self, terminal: &Terminal) -> Result<u8, Failure> {
        let note = read_license(&self.old)?;
        let power = self.with.power(false)?;
        // An old license comes back by mail: only what we signed ourselves is followed.
        let old = VerifiedLicense::verify(&note, &power.known_keys()).map_err(|cause| license_failure(&self.old, &cause))?;
        // A server takes whoever shares no key for another vendor, whatever its name is.
        let is_followed = power.verifier_keys().iter().any(|key| old.vendor_keys().contains(key.public()));
        let old = old.terms();
        let now = now();
        let issued = self.with.issued.unwrap_or(Written::Date(CivilDate::of(now)));
        let id = match self.id.clone() {
            Some(id) => id,
            None => next_id(&old.license)?,
        };
        let next = draft::successor(old, self.until, id, issued).map_err(|cause| draft_failure(&self.old, &cause))?;
        let text = self.changes.apply(&draft::from_terms(&next))?;
        if self.draft {
            draft::check(&text, now).map_err(|cause| draft_failure("the draft", &cause))?;
            put_out(terminal, self.with.output.as_deref(), text.as_bytes())?;
            return Ok(exit::OK);
        }
        let verifier = power.verifier_keys();
        let prepare = Prepare {
            verifier: &verifier,
            issued,
            now,
            // What the old license was signed for needs no second permission, as long as it stays the same.
            any_server: old.servers.is_any(),
            each_server_counts: matches!(&old.servers, Servers::Keys(keys) if keys.len() > 1),
            words: triquest_license::Vocabulary::OURS,
        };
        let text = draft::prepare(&text, &prepare).map_err(|cause| draft_failure("the new license", &cause))?;
        let note = power.sign(&text, verifier.iter().filter(|key| power.has(key)))?;
        let code = self.with.finish(terminal, &note)?;
        if is_followed {
            terminal.note(format_args!("it replaces {} when it is installed; no lease is affected", old.license));
        } else {
            terminal.warning(format_args!(
                "no key that signed {old} signs it, so that it replaces nothing: where both are installed, the seats of both count",
                old = old.license
            ));
            terminal.hint(format_args!(
                "tell its administrator to install it and then to take the old one off: triquest-lm license remove {} --reason TEXT",
                old.license
            ));
        }
        Ok(code)
    }
}

/// `A-17` is followed by `A-17-r2`, that by `A-17-r3`.
fn next_id(old: &LicenseId) -> Result<LicenseId, Failure> {
    let (stem, number) = match old.as_str().rsplit_once("-r") {
        Some((stem, number)) if !number.starts_with('0') => (stem, number.parse::<u32>().ok()),
        _ => (old.as_str(), None),
    };
    let next = match number.and_then(|number| number.checked_add(1)) {
        Some(number) => format!("{stem}-r{number}"),
        None => format!("{old}-r2"),
    };
    LicenseId::new(&next)
        .map_err(|_| Failure::usage(format_args!("{next} has more than {NAME_BYTES_MAX} bytes")).hint("name the new license with --id"))
}

// Reading.

/// `license show FILE`.
#[derive(Debug, clap::Args)]
pub(crate) struct ShowCommand {
    /// A license file, one line (tql1....), or - for standard input
    #[arg(value_name = "FILE|LINE|-")]
    license: String,
    /// As JSON
    #[arg(long)]
    json: bool,
}

impl ShowCommand {
    fn run(self, terminal: &Terminal) -> Result<u8, Failure> {
        let note = read_license(&self.license)?;
        let terms = LicenseTerms::parse(note.text()).map_err(|cause| text_failure(&self.license, &cause))?;
        if self.json {
            terminal.json(&license_json(&terms, &note))?;
        } else {
            show(terminal, &terms, &note);
        }
        if good(&note) {
            return Ok(exit::OK);
        }
        // An application has keys of its own: one of them is enough for it.
        terminal.warning(match VerifiedLicense::verify(&note, &terms.verifier) {
            Ok(_) => "its signatures are not complete: no server takes it, though an application with a key that signed would",
            Err(_) => "its signatures are not good: no server and no application takes it",
        });
        Ok(exit::FAILURE)
    }
}

fn show(terminal: &Terminal, terms: &LicenseTerms, note: &Note) {
    let escaped = |text: &str| escape(text).into_owned();
    terminal.data(format_args!("{}  {} for {}, issued {}", terms.license, terms.vendor, escaped(&terms.licensee), terms.issued));
    let verdicts: Vec<String> =
        signatures(terms, note).into_iter().map(|(name, verdict)| format!("{verdict}: {}", escaped(&name))).collect();
    terminal.data(format_args!("signed     {}", verdicts.join("\n           ")));
    let servers = match &terms.servers {
        Servers::Any => "anyone who has the file; applications must opt in".to_owned(),
        Servers::Keys(keys) => keys.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n           "),
    };
    terminal.data(format_args!("served by  {servers}"));
    if !terms.replaces.is_empty() {
        let ids: Vec<_> = terms.replaces.iter().map(LicenseId::as_str).collect();
        terminal.data(format_args!("replaces   {}", ids.join(", ")));
    }
    let mut table = Table::new(&[
        ("FEATURE", Align::Left),
        ("UP TO VERSION", Align::Left),
        ("SEATS", Align::Right),
        ("FROM", Align::Left),
        ("LAST DAY", Align::Left),
        ("TERMS", Align::Left),
    ]);
    for entitlement in &terms.entitlements {
        table.row([
            entitlement.feature.to_string(),
            entitlement.version.map_or_else(|| "any".into(), |version| version.to_string()),
            entitlement.seats.to_string(),
            start_written(terms, entitlement).map_or_else(|| "-".into(), |starts| starts.to_string()),
            entitlement.expires_written.map_or_else(|| "never ends".into(), |expires| expires.to_string()),
            terms_text(entitlement),
        ]);
    }
    terminal.table(&table);
    for left_out in &terms.left_out {
        terminal.data(format_args!("left out   {left_out}, which this version does not know"));
    }
    let state = if good(note) { state_text(terms, now()) } else { "not in force anywhere: its signatures are not good".into() };
    terminal.data(format_args!("state      {state}"));
}

/// Whether a server takes it: every key that the text names signed it.
fn good(note: &Note) -> bool {
    VerifiedLicense::verify_named(note).is_ok()
}

/// The later of the license's and the entitlement's own start, as it is written.
fn start_written(terms: &LicenseTerms, entitlement: &Entitlement) -> Option<Written> {
    terms.starts.into_iter().chain(entitlement.starts_written).max_by_key(|starts| starts.begins())
}

fn terms_text(entitlement: &Entitlement) -> String {
    let mut parts = Vec::new();
    let mut part = |name: &str, span: Option<Span>| parts.extend(span.map(|span| format!("{name} {span}")));
    part("borrow", entitlement.borrow);
    part("grace", (entitlement.grace != Span::ZERO).then_some(entitlement.grace));
    part("ttl", entitlement.ttl);
    part("ttl up to", (entitlement.ttl_max.ms() != TTL_MAX_MS_DEFAULT).then_some(entitlement.ttl_max));
    part("linger", entitlement.linger);
    if !entitlement.presence {
        parts.push("no early freeing".into());
    }
    if entitlement.vendor_data.is_some() {
        parts.push("vendor data".into());
    }
    if parts.is_empty() { "-".into() } else { parts.join(", ") }
}

fn state_text(terms: &LicenseTerms, now: CivilMs) -> String {
    const DAY_MS: i64 = 86_400_000;
    let days = |ms: i64| match ms / DAY_MS {
        0 => "less than a day".to_owned(),
        1 => "1 day".to_owned(),
        days => format!("{days} days"),
    };
    let all = &terms.entitlements;
    if all.is_empty() {
        return "nothing of it is understood by this version: a newer one may use it".to_owned();
    }
    let running: Vec<_> = all.iter().filter(|entitlement| entitlement.runs_at(now)).collect();
    let soonest = |moments: &mut dyn Iterator<Item = Option<CivilMs>>| moments.flatten().filter(|at| *at > now).min();
    if running.is_empty() {
        return match soonest(&mut all.iter().map(|entitlement| entitlement.starts)) {
            Some(starts) => format!("waiting: starts in {}", days(starts.0 - now.0)),
            None => format!(
                "ended {} ago",
                all.iter().filter_map(|entitlement| entitlement.expires).max().map_or_else(String::new, |ended| days(now.0 - ended.0))
            ),
        };
    }
    let running_text =
        if running.len() == all.len() { "runs".to_owned() } else { format!("{} of {} entitlements run", running.len(), all.len()) };
    match soonest(&mut running.iter().map(|entitlement| entitlement.expires)) {
        Some(ends) => format!("{running_text}; the first right ends in {}", days(ends.0 - now.0)),
        None => format!("{running_text}, without end"),
    }
}

/// Each key that the text names, and each line by others, with what is known of it.
fn signatures(terms: &LicenseTerms, note: &Note) -> Vec<(String, &'static str)> {
    let named = terms.verifier.iter().map(|key| {
        let verdict = match note.verify(key) {
            Ok(()) => "good",
            Err(NoteError::NoSignature { .. }) => "missing",
            Err(_) => "bad",
        };
        (format!("{}+{:08x}", key.name(), key.id()), verdict)
    });
    let is_named = |line: &NoteSignature| terms.verifier.iter().any(|key| key.name().as_str() == line.name() && key.id() == line.id());
    let others =
        note.signatures().iter().filter(|line| !is_named(line)).map(|line| (format!("{}+{:08x}", line.name(), line.id()), "not checked"));
    named.chain(others).collect()
}

fn license_json(terms: &LicenseTerms, note: &Note) -> Value {
    let at = |instant: Option<CivilMs>| instant.map(|instant| instant.to_string());
    let ms = |span: Option<Span>| span.map(Span::ms);
    let (now, good) = (now(), good(note));
    let entitlements: Vec<Value> = terms
        .entitlements
        .iter()
        .map(|entitlement| {
            json!({
                "feature": entitlement.feature.as_str(),
                "version": entitlement.version.map(|version| version.to_string()),
                "seats": entitlement.seats,
                "starts": start_written(terms, entitlement).map(|starts| starts.to_string()),
                "starts_at": at(entitlement.starts),
                "expires": entitlement.expires_written.map(|expires| expires.to_string()),
                "expires_at": at(entitlement.expires),
                "runs_now": good && entitlement.runs_at(now),
                "ttl_ms": ms(entitlement.ttl),
                "ttl_max_ms": entitlement.ttl_max.ms(),
                "linger_ms": ms(entitlement.linger),
                "grace_ms": entitlement.grace.ms(),
                "borrow_ms": ms(entitlement.borrow),
                "presence": entitlement.presence,
                "vendor_data": entitlement.vendor_data,
            })
        })
        .collect();
    json!({
        "license": terms.license.as_str(),
        "hash": LicenseHash::of_text(note.text()).to_string(),
        "vendor": terms.vendor.as_str(),
        "licensee": terms.licensee,
        "issued": terms.issued.to_string(),
        "verifier": terms.verifier.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "signatures": signatures(terms, note).into_iter().map(|(key, verdict)| json!({"key": key, "verdict": verdict.replace(' ', "_")})).collect::<Vec<_>>(),
        "servers": match &terms.servers {
            Servers::Any => json!("any"),
            Servers::Keys(keys) => json!(keys.iter().map(ToString::to_string).collect::<Vec<_>>()),
        },
        "replaces": terms.replaces.iter().map(LicenseId::as_str).collect::<Vec<_>>(),
        "entitlements": entitlements,
        "left_out": terms
            .left_out
            .iter()
            .map(|out| {
                json!({
                    "entitlement": out.position,
                    "feature": out.feature.as_ref().map(triquest_license::FeatureName::as_str),
                    "seats": out.seats,
                    "unknown_words": out.unknown.iter().map(triquest_license::Word::as_str).collect::<Vec<_>>(),
                })
            })
            .collect::<Vec<_>>(),
    })
}

/// `license verify FILE`.
#[derive(Debug, clap::Args)]
pub(crate) struct VerifyCommand {
    /// A license file, one line (tql1....), or - for standard input
    #[arg(value_name = "FILE|LINE|-")]
    license: String,
    /// The vendor's verifier key (or a file that holds it); several with commas, or repeated. One of them must have signed
    #[arg(long, value_name = "KEY", env = "TRIQUEST_LM_VERIFIER_KEY", hide_env_values = true)]
    verifier_key: Vec<String>,
    /// Also check that this server may serve it
    #[arg(long, value_name = "tqs1:...")]
    server: Option<ServerKey>,
    /// As JSON, a refusal too
    #[arg(long)]
    json: bool,
}

impl VerifyCommand {
    fn run(self, terminal: &Terminal) -> Result<u8, Failure> {
        let keys = parse_keys(&self.verifier_key)?;
        let outcome =
            read_bounded(&self.license, INPUT_BYTES_MAX).and_then(|bytes| self.check(&bytes, &keys)).and_then(|license| {
                match self.server {
                    Some(server) if !license.serves(&server) => {
                        Err(Failure::new(format_args!("{}: {server} is not among its servers", name_of(&self.license)))
                            .hint("the vendor must sign it for this server: `triquest-lm license request`"))
                    }
                    _ => Ok(license),
                }
            });
        let license = match outcome {
            Ok(license) => license,
            Err(failure) if self.json => {
                terminal.json(&json!({"verified": false, "reason": failure.message(), "hint": failure.next_step()}))?;
                return Ok(exit::FAILURE);
            }
            Err(failure) => return Err(failure),
        };
        if self.json {
            let mut value = license_json(license.terms(), license.note());
            value["verified"] = json!(true);
            terminal.json(&value)?;
        } else {
            let signers = keys.iter().filter(|key| license.vendor_keys().contains(key.public()));
            terminal.verb("Verified", format_args!("{} by {}", escape(&summary(license.terms())), key_names(signers)));
        }
        let now = now();
        // As a server, which more words bind than an application.
        let for_servers = LicenseTerms::parse(license.note().text()).map_err(|cause| text_failure(&self.license, &cause))?;
        for left_out in &for_servers.left_out {
            let both = license.terms().left_out(left_out.position).is_some();
            let who = if both { "servers and applications" } else { "servers" };
            terminal.warning(format_args!("{left_out}, which {who} of this version do not know: they leave it out and use the rest"));
        }
        let all = &license.terms().entitlements;
        if !all.is_empty() && all.iter().all(|entitlement| entitlement.expires.is_some_and(|expires| expires <= now)) {
            terminal.warning("it is genuine, and all its rights have ended");
        }
        if license.terms().servers.is_any() {
            terminal.warning("anyone who has the file can serve it; applications refuse that unless they opted in");
        }
        Ok(exit::OK)
    }

    /// As an application with these keys, and then as a server, which asks for more.
    fn check(&self, bytes: &[u8], keys: &[VerifierKey]) -> Result<VerifiedLicense, Failure> {
        let failure = |cause: LicenseError| license_failure(&self.license, &cause);
        let license = VerifiedLicense::verify(&read_any(bytes).map_err(failure)?, keys).map_err(failure)?;
        VerifiedLicense::verify_named(license.note()).map_err(|cause| {
            let hint = cause.hint().unwrap_or_default();
            Failure::new(format_args!(
                "{}: applications with this key would take it, but no server does: {}",
                name_of(&self.license),
                escape(&cause.to_string())
            ))
            .hint(escape(&hint))
        })?;
        Ok(license)
    }
}

/// `license convert FILE --to line|file`.
#[derive(Debug, clap::Args)]
pub(crate) struct ConvertCommand {
    /// A license file, one line (tql1....), or - for standard input
    #[arg(value_name = "FILE|LINE|-")]
    license: String,
    /// What to write
    #[arg(long, value_enum)]
    to: Form,
    /// Write to this file instead of standard output
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Form {
    /// The license file, which people can read
    File,
    /// One line, which survives mail and forms
    Line,
}

impl ConvertCommand {
    fn run(self, terminal: &Terminal) -> Result<u8, Failure> {
        let note = read_license(&self.license)?;
        let bytes = match self.to {
            Form::File => note.to_file_bytes(),
            Form::Line => format!("{}\n", note.to_line()).into_bytes(),
        };
        put_out(terminal, self.output.as_deref(), &bytes)?;
        Ok(exit::OK)
    }
}

// What they share.

fn now() -> CivilMs {
    CivilMs(jiff::Timestamp::now().as_millisecond())
}

/// `ACME-1 for Initech GmbH: cad-pro, 25 seats, until 2027-12-31`.
fn summary(terms: &LicenseTerms) -> String {
    let one = |entitlement: &Entitlement| {
        let seats = if entitlement.seats == 1 { "1 seat".to_owned() } else { format!("{} seats", entitlement.seats) };
        let until = entitlement.expires_written.map_or_else(String::new, |expires| format!(", until {expires}"));
        format!("{}, {seats}{until}", entitlement.feature)
    };
    let mut features: Vec<String> = terms.entitlements.iter().take(SUMMARY_FEATURES_MAX).map(one).collect();
    if terms.entitlements.len() > SUMMARY_FEATURES_MAX {
        features.push(format!("and {} more", terms.entitlements.len() - SUMMARY_FEATURES_MAX));
    }
    if features.is_empty() {
        features.push("nothing that this version understands".to_owned());
    }
    format!("{} for {}: {}", terms.license, terms.licensee, features.join("; "))
}

fn key_names<'a>(keys: impl Iterator<Item = &'a VerifierKey>) -> String {
    keys.map(|key| format!("{}+{:08x}", key.name(), key.id())).collect::<Vec<_>>().join(", ")
}

fn parse_keys(given: &[String]) -> Result<VerifierKeys, Failure> {
    if given.is_empty() {
        return Err(Failure::usage("no verifier key is named, so nothing could be checked")
            .hint("--verifier-key KEY or TRIQUEST_LM_VERIFIER_KEY=KEY; the vendor publishes it, `triquest-lm vendor show` prints it"));
    }
    let lists = given.iter().map(|given| verifier_keys(given)).collect::<Result<Vec<_>, _>>()?;
    VerifierKeys::new(lists.iter().flat_map(|keys| keys.iter().cloned()).collect())
        .map_err(|cause| Failure::usage(format_args!("--verifier-key: {cause}")).hint(cause.hint().unwrap_or_default()))
}

/// How messages name an input.
fn name_of(given: &str) -> String {
    match given {
        "-" => "standard input".into(),
        _ if is_line(given) => "the license on the command line".into(),
        _ => escape(given).into_owned(),
    }
}

fn is_line(given: &str) -> bool {
    given.trim_start().starts_with("tql1.")
}

fn read_bounded(given: &str, limit: usize) -> Result<Vec<u8>, Failure> {
    if is_line(given) {
        return Ok(given.as_bytes().to_vec());
    }
    // One byte more than may be, so that too much is seen.
    let limit_and_one = limit as u64 + 1;
    let mut bytes = Vec::new();
    let read = if given == "-" {
        std::io::stdin().lock().take(limit_and_one).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(Path::new(given)).and_then(|file| file.take(limit_and_one).read_to_end(&mut bytes))
    };
    read.map_err(|cause| cannot_read(name_of(given), &cause))?;
    Ok(bytes)
}

fn read_input(given: &str) -> Result<Vec<u8>, Failure> {
    let bytes = read_bounded(given, INPUT_BYTES_MAX)?;
    if bytes.len() > INPUT_BYTES_MAX {
        return Err(Failure::new(format_args!("{} has more than {INPUT_BYTES_MAX} bytes", name_of(given))));
    }
    Ok(bytes)
}

fn utf8(given: &str, bytes: Vec<u8>) -> Result<String, Failure> {
    String::from_utf8(bytes).map_err(|_| Failure::new(format_args!("{} is not UTF-8 text", name_of(given))))
}

fn read_license(given: &str) -> Result<Note, Failure> {
    let bytes = read_bounded(given, INPUT_BYTES_MAX)?;
    read_any(&bytes).map_err(|cause| {
        let failure = license_failure(given, &cause);
        if ServerRequest::parse(&bytes).is_ok() {
            failure.hint("it is a server's request: triquest-lm license sign DRAFT --server-request FILE")
        } else {
            failure
        }
    })
}

fn license_failure(given: &str, cause: &LicenseError) -> Failure {
    failure_of(given, cause, cause.hint())
}

fn text_failure(given: &str, cause: &TextError) -> Failure {
    failure_of(given, cause, cause.hint.clone())
}

fn draft_failure(given: &str, cause: &DraftError) -> Failure {
    failure_of(given, cause, cause.hint().map(str::to_owned))
}

fn failure_of(given: &str, cause: &dyn std::fmt::Display, hint: Option<String>) -> Failure {
    let failure = Failure::new(format_args!("{}: {}", name_of(given), escape(&cause.to_string())));
    match hint {
        Some(hint) => failure.hint(escape(&hint)),
        None => failure,
    }
}

/// To a new file, or to standard output. A file that is there is never overwritten: it may be the only copy of a signed license.
fn put_out(terminal: &Terminal, output: Option<&Path>, bytes: &[u8]) -> Result<(), Failure> {
    let Some(path) = output else {
        terminal.raw(bytes);
        return Ok(());
    };
    let written = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(path)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()));
    written.map_err(|cause| {
        if cause.kind() == std::io::ErrorKind::AlreadyExists {
            Failure::new(format_args!("{} is there already, and is not overwritten", shown(path))).hint("name another file with --output")
        } else {
            Failure::new(format_args!("cannot write {}: {cause}", shown(path)))
        }
    })
}
