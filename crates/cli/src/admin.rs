//! Talking to the server on this machine, through the Unix socket in its data directory.

use std::{
    fmt::Display,
    io,
    path::{Path, PathBuf},
};

use serde::{Serialize, de::DeserializeOwned};
use triquest_client::admin::{AdminClient, Hangs};
use triquest_ports::advice::quoted;
use triquest_server::{config::default_data_dir, identity::Runtime};
use triquest_wire::{
    ErrorCode, LeaseId, Problem, Retry,
    license::LicenseList,
    status::{LeaseList, LeaseStatus, Status},
};

use crate::{
    failure::{Failure, exit},
    terminal::escape,
};

/// Where the quickstart keeps its server's data, below the folder it was started in.
pub(crate) const QUICKSTART_DATA: &str = "triquest-lm-quickstart/data";
/// Most pages of a list that are read: with full pages, a million leases.
const PAGES_MAX: usize = 1_000;

/// Where the local server keeps its data.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct DataDir {
    /// Data directory of the server on this machine [default: /var/lib/triquest-lm for root, else ~/.local/state/triquest-lm]
    #[arg(long, value_name = "DIR", env = "TRIQUEST_LM_DATA", hide_env_values = true)]
    pub(crate) data: Option<PathBuf>,
}

impl DataDir {
    /// The directory that counts.
    pub(crate) fn path(&self) -> PathBuf {
        self.data.clone().unwrap_or_else(default_data_dir)
    }

    /// The option that names it, with a space before it, for a command that is to be typed; nothing where that finds it by itself.
    pub(crate) fn argument(&self) -> String {
        data_argument(&self.path())
    }

    /// A named directory.
    pub(crate) fn named(path: &Path) -> Self {
        Self { data: Some(path.to_owned()) }
    }
}

/// ` --data DIR` for a command that is to be typed as it stands; nothing for the usual directory.
pub(crate) fn data_argument(path: &Path) -> String {
    if *path == default_data_dir() {
        return String::new();
    }
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    format!(" --data {}", quoted(&path.to_string_lossy()))
}

/// The local server, as its administrator.
pub(crate) struct Admin {
    client: AdminClient,
    data: PathBuf,
}

