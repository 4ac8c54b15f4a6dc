//! What answers on a TCP port, by its own word. It proves nothing: whether a server is genuine is another question, asked elsewhere.
//!
//! It is asked gently: first only heard, then greeted with TLS, then with HTTP. Whoever is known by its greeting or its registered name is asked by the
//! etiquette of its own protocol ([`Manner`]), for databases write down, and in the end shut out, whoever breaks it. All of it ends by
//! [`ANSWER_TIME_MAX`], reads at most [`ANSWER_BYTES_MAX`] of each answer, and goes to addresses of this machine unless the user named another
//! ([`Target`]). Nothing is sent to the ports of printers, which print whatever they get, and nothing at all over UDP, where no greeting is harmless
//! everywhere.
//!
//! Strings come from whatever answers. They are bounded, but they are not escaped: that is the printer's job.

use std::{
    io::{self, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket},
    ops::RangeInclusive,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use rustls::{
    AlertDescription, ClientConfig, ClientConnection, DigitallySignedStruct, PeerIncompatible, SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, verify_tls13_signature},
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use serde::Serialize;

use crate::sockets::{Namespace, Protocol, Socket};

mod certificate;

pub use certificate::Certificate;

/// How long one port may take in all, but for what the kernel's timers round up.
pub const ANSWER_TIME_MAX: Duration = Duration::from_millis(800);
/// How long a connection may take.
pub const CONNECT_TIME_MAX: Duration = Duration::from_millis(250);
/// How long a service that speaks first is waited for.
pub const GREETING_TIME_MAX: Duration = Duration::from_millis(150);
/// How long the answer to a TLS greeting is waited for.
pub const TLS_TIME_MAX: Duration = Duration::from_millis(300);
/// Bytes that are read of one answer.
pub const ANSWER_BYTES_MAX: usize = 4_096;
/// Bytes of one text that are kept.
pub const TEXT_BYTES_MAX: usize = 256;
/// Where printers listen (JetDirect and its neighbors): whatever is sent there is printed on paper.
pub const PAPER_PORTS: RangeInclusive<u16> = 9100..=9107;

/// An address that may be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    address: SocketAddr,
}

/// Why an address is not asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum NotAsked {
    /// It is no address of this machine, and the user did not name it.
    #[error("it is not an address of this machine")]
    NotThisMachine,
    /// The socket is in another network namespace.
    #[error("it is in another network namespace")]
    OtherNamespace,
    /// A printer may be there.
    #[error("nothing is sent to ports 9100 to 9107, where printers print whatever they get")]
    Paper,
    /// Port 0 is none.
    #[error("port 0 is no port")]
    PortZero,
    /// It is UDP, where no greeting is harmless everywhere.
    #[error("UDP services are not asked")]
    Udp,
}

impl Target {
    /// An address of this machine; a wildcard is asked over loopback.
    ///
    /// # Errors
    /// [`NotAsked`].
    pub fn this_machine(address: SocketAddr) -> Result<Self, NotAsked> {
        let address = SocketAddr::new(with_loopback(address.ip()), address.port());
        let target = Self::named_by_the_user(address)?;
        if is_of_this_machine(address) { Ok(target) } else { Err(NotAsked::NotThisMachine) }
    }

    /// Any address, because the user asked for exactly this one.
    ///
    /// # Errors
    /// [`NotAsked`].
    pub fn named_by_the_user(address: SocketAddr) -> Result<Self, NotAsked> {
        match address.port() {
            0 => Err(NotAsked::PortZero),
            port if PAPER_PORTS.contains(&port) => Err(NotAsked::Paper),
            _ => Ok(Self { address }),
        }
    }

    /// Where a listening socket of this machine is asked.
    ///
    /// # Errors
    /// [`NotAsked`].
    pub fn of(socket: &Socket) -> Result<Self, NotAsked> {
        if socket.namespace != Namespace::This {
            Err(NotAsked::OtherNamespace)
        } else if socket.protocol != Protocol::Tcp {
            Err(NotAsked::Udp)
        } else {
            Self::this_machine(with_scope(socket))
        }
    }

