//! The engine by hand: time, the journal and the confirmation of leadership move when a script says so.

#![allow(clippy::unwrap_used)]

mod alive;
mod bounds;
mod desk;
mod fairness;
mod history;
mod presence;
mod promises;
mod room;
mod stop;
