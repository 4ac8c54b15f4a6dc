//! What was asked and heard, with times: all that the checker gets to see of the outside.

use std::fmt::Write as _;

/// Microseconds since the recording began, of a clock that never goes back.
pub(crate) type Micros = u64;

/// One part of a checkout.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Part {
    pub(crate) feature: String,
    pub(crate) version: Option<String>,
    pub(crate) seats: u64,
}

/// One renewal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Renewal {
    pub(crate) lease: String,
    pub(crate) counter: u64,
    /// As it was sent.
    pub(crate) nonce: String,
    /// The generation of the presence connection that stands for the lease, if the client names one.
    pub(crate) presence: Option<u64>,
}

/// What was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Checkout {
        lease: String,
        attempt: u64,
        nonce: String,
        /// The verifier keys that the client embeds, as it names them.
        keys: Vec<String>,
        parts: Vec<Part>,
        wait_ms: Option<u64>,
    },
    Renew(Renewal),
    Renewals(Vec<Renewal>),
    Release {
        lease: String,
    },
    /// A connection that stands for the lives of these leases from now on, and for those of others no more.
    Presence {
        /// Of this client's presence connections.
        generation: u64,
        leases: Vec<String>,
        dropped: Vec<String>,
    },
    /// An administrator takes a lease back.
    Reclaim {
        lease: String,
        /// At once, and not at the end of its promise.
        now: bool,
    },
    Status,
    /// By the hash of its text, as facts write it.
    Install {
        license: String,
    },
    Remove {
        license: String,
    },
}

/// An answer as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Heard {
    pub(crate) received: Micros,
    pub(crate) status: u16,
    pub(crate) body: String,
}

/// One request, sent once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sending {
    /// Which client; for people.
    pub(crate) client: u32,
    pub(crate) asked: Asked,
    /// Before its first byte was sent.
    pub(crate) sent: Micros,
    /// Nothing if no whole answer was read.
    pub(crate) heard: Option<Heard>,
}

/// How a client left a presence connection that had stood for leases.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Parting {
    /// Which client.
    pub(crate) client: u32,
    pub(crate) generation: u64,
    pub(crate) leases: Vec<String>,
    /// Before the connection ended.
    pub(crate) at: Micros,
    /// The process that holds these leases ended, and the kernel ended the connection in order. Otherwise it lives on, and has reset the connection.
    pub(crate) died: bool,
}

/// What was done to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// From the kill or the wish to stop until it was ready again.
    Down,
    /// Stopped, or started too slowly to count as running.
    Paused,
    /// No room on its disk.
    DiskFull,
}

/// For how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spell {
    pub(crate) fault: Fault,
    pub(crate) from: Micros,
    pub(crate) to: Micros,
}

/// One entitlement as its license says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Terms {
    pub(crate) feature: String,
    /// The newest version of the application that it is for; any if it names none.
    pub(crate) version: Option<String>,
    pub(crate) seats: u64,
    pub(crate) linger_ms: u64,
    /// From this second on, counted since 1970; from the first if it names none.
    pub(crate) starts: Option<i64>,
    /// Until this second.
    pub(crate) expires: Option<i64>,
}

/// A license that may have been installed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LicenseTerms {
    pub(crate) id: String,
    pub(crate) hash: String,
    /// The vendor's name, which says nothing about who it is.
    pub(crate) vendor: String,
    /// The keys that have signed it, as requests name them.
    pub(crate) keys: Vec<String>,
    /// Ids of licenses whose place it takes once it begins.
    pub(crate) replaces: Vec<String>,
    pub(crate) entitlements: Vec<Terms>,
}

/// One reading of the journal: lines of JSON, each a fact, whole at this time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reading {
    pub(crate) done: Micros,
    pub(crate) lines: Vec<String>,
}

/// All of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recording {
    pub(crate) licenses: Vec<LicenseTerms>,
    pub(crate) sendings: Vec<Sending>,
    pub(crate) spells: Vec<Spell>,
    pub(crate) partings: Vec<Parting>,
    /// Facts in the order of the journal, gathered in pieces while the server ran.
    pub(crate) pieces: Vec<Reading>,
    /// The facts once more, all that are kept at the end.
    pub(crate) again: Option<Reading>,
    /// When it began, microseconds since 1970.
    pub(crate) began: i64,
    /// When it was over.
    pub(crate) end: Micros,
}

