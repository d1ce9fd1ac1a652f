//! Sessions: their state, their send queues, and the handles of them that other threads get.

mod asked;
mod close_reason;
mod command;
mod handle;
mod id;
mod kept;
mod limits;
mod origin;
mod pending;
mod room;
mod send_queue;
mod state;
mod table;
mod timers;

pub(crate) use asked::Asked;
pub use close_reason::{CloseReason, Closed};
pub use command::PostError;
pub(crate) use command::{PostToSession, SessionCommand};
pub(crate) use handle::HandleState;
pub use handle::SessionHandle;
pub use id::SessionId;
pub(crate) use kept::Kept;
pub use limits::SendLimits;
pub use origin::Origin;
pub(crate) use pending::Pending;
pub(crate) use room::{Room, RoomLevel, RoomRequest};
pub use send_queue::Sent;
pub(crate) use send_queue::{BLOCKS, MOST, SendQueue};
pub(crate) use state::{Leftovers, Phase, PhaseAction, PhaseEvent, SessionState};
pub(crate) use table::Table;
pub(crate) use timers::SessionTimers;
