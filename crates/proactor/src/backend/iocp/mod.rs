//! I/O completion ports.
