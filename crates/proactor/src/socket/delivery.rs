//! How far a peer's system has taken what was sent, on Linux. See tcp(7) and `linux/tcp.h`.

use std::io;
use std::os::fd::AsRawFd;
use std::time::Duration;

use super::{Delivery, Socket};

/// Where `tcpi_bytes_acked` lies in `struct tcp_info`, a `u64`, in units of that. The kernel only ever appends to it.
const BYTES_ACKED: usize = 120 / size_of::<u64>();
/// Where `tcpi_last_ack_recv` lies: the `u32` that begins there.
const LAST_ACK_RECV_MS: usize = 56 / size_of::<u64>();

/// `None` for a socket that is not a TCP connection, and for kernels before 4.1, which do not count acknowledged
/// bytes.
pub(crate) fn delivery(socket: &Socket) -> Option<Delivery> {
    let (acknowledged, last) = acknowledged(socket)?;
    Some(Delivery { unacknowledged: unacknowledged(socket).ok()?, acknowledged, last: Some(last) })
}

/// Bytes that are not acknowledged, sent or not: `SIOCOUTQ`, which has the number of `TIOCOUTQ`.
fn unacknowledged(socket: &Socket) -> io::Result<usize> {
    let mut count: libc::c_int = 0;
    // SAFETY: a live socket, and an integer that the call writes.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut count) };
    if result == 0 { Ok(usize::try_from(count).unwrap_or(0)) } else { Err(io::Error::last_os_error()) }
}

/// Acknowledged bytes, and how long ago the last acknowledgement came.
fn acknowledged(socket: &Socket) -> Option<(u64, Duration)> {
    // The first part of a `tcp_info`: C libraries differ in how much of it they declare.
    let mut info = [0_u64; BYTES_ACKED + 1];
    let wanted = size_of_val(&info) as libc::socklen_t;
    let mut len = wanted;
    // SAFETY: a live socket, and writable room of the stated size.
    let result = unsafe {
        let room = (&raw mut info).cast();
        libc::getsockopt(socket.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_INFO, room, &raw mut len)
    };
    let last_ms = info[LAST_ACK_RECV_MS].to_ne_bytes();
    let last_ms = u32::from_ne_bytes([last_ms[0], last_ms[1], last_ms[2], last_ms[3]]);
    (result == 0 && len == wanted).then(|| (info[BYTES_ACKED], Duration::from_millis(last_ms.into())))
}
