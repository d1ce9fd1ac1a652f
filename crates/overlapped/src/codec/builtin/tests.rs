use std::fmt::Debug;

use proactor::{Lease, Pool, PoolConfig};
use proptest::prelude::*;

use super::*;
use crate::codec::Framed;

fn encoded<T, E: Encoder<T, Error = FrameError>>(encoder: &mut E, item: T) -> Result<Vec<u8>, FrameError> {
    let mut out = Vec::new();
    encoder.encode(item, &mut out).map(|()| out)
}

/// The frames of a stream that arrives in these pieces.
fn frames<D>(decoder: &D, pieces: &[&[u8]]) -> Result<Vec<Vec<u8>>, D::Error>
where
    D: Decoder<Item = Payload> + Clone,
    D::Error: Debug,
{
    let pool = Pool::new(PoolConfig { blocks: 4, block_len: 4096 });
    let lease = |piece: &[u8]| -> Lease {
        let mut block = pool.take().expect("blocks are free");
        block.bytes_mut()[..piece.len()].copy_from_slice(piece);
        block.into_lease(piece.len())
    };
    let (mut framed, mut frames) = (Framed::new(decoder.clone()), Vec::new());
    for piece in pieces {
        framed.push(lease(piece));
        while let Some(frame) = framed.decode() {
            frames.push(frame?.as_slice().to_vec());
        }
    }
    Ok(frames)
}

#[test]
fn lines_end_with_lf_or_crlf_wherever_they_are_cut() {
    let wanted = [&b"a"[..], b"", b"b\rc"];
    for at in 0..9 {
        let (one, two) = b"a\r\n\nb\rc\n".split_at(at.min(8));
        assert_eq!(frames(&Lines::up_to(3), &[one, two]).unwrap(), wanted);
    }
    assert!(frames(&Lines::up_to(3), &[b"abc\r\n", b"abcd"]).is_err());
}

#[test]
fn a_delimiter_may_be_cut_in_two() {
    let delimiter = Delimiter::new(*b"--", 4);
    assert_eq!(frames(&delimiter, &[b"a-", b"-b", b"-c-", b"-"]).unwrap(), [&b"a"[..], b"b-c"]);
    assert!(frames(&delimiter, &[b"abcd-"]).unwrap().is_empty());
    assert!(frames(&delimiter, &[b"abcde-"]).is_err());
}

#[test]
fn a_length_over_the_limit_is_refused_before_its_bytes_come() {
    let mut framing = LengthPrefixed::of_width(4, 1000);
    let error = frames(&framing, &[&[0xFF; 4]]).unwrap_err();
    assert_eq!(error.to_string(), "a frame of 4294967295 bytes or more is over the limit of 1000");
    assert!(encoded(&mut framing, &[0; 1001][..]).is_err());
    assert!(encoded(&mut LengthPrefixed::of_width(1, 1000), &[0; 256][..]).is_err());
    assert!(frames(&LengthPrefixed::of_width(8, 9), &[&[0xFF; 8]]).is_err());
}

#[test]
fn content_that_the_receiver_would_cut_is_refused() {
    assert_eq!(encoded(&mut Lines::up_to(9), "a\nb"), Err(FrameError::HasDelimiter { at: 1 }));
    assert_eq!(encoded(&mut Lines::up_to(1), "ab"), Err(FrameError::TooLong { len: 2, most: 1 }));
    let mut delimiter = Delimiter::new(*b"--", 4);
    assert_eq!(encoded(&mut delimiter, &b"a--b"[..]), Err(FrameError::HasDelimiter { at: 1 }));
    // The content ends with the beginning of a delimiter: `a-` and `--` reads as `a`, then `-`.
    assert_eq!(encoded(&mut delimiter, &b"a-"[..]), Err(FrameError::HasDelimiter { at: 1 }));
    assert_eq!(encoded(&mut delimiter, &b"-a"[..]).unwrap(), b"-a--");
}

proptest! {
    #[test]
    fn what_is_encoded_is_found_however_it_is_cut(
        contents in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..10),
        width in prop::sample::select(vec![1usize, 2, 4, 8]),
        little in any::<bool>(),
        cut in 1..50usize,
    ) {
        let framing = LengthPrefixed::of_width(width, 255);
        let mut framing = if little { framing.little_endian() } else { framing };
        let stream: Vec<u8> =
            contents.iter().flat_map(|content| encoded(&mut framing, &content[..]).unwrap()).collect();
        let pieces: Vec<&[u8]> = stream.chunks(cut).collect();
        prop_assert_eq!(frames(&framing, &pieces).unwrap(), contents);
    }
}