    /// The address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// How somebody is asked who does not speak first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Manner {
    /// As PostgreSQL's protocol has it: by the question whether it speaks TLS. It writes down every other first word as an error.
    Postgresql,
    /// With TLS, then with HTTP.
    #[default]
    Usual,
}

impl Manner {
    /// The manner for what these names say: of the registered service, or of the process.
    pub fn of<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let is_postgresql = |name: &str| name.eq_ignore_ascii_case("postgresql") || name.eq_ignore_ascii_case("postgres");
        if names.into_iter().any(is_postgresql) { Self::Postgresql } else { Self::Usual }
    }
}

/// What was heard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Answer {
    /// Who was asked.
    pub address: SocketAddr,
    /// What it said.
    pub says: Says,
    /// How long it took.
    pub took_ms: u64,
}

/// What a service says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Says {
    /// It speaks first.
    Greeting(Greeting),
    /// It answers HTTP without TLS.
    Http(Http),
    /// It takes connections and says nothing to anything that was tried.
    Mute,
    /// No connection came about.
    NoConnection {
        /// The system's word.
        why: String,
    },
    /// It answers, in no way that is known.
    Other {
        /// The beginning of the answer.
        text: String,
    },
    /// It speaks TLS.
    Tls(Tls),
}

/// What a service says that speaks first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Greeting {
    /// What it seems to speak.
    pub protocol: Option<Spoken>,
    /// Its first line, at most [`TEXT_BYTES_MAX`] of it.
    pub text: String,
}

/// Protocols that are known by how they greet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Spoken {
    /// File transfer.
    Ftp,
    /// Mail boxes.
    Imap,
    /// MySQL and MariaDB.
    Mysql,
    /// Mail boxes, the older way.
    Pop3,
    /// PostgreSQL.
    Postgresql,
    /// Redis and what speaks its protocol.
    Redis,
    /// Mail transport.
    Smtp,
    /// Secure shell.
    Ssh,
    /// Remote screens, the protocol of VNC.
    Vnc,
}

/// An answer in HTTP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Http {
    /// The status, as 200.
    pub status: u16,
    /// What it calls itself in the header `Server`.
    pub server: Option<String>,
    /// Where it sends whoever asks for `/`.
    pub location: Option<String>,
}

/// An answer in TLS.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Tls {
    /// Which version was agreed on.
    pub version: TlsVersion,
    /// The protocol that was agreed on inside it.
    pub alpn: Option<String>,
    /// The first certificate that it showed. Nobody vouches for it here.
    pub certificate: Option<Certificate>,
    /// It proved to have the private key of that certificate.
    pub has_key: bool,
    /// Why it broke off, if it did, in the words of RFC 8446 section 6.
    pub alert: Option<String>,
    /// What it answers in HTTP inside.
    pub http: Option<Http>,
}

/// A version of TLS, as far as it was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum TlsVersion {
    /// It took TLS 1.3.
    #[serde(rename = "1.3")]
    Tls13,
    /// It refused TLS 1.3 and would speak an older one.
    #[serde(rename = "older than 1.3")]
    Older,
    /// It broke off before a version was agreed on.
    #[serde(rename = "unknown")]
    Unknown,
}

/// Asks. The answer is there after [`ANSWER_TIME_MAX`] at the latest, whatever the other end does.
#[must_use]
pub fn ask(target: Target, manner: Manner) -> Answer {
    let started = Instant::now();
    let says = hear(target.address, manner, started + ANSWER_TIME_MAX);
    Answer { address: target.address, says, took_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX) }
}

