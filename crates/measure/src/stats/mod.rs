//! What measurements say, and how sure that is.
//!
//! Intervals are percentile bootstrap intervals (B. Efron, R. Tibshirani, *An Introduction to the Bootstrap*, 1993,
//! chapter 13): the samples are drawn again with replacement, many times, the statistic is computed each time, and the
//! middle 95 % of the results are the interval. Nothing is assumed about how the samples are distributed; benchmarks are
//! never normal. It is assumed that the samples tell what the next samples would be like: an interval knows no noise that
//! the samples did not see.

mod blocks;
mod random;

pub use blocks::ratio_of_runs;
use random::Random;

/// A statistic with its interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The statistic of the samples as they are.
    pub value: f64,
    /// Lower end of its 95 % interval.
    pub low: f64,
    /// Upper end of its 95 % interval.
    pub high: f64,
}

impl Estimate {
    /// Whether the whole interval is below `limit`.
    #[must_use]
    pub fn is_below(&self, limit: f64) -> bool {
        self.high < limit
    }

    /// Whether the whole interval is above `limit`.
    #[must_use]
    pub fn is_above(&self, limit: f64) -> bool {
        self.low > limit
    }
}

/// How often samples are drawn again, and from which seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resampling {
    /// How many times; at least 1. 2,000 are enough for an interval of 95 %: its ends then rest on 50 results each.
    pub times: u32,
    /// The same seed and samples give the same interval.
    pub seed: u64,
}

impl Default for Resampling {
    fn default() -> Resampling {
        Resampling { times: 2000, seed: 1 }
    }
}

/// The value below which a share `q` (0 to 1) of the samples lie, interpolated between the two neighbours: definition 7 of
/// R. Hyndman, Y. Fan, *Sample Quantiles in Statistical Packages*, 1996, which R and NumPy use too.
///
/// `None` if there are no samples, if one of them is not a number, or if `q` is not from 0 to 1.
#[must_use]
pub fn quantile(samples: &[f64], q: f64) -> Option<f64> {
    let mut sorted = samples.to_vec();
    quantile_in(&mut sorted, q)
}

/// Half of the samples lie below it. `None` as for [`quantile`].
#[must_use]
pub fn median(samples: &[f64]) -> Option<f64> {
    quantile(samples, 0.5)
}

/// The mean. `None` if there are no samples, or if one of them is not a number.
#[must_use]
pub fn mean(samples: &[f64]) -> Option<f64> {
    let sum: f64 = samples.iter().sum();
    (!samples.is_empty() && !sum.is_nan()).then(|| sum / samples.len() as f64)
}

/// The distance between the quarters (25 % and 75 %): the spread of the middle half. `None` as for [`quantile`].
#[must_use]
pub fn middle_half(samples: &[f64]) -> Option<f64> {
    Some(quantile(samples, 0.75)? - quantile(samples, 0.25)?)
}

/// The median with its interval. The samples are taken to be independent; rounds of a benchmark are, neighbouring
/// intervals of one run are not (see [`ratio_of_runs`]).
///
/// `None` as for [`quantile`]. With fewer than about 5 samples the interval is their range, and too narrow.
#[must_use]
pub fn median_interval(samples: &[f64], resampling: Resampling) -> Option<Estimate> {
    let value = median(samples)?;
    let mut drawn = vec![0.0; samples.len()];
    let results = repeated(resampling, |random| {
        drawn.fill_with(|| samples[random.below(samples.len())]);
        quantile_in(&mut drawn, 0.5)
    });
    estimate(value, results)
}

/// The median of the second values over the median of the first, with its interval. Each pair is one round, in which both
/// were measured one shortly after the other; rounds are drawn as wholes, so a slow phase of the machine that both of a
/// round felt does not widen the interval.
///
/// `None` as for [`quantile`], and if a median of the first values is 0.
#[must_use]
pub fn ratio_of_medians(rounds: &[(f64, f64)], resampling: Resampling) -> Option<Estimate> {
    let ratio = |before: &mut [f64], after: &mut [f64]| {
        let ratio = quantile_in(after, 0.5)? / quantile_in(before, 0.5)?;
        ratio.is_finite().then_some(ratio)
    };
    let (mut before, mut after): (Vec<f64>, Vec<f64>) = rounds.iter().copied().unzip();
    let value = ratio(&mut before, &mut after)?;
    let results = repeated(resampling, |random| {
        for (before, after) in before.iter_mut().zip(&mut after) {
            (*before, *after) = rounds[random.below(rounds.len())];
        }
        ratio(&mut before, &mut after)
    });
    estimate(value, results)
}

/// As [`quantile`], and sorts the samples.
fn quantile_in(samples: &mut [f64], q: f64) -> Option<f64> {
    if samples.is_empty() || !(0.0..=1.0).contains(&q) || samples.iter().any(|sample| sample.is_nan()) {
        return None;
    }
    samples.sort_unstable_by(f64::total_cmp);
    let at = q * (samples.len() - 1) as f64;
    let below = samples[at.floor() as usize];
    let above = samples[at.ceil() as usize];
    let share = at.fract();
    // Infinity minus itself is not a number.
    Some(if share == 0.0 || below.total_cmp(&above).is_eq() {
        below
    } else {
        below + (above - below) * share
    })
}

/// What `draw` gives, time after time; results that do not exist are left out.
fn repeated(resampling: Resampling, mut draw: impl FnMut(&mut Random) -> Option<f64>) -> Vec<f64> {
    let mut random = Random::new(resampling.seed);
    (0..resampling.times.max(1)).filter_map(|_| draw(&mut random)).collect()
}

fn estimate(value: f64, mut results: Vec<f64>) -> Option<Estimate> {
    let low = quantile_in(&mut results, 0.025)?;
    let high = quantile_in(&mut results, 0.975)?;
    Some(Estimate { value, low, high })
}

#[cfg(test)]
mod tests;
