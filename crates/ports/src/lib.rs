//! What is on a port: what IANA's registry says of it ([`registry`]), which sockets of this machine have it and who owns them ([`sockets`]), and what answers
//! there says of itself ([`banner`]); and what to do about it ([`advice`]).
//!
//! The three are kept apart because they are three kinds of knowledge: a registered name does not say what runs, an owner does not say what it speaks, and
//! a banner proves nothing. Whether a TriQuest LM server is genuine is proved by `triquest_client::identity`.

pub mod advice;
pub mod banner;
pub mod registry;
pub mod sockets;
