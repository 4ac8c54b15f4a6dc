//! What went wrong, with a stable code, an explanation, a next step, and whether later may help.

use std::fmt;

use triquest_license::VerifierKeyError;
use triquest_wire::{
    ErrorCode, Problem, Retry,
    lease::{Denial, DenialCode, EndReason},
    text,
};

use crate::{
    address::{AddressError, ServerAddress},
    keeper::Failure,
    limits::SAID_BYTES_MAX,
    lookup::Looked,
    seat::InLine,
    transport::Rejected,
    verify::Distrust,
};

/// What kind of error. Kept alphabetical.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The caller cancelled it.
    Cancelled,
    /// The server denied the seats; [`Error::denial`] has the numbers.
    Denied,
    /// The lease ended before it was held.
    Ended,
    /// The request itself is wrong: a feature's name, a version, too many items.
    Invalid,
    /// No server answered.
    NoServer,
    /// No server was named anywhere; [`Error::places`] has where was looked.
    NoServerNamed,
    /// A server answered and could not prove that the vendor licensed it.
    NotTrusted,
    /// No definite answer came in time; what may have been granted is given back.
    OutcomeUnknown,
    /// The server refused the request; [`Error::code`] says why.
    Refused,
    /// The system: a thread could not be started.
    System,
    /// The verifier keys cannot be read.
    VerifierKey,
}

/// One server that was tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tried {
    /// As it was named.
    pub server: ServerAddress,
    /// Why it could not be used. May hold text from outside: escape it before printing.
    pub reason: String,
    /// Whether it answered at all.
    pub answered: bool,
}

/// An error of the client. Its text may hold words of the server: escape control characters before printing it on a terminal.
#[derive(Clone, Debug)]
pub struct Error(Box<Inner>);

