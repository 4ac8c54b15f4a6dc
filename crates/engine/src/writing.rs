//! What was decided and waits to be durable.
