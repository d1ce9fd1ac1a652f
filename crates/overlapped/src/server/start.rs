//! Starting the workers of a server on one backend, and keeping count of them.
//!
//! A ring or port is made on its worker's thread; all of them stand before anything is said to listen. However a
//! worker ends, with a panic too, it is counted out: nobody waits for it in vain.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;
use std::{io, result};

use proactor::backend::detect::Refusal;
use proactor::backend::{Backend, Create};
use proactor::{AcceptWatch, Driver, Pool};

use super::monitor::Monitor;
use super::{RealSocket, Server, ServerHandle};
use crate::acceptor::Acceptor;
use crate::addresses::Addresses;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::events::Observer;
use crate::handler::Handler;
use crate::mailbox::{Mail, Mailbox, WorkerFace, WorkerHandle};
use crate::worker::{Arrival, Parts, Plain, Worker};

/// Why a server did not start.
pub(super) enum StartError {
    /// This backend does not run here; another one may.
    Refused(Refusal),
    /// Nothing else would help.
    Failed(Error),
}

/// What the threads of a server are made from.
struct Plan<B: Backend, H: Handler, F> {
    config: Arc<Config>,
    acceptor: Arc<Acceptor<Arrival<B::Socket>>>,
    addresses: Option<Arc<Addresses>>,
    mailboxes: Arc<[Arc<Mailbox<H::Message>>]>,
    observer: Option<Observer>,
    factory: Arc<F>,
}

impl Server {
    pub(super) fn start_on<B, H, F>(
        &self,
        workers: usize,
        factory: &Arc<F>,
    ) -> result::Result<ServerHandle, StartError>
    where
        B: Backend<Socket = RealSocket> + Create + 'static,
        H: Handler,
        F: Fn(WorkerHandle<H::Message>) -> H + Send + Sync + 'static,
    {
        let config = Arc::new(self.config.clone());
        let faces: Vec<Arc<WorkerFace>> = (0..workers).map(|_| Arc::default()).collect();
        let mailbox = |(index, face)| Arc::new(Mailbox::new(index, Arc::clone(face), config.mailbox));
        let mailboxes: Arc<[_]> = faces.iter().enumerate().map(mailbox).collect();
        let plan: Arc<Plan<B, H, F>> = Arc::new(Plan {
            acceptor: Arc::new(Acceptor::new(&faces, config.max_sessions)),
            addresses: config.max_per_address.map(|most| Arc::new(Addresses::new(most))),
            config,
            mailboxes,
            observer: self.observer.clone(),
            factory: Arc::clone(factory),
        });
        let handle = ServerHandle {
            addresses: self.addresses.clone().into(),
            backend: B::NAME,
            workers,
            refusals: Arc::default(),
            faces: faces.into(),
            running: Arc::new(Running::new(workers)),
            control: Arc::new(Arc::clone(&plan.mailboxes)),
        };
        let started = self.start_threads(&plan, &handle);
        if started.is_err() {
            // Nobody would ever close them.
            handle.faces.iter().for_each(|face| face.spare_listeners().clear());
        }
        started.map(|()| handle)
    }

    /// Starts the monitor and the workers, and waits until all of them are ready.
    fn start_threads<B, H, F>(
        &self,
        plan: &Arc<Plan<B, H, F>>,
        handle: &ServerHandle,
    ) -> result::Result<(), StartError>
    where
        B: Backend<Socket = RealSocket> + Create + 'static,
        H: Handler,
        F: Fn(WorkerHandle<H::Message>) -> H + Send + Sync + 'static,
    {
        let failed = |source| StartError::Failed(Error::Monitor { source });
        self.start_monitor(plan, handle).map_err(failed)?;
        for index in 0..handle.workers {
            let failed = |source| StartError::Failed(Error::Worker { worker: index, source });
            let sockets = self.sockets_of(index, handle.workers).map_err(failed);
            let (plan, running) = (Arc::clone(plan), Arc::clone(&handle.running));
            let control = Arc::clone(&handle.control);
            let spawned = sockets.and_then(|sockets| {
                let body = move || run_worker(&plan, index, sockets, &running, &*control);
                thread::Builder::new().name(format!("worker-{index}")).spawn(body).map_err(failed)
            });
            match spawned {
                Ok(thread) => handle.running.lock().threads.push(thread),
                Err(error) => {
                    handle.running.give_up();
                    return Err(error);
                }
            }
        }
        handle.running.wait_started()
    }

