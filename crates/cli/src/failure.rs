//! How a command fails: one message, numbers and places below it, one next step, an exit code.

use std::fmt::Display;

use triquest_client::ErrorKind;
use triquest_journal::{JournalError, JournalErrorKind};

use crate::terminal::escape_lines;

/// Exit codes of every command; `run` also passes on its program's own, and 126 and 127 as the shell does.
pub(crate) mod exit {
    /// It worked.
    pub(crate) const OK: u8 = 0;
    /// It failed.
    pub(crate) const FAILURE: u8 = 1;
    /// The command line or the configuration is wrong.
    pub(crate) const USAGE: u8 = 2;
    /// The journal cannot be read or written (`EX_IOERR`): damaged, of a newer version, read-only.
    pub(crate) const JOURNAL: u8 = 74;
    /// Denied, no server answered, its disk is full, or another process is in the way: the same may work later (`EX_TEMPFAIL`).
    pub(crate) const LATER: u8 = 75;
    /// The seat was lost while it was kept (`EX_PROTOCOL`: what was agreed did not hold).
    pub(crate) const LOST: u8 = 76;
    /// Denied, and asking later will not help (`EX_NOPERM`).
    pub(crate) const NEVER: u8 = 77;
}

/// The exit code of an error of the client: whichever command meets it ends alike.
pub(crate) fn code_of(error: &triquest_client::Error) -> u8 {
    match error.kind() {
        ErrorKind::Invalid | ErrorKind::VerifierKey => exit::USAGE,
        _ if error.may_help_later() => exit::LATER,
        _ => exit::NEVER,
    }
}

/// The word before the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FailureKind {
    /// An outcome, not a fault: `denied:`.
    Denied,
    /// A fault: `error:`.
    Error,
}

/// Why a command did not do what was asked. The texts may hold outside strings only after [`crate::terminal::escape`].
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    kind: FailureKind,
    message: String,
    rows: Vec<(String, String)>,
    hint: Option<String>,
    code: u8,
}

impl Failure {
    /// An error with exit code 1.
    pub(crate) fn new(message: impl Display) -> Self {
        Self { kind: FailureKind::Error, message: message.to_string(), rows: Vec::new(), hint: None, code: exit::FAILURE }
    }

    /// A wrong command line or configuration, exit code 2.
    pub(crate) fn usage(message: impl Display) -> Self {
        Self::new(message).with_code(exit::USAGE)
    }

    /// A denial, exit code 75 or 77.
    pub(crate) fn denied(message: impl Display, may_help_later: bool) -> Self {
        let code = if may_help_later { exit::LATER } else { exit::NEVER };
        Self { kind: FailureKind::Denied, ..Self::new(message).with_code(code) }
    }

    /// The same with one next step.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Display) -> Self {
        let hint = hint.to_string();
        self.hint = if hint.is_empty() { None } else { Some(hint) };
        self
    }

    /// The same with a named line below the message, such as `seats    25: 23 in use`.
    #[must_use]
    pub(crate) fn row(mut self, name: impl Display, text: impl Display) -> Self {
        self.rows.push((name.to_string(), text.to_string()));
        self
    }

    /// The same with another exit code.
    #[must_use]
    pub(crate) fn with_code(mut self, code: u8) -> Self {
        self.code = code;
        self
    }

    /// The word before the message.
    pub(crate) fn kind(&self) -> FailureKind {
        self.kind
    }

    /// What happened.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// Numbers and places.
    pub(crate) fn rows(&self) -> &[(String, String)] {
        &self.rows
    }

    /// The next step.
    pub(crate) fn next_step(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// The exit code.
    pub(crate) fn code(&self) -> u8 {
        self.code
    }
}

/// A file that cannot be read, with what may help. `name` is escaped already.
pub(crate) fn cannot_read(name: impl Display, cause: &std::io::Error) -> Failure {
    match cause.kind() {
        std::io::ErrorKind::NotFound => Failure::new(format_args!("cannot read {name}: there is no such file"))
            .hint("a name without `/` is looked for in the folder that this was started in"),
        std::io::ErrorKind::PermissionDenied => Failure::new(format_args!("cannot read {name}: this user may not"))
            .hint("`ls -l` shows who may; repeat the command as that user"),
        std::io::ErrorKind::IsADirectory => Failure::new(format_args!("cannot read {name}: it is a folder")).hint("name the file in it"),
        _ => Failure::new(format_args!("cannot read {name}: {cause}")),
    }
}

/// What the server and its journal say about themselves is for people already; it brings its next step along.
impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        if let Some(fault) = error.downcast_ref::<triquest_server::config::Fault>() {
            return fault.clone().into();
        }
        if let Some(fault) = error.downcast_ref::<JournalError>() {
            return fault.into();
        }
        Self::new(escape_lines(&format!("{error:#}")))
    }
}

/// A fault of the journal: whether it is lasting stands in the exit code.
impl From<&JournalError> for Failure {
    fn from(error: &JournalError) -> Self {
        let code = match error.kind {
            JournalErrorKind::Corrupt | JournalErrorKind::Newer | JournalErrorKind::ReadOnly => exit::JOURNAL,
            JournalErrorKind::Full | JournalErrorKind::Locked => exit::LATER,
            JournalErrorKind::Missing | JournalErrorKind::System => exit::FAILURE,
        };
        Self::new(escape_lines(&error.message)).hint(escape_lines(&error.hint)).with_code(code)
    }
}

impl From<triquest_server::config::Fault> for Failure {
    fn from(fault: triquest_server::config::Fault) -> Self {
        Self::new(escape_lines(&fault.message)).hint(escape_lines(&fault.hint))
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::new(error)
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        Self::new(format_args!("this JSON cannot be read: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::exit;

    #[test]
    fn the_page_of_the_command_line_names_every_exit_code() {
        let page = include_str!("../../../docs/reference/cli.md");
        for code in [exit::OK, exit::FAILURE, exit::USAGE, exit::JOURNAL, exit::LATER, exit::LOST, exit::NEVER] {
            assert!(page.contains(&format!("\n| {code} | ")), "{code}");
        }
    }
}
