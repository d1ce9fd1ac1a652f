//! Names, resolved on threads of their own: the system's resolver blocks, and a worker must not (INV-5).
//!
//! A thread is started for a name that waits, up to [`MOST_THREADS`], and ends when no name waits. It is not joined: a
//! lookup cannot be cancelled, and the end of a server does not wait for it.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use crate::catch_panic::contain;
use crate::endpoint::Endpoint;

/// Lookups of one server at a time.
const MOST_THREADS: usize = 4;
/// Connects that may wait for lookups.
const MOST_WAITING: usize = 65_536;

/// Called with the addresses of a name, on any thread.
pub(crate) type Answer = Box<dyn FnOnce(io::Result<Vec<SocketAddr>>) + Send>;

/// Resolves names without blocking the caller. Tests have their own.
pub(crate) trait Resolve: Send + Sync {
    /// `answer` is called once, unless the server ends before.
    fn ask(&self, name: &Endpoint, answer: Answer);
}

/// The system's resolver.
pub(crate) struct Resolver {
    shared: Arc<Shared>,
}

/// Finds the addresses of a name. Blocks.
type LookUp = Box<dyn Fn(&Endpoint) -> io::Result<Vec<SocketAddr>> + Send + Sync>;

struct Shared {
    state: Mutex<State>,
    look_up: LookUp,
}

#[derive(Default)]
struct State {
    /// Names that no thread has begun with.
    queue: VecDeque<Endpoint>,
    /// Who waits for a name, in the queue or being looked up.
    waiting: HashMap<Endpoint, Vec<Answer>>,
    /// Answers in `waiting`.
    answers: usize,
    threads: usize,
}

impl Default for Resolver {
    fn default() -> Self {
        Resolver::over(Endpoint::addresses)
    }
}

impl Resolver {
    fn over(look_up: impl Fn(&Endpoint) -> io::Result<Vec<SocketAddr>> + Send + Sync + 'static) -> Resolver {
        Resolver { shared: Arc::new(Shared { state: Mutex::default(), look_up: Box::new(look_up) }) }
    }
}

impl Resolve for Resolver {
    fn ask(&self, name: &Endpoint, answer: Answer) {
        let mut state = self.shared.lock();
        if state.answers >= MOST_WAITING {
            drop(state);
            let problem = format!("cannot resolve {name}: {MOST_WAITING} connects wait for names already");
            return answer(Err(io::Error::new(io::ErrorKind::ResourceBusy, problem)));
        }
        state.answers += 1;
        if let Some(answers) = state.waiting.get_mut(name) {
            return answers.push(answer);
        }
        state.waiting.insert(name.clone(), vec![answer]);
        state.queue.push_back(name.clone());
        if state.threads == MOST_THREADS {
            return;
        }
        state.threads += 1;
        drop(state);
        let shared = Arc::clone(&self.shared);
        let spawned = thread::Builder::new().name("resolver".into()).spawn(move || shared.run());
        if let Err(error) = spawned {
            self.shared.could_not_spawn(&error);
        }
    }
}

impl Drop for Resolver {
    /// The server has ended: nobody waits any more.
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.queue.clear();
        let answers = std::mem::take(&mut state.waiting);
        state.answers = 0;
        drop(state);
        drop(answers);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks up what waits, then ends.
    fn run(&self) {
        loop {
            let mut state = self.lock();
            let Some(name) = state.queue.pop_front() else {
                state.threads -= 1;
                return;
            };
            drop(state);
            let found = contain(|| (self.look_up)(&name));
            let found = found.unwrap_or_else(|message| Err(io::Error::other(message)));
            self.answer(&name, &found);
        }
    }

    /// The other threads, if there are some, take what waits.
    fn could_not_spawn(&self, error: &io::Error) {
        let mut state = self.lock();
        state.threads -= 1;
        let left = if state.threads == 0 { std::mem::take(&mut state.queue) } else { VecDeque::new() };
        drop(state);
        for name in left {
            let problem = format!("cannot resolve {name}: no thread can be started for it: {error}");
            self.answer(&name, &Err(io::Error::new(error.kind(), problem)));
        }
    }

    fn answer(&self, name: &Endpoint, found: &io::Result<Vec<SocketAddr>>) {
        let mut state = self.lock();
        let answers = state.waiting.remove(name).unwrap_or_default();
        state.answers -= answers.len();
        drop(state);
        for answer in answers {
            answer(match found {
                Ok(addresses) => Ok(addresses.clone()),
                // `io::Error` is not `Clone`.
                Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
            });
        }
    }
}

