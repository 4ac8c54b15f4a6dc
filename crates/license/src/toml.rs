//! The subset of TOML that license texts are written in: bare keys, plain decimal integers, single-line strings without
//! escapes, booleans, dates, arrays, `[[entitlement]]`, one `[info]`, comments. Everything else is an error with its place. A full TOML
//! parser accepts more than this on purpose; in signed text every second spelling is a second meaning for somebody.

use std::cell::Cell;
use std::ops::Range;

use crate::civil::Written;
use crate::limits::{ENTITLEMENTS_MAX, KEYS_MAX, NESTING_MAX};
use crate::text::{Place, TextError};

#[derive(Debug)]
pub(crate) struct Document {
    pub(crate) top: Table,
    pub(crate) entitlements: Vec<Table>,
    /// What anybody may ignore, if there is such a section.
    pub(crate) info: Option<Table>,
}

#[derive(Debug)]
pub(crate) struct Table {
    /// Of its header; the start of the text for the top.
    pub(crate) place: Place,
    pub(crate) entries: Vec<Entry>,
    /// Offset after the line of its header or last entry, where one more could be written.
    pub(crate) end: usize,
}

#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) place: Place,
    pub(crate) value: Value,
    /// The value's bytes in the text.
    pub(crate) span: Range<usize>,
}

#[derive(Debug)]
pub(crate) struct Value {
    pub(crate) place: Place,
    pub(crate) kind: Kind,
}

#[derive(Debug)]
pub(crate) enum Kind {
    Array(Vec<Value>),
    Boolean(bool),
    Date(Written),
    Integer(u64),
    String(String),
}

impl Kind {
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Array(_) => "an array",
            Self::Boolean(_) => "true or false",
            Self::Date(_) => "a date",
            Self::Integer(_) => "a number",
            Self::String(_) => "a string",
        }
    }
}

/// Parses a text whose code points were checked.
pub(crate) fn parse(text: &str) -> Result<Document, TextError> {
    let mut parser = Parser { text, at: 0, line: 1, column: Cell::new((0, 1)) };
    let mut top = Table { place: Place::START, entries: Vec::new(), end: 0 };
    let mut entitlements: Vec<Table> = Vec::new();
    let mut info: Option<Table> = None;
    let mut in_info = false;
    loop {
        parser.skip_blank();
        let Some(next) = parser.peek() else { break };
        let place = parser.place();
        if next == '[' {
            let header = parser.header()?;
            parser.end_of_line(header)?;
            in_info = header == INFO;
            let table = Table { place, entries: Vec::new(), end: parser.at };
            if in_info {
                if let Some(first) = info.replace(table) {
                    return Err(TextError::new(place, format!("a second {INFO} section; the first one is in line {}", first.place.line)));
                }
            } else if entitlements.len() == ENTITLEMENTS_MAX {
                return Err(TextError::new(place, format!("more than {ENTITLEMENTS_MAX} entitlements in one license"))
                    .with_hint("split it into several licenses: their seats add up"));
            } else {
                entitlements.push(table);
            }
            continue;
        }
        let table = match &mut info {
            Some(info) if in_info => info,
            _ => entitlements.last_mut().unwrap_or(&mut top),
        };
        if table.entries.len() == KEYS_MAX {
            return Err(TextError::new(place, format!("more than {KEYS_MAX} keys in one section")));
        }
        let entry = parser.entry()?;
        if let Some(first) = table.entries.iter().find(|other| other.key == entry.key) {
            return Err(TextError::new(
                place,
                format!("the key `{}` is given twice; it was given in line {} already", entry.key, first.place.line),
            ));
        }
        table.entries.push(entry);
        table.end = parser.at;
    }
    Ok(Document { top, entitlements, info })
}

/// The header of a right.
const ENTITLEMENT: &str = "[[entitlement]]";
/// The header of what anybody may ignore.
const INFO: &str = "[info]";

