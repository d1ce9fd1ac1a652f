//! Socket options that detect dead peers.

use std::io;
use std::time::Duration;

use socket2::{Domain, Protocol, TcpKeepalive, Type};

/// How the system detects that a peer no longer answers: the peer's machine is down, or the network path to it.
/// Default: the system's settings, which usually detect this only after hours, or never while nothing is sent.
///
/// A connection that ends by one of these fails with [`TimedOut`](io::ErrorKind::TimedOut) (`ETIMEDOUT`), or, if a
/// router reported the cause, with [`HostUnreachable`](io::ErrorKind::HostUnreachable) or
/// [`NetworkUnreachable`](io::ErrorKind::NetworkUnreachable).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct SocketOptions {
    /// TCP keep-alive: when nothing has arrived for this long, the peer's system is asked for an acknowledgement, up
    /// to four times, a quarter of this apart. If it answers none, the connection fails: after about twice this time.
    /// Whole seconds, rounded up, and at least one between two probes; at most 32,767 s. `SO_KEEPALIVE`,
    /// `TCP_KEEPIDLE`, `TCP_KEEPINTVL` and `TCP_KEEPCNT` of `tcp(7)`; `SIO_KEEPALIVE_VALS` on Windows, which before
    /// Windows 10 1703 sends ten probes.
    pub keepalive: Option<Duration>,
    /// How long data may stay unacknowledged before the connection fails; also how long connecting may take. If
    /// keep-alive is on, too, this limit is used instead of the number of probes. Whole milliseconds, rounded up; at
    /// most 2,147,483,647 ms. `TCP_USER_TIMEOUT` of `tcp(7)` and RFC 793; on Windows `TCP_MAXRTMS`, or `TCP_MAXRT` in
    /// whole seconds, where the system has them. macOS and the BSDs have no such option.
    pub user_timeout: Option<Duration>,
}

/// Probes that stay unanswered before a connection fails.
const PROBES: u32 = 4;
/// The longest keep-alive: Linux takes no more (`MAX_TCP_KEEPIDLE`).
const LONGEST_KEEPALIVE: Duration = Duration::from_secs(32_767);
const LONGEST_USER_TIMEOUT: Duration = Duration::from_millis(i32::MAX as u64);

impl SocketOptions {
    /// These options with another [`keepalive`](Self::keepalive), or with none.
    #[must_use]
    pub fn with_keepalive(mut self, idle: impl Into<Option<Duration>>) -> SocketOptions {
        self.keepalive = idle.into();
        self
    }

    /// These options with another [`user_timeout`](Self::user_timeout), or with none.
    #[must_use]
    pub fn with_user_timeout(mut self, limit: impl Into<Option<Duration>>) -> SocketOptions {
        self.user_timeout = limit.into();
        self
    }

    /// Whether all options are the system's defaults.
    #[must_use]
    pub const fn is_default(&self) -> bool {
        self.keepalive.is_none() && self.user_timeout.is_none()
    }

    /// Tries the keep-alive on a socket.
    ///
    /// # Errors
    /// If it cannot be set: out of range, or what the system says.
    pub fn check_keepalive(&self) -> io::Result<()> {
        self.keepalive.map_or(Ok(()), |idle| set_keepalive(&probe()?, idle))
    }

    /// Tries the user timeout on a socket.
    ///
    /// # Errors
    /// If it cannot be set: out of range, or the system has no such option.
    pub fn check_user_timeout(&self) -> io::Result<()> {
        self.user_timeout.map_or(Ok(()), |limit| set_user_timeout(&probe()?, limit))
    }

    /// Sets them on a socket.
    pub(crate) fn apply(&self, socket: &socket2::Socket) -> io::Result<()> {
        self.keepalive.map_or(Ok(()), |idle| set_keepalive(socket, idle))?;
        self.user_timeout.map_or(Ok(()), |limit| set_user_timeout(socket, limit))
    }
}

/// A socket to try options on.
fn probe() -> io::Result<socket2::Socket> {
    let new = |domain| socket2::Socket::new(domain, Type::STREAM, Some(Protocol::TCP));
    new(Domain::IPV4).or_else(|_| new(Domain::IPV6))
}

/// Whole units, rounded up.
fn checked(span: Duration, unit: Duration, longest: Duration) -> io::Result<Duration> {
    let wrong = |problem: String| Err(io::Error::new(io::ErrorKind::InvalidInput, problem));
    if span.is_zero() {
        return wrong("it is zero; leave it off instead".into());
    }
    if span > longest {
        return wrong(format!("it is over {longest:?}, the most that systems take"));
    }
    let units = span.as_nanos().div_ceil(unit.as_nanos());
    Ok(unit * u32::try_from(units).expect("within its longest"))
}

