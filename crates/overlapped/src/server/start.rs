//! Starting the workers of a server on one backend.
//!
//! A ring or port is made on its worker's thread, and registers the worker's listeners. The handlers
//! are made only when all of these could be made: a factory is called for workers that will run, never for a backend that
//! was tried and refused.

use std::marker::PhantomData;
use std::sync::Arc;
use std::thread;
use std::{io, result};

use proactor::backend::choice::Refusal;
use proactor::backend::{Backend, Create, Visitor, visit};
use proactor::{AcceptWatch, Driver, Pool, Socket, os};

use super::builder::Server;
use super::handle::{ServerHandle, post_to_engines};
use super::monitor::Monitor;
use super::worker_threads::{Breakdown, StartError, WorkerThreads};
use crate::admission::Placement;
use crate::catch_panic::contain;
use crate::config::{Config, OnPanic};
use crate::error::{Error, Result};
use crate::handler::Handler;
use crate::mailbox::{Mail, Mailbox};
use crate::observe::{Event, Observe, Observer};
use crate::resolver::{Resolve, Resolver};
use crate::shared::WorkerShared;
use crate::worker::{Arrival, Listeners, Parts, Plain, Worker, WorkerHandle, make_driver};

/// Makes the backend of the worker with this index, on its thread.
pub(super) type Make<B> = fn(usize, Pool) -> result::Result<B, Refusal>;

/// Starts a server on the backend that is visited.
struct StartOn<'a, H, F> {
    server: &'a Server,
    workers: usize,
    factory: &'a Arc<F>,
    handler: PhantomData<fn() -> H>,
}

impl<H, F> Visitor for StartOn<'_, H, F>
where
    H: Handler,
    F: Fn(WorkerHandle<H::Message>) -> H + Send + Sync + 'static,
{
    type Output = result::Result<ServerHandle<H::Message>, StartError>;

    fn visit<B: Create<Socket = Socket> + 'static>(self) -> Self::Output {
        self.server.start_on::<B, H, F>(self.workers, self.factory)
    }
}

/// What the threads of a server are made from.
struct Plan<B: Backend, H: Handler, F> {
    config: Arc<Config>,
    placement: Arc<Placement<Arrival<B::Socket>>>,
    mailboxes: Arc<[Arc<Mailbox<H::Message>>]>,
    resolver: Arc<dyn Resolve>,
    observe: Option<Observe>,
    create: Make<B>,
    factory: Arc<F>,
}

impl Server {
    /// Starts the server and blocks until it ends. It ends only if a backend or a worker fails. If you want to drain
    /// the server or read its counters, use [`start`](Self::start) instead.
    ///
    /// # Errors
    /// As for [`start`](Self::start) and [`ServerHandle::wait`].
    pub fn run<H: Handler>(
        self,
        factory: impl Fn(WorkerHandle<H::Message>) -> H + Send + Sync + 'static,
    ) -> Result<()> {
        self.start(factory)?.wait()
    }

    /// Starts the workers and returns when each of them accepts. `factory` makes each worker's handler, on that
    /// worker's thread: it is called once for each worker, and only when it is certain on which backend they run.
    /// Messages posted to the handles that the factory gets are delivered, even to workers whose handler does not exist
    /// yet.
    ///
    /// # Errors
    /// [`Error::Config`] for settings that make no sense, [`Error::NoRoom`] if the descriptor limit leaves no
    /// descriptor for a session, [`Error::NoBackend`] if none of the chosen backends works here, [`Error::Worker`] if a
    /// thread cannot be created or the factory panics. The workers that had already started are then ended.
    pub fn start<H: Handler>(
        mut self,
        factory: impl Fn(WorkerHandle<H::Message>) -> H + Send + Sync + 'static,
    ) -> Result<ServerHandle<H::Message>> {
        let workers = self.settle()?;
        let factory = Arc::new(factory);
        let mut refusals = Vec::new();
        for kind in self.choice.candidates() {
            let start = StartOn { server: &self, workers, factory: &factory, handler: PhantomData };
            let started = visit(*kind, start).unwrap_or_else(|refusal| Err(StartError::Refused(refusal)));
            match started {
                Ok(mut handle) => {
                    handle.refusals = refusals.into();
                    handle.skipped = self.skipped.into();
                    if let Some(observe) = self.observer {
                        handle.report_skipped(&Observer::new(
                            observe,
                            Arc::clone(&handle.all_shared[0].published),
                        ));
                    }
                    return Ok(handle);
                }
                Err(StartError::Refused(refusal)) => refusals.push(refusal),
                Err(StartError::Failed(error)) => return Err(error),
            }
        }
        Err(Error::NoBackend(refusals))
    }

