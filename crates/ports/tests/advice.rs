//! Suggested commands: the right one for the system, and every word of it what it says, also when names are hostile.
#![cfg(unix)]
#![allow(clippy::unwrap_used)]

use std::{net::IpAddr, path::PathBuf, process::Command, sync::Arc};

use proptest::prelude::*;
use triquest_ports::{
    advice::{Action, Advice, Facts, Firewall, Network, Session, Standing, Step, System, advise, quoted},
    sockets::{
        Container, Executable, Hiding, Manager, Namespace, Owner, Process, Protocol, Reach, Runtime, Socket, SocketUnit, TakesIpv4, Unit,
        User,
    },
};

const HOSTILE: &[&str] = &[
    "a b",
    "$(reboot)",
    "`reboot`",
    "*",
    "?[a-z]*",
    "-rf",
    "--now",
    "=ls",
    "~root",
    "",
    "'",
    "\"; reboot; '",
    "\\",
    "%s%n\\033",
    "-%d\u{1b}",
    "\u{1b}]52;c;cm0=\u{7}",
    "\u{1b}]8;;http://x\u{1b}\\y",
    "one\ntwo",
    "at the end\n\n",
    "\n",
    "\r\t\u{8}",
    "\u{202e}gpj.exe\u{2066}",
    "\u{9b}2J\u{e9}\u{1f600}",
    "a\n; reboot #",
    "!event",
    "x\\\ny",
];

/// The words of each command as a shell takes the line apart, with every command replaced by one that prints its words.
fn parsed(text: &str) -> Vec<Vec<String>> {
    let shell = |options: &[&str], script: &str| Command::new("sh").args(options).arg("-c").arg(script).output().unwrap();
    let checked = shell(&["-n"], text);
    assert!(checked.status.success(), "{text:?}: {}", String::from_utf8_lossy(&checked.stderr));
    // `show` ends each word with a group separator and each command with a record separator, which no name of these tests holds.
    let script =
        format!("show() {{ for word; do printf '%s\\035' \"$word\"; done; printf '\\036'; }}\nshow {}", text.replace(" && ", " && show "));
    let shown = shell(&[], &script);
    assert!(shown.status.success(), "{text:?}: {}", String::from_utf8_lossy(&shown.stderr));
    let shown = String::from_utf8(shown.stdout).unwrap();
    let commands = shown.strip_suffix('\u{1e}').unwrap().split('\u{1e}');
    commands.map(|command| command.strip_suffix('\u{1d}').unwrap().split('\u{1d}').map(str::to_owned).collect()).collect()
}

/// Every command parses into exactly its words and shows no control character but for line ends.
fn check(advice: &Advice) {
    for command in advice.steps.iter().filter_map(|step| step.command.as_ref()) {
        assert_eq!(parsed(&command.text), command.commands, "{}", command.text);
        let trimmed = command.text.replace('\n', "");
        assert!(!trimmed.chars().any(|c| c.is_control() || ('\u{202a}'..='\u{2069}').contains(&c)), "{:?}", command.text);
    }
}

fn facts() -> Facts {
    Facts {
        system: System::Linux,
        firewall: Firewall::Ufw,
        is_root: false,
        uid: 1000,
        network: Some(Network { address: [10, 1, 0, 0].into(), prefix: 16 }),
        session: None,
    }
}

fn process() -> Process {
    Process {
        pid: 812,
        name: "server".into(),
        user: Some(User { uid: 7, name: Some("svc".into()) }),
        executable: Some(Executable { path: "/usr/bin/server".into(), deleted: false, replaced: None, package: None }),
        command: vec!["server".into()],
        command_cut: false,
        since: None,
        unit: None,
        container: None,
    }
}

fn unit(name: &str, manager: Manager) -> Option<Unit> {
    Some(Unit { name: name.into(), manager, slice: None })
}

fn owned_by(process: Process) -> Owner {
    Owner::Processes { processes: vec![Arc::new(process)], more: 0, maybe_others: false }
}

