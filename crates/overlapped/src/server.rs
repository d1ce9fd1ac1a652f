//! Building a server, running it, and ending it.

use std::fmt;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use proactor::backend::detect::{Choice, Refusal};
use proactor::backend::{Backend, Create};
use proactor::{Driver, ListenOptions, Name, Pool, listen};

use crate::acceptor::Acceptor;
use crate::config::{Config, Overflow, hard_limit_for};
use crate::error::{Error, Result};
use crate::events::{Event, Observer};
use crate::handler::Handler;
use crate::limits;
use crate::mailbox::{Mail, Mailbox, WorkerFace, WorkerHandle};
use crate::stats::Stats;
use crate::worker::{Parts, Worker};

/// The socket type of every real backend.
type RealSocket = <Real as Backend>::Socket;
#[cfg(unix)]
type Real = proactor::backend::readiness::Readiness;
#[cfg(windows)]
type Real = proactor::backend::iocp::Iocp;

/// A server that is bound and not started yet.
///
/// Every setting has a default fit for production; see each method.
pub struct Server {
    sockets: Vec<RealSocket>,
    addresses: Vec<SocketAddr>,
    workers: Option<usize>,
    choice: Choice,
    config: Config,
    hard_limit: Option<usize>,
    low_water: Option<usize>,
    observer: Option<Observer>,
}

impl Server {
    /// Binds an address and listens on it. Nothing is accepted before [`start`](Self::start) or
    /// [`run`](Self::run). Port 0 picks a free port.
    ///
    /// # Errors
    /// [`Error::Resolve`] or [`Error::Bind`].
    pub fn bind(address: impl ToSocketAddrs + fmt::Debug) -> Result<Server> {
        let server = Server {
            sockets: Vec::new(),
            addresses: Vec::new(),
            workers: None,
            choice: Choice::Auto,
            config: Config::default(),
            hard_limit: None,
            low_water: None,
            observer: None,
        };
        server.also_bind(address)
    }

    /// Listens on one more address. All of what a name resolves to is listened on.
    ///
    /// # Errors
    /// [`Error::Resolve`] or [`Error::Bind`].
    pub fn also_bind(mut self, address: impl ToSocketAddrs + fmt::Debug) -> Result<Server> {
        let given = || format!("{address:?}").trim_matches('"').to_owned();
        let resolved =
            address.to_socket_addrs().map_err(|source| Error::Resolve { address: given(), source })?;
        let mut some = false;
        for address in resolved {
            let failed = |source| Error::Bind { address: address.to_string(), source };
            let socket = listen(address, ListenOptions::default()).map_err(failed)?;
            let bound = socket.local_addr().map_err(failed)?.as_socket().unwrap_or(address);
            self.sockets.push(socket);
            self.addresses.push(bound);
            some = true;
        }
        if !some {
            let source = std::io::Error::other("it resolves to no address");
            return Err(Error::Resolve { address: given(), source });
        }
        Ok(self)
    }

    /// How many workers, each a thread with a ring or port of its own. Default: one per core.
    #[must_use]
    pub fn workers(mut self, workers: usize) -> Server {
        self.workers = Some(workers);
        self
    }

    /// Which backend. Default: the best one that works here; what was refused is told by
    /// [`ServerHandle::refusals`].
    #[must_use]
    pub fn backend(mut self, choice: Choice) -> Server {
        self.choice = choice;
        self
    }

    /// Sessions at most, over all workers; connections beyond are closed at once and counted. Default: what the
    /// descriptor limit leaves room for (see [`raise_descriptor_limit`](crate::raise_descriptor_limit)).
    #[must_use]
    pub fn max_sessions(mut self, sessions: usize) -> Server {
        self.config.max_sessions = sessions;
        self
    }

    /// Unsent bytes of a session at which its receive pauses. Default: 64 KiB.
    #[must_use]
    pub fn high_water(mut self, bytes: usize) -> Server {
        self.config.high_water = bytes;
        self
    }

    /// Unsent bytes at which a paused receive resumes. Default: half of the high-water mark.
    #[must_use]
    pub fn low_water(mut self, bytes: usize) -> Server {
        self.low_water = Some(bytes);
        self
    }

