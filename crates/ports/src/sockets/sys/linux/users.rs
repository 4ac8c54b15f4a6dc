//! Names of users.

use std::{
    collections::{BTreeSet, HashMap},
    time::Instant,
};

use super::{super::super::USER_NAMES_TIME_MAX, bounded, run::run};

/// Bytes of `/etc/passwd` that are read.
const PASSWD_BYTES_MAX: u64 = 16 << 20;
/// Users that the name service is asked about.
const ASKED_MAX: usize = 256;

/// The names of these users: from `/etc/passwd`, else from the name service, which may be a directory on the network.
pub(super) fn names(users: &BTreeSet<u32>) -> HashMap<u32, String> {
    let mut names = HashMap::new();
    let passwd = bounded("/etc/passwd".as_ref(), PASSWD_BYTES_MAX).unwrap_or_default();
    read(&String::from_utf8_lossy(&passwd), users, &mut names);
    let unknown: Vec<u32> = users.iter().copied().filter(|uid| !names.contains_key(uid)).take(ASKED_MAX).collect();
    if !unknown.is_empty() {
        let deadline = Instant::now() + USER_NAMES_TIME_MAX;
        let mut words = vec!["passwd".into()];
        words.extend(unknown.iter().map(|uid| uid.to_string().into()));
        let answer = run("getent", &words, deadline.saturating_duration_since(Instant::now())).unwrap_or_default();
        read(&String::from_utf8_lossy(&answer), users, &mut names);
    }
    names
}

fn read(text: &str, users: &BTreeSet<u32>, names: &mut HashMap<u32, String>) {
    for line in text.lines() {
        let mut fields = line.split(':');
        let (Some(name), Some(uid)) = (fields.next(), fields.nth(1).and_then(|uid| uid.parse().ok())) else { continue };
        if users.contains(&uid) && !name.is_empty() {
            names.entry(uid).or_insert_with(|| name.to_owned());
        }
    }
}
