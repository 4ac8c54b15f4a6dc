use std::fmt;

use crate::civil::{CivilMs, Written};
use crate::key::{KeyError, ServerKey};
use crate::limits::{
    LICENSEE_BYTES_MAX, NEEDS_MAX, NOTE_BYTES_MAX, REPLACES_MAX, SEATS_MAX, SERVERS_MAX, TTL_MAX_MS_DEFAULT, TTL_MS_MAX, TTL_MS_MIN,
    VENDOR_DATA_BYTES_MAX, VERIFIERS_MAX,
};
use crate::names::{FeatureName, LicenseId, NameError, VendorName};
use crate::span::{Span, SpanError};
use crate::text::{self, Place, TextError};
use crate::toml::{self, Document, Entry, Kind, Table, Value};
use crate::verifier::{VerifierKeyError, VerifierKeys};
use crate::version::{Version, VersionError};
use crate::words::{Need, Reader, Vocabulary, Word};

/// What a license text says. Parsed, not verified: see [`crate::VerifiedLicense`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LicenseTerms {
    /// The vendor's id of this license.
    pub license: LicenseId,
    /// The vendor's name.
    pub vendor: VendorName,
    /// The keys that sign it, as the text says. Only servers go by it; applications have their own.
    pub verifier: VerifierKeys,
    /// Who bought it; free text.
    pub licensee: String,
    /// When it was issued, as written.
    pub issued: Written,
    /// From when on, as written, for all entitlements.
    pub starts: Option<Written>,
    /// Who may serve it.
    pub servers: Servers,
    /// Licenses of the same vendor that this one takes the place of.
    pub replaces: Vec<LicenseId>,
    /// Words that all its entitlements need.
    pub needs: Vec<Need>,
    /// Keys outside version 1, as written.
    pub more: Vec<More>,
    /// The rights that the reader understands, in the order of the text.
    pub entitlements: Vec<Entitlement>,
    /// The rights that need words which the reader does not know, in the order of the text. It uses the others.
    pub left_out: Vec<LeftOut>,
    /// What stands under `[info]`, as written; nothing depends on it.
    pub info: Vec<More>,
}

/// A key that is not among those of version 1, and its value as the text writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct More {
    /// The key.
    pub key: String,
    /// The value.
    pub literal: String,
}

/// An entitlement that its reader does not understand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// Its position in the text, from 0, counted over all entitlements.
    pub position: u16,
    /// What it counts, if that can be read.
    pub feature: Option<FeatureName>,
    /// How many, if that can be read.
    pub seats: Option<u32>,
    /// The words that the reader would have to know, never none.
    pub unknown: Vec<Word>,
}

/// Who may serve a license.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Servers {
    /// Whoever has the file. An application refuses it unless its author opted in.
    Any,
    /// These, each of which counts alone. In the order of the text, never none.
    Keys(Vec<ServerKey>),
}

/// One right in a license.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entitlement {
    /// Its position in the text, from 0, counted over all entitlements.
    pub position: u16,
    /// What is counted.
    pub feature: FeatureName,
    /// The newest version of the application that it covers; absent: all.
    pub version: Option<Version>,
    /// How many; at least one.
    pub seats: u32,
    /// First instant of the right: the later of the license's and the entitlement's start.
    pub starts: Option<CivilMs>,
    /// The entitlement's own start as written.
    pub starts_written: Option<Written>,
    /// The instant at which the right has ended (exclusive); absent: never.
    pub expires: Option<CivilMs>,
    /// The end as written.
    pub expires_written: Option<Written>,
    /// Time to live of a lease that the vendor wants; absent: the server's own.
    pub ttl: Option<Span>,
    /// Longest time to live that clients accept.
    pub ttl_max: Span,
    /// How long a seat stays taken after its release; absent: the server's own.
    pub linger: Option<Span>,
    /// How long an application may run on while no server answers; zero: not at all.
    pub grace: Span,
    /// Longest time that a seat may be borrowed; absent: not at all.
    pub borrow: Option<Span>,
    /// Whether the server may free a seat as soon as the holder's presence connection ends in order.
    pub presence: bool,
    /// The vendor's own data, carried to the application in each grant.
    pub vendor_data: Option<String>,
    /// Words that it needs beside those of the whole license.
    pub needs: Vec<Need>,
    /// Keys outside version 1, as written.
    pub more: Vec<More>,
}

