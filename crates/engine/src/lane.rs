//! The lane of leases that live.
