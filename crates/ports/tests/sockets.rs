//! Real sockets of this machine, seen as root and as nobody, in this network namespace and in others.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

use std::{
    io::{BufRead as _, BufReader, Lines, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener, TcpStream, UdpSocket},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
};

use serde_json::Value;
use triquest_ports::sockets::{Ask, Namespace, Owner, Package, Protocol, Reach, Socket, TakesIpv4, listening};

/// Set in a copy of this program that is to list a port, or to listen.
const ROLE: &str = "TRIQUEST_PORTS_TEST_ROLE";
const NOBODY: &str = "65534";

/// Children inherit every socket for the moment before they start their program, so no two of these tests run at once.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn on(port: u16) -> Vec<Socket> {
    listening(Some(port), Ask::default()).unwrap().sockets
}

fn the_one(port: u16) -> Socket {
    let mut found = on(port);
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

fn is_mine(socket: &Socket) -> bool {
    socket.processes().iter().any(|process| process.pid == std::process::id())
}

fn has_ipv6() -> bool {
    let has = TcpListener::bind("[::1]:0").is_ok();
    if !has {
        println!("skipped: this machine has no IPv6");
    }
    has
}

fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        println!("skipped: only root can become another user or make network namespaces");
    }
    root
}

#[test]
fn a_tcp_listener_on_loopback_is_told_with_its_process() {
    let _alone = alone();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let socket = the_one(listener.local_addr().unwrap().port());
    assert_eq!((socket.protocol, socket.address), (Protocol::Tcp, IpAddr::from(Ipv4Addr::LOCALHOST)));
    assert_eq!((socket.reach, socket.takes_ipv4, &socket.namespace), (Reach::OnlyThisMachine, TakesIpv4::Yes, &Namespace::This));
    assert_eq!(socket.user.as_ref().unwrap().uid, rustix::process::geteuid().as_raw());
    let [process] = socket.processes() else { panic!("{socket:?}") };
    assert_eq!(process.pid, std::process::id());
    assert_eq!(Path::new(&process.executable.as_ref().unwrap().path), std::env::current_exe().unwrap());
    assert_eq!(process.command.first(), std::env::args().next().as_ref());
    assert!(process.since.unwrap() > 1_000_000_000);
    assert!(!process.name.is_empty());
}

#[test]
fn a_wildcard_is_reachable_from_outside_and_the_kernel_tells_its_queue() {
    let _alone = alone();
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    let address = listener.local_addr().unwrap();
    let waiting = TcpStream::connect(("127.0.0.1", address.port())).unwrap();
    let socket = the_one(address.port());
    assert_eq!(socket.reach, Reach::FromOutside);
    let queue = socket.queue.unwrap();
    assert_eq!(queue.waiting, 1);
    assert!(queue.longest.unwrap() > 0);
    drop(waiting);
}

#[test]
fn an_ipv6_wildcard_says_whether_it_takes_ipv4_too() {
    let _alone = alone();
    use rustix::net::{AddressFamily, SocketType, bind, listen, socket, sockopt::set_ipv6_v6only};
    if !has_ipv6() {
        return;
    }
    for (only, expected) in [(false, TakesIpv4::Yes), (true, TakesIpv4::No)] {
        let listener = socket(AddressFamily::INET6, SocketType::STREAM, None).unwrap();
        set_ipv6_v6only(&listener, only).unwrap();
        bind(&listener, &std::net::SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0))).unwrap();
        listen(&listener, 7).unwrap();
        let listener = TcpListener::from(listener);
        let socket = the_one(listener.local_addr().unwrap().port());
        assert_eq!((socket.takes_ipv4, socket.queue.unwrap().longest), (expected, Some(7)));
        assert!(socket.address.is_ipv6() && is_mine(&socket));
    }
}

#[test]
fn udp_sockets_without_a_peer_listen_and_those_with_a_peer_do_not() {
    let _alone = alone();
    let open = UdpSocket::bind("127.0.0.1:0").unwrap();
    let connected = UdpSocket::bind("127.0.0.1:0").unwrap();
    connected.connect(open.local_addr().unwrap()).unwrap();
    let socket = the_one(open.local_addr().unwrap().port());
    assert!(socket.protocol == Protocol::Udp && is_mine(&socket) && socket.queue.is_none());
    assert!(on(connected.local_addr().unwrap().port()).is_empty());
    if has_ipv6() {
        let v6 = UdpSocket::bind("[::1]:0").unwrap();
        let socket = the_one(v6.local_addr().unwrap().port());
        assert!(socket.protocol == Protocol::Udp && socket.address == Ipv6Addr::LOCALHOST);
        assert_eq!((socket.reach, socket.takes_ipv4), (Reach::OnlyThisMachine, TakesIpv4::No));
    }
}