fn socket(owner: Owner) -> Socket {
    Socket {
        protocol: Protocol::Tcp,
        address: IpAddr::from([0, 0, 0, 0]),
        port: 1588,
        interface: None,
        inode: 1,
        user: None,
        namespace: Namespace::This,
        takes_ipv4: TakesIpv4::Yes,
        reach: Reach::FromOutside,
        queue: None,
        owner,
        socket_unit: None,
    }
}

fn lines(advice: &Advice, action: Action) -> Vec<&str> {
    advice
        .steps
        .iter()
        .filter(|step| step.action == action)
        .filter_map(|step| step.command.as_ref())
        .map(|command| command.text.as_str())
        .collect()
}

fn closing(process: Process) -> Vec<String> {
    let advice = advise(&[socket(owned_by(process))], |_| Standing::Unknown, &facts()).unwrap();
    check(&advice);
    lines(&advice, Action::Close).into_iter().map(str::to_owned).collect()
}

fn restricting(sockets: &[Socket], facts: &Facts) -> Vec<String> {
    let advice = advise(sockets, |_| Standing::Expected, facts).unwrap();
    check(&advice);
    lines(&advice, Action::Restrict).into_iter().map(str::to_owned).collect()
}

#[test]
fn every_hostile_word_is_that_word_for_a_shell() {
    for word in HOSTILE {
        assert_eq!(parsed(&format!("x {}", quoted(word))), [["x", word]], "{word:?}");
    }
}

#[test]
fn plain_words_stay_plain() {
    for word in ["ssh.service", "--now", "/usr/bin/x", "a_b@1:2,3+4%5=6"] {
        assert_eq!(quoted(word), word);
    }
    assert_eq!(quoted("sport = :1588"), "'sport = :1588'");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn any_word_is_that_word_for_a_shell(word in "[^\0\u{1d}\u{1e}]{0,12}|[-%\\\\0-7'\"$`\n\u{1b} ]{0,12}") {
        // The line is taken apart at ` && ` by the test itself.
        prop_assume!(!word.contains(" && "));
        prop_assert_eq!(parsed(&format!("x {}", quoted(&word))), [["x", word.as_str()]]);
    }
}

#[test]
fn a_unit_is_closed_by_systemd_and_stays_closed() {
    let with = |unit| closing(Process { unit, ..process() });
    assert_eq!(with(unit("nginx.service", Manager::System)), ["sudo systemctl disable --now nginx.service"]);
    assert_eq!(with(unit("run-u1.scope", Manager::System)), ["sudo systemctl stop run-u1.scope"]);
    assert_eq!(with(unit("web.service", Manager::User { uid: 1000 })), ["systemctl --user disable --now web.service"]);
    assert_eq!(with(unit("web.service", Manager::User { uid: 7 })), ["sudo systemctl --user --machine=7@.host disable --now web.service"]);
    assert_eq!(with(unit("-x.service", Manager::System)), ["sudo systemctl disable --now -- -x.service"]);
    // Stopping these would end a whole session.
    assert_eq!(with(unit("session-3.scope", Manager::System)), ["sudo kill 812"]);
    assert_eq!(with(unit("user@7.service", Manager::System)), ["sudo kill 812"]);
    assert_eq!(closing(Process { user: Some(User { uid: 1000, name: None }), ..process() }), ["kill 812"]);
}

#[test]
fn a_socket_unit_is_closed_with_what_it_starts() {
    let mut one = socket(owned_by(Process { pid: 1, unit: unit("init.scope", Manager::System), ..process() }));
    one.socket_unit = Some(SocketUnit { name: "ssh.socket".into(), activates: Some("ssh.service".into()) });
    let advice = advise(std::slice::from_ref(&one), |_| Standing::NotGenuine, &facts()).unwrap();
    check(&advice);
    assert_eq!(advice.action, Action::Close);
    assert_eq!(lines(&advice, Action::Close), ["sudo systemctl disable --now ssh.socket ssh.service"]);
    assert!(advice.steps[0].note.as_ref().unwrap().contains("shut out"));
    one.socket_unit = None;
    let advice = advise(&[one], |_| Standing::Unknown, &facts()).unwrap();
    assert!(lines(&advice, Action::Close).is_empty(), "the first process is never killed: {advice:?}");
    assert_eq!(lines(&advice, Action::Look), ["systemctl list-sockets --all"]);
}