impl LicenseTerms {
    /// The first line of every license.
    pub const FIRST_LINE: &'static str = "format = \"triquest-lm/v1/license\"";

    /// Reads a license text as a server of this version does.
    ///
    /// # Errors
    /// [`TextError`] with line, column and what to do.
    pub fn parse(text: &str) -> Result<Self, TextError> {
        Self::parse_as(text, Reader::SERVER)
    }

    /// Reads a license text. An entitlement that needs a word which this reader does not know is left out, and the others count.
    ///
    /// # Errors
    /// [`TextError`] with line, column and what to do.
    pub fn parse_as(text: &str, reader: Reader) -> Result<Self, TextError> {
        text::check_license_text(text)?;
        check_first_line(text)?;
        if text.len() > NOTE_BYTES_MAX {
            return Err(TextError::new(
                Place::of(text, text.len()),
                format!("the text has {} bytes, at most {NOTE_BYTES_MAX} are allowed", text.len()),
            ));
        }
        if !text.ends_with('\n') {
            return Err(TextError::new(Place::of(text, text.len()), "the text does not end with a newline"));
        }
        Self::from_document(text, &toml::parse(text)?, reader, None)
    }

    /// The entitlement at this position of the text, if the reader understands it.
    #[must_use]
    pub fn entitlement(&self, position: u16) -> Option<&Entitlement> {
        self.entitlements.iter().find(|entitlement| entitlement.position == position)
    }

    /// What the entitlement at this position of the text was left out for, if it was.
    #[must_use]
    pub fn left_out(&self, position: u16) -> Option<&LeftOut> {
        self.left_out.iter().find(|left_out| left_out.position == position)
    }

    /// How many entitlements the text has, understood or not.
    #[must_use]
    pub fn entitlements_in_text(&self) -> usize {
        self.entitlements.len() + self.left_out.len()
    }

    /// The words that an application has to know for this entitlement, those of the whole license included.
    pub fn needed_by_applications<'a>(&'a self, entitlement: &'a Entitlement) -> impl Iterator<Item = &'a Word> {
        self.needs.iter().chain(&entitlement.needs).filter(|need| !need.servers_only).map(|need| &need.word)
    }

    /// The first day of one of its rights as written: the later of the license's and the entitlement's own.
    #[must_use]
    pub fn starts_of(&self, right: &Entitlement) -> Option<Written> {
        self.starts.into_iter().chain(right.starts_written).max_by_key(|starts| starts.begins())
    }

