//! The description of the API (OpenAPI 3.1), made from the table of routes and the types that travel. `openapi.json` is its checked-in text;
//! a test fails when it is stale, `UPDATE=1 cargo test -p triquest-server openapi` writes it. `docs/reference/api.md` is made from the same table.

use serde_json::{Map, Value, json};
use triquest_wire::{
    ErrorCode, Problem, event, lease, license,
    limits::{LIST_ROWS_MAX, PORT_NAME_BYTES_MAX, VENDOR_KEYS_MAX},
    status, trust,
};
use utoipa::ToSchema;

use super::routes::{Class, Endpoint, TABLE};

/// What `GET /openapi.json` answers.
pub const TEXT: &str = include_str!("../../openapi.json");

/// Collects the schemas that the paths name.
#[derive(Default)]
struct Schemas(Map<String, Value>);

impl Schemas {
    /// A reference to the schema of `T`, which is added with all that it needs.
    fn of<T: ToSchema>(&mut self) -> Value {
        let mut found = Vec::new();
        T::schemas(&mut found);
        found.push((T::name().into_owned(), T::schema()));
        for (name, schema) in found {
            let mut schema = serde_json::to_value(schema).unwrap_or_default();
            say_unsigned(&mut schema);
            let earlier = self.0.insert(name.clone(), schema.clone());
            // Two types of one name would describe each other's bodies.
            assert!(earlier.is_none_or(|earlier| earlier == schema), "two types are called {name}");
        }
        json!({ "$ref": format!("#/components/schemas/{}", T::name()) })
    }
}

/// The derived schemas call every integer signed, and a number above the signed half would then be taken although it is described as wrong. Ours are
/// unsigned wherever they have a least value: said so, with the greatest one.
fn say_unsigned(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            if members.get("minimum").and_then(Value::as_f64).is_some_and(|minimum| minimum >= 0.0) {
                let unsigned = match members.get("format").and_then(Value::as_str) {
                    Some("int32") => Some(("uint32", u64::from(u32::MAX))),
                    Some("int64") => Some(("uint64", u64::MAX)),
                    _ => None,
                };
                if let Some((format, greatest)) = unsigned {
                    members.insert("format".to_owned(), json!(format));
                    members.entry("maximum").or_insert(json!(greatest));
                }
            }
            members.values_mut().for_each(say_unsigned);
        }
        Value::Array(values) => values.iter_mut().for_each(say_unsigned),
        _ => {}
    }
}

/// The body that an endpoint takes.
fn request(endpoint: Endpoint, schemas: &mut Schemas) -> Option<Value> {
    Some(match endpoint {
        Endpoint::AcceptClock => schemas.of::<status::AcceptRequest>(),
        Endpoint::AllowPresence => schemas.of::<status::AllowPresenceRequest>(),
        Endpoint::Backup => schemas.of::<status::BackupRequest>(),
        Endpoint::Checkout => schemas.of::<lease::CheckoutRequest>(),
        Endpoint::EndQuarantine => schemas.of::<status::EndQuarantineRequest>(),
        Endpoint::Inspect | Endpoint::Release => schemas.of::<lease::SecretRequest>(),
        Endpoint::Install => schemas.of::<license::InstallRequest>(),
        Endpoint::Presence => schemas.of::<lease::PresenceRequest>(),
        Endpoint::PresenceChange => schemas.of::<lease::PresenceChangeRequest>(),
        Endpoint::Reclaim => schemas.of::<status::ReclaimRequest>(),
        Endpoint::Reload => schemas.of::<status::ReloadRequest>(),
        Endpoint::Remove => schemas.of::<license::RemoveRequest>(),
        Endpoint::Renew => schemas.of::<lease::RenewRequest>(),
        Endpoint::RenewMany => schemas.of::<lease::RenewBatchRequest>(),
        Endpoint::Trust => schemas.of::<trust::TrustRequest>(),
        Endpoint::Events
        | Endpoint::Feedback
        | Endpoint::Health
        | Endpoint::Leases
        | Endpoint::Licenses
        | Endpoint::OpenApi
        | Endpoint::Port
        | Endpoint::PortAnswer
        | Endpoint::PortPage
        | Endpoint::PortSearch
        | Endpoint::Ready
        | Endpoint::ServerId
        | Endpoint::Status => return None,
    })
}

