//! What must be refused of a license, each with its own message and place. Every test takes a good license, changes one
//! thing, signs the change where a vendor could have signed it, and reads what people are told.
#![allow(clippy::unwrap_used)]

mod support;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use support::{acme, file, note, server, signer, text};
use triquest_license::{
    LicenseError, LicenseHash, LicenseTerms, Note, NoteError, NoteSignature, PublicKey, ServerKey, Servers, Signer, SigningKey, TextError,
    VendorName, VerifiedLicense, VerifierKey, VerifierKeyError, limits, read_any,
};

/// As a server that installs it.
fn install(file: &[u8]) -> Result<VerifiedLicense, LicenseError> {
    VerifiedLicense::verify_named(&read_any(file)?)
}

/// As an application that knows acme.example's key.
fn accept(file: &[u8]) -> Result<VerifiedLicense, LicenseError> {
    VerifiedLicense::verify(&read_any(file)?, &[acme().verifier_key().clone()])
}

#[track_caller]
fn refused(file: impl AsRef<[u8]>, place: (usize, usize), message: &str) {
    let error = install(file.as_ref()).expect_err("must be refused");
    let (LicenseError::Text(text) | LicenseError::Note(NoteError::Text(text))) = error else {
        panic!("refused without a place: {error}");
    };
    assert!(text.message.contains(message), "{text}");
    assert_eq!((text.line, text.column), place, "{text}");
}

/// The file that acme.example signs when its text says this; made without our own checks of the text.
fn signed(text: &str) -> String {
    let signature = acme().key().sign(text.as_bytes());
    format!("{text}\n{}", line_of(&acme(), &signature))
}

fn line_of(signer: &Signer, signature: &[u8]) -> String {
    let key = signer.verifier_key();
    let bytes = [&key.id().to_be_bytes()[..], signature].concat();
    format!("\u{2014} {} {}\n", key.name(), STANDARD.encode(bytes))
}

/// A good text with one thing changed, signed.
fn with(from: &str, to: &str) -> String {
    let text = text();
    assert!(text.contains(from), "nothing to change: {from}");
    signed(&text.replacen(from, to, 1))
}

#[test]
fn the_license_that_all_these_change_is_good() {
    assert!(install(file().as_bytes()).is_ok());
    assert!(accept(file().as_bytes()).is_ok());
    assert_eq!(signed(&text()), file());
}

// Signature lines.

#[test]
fn a_second_line_of_the_vendor_is_refused_good_or_bad_in_both_orders() {
    let good = line_of(&acme(), &acme().key().sign(text().as_bytes()));
    let bad = line_of(&acme(), &[7; 64]);
    for lines in [[&good, &good], [&good, &bad], [&bad, &good], [&bad, &bad]] {
        let file = format!("{}\n{}{}", text(), lines[0], lines[1]);
        for result in [install(file.as_bytes()), accept(file.as_bytes())] {
            assert!(matches!(result, Err(LicenseError::Note(NoteError::TwoSignatures { .. }))), "{result:?}");
        }
    }
}

#[test]
fn base64_with_slack_bits_is_refused() {
    // 68 bytes end in one character of which four bits count, and `=`.
    let file = file();
    let last = file.trim_end().rfind(|c| c != '=').unwrap();
    let changed = char::from(file.as_bytes()[last] + 1);
    let slack = format!("{}{changed}{}", &file[..last], &file[last + 1..]);
    refused(&slack, (16, 16), "bits after its end are not zero");
}

#[test]
fn base64_that_is_not_strict_is_refused() {
    let file = file();
    refused(file.trim_end().trim_end_matches('=').to_owned() + "\n", (16, 16), "not strict base64");
    refused(file.replacen("example ", "example !", 1), (16, 16), "not strict base64");
    refused(file.replacen("\u{2014} acme.example", "\u{2014} acme.example ", 1), (16, 3), "has the form");
}

#[test]
fn seventeen_signature_lines_are_refused_and_sixteen_are_not() {
    let mut file = file();
    for seed in 20..35 {
        let other = signer("witness.example", seed);
        file += &line_of(&other, &other.key().sign(text().as_bytes()));
    }
    assert!(install(file.as_bytes()).is_ok());
    file += &line_of(&signer("witness.example", 35), &[1; 64]);
    let error = install(file.as_bytes()).unwrap_err();
    assert_eq!(error.to_string(), "17 signature lines, at most 16 are allowed");
}

