//! How strictly members are read.

use std::{fmt, marker::PhantomData};

use serde::{Deserialize, Deserializer, de};

/// An optional member that is there has a value: `null` is none.
pub(crate) fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// A list of at most `MOST`, of which no more are read: whoever sends more makes its reader keep no more.
pub(crate) fn at_most<'de, const MOST: usize, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    struct Visitor<const MOST: usize, T>(PhantomData<T>);

    impl<'de, const MOST: usize, T: Deserialize<'de>> de::Visitor<'de> for Visitor<MOST, T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "a list of at most {MOST}")
        }

        fn visit_seq<A: de::SeqAccess<'de>>(self, mut list: A) -> Result<Vec<T>, A::Error> {
            let mut read = Vec::new();
            while read.len() < MOST {
                match list.next_element()? {
                    Some(one) => read.push(one),
                    None => return Ok(read),
                }
            }
            match list.next_element::<de::IgnoredAny>()? {
                Some(_) => Err(de::Error::invalid_length(MOST + 1, &self)),
                None => Ok(read),
            }
        }
    }

    deserializer.deserialize_seq(Visitor::<MOST, T>(PhantomData))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct Few {
        #[serde(deserialize_with = "at_most::<2, _, _>")]
        list: Vec<String>,
    }

    #[test]
    fn of_a_list_that_is_too_long_no_more_is_read_than_it_may_have() {
        let read = |text: &str| serde_json::from_str::<Few>(text).map(|few| few.list.len()).map_err(|cause| cause.to_string());
        assert_eq!((read(r#"{"list":[]}"#), read(r#"{"list":["a","b"]}"#)), (Ok(0), Ok(2)));
        // What follows the third is not looked at: it is no JSON.
        assert!(read(r#"{"list":["a","b","c" what follows"#).is_err_and(|why| why.contains("a list of at most 2")));
    }
}
