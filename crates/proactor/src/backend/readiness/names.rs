//! The sockets API's names, and the poller's.

use crate::backend::names::{CallName, CallNames};

pub(super) const NAMES: CallNames = CallNames {
    wait: CallName::new(if cfg!(target_os = "linux") { "epoll_wait" } else { "kevent" }),
    ..CallNames::SOCKETS
};
