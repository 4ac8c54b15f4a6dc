//! The Rust SDK of TriQuest LM: take a seat, keep it while the program runs, give it back.
//!
//! ```no_run
//! # fn main() -> Result<(), triquest_client::Error> {
//! const VENDOR: &str = "acme.example+1f3a09c2+AQ..."; // printed by `triquest-lm vendor init`
//! let client = triquest_client::Client::connect(VENDOR)?; // servers: TRIQUEST_LM_SERVER=1588@host, a file, or DNS
//! let seat = client.checkout("cad-pro").version("12.4").on_lost(|why| eprintln!("stop: {why}")).take()?;
//! // ... the program runs; the seat is renewed in the background ...
//! drop(seat); // given back
//! # Ok(()) }
//! ```
//!
//! Nothing about the user leaves this computer before the server has proved, over this very TLS connection, that the vendor whose keys the program
//! embeds licensed it ([`verify`]). When to renew, warn and stop is decided by a pure state machine ([`keeper`]). There is no async runtime: calls
//! block, and one thread named `triquest-lm` renews all seats of a client.

pub mod address;
pub mod admin;
mod client;
mod clock;
mod dial;
mod error;
mod files;
mod holder;
pub mod identity;
pub mod keeper;
pub mod limits;
pub mod lookup;
pub mod pins;
mod presence;
mod remember;
mod seat;
pub mod srv;
mod standing;
mod tls;
mod transport;
pub mod verify;

pub use client::{Cancel, Checkout, Client, ClientBuilder, ServerProof};
pub use error::{Error, ErrorKind, Tried, ended};
pub use keeper::Phase;
pub use lookup::SERVER_VARIABLE;
pub use seat::{HeldUp, InLine, Releaser, Seat, Warning};
pub use triquest_license as license;
pub use triquest_wire as wire;
