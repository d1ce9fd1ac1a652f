//! Intervals of runs that were measured piece by piece: neighbouring pieces resemble each other.

use super::random::Random;
use super::{Estimate, Resampling, estimate, repeated};

/// Pieces of one side that are drawn each time, at most: an hour has 36,000 intervals of 100 ms.
const MOST: usize = 600;

/// The statistic of the runs `after` over that of the runs `before`, with its interval. A run is a series of pieces in
/// order of time, such as its intervals of 100 ms; the statistic gets all pieces of the runs of one side.
///
/// A piece resembles its neighbours: a slow phase of a machine lasts for many. So pieces are drawn in blocks of `block`
/// neighbours (H. Künsch 1989; circular, as D. Politis and J. Romano 1992, so that no piece is drawn more rarely than
/// another); `block` should span the time after which pieces have nothing to do with each other. Where a side has several
/// runs, runs are drawn first, then blocks within them (A. Davison, D. Hinkley, *Bootstrap Methods and their
/// Application*, 1997, section 3.8): runs differ by more than their pieces show.
///
/// Of a side with more than 600 pieces, 600 are drawn each time, from all of them (the *m out of n* bootstrap: P. Bickel,
/// F. Götze, W. van Zwet 1997): the time that this takes does not grow with the run. The interval is then that of 600 pieces,
/// which is wider than it would be with all. Pieces are not put together instead: a quantile of longer pieces is another one,
/// so a long run and a short one would differ for that reason alone.
///
/// `None` if a side has no piece, or if the statistic gives no finite ratio.
#[must_use]
pub fn ratio_of_runs<T: Copy>(
    before: &[&[T]],
    after: &[&[T]],
    block: usize,
    mut statistic: impl FnMut(&[T]) -> Option<f64>,
    resampling: Resampling,
) -> Option<Estimate> {
    let [before, after] = [before, after].map(with_pieces);
    if before.is_empty() || after.is_empty() {
        return None;
    }
    let mut ratio = |before: &[T], after: &[T]| {
        let ratio = statistic(after)? / statistic(before)?;
        ratio.is_finite().then_some(ratio)
    };
    let value = ratio(&before.concat(), &after.concat())?;
    let (mut one, mut other) = (Vec::new(), Vec::new());
    let results = repeated(resampling, |random| {
        draw(&before, block, random, &mut one);
        draw(&after, block, random, &mut other);
        ratio(&one, &other)
    });
    estimate(value, results)
}

fn with_pieces<'a, T>(runs: &[&'a [T]]) -> Vec<&'a [T]> {
    runs.iter().copied().filter(|run| !run.is_empty()).collect()
}

/// As many runs as there are, each drawn anew from blocks of one of them; of many pieces, the same share of each run.
fn draw<T: Copy>(runs: &[&[T]], block: usize, random: &mut Random, into: &mut Vec<T>) {
    into.clear();
    let pieces: usize = runs.iter().map(|run| run.len()).sum();
    for _ in runs {
        let run = runs[random.below(runs.len())];
        let block = block.clamp(1, run.len());
        let share = if pieces > MOST { (run.len() * MOST / pieces).max(block) } else { run.len() };
        let full = into.len() + share;
        while into.len() < full {
            let first = random.below(run.len());
            let wanted = block.min(full - into.len());
            into.extend((first..first + wanted).map(|at| run[at % run.len()]));
        }
    }
}
