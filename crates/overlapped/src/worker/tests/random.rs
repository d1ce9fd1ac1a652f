//! Random lives of sessions, against what must hold in every one of them.

use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use proactor::backend::simulated::Behaviour;
use proptest::prelude::*;
use proptest::test_runner::Config as Runs;

use super::fixture::{End, Fixture, Probe, Seen, What};
use crate::config::Config;
use crate::mailbox::Mail;
use crate::session::{CloseReason, SessionId};

/// What happens next; numbers choose a peer among those there are.
#[derive(Clone, Debug)]
enum Step {
    Connect,
    Send(usize, usize),
    Finish(usize),
    Vanish(usize),
    Close(usize),
    PauseReading(usize),
    Read(usize),
    Rounds(usize),
    Pass(u64),
    /// First bytes that make the handler close, abort or panic.
    Order(usize, u8),
    Drain,
}

fn step() -> impl Strategy<Value = Step> {
    let peer = 0..8usize;
    prop_oneof![
        4 => Just(Step::Connect),
        8 => (peer.clone(), 1..30_000usize).prop_map(|(peer, len)| Step::Send(peer, len)),
        2 => peer.clone().prop_map(Step::Finish),
        1 => peer.clone().prop_map(Step::Vanish),
        1 => peer.clone().prop_map(Step::Close),
        2 => peer.clone().prop_map(Step::PauseReading),
        2 => peer.clone().prop_map(Step::Read),
        8 => (1..20usize).prop_map(Step::Rounds),
        1 => (1..3000u64).prop_map(Step::Pass),
        1 => (peer, prop::sample::select(b"CAP".to_vec())).prop_map(|(peer, order)| Step::Order(peer, order)),
        1 => Just(Step::Drain),
    ]
}

fn kernel() -> impl Strategy<Value = Behaviour> {
    let capacity = prop::sample::select(vec![1usize, 700, 64 * 1024]);
    (any::<u64>(), capacity, any::<[bool; 3]>()).prop_map(|(seed, capacity, [cuts, multishot, inline])| {
        Behaviour { seed, capacity, cuts, multishot, inline }
    })
}

/// Echoes, and obeys an order in the first byte of a piece. Whenever a session ends, it connects to a place outside;
/// `connected` counts how often that worked.
fn obedient(connected: &Rc<Cell<usize>>) -> Probe {
    let connected = Rc::clone(connected);
    let probe = Probe::new(move |session, what| match what {
        What::Open => {
            session.set_timer(Duration::from_secs(3600), 1);
            connected.set(connected.get() + usize::from(session.is_outbound()));
        }
        What::Timer(2) => session.set_timer(Duration::from_millis(700), 3),
        What::Data(data) => match data[0] {
            b'C' => session.close(),
            b'A' => session.abort(),
            b'P' => panic!("as ordered"),
            _ => {
                session.set_timer(Duration::from_millis(u64::from(data[0]) * 9), 2);
                if data[0] == b'e' {
                    session.cancel_timer(3);
                }
                let _ = session.send(data);
            }
        },
        What::HalfClose | What::Idle => session.close(),
        _ => {}
    });
    probe.on_worker(|worker, seen| {
        if let Seen::Close(..) = seen {
            worker.connect(SocketAddr::from(([127, 0, 0, 1], 7777)), 0);
        }
    })
}

struct Run {
    fixture: Fixture,
    keys: Vec<proactor::ConnectionKey>,
    sent: HashMap<proactor::ConnectionKey, Vec<u8>>,
    finished: HashSet<proactor::ConnectionKey>,
    draining: bool,
    connected: Rc<Cell<usize>>,
    /// Bytes of a send: a kernel that takes one at a time would need hundreds of thousands of rounds for all.
    most: usize,
}

impl Run {
    fn step(&mut self, step: &Step) {
        let count = self.keys.len();
        let pick = |peer: usize| (count > 0).then(|| self.keys[peer % count.max(1)]);
        match *step {
            Step::Connect if count < 8 && !self.draining => {
                let key = self.fixture.connect();
                self.keys.push(key);
                self.sent.insert(key, Vec::new());
            }
            Step::Send(peer, len) => self.send(pick(peer), b'a' + (len % 20) as u8, len.min(self.most)),
            Step::Order(peer, order) => self.send(pick(peer), order, 1),
            Step::Finish(peer) => {
                if let Some(key) = pick(peer) {
                    self.finished.insert(key);
                    self.fixture.finish(key);
                }
            }
            Step::Vanish(peer) => pick(peer).into_iter().for_each(|key| self.fixture.client.abort(key)),
            Step::Close(peer) => pick(peer).into_iter().for_each(|key| self.fixture.client.close(key)),
            Step::PauseReading(peer) => {
                pick(peer).into_iter().for_each(|key| self.fixture.client.pause_receive(key));
            }
            Step::Read(peer) => pick(peer).into_iter().for_each(|key| self.fixture.client.receive(key)),
            Step::Rounds(rounds) => {
                for _ in 0..rounds {
                    self.fixture.round();
                }
            }
            Step::Pass(ms) => self.fixture.pass(Duration::from_millis(ms)),
            Step::Drain => self.drain(),
            Step::Connect => {}
        }
    }