#[test]
fn a_file_one_byte_too_large_is_refused() {
    let room = limits::NOTE_BYTES_MAX - file().len();
    let filled = text() + "#" + &"x".repeat(room - 2) + "\n";
    let file = signed(&filled);
    assert_eq!(file.len(), limits::NOTE_BYTES_MAX);
    assert!(install(file.as_bytes()).is_ok());
    let file = signed(&(filled + "\n"));
    let error = install(file.as_bytes()).unwrap_err();
    assert_eq!(error.to_string(), "a license file has at most 65536 bytes, this one has 65537");
}

#[test]
fn a_file_without_its_final_newline_is_refused() {
    let file = file();
    let column = file.trim_end().lines().last().unwrap().chars().count() + 1;
    refused(file.trim_end(), (16, column), "does not end with a newline");
}

#[test]
fn windows_line_ends_are_named() {
    refused(file().replace('\n', "\r\n"), (1, 34), "Windows line ends");
    let error = install(file().replace('\n', "\r\n").as_bytes()).unwrap_err();
    assert!(error.hint().unwrap().contains("convert --to line"));
}

#[test]
fn a_file_with_an_empty_line_after_its_signatures_is_refused() {
    refused(file() + "\n", (17, 1), "an empty line follows the signatures");
}

#[test]
fn an_unsigned_text_is_told_apart_from_a_broken_one() {
    let error = install(text().as_bytes()).unwrap_err();
    assert_eq!(error.to_string(), "there is no signature under this text");
    assert!(error.hint().unwrap().contains("license sign"));
}

#[test]
fn a_signature_that_a_mailer_moved_or_quoted_is_told_apart_from_none() {
    let quoted: String = file().lines().map(|line| format!("> {line}\n")).collect();
    refused(&quoted, (16, 1), "something stands in front of this signature");
    refused(file() + "\nKind regards\nAcme\n", (16, 1), "below this signature stands other text");
    let hint = install(quoted.as_bytes()).unwrap_err().hint().unwrap();
    assert!(hint.contains("a mailer") && hint.contains("convert --to line"), "{hint}");
}

#[test]
fn something_else_among_the_signature_lines_is_refused() {
    refused(file() + "seats = 1000\n", (17, 1), "this is no signature line");
}

#[test]
fn an_en_dash_or_a_hyphen_for_the_em_dash_is_refused() {
    refused(file().replace('\u{2014}', "\u{2013}"), (16, 1), "an en dash, where an em dash");
    refused(file().replace('\u{2014}', "-"), (16, 1), "a hyphen, where an em dash");
}

// Code points.

#[test]
fn a_tab_is_refused() {
    refused(with("seats = 25", "seats =\t25"), (12, 8), "a tab");
}

#[test]
fn a_byte_order_mark_is_refused() {
    refused(format!("\u{feff}{}", file()), (1, 1), "byte order mark");
}

#[test]
fn delete_and_other_control_characters_are_refused() {
    refused(with("GmbH", "Gm\u{7f}bH"), (5, 23), "DEL (U+007F)");
    refused(with("GmbH", "Gm\u{1b}bH"), (5, 23), "control character (U+001B)");
    refused(with("GmbH", "Gm\0bH"), (5, 23), "control character (U+0000)");
    refused(with("GmbH", "Gm\u{85}bH"), (5, 23), "C1 control character (U+0085)");
    refused(with("GmbH", "Gm\u{9b}bH"), (5, 23), "C1 control character (U+009B)");
}

#[test]
fn line_and_paragraph_separators_are_refused() {
    refused(with("GmbH", "Gm\u{2028}bH"), (5, 23), "line or paragraph separator (U+2028)");
    refused(with("GmbH", "Gm\u{2029}bH"), (5, 23), "line or paragraph separator (U+2029)");
}

#[test]
fn bidirectional_and_invisible_characters_are_refused_in_comments_too() {
    refused(with("GmbH", "Gm\u{202e}bH"), (5, 23), "changes the direction");
    refused(with("seats = 25", "seats = 25 # \u{2066}x"), (12, 14), "changes the direction");
    refused(with("GmbH", "Gm\u{200b}bH"), (5, 23), "invisible format character");
    refused(with("GmbH", "Gm\u{ad}bH"), (5, 23), "invisible format character");
    refused(with("GmbH", "Gm\u{a0}bH"), (5, 23), "no-break space");
    refused(with("GmbH", "Gm\u{e000}bH"), (5, 23), "private-use");
    refused(with("GmbH", "Gm\u{378}bH"), (5, 23), "not assigned");
}

