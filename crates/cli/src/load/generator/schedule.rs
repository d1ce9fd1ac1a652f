//! When messages are due: a fixed schedule for all connections, in turns, so that neither a slow server nor a slow
//! generator changes it.

/// The schedule of one worker's share of the connections. Message `j` of all is due `j / rate` after the start, on
/// connection `j % connections`, and connection `c` belongs to worker `c % workers`.
#[derive(Clone, Debug)]
pub(super) struct Schedule {
    period_ns: f64,
    connections: u64,
    worker: u64,
    workers: u64,
    /// In ns; 0 until the start is known.
    start: u64,
    /// How often all connections have had their turn.
    round: u64,
    /// The connection whose turn is next.
    next: u64,
}

impl Schedule {
    pub(super) fn new(rate: f64, connections: u32, worker: u32, workers: u32) -> Schedule {
        Schedule {
            period_ns: 1e9 / rate,
            connections: connections.into(),
            worker: worker.into(),
            workers: workers.into(),
            start: 0,
            round: 0,
            next: worker.into(),
        }
    }

    pub(super) fn start_at(&mut self, start: u64) {
        self.start = start;
    }

    /// When message `nth` of `connection` is due; `u64::MAX`, which is never, if that is beyond the end of the clock.
    pub(super) fn due(&self, connection: u32, nth: u64) -> u64 {
        // Beyond 2^64 messages as well: at a rate that is high enough, those are not yet due.
        let message = nth as f64 * self.connections as f64 + f64::from(connection);
        self.start.saturating_add((message * self.period_ns) as u64)
    }

    /// When the next message of this worker is due; never, if it has no connection.
    pub(super) fn next_due(&self) -> u64 {
        if self.next >= self.connections { u64::MAX } else { self.due(self.next as u32, self.round) }
    }

    /// Messages of a connection of this worker that were taken: all that have been due.
    #[inline]
    pub(super) fn taken(&self, connection: u32) -> u64 {
        self.round.saturating_add(u64::from(u64::from(connection) < self.next))
    }

    /// Messages of a connection that are due before a time.
    pub(super) fn due_before(&self, connection: u32, before: u64) -> u64 {
        let messages = before.saturating_sub(self.start) as f64 / self.period_ns;
        let mut count = ((messages - f64::from(connection)) / self.connections as f64).max(0.0) as u64;
        // Rounding may be off by one.
        while count < u64::MAX && self.due(connection, count) < before {
            count += 1;
        }
        while count > 0 && self.due(connection, count - 1) >= before {
            count -= 1;
        }
        count
    }

    /// The connection of the next message, if it is due.
    pub(super) fn take(&mut self, now: u64) -> Option<u32> {
        if self.next_due() > now {
            return None;
        }
        let connection = self.next;
        self.next += self.workers;
        if self.next >= self.connections {
            self.next = self.worker;
            self.round = self.round.saturating_add(1);
        }
        Some(connection as u32)
    }

