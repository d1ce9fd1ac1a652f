//! As much of HTTP/1.1 as GET and HEAD need: RFC 9110 and RFC 9112.

mod request;
mod response;

use std::time::Duration;

#[cfg(feature = "fuzzing")]
pub(crate) use request::check_any_bytes;
pub(crate) use request::{MOST_HEAD, Parsed, Request, parse};
pub(crate) use response::{Body, Response, Status};

/// The head of a request must be complete this long after its first byte, and the first byte must come this long after the
/// connection.
pub(crate) const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
