//! Statistics and charts of measurements, shared by `overlapped load` and `cargo xtask bench`. Pure: reads no clock and
//! no files. The same input gives the same output: random numbers come from a seed.
//!
//! * [`stats`]: medians, quantiles, and bootstrap intervals of medians and of ratios.
//! * [`chart`]: line charts as SVG.
//! * [`number`]: numbers as people read them: `1.25 ms`, `12.3 k`, `99.9 %`.
#![forbid(unsafe_code)]

pub mod chart;
pub mod number;
pub mod stats;

/// The examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
