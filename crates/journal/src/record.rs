//! Bytes of entries and snapshot chunks: the one place that knows them.
//!
//! ```text
//! entry = 0x01, CBOR [lineage, epoch, index, lease time, civil time, [event ...]], checksum
//! chunk = 0x81, CBOR [index, number, [record ...]], checksum
//! ```
//!
//! The checksum is the first 8 bytes of SHA-256 over all before it (hardware does that faster than a table does a CRC, and it needs no
//! dependency). An event is `[kind, [field ...]]`; kinds and fields have frozen numbers in `record/event.rs`, `record/state.rs` and
//! `record/parts.rs`. How they change:
//!
//! - A new kind takes the next number. A version that does not know it refuses the entry and its server stops: guessing would give seats twice.
//! - A new field takes the next number of its record, is optional, and its absence means what was so before it was invented.
//!   An older version ignores fields that it does not know, so a field whose neglect would be wrong needs a new kind.
//! - A number that is no longer written stays reserved, and is read for ever.
//! - Bytes of every version that was ever released stay in `tests/golden/`.

mod event;
mod parts;
mod state;

use minicbor::{Decoder, Encoder};
use triquest_allocator::{Epoch, Event, Index, Lineage, Moment, StateRecord, Timestamp};
use triquest_license::{Vocabulary, Word};

use crate::SNAPSHOT_CHUNK_BYTES_MAX;

/// First byte of an entry of version 1.
const ENTRY_VERSION: u8 = 0x01;
/// First byte of a snapshot chunk of version 1.
const CHUNK_VERSION: u8 = 0x81;
/// Bytes of the checksum at the end of entries and chunks.
const CHECKSUM_BYTES: usize = 8;
/// A chunk is closed when it has so many bytes: small enough that an append waits only a few milliseconds for a chunk being written.
pub const SNAPSHOT_CHUNK_BYTES: usize = 256 * 1024;

const _: () = assert!(SNAPSHOT_CHUNK_BYTES <= SNAPSHOT_CHUNK_BYTES_MAX);

/// One entry: what a batch decided, and when.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The history.
    pub lineage: Lineage,
    /// The epoch that wrote it.
    pub epoch: Epoch,
    /// Its number.
    pub index: Index,
    /// The two times of the batch.
    pub moment: Moment,
    /// The facts.
    pub events: Vec<Event>,
}

/// What stands at the beginning of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryHead {
    /// The history.
    pub lineage: Lineage,
    /// The epoch that wrote it.
    pub epoch: Epoch,
    /// Its number.
    pub index: Index,
    /// The two times of the batch.
    pub moment: Moment,
}

/// One chunk of a snapshot, read back.
#[derive(Clone, Debug, PartialEq)]
pub struct Chunk {
    /// The last entry that the snapshot holds.
    pub index: Index,
    /// Which chunk, from 0.
    pub number: u32,
    /// Its records.
    pub records: Vec<StateRecord>,
}

/// The bytes of an entry, with a checksum at the end.
#[must_use]
pub fn encode_entry(entry: &Entry) -> Vec<u8> {
    let Entry { lineage, epoch, index, moment, events } = entry;
    let mut bytes = Vec::with_capacity(64 + 256 * events.len());
    bytes.push(ENTRY_VERSION);
    let mut e = Encoder::new(&mut bytes);
    e.array(6)
        .and_then(|e| e.bytes(&lineage.0))
        .and_then(|e| e.u64(epoch.0))
        .and_then(|e| e.u64(index.0))
        .and_then(|e| e.u64(moment.at.0))
        .and_then(|e| e.i64(moment.wall_ms))
        .and_then(|e| e.array(events.len() as u64))
        .and_then(|e| events.iter().try_for_each(|event| e.encode(event::EventRecord::from(event)).map(|_| ())))
        .expect("writing to memory does not fail");
    seal(bytes)
}

/// How many bytes an event takes in an entry, to close an entry before [`crate::ENTRY_BYTES_MAX`]. Walks the event without keeping bytes.
#[must_use]
pub fn event_bytes(event: &Event) -> usize {
    struct Count(usize);
    impl minicbor::encode::Write for Count {
        type Error = std::convert::Infallible;

        fn write_all(&mut self, bytes: &[u8]) -> Result<(), Self::Error> {
            self.0 += bytes.len();
            Ok(())
        }
    }
    let mut e = Encoder::new(Count(0));
    e.encode(event::EventRecord::from(event)).expect("counting does not fail");
    e.into_writer().0
}

