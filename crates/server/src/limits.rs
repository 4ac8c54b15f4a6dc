//! What an anonymous client can take, and how much of it. Limits that clients need to know too are in `triquest_wire::limits`.
//!
//! [`Limits`] holds all of them, so that a test can run with small ones; [`Limits::default`] is what a server has without configuration.
//! What one hostile client can cost with these is in `docs/trust.md`.

use crate::{
    config,
    rates::{Rate, RateShare},
    shares::Share,
};

/// Bytes that are still drained of a body that was refused, so that whoever sends a little too much reads why.
pub const DRAINED_BYTES_MAX: usize = 256 * 1024;
/// Most connections at once from one network.
pub const CONNECTIONS_PER_NETWORK_MAX: u64 = 12_000;
/// Connections that one lease makes those of a holder of a seat, the newest ones: others of their network leave before them. One to ask on and one for its
/// presence, and each once more while it is opened anew.
pub const HOLDER_CONNECTIONS_PER_LEASE_MAX: usize = 4;
/// Most connections at once that have not sent a whole ClientHello, from one network.
pub const HELLOS_PER_NETWORK_MAX: u64 = 512;
/// The same from all networks.
pub const HELLOS_MAX: u64 = 4_096;
/// Whoever has a place without a whole ClientHello keeps it for this long against its own network. So a network's places change hands at most
/// 2,048 times a second, and a ClientHello has time to come.
pub const HELLO_SETTLED_MS: u64 = 250;
/// Most connections at once that wait for such a place, from one network.
pub const HELLOS_WAITING_PER_NETWORK_MAX: u64 = 2_048;
/// The same from all networks.
pub const HELLOS_WAITING_MAX: u64 = 4_096;
/// While some wait for such a place, those who can have one get it this often.
pub const HELLO_TURN_MS: u64 = 10;
/// A whole ClientHello must come within this.
pub const HELLO_MS_MAX: u64 = 5_000;
/// Bytes that a ClientHello may have: one with post-quantum keys has about 2,000.
pub const HELLO_BYTES_MAX: usize = 16 * 1024;
/// Most HTTP/2 connections at once from one network.
pub const HTTP2_PER_NETWORK_MAX: u64 = 128;
/// The same from all networks.
pub const HTTP2_MAX: u64 = 4_096;
/// Bytes of a body that an HTTP/2 peer may send before they are taken, for one stream.
pub const HTTP2_STREAM_WINDOW_BYTES: u32 = 65_535;
/// The same for a connection.
pub const HTTP2_CONNECTION_WINDOW_BYTES: u32 = 256 * 1024;
/// An HTTP/2 peer is asked for a sign of life this often, and must give it as soon as that. Whoever has begun a header block cannot before its end.
pub const HTTP2_PING_MS: u64 = 30_000;
/// An HTTP/2 connection that is too many may be told so for this long.
pub const HTTP2_GOAWAY_MS_MAX: u64 = 1_000;
/// Texts of licenses that grants brought on a connection and that are known as sent there; of more, the oldest are sent again when they are needed.
pub const TEXTS_REMEMBERED_MAX: usize = 64;
/// Bytes of answers that one network has not taken yet.
pub const UNSENT_PER_NETWORK_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// The same of all networks.
pub const UNSENT_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// A whole answer must be taken within this.
pub const ANSWER_TAKEN_MS_MAX: u64 = 30_000;
/// Bytes that the kernel keeps of what one connection does not take; it counts as much again for itself.
pub const UNTAKEN_BYTES_MAX: usize = 64 * 1024;
/// For how long the kernel keeps them, also after the connection was closed here. As long as it takes to notice that a silent peer is gone, so that nothing
/// changes for connections on which nothing waits.
pub const UNTAKEN_MS_MAX: u32 = 120_000;
/// Bytes of bodies that one network is sending.
pub const UNREAD_PER_NETWORK_BYTES_MAX: u64 = 32 * 1024 * 1024;
/// The same of all networks.
pub const UNREAD_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// New or unknown lease ids of one network at once; of all networks twice as many.
pub const NEW_IDS_BURST: u32 = 20_000;
/// New or unknown lease ids of one network per second; of all networks ten times as many.
pub const NEW_IDS_PER_SECOND: u32 = 300;
/// Denials of one feature that one network may have recorded at once.
pub const DENIALS_BURST: u32 = 200;
/// The same per second.
pub const DENIALS_PER_SECOND: u32 = 5;
/// Denials of all features that one network may have recorded at once.
pub const DENIALS_ALL_BURST: u32 = 2_000;
/// The same per second.
pub const DENIALS_ALL_PER_SECOND: u32 = 20;
/// Denials that all networks may have recorded per second, and at once eight times as many.
pub const DENIALS_SERVER_PER_SECOND: u32 = 500;
/// Signed grants that one network may show at once; all networks twice as many.
pub const SHOWN_GRANTS_BURST: u32 = 6_000;
/// The same per second; all networks ten times as many.
pub const SHOWN_GRANTS_PER_SECOND: u32 = 200;
/// Trust exchanges of one network at once.
pub const TRUST_BURST: u32 = 12_000;
/// The same per second.
pub const TRUST_PER_SECOND: u32 = 2_000;
/// Reads of one network at once.
pub const READS_BURST: u32 = 2_000;
/// The same per second.
pub const READS_PER_SECOND: u32 = 200;
/// Microseconds of work per second that trust exchanges and reads of all networks may cost together: half a core. So many at once too; of that a
/// network has three quarters.
pub const READING_US_PER_SECOND: u32 = 500_000;
/// What a trust exchange or a read is charged before it begins, in microseconds, until one has shown what it costs.
pub const READING_FORESEEN_US: u64 = 200;
/// Searches of one network at once.
pub const SEARCHES_BURST: u32 = 20;
/// The same per second.
pub const SEARCHES_PER_SECOND: u32 = 5;
/// Entries and sets of answers that are published together; the repeats among them share a signature.
pub const PUBLISHED_AT_ONCE_MAX: usize = 256;
/// Names that the page of an unknown name shows as near it.
pub const NEAR_NAMES_MAX: usize = 20;
/// Searches of one network that wait for the one worker.
pub const SEARCHES_WAITING_PER_NETWORK_MAX: u64 = 8;
/// The same of all networks.
pub const SEARCHES_WAITING_MAX: u64 = 64;
/// KiB of bodies of one network that were taken and led to nothing, at once.
pub const BODIES_FOR_NOTHING_KIB_BURST: u32 = 8 * 1024;
/// The same per second.
pub const BODIES_FOR_NOTHING_KIB_PER_SECOND: u32 = 1024;
/// Bodies that nobody reads are still drained until a network owes so many times what it may have at once, so that whoever is refused reads why.
pub const BODIES_DRAINED_BURSTS: u64 = 2;
/// A body with no more bytes than this costs about what its request costs: one renewal, one checkout. It is always read, and free.
pub const BODY_BYTES_FREE: usize = 4 * 1024;
/// About what one renewal takes in the body of a batch: so much is charged for one that is refused, at least.
pub const REFUSED_RENEWAL_BYTES: usize = 256;
/// Answers to what came too often that one network has at once; more are kept back.
pub const REFUSALS_BURST: u32 = 200;
/// The same per second.
pub const REFUSALS_PER_SECOND: u32 = 500;
/// Such an answer is kept back no longer.
pub const REFUSAL_PAUSE_MS_MAX: u64 = 2_000;
/// Event streams of one network.
pub const EVENT_STREAMS_PER_NETWORK_MAX: u64 = 8;
/// Event streams over the network.
pub const EVENT_STREAMS_MAX: u64 = 200;
/// Event streams over the Unix socket, whoever opens them, beside those over the network.
pub const EVENT_STREAMS_VIEWERS_MAX: usize = 56;
/// Bytes of one piece of an event stream, and of history that one read takes from the journal.
pub const EVENT_PIECE_BYTES: usize = 32 * 1024;
/// Leases that the presence connections of one network stand for, each counted once for every connection.
pub const PRESENCE_PER_NETWORK_MAX: u64 = 200_000;
/// The same of all networks.
pub const PRESENCE_MAX: u64 = 1_000_000;
const _: () = assert!(
    triquest_allocator::limits::PRESENCE_WAIT_MS == triquest_wire::limits::PRESENCE_WAIT_MS,
    "clients come back in the time that the server waits"
);
/// Ends of presence connections that are told the leader at once by the server itself.
pub const PRESENCE_ENDS_AT_ONCE: usize = 8;
/// Leases of one such end that are told at once.
pub const PRESENCE_END_LEASES: usize = 64;
/// An end that the leader had no room for is told again after this.
pub const PRESENCE_END_AGAIN_MS: u64 = 100;
/// The leader is told of such networks this often at most.
pub const TURNED_AWAY_AGAIN_MS: u64 = 1_000;
/// A connection that waits for so long for the turn of its handshake may be a client that comes back in vain.
pub const HANDSHAKE_LATE_MS: u64 = 1_000;
/// A waiter that asks again within this is told its place without a decision.
pub const WAITER_ASKS_AGAIN_MS: u64 = 1_000;
/// Decisions that one waiter may ask for at once while it waits: a client asks anew, withdraws its wait, and may repeat that.
pub const WAITER_ASKS_BURST: u32 = 5;
/// The same per second.
pub const WAITER_ASKS_PER_SECOND: u32 = 1;
/// Networks that the log and `status` tell apart for each limit; of more, the busiest stay.
pub const SAID_NETWORKS_MAX: usize = 16;
/// Between two lines of one kind that peers cause in the log.
pub const SAID_AGAIN_MS: u64 = 60_000;
/// A limit that nobody has come up against for so long is not shown any more.
pub const SHOWN_MS_MAX: u64 = 15 * 60_000;
/// Most networks that a status names as without early freeing.
pub const PRESENCE_OFF_SHOWN_MAX: usize = 100;
/// Most licenses that shown grants need and nobody installed, of those that a status names.
pub const UNKNOWN_LICENSES_MAX: usize = 16;
/// Longest name of a backup.
pub const BACKUP_NAME_BYTES_MAX: usize = 200;
/// Messages on their way to the leader, which takes all of them at once: the queues proper are the engine's. Whoever finds it full waits.
pub const MESSAGES_MAX: usize = 256;
/// Events that are kept for readers that are a little behind; older ones are read from the journal.
pub const RECENT_EVENTS_MAX: usize = 16_384;
/// Slots of a table of rates by network.
pub const RATE_SLOTS: usize = 65_536;

