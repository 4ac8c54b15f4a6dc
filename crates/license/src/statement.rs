//! What a server signs: `Ed25519(S, "triquest-lm/v1/" + T + "\n" + P)`. The kind T is part of what is signed, so
//! that no statement passes for one of another kind, and none for a license.

use crate::key::{PublicKey, SignatureError, SigningKey};

/// What kind of statement it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StatementKind {
    /// A borrowed seat, for use without a network.
    Borrow,
    /// The root over a batch of grants.
    Grants,
    /// What a customer mails to the vendor to have a license made.
    ServerRequest,
    /// This server's key speaks for this TLS connection.
    Trust,
    /// An answer to the UDP probe.
    UdpIdentity,
}

impl StatementKind {
    /// Every kind.
    pub const ALL: [Self; 5] = [Self::Borrow, Self::Grants, Self::ServerRequest, Self::Trust, Self::UdpIdentity];

    /// The kind's name as it is signed.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Borrow => "borrow",
            Self::Grants => "grants",
            Self::ServerRequest => "server-request",
            Self::Trust => "trust",
            Self::UdpIdentity => "udp-identity",
        }
    }

    fn message(self, payload: &[u8]) -> Vec<u8> {
        let mut message = Vec::with_capacity(32 + payload.len());
        message.extend_from_slice(b"triquest-lm/v1/");
        message.extend_from_slice(self.name().as_bytes());
        message.push(b'\n');
        message.extend_from_slice(payload);
        message
    }
}

/// Signs a payload as a statement of this kind.
#[must_use]
pub fn sign(key: &SigningKey, kind: StatementKind, payload: &[u8]) -> [u8; 64] {
    key.sign(&kind.message(payload))
}

/// Checks a statement. Only after this may the payload be parsed.
///
/// # Errors
/// [`SignatureError`] if `key` did not sign exactly this payload as this kind.
pub fn verify(key: &PublicKey, kind: StatementKind, payload: &[u8], signature: &[u8]) -> Result<(), SignatureError> {
    key.verify(&kind.message(payload), signature)
}