/// A body that can be sent as it is, where one can stand without a real secret or key.
fn example(endpoint: Endpoint) -> Option<Value> {
    let (bytes16, bytes32) = ("A".repeat(22), "A".repeat(43));
    Some(match endpoint {
        Endpoint::AcceptClock | Endpoint::EndQuarantine => json!({ "reason": "checked by hand" }),
        Endpoint::AllowPresence => json!({ "network": "10.0.0.7", "reason": "the client was repaired" }),
        Endpoint::Backup | Endpoint::Reload => json!({}),
        Endpoint::Checkout => json!({
            "secret": bytes32, "attempt": 1, "nonce": bytes32, "vendor_keys": [bytes32],
            "items": [{ "feature": "cad", "version": "12.4", "seats": 1 }],
            "holder": { "user": "ana@corp", "host": "ws0142.initech.example", "session": "local", "process": "8812:cad" },
        }),
        Endpoint::Inspect | Endpoint::Release => json!({ "secret": bytes32 }),
        Endpoint::Install => json!({ "license": "tql1.", "reason": "renewal" }),
        Endpoint::Presence => json!({
            "leases": [{ "secret": bytes32 }], "generation": 1, "client": "192.0.2.7:40112", "server": "192.0.2.1:1588",
        }),
        Endpoint::PresenceChange => json!({
            "connection": bytes16, "generation": 1, "add": [{ "secret": bytes32 }], "drop": [],
        }),
        Endpoint::Reclaim => json!({ "reason": "needed elsewhere" }),
        Endpoint::Remove => json!({ "reason": "returned to the vendor" }),
        Endpoint::Renew => json!({ "secret": bytes32, "nonce": bytes16, "counter": 1 }),
        Endpoint::RenewMany => json!({ "renewals": [{ "secret": bytes32, "nonce": bytes16, "counter": 1 }] }),
        Endpoint::Trust => json!({ "vendor_keys": [bytes32], "nonce": bytes32, "tls_spki": bytes32 }),
        _ => return None,
    })
}

/// What a 200 carries: content type and schema.
fn answer(endpoint: Endpoint, schemas: &mut Schemas) -> (&'static str, Value) {
    let schema = match endpoint {
        Endpoint::AcceptClock | Endpoint::AllowPresence | Endpoint::EndQuarantine => schemas.of::<status::Accepted>(),
        Endpoint::Backup => schemas.of::<status::BackupAnswer>(),
        Endpoint::Checkout => schemas.of::<lease::CheckoutAnswer>(),
        Endpoint::Events => {
            schemas.of::<event::EventFacts>();
            return ("text/event-stream", json!({ "type": "string", "description": "Each `data` is an Event." }));
        }
        Endpoint::Feedback => schemas.of::<status::FeedbackList>(),
        Endpoint::Health | Endpoint::Ready => return ("text/plain", json!({ "type": "string" })),
        Endpoint::Inspect | Endpoint::Leases => schemas.of::<status::LeaseList>(),
        Endpoint::Install => schemas.of::<license::InstallAnswer>(),
        Endpoint::Licenses => schemas.of::<license::LicenseList>(),
        Endpoint::OpenApi => json!({ "type": "object" }),
        Endpoint::Port => port_report(),
        Endpoint::PortAnswer | Endpoint::PortPage | Endpoint::PortSearch => return ("text/html", json!({ "type": "string" })),
        Endpoint::Presence => schemas.of::<lease::PresenceAnswer>(),
        Endpoint::PresenceChange => schemas.of::<lease::PresenceChangeAnswer>(),
        Endpoint::Reclaim => schemas.of::<status::ReclaimAnswer>(),
        Endpoint::Release => schemas.of::<lease::ReleaseAnswer>(),
        Endpoint::Reload => schemas.of::<status::ReloadAnswer>(),
        Endpoint::Remove => schemas.of::<license::RemoveAnswer>(),
        Endpoint::Renew => schemas.of::<lease::RenewAnswer>(),
        Endpoint::RenewMany => schemas.of::<lease::RenewBatchAnswer>(),
        Endpoint::ServerId => schemas.of::<status::ServerId>(),
        Endpoint::Status => schemas.of::<status::Status>(),
        Endpoint::Trust => schemas.of::<trust::TrustAnswer>(),
    };
    ("application/json", schema)
}

