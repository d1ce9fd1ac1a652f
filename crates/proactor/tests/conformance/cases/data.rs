//! Bytes: what was sent arrives, all of it, once, in order (INV-4).

use std::time::Duration;

use overlapped_testing::{assert_same, pattern};
use proactor::backend::{Backend, BackendKind, Wait};
use proactor::{AlignedBuf, Gather, Payload};

use crate::endpoint::{Finished, Post};
use crate::fixture::Fixture;
use crate::kernel::{ANY_PORT, Kernel};

const MOMENT: Duration = Duration::from_millis(10);

pub fn a_few_bytes_each_way<K: Kernel>(kernel: &K) -> Finished {
    let (mut fixture, ends) = Fixture::connected(kernel);
    fixture.here.receive(ends.here);
    fixture.there.receive(ends.there);
    fixture.here.post(ends.here, "question");
    fixture.until("the question", |fixture| fixture.there.seen(ends.there).bytes.len() == 8);
    fixture.there.post(ends.there, "answer");
    fixture.until("the answer", |fixture| fixture.here.seen(ends.here).bytes.len() == 6);
    assert_eq!(fixture.there.seen(ends.there).bytes, b"question");
    assert_eq!(fixture.here.seen(ends.here).bytes, b"answer");
    fixture.finish()
}

pub fn many_messages_in_order<K: Kernel>(kernel: &K) -> Finished {
    let (mut fixture, ends) = Fixture::connected(kernel);
    fixture.here.receive(ends.here);
    fixture.there.receive(ends.there);
    let mut wanted = Vec::new();
    for number in 0..200_usize {
        let message = pattern(1 + number * 7 % 97, number as u8);
        wanted.extend_from_slice(&message);
        fixture.here.post(ends.here, message.clone());
        fixture.there.post(ends.there, message);
        if number % 10 == 0 {
            fixture.round();
        }
    }
    fixture.until("all messages", |fixture| {
        fixture.there.seen(ends.there).bytes.len() >= wanted.len()
            && fixture.here.seen(ends.here).bytes.len() >= wanted.len()
    });
    assert_same(&fixture.there.seen(ends.there).bytes, &wanted, "one way");
    assert_same(&fixture.here.seen(ends.here).bytes, &wanted, "the other way");
    fixture.finish()
}

/// The sender's endpoint has small kernel buffers and the reader pauses again and again: sends come up short and
/// are continued.
pub fn large_transfer_to_a_slow_reader<K: Kernel>(kernel: &K) -> Finished {
    let (mut fixture, ends) = Fixture::connected(kernel);
    let bytes = pattern(kernel.large(), 3);
    let len = bytes.len();
    // In two payloads: Windows takes the first whole, whatever its size.
    fixture.there.post(ends.there, bytes[..len / 2].to_vec());
    fixture.there.post(ends.there, bytes[len / 2..].to_vec());
    fixture.settle();
    assert!(!fixture.there.is_flushed(ends.there), "nobody reads, so the send waits");
    fixture.here.receive(ends.here);
    let mut pause_at = len / 20;
    fixture.until("all bytes", |fixture| {
        let seen = fixture.here.seen(ends.here);
        if seen.bytes.len() >= pause_at {
            pause_at += len / 20;
            fixture.here.driver.pause_receive(ends.here);
        } else if !fixture.here.driver.is_receiving(ends.here) {
            fixture.here.receive(ends.here);
        }
        fixture.here.seen(ends.here).bytes.len() >= len
    });
    fixture.until("the send to be over", |fixture| fixture.there.is_flushed(ends.there));
    let events = fixture.there.seen(ends.there).sent;
    assert!((1..=2).contains(&events), "{events} events for two payloads, however often they were continued");
    assert_same(&fixture.here.seen(ends.here).bytes, &bytes, "the transfer");
    fixture.finish()
}

/// Several payloads with one send: all of it, in order, wherever it is cut.
pub fn a_gathered_send<K: Kernel>(kernel: &K) -> Finished {
    let (mut fixture, ends) = Fixture::connected(kernel);
    fixture.here.receive(ends.here);
    fixture.there.post(ends.there, gathered(&[&b"one, "[..], b"", b"two, ", b"three"]));
    fixture.until("all bytes", |fixture| fixture.here.seen(ends.here).bytes == b"one, two, three");
    fixture.until("the send to be over", |fixture| fixture.there.is_flushed(ends.there));

    // More than the kernel takes at once: it is continued in the middle of parts.
    let ends = fixture.pair();
    let bytes = pattern(kernel.large(), 9);
    let pieces: Vec<&[u8]> = bytes.chunks(bytes.len().div_ceil(Gather::MOST)).collect();
    assert!(pieces.len() > Gather::MOST / 2);
    fixture.there.post(ends.there, gathered(&pieces));
    fixture.there.post(ends.there, gathered(&[&b"and "[..], b"more"]));
    fixture.settle();
    assert!(!fixture.there.is_flushed(ends.there), "nobody reads, so the send waits");
    fixture.here.receive(ends.here);
    let all = [&bytes[..], b"and more"].concat();
    fixture.until("all bytes", |fixture| fixture.here.seen(ends.here).bytes.len() >= all.len());
    assert_same(&fixture.here.seen(ends.here).bytes, &all, "the transfer");
    fixture.until("the send to be over", |fixture| fixture.there.is_flushed(ends.there));
    fixture.finish()
}

