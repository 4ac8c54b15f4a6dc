//! Rules about the checkout that a test keeps, not a reviewer. Each check returns its complaints, with file and line.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What each crate may use of this workspace, and whether it is pure. Nothing may use `triquest-lm` (the binary).
const CRATES: &[(&str, &str, &[&str])] = &[
    ("triquest-allocator", "crates/allocator", &["triquest-license"]),
    ("triquest-bench", "bench", &["triquest-license", "triquest-wire"]),
    ("triquest-client", "crates/client", &["triquest-license", "triquest-wire"]),
    ("triquest-engine", "crates/engine", &["triquest-allocator", "triquest-journal", "triquest-license", "triquest-wire"]),
    ("triquest-fuzz", "fuzz", &["triquest-allocator", "triquest-journal", "triquest-license", "triquest-wire"]),
    ("triquest-journal", "crates/journal", &["triquest-allocator", "triquest-license"]),
    ("triquest-license", "crates/license", &[]),
    (
        "triquest-lm",
        "crates/cli",
        &["triquest-client", "triquest-journal", "triquest-license", "triquest-ports", "triquest-server", "triquest-wire"],
    ),
    ("triquest-ports", "crates/ports", &[]),
    (
        "triquest-server",
        "crates/server",
        &["triquest-allocator", "triquest-engine", "triquest-journal", "triquest-license", "triquest-ports", "triquest-wire"],
    ),
    (
        "triquest-sim",
        "crates/sim",
        &["triquest-allocator", "triquest-client", "triquest-engine", "triquest-journal", "triquest-license", "triquest-wire"],
    ),
    ("triquest-wire", "crates/wire", &["triquest-license"]),
    ("xtask", "xtask", &["triquest-ports"]),
];

/// What the pure crates may use from outside.
const PURE_MAY_USE: &[(&str, &[&str])] = &[
    ("crates/allocator", &[]),
    ("crates/engine", &["serde", "serde_json"]),
    ("crates/license", &["aws-lc-rs", "base64", "serde", "serde_json", "thiserror", "unicode-properties"]),
    ("crates/wire", &["base64", "serde", "serde_json", "thiserror", "utoipa"]),
];

/// Only the server and the programs know an async runtime or a database.
const NEVER: &[(&str, &[&str])] = &[
    ("crates/client", &["axum", "hyper", "reqwest", "rusqlite", "tokio"]),
    ("crates/journal", &["axum", "hyper", "serde_json", "tokio"]),
    ("crates/sim", &["axum", "hyper", "rusqlite", "tokio"]),
];

/// What pure code never says: clocks, randomness, input and output, logging, the environment, threads.
const IMPURE: &[&str] = &[
    "Instant::now",
    "SystemTime",
    "eprintln!",
    "getrandom",
    "println!",
    "rand::",
    "std::env",
    "std::fs",
    // Addresses are values; sockets and names to be resolved are not.
    "TcpListener",
    "TcpStream",
    "ToSocketAddrs",
    "UdpSocket",
    "std::process",
    "std::thread",
    "tokio::",
    "tracing::",
];

/// Where the environment is read, beside the program itself (`crates/cli`): what an administrator or a user may set is found in one place of each crate,
/// and nothing hidden changes what the server does.
const ENVIRONMENT: &[&str] = &[
    // Which folder a service's data is in, and `TRIQUEST_LM_...` of the configuration.
    "crates/server/src/config.rs",
    // Who asks: the user, the display, the job of a batch system.
    "crates/client/src/holder.rs",
    // Which server an application's user named.
    "crates/client/src/lookup.rs",
];

/// Bans that every clippy.toml repeats, because a crate's own replaces the root's.
const BANS_EVERYWHERE: &[&str] = &["std::thread::sleep", "ureq::tls::TlsConfigBuilder::disable_verification"];
/// Bans of the pure crates.
const BANS_PURE: &[&str] = &["std::time::Instant::now", "std::time::SystemTime::now"];

/// Every check of this file.
pub(crate) fn all(root: &Path) -> Vec<String> {
    let files = files(root);
    let mut complaints = Vec::new();
    complaints.extend(allowed_dependencies(root));
    complaints.extend(crates_in_architecture(root));
    complaints.extend(pure_code(root, &files));
    complaints.extend(limits_in_one_file(root, &files));
    complaints.extend(environment_in_one_place(root, &files));
    complaints.extend(clippy_bans(root));
    complaints.extend(words(root, &files));
    complaints.extend(docs(root, &files));
    complaints.extend(architecture(root));
    complaints.extend(names_in_docs(root, &files));
    complaints
}