    /// A server with several workers has a monitor, which helps when one of them is blocked.
    fn start_monitor<B, H, F>(&self, plan: &Plan<B, H, F>, handle: &ServerHandle) -> io::Result<()>
    where
        B: Backend<Socket = RealSocket>,
        H: Handler,
    {
        if handle.workers == 1 {
            return Ok(());
        }
        if AcceptWatch::ACCEPTS {
            for (index, face) in handle.faces.iter().enumerate() {
                *face.spare_listeners() = self.sockets_of(index, handle.workers)?;
            }
        }
        let (acceptor, addresses) = (Arc::clone(&plan.acceptor), plan.addresses.clone());
        let monitor = Monitor::new(&handle.faces, acceptor, addresses)?;
        let running = Arc::clone(&handle.running);
        let body = move || {
            if running.has_started() {
                // Without it the server is as good as before, until a worker is blocked.
                let _ = monitor.run();
            }
        };
        let thread = thread::Builder::new().name("monitor".into()).spawn(body)?;
        handle.running.lock().threads.push(thread);
        Ok(())
    }

    /// Listener i belongs to worker i mod N. Each attempt works on duplicates, so that the next has them too.
    fn sockets_of(&self, index: usize, workers: usize) -> io::Result<Vec<RealSocket>> {
        let mine = self.sockets.iter().enumerate().filter(|(listener, _)| listener % workers == index);
        mine.map(|(_, socket)| socket.try_clone()).collect()
    }
}

/// The life of a worker's thread.
fn run_worker<B, H, F>(
    plan: &Plan<B, H, F>,
    index: usize,
    sockets: Vec<RealSocket>,
    running: &Running,
    control: &dyn Control,
) where
    B: Backend<Socket = RealSocket> + Create,
    H: Handler,
    F: Fn(WorkerHandle<H::Message>) -> H,
{
    let made = catch_unwind(AssertUnwindSafe(|| plan.make_worker(index, sockets)));
    let mut worker = match made.map_err(|payload| panicked(index, &*payload)) {
        Ok(Ok(worker)) => worker,
        Ok(Err(refusal)) => return running.refuse(StartError::Refused(refusal)),
        Err(error) => return running.refuse(StartError::Failed(error)),
    };
    if !running.go() {
        return;
    }
    let run = AssertUnwindSafe(|| {
        let result = worker.run().map_err(|source| Error::Backend { backend: B::NAME, source });
        drop(worker);
        result
    });
    let result = catch_unwind(run).unwrap_or_else(|payload| Err(panicked(index, &*payload)));
    plan.mailboxes[index].face.heartbeat.wake_monitor();
    if running.ended(result) {
        control.stop();
    }
}

fn panicked(worker: usize, payload: &(dyn Any + Send)) -> Error {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    let text = text.or(payload.downcast_ref::<&str>().copied()).unwrap_or("(no message)");
    Error::Worker { worker, source: io::Error::other(format!("it panicked: {text}")) }
}

