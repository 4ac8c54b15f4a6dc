//! Why a file is no registry.

use super::entry::Date;

/// Why bytes are not taken as a registry. Quotes of the file in it are short and escaped.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    /// The CSV is not as IANA writes it.
    #[error("line {line} of the CSV file: {reason}")]
    Csv {
        /// Counted from 1.
        line: usize,
        /// What is wrong there.
        reason: String,
    },
    /// A stored table was not written by this program, or changed since.
    #[error("the stored table is damaged: {reason}")]
    Damaged {
        /// What is wrong.
        reason: String,
    },
    /// Far fewer records than before: another file, or a part of one.
    #[error("the file has {found} records, less than half of the {known} known ones: it is not IANA's whole registry")]
    Few {
        /// In the file.
        found: usize,
        /// In the registry in use.
        known: usize,
    },
    /// The gzip file ends early, or is damaged.
    #[error("the file is not a whole gzip file")]
    Gzip,
    /// Over a limit of this program.
    #[error("{what}: more than the limit of {max}")]
    Large {
        /// What is too large, with its unit.
        what: &'static str,
        /// The limit.
        max: usize,
    },
    /// The registry in use, or the one built in, is newer.
    #[error("the file is of {updated}, older than the {known} that this program has already")]
    Older {
        /// Of the file.
        updated: Date,
        /// Of the newer one.
        known: Date,
    },
    /// Neither XML nor CSV.
    #[error("the file is neither the XML nor the CSV of IANA's Service Name and Transport Protocol Port Number Registry")]
    Unknown,
    /// The XML is not as IANA writes it.
    #[error("line {line} of the XML file: {reason}")]
    Xml {
        /// Counted from 1.
        line: usize,
        /// What is wrong there.
        reason: String,
    },
}