impl Admin {
    /// Finds the server's socket.
    ///
    /// # Errors
    /// A [`Failure`] that tells apart: no data directory, no server running on it, not permitted.
    pub(crate) fn connect(data: &DataDir) -> Result<Self, Failure> {
        let path = data.path();
        let shown = escape(&path.to_string_lossy()).into_owned();
        let socket = path.join("admin.sock");
        if let Some(failure) = unusable(&path) {
            return Err(failure);
        }
        match AdminClient::connect(&socket) {
            Ok(client) => Ok(Self { client, data: path }),
            Err(cause) if let Some(hangs) = Hangs::in_error(&cause) => Err(hung(&path, hangs)),
            Err(cause) => Err(match cause.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => not_running(&shown, data),
                io::ErrorKind::PermissionDenied => not_permitted(&shown),
                _ => Failure::new(format_args!("cannot reach the server through {shown}/admin.sock: {cause}")),
            }),
        }
    }

    /// `GET`.
    ///
    /// # Errors
    /// What the server refused, or that it went away.
    pub(crate) fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        self.call("GET", path, None)
    }

    /// `POST` of a JSON body.
    ///
    /// # Errors
    /// As for [`Self::get`].
    pub(crate) fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, Failure> {
        self.call("POST", path, Some(serde_json::to_vec(body)?))
    }

    /// `POST` of what an administrator accepts or allows. Some: what the server says where that is so already, which is no fault.
    ///
    /// # Errors
    /// As for [`Self::get`].
    pub(crate) fn accept(&self, path: &str, body: &impl Serialize) -> Result<Option<String>, Failure> {
        let body = serde_json::to_vec(body)?;
        let (status, answer) = self.client.request("POST", path, Some(&body)).map_err(|cause| self.lost(&cause))?;
        if (200..300).contains(&status) {
            return Ok(None);
        }
        match serde_json::from_slice::<Problem>(&answer) {
            Ok(problem) if problem.code == ErrorCode::NothingToDo => Ok(Some(problem.detail)),
            _ => Err(refused(status, &answer)),
        }
    }

    /// `DELETE` with a JSON body.
    ///
    /// # Errors
    /// As for [`Self::get`].
    pub(crate) fn delete<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, Failure> {
        self.call("DELETE", path, Some(serde_json::to_vec(body)?))
    }

    /// A stream of server-sent events.
    ///
    /// # Errors
    /// As for [`Self::get`].
    pub(crate) fn stream(&self, path: &str) -> Result<Box<dyn io::BufRead + Send>, Failure> {
        let (status, mut reader) = self.client.stream(path).map_err(|cause| self.lost(&cause))?;
        if status == 200 {
            return Ok(reader);
        }
        let mut body = Vec::new();
        io::Read::read_to_end(&mut io::Read::take(&mut reader, 65_536), &mut body)?;
        Err(refused(status, &body))
    }

    /// The server's state with all its pools, page by page.
    ///
    /// # Errors
    /// As for [`Self::get`].
    pub(crate) fn status(&self, feature: Option<&str>) -> Result<Status, Failure> {
        let mut query = Query::new("/v1/status");
        query.add("feature", feature);
        let mut status: Status = self.get(query.text())?;
        for _ in 0..PAGES_MAX {
            let Some(after) = status.next.take() else { break };
            let mut next = Query::new("/v1/status");
            next.add("feature", feature);
            next.add("after", Some(&after));
            let page: Status = self.get(next.text())?;
            status.pools.extend(page.pools);
            status.next = page.next;
        }
        Ok(status)
    }

    /// Leases and waiters, page by page, at most about so many.
    ///
    /// # Errors
    /// As for [`Self::get`].
    pub(crate) fn leases(&self, feature: Option<&str>, at_most: usize) -> Result<Vec<LeaseStatus>, Failure> {
        let mut leases = Vec::new();
        let mut after: Option<LeaseId> = None;
        for _ in 0..PAGES_MAX {
            let mut query = Query::new("/v1/leases");
            query.add("feature", feature);
            query.add("after", after.map(|id| id.to_string()).as_deref());
            let page: LeaseList = self.get(query.text())?;
            leases.extend(page.leases);
            after = page.next;
            if after.is_none() || leases.len() >= at_most {
                break;
            }
        }
        Ok(leases)
    }

    /// The installed licenses, page by page.
    ///
    /// # Errors
    /// As for [`Self::get`].
    pub(crate) fn licenses(&self) -> Result<LicenseList, Failure> {
        let mut list: LicenseList = self.get("/v1/licenses")?;
        for _ in 0..PAGES_MAX {
            let Some(after) = list.next.take() else { break };
            let page: LicenseList = self.get(&format!("/v1/licenses?after={after}"))?;
            list.licenses.extend(page.licenses);
            list.next = page.next;
        }
        Ok(list)
    }

    fn call<T: DeserializeOwned>(&self, method: &str, path: &str, body: Option<Vec<u8>>) -> Result<T, Failure> {
        let (status, answer) = self.client.request(method, path, body.as_deref()).map_err(|cause| self.lost(&cause))?;
        if !(200..300).contains(&status) {
            return Err(refused(status, &answer));
        }
        serde_json::from_slice(&answer).map_err(|cause| {
            Failure::new(format_args!("the server's answer to {method} {} cannot be read: {cause}", escape(path)))
                .hint("is the server of another version than this program? compare `triquest-lm --version` with `triquest-lm status`")
        })
    }

    fn lost(&self, cause: &io::Error) -> Failure {
        let shown = escape(&self.data.to_string_lossy()).into_owned();
        if let Some(hangs) = Hangs::in_error(cause) {
            return hung(&self.data, hangs);
        }
        let failure = match cause.kind() {
            io::ErrorKind::PermissionDenied => return not_permitted(&shown),
            io::ErrorKind::TimedOut => Failure::new(format_args!("the server on {shown} lives and has not answered in time")),
            _ => Failure::new(format_args!("the server on {shown} went away: {cause}")),
        };
        failure.hint("whether it took effect is not known; look at its log, then ask again").with_code(exit::LATER)
    }
}

