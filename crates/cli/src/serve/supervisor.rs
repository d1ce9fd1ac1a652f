//! The service manager, if one started the server: sockets that it has opened (sd_listen_fds(3)), and notifications for it
//! (sd_notify(3)). The protocols are systemd's; others speak them, too.
//!
//! A thread of its own sends them, because a manager that does not read could block the caller. Without `NOTIFY_SOCKET`
//! there is no such thread.

use std::ffi::OsStr;
use std::io;
use std::net::TcpListener;
#[cfg(target_os = "linux")]
use std::os::linux::net::SocketAddrExt;
#[cfg(target_os = "linux")]
use std::os::unix::ffi::OsStrExt;
#[cfg(target_os = "linux")]
use std::os::unix::net::SocketAddr;
use std::os::unix::net::UnixDatagram;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use listenfd::ListenFd;
use overlapped::handles::WorkerWatch;
use overlapped::{ServerHandle, ServerState};
use sd_notify::NotifyState;
use socket2::{Protocol, SockRef};

use crate::failure::Failure;
use crate::log::{Log, Record};
use crate::units::{bytes, count};

/// How often the status is renewed.
const STATUS_PERIOD: Duration = Duration::from_secs(5);
/// However short the watchdog's time is.
const SHORTEST_PERIOD: Duration = Duration::from_millis(10);
const FAR: Duration = Duration::from_secs(365 * 24 * 3600);
/// While the server ends, the manager's limit is moved on, by 30 s each time: enough for what follows a drain.
const EXTEND: NotifyState<'static> = NotifyState::ExtendTimeoutUsec(30_000_000);

/// A listening socket, opened by the service manager.
pub(super) struct GivenSocket {
    /// `FileDescriptorName=` of its unit, or the unit's name.
    pub(super) name: String,
    pub(super) listener: TcpListener,
}

/// The sockets that the service manager has opened for this process, in its order. To be called once, before there are
/// other threads: the variables that name them are removed, so that child processes do not take them for theirs.
///
/// # Errors
/// If one of them is no listening TCP socket.
pub(super) fn given_sockets() -> Result<Vec<GivenSocket>, Failure> {
    let variable = |name| std::env::var(name).unwrap_or_default();
    let pid = variable("LISTEN_PID");
    let is_for_another = !pid.is_empty() && pid != std::process::id().to_string();
    let number = if is_for_another { String::new() } else { variable("LISTEN_FDS") };
    let names = variable("LISTEN_FDNAMES");
    if !number.is_empty() && number.parse::<u16>().is_err() {
        return Err(Failure::failed(format_args!(
            "LISTEN_FDS={number}: not a number of sockets; the service manager sets it, or unset it"
        )));
    }
    let mut given = ListenFd::from_env();
    let mut names = names.split(':');
    (0..given.len())
        .map(|index| {
            let name = names
                .next()
                .filter(|name| !name.is_empty())
                .unwrap_or("unknown")
                .escape_default()
                .to_string();
            let refused = |problem: String| {
                let number = index + 1;
                Failure::failed(format_args!(
                    "socket {number} of the service manager ({name}): {problem}; give the socket unit a \
                     ListenStream= with a port, and Accept=no"
                ))
            };
            let taken = given.take_tcp_listener(index).map_err(|error| refused(error.to_string()))?;
            let listener = taken.ok_or_else(|| refused("it was taken already".to_owned()))?;
            check_listener(&listener).map_err(refused)?;
            Ok(GivenSocket { name, listener })
        })
        .collect()
}

/// # Errors
/// What is wrong with it.
fn check_listener(listener: &TcpListener) -> Result<(), String> {
    let socket = SockRef::from(listener);
    // Where the system does not say, it is found out when a connection is to be accepted.
    #[cfg(target_os = "linux")]
    match socket.protocol() {
        Ok(Some(Protocol::TCP | Protocol::MPTCP)) | Err(_) => {}
        Ok(_) => return Err("it is not a TCP socket".to_owned()),
    }
    match socket.is_listener() {
        Ok(false) => Err("it does not listen".to_owned()),
        _ => Ok(()),
    }
}

