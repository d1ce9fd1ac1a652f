//! What threads share a wake through: the standard library's atomics, and in models `loom`'s (`cargo xtask loom`). The
//! engine's models run over the simulated kernel, so it is not for this crate's own tests alone.

#[cfg(loom)]
pub(crate) use loom::sync::atomic;
#[cfg(not(loom))]
pub(crate) use std::sync::atomic;
