//! A small double of the server's protocol, built from the same wire and license crates, whose every answer a test may bend.
#![allow(dead_code, clippy::unwrap_used, unreachable_pub)]

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use rustls::{
    ServerConfig, ServerConnection,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use serde_json::{Value, json};
use triquest_license::{LicenseHash, Note, ServerKey, Signer, SigningKey, VendorName, Vocabulary, merkle, sha256, statement};
use triquest_wire::{
    Blob, Bytes16, Bytes32, Bytes64, Lineage, Position, Retry, WordList,
    identity::{IdentityReply, IdentityRequest},
    lease::{CheckoutAnswer, CheckoutRequest, Denial, DenialCode, PoolNumbers},
    trust::{GrantPayload, GrantedItem, GrantsStatement, SignedGrant, TrustAnswer, TrustPayload, TrustRequest},
};

pub const LINEAGE: Lineage = Lineage([7; 16]);

/// A vendor, a server key, and the licenses that bring them together.
#[derive(Clone)]
pub struct World {
    pub vendor: Signer,
    pub server: SigningKey,
    pub licenses: Vec<String>,
    pub ttl_ms: u64,
    pub grace_ms: u64,
    pub presence: bool,
    pub seats: Arc<Mutex<Seats>>,
}

#[derive(Debug, Default)]
pub struct Seats {
    pub total: u32,
    pub held: BTreeMap<String, u32>,
    pub released: Vec<String>,
    pub index: u64,
}

pub fn signer(name: &str, seed: u8) -> Signer {
    Signer::new(VendorName::new(name).unwrap(), SigningKey::from_seed([seed; 32]))
}

/// A license text; `entitlements` are the tables of it.
pub fn text(id: &str, vendors: &[&Signer], servers: &str, entitlements: &str) -> String {
    let keys: Vec<String> = vendors.iter().map(|vendor| format!("\"{}\"", vendor.verifier_key())).collect();
    format!(
        "format = \"triquest-lm/v1/license\"\nlicense = \"{id}\"\nvendor = \"{}\"\nverifier = [{}]\nlicensee = \"Initech GmbH\"\nissued = 2026-01-01\nservers = {servers}\n{entitlements}",
        vendors[0].name(),
        keys.join(", ")
    )
}

pub fn note(id: &str, vendors: &[&Signer], servers: &str, entitlements: &str) -> String {
    let text = text(id, vendors, servers, entitlements);
    let signers: Vec<Signer> = vendors.iter().map(|vendor| (*vendor).clone()).collect();
    String::from_utf8(Note::sign(&text, &signers).unwrap().to_file_bytes()).unwrap()
}

pub const CAD: &str =
    "\n[[entitlement]]\nfeature = \"cad\"\nversion = \"12.4\"\nseats = 25\nexpires = 2099-12-31\ngrace = \"15min\"\npresence = true\n";
pub const SIM: &str = "\n[[entitlement]]\nfeature = \"sim\"\nseats = 4\nttl_max = \"5min\"\npresence = false\n";

impl World {
    pub fn new() -> Self {
        let vendor = signer("acme.example", 1);
        let server = SigningKey::from_seed([2; 32]);
        let servers = format!("[\"{}\"]", ServerKey::new(*server.public()));
        let licenses = vec![note("ACME-1", &[&vendor], &servers, &format!("{CAD}{SIM}"))];
        Self {
            vendor,
            server,
            licenses,
            ttl_ms: 300_000,
            grace_ms: 0,
            presence: false,
            seats: Arc::new(Mutex::new(Seats { total: 25, ..Seats::default() })),
        }
    }

    pub fn server_key(&self) -> ServerKey {
        ServerKey::new(*self.server.public())
    }

    pub fn keys(&self) -> String {
        self.vendor.verifier_key().to_string()
    }

    pub fn hashes(&self) -> Vec<[u8; 32]> {
        self.licenses.iter().map(|note| *LicenseHash::of_text(Note::parse(note.as_bytes()).unwrap().text()).as_bytes()).collect()
    }

    pub fn trust_payload(&self, asked: &TrustRequest) -> TrustPayload {
        TrustPayload {
            server_key: self.server_key().to_string(),
            vendor_keys: asked.vendor_keys.clone(),
            nonce: asked.nonce,
            tls_spki: asked.tls_spki,
            lineage: LINEAGE,
            instance: Bytes32([3; 32]),
            at_ms: 0,
            server_time_ms: 0,
            uses: WordList::default(),
            offers: WordList::with_grease(&Vocabulary::OURS.all(), 9),
            licenses: self.hashes().into_iter().map(Bytes32).collect(),
        }
    }

    pub fn sign_trust(&self, payload: &[u8], key: &SigningKey) -> TrustAnswer {
        TrustAnswer {
            statement: Blob(payload.to_vec()),
            signature: Bytes64(statement::sign(key, statement::StatementKind::Trust, payload)),
            licenses: self.licenses.clone(),
        }
    }

    pub fn grant_payload(&self, asked: &CheckoutRequest) -> GrantPayload {
        let hash = Bytes32(self.hashes()[0]);
        GrantPayload {
            uses: WordList::default(),
            lease: asked.secret.lease_id(),
            nonce: asked.nonce,
            server_key: self.server_key().to_string(),
            lineage: LINEAGE,
            epoch: 1,
            index: 5,
            granted_at_ms: 1000,
            ttl_ms: self.ttl_ms,
            grace_ms: self.grace_ms,
            presence: self.presence,
            items: asked
                .items
                .iter()
                .map(|item| GrantedItem {
                    feature: item.feature.clone(),
                    version: item.version.clone(),
                    seats: item.seats,
                    from: vec![triquest_wire::trust::From {
                        license: hash,
                        entitlement: u16::from(item.feature == "sim"),
                        seats: item.seats,
                    }],
                })
                .collect(),
            vendor_data: vec![],
        }
    }

    /// Signs a grant among two others, so that its path is not empty.
    pub fn sign_grant(&self, payload: &[u8], key: &SigningKey) -> SignedGrant {
        let leaves = [merkle::leaf_hash(b"before"), merkle::leaf_hash(payload), merkle::leaf_hash(b"after")];
        let statement = serde_json::to_vec(&GrantsStatement {
            server_key: ServerKey::new(*key.public()).to_string(),
            lineage: LINEAGE,
            epoch: 1,
            instance: Bytes16([6; 16]),
            index: 5,
            size: 3,
            root: Bytes32(merkle::root(&leaves)),
        })
        .unwrap();
        SignedGrant {
            grant: Blob(payload.to_vec()),
            position: 1,
            path: merkle::paths(&leaves)[1].iter().map(|hash| Bytes32(*hash)).collect(),
            signature: Bytes64(statement::sign(key, statement::StatementKind::Grants, &statement)),
            statement: Blob(statement),
        }
    }

    pub fn position(&self) -> Position {
        let mut seats = self.seats.lock().unwrap();
        seats.index += 1;
        Position { lineage: LINEAGE, epoch: 1, index: 5 + seats.index }
    }

    /// What an honest server answers.
    pub fn honest(&self, ask: &Ask) -> Reply {
        match ask.path.as_str() {
            "/v1/trust" => {
                let asked: TrustRequest = serde_json::from_slice(&ask.body).unwrap();
                if asked.tls_spki.0 != ask.spki {
                    return problem(421, "misdirected", "never");
                }
                let payload = serde_json::to_vec(&self.trust_payload(&asked)).unwrap();
                Reply::json(&self.sign_trust(&payload, &self.server))
            }
            "/v1/leases" => {
                let asked: CheckoutRequest = serde_json::from_slice(&ask.body).unwrap();
                let wanted = asked.items.iter().map(|item| item.seats).sum::<u32>();
                let id = asked.secret.lease_id().to_string();
                {
                    let mut seats = self.seats.lock().unwrap();
                    let used: u32 = seats.held.values().sum();
                    if !seats.held.contains_key(&id) {
                        if used + wanted > seats.total {
                            let denial = Denial {
                                code: DenialCode::NoSeatFree,
                                retry: Retry::Later,
                                feature: Some(asked.items[0].feature.clone()),
                                seats: wanted,
                                pool: PoolNumbers { total: seats.total.into(), used: used.into(), ..PoolNumbers::default() },
                                first_due_ms: Some(60_000),
                                newest_version: None,
                                at: None,
                                message: format!("no seat of {} is free ({used} of {} in use)", asked.items[0].feature, seats.total),
                                hint: String::new(),
                            };
                            drop(seats);
                            return Reply::json(&CheckoutAnswer::Denied { position: self.position(), denial });
                        }
                        seats.held.insert(id, wanted);
                    }
                }
                let payload = serde_json::to_vec(&self.grant_payload(&asked)).unwrap();
                Reply::json(&CheckoutAnswer::Granted {
                    position: self.position(),
                    grant: self.sign_grant(&payload, &self.server),
                    remaining_ms: self.ttl_ms,
                    licenses: vec![],
                })
            }
            "/v1/presence" => {
                Reply::json(&json!({"position": self.position(), "live": 1, "connection": "A".repeat(22), "frees": "at_once"}))
            }
            "/v1/presence/change" => Reply::json(&json!({"position": self.position(), "live": 1})),
            path if path.ends_with("/renew") => {
                let asked: Value = serde_json::from_slice(&ask.body).unwrap();
                Reply::json(&json!({
                    "outcome": "renewed", "position": self.position(), "nonce": asked["nonce"], "counter": asked["counter"],
                    "remaining_ms": self.ttl_ms,
                }))
            }
            path if path.ends_with("/release") => {
                let id = path.split('/').nth(3).unwrap().to_owned();
                let mut seats = self.seats.lock().unwrap();
                seats.held.remove(&id);
                seats.released.push(id);
                drop(seats);
                Reply::json(&json!({"outcome": "released", "position": self.position(), "linger_ms": 0}))
            }
            _ => problem(404, "not_found", "never"),
        }
    }
}

/// One request.
#[derive(Clone, Debug)]
pub struct Ask {
    pub path: String,
    pub body: Vec<u8>,
    /// Of the certificate that this double serves.
    pub spki: [u8; 32],
    /// Counts connections.
    pub connection: usize,
}

pub enum Reply {
    /// Status, further header lines, body.
    Answer(u16, String, Vec<u8>),
    /// Bytes as they are, then nothing more but the open connection.
    Raw(Vec<u8>),
    /// Bytes as they are, and the connection ends.
    Last(Vec<u8>),
    /// Bytes without an end.
    Endless(Vec<u8>, Vec<u8>),
    /// The connection ends.
    Close,
}

impl Reply {
    pub fn json(body: &impl serde::Serialize) -> Self {
        Self::Answer(200, String::new(), serde_json::to_vec(body).unwrap())
    }
}

pub fn problem(status: u16, code: &str, retry: &str) -> Reply {
    let body = json!({
        "type": format!("urn:triquest-lm:error:{code}"), "title": code, "status": status, "detail": format!("{code} said the double"),
        "code": code, "retry": retry, "took_effect": "no",
    });
    Reply::Answer(status, String::new(), serde_json::to_vec(&body).unwrap())
}

/// A certificate with its key.
pub struct Identity {
    pub certified: Arc<CertifiedKey>,
    pub spki: [u8; 32],
}

pub fn identity() -> Identity {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["localhost".into()]).unwrap().self_signed(&key).unwrap();
    let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let signing = rustls::crypto::aws_lc_rs::sign::any_supported_type(&private).unwrap();
    let spki = sha256(&signing.public_key().unwrap());
    Identity { certified: Arc::new(CertifiedKey::new(vec![certificate.der().clone()], signing)), spki }
}

