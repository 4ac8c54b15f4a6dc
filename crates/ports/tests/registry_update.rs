//! Reading IANA's files at run time: what is taken, what is refused, what changed, and where it is kept.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::Write as _;

use proptest::prelude::*;
use triquest_ports::registry::{
    Assignment, Change, FoundIn, Older, Places, Protocol, Registry, RegistryError, StoreError, changes, current, store,
};

const CSV: &str = include_str!("data/registry.csv");
const XML: &str = include_str!("data/registry.xml");

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packed = flate2::GzBuilder::new().write(Vec::new(), flate2::Compression::fast());
    packed.write_all(bytes).unwrap();
    packed.finish().unwrap()
}

/// A file with `columns` in place of the fixture's records.
fn csv(records: &str) -> String {
    format!("{}\n{records}", CSV.lines().next().unwrap())
}

fn csv_error(records: &str) -> (usize, String) {
    match Registry::from_csv(csv(records).as_bytes()) {
        Err(RegistryError::Csv { line, reason }) => (line, reason),
        other => panic!("{records:?}: {other:?}"),
    }
}

fn xml_error(from: &str, to: &str) -> (usize, String) {
    assert!(XML.contains(from), "{from}");
    match Registry::from_xml(XML.replacen(from, to, 1).as_bytes()) {
        Err(RegistryError::Xml { line, reason }) => (line, reason),
        other => panic!("{to:?}: {other:?}"),
    }
}

/// The built-in registry, of another day.
fn dated(day: &str) -> Registry {
    let mut packed = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&Registry::embedded().encode()[..]), &mut packed).unwrap();
    let text = String::from_utf8(packed).unwrap().replacen("2025-02-25", day, 1);
    Registry::decode(&gzip(text.as_bytes())).unwrap()
}

#[test]
fn xml_and_csv_of_the_same_records_give_the_same_table() {
    let (xml, csv) = (Registry::from_xml(XML.as_bytes()).unwrap(), Registry::from_csv(CSV.as_bytes()).unwrap());
    assert_eq!(xml.records(), 11);
    assert!(xml.entries().eq(csv.entries()), "{:#?}\n{:#?}", xml.entries().collect::<Vec<_>>(), csv.entries().collect::<Vec<_>>());
    assert_eq!((xml.updated(), csv.updated()), ("2025-02-13".parse().unwrap(), "2025-02-13".parse().unwrap()));
    assert!(xml.origin().ends_with("(XML)"));
    assert!(csv.origin().ends_with("(CSV, dated by its newest record)"));
    assert_eq!(changes(&xml, &csv).total(), 0);
}

#[test]
fn the_first_bytes_say_which_form_a_file_has() {
    let plain = Registry::from_file(CSV.as_bytes()).unwrap();
    assert_eq!(Registry::from_file(&gzip(CSV.as_bytes())).unwrap(), plain);
    assert_eq!(Registry::from_file(format!("\u{feff}{CSV}").as_bytes()).unwrap(), plain);
    assert_eq!(Registry::from_file(CSV.replace('\n', "\r\n").as_bytes()).unwrap(), plain);
    assert_eq!(Registry::from_file(CSV.trim_end().as_bytes()).unwrap(), plain);
    assert_eq!(Registry::from_file(XML.as_bytes()).unwrap(), Registry::from_file(&gzip(XML.as_bytes())).unwrap());
    for other in [&b""[..], b"PK\x03\x04", b"\xff\xfe", b"port,name\n", b"<html><body>Not Found</body></html>", b"<registry id=\"x\"/>"] {
        assert_eq!(Registry::from_file(other), Err(RegistryError::Unknown), "{other:?}");
    }
    let cut = gzip(XML.as_bytes());
    assert_eq!(Registry::from_file(&cut[..cut.len() - 9]), Err(RegistryError::Gzip));
}

