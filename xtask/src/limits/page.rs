//! The page itself.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;

use super::FILES;

/// A constant as it is written.
#[derive(Debug, PartialEq, Eq)]
struct Constant {
    name: String,
    /// The first paragraph of its comment.
    about: String,
    value: String,
}

/// The constants at the left margin of a file that other modules see, before its tests. Texts are no limits.
fn constants(text: &str) -> Vec<Constant> {
    let (mut found, mut about, mut ended) = (Vec::new(), Vec::new(), false);
    let mut lines = text.lines().take_while(|line| *line != "#[cfg(test)]");
    while let Some(line) = lines.next() {
        if let Some(comment) = line.strip_prefix("///") {
            ended |= comment.trim().is_empty();
            if !ended {
                about.push(comment.trim());
            }
            continue;
        }
        if let Some(rest) = line.strip_prefix("pub const ").or_else(|| line.strip_prefix("pub(crate) const ")) {
            let mut rest = rest.to_owned();
            while !rest.ends_with(';') {
                let Some(more) = lines.next() else { break };
                rest = format!("{rest} {}", more.trim());
            }
            let (left, value) = rest.trim_end_matches(';').split_once(" = ").unwrap();
            let (name, kind) = left.split_once(": ").unwrap();
            if !kind.contains("str") {
                let (name, value) = (name.to_owned(), value.trim().to_owned());
                found.push(Constant { name, about: without_links(&about.join(" ")), value });
            }
        }
        about.clear();
        ended = false;
    }
    found
}

/// Links of Rust's documentation lead nowhere on a page: what they show stays.
fn without_links(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("[`") {
        let Some((shown, after)) = after.split_once("`]") else { break };
        let after = match after.strip_prefix('(') {
            Some(target) => target.split_once(')').map_or(target, |(_, after)| after),
            None => after,
        };
        write!(plain, "{before}`{}`", shown.trim_start_matches("crate::")).unwrap();
        rest = after;
    }
    (plain + rest).replace('|', "\\|")
}

/// Reads sums and products of whole numbers and of other constants; of anything else nothing.
struct Reader<'a> {
    rest: &'a str,
    named: &'a BTreeMap<String, String>,
    depth: u32,
}

impl Reader<'_> {
    fn takes(&mut self, what: &str) -> bool {
        self.rest = self.rest.trim_start();
        let Some(rest) = self.rest.strip_prefix(what) else { return false };
        self.rest = rest;
        true
    }

    fn shift(&mut self) -> Option<u128> {
        let mut value = self.sum()?;
        while self.takes("<<") {
            value = value.checked_shl(u32::try_from(self.sum()?).ok()?)?;
        }
        Some(value)
    }

    fn sum(&mut self) -> Option<u128> {
        let mut value = self.product()?;
        loop {
            if self.takes("+") {
                value = value.checked_add(self.product()?)?;
            } else if self.takes("-") {
                value = value.checked_sub(self.product()?)?;
            } else {
                return Some(value);
            }
        }
    }

    fn product(&mut self) -> Option<u128> {
        let mut value = self.atom()?;
        while self.takes("*") {
            value = value.checked_mul(self.atom()?)?;
        }
        Some(value)
    }

    fn atom(&mut self) -> Option<u128> {
        let value = if self.takes("(") {
            let inner = self.shift()?;
            self.takes(")").then_some(inner)?
        } else {
            self.rest = self.rest.trim_start();
            let end = self.rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(self.rest.len());
            let (word, rest) = self.rest.split_at(end);
            self.rest = rest;
            if word.starts_with(|c: char| c.is_ascii_digit()) {
                word.replace('_', "").parse().ok()?
            } else {
                number(self.named.get(word)?, self.named, self.depth + 1)?
            }
        };
        // A cast changes no number that is a limit.
        if self.takes("as u64") || self.takes("as usize") || self.takes("as u32") {
            return Some(value);
        }
        Some(value)
    }
}

fn number(text: &str, named: &BTreeMap<String, String>, depth: u32) -> Option<u128> {
    let mut reader = Reader { rest: text, named, depth };
    let value = if depth > 8 { None } else { reader.shift() }?;
    reader.rest.trim().is_empty().then_some(value)
}

