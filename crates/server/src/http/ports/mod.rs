//! The reference of ports: what a number or a name is registered for, as a page for people and as JSON for programs.
//!
//! Everything here comes from the registry's table. Nothing is probed, and nothing of this machine is shown: what listens here is told by the command
//! `triquest-lm port`, on the machine itself.

mod feedback;
mod page;

use std::{path::Path, sync::Arc};

use http::{HeaderValue, Request, Response, StatusCode, header};
use serde::Serialize;
use triquest_ports::registry::{Current, Entry, Places, Registry, Source};
use triquest_wire::{
    ErrorCode, Problem,
    limits::{FEEDBACK_BODY_BYTES_MAX, PORT_NAME_BYTES_MAX, PORT_SEARCH_HITS_MAX},
};

use super::{Answer, App, Arriving, Body, bad, json, query, raw_body, read, response, routes::Found};
use crate::{accept::Conn, gate::Rated, limits::NEAR_NAMES_MAX, seldom::Kind};

pub(crate) use feedback::Feedback;

const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");
/// A plain form's coding (HTML, "URL-encoded form data").
const FORM: &str = "application/x-www-form-urlencoded";

/// The table that this server answers from: the newest of the built-in one and those that `triquest-lm port --update` has kept.
pub(crate) fn registry() -> Current {
    let variable = |name| crate::config::environment(name).map(std::path::PathBuf::from);
    let (home, data_home) = (variable("HOME"), variable("XDG_DATA_HOME"));
    let current = triquest_ports::registry::current(&Places::usual(home.as_deref().map(Path::new), data_home.as_deref().map(Path::new)));
    for unusable in &current.unusable {
        tracing::warn!(path = %unusable.path.display(), reason = unusable.reason, "a kept registry of ports is not used");
    }
    current
}

/// What a path segment asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked<'a> {
    Name(&'a str),
    Port(u16),
}

impl<'a> Asked<'a> {
    /// A port number in plain decimal digits, or a service name (RFC 6335, section 5.1, and the older names that have other characters).
    fn parse(segment: &'a str) -> Result<Self, Problem> {
        if segment.len() > PORT_NAME_BYTES_MAX {
            return Err(bad(format!("a port or service name has at most {PORT_NAME_BYTES_MAX} bytes")));
        }
        if segment.bytes().all(|byte| byte.is_ascii_digit()) {
            let plain = segment == "0" || !segment.starts_with('0');
            return segment.parse().ok().filter(|_| plain).map(Self::Port).ok_or_else(|| bad("a port is a number from 0 to 65535"));
        }
        Ok(Self::Name(segment))
    }
}

/// `GET /v1/ports/NAME`.
#[derive(Serialize)]
struct NameReport<'a> {
    name: &'a str,
    entries: Vec<Entry<'a>>,
    source: Source,
}

fn nothing(name: &str) -> Problem {
    Problem::new(ErrorCode::NotFound, format!("no service is registered under {name:?}"))
        .hint("GET /ports?q=WORDS searches names, descriptions and registrants")
}

/// `GET /v1/ports/{port}`: a number or a service name.
pub(super) fn report(app: &App, found: &Found, request: &Request<Arriving>) -> Answer {
    let [] = query(request, [])?;
    let registry = &app.registry().registry;
    let segment = super::unescape(&found.segment)?;
    match Asked::parse(&segment)? {
        Asked::Port(port) => json(&registry.report(port)),
        Asked::Name(name) => {
            let entries = registry.named(name);
            let Some(name) = entries.first().and_then(|entry| entry.name) else { return Err(nothing(name)) };
            json(&NameReport { name, entries, source: registry.source() })
        }
    }
}

/// What a page of the reference needs.
enum Page {
    Whole(Response<Body>),
    /// No such name. What comes near it has yet to be searched for; the page tells it where that cannot be.
    Unknown {
        name: String,
        alone: Response<Body>,
    },
}

/// `GET /ports/{port}`: the same as a page.
pub(super) async fn page(app: &Arc<App>, conn: &Conn, found: &Found, request: &Request<Arriving>) -> Answer {
    let (name, alone) = match read(app, conn, || page_of(app, found, request))? {
        Page::Whole(page) => return Ok(page),
        Page::Unknown { name, alone } => (name, alone),
    };
    let near = searched(app, conn, move |registry| page::unknown(registry, &name, Some(&registry.search(&name, NEAR_NAMES_MAX)))).await;
    // Whoever may not search now is told of the name alone.
    Ok(near.map_or(alone, |page| html(StatusCode::NOT_FOUND, page)))
}

fn page_of(app: &App, found: &Found, request: &Request<Arriving>) -> Result<Page, Problem> {
    let [thanks] = query(request, ["thanks"])?;
    let registry = &app.registry().registry;
    let segment = super::unescape(&found.segment)?;
    let page = match Asked::parse(&segment)? {
        Asked::Port(port) => page::port(registry, port, thanks.is_some()),
        Asked::Name(name) => match of_name(registry, name) {
            OfName::Nothing => {
                let alone = html(StatusCode::NOT_FOUND, page::unknown(registry, name, None));
                return Ok(Page::Unknown { name: name.to_owned(), alone });
            }
            OfName::OnePort(port) => page::port(registry, port, thanks.is_some()),
            OfName::Several(entries) => page::name(registry, name, &entries),
        },
    };
    Ok(Page::Whole(html(StatusCode::OK, page)))
}

enum OfName<'a> {
    Nothing,
    OnePort(u16),
    Several(Vec<Entry<'a>>),
}

