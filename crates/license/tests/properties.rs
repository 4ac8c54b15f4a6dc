//! What holds of every license, and of every input whatever.
#![allow(clippy::unwrap_used)]

mod support;

use proptest::prelude::*;
use support::{acme, signer};
use triquest_license::{
    CivilDate, CivilMs, Entitlement, FeatureName, LicenseId, LicenseTerms, Note, NoteSignature, Servers, Span, VerifiedLicense,
    VerifierKeys, Version, Word, Written, draft, merkle, read_any, request::ServerRequest,
};

fn name() -> impl Strategy<Value = String> {
    "[A-Za-z0-9][A-Za-z0-9._-]{0,20}"
}

fn written() -> impl Strategy<Value = Written> {
    let date = (2020u16..2090, 1u8..=12, 1u8..=28).prop_map(|(y, m, d)| CivilDate::new(y, m, d).unwrap());
    prop_oneof![
        date.clone().prop_map(Written::Date),
        (date, 0u8..24, 0u8..60, 0u8..60, prop_oneof![Just("Z".to_owned()), "[+-](0[1-9]|1[0-3]):[0-5][0-9]"])
            .prop_map(|(date, h, m, s, offset)| format!("{date}T{h:02}:{m:02}:{s:02}{offset}").parse().unwrap()),
    ]
}

fn span() -> impl Strategy<Value = Span> {
    (1u64..100_000).prop_map(|seconds| Span::from_ms(seconds * 1000))
}

/// Text as a license may hold it, in any script: no double quote and no backslash, which have no spelling there, and no
/// three single quotes in a row, which are refused wherever they stand.
fn free_text() -> impl Strategy<Value = String> {
    "[ -!#-\\[\\]-~¡-¬®-ʯЀ-ӿ一-龥]{1,40}"
        .prop_filter("nothing but spaces, or triple quotes", |text| !text.trim().is_empty() && !text.contains("'''"))
}

prop_compose! {
    fn entitlement()(
        feature in name(),
        version in prop::option::of(prop::collection::vec(any::<u32>(), 1..=4)),
        seats in 1u32..=10_000_000,
        expires_written in prop::option::of(written()),
        ttl in prop::option::of(10_000u64..3_600_000),
        ttl_max in 3_600_000u64..86_400_000,
        linger in prop::option::of(span()),
        grace in span(),
        borrow in prop::option::of(span()),
        presence in any::<bool>(),
        vendor_data in prop::option::of(free_text()),
    ) -> Entitlement {
        Entitlement {
            position: 0,
            feature: FeatureName::new(&feature).unwrap(),
            version: version.map(|parts| Version::new(&parts).unwrap()),
            seats,
            starts: None,
            starts_written: None,
            expires: expires_written.map(Written::ends),
            expires_written,
            ttl: ttl.map(|ms| Span::from_ms(ms / 1000 * 1000)),
            ttl_max: Span::from_ms(ttl_max / 1000 * 1000),
            linger,
            grace,
            borrow,
            presence,
            vendor_data,
            needs: Vec::new(),
            more: Vec::new(),
        }
    }
}

