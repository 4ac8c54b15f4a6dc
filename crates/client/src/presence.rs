//! The presence connection: held open as long as the process lives, so that the kernel's FIN at its death frees the seats at once.
//!
//! Nothing is read from it after its one answer, and the server sends nothing: unread input would turn a dying process's FIN into a reset, which
//! frees nothing.
//!
//! Only death may look like death: however a living process leaves such a connection, it leaves by a reset, from the first byte to the last. And its
//! end counts for a lease only after a renewal of that lease has named its generation ([`crate::keeper::Action::Renew`]).

use std::{
    io::{self, Read, Write},
    net::TcpStream,
    sync::Arc,
    time::Duration,
};

use triquest_wire::{
    Bytes16, Secret,
    lease::{Freeing, PresenceAnswer, PresenceChangeAnswer, PresenceChangeRequest, PresenceRequest, SecretRequest},
};

use crate::{
    client::{whole_ms, within},
    clock, dial,
    limits::ANSWER_HEADER_BYTES_MAX,
    tls::{self, TlsStream},
    transport::{CallError, Session, is_idle},
};

/// One open presence connection.
#[derive(Debug)]
pub(crate) struct Presence {
    socket: Leaving,
    /// The server's name for it.
    name: Bytes16,
    generation: u64,
    waits: bool,
}

/// A socket whose every end is a reset (SO_LINGER 0), but for the death of the process while [`Leaving::stands`] holds.
#[derive(Debug)]
struct Leaving(Arc<TcpStream>);

impl Leaving {
    fn new(socket: Arc<TcpStream>) -> io::Result<Self> {
        let leaving = Self(socket);
        leaving.by_reset(true)?;
        Ok(leaving)
    }

    /// From now on the kernel ends it in order if the process dies.
    fn stands(&self) -> io::Result<()> {
        self.by_reset(false)
    }

    fn by_reset(&self, reset: bool) -> io::Result<()> {
        Ok(rustix::net::sockopt::set_socket_linger(&*self.0, reset.then_some(Duration::ZERO))?)
    }
}

impl Drop for Leaving {
    fn drop(&mut self) {
        // It cannot fail on a socket that is open, and it is open as long as this has a share in it.
        let _ = self.by_reset(true);
    }
}

/// What came of an opening.
#[derive(Debug)]
pub(crate) enum Opened {
    /// It stands.
    Stands(Presence),
    /// The server sees other addresses than we do: something between them could end it in our place, so its end would free nothing.
    Useless,
}

impl Presence {
    /// Opens a connection to the session's server, pinned to the same certificate, and lets it stand for these leases; all of it within one time.
    pub(crate) fn open<'a>(
        session: &Session,
        secrets: impl IntoIterator<Item = &'a Secret>,
        generation: u64,
        whole: Duration,
    ) -> io::Result<Opened> {
        let until = clock::now().boot_ms.saturating_add(whole_ms(whole));
        let left = || within(whole, Some(until));
        let socket = dial::connect(&[session.peer()], left())?;
        let (client, server) = (socket.local_addr()?, socket.peer_addr()?);
        // Set on the socket itself before anything can fail, so that no way out of here looks like an end in order.
        rustix::net::sockopt::set_socket_linger(&socket, Some(Duration::ZERO))?;
        let mut stream = TlsStream::handshake(tls::config(session.pin().clone()), session.pin(), session.address().host(), socket, left())?;
        stream.timed().set_deadline(Some(left()));
        let request = PresenceRequest { leases: proofs(secrets), generation, client, server };
        let body = serde_json::to_vec(&request)?;
        let head = format!(
            "POST /v1/presence HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nAccept: application/json\r\nContent-Length: {}\r\n\r\n",
            session.authority(),
            body.len()
        );
        stream.write_all(head.as_bytes())?;
        stream.write_all(&body)?;
        stream.flush()?;
        let answer = read_answer(&mut stream).inspect_err(|error| {
            // It refused: it is there, and a renewal will be answered.
            if error.kind() == io::ErrorKind::InvalidData {
                session.answers();
            }
        })?;
        session.answers();
        let answer: PresenceAnswer = serde_json::from_slice(&answer)?;
        session.saw(answer.position);
        stream.timed().set_deadline(None);
        let waits = match answer.frees {
            Freeing::AfterWait => true,
            Freeing::AtOnce => false,
            Freeing::Never => return Ok(Opened::Useless),
        };
        let socket = Leaving::new(stream.timed().socket().clone())?;
        socket.stands()?;
        Ok(Opened::Stands(Self { socket, name: answer.connection, generation, waits }))
    }

    /// Lets it stand for more leases, and for some no more, by a request on an ordinary connection. Once that is answered, renewals of the added ones may
    /// name it.
    pub(crate) fn change<'a>(
        &self,
        session: &Session,
        add: impl IntoIterator<Item = &'a Secret>,
        drop: impl IntoIterator<Item = &'a Secret>,
        within: Duration,
    ) -> Result<(), CallError> {
        let request = PresenceChangeRequest { connection: self.name, generation: self.generation, add: proofs(add), drop: proofs(drop) };
        let answer: PresenceChangeAnswer = session.post("/v1/presence/change", &request, within)?;
        session.saw(answer.position);
        Ok(())
    }

    /// Whether its end frees seats only if nothing is heard for a while: then a client that lost it must soon be heard.
    pub(crate) fn waits(&self) -> bool {
        self.waits
    }

    /// Whether it still stands.
    pub(crate) fn is_open(&self) -> bool {
        is_idle(&*self.socket.0)
    }
}

fn proofs<'a>(secrets: impl IntoIterator<Item = &'a Secret>) -> Vec<SecretRequest> {
    secrets.into_iter().map(|secret| SecretRequest { secret: *secret }).collect()
}

/// One small answer of HTTP/1.1 with a content length.
fn read_answer(stream: &mut impl Read) -> io::Result<Vec<u8>> {
    let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let mut bytes = Vec::new();
    let mut chunk = [0; 2048];
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        if bytes.len() > ANSWER_HEADER_BYTES_MAX {
            return Err(invalid("endless headers"));
        }
        match stream.read(&mut chunk)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => bytes.extend_from_slice(&chunk[..read]),
        }
    };
    let head = std::str::from_utf8(&bytes[..end]).map_err(|_| invalid("headers are no text"))?;
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")).and_then(|rest| rest.get(..3));
    if status != Some("200") {
        return Err(invalid("the server does not accept the presence connection"));
    }
    let length: usize = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse().ok())
        .filter(|length| *length <= ANSWER_HEADER_BYTES_MAX)
        .ok_or_else(|| invalid("the answer has no sensible length"))?;
    let mut body = bytes.split_off(end + 4);
    while body.len() < length {
        match stream.read(&mut chunk)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => body.extend_from_slice(&chunk[..read]),
        }
    }
    if body.len() > length {
        return Err(invalid("more than one answer"));
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_answer_is_read_to_its_end_and_no_further() {
        let answer = |text: &str| read_answer(&mut text.as_bytes());
        assert_eq!(answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}").unwrap(), b"{}");
        assert!(answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}x").is_err());
        assert!(answer("HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n{}").is_err());
        assert!(answer("HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n{}").is_err());
        assert!(answer("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{}").is_err());
        assert!(answer(&format!("HTTP/1.1 200 OK\r\n{}", "x: y\r\n".repeat(4000))).is_err());
    }
}