fn hear(address: SocketAddr, manner: Manner, deadline: Instant) -> Says {
    let mut stream = match Timed::connect(address, deadline) {
        Ok(stream) => stream,
        Err(cause) => return Says::NoConnection { why: cause.to_string() },
    };
    let heard = first_line(&mut stream.until(deadline.min(Instant::now() + GREETING_TIME_MAX)));
    if !heard.is_empty() {
        let greeting = greeting(&heard);
        if greeting.protocol == Some(Spoken::Mysql) {
            // What it answers does not matter, and nothing is owed to it after this.
            let _ = mysql_farewell(&mut stream.until(deadline));
        }
        return Says::Greeting(greeting);
    }
    if manner == Manner::Postgresql {
        return match postgresql(&mut stream) {
            Some(true) => match greet_with_tls(stream, manner, deadline) {
                (Some(tls), _) => Says::Greeting(Greeting { protocol: Some(Spoken::Postgresql), text: tls_text(&tls) }),
                (None, _) => Says::Greeting(Greeting { protocol: Some(Spoken::Postgresql), text: "it offers TLS".into() }),
            },
            Some(false) => Says::Greeting(Greeting { protocol: Some(Spoken::Postgresql), text: "without TLS".into() }),
            None => Says::Mute,
        };
    }
    let (tls, heard) = greet_with_tls(stream, manner, deadline);
    if let Some(tls) = tls {
        return Says::Tls(tls);
    }
    match Timed::connect(address, deadline).and_then(|mut stream| greet_with_http(&mut stream)) {
        Ok((Some(http), _)) => Says::Http(http),
        Ok((None, answer)) if !answer.is_empty() => answered(&answer),
        Ok(_) | Err(_) if heard.is_empty() => Says::Mute,
        Ok(_) | Err(_) => match http(&heard) {
            Some(http) => Says::Http(http),
            None => answered(&heard),
        },
    }
}

/// Somebody who answers a line that it does not know. Redis calls it an error by a word after a minus.
fn answered(answer: &[u8]) -> Says {
    if [&b"-ERR "[..], b"-NOAUTH ", b"-DENIED "].iter().any(|start| answer.starts_with(start)) {
        let line = answer.split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default();
        return Says::Greeting(Greeting { protocol: Some(Spoken::Redis), text: text(line) });
    }
    Says::Other { text: text(answer) }
}

/// Ends the handshake that a MySQL server has begun: whoever hangs up in the middle of one is counted, and shut out for good after 100
/// (`max_connect_errors`). A user whom nobody knows is refused, which is an end in order; where strangers are let in, it says goodbye.
fn mysql_farewell(stream: &mut (impl Read + Write)) -> io::Result<()> {
    const PROTOCOL_41: u32 = 0x200;
    const SECURE_CONNECTION: u32 = 0x8000;
    const PLUGIN_AUTH: u32 = 0x8_0000;
    const QUIT: &[u8] = &[1, 0, 0, 0, 1];
    // HandshakeResponse41: what we can, the longest packet, the character set utf8, room, the user, no password, how it would be proved.
    let mut body = (PROTOCOL_41 | SECURE_CONNECTION | PLUGIN_AUTH).to_le_bytes().to_vec();
    body.extend(0x0100_0000_u32.to_le_bytes());
    body.push(33);
    body.extend([0; 23]);
    body.extend(b"triquest-lm-port\0");
    body.push(0);
    body.extend(b"mysql_native_password\0");
    let mut sent = vec![u8::try_from(body.len()).expect("the packet has less than 256 bytes"), 0, 0, 1];
    sent.extend(body);
    // It may ask for another proof, once or twice: none is given.
    for _ in 0..3 {
        stream.write_all(&sent)?;
        stream.flush()?;
        let mut head = [0; 4];
        stream.read_exact(&mut head)?;
        let length = usize::from(head[0]) | usize::from(head[1]) << 8 | usize::from(head[2]) << 16;
        let mut answer = vec![0; length.min(ANSWER_BYTES_MAX)];
        stream.read_exact(&mut answer)?;
        match answer.first() {
            Some(0) => return stream.write_all(QUIT),
            Some(0xff) | None => return Ok(()),
            Some(_) => sent = vec![0, 0, 0, head[3].wrapping_add(1)],
        }
    }
    Ok(())
}