/// What git knows or would take, relative to the root. Without git (a source archive) nothing is checked by file.
fn files(root: &Path) -> Vec<PathBuf> {
    let listed = Command::new("git").args(["ls-files", "-co", "--exclude-standard", "-z"]).current_dir(root).output();
    let Ok(listed) = listed else { return Vec::new() };
    let mut files: Vec<PathBuf> = String::from_utf8_lossy(&listed.stdout)
        .split('\0')
        .filter(|path| !path.is_empty())
        .map(PathBuf::from)
        .filter(|path| root.join(path).is_file())
        .collect();
    files.sort();
    files
}

fn table(value: &toml::Table, name: &str) -> BTreeSet<String> {
    value.get(name).and_then(toml::Value::as_table).map(|table| table.keys().cloned().collect()).unwrap_or_default()
}

fn allowed_dependencies(root: &Path) -> Vec<String> {
    let ours: BTreeSet<&str> = CRATES.iter().map(|(name, _, _)| *name).collect();
    let mut complaints = Vec::new();
    for (name, folder, may) in CRATES {
        let path = format!("{folder}/Cargo.toml");
        let Some(manifest) = fs::read_to_string(root.join(&path)).ok().and_then(|text| text.parse::<toml::Table>().ok()) else {
            complaints.push(format!("{path}: cannot be read"));
            continue;
        };
        let mut used = table(&manifest, "dependencies");
        used.extend(table(&manifest, "build-dependencies"));
        for dependency in used.iter().filter(|used| ours.contains(used.as_str()) && !may.contains(&used.as_str())) {
            complaints.push(format!("{path}: {name} must not use {dependency}"));
        }
        for dependency in may.iter().filter(|may| !used.contains(**may)) {
            complaints.push(format!("{path}: {name} does not use {dependency}, which xtask/src/tidy.rs and ARCHITECTURE.md let it use"));
        }
        if let Some((_, outside)) = PURE_MAY_USE.iter().find(|(pure, _)| pure == folder) {
            for dependency in used.iter().filter(|used| !ours.contains(used.as_str()) && !outside.contains(&used.as_str())) {
                complaints.push(format!("{path}: {name} is pure and must not use {dependency}"));
            }
        }
        if let Some((_, never)) = NEVER.iter().find(|(crate_, _)| crate_ == folder) {
            for dependency in used.iter().filter(|used| never.contains(&used.as_str())) {
                complaints.push(format!("{path}: {name} must not use {dependency}"));
            }
        }
        if !table(&manifest, "lints").contains("workspace") {
            complaints.push(format!("{path}: must say [lints] workspace = true"));
        }
    }
    // A new crate has to be named here, with what it may use.
    for folder in fs::read_dir(root.join("crates")).into_iter().flatten().flatten() {
        let folder = format!("crates/{}", folder.file_name().to_string_lossy());
        if !CRATES.iter().any(|(_, known, _)| *known == folder) {
            complaints.push(format!("{folder}: is not in xtask/src/tidy.rs, which says what it may use"));
        }
    }
    complaints
}

/// The table of crates in ARCHITECTURE.md lets each use what [`CRATES`] does.
fn crates_in_architecture(root: &Path) -> Vec<String> {
    let text = fs::read_to_string(root.join("ARCHITECTURE.md")).unwrap_or_default();
    let rows = text.lines().skip_while(|line| *line != "## Crates").skip(1).take_while(|line| !line.starts_with("## "));
    let mut written: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let ([first, .., last], 3) = (cells.as_slice(), cells.len()) else { continue };
        let Some(folder) = first.strip_prefix('`').and_then(|rest| rest.strip_suffix('`')) else { continue };
        // What stands in parentheses behind a name says what for.
        let names = last.split(',').filter_map(|name| name.split_whitespace().next()).map(|name| format!("triquest-{name}"));
        let ours = names.filter(|name| CRATES.iter().any(|(known, _, _)| known == name)).collect();
        written.insert(folder.to_owned(), ours);
    }
    let mut complaints = Vec::new();
    for (_, folder, may) in CRATES {
        let may: BTreeSet<String> = may.iter().map(|name| (*name).to_owned()).collect();
        match written.get(*folder) {
            Some(named) if *named == may => {}
            Some(named) => complaints.push(format!("ARCHITECTURE.md: {folder} may use {named:?} there, and {may:?} in xtask/src/tidy.rs")),
            None => complaints.push(format!("ARCHITECTURE.md: its table of crates has no {folder}")),
        }
    }
    complaints
}