fn thousands(value: u128) -> String {
    let digits = value.to_string();
    let mut shown = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

/// The value with what its name says of its unit, and in a larger unit if it is a whole number of these.
fn shown(name: &str, value: u128) -> String {
    if name == "PORT" || name.ends_with("_PORT_MIN") {
        return value.to_string();
    }
    let plain = thousands(value);
    let has = |unit: &str| name.split('_').any(|part| part == unit);
    let larger = |units: &[(u128, &str)]| {
        units
            .iter()
            .find(|(size, _)| value >= *size && value.is_multiple_of(*size))
            .map(|(size, unit)| format!(" = {} {unit}", thousands(value / size)))
    };
    let per = if name.contains("PER_SECOND") {
        " a second"
    } else if name.contains("PER_MINUTE") {
        " a minute"
    } else {
        ""
    };
    if has("BYTES") {
        let more = larger(&[(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")]).unwrap_or_default();
        return format!("{plain} bytes{more}");
    }
    if has("MS") {
        let more = larger(&[(86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1_000, "s")]).unwrap_or_default();
        return format!("{plain} ms{more}");
    }
    let unit = if has("KIB") {
        " KiB"
    } else if has("US") {
        " us"
    } else {
        ""
    };
    format!("{plain}{unit}{per}")
}

fn page() -> String {
    let files: Vec<_> =
        FILES.iter().map(|(title, path)| (*title, *path, constants(&fs::read_to_string(crate::root().join(path)).unwrap()))).collect();
    // A name that several files have is the first's elsewhere.
    let mut all: BTreeMap<String, String> = BTreeMap::new();
    for Constant { name, value, .. } in files.iter().flat_map(|(_, _, constants)| constants) {
        all.entry(name.clone()).or_insert_with(|| value.clone());
    }
    let mut page = String::from(
        "\
# Every limit

<!-- Generated from the limits.rs files: `cargo x generate`. -->

Sizes, counts and times that are built in, by name, the unit last. What one hostile client can cost with them, and what happens at each, is in
[What it protects](../trust.md#what-one-hostile-client-can-cost) and [Leases](../leases.md#limits); those that can be set are in the [configuration](config.md). A network is an IPv4 address
or an IPv6 /64. \"The same\" is what the row above counts.
",
    );
    for (title, path, constants) in &files {
        // Within its file a name is that file's.
        let mut named = all.clone();
        named.extend(constants.iter().map(|constant| (constant.name.clone(), constant.value.clone())));
        write!(page, "\n## {title}\n\n`{path}`\n\n| name | value | meaning |\n|---|---:|---|\n").unwrap();
        for Constant { name, about, value } in constants {
            let value = number(value, &named, 0).map_or_else(|| format!("`{value}`"), |number| shown(name, number));
            writeln!(page, "| `{name}` | {value} | {about} |").unwrap();
        }
    }
    page
}

#[test]
fn the_page_of_limits_is_made_from_the_limits() {
    let file = crate::root().join("docs/reference/limits.md");
    let page = page();
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&file, &page).unwrap();
    }
    assert_eq!(fs::read_to_string(&file).unwrap_or_default(), page, "`cargo x generate` writes docs/reference/limits.md");
}

#[test]
fn values_are_worked_out_and_shown_with_their_unit() {
    let found = constants(
        "//! Page.\n\n/// Bytes of a [`Body`](crate::Body).\n/// Whole.\n///\n/// More.\npub const BODY_BYTES_MAX: usize = 64 * 1024;\n/// Twice.\npub const TWO_BYTES_MAX: usize =\n    2 * BODY_BYTES_MAX as u64 - (1 + 1);\npub const NAME: &str = \"x\";\nconst OWN_MAX: u64 = 1;\n#[cfg(test)]\npub const LATE_MAX: u64 = 1;\n",
    );
    assert_eq!(found.iter().map(|constant| constant.name.as_str()).collect::<Vec<_>>(), ["BODY_BYTES_MAX", "TWO_BYTES_MAX"]);
    assert_eq!(found[0].about, "Bytes of a `Body`. Whole.");
    let named = found.iter().map(|constant| (constant.name.clone(), constant.value.clone())).collect();
    assert_eq!(number(&found[1].value, &named, 0), Some(131_070));
    assert_eq!(number("4 << 20", &named, 0), Some(4_194_304));
    for other in ["Room::taken_by(1)", "9100..=9107", "UNKNOWN", "1 + "] {
        assert_eq!(number(other, &named, 0), None, "{other}");
    }
    assert_eq!(shown("BODY_BYTES_MAX", 65_536), "65,536 bytes = 64 KiB");
    assert_eq!(shown("TTL_MS_DEFAULT", 300_000), "300,000 ms = 5 min");
    assert_eq!(shown("NEW_IDS_PER_SECOND", 300), "300 a second");
    assert_eq!(shown("PORT", 1_588), "1588");
    assert_eq!(shown("LEASES_MAX", 5_000_000), "5,000,000");
}
