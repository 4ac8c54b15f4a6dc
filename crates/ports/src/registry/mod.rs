//! IANA's registry of service names and port numbers.
//!
//! A table of it is built into the program ([`Registry::embedded`]); IANA's current XML or CSV can be read in its place ([`Registry::update`]), kept
//! ([`store`]) and found again ([`current`]). Nothing here has a clock or the network: which table is newer, its own date says.
//!
//! ```
//! use triquest_ports::registry::{Assignment, Protocol, Registry};
//!
//! let registry = Registry::embedded();
//! assert_eq!(registry.assignment(1588, Protocol::Tcp), Assignment::Assigned);
//! assert_eq!(registry.on(1588, Protocol::Tcp)[0].name, Some("triquest-lm"));
//! ```

mod changes;
mod csv;
mod entry;
mod error;
mod files;
mod license_managers;
pub mod limits;
mod range;
mod report;
mod search;
mod table;
mod words;
mod xml;

pub use changes::{Change, Changes, changes};
pub use entry::{Assignment, Date, Entry, PortRange, Protocol, Protocols};
pub use error::RegistryError;
pub use files::{Current, FoundIn, Older, Places, StoreError, Unusable, current, store};
pub use license_managers::{Known, LicenseManager};
pub use range::Range;
pub use report::{PortReport, ProtocolReport, Source};
pub use search::{Found, Hit, Matched};
pub use table::Registry;

/// What the table is of.
const ORIGIN: &str = "IANA Service Name and Transport Protocol Port Number Registry";
