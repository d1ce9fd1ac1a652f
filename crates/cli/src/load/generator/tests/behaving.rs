//! Connections that misbehave on purpose: that is no error of the server, but what it owes them is checked.

use super::*;
use crate::load::plan::Behaviour;

fn behaving(behaviour: Behaviour) -> Plan {
    Plan { behaviours: vec![behaviour], ..plan() }
}

#[test]
fn churn_opens_a_connection_for_each_message() {
    for_some_kernels(|kernel| {
        for rate in [None, Some(100.0)] {
            let plan = Plan { duration: 400 * MS, rate, ..behaving(Behaviour::Churn) };
            let mut most = 0;
            let measured = Stage::on(kernel, &plan).run(|served, bytes| {
                most = most.max(served.received);
                served.echo(bytes);
            });
            assert_eq!((errors(&measured), most), ([0; 4], 64), "{kernel:?}");
            let (messages, opened) = (measured.counts.messages, measured.counts.opened);
            assert!(messages >= 36 && (messages..=messages + 8).contains(&opened), "{messages}, {opened}");
        }
    });
}

/// Also what is sent before the end of the stream is echoed, and then the server ends its own.
#[test]
fn half_closed_connections_get_everything() {
    for_some_kernels(|kernel| {
        for rate in [None, Some(1_000.0)] {
            let plan = Plan { duration: SECOND, pipeline: 4, rate, ..behaving(Behaviour::HalfClose) };
            let mut ended = 0;
            let measured = Stage::on(kernel, &plan).run(|served, bytes| {
                ended += u64::from(served.peer.has_ended());
                served.echo(bytes);
                assert!(served.messages() <= 100);
            });
            assert_eq!(errors(&measured), [0; 4], "{kernel:?}");
            assert!(ended > 6, "{ended}");
            assert_eq!(ended, measured.counts.opened, "at the end all are ended");
        }
    });
}

/// What is in flight when the client ends its stream is not echoed: that is a missing byte.
#[test]
fn a_server_that_drops_what_is_left_at_a_half_close_is_wrong() {
    let plan = Plan { duration: 500 * MS, pipeline: 4, ..behaving(Behaviour::HalfClose) };
    let mut dropped = 0;
    let measured = Stage::new(&plan).run(|served, bytes| {
        if served.peer.has_ended() && !bytes.is_empty() {
            dropped += 1;
            return served.finish();
        }
        served.echo(bytes);
    });
    assert!(dropped > 0);
    assert_eq!(errors(&measured), [0, 0, 0, dropped]);
    assert!(measured.first_mismatches.iter().all(|it| it.got.is_none() && it.expected.is_some()));
}

#[test]
fn a_server_that_does_not_end_after_a_half_close_is_too_late() {
    let plan = Plan { duration: SECOND, reply_timeout: 200 * MS, ..behaving(Behaviour::HalfClose) };
    let measured = Stage::new(&plan).run(|served, bytes| {
        if !bytes.is_empty() {
            served.peer.send(bytes);
        }
    });
    let timeouts = measured.counts.timeouts;
    assert!(timeouts > 4);
    assert_eq!(errors(&measured), [0, 0, timeouts, 0]);
    // A reset in place of the end.
    let plan = Plan { duration: SECOND, ..behaving(Behaviour::HalfClose) };
    let mut resets = 0;
    let measured = Stage::new(&plan).run(|served, bytes| {
        if served.peer.has_ended() && bytes.is_empty() && served.now < 900 * MS {
            resets += 1;
            return served.reset();
        }
        if !bytes.is_empty() {
            served.peer.send(bytes);
        } else if served.peer.has_ended() {
            served.finish();
        }
    });
    assert!(resets > 4);
    assert_eq!(errors(&measured), [0, resets, 0, 0]);
}

#[test]
fn a_slow_reader_reads_nothing_then_everything() {
    for rate in [None, Some(100.0)] {
        let behaviours = vec![Behaviour::SlowReader];
        let plan = Plan { behaviours, connections: 1, size: 100_000, rate, duration: 2 * SECOND, ..plan() };
        let mut unread = 0;
        let measured = Stage::new(&plan).run(|served, bytes| {
            served.echo(bytes);
            unread = unread.max(served.peer.unsent());
        });
        assert_eq!(errors(&measured), [0; 4]);
        // In a closed loop 4 MiB wait, with a schedule what was due meanwhile.
        assert!(unread > if rate.is_none() { 3_000_000 } else { 500_000 }, "{unread}");
        assert!(measured.counts.messages > 80, "{}", measured.counts.messages);
        assert!(
            measured.latency.is_empty() && measured.stalls.is_empty(),
            "its own slowness is not measured"
        );
    }
}

