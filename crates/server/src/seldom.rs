//! What peers can cause at any rate is said at most once a minute for each kind, with a count and with who did it most.

use std::{collections::BTreeMap, fmt};

use parking_lot::Mutex;
use triquest_allocator::Network;
use triquest_wire::status::LimitedNetwork;

use crate::limits::{SAID_AGAIN_MS, SAID_NETWORKS_MAX, SHOWN_MS_MAX};

/// Declares the kinds: name, stable text, what is said in the log.
macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident, $text:literal, $is_limit:literal, $says:literal;)*) => {
        /// What peers cause. Kept alphabetical.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Kind { $($(#[$doc])* $name,)* }

        impl Kind {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The stable name, in logs and in `status`.
            #[must_use]
            pub fn as_str(self) -> &'static str { match self { $(Self::$name => $text,)* } }

            /// Whether it is a limit, which `status` shows, or something strange, which only the log does.
            #[must_use]
            pub fn is_limit(self) -> bool { match self { $(Self::$name => $is_limit,)* } }

            /// What it is a limit of, for refusals.
            #[must_use]
            pub fn what(self) -> &'static str {
                match self {
                    Self::Connections => "connections",
                    Self::Denials => "denials",
                    Self::EventStreams => "event streams",
                    Self::Hellos => "connections without TLS",
                    Self::Http2 => "HTTP/2 connections",
                    Self::NewIds => "new lease ids",
                    Self::Presence => "leases that presence connections stand for",
                    Self::Reads => "reads",
                    Self::RefusedBodies => "KiB of bodies that led to nothing",
                    Self::Reopenings | Self::ReopeningsAnywhere => "presence connections that may be opened again",
                    Self::Searches => "searches",
                    Self::ShownGrants => "shown grants",
                    Self::Translated => "presence connections through a translation of addresses",
                    Self::Trust => "trust exchanges",
                    Self::UnreadBodies => "bytes that are being sent",
                    Self::UnsentAnswers => "bytes of answers",
                    Self::WaiterAsks => "asks of one waiter",
                    Self::Cloned | Self::Feedback | Self::Seen => "claims",
                }
            }

            /// In words, for the log.
            #[must_use]
            pub fn says(self) -> &'static str { match self { $(Self::$name => $says,)* } }
        }
    };
}

kinds! {
    /// Two clients use one lease.
    Cloned, "cloned_client", false, "two clients use one lease: same counter, other nonce";
    /// Connections.
    Connections, "connections", true, "connections were closed or refused: the limit of connections is reached";
    /// Recorded denials.
    Denials, "denials", true, "requests were refused: too many were denied";
    /// Event streams.
    EventStreams, "event_streams", true, "event streams were refused: too many are open";
    /// Answers to `was this helpful`.
    Feedback, "feedback", false, "answers to `was this helpful` could not be recorded; the log has the cause at the level debug";
    /// Connections that have not said who they want to talk to.
    Hellos, "hellos", true, "connections were closed: too many have not begun TLS";
    /// HTTP/2 connections.
    Http2, "http2", true, "HTTP/2 connections were sent away: too many are open";
    /// New or unknown lease ids.
    NewIds, "new_ids", true, "requests were refused: too many new lease ids";
    /// Leases that presence connections stand for.
    Presence, "presence", true, "presence connections were refused: they would stand for too many leases";
    /// Looking.
    Reads, "reads", true, "requests were refused: too many reads";
    /// Bodies that were read and then refused.
    RefusedBodies, "refused_bodies", true, "requests were refused: too many large bodies led to nothing";
    /// Connections of a named network had to wait or were turned away before anybody knew whose they were.
    Reopenings, "reopenings", true, "connections of a network in `presence_networks` had to wait or were turned away, and any may be that of a client that comes back: meanwhile nothing is freed early in all of that network";
    /// The same, and nobody knows of which.
    ReopeningsAnywhere, "reopenings_anywhere", true, "connections had to wait or were turned away before anybody knew where they came from, and any may be that of a client that comes back: meanwhile nothing is freed early in any network of `presence_networks`";
    /// Searches in the port reference.
    Searches, "searches", true, "requests were refused: too many searches";
    /// A client says that it saw more of this history than there is, which anybody can say.
    Seen, "seen", false, "clients say that they saw more of this history than there is; without a signed grant that proves nothing";
    /// Signed grants that were shown.
    ShownGrants, "shown_grants", true, "requests were refused: too many signed grants were shown";
    /// Client and server see other addresses: the end of a presence connection frees nothing early.
    Translated, "translated", false, "clients come through something that translates addresses, so a dead program's seats are free only at the end of their time to live; `presence_networks` in the configuration can name such networks";
    /// Trust exchanges.
    Trust, "trust", true, "requests were refused: too many trust exchanges";
    /// Bodies that are being read.
    UnreadBodies, "unread_bodies", true, "requests were refused: too much is being sent";
    /// Answers that are not taken.
    UnsentAnswers, "unsent_answers", true, "connections were closed: their answers were not taken";
    /// Asks of waiters.
    WaiterAsks, "waiter_asks", true, "requests were refused: a waiter asked again and again";
}

