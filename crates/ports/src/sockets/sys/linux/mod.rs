//! Linux: `/proc/net` says which sockets there are, `/proc/PID/fd` who has them, `sock_diag` some more of them.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    fs::{self, File},
    io::{self, Read as _},
    os::unix::fs::DirEntryExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use self::{diag::Extra, processes::Facts};
use super::super::{
    AcceptQueue, Ask, Error, Executable, Gap, Hiding, Listening, Namespace, Owner, PACKAGES_MAX, PACKAGES_TIME_MAX, Package, Process,
    Protocol, Reach, Socket, TABLE_BYTES_MAX, TakesIpv4, Unit, User, cgroup, package, systemd, table,
};

mod diag;
mod namespaces;
mod processes;
mod run;
mod users;

pub(in super::super) use run::run;

const TABLES: &[(&str, Protocol)] = &[
    ("tcp", Protocol::Tcp),
    ("tcp6", Protocol::Tcp),
    ("udp", Protocol::Udp),
    ("udp6", Protocol::Udp),
    ("udplite", Protocol::UdpLite),
    ("udplite6", Protocol::UdpLite),
];
/// The kernel's number of the first namespace of process numbers (PROC_PID_INIT_INO).
const FIRST_PID_NAMESPACE: &str = "pid:[4026531836]";
/// Where control groups of version 2 are.
const CONTROL_GROUPS: &[&str] = &["/sys/fs/cgroup/unified", "/sys/fs/cgroup"];
/// Control groups that are looked at for the unit of a hidden owner.
const CONTROL_GROUPS_MAX: usize = 20_000;

pub(in super::super) fn listening(port: Option<u16>, ask: Ask) -> Result<Listening, Error> {
    let mut gaps = Vec::new();
    let mut rows = Vec::new();
    read_tables("self", &Namespace::This, port, &mut rows, &mut gaps)?;
    let pids = processes::all();
    if ask.other_namespaces {
        for seen in namespaces::others(&pids, &mut gaps) {
            // The first process may have ended since.
            let read = |pid: &u32| read_tables(&pid.to_string(), &seen.namespace, port, &mut rows, &mut gaps).is_ok();
            let _ = seen.processes.iter().any(read);
        }
    }
    let extras = if rows.is_empty() { HashMap::new() } else { diag::ask(port) };
    let wanted: HashSet<u64> = rows.iter().map(|row| row.row.inode).filter(|inode| *inode != 0).collect();
    let holders = processes::holders(&pids, &wanted);
    if holders.may_hide() {
        gaps.push(Gap::Processes { hidden: holders.hidden, unlisted: holders.unlisted });
    }
    let facts = holding_processes(&holders);
    let names = users::names(&users_in(&rows, &facts));
    let packages = if ask.packages { packages(&facts, &mut gaps) } else { None };
    let processes = described(facts, &names, packages.as_ref());
    let socket_units = if ask.socket_units && !rows.is_empty() {
        systemd::socket_units().unwrap_or_else(|why| {
            gaps.push(Gap::SocketUnits { why });
            HashMap::new()
        })
    } else {
        HashMap::new()
    };
    let interfaces = if extras.values().any(|extra| extra.interface != 0) { interfaces() } else { HashMap::new() };
    let first_pid_namespace = fs::read_link("/proc/self/ns/pid").is_ok_and(|link| link == Path::new(FIRST_PID_NAMESPACE));

    let mut sockets = Vec::with_capacity(rows.len());
    let mut hidden_in: HashMap<usize, u64> = HashMap::new();
    for Found { protocol, row, namespace } in rows {
        let here = namespace == Namespace::This;
        let extra = u32::try_from(row.inode).ok().filter(|inode| here && *inode != 0).and_then(|inode| extras.get(&inode)).copied();
        let interface = extra.and_then(|extra| interfaces.get(&extra.interface).cloned());
        let user = Some(User { uid: row.uid, name: names.get(&row.uid).cloned() });
        let owner = match holders.of.get(&row.inode) {
            Some((pids, more)) => Owner::Processes {
                processes: pids.iter().filter_map(|pid| processes.get(pid).cloned()).collect(),
                more: *more,
                maybe_others: holders.may_hide() || !first_pid_namespace,
            },
            None if holders.may_hide() => Owner::Hidden { user: user.clone(), why: Hiding::NotPermitted, unit: None },
            None if !first_pid_namespace => Owner::Hidden { user: user.clone(), why: Hiding::OtherPidNamespace, unit: None },
            None => Owner::NoProcess,
        };
        if let (Owner::Hidden { .. }, Some(group)) = (&owner, extra.and_then(|extra| extra.control_group)) {
            hidden_in.insert(sockets.len(), group);
        }
        sockets.push(Socket {
            protocol,
            address: row.address,
            port: row.port,
            reach: Reach::of(row.address, interface.as_deref(), &namespace),
            interface,
            inode: row.inode,
            user,
            takes_ipv4: takes_ipv4(row.address, extra),
            queue: (protocol == Protocol::Tcp)
                .then(|| AcceptQueue { waiting: row.waiting, longest: extra.map(|extra| extra.longest_queue) }),
            socket_unit: here.then(|| socket_units.get(&(protocol, (row.address, row.port).into())).cloned()).flatten(),
            owner,
            namespace,
        });
    }
    add_hidden_units(&mut sockets, &hidden_in);
    let held = port.map(diag::held).unwrap_or_default();
    Ok(Listening { sockets, held, gaps })
}

