use proactor::{Pool, PoolConfig};
use proptest::prelude::*;

use super::*;
use crate::codec::{FrameError, LengthPrefixed, Lines};

/// Chunks of a body, as they arrive, after a header with its length; `need` is not said, bytes are removed early.
#[derive(Clone, Default)]
struct Chunks {
    left: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Begin(usize),
    Chunk(Vec<u8>),
}

impl Decoder for Chunks {
    type Item = Part;
    type Error = std::convert::Infallible;

    fn decode(&mut self, input: &mut Input<'_>) -> Result<Option<Part>, Self::Error> {
        if self.left > 0 {
            let len = input.len().min(self.left);
            self.left -= len;
            return Ok((len > 0).then(|| Part::Chunk(input.take(len).as_slice().to_vec())));
        }
        let Some(header) = input.first_chunk::<2>() else { return Ok(None) };
        self.left = usize::from(u16::from_be_bytes(*header));
        input.skip(2);
        Ok(Some(Part::Begin(self.left)))
    }
}

/// Removes its header and returns `None`; the item is what follows, once it is there.
#[derive(Clone, Default)]
struct HeaderFirst {
    len: Option<usize>,
}

impl Decoder for HeaderFirst {
    type Item = Vec<u8>;
    type Error = std::convert::Infallible;

    fn decode(&mut self, input: &mut Input<'_>) -> Result<Option<Vec<u8>>, Self::Error> {
        let Some(len) = self.len else {
            if let Some(header) = input.first_chunk::<2>() {
                self.len = Some(usize::from(u16::from_be_bytes(*header)));
                input.skip(2);
            }
            return Ok(None);
        };
        if input.len() < len + 1 {
            input.need(len + 1);
            return Ok(None);
        }
        self.len = None;
        let body = input.take(len).as_slice().to_vec();
        input.skip(1); // a check byte, so that an empty body removes something
        Ok(Some(body))
    }
}

/// Leases of the pieces of a stream, each on a block of its own.
struct Blocks(Pool);

impl Blocks {
    fn new() -> Blocks {
        Blocks(Pool::new(PoolConfig { blocks: 8, block_len: 4096 }))
    }

    fn lease(&self, piece: &[u8]) -> Lease {
        let mut block = self.0.take().expect("blocks are free");
        block.bytes_mut()[..piece.len()].copy_from_slice(piece);
        block.into_lease(piece.len())
    }
}

/// The bodies, each behind its length.
fn stream(bodies: &[Vec<u8>], check: &[u8]) -> Vec<u8> {
    let frame = |body: &Vec<u8>| [&(body.len() as u16).to_be_bytes()[..], &body[..], check].concat();
    bodies.iter().flat_map(frame).collect()
}

fn bodies() -> impl Strategy<Value = Vec<Vec<u8>>> {
    prop::collection::vec(prop::collection::vec(any::<u8>(), 0..900), 0..12)
}

