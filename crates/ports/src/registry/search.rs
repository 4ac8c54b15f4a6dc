//! Text search over names, descriptions and registrants.

use serde::Serialize;

use super::entry::Entry;
use super::limits::{QUERY_BYTES_MAX, SEARCH_HITS_MAX};
use super::table::Registry;

/// What a search found.
#[derive(Clone, Debug, Serialize)]
pub struct Found<'a> {
    /// How many rows there are.
    pub total: usize,
    /// The best of them.
    pub hits: Vec<Hit<'a>>,
}

/// A row that was found.
#[derive(Clone, Debug, Serialize)]
pub struct Hit<'a> {
    /// Why it was found.
    pub matched: Matched,
    /// The row.
    #[serde(flatten)]
    pub entry: Entry<'a>,
}

/// How well a row fits, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Matched {
    /// The service name is what was asked for.
    Name,
    /// The service name begins with it.
    Prefix,
    /// Every word begins a word of the name, the description or a registrant.
    Words,
}

impl Registry {
    /// The rows in which all words of `query` occur, the best first, then by port; at most `limit` and never more than [`SEARCH_HITS_MAX`].
    /// What lies beyond the first 256 bytes of the query is not looked at.
    pub fn search(&self, query: &str, limit: usize) -> Found<'_> {
        let end = query.floor_char_boundary(QUERY_BYTES_MAX);
        let query = query[..end].trim().to_lowercase();
        let words: Vec<&str> = query.split_whitespace().collect();
        if words.is_empty() {
            return Found { total: 0, hits: Vec::new() };
        }
        let matched = |entry: &Entry<'_>| {
            let name = entry.name.unwrap_or_default().to_lowercase();
            if name == query {
                return Some(Matched::Name);
            }
            if name.starts_with(&query) {
                return Some(Matched::Prefix);
            }
            let text = format!("{name}\n{}\n{}", entry.description, entry.registrants.join("\n")).to_lowercase();
            words.iter().all(|word| begins_a_word(&text, word)).then_some(Matched::Words)
        };
        let mut hits: Vec<Hit<'_>> = self.entries().filter_map(|entry| matched(&entry).map(|matched| Hit { matched, entry })).collect();
        // The rows are in the order of their ports, and a stable sort keeps that.
        hits.sort_by_key(|hit| hit.matched);
        let total = hits.len();
        hits.truncate(limit.min(SEARCH_HITS_MAX));
        Found { total, hits }
    }
}

/// Whether `word` stands in `text` where no letter or digit goes before it.
fn begins_a_word(text: &str, word: &str) -> bool {
    text.match_indices(word).any(|(place, _)| !text[..place].chars().next_back().is_some_and(char::is_alphanumeric))
}