/// A listening socket of a table.
struct Found {
    protocol: Protocol,
    row: table::Row,
    namespace: Namespace,
}

/// A table that does not exist is one of a protocol that this kernel does not have. That of TCP over IPv4 always exists.
fn read_tables(process: &str, namespace: &Namespace, port: Option<u16>, rows: &mut Vec<Found>, gaps: &mut Vec<Gap>) -> Result<(), Error> {
    for (name, protocol) in TABLES {
        let path = format!("/proc/{process}/net/{name}");
        let text = match bounded(path.as_ref(), TABLE_BYTES_MAX) {
            Ok(text) => text,
            Err(cause) if *name == "tcp" => return Err(Error::Table { path, cause }),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => continue,
            Err(cause) => {
                gaps.push(Gap::Table { path, why: cause.to_string() });
                continue;
            }
        };
        let (found, unreadable) = table::rows(&text, *protocol, port);
        if text.len() as u64 >= TABLE_BYTES_MAX {
            gaps.push(Gap::Table { path, why: "it is too long and was not read to its end".to_owned() });
        } else if unreadable > 0 {
            gaps.push(Gap::Table { path, why: format!("{unreadable} lines of it could not be read") });
        }
        rows.extend(found.into_iter().map(|row| Found { protocol: *protocol, row, namespace: namespace.clone() }));
    }
    Ok(())
}

fn takes_ipv4(address: std::net::IpAddr, extra: Option<Extra>) -> TakesIpv4 {
    match address {
        std::net::IpAddr::V4(_) => TakesIpv4::Yes,
        std::net::IpAddr::V6(address) if address.to_ipv4_mapped().is_some() => TakesIpv4::Yes,
        std::net::IpAddr::V6(address) if address.is_unspecified() => match extra.and_then(|extra| extra.v6only) {
            Some(true) => TakesIpv4::No,
            Some(false) => TakesIpv4::Yes,
            None => TakesIpv4::Unknown,
        },
        std::net::IpAddr::V6(_) => TakesIpv4::No,
    }
}

fn holding_processes(holders: &processes::Holders) -> HashMap<u32, Facts> {
    let boot = processes::boot_time();
    let pids: HashSet<u32> = holders.of.values().flat_map(|(pids, _)| pids).copied().collect();
    pids.into_iter().map(|pid| (pid, processes::facts(pid, boot))).collect()
}

fn users_in(rows: &[Found], facts: &HashMap<u32, Facts>) -> BTreeSet<u32> {
    rows.iter().map(|row| row.row.uid).chain(facts.values().filter_map(|facts| facts.uid)).collect()
}

