//! Turns between networks, pure.
