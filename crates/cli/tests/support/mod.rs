//! Runs the real binary in a folder of its own, without the user's environment, and compares what it says.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::{
    ffi::OsStr,
    io::{BufRead, BufReader, Read, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

/// No step of a test takes longer.
pub const STEP: Duration = Duration::from_secs(60);

/// A temporary directory, gone at the end.
pub struct Folder {
    dir: tempfile::TempDir,
    /// A process in whose mount and network namespaces the binary runs.
    namespace: Option<Child>,
}

impl Folder {
    pub fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), namespace: None }
    }

    /// With a small disk of its own at FOLDER/data, seen only by what runs through [`triquest`] and [`Folder::shell`]. Needs root: without it the
    /// reason is printed and the test is over.
    pub fn with_disk(megabytes: u32) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        std::fs::create_dir(&data).unwrap();
        let script = format!("mount -t tmpfs -o mode=0700,size={megabytes}m tmpfs '{}' && echo mounted && exec sleep 600", data.display());
        let started = Command::new("unshare")
            .args(["-m", "sh", "-c", &script])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let Ok(mut holder) = started else {
            eprintln!("skipped: there is no `unshare` here");
            return None;
        };
        let mut line = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
        if line.trim() != "mounted" {
            let _ = holder.wait();
            eprintln!("skipped: a small disk needs root: {}", rest(holder.stderr.take()).trim());
            return None;
        }
        Some(Self { dir, namespace: Some(holder) })
    }

    /// In a network of its own, 10.99.0.1/24, whose only name server is 127.0.0.1, so that nothing leaves this machine. Needs root: without it the reason is
    /// printed and the test is over.
    pub fn with_network() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("resolv.conf"), "nameserver 127.0.0.1\nsearch nothing.example initech.example\n").unwrap();
        let script = "mount --bind resolv.conf /etc/resolv.conf && ip link set lo up && ip link add tq0 type veth peer name tq1 && \
            ip link set tq1 up && ip addr add 10.99.0.1/24 brd + dev tq0 && ip link set tq0 up && echo ready && exec sleep 600";
        let started = Command::new("unshare")
            .args(["-m", "-n", "sh", "-c", script])
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let Ok(mut holder) = started else {
            eprintln!("skipped: there is no `unshare` here");
            return None;
        };
        let mut line = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
        if line.trim() != "ready" {
            let _ = holder.wait();
            eprintln!("skipped: a network of its own needs root and iproute2: {}", rest(holder.stderr.take()).trim());
            return None;
        }
        Some(Self { dir, namespace: Some(holder) })
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Any program, where the binary runs, killed when it is dropped; without a standard input.
    pub fn start(&self, program: impl AsRef<OsStr>, arguments: &[&str], environment: &[(&str, &str)]) -> std::io::Result<Running> {
        let mut command = self.command(program);
        command.args(arguments).envs(environment.iter().copied()).current_dir(self.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map(Running)
    }

    /// Runs a shell command where the small disk is seen.
    pub fn shell(&self, script: &str) -> bool {
        let mut command = self.command("sh");
        command.args(["-c", script]).current_dir(self.path()).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success()
    }

    fn command(&self, program: impl AsRef<OsStr>) -> Command {
        match &self.namespace {
            None => Command::new(program),
            Some(holder) => {
                let mut command = Command::new("nsenter");
                // Another mount namespace begins in its root, so the folder is entered there.
                command
                    .args(["-t", &holder.id().to_string(), "-m", "-n", "sh", "-c", "cd \"$0\" && exec \"$@\""])
                    .arg(self.path())
                    .arg(program);
                command
            }
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Some(holder) = &mut self.namespace {
            let _ = holder.kill();
            let _ = holder.wait();
        }
    }
}

/// A call of the binary that is being put together.
pub struct Call {
    command: Command,
    input: Vec<u8>,
    folder: PathBuf,
}

/// The binary in this folder with these arguments, a clean environment and no colours.
pub fn triquest<I: AsRef<OsStr>>(folder: &Folder, arguments: impl IntoIterator<Item = I>) -> Call {
    let mut command = folder.command(env!("CARGO_BIN_EXE_triquest-lm"));
    command.args(arguments).current_dir(folder.path()).env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.env("HOME", folder.path()).env("TZ", "UTC").env("TRIQUEST_LM_DATA", folder.path().join("data"));
    Call { command, input: Vec::new(), folder: folder.path().to_owned() }
}

impl Call {
    pub fn input(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.input = bytes.as_ref().to_vec();
        self
    }

    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    pub fn current_dir(mut self, dir: impl AsRef<Path>) -> Self {
        self.command.current_dir(dir);
        self
    }

    /// For what is rarely wanted.
    pub fn command(&mut self) -> &mut Command {
        &mut self.command
    }

    pub fn run(mut self) -> Run {
        let mut child = self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // A program that refuses early closes its input.
        let _ = stdin.write_all(&self.input);
        drop(stdin);
        Run::of(child.wait_with_output().unwrap(), &self.folder)
    }

    /// Starts it and leaves it running, its output as pipes.
    pub fn start(mut self) -> Running {
        Running(self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
    }
}

/// A process of ours that runs, killed when it is dropped.
pub struct Running(Child);

impl From<Child> for Running {
    fn from(child: Child) -> Self {
        Self(child)
    }
}

impl std::ops::Deref for Running {
    type Target = Child;

    fn deref(&self) -> &Child {
        &self.0
    }
}

impl std::ops::DerefMut for Running {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.0
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a run left.
#[derive(Debug)]
pub struct Run {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
    folder: PathBuf,
}

impl Run {
    fn of(output: Output, folder: &Path) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("what the program prints is UTF-8");
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
            folder: folder.to_owned(),
        }
    }

    /// Exit code and both streams, after [`filtered`].
    #[track_caller]
    pub fn expect(&self, code: i32, stdout: &str, stderr: &str) {
        let (out, err) = (filtered(&self.stdout, &self.folder), filtered(&self.stderr, &self.folder));
        assert!(
            (self.code, out.as_str(), err.as_str()) == (code, stdout, stderr),
            "exit code {} (wanted {code})\n--- stdout\n{out}--- wanted\n{stdout}--- stderr\n{err}--- wanted\n{stderr}---",
            self.code
        );
    }

    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!(self.code, 0, "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }
}

/// What differs from run to run, by name: the folder [DIR], server keys [KEY], ports [PORT], process ids [PID], durations [TIME], dates [DATE].
pub fn filtered(text: &str, folder: &Path) -> String {
    let text = text.replace(&*folder.canonicalize().unwrap().to_string_lossy(), "[DIR]").replace(&*folder.to_string_lossy(), "[DIR]");
    let mut out = String::new();
    let mut rest = text.as_str();
    while let Some(first) = rest.chars().next() {
        let digits = |text: &str| text.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
        let before_is_word = out.ends_with(|c: char| c.is_ascii_alphanumeric() || c == '-');
        let count = digits(rest);
        let after = &rest[count..];
        let unit = [" ms", " s", " min", " h", " d"]
            .into_iter()
            .find(|unit| after.starts_with(unit) && !after[unit.len()..].starts_with(char::is_alphanumeric));
        if let Some(key) = rest.strip_prefix("tqs1:") {
            let hex = key.bytes().take_while(|byte| byte.is_ascii_hexdigit() || *byte == b'.').count();
            out.push_str("[KEY]");
            rest = &key[hex..];
        } else if count > 1 && (out.ends_with("127.0.0.1:") || (out.ends_with("TCP ") && count > 3) || after.starts_with("@127.0.0.1")) {
            out.push_str("[PORT]");
            rest = after;
        } else if out.ends_with(", since ") {
            out.push_str("[TIME]");
            rest = &rest[rest.find(')').unwrap_or(rest.len())..];
        } else if count > 0 && out.ends_with("pid ") {
            out.push_str("[PID]");
            rest = after;
        } else if let (true, false, Some(unit)) = (count > 0, before_is_word, unit) {
            out.push_str("[TIME]");
            rest = &after[unit.len()..];
        } else if !before_is_word && rest.len() >= 10 && rest.is_char_boundary(10) && is_date(&rest.as_bytes()[..10]) {
            out.push_str("[DATE]");
            rest = &rest[10..];
        } else if count > 0 {
            out.push_str(&rest[..count]);
            rest = after;
        } else {
            out.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    out
}

fn is_date(bytes: &[u8]) -> bool {
    bytes.iter().enumerate().all(|(place, byte)| if place == 4 || place == 7 { *byte == b'-' } else { byte.is_ascii_digit() })
}

/// `serve` in FOLDER/data on a free port, killed when it is dropped.
pub struct Server {
    child: Running,
    port: u16,
    key: String,
    log: Arc<Mutex<String>>,
}

impl Server {
    pub fn start(folder: &Folder) -> Self {
        Self::start_with(folder, "127.0.0.1:0", &[])
    }

    /// Waits until it says where it listens and what its key is.
    pub fn start_with(folder: &Folder, listen: &str, more: &[&str]) -> Self {
        Self::try_start(folder, listen, more).unwrap_or_else(|log| panic!("the server did not start:\n{log}"))
    }

    pub fn try_start(folder: &Folder, listen: &str, more: &[&str]) -> Result<Self, String> {
        let mut arguments = vec!["serve", "--init", "--listen", listen];
        arguments.extend(more);
        Self::begun(triquest(folder, arguments).start())
    }

    /// Through another program that becomes it, such as `ip netns exec NAME`.
    pub fn start_through(before: &[String], folder: &Folder, listen: &str, more: &[&str]) -> Self {
        let mut arguments = vec!["serve", "--init", "--listen", listen];
        arguments.extend(more);
        let mut call = triquest(folder, arguments);
        let (direct, through) = (call.command(), before.split_first().expect("a program"));
        let mut command = Command::new(through.0);
        command.args(through.1).arg(direct.get_program()).args(direct.get_args()).current_dir(folder.path()).env_clear();
        command.envs(direct.get_envs().filter_map(|(name, value)| Some((name, value?))));
        *call.command() = command;
        Self::begun(call.start()).unwrap_or_else(|log| panic!("the server did not start:\n{log}"))
    }

    fn begun(mut child: Running) -> Result<Self, String> {
        let log = Arc::new(Mutex::new(String::new()));
        let (sender, lines) = std::sync::mpsc::channel();
        let (stderr, kept) = (BufReader::new(child.stderr.take().unwrap()), Arc::clone(&log));
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                kept.lock().unwrap().push_str(&format!("{line}\n"));
                let _ = sender.send(line);
            }
        });
        let until = Instant::now() + STEP;
        let (mut port, mut key) = (None, None);
        while let Ok(line) = lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
            let words: Vec<_> = line.split_whitespace().collect();
            match words.as_slice() {
                ["Serving", address, ..] => port = address.trim_end_matches(',').rsplit(':').next().and_then(|port| port.parse().ok()),
                ["Key", text] => key = Some((*text).to_owned()),
                _ => {}
            }
            if let (Some(port), Some(key)) = (port, key.clone()) {
                return Ok(Self { child, port, key, log });
            }
        }
        let _ = child.kill();
        let _ = child.wait();
        let log = log.lock().unwrap().clone();
        Err(log)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// `1588@127.0.0.1`, with its port.
    pub fn name(&self) -> String {
        format!("{}@127.0.0.1", self.port)
    }

    pub fn key(&self) -> &str {
        &self.key
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has said so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// SIGKILL: no chance to tidy up.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// SIGTERM, and the exit code.
    pub fn stop(mut self) -> Option<i32> {
        Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
        wait(&mut self.child)
    }

    /// The exit code, if it ends by itself within [`STEP`].
    pub fn wait(&mut self) -> Option<i32> {
        self::wait(&mut self.child)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The first line that a process prints; the rest stays to be read.
pub fn first_line_of(child: &mut Child) -> String {
    let mut line = String::new();
    let mut reader = BufReader::new(child.stdout.take().unwrap());
    reader.read_line(&mut line).unwrap();
    child.stdout = Some(reader.into_inner());
    line.trim_end().to_owned()
}

/// Waits for a process, but not for ever.
pub fn wait(child: &mut Child) -> Option<i32> {
    use rustix::{event, process};
    let pid = process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    let process = process::pidfd_open(pid, process::PidfdFlags::empty()).unwrap();
    let timeout = event::Timespec { tv_sec: i64::try_from(STEP.as_secs()).unwrap(), tv_nsec: 0 };
    let ready = event::poll(&mut [event::PollFd::new(&process, event::PollFlags::IN)], Some(&timeout)).unwrap();
    if ready > 0 { child.wait().unwrap().code() } else { None }
}

/// Repeats a question to a process until its answer is yes; panics with `what` after [`STEP`].
#[track_caller]
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + STEP;
    while !is_so() {
        assert!(Instant::now() < end, "{what} did not happen");
    }
}

/// A vendor's key in v.key; its verifier key.
pub fn vendor(folder: &Folder) -> String {
    let run = triquest(folder, ["vendor", "init", "acme.example", "--key", "v.key"]).run().ok();
    let key = run.stdout.split_whitespace().find(|word| word.starts_with("acme.example+")).expect("vendor init prints the verifier key");
    key.to_owned()
}

/// Signs a license for a server key into ID.lic.
pub fn sign(folder: &Folder, id: &str, server: &str, entitlements: &str) {
    let draft = format!("license = \"{id}\"\nlicensee = \"Initech GmbH\"\nservers = [\"{server}\"]\n{entitlements}");
    std::fs::write(folder.path().join("draft.toml"), draft).unwrap();
    triquest(folder, ["license", "sign", "draft.toml", "--key", "v.key", "-o", &format!("{id}.lic")]).run().ok();
}

/// A server with a license of so many seats of `cad`; the server and the verifier key.
pub fn serving(folder: &Folder, seats: u32) -> (Server, String) {
    let key = vendor(folder);
    let server = Server::start(folder);
    sign(folder, "ACME-1", server.key(), &format!("[[entitlement]]\nfeature = \"cad\"\nseats = {seats}\nexpires = 2090-12-31\n"));
    triquest(folder, ["license", "install", "ACME-1.lic"]).run().ok();
    (server, key)
}

/// Everything that a pipe still holds.
pub fn rest(pipe: Option<impl Read>) -> String {
    let mut text = String::new();
    if let Some(mut pipe) = pipe {
        pipe.read_to_string(&mut text).unwrap();
    }
    text
}
