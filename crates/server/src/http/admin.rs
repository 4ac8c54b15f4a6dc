//! Administration: licenses, reclaim, acceptances, backup, reload. Every act is an event with who and why.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use http::Request;
use tokio::sync::oneshot;
use triquest_allocator::{Actor, Command, InstallLicense, Outcome, Overlap, Refusal};
use triquest_journal::JournalErrorKind;
use triquest_license::{CivilDate, CivilMs, LicenseHash, VerifiedLicense, Written, read_any};
use triquest_wire::{
    Bytes32, ErrorCode, LeaseId, Problem,
    license::{InstallAnswer, InstallOutcome, InstallRequest, LicenseList, LicenseSummary, RemoveAnswer, RemoveRequest, Successor},
    limits::{BODY_BYTES_MAX, LEASE_BODY_BYTES_MAX, REASON_BYTES_MAX},
    status::{
        AcceptRequest, Accepted, AllowPresenceRequest, BackupAnswer, BackupRequest, EndQuarantineRequest, ReclaimAnswer, ReclaimRequest,
        ReloadAnswer, ReloadRequest,
    },
};

use super::{Answer, App, Arriving, Refused, bad, body, convert, json, leases::limit, query, routes::Found};
use crate::{
    accept::{Conn, Peer},
    limits::BACKUP_NAME_BYTES_MAX,
    sys,
    view::LicensePage,
};

/// Who acts, with the reason given.
fn actor(conn: &Conn, reason: &str, required: bool) -> Result<Actor, Problem> {
    let reason = reason.trim();
    if reason.len() > REASON_BYTES_MAX {
        return Err(bad(format!("reason: {} bytes, at most {REASON_BYTES_MAX} are taken", reason.len())));
    }
    if required && reason.is_empty() {
        return Err(bad("reason: say why, for the record"));
    }
    if sys::visible(reason) != reason {
        return Err(bad("reason: has characters that cannot be shown"));
    }
    let name = match &conn.peer {
        Peer::Tcp(address) => format!("tcp:{}", address.ip()),
        Peer::Unix { user, .. } => format!("unix:{user}"),
    };
    Ok(Actor { name, reason: reason.to_owned() })
}

pub(super) async fn install(app: &Arc<App>, conn: &Conn, request: &mut Request<Arriving>) -> Answer {
    let asked: InstallRequest = body(app, conn, request, BODY_BYTES_MAX).await?;
    let actor = actor(conn, &asked.reason, false)?;
    json(&install_bytes(app, asked.license.as_bytes(), actor).await?)
}

