//! Bytes: what was sent arrives, all of it, once, in order (INV-4).

use proactor::{AlignedBuf, Gather, Payload};

use crate::bench::{Bench, assert_same, pattern};
use crate::side::{Finished, Post};
use crate::world::{ANY_PORT, World};

pub fn a_few_bytes_each_way<W: World>(world: &W) -> Finished {
    let (mut bench, ends) = Bench::connected(world);
    bench.here.receive(ends.here);
    bench.there.receive(ends.there);
    bench.here.post(ends.here, "question");
    bench.until("the question", |bench| bench.there.seen(ends.there).bytes.len() == 8);
    bench.there.post(ends.there, "answer");
    bench.until("the answer", |bench| bench.here.seen(ends.here).bytes.len() == 6);
    assert_eq!(bench.there.seen(ends.there).bytes, b"question");
    assert_eq!(bench.here.seen(ends.here).bytes, b"answer");
    bench.finish()
}

pub fn many_messages_in_order<W: World>(world: &W) -> Finished {
    let (mut bench, ends) = Bench::connected(world);
    bench.here.receive(ends.here);
    bench.there.receive(ends.there);
    let mut wanted = Vec::new();
    for number in 0..200_usize {
        let message = pattern(1 + number * 7 % 97, number as u8);
        wanted.extend_from_slice(&message);
        bench.here.post(ends.here, message.clone());
        bench.there.post(ends.there, message);
        if number % 10 == 0 {
            bench.round();
        }
    }
    bench.until("all messages", |bench| {
        bench.there.seen(ends.there).bytes.len() >= wanted.len()
            && bench.here.seen(ends.here).bytes.len() >= wanted.len()
    });
    assert_same(&bench.there.seen(ends.there).bytes, &wanted, "one way");
    assert_same(&bench.here.seen(ends.here).bytes, &wanted, "the other way");
    bench.finish()
}

/// The sender's side has small kernel buffers and the reader pauses again and again: sends come up short and
/// are continued.
pub fn large_transfer_to_a_slow_reader<W: World>(world: &W) -> Finished {
    let (mut bench, ends) = Bench::connected(world);
    let bytes = pattern(world.large(), 3);
    let len = bytes.len();
    // In two payloads: Windows takes the first whole, whatever its size.
    bench.there.post(ends.there, bytes[..len / 2].to_vec());
    bench.there.post(ends.there, bytes[len / 2..].to_vec());
    bench.settle();
    assert!(!bench.there.is_flushed(ends.there), "nobody reads, so the send waits");
    bench.here.receive(ends.here);
    let mut pause_at = len / 20;
    bench.until("all bytes", |bench| {
        let seen = bench.here.seen(ends.here);
        if seen.bytes.len() >= pause_at {
            pause_at += len / 20;
            bench.here.driver.pause_receive(ends.here);
        } else if !bench.here.driver.is_receiving(ends.here) {
            bench.here.receive(ends.here);
        }
        bench.here.seen(ends.here).bytes.len() >= len
    });
    bench.until("the send to be over", |bench| bench.there.is_flushed(ends.there));
    let events = bench.there.seen(ends.there).sent;
    assert!((1..=2).contains(&events), "{events} events for two payloads, however often they were continued");
    assert_same(&bench.here.seen(ends.here).bytes, &bytes, "the transfer");
    bench.finish()
}

/// Several payloads with one send: all of it, in order, wherever it is cut.
pub fn a_gathered_send<W: World>(world: &W) -> Finished {
    let (mut bench, ends) = Bench::connected(world);
    bench.here.receive(ends.here);
    bench.there.post(ends.there, gathered(&[&b"one, "[..], b"", b"two, ", b"three"]));
    bench.until("all bytes", |bench| bench.here.seen(ends.here).bytes == b"one, two, three");
    bench.until("the send to be over", |bench| bench.there.is_flushed(ends.there));

    // More than the kernel takes at once: it is continued in the middle of parts.
    let ends = bench.pair();
    let bytes = pattern(world.large(), 9);
    let pieces: Vec<&[u8]> = bytes.chunks(bytes.len().div_ceil(Gather::MOST)).collect();
    assert!(pieces.len() > Gather::MOST / 2);
    bench.there.post(ends.there, gathered(&pieces));
    bench.there.post(ends.there, gathered(&[&b"and "[..], b"more"]));
    bench.settle();
    assert!(!bench.there.is_flushed(ends.there), "nobody reads, so the send waits");
    bench.here.receive(ends.here);
    let all = [&bytes[..], b"and more"].concat();
    bench.until("all bytes", |bench| bench.here.seen(ends.here).bytes.len() >= all.len());
    assert_same(&bench.here.seen(ends.here).bytes, &all, "the transfer");
    bench.until("the send to be over", |bench| bench.there.is_flushed(ends.there));
    bench.finish()
}

