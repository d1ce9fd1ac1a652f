//! The generator on the simulated kernel.
