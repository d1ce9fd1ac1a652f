//! How long to wait before something that failed is tried again: growing delays with jitter.

use std::time::Duration;

/// The shortest delay: a retry without any delay would keep its worker busy.
const LEAST: Duration = Duration::from_millis(1);

/// The delays between retries, for instance of a connect: each is longer than the one before, up to a maximum, and
/// shortened at random (*jitter*), so that many clients that failed together do not all retry together.
///
/// Delays are computed from the seed and the number of retries alone, and so are the same in each run of a test. Clients
/// that fail together need different seeds, for instance their tokens or numbers.
///
/// ```
/// use std::time::Duration;
/// use overlapped::Backoff;
///
/// let mut backoff = Backoff::new(7).first(Duration::from_millis(100)).most(Duration::from_secs(1)).jitter(0.5);
/// for limit in [100, 200, 400, 800, 1000, 1000] {
///     let limit = Duration::from_millis(limit);
///     let delay = backoff.next_delay();
///     assert!(limit / 2 <= delay && delay <= limit);
/// }
/// backoff.reset(); // the connect succeeded
/// assert!(backoff.next_delay() <= Duration::from_millis(100));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Backoff {
    first: Duration,
    most: Duration,
    factor: f64,
    jitter: f64,
    /// The next delay before jitter; `None` before the first.
    next: Option<Duration>,
    retries: u32,
    /// State of the generator.
    random: u64,
}

impl Backoff {
    /// The delays 250 ms, 500 ms, 1 s, … up to 30 s, each shortened by up to half of itself at random.
    #[must_use]
    pub fn new(seed: u64) -> Backoff {
        Backoff {
            first: Duration::from_millis(250),
            most: Duration::from_secs(30),
            factor: 2.0,
            jitter: 0.5,
            next: None,
            retries: 0,
            random: seed,
        }
    }

    /// The first delay, before jitter. Default: 250 ms.
    #[must_use]
    pub fn first(mut self, delay: Duration) -> Backoff {
        self.first = delay;
        self
    }

    /// The longest delay. Default: 30 s. If it is shorter than the first delay, every delay is this long.
    #[must_use]
    pub fn most(mut self, delay: Duration) -> Backoff {
        self.most = delay;
        self
    }

    /// By how much each delay is longer than the one before. Default: 2. Values below 1, and NaN, count as 1: all delays
    /// are equal.
    #[must_use]
    pub fn factor(mut self, factor: f64) -> Backoff {
        self.factor = factor.max(1.0);
        self
    }

    /// The part of a delay that is chosen at random: a delay is at least `1 - jitter` times, and at most once, the length
    /// that it has without jitter. 0: none. 1: delays between 0 and their full length ("full jitter"). Default: 0.5.
    /// Other values count as the nearer of the two; NaN counts as 0.
    #[must_use]
    pub fn jitter(mut self, part: f64) -> Backoff {
        self.jitter = if part.is_nan() { 0.0 } else { part.clamp(0.0, 1.0) };
        self
    }

    /// The delay before the next retry: at least 1 ms. Each call counts as one retry.
    #[must_use]
    pub fn next_delay(&mut self) -> Duration {
        let full = self.next.unwrap_or(self.first).min(self.most);
        let longer = Duration::try_from_secs_f64(full.as_secs_f64() * self.factor).unwrap_or(Duration::MAX);
        self.next = Some(longer);
        self.retries = self.retries.saturating_add(1);
        // 53 random bits: a number from 0 (included) to 1 (excluded).
        let random = (self.next_random() >> 11) as f64 / (1_u64 << 53) as f64;
        let less = full.as_secs_f64() * self.jitter * random;
        full.saturating_sub(Duration::try_from_secs_f64(less).unwrap_or(full)).max(LEAST)
    }

    /// How many delays were taken since the last [`reset`](Self::reset).
    #[must_use]
    pub fn retries(&self) -> u32 {
        self.retries
    }

    /// Begins again with the first delay: what was retried has succeeded. The random numbers go on.
    pub fn reset(&mut self) {
        self.next = None;
        self.retries = 0;
    }

    /// SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014): seeds that are close
    /// together give unrelated numbers.
    fn next_random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.random;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn take(mut backoff: Backoff, count: usize) -> Vec<Duration> {
        (0..count).map(|_| backoff.next_delay()).collect()
    }

    #[test]
    fn without_jitter_delays_grow_up_to_the_maximum() {
        let backoff = Backoff::new(1).first(SECOND).factor(1.5).most(4 * SECOND).jitter(0.0);
        let wanted = [1000, 1500, 2250, 3375, 4000, 4000].map(Duration::from_millis);
        assert_eq!(take(backoff, 6), wanted);
    }

    #[test]
    fn jitter_shortens_a_delay_by_its_part_at_most_and_uses_the_whole_range() {
        let backoff = Backoff::new(1).first(SECOND).factor(1.0).jitter(0.25);
        let delays = take(backoff, 1000);
        assert!(delays.iter().all(|delay| (SECOND * 3 / 4..=SECOND).contains(delay)));
        assert!(delays.iter().any(|delay| *delay < SECOND * 77 / 100));
        assert!(delays.iter().any(|delay| *delay > SECOND * 98 / 100));
    }

    #[test]
    fn the_seed_decides() {
        assert_eq!(take(Backoff::new(3), 20), take(Backoff::new(3), 20));
        let first: HashSet<_> = (0..1000).map(|seed| Backoff::new(seed).next_delay()).collect();
        assert!(
            first.len() > 990,
            "clients with neighbouring seeds retry at {} different times",
            first.len()
        );
    }

    #[test]
    fn a_reset_begins_with_the_first_delay_and_not_with_the_same_random_numbers() {
        let mut backoff = Backoff::new(9).first(SECOND).most(60 * SECOND);
        let before: Vec<_> = (0..5).map(|_| backoff.next_delay()).collect();
        assert_eq!(backoff.retries(), 5);
        backoff.reset();
        assert_eq!(backoff.retries(), 0);
        let after = backoff.next_delay();
        assert!(after <= SECOND && after != before[0]);
    }

    #[test]
    fn values_out_of_range_do_no_harm() {
        let least = [LEAST; 3];
        assert_eq!(take(Backoff::new(0).first(Duration::ZERO), 3), least);
        assert_eq!(take(Backoff::new(0).most(Duration::ZERO), 3), least);
        let steady = Backoff::new(0).first(SECOND).jitter(f64::NAN);
        assert_eq!(take(steady.clone().factor(f64::NAN), 3), [SECOND; 3]);
        assert_eq!(take(steady.clone().factor(-1.0), 3), [SECOND; 3]);
        assert_eq!(take(steady.factor(f64::INFINITY), 3), [SECOND, 30 * SECOND, 30 * SECOND]);
        for jitter in [-1.0, 7.0, f64::INFINITY] {
            let most = Duration::MAX;
            let delays = take(Backoff::new(0).first(most).most(most).factor(1e300).jitter(jitter), 100);
            assert!(delays.iter().all(|delay| (LEAST..=most).contains(delay)));
        }
    }
}
