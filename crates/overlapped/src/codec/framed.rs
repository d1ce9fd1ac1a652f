//! The unread bytes of one session, and their decoder.

use std::time::Duration;

use proactor::{AlignedBuf, Lease, Payload, Time};

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
    /// Bytes of the unfinished item that the decoder has removed.
    removed: usize,
    pace: Pace,
}

/// How long an item may take to arrive.
#[derive(Clone, Copy, Debug, Default)]
struct Pace {
    timeout: Option<Duration>,
    /// Bytes per second for which the timeout is extended; 0 if it is not.
    least_rate: u32,
    /// When the unfinished item began to arrive, if the timeout is set.
    begun_at: Option<Time>,
}

impl<D> Framed<D> {
    /// A stream that nothing was received of.
    pub fn new(decoder: D) -> Framed<D> {
        Framed {
            decoder,
            block: None,
            unfinished: AlignedBuf::default(),
            searched: 0,
            needed: 0,
            unseen: false,
            failed: false,
            removed: 0,
            pace: Pace::default(),
        }
    }

    /// How long an item may take to arrive, from its first byte on. After that, the session is closed gracefully, with
    /// [`CloseReason::ItemTimeout`](crate::CloseReason::ItemTimeout). It ends the session of a peer that sends a byte now
    /// and then, which no idle timeout does. The time during which the session is paused, by its handler or because too
    /// much is unsent, does not count: the timeout begins again after that. Default: no limit.
    #[must_use]
    pub fn timeout(mut self, limit: impl Into<Option<Duration>>) -> Framed<D> {
        self.pace.timeout = limit.into();
        self
    }

    /// Extends the [timeout](Self::timeout) of a large item by one second for each `bytes_per_second` bytes of it that
    /// have arrived: the least rate at which a peer has to send. Default: it is not extended.
    #[must_use]
    pub fn least_rate(mut self, bytes_per_second: u32) -> Framed<D> {
        self.pace.least_rate = bytes_per_second;
        self
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
        let Framed { decoder: _, block, unfinished, searched, needed, unseen, failed, removed, pace } = self;
        Framed { decoder, block, unfinished, searched, needed, unseen, failed, removed, pace }
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

    /// Removes all unread bytes and returns them, to relay them for instance. They may be a part of a received block: send
    /// them at once, or copy them if they have to wait, because a block that is kept is missing in the worker's pool.
    /// What follows is no item of this decoder: its [timeout](Self::timeout) ends.
    pub fn take_unread<S>(&mut self, session: &mut Session<'_, S>) -> Payload {
        self.forget_pace(session);
        self.removed = 0;
        self.unread_bytes()
    }

    fn forget_pace<S>(&mut self, session: &mut Session<'_, S>) {
        if self.pace.begun_at.take().is_some() {
            session.limit_item(Time::ZERO, None);
        }
    }

    pub(super) fn unread_bytes(&mut self) -> Payload {
        (self.searched, self.needed, self.unseen) = (0, 0, false);
        match self.block.take() {
            Some(block) if self.unfinished.is_empty() => return Payload::Lease(block),
            Some(block) => self.unfinished.extend_from_slice(&block),
            None => {}
        }
        Payload::Aligned(std::mem::take(&mut self.unfinished))
    }

    /// Adds bytes that were received. Then call [`next`](Self::next) until it returns `None`: items that were not read by
    /// then wait for the next `push`, and no callback announces them.
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
    /// The next item. `None`: wait for the next [`on_data`](crate::Handler::on_data).
    ///
    /// While the session is [paused](Session::pause), or while its unsent bytes exceed the high-water mark, its items
    /// wait: this returns `None`, and `on_data` follows when it may go on, with the bytes that waited. So to stop in the
    /// middle, pause the session and call this once more. Once the session is closing, this returns `None`, and what is
    /// unread is dropped.
    ///
    /// After an error, the next call closes the session gracefully, with
    /// [`CloseReason::BadFrame`](crate::CloseReason::BadFrame): nobody knows where the next item of that stream begins. So
    /// a loop `while let Some(item) = framed.next(session)` can still send an answer to the error. Answers to earlier items
    /// that the session still [owes](Session::owe) are not waited for: where they matter, leave the loop at the error and
    /// call [`close_when_answered`](Session::close_when_answered).
    ///
    /// # Panics
    /// If the decoder returns an item and has removed no byte.
    pub fn next<S>(&mut self, session: &mut Session<'_, S>) -> Option<Result<D::Item, D::Error>> {
        if self.failed {
            self.discard();
            if !session.closes_when_answered() {
                session.close_for(CloseReason::BadFrame);
            }
            return None;
        }
        if !session.may_go_on() {
            self.wait(session);
            return None;
        }
        let item = self.decode();
        if self.pace.timeout.is_some() {
            self.keep_pace(session, item.is_some());
        }
        if let Some(Err(_)) = &item {
            self.failed = true;
        }
        item
    }

    /// Sets, extends or removes the time limit of the unfinished item.
    #[cold]
    fn keep_pace<S>(&mut self, session: &mut Session<'_, S>, is_complete: bool) {
        let bytes = self.removed + self.unfinished.len();
        if is_complete || bytes == 0 {
            // What follows is another item, whose time begins when the handler has waited for the rest of it.
            return self.forget_pace(session);
        }
        let Pace { timeout, least_rate, begun_at } = &mut self.pace;
        let begun_at = *begun_at.get_or_insert(session.core.now);
        let earned =
            (bytes as u64).checked_div(u64::from(*least_rate)).map_or(Duration::ZERO, Duration::from_secs);
        session.limit_item(begun_at, timeout.map(|timeout| timeout.saturating_add(earned)));
    }

    /// Gives the unread rest of the block back: `on_data` is called with it again.
    #[cold]
    fn wait<S>(&mut self, session: &mut Session<'_, S>) {
        self.forget_pace(session);
        if self.unseen {
            // Another decoder has not seen them: they wait with the block.
            let bytes = self.unread_bytes();
            session.put_back(Lease::copy_of(bytes.as_slice()));
        } else if let Some(block) = self.block.take() {
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
                self.removed = 0;
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
        self.removed += consumed;
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
            self.removed += consumed;
            if consumed > 0 {
                self.drop_front(consumed, before);
                return Some(result);
            }
            if result.is_err() {
                // What was copied is in the block, too.
                self.unfinished.truncate(before);
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
