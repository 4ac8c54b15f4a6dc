//! The sockets of this machine that have a port, and who owns them.