/// What the registry says of a port, or of a name. The rows are the registry's own: `triquest_ports::registry` has their members.
fn port_report() -> Value {
    let rows = || json!({ "type": "array", "items": { "type": "object" } });
    let object = || json!({ "type": "object" });
    json!({ "anyOf": [
        {
            "type": "object", "required": ["port", "range", "protocols", "entries", "source"],
            "properties": { "port": { "type": "integer" }, "range": object(), "protocols": rows(), "entries": rows(), "source": object() },
        },
        {
            "type": "object", "required": ["name", "entries", "source"],
            "properties": { "name": { "type": "string" }, "entries": rows(), "source": object() },
        },
    ] })
}

/// The codes of errors that an endpoint may answer.
#[must_use]
pub fn errors(endpoint: Endpoint) -> Vec<ErrorCode> {
    use ErrorCode as E;
    let mut codes = vec![E::BadRequest, E::ForeignOrigin, E::Internal];
    if endpoint.takes_body() {
        codes.extend([E::BodyTooLarge, E::ContentType, E::Overloaded, E::Timeout, E::UnknownMember]);
    }
    if endpoint.class() != Class::Free {
        codes.push(E::RateLimited);
    }
    if endpoint.needs_admin() || endpoint.needs_viewer() {
        codes.push(E::Forbidden);
    }
    let decided = [E::DiskFull, E::OutcomeUnknown, E::Overloaded];
    match endpoint {
        Endpoint::AcceptClock | Endpoint::AllowPresence => codes.extend(decided.into_iter().chain([E::NothingToDo])),
        Endpoint::EndQuarantine => codes.extend(decided.into_iter().chain([E::NothingToDo, E::OtherHistory])),
        Endpoint::Checkout => {
            codes.extend(decided.into_iter().chain([
                E::IdTaken,
                E::LicenseUnknown,
                E::LimitReached,
                E::RateLimited,
                E::StaleAttempt,
                E::TooManyIds,
            ]));
        }
        Endpoint::Events => codes.extend([E::CursorLost, E::Forbidden, E::RateLimited]),
        Endpoint::Inspect => codes.extend([E::UnknownLease, E::WrongSecret]),
        Endpoint::Install => codes.extend(decided.into_iter().chain([E::BadLicense, E::LicenseIdTaken, E::LimitReached])),
        Endpoint::Presence => codes.extend(decided.into_iter().chain([E::LimitReached, E::RateLimited, E::UnknownLease])),
        Endpoint::PresenceChange => codes.extend(decided.into_iter().chain([E::LimitReached, E::RateLimited, E::UnknownConnection])),
        Endpoint::Ready => codes.extend([E::DiskFull, E::Overloaded]),
        Endpoint::Reclaim => codes.extend(decided.into_iter().chain([E::NothingToDo, E::UnknownLease])),
        Endpoint::Release => codes.extend(decided.into_iter().chain([E::RateLimited, E::TooManyIds, E::WrongSecret])),
        Endpoint::Backup => codes.push(E::DiskFull),
        Endpoint::Reload => codes.push(E::Overloaded),
        Endpoint::Remove => codes.extend(decided.into_iter().chain([E::NotFound])),
        Endpoint::Renew => {
            codes.extend(decided.into_iter().chain([E::ClonedClient, E::RateLimited, E::StaleCounter, E::UnknownLease, E::WrongSecret]));
        }
        Endpoint::RenewMany => codes.extend(decided.into_iter().chain([E::LimitReached, E::RateLimited])),
        Endpoint::Port => codes.push(E::NotFound),
        Endpoint::PortAnswer => {
            codes.extend([E::BodyTooLarge, E::ContentType, E::DiskFull, E::NotFound, E::Overloaded, E::RateLimited, E::Timeout]);
        }
        Endpoint::PortSearch => codes.push(E::RateLimited),
        Endpoint::Trust => codes.extend([E::LimitReached, E::Misdirected]),
        Endpoint::Feedback
        | Endpoint::Health
        | Endpoint::Leases
        | Endpoint::Licenses
        | Endpoint::OpenApi
        | Endpoint::PortPage
        | Endpoint::ServerId
        | Endpoint::Status => {}
    }
    codes
}

