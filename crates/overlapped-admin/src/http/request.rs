//! Requests: their head is parsed by `httparse`; what this server makes of it is decided here.

use super::Status;

/// Bytes of a head at most.
pub(crate) const MOST_HEAD: usize = 8 * 1024;
/// Header fields at most.
const FIELDS: usize = 64;

/// A request that is to be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    /// HEAD: without the body.
    pub(crate) head_only: bool,
    pub(crate) path: String,
    /// Behind the `?`; empty if there is none.
    pub(crate) query: String,
    /// Whether the connection stays open.
    pub(crate) keep_alive: bool,
    /// Whether the client accepts OpenMetrics, and does not prefer the older text.
    pub(crate) wants_open_metrics: bool,
}

impl Request {
    /// The value of a parameter of the query: `limit` of `?limit=10`. Not decoded: no value of ours needs it.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        let pairs = self.query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        pairs.filter(|(key, _)| *key == name).map(|(_, value)| value).next_back()
    }
}

/// What the bytes of a connection are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Parsed {
    /// The beginning of a head.
    Partial,
    /// A whole request, and its length.
    Request(Request, usize),
    /// Something else. It is answered with this status, and the connection ends: where the next request begins is not
    /// known. The answer to HEAD has no content.
    Refused { status: Status, head_only: bool },
}

/// Parses the first request in `bytes`.
pub(crate) fn parse(bytes: &[u8]) -> Parsed {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS];
    let mut head = httparse::Request::new(&mut fields);
    let whole = &bytes[..bytes.len().min(MOST_HEAD)];
    match head.parse(whole) {
        Ok(httparse::Status::Complete(len)) => match accept(&head) {
            Ok(request) => Parsed::Request(request, len),
            Err(status) => refused(status, bytes),
        },
        Ok(httparse::Status::Partial) if bytes.len() >= MOST_HEAD => refused(too_long(&head), bytes),
        Ok(httparse::Status::Partial) => Parsed::Partial,
        Err(httparse::Error::TooManyHeaders) => refused(Status::HeadTooLarge, bytes),
        Err(httparse::Error::Version) if names_version(whole) => refused(Status::VersionNotSupported, bytes),
        Err(_) => refused(Status::BadRequest, bytes),
    }
}

fn refused(status: Status, bytes: &[u8]) -> Parsed {
    Parsed::Refused { status, head_only: bytes.starts_with(b"HEAD ") }
}

/// What is too long in a head of which only a part was parsed.
fn too_long(head: &httparse::Request<'_, '_>) -> Status {
    match (head.method, head.version) {
        // No method has 8 KiB.
        (None, _) => Status::BadRequest,
        (_, None) => Status::TargetTooLong,
        _ => Status::HeadTooLarge,
    }
}

/// Whether what follows the target is a version of HTTP: if not, it is no request line (RFC 9112, 3).
fn names_version(bytes: &[u8]) -> bool {
    let version = bytes.splitn(3, |byte| *byte == b' ').nth(2).and_then(|rest| rest.strip_prefix(b"HTTP/"));
    version.and_then(|rest| rest.first()).is_some_and(u8::is_ascii_digit)
}

fn accept(head: &httparse::Request<'_, '_>) -> Result<Request, Status> {
    let (Some(method), Some(target), Some(version)) = (head.method, head.path, head.version) else {
        return Err(Status::BadRequest);
    };
    let named = |name: &'static str| {
        head.headers
            .iter()
            .filter(move |field| field.name.eq_ignore_ascii_case(name))
            .map(|field| field.value)
    };
    // RFC 9112, 3.2: a request of HTTP/1.1 has exactly one.
    let hosts = named("host").count();
    if hosts > 1 || (version == 1 && hosts == 0) {
        return Err(Status::BadRequest);
    }
    let head_only = match method {
        "GET" => false,
        "HEAD" => true,
        _ => return Err(Status::MethodNotAllowed),
    };
    check_body(named("content-length"), named("transfer-encoding").next().is_some())?;
    let (path, query) = origin_form(target).ok_or(Status::BadRequest)?;
    let lists = |name: &'static str, wanted: &str| named(name).any(|value| has_token(value, wanted));
    let keep_alive = version == 1 && !lists("connection", "close");
    let quality = |name| named("accept").filter_map(|value| quality(value, name)).reduce(f32::max);
    let text = ["text/plain", "text/*", "*/*"].into_iter().find_map(quality);
    let wants_open_metrics = quality("application/openmetrics-text")
        .is_some_and(|quality| quality > 0.0 && text.is_none_or(|text| quality >= text));
    Ok(Request { head_only, path: path.to_owned(), query: query.to_owned(), keep_alive, wants_open_metrics })
}