fn packages(facts: &HashMap<u32, Facts>, gaps: &mut Vec<Gap>) -> Option<HashMap<PathBuf, Package>> {
    let files: BTreeSet<PathBuf> = facts.values().filter(|facts| facts.same_files).filter_map(|facts| facts.executable.clone()).collect();
    if files.len() > PACKAGES_MAX {
        gaps.push(Gap::Packages { why: format!("only {PACKAGES_MAX} of {} executables were asked about", files.len()) });
    }
    let files: Vec<PathBuf> = files.into_iter().take(PACKAGES_MAX).collect();
    Some(package::owners(&files, PACKAGES_TIME_MAX))
}

fn described(
    facts: HashMap<u32, Facts>,
    names: &HashMap<u32, String>,
    packages: Option<&HashMap<PathBuf, Package>>,
) -> HashMap<u32, Arc<Process>> {
    let describe = |(pid, facts): (u32, Facts)| {
        let package = |file: &PathBuf| {
            let packages = packages?;
            Some(match packages.get(file) {
                _ if !facts.same_files => {
                    Package::Unknown { why: "the process sees other files than this one, as in a container, or hides them".to_owned() }
                }
                Some(package) => package.clone(),
                None => Package::Unknown { why: "it was not asked about".to_owned() },
            })
        };
        let executable = facts.executable.as_ref().map(|file| Executable {
            path: file.to_string_lossy().into_owned(),
            deleted: facts.deleted,
            replaced: facts.replaced,
            package: package(file),
        });
        let process = Process {
            pid,
            name: facts.name,
            user: facts.uid.map(|uid| User { uid, name: names.get(&uid).cloned() }),
            executable,
            command: facts.command,
            command_cut: facts.command_cut,
            since: facts.since,
            unit: facts.unit,
            container: facts.container,
        };
        (pid, Arc::new(process))
    };
    facts.into_iter().map(describe).collect()
}

/// Names of interfaces by their number.
fn interfaces() -> HashMap<u32, String> {
    let number = |path: PathBuf| bounded(&path.join("ifindex"), 64).ok().and_then(|text| str::from_utf8(&text).ok()?.trim().parse().ok());
    fs::read_dir("/sys/class/net")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((number(entry.path())?, entry.file_name().to_string_lossy().into_owned())))
        .collect()
}

/// The kernel tells everybody in which control group a socket was made, as the number of its folder; so a unit can be named whose processes are
/// hidden. `hidden_in` has the group by the place of the socket.
fn add_hidden_units(sockets: &mut [Socket], hidden_in: &HashMap<usize, u64>) {
    let wanted: HashSet<u64> = hidden_in.values().copied().collect();
    if wanted.is_empty() {
        return;
    }
    let units = units_of_groups(&wanted);
    for (place, group) in hidden_in {
        if let Some(Owner::Hidden { unit, .. }) = sockets.get_mut(*place).map(|socket| &mut socket.owner) {
            *unit = units.get(group).cloned();
        }
    }
}

fn units_of_groups(wanted: &HashSet<u64>) -> HashMap<u64, Unit> {
    let Some(root) = CONTROL_GROUPS.iter().map(Path::new).find(|root| root.join("cgroup.controllers").exists()) else {
        return HashMap::new();
    };
    let mut units = HashMap::new();
    let mut open = vec![root.to_owned()];
    let mut looked_at = 0;
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        {
            looked_at += 1;
            if looked_at > CONTROL_GROUPS_MAX {
                return units;
            }
            let path = entry.path();
            if wanted.contains(&entry.ino()) {
                let inside = path.strip_prefix(root).map(|path| path.to_string_lossy().into_owned()).unwrap_or_default();
                if let Some(unit) = cgroup::unit(&inside) {
                    units.insert(entry.ino(), unit);
                }
            }
            open.push(path);
        }
    }
    units
}

/// A file of the kernel, no more of it than that.
fn bounded(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(bytes_max).read_to_end(&mut bytes)?;
    Ok(bytes)
}