/// Whether a PostgreSQL server speaks TLS; none if it is none. The question is its protocol's SSLRequest, after which it takes a goodbye at any time.
fn postgresql(stream: &mut (impl Read + Write)) -> Option<bool> {
    stream.write_all(&[0, 0, 0, 8, 4, 210, 22, 47]).and_then(|()| stream.flush()).ok()?;
    let mut answer = [0];
    stream.read_exact(&mut answer).ok()?;
    match answer[0] {
        b'S' => Some(true),
        b'N' => Some(false),
        _ => None,
    }
}

fn tls_text(tls: &Tls) -> String {
    tls.certificate
        .as_ref()
        .map_or_else(|| "with TLS".to_owned(), |certificate| format!("with TLS, certificate of {}", certificate.subject))
}

/// Everything until the first end of line, or until nothing comes any more.
fn first_line(stream: &mut impl Read) -> Vec<u8> {
    read_until(stream, |heard| heard.contains(&b'\n'))
}

fn read_until(stream: &mut impl Read, enough: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let mut heard = Vec::new();
    let mut chunk = [0; 1_024];
    while heard.len() < ANSWER_BYTES_MAX && !enough(&heard) {
        match stream.read(&mut chunk) {
            Ok(0) | Err(_) => break,
            Ok(count) => heard.extend_from_slice(&chunk[..count]),
        }
    }
    heard.truncate(ANSWER_BYTES_MAX);
    heard
}

fn greeting(heard: &[u8]) -> Greeting {
    // MySQL: a packet's length in three bytes, its number, the protocol's version 10, the server's version up to a zero.
    if let [_, _, 0, 0, 10, rest @ ..] = heard {
        let version = rest.split(|byte| *byte == 0).next().unwrap_or_default();
        return Greeting { protocol: Some(Spoken::Mysql), text: text(version) };
    }
    let line = heard.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let text = text(line);
    let upper = text.to_ascii_uppercase();
    let protocol = if text.starts_with("SSH-") {
        Some(Spoken::Ssh)
    } else if text.starts_with("RFB ") {
        Some(Spoken::Vnc)
    } else if text.starts_with("+OK") {
        Some(Spoken::Pop3)
    } else if text.starts_with("* OK") || text.starts_with("* PREAUTH") {
        Some(Spoken::Imap)
    } else if text.starts_with("220") && upper.contains("SMTP") {
        Some(Spoken::Smtp)
    } else if text.starts_with("220") && upper.contains("FTP") {
        Some(Spoken::Ftp)
    } else {
        None
    };
    Greeting { protocol, text }
}

/// At most [`TEXT_BYTES_MAX`] bytes, what is no UTF-8 replaced.
fn text(bytes: &[u8]) -> String {
    let mut text = String::from_utf8_lossy(bytes.get(..TEXT_BYTES_MAX).unwrap_or(bytes)).into_owned();
    text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
    text
}

/// HTTP/1.0, which needs no `Host`: Redis takes a line that begins so for an attack by way of a browser, and writes it into its log.
fn greet_with_http(stream: &mut (impl Read + Write)) -> io::Result<(Option<Http>, Vec<u8>)> {
    stream.write_all(b"HEAD / HTTP/1.0\r\nUser-Agent: triquest-lm-port\r\n\r\n")?;
    stream.flush()?;
    let heard = read_until(stream, |heard| heard.windows(4).any(|four| four == b"\r\n\r\n") || heard.windows(2).any(|two| two == b"\n\n"));
    Ok((http(&heard), heard))
}

