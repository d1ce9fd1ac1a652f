//! What a kernel calls its calls: the words of traces and of `--log-ops`. Each backend's are in its own folder.

use crate::operation::Call;

/// The names of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallName {
    /// The call itself, or the entry that asks for it.
    pub submitted: &'static str,
    /// What says that it is over.
    pub completed: &'static str,
}

impl CallName {
    /// A call whose end has no name of its own.
    #[must_use]
    pub const fn new(name: &'static str) -> CallName {
        CallName { submitted: name, completed: name }
    }

    /// A call whose end has a name of its own.
    #[must_use]
    pub const fn two(submitted: &'static str, completed: &'static str) -> CallName {
        CallName { submitted, completed }
    }
}

/// A kernel's names of what a driver asks of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallNames {
    /// [`Call::Accept`].
    pub accept: CallName,
    /// [`Call::Connect`].
    pub connect: CallName,
    /// [`Call::Receive`].
    pub receive: CallName,
    /// [`Call::Send`].
    pub send: CallName,
    /// [`Call::Watch`].
    pub watch: CallName,
    /// [`Call::Finish`].
    pub finish: CallName,
    /// [`Call::Close`].
    pub close: CallName,
    /// [`Call::Wait`].
    pub wait: CallName,
    /// Asking for an operation to end early.
    pub cancel: &'static str,
}

impl CallNames {
    /// The names of the sockets API, as POSIX has them.
    pub const SOCKETS: CallNames = CallNames {
        accept: CallName::new("accept"),
        connect: CallName::new("connect"),
        receive: CallName::new("recv"),
        send: CallName::new("send"),
        watch: CallName::new("watch"),
        finish: CallName::new("shutdown"),
        close: CallName::new("close"),
        wait: CallName::new("wait"),
        cancel: "forget",
    };

    /// The names of one call.
    #[must_use]
    pub const fn of(&self, call: Call) -> CallName {
        match call {
            Call::Accept => self.accept,
            Call::Connect => self.connect,
            Call::Receive => self.receive,
            Call::Send => self.send,
            Call::Watch => self.watch,
            Call::Finish => self.finish,
            Call::Close => self.close,
            Call::Wait => self.wait,
        }
    }
}
