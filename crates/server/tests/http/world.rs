//! A server and clients for it.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, LazyLock},
    time::Duration,
};

use rustls::{
    ClientConfig, DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpStream, UnixStream},
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use triquest_allocator::Lineage;
use triquest_journal::memory::MemoryDisk;
use triquest_license::{Note, Signer, SigningKey, VendorName, sha256};
use triquest_server::{
    Config, Running, Server, Settings,
    clock::HandClock,
    limits::{Frequency, Limits},
};
use triquest_wire::{Blob, Bytes16, Bytes32, LeaseId, Secret};

/// 2026-11-23T12:00:00Z.
pub const NOW_MS: i64 = 1_795_435_200_000;

pub struct World {
    pub running: Option<Running>,
    pub clock: HandClock,
    pub dir: tempfile::TempDir,
    pub vendor: Signer,
    pub disk: MemoryDisk,
    pub limits: Limits,
}

pub fn vendor(number: u8) -> Signer {
    Signer::new(VendorName::new("acme.example").unwrap(), SigningKey::from_seed([number; 32]))
}

impl World {
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// A server with two seats of `cad` and 1,000 of `sim`.
    pub async fn with_seats() -> Self {
        let world = Self::start().await;
        world.install(&world.license("A-1", "cad", 2)).await;
        world.install(&world.license("A-2", "sim", 1_000)).await;
        world
    }

    pub async fn start_with(edit: impl FnOnce(&mut Config)) -> Self {
        Self::start_as(edit, |_| {}).await
    }

    /// A server with two seats of `cad` and 1,000 of `sim`, and with other limits.
    pub async fn limited(edit: impl FnOnce(&mut Limits)) -> Self {
        let world = Self::start_as(|_| {}, edit).await;
        world.install(&world.license("A-1", "cad", 2)).await;
        world.install(&world.license("A-2", "sim", 1_000)).await;
        world
    }

    pub async fn start_as(edit: impl FnOnce(&mut Config), limit: impl FnOnce(&mut Limits)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let disk = MemoryDisk::new(Lineage([7; 16]));
        let clock = HandClock::new(NOW_MS);
        // The clock stands still unless it is moved, so nothing that was charged is ever paid off: looking often is no part of most tests.
        let often = Frequency { burst: 1_000_000_000, per_second: 1_000_000 };
        let mut limits = Limits { reading_us: often, ..Limits::default() };
        limits.reads.network = often;
        limit(&mut limits);
        let mut world = Self { running: None, clock, dir, vendor: vendor(1), disk, limits };
        world.running = Some(world.run(edit).await.unwrap());
        world
    }

    /// What a reload reads once it is there.
    pub fn config_file(&self) -> PathBuf {
        self.dir.path().join("config.toml")
    }

    /// Starts on the same directory and disk.
    pub async fn run(&self, edit: impl FnOnce(&mut Config)) -> anyhow::Result<Running> {
        let mut config = Config { data: Some(self.dir.path().join("data")), listen: vec!["127.0.0.1:0".into()], ..Config::default() };
        edit(&mut config);
        let settings = Settings { init: true, limits: self.limits.clone(), beside: Some(self.config_file()), ..Settings::of(config) };
        Server::start_with(settings, Arc::new(self.clock.clone()), Some(Box::new(self.disk.open()))).await
    }

    pub fn running(&self) -> &Running {
        self.running.as_ref().unwrap()
    }

    pub fn address(&self) -> SocketAddr {
        self.running().addresses()[0]
    }

    pub fn socket(&self) -> PathBuf {
        self.running().admin_socket()
    }

    /// A license of our vendor for this server.
    pub fn license(&self, id: &str, feature: &str, seats: u32) -> String {
        self.license_with(id, feature, seats, "", "")
    }