#[test]
fn a_wrong_csv_is_refused_with_its_line() {
    let good = "a,1,tcp,A,,,2020-01-01,,,,,\n";
    assert_eq!(Registry::from_csv(csv(good).as_bytes()).unwrap().records(), 1);
    assert_eq!(csv_error(&format!("{good}b,65536,tcp,,,,,,,,,\n")), (3, "\"65536\" is not a port".to_owned()));
    assert_eq!(csv_error(&format!("{good}\"b\n\n\",1,tcp,,,,,,,,,\nb,+1,tcp,,,,,,,,,\n")), (6, "\"+1\" is not a port".to_owned()));
    assert_eq!(csv_error("b,2-1,tcp,,,,,,,,,\n").1, "\"2-1\" is not a port");
    assert_eq!(csv_error("b,1,quic,,,,,,,,,\n").1, "\"quic\" is not a known protocol");
    assert_eq!(csv_error("b,1,tcp,,,,2023-02-29,,,,,\n").1, "\"2023-02-29\" is not a date");
    assert_eq!(csv_error("b,1,dccp,,,,,,,-1,,\n").1, "\"-1\" is not a service code");
    assert_eq!(csv_error("b,1,tcp\n").1, "a record has 3 fields, not 12");
    assert_eq!(csv_error(&format!("b{}\n", ",".repeat(99_999))).1, "a record has too many fields");
    assert_eq!(csv_error(",,tcp,no name,,,,,,,,\n").1, "a record has neither a service name nor a port");
    assert_eq!(csv_error("b,1,tcp,\"open").1, "a quoted field does not end");
    assert_eq!(csv_error("b,1,tcp,\"a\"b,,,,,,,,\n").1, "words follow a quoted field");
    assert_eq!(csv_error("b,1,tcp,a\"b,,,,,,,,\n").1, "a quotation mark stands in a field without them");
    assert_eq!(csv_error(&format!("b,1,tcp,{},,,,,,,,\n", "x".repeat(8_193))).1, "a field has more than 8192 bytes");
    assert_eq!(csv_error(&format!("b,1,tcp,\"{}\",,,,,,,,\n", "x".repeat(8_193))).1, "a field has more than 8192 bytes");
    assert_eq!(csv_error(&format!("{},1,tcp,,,,,,,,,\n", "n".repeat(65))).1, "a service name has more than 64 bytes");
    assert_eq!(csv_error(&format!("b,1,tcp,,{},,,,,,,\n", "[p]".repeat(65))).1, "a list has more than 64 items or 8192 bytes");
    assert_eq!(csv_error("b,1,tcp,,,,,,,,,\n").1, "no record has a date");
    assert_eq!(csv_error("").1, "no record has a date");
    let other = CSV.replacen("Port Number", "Port", 1);
    assert!(matches!(Registry::from_csv(other.as_bytes()), Err(RegistryError::Csv { line: 1, .. })));
    let mut bytes = csv(good).into_bytes();
    bytes.extend(b"\xff");
    assert!(matches!(Registry::from_csv(&bytes), Err(RegistryError::Csv { line: 3, .. })));
}

#[test]
fn a_wrong_xml_is_refused_with_its_line() {
    assert_eq!(xml_error("<number>0</number>", "<number>65536</number>"), (18, "\"65536\" is not a port".to_owned()));
    assert_eq!(xml_error("<protocol>tcp</protocol>", "<protocol>quic</protocol>").1, "\"quic\" is not a known protocol");
    assert_eq!(xml_error("2024-12-20", "2024-13-20"), (15, "\"2024-13-20\" is not a date".to_owned()));
    assert_eq!(xml_error("1145656131", "4294967296").1, "\"4294967296\" is not a service code");
    assert_eq!(xml_error("<updated>2025-02-13</updated>", "").1, "the registry has no date");
    assert_eq!(xml_error("z-wave", &"n".repeat(65)).1, "a service name has more than 64 bytes");
    assert_eq!(xml_error("Reserved", &"x".repeat(8_193)).1, "a field has more than 8192 bytes");
    assert_eq!(xml_error("<name>z-wave</name>", "").1, "a record has neither a service name nor a port");
    xml_error("</registry>", "");
    xml_error("z-wave", "z\u{1}wave");
    xml_error("z-wave", "&unknown;");
    xml_error("<registry", "<!DOCTYPE registry [<!ENTITY a \"aaaaaaaaaa\"><!ENTITY b \"&a;&a;\">]><registry");
    let empty =
        r#"<registry xmlns="http://www.iana.org/assignments" id="service-names-port-numbers"><updated>2025-02-13</updated></registry>"#;
    assert_eq!(Registry::from_xml(empty.as_bytes()).unwrap_err().to_string(), "line 1 of the XML file: the registry has no records");
}