/// The name of an operation: the endpoint's, in snake case.
fn operation_id(endpoint: Endpoint) -> String {
    let mut id = String::new();
    for c in format!("{endpoint:?}").chars() {
        if c.is_ascii_uppercase() && !id.is_empty() {
            id.push('_');
        }
        id.push(c.to_ascii_lowercase());
    }
    id
}

fn parameters(endpoint: Endpoint, path: &str) -> Vec<Value> {
    let query = |name: &str, schema: Value, about: &str| json!({ "name": name, "in": "query", "required": false, "schema": schema, "description": about });
    let text = || json!({ "type": "string" });
    let id = || json!({ "type": "string", "pattern": "^[0-9a-f]{32}$" });
    let rows = || query("limit", json!({ "type": "integer", "minimum": 1, "maximum": LIST_ROWS_MAX }), "Most rows in the answer.");
    let mut found = Vec::new();
    if path.contains("{lease}") {
        found.push(json!({ "name": "lease", "in": "path", "required": true, "schema": id(), "description": "The lease's id: 32 lowercase hexadecimal digits." }));
    }
    if path.contains("{hash}") {
        found.push(json!({
            "name": "hash", "in": "path", "required": true, "schema": { "type": "string", "minLength": 1 },
            "description": "SHA-256 of the license's text (64 hexadecimal or 43 base64url digits), or its id if no other license has it.",
        }));
    }
    if path.contains("{port}") {
        let about = if endpoint == Endpoint::PortAnswer { "A port." } else { "A port from 0 to 65535, or a service name." };
        let number = json!({ "type": "integer", "minimum": 0, "maximum": 65535 });
        let name = json!({ "type": "string", "minLength": 1, "maxLength": PORT_NAME_BYTES_MAX });
        let schema = if endpoint == Endpoint::PortAnswer { number } else { json!({ "anyOf": [number, name] }) };
        found.push(json!({ "name": "port", "in": "path", "required": true, "schema": schema, "description": about, "example": 1588 }));
    }
    match endpoint {
        Endpoint::PortPage => found.push(query("thanks", text(), "The page after an answer to its question.")),
        Endpoint::PortSearch => {
            let words = json!({ "type": "string", "maxLength": PORT_NAME_BYTES_MAX });
            found.push(query("q", words, "Words of names, descriptions and registrants, or a port."));
        }
        Endpoint::Events => {
            let cursor = "^[0-9a-f]{32}\\.[0-9]+\\.[0-9]+(\\.[0-9]+)?$";
            found.push(query(
                "after",
                json!({ "type": "string", "pattern": cursor }),
                "Events after this `id`; `Last-Event-ID` counts more.",
            ));
            let oldest = json!({ "type": "string", "enum": [super::events::OLDEST] });
            found.push(query("from", oldest, "Begins with the oldest event that is kept; not beside `after`."));
        }
        Endpoint::Leases => {
            found.push(query("feature", text(), "Only leases with a part of this feature."));
            found.push(query("vendor", text(), "Only leases with a part of this vendor."));
            found.push(query("state", json!({ "$ref": "#/components/schemas/LeaseState" }), "Only in this state."));
            found.push(query("after", id(), "Only after this lease: `next` of the page before."));
            found.push(rows());
        }
        Endpoint::Licenses => {
            let after = json!({ "type": "integer", "minimum": 0, "maximum": u32::MAX });
            found.push(query("after", after, "Only after this license: `next` of the page before."));
            found.push(rows());
        }
        Endpoint::Status => {
            found.push(query("feature", text(), "Only this feature."));
            let keys = format!("Only vendors that have one of these keys, 1 to {VENDOR_KEYS_MAX}, with commas between them.");
            found.push(query("vendor_keys", text(), &keys));
            found.push(query("after", text(), "Only after this pool: `next` of the page before."));
            found.push(rows());
        }
        _ => {}
    }
    found
}

