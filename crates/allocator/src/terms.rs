//! What a license says, as the fact of its installation keeps it: parsed once, so that no later version needs this one's parser.

use triquest_license::{FeatureName, LicenseId, LicenseTerms, Version, Vocabulary, Word, Words};

/// What the server understands of a license, and what it leaves out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstalledTerms {
    /// The vendor's id of it.
    pub license: LicenseId,
    /// The vendor's name.
    pub vendor: String,
    /// The keys of this vendor that have signed it: a client that embeds none of them cannot verify it.
    pub keys: Vec<[u8; 32]>,
    /// For whom.
    pub licensee: String,
    /// When it was issued, unix milliseconds.
    pub issued_ms: i64,
    /// Licenses of the same vendor that it takes the place of.
    pub replaces: Vec<LicenseId>,
    /// The rights that are understood, in the order of the text.
    pub entitlements: Vec<InstalledEntitlement>,
    /// The rights that need words which the server does not know, in the order of the text.
    pub left_out: Vec<InstalledLeftOut>,
}

/// One right of an installed license.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstalledEntitlement {
    /// Its position in the text, from 0.
    pub position: u16,
    /// What is counted.
    pub feature: FeatureName,
    /// The newest version that it covers; none: all.
    pub version: Option<Version>,
    /// How many.
    pub seats: u32,
    /// First instant, unix milliseconds.
    pub starts: Option<i64>,
    /// First day as the text writes it.
    pub starts_written: Option<String>,
    /// The instant at which it has ended, unix milliseconds.
    pub expires: Option<i64>,
    /// Last day as the text writes it.
    pub expires_written: Option<String>,
    /// Time to live that the vendor wants, milliseconds.
    pub ttl_ms: Option<u64>,
    /// Longest time to live that clients accept, milliseconds.
    pub ttl_max_ms: u64,
    /// How long a seat stays taken after its release, milliseconds.
    pub linger_ms: u64,
    /// How long an application may run on while no server answers, milliseconds.
    pub grace_ms: u64,
    /// Whether the end of a presence connection may free seats.
    pub presence: bool,
    /// The vendor's own data.
    pub vendor_data: Option<String>,
    /// The words that an application must have accepted for a seat of it.
    pub needs: Words,
}

/// A right that was left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstalledLeftOut {
    /// Its position in the text, from 0.
    pub position: u16,
    /// What it counts, if that can be read.
    pub feature: Option<FeatureName>,
    /// The words that the server would have to know.
    pub unknown: Vec<Word>,
}

impl InstalledTerms {
    /// What a fact keeps of what was read.
    #[must_use]
    pub fn of(terms: &LicenseTerms) -> Self {
        let written = |written: Option<triquest_license::Written>| written.map(|written| written.to_string());
        let names_no_key = |word: &Word| {
            let alone = Words::new([word.clone()]).unwrap_or_default();
            Vocabulary::OURS.knows(word) && Vocabulary::OURS.needable(&alone).is_empty()
        };
        let entitlement = |right: &triquest_license::Entitlement| InstalledEntitlement {
            position: right.position,
            feature: right.feature.clone(),
            version: right.version,
            seats: right.seats,
            starts: right.starts.map(|instant| instant.0),
            starts_written: written(terms.starts_of(right)),
            expires: right.expires.map(|instant| instant.0),
            expires_written: written(right.expires_written),
            ttl_ms: right.ttl.map(triquest_license::Span::ms),
            ttl_max_ms: right.ttl_max.ms(),
            linger_ms: right.linger.map_or(0, triquest_license::Span::ms).min(u32::MAX.into()),
            grace_ms: right.grace.ms(),
            presence: right.presence,
            vendor_data: right.vendor_data.clone(),
            // A word that names no key, as that of the first version, is known to every client and accepted by none. A license names so few words
            // that they always fit a list.
            needs: Words::new(terms.needed_by_applications(right).filter(|word| !names_no_key(word)).cloned()).unwrap_or_default(),
        };
        let left_out = |out: &triquest_license::LeftOut| InstalledLeftOut {
            position: out.position,
            feature: out.feature.clone(),
            unknown: out.unknown.clone(),
        };
        Self {
            license: terms.license.clone(),
            vendor: terms.vendor.as_str().to_owned(),
            keys: terms.verifier.public_keys().map(|key| *key.as_bytes()).collect(),
            licensee: terms.licensee.clone(),
            issued_ms: terms.issued.begins().0,
            replaces: terms.replaces.clone(),
            entitlements: terms.entitlements.iter().map(entitlement).collect(),
            left_out: terms.left_out.iter().map(left_out).collect(),
        }
    }

    /// How many entitlements the text has, understood or not.
    #[must_use]
    pub fn entitlements_in_text(&self) -> usize {
        self.entitlements.len() + self.left_out.len()
    }

    /// The entitlement at this position of the text, if it is understood.
    #[must_use]
    pub fn entitlement(&self, position: u16) -> Option<&InstalledEntitlement> {
        self.entitlements.iter().find(|entitlement| entitlement.position == position)
    }

    /// Bytes that it may take in an entry, estimated from above.
    pub(crate) fn weight(&self) -> usize {
        128 + self.licensee.len()
            + self.vendor.len()
            + 36 * self.keys.len()
            + 72 * self.replaces.len()
            + self.entitlements.iter().map(InstalledEntitlement::weight).sum::<usize>()
            + self.left_out.iter().map(InstalledLeftOut::weight).sum::<usize>()
    }
}

impl InstalledEntitlement {
    pub(crate) fn weight(&self) -> usize {
        256 + self.vendor_data.as_ref().map_or(0, String::len) + 34 * self.needs.as_slice().len()
    }
}

impl InstalledLeftOut {
    pub(crate) fn weight(&self) -> usize {
        80 + 34 * self.unknown.len()
    }
}
