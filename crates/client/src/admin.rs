//! Administration of a server on this machine: HTTP over the Unix socket in its data directory. The server knows its caller from the kernel
//! (peer credentials), so nothing is sent to prove who asks.

use std::{
    fmt, io,
    os::unix::{fs::FileTypeExt, net::UnixStream},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use serde::{Serialize, de::DeserializeOwned};
use triquest_wire::{Problem, limits::ANSWER_BYTES_MAX};
use ureq::{
    Agent,
    unversioned::{
        resolver::{ResolvedSocketAddrs, Resolver},
        transport::{Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, ShutdownHandle, Transport},
    },
};

use crate::{
    limits::{ADMIN_BACKUP_MS_MAX, ADMIN_CHANGE_MS_MAX, ADMIN_READ_MS_MAX, ADMIN_SILENT_MS_MAX, ANSWER_HEADER_BYTES_MAX},
    transport::{io_error, read_body, run_json},
};

/// A connection to a local server's socket.
#[derive(Clone)]
pub struct AdminClient {
    agent: Agent,
    socket: PathBuf,
    /// So long may the server be silent before it is looked at whether it lives, and so long has it to show that.
    patience: Duration,
}

/// A server runs there and does not answer: it is stopped, or it hangs. It is inside of an [`io::Error`] of the kind `TimedOut`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a server runs there and does not answer")]
pub struct Hangs {
    /// It had been asked already when it began to hang: whether that took effect is not known. Else nothing was asked of it.
    pub was_asked: bool,
}

impl Hangs {
    /// What an error says of that, if anything.
    #[must_use]
    pub fn in_error(error: &io::Error) -> Option<Self> {
        error.get_ref()?.downcast_ref().copied()
    }
}

impl From<Hangs> for io::Error {
    fn from(hangs: Hangs) -> Self {
        Self::new(io::ErrorKind::TimedOut, hangs)
    }
}

/// Why an administrative call failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdminError {
    /// The answer is not of the expected form.
    #[error("the server's answer cannot be read: {0}")]
    Answer(#[from] serde_json::Error),
    /// The socket.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The server refused.
    #[error("{}", .0.detail)]
    Refused(Box<Problem>),
    /// Another status without an explanation.
    #[error("the server answered with status {0} and no explanation")]
    Status(u16),
}

impl AdminClient {
    /// Finds the socket and tries it once.
    ///
    /// # Errors
    /// `NotFound` if there is none, `ConnectionRefused` if no server listens, `PermissionDenied` if this user may not connect, `InvalidInput` if
    /// the path is no socket, [`Hangs`] if so many connections wait there that the kernel takes no more.
    pub fn connect(socket: &Path) -> io::Result<Self> {
        Self::with_patience(socket, Duration::from_millis(ADMIN_SILENT_MS_MAX))
    }

    fn with_patience(socket: &Path, patience: Duration) -> io::Result<Self> {
        // A link could lead to another server's socket.
        if !std::fs::symlink_metadata(socket)?.file_type().is_socket() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{} is no socket", socket.display())));
        }
        drop(dial(socket, patience)?);
        let config = Agent::config_builder()
            .proxy(None)
            .max_redirects(0)
            .http_status_as_error(false)
            .max_response_header_size(ANSWER_HEADER_BYTES_MAX)
            .timeout_connect(Some(Duration::from_secs(10)))
            .user_agent(concat!("triquest-client/", env!("CARGO_PKG_VERSION")))
            .build();
        let agent = Agent::with_parts(config, SocketConnector { socket: socket.to_owned(), patience }, NoNames);
        Ok(Self { agent, socket: socket.to_owned(), patience })
    }

    /// The socket's path.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// One request: method, path with query, JSON body. Gives status and body, whatever they are. Before it and while it takes its time, the server has to
    /// show that it lives.
    ///
    /// # Errors
    /// [`Hangs`], before the request or in the middle of it; `TimedOut` without that if the server lives and its answer takes longer than such a request may;
    /// that it went away, or that its answer is larger than the limit.
    pub fn request(&self, method: &str, path: &str, body: Option<&[u8]>) -> io::Result<(u16, Vec<u8>)> {
        lives(&self.socket, self.patience)?;
        let mut response = run_json(&self.agent, method, &url(path), body, Some(longest(method, path))).map_err(io_error)?;
        let status = response.status().as_u16();
        let body = read_body(&mut response, ANSWER_BYTES_MAX).map_err(io_error)?;
        Ok((status, body))
    }

    /// A stream that ends when the server ends it: status and the body as it comes. An answer other than 200 is a short problem document.
    ///
    /// # Errors
    /// [`Hangs`], also from the body in the middle of the stream, or that the server went away.
    pub fn stream(&self, path: &str) -> io::Result<(u16, Box<dyn io::BufRead + Send>)> {
        lives(&self.socket, self.patience)?;
        let response = run_json(&self.agent, "GET", &url(path), None, None).map_err(io_error)?;
        let status = response.status().as_u16();
        let reader = response.into_body().into_reader();
        Ok((status, Box::new(io::BufReader::new(reader))))
    }

    /// `GET`, read as JSON.
    ///
    /// # Errors
    /// [`AdminError`], by reason.
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, AdminError> {
        self.json("GET", path, None)
    }

    /// `POST` of a JSON body.
    ///
    /// # Errors
    /// [`AdminError`], by reason.
    pub fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, AdminError> {
        self.json("POST", path, Some(serde_json::to_vec(body)?))
    }

    /// `DELETE` with a JSON body.
    ///
    /// # Errors
    /// [`AdminError`], by reason.
    pub fn delete<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, AdminError> {
        self.json("DELETE", path, Some(serde_json::to_vec(body)?))
    }

    /// The stream of events after a cursor (`LINEAGE.EPOCH.INDEX.NUMBER`), or of new ones only.
    ///
    /// # Errors
    /// [`AdminError`], by reason.
    pub fn events(&self, after: Option<&str>) -> Result<Events, AdminError> {
        let path = after.map_or_else(|| "/v1/events".to_owned(), |after| format!("/v1/events?after={after}"));
        let (status, mut reader) = self.stream(&path)?;
        if status == 200 {
            return Ok(Events { reader });
        }
        let mut body = Vec::new();
        io::Read::read_to_end(&mut io::Read::take(&mut reader, 65_536), &mut body)?;
        Err(refused(status, &body))
    }

    fn json<T: DeserializeOwned>(&self, method: &str, path: &str, body: Option<Vec<u8>>) -> Result<T, AdminError> {
        let (status, answer) = self.request(method, path, body.as_deref())?;
        if (200..300).contains(&status) { Ok(serde_json::from_slice(&answer)?) } else { Err(refused(status, &answer)) }
    }
}