/// No request of ours has content. A length of 0 is fine; what is no length could hide a second request (RFC 9112, 6.3).
fn check_body<'a>(lengths: impl Iterator<Item = &'a [u8]>, has_encoding: bool) -> Result<(), Status> {
    let mut is_empty = !has_encoding;
    for length in lengths {
        if length.is_empty() || !length.iter().all(u8::is_ascii_digit) {
            return Err(Status::BadRequest);
        }
        is_empty &= length.iter().all(|digit| *digit == b'0');
    }
    if is_empty { Ok(()) } else { Err(Status::ContentTooLarge) }
}

/// Path and query of a target: `/path?query`, or the same behind `http://host` (RFC 9112, 3.2.2: every server takes that).
fn origin_form(target: &str) -> Option<(&str, &str)> {
    let local = match target.split_once("://") {
        Some((scheme, rest)) if ["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) => {
            &rest[rest.find(['/', '?']).unwrap_or(rest.len())..]
        }
        _ if target.starts_with('/') => target,
        _ => return None,
    };
    let (path, query) = local.split_once('?').unwrap_or((local, ""));
    Some((if path.is_empty() { "/" } else { path }, query))
}

/// Whether a list of a header field has this element, with whatever parameters: `a;q=0.5, b`.
fn has_token(value: &[u8], wanted: &str) -> bool {
    value.split(|byte| *byte == b',').any(|element| {
        let name = element.split(|byte| *byte == b';').next().unwrap_or(element);
        name.trim_ascii().eq_ignore_ascii_case(wanted.as_bytes())
    })
}

/// The quality value of this media type or range, from 0 to 1, if the list names it (RFC 9110, 12.4.2).
fn quality(value: &[u8], wanted: &str) -> Option<f32> {
    let of_one = |element: &str| {
        let mut parts = element.split(';').map(str::trim);
        let names_it = parts.next()?.eq_ignore_ascii_case(wanted);
        let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
        names_it.then(|| {
            weight
                .map_or(1.0, |weight| weight.parse().ok().filter(|q| (0.0..=1.0).contains(q)).unwrap_or(0.0))
        })
    };
    std::str::from_utf8(value).ok()?.split(',').filter_map(of_one).reduce(f32::max)
}

