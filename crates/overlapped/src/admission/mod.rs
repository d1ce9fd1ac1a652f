//! Which connections become sessions, and on which worker: the limits, and placement.

mod address_limit;
mod placement;
mod seat;

use address_limit::AddressLimit;
pub(crate) use placement::{Arrivals, Delivery, Placement};
pub(crate) use seat::{Limits, Seat};
