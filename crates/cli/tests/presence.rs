//! Programs that die while they hold seats, with the real server, client and kernel: many seats at once, and behind a translation of addresses.
#![allow(clippy::unwrap_used)]

mod support;

use std::{
    fs,
    io::{BufRead, BufReader, Write as _},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use rustix::{
    net::sockopt::set_socket_linger,
    process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open},
};
use serde_json::Value;
use support::{Folder, Server, serving, sign, triquest, until, vendor};
use triquest_client::Client;

/// More than two connections stand for.
const MANY: u64 = 2_500;

fn status(folder: &Folder) -> Value {
    serde_json::from_str(&triquest(folder, ["status", "--json"]).run().ok().stdout).unwrap()
}

/// The first object with this member.
fn find<'a>(value: &'a Value, member: &str) -> Option<&'a Value> {
    match value {
        Value::Object(members) if members.contains_key(member) => Some(value),
        Value::Object(members) => members.values().find_map(|value| find(value, member)),
        Value::Array(values) => values.iter().find_map(|value| find(value, member)),
        _ => None,
    }
}

fn used(folder: &Folder) -> u64 {
    find(&status(folder), "used").unwrap()["used"].as_u64().unwrap()
}

/// No test: this program again, as a process that holds seats until it is killed. It says what has come true, a word a line, and gives one seat back or
/// takes one when it is told to.
#[test]
#[ignore = "other tests start it as a process of its own"]
fn holder() {
    let of = |name: &str| std::env::var(name).unwrap();
    let count: usize = of("HOLDER_SEATS").parse().unwrap();
    let client = Client::builder().servers(of("HOLDER_SERVER")).verifier_keys(of("HOLDER_KEY")).remember_in(None).build().unwrap();
    let mut seats: Vec<_> = (0..count).map(|_| client.checkout("cad").take().unwrap()).collect();
    println!("granted");
    let is_present = std::env::var_os("HOLDER_PRESENT").is_some();
    let wait = |seats: &[triquest_client::Seat]| {
        while is_present && !seats.iter().all(triquest_client::Seat::freed_at_death) {
            std::thread::yield_now();
        }
        println!("settled");
    };
    wait(&seats);
    for line in std::io::stdin().lines() {
        match line.unwrap().as_str() {
            "give" => seats.swap_remove(0).release(Duration::from_secs(30)).unwrap(),
            "take" => seats.push(client.checkout("cad").take().unwrap()),
            _ => break,
        }
        wait(&seats);
    }
}

/// A process with so many seats.
struct Holder {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
}

impl Holder {
    /// Through `before`, such as `ip netns exec NAME`. `present`: it waits until the server frees its seats when it dies.
    fn start(before: &[String], server: &str, key: &str, seats: u64, present: bool) -> Self {
        let program = std::env::current_exe().unwrap();
        let mut command = match before {
            [] => Command::new(&program),
            [first, rest @ ..] => {
                let mut command = Command::new(first);
                command.args(rest).arg(&program);
                command
            }
        };
        command.args(["--exact", "holder", "--ignored", "--nocapture", "--test-threads", "1"]);
        command.env("HOLDER_SERVER", server).env("HOLDER_KEY", key).env("HOLDER_SEATS", seats.to_string());
        if present {
            command.env("HOLDER_PRESENT", "1");
        }
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        let mut holder = Self { child, lines };
        holder.hears("granted");
        holder.hears("settled");
        holder
    }

    #[track_caller]
    fn hears(&mut self, word: &str) {
        let mut line = String::new();
        while self.lines.read_line(&mut line).unwrap() > 0 {
            // The test harness prints its own words on the same line.
            if line.trim_end().ends_with(word) {
                return;
            }
            line.clear();
        }
        panic!("the holder ended before it said {word}");
    }

    fn tell(&mut self, word: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{word}").unwrap();
        self.hears("settled");
    }

    /// Its open sockets, as the kernel names them.
    fn sockets(&self) -> Vec<(i32, String)> {
        let open = fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap();
        let open = open.flatten().filter_map(|entry| {
            let to = fs::read_link(entry.path()).ok()?.to_string_lossy().into_owned();
            Some((entry.file_name().to_str()?.parse().ok()?, to))
        });
        open.filter(|(_, to)| to.starts_with("socket:")).collect()
    }

