//! Errors: RFC 9457 problem documents with a stable code, whether a retry helps, and whether the request took effect.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::lease::PoolNumbers;

/// Declares words of which an unknown one counts as a certain known one.
macro_rules! lenient {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident, $text:literal;)* } else $fallback:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum $name { $($(#[$variant_doc])* $variant,)* }

        impl $name {
            /// As it stands in JSON.
            #[must_use]
            pub const fn as_str(self) -> &'static str { match self { $(Self::$variant => $text,)* } }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                Ok(match &*text {
                    $($text => Self::$variant,)*
                    _ => Self::$fallback,
                })
            }
        }

        #[cfg(feature = "openapi")]
        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
                let known = [$($text,)*];
                let extensions = utoipa::openapi::extensions::ExtensionsBuilder::new().add("x-extensible-enum", known.to_vec()).build();
                utoipa::openapi::ObjectBuilder::new()
                    .schema_type(utoipa::openapi::schema::Type::String)
                    .description(Some(format!(
                        "One of {}; any other counts as `{}`.",
                        known.map(|word| format!("`{word}`")).join(", "),
                        Self::$fallback.as_str()
                    )))
                    .extensions(Some(extensions))
                    .into()
            }
        }
        #[cfg(feature = "openapi")]
        impl utoipa::ToSchema for $name {}
    };
}

lenient! {
    /// Whether to ask again, and how. This, and no code, is what a program goes by.
    Retry {
        /// The same may be answered otherwise some time later. What is not known counts as this.
        Later, "later";
        /// With a new request (a higher attempt, or a new id).
        NewRequest, "new_request";
        /// Not with this request.
        Never, "never";
        /// With the same id and attempt.
        SameId, "same_id";
    } else Later
}

impl Retry {
    /// For `serde(default)`: who says nothing leaves it open.
    #[must_use]
    pub const fn later() -> Self {
        Self::Later
    }
}

lenient! {
    /// Whether the request may have changed something.
    Effect {
        /// It changed nothing and never will.
        No, "no";
        /// Not known: repeat the id to learn it. What is not known counts as this.
        Unknown, "unknown";
    } else Unknown
}

impl Effect {
    /// For `serde(default)`: who says nothing leaves it open.
    #[must_use]
    pub const fn unknown() -> Self {
        Self::Unknown
    }
}

