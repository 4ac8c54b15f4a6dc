//! The rule of shares, for everything of which there is a bounded amount for whoever comes: commands that wait, connections, bytes, remembered ids,
//! places in line. One place, so that nobody's rule drifts from the others'.
//!
//! A network is an IPv4 address or an IPv6 /64. The wider network around it (/24, /48) is a party too, because one party often has all of it: it may
//! have [`WIDE_NETWORK_SHARES`] times as much, and never the last quarter of what all may have. Above three quarters of that, whoever has more than
//! an even part gets no more, so that no network can shut the others out: an even part is a wider network's, and within it a network's. So 65,536
//! networks of one wider network make nobody else's part smaller. The Unix socket has places of its own and never asks here.

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
    /// Little is left, and the wider network has more than an even part already.
    WiderEvenPart,
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
    /// How many networks of the wider one have something, the one that asks not counted if it has nothing.
    pub within: u64,
    /// How many wider networks have something, the one that asks not counted if it has nothing.
    pub present: u64,
}

/// What somebody may have once little is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// A network.
    pub network: u64,
    /// The wider network around it.
    pub wider: u64,
}

impl Part {
    /// So much for a network, and [`WIDE_NETWORK_SHARES`] times as much for the wider one.
    #[must_use]
    pub fn of(network: u64) -> Self {
        Self { network, wider: network.saturating_mul(WIDE_NETWORK_SHARES) }
    }
}

impl Has {
    /// The even parts of `all`: each wider network's, and of that each network's in it.
    #[must_use]
    pub fn even_part(self, all: u64) -> Part {
        let wider = all / (self.present + u64::from(self.wider == 0)).max(1);
        Part { network: wider / (self.within + u64::from(self.own == 0)).max(1), wider }
    }
}

impl Share {
    /// What the network around a network may have: a few shares, but nothing of the last quarter. No less than one share.
    #[must_use]
    pub fn wider(self) -> u64 {
        self.network.saturating_mul(WIDE_NETWORK_SHARES).min(self.crowded()).max(self.network)
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
        self.admits_crowded(has, amount, has.even_part(self.all))
    }

    /// The same where, once little is left, a network may have `crowded` instead of an even part.
    ///
    /// # Errors
    /// Whose limit is in the way.
    pub fn admits_crowded(self, has: Has, amount: u64, crowded: Part) -> Result<(), Over> {
        if amount == 0 {
            return Ok(());
        }
        let (own, wider, all) = (has.own.saturating_add(amount), has.wider.saturating_add(amount), has.all.saturating_add(amount));
        let is_crowded = all > self.crowded();
        if own > self.network {
            Err(Over::Network)
        } else if wider > self.wider() {
            Err(Over::Wider)
        } else if is_crowded && wider > crowded.wider {
            Err(Over::WiderEvenPart)
        } else if is_crowded && own > crowded.network {
            Err(Over::EvenPart)
        } else if all > self.all {
            Err(Over::All)
        } else {
            Ok(())
        }
    }
}
