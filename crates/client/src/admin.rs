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
    limits::{ADMIN_CALL_MS_MAX, ADMIN_SILENT_MS_MAX, ANSWER_HEADER_BYTES_MAX},
    transport::{io_error, read_body, run_json},
};

/// A connection to a local server's socket.
#[derive(Clone)]
pub struct AdminClient {
    agent: Agent,
    socket: PathBuf,
}

/// A server runs there and does not answer: it is stopped, or it hangs. Nothing was asked of it. It is inside of an [`io::Error`] of the kind `TimedOut`.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("a server runs there and does not answer")]
pub struct Hangs;

impl Hangs {
    /// Whether that is what an error says.
    #[must_use]
    pub fn is_in(error: &io::Error) -> bool {
        error.get_ref().is_some_and(|inner| inner.is::<Self>())
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
        // A link could lead to another server's socket.
        if !std::fs::symlink_metadata(socket)?.file_type().is_socket() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{} is no socket", socket.display())));
        }
        drop(dial(socket)?);
        let config = Agent::config_builder()
            .proxy(None)
            .max_redirects(0)
            .http_status_as_error(false)
            .max_response_header_size(ANSWER_HEADER_BYTES_MAX)
            .timeout_connect(Some(Duration::from_secs(10)))
            .user_agent(concat!("triquest-client/", env!("CARGO_PKG_VERSION")))
            .build();
        let agent = Agent::with_parts(config, SocketConnector(socket.to_owned()), NoNames);
        Ok(Self { agent, socket: socket.to_owned() })
    }

    /// Lets the server show that it lives, before something that may take long is asked of it.
    ///
    /// # Errors
    /// [`Hangs`], or that it went away.
    fn lives(&self) -> io::Result<()> {
        let limit = Some(Duration::from_millis(ADMIN_SILENT_MS_MAX));
        // Whatever it answers: who answers lives.
        let answer =
            run_json(&self.agent, "GET", &url("/healthz"), None, limit).and_then(|mut answer| read_body(&mut answer, ANSWER_BYTES_MAX));
        answer.map(drop).map_err(io_error).map_err(|cause| match cause.kind() {
            io::ErrorKind::TimedOut => Hangs.into(),
            _ => cause,
        })
    }

    /// The socket's path.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// One request: method, path with query, JSON body. Gives status and body, whatever they are.
    ///
    /// # Errors
    /// [`Hangs`], that the server went away, or that its answer is larger than the limit.
    pub fn request(&self, method: &str, path: &str, body: Option<&[u8]>) -> io::Result<(u16, Vec<u8>)> {
        self.lives()?;
        let mut response =
            run_json(&self.agent, method, &url(path), body, Some(Duration::from_millis(ADMIN_CALL_MS_MAX))).map_err(io_error)?;
        let status = response.status().as_u16();
        let body = read_body(&mut response, ANSWER_BYTES_MAX).map_err(io_error)?;
        Ok((status, body))
    }

    /// A stream that ends when the server ends it: status and the body as it comes. An answer other than 200 is a short problem document.
    ///
    /// # Errors
    /// [`Hangs`], or that the server went away.
    pub fn stream(&self, path: &str) -> io::Result<(u16, Box<dyn io::BufRead + Send>)> {
        self.lives()?;
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

/// A connection to the socket. A server that is stopped leaves what it does not accept to the kernel, which takes only so many and then lets others wait.
fn dial(socket: &Path) -> io::Result<UnixStream> {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};
    let stream = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    sockopt::set_socket_timeout(&stream, sockopt::Timeout::Send, Some(Duration::from_millis(ADMIN_SILENT_MS_MAX)))?;
    match rustix::net::connect(&stream, &SocketAddrUnix::new(socket)?) {
        Err(rustix::io::Errno::AGAIN) => Err(Hangs.into()),
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
struct SocketConnector(PathBuf);

impl<In: Transport> Connector<In> for SocketConnector {
    type Out = SocketTransport;

    fn connect(&self, details: &ConnectionDetails<'_>, _: Option<In>) -> Result<Option<Self::Out>, ureq::Error> {
        let stream = Arc::new(Socket(dial(&self.0)?));
        let weak = Arc::downgrade(&stream);
        (details.register_shutdown)(weak)?;
        let buffers = LazyBuffers::new(details.config.input_buffer_size(), details.config.output_buffer_size());
        Ok(Some(SocketTransport { stream, buffers }))
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

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        self.stream.0.set_read_timeout(timeout.not_zero().map(|after| *after))?;
        let amount = loop {
            match io::Read::read(&mut &self.stream.0, self.buffers.input_append_buf()) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(ureq::Error::Timeout(timeout.reason)),
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
        let client = AdminClient::connect(&path).unwrap();
        let error = client.request("POST", "/v1/backup", Some(b"{}")).unwrap_err();
        assert_eq!((error.kind(), Hangs::is_in(&error)), (io::ErrorKind::TimedOut, true));
        // The connection that only tried, then the one that asked.
        drop(silent.accept().unwrap());
        let mut asked = silent.accept().unwrap().0;
        let mut said = String::new();
        io::Read::read_to_string(&mut asked, &mut said).unwrap();
        assert!(said.starts_with("GET /healthz ") && !said.contains("backup"), "{said}");
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
