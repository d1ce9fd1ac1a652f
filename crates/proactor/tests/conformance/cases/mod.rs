//! The cases, by what they are about.

pub mod accept;
pub mod close;
pub mod data;
pub mod receive;
