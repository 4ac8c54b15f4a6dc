//! What travels between client and server: request and answer bodies, signed statements, codes of denials and errors. No I/O.
//!
//! `docs/protocol.md` specifies it; bodies are strict (an unknown or repeated member is an error) where something signed or something that
//! changes state is read, and what a server answers may gain members that an older client ignores.

pub mod bytes;
pub mod codes;
pub mod error;
pub mod event;
pub mod identity;
pub mod ids;
pub mod lease;
pub mod license;
pub mod limits;
pub mod status;
mod strict;
pub mod text;
pub mod trust;
pub mod words;

pub use bytes::{Blob, Bytes16, Bytes32, Bytes64};
pub use error::{Effect, ErrorCode, Problem, Retry};
pub use ids::{LeaseId, Lineage, NamedLineage, Position, Secret};
pub use words::WordList;