/// The certificate of one with the key of the other, as a man in the middle has it.
pub fn stolen_certificate(genuine: &Identity, thief: &Identity) -> Identity {
    let certified = CertifiedKey::new(genuine.certified.cert.clone(), thief.certified.key.clone());
    Identity { certified: Arc::new(certified), spki: genuine.spki }
}

#[derive(Debug)]
struct Shown(Mutex<Arc<CertifiedKey>>);

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.lock().unwrap().clone())
    }
}

/// A running double.
pub struct Double {
    pub address: SocketAddr,
    pub log: Arc<Mutex<Vec<Ask>>>,
    pub connections: Arc<AtomicUsize>,
    sockets: Arc<Mutex<BTreeMap<usize, TcpStream>>>,
    shown: Arc<Shown>,
    spki: Arc<Mutex<[u8; 32]>>,
}

impl Double {
    pub fn start(identity: &Identity, answer: impl Fn(&Ask) -> Reply + Send + Sync + 'static) -> Self {
        let shown = Arc::new(Shown(Mutex::new(identity.certified.clone())));
        let mut config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(shown.clone());
        // Offered, and never taken by our client.
        config.max_early_data_size = 16_384;
        let config = Arc::new(config);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let double = Self {
            address: listener.local_addr().unwrap(),
            log: Arc::default(),
            connections: Arc::default(),
            sockets: Arc::default(),
            shown,
            spki: Arc::new(Mutex::new(identity.spki)),
        };
        let (log, connections, spki) = (double.log.clone(), double.connections.clone(), double.spki.clone());
        let sockets = double.sockets.clone();
        let answer = Arc::new(answer);
        thread::spawn(move || {
            for socket in listener.incoming() {
                let Ok(socket) = socket else { return };
                let connection = connections.fetch_add(1, Ordering::SeqCst) + 1;
                sockets.lock().unwrap().insert(connection, socket.try_clone().unwrap());
                let (config, log, answer, spki) = (config.clone(), log.clone(), answer.clone(), *spki.lock().unwrap());
                let sockets = sockets.clone();
                thread::spawn(move || {
                    let Ok(tls) = ServerConnection::new(config) else { return };
                    let mut stream = rustls::StreamOwned::new(tls, socket);
                    while let Some((path, body)) = read_request(&mut stream) {
                        let ask = Ask { path, body, spki, connection };
                        log.lock().unwrap().push(ask.clone());
                        if !write_reply(&mut stream, answer(&ask)) {
                            break;
                        }
                    }
                    sockets.lock().unwrap().remove(&connection);
                });
            }
        });
        double
    }