/// The addresses of a name in the order of RFC 8305, section 4: the families in turns, beginning with that of the first
/// address.
pub(crate) fn interleave(addresses: Vec<SocketAddr>) -> VecDeque<SocketAddr> {
    let Some(first) = addresses.first() else { return VecDeque::new() };
    let preferred = first.is_ipv4();
    let (mut of_first, mut others): (VecDeque<_>, VecDeque<_>) =
        addresses.into_iter().partition(|address| address.is_ipv4() == preferred);
    let mut order = VecDeque::with_capacity(of_first.len() + others.len());
    while !of_first.is_empty() || !others.is_empty() {
        order.extend(of_first.pop_front());
        order.extend(others.pop_front());
    }
    order
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::time::Duration;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);
    const FOUND: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 80);

    /// A resolver whose lookups are reported, and wait until they are let go.
    fn held() -> (Resolver, Receiver<Endpoint>, Sender<()>) {
        let (began, begun) = channel();
        let (go, gone) = channel();
        let gone = Mutex::new(gone);
        let resolver = Resolver::over(move |name| {
            began.send(name.clone()).expect("the test waits");
            let _ = gone.lock().unwrap_or_else(PoisonError::into_inner).recv_timeout(PATIENCE);
            match name.to_string().as_str() {
                "unknown:80" => Err(io::Error::new(io::ErrorKind::NotFound, "unknown:80 has no address")),
                "panics:80" => panic!("on purpose"),
                _ => Ok(vec![FOUND]),
            }
        });
        (resolver, begun, go)
    }

    fn ask(resolver: &Resolver, name: &str, tell: &Sender<(String, io::Result<Vec<SocketAddr>>)>) {
        let (tell, named) = (tell.clone(), name.to_owned());
        resolver.ask(
            &Endpoint::from(name),
            Box::new(move |found| tell.send((named, found)).expect("the test waits")),
        );
    }

    /// Asks for three names more than are looked up at a time, and waits until all threads have begun.
    fn fill(
        resolver: &Resolver,
        begun: &Receiver<Endpoint>,
        tell: &Sender<(String, io::Result<Vec<SocketAddr>>)>,
    ) {
        for name in 0..MOST_THREADS + 3 {
            ask(resolver, &format!("name-{name}:80"), tell);
        }
        for _ in 0..MOST_THREADS {
            begun.recv_timeout(PATIENCE).unwrap();
        }
    }

    #[test]
    fn each_is_answered_and_the_same_name_is_looked_up_once() {
        let (resolver, begun, go) = held();
        let (tell, told) = channel();
        ask(&resolver, "one:80", &tell);
        assert_eq!(begun.recv_timeout(PATIENCE).unwrap(), Endpoint::from("one:80"));
        for name in ["one:80", "one:80", "unknown:80", "panics:80"] {
            ask(&resolver, name, &tell);
        }
        for _ in 0..3 {
            go.send(()).unwrap();
        }
        let mut answers: Vec<_> = (0..5).map(|_| told.recv_timeout(PATIENCE).unwrap()).collect();
        answers.sort_by(|one, other| one.0.cmp(&other.0));
        assert!(
            answers[..3].iter().all(|(name, found)| name == "one:80" && *found.as_ref().unwrap() == [FOUND])
        );
        assert_eq!(answers[3].1.as_ref().unwrap_err().to_string(), "on purpose");
        assert_eq!(answers[4].1.as_ref().unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(begun.try_iter().count(), 2, "three names, each looked up once");
        assert_eq!(resolver.shared.lock().answers, 0);
        // No result is kept.
        ask(&resolver, "one:80", &tell);
        begun.recv_timeout(PATIENCE).unwrap();
        go.send(()).unwrap();
        told.recv_timeout(PATIENCE).unwrap().1.unwrap();
    }

    #[test]
    fn lookups_and_what_waits_for_them_are_bounded() {
        let (resolver, begun, go) = held();
        let (tell, told) = channel();
        fill(&resolver, &begun, &tell);
        assert_eq!(resolver.shared.lock().threads, MOST_THREADS);
        for _ in MOST_THREADS + 3..MOST_WAITING {
            ask(&resolver, "name-0:80", &tell);
        }
        assert!(told.try_recv().is_err(), "nothing is answered yet");
        ask(&resolver, "name-0:80", &tell);
        let refused = told.recv_timeout(PATIENCE).unwrap().1.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ResourceBusy);
        assert!(refused.to_string().contains("name-0:80"), "{refused}");
        for _ in 0..MOST_THREADS + 3 {
            go.send(()).unwrap();
        }
        for _ in 0..MOST_WAITING {
            told.recv_timeout(PATIENCE).unwrap().1.unwrap();
        }
        assert_eq!(resolver.shared.lock().answers, 0);
    }

    /// A lookup that is under way is not waited for, and those behind it do not begin.
    #[test]
    fn the_end_of_a_server_waits_for_no_lookup() {
        let (resolver, begun, go) = held();
        let (tell, told) = channel();
        fill(&resolver, &begun, &tell);
        drop((resolver, tell));
        assert!(told.recv_timeout(PATIENCE).is_err(), "no answer is kept");
        // Disconnected once the threads have ended, which drop what the lookup sends to.
        drop(go);
        assert!(begun.recv_timeout(PATIENCE).is_err(), "no further lookup");
    }

    #[test]
    fn the_families_take_turns() {
        let order = |texts: &[&str]| -> Vec<String> {
            let addresses = texts.iter().map(|text| text.parse().unwrap()).collect();
            interleave(addresses).iter().map(ToString::to_string).collect()
        };
        let [a, b, c] = ["[::1]:1", "[::2]:1", "[::3]:1"];
        let [d, e] = ["127.0.0.1:1", "127.0.0.2:1"];
        assert_eq!(order(&[a, b, c, d, e]), [a, d, b, e, c]);
        assert_eq!(order(&[d, e, a, b, c]), [d, a, e, b, c]);
        assert_eq!(order(&[d, e]), [d, e]);
        assert_eq!(order(&[]), [""; 0]);
    }
}
