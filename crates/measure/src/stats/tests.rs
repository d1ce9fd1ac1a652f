use proptest::prelude::*;

use super::*;

fn samples() -> impl Strategy<Value = Vec<f64>> {
    prop::collection::vec(-1e6..1e6, 1..40)
}

/// Normally distributed, nearly: the sum of twelve even ones.
fn noise(random: &mut Random) -> f64 {
    (0..12).map(|_| random.below(1_000_000) as f64 / 1e6).sum::<f64>() - 6.0
}

#[test]
fn quantiles_are_those_of_other_programs() {
    // R: quantile(c(1, 2, 4, 8), c(.25, .5, .9)); NumPy's default gives the same.
    let samples = [8.0, 1.0, 4.0, 2.0];
    assert_eq!(quantile(&samples, 0.0), Some(1.0));
    assert_eq!(quantile(&samples, 0.25), Some(1.75));
    assert_eq!(median(&samples), Some(3.0));
    assert!((quantile(&samples, 0.9).unwrap() - 6.8).abs() < 1e-12);
    assert_eq!(quantile(&samples, 1.0), Some(8.0));
    assert_eq!(mean(&samples), Some(3.75));
}

#[test]
fn what_has_no_answer_has_none() {
    for (samples, q) in
        [(&[][..], 0.5), (&[f64::NAN, 1.0], 0.5), (&[1.0], -0.1), (&[1.0], 1.1), (&[1.0], f64::NAN)]
    {
        assert_eq!(quantile(samples, q), None, "{samples:?} {q}");
    }
    assert_eq!(mean(&[]), None);
    assert_eq!(median_interval(&[], Resampling::default()), None);
    assert_eq!(ratio_of_medians(&[], Resampling::default()), None);
    assert_eq!(ratio_of_medians(&[(0.0, 1.0)], Resampling::default()), None);
    let none: &[&[f64]] = &[&[]];
    assert_eq!(ratio_of_runs(none, &[&[1.0]], 1, median, Resampling::default()), None);
    assert_eq!(quantile(&[f64::INFINITY, f64::INFINITY], 0.5), Some(f64::INFINITY));
}

#[test]
fn intervals_hold_the_truth_as_often_as_they_say() {
    let mut random = Random::new(3);
    let (mut medians, mut ratios) = (0, 0);
    for seed in 0..200 {
        let resampling = Resampling { times: 400, seed };
        let samples: Vec<f64> = (0..25).map(|_| 100.0 + 10.0 * noise(&mut random)).collect();
        let interval = median_interval(&samples, resampling).unwrap();
        medians += u32::from((interval.low..=interval.high).contains(&100.0));
        // A slow phase that both of a round feel.
        let rounds: Vec<_> = (0..25)
            .map(|_| {
                let phase = 1.0 + 0.4 * random.below(2) as f64;
                (phase * (100.0 + noise(&mut random)), phase * (120.0 + noise(&mut random)))
            })
            .collect();
        let interval = ratio_of_medians(&rounds, resampling).unwrap();
        ratios += u32::from((interval.low..=interval.high).contains(&1.2));
    }
    assert!((180..=200).contains(&medians), "{medians} of 200");
    assert!((180..=200).contains(&ratios), "{ratios} of 200");
}

/// Pieces that resemble their neighbours: independent drawing gives an interval that is much too narrow, blocks do not.
#[test]
fn blocks_know_slow_phases() {
    let mut random = Random::new(5);
    let mut run = || {
        let mut level = 0.0;
        let piece = |_| {
            level = 0.9 * level + noise(&mut random);
            100.0 + 3.0 * level
        };
        (0..200).map(piece).collect::<Vec<f64>>()
    };
    let (mut alone, mut in_blocks) = (0, 0);
    for seed in 0..100 {
        let (before, after) = (run(), run());
        let interval = |block| {
            ratio_of_runs(&[&before], &[&after], block, mean, Resampling { times: 300, seed }).unwrap()
        };
        alone += u32::from((interval(1).low..=interval(1).high).contains(&1.0));
        in_blocks += u32::from((interval(30).low..=interval(30).high).contains(&1.0));
    }
    assert!(in_blocks >= 80, "{in_blocks} of 100");
    assert!(alone <= 60, "{alone} of 100");
}