#[derive(Clone, Debug)]
struct Inner {
    kind: ErrorKind,
    code: String,
    explanation: String,
    hint: String,
    may_help_later: bool,
    may_come_back: bool,
    denial: Option<Denial>,
    tried: Vec<Tried>,
    places: Vec<Looked>,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, code: &str, explanation: impl Into<String>, may_help_later: bool) -> Self {
        Self(Box::new(Inner {
            kind,
            code: code.to_owned(),
            explanation: explanation.into(),
            hint: String::new(),
            may_help_later,
            may_come_back: false,
            denial: None,
            tried: Vec::new(),
            places: Vec::new(),
        }))
    }

    /// The same, of a lost seat that is still asked for, or of one that is not.
    pub(crate) fn coming_back(mut self, may_come_back: bool) -> Self {
        self.0.may_come_back = may_come_back;
        self
    }

    /// The same after the name of the place that it comes from.
    pub(crate) fn prefixed(mut self, place: &str) -> Self {
        self.0.explanation = format!("{place}: {}", self.0.explanation);
        self
    }

    /// The same with the places that were looked at for servers.
    pub(crate) fn with_places(mut self, places: Vec<Looked>) -> Self {
        self.0.places = places;
        self
    }

    /// The same with what each server answered. If one of them could not be asked, later may help.
    pub(crate) fn with_tried(mut self, tried: Vec<Tried>) -> Self {
        self.0.may_help_later |= tried.iter().any(|tried| !tried.answered);
        self.0.tried = tried;
        self
    }

    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = hint.into();
        self
    }

    pub(crate) fn denied(denial: Denial) -> Self {
        let mut error =
            Self::new(ErrorKind::Denied, denial.code.as_str(), denial.message.clone(), denial.code.beside(denial.retry).may_help_later());
        error.0.hint.clone_from(&denial.hint);
        error.0.denial = Some(denial);
        error
    }

    pub(crate) fn problem(problem: &Problem) -> Self {
        let later = problem.code.retry() != Retry::Never;
        Self::new(ErrorKind::Refused, problem.code.as_str(), problem.detail.clone(), later).with_hint(problem.hint.clone())
    }

    /// A problem document of a server that has proved nothing: its words are shown as its words, and its hint is not ours.
    pub(crate) fn unproved(server: &ServerAddress, problem: &Problem) -> Self {
        let later = matches!(problem.code.retry(), Retry::SameId | Retry::NewRequest);
        Self::new(ErrorKind::Refused, problem.code.as_str(), says(server, &problem.detail), later)
            .with_hint(format!("it has proved nothing, so nothing that it says counts: triquest-lm doctor {server}"))
    }

    pub(crate) fn distrust(reason: &Distrust) -> Self {
        let (code, hint) = match reason {
            Distrust::NoLicense { .. } => {
                ("no_license", "the administrator installs the vendor's license there: triquest-lm license install FILE")
            }
            Distrust::Ended { .. } => (
                "license_ended",
                "ask the vendor for the license that follows it; the administrator installs it there: triquest-lm license install FILE",
            ),
            Distrust::AnyServer { .. } => (
                "any_server",
                "ask the vendor for a license that names this server's key (triquest-lm license request), or accept any server: `--accept-any-server`, in a program `accept_any_server`",
            ),
            Distrust::Words { .. } => ("words", "update the application"),
            Distrust::Day { .. } => ("clock", "compare this computer's clock with the license's dates"),
            Distrust::OtherQuestion { .. } => (
                "intercepted",
                "something between this computer and the server intercepts the connection; ask your network's administrator",
            ),
            _ => ("not_trusted", "ask the administrator whether this is the right server: triquest-lm doctor"),
        };
        Self::new(ErrorKind::NotTrusted, code, reason.to_string(), false).with_hint(hint)
    }

    pub(crate) fn no_server(tried: Vec<(ServerAddress, Rejected)>) -> Self {
        let listed: Vec<Tried> = tried
            .iter()
            .map(|(server, reason)| Tried {
                server: server.clone(),
                reason: reason.told_by(server),
                answered: !matches!(reason, Rejected::Unreachable(_)),
            })
            .collect();
        // One that answered says more than one that is dead.
        let telling = tried.iter().find(|(_, reason)| !matches!(reason, Rejected::Unreachable(_)));
        let mut error = match telling {
            Some((_, Rejected::NotTrusted(reason))) => Self::distrust(reason),
            Some((server, Rejected::Refused(problem))) => Self::unproved(server, problem),
            _ => Self::new(ErrorKind::NoServer, "no_server", "no license server answered", true)
                .with_hint(tried.first().map_or_else(String::new, |(server, _)| format!("triquest-lm doctor {server}"))),
        };
        error.0.tried = listed;
        error
    }

    /// The wait is over, and no server has answered in the last part of it.
    pub(crate) fn unheard(tried: Vec<(ServerAddress, Rejected)>, unheard_ms: u64, wait_ms: u64) -> Self {
        let mut error = Self::no_server(tried);
        if error.kind() == ErrorKind::NoServer {
            error.0.code = "server_gone".into();
            error.0.explanation =
                format!("no license server has answered for the last {} of the wait of {}", span(unheard_ms.min(wait_ms)), span(wait_ms));
        }
        error
    }

    /// The wait is over by this computer's clock. `place`: where in line, as the server said so long ago.
    pub(crate) fn wait_over(wait_ms: u64, place: Option<(&InLine, u64)>) -> Self {
        let place = place.map_or_else(String::new, |(line, ago_ms)| {
            let ago = if ago_ms < 1_000 { String::new() } else { format!(", as the server said {} ago", span(ago_ms)) };
            format!(" (place {}, {} of {} in use{ago})", line.place, line.pool.used, line.pool.total)
        });
        Self::new(
            ErrorKind::Denied,
            DenialCode::WaitOver.as_str(),
            format!("the wait of {} ended without a seat{place}", span(wait_ms)),
            true,
        )
    }

    pub(crate) fn failure(failure: Failure) -> Self {
        match failure {
            Failure::Cloned => Self::new(ErrorKind::Refused, ErrorCode::ClonedClient.as_str(), ErrorCode::ClonedClient.title(), false),
            Failure::Denied(code) => Self::new(ErrorKind::Denied, code.as_str(), "the server denied a new lease", code.may_help_later()),
            Failure::Ended(reason) => Self::new(ErrorKind::Ended, "ended", ended(reason), false),
            Failure::Halted => Self::new(
                ErrorKind::OutcomeUnknown,
                "halted",
                "this program or its machine was stopped or slept until the seat's time was over",
                true,
            ),
            Failure::NoAnswer => {
                Self::new(ErrorKind::OutcomeUnknown, "outcome_unknown", "the license server gave no definite answer in time", true)
            }
            Failure::Refused(code) => Self::new(ErrorKind::Refused, code.as_str(), code.title(), code.retry() != Retry::Never),
            Failure::Untrusted => Self::new(ErrorKind::NotTrusted, "not_trusted", "the server's grant could not be verified", false),
            Failure::WaitOver => Self::new(ErrorKind::Denied, DenialCode::WaitOver.as_str(), "the wait ended without a seat", true),
        }
    }

    /// What kind.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// A stable code for programs: of the denial, of the server's problem, or of the client.
    #[must_use]
    pub fn code(&self) -> &str {
        &self.0.code
    }

    /// What happened, for people.
    #[must_use]
    pub fn explanation(&self) -> &str {
        &self.0.explanation
    }

    /// One next step for people.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        (!self.0.hint.is_empty()).then_some(self.0.hint.as_str())
    }

    /// Whether asking again later may help, without a new license or another request.
    #[must_use]
    pub fn may_help_later(&self) -> bool {
        self.0.may_help_later
    }

    /// What `on_lost` was told: whether the client goes on asking for a seat by itself, so that `on_regained` may follow. False everywhere else.
    #[must_use]
    pub fn may_come_back(&self) -> bool {
        self.0.may_come_back
    }

    /// The numbers of a denial.
    #[must_use]
    pub fn denial(&self) -> Option<&Denial> {
        self.0.denial.as_ref()
    }

    /// The servers that were tried, and why each was no use. Empty if the only one that there is denied.
    #[must_use]
    pub fn tried(&self) -> &[Tried] {
        &self.0.tried
    }

    /// The same without the only one if its reason is the explanation: nothing is said twice.
    #[must_use]
    pub fn tried_beyond_explanation(&self) -> &[Tried] {
        match self.tried() {
            [only] if only.reason == self.0.explanation => &[],
            tried => tried,
        }
    }

    /// Every place that was looked at for servers, and what it said, if that was to no avail.
    #[must_use]
    pub fn places(&self) -> &[Looked] {
        &self.0.places
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.explanation)?;
        let places = self.0.places.iter().map(ToString::to_string);
        let tried = self.tried_beyond_explanation().iter().map(|tried| format!("{}: {}", tried.server, tried.reason));
        let rows: Vec<String> = places.chain(tried).collect();
        if rows.is_empty() { Ok(()) } else { write!(f, " ({})", rows.join("; ")) }
    }
}

