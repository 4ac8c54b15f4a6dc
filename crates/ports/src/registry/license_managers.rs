//! Which ports belong to license managers: by the registry's own words, and by what license managers really use.
//!
//! The first is a pattern over names and descriptions, and two lists from a reading of all that it finds and of all that it might have missed (names and
//! descriptions with `lic`, `lm`, `flex`, `sentinel`, `hasp`, `elan`, `dongle`, `key server` ...). Where nothing says that `lm` is a license manager, and the
//! vendor is not known for one, it is left out: unknown rather than guessed.

use serde::Serialize;

use super::entry::{Entry, Protocol};
use super::table::Registry;

/// Names that the pattern finds and that are no license manager's.
const EXCLUDED: &[&str] = &[
    // A mailbox service; nothing in the record says what `lm` is.
    "mailbox-lm",
];

/// Names of license managers that the pattern does not find.
const INCLUDED: &[&str] = &[
    // By their own words: license verification, validation, system, management, network license service ...
    "asc-slmd",
    "flex-lmadmin",
    "funk-license",
    "gss-xlicen",
    "ilss",
    "nw-license",
    "pq-lic-mgmt",
    "pulsonixnls",
    "ssslic-mgr",
    // Network license managers: Autodesk's (FLEXlm), and that of C&R Technologies.
    "autodesk-nlm",
    "crtech-nlm",
    // The Elan License Manager, and daemons of it: they carry `elmd`, as atex-elmd and interhdl-elmd say in full.
    "aspeclmd",
    "dialogic-elmd",
    "elanlm",
    "es-elmd",
    "gridgen-elmd",
    "jlicelmd",
    "pra-elmd",
    "pra_elmd",
    "sd-elmd",
    "vision-elmd",
    "vision_elmd",
    // Reprise RLM: discovery and web interface.
    "rlm-admin",
    "rlm-disc",
    // Servers of dongles that count seats: CodeMeter, Sentinel LDK (HASP), Sentinel LM, Sentinel Keys, NetHASP.
    "codemeter",
    "codemeter-cmwan",
    "sentinelsrm",
    "sentlm-srv2srv",
    "sntlkeyssrvr",
    "tcpnethaspsrv",
    // iFOR/LS, later IBM License Use Management.
    "ifor-protocol",
    // Sassafras KeyServer and its shadow.
    "keyshadow",
    "keysrvr",
];

/// Ports that license managers really use. The registry may say the same, something else, or nothing: that stands beside each answer.
const PRACTICE: &[Practice] = &[
    practice(1688, 1688, TCP, "Microsoft KMS", "volume activation host", "learn.microsoft.com, SetKeyManagementServicePort"),
    practice(1718, 1718, TCP, "FlexNet Publisher", "lmgrd of COMSOL", "COMSOL 6.2 Installation Guide, The License File"),
    practice(1719, 1719, TCP, "FlexNet Publisher", "vendor daemon LMCOMSOL", "COMSOL 6.2 Installation Guide, The License File"),
    practice(
        1947,
        1947,
        BOTH,
        "Sentinel LDK (HASP)",
        "license manager and its discovery",
        "docs.sentinel.thalesgroup.com, LDK, Remote Communications",
    ),
    practice(4085, 4085, TCP, "Dassault Systèmes DSLS", "license server", "DS License Server Installation Guide, Configuring Clients"),
    practice(5053, 5053, TCP, "Reprise RLM", "license server", "reprisesoftware.com, knowledge base, RLM Server Ports"),
    practice(5053, 5053, UDP, "Reprise RLM", "discovery by broadcast", "reprisesoftware.com, knowledge base, RLM Server Ports"),
    practice(5054, 5054, TCP, "Reprise RLM", "web interface", "reprisesoftware.com, knowledge base, RLM Server Ports"),
    practice(5093, 5093, UDP, "Sentinel RMS", "license manager", "docs.sentinel.thalesgroup.com, RMS, License Manager"),
    practice(
        6001,
        6001,
        UDP,
        "Sentinel Protection Server",
        "license manager of keys",
        "Sentinel System Administrator's Help, About Sentinel Protection Server",
    ),
    practice(6005, 6005, BOTH, "Infor LN SLM", "license server and its discovery", "docs.infor.com, LN 10.8, SlmServer"),
    practice(6200, 6200, TCP, "LM-X", "license server", "docs.x-formation.com, LM-X, License server"),
    practice(6200, 6200, UDP, "LM-X", "discovery by broadcast", "docs.x-formation.com, LM-X, Automatic server discovery"),
    practice(16286, 16286, TCP, "Wolfram MathLM", "license manager", "CVE-2001-1057"),
    practice(22350, 22350, BOTH, "CodeMeter", "license server and its discovery", "CodeMeter Administrator Manual, server settings"),
    practice(22351, 22351, TCP, "CodeMeter", "license server over a wide area network", "CodeMeter Administrator Manual, server settings"),
    practice(27000, 27009, TCP, "FlexNet Publisher", "lmgrd", "FLEXnet Licensing End User Guide, License File Basics"),
];