/// The whole description.
#[must_use]
pub fn document() -> Value {
    let mut schemas = Schemas::default();
    let problem = schemas.of::<Problem>();
    let mut paths: Map<String, Value> = Map::new();
    for (method, path, endpoint) in TABLE {
        let (kind, schema) = answer(*endpoint, &mut schemas);
        let mut responses: Map<String, Value> = Map::new();
        responses.insert("200".to_owned(), json!({ "description": "Done.", "content": { kind: { "schema": schema } } }));
        let mut codes = errors(*endpoint);
        codes.sort_by(|a, b| (a.status(), a.as_str()).cmp(&(b.status(), b.as_str())));
        codes.dedup();
        for group in codes.chunk_by(|a, b| a.status() == b.status()) {
            let about = group.iter().map(|code| format!("`{}`: {}", code.as_str(), code.title())).collect::<Vec<_>>().join("; ");
            let example = Problem::new(group[0], "what exactly, with the place");
            responses.insert(
                group[0].status().to_string(),
                json!({
                    "description": about,
                    "content": { "application/problem+json": { "schema": problem, "example": example } },
                }),
            );
        }
        // What is no plain 200 in JSON: pages, and the way from a form to a page.
        let see_other =
            || json!({ "description": "The page is at `Location`.", "content": { "text/plain": { "schema": { "type": "string" } } } });
        match endpoint {
            Endpoint::PortAnswer => {
                responses.remove("200");
                responses.insert("303".to_owned(), see_other());
            }
            Endpoint::PortPage => {
                let page = json!({ "text/html": { "schema": { "type": "string" } } });
                responses.insert(
                    "404".to_owned(),
                    json!({ "description": "No service has this name; the page shows what comes near.", "content": page }),
                );
            }
            Endpoint::PortSearch => {
                responses.insert("303".to_owned(), see_other());
            }
            _ => {}
        }
        let who = match (endpoint.needs_admin(), endpoint.needs_viewer()) {
            (true, _) => " For administrators, over the Unix socket.",
            (_, true) => " For viewers and administrators.",
            _ => "",
        };
        let title = endpoint.title();
        let summary = format!("{}{}.{who}", title[..1].to_uppercase(), &title[1..]);
        let mut operation = json!({ "operationId": operation_id(*endpoint), "summary": summary, "parameters": parameters(*endpoint, path), "responses": responses });
        if let (Some(body), Some(members)) = (request(*endpoint, &mut schemas), operation.as_object_mut()) {
            members.insert(
                "requestBody".to_owned(),
                json!({ "required": true, "content": { "application/json": { "schema": body, "example": example(*endpoint) } } }),
            );
        }
        if let (Endpoint::PortAnswer, Some(members)) = (endpoint, operation.as_object_mut()) {
            let answer = json!({ "type": "string", "enum": ["yes", "partly", "no"] });
            let form =
                json!({ "type": "object", "required": ["answer"], "additionalProperties": false, "properties": { "answer": answer } });
            let content = json!({ "application/x-www-form-urlencoded": { "schema": form, "example": { "answer": "yes" } } });
            members.insert("requestBody".to_owned(), json!({ "required": true, "content": content }));
        }
        let item = paths.entry((*path).to_owned()).or_insert_with(|| json!({}));
        if let Some(item) = item.as_object_mut() {
            item.insert(method.as_str().to_lowercase(), operation);
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "TriQuest LM",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Seats of licenses over HTTPS on port 1588. docs/protocol.md says what the signed parts mean and in which order a client trusts them. \
                A denial of seats is an outcome (200), not an error. Errors are RFC 9457 problem documents. Durations are `*_ms` integers.",
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
        },
        "servers": [{ "url": "https://localhost:1588" }],
        "paths": paths,
        "components": { "schemas": flat(schemas.0) },
    })
}