    pub fn honest(world: &World) -> Self {
        let world = world.clone();
        Self::start(&identity(), move |ask| world.honest(ask))
    }

    /// Serves another certificate from now on.
    pub fn rotate(&self, identity: &Identity) {
        *self.shown.0.lock().unwrap() = identity.certified.clone();
        *self.spki.lock().unwrap() = identity.spki;
    }

    /// Ends a connection in order.
    pub fn end(&self, connection: usize) {
        self.sockets.lock().unwrap()[&connection].shutdown(std::net::Shutdown::Both).unwrap();
    }

    /// Ends every connection in order.
    pub fn end_all(&self) {
        self.sockets.lock().unwrap().values().for_each(|socket| drop(socket.shutdown(std::net::Shutdown::Both)));
    }

    pub fn name(&self) -> String {
        format!("{}@127.0.0.1", self.address.port())
    }

    pub fn paths(&self) -> Vec<String> {
        self.log.lock().unwrap().iter().map(|ask| ask.path.clone()).collect()
    }

    /// Everything that a client has sent, as text.
    pub fn heard(&self) -> String {
        self.log.lock().unwrap().iter().map(|ask| format!("{} {}\n", ask.path, String::from_utf8_lossy(&ask.body))).collect()
    }
}

pub fn read_request(stream: &mut impl Read) -> Option<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        match stream.read(&mut chunk) {
            Ok(0) | Err(_) => return None,
            Ok(read) => bytes.extend_from_slice(&chunk[..read]),
        }
    };
    let head = String::from_utf8(bytes[..end].to_vec()).ok()?;
    let path = head.split(' ').nth(1)?.to_owned();
    let length: usize = head
        .to_ascii_lowercase()
        .lines()
        .find_map(|line| line.strip_prefix("content-length:").map(|value| value.trim().parse().unwrap()))
        .unwrap_or(0);
    let mut body = bytes.split_off(end + 4);
    while body.len() < length {
        match stream.read(&mut chunk) {
            Ok(0) | Err(_) => return None,
            Ok(read) => body.extend_from_slice(&chunk[..read]),
        }
    }
    Some((path, body))
}