#[test]
fn a_container_is_stopped_by_what_runs_it() {
    let with =
        |runtime, kubernetes| closing(Process { container: Some(Container { runtime, id: "0a1b".into(), kubernetes }), ..process() });
    assert_eq!(with(Runtime::Docker, false), ["sudo docker stop 0a1b"]);
    assert_eq!(with(Runtime::Podman, false), ["sudo podman stop 0a1b"]);
    assert_eq!(with(Runtime::Containerd, true), ["sudo crictl stop 0a1b"]);
    assert_eq!(with(Runtime::Lxc, false), ["sudo lxc-stop -n 0a1b"]);
    assert_eq!(with(Runtime::Unknown, false), ["sudo kill 812"]);
    let proxy = Process { name: "docker-proxy".into(), unit: unit("docker.service", Manager::System), ..process() };
    assert_eq!(closing(proxy), ["sudo docker ps --filter publish=1588"]);
}

#[test]
fn a_hidden_owner_comes_with_the_command_that_shows_it() {
    let hidden = |namespace| Socket { namespace, ..socket(Owner::Hidden { user: None, why: Hiding::NotPermitted, unit: None }) };
    let advice = advise(&[hidden(Namespace::This)], |_| Standing::Unknown, &facts()).unwrap();
    check(&advice);
    assert_eq!((advice.action, lines(&advice, Action::Look)), (Action::Look, vec!["sudo ss -tlpn 'sport = :1588'"]));
    let udp = Socket { protocol: Protocol::Udp, ..hidden(Namespace::This) };
    let advice = advise(&[hidden(Namespace::This), udp], |_| Standing::Unknown, &facts()).unwrap();
    assert_eq!(lines(&advice, Action::Look), ["sudo ss -tulpn 'sport = :1588'"]);
    let other = |name: Option<&str>| Namespace::Other { id: None, name: name.map(str::to_owned), container: None, pid: 44 };
    let looking = |name| {
        let advice = advise(&[hidden(other(name))], |_| Standing::Unknown, &facts()).unwrap();
        check(&advice);
        lines(&advice, Action::Look)[0].to_owned()
    };
    assert_eq!(looking(Some("blue")), "sudo ip netns exec blue ss -tlpn 'sport = :1588'");
    assert_eq!(looking(None), "sudo nsenter --net=/proc/44/ns/net ss -tlpn 'sport = :1588'");
    assert_eq!(looking(Some("-x")), looking(None));
    assert!(!looking(Some("a\u{1b}[2J")).contains('\u{1b}'));
    let with_unit = Socket {
        owner: Owner::Hidden { user: None, why: Hiding::NotPermitted, unit: unit("ntp.service", Manager::System) },
        ..hidden(Namespace::This)
    };
    let advice = advise(&[with_unit], |_| Standing::Unknown, &facts()).unwrap();
    assert_eq!(lines(&advice, Action::Close), ["sudo systemctl disable --now ntp.service"]);
}

#[test]
fn whoever_is_root_needs_no_sudo() {
    let root = Facts { is_root: true, uid: 0, ..facts() };
    let advice = advise(&[socket(owned_by(process()))], |_| Standing::Unknown, &root).unwrap();
    check(&advice);
    assert!(advice.steps.iter().filter_map(|step| step.command.as_ref()).all(|command| !command.text.contains("sudo")));
}

