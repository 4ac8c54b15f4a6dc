//! Every path, method and handler in one table; the OpenAPI document and the tests of roles are made from it too.

use http::Method;
use triquest_wire::{ErrorCode, Problem};

/// What can be asked. Kept alphabetical.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Endpoint {
    AcceptClock,
    AllowPresence,
    Backup,
    Checkout,
    EndQuarantine,
    Events,
    Feedback,
    Health,
    Inspect,
    Install,
    Leases,
    Licenses,
    OpenApi,
    Port,
    PortAnswer,
    PortPage,
    PortSearch,
    Presence,
    PresenceChange,
    Ready,
    Reclaim,
    Release,
    Reload,
    Remove,
    Renew,
    RenewMany,
    ServerId,
    Status,
    Trust,
}

/// How a path is limited where nothing else limits it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// By what it does, or because it costs nothing.
    Free,
    /// As a read.
    Read,
    /// As a trust exchange.
    Trust,
}

/// The table. `{...}` is one segment.
pub const TABLE: &[(Method, &str, Endpoint)] = &[
    (Method::POST, "/v1/leases/{lease}/renew", Endpoint::Renew),
    (Method::POST, "/v1/leases", Endpoint::Checkout),
    (Method::POST, "/v1/leases/{lease}/release", Endpoint::Release),
    (Method::POST, "/v1/renewals", Endpoint::RenewMany),
    (Method::POST, "/v1/trust", Endpoint::Trust),
    (Method::POST, "/v1/leases/{lease}/inspect", Endpoint::Inspect),
    (Method::POST, "/v1/leases/{lease}/reclaim", Endpoint::Reclaim),
    (Method::POST, "/v1/presence", Endpoint::Presence),
    (Method::POST, "/v1/presence/change", Endpoint::PresenceChange),
    (Method::GET, "/v1/leases", Endpoint::Leases),
    (Method::GET, "/v1/status", Endpoint::Status),
    (Method::GET, "/v1/licenses", Endpoint::Licenses),
    (Method::POST, "/v1/licenses", Endpoint::Install),
    (Method::DELETE, "/v1/licenses/{hash}", Endpoint::Remove),
    (Method::GET, "/v1/events", Endpoint::Events),
    (Method::POST, "/v1/clock/accept", Endpoint::AcceptClock),
    (Method::POST, "/v1/quarantine/end", Endpoint::EndQuarantine),
    (Method::POST, "/v1/presence/allow", Endpoint::AllowPresence),
    (Method::POST, "/v1/backup", Endpoint::Backup),
    (Method::POST, "/v1/reload", Endpoint::Reload),
    (Method::GET, "/v1/server/id", Endpoint::ServerId),
    (Method::GET, "/openapi.json", Endpoint::OpenApi),
    (Method::GET, "/ports", Endpoint::PortSearch),
    (Method::GET, "/ports/{port}", Endpoint::PortPage),
    (Method::POST, "/ports/{port}/feedback", Endpoint::PortAnswer),
    (Method::GET, "/v1/ports/{port}", Endpoint::Port),
    (Method::GET, "/v1/feedback", Endpoint::Feedback),
    (Method::GET, "/healthz", Endpoint::Health),
    (Method::GET, "/readyz", Endpoint::Ready),
];

impl Endpoint {
    /// In words, for refusals and the API's description.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::AcceptClock => "accepting the wall clock",
            Self::AllowPresence => "allowing early freeing in a network",
            Self::Backup => "a backup",
            Self::Checkout => "a checkout",
            Self::EndQuarantine => "ending the quarantine",
            Self::Events => "the stream of events",
            Self::Feedback => "the counts of answers to the port pages",
            Self::Health => "the health check",
            Self::Inspect => "inspecting an own lease",
            Self::Install => "installing a license",
            Self::Leases => "the list of leases",
            Self::Licenses => "the list of licenses",
            Self::OpenApi => "the description of the API",
            Self::Port => "what a port or a service name is registered for",
            Self::PortAnswer => "an answer to `was this helpful`",
            Self::PortPage => "the page of a port or a service name",
            Self::PortSearch => "the search in the port reference",
            Self::Presence => "a presence connection",
            Self::PresenceChange => "a change of a presence connection",
            Self::Ready => "the readiness check",
            Self::Reclaim => "reclaiming a lease",
            Self::Release => "a release",
            Self::Reload => "a reload",
            Self::Remove => "removing a license",
            Self::Renew => "a renewal",
            Self::RenewMany => "many renewals",
            Self::ServerId => "the server's identity",
            Self::Status => "the status",
            Self::Trust => "the trust exchange",
        }
    }

    /// Administrators only.
    #[must_use]
    pub fn needs_admin(self) -> bool {
        matches!(
            self,
            Self::AcceptClock
                | Self::AllowPresence
                | Self::Backup
                | Self::EndQuarantine
                | Self::Feedback
                | Self::Install
                | Self::Reclaim
                | Self::Reload
                | Self::Remove
        )
    }

    /// Viewers and administrators only, unless names are open.
    #[must_use]
    pub fn needs_viewer(self) -> bool {
        matches!(self, Self::Leases | Self::Licenses)
    }

    /// How it is limited. Renewals and releases never are, and what asks whether the server lives must not depend on others who ask.
    #[must_use]
    pub fn class(self) -> Class {
        match self {
            Self::Events
            | Self::Inspect
            | Self::Leases
            | Self::Licenses
            | Self::OpenApi
            | Self::Port
            | Self::PortPage
            | Self::ServerId
            | Self::Status => Class::Read,
            Self::Trust => Class::Trust,
            _ => Class::Free,
        }
    }

    /// Carries a body, which must be `application/json`. (A page's form cannot: it has its own check.)
    #[must_use]
    pub fn takes_body(self) -> bool {
        !matches!(
            self,
            Self::Events
                | Self::Feedback
                | Self::Health
                | Self::Leases
                | Self::Licenses
                | Self::OpenApi
                | Self::Port
                | Self::PortAnswer
                | Self::PortPage
                | Self::PortSearch
                | Self::Ready
                | Self::ServerId
                | Self::Status
        )
    }

    /// A page for people, which a link of another site may lead to.
    #[must_use]
    pub fn is_page(self) -> bool {
        matches!(self, Self::PortPage | Self::PortSearch)
    }
}

