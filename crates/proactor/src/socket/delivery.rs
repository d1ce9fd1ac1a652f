//! What Linux reports about a TCP connection: how far the peer's system has taken what was sent, and its measurements. See
//! tcp(7) and `linux/tcp.h`.

use std::io;
use std::os::fd::AsRawFd;
use std::time::Duration;

use super::{Delivery, Socket, TcpInfo};

/// The first part of a `struct tcp_info`, as bytes: C libraries differ in how much of it they declare, and the kernel only
/// ever appends to it.
struct Info {
    bytes: [u8; Info::WANTED],
    /// As much as this kernel has.
    len: usize,
}

impl Info {
    // Where the fields lie.
    const SND_MSS: usize = 16;
    const LAST_ACK_RECV_MS: usize = 56;
    const RTT_US: usize = 68;
    const SND_CWND: usize = 80;
    const BYTES_ACKED: usize = 120;
    const BYTES_RETRANS: usize = 208;
    const WANTED: usize = Info::BYTES_RETRANS + size_of::<u64>();

    /// `None` for a socket that is not a TCP connection.
    fn of(socket: &Socket) -> Option<Info> {
        let mut bytes = [0_u8; Info::WANTED];
        let mut len = bytes.len() as libc::socklen_t;
        // SAFETY: a live socket, and writable room of the stated size.
        let result = unsafe {
            let room = bytes.as_mut_ptr().cast();
            libc::getsockopt(socket.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_INFO, room, &raw mut len)
        };
        (result == 0).then_some(Info { bytes, len: len as usize })
    }

    /// `None` if this kernel does not have the field.
    fn u32(&self, at: usize) -> Option<u32> {
        let field = self.bytes[..self.len].get(at..at + size_of::<u32>())?;
        Some(u32::from_ne_bytes(field.try_into().expect("four bytes")))
    }

    /// The same.
    fn u64(&self, at: usize) -> Option<u64> {
        let field = self.bytes[..self.len].get(at..at + size_of::<u64>())?;
        Some(u64::from_ne_bytes(field.try_into().expect("eight bytes")))
    }
}

/// `None` for a socket that is not a TCP connection, and for kernels before 4.1, which do not count acknowledged
/// bytes.
pub(crate) fn delivery(socket: &Socket) -> Option<Delivery> {
    let info = Info::of(socket)?;
    let last = Duration::from_millis(info.u32(Info::LAST_ACK_RECV_MS)?.into());
    let acknowledged = info.u64(Info::BYTES_ACKED)?;
    Some(Delivery { unacknowledged: unacknowledged(socket).ok()?, acknowledged, last: Some(last) })
}

/// `None` for a socket that is not a TCP connection.
pub(crate) fn tcp_info(socket: &Socket) -> Option<TcpInfo> {
    let info = Info::of(socket)?;
    let window = u64::from(info.u32(Info::SND_CWND)?) * u64::from(info.u32(Info::SND_MSS)?);
    Some(TcpInfo {
        rtt: Duration::from_micros(info.u32(Info::RTT_US)?.into()),
        retransmitted: info.u64(Info::BYTES_RETRANS).unwrap_or(0),
        unacknowledged: unacknowledged(socket).ok()? as u64,
        congestion_window: window,
    })
}

/// Bytes that are not acknowledged, sent or not: `SIOCOUTQ`, which has the number of `TIOCOUTQ`.
fn unacknowledged(socket: &Socket) -> io::Result<usize> {
    let mut count: libc::c_int = 0;
    // SAFETY: a live socket, and an integer that the call writes.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut count) };
    if result == 0 { Ok(usize::try_from(count).unwrap_or(0)) } else { Err(io::Error::last_os_error()) }
}
