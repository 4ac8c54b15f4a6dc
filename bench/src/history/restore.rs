//! A backup is brought back while leases run that it does not know: the last act of a world.
//!
//! In the new history nobody new gets a seat before its quarantine ends, whoever shows a grant of the lost history keeps the seat, and whoever the
//! backup knows goes on as if nothing had happened.

use serde_json::json;

use super::*;

/// Longer than all of this takes, on any machine.
const TTL_MS: u64 = 600_000;

/// One lease of this act.
struct Holder {
    secret: triquest_wire::Secret,
    attempt: u32,
    answer: Value,
}

impl World {
    async fn ask(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let address = ([127, 0, 0, 1], self.shared.port.load(Ordering::Relaxed)).into();
        let asked = async {
            let mut connection = Connection::open(&self.shared.tls, address).await?;
            connection.call("POST", path, body.to_string().as_bytes()).await?;
            serde_json::from_slice(connection.body()).context("an answer is JSON")
        };
        tokio::time::timeout(Duration::from_secs(60), asked).await.context("no answer in a minute")?
    }

    /// Checks out a seat of the second vendor, which no other client has now; again with the same secret if it holds one.
    async fn seat(&mut self, feature: &str, before: Option<Holder>, shows: bool) -> anyhow::Result<Holder> {
        let fresh = triquest_wire::Secret(Bytes32(self.random.bytes()));
        let (secret, attempt) = before.as_ref().map_or((fresh, 1), |holder| (holder.secret, holder.attempt));
        let mut body = json!({
            "secret": secret, "attempt": attempt, "nonce": Bytes32(self.random.bytes()), "vendor_keys": [self.shared.vendors[1].1],
            "items": [{ "feature": feature, "seats": 1 }], "holder": { "user": "restored" }, "ttl_ms": TTL_MS,
        });
        if let (true, Some(holder)) = (shows, &before) {
            let part = |name: &str| holder.answer[name].clone();
            body["shown"] = json!({
                "grant": part("grant"), "leaf": part("leaf"), "path": part("path"), "statement": part("statement"), "signature": part("signature"),
            });
        }
        let answer = self.ask("/v1/leases", &body).await?;
        Ok(Holder { secret, attempt, answer })
    }

    fn judge(&mut self, holder: &Holder, outcome: &str, code: &str, says: &str) {
        let answer = &holder.answer;
        let found = (answer["outcome"].as_str().unwrap_or_default(), answer["denial"]["code"].as_str().unwrap_or_default());
        if found != (outcome, code) {
            let mut text = answer.to_string();
            text.truncate(600);
            self.violation("restored_waits", format!("{says} ({}): {text}", holder.secret.lease_id()));
        }
    }

    /// Backs up, goes on, and brings the backup back.
    pub(super) async fn restore(&mut self) -> anyhow::Result<()> {
        let known = self.seat("net", None, false).await?;
        self.judge(&known, "granted", "", "a free seat");
        let (place, from) = (Arc::clone(&self.place), self.place.data());
        let saved = blocking(move || place.command().args(["journal", "backup"]).output()).await??;
        let backup = std::fs::read_dir(from.join("backups")).into_iter().flatten().flatten().map(|file| file.path()).max();
        let Some(backup) = backup.filter(|_| saved.status.success()) else {
            self.violation("backups_are_whole", format!("`journal backup` failed: {}", String::from_utf8_lossy(&saved.stderr)));
            return Ok(());
        };
        let lost = self.seat("net", None, false).await?;
        self.judge(&lost, "granted", "", "a free seat");
        let never = self.seat("cad", None, false).await?;
        self.judge(&never, "granted", "", "a free seat");

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
        self.begin(None).await?;
        self.done.restores += 1;

        for feature in ["cad", "net"] {
            let newcomer = self.seat(feature, None, false).await?;
            self.judge(&newcomer, "denied", "quarantine", "somebody new asks in the quarantine");
        }
        // The seat of `never` was granted in lost history, and nobody shows it: it must not be given to anybody while it may be in use.
        let known = self.seat("net", Some(known), false).await?;
        self.judge(&known, "granted", "", "the backup knows this lease");
        let lost = self.seat("net", Some(lost), true).await?;
        self.judge(&lost, "granted", "", "its client shows the grant of this lease");
        // After one more crash all of it is as before.
        self.restart(false, None).await?;
        let newcomer = self.seat("cad", None, false).await?;
        self.judge(&newcomer, "denied", "quarantine", "somebody new asks in the quarantine after a restart");
        let known = self.seat("net", Some(known), false).await?;
        self.judge(&known, "granted", "", "the backup knows this lease, after a restart");
        let lost = self.seat("net", Some(lost), false).await?;
        self.judge(&lost, "granted", "", "it was adopted, before a restart");
        for holder in [known, lost] {
            let answer = self.ask(&format!("/v1/leases/{}/release", holder.secret.lease_id()), &json!({ "secret": holder.secret })).await?;
            if answer["outcome"] != "released" {
                self.violation("renewing_and_releasing_work", format!("a release after a restore was answered {answer}"));
            }
        }
        let newcomer = self.seat("net", None, false).await?;
        self.judge(&newcomer, "denied", "quarantine", "all seats are free, and the quarantine goes on");
        Ok(())
    }
}
