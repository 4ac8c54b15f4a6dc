//! The server over real sockets: in process, with a journal in memory and a clock moved by hand, on port 0.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod admin;
mod events;
mod leases;
mod overload;
mod presence;
mod roles;
mod tls;
mod tomorrow;
mod world;
