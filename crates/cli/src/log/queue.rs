//! The bounded queue between threads that must not block and the one thread that writes to a stream or a file.
//!
//! A push copies its text under a lock and returns. It never waits for the writer, and the writer holds no lock while
//! it writes. Text that does not fit is dropped and counted; from then on everything is dropped until the writer takes
//! what waits, so each gap lies at the end of a batch. Text is counted in lines.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A writer that has something to write and has not moved for this long is stuck. With [`GRACE`] it is a second.
pub(crate) const STUCK: Duration = Duration::from_millis(900);

/// How long a flush waits for a writer that is stuck already: it may be about to go on.
pub(crate) const GRACE: Duration = Duration::from_millis(100);

/// Capacity that a buffer keeps once it was written.
const KEPT: usize = 64 * 1024;

pub(crate) struct Queue {
    /// Bytes that may wait. As many again may be in the writer's hands.
    limit: usize,
    /// The writer is woken when this number of bytes waits, or when somebody waits for them to be written.
    batch: usize,
    state: Mutex<State>,
    /// Something waits, or the queue has ended. Waited on by the writer.
    filled: Condvar,
    /// The writer has moved. Waited on by [`Queue::flush`].
    moved: Condvar,
    /// Set exactly while `State::dropped` is not 0: then a push need not format its text.
    full: AtomicBool,
    /// Set once `State::end` is not `Open`, for a push that would be ignored.
    ended: AtomicBool,
}

struct State {
    waiting: Vec<u8>,
    waiting_lines: u64,
    /// Lines dropped since the writer last took something.
    dropped: u64,
    /// Lines that were not written, and never will be.
    lost: u64,
    /// Lines that the writer has taken and not written yet.
    in_hand: u64,
    /// The writer has a batch. With `in_hand` 0 it writes about a gap.
    writing: bool,
    /// When the writer last moved, or was last given something when it had nothing to do.
    moved_at: Instant,
    end: End,
    writer_waits: bool,
    flushes: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Open,
    /// Nothing more is taken in; what waits is still written.
    Ended,
    /// Nobody reads any more: nothing is kept.
    Closed,
}

/// What a writer takes at once.
#[derive(Default)]
pub(crate) struct Batch {
    pub(crate) bytes: Vec<u8>,
    /// Lines that were dropped after these bytes.
    pub(crate) dropped: u64,
}

impl Queue {
    /// At most `limit` bytes wait. Each push is written at once.
    pub(crate) fn new(limit: usize) -> Queue {
        Queue::in_batches(limit, 1)
    }

    /// At most `limit` bytes wait. They are written when they are `batch` or more, at a flush, and at the end: an idle
    /// writer is not woken for each push.
    pub(crate) fn in_batches(limit: usize, batch: usize) -> Queue {
        let state = State {
            waiting: Vec::new(),
            waiting_lines: 0,
            dropped: 0,
            lost: 0,
            in_hand: 0,
            writing: false,
            moved_at: Instant::now(),
            end: End::Open,
            writer_waits: false,
            flushes: 0,
        };
        Queue {
            limit,
            batch,
            state: Mutex::new(state),
            filled: Condvar::new(),
            moved: Condvar::new(),
            full: AtomicBool::new(false),
            ended: AtomicBool::new(false),
        }
    }

    /// Queues what `format` appends to an empty buffer, or counts it as one dropped line. Never blocks on the writer.
    pub(crate) fn push(&self, format: impl FnOnce(&mut Vec<u8>)) {
        thread_local! {
            static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
        }
        if self.ended.load(Relaxed) {
            return;
        }
        if self.full.load(Relaxed) {
            let mut state = self.lock();
            if state.dropped > 0 && state.end == End::Open {
                state.drop_lines(1);
                return;
            }
        }
        let mut text = SCRATCH.take();
        text.clear();
        format(&mut text);
        let mut state = self.lock();
        if state.end == End::Open {
            if state.dropped > 0 || state.waiting.len() + text.len() > self.limit {
                state.drop_lines(lines(&text));
                self.full.store(true, Relaxed);
            } else {
                state.append(&text);
            }
            self.wake_writer(&mut state);
        }
        drop(state);
        SCRATCH.set(text);
    }

    /// Queues `text` whatever waits already: for the few lines that must not be dropped.
    pub(crate) fn push_always(&self, text: &[u8]) {
        let mut state = self.lock();
        if state.end == End::Open {
            state.append(text);
            self.wake_writer(&mut state);
        }
    }

    /// Queues `text` before all that waits.
    pub(crate) fn push_first(&self, text: &[u8]) {
        let mut state = self.lock();
        if state.end == End::Open {
            state.begins();
            state.waiting.splice(..0, text.iter().copied());
            state.waiting_lines += lines(text);
            self.wake_writer(&mut state);
        }
    }