fn is_pure(path: &Path) -> bool {
    PURE_MAY_USE.iter().any(|(folder, _)| path.starts_with(format!("{folder}/src")))
        || path.starts_with("crates/client/src/keeper")
        || path == Path::new("crates/client/src/keeper.rs")
}

/// The lines of a Rust file before its tests, numbered from 1, without comments.
fn code_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .take_while(|(_, line)| line.trim() != "#[cfg(test)]")
        .map(|(number, line)| (number + 1, line.split("//").next().unwrap_or_default()))
}

fn pure_code(root: &Path, files: &[PathBuf]) -> Vec<String> {
    let mut complaints = Vec::new();
    for path in files.iter().filter(|path| is_pure(path) && path.extension().is_some_and(|extension| extension == "rs")) {
        let text = fs::read_to_string(root.join(path)).unwrap_or_default();
        for (number, line) in code_lines(&text) {
            for word in IMPURE.iter().filter(|word| line.contains(**word)) {
                complaints.push(format!("{}:{number}: pure code says {word}", path.display()));
            }
        }
    }
    complaints
}

/// Crates with limits, and whether all of theirs have to be on the page, or only those that other modules see: the rest may stand beside the code that
/// it is about.
const LIMITED: &[(&str, bool)] = &[
    ("crates/allocator/src", true),
    ("crates/client/src", false),
    ("crates/engine/src", true),
    ("crates/journal/src", false),
    ("crates/license/src", true),
    ("crates/ports/src", false),
    ("crates/server/src", false),
    ("crates/wire/src", true),
];

/// A limit is a constant whose name ends in `_MAX` or `_MIN`; it stands in a file that the page of limits is made from.
fn limits_in_one_file(root: &Path, files: &[PathBuf]) -> Vec<String> {
    let mut complaints = Vec::new();
    for path in files {
        let Some((_, all)) = LIMITED.iter().find(|(folder, _)| path.starts_with(folder)) else { continue };
        if crate::limits::FILES.iter().any(|(_, on_the_page)| path == Path::new(on_the_page)) {
            continue;
        }
        let text = fs::read_to_string(root.join(path)).unwrap_or_default();
        for (number, line) in code_lines(&text) {
            let Some((before, after)) = line.split_once("const ") else { continue };
            if !all && !before.contains("pub") {
                continue;
            }
            let name = after.split(':').next().unwrap_or_default().trim();
            if name.ends_with("_MAX") || name.ends_with("_MIN") {
                complaints.push(format!("{}:{number}: the limit {name} belongs into a file of the page of limits", path.display()));
            }
        }
    }
    complaints
}

/// Libraries and the server read the environment in one file each.
fn environment_in_one_place(root: &Path, files: &[PathBuf]) -> Vec<String> {
    let mut complaints = Vec::new();
    let inside = |path: &Path| {
        path.starts_with("crates") && !path.starts_with("crates/cli") && path.components().any(|part| part.as_os_str() == "src")
    };
    for path in files.iter().filter(|path| path.extension().is_some_and(|kind| kind == "rs") && inside(path)) {
        if ENVIRONMENT.iter().any(|allowed| path == Path::new(allowed)) {
            continue;
        }
        let text = fs::read_to_string(root.join(path)).unwrap_or_default();
        for (number, line) in code_lines(&text) {
            if ["env::var(", "env::var_os(", "env::vars(", "env::vars_os("].iter().any(|call| line.contains(call)) {
                complaints.push(format!("{}:{number}: the environment is read elsewhere: {}", path.display(), ENVIRONMENT.join(", ")));
            }
        }
    }
    complaints
}

fn clippy_bans(root: &Path) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut expected: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    expected.insert("clippy.toml".to_owned(), BANS_EVERYWHERE.to_vec());
    for (_, folder, _) in CRATES {
        let path = format!("{folder}/clippy.toml");
        let pure = PURE_MAY_USE.iter().any(|(pure, _)| pure == folder);
        if pure || root.join(&path).is_file() {
            let mut bans = BANS_EVERYWHERE.to_vec();
            if pure {
                bans.extend(BANS_PURE);
            }
            expected.insert(path, bans);
        }
    }
    for (path, bans) in expected {
        let text = fs::read_to_string(root.join(&path)).unwrap_or_default();
        for ban in bans.iter().filter(|ban| !text.contains(&format!("\"{ban}\""))) {
            complaints.push(format!("{path}: must ban {ban}"));
        }
    }
    complaints
}

