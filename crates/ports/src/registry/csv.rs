//! IANA's CSV (RFC 4180): a line that names the columns, then a record for each line, or for several where a quoted field has line ends.

use super::entry::Date;
use super::error::RegistryError;
use super::limits::{FIELD_BYTES_MAX, RECORDS_MAX, SOURCE_BYTES_MAX};
use super::table::{Record, Registry};
use super::{ORIGIN, words};

/// IANA's columns.
const COLUMNS: [&str; 12] = [
    "Service Name",
    "Port Number",
    "Transport Protocol",
    "Description",
    "Assignee",
    "Contact",
    "Registration Date",
    "Modification Date",
    "Reference",
    "Service Code",
    "Unauthorized Use Reported",
    "Assignment Notes",
];

/// Whether the file begins as IANA's CSV does.
pub(super) fn is(bytes: &[u8]) -> bool {
    without_mark(bytes).starts_with(COLUMNS[0].as_bytes())
}

pub(super) fn read(bytes: &[u8]) -> Result<Registry, RegistryError> {
    if bytes.len() > SOURCE_BYTES_MAX {
        return Err(RegistryError::Large { what: "the CSV file in bytes", max: SOURCE_BYTES_MAX });
    }
    let bytes = without_mark(bytes);
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let line = 1 + bytes[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count();
        wrong(line, "it is not UTF-8")
    })?;
    let mut lines = Lines { rest: text, line: 1 };
    if lines.next().transpose()?.is_none_or(|(_, columns)| columns != COLUMNS) {
        return Err(wrong(1, &format!("the columns are not IANA's: {}", COLUMNS.join(","))));
    }
    let mut records = Vec::new();
    for line in lines {
        let (number, fields) = line?;
        if records.len() == RECORDS_MAX {
            return Err(RegistryError::Large { what: "the records of the CSV file", max: RECORDS_MAX });
        }
        records.push(record(number, &fields)?);
    }
    // The CSV does not say of when it is: its newest record does.
    let dates = records.iter().flat_map(|record: &Record| [record.registered, record.modified]).flatten();
    let updated = dates.max().ok_or_else(|| wrong(1, "no record has a date"))?;
    Registry::from_records(records, updated, &format!("{ORIGIN} (CSV, dated by its newest record)"))
}

fn record(line: usize, fields: &[String]) -> Result<Record, RegistryError> {
    let [name, ports, protocol, description, assignee, contact, registered, modified, reference, code, unauthorized, notes] = fields else {
        return Err(wrong(line, &format!("a record has {} fields, not {}", fields.len(), COLUMNS.len())));
    };
    let persons = |text: &str| words::items(text).iter().map(|item| words::person(item)).collect();
    let mut record = Record {
        ports: optional(line, ports, "a port")?,
        protocol: optional(line, protocol, "a known protocol")?,
        name: words::clean(name),
        description: words::running(description),
        registrants: persons(assignee),
        contacts: persons(contact),
        registered: optional::<Date>(line, registered, "a date")?,
        modified: optional(line, modified, "a date")?,
        references: words::items(reference)
            .into_iter()
            // A lone number is a footnote's mark; the CSV has no footnotes.
            .filter(|item| !item.bytes().all(|byte| byte.is_ascii_digit()))
            .map(|item| words::reference(&item))
            .collect(),
        service_code: optional(line, code, "a service code")?,
        unauthorized: words::running(unauthorized),
        notes: words::running(notes),
    };
    if record.registrants.is_empty() {
        record.registrants.clone_from(&record.contacts);
    }
    record.check().map_err(|reason| wrong(line, &reason))?;
    Ok(record)
}

fn optional<T: std::str::FromStr>(line: usize, text: &str, what: &str) -> Result<Option<T>, RegistryError> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| wrong(line, &format!("{} is not {what}", words::excerpt(text))))
}

/// The records of the text, each with the line on which it begins.
struct Lines<'a> {
    rest: &'a str,
    line: usize,
}

impl Iterator for Lines<'_> {
    type Item = Result<(usize, Vec<String>), RegistryError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let line = self.line;
        let mut fields = Vec::new();
        loop {
            match self.field() {
                Ok((field, more)) => {
                    fields.push(field);
                    if !more {
                        return Some(Ok((line, fields)));
                    }
                    if fields.len() > COLUMNS.len() {
                        self.rest = "";
                        return Some(Err(wrong(line, "a record has too many fields")));
                    }
                }
                Err(error) => {
                    self.rest = "";
                    return Some(Err(error));
                }
            }
        }
    }
}

impl Lines<'_> {
    /// The next field, and whether more follow in its record.
    fn field(&mut self) -> Result<(String, bool), RegistryError> {
        let line = self.line;
        let mut field = String::new();
        if let Some(mut rest) = self.rest.strip_prefix('"') {
            loop {
                let (inside, behind) = rest.split_once('"').ok_or_else(|| wrong(line, "a quoted field does not end"))?;
                field.push_str(inside);
                if field.len() > FIELD_BYTES_MAX {
                    return Err(wrong(line, &format!("a field has more than {FIELD_BYTES_MAX} bytes")));
                }
                match behind.strip_prefix('"') {
                    Some(behind) => {
                        field.push('"');
                        rest = behind;
                    }
                    None => {
                        self.rest = behind;
                        break;
                    }
                }
            }
            self.line += field.matches('\n').count();
        } else {
            let end = self.rest.find([',', '\n', '"']).unwrap_or(self.rest.len());
            let (inside, behind) = self.rest.split_at(end);
            if behind.starts_with('"') {
                return Err(wrong(line, "a quotation mark stands in a field without them"));
            }
            // A record may end with CR LF.
            let inside = if behind.starts_with('\n') || behind.is_empty() { inside.strip_suffix('\r').unwrap_or(inside) } else { inside };
            if inside.len() > FIELD_BYTES_MAX {
                return Err(wrong(line, &format!("a field has more than {FIELD_BYTES_MAX} bytes")));
            }
            field.push_str(inside);
            self.rest = behind;
        }
        let end = [",", "\r\n", "\n"].into_iter().find(|end| self.rest.starts_with(end));
        match end {
            Some(end) => self.rest = &self.rest[end.len()..],
            None if self.rest.is_empty() => {}
            None => return Err(wrong(line, "words follow a quoted field")),
        }
        self.line += usize::from(end.is_some_and(|end| end != ","));
        Ok((field, end == Some(",")))
    }
}

/// Without the mark that some editors put before UTF-8.
fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes)
}

fn wrong(line: usize, reason: &str) -> RegistryError {
    RegistryError::Csv { line, reason: reason.to_owned() }
}
