//! Watching sockets for a reset: the poller tells of errors whether somebody asked or not, so a watch is a note beside
//! the source, and costs no system call before there is an error.

use super::{About, Completion, Handle, OpKey, Outcome, Readiness, Submitted};
use crate::socket::{self, Socket};

/// What a watch needs to know of a source. Apart from the source, which a message touches.
#[derive(Clone, Copy, Default)]
pub(super) struct Watched {
    watch: Option<(OpKey, Handle)>,
    /// True once an event said that there is an error, or that both directions have ended: no event says it again.
    broken: bool,
}

impl Readiness {
    fn watched(&mut self, source: u32) -> &mut Watched {
        let at = source as usize;
        if self.watched.len() <= at {
            self.watched.resize_with(self.sources.len().max(at + 1), Watched::default);
        }
        &mut self.watched[at]
    }

    pub(super) fn submit_watch(&mut self, key: OpKey, socket: Handle) -> Submitted<Socket> {
        let watched = self.watched(socket.source);
        if watched.broken
            && let Some(outcome) = broken(socket)
        {
            return Submitted::Done(outcome);
        }
        watched.watch = Some((key, socket));
        Submitted::Pending
    }

    /// An event said that the connection broke, or that both directions have ended.
    #[cold]
    pub(super) fn end_watch(&mut self, source: u32) {
        let watched = self.watched(source);
        watched.broken = true;
        if let Some((key, socket)) = watched.watch
            && let Some(outcome) = broken(socket)
        {
            watched.watch = None;
            let about = About::Operation(key);
            self.immediate.push_back(Completion { about, outcome, more: false });
        }
    }

    pub(super) fn cancel_watch(&mut self, key: OpKey, socket: Handle) {
        // Cancelled twice, or complete and not taken yet: its completion is on its way.
        if self.watched(socket.source).watch.take_if(|(waiting, _)| *waiting == key).is_some() {
            let about = About::Operation(key);
            self.immediate.push_back(Completion { about, outcome: Outcome::Cancelled, more: false });
        }
    }

    /// The next socket in this place begins anew.
    pub(super) fn forget_watch(&mut self, source: u32) {
        if let Some(watched) = self.watched.get_mut(source as usize) {
            debug_assert!(watched.watch.is_none(), "INV-2: nothing is in flight");
            *watched = Watched::default();
        }
    }
}

fn broken(socket: Handle) -> Option<Outcome<Socket>> {
    // SAFETY: a watch is in flight, or being submitted, and its connection keeps the socket open for as long (INV-2).
    unsafe { socket::broken(socket.fd) }
}
