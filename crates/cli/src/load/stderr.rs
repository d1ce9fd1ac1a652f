//! stderr of `load`: progress, notes and errors. Nothing waits for its reader for longer than a second: a terminal that is
//! suspended or that is not read changes neither when a run ends nor what it measures.

use std::sync::OnceLock;

use crate::log::Notes;
use crate::output::give_notes_to;

static NOTES: OnceLock<Notes> = OnceLock::new();

/// From now on [`note`](crate::output::note) does not wait. Without a thread for it, notes are written as before.
pub(super) fn open() {
    let Ok(notes) = Notes::open() else { return };
    let (taking, panicking) = (notes.clone(), notes.clone());
    if NOTES.set(notes).is_ok() {
        give_notes_to(move |line| taking.note(line));
        std::panic::set_hook(Box::new(move |panic| panicking.panicked(panic)));
    }
}

/// Waits until the notes are written: what comes after them may go to the same terminal.
pub(super) fn flush() {
    NOTES.get().into_iter().for_each(Notes::flush);
}

/// The same for a process that ends now.
pub(super) fn flush_in_haste() {
    NOTES.get().into_iter().for_each(Notes::flush_in_haste);
}
