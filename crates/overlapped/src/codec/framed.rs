//! The unread bytes of one session, and their decoder.

use proactor::{AlignedBuf, Lease, Payload};

use super::{Decoder, Encoder, Input};
use crate::context::Session;
use crate::session::{CloseReason, Sent};

/// How much of a block is copied at first to complete an unfinished item; then twice as much, and so on.
const FIRST_STEP: usize = 256;

/// The items of a session's stream. A handler keeps one in the state of each session:
///
/// ```no_run
/// use overlapped::{Framed, Handler, Lease, Lines, Server, Session};
///
/// struct Shout;
///
/// impl Handler for Shout {
///     type State = Framed<Lines>;
///     type Message = ();
///
///     fn on_open(&mut self, _session: &mut Session<'_, Framed<Lines>>) -> Framed<Lines> {
///         Framed::new(Lines::up_to(4096))
///     }
///
///     fn on_data(&mut self, session: &mut Session<'_, Framed<Lines>>, lines: &mut Framed<Lines>, data: Lease) {
///         lines.push(data);
///         while let Some(line) = lines.next(session) {
///             match line {
///                 Ok(line) => session.send(line.as_slice().to_ascii_uppercase()),
///                 Err(error) => session.send(format!("{error}\n")),
///             };
///         }
///     }
/// }
///
/// fn main() -> overlapped::Result<()> {
///     Server::bind("127.0.0.1:9999")?.run(|_worker| Shout)
/// }
/// ```
#[derive(Debug)]
pub struct Framed<D> {
    decoder: D,
    /// The rest of the block that arrived last. Its bytes follow those of `unfinished`.
    block: Option<Lease>,
    /// Bytes of earlier blocks.
    unfinished: AlignedBuf,
    /// How much of `unfinished` was searched: a long line is not searched from its beginning each time.
    searched: usize,
    /// How many bytes the next item needs, as the decoder says; 0 if it does not.
    needed: usize,
    /// True exactly when `unfinished` may contain a whole item: the decoder has not seen all of it.
    unseen: bool,
    /// True exactly when the decoder has returned an error.
    failed: bool,
}

impl<D> Framed<D> {
    /// A stream that nothing was received of.
    pub fn new(decoder: D) -> Framed<D> {
        let unfinished = AlignedBuf::default();
        Framed { decoder, block: None, unfinished, searched: 0, needed: 0, unseen: false, failed: false }
    }

    /// The decoder.
    #[must_use]
    pub fn decoder(&self) -> &D {
        &self.decoder
    }

    /// The decoder, to change it. Bytes that are unread are decoded by the changed one.
    pub fn decoder_mut(&mut self) -> &mut D {
        self.look_again();
        &mut self.decoder
    }

    /// Switches to another decoder: it gets the bytes that are unread.
    pub fn switch<E>(mut self, decoder: E) -> Framed<E> {
        self.look_again();
        let Framed { block, unfinished, searched, needed, unseen, failed, .. } = self;
        Framed { decoder, block, unfinished, searched, needed, unseen, failed }
    }

    fn look_again(&mut self) {
        (self.searched, self.needed) = (0, 0);
        self.unseen = !self.unfinished.is_empty();
    }

    /// How many bytes were received and are not part of an item yet. At the end of a stream, if this is not 0, the last
    /// item is not complete.
    #[must_use]
    pub fn unread(&self) -> usize {
        self.unfinished.len() + self.block.as_ref().map_or(0, Lease::len)
    }

    /// Removes all unread bytes and returns them, to relay them for instance.
    pub fn take_unread(&mut self) -> Payload {
        (self.searched, self.needed, self.unseen) = (0, 0, false);
        match self.block.take() {
            Some(block) if self.unfinished.is_empty() => return Payload::Lease(block),
            Some(block) => self.unfinished.extend_from_slice(&block),
            None => {}
        }
        Payload::Aligned(std::mem::take(&mut self.unfinished))
    }

    /// Adds bytes that were received. Then call [`next`](Self::next) until it returns `None`.
    pub fn push(&mut self, data: Lease) {
        // Only a handler that does not read every item leaves a block here.
        if let Some(block) = self.block.replace(data)
            && !block.is_empty()
        {
            self.unfinished.extend_from_slice(&block);
            self.unseen = true;
        }
    }

    fn discard(&mut self) {
        self.block = None;
        self.unfinished = AlignedBuf::default();
        self.unseen = false;
    }
}

