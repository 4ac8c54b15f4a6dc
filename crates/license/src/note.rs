use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

use crate::error::LicenseError;
use crate::limits::{INPUT_BYTES_MAX, NOTE_BYTES_MAX, SIGNATURE_BYTES_MAX, SIGNATURES_MAX};
use crate::names::VendorName;
use crate::text::{self, Place, TextError};
use crate::verifier::{Signer, VerifierKey};

/// What the one-line form begins with.
const LINE_PREFIX: &str = "tql1.";
/// What a signature line begins with: an em dash and a space.
const SIGNATURE_PREFIX: &str = "\u{2014} ";

/// A signed note: a text and its signature lines. Its shape is checked, its signatures are not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    text: String,
    signatures: Vec<NoteSignature>,
}

/// One signature line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoteSignature {
    name: String,
    id: u32,
    bytes: Vec<u8>,
}

/// What is wrong with a note, or with a signature on it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoteError {
    /// The text or a signature line is malformed.
    #[error(transparent)]
    Text(#[from] TextError),
    /// Too large.
    #[error("a license file has at most {} bytes, this one has {found}", NOTE_BYTES_MAX)]
    TooLarge {
        /// Bytes found.
        found: usize,
    },
    /// No signature at all.
    #[error("there is no signature under this text")]
    NotSigned,
    /// No line of this key.
    #[error("no signature by {name}+{id:08x}")]
    NoSignature {
        /// The key's name.
        name: VendorName,
        /// The key's id.
        id: u32,
    },
    /// Two lines of one key.
    #[error("two signature lines by {name}+{id:08x}; exactly one is allowed")]
    TwoSignatures {
        /// The key's name.
        name: String,
        /// The key's id.
        id: u32,
    },
    /// The line does not verify.
    #[error("the signature by {name}+{id:08x} does not verify: the text was changed, or another key made it")]
    BadSignature {
        /// The key's name.
        name: VendorName,
        /// The key's id.
        id: u32,
    },
    /// Too many signature lines.
    #[error("{found} signature lines, at most {} are allowed", SIGNATURES_MAX)]
    TooManySignatures {
        /// Lines found.
        found: usize,
    },
}

impl NoteError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Text(error) => error.hint.clone(),
            Self::TooLarge { .. } => Some("split it into several licenses: their seats add up".into()),
            Self::NotSigned => Some("if this is a draft, sign it: `triquest-lm license sign`".into()),
            Self::NoSignature { .. } => Some(
                "every key that a license names must sign it; where that key is, `triquest-lm license sign LICENSE` adds its signature"
                    .into(),
            ),
            Self::TwoSignatures { .. } => Some("delete the line that was added, or ask the vendor for the file again".into()),
            Self::BadSignature { .. } => {
                Some("ask the vendor for the file again, best on one line: `triquest-lm license convert --to line`".into())
            }
            Self::TooManySignatures { .. } => None,
        }
    }
}

impl NoteSignature {
    /// The line of this key with a signature that it made.
    #[must_use]
    pub fn ed25519(key: &VerifierKey, signature: [u8; 64]) -> Self {
        Self { name: key.name().as_str().into(), id: key.id(), bytes: signature.to_vec() }
    }

    /// The name on the line, which proves nothing.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The key id on the line.
    #[must_use]
    pub const fn id(&self) -> u32 {
        self.id
    }

    /// The signature.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl NoteSignature {
    fn parse(line: &str, number: usize) -> Result<Self, TextError> {
        let error = |column: usize, message: String| TextError::new(Place { line: number, column }, message);
        let Some(rest) = line.strip_prefix(SIGNATURE_PREFIX) else {
            return Err(match line.chars().next() {
                Some(dash @ ('\u{2013}' | '-')) => {
                    let found = if dash == '-' { "a hyphen" } else { "an en dash" };
                    error(1, format!("this signature line begins with {found}, where an em dash (U+2014) belongs")).with_hint(
                        "a mailer or an editor changed the file; ask for it as one line: `triquest-lm license convert --to line`",
                    )
                }
                Some('\u{2014}') => error(2, "after the em dash a single space is expected".into()),
                _ => error(1, "this is no signature line, and stands where only those may".into())
                    .with_hint("the text ends at the last empty line; below it stand only signatures"),
            });
        };
        let mut parts = rest.splitn(3, ' ');
        let (Some(name), Some(encoded), None) = (parts.next(), parts.next(), parts.next()) else {
            return Err(error(3, "a signature line has the form `\u{2014} name base64`".into()));
        };
        if name.is_empty() || name.contains('+') || name.contains(char::is_whitespace) {
            return Err(error(3, "the name on this signature line is no key's name".into()));
        }
        let column = 4 + name.chars().count();
        let bytes = STANDARD.decode(encoded).map_err(|problem| {
            let message = match problem {
                base64::DecodeError::InvalidLastSymbol(..) => {
                    "the signature is not strict base64: bits after its end are not zero".to_owned()
                }
                _ => "the signature is not strict base64".to_owned(),
            };
            error(column, message).with_hint("the line was changed after signing; ask for the file again")
        })?;
        let Some((id, signature)) = bytes.split_first_chunk::<4>().filter(|(_, signature)| !signature.is_empty()) else {
            return Err(error(column, "this signature is too short to be one".into()));
        };
        if bytes.len() > SIGNATURE_BYTES_MAX {
            return Err(error(column, format!("this signature has more than {SIGNATURE_BYTES_MAX} bytes")));
        }
        Ok(Self { name: name.into(), id: u32::from_be_bytes(*id), bytes: signature.to_vec() })
    }
}