const TCP: &[Protocol] = &[Protocol::Tcp];
const UDP: &[Protocol] = &[Protocol::Udp];
const BOTH: &[Protocol] = &[Protocol::Tcp, Protocol::Udp];

/// A license manager that is known for a port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LicenseManager {
    /// The product, or where only the registry knows it, the registry's description.
    pub product: String,
    /// How it is known.
    pub known: Known,
    /// What it does on this port, where practice says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<&'static str>,
    /// What the registry says of the port over this protocol: the names, or that there is none.
    pub registry_says: String,
    /// Where it is said: IANA's registry with its date, or the text that says what is used, or both.
    pub sources: Vec<String>,
}

/// How a license manager is known for a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Known {
    /// Registered as such, and used so.
    Both,
    /// Used so by the word of its maker, or of another source that is named, while the registry says something else, or nothing.
    Practice,
    /// Registered as such.
    Registered,
}

/// A port that a license manager really uses.
#[derive(Clone, Copy, Debug)]
struct Practice {
    first: u16,
    last: u16,
    protocols: &'static [Protocol],
    product: &'static str,
    role: &'static str,
    source: &'static str,
}

const fn practice(
    first: u16,
    last: u16,
    protocols: &'static [Protocol],
    product: &'static str,
    role: &'static str,
    source: &'static str,
) -> Practice {
    Practice { first, last, protocols, product, role, source }
}

impl Entry<'_> {
    /// Whether the registry registers this name for a license manager.
    pub fn is_license_manager(&self) -> bool {
        let Some(name) = self.name else { return false };
        !among(EXCLUDED, name) && (pattern(name, self.description) || among(INCLUDED, name))
    }
}

impl Registry {
    /// The license manager that is known for `port` over `protocol`. That does not say that it runs there.
    pub fn license_manager(&self, port: u16, protocol: Protocol) -> Option<LicenseManager> {
        let entries = self.on(port, protocol);
        let registered = entries.iter().find(|entry| entry.is_license_manager());
        let practice =
            PRACTICE.iter().find(|practice| (practice.first..=practice.last).contains(&port) && practice.protocols.contains(&protocol));
        let known = match (registered, practice) {
            (Some(_), Some(_)) => Known::Both,
            (None, Some(_)) => Known::Practice,
            (Some(_), None) => Known::Registered,
            (None, None) => return None,
        };
        let names: Vec<&str> = entries.iter().filter_map(|entry| entry.name).collect();
        let registry_says = if names.is_empty() { self.assignment(port, protocol).words().to_owned() } else { names.join(", ") };
        let product = practice.map(|practice| practice.product).or(registered.map(|entry| entry.description)).unwrap_or_default();
        let by_registry = registered.map(|_| self.source().to_string());
        let by_practice = practice.map(|practice| practice.source.to_owned());
        Some(LicenseManager {
            product: product.to_owned(),
            known,
            role: practice.map(|practice| practice.role),
            registry_says,
            sources: by_registry.into_iter().chain(by_practice).collect(),
        })
    }
}

/// Whether name or description say that it is a license manager.
fn pattern(name: &str, description: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let description = description.to_ascii_lowercase();
    ["license manag", "license server", "licensing"].iter().any(|words| description.contains(words))
        || ["-lm", "_lm", "-lmd", "_lmd"].iter().any(|end| name.ends_with(end))
}

fn among(names: &[&str], name: &str) -> bool {
    names.iter().any(|known| known.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_pattern_finds_356_records_on_180_numbers_and_the_reading_corrects_it() {
        let registry = Registry::embedded();
        let found = |hit: &dyn Fn(&Entry<'_>) -> bool| {
            let hits: Vec<Entry<'_>> = registry.entries().filter(|entry| entry.ports.is_some() && hit(entry)).collect();
            let numbers: BTreeSet<String> = hits.iter().map(|entry| entry.ports.unwrap().to_string()).collect();
            (hits.iter().map(Entry::records).sum::<usize>(), numbers.len())
        };
        // 27000-27009 is one number of the registry.
        assert_eq!(found(&|entry| entry.name.is_some_and(|name| pattern(name, entry.description))), (356, 180));
        assert_eq!(found(&|entry| entry.name.is_some_and(|name| among(EXCLUDED, name))), (2, 1));
        assert_eq!(found(&|entry| entry.is_license_manager()), (415, 209));
    }

    #[test]
    fn every_name_of_the_lists_is_in_the_registry() {
        for name in EXCLUDED.iter().chain(INCLUDED) {
            assert!(!Registry::embedded().named(name).is_empty(), "{name}");
        }
    }
}