    fn send(&mut self, key: Option<proactor::ConnectionKey>, byte: u8, len: usize) {
        let Some(key) = key.filter(|key| !self.finished.contains(key)) else { return };
        self.fixture.send(key, &vec![byte; len]);
        self.sent.get_mut(&key).unwrap().extend(std::iter::repeat_n(byte, len));
    }

    fn drain(&mut self) {
        if !std::mem::replace(&mut self.draining, true) {
            self.fixture.post(0, Mail::Drain(Duration::from_secs(5)));
            self.fixture.post(1, Mail::Drain(Duration::from_secs(5)));
        }
    }

    /// Ends everything and looks at what is left.
    fn finish(mut self) {
        self.drain();
        for _ in 0..10 {
            self.fixture.pass(Duration::from_secs(1));
        }
        let fixture = &self.fixture;
        assert!(fixture.workers.iter().all(super::super::Worker::has_ended), "{:?}", fixture.all_stats());
        fixture.assert_clean();
        for key in &self.keys {
            let (got, sent) = (fixture.got(*key), &self.sent[key]);
            assert!(sent.starts_with(got), "INV-4: bytes come back in order, or not at all");
        }
        self.check_lives();
    }

    /// Every session opens once and ends once, and nothing happens to it outside of that.
    fn check_lives(&self) {
        let mut open: HashMap<SessionId, bool> = HashMap::new();
        let (mut ends, mut failed) = (0, 0);
        for seen in self.fixture.log() {
            match seen {
                Seen::Open(id) => assert!(open.insert(id, true).is_none(), "INV-3: an id is not used again"),
                Seen::Close(id, reason) => {
                    assert_eq!(open.insert(id, false), Some(true), "INV-2: a session ends once");
                    assert_ne!(reason, CloseReason::Panicked);
                    ends += 1;
                }
                Seen::HalfClose(id) | Seen::Writable(id) | Seen::Idle(id) | Seen::Timer(id, _) => {
                    assert_eq!(open.get(&id), Some(&true), "INV-3: nothing happens to a session that ended");
                }
                Seen::ConnectFailed(..) => failed += 1,
                _ => {}
            }
        }
        assert_eq!(ends, self.connected.get() + failed, "each connect is answered once");
        let stats = self.fixture.all_stats();
        assert_eq!(stats.sessions_closed, ends as u64 + stats.sessions_panicked);
        assert_eq!(stats.sessions_opened as usize, open.len());
    }
}

proptest! {
    #![proptest_config(Runs { cases: 400, failure_persistence: None, ..Runs::default() })]

    #[test]
    fn any_life_ends_well(kernel in kernel(), steps in prop::collection::vec(step(), 1..60)) {
        let config = Config { high_water: 20_000, low_water: 5_000, ..Config::default() };
        let connected = Rc::default();
        let mut fixture = Fixture::new(kernel, 2, config, obedient(&connected));
        fixture.listen_outside();
        let mut run = Run {
            fixture,
            connected,
            keys: Vec::new(),
            sent: HashMap::new(),
            finished: HashSet::new(),
            draining: false,
            most: if kernel.capacity == 1 { 300 } else { usize::MAX },
        };
        for step in &steps {
            run.step(step);
        }
        // A peer that neither misbehaved nor was cut gets everything: seen where no order was given at all.
        let orderly = !steps.iter().any(|step| {
            matches!(step, Step::Order(..) | Step::Vanish(_) | Step::Close(_) | Step::Drain | Step::PauseReading(_))
        });
        if orderly {
            for key in run.keys.clone() {
                run.fixture.finish(key);
            }
            run.fixture.settle();
            for key in &run.keys {
                prop_assert_eq!(run.fixture.got(*key), &run.sent[key][..], "INV-4, INV-8");
                prop_assert_eq!(run.fixture.end(*key), End::Finished, "INV-7");
            }
        }
        run.finish();
    }
}
