//! From a draft to the text that is signed.
//!
//! A draft is a license text in which `format`, `vendor`, `verifier` and `issued` may be missing, since signing fills them
//! in, and in which values may still be empty. Its Windows line ends are taken as newlines. Drafts are edited as text,
//! so that a template's comments stay.

use std::fmt::Write as _;

use serde::Deserialize;

use crate::civil::{CivilDate, CivilMs, Written};
use crate::hash::sha256;
use crate::key::{ServerKey, SigningKey};
use crate::names::{LicenseId, VendorName};
use crate::terms::{ENTITLEMENT_KEYS, Entitlement, FORMAT, Fill, LicenseTerms, More, Servers, TOP_KEYS, nearest};
use crate::text::{self, Place, TextError};
use crate::toml::{self, Document, Entry, Kind, Table, Value};
use crate::verifier::{Signer, VerifierKey, VerifierKeys};
use crate::words::{Reader, Role, Vocabulary, Word};

/// Why a draft is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DraftError {
    /// The draft's text.
    #[error("{0}")]
    Text(#[from] TextError),
    /// It could never be served, or not as its author means; or a value cannot be set.
    #[error("{message}")]
    Refused {
        /// Why.
        message: String,
        /// What to do about it.
        hint: Option<String>,
    },
}

impl DraftError {
    fn refused(message: impl Into<String>, hint: &str) -> Self {
        Self::Refused { message: message.into(), hint: (!hint.is_empty()).then(|| hint.into()) }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Text(error) => error.hint(),
            Self::Refused { hint, .. } => hint.as_deref(),
        }
    }
}

/// What is not in the draft.
#[derive(Clone, Debug)]
pub struct Prepare<'a> {
    /// The keys that will sign; the text will name them, and the vendor by their name.
    pub verifier: &'a VerifierKeys,
    /// The date of issue, for a draft that does not say.
    pub issued: Written,
    /// The time now: an entitlement that has ended is refused.
    pub now: CivilMs,
    /// `servers = "any"` is meant.
    pub any_server: bool,
    /// Several servers, each with the full count, are meant.
    pub each_server_counts: bool,
    /// The words that may be signed: `needs` is written for the keys that they name.
    pub words: Vocabulary,
}

/// A commented draft to be filled in. `today` only serves the examples in its comments.
#[must_use]
pub fn new_draft(license: Option<&LicenseId>, servers: &[ServerKey], today: Written) -> String {
    let license = license.map_or("", LicenseId::as_str);
    let year = today.date().year().saturating_add(1);
    let servers = match servers {
        [] => "[]".to_owned(),
        [server] => format!("[\"{server}\"]"),
        several => several.iter().fold("[\n".to_owned(), |list, server| list + &format!("  \"{server}\",\n")) + "]",
    };
    format!(
        r#"{first_line}

# Your own number for this license: letters, digits, `.`, `_` and `-`. No two licenses of yours may share one.
license = "{license}"

# Your customer.
licensee = ""

# The keys of the servers that may serve it. The customer sends one: `triquest-lm server id`, or a signed request from
# `triquest-lm license request`, which `triquest-lm license sign --server-request FILE` reads. Each server listed counts
# alone.
# "any" instead lets everybody serve it who has the file, and applications refuse that unless they opted in.
servers = {servers}

# From when on. A date is a whole day, everywhere on Earth; 2027-01-31T18:00:00+01:00 is an exact instant.
# starts = {year}-01-01

# Licenses of yours that this one takes the place of, as soon as it takes effect.
# replaces = ["{example}"]

# One section for each feature; repeat it as often as you need. Seats of one feature add up, across licenses too.
[[entitlement]]
feature = ""
seats = 1

# The newest version of your application that it covers; without it, every version.
# version = "12.4"

# The last day of the right; without it, it never ends.
# expires = {year}-12-31

# How long an application may run on while no server answers.
# grace = "15min"

# How long a seat may be borrowed for use without a network.
# borrow = "14d"

# Time to live of a lease, the longest that applications accept, and how long a seat stays taken after its release.
# ttl = "5min"
# ttl_max = "1h"
# linger = "0s"

# Whether the server may free a seat at once when the application's process has ended.
# presence = true

# Your own data, which the application gets with each seat.
# vendor_data = ""
"#,
        first_line = LicenseTerms::FIRST_LINE,
        // Another than its own: that would take the place of itself.
        example = if license == "2026-00016" { "2026-00015" } else { "2026-00016" },
    )
}