    /// The canonical text: what [`LicenseTerms::parse`] reads back as the same terms. Of terms that were not understood as a whole it is the
    /// text of what was understood, and nobody signs it.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut out = format!("{}\n", Self::FIRST_LINE);
        let mut line = |key: &str, value: String| {
            out.push_str(key);
            out.push_str(" = ");
            out.push_str(&value);
            out.push('\n');
        };
        line("license", quote(self.license.as_str()));
        line("vendor", quote(self.vendor.as_str()));
        line("verifier", array(self.verifier.iter()));
        line("licensee", quote(&self.licensee));
        line("issued", self.issued.to_string());
        if let Some(starts) = self.starts {
            line("starts", starts.to_string());
        }
        line(
            "servers",
            match &self.servers {
                Servers::Any => quote("any"),
                Servers::Keys(keys) => array(keys.iter()),
            },
        );
        if !self.replaces.is_empty() {
            line("replaces", array(self.replaces.iter()));
        }
        if !self.needs.is_empty() {
            line("needs", array(self.needs.iter()));
        }
        for more in &self.more {
            line(&more.key, more.literal.clone());
        }
        for entitlement in &self.entitlements {
            out.push('\n');
            out.push_str("[[entitlement]]\n");
            entitlement.write(&mut out);
        }
        if !self.info.is_empty() {
            out.push_str("\n[info]\n");
            for More { key, literal } in &self.info {
                out.push_str(&format!("{key} = {literal}\n"));
            }
        }
        out
    }

    /// From a parsed text; `fill` stands in for what a draft leaves out.
    pub(crate) fn from_document(text: &str, document: &Document, reader: Reader, fill: Option<&Fill<'_>>) -> Result<Self, TextError> {
        let top = Section { table: &document.top, known: TOP_KEYS, name: "license" };
        // All keys first: of a key in the wrong place it is more useful to hear than of its absence in the right one.
        // Who signs names by itself the words of the keys that it knows; who reads goes by what was named.
        let signer = fill.map(|_| reader.words);
        let needs = top.needs(&[], signer)?;
        top.check_keys(document, &[&needs])?;
        let mut sections = Vec::with_capacity(document.entitlements.len());
        for table in &document.entitlements {
            let section = Section { table, known: ENTITLEMENT_KEYS, name: "entitlement" };
            let own = section.needs(&needs, signer)?;
            section.check_keys(document, &[&needs, &own])?;
            sections.push((section, own));
        }
        if fill.is_some()
            && let Some(entry) = top.find("format")
            && !matches!(&entry.value.kind, Kind::String(format) if format == FORMAT)
        {
            return Err(TextError::new(entry.value.place, format!("the format must be \"{FORMAT}\", or be left out of a draft")));
        }
        let license = top.named("license", LicenseId::new)?;
        let vendor_entry = top.find("vendor");
        let vendor = match (fill, vendor_entry) {
            (Some(fill), None) => fill.vendor().clone(),
            _ => top.named("vendor", VendorName::new)?,
        };
        let verifier = match (fill, top.find("verifier")) {
            (Some(fill), None) => fill.verifier.clone(),
            _ => verifier_of(&top)?,
        };
        for key in verifier.iter() {
            if *key.name() != vendor {
                let place = vendor_entry.map_or(Place::START, |entry| entry.value.place);
                return Err(TextError::new(
                    place,
                    format!("the vendor is `{vendor}`, but its key {}+{:08x} has another name", key.name(), key.id()),
                )
                .with_hint(format!("the vendor's name and the name of its keys are the same: {}", key.name())));
            }
        }
        let licensee = {
            let (value, place) = top.string("licensee")?;
            if value.trim().is_empty() {
                return Err(TextError::new(place, "the licensee is empty").with_hint("name the customer: licensee = \"Initech GmbH\""));
            }
            bounded(value, place, "the licensee", LICENSEE_BYTES_MAX)?.to_owned()
        };
        let issued = match (fill, top.find("issued")) {
            (Some(fill), None) => fill.issued,
            _ => top.date("issued")?.ok_or_else(|| top.missing("issued"))?.0,
        };
        let starts = top.date("starts")?.map(|(starts, _)| starts);
        let servers = servers_of(&top)?;
        let replaces = replaces_of(&top)?;
        if document.entitlements.is_empty() {
            return Err(TextError::new(document.top.place, "the license has no [[entitlement]], so it grants nothing")
                .with_hint("add [[entitlement]] with feature and seats"));
        }
        let mut entitlements = Vec::with_capacity(sections.len());
        let mut left_out = Vec::new();
        for (position, (section, own)) in (0..).zip(sections) {
            let binding = needs.iter().chain(&own).filter(|need| need.binds(reader.role));
            let mut unknown: Vec<Word> = Vec::new();
            for need in binding {
                if !reader.words.knows(&need.word) && !unknown.contains(&need.word) {
                    unknown.push(need.word.clone());
                }
            }
            if unknown.is_empty() {
                entitlements.push(Entitlement::from_section(&section, text, position, own, starts)?);
                continue;
            }
            // What its values mean is for those who know the words; feature and seats are read for people, if they can be.
            let feature = section.string_if_any("feature").ok().flatten().and_then(|(name, _)| FeatureName::new(name).ok());
            let seats = match section.find("seats").map(|entry| &entry.value.kind) {
                Some(Kind::Integer(seats)) => u32::try_from(*seats).ok(),
                _ => None,
            };
            left_out.push(LeftOut { position, feature, seats, unknown });
        }
        let more = top.more(text);
        let info = document.info.as_ref().map_or_else(Vec::new, |table| Section { table, known: &[], name: "section" }.more(text));
        Ok(Self { license, vendor, verifier, licensee, issued, starts, servers, replaces, needs, more, entitlements, left_out, info })
    }
}

