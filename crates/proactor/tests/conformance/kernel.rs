//! The kernels that cases run on: how to make a backend and a listening socket, real or simulated.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use proactor::backend::simulated::{Behaviour, Simulated, Simulation};
use proactor::backend::{Backend, Create};
use proactor::{ListenOptions, Pool, PoolConfig};

use crate::endpoint::{Endpoint, Finished};

/// A kernel that cases run on.
pub trait Kernel: Sized {
    type Backend: Backend;

    /// Runs a case here: once on a real kernel, once per behaviour and seed on the simulated one.
    fn each(case: fn(&Self) -> Finished);

    fn backend(&self, pool: Pool) -> Self::Backend;

    /// A listening socket. Accepted connections have small kernel buffers, so that a sender soon waits.
    fn listen_on(&self, address: SocketAddr) -> io::Result<Socket<Self>>;

    /// The same with receive buffers of `bytes`, or as much as the system grants.
    fn listen_with(&self, bytes: usize) -> io::Result<Socket<Self>>;

    /// Has the next socket that `endpoint` opens connect to itself. Returns the address to connect to; `None` where a
    /// socket cannot be given its port.
    fn meet_itself(&self, endpoint: &mut Endpoint<Self>) -> Option<SocketAddr>;

    /// Bytes that a large transfer moves: many times what the kernel buffers.
    fn large(&self) -> usize;

    /// A number of connections whose operations, submitted at once, exceed the kernel's queues.
    fn many(&self) -> usize;

    /// Rounds without an event after which nothing more is expected to happen.
    fn quiet_rounds(&self) -> usize;

    /// Sockets that were not closed, where the kernel can tell.
    fn open_sockets(&self) -> usize;

    /// Calls `wait`, which waits in the kernel, and has a signal interrupt that. False where there are no signals.
    fn interrupt(&self, wait: &mut dyn FnMut()) -> bool;
}

pub type Socket<K> = <<K as Kernel>::Backend as Backend>::Socket;

/// Loopback, on a port that the system picks.
pub const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A kernel of this machine.
pub struct RealKernel<B>(std::marker::PhantomData<B>);

impl<B: Create + Backend<Socket = proactor::Socket>> Kernel for RealKernel<B> {
    type Backend = B;

    fn each(case: fn(&Self) -> Finished) {
        // If the system forbids a backend the case is skipped; `--nocapture` shows why.
        if let Err(refusal) = B::create(Pool::new(PoolConfig { blocks: 1, block_len: 64 })) {
            eprintln!("skipped: {refusal}");
            return;
        }
        let _: Finished = case(&RealKernel(std::marker::PhantomData));
    }

    fn backend(&self, pool: Pool) -> B {
        B::create(pool).unwrap_or_else(|refusal| panic!("{refusal}"))
    }

    fn listen_on(&self, address: SocketAddr) -> io::Result<proactor::Socket> {
        let socket = proactor::listen(address, ListenOptions::default())?;
        socket.set_recv_buffer_size(64 * 1024)?;
        socket.set_send_buffer_size(64 * 1024)?;
        Ok(socket)
    }

    fn listen_with(&self, bytes: usize) -> io::Result<proactor::Socket> {
        let socket = proactor::listen(ANY_PORT, ListenOptions::default())?;
        socket.set_recv_buffer_size(bytes)?;
        Ok(socket)
    }

    /// The system does this by chance, once in thousands of connects to a local port without a listener.
    #[cfg(unix)]
    fn meet_itself(&self, endpoint: &mut Endpoint<Self>) -> Option<SocketAddr> {
        let free = std::net::TcpListener::bind(ANY_PORT).ok()?;
        let address = free.local_addr().ok()?;
        let bind =
            move |socket: &proactor::Socket| socket.bind(&address.into()).expect("it was free just now");
        endpoint.backend().prepare_next(Box::new(bind));
        Some(address)
    }

    /// A socket that is opened for `ConnectEx` is bound already.
    #[cfg(not(unix))]
    fn meet_itself(&self, _side: &mut Endpoint<Self>) -> Option<SocketAddr> {
        None
    }

