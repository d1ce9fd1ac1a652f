//! The ring's names: those of submission entries and completion entries.

use crate::backend::names::{CallName, CallNames};

pub(super) const NAMES: CallNames = CallNames {
    accept: CallName::two("ACCEPT sqe", "ACCEPT cqe"),
    connect: CallName::two("CONNECT sqe", "CONNECT cqe"),
    receive: CallName::two("RECV sqe", "RECV cqe"),
    send: CallName::two("SEND sqe", "SEND cqe"),
    watch: CallName::two("POLL_ADD sqe", "POLL_ADD cqe"),
    wait: CallName::new("io_uring_enter"),
    cancel: "ASYNC_CANCEL sqe",
    ..CallNames::SOCKETS
};
