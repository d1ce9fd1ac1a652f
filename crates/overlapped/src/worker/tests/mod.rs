//! The engine over the simulated kernel: whole workers, turned by hand in one thread, under a virtual clock.

mod accepting;
mod blocked;
mod closing;
mod deadlines;
mod draining;
mod fairness;
mod fixture;
mod holding;
mod layers;
mod limits;
#[cfg(loom)]
mod loom_models;
mod messages;
mod panics;
mod pressure;
mod races;
mod random;
mod reconnecting;
mod room;
mod sent;
mod ticks;
mod timers;
mod turning_away;
