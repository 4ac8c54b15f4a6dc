//! What people see: talk on standard error, data on standard output, colour on the first word only, tables that fit, and one function,
//! [`escape`], through which every string from outside goes.

use std::{
    borrow::Cow,
    ffi::{OsStr, OsString},
    fmt::{Display, Write as _},
    io::{self, IsTerminal as _, Write as _},
    os::unix::ffi::OsStrExt as _,
    path::Path,
    time::Duration,
};

use anstyle::{AnsiColor, Style};
use serde::Serialize;
use unicode_properties::{GeneralCategory, UnicodeGeneralCategory as _};
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use crate::failure::{Failure, FailureKind, exit};

/// Verbs are right-aligned in this many columns.
const VERB_COLUMNS: usize = 12;
/// Combining marks in a row that are shown as they are; more are escaped, so that no name climbs into the lines around it.
const MARKS_IN_A_ROW_MAX: usize = 4;
/// The most of a name that others choose, on a terminal, in columns.
const NAME_COLUMNS_MAX: usize = 40;
/// The least that a truncated cell keeps, in columns.
const CELL_COLUMNS_MIN: usize = 8;
const GREEN: Style = AnsiColor::Green.on_default().bold();
const RED: Style = AnsiColor::Red.on_default().bold();
const YELLOW: Style = AnsiColor::Yellow.on_default().bold();
const CYAN: Style = AnsiColor::Cyan.on_default().bold();

/// When to color: always, also into files and pipes; on a terminal unless `NO_COLOR` is set, and everywhere if `CLICOLOR_FORCE` is; never.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ColorWhen {
    Always,
    #[default]
    Auto,
    Never,
}

impl ColorWhen {
    /// Finds `--color WHEN` or `--color=WHEN` before the arguments are parsed. A wrong value is left for clap to refuse.
    pub(crate) fn from_arguments(arguments: impl Iterator<Item = OsString>) -> Self {
        let mut value_follows = false;
        for argument in arguments.skip(1) {
            if argument == OsStr::new("--") {
                break;
            }
            let text = argument.to_str().unwrap_or("");
            let value = if value_follows { Some(text) } else { text.strip_prefix("--color=") };
            if let Some(value) = value {
                return match value {
                    "always" => Self::Always,
                    "never" => Self::Never,
                    _ => Self::Auto,
                };
            }
            value_follows = text == "--color";
        }
        Self::Auto
    }

    /// The same in clap's words. Clap itself knows `NO_COLOR` and terminals.
    pub(crate) fn for_clap(self) -> clap::ColorChoice {
        match self {
            Self::Always => clap::ColorChoice::Always,
            Self::Auto => clap::ColorChoice::Auto,
            Self::Never => clap::ColorChoice::Never,
        }
    }

    fn applies_to(self, is_terminal: bool) -> bool {
        let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::Auto if is_set("NO_COLOR") => false,
            Self::Auto if is_set("CLICOLOR_FORCE") && std::env::var_os("CLICOLOR_FORCE").is_some_and(|value| value != "0") => true,
            Self::Auto => is_terminal && std::env::var_os("TERM").is_none_or(|term| term != "dumb"),
        }
    }
}

/// The two streams and how they are to look.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terminal {
    /// Talk is coloured.
    talk_in_color: bool,
    /// Data is coloured.
    data_in_color: bool,
    /// Columns of standard output if it is a terminal.
    columns: Option<usize>,
}

impl Terminal {
    /// Looks at the environment and at both streams once.
    pub(crate) fn new(color: ColorWhen) -> Self {
        Self {
            talk_in_color: color.applies_to(io::stderr().is_terminal()),
            data_in_color: color.applies_to(io::stdout().is_terminal()),
            columns: columns_of_stdout(),
        }
    }

    /// Progress: `   Created vendor demo.example`. The verb is one of ours; `text` may hold outside strings only after [`escape`].
    pub(crate) fn verb(&self, verb: &str, text: impl Display) {
        self.talk(&self.verb_line(GREEN, verb, &text.to_string()));
    }

