//! Files that are made from the code: the API's document and the list of its paths, the references of codes, limits and the configuration, shell
//! completions, manual pages. A test beside the code makes each, and compares it or, with `UPDATE=1`, writes it; this runs those tests.

use std::process::Command;

use anyhow::{Context as _, bail};

/// The tests, as `cargo test` names them.
const TESTS: &[&[&str]] = &[
    &["-p", "triquest-ports", "--test", "registry", "the_table_is_what_the_source_gives"],
    &["-p", "triquest-wire", "--test", "docs"],
    &["-p", "triquest-server", "--lib", "openapi"],
    &["-p", "triquest-server", "--lib", "config"],
    &["-p", "triquest-lm", "--test", "generated"],
    &["-p", "xtask", "the_page_of_limits"],
];

/// Writes all generated files, or with `check` only compares.
pub(crate) fn run(check: bool) -> anyhow::Result<()> {
    for test in TESTS {
        let mut cargo = Command::new("cargo");
        cargo.args(["test", "--quiet", "--locked"]).args(*test).current_dir(crate::root());
        if !check {
            cargo.env("UPDATE", "1");
        }
        if !cargo.status().context("cargo did not start")?.success() {
            bail!("{}; `cargo x generate` writes what is stale", test.join(" "));
        }
    }
    Ok(())
}