/// Status and the headers that are told.
fn http(heard: &[u8]) -> Option<Http> {
    let mut lines = heard.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let mut words = lines.next()?.strip_prefix(b"HTTP/")?.split(|byte| *byte == b' ');
    let _version = words.next()?;
    let status = str::from_utf8(words.next()?).ok()?.parse().ok().filter(|status| (100..1_000).contains(status))?;
    let mut found = Http { status, server: None, location: None };
    for line in lines.take_while(|line| !line.is_empty()) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let value = || Some(text(line[colon + 1..].trim_ascii()));
        if line[..colon].eq_ignore_ascii_case(b"server") && found.server.is_none() {
            found.server = value();
        } else if line[..colon].eq_ignore_ascii_case(b"location") && found.location.is_none() {
            found.location = value();
        }
    }
    Some(found)
}

/// What the other end says in TLS; else what it said that is none.
fn greet_with_tls(stream: Timed, manner: Manner, deadline: Instant) -> (Option<Tls>, Vec<u8>) {
    let address = stream.address;
    let look = Arc::new(Look::default());
    let Ok(mut tls) = ClientConnection::new(config(look.clone()), ServerName::IpAddress(address.ip().into())) else {
        return (None, Vec::new());
    };
    let mut stream = Heard { stream: stream.until(deadline.min(Instant::now() + TLS_TIME_MAX)), heard: Vec::new() };
    let failed = loop {
        if !tls.is_handshaking() {
            break None;
        }
        match tls.complete_io(&mut stream) {
            Ok((0, 0)) => break Some(io::Error::from(io::ErrorKind::UnexpectedEof)),
            Ok(_) => {}
            Err(cause) => break Some(cause),
        }
    };
    let mut answer = Tls {
        version: TlsVersion::Unknown,
        alpn: tls.alpn_protocol().map(text),
        certificate: look.certificate(),
        has_key: look.has_key(),
        alert: None,
        http: None,
    };
    if let Some(failed) = failed {
        let reason = failed.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match reason {
            Some(rustls::Error::AlertReceived(alert)) => {
                answer.alert = Some(alert_name(*alert));
                if *alert == AlertDescription::ProtocolVersion {
                    answer.version = TlsVersion::Older;
                }
            }
            Some(rustls::Error::PeerIncompatible(
                PeerIncompatible::ServerDoesNotSupportTls12Or13 | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
            )) => answer.version = TlsVersion::Older,
            // Its first record was a record of TLS, whatever went wrong later.
            _ if is_server_hello(&stream.heard) => {}
            _ => return (None, stream.heard),
        }
        if answer.certificate.is_some() {
            answer.version = TlsVersion::Tls13;
        }
        return (Some(answer), Vec::new());
    }
    answer.version = TlsVersion::Tls13;
    if manner == Manner::Postgresql {
        // Inside it waits for a startup packet, and takes a goodbye before that; any other word it would write down.
        tls.send_close_notify();
        let _ = tls.complete_io(&mut stream);
    } else if answer.alpn.as_deref().is_none_or(|alpn| alpn == "http/1.1") {
        let mut inner = rustls::Stream::new(&mut tls, &mut stream);
        inner.sock.stream.deadline = deadline;
        answer.http = greet_with_http(&mut inner).ok().and_then(|(http, _)| http);
    }
    (Some(answer), Vec::new())
}

/// A record of type handshake, version 3.x, with a message of type server hello.
fn is_server_hello(heard: &[u8]) -> bool {
    matches!(heard, [22, 3, _, _, _, 2, ..])
}

fn alert_name(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::Unknown(number) => format!("alert {number}"),
        known => {
            // ProtocolVersion -> protocol_version, as the standard spells it.
            let mut name = String::new();
            for letter in format!("{known:?}").chars() {
                if letter.is_ascii_uppercase() && !name.is_empty() {
                    name.push('_');
                }
                name.push(letter.to_ascii_lowercase());
            }
            name
        }
    }
}

