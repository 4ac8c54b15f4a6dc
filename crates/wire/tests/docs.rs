//! `docs/reference/codes.md` is what the code says. `UPDATE=1 cargo test -p triquest-wire --test docs` writes it.

#![allow(clippy::unwrap_used)]

use std::{fmt::Write as _, path::Path};

use triquest_wire::{
    ErrorCode, Retry,
    lease::{DenialCode, EndReason},
};

fn page() -> String {
    let mut page = String::from(
        "\
# Codes: why seats were denied, why a lease ended, what was wrong

<!-- Generated from crates/wire/src/lease.rs and error.rs: `cargo x generate`. -->

The lists are open: a newer server may send a code that is not here. A program goes by the members beside a code, as
[the protocol](../protocol.md#how-it-grows) says:

| `retry` | what to do |
|---|---|
| `never` | not with this request |
| `later` | ask again some time later: the same may be answered otherwise. Anything else that is not in this table counts as this |
| `same_id` | repeat the same request, with the same secret and attempt |
| `new_request` | ask with another secret; after `stale_attempt` with a higher attempt, after `unknown_connection` on another connection |

## Denials

The `code` of the `denial` in an answer with the outcome `denied`. It is an outcome and no error: status 200, and it is remembered for its attempt. A higher attempt with the same secret is
decided anew.

| code | retry | meaning |
|---|---|---|
",
    );
    for code in DenialCode::ALL {
        writeln!(page, "| `{}` | {} | {} |", code.as_str(), code.retry().as_str(), code.meaning()).unwrap();
    }
    page += "
## Ends

The `reason` of an answer with the outcome `ended`, and of the events `ending` and `ended`.

| reason | retry | meaning |
|---|---|---|
";
    for reason in EndReason::ALL {
        writeln!(page, "| `{}` | {} | {} |", reason.as_str(), reason.retry().as_str(), reason.meaning()).unwrap();
    }
    page += "
## Errors

The `code` of a [problem document](../protocol.md#errors). `took_effect` speaks of this sending: of an earlier one of the same request the server may not know. `disk_full` and `overloaded`
say `unknown` where the server knows the lease already.

| code | status | retry | took effect | meaning |
|---|---:|---|---|---|
";
    for code in ErrorCode::ALL {
        let (text, status, retry, effect) = (code.as_str(), code.status(), code.retry().as_str(), code.took_effect().as_str());
        writeln!(page, "| `{text}` | {status} | {retry} | {effect} | {} |", code.meaning()).unwrap();
    }
    page
}

#[test]
fn the_page_of_codes_is_made_from_the_tables() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/codes.md");
    let page = page();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&file, &page).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap_or_default(), page, "`cargo x generate` writes docs/reference/codes.md");
}

#[test]
fn every_code_has_a_meaning_in_whole_sentences() {
    let denials = DenialCode::ALL.iter().map(|code| (code.as_str(), code.meaning()));
    let ends = EndReason::ALL.iter().map(|code| (code.as_str(), code.meaning()));
    for (code, meaning) in denials.chain(ends).chain(ErrorCode::ALL.iter().map(|code| (code.as_str(), code.meaning()))) {
        assert!(meaning.len() > 15 && meaning.ends_with('.') && !meaning.contains("  "), "{code}: {meaning:?}");
    }
    assert_eq!(DenialCode::of("tomorrow").retry(), Retry::Later);
}
