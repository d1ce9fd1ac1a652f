//! Responses, as bytes.

use std::fmt::Write;
use std::time::SystemTime;

/// The statuses that this server answers with: RFC 9110, 15.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Ok,
    BadRequest,
    NotFound,
    MethodNotAllowed,
    RequestTimeout,
    ContentTooLarge,
    TargetTooLong,
    HeadTooLarge,
    Unavailable,
    VersionNotSupported,
}

impl Status {
    pub(crate) fn line(self) -> &'static str {
        match self {
            Status::Ok => "200 OK",
            Status::BadRequest => "400 Bad Request",
            Status::NotFound => "404 Not Found",
            Status::MethodNotAllowed => "405 Method Not Allowed",
            Status::RequestTimeout => "408 Request Timeout",
            Status::ContentTooLarge => "413 Content Too Large",
            Status::TargetTooLong => "414 URI Too Long",
            Status::HeadTooLarge => "431 Request Header Fields Too Large",
            Status::Unavailable => "503 Service Unavailable",
            Status::VersionNotSupported => "505 HTTP Version Not Supported",
        }
    }

    /// What a person reads who sent it.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Status::Ok => "ok\n",
            Status::BadRequest => "this is no valid HTTP/1.1 request\n",
            Status::NotFound => "not here; there are /, /metrics, /live, /ready, /sessions and /events\n",
            Status::MethodNotAllowed => "only GET and HEAD: nothing can be changed here\n",
            Status::RequestTimeout => "the request did not arrive in time\n",
            Status::ContentTooLarge => "a request has no content here\n",
            Status::TargetTooLong => "the request's target is too long: a head has 8 KiB at most\n",
            Status::HeadTooLarge => "the request's head is too long; 8 KiB and 64 fields are the limits\n",
            Status::Unavailable => "not now\n",
            Status::VersionNotSupported => "only HTTP/1.1 and HTTP/1.0 are spoken here\n",
        }
    }
}

/// What follows the head.
#[derive(Debug)]
pub(crate) enum Body {
    Whole(Vec<u8>),
    /// It is sent piece by piece, until the connection ends.
    Stream,
}

#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: Status,
    pub(crate) content_type: &'static str,
    /// Further fields, each with its line end.
    pub(crate) fields: &'static str,
    pub(crate) body: Body,
}

const TEXT: &str = "text/plain; charset=utf-8";

impl Response {
    pub(crate) fn new(content_type: &'static str, body: impl Into<Vec<u8>>) -> Response {
        Response { status: Status::Ok, content_type, fields: "", body: Body::Whole(body.into()) }
    }

    pub(crate) fn text(status: Status, text: impl Into<Vec<u8>>) -> Response {
        Response { status, ..Response::new(TEXT, text) }
    }

    /// The answer to what cannot be answered otherwise.
    pub(crate) fn plain(status: Status) -> Response {
        let fields = if status == Status::MethodNotAllowed { "Allow: GET, HEAD\r\n" } else { "" };
        Response { fields, ..Response::text(status, status.text()) }
    }

    /// All of it, in bytes. `head_only`: without the body, whose length is given nevertheless (RFC 9110, 9.3.2).
    pub(crate) fn to_bytes(&self, now: SystemTime, head_only: bool, keep_alive: bool) -> Vec<u8> {
        let mut head = String::with_capacity(256);
        let date = httpdate::fmt_http_date(now);
        // Writing to memory cannot fail.
        let _ = write!(
            head,
            "HTTP/1.1 {}\r\nDate: {date}\r\nContent-Type: {}\r\nCache-Control: no-store\r\n\
             X-Content-Type-Options: nosniff\r\n{}",
            self.status.line(),
            self.content_type,
            self.fields
        );
        if let Body::Whole(body) = &self.body {
            let _ = write!(head, "Content-Length: {}\r\n", body.len());
        }
        if !keep_alive {
            head.push_str("Connection: close\r\n");
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        if let (Body::Whole(body), false) = (&self.body, head_only) {
            bytes.extend_from_slice(body);
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_in_bytes() {
        let text = |response: &Response, head_only, keep_alive| {
            String::from_utf8(response.to_bytes(SystemTime::UNIX_EPOCH, head_only, keep_alive)).unwrap()
        };
        let response = Response::plain(Status::MethodNotAllowed);
        let whole = text(&response, false, false);
        let (head, body) = whole.split_once("\r\n\r\n").unwrap();
        assert_eq!(body, Status::MethodNotAllowed.text());
        for line in [
            "HTTP/1.1 405 Method Not Allowed",
            "Date: Thu, 01 Jan 1970 00:00:00 GMT",
            "Allow: GET, HEAD",
            &format!("Content-Length: {}", body.len()),
            "Connection: close",
        ] {
            assert!(head.lines().any(|there| there == line), "{line}: {head}");
        }
        let alone = text(&response, true, true);
        assert!(alone.ends_with("\r\n\r\n") && alone.contains("Content-Length"), "{alone}");
        assert!(!alone.contains("Connection:"), "{alone}");
    }
}
