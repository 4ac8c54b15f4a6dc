//! The same driver on the journal that servers use.

use std::sync::Arc;

use triquest_allocator::Safeguards;
use triquest_journal::{OpenMode, SqliteJournal, backup};
use triquest_license::{ServerKey, SigningKey};
use triquest_server::{
    clock::HandClock,
    driver::{self, Driver, Parts},
};

use crate::world::{TODAY_MS, checkout, install, is_granted, release};

fn start(directory: &std::path::Path) -> Driver {
    let key = Arc::new(SigningKey::from_seed([42; 32]));
    let server_key = ServerKey::new(*key.public());
    driver::start(Parts {
        data_dir: std::path::PathBuf::new(),
        journal: Box::new(SqliteJournal::open(directory, OpenMode::InitIfMissing).unwrap()),
        signing_key: key,
        server_key,
        clock: Arc::new(HandClock::new(TODAY_MS)),
        safeguards: Safeguards::default(),
        instance: [0; 32],
        folder_ttl_max_ms: 0,
    })
    .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leases_outlive_a_stop_a_snapshot_and_a_backup_on_disk() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let driver = start(&data);
    driver.decide(install("A-1", &[("cad", 50)]), None).await.unwrap();
    for number in 0..30 {
        assert!(is_granted(&driver.decide(checkout(number), None).await));
    }
    driver
        .with_journal(|journal| {
            triquest_journal::snapshot::make(journal, Safeguards::default(), triquest_journal::snapshot::Keep::NONE).unwrap()
        })
        .await
        .unwrap()
        .unwrap();
    for number in 0..10 {
        driver.decide(release(number), None).await.unwrap();
    }
    let file = folder.path().join("backup.sqlite");
    driver.backup(file.clone()).await.unwrap();
    assert!(driver.backup(file.clone()).await.is_err(), "a backup never overwrites");
    driver.decide(release(10), None).await.unwrap();
    driver.stop().await;

    let driver = start(&data);
    assert_eq!(driver.view().live_leases(), 19);
    assert!(!is_granted(&driver.decide(checkout(3), None).await));
    assert!(is_granted(&driver.decide(checkout(20), None).await));
    let lineage = driver.view().position().lineage;
    driver.stop().await;

    let restored = folder.path().join("restored");
    backup::restore(&file, &restored, None).unwrap();
    let driver = start(&restored);
    assert_eq!(driver.view().live_leases(), 20, "what was live when the backup was made");
    assert_ne!(driver.view().position().lineage, lineage);
    driver.stop().await;
}