impl Note {
    /// Reads a license file.
    ///
    /// # Errors
    /// [`NoteError`] with line and column.
    pub fn parse(bytes: &[u8]) -> Result<Self, NoteError> {
        if bytes.len() > NOTE_BYTES_MAX {
            return Err(NoteError::TooLarge { found: bytes.len() });
        }
        let whole = text::utf8(bytes)?;
        text::check_code_points(whole)?;
        let split = whole.rfind("\n\n").ok_or_else(|| unsigned(whole))?;
        let (text, lines) = (&whole[..=split], &whole[split + 2..]);
        if lines.is_empty() {
            // Nothing after the last empty line: signatures before it, or a draft that ends so.
            return Err(if whole.contains(SIGNATURE_PREFIX) {
                TextError::new(Place::of(whole, split + 1), "an empty line follows the signatures")
                    .with_hint("take the empty line at the end away")
                    .into()
            } else {
                NoteError::NotSigned
            });
        }
        let first_line = Place::of(whole, split + 2).line;
        // What has not even one line that looks like a signature is a text that nobody signed.
        if !lines.lines().any(|line| line.starts_with(['\u{2014}', '\u{2013}']) || line.starts_with("- ")) {
            return Err(unsigned(whole));
        }
        text::check_license_text(text)?;
        if !lines.ends_with('\n') {
            return Err(TextError::new(Place::of(whole, whole.len()), "the last line does not end with a newline")
                .with_hint("the file was cut, or an editor took the newline away; ask for it again")
                .into());
        }
        let count = lines.lines().count();
        if count > SIGNATURES_MAX {
            return Err(NoteError::TooManySignatures { found: count });
        }
        let signatures = lines.lines().enumerate().map(|(i, line)| NoteSignature::parse(line, first_line + i)).collect::<Result<_, _>>()?;
        Ok(Self { text: text.into(), signatures })
    }

    /// Signs a text with every signer.
    ///
    /// # Errors
    /// [`NoteError`] if the text can be no note's, or a signer is there twice.
    pub fn sign(text: &str, signers: &[Signer]) -> Result<Self, NoteError> {
        let sign = |signer: &Signer| NoteSignature::ed25519(signer.verifier_key(), signer.key().sign(text.as_bytes()));
        Self::assemble(text, signers.iter().map(sign).collect())
    }

    /// Puts signatures made elsewhere under a text. They are not verified.
    ///
    /// # Errors
    /// As [`Note::sign`].
    pub fn assemble(text: &str, signatures: Vec<NoteSignature>) -> Result<Self, NoteError> {
        text::check_license_text(text)?;
        if !text.ends_with('\n') {
            return Err(TextError::new(Place::of(text, text.len()), "the text does not end with a newline").into());
        }
        let mut note = Self { text: text.into(), signatures: Vec::new() };
        for signature in signatures {
            note.add_signature(signature)?;
        }
        if note.signatures.is_empty() {
            return Err(NoteError::NotSigned);
        }
        Ok(note)
    }

    /// The text, which is what is signed. Ends with a newline.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The signature lines, in order.
    #[must_use]
    pub fn signatures(&self) -> &[NoteSignature] {
        &self.signatures
    }

    /// Adds one more signature line.
    ///
    /// # Errors
    /// [`NoteError`] if that key's line is there, or the note gets too large.
    pub fn add_signature(&mut self, signature: NoteSignature) -> Result<(), NoteError> {
        if self.signatures.iter().any(|other| other.name == signature.name && other.id == signature.id) {
            return Err(NoteError::TwoSignatures { name: signature.name, id: signature.id });
        }
        if self.signatures.len() == SIGNATURES_MAX {
            return Err(NoteError::TooManySignatures { found: SIGNATURES_MAX + 1 });
        }
        self.signatures.push(signature);
        let found = self.to_file_bytes().len();
        if found > NOTE_BYTES_MAX {
            self.signatures.pop();
            return Err(NoteError::TooLarge { found });
        }
        Ok(())
    }

