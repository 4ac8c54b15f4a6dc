//! How words of IANA's file become words of the table. XML and CSV go through the same functions, so that the same records give the same rows.

/// `text` with its spaces and line ends collapsed to single spaces, without control characters and without characters that change how others are shown.
pub(super) fn clean(text: &str) -> String {
    let mut cleaned = String::with_capacity(text.len());
    for word in text.split_whitespace() {
        let mut space = !cleaned.is_empty();
        for character in word.chars().filter(|character| !is_hidden(*character)) {
            if std::mem::take(&mut space) {
                cleaned.push(' ');
            }
            cleaned.push(character);
        }
    }
    cleaned
}

/// Whether `clean` would leave `text` as it is, but for its spaces.
pub(super) fn is_clean(text: &str) -> bool {
    !text.chars().any(is_hidden)
}

/// Whether a row of the table has no characters that `clean` takes out, but for those between its fields and items.
pub(super) fn is_clean_row(line: &str) -> bool {
    // Nearly all of the registry is ASCII, where one look at the bytes is enough; without a branch it takes many at a time.
    let (mut wide, mut hidden) = (false, false);
    for byte in line.bytes() {
        wide |= byte >= 0x80;
        hidden |= byte == 0x7f || (byte < 0x20 && byte != b'\t' && byte != 0x1f);
    }
    !hidden && (!wide || !line.chars().any(|character| !character.is_ascii() && is_hidden(character)))
}

/// Control characters, and what sets direction or hides between letters.
fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}')
}

/// IANA's identifier of a person or organization as words: `Nand_Kumar` is Nand Kumar, and the number that tells `Michael_Zunke_2` from a namesake goes.
pub(super) fn person(identifier: &str) -> String {
    let bytes = identifier.as_bytes();
    let numbered = matches!(bytes, [.., b'_', b'2'..=b'9']);
    let name = if numbered { &identifier[..identifier.len() - 2] } else { identifier };
    clean(&name.replace('_', " "))
}

/// A reference as words: `rfc6335` and `RFC6335` are RFC 6335; others stay.
pub(super) fn reference(text: &str) -> String {
    let text = clean(text);
    match text.get(..3).zip(text.get(3..)) {
        Some((rfc, number))
            if rfc.eq_ignore_ascii_case("rfc") && !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()) =>
        {
            format!("RFC {number}")
        }
        _ => text,
    }
}

/// Running text. IANA's identifiers of persons stand in brackets there; their underscores become spaces.
pub(super) fn running(text: &str) -> String {
    let text = clean(text);
    let mut words = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some((before, after)) = rest.split_once('[') {
        let Some((inside, behind)) = after.split_once(']') else { break };
        words.push_str(before);
        let identifier = !inside.contains([' ', ':', '/', '.']) && inside.contains('_');
        words.push_str(&format!("[{}]", if identifier { person(inside) } else { inside.to_owned() }));
        rest = behind;
    }
    words.push_str(rest);
    words
}

/// The items of one of the CSV's lists: `[RFC7858][RFC8094]`, `[IESG]`, or words without brackets.
pub(super) fn items(text: &str) -> Vec<String> {
    let mut items = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('[') {
        let Some((inside, behind)) = after.split_once(']') else { break };
        items.extend([before.trim(), inside.trim()].into_iter().filter(|item| !item.is_empty()).map(str::to_owned));
        rest = behind;
    }
    if !rest.trim().is_empty() {
        items.push(rest.trim().to_owned());
    }
    items
}

/// The start of `text`, as an error may quote it.
pub(super) fn excerpt(text: &str) -> String {
    let start: String = text.chars().take(40).collect();
    if start.len() < text.len() { format!("{start:?} ...") } else { format!("{start:?}") }
}