/// The draft that says the same as these terms, without what signing fills in: vendor, keys and date of issue.
#[must_use]
pub fn from_terms(terms: &LicenseTerms) -> String {
    terms
        .to_text()
        .split_inclusive('\n')
        // An array of several keys stands on several lines: skip to its end.
        .scan(false, |skipping, line| {
            let begins = ["vendor = ", "verifier = ", "issued = "].iter().any(|key| line.starts_with(key));
            let skip = *skipping || begins;
            *skipping = skip && (line.ends_with("[\n") || (*skipping && line != "]\n"));
            Some(if skip { "" } else { line })
        })
        .collect()
}

/// A draft from JSON, with the same keys: `{"license": "...", "licensee": "...", "servers": ["tqs1:..."],
/// "entitlement": [{"feature": "cad-pro", "seats": 25, "expires": "2027-12-31"}]}`. Dates are strings. Unknown and duplicate
/// keys are errors.
///
/// # Errors
/// [`DraftError`], with line and column in the JSON where there is one.
pub fn from_json(json: &[u8]) -> Result<String, DraftError> {
    // A list would be taken for the members of an object in their order.
    if let Some(start) = json.iter().position(|byte| !byte.is_ascii_whitespace()).filter(|start| json[*start] != b'{') {
        let before = String::from_utf8_lossy(&json[..start]);
        return Err(TextError::new(Place::of(&before, start), "a draft in JSON is one object").with_hint(JSON_EXAMPLE).into());
    }
    let draft: JsonDraft = serde_json::from_slice(json).map_err(|error| json_fault(&error))?;
    let mut out = format!("{}\n", LicenseTerms::FIRST_LINE);
    if draft.format.is_some_and(|format| format != FORMAT) {
        return Err(DraftError::refused(format!("the format must be \"{FORMAT}\", or be left out of a draft"), ""));
    }
    let servers = draft.servers.map(|servers| match servers {
        JsonServers::Any(word) => word,
        JsonServers::Keys(keys) => keys.join(","),
    });
    let mut entitlements = 0_usize;
    let mut put = |keys: Keys, key: &str, value: Option<String>| -> Result<(), DraftError> {
        if key == "feature" {
            entitlements += 1;
        }
        if let Some(value) = value {
            let literal = literal(keys, key, &value).map_err(|message| {
                let place = match keys {
                    Keys::Top => key.to_owned(),
                    Keys::Entitlement => format!("entitlement[{}].{key}", entitlements - 1),
                };
                DraftError::refused(format!("`{place}`: {message}"), "")
            })?;
            if key == "feature" {
                out.push_str("\n[[entitlement]]\n");
            }
            // Writing into a String cannot fail.
            let _ = writeln!(out, "{key} = {literal}");
        }
        Ok(())
    };
    put(Keys::Top, "license", draft.license)?;
    put(Keys::Top, "vendor", draft.vendor)?;
    put(Keys::Top, "verifier", draft.verifier.map(|keys| keys.join(",")))?;
    put(Keys::Top, "licensee", draft.licensee)?;
    put(Keys::Top, "issued", draft.issued)?;
    put(Keys::Top, "starts", draft.starts)?;
    put(Keys::Top, "servers", servers)?;
    put(Keys::Top, "replaces", draft.replaces.map(|ids| ids.join(",")))?;
    put(Keys::Top, "needs", draft.needs.map(|words| words.join(",")))?;
    for entitlement in draft.entitlement {
        for (key, value) in [
            ("feature", Some(entitlement.feature)),
            ("version", entitlement.version),
            ("seats", Some(entitlement.seats.to_string())),
            ("starts", entitlement.starts),
            ("expires", entitlement.expires),
            ("ttl", entitlement.ttl),
            ("ttl_max", entitlement.ttl_max),
            ("linger", entitlement.linger),
            ("grace", entitlement.grace),
            ("borrow", entitlement.borrow),
            ("presence", entitlement.presence.map(|presence| presence.to_string())),
            ("vendor_data", entitlement.vendor_data),
            ("needs", entitlement.needs.map(|words| words.join(","))),
        ] {
            put(Keys::Entitlement, key, value)?;
        }
    }
    Ok(out)
}