/// Reads an entry back; an unknown kind of event, a checksum or an order that is wrong is an error that names the place.
///
/// # Errors
/// A description for the administrator. Bytes from anywhere are safe to give.
pub fn decode_entry(bytes: &[u8]) -> Result<Entry, String> {
    let mut d = Decoder::new(open(bytes, ENTRY_VERSION, "an entry")?);
    let head = entry_head(&mut d)?;
    let EntryHead { lineage, epoch, index, moment } = head;
    let events = list(&mut d, |d, number| {
        let record: event::EventRecord = d.decode().map_err(|error| format!("event {number}: {error}"))?;
        Event::try_from(record).map_err(|error| format!("event {number}: {error}"))
    })?;
    end(&d)?;
    Ok(Entry { lineage, epoch, index, moment, events })
}

/// Reads only the beginning of an entry and verifies no checksum: for a journal that is about to write it.
///
/// # Errors
/// A description, if these are not the bytes of an entry.
pub fn peek_entry(bytes: &[u8]) -> Result<EntryHead, String> {
    match bytes.split_first() {
        Some((&ENTRY_VERSION, body)) => entry_head(&mut Decoder::new(body)),
        _ => Err("these are not the bytes of an entry".to_owned()),
    }
}

/// Whether these bytes are an entry that begins this history: from it on a journal is of another than before.
#[must_use]
pub fn begins_lineage(bytes: &[u8], lineage: Lineage) -> bool {
    let begins = |event: &Event| matches!(event, Event::LineageBegan { lineage: began, .. } if *began == lineage);
    decode_entry(bytes).is_ok_and(|entry| entry.lineage == lineage && entry.events.iter().any(begins))
}

/// Encodes records, the first of which is [`StateRecord::Head`], into chunks of at most [`crate::SNAPSHOT_CHUNK_BYTES_MAX`]. Lazy: each chunk is made when asked for.
pub fn encode_snapshot(records: impl Iterator<Item = StateRecord>) -> impl Iterator<Item = Vec<u8>> {
    let mut records = records.peekable();
    let mut index = Index(0);
    let mut number = 0u64;
    std::iter::from_fn(move || {
        if let Some(StateRecord::Head { index: head, .. }) = records.peek() {
            index = *head;
        }
        records.peek()?;
        let mut body = Vec::with_capacity(SNAPSHOT_CHUNK_BYTES + 4096);
        let mut count = 0u64;
        while body.len() < SNAPSHOT_CHUNK_BYTES {
            let Some(record) = records.next() else { break };
            minicbor::encode(state::SnapshotRecord::from(&record), &mut body).expect("writing to memory does not fail");
            count += 1;
        }
        let mut bytes = Vec::with_capacity(body.len() + 64);
        bytes.push(CHUNK_VERSION);
        Encoder::new(&mut bytes)
            .array(3)
            .and_then(|e| e.u64(index.0))
            .and_then(|e| e.u64(number))
            .and_then(|e| e.array(count))
            .expect("writing to memory does not fail");
        bytes.append(&mut body);
        number += 1;
        Some(seal(bytes))
    })
}

/// Reads one chunk.
///
/// # Errors
/// A description for the administrator. Bytes from anywhere are safe to give.
pub fn decode_snapshot_chunk(bytes: &[u8]) -> Result<Vec<StateRecord>, String> {
    decode_chunk(bytes).map(|chunk| chunk.records)
}

/// Reads one chunk with the place where it belongs.
///
/// # Errors
/// A description for the administrator. Bytes from anywhere are safe to give.
pub fn decode_chunk(bytes: &[u8]) -> Result<Chunk, String> {
    let mut d = Decoder::new(open(bytes, CHUNK_VERSION, "a snapshot chunk")?);
    let plain = |error: minicbor::decode::Error| error.to_string();
    if d.array().map_err(plain)? != Some(3) {
        return Err("a chunk has three parts".to_owned());
    }
    let index = Index(d.u64().map_err(plain)?);
    let number = d.u32().map_err(plain)?;
    let records = list(&mut d, |d, number| {
        let record: state::SnapshotRecord = d.decode().map_err(|error| format!("record {number}: {error}"))?;
        StateRecord::try_from(record).map_err(|error| format!("record {number}: {error}"))
    })?;
    end(&d)?;
    Ok(Chunk { index, number, records })
}