    /// Takes messages as long as one more for each connection is due. Returns whether there were any: far behind its
    /// schedule, a worker would only fall back further if it took them one by one.
    pub(super) fn take_rounds(&mut self, now: u64) -> bool {
        if self.next_due() > now {
            return false;
        }
        let due = self.due_before(self.next as u32, now);
        let rounds = due.saturating_sub(self.round.saturating_add(1));
        self.round += rounds;
        rounds > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_together_send_every_message_once_and_evenly() {
        for workers in 1..=4 {
            let mut due: Vec<(u64, u32)> = Vec::new();
            for worker in 0..workers {
                let mut schedule = Schedule::new(1e6, 10, worker, workers);
                schedule.start_at(5_000);
                while let Some(connection) = {
                    let at = schedule.next_due();
                    due.push((at, u32::MAX));
                    schedule.take(105_000)
                } {
                    due.last_mut().expect("just pushed").1 = connection;
                }
                due.pop();
            }
            due.sort_unstable();
            assert_eq!(due.len(), 101, "one each microsecond, both ends included");
            for (message, (at, connection)) in due.into_iter().enumerate() {
                assert_eq!((at, connection), (5_000 + message as u64 * 1_000, message as u32 % 10));
            }
        }
    }

    /// However far behind it is, and wherever in a round.
    #[test]
    fn whole_rounds_are_taken_at_once() {
        for rate in [7.0, 1e6, 1e9] {
            for first in 0..8 {
                let mut schedule = Schedule::new(rate, 5, 1, 2); // connections 1 and 3
                schedule.start_at(1_000);
                let early = (0..first).filter(|_| schedule.take(u64::MAX / 4).is_some()).count();
                assert_eq!(early, first);
                let mut one_by_one = schedule.clone();
                let now = schedule.next_due() + (12_345.6 * 5e9 / rate) as u64;
                while one_by_one.take(now).is_some() {}
                assert!(schedule.take_rounds(now));
                let mut more = 0;
                while schedule.take(now).is_some() {
                    more += 1;
                }
                assert!(more <= 4, "{more} were left");
                for connection in [1, 3] {
                    assert_eq!(schedule.taken(connection), one_by_one.taken(connection));
                    assert_eq!(schedule.taken(connection), schedule.due_before(connection, now + 1));
                }
            }
        }
    }

    #[test]
    fn a_worker_without_connections_has_nothing_to_do() {
        let mut schedule = Schedule::new(1e3, 2, 3, 4);
        assert_eq!((schedule.next_due(), schedule.take(u64::MAX - 1)), (u64::MAX, None));
        assert!(!schedule.take_rounds(u64::MAX - 1));
    }

    /// From one message in the age of the universe to more than a clock can tell apart, at any time.
    #[test]
    fn no_rate_is_too_extreme() {
        let rates = [f64::MIN_POSITIVE, 1e-300, 1e-9, 1e-3, 1.0, 1e9, 1e12, 1e19, 1e20, 1e300, f64::MAX];
        for (rate, start) in
            rates.into_iter().flat_map(|rate| [0, 1 << 40, u64::MAX - 1].map(|at| (rate, at)))
        {
            for (connections, workers) in [(1, 1), (50, 2), (u32::MAX, 1)] {
                let mut schedule = Schedule::new(rate, connections, 0, workers);
                schedule.start_at(start);
                let last = connections - 1;
                assert_eq!((schedule.next_due(), schedule.due(last, u64::MAX) >= start), (start, true));
                for before in [0, start, start.saturating_add(1), start.saturating_add(1 << 40), u64::MAX] {
                    let count = schedule.due_before(last, before);
                    assert!(count == 0 || schedule.due(last, count - 1) < before, "{rate} {before}");
                    assert!(count == u64::MAX || schedule.due(last, count) >= before, "{rate} {before}");
                    let mut behind = schedule.clone();
                    behind.take_rounds(before);
                    behind.take(before);
                    behind.take_rounds(before);
                    assert!(behind.next_due() >= schedule.next_due(), "time does not go back: {rate}");
                }
            }
        }
    }

    #[test]
    fn a_message_beyond_the_end_of_the_clock_is_never_due() {
        let mut schedule = Schedule::new(1e-9, 50, 0, 1);
        schedule.start_at(5_000);
        assert_eq!(schedule.take(6_000), Some(0), "the first message is due at the start");
        assert_eq!(schedule.take(1 << 59), None, "the second one 10^18 ns later");
        assert_eq!(schedule.take(1 << 60), Some(1));
        assert_eq!((schedule.due(0, 1), schedule.due_before(0, u64::MAX)), (u64::MAX, 1));
        while schedule.take(u64::MAX - 1).is_some() {}
        assert_eq!((schedule.next_due(), schedule.round), (u64::MAX, 0));
    }

    #[test]
    fn a_rate_that_does_not_divide_a_second_does_not_drift() {
        let schedule = Schedule::new(30_000.0, 50, 0, 1);
        assert_eq!(schedule.due(0, 30_000 * 60 / 50), 60_000_000_000);
        let slow = Schedule::new(0.5, 1, 0, 1);
        assert_eq!(slow.due(0, 3), 6_000_000_000);
    }
}