    /// The same in yellow, for what was refused while all is well: `    Denied client 3`.
    pub(crate) fn verb_denied(&self, verb: &str, text: impl Display) {
        self.talk(&self.verb_line(YELLOW, verb, &text.to_string()));
    }

    /// A line of plain talk.
    pub(crate) fn note(&self, text: impl Display) {
        self.talk(&escape_lines(&text.to_string()));
    }

    /// `warning: ...`
    pub(crate) fn warning(&self, text: impl Display) {
        self.talk(&format!("{} {}", self.paint(YELLOW, "warning:"), escape_lines(&text.to_string())));
    }

    /// `hint: ...`, one next step.
    pub(crate) fn hint(&self, text: impl Display) {
        self.talk(&format!("{} {}", self.paint(CYAN, "hint:"), escape_lines(&text.to_string())));
    }

    /// `error: ...` or `denied: ...` with its rows and its hint.
    pub(crate) fn failure(&self, failure: &Failure) {
        self.talk(&self.failure_text(failure));
    }

    /// One line of data on standard output, without colour. Ends the program quietly if nobody reads any more.
    pub(crate) fn data(&self, line: impl Display) {
        self.print(&format!("{}\n", escape_lines(&line.to_string())));
    }

    /// A path as data, on a line: on a terminal as it can be shown, elsewhere as the bytes that it is, for a script that uses it.
    ///
    /// # Errors
    /// Nobody reads it, or it cannot be written.
    pub(crate) fn path(&self, path: &Path) -> Result<(), Failure> {
        let shown = escape(&path.to_string_lossy()).into_owned();
        let mut line = if self.columns.is_some() { shown.into_bytes() } else { path.as_os_str().as_bytes().to_vec() };
        line.push(b'\n');
        let mut stdout = io::stdout().lock();
        stdout
            .write_all(&line)
            .and_then(|()| stdout.flush())
            .map_err(|cause| Failure::new(format_args!("cannot write to standard output: {cause}")))
    }

