//! The registry as it is built in, against IANA's file that lies beside it, and against the facts that are known of that file.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use triquest_ports::registry::limits::EMBEDDED_BYTES_MAX;
use triquest_ports::registry::{Assignment, Entry, Known, Matched, Protocol, Range, Registry};

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data").join(name)
}

fn source() -> Vec<u8> {
    fs::read(data("iana-service-names-port-numbers.xml.gz")).unwrap()
}

fn names(port: u16, protocol: Protocol) -> Vec<&'static str> {
    Registry::embedded().on(port, protocol).iter().filter_map(|entry| entry.name).collect()
}

fn assignments(port: u16) -> [Assignment; 4] {
    Protocol::ALL.map(|protocol| Registry::embedded().assignment(port, protocol))
}

/// The words are compared, not the bytes: those depend on the version of the packer.
#[test]
fn the_table_is_what_the_source_gives() {
    let registry = Registry::from_file(&source()).unwrap();
    let path = data("registry.bin");
    if std::env::var_os("UPDATE").is_some() && Registry::decode(&fs::read(&path).unwrap()).as_ref() != Ok(&registry) {
        fs::write(&path, registry.encode()).unwrap();
    }
    let table = Registry::decode(&fs::read(&path).unwrap()).unwrap();
    assert!(table == registry, "crates/ports/data/registry.bin is stale: cargo x generate");
}

#[test]
fn the_table_is_small() {
    let size = fs::metadata(data("registry.bin")).unwrap().len();
    assert!(size <= EMBEDDED_BYTES_MAX as u64, "{size} bytes");
}

#[test]
fn the_facts_that_are_known_of_the_file_hold() {
    let registry = Registry::embedded();
    assert_eq!(registry.updated().to_string(), "2025-02-25");
    assert_eq!(registry.origin(), "IANA Service Name and Transport Protocol Port Number Registry (XML)");
    assert_eq!(registry.records(), 14_468);
    let count = |of: &dyn Fn(&Entry<'_>) -> bool| registry.entries().filter(|entry| of(entry)).map(|entry| entry.records()).sum::<usize>();
    assert_eq!(count(&|entry| entry.unauthorized.is_some()), 112);
    assert_eq!(count(&|entry| entry.ports.is_none()), 1_048);
    assert_eq!(count(&|entry| entry.name.is_some()), 12_768);
    assert_eq!(count(&|entry| entry.service_code.is_some()), 4);
    let mut pairs = BTreeMap::<(u16, Protocol), usize>::new();
    for entry in registry.entries().filter(|entry| entry.name.is_some()) {
        for port in entry.ports.into_iter().flat_map(|ports| ports.first..=ports.last) {
            for protocol in entry.protocols.named() {
                *pairs.entry((port, protocol)).or_default() += 1;
            }
        }
    }
    assert_eq!(pairs.values().filter(|names| **names > 1).count(), 226);
}

#[test]
fn port_1588_is_ours() {
    let entries = Registry::embedded().on_port(1588);
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0].name, Some("triquest-lm"));
    assert_eq!(entries[0].description, "triquest-lm");
    assert_eq!(entries[0].registrants, ["Nand Kumar"]);
    assert_eq!(entries[0].contacts, ["Nand Kumar"]);
    assert_eq!(entries[0].protocols.named().collect::<Vec<_>>(), [Protocol::Tcp, Protocol::Udp]);
    assert_eq!(assignments(1588), [Assignment::Assigned, Assignment::Assigned, Assignment::NotListed, Assignment::NotListed]);
    assert_eq!(Range::of(1588), Range::User);
}

