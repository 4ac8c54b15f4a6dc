//! Words: the names of what was added after version 1.
//!
//! A word names one addition to licenses, requests or signed payloads. It stands in the registry below with since when it is there, whom it
//! binds and what it includes; it is never used again for anything else. A program that meets a word tells by it whether it understands what
//! comes with it, without knowing any of the grammar behind it. `docs/protocol.md` says where words stand and what each reader does.

use std::fmt;
use std::str::FromStr;

use crate::limits::{WORD_BYTES_MAX, WORDS_BYTES_MAX, WORDS_MAX};

/// What begins a word in the `needs` of a license that binds servers only.
const SERVER_PREFIX: &str = "server.";
/// What begins a word that means nothing and that everybody must put up with.
const GREASE_PREFIX: &str = "x-";

/// The name of an addition: 1 to 32 of `a-z`, `0-9`, `.` and `-`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Word(Box<str>);

/// Text that is no word, or a list of words that is too long.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WordError {
    /// Empty, too long, or with another character.
    #[error("`{found}` is no word: 1 to {} of a-z, 0-9, `.` and `-`", WORD_BYTES_MAX)]
    Form {
        /// What was found, shortened.
        found: String,
    },
    /// Too many words, or too many bytes of them.
    #[error("more than {} words or {} bytes of words", WORDS_MAX, WORDS_BYTES_MAX)]
    TooMany,
}

impl Word {
    /// Checks and takes a word.
    ///
    /// # Errors
    /// [`WordError::Form`].
    pub fn new(text: &str) -> Result<Self, WordError> {
        let good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-');
        if text.is_empty() || text.len() > WORD_BYTES_MAX || !text.bytes().all(good) {
            return Err(WordError::Form { found: text.chars().take(WORD_BYTES_MAX).collect() });
        }
        Ok(Self(text.into()))
    }

    /// The word under which a key of a license is named: the key itself, with `-` for `_`, since words have no underscore.
    #[must_use]
    pub fn of_key(key: &str) -> Option<Self> {
        Self::new(&key.replace('_', "-")).ok()
    }

    /// A word that means nothing. Each start of a client or server sends one, so that a reader that cannot bear unknown words is found while
    /// there are none yet. There are sixteen, chosen by a random byte: too few to know a program again by.
    #[must_use]
    pub fn grease(random: u8) -> Self {
        Self(format!("{GREASE_PREFIX}{:x}", random & 0x0f).into())
    }

    /// Whether it means nothing (`x-...`).
    #[must_use]
    pub fn is_grease(&self) -> bool {
        self.0.starts_with(GREASE_PREFIX)
    }

    /// The word.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for Word {
    type Err = WordError;

    fn from_str(text: &str) -> Result<Self, WordError> {
        Self::new(text)
    }
}

/// A list of words, in order, none twice; at most 256 with at most 4 KiB together.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Words(Vec<Word>);

impl Words {
    /// Takes words; a repeated one counts once.
    ///
    /// # Errors
    /// [`WordError::TooMany`].
    pub fn new(words: impl IntoIterator<Item = Word>) -> Result<Self, WordError> {
        let mut list = Self::default();
        let mut bytes = 0;
        for word in words {
            if list.contains(&word) {
                continue;
            }
            bytes += word.0.len();
            if list.0.len() == WORDS_MAX || bytes > WORDS_BYTES_MAX {
                return Err(WordError::TooMany);
            }
            list.0.push(word);
        }
        Ok(list)
    }

    /// Reads texts.
    ///
    /// # Errors
    /// [`WordError`], by reason.
    pub fn parse<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Self, WordError> {
        let mut words = Vec::new();
        for text in texts {
            if words.len() > WORDS_MAX {
                return Err(WordError::TooMany);
            }
            words.push(Word::new(text)?);
        }
        Self::new(words)
    }

    /// Whether it is among them.
    #[must_use]
    pub fn contains(&self, word: &Word) -> bool {
        self.0.contains(word)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The words, in order.
    #[must_use]
    pub fn as_slice(&self) -> &[Word] {
        &self.0
    }

    /// The words, in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Word> {
        self.0.iter()
    }
}

impl<'a> IntoIterator for &'a Words {
    type Item = &'a Word;
    type IntoIter = std::slice::Iter<'a, Word>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.iter().enumerate().try_for_each(|(number, word)| write!(f, "{}{word}", if number == 0 { "" } else { ", " }))
    }
}

