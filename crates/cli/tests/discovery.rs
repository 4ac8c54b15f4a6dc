//! How a server is found on a network: groups and broadcast, mDNS beside the real Avahi, and nmap. Networks are namespaces that the test makes and
//! removes; where that is not permitted, or a program is missing, the reason is printed and the test is over.
#![allow(clippy::unwrap_used)]

mod support;

use std::{
    io::{BufRead, BufReader},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket},
    path::Path,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use support::{Folder, Server, triquest, until};
use triquest_wire::{
    identity::{GROUP_IPV4, GROUP_IPV6, IdentityReply, IdentityRequest},
    limits::{IDENTITY_DELAY_MS_MAX, PORT},
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_triquest-lm");

/// Two machines on one cable: each a network namespace with an interface `lan0`.
struct Lan {
    server: String,
    asker: String,
}

const SERVER_V4: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const SERVER_V6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 1);
const ASKER_V4: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
const ASKER_V6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 2);
/// Of the asker too, but of no subnet that the server is attached to.
const FAR_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);

impl Lan {
    fn new() -> Option<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("tqlm-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let lan = Self { server: format!("{name}-s"), asker: format!("{name}-a") };
        let (server, asker) = (lan.server.as_str(), lan.asker.as_str());
        let made = ip(&["netns", "add", server])
            .and_then(|()| ip(&["netns", "add", asker]))
            .and_then(|()| ip(&["link", "add", "lan0", "netns", server, "type", "veth", "peer", "name", "lan0", "netns", asker]));
        if let Err(why) = made {
            eprintln!("skipped: no network namespaces here: {why}");
            return None;
        }
        for namespace in [server, asker] {
            // Nobody else is on the cable, so addresses need not be tried first.
            let dad = "echo 0 > /proc/sys/net/ipv6/conf/all/accept_dad; echo 0 > /proc/sys/net/ipv6/conf/lan0/accept_dad";
            ip(&["netns", "exec", namespace, "sh", "-c", dad]).unwrap();
        }
        for (namespace, addresses) in
            [(server, vec!["10.77.0.1/24", "fd77::1/64"]), (asker, vec!["10.77.0.2/24", "fd77::2/64", "192.0.2.7/24"])]
        {
            for address in addresses {
                let mut arguments = vec!["-n", namespace, "address", "add", address, "dev", "lan0"];
                arguments.extend(if address.contains(':') { ["nodad", "home"].iter().take(1) } else { ["brd", "+"].iter().take(2) });
                ip(&arguments).unwrap();
            }
            ip(&["-n", namespace, "link", "set", "lo", "up"]).unwrap();
            ip(&["-n", namespace, "link", "set", "lan0", "up"]).unwrap();
        }
        // The way back to the far address, so that it is reached if it is answered.
        ip(&["-n", server, "route", "add", "192.0.2.0/24", "dev", "lan0"]).unwrap();
        for namespace in [server, asker] {
            until("an address of the link", || {
                let shown =
                    Command::new("ip").args(["-n", namespace, "-6", "address", "show", "dev", "lan0", "scope", "link"]).output().unwrap();
                let shown = String::from_utf8(shown.stdout).unwrap();
                shown.contains("fe80:") && !shown.contains("tentative")
            });
        }
        Some(lan)
    }

    fn in_server(&self) -> Vec<String> {
        ["ip", "netns", "exec", &self.server].map(str::to_owned).to_vec()
    }

    /// The kernel's number for `lan0` there.
    fn interface(namespace: &str) -> u32 {
        let shown = Command::new("ip").args(["-n", namespace, "-o", "link", "show", "lan0"]).output().unwrap();
        String::from_utf8(shown.stdout).unwrap().split(':').next().unwrap().trim().parse().unwrap()
    }
}

impl Drop for Lan {
    fn drop(&mut self) {
        for namespace in [&self.server, &self.asker] {
            let _ = ip(&["netns", "delete", namespace]);
        }
    }
}

