use std::fmt;
use std::str::FromStr;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};

use crate::hash::{parse_hex, write_hex};

/// An Ed25519 public key whose point is on the curve, canonical, and not of small order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey([u8; 32]);

/// Why bytes or text are no acceptable key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Not 32 bytes.
    #[error("an Ed25519 key has 32 bytes, this one has {found}")]
    Length {
        /// Bytes found.
        found: usize,
    },
    /// The bytes are another spelling of a point: two spellings of one key would be two identities.
    #[error("this key is not in its canonical form, which only a crafted key is")]
    NonCanonical,
    /// The bytes name no point of the curve.
    #[error("these 32 bytes are no point of the curve, so they are no Ed25519 key")]
    NotOnCurve,
    /// Anyone can make signatures that seem to be by such a key.
    #[error("this key is one of the few of small order, for which anyone can make signatures")]
    SmallOrder,
    /// A server key that is not `tqs1:` and 64 lowercase hexadecimal digits.
    #[error("a server key is `tqs1:` and 64 lowercase hexadecimal digits{}", .problem)]
    ServerKeyForm {
        /// What is wrong, as the end of the sentence, or empty.
        problem: &'static str,
    },
}

impl KeyError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::ServerKeyForm { .. } => Some("`triquest-lm server id` prints the key on the server's own machine"),
            _ => Some("ask whoever sent this key to make a new one"),
        }
    }
}

/// A signature that is not by this key over this message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureError {
    /// The signature does not verify.
    #[error("the signature does not verify: the text or the signature was changed, or another key made it")]
    Bad,
    /// Not 64 bytes.
    #[error("an Ed25519 signature has 64 bytes, this one has {found}")]
    Length {
        /// Bytes found.
        found: usize,
    },
}

impl PublicKey {
    /// Reads 32 bytes, strictly: refuses all points of small order in every spelling, non-canonical
    /// spellings, and what is not on the curve.
    ///
    /// # Errors
    /// [`KeyError`], by reason.
    pub fn parse(bytes: &[u8]) -> Result<Self, KeyError> {
        let bytes: [u8; 32] = bytes.try_into().map_err(|_| KeyError::Length { found: bytes.len() })?;
        crate::key::point::check(&bytes)?;
        Ok(Self(bytes))
    }

    /// Checks `signature` over `message`, as strictly as RFC 8032 permits: no signature whose R is of
    /// small order or not canonical, none whose S is not below the order of the group.
    ///
    /// # Errors
    /// [`SignatureError`] if it is not a signature of this key over exactly these bytes.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), SignatureError> {
        if signature.len() != 64 {
            return Err(SignatureError::Length { found: signature.len() });
        }
        let mut r = [0; 32];
        r.copy_from_slice(&signature[..32]);
        if point::is_small_or_non_canonical(&r) {
            return Err(SignatureError::Bad);
        }
        UnparsedPublicKey::new(&ED25519, &self.0).verify(message, signature).map_err(|_| SignatureError::Bad)
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PublicKey(")?;
        write_hex(f, &self.0)?;
        f.write_str(")")
    }
}

/// An Ed25519 private key. Its `Debug` shows the public half only, and its seed is overwritten on drop.
pub struct SigningKey {
    seed: [u8; 32],
    pair: Ed25519KeyPair,
    public: PublicKey,
}

impl SigningKey {
    /// The key made from 32 bytes of randomness, which is the caller's business.
    #[must_use]
    pub fn from_seed(seed: [u8; 32]) -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).expect("any 32 bytes are an Ed25519 seed");
        let mut public = [0; 32];
        public.copy_from_slice(pair.public_key().as_ref());
        Self { seed, pair, public: PublicKey(public) }
    }

    /// The public half.
    #[must_use]
    pub const fn public(&self) -> &PublicKey {
        &self.public
    }

    /// The signature over `message`; the same for the same message.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        let mut out = [0; 64];
        out.copy_from_slice(self.pair.sign(message).as_ref());
        out
    }

    /// The secret that the key was made from, to be stored.
    #[must_use]
    pub const fn seed(&self) -> &[u8; 32] {
        &self.seed
    }
}

