//! `cargo x registry FILE`: IANA's registry as the table that is built into the program, and the file it was made from, packed, so that a test can prove the one
//! from the other.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, bail};
use triquest_ports::registry::Registry;
use triquest_ports::registry::limits::EMBEDDED_BYTES_MAX;

const TABLE: &str = "crates/ports/data/registry.bin";
const SOURCE: &str = "crates/ports/data/iana-service-names-port-numbers.xml.gz";

/// Reads IANA's XML, plain or packed, from `file` and writes both files.
pub(crate) fn run(file: &Path) -> anyhow::Result<()> {
    let bytes = fs::read(file).with_context(|| format!("{} cannot be read", file.display()))?;
    let registry = Registry::from_file(&bytes).with_context(|| file.display().to_string())?;
    let packed = bytes.starts_with(&[0x1f, 0x8b]);
    if !registry.origin().ends_with("(XML)") {
        bail!("{}: the table is made from IANA's XML, which has a date of its own", file.display());
    }
    let table = registry.encode();
    if table.len() > EMBEDDED_BYTES_MAX {
        bail!("the table has {} bytes, more than {EMBEDDED_BYTES_MAX}", table.len());
    }
    let source = if packed { bytes } else { pack(&bytes)? };
    write(SOURCE, &source)?;
    write(TABLE, &table)?;
    println!("{}: {} records of {}, {} bytes", TABLE, registry.records(), registry.updated(), table.len());
    Ok(())
}

fn pack(bytes: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut packed = flate2::GzBuilder::new().write(Vec::new(), flate2::Compression::best());
    packed.write_all(bytes)?;
    Ok(packed.finish()?)
}

fn write(path: &str, bytes: &[u8]) -> anyhow::Result<()> {
    fs::write(crate::root().join(path), bytes).with_context(|| format!("{path} cannot be written"))
}