/// What a path and a method mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Which.
    pub endpoint: Endpoint,
    /// The segment that stands for `{...}`, empty if there is none.
    pub segment: String,
}

/// Looks a request up.
///
/// # Errors
/// 404 for an unknown path, 405 for an unknown method of a known one.
pub fn find(method: &Method, path: &str) -> Result<Found, Problem> {
    // What can be got can be asked about.
    let wanted = if method == Method::HEAD { &Method::GET } else { method };
    for (known, template, endpoint) in TABLE {
        if known == wanted
            && let Some(segment) = matches(template, path)
        {
            return Ok(Found { endpoint: *endpoint, segment: segment.to_owned() });
        }
    }
    let allowed = allowed(path);
    if allowed.is_empty() {
        return Err(Problem::new(ErrorCode::NotFound, "there is nothing at this path").hint("GET /openapi.json lists every path"));
    }
    Err(Problem::new(ErrorCode::MethodNotAllowed, format!("this path takes {allowed}")))
}

/// The methods that a path takes, as `Allow` lists them; empty for a path that does not exist.
#[must_use]
pub fn allowed(path: &str) -> String {
    let mut methods: Vec<&str> = Vec::new();
    for (method, template, _) in TABLE {
        if matches(template, path).is_some() {
            methods.push(method.as_str());
            methods.extend((method == Method::GET).then_some("HEAD"));
        }
    }
    methods.join(", ")
}

/// The segment that stands for `{...}` (empty if there is none), if the path fits.
fn matches<'a>(template: &str, path: &'a str) -> Option<&'a str> {
    let Some((before, rest)) = template.split_once('{') else { return (template == path).then_some("") };
    let after = rest.split_once('}')?.1;
    let segment = path.strip_prefix(before)?.strip_suffix(after)?;
    (!segment.is_empty() && !segment.contains('/')).then_some(segment)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_row_is_found_by_its_own_path_and_method_and_stands_once() {
        for (method, template, endpoint) in TABLE {
            let path = template.replace("{lease}", "abc").replace("{hash}", "abc").replace("{port}", "abc");
            let found = find(method, &path).unwrap();
            assert_eq!((found.endpoint, found.segment.as_str()), (*endpoint, if template.contains('{') { "abc" } else { "" }));
            assert_eq!(TABLE.iter().filter(|row| row.2 == *endpoint).count(), 1);
        }
    }

    #[test]
    fn other_paths_and_methods_are_refused() {
        for path in
            ["/", "/v1", "/v1/leases/", "/v1/leases//renew", "/v1/leases/a/b/renew", "/v1/leases/a/renew/", "//v1/leases", "/V1/leases"]
        {
            assert_eq!(find(&Method::POST, path).unwrap_err().code, ErrorCode::NotFound, "{path}");
        }
        let problem = find(&Method::PUT, "/v1/leases").unwrap_err();
        assert_eq!((problem.code, problem.detail.as_str()), (ErrorCode::MethodNotAllowed, "this path takes POST, GET, HEAD"));
        assert_eq!(find(&Method::HEAD, "/healthz").unwrap().endpoint, Endpoint::Health);
        assert_eq!(find(&Method::HEAD, "/v1/trust").unwrap_err().detail, "this path takes POST");
        assert_eq!(find(&Method::OPTIONS, "/v1/trust").unwrap_err().code, ErrorCode::MethodNotAllowed);
    }
}
