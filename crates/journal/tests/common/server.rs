//! A server without a network: an allocator and a journal.

use triquest_allocator::{
    Actor, Allocator, CheckoutItem, Command, ContentDigest, Epoch, Holder, Index, InstallLicense, Instance, Moment, Outcome, Safeguards,
    Timestamp,
};
use triquest_journal::record::{Entry, encode_entry};
use triquest_journal::{Appended, Journal, load};
use triquest_license::{FeatureName, Note, ServerKey, Signer, SigningKey, VendorName, VerifiedLicense};

/// 2026-11-23, in milliseconds.
const WALL_MS: i64 = 1_795_392_000_000;

pub fn license(seats: u32) -> VerifiedLicense {
    let signer = Signer::new(VendorName::new("acme.example").unwrap(), SigningKey::from_seed([7; 32]));
    let server = ServerKey::from(*SigningKey::from_seed([9; 32]).public());
    let text = format!(
        r#"format = "triquest-lm/v1/license"
license  = "ACME-1"
vendor   = "acme.example"
verifier = ["{}"]
licensee = "Initech GmbH"
issued   = 2026-11-23
servers  = ["{server}"]

[[entitlement]]
feature = "cad"
version = "12.4"
seats   = {seats}
expires = 2027-12-31
"#,
        signer.verifier_key()
    );
    VerifiedLicense::verify_named(&Note::sign(&text, &[signer]).unwrap()).unwrap()
}

pub struct Server {
    pub allocator: Allocator,
    pub journal: Box<dyn Journal>,
    pub at: u64,
    epoch: Epoch,
}

impl Server {
    /// Starts on a journal, as a real server does: load, then `Recover`.
    pub fn start(mut journal: Box<dyn Journal>) -> Self {
        let allocator = load(&mut *journal, Safeguards::default()).unwrap();
        let head = journal.head();
        let epoch = Epoch(head.epoch.0 + 1);
        let at = journal.read(head.index, usize::MAX).ok().and_then(|entries| entries.last().map(|(_, bytes)| bytes.clone()));
        let at = at.map_or(0, |bytes| triquest_journal::record::decode_entry(&bytes).unwrap().moment.at.0);
        let mut server = Self { allocator, journal, at, epoch };
        server.decide(vec![Command::Recover {
            epoch,
            instance: Instance(epoch.0.to_be_bytes().repeat(2).try_into().unwrap()),
            lineage: head.lineage,
            folder_ttl_max_ms: 0,
        }]);
        server
    }

    pub fn moment(&self) -> Moment {
        Moment { at: Timestamp(self.at), wall_ms: WALL_MS + self.at.cast_signed() }
    }

    /// Decides one batch and makes it durable; what the disk said, and the answers.
    pub fn decide(&mut self, commands: Vec<Command>) -> (Appended, Vec<Outcome>) {
        let moment = self.moment();
        let batch = self.allocator.decide_batch(moment, commands.into_iter().map(|command| ((), command)).collect());
        assert!(batch.left.is_empty());
        let outcomes = batch.outcomes.into_iter().map(|((), outcome)| outcome).collect();
        if batch.events.is_empty() {
            return (Appended::Committed, outcomes);
        }
        let head = self.journal.head();
        let index = Index(head.index.0 + 1);
        self.allocator.sealed(index);
        let entry = Entry { lineage: head.lineage, epoch: self.epoch, index, moment, events: batch.events };
        let appended = self.journal.append(self.epoch, Index(index.0 - 1), &encode_entry(&entry)).unwrap();
        self.allocator.committed(index);
        (appended, outcomes)
    }

    pub fn install(&mut self, seats: u32) {
        let actor = Actor { name: "unix:root".to_owned(), reason: String::new() };
        let (appended, outcomes) = self.decide(vec![Command::Install(InstallLicense { license: Box::new(license(seats)), actor })]);
        assert_eq!(appended, Appended::Committed);
        assert!(matches!(outcomes[..], [Outcome::Installed { .. }]), "{outcomes:?}");
    }

    pub fn checkout(&self, number: u64) -> Command {
        self.checkout_by(number, super::holder(number))
    }

    pub fn checkout_by(&self, number: u64, holder: Holder) -> Command {
        Command::Checkout {
            accepts: Default::default(),
            lease: super::lease(number),
            attempt: 1,
            content: ContentDigest(super::lease(number).0),
            holder,
            vendor_keys: vec![*SigningKey::from_seed([7; 32]).public().as_bytes()],
            items: vec![CheckoutItem { feature: FeatureName::new("cad").unwrap(), version: "12.1".parse().ok(), seats: 1 }],
            ttl_ms: None,
            wait_ms: None,
            regained: false,
            network: None,
        }
    }

    /// Grants a seat to each of these, a batch of `batch` at a time.
    pub fn grant(&mut self, numbers: std::ops::Range<u64>, batch: usize) {
        let numbers: Vec<_> = numbers.collect();
        for numbers in numbers.chunks(batch) {
            let (appended, outcomes) = self.decide(numbers.iter().map(|&number| self.checkout(number)).collect());
            assert_eq!(appended, Appended::Committed);
            assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Granted(_))), "{outcomes:?}");
        }
    }
}