impl std::error::Error for Error {}

impl From<AddressError> for Error {
    fn from(error: AddressError) -> Self {
        Self::new(ErrorKind::Invalid, "bad_address", error.to_string(), false)
    }
}

impl From<VerifierKeyError> for Error {
    fn from(error: VerifierKeyError) -> Self {
        Self::new(ErrorKind::VerifierKey, "bad_verifier_key", error.to_string(), false).with_hint(error.hint().unwrap_or_default())
    }
}

/// The words of a server that has proved nothing, as what they are: `HOST says: ...`, tidied and cut.
pub(crate) fn says(server: impl fmt::Display, words: &str) -> String {
    format!("{server} says: {}", text::tidy(words, SAID_BYTES_MAX))
}

/// Milliseconds for people, rounded up: `45 s`, `4 min`, `3 h`.
pub(crate) fn span(ms: u64) -> String {
    match ms.div_ceil(1_000) {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7_200 => format!("{} min", seconds.div_ceil(60)),
        seconds => format!("{} h", seconds.div_ceil(3_600)),
    }
}

/// Why a lease ended, for people.
#[must_use]
pub fn ended(reason: EndReason) -> &'static str {
    match reason {
        EndReason::Excluded => "a new rule of the administrator excludes this holder",
        EndReason::Expired => "no renewal reached the server in time",
        EndReason::LicenseEnded => "the license's last day is over",
        EndReason::LicenseRemoved => "the administrator removed the license",
        EndReason::LicenseReplaced => "the license was replaced by one that does not cover this",
        EndReason::Presence => "the server saw the program's connection end",
        EndReason::Reclaimed => "an administrator took the seat back",
        EndReason::Released => "the seat was given back",
        EndReason::Unclaimed => "the seat was granted in line and not fetched in time",
        _ => "the server ended it for a reason that this version does not know",
    }
}