/// Declares the table of error codes: name, text in JSON, status, retry, effect, title.
macro_rules! error_codes {
    ($($(#[doc = $doc:literal])* $name:ident, $text:literal, $status:literal, $retry:ident, $effect:ident, $title:literal;)*) => {
        crate::codes::open_codes! {
            /// Stable codes of errors, kept alphabetical. A denial is an outcome and not among them.
            ErrorCode { $($(#[doc = $doc])* $name, $text, $retry;)* }
        }

        impl ErrorCode {
            /// HTTP status.
            #[must_use]
            pub fn status(&self) -> u16 { match self { $(Self::$name => $status,)* Self::Unknown(_) => 500 } }

            /// Whether it may have changed something.
            #[must_use]
            pub fn took_effect(&self) -> Effect { match self { $(Self::$name => Effect::$effect,)* Self::Unknown(_) => Effect::Unknown } }

            /// A short title.
            #[must_use]
            pub fn title(&self) -> &'static str {
                match self { $(Self::$name => $title,)* Self::Unknown(_) => "an error that this version does not know" }
            }
        }
    };
}

error_codes! {
    /// The text of a license was refused; `detail` says why, with its line.
    BadLicense, "bad_license", 422, Never, No, "the license was refused";
    /// The request is not of the right form; `detail` names the member or the place.
    BadRequest, "bad_request", 400, Never, No, "the request cannot be read";
    /// The body is larger than the limit.
    BodyTooLarge, "body_too_large", 413, Never, No, "the request is too large";
    /// A renewal with this counter and another nonce was seen: two programs use one secret.
    ClonedClient, "cloned_client", 409, Never, No, "two clients use one lease";
    /// A request that changes something has the content type `application/json`, with no charset but UTF-8 and no other coding.
    ContentType, "content_type", 415, Never, No, "the content type must be application/json";
    /// The cursor of events is of another history, or ahead of this one. Read the present state and go on without a cursor. Where events are no longer
    /// kept, the stream itself says so by `event: cursor_lost`.
    CursorLost, "cursor_lost", 410, Never, No, "the events after this cursor are not here";
    /// The server has no room to write the decision down. Who holds a seat or a place in line keeps it.
    DiskFull, "disk_full", 507, SameId, No, "the server's disk is full, so nothing is granted";
    /// It needs a role that the caller does not have: viewer or administrator.
    Forbidden, "forbidden", 403, Never, No, "not allowed for this caller";
    /// A foreign `Origin`, a cross-site fetch, or a `Host` that is no name of this server.
    ForeignOrigin, "foreign_origin", 403, Never, No, "requests from other sites are refused";
    /// The secret's lease is for another holder or other parts. Each lease has a secret of its own.
    IdTaken, "id_taken", 409, NewRequest, No, "this lease id is in use for something else";
    /// The server failed; its log has the cause.
    Internal, "internal", 500, SameId, Unknown, "the server failed; its log says why";
    /// Another text is installed under this license id. The vendor's new one names it in `replaces`, or it is removed first.
    LicenseIdTaken, "license_id_taken", 409, Never, No, "another text is installed under this license id";
    /// The shown grant is charged to a license that is not installed here: ask again when it is. What it shows may have begun or lengthened a quarantine.
    LicenseUnknown, "license_unknown", 409, Later, Unknown, "the license of the shown grant is not installed here";
    /// The request is beyond a limit, which `detail` names.
    LimitReached, "limit_reached", 422, Never, No, "a limit is exceeded";
    /// The path exists, the method does not; `Allow` lists those that do.
    MethodNotAllowed, "method_not_allowed", 405, Never, No, "this method does not exist here";
    /// The server neither serves nor vouches for the TLS key that the client says it saw: somebody stands between.
    Misdirected, "misdirected", 421, Never, No, "this server does not serve that certificate";
    /// There is nothing at this path, or no license, port or name of that kind.
    NotFound, "not_found", 404, Never, No, "there is no such thing here";
    /// What is asked for is so already.
    NothingToDo, "nothing_to_do", 409, Never, No, "there is nothing to do";
    /// Another history has begun since the one whose quarantine was to be ended: look at that one first.
    OtherHistory, "other_history", 409, Never, No, "another history has begun since";
    /// The journal did not confirm in time. Repeat the same request to learn what became of it.
    OutcomeUnknown, "outcome_unknown", 504, SameId, Unknown, "the outcome is not known yet; repeat the same request";
    /// The server is stopping, or as much waits as may wait.
    Overloaded, "overloaded", 503, SameId, No, "the server is busy; ask again";
    /// A rate or a share of this network, or of all together, is used up; `retry_after_ms` says when to ask again.
    RateLimited, "rate_limited", 429, SameId, No, "too many requests; slow down";
    /// A higher attempt with this secret was seen: an old request came late.
    StaleAttempt, "stale_attempt", 409, NewRequest, No, "a later attempt was seen";
    /// A renewal with a higher counter was seen: an old request came late.
    StaleCounter, "stale_counter", 409, Never, No, "a later renewal was seen";
    /// The body did not arrive in time.
    Timeout, "timeout", 408, SameId, No, "the request did not arrive in time";
    /// Too many ids of leases that have ended or were denied are remembered for this network, or for all; `retry_after_ms` says when to ask again.
    TooManyIds, "too_many_ids", 429, SameId, No, "too many ended and denied leases are remembered";
    /// There is no such presence connection, or it has ended. Open another one.
    UnknownConnection, "unknown_connection", 404, NewRequest, No, "no such presence connection";
    /// There is no such lease here, and none is remembered. Check out with a fresh secret.
    UnknownLease, "unknown_lease", 404, NewRequest, No, "no such lease";
    /// The request has a member that this server does not know, which `member` names.
    UnknownMember, "unknown_member", 400, Never, No, "the request has a member that is not known here";
    /// The secret does not belong to this lease.
    WrongSecret, "wrong_secret", 403, Never, No, "the secret does not belong to this lease";
}

/// An RFC 9457 problem document.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Problem {
    /// `urn:triquest-lm:error:CODE`.
    #[serde(rename = "type")]
    pub kind: String,
    /// A short title.
    pub title: String,
    /// HTTP status.
    pub status: u16,
    /// What exactly, with the place.
    pub detail: String,
    /// The stable code.
    pub code: ErrorCode,
    /// Whether to ask again.
    #[serde(default = "Retry::later")]
    pub retry: Retry,
    /// Whether it may have changed something.
    #[serde(default = "Effect::unknown")]
    pub took_effect: Effect,
    /// With `unknown_member`: the member that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member: Option<String>,
    /// One next step, empty if there is none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hint: String,
    /// When to ask again at the earliest, milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// The pool's numbers, where seats were asked for and too many such requests were denied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<PoolNumbers>,
}

impl Problem {
    /// A problem of this code with what exactly happened.
    #[must_use]
    pub fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("urn:triquest-lm:error:{}", code.as_str()),
            title: code.title().to_owned(),
            status: code.status(),
            detail: detail.into(),
            code,
            retry: code.retry(),
            took_effect: code.took_effect(),
            member: None,
            hint: String::new(),
            retry_after_ms: None,
            pool: None,
        }
    }

    /// The same with a next step.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }
}

#[cfg(test)]
mod tests {
    use super::ErrorCode;

    #[test]
    fn codes_are_alphabetical_and_their_text_is_their_name_in_json() {
        let texts: Vec<_> = ErrorCode::ALL.iter().map(|code| code.as_str()).collect();
        let mut names: Vec<_> = ErrorCode::ALL.iter().map(|code| format!("{code:?}")).collect();
        let in_order = names.clone();
        names.sort();
        assert_eq!(names, in_order);
        for (code, text) in ErrorCode::ALL.iter().zip(texts) {
            assert_eq!(serde_json::to_string(code).expect("a code serializes"), format!("\"{text}\""));
        }
    }
}
