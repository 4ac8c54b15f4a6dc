//! Where a request comes from.

pub use triquest_allocator::{Network, WideNetwork};

/// Where a request comes from: whose turn it is, by network, and within that by connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin {
    /// None: the Unix socket, or the server itself. Such requests have a place of their own in every queue.
    pub network: Option<Network>,
    /// Tells the connections of one network apart; any number that is one connection's for its life.
    pub connection: u64,
}

impl Origin {
    /// The server itself.
    pub const SERVER: Self = Self { network: None, connection: 0 };
}
