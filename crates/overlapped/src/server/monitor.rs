//! The monitor of a server with several workers: a thread that sleeps while they wait, and acts when one is blocked.
//!
//! A handler's callback that blocks stops its whole worker: its sessions, the connections that were placed on it, and
//! accepting on the listeners that it owns. The sessions have to wait. The connections are placed on other workers;
//! and the monitor accepts in the worker's place, from duplicates of its listeners, because the worker's own accept is
//! armed in a ring, port or poller that is not being harvested. (Arming an accept in another worker's ring would not help:
//! accepts of io_uring wait exclusively, and the blocked ring, the first in line, takes each wake-up.)
//!
//! On Windows the accepts in flight belong to the blocked worker's port and take the next connections, so the monitor does
//! not accept there.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use proactor::{AcceptWatch, Socket, try_accept, turn_away};

use crate::admission::{Delivery, Placement};
use crate::shared::{Pulses, Rest, TICK, WorkerShared};
use crate::worker::{ACCEPT_PAUSE, Arrival};

/// Connections that the monitor hands to one worker before that has taken some of them. The rest stays in the backlog.
const HANDED: usize = 64;
/// How soon the monitor checks whether some were taken.
const SOON: Duration = Duration::from_millis(1);

pub(super) struct Monitor {
    all_shared: Vec<Arc<WorkerShared>>,
    pulses: Pulses,
    placement: Arc<Placement<Arrival<Socket>>>,
    watch: AcceptWatch,
    /// By worker: true exactly when the monitor accepts in its place.
    accepting: Vec<bool>,
    /// Until when accepting pauses, because the system is short of a resource (INV-9).
    paused_until: Option<Instant>,
}

impl Monitor {
    /// # Errors
    /// The system's: out of descriptors.
    pub(super) fn new(
        all_shared: &[Arc<WorkerShared>],
        placement: Arc<Placement<Arrival<Socket>>>,
    ) -> io::Result<Monitor> {
        let watch = AcceptWatch::new()?;
        for shared in all_shared {
            shared.heartbeat.set_monitor(watch.waker());
        }
        Ok(Monitor {
            all_shared: all_shared.to_vec(),
            pulses: Pulses::new(all_shared),
            placement,
            watch,
            accepting: vec![false; all_shared.len()],
            paused_until: None,
        })
    }

    /// Runs until every worker has ended. The last of them wakes it.
    ///
    /// # Errors
    /// If its poller broke.
    pub(super) fn run(mut self) -> io::Result<()> {
        let mut tick_at = Instant::now();
        loop {
            let mut sleep = false;
            if Instant::now() >= tick_at {
                match self.pulses.tick() {
                    Rest::End => return Ok(()),
                    Rest::Sleep => sleep = true,
                    Rest::Tick => {}
                }
                tick_at = Instant::now() + TICK;
                for delivery in self.placement.take_back() {
                    if let Delivery::Placed(arrival, _) = delivery {
                        turn_away(arrival.into_socket());
                    }
                }
                self.choose_listeners();
            }
            let more = self.accept();
            let left = tick_at.saturating_duration_since(Instant::now());
            let left = if more { left.min(SOON) } else { left };
            self.watch.wait((!sleep).then_some(left))?;
            if sleep || self.all_shared.iter().all(|shared| shared.heartbeat.has_ended()) {
                tick_at = Instant::now();
            }
        }
    }

    /// Watches the listeners of workers that are blocked, and no others: a watched one wakes the monitor each time.
    fn choose_listeners(&mut self) {
        let somebody_turns = self.placement.turning().is_some();
        for (shared, accepting) in self.all_shared.iter().zip(&mut self.accepting) {
            let wanted = somebody_turns && shared.heartbeat.is_blocked();
            if wanted != *accepting {
                *accepting = wanted;
                for (listener, _) in shared.spare_listeners().iter() {
                    if wanted {
                        // If the system has no memory for it, each tick still tries to accept.
                        let _ = self.watch.watch(listener);
                    } else {
                        self.watch.forget(listener);
                    }
                }
            }
        }
    }

    /// Takes what waits in the backlogs of blocked workers. True: there may be more, and the next look comes soon.
    fn accept(&mut self) -> bool {
        if self.paused_until.is_some_and(|until| Instant::now() < until) {
            return false;
        }
        self.paused_until = None;
        let blocked = self.all_shared.iter().zip(&self.accepting).filter(|(_, accepting)| **accepting);
        for (shared, _) in blocked {
            match self.accept_for(shared) {
                Taken::All => {}
                Taken::Some => return true,
                Taken::Failed => {
                    self.paused_until = Some(Instant::now() + ACCEPT_PAUSE);
                    return false;
                }
            }
        }
        false
    }

