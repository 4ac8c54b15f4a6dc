//! Reading a newer registry, and what it changes.

use std::collections::BTreeMap;

use serde::Serialize;

use super::entry::{Entry, PortRange};
use super::error::RegistryError;
use super::limits::{CHANGES_LISTED_MAX, SOURCE_BYTES_MAX, UPDATE_SHRINK_MAX};
use super::table::{Registry, gunzip};
use super::{csv, xml};

impl Registry {
    /// Reads IANA's registry from its XML or its CSV, either also packed with gzip; which one it is, its first bytes say.
    ///
    /// # Errors
    /// [`RegistryError`], with the line where there is one.
    pub fn from_file(bytes: &[u8]) -> Result<Self, RegistryError> {
        if bytes.starts_with(&[0x1f, 0x8b]) {
            let content = gunzip(bytes, SOURCE_BYTES_MAX).map_err(|()| RegistryError::Gzip)?;
            let content = content.ok_or(RegistryError::Large { what: "the unpacked file in bytes", max: SOURCE_BYTES_MAX })?;
            return Self::from_plain_file(&content);
        }
        Self::from_plain_file(bytes)
    }

    /// Reads IANA's registry from its XML.
    ///
    /// # Errors
    /// [`RegistryError::Xml`] with the line, [`RegistryError::Unknown`] for another XML file, [`RegistryError::Large`].
    pub fn from_xml(bytes: &[u8]) -> Result<Self, RegistryError> {
        xml::read(bytes)
    }

    /// Reads IANA's registry from its CSV. That has no date of its own: its newest record's stands for it.
    ///
    /// # Errors
    /// [`RegistryError::Csv`] with the line, [`RegistryError::Large`].
    pub fn from_csv(bytes: &[u8]) -> Result<Self, RegistryError> {
        csv::read(bytes)
    }

    /// Reads IANA's current file in place of this registry.
    ///
    /// # Errors
    /// Those of [`from_file`](Self::from_file), and [`RegistryError::Few`] where the file has less than half of the records that this registry has.
    pub fn update(&self, file: &[u8]) -> Result<Self, RegistryError> {
        let registry = Self::from_file(file)?;
        if registry.records() < self.records() / UPDATE_SHRINK_MAX {
            return Err(RegistryError::Few { found: registry.records(), known: self.records() });
        }
        Ok(registry)
    }

    fn from_plain_file(bytes: &[u8]) -> Result<Self, RegistryError> {
        if csv::is(bytes) {
            return csv::read(bytes);
        }
        let start = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
        if start.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'<') { xml::read(start) } else { Err(RegistryError::Unknown) }
    }
}

/// What differs between two registries. A row stands for all records that differ in the protocol alone.
#[derive(Clone, Debug, Serialize)]
pub struct Changes<'a> {
    /// Rows that only the new one has.
    pub added: usize,
    /// Rows of a port or a name that both have, with other words.
    pub changed: usize,
    /// Rows that only the old one has.
    pub removed: usize,
    /// The first of them, by port, at most [`CHANGES_LISTED_MAX`].
    pub listed: Vec<Change<'a>>,
}

impl Changes<'_> {
    /// How many there are.
    pub fn total(&self) -> usize {
        self.added + self.changed + self.removed
    }
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "change", rename_all = "lowercase")]
pub enum Change<'a> {
    /// Only the new registry has it.
    Added {
        /// The row.
        row: Entry<'a>,
    },
    /// Both have it, with other words.
    Changed {
        /// The row of the old registry.
        before: Box<Entry<'a>>,
        /// The row of the new one.
        after: Box<Entry<'a>>,
        /// The fields that differ, as they are called in JSON.
        fields: Vec<&'static str>,
    },
    /// Only the old registry has it.
    Removed {
        /// The row.
        row: Entry<'a>,
    },
}