const JSON_EXAMPLE: &str =
    r#"such as {"license": "A-1", "licensee": "Initech", "servers": ["tqs1:..."], "entitlement": [{"feature": "cad-pro", "seats": 25}]}"#;

/// The parser's words in those of a draft, with what belongs at the place.
fn json_fault(error: &serde_json::Error) -> TextError {
    let place = Place { line: error.line().max(1), column: error.column().max(1) };
    let message = error.to_string();
    let message = message.rsplit_once(" at line ").map_or(message.as_str(), |(message, _)| message);
    if error.is_eof() {
        return TextError::new(place, "the JSON ends before it is complete").with_hint("is the end missing? a draft ends with `}`");
    }
    if let Some((found, expected)) = message.strip_prefix("invalid type: ").and_then(|rest| rest.rsplit_once(", expected ")) {
        let (wanted, hint) = match expected {
            "u64" => ("a whole number", "a number stands without quotes, like 25"),
            "a string" => ("a string", "put it in double quotes; versions, dates and spans of time are strings in JSON"),
            "a boolean" => ("true or false", "it stands without quotes"),
            "a sequence" => ("a list", "a list stands in brackets, even of one"),
            other => (other, JSON_EXAMPLE),
        };
        return TextError::new(place, format!("{found} stands where {wanted} belongs")).with_hint(hint);
    }
    // `unknown field `X`, expected one of `A`, `B``.
    let mut quoted = message.split('`').skip(1).step_by(2);
    match quoted.next().filter(|_| message.starts_with("unknown field ")) {
        Some(found) => {
            let known: Vec<&str> = quoted.collect();
            let hint =
                nearest(found, &known).map_or_else(|| format!("known are {}", known.join(", ")), |near| format!("did you mean `{near}`?"));
            TextError::new(place, format!("unknown field `{found}`")).with_hint(hint)
        }
        None => TextError::new(place, message).with_hint(JSON_EXAMPLE),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object")]
struct JsonDraft {
    format: Option<String>,
    license: Option<String>,
    vendor: Option<String>,
    verifier: Option<Vec<String>>,
    licensee: Option<String>,
    issued: Option<String>,
    starts: Option<String>,
    servers: Option<JsonServers>,
    replaces: Option<Vec<String>>,
    needs: Option<Vec<String>>,
    #[serde(alias = "entitlements", default)]
    entitlement: Vec<JsonEntitlement>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "`servers` is a list of server keys, or \"any\"")]
enum JsonServers {
    Any(String),
    Keys(Vec<String>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with feature and seats")]
struct JsonEntitlement {
    feature: String,
    version: Option<String>,
    seats: u64,
    starts: Option<String>,
    expires: Option<String>,
    ttl: Option<String>,
    ttl_max: Option<String>,
    linger: Option<String>,
    grace: Option<String>,
    borrow: Option<String>,
    presence: Option<bool>,
    vendor_data: Option<String>,
    needs: Option<Vec<String>>,
}

#[derive(Clone, Copy, PartialEq)]
enum Keys {
    Top,
    Entitlement,
}

/// How a value is written for this key, or why it cannot be.
fn literal(keys: Keys, key: &str, value: &str) -> Result<String, String> {
    let string = |value: &str| {
        if value.contains(['"', '\\', '\n']) {
            return Err("a license has no escapes, so double quotes, backslashes and newlines cannot stand in it".to_owned());
        }
        Ok(format!("\"{value}\""))
    };
    let list = |value: &str| -> Result<String, String> {
        // As the license writes it, too: `["ACME-1", "ACME-2"]`.
        let written = value.trim().strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let unquoted = written.map(|items| {
            let items = items.split(',').map(str::trim);
            items.map(|item| item.strip_prefix('"').and_then(|item| item.strip_suffix('"')).unwrap_or(item)).collect::<Vec<_>>().join(",")
        });
        let value = unquoted.as_deref().unwrap_or(value);
        let items: Result<Vec<String>, String> =
            value.split(|c: char| c == ',' || c.is_whitespace()).filter(|item| !item.is_empty()).map(string).collect();
        Ok(format!("[{}]", items?.join(", ")))
    };
    match (keys, key) {
        (Keys::Top, "servers") if value == "any" => string(value),
        (Keys::Top, "servers" | "replaces" | "verifier" | "needs") | (Keys::Entitlement, "needs") => list(value),
        (Keys::Top, "format" | "license" | "vendor" | "licensee")
        | (Keys::Entitlement, "feature" | "version" | "ttl" | "ttl_max" | "linger" | "grace" | "borrow" | "vendor_data") => string(value),
        (Keys::Top, "issued" | "starts") | (Keys::Entitlement, "starts" | "expires") => {
            value.parse::<Written>().map(|date| date.to_string()).map_err(|error| error.to_string())
        }
        (Keys::Entitlement, "seats") => {
            if value.is_empty() || !value.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(format!("`{value}` is no number of seats"));
            }
            Ok(value.to_owned())
        }
        (Keys::Entitlement, "presence") => match value {
            "true" | "false" => Ok(value.to_owned()),
            _ => Err(format!("`{value}` is neither true nor false")),
        },
        (Keys::Top, _) => Err("a license has no such key".to_owned()),
        (Keys::Entitlement, _) => Err("an entitlement has no such key".to_owned()),
    }
}

/// Sets one value in a draft: `licensee`, `servers` (several with commas), `entitlement.cad-pro.seats`,
/// `entitlement[0].seats`, or `entitlement.seats` while there is only one. The index after the last one adds an entitlement, and a named feature fills an entitlement
/// whose feature is still empty. An empty value takes the key out.
///
/// # Errors
/// [`DraftError`] if there is no such place, or it cannot hold this value.
pub fn set(draft: &str, path: &str, value: &str) -> Result<String, DraftError> {
    let mut draft = normalize(draft);
    text::check_license_text(&draft)?;
    let mut document = toml::parse(&draft)?;
    let refused = |message: String, hint: &str| DraftError::refused(format!("--set {path}: {message}"), hint);
    const PATHS: &str = "a place is `licensee`, `entitlement.seats`, `entitlement.cad-pro.seats` or `entitlement[0].seats`";
    let (keys, index, key) = if let Some(rest) = path.strip_prefix("entitlement[") {
        let (index, key) = rest.split_once("].").ok_or_else(|| refused("this names no place".into(), PATHS))?;
        let index: usize = index.parse().map_err(|_| refused(format!("`{index}` is no index"), PATHS))?;
        if index > document.entitlements.len() {
            return Err(refused(format!("the draft has {} entitlements, from 0", document.entitlements.len()), PATHS));
        }
        (Keys::Entitlement, index, key)
    } else if let Some(key) = path.strip_prefix("entitlement.").filter(|key| !key.contains('.')) {
        if document.entitlements.len() > 1 {
            return Err(refused(format!("the draft has {} entitlements; say which", document.entitlements.len()), PATHS));
        }
        (Keys::Entitlement, 0, key)
    } else if let Some((feature, key)) = path.strip_prefix("entitlement.").and_then(|rest| rest.rsplit_once('.')) {
        // The name of a feature may have dots, a key has none.
        let named = |name: &str| -> Vec<usize> {
            let bears = |table: &Table| {
                table
                    .entries
                    .iter()
                    .any(|entry| entry.key == "feature" && matches!(&entry.value.kind, Kind::String(value) if value == name))
            };
            document.entitlements.iter().enumerate().filter(|(_, table)| bears(table)).map(|(i, _)| i).collect()
        };
        let index = match (named(feature).as_slice(), named("").as_slice()) {
            ([index], _) => *index,
            ([], [empty, ..]) => {
                draft = set(&draft, &format!("entitlement[{empty}].feature"), feature)?;
                let empty = *empty;
                document = toml::parse(&draft)?;
                empty
            }
            ([], []) => {
                return Err(refused(
                    format!("the draft has no entitlement for `{feature}`"),
                    &format!("add one: --set 'entitlement[{}].feature={feature}'", document.entitlements.len()),
                ));
            }
            (several, _) => {
                return Err(refused(
                    format!("the draft has {} entitlements for `{feature}`", several.len()),
                    &format!("name one by its index, like entitlement[{}].{key}", several[0]),
                ));
            }
        };
        (Keys::Entitlement, index, key)
    } else {
        (Keys::Top, 0, path)
    };
    let literal = if value.is_empty() {
        // The key must be one that exists, even to be taken out.
        literal(keys, key, "").or_else(|message| if message.contains("no such key") { Err(message) } else { Ok(String::new()) })
    } else {
        literal(keys, key, value)
    }
    .map_err(|message| {
        if !message.contains("no such key") {
            return refused(message, "");
        }
        let (known, below) = match keys {
            Keys::Top => (TOP_KEYS, ""),
            Keys::Entitlement => (ENTITLEMENT_KEYS, &path[..path.len() - key.len()]),
        };
        match (nearest(key, known), keys) {
            (_, Keys::Top) if ENTITLEMENT_KEYS.contains(&key) => refused(message, PATHS),
            (Some(near), _) => refused(message, &format!("did you mean `{below}{near}`?")),
            (None, Keys::Top) => refused(message, PATHS),
            (None, Keys::Entitlement) => refused(message, &format!("known are {}", known.join(", "))),
        }
    })?;
    let table = match keys {
        Keys::Top => Some(&document.top),
        Keys::Entitlement => document.entitlements.get(index),
    };
    let Some(table) = table else {
        draft.push_str("\n[[entitlement]]\n");
        let _ = writeln!(draft, "{key} = {literal}");
        return Ok(draft);
    };
    match (table.entries.iter().find(|entry| entry.key == key), value.is_empty()) {
        (Some(entry), false) => draft.replace_range(entry.span.clone(), &literal),
        (Some(entry), true) => {
            let start = draft[..entry.span.start].rfind('\n').map_or(0, |newline| newline + 1);
            let end = draft[entry.span.end..].find('\n').map_or(draft.len(), |newline| entry.span.end + newline + 1);
            draft.replace_range(start..end, "");
        }
        (None, false) => draft.insert_str(table.end, &format!("{key} = {literal}\n")),
        (None, true) => {}
    }
    // A value with a character that a license cannot have is refused here, where it is known whose it is.
    text::check_license_text(&draft).map_err(|error| refused(error.message, error.hint.as_deref().unwrap_or_default()))?;
    Ok(draft)
}

/// Whether everything that a license must say has a value; whether it is a good one, [`prepare`] says.
#[must_use]
pub fn is_filled(draft: &str) -> bool {
    let Ok(document) = toml::parse(&normalize(draft)) else { return false };
    let has = |table: &Table, key: &str| {
        let entry = table.entries.iter().find(|entry| entry.key == key);
        entry.is_some_and(|entry| match &entry.value.kind {
            Kind::String(string) => !string.is_empty(),
            Kind::Array(values) => !values.is_empty(),
            _ => true,
        })
    };
    ["license", "licensee", "servers"].iter().all(|key| has(&document.top, key))
        && !document.entitlements.is_empty()
        && document.entitlements.iter().all(|table| has(table, "feature") && has(table, "seats"))
}

/// Looks over a draft before it is written down: what it says already must be what a license may say. What is still empty or missing is not looked at.
///
/// # Errors
/// [`DraftError`], which names the value by its place, such as `entitlement.cad-pro.grace`.
pub fn check(draft: &str, now: CivilMs) -> Result<(), DraftError> {
    let draft = normalize(draft);
    text::check_license_text(&draft)?;
    let mut document = toml::parse(&draft)?;
    let verifier = fill_in(&mut document);
    let reader = Reader { role: Role::Server, words: Vocabulary::OURS };
    let fill = Fill { verifier: &verifier, issued: Written::Date(CivilDate::of(now)) };
    LicenseTerms::from_document(&draft, &document, reader, Some(&fill))
        .and_then(|terms| may_be_signed(&terms, &document, now))
        .map_err(|error| at_its_place(error, &document))
}

/// Puts something that any license may say in the place of what a draft does not say yet, so that the rest is read as in a license. Gives keys of the vendor
/// that is named, which nobody signs with.
fn fill_in(document: &mut Document) -> VerifierKeys {
    let is_said = |entry: &Entry| match &entry.value.kind {
        Kind::String(string) => !string.is_empty(),
        Kind::Array(values) => !values.is_empty(),
        _ => true,
    };
    let put = |table: &mut Table, key: &str, kind: Kind| {
        if table.entries.iter().all(|entry| entry.key != key) {
            let value = Value { place: table.place, kind };
            table.entries.push(Entry { key: key.to_owned(), place: table.place, value, span: 0..0 });
        }
    };
    let any = || Kind::String("any".to_owned());
    document.top.entries.retain(is_said);
    put(&mut document.top, "license", any());
    put(&mut document.top, "licensee", any());
    put(&mut document.top, "servers", any());
    if document.entitlements.is_empty() {
        document.entitlements.push(Table { place: Place::START, entries: Vec::new(), end: 0 });
    }
    for table in &mut document.entitlements {
        table.entries.retain(is_said);
        put(table, "feature", any());
        put(table, "seats", Kind::Integer(1));
    }
    let named = |key: &str| document.top.entries.iter().find(|entry| entry.key == key).map(|entry| &entry.value.kind);
    let of_vendor = match named("vendor") {
        Some(Kind::String(name)) => VendorName::new(name).ok(),
        _ => None,
    };
    let of_keys = || match named("verifier") {
        Some(Kind::Array(keys)) => keys.iter().find_map(|key| match &key.kind {
            Kind::String(key) => key.parse::<VerifierKey>().ok().map(|key| key.name().clone()),
            _ => None,
        }),
        _ => None,
    };
    let name =
        of_vendor.or_else(of_keys).unwrap_or_else(|| VendorName::new("draft.invalid").expect("a name with a dot is a vendor's name"));
    VerifierKeys::new(vec![Signer::new(name, SigningKey::from_seed([0; 32])).verifier_key().clone()])
        .expect("one key is neither none nor too many")
}

/// The same error with the place of its value as `--set` names it, if it is about a value.
fn at_its_place(error: TextError, document: &Document) -> DraftError {
    let is_there = |place: &Place| (place.line, place.column) == (error.line, error.column);
    let is_about = |entry: &&Entry| {
        let items = match &entry.value.kind {
            Kind::Array(values) => values.as_slice(),
            _ => &[],
        };
        !entry.span.is_empty() && [&entry.place, &entry.value.place].into_iter().chain(items.iter().map(|item| &item.place)).any(is_there)
    };
    let found = |table: &Table| table.entries.iter().find(is_about).map(|entry| entry.key.clone());
    let in_entitlement = || document.entitlements.iter().enumerate().find_map(|(index, table)| Some((index, found(table)?)));
    let (key, place) = match (found(&document.top), in_entitlement()) {
        (Some(key), _) => (key.clone(), key),
        (None, Some((index, key))) => {
            let feature = |table: &Table| {
                table.entries.iter().find_map(|entry| match &entry.value.kind {
                    Kind::String(name) if entry.key == "feature" && !entry.span.is_empty() => Some(name.clone()),
                    _ => None,
                })
            };
            let name = feature(&document.entitlements[index]).filter(|name| {
                key != "feature" && document.entitlements.iter().filter(|table| feature(table).as_ref() == Some(name)).count() == 1
            });
            let table = name.map_or_else(|| format!("entitlement[{index}]"), |name| format!("entitlement.{name}"));
            (key.clone(), format!("{table}.{key}"))
        }
        (None, None) => return error.into(),
    };
    let message = error.message.strip_prefix(&format!("`{key}`: ")).unwrap_or(&error.message);
    DraftError::Refused { message: format!("`{place}`: {message}"), hint: error.hint }
}

/// Whether this version can sign it, and whether anybody would have something of it.
fn may_be_signed(terms: &LicenseTerms, document: &Document, now: CivilMs) -> Result<(), TextError> {
    if let Some(left_out) = terms.left_out.first() {
        let table = document.entitlements.get(usize::from(left_out.position)).unwrap_or(&document.top);
        return Err(TextError::new(table.place, format!("this needs {}, which this version does not know", listed(&left_out.unknown)))
            .with_hint("sign it with a version that knows it"));
    }
    for (entitlement, table) in terms.entitlements.iter().zip(&document.entitlements) {
        if let Some((expires, written)) = entitlement.expires.zip(entitlement.expires_written)
            && expires <= now
        {
            return Err(TextError::new(
                place_of(table, "expires"),
                format!("the right to `{}` has ended already, on {written}", entitlement.feature),
            )
            .with_hint("write a later date, or leave this [[entitlement]] out"));
        }
    }
    Ok(())
}

/// Of a key's value, or of its table where there is none.
fn place_of(table: &Table, key: &str) -> Place {
    table.entries.iter().find(|entry| entry.key == key).map_or(table.place, |entry| entry.value.place)
}

/// Makes the text to be signed from a draft: canonical, without comments.
///
/// # Errors
/// [`DraftError`] if the draft could never be served, or would be served by more than its author may mean.
pub fn prepare(draft: &str, with: &Prepare<'_>) -> Result<String, DraftError> {
    let draft = normalize(draft);
    text::check_license_text(&draft)?;
    let document = toml::parse(&draft)?;
    let reader = Reader { role: Role::Server, words: with.words };
    let mut terms = LicenseTerms::from_document(&draft, &document, reader, Some(&Fill { verifier: with.verifier, issued: with.issued }))?;
    grease(&mut terms);
    may_be_signed(&terms, &document, with.now)?;
    if terms.verifier != *with.verifier {
        return Err(TextError::new(
            place_of(&document.top, "verifier"),
            "the draft names other verifier keys than those that will sign it",
        )
        .with_hint("take `verifier` out of the draft; signing writes it")
        .into());
    }
    match &terms.servers {
        Servers::Any if !with.any_server => {
            return Err(TextError::new(
                place_of(&document.top, "servers"),
                "servers = \"any\": everybody who has the file could serve it, each with the full count",
            )
            .with_hint("if you mean that, sign with --any-server; applications must opt in to it as well")
            .into());
        }
        Servers::Keys(keys) if keys.len() > 1 && !with.each_server_counts => {
            return Err(TextError::new(
                place_of(&document.top, "servers"),
                format!("{} servers are listed, and each would count alone: {} times the seats", keys.len(), keys.len()),
            )
            .with_hint("if you mean that, sign with --each-server-counts; the machines of one cluster share one key")
            .into());
        }
        _ => {}
    }
    let text = terms.to_text();
    // What we sign is what we read: a difference here would be a mistake of ours, and must not get a signature.
    match LicenseTerms::parse_as(&text, reader) {
        Ok(read) if read == terms => Ok(text),
        Ok(_) => Err(DraftError::refused("the prepared text does not say what the draft says; please report this", "")),
        Err(error) => Err(error.into()),
    }
}

/// One entry of grease under `[info]`, in the place of what an older license or a draft had: whoever reads licenses keeps the habit of passing over
/// what it does not know there. Which one depends on the license's id alone, so that a draft that is signed twice gives the same text.
fn grease(terms: &mut LicenseTerms) {
    let word = Word::grease(sha256(terms.license.as_str().as_bytes())[0]);
    const SAYS: &str = "true";
    // What a vendor writes there is the vendor's, whatever its name.
    let ours: Vec<Word> = (0..=0x0f).map(Word::grease).collect();
    terms.info.retain(|more| more.literal != SAYS || !ours.iter().any(|word| word.as_str() == more.key));
    terms.info.retain(|more| more.key != word.as_str());
    terms.info.push(More { key: word.as_str().to_owned(), literal: SAYS.to_owned() });
}

/// The terms of the license that follows `old`: the same rights until `until`, under another id, and `replaces` names
/// the old one. Rights without an end stay so. It has no start of its own: it takes the old one's place when it is installed.
///
/// # Errors
/// [`DraftError`] if `until` is no later than the end of an old right, if nothing ends, or if the id is the old one.
pub fn successor(old: &LicenseTerms, until: Written, new_id: LicenseId, issued: Written) -> Result<LicenseTerms, DraftError> {
    if let Some(left_out) = old.left_out.first() {
        return Err(DraftError::refused(
            format!("{} has an entitlement that needs {}, which this version does not know", old.license, listed(&left_out.unknown)),
            "renew it with a version that knows it: this one would leave the entitlement out",
        ));
    }
    if new_id == old.license {
        return Err(DraftError::refused(format!("the new license needs another id than {new_id}"), "give one with --id"));
    }
    if old.entitlements.iter().all(|entitlement| entitlement.expires.is_none()) {
        return Err(DraftError::refused(
            format!("{} never ends, so it needs no successor", old.license),
            "to change its seats, sign a license whose `replaces` names it",
        ));
    }
    let follow = |entitlement: &Entitlement| -> Result<Entitlement, DraftError> {
        let mut next = entitlement.clone();
        if let Some((expires, written)) = entitlement.expires.zip(entitlement.expires_written) {
            if until.ends() <= expires {
                return Err(DraftError::refused(
                    format!("{until} is no later than the end of `{}` in {}: {written}", entitlement.feature, old.license),
                    "give a later --until",
                ));
            }
            next.expires = Some(until.ends());
            next.expires_written = Some(until);
        }
        // A start that lies ahead is still meant; one that has passed is only noise.
        next.starts_written = entitlement.starts_written.filter(|starts| starts.begins() > issued.ends());
        next.starts = next.starts_written.map(Written::begins);
        Ok(next)
    };
    Ok(LicenseTerms {
        license: new_id,
        issued,
        starts: None,
        replaces: vec![old.license.clone()],
        entitlements: old.entitlements.iter().map(follow).collect::<Result<_, _>>()?,
        ..old.clone()
    })
}

fn listed(words: &[Word]) -> String {
    words.iter().map(|word| format!("the word `{word}`")).collect::<Vec<_>>().join(" and ")
}

/// A draft comes from an editor, not from a signer: its line ends, a byte order mark and a missing last newline are no
/// matter.
fn normalize(draft: &str) -> String {
    let mut draft = draft.strip_prefix('\u{feff}').unwrap_or(draft).replace("\r\n", "\n");
    if !draft.ends_with('\n') {
        draft.push('\n');
    }
    draft
}