impl<D: Decoder> Framed<D> {
    /// The next item. `None`: wait for the next [`on_data`](crate::Handler::on_data). While the session is
    /// [paused](Session::pause), or while its unsent bytes exceed the high-water mark, its items wait: this returns
    /// `None`, and `on_data` follows when it may go on.
    ///
    /// After an error, the next call closes the session gracefully, with
    /// [`CloseReason::BadFrame`](crate::CloseReason::BadFrame): nobody knows where the next item of that stream begins. So
    /// a loop `while let Some(item) = framed.next(session)` can still send an answer to the error.
    ///
    /// # Panics
    /// If the decoder returns an item and has removed no byte.
    pub fn next<S>(&mut self, session: &mut Session<'_, S>) -> Option<Result<D::Item, D::Error>> {
        if self.failed {
            self.discard();
            session.close_for(CloseReason::BadFrame);
            return None;
        }
        if !session.may_go_on() {
            self.wait(session);
            return None;
        }
        let item = self.decode();
        if let Some(Err(_)) = &item {
            self.failed = true;
        }
        item
    }

    /// Gives the unread rest of the block back: `on_data` is called with it again.
    #[cold]
    fn wait<S>(&mut self, session: &mut Session<'_, S>) {
        if let Some(block) = self.block.take() {
            session.put_back(block);
        }
    }

    /// Sends an item.
    ///
    /// # Errors
    /// As the encoder says. Nothing was queued.
    pub fn send<S, T>(
        &mut self,
        session: &mut Session<'_, S>,
        item: T,
    ) -> Result<Sent, <D as Encoder<T>>::Error>
    where
        D: Encoder<T>,
    {
        session.try_send_with(|out| self.decoder.encode(item, out))
    }

    /// The next item of the bytes that were pushed.
    pub(super) fn decode(&mut self) -> Option<Result<D::Item, D::Error>> {
        loop {
            let result = if self.unfinished.is_empty() { self.decode_block()? } else { self.assemble()? };
            if let Some(result) = result.transpose() {
                return Some(result);
            }
        }
    }

    /// The first item of the block. `None`: nothing is left of it. `Ok(None)`: bytes were removed, but no item is complete.
    fn decode_block(&mut self) -> Option<Result<Option<D::Item>, D::Error>> {
        let block = self.block.as_mut().filter(|block| !block.is_empty());
        let Some(block) = block else {
            self.block = None;
            return None;
        };
        let mut input = Input::of_block(block);
        let result = self.decoder.decode(&mut input);
        let (consumed, needed) = input.outcome();
        check_progress(&result, consumed);
        if consumed == 0 && matches!(result, Ok(None)) {
            (self.searched, self.needed) = (block.len(), needed);
            self.unfinished = AlignedBuf::with_capacity(block.len().max(needed.min(MOST_RESERVED)));
            self.unfinished.extend_from_slice(block);
            self.block = None;
            return None;
        }
        Some(result)
    }

    /// The first item of `unfinished` and as much of the block as completes it. Results as of [`Self::decode_block`].
    fn assemble(&mut self) -> Option<Result<Option<D::Item>, D::Error>> {
        let before = self.unfinished.len();
        let (mut copied, mut step) = (0, FIRST_STEP);
        loop {
            if !std::mem::take(&mut self.unseen) {
                let rest = self.block.as_ref().map_or(&[][..], |block| &block[copied..]);
                if rest.is_empty() {
                    self.block = None;
                    return None;
                }
                let missing = self.needed.saturating_sub(self.unfinished.len());
                let more = &rest[..rest.len().min(if missing > 0 { missing } else { step })];
                self.unfinished.extend_from_slice(more);
                copied += more.len();
                step *= 2;
                if self.unfinished.len() < self.needed {
                    continue;
                }
            }
            let seen = self.unfinished.len();
            let mut input = Input::assembled(&mut self.unfinished, self.searched);
            let result = self.decoder.decode(&mut input);
            let (consumed, needed) = input.outcome();
            check_progress(&result, consumed);
            self.needed = needed;
            if consumed > 0 {
                self.drop_front(consumed, before);
                return Some(result);
            }
            if !matches!(result, Ok(None)) {
                return Some(result);
            }
            self.searched = seen;
        }
    }

    /// `consumed` bytes of `unfinished` were removed by the decoder. Its first `before` bytes are not in the block; those
    /// after them were copied from there.
    fn drop_front(&mut self, consumed: usize, before: usize) {
        self.searched = 0;
        if let Some(beyond) = consumed.checked_sub(before) {
            if let Some(block) = &mut self.block {
                block.advance(beyond);
            }
            // An idle session keeps no memory for an earlier item.
            self.unfinished = AlignedBuf::default();
        } else {
            self.unfinished.truncate(before);
            self.unfinished.remove_front(consumed);
            self.unseen = true;
        }
    }
}

/// What is allocated at once for an item that says how long it is; more only as its bytes arrive.
const MOST_RESERVED: usize = 64 * 1024;

fn check_progress<T, E>(result: &Result<Option<T>, E>, consumed: usize) {
    let stuck = consumed == 0 && matches!(result, Ok(Some(_)));
    assert!(!stuck, "a decoder returned an item without removing a byte: it would do so for ever");
}

#[cfg(test)]
mod tests;
