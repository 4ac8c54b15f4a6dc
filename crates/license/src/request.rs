//! What a customer mails to the vendor: the server's key, signed by itself (proof of possession).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use crate::civil::CivilMs;
use crate::key::{ServerKey, SigningKey};
use crate::limits::{HOST_BYTES_MAX, REQUEST_BYTES_MAX};
use crate::statement::{self, StatementKind};
use crate::text;

const BEGIN: &str = "-----BEGIN TRIQUEST-LM SERVER REQUEST-----";
const END: &str = "-----END TRIQUEST-LM SERVER REQUEST-----";
/// Characters on a line, so that no mailer wraps it.
const LINE_CHARS: usize = 64;

/// A server's request for a license.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerRequest {
    /// The server's key.
    pub server_key: ServerKey,
    /// The host's name, as the server sees itself; for people.
    pub host: String,
    /// When it was made, by the server's clock.
    pub made_at: CivilMs,
    /// The software that made it, for people: `triquest-lm 0.1.0`.
    pub software: String,
}

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// Not a request, or damaged on its way.
    #[error("this is no server request: {problem}")]
    Form {
        /// What is wrong.
        problem: String,
    },
    /// The server's key did not sign it.
    #[error("the request is not signed by the server key that it names")]
    Signature,
}

impl RequestError {
    /// What to do about it.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        "ask the customer for the output of `triquest-lm license request` again, as an attached file"
    }
}

/// The signed bytes: exactly these members, none twice.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Payload {
    server_key: String,
    host: String,
    made_at_ms: i64,
    software: String,
}

impl ServerRequest {
    /// The text to be mailed. `key` is the server's own, whose public half is `server_key`.
    #[must_use]
    pub fn to_text(&self, key: &SigningKey) -> String {
        let payload = serde_json::json!({
            "server_key": self.server_key.to_string(),
            "host": self.host,
            "made_at_ms": self.made_at.0,
            "software": self.software,
        })
        .to_string();
        let signature = statement::sign(key, StatementKind::ServerRequest, payload.as_bytes());
        let body = format!("{}.{}", URL_SAFE_NO_PAD.encode(&payload), URL_SAFE_NO_PAD.encode(signature));
        let mut out = format!(
            "Request for a license, to be mailed to your vendor\nserver   {}\nhost     {}\nmade at  {}\n\n{BEGIN}\n",
            self.server_key, self.host, self.made_at
        );
        let mut rest = body.as_str();
        while !rest.is_empty() {
            // The body is ASCII: every place is a boundary.
            let (line, after) = rest.split_at(rest.len().min(LINE_CHARS));
            out.push_str(line);
            out.push('\n');
            rest = after;
        }
        out.push_str(END);
        out.push('\n');
        out
    }

    /// Reads and verifies a request as it was mailed: with text around it, wrapped, quoted with `>`, with Windows line
    /// ends. What is signed counts; a readable line above it that names another server is refused, because people go by it.
    ///
    /// # Errors
    /// [`RequestError`], by reason.
    pub fn parse(input: &[u8]) -> Result<Self, RequestError> {
        let form = |problem: &str| RequestError::Form { problem: problem.into() };
        if input.len() > REQUEST_BYTES_MAX {
            return Err(RequestError::Form { problem: format!("it has more than {REQUEST_BYTES_MAX} bytes") });
        }
        // Around the body anything may stand, in any encoding.
        let input = String::from_utf8_lossy(input);
        let (before, rest) = input.split_once(BEGIN).ok_or_else(|| form("its BEGIN line is missing"))?;
        let (body, after) = rest.split_once(END).ok_or_else(|| form("its END line is missing"))?;
        if body.contains(BEGIN) || after.contains(BEGIN) {
            return Err(form("there are two in one file; give one file for each"));
        }
        let body: String = body.chars().filter(|c| !c.is_whitespace() && *c != '>').collect();
        let (payload, signature) = body.split_once('.').ok_or_else(|| form("its signature is missing"))?;
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| form("it was damaged on its way"));
        let (payload, signature) = (decode(payload)?, decode(signature)?);
        let fields: Payload = serde_json::from_slice(&payload).map_err(|_| form("it has other members than it should"))?;
        let server_key: ServerKey = fields.server_key.parse().map_err(|error| RequestError::Form { problem: format!("{error}") })?;
        statement::verify(server_key.public(), StatementKind::ServerRequest, &payload, &signature).map_err(|_| RequestError::Signature)?;
        for (line, text) in before.lines().enumerate() {
            let mut words = text.split_whitespace().filter(|word| !word.chars().all(|c| c == '>'));
            let named =
                words.next().filter(|word| word.trim_start_matches('>') == "server").and_then(|_| words.next()?.parse::<ServerKey>().ok());
            if let Some(named) = named.filter(|named| *named != server_key) {
                let line = line + 1;
                return Err(RequestError::Form {
                    problem: format!("line {line} names the server {named}, and what is signed below names {server_key}"),
                });
            }
        }
        for (what, value) in [("host", &fields.host), ("software", &fields.software)] {
            // They are shown on the vendor's terminal.
            if value.len() > HOST_BYTES_MAX || value.contains('\n') || text::check_code_points(value).is_err() {
                return Err(RequestError::Form { problem: format!("its {what} is too long or has characters that hide something") });
            }
        }
        Ok(Self { server_key, host: fields.host, made_at: CivilMs(fields.made_at_ms), software: fields.software })
    }
}