#[test]
fn an_em_dash_at_the_start_of_a_line_of_the_text_is_refused() {
    refused(with("seats = 25", "\u{2014} seats = 25"), (12, 1), "begins with an em dash");
    // Elsewhere it is a character as others are.
    assert!(install(with("GmbH", "\u{2014} GmbH").as_bytes()).is_ok());
}

#[test]
fn a_note_inside_a_note_is_refused() {
    let outer = signed(&file());
    refused(outer, (16, 1), "begins with an em dash");
}

#[test]
fn bytes_that_are_no_utf8_are_refused_with_their_place() {
    let mut bytes = file().into_bytes();
    let at = file().find("GmbH").unwrap();
    bytes[at] = 0xff;
    refused(bytes, (5, 21), "not UTF-8");
}

// The text.

#[test]
fn escapes_are_refused() {
    refused(with("GmbH", "\\u001b"), (5, 21), "backslash");
    refused(with("GmbH", "\\e"), (5, 21), "backslash");
    refused(with("seats = 25", "seats = 25 # \\"), (12, 14), "backslash");
}

#[test]
fn triple_quotes_are_refused() {
    refused(with("\"Initech GmbH\"", "\"\"\"Initech GmbH\"\"\""), (5, 12), "triple quotes");
    refused(with("\"Initech GmbH\"", "'''Initech GmbH'''"), (5, 12), "triple quotes");
}

#[test]
fn single_quotes_are_refused() {
    refused(with("\"Initech GmbH\"", "'Initech GmbH'"), (5, 12), "single quotes");
}

#[test]
fn numbers_in_other_spellings_are_refused() {
    refused(with("seats = 25", "seats = 0x19"), (12, 9), "hexadecimal");
    refused(with("seats = 25", "seats = 0b11001"), (12, 9), "hexadecimal, octal and binary");
    refused(with("seats = 25", "seats = 2_5"), (12, 9), "underscores");
    refused(with("seats = 25", "seats = 2.5"), (12, 9), "no whole decimal number");
    refused(with("seats = 25", "seats = 1e3"), (12, 9), "no whole decimal number");
    refused(with("seats = 25", "seats = 025"), (12, 9), "begin with zero");
    refused(with("seats = 25", "seats = +25"), (12, 9), "without a sign");
    refused(with("seats = 25", "seats = \"25\""), (12, 9), "must be a number without quotes, not a string");
}

#[test]
fn a_quoted_key_is_refused() {
    refused(with("seats = 25", "\"seats\" = 25"), (12, 1), "a key in quotes");
}

#[test]
fn dotted_keys_other_tables_and_inline_tables_are_refused() {
    refused(with("seats = 25", "a.seats = 25"), (12, 2), "a dotted key");
    refused(with("[[entitlement]]", "[entitlement]"), (9, 1), "the only section");
    refused(with("[[entitlement]]", "[[ entitlement ]]"), (9, 1), "the only section");
    refused(with("seats = 25", "seats = { a = 1 }"), (12, 9), "an inline table");
}

#[test]
fn a_duplicate_key_is_refused() {
    refused(with("seats = 25", "seats = 25\nseats = 50"), (13, 1), "`seats` is given twice; it was given in line 12");
}

#[test]
fn an_unknown_key_is_refused_and_the_nearest_is_named() {
    refused(with("seats = 25", "seat = 25"), (12, 1), "the key `seat` is unknown in this entitlement");
    let error = install(with("licensee", "licencee").as_bytes()).unwrap_err();
    assert_eq!(error.hint().unwrap(), "did you mean `licensee`?");
    let error = install(with("licensee", "seats").as_bytes()).unwrap_err();
    assert!(error.hint().unwrap().contains("below an [[entitlement]]"));
}

#[test]
fn servers_below_an_entitlement_are_refused() {
    let servers = format!("servers = [\"{}\"]\n", server(7));
    let moved = text().replace(&servers, "") + &servers;
    refused(signed(&moved), (14, 1), "`servers` stands below [[entitlement]]");
}