/// Words that have no place in a file of this checkout. Spelled in halves here, so that this file may pass.
fn banned_words() -> Vec<(String, &'static str)> {
    vec![
        (format!("{}{}", "TO", "DO"), "open work belongs into an issue"),
        (format!("{}{}", "FIX", "ME"), "open work belongs into an issue"),
        (format!("{}{}", "todo", "!("), "nothing is left unwritten"),
        (format!("{}{}", "unimplemented", "!("), "nothing is left unwritten"),
        (format!("{}{}", "/wo", "rk/"), "a path of one machine"),
        (format!("{}{}", "/ro", "ot/"), "a path of one machine"),
        (format!("{}{}", "lic", "ence"), "the spelling here is `license`"),
        (format!("{}{}", "struct Lic", "ense "), "no type is called so: say which of license text, note, terms or file it is"),
    ]
}

fn words(root: &Path, files: &[PathBuf]) -> Vec<String> {
    let banned = banned_words();
    let mut complaints = Vec::new();
    for path in files {
        let data = path.components().any(|part| matches!(part.as_os_str().to_str(), Some("data" | "vectors" | "golden" | "corpus")));
        if data || path.file_name().is_some_and(|name| name == "Cargo.lock") {
            continue;
        }
        let Ok(text) = fs::read_to_string(root.join(path)) else { continue };
        // Tests that offer the other spelling, to see it refused.
        let british = path.starts_with("crates/license/tests");
        for (number, line) in text.lines().enumerate() {
            for (word, why) in banned.iter().filter(|(word, _)| line.contains(word.as_str()) && !(word.starts_with("lic") && british)) {
                complaints.push(format!("{}:{}: {word}: {why}", path.display(), number + 1));
            }
            if line.starts_with("<<<<<<< ") || line.starts_with(">>>>>>> ") {
                complaints.push(format!("{}:{}: an unfinished merge", path.display(), number + 1));
            }
        }
        if !text.is_empty() && !text.ends_with('\n') && path.extension().is_some_and(|kind| kind == "rs" || kind == "md" || kind == "toml")
        {
            complaints.push(format!("{}: does not end with a newline", path.display()));
        }
    }
    complaints
}

/// Lines of a page outside its code blocks, numbered from 1.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut code = false;
    text.lines().enumerate().filter_map(move |(number, line)| {
        if line.trim_start().starts_with("```") {
            code = !code;
            return None;
        }
        (!code).then_some((number + 1, line))
    })
}

/// Targets of the links of a page that point into this checkout.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut links = Vec::new();
    for (number, line) in prose(text) {
        for part in line.split("](").skip(1) {
            let target = part.split(')').next().unwrap_or_default().split('#').next().unwrap_or_default();
            if !target.is_empty() && !target.contains("://") && !target.starts_with("mailto:") {
                links.push((number, target.to_owned()));
            }
        }
    }
    links
}

/// Every page has one title, its first line; every link leads somewhere; every file under docs/ is in the index.
fn docs(root: &Path, files: &[PathBuf]) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut indexed = BTreeSet::new();
    for path in files.iter().filter(|path| path.extension().is_some_and(|extension| extension == "md")) {
        let text = fs::read_to_string(root.join(path)).unwrap_or_default();
        let titles: Vec<usize> = prose(&text).filter(|(_, line)| line.starts_with("# ")).map(|(number, _)| number).collect();
        if titles != [1] {
            complaints.push(format!("{}: has its `# Title` on lines {titles:?}, not only on line 1", path.display()));
        }
        let folder = path.parent().unwrap_or(Path::new(""));
        for (number, target) in links(&text) {
            let Ok(found) = root.join(folder).join(&target).canonicalize() else {
                complaints.push(format!("{}:{number}: the link to {target} leads nowhere", path.display()));
                continue;
            };
            if path == Path::new("docs/README.md") {
                indexed.insert(found);
            }
        }
    }
    for path in files.iter().filter(|path| path.starts_with("docs") && *path != Path::new("docs/README.md")) {
        let Ok(full) = root.join(path).canonicalize() else { continue };
        if !indexed.iter().any(|target| full == *target || (target.is_dir() && full.starts_with(target))) {
            complaints.push(format!("{}: is not in docs/README.md", path.display()));
        }
    }
    complaints
}

