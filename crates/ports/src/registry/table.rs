//! The table in memory and as bytes.
//!
//! As bytes it is a gzip file of text (`zcat` shows it): one line that says what it is, then a line for each row, fields between tabs, sorted by port and
//! name. In memory it is that text with an index of its lines, so that a cold start costs little more than the decompression.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::sync::{Arc, LazyLock, OnceLock};

use super::entry::{Date, Entry, LETTERS, PortRange, Protocol, Protocols};
use super::error::RegistryError;
use super::limits::{ENCODED_BYTES_MAX, FIELD_BYTES_MAX, LIST_ITEMS_MAX, NAME_BYTES_MAX, RECORDS_MAX, TEXT_BYTES_MAX};
use super::search::Index;
use super::words;

/// What the first line begins with.
const FORMAT: &str = "triquest-ports/v1";
/// The fields of a row.
const FIELDS: usize = 12;
/// Between the items of a list in one field. It cannot occur in one: `words::clean` takes control characters out.
const BETWEEN_ITEMS: char = '\u{1f}';
/// The table that this program was built with.
const EMBEDDED: &[u8] = include_bytes!("../../data/registry.bin");

/// IANA's registry of service names and port numbers. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Registry {
    header: Header,
    text: Arc<str>,
    /// The rows with ports, by first port, then those without.
    rows: Arc<[Row]>,
    /// How many of the rows have ports.
    with_ports: usize,
    /// Made when it is first searched.
    index: Arc<OnceLock<Index>>,
}

/// What the first line of a table says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) updated: Date,
    pub(super) origin: String,
    pub(super) records: usize,
    /// Whether an administrator asked for this table although the program had a newer one.
    pub(super) although_older: bool,
}

#[derive(Clone, Copy, Debug)]
struct Row {
    /// Where its line begins and ends in the text.
    start: u32,
    end: u32,
    first: u16,
    /// The highest last port of this row and all before it: where a search backwards may stop.
    reach: u16,
}

impl PartialEq for Registry {
    fn eq(&self, other: &Self) -> bool {
        self.header == other.header && self.text == other.text
    }
}

impl Eq for Registry {}

