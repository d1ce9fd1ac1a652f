//! Two endpoints that face each other, turned alternately by one thread.

use std::time::{Duration, Instant};

use overlapped_testing::PATIENCE;
use proactor::backend::Wait;
use proactor::{ConnectionKey, PoolConfig};

use crate::endpoint::{Endpoint, Finished};
use crate::kernel::{ANY_PORT, Kernel};

/// The bound for the simulated kernel, in rounds instead of time.
const MOST_ROUNDS: usize = 3_000_000;
/// How long an endpoint waits in the kernel when neither had anything to do.
const NAP: Duration = Duration::from_millis(1);

pub struct Fixture<'k, K: Kernel> {
    pub kernel: &'k K,
    /// Usually the endpoint that connects.
    pub here: Endpoint<K>,
    /// Usually the endpoint that listens.
    pub there: Endpoint<K>,
    rounds: usize,
}

/// Both ends of one connection.
#[derive(Clone, Copy, Debug)]
pub struct Ends {
    pub here: ConnectionKey,
    pub there: ConnectionKey,
}

impl<'k, K: Kernel> Fixture<'k, K> {
    pub fn new(kernel: &'k K) -> Fixture<'k, K> {
        Fixture::with_pool(kernel, PoolConfig { blocks: 16, block_len: 4096 })
    }

    pub fn with_pool(kernel: &'k K, config: PoolConfig) -> Fixture<'k, K> {
        let (here, there) = (Endpoint::new(kernel, config), Endpoint::new(kernel, config));
        Fixture { kernel, here, there, rounds: 0 }
    }

    /// A fixture and one connection between its endpoints.
    pub fn connected(kernel: &'k K) -> (Fixture<'k, K>, Ends) {
        let mut fixture = Fixture::new(kernel);
        let ends = fixture.pair();
        (fixture, ends)
    }

    /// One more connection. Nothing is received on it yet.
    pub fn pair(&mut self) -> Ends {
        let socket = self.kernel.listen_on(ANY_PORT).expect("loopback can be listened on");
        let (listener, address) = self.there.listen(socket);
        let here = self.here.connect(address);
        self.until("a connection", |fixture| {
            fixture.here.seen(here).connected && !fixture.there.accepted.is_empty()
        });
        let socket = self.there.accepted.pop_front().expect("just seen");
        self.there.driver.close_listener(listener);
        Ends { here, there: self.there.adopt(socket) }
    }

    /// Turns both endpoints until `done`.
    pub fn until(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        let start = Instant::now();
        for round in 0..MOST_ROUNDS {
            if done(self) {
                return;
            }
            if start.elapsed() > PATIENCE {
                self.give_up(what, round);
            }
            self.round();
        }
        self.give_up(what, MOST_ROUNDS);
    }

    /// Turns both endpoints until nothing has happened for a while: for what must *not* happen.
    pub fn settle(&mut self) {
        let mut quiet = 0;
        let wanted = self.kernel.quiet_rounds();
        self.until("quiet", |fixture| {
            quiet = if fixture.round() { 0 } else { quiet + 1 };
            quiet >= wanted
        });
    }

    /// One turn of each endpoint. Returns whether anything happened.
    pub fn round(&mut self) -> bool {
        self.rounds += 1;
        let here = self.here.step(Wait::Poll);
        let there = self.there.step(Wait::Poll);
        if here || there {
            return true;
        }
        let idle = if self.rounds.is_multiple_of(2) { &mut self.here } else { &mut self.there };
        let moment = idle.driver.now() + NAP;
        idle.step(Wait::Until(moment))
    }

    fn give_up(&self, what: &str, rounds: usize) -> ! {
        panic!(
            "waited for {what} in vain, {rounds} rounds\n here: {}\nthere: {}",
            self.here.report(),
            self.there.report()
        );
    }

    /// Closes what is left and checks that nothing remains: no connection, operation, block or socket.
    pub fn finish(mut self) -> Finished {
        self.here.abandon();
        self.there.abandon();
        self.until("nothing to be left", |fixture| {
            // Accepts in flight may still return a connection.
            for endpoint in [&mut fixture.here, &mut fixture.there] {
                while let Some(socket) = endpoint.accepted.pop_front() {
                    endpoint.driver.refuse(socket);
                }
            }
            fixture.here.is_empty() && fixture.there.is_empty()
        });
        assert_eq!((self.here.open.get(), self.there.open.get()), (0, 0), "every socket was closed, once");
        assert_eq!(self.kernel.open_sockets(), 0, "every socket was closed");
        for endpoint in [&mut self.here, &mut self.there] {
            assert_eq!(endpoint.driver.sends_in_flight(), 0);
            assert_eq!(endpoint.backend().faults_left(), 0, "every fault that was ordered was met");
        }
        drop(self);
        Finished(())
    }

    /// Drops both drivers as they are, and checks that this closes everything.
    pub fn finish_by_dropping(self) -> Finished {
        let Fixture { kernel, here, there, .. } = self;
        let (open, pools) =
            ([here.open.clone(), there.open.clone()], [here.pool.clone(), there.pool.clone()]);
        drop((here, there));
        for count in open {
            assert_eq!(count.get(), 0, "every socket was closed, once");
        }
        for pool in pools {
            assert_eq!(pool.in_use(), 0, "every block is back");
        }
        assert_eq!(kernel.open_sockets(), 0, "every socket was closed");
        Finished(())
    }
}
