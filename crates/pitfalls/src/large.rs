//! A payload that no connection takes at once. Never freed, as all memory that a kernel of this crate is given.

use std::sync::OnceLock;

/// Its bytes. None of them is ASCII.
pub(crate) const LEN: usize = 8 * 1024 * 1024;

static PAYLOAD: OnceLock<Vec<u8>> = OnceLock::new();

pub(crate) fn payload() -> &'static [u8] {
    PAYLOAD.get_or_init(|| (0..LEN).map(pattern).collect())
}

fn pattern(at: usize) -> u8 {
    (at as u32).wrapping_mul(2_654_435_761).to_be_bytes()[0] | 0x80
}