/// The schemas as generators of clients take them: each variant is one flat object with a name of its own, its parent names the member that
/// tells them apart, and a member that may be absent is never `null`.
fn flat(derived: Map<String, Value>) -> Map<String, Value> {
    let mut all = Map::new();
    for (name, mut schema) in derived.clone() {
        merge_parts(&mut schema, &derived);
        never_null(&mut schema);
        // The members that every event has stand beside those of its kind.
        let (name, common) = if name == "EventFacts" { ("Event".to_owned(), Some(event_head())) } else { (name, None) };
        let Some(variants) = schema.get("oneOf").and_then(Value::as_array).cloned() else {
            all.insert(name, schema);
            continue;
        };
        let tag = ["outcome", "kind"].into_iter().find(|tag| variants.iter().all(|variant| tag_of(variant, tag).is_some()));
        let Some(tag) = tag else {
            all.insert(name, schema);
            continue;
        };
        let mut references = Vec::new();
        let mut mapping = Map::new();
        for mut variant in variants {
            let value = tag_of(&variant, tag).unwrap_or_default();
            let own: String = value.split('_').map(|part| part[..1].to_uppercase() + &part[1..]).collect();
            let reference = format!("#/components/schemas/{name}{own}");
            if let Some(common) = &common {
                merge_into(&mut variant, common);
            }
            mapping.insert(value, json!(reference));
            references.push(json!({ "$ref": reference }));
            all.insert(format!("{name}{own}"), variant);
        }
        let about = schema.get("description").cloned().unwrap_or_default();
        all.insert(
            name,
            json!({ "description": about, "oneOf": references, "discriminator": { "propertyName": tag, "mapping": mapping } }),
        );
    }
    all
}

/// The value of the member that tells variants apart.
fn tag_of(variant: &Value, tag: &str) -> Option<String> {
    match variant["properties"][tag]["enum"].as_array()?.as_slice() {
        [only] => only.as_str().map(str::to_owned),
        _ => None,
    }
}

fn event_head() -> Value {
    json!({
        "type": "object", "required": ["position", "number", "at_ms", "time"],
        "properties": {
            "position": { "$ref": "#/components/schemas/Position", "description": "The entry." },
            "number": { "type": "integer", "format": "uint32", "minimum": 0, "maximum": u32::MAX, "description": "The event within the entry, from 0." },
            "at_ms": { "type": "integer", "format": "uint64", "minimum": 0, "maximum": u64::MAX, "description": "Lease time of the entry, milliseconds." },
            "time": { "type": "string", "description": "Civil time of the entry, RFC 3339." },
        },
    })
}

/// One object instead of `allOf` several.
fn merge_parts(schema: &mut Value, derived: &Map<String, Value>) {
    match schema {
        Value::Object(members) => {
            members.values_mut().for_each(|value| merge_parts(value, derived));
            let Some(Value::Array(parts)) = members.remove("allOf") else { return };
            let mut whole = Value::Object(std::mem::take(members));
            for part in parts {
                let named = part["$ref"].as_str().and_then(|reference| derived.get(reference.rsplit('/').next()?)).cloned();
                let mut part = named.unwrap_or(part);
                merge_parts(&mut part, derived);
                merge_into(&mut whole, &part);
            }
            *schema = whole;
        }
        Value::Array(values) => values.iter_mut().for_each(|value| merge_parts(value, derived)),
        _ => {}
    }
}

/// Adds the members of an object; what the first says of itself stays.
fn merge_into(whole: &mut Value, part: &Value) {
    let (Some(whole), Some(part)) = (whole.as_object_mut(), part.as_object()) else { return };
    for (name, value) in part {
        match (whole.get_mut(name), value) {
            (Some(Value::Object(members)), Value::Object(more)) if name == "properties" => {
                for (name, value) in more {
                    members.entry(name.clone()).or_insert_with(|| value.clone());
                }
            }
            (Some(Value::Array(required)), Value::Array(more)) if name == "required" => {
                let new: Vec<_> = more.iter().filter(|name| !required.contains(name)).cloned().collect();
                required.extend(new);
            }
            (Some(_), _) => {}
            (None, _) => {
                whole.insert(name.clone(), value.clone());
            }
        }
    }
}