    /// Bytes of data on standard output exactly as they are: license files, keys, generated scripts. Never for outside strings on a terminal.
    /// Ends the program with an error if they cannot be written.
    pub(crate) fn raw(&self, bytes: &[u8]) {
        let mut stdout = io::stdout().lock();
        match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
            Ok(()) => {}
            // Nobody reads any more, which is no fault: `... | head`.
            Err(cause) if cause.kind() == io::ErrorKind::BrokenPipe => std::process::exit(exit::OK.into()),
            // What was asked for is not where it should be, and nothing after it may say that it is.
            Err(cause) => {
                self.failure(&Failure::new(format_args!("cannot write to standard output: {cause}")));
                std::process::exit(exit::FAILURE.into());
            }
        }
    }

    /// One JSON document on standard output. Control and formatting characters inside strings become `\u` escapes.
    ///
    /// # Errors
    /// If the value cannot be serialized.
    pub(crate) fn json(&self, value: &impl Serialize) -> Result<(), Failure> {
        let text = if self.columns.is_some() { serde_json::to_string_pretty(value)? } else { serde_json::to_string(value)? };
        self.print(&format!("{}\n", escape_json(&text)));
        Ok(())
    }

    /// A name that others choose, for a line of [`Terminal::data`]: escaped, and on a terminal cut as in a table.
    pub(crate) fn name(&self, name: &str) -> String {
        let name = escape(name);
        match self.columns {
            Some(columns) => truncate(&name, NAME_COLUMNS_MAX.min(columns)).into_owned(),
            None => name.into_owned(),
        }
    }

    /// A table on standard output, fitted to the terminal if it is one.
    pub(crate) fn table(&self, table: &Table) {
        self.print(&table.render(self.columns));
    }

    /// `ok    `, `warn  ` and `fail  ` lines of `doctor`, on standard output.
    pub(crate) fn verdict(&self, verdict: Verdict, name: &str, text: impl Display) {
        let (word, style) = match verdict {
            Verdict::Ok => ("ok", GREEN),
            Verdict::Warn => ("warn", YELLOW),
            Verdict::Fail => ("fail", RED),
        };
        let painted = if self.data_in_color { format!("{style}{word}{style:#}") } else { word.to_owned() };
        self.print(&format!("{painted}{:pad$}{name:<9}{}\n", "", escape_lines(&text.to_string()), pad = 6 - word.len()));
    }

    /// Clears the screen for `--watch` if standard output is a terminal. What was scrolled away before stays: it is the user's.
    pub(crate) fn clear(&self) {
        if self.columns.is_some() {
            self.raw(b"\x1b[H\x1b[2J");
        }
    }

    /// Whether standard output is a terminal.
    pub(crate) fn is_interactive(&self) -> bool {
        self.columns.is_some()
    }

    fn verb_line(&self, style: Style, verb: &str, text: &str) -> String {
        let pad = VERB_COLUMNS.saturating_sub(verb.width());
        format!("{:pad$}{} {}", "", self.paint(style, verb), escape_lines(text))
    }

    fn failure_text(&self, failure: &Failure) -> String {
        let (word, style) = match failure.kind() {
            FailureKind::Denied => ("denied:", YELLOW),
            FailureKind::Error => ("error:", RED),
        };
        let mut text = format!("{} {}", self.paint(style, word), escape_lines(failure.message()));
        let name_columns = failure.rows().iter().map(|(name, _)| name.width()).max().unwrap_or(0);
        for (name, row) in failure.rows() {
            let pad = name_columns - name.width();
            let _ = write!(text, "\n  {}{:pad$}  {}", escape(name), "", escape_lines(row));
        }
        if let Some(hint) = failure.next_step() {
            let _ = write!(text, "\n{} {}", self.paint(CYAN, "hint:"), escape_lines(hint));
        }
        text
    }

    fn paint(&self, style: Style, word: &str) -> String {
        if self.talk_in_color { format!("{style}{word}{style:#}") } else { word.to_owned() }
    }

    /// Talk that nobody hears is no reason to stop.
    fn talk(&self, line: &str) {
        let _ = writeln!(io::stderr().lock(), "{line}");
    }

    fn print(&self, text: &str) {
        self.raw(text.as_bytes());
    }
}

/// One line of `doctor`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Does not work.
    Fail,
    /// As it should be.
    Ok,
    /// Works, but look at it.
    Warn,
}

/// Makes a string from outside safe and visible on one line: control bytes, ESC, bidirectional and invisible formatting characters, line ends and
/// piles of combining marks become `\n`, `\t` or `\u{1b}`. Everything else stays, a backslash too: `CORP\bob` reads as it is.
pub(crate) fn escape(text: &str) -> Cow<'_, str> {
    escape_where(text, |_| false)
}

/// The same for a text of ours that has several lines: line feeds stay.
pub(crate) fn escape_lines(text: &str) -> Cow<'_, str> {
    escape_where(text, |character| character == '\n')
}

fn escape_where(text: &str, stays: impl Fn(char) -> bool) -> Cow<'_, str> {
    let mut escaped: Option<String> = None;
    let mut marks = 0;
    for (place, character) in text.char_indices() {
        marks = if is_mark(character) { marks + 1 } else { 0 };
        if !stays(character) && (is_unsafe(character) || marks > MARKS_IN_A_ROW_MAX) {
            let escaped = escaped.get_or_insert_with(|| text[..place].to_owned());
            match character {
                '\n' => escaped.push_str("\\n"),
                '\r' => escaped.push_str("\\r"),
                '\t' => escaped.push_str("\\t"),
                other => {
                    let _ = write!(escaped, "\\u{{{:x}}}", u32::from(other));
                }
            }
        } else if let Some(escaped) = &mut escaped {
            escaped.push(character);
        }
    }
    escaped.map_or(Cow::Borrowed(text), Cow::Owned)
}

