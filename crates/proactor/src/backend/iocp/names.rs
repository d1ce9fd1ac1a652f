//! Winsock's names, and the port's.

use crate::backend::names::{CallName, CallNames};

pub(super) const NAMES: CallNames = CallNames {
    accept: CallName::new("AcceptEx"),
    connect: CallName::new("ConnectEx"),
    receive: CallName::new("WSARecv"),
    send: CallName::new("WSASend"),
    watch: CallName::new("WSARecv"),
    close: CallName::new("closesocket"),
    wait: CallName::new("GetQueuedCompletionStatusEx"),
    cancel: "CancelIoEx",
    ..CallNames::SOCKETS
};
