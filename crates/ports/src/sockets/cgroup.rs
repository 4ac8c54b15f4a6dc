//! What the control group of a process tells: its systemd unit and its container. The text is that of `/proc/PID/cgroup`, version 1, 2 or both.

use super::{Container, Manager, Runtime, Unit};

/// A container's id is that long, in hexadecimal digits, with every runtime that gives ids.
const CONTAINER_ID_DIGITS: usize = 64;
/// Longer names are no names of a unit or a container.
const NAME_BYTES_MAX: usize = 255;

/// The unit and the container, as far as they can be told.
pub(super) fn read(text: &str) -> (Option<Unit>, Option<Container>) {
    // hierarchy:controllers:path; systemd's own hierarchy is number 0 in version 2 and `name=systemd` in version 1.
    let paths = || {
        text.lines().filter_map(|line| {
            let mut parts = line.splitn(3, ':');
            Some((parts.next()?, parts.next()?, parts.next()?))
        })
    };
    let of_systemd = paths().filter(|(number, controllers, _)| *number == "0" || *controllers == "name=systemd").map(|(_, _, path)| path);
    let unit = of_systemd.into_iter().find_map(unit);
    let container = paths().find_map(|(_, _, path)| container(path));
    (unit, container)
}

/// The unit of a path like `/user.slice/user-1000.slice/user@1000.service/app.slice/app.service/inner`.
pub(super) fn unit(path: &str) -> Option<Unit> {
    let mut manager = Manager::System;
    let mut slice = None;
    let mut found: Option<Unit> = None;
    for part in path.split('/').filter(|part| !part.is_empty() && part.len() <= NAME_BYTES_MAX) {
        // systemd puts `_` before a name that the kernel would take for a file of its own.
        let name = part.strip_prefix('_').unwrap_or(part);
        if let Some(uid) = found.as_ref().and_then(user_manager) {
            if name.ends_with(".slice") {
                slice = Some(name.to_owned());
            } else if is_unit(name) {
                manager = Manager::User { uid };
                found = Some(Unit { name: name.to_owned(), manager, slice: slice.take() });
            }
        } else if found.is_none() && name.ends_with(".slice") {
            slice = Some(name.to_owned());
        } else if found.is_none() && is_unit(name) {
            found = Some(Unit { name: name.to_owned(), manager, slice: slice.take() });
        }
    }
    found
}

/// `user@1000.service` runs the units of a user.
fn user_manager(unit: &Unit) -> Option<u32> {
    (unit.manager == Manager::System).then(|| unit.name.strip_prefix("user@")?.strip_suffix(".service")?.parse().ok())?
}

fn is_unit(name: &str) -> bool {
    [".service", ".scope", ".socket", ".mount", ".swap"].iter().any(|kind| name.len() > kind.len() && name.ends_with(kind))
}

/// The innermost container that a path names.
fn container(path: &str) -> Option<Container> {
    let kubernetes = path.contains("kubepods");
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && part.len() <= NAME_BYTES_MAX).collect();
    let mut found = None;
    for (place, part) in parts.iter().enumerate() {
        let before = place.checked_sub(1).map_or("", |before| parts[before]);
        if let Some((runtime, id)) = named(before, part) {
            found = Some(Container { runtime, id: id.to_owned(), kubernetes });
        }
    }
    found
}

fn named<'a>(before: &str, part: &'a str) -> Option<(Runtime, &'a str)> {
    let bare = part.strip_suffix(".scope").unwrap_or(part);
    let with_id = [
        ("cri-containerd-", Runtime::Containerd),
        ("crio-", Runtime::CriO),
        ("docker-", Runtime::Docker),
        ("libpod-", Runtime::Podman),
        ("nerdctl-", Runtime::Containerd),
    ];
    for (prefix, runtime) in with_id {
        if let Some(id) = bare.strip_prefix(prefix).filter(|id| is_id(id)) {
            return Some((runtime, id));
        }
    }
    // `system.slice:docker:ID` and `kubepods-besteffort-podUID.slice:cri-containerd:ID`.
    if let Some((rest, id)) = bare.rsplit_once(':').filter(|(_, id)| is_id(id)) {
        let runtime = match rest.rsplit(':').next() {
            Some("cri-containerd" | "nerdctl") => Runtime::Containerd,
            Some("crio") => Runtime::CriO,
            Some("docker") => Runtime::Docker,
            Some("libpod") => Runtime::Podman,
            _ => Runtime::Unknown,
        };
        return Some((runtime, id));
    }
    if is_id(bare) {
        let runtime = match before {
            "docker" => Runtime::Docker,
            "libpod_parent" => Runtime::Podman,
            _ => Runtime::Unknown,
        };
        return Some((runtime, bare));
    }
    let lxc = ["lxc.payload.", "lxc.payload/"].iter().find_map(|prefix| part.strip_prefix(prefix));
    if let Some(name) = lxc.or((matches!(before, "lxc" | "lxc.payload")).then_some(part)).filter(|name| !name.is_empty()) {
        return Some((Runtime::Lxc, name));
    }
    let nspawn = part.strip_prefix("machine-").and_then(|name| name.strip_suffix(".scope")).filter(|_| before == "machine.slice");
    let nspawn = nspawn.or_else(|| part.strip_prefix("systemd-nspawn@")?.strip_suffix(".service"));
    nspawn.filter(|name| !name.is_empty()).map(|name| (Runtime::Nspawn, name))
}