/// What is to be said now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// What.
    pub kind: Kind,
    /// How often since the last line.
    pub times: u64,
    /// Who most.
    pub network: Option<Network>,
    /// How many networks, as far as they are told apart.
    pub networks: usize,
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kind.says())?;
        let times = if self.times == 1 { "once".to_owned() } else { format!("{} times", self.times) };
        match (self.network, self.networks) {
            (None, _) => write!(f, " ({times})"),
            (Some(network), 0 | 1) => write!(f, " (network {network}, {times})"),
            (Some(network), _) => write!(f, " ({times}, most by network {network})"),
        }
    }
}

#[derive(Debug, Default)]
struct Row {
    said_ms: Option<u64>,
    /// Since the last line.
    unsaid: u64,
    networks: BTreeMap<Network, Seen>,
    /// What concerns every network.
    everywhere: Seen,
}

#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    /// Since it was first kept.
    times: u64,
    /// Since the last line.
    unsaid: u64,
    last_ms: u64,
}

/// Counts, and says when it is time to say something. Its size is fixed by [`Kind`] and [`SAID_NETWORKS_MAX`].
#[derive(Debug)]
pub struct Seldom(Mutex<Vec<Row>>);

impl Default for Seldom {
    fn default() -> Self {
        Self(Mutex::new(Kind::ALL.iter().map(|_| Row::default()).collect()))
    }
}

impl Seldom {
    /// It happened once more. What is returned should be said now.
    pub fn note(&self, kind: Kind, network: Option<Network>, now_ms: u64) -> Option<Said> {
        let mut rows = self.0.lock();
        let row = rows.get_mut(kind as usize)?;
        row.unsaid += 1;
        if let Some(network) = network {
            let mut taken_over = 0;
            if !row.networks.contains_key(&network)
                && row.networks.len() >= SAID_NETWORKS_MAX
                && let Some((rarest, times)) = row.networks.iter().min_by_key(|(_, seen)| seen.times).map(|(of, seen)| (*of, seen.times))
            {
                // The newcomer takes over the count, or two that take turns would keep each other at one for ever.
                row.networks.remove(&rarest);
                taken_over = times;
            }
            let seen = row.networks.entry(network).or_insert(Seen { times: taken_over, ..Seen::default() });
            seen.times += 1;
            seen.unsaid += 1;
            seen.last_ms = now_ms;
        } else {
            row.everywhere.times += 1;
            row.everywhere.last_ms = now_ms;
        }
        row.say(kind, now_ms)
    }

    /// What is left to say of kinds that have been quiet for their minute.
    pub fn due(&self, now_ms: u64) -> Vec<Said> {
        let mut rows = self.0.lock();
        Kind::ALL.iter().zip(rows.iter_mut()).filter(|(_, row)| row.unsaid > 0).filter_map(|(kind, row)| row.say(*kind, now_ms)).collect()
    }

    /// The networks that came up against a limit lately, or only this one.
    #[must_use]
    pub fn limited(&self, only: Option<Network>, now_ms: u64) -> Vec<LimitedNetwork> {
        let limits = Kind::ALL.iter().filter(|kind| kind.is_limit());
        let limited = limits.flat_map(|kind| {
            let limit = |(network, times, last_ms)| LimitedNetwork { limit: kind.as_str().to_owned(), network, times, last_ms };
            self.lately(*kind, only, now_ms).into_iter().map(limit)
        });
        limited.collect()
    }

    /// Of whom one kind was noted lately, or only whether of this one: network, how often, and how long ago the last time was.
    #[must_use]
    pub fn lately(&self, kind: Kind, only: Option<Network>, now_ms: u64) -> Vec<(String, u64, u64)> {
        let rows = self.0.lock();
        let Some(row) = rows.get(kind as usize) else { return Vec::new() };
        let networks = row.networks.iter().filter(|(network, _)| only.is_none_or(|only| only == **network));
        let everywhere = Some(&row.everywhere).filter(|seen| kind == Kind::ReopeningsAnywhere && seen.times > 0);
        let seen = networks.map(|(network, seen)| (network.to_string(), seen)).chain(everywhere.map(|seen| ("*".to_owned(), seen)));
        let seen = seen.map(|(network, seen)| (network, seen.times, now_ms.saturating_sub(seen.last_ms)));
        seen.filter(|(_, _, ago_ms)| *ago_ms <= SHOWN_MS_MAX).collect()
    }
}

