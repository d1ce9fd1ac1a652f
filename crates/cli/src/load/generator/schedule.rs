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

    /// When the next message of this worker is due.
    pub(super) fn next_due(&self) -> u64 {
        self.due(self.next as u32, self.round)
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

    #[test]
    fn a_rate_that_does_not_divide_a_second_does_not_drift() {
        let schedule = Schedule::new(30_000.0, 50, 0, 1);
        assert_eq!(schedule.due(0, 30_000 * 60 / 50), 60_000_000_000);
        let slow = Schedule::new(0.5, 1, 0, 1);
        assert_eq!(slow.due(0, 3), 6_000_000_000);
    }
}