/// What holds for all bytes, whatever a client sends. Panics if it does not.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn check_any_bytes(bytes: &[u8]) {
    match parse(bytes) {
        Parsed::Partial => assert!(bytes.len() < MOST_HEAD, "a head that never ends is kept"),
        Parsed::Request(request, len) => {
            assert!((1..=bytes.len().min(MOST_HEAD)).contains(&len), "a length that is not there");
            assert!(request.path.starts_with('/') && !request.path.contains(['?', ' ', '\r', '\n']));
            assert_eq!(parse(&bytes[..len]), Parsed::Request(request, len), "what follows changes nothing");
            // Whichever way the bytes were cut.
            for cut in 0..len {
                assert_eq!(parse(&bytes[..cut]), Parsed::Partial, "a part of it at {cut}");
            }
        }
        Parsed::Refused { status, .. } => assert_ne!(status, Status::Ok),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn get(text: &str) -> Request {
        match parse(text.as_bytes()) {
            Parsed::Request(request, len) => {
                assert_eq!(len, text.len());
                request
            }
            other => panic!("{text:?}: {other:?}"),
        }
    }

    #[test]
    fn requests_are_understood() {
        let request = get("GET /sessions?limit=5&from=1.2 HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(
            (request.path.as_str(), request.head_only, request.keep_alive),
            ("/sessions", false, true)
        );
        assert_eq!((request.parameter("limit"), request.parameter("from")), (Some("5"), Some("1.2")));
        assert_eq!(request.parameter("other"), None);
        assert_eq!(get("GET /?limit HTTP/1.1\r\nHost: a\r\n\r\n").parameter("limit"), Some(""));
        assert!(get("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n").head_only);
        assert!(!get("GET / HTTP/1.0\r\n\r\n").keep_alive);
        assert!(!get("GET / HTTP/1.1\r\nHost: a\r\nConnection: x, Close\r\n\r\n").keep_alive);
        assert!(get("GET / HTTP/1.1\r\nhost:a\r\nContent-Length: 0\r\n\r\n").keep_alive);
        for target in ["http://a:80/metrics?x", "HTTP://a/metrics?x", "/metrics?x"] {
            let request = get(&format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
            assert_eq!((request.path.as_str(), request.query.as_str()), ("/metrics", "x"), "{target}");
        }
        assert_eq!(get("GET http://a HTTP/1.1\r\nHost: a\r\n\r\n").path, "/");
        let accept = "Accept: application/openmetrics-text;version=1.0.0;q=0.5,*/*;q=0.1\r\n";
        assert!(get(&format!("GET / HTTP/1.1\r\nHost: a\r\n{accept}\r\n")).wants_open_metrics);
        for other in [
            "*/*",
            "application/openmetrics-text;q=0, text/plain",
            "application/openmetrics-text; q=0.5, text/plain;version=0.0.4;q=0.6",
            "application/openmetrics-text;q=0.1, text/*;q=0.9",
            "application/openmetrics-text;q=inf",
        ] {
            let request = get(&format!("GET / HTTP/1.1\r\nHost: a\r\nAccept: {other}\r\n\r\n"));
            assert!(!request.wants_open_metrics, "{other}");
        }
    }

    #[test]
    fn what_is_no_request_is_refused() {
        let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "a: b\r\n".repeat(FIELDS));
        let a = "a".repeat(MOST_HEAD);
        let long_target = format!("GET /{a} HTTP/1.1\r\nHost: a\r\n\r\n");
        let nearly = format!("GET /{} HTT", "a".repeat(MOST_HEAD - 9));
        let long_field = format!("GET / HTTP/1.1\r\nHost: {a}\r\n\r\n");
        for (text, status) in [
            ("nonsense\r\n\r\n", Status::BadRequest),
            ("\x16\x03\x01\x02\x00", Status::BadRequest),
            ("GET / HTTP/1.1\r\n\r\n", Status::BadRequest),
            ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", Status::BadRequest),
            ("GET metrics HTTP/1.1\r\nHost: a\r\n\r\n", Status::BadRequest),
            ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", Status::BadRequest),
            ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\na", Status::ContentTooLarge),
            ("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", Status::ContentTooLarge),
            ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", Status::MethodNotAllowed),
            ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\na", Status::MethodNotAllowed),
            ("HEAD / HTTP/1.1\r\n\r\n", Status::BadRequest),
            ("HEAD / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\na", Status::ContentTooLarge),
            ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", Status::VersionNotSupported),
            ("GET / HTTP/3", Status::VersionNotSupported),
            ("GET / FOO\r\nHost: a\r\n\r\n", Status::BadRequest),
            ("GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", Status::BadRequest),
            (many.as_str(), Status::HeadTooLarge),
            (long_field.as_str(), Status::HeadTooLarge),
            (long_target.as_str(), Status::TargetTooLong),
            (nearly.as_str(), Status::TargetTooLong),
            (a.as_str(), Status::BadRequest),
        ] {
            let head_only = text.starts_with("HEAD");
            assert_eq!(parse(text.as_bytes()), Parsed::Refused { status, head_only }, "{text:?}");
        }
    }

    #[test]
    fn a_second_request_is_left() {
        let two = b"GET /live HTTP/1.1\r\nHost: a\r\n\r\nGET /ready HTTP/1.1\r\nHost: a\r\n\r\n";
        let Parsed::Request(first, len) = parse(two) else { panic!("the first") };
        let Parsed::Request(second, rest) = parse(&two[len..]) else { panic!("the second") };
        assert_eq!((first.path.as_str(), second.path.as_str(), len + rest), ("/live", "/ready", two.len()));
    }

    proptest! {
        /// Whatever comes: no panic, and an answer that does not depend on how the bytes were cut.
        #[test]
        fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            check_any_bytes(&bytes);
        }

        #[test]
        fn a_prefix_is_partial(cut in 0_usize..53) {
            let text = b"GET /metrics?a=b HTTP/1.1\r\nHost: a\r\nAccept: */*\r\n\r\n";
            prop_assert_eq!(parse(&text[..cut.min(text.len() - 1)]), Parsed::Partial);
        }
    }
}