    pub(super) fn start_on<B, H, F>(
        &self,
        workers: usize,
        factory: &Arc<F>,
    ) -> result::Result<ServerHandle<H::Message>, StartError>
    where
        B: Backend<Socket = Socket> + Create + 'static,
        H: Handler,
        F: Fn(WorkerHandle<H::Message>) -> H + Send + Sync + 'static,
    {
        self.start_made(workers, |_, pool| B::create(pool), factory)
    }

    /// The same, on backends made by `create`.
    pub(super) fn start_made<B, H, F>(
        &self,
        workers: usize,
        create: Make<B>,
        factory: &Arc<F>,
    ) -> result::Result<ServerHandle<H::Message>, StartError>
    where
        B: Backend<Socket = Socket> + 'static,
        H: Handler,
        F: Fn(WorkerHandle<H::Message>) -> H + Send + Sync + 'static,
    {
        let config = Arc::new(self.config.clone());
        let all_shared: Vec<Arc<WorkerShared>> = (0..workers).map(|_| Arc::default()).collect();
        let mailbox = |(index, shared)| Arc::new(Mailbox::new(index, Arc::clone(shared), config.mailbox));
        let mailboxes: Arc<[_]> = all_shared.iter().enumerate().map(mailbox).collect();
        let plan: Arc<Plan<B, H, F>> = Arc::new(Plan {
            placement: Arc::new(Placement::new(&all_shared, config.max_sessions, config.address_limit())),
            config,
            mailboxes,
            resolver: Arc::new(Resolver::default()),
            observe: self.observer.clone(),
            create,
            factory: Arc::clone(factory),
        });
        let handle = ServerHandle {
            addresses: self.addresses.clone().into(),
            backend: B::KIND,
            refusals: Arc::default(),
            skipped: Arc::default(),
            all_shared: all_shared.into(),
            worker_threads: Arc::new(WorkerThreads::new(workers)),
            mailboxes: Arc::clone(&plan.mailboxes),
            send_limits: self.config.send_limits(),
        };
        let started = self.start_threads(&plan, &handle);
        if started.is_err() {
            // Nothing else would close them.
            handle.all_shared.iter().for_each(|shared| shared.spare_listeners().clear());
        }
        started.map(|()| handle)
    }

    /// Starts the monitor and the workers, and waits until all of them are ready.
    fn start_threads<B, H, F>(
        &self,
        plan: &Arc<Plan<B, H, F>>,
        handle: &ServerHandle<H::Message>,
    ) -> result::Result<(), StartError>
    where
        B: Backend<Socket = Socket> + 'static,
        H: Handler,
        F: Fn(WorkerHandle<H::Message>) -> H + Send + Sync + 'static,
    {
        let failed = |source| StartError::Failed(Error::Monitor { source });
        self.start_monitor(plan, handle).map_err(failed)?;
        for index in 0..handle.mailboxes.len() {
            let failed = |source| StartError::Failed(Error::Worker { worker: index, source });
            let sockets = self.sockets_of(index, handle.mailboxes.len()).map_err(failed);
            let (plan, worker_threads) = (Arc::clone(plan), Arc::clone(&handle.worker_threads));
            let spawned = sockets.and_then(|sockets| {
                let body = move || run_worker(&plan, index, sockets, &worker_threads);
                thread::Builder::new().name(format!("worker-{index}")).spawn(body).map_err(failed)
            });
            match spawned {
                Ok(thread) => handle.worker_threads.spawned(thread),
                Err(error) => {
                    handle.worker_threads.refuse(error);
                    break;
                }
            }
        }
        handle.worker_threads.wait_started()
    }

    /// A server with several workers has a monitor, which acts when one of them is blocked.
    fn start_monitor<B, H, F>(
        &self,
        plan: &Plan<B, H, F>,
        handle: &ServerHandle<H::Message>,
    ) -> io::Result<()>
    where
        B: Backend<Socket = Socket>,
        H: Handler,
    {
        if handle.mailboxes.len() == 1 {
            return Ok(());
        }
        if AcceptWatch::ACCEPTS {
            for (index, shared) in handle.all_shared.iter().enumerate() {
                *shared.spare_listeners() = self.sockets_of(index, handle.mailboxes.len())?;
            }
        }
        let monitor = Monitor::new(&handle.all_shared, Arc::clone(&plan.placement))?;
        let worker_threads = Arc::clone(&handle.worker_threads);
        let body = move || {
            if worker_threads.has_started() {
                // Without a monitor the server works as before, until a worker is blocked.
                let _ = monitor.run();
            }
        };
        let thread = thread::Builder::new().name("monitor".into()).spawn(body)?;
        handle.worker_threads.spawned(thread);
        Ok(())
    }

    /// The listeners of a worker, with their tokens. Listener i belongs to worker i mod N. Each attempt works on duplicates,
    /// so that the next has them too.
    fn sockets_of(&self, index: usize, workers: usize) -> io::Result<Vec<(Socket, u64)>> {
        let all = self.sockets.iter().zip(self.socket_tokens()).enumerate();
        let mine = all.filter(|(listener, _)| listener % workers == index);
        mine.map(|(_, (socket, token))| Ok((socket.try_clone()?, *token))).collect()
    }
}

