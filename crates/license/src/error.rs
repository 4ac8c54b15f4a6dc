use crate::note::NoteError;
use crate::text::TextError;
use crate::verifier::VerifierKey;

/// Why a license is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LicenseError {
    /// The note or a signature.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// The text.
    #[error("{0}")]
    Text(#[from] TextError),
    /// None of the given keys signed.
    #[error("this license is not signed by any of the verifier keys of this vendor")]
    NotByVendor {
        /// The keys that were looked for.
        keys: Vec<VerifierKey>,
        /// Name and id on each signature line; they prove nothing.
        found: Vec<String>,
    },
    /// The one-line form is damaged.
    #[error("a license on one line is `tql1.` and base64url: {problem}")]
    Line {
        /// What is wrong.
        problem: String,
    },
    /// The input is no license at all.
    #[error("this is no license: {problem}")]
    NotALicense {
        /// What it is instead.
        problem: String,
    },
    /// The vendor's name in the text is not the name of the key.
    #[error("the text says vendor {vendor}, but the key is of {key}")]
    VendorName {
        /// As the text says.
        vendor: String,
        /// As the key says.
        key: String,
    },
}

impl LicenseError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Note(error) => error.hint(),
            Self::Text(error) => error.hint.clone(),
            Self::NotByVendor { keys, found } => Some(format!(
                "it claims to be signed by {}; looked for {}",
                found.join(", "),
                keys.iter().map(|key| format!("{}+{:08x}", key.name(), key.id())).collect::<Vec<_>>().join(", "),
            )),
            Self::Line { .. } => Some("copy the whole line again, from `tql1.` to its end".into()),
            Self::NotALicense { .. } => Some("give a license file, or a license on one line, which begins with `tql1.`".into()),
            Self::VendorName { .. } => Some("only the vendor can put this right, by signing it again".into()),
        }
    }
}