impl Registry {
    /// The table that this program was built with; decoded once.
    pub fn embedded() -> &'static Self {
        static REGISTRY: LazyLock<Registry> =
            LazyLock::new(|| Registry::decode(EMBEDDED).expect("a test decodes the table that is built in"));
        &REGISTRY
    }

    /// Reads a table that [`encode`](Self::encode) wrote.
    ///
    /// # Errors
    /// [`RegistryError::Damaged`] or [`RegistryError::Large`]; nothing is taken from a table that is not whole.
    pub fn decode(bytes: &[u8]) -> Result<Self, RegistryError> {
        Self::from_text(unpack(bytes)?)
    }

    /// The table as bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut packed = flate2::GzBuilder::new().write(Vec::new(), flate2::Compression::best());
        packed.write_all(self.header.line().as_bytes()).expect("a vector takes all bytes");
        packed.write_all(self.body().as_bytes()).expect("a vector takes all bytes");
        packed.finish().expect("a vector takes all bytes")
    }

    /// IANA's date of the registry.
    pub fn updated(&self) -> Date {
        self.header.updated
    }

    /// Where it comes from: IANA's registry, and the form that it was read from.
    pub fn origin(&self) -> &str {
        &self.header.origin
    }

    /// The records of IANA's file.
    pub fn records(&self) -> usize {
        self.header.records
    }

    /// All rows, by port, then those without one by name.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = Entry<'_>> {
        self.rows.iter().map(|row| self.entry(row))
    }

    pub(super) fn nth(&self, number: usize) -> Option<Entry<'_>> {
        self.rows.get(number).map(|row| self.entry(row))
    }

    pub(super) fn index(&self) -> &Index {
        self.index.get_or_init(|| Index::of(self.entries()))
    }

    /// The rows that speak of `port`, of one port before those of a range, by name.
    pub fn on_port(&self, port: u16) -> Vec<Entry<'_>> {
        let rows = &self.rows[..self.with_ports];
        let above = rows.partition_point(|row| row.first <= port);
        let mut entries: Vec<Entry<'_>> = rows[..above]
            .iter()
            .rev()
            .take_while(|row| row.reach >= port)
            .map(|row| self.entry(row))
            .filter(|entry| entry.ports.is_some_and(|ports| ports.contains(port)))
            .collect();
        entries.reverse();
        entries.sort_by_key(|entry| entry.ports.map(|ports| ports.last - ports.first));
        entries
    }

    /// The rows that speak of `port` over `protocol`: those that name the protocol, before those that name none.
    pub fn on(&self, port: u16, protocol: Protocol) -> Vec<Entry<'_>> {
        let mut entries = self.on_port(port);
        entries.retain(|entry| entry.covers(port, protocol));
        entries.sort_by_key(|entry| !entry.protocols.names(protocol));
        entries
    }

    /// The rows of a service name. Upper and lower case are the same (RFC 6335, section 5.1).
    pub fn named(&self, name: &str) -> Vec<Entry<'_>> {
        // Comparing the raw name first spares reading 8,000 rows.
        let named = |row: &&Row| self.line(row).split('\t').nth(1).is_some_and(|found| found.eq_ignore_ascii_case(name));
        if name.is_empty() { Vec::new() } else { self.rows.iter().filter(named).map(|row| self.entry(row)).collect() }
    }

    /// The same table, marked as wanted although it is older.
    pub(super) fn although_older(mut self) -> Self {
        self.header.although_older = true;
        self
    }

    /// Makes a table of records in any order.
    pub(super) fn from_records(records: Vec<Record>, updated: Date, origin: &str) -> Result<Self, RegistryError> {
        let count = records.len();
        let mut grouped = BTreeMap::<(Option<PortRange>, String, String), String>::new();
        for record in records {
            let letter = record.protocol.map_or('-', Protocol::letter);
            grouped.entry((record.ports, record.name.clone(), record.rest())).or_default().push(letter);
        }
        let row = |((ports, name, rest), letters): ((Option<PortRange>, String, String), String)| {
            // One order for the letters, or the order of IANA's records would make two tables of one registry.
            let letters: String = LETTERS.chars().flat_map(|letter| letters.chars().filter(move |found| *found == letter)).collect();
            (ports, format!("{}\t{name}\t{letters}\t{rest}", ports.map(|ports| ports.to_string()).unwrap_or_default()))
        };
        let mut lines: Vec<(Option<PortRange>, String)> = grouped.into_iter().map(row).collect();
        lines.sort_by(|one, other| sort_key(one.0, &one.1).cmp(&sort_key(other.0, &other.1)));
        let header = Header { updated, origin: words::clean(origin), records: count, although_older: false };
        let text = lines.iter().fold(header.line(), |text, (_, line)| text + line + "\n");
        if text.len() > TEXT_BYTES_MAX {
            return Err(RegistryError::Large { what: "the table's text in bytes", max: TEXT_BYTES_MAX });
        }
        Self::from_text(text)
    }

    fn from_text(text: String) -> Result<Self, RegistryError> {
        let header = Header::parse(&text)?;
        let mut rows = Vec::with_capacity(header.records.min(RECORDS_MAX));
        let mut with_ports = 0;
        let mut reach = 0;
        let mut records = 0;
        let mut before: Option<SortKey<'_>> = None;
        let mut start = text.find('\n').map_or(text.len(), |end| end + 1);
        while start < text.len() {
            let number = rows.len() + 2;
            let damaged = |reason: &str| RegistryError::Damaged { reason: format!("line {number}: {reason}") };
            let length = text[start..].find('\n').ok_or_else(|| damaged("does not end"))?;
            let line = &text[start..start + length];
            if !words::is_clean_row(line) {
                return Err(damaged("has a control character"));
            }
            let entry = parse_row(line).map_err(damaged)?;
            let key = sort_key(entry.ports, line);
            if before.is_some_and(|before| before >= key) {
                return Err(damaged("is out of order"));
            }
            before = Some(key);
            records += entry.records();
            if let Some(ports) = entry.ports {
                with_ports += 1;
                reach = ports.last.max(reach);
            }
            let first = entry.ports.map_or(u16::MAX, |ports| ports.first);
            // Both fit: the text has at most TEXT_BYTES_MAX bytes.
            rows.push(Row { start: start as u32, end: (start + length) as u32, first, reach });
            start += length + 1;
        }
        if records != header.records || records > RECORDS_MAX || records == 0 {
            return Err(RegistryError::Damaged { reason: format!("it has {records} records, not {}", header.records) });
        }
        Ok(Self { header, text: text.into(), rows: rows.into(), with_ports, index: Arc::default() })
    }

    fn line(&self, row: &Row) -> &str {
        &self.text[row.start as usize..row.end as usize]
    }

    fn entry(&self, row: &Row) -> Entry<'_> {
        parse_row(self.line(row)).expect("from_text parsed every row")
    }

    /// The text below the first line.
    pub(super) fn body(&self) -> &str {
        self.text.split_once('\n').map_or("", |(_, body)| body)
    }
}