/// An optional member is absent, and never `null`, in answers as in requests.
fn never_null(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            members.values_mut().for_each(never_null);
            if let Some(Value::Array(kinds)) = members.get("type") {
                let kinds: Vec<Value> = kinds.iter().filter(|kind| **kind != "null").cloned().collect();
                if let [only] = kinds.as_slice() {
                    members.insert("type".to_owned(), only.clone());
                }
            }
            let Some(Value::Array(either)) = members.get("oneOf") else { return };
            let others: Vec<Value> = either.iter().filter(|one| one["type"] != "null").cloned().collect();
            if others.len() < either.len()
                && let [Value::Object(only)] = others.as_slice()
            {
                members.remove("oneOf");
                for (name, value) in only {
                    members.entry(name.clone()).or_insert_with(|| value.clone());
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(never_null),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_checked_in_description_is_not_stale() {
        let fresh = format!("{}\n", serde_json::to_string_pretty(&document()).unwrap());
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json");
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(file, &fresh).unwrap();
        }
        assert!(std::fs::read_to_string(file).unwrap() == fresh, "run `UPDATE=1 cargo test -p triquest-server openapi`");
    }

    /// The page of all paths for people: who may call, what limits it, and which errors are its own.
    fn page() -> String {
        let general: std::collections::BTreeSet<ErrorCode> = errors(Endpoint::Health).into_iter().collect();
        let of_bodies: std::collections::BTreeSet<ErrorCode> =
            [ErrorCode::BodyTooLarge, ErrorCode::ContentType, ErrorCode::Overloaded, ErrorCode::Timeout, ErrorCode::UnknownMember].into();
        let quoted =
            |codes: &mut dyn Iterator<Item = &ErrorCode>| codes.map(|code| format!("`{}`", code.as_str())).collect::<Vec<_>>().join(", ");
        let mut page = format!(
            "# Every path of the API\n\n\
             <!-- Generated from crates/server/src/http/routes.rs and openapi.rs: `cargo x generate`. -->\n\n\
             What the bodies hold is in [the protocol](../protocol.md) and, for programs, in `GET /openapi.json`; what a code means is in\n\
             [the list of codes](codes.md). Where a path is limited as a read or as a trust exchange, [the rates](../trust.md#what-one-hostile-client-can-cost)\n\
             of those count; what limits the others is what they do. Administrators come over the Unix socket; viewers are they, and everybody where\n\
             `names_open` is set.\n\n\
             Every path can answer {}, and every one that takes JSON also {}. An unknown path is `not_found`, an unknown method `method_not_allowed`;\n\
             `HEAD` goes where `GET` does.\n\n\
             | call | what | who | limited as | its own errors |\n|---|---|---|---|---|\n",
            quoted(&mut general.iter()),
            quoted(&mut of_bodies.iter()),
        );
        let mut rows: Vec<_> = TABLE.iter().collect();
        rows.sort_by_key(|(method, path, _)| (*path, method.as_str()));
        for (method, path, endpoint) in rows {
            let who = match (endpoint.needs_admin(), endpoint.needs_viewer()) {
                (true, _) => "administrators",
                (_, true) => "viewers",
                _ if *endpoint == Endpoint::Events => "everyone: the present, without names; viewers: names and the past",
                _ => "everyone",
            };
            let class = match endpoint.class() {
                Class::Free => "",
                Class::Read => "read",
                Class::Trust => "trust",
            };
            let own: std::collections::BTreeSet<ErrorCode> = errors(*endpoint)
                .into_iter()
                .filter(|code| !(general.contains(code) || endpoint.takes_body() && of_bodies.contains(code)))
                .collect();
            let own = quoted(&mut own.iter());
            let call = format!("`{method} {path}`{}", if endpoint.takes_body() { " with JSON" } else { "" });
            page.push_str(&format!("| {call} | {} | {who} | {class} | {own} |\n", endpoint.title()));
        }
        page
    }

    #[test]
    fn the_checked_in_page_of_paths_is_not_stale() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/api.md");
        let page = page();
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(file, &page).unwrap();
        }
        assert_eq!(std::fs::read_to_string(file).unwrap_or_default(), page, "run `cargo x generate`");
    }

    #[test]
    fn every_example_can_be_read() {
        fn read<T: serde::de::DeserializeOwned>(endpoint: Endpoint) {
            serde_json::from_value::<T>(example(endpoint).unwrap()).unwrap();
        }
        read::<status::AcceptRequest>(Endpoint::AcceptClock);
        read::<status::BackupRequest>(Endpoint::Backup);
        read::<lease::CheckoutRequest>(Endpoint::Checkout);
        read::<lease::SecretRequest>(Endpoint::Release);
        read::<license::InstallRequest>(Endpoint::Install);
        read::<lease::PresenceRequest>(Endpoint::Presence);
        read::<lease::PresenceChangeRequest>(Endpoint::PresenceChange);
        read::<status::ReclaimRequest>(Endpoint::Reclaim);
        read::<status::ReloadRequest>(Endpoint::Reload);
        read::<license::RemoveRequest>(Endpoint::Remove);
        read::<lease::RenewRequest>(Endpoint::Renew);
        read::<lease::RenewBatchRequest>(Endpoint::RenewMany);
        read::<trust::TrustRequest>(Endpoint::Trust);
        for (_, path, endpoint) in TABLE {
            assert_eq!(example(*endpoint).is_some(), endpoint.takes_body(), "{path}");
        }
    }

    #[test]
    fn every_variant_is_one_flat_object_that_its_parent_tells_apart() {
        let document = document();
        let schemas = document["components"]["schemas"].as_object().unwrap();
        let text = document["components"].to_string();
        for word in ["allOf", "anyOf", "\"null\""] {
            assert!(!text.contains(word), "{word}");
        }
        let mut parents = 0;
        for (name, schema) in schemas {
            let Some(variants) = schema["oneOf"].as_array() else { continue };
            parents += 1;
            let tag = schema["discriminator"]["propertyName"].as_str().unwrap_or_else(|| panic!("{name} has no discriminator"));
            let mapping = schema["discriminator"]["mapping"].as_object().unwrap();
            assert_eq!(mapping.len(), variants.len(), "{name}");
            for (value, reference) in mapping {
                let variant = &schemas[reference.as_str().unwrap().rsplit('/').next().unwrap()];
                assert_eq!(variant["type"], "object", "{name} {value}");
                assert_eq!(variant["properties"][tag]["enum"], json!([value]), "{name}");
                assert!(variant["required"].as_array().unwrap().contains(&json!(tag)), "{name} {value}");
            }
        }
        assert_eq!(parents, 4, "checkout, renewal, one of many renewals, events");
        let grant = &schemas["CheckoutAnswerGranted"];
        for member in ["position", "grant", "leaf", "path", "statement", "signature", "remaining_ms"] {
            assert!(grant["properties"].get(member).is_some(), "{member}");
        }
        assert_eq!(grant["properties"]["remaining_ms"]["format"], "uint64");
        assert_eq!(grant["properties"]["remaining_ms"]["maximum"], json!(u64::MAX));
    }

    #[test]
    fn every_route_is_described_and_every_reference_leads_somewhere() {
        let document = document();
        for (method, path, endpoint) in TABLE {
            let operation = &document["paths"][path][method.as_str().to_lowercase()];
            assert_eq!(operation["operationId"], operation_id(*endpoint));
            let takes_form = *endpoint == Endpoint::PortAnswer;
            assert_eq!(operation.get("requestBody").is_some(), endpoint.takes_body() || takes_form, "{path}");
        }
        let text = document.to_string();
        for reference in text.split("\"#/components/schemas/").skip(1) {
            let name = reference.split('"').next().unwrap();
            assert!(document["components"]["schemas"].get(name).is_some(), "{name}");
        }
    }
}