/// `a/{b,c}.rs` as `a/b.rs` and `a/c.rs`.
fn expanded(path: &str) -> Vec<String> {
    match path.split_once('{').and_then(|(before, rest)| Some((before, rest.split_once('}')?))) {
        Some((before, (names, after))) => names.split(',').map(|name| format!("{before}{name}{after}")).collect(),
        None => vec![path.to_owned()],
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') && !text.starts_with(|c: char| c.is_ascii_digit())
}

/// A name stands somewhere in a text, and not as a part of a longer one.
fn says(text: &str, name: &str) -> bool {
    let part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.match_indices(name).any(|(at, _)| !text[..at].ends_with(part) && !text[at + name.len()..].starts_with(part))
}

/// Every path in the table of ARCHITECTURE.md that says where things are leads somewhere, and each name in parentheses behind one stands in that file.
///
/// A path begins at the crates, at the top of the checkout, or beside the path before it: in its folder or one above, or in the sources of its crate.
fn architecture(root: &Path) -> Vec<String> {
    const PAGE: &str = "ARCHITECTURE.md";
    let text = fs::read_to_string(root.join(PAGE)).unwrap_or_default();
    let mut complaints = Vec::new();
    let rows = text.lines().enumerate().skip_while(|(_, line)| !line.starts_with("## Where is")).skip(1);
    for (number, row) in rows.take_while(|(_, line)| !line.starts_with("## ")).filter(|(_, line)| line.starts_with('|')) {
        // The first cell says what; paths stand in the second.
        let cell = row.trim_matches('|').split_once('|').map_or("", |(_, cell)| cell);
        let mut before = PathBuf::new();
        let mut named: Vec<PathBuf> = Vec::new();
        let mut inside = false;
        for (place, piece) in cell.split('`').enumerate() {
            if place % 2 == 0 {
                inside = if piece.starts_with(" (") {
                    piece.matches('(').count() > piece.matches(')').count()
                } else {
                    inside && !piece.contains(')')
                };
                continue;
            }
            // A name that stands for any, and what is shown by example.
            if piece.contains("NAME") {
                continue;
            }
            if piece.ends_with(".rs")
                || piece.ends_with(".md")
                || piece.ends_with('/')
                || piece.contains("/src/")
                || piece.starts_with("bench/")
            {
                named.clear();
                for path in expanded(piece) {
                    let sources: PathBuf = before.components().take_while(|part| part.as_os_str() != "src").collect();
                    let found = [PathBuf::from("crates").join(&path), sources.join("src").join(&path)]
                        .into_iter()
                        .chain(before.ancestors().map(|folder| folder.join(&path)))
                        .find(|found| root.join(found).exists());
                    match found {
                        Some(found) => named.push(found),
                        None => complaints.push(format!("{PAGE}:{}: {path} is nowhere", number + 1)),
                    }
                }
                if let Some(last) = named.last() {
                    before = if root.join(last).is_dir() { last.clone() } else { last.parent().unwrap_or(Path::new("")).to_owned() };
                }
            } else if inside && !named.is_empty() {
                let name = piece.rsplit("::").next().unwrap_or(piece);
                let has = |path: &PathBuf| says(&fs::read_to_string(root.join(path)).unwrap_or_default(), name);
                if is_name(name) && named.iter().all(|path| root.join(path).is_file()) && !named.iter().any(has) {
                    complaints.push(format!("{PAGE}:{}: {name} is not in {}", number + 1, named[0].display()));
                }
            }
        }
    }
    complaints
}

/// A long name in the docs, of a test or a safeguard, stands in the code: whoever renames it renames it there too.
fn names_in_docs(root: &Path, files: &[PathBuf]) -> Vec<String> {
    let mut names: BTreeMap<String, String> = BTreeMap::new();
    let mut complaints = Vec::new();
    for path in files.iter().filter(|path| path.starts_with("docs") && path.extension().is_some_and(|extension| extension == "md")) {
        let text = fs::read_to_string(root.join(path)).unwrap_or_default();
        for (number, line) in prose(&text) {
            let inside = |piece: &&str| ["bench/", "contrib/", "crates/"].iter().any(|folder| piece.starts_with(folder));
            for gone in line.split('`').skip(1).step_by(2).filter(inside).flat_map(expanded).filter(|named| !root.join(named).exists()) {
                complaints.push(format!("{}:{number}: {gone} is nowhere", path.display()));
            }
            for name in line.split('`').skip(1).step_by(2).filter(|name| is_name(name) && name.matches('_').count() >= 2) {
                names.entry(name.to_owned()).or_insert_with(|| format!("{}:{number}", path.display()));
            }
        }
    }
    for path in files.iter().filter(|path| path.extension().is_some_and(|extension| extension == "rs")) {
        let text = fs::read_to_string(root.join(path)).unwrap_or_default();
        names.retain(|name, _| !text.contains(name.as_str()) || !says(&text, name));
    }
    complaints.extend(names.into_iter().map(|(name, place)| format!("{place}: nothing in the code is called {name}")));
    complaints
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn none(complaints: Vec<String>) {
        assert!(complaints.is_empty(), "{} complaints\n{}", complaints.len(), complaints.join("\n"));
    }

    #[test]
    fn crates_use_only_what_they_may() {
        none(allowed_dependencies(&crate::root()));
    }

    #[test]
    fn the_table_of_crates_says_what_each_may_use() {
        none(crates_in_architecture(&crate::root()));
    }

    #[test]
    fn pure_crates_have_no_clock_no_chance_and_no_input() {
        none(pure_code(&crate::root(), &files(&crate::root())));
    }

    #[test]
    fn limits_stand_in_one_file_of_each_crate() {
        none(limits_in_one_file(&crate::root(), &files(&crate::root())));
    }

    #[test]
    fn the_environment_is_read_where_it_may_be() {
        none(environment_in_one_place(&crate::root(), &files(&crate::root())));
    }

    #[test]
    fn clippy_bans_are_in_force_in_every_crate() {
        none(clippy_bans(&crate::root()));
    }

    #[test]
    fn nothing_is_left_open_and_no_path_of_one_machine_is_left_in() {
        none(words(&crate::root(), &files(&crate::root())));
    }

    #[test]
    fn docs_have_one_title_no_dead_link_and_no_page_outside_the_index() {
        none(docs(&crate::root(), &files(&crate::root())));
    }

    #[test]
    fn the_architecture_names_what_is_there() {
        none(architecture(&crate::root()));
    }

    #[test]
    fn docs_name_tests_and_switches_that_are_there() {
        none(names_in_docs(&crate::root(), &files(&crate::root())));
    }

    #[test]
    fn a_path_and_a_name_that_are_gone_are_found() {
        let folder = std::env::temp_dir().join(format!("triquest-tidy-names-{}", std::process::id()));
        fs::create_dir_all(folder.join("crates/a/src/b")).unwrap();
        fs::create_dir_all(folder.join("docs")).unwrap();
        fs::write(folder.join("crates/a/src/one.rs"), "fn here() {}\nfn what_is_there() {}\n").unwrap();
        fs::write(folder.join("crates/a/src/b/two.rs"), "").unwrap();
        let row = "| x | `a/src/{one,gone}.rs`, `a/src/one.rs` (`here`, `nowhere`), then `b/two.rs` and `three.rs`; `free_word` |";
        fs::write(folder.join("ARCHITECTURE.md"), format!("# A\n\n## Where is ...\n\n{row}\n")).unwrap();
        fs::write(folder.join("docs/a.md"), "# A\n\n`what_is_there`, `what_is_gone`, `two_parts`, `crates/a/src/{one,gone}.rs`\n").unwrap();
        let found = architecture(&folder);
        let names = names_in_docs(&folder, &["docs/a.md", "crates/a/src/one.rs"].map(PathBuf::from));
        fs::remove_dir_all(&folder).unwrap();
        let page = "ARCHITECTURE.md:5";
        let gone = [
            format!("{page}: a/src/gone.rs is nowhere"),
            format!("{page}: nowhere is not in crates/a/src/one.rs"),
            format!("{page}: three.rs is nowhere"),
        ];
        assert_eq!(found, gone);
        assert_eq!(names, ["docs/a.md:3: crates/a/src/gone.rs is nowhere", "docs/a.md:3: nothing in the code is called what_is_gone"]);
    }

    #[test]
    fn a_second_title_and_a_dead_link_are_found() {
        let folder = std::env::temp_dir().join(format!("triquest-tidy-{}", std::process::id()));
        fs::create_dir_all(folder.join("docs")).unwrap();
        fs::write(folder.join("docs/README.md"), "# One\n\n[gone](gone.md)\n\n```\n# not a title\n```\n\n# Two\n").unwrap();
        fs::write(folder.join("docs/lost.md"), "# Lost\n").unwrap();
        let complaints = docs(&folder, &[PathBuf::from("docs/README.md"), PathBuf::from("docs/lost.md")]);
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(complaints.len(), 3, "{complaints:?}");
    }
}