/// Who has to know a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binds {
    /// Servers and applications.
    Everyone,
    /// Servers only; applications may ignore what it names.
    Servers,
    /// Both ends of the trust exchange; such a word may be sent to a server that has proved nothing.
    Trust,
}

/// One word of the registry.
#[derive(Clone, Copy, Debug)]
pub struct Registered {
    /// The word.
    pub word: &'static str,
    /// The release that brought it.
    pub since: &'static str,
    /// Who has to know it.
    pub binds: Binds,
    /// The words that it stands for as well. A release word includes all before it.
    pub includes: &'static [&'static str],
    /// The key of a license that it names, if it names one.
    pub key: Option<&'static str>,
    /// What it names, for people.
    pub what: &'static str,
}

/// Every word that was ever given out, oldest first. One is never taken away and never gets another meaning.
pub const REGISTRY: &[Registered] = &[Registered {
    word: "1.0",
    since: "1.0",
    binds: Binds::Everyone,
    includes: &[],
    key: None,
    what: "version 1: everything that docs/protocol.md states without naming a word",
}];

/// The words that a program knows.
#[derive(Clone, Copy, Debug)]
pub struct Vocabulary(&'static [Registered]);

impl Vocabulary {
    /// What this version knows.
    pub const OURS: Self = Self(REGISTRY);

    /// Another version's, for tests that play one.
    #[must_use]
    pub const fn of(registry: &'static [Registered]) -> Self {
        Self(registry)
    }

    /// Whether it knows this word.
    #[must_use]
    pub fn knows(self, word: &Word) -> bool {
        self.find(word.as_str()).is_some()
    }

    /// The word's row.
    #[must_use]
    pub fn find(self, word: &str) -> Option<&'static Registered> {
        self.0.iter().find(|known| known.word == word)
    }

    /// The row of the word that names this key of a license.
    #[must_use]
    pub fn of_key(self, key: &str) -> Option<&'static Registered> {
        self.0.iter().find(|known| known.key == Some(key))
    }

    /// Those of these words that it knows, and all that they include. What somebody accepts is kept in this form, so that no list of
    /// made-up words is ever kept.
    #[must_use]
    pub fn known(self, words: &Words) -> Words {
        let mut known: Vec<&'static str> = Vec::new();
        let mut open: Vec<&str> = words.iter().map(Word::as_str).collect();
        while let Some(word) = open.pop() {
            if let Some(row) = self.find(word)
                && !known.contains(&row.word)
            {
                known.push(row.word);
                open.extend(row.includes);
            }
        }
        known.sort_unstable();
        Words(known.into_iter().filter_map(|word| Word::new(word).ok()).collect())
    }

    /// Those of these words, and of what they include, that name a key of a license: what an entitlement may need of an application.
    #[must_use]
    pub fn needable(self, words: &Words) -> Words {
        let names_key = |word: &Word| self.find(word.as_str()).is_some_and(|row| row.key.is_some());
        Words(self.known(words).0.into_iter().filter(names_key).collect())
    }

    /// All of them.
    #[must_use]
    pub fn all(self) -> Words {
        Words(self.0.iter().filter_map(|known| Word::new(known.word).ok()).collect())
    }

    /// Those that may be sent to a server that has proved nothing.
    #[must_use]
    pub fn before_proof(self) -> Words {
        let of_trust = self.0.iter().filter(|known| known.binds == Binds::Trust);
        Words(of_trust.filter_map(|known| Word::new(known.word).ok()).collect())
    }
}

/// Who reads a license.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// An application: what binds servers only is none of its business.
    Application,
    /// A server.
    Server,
}

/// Who reads, and what words it knows.
#[derive(Clone, Copy, Debug)]
pub struct Reader {
    /// In which role.
    pub role: Role,
    /// What it knows.
    pub words: Vocabulary,
}

impl Reader {
    /// A server of this version.
    pub const SERVER: Self = Self { role: Role::Server, words: Vocabulary::OURS };
}

/// One value of `needs`: a word that who reads the license has to know.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Need {
    /// The word.
    pub word: Word,
    /// It binds servers only (`server.WORD`).
    pub servers_only: bool,
}

