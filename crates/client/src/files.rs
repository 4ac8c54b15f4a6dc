//! Small files of this user, replaced as a whole.

use std::{
    fs,
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
};

use crate::clock;

/// Writes a file that only this user can read, beside the old one, and puts it in its place: whoever reads sees the old or the new one, never a part.
/// Missing folders are made, for this user only.
pub(crate) fn replace(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let [a, b, c, d, ..] = clock::random();
    let mut name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
    name.push(format!(".{:08x}.new", u32::from_le_bytes([a, b, c, d])));
    let fresh = folder.join(name);
    let written = fs::File::options().write(true).create_new(true).mode(0o600).open(&fresh).and_then(|file| {
        let mut out = io::BufWriter::new(file);
        write(&mut out)?;
        out.flush()?;
        fs::rename(&fresh, path)
    });
    if written.is_err() {
        let _ = fs::remove_file(&fresh);
    }
    written
}