    pub fn license_with(&self, id: &str, feature: &str, seats: u32, top: &str, terms: &str) -> String {
        let key = self.running().server_key();
        let verifier = self.vendor.verifier_key();
        let text = format!(
            "format = \"triquest-lm/v1/license\"\nlicense = \"{id}\"\nvendor = \"acme.example\"\nverifier = [\"{verifier}\"]\n\
             licensee = \"Initech GmbH\"\nissued = 2026-11-20\nservers = [\"{key}\"]\n{top}\n[[entitlement]]\nfeature = \"{feature}\"\nseats = {seats}\n{terms}"
        );
        String::from_utf8(Note::sign(&text, std::slice::from_ref(&self.vendor)).unwrap().to_file_bytes()).unwrap()
    }

    pub async fn install(&self, license: &str) -> Value {
        let (status, body) = self.admin("POST", "/v1/licenses", &json!({ "license": license })).await;
        assert_eq!(status, 200, "{body}");
        body
    }

    /// One request over the Unix socket.
    pub async fn admin(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let stream = UnixStream::connect(self.socket()).await.unwrap();
        let mut client = Client { stream, buffer: Vec::new() };
        let answer = client.json(method, path, body).await;
        (answer.status, answer.json())
    }

    pub async fn connect(&self) -> Client<TlsStream<TcpStream>> {
        Client { stream: tls(self.address(), &[b"http/1.1"]).await.unwrap(), buffer: Vec::new() }
    }

    /// One request over TLS.
    pub async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let answer = self.connect().await.json("POST", path, body).await;
        (answer.status, answer.json())
    }

    pub async fn get(&self, path: &str) -> (u16, Value) {
        let answer = self.connect().await.send("GET", path, &[], b"").await;
        (answer.status, answer.json())
    }

    /// The body of a checkout for one seat.
    pub fn checkout(&self, secret: u64, feature: &str) -> Value {
        json!({
            "secret": self::secret(secret), "attempt": 1, "nonce": Bytes32([9; 32]), "vendor_keys": [Bytes32(*self.vendor.verifier_key().public().as_bytes())],
            "items": [{ "feature": feature, "seats": 1 }], "holder": { "user": "ana", "host": "WS1." },
        })
    }

    /// Waits until the pool's number is so.
    pub async fn until(&self, feature: &str, number: &str, value: u64) {
        let path = format!("/v1/status?feature={feature}");
        let wait = async {
            while self.get(&path).await.1["pools"][0][number] != value {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), wait).await.unwrap_or_else(|_| panic!("{number} of {feature} never became {value}"));
    }

    /// Takes a seat and says under which id.
    pub async fn take(&self, number: u64, feature: &str) -> LeaseId {
        let (status, body) = self.post("/v1/leases", &self.checkout(number, feature)).await;
        assert_eq!((status, body["outcome"].as_str()), (200, Some("granted")), "{body}");
        lease(number)
    }
}

pub fn secret(number: u64) -> Secret {
    Secret(Bytes32(sha256(&number.to_be_bytes())))
}

pub fn lease(number: u64) -> LeaseId {
    secret(number).lease_id()
}

pub fn renewal(number: u64, counter: u64) -> Value {
    json!({ "secret": secret(number), "nonce": Bytes16([counter as u8; 16]), "counter": counter })
}

pub fn blob(value: &Value) -> Vec<u8> {
    serde_json::from_value::<Blob>(value.clone()).unwrap().0
}

/// Takes any certificate, but only with a true proof of its key.
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
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.2".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

pub fn client_config(alpn: &[&[u8]]) -> ClientConfig {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    config
}

pub async fn tls(address: SocketAddr, alpn: &[&[u8]]) -> std::io::Result<TlsStream<TcpStream>> {
    tls_over(TcpStream::connect(address).await?, alpn).await
}

pub async fn tls_over(stream: TcpStream, alpn: &[&[u8]]) -> std::io::Result<TlsStream<TcpStream>> {
    TlsConnector::from(Arc::new(client_config(alpn))).connect(ServerName::try_from("localhost").unwrap(), stream).await
}

/// SHA-256 over the SubjectPublicKeyInfo that the server proved.
pub fn spki(stream: &TlsStream<TcpStream>) -> Bytes32 {
    let leaf = &stream.get_ref().1.peer_certificates().unwrap()[0];
    let parsed = rustls::server::ParsedCertificate::try_from(leaf).unwrap();
    Bytes32(sha256(parsed.subject_public_key_info().as_ref()))
}