fn is_mark(character: char) -> bool {
    !character.is_ascii() && matches!(character.general_category(), GeneralCategory::NonspacingMark | GeneralCategory::EnclosingMark)
}

/// True for what moves the cursor, hides, turns around or is no character at all.
fn is_unsafe(character: char) -> bool {
    if character.is_ascii() {
        return character.is_ascii_control();
    }
    // Letters by category, but blank or ignorable: the Hangul fillers and the combining grapheme joiner.
    if matches!(character, '\u{34f}' | '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}' | '\u{fffc}') {
        return true;
    }
    matches!(
        character.general_category(),
        GeneralCategory::Control
            | GeneralCategory::Format
            | GeneralCategory::LineSeparator
            | GeneralCategory::ParagraphSeparator
            | GeneralCategory::PrivateUse
            | GeneralCategory::Surrogate
            | GeneralCategory::Unassigned
    )
}

/// In a JSON document, unsafe characters can only stand inside strings (or as its own line ends), where `\u` means the same.
pub(crate) fn escape_json(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if character != '\n' && is_unsafe(character) {
            let mut units = [0u16; 2];
            for unit in character.encode_utf16(&mut units) {
                let _ = write!(escaped, "\\u{unit:04x}");
            }
        } else {
            escaped.push(character);
        }
    }
    escaped
}

/// How the cells of a column stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Align {
    /// Texts.
    Left,
    /// Numbers.
    Right,
}

/// A table: headings in capitals, two spaces between columns, cells escaped, the widest text columns cut with `…` if the terminal is narrow.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    headings: Vec<(String, Align)>,
    rows: Vec<Vec<String>>,
    /// On a terminal no cell is wider, however wide that is.
    cell_columns_max: Option<usize>,
}

impl Table {
    /// A table with these columns.
    pub(crate) fn new(headings: &[(&str, Align)]) -> Self {
        Self {
            headings: headings.iter().map(|(name, align)| ((*name).to_owned(), *align)).collect(),
            rows: Vec::new(),
            cell_columns_max: None,
        }
    }

    /// The same for cells of names that others choose: on a terminal each is cut to [`NAME_COLUMNS_MAX`]. In a pipe and as CSV they stay whole.
    pub(crate) fn of_names(mut self) -> Self {
        self.cell_columns_max = Some(NAME_COLUMNS_MAX);
        self
    }

    /// Adds a row; missing cells are empty. Cells are escaped here, not by the caller.
    pub(crate) fn row<C: Display>(&mut self, cells: impl IntoIterator<Item = C>) {
        let mut row: Vec<String> = cells.into_iter().map(|cell| escape(&cell.to_string()).into_owned()).collect();
        row.resize(self.headings.len(), String::new());
        self.rows.push(row);
    }

    /// The text with a line feed after each line.
    pub(crate) fn render(&self, columns: Option<usize>) -> String {
        let mut widths: Vec<usize> = self.headings.iter().map(|(name, _)| name.width()).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.width());
            }
        }
        if let Some(columns) = columns {
            if let Some(most) = self.cell_columns_max {
                widths.iter_mut().for_each(|width| *width = (*width).min(most));
            }
            self.fit(&mut widths, columns);
        }
        let mut text = String::new();
        let headings: Vec<String> = self.headings.iter().map(|(name, _)| name.clone()).collect();
        for row in std::iter::once(&headings).chain(&self.rows) {
            let mut line = String::new();
            for ((cell, (_, align)), &width) in row.iter().zip(&self.headings).zip(&widths) {
                let cell = truncate(cell, width);
                let pad = width.saturating_sub(cell.width());
                if !line.is_empty() {
                    line.push_str("  ");
                }
                match align {
                    Align::Left => {
                        let _ = write!(line, "{cell}{:pad$}", "");
                    }
                    Align::Right => {
                        let _ = write!(line, "{:pad$}{cell}", "");
                    }
                }
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }

    /// As CSV (RFC 4180) with headings in lower case. A cell that a spreadsheet would take for a formula gets an apostrophe in front.
    pub(crate) fn to_csv(&self) -> String {
        let mut text = String::new();
        let headings: Vec<String> = self.headings.iter().map(|(name, _)| name.to_lowercase().replace(' ', "_")).collect();
        for row in std::iter::once(&headings).chain(&self.rows) {
            let cells: Vec<_> = row.iter().map(|cell| csv_cell(cell)).collect();
            text.push_str(&cells.join(","));
            text.push_str("\r\n");
        }
        text
    }

    /// Narrows the widest left-aligned column again and again until the table fits, down to a least width.
    fn fit(&self, widths: &mut [usize], columns: usize) {
        loop {
            let total: usize = widths.iter().sum::<usize>() + 2 * widths.len().saturating_sub(1);
            if total <= columns {
                return;
            }
            let widest = (0..widths.len())
                .filter(|&column| {
                    self.headings[column].1 == Align::Left && widths[column] > CELL_COLUMNS_MIN.max(self.headings[column].0.width())
                })
                .max_by_key(|&column| widths[column]);
            let Some(widest) = widest else { return };
            widths[widest] -= 1;
        }
    }
}

