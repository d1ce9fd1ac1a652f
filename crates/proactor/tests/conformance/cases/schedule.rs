//! A schedule of verbs, in whatever order: what must hold however a session goes.
//!
//! * What a side received is a prefix of what its peer handed over, in order (INV-4).
//! * An end of stream says that all of it arrived (INV-7, INV-8).
//! * When everything is closed nothing is left (`Bench::finish`).

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::bench::{Bench, Ends, assert_same, pattern};
use crate::side::{Finished, Side};
use crate::world::World;

/// Connections of a schedule. More verbs meet fewer connections more often.
const CONNECTIONS: usize = 3;

/// One step: what one side does to one of its connections, or a few rounds.
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
pub fn run<W: World>(world: &W, steps: &[Step]) -> Finished {
    let mut bench = Bench::new(world);
    let mut pairs: Vec<Pair> = (0..CONNECTIONS).map(|salt| Pair::new(bench.pair(), salt)).collect();
    let mut all = pairs.clone();
    for step in steps {
        if let Act::Rounds(rounds) = step.verb {
            for _ in 0..rounds {
                bench.round();
            }
            continue;
        }
        let pair = &mut pairs[step.connection];
        let (side, key) = if step.at_here {
            (&mut bench.here, pair.ends.here)
        } else {
            (&mut bench.there, pair.ends.there)
        };
        act(side, key, step.verb, pair.salt ^ u8::from(step.at_here));
        if bench.here.seen(pair.ends.here).released && bench.there.seen(pair.ends.there).released {
            *pair = Pair::new(bench.pair(), all.len());
            all.push(pair.clone());
        }
    }
    for side in [&mut bench.here, &mut bench.there] {
        side.keeping = false;
        side.kept.clear();
    }
    bench.settle();
    for pair in &all {
        pair.check(&bench);
    }
    bench.finish()
}

/// The same schedules on a real kernel, from a fixed seed: fewer, because real time passes.
pub fn some_schedules<W: World>(world: &W) -> Finished {
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    for _ in 0..24 {
        let steps = schedules(100).new_tree(&mut runner).expect("a schedule").current();
        let _: Finished = run(world, &steps);
    }
    Bench::new(world).finish()
}

fn act<W: World>(side: &mut Side<W>, key: proactor::ConnectionKey, verb: Act, salt: u8) {
    if let Act::Keep(keep) = verb {
        side.keeping = keep;
        side.kept.clear();
        return;
    }
    if side.seen(key).released || side.seen(key).is_closing() {
        return;
    }
    match verb {
        Act::Post(len) if !side.finished.contains(&key) => {
            let from = side.seen(key).posted;
            side.seen.get_mut(&key).expect("known").posted += len;
            side.post(key, pattern(from + len, salt)[from..].to_vec());
        }
        Act::Receive => side.receive(key),
        Act::Pause => side.driver.pause_receive(key),
        Act::Watch => side.watch(key),
        Act::Finish if side.is_flushed(key) => {
            // It may fail: the peer may have reset the connection, unnoticed yet.
            let _ = side.driver.finish(key);
            side.finished.insert(key);
        }
        Act::Close => side.close(key),
        Act::Abort => side.abort(key),
        Act::Post(_) | Act::Finish | Act::Rounds(_) | Act::Keep(_) => {}
    }
}

/// One connection of a schedule; what each side sends is told by its salt.
#[derive(Clone, Debug)]
struct Pair {
    ends: Ends,
    salt: u8,
}

impl Pair {
    fn new(ends: Ends, number: usize) -> Pair {
        Pair { ends, salt: (number * 2) as u8 }
    }

    fn check<W: World>(&self, bench: &Bench<'_, W>) {
        let (here, there) = (bench.here.seen(self.ends.here), bench.there.seen(self.ends.there));
        for (got, sent, salt) in [(here, there, self.salt), (there, here, self.salt ^ 1)] {
            assert!(got.bytes.len() <= sent.handed, "nothing arrives that was not sent");
            assert_same(&got.bytes, &pattern(got.bytes.len(), salt), "a prefix of what was sent");
            if got.ended {
                assert_eq!(got.bytes.len(), sent.handed, "INV-7: an end says that all of it arrived");
            }
        }
    }
}
