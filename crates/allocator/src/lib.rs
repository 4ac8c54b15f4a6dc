//! The core: who holds which seats, decided and remembered.
//!
//! [`Allocator::decide`] turns one [`Command`] into an [`Outcome`] and the [`Event`]s that made it so; [`Allocator::apply_entry`] folds events
//! into the state, the same fold live, in replay and on a standby. Time is an argument ([`Moment`]); there is no clock, no random number,
//! no I/O and no hash order here, so equal inputs give equal bytes. Rules and invariants are those of `docs/leases.md`.

pub mod allocator;
mod batch;
pub mod clock;
pub mod command;
mod crowd;
mod decide;
pub mod event;
mod fold;
pub mod holder;
pub mod ids;
pub mod invariants;
mod keys;
mod licenses;
pub mod limits;
mod lineage;
mod matching;
mod memory;
pub mod network;
pub mod outcome;
mod rank;
pub mod regrets;
pub mod share;
mod snapshot;
pub mod state;
mod store;
mod taken_off;
mod terms;
mod views;
mod work;

pub use allocator::{Allocator, Rules, Safeguards};
pub use batch::{Batch, Pass, PassPlan, Sign, Standing, Tried, Waits};
pub use clock::{CivilClock, ClockReading, LeaseClock, Moment};
pub use command::{Actor, Between, CheckoutItem, Command, InstallLicense, ShownGrant, ShownItem};
pub use event::{Charge, DequeueReason, EndReason, Event, GrantedItem, ReleaseCause, RightEnd};
pub use fold::note_freed_early;
pub use holder::{Claim, Holder};
pub use ids::{ContentDigest, EntitlementId, Epoch, Index, Instance, LeaseId, Lineage, PoolId, Timestamp, VendorId};
pub use keys::VerifierKeys;
pub use limits::Limits;
pub use lineage::{EpochRecord, Judgement};
pub use network::{NamedNetwork, Network, Networks, WideNetwork};
pub use outcome::{Denial, DenialCode, Grant, GrantItem, Outcome, Overlap, PoolNumbers, Refusal};
pub use regrets::Regrets;
pub use state::StateRecord;
pub use taken_off::TakenOff;
pub use terms::{InstalledEntitlement, InstalledLeftOut, InstalledTerms};
pub use views::{EntitlementView, LeaseView, LicenseView, PoolView};
