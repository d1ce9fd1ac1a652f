//! Events for the `tracing` crate: feature `tracing`.

use ::tracing::{debug, error, info, trace, warn};

use crate::observe::Event;

/// An [observer](crate::Server::observer) that passes every event to the `tracing` subscriber of the process, with the target
/// `overlapped` and the event's values as fields. What moves bytes has the level `TRACE`, sessions `DEBUG`, drains `INFO`,
/// shortages, rejections and slow callbacks `WARN`, panics `ERROR`.
///
/// ```no_run
/// # use overlapped::{Handler, Lease, Server, Session};
/// # struct Echo;
/// # impl Handler for Echo {
/// #     type State = ();
/// #     type Message = ();
/// #     fn on_open(&mut self, _session: &mut Session<'_>) {}
/// #     fn on_data(&mut self, session: &mut Session<'_>, _state: &mut (), data: Lease) { session.send(data); }
/// # }
/// # fn main() -> overlapped::Result<()> {
/// Server::bind("127.0.0.1:9999")?.observer(overlapped::tracing::observe).run(|_worker| Echo)
/// # }
/// ```
///
/// The subscriber runs on the worker's thread, and must not block it: give `tracing-subscriber` a non-blocking writer.
pub fn observe(event: &Event<'_>) {
    match *event {
        Event::Opened { session, peer, .. } => {
            debug!(target: TARGET, %session, peer = peer.map(::tracing::field::display), "opened")
        }
        Event::Closed { session, reason, received, sent, .. } => {
            debug!(target: TARGET, %session, %reason, received, sent, "closed");
        }
        Event::Rejected { reason, peer, listener, .. } => {
            warn!(target: TARGET, %reason, peer = peer.map(::tracing::field::display), listener, "rejected");
        }
        Event::Received { session, bytes, .. } => trace!(target: TARGET, %session, bytes, "received"),
        Event::Sent { session, bytes, .. } => trace!(target: TARGET, %session, bytes, "sent"),
        Event::Discarded { session, bytes, .. } => trace!(target: TARGET, %session, bytes, "discarded"),
        Event::Lost { session, bytes, answers_owed, reason, .. } => {
            debug!(target: TARGET, %session, bytes, answers_owed, %reason, "lost");
        }
        Event::AcceptPaused { error, retry_after, .. } => {
            warn!(target: TARGET, %error, ?retry_after, "accepting pauses");
        }
        Event::Delayed { error, .. } => warn!(target: TARGET, %error, "the system is short of memory"),
        Event::ConnectFailed { error, .. } => debug!(target: TARGET, %error, "a connect failed"),
        Event::PostRefused => warn!(target: TARGET, "a post was refused"),
        Event::Panicked { session, message, .. } => {
            error!(target: TARGET, session = session.map(::tracing::field::display), message, "a handler panicked");
        }
        Event::Operation { worker, session, step, .. } => {
            trace!(target: TARGET, worker, session = session.map(::tracing::field::display), ?step, "operation");
        }
        Event::SlowCallback { worker, session, took, .. } => {
            warn!(target: TARGET, worker, session = session.map(::tracing::field::display), ?took, "a callback was slow");
        }
        Event::Draining { sessions, .. } => info!(target: TARGET, sessions, "draining"),
        Event::AddressSkipped { name, address, error, .. } => {
            warn!(target: TARGET, name, %address, %error, "an address is not listened on");
        }
    }
}

const TARGET: &str = "overlapped";

#[cfg(test)]
mod tests {
    use std::fmt::Debug;
    use std::io;
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use ::tracing::field::{Field, Visit};
    use ::tracing::{Metadata, Subscriber, span, subscriber};

    use super::*;
    use crate::observe::Rejection;

    /// Keeps what it is told, as text.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<String>>>);

    struct Fields(String);

    impl Visit for Fields {
        fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
            self.0 += &format!(" {}={value:?}", field.name());
        }
    }

    impl Subscriber for Kept {
        fn enabled(&self, _metadata: &Metadata<'_>) -> bool {
            true
        }

        fn new_span(&self, _span: &span::Attributes<'_>) -> span::Id {
            span::Id::from_u64(1)
        }

        fn record(&self, _span: &span::Id, _values: &span::Record<'_>) {}

        fn record_follows_from(&self, _span: &span::Id, _follows: &span::Id) {}

        fn event(&self, event: &::tracing::Event<'_>) {
            let mut fields = Fields(format!("{} {}:", event.metadata().level(), event.metadata().target()));
            event.record(&mut fields);
            self.0.lock().unwrap().push(fields.0);
        }

        fn enter(&self, _span: &span::Id) {}

        fn exit(&self, _span: &span::Id) {}
    }

    #[test]
    fn events_have_levels_and_fields() {
        let kept = Kept::default();
        let error = io::Error::other("none left");
        subscriber::with_default(kept.clone(), || {
            observe(&Event::Rejected {
                reason: Rejection::SessionLimit,
                peer: Some(([127, 0, 0, 1], 7).into()),
                listener: 3,
            });
            observe(&Event::AcceptPaused { error: &error, retry_after: Duration::from_millis(100) });
            observe(&Event::SlowCallback { worker: 1, session: None, took: Duration::from_millis(40) });
            observe(&Event::Draining { sessions: 2 });
        });
        let kept = kept.0.lock().unwrap();
        assert_eq!(
            *kept,
            [
                "WARN overlapped: message=rejected reason=the session limit is reached peer=127.0.0.1:7 listener=3",
                "WARN overlapped: message=accepting pauses error=none left retry_after=100ms",
                "WARN overlapped: message=a callback was slow worker=1 took=40ms",
                "INFO overlapped: message=draining sessions=2",
            ]
        );
    }
}