    /// Queues `text` as the last there is; later pushes are ignored. The writer ends when all is written. Calls after
    /// the first do nothing.
    pub(crate) fn end_with(&self, text: &[u8]) {
        let mut state = self.lock();
        if state.end == End::Open {
            state.append(text);
            state.end = End::Ended;
            self.ended.store(true, Relaxed);
            self.wake_writer(&mut state);
        }
    }

    /// Waits until all that was queued is written. Gives up at `until`, or later if the writer is not [`STUCK`] by then:
    /// when it is, and at `at_most` in any case. Returns whether all is written.
    pub(crate) fn flush(&self, until: Instant, at_most: Instant) -> bool {
        let mut state = self.lock();
        state.flushes += 1;
        self.wake_writer(&mut state);
        let flushed = loop {
            if state.is_flushed() {
                break true;
            }
            let now = Instant::now();
            let until = until.max(state.moved_at + STUCK).min(at_most);
            if now >= until {
                break false;
            }
            let waited = self.moved.wait_timeout(state, until - now);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        };
        state.flushes -= 1;
        flushed
    }

    /// The same in haste: a writer that is stuck already is given [`GRACE`], another one until `end`.
    pub(crate) fn flush_in_haste(&self, end: Instant) -> bool {
        let grace = Instant::now() + GRACE;
        self.flush(grace, end.max(grace))
    }

    /// Lines that were dropped, plus those that are not written yet. 0 once nobody reads.
    pub(crate) fn unwritten(&self) -> u64 {
        let state = self.lock();
        match state.end {
            End::Closed => 0,
            _ => state.lost + state.waiting_lines + state.in_hand,
        }
    }

    /// For the writer: waits until there is something, and takes it. False when the queue has ended. The batch taken
    /// before is over: what was not reported as written is lost.
    pub(crate) fn take(&self, batch: &mut Batch) -> bool {
        batch.bytes.clear();
        batch.bytes.shrink_to(KEPT);
        let mut state = self.lock();
        state.lost += std::mem::take(&mut state.in_hand);
        state.writing = false;
        self.wake_flushes(&state);
        loop {
            if self.is_due(&state) {
                std::mem::swap(&mut batch.bytes, &mut state.waiting);
                batch.dropped = std::mem::take(&mut state.dropped);
                state.in_hand = std::mem::take(&mut state.waiting_lines);
                state.writing = true;
                self.full.store(false, Relaxed);
                return true;
            }
            if state.end != End::Open {
                return false;
            }
            state.writer_waits = true;
            state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// For the writer: this number of lines of the batch is written.
    pub(crate) fn wrote(&self, lines: u64) {
        let mut state = self.lock();
        state.in_hand = state.in_hand.saturating_sub(lines);
        state.moved_at = Instant::now();
        self.wake_flushes(&state);
    }

    /// For the writer: nobody reads any more. All that waits and all that comes is discarded at no cost.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.end = End::Closed;
        self.ended.store(true, Relaxed);
        state.waiting = Vec::new();
        (state.waiting_lines, state.dropped, state.in_hand, state.writing) = (0, 0, 0, false);
        self.wake_flushes(&state);
    }

    fn wake_writer(&self, state: &mut State) {
        // A system call, so only if it waits.
        if state.writer_waits && (self.is_due(state) || state.end != End::Open) {
            state.writer_waits = false;
            self.filled.notify_one();
        }
    }

    /// Whether the writer is to take what waits.
    fn is_due(&self, state: &State) -> bool {
        let now = state.waiting.len() >= self.batch || state.flushes > 0 || state.end != End::Open;
        state.dropped > 0 || (now && !state.waiting.is_empty())
    }

    fn wake_flushes(&self, state: &State) {
        if state.flushes > 0 {
            self.moved.notify_all();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn append(&mut self, text: &[u8]) {
        self.begins();
        self.waiting.extend_from_slice(text);
        self.waiting_lines += lines(text);
    }

    /// A writer with nothing to do gets something.
    fn begins(&mut self) {
        if self.is_flushed() {
            self.moved_at = Instant::now();
        }
    }

    fn drop_lines(&mut self, lines: u64) {
        self.dropped += lines;
        self.lost += lines;
    }

    fn is_flushed(&self) -> bool {
        self.waiting.is_empty() && self.dropped == 0 && !self.writing
    }
}

/// Line ends in `text`.
pub(crate) fn lines(text: &[u8]) -> u64 {
    text.iter().filter(|byte| **byte == b'\n').count() as u64
}