/// Cuts a text to a number of columns, the last of which then shows `…`.
pub(crate) fn truncate(text: &str, columns: usize) -> Cow<'_, str> {
    if text.width() <= columns {
        return Cow::Borrowed(text);
    }
    let mut kept = String::new();
    let mut width = 0;
    for character in text.chars() {
        let wide = character.width().unwrap_or(0);
        if width + wide > columns.saturating_sub(1) {
            break;
        }
        width += wide;
        kept.push(character);
    }
    kept.push('…');
    Cow::Owned(kept)
}

fn csv_cell(cell: &str) -> String {
    let formula = cell.starts_with(['=', '+', '-', '@', '\t', '\r', '＝', '＋', '－', '＠']) && cell != "-";
    let cell = if formula { format!("'{cell}") } else { cell.to_owned() };
    if cell.contains(['"', ',', '\n', '\r', '\'']) { format!("\"{}\"", cell.replace('"', "\"\"")) } else { cell }
}

pub(crate) use triquest_wire::text::size;

/// A span of time in milliseconds.
pub(crate) fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// A duration for sentences: `3 ms`, `1.2 s`, `4 min`, `5 h 10 min`, `41 d`.
pub(crate) fn duration(ms: u64) -> String {
    let (seconds, minutes, hours, days) = (ms / 1_000, ms / 60_000, ms / 3_600_000, ms / 86_400_000);
    match () {
        () if ms < 1_000 => format!("{ms} ms"),
        () if ms < 60_000 && ms.is_multiple_of(1_000) => format!("{seconds} s"),
        () if ms < 60_000 => format!("{seconds}.{} s", ms % 1_000 / 100),
        () if hours == 0 => format!("{minutes} min"),
        () if days == 0 && minutes.is_multiple_of(60) => format!("{hours} h"),
        () if days == 0 => format!("{hours} h {} min", minutes % 60),
        () if days < 3 && hours % 24 != 0 => format!("{days} d {} h", hours % 24),
        () => format!("{days} d"),
    }
}

/// What is left until something is over, rounded up to whole minutes: nobody is told to come back too early.
pub(crate) fn left(ms: u64) -> String {
    duration(if ms < 60_000 { ms } else { ms.div_ceil(60_000).saturating_mul(60_000) })
}

/// A duration for a column: `12s`, `2m`, `5h 10m`, `3d 4h`, `41d`.
pub(crate) fn duration_short(ms: u64) -> String {
    let (seconds, minutes, hours, days) = (ms / 1_000, ms / 60_000, ms / 3_600_000, ms / 86_400_000);
    match () {
        () if minutes == 0 => format!("{seconds}s"),
        () if hours == 0 => format!("{minutes}m"),
        () if days == 0 => format!("{hours}h {:02}m", minutes % 60),
        () if days < 10 => format!("{days}d {}h", hours % 24),
        () => format!("{days}d"),
    }
}

