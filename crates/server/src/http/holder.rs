//! Who asks, in one normal form, so that the same person on the same machine is written in one way whatever the client runs on.
//! `docs/reference/holder.md` is for people what this file is for the server.

use triquest_allocator::{Claim, Holder};
use triquest_wire::{lease::HolderClaim, limits::HOLDER_FIELD_BYTES_MAX, text};

use crate::accept::{Conn, Peer};

/// Normalizes what the client says and adds what the server sees. A name is tidied, never a reason to refuse a seat.
#[must_use]
pub fn of(claim: HolderClaim, conn: &Conn) -> Holder {
    let mut holder = normal(claim);
    let proved = |value: String| Some(Claim { value, proved: true });
    match &conn.peer {
        Peer::Tcp(address) => holder.address = proved(address.ip().to_canonical().to_string()),
        Peer::Unix { user, .. } => {
            // The kernel says who it is. Another name stays what it is: a claim.
            if holder.user.as_ref().is_none_or(|claim| claim.value == *user) {
                holder.user = proved(user.clone());
            }
            let here = crate::sys::host_name();
            if !here.is_empty() && holder.host.as_ref().is_none_or(|claim| claim.value == here) {
                holder.host = proved(here);
            }
        }
    }
    holder
}

/// The normal form of what a client says, all of it claimed.
#[must_use]
pub fn normal(claim: HolderClaim) -> Holder {
    let HolderClaim { user, host, display, session, container, process, job, project } = claim;
    Holder {
        user: field(user, normal_user),
        host: field(host, normal_host),
        display: field(display, |text| text),
        session: field(session, |text| text.to_lowercase()),
        address: None,
        container: field(container, |text| text),
        process: field(process, |text| text),
        job: field(job, normal_job),
        project: field(project, |text| text),
    }
}

fn field(text: Option<String>, form: impl FnOnce(String) -> String) -> Option<Claim> {
    let text = form(text::tidy(&text?, HOLDER_FIELD_BYTES_MAX));
    (!text.is_empty()).then_some(Claim { value: text, proved: false })
}

/// `DOMAIN\user` is `user@domain`; a domain is lower case. The account's own case is kept, since some systems tell accounts apart by it.
fn normal_user(text: String) -> String {
    if let Some((domain, user)) = text.split_once('\\')
        && !domain.is_empty()
        && !user.is_empty()
    {
        return if domain == "." { user.to_owned() } else { format!("{user}@{}", domain.to_lowercase()) };
    }
    match text.rsplit_once('@') {
        Some((user, domain)) if !user.is_empty() => format!("{user}@{}", domain.to_lowercase()),
        _ => text,
    }
}

/// Lower case, without the root's dot.
fn normal_host(text: String) -> String {
    text.strip_suffix('.').unwrap_or(&text).to_lowercase()
}

/// The batch system's name in lower case, its number as it is.
fn normal_job(text: String) -> String {
    match text.split_once(':') {
        Some((system, number)) => format!("{}:{number}", system.to_lowercase()),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn user(text: &str) -> Option<String> {
        normal(HolderClaim { user: Some(text.into()), ..HolderClaim::default() }).user.map(|claim| claim.value)
    }

    #[test]
    fn a_user_has_one_spelling() {
        for (said, normal) in [
            ("ana", "ana"),
            ("CORP\\Ana", "Ana@corp"),
            ("Ana@CORP", "Ana@corp"),
            (".\\ana", "ana"),
            (" ana ", "ana"),
            ("\\ana", "\\ana"),
            ("Ünal@ÖBB", "Ünal@öbb"),
        ] {
            assert_eq!(user(said).unwrap(), normal, "{said}");
        }
        assert_eq!(user("  "), None);
    }

    #[test]
    fn what_cannot_be_seen_is_tidied_and_refuses_nobody() {
        for (said, normal) in [
            ("a\nb", "a b"),
            ("a\u{1b}[2J", "a[2J"),
            ("a\u{202e}b", "ab"),
            ("P\u{200b}-2207", "P-2207"),
            ("\u{feff}a", "a"),
            ("\u{645}\u{6cc}\u{200c}\u{62e}", "\u{645}\u{6cc}\u{62e}"),
            ("\u{1f680}", "\u{1f680}"),
        ] {
            assert_eq!(user(said).unwrap(), normal, "{said:?}");
        }
        assert_eq!(user("\u{200b}\0"), None);
        assert_eq!(user(&"x".repeat(HOLDER_FIELD_BYTES_MAX + 1)).unwrap().len(), HOLDER_FIELD_BYTES_MAX);
    }

    #[test]
    fn hosts_sessions_and_jobs_have_one_spelling() {
        let claim = HolderClaim {
            host: Some("WS0142.Example.COM.".into()),
            session: Some("SSH".into()),
            job: Some("SLURM:48213[7]".into()),
            ..HolderClaim::default()
        };
        let holder = normal(claim);
        let value = |claim: Option<Claim>| claim.unwrap().value;
        assert_eq!(
            (value(holder.host), value(holder.session), value(holder.job)),
            ("ws0142.example.com".into(), "ssh".into(), "slurm:48213[7]".into())
        );
    }

    #[test]
    fn normal_form_is_normal() {
        for said in ["CORP\\ana", "A\\b\\c", "a@b@C", "x@", "\\", "@", "ana@CORP\\x"] {
            if let Some(once) = user(said) {
                let twice = user(&once).unwrap();
                assert_eq!(user(&twice).unwrap(), twice, "{said}");
            }
        }
    }
}