impl fmt::Debug for AdminClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminClient").field("socket", &self.socket).finish_non_exhaustive()
    }
}

/// One server-sent event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SseEvent {
    /// The cursor after it.
    pub id: String,
    /// Its name; `message` if none was given.
    pub event: String,
    /// Its data, lines joined by newlines.
    pub data: String,
}

/// Server-sent events as they come; comments and keep-alives are left out. Ends when the server ends the stream.
pub struct Events {
    reader: Box<dyn io::BufRead + Send>,
}

impl Events {
    /// Reads events from any stream of that form.
    #[must_use]
    pub fn new(reader: Box<dyn io::BufRead + Send>) -> Self {
        Self { reader }
    }

    fn next_event(&mut self) -> io::Result<Option<SseEvent>> {
        let mut event = SseEvent::default();
        let mut has_data = false;
        let mut bytes = 0usize;
        loop {
            let mut line = String::new();
            let read = io::BufRead::read_line(&mut io::Read::take(&mut self.reader, ANSWER_BYTES_MAX as u64), &mut line)?;
            bytes += read;
            if read == 0 {
                return Ok(None);
            }
            if bytes > ANSWER_BYTES_MAX {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "an event is larger than any that the server sends"));
            }
            let line = line.trim_end_matches(['\n', '\r']);
            if line.is_empty() {
                if has_data {
                    if event.event.is_empty() {
                        event.event = "message".into();
                    }
                    return Ok(Some(event));
                }
                event = SseEvent::default();
                continue;
            }
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "data" => {
                    if has_data {
                        event.data.push('\n');
                    }
                    event.data.push_str(value);
                    has_data = true;
                }
                "event" => event.event = value.to_owned(),
                "id" => event.id = value.to_owned(),
                _ => {}
            }
        }
    }
}

impl Iterator for Events {
    type Item = io::Result<SseEvent>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_event().transpose()
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Events")
    }
}

fn url(path: &str) -> String {
    format!("http://localhost{path}")
}