    /// Bytes that may be queued for a session, blocks charged in full. Default: 2 MiB over the high-water mark,
    /// room for what one turn may still bring in after that mark.
    #[must_use]
    pub fn hard_limit(mut self, bytes: usize) -> Server {
        self.hard_limit = Some(bytes);
        self
    }

    /// What happens over the hard limit. Default: the session is closed.
    #[must_use]
    pub fn overflow(mut self, policy: Overflow) -> Server {
        self.config.overflow = policy;
        self
    }

    /// Shape of each worker's pool: how many blocks, of how many bytes. Default: 256 of 16 KiB.
    #[must_use]
    pub fn pool(mut self, blocks: u16, block_len: u32) -> Server {
        self.config.pool = proactor::PoolConfig { blocks, block_len };
        self
    }

    /// Messages and commands that may wait in a worker's mailbox. Default: 16,384.
    #[must_use]
    pub fn mailbox(mut self, messages: usize) -> Server {
        self.config.mailbox = messages;
        self
    }

    /// Calls [`Handler::on_idle`] for sessions on which nothing moved for so long. Default: off.
    #[must_use]
    pub fn idle_timeout(mut self, after: Option<Duration>) -> Server {
        self.config.idle_timeout = after;
        self
    }

    /// Closes sessions that never sent a byte. Default: off.
    #[must_use]
    pub fn first_byte_timeout(mut self, after: Option<Duration>) -> Server {
        self.config.first_byte_timeout = after;
        self
    }

    /// Aborts sessions whose peer does not read what is sent. Default: 60 s.
    #[must_use]
    pub fn write_timeout(mut self, after: Option<Duration>) -> Server {
        self.config.write_timeout = after;
        self
    }

    /// After a graceful close: how long the peer's FIN is waited for. Default: 2 s.
    #[must_use]
    pub fn linger_timeout(mut self, after: Duration) -> Server {
        self.config.linger_timeout = after;
        self
    }

    /// Calls [`Handler::on_tick`] on every worker this often. Default: off.
    #[must_use]
    pub fn tick(mut self, every: Option<Duration>) -> Server {
        self.config.tick = every;
        self
    }