/// Notifies the service manager. Cloning gives another handle of the same.
#[derive(Clone)]
pub(super) struct Supervisor {
    /// `None`: there is no manager.
    commands: Option<Sender<Command>>,
}

enum Command {
    /// Connections are accepted, and the first lines are printed.
    Ready,
    /// The end begins: a drain after a delay.
    Stopping { delay: Duration, limit: Duration },
    /// Nothing more is to be sent; the sender is dropped when all was.
    End(Sender<()>),
}

impl Supervisor {
    /// Begins to notify it, if there is one: for a watchdog, too, if it has asked for that.
    pub(super) fn start(handle: &ServerHandle, log: &Log) -> Supervisor {
        let Some(address) = std::env::var_os("NOTIFY_SOCKET").filter(|address| !address.is_empty()) else {
            return Supervisor { commands: None };
        };
        let (commands, received) = channel();
        // sd_watchdog_enabled(3): 0 is no time.
        let watchdog = sd_notify::watchdog_enabled().filter(|limit| !limit.is_zero());
        let notifier = Notifier::new(connect(&address), watchdog, handle.clone(), log.clone());
        let spawned = thread::Builder::new().name("supervisor".into()).spawn(move || notifier.run(&received));
        if let Err(error) = spawned {
            let next = "raise `ulimit -u`";
            log.note(&Record::warning(format_args!(
                "the service manager is not notified: no thread: {error}; {next}"
            )));
            return Supervisor { commands: None };
        }
        Supervisor { commands: Some(commands) }
    }

    /// The server serves.
    pub(super) fn ready(&self) {
        self.command(Command::Ready);
    }

    /// The server begins to end: it drains after `delay`, which may take until `limit` after that.
    pub(super) fn stopping(&self, delay: Duration, limit: Duration) {
        self.command(Command::Stopping { delay, limit });
    }

    /// Waits until everything was sent, at most until `until`.
    pub(super) fn end(self, until: Instant) {
        let (sent, all_sent) = channel();
        self.command(Command::End(sent));
        let _ = all_sent.recv_timeout(until.saturating_duration_since(Instant::now()));
    }

    fn command(&self, command: Command) {
        if let Some(commands) = &self.commands {
            let _ = commands.send(command);
        }
    }
}

/// Connects to the manager's socket. A name that begins with `@` is in Linux's abstract namespace, see unix(7).
fn connect(address: &OsStr) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    #[cfg(target_os = "linux")]
    if let Some(name) = address.as_bytes().strip_prefix(b"@") {
        socket.connect_addr(&SocketAddr::from_abstract_name(name)?)?;
        return Ok(socket);
    }
    socket.connect(address)?;
    Ok(socket)
}

/// The thread's own.
struct Notifier {
    socket: io::Result<UnixDatagram>,
    watchdog: Option<Duration>,
    handle: ServerHandle,
    workers: WorkerWatch,
    log: Log,
    /// When it drains, and until when that may take, once the end has begun.
    end: Option<(Instant, Instant)>,
    /// The status that was sent last.
    status: String,
    /// True once sending failed, which is reported once.
    failed: bool,
}

impl Notifier {
    fn new(
        socket: io::Result<UnixDatagram>,
        watchdog: Option<Duration>,
        handle: ServerHandle,
        log: Log,
    ) -> Notifier {
        let (workers, status) = (handle.watch_workers(), String::new());
        Notifier { socket, watchdog, handle, workers, log, end: None, status, failed: false }
    }

