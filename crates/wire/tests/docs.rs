//! The protocol's page says what the code says.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use triquest_wire::ErrorCode;

#[test]
fn the_protocols_page_lists_every_error_with_its_status_retry_and_effect() {
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/protocol.md")).unwrap();
    let (_, table) = page.split_once("|---|---:|---|---|\n").expect("the page has a table of errors");
    let listed: Vec<&str> = table.lines().take_while(|line| line.starts_with('|')).collect();
    let json = |value: serde_json::Value| value.as_str().unwrap().to_owned();
    let expected: Vec<String> = ErrorCode::ALL
        .iter()
        .map(|code| {
            let retry = json(serde_json::to_value(code.retry()).unwrap());
            let effect = json(serde_json::to_value(code.took_effect()).unwrap());
            format!("| `{}` | {} | {retry} | {effect} |", code.as_str(), code.status())
        })
        .collect();
    assert_eq!(listed, expected, "docs/protocol.md");
}