/// Verifies a license and puts it into force. The one door, for the API and for the folder.
pub(crate) async fn install_bytes(app: &App, input: &[u8], actor: Actor) -> Result<InstallAnswer, Problem> {
    let no = |message: String, hint: Option<String>| Problem::new(ErrorCode::BadLicense, message).hint(hint.unwrap_or_default());
    let note = read_any(input).map_err(|cause| no(cause.to_string(), cause.hint()))?;
    let license = VerifiedLicense::verify_named(&note).map_err(|cause| no(cause.to_string(), cause.hint()))?;
    if !license.serves(&app.server_key) {
        return Err(no(
            format!("license {} is for another server: it does not name this server's key {}", license.terms().license, app.server_key),
            Some("send the vendor what `triquest-lm license request` prints here, and ask for a license for this key".to_owned()),
        ));
    }
    let (hash, id) = (license.hash(), license.terms().license.to_string());
    let last_day = license.terms().entitlements.iter().filter_map(|right| right.expires_written).max_by_key(|day| day.ends());
    let left_out: Vec<String> = license
        .terms()
        .left_out
        .iter()
        .map(|out| format!("{out}, which this server does not know: it is left out until a version knows it"))
        .collect();
    let installed_before = app.driver.view().licenses();
    let strangers = of_other_keys(&license, &installed_before);
    let command = Command::Install(InstallLicense { license: Box::new(license), actor });
    let answer = app.driver.decide(command, None).await.map_err(Refused::from)?;
    let named = |hash: &LicenseHash| {
        let known = installed_before.iter().find(|license| license.hash.0 == *hash.as_bytes());
        known.map_or_else(|| hash.to_string(), |license| license.license.clone())
    };
    let made = |outcome, replaced, notices| InstallAnswer {
        outcome,
        position: answer.position,
        hash: Bytes32(*hash.as_bytes()),
        license: id.clone(),
        replaced,
        ending: 0,
        successor: None,
        notices,
    };
    match &answer.outcome {
        Outcome::Installed { waiting, replaced, ending, overlaps, .. } => {
            app.licenses_changed();
            let outcome = if *waiting { InstallOutcome::Waiting } else { InstallOutcome::Installed };
            let unreplaced = strangers.iter().filter(|(hash, _)| !replaced.contains(hash)).map(|(_, old)| {
                format!("it is to replace {old} and does not: no key that signed {old} signed it, so the seats of both count")
            });
            let notices = left_out.into_iter().chain(overlaps.iter().map(|overlap| notice(overlap, &named))).chain(unreplaced).collect();
            Ok(InstallAnswer { ending: *ending, ..made(outcome, replaced.iter().map(named).collect(), notices) })
        }
        Outcome::Refused(Refusal::AlreadyInstalled(_)) => Ok(made(InstallOutcome::AlreadyInstalled, Vec::new(), Vec::new())),
        Outcome::Refused(Refusal::Replaced { by, license, since_ms }) => Ok(InstallAnswer {
            successor: Some(Successor { license: by.to_string(), hash: Bytes32(*license.as_bytes()), since_ms: *since_ms }),
            ..made(InstallOutcome::Replaced, Vec::new(), Vec::new())
        }),
        Outcome::Refused(refusal @ Refusal::Expired(_)) => {
            let day = last_day.map_or_else(String::new, |day| format!(": its last day was {day}"));
            let problem = Problem { detail: format!("license {id} has ended{day}"), ..convert::refused(refusal) };
            Err(match app.driver.view().clock_refused_ms() {
                // It has ended in a time that the machine's clock does not say: then the clock comes first.
                Some(clock_ms) => Problem {
                    detail: format!("{}; but the server's clock says {} and is not followed", problem.detail, CivilMs(clock_ms)),
                    ..problem
                }
                .hint("if the clock is right, `triquest-lm clock accept --reason TEXT` on the server, then install again"),
                None => problem,
            })
        }
        Outcome::Refused(refusal) => Err(convert::refused(refusal)),
        other => Err(convert::unexpected(other)),
    }
}

/// Of the installed licenses of the same vendor name, those that a license names in `replaces` while no key leads from it to them: a server takes whoever
/// shares no key for another vendor.
fn of_other_keys(license: &VerifiedLicense, installed: &[LicenseSummary]) -> Vec<(LicenseHash, String)> {
    let terms = license.terms();
    let mut keys: BTreeSet<[u8; 32]> = license.vendor_keys().iter().map(|key| *key.as_bytes()).collect();
    let mut others: Vec<&LicenseSummary> = installed.iter().filter(|other| other.vendor == terms.vendor.as_str()).collect();
    // One that two keys signed makes them keys of one vendor.
    loop {
        let (known, rest): (Vec<_>, Vec<_>) =
            others.into_iter().partition(|other| other.vendor_keys.iter().any(|key| keys.contains(&key.0)));
        others = rest;
        if known.is_empty() {
            break;
        }
        keys.extend(known.iter().flat_map(|other| &other.vendor_keys).map(|key| key.0));
    }
    let is_named = |other: &&LicenseSummary| terms.replaces.iter().any(|id| id.as_str() == other.license);
    let mut found: Vec<_> =
        others.into_iter().filter(is_named).map(|other| (LicenseHash::from_bytes(other.hash.0), other.license.clone())).collect();
    found.truncate(NOTICE_LICENSES_MAX);
    found
}

/// Other licenses that a notice names.
const NOTICE_LICENSES_MAX: usize = 4;

/// Where a license adds to others: `cad: 25 + 25 = 50 until 2026-12-31, together with ACME-1`.
fn notice(Overlap { feature, before, with, until_ms, others }: &Overlap, name: &impl Fn(&LicenseHash) -> String) -> String {
    let until = until_ms.map(|ms| format!(" until {}", Written::of_end(CivilMs(ms)))).unwrap_or_default();
    let mut licenses: Vec<String> = others.iter().take(NOTICE_LICENSES_MAX).map(name).collect();
    if others.len() > NOTICE_LICENSES_MAX {
        licenses.push(format!("{} more", others.len() - NOTICE_LICENSES_MAX));
    }
    format!("{feature}: {before} + {} = {with}{until}, together with {}", with.saturating_sub(*before), licenses.join(", "))
}

