//! Echoes with wrong bytes: each is a mismatch, once per connection, described as the server confirms it.

use overlapped_testing::{Fault, FaultyServer, Place, Record, Which};

use super::{BAD, CONNECTIONS, Errors, Report, Shape, goes_on, in_each_shape, measure_until, opened_again};

const FIRST: Which = Which::First(BAD);

/// Every connection that the server has made different is a mismatch, and nothing else is wrong.
#[track_caller]
fn mismatches_alone(report: &Report, record: &Record) {
    assert_eq!(record.done.len() as u64, BAD, "{report:?} {record:?}");
    report.has(Errors { mismatches: record.differences.len() as u64, ..Errors::default() });
    report.confirmed_by(record);
}

fn one_fault(backend: &str, rule: impl Fn(Shape) -> (Place, Fault) + Sync) {
    let rules = |shape| vec![rule(shape)];
    in_each_shape(backend, &[], rules, opened_again, |_, report, record| {
        assert_eq!(record.differences.len() as u64, BAD, "{record:?}");
        mismatches_alone(report, record);
    });
}

/// In the middle of a message.
pub(crate) fn a_flipped_byte(backend: &str) {
    one_fault(backend, |shape| (Place::Offset(FIRST, shape.message(3) + shape.size / 2), Fault::Flip));
}

/// The very first byte of a connection, and the last one of a message.
#[test]
fn flipped_ends() {
    one_fault("auto", |_| (Place::Offset(FIRST, 0), Fault::Flip));
    one_fault("auto", |shape| (Place::Offset(FIRST, shape.message(4) - 1), Fault::Flip));
}

/// One byte in many, over all connections, however often connections are opened again.
pub(crate) fn one_byte_in_a_million(backend: &str) {
    for (size, pipeline, one_in) in
        [("64", "16", 100_003), ("16KiB", "4", 1_000_003), ("200000", "2", 1_000_003)]
    {
        let server = FaultyServer::start(&[(Place::OneIn(one_in), Fault::Flip)]);
        let args = ["--connections", "8", "--size", size, "--pipeline", pipeline];
        let is_enough = || server.record().differences.len() >= 3;
        let report = measure_until(backend, server.address(), &args, is_enough);
        let record = server.record();
        assert!(!record.differences.is_empty(), "{report:?}");
        report.has(Errors { mismatches: record.differences.len() as u64, ..Errors::default() });
        report.confirmed_by(&record);
    }
}

/// A tail that is not echoed. If more is sent, its echo stands where the tail should: a mismatch. If not, the client
/// waits in vain.
pub(crate) fn a_dropped_tail(backend: &str) {
    let rule = |shape: Shape| {
        let tail = (shape.size / 2).max(1);
        vec![(Place::Offset(FIRST, shape.message(4) - tail), Fault::Drop(tail))]
    };
    in_each_shape(backend, &["--reply-timeout", "1s"], rule, opened_again, |shape, report, record| {
        let wrong = record.differences.len() as u64;
        assert_eq!(record.done.len() as u64, BAD);
        assert!(shape.pipeline > 1 || wrong == 0, "{record:?}");
        assert!(shape.pipeline == 1 || shape.size > 64 || wrong == BAD, "{record:?}");
        report.has(Errors { mismatches: wrong, timeouts: BAD - wrong, ..Errors::default() });
        report.confirmed_by(record);
    });
}

/// The rest of a message is never echoed, nor anything else: the client waits in vain.
#[test]
fn a_tail_that_never_comes() {
    let rule = |shape: Shape| vec![(Place::Offset(FIRST, shape.message(3) + shape.size / 2), Fault::Mute)];
    in_each_shape("auto", &["--reply-timeout", "1s"], rule, opened_again, |_, report, record| {
        assert_eq!(record.done.len() as u64, BAD);
        report.has(Errors { timeouts: BAD, ..Errors::default() });
        assert_eq!(report.list("first_mismatches").len(), 0, "{report:?}");
    });
}

#[test]
fn a_doubled_byte() {
    one_fault("auto", |shape| (Place::Offset(FIRST, shape.message(3) + shape.size / 2), Fault::Double));
}

/// In the middle of a message, and behind its last byte: more is answered than was sent.
#[test]
fn an_inserted_byte() {
    one_fault("auto", |shape| (Place::Offset(FIRST, shape.message(3) + shape.size / 2), Fault::Insert(0x5a)));
    one_fault("auto", |shape| (Place::Offset(FIRST, shape.message(4) - 1), Fault::Insert(0x5a)));
}

/// Bytes of another connection are not those that were sent on this one.
pub(crate) fn swapped_connections(backend: &str) {
    let rule = |shape: Shape| vec![(Place::Offset(FIRST, shape.message(3)), Fault::Swap)];
    // Two single bytes may be the same.
    let is_enough = |_, server: &FaultyServer| {
        let record = server.record();
        record.done.len() as u64 == BAD && record.accepted >= CONNECTIONS + record.differences.len() as u64
    };
    in_each_shape(backend, &[], rule, is_enough, |shape, report, record| {
        assert!(shape.size == 1 || record.differences.len() as u64 == BAD, "{shape:?}: {record:?}");
        mismatches_alone(report, record);
    });
}

/// Without checks, wrong bytes are not noticed.
#[test]
fn not_checked() {
    let rule = |_| vec![(Place::Offset(FIRST, 0), Fault::Flip)];
    in_each_shape("auto", &["--no-check"], rule, goes_on, |_, report, record| {
        assert_eq!(record.differences.len() as u64, BAD);
        report.is_clean();
    });
}
