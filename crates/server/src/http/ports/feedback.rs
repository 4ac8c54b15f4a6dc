//! "Was this helpful?": three faces for each port, counted in one small file of the data directory. Who answered is not kept.

use std::{
    collections::BTreeMap,
    fs, io,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use triquest_allocator::Network;
use triquest_wire::{
    limits::{FEEDBACK_BURST, FEEDBACK_FILE_BYTES_MAX, FEEDBACK_PER_MINUTE, SELDOM_TABLE_SLOTS},
    status::{FeedbackCounts, FeedbackList},
};

use crate::rates::{Rate, RateShare, Rates};

/// The file of the counts.
const FILE: &str = "feedback.json";

/// An answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Face {
    No,
    Partly,
    Yes,
}

/// Reads the form.
pub(super) fn parse(form: &[u8]) -> Option<Face> {
    match form {
        b"answer=no" => Some(Face::No),
        b"answer=partly" => Some(Face::Partly),
        b"answer=yes" => Some(Face::Yes),
        _ => None,
    }
}

/// The counts, and how often one network may add to them.
pub(crate) struct Feedback {
    path: PathBuf,
    counts: Mutex<BTreeMap<u16, Counts>>,
    rate: Mutex<Rates>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Counts {
    yes: u64,
    partly: u64,
    no: u64,
}

impl Feedback {
    /// Of this data directory. A file that cannot be read is said and begun anew beside it: it holds nothing that anybody was promised.
    pub(crate) fn open(data_dir: &Path) -> Self {
        let path = data_dir.join(FILE);
        let counts = read(&path).unwrap_or_else(|cause| {
            if cause.kind() != io::ErrorKind::NotFound {
                let aside = path.with_extension("json.unreadable");
                let kept = fs::rename(&path, &aside).is_ok();
                tracing::warn!(path = %path.display(), %cause, kept, "the counts of `was this helpful` cannot be read and begin anew");
            }
            BTreeMap::new()
        });
        Self {
            path,
            counts: Mutex::new(counts),
            rate: Mutex::new(Rates::new(
                SELDOM_TABLE_SLOTS,
                RateShare { network: Rate::per_minute(FEEDBACK_BURST, FEEDBACK_PER_MINUTE), all: None },
            )),
        }
    }

    /// How long this network must wait before its next answer counts; none if it may answer now, which is then charged.
    pub(super) fn wait_ms(&self, network: Network, now_ms: u64) -> Option<u64> {
        self.rate.lock().charge(network, 1, now_ms).err().map(|limited| limited.wait_ms)
    }

    /// Counts one answer, and writes the file. Blocks.
    pub(super) fn record(&self, port: u16, face: Face) -> io::Result<()> {
        let mut counts = self.counts.lock();
        let before = counts.clone();
        let of_port = counts.entry(port).or_default();
        let count = match face {
            Face::No => &mut of_port.no,
            Face::Partly => &mut of_port.partly,
            Face::Yes => &mut of_port.yes,
        };
        *count = count.saturating_add(1);
        write(&self.path, &counts).inspect_err(|_| *counts = before)
    }

    /// All counts, in order of port.
    pub(super) fn counts(&self) -> FeedbackList {
        let counts = self.counts.lock();
        FeedbackList {
            ports: counts
                .iter()
                .map(|(port, Counts { yes, partly, no })| FeedbackCounts { port: *port, yes: *yes, partly: *partly, no: *no })
                .collect(),
        }
    }
}

fn read(path: &Path) -> io::Result<BTreeMap<u16, Counts>> {
    let file = fs::OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)?;
    let mut text = String::new();
    io::Read::read_to_string(&mut io::Read::take(file, FEEDBACK_FILE_BYTES_MAX), &mut text)?;
    serde_json::from_str(&text).map_err(io::Error::other)
}

/// Beside the file, then in its place: a crash leaves the old counts or the new ones.
fn write(path: &Path, counts: &BTreeMap<u16, Counts>) -> io::Result<()> {
    let beside = path.with_extension("json.new");
    let _ = fs::remove_file(&beside);
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).custom_flags(libc::O_NOFOLLOW).open(&beside)?;
    file.write_all(&serde_json::to_vec(counts)?)?;
    fs::rename(&beside, path)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn answers_are_counted_for_each_port_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let feedback = Feedback::open(folder.path());
        feedback.record(1588, Face::Yes).unwrap();
        feedback.record(1588, Face::Yes).unwrap();
        feedback.record(22, Face::No).unwrap();
        let again = Feedback::open(folder.path()).counts();
        let [ssh, ours] = again.ports.as_slice() else { panic!("{again:?}") };
        assert_eq!((ssh.port, ssh.yes, ssh.no), (22, 0, 1));
        assert_eq!((ours.port, ours.yes, ours.partly), (1588, 2, 0));
    }

    #[test]
    fn a_damaged_file_is_kept_aside_and_counting_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(FILE), "{").unwrap();
        let feedback = Feedback::open(folder.path());
        assert!(feedback.counts().ports.is_empty());
        feedback.record(1, Face::Partly).unwrap();
        assert_eq!(Feedback::open(folder.path()).counts().ports.len(), 1);
        assert_eq!(fs::read_to_string(folder.path().join("feedback.json.unreadable")).unwrap(), "{");
    }

    #[test]
    fn one_network_cannot_stuff_the_box() {
        let folder = tempfile::tempdir().unwrap();
        let feedback = Feedback::open(folder.path());
        let (one, other) = (Network::V4([10, 0, 0, 1]), Network::V4([10, 0, 0, 2]));
        let taken = (0..100).filter(|_| feedback.wait_ms(one, 5).is_none()).count();
        assert_eq!(taken, usize::try_from(FEEDBACK_BURST).unwrap());
        assert!(feedback.wait_ms(other, 5).is_none());
        assert!(feedback.wait_ms(one, 5 + 60_000).is_none(), "and later it may again");
    }

    #[test]
    fn only_the_form_s_own_words_are_answers() {
        assert_eq!(parse(b"answer=yes"), Some(Face::Yes));
        for wrong in [&b""[..], b"answer=", b"answer=yes&answer=no", b"answer=yes&x=1", b"answer=%79es"] {
            assert_eq!(parse(wrong), None);
        }
    }
}