    fn run(mut self, commands: &Receiver<Command>) {
        // Often enough that a worker which stands still for less than the watchdog's time has a second chance.
        let watched = self.watchdog.map_or(STATUS_PERIOD, |limit| (limit / 4).max(SHORTEST_PERIOD));
        let period = STATUS_PERIOD.min(watched);
        // Nothing is sent before it is ready, or ends.
        let mut next = None;
        loop {
            let wait = next.map_or(FAR, |next: Instant| next.saturating_duration_since(Instant::now()));
            match commands.recv_timeout(wait) {
                // It may have been asked to end before it was ready.
                Ok(Command::Ready) if self.end.is_some() => {}
                Ok(Command::Ready) => self.send_with_status(&[NotifyState::Ready]),
                Ok(Command::Stopping { delay, limit }) => {
                    let drains_at = after(Instant::now(), delay);
                    self.end = Some((drains_at, after(drains_at, limit)));
                    self.send_with_status(&[NotifyState::Stopping, EXTEND]);
                }
                Ok(Command::End(_sent)) => return self.say_it_ends(),
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => self.send_regularly(),
            }
            next = Some(Instant::now() + period);
        }
    }

    /// Sends `STOPPING=1` if the server has ended without being asked to.
    fn say_it_ends(&mut self) {
        if self.end.is_none() {
            self.send_with_status(&[NotifyState::Stopping]);
        }
    }

    fn send_regularly(&mut self) {
        let mut states = Vec::new();
        // A worker that stands still is what a watchdog is for.
        let well = self.workers.stuck().is_empty();
        if self.watchdog.is_some() && well {
            states.push(NotifyState::Watchdog);
        }
        // systemd's own limit may be shorter (TimeoutStopSec=).
        if self.end.is_some_and(|(_, ends_by)| Instant::now() < ends_by) {
            states.push(EXTEND);
        }
        self.send_with_status(&states);
    }

