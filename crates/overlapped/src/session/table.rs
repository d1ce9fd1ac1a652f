//! All sessions of a worker, found by their connection's key. Parallel to the driver's slots, so it needs no free list.

use proactor::ConnectionKey;

use super::SessionState;

pub(crate) struct Table {
    sessions: Vec<Option<SessionState>>,
    live: usize,
}

impl Default for Table {
    /// With address space for some thousands of sessions: memory is used as they come, and growing leaves none behind.
    fn default() -> Self {
        Table { sessions: Vec::with_capacity(proactor::CONNECTIONS), live: 0 }
    }
}

impl Table {
    pub(crate) fn len(&self) -> usize {
        self.live
    }

    pub(crate) fn insert(&mut self, state: SessionState) {
        let key = state.key;
        if self.sessions.len() <= key.index() {
            self.sessions.resize_with(key.index() + 1, || None);
        }
        let before = self.sessions[key.index()].replace(state);
        assert!(before.is_none(), "INV-2: a session ends before its slot is used again");
        self.live += 1;
    }

    #[inline]
    pub(crate) fn prefetch(&self, index: usize) {
        proactor::prefetch(&self.sessions, index);
    }

    #[inline]
    pub(crate) fn get(&self, key: ConnectionKey) -> Option<&SessionState> {
        match self.sessions.get(key.index()) {
            Some(Some(state)) if state.key == key => Some(state),
            _ => None,
        }
    }

    /// Slots that were ever used.
    pub(crate) fn slots(&self) -> usize {
        self.sessions.len()
    }

    /// The session that lives in a slot now.
    pub(crate) fn get_at(&self, slot: usize) -> Option<&SessionState> {
        self.sessions.get(slot)?.as_ref()
    }

    /// The same.
    pub(crate) fn at(&mut self, slot: usize) -> Option<&mut SessionState> {
        self.sessions.get_mut(slot)?.as_mut()
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, key: ConnectionKey) -> Option<&mut SessionState> {
        match self.sessions.get_mut(key.index()) {
            Some(Some(state)) if state.key == key => Some(state),
            _ => None,
        }
    }

    pub(crate) fn remove(&mut self, key: ConnectionKey) -> Option<SessionState> {
        self.get(key)?;
        self.live -= 1;
        self.sessions[key.index()].take()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (ConnectionKey, &SessionState)> {
        self.sessions.iter().flatten().map(|state| (state.key, state))
    }

    pub(crate) fn keys(&self) -> Vec<ConnectionKey> {
        self.iter().map(|(key, _)| key).collect()
    }
}
