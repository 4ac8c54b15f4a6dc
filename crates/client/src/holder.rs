//! Who asks, as far as this machine tells. All of it is a claim: the server marks what it observed itself.

use std::{
    env,
    ffi::{OsStr, OsString},
    fs,
    os::unix::ffi::OsStrExt as _,
    path::Path,
};

use triquest_wire::{lease::HolderClaim, limits::HOLDER_FIELD_BYTES_MAX, text};

/// Batch systems by the variable that holds the job's id.
const BATCH_JOBS: [(&str, &str); 3] = [("SLURM_JOB_ID", "slurm"), ("PBS_JOBID", "pbs"), ("LSB_JOBID", "lsf")];

/// Looks at the environment and the system.
pub(crate) fn detect() -> HolderClaim {
    detect_from(&|name| env::var_os(name))
}

fn detect_from(environment: &dyn Fn(&str) -> Option<OsString>) -> HolderClaim {
    let variable: &dyn Fn(&str) -> Option<String> = &|name| tidy_os(&environment(name)?);
    let job = BATCH_JOBS.iter().find_map(|(name, system)| Some(format!("{system}:{}", variable(name)?)));
    let wayland = variable("WAYLAND_DISPLAY");
    let x11 = variable("DISPLAY");
    let ssh = variable("SSH_CONNECTION").is_some() || variable("SSH_TTY").is_some();
    let session = if job.is_some() {
        "batch"
    } else if variable("XRDP_SESSION").is_some() || variable("XRDP_SOCKET_PATH").is_some() {
        "rdp"
    } else if ssh {
        "ssh"
    } else if wayland.is_some() {
        "wayland"
    } else if x11.is_some() {
        "x11"
    } else {
        "local"
    };
    let display = x11.or(wayland).or_else(|| variable("SSH_TTY")).or_else(terminal);
    HolderClaim {
        user: user(variable).and_then(tidy),
        host: tidy(rustix::system::uname().nodename().to_string_lossy().into_owned()),
        display: display.and_then(tidy),
        session: Some(session.into()),
        container: container(variable).and_then(tidy),
        process: tidy(process()),
        job: job.and_then(tidy),
        project: variable("TRIQUEST_LM_PROJECT").and_then(tidy),
    }
}

/// As the server will write it.
pub(crate) fn tidy(text: String) -> Option<String> {
    let tidied = text::tidy(&text, HOLDER_FIELD_BYTES_MAX);
    (!tidied.is_empty()).then_some(tidied)
}

/// The same for a word of the system, which may be any bytes.
fn tidy_os(text: &OsStr) -> Option<String> {
    let tidied = text::tidy_bytes(text.as_bytes(), HOLDER_FIELD_BYTES_MAX);
    (!tidied.is_empty()).then_some(tidied)
}

/// A table of the system. A line in it that is no text hides no other.
fn table(path: &str) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}

/// The account of the effective user id; the environment's word only if the system's table of users does not have it (a directory service).
fn user(variable: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    let uid = rustix::process::geteuid().as_raw();
    let listed = table("/etc/passwd").lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    });
    listed.or_else(|| variable("USER")).or_else(|| variable("LOGNAME")).or_else(|| Some(format!("uid:{uid}")))
}

fn terminal() -> Option<String> {
    let name = rustix::termios::ttyname(std::io::stdin(), Vec::new()).ok()?;
    Some(name.to_string_lossy().into_owned())
}

fn process() -> String {
    let pid = std::process::id();
    match env::current_exe().ok().as_deref().and_then(Path::file_name) {
        Some(name) => format!("{pid}:{}", name.to_string_lossy()),
        None => pid.to_string(),
    }
}

fn container(variable: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    if let Some(id) = container_in_cgroup(&table("/proc/self/cgroup")) {
        return Some(id);
    }
    let inside = Path::new("/.dockerenv").exists() || Path::new("/run/.containerenv").exists() || variable("container").is_some();
    inside.then(|| variable("container").unwrap_or_else(|| "unknown".into()))
}

/// The first twelve digits of the container's id, as `docker ps` and `podman ps` show it.
fn container_in_cgroup(text: &str) -> Option<String> {
    text.split(['/', '\n', '-', '.', ':'])
        .find(|part| part.len() == 64 && part.bytes().all(|byte| byte.is_ascii_hexdigit()))
        .map(|id| id[..12].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(variables: &'static [(&'static str, &'static str)]) -> HolderClaim {
        detect_from(&|name| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).into()))
    }

    #[test]
    fn a_batch_job_is_named_by_its_system() {
        assert_eq!(with(&[("SLURM_JOB_ID", "48213"), ("DISPLAY", ":0")]).job.as_deref(), Some("slurm:48213"));
        assert_eq!(with(&[("PBS_JOBID", "9.head")]).job.as_deref(), Some("pbs:9.head"));
        assert_eq!(with(&[("LSB_JOBID", "7")]).session.as_deref(), Some("batch"));
        assert_eq!(with(&[]).job, None);
    }

    #[test]
    fn a_session_is_called_by_how_its_user_came() {
        assert_eq!(with(&[("SSH_TTY", "/dev/pts/4"), ("DISPLAY", "localhost:10.0")]).session.as_deref(), Some("ssh"));
        assert_eq!(with(&[("WAYLAND_DISPLAY", "wayland-0"), ("DISPLAY", ":0")]).session.as_deref(), Some("wayland"));
        assert_eq!(with(&[("DISPLAY", ":0")]).session.as_deref(), Some("x11"));
        assert_eq!(with(&[("DISPLAY", ":0")]).display.as_deref(), Some(":0"));
    }

    #[test]
    fn names_of_the_environment_are_tidied_as_the_server_does() {
        assert_eq!(tidy("a\x1b[31mb\n".into()).as_deref(), Some("a[31mb"));
        assert_eq!(tidy("é".repeat(400)).unwrap().len(), HOLDER_FIELD_BYTES_MAX);
        assert_eq!(tidy(" \n ".into()), None);
        assert_eq!(with(&[("TRIQUEST_LM_PROJECT", "P\u{200b}-2207")]).project.as_deref(), Some("P-2207"));
    }

    #[test]
    fn a_variable_that_is_no_text_is_tidied_as_other_words_are() {
        let strange = |name: &str| match name {
            "TRIQUEST_LM_PROJECT" => Some(OsStr::from_bytes(b"P\xff-2207").to_owned()),
            "DISPLAY" => Some(OsStr::from_bytes(b":\xfe").to_owned()),
            "SLURM_JOB_ID" => Some(OsStr::from_bytes(b"\x80").to_owned()),
            _ => None,
        };
        let claim = detect_from(&strange);
        assert_eq!(claim.project.as_deref(), Some("P\u{fffd}-2207"));
        assert_eq!(claim.display.as_deref(), Some(":\u{fffd}"));
        assert_eq!(claim.job.as_deref(), Some("slurm:\u{fffd}"));
        assert_eq!(claim.session.as_deref(), Some("batch"));
    }

    #[test]
    fn a_container_is_known_by_its_short_id() {
        let id = "0123456789abcdef".repeat(4);
        assert_eq!(container_in_cgroup(&format!("0::/system.slice/docker-{id}.scope")).as_deref(), Some("0123456789ab"));
        assert_eq!(container_in_cgroup("0::/user.slice"), None);
    }
}