#[test]
fn each_firewall_has_its_own_line() {
    let tcp = socket(owned_by(process()));
    let udp = Socket { protocol: Protocol::Udp, ..tcp.clone() };
    let with = |firewall| restricting(std::slice::from_ref(&tcp), &Facts { firewall, ..facts() }).remove(0);
    assert_eq!(
        with(Firewall::Ufw),
        "sudo ufw prepend deny proto tcp to any port 1588 && sudo ufw prepend allow proto tcp from 10.1.0.0/16 to any port 1588"
    );
    assert_eq!(
        with(Firewall::Firewalld),
        "sudo firewall-cmd --permanent '--add-rich-rule=rule priority=\"-20\" family=\"ipv4\" source address=\"10.1.0.0/16\" port port=\"1588\" protocol=\"tcp\" accept' && \
         sudo firewall-cmd --permanent '--add-rich-rule=rule priority=\"-10\" family=\"ipv4\" port port=\"1588\" protocol=\"tcp\" reject' && \
         sudo firewall-cmd --permanent '--add-rich-rule=rule priority=\"-10\" family=\"ipv6\" port port=\"1588\" protocol=\"tcp\" reject' && sudo firewall-cmd --reload"
    );
    assert!(with(Firewall::Nftables).starts_with("sudo nft 'add table inet port_1588; "));
    assert_eq!(
        with(Firewall::Iptables),
        "sudo iptables -N tcp-1588 && sudo iptables -A tcp-1588 -s 10.1.0.0/16 -j RETURN && sudo iptables -A tcp-1588 -j DROP && \
         sudo iptables -I INPUT '!' -i lo -p tcp --dport 1588 -j tcp-1588 && \
         sudo ip6tables -N tcp-1588 && sudo ip6tables -A tcp-1588 -j DROP && sudo ip6tables -I INPUT '!' -i lo -p tcp --dport 1588 -j tcp-1588"
    );
    let both = restricting(&[tcp.clone(), udp], &facts());
    assert!(both[0].contains("proto tcp") && both[0].contains("proto udp"), "{both:?}");
    let service = socket(owned_by(Process { unit: unit("web.service", Manager::System), ..process() }));
    assert_eq!(
        restricting(&[service], &Facts { firewall: Firewall::NoneFound, ..facts() }),
        ["sudo systemctl set-property web.service IPAddressDeny=any IPAddressAllow=localhost IPAddressAllow=10.1.0.0/16"]
    );
    assert!(restricting(std::slice::from_ref(&tcp), &Facts { firewall: Firewall::NoneFound, ..facts() }).is_empty());
    let windows = advise(&[tcp], |_| Standing::Expected, &Facts { system: System::Windows, ..facts() }).unwrap();
    assert_eq!(
        lines(&windows, Action::Restrict),
        [
            "netsh advfirewall firewall add rule name=tcp-1588-from-own-network dir=in action=allow protocol=tcp localport=1588 remoteip=10.1.0.0/16"
        ]
    );
    assert_eq!(lines(&windows, Action::Close), ["taskkill /PID 812"]);
}

#[test]
fn what_only_this_machine_can_reach_needs_no_firewall() {
    let local = Socket { reach: Reach::OnlyThisMachine, ..socket(owned_by(process())) };
    let advice = advise(&[local], |_| Standing::Unknown, &facts()).unwrap();
    assert_eq!(advice.action, Action::Keep);
    assert!(lines(&advice, Action::Restrict).is_empty());
    assert_eq!(advise(&[], |_| Standing::Unknown, &facts()), None);
}

#[test]
fn hostile_names_of_units_containers_and_namespaces_become_no_commands_of_theirs() {
    for name in HOSTILE {
        let hostile = Process {
            name: (*name).to_owned(),
            unit: unit(&format!("{name}.service"), Manager::System),
            container: Some(Container { runtime: Runtime::Lxc, id: (*name).to_owned(), kubernetes: false }),
            ..process()
        };
        let mut one = socket(owned_by(hostile));
        one.socket_unit = Some(SocketUnit { name: format!("{name}.socket"), activates: Some(format!("{name}.service")) });
        let other = Namespace::Other { id: None, name: Some((*name).to_owned()), container: None, pid: 44 };
        let hidden = Owner::Hidden { user: None, why: Hiding::NotPermitted, unit: unit(&format!("{name}.service"), Manager::System) };
        let two = Socket { namespace: other, ..socket(hidden) };
        for firewall in [Firewall::Firewalld, Firewall::Iptables, Firewall::Nftables, Firewall::NoneFound, Firewall::Ufw] {
            let advice = advise(&[one.clone(), two.clone()], |_| Standing::NotGenuine, &Facts { firewall, ..facts() }).unwrap();
            check(&advice);
            // systemctl takes such characters for patterns of its own, whatever the shell does.
            let is_pattern = |step: &&Step| step.command.as_ref().is_some_and(|command| command.text.contains("systemctl"));
            for step in advice.steps.iter().filter(is_pattern) {
                assert!(!step.command.as_ref().unwrap().commands.concat().iter().any(|word| word.contains(['*', '?', '['])), "{step:?}");
            }
        }
    }
}

