//! The engine over the simulated kernel: whole workers, turned by hand in one thread, under a virtual clock.

mod accepting;
mod blocked;
mod clients;
mod closing;
mod coming_back;
mod deadlines;
mod draining;
mod fairness;
mod fixture;
mod holding;
mod idle;
mod layers;
mod limits;
#[cfg(loom)]
mod loom_models;
mod messages;
mod owing;
mod own_limits;
mod panics;
mod precise_timer;
mod pressure;
mod races;
mod random;
mod reconnecting;
mod relays;
mod room;
mod sent;
mod staggered;
mod ticks;
mod timers;
mod turning_away;
mod worker_timers;
