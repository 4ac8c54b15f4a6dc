//! Signed license files and keys: parse, verify, sign, co-sign.
//!
//! A license file is a [signed note](https://c2sp.org/signed-note): readable text, an empty line, and one
//! line for each signature. The text is a small subset of TOML. Everything here is pure: time and
//! randomness are arguments, nothing is read, written or logged.
//!
//! The road from bytes to a right that may be counted has one door:
//! [`read_any`] makes a [`Note`] (shape only, nothing verified), and [`VerifiedLicense::verify`] or
//! [`VerifiedLicense::verify_named`] is the only way from there to something that can be trusted.

mod civil;
pub mod draft;
mod error;
mod hash;
mod key;
pub mod limits;
pub mod merkle;
mod names;
mod note;
pub mod request;
mod span;
pub mod statement;
mod terms;
mod text;
mod toml;
mod verified;
mod verifier;
mod version;
pub mod words;

pub use civil::{CivilDate, CivilDateTime, CivilMs, DateError, Written};
pub use error::LicenseError;
pub use hash::{HashError, LicenseHash, sha256};
pub use key::{KeyError, PublicKey, ServerKey, SignatureError, SigningKey};
pub use names::{FeatureName, LicenseId, NameError, VendorName};
pub use note::{Note, NoteError, NoteSignature, read_any};
pub use span::{Span, SpanError};
pub use terms::{Entitlement, LeftOut, LicenseTerms, More, Servers, nearest};
pub use text::TextError;
pub use verified::VerifiedLicense;
pub use verifier::{Signer, VerifierKey, VerifierKeyError, VerifierKeys};
pub use version::{Version, VersionError};
pub use words::{Need, Reader, Role, Vocabulary, Word, WordError, Words};
