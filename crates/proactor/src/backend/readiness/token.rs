//! The token of a source: its number and its generation in one word.

use mio::Token;

/// The waker.
pub(super) const WAKE: Token = Token(usize::MAX);

/// Bits of the number. The others, less the highest, are the generation: an event of an earlier socket in the same
/// slot can only come from the same poll, so a few bits are enough where a word is small.
const NUMBER_BITS: u32 = if usize::BITS >= 64 { 32 } else { 20 };
const NUMBERS: usize = 1 << NUMBER_BITS;
/// The part of a generation that a token has.
pub(super) const GENERATIONS: u32 = (usize::MAX / NUMBERS / 2) as u32;

/// The token of a source. Never [`WAKE`]: its highest bit is not set.
pub(super) fn token_of(at: u32, generation: u32) -> Token {
    assert!((at as usize) < NUMBERS, "more sources than a word can number");
    Token((generation & GENERATIONS) as usize * NUMBERS + at as usize)
}

/// The source that a token names, and its generation.
pub(super) fn named_by(token: Token) -> (u32, u32) {
    ((token.0 % NUMBERS) as u32, (token.0 / NUMBERS) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_names_its_source_and_generation() {
        for at in [0, 1, (NUMBERS - 1) as u32] {
            for generation in [0, 1, GENERATIONS, GENERATIONS + 1, u32::MAX] {
                let token = token_of(at, generation);
                assert_ne!(token, WAKE);
                assert_eq!(named_by(token), (at, generation & GENERATIONS));
            }
        }
    }
}