impl<B, H, F> Plan<B, H, F>
where
    B: Backend<Socket = RealSocket> + Create,
    H: Handler,
    F: Fn(WorkerHandle<H::Message>) -> H,
{
    fn make_worker(&self, index: usize, sockets: Vec<RealSocket>) -> result::Result<Worker<B, H>, Refusal> {
        let pool = Pool::new(self.config.pool);
        let driver = Driver::new(B::create(&pool)?, pool);
        let mut worker = Worker::new(Parts {
            index,
            driver,
            handler: (self.factory)(WorkerHandle::new(index, Arc::clone(&self.mailboxes))),
            layer: Plain,
            config: Arc::clone(&self.config),
            mailbox: Arc::clone(&self.mailboxes[index]),
            acceptor: Arc::clone(&self.acceptor),
            addresses: self.addresses.clone(),
            observer: self.observer.clone(),
        });
        for socket in sockets {
            worker.listen(socket).map_err(|error| Refusal {
                backend: B::NAME,
                reason: format!("a listener cannot be registered: {error}"),
                remedy: "raise the descriptor limit (`ulimit -n`)".into(),
            })?;
        }
        Ok(worker)
    }
}

/// Posting to all workers without knowing their handler.
pub(super) trait Control: Send + Sync {
    fn drain(&self, limit: Duration);
    fn stop(&self);
}

impl<M: Send> Control for Arc<[Arc<Mailbox<M>>]> {
    fn drain(&self, limit: Duration) {
        for mailbox in self.iter() {
            let _ = mailbox.post(Mail::Drain(limit), false);
        }
    }

    fn stop(&self) {
        for mailbox in self.iter() {
            let _ = mailbox.post(Mail::Stop, false);
        }
    }
}

/// Where the workers of a server are: starting, running, ended.
pub(super) struct Running {
    state: Mutex<RunState>,
    changed: Condvar,
}

struct RunState {
    starting: usize,
    running: usize,
    refused: Option<StartError>,
    given_up: bool,
    broken: Option<Error>,
    /// Joined by the first who waits for the end: then nothing of a server is left.
    threads: Vec<thread::JoinHandle<()>>,
}

impl Running {
    fn new(workers: usize) -> Running {
        let state = RunState {
            starting: workers,
            running: workers,
            refused: None,
            given_up: false,
            broken: None,
            threads: Vec::new(),
        };
        Running { state: Mutex::new(state), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, RunState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_while(&self, condition: impl Fn(&RunState) -> bool) -> MutexGuard<'_, RunState> {
        let waited = self.changed.wait_while(self.lock(), |state| condition(state));
        waited.unwrap_or_else(PoisonError::into_inner)
    }

    /// A worker could not be made: none of them runs.
    fn refuse(&self, why: StartError) {
        let mut state = self.lock();
        state.refused.get_or_insert(why);
        state.given_up = true;
        state.starting -= 1;
        self.changed.notify_all();
    }

    fn give_up(&self) {
        self.lock().given_up = true;
        self.changed.notify_all();
    }

    /// Waits until all workers are ready; false if one of them could not be made.
    fn has_started(&self) -> bool {
        !self.wait_while(|state| state.starting > 0 && !state.given_up).given_up
    }

    /// A worker is ready. Waits for the others; false if one of them could not be made.
    fn go(&self) -> bool {
        self.lock().starting -= 1;
        self.changed.notify_all();
        self.has_started()
    }

    fn wait_started(&self) -> result::Result<(), StartError> {
        match self.wait_while(|state| state.starting > 0).refused.take() {
            Some(why) => Err(why),
            None => Ok(()),
        }
    }

    /// A worker has ended. True if it broke, so that the others should end too.
    fn ended(&self, result: Result<()>) -> bool {
        let mut state = self.lock();
        state.running -= 1;
        self.changed.notify_all();
        match result {
            Ok(()) => false,
            Err(error) => {
                state.broken.get_or_insert(error);
                true
            }
        }
    }

    /// Waits until every worker has ended, and its thread with it; says once what broke.
    pub(super) fn wait_ended(&self) -> Result<()> {
        let mut state = self.wait_while(|state| state.running > 0);
        let (threads, broken) = (std::mem::take(&mut state.threads), state.broken.take());
        drop(state);
        for thread in threads {
            // Its panics were caught; it has nothing more to say.
            let _ = thread.join();
        }
        broken.map_or(Ok(()), Err)
    }
}
