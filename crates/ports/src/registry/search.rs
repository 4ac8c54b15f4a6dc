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
        let index = self.index();
        let matched = |number: u32| {
            let (name, text) = index.row(number);
            if name == query {
                return Some(Matched::Name);
            }
            if name.starts_with(&query) {
                return Some(Matched::Prefix);
            }
            words.iter().all(|word| begins_a_word(text, word)).then_some(Matched::Words)
        };
        let mut rows = index.candidates(&query, &words);
        rows.sort_unstable();
        rows.dedup();
        let found = rows.into_iter().filter_map(|number| matched(number).map(|matched| (matched, number)));
        let mut hits: Vec<Hit<'_>> =
            found.filter_map(|(matched, number)| self.nth(number as usize).map(|entry| Hit { matched, entry })).collect();
        // The rows are in the order of their ports, and a stable sort keeps that.
        hits.sort_by_key(|hit| hit.matched);
        let total = hits.len();
        hits.truncate(limit.min(SEARCH_HITS_MAX));
        Found { total, hits }
    }
}

/// What is searched, in small letters, and which rows have which words. Made at the first search.
#[derive(Debug)]
pub(super) struct Index {
    /// `name`, a line end, description and registrants of each row; and where the name ends.
    rows: Vec<(Box<str>, u32)>,
    /// Each word of a row, from where a letter or digit goes before nothing of its kind, in order; and the row.
    words: Vec<(Box<str>, u32)>,
}

impl Index {
    pub(super) fn of<'a>(entries: impl Iterator<Item = Entry<'a>>) -> Self {
        let (mut rows, mut words) = (Vec::new(), Vec::new());
        for (number, entry) in (0u32..).zip(entries) {
            let name = entry.name.unwrap_or_default().to_lowercase();
            let text = format!("{name}\n{}\n{}", entry.description, entry.registrants.join("\n")).to_lowercase();
            words.extend(runs(&text).map(|word| (Box::from(word), number)));
            rows.push((text.into_boxed_str(), u32::try_from(name.len()).unwrap_or(0)));
        }
        words.sort_unstable();
        words.dedup();
        Self { rows, words }
    }

    fn row(&self, number: u32) -> (&str, &str) {
        let Some((text, end)) = self.rows.get(number as usize) else { return ("", "") };
        (text.get(..*end as usize).unwrap_or_default(), text)
    }

    /// Rows that may fit; all that do are among them. Those of the word that the fewest rows have, and those whose name begins with the query.
    fn candidates(&self, query: &str, words: &[&str]) -> Vec<u32> {
        let of = |word: &str| {
            let start = self.words.partition_point(|(known, _)| **known < *word);
            let end = start + self.words[start..].partition_point(|(known, _)| known.starts_with(word));
            &self.words[start..end]
        };
        // A word that begins with another sign stands nowhere in the index, and neither does what follows one in it.
        let known = |word: &&str| word.chars().next().is_some_and(char::is_alphanumeric);
        let fewest = words.iter().copied().filter(known).filter_map(|word| runs(word).next()).map(of).min_by_key(|found| found.len());
        let Some(fewest) = fewest else { return (0..self.rows.len() as u32).collect() };
        let names = runs(query).next().filter(|_| known(&query)).map(of).unwrap_or_default();
        fewest.iter().chain(names).map(|(_, number)| *number).collect()
    }
}

/// The runs of letters and digits in a text.
fn runs(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|run| !run.is_empty())
}

/// Whether `word` stands in `text` where no letter or digit goes before it.
fn begins_a_word(text: &str, word: &str) -> bool {
    text.match_indices(word).any(|(place, _)| !text[..place].chars().next_back().is_some_and(char::is_alphanumeric))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Looks at every row, as the rule is written.
    fn plainly(registry: &Registry, query: &str) -> Vec<(Matched, String)> {
        let query = query.trim().to_lowercase();
        let words: Vec<&str> = query.split_whitespace().collect();
        let matched = |entry: &Entry<'_>| {
            let name = entry.name.unwrap_or_default().to_lowercase();
            let text = format!("{name}\n{}\n{}", entry.description, entry.registrants.join("\n")).to_lowercase();
            let by_words = words.iter().all(|word| begins_a_word(&text, word));
            (name == query)
                .then_some(Matched::Name)
                .or(name.starts_with(&query).then_some(Matched::Prefix))
                .or(by_words.then_some(Matched::Words))
        };
        let mut hits: Vec<_> =
            registry.entries().filter_map(|entry| matched(&entry).map(|matched| (matched, format!("{entry:?}")))).collect();
        hits.sort_by_key(|hit| hit.0);
        hits
    }

    #[test]
    fn the_index_finds_what_a_look_at_every_row_finds() {
        let registry = Registry::embedded();
        for query in [
            "ssh",
            "license manager",
            "s",
            "X-Window",
            "(tcp",
            "ibm-",
            "-",
            "http alt",
            "s.a.",
            "3com",
            "no such thing",
            "é",
            "a b",
            "tcp/ip",
        ] {
            let found = registry.search(query, usize::MAX);
            let plain = plainly(registry, query);
            assert_eq!(found.total, plain.len(), "{query}");
            let shown: Vec<_> = found.hits.iter().map(|hit| (hit.matched, format!("{:?}", hit.entry))).collect();
            assert_eq!(shown, plain[..shown.len()], "{query}");
        }
    }
}