impl Need {
    /// Whether who reads in this role has to know it.
    #[must_use]
    pub fn binds(&self, role: Role) -> bool {
        !self.servers_only || role == Role::Server
    }

    /// The need that names this row.
    #[must_use]
    pub fn of(row: &Registered) -> Option<Self> {
        Some(Self { word: Word::new(row.word).ok()?, servers_only: row.binds == Binds::Servers })
    }
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.servers_only { SERVER_PREFIX } else { "" }, self.word)
    }
}

impl FromStr for Need {
    type Err = WordError;

    fn from_str(text: &str) -> Result<Self, WordError> {
        let (word, servers_only) = text.strip_prefix(SERVER_PREFIX).map_or((text, false), |word| (word, true));
        let word = Word::new(word)?;
        // Behind a word that nobody has to know, a key could hide that everybody would ignore.
        if word.is_grease() {
            return Err(WordError::Form { found: text.chars().take(WORD_BYTES_MAX).collect() });
        }
        Ok(Self { word, servers_only })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_word_of_the_registry_is_a_word_is_there_once_and_includes_only_older_ones() {
        for (number, row) in REGISTRY.iter().enumerate() {
            let word = Word::new(row.word).unwrap();
            assert!(!word.is_grease() && !row.word.starts_with(SERVER_PREFIX), "{word}");
            let before: Vec<&str> = REGISTRY[..number].iter().map(|other| other.word).collect();
            assert!(!before.contains(&row.word), "{word} is there twice");
            assert!(row.includes.iter().all(|included| before.contains(included)), "{word}");
            let release = row.word.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
            assert!(!release || row.includes == before, "the release word {word} must include all words before it");
            assert!(row.key.is_none_or(|key| Word::of_key(key).as_ref() == Some(&word)), "{word}");
        }
    }

    #[test]
    fn words_have_a_form_and_lists_of_them_have_limits() {
        for good in ["a", "1.4", "token-rate", &"x".repeat(32)] {
            assert!(Word::new(good).is_ok(), "{good}");
        }
        for bad in ["", "A", "a_b", "a b", "ä", &"x".repeat(33)] {
            assert!(Word::new(bad).is_err(), "{bad}");
        }
        let numbered = |count: usize, length: usize| -> Vec<String> { (0..count).map(|number| format!("{number:0length$}")).collect() };
        let parse = |texts: &[String]| Words::parse(texts.iter().map(String::as_str));
        assert_eq!(parse(&numbered(256, 16)).unwrap().as_slice().len(), 256);
        assert_eq!(parse(&numbered(257, 3)), Err(WordError::TooMany));
        assert_eq!(parse(&numbered(256, 17)), Err(WordError::TooMany));
        assert_eq!(Words::parse(["a", "b", "a"]).unwrap().to_string(), "a, b");
    }

    #[test]
    fn a_release_word_stands_for_all_that_it_includes() {
        const ROWS: &[Registered] = &[
            Registered { word: "1.0", since: "1.0", binds: Binds::Everyone, includes: &[], key: None, what: "" },
            Registered { word: "share", since: "1.1", binds: Binds::Everyone, includes: &[], key: Some("share"), what: "" },
            Registered { word: "1.1", since: "1.1", binds: Binds::Everyone, includes: &["1.0", "share"], key: None, what: "" },
        ];
        let known = Vocabulary::of(ROWS).known(&Words::parse(["x-9", "1.1", "tomorrow"]).unwrap());
        assert_eq!(known.to_string(), "1.0, 1.1, share");
        assert_eq!(Vocabulary::of(ROWS).needable(&known).to_string(), "share");
        assert_eq!(Vocabulary::OURS.known(&Words::parse(["x-9", "1.1", "tomorrow"]).unwrap()).to_string(), "");
    }

    #[test]
    fn there_are_sixteen_words_of_grease_and_none_can_be_needed() {
        let all: std::collections::BTreeSet<Word> = (0..=255).map(Word::grease).collect();
        assert_eq!(all.len(), 16);
        assert!(all.iter().all(|word| word.is_grease() && Word::new(word.as_str()).is_ok()));
        assert!("x-3".parse::<Need>().is_err() && "server.x-3".parse::<Need>().is_err());
        assert_eq!("server.share".parse::<Need>().unwrap().to_string(), "server.share");
    }
}
