//! Keys of servers that the user, or a vendor's license, vouched for: a file of this user that says which key answered at which address, since when.
//! Another key at the same address later is called out, and the file keeps the old one until somebody decides. That a key was merely seen is no reason to
//! keep it.
//!
//! One line for each address: `ADDRESS KEY FIRST LAST INSTANCE`, times in unix seconds.

use std::{
    fmt,
    fs::{self, File},
    io::{self, Read},
    net::{IpAddr, SocketAddr},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, flock};
use triquest_license::ServerKey;

use crate::{
    files,
    limits::{PINS_BYTES_MAX, PINS_MAX},
    lookup::base_folder,
};

/// Longest address that is kept.
const ADDRESS_BYTES: usize = 300;

/// A key that was seen at an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin {
    /// Where, as `host:port`.
    pub address: String,
    /// The key.
    pub server_key: ServerKey,
    /// When it was first seen there, unix seconds.
    pub first_seen_s: u64,
    /// When it was last seen there, unix seconds.
    pub last_seen_s: u64,
    /// The instance that was last seen.
    pub instance: [u8; 32],
}

/// What the file says.
#[derive(Clone, Debug, Default)]
pub struct Pins {
    pins: Vec<Pin>,
    damaged: Vec<usize>,
    /// Lines that could not be read, as they stand: a newer version may have written them.
    unread: Vec<String>,
}

/// What [`note`] made of a key. Kept alphabetical.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Noted {
    /// Another key is pinned to the address: this one. It was left.
    Changed(Pin),
    /// The address had none.
    First,
    /// Another key was pinned to the address, and the caller knows better: it was this one.
    Replaced(Pin),
    /// The same key, as it stood before.
    Same(Pin),
}

/// The usual file: `$XDG_DATA_HOME/triquest-lm/known_servers`, or below `~/.local/share`; the same rule for every user, root too.
#[must_use]
pub fn usual_file() -> Option<PathBuf> {
    base_folder("XDG_DATA_HOME", ".local/share").map(|folder| folder.join("triquest-lm/known_servers"))
}