impl Row {
    fn say(&mut self, kind: Kind, now_ms: u64) -> Option<Said> {
        if self.said_ms.is_some_and(|said_ms| now_ms.saturating_sub(said_ms) < SAID_AGAIN_MS) {
            return None;
        }
        self.said_ms = Some(now_ms);
        let times = std::mem::take(&mut self.unsaid);
        let recent = |seen: &Seen| seen.unsaid > 0;
        let networks = self.networks.values().filter(|seen| recent(seen)).count();
        let network =
            self.networks.iter().filter(|(_, seen)| recent(seen)).max_by_key(|(_, seen)| seen.unsaid).map(|(network, _)| *network);
        for seen in self.networks.values_mut() {
            seen.unsaid = 0;
        }
        Some(Said { kind, times, network, networks })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::net::IpAddr;

    use super::*;

    fn network(last: u8) -> Network {
        Network::from(IpAddr::from([10, 0, 0, last]))
    }

    #[test]
    fn what_concerns_every_network_is_shown_to_all() {
        let seldom = Seldom::default();
        assert_eq!(seldom.limited(Some(network(1)), 0), []);
        seldom.note(Kind::ReopeningsAnywhere, None, 0);
        let shown = seldom.limited(Some(network(1)), 7);
        assert_eq!(shown.iter().map(|limited| (limited.network.as_str(), limited.last_ms)).collect::<Vec<_>>(), [("*", 7)]);
        assert_eq!(seldom.limited(None, SHOWN_MS_MAX + 1), []);
    }

    #[test]
    fn the_page_of_the_status_lists_every_limit_by_its_name() {
        let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/operate/status.md")).unwrap();
        let (_, table) = page.split_once("| LIMIT | what was refused or closed |\n|---|---|\n").expect("the page has a table of limits");
        let listed: Vec<_> = table.lines().map_while(|line| Some(line.strip_prefix("| ")?.split_once(" |")?.0)).collect();
        let limits: Vec<_> = Kind::ALL.iter().filter(|kind| kind.is_limit()).map(|kind| kind.as_str().replace('_', " ")).collect();
        assert_eq!(listed, limits);
    }

    #[test]
    fn each_kind_is_said_once_a_minute_with_a_count_and_with_who_did_it_most() {
        let seldom = Seldom::default();
        let first = seldom.note(Kind::Denials, Some(network(1)), 0).unwrap();
        assert_eq!(first.to_string(), "requests were refused: too many were denied (network 10.0.0.1, once)");
        for number in 0..1_000 {
            assert_eq!(seldom.note(Kind::Denials, Some(network(if number % 4 == 0 { 2 } else { 3 })), 1_000 + number), None);
        }
        assert!(seldom.note(Kind::Cloned, Some(network(1)), 2_000).is_some(), "another kind");
        assert_eq!(seldom.due(59_999), []);
        let rest = seldom.due(60_000);
        assert_eq!(rest[0].to_string(), "requests were refused: too many were denied (1000 times, most by network 10.0.0.3)");
        assert_eq!(seldom.due(200_000), []);
    }

    #[test]
    fn a_million_networks_take_no_more_room_than_sixteen_and_the_busiest_stays() {
        let seldom = Seldom::default();
        for number in 0..100_000u32 {
            seldom.note(Kind::Reads, Some(Network::from(IpAddr::from(number.to_be_bytes()))), 0);
            seldom.note(Kind::Reads, Some(network(1)), 0);
        }
        let limited = seldom.limited(None, 0);
        assert_eq!(limited.len(), SAID_NETWORKS_MAX);
        assert!(limited.iter().any(|limited| limited.network == "10.0.0.1" && limited.times >= 100_000));
        assert_eq!(seldom.limited(Some(network(1)), 0).len(), 1);
        assert!(seldom.limited(None, SHOWN_MS_MAX + 1).is_empty());
    }

    #[test]
    fn kinds_stand_in_order_and_have_names_of_their_own() {
        let listed = include_str!("../../wire/src/status.rs");
        let missing = Kind::ALL.iter().filter(|kind| kind.is_limit() && !listed.contains(&format!("`{}`", kind.as_str())));
        assert_eq!(missing.collect::<Vec<_>>(), [] as [&Kind; 0], "the member `limit` of a status names them");
        assert!(Kind::ALL.windows(2).all(|pair| pair[0] < pair[1] && pair[0].as_str() != pair[1].as_str()));
        for (place, kind) in Kind::ALL.iter().enumerate() {
            assert_eq!(*kind as usize, place);
        }
    }
}
