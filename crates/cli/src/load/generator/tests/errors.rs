//! What a server does wrong is found, described, and counted once.

use super::*;
use crate::load::measured::{EventKind, Mismatch};

/// The server echoes, but before the byte at `offset` of one connection's stream it does something else.
fn wrong_at(
    kernel: Kernel,
    plan: &Plan,
    offset: u64,
    mut change: impl FnMut(&mut Vec<u8>, usize),
) -> Measured {
    let stage = Stage::on(kernel, plan);
    stage.run(move |served, bytes| {
        let before = served.received - bytes.len() as u64;
        let mut bytes = bytes.to_vec();
        if served.number == 2 && (before..served.received).contains(&offset) {
            change(&mut bytes, (offset - before) as usize);
        }
        served.echo(&bytes);
    })
}

#[track_caller]
fn one_mismatch(measured: &Measured) -> Mismatch {
    assert_eq!(errors(measured), [0, 0, 0, 1], "{:?}", measured.first_mismatches);
    assert_eq!(measured.counts.opened, 5, "it is opened again");
    assert_eq!(measured.first_mismatches.len(), 1);
    assert!(measured.events.iter().any(|event| (event.kind, event.count) == (EventKind::Mismatch, 1)));
    let mismatch = measured.first_mismatches[0].clone();
    assert!(mismatch.connection < 4);
    mismatch
}

#[test]
fn a_flipped_byte_is_named() {
    for_some_kernels(|kernel| {
        for (size, offset) in [(64, 0), (64, 200), (1_000, 4_999), (20_000, 31_111)] {
            let mut flipped = 0;
            let plan = Plan { size, duration: 200 * MS, pipeline: 2, ..plan() };
            let measured = wrong_at(kernel, &plan, offset, |bytes, at| {
                bytes[at] ^= 0x10;
                flipped = bytes[at];
            });
            let Mismatch { offset: found, expected, got, .. } = one_mismatch(&measured);
            assert_eq!((found, got, expected), (offset, Some(flipped), Some(flipped ^ 0x10)));
        }
    });
}

/// With several messages in flight, the next message begins too early.
#[test]
fn a_byte_that_is_left_out_or_doubled_is_a_wrong_one_after_it() {
    for doubled in [false, true] {
        let plan = Plan { pipeline: 4, duration: 200 * MS, ..plan() };
        let measured = wrong_at(plain(), &plan, 64 * 8 + 10, |bytes, at| {
            if doubled {
                bytes.insert(at, bytes[at]);
            } else {
                bytes.remove(at);
            }
        });
        let Mismatch { offset, expected, got, .. } = one_mismatch(&measured);
        // Equal neighbours may put it off.
        assert!((64 * 8 + 10..64 * 8 + 15).contains(&offset) && expected != got, "{offset}");
    }
}

#[test]
fn more_than_was_sent_is_an_extra_byte_also_unchecked() {
    for check in [true, false] {
        let plan = Plan { check, duration: 200 * MS, ..plan() };
        let measured = wrong_at(plain(), &plan, 64 * 3 + 63, |bytes, _| bytes.push(7));
        let Mismatch { offset, expected, got, .. } = one_mismatch(&measured);
        assert_eq!((offset, expected, got), (64 * 4, None, Some(7)));
    }
}

/// Behind the last echo, when the client has ended its stream.
#[test]
fn an_extra_byte_at_the_very_end_is_found() {
    let measured = Stage::new(&Plan { duration: 100 * MS, ..plan() }).run(|served, bytes| {
        if served.number == 1 && served.peer.has_ended() {
            served.peer.send([0]);
        }
        served.echo(bytes);
    });
    assert_eq!(errors(&measured), [0, 0, 0, 1]);
    assert_eq!((measured.first_mismatches[0].expected, measured.first_mismatches[0].got), (None, Some(0)));
}

#[test]
fn without_checks_a_wrong_byte_is_not_noticed() {
    let plan = Plan { check: false, duration: 100 * MS, ..plan() };
    let measured = wrong_at(plain(), &plan, 200, |bytes, at| bytes[at] ^= 1);
    assert_eq!((errors(&measured), measured.counts.opened), ([0; 4], 4));
}

