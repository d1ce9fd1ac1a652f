//! Completion I/O for TCP sockets: hand the kernel an operation, take its completion.
//!
//! `proactor` knows sockets and bytes; it knows no sessions and no protocol. It has two storeys:
//!
//! * [`backend`]: one thin translation per operating-system interface (io_uring, IOCP, readiness, and a
//!   simulated kernel): *submit this operation*, *cancel that one*, *what has completed?*
//! * [`Driver`]: written once over all of them. It owns the in-flight table, the connections, the receive and
//!   send state of each, and the order in which a connection is closed.
//!
//! Thread rule: a driver, its leases and its pool live on one thread. Only a [`Waker`] and an accepted socket
//! may be handed to another. An [`AcceptWatch`] lives on a thread of its own, beside the drivers'.
//!
//! This is the only crate of the workspace with `unsafe` code, apart from the museum of deliberate faults.
#![deny(unsafe_op_in_unsafe_fn)]

mod accept_watch;
pub mod backend;
pub mod buffer;
#[cfg(windows)]
pub mod console;
mod destination;
mod driver;
#[cfg_attr(feature = "guard-pages", expect(clippy::modulo_one, reason = "a chunk then holds one entry"))]
mod inflight;
pub mod operation;
pub mod os;
mod socket;
mod sync;
mod time;
mod waker;

pub use accept_watch::{AcceptWatch, try_accept};
#[doc(hidden)]
pub use backend::InFlight;
pub use backend::{Abilities, Backend, BackendKind};
pub use buffer::{AlignedBuf, Gather, Lease, Outgoing, Payload, Pool, PoolConfig};
pub use destination::{destination, refuse_itself};
pub use driver::{
    CONNECTIONS, ConnectionKey, Driver, Event, ListenerKey, Moment, Sending, Snapshot, Step, TraceResult,
    Tracer, Verb,
};
#[doc(hidden)]
pub use inflight::{EntryMut, EntryRef, Table};
pub use operation::{Call, OpKey};
pub use os::{address_unavailable, interface_index, prefetch};
#[cfg(unix)]
pub use socket::UnixCalls;
pub use socket::{Delivery, Discarded, ListenOptions, Socket, SocketCalls, SocketOptions, listen, turn_away};
pub use time::Time;
pub use waker::{Wake, Waker};
