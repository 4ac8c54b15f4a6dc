use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::hash::parse_hex;
use crate::key::{KeyError, PublicKey, SigningKey};
use crate::limits::VERIFIERS_MAX;
use crate::names::{NameError, VendorName};

const PRIVATE_PREFIX: &str = "PRIVATE+KEY+";
/// C2SP's byte for plain Ed25519.
const ED25519_ALGORITHM: u8 = 0x01;

/// A vendor's public key as C2SP writes it: `name+id+base64(0x01 || 32 bytes)`. The id is checked against name and
/// key.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VerifierKey {
    name: VendorName,
    id: u32,
    public: PublicKey,
}

/// Text that is no verifier key (or no signer's key).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VerifierKeyError {
    /// Another algorithm than Ed25519.
    #[error("this key is for signature algorithm {found:#04x}; only 0x01, Ed25519, is known")]
    Algorithm {
        /// The algorithm's byte.
        found: u8,
    },
    /// Bad base64.
    #[error("the part after the last `+` is not strict base64")]
    Base64,
    /// Not three parts.
    #[error("a verifier key has the form name+id+key, like acme.example+1f3a09c2+AZ...")]
    Form,
    /// The id does not belong to this name and key: one of them was changed.
    #[error("the key's id is {found:08x}, but this name and key have the id {expected:08x}: one of the three was changed")]
    Id {
        /// As written.
        found: u32,
        /// As computed.
        expected: u32,
    },
    /// The key itself.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// No key at all.
    #[error("no verifier key was given")]
    None,
    /// A private key where a public one belongs.
    #[error("this is a private key (PRIVATE+KEY+...); it must never leave the vendor")]
    Private,
    /// A public key where a private one belongs.
    #[error("this is no private key: PRIVATE+KEY+name+id+key")]
    NotPrivate,
    /// The same key twice.
    #[error("the key {name}+{id:08x} is there twice")]
    Repeated {
        /// Its name.
        name: VendorName,
        /// Its id.
        id: u32,
    },
    /// Too many keys.
    #[error("{found} verifier keys, at most {} are allowed", VERIFIERS_MAX)]
    TooMany {
        /// Keys found.
        found: usize,
    },
}

impl VerifierKeyError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Private => {
                Some("give the verifier key, which `triquest-lm vendor show` prints; if the private key was sent to anyone, rotate it")
            }
            _ => Some("copy the whole key again, from where the vendor publishes it"),
        }
    }
}

impl VerifierKey {
    /// The verifier key of this name and public key.
    #[must_use]
    pub fn new(name: VendorName, public: PublicKey) -> Self {
        let mut input = Vec::with_capacity(name.as_str().len() + 34);
        input.extend_from_slice(name.as_str().as_bytes());
        input.extend_from_slice(b"\n\x01");
        input.extend_from_slice(public.as_bytes());
        let hash = crate::hash::sha256(&input);
        Self { name, id: u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]]), public }
    }

    fn check_id(&self, found: u32) -> Result<(), VerifierKeyError> {
        if self.id == found { Ok(()) } else { Err(VerifierKeyError::Id { found, expected: self.id }) }
    }

    /// The vendor's name.
    #[must_use]
    pub const fn name(&self) -> &VendorName {
        &self.name
    }

    /// The key id: the first four bytes of SHA-256(name, newline, 0x01, key).
    #[must_use]
    pub const fn id(&self) -> u32 {
        self.id
    }

    /// The Ed25519 key, which is the vendor's identity.
    #[must_use]
    pub const fn public(&self) -> &PublicKey {
        &self.public
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{:08x}+{}", self.name, self.id, STANDARD.encode(with_algorithm(self.public.as_bytes())))
    }
}

impl fmt::Debug for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifierKey({self})")
    }
}

impl FromStr for VerifierKey {
    type Err = VerifierKeyError;

    fn from_str(text: &str) -> Result<Self, VerifierKeyError> {
        if text.starts_with(PRIVATE_PREFIX) {
            return Err(VerifierKeyError::Private);
        }
        let (name, id, key) = parts_of(text)?;
        let key = Self::new(name, PublicKey::parse(&key)?);
        key.check_id(id)?;
        Ok(key)
    }
}

fn with_algorithm(bytes: &[u8; 32]) -> [u8; 33] {
    let mut out = [ED25519_ALGORITHM; 33];
    out[1..].copy_from_slice(bytes);
    out
}