/// The site that inspired the port reference was wrong on these.
#[test]
fn ports_1551_and_1576_are_right() {
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        assert_eq!(names(1551, protocol), ["hecmtl-db"]);
        assert_eq!(names(1576, protocol), ["moldflow-lm"]);
    }
    let entry = &Registry::embedded().on_port(1551)[0];
    assert_eq!((entry.description, &entry.registrants[..]), ("HECMTL-DB", &["Maxime Belanger"][..]));
    let entry = &Registry::embedded().on_port(1576)[0];
    assert_eq!((entry.description, &entry.registrants[..]), ("Moldflow License Manager", &["Lech Laskowski"][..]));
    assert!(Registry::embedded().license_manager(1551, Protocol::Tcp).is_none());
    assert!(Registry::embedded().license_manager(1576, Protocol::Tcp).is_some());
}

#[test]
fn the_ends_of_the_ranges_are_told_as_the_registry_has_them() {
    use Assignment::{Assigned, Dynamic, NotListed, Reserved, Unassigned};
    assert_eq!(assignments(0), [Reserved, Reserved, NotListed, NotListed]);
    assert_eq!(assignments(1023)[..2], [Reserved, Reserved]);
    assert_eq!(assignments(1024)[..2], [Reserved, Reserved]);
    assert_eq!(assignments(49000), [Assigned, Reserved, NotListed, NotListed]);
    assert_eq!(assignments(49100), [Unassigned; 4]);
    assert_eq!(assignments(49151), [Reserved; 4]);
    assert_eq!(assignments(49152), [Dynamic; 4]);
    assert_eq!(assignments(65535), [Dynamic; 4]);
    let ranges = [0, 1023, 1024, 49151, 49152, 65535].map(Range::of);
    assert_eq!(ranges, [Range::System, Range::System, Range::User, Range::User, Range::Dynamic, Range::Dynamic]);
}

#[test]
fn rows_of_a_range_speak_of_each_of_its_ports() {
    assert_eq!(assignments(230), [Assignment::Reserved; 4]);
    for port in [6000, 6010, 6063] {
        assert_eq!(names(port, Protocol::Tcp), ["x11"]);
    }
    assert_ne!(names(6064, Protocol::Tcp), ["x11"]);
    // No protocol is named for FlexNet's ports: the row speaks of all, and says of none.
    for port in 27000..=27009 {
        let entries = Registry::embedded().on(port, Protocol::Tcp);
        assert_eq!(entries[0].name, Some("flex-lm"));
        assert_eq!(entries[0].protocols.named().count(), 0);
        assert_eq!(entries[0].ports.unwrap().to_string(), "27000-27009");
        assert_eq!(assignments(port), [Assignment::Assigned; 4]);
    }
}

#[test]
fn what_a_record_says_is_kept() {
    let registry = Registry::embedded();
    let imap = &registry.on(143, Protocol::Tcp)[0];
    assert_eq!(imap.references, ["RFC 3501", "RFC 9051"]);
    assert_eq!((imap.registrants[0], imap.contacts[0]), ("IESG", "IETF Chair"));
    assert_eq!((imap.registered, imap.modified.unwrap().to_string()), (None, "2021-02-22".to_owned()));
    let rlm = &registry.on(5053, Protocol::Tcp)[0];
    // The number that tells IANA's namesakes apart is no part of a name.
    assert_eq!((rlm.registered.unwrap().to_string().as_str(), rlm.registrants[0]), ("2008-07-28", "Matt Christiano"));
    assert_eq!(registry.on(22350, Protocol::Tcp)[0].registered.unwrap().to_string(), "2007-06");
    assert_eq!(registry.on(1947, Protocol::Tcp)[0].unauthorized, Some("Unauthorized Use Known on port 1947"));
    assert_eq!(registry.on(9, Protocol::Dccp)[0].service_code, Some(1_145_656_131));
    let reserved = &registry.on(2, Protocol::Tcp)[0];
    assert_eq!(reserved.notes, Some("De-assigned on 2025-02-13, previously compressnet by [Bernie Volz]"));
    assert!(registry.on(1021, Protocol::Sctp)[0].notes.unwrap().starts_with("It is only appropriate to use these values"));
    assert_eq!(registry.on(7202, Protocol::Tcp)[0].references[0], "TR-352: https://www.broadband-forum.org/technical/download/TR-352.pdf");
    assert!(registry.named("brski-reg-cmp")[0].description.ends_with("Profile (LCMPP) [RFC9483]"));
    assert_eq!(registry.named("dns-push-tls")[0].references, ["RFC8765, Section 6.1"]);
}