    /// The license file.
    #[must_use]
    pub fn to_file_bytes(&self) -> Vec<u8> {
        let mut file = self.text.clone();
        file.push('\n');
        for signature in &self.signatures {
            let mut bytes = signature.id.to_be_bytes().to_vec();
            bytes.extend_from_slice(&signature.bytes);
            file.push_str(SIGNATURE_PREFIX);
            file.push_str(&signature.name);
            file.push(' ');
            STANDARD.encode_string(bytes, &mut file);
            file.push('\n');
        }
        file.into_bytes()
    }

    /// The same bytes on one line: `tql1.` and base64url without padding, no newline at the end.
    #[must_use]
    pub fn to_line(&self) -> String {
        let mut line = LINE_PREFIX.to_owned();
        URL_SAFE_NO_PAD.encode_string(self.to_file_bytes(), &mut line);
        line
    }

    /// Whether a line bears this key's name and id, good or bad.
    #[must_use]
    pub fn bears(&self, key: &VerifierKey) -> bool {
        self.lines_of(key).next().is_some()
    }

    /// Checks that exactly one line bears this key's name and id, and that it verifies. Lines of others are ignored.
    ///
    /// # Errors
    /// [`NoteError::NoSignature`], [`NoteError::TwoSignatures`], [`NoteError::BadSignature`].
    pub fn verify(&self, key: &VerifierKey) -> Result<(), NoteError> {
        let (name, id) = (key.name(), key.id());
        let mut lines = self.lines_of(key);
        let Some(line) = lines.next() else { return Err(NoteError::NoSignature { name: name.clone(), id }) };
        if lines.next().is_some() {
            return Err(NoteError::TwoSignatures { name: name.as_str().into(), id });
        }
        key.public().verify(self.text.as_bytes(), &line.bytes).map_err(|_| NoteError::BadSignature { name: name.clone(), id })
    }

    fn lines_of<'a>(&'a self, key: &'a VerifierKey) -> impl Iterator<Item = &'a NoteSignature> {
        self.signatures.iter().filter(|line| line.name == key.name().as_str() && line.id == key.id())
    }
}

/// Reads a license as a file or on one line (with what mail does to lines: wrapping, space around).
///
/// # Errors
/// [`LicenseError`], with line and column where there is one.
pub fn read_any(input: &[u8]) -> Result<Note, LicenseError> {
    if input.len() > INPUT_BYTES_MAX {
        return Err(NoteError::TooLarge { found: input.len() }.into());
    }
    let trimmed = input.trim_ascii();
    if trimmed.is_empty() {
        return Err(LicenseError::NotALicense { problem: "it is empty".into() });
    }
    let Some(encoded) = trimmed.strip_prefix(LINE_PREFIX.as_bytes()) else {
        if !input.starts_with(b"format") && find(input, LINE_PREFIX.as_bytes()) && !find(input, SIGNATURE_PREFIX.as_bytes()) {
            return Err(LicenseError::Line { problem: "something stands before it".into() });
        }
        return Note::parse(input).map_err(LicenseError::from);
    };
    let encoded: Vec<u8> = encoded.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let file = URL_SAFE_NO_PAD.decode(&encoded).map_err(|error| LicenseError::Line {
        problem: match error {
            base64::DecodeError::InvalidByte(at, byte) => {
                format!("the character {:?} at place {} does not belong to it", char::from(byte), at + LINE_PREFIX.len() + 1)
            }
            base64::DecodeError::InvalidLength(_) => "its end is missing".into(),
            base64::DecodeError::InvalidLastSymbol(..) | base64::DecodeError::InvalidPadding => {
                "its end is missing, or its last character was changed".into()
            }
        },
    })?;
    Note::parse(&file).map_err(|error| match error {
        // Whoever makes such a line puts signatures at its end.
        NoteError::NotSigned => LicenseError::Line { problem: "its end is missing".into() },
        error => error.into(),
    })
}

/// Why no signature was found: there is none, or mail has changed the lines around it.
fn unsigned(whole: &str) -> NoteError {
    const ASK: &str = "a mailer changed the file; ask for it as one line, which mail leaves alone: `triquest-lm license convert --to line`";
    // No line of a text begins with an em dash, so this is a signature, or was one.
    let is_signature = |line: &str| line.trim_start_matches(['>', '|', ' ']).starts_with(SIGNATURE_PREFIX);
    let Some((index, line)) = whole.lines().enumerate().filter(|(_, line)| is_signature(line)).last() else { return NoteError::NotSigned };
    let (line, problem) = if line.starts_with(SIGNATURE_PREFIX) {
        (index + 2, "something stands below the signatures, where nothing may")
    } else {
        (index + 1, "something stands in front of this signature line, as mailers put `>` in front of what they quote")
    };
    TextError::new(Place { line, column: 1 }, problem).with_hint(ASK).into()
}

fn find(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}