/// How long a request may take, by what it does.
fn longest(method: &str, path: &str) -> Duration {
    Duration::from_millis(match (method, path) {
        ("POST", "/v1/backup") => ADMIN_BACKUP_MS_MAX,
        ("GET", _) => ADMIN_READ_MS_MAX,
        _ => ADMIN_CHANGE_MS_MAX,
    })
}

/// Lets the server show that it lives, on a connection of its own.
///
/// # Errors
/// [`Hangs`], or that it went away.
fn lives(socket: &Path, patience: Duration) -> io::Result<()> {
    const ASKED: &[u8] = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    let mut stream = dial(socket, patience)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    // Whatever it answers: who answers lives.
    io::Write::write_all(&mut stream, ASKED).and_then(|()| io::Read::read_exact(&mut stream, &mut [0])).map_err(|cause| {
        match cause.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Hangs { was_asked: false }.into(),
            _ => cause,
        }
    })
}

/// A connection to the socket. A server that is stopped leaves what it does not accept to the kernel, which takes only so many and then lets others wait.
fn dial(socket: &Path, patience: Duration) -> io::Result<UnixStream> {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};
    let stream = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    sockopt::set_socket_timeout(&stream, sockopt::Timeout::Send, Some(patience))?;
    match rustix::net::connect(&stream, &SocketAddrUnix::new(socket)?) {
        Err(rustix::io::Errno::AGAIN) => Err(Hangs { was_asked: false }.into()),
        other => Ok(other.map(|()| UnixStream::from(stream))?),
    }
}

fn refused(status: u16, body: &[u8]) -> AdminError {
    serde_json::from_slice(body).map_or(AdminError::Status(status), |problem| AdminError::Refused(Box::new(problem)))
}

/// The socket needs no address.
#[derive(Debug)]
struct NoNames;

impl Resolver for NoNames {
    fn resolve(&self, _: &ureq::http::Uri, _: &ureq::config::Config, _: NextTimeout) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let mut none = self.empty();
        none.push(([127, 0, 0, 1], 0).into());
        Ok(none)
    }
}

#[derive(Debug)]
struct SocketConnector {
    socket: PathBuf,
    patience: Duration,
}

impl<In: Transport> Connector<In> for SocketConnector {
    type Out = SocketTransport;

    fn connect(&self, details: &ConnectionDetails<'_>, _: Option<In>) -> Result<Option<Self::Out>, ureq::Error> {
        let stream = Arc::new(Socket(dial(&self.socket, self.patience)?));
        let weak = Arc::downgrade(&stream);
        (details.register_shutdown)(weak)?;
        let buffers = LazyBuffers::new(details.config.input_buffer_size(), details.config.output_buffer_size());
        Ok(Some(SocketTransport { stream, buffers, socket: self.socket.clone(), patience: self.patience }))
    }
}

#[derive(Debug)]
struct Socket(UnixStream);

impl ShutdownHandle for Socket {
    fn shutdown(&self) {
        // Fails only if it is closed already.
        let _ = self.0.shutdown(std::net::Shutdown::Both);
    }
}

#[derive(Debug)]
struct SocketTransport {
    stream: Arc<Socket>,
    buffers: LazyBuffers,
    socket: PathBuf,
    patience: Duration,
}