    fn large(&self) -> usize {
        4 * 1024 * 1024
    }

    fn many(&self) -> usize {
        400
    }

    fn quiet_rounds(&self) -> usize {
        15
    }

    fn open_sockets(&self) -> usize {
        0
    }

    #[cfg(unix)]
    fn interrupt(&self, wait: &mut dyn FnMut()) -> bool {
        signals::interrupt(wait);
        true
    }

    #[cfg(not(unix))]
    fn interrupt(&self, _wait: &mut dyn FnMut()) -> bool {
        false
    }
}

#[cfg(unix)]
mod signals {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;
    use std::time::Duration;

    /// The most signals: a wait that panicked must not be signalled forever.
    const MOST: usize = 10_000;

    extern "C" fn nothing(_signal: libc::c_int) {}

    /// Signals this thread until `wait` returns: one signal might come before the wait.
    pub(super) fn interrupt(wait: &mut dyn FnMut()) {
        // SAFETY: a handler that does nothing, without `SA_RESTART`, for a signal that nothing else here uses.
        let waiting = unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = nothing as extern "C" fn(libc::c_int) as libc::sighandler_t;
            assert_eq!(libc::sigaction(libc::SIGUSR1, &raw const action, std::ptr::null_mut()), 0);
            libc::pthread_self()
        };
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..MOST {
                    if over.load(Ordering::Acquire) {
                        return;
                    }
                    // SAFETY: the thread lives: it ends this scope.
                    unsafe { libc::pthread_kill(waiting, libc::SIGUSR1) };
                    thread::sleep(Duration::from_millis(1));
                }
            });
            wait();
            over.store(true, Ordering::Release);
        });
    }
}

/// The simulated kernel in one behaviour.
pub struct SimulatedKernel {
    simulation: Simulation,
    behaviour: Behaviour,
}

impl SimulatedKernel {
    pub fn new(behaviour: Behaviour) -> SimulatedKernel {
        SimulatedKernel { simulation: Simulation::new(behaviour), behaviour }
    }
}

const SEEDS: u64 = 6;

impl Kernel for SimulatedKernel {
    type Backend = Simulated;

    fn each(case: fn(&Self) -> Finished) {
        for behaviour in behaviours() {
            let told = TellOnPanic(behaviour);
            let _: Finished = case(&SimulatedKernel::new(behaviour));
            drop(told);
        }
    }

    fn backend(&self, pool: Pool) -> Simulated {
        self.simulation.backend(pool)
    }

    fn listen_on(&self, address: SocketAddr) -> io::Result<Socket<Self>> {
        self.simulation.listen(address)
    }

    fn listen_with(&self, _bytes: usize) -> io::Result<Socket<Self>> {
        self.simulation.listen(ANY_PORT)
    }

    /// The first port that a network gives.
    fn meet_itself(&self, _side: &mut Endpoint<Self>) -> Option<SocketAddr> {
        Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 20_001)))
    }

    fn large(&self) -> usize {
        (self.behaviour.capacity * 20).min(256 * 1024)
    }

    fn many(&self) -> usize {
        20
    }

    fn quiet_rounds(&self) -> usize {
        // The seed may skip an operation for a few rounds.
        50
    }

    fn open_sockets(&self) -> usize {
        self.simulation.open_sockets()
    }

    fn interrupt(&self, wait: &mut dyn FnMut()) -> bool {
        self.simulation.interrupt();
        wait();
        true
    }
}

fn behaviours() -> impl Iterator<Item = Behaviour> {
    let shapes = [(64 * 1024, true), (64 * 1024, false), (700, true), (5, true)];
    let kinds = [(true, false), (false, false), (false, true), (true, true)];
    let all = shapes.into_iter().flat_map(move |shape| kinds.map(|kind| (shape, kind)));
    all.flat_map(|((capacity, cuts), (multishot, inline))| {
        (1..=SEEDS).map(move |seed| Behaviour { seed, capacity, cuts, multishot, inline })
    })
}

/// Names the behaviour in which a case failed.
struct TellOnPanic(Behaviour);

impl Drop for TellOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("in {:?}", self.0);
        }
    }
}
