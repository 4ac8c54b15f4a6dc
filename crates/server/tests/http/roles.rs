//! Who may do what: by table over the description of the API, over TCP and over the Unix socket.

use std::{os::unix::fs::PermissionsExt, process::Command};

use serde_json::json;
use triquest_journal::History as _;
use triquest_server::http::routes::{Endpoint, TABLE};

use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn over_the_network_nobody_administrates_and_nobody_sees_names() {
    let world = World::with_seats().await;
    for (method, path, endpoint) in TABLE {
        let path = path.replace("{lease}", &"0".repeat(32)).replace("{hash}", "A-1").replace("{port}", "1588");
        if *endpoint == Endpoint::Events {
            continue;
        }
        let closed = endpoint.needs_admin() || endpoint.needs_viewer();
        let anonymous = world.connect().await.json(method.as_str(), &path, &json!({})).await;
        assert_eq!(anonymous.status == 403, closed, "{method} {path}: {:?}", anonymous.json());
        if closed {
            assert_eq!(anonymous.json()["code"], "forbidden");
            assert!(!anonymous.json()["hint"].as_str().unwrap().is_empty());
        }
        if matches!(endpoint, Endpoint::Remove) {
            continue;
        }
        let (status, body) = world.admin(method.as_str(), &path, &json!({})).await;
        assert_ne!(status, 403, "{method} {path}: {body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_is_one_that_the_description_knows() {
    let world = World::with_seats().await;
    let (_, description) = world.get("/openapi.json").await;
    let checkout = world.checkout(1, "cad");
    for (method, path, endpoint) in TABLE {
        if *endpoint == Endpoint::Events {
            continue;
        }
        let real = path.replace("{lease}", &crate::world::lease(1).to_string()).replace("{hash}", "A-9").replace("{port}", "1588");
        for body in [json!({}), json!(null), json!({ "reason": "test" }), json!({ "secret": crate::world::secret(1) }), checkout.clone()] {
            let answer = world.connect().await.json(method.as_str(), &real, &body).await;
            let responses = &description["paths"][path][method.as_str().to_lowercase()]["responses"];
            let known = &responses[answer.status.to_string()]["content"];
            let kind = answer.header("content-type").unwrap().split(';').next().unwrap();
            assert!(known.get(kind).is_some(), "{method} {path}: {} {kind} is not described", answer.status);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_open_if_the_configuration_says_so() {
    let world = World::start_with(|config| config.names_open = true).await;
    world.install(&world.license("A-1", "cad", 2)).await;
    world.take(1, "cad").await;
    let (status, leases) = world.get("/v1/leases").await;
    assert_eq!((status, leases["leases"][0]["holder"]["user"]["value"].as_str()), (200, Some("ana")));
}

/// As another user, if this test is root.
fn curl_as(world: &World, groups: &str, path: &str) -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let socket = world.socket();
    let groups = if groups.is_empty() { "--clear-groups".to_owned() } else { format!("--groups={groups}") };
    let output = Command::new("setpriv")
        .args(["--reuid=12345", "--regid=12345", &groups, "curl", "-s", "-w", " %{http_code}", "--unix-socket"])
        .arg(socket)
        .args(["-H", "Content-Type: application/json", "-d", "{}", &format!("http://localhost{path}")])
        .output()
        .expect("setpriv is part of every Linux");
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn open_the_way(world: &World) {
    std::fs::set_permissions(world.dir.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn another_user_does_not_reach_the_socket_and_is_nobody_behind_it() {
    let world = World::start().await;
    open_the_way(&world);
    let Some(text) = tokio::task::block_in_place(|| curl_as(&world, "", "/v1/reload")) else { return };
    assert!(text.ends_with(" 000"), "{text}");
    // Even if somebody opens directory and socket by hand, the kernel's word counts.
    std::fs::set_permissions(world.running().data_dir(), std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::set_permissions(world.socket(), std::fs::Permissions::from_mode(0o666)).unwrap();
    let text = tokio::task::block_in_place(|| curl_as(&world, "", "/v1/reload")).unwrap();
    assert!(text.ends_with(" 403") && text.contains("forbidden"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_of_the_configured_group_administrates_also_by_a_supplementary_group() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let world = World::start_with(|config| config.admin_group = Some("daemon".into())).await;
    open_the_way(&world);
    let group = triquest_server::sys::group_id("daemon").unwrap().to_string();
    let text = tokio::task::block_in_place(|| curl_as(&world, &group, "/v1/reload")).unwrap();
    assert!(text.ends_with(" 200"), "{text}");
    let text = tokio::task::block_in_place(|| curl_as(&world, "4242", "/v1/reload")).unwrap();
    assert!(text.ends_with(" 000"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_in_the_socket_s_place_is_not_overwritten() {
    let mut world = World::start().await;
    world.running.take().unwrap().shutdown().await.unwrap();
    let place = world.dir.path().join("data/admin.sock");
    std::os::unix::fs::symlink("/etc/passwd", &place).unwrap();
    let before = world.disk.open().head();
    for _ in 0..3 {
        let error = world.run(|_| {}).await.err().unwrap();
        assert!(error.to_string().contains("is no socket"), "{error}");
    }
    assert_eq!(world.disk.open().head(), before, "a start that fails leaves nothing in the journal");
    assert!(std::fs::symlink_metadata(&place).unwrap().file_type().is_symlink());
}