fn ip(arguments: &[&str]) -> Result<(), String> {
    let output = Command::new("ip").args(arguments).output().map_err(|cause| cause.to_string())?;
    if output.status.success() {
        Ok(())
    } else {
        Err(format!("ip {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim()))
    }
}

/// Does this on a thread that is in the namespace.
fn inside<T: Send>(namespace: &str, work: impl FnOnce() -> T + Send) -> T {
    let namespace = std::fs::File::open(Path::new("/run/netns").join(namespace)).unwrap();
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            move_into_link_name_space(std::os::fd::AsFd::as_fd(&namespace), Some(LinkNameSpaceType::Network)).unwrap();
            work()
        });
        thread.join().unwrap()
    })
}

fn socket(own: impl Into<SocketAddr>) -> UdpSocket {
    let socket = UdpSocket::bind(own.into()).unwrap();
    socket.set_broadcast(true).unwrap();
    // Only ever waited out by a test that fails.
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    socket
}

/// Asks; the answer, and where it came from.
#[track_caller]
fn ask(socket: &UdpSocket, to: impl Into<SocketAddr>) -> (IdentityReply, SocketAddr) {
    let to = to.into();
    let nonce = [u8::try_from(socket.local_addr().unwrap().port() % 256).unwrap(); 32];
    socket.send_to(&IdentityRequest { nonce }.encode(), to).unwrap();
    let mut buffer = [0; 2_048];
    let (count, from) = socket.recv_from(&mut buffer).unwrap_or_else(|cause| panic!("no answer to a question to {to}: {cause}"));
    (IdentityReply::open(&buffer[..count], &nonce).unwrap(), from)
}

/// A question to a group is answered within the delay or never; twice the delay is waited for the latter.
#[track_caller]
fn no_answer(socket: &UdpSocket, to: impl Into<SocketAddr>) {
    let to = to.into();
    socket.send_to(&IdentityRequest { nonce: [0xee; 32] }.encode(), to).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(2 * IDENTITY_DELAY_MS_MAX))).unwrap();
    assert!(socket.recv_from(&mut [0; 2_048]).is_err(), "answered at {to}");
}

/// A server on port 1588 of a namespace, and what it said of discovery.
struct Served {
    child: Child,
    discovery: String,
}

