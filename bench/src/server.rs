//! The process that is measured: started here, on the loopback, with a folder of its own, and stopped with its handle.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};
use triquest_license::{Note, ServerKey};

/// How long a start may take.
const READY_WITHIN: Duration = Duration::from_secs(120);

/// An administrator waits for an answer at most so long.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// A server process.
pub(crate) struct Process {
    child: Child,
    address: SocketAddr,
}

impl Process {
    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// CPU time of all its threads so far.
    pub(crate) fn cpu(&self) -> Duration {
        cpu(self.child.id())
    }

    /// Resident memory in bytes.
    pub(crate) fn resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
        line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).unwrap_or_default() * 1024
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        Ok(kill_process(Pid::from_child(&self.child), signal)?)
    }

    /// How it ended, if it did by itself.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Ends it at once, as a crash would.
    pub(crate) fn crash(mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Asks it to end, and waits; its exit must be clean.
    pub(crate) fn stop(mut self) -> anyhow::Result<()> {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::TERM)?;
        let status = self.child.wait()?;
        if !status.success() {
            bail!("the server did not stop cleanly: {status}");
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Nothing that was started here outlives this process's interest in it. Both fail harmlessly if it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// CPU time of all threads of a process: the sum of what the scheduler counts, in nanoseconds.
fn cpu(pid: u32) -> Duration {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let nanos = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("schedstat")).ok()).filter_map(|text| {
        let first = text.split_whitespace().next()?.parse::<u64>().ok()?;
        Some(first)
    });
    Duration::from_nanos(nanos.sum())
}

/// The empty floor: this same program, answering an empty 200.
pub(crate) fn start_floor() -> anyhow::Result<Process> {
    let mut child = Command::new(std::env::current_exe()?)
        .arg("floor-empty")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("the floor did not start")?;
    let mut line = String::new();
    let output = child.stdout.take().context("the floor has no output")?;
    BufReader::new(output).read_line(&mut line)?;
    let address = line.trim().parse().with_context(|| format!("the floor said {line:?} instead of its address"))?;
    Ok(Process { child, address })
}

/// What measures is one address, and asks and is denied often: no such limit is what is measured.
pub(crate) const MEASURING: &str = "[limits]\nconnections_per_address = 20000\ndenials_burst = 100000\ndenials_per_second = 100000\nnew_ids_burst = 10000000\nnew_ids_per_second = 100000\nreads_burst = 10000000\nreads_per_second = 100000\n[log]\nlevel = \"warn\"\n";

/// The license server under measurement, with its data directory.
pub(crate) struct Place {
    program: PathBuf,
    folder: PathBuf,
    moved: AtomicBool,
    /// Removed at the end, unless the place was named.
    _temporary: Option<tempfile::TempDir>,
}

impl Place {
    /// A new place below `parent`, or below the system's folder for temporary files.
    pub(crate) fn new(program: Option<&Path>, parent: Option<&Path>) -> anyhow::Result<Self> {
        let beside = std::env::current_exe()?.with_file_name("triquest-lm");
        let program = program.map_or(beside, Path::to_owned);
        if !program.is_file() {
            bail!("{} is not there; build it: cargo build --release --locked --bin triquest-lm --bin triquest-bench", program.display());
        }
        let temporary = match parent {
            Some(parent) => tempfile::Builder::new().prefix("triquest-bench-").tempdir_in(parent),
            None => tempfile::Builder::new().prefix("triquest-bench-").tempdir(),
        }?;
        let folder = temporary.path().to_owned();
        std::fs::write(folder.join("config.toml"), MEASURING)?;
        Ok(Self { program, folder, moved: AtomicBool::new(false), _temporary: Some(temporary) })
    }

    /// Another configuration than that for measuring, from the next start on.
    pub(crate) fn configure(&self, text: &str) -> anyhow::Result<()> {
        Ok(std::fs::write(self.folder.join("config.toml"), text)?)
    }

    /// The data directory.
    pub(crate) fn data(&self) -> PathBuf {
        if self.moved.load(Ordering::Relaxed) { self.elsewhere() } else { self.folder.join("data") }
    }

    /// Where a backup may be brought back to.
    pub(crate) fn elsewhere(&self) -> PathBuf {
        self.folder.join("restored")
    }

    /// Where a copy of the data directory may lie.
    pub(crate) fn copy(&self) -> PathBuf {
        self.folder.join("copy")
    }