/// What was complete before it in the same block counts.
#[test]
fn messages_before_a_wrong_byte_are_counted() {
    let count = |offset: u64| {
        // The first echoes come within it.
        let plan = Plan { connections: 3, pipeline: 10, duration: 6 * MS, ..plan() };
        wrong_at(plain(), &plan, offset, |bytes, at| bytes[at] ^= 1).counts.messages
    };
    let (first, fifth) = (count(0), count(64 * 4 + 5));
    assert_eq!(fifth - first, 4);
}

/// Many errors are counted, and the first few described.
#[test]
fn eight_mismatches_are_described() {
    let plan = Plan { connections: 20, duration: 150 * MS, ..plan() };
    let measured = Stage::new(&plan).run(|served, bytes| {
        let wrong: Vec<u8> = bytes.iter().map(|byte| byte ^ 1).collect();
        served.echo(&wrong);
    });
    assert!(measured.counts.mismatches >= 60, "{}", measured.counts.mismatches);
    assert_eq!(measured.first_mismatches.len(), 8);
    assert_eq!(measured.counts.messages, 0);
}

/// Within an echo, bytes are missing; between two, the connection ended early.
#[test]
fn a_stream_that_ends_unasked() {
    for within in [false, true] {
        let stage = Stage::new(&Plan { duration: 200 * MS, ..plan() });
        let measured = stage.run(|served, bytes| {
            if served.number == 1 && served.messages() == 5 && !bytes.is_empty() {
                served.peer.send(if within { &bytes[..20] } else { bytes });
                return served.finish();
            }
            served.echo(bytes);
        });
        if within {
            assert_eq!(errors(&measured), [0, 0, 0, 1]);
            let first = &measured.first_mismatches[0];
            assert_eq!((first.offset, first.got), (64 * 4 + 20, None));
            assert!(first.expected.is_some());
        } else {
            assert_eq!((errors(&measured), measured.counts.ended_early), ([0, 1, 0, 0], 1));
        }
        assert_eq!(measured.counts.opened, 5);
    }
}

#[test]
fn each_reset_is_counted_and_the_connection_opened_again() {
    for_some_kernels(|kernel| {
        let mut resets = 0;
        let plan = Plan { duration: 300 * MS, ..plan() };
        let measured = Stage::on(kernel, &plan).run(|served, bytes| {
            if served.number >= 3 && served.messages() >= 3 {
                resets += 1;
                return served.reset();
            }
            served.echo(bytes);
        });
        assert!(resets > 1);
        assert_eq!((errors(&measured), measured.counts.ended_early), ([0, resets, 0, 0], 0), "{kernel:?}");
        // The last one may come at the end: it is no event of the measured part, and nothing is opened any more.
        assert!(
            (3 + resets..=4 + resets).contains(&measured.counts.opened),
            "{resets}: {:?}",
            measured.counts
        );
        let in_events: u64 = measured.events.iter().map(|event| event.count).sum();
        assert!((resets - 1..=resets).contains(&in_events), "{resets}: {in_events}");
        assert!(measured.events.iter().all(|event| event.kind == EventKind::Reset));
    });
}

/// Once per connection, at most 100 ms late, and it is opened again.
#[test]
fn echoes_that_do_not_come_are_timeouts() {
    for rate in [None, Some(500.0)] {
        let plan = Plan { rate, reply_timeout: 300 * MS, duration: SECOND, pipeline: 4, ..plan() };
        let (mut ends, mut rest) = (Vec::new(), 0);
        let measured = Stage::new(&plan).run(|served, bytes| {
            if served.number == 0 || served.number > 3 {
                if served.peer.was_reset() {
                    ends.push(served.now);
                    served.finished = true;
                }
                return served.keep(bytes);
            }
            rest += 1;
            served.echo(bytes);
        });
        // Its lives of 300 to 400 ms; the last one ends behind the end of the run.
        let timeouts = measured.counts.timeouts;
        assert_eq!(errors(&measured), [0, 0, timeouts, 0]);
        assert!((3..=4).contains(&timeouts) && measured.counts.opened >= 4 + timeouts - 1, "{timeouts}");
        assert!((300 * MS..=440 * MS).contains(&ends[0]), "{ends:?}");
        assert!(rest > 0);
    }
}

