//! Counters and gauges: each worker keeps its own and publishes them once per turn; a reader adds them up.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::Event;
use crate::session::CloseReason;

/// What a number in [`Stats`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MetricKind {
    /// It only grows.
    Counter,
    /// It is what there is now.
    Gauge,
    /// It is the greatest value of the last 10 to 20 s in which the worker ran. Exported as a gauge; of several workers the
    /// greatest counts.
    Maximum,
}

/// A number in [`Stats`], described for those who export it. [`Stats::METRICS`] lists all of them.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Metric {
    /// In snake case, with the unit at its end if there is one, and without a prefix of the program or a suffix of the
    /// kind: `sessions_opened`, `received_bytes`. It stays the same in later versions.
    pub name: &'static str,
    /// What it is.
    pub kind: MetricKind,
    /// The unit in which it is exported: `bytes`, `seconds`. `None` for what is counted.
    pub unit: Option<&'static str>,
    /// Some sentences about it, without the unit of the number in `Stats`.
    pub help: &'static str,
    /// What one of the unit is in the number of `Stats`: 1, or 1,000,000,000 for seconds that are kept as ns.
    pub per_unit: u64,
    value: fn(&Stats) -> u64,
}

impl Metric {
    /// Its value in `stats`, to be divided by [`per_unit`](Self::per_unit).
    #[must_use]
    pub fn of(&self, stats: &Stats) -> u64 {
        (self.value)(stats)
    }
}