/// Eight hours in pieces of 100 ms, and many runs of a few seconds.
#[test]
fn long_runs_take_no_longer() {
    let resampling = Resampling { times: 50, seed: 1 };
    let mut random = Random::new(9);
    let long: Vec<f64> = (0..288_000).map(|_| 100.0 + noise(&mut random)).collect();
    let short: Vec<&[f64]> = long.chunks(40).take(50).collect();
    for (before, pieces) in
        [(vec![&long[..]], long.len()), (vec![&long[..], &long[..100]], 288_100), (short, 2000)]
    {
        let mut seen = 0;
        let counted = |samples: &[f64]| {
            seen += samples.len();
            median(samples)
        };
        let estimate = ratio_of_runs(&before, &[&long[..100]], 10, counted, resampling).unwrap();
        assert!(estimate.low > 0.99 && estimate.high < 1.01, "{estimate:?}");
        let of_samples = pieces + 100;
        // Runs are drawn with replacement, so that a draw may consist of the longest one several times.
        let most = before.len().min(2) * 600;
        assert!(seen <= of_samples + 50 * (most + 100), "{seen}");
        assert!(seen >= of_samples + 50 * 100, "{seen}");
    }
}

#[test]
fn runs_are_drawn_as_well() {
    let [low, high] = [[90.0; 20], [110.0; 20]];
    let single = ratio_of_runs(&[&low], &[&low], 5, median, Resampling::default()).unwrap();
    assert_eq!((single.low, single.high), (1.0, 1.0));
    let several = ratio_of_runs(&[&low, &high, &low], &[&low], 5, mean, Resampling::default()).unwrap();
    assert!(several.low < 0.83 && several.high > 0.99, "{several:?}");
}

proptest! {
    #[test]
    fn a_quantile_lies_among_the_samples(samples in samples(), q in 0.0..=1.0) {
        let value = quantile(&samples, q).unwrap();
        let least = samples.iter().copied().fold(f64::INFINITY, f64::min);
        let most = samples.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        prop_assert!((least..=most).contains(&value));
        prop_assert!(value <= quantile(&samples, (q + 0.1).min(1.0)).unwrap());
    }

    #[test]
    fn an_interval_lies_among_the_samples_and_repeats(samples in samples(), seed: u64) {
        let resampling = Resampling { times: 50, seed };
        let interval = median_interval(&samples, resampling).unwrap();
        prop_assert!(interval.low <= interval.high);
        prop_assert!(quantile(&samples, 0.0).unwrap() <= interval.low);
        prop_assert!(quantile(&samples, 1.0).unwrap() >= interval.high);
        prop_assert_eq!(median_interval(&samples, resampling).unwrap(), interval);
    }

    #[test]
    fn a_ratio_scales(rounds in prop::collection::vec((1.0..1e6f64, 1.0..1e6f64), 1..20), factor in 0.1..10.0f64) {
        let resampling = Resampling { times: 50, seed: 1 };
        let one = ratio_of_medians(&rounds, resampling).unwrap();
        let scaled: Vec<_> = rounds.iter().map(|(before, after)| (*before, after * factor)).collect();
        let other = ratio_of_medians(&scaled, resampling).unwrap();
        prop_assert!((one.value * factor / other.value - 1.0).abs() < 1e-9);
        prop_assert!((one.low * factor / other.low - 1.0).abs() < 1e-9);
    }

    #[test]
    fn blocks_of_any_length_are_fine(
        before in prop::collection::vec(1.0..1e3, 1..30),
        after in prop::collection::vec(1.0..1e3, 1..30),
        block in 0usize..50,
    ) {
        let resampling = Resampling { times: 20, seed: 1 };
        let ratio = ratio_of_runs(&[&before], &[&after], block, median, resampling).unwrap();
        prop_assert!(ratio.low <= ratio.high);
    }
}
