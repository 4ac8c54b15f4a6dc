//! Words from outside, made fit to be shown: names of holders, and what a server says before it has proved anything. One rule for client and server.

/// Without what cannot be seen or turns the text around it, blanks made one space and taken off at both ends, and cut to so many bytes between two
/// characters. What was tidied once is not changed again.
#[must_use]
pub fn tidy(text: &str, bytes_max: usize) -> String {
    let mut tidied = String::with_capacity(text.len().min(bytes_max));
    let mut blank = false;
    for c in text.chars() {
        if c.is_whitespace() {
            blank = !tidied.is_empty();
            continue;
        }
        if is_invisible(c) {
            continue;
        }
        if tidied.len() + usize::from(blank) + c.len_utf8() > bytes_max {
            break;
        }
        if std::mem::take(&mut blank) {
            tidied.push(' ');
        }
        tidied.push(c);
    }
    tidied
}

/// The same for words of the system, which may be any bytes: what is not UTF-8 in them becomes the replacement character.
#[must_use]
pub fn tidy_bytes(bytes: &[u8], bytes_max: usize) -> String {
    tidy(&String::from_utf8_lossy(bytes), bytes_max)
}

/// Bytes for people: `512 KiB`, `1.5 MiB`.
#[must_use]
pub fn size(bytes: u64) -> String {
    match bytes {
        0..1_048_576 => format!("{} KiB", bytes.div_ceil(1024)),
        1_048_576.. => format!("{}.{} MiB", bytes / 1_048_576, bytes % 1_048_576 * 10 / 1_048_576),
    }
}

/// Control characters, and those that hide, join or turn the text around them.
#[must_use]
pub fn is_invisible(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{e000}'..='\u{f8ff}' | '\u{e0000}'..='\u{e0fff}'
            | '\u{f0000}'..='\u{10ffff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_seen_is_taken_off_and_letters_stay() {
        for (said, tidied) in [
            ("P\u{200b}-2207", "P-2207"),
            ("a\x1b[31mb\n c", "a[31mb c"),
            ("\u{feff} a\u{202e}b\u{e0041} ", "ab"),
            ("\u{645}\u{6cc}\u{200c}\u{62e}\u{648}\u{627}\u{647}\u{645}", "\u{645}\u{6cc}\u{62e}\u{648}\u{627}\u{647}\u{645}"),
            ("\u{1f469}\u{200d}\u{1f680} apollo \u{2764}\u{fe0f}", "\u{1f469}\u{1f680} apollo \u{2764}"),
            (" \n\t ", ""),
            ("a\u{85}\u{2028}b", "a b"),
        ] {
            assert_eq!(tidy(said, 256), tidied, "{said:?}");
            assert_eq!(tidy(tidied, 256), tidied);
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_seen_as_such_and_the_rest_stays() {
        assert_eq!(tidy_bytes(b" P\xff-2207\n", 256), "P\u{fffd}-2207");
        assert_eq!(tidy_bytes(b"\xff\xfe", 3), "\u{fffd}");
        assert_eq!(tidy_bytes(b"", 256), "");
    }

    #[test]
    fn long_words_are_cut_between_two_characters() {
        assert_eq!(tidy(&"\u{e9}".repeat(400), 255).len(), 254);
        assert_eq!(tidy("ab cd", 3), "ab");
        assert_eq!(tidy("ab cd", 4), "ab c");
        assert_eq!(tidy("abc", 0), "");
    }
}