/// What differs between `old` and `new`.
pub fn changes<'a>(old: &'a Registry, new: &'a Registry) -> Changes<'a> {
    // First what is the same goes; then rows of one port and one name are one row with other words; then rows of one port, where a name came or went.
    let mut olds: Vec<Option<Entry<'a>>> = only_in(old, new);
    let mut news: Vec<Option<Entry<'a>>> = only_in(new, old);
    let mut listed = pairs(&mut olds, &mut news, |entry| (entry.ports, entry.name));
    let ported = |entries: &mut Vec<Option<Entry<'a>>>| -> Vec<Option<Entry<'a>>> {
        entries.iter_mut().filter(|entry| entry.as_ref().is_some_and(|entry| entry.ports.is_some())).map(Option::take).collect()
    };
    let (mut old_ported, mut new_ported) = (ported(&mut olds), ported(&mut news));
    listed.extend(pairs(&mut old_ported, &mut new_ported, |entry| (entry.ports, None)));
    let changed = listed.len();
    let removed: Vec<Entry<'a>> = olds.into_iter().chain(old_ported).flatten().collect();
    let added: Vec<Entry<'a>> = news.into_iter().chain(new_ported).flatten().collect();
    let (removed_count, added_count) = (removed.len(), added.len());
    listed.extend(removed.into_iter().map(|row| Change::Removed { row }));
    listed.extend(added.into_iter().map(|row| Change::Added { row }));
    listed.sort_by_key(|change| {
        let row = change.row();
        (row.ports.is_none(), row.ports, row.name.map(str::to_owned))
    });
    listed.truncate(CHANGES_LISTED_MAX);
    Changes { added: added_count, changed, removed: removed_count, listed }
}

impl<'a> Change<'a> {
    /// The row that it is about: the new one, where there is one.
    pub fn row(&self) -> &Entry<'a> {
        match self {
            Self::Added { row } | Self::Removed { row } => row,
            Self::Changed { after, .. } => after,
        }
    }
}

/// The rows of `one` that `other` does not have in the same words.
fn only_in<'a>(one: &'a Registry, other: &Registry) -> Vec<Option<Entry<'a>>> {
    let others: std::collections::BTreeSet<&str> = other.body().lines().collect();
    one.body().lines().zip(one.entries()).filter(|(line, _)| !others.contains(line)).map(|(_, entry)| Some(entry)).collect()
}

type Key<'a> = (Option<PortRange>, Option<&'a str>);

/// Takes one row of each side for every key that both have.
fn pairs<'a>(olds: &mut [Option<Entry<'a>>], news: &mut [Option<Entry<'a>>], key: impl Fn(&Entry<'a>) -> Key<'a>) -> Vec<Change<'a>> {
    let mut waiting = BTreeMap::<Key<'a>, Vec<usize>>::new();
    for (place, entry) in news.iter().enumerate().rev() {
        if let Some(entry) = entry {
            waiting.entry(key(entry)).or_default().push(place);
        }
    }
    let mut changes = Vec::new();
    for old in olds {
        let place = old.as_ref().and_then(|entry| waiting.get_mut(&key(entry))).and_then(Vec::pop);
        if let Some((before, after)) = place.and_then(|place| old.take().zip(news[place].take())) {
            let fields = differing(&before, &after);
            changes.push(Change::Changed { before: before.into(), after: after.into(), fields });
        }
    }
    changes
}

fn differing(before: &Entry<'_>, after: &Entry<'_>) -> Vec<&'static str> {
    let fields = [
        ("name", before.name != after.name),
        ("protocols", before.protocols != after.protocols),
        ("description", before.description != after.description),
        ("registrants", before.registrants != after.registrants),
        ("contacts", before.contacts != after.contacts),
        ("registered", before.registered != after.registered),
        ("modified", before.modified != after.modified),
        ("references", before.references != after.references),
        ("service_code", before.service_code != after.service_code),
        ("unauthorized", before.unauthorized != after.unauthorized),
        ("notes", before.notes != after.notes),
    ];
    fields.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
}