/// What `license sign` puts into a draft.
pub(crate) struct Fill<'a> {
    pub(crate) verifier: &'a VerifierKeys,
    pub(crate) issued: Written,
}

impl Fill<'_> {
    fn vendor(&self) -> &VendorName {
        self.verifier[0].name()
    }
}

pub(crate) const FORMAT: &str = "triquest-lm/v1/license";
pub(crate) const TOP_KEYS: &[&str] =
    &["format", "license", "vendor", "verifier", "licensee", "issued", "starts", "servers", "replaces", "needs"];
pub(crate) const ENTITLEMENT_KEYS: &[&str] = &[
    "feature",
    "version",
    "seats",
    "starts",
    "expires",
    "ttl",
    "ttl_max",
    "linger",
    "grace",
    "borrow",
    "presence",
    "vendor_data",
    "needs",
];

fn check_first_line(text: &str) -> Result<(), TextError> {
    let first = text.split('\n').next().unwrap_or_default();
    if first == LicenseTerms::FIRST_LINE {
        return Ok(());
    }
    let error = TextError::new(Place::START, format!("line 1 is not exactly `{}`", LicenseTerms::FIRST_LINE));
    Err(if first.contains("triquest-lm/") && !first.contains(FORMAT) {
        error.with_hint("this is another kind of document, or a license in a newer format: update this software")
    } else if first.contains(FORMAT) {
        error.with_hint("spacing and quotes count, because the line is signed")
    } else {
        error.with_hint("this is no license of this vendor's, or its first line was changed")
    })
}

fn quote(text: &str) -> String {
    format!("\"{text}\"")
}

/// One value on the line of the key, more on a line each.
fn array(values: impl ExactSizeIterator<Item: fmt::Display>) -> String {
    if values.len() == 1 {
        return values.map(|value| format!("[\"{value}\"]")).collect();
    }
    let lines: String = values.map(|value| format!("  \"{value}\",\n")).collect();
    format!("[\n{lines}]")
}

fn bounded<'a>(value: &'a str, place: Place, what: &str, max: usize) -> Result<&'a str, TextError> {
    if value.len() > max {
        return Err(TextError::new(place, format!("{what} has {} bytes, at most {max} are allowed", value.len())));
    }
    Ok(value)
}

/// One table, read by key.
struct Section<'a> {
    table: &'a Table,
    known: &'static [&'static str],
    name: &'static str,
}