struct Parser<'a> {
    text: &'a str,
    at: usize,
    line: usize,
    /// The offset and column that were computed last: columns of a long line are not counted from its start each time.
    column: Cell<(usize, usize)>,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn place(&self) -> Place {
        let (at, column) = self.column.get();
        let column = column + self.text[at..self.at].chars().count();
        self.column.set((self.at, column));
        Place { line: self.line, column }
    }

    fn error(&self, message: impl Into<String>) -> TextError {
        TextError::new(self.place(), message)
    }

    /// Over `count` bytes that hold no newline.
    fn advance(&mut self, count: usize) {
        self.at += count;
    }

    fn newline(&mut self) {
        self.at += 1;
        self.line += 1;
        self.column.set((self.at, 1));
    }

    fn skip_spaces(&mut self) {
        self.at += self.rest().bytes().take_while(|byte| *byte == b' ').count();
    }

    fn skip_comment(&mut self) {
        if self.peek() == Some('#') {
            self.at += self.rest().find('\n').unwrap_or(self.rest().len());
        }
    }

    /// Over spaces, comments and newlines.
    fn skip_blank(&mut self) {
        loop {
            self.skip_spaces();
            self.skip_comment();
            if self.peek() != Some('\n') {
                return;
            }
            self.newline();
        }
    }

    fn end_of_line(&mut self, after: &str) -> Result<(), TextError> {
        self.skip_spaces();
        self.skip_comment();
        match self.peek() {
            None => Ok(()),
            Some('\n') => {
                self.newline();
                Ok(())
            }
            Some(_) => Err(self.error(format!("something follows after {after} on the same line"))),
        }
    }

    /// Over a header, which it returns.
    fn header(&mut self) -> Result<&'static str, TextError> {
        if let Some(header) = [ENTITLEMENT, INFO].into_iter().find(|header| self.rest().starts_with(header)) {
            self.advance(header.len());
            return Ok(header);
        }
        let found: String = self.rest().chars().take_while(|c| *c != '\n').take(40).collect();
        let error = self.error(format!("`{found}`: the only sections that a license has are `{ENTITLEMENT}` and `{INFO}`"));
        Err(if found.starts_with("[entitlement") || found.replace(' ', "") == ENTITLEMENT {
            error.with_hint(format!("write {ENTITLEMENT}, with two brackets and no spaces"))
        } else {
            error
        })
    }

    fn entry(&mut self) -> Result<Entry, TextError> {
        let place = self.place();
        let length = self.rest().bytes().take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')).count();
        if length == 0 {
            return Err(match self.peek() {
                Some('"' | '\'') => self.error("a key in quotes is not allowed").with_hint("write the bare key: seats = 25"),
                _ => self.error("here a key is expected, like `seats = 25`"),
            });
        }
        let key = self.rest()[..length].to_owned();
        self.advance(length);
        self.skip_spaces();
        match self.peek() {
            Some('=') => self.advance(1),
            Some('.') => return Err(self.error("a dotted key is not allowed").with_hint("use [[entitlement]] and bare keys")),
            _ => return Err(self.error(format!("after the key `{key}` a `=` is expected"))),
        }
        self.skip_spaces();
        let start = self.at;
        let value = self.value(0)?;
        let span = start..self.at;
        self.end_of_line("the value")?;
        Ok(Entry { key, place, value, span })
    }

    fn value(&mut self, depth: usize) -> Result<Value, TextError> {
        let place = self.place();
        let kind = match self.peek() {
            None | Some('\n' | '#') => return Err(self.error("the value is missing")),
            Some('"') => Kind::String(self.string()?),
            Some('\'') => {
                return Err(self.error("a string in single quotes is not allowed").with_hint("use double quotes"));
            }
            Some('{') => return Err(self.error("an inline table is not allowed").with_hint("use [[entitlement]]")),
            Some('[') => Kind::Array(self.array(depth + 1)?),
            Some(_) => self.bare()?,
        };
        Ok(Value { place, kind })
    }

    fn string(&mut self) -> Result<String, TextError> {
        let inner = &self.rest()[1..];
        let line = inner.split('\n').next().unwrap_or_default();
        let Some(length) = line.find('"') else {
            return Err(self.error("this string has no closing quote on its line"));
        };
        let string = line[..length].to_owned();
        self.advance(length + 2);
        Ok(string)
    }

    fn array(&mut self, depth: usize) -> Result<Vec<Value>, TextError> {
        // Checked before the recursion: the depth of the stack is bounded by it.
        if depth > NESTING_MAX {
            return Err(self.error(format!("arrays are nested more than {NESTING_MAX} deep")));
        }
        self.advance(1);
        let mut values = Vec::new();
        loop {
            self.skip_blank();
            match self.peek() {
                None => return Err(self.error("this array has no closing bracket")),
                Some(']') => {
                    self.advance(1);
                    return Ok(values);
                }
                Some(_) => values.push(self.value(depth)?),
            }
            self.skip_blank();
            match self.peek() {
                Some(',') => self.advance(1),
                Some(']') => {}
                None => return Err(self.error("this array has no closing bracket")),
                Some(_) => return Err(self.error("between the values of an array a comma is expected")),
            }
        }
    }

    /// A number, a date, true or false.
    fn bare(&mut self) -> Result<Kind, TextError> {
        let length = self.rest().find([' ', ',', ']', '[', '#', '\n', '"', '=']).unwrap_or(self.rest().len());
        let token = &self.rest()[..length];
        let shown: String = token.chars().take(40).collect();
        let kind = match token {
            "true" => Kind::Boolean(true),
            "false" => Kind::Boolean(false),
            _ if token.bytes().next().is_some_and(|byte| byte.is_ascii_digit()) => {
                if token.as_bytes().get(4) == Some(&b'-') || token.contains(':') {
                    let date = token.parse().map_err(|error: crate::civil::DateError| self.error(error.to_string()))?;
                    Kind::Date(date)
                } else {
                    Kind::Integer(self.integer(token, &shown)?)
                }
            }
            _ if token.starts_with('-') => return Err(self.error(format!("`{shown}`: negative numbers are not allowed"))),
            _ if token.starts_with('+') => {
                return Err(self.error(format!("`{shown}`: a number is written without a sign")));
            }
            "" => return Err(self.error("here a value is expected")),
            _ => {
                return Err(self
                    .error(format!("`{shown}` is no value"))
                    .with_hint("text stands in double quotes; numbers, dates, true and false stand as they are"));
            }
        };
        self.advance(length);
        Ok(kind)
    }

    fn integer(&self, token: &str, shown: &str) -> Result<u64, TextError> {
        let plain = |problem: &str| self.error(format!("`{shown}`: {problem}")).with_hint("write a plain decimal number, like 25");
        let bytes = token.as_bytes();
        if bytes.len() > 1 && bytes[0] == b'0' && bytes[1].is_ascii_alphabetic() {
            return Err(plain("hexadecimal, octal and binary numbers are not allowed"));
        }
        if token.contains('_') {
            return Err(plain("underscores in numbers are not allowed"));
        }
        if !bytes.iter().all(u8::is_ascii_digit) {
            return Err(plain("this is no whole decimal number"));
        }
        if bytes.len() > 1 && bytes[0] == b'0' {
            return Err(plain("a number must not begin with zero"));
        }
        // i64 is TOML's own range; all of ours are far below it.
        token
            .parse::<u64>()
            .ok()
            .filter(|number| *number <= i64::MAX as u64)
            .ok_or_else(|| self.error(format!("`{shown}` is too large a number")))
    }
}
