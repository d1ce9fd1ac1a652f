//! A session as its handler sees it, for the time of a callback.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use proactor::{ConnectionKey, Lease, Payload, TcpInfo};

use super::{Core, Endpoints, Others};
use crate::session::{CloseReason, HandleState, Origin, Phase, Sent, SessionHandle, SessionId, SessionState};

/// A buffer for answers that has grown beyond this many bytes is not kept.
const LARGEST_SCRATCH: usize = 64 * 1024;

/// One session, within a callback of its worker. `S` is [`Handler::State`](crate::Handler::State): what the handler
/// keeps for each session.
pub struct Session<'a, S = ()> {
    pub(crate) core: &'a mut Core,
    pub(crate) endpoints: &'a dyn Endpoints,
    pub(crate) others: Others<'a, S>,
    pub(crate) key: ConnectionKey,
}

impl<'a, S> Session<'a, S> {
    #[inline]
    pub(crate) fn new(
        core: &'a mut Core,
        endpoints: &'a dyn Endpoints,
        others: Others<'a, S>,
        key: ConnectionKey,
    ) -> Session<'a, S> {
        Session { core, endpoints, others, key }
    }

    fn state(&self) -> Option<&SessionState> {
        self.core.sessions.get(self.key)
    }

    /// This session's id.
    #[must_use]
    pub fn id(&self) -> SessionId {
        SessionId { worker: self.core.worker, key: self.key }
    }

    /// The address at the other end, as it was when the session began.
    ///
    /// # Errors
    /// If the connection was already gone then.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        match self.state().and_then(|state| state.peer) {
            Some(peer) => Ok(peer),
            None => self.endpoints.peer(self.key),
        }
    }

    /// The address at this end. Asks the system each time.
    ///
    /// # Errors
    /// If the connection is already gone.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.endpoints.local(self.key)
    }

    /// What the system has measured of this connection: round-trip time, retransmitted bytes, unacknowledged bytes. Asks the
    /// system each time, with one or two calls. `None` where the system does not report it: macOS, the BSDs, Windows
    /// before 10 1703. When a session ends, [`Closed::tcp`](crate::Closed::tcp) has the last values.
    #[must_use]
    pub fn tcp_info(&self) -> Option<TcpInfo> {
        self.endpoints.tcp_info(self.key)
    }

    /// Queues bytes: whatever a [`Payload`] is made of, for instance a [`Lease`] (the received block itself),
    /// [`Bytes`](crate::Bytes), a `Vec<u8>`, a `String` or `b"static bytes"`. They are submitted when the callback
    /// returns. Bytes that are only borrowed: [`send_copy`](Self::send_copy).
    pub fn send(&mut self, bytes: impl Into<Payload>) -> Sent {
        self.core.send(self.key, bytes.into())
    }

    /// Queues a copy of `bytes`. Copies that follow one another are joined in one buffer, and leave with one call: use
    /// this, or [`send_with`](Self::send_with), for small answers, and [`send`](Self::send) for large buffers.
    pub fn send_copy(&mut self, bytes: &[u8]) -> Sent {
        self.core.send_copy(self.key, bytes)
    }

    /// Queues the bytes that `write` appends to a buffer. The buffer is reused, so this allocates nothing for short
    /// answers that are put together from parts:
    ///
    /// ```
    /// # use overlapped::{Sent, Session};
    /// # fn answer<S>(session: &mut Session<'_, S>, number: u64) -> Sent {
    /// use std::io::Write;
    /// session.send_with(|out| write!(out, "{number}\r\n").expect("a vector takes all bytes"))
    /// # }
    /// ```
    pub fn send_with(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Sent {
        let sent = self.try_send_with(|out| {
            write(out);
            Ok::<(), std::convert::Infallible>(())
        });
        match sent {
            Ok(sent) => sent,
            Err(never) => match never {},
        }
    }

    /// The same. Nothing is queued if `write` fails.
    pub(crate) fn try_send_with<E>(
        &mut self,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<Sent, E> {
        // Taken out, so that nothing is lost if `write` panics.
        let mut scratch = std::mem::take(&mut self.core.scratch);
        scratch.clear();
        let written = write(&mut scratch);
        let sent = written.map(|()| self.core.send_copy(self.key, &scratch));
        if scratch.capacity() <= LARGEST_SCRATCH {
            self.core.scratch = scratch;
        }
        sent
    }

    /// Unsent bytes.
    #[must_use]
    pub fn unsent(&self) -> usize {
        self.state().map_or(0, |state| state.queue.bytes())
    }

    /// Whether less than its [high-water mark](Self::send_limits) is unsent, and the session takes sends. A handler that produces bytes sends
    /// while this is true, and continues in [`on_writable`](crate::Handler::on_writable), which is called at the low-water
    /// mark.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        self.state().is_some_and(|state| {
            state.phase() == Phase::Open
                && state.queue.bytes() < state.high_water(self.core.config.high_water)
        })
    }

    /// Calls [`Handler::on_sent`](crate::Handler::on_sent) with `token` when the kernel has accepted the last byte that is
    /// unsent now; if nothing is, soon after this callback. Calls are made in the order in which they were asked for, each
    /// once. The session must not [close](Self::close) before: then only `on_close` follows. Returns false if it has begun
    /// to.
    ///
    /// ```
    /// # use overlapped::{Sent, Session};
    /// # fn answer<S>(session: &mut Session<'_, S>, part: Vec<u8>) {
    /// if session.send(part) == Sent::Ok {
    ///     session.notify_when_sent(7);
    /// }
    /// # }
    /// ```
    ///
    /// Payloads that leave together are accepted together, so the call may come some bytes later than these; never
    /// earlier. It says nothing about the peer: only an answer of its program shows that it has read them.
    pub fn notify_when_sent(&mut self, token: u64) -> bool {
        self.core.notify_when_sent(self.key, token)
    }

    /// Stops receiving until [`resume`](Self::resume). Until then `on_data` is not called, not even for bytes that have
    /// already arrived. A handler that decodes items with [`Framed`](crate::Framed) goes on calling
    /// [`next`](crate::Framed::next) until it returns `None`: only then do the items that wait follow after `resume`. A reset by the peer still ends the session at once (on Windows only if no bytes wait unread).
    /// The peer's end of stream is reported after all bytes before it were delivered; so
    /// `on_half_close` may be called while the session is paused, if no bytes wait ([`peer_finished`](Self::peer_finished)
    /// says later that it was). A paused session is not idle: its
    /// idle timeout starts again with `resume`. A drain waits for a paused session until the drain's deadline.
    pub fn pause(&mut self) {
        self.set_paused(true);
    }

    /// Receives again, unless too much is unsent.
    pub fn resume(&mut self) {
        self.set_paused(false);
    }

    fn set_paused(&mut self, paused: bool) {
        if let Some(state) = self.core.sessions.get_mut(self.key)
            && state.set_paused(paused)
        {
            state.received_at = self.core.now;
            self.core.look_at_receive(self.key);
        }
    }

    /// Whether `on_data` may be called again: the session has not begun to close, no full session holds it, and its handler
    /// has not paused it.
    pub(crate) fn may_go_on(&self) -> bool {
        self.state().is_some_and(|state| state.is_live() && state.may_go_on())
    }

    /// Gives back bytes that `on_data` could not take because the session [may not go on](Self::may_go_on). It is
    /// called with them again, before whatever has arrived since.
    pub(crate) fn put_back(&mut self, data: Lease) {
        debug_assert!(!self.may_go_on(), "on_data would be called with the same bytes for ever");
        if let Some(state) = self.core.sessions.get_mut(self.key)
            && state.is_live()
            && !data.is_empty()
        {
            state.keep(data, true);
        }
    }

    /// Declares that this session's received bytes are sent on another session of this worker, `to`, as a relay does.
    /// From now on this session pauses its receive while the unsent bytes of `to` exceed its high-water mark. Without
    /// this call, a session pauses its receive while its own unsent bytes exceed the mark. A session may feed several
    /// sessions, but is fed by only one: the last one that called this. Returns false if either session is gone.
    ///
    /// Sessions that are joined by this call drain together. [A drain](crate::ServerHandle::begin_drain) closes `to` only
    /// when this session has begun to close, or when the peers of both have ended their streams, because until then more
    /// may come for `to`. So a chain drains from its source. A relay, whose two sessions feed each other, lasts until its
    /// peers end it, at most until the drain's deadline: nobody can see in a stream of bytes whether an answer is to
    /// come. A handler that knows closes the sessions itself, for instance in
    /// [`on_drain`](crate::Handler::on_drain).
    pub fn feed(&mut self, to: SessionId) -> bool {
        to.worker == self.core.worker && self.core.feed(self.key, to.key)
    }

    /// Closes gracefully: queued bytes are sent, then FIN. Bytes that still arrive are discarded until the peer's FIN
    /// arrives or the linger timeout has passed. No `on_data` follows.
    pub fn close(&mut self) {
        self.close_for(CloseReason::Local);
    }

    /// As [`close`](Self::close), for a reason of the program's own: `on_close` and [`Event::Closed`](crate::Event) get
    /// [`CloseReason::ClosedWith`] with `code`.
    pub fn close_with(&mut self, code: u32) {
        self.close_for(CloseReason::ClosedWith(code));
    }

    /// Ends this side's stream: what is queued goes out, then FIN. The peer may still send, and `on_data` is still
    /// called; the session closes when both streams have ended. Further sends return [`Sent::Closed`].
    pub fn finish(&mut self) {
        self.core.end_stream(self.key);
    }

    pub(crate) fn close_for(&mut self, reason: CloseReason) {
        self.core.close(self.key, reason);
    }

    /// Closes at once: queued bytes are dropped, and the peer sees a reset (unless a [forked
    /// process](crate#other-processes) holds a copy of the connection).
    pub fn abort(&mut self) {
        self.core.abort(self.key, CloseReason::Aborted);
    }

    /// As [`abort`](Self::abort), for a reason of the program's own: `on_close` and [`Event::Closed`](crate::Event) get
    /// [`CloseReason::AbortedWith`] with `code`.
    pub fn abort_with(&mut self, code: u32) {
        self.core.abort(self.key, CloseReason::AbortedWith(code));
    }

    /// Whether the session has begun to close. One that only [finished](Self::finish) its own stream has not.
    #[must_use]
    pub fn is_closing(&self) -> bool {
        self.state().is_none_or(|state| !state.is_live())
    }

    /// Whether the peer has ended its stream.
    #[must_use]
    pub fn peer_finished(&self) -> bool {
        self.state().is_none_or(SessionState::peer_finished)
    }

    /// Where this session came from: accepted, with its listener's token, or outbound, with the token of its connect.
    /// `None` if it has ended.
    #[must_use]
    pub fn origin(&self) -> Option<Origin> {
        self.state().map(|state| state.origin)
    }

    /// Whether this side opened the connection.
    #[must_use]
    pub fn is_outbound(&self) -> bool {
        self.token().is_some()
    }

    /// The token that was given to [`connect`](crate::WorkerContext::connect). `None` for an accepted session.
    #[must_use]
    pub fn token(&self) -> Option<u64> {
        self.origin()?.token()
    }

    /// The token of the listener that accepted this session: see [`Server::listener_token`](crate::Server::listener_token).
    /// `None` for an outbound session.
    #[must_use]
    pub fn listener(&self) -> Option<u64> {
        self.origin()?.listener()
    }

    /// Calls [`Handler::on_timer`](crate::Handler::on_timer) with `token`, once, when `after` has passed since this
    /// call: never earlier, and at most 4 ms later unless the worker is busy. A session has at most one timer per token:
    /// setting it again moves it, in constant time for a session with few tokens and without an allocation.
    ///
    /// When a session begins to close, its timers are cancelled; calls on a closing session set no timer.
    pub fn set_timer(&mut self, after: Duration, token: u64) {
        self.core.set_timer(self.key, self.endpoints.now() + after, token);
    }

    /// Cancels the timer for `token`: it does not fire any more, even if it is already due. Returns false if no such
    /// timer was set.
    pub fn cancel_timer(&mut self, token: u64) -> bool {
        self.core.cancel_timer(self.key, token)
    }

    /// A handle on this session for other threads.
    #[must_use]
    pub fn handle(&mut self) -> SessionHandle {
        let id = self.id();
        let (mailbox, limits) = (Arc::clone(&self.core.mailbox), self.send_limits());
        let state = match self.core.sessions.get_mut(self.key) {
            Some(state) => Arc::clone(state.handle(&self.core.directory)),
            None => Arc::new(HandleState::gone()),
        };
        SessionHandle { id, state, mailbox, limits }
    }

    /// Another session of this worker, without its state: [`worker`](Self::worker) gives that, too. `None` if it has
    /// ended, or lives on another worker.
    #[must_use]
    pub fn sibling(&mut self, id: SessionId) -> Option<Session<'_, S>> {
        let lives_here = self.core.lives_here(id);
        lives_here.then(|| Session::new(self.core, self.endpoints, self.others.reborrow(), id.key))
    }
}