impl<'a> Section<'a> {
    /// Refuses keys that are neither of version 1 nor named as a word by these needs.
    fn check_keys(&self, document: &Document, needs: &[&[Need]]) -> Result<(), TextError> {
        for entry in &self.table.entries {
            let key = entry.key.as_str();
            let named = || Word::of_key(key).is_some_and(|word| needs.iter().flat_map(|needs| needs.iter()).any(|need| need.word == word));
            if self.known.contains(&key) || named() {
                continue;
            }
            let error = TextError::new(entry.place, format!("the key `{key}` is unknown in this {}", self.name));
            let in_entitlement = self.known == ENTITLEMENT_KEYS;
            return Err(if in_entitlement && TOP_KEYS.contains(&key) {
                TextError::new(entry.place, format!("`{key}` stands below [[entitlement]], but it belongs to the whole license")).with_hint(
                    format!(
                        "move it above the first [[entitlement]], which is in line {}",
                        document.entitlements.first().map_or(1, |table| table.place.line)
                    ),
                )
            } else if !in_entitlement && ENTITLEMENT_KEYS.contains(&key) {
                error.with_hint("it belongs to a feature: move it below an [[entitlement]]")
            } else if let Some(near) = nearest(key, self.known) {
                error.with_hint(format!("did you mean `{near}`?"))
            } else {
                error.with_hint(format!("known are {}", self.known.join(", ")))
            });
        }
        Ok(())
    }

    /// What `needs` names; for a signer also the words of the keys that stand here, if it knows them and `above` does not name them.
    fn needs(&self, above: &[Need], signer: Option<Vocabulary>) -> Result<Vec<Need>, TextError> {
        let mut needs: Vec<Need> = Vec::new();
        if let Some(entry) = self.find("needs") {
            for (text, place) in Self::strings(entry, NEEDS_MAX)? {
                let need: Need = text.parse().map_err(|error| TextError::new(place, format!("`needs`: {error}")))?;
                if needs.contains(&need) {
                    return Err(TextError::new(place, format!("`needs`: {need} is listed twice")));
                }
                needs.push(need);
            }
        }
        let keys = self.table.entries.iter().map(|entry| entry.key.as_str()).filter(|key| !self.known.contains(key));
        for row in keys.filter_map(|key| signer?.of_key(key)) {
            if let Some(need) = Need::of(row)
                && !above.iter().chain(&needs).any(|named| named.word == need.word)
            {
                needs.push(need);
            }
        }
        Ok(needs)
    }

    /// The keys that are not of version 1, with their values as written.
    fn more(&self, text: &str) -> Vec<More> {
        let more = self.table.entries.iter().filter(|entry| !self.known.contains(&entry.key.as_str()));
        more.map(|entry| More { key: entry.key.clone(), literal: text[entry.span.clone()].to_owned() }).collect()
    }

    fn find(&self, key: &str) -> Option<&'a Entry> {
        self.table.entries.iter().find(|entry| entry.key == key)
    }

    fn missing(&self, key: &str) -> TextError {
        TextError::new(self.table.place, format!("the key `{key}` is missing in this {}", self.name))
    }

    fn wrong_kind(entry: &Entry, expected: &str) -> TextError {
        TextError::new(entry.value.place, format!("`{}` must be {expected}, not {}", entry.key, entry.value.kind.name()))
    }

    fn string_if_any(&self, key: &str) -> Result<Option<(&'a str, Place)>, TextError> {
        match self.find(key) {
            None => Ok(None),
            Some(Entry { value: Value { kind: Kind::String(string), place }, .. }) => Ok(Some((string, *place))),
            Some(entry) => Err(Self::wrong_kind(entry, "a string in double quotes")),
        }
    }

    fn string(&self, key: &str) -> Result<(&'a str, Place), TextError> {
        self.string_if_any(key)?.ok_or_else(|| self.missing(key))
    }

    fn named<T>(&self, key: &str, make: impl Fn(&str) -> Result<T, NameError>) -> Result<T, TextError> {
        let (value, place) = self.string(key)?;
        make(value).map_err(|error| TextError::new(place, format!("`{key}`: {error}")))
    }

    fn date(&self, key: &str) -> Result<Option<(Written, Place)>, TextError> {
        match self.find(key) {
            None => Ok(None),
            Some(Entry { value: Value { kind: Kind::Date(date), place }, .. }) => Ok(Some((*date, *place))),
            Some(entry) => Err(Self::wrong_kind(entry, "a date like 2027-12-31, without quotes")),
        }
    }

    fn span(&self, key: &str) -> Result<Option<(Span, Place)>, TextError> {
        let Some((value, place)) = self.string_if_any(key)? else { return Ok(None) };
        let span = value.parse().map_err(|error: SpanError| TextError::new(place, format!("`{key}`: {error}")))?;
        Ok(Some((span, place)))
    }

    fn span_or_zero(&self, key: &str) -> Result<Span, TextError> {
        Ok(self.span(key)?.map_or(Span::ZERO, |(span, _)| span))
    }

    /// The strings of an array, with their places.
    fn strings(entry: &'a Entry, max: usize) -> Result<Vec<(&'a str, Place)>, TextError> {
        let Kind::Array(values) = &entry.value.kind else {
            return Err(Self::wrong_kind(entry, "an array of strings, like [\"...\"]"));
        };
        if values.len() > max {
            return Err(TextError::new(
                entry.value.place,
                format!("`{}` has {} values, at most {max} are allowed", entry.key, values.len()),
            ));
        }
        values
            .iter()
            .map(|value| match &value.kind {
                Kind::String(string) => Ok((string.as_str(), value.place)),
                other => Err(TextError::new(value.place, format!("`{}` is an array of strings, this is {}", entry.key, other.name()))),
            })
            .collect()
    }
}

