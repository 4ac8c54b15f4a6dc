//! Sets of verifier keys: what a client's application embeds, and what has signed a license.

use std::sync::Arc;

/// Verifier keys of vendors, each once, in the order of their bytes.
///
/// A vendor may have several, and more when two vendors turn out to be one. Whoever embeds some of them can verify what one of these has signed, and
/// nothing else.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifierKeys(Arc<[[u8; 32]]>);

impl VerifierKeys {
    /// These keys, in any order.
    #[must_use]
    pub fn of(keys: &[[u8; 32]]) -> Self {
        if keys.is_sorted_by(|one, next| one < next) {
            return Self(keys.into());
        }
        let mut keys = keys.to_vec();
        keys.sort_unstable();
        keys.dedup();
        Self(keys.into())
    }

    /// All of them, ascending.
    #[must_use]
    pub fn as_slice(&self) -> &[[u8; 32]] {
        &self.0
    }

    /// Whether one of these is among those: whether who embeds these can verify what those have signed. One comparison where both are one key.
    #[must_use]
    pub fn shares(&self, others: &Self) -> bool {
        self.0.iter().any(|key| others.0.contains(key))
    }
}