    /// Sends `states`, and the status if it has changed.
    fn send_with_status(&mut self, states: &[NotifyState<'_>]) {
        let mut lines: Vec<String> = states.iter().map(ToString::to_string).collect();
        let status = self.status_now();
        if status != self.status {
            lines.push(NotifyState::Status(&status).to_string());
            self.status = status;
        }
        if lines.is_empty() {
            return;
        }
        let sent = match &self.socket {
            Ok(socket) => socket.send(lines.join("\n").as_bytes()).map(drop),
            Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
        };
        match sent {
            Ok(()) => self.failed = false,
            Err(error) if !self.failed => {
                self.failed = true;
                let next = "check NOTIFY_SOCKET, or unset it";
                self.log.note(&Record::warning(format_args!(
                    "the service manager cannot be notified: {error}; {next}"
                )));
            }
            Err(_) => {}
        }
    }

    /// What `systemctl status` shows.
    fn status_now(&self) -> String {
        let stats = self.handle.stats();
        let word = match self.end {
            None if self.handle.state() == ServerState::Ended => "ended with",
            None => "serving",
            Some((drains_at, _)) if Instant::now() < drains_at => "not ready any more, serving",
            Some(_) => "draining",
        };
        let (sessions, echoed) = (count(stats.sessions, "session"), bytes(stats.bytes_sent));
        format!(
            "{word} {sessions}; opened {}, rejected {}, echoed {echoed}",
            stats.sessions_opened, stats.sessions_rejected
        )
    }
}

/// A year after `from`, if `time` is more than an [`Instant`] can be.
fn after(from: Instant, time: Duration) -> Instant {
    from.checked_add(time).unwrap_or_else(|| from + FAR)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;
    use std::sync::{Arc, Mutex};

    use overlapped::{Handler, Lease, Server, Session};

    use super::*;
    use crate::log::Format;

    /// Blocks its worker while a test holds the lock.
    struct Blocks(Arc<Mutex<()>>);

    impl Handler for Blocks {
        type State = ();
        type Message = ();

        fn on_open(&mut self, _session: &mut Session<'_>) {}

        fn on_data(&mut self, session: &mut Session<'_>, _state: &mut (), data: Lease) {
            session.send(data);
            drop(self.0.lock().unwrap());
        }
    }

    #[test]
    fn a_worker_that_stands_still_is_not_reported_as_alive() {
        const WATCHDOG: Duration = Duration::from_millis(40);
        const LOOKS: usize = 500;
        let lock = Arc::new(Mutex::new(()));
        let blocks = Arc::clone(&lock);
        let server = Server::bind("127.0.0.1:0").unwrap().workers(1);
        let server = server.start(move |_| Blocks(Arc::clone(&blocks))).unwrap();
        let (socket, manager) = UnixDatagram::pair().unwrap();
        let notifier = Notifier::new(Ok(socket), Some(WATCHDOG), server.clone(), Log::new(Format::Text));
        let (commands, received) = channel();
        let thread = thread::spawn(move || notifier.run(&received));
        commands.send(Command::Ready).unwrap();
        let is_alive = |silence| {
            manager.set_read_timeout(Some(silence)).unwrap();
            let mut datagram = [0; 512];
            let len = manager.recv(&mut datagram).ok()?;
            Some(String::from_utf8_lossy(&datagram[..len]).contains("WATCHDOG=1"))
        };
        let long = Duration::from_secs(20);
        assert!((0..LOOKS).any(|_| is_alive(long) == Some(true)), "it works");

        let guard = lock.lock().unwrap();
        let mut client = TcpStream::connect(server.local_addr()).unwrap();
        client.write_all(b"x").unwrap();
        // What was sent before it stood still comes, and then nothing for 20 periods.
        assert!((0..LOOKS).any(|_| is_alive(WATCHDOG * 5).is_none()), "it does not notice");
        drop(guard);
        client.read_exact(&mut [0]).unwrap();
        assert!((0..LOOKS).any(|_| is_alive(long) == Some(true)), "it goes on");
        drop(commands);
        thread.join().unwrap();
        server.drain(long).unwrap();
    }

    /// What is sent for commands that are all in the channel when the thread begins, after the server has ended.
    fn sent(commands: impl IntoIterator<Item = Command>) -> Vec<String> {
        let server = Server::bind("127.0.0.1:0").unwrap().workers(1);
        let server = server.start(move |_| Blocks(Arc::default())).unwrap();
        let (socket, manager) = UnixDatagram::pair().unwrap();
        let (sender, received) = channel();
        for command in commands {
            sender.send(command).unwrap();
        }
        drop(sender);
        let watchdog = Some(Duration::from_secs(3600));
        server.drain(Duration::ZERO).unwrap();
        Notifier::new(Ok(socket), watchdog, server, Log::new(Format::Text)).run(&received);
        manager.set_nonblocking(true).unwrap();
        let mut datagram = [0; 512];
        std::iter::from_fn(|| {
            let len = manager.recv(&mut datagram).ok()?;
            Some(String::from_utf8_lossy(&datagram[..len]).into_owned())
        })
        .collect()
    }

    #[test]
    fn each_end_is_told_once() {
        let stopping = |delay| Command::Stopping { delay, limit: Duration::MAX };
        let end = || Command::End(channel().0);
        let status = "STATUS=draining 0 sessions; opened 0, rejected 0, echoed 0 B";
        let asked = format!("STOPPING=1\nEXTEND_TIMEOUT_USEC=30000000\n{status}");
        assert_eq!(sent([stopping(Duration::ZERO), end()]), [asked.as_str()]);
        assert_eq!(sent([stopping(Duration::ZERO), Command::Ready, end()]), [asked], "not ready again");
        let not_asked = sent([end()]);
        assert!(not_asked[0].starts_with("STOPPING=1\nSTATUS=ended with 0 sessions; "), "{not_asked:?}");
        let delayed = sent([stopping(Duration::MAX), end()]);
        assert!(delayed[0].contains("\nSTATUS=not ready any more, serving 0 sessions; "), "{delayed:?}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn an_abstract_name_is_connected_to() {
        let name = format!("overlapped-test-{}", std::process::id());
        let manager =
            UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(name.as_bytes()).unwrap()).unwrap();
        connect(OsStr::new(&format!("@{name}"))).unwrap().send(b"READY=1").unwrap();
        let mut datagram = [0; 16];
        assert_eq!(manager.recv(&mut datagram).unwrap(), 7);
        assert!(connect(OsStr::new("@overlapped-test-nobody")).is_err());
    }
}
