use crate::error::LicenseError;
use crate::hash::LicenseHash;
use crate::key::{PublicKey, ServerKey};
use crate::note::Note;
use crate::terms::LicenseTerms;
use crate::verifier::VerifierKey;
use crate::words::{Reader, Role, Vocabulary};

/// A license whose signatures were verified and whose text was read: the only door to a right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedLicense {
    note: Note,
    terms: LicenseTerms,
    hash: LicenseHash,
    vendor_keys: Vec<PublicKey>,
}

impl VerifiedLicense {
    /// As an application does: with the keys that its vendor embedded, which count as one vendor. At least one of them
    /// must have signed, and none may have a line that does not verify, or two lines.
    ///
    /// # Errors
    /// [`LicenseError`], by reason.
    pub fn verify(note: &Note, keys: &[VerifierKey]) -> Result<Self, LicenseError> {
        Self::verify_knowing(note, keys, Vocabulary::OURS)
    }

    /// The same by an application that knows these words.
    ///
    /// # Errors
    /// [`LicenseError`], by reason.
    pub fn verify_knowing(note: &Note, keys: &[VerifierKey], words: Vocabulary) -> Result<Self, LicenseError> {
        let mut vendor_keys = Vec::new();
        let mut signers = Vec::new();
        for key in keys.iter().filter(|key| note.bears(key)) {
            note.verify(key)?;
            vendor_keys.push(*key.public());
            signers.push(key);
        }
        if signers.is_empty() {
            return Err(LicenseError::NotByVendor {
                keys: keys.to_vec(),
                found: note.signatures().iter().map(|line| format!("{}+{:08x}", line.name(), line.id())).collect(),
            });
        }
        let terms = LicenseTerms::parse_as(note.text(), Reader { role: Role::Application, words })?;
        Self::new(note, terms, vendor_keys, signers.into_iter())
    }

    /// As a server does: every key that the text itself names must have signed.
    ///
    /// # Errors
    /// [`LicenseError`], by reason.
    pub fn verify_named(note: &Note) -> Result<Self, LicenseError> {
        Self::verify_named_knowing(note, Vocabulary::OURS)
    }

    /// The same by a server that knows these words.
    ///
    /// # Errors
    /// [`LicenseError`], by reason.
    pub fn verify_named_knowing(note: &Note, words: Vocabulary) -> Result<Self, LicenseError> {
        // Parsed before it is verified, because the text says who must have signed; nothing of it is used before that.
        let terms = LicenseTerms::parse_as(note.text(), Reader { role: Role::Server, words })?;
        for key in terms.verifier.iter() {
            note.verify(key)?;
        }
        let signers = terms.verifier.clone();
        Self::new(note, terms, signers.public_keys().copied().collect(), signers.iter())
    }

    fn new<'a>(
        note: &Note,
        terms: LicenseTerms,
        vendor_keys: Vec<PublicKey>,
        mut signers: impl Iterator<Item = &'a VerifierKey>,
    ) -> Result<Self, LicenseError> {
        if let Some(stranger) = signers.find(|key| *key.name() != terms.vendor) {
            return Err(LicenseError::VendorName {
                vendor: terms.vendor.to_string(),
                key: format!("{}+{:08x}", stranger.name(), stranger.id()),
            });
        }
        Ok(Self { note: note.clone(), terms, hash: LicenseHash::of_text(note.text()), vendor_keys })
    }

    /// What it says.
    #[must_use]
    pub const fn terms(&self) -> &LicenseTerms {
        &self.terms
    }

    /// What it is known by.
    #[must_use]
    pub const fn hash(&self) -> LicenseHash {
        self.hash
    }

    /// The vendor's keys that were verified on it, never none: the vendor's identity.
    #[must_use]
    pub fn vendor_keys(&self) -> &[PublicKey] {
        &self.vendor_keys
    }

    /// The note it came from.
    #[must_use]
    pub const fn note(&self) -> &Note {
        &self.note
    }

    /// Whether this server may serve it. True for every server if `servers = "any"`: a client that did not opt in
    /// to that asks `terms().servers.is_any()` first.
    #[must_use]
    pub fn serves(&self, server: &ServerKey) -> bool {
        self.terms.servers.include(server)
    }
}
