//! The driver without I/O: what decides whether an answer may leave.
//!
//! [`Engine`] stands between whoever asks and the allocator. It owns the queues (a lane for the leases that live, turns between networks for all
//! else), the bounds of an entry on every road, the entries in flight, the answers that wait for them or for the confirmation of a pass, the
//! waiters whose answers are held, and what goes on while the disk is full. It has no clock, no chance, no thread, no input and no output: readings and
//! reports go in, effects come out ([`Input`], [`Effect`]), so that the server and the simulation run the very same code.

pub mod engine;
pub mod fair;
pub mod grants;
mod lane;
pub mod limits;
pub mod origin;
mod queues;
pub mod request;
mod writing;

pub use engine::{Effect, Engine, Input, MayWrite, StartError};
pub use origin::{Network, Origin, WideNetwork};
pub use request::{Answer, Answers, Asked, Heard, PassId, Position, Renewal, Request, Start, Ticket, TookEffect, Why};
pub use triquest_journal::Room;