fn verifier_of(top: &Section<'_>) -> Result<VerifierKeys, TextError> {
    let entry = top
        .find("verifier")
        .ok_or_else(|| top.missing("verifier").with_hint("it lists the vendor's verifier keys; `triquest-lm license sign` writes it"))?;
    let mut keys = Vec::new();
    for (key, place) in Section::strings(entry, VERIFIERS_MAX)? {
        match key.parse() {
            Ok(key) => keys.push(key),
            // A key for a newer algorithm stands beside one that everybody knows, for those who know it.
            Err(VerifierKeyError::Algorithm { .. }) => {}
            Err(error) => return Err(TextError::new(place, format!("`verifier`: {error}"))),
        }
    }
    if keys.is_empty() && matches!(&entry.value.kind, Kind::Array(values) if !values.is_empty()) {
        return Err(TextError::new(entry.value.place, "`verifier`: none of these keys is for an algorithm that is known here")
            .with_hint("this license is for a newer version: update this software"));
    }
    VerifierKeys::new(keys).map_err(|error| TextError::new(entry.value.place, format!("`verifier`: {error}")))
}

fn servers_of(top: &Section<'_>) -> Result<Servers, TextError> {
    const HINT: &str = "the customer sends the key: `triquest-lm server id`, or a signed request: `triquest-lm license request`";
    let entry = top
        .find("servers")
        .ok_or_else(|| TextError::new(top.table.place, "`servers` is missing: no server could serve this license").with_hint(HINT))?;
    if let Kind::String(word) = &entry.value.kind {
        return if word == "any" {
            Ok(Servers::Any)
        } else {
            Err(TextError::new(entry.value.place, "`servers` must be an array of server keys, or \"any\"").with_hint(HINT))
        };
    }
    let mut keys: Vec<ServerKey> = Vec::new();
    for (text, place) in Section::strings(entry, SERVERS_MAX)? {
        let key = text
            .parse()
            .map_err(|error: KeyError| TextError::new(place, format!("`servers`: {error}")).with_hint(error.hint().unwrap_or(HINT)))?;
        if keys.contains(&key) {
            return Err(TextError::new(place, format!("`servers`: {key} is listed twice")));
        }
        keys.push(key);
    }
    if keys.is_empty() {
        return Err(TextError::new(entry.value.place, "`servers` is empty: no server could serve this license").with_hint(HINT));
    }
    Ok(Servers::Keys(keys))
}