/// How many at once, and how many per second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frequency {
    /// At once.
    pub burst: u32,
    /// Per second.
    pub per_second: u32,
}

impl Frequency {
    const fn new(burst: u32, per_second: u32) -> Self {
        Self { burst, per_second }
    }

    /// As a rate.
    #[must_use]
    pub fn rate(self) -> Rate {
        Rate::new(self.burst, self.per_second)
    }
}

/// A [`Frequency`] for one network, and for all together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrequencyShare {
    /// One network.
    pub network: Frequency,
    /// All together.
    pub all: Option<Frequency>,
}

impl FrequencyShare {
    /// As rates.
    #[must_use]
    pub fn share(self) -> RateShare {
        RateShare { network: self.network.rate(), all: self.all.map(Frequency::rate) }
    }
}

/// All limits of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections; the largest network's idlest closes.
    pub connections: Share,
    /// Connections without a whole ClientHello; the oldest closes.
    pub hellos: Share,
    /// For how long a place among them is safe from its own network, milliseconds.
    pub hello_settled_ms: u64,
    /// Connections that wait for a place among them; more are closed.
    pub hellos_waiting: Share,
    /// Time for a ClientHello, milliseconds.
    pub hello_ms: u64,
    /// Handshakes that are computed at once.
    pub handshakes: usize,
    /// HTTP/2 connections; more are sent away.
    pub http2: Share,
    /// Bytes of answers that were not taken; the connection closes.
    pub unsent_bytes: Share,
    /// Time to take an answer, milliseconds.
    pub answer_taken_ms: u64,
    /// Bytes of bodies that are being read.
    pub unread_bytes: Share,
    /// New or unknown lease ids.
    pub new_ids: FrequencyShare,
    /// Recorded denials of one feature.
    pub denials: FrequencyShare,
    /// Recorded denials of all features.
    pub denials_all: FrequencyShare,
    /// Signed grants that are shown.
    pub shown_grants: FrequencyShare,
    /// Decisions that one waiter asks for while it waits.
    pub waiter_asks: Frequency,
    /// Trust exchanges.
    pub trust: FrequencyShare,
    /// Reads.
    pub reads: FrequencyShare,
    /// Microseconds of work for trust exchanges and reads.
    pub reading_us: Frequency,
    /// Searches in the port reference.
    pub searches: FrequencyShare,
    /// KiB of bodies that were taken and led to nothing.
    pub nothing_kib: FrequencyShare,
    /// Answers to what came too often; more are kept back.
    pub refusals: FrequencyShare,
    /// Event streams over the network.
    pub event_streams: Share,
    /// Event streams over the Unix socket.
    pub event_streams_viewers: usize,
    /// Leases that presence connections stand for, each counted once for every connection.
    pub presence: Share,
}