/// Looks at the certificate and lets every one pass: what is learned here is shown, never trusted, and the one request that follows says nothing.
#[derive(Debug, Default)]
struct Look(Mutex<Seen>);

#[derive(Clone, Debug, Default)]
struct Seen {
    certificate: Option<Certificate>,
    has_key: bool,
}

impl Look {
    fn certificate(&self) -> Option<Certificate> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).certificate.clone()
    }

    fn has_key(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).has_key
    }
}

#[derive(Debug)]
struct Looker {
    provider: Arc<CryptoProvider>,
    look: Arc<Look>,
}

impl ServerCertVerifier for Looker {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.look.0.lock().unwrap_or_else(PoisonError::into_inner).certificate = Certificate::read(end_entity);
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::PeerIncompatible(PeerIncompatible::ServerDoesNotSupportTls12Or13))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let good = verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms).is_ok();
        self.look.0.lock().unwrap_or_else(PoisonError::into_inner).has_key = good;
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// TLS 1.3 only, nothing kept, nothing early, no certificate of ours.
fn config(look: Arc<Look>) -> Arc<ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("the provider has cipher suites of TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Looker { provider, look }))
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Arc::new(config)
}

/// A TCP connection whose every read and write ends by one deadline.
#[derive(Debug)]
struct Timed {
    stream: Arc<TcpStream>,
    address: SocketAddr,
    deadline: Instant,
}

impl Timed {
    fn connect(address: SocketAddr, deadline: Instant) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, left(deadline)?.min(CONNECT_TIME_MAX))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: Arc::new(stream), address, deadline })
    }

    /// The same connection with another deadline.
    fn until(&self, deadline: Instant) -> Self {
        Self { stream: self.stream.clone(), address: self.address, deadline }
    }
}

fn left(deadline: Instant) -> io::Result<Duration> {
    deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()).ok_or_else(|| io::ErrorKind::TimedOut.into())
}

impl Read for Timed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(Some(left(self.deadline)?))?;
        (&*self.stream).read(buffer)
    }
}

impl Write for Timed {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(Some(left(self.deadline)?))?;
        (&*self.stream).write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Keeps the beginning of what was read.
struct Heard {
    stream: Timed,
    heard: Vec<u8>,
}

impl Read for Heard {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.stream.read(buffer)?;
        let room = ANSWER_BYTES_MAX - self.heard.len();
        self.heard.extend_from_slice(&buffer[..count.min(room)]);
        Ok(count)
    }
}

impl Write for Heard {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.stream.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn with_loopback(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        other => other,
    }
}

/// A link-local address says nothing without its interface.
fn with_scope(socket: &Socket) -> SocketAddr {
    let mut address = socket.endpoint();
    if let SocketAddr::V6(v6) = &mut address
        && v6.ip().is_unicast_link_local()
    {
        v6.set_scope_id(link_local_scope(*v6.ip()));
    }
    address
}

/// The number of the interface that has this link-local address, as `/proc/net/if_inet6` has it; 0 if none has.
fn link_local_scope(address: Ipv6Addr) -> u32 {
    let wanted: String = address.octets().iter().map(|byte| format!("{byte:02x}")).collect();
    let table = std::fs::read_to_string("/proc/net/if_inet6").unwrap_or_default();
    let line = table.lines().find_map(|line| line.strip_prefix(wanted.as_str()));
    line.and_then(|rest| u32::from_str_radix(rest.split_ascii_whitespace().next()?, 16).ok()).unwrap_or(0)
}

