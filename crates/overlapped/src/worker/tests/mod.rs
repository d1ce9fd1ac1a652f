//! The engine over the simulated kernel: whole workers, turned by hand in one thread, under a virtual clock.

mod blocked;
mod closing;
mod draining;
mod fairness;
mod layers;
mod limits;
#[cfg(loom)]
mod loom_models;
mod messages;
mod moments;
mod pressure;
mod random;
mod world;