#[test]
fn elements_that_are_not_known_yet_are_passed_over() {
    let newer = XML.replace("<title>", "<license>CC0</license><title>").replace("<number>0</number>", "<number>0</number><new>1</new>");
    assert_eq!(Registry::from_xml(newer.as_bytes()), Registry::from_xml(XML.as_bytes()));
}

#[test]
fn a_deep_file_ends_in_an_error_not_in_a_stack_overflow() {
    let open = "<description>".repeat(200_000);
    let _ = Registry::from_xml(XML.replacen("<number>0", &format!("{open}<number>0"), 1).as_bytes()).unwrap_err();
    let closed = format!("{open}{}", "</description>".repeat(200_000));
    let _ = Registry::from_xml(XML.replacen("<number>0", &format!("{closed}<number>0"), 1).as_bytes());
}

#[test]
fn what_would_move_or_hide_letters_on_a_terminal_is_left_out() {
    let record = "b,1,tcp,\"one\u{1b}[31m \u{202e}two\u{7}\tthree\u{200b}\",[P\u{9b}_Q],,2020-01-01,,[a\u{1f}b],,,\u{85}x\n";
    let registry = Registry::from_csv(csv(record).as_bytes()).unwrap();
    let entry = &registry.on(1, Protocol::Tcp)[0];
    assert_eq!(entry.description, "one[31m two three");
    assert_eq!((&entry.registrants[..], &entry.references[..], entry.notes), (&["P Q"][..], &["ab"][..], Some("x")));
    assert_eq!(Registry::decode(&registry.encode()).unwrap(), registry);
}

#[test]
fn a_file_with_less_than_half_of_the_records_is_refused() {
    let refused = Registry::embedded().update(XML.as_bytes());
    assert_eq!(refused, Err(RegistryError::Few { found: 11, known: 14_468 }));
    let small = Registry::from_xml(XML.as_bytes()).unwrap();
    assert_eq!(small.update(CSV.as_bytes()).unwrap().records(), 11);
}

#[test]
fn what_an_update_changes_is_told_by_port() {
    let old = Registry::from_csv(CSV.as_bytes()).unwrap();
    let file = CSV
        .replace(",0,tcp,Reserved", "zero,0,tcp,Zero")
        .replace("triquest-lm,1588,udp,triquest-lm", "triquest-lm,1588,udp,TriQuest LM")
        .replace("Discard,", "Throw away,")
        .replace(
            "flex-lm,27000-27009,,FLEX LM (1-10),[Flexera_Software],[Paul_Bland],,2018-02-15,,,,\n",
            "new,9999,tcp,New,,,2026-01-01,,,,,\n",
        );
    let new = Registry::from_csv(file.as_bytes()).unwrap();
    let changes = changes(&old, &new);
    assert_eq!((changes.added, changes.changed, changes.removed, changes.total()), (2, 3, 1, 6));
    let told: Vec<String> = changes
        .listed
        .iter()
        .map(|change| {
            let row = change.row();
            let port = row.ports.unwrap();
            match change {
                Change::Added { .. } => format!("+{port} {}", row.name.unwrap()),
                Change::Changed { before, fields, .. } => format!("{port} {:?} {}", before.name, fields.join(" ")),
                Change::Removed { .. } => format!("-{port} {}", row.name.unwrap()),
            }
        })
        .collect();
    assert_eq!(
        told,
        [
            "0 None name description",
            "9 Some(\"discard\") description",
            "1588 Some(\"triquest-lm\") protocols",
            "+1588 triquest-lm",
            "+9999 new",
            "-27000-27009 flex-lm",
        ]
    );
    let json = serde_json::to_value(&changes).unwrap();
    assert_eq!((&json["listed"][0]["change"], &json["listed"][0]["before"]["description"]), (&"changed".into(), &"Reserved".into()));
}

