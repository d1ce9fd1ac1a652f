//! Frames out of a stream: an adapter between a handler of frames and the engine, which knows only bytes.
//!
//! A frame that lies in one received block is delivered without a copy; a frame that spans several blocks is assembled
//! in a buffer. The bytes kept for an unfinished frame are limited by the framing's maximum frame length. While a
//! session is paused, or too many bytes are unsent in it, its frames wait in their block.

mod framing;

use std::io;

use proactor::{AlignedBuf, Lease, Payload};

pub use framing::{Delimiter, Found, FrameError, Framing, LengthPrefixed, Lines};

use crate::context::{Session, WorkerContext};
use crate::handler::Handler;
use crate::session::{CloseReason, SessionId};

/// How much of a block is copied at first to complete an unfinished frame; then twice as much, and so on.
const FIRST_STEP: usize = 256;

/// The callbacks for sessions whose bytes are cut into frames. Like [`Handler`], with [`on_frame`](Self::on_frame)
/// instead of `on_data`; the other callbacks are the same.
pub trait FrameHandler: Sized + 'static {
    /// What is kept for each session.
    type State: 'static;
    /// What other threads may post to this worker.
    type Message: Send + 'static;

    /// A session began.
    fn on_open(&mut self, session: &mut Session<'_>) -> Self::State;

    /// A frame arrived; its prefix or delimiter is removed. The payload may be [sent](Session::send) unchanged; to send
    /// it as a frame, use [`LengthPrefixed::encode`](crate::LengthPrefixed::encode) or append the delimiter. While the
    /// session is [paused](Session::pause), or while its unsent bytes exceed the high-water mark, frames that have
    /// arrived wait, and `on_frame` is not called.
    fn on_frame(&mut self, session: &mut Session<'_>, state: &mut Self::State, frame: Payload);

    /// What arrived is no valid frame, or one that is too long. The session is closed when this returns; what is sent here
    /// still goes out.
    fn on_bad_frame(&mut self, session: &mut Session<'_>, state: &mut Self::State, error: &FrameError) {
        let _ = (session, state, error);
    }

    /// See [`Handler::on_half_close`]. Bytes of an unfinished frame are discarded.
    fn on_half_close(&mut self, session: &mut Session<'_>, state: &mut Self::State) {
        let _ = state;
        session.close();
    }

    /// See [`Handler::on_writable`].
    fn on_writable(&mut self, session: &mut Session<'_>, state: &mut Self::State) {
        let _ = (session, state);
    }

    /// See [`Handler::on_idle`].
    fn on_idle(&mut self, session: &mut Session<'_>, state: &mut Self::State) {
        let _ = state;
        session.close();
    }

    /// See [`Handler::on_timer`].
    fn on_timer(&mut self, session: &mut Session<'_>, state: &mut Self::State, token: u64) {
        let _ = (session, state, token);
    }

    /// See [`Handler::on_tick`].
    fn on_tick(&mut self, worker: &mut WorkerContext<'_>) {
        let _ = worker;
    }

    /// See [`Handler::on_message`].
    fn on_message(&mut self, worker: &mut WorkerContext<'_>, message: Self::Message) {
        let _ = (worker, message);
    }

    /// See [`Handler::on_connect_failed`].
    fn on_connect_failed(&mut self, worker: &mut WorkerContext<'_>, token: u64, error: &io::Error) {
        let _ = (worker, token, error);
    }

    /// See [`Handler::on_panic`].
    fn on_panic(&mut self, worker: &mut WorkerContext<'_>, session: Option<SessionId>, message: &str) {
        let _ = (worker, session, message);
    }

    /// See [`Handler::on_close`].
    fn on_close(
        &mut self,
        worker: &mut WorkerContext<'_>,
        session: SessionId,
        state: Self::State,
        reason: CloseReason,
    ) {
        let _ = (worker, session, state, reason);
    }
}

/// Cuts what sessions receive into frames for a [`FrameHandler`].
///
/// ```no_run
/// use overlapped::{FrameHandler, Framed, Lines, Payload, Server, Session};
///
/// struct Shout;
///
/// impl FrameHandler for Shout {
///     type State = ();
///     type Message = ();
///
///     fn on_open(&mut self, _session: &mut Session<'_>) {}
///
///     fn on_frame(&mut self, session: &mut Session<'_>, _state: &mut (), line: Payload) {
///         let mut answer = line.as_slice().to_ascii_uppercase();
///         answer.push(b'\n');
///         session.send(answer);
///     }
/// }
///
/// fn main() -> overlapped::Result<()> {
///     Server::bind("127.0.0.1:9999")?.run(|_worker| Framed::new(Lines::up_to(4096), Shout))
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Framed<F, H> {
    framing: F,
    handler: H,
}

impl<F: Framing, H: FrameHandler> Framed<F, H> {
    /// An adapter for `handler`.
    pub fn new(framing: F, handler: H) -> Framed<F, H> {
        Framed { framing, handler }
    }
}

/// What is kept for a framed session: its handler's state, and the frame that is not complete yet.
#[derive(Debug)]
pub struct FramedState<S> {
    state: S,
    pending: AlignedBuf,
    /// How much of `pending` was searched already: a long line is not searched from its beginning each time.
    searched: usize,
}

impl<F: Framing, H: FrameHandler> Framed<F, H> {
    /// Adds as much of `data` to the unfinished frame as completes it, and hands it on. Returns how many bytes that
    /// took: all of them if it is still unfinished, or was none.
    fn complete(
        &mut self,
        session: &mut Session<'_>,
        kept: &mut FramedState<H::State>,
        data: &[u8],
    ) -> usize {
        let before = kept.pending.len();
        let (mut taken, mut step) = (0, FIRST_STEP);
        while taken < data.len() {
            let more = &data[taken..data.len().min(taken + step)];
            kept.pending.extend_from_slice(more);
            taken += more.len();
            step *= 2;
            let bytes = kept.pending.len();
            let found = self.framing.find(&kept.pending, kept.searched);
            match found.and_then(|found| found.map(|found| found.checked(bytes, before)).transpose()) {
                Ok(None) => kept.searched = bytes,
                Ok(Some(found)) => {
                    // Taken out of the state: an idle session keeps no memory for an earlier frame.
                    let mut frame = std::mem::take(&mut kept.pending);
                    kept.searched = 0;
                    frame.truncate(found.start + found.len);
                    frame.remove_front(found.start);
                    self.handler.on_frame(session, &mut kept.state, Payload::Aligned(frame));
                    return found.end - before;
                }
                Err(error) => {
                    self.refuse(session, kept, &error);
                    return data.len();
                }
            }
        }
        taken
    }

    #[cold]
    fn refuse(&mut self, session: &mut Session<'_>, kept: &mut FramedState<H::State>, error: &FrameError) {
        kept.pending = AlignedBuf::default();
        self.handler.on_bad_frame(session, &mut kept.state, error);
        session.close_for(CloseReason::BadFrame);
    }
}

impl<F: Framing, H: FrameHandler> Handler for Framed<F, H> {
    type State = FramedState<H::State>;
    type Message = H::Message;

    fn on_open(&mut self, session: &mut Session<'_>) -> Self::State {
        FramedState { state: self.handler.on_open(session), pending: AlignedBuf::default(), searched: 0 }
    }

    fn on_data(&mut self, session: &mut Session<'_>, kept: &mut Self::State, mut data: Lease) {
        if !kept.pending.is_empty() {
            data.advance(self.complete(session, kept, &data));
        }
        while !data.is_empty() && !session.is_closing() {
            if !session.may_go_on() {
                return session.put_back(data);
            }
            let found = self.framing.find(&data, 0);
            match found.and_then(|found| found.map(|found| found.checked(data.len(), 0)).transpose()) {
                Ok(Some(found)) => {
                    let rest = data.split_off(found.end);
                    data.truncate(found.start + found.len);
                    data.advance(found.start);
                    self.handler.on_frame(session, &mut kept.state, Payload::Lease(data));
                    data = rest;
                }
                Ok(None) => {
                    kept.searched = data.len();
                    kept.pending = AlignedBuf::from(&*data);
                    return;
                }
                Err(error) => return self.refuse(session, kept, &error),
            }
        }
    }

    fn on_half_close(&mut self, session: &mut Session<'_>, kept: &mut Self::State) {
        self.handler.on_half_close(session, &mut kept.state);
    }

    fn on_writable(&mut self, session: &mut Session<'_>, kept: &mut Self::State) {
        self.handler.on_writable(session, &mut kept.state);
    }

    fn on_idle(&mut self, session: &mut Session<'_>, kept: &mut Self::State) {
        self.handler.on_idle(session, &mut kept.state);
    }

    fn on_timer(&mut self, session: &mut Session<'_>, kept: &mut Self::State, token: u64) {
        self.handler.on_timer(session, &mut kept.state, token);
    }

    fn on_tick(&mut self, worker: &mut WorkerContext<'_>) {
        self.handler.on_tick(worker);
    }

    fn on_message(&mut self, worker: &mut WorkerContext<'_>, message: H::Message) {
        self.handler.on_message(worker, message);
    }

    fn on_connect_failed(&mut self, worker: &mut WorkerContext<'_>, token: u64, error: &io::Error) {
        self.handler.on_connect_failed(worker, token, error);
    }

    fn on_panic(&mut self, worker: &mut WorkerContext<'_>, session: Option<SessionId>, message: &str) {
        self.handler.on_panic(worker, session, message);
    }

    fn on_close(
        &mut self,
        worker: &mut WorkerContext<'_>,
        session: SessionId,
        kept: Self::State,
        reason: CloseReason,
    ) {
        self.handler.on_close(worker, session, kept.state, reason);
    }
}
