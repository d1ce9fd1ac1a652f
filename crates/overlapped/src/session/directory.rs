//! Sessions that are reached by id from other threads.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, PoisonError};

use proactor::ConnectionKey;

use super::HandleState;
use crate::sync::{Mutex, MutexGuard};

/// What the sessions of one worker share with their handles, by session: each session has at most one, also if two threads ask for it at the same time.
/// A session that never had a handle is not in it. It is locked when a session gets its first handle and when that session
/// ends, never for a message.
#[derive(Default)]
pub(crate) struct Directory {
    states: Mutex<HashMap<ConnectionKey, Arc<HandleState>>>,
}

impl Directory {
    fn lock(&self) -> MutexGuard<'_, HashMap<ConnectionKey, Arc<HandleState>>> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a session shares with its handles, and whether it is new: then the worker has to attach it, or to find that the
    /// session has ended.
    pub(crate) fn find(&self, session: ConnectionKey) -> (Arc<HandleState>, bool) {
        match self.lock().entry(session) {
            Entry::Occupied(known) => (Arc::clone(known.get()), false),
            Entry::Vacant(unknown) => (Arc::clone(unknown.insert(Arc::new(HandleState::new()))), true),
        }
    }

    /// The session has ended.
    pub(crate) fn remove(&self, session: ConnectionKey) -> Option<Arc<HandleState>> {
        self.lock().remove(&session)
    }

    /// How many sessions are in it.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }
}
