//! Random schedules of calls: what must hold in every order.
//!
//! * What an endpoint received is a prefix of what its peer handed over, in order (INV-4).
//! * An end of stream says that all of it arrived (INV-7, INV-8).
//! * When everything is closed nothing is left (`Fixture::finish`).

use overlapped_testing::{assert_same, pattern};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::endpoint::{Endpoint, Finished};
use crate::fixture::{Ends, Fixture};
use crate::kernel::Kernel;

/// Connections of a schedule. More verbs meet fewer connections more often.
const CONNECTIONS: usize = 3;

/// One step: what one endpoint does to one of its connections, or a few rounds.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    pub connection: usize,
    pub at_here: bool,
    pub verb: Act,
}

#[derive(Clone, Copy, Debug)]
pub enum Act {
    Post(usize),
    Receive,
    Pause,
    Watch,
    Finish,
    Close,
    Abort,
    Rounds(usize),
    /// Keeps the blocks received from now on, or gives back those kept.
    Keep(bool),
}

/// Any schedule, of about `length` steps. Ends are rare: most of a session's life is data.
pub fn schedules(length: usize) -> impl Strategy<Value = Vec<Step>> {
    let verb = prop_oneof![
        8 => (1_usize..3000).prop_map(Act::Post),
        6 => Just(Act::Receive),
        3 => Just(Act::Pause),
        3 => Just(Act::Watch),
        1 => Just(Act::Finish),
        1 => Just(Act::Close),
        1 => Just(Act::Abort),
        6 => (1_usize..8).prop_map(Act::Rounds),
        2 => any::<bool>().prop_map(Act::Keep),
    ];
    let step = (0..CONNECTIONS, any::<bool>(), verb).prop_map(|(connection, at_here, verb)| Step {
        connection,
        at_here,
        verb,
    });
    prop::collection::vec(step, 1..length)
}

/// Runs a schedule. A connection that is over is replaced, so that slots are used again.
pub fn run<K: Kernel>(kernel: &K, steps: &[Step]) -> Finished {
    let mut fixture = Fixture::new(kernel);
    let mut pairs: Vec<Pair> = (0..CONNECTIONS).map(|salt| Pair::new(fixture.pair(), salt)).collect();
    let mut all = pairs.clone();
    for step in steps {
        if let Act::Rounds(rounds) = step.verb {
            for _ in 0..rounds {
                fixture.round();
            }
            continue;
        }
        let pair = &mut pairs[step.connection];
        let (endpoint, key) = if step.at_here {
            (&mut fixture.here, pair.ends.here)
        } else {
            (&mut fixture.there, pair.ends.there)
        };
        act(endpoint, key, step.verb, pair.salt ^ u8::from(step.at_here));
        if fixture.here.seen(pair.ends.here).released && fixture.there.seen(pair.ends.there).released {
            *pair = Pair::new(fixture.pair(), all.len());
            all.push(pair.clone());
        }
    }
    for endpoint in [&mut fixture.here, &mut fixture.there] {
        endpoint.keeping = false;
        endpoint.kept.clear();
    }
    fixture.settle();
    for pair in &all {
        pair.check(&fixture);
    }
    fixture.finish()
}

/// The same schedules on a real kernel, from a fixed seed: fewer, because real time passes.
pub fn some_schedules<K: Kernel>(kernel: &K) -> Finished {
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    for _ in 0..24 {
        let steps = schedules(100).new_tree(&mut runner).expect("a schedule").current();
        let _: Finished = run(kernel, &steps);
    }
    Fixture::new(kernel).finish()
}

fn act<K: Kernel>(endpoint: &mut Endpoint<K>, key: proactor::ConnectionKey, verb: Act, salt: u8) {
    if let Act::Keep(keep) = verb {
        endpoint.keeping = keep;
        endpoint.kept.clear();
        return;
    }
    if endpoint.seen(key).released || endpoint.seen(key).is_closing() {
        return;
    }
    match verb {
        Act::Post(len) if !endpoint.finished.contains(&key) => {
            let from = endpoint.seen(key).posted;
            endpoint.seen.get_mut(&key).expect("known").posted += len;
            endpoint.post(key, pattern(from + len, salt)[from..].to_vec());
        }
        Act::Receive => endpoint.receive(key),
        Act::Pause => endpoint.driver.pause_receive(key),
        Act::Watch => endpoint.watch(key),
        Act::Finish if endpoint.is_flushed(key) => {
            // It may fail: the peer may have reset the connection, unnoticed yet.
            let _ = endpoint.driver.finish(key);
            endpoint.finished.insert(key);
        }
        Act::Close => endpoint.close(key),
        Act::Abort => endpoint.abort(key),
        Act::Post(_) | Act::Finish | Act::Rounds(_) | Act::Keep(_) => {}
    }
}

/// One connection of a schedule; what each endpoint sends is told by its salt.
#[derive(Clone, Debug)]
struct Pair {
    ends: Ends,
    salt: u8,
}

impl Pair {
    fn new(ends: Ends, number: usize) -> Pair {
        Pair { ends, salt: (number * 2) as u8 }
    }

    fn check<K: Kernel>(&self, fixture: &Fixture<'_, K>) {
        let (here, there) = (fixture.here.seen(self.ends.here), fixture.there.seen(self.ends.there));
        for (got, sent, salt) in [(here, there, self.salt), (there, here, self.salt ^ 1)] {
            assert!(got.bytes.len() <= sent.handed, "nothing arrives that was not sent");
            assert_same(&got.bytes, &pattern(got.bytes.len(), salt), "a prefix of what was sent");
            if got.ended {
                assert_eq!(got.bytes.len(), sent.handed, "INV-7: an end says that all of it arrived");
            }
        }
    }
}
