//! What the tests of several crates share: bounded waits, plain sockets at the other end, bytes in which a fault shows,
//! seeded random numbers, terminals, and what Linux says about a process.
//!
//! Every helper fails the test, with the place of its caller, instead of hanging. Only tests depend on this crate, and it
//! depends on no other crate of the workspace: a unit test of `proactor` uses it too.
#![forbid(unsafe_code)]

mod bytes;
mod example;
mod faulty;
mod process;
mod random;
mod sockets;
#[cfg(unix)]
mod terminal;
mod waiting;

pub use bytes::{PATTERN_PERIOD, assert_same, noise, pattern};
pub use example::Example;
pub use faulty::{Difference, Done, Fault, FaultyServer, Place, Record, Which};
pub use process::{O_CLOEXEC, open_descriptors, spawned, started, under_wine};
#[cfg(target_os = "linux")]
pub use process::{descriptor_flags, resident, status_field};
pub use random::Random;
pub use sockets::{
    accept, dial, exchange, expect_bytes, expect_end, fill, read_to_end, reset, with_timeouts,
};
#[cfg(unix)]
pub use terminal::terminal;
pub use waiting::{PATIENCE, eventually, eventually_within, exit_of};