/// A route to an address of this machine begins at that same address. Connecting a UDP socket asks for the route and sends nothing.
fn is_of_this_machine(address: SocketAddr) -> bool {
    let canonical = address.ip().to_canonical();
    if canonical.is_loopback() {
        return true;
    }
    if canonical.is_multicast() || canonical.is_unspecified() || canonical == Ipv4Addr::BROADCAST {
        return false;
    }
    let to = match (canonical, address) {
        (IpAddr::V4(_), _) | (_, SocketAddr::V4(_)) => SocketAddr::new(canonical, address.port()),
        (IpAddr::V6(_), SocketAddr::V6(_)) => address,
    };
    let any: IpAddr = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    UdpSocket::bind((any, 0))
        .and_then(|socket| socket.connect(to).and_then(|()| socket.local_addr()))
        .is_ok_and(|from| from.ip() == to.ip())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn spoken(text: &str) -> Option<Spoken> {
        greeting(text.as_bytes()).protocol
    }

    #[test]
    fn services_that_speak_first_are_known_by_their_greeting() {
        assert_eq!(spoken("SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n"), Some(Spoken::Ssh));
        assert_eq!(spoken("220 mail.example ESMTP Postfix\r\n"), Some(Spoken::Smtp));
        assert_eq!(spoken("220 ProFTPD Server\r\n"), Some(Spoken::Ftp));
        assert_eq!(spoken("+OK ready\r\n"), Some(Spoken::Pop3));
        assert_eq!(spoken("* OK IMAP4rev1\r\n"), Some(Spoken::Imap));
        assert_eq!(spoken("RFB 003.008\n"), Some(Spoken::Vnc));
        assert_eq!(spoken("220 hello\r\n"), None);
        let mysql = greeting(b"\x4a\x00\x00\x00\x0a8.0.36\x00\x01\x02");
        assert_eq!((mysql.protocol, mysql.text.as_str()), (Some(Spoken::Mysql), "8.0.36"));
    }

    #[test]
    fn a_hostile_greeting_is_carried_as_data_and_cut() {
        let hostile = "\u{1b}]52;c;cm0=\u{7}\u{202e}$(reboot)*";
        assert_eq!(greeting(hostile.as_bytes()).text, hostile);
        assert_eq!(greeting(&[0xff; 5_000]).text.len() % 3, 0);
        assert!(greeting("\u{e9}".repeat(4_000).as_bytes()).text.len() <= TEXT_BYTES_MAX + 3);
    }

    #[test]
    fn nothing_is_sent_to_paper_to_port_zero_or_to_a_machine_that_nobody_named() {
        for port in 9100..=9107 {
            assert_eq!(Target::named_by_the_user(SocketAddr::from(([127, 0, 0, 1], port))), Err(NotAsked::Paper));
            assert_eq!(Target::this_machine(SocketAddr::from(([127, 0, 0, 1], port))), Err(NotAsked::Paper));
        }
        assert_eq!(Target::this_machine(SocketAddr::from(([127, 0, 0, 1], 0))), Err(NotAsked::PortZero));
        for address in
            ["192.0.2.77:80", "255.255.255.255:80", "224.0.0.251:80", "[ff02::fb]:80", "[2001:db8::1]:80", "[::ffff:192.0.2.77]:80"]
        {
            assert_eq!(address.parse().map(Target::this_machine), Ok(Err(NotAsked::NotThisMachine)), "{address}");
        }
        for address in ["127.0.0.1:80", "127.9.9.9:80", "[::1]:80", "0.0.0.0:80", "[::]:80", "[::ffff:127.0.0.1]:80"] {
            assert!(address.parse().is_ok_and(|address| Target::this_machine(address).is_ok()), "{address}");
        }
        assert!(Target::named_by_the_user(SocketAddr::from(([192, 0, 2, 77], 80))).is_ok());
    }

    proptest! {
        #[test]
        fn no_answer_panics(bytes in proptest::collection::vec(any::<u8>(), 0..400), head in "(HTTP/1.1 [0-9 ]{0,6}\r?\n([A-Za-z]{0,8}:? ?\\PC{0,10}\r?\n){0,4})?") {
            let mut heard = head.into_bytes();
            heard.extend(bytes);
            let _ = greeting(&heard);
            let _ = http(&heard);
            let _ = is_server_hello(&heard);
        }
    }
}