    /// Tells `observer` every event, on the worker's thread, between two operations: it must be quick.
    #[must_use]
    pub fn observer(mut self, observer: impl Fn(&Event<'_>) + Send + Sync + 'static) -> Server {
        self.observer = Some(Arc::new(observer));
        self
    }

    /// The addresses listened on, with the ports the system chose.
    #[must_use]
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Starts and blocks until the server has ended: drained through nothing but its own handler, or broken.
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
    /// worker's thread.
    ///
    /// # Errors
    /// [`Error::Config`] for settings that make no sense, [`Error::NoBackend`] if none of the chosen backends
    /// works here, [`Error::Worker`] if a thread cannot be had.
    pub fn start<H: Handler>(
        mut self,
        factory: impl Fn(WorkerHandle<H::Message>) -> H + Send + Sync + 'static,
    ) -> Result<ServerHandle> {
        let workers = self.workers.unwrap_or_else(|| thread::available_parallelism().map_or(1, usize::from));
        if !(1..=1024).contains(&workers) {
            let problem = format!("is {workers}; give 1 to 1024, or leave it out for one per core");
            return Err(Error::Config { setting: "the number of workers", problem });
        }
        self.config.low_water = self.low_water.unwrap_or(self.config.high_water / 2);
        self.config.hard_limit = self.hard_limit.unwrap_or(hard_limit_for(self.config.high_water));
        if self.config.max_sessions == usize::MAX {
            self.config.max_sessions = limits::default_max_sessions(workers)?;
        }
        self.config.check()?;
        let factory = Arc::new(factory);
        let mut refusals = Vec::new();
        for name in self.choice.candidates() {
            let started = match name {
                #[cfg(target_os = "linux")]
                Name::IoUring => self.start_on::<proactor::backend::io_uring::IoUring, H>(workers, &factory),
                #[cfg(unix)]
                Name::Readiness => {
                    self.start_on::<proactor::backend::readiness::Readiness, H>(workers, &factory)
                }
                #[cfg(windows)]
                Name::Iocp => self.start_on::<proactor::backend::iocp::Iocp, H>(workers, &factory),
                other => Err(StartError::Refused(Refusal::not_here(*other))),
            };
            match started {
                Ok(mut handle) => {
                    handle.refusals = refusals.into();
                    return Ok(handle);
                }
                Err(StartError::Refused(refusal)) => refusals.push(refusal),
                Err(StartError::Failed(error)) => return Err(error),
            }
        }
        Err(Error::NoBackend(refusals))
    }

    fn start_on<B, H>(
        &self,
        workers: usize,
        factory: &Arc<impl Fn(WorkerHandle<H::Message>) -> H + Send + Sync + 'static>,
    ) -> std::result::Result<ServerHandle, StartError>
    where
        B: Backend<Socket = RealSocket> + Create + 'static,
        H: Handler,
    {
        let config = Arc::new(self.config.clone());
        let faces: Vec<Arc<WorkerFace>> = (0..workers).map(|_| Arc::default()).collect();
        let acceptor = Arc::new(Acceptor::new(&faces, config.max_sessions));
        let mailbox = |(index, face)| Arc::new(Mailbox::new(index, Arc::clone(face), config.mailbox));
        let mailboxes: Arc<[Arc<Mailbox<H::Message>>]> = faces.iter().enumerate().map(mailbox).collect();
        let control: Arc<dyn Control> = Arc::new(mailboxes.clone());
        let handle = ServerHandle {
            addresses: self.addresses.clone().into(),
            backend: B::NAME,
            workers,
            refusals: Arc::default(),
            faces: faces.into(),
            running: Arc::new(Running::new(workers)),
            control,
        };
        for index in 0..workers {
            let sockets = self.sockets_of(index, workers)?;
            let (config, acceptor) = (Arc::clone(&config), Arc::clone(&acceptor));
            let (mailboxes, observer) = (Arc::clone(&mailboxes), self.observer.clone());
            let (running, factory) = (Arc::clone(&handle.running), Arc::clone(factory));
            let control = Arc::clone(&handle.control);
            let body = move || {
                let made =
                    make_worker::<B, H>(index, sockets, &config, mailboxes, acceptor, observer, &*factory);
                let mut worker = match made {
                    Ok(worker) => worker,
                    Err(refused) => return running.refuse(refused),
                };
                if !running.go() {
                    return;
                }
                let result = worker.run().map_err(|source| Error::Backend { backend: B::NAME, source });
                drop(worker);
                if running.ended(result) {
                    control.stop();
                }
            };
            let spawned = thread::Builder::new().name(format!("worker-{index}")).spawn(body);
            if let Err(source) = spawned {
                handle.running.give_up();
                return Err(StartError::Failed(Error::Worker { worker: index, source }));
            }
        }
        handle.running.wait_started()?;
        Ok(handle)
    }

    /// Listener i belongs to worker i mod N. Each attempt works on duplicates, so that the next has them too.
    fn sockets_of(&self, index: usize, workers: usize) -> std::result::Result<Vec<RealSocket>, StartError> {
        let mine = self.sockets.iter().enumerate().filter(|(listener, _)| listener % workers == index);
        mine.map(|(_, socket)| socket.try_clone())
            .collect::<std::io::Result<_>>()
            .map_err(|source| StartError::Failed(Error::Worker { worker: index, source }))
    }
}

enum StartError {
    Refused(Refusal),
    Failed(Error),
}

fn make_worker<B: Backend<Socket = RealSocket> + Create, H: Handler>(
    index: usize,
    sockets: Vec<RealSocket>,
    config: &Arc<Config>,
    mailboxes: Arc<[Arc<Mailbox<H::Message>>]>,
    acceptor: Arc<Acceptor<RealSocket>>,
    observer: Option<Observer>,
    factory: &dyn Fn(WorkerHandle<H::Message>) -> H,
) -> std::result::Result<Worker<B, H>, Refusal> {
    let pool = Pool::new(config.pool);
    let driver = Driver::new(B::create(&pool)?, pool);
    let mailbox = Arc::clone(&mailboxes[index]);
    let handler = factory(WorkerHandle::new(index, mailboxes));
    let config = Arc::clone(config);
    let mut worker = Worker::new(Parts { index, driver, handler, config, mailbox, acceptor, observer });
    for socket in sockets {
        worker.listen(socket).map_err(|error| Refusal {
            backend: B::NAME,
            reason: format!("a listener cannot be registered: {error}"),
            remedy: "raise the descriptor limit (`ulimit -n`)".into(),
        })?;
    }
    Ok(worker)
}

/// Posting to all workers without knowing their handler.
trait Control: Send + Sync {
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
struct Running {
    state: Mutex<RunState>,
    changed: Condvar,
}

struct RunState {
    starting: usize,
    running: usize,
    refused: Option<Refusal>,
    given_up: bool,
    broken: Option<Error>,
}

impl Running {
    fn new(workers: usize) -> Running {
        let state =
            RunState { starting: workers, running: workers, refused: None, given_up: false, broken: None };
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
    fn refuse(&self, refusal: Refusal) {
        let mut state = self.lock();
        state.refused.get_or_insert(refusal);
        state.starting -= 1;
        self.changed.notify_all();
    }

    fn give_up(&self) {
        self.lock().given_up = true;
        self.changed.notify_all();
    }

    /// A worker is ready. Waits for the others; false if one of them was refused.
    fn go(&self) -> bool {
        self.lock().starting -= 1;
        self.changed.notify_all();
        let state = self.wait_while(|state| state.starting > 0 && !state.given_up);
        state.refused.is_none() && !state.given_up
    }

    fn wait_started(&self) -> std::result::Result<(), StartError> {
        match self.wait_while(|state| state.starting > 0).refused.take() {
            Some(refusal) => Err(StartError::Refused(refusal)),
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
}

/// A running server. Cheap to clone, usable from any thread. Dropping handles ends nothing.
#[derive(Clone)]
pub struct ServerHandle {
    addresses: Arc<[SocketAddr]>,
    backend: Name,
    workers: usize,
    refusals: Arc<[Refusal]>,
    faces: Arc<[Arc<WorkerFace>]>,
    running: Arc<Running>,
    control: Arc<dyn Control>,
}

/// How a drain went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DrainReport {
    /// Sessions that got everything that was owed to them.
    pub drained: u64,
    /// Sessions that the deadline cut.
    pub cut: u64,
    /// Bytes owed to those.
    pub bytes_lost: u64,
}

impl ServerHandle {
    /// The first address listened on.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// Every address listened on.
    #[must_use]
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Which backend serves.
    #[must_use]
    pub fn backend(&self) -> Name {
        self.backend
    }

    /// How many workers serve.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.workers
    }

    /// The better backends that were refused, and why.
    #[must_use]
    pub fn refusals(&self) -> &[Refusal] {
        &self.refusals
    }

    /// Counters and gauges, as of each worker's last turn.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let mut sum = Stats::default();
        for face in self.faces.iter() {
            face.add_stats(&mut sum);
        }
        sum
    }

