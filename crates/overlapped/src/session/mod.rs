//! Sessions: their state, their send queues, and the views of them that handlers and other threads get.

mod close_reason;
mod handle;
mod held;
mod id;
mod send_queue;
mod state;
mod table;
mod timers;
mod view;

pub use close_reason::CloseReason;
pub(crate) use handle::HandleState;
pub use handle::SessionHandle;
pub(crate) use held::Held;
pub use id::SessionId;
pub(crate) use send_queue::{BLOCKS, MOST, SendQueue};
pub(crate) use state::{Phase, SessionState};
pub(crate) use table::Table;
pub(crate) use timers::SessionTimers;
pub use view::{Sent, Session};