#[test]
fn the_list_of_changes_is_bounded_and_its_counts_are_not() {
    let small = Registry::from_csv(CSV.as_bytes()).unwrap();
    let changes = changes(&small, Registry::embedded());
    assert_eq!(changes.listed.len(), 1_000);
    assert!(changes.added > 7_000, "{}", changes.added);
}

#[test]
fn the_newest_table_is_used_and_the_users_before_the_machines() {
    let folder = tempfile::tempdir().unwrap();
    let places = Places { system: folder.path().join("system/ports.registry"), user: Some(folder.path().join("a/b/ports.registry")) };
    let user = places.user.clone().unwrap();
    let from = || {
        let current = current(&places);
        assert!(current.unusable.is_empty(), "{:?}", current.unusable);
        current.from
    };
    assert_eq!(from(), FoundIn::Embedded);
    store(&dated("2026-01-01"), &places.system, Older::Refuse).unwrap();
    assert_eq!(from(), FoundIn::System(places.system.clone()));
    store(&dated("2025-12-31"), &user, Older::Refuse).unwrap();
    assert_eq!(from(), FoundIn::System(places.system.clone()));
    store(&dated("2026-01-01"), &user, Older::Refuse).unwrap();
    assert_eq!(from(), FoundIn::User(user.clone()));
    assert_eq!(current(&places).registry, dated("2026-01-01"));
    let without = Places { user: None, ..places.clone() };
    assert_eq!(current(&without).from, FoundIn::System(places.system.clone()));
}

#[test]
fn an_older_table_is_refused_unless_it_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let places = Places { system: folder.path().join("ports.registry"), user: None };
    let old = dated("2024-01-01");
    let refused = store(&old, &places.system, Older::Refuse);
    assert!(matches!(refused, Err(StoreError::Registry(RegistryError::Older { .. }))), "{refused:?}");
    assert!(!places.system.exists());
    // One that a newer program overtook is not used either.
    fs::write(&places.system, old.encode()).unwrap();
    assert_eq!(current(&places).from, FoundIn::Embedded);
    store(&old, &places.system, Older::Accept).unwrap();
    assert_eq!(current(&places).from, FoundIn::System(places.system.clone()));
    assert_eq!(current(&places).registry.updated(), old.updated());
}

#[test]
fn a_damaged_table_is_told_and_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let places = Places { system: folder.path().join("system"), user: Some(folder.path().join("user")) };
    let user = places.user.clone().unwrap();
    let whole = dated("2030-01-01").encode();
    let mut flipped = whole.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    fs::write(&places.system, &whole).unwrap();
    for damaged in [&b""[..], b"triquest", &flipped, &whole[..whole.len() - 1], &gzip(b"other\n")] {
        fs::write(&user, damaged).unwrap();
        let current = current(&places);
        assert_eq!(current.from, FoundIn::System(places.system.clone()));
        assert_eq!(current.unusable.len(), 1);
        assert_eq!(current.unusable[0].path, user);
    }
    fs::write(&places.system, b"").unwrap();
    let both = current(&places);
    assert_eq!((both.from, both.unusable.len()), (FoundIn::Embedded, 2));
    assert_eq!(both.registry, *Registry::embedded());
    // A folder or a socket in its place.
    fs::remove_file(&user).unwrap();
    fs::create_dir(&user).unwrap();
    assert_eq!(current(&places).unusable[0].reason, "it is not a regular file");
    #[cfg(unix)]
    {
        let listener = std::os::unix::net::UnixListener::bind(folder.path().join("socket")).unwrap();
        let socket = Places { system: folder.path().join("socket"), user: None };
        assert_eq!(current(&socket).unusable[0].reason, "it is not a regular file");
        drop(listener);
    }
}

#[cfg(unix)]
#[test]
fn a_kept_table_is_readable_by_all_and_replaced_whole() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("triquest-lm/ports.registry");
    store(Registry::embedded(), &path, Older::Refuse).unwrap();
    store(&dated("2026-01-01"), &path, Older::Refuse).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    let blocked = store(Registry::embedded(), &path.join("below/ports.registry"), Older::Refuse).unwrap_err();
    assert!(blocked.to_string().contains("below"), "{blocked}");
}

