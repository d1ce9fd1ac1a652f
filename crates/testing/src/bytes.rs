//! Bytes to send, and their comparison.

use std::sync::OnceLock;

use crate::Random;

/// After this number of bytes, [`pattern`] repeats. It divides no block or buffer size.
pub const PATTERN_PERIOD: usize = 251 * 241;

/// `len` bytes in which a lost, doubled or moved piece is visible. Another `salt` makes other bytes.
#[must_use]
pub fn pattern(len: usize, salt: u8) -> Vec<u8> {
    (0..len).map(|at| (at % 251) as u8 ^ (at / 251 % 241) as u8 ^ salt).collect()
}

/// The bytes from which [`noise`] takes its pieces.
const NOISE: usize = 8 << 20;

/// `len` random bytes, the same at each run, different ones for different `at`.
///
/// # Panics
/// If `len` is above 8 MiB.
#[must_use]
#[track_caller]
pub fn noise(at: usize, len: usize) -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    let bytes = BYTES.get_or_init(|| {
        let mut random = Random(7);
        (0..NOISE / 8).flat_map(|_| random.next().to_le_bytes()).collect()
    });
    let start = (at * 7919) % (NOISE - len + 1);
    &bytes[start..start + len]
}

/// Asserts equality without printing megabytes.
///
/// # Panics
/// If they differ; the message has both lengths and the first place that differs.
#[track_caller]
pub fn assert_same(got: &[u8], wanted: &[u8], what: &str) {
    let differs = got.iter().zip(wanted).position(|(got, wanted)| got != wanted);
    assert!(
        got == wanted,
        "{what}: {} bytes for {}, first difference at {differs:?}",
        got.len(),
        wanted.len()
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_repeats_after_its_period_and_not_before() {
        let bytes = pattern(2 * PATTERN_PERIOD, 3);
        assert_eq!(bytes[..PATTERN_PERIOD], bytes[PATTERN_PERIOD..]);
        for shift in [1, 64, 241, 251, 4096, 16 * 1024] {
            assert_ne!(bytes[..PATTERN_PERIOD], bytes[shift..][..PATTERN_PERIOD], "moved by {shift}");
        }
        assert_ne!(bytes, pattern(2 * PATTERN_PERIOD, 4));
    }

    #[test]
    fn every_difference_is_found() {
        assert_same(b"abc", b"abc", "the same");
        for other in [&b"abd"[..], b"ab", b"abcd", b""] {
            assert!(std::panic::catch_unwind(|| assert_same(other, b"abc", "differs")).is_err());
        }
    }
}
