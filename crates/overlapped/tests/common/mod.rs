//! What every test of the public API needs: the backends of this system.

use overlapped::{BackendKind, Choice};

pub(crate) fn backends() -> Vec<Choice> {
    #[cfg(target_os = "linux")]
    let all = vec![Choice::Auto, Choice::Only(BackendKind::Readiness)];
    #[cfg(all(unix, not(target_os = "linux")))]
    let all = vec![Choice::Only(BackendKind::Readiness)];
    #[cfg(windows)]
    let all = vec![Choice::Only(BackendKind::Iocp)];
    all
}
