//! Counters and gauges: each worker keeps its own and publishes them once per turn; a reader adds them up.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::Event;
use crate::session::CloseReason;

macro_rules! stats {
    (
        counters { $($(#[$counter_doc:meta])* $counter:ident,)* }
        gauges { $($(#[$gauge_doc:meta])* $gauge:ident,)* }
    ) => {
        /// What a server has done since its start, and what it holds now, added up over its workers. The numbers of one
        /// worker are from one moment; those of different workers may be a turn apart.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Stats {
            $($(#[$counter_doc])* pub $counter: u64,)*
            $($(#[$gauge_doc])* pub $gauge: u64,)*
        }

        /// What one worker has counted since its start. They only grow.
        #[derive(Default)]
        pub(crate) struct Counters {
            $(pub(crate) $counter: u64,)*
        }

        /// What one worker holds now.
        pub(crate) struct Gauges {
            $(pub(crate) $gauge: u64,)*
        }

        /// One worker's published numbers.
        #[derive(Default)]
        pub(crate) struct Published {
            $($counter: AtomicU64,)*
            $($gauge: AtomicU64,)*
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
            }

            /// Adds what was published last to `sum`.
            pub(crate) fn add_to(&self, sum: &mut Stats) {
                $(sum.$counter += self.$counter.load(Relaxed);)*
                $(sum.$gauge += self.$gauge.load(Relaxed);)*
                sum.posts_refused += self.refused_posts.load(Relaxed);
                sum.observer_panics += self.failed_observations.load(Relaxed);
            }
        }
    };
}

stats! {
    counters {
        /// Sessions opened since the start.
        sessions_opened,
        /// Sessions closed since the start.
        sessions_closed,
        /// Connections turned away, because a limit was reached or the handler refused them.
        sessions_rejected,
        /// Sessions whose peer reset the connection.
        sessions_reset,
        /// Sessions aborted because a handler panicked.
        sessions_panicked,
        /// Panics of handlers, in any callback, and in destructors of their sessions' states and messages.
        panics,
        /// Panics of the observer.
        observer_panics,
        /// Sessions closed because more was queued for them than the hard limit.
        sessions_overflowed,
        /// Sessions closed by an idle, first-byte or write timeout or their own deadline, or because the peer's system stopped
        /// answering.
        sessions_timed_out,
        /// Sessions closed because they sent an invalid frame, or one that was too long.
        sessions_misframed,
        /// Outbound connections that failed.
        connects_failed,
        /// How often accepting paused because the system was short of descriptors or memory.
        accept_pauses,
        /// Receives and sends delayed because the system had no memory for them.
        delays,
        /// Ticks that were skipped: a worker was blocked for more than 8 of them, or the period is below 4 ms.
        ticks_skipped,
        /// Bytes received.
        bytes_received,
        /// Bytes sent: bytes of payloads that the kernel has accepted completely.
        bytes_sent,
        /// Bytes that arrived after a session had begun to close, and were discarded.
        bytes_discarded,
        /// Bytes of sessions that were cut at a drain's deadline: bytes that were queued for them, and received bytes
        /// that were not answered.
        bytes_lost,
        /// Answers that sessions [owed](crate::Session::owe) when a drain's deadline cut them.
        answers_owed,
        /// Bytes that were queued for sessions that ended for another reason: reset, abort, timeout.
        bytes_dropped,
        /// Messages and commands refused because a mailbox or a session's queue was full.
        posts_refused,
        /// Sessions that a drain closed with everything delivered.
        drained,
        /// Sessions that were cut when the drain's deadline came.
        cut,
        /// Turns of the workers' loops.
        turns,
    }
    gauges {
        /// Now: sessions open.
        sessions,
        /// Now: operations the kernel has.
        in_flight,
        /// Now: blocks held by operations, queues and handlers.
        blocks_in_use,
        /// Now: sessions whose receive waits for a block.
        starved,
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
            Event::ConnectFailed { .. } => self.connects_failed += 1,
            Event::PostRefused => self.posts_refused += 1,
            Event::Panicked { .. } => self.panics += 1,
            Event::Draining { .. } | Event::AddressSkipped { .. } | Event::Operation { .. } => {}
        }
    }
}