/// A moment as people at this terminal say it: `08:02` today, `Mon 08:02` within a week, else `2026-12-31`.
pub(crate) fn moment(at: &jiff::Zoned, now: &jiff::Zoned) -> String {
    let at = at.with_time_zone(now.time_zone().clone());
    let days = now.date().until(at.date()).map_or(i32::MAX, |span| span.get_days());
    match days {
        0 => at.strftime("%H:%M").to_string(),
        -6..=6 => at.strftime("%a %H:%M").to_string(),
        _ => at.strftime("%Y-%m-%d").to_string(),
    }
}

/// An RFC 3339 time from the server, as [`moment`]; what cannot be read is shown as it is.
pub(crate) fn moment_of(at: &str, now: &jiff::Zoned) -> String {
    at.parse::<jiff::Timestamp>().map_or_else(|_| escape(at).into_owned(), |at| moment(&at.to_zoned(now.time_zone().clone()), now))
}

fn columns_of_stdout() -> Option<usize> {
    let stdout = io::stdout();
    if !stdout.is_terminal() {
        return None;
    }
    let by_kernel = rustix::termios::tcgetwinsize(&stdout).ok().map(|size| usize::from(size.ws_col)).filter(|&columns| columns > 0);
    let by_environment = || std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    Some(by_kernel.or_else(by_environment).unwrap_or(80))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn plain() -> Terminal {
        Terminal { talk_in_color: false, data_in_color: false, columns: None }
    }

    fn colored() -> Terminal {
        Terminal { talk_in_color: true, ..plain() }
    }

    #[test]
    fn what_is_not_hostile_stays_as_it_is() {
        for text in ["CORP\\bob", "alice@ws0142", "Jürgen Groß", "日本語", "e\u{301}", "a b\u{a0}c", "🪑", "", "$(x) `y` *"] {
            assert!(matches!(escape(text), Cow::Borrowed(same) if same == text), "{text:?}");
        }
    }

    #[test]
    fn what_moves_hides_or_turns_around_becomes_visible() {
        for (text, shown) in [
            ("\x1b[31mred", "\\u{1b}[31mred"),
            ("\x1b]0;title\x07", "\\u{1b}]0;title\\u{7}"),
            ("a\nb\r\tc", "a\\nb\\r\\tc"),
            ("\u{9b}2J", "\\u{9b}2J"),
            ("\u{7f}", "\\u{7f}"),
            ("user\u{202e}nimda", "user\\u{202e}nimda"),
            ("\u{2066}x\u{2069}", "\\u{2066}x\\u{2069}"),
            ("a\u{200b}\u{200d}\u{feff}b", "a\\u{200b}\\u{200d}\\u{feff}b"),
            ("\u{ad}\u{2028}\u{2029}", "\\u{ad}\\u{2028}\\u{2029}"),
            ("\u{e0041}\u{e000}\u{3164}", "\\u{e0041}\\u{e000}\\u{3164}"),
            ("z\u{300}\u{300}\u{300}\u{300}\u{300}", "z\u{300}\u{300}\u{300}\u{300}\\u{300}"),
        ] {
            assert_eq!(escape(text), shown);
        }
        assert_eq!(escape_lines("one\ntwo\r\n\x1b"), "one\ntwo\\r\n\\u{1b}");
    }

    #[test]
    fn colour_is_on_the_first_word_only_and_absent_when_plain() {
        assert_eq!(plain().verb_line(GREEN, "Signed", "DEMO-0001"), "      Signed DEMO-0001");
        assert_eq!(colored().verb_line(GREEN, "Signed", "DEMO\x1b[0m"), "      \x1b[1m\x1b[32mSigned\x1b[0m DEMO\\u{1b}[0m");
        let failure =
            Failure::denied("no seat of `cad` is free", true).row("seats", "25: 23 in use").row("ask", "support\x07").hint("`--wait 30m`");
        assert_eq!(
            plain().failure_text(&failure),
            "denied: no seat of `cad` is free\n  seats  25: 23 in use\n  ask    support\\u{7}\nhint: `--wait 30m`"
        );
        assert_eq!(failure.code(), 75);
        assert!(colored().failure_text(&failure).starts_with("\x1b[1m\x1b[33mdenied:\x1b[0m no seat"));
    }

    #[test]
    fn the_wish_for_colour_is_found_wherever_it_stands() {
        let of = |words: &[&str]| ColorWhen::from_arguments(words.iter().map(OsString::from));
        assert_eq!(of(&["x", "status", "--color", "never"]), ColorWhen::Never);
        assert_eq!(of(&["x", "--color=always", "status"]), ColorWhen::Always);
        assert_eq!(of(&["x", "run", "--", "--color=always"]), ColorWhen::Auto);
        assert_eq!(of(&["x"]), ColorWhen::Auto);
    }

    #[test]
    fn a_table_fits_the_terminal_counted_in_columns_not_in_bytes() {
        let mut table = Table::new(&[("SEATS", Align::Right), ("HOLDER", Align::Left), ("LEASE", Align::Left)]);
        table.row(["1", "日本語の名前がとても長い", "k3f9"]);
        table.row(["16", "e\u{301}ve", "m41a"]);
        assert_eq!(
            table.render(None),
            "SEATS  HOLDER                    LEASE\n    1  日本語の名前がとても長い  k3f9\n   16  e\u{301}ve                       m41a\n"
        );
        let narrow = table.render(Some(30));
        assert!(narrow.lines().all(|line| line.width() <= 30), "{narrow}");
        assert!(narrow.contains("日本語の名前が…"), "{narrow}");
        assert_eq!(narrow.lines().count(), 3);
    }

    #[test]
    fn json_and_csv_carry_hostile_text_harmlessly() {
        let text = serde_json::to_string(&["a\u{202e}b\u{7f}\u{9b}\u{e0041}", "\x1b"]).unwrap();
        let safe = escape_json(&text);
        assert!(!safe.chars().any(is_unsafe), "{safe:?}");
        assert_eq!(serde_json::from_str::<Vec<String>>(&safe).unwrap(), ["a\u{202e}b\u{7f}\u{9b}\u{e0041}", "\x1b"]);
        for (cell, shown) in
            [("=1+1", "\"'=1+1\""), ("@x", "\"'@x\""), ("-", "-"), ("-1", "\"'-1\""), ("a,\"b\"", "\"a,\"\"b\"\"\""), ("ok", "ok")]
        {
            assert_eq!(csv_cell(cell), shown);
        }
    }

    #[test]
    fn durations_and_moments_are_said_as_people_say_them() {
        let minute = 60_000;
        for (ms, long, short) in [
            (3, "3 ms", "0s"),
            (1_240, "1.2 s", "1s"),
            (2_000, "2 s", "2s"),
            (4 * minute, "4 min", "4m"),
            (310 * minute, "5 h 10 min", "5h 10m"),
            (6 * 60 * minute, "6 h", "6h 00m"),
            (26 * 60 * minute, "1 d 2 h", "1d 2h"),
            (41 * 1_440 * minute, "41 d", "41d"),
        ] {
            assert_eq!((duration(ms), duration_short(ms)), (long.to_owned(), short.to_owned()));
        }
        let now = "2026-11-23T12:00:00Z".parse::<jiff::Timestamp>().unwrap().to_zoned(jiff::tz::TimeZone::UTC);
        for (at, shown) in [
            ("2026-11-23T08:02:00Z", "08:02"),
            ("2026-11-22T22:14:59Z", "Sun 22:14"),
            ("2026-12-31T00:00:00Z", "2026-12-31"),
            ("2026-11-17T00:00:00Z", "Tue 00:00"),
            ("2026-11-16T00:00:00Z", "2026-11-16"),
            ("x\x1b", "x\\u{1b}"),
        ] {
            assert_eq!(moment_of(at, &now), shown);
        }
    }
}