/// Name, id and the bytes after the algorithm.
fn parts_of(text: &str) -> Result<(VendorName, u32, Vec<u8>), VerifierKeyError> {
    // base64 itself has plus signs: only the first two divide.
    let mut parts = text.splitn(3, '+');
    let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(VerifierKeyError::Form);
    };
    let name = VendorName::new(name)?;
    let id = u32::from_be_bytes(parse_hex(id).ok_or(VerifierKeyError::Form)?);
    let bytes = STANDARD.decode(key).map_err(|_| VerifierKeyError::Base64)?;
    match bytes.split_first() {
        Some((&ED25519_ALGORITHM, key)) => Ok((name, id, key.to_vec())),
        Some((&found, _)) => Err(VerifierKeyError::Algorithm { found }),
        None => Err(VerifierKeyError::Form),
    }
}

/// One or more verifier keys of one vendor, in order, none twice: what an application embeds. Written with commas or
/// spaces between them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifierKeys(Vec<VerifierKey>);

impl VerifierKeys {
    /// Takes a list.
    ///
    /// # Errors
    /// [`VerifierKeyError::None`], [`VerifierKeyError::Repeated`] and [`VerifierKeyError::TooMany`].
    pub fn new(keys: Vec<VerifierKey>) -> Result<Self, VerifierKeyError> {
        if keys.is_empty() {
            return Err(VerifierKeyError::None);
        }
        if keys.len() > VERIFIERS_MAX {
            return Err(VerifierKeyError::TooMany { found: keys.len() });
        }
        for (i, key) in keys.iter().enumerate() {
            // Two keys of one name and id could not be told apart on a signature line; one key under two names
            // would be one vendor twice.
            let repeated = |other: &VerifierKey| other.public == key.public || (other.name == key.name && other.id == key.id);
            if keys[..i].iter().any(repeated) {
                return Err(VerifierKeyError::Repeated { name: key.name.clone(), id: key.id });
            }
        }
        Ok(Self(keys))
    }

    /// The keys.
    #[must_use]
    pub fn as_slice(&self) -> &[VerifierKey] {
        &self.0
    }

    /// The public halves, in order.
    pub fn public_keys(&self) -> impl Iterator<Item = &PublicKey> {
        self.0.iter().map(VerifierKey::public)
    }
}

impl std::ops::Deref for VerifierKeys {
    type Target = [VerifierKey];

    fn deref(&self) -> &[VerifierKey] {
        &self.0
    }
}

impl fmt::Display for VerifierKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().enumerate().try_for_each(|(i, key)| write!(f, "{}{key}", if i == 0 { "" } else { "," }))
    }
}

impl FromStr for VerifierKeys {
    type Err = VerifierKeyError;

    fn from_str(text: &str) -> Result<Self, VerifierKeyError> {
        let keys: Result<Vec<_>, _> =
            text.split(|c: char| c == ',' || c.is_ascii_whitespace()).filter(|part| !part.is_empty()).map(str::parse).collect();
        Self::new(keys?)
    }
}

/// A name with its private key. Its text form is `PRIVATE+KEY+name+id+base64(0x01 || seed)`, as Go's note package writes
/// it.
#[derive(Clone)]
pub struct Signer {
    verifier: VerifierKey,
    key: SigningKey,
}

impl Signer {
    /// A signer.
    #[must_use]
    pub fn new(name: VendorName, key: SigningKey) -> Self {
        Self { verifier: VerifierKey::new(name, *key.public()), key }
    }

    /// The vendor's name.
    #[must_use]
    pub const fn name(&self) -> &VendorName {
        self.verifier.name()
    }

    /// The public half.
    #[must_use]
    pub const fn verifier_key(&self) -> &VerifierKey {
        &self.verifier
    }

    /// The private key.
    #[must_use]
    pub const fn key(&self) -> &SigningKey {
        &self.key
    }

    /// Reads the private text form.
    ///
    /// # Errors
    /// [`VerifierKeyError`], by reason.
    pub fn from_private_text(text: &str) -> Result<Self, VerifierKeyError> {
        let rest = text.strip_prefix(PRIVATE_PREFIX).ok_or(VerifierKeyError::NotPrivate)?;
        let (name, id, seed) = parts_of(rest)?;
        let seed = <[u8; 32]>::try_from(seed.as_slice()).map_err(|_| KeyError::Length { found: seed.len() })?;
        let signer = Self::new(name, SigningKey::from_seed(seed));
        signer.verifier.check_id(id)?;
        Ok(signer)
    }

    /// The private text form, for the key file. Not `Display`: nobody shall print it by mistake.
    #[must_use]
    pub fn to_private_text(&self) -> String {
        let seed = STANDARD.encode(with_algorithm(self.key.seed()));
        format!("{PRIVATE_PREFIX}{}+{:08x}+{seed}", self.name(), self.verifier.id())
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({})", self.verifier)
    }
}
