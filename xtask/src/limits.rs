//! `docs/reference/limits.md`: every limit of the `limits.rs` files and the few beside them, with its value and what its comment says. `cargo x generate`
//! writes it, so no number in it can become untrue.

/// The files, in the order of the page, each under a title.
pub(crate) const FILES: &[(&str, &str)] = &[
    ("The protocol, and the server as others see it", "crates/wire/src/limits.rs"),
    ("License files", "crates/license/src/limits.rs"),
    ("Leases, lines, pools and facts", "crates/allocator/src/limits.rs"),
    ("What an anonymous client can take", "crates/server/src/limits.rs"),
    ("What waits to be decided, and room on the disk", "crates/engine/src/limits.rs"),
    ("Entries and snapshots as they are kept", "crates/journal/src/lib.rs"),
    ("Room in the journal", "crates/journal/src/room.rs"),
    ("The journal's files", "crates/journal/src/sys.rs"),
    ("The journal's backups before another version", "crates/journal/src/upgrade.rs"),
    ("The client: when it renews, waits and gives up", "crates/client/src/keeper.rs"),
    ("The client: finding servers, calls and files", "crates/client/src/limits.rs"),
    ("The port registry", "crates/ports/src/registry/limits.rs"),
    ("What listens on this machine", "crates/ports/src/sockets/mod.rs"),
    ("What answers on a port", "crates/ports/src/banner.rs"),
];

#[cfg(test)]
mod page;
