//! The monitor of a server with several workers: one thread that sleeps while they wait, and helps when one is blocked.
//!
//! A handler's callback that blocks stops its whole worker: its sessions, the connections that were placed on it, and
//! accepting on the listeners that it owns. The sessions cannot be helped. The connections are placed on other workers;
//! and the monitor accepts in the worker's place, from duplicates of its listeners, because the worker's own accept is
//! armed in a ring, port or poller that nobody turns. (An accept armed in another worker's ring would not do: accepts
//! of io_uring wait exclusively, and the blocked ring, the first in line, takes each wake-up and does nothing with it.)
//!
//! On Windows the accepts in flight belong to the blocked worker's port and take the next connections, whoever else
//! accepts; nobody does.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use proactor::{AcceptWatch, Socket, try_accept};

use crate::acceptor::{Acceptor, Delivery};
use crate::addresses::Addresses;
use crate::heartbeat::{Pulses, Rest, TICK};
use crate::mailbox::WorkerFace;
use crate::worker::{ACCEPT_PAUSE, Arrival};

/// Connections that the monitor hands to one worker before that has taken some of them. What is beyond stays in the
/// backlog.
const HANDED: usize = 64;
/// How soon it looks whether some were taken.
const SOON: Duration = Duration::from_millis(1);

pub(super) struct Monitor {
    faces: Vec<Arc<WorkerFace>>,
    pulses: Pulses,
    acceptor: Arc<Acceptor<Arrival<Socket>>>,
    addresses: Option<Arc<Addresses>>,
    watch: AcceptWatch,
    /// By worker: true exactly when the monitor accepts in its place.
    accepting: Vec<bool>,
    /// Until when accepting pauses, because the system is short of something (INV-9).
    paused_until: Option<Instant>,
}

impl Monitor {
    /// # Errors
    /// What the system says: out of descriptors.
    pub(super) fn new(
        faces: &[Arc<WorkerFace>],
        acceptor: Arc<Acceptor<Arrival<Socket>>>,
        addresses: Option<Arc<Addresses>>,
    ) -> io::Result<Monitor> {
        let watch = AcceptWatch::new()?;
        for face in faces {
            face.heartbeat.set_monitor(watch.waker());
        }
        Ok(Monitor {
            faces: faces.to_vec(),
            pulses: Pulses::new(faces),
            acceptor,
            addresses,
            watch,
            accepting: vec![false; faces.len()],
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
                for delivery in self.acceptor.take_back() {
                    if let Delivery::Placed(arrival) = delivery {
                        arrival.turn_away(self.addresses.as_deref());
                    }
                }
                self.choose_listeners();
            }
            let more = self.accept();
            let left = tick_at.saturating_duration_since(Instant::now());
            let left = if more { left.min(SOON) } else { left };
            self.watch.wait((!sleep).then_some(left))?;
            if sleep || self.faces.iter().all(|face| face.heartbeat.has_ended()) {
                tick_at = Instant::now();
            }
        }
    }

    /// Watches the listeners of workers that are blocked, and no others: a watched one wakes the monitor each time.
    fn choose_listeners(&mut self) {
        let somebody_turns = self.acceptor.turning().is_some();
        for (face, accepting) in self.faces.iter().zip(&mut self.accepting) {
            let wanted = somebody_turns && face.heartbeat.is_blocked();
            if wanted != *accepting {
                *accepting = wanted;
                for listener in face.spare_listeners().iter() {
                    if wanted {
                        // Without memory for it each tick still looks.
                        let _ = self.watch.watch(listener);
                    } else {
                        self.watch.forget(listener);
                    }
                }
            }
        }
    }

    /// Takes what waits in the backlogs of blocked workers. True: there may be more, and it is soon to look again.
    fn accept(&mut self) -> bool {
        if self.paused_until.is_some_and(|until| Instant::now() < until) {
            return false;
        }
        self.paused_until = None;
        let blocked = self.faces.iter().zip(&self.accepting).filter(|(_, accepting)| **accepting);
        for (face, _) in blocked {
            match self.accept_for(face) {
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

    /// Hands what waits on one worker's listeners to workers that turn. Admission is theirs: what the monitor accepts
    /// is counted, limited, placed and reported like any other connection.
    fn accept_for(&self, face: &WorkerFace) -> Taken {
        // Locked for as long as no call waits: the worker, once it is back, closes them under the same lock.
        let listeners = face.spare_listeners();
        for listener in listeners.iter() {
            while face.heartbeat.is_blocked()
                && let Some(worker) = self.acceptor.turning()
            {
                if self.acceptor.waiting(worker) >= HANDED {
                    return Taken::Some;
                }
                let delivery = match try_accept(listener) {
                    Ok(None) => break,
                    Ok(Some(socket)) => Delivery::Accepted(Arrival::accepted(socket)),
                    Err(error) => Delivery::AcceptFailed(error),
                };
                let failed = matches!(delivery, Delivery::AcceptFailed(_));
                // If all have ended meanwhile, the server has: the connection is closed.
                drop(self.acceptor.hand(delivery));
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
