//! What a callback may touch: the sessions of its worker, their timers, and the worker's counters, but neither the driver
//! nor another handler. What a callback asks for is noted in [`Core`]; the worker carries it out when the callback has
//! returned.

mod answers;
mod connects;
mod core;
mod debug;
mod end_connects;
mod endpoints;
mod limits;
mod others;
mod session;
mod time;
mod worker;
mod worker_timers;

pub(crate) use self::core::{Core, CurrentCallback, MOST_REFUSALS};
pub(crate) use connects::{AskedConnect, ConnectRequest, End, PendingConnect, PendingConnects, Stage};
pub(crate) use endpoints::Endpoints;
pub(crate) use others::Others;
pub use session::Session;
pub use worker::WorkerContext;
