//! IANA's XML. Elements and attributes that are unknown here are passed over, so that a later form of the file can be read; a value that is not as it must be
//! (a port, a date, a protocol) refuses the whole file.

use roxmltree::{Document, Node, ParsingOptions};

use super::entry::Date;
use super::error::RegistryError;
use super::limits::{RECORDS_MAX, SOURCE_BYTES_MAX, XML_NODES_MAX};
use super::table::{Record, Registry};
use super::{ORIGIN, words};

/// The namespace of IANA's registries.
const NAMESPACE: &str = "http://www.iana.org/assignments";
/// The `id` of this registry.
const ID: &str = "service-names-port-numbers";

pub(super) fn read(bytes: &[u8]) -> Result<Registry, RegistryError> {
    if bytes.len() > SOURCE_BYTES_MAX {
        return Err(RegistryError::Large { what: "the XML file in bytes", max: SOURCE_BYTES_MAX });
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let line = 1 + bytes[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count();
        RegistryError::Xml { line, reason: "it is not UTF-8".to_owned() }
    })?;
    let options = ParsingOptions { nodes_limit: XML_NODES_MAX, ..ParsingOptions::default() };
    let document = Document::parse_with_options(text, options).map_err(|error| match error {
        roxmltree::Error::NodesLimitReached => RegistryError::Large { what: "the nodes of the XML file", max: XML_NODES_MAX as usize },
        error => RegistryError::Xml { line: error.pos().row as usize, reason: reason_of(&error) },
    })?;
    let root = document.root_element();
    if root.tag_name().name() != "registry" || root.tag_name().namespace() != Some(NAMESPACE) || root.attribute("id") != Some(ID) {
        return Err(RegistryError::Unknown);
    }
    let updated = match child(root, "updated") {
        Some(node) => date(node, node.text().unwrap_or_default())?,
        None => return Err(wrong(root, "the registry has no date")),
    };
    let footnotes: Vec<(&str, String)> = root
        .children()
        .filter(|node| node.tag_name().name() == "footnote")
        .filter_map(|node| Some((node.attribute("anchor")?, text_of(node))))
        .collect();
    let mut records = Vec::new();
    // Only what stands right below: a search at every depth would let a hostile file of nested records take quadratic time.
    for node in root.children().filter(|node| node.tag_name().name() == "record") {
        if records.len() == RECORDS_MAX {
            return Err(RegistryError::Large { what: "the records of the XML file", max: RECORDS_MAX });
        }
        records.push(record(node, &footnotes)?);
    }
    if records.is_empty() {
        return Err(wrong(root, "the registry has no records"));
    }
    Registry::from_records(records, updated, &format!("{ORIGIN} (XML)"))
}

fn record(node: Node<'_, '_>, footnotes: &[(&str, String)]) -> Result<Record, RegistryError> {
    let mut record = Record {
        registered: node.attribute("date").map(|text| date(node, text)).transpose()?,
        modified: node.attribute("updated").map(|text| date(node, text)).transpose()?,
        ..Record::default()
    };
    let mut notes = Vec::new();
    for part in node.children().filter(Node::is_element) {
        let text = || part.text().unwrap_or_default().trim();
        match part.tag_name().name() {
            "assignee" => record.registrants.extend(persons(part)),
            "description" => record.description = text_of(part),
            "name" => record.name = words::clean(text()),
            "note" => notes.push(text_of(part)),
            "number" => {
                let ports = text().parse().map_err(|()| wrong(part, &format!("{} is not a port", words::excerpt(text()))))?;
                record.ports = Some(ports);
            }
            "protocol" if !text().is_empty() => {
                let protocol = text().parse().map_err(|()| wrong(part, &format!("{} is not a known protocol", words::excerpt(text()))))?;
                record.protocol = Some(protocol);
            }
            "sc" => {
                let code = text().parse().map_err(|_| wrong(part, &format!("{} is not a service code", words::excerpt(text()))))?;
                record.service_code = Some(code);
            }
            "unauthorized" => record.unauthorized = text_of(part),
            "xref" => match part.attribute("type") {
                Some("note") => {
                    let anchor = part.attribute("data");
                    notes.extend(footnotes.iter().filter(|(name, _)| Some(*name) == anchor).map(|(_, note)| note.clone()));
                }
                Some("person") => record.contacts.extend(part.attribute("data").map(words::person)),
                _ => record.references.extend(label(part).map(|label| words::reference(&label))),
            },
            _ => {}
        }
    }
    // Older records name only a contact; IANA's own CSV says that it is the assignee too.
    if record.registrants.is_empty() {
        record.registrants.clone_from(&record.contacts);
    }
    notes.retain(|note| !note.is_empty());
    record.notes = notes.join(" ");
    record.check().map_err(|reason| wrong(node, &reason))?;
    Ok(record)
}

fn persons(node: Node<'_, '_>) -> impl Iterator<Item = String> {
    let xrefs = node.children().filter(|node| node.tag_name().name() == "xref" && node.attribute("type") == Some("person"));
    xrefs.filter_map(|node| node.attribute("data").map(words::person))
}

/// What a reference is shown as: its text, or what it points to.
fn label(xref: Node<'_, '_>) -> Option<String> {
    let text = xref.text().map(words::clean).filter(|text| !text.is_empty());
    let data = xref.attribute("data").map(words::clean).filter(|data| !data.is_empty());
    match (text, data) {
        (Some(text), Some(address)) if xref.attribute("type") == Some("uri") => Some(format!("{text}: {address}")),
        (text, data) => text.or(data),
    }
}

/// The running text of an element, with its references in brackets, as IANA's CSV has it.
fn text_of(node: Node<'_, '_>) -> String {
    let mut text = String::new();
    for part in node.descendants() {
        match part.tag_name().name() {
            _ if part.is_text() => text.push_str(part.text().unwrap_or_default()),
            "br" | "paragraph" => text.push(' '),
            "xref" if part.text().is_none() && part.attribute("type") != Some("note") => {
                let data = part.attribute("data").unwrap_or_default();
                let data = if part.attribute("type") == Some("rfc") { data.to_uppercase() } else { data.to_owned() };
                text.push_str(&format!("[{data}]"));
            }
            _ => {}
        }
    }
    words::running(&text)
}

fn child<'a, 'input>(node: Node<'a, 'input>, name: &str) -> Option<Node<'a, 'input>> {
    node.children().find(|child| child.tag_name().name() == name)
}

fn date(node: Node<'_, '_>, text: &str) -> Result<Date, RegistryError> {
    text.trim().parse().map_err(|()| wrong(node, &format!("{} is not a date", words::excerpt(text))))
}

fn wrong(node: Node<'_, '_>, reason: &str) -> RegistryError {
    RegistryError::Xml { line: node.document().text_pos_at(node.range().start).row as usize, reason: reason.to_owned() }
}

/// The parser's words, which may quote the file.
fn reason_of(error: &roxmltree::Error) -> String {
    words::clean(&error.to_string()).chars().take(120).collect()
}
