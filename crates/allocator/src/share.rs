//! The rule of shares, for everything of which there is a bounded amount for whoever comes: commands that wait, connections, bytes, remembered ids,
//! places in line. One place, so that nobody's rule drifts from the others'.
//!
//! A network is an IPv4 address or an IPv6 /64; the wider network around it (/24, /48) may have [`WIDE_NETWORK_SHARES`] times as much. Above three
//! quarters of what all may have, whoever has more than an even part of it gets no more, so that no network can shut the others out. The Unix socket
//! has places of its own and never asks here.

use crate::limits::WIDE_NETWORK_SHARES;

/// What one network, and all of them together, may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// One network.
    pub network: u64,
    /// All together.
    pub all: u64,
}

/// Whose limit is reached. Kept alphabetical.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// Everybody's together.
    All,
    /// Little is left, and this network has more than an even part already.
    EvenPart,
    /// The network's own.
    Network,
    /// The wider network's.
    Wider,
}

/// Who has how much, before somebody gets more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Has {
    /// The network that asks.
    pub own: u64,
    /// The wider network around it, with it.
    pub wider: u64,
    /// All.
    pub all: u64,
    /// How many networks have something, the one that asks not counted if it has nothing.
    pub present: u64,
}

impl Share {
    /// What the network around a network may have.
    #[must_use]
    pub fn wider(self) -> u64 {
        self.network.saturating_mul(WIDE_NETWORK_SHARES)
    }

    /// Above this, nobody gets more than an even part.
    #[must_use]
    pub fn crowded(self) -> u64 {
        self.all - self.all / 4
    }

    /// Whether a network may have so much more.
    ///
    /// # Errors
    /// Whose limit is in the way.
    pub fn admits(self, has: Has, amount: u64) -> Result<(), Over> {
        let present = has.present + u64::from(has.own == 0);
        self.admits_crowded(has, amount, self.all / present.max(1))
    }

    /// The same where, once little is left, a network may have `crowded` instead of an even part.
    ///
    /// # Errors
    /// Whose limit is in the way.
    pub fn admits_crowded(self, has: Has, amount: u64, crowded: u64) -> Result<(), Over> {
        if amount == 0 {
            return Ok(());
        }
        let (own, wider, all) = (has.own.saturating_add(amount), has.wider.saturating_add(amount), has.all.saturating_add(amount));
        if own > self.network {
            Err(Over::Network)
        } else if wider > self.wider() {
            Err(Over::Wider)
        } else if all > self.crowded() && own > crowded {
            Err(Over::EvenPart)
        } else if all > self.all {
            Err(Over::All)
        } else {
            Ok(())
        }
    }
}