fn write_reply(stream: &mut impl Write, reply: Reply) -> bool {
    let written = match reply {
        Reply::Answer(status, headers, body) => {
            let head = format!("HTTP/1.1 {status} X\r\nContent-Type: application/json\r\n{headers}Content-Length: {}\r\n\r\n", body.len());
            stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body)).and_then(|()| stream.flush())
        }
        Reply::Raw(bytes) => stream.write_all(&bytes).and_then(|()| stream.flush()),
        Reply::Last(bytes) => {
            let _ = stream.write_all(&bytes).and_then(|()| stream.flush());
            return false;
        }
        Reply::Endless(first, again) => {
            let mut written = stream.write_all(&first);
            while written.is_ok() {
                written = stream.write_all(&again);
            }
            written
        }
        Reply::Close => return false,
    };
    written.is_ok()
}

/// A port on which nothing listens.
pub fn closed_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A listener that takes connections and hands each to `serve`.
pub fn raw(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serve = Arc::new(serve);
    thread::spawn(move || {
        for socket in listener.incoming() {
            let Ok(socket) = socket else { return };
            let serve = serve.clone();
            thread::spawn(move || serve(socket));
        }
    });
    address
}

/// A peer that takes so long.
pub fn pass(slow: std::time::Duration) {
    let (_nobody, waits) = std::sync::mpsc::channel::<()>();
    let _ = waits.recv_timeout(slow);
}