impl Recording {
    /// As a file for people: one line for each license, sending, spell and fact.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        for license in &self.licenses {
            let _ = writeln!(
                text,
                "license {} of {} signed by {} ({}), replaces {:?}: {:?}",
                license.id,
                license.vendor,
                short(&license.keys),
                license.hash,
                license.replaces,
                license.entitlements
            );
        }
        let mut lines: Vec<(Micros, String)> = self.sendings.iter().map(|sending| (sending.sent, sending.line())).collect();
        lines.extend(self.spells.iter().map(|spell| (spell.from, spell.line())));
        lines.extend(self.partings.iter().map(|parting| (parting.at, parting.line())));
        lines.sort();
        for (_, line) in lines {
            text.push_str(&line);
            text.push('\n');
        }
        for line in self.pieces.iter().flat_map(|piece| &piece.lines) {
            text.push_str(line);
            text.push('\n');
        }
        text
    }
}

/// Keys for people: the beginning of each tells them apart.
pub(crate) fn short(keys: &[String]) -> String {
    let begins: Vec<&str> = keys.iter().map(|key| key.get(..6).unwrap_or(key)).collect();
    begins.join("+")
}

/// Seconds with milliseconds.
pub(crate) fn seconds(at: Micros) -> String {
    format!("{:.4}", at as f64 / 1e6)
}

impl Renewal {
    fn line(&self) -> String {
        let presence = self.presence.map(|generation| format!(" presence {generation}")).unwrap_or_default();
        format!("{} counter {}{presence}", self.lease, self.counter)
    }
}

impl Spell {
    pub(crate) fn line(&self) -> String {
        format!("{} to {}  {:?}", seconds(self.from), seconds(self.to), self.fault)
    }
}

impl Parting {
    pub(crate) fn line(&self) -> String {
        let how = if self.died { "died with" } else { "reset" };
        format!("{} c{} {how} its presence connection {} for {}", seconds(self.at), self.client, self.generation, self.leases.join(", "))
    }
}

impl Sending {
    /// For people, without what is long and says little.
    pub(crate) fn line(&self) -> String {
        let asked = match &self.asked {
            Asked::Checkout { lease, attempt, keys, parts, wait_ms, .. } => {
                let parts: Vec<String> = parts
                    .iter()
                    .map(|part| {
                        let version = part.version.as_deref().map(|version| format!("@{version}")).unwrap_or_default();
                        format!("{}{version}:{}", part.feature, part.seats)
                    })
                    .collect();
                let wait = wait_ms.map(|wait| format!(" wait {wait} ms")).unwrap_or_default();
                format!("checkout {lease} attempt {attempt} {} with {}{wait}", parts.join(","), short(keys))
            }
            Asked::Renew(renewal) => format!("renew {}", renewal.line()),
            Asked::Renewals(renewals) => {
                let named: Vec<String> = renewals.iter().map(Renewal::line).collect();
                format!("renew {}", named.join(", "))
            }
            Asked::Release { lease } => format!("release {lease}"),
            Asked::Presence { generation, leases, dropped } => {
                let without = if dropped.is_empty() { String::new() } else { format!(", without {}", dropped.join(", ")) };
                format!("presence {generation} for {}{without}", leases.join(", "))
            }
            Asked::Reclaim { lease, now } => format!("reclaim {lease}{}", if *now { " now" } else { "" }),
            Asked::Status => "status".to_owned(),
            Asked::Install { license } => format!("install {license}"),
            Asked::Remove { license } => format!("remove {license}"),
        };
        match &self.heard {
            None => format!("{} c{} {asked} -> no answer", seconds(self.sent), self.client),
            Some(heard) => {
                let mut body = heard.body.clone();
                // A signed grant is a kilobyte that nobody reads.
                if let Some(at) = body.find(",\"grant\":\"") {
                    let end = body.find(",\"remaining_ms\"").filter(|end| *end > at).unwrap_or(body.len());
                    body.replace_range(at..end, "");
                }
                if body.len() > 700 {
                    let end = (0..=700).rev().find(|end| body.is_char_boundary(*end)).unwrap_or(0);
                    body.truncate(end);
                    body.push_str("...");
                }
                format!("{} to {} c{} {asked} -> {} {body}", seconds(self.sent), seconds(heard.received), self.client, heard.status)
            }
        }
    }
}
