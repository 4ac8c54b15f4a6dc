//! The order within a pass, and what may be decided with so much room on the disk.

/// How much room there is for entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Room {
    /// For everything.
    #[default]
    Enough,
    /// Only what the reserve is kept for: the first word of a lease in an epoch, releases, administration. Nothing is granted, nothing that
    /// is due ends, and lines stand still.
    Reserve,
    /// For nothing at all. What needs no entry goes on.
    None,
}