/// The life of a worker's thread.
fn run_worker<B, H, F>(
    plan: &Plan<B, H, F>,
    index: usize,
    sockets: Vec<(Socket, u64)>,
    worker_threads: &WorkerThreads,
) where
    B: Backend<Socket = Socket>,
    H: Handler,
    F: Fn(WorkerHandle<H::Message>) -> H,
{
    worker_threads.enter();
    let panicked = |message| Breakdown::Panicked { worker: index, message };
    let (driver, listeners) = match contain(|| plan.make_driver(index, sockets)).map_err(panicked) {
        Ok(Ok(made)) => made,
        Ok(Err(error)) => return worker_threads.refuse(error),
        Err(breakdown) => return worker_threads.refuse(StartError::Failed(breakdown.error())),
    };
    if !worker_threads.drivers_are_made() {
        return;
    }
    let mut worker = match contain(|| plan.make_worker(index, driver, listeners)).map_err(panicked) {
        Ok(worker) => worker,
        Err(breakdown) => return worker_threads.refuse(StartError::Failed(breakdown.error())),
    };
    if !worker_threads.handlers_are_made() {
        let _ = plan.drop_worker(index, worker);
        return;
    }
    let result = match contain(|| worker.run()).map_err(panicked) {
        Ok(result) => result.map_err(|source| Breakdown::Backend { backend: B::KIND, source }),
        Err(breakdown) => Err(breakdown),
    };
    // Not while a panic unwinds: a second one, in a destructor, would abort the process.
    let dropped = plan.drop_worker(index, worker).map_err(panicked);
    plan.mailboxes[index].shared.heartbeat.wake_monitor();
    if worker_threads.ended(result.and(dropped)) {
        post_to_engines(&plan.mailboxes, || Mail::Stop);
    }
}

/// Pins the calling thread, a worker's, to a processor of its own. There may be more workers than processors.
fn pin_worker(index: usize) -> io::Result<()> {
    os::pin_thread(index % os::processors()?.len())
}

impl<B, H, F> Plan<B, H, F>
where
    B: Backend<Socket = Socket>,
    H: Handler,
    F: Fn(WorkerHandle<H::Message>) -> H,
{
    fn make_driver(
        &self,
        index: usize,
        sockets: Vec<(Socket, u64)>,
    ) -> result::Result<(Driver<B>, Listeners), StartError> {
        if self.config.pin_workers {
            // First, so that its memory is close to its processor.
            let failed = |source| StartError::Failed(Error::Worker { worker: index, source });
            pin_worker(index).map_err(failed)?;
        }
        let pool = self.config.make_pool().map_err(StartError::Failed)?;
        let backend = (self.create)(index, pool).map_err(StartError::Refused)?;
        let mut driver = make_driver(backend, &self.config, index, self.observer(index));
        let listen = |(socket, token)| {
            driver.listen(socket).map(|listener| (listener, token)).map_err(|error| {
                StartError::Refused(Refusal {
                    backend: B::KIND,
                    reason: format!("a listener cannot be registered: {error}"),
                    remedy: "raise the descriptor limit (`ulimit -n`)".into(),
                })
            })
        };
        let listeners = sockets.into_iter().map(listen).collect::<result::Result<Vec<_>, _>>()?;
        Ok((driver, listeners))
    }

    fn make_worker(&self, index: usize, driver: Driver<B>, listeners: Listeners) -> Worker<B, H> {
        Worker::new(Parts {
            index,
            driver,
            listeners,
            handler: (self.factory)(WorkerHandle::new(index, Arc::clone(&self.mailboxes))),
            layer: Plain,
            config: Arc::clone(&self.config),
            mailbox: Arc::clone(&self.mailboxes[index]),
            placement: Arc::clone(&self.placement),
            resolver: Arc::clone(&self.resolver),
            observer: self.observer(index),
        })
    }

    fn observer(&self, index: usize) -> Option<Observer> {
        let observe = self.observe.as_ref()?;
        Some(Observer::new(Arc::clone(observe), Arc::clone(&self.mailboxes[index].shared.published)))
    }

    /// A worker drops its handler last. A panic in that destructor counts as the handler's, like any other: it is counted
    /// and reported, and stops the server only if the policy says so.
    ///
    /// # Errors
    /// The panic's message, if the server is to stop for it.
    fn drop_worker(&self, index: usize, worker: Worker<B, H>) -> result::Result<(), String> {
        let Err(message) = contain(|| drop(worker)) else { return Ok(()) };
        self.mailboxes[index].shared.published.count_last_panic();
        if let Some(observer) = self.observer(index) {
            observer.call(&Event::Panicked { session: None, message: &message });
        }
        if self.config.on_panic == OnPanic::StopServer { Err(message) } else { Ok(()) }
    }
}
