//! IANA's registry of service names and port numbers.