#[test]
fn old_names_and_removed_rows_are_told_as_such() {
    let registry = Registry::embedded();
    let old = &registry.named("whois++")[0];
    assert_eq!((old.alias_of(), old.is_historic()), (Some("whoispp"), true));
    let new = &registry.named("netmap-lm")[0];
    assert_eq!((new.replaces(), new.is_historic()), (Some("netmap_lm"), false));
    assert_eq!(assignments(585)[0], Assignment::Withdrawn);
    assert_eq!(assignments(659)[0], Assignment::Withdrawn);
    assert_eq!(assignments(24)[0], Assignment::Assigned);
    assert_eq!(assignments(4)[0], Assignment::Unassigned);
}

#[test]
fn a_name_is_found_in_any_case_and_without_a_port() {
    let registry = Registry::embedded();
    assert_eq!(registry.named("TriQuest-LM"), registry.on_port(1588));
    assert_eq!(registry.named("ssh").len(), 3);
    let ports: Vec<_> = registry.named("http").iter().map(|entry| entry.ports.map(|ports| ports.first)).collect();
    assert!(ports.contains(&Some(80)), "{ports:?}");
    assert!(registry.named("zeromq").iter().all(|entry| entry.ports.is_none()));
    assert!(registry.named("").is_empty());
    assert!(registry.named("triquest").is_empty());
}

#[test]
fn several_names_on_one_pair_are_all_told() {
    assert_eq!(names(80, Protocol::Tcp), ["http", "www", "www-http"]);
    assert_eq!(names(1493, Protocol::Udp), ["netmap-lm", "netmap_lm"]);
}

#[test]
fn every_port_has_an_answer_over_every_protocol() {
    let registry = Registry::embedded();
    let mut assigned = 0;
    for port in 0..=u16::MAX {
        for protocol in Protocol::ALL {
            let assignment = registry.assignment(port, protocol);
            assert_eq!(assignment == Assignment::Dynamic, port >= 49152, "{port} {protocol}");
            assigned += usize::from(assignment == Assignment::Assigned);
        }
    }
    assert!(assigned > 11_000, "{assigned}");
}

#[test]
fn search_puts_the_name_first_then_what_begins_with_it_then_words() {
    let registry = Registry::embedded();
    let found = registry.search("RLM", 10);
    assert_eq!((found.hits[0].entry.name, found.hits[0].matched), (Some("rlm"), Matched::Name));
    assert_eq!((found.hits[1].entry.name, found.hits[1].matched), (Some("rlm-disc"), Matched::Prefix));
    let found = registry.search("license  moldflow", 10);
    assert_eq!((found.total, found.hits[0].entry.name, found.hits[0].matched), (1, Some("moldflow-lm"), Matched::Words));
    let found = registry.search("nand kumar", 10);
    assert!(found.hits.iter().any(|hit| hit.entry.name == Some("triquest-lm")));
    let found = registry.search("license", 3);
    assert_eq!(found.hits.len(), 3);
    assert!(found.total > 100);
    assert_eq!(registry.search("a", usize::MAX).hits.len(), 500);
    // Inside a word is not the word.
    assert_eq!(registry.search("oldflow", 10).total, 0);
    for nothing in ["", "  ", "\u{1b}[31m", &"é".repeat(10_000)] {
        assert_eq!(registry.search(nothing, 10).total, 0);
    }
}