impl Transport for SocketTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        self.stream.0.set_write_timeout(timeout.not_zero().map(|after| *after))?;
        io::Write::write_all(&mut &self.stream.0, &self.buffers.output()[..amount])?;
        Ok(())
    }

    /// As long as the server shows that it lives.
    #[expect(clippy::disallowed_methods, reason = "a connection's deadline, no right of a lease")]
    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        let until = timeout.not_zero().map(|after| std::time::Instant::now() + *after);
        let amount = loop {
            let left = until.map(|until| until.saturating_duration_since(std::time::Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Err(ureq::Error::Timeout(timeout.reason));
            }
            self.stream.0.set_read_timeout(Some(left.map_or(self.patience, |left| left.min(self.patience))))?;
            match io::Read::read(&mut &self.stream.0, self.buffers.input_append_buf()) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    lives(&self.socket, self.patience).map_err(|cause| match Hangs::in_error(&cause) {
                        Some(_) => Hangs { was_asked: true }.into(),
                        None => cause,
                    })?;
                }
                other => break other?,
            }
        };
        self.buffers.input_appended(amount);
        Ok(amount > 0)
    }

    fn is_open(&mut self) -> bool {
        crate::transport::is_idle(&self.stream.0)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn whoever_takes_a_connection_and_says_nothing_hangs_and_is_asked_for_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        let silent = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let client = AdminClient::with_patience(&path, PATIENCE).unwrap();
        let error = client.request("POST", "/v1/backup", Some(b"{}")).unwrap_err();
        assert_eq!((error.kind(), Hangs::in_error(&error)), (io::ErrorKind::TimedOut, Some(Hangs { was_asked: false })));
        // The connection that only tried, then the one that asked.
        drop(silent.accept().unwrap());
        let mut asked = silent.accept().unwrap().0;
        let mut said = String::new();
        io::Read::read_to_string(&mut asked, &mut said).unwrap();
        assert!(said.starts_with("GET /healthz ") && !said.contains("backup"), "{said}");
    }

    const PATIENCE: Duration = Duration::from_millis(50);

    /// Answers the health check of so many connections, and then, to whatever it is asked, what it is told to say, if anything.
    fn server(path: &Path, health_checks: usize, says: &'static str) -> std::thread::JoinHandle<usize> {
        let listener = std::os::unix::net::UnixListener::bind(path).unwrap();
        std::thread::spawn(move || {
            let (mut kept, mut answered) = (Vec::new(), 0);
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut head = [0; 12];
                match io::Read::read_exact(&mut stream, &mut head) {
                    // The connection that only tried.
                    Err(_) => continue,
                    Ok(()) if &head == b"GET /over HT" => break,
                    Ok(()) if head.starts_with(b"GET /healthz") && answered < health_checks => {
                        io::Write::write_all(&mut stream, b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap();
                        answered += 1;
                    }
                    Ok(()) if head.starts_with(b"GET /healthz") => {}
                    Ok(()) => io::Write::write_all(&mut stream, says.as_bytes()).unwrap(),
                }
                kept.push(stream);
            }
            answered
        })
    }

    fn over(path: &Path, server: std::thread::JoinHandle<usize>) -> usize {
        io::Write::write_all(&mut UnixStream::connect(path).unwrap(), b"GET /over HTTP/1.1").unwrap();
        server.join().unwrap()
    }

    #[test]
    fn a_server_that_begins_to_hang_in_the_middle_of_a_call_is_left_long_before_the_call_may_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        let silent = server(&path, 3, "");
        let client = AdminClient::with_patience(&path, PATIENCE).unwrap();
        let error = client.request("POST", "/v1/backup", Some(b"{}")).unwrap_err();
        assert_eq!((error.kind(), Hangs::in_error(&error)), (io::ErrorKind::TimedOut, Some(Hangs { was_asked: true })));
        assert_eq!(over(&path, silent), 3, "as long as it showed that it lives, it was waited for");
    }

    #[test]
    fn a_stream_ends_when_its_server_hangs_in_the_middle_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        let silent = server(&path, 2, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
        let (status, mut stream) = AdminClient::with_patience(&path, PATIENCE).unwrap().stream("/v1/events").unwrap();
        assert_eq!(status, 200);
        let error = io::BufRead::read_line(&mut stream, &mut String::new()).unwrap_err();
        assert!(error.to_string().contains("does not answer"), "{error}");
        over(&path, silent);
    }

    #[test]
    fn only_a_backup_may_take_minutes() {
        assert_eq!(longest("POST", "/v1/backup"), Duration::from_secs(600));
        for (method, path) in [("GET", "/v1/status"), ("POST", "/v1/licenses"), ("POST", "/v1/clock/accept"), ("DELETE", "/v1/licenses/ab")]
        {
            assert!(longest(method, path) <= Duration::from_secs(60), "{method} {path}");
        }
    }

    #[test]
    fn events_are_read_as_the_standard_says() {
        let text = ": hello\n\nid: a.1.2.0\nevent: granted\ndata: {\"x\":1}\n\ndata:one\ndata: two\r\n\r\nid: only\n\ndata: cut off";
        let events: Vec<_> = Events::new(Box::new(text.as_bytes())).map(Result::unwrap).collect();
        assert_eq!(
            events,
            [
                SseEvent { id: "a.1.2.0".into(), event: "granted".into(), data: "{\"x\":1}".into() },
                SseEvent { id: String::new(), event: "message".into(), data: "one\ntwo".into() },
            ]
        );
    }
}
