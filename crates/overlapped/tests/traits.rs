//! The traits that users expect of each public type: by bounds, so that a missing one does not compile.

use std::collections::HashSet;
use std::error::Error as StdError;
use std::fmt::{Debug, Display};
use std::hash::Hash;

use overlapped::buffers::AlignedBuf;
use overlapped::codec::{Delimiter, FrameError, Framed, Input, LengthPrefixed, Lines};
use overlapped::events::Rejection;
use overlapped::settings::{Refusal, SendLimits, SkippedAddress};
use overlapped::trace::{Call, Moment, OpKey, Step, TraceResult};
use overlapped::{
    Admission, BackendKind, Backoff, Bytes, Choice, CloseReason, Closed, DrainReport, Endpoint, Error, Event,
    Idle, Incoming, Lease, OnPanic, Origin, Overflow, Payload, PostError, Sent, Server, ServerHandle,
    Session, SessionHandle, SessionId, SocketOptions, Stats, WorkerContext, WorkerHandle,
};

fn debug<T: Debug>() {}
fn values<T: Debug + Clone + Eq>() {}
fn keys<T: Debug + Clone + Eq + Hash>() {}
fn displayed<T: Debug + Display>() {}
fn errors<T: StdError + Send + Sync + 'static>() {}
fn across_threads<T: Send + Sync + 'static>() {}

#[test]
fn each_type_has_what_is_expected() {
    debug::<Server>();
    debug::<Incoming<'_>>();
    debug::<Session<'_>>();
    debug::<WorkerContext<'_>>();
    debug::<Framed<Lines>>();
    debug::<Input<'_>>();
    debug::<ServerHandle>();
    debug::<Event<'_>>();
    debug::<SkippedAddress>();
    debug::<Lines>();
    debug::<Delimiter>();
    debug::<LengthPrefixed>();
    debug::<Backoff>();
    debug::<Payload>();

    values::<Stats>();
    values::<Admission>();

    keys::<SessionHandle>();
    keys::<WorkerHandle<()>>();
    keys::<Closed>();
    keys::<Origin>();
    keys::<FrameError>();
    keys::<SessionId>();
    keys::<CloseReason>();
    keys::<Sent>();
    keys::<Rejection>();
    keys::<DrainReport>();
    keys::<Endpoint>();
    keys::<Choice>();
    keys::<BackendKind>();
    keys::<Refusal>();
    keys::<SocketOptions>();
    keys::<SendLimits>();
    keys::<Idle>();
    keys::<Overflow>();
    keys::<OnPanic>();
    keys::<Lease>();
    keys::<AlignedBuf>();
    keys::<Bytes>();
    keys::<Step>();
    keys::<Moment>();
    keys::<TraceResult>();
    keys::<Call>();
    keys::<OpKey>();
}

#[test]
fn each_type_that_readers_see_has_a_text() {
    displayed::<SessionId>();
    displayed::<CloseReason>();
    displayed::<Sent>();
    displayed::<Idle>();
    displayed::<Rejection>();
    displayed::<DrainReport>();
    displayed::<Endpoint>();
    displayed::<Choice>();
    displayed::<BackendKind>();
    displayed::<Refusal>();
    displayed::<SkippedAddress>();
    displayed::<Call>();
    displayed::<OpKey>();
    displayed::<TraceResult>();

    errors::<Error>();
    errors::<PostError>();
    errors::<PostError<Vec<u8>>>();
    errors::<FrameError>();
    errors::<Refusal>();

    across_threads::<ServerHandle>();
    across_threads::<WorkerHandle<()>>();
    across_threads::<SessionHandle>();
    across_threads::<Backoff>();
    across_threads::<Error>();
}

#[test]
fn texts_are_for_readers() {
    let texts = [
        (Sent::Full.to_string(), "dropped: the hard limit is reached"),
        (Choice::Auto.to_string(), "auto"),
        (Choice::Only(BackendKind::Readiness).to_string(), "readiness"),
        (Call::Receive.to_string(), "receive"),
        (TraceResult::Bytes(1).to_string(), "1 byte"),
        (TraceResult::Bytes(2).to_string(), "2 bytes"),
        (Rejection::Handler.to_string(), "the handler refused it"),
        (Rejection::SessionLimit.to_string(), "the session limit is reached"),
        (DrainReport::default().to_string(), "0 sessions drained, 0 cut, 0 bytes lost"),
    ];
    for (text, wanted) in texts {
        assert_eq!(text, wanted);
    }
    let server = Server::bind("127.0.0.1:0").unwrap();
    let text = format!("{server:?}");
    assert!(text.contains(&server.local_addrs()[0].to_string()), "{text}");
}

/// Bytes compare with bytes, in whichever form.
#[test]
fn bytes_are_equal_to_bytes() {
    let payload = Payload::from("hello");
    assert_eq!(payload, b"hello");
    assert_eq!(payload, *"hello");
    assert_eq!(payload, Payload::from(vec![b'h', b'e', b'l', b'l', b'o']));
    assert_ne!(payload, b"hell");
    let aligned = AlignedBuf::from(&b"hello"[..]);
    assert_eq!(aligned, b"hello");
    assert_eq!(payload, aligned);
    assert!(HashSet::from([aligned.clone()]).contains(&aligned));
}