/// The data directories of servers that run on this machine, as far as this user can see, with what each says of itself if its owner asks: the one that is
/// usual here, and those of all sockets that the kernel lists.
pub(crate) fn running_servers() -> Vec<(PathBuf, Option<Runtime>)> {
    // Of a folder that this user may not look into, only the kernel says that a server runs on it.
    let mut folders = vec![(default_data_dir(), false)];
    let listed = std::fs::read_to_string("/proc/net/unix").unwrap_or_default();
    // A server that was given a relative path has bound a relative one.
    let starts: Vec<PathBuf> =
        processes_of_ours().into_iter().filter_map(|pid| std::fs::read_link(format!("/proc/{pid}/cwd")).ok()).collect();
    for socket in
        listed.lines().filter_map(|line| line.split_whitespace().nth(7)).map(Path::new).filter(|path| path.ends_with("admin.sock"))
    {
        let Some(folder) = socket.parent() else { continue };
        if folder.is_absolute() {
            folders.push((folder.to_owned(), true));
        } else {
            folders.extend(starts.iter().map(|start| (start.join(folder), false)));
        }
    }
    folders.sort_by(|a, b| (&a.0, b.1).cmp(&(&b.0, a.1)));
    folders.dedup_by(|a, b| a.0 == b.0);
    let runs = |(folder, is_listed): &(PathBuf, bool)| match AdminClient::connect(&folder.join("admin.sock")) {
        Ok(_) => true,
        Err(cause) if Hangs::in_error(&cause).is_some() => true,
        Err(cause) => *is_listed && cause.kind() == io::ErrorKind::PermissionDenied,
    };
    folders.into_iter().filter(runs).map(|(folder, _)| (folder.clone(), Runtime::read(&folder))).collect()
}

fn processes_of_ours() -> Vec<i32> {
    let numbers = std::fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers.filter(|pid| crate::sys::name_of(*pid) == "triquest-lm").collect()
}

/// A reason that an administrator has to give.
pub(crate) fn reason(text: &str) -> Result<String, String> {
    if text.trim().is_empty() { Err("say why, for the record".to_owned()) } else { Ok(text.to_owned()) }
}

/// A path with a query whose values are percent-encoded.
pub(crate) struct Query(String);

impl Query {
    /// A path without a query.
    pub(crate) fn new(path: &str) -> Self {
        Self(path.to_owned())
    }

    /// Adds `name=value` if there is a value.
    pub(crate) fn add(&mut self, name: &str, value: Option<&str>) {
        let Some(value) = value else { return };
        self.0.push(if self.0.contains('?') { '&' } else { '?' });
        self.0.push_str(name);
        self.0.push('=');
        self.0.push_str(&percent_encoded(value));
    }

    /// The whole.
    pub(crate) fn text(&self) -> &str {
        &self.0
    }
}