/// The words that an entry or a chunk of a snapshot names as needed and this version does not know. They stand before any record that it cannot read, so
/// they are found although the rest is not.
#[must_use]
pub fn missing_words(bytes: &[u8]) -> Vec<String> {
    let known = |text: &&String| Word::new(text).is_ok_and(|word| Vocabulary::OURS.knows(&word));
    let missing = |texts: Vec<String>| texts.into_iter().filter(|text| !known(&text)).collect::<Vec<_>>();
    let read = || -> Option<Vec<String>> {
        if let Ok(body) = open(bytes, ENTRY_VERSION, "an entry") {
            let mut d = Decoder::new(body);
            entry_head(&mut d).ok()?;
            for _ in 0..d.array().ok()?? {
                if let event::EventRecord::FormatRaised { words } = d.decode().ok()? {
                    let missing = missing(words);
                    if !missing.is_empty() {
                        return Some(missing);
                    }
                }
            }
            return None;
        }
        let mut d = Decoder::new(open(bytes, CHUNK_VERSION, "a snapshot chunk").ok()?);
        d.array().ok()??;
        d.u64().ok()?;
        d.u32().ok()?;
        for _ in 0..d.array().ok()?? {
            if let state::SnapshotRecord::Format { words } = d.decode().ok()? {
                return Some(missing(words));
            }
        }
        None
    };
    read().unwrap_or_default()
}

fn seal(mut bytes: Vec<u8>) -> Vec<u8> {
    let digest = triquest_license::sha256(&bytes);
    bytes.extend_from_slice(&digest[..CHECKSUM_BYTES]);
    bytes
}

/// The body, after version and checksum are found right.
fn open<'a>(bytes: &'a [u8], version: u8, what: &str) -> Result<&'a [u8], String> {
    let (sealed, checksum) = bytes
        .len()
        .checked_sub(CHECKSUM_BYTES)
        .and_then(|at| bytes.split_at_checked(at))
        .ok_or_else(|| format!("{} bytes are too few for {what}", bytes.len()))?;
    if triquest_license::sha256(sealed)[..CHECKSUM_BYTES] != *checksum {
        return Err("the checksum is wrong: these are not the bytes that were written".to_owned());
    }
    match sealed.split_first() {
        Some((&found, body)) if found == version => Ok(body),
        Some((found, _)) => Err(format!("version {found:#04x} of {what} is unknown; a newer version of triquest-lm may have written it")),
        None => Err(format!("nothing where {what} should be")),
    }
}

fn entry_head(d: &mut Decoder<'_>) -> Result<EntryHead, String> {
    let plain = |error: minicbor::decode::Error| error.to_string();
    if d.array().map_err(plain)? != Some(6) {
        return Err("an entry has six parts".to_owned());
    }
    let lineage = d.bytes().map_err(plain)?.try_into().map_err(|_| "a lineage has 16 bytes".to_owned())?;
    let epoch = d.u64().map_err(plain)?;
    let index = d.u64().map_err(plain)?;
    let at = d.u64().map_err(plain)?;
    let wall_ms = d.i64().map_err(plain)?;
    Ok(EntryHead { lineage: Lineage(lineage), epoch: Epoch(epoch), index: Index(index), moment: Moment { at: Timestamp(at), wall_ms } })
}

/// Reads a list of known length; memory grows with what is really there, not with what the length claims.
fn list<'b, T>(d: &mut Decoder<'b>, mut item: impl FnMut(&mut Decoder<'b>, u64) -> Result<T, String>) -> Result<Vec<T>, String> {
    let count = d.array().map_err(|error| error.to_string())?.ok_or("a list without its length")?;
    let left = d.input().len().saturating_sub(d.position());
    let mut items = Vec::with_capacity(usize::try_from(count).unwrap_or(usize::MAX).min(left / 32));
    for number in 0..count {
        items.push(item(d, number)?);
    }
    Ok(items)
}

fn end(d: &Decoder<'_>) -> Result<(), String> {
    match d.input().len().saturating_sub(d.position()) {
        0 => Ok(()),
        left => Err(format!("{left} bytes after the end")),
    }
}
