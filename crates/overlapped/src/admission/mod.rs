//! Which connections become sessions, and on which worker: the limits, and placement.

mod address_limit;
mod incoming;
mod placement;
mod seat;

pub(crate) use address_limit::AddressLimit;
pub use incoming::{Admission, Incoming};
pub(crate) use placement::{Arrivals, Delivery, Placement};
pub(crate) use seat::{Limits, Seat};
