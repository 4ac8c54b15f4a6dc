//! Who asks, in one normal form, so that the same person on the same machine is written in one way whatever the client runs on.
//! `docs/reference/holder.md` is for people what this file is for the server.

use triquest_allocator::{Claim, Holder};
use triquest_wire::{Problem, lease::HolderClaim, limits::HOLDER_FIELD_BYTES_MAX};

use super::bad;
use crate::accept::{Conn, Peer};

/// Normalizes what the client says and adds what the server sees.
///
/// # Errors
/// A field that is too long or holds what cannot be seen.
pub fn of(claim: HolderClaim, conn: &Conn) -> Result<Holder, Problem> {
    let mut holder = normal(claim)?;
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
    Ok(holder)
}

/// The normal form of what a client says, all of it claimed.
///
/// # Errors
/// As [`of`].
pub fn normal(claim: HolderClaim) -> Result<Holder, Problem> {
    let HolderClaim { user, host, display, session, container, process, job, project } = claim;
    Ok(Holder {
        user: field("user", user, normal_user)?,
        host: field("host", host, normal_host)?,
        display: field("display", display, |text| text)?,
        session: field("session", session, |text| text.to_lowercase())?,
        address: None,
        container: field("container", container, |text| text)?,
        process: field("process", process, |text| text)?,
        job: field("job", job, normal_job)?,
        project: field("project", project, |text| text)?,
    })
}

fn field(name: &str, text: Option<String>, form: impl FnOnce(String) -> String) -> Result<Option<Claim>, Problem> {
    let Some(text) = text else { return Ok(None) };
    if text.len() > HOLDER_FIELD_BYTES_MAX {
        return Err(bad(format!("holder.{name}: {} bytes, at most {HOLDER_FIELD_BYTES_MAX} are taken", text.len())));
    }
    if let Some(c) = text.chars().find(|c| is_invisible(*c)) {
        return Err(bad(format!("holder.{name}: the character {} cannot be shown and is refused", c.escape_unicode())));
    }
    let text = form(text.trim().to_owned());
    Ok((!text.is_empty()).then_some(Claim { value: text, proved: false }))
}

/// Control characters, and those that hide or turn the text around them.
fn is_invisible(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
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

    fn user(text: &str) -> Result<Option<String>, Problem> {
        normal(HolderClaim { user: Some(text.into()), ..HolderClaim::default() }).map(|holder| holder.user.map(|claim| claim.value))
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
            assert_eq!(user(said).unwrap().unwrap(), normal, "{said}");
        }
        assert_eq!(user("  ").unwrap(), None);
    }

    #[test]
    fn what_cannot_be_seen_is_refused_not_dropped() {
        for text in ["a\nb", "a\u{1b}[2J", "a\0", "a\u{202e}b", "a\u{200b}", "\u{feff}a", "a\u{85}", "a\u{e0041}"] {
            let problem = user(text).unwrap_err();
            assert!(problem.detail.starts_with("holder.user: the character \\u{"), "{}", problem.detail);
        }
        assert!(user(&"x".repeat(HOLDER_FIELD_BYTES_MAX + 1)).is_err());
        assert!(user(&"x".repeat(HOLDER_FIELD_BYTES_MAX)).is_ok());
    }

    #[test]
    fn hosts_sessions_and_jobs_have_one_spelling() {
        let claim = HolderClaim {
            host: Some("WS0142.Example.COM.".into()),
            session: Some("SSH".into()),
            job: Some("SLURM:48213[7]".into()),
            ..HolderClaim::default()
        };
        let holder = normal(claim).unwrap();
        let value = |claim: Option<Claim>| claim.unwrap().value;
        assert_eq!(
            (value(holder.host), value(holder.session), value(holder.job)),
            ("ws0142.example.com".into(), "ssh".into(), "slurm:48213[7]".into())
        );
    }

    #[test]
    fn normal_form_is_normal() {
        for said in ["CORP\\ana", "A\\b\\c", "a@b@C", "x@", "\\", "@", "ana@CORP\\x"] {
            if let Some(once) = user(said).unwrap() {
                let twice = user(&once).unwrap().unwrap();
                assert_eq!(user(&twice).unwrap().unwrap(), twice, "{said}");
            }
        }
    }
}