/// How a client's side of a TCP connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    InOrder,
    Reset,
}

/// Stands in front of a double and sees how each connection is left. Connections are counted as the double counts them.
pub struct Relay {
    pub address: SocketAddr,
    pub ends: std::sync::mpsc::Receiver<(usize, End)>,
}

impl Relay {
    pub fn start(to: SocketAddr) -> Self {
        Self::start_slow(to, std::time::Duration::ZERO)
    }

    /// Keeps the first bytes of the double back for so long.
    pub fn start_slow(to: SocketAddr, slow: std::time::Duration) -> Self {
        let (sender, ends) = std::sync::mpsc::channel();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for (number, client) in listener.incoming().enumerate() {
                let (Ok(mut client), Ok(mut server)) = (client, TcpStream::connect(to)) else { return };
                let (mut back, mut answers, sender) = (client.try_clone().unwrap(), server.try_clone().unwrap(), sender.clone());
                thread::spawn(move || {
                    let _ = answers.peek(&mut [0]);
                    pass(slow);
                    let _ = std::io::copy(&mut answers, &mut back);
                });
                thread::spawn(move || {
                    let end = match std::io::copy(&mut client, &mut server) {
                        Ok(_) => End::InOrder,
                        Err(_) => End::Reset,
                    };
                    let _ = sender.send((number + 1, end));
                    let _ = server.shutdown(std::net::Shutdown::Both);
                });
            }
        });
        Self { address, ends }
    }

    pub fn name(&self) -> String {
        format!("{}@127.0.0.1", self.address.port())
    }

    /// How this connection was left; waits for it.
    pub fn end_of(&self, connection: usize) -> End {
        loop {
            let (ended, how) = self.ends.recv_timeout(std::time::Duration::from_secs(30)).unwrap();
            if ended == connection {
                return how;
            }
        }
    }
}

/// Answers identity questions over UDP on the port of a double; what it answers a test may bend.
pub struct Responder {
    pub address: SocketAddr,
    pub asked: Arc<AtomicUsize>,
}

impl Responder {
    /// `answer` is given the question and who asked, and gives the datagrams to send back, in order.
    pub fn start(address: SocketAddr, answer: impl Fn(IdentityRequest, SocketAddr) -> Vec<Vec<u8>> + Send + 'static) -> Self {
        let socket = UdpSocket::bind(address).unwrap();
        let responder = Self { address: socket.local_addr().unwrap(), asked: Arc::default() };
        let asked = responder.asked.clone();
        thread::spawn(move || {
            let mut bytes = [0; 2_048];
            while let Ok((length, from)) = socket.recv_from(&mut bytes) {
                let Some(request) = IdentityRequest::parse(&bytes[..length]) else { continue };
                asked.fetch_add(1, Ordering::SeqCst);
                for datagram in answer(request, from) {
                    let _ = socket.send_to(&datagram, from);
                }
            }
        });
        responder
    }

    /// As the server does it, beside this double.
    pub fn honest(world: &World, double: &Double) -> Self {
        let (key, spki, port) = (world.server.clone(), *double.spki.lock().unwrap(), double.address.port());
        Self::start(double.address, move |request, from| vec![udp_reply(&key, spki, [3; 8], port, request.nonce, from).encode(&key)])
    }
}

pub fn udp_reply(
    key: &SigningKey,
    tls_spki: [u8; 32],
    instance: [u8; 8],
    tcp_port: u16,
    nonce: [u8; 32],
    asker: SocketAddr,
) -> IdentityReply {
    IdentityReply {
        nonce,
        server_key: ServerKey::new(*key.public()),
        tls_spki,
        instance,
        tcp_port,
        asker,
        answerer: None,
        name: "tqlic01.initech.example".into(),
        version: "0.1.0".into(),
    }
}
