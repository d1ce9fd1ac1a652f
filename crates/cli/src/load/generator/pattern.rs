//! The bytes that are sent: one pseudo-random pattern, which every connection repeats, each from a place of its own. So
//! nothing is copied to be sent, and an echo is checked with one comparison per received block.

use std::sync::LazyLock;

use overlapped::buffers::AlignedBuf;

/// Bytes until the pattern repeats. A prime number of cache lines: a message of a round size never begins at the same
/// place twice in a row, and a stream that lost or doubled bytes shows it, unless it lost exactly this many.
const PERIOD: usize = 64 * 1021;

/// The pattern, twice: from any place in it, `PERIOD` bytes follow. It starts on a cache line, and so do messages of whole
/// cache lines: kernels copy faster from there.
static PATTERN: LazyLock<AlignedBuf> = LazyLock::new(|| {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        // SplitMix64, <https://prng.di.unimi.it/splitmix64.c>
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    };
    let once: Vec<u8> = (0..PERIOD / 8).flat_map(|_| next().to_le_bytes()).collect();
    AlignedBuf::from(&once.repeat(2)[..])
});

/// The stream of one connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stream {
    /// Where in the pattern it begins.
    start: u32,
}

impl Stream {
    /// The stream of connection `number`. Neighbours begin far from each other, all at a multiple of a cache line.
    pub(super) fn new(number: u64) -> Stream {
        let lines = (PERIOD / 64) as u64;
        // 389 and 1021 have no common factor: the first 1021 connections all begin elsewhere.
        Stream { start: (number % lines * 389 % lines) as u32 * 64 }
    }

    /// `len` bytes from `offset` on, in pieces that are as long as possible.
    pub(super) fn pieces(self, mut offset: u64, mut len: usize) -> impl Iterator<Item = &'static [u8]> {
        std::iter::from_fn(move || {
            let piece = len.min(PERIOD);
            let from = ((u64::from(self.start) + offset) % PERIOD as u64) as usize;
            offset += piece as u64;
            len -= piece;
            (piece > 0).then(|| &PATTERN[from..from + piece])
        })
    }

    /// The first place at which `got` differs from the stream from `offset` on, and the byte that should be there.
    pub(super) fn first_difference(self, offset: u64, got: &[u8]) -> Option<(usize, u8)> {
        let mut at = 0;
        for piece in self.pieces(offset, got.len()) {
            let part = &got[at..at + piece.len()];
            if part != piece {
                let inside = part.iter().zip(piece).position(|(got, sent)| got != sent)?;
                return Some((at + inside, piece[inside]));
            }
            at += piece.len();
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_the_stream_wherever_they_are_cut() {
        let stream = Stream::new(7);
        let whole: Vec<u8> = stream.pieces(0, 3 * PERIOD + 5).flatten().copied().collect();
        assert_eq!(whole.len(), 3 * PERIOD + 5);
        assert_eq!(whole[..PERIOD], whole[PERIOD..2 * PERIOD]);
        for (offset, len) in [(0, 1), (1, 64), (PERIOD - 1, 2), (PERIOD + 63, PERIOD + 1), (12_345, 0)] {
            let part: Vec<u8> = stream.pieces(offset as u64, len).flatten().copied().collect();
            assert_eq!(part, whole[offset..offset + len], "{len} bytes from {offset}");
        }
        for piece in stream.pieces(0, 10 * PERIOD).chain(stream.pieces(64 * 12_345, 16 * 1024)) {
            assert!(piece.as_ptr().addr().is_multiple_of(64), "kernels copy faster from a cache line");
        }
    }

    #[test]
    fn each_difference_is_found_where_it_is() {
        let stream = Stream::new(3);
        let sent: Vec<u8> = stream.pieces(1000, PERIOD + 100).flatten().copied().collect();
        assert_eq!(stream.first_difference(1000, &sent), None);
        for at in [0, 1, 63, 64, PERIOD - 1, PERIOD, PERIOD + 99] {
            let mut wrong = sent.clone();
            wrong[at] ^= 1;
            assert_eq!(stream.first_difference(1000, &wrong), Some((at, sent[at])));
        }
    }

    #[test]
    fn streams_of_other_connections_and_shifted_ones_differ_soon() {
        for number in 0..1021 {
            let (one, next) = (Stream::new(number), Stream::new(number + 1));
            let sent: Vec<u8> = one.pieces(0, 64).flatten().copied().collect();
            assert!(next.first_difference(0, &sent).is_some_and(|(at, _)| at < 8));
            assert!(one.first_difference(1, &sent).is_some_and(|(at, _)| at < 8));
        }
    }
}
