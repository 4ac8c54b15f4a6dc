//! Other systems than Linux, through the crate `listeners`. Compiled, and **untested**: it tells process, address and protocol, and drops a socket
//! whose owner it cannot see, so each answer has a gap that says so.

use super::super::{Ask, Error, Executable, Gap, Hiding, Listening, Namespace, Owner, Process, Protocol, Reach, Socket, TakesIpv4};
use std::sync::Arc;

pub(in super::super) fn listening(port: Option<u16>, _ask: Ask) -> Result<Listening, Error> {
    let all = listeners::get_all().map_err(|cause| Error::Unsupported(cause.to_string()))?;
    let mut found = Listening::default();
    found.gaps.push(Gap::Table {
        path: std::env::consts::OS.to_owned(),
        why: "a socket whose owner this user may not see is not listed on this system".to_owned(),
    });
    for listener in all {
        let (address, number) = (listener.socket.ip(), listener.socket.port());
        if port.is_some_and(|port| port != number) {
            continue;
        }
        let protocol = match listener.protocol {
            listeners::Protocol::TCP => Protocol::Tcp,
            listeners::Protocol::UDP => Protocol::Udp,
        };
        if protocol == Protocol::Tcp && listener.state != listeners::SocketState::Listen {
            continue;
        }
        let owner = if listener.process.pid == 0 && listener.process.name.is_empty() {
            Owner::Hidden { user: None, why: Hiding::NotPermitted, unit: None }
        } else {
            Owner::Processes { processes: vec![Arc::new(process(listener.process))], more: 0, maybe_others: true }
        };
        found.sockets.push(Socket {
            protocol,
            address,
            port: number,
            interface: None,
            inode: 0,
            user: None,
            namespace: Namespace::This,
            takes_ipv4: if address.is_ipv4() { TakesIpv4::Yes } else { TakesIpv4::Unknown },
            reach: Reach::of(address, None, &Namespace::This),
            queue: None,
            owner,
            socket_unit: None,
        });
    }
    Ok(found)
}

fn process(process: listeners::Process) -> Process {
    let executable = (!process.path.is_empty()).then(|| Executable { path: process.path, deleted: false, replaced: None, package: None });
    Process {
        pid: process.pid,
        name: process.name,
        user: None,
        executable,
        command: Vec::new(),
        command_cut: false,
        since: None,
        unit: None,
        container: None,
    }
}