impl Header {
    /// Of the table that is built in.
    pub(super) fn embedded() -> Self {
        Self::peek(EMBEDDED).expect("a test decodes the table that is built in")
    }

    /// Reads the first line of a packed table, without the rest.
    pub(super) fn peek(bytes: &[u8]) -> Result<Self, RegistryError> {
        let mut start = Vec::new();
        let mut reader = flate2::bufread::GzDecoder::new(bytes).take(FIELD_BYTES_MAX as u64);
        reader.read_to_end(&mut start).map_err(|_| RegistryError::Damaged { reason: "it is not a whole gzip file".to_owned() })?;
        let line = start.split(|byte| *byte == b'\n').next().unwrap_or_default();
        Self::parse(std::str::from_utf8(line).map_err(|_| RegistryError::Damaged { reason: "it is not UTF-8".to_owned() })?)
    }

    fn parse(text: &str) -> Result<Self, RegistryError> {
        let damaged = |reason: &str| RegistryError::Damaged { reason: format!("line 1: {reason}") };
        let fields: Vec<&str> = text.split('\n').next().unwrap_or_default().split('\t').collect();
        let [format, updated, origin, records, asked] = fields[..] else { return Err(damaged("does not have five fields")) };
        if format != FORMAT {
            return Err(damaged("is not of a table of this version"));
        }
        if origin.is_empty() || origin.len() > FIELD_BYTES_MAX || !words::is_clean(origin) {
            return Err(damaged("has no origin"));
        }
        Ok(Self {
            updated: updated.parse().map_err(|()| damaged("has no date"))?,
            origin: origin.to_owned(),
            records: records.parse().map_err(|_| damaged("has no number of records"))?,
            although_older: match asked {
                "" => false,
                "although-older" => true,
                _ => return Err(damaged("has an unknown last field")),
            },
        })
    }

    fn line(&self) -> String {
        let asked = if self.although_older { "although-older" } else { "" };
        format!("{FORMAT}\t{}\t{}\t{}\t{asked}\n", self.updated, self.origin, self.records)
    }
}

/// One record of IANA's file, cleaned, before the records that differ in the protocol alone become one row.
#[derive(Clone, Debug, Default)]
pub(super) struct Record {
    pub(super) ports: Option<PortRange>,
    pub(super) protocol: Option<Protocol>,
    pub(super) name: String,
    pub(super) description: String,
    pub(super) registrants: Vec<String>,
    pub(super) contacts: Vec<String>,
    pub(super) registered: Option<Date>,
    pub(super) modified: Option<Date>,
    pub(super) references: Vec<String>,
    pub(super) service_code: Option<u32>,
    pub(super) unauthorized: String,
    pub(super) notes: String,
}

impl Record {
    /// Whether all fields are within their limits, or why not.
    pub(super) fn check(&self) -> Result<(), String> {
        let texts = [&self.description, &self.unauthorized, &self.notes];
        let lists = [&self.registrants, &self.contacts, &self.references];
        if self.name.len() > NAME_BYTES_MAX {
            return Err(format!("a service name has more than {NAME_BYTES_MAX} bytes"));
        }
        if texts.into_iter().chain(lists.into_iter().flatten()).any(|text| text.len() > FIELD_BYTES_MAX) {
            return Err(format!("a field has more than {FIELD_BYTES_MAX} bytes"));
        }
        let joined = |list: &[String]| list.iter().map(|item| item.len() + 1).sum::<usize>();
        if lists.iter().any(|list| list.len() > LIST_ITEMS_MAX || joined(list) > FIELD_BYTES_MAX) {
            return Err(format!("a list has more than {LIST_ITEMS_MAX} items or {FIELD_BYTES_MAX} bytes"));
        }
        if self.name.is_empty() && self.ports.is_none() {
            return Err("a record has neither a service name nor a port".to_owned());
        }
        Ok(())
    }

    /// The fields after the protocol.
    fn rest(&self) -> String {
        let list = |items: &[String]| {
            items.iter().filter(|item| !item.is_empty()).map(String::as_str).collect::<Vec<_>>().join(&BETWEEN_ITEMS.to_string())
        };
        let date = |date: Option<Date>| date.map(|date| date.to_string()).unwrap_or_default();
        [
            self.description.clone(),
            list(&self.registrants),
            // Most often the contact is the registrant: one mark for it keeps the table small.
            if self.contacts == self.registrants && !self.contacts.is_empty() { SAME.to_owned() } else { list(&self.contacts) },
            date(self.registered),
            date(self.modified),
            list(&self.references),
            self.service_code.map(|code| code.to_string()).unwrap_or_default(),
            self.unauthorized.clone(),
            self.notes.clone(),
        ]
        .join("\t")
    }
}