/// Its pause is longer than the reply timeout.
#[test]
fn a_slow_reader_does_not_time_itself_out() {
    let behaviours = vec![Behaviour::SlowReader];
    let plan = Plan { behaviours, connections: 1, size: 500_000, reply_timeout: 100 * MS, ..plan() };
    assert_eq!(errors(&Stage::new(&plan).run(Served::echo)), [0; 4]);
    let measured = Stage::new(&plan).run(Served::keep);
    let [.., timeouts, _] = errors(&measured);
    assert_eq!(errors(&measured), [0, 0, timeouts, 0]);
    assert!(timeouts >= 2, "a server that does not answer it is found: {timeouts}");
}

#[test]
fn resets_on_purpose_are_no_errors() {
    for_some_kernels(|kernel| {
        for percent in [10.0, 40.0] {
            let plan = Plan { size: 1_000, pipeline: 2, ..behaving(Behaviour::Reset { percent }) };
            let mut received = 0;
            let mut stage = Stage::on(kernel, &plan);
            stage.begin();
            while !stage.is_over() {
                stage.pass(STEP, |served, bytes| {
                    received += bytes.len();
                    served.echo(bytes);
                });
            }
            let resets = stage.served.iter().filter(|served| served.peer.was_reset()).count();
            let measured = stage.go_on(|_, _| {});
            assert_eq!(errors(&measured), [0; 4], "{kernel:?}");
            assert!(measured.counts.opened as usize - resets <= 4, "{resets}");
            let share = resets as f64 / (measured.counts.messages as f64 + resets as f64) * 100.0;
            assert!(share > percent * 0.6 && share <= 100.0, "{share} %");
            assert!(received > 100_000);
        }
    });
}

#[test]
fn behaviours_take_turns() {
    let all = [Behaviour::Normal, Behaviour::Churn];
    let plan = Plan { behaviours: all.to_vec(), duration: 200 * MS, threads: 2, ..plan() };
    let mut lives = [0; 2];
    let measured = Stage::new(&plan).run(|served, bytes| {
        lives[usize::from(served.received > 64)] += u64::from(served.peer.has_ended() && bytes.is_empty());
        served.echo(bytes);
    });
    assert_eq!(errors(&measured), [0; 4]);
    assert_eq!(lives[1], 2, "two connections were used for many messages: {lives:?}");
    assert!(measured.counts.opened > 10);
}

/// With a schedule, what is counted from sending has no connect in it, and no time in which nothing was due.
#[test]
fn churn_on_a_schedule_counts_from_sending() {
    let plan = Plan { rate: Some(10.0), duration: 2 * SECOND, ..behaving(Behaviour::Churn) };
    let measured = Stage::new(&plan).run(Served::echo);
    let actual = measured.latency_actual.as_ref().map_or(0, hdrhistogram::Histogram::max);
    assert!(measured.counts.messages == 20 && ms(actual) < 10.0, "{}", ms(actual));
}

/// Behind its one echo, a connection is still looked at.
#[test]
fn churn_finds_extra_bytes_and_streams_without_an_end() {
    let plan = Plan { duration: 500 * MS, ..behaving(Behaviour::Churn) };
    let mut extra = 0;
    let measured = Stage::new(&plan).run(|served, bytes| {
        if served.number % 5 == 4 && !bytes.is_empty() {
            extra += 1;
            served.peer.send([bytes, b"X"].concat());
            return;
        }
        served.echo(bytes);
    });
    assert!(extra > 3);
    assert_eq!(errors(&measured), [0, 0, 0, extra]);
    let plan = Plan { reply_timeout: 200 * MS, duration: SECOND, ..plan };
    let measured = Stage::new(&plan).run(|served, bytes| {
        if !bytes.is_empty() {
            served.peer.send(bytes);
        }
    });
    let timeouts = measured.counts.timeouts;
    assert_eq!(errors(&measured), [0, 0, timeouts, 0]);
    assert_eq!(timeouts, measured.counts.opened, "each of them, the last ones behind the end of the run");
}

/// The run is shorter than the reply timeout.
#[test]
fn the_end_of_a_stream_is_awaited_behind_the_end_of_the_run() {
    let plan = Plan { reply_timeout: 3 * SECOND, duration: 500 * MS, ..behaving(Behaviour::HalfClose) };
    let measured = Stage::new(&plan).run(|served, bytes| {
        if !bytes.is_empty() {
            served.peer.send(bytes);
        }
    });
    assert_eq!(errors(&measured), [0, 0, 4, 0]);
}
