//! How strictly members of requests are read.

use serde::{Deserialize, Deserializer};

/// An optional member that is there has a value: `null` is none.
pub(crate) fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}
