//! The driver over a journal in memory whose every append the test can hold, fail or lose.
#![allow(clippy::unwrap_used, missing_docs)]

mod durability;
mod feed;
mod requests;
mod sqlite;
mod view;
mod world;