/// In place of the contacts: they are the registrants.
const SAME: &str = "=";

/// Rows with ports before those without, by first and last port, then by the text of the line from the name on.
type SortKey<'a> = (bool, Option<PortRange>, &'a str);

fn sort_key(ports: Option<PortRange>, line: &str) -> SortKey<'_> {
    (ports.is_none(), ports, line.split_once('\t').map_or(line, |(_, rest)| rest))
}

/// Reads one line of the table, which is all there is to know about a row but that its characters are clean.
fn parse_row(line: &str) -> Result<Entry<'_>, &'static str> {
    let [ports, name, letters, description, registrants, contacts, registered, modified, references, service_code, unauthorized, notes] =
        fields(line)?;
    if name.len() > NAME_BYTES_MAX {
        return Err("has a name over its limit");
    }
    if name.is_empty() && ports.is_empty() {
        return Err("has neither a name nor a port");
    }
    if letters.is_empty() || !in_order(letters) {
        return Err("has unknown protocols");
    }
    // Only few rows have lists of more than one item, so only few have to be looked at twice.
    if line.contains(BETWEEN_ITEMS) && [name, description, unauthorized, notes].iter().any(|text| text.contains(BETWEEN_ITEMS)) {
        return Err("has a list where there is none");
    }
    let registrants = list(registrants)?;
    let contacts = if contacts == SAME { registrants.clone() } else { list(contacts)? };
    Ok(Entry {
        name: (!name.is_empty()).then_some(name),
        ports: optional(ports, "has an unknown port")?,
        protocols: Protocols(letters),
        description,
        registrants,
        contacts,
        registered: optional(registered, "has an unknown date")?,
        modified: optional(modified, "has an unknown date")?,
        references: list(references)?,
        service_code: optional(service_code, "has an unknown service code")?,
        unauthorized: (!unauthorized.is_empty()).then_some(unauthorized),
        notes: (!notes.is_empty()).then_some(notes),
    })
}

fn fields(line: &str) -> Result<[&str; FIELDS], &'static str> {
    let mut fields = [""; FIELDS];
    let (mut count, mut start) = (0, 0);
    // By hand: `split` takes twice as long, and this is most of what a cold start costs after the decompression.
    for end in line.bytes().enumerate().filter(|(_, byte)| *byte == b'\t').map(|(end, _)| end).chain([line.len()]) {
        let field = fields.get_mut(count).ok_or("has too many fields")?;
        *field = &line[start..end];
        if field.len() > FIELD_BYTES_MAX {
            return Err("has a field over its limit");
        }
        count += 1;
        start = end + 1;
    }
    if count == FIELDS { Ok(fields) } else { Err("has too few fields") }
}

fn optional<T: std::str::FromStr>(text: &str, reason: &'static str) -> Result<Option<T>, &'static str> {
    if text.is_empty() { Ok(None) } else { text.parse().map(Some).map_err(|_| reason) }
}

fn list(text: &str) -> Result<Vec<&str>, &'static str> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let items: Vec<&str> = text.split(BETWEEN_ITEMS).collect();
    if items.len() > LIST_ITEMS_MAX { Err("has a list over its limit") } else { Ok(items) }
}

/// Whether the letters are known ones, in their order.
fn in_order(letters: &str) -> bool {
    let mut left = LETTERS;
    letters.chars().all(|letter| {
        left.find(letter).is_some_and(|place| {
            left = &left[place..];
            true
        })
    })
}

fn unpack(bytes: &[u8]) -> Result<String, RegistryError> {
    if bytes.len() > ENCODED_BYTES_MAX {
        return Err(RegistryError::Large { what: "the stored table in bytes", max: ENCODED_BYTES_MAX });
    }
    let not_whole = || RegistryError::Damaged { reason: "it is not a whole gzip file".to_owned() };
    let text = gunzip(bytes, TEXT_BYTES_MAX).map_err(|()| not_whole())?;
    let text = text.ok_or(RegistryError::Large { what: "the table's text in bytes", max: TEXT_BYTES_MAX })?;
    String::from_utf8(text).map_err(|_| RegistryError::Damaged { reason: "it is not UTF-8".to_owned() })
}

