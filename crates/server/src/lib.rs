//! The server: one driver over the allocator and the journal, and everything that translates between it and the outside.
//!
//! [`run()`] is what `triquest-lm serve` does: start, tell systemd, obey signals, stop. [`Server::start`] is the same without a process
//! around it, for embedding and tests. A request's way: `accept` (TCP, TLS, limits) → `http` (parse, who asks, refuse) → `driver`
//! (decide, make durable) → `http` (answer). Reads use `view`, the last committed state, and never enter the driver.

pub mod accept;
pub mod config;
pub mod discovery;
pub mod gate;
pub mod http;
pub mod identity;
pub mod in_turn;
pub mod licenses_folder;
pub mod limits;
pub mod prefix;
pub mod rates;
pub mod run;
pub mod seldom;
pub mod shares;
pub mod sys;

pub mod appender;
pub mod clock;
pub mod driver;
pub mod feed;
mod leader;
mod publisher;
pub mod recovery;
pub mod snapshots;
mod ticket;
pub mod view;

pub use config::{Config, Fault, Overrides, Settings};
pub use run::{Running, Server, check, run, start_log};
