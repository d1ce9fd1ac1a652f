//! Which connections become sessions, and on which worker: the limits, and placement.

mod address_limit;
mod placement;

pub(crate) use address_limit::AddressLimit;
pub(crate) use placement::{Acceptor, Arrivals, Delivery};