fn percent_encoded(value: &str) -> String {
    let mut encoded = String::new();
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// Why a data directory cannot be looked into, if so.
pub(crate) fn unusable(path: &Path) -> Option<Failure> {
    let shown = escape(&path.to_string_lossy()).into_owned();
    let cause = std::fs::symlink_metadata(path.join(".")).err()?;
    Some(match cause.kind() {
        io::ErrorKind::NotFound => no_data(path, &shown),
        io::ErrorKind::PermissionDenied => not_permitted(&shown),
        _ => Failure::new(format_args!("cannot look into the data directory {shown}: {cause}")),
    })
}

/// The command that makes a new server there: a named directory becomes one only when told to.
pub(crate) fn first_start(path: &Path) -> String {
    if path == default_data_dir() {
        return "triquest-lm serve".to_owned();
    }
    format!("triquest-lm serve --init --data {}", escape(&path.to_string_lossy()))
}

fn no_data(path: &Path, shown: &str) -> Failure {
    let failure = Failure::new(format_args!("there is no data directory {shown}, so no server of this machine keeps its data there"));
    if Path::new(QUICKSTART_DATA).is_dir() {
        return failure.hint(format_args!("the quickstart's server is here: --data {QUICKSTART_DATA}"));
    }
    failure.hint(format_args!("name the server's directory with `--data DIR`, or start a new server: {}", first_start(path)))
}

fn not_running(shown: &str, data: &DataDir) -> Failure {
    // A directory in which no server ever was becomes one only when told to.
    let lacks =
        |name: &str| matches!(std::fs::symlink_metadata(data.path().join(name)), Err(cause) if cause.kind() == io::ErrorKind::NotFound);
    let init = if data.data.is_some() && lacks("journal.sqlite") && lacks("server.key") { " --init" } else { "" };
    let flag = if data.data.is_some() { format!("{init} --data {shown}") } else { String::new() };
    Failure::new(format_args!("no server is running on {shown}"))
        .hint(format_args!("start it: triquest-lm serve{flag}   (as a service: systemctl start triquest-lm)"))
        .with_code(exit::LATER)
}

/// A server that is stopped, or that hangs.
fn hung(data: &Path, hangs: Hangs) -> Failure {
    let pid = Runtime::read(data).map(|runtime| runtime.pid);
    let process = pid.map_or_else(String::new, |pid| format!(" (pid {pid})"));
    let asked = if hangs.was_asked { "whether it took effect is not known" } else { "nothing was asked of it" };
    Failure::new(format_args!("a server runs on {}{process} and does not answer; {asked}", escape(&data.to_string_lossy())))
        .hint(let_it_go_on(pid))
        .with_code(exit::LATER)
}

/// What to do about a server that does not answer.
pub(crate) fn let_it_go_on(pid: Option<u32>) -> String {
    let look = pid.map_or_else(String::new, |pid| {
        format!("`ps -o stat= -p {pid}` shows T if it is stopped: `kill -CONT {pid}` lets it go on; else ")
    });
    format!("{look}restart it (as a service: systemctl restart triquest-lm); leases outlive a restart")
}

fn not_permitted(shown: &str) -> Failure {
    Failure::new(format_args!("you may not administer the server on {shown}"))
        .row("may", "root, the user that the server runs as, members of its `admin_group`")
        .hint("repeat the command with sudo, or ask an administrator to add you to that group")
        .with_code(exit::NEVER)
}

/// A problem document as a failure; anything else as the status it is.
pub(crate) fn refused(status: u16, body: &[u8]) -> Failure {
    match serde_json::from_slice::<Problem>(body) {
        Ok(problem) => failure_of(&problem),
        Err(_) => Failure::new(format_args!("the server answered with status {status} and no explanation"))
            .hint("is this really a TriQuest LM server? triquest-lm doctor"),
    }
}

/// A problem as a failure: its detail, its hint, and whether later may help.
pub(crate) fn failure_of(problem: &Problem) -> Failure {
    let message: &dyn Display = if problem.detail.is_empty() { &problem.title } else { &problem.detail };
    let code = match (problem.code, problem.retry) {
        (ErrorCode::Forbidden, _) => exit::NEVER,
        (_, Retry::SameId | Retry::Later) => exit::LATER,
        _ => exit::FAILURE,
    };
    Failure::new(escape(&message.to_string())).hint(escape(&problem.hint)).with_code(code)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_query_encodes_what_a_path_may_not_hold() {
        let mut query = Query::new("/v1/status");
        query.add("feature", Some("a b&c=é"));
        query.add("after", None);
        query.add("limit", Some("3"));
        assert_eq!(query.text(), "/v1/status?feature=a%20b%26c%3D%C3%A9&limit=3");
    }

    #[test]
    fn a_problem_keeps_its_hint_and_says_by_its_code_whether_later_helps() {
        let busy = failure_of(&Problem::new(ErrorCode::Overloaded, "too\x1b[31m many").hint("ask again"));
        assert_eq!((busy.message(), busy.next_step(), busy.code()), ("too\\u{1b}[31m many", Some("ask again"), exit::LATER));
        // As whoever asks for a seat is told: what is not known may be answered otherwise later.
        assert_eq!(failure_of(&Problem::new(ErrorCode::LicenseUnknown, "")).code(), exit::LATER);
        assert_eq!(failure_of(&Problem::new(ErrorCode::Forbidden, "no")).code(), exit::NEVER);
        assert_eq!(failure_of(&Problem::new(ErrorCode::NotFound, "")).message(), "there is no such thing here");
        assert!(refused(502, b"<html>").message().contains("502"));
    }
}