#[test]
fn zero_negative_and_enormous_seats_are_refused() {
    refused(with("seats = 25", "seats = 0"), (12, 9), "`seats` is 0");
    refused(with("seats = 25", "seats = -5"), (12, 9), "negative");
    refused(with("seats = 25", "seats = 9223372036854775808"), (12, 9), "too large");
    refused(with("seats = 25", "seats = 99999999999999999999999"), (12, 9), "too large");
    refused(with("seats = 25", "seats = 10000001"), (12, 9), "at most 10000000");
    assert!(install(with("seats = 25", "seats = 10000000").as_bytes()).is_ok());
}

#[test]
fn five_thousand_nested_arrays_are_refused_without_a_deep_stack() {
    let nested = format!("servers = {}{}", "[".repeat(5000), "]".repeat(5000));
    let before = format!("servers = [\"{}\"]", server(7));
    refused(with(&before, &nested), (7, 14), "nested more than 3 deep");
}

#[test]
fn wrong_dates_are_refused() {
    refused(with("2027-12-31", "2027-02-30"), (13, 11), "no such day");
    refused(with("2027-12-31", "2027-12-31T10:00:00"), (13, 11), "no offset from UTC");
    refused(with("2027-12-31", "31.12.2027"), (13, 11), "no whole decimal number");
    refused(with("2027-12-31", "\"2027-12-31\""), (13, 11), "must be a date like 2027-12-31, without quotes");
    refused(with("2027-12-31", "2027-12-31 10:00:00Z"), (13, 22), "something follows after the value");
    refused(with("seats = 25", "seats = 25\nstarts = 2028-06-01"), (14, 11), "ends before it starts");
}

#[test]
fn months_years_and_nonsense_are_no_spans() {
    refused(with("\"14d\"", "\"2months\""), (14, 10), "months and years have no fixed length");
    refused(with("\"14d\"", "\"1y\""), (14, 10), "months and years have no fixed length");
    refused(with("\"14d\"", "\"14\""), (14, 10), "no span of time");
    refused(with("\"14d\"", "\"P14D\""), (14, 10), "no span of time");
    refused(with("\"14d\"", "\"99999999999999999999d\""), (14, 10), "longer than the longest span");
    refused(with("borrow = \"14d\"", "ttl = \"2h\""), (14, 7), "above `ttl_max`, which is 1h");
    refused(with("borrow = \"14d\"", "ttl = \"1s\""), (14, 7), "it must be 10s to 1d");
}

#[test]
fn broken_syntax_is_refused_with_its_place() {
    refused(with("seats = 25", "seats"), (12, 6), "after the key `seats` a `=` is expected");
    refused(with("seats = 25", "seats ="), (12, 8), "the value is missing");
    refused(with("seats = 25", "seats = 25 26"), (12, 12), "something follows after the value");
    refused(with("seats = 25", "seats = many"), (12, 9), "`many` is no value");
    refused(with("\"cad-pro\"", "\"cad-pro"), (10, 11), "no closing quote");
    refused(with("\"12.4\"", "\"12.x\""), (11, 11), "no version");
    refused(with("\"cad-pro\"", "\"cad pro\""), (10, 11), "the character ' '");
    refused(with("seats = 25\n", ""), (9, 1), "the key `seats` is missing");
    let (without, _) = text().split_once("\n[[").map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    refused(signed(&without), (1, 1), "no [[entitlement]]");
}

#[test]
fn a_wrong_format_or_another_document_of_the_vendor_is_refused() {
    refused(with("v1/license\"", "v2/license\""), (1, 1), "line 1 is not exactly");
    refused(with("format = ", "format  = "), (1, 1), "line 1 is not exactly");
    let release = "acme.example release notes\n\nVersion 12.4 is out.\n";
    refused(signed(release), (1, 1), "line 1 is not exactly");
    let policy = text().replace("v1/license", "v1/policy");
    refused(signed(&policy), (1, 1), "line 1 is not exactly");
    let error = install(signed(&policy).as_bytes()).unwrap_err();
    assert!(error.hint().unwrap().contains("another kind of document"));
}

// Keys and names.

#[test]
fn the_same_name_with_another_key_is_not_the_vendor() {
    let thief = signer("acme.example", 66);
    let text = support::text_signed_by(&[thief.verifier_key().clone()]);
    let file = Note::sign(&text, std::slice::from_ref(&thief)).unwrap().to_file_bytes();
    assert!(matches!(accept(&file), Err(LicenseError::NotByVendor { .. })));
    // A server serves it, as another vendor's: identity is the key.
    let served = install(&file).unwrap();
    assert_eq!(served.vendor_keys(), [*thief.verifier_key().public()]);
    assert_ne!(served.vendor_keys(), install(support::file().as_bytes()).unwrap().vendor_keys());
}