impl Served {
    fn start(folder: &Folder, inside: &[String], environment: &[(&str, &str)]) -> Self {
        let mut command = Command::new(&inside[0]);
        command.args(&inside[1..]).arg(PROGRAM).args(["serve", "--init"]).env("TRIQUEST_LM_DATA", folder.path().join("data"));
        command.envs(environment.iter().copied()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut served = Self { child: command.spawn().unwrap(), discovery: String::new() };
        let (sender, lines) = std::sync::mpsc::channel();
        let stderr = BufReader::new(served.child.stderr.take().unwrap());
        std::thread::spawn(move || stderr.lines().map_while(Result::ok).for_each(|line| drop(sender.send(line))));
        let mut log = String::new();
        while let Ok(line) = lines.recv_timeout(support::STEP) {
            if let Some(discovery) = line.trim_start().strip_prefix("Discovery ") {
                discovery.clone_into(&mut served.discovery);
                return served;
            }
            log.push_str(&line);
            log.push('\n');
        }
        panic!("the server did not start:\n{log}");
    }

    /// In order, so that it can say goodbye.
    fn stop(mut self) {
        // `ip netns exec` and `nsenter` become the program, so the child is the server.
        assert!(Command::new("kill").arg(self.child.id().to_string()).status().unwrap().success());
        assert_eq!(support::wait(&mut self.child), Some(0));
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn servers_on_a_link_answer_the_group_and_everybody_and_nobody_from_elsewhere() {
    let (folder, Some(lan)) = (Folder::new(), Lan::new()) else { return };
    let served = Served::start(&folder, &lan.in_server(), &[]);
    assert_eq!(served.discovery, "UDP 1588");
    let asker = Lan::interface(&lan.asker);
    let group_v6 = SocketAddrV6::new(GROUP_IPV6, PORT, 0, asker);
    inside(&lan.asker, || {
        for to in [GROUP_IPV4, Ipv4Addr::BROADCAST, Ipv4Addr::new(10, 77, 0, 255), SERVER_V4] {
            let socket = socket((ASKER_V4, 0));
            let (reply, from) = ask(&socket, (to, PORT));
            assert_eq!(from, SocketAddr::from((SERVER_V4, PORT)), "{to}");
            assert_eq!((reply.answerer, reply.tcp_port), (Some(IpAddr::V4(SERVER_V4)), PORT));
            assert_eq!(reply.asker, socket.local_addr().unwrap());
        }
        let (reply, from) = ask(&socket((ASKER_V6, 0)), group_v6);
        assert_eq!((reply.answerer, from), (Some(SERVER_V6.into()), SocketAddr::from((SERVER_V6, PORT))));
        let (reply, from) = ask(&socket((Ipv6Addr::UNSPECIFIED, 0)), group_v6);
        assert_eq!(reply.answerer, Some(from.ip()), "from its own address of the link");
        assert!(matches!(from.ip(), IpAddr::V6(address) if address.is_unicast_link_local()), "{from}");
        assert_eq!(ask(&socket((ASKER_V6, 0)), (SERVER_V6, PORT)).1.ip(), IpAddr::V6(SERVER_V6));

        // The far address gets its answer when it asks the server itself, and none otherwise.
        let far = socket((FAR_V4, 0));
        assert_eq!(ask(&far, (SERVER_V4, PORT)).0.answerer, Some(SERVER_V4.into()));
        no_answer(&far, (GROUP_IPV4, PORT));
        no_answer(&far, (Ipv4Addr::BROADCAST, PORT));
    });
    inside(&lan.server, || {
        let (reply, from) = ask(&socket((SERVER_V4, 0)), (GROUP_IPV4, PORT));
        assert_eq!(
            (reply.answerer, from.ip()),
            (Some(SERVER_V4.into()), SERVER_V4.into()),
            "who looks on the server's own machine finds it too"
        );
    });
    served.stop();

    let quiet = Served::start(&folder, &lan.in_server(), &[("TRIQUEST_LM_DISCOVERY_INTERFACES", "eth*,lan1")]);
    inside(&lan.asker, || {
        no_answer(&socket((ASKER_V4, 0)), (GROUP_IPV4, PORT));
        no_answer(&socket((ASKER_V4, 0)), (Ipv4Addr::BROADCAST, PORT));
        no_answer(&socket((ASKER_V6, 0)), group_v6);
        ask(&socket((ASKER_V4, 0)), (SERVER_V4, PORT));
    });
    quiet.stop();
}

#[test]
fn a_machine_without_ipv6_is_served_by_ipv4() {
    let (folder, Some(lan)) = (Folder::new(), Lan::new()) else { return };
    let off = "echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6; echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6";
    ip(&["netns", "exec", &lan.server, "sh", "-c", off]).unwrap();
    for listen in ["0.0.0.0:1588", "[::]:1588"] {
        let served = Served::start(&folder, &lan.in_server(), &[("TRIQUEST_LM_LISTEN", listen)]);
        inside(&lan.asker, || {
            for to in [SERVER_V4, GROUP_IPV4, Ipv4Addr::BROADCAST] {
                let (reply, from) = ask(&socket((ASKER_V4, 0)), (to, PORT));
                assert_eq!((reply.answerer, from.ip()), (Some(SERVER_V4.into()), SERVER_V4.into()), "{listen} {to}");
            }
        });
        served.stop();
    }
}

/// The real Avahi with a D-Bus of its own, in a network namespace and with a /run and service files of its own.
struct Avahi {
    holder: Child,
    pid: String,
}

impl Avahi {
    fn start(folder: &Folder, namespace: &str) -> Option<Self> {
        for program in ["dbus-daemon", "avahi-daemon", "avahi-browse", "unshare", "nsenter"] {
            let found =
                Command::new("sh").args(["-c", &format!("PATH=$PATH:/usr/sbin command -v {program}")]).stdout(Stdio::null()).status();
            if !found.is_ok_and(|status| status.success()) {
                eprintln!("skipped: there is no `{program}` here (Debian: dbus, avahi-daemon, avahi-utils)");
                return None;
            }
        }
        let configuration = folder.path().join("avahi.conf");
        std::fs::write(&configuration, "[server]\nallow-interfaces=lan0\nenable-dbus=yes\nuse-ipv4=yes\nuse-ipv6=yes\n").unwrap();
        // When the shell is killed, so are both daemons: they watch the pipe that it holds.
        let script = format!(
            "set -e; PATH=$PATH:/usr/sbin; mount -t tmpfs tmpfs /run; mkdir -p /run/dbus /run/avahi-daemon; mount -t tmpfs tmpfs /etc/avahi/services; \
             dbus-daemon --system --nofork --nopidfile & \
             timeout 20 sh -c 'until [ -S /run/dbus/system_bus_socket ]; do :; done'; \
             avahi-daemon --no-drop-root --no-rlimits --no-chroot -f '{}' & \
             timeout 20 sh -c 'until avahi-browse -at >/dev/null 2>&1; do :; done'; echo ready; wait",
            configuration.display()
        );
        let mut holder = Command::new("ip")
            // A process namespace of its own: with its first process all others end.
            .args(["netns", "exec", namespace, "unshare", "-m", "-p", "-f", "--kill-child", "sh", "-c", &script])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
        if line.trim() != "ready" {
            let _ = holder.kill();
            let _ = holder.wait();
            eprintln!("skipped: Avahi does not run in a namespace here");
            return None;
        }
        // `ip` became `unshare`; the shell that lives in the namespaces is its child.
        let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", holder.id())).unwrap();
        Some(Self { holder, pid: children.split_whitespace().next().unwrap().to_owned() })
    }

    /// The words before a command that runs it where this Avahi is.
    fn inside(&self) -> Vec<String> {
        ["nsenter", "-t", &self.pid, "-m", "-n", "--"].map(str::to_owned).to_vec()
    }

    /// What there is of a service, one line for each interface and protocol, resolved.
    fn browse(&self, kind: &str) -> String {
        let inside = self.inside();
        let output = Command::new(&inside[0]).args(&inside[1..]).args(["avahi-browse", "-rpt", kind]).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines().filter(|line| line.starts_with("=;lan0;")).fold(String::new(), |lines, line| lines + line + "\n")
    }
}

impl Drop for Avahi {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

fn key(folder: &Folder) -> String {
    triquest(folder, ["server", "id"]).run().ok().stdout.trim().to_owned()
}

#[test]
fn avahi_browse_sees_a_server_that_announces_itself_and_sees_it_go() {
    let (folder, Some(lan)) = (Folder::new(), Lan::new()) else { return };
    let Some(avahi) = Avahi::start(&folder, &lan.asker) else { return };
    let served = Served::start(&folder, &lan.in_server(), &[("TRIQUEST_LM_DISCOVERY_MDNS", "true")]);
    assert!(served.discovery.starts_with("UDP 1588; mDNS announces "), "{}", served.discovery);
    let key = key(&folder);
    for kind in ["_triquest-lm._tcp", "_triquest-lm._udp"] {
        let mut seen = String::new();
        until("the announcement", || {
            seen = avahi.browse(kind);
            seen.contains(";10.77.0.1;1588;")
        });
        assert!(seen.contains(&format!("\"key={key}\"")) && seen.contains("\"txtvers=1\""), "{seen}");
        assert!(seen.contains(concat!("\"version=", env!("CARGO_PKG_VERSION"), "\"")), "{seen}");
    }
    served.stop();
    // By its goodbye: what was heard would otherwise be good for over an hour.
    until("the goodbye", || avahi.browse("_triquest-lm._tcp").is_empty() && avahi.browse("_triquest-lm._udp").is_empty());

    let silent = Served::start(&folder, &lan.in_server(), &[]);
    assert_eq!(silent.discovery, "UDP 1588", "mDNS is off unless it is switched on");
    silent.stop();
    let elsewhere = [("TRIQUEST_LM_DISCOVERY_MDNS", "true"), ("TRIQUEST_LM_DISCOVERY_INTERFACES", "eth0")];
    let elsewhere = Served::start(&folder, &lan.in_server(), &elsewhere);
    // Each asks, and waits for what answers; a server that spoke here would have spoken by then.
    for _ in 0..3 {
        assert_eq!(avahi.browse("_triquest-lm._tcp"), "");
    }
    elsewhere.stop();
}

#[test]
fn where_avahi_runs_it_announces_the_server_from_the_file_that_the_server_prints() {
    let (folder, Some(lan)) = (Folder::new(), Lan::new()) else { return };
    let Some(avahi) = Avahi::start(&folder, &lan.server) else { return };
    let wished = [("TRIQUEST_LM_DISCOVERY_MDNS", "true")];
    let served = Served::start(&folder, &avahi.inside(), &wished);
    assert!(served.discovery.contains("triquest-lm server avahi-service | sudo tee /etc/avahi/services/"), "{}", served.discovery);
    assert_eq!(avahi.browse("_triquest-lm._tcp"), "", "two do not speak mDNS on one machine");
    let file = triquest(&folder, ["server", "avahi-service"]).run().ok().stdout;
    let text = folder.path().join("triquest-lm.service");
    std::fs::write(&text, file).unwrap();
    let inside = avahi.inside();
    let copied = Command::new(&inside[0]).args(&inside[1..]).arg("cp").arg(&text).arg("/etc/avahi/services/triquest-lm.service").status();
    assert!(copied.unwrap().success());
    let mut seen = String::new();
    until("Avahi's announcement", || {
        seen = avahi.browse("_triquest-lm._tcp");
        seen.contains(";10.77.0.1;1588;") && avahi.browse("_triquest-lm._udp").contains(";10.77.0.1;1588;")
    });
    assert!(seen.contains(&format!("\"key={}\"", key(&folder))), "{seen}");
    served.stop();
    let again = Served::start(&folder, &avahi.inside(), &wished);
    assert_eq!(again.discovery, "UDP 1588; mDNS by Avahi, from /etc/avahi/services/triquest-lm.service");
    again.stop();
}

#[test]
fn the_avahi_file_is_of_the_server_as_it_runs_or_as_it_would() {
    let folder = Folder::new();
    let server = Server::start(&folder);
    triquest(&folder, ["server", "avahi-service"]).run().expect(
        1,
        "",
        "error: the server of this machine listens to the machine itself only, so there is nothing to announce\n\
         hint: let it listen on the network: `listen` in its configuration, or `triquest-lm serve --listen`\n",
    );
    assert_eq!(server.stop(), Some(0));
    let file = triquest(&folder, ["server", "avahi-service"]).run().ok().stdout;
    assert!(file.starts_with("<?xml ") && file.contains("<port>1588</port>") && file.contains("_triquest-lm._udp"), "{file}");
    let file = triquest(&folder, ["server", "avahi-service"])
        .env("TRIQUEST_LM_LISTEN", "0.0.0.0:1599")
        .env("TRIQUEST_LM_DISCOVERY_UDP", "false")
        .run()
        .ok()
        .stdout;
    assert!(file.contains("<port>1599</port>") && !file.contains("_udp"), "{file}");
}

#[test]
fn nmap_names_the_server_over_tcp_and_udp() {
    const DATABASE: &str = "/usr/share/nmap/nmap-service-probes";
    let Ok(database) = std::fs::read_to_string(DATABASE) else {
        eprintln!("skipped: there is no {DATABASE} here (Debian: nmap)");
        return;
    };
    let folder = Folder::new();
    let server = Server::start(&folder);
    // As contrib/nmap/README.md says.
    let ours = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../contrib/nmap/triquest-lm.probes")).unwrap();
    let (before, after) = database.split_once("Exclude T:9100-9107\n").unwrap();
    std::fs::write(folder.path().join("probes"), format!("{before}Exclude T:9100-9107\n{ours}{after}")).unwrap();
    let nmap = |scan: &str| {
        let port = server.port().to_string();
        let output = Command::new("nmap")
            .args(["-n", "-Pn", scan, "-sV", "--versiondb", "probes", "-p", &port, "127.0.0.1"])
            .current_dir(folder.path())
            .output()
            .unwrap();
        (String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr)).into_owned()
    };
    let tcp = nmap("-sT");
    assert!(tcp.contains(&format!("{}/tcp open  triquest-lm TriQuest LM license server (TLS only)", server.port())), "{tcp}");
    let udp = nmap("-sU");
    if udp.contains("requires root") {
        eprintln!("skipped over UDP: nmap needs root for it");
        return;
    }
    let line = format!("{}/udp open  triquest-lm TriQuest LM license server {}", server.port(), env!("CARGO_PKG_VERSION"));
    assert!(udp.contains(&line) && udp.contains("Host: "), "{udp}");
}