    /// From now on [`Place::elsewhere`] is the data directory.
    pub(crate) fn move_there(&self) {
        self.moved.store(true, Ordering::Relaxed);
    }

    /// What the last start has said.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("server.log")).unwrap_or_default()
    }

    /// The program, for its other commands about this place.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.env("TRIQUEST_LM_DATA", self.data()).env_remove("TRIQUEST_LM_SERVER").stdin(Stdio::null());
        command
    }

    /// Starts the server on a free port, and returns once it is ready, with the time that took.
    pub(crate) async fn start(&self) -> anyhow::Result<(Process, Duration)> {
        let runtime_file = self.data().join("server.json");
        let _ = std::fs::remove_file(&runtime_file);
        let log = std::fs::File::create(self.folder.join("server.log"))?;
        let began = Instant::now();
        let mut command = self.command();
        command.arg("serve").arg("--config").arg(self.folder.join("config.toml"));
        command.arg("--data").arg(self.data()).args(["--listen", "127.0.0.1:0"]);
        if !self.data().join("journal.sqlite").exists() {
            command.arg("--init");
        }
        let mut child =
            command.stdout(Stdio::null()).stderr(log).spawn().with_context(|| format!("{} did not start", self.program.display()))?;
        loop {
            if let Some(status) = child.try_wait()? {
                bail!("the server ended with {status}: {}", self.log());
            }
            if let Some(address) = self.fact("addresses").and_then(|list| list.get(0)?.as_str()?.parse().ok())
                && ready(address).await
            {
                return Ok((Process { child, address }, began.elapsed()));
            }
            if began.elapsed() > READY_WITHIN {
                let _ = child.kill();
                let _ = child.wait();
                bail!("the server was not ready within {READY_WITHIN:?}: {}", self.log());
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    fn fact(&self, name: &str) -> Option<serde_json::Value> {
        let text = std::fs::read_to_string(self.data().join("server.json")).ok()?;
        serde_json::from_str::<serde_json::Value>(&text).ok()?.get(name).cloned()
    }

    /// The running server's key, which licenses name.
    pub(crate) fn server_key(&self) -> anyhow::Result<ServerKey> {
        let key = self.fact("server_key").context("the server has not written its key")?;
        key.as_str().context("the server's key is no text")?.parse().map_err(|error| anyhow::anyhow!("{error}"))
    }

    /// Installs a license as an administrator of this machine does.
    pub(crate) fn install(&self, note: &Note) -> anyhow::Result<()> {
        let license = String::from_utf8(note.to_file_bytes())?;
        let request = triquest_wire::license::InstallRequest { license, reason: "to be measured".into() };
        let body = serde_json::to_vec(&request)?;
        let (status, answer) = self.administer("POST", "/v1/licenses", &body)?;
        if !matches!(status, 200 | 201) {
            bail!("the license was not installed: {answer}");
        }
        Ok(())
    }

    /// Asks the server's own socket, as an administrator of this machine; status and body.
    pub(crate) fn administer(&self, method: &str, path: &str, body: &[u8]) -> anyhow::Result<(u16, String)> {
        let mut socket = UnixStream::connect(self.data().join("admin.sock")).context("the server's own socket")?;
        socket.set_read_timeout(Some(ANSWER_WITHIN))?;
        socket.set_write_timeout(Some(ANSWER_WITHIN))?;
        write!(
            socket,
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
            body.len()
        )?;
        socket.write_all(body)?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").context("the server's own socket gave half an answer")?;
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).context("no status line")?;
        let length = head.lines().filter_map(|line| line.split_once(':')).find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
        if length.is_some_and(|(_, length)| length.trim().parse() != Ok(body.len())) {
            bail!("the server's own socket gave half an answer");
        }
        Ok((status, body.to_owned()))
    }

    /// Bytes of the journal on disk.
    pub(crate) fn journal_bytes(&self) -> u64 {
        ["journal.sqlite", "journal.sqlite-wal"]
            .iter()
            .filter_map(|name| std::fs::metadata(self.data().join(name)).ok())
            .map(|metadata| metadata.len())
            .sum()
    }
}

async fn ready(address: SocketAddr) -> bool {
    let Ok(tls) = crate::client::tls() else { return false };
    match crate::client::Connection::open(&tls, address).await {
        // On a full disk it says so and serves whom it can.
        Ok(mut connection) => matches!(connection.call("GET", "/readyz", b"").await, Ok(200 | 507)),
        Err(_) => false,
    }
}
