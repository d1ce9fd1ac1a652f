//! Sessions: their state, their send queues, and the handles of them that other threads get.

mod close_reason;
mod command;
mod directory;
mod handle;
mod id;
mod kept;
mod limits;
mod marks;
mod owed;
mod owed_count;
mod pending;
mod send_queue;
mod state;
mod table;
mod timers;

pub use close_reason::{CloseReason, Closed};
pub use command::PostError;
pub(crate) use command::{PostToSession, PostedPayload, SessionCommand};
pub(crate) use directory::Directory;
pub(crate) use handle::HandleState;
pub use handle::SessionHandle;
pub use id::SessionId;
pub(crate) use kept::Kept;
pub(crate) use limits::{Deadline, Limits};
pub use limits::{Idle, SendLimits};
pub use owed::Owed;
pub(crate) use owed_count::OwedCount;
pub(crate) use pending::Pending;
pub use send_queue::Sent;
pub(crate) use send_queue::{BLOCKS, MOST, SendQueue};
pub(crate) use state::{Leftovers, Phase, PhaseAction, PhaseEvent, SessionState};
pub(crate) use table::Table;
pub(crate) use timers::SessionTimers;