/// The text without its beginning `In ns: `: numbers are exported in another unit.
const fn without_unit(text: &'static str) -> &'static str {
    const UNIT: &[u8] = b" In ns: ";
    let (bytes, mut at) = (text.as_bytes(), 0);
    while at < UNIT.len() {
        if at == bytes.len() || bytes[at] != UNIT[at] {
            return text;
        }
        at += 1;
    }
    text.split_at(UNIT.len()).1
}

/// The exported name, unit, and factor of a number.
macro_rules! unit {
    () => {
        (None, 1)
    };
    (bytes) => {
        (Some("bytes"), 1)
    };
    (seconds) => {
        (Some("seconds"), 1_000_000_000)
    };
}

macro_rules! metric {
    ($kind:ident, $field:ident, $name:literal, [$($unit:ident)?], $($doc:literal)+) => {{
        const UNIT: (Option<&'static str>, u64) = unit!($($unit)?);
        Metric {
            name: $name,
            kind: MetricKind::$kind,
            unit: UNIT.0,
            help: without_unit(concat!($($doc),+)).trim_ascii(),
            per_unit: UNIT.1,
            value: |stats| stats.$field,
        }
    }};
}

/// Each number has its documentation, which is also the text that it is exported with, its field, its exported name, and
/// the unit of that name.
macro_rules! stats {
    (
        counters { $($(#[doc = $counter_doc:literal])+ $counter:ident = $counter_name:literal $($counter_unit:ident)?,)* }
        gauges { $($(#[doc = $gauge_doc:literal])+ $gauge:ident = $gauge_name:literal $($gauge_unit:ident)?,)* }
        maxima { $($(#[doc = $maximum_doc:literal])+ $maximum:ident = $maximum_name:literal $($maximum_unit:ident)?,)* }
    ) => {
        /// What a server has done since its start, and what it holds now, added up over its workers. The numbers of one
        /// worker are from one moment; those of different workers may be a turn apart.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Stats {
            $($(#[doc = $counter_doc])+ pub $counter: u64,)*
            $($(#[doc = $gauge_doc])+ pub $gauge: u64,)*
            $($(#[doc = $maximum_doc])+ pub $maximum: u64,)*
        }

        impl Stats {
            /// Every number, described: counters, then gauges, then maxima.
            pub const METRICS: &'static [Metric] = &[
                $(metric!(Counter, $counter, $counter_name, [$($counter_unit)?], $($counter_doc)+),)*
                $(metric!(Gauge, $gauge, $gauge_name, [$($gauge_unit)?], $($gauge_doc)+),)*
                $(metric!(Maximum, $maximum, $maximum_name, [$($maximum_unit)?], $($maximum_doc)+),)*
            ];
        }

        /// What one worker has counted since its start. They only grow.
        #[derive(Default)]
        pub(crate) struct Counters {
            $(pub(crate) $counter: u64,)*
        }

        /// What one worker holds now, and its maxima.
        pub(crate) struct Gauges {
            $(pub(crate) $gauge: u64,)*
            $(pub(crate) $maximum: u64,)*
        }

        /// One worker's published numbers.
        #[derive(Default)]
        pub(crate) struct Published {
            $($counter: AtomicU64,)*
            $($gauge: AtomicU64,)*
            $($maximum: AtomicU64,)*
            /// Posts refused on the posting threads.
            refused_posts: AtomicU64,
            /// Panics of the observer: the driver calls it too, while the worker's own counters are borrowed.
            failed_observations: AtomicU64,
        }

        impl Published {
            /// Stores a worker's numbers. Only that worker calls this.
            pub(crate) fn publish(&self, counters: &Counters, gauges: &Gauges) {
                $(self.$counter.store(counters.$counter, Relaxed);)*
                $(self.$gauge.store(gauges.$gauge, Relaxed);)*
                $(self.$maximum.store(gauges.$maximum, Relaxed);)*
            }

            /// Adds what was published last to `sum`.
            pub(crate) fn add_to(&self, sum: &mut Stats) {
                $(sum.$counter += self.$counter.load(Relaxed);)*
                $(sum.$gauge += self.$gauge.load(Relaxed);)*
                $(sum.$maximum = sum.$maximum.max(self.$maximum.load(Relaxed));)*
                sum.posts_refused += self.refused_posts.load(Relaxed);
                sum.observer_panics += self.failed_observations.load(Relaxed);
            }
        }
    };
}

stats! {
    counters {
        /// Sessions opened since the start.
        sessions_opened = "sessions_opened",
        /// Sessions closed since the start.
        sessions_closed = "sessions_closed",
        /// Connections turned away, because a limit was reached or the handler refused them.
        sessions_rejected = "sessions_rejected",
        /// Sessions whose peer reset the connection.
        sessions_reset = "sessions_reset",
        /// Sessions aborted because a handler panicked.
        sessions_panicked = "sessions_panicked",
        /// Panics of handlers, in any callback, and in destructors of their sessions' states and messages.
        panics = "handler_panics",
        /// Panics of the observer.
        observer_panics = "observer_panics",
        /// Sessions closed because more was queued for them than the hard limit.
        sessions_overflowed = "sessions_overflowed",
        /// Sessions closed by an idle, first-byte or write timeout or their own deadline, or because the peer's system stopped
        /// answering.
        sessions_timed_out = "sessions_timed_out",
        /// Sessions closed because they sent an invalid frame, or one that was too long.
        sessions_misframed = "sessions_misframed",
        /// Outbound connections that failed.
        connects_failed = "connects_failed",
        /// How often accepting paused because the system was short of descriptors or memory.
        accept_pauses = "accept_pauses",
        /// Receives and sends delayed because the system had no memory for them.
        delays = "operations_delayed",
        /// Callbacks that took longer than they may (25 ms by default).
        slow_callbacks = "slow_callbacks",
        /// Ticks that were skipped: a worker was blocked for more than 8 of them, or the period is below 4 ms.
        ticks_skipped = "ticks_skipped",
        /// Bytes received.
        bytes_received = "received_bytes" bytes,
        /// Bytes sent: bytes of payloads that the kernel has accepted completely.
        bytes_sent = "sent_bytes" bytes,
        /// Bytes that arrived after a session had begun to close, and were discarded.
        bytes_discarded = "discarded_bytes" bytes,
        /// Bytes of sessions that were cut at a drain's deadline: bytes that were queued for them, and received bytes
        /// that were not answered.
        bytes_lost = "lost_bytes" bytes,
        /// Answers that sessions owed when a drain's deadline cut them.
        answers_owed = "answers_owed",
        /// Bytes that were queued for sessions that ended for another reason: reset, abort, timeout.
        bytes_dropped = "dropped_bytes" bytes,
        /// Messages and commands refused because a mailbox or a session's queue was full.
        posts_refused = "posts_refused",
        /// Sessions that a drain closed with everything delivered.
        drained = "sessions_drained",
        /// Sessions that were cut when the drain's deadline came.
        cut = "sessions_cut",
        /// Turns of the workers' loops.
        turns = "turns",
        /// In ns: The time that the turns took, from the end of a wait for completions to the beginning of the next. What
        /// the system does in that call, where it also submits, is not in it.
        turn_ns = "turn_seconds" seconds,
    }
    gauges {
        /// Sessions that are open now.
        sessions = "sessions",
        /// Operations that the kernel has now.
        in_flight = "operations_in_flight",
        /// Blocks that operations, queues and handlers hold now.
        blocks_in_use = "blocks_in_use",
        /// Sessions whose receive waits for a block now.
        starved = "sessions_starved",
        /// Sessions whose unsent bytes have reached the high-water mark, and not fallen to the low-water mark since: their
        /// peers read too slowly. Until then their own receive, or that of the session that feeds them, is paused. Sessions
        /// that close do not count.
        full = "sessions_full",
    }
    maxima {
        /// In ns: The longest turn of the last 10 to 20 s in which the worker ran. All sessions of the worker waited for so
        /// long. Stays as it is while the worker has no turn at all.
        longest_turn_ns = "longest_turn_seconds" seconds,
        /// In ns: The longest of the slow callbacks of the last 10 to 20 s in which the worker ran. 0 if there was none.
        longest_callback_ns = "longest_callback_seconds" seconds,
    }
}

impl Published {
    /// Counts a post that was refused, on the thread that posted.
    pub(crate) fn count_refused_post(&self) {
        self.refused_posts.fetch_add(1, Relaxed);
    }

    /// Counts a panic of the observer.
    pub(crate) fn count_observer_panic(&self) {
        self.failed_observations.fetch_add(1, Relaxed);
    }

    /// Counts a panic in the destructor of a handler, after its worker has published for the last time.
    pub(crate) fn count_last_panic(&self) {
        self.panics.fetch_add(1, Relaxed);
    }
}

impl Counters {
    /// Counts an event. Inlined: the kind is known at each call, so only one counter is left.
    #[inline(always)]
    pub(crate) fn count(&mut self, event: &Event<'_>) {
        match event {
            Event::Opened { .. } => self.sessions_opened += 1,
            Event::Closed { reason, .. } => {
                self.sessions_closed += 1;
                match reason {
                    CloseReason::Reset => self.sessions_reset += 1,
                    CloseReason::Panicked => self.sessions_panicked += 1,
                    CloseReason::Overflow => self.sessions_overflowed += 1,
                    CloseReason::BadFrame => self.sessions_misframed += 1,
                    CloseReason::Drained => self.drained += 1,
                    CloseReason::Cut => self.cut += 1,
                    CloseReason::IdleTimeout
                    | CloseReason::FirstByteTimeout
                    | CloseReason::WriteTimeout
                    | CloseReason::Deadline
                    | CloseReason::ItemTimeout
                    | CloseReason::PeerLost => {
                        self.sessions_timed_out += 1;
                    }
                    CloseReason::EndOfStream
                    | CloseReason::Local
                    | CloseReason::ClosedWith(_)
                    | CloseReason::Aborted
                    | CloseReason::AbortedWith(_)
                    | CloseReason::Failed(_) => {}
                }
            }
            Event::Rejected { .. } => self.sessions_rejected += 1,
            Event::Received { bytes, .. } => self.bytes_received += *bytes as u64,
            Event::Sent { bytes, .. } => self.bytes_sent += *bytes as u64,
            Event::Discarded { bytes, .. } => self.bytes_discarded += *bytes as u64,
            Event::Lost { bytes, answers_owed, reason: CloseReason::Cut, .. } => {
                self.bytes_lost += *bytes as u64;
                self.answers_owed += *answers_owed as u64;
            }
            Event::Lost { bytes, .. } => self.bytes_dropped += *bytes as u64,
            Event::AcceptPaused { .. } => self.accept_pauses += 1,
            Event::Delayed { .. } => self.delays += 1,
            Event::SlowCallback { .. } => self.slow_callbacks += 1,
            Event::ConnectFailed { .. } => self.connects_failed += 1,
            Event::PostRefused => self.posts_refused += 1,
            Event::Panicked { .. } => self.panics += 1,
            Event::Draining { .. } | Event::AddressSkipped { .. } | Event::Operation { .. } => {}
        }
    }
}