#[test]
fn a_customers_own_key_beside_the_vendors_does_not_verify() {
    // The customer's text names both keys, so that it might count as the vendor's; the vendor never signed it.
    let thief = signer("acme.example", 66);
    let keys = [thief.verifier_key().clone(), acme().verifier_key().clone()];
    let text = support::text_signed_by(&keys).replace("seats = 25", "seats = 1000");
    let file = Note::sign(&text, &[thief]).unwrap().to_file_bytes();
    assert!(matches!(install(&file), Err(LicenseError::Note(NoteError::NoSignature { .. }))));
    // With the line of a genuine file put under it, neither.
    let stolen =
        String::from_utf8(file).unwrap() + &support::file().split_once("\n\u{2014}").map(|(_, line)| format!("\u{2014}{line}")).unwrap();
    assert!(matches!(install(stolen.as_bytes()), Err(LicenseError::Note(NoteError::BadSignature { .. }))));
    assert!(matches!(accept(stolen.as_bytes()), Err(LicenseError::Note(NoteError::BadSignature { .. }))));
}

#[test]
fn the_same_name_and_id_with_other_key_bytes_is_refused() {
    // As if somebody had found a key with the id of acme's: the line bears name and id, another key made it.
    let thief = signer("acme.example", 66);
    let signature = thief.key().sign(text().as_bytes());
    let forged = format!("{}\n{}", text(), line_of(&acme(), &signature));
    assert!(matches!(accept(forged.as_bytes()), Err(LicenseError::Note(NoteError::BadSignature { .. }))));
    // And a verifier key whose id is not that of its bytes does not even parse.
    let key = thief.verifier_key().to_string().replacen(
        &format!("{:08x}", thief.verifier_key().id()),
        &format!("{:08x}", acme().verifier_key().id()),
        1,
    );
    assert!(matches!(key.parse::<VerifierKey>(), Err(VerifierKeyError::Id { .. })));
}

#[test]
fn a_vendor_unlike_the_name_of_its_key_is_refused() {
    refused(
        with("vendor = \"acme.example\"", "vendor = \"other.example\""),
        (3, 10),
        "the vendor is `other.example`, but its key acme.example+",
    );
    let stranger = Signer::new(VendorName::new("other.example").unwrap(), acme().key().clone());
    let note = Note::sign(&text(), &[acme(), stranger.clone()]).unwrap();
    let error = VerifiedLicense::verify(&note, &[stranger.verifier_key().clone()]).unwrap_err();
    assert!(matches!(error, LicenseError::VendorName { .. }));
}

#[test]
fn malformed_verifier_keys_are_refused() {
    let good = acme().verifier_key().to_string();
    let parse = |text: &str| text.parse::<VerifierKey>().unwrap_err();
    assert_eq!(good.parse::<VerifierKey>().unwrap(), *acme().verifier_key());
    assert_eq!(parse(&acme().to_private_text()), VerifierKeyError::Private);
    assert_eq!(parse("acme.example"), VerifierKeyError::Form);
    assert_eq!(parse(&good.to_uppercase()), VerifierKeyError::Form);
    assert_eq!(parse(&format!("{good} ")), VerifierKeyError::Base64);
    assert!(matches!(parse(&good.replace("acme.example", "acme example")), VerifierKeyError::Name(_)));
    assert!(matches!(parse(&good.replace("acme.example", "acme.examplf")), VerifierKeyError::Id { .. }));
    let mldsa = format!("acme.example+00000000+{}", STANDARD.encode([6; 33]));
    assert_eq!(parse(&mldsa), VerifierKeyError::Algorithm { found: 6 });
    let identity = format!("acme.example+00000000+{}", STANDARD.encode([&[1, 1][..], &[0; 31]].concat()));
    assert!(matches!(parse(&identity), VerifierKeyError::Key(_)));
    assert!(Signer::from_private_text(&good).is_err());
    let twice: Result<triquest_license::VerifierKeys, _> = format!("{good}, {good}").parse();
    assert!(matches!(twice, Err(VerifierKeyError::Repeated { .. })));
    assert_eq!(" , ".parse::<triquest_license::VerifierKeys>(), Err(VerifierKeyError::None));
}

