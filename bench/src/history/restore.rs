//! The server's disk goes back in time while leases run that it then does not know: the last acts of a world.
//!
//! First an old copy of its directory is put in place, which only a grant of lost history can tell it; then a backup is brought back, which it knows.
//! In the new history nobody new gets a seat before its quarantine ends, whoever shows a grant of the lost history keeps the seat, and whoever the
//! older state knows goes on as if nothing had happened. [`lineage`] judges it.

use serde_json::json;

use super::lineage::{Ask, Step};
use super::*;

/// Longer than all of this takes, on any machine.
const TTL_MS: u64 = 600_000;

/// One lease of these acts.
struct Holder {
    secret: triquest_wire::Secret,
    attempt: u32,
    answer: Value,
}

/// What happened so far.
#[derive(Default)]
struct Acts {
    steps: Vec<Step>,
}

impl World {
    async fn ask(&self, path: &str, body: &Value) -> anyhow::Result<String> {
        let address = ([127, 0, 0, 1], self.shared.port.load(Ordering::Relaxed)).into();
        let asked = async {
            let mut connection = Connection::open(&self.shared.tls, address).await?;
            connection.call("POST", path, body.to_string().as_bytes()).await?;
            Ok::<_, anyhow::Error>(String::from_utf8_lossy(connection.body()).into_owned())
        };
        tokio::time::timeout(Duration::from_secs(60), asked).await.context("no answer in a minute")?
    }

    /// Checks out a seat of the second vendor, which no other client has now; again with the same secret if it holds one.
    async fn seat(&mut self, acts: &mut Acts, feature: &str, before: Option<Holder>, ask: Ask) -> anyhow::Result<Holder> {
        let fresh = triquest_wire::Secret(Bytes32(self.random.bytes()));
        let (secret, attempt) = before.as_ref().map_or((fresh, 1), |holder| (holder.secret, holder.attempt));
        let mut body = json!({
            "secret": secret, "attempt": attempt, "nonce": Bytes32(self.random.bytes()), "vendor_keys": [self.shared.keys[1]],
            "items": [{ "feature": feature, "seats": 1 }], "holder": { "user": "restored" }, "ttl_ms": TTL_MS,
        });
        if let (Ask::Shown, Some(holder)) = (ask, &before) {
            let part = |name: &str| holder.answer[name].clone();
            body["shown"] = json!({
                "grant": part("grant"), "leaf": part("leaf"), "path": part("path"), "statement": part("statement"), "signature": part("signature"),
            });
        }
        let answer = self.ask("/v1/leases", &body).await?;
        acts.steps.push(Step::Answered { lease: secret.lease_id().to_string(), ask, answer: answer.clone() });
        Ok(Holder { secret, attempt, answer: serde_json::from_str(&answer).context("an answer is JSON")? })
    }

    async fn new_seat(&mut self, acts: &mut Acts, feature: &str) -> anyhow::Result<Holder> {
        self.seat(acts, feature, None, Ask::Checkout).await
    }

    async fn again(&mut self, acts: &mut Acts, feature: &str, holder: Holder) -> anyhow::Result<Holder> {
        self.seat(acts, feature, Some(holder), Ask::Checkout).await
    }

    async fn give(&mut self, acts: &mut Acts, holder: Holder) -> anyhow::Result<()> {
        let lease = holder.secret.lease_id().to_string();
        let answer = self.ask(&format!("/v1/leases/{lease}/release"), &json!({ "secret": holder.secret })).await?;
        acts.steps.push(Step::Answered { lease, ask: Ask::Release, answer });
        Ok(())
    }

    /// Somebody comes and goes, so that the journal grows.
    async fn traffic(&mut self, acts: &mut Acts) -> anyhow::Result<()> {
        for _ in 0..self.random.below(5) {
            let passing = self.new_seat(acts, "cad").await?;
            self.give(acts, passing).await?;
        }
        Ok(())
    }

    fn judge(&mut self, acts: &Acts) {
        let log = self.place.log();
        let lines: Vec<String> = log.lines().rev().take(12).map(str::to_owned).collect();
        for mut violation in lineage::judge(&acts.steps) {
            violation.excerpt.extend(lines.iter().rev().cloned());
            self.found.push(violation);
        }
    }