pub(super) fn licenses(app: &App, request: &Request<Arriving>) -> Answer {
    let [after, rows] = query(request, ["after", "limit"])?;
    let after = after.map(|after| after.parse::<u32>()).transpose().map_err(|_| bad("after: needs the `next` of the page before"))?;
    let LicensePage { position, licenses, next } = app.driver.view().license_page(after, limit(rows.as_deref())?);
    json(&LicenseList { position, licenses, next })
}

/// A hash in either form, or an id that only one installed license has.
fn which(app: &App, text: &str) -> Result<LicenseHash, Problem> {
    if let Ok(hash) = text.parse::<LicenseHash>() {
        return Ok(hash);
    }
    if let Ok(Bytes32(bytes)) = serde_json::from_value::<Bytes32>(text.into()) {
        return Ok(LicenseHash::from_bytes(bytes));
    }
    match app.driver.view().licenses_by_id(text).as_slice() {
        [] => Err(convert::refused(&Refusal::UnknownLicense)),
        [one] => Ok(*one),
        several => {
            Err(bad(format!("several licenses have this id: {}", several.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")))
                .hint("name the one that is meant by its hash"))
        }
    }
}

pub(super) async fn remove(app: &Arc<App>, conn: &Conn, found: &Found, request: &mut Request<Arriving>) -> Answer {
    let license = which(app, &found.segment)?;
    let asked: RemoveRequest = body(app, conn, request, LEASE_BODY_BYTES_MAX).await?;
    let actor = actor(conn, &asked.reason, true)?;
    let answer = app.driver.decide(Command::Remove { license, actor }, None).await.map_err(Refused::from)?;
    match answer.outcome {
        Outcome::Removed { ending } => {
            app.licenses_changed();
            let folder = app.live.load().licenses.clone();
            let files = crate::licenses_folder::holding(&folder, *license.as_bytes()).await;
            json(&RemoveAnswer { position: answer.position, ending, files })
        }
        Outcome::Refused(refusal) => Err(convert::refused(&refusal)),
        other => Err(convert::unexpected(&other)),
    }
}

pub(super) async fn reclaim(app: &Arc<App>, conn: &Conn, lease: LeaseId, request: &mut Request<Arriving>) -> Answer {
    let asked: ReclaimRequest = body(app, conn, request, LEASE_BODY_BYTES_MAX).await?;
    let actor = actor(conn, &asked.reason, true)?;
    let command = Command::Reclaim { lease: convert::to_core(lease), now: asked.now, actor };
    let answer = app.driver.decide(command, None).await.map_err(Refused::from)?;
    match answer.outcome {
        Outcome::Reclaimed { remaining_ms } => json(&ReclaimAnswer { position: answer.position, remaining_ms }),
        Outcome::Refused(refusal) => Err(convert::refused(&refusal)),
        other => Err(convert::unexpected(&other)),
    }
}

async fn accept(app: &App, command: Command) -> Answer {
    let answer = app.driver.decide(command, None).await.map_err(Refused::from)?;
    match answer.outcome {
        Outcome::Done => json(&Accepted { position: answer.position }),
        Outcome::Refused(refusal) => Err(convert::refused(&refusal)),
        other => Err(convert::unexpected(&other)),
    }
}

pub(super) async fn accept_clock(app: &Arc<App>, conn: &Conn, request: &mut Request<Arriving>) -> Answer {
    let asked: AcceptRequest = body(app, conn, request, LEASE_BODY_BYTES_MAX).await?;
    accept(app, Command::AcceptClock { actor: actor(conn, &asked.reason, true)? }).await
}

pub(super) async fn end_quarantine(app: &Arc<App>, conn: &Conn, request: &mut Request<Arriving>) -> Answer {
    let asked: EndQuarantineRequest = body(app, conn, request, LEASE_BODY_BYTES_MAX).await?;
    // The one that can have been looked at: another may begin before this is decided.
    let lineage = triquest_allocator::Lineage(asked.lineage.unwrap_or(app.position().lineage).0);
    accept(app, Command::EndQuarantine { lineage, actor: actor(conn, &asked.reason, true)? }).await
}

pub(super) async fn allow_presence(app: &Arc<App>, conn: &Conn, request: &mut Request<Arriving>) -> Answer {
    let asked: AllowPresenceRequest = body(app, conn, request, LEASE_BODY_BYTES_MAX).await?;
    let actor = actor(conn, &asked.reason, true)?;
    let networks = asked
        .network
        .parse()
        .map_err(|why: String| bad(format!("network: {why}")).hint("name it as `status` shows it, or an address in it"))?;
    accept(app, Command::AllowPresence { networks, actor }).await
}

pub(super) async fn backup(app: &Arc<App>, conn: &Conn, request: &mut Request<Arriving>) -> Answer {
    let asked: BackupRequest = body(app, conn, request, LEASE_BODY_BYTES_MAX).await?;
    let position = app.position();
    let day = CivilDate::of(CivilMs(app.driver.view().now().1));
    // The position makes it new each time that anything happened.
    let usual = format!("{day}-{}-{}", position.epoch, position.index);
    let (data_dir, listed) = (app.data_dir.clone(), app.backups.clone());
    let path = tokio::task::spawn_blocking(move || backup_place(&data_dir, &listed, asked.path.as_deref(), &usual))
        .await
        .map_err(|_| Problem::new(ErrorCode::Internal, "the check of the path failed"))??;
    app.driver.backup(path.clone()).await.map_err(|cause| {
        let code = if cause.kind == JournalErrorKind::Full { ErrorCode::DiskFull } else { ErrorCode::BadRequest };
        Problem::new(code, format!("no backup: {}", cause.message)).hint(cause.hint)
    })?;
    let bytes = fs::metadata(&path).map(|meta| meta.len()).unwrap_or_default();
    json(&BackupAnswer { position, path: path.display().to_string(), bytes })
}

/// The server may be root and the caller only of a group: it must not be led into writing anywhere but where backups belong, and nothing but a
/// file with a plain name.
fn backup_place(data_dir: &Path, listed: &[PathBuf], path: Option<&str>, usual: &str) -> Result<PathBuf, Problem> {
    let own = data_dir.join("backups");
    let elsewhere = |dir: &Path| {
        bad(format!("path: the server writes no backups into {}", sys::visible(&dir.display().to_string())))
            .hint("give a plain name for `backups` in the data directory, or list the folder under `backups` in the server's configuration")
    };
    let (dir, name) = match path {
        None => (own.clone(), None),
        Some(text) if !text.contains('/') => (own.clone(), Some(text)),
        Some(text) => {
            let path = Path::new(text);
            let dir = path.parent().filter(|_| path.is_absolute()).ok_or_else(|| elsewhere(path))?;
            if dir != own && !listed.iter().any(|listed| listed == dir) {
                return Err(elsewhere(dir));
            }
            // What follows the last slash, and not what the library makes of `..` or of a slash at the end.
            (dir.to_owned(), text.rsplit('/').next())
        }
    };
    if dir == own {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&dir)
            .map_err(|cause| bad(format!("cannot make {}: {cause}", dir.display())))?;
    }
    let meta = fs::symlink_metadata(&dir).map_err(|cause| bad(format!("path: cannot look at {}: {cause}", dir.display())))?;
    if !meta.is_dir() || ![0, sys::user_id()].contains(&meta.uid()) || meta.mode() & 0o022 != 0 {
        return Err(bad(format!("path: {} must be a directory, no link, that only root or the server's user may write", dir.display()))
            .hint("leave the path out to write into `backups` in the data directory"));
    }
    // Whoever can exchange a folder above it could lead the server elsewhere; in a sticky one (/tmp) nobody can.
    let exchangeable = dir.ancestors().skip(1).find(|above| {
        fs::symlink_metadata(above).map_or(true, |meta| {
            let open = meta.mode() & 0o022 != 0 && meta.mode() & 0o1000 == 0;
            !meta.is_dir() || open || ![0, sys::user_id()].contains(&meta.uid())
        })
    });
    if let Some(above) = exchangeable.filter(|_| dir != own) {
        return Err(bad(format!("path: others could exchange {}, in which {} lies", above.display(), dir.display()))
            .hint("leave the path out to write into `backups` in the data directory"));
    }
    if let Some(name) = name {
        let plain = !name.is_empty()
            && name.len() <= BACKUP_NAME_BYTES_MAX
            && !name.starts_with('.')
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-+".contains(&byte));
        if !plain {
            return Err(bad(
                "path: the file needs a plain name of letters, digits and `.`, `_`, `-`, `+`, which does not begin with a dot",
            ));
        }
        return Ok(dir.join(name));
    }
    (1..1_000)
        .map(|number: u32| dir.join(format!("{usual}-{number}.sqlite")))
        .find(|path| fs::symlink_metadata(path).is_err())
        .ok_or_else(|| bad(format!("{} is full of backups", dir.display())))
}

pub(super) async fn reload(app: &Arc<App>, conn: &Conn, request: &mut Request<Arriving>) -> Answer {
    let ReloadRequest {} = body(app, conn, request, LEASE_BODY_BYTES_MAX).await?;
    let (reply, answer) = oneshot::channel();
    let busy = || Problem::new(ErrorCode::Overloaded, "the server is busy with a reload, or stopping");
    app.reload.try_send(reply).map_err(|_| busy())?;
    let changes = answer.await.map_err(|_| busy())?.map_err(bad)?;
    json(&ReloadAnswer { changes })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::PermissionsExt as _;

    use triquest_license::FeatureName;

    use super::*;

    #[test]
    fn an_overlap_is_said_aloud() {
        // The end of 2026-12-31 everywhere on Earth: 2027-01-01T12:00Z.
        let ends = "2026-12-31".parse::<triquest_license::Written>().unwrap();
        let triquest_license::Written::Date(date) = ends else { panic!("a date") };
        let ends_ms = date.plus_days(1).midnight_utc().0 + 12 * 3_600_000;
        let first = LicenseHash::from_bytes([1; 32]);
        let overlap =
            Overlap { feature: FeatureName::new("cad").unwrap(), before: 25, with: 50, until_ms: Some(ends_ms), others: vec![first] };
        let name = |_: &LicenseHash| "A-1".to_owned();
        assert_eq!(notice(&overlap, &name), "cad: 25 + 25 = 50 until 2026-12-31, together with A-1");
        let many = Overlap { until_ms: None, others: vec![first; 6], ..overlap };
        assert_eq!(notice(&many, &name), "cad: 25 + 25 = 50, together with A-1, A-1, A-1, A-1, 2 more");
    }

    #[test]
    fn a_backup_goes_only_where_backups_belong_and_has_a_plain_name() {
        let data = tempfile::tempdir().unwrap();
        let (listed, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let own = data.path().join("backups");
        let link = data.path().join("link");
        std::os::unix::fs::symlink(other.path(), &link).unwrap();
        let folders = [listed.path().to_owned(), link.clone()];
        let place = |path: Option<&str>| backup_place(data.path(), &folders, path, "2026-11-27-1-2");
        assert_eq!(place(None).unwrap(), own.join("2026-11-27-1-2-1.sqlite"));
        assert_eq!(place(Some("monday.sqlite")).unwrap(), own.join("monday.sqlite"));
        let inside = |dir: &Path, name: &str| format!("{}/{name}", dir.display());
        for dir in [&own, &folders[0]] {
            assert_eq!(place(Some(&inside(dir, "b.sqlite"))).unwrap(), dir.join("b.sqlite"));
        }
        for wrong in [
            "/etc/nologin".to_owned(),
            "/tmp/b.sqlite".to_owned(),
            String::new(),
            ".hidden".to_owned(),
            "a b".to_owned(),
            "n\nl".to_owned(),
            "backups/b".to_owned(),
            inside(other.path(), "b"),
            inside(&link, "b"),
            inside(&own, ""),
            inside(&own, ".."),
            inside(&own, "../b"),
            inside(&own, "sub/b"),
            inside(&listed.path().join("../"), "b"),
            inside(&own, &"x".repeat(BACKUP_NAME_BYTES_MAX + 1)),
        ] {
            assert!(place(Some(&wrong)).is_err(), "{wrong:?}");
        }
        let deep = listed.path().join("deep");
        fs::create_dir(&deep).unwrap();
        let deep_is_listed = |mode| {
            fs::set_permissions(listed.path(), fs::Permissions::from_mode(mode)).unwrap();
            backup_place(data.path(), std::slice::from_ref(&deep), Some(&inside(&deep, "b")), "x").is_ok()
        };
        assert!(deep_is_listed(0o755) && !deep_is_listed(0o777) && deep_is_listed(0o1777));
        fs::set_permissions(listed.path(), fs::Permissions::from_mode(0o777)).unwrap();
        assert!(place(Some(&inside(listed.path(), "b"))).is_err());
    }
}