fn is_id(text: &str) -> bool {
    text.len() == CONTAINER_ID_DIGITS && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn check(text: &str, unit: Option<(&str, Manager, Option<&str>)>, container: Option<(Runtime, &str, bool)>) {
        let (found_unit, found_container) = read(text);
        let found_unit = found_unit.as_ref().map(|unit| (unit.name.as_str(), unit.manager, unit.slice.as_deref()));
        assert_eq!(found_unit, unit, "{text}");
        let found_container = found_container.as_ref().map(|found| (found.runtime, found.id.as_str(), found.kubernetes));
        assert_eq!(found_container, container, "{text}");
    }

    #[test]
    fn units_of_the_system_are_read_from_version_two_and_version_one() {
        let ssh = Some(("ssh.service", Manager::System, Some("system.slice")));
        check("0::/system.slice/ssh.service\n", ssh, None);
        check("12:pids:/system.slice/ssh.service\n1:name=systemd:/system.slice/ssh.service\n0::/\n", ssh, None);
        check(
            "0::/system.slice/system-getty.slice/getty@tty1.service",
            Some(("getty@tty1.service", Manager::System, Some("system-getty.slice"))),
            None,
        );
        check("0::/init.scope\n", Some(("init.scope", Manager::System, None)), None);
        check("0::/system.slice/_cgroup.service", Some(("cgroup.service", Manager::System, Some("system.slice"))), None);
        check("0::/system.slice/docker.service/supervisor", Some(("docker.service", Manager::System, Some("system.slice"))), None);
    }

    #[test]
    fn units_and_sessions_of_a_user_are_told_from_those_of_the_system() {
        check(
            "0::/user.slice/user-1000.slice/user@1000.service/app.slice/web.service",
            Some(("web.service", Manager::User { uid: 1000 }, Some("app.slice"))),
            None,
        );
        check("0::/user.slice/user-1000.slice/session-3.scope", Some(("session-3.scope", Manager::System, Some("user-1000.slice"))), None);
        check("0::/user.slice/user-7.slice/user@7.service/init.scope", Some(("init.scope", Manager::User { uid: 7 }, None)), None);
    }

    #[test]
    fn containers_of_every_runtime_are_named() {
        let scope = format!("docker-{ID}.scope");
        check(
            &format!("0::/system.slice/{scope}"),
            Some((&scope, Manager::System, Some("system.slice"))),
            Some((Runtime::Docker, ID, false)),
        );
        check(&format!("4:memory:/docker/{ID}\n0::/\n"), None, Some((Runtime::Docker, ID, false)));
        let scope = format!("libpod-{ID}.scope");
        check(
            &format!("0::/machine.slice/{scope}/container"),
            Some((&scope, Manager::System, Some("machine.slice"))),
            Some((Runtime::Podman, ID, false)),
        );
        let scope = format!("cri-containerd-{ID}.scope");
        check(
            &format!("0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1_2.slice/{scope}"),
            Some((&scope, Manager::System, Some("kubepods-burstable-pod1_2.slice"))),
            Some((Runtime::Containerd, ID, true)),
        );
        check(&format!("0::/kubepods/besteffort/podabc/{ID}"), None, Some((Runtime::Unknown, ID, true)));
        check(&format!("0::/kubepods-x.slice:cri-containerd:{ID}"), None, Some((Runtime::Containerd, ID, true)));
        check("0::/lxc.payload.web1", None, Some((Runtime::Lxc, "web1", false)));
        check("4:memory:/lxc/web1/user.slice", None, Some((Runtime::Lxc, "web1", false)));
        check(
            "0::/machine.slice/machine-deb.scope",
            Some(("machine-deb.scope", Manager::System, Some("machine.slice"))),
            Some((Runtime::Nspawn, "deb", false)),
        );
    }

    #[test]
    fn a_process_in_no_unit_and_no_container_has_neither() {
        check("0::/\n", None, None);
        check("9:name=systemd:/\n4:memory:/process_api/0123\n0::/\n", None, None);
        check("", None, None);
        check("nonsense\n0::\n0\n", None, None);
        check("0::/../../other.service/x", Some(("other.service", Manager::System, None)), None);
    }

    #[test]
    fn hostile_names_are_carried_as_they_are() {
        let (unit, _) = read("0::/system.slice/\u{1b}]52;c;x\u{7} $(reboot)*.service\n");
        assert_eq!(unit.unwrap().name, "\u{1b}]52;c;x\u{7} $(reboot)*.service");
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "([0-9]{1,2}:(name=systemd)?:(/[_a-z@:.\u{e9}-]{0,20}(slice|scope|service)?){0,6}\n?){0,4}|\\PC{0,200}") {
            let _ = read(&text);
        }
    }
}
