//! Watching sockets for their end: the poller reports errors and FIN in any case, so a watch is a note beside the
//! source and costs no system call until then.

use super::{Handle, Readiness};
use crate::operation::{Completion, OpKey, Outcome, Submitted};
use crate::socket::{self, Socket};

/// The state of watches, kept apart from the sources, which every message touches.
#[derive(Default)]
pub(super) struct Watches {
    /// By the index of the source, as far as needed.
    notes: Vec<Note>,
    /// Sources that broke, according to the current events.
    broken: Vec<u32>,
    /// Watched sources whose peer has sent FIN, according to the current events.
    ended: Vec<u32>,
}

#[derive(Clone, Copy, Default)]
struct Note {
    watch: Option<(OpKey, Handle)>,
    /// True once an event reported an error, or the end of both directions: no event repeats it.
    broken: bool,
}

impl Watches {
    fn note(&mut self, source: u32) -> &mut Note {
        let at = source as usize;
        if self.notes.len() <= at {
            self.notes.resize(at + 1, Note::default());
        }
        &mut self.notes[at]
    }

    /// An event reports an error, or the end of both directions.
    #[cold]
    pub(super) fn broke(&mut self, source: u32) {
        self.broken.push(source);
    }

    /// An event reports that the peer has sent FIN.
    #[cold]
    pub(super) fn ended(&mut self, source: u32) {
        if self.notes.get(source as usize).is_some_and(|note| note.watch.is_some()) {
            self.ended.push(source);
        }
    }

    /// Resets the note for the next socket in this slot.
    pub(super) fn forget(&mut self, source: u32) {
        if let Some(note) = self.notes.get_mut(source as usize) {
            debug_assert!(note.watch.is_none(), "INV-2: nothing is in flight");
            *note = Note::default();
        }
    }
}

impl Readiness {
    pub(super) fn submit_watch(&mut self, key: OpKey, socket: Handle) -> Submitted<Socket> {
        let note = self.watches.note(socket.source);
        if note.broken
            && let Some(outcome) = broken(socket)
        {
            return Submitted::Done(outcome);
        }
        note.watch = Some((key, socket));
        if self.source(socket).ended {
            self.tell_end(key);
        }
        Submitted::Pending
    }

    /// Ends the watches of the sources that broke.
    pub(super) fn end_watches(&mut self) {
        while let Some(source) = self.watches.ended.pop() {
            if let Some((key, _)) = self.watches.note(source).watch {
                self.tell_end(key);
            }
        }
        while let Some(source) = self.watches.broken.pop() {
            let note = self.watches.note(source);
            note.broken = true;
            if let Some((key, socket)) = note.watch
                && let Some(outcome) = broken(socket)
            {
                note.watch = None;
                self.immediate.push_back(Completion { key, outcome, more: false });
            }
        }
    }

    /// The peer has sent FIN. A reset may follow, so the watch stays.
    fn tell_end(&mut self, key: OpKey) {
        self.immediate.push_back(Completion { key, outcome: Outcome::EndOfStream, more: true });
    }

    pub(super) fn cancel_watch(&mut self, key: OpKey, socket: Handle) {
        // Otherwise it was cancelled before, or its completion was queued already.
        if self.watches.note(socket.source).watch.take_if(|(waiting, _)| *waiting == key).is_some() {
            self.immediate.push_back(Completion { key, outcome: Outcome::Cancelled, more: false });
        }
    }
}

fn broken(socket: Handle) -> Option<Outcome<Socket>> {
    // SAFETY: a watch is in flight, or being submitted, and its connection keeps the socket open for as long (INV-2).
    unsafe { socket::broken(socket.fd) }
}