impl Clone for SigningKey {
    fn clone(&self) -> Self {
        Self::from_seed(self.seed)
    }
}

impl Drop for SigningKey {
    fn drop(&mut self) {
        self.seed = [0; 32];
        // Keeps the compiler from leaving the store out.
        std::hint::black_box(&self.seed);
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("public", &self.public).finish_non_exhaustive()
    }
}

/// A server's key, written `tqs1:` and 64 lowercase hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerKey(PublicKey);

impl ServerKey {
    /// What the text form begins with.
    pub const PREFIX: &'static str = "tqs1:";

    /// A public key, seen as a server's.
    #[must_use]
    pub const fn new(public: PublicKey) -> Self {
        Self(public)
    }

    /// Reads the 32 bytes, as strictly as [`PublicKey::parse`].
    ///
    /// # Errors
    /// [`KeyError`], by reason.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, KeyError> {
        PublicKey::parse(bytes).map(Self)
    }

    /// The Ed25519 key.
    #[must_use]
    pub const fn public(&self) -> &PublicKey {
        &self.0
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }
}

impl From<PublicKey> for ServerKey {
    fn from(public: PublicKey) -> Self {
        Self(public)
    }
}

impl fmt::Display for ServerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::PREFIX)?;
        write_hex(f, self.as_bytes())
    }
}

impl fmt::Debug for ServerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServerKey({self})")
    }
}

impl FromStr for ServerKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let form = |problem| KeyError::ServerKeyForm { problem };
        let hex = text.strip_prefix(Self::PREFIX).ok_or(form("; this does not begin so"))?;
        if hex.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(form("; this has capital letters"));
        }
        if hex.len() != 64 {
            return Err(form("; this has another length"));
        }
        let bytes: [u8; 32] = parse_hex(hex).ok_or(form("; this has other characters"))?;
        Self::from_bytes(&bytes)
    }
}

/// What a curve point's encoding must be. Only public data: nothing here needs constant time.
pub(crate) mod point {
    use super::KeyError;

    /// p = 2^255 - 19, least significant word first.
    const P: [u64; 4] = [0xffff_ffff_ffff_ffed, u64::MAX, u64::MAX, 0x7fff_ffff_ffff_ffff];

    /// The y of the points of order 8, as they are encoded: with p - y they are all four.
    const ORDER_8_A: [u8; 32] = [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39,
        0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
    ];
    const ORDER_8_B: [u8; 32] = [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6,
        0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
    ];

    pub(crate) fn check(bytes: &[u8; 32]) -> Result<(), KeyError> {
        if !is_canonical(bytes) {
            // A small-order point in a second spelling is refused as what is worse about it.
            return Err(if is_small_order(bytes) { KeyError::SmallOrder } else { KeyError::NonCanonical });
        }
        if is_small_order(bytes) {
            return Err(KeyError::SmallOrder);
        }
        if !is_on_curve(bytes) {
            return Err(KeyError::NotOnCurve);
        }
        Ok(())
    }

    pub(crate) fn is_small_or_non_canonical(bytes: &[u8; 32]) -> bool {
        !is_canonical(bytes) || is_small_order(bytes)
    }

    fn y_of(bytes: &[u8; 32]) -> [u64; 4] {
        let mut y = [0; 4];
        for (word, chunk) in y.iter_mut().zip(bytes.chunks_exact(8)) {
            let mut eight = [0; 8];
            eight.copy_from_slice(chunk);
            *word = u64::from_le_bytes(eight);
        }
        y[3] &= 0x7fff_ffff_ffff_ffff;
        y
    }

    /// y is below p. (The two points with x = 0 and the sign bit set are of small order.)
    fn is_canonical(bytes: &[u8; 32]) -> bool {
        less(&y_of(bytes), &P)
    }