proptest! {
    #[test]
    fn parts_of_a_body_are_the_body(bodies in bodies(), cut in 1..700usize) {
        let (blocks, mut framed, mut got) = (Blocks::new(), Framed::new(Chunks::default()), Vec::<Vec<u8>>::new());
        for piece in stream(&bodies, b"").chunks(cut) {
            framed.push(blocks.lease(piece));
            while let Some(Ok(part)) = framed.decode() {
                match part {
                    Part::Begin(_) => got.push(Vec::new()),
                    Part::Chunk(chunk) => got.last_mut().unwrap().extend(chunk),
                }
            }
        }
        prop_assert_eq!(got, bodies);
        prop_assert_eq!(framed.unread(), 0);
        prop_assert_eq!(blocks.0.in_use(), 0, "no block is kept");
    }

    /// Whatever was removed before `None`, and however few of the items are read each time.
    #[test]
    fn items_wait_until_they_are_read(bodies in bodies(), cut in 1..700usize, most in 0..4usize) {
        let (blocks, mut framed, mut got) = (Blocks::new(), Framed::new(HeaderFirst::default()), Vec::new());
        let bytes = stream(&bodies, b"!");
        for piece in bytes.chunks(cut) {
            framed.push(blocks.lease(piece));
            for _ in 0..most {
                got.extend(framed.decode().map(|Ok(body)| body));
            }
        }
        while let Some(Ok(body)) = framed.decode() {
            got.push(body);
        }
        prop_assert_eq!(got, bodies);
        prop_assert_eq!((framed.unread(), blocks.0.in_use()), (0, 0));
    }

    /// Lines, then a switch, then frames: the bytes behind the switch go to the next decoder, wherever they lie.
    #[test]
    fn a_switch_in_the_middle_of_a_stream(
        lines in prop::collection::vec("[a-z]{0,40}", 0..5),
        bodies in bodies(),
        cut in 1..700usize,
    ) {
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        let bytes = [text.as_bytes(), b"BINARY\n", &stream(&bodies, b"")].concat();
        let blocks = Blocks::new();
        let (mut text, mut binary) = (Some(Framed::new(Lines::up_to(100))), None::<Framed<LengthPrefixed>>);
        let (mut got_lines, mut got) = (Vec::new(), Vec::new());
        for piece in bytes.chunks(cut) {
            let lease = blocks.lease(piece);
            match (&mut text, &mut binary) {
                (Some(framed), _) => framed.push(lease),
                (_, Some(framed)) => framed.push(lease),
                _ => unreachable!(),
            }
            while let Some(framed) = &mut text {
                let Some(line) = framed.decode() else { break };
                match line.unwrap().as_slice() {
                    b"BINARY" => {
                        binary = text.take().map(|framed| framed.switch(LengthPrefixed::of_width(2, 900)));
                    }
                    line => got_lines.push(String::from_utf8(line.to_vec()).unwrap()),
                }
            }
            while let Some(frame) = binary.as_mut().and_then(Framed::decode) {
                got.push(frame.unwrap().as_slice().to_vec());
            }
        }
        prop_assert_eq!(got_lines, lines);
        prop_assert_eq!(got, bodies);
    }

    #[test]
    fn what_is_unread_can_be_taken(cut in 1..30usize) {
        let (blocks, mut framed) = (Blocks::new(), Framed::new(Lines::up_to(100)));
        let (mut switched, mut rest) = (false, Vec::new());
        for piece in b"CONNECT\r\nraw bytes\nof any kind".chunks(cut) {
            framed.push(blocks.lease(piece));
            switched |= !switched && framed.decode().is_some();
            if switched {
                rest.extend_from_slice(framed.unread_bytes().as_slice());
            }
        }
        prop_assert_eq!(framed.unread(), 0);
        prop_assert_eq!(String::from_utf8(rest).unwrap(), "raw bytes\nof any kind");
    }
}

#[test]
fn nothing_is_decoded_after_an_error() {
    let (blocks, mut framed) = (Blocks::new(), Framed::new(Lines::up_to(3)));
    framed.push(blocks.lease(b"abcd\nfine\n"));
    assert_eq!(framed.decode().unwrap().unwrap_err(), FrameError::TooLong { len: 4, most: 3 });
}

/// A frame that says how long it is is searched once per block at most, and not copied again when it is complete.
#[test]
fn a_large_item_is_assembled_with_one_copy() {
    let (blocks, mut framed) = (Blocks::new(), Framed::new(LengthPrefixed::of_width(4, 1 << 20)));
    let content: Vec<u8> = (0..20_000).map(|at| (at % 251) as u8).collect();
    let stream = [&20_000_u32.to_be_bytes()[..], &content, b"\0\0\0\x01x"].concat();
    let mut got = Vec::new();
    for piece in stream.chunks(4096) {
        framed.push(blocks.lease(piece));
        got.extend(std::iter::from_fn(|| framed.decode()).map(Result::unwrap));
    }
    assert_eq!(got.len(), 2);
    assert!(got[0].as_slice() == content && matches!(got[0], Payload::Aligned(_)));
    assert!(
        got[1].as_slice() == b"x" && matches!(got[1], Payload::Lease(_)),
        "the rest of the block is not copied"
    );
}

/// Bytes that a decoder has looked at in vain are there once, not twice.
#[test]
fn an_error_doubles_no_bytes() {
    let (blocks, mut framed) = (Blocks::new(), Framed::new(Lines::up_to(5)));
    framed.push(blocks.lease(b"abc"));
    assert!(framed.decode().is_none());
    framed.push(blocks.lease(b"defgh"));
    assert!(framed.decode().unwrap().is_err());
    assert_eq!(framed.unread(), 8);
    assert_eq!(framed.unread_bytes().as_slice(), b"abcdefgh");
}