/// The content of a gzip file of one member, `None` if it has more than `max` bytes. An error means that the file is not whole, or that more follows.
pub(super) fn gunzip(bytes: &[u8], max: usize) -> Result<Option<Vec<u8>>, ()> {
    let mut content = Vec::new();
    let mut reader = flate2::bufread::GzDecoder::new(bytes).take(max as u64 + 1);
    reader.read_to_end(&mut content).map_err(|_| ())?;
    if content.len() > max {
        return Ok(None);
    }
    if reader.into_inner().into_inner().is_empty() { Ok(Some(content)) } else { Err(()) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// A packed table with `body` below its first line.
    fn packed(records: usize, body: &str) -> Vec<u8> {
        let mut packed = flate2::GzBuilder::new().write(Vec::new(), flate2::Compression::fast());
        packed.write_all(format!("{FORMAT}\t2025-02-25\ttest\t{records}\t\n{body}").as_bytes()).unwrap();
        packed.finish().unwrap()
    }

    fn refused(records: usize, body: &str) -> String {
        Registry::decode(&packed(records, body)).unwrap_err().to_string()
    }

    #[test]
    fn a_table_that_is_not_as_we_write_it_is_refused_with_the_line() {
        let one = "1\ttcpmux\ttu\tMultiplexer\t\t\t\t\t\t\t\t\n";
        assert_eq!(Registry::decode(&packed(2, one)).unwrap().records(), 2);
        assert!(refused(1, one).contains("2 records, not 1"));
        assert!(refused(0, "").contains("0 records"));
        assert!(refused(2, &one.replace("tu", "ut")).contains("line 2: has unknown protocols"));
        assert!(refused(2, &one.replace("tu", "tx")).contains("line 2: has unknown protocols"));
        assert!(refused(2, &one.replace("Multi", "Mul\u{1b}ti")).contains("line 2: has a control character"));
        assert!(refused(2, &one.replace("Multi", "Mul\u{202e}ti")).contains("line 2: has a control character"));
        assert!(refused(2, &one.replacen('1', "65536", 1)).contains("line 2: has an unknown port"));
        assert!(refused(2, &one.replacen('1', "9-8", 1)).contains("line 2: has an unknown port"));
        assert!(refused(2, one.trim_end()).contains("line 2: does not end"));
        assert!(refused(4, &format!("{one}{one}")).contains("line 3: is out of order"));
        assert!(refused(2, &one.replace("\n", "\t\n")).contains("line 2: has too many fields"));
        assert!(refused(2, "1\ttcpmux\n").contains("line 2: has too few fields"));
        assert!(refused(2, "\t\ttu\tnothing\t\t\t\t\t\t\t\t\n").contains("neither a name nor a port"));
        let long = "x".repeat(FIELD_BYTES_MAX + 1);
        assert!(refused(2, &one.replace("Multiplexer", &long)).contains("over its limit"));
    }

    #[test]
    fn a_bomb_and_a_longer_file_are_refused() {
        let bomb = packed(1, &" ".repeat(TEXT_BYTES_MAX));
        assert!(bomb.len() < 100_000);
        assert_eq!(Registry::decode(&bomb), Err(RegistryError::Large { what: "the table's text in bytes", max: TEXT_BYTES_MAX }));
        let mut longer = EMBEDDED.to_vec();
        longer.push(0);
        assert!(matches!(Registry::decode(&longer), Err(RegistryError::Damaged { .. })));
        longer.truncate(EMBEDDED.len() - 1);
        assert!(matches!(Registry::decode(&longer), Err(RegistryError::Damaged { .. })));
        longer.resize(ENCODED_BYTES_MAX + 1, 0);
        assert!(matches!(Registry::decode(&longer), Err(RegistryError::Large { .. })));
    }

    #[test]
    fn rows_of_overlapping_ranges_are_all_found() {
        let row = |ports: &str| format!("{ports}\tname\tt\t\t\t\t\t\t\t\t\t\n");
        let body = ["1-60000", "2-3", "5", "7-9"].map(row).concat();
        let registry = Registry::decode(&packed(4, &body)).unwrap();
        let on = |port| registry.on_port(port).iter().map(|entry| entry.ports.unwrap().to_string()).collect::<Vec<_>>();
        assert_eq!(on(5), ["5", "1-60000"]);
        assert_eq!(on(8), ["7-9", "1-60000"]);
        assert_eq!(on(10), ["1-60000"]);
        assert_eq!(on(60001), Vec::<String>::new());
    }
}
