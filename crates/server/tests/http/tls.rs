//! *Trust and TLS*, as far as the server is concerned; with clients that are not ours.

use std::process::Command;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use triquest_license::statement::{self, StatementKind};
use triquest_wire::{Bytes32, trust::TrustPayload};

use crate::world::{Client, World, blob, spki, vendor};

fn trust(world: &World, spki: Bytes32) -> serde_json::Value {
    json!({ "vendor_keys": [Bytes32(*world.vendor.verifier_key().public().as_bytes())], "nonce": Bytes32([3; 32]), "tls_spki": spki })
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_signs_for_the_connections_own_key() {
    let world = World::with_seats().await;
    let mut client = world.connect().await;
    let spki = spki(&client.stream);
    let body = client.json("POST", "/v1/trust", &trust(&world, spki)).await.json();
    let payload = blob(&body["statement"]);
    let signature = serde_json::from_value::<triquest_wire::Bytes64>(body["signature"].clone()).unwrap();
    let key = *world.running().server_key().public();
    statement::verify(&key, StatementKind::Trust, &payload, &signature.0).unwrap();
    assert!(statement::verify(&key, StatementKind::Grants, &payload, &signature.0).is_err(), "one kind never passes for another");
    let statement: TrustPayload = serde_json::from_slice(&payload).unwrap();
    assert_eq!((statement.tls_spki, statement.nonce), (spki, Bytes32([3; 32])));
    assert_eq!((statement.licenses.len(), body["licenses"].as_array().unwrap().len()), (2, 2));
    // What the connection was shown is not sent again.
    let granted = client.json("POST", "/v1/leases", &world.checkout(1, "cad")).await.json();
    assert!(granted.get("licenses").is_none(), "{granted}");
    // A newer text is.
    world.install(&world.license("A-3", "new", 5)).await;
    let granted = client.json("POST", "/v1/leases", &world.checkout(2, "new")).await.json();
    assert_eq!(granted["licenses"].as_array().unwrap().len(), 1, "{granted}");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_key_than_the_served_one_is_misdirected() {
    let world = World::with_seats().await;
    let (status, problem) = world.post("/v1/trust", &trust(&world, Bytes32([5; 32]))).await;
    assert_eq!((status, problem["code"].as_str()), (421, Some("misdirected")), "{problem}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_the_configuration_names_is_vouched_for() {
    let proxy = [5; 32];
    let world = World::start_with(|config| config.vouch_for = vec![triquest_server::config::KeyHash(proxy)]).await;
    assert_eq!(world.post("/v1/trust", &trust(&world, Bytes32(proxy))).await.0, 200);
    assert_eq!(world.post("/v1/trust", &trust(&world, Bytes32([6; 32]))).await.0, 421);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_learns_the_servers_key_and_nothing_else() {
    let world = World::with_seats().await;
    let mut client = world.connect().await;
    let mut asked = trust(&world, spki(&client.stream));
    asked["vendor_keys"] = json!([Bytes32(*vendor(9).verifier_key().public().as_bytes())]);
    let answer = client.json("POST", "/v1/trust", &asked).await;
    assert_eq!((answer.status, answer.json()["licenses"].as_array().unwrap().len()), (200, 0));
    asked["vendor_keys"] = json!((0..17).map(|n| Bytes32([n; 32])).collect::<Vec<_>>());
    assert_eq!(client.json("POST", "/v1/trust", &asked).await.status, 422);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reloaded_certificate_is_served_and_signed_for_without_a_restart() {
    let world = World::with_seats().await;
    let old = world.connect().await;
    let before = spki(&old.stream);
    for file in ["tls.key", "tls.crt"] {
        std::fs::remove_file(world.running().data_dir().join(file)).unwrap();
    }
    let changes = world.running().reload().await.unwrap();
    assert_eq!(changes, ["another certificate is served"]);
    let mut new = world.connect().await;
    let after = spki(&new.stream);
    assert_ne!(before, after);
    assert_eq!(new.json("POST", "/v1/trust", &trust(&world, after)).await.status, 200);
    // The old key may be in wrong hands: nothing is signed for it any more.
    let mut old = old;
    assert_eq!(old.json("POST", "/v1/trust", &trust(&world, before)).await.status, 421);
}

fn openssl(world: &World, arguments: &[&str]) -> String {
    let port = world.address().port().to_string();
    let output = Command::new("openssl")
        .args(["s_client", "-connect", &format!("127.0.0.1:{port}"), "-brief"])
        .args(arguments)
        .stdin(std::process::Stdio::null())
        .output()
        .expect("openssl is part of every Debian");
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn openssl_gets_tls_1_3_and_nothing_older() {
    let world = World::start().await;
    let (modern, old) = tokio::task::block_in_place(|| (openssl(&world, &["-tls1_3"]), openssl(&world, &["-tls1_2"])));
    assert!(modern.contains("TLSv1.3"), "{modern}");
    assert!(old.contains("protocol version") || old.contains("alert"), "{old}");
    assert!(!old.contains("TLSv1.2, Cipher is ECDHE"), "{old}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_to_say_its_hello_again_is_served() {
    let world = World::start().await;
    // The client guesses a group that the server does not know.
    let answer = tokio::task::block_in_place(|| openssl(&world, &["-tls1_3", "-groups", "X448:X25519"]));
    assert!(answer.contains("TLSv1.3") && answer.contains("X25519"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_session_can_be_resumed() {
    let world = World::start().await;
    let port = world.address().port();
    let script = format!(
        "exec 2>&1; openssl s_client -connect 127.0.0.1:{port} -tls1_3 -sess_out {0} </dev/null; (printf 'GET /healthz HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n'; sleep 1) \
         | openssl s_client -connect 127.0.0.1:{port} -tls1_3 -ign_eof",
        world.dir.path().join("session").display()
    );
    let output = tokio::task::block_in_place(|| Command::new("sh").args(["-c", &script]).output().unwrap());
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("200 OK"), "{text}");
    assert!(!text.contains("Post-Handshake New Session Ticket"), "{text}");
    assert!(!text.contains("Max Early Data: 1"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_speaks_http_2_and_http_1() {
    let world = World::start().await;
    let url = format!("https://127.0.0.1:{}/v1/server/id", world.address().port());
    for (flag, version) in [("--http2", "2"), ("--http1.1", "1.1")] {
        let output = tokio::task::block_in_place(|| {
            Command::new("curl").args(["-sk", flag, "-w", "\n%{http_version} %{http_code}", &url]).output().expect("curl is installed")
        });
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.ends_with(&format!("{version} 200")), "{text}");
        assert!(text.contains(&world.running().server_key().to_string()), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn plaintext_on_the_tls_port_gets_one_short_answer() {
    let world = World::start().await;
    let ask = async |bytes: &[u8]| {
        let mut stream = tokio::net::TcpStream::connect(world.address()).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut text = String::new();
        // The end comes from the server: it closes.
        stream.read_to_string(&mut text).await.unwrap();
        text
    };
    const LINE: &str = "this is TriQuest LM (triquest-lm), use https\n";
    for request in ["GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "OPTIONS / RTSP/1.0\r\n\r\n", "help\r\n", "lmstat"] {
        let text = ask(request.as_bytes()).await;
        assert!(text.starts_with("HTTP/1.1 400 ") && text.ends_with(&format!("\r\n\r\n{LINE}")), "{request:?}: {text}");
        assert!(text.len() < 250, "{request:?}: {text}");
    }
    for line in ["\r\n\r\n", "\n", "1588\r\n", " x", "\tx", "{}", "<xml/>"] {
        assert_eq!(ask(line.as_bytes()).await, LINE, "{line:?}");
    }
    // Noise gets silence.
    let mut stream = tokio::net::TcpStream::connect(world.address()).await.unwrap();
    stream.write_all(&[0, 1, 2, 3]).await.unwrap();
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes).await;
    assert!(bytes.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_hosts_foreign_origins_and_cross_site_fetches_are_refused_everywhere() {
    let world = World::start_with(|config| config.hosts = vec!["licenses.initech.example".into()]).await;
    let port = world.address().port();
    let send = async |headers: &[&str]| world.connect().await.send("GET", "/v1/server/id", headers, b"").await.status;
    for good in [
        "localhost",
        "LOCALHOST:1588",
        "127.0.0.1",
        "[::1]:1588",
        "10.1.4.20:1588",
        "licenses.initech.example",
        "Licenses.Initech.Example.:1588",
    ] {
        assert_eq!(send(&[&format!("Host: {good}")]).await, 200, "{good}");
    }
    for bad in [
        "evil.example",
        "localhost.evil.example",
        "evil.example:1588",
        "127.0.0.1.evil.example",
        "",
        "a b",
        "licenses.initech.example.evil.example",
    ] {
        let status = send(&[&format!("Host: {bad}")]).await;
        assert!(matches!(status, 400 | 403), "{bad}: {status}");
    }
    assert_eq!(send(&["Host: localhost", "Host: evil.example"]).await, 400);
    let own = format!("localhost:{port}");
    assert_eq!(send(&[&format!("Host: {own}"), &format!("Origin: https://{own}"), "Sec-Fetch-Site: same-origin"]).await, 200);
    for bad in [
        "Origin: https://evil.example",
        "Origin: null",
        "Origin: http://localhost",
        "Sec-Fetch-Site: cross-site",
        "Sec-Fetch-Site: same-site",
    ] {
        assert_eq!(send(&["Host: localhost", bad]).await, 403, "{bad}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_takes_exactly_json_and_every_answer_is_closed_to_browsers() {
    let world = World::with_seats().await;
    let body = world.checkout(1, "cad").to_string();
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "application/json; charset=latin1",
        "application/jsonx",
        "",
    ] {
        let answer = world.connect().await.send("POST", "/v1/leases", &[&format!("Content-Type: {kind}")], body.as_bytes()).await;
        assert_eq!((answer.status, answer.json()["code"].as_str().map(str::to_owned)), (415, Some("content_type".into())), "{kind}");
    }
    assert_eq!(world.connect().await.send("POST", "/v1/leases", &[], body.as_bytes()).await.status, 415);
    for kind in ["application/json; charset=utf-8", "application/json;charset=\"UTF-8\""] {
        let answer = world.connect().await.send("POST", "/v1/leases", &[&format!("Content-Type: {kind}")], body.as_bytes()).await;
        assert_eq!((answer.status, answer.json()["outcome"].as_str().map(str::to_owned)), (200, Some("granted".into())), "{kind}");
    }
    for (method, path, status) in [
        ("GET", "/v1/status", 200),
        ("GET", "/nothing", 404),
        ("PUT", "/v1/leases", 405),
        ("OPTIONS", "/v1/trust", 405),
        ("GET", "/v1/status?x=1", 400),
    ] {
        let mut client = world.connect().await;
        let answer = client.send(method, path, &[], b"").await;
        assert_eq!(answer.status, status, "{method} {path}");
        assert_eq!((answer.header("x-content-type-options"), answer.header("cache-control")), (Some("nosniff"), Some("no-store")));
        assert!(answer.header("content-security-policy").unwrap().contains("frame-ancestors 'none'"));
        assert!(answer.header("access-control-allow-origin").is_none());
        if status != 200 {
            assert_eq!(answer.header("content-type"), Some("application/problem+json"));
            assert_eq!(answer.json()["status"], status);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn head_is_answered_as_get_without_the_body_and_405_says_what_is_allowed() {
    let world = World::start().await;
    let mut client = world.connect().await;
    for path in ["/healthz", "/readyz", "/v1/status", "/openapi.json", "/nothing"] {
        let got = world.connect().await.send("GET", path, &[], b"").await;
        let request = format!("HEAD {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        client.stream.write_all(request.as_bytes()).await.unwrap();
        client.stream.flush().await.unwrap();
        let head = String::from_utf8(client.read_until(b"\r\n\r\n").await.unwrap()).unwrap();
        let asked = crate::world::Answer { status: head.split(' ').nth(1).unwrap().parse().unwrap(), head, body: Vec::new() };
        assert_eq!(asked.status, got.status, "{path}");
        assert_eq!(asked.header("content-type"), got.header("content-type"), "{path}");
        // What an uptime makes longer between the two is no matter.
        assert_eq!(asked.header("content-length").is_some(), got.header("content-length").is_some(), "{path}");
        // No byte of a body came: the next answer on this connection is read as one.
        assert!(client.buffer.is_empty(), "{path}");
        assert_eq!(client.send("GET", "/healthz", &[], b"").await.body, b"ok\n");
    }
    for (method, path, allow) in
        [("PUT", "/v1/leases", "POST, GET, HEAD"), ("HEAD", "/v1/trust", "POST"), ("POST", "/healthz", "GET, HEAD")]
    {
        let mut client = world.connect().await;
        client
            .stream
            .write_all(format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n").as_bytes())
            .await
            .unwrap();
        client.stream.flush().await.unwrap();
        let head = String::from_utf8(client.read_until(b"\r\n\r\n").await.unwrap()).unwrap();
        let answer = crate::world::Answer { status: head.split(' ').nth(1).unwrap().parse().unwrap(), head, body: Vec::new() };
        assert_eq!((answer.status, answer.header("allow")), (405, Some(allow)), "{method} {path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_secret_is_in_no_output_and_not_in_the_journal() {
    let world = World::with_seats().await;
    let id = world.take(1, "cad").await;
    let secret = crate::world::secret(1);
    world.post(&format!("/v1/leases/{id}/renew"), &crate::world::renewal(1, 1)).await;
    let (_, leases) = world.admin("GET", "/v1/leases", &json!(null)).await;
    assert_eq!(leases["leases"][0]["lease"], json!(id));
    let mut bytes = leases.to_string().into_bytes();
    let mut journal = world.disk.copy().open();
    let entries = triquest_journal::History::read(&mut journal, triquest_allocator::Index(1), usize::MAX).unwrap();
    assert!(!entries.is_empty());
    entries.into_iter().for_each(|(_, entry)| bytes.extend(entry));
    assert!(!bytes.windows(32).any(|window| window == secret.0.0));
    assert!(!String::from_utf8_lossy(&bytes).contains(&secret.0.to_string()));
    assert_eq!(format!("{secret:?}"), "Secret(..)");
    let mut unix = Client { stream: tokio::net::UnixStream::connect(world.socket()).await.unwrap(), buffer: Vec::new() };
    unix.stream.write_all(b"GET /v1/events?after=07070707070707070707070707070707.1.0 HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let stream = unix.read_until(b"\"granted\"").await.unwrap();
    let stream = String::from_utf8(stream).unwrap();
    assert!(stream.contains("event: granted") && !stream.contains(&secret.0.to_string()));
}