fn of_name<'a>(registry: &'a Registry, name: &str) -> OfName<'a> {
    let entries = registry.named(name);
    if entries.is_empty() {
        return OfName::Nothing;
    }
    // A row without a port beside one that has one is the same service.
    let mut ports = entries.iter().filter_map(|entry| entry.ports);
    match ports.next() {
        Some(first) if first.first == first.last && ports.all(|other| other == first) => OfName::OnePort(first.first),
        _ => OfName::Several(entries),
    }
}

/// `GET /ports`, with `q` for a search.
///
/// A search looks at thousands of rows: it is made by one worker that only other searches wait for.
pub(super) async fn search(app: &Arc<App>, conn: &Conn, request: &Request<Arriving>) -> Answer {
    let [words] = query(request, ["q"])?;
    let words = words.unwrap_or_default();
    let words = words.trim();
    if words.len() > PORT_NAME_BYTES_MAX {
        return Err(bad(format!("q: has at most {PORT_NAME_BYTES_MAX} bytes")));
    }
    // Whoever types a number wants its page.
    if !words.is_empty()
        && let Ok(Asked::Port(port)) = Asked::parse(words)
    {
        return Ok(see_other(&format!("/ports/{port}")));
    }
    let words = words.to_owned();
    let page = searched(app, conn, move |registry| page::search(registry, &words, &registry.search(&words, PORT_SEARCH_HITS_MAX))).await?;
    Ok(html(StatusCode::OK, page))
}

/// Has a page written that needs a search, by the one worker for them, in turn.
async fn searched(app: &Arc<App>, conn: &Conn, write: impl FnOnce(&Registry) -> String + Send + 'static) -> Result<String, Problem> {
    app.gate.charge(Rated::Searches, conn.network(), 1)?;
    let turn = app.gate.search(conn.network()).await?;
    let searcher = Arc::clone(app);
    turn.work(move || write(&searcher.registry().registry)).await.ok_or_else(|| Problem::new(ErrorCode::Internal, "the search failed"))
}

/// `POST /ports/{port}/feedback`: one of three faces, as a plain form sends it. It is recorded here and nowhere else.
pub(super) async fn answer(app: &Arc<App>, conn: &Conn, found: &Found, request: &mut Request<Arriving>) -> Answer {
    let Asked::Port(port) = Asked::parse(&found.segment)? else { return Err(nothing(&found.segment)) };
    let mut kinds = request.headers().get_all(header::CONTENT_TYPE).iter();
    let form = matches!((kinds.next(), kinds.next()), (Some(kind), None) if kind.as_bytes().eq_ignore_ascii_case(FORM.as_bytes()));
    if !form {
        return Err(Problem::new(ErrorCode::ContentType, format!("the answer comes as a form: `Content-Type: {FORM}`")));
    }
    let bytes = raw_body(app, conn, request, FEEDBACK_BODY_BYTES_MAX).await?;
    let answer = feedback::parse(&bytes).ok_or_else(|| bad("the form has exactly one field, answer=yes, answer=partly or answer=no"))?;
    if let Some(network) = conn.network()
        && let Some(wait_ms) = app.feedback.wait_ms(network, app.boot_ms())
    {
        let problem = Problem::new(ErrorCode::RateLimited, "enough answers from this address for now");
        return Err(Problem { retry_after_ms: Some(wait_ms), ..problem });
    }
    let recorder = Arc::clone(app);
    let recorded = tokio::task::spawn_blocking(move || recorder.feedback.record(port, answer)).await;
    match recorded {
        Ok(Ok(())) => Ok(see_other(&format!("/ports/{port}?thanks=1#helpful"))),
        Ok(Err(cause)) => {
            app.gate.note(Kind::Feedback, conn.network());
            tracing::debug!(%cause, "an answer to `was this helpful` could not be recorded");
            Err(Problem::new(ErrorCode::DiskFull, "the answer could not be recorded"))
        }
        Err(_) => Err(Problem::new(ErrorCode::Internal, "the answer could not be recorded")),
    }
}

/// `GET /v1/feedback`: the counts, for administrators.
pub(super) fn counts(app: &App) -> Answer {
    json(&app.feedback.counts())
}

fn see_other(place: &str) -> Response<Body> {
    let mut response = response(StatusCode::SEE_OTHER, HeaderValue::from_static("text/plain; charset=utf-8"), Vec::new());
    if let Ok(place) = HeaderValue::from_str(place) {
        response.headers_mut().insert(header::LOCATION, place);
    }
    response
}

/// A page: no script, no frame, nothing from elsewhere; its own style is named by its hash.
fn html(status: StatusCode, page: String) -> Response<Body> {
    let mut response = response(status, HTML, page.into_bytes());
    let policy =
        format!("default-src 'none'; style-src '{}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'", page::style_hash());
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    // Not `no-referrer`: with that, a browser sends the page's own form with `Origin: null`, which is refused as it must be.
    response.headers_mut().insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    response
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_segment_is_a_plain_number_or_a_name() {
        assert_eq!(Asked::parse("1588").unwrap(), Asked::Port(1588));
        assert_eq!(Asked::parse("0").unwrap(), Asked::Port(0));
        assert_eq!(Asked::parse("triquest-lm").unwrap(), Asked::Name("triquest-lm"));
        for wrong in ["65536", "01588", "00", "99999999999999999999", &"x".repeat(PORT_NAME_BYTES_MAX + 1)] {
            assert!(Asked::parse(wrong).is_err(), "{wrong}");
        }
    }
}
