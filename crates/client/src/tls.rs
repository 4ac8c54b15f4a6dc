//! TLS 1.3 whose server is known by its key alone, and a socket with a deadline around every byte.

use std::{
    io::{self, Read, Write},
    net::{IpAddr, TcpStream},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, verify_tls13_signature},
    server::ParsedCertificate,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

/// SHA-256 of the SubjectPublicKeyInfo of the server at the other end. Fixed by the first handshake.
#[derive(Debug, Default)]
pub(crate) struct Pin(Mutex<Option<[u8; 32]>>);

impl Pin {
    pub(crate) fn held(&self) -> Option<[u8; 32]> {
        *self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Fixes it, or tells whether it is the one that was fixed.
    fn fix(&self, spki: [u8; 32]) -> bool {
        *self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).get_or_insert(spki) == spki
    }
}

/// Accepts any certificate, because who the server is is proved inside the connection (trust.md), but checks for real that the other end has the
/// certificate's private key: without that check a man in the middle who shows the genuine certificate would pass the pin.
#[derive(Debug)]
struct KeyOnly {
    provider: Arc<CryptoProvider>,
    pin: Arc<Pin>,
}

impl ServerCertVerifier for KeyOnly {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let spki = spki_hash(end_entity)?;
        match self.pin.held() {
            Some(pinned) if pinned != spki => Err(rustls::Error::General(CHANGED.into())),
            _ => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::PeerIncompatible(rustls::PeerIncompatible::ServerDoesNotSupportTls12Or13))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// What the error of a handshake with another key than before says.
pub(crate) const CHANGED: &str = "the server's certificate has changed since the first handshake";

fn spki_hash(certificate: &CertificateDer<'_>) -> Result<[u8; 32], rustls::Error> {
    let parsed = ParsedCertificate::try_from(certificate)?;
    Ok(triquest_license::sha256(&parsed.subject_public_key_info()))
}

/// TLS 1.3 only, no resumption (a resumed session never calls the verifier), no early data, no client certificate.
pub(crate) fn config(pin: Arc<Pin>) -> Arc<ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("the provider has cipher suites of TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(KeyOnly { provider, pin }))
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Arc::new(config)
}

/// A TCP socket whose every read and write ends by one deadline.
#[derive(Debug)]
pub(crate) struct Timed {
    socket: Arc<TcpStream>,
    deadline: Option<Instant>,
}

impl Timed {
    pub(crate) fn new(socket: TcpStream) -> Self {
        Self { socket: Arc::new(socket), deadline: None }
    }

    pub(crate) fn socket(&self) -> &Arc<TcpStream> {
        &self.socket
    }

    /// None waits for ever.
    #[expect(clippy::disallowed_methods, reason = "a socket's deadline, no right of a lease")]
    pub(crate) fn set_deadline(&mut self, after: Option<Duration>) {
        self.deadline = after.map(|after| Instant::now() + after);
    }

    #[expect(clippy::disallowed_methods, reason = "a socket's deadline, no right of a lease")]
    fn left(&self) -> io::Result<Option<Duration>> {
        match self.deadline {
            None => Ok(None),
            Some(deadline) => match deadline.checked_duration_since(Instant::now()) {
                Some(left) if left > Duration::ZERO => Ok(Some(left)),
                _ => Err(io::ErrorKind::TimedOut.into()),
            },
        }
    }
}

fn timed_out(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::WouldBlock { io::ErrorKind::TimedOut.into() } else { error }
}

impl Read for Timed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket.set_read_timeout(self.left()?)?;
        (&*self.socket).read(buffer).map_err(timed_out)
    }
}

impl Write for Timed {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.socket.set_write_timeout(self.left()?)?;
        (&*self.socket).write(buffer).map_err(timed_out)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A TLS connection after its handshake.
#[derive(Debug)]
pub(crate) struct TlsStream {
    tls: Box<ClientConnection>,
    socket: Timed,
    /// SHA-256 of the SubjectPublicKeyInfo that the handshake proved.
    pub(crate) spki: [u8; 32],
}

impl TlsStream {
    /// The handshake, within `after`.
    pub(crate) fn handshake(config: Arc<ClientConfig>, pin: &Pin, host: &str, socket: TcpStream, after: Duration) -> io::Result<Self> {
        let peer = socket.peer_addr()?.ip();
        let mut socket = Timed::new(socket);
        socket.set_deadline(Some(after));
        let mut tls = ClientConnection::new(config, server_name(host, peer)).map_err(io::Error::other)?;
        while tls.is_handshaking() {
            let (read, written) = tls.complete_io(&mut socket)?;
            if read == 0 && written == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        let leaf = tls.peer_certificates().and_then(|chain| chain.first()).ok_or(io::ErrorKind::InvalidData)?;
        let spki = spki_hash(leaf).map_err(io::Error::other)?;
        if !pin.fix(spki) {
            return Err(io::Error::other(CHANGED));
        }
        Ok(Self { tls: Box::new(tls), socket, spki })
    }

    pub(crate) fn timed(&mut self) -> &mut Timed {
        &mut self.socket
    }
}

impl Read for TlsStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        rustls::Stream::new(&mut *self.tls, &mut self.socket).read(buffer)
    }
}

impl Write for TlsStream {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        rustls::Stream::new(&mut *self.tls, &mut self.socket).write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        rustls::Stream::new(&mut *self.tls, &mut self.socket).flush()
    }
}

/// A name for SNI: the host's, or its address if that is no DNS name.
fn server_name(host: &str, peer: IpAddr) -> ServerName<'static> {
    ServerName::try_from(host.to_owned()).unwrap_or_else(|_| ServerName::IpAddress(peer.into()))
}
