//! A disk that is full or read-only: a clear message, nothing granted that could be lost. Needs root for a small disk of its own.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use support::{Folder, Server, serving, triquest, until};
use triquest_client::Client;

#[test]
fn on_a_full_disk_nothing_is_granted_seats_come_back_and_it_heals_by_itself() {
    let Some(folder) = Folder::with_disk(40) else { return };
    let (mut server, key) = serving(&folder, 3);
    let client =
        || Client::builder().servers(server.name()).verifier_keys(key.clone()).call_timeout(Duration::from_secs(5)).build().unwrap();
    let (holding, asking) = (client(), client());
    let kept = holding.checkout("cad").ttl(Duration::from_secs(10)).take().unwrap();
    let given_back = holding.checkout("cad").take().unwrap();
    assert!(!folder.shell("cat /dev/zero > data/filler"), "the disk is full now");

    // Whatever room the file system had left is used up, then the answer is a clear no.
    let mut granted = Vec::new();
    let refused = loop {
        match asking.checkout("cad").take() {
            Ok(seat) => {
                granted.push(seat.lease());
                assert!(granted.len() < 1_000, "the full disk is never noticed");
                let _ = seat.release(Duration::from_secs(5));
            }
            Err(error) => break error,
        }
    };
    assert_eq!(refused.code(), "disk_full", "{refused}");
    assert!(refused.may_help_later());
    let status = triquest(&folder, ["status"]).run().ok().stdout;
    assert!(status.contains("DISK FULL: nothing is granted"), "{status}");
    assert!(kept.may_run(), "who holds a seat goes on");
    given_back.release(Duration::from_secs(20)).expect("the reserve has room for releases");

    assert!(folder.shell("rm data/filler"));
    until("a grant after there was room again", || asking.checkout("cad").take().is_ok());
    let lease = kept.lease();
    server.kill();
    let server = Server::start_with(&folder, &format!("127.0.0.1:{}", server.port()), &[]);
    let leases = triquest(&folder, ["status", "cad", "--json"]).run().ok().stdout;
    assert!(leases.contains(&lease.to_string()), "{leases}");
    drop(server);
}

#[test]
fn a_read_only_disk_is_said_at_start() {
    let Some(folder) = Folder::with_disk(40) else { return };
    let (server, _) = serving(&folder, 1);
    assert_eq!(server.stop(), Some(0));
    assert!(folder.shell("mount -o remount,ro data"));
    let log = Server::try_start(&folder, "127.0.0.1:0", &[]).err().unwrap();
    assert!(log.contains("error: ") && log.to_lowercase().contains("read-only"), "{log}");
    assert!(log.contains("hint: "), "{log}");
}