    /// Begins to drain and returns at once: accepting ends, what was received is answered, every session is
    /// closed gracefully, what is left after `limit` is cut. A second call can only shorten the time.
    pub fn begin_drain(&self, limit: Duration) {
        self.control.drain(limit);
    }

    /// Drains and waits for the end.
    ///
    /// # Errors
    /// [`Error::Backend`] if a worker broke.
    pub fn drain(&self, limit: Duration) -> Result<DrainReport> {
        self.begin_drain(limit);
        self.wait()?;
        let Stats { drained, cut, bytes_lost, .. } = self.stats();
        Ok(DrainReport { drained, cut, bytes_lost })
    }

    /// Waits until every worker has ended.
    ///
    /// # Errors
    /// [`Error::Backend`] if a worker broke; told to the first who waits.
    pub fn wait(&self) -> Result<()> {
        let mut state = self.running.wait_while(|state| state.running > 0);
        state.broken.take().map_or(Ok(()), Err)
    }
}

impl fmt::Debug for ServerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServerHandle({:?}, {}, {} workers)", self.addresses, self.backend, self.workers)
    }
}

/// Takes over a listener made elsewhere, for instance by a service manager.
impl From<TcpListener> for Server {
    fn from(listener: TcpListener) -> Server {
        let addresses = listener.local_addr().into_iter().collect();
        Server {
            sockets: vec![listener.into()],
            addresses,
            workers: None,
            choice: Choice::Auto,
            config: Config::default(),
            hard_limit: None,
            low_water: None,
            observer: None,
        }
    }
}