#[test]
fn license_managers_are_told_with_how_they_are_known() {
    let registry = Registry::embedded();
    let known =
        |port, protocol| registry.license_manager(port, protocol).map(|manager| (manager.product, manager.known, manager.registry_says));
    let some = |product: &str, known, says: &str| Some((product.to_owned(), known, says.to_owned()));
    assert_eq!(known(744, Protocol::Tcp), some("Flexible License Manager", Known::Registered, "flexlm"));
    assert_eq!(known(1055, Protocol::Tcp), some("ANSYS - License Manager", Known::Registered, "ansyslmd"));
    assert_eq!(known(5053, Protocol::Tcp), some("Reprise RLM", Known::Both, "rlm"));
    assert_eq!(known(5053, Protocol::Udp), some("Reprise RLM", Known::Both, "rlm-disc"));
    assert_eq!(known(6200, Protocol::Tcp), some("LM-X", Known::Both, "lm-x"));
    assert_eq!(known(27000, Protocol::Tcp), some("FlexNet Publisher", Known::Both, "flex-lm"));
    assert_eq!(known(27009, Protocol::Tcp), some("FlexNet Publisher", Known::Both, "flex-lm"));
    assert_eq!(known(1947, Protocol::Udp), some("Sentinel LDK (HASP)", Known::Both, "sentinelsrm"));
    assert_eq!(known(22350, Protocol::Tcp), some("CodeMeter", Known::Both, "codemeter"));
    // The registry says something else, or nothing.
    assert_eq!(known(1718, Protocol::Tcp), some("FlexNet Publisher", Known::Practice, "h323gatedisc"));
    assert_eq!(known(4085, Protocol::Tcp), some("Dassault Systèmes DSLS", Known::Practice, "ezmessagesrv"));
    assert_eq!(known(6001, Protocol::Udp), some("Sentinel Protection Server", Known::Practice, "x11"));
    assert_eq!(known(16286, Protocol::Tcp), some("Wolfram MathLM", Known::Practice, "unassigned"));
    for (port, protocol) in [
        (80, Protocol::Tcp),
        (505, Protocol::Tcp),
        (625, Protocol::Tcp),
        (1111, Protocol::Tcp),
        (6000, Protocol::Tcp),
        (4085, Protocol::Udp),
    ] {
        assert_eq!(known(port, protocol), None, "{port} {protocol}");
    }
    let sources = registry.license_manager(6200, Protocol::Tcp).unwrap().sources;
    assert_eq!(sources[0], "IANA Service Name and Transport Protocol Port Number Registry (XML), 2025-02-25");
    assert!(sources[1].contains("x-formation"));
    let practice = registry.license_manager(16286, Protocol::Tcp).unwrap().sources;
    assert_eq!(practice, ["CVE-2001-1057"]);
}

#[test]
fn the_report_of_a_port_is_json_with_its_source() {
    let json = serde_json::to_value(Registry::embedded().report(6200)).unwrap();
    assert_eq!(json["port"], 6200);
    assert_eq!(json["range"]["name"], "User Ports");
    assert_eq!(json["range"]["source"], "RFC 6335, section 6");
    assert_eq!(json["protocols"][0]["protocol"], "tcp");
    assert_eq!(json["protocols"][0]["assignment"], "assigned");
    assert_eq!(json["protocols"][0]["license_manager"]["known"], "both");
    assert_eq!(json["protocols"][2]["assignment"], "not-listed");
    assert_eq!(json["entries"][0]["name"], "lm-x");
    assert_eq!(json["entries"][0]["protocols"], serde_json::json!(["tcp", "udp"]));
    assert_eq!(json["entries"][0]["registered"], "2006-10");
    assert_eq!(json["source"]["updated"], "2025-02-25");
    assert_eq!(json["source"]["address"], "https://www.iana.org/assignments/service-names-port-numbers");
    let json = serde_json::to_value(Registry::embedded().report(65535)).unwrap();
    assert_eq!(json["range"]["name"], "Dynamic Ports");
    assert_eq!(json["entries"], serde_json::json!([]));
}