/// Blocks of a gathered send in flight come back, however it ends (INV-1).
pub fn a_gathered_send_that_is_aborted<K: Kernel>(kernel: &K) -> Finished {
    let (mut fixture, ends) = Fixture::connected(kernel);
    fixture.there.keeping = true;
    fixture.there.receive(ends.there);
    fixture.here.post(ends.here, "some bytes");
    fixture.until("some bytes", |fixture| fixture.there.seen(ends.there).bytes == b"some bytes");
    let kept = std::mem::take(&mut fixture.there.kept).into_iter().map(|(_, lease)| Payload::Lease(lease));
    let fill = Payload::from(pattern(kernel.large(), 4));
    let parts = [fill].into_iter().chain(kept.take(Gather::MOST - 1)).collect();
    fixture.there.keeping = false;
    fixture.there.post(ends.there, Post::gathered(parts));
    fixture.settle();
    assert!(fixture.there.driver.is_sending(ends.there), "nobody reads, so the send waits");
    assert!(fixture.there.pool.in_use() > 0);
    fixture.there.abort(ends.there);
    fixture.until("the release", |fixture| fixture.there.seen(ends.there).released);
    assert_eq!(fixture.there.pool.in_use(), 0);
    fixture.finish()
}

fn gathered(pieces: &[&[u8]]) -> Post {
    let parts = pieces.iter().enumerate().map(|(at, piece)| match at % 2 {
        0 => Payload::Owned(piece.to_vec()),
        _ => Payload::Aligned(AlignedBuf::from(*piece)),
    });
    Post::gathered(parts.collect())
}

/// Between two turns more is submitted than a ring takes, or than one harvest hands out: all of it is done, for each
/// connection in the order of its calls.
pub fn a_burst_of_submissions<K: Kernel>(kernel: &K) -> Finished {
    let mut fixture = Fixture::new(kernel);
    let many = kernel.many();
    let (_, address) = fixture.there.listen(kernel.listen_on(ANY_PORT).unwrap());
    let here: Vec<_> = (0..many).map(|_| fixture.here.connect(address)).collect();
    let mut there = Vec::new();
    fixture.until("all connections", |fixture| {
        while let Some(socket) = fixture.there.accepted.pop_front() {
            there.push(fixture.there.adopt(socket));
        }
        there.len() == many && here.iter().all(|key| fixture.here.seen(*key).connected)
    });
    for key in &there {
        fixture.there.receive(*key);
    }
    for (number, key) in here.iter().enumerate() {
        fixture.here.receive(*key);
        fixture.here.post(*key, (number as u32).to_le_bytes().to_vec());
        fixture.here.driver.pause_receive(*key);
    }
    fixture.until("all messages and pauses", |fixture| {
        here.iter().all(|key| fixture.here.seen(*key).paused == 1)
            && there.iter().all(|key| fixture.there.seen(*key).bytes.len() == 4)
    });
    let mut numbers: Vec<u32> = there
        .iter()
        .map(|key| u32::from_le_bytes(fixture.there.seen(*key).bytes[..].try_into().expect("four bytes")))
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..many as u32).collect::<Vec<_>>());
    for key in &here {
        fixture.here.receive(*key);
        fixture.here.post(*key, "last");
        fixture.here.close(*key);
    }
    fixture.until("all ends", |fixture| there.iter().all(|key| fixture.there.seen(*key).over()));
    assert!(
        there.iter().all(|key| fixture.there.seen(*key).ended && fixture.there.seen(*key).bytes.len() == 8)
    );
    fixture.finish()
}

/// What waits for the next turn is handed over in parts: all of it, once, and what was handed over needs no turn.
pub fn a_burst_that_is_submitted_in_parts<K: Kernel>(kernel: &K) -> Finished {
    const TOGETHER: u32 = 3;
    let mut fixture = Fixture::new(kernel);
    let all: Vec<_> = (0..20).map(|_| fixture.pair()).collect();
    for ends in &all {
        fixture.there.receive(ends.there);
    }
    fixture.settle();
    for (number, ends) in all.iter().enumerate() {
        fixture.here.post(ends.here, pattern(10, number as u8));
    }
    let mut parts = 0;
    while fixture.here.driver.submit_some(TOGETHER).expect("nothing is wrong") {
        parts += 1;
        assert!(parts <= all.len(), "it comes to an end");
    }
    let arrived = |fixture: &Fixture<'_, K>| {
        all.iter().filter(|ends| fixture.there.seen(ends.there).bytes.len() == 10).count()
    };
    match K::Backend::KIND {
        BackendKind::IoUring => {
            assert_eq!(parts, 6, "the last two sends wait for the next turn");
            for _ in 0..1000 {
                fixture.there.step(Wait::Until(fixture.there.driver.now() + MOMENT));
                if arrived(&fixture) == 18 {
                    break;
                }
            }
            assert_eq!(arrived(&fixture), 18, "the sender took no turn");
        }
        // Some are done at once.
        BackendKind::Simulated => assert!(parts <= 6),
        _ => assert_eq!(parts, 0, "nothing waits"),
    }
    fixture.until("all messages", |fixture| arrived(fixture) == all.len());
    for (number, ends) in all.iter().enumerate() {
        assert_eq!(fixture.there.seen(ends.there).bytes, pattern(10, number as u8));
    }
    fixture.finish()
}