pub struct Client<S> {
    pub stream: S,
    pub buffer: Vec<u8>,
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .find_map(|line| line.split_once(": ").filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value))
    }
}

/// Whatever any test is refused with is among the errors that the description of the API lists for that path.
fn is_listed(method: &str, path: &str, answer: &Answer) {
    static DOCUMENT: LazyLock<Value> = LazyLock::new(triquest_server::http::openapi::document);
    let method = if method == "HEAD" { "get".to_owned() } else { method.to_ascii_lowercase() };
    let path = path.split('?').next().unwrap();
    let is_of = |template: &str| {
        let (parts, named) = (path.split('/'), template.split('/'));
        parts.clone().count() == named.clone().count() && parts.zip(named).all(|(part, name)| part == name || name.starts_with('{'))
    };
    let paths = DOCUMENT["paths"].as_object().unwrap();
    // A path without anything to be filled in is meant before one with it.
    let described = paths.get(path).or_else(|| paths.iter().find(|(template, _)| is_of(template)).map(|(_, described)| described));
    let (Some(described), Some(code)) = (described.map(|described| &described[&method]), answer.json()["code"].as_str().map(str::to_owned))
    else {
        return;
    };
    if !described.is_object() || answer.status < 400 {
        return;
    }
    let listed = described["responses"][answer.status.to_string()]["description"].as_str().unwrap_or_default();
    assert!(listed.contains(&format!("`{code}`")), "{method} {path} answers {} {code}, which it does not list", answer.status);
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    pub async fn json(&mut self, method: &str, path: &str, body: &Value) -> Answer {
        self.send(method, path, &["Content-Type: application/json"], body.to_string().as_bytes()).await
    }

    /// Sends a request with these header lines and reads the whole answer.
    pub async fn send(&mut self, method: &str, path: &str, headers: &[&str], body: &[u8]) -> Answer {
        let mut request = format!("{method} {path} HTTP/1.1\r\n");
        if !headers.iter().any(|line| line.starts_with("Host:")) {
            request.push_str("Host: localhost\r\n");
        }
        for line in headers {
            request.push_str(line);
            request.push_str("\r\n");
        }
        if !body.is_empty() {
            request.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        request.push_str("\r\n");
        let mut bytes = request.into_bytes();
        bytes.extend_from_slice(body);
        self.stream.write_all(&bytes).await.unwrap();
        self.stream.flush().await.unwrap();
        let answer = self.answer().await;
        is_listed(method, path, &answer);
        answer
    }

    /// What comes up to and with `end`; `None` if the server ends first.
    pub async fn read_until(&mut self, end: &[u8]) -> Option<Vec<u8>> {
        tokio::time::timeout(Duration::from_secs(60), self.read_on_until(end)).await.expect("an answer in time")
    }

    async fn read_on_until(&mut self, end: &[u8]) -> Option<Vec<u8>> {
        loop {
            if let Some(place) = self.buffer.windows(end.len()).position(|window| window == end) {
                let rest = self.buffer.split_off(place + end.len());
                return Some(std::mem::replace(&mut self.buffer, rest));
            }
            let mut piece = [0u8; 16_384];
            match self.stream.read(&mut piece).await {
                Ok(0) | Err(_) => return None,
                Ok(count) => self.buffer.extend_from_slice(&piece[..count]),
            }
        }
    }

    pub async fn answer(&mut self) -> Answer {
        let head = self.read_until(b"\r\n\r\n").await.expect("an answer");
        let head = String::from_utf8(head).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let mut answer = Answer { status, head, body: Vec::new() };
        if let Some(length) = answer.header("content-length") {
            let length: usize = length.parse().unwrap();
            while self.buffer.len() < length {
                let mut piece = [0u8; 16_384];
                let count = self.stream.read(&mut piece).await.unwrap();
                assert!(count > 0, "the body broke off");
                self.buffer.extend_from_slice(&piece[..count]);
            }
            let rest = self.buffer.split_off(length);
            answer.body = std::mem::replace(&mut self.buffer, rest);
        }
        answer
    }
}