/// Under which name an address is pinned. None for loopback and link-local addresses and the wildcard: the same address is another machine, or another
/// network namespace, somewhere else.
#[must_use]
pub fn name_of(address: SocketAddr) -> Option<String> {
    let is_everywhere = match address.ip().to_canonical() {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_link_local() || ip.is_unspecified(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unicast_link_local() || ip.is_unspecified(),
    };
    (!is_everywhere).then(|| address.to_string())
}

impl Pins {
    /// Reads the file. One that is not there has no pins; lines that cannot be read are left out and counted.
    ///
    /// # Errors
    /// A file that others may write, that is too large, or that cannot be read.
    pub fn read(path: &Path) -> io::Result<Self> {
        let opened = File::options().read(true).custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed()).open(path);
        let file = match opened {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(error),
        };
        let meta = file.metadata()?;
        let wrong = |what: &str| Err(io::Error::new(io::ErrorKind::InvalidData, format!("{} {what}", path.display())));
        if !meta.is_file() {
            return wrong("is no file");
        }
        if meta.uid() != rustix::process::geteuid().as_raw() || meta.mode() & 0o022 != 0 {
            return wrong("belongs to or can be written by others");
        }
        let mut bytes = Vec::new();
        file.take(PINS_BYTES_MAX + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > PINS_BYTES_MAX {
            return wrong("is too large");
        }
        Ok(Self::parse(&String::from_utf8_lossy(&bytes)))
    }

    fn parse(text: &str) -> Self {
        let mut pins = Self::default();
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#')) {
            match parse_line(line) {
                Some(pin) if pins.at(&pin.address).is_none() && pins.pins.len() < PINS_MAX => pins.pins.push(pin),
                _ => {
                    pins.damaged.push(number + 1);
                    pins.unread.push(line.to_owned());
                }
            }
        }
        pins
    }

    /// All of them, as they stand in the file.
    #[must_use]
    pub fn as_slice(&self) -> &[Pin] {
        &self.pins
    }

    /// Lines that could not be read, from 1.
    #[must_use]
    pub fn damaged(&self) -> &[usize] {
        &self.damaged
    }

    /// What is pinned to an address.
    #[must_use]
    pub fn at(&self, address: &str) -> Option<&Pin> {
        self.pins.iter().find(|pin| pin.address == address)
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {} {} ", self.address, self.server_key, self.first_seen_s, self.last_seen_s)?;
        self.instance.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

fn parse_line(line: &str) -> Option<Pin> {
    let mut words = line.split(' ');
    let (address, key, first, last, instance) = (words.next()?, words.next()?, words.next()?, words.next()?, words.next()?);
    let is_plain = !address.is_empty() && address.len() <= ADDRESS_BYTES && address.bytes().all(|byte| byte.is_ascii_graphic());
    if !is_plain || words.next().is_some() || instance.len() != 64 || !instance.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, digits) in bytes.iter_mut().zip(instance.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(Pin {
        address: address.to_owned(),
        server_key: key.parse().ok()?,
        first_seen_s: first.parse().ok()?,
        last_seen_s: last.parse().ok()?,
        instance: bytes,
    })
}

/// Notes that a server proved this key at an address, at this time. A key that differs from the pinned one is told and not taken, unless `is_vouched_for`: a
/// license of the vendor, or the user, names the new key. Several processes may do so at once.
///
/// # Errors
/// The file or its folder cannot be read or written, or is full of servers that were seen more than once: those are never pushed out by a new one.
pub fn note(path: &Path, seen: Pin, is_vouched_for: bool) -> io::Result<Noted> {
    let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let mut name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
    name.push(".lock");
    let nofollow = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
    let lock = File::options().write(true).create(true).truncate(false).mode(0o600).custom_flags(nofollow).open(folder.join(name))?;
    flock(&lock, FlockOperation::LockExclusive)?;
    let Pins { mut pins, unread, .. } = Pins::read(path)?;
    let noted = match pins.iter_mut().find(|pin| pin.address == seen.address) {
        None => {
            if pins.len() >= PINS_MAX {
                // Whoever shows many keys at many addresses pushes out others of their kind, and nobody who was seen again.
                let seen_once = pins.iter().enumerate().filter(|(_, pin)| pin.first_seen_s == pin.last_seen_s);
                let oldest = seen_once.min_by_key(|(_, pin)| pin.last_seen_s).map(|(place, _)| place);
                let full = || io::Error::other(format!("{} is full: take out lines of servers that are no more", path.display()));
                pins.remove(oldest.ok_or_else(full)?);
            }
            pins.push(seen);
            Noted::First
        }
        Some(pin) if pin.server_key == seen.server_key => {
            let before = pin.clone();
            pin.last_seen_s = pin.last_seen_s.max(seen.last_seen_s);
            pin.instance = seen.instance;
            Noted::Same(before)
        }
        Some(pin) if is_vouched_for => Noted::Replaced(std::mem::replace(pin, seen)),
        Some(pin) => return Ok(Noted::Changed(pin.clone())),
    };
    files::replace(path, |out| {
        writeln!(
            out,
            "# servers that triquest-lm has seen: address, key, first and last seen (unix seconds), instance; a line that is taken out is forgotten"
        )?;
        pins.iter().try_for_each(|pin| writeln!(out, "{pin}"))?;
        unread.iter().try_for_each(|line| writeln!(out, "{line}"))
    })?;
    Ok(noted)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::PermissionsExt;

    use triquest_license::SigningKey;

    use super::*;

    fn key(seed: u8) -> ServerKey {
        ServerKey::new(*SigningKey::from_seed([seed; 32]).public())
    }

    fn seen(address: &str, seed: u8, at_s: u64) -> Pin {
        Pin { address: address.into(), server_key: key(seed), first_seen_s: at_s, last_seen_s: at_s, instance: [seed; 32] }
    }

    #[test]
    fn the_first_key_is_pinned_the_same_is_known_and_another_is_called_out_and_not_taken() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/known_servers");
        assert!(Pins::read(&path).unwrap().as_slice().is_empty());
        assert_eq!(note(&path, seen("10.1.4.20:1588", 1, 100), false).unwrap(), Noted::First);
        assert_eq!(note(&path, seen("10.1.4.20:1588", 1, 200), false).unwrap(), Noted::Same(seen("10.1.4.20:1588", 1, 100)));
        let known = Pin { last_seen_s: 200, ..seen("10.1.4.20:1588", 1, 100) };
        for at in [300, 400] {
            assert_eq!(note(&path, seen("10.1.4.20:1588", 2, at), false).unwrap(), Noted::Changed(known.clone()), "again and again");
        }
        assert_eq!(Pins::read(&path).unwrap().as_slice(), std::slice::from_ref(&known));
        assert_eq!(note(&path, seen("10.1.4.20:1588", 2, 500), true).unwrap(), Noted::Replaced(known));
        assert_eq!(Pins::read(&path).unwrap().at("10.1.4.20:1588"), Some(&seen("10.1.4.20:1588", 2, 500)));
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(folder.path().join("new")).unwrap().mode() & 0o777, 0o700);
    }

    #[test]
    fn an_address_that_is_another_machine_elsewhere_is_never_pinned() {
        for everywhere in
            ["127.0.0.1:1588", "127.9.9.9:1", "[::1]:1588", "169.254.3.4:1588", "[fe80::1]:1588", "0.0.0.0:1588", "[::ffff:127.0.0.1]:1588"]
        {
            assert_eq!(name_of(everywhere.parse().unwrap()), None, "{everywhere}");
        }
        assert_eq!(name_of("10.1.4.20:1588".parse().unwrap()).as_deref(), Some("10.1.4.20:1588"));
    }

    #[test]
    fn damaged_lines_are_kept_out_and_told() {
        let good = seen("10.1.4.20:1588", 1, 100).to_string();
        let text = format!("# head\n{good}\n{good}\nnonsense\n\u{1b}[2J x\n{}\n{good} more\n\n", good.replace("tqs1:", "tqs2:"));
        let pins = Pins::parse(&text);
        assert_eq!((pins.as_slice().len(), pins.damaged()), (1, &[3, 4, 5, 6, 7][..]));
        assert_eq!(pins.as_slice()[0].to_string(), good);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("known_servers");
        fs::write(&path, format!("{good}\nof a newer version\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        note(&path, seen("b:1", 2, 5), false).unwrap();
        assert!(fs::read_to_string(&path).unwrap().contains("\nof a newer version\n"), "what cannot be read is not thrown away");
    }

    #[test]
    fn the_file_is_bounded_and_the_longest_unseen_gives_way() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("known_servers");
        let lines: String = (0..PINS_MAX).map(|n| format!("{}\n", seen(&format!("h{n}:1"), 1, 1_000 + n as u64))).collect();
        fs::write(&path, lines).unwrap();
        note(&path, seen("new:1", 2, 9_000), false).unwrap();
        let pins = Pins::read(&path).unwrap();
        assert_eq!((pins.as_slice().len(), pins.at("h0:1"), pins.at("new:1").is_some()), (PINS_MAX, None, true));
        assert!(fs::metadata(&path).unwrap().len() < PINS_BYTES_MAX);
        let again: String =
            (0..PINS_MAX).map(|n| format!("{}\n", Pin { last_seen_s: 5_000, ..seen(&format!("h{n}:1"), 1, 1_000) })).collect();
        fs::write(&path, again).unwrap();
        assert!(note(&path, seen("stranger:1", 2, 9_000), false).unwrap_err().to_string().contains("full"), "who was seen again stays");
        fs::write(&path, vec![b'#'; usize::try_from(PINS_BYTES_MAX).unwrap() + 1]).unwrap();
        assert!(Pins::read(&path).unwrap_err().to_string().contains("too large"));
    }

    #[test]
    fn a_file_that_others_may_write_pins_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("known_servers");
        note(&path, seen("a:1", 1, 1), false).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o620)).unwrap();
        assert!(Pins::read(&path).unwrap_err().to_string().contains("others"));
        assert!(note(&path, seen("b:1", 1, 1), false).is_err());
    }

    #[test]
    fn many_at_once_lose_no_pin() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("known_servers");
        std::thread::scope(|scope| {
            for n in 0..8u8 {
                let path = &path;
                scope.spawn(move || (0..4).for_each(|m| drop(note(path, seen(&format!("h{n}-{m}:1"), n, 1), false).unwrap())));
            }
        });
        assert_eq!(Pins::read(&path).unwrap().as_slice().len(), 32);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "the file and its lock");
    }
}
