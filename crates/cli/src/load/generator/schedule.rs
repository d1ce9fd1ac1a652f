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

    /// When message `nth` of `connection` is due.
    pub(super) fn due(&self, connection: u32, nth: u64) -> u64 {
        let message = nth * self.connections + u64::from(connection);
        self.start + (message as f64 * self.period_ns) as u64
    }

    /// When the next message of this worker is due; never, if it has no connection.
    pub(super) fn next_due(&self) -> u64 {
        if self.next >= self.connections { u64::MAX } else { self.due(self.next as u32, self.round) }
    }

    /// Messages of a connection of this worker that were taken: all that have been due.
    #[inline]
    pub(super) fn taken(&self, connection: u32) -> u64 {
        self.round + u64::from(u64::from(connection) < self.next)
    }

    /// Messages of a connection that are due before a time.
    pub(super) fn due_before(&self, connection: u32, before: u64) -> u64 {
        let messages = before.saturating_sub(self.start) as f64 / self.period_ns;
        let mut count = ((messages - f64::from(connection)) / self.connections as f64).max(0.0) as u64;
        // Rounding may be off by one.
        while self.due(connection, count) < before {
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
            self.round += 1;
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
        let rounds = due.saturating_sub(self.round + 1);
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

    #[test]
    fn a_rate_that_does_not_divide_a_second_does_not_drift() {
        let schedule = Schedule::new(30_000.0, 50, 0, 1);
        assert_eq!(schedule.due(0, 30_000 * 60 / 50), 60_000_000_000);
        let slow = Schedule::new(0.5, 1, 0, 1);
        assert_eq!(slow.due(0, 3), 6_000_000_000);
    }
}
