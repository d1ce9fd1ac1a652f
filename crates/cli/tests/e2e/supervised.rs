//! Under a service manager: the sockets that it gives, and what it is told. The manager is a test here; `cargo xtask
//! operations` has systemd's own programs.

use std::fs::File;
use std::net::{TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use socket2::{Domain, Socket, Type};

use crate::peer::{PATIENCE, dial, exchange};
use crate::process::{Keep, Process};
use crate::server::{Server, after, serve};

/// A socket that a server tells its manager through.
struct Manager {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Manager {
    fn new(name: &str) -> Manager {
        let path = std::env::temp_dir().join(format!("overlapped-notify-{name}-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Manager { socket, path }
    }

    /// The next message, line by line.
    fn told(&self) -> Vec<String> {
        let mut bytes = [0; 4096];
        let len = self.socket.recv(&mut bytes).expect("it is told something");
        String::from_utf8(bytes[..len].to_vec()).expect("text").lines().map(str::to_owned).collect()
    }

    /// Waits for a message with this line, and returns all of it.
    fn told_with(&self, line: &str) -> Vec<String> {
        for _ in 0..1000 {
            let told = self.told();
            if told.iter().any(|there| there == line) {
                return told;
            }
        }
        panic!("never told {line}");
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Ready once it accepts, alive again and again, and stopping before it ends.
pub(crate) fn the_manager_is_told(backend: &str) {
    let manager = Manager::new(backend);
    let mut command = serve(backend, &["--workers", "2"]);
    command.env("NOTIFY_SOCKET", &manager.path).env("WATCHDOG_USEC", "200000");
    let server = Server::launch(command).expect("it starts");
    let ready = manager.told();
    assert_eq!(ready[0], "READY=1", "{ready:?}");
    assert!(ready[1].starts_with("STATUS=serving 0 sessions"), "{ready:?}");
    let mut client = dial(server.address());
    exchange(&mut client, b"served");
    for _ in 0..3 {
        manager.told_with("WATCHDOG=1");
    }
    server.terminate();
    let stopping = manager.told_with("STOPPING=1");
    assert!(stopping.iter().any(|line| line.starts_with("EXTEND_TIMEOUT_USEC=")), "{stopping:?}");
    assert!(stopping.iter().any(|line| line.starts_with("STATUS=draining ")), "{stopping:?}");
    drop(client);
    let ended = server.wait();
    assert_eq!((ended.status, ended.stderr.as_str()), (Some(0), ""), "{ended:?}");
}

/// A manager that does not read blocks neither sessions nor the end.
pub(crate) fn a_manager_that_does_not_read(backend: &str) {
    let manager = Manager::new(&format!("stuck-{backend}"));
    let mut command = serve(backend, &["--workers", "1"]);
    command.env("NOTIFY_SOCKET", &manager.path).env("WATCHDOG_USEC", "4000");
    let server = Server::launch(command).expect("it starts");
    // The kernel keeps some messages for it (`net.unix.max_dgram_qlen`, 10 by default); the next one waits.
    let mut client = dial(server.address());
    for _ in 0..200 {
        exchange(&mut client, b"served");
    }
    crate::peer::eventually("a message waits", || is_sending(server.pid()));
    exchange(&mut client, b"still served");
    drop(client);
    let ended = server.end();
    assert_eq!((ended.status, ended.stderr.as_str()), (Some(0), ""), "{ended:?}");
}

/// Whether the thread that tells the manager is in a call to send.
fn is_sending(pid: u32) -> bool {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("it runs");
    tasks.flatten().any(|task| {
        let read = |name| std::fs::read_to_string(task.path().join(name)).unwrap_or_default();
        read("comm").trim() == "supervisor" && read("wchan").contains("unix_wait_for_peer")
    })
}

/// A manager that is not there is a warning.
pub(crate) fn no_manager_listens(backend: &str) {
    let mut command = serve(backend, &["--workers", "1"]);
    command.env("NOTIFY_SOCKET", "/nowhere/notify");
    let server = Server::launch(command).expect("it starts");
    let line = server.error_line().expect("a warning");
    assert!(line.starts_with("warning: the service manager cannot be notified: "), "{line}");
    exchange(&mut dial(server.address()), b"served");
    server.end_well();
}

/// The command with `descriptor` as the first descriptor that a manager gives.
fn given(command: &Command, descriptor: impl Into<OwnedFd>, names: &str) -> Command {
    let script = format!("exec 3<&0 </dev/null; export LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES={names}");
    let mut command = after(&script, command);
    command.stdin(Stdio::from(descriptor.into()));
    command
}

/// It serves on the socket that it is given, and not on that of `--bind`.
pub(crate) fn a_given_socket(backend: &str) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, kept) = (listener.local_addr().unwrap(), listener.try_clone().unwrap());
    // The backlog is the manager's: a client may have come before the server.
    let mut early = dial(address);
    let command = given(&serve(backend, &["--workers", "2"]), listener, "echo");
    let server = Server::of_given(command);
    assert_eq!(server.addresses, [address]);
    let note = server.error_line().expect("what it serves on");
    assert_eq!(note, format!("note: {address} is the service manager's socket echo"));
    let warning = server.error_line().expect("what is not used");
    assert_eq!(warning, "warning: --bind is not used: the service manager gives the sockets");
    exchange(&mut early, b"early");
    exchange(&mut dial(address), b"served");
    drop(early);
    assert_eq!(server.end_well().sessions, 2);
    // So is this one: nothing is refused between two servers.
    let mut between = dial(address);
    let next = Server::of_given(given(&serve(backend, &["--workers", "2"]), kept, "echo"));
    exchange(&mut between, b"waited, and served");
    drop(between);
    assert_eq!(next.end_well().sessions, 1);
}

/// What is no listening TCP socket is refused, by its name.
pub(crate) fn no_listening_socket(backend: &str) {
    let path = std::env::temp_dir().join(format!("overlapped-given-{backend}-{}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let not_listening = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    not_listening.bind(&"127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
    let wrong: [(OwnedFd, &str); 4] = [
        (File::open("/dev/null").unwrap().into(), "not a socket"),
        (UdpSocket::bind("127.0.0.1:0").unwrap().into(), "not a valid tcp socket"),
        (UnixListener::bind(&path).unwrap().into(), "not a valid tcp socket"),
        (not_listening.into(), "it does not listen"),
    ];
    for (descriptor, problem) in wrong {
        let command = given(&serve(backend, &[]), descriptor, "echo");
        let ended = Process::start_given(command).wait();
        assert_eq!(ended.status, Some(1), "{ended:?}");
        let begins = "error: socket 1 of the service manager (echo): ";
        assert!(ended.stderr.starts_with(begins) && ended.stderr.contains(problem), "{problem}: {ended:?}");
    }
    std::fs::remove_file(&path).unwrap();
}

/// Variables of another process are not for this one; a number that is none is an error.
pub(crate) fn variables_for_somebody_else(backend: &str) {
    let mut command = serve(backend, &["--workers", "1"]);
    command.env("LISTEN_FDS", "3").env("LISTEN_PID", "1");
    let server = Server::launch(command).expect("it starts");
    exchange(&mut dial(server.address()), b"served");
    server.end_well();
    let mut command = serve(backend, &[]);
    command.env("LISTEN_FDS", "two");
    let ended = Process::start(command, Keep::All).wait();
    assert_eq!(ended.status, Some(1), "{ended:?}");
    assert!(ended.stderr.starts_with("error: LISTEN_FDS=two: not a number of sockets"), "{ended:?}");
}