#[test]
fn the_firewall_is_found_by_its_files_and_programs() {
    let root = tempfile::tempdir().unwrap();
    let programs = [root.path().join("usr/sbin")];
    let detect = |programs: &[PathBuf]| Firewall::detect(root.path(), programs);
    std::fs::create_dir_all(&programs[0]).unwrap();
    std::fs::create_dir_all(root.path().join("etc/ufw")).unwrap();
    assert_eq!(detect(&programs), Firewall::NoneFound);
    std::fs::write(programs[0].join("iptables"), "").unwrap();
    assert_eq!(detect(&programs), Firewall::Iptables);
    std::fs::write(programs[0].join("nft"), "").unwrap();
    assert_eq!(detect(&programs), Firewall::Nftables);
    std::fs::write(root.path().join("etc/ufw/ufw.conf"), "# x\nENABLED=no\n").unwrap();
    assert_eq!(detect(&programs), Firewall::Nftables);
    std::fs::create_dir_all(root.path().join("run/firewalld")).unwrap();
    assert_eq!(detect(&[]), Firewall::Firewalld);
    std::fs::write(root.path().join("etc/ufw/ufw.conf"), "ENABLED=yes\n").unwrap();
    assert_eq!(detect(&programs), Firewall::Ufw);
}

#[cfg(target_endian = "little")]
#[test]
fn the_own_network_is_that_of_the_default_route() {
    let routes = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n\
        docker0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n\
        eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
        eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n";
    assert_eq!(Network::of_routes(routes).unwrap().to_string(), "192.0.2.0/24");
    assert_eq!(Network::of_routes("Iface\n"), None);
    assert_eq!(Network::of_routes("\nx y z\n\u{1b}\t+0000000\t-1\n"), None);
}

/// The rules are taken by the real tools, and taken back, in a network namespace of their own, where they exist.
#[test]
fn nft_and_iptables_take_the_suggested_rules_and_take_them_back() {
    let root = rustix::process::geteuid().is_root();
    let name = format!("tqadvice-{}", std::process::id());
    if !root || !Command::new("ip").args(["netns", "add", &name]).status().is_ok_and(|status| status.success()) {
        println!("skipped: no network namespace can be made here");
        return;
    }
    let tcp = socket(owned_by(process()));
    let udp = Socket { protocol: Protocol::Udp, ..tcp.clone() };
    let mut outcomes = Vec::new();
    for (firewall, tool) in [(Firewall::Nftables, "nft"), (Firewall::Iptables, "iptables")] {
        let is_here = ["/usr/sbin", "/sbin"].iter().any(|folder| PathBuf::from(folder).join(tool).is_file());
        if !is_here {
            println!("skipped: no {tool} here");
            continue;
        }
        for (network, from) in [(facts().network, None), (None, None), (None, Some("2001:db8::5")), (facts().network, Some("192.0.2.7"))] {
            let session = from.map(|from| Session { from: from.parse().unwrap(), port: 1588 });
            let root = Facts { firewall, is_root: true, network, session, ..facts() };
            let advice = advise(&[tcp.clone(), udp.clone()], |_| Standing::Unknown, &root).unwrap();
            check(&advice);
            for action in [Action::Restrict, Action::Undo] {
                let line = lines(&advice, action)[0].to_owned();
                let ran = Command::new("ip").args(["netns", "exec", &name, "sh", "-c", &line]).output().unwrap();
                outcomes.push((line, ran));
            }
        }
    }
    let _ = Command::new("ip").args(["netns", "delete", &name]).status();
    for (line, ran) in outcomes {
        assert!(ran.status.success(), "{line}: {}", String::from_utf8_lossy(&ran.stderr));
    }
}

