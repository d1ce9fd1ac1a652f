//! Tests of a driver's internals, over the simulated kernel.

use std::net::SocketAddr;

use crate::PoolConfig;
use crate::backend::simulated::{Behaviour, Simulated, Simulation};

use super::*;

/// Two drivers in one network.
struct Pair {
    here: Driver<Simulated>,
    there: Driver<Simulated>,
    address: SocketAddr,
}

impl Pair {
    fn new(blocks: u16) -> Pair {
        let simulation = Simulation::new(Behaviour { cuts: false, ..Behaviour::default() });
        let driver = |blocks| {
            let pool = Pool::new(PoolConfig { blocks, block_len: 64 });
            Driver::new(simulation.backend(pool))
        };
        let (here, mut there) = (driver(4), driver(blocks));
        let socket = simulation.listen(SocketAddr::from(([127, 0, 0, 1], 9999))).expect("the port is free");
        let listener = there.listen(socket).expect("it registers");
        let address = there.listener_addr(listener).expect("it listens");
        Pair { here, there, address }
    }

    /// Turns both until `done` accepts the events that `there` had so far.
    fn until(&mut self, mut done: impl FnMut(&mut Driver<Simulated>, Option<Event<Sim>>) -> bool) {
        for _ in 0..100_000 {
            self.here.turn(Wait::Poll).expect("the simulated kernel does not break");
            while self.here.next_event().is_some() {}
            self.there.turn(Wait::Poll).expect("the simulated kernel does not break");
            while let Some(event) = self.there.next_event() {
                if done(&mut self.there, Some(event)) {
                    return;
                }
            }
            if done(&mut self.there, None) {
                return;
            }
        }
        panic!("in vain: {:?} {:?}", self.here.snapshot(), self.there.snapshot());
    }

    /// `count` connections, on which nothing is received yet. Their peers have sent a byte.
    fn connections(&mut self, wanted: usize) -> Vec<ConnectionKey> {
        for _ in 0..wanted {
            self.here.connect(self.address).expect("the simulated network has room");
        }
        let mut keys = Vec::new();
        self.until(|there, event| {
            if let Some(Event::Accepted { socket, .. }) = event {
                keys.push(there.adopt(socket).expect("it registers"));
            }
            keys.len() == wanted
        });
        keys
    }
}

type Sim = <Simulated as Backend>::Socket;

/// With guard pages, each operation that is over leaves a mapping behind, and a process may have 65,530.
const MANY: usize = if cfg!(feature = "guard-pages") { 200 } else { 3000 };
/// Links that one removal touches at most: its own, and its neighbours'. The same for joining, twice.
const STEPS: usize = 8;

/// Leaves from the middle outwards: far from both ends first.
fn from_the_middle(keys: &[ConnectionKey]) -> impl Iterator<Item = ConnectionKey> {
    let half = keys.len() / 2;
    keys[half..].iter().copied().chain(keys[..half].iter().rev().copied())
}

/// Leaving takes the same number of steps however long the queue is: closed, aborted or paused.
#[test]
fn leaving_the_line_for_blocks_walks_past_nobody() {
    type Leave = fn(&mut Driver<Simulated>, ConnectionKey);
    let ways: [Leave; 3] = [Driver::close, Driver::abort, Driver::pause_receive];
    for leave in ways {
        let mut pair = Pair::new(1);
        let keys = pair.connections(MANY);
        let _taken = pair.there.pool().take().expect("nothing is received yet");
        for key in pair.here.connections.keys() {
            assert_ne!(pair.here.send(ConnectionKey(key), "x"), Sending::Closed);
        }
        keys.iter().for_each(|key| pair.there.receive(*key));
        pair.until(|there, _| there.snapshot().starved == MANY);
        let before = pair.there.starved.steps;
        from_the_middle(&keys).for_each(|key| leave(&mut pair.there, key));
        assert_eq!(pair.there.snapshot().starved, 0);
        let steps = pair.there.starved.steps - before;
        assert!(steps <= STEPS * MANY, "{steps} steps for {MANY} connections");
    }
}

/// The same for receives that wait for a retry.
#[test]
fn leaving_the_line_for_memory_walks_past_nobody() {
    let mut pair = Pair::new(1);
    let keys = pair.connections(MANY);
    for key in &keys {
        pair.there.delay_receive(key.0);
        pair.there.delay_watch(key.0);
    }
    assert_eq!(pair.there.snapshot().delayed, 2 * MANY);
    from_the_middle(&keys).for_each(|key| pair.there.abort(key));
    assert_eq!(pair.there.snapshot().delayed, 0);
    let steps = pair.there.retries.steps();
    assert!(steps <= 2 * STEPS * MANY, "{steps} steps for {MANY} connections");
}
