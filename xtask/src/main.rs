//! `cargo x COMMAND`: what keeps this checkout in order. `cargo x help` lists the commands.

mod generate;
mod limits;
#[cfg(test)]
mod readme;
mod registry;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, bail};

const HELP: &str = "\
Usage: cargo x COMMAND

  test [STEP...]      every test: the same as ./test
  ci                  what guards a change: the same as .ci/run
  tidy                rules about the checkout itself (also part of cargo test)
  generate [--check]  write the generated files, or fail if one is stale
  registry FILE       make the built-in port registry from IANA's XML
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> anyhow::Result<()> {
    let rest = arguments.get(1..).unwrap_or_default();
    match arguments.first().map(String::as_str) {
        Some("ci") => script(".ci/run", rest),
        Some("generate") => match rest {
            [] => generate::run(false),
            [flag] if flag == "--check" => generate::run(true),
            _ => bail!("generate takes --check and nothing else"),
        },
        Some("registry") => match rest {
            [file] => registry::run(Path::new(file)),
            _ => bail!("registry takes one file"),
        },
        Some("test") => script("test", rest),
        Some("tidy") => {
            let complaints = tidy::all(&root());
            if complaints.is_empty() {
                return Ok(());
            }
            bail!("{} complaints\n{}", complaints.len(), complaints.join("\n"))
        }
        None | Some("help" | "--help" | "-h") => {
            print!("{HELP}");
            Ok(())
        }
        Some(other) => bail!("no command is called {other}\n{HELP}"),
    }
}

/// The top of the checkout.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the checkout").to_owned()
}

fn script(path: &str, arguments: &[String]) -> anyhow::Result<()> {
    let status = Command::new("bash").arg(path).args(arguments).current_dir(root()).status().context("bash did not start")?;
    if !status.success() {
        bail!("{path} failed");
    }
    Ok(())
}
