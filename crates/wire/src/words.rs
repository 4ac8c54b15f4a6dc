//! Lists of words as they stand in JSON, and what a signed payload is asked before it is read.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use triquest_license::{Vocabulary, Word, Words, words::WordError};

/// A list of words: an array of strings, at most 256 with at most 4 KiB together. What no word can be is an error; a word that is not known
/// is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WordList(pub Words);

impl WordList {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// These words and one of grease, chosen by a random byte.
    #[must_use]
    pub fn with_grease(words: &Words, random: u8) -> Self {
        let grease = Word::grease(random);
        // A registry that fills a whole list has no room for grease, and needs none.
        Self(Words::new(words.iter().cloned().chain([grease])).unwrap_or_else(|_| words.clone()))
    }
}

impl Serialize for WordList {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(Word::as_str))
    }
}

impl<'de> Deserialize<'de> for WordList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = WordList;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of words")
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut list: A) -> Result<WordList, A::Error> {
                let mut words = Vec::new();
                while let Some(text) = list.next_element::<std::borrow::Cow<'de, str>>()? {
                    words.push(Word::new(&text).map_err(de::Error::custom)?);
                    if words.len() > triquest_license::limits::WORDS_MAX {
                        return Err(de::Error::custom(WordError::TooMany));
                    }
                }
                Words::new(words).map(WordList).map_err(de::Error::custom)
            }
        }
        deserializer.deserialize_seq(Visitor)
    }
}

/// The words of a signed payload's `uses` that are not in this vocabulary. Asked before the payload is read strictly, so that one of a newer
/// version is refused by the name of what it needs and not for some member. What cannot be read at all uses nothing.
#[must_use]
pub fn unknown_uses(payload: &[u8], words: Vocabulary) -> Vec<Word> {
    #[derive(Deserialize)]
    struct Uses {
        uses: WordList,
    }
    let uses = serde_json::from_slice::<Uses>(payload).map(|payload| payload.uses.0).unwrap_or_default();
    uses.iter().filter(|word| !words.knows(word)).cloned().collect()
}

#[cfg(feature = "openapi")]
impl utoipa::PartialSchema for WordList {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, Type};
        let word = ObjectBuilder::new().schema_type(Type::String).pattern(Some("^[a-z0-9.-]{1,32}$"));
        ArrayBuilder::new().items(word).max_items(Some(triquest_license::limits::WORDS_MAX)).into()
    }
}
#[cfg(feature = "openapi")]
impl utoipa::ToSchema for WordList {}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_list_takes_unknown_words_and_refuses_what_no_word_can_be() {
        let list: WordList = serde_json::from_str(r#"["1.0", "tomorrow", "x-7", "1.0"]"#).unwrap();
        assert_eq!(list.0.to_string(), "1.0, tomorrow, x-7");
        assert_eq!(serde_json::to_string(&list).unwrap(), r#"["1.0","tomorrow","x-7"]"#);
        for bad in [r#"["A"]"#, r#"[""]"#, r#"[1]"#, r#""a""#, "null"] {
            assert!(serde_json::from_str::<WordList>(bad).is_err(), "{bad}");
        }
        let many: Vec<String> = (0..300).map(|number| number.to_string()).collect();
        assert!(serde_json::from_value::<WordList>(serde_json::json!(many)).is_err());
        let endless = vec!["a"; 100_000];
        assert!(serde_json::from_value::<WordList>(serde_json::json!(endless)).is_err());
    }

    #[test]
    fn a_payload_is_asked_for_its_words_before_it_is_read() {
        let unknown = |payload: &str| unknown_uses(payload.as_bytes(), Vocabulary::OURS);
        assert_eq!(unknown(r#"{"uses": ["1.0", "tokens"], "tokens": 3}"#), [Word::new("tokens").unwrap()]);
        assert!(unknown(r#"{"uses": ["1.0"]}"#).is_empty());
        assert!(unknown(r#"{"lease": 1}"#).is_empty() && unknown("no json").is_empty());
    }
}