fn replaces_of(top: &Section<'_>) -> Result<Vec<LicenseId>, TextError> {
    let Some(entry) = top.find("replaces") else { return Ok(Vec::new()) };
    let mut replaces: Vec<LicenseId> = Vec::new();
    for (text, place) in Section::strings(entry, REPLACES_MAX)? {
        let id = LicenseId::new(text).map_err(|error| TextError::new(place, format!("`replaces`: {error}")))?;
        // The same id is allowed: that is how a corrected text takes the place of a first one.
        if replaces.contains(&id) {
            return Err(TextError::new(place, format!("`replaces`: {id} is listed twice")));
        }
        replaces.push(id);
    }
    Ok(replaces)
}

/// A key that differs by at most two edits.
#[must_use]
pub fn nearest<'a>(key: &str, known: &[&'a str]) -> Option<&'a str> {
    if key.len() > 32 {
        return None;
    }
    known
        .iter()
        .copied()
        .map(|candidate| (distance(key, candidate), candidate))
        .filter(|(edits, _)| *edits <= 2)
        .min()
        .map(|(_, near)| near)
}

fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let above = row[j + 1];
            row[j + 1] = (diagonal + usize::from(x != y)).min(above + 1).min(row[j] + 1);
            diagonal = above;
        }
    }
    row[b.len()]
}

impl Servers {
    /// Whether this server may serve it: it is listed, or anyone may.
    #[must_use]
    pub fn include(&self, server: &ServerKey) -> bool {
        match self {
            Self::Any => true,
            Self::Keys(keys) => keys.contains(server),
        }
    }

    /// Whether whoever has the file may serve it.
    #[must_use]
    pub const fn is_any(&self) -> bool {
        matches!(self, Self::Any)
    }
}

/// `entitlement 2 (mesh, 7 seats) needs the word token-rate`.
impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "entitlement {}", u32::from(self.position) + 1)?;
        match (&self.feature, self.seats) {
            (Some(feature), Some(seats)) => write!(f, " ({feature}, {seats} {})", if seats == 1 { "seat" } else { "seats" })?,
            (Some(feature), None) => write!(f, " ({feature})")?,
            (None, _) => {}
        }
        let words: Vec<&str> = self.unknown.iter().map(Word::as_str).collect();
        write!(f, " needs the {} {}", if words.len() == 1 { "word" } else { "words" }, words.join(", "))
    }
}