/// Late, but not too late: also what comes behind the end of the run.
#[test]
fn an_answer_within_the_timeout_is_none() {
    let plan = Plan { reply_timeout: 500 * MS, duration: 300 * MS, ..plan() };
    let measured = Stage::new(&plan).run(|served, bytes| {
        if served.now.as_millis() % 480 < 8 { served.echo(bytes) } else { served.keep(bytes) }
    });
    assert_eq!((errors(&measured), measured.counts.opened), ([0; 4], 4));
    let unanswered = Stage::new(&plan)
        .run(|served, bytes| if served.now < 280 * MS { served.echo(bytes) } else { served.keep(bytes) });
    assert_eq!(errors(&unanswered), [0, 0, 4, 0], "what never comes is an error, also at the end");
}

/// A server that goes away, and comes back.
#[test]
fn a_server_that_is_gone_is_asked_again_and_not_all_the_time() {
    let plan = Plan { duration: 4 * SECOND, ..plan() };
    let mut stage = Stage::new(&plan);
    stage.begin();
    stage.pass(500 * MS, Served::echo);
    stage.served.iter_mut().for_each(Served::reset);
    stage.world.unlisten(&stage.listener);
    stage.pass(2 * SECOND, |_, _| {});
    stage.listener = stage.world.listen(SocketAddr::from(TARGET));
    let measured = stage.go_on(Served::echo);
    let [failed, reset, timeouts, mismatches] = errors(&measured);
    assert_eq!((reset, timeouts, mismatches, measured.counts.opened), (4, 0, 0, 8));
    // At once, then after 20, 40, ... 640 ms: 7 or 8 for each connection.
    assert!((24..=36).contains(&failed), "{failed}");
    assert_eq!(measured.counts.failures.len(), 1);
    assert_eq!(measured.counts.failures[0].1, failed);
    assert!(measured.intervals[8..20].iter().all(|interval| interval.messages == 0));
    assert!(measured.intervals[35].messages > 0, "it goes on");
}

#[test]
fn what_is_refused_from_the_start_is_reported_with_the_reason() {
    let plan = Plan { addresses: vec![SocketAddr::from(([10, 0, 0, 2], 1))], ..plan() };
    let mut stage = Stage::without_connections(plain(), &plan);
    stage.pass(100 * MS, Served::echo);
    let [(0, failures)] = &stage.ready[..] else { panic!("nothing is open: {:?}", stage.ready) };
    let [(reason, 4..)] = &failures[..] else { panic!("one reason: {failures:?}") };
    assert!(reason.contains("refused"), "{reason}");
}

/// The second address of a name is the one where something listens.
#[test]
fn the_next_address_is_tried() {
    let addresses = vec![SocketAddr::from(([10, 0, 0, 2], 1)), SocketAddr::from(TARGET)];
    let measured = Stage::new(&Plan { addresses, duration: 50 * MS, ..plan() }).run(Served::echo);
    assert_eq!((errors(&measured), measured.counts.opened), ([0; 4], 4));
    assert!(measured.counts.messages > 0);
}

/// Also if it comes before anybody looks at what is overdue.
#[test]
fn an_echo_that_is_a_little_too_late_is_a_timeout() {
    for late in [40 * MS, 60 * MS, 90 * MS] {
        let plan = Plan { reply_timeout: 50 * MS, connections: 1, duration: SECOND, ..plan() };
        let mut since = None;
        let measured = Stage::new(&plan).run(|served, bytes| {
            if served.number > 0 || served.messages() < 5 {
                return served.echo(bytes);
            }
            served.keep(bytes);
            if served.now - *since.get_or_insert(served.now) > late {
                served.echo(&[]);
            }
        });
        let is_late = late > 50 * MS;
        assert_eq!(
            (errors(&measured), measured.counts.opened),
            ([0, 0, u64::from(is_late), 0], 1 + u64::from(is_late))
        );
    }
}
