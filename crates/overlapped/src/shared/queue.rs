//! A queue into a worker, bounded (INV-6).

use std::collections::VecDeque;
use std::sync::PoisonError;

use crate::session::PostError;
use crate::sync::Mutex;

/// A bounded queue from many threads to one.
pub(crate) struct Queue<T> {
    items: Mutex<Option<VecDeque<T>>>,
    limit: usize,
}

impl<T> Queue<T> {
    pub(crate) fn new(limit: usize) -> Queue<T> {
        Queue { items: Mutex::new(Some(VecDeque::new())), limit }
    }

    /// # Errors
    /// With the item, so that it can be tried elsewhere.
    pub(crate) fn push(&self, item: T, limited: bool) -> Result<(), PostError<T>> {
        let mut items = self.items.lock().unwrap_or_else(PoisonError::into_inner);
        match items.as_mut() {
            None => Err(PostError::Stopped(item)),
            Some(items) if limited && items.len() >= self.limit => Err(PostError::Full(item)),
            Some(items) => {
                items.push_back(item);
                Ok(())
            }
        }
    }

    /// Whether a limited push would not find it full.
    pub(crate) fn has_room(&self) -> bool {
        let items = self.items.lock().unwrap_or_else(PoisonError::into_inner);
        items.as_ref().is_some_and(|items| items.len() < self.limit)
    }

    /// Swaps everything posted into `into`, which must be empty: the lock is held for a moment only.
    pub(crate) fn take_all(&self, into: &mut VecDeque<T>) {
        debug_assert!(into.is_empty());
        if let Some(items) = self.items.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            std::mem::swap(items, into);
        }
    }

    /// Takes the oldest item.
    pub(crate) fn pop(&self) -> Option<T> {
        self.items.lock().unwrap_or_else(PoisonError::into_inner).as_mut()?.pop_front()
    }

    /// Gives back what was popped last.
    ///
    /// # Errors
    /// The item itself, if the queue was closed meanwhile.
    pub(crate) fn unpop(&self, item: T) -> Result<(), T> {
        match self.items.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            Some(items) => {
                items.push_front(item);
                Ok(())
            }
            None => Err(item),
        }
    }

    /// How many items wait.
    pub(crate) fn len(&self) -> usize {
        self.items.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map_or(0, VecDeque::len)
    }

    /// Refuses everything from now on; returns what was left.
    pub(crate) fn close(&self) -> VecDeque<T> {
        self.items.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or_default()
    }
}