impl Entitlement {
    fn from_section(
        section: &Section<'_>,
        text: &str,
        position: u16,
        needs: Vec<Need>,
        license_starts: Option<Written>,
    ) -> Result<Self, TextError> {
        let feature = section.named("feature", FeatureName::new)?;
        let version = match section.string_if_any("version")? {
            None | Some(("any", _)) => None,
            Some((text, place)) => Some(text.parse().map_err(|error: VersionError| TextError::new(place, format!("`version`: {error}")))?),
        };
        let seats = match section.find("seats") {
            None => return Err(section.missing("seats")),
            Some(Entry { value: Value { kind: Kind::Integer(seats), place }, .. }) => match u32::try_from(*seats) {
                Ok(0) => {
                    return Err(TextError::new(*place, "`seats` is 0, so nobody could ever take one")
                        .with_hint("leave the whole [[entitlement]] out, or give it at least one seat"));
                }
                Ok(seats) if seats <= SEATS_MAX => seats,
                _ => return Err(TextError::new(*place, format!("`seats` is {seats}, at most {SEATS_MAX} are allowed"))),
            },
            Some(entry) => return Err(Section::wrong_kind(entry, "a number without quotes")),
        };
        let starts_written = section.date("starts")?.map(|(starts, _)| starts);
        let starts = license_starts.into_iter().chain(starts_written).map(Written::begins).max();
        let expires = section.date("expires")?;
        if let (Some(starts), Some((expires, place))) = (starts, expires)
            && starts >= expires.ends()
        {
            return Err(TextError::new(place, "the right ends before it starts, so it would never run"));
        }
        let ttl = section.span("ttl")?;
        let ttl_max = section.span("ttl_max")?;
        for (key, span) in [("ttl", ttl), ("ttl_max", ttl_max)] {
            if let Some((span, place)) = span
                && !(TTL_MS_MIN..=TTL_MS_MAX).contains(&span.ms())
            {
                let (min, max) = (Span::from_ms(TTL_MS_MIN), Span::from_ms(TTL_MS_MAX));
                return Err(TextError::new(place, format!("`{key}` is {span}; it must be {min} to {max}")));
            }
        }
        let ttl_max_span = ttl_max.map_or(Span::from_ms(TTL_MAX_MS_DEFAULT), |(span, _)| span);
        if let Some((ttl, place)) = ttl
            && ttl > ttl_max_span
        {
            return Err(TextError::new(place, format!("`ttl` is {ttl}, above `ttl_max`, which is {ttl_max_span}"))
                .with_hint("clients would refuse every lease; write a larger ttl_max"));
        }
        let presence = match section.find("presence") {
            None => true,
            Some(Entry { value: Value { kind: Kind::Boolean(presence), .. }, .. }) => *presence,
            Some(entry) => return Err(Section::wrong_kind(entry, "true or false, without quotes")),
        };
        let vendor_data = match section.string_if_any("vendor_data")? {
            None => None,
            Some((data, place)) => Some(bounded(data, place, "`vendor_data`", VENDOR_DATA_BYTES_MAX)?.to_owned()),
        };
        Ok(Self {
            position,
            feature,
            version,
            seats,
            starts,
            starts_written,
            expires: expires.map(|(expires, _)| expires.ends()),
            expires_written: expires.map(|(expires, _)| expires),
            ttl: ttl.map(|(span, _)| span),
            ttl_max: ttl_max_span,
            linger: section.span("linger")?.map(|(span, _)| span),
            grace: section.span_or_zero("grace")?,
            borrow: section.span("borrow")?.map(|(span, _)| span),
            presence,
            vendor_data,
            needs,
            more: section.more(text),
        })
    }

    /// Its lines, without the header; what is the default is left out.
    pub(crate) fn write(&self, out: &mut String) {
        let mut line = |key: &str, value: Option<String>| {
            if let Some(value) = value {
                out.push_str(key);
                out.push_str(" = ");
                out.push_str(&value);
                out.push('\n');
            }
        };
        let span = |span: Span| quote(&span.to_string());
        line("feature", Some(quote(self.feature.as_str())));
        line("version", self.version.map(|version| quote(&version.to_string())));
        line("seats", Some(self.seats.to_string()));
        line("starts", self.starts_written.map(|starts| starts.to_string()));
        line("expires", self.expires_written.map(|expires| expires.to_string()));
        line("ttl", self.ttl.map(span));
        line("ttl_max", (self.ttl_max.ms() != TTL_MAX_MS_DEFAULT).then(|| span(self.ttl_max)));
        line("linger", self.linger.map(span));
        line("grace", (self.grace != Span::ZERO).then(|| span(self.grace)));
        line("borrow", self.borrow.map(span));
        line("presence", (!self.presence).then(|| "false".into()));
        line("vendor_data", self.vendor_data.as_deref().map(quote));
        line("needs", (!self.needs.is_empty()).then(|| array(self.needs.iter())));
        for more in &self.more {
            line(&more.key, Some(more.literal.clone()));
        }
    }

    /// Whether it covers this version of the application. An application that states no version asks for no gate: whoever can
    /// leave the version out could as well state an old one.
    #[must_use]
    pub fn covers(&self, version: Option<&Version>) -> bool {
        match (&self.version, version) {
            (Some(newest), Some(asked)) => asked <= newest,
            (None, _) | (_, None) => true,
        }
    }

    /// Whether the right is running at this instant.
    #[must_use]
    pub fn runs_at(&self, instant: CivilMs) -> bool {
        self.starts.is_none_or(|starts| starts <= instant) && self.expires.is_none_or(|expires| instant < expires)
    }
}