impl Default for Limits {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let server = |network: Frequency, bursts: u32, rates: u32| FrequencyShare {
            network,
            all: Some(Frequency::new(network.burst.saturating_mul(bursts), network.per_second.saturating_mul(rates))),
        };
        let only = |network| FrequencyShare { network, all: None };
        Self {
            connections: Share { network: CONNECTIONS_PER_NETWORK_MAX, all: triquest_wire::limits::CONNECTIONS_MAX as u64 },
            hellos: Share { network: HELLOS_PER_NETWORK_MAX, all: HELLOS_MAX },
            hello_settled_ms: HELLO_SETTLED_MS,
            hellos_waiting: Share { network: HELLOS_WAITING_PER_NETWORK_MAX, all: HELLOS_WAITING_MAX },
            hello_ms: HELLO_MS_MAX,
            handshakes: (cores / 2).max(1),
            http2: Share { network: HTTP2_PER_NETWORK_MAX, all: HTTP2_MAX },
            unsent_bytes: Share { network: UNSENT_PER_NETWORK_BYTES_MAX, all: UNSENT_BYTES_MAX },
            answer_taken_ms: ANSWER_TAKEN_MS_MAX,
            unread_bytes: Share { network: UNREAD_PER_NETWORK_BYTES_MAX, all: UNREAD_BYTES_MAX },
            new_ids: server(Frequency::new(NEW_IDS_BURST, NEW_IDS_PER_SECOND), 2, 10),
            denials: only(Frequency::new(DENIALS_BURST, DENIALS_PER_SECOND)),
            denials_all: FrequencyShare {
                network: Frequency::new(DENIALS_ALL_BURST, DENIALS_ALL_PER_SECOND),
                all: Some(Frequency::new(8 * DENIALS_SERVER_PER_SECOND, DENIALS_SERVER_PER_SECOND)),
            },
            shown_grants: FrequencyShare {
                network: Frequency::new(SHOWN_GRANTS_BURST, SHOWN_GRANTS_PER_SECOND),
                all: Some(Frequency::new(2 * SHOWN_GRANTS_BURST, 10 * SHOWN_GRANTS_PER_SECOND)),
            },
            waiter_asks: Frequency::new(WAITER_ASKS_BURST, WAITER_ASKS_PER_SECOND),
            trust: only(Frequency::new(TRUST_BURST, TRUST_PER_SECOND)),
            reads: only(Frequency::new(READS_BURST, READS_PER_SECOND)),
            reading_us: Frequency::new(READING_US_PER_SECOND, READING_US_PER_SECOND),
            searches: only(Frequency::new(SEARCHES_BURST, SEARCHES_PER_SECOND)),
            nothing_kib: only(Frequency::new(BODIES_FOR_NOTHING_KIB_BURST, BODIES_FOR_NOTHING_KIB_PER_SECOND)),
            refusals: only(Frequency::new(REFUSALS_BURST, REFUSALS_PER_SECOND)),
            event_streams: Share { network: EVENT_STREAMS_PER_NETWORK_MAX, all: EVENT_STREAMS_MAX },
            event_streams_viewers: EVENT_STREAMS_VIEWERS_MAX,
            presence: Share { network: PRESENCE_PER_NETWORK_MAX, all: PRESENCE_MAX },
        }
    }
}

