//! What answers on a port, by its own word.
