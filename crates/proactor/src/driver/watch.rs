//! Watching for the end of a connection while nothing is received: without a watch, a kernel reports nothing about a
//! paused connection.

use std::io;

use crate::backend::Backend;
use crate::operation::{OpKey, Operation, Outcome};

use super::connection::{Receive, Watch};
use super::keys::Key;
use super::{ConnectionKey, Driver, Event, Verb};
use crate::os::is_shortage;

impl<B: Backend> Driver<B> {
    /// Watches for the end of the connection while nothing is received. Armed now if the receive is idle, else as
    /// soon as a pause takes effect. If the peer resets the connection, [`Event::Failed`] of [`Verb::Receive`]
    /// follows, exactly as if a receive had failed: the stream is over, and bytes that arrived before the reset and
    /// were not received are discarded.
    ///
    /// If the peer ends its stream and no bytes wait to be received, [`Event::EndOfStream`] follows. Bytes cause no
    /// event: they, and an end of stream behind them, wait for [`receive`](Self::receive). `receive`,
    /// [`close`](Self::close) and [`abort`](Self::abort) end the watch. Idempotent. Connections that are not watched
    /// cost nothing.
    ///
    /// On Windows a reset is reported only while no bytes wait to be received; behind such bytes, a send or the next
    /// receive reports it. Winsock has no call that waits for a reset alone.
    pub fn watch(&mut self, connection: ConnectionKey) {
        let Some(state) = self.connections.get_mut(connection.0) else { return };
        if !state.is_open() || state.receive == Receive::Ended {
            return;
        }
        match state.watch {
            Watch::Off => {
                state.watch = Watch::Wanted;
                self.arm_watch(connection.0);
            }
            Watch::Cancelling { .. } => state.watch = Watch::Cancelling { again: true },
            Watch::Wanted | Watch::Armed | Watch::Delayed | Watch::Over => {}
        }
    }

    /// Arms a wanted watch if nothing is received.
    pub(super) fn arm_watch(&mut self, key: Key) {
        let state = self.connection(key);
        if state.watch != Watch::Wanted || state.receive != Receive::Idle || !state.is_open() {
            return;
        }
        state.hold();
        state.watch = Watch::Armed;
        let socket = state.handle;
        let op = self.start(key, Operation::Watch { socket });
        let index = key.index() as usize;
        if self.watches.len() <= index {
            self.watches.resize(index + 1, None);
        }
        self.watches[index] = Some(op);
    }

    /// Ends a watch, because the connection receives or closes.
    pub(super) fn end_watch(&mut self, key: Key) {
        let state = self.connection(key);
        match state.watch {
            Watch::Off => {}
            Watch::Wanted | Watch::Over => state.watch = Watch::Off,
            Watch::Delayed => {
                state.watch = Watch::Off;
                self.retries.forget_watch(key);
            }
            Watch::Armed => {
                state.watch = Watch::Cancelling { again: false };
                let op =
                    self.watches[key.index() as usize].expect("INV-1: a watch in flight is in the table");
                self.cancel(op);
            }
            Watch::Cancelling { .. } => state.watch = Watch::Cancelling { again: false },
        }
    }

    #[cold]
    pub(super) fn complete_watch(
        &mut self,
        op: OpKey,
        owner: u32,
        outcome: Outcome<B::Socket>,
        more: bool,
    ) -> Option<Event<B::Socket>> {
        let key = self.owner(owner);
        let state = self.connection(key);
        let before = state.watch;
        if !more {
            state.let_go();
            state.watch = match before {
                Watch::Cancelling { again: true } => Watch::Wanted,
                Watch::Cancelling { again: false } => Watch::Off,
                _ => Watch::Over,
            };
            self.watches[owner as usize] = None;
            drop(self.ops.remove(op));
        }
        if self.ends_a_closing(key) {
            return None;
        }
        let error = match outcome {
            Outcome::Failed(error) if is_shortage(&error) && before == Watch::Armed && !more => {
                self.delay_watch(key);
                return Some(Event::Delayed { connection: ConnectionKey(key), verb: Verb::Receive, error });
            }
            // It is not wanted any more.
            Outcome::Failed(error) if is_shortage(&error) => None,
            Outcome::Failed(error) => Some(error),
            Outcome::EndOfStream if self.broke(key) => Some(io::ErrorKind::ConnectionReset.into()),
            Outcome::EndOfStream => return self.end_met(key, before),
            Outcome::Cancelled => None,
            other => unreachable!("a watch ended with {other:?}"),
        };
        if let Some(error) = error {
            return self.watch_met(key, before, error);
        }
        self.arm_watch(key);
        None
    }

    /// The peer has sent FIN. Reported here if nothing is received and no bytes wait before the FIN.
    fn end_met(&mut self, key: Key, before: Watch) -> Option<Event<B::Socket>> {
        let state = self.connection(key);
        let told = before == Watch::Armed && state.receive == Receive::Idle;
        if told && self.unread(ConnectionKey(key)) == 0 {
            self.connection(key).receive = Receive::Ended;
            self.end_watch(key);
            return Some(Event::EndOfStream { connection: ConnectionKey(key) });
        }
        self.arm_watch(key);
        None
    }

    /// The connection broke. Reported here if nothing is received; else the receive reports it, behind the bytes
    /// before it.
    fn watch_met(&mut self, key: Key, before: Watch, error: io::Error) -> Option<Event<B::Socket>> {
        let state = self.connection(key);
        // A kernel reports an error once: the receive will not see it.
        state.error_met = true;
        let wanted = matches!(before, Watch::Armed | Watch::Cancelling { again: true });
        let told = wanted && state.receive == Receive::Idle;
        if told {
            state.receive = Receive::Ended;
        }
        self.end_watch(key);
        told.then(|| Event::Failed { connection: ConnectionKey(key), verb: Verb::Receive, error })
    }
}