#[test]
fn whoever_is_logged_in_through_a_port_is_not_shut_out_by_the_first_advice_and_may_take_it_back() {
    let ssh = Socket { port: 22, ..socket(owned_by(Process { unit: unit("ssh.service", Manager::System), ..process() })) };
    let session = Session::of_ssh("203.0.113.9 50022 10.1.2.3 22").unwrap();
    assert_eq!(session, Session { from: [203, 0, 113, 9].into(), port: 22 });
    assert_eq!(Session::of_ssh("nonsense 1 2"), None);
    for firewall in [Firewall::Firewalld, Firewall::Iptables, Firewall::Nftables, Firewall::NoneFound, Firewall::Ufw] {
        let here = Facts { firewall, session: Some(session), ..facts() };
        let advice = advise(std::slice::from_ref(&ssh), |_| Standing::Unknown, &here).unwrap();
        check(&advice);
        assert_eq!(advice.action, Action::Look, "nothing that shuts anybody out comes first");
        let [restrict] = lines(&advice, Action::Restrict)[..] else { panic!("{advice:?}") };
        assert!(restrict.contains("203.0.113.9"), "{restrict}");
        let step = advice.steps.iter().find(|step| step.action == Action::Restrict).unwrap();
        assert!(step.note.as_ref().unwrap().contains("logged in through it from 203.0.113.9"), "{step:?}");
        assert_eq!(lines(&advice, Action::Undo).len(), 1, "{advice:?}");
        // Another port than the session's has nothing to do with it, and whoever sits in the own network is let in by that.
        assert!(
            !lines(&advise(&[socket(owned_by(process()))], |_| Standing::Unknown, &here).unwrap(), Action::Restrict)
                .concat()
                .contains("203")
        );
        let near = Facts { session: Some(Session { from: [10, 1, 9, 9].into(), port: 22 }), ..here };
        assert!(
            !lines(&advise(std::slice::from_ref(&ssh), |_| Standing::Unknown, &near).unwrap(), Action::Restrict)
                .concat()
                .contains("10.1.9.9")
        );
    }
}

#[test]
fn where_one_of_several_is_false_only_that_one_is_to_be_closed() {
    let genuine = Socket { inode: 2, ..socket(owned_by(process())) };
    let elsewhere = Namespace::Other { id: None, name: Some("blue".into()), container: None, pid: 44 };
    let of_another = Socket { inode: 3, namespace: elsewhere.clone(), ..socket(owned_by(Process { pid: 44, ..process() })) };
    let fake = Socket { inode: 4, namespace: elsewhere, ..socket(owned_by(Process { pid: 813, name: "python3".into(), ..process() })) };
    let standing = |socket: &Socket| match socket.inode {
        2 => Standing::Expected,
        4 => Standing::NotGenuine,
        _ => Standing::Unknown,
    };
    let advice = advise(&[genuine.clone(), of_another.clone(), fake], standing, &facts()).unwrap();
    check(&advice);
    assert_eq!((advice.action, lines(&advice, Action::Close)), (Action::Close, vec!["sudo kill 813"]));
    let note = advice.steps.iter().find(|step| step.action == Action::Close).unwrap().note.clone().unwrap();
    assert!(note.contains("python3 pid 813") && note.contains("network namespace blue"), "{note}");
    let not_now = |socket: &Socket| if socket.inode == 2 { Standing::Unproved } else { Standing::Unknown };
    let unproved = advise(&[genuine, of_another], not_now, &facts()).unwrap();
    assert_eq!(
        (unproved.action, lines(&unproved, Action::Close).len()),
        (Action::Look, 0),
        "nobody is told to stop what cannot prove itself now, nor another that holds the port elsewhere"
    );
}
