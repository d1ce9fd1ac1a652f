//! The generator on the simulated kernel, under a virtual clock, against a server that each test plays.

mod behaving;
mod errors;
mod running;
mod stalling;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use overlapped::testing::{self, Behaviour as Kernel, Listener, Peer, World};

use super::collect::Collected;
use super::sources::Sources;
use super::traffic::{Settings, Stage as RunStage, Traffic};
use super::{FromWorker, ToWorker, server};
use crate::load::measured::Measured;
use crate::load::plan::Plan;
use crate::load::samples;

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);
/// How often the server looks at what it has received: an echo takes this long.
const STEP: Duration = Duration::from_millis(4);
const TARGET: ([u8; 4], u16) = ([10, 0, 0, 1], 9999);

/// Four connections, and no warm-up.
fn plan() -> Plan {
    Plan {
        target: "10.0.0.1:9999".into(),
        addresses: vec![SocketAddr::from(TARGET)],
        connections: 4,
        duration: SECOND,
        warmup: Duration::ZERO,
        reply_timeout: SECOND,
        ..samples::plan()
    }
}

/// A few kernels of each kind; all of them are for the engine's own tests.
fn for_some_kernels(test: impl FnMut(Kernel)) {
    testing::behaviours().step_by(5).for_each(test);
}

/// A kernel that passes on what it is given.
fn plain() -> Kernel {
    Kernel { cuts: false, ..Kernel::default() }
}

/// A connection as the server sees it.
struct Served {
    /// How many the server has accepted before.
    number: usize,
    peer: Peer,
    /// The time since the run began.
    now: Duration,
    /// Bytes received so far, those of them that are not echoed, and whether the server has ended its stream.
    received: u64,
    kept: Vec<u8>,
    finished: bool,
}

impl Served {
    /// What a correct server does: also with the bytes that it has kept.
    fn echo(&mut self, bytes: &[u8]) {
        self.kept.extend_from_slice(bytes);
        let all = std::mem::take(&mut self.kept);
        if !all.is_empty() {
            self.peer.send(all);
        }
        if self.peer.has_ended() {
            self.finish();
        }
    }

    fn keep(&mut self, bytes: &[u8]) {
        self.kept.extend_from_slice(bytes);
    }

    /// Messages of 64 bytes that were received so far.
    fn messages(&self) -> u64 {
        self.received / 64
    }

    fn finish(&mut self) {
        self.finished = true;
        self.peer.finish();
    }

    fn reset(&mut self) {
        self.finished = true;
        self.peer.reset();
    }
}

struct Stage {
    world: World<Traffic>,
    listener: Listener,
    served: Vec<Served>,
    results: Receiver<FromWorker>,
    /// Of each worker: whether its connections are open, or have failed.
    ready: Vec<(u64, Vec<(String, u64)>)>,
    collected: Collected,
    workers: usize,
    began: Duration,
}

impl Stage {
    fn new(plan: &Plan) -> Stage {
        Stage::on(plain(), plan)
    }

    /// All connections are open.
    fn on(kernel: Kernel, plan: &Plan) -> Stage {
        let mut stage = Stage::without_connections(kernel, plan);
        stage.world.settle();
        stage.accept();
        assert_eq!(stage.served.len(), plan.connections as usize);
        stage
    }

    fn without_connections(kernel: Kernel, plan: &Plan) -> Stage {
        let (out, results) = channel();
        let settings = Settings { plan: plan.clone(), sources: Sources::default(), epoch: None };
        let settings = Arc::new(settings);
        let Ok(server) = server(plan) else { panic!("a plan that can be carried out") };
        let traffic = |worker: overlapped::WorkerHandle<_>| {
            Traffic::new(Arc::clone(&settings), worker.index() as u32, out.clone())
        };
        let mut world = World::start_on(kernel, server, traffic);
        let listener = world.listen(SocketAddr::from(TARGET));
        Stage {
            world,
            listener,
            served: Vec::new(),
            results,
            ready: Vec::new(),
            collected: Collected::new(plan, Duration::ZERO),
            workers: plan.threads as usize,
            began: Duration::ZERO,
        }
    }

    fn command(&mut self, command: ToWorker) {
        (0..self.workers).for_each(|worker| self.world.post(worker, command));
        self.world.settle();
    }

    fn begin(&mut self) {
        self.began = self.world.elapsed();
        self.command(ToWorker::Begin { start: self.began.as_nanos() as u64 });
    }

    fn accept(&mut self) {
        while let Some(mut peer) = self.listener.try_accept() {
            peer.stay_open();
            let number = self.served.len();
            let (now, kept) = (Duration::ZERO, Vec::new());
            self.served.push(Served { number, peer, now, received: 0, kept, finished: false });
        }
    }

    /// Time passes. In each step, the server looks at each connection that it has not ended.
    fn pass(&mut self, time: Duration, mut answer: impl FnMut(&mut Served, &[u8])) {
        let end = self.world.elapsed() + time;
        while self.world.elapsed() < end {
            self.world.advance(STEP);
            self.accept();
            for served in self.served.iter_mut().filter(|served| !served.finished) {
                let bytes = served.peer.received();
                served.received += bytes.len() as u64;
                served.now = self.world.elapsed() - self.began;
                answer(served, bytes.as_ref());
            }
            self.world.settle();
            while let Ok(result) = self.results.try_recv() {
                match result {
                    FromWorker::Ready { open, failures } => self.ready.push((open, failures)),
                    FromWorker::Slice(slice) => self.collected.slice(slice),
                    FromWorker::Done(ended) => self.collected.done(*ended),
                }
            }
        }
    }

    fn is_over(&self) -> bool {
        (0..self.workers).all(|worker| self.world.handler(worker).stage == RunStage::Over)
    }

    /// From the beginning to the end, and what came of it.
    fn run(mut self, answer: impl FnMut(&mut Served, &[u8])) -> Measured {
        self.begin();
        self.go_on(answer)
    }

    /// To the end, and what came of it.
    fn go_on(mut self, mut answer: impl FnMut(&mut Served, &[u8])) -> Measured {
        let limit = self.world.elapsed() + 60 * SECOND;
        while !self.is_over() {
            assert!(self.world.elapsed() < limit, "it does not end");
            self.pass(STEP, &mut answer);
        }
        assert_eq!(self.collected.ended(), self.workers);
        self.collected.measured("simulated".into())
    }
}

/// Errors: failed, reset, timeouts, mismatches.
fn errors(measured: &Measured) -> [u64; 4] {
    let counts = &measured.counts;
    [counts.failed, counts.reset, counts.timeouts, counts.mismatches]
}

fn ms(nanos: u64) -> f64 {
    nanos as f64 / 1e6
}
