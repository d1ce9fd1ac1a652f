//! The cases, by what they are about.

pub mod accept;
pub mod close;
pub mod data;
pub mod ending;
pub mod fairness;
pub mod faults;
pub mod plain_sockets;
pub mod pool;
pub mod progress;
pub mod receive;
pub mod refusing;
pub mod schedule;
pub mod shortage;
pub mod urgent;
pub mod wake;
pub mod watching;