prop_compose! {
    fn terms()(
        license in name(),
        licensee in free_text(),
        issued in written(),
        servers in prop::collection::btree_set(1u8..200, 0..4),
        replaces in prop::collection::btree_set(name(), 0..3),
        entitlements in prop::collection::vec(entitlement(), 1..6),
        keys in 1u8..4,
    ) -> LicenseTerms {
        LicenseTerms {
            license: LicenseId::new(&license).unwrap(),
            vendor: acme().name().clone(),
            verifier: VerifierKeys::new((0..keys).map(|n| signer("acme.example", 100 + n).verifier_key().clone()).collect()).unwrap(),
            licensee,
            issued,
            starts: None,
            servers: if servers.is_empty() { Servers::Any } else { Servers::Keys(servers.into_iter().map(support::server).collect()) },
            replaces: replaces.iter().map(|id| LicenseId::new(id).unwrap()).collect(),
            needs: Vec::new(),
            more: Vec::new(),
            entitlements: (0..).zip(entitlements).map(|(position, entitlement)| Entitlement { position, ..entitlement }).collect(),
            left_out: Vec::new(),
            info: Vec::new(),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn terms_written_and_read_are_the_same_terms(terms in terms()) {
        let text = terms.to_text();
        let read = LicenseTerms::parse(&text).unwrap();
        prop_assert_eq!(&read, &terms);
        prop_assert_eq!(read.to_text(), text);
    }

    #[test]
    fn signed_and_read_back_in_every_form_it_is_the_same_note(terms in terms(), width in 20usize..100) {
        let signers: Vec<_> = (0..terms.verifier.len()).map(|n| signer("acme.example", 100 + n as u8)).collect();
        let note = Note::sign(&terms.to_text(), &signers).unwrap();
        let file = note.to_file_bytes();
        prop_assert_eq!(&Note::parse(&file).unwrap(), &note);
        prop_assert_eq!(Note::parse(&file).unwrap().to_file_bytes(), file);
        let line = note.to_line();
        prop_assert!(!line.contains(char::is_whitespace));
        let wrapped: String = line.as_bytes().chunks(width).map(|part| format!("{}\r\n  ", String::from_utf8_lossy(part))).collect();
        prop_assert_eq!(&read_any(line.as_bytes()).unwrap(), &note);
        prop_assert_eq!(&read_any(wrapped.as_bytes()).unwrap(), &note);
        let verified = VerifiedLicense::verify_named(&note).unwrap();
        prop_assert_eq!(verified.terms(), &terms);
    }

    #[test]
    fn a_draft_made_from_terms_prepares_to_the_same_rights(terms in terms()) {
        let with = draft::Prepare {
            verifier: &terms.verifier,
            issued: terms.issued,
            now: CivilMs(0),
            any_server: true,
            each_server_counts: true,
            words: triquest_license::Vocabulary::OURS,
        };
        let text = draft::prepare(&draft::from_terms(&terms), &with).unwrap();
        let said = LicenseTerms::parse(&text).unwrap();
        prop_assert_eq!(said.info.last().map(|more| Word::new(&more.key).unwrap().is_grease()), Some(true));
        let mut without = said;
        without.info.pop();
        prop_assert_eq!(without, terms);
    }

    #[test]
    fn bytes_of_any_kind_are_read_or_refused_and_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        if let Ok(note) = read_any(&bytes) {
            let _ = VerifiedLicense::verify_named(&note);
        }
        let _ = ServerRequest::parse(&bytes);
        let _ = draft::from_json(&bytes);
    }

    #[test]
    fn texts_that_look_like_licenses_are_read_or_refused_and_never_panic(
        lines in prop::collection::vec(
            prop_oneof![
                Just(LicenseTerms::FIRST_LINE.to_owned()), Just("[[entitlement]]".to_owned()), Just("\"a\",".to_owned()),
                Just("]".to_owned()), "[a-z_]{1,8} = [\\[\\]\"0-9a-zT:+.,#'{}-]{0,30}", "\\PC{0,30}",
            ],
            0..20,
        ),
        at in any::<prop::sample::Index>(),
        junk in "\\PC{0,4}",
    ) {
        let text = lines.join("\n") + "\n";
        let _ = LicenseTerms::parse(&text);
        let _ = LicenseTerms::parse(&format!("{}\n{text}", LicenseTerms::FIRST_LINE));
        let _ = draft::set(&text, "entitlement[0].seats", "3");
        // And a good one with something put into it.
        let mut good = support::file();
        let mut place = at.index(good.len());
        while !good.is_char_boundary(place) { place -= 1; }
        good.insert_str(place, &junk);
        if let Ok(note) = read_any(good.as_bytes()) {
            prop_assert_eq!(note.to_file_bytes(), good.as_bytes());
        }
    }

    #[test]
    fn a_value_that_was_set_is_read_back_and_nothing_else_changes(value in free_text(), seats in 1u32..10_000_000) {
        let before = support::text();
        let after = draft::set(&before, "licensee", &value).unwrap();
        let after = draft::set(&after, "entitlement.cad-pro.seats", &seats.to_string()).unwrap();
        let mut expected = LicenseTerms::parse(&before).unwrap();
        expected.licensee = value;
        expected.entitlements[0].seats = seats;
        prop_assert_eq!(LicenseTerms::parse(&after).unwrap(), expected);
    }

    #[test]
    fn every_leaf_has_a_path_and_only_its_own(size in 1usize..40, other in any::<prop::sample::Index>()) {
        let leaves: Vec<_> = (0..size).map(|n| merkle::leaf_hash(&n.to_be_bytes())).collect();
        let root = merkle::root(&leaves);
        let paths = merkle::paths(&leaves);
        for (position, (leaf, path)) in leaves.iter().zip(&paths).enumerate() {
            let (position, size) = (position as u64, size as u64);
            prop_assert!(merkle::verify_path(leaf, position, size, path, &root));
            let elsewhere = other.index(leaves.len()) as u64;
            prop_assert_eq!(merkle::verify_path(leaf, elsewhere, size, path, &root), elsewhere == position);
            prop_assert!(!merkle::verify_path(leaf, position, size, path, leaf) || size == 1);
            let longer = [path.as_slice(), &[[0; 32]]].concat();
            prop_assert!(!merkle::verify_path(leaf, position, size, &longer, &root));
            if let Some((_, shorter)) = path.split_last() {
                prop_assert!(!merkle::verify_path(leaf, position, size, shorter, &root));
            }
        }
    }

    #[test]
    fn days_count_up_one_by_one(days in 0i64..2_932_896) {
        let date = CivilDate::of(CivilMs(days * 86_400_000));
        prop_assert_eq!(date.midnight_utc(), CivilMs(days * 86_400_000));
        prop_assert_eq!(date.to_string().parse::<CivilDate>().unwrap(), date);
        prop_assert_eq!(CivilDate::of(CivilMs(days * 86_400_000 + 86_399_999)), date);
    }

    #[test]
    fn versions_compare_as_their_numbers_do(a in prop::collection::vec(0u32..20, 1..=4), b in prop::collection::vec(0u32..20, 1..=4)) {
        let padded = |parts: &[u32]| [parts, &[0; 4]].concat()[..4].to_vec();
        let (x, y) = (Version::new(&a).unwrap(), Version::new(&b).unwrap());
        prop_assert_eq!(x.cmp(&y), padded(&a).cmp(&padded(&b)));
        prop_assert_eq!(x.to_string().parse::<Version>().unwrap().to_string(), x.to_string());
    }

    #[test]
    fn spans_are_read_back_as_written(seconds in 0u64..300_000_000) {
        let span = Span::from_ms(seconds * 1000);
        prop_assert_eq!(span.to_string().parse::<Span>().unwrap(), span);
    }
}

/// The recursion of RFC 6962, section 2.1, word for word.
fn rfc_root(leaves: &[[u8; 32]]) -> [u8; 32] {
    match leaves {
        [] => triquest_license::sha256(b""),
        [leaf] => *leaf,
        _ => {
            let k = leaves.len().next_power_of_two() / 2;
            let (left, right) = leaves.split_at(k);
            triquest_license::sha256(&[&[1][..], &rfc_root(left), &rfc_root(right)].concat())
        }
    }
}

#[test]
fn roots_are_those_of_the_rfc() {
    let leaves: Vec<_> = (0u32..70).map(|n| merkle::leaf_hash(&n.to_be_bytes())).collect();
    for size in 0..=leaves.len() {
        assert_eq!(merkle::root(&leaves[..size]), rfc_root(&leaves[..size]), "{size} leaves");
    }
    // RFC 6962's own tests: the root of no leaf, and of one empty leaf.
    let hex = |bytes: [u8; 32]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!(hex(merkle::root(&[])), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    assert_eq!(hex(merkle::leaf_hash(b"")), "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d");
}

#[test]
fn a_signature_is_added_once_and_within_the_limits() {
    let mut note = support::note();
    let other = signer("witness.example", 3);
    let line = NoteSignature::ed25519(other.verifier_key(), other.key().sign(note.text().as_bytes()));
    note.add_signature(line.clone()).unwrap();
    assert!(note.add_signature(line).is_err());
    for seed in 10..24 {
        let other = signer("witness.example", seed);
        note.add_signature(NoteSignature::ed25519(other.verifier_key(), [1; 64])).unwrap();
    }
    let one_more = signer("witness.example", 99);
    assert!(note.add_signature(NoteSignature::ed25519(one_more.verifier_key(), [1; 64])).is_err());
    assert_eq!(note.signatures().len(), 16);
    assert!(Note::parse(&note.to_file_bytes()).is_ok());
}

#[test]
fn a_private_key_is_read_back_and_shows_only_its_public_half() {
    let signer = acme();
    let read = triquest_license::Signer::from_private_text(&signer.to_private_text()).unwrap();
    assert_eq!(read.verifier_key(), signer.verifier_key());
    assert_eq!(read.key().sign(b"x"), signer.key().sign(b"x"));
    let shown = format!("{signer:?} {:?}", signer.key());
    assert!(!shown.contains("01010101"), "{shown}");
}