fn set_keepalive(socket: &socket2::Socket, idle: Duration) -> io::Result<()> {
    const SECOND: Duration = Duration::from_secs(1);
    let idle = checked(idle, SECOND, LONGEST_KEEPALIVE)?;
    let keepalive = TcpKeepalive::new().with_time(idle);
    // OpenBSD has one setting for all connections.
    #[cfg(not(target_os = "openbsd"))]
    let keepalive = keepalive.with_interval(checked(idle / PROBES, SECOND, LONGEST_KEEPALIVE)?);
    #[cfg(not(any(target_os = "openbsd", windows)))]
    let keepalive = keepalive.with_retries(PROBES);
    socket.set_tcp_keepalive(&keepalive)?;
    #[cfg(windows)]
    {
        // Windows that cannot count them sends ten.
        let _ = socket.set_tcp_keepalive(&keepalive.with_retries(PROBES));
    }
    Ok(())
}

#[cfg(any(target_os = "linux", target_os = "android", target_os = "fuchsia"))]
fn set_user_timeout(socket: &socket2::Socket, limit: Duration) -> io::Result<()> {
    let limit = checked(limit, Duration::from_millis(1), LONGEST_USER_TIMEOUT)?;
    socket.set_tcp_user_timeout(Some(limit))
}

/// Microsoft's "`IPPROTO_TCP` socket options". `TCP_MAXRT` is the older of the two.
#[cfg(windows)]
fn set_user_timeout(socket: &socket2::Socket, limit: Duration) -> io::Result<()> {
    use windows_sys::Win32::Networking::WinSock as ws;
    let limit = checked(limit, Duration::from_millis(1), LONGEST_USER_TIMEOUT)?;
    let seconds = limit.as_millis().div_ceil(1000);
    let set = set_number(socket, ws::TCP_MAXRTMS, limit.as_millis() as u32)
        .or_else(|_| set_number(socket, ws::TCP_MAXRT, seconds as u32));
    set.map_err(|error| {
        let problem = format!("this Windows has neither TCP_MAXRTMS nor TCP_MAXRT: {error}");
        io::Error::new(io::ErrorKind::Unsupported, problem)
    })
}

#[cfg(windows)]
fn set_number(socket: &socket2::Socket, option: i32, value: u32) -> io::Result<()> {
    use std::os::windows::io::AsRawSocket;
    use windows_sys::Win32::Networking::WinSock as ws;
    // SAFETY: a live socket, and an option value of the stated size that outlives the call.
    let result = unsafe {
        let socket = socket.as_raw_socket() as usize;
        ws::setsockopt(socket, ws::IPPROTO_TCP, option, std::ptr::from_ref(&value).cast(), 4)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_os = "fuchsia", windows)))]
fn set_user_timeout(_socket: &socket2::Socket, limit: Duration) -> io::Result<()> {
    checked(limit, Duration::from_millis(1), LONGEST_USER_TIMEOUT)?;
    let problem = "this system has no such limit for a connection; use keep-alive, or a write timeout";
    Err(io::Error::new(io::ErrorKind::Unsupported, problem))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_system_is_told_what_was_asked_for() {
        for (asked, idle, interval) in
            [(1, 1, 1), (1000, 1, 1), (1001, 2, 1), (60_000, 60, 15), (32_767_000, 32_767, 8192)]
        {
            let socket = probe().unwrap();
            assert!(!socket.keepalive().unwrap());
            let keepalive = Some(Duration::from_millis(asked));
            let options = SocketOptions { keepalive, user_timeout: keepalive };
            options.apply(&socket).unwrap();
            assert!(socket.keepalive().unwrap());
            assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(idle));
            assert_eq!(socket.tcp_keepalive_interval().unwrap(), Duration::from_secs(interval));
            assert_eq!(socket.tcp_keepalive_retries().unwrap(), PROBES);
            assert_eq!(socket.tcp_user_timeout().unwrap(), keepalive);
        }
        // Rounded down it would be off.
        let socket = probe().unwrap();
        set_user_timeout(&socket, Duration::from_nanos(1)).unwrap();
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(Duration::from_millis(1)));
        let socket = probe().unwrap();
        SocketOptions::default().apply(&socket).unwrap();
        assert!(!socket.keepalive().unwrap() && socket.tcp_user_timeout().unwrap().is_none());
    }

    #[test]
    fn what_no_system_takes_is_refused() {
        for wrong in [Duration::ZERO, Duration::MAX, LONGEST_USER_TIMEOUT + Duration::from_nanos(1)] {
            let options = SocketOptions { keepalive: Some(wrong), user_timeout: Some(wrong) };
            assert_eq!(options.check_keepalive().unwrap_err().kind(), io::ErrorKind::InvalidInput);
            assert_eq!(options.check_user_timeout().unwrap_err().kind(), io::ErrorKind::InvalidInput);
        }
        let (keepalive, user_timeout) = (Some(LONGEST_KEEPALIVE), Some(LONGEST_USER_TIMEOUT));
        let options = SocketOptions { keepalive, user_timeout };
        options.check_keepalive().unwrap();
        options.check_user_timeout().unwrap();
    }
}
