//! What waits to be decided.
