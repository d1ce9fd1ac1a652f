//! Counters: each worker counts for itself and publishes once per turn; a reader adds them up.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What a server has done and holds, added up over its workers. Counters of one worker are of one
        /// moment; different workers' may be a turn apart.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Stats {
            $($(#[$doc])* pub $name: u64,)*
        }

        /// One worker's published counters.
        #[derive(Default)]
        pub(crate) struct Published {
            $($name: AtomicU64,)*
        }

        impl Published {
            /// Stores what the worker counted; it alone writes.
            pub(crate) fn publish(&self, stats: &Stats) {
                $(self.$name.store(stats.$name, Relaxed);)*
            }

            /// Counts a panic in a destructor of the handler itself, after all else of its worker is gone.
            pub(crate) fn count_last_panic(&self) {
                self.panics.fetch_add(1, Relaxed);
            }

            /// Adds what was published last to `sum`.
            pub(crate) fn add_to(&self, sum: &mut Stats) {
                $(sum.$name += self.$name.load(Relaxed);)*
            }
        }
    };
}

counters! {
    /// Sessions opened since the start.
    sessions_opened,
    /// Sessions closed since the start.
    sessions_closed,
    /// Connections turned away, because a limit was reached.
    sessions_rejected,
    /// Sessions whose peer reset the connection.
    sessions_reset,
    /// Sessions aborted because a handler panicked.
    sessions_panicked,
    /// Panics of handlers, in whatever callback, and of destructors of what they keep.
    panics,
    /// Panics of the observer.
    observer_panics,
    /// Sessions closed because more was queued for them than the hard limit.
    sessions_overflowed,
    /// Sessions closed by an idle, first-byte or write deadline, or because the peer's system stopped answering.
    sessions_timed_out,
    /// Sessions closed because what they sent was no frame, or too long a one.
    sessions_misframed,
    /// Outbound connections that failed.
    connects_failed,
    /// Times accepting paused because the system was short of something.
    accept_pauses,
    /// Receives and sends put off because the system had no memory for them.
    delays,
    /// Ticks that were not called: a worker was held up for longer than it makes up for, or the period is below 4 ms.
    ticks_skipped,
    /// Bytes received.
    bytes_received,
    /// Bytes sent: taken over by the kernel, in full payloads.
    bytes_sent,
    /// Bytes that arrived after a session had begun to close, and were discarded.
    bytes_discarded,
    /// Bytes owed to sessions that a drain's deadline cut.
    bytes_lost,
    /// Bytes queued for sessions that ended otherwise: reset, aborted, timed out.
    bytes_dropped,
    /// Messages and commands refused because a mailbox or a session's queue was full.
    posts_refused,
    /// Sessions that a drain closed with everything delivered.
    drained,
    /// Sessions that were cut when the drain's deadline came.
    cut,
    /// Turns of the workers' loops.
    turns,
    /// Now: sessions open.
    sessions,
    /// Now: operations the kernel has.
    in_flight,
    /// Now: blocks held by operations, queues and handlers.
    blocks_in_use,
    /// Now: sessions whose receive waits for a block.
    starved,
}