    /// Hands what waits on one worker's listeners to workers that turn. They admit it: what the monitor accepts is counted,
    /// limited, placed and reported like any other connection.
    fn accept_for(&self, shared: &WorkerShared) -> Taken {
        // No call waits while this is locked. The worker, once it turns again, closes them under the same lock.
        let listeners = shared.spare_listeners();
        for (listener, token) in listeners.iter() {
            while shared.heartbeat.is_blocked()
                && let Some(worker) = self.placement.turning()
            {
                if self.placement.waiting(worker) >= HANDED {
                    return Taken::Some;
                }
                let delivery = match try_accept(listener) {
                    Ok(None) => break,
                    Ok(Some(socket)) => Delivery::Accepted(Arrival::accepted(socket, None, *token)),
                    Err(error) => Delivery::AcceptFailed(error),
                };
                let failed = matches!(delivery, Delivery::AcceptFailed(_));
                // If all workers have ended meanwhile, so has the server.
                if let Err(Delivery::Accepted(arrival)) = self.placement.hand(delivery) {
                    turn_away(arrival.into_socket());
                }
                if failed {
                    return Taken::Failed;
                }
            }
        }
        Taken::All
    }
}

/// How much of what waited was taken.
enum Taken {
    All,
    Some,
    Failed,
}

#[cfg(all(test, unix, not(loom)))]
mod tests {
    use super::*;

    /// Worker 0 is blocked, and its listener is one that nothing can be accepted from. Worker 1 turns.
    fn with_a_broken_listener() -> (Monitor, Arc<Placement<Arrival<Socket>>>) {
        let all_shared: Vec<Arc<WorkerShared>> = vec![Arc::default(), Arc::default()];
        let placement = Arc::new(Placement::new(&all_shared, 10, None));
        let mut monitor = Monitor::new(&all_shared, Arc::clone(&placement)).unwrap();
        // Readable, because it is not connected, and no listener: EINVAL, accept(2).
        let broken = std::net::TcpListener::bind("127.0.0.1:0").map(Socket::from).unwrap();
        broken.shutdown(std::net::Shutdown::Both).unwrap();
        all_shared[0].spare_listeners().push((broken, 0));
        for _ in 0..5 {
            monitor.pulses.tick();
        }
        all_shared[1].heartbeat.begin_wait();
        (monitor, placement)
    }

    #[test]
    fn accepting_pauses_when_it_fails() {
        let (mut monitor, placement) = with_a_broken_listener();
        monitor.choose_listeners();
        assert_eq!(monitor.accepting, [true, false]);
        for _ in 0..10 {
            assert!(!monitor.accept(), "not soon again");
        }
        assert_eq!(placement.waiting(1), 1, "it fails once in the pause, and is reported once");
        monitor.paused_until = Some(Instant::now());
        monitor.accept();
        assert_eq!(placement.waiting(1), 2, "and is tried again after it");
    }

    #[test]
    fn nothing_is_accepted_for_a_worker_that_is_back_or_while_nobody_turns() {
        let (mut monitor, placement) = with_a_broken_listener();
        monitor.choose_listeners();
        monitor.all_shared[0].heartbeat.begin_wait();
        assert!(!monitor.accept());
        assert_eq!((placement.waiting(0), placement.waiting(1)), (0, 0));
        monitor.choose_listeners();
        assert_eq!(monitor.accepting, [false, false]);
        monitor.all_shared[0].heartbeat.end_wait();
        monitor.all_shared[1].heartbeat.end();
        for _ in 0..5 {
            monitor.pulses.tick();
        }
        monitor.choose_listeners();
        assert_eq!(monitor.accepting, [false, false], "who should take it?");
    }

    /// What the worker that takes them has not taken stays in the backlog.
    #[test]
    fn no_more_is_handed_to_a_worker_than_it_takes() {
        let (mut monitor, placement) = with_a_broken_listener();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        *monitor.all_shared[0].spare_listeners() = vec![(listener.into(), 0)];
        monitor.choose_listeners();
        let clients: Vec<_> =
            (0..HANDED + 5).map(|_| std::net::TcpStream::connect(address).unwrap()).collect();
        assert!(monitor.accept(), "it is soon to look again");
        assert_eq!(placement.waiting(1), HANDED);
        while placement.arrivals(1).queue.pop().is_some() {}
        assert!(!monitor.accept());
        assert_eq!(placement.waiting(1), 5);
        drop(clients);
    }
}