#[test]
fn connections_and_what_is_left_of_them_do_not_listen() {
    let _alone = alone();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let client = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let (server, _) = listener.accept().unwrap();
    let client_port = client.local_addr().unwrap().port();
    drop(listener);
    assert!(on(port).is_empty());
    drop((server, client));
    assert!(on(port).is_empty());
    assert!(on(client_port).is_empty());
}

#[test]
fn all_ports_are_listed_in_order_when_none_is_named() {
    let _alone = alone();
    let listeners: Vec<TcpListener> = (0..20).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let found = listening(None, Ask::default()).unwrap();
    assert!(found.sockets.is_sorted_by_key(|socket| socket.port));
    let ports = found.ports();
    assert!(listeners.iter().all(|listener| ports.contains(&listener.local_addr().unwrap().port())));
}

#[test]
fn an_inherited_socket_is_told_with_both_of_its_processes() {
    let _alone = alone();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    // As systemd hands a socket on: the child inherits it, the parent keeps it.
    rustix::io::fcntl_setfd(&listener, rustix::io::FdFlags::empty()).unwrap();
    let child = Running::start(Command::new("cat"));
    rustix::io::fcntl_setfd(&listener, rustix::io::FdFlags::CLOEXEC).unwrap();
    let socket = the_one(listener.local_addr().unwrap().port());
    let pids: Vec<u32> = socket.processes().iter().map(|process| process.pid).collect();
    assert!(pids.contains(&child.0.id()) && pids.contains(&std::process::id()), "{pids:?}");
    let cat = socket.processes().iter().find(|process| process.pid == child.0.id()).unwrap();
    assert_eq!((cat.name.as_str(), cat.command.as_slice()), ("cat", &["cat".to_owned()][..]));
}

#[test]
fn the_package_of_a_program_is_told_when_asked_for() {
    let _alone = alone();
    if !Path::new("/var/lib/dpkg/status").exists() {
        println!("skipped: this is no Debian system");
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    rustix::io::fcntl_setfd(&listener, rustix::io::FdFlags::empty()).unwrap();
    let child = Running::start(Command::new("cat"));
    rustix::io::fcntl_setfd(&listener, rustix::io::FdFlags::CLOEXEC).unwrap();
    let found = listening(Some(listener.local_addr().unwrap().port()), Ask::everything()).unwrap();
    let package_of = |pid: u32| {
        let process = found.sockets[0].processes().iter().find(|process| process.pid == pid).unwrap().clone();
        process.executable.as_ref().unwrap().package.clone().unwrap()
    };
    assert_eq!(package_of(child.0.id()), Package::Owned { manager: "dpkg", name: "coreutils".into() });
    assert_eq!(package_of(std::process::id()), Package::NoPackage { manager: "dpkg" });
}

#[test]
fn a_program_whose_file_is_gone_and_whose_name_is_hostile_is_told_as_it_is() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("\u{1b}]52;c;x\u{7} $(reboot)*\n");
    std::fs::copy("/bin/cat", &program).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    rustix::io::fcntl_setfd(&listener, rustix::io::FdFlags::empty()).unwrap();
    let child = Running::start(Command::new(&program));
    rustix::io::fcntl_setfd(&listener, rustix::io::FdFlags::CLOEXEC).unwrap();
    std::fs::remove_file(&program).unwrap();
    let socket = the_one(listener.local_addr().unwrap().port());
    let process = socket.processes().iter().find(|process| process.pid == child.0.id()).unwrap();
    let executable = process.executable.as_ref().unwrap();
    assert_eq!((executable.deleted, executable.replaced), (true, Some(false)), "nothing is there now");
    assert_eq!(Path::new(&executable.path), program);
    std::fs::write(&program, "a newer one").unwrap();
    let replaced = the_one(listener.local_addr().unwrap().port());
    let process = replaced.processes().iter().find(|process| process.pid == child.0.id()).unwrap();
    assert_eq!(process.executable.as_ref().unwrap().replaced, Some(true), "an update is told from a removal");
    assert!(process.name.starts_with("\u{1b}]52;c;x"));
    // As JSON it is one string with escapes.
    assert!(!serde_json::to_string(&socket).unwrap().chars().any(char::is_control));
}

