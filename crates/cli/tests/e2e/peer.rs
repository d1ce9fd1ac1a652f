//! The other end: plain sockets, random bytes, and waiting with a bound that is right for whole programs.

use std::net::{SocketAddr, TcpStream};
#[cfg(unix)]
use std::thread;
use std::time::Duration;

use overlapped_testing::{eventually_within, with_timeouts};
use socket2::{Domain, Protocol, Socket, Type};

#[cfg(unix)]
pub(crate) use overlapped_testing::fill;
pub(crate) use overlapped_testing::{Random, assert_same, exchange, noise, read_to_end, reset};

/// How long anything may take before a test fails. Longer than in tests of one process: programs of several tests share
/// the cores, some of them under Wine.
pub(crate) const PATIENCE: Duration = overlapped_testing::PATIENCE.saturating_mul(2);

/// A connection that fails the test rather than hang.
#[track_caller]
pub(crate) fn dial(address: SocketAddr) -> TcpStream {
    with_timeouts(TcpStream::connect(address).expect("the server listens"), PATIENCE)
}

/// A connection with small kernel buffers, so that not reading is soon felt at the other end.
#[track_caller]
pub(crate) fn dial_narrow(address: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP)).unwrap();
    // Before connecting: the window is agreed on then.
    socket.set_recv_buffer_size(16 * 1024).unwrap();
    socket.set_send_buffer_size(16 * 1024).unwrap();
    // The loopback's segments of 64 KiB let the server's kernel take megabytes for each connection; hundreds of them
    // then run into the whole system's limit for TCP (`tcp_mem`), which drops what it had let through.
    #[cfg(unix)]
    socket.set_tcp_mss(1400).unwrap();
    socket.connect(&address.into()).expect("the server listens");
    with_timeouts(socket.into(), PATIENCE)
}

/// Waits until nobody listens there any more. Not as fast as it can: what waits to be accepted is accepted first, and Wine
/// is slow at it.
#[cfg(unix)]
#[track_caller]
pub(crate) fn eventually_refused(address: SocketAddr) {
    eventually("the drain begins", || {
        let is_refused = TcpStream::connect(address).is_err();
        if !is_refused {
            thread::sleep(Duration::from_millis(50));
        }
        is_refused
    });
}

/// Waits for what somebody else brings about.
#[track_caller]
pub(crate) fn eventually(what: &str, holds: impl FnMut() -> bool) {
    eventually_within(PATIENCE, what, holds);
}