#[test]
fn the_usual_places_follow_the_home_and_xdg() {
    use std::path::Path;
    let user = |home: Option<&str>, data: Option<&str>| Places::usual(home.map(Path::new), data.map(Path::new)).user;
    assert_eq!(user(Some("/home/ada"), None).unwrap(), Path::new("/home/ada/.local/share/triquest-lm/ports.registry"));
    assert_eq!(user(Some("/home/ada"), Some("/data")).unwrap(), Path::new("/data/triquest-lm/ports.registry"));
    assert_eq!(user(Some("/home/ada"), Some("data")).unwrap(), Path::new("/home/ada/.local/share/triquest-lm/ports.registry"));
    assert_eq!(user(None, None), None);
    assert_eq!(user(Some(""), Some("")), None);
    assert_eq!(Places::usual(None, None).system, Path::new("/usr/local/share/triquest-lm/ports.registry"));
}

fn field() -> impl Strategy<Value = String> {
    prop_oneof![3 => "[ -~]{0,20}", 1 => "\\PC{0,8}", 1 => any::<String>().prop_map(|text| text.chars().take(8).collect())]
}

fn record() -> impl Strategy<Value = String> {
    let name = prop_oneof!["[a-z][a-z0-9-]{0,14}", Just(String::new())];
    let ports = (any::<u16>(), 0u16..4).prop_map(|(first, more)| match more {
        0 => first.to_string(),
        more => format!("{first}-{}", first.saturating_add(more)),
    });
    let protocol = prop_oneof![Just("tcp"), Just("udp"), Just("sctp"), Just("dccp"), Just("")];
    (name, ports, protocol, proptest::collection::vec(field(), 6)).prop_map(|(name, ports, protocol, fields)| {
        let [description, assignee, contact, reference, unauthorized, notes] =
            fields.iter().map(|field| field.replace('"', "\"\"")).collect::<Vec<_>>().try_into().unwrap();
        format!(
            "{name},{ports},{protocol},\"{description}\",\"[{assignee}]\",\"{contact}\",2020-01-01,2007-06,\"{reference}\",7,\"{unauthorized}\",\"{notes}\"\n"
        )
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn a_table_is_the_same_after_encoding_and_decoding(records in proptest::collection::vec(record(), 1..30)) {
        let registry = Registry::from_csv(csv(&records.concat()).as_bytes()).unwrap();
        prop_assert_eq!(registry.records(), records.len());
        prop_assert_eq!(&Registry::decode(&registry.encode()).unwrap(), &registry);
        prop_assert_eq!(changes(&registry, &registry).total(), 0);
        for entry in registry.entries() {
            if let Some(ports) = entry.ports {
                prop_assert!(registry.on_port(ports.last).contains(&entry));
                let protocol = entry.protocols.named().next().unwrap_or(Protocol::Tcp);
                prop_assert!(!matches!(registry.assignment(ports.first, protocol), Assignment::Dynamic | Assignment::NotListed));
            }
        }
    }

    #[test]
    fn no_bytes_make_a_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let _ = Registry::decode(&bytes);
        let _ = Registry::from_file(&bytes);
        let _ = Registry::from_csv(&bytes);
        let _ = Registry::from_xml(&bytes);
    }

    #[test]
    fn no_text_behind_a_good_start_makes_a_reader_panic(text in "[ -~\\n\"]{0,300}", place in 0usize..2_000, byte in any::<u8>()) {
        let _ = Registry::from_csv(csv(&text).as_bytes());
        let _ = Registry::decode(&gzip(format!("triquest-ports/v1\t2025-02-25\tx\t1\t\n{}", text.replace(' ', "\t")).as_bytes()));
        for whole in [CSV, XML] {
            let mut bytes = whole.as_bytes().to_vec();
            let place = place % bytes.len();
            bytes[place] = byte;
            let _ = Registry::from_file(&bytes);
        }
    }
}
