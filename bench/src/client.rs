//! The smallest HTTP/1.1 client over TLS 1.3 that is enough to measure a server: keep-alive, one request at a time, bodies with a length.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::{TlsConnector, client::TlsStream};
use triquest_wire::limits::ANSWER_BYTES_MAX;

/// Takes any certificate, but only with a genuine handshake: what is measured runs on this machine and was started by this process.
/// Applications use `triquest-client`, which checks the whole chain.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.3 only".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// How to connect to servers on this machine.
///
/// # Errors
/// If TLS 1.3 is not there.
pub(crate) fn tls() -> anyhow::Result<TlsConnector> {
    let mut config = config()?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

/// The same without a protocol above TLS.
///
/// # Errors
/// If TLS 1.3 is not there.
pub(crate) fn config() -> anyhow::Result<rustls::ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
        .with_no_client_auth();
    config.resumption = rustls::client::Resumption::disabled();
    Ok(config)
}

/// A TCP connection from this address of the loopback.
///
/// # Errors
/// If nothing listens there.
pub(crate) async fn connect_from(address: SocketAddr, source: IpAddr) -> anyhow::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(source, 0))?;
    let stream = socket.connect(address).await.with_context(|| format!("cannot connect to {address}"))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// One connection that is kept alive.
pub(crate) struct Connection {
    stream: TlsStream<TcpStream>,
    host: String,
    request: Vec<u8>,
    answer: Vec<u8>,
    body: std::ops::Range<usize>,
}

impl Connection {
    /// Connects and shakes hands.
    ///
    /// # Errors
    /// If nothing answers there, or not with TLS 1.3.
    pub(crate) async fn open(tls: &TlsConnector, address: SocketAddr) -> anyhow::Result<Self> {
        Self::open_from(tls, address, IpAddr::from([127, 0, 0, 1])).await
    }

    /// The same from this address of the loopback, so that several networks are there.
    ///
    /// # Errors
    /// As [`Connection::open`].
    pub(crate) async fn open_from(tls: &TlsConnector, address: SocketAddr, source: IpAddr) -> anyhow::Result<Self> {
        let stream = connect_from(address, source).await?;
        let stream = tls.connect(ServerName::from(address.ip()), stream).await.context("the TLS handshake failed")?;
        Ok(Self { stream, host: address.to_string(), request: Vec::new(), answer: Vec::new(), body: 0..0 })
    }

    /// The socket below.
    pub(crate) fn socket(&self) -> &TcpStream {
        self.stream.get_ref().0
    }

    /// Sends one request and reads its answer; the status. [`Connection::body`] has the body.
    ///
    /// # Errors
    /// If the connection ends or the answer is not as this client expects.
    pub(crate) async fn call(&mut self, method: &str, path: &str, body: &[u8]) -> anyhow::Result<u16> {
        self.call_with(method, path, "", body).await
    }

    /// The same with more lines of headers, each begun by a line end.
    ///
    /// # Errors
    /// As [`Connection::call`].
    pub(crate) async fn call_with(&mut self, method: &str, path: &str, headers: &str, body: &[u8]) -> anyhow::Result<u16> {
        self.request.clear();
        self.request.extend_from_slice(method.as_bytes());
        self.request.push(b' ');
        self.request.extend_from_slice(path.as_bytes());
        self.request.extend_from_slice(b" HTTP/1.1\r\nhost: ");
        self.request.extend_from_slice(self.host.as_bytes());
        if method != "GET" {
            self.request.extend_from_slice(b"\r\ncontent-type: application/json\r\ncontent-length: ");
            self.request.extend_from_slice(body.len().to_string().as_bytes());
        }
        self.request.extend_from_slice(headers.as_bytes());
        self.request.extend_from_slice(b"\r\n\r\n");
        self.request.extend_from_slice(body);
        self.stream.write_all(&self.request).await?;
        self.stream.flush().await?;
        self.read().await
    }

    /// The body of the last answer.
    pub(crate) fn body(&self) -> &[u8] {
        &self.answer[self.body.clone()]
    }

    /// Sends JSON, and reads JSON from an answer with status 200 or 201.
    ///
    /// # Errors
    /// Any other status, with the body as text.
    pub(crate) async fn json<T: DeserializeOwned>(&mut self, method: &str, path: &str, body: &impl Serialize) -> anyhow::Result<T> {
        let bytes = if method == "GET" { Vec::new() } else { serde_json::to_vec(body)? };
        let status = self.call(method, path, &bytes).await?;
        if !matches!(status, 200 | 201) {
            bail!("{method} {path} was answered {status}: {}", String::from_utf8_lossy(self.body()));
        }
        serde_json::from_slice(self.body()).with_context(|| format!("{method} {path}: {}", String::from_utf8_lossy(self.body())))
    }

    async fn read(&mut self) -> anyhow::Result<u16> {
        self.answer.clear();
        let mut end = None;
        loop {
            if end.is_none() {
                end = self.answer.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4);
            }
            if let Some(end) = end {
                let (status, length) = head(&self.answer[..end])?;
                if self.answer.len() >= end + length {
                    self.body = end..end + length;
                    return Ok(status);
                }
            }
            if self.answer.len() > ANSWER_BYTES_MAX {
                bail!("the answer has more than {ANSWER_BYTES_MAX} bytes");
            }
            if self.stream.read_buf(&mut self.answer).await? == 0 {
                bail!("the server closed the connection");
            }
        }
    }
}

fn head(bytes: &[u8]) -> anyhow::Result<(u16, usize)> {
    let text = std::str::from_utf8(bytes).context("the answer's head is not text")?;
    let mut lines = text.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|status| status.parse().ok()).context("no status line")?;
    let length = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .map_or(Ok(0), |(_, value)| value.trim().parse())
        .context("content-length is no number")?;
    Ok((status, length))
}