#[test]
fn a_listener_of_root_is_held_with_its_owner_hidden_for_an_ordinary_user() {
    let _alone = alone();
    if !is_root() {
        return;
    }
    let listeners = [TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("0.0.0.0:0").unwrap()];
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let ports = listeners.iter().map(|listener| listener.local_addr().unwrap().port()).chain([udp.local_addr().unwrap().port()]);
    for port in ports {
        let seen = seen_by_nobody(port);
        let [socket] = seen["sockets"].as_array().unwrap().as_slice() else { panic!("{seen}") };
        assert_eq!(socket["port"], port);
        assert_eq!(socket["owner"]["kind"], "hidden", "{seen}");
        assert_eq!(socket["owner"]["why"], "not_permitted");
        assert_eq!(socket["owner"]["user"]["uid"], 0);
        assert_eq!(socket["owner"]["user"]["name"], "root");
        assert!(seen["gaps"].as_array().unwrap().iter().any(|gap| gap["gap"] == "processes" && gap["hidden"].as_u64().unwrap() > 0));
    }
}

#[test]
fn the_unit_of_a_hidden_owner_is_told_where_the_kernel_tells_it() {
    let _alone = alone();
    let root =
        ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"].map(Path::new).into_iter().find(|root| root.join("cgroup.controllers").exists());
    if !is_root() {
        return;
    }
    let name = format!("tq-ports-{}.service", std::process::id());
    let Some(group) = root.map(|root| root.join(&name)).filter(|group| std::fs::create_dir(group).is_ok()) else {
        println!("skipped: no control groups of version 2 can be made here");
        return;
    };
    let copy = Copy::new();
    let mut command = Command::new("sh");
    command.arg("-c").arg("echo $$ > \"$0/cgroup.procs\" && exec \"$@\"").arg(&group).args(copy.words());
    let (mut child, port) = Running::listening(command);
    let seen = seen_by_nobody(port);
    child.stop();
    std::fs::remove_dir(&group).unwrap();
    assert_eq!(seen["sockets"][0]["owner"]["kind"], "hidden");
    assert_eq!(seen["sockets"][0]["owner"]["unit"]["name"], name.as_str(), "{seen}");
}

#[test]
fn a_listener_in_another_network_namespace_is_seen_by_root_with_its_name_and_by_nobody_without() {
    let _alone = alone();
    if !is_root() {
        return;
    }
    let Some(namespace) = NetworkNamespace::new() else { return };
    let copy = Copy::new();
    let mut command = Command::new("ip");
    command.args(["netns", "exec", &namespace.name]).args(copy.words());
    let (child, port) = Running::listening(command);

    let socket = on(port).into_iter().find(|socket| socket.namespace != Namespace::This).unwrap();
    let Namespace::Other { id, name, container, .. } = &socket.namespace else { panic!("{socket:?}") };
    assert!(id.is_some() && container.is_none());
    assert_eq!(name.as_deref(), Some(namespace.name.as_str()));
    assert_eq!((socket.reach, socket.address), (Reach::Unknown, IpAddr::from(Ipv4Addr::UNSPECIFIED)));
    assert!(socket.processes().iter().any(|process| process.pid == child.0.id()), "{socket:?}");
    assert_eq!(triquest_ports::banner::Target::of(&socket), Err(triquest_ports::banner::NotAsked::OtherNamespace));

    let seen = seen_by_nobody(port);
    let socket = seen["sockets"].as_array().unwrap().iter().find(|socket| socket["namespace"]["kind"] == "other").unwrap();
    assert_eq!(socket["owner"]["kind"], "hidden");

    let only_here = listening(Some(port), Ask { other_namespaces: false, ..Ask::default() }).unwrap();
    assert!(only_here.sockets.iter().all(|socket| socket.namespace == Namespace::This));
}

#[test]
fn a_named_network_namespace_that_no_process_is_in_is_a_gap_and_not_a_silence() {
    let _alone = alone();
    use triquest_ports::sockets::Gap;
    if !is_root() {
        return;
    }
    let Some(namespace) = NetworkNamespace::new() else { return };
    let gaps = listening(None, Ask::default()).unwrap().gaps;
    assert!(gaps.contains(&Gap::NamespaceWithoutProcess { name: namespace.name.clone() }), "{gaps:?}");
}

