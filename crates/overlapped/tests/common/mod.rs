//! What every test of the public API needs: the backends of this system, and a bound for waiting.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use overlapped::{BackendKind, Choice};

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn backends() -> Vec<Choice> {
    #[cfg(target_os = "linux")]
    let all = vec![Choice::Auto, Choice::Only(BackendKind::Readiness)];
    #[cfg(all(unix, not(target_os = "linux")))]
    let all = vec![Choice::Only(BackendKind::Readiness)];
    #[cfg(windows)]
    let all = vec![Choice::Only(BackendKind::Iocp)];
    all
}

/// A connection that fails the test rather than hang.
pub(crate) fn dial(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("the server listens");
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}