/// Blocks that are in flight in a gathered send come back, however it ends (INV-1).
pub fn a_gathered_send_that_is_aborted<W: World>(world: &W) -> Finished {
    let (mut bench, ends) = Bench::connected(world);
    bench.there.keeping = true;
    bench.there.receive(ends.there);
    bench.here.post(ends.here, "some bytes");
    bench.until("some bytes", |bench| bench.there.seen(ends.there).bytes == b"some bytes");
    let kept = std::mem::take(&mut bench.there.kept).into_iter().map(|(_, lease)| Payload::Lease(lease));
    let fill = Payload::from(pattern(world.large(), 4));
    let parts = [fill].into_iter().chain(kept.take(Gather::MOST - 1)).collect();
    bench.there.keeping = false;
    bench.there.post(ends.there, Post::gathered(parts));
    bench.settle();
    assert!(bench.there.driver.is_sending(ends.there), "nobody reads, so the send waits");
    assert!(bench.there.pool.in_use() > 0);
    bench.there.abort(ends.there);
    bench.until("the release", |bench| bench.there.seen(ends.there).released);
    assert_eq!(bench.there.pool.in_use(), 0);
    bench.finish()
}

fn gathered(pieces: &[&[u8]]) -> Post {
    let parts = pieces.iter().enumerate().map(|(at, piece)| match at % 2 {
        0 => Payload::Owned(piece.to_vec()),
        _ => Payload::Aligned(AlignedBuf::from(*piece)),
    });
    Post::gathered(parts.collect())
}

/// Between two turns more is submitted than a ring takes, or than one harvest hands out: all of it happens, and
/// what belongs to one connection in the order in which it was asked for.
pub fn a_burst_of_submissions<W: World>(world: &W) -> Finished {
    let mut bench = Bench::new(world);
    let many = world.many();
    let (_, address) = bench.there.listen(world.listen_on(ANY_PORT).unwrap());
    let here: Vec<_> = (0..many).map(|_| bench.here.connect(address)).collect();
    let mut there = Vec::new();
    bench.until("all connections", |bench| {
        while let Some(socket) = bench.there.accepted.pop_front() {
            there.push(bench.there.adopt(socket));
        }
        there.len() == many && here.iter().all(|key| bench.here.seen(*key).connected)
    });
    for key in &there {
        bench.there.receive(*key);
    }
    for (number, key) in here.iter().enumerate() {
        bench.here.receive(*key);
        bench.here.post(*key, (number as u32).to_le_bytes().to_vec());
        bench.here.driver.pause_receive(*key);
    }
    bench.until("all messages and pauses", |bench| {
        here.iter().all(|key| bench.here.seen(*key).paused == 1)
            && there.iter().all(|key| bench.there.seen(*key).bytes.len() == 4)
    });
    let mut numbers: Vec<u32> = there
        .iter()
        .map(|key| u32::from_le_bytes(bench.there.seen(*key).bytes[..].try_into().expect("four bytes")))
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..many as u32).collect::<Vec<_>>());
    for key in &here {
        bench.here.receive(*key);
        bench.here.post(*key, "last");
        bench.here.close(*key);
    }
    bench.until("all ends", |bench| there.iter().all(|key| bench.there.seen(*key).over()));
    assert!(there.iter().all(|key| bench.there.seen(*key).ended && bench.there.seen(*key).bytes.len() == 8));
    bench.finish()
}