    /// From now on the kernel closes its connections by a reset.
    fn will_reset(&self) {
        let process = pidfd_open(Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap(), PidfdFlags::empty()).unwrap();
        for (number, _) in self.sockets() {
            let socket = pidfd_getfd(&process, number, PidfdGetfdFlags::empty()).unwrap();
            set_socket_linger(&socket, Some(Duration::ZERO)).unwrap();
        }
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn all_seats_of_a_killed_process_are_free_at_once_and_none_of_one_whose_connections_are_reset() {
    let folder = Folder::new();
    let (server, key) = serving(&folder, u32::try_from(MANY).unwrap() + 10);
    let mut holder = Holder::start(&[], &server.name(), &key, MANY, true);
    assert_eq!(used(&folder), MANY);
    // A seat that comes or goes opens and closes nothing.
    let before = holder.sockets();
    for word in ["take", "give", "take", "give"] {
        holder.tell(word);
    }
    assert_eq!(used(&folder), MANY);
    let same = holder.sockets().iter().filter(|socket| before.contains(socket)).count();
    assert!(before.len() >= 4 && same >= 3, "three presence connections stay what they are: {before:?}, {:?}", holder.sockets());
    holder.kill();
    until("all seats come back", || used(&folder) == 0);

    let holder = Holder::start(&[], &server.name(), &key, MANY, true);
    holder.will_reset();
    holder.kill();
    // Connections that end later have been seen to end.
    Holder::start(&[], &server.name(), &key, 1, true).kill();
    until("the last one comes back", || used(&folder) <= MANY);
    assert_eq!(used(&folder), MANY);
}

/// A client and a server in networks of their own, between which a router gives the client its own address.
struct Translation(String);

impl Translation {
    fn new() -> Option<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let made = Self(format!("tqnat-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed)));
        let script = "set -e
            for name in client router server; do ip netns add $0-$name; ip -n $0-$name link set lo up; done
            for name in client server; do ip link add up0 netns $0-$name type veth peer name $name netns $0-router; done
            ip -n $0-client address add 10.88.1.2/24 dev up0
            ip -n $0-router address add 10.88.1.1/24 dev client
            ip -n $0-router address add 10.88.2.1/24 dev server
            ip -n $0-server address add 10.88.2.2/24 dev up0
            for name in client server; do ip -n $0-$name link set up0 up; ip -n $0-router link set $name up; done
            ip -n $0-client route add default via 10.88.1.1
            ip netns exec $0-router sh -c 'echo 1 > /proc/sys/net/ipv4/ip_forward'
            ip netns exec $0-router nft add table ip nat
            ip netns exec $0-router nft 'add chain ip nat out { type nat hook postrouting priority 100 ; }'
            ip netns exec $0-router nft 'add rule ip nat out oifname server masquerade'";
        let output = Command::new("sh").args(["-c", script, &made.0]).output().unwrap();
        if !output.status.success() {
            eprintln!("skipped: no network namespaces with nftables here: {}", String::from_utf8_lossy(&output.stderr).trim());
            return None;
        }
        Some(made)
    }

    fn within(&self, name: &str) -> Vec<String> {
        ["ip", "netns", "exec", &format!("{}-{name}", self.0)].map(str::to_owned).to_vec()
    }
}

impl Drop for Translation {
    fn drop(&mut self) {
        for name in ["client", "router", "server"] {
            let _ = Command::new("ip").args(["netns", "delete", &format!("{}-{name}", self.0)]).output();
        }
    }
}

#[test]
fn behind_a_translation_of_addresses_a_dead_process_frees_nothing_early_until_its_network_is_named() {
    let Some(networks) = Translation::new() else { return };
    let folder = Folder::new();
    let key = vendor(&folder);
    let config = folder.path().join("c.toml");
    fs::write(&config, "").unwrap();
    let server = Server::start_through(&networks.within("server"), &folder, "10.88.2.2:0", &["--config", "c.toml"]);
    sign(&folder, "ACME-1", server.key(), "[[entitlement]]\nfeature = \"cad\"\nseats = 5\nexpires = 2090-12-31\n");
    triquest(&folder, ["license", "install", "ACME-1.lic"]).run().ok();
    let name = format!("{}@10.88.2.2", server.port());

    let far = Holder::start(&networks.within("client"), &name, &key, 1, false);
    until("its presence connection was looked at", || find(&status(&folder), "translated").is_some());
    far.kill();
    // Whoever sits beside the server and dies later is free at once; the other one keeps its seat.
    Holder::start(&networks.within("server"), &name, &key, 1, true).kill();
    until("the near one comes back", || used(&folder) == 1);
    let says = triquest(&folder, ["status"]).run().ok();
    let says = says.stdout + &says.stderr;
    assert!(says.contains("presence  not used for network 10.88.2.1: something translates its addresses"), "{says}");
    assert!(says.contains("`presence_networks`"), "{says}");

    fs::write(&config, "presence_networks = [\"10.88.2.1\"]\n").unwrap();
    assert!(Command::new("kill").args(["-HUP", &server.pid().to_string()]).status().unwrap().success());
    until("the reload", || server.log().contains("presence_networks changed"));
    Holder::start(&networks.within("client"), &name, &key, 2, true).kill();
    assert_eq!(used(&folder), 3, "not at once");
    until("the seats come back after the wait", || used(&folder) == 1);
    let says = triquest(&folder, ["status"]).run().ok();
    let says = says.stdout + &says.stderr;
    assert!(says.contains("over-use  possible for ") && says.contains("2 leases were freed before"), "{says}");
}
