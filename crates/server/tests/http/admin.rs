//! Licenses and administration over the Unix socket.

use std::os::unix::fs::PermissionsExt;

use serde_json::json;
use triquest_allocator::{Event, Index};
use triquest_journal::{
    Appended, Head, History as _, Journal as _, OpenMode, SqliteJournal,
    record::{Entry, encode_entry},
};
use triquest_license::Note;
use triquest_server::{Config, Server, Settings};

use crate::world::{World, secret, vendor};

#[tokio::test(flavor = "multi_thread")]
async fn a_license_is_installed_once_whatever_its_form() {
    let world = World::start().await;
    let license = world.license("A-1", "cad", 25);
    assert_eq!(world.install(&license).await["outcome"], "installed");
    let line = Note::parse(license.as_bytes()).unwrap().to_line();
    for again in [license.clone(), line] {
        let body = world.install(&again).await;
        assert_eq!((body["outcome"].as_str(), body["license"].as_str()), (Some("already_installed"), Some("A-1")), "{body}");
    }
    let (_, list) = world.admin("GET", "/v1/licenses", &json!(null)).await;
    assert_eq!((list["licenses"].as_array().unwrap().len(), list["licenses"][0]["state"].as_str()), (1, Some("in_force")), "{list}");
    let body = world.install(&world.license_with("A-2", "cad", 25, "", "expires = 2026-12-31\n")).await;
    assert_eq!(body["notices"], json!(["cad: 25 + 25 = 50 until 2026-12-31, together with A-1"]), "{body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_license_that_cannot_be_served_is_refused_with_the_reason() {
    let world = World::start().await;
    let good = world.license("A-1", "cad", 25);
    world.install(&good).await;
    let key = world.running().server_key().to_string();
    let other = triquest_license::ServerKey::new(*triquest_license::SigningKey::from_seed([5; 32]).public()).to_string();
    let elsewhere = Note::parse(world.license("A-3", "cad", 1).as_bytes()).unwrap().text().replace(&key, &other);
    let elsewhere = Note::sign(&elsewhere, std::slice::from_ref(&world.vendor)).unwrap();
    let stranger = Note::sign(Note::parse(world.license("A-4", "cad", 1).as_bytes()).unwrap().text(), &[vendor(9)]).unwrap();
    let text = |note: &Note| String::from_utf8(note.to_file_bytes()).unwrap();
    for (license, status, code, says) in [
        (text(&elsewhere), 422, "bad_license", "another server"),
        (text(&stranger), 422, "bad_license", ""),
        (good.replace("seats = 25", "seats = 26"), 422, "bad_license", ""),
        ("nonsense".to_owned(), 422, "bad_license", ""),
        (world.license("A-1", "cad", 26), 409, "license_id_taken", "another text"),
        (
            world.license_with("A-5", "cad", 1, "", "expires = 2026-01-01\n"),
            422,
            "bad_license",
            "license A-5 has ended: its last day was 2026-01-01",
        ),
    ] {
        let (found, problem) = world.admin("POST", "/v1/licenses", &json!({ "license": license })).await;
        assert_eq!((found, problem["code"].as_str()), (status, Some(code)), "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains(says), "{problem}");
        assert!(!problem["detail"].as_str().unwrap().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customers_own_key_never_enlarges_the_genuine_pool() {
    let world = World::start().await;
    world.install(&world.license("A-1", "cad", 2)).await;
    // The vendor's name, the customer's key, a thousand seats.
    let customer = vendor(9);
    let key = world.running().server_key();
    let text = format!(
        "format = \"triquest-lm/v1/license\"\nlicense = \"A-1\"\nvendor = \"acme.example\"\nverifier = [\"{}\"]\nlicensee = \"x\"\nissued = 2026-11-20\n\
         servers = [\"{key}\"]\n\n[[entitlement]]\nfeature = \"cad\"\nseats = 1000\n",
        customer.verifier_key()
    );
    let note = Note::sign(&text, std::slice::from_ref(&customer)).unwrap();
    world.install(&String::from_utf8(note.to_file_bytes()).unwrap()).await;
    world.take(1, "cad").await;
    world.take(2, "cad").await;
    let (_, denied) = world.post("/v1/leases", &world.checkout(3, "cad")).await;
    assert_eq!((denied["outcome"].as_str(), denied["denial"]["pool"]["total"].as_u64()), (Some("denied"), Some(2)), "{denied}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_license_of_tomorrow_waits_and_takes_effect_by_itself() {
    let world = World::start().await;
    let body = world.install(&world.license_with("A-1", "cad", 2, "starts = 2026-12-01\n", "")).await;
    assert_eq!(body["outcome"], "waiting");
    let (_, denied) = world.post("/v1/leases", &world.checkout(1, "cad")).await;
    assert_eq!(denied["denial"]["code"], "not_yet_valid", "{denied}");
    world.clock.advance_ms(9 * 86_400_000);
    world.until("cad", "total", 2).await;
    world.take(2, "cad").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn removing_a_license_takes_no_seat_away_before_its_promise_ends() {
    let world = World::with_seats().await;
    let id = world.take(1, "cad").await;
    let (status, body) = world.admin("DELETE", "/v1/licenses/A-1", &json!({ "reason": "returned" })).await;
    assert_eq!((status, body["ending"].as_u64()), (200, Some(1)), "{body}");
    let (_, renewed) = world.post(&format!("/v1/leases/{id}/renew"), &crate::world::renewal(1, 1)).await;
    assert_eq!((renewed["outcome"].as_str(), renewed["reason"].as_str()), (Some("ended"), Some("license_removed")), "{renewed}");
    assert!(renewed["remaining_ms"].as_u64().unwrap() > 0);
    let (status, problem) = world.admin("DELETE", "/v1/licenses/A-1", &json!({})).await;
    assert_eq!(status, 404, "{problem}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_takes_a_lease_back_and_says_why() {
    let world = World::with_seats().await;
    let id = world.take(1, "cad").await;
    let path = format!("/v1/leases/{id}/reclaim");
    let (status, problem) = world.admin("POST", &path, &json!({ "reason": " " })).await;
    assert_eq!(status, 400, "{problem}");
    let (status, _) = world.admin("POST", &path, &json!({ "reason": "a\u{1b}[2J" })).await;
    assert_eq!(status, 400);
    let (status, body) = world.admin("POST", &path, &json!({ "reason": "needed elsewhere" })).await;
    assert_eq!(status, 200, "{body}");
    let (_, renewed) = world.post(&format!("/v1/leases/{id}/renew"), &crate::world::renewal(1, 1)).await;
    assert_eq!((renewed["outcome"].as_str(), renewed["reason"].as_str()), (Some("ended"), Some("reclaimed")), "{renewed}");
    let (status, _) = world.admin("POST", &format!("/v1/leases/{}/reclaim", crate::world::lease(77)), &json!({ "reason": "x" })).await;
    assert!(matches!(status, 404 | 409), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_folder_of_licenses_installs_at_reload_and_removes_nothing() {
    let world = World::start().await;
    let folder = world.running().data_dir().join("licenses");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("a.lic"), world.license("A-1", "cad", 2)).unwrap();
    std::fs::write(folder.join("bad.lic"), "nonsense").unwrap();
    let (status, body) = world.admin("POST", "/v1/reload", &json!({})).await;
    assert_eq!(status, 200, "{body}");
    let changes = body["changes"].to_string();
    assert!(changes.contains("installed A-1") && changes.contains("refused: ") && changes.contains("bad.lic"), "{changes}");
    std::fs::remove_file(folder.join("a.lic")).unwrap();
    world.admin("POST", "/v1/reload", &json!({})).await;
    let (_, list) = world.admin("GET", "/v1/licenses", &json!(null)).await;
    assert_eq!(list["licenses"].as_array().unwrap().len(), 1);
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o777)).unwrap();
    let (status, problem) = world.admin("POST", "/v1/reload", &json!({})).await;
    assert!(status == 400 && problem["detail"].as_str().unwrap().contains("everybody may write"), "{problem}");
}

#[tokio::test(flavor = "multi_thread")]
async fn over_the_socket_the_user_is_proved() {
    let world = World::with_seats().await;
    let mut body = world.checkout(1, "cad");
    body["holder"] = json!({});
    let (_, granted) = world.admin("POST", "/v1/leases", &body).await;
    assert_eq!(granted["outcome"], "granted", "{granted}");
    let (_, leases) = world.admin("GET", "/v1/leases?feature=cad&state=live", &json!(null)).await;
    let holder = &leases["leases"][0]["holder"];
    let me = triquest_server::sys::user_name(triquest_server::sys::user_id());
    assert_eq!(holder["user"], json!({ "value": me, "proved": true }), "{holder}");
}

#[tokio::test(flavor = "multi_thread")]
async fn leases_survive_a_restart_of_the_server() {
    let mut world = World::with_seats().await;
    let id = world.take(1, "cad").await;
    let before = world.get("/v1/server/id").await.1;
    world.running.take().unwrap().shutdown().await.unwrap();
    assert!(!world.dir.path().join("data/server.json").exists());
    world.running = Some(world.run(|_| {}).await.unwrap());
    let after = world.get("/v1/server/id").await.1;
    assert_eq!(
        (before["server_key"].clone(), before["position"]["lineage"].clone()),
        (after["server_key"].clone(), after["position"]["lineage"].clone())
    );
    assert_ne!(before["instance"], after["instance"]);
    assert_eq!(after["position"]["epoch"].as_u64().unwrap(), before["position"]["epoch"].as_u64().unwrap() + 1);
    let (_, renewed) = world.post(&format!("/v1/leases/{id}/renew"), &crate::world::renewal(1, 1)).await;
    assert_eq!(renewed["outcome"], "renewed", "{renewed}");
    let (_, again) = world.post("/v1/leases", &world.checkout(1, "cad")).await;
    assert_eq!(again["outcome"], "granted", "{again}");
    let (_, released) = world.post(&format!("/v1/leases/{id}/release"), &json!({ "secret": secret(1) })).await;
    assert_eq!(released["outcome"], "released");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_fails_leaves_no_epoch() {
    use triquest_journal::History as _;
    let mut world = World::start().await;
    world.running.take().unwrap().shutdown().await.unwrap();
    // The journal in memory leaves no file, which would be a lost journal on a real disk.
    std::fs::write(world.dir.path().join("data/journal.sqlite"), "").unwrap();
    let before = world.disk.open().head();
    let socket = world.dir.path().join("data/admin.sock");
    std::os::unix::fs::symlink("/nowhere", &socket).unwrap();
    assert!(world.run(|_| {}).await.is_err());
    std::fs::remove_file(&socket).unwrap();
    assert!(world.run(|config| config.admin_group = Some("no-such-group".into())).await.is_err());
    assert!(world.run(|config| config.licenses = Some("/nowhere/licenses".into())).await.is_err());
    assert_eq!(world.disk.open().head(), before);
    world.running = Some(world.run(|_| {}).await.unwrap());
    assert_eq!(world.get("/v1/server/id").await.1["position"]["epoch"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiter_whose_request_is_held_hears_its_place_when_the_server_stops() {
    let mut world = World::with_seats().await;
    world.take(1, "cad").await;
    world.take(2, "cad").await;
    let mut body = world.checkout(3, "cad");
    body["wait_ms"] = json!(600_000);
    let mut client = world.connect().await;
    let held = tokio::spawn(async move { client.json("POST", "/v1/leases", &body).await });
    world.until("cad", "queued", 1).await;
    assert!(!held.is_finished());
    world.running.take().unwrap().shutdown().await.unwrap();
    let answer = held.await.unwrap();
    assert_eq!((answer.status, answer.json()["outcome"].as_str()), (200, Some("waiting")), "{}", answer.json());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_server_on_the_port_is_told_who_has_it() {
    let world = World::start().await;
    let port = world.address().port();
    let error = world.run(|config| config.listen = vec![format!("127.0.0.1:{port}")]).await.err().unwrap();
    let text = error.to_string();
    assert!(text.starts_with(&format!("TCP {port} is held by `")) && text.contains(&format!("pid {}", std::process::id())), "{text}");
    assert!(!error.downcast::<triquest_server::Fault>().unwrap().hint.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_tells_its_key_and_next_step_at_its_first_start_only() {
    let mut world = World::start().await;
    let lines: Vec<_> = world.running().announcement().into_iter().map(|(verb, _)| verb).collect();
    assert!(lines.contains(&"Created") && lines.contains(&"Next"), "{lines:?}");
    let text = std::fs::read_to_string(world.running().data_dir().join("server.json")).unwrap();
    assert!(text.contains(&world.running().server_key().to_string()) && !text.contains("private"));
    world.running.take().unwrap().shutdown().await.unwrap();
    // The journal in memory leaves no file, which would be a lost journal on a real disk.
    std::fs::write(world.dir.path().join("data/journal.sqlite"), "").unwrap();
    let again = world.run(|_| {}).await.unwrap();
    assert_eq!((again.beginning(), again.announcement().len()), (triquest_server::identity::Beginning::GoesOn, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_version_makes_a_backup_before_its_first_entry_and_an_older_one_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let start = |version: &str, init| {
        let config = Config { data: Some(data.clone()), listen: vec!["127.0.0.1:0".into()], ..Config::default() };
        Server::start(Settings { init, version: Some(version.to_owned()), ..Settings::of(config) })
    };
    let backups = || -> Vec<_> { std::fs::read_dir(data.join("backups")).into_iter().flatten().map(|name| name.unwrap().path()).collect() };
    start("0.1.0", true).await.unwrap().shutdown().await.unwrap();
    assert!(backups().is_empty(), "nothing was there before");
    for _ in 0..2 {
        start("9.0.0", false).await.unwrap().shutdown().await.unwrap();
        assert_eq!(backups().len(), 1);
    }
    let backup = backups().pop().unwrap();
    let head = |path: &std::path::Path| triquest_journal::check::check(path).unwrap().last;
    assert!(head(&backup) < head(&data), "it was made before the first entry");

    // From here on only versions can read it that know this word.
    let mut journal = SqliteJournal::open(&data, OpenMode::Existing).unwrap();
    let Head { lineage, epoch, index } = journal.head();
    let words = triquest_license::Words::new([triquest_license::Word::new("share").unwrap()]).unwrap();
    let moment = triquest_allocator::Moment { at: triquest_allocator::Timestamp(u64::MAX / 4), wall_ms: 0 };
    let entry = Entry { lineage, epoch, index: Index(index.0 + 1), moment, events: vec![Event::FormatRaised { words }] };
    assert_eq!(journal.append(epoch, index, &encode_entry(&entry)).unwrap(), Appended::Committed);
    drop(journal);
    let refused = start("0.1.0", false).await.err().unwrap().downcast::<triquest_server::Fault>().unwrap();
    assert!(refused.message.contains("written by a newer version"), "{refused}");
    assert!(refused.hint.contains(&format!("triquest-lm journal restore {} NEW-DIRECTORY", backup.display())), "{}", refused.hint);
    assert_eq!(backups().len(), 1, "what it cannot read it does not copy");
}

#[tokio::test(flavor = "multi_thread")]
async fn health_and_readiness_are_told_apart() {
    let world = World::start().await;
    for path in ["/healthz", "/readyz"] {
        let answer = world.connect().await.send("GET", path, &[], b"").await;
        assert_eq!((answer.status, answer.header("content-type")), (200, Some("text/plain; charset=utf-8")), "{path}");
    }
    world.disk.set_room_bytes(Some(0));
    // It stays in the air until there is room, so nobody waits for its answer here.
    let license = json!({ "license": world.license("A-1", "cad", 1) });
    let asked = world.admin("POST", "/v1/licenses", &license);
    let noticed = async {
        loop {
            let answer = world.connect().await.send("GET", "/readyz", &[], b"").await;
            if answer.status == 507 {
                return answer;
            }
            tokio::task::yield_now().await;
        }
    };
    let answer = tokio::select! {
        answer = noticed => answer,
        _ = asked => world.connect().await.send("GET", "/readyz", &[], b"").await,
    };
    let problem = answer.json();
    assert_eq!((answer.status, &problem["code"]), (507, &json!("disk_full")));
    // In the words of the status.
    let (_, status) = world.get("/v1/status").await;
    let disk: triquest_wire::status::FullDisk = serde_json::from_value(status["disk"].clone()).unwrap();
    assert!(disk.used_up && problem["detail"] == disk.to_string() && !problem["hint"].as_str().unwrap().is_empty(), "{problem}");
    assert_eq!(world.connect().await.send("GET", "/healthz", &[], b"").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn licenses_are_listed_in_pages_and_for_viewers_only() {
    let world = World::start().await;
    for number in 1..=5 {
        world.install(&world.license(&format!("A-{number}"), "cad", 1)).await;
    }
    assert_eq!(world.get("/v1/licenses").await.0, 403);
    let (mut path, mut seen) = ("/v1/licenses?limit=2".to_owned(), Vec::new());
    loop {
        let (status, page) = world.admin("GET", &path, &json!(null)).await;
        assert_eq!(status, 200, "{page}");
        let licenses = page["licenses"].as_array().unwrap();
        assert!((1..=2).contains(&licenses.len()));
        seen.extend(licenses.iter().map(|license| license["license"].as_str().unwrap().to_owned()));
        let Some(next) = page["next"].as_u64() else { break };
        path = format!("/v1/licenses?limit=2&after={next}");
    }
    assert_eq!(seen, ["A-1", "A-2", "A-3", "A-4", "A-5"]);
    for wrong in ["/v1/licenses?limit=0", "/v1/licenses?after=x", "/v1/licenses?vendor=x"] {
        assert_eq!(world.admin("GET", wrong, &json!(null)).await.0, 400, "{wrong}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_goes_into_the_data_directory_or_a_listed_folder_and_nowhere_else() {
    let listed = tempfile::tempdir().unwrap();
    let folder = listed.path().to_owned();
    let mut world = World::start_with(|config| config.backups = vec![folder]).await;
    let (status, body) = world.admin("POST", "/v1/backup", &json!({})).await;
    assert_eq!(status, 200, "{body}");
    assert!(body["path"].as_str().unwrap().starts_with(&*world.running().data_dir().join("backups").to_string_lossy()), "{body}");
    let wanted = listed.path().join("monday.sqlite");
    let (status, body) = world.admin("POST", "/v1/backup", &json!({ "path": wanted })).await;
    assert_eq!((status, wanted.is_file()), (200, true), "{body}");
    assert_eq!(wanted.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let (status, body) = world.admin("POST", "/v1/backup", &json!({ "path": wanted })).await;
    assert_eq!(status, 400, "a backup replaces nothing: {body}");
    let other = tempfile::tempdir().unwrap();
    for path in [other.path().join("b.sqlite").display().to_string(), "/etc/nologin".into(), "../b".into(), ".b".into()] {
        let (status, problem) = world.admin("POST", "/v1/backup", &json!({ "path": path })).await;
        assert_eq!(status, 400, "{path}: {problem}");
    }
    assert_eq!(std::fs::read_dir(other.path()).unwrap().count(), 0);
    world.running.take().unwrap().shutdown().await.unwrap();
}