impl Limits {
    /// The same with what the configuration says, and with no more connections than so many open files allow.
    #[must_use]
    pub fn with(mut self, config: &config::Limits, files: usize) -> Self {
        let files = u64::try_from(files).unwrap_or(u64::MAX);
        if let Some(connections) = config.connections {
            self.connections.all = connections as u64;
        }
        if let Some(connections) = config.connections_per_address {
            self.connections.network = connections as u64;
        }
        self.connections.all = self.connections.all.min(files);
        self.connections.network = self.connections.network.min(self.connections.all);
        let set = |limit: &mut FrequencyShare, burst: Option<u32>, per_second: Option<u32>| {
            limit.network.burst = burst.unwrap_or(limit.network.burst);
            limit.network.per_second = per_second.unwrap_or(limit.network.per_second);
        };
        set(&mut self.denials, config.denials_burst, config.denials_per_second);
        set(&mut self.new_ids, config.new_ids_burst, config.new_ids_per_second);
        set(&mut self.reads, config.reads_burst, config.reads_per_second);
        // What one feature may have, all features may; and what one network may, all networks may.
        let one = self.denials.network;
        let network = &mut self.denials_all.network;
        *network = Frequency::new(network.burst.max(one.burst), network.per_second.max(one.per_second));
        for limit in [&mut self.denials_all, &mut self.new_ids] {
            let network = limit.network;
            if let Some(all) = &mut limit.all {
                *all = Frequency::new(all.burst.max(network.burst), all.per_second.max(network.per_second));
            }
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_configuration_raises_for_one_is_raised_for_all() {
        let config = config::Limits {
            connections: Some(50),
            denials_burst: Some(1_000_000),
            denials_per_second: Some(100_000),
            new_ids_burst: Some(500_000),
            ..config::Limits::default()
        };
        let limits = Limits::default().with(&config, 1_000);
        assert_eq!(limits.connections, Share { network: 50, all: 50 });
        assert_eq!(limits.denials_all.network, Frequency::new(1_000_000, 100_000));
        assert_eq!(limits.denials_all.all, Some(Frequency::new(1_000_000, 100_000)));
        assert_eq!(limits.new_ids.all, Some(Frequency::new(500_000, 3_000)));
    }
}