#[test]
fn a_socket_that_no_process_has_is_not_called_free_and_not_called_hidden() {
    let _alone = alone();
    if !is_root() {
        return;
    }
    // A socket on its way between two processes is in no process' files, as the kernel's own are.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (_receiver, sender) = std::os::unix::net::UnixStream::pair().unwrap();
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = rustix::net::SendAncillaryBuffer::new(&mut space);
    let files = [std::os::fd::AsFd::as_fd(&listener)];
    assert!(ancillary.push(rustix::net::SendAncillaryMessage::ScmRights(&files)));
    rustix::net::sendmsg(&sender, &[std::io::IoSlice::new(b"x")], &mut ancillary, rustix::net::SendFlags::empty()).unwrap();
    drop(listener);
    let found = listening(Some(port), Ask::default()).unwrap();
    let [socket] = found.sockets.as_slice() else { panic!("{found:?}") };
    match &socket.owner {
        Owner::NoProcess => {}
        // In a container another machine's process might have it.
        Owner::Hidden { .. } => println!("this machine's first processes are hidden: {found:?}"),
        Owner::Processes { .. } => panic!("{found:?}"),
    }
}

/// Does nothing in a usual run. In a copy of this program it lists a port or listens.
#[test]
fn this_program_started_again_plays_its_role() {
    let _alone = alone();
    let Ok(role) = std::env::var(ROLE) else { return };
    if let Some(port) = role.strip_prefix("list ") {
        let found = listening(Some(port.parse().unwrap()), Ask::default()).unwrap();
        println!("\n{}", serde_json::to_string(&found).unwrap());
    } else {
        let listener = TcpListener::bind("0.0.0.0:0").unwrap();
        println!("\nport {}", listener.local_addr().unwrap().port());
        let _ = std::io::stdin().lock().read_line(&mut String::new());
    }
}

/// What an ordinary user sees of a port.
fn seen_by_nobody(port: u16) -> Value {
    let copy = Copy::new();
    let mut command = Command::new("setpriv");
    command.args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"]).args(copy.words()).env(ROLE, format!("list {port}"));
    let answer = command.output().unwrap();
    let text = String::from_utf8(answer.stdout).unwrap();
    let json =
        text.lines().find(|line| line.starts_with('{')).unwrap_or_else(|| panic!("{text}{}", String::from_utf8_lossy(&answer.stderr)));
    serde_json::from_str(json).unwrap()
}

/// This program at a place where everybody may run it.
struct Copy {
    folder: tempfile::TempDir,
}

impl Copy {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let copy = Self { folder };
        std::fs::copy(std::env::current_exe().unwrap(), copy.path()).unwrap();
        std::fs::set_permissions(copy.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        copy
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("ports")
    }

    fn words(&self) -> Vec<String> {
        let path = self.path().to_str().unwrap().to_owned();
        [&path, "--exact", "this_program_started_again_plays_its_role", "--nocapture", "--test-threads=1"].map(str::to_owned).to_vec()
    }
}

/// A program that runs until it is dropped, and what it says.
struct Running(Child, Option<Lines<BufReader<ChildStdout>>>);

impl Running {
    fn start(mut command: Command) -> Self {
        Self(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap(), None)
    }

    /// Starts a copy of this program that listens, and says where.
    fn listening(mut command: Command) -> (Self, u16) {
        let mut child = Self::start(std::mem::replace(command.env(ROLE, "listen"), Command::new("true")));
        let mut lines = BufReader::new(child.0.stdout.take().unwrap()).lines();
        let port = lines.by_ref().map_while(Result::ok).find_map(|line| line.strip_prefix("port ")?.parse().ok()).unwrap();
        child.1 = Some(lines);
        (child, port)
    }

    fn stop(&mut self) {
        if let Some(mut input) = self.0.stdin.take() {
            let _ = input.write_all(b"\n");
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A network namespace that is gone with its value.
struct NetworkNamespace {
    name: String,
}

impl NetworkNamespace {
    fn new() -> Option<Self> {
        use std::sync::atomic::{AtomicU32, Ordering};
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("tqports-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let made = Command::new("ip").args(["netns", "add", &name]).status().is_ok_and(|status| status.success());
        if !made {
            println!("skipped: no network namespace can be made here");
        }
        made.then_some(Self { name })
    }
}

impl Drop for NetworkNamespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "delete", &self.name]).status();
    }
}
