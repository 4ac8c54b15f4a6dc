//! The network namespaces that can be seen: those that processes are in, and the names that `ip netns` gave.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    os::unix::fs::MetadataExt as _,
};

use super::{
    super::super::{Gap, NAMESPACES_MAX, Namespace},
    processes,
};

/// Processes of a namespace that are kept, in case that the first ones end.
const PROCESSES_MAX: usize = 8;

/// A network namespace and processes through which its tables can be read.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) namespace: Namespace,
    pub(super) processes: Vec<u32>,
}

/// All other namespaces than that of this process.
///
/// `/proc/PID/ns/net` is hidden from other users, but `/proc/PID/net` is not, and its files are a namespace's own: so their inode number tells
/// namespaces apart for everybody.
pub(super) fn others(pids: &[u32], gaps: &mut Vec<Gap>) -> Vec<Seen> {
    let Some(this) = table_number("self") else { return Vec::new() };
    let mut groups: BTreeMap<u64, Vec<u32>> = BTreeMap::new();
    for pid in pids {
        let Some(number) = table_number(&pid.to_string()).filter(|number| *number != this) else { continue };
        if !groups.contains_key(&number) && groups.len() >= NAMESPACES_MAX {
            if !gaps.iter().any(|gap| matches!(gap, Gap::Namespaces { .. })) {
                gaps.push(Gap::Namespaces { looked_into: NAMESPACES_MAX });
            }
            continue;
        }
        groups.entry(number).or_default().push(*pid);
    }
    let mut names = names();
    if let Some(id) = namespace_id("self") {
        names.remove(&id);
    }
    // Where processes are not even listed, theirs are not known.
    let mut all_known = pids.contains(&1);
    let mut seen = Vec::new();
    for pids in groups.into_values() {
        let Some(first) = pids.first().copied() else { continue };
        let id = pids.iter().find_map(|pid| namespace_id(&pid.to_string()));
        all_known &= id.is_some();
        let name = id.and_then(|id| names.remove(&id));
        let container = pids.iter().take(PROCESSES_MAX).find_map(|pid| processes::control_group(*pid).1);
        let processes = pids.into_iter().take(PROCESSES_MAX).collect();
        seen.push(Seen { namespace: Namespace::Other { id, name, container, pid: first }, processes });
    }
    // A name that no process' namespace has is empty only if every process' namespace is known.
    if all_known {
        let mut unused: Vec<String> = names.into_values().collect();
        unused.sort();
        gaps.extend(unused.into_iter().map(|name| Gap::NamespaceWithoutProcess { name }));
    }
    seen
}

fn table_number(process: &str) -> Option<u64> {
    fs::metadata(format!("/proc/{process}/net/dev")).ok().map(|found| found.ino())
}

/// `net:[4026532177]`
fn namespace_id(process: &str) -> Option<u64> {
    let link = fs::read_link(format!("/proc/{process}/ns/net")).ok()?;
    link.to_str()?.strip_prefix("net:[")?.strip_suffix(']')?.parse().ok()
}

/// Names by the number of the namespace: `ip netns` binds the namespace to a file.
fn names() -> HashMap<u64, String> {
    let mut names = HashMap::new();
    for folder in ["/run/netns", "/var/run/netns"] {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten().take(NAMESPACES_MAX) {
            let Ok(found) = fs::metadata(entry.path()) else { continue };
            names.entry(found.ino()).or_insert_with(|| entry.file_name().to_string_lossy().into_owned());
        }
    }
    names
}
