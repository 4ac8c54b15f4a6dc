use std::fmt;

use unicode_properties::{GeneralCategory, UnicodeGeneralCategory as _};

/// What is wrong with a text, and where. Lines and columns count from 1; columns count characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextError {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// What to do about it, where there is a next step.
    pub hint: Option<String>,
}

impl TextError {
    pub(crate) fn new(place: Place, message: impl Into<String>) -> Self {
        Self { line: place.line, column: place.column, message: message.into(), hint: None }
    }

    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

impl fmt::Display for TextError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}: {}", self.line, self.column, self.message)
    }
}

impl std::error::Error for TextError {}

/// A place in a text, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) line: usize,
    pub(crate) column: usize,
}

impl Place {
    pub(crate) const START: Self = Self { line: 1, column: 1 };

    /// The place of a byte offset; what is after the end counts as the end.
    pub(crate) fn of(text: &str, offset: usize) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Self { line: before.bytes().filter(|byte| *byte == b'\n').count() + 1, column: before[line_start..].chars().count() + 1 }
    }
}

/// UTF-8, or where it stops being that.
pub(crate) fn utf8(bytes: &[u8]) -> Result<&str, TextError> {
    std::str::from_utf8(bytes).map_err(|error| {
        let good = std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default();
        TextError::new(Place::of(good, good.len()), "this is not UTF-8")
            .with_hint("the file is binary, or was saved in another encoding; ask for it again")
    })
}

/// The code points of a signed note: newline, U+0020-7E, and U+00A1 up without format characters, line and paragraph
/// separators, private use and unassigned. What looks alike to a person is then alike to us.
pub(crate) fn check_code_points(text: &str) -> Result<(), TextError> {
    for (offset, c) in text.char_indices() {
        if let Some((what, hint)) = objection(c, offset) {
            let error = TextError::new(Place::of(text, offset), format!("{what} is not allowed here"));
            return Err(error.with_hint(hint));
        }
    }
    Ok(())
}

/// What a license text must not have beyond wrong code points: backslashes, triple quotes, and lines that look like
/// signatures.
pub(crate) fn check_license_text(text: &str) -> Result<(), TextError> {
    check_code_points(text)?;
    if let Some(offset) = text.find('\\') {
        return Err(TextError::new(Place::of(text, offset), "a backslash is not allowed in a license")
            .with_hint("write the character itself: there are no escapes, and no way to need one"));
    }
    if let Some(offset) = text.find("\"\"\"").or_else(|| text.find("'''")) {
        return Err(TextError::new(Place::of(text, offset), "triple quotes are not allowed: a string stays on one line"));
    }
    for (line, content) in text.lines().enumerate() {
        if content.starts_with('\u{2014}') {
            return Err(TextError::new(
                Place { line: line + 1, column: 1 },
                "a line of the text begins with an em dash, as only signature lines may",
            )
            .with_hint("this is a note inside a note, or something was put between the text and its signatures"));
        }
    }
    Ok(())
}

fn objection(c: char, offset: usize) -> Option<(String, &'static str)> {
    const ASK: &str = "it can hide something from a reader; take it out and sign again, or ask for the file again";
    const CONTROL: &str = "ask for the file again, best as one line: `triquest-lm license convert --to line`";
    let named = |name: &str| format!("{name} (U+{:04X})", u32::from(c));
    match c {
        '\n' | ' '..='~' => None,
        '\r' => Some((
            "a carriage return (Windows line ends, CRLF)".into(),
            "a Windows editor or a mailer changed the file, and its signature no longer fits; ask for it as one line: `triquest-lm license convert --to line`",
        )),
        '\t' => Some(("a tab".into(), "use spaces")),
        '\u{feff}' if offset == 0 => {
            Some(("a byte order mark (U+FEFF)".into(), "an editor put it at the start of the file; ask for the file again"))
        }
        '\u{7f}' => Some((named("the control character DEL"), CONTROL)),
        '\0'..='\u{1f}' => Some((named("a control character"), CONTROL)),
        '\u{80}'..='\u{9f}' => Some((named("a C1 control character"), CONTROL)),
        '\u{a0}' => Some((named("a no-break space"), "use a plain space")),
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' | '\u{61c}' => {
            Some((named("a character that changes the direction of the text"), ASK))
        }
        '\u{2028}' | '\u{2029}' => Some((named("a line or paragraph separator"), ASK)),
        _ => match c.general_category() {
            GeneralCategory::Format => Some((named("an invisible format character"), ASK)),
            GeneralCategory::LineSeparator | GeneralCategory::ParagraphSeparator => Some((named("a line or paragraph separator"), ASK)),
            GeneralCategory::PrivateUse => Some((named("a private-use character"), ASK)),
            GeneralCategory::Unassigned => Some((named("a character that Unicode has not assigned"), ASK)),
            GeneralCategory::Control => Some((named("a control character"), CONTROL)),
            _ => None,
        },
    }
}