// Servers.

#[test]
fn servers_missing_or_empty_are_refused() {
    let line = format!("servers = [\"{}\"]", server(7));
    refused(with(&format!("{line}\n"), ""), (1, 1), "`servers` is missing");
    refused(with(&line, "servers = []"), (7, 11), "`servers` is empty");
    refused(with(&line, "servers = \"all\""), (7, 11), "must be an array of server keys, or \"any\"");
}

#[test]
fn a_server_listed_twice_is_refused() {
    let key = server(7);
    let twice = format!("servers = [\"{key}\", \"{key}\"]");
    refused(with(&format!("servers = [\"{key}\"]"), &twice), (7, 85), "is listed twice");
}

#[test]
fn all_eight_small_order_server_keys_are_refused_in_every_spelling() {
    let canonical = [
        "0100000000000000000000000000000000000000000000000000000000000000",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0000000000000000000000000000000000000000000000000000000000000080",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    ];
    let other_spellings = [
        "0100000000000000000000000000000000000000000000000000000000000080",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    ];
    for key in canonical.iter().chain(&other_spellings) {
        let file = with(&server(7).to_string(), &format!("tqs1:{key}"));
        refused(file, (7, 12), "of small order");
    }
}

#[test]
fn non_canonical_server_keys_are_refused() {
    // y = p + 3, a point that has another, canonical spelling.
    let key = "f0ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f";
    refused(with(&server(7).to_string(), &format!("tqs1:{key}")), (7, 12), "not in its canonical form");
}

#[test]
fn server_keys_in_other_spellings_are_refused() {
    let key = server(7).to_string();
    let upper = format!("tqs1:{}", key[5..].to_uppercase());
    refused(with(&key, &upper), (7, 12), "capital letters");
    refused(with(&key, &key[5..]), (7, 12), "does not begin so");
    refused(with(&key, &key[..68]), (7, 12), "another length");
    assert!(key.to_uppercase().parse::<ServerKey>().is_err());
}

#[test]
fn a_license_for_any_server_says_so_to_whoever_did_not_opt_in() {
    let file = with(&format!("[\"{}\"]", server(7)), "\"any\"");
    let license = accept(file.as_bytes()).unwrap();
    assert_eq!(license.terms().servers, Servers::Any);
    assert!(license.terms().servers.is_any() && license.serves(&server(99)));
    assert!(!accept(support::file().as_bytes()).unwrap().serves(&server(99)));
}

// One license in several forms.

#[test]
fn file_line_and_one_signature_more_are_one_license() {
    let hash = install(file().as_bytes()).unwrap().hash();
    let line = note().to_line();
    assert_eq!(install(line.as_bytes()).unwrap().hash(), hash);
    assert_eq!(install(format!("  {line}\r\n").as_bytes()).unwrap().hash(), hash);
    let wrapped: String = line.as_bytes().chunks(76).map(|chunk| String::from_utf8(chunk.to_vec()).unwrap() + "\r\n").collect();
    assert_eq!(install(wrapped.as_bytes()).unwrap().hash(), hash);
    let witness = signer("witness.example", 9);
    let mut more = note();
    more.add_signature(NoteSignature::ed25519(witness.verifier_key(), witness.key().sign(more.text().as_bytes()))).unwrap();
    assert_eq!(install(&more.to_file_bytes()).unwrap().hash(), hash);
    assert_eq!(hash, LicenseHash::of_text(&text()));
    assert_eq!(hash.to_string().parse::<LicenseHash>().unwrap(), hash);
}

#[test]
fn a_damaged_line_is_refused_with_what_is_wrong() {
    let line = note().to_line();
    let message = |line: &str| read_any(line.as_bytes()).unwrap_err().to_string();
    assert!(message(&line.replacen("tql1.", "tql1.*", 1)).contains("the character '*' at place 6"));
    assert!(message(&format!("License: {line}")).contains("something stands before it"));
    assert!(message(&format!("> {line}")).contains("something stands before it"));
    assert_eq!(message(""), "this is no license: it is empty");
    assert_eq!(message(&"x".repeat(200_000)), "a license file has at most 65536 bytes, this one has 200000");
    // Slack bits at the end of the line are refused as those of a signature are.
    let padded = (0..3).map(|n| Note::sign(&(text() + &"#".repeat(n + 1) + "\n"), &[acme()]).unwrap().to_line());
    for line in padded.filter(|line| !(line.len() - 5).is_multiple_of(4)) {
        let last = line.pop_last();
        assert!(message(&last).contains("its end is missing, or its last character was changed"), "{last}");
    }
    for kept in 6..line.len() {
        assert!(message(&line[..kept]).contains("its end is missing"), "{kept}: {}", message(&line[..kept]));
    }
    // However much is cut off, it never looks like a draft or like a forgery.
    for length in "tql1.".len() + 1..line.len() {
        let error = read_any(&line.as_bytes()[..length]).unwrap_err();
        assert!(!error.hint().unwrap_or_default().contains("license sign"), "{length}: {error}");
    }
    assert!(message(&line[..line.len() / 2]).contains("its end is missing"), "{}", message(&line[..line.len() / 2]));
}

trait PopLast {
    fn pop_last(&self) -> String;
}

impl PopLast for String {
    /// The same line whose last character has one more bit set, which does not count.
    fn pop_last(&self) -> String {
        const ALPHABET: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let last = ALPHABET.find(self.chars().last().unwrap()).unwrap();
        format!("{}{}", &self[..self.len() - 1], char::from(ALPHABET.as_bytes()[last + 1]))
    }
}

#[test]
fn lines_of_strangers_are_ignored_even_when_they_are_nonsense() {
    let stranger = signer("stranger.example", 5);
    let nonsense = line_of(&stranger, &[3; 64]);
    let long = line_of(&stranger, &[3; 2420]);
    let file = format!("{}{nonsense}{long}{nonsense}", file());
    assert!(install(file.as_bytes()).is_ok());
    assert!(accept(file.as_bytes()).is_ok());
}

#[test]
fn an_old_and_a_new_application_accept_one_file_of_both_keys() {
    let next = signer("acme.example", 2);
    let keys = [acme().verifier_key().clone(), next.verifier_key().clone()];
    let note = Note::sign(&support::text_signed_by(&keys), &[acme(), next]).unwrap();
    let old = VerifiedLicense::verify(&note, &keys[..1]).unwrap();
    let new = VerifiedLicense::verify(&note, &keys[1..]).unwrap();
    let both = VerifiedLicense::verify(&note, &keys).unwrap();
    assert_eq!(old.hash(), new.hash());
    assert_eq!(both.vendor_keys().len(), 2);
    assert_eq!(VerifiedLicense::verify_named(&note).unwrap().vendor_keys(), both.vendor_keys());
    // Signed by one only, a server refuses it: the text says that both sign.
    let one = Note::sign(note.text(), &[acme()]).unwrap();
    assert!(matches!(VerifiedLicense::verify_named(&one), Err(LicenseError::Note(NoteError::NoSignature { .. }))));
}

#[test]
fn a_changed_byte_anywhere_is_refused() {
    let file = file().into_bytes();
    for at in 0..file.len() {
        for bit in [0x01, 0x20] {
            let mut changed = file.clone();
            changed[at] ^= bit;
            assert!(accept(&changed).is_err(), "byte {at} with bit {bit:#x}");
        }
    }
}

#[test]
fn a_signature_for_a_license_is_none_for_a_statement_and_the_other_way_round() {
    use triquest_license::statement::{self, StatementKind};
    let key = SigningKey::from_seed([1; 32]);
    for kind in StatementKind::ALL {
        let payload = text();
        let signature = statement::sign(&key, kind, payload.as_bytes());
        assert!(key.public().verify(payload.as_bytes(), &signature).is_err());
        assert!(statement::verify(key.public(), kind, payload.as_bytes(), &key.sign(payload.as_bytes())).is_err());
        for other in StatementKind::ALL {
            let verdict = statement::verify(key.public(), other, payload.as_bytes(), &signature);
            assert_eq!(verdict.is_ok(), kind == other, "{kind:?} offered as {other:?}");
        }
    }
    assert!(PublicKey::parse(key.public().as_bytes()).is_ok());
}

#[test]
fn an_error_shows_its_place_and_a_next_step() {
    let error: TextError = LicenseTerms::parse(&text().replace("seats", "seat")).unwrap_err();
    assert_eq!(error.to_string(), "line 12, column 1: the key `seat` is unknown in this entitlement");
    assert_eq!(error.hint(), Some("did you mean `seats`?"));
}