    /// Copies the directory, goes on, and puts the copy back.
    pub(super) async fn roll_back(&mut self) -> anyhow::Result<()> {
        let mut acts = Acts::default();
        let known = self.new_seat(&mut acts, "net").await?;
        let (data, copy) = (self.place.data(), self.place.copy());
        let gently = self.random.percent(50);
        self.end(gently).await?;
        let (from, to) = (data.clone(), copy.clone());
        blocking(move || copy_files(&from, &to)).await??;
        acts.steps.push(Step::Copied);
        self.begin(None).await?;

        // The lost history may have several starts, with numbers that the new one takes again.
        if self.random.percent(50) {
            let gently = self.random.percent(50);
            self.restart(gently, None).await?;
        }
        let known = self.again(&mut acts, "net", known).await?;
        self.traffic(&mut acts).await?;
        let lost = self.new_seat(&mut acts, "net").await?;
        self.new_seat(&mut acts, "cad").await?;
        let gently = self.random.percent(50);
        self.end(gently).await?;
        blocking(move || {
            remove_files(&data)?;
            copy_files(&copy, &data)
        })
        .await??;
        acts.steps.push(Step::PutBack);
        self.begin(None).await?;
        self.done.rollbacks += 1;

        // Until somebody shows a grant of lost history, nobody can know; its entries may have other content by then.
        let ignorant = if self.random.percent(50) { Some(self.new_seat(&mut acts, "cad").await?) } else { None };
        self.traffic(&mut acts).await?;
        let known = self.again(&mut acts, "net", known).await?;
        let lost = self.seat(&mut acts, "net", Some(lost), Ask::Shown).await?;
        for feature in ["cad", "net"] {
            self.new_seat(&mut acts, feature).await?;
        }
        let gently = self.random.percent(50);
        self.restart(gently, None).await?;
        self.new_seat(&mut acts, "cad").await?;
        let known = self.again(&mut acts, "net", known).await?;
        let lost = self.again(&mut acts, "net", lost).await?;
        for holder in [Some(known), Some(lost), ignorant].into_iter().flatten() {
            self.give(&mut acts, holder).await?;
        }
        self.new_seat(&mut acts, "net").await?;
        acts.steps.push(Step::Facts(self.events(None).await?));
        let place = Arc::clone(&self.place);
        let ended = blocking(move || place.administer("POST", "/v1/quarantine/end", json!({ "reason": "history" }).to_string().as_bytes()));
        let (status, answer) = ended.await??;
        if status != 200 {
            self.violation("quarantine_ends", format!("an administrator could not end it: {answer}"));
            return Ok(());
        }
        acts.steps.push(Step::QuarantineEnded);
        let new = self.new_seat(&mut acts, "net").await?;
        self.give(&mut acts, new).await?;
        self.judge(&acts);
        Ok(())
    }

    /// Backs up, goes on, and brings the backup back.
    pub(super) async fn restore(&mut self) -> anyhow::Result<()> {
        let mut acts = Acts::default();
        let known = self.new_seat(&mut acts, "net").await?;
        let (place, from) = (Arc::clone(&self.place), self.place.data());
        let saved = blocking(move || place.command().args(["journal", "backup"]).output()).await??;
        let backup = std::fs::read_dir(from.join("backups")).into_iter().flatten().flatten().map(|file| file.path()).max();
        let Some(backup) = backup.filter(|_| saved.status.success()) else {
            self.violation("backups_are_whole", format!("`journal backup` failed: {}", String::from_utf8_lossy(&saved.stderr)));
            return Ok(());
        };
        acts.steps.push(Step::Copied);
        let lost = self.new_seat(&mut acts, "net").await?;
        // Granted in lost history, and nobody shows it: it must not be given to anybody while it may be in use.
        self.new_seat(&mut acts, "cad").await?;

        let gently = self.random.percent(50);
        self.end(gently).await?;
        let place = Arc::clone(&self.place);
        let to = place.elsewhere();
        let restored = blocking(move || place.command().args(["journal", "restore"]).arg(&backup).arg(&to).output()).await??;
        if !restored.status.success() {
            self.violation("backups_are_whole", format!("`journal restore` failed: {}", String::from_utf8_lossy(&restored.stderr)));
            return Ok(());
        }
        self.place.move_there();
        acts.steps.push(Step::Restored);
        self.begin(None).await?;
        self.done.restores += 1;

        for feature in ["cad", "net"] {
            self.new_seat(&mut acts, feature).await?;
        }
        let known = self.again(&mut acts, "net", known).await?;
        let lost = self.seat(&mut acts, "net", Some(lost), Ask::Shown).await?;
        // After one more crash all of it is as before.
        self.restart(false, None).await?;
        self.new_seat(&mut acts, "cad").await?;
        let known = self.again(&mut acts, "net", known).await?;
        let lost = self.again(&mut acts, "net", lost).await?;
        for holder in [known, lost] {
            self.give(&mut acts, holder).await?;
        }
        self.new_seat(&mut acts, "net").await?;
        self.judge(&acts);
        Ok(())
    }
}

/// Copies a directory of files and of directories of files, with their permissions. What is neither, such as a socket, stays behind.
fn copy_files(from: &Path, to: &Path) -> std::io::Result<()> {
    if !to.exists() {
        std::fs::create_dir(to)?;
        std::fs::set_permissions(to, std::fs::metadata(from)?.permissions())?;
    }
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            copy_files(&entry.path(), &to.join(entry.file_name()))?;
        } else if kind.is_file() {
            std::fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}

/// Empties a directory, which itself may be a disk.
fn remove_files(folder: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            std::fs::remove_dir_all(entry.path())?;
        } else {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}