    /// By y alone, reduced: x changes sign, the order stays.
    fn is_small_order(bytes: &[u8; 32]) -> bool {
        let y = reduce(y_of(bytes));
        let minus_one = [P[0] - 1, P[1], P[2], P[3]];
        y == [0; 4] || y == [1, 0, 0, 0] || y == minus_one || y == y_of(&ORDER_8_A) || y == y_of(&ORDER_8_B)
    }

    /// There is an x with -x² + y² = 1 + d x² y²: (y² - 1) / (d y² + 1) is a square.
    fn is_on_curve(bytes: &[u8; 32]) -> bool {
        let y = reduce(y_of(bytes));
        let yy = multiply(&y, &y);
        let u = subtract(&yy, &ONE);
        let v = add(&multiply(&D, &yy), &ONE);
        // u/v is a square exactly if u*v is, since v² is one and v is never zero (-1/d is no square).
        let legendre = power_of_half_order(&multiply(&u, &v));
        legendre == ONE || legendre == [0; 4]
    }

    const ONE: [u64; 4] = [1, 0, 0, 0];
    /// d = -121665/121666.
    const D: [u64; 4] = [0x75eb_4dca_1359_78a3, 0x0070_0a4d_4141_d8ab, 0x8cc7_4079_7779_e898, 0x5203_6cee_2b6f_fe73];

    fn less(a: &[u64; 4], b: &[u64; 4]) -> bool {
        a.iter().rev().lt(b.iter().rev())
    }

    /// To below p, from below 2p.
    fn reduce(a: [u64; 4]) -> [u64; 4] {
        if less(&a, &P) { a } else { raw_subtract(&a, &P) }
    }

    fn raw_subtract(a: &[u64; 4], b: &[u64; 4]) -> [u64; 4] {
        let mut out = [0; 4];
        let mut borrow = false;
        for i in 0..4 {
            let (first, under) = a[i].overflowing_sub(b[i]);
            let (second, again) = first.overflowing_sub(u64::from(borrow));
            out[i] = second;
            borrow = under || again;
        }
        out
    }

    /// Of two numbers below p, whose sum is below 2^256.
    fn add(a: &[u64; 4], b: &[u64; 4]) -> [u64; 4] {
        let mut out = [0; 4];
        let mut carry = 0u128;
        for i in 0..4 {
            let sum = u128::from(a[i]) + u128::from(b[i]) + carry;
            out[i] = sum as u64;
            carry = sum >> 64;
        }
        reduce(out)
    }

    fn subtract(a: &[u64; 4], b: &[u64; 4]) -> [u64; 4] {
        add(a, &raw_subtract(&P, b))
    }

    fn multiply(a: &[u64; 4], b: &[u64; 4]) -> [u64; 4] {
        let mut wide = [0u64; 8];
        for i in 0..4 {
            let mut carry = 0u128;
            for j in 0..4 {
                let sum = u128::from(a[i]) * u128::from(b[j]) + u128::from(wide[i + j]) + carry;
                wide[i + j] = sum as u64;
                carry = sum >> 64;
            }
            wide[i + 4] = carry as u64;
        }
        // 2^256 = 38 mod p, twice; what then overflows is 0 or 1 times 2^256.
        let mut out = [0u64; 4];
        let mut carry = 0u128;
        for i in 0..4 {
            let sum = u128::from(wide[i]) + 38 * u128::from(wide[i + 4]) + carry;
            out[i] = sum as u64;
            carry = sum >> 64;
        }
        while carry != 0 {
            let mut next = carry * 38;
            for word in &mut out {
                let sum = u128::from(*word) + next;
                *word = sum as u64;
                next = sum >> 64;
            }
            carry = next;
        }
        // Below 2^256 = 2p + 38: at most two subtractions.
        reduce(reduce(out))
    }

    /// a to the power (p - 1) / 2 = 2^254 - 10.
    fn power_of_half_order(a: &[u64; 4]) -> [u64; 4] {
        // In binary: 250 ones, then 0110 (2^254 - 10 = ...11110110).
        let mut out = ONE;
        for bit in (0..254).rev() {
            out = multiply(&out, &out);
            if bit != 3 && bit != 0 {
                out = multiply(&out, a);
            }
        }
        out
    }
}
