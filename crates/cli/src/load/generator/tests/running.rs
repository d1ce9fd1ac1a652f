//! Runs in which nothing goes wrong: what is sent when, and what is counted.

use super::*;

#[test]
fn a_closed_loop_sends_when_an_echo_has_come() {
    for_some_kernels(|kernel| {
        for (size, pipeline) in [(64, 1), (10_000, 3), (1, 7)] {
            let plan = Plan { size, pipeline, duration: 200 * MS, ..plan() };
            let stage = Stage::on(kernel, &plan);
            let mut received = 0;
            let measured = stage.run(|served, bytes| {
                received += bytes.len();
                served.echo(bytes);
            });
            assert_eq!(errors(&measured), [0; 4], "{kernel:?}");
            assert_eq!((measured.elapsed, measured.counts.opened), (200 * MS, 4));
            let messages = measured.counts.messages;
            // The last ones in flight are not measured, but are answered, to their last byte.
            assert_eq!(received % size, 0);
            let sent = (received / size) as u64;
            assert!((sent - u64::from(pipeline) * 4..sent).contains(&messages), "{messages} of {sent}");
            // But their latencies are: they were awaited.
            assert_eq!(measured.latency.len(), sent);
            assert!(measured.latency_actual.is_none() && measured.stalls.is_empty());
        }
    });
}

#[test]
fn latencies_and_intervals_are_those_of_the_measured_part() {
    let plan = Plan { warmup: 100 * MS, duration: 250 * MS, ..plan() };
    let measured = Stage::new(&plan).run(|served, bytes| match served.now {
        now if now > 20 * MS && now < 60 * MS => served.keep(bytes),
        _ => served.echo(bytes),
    });
    // One message each 4 ms on each connection.
    let counts: Vec<u64> = measured.intervals.iter().map(|interval| interval.messages).collect();
    assert_eq!(counts, [100, 100, 52], "in 100, 100 and 50 ms");
    assert_eq!(measured.counts.messages, 252);
    let ats: Vec<_> = measured.intervals.iter().map(|interval| (interval.at, interval.length)).collect();
    assert_eq!(ats, [(Duration::ZERO, 100 * MS), (100 * MS, 100 * MS), (200 * MS, 50 * MS)]);
    for interval in &measured.intervals {
        assert!((3.9..=4.1).contains(&ms(interval.p50)) && (3.9..=4.1).contains(&ms(interval.max)));
    }
    assert_eq!(measured.latency.len(), 256, "and those in flight at the end");
    assert!((3.9..=4.1).contains(&ms(measured.latency.value_at_quantile(0.99))));
}

/// Not all at once, also in a closed loop.
#[test]
fn first_messages_are_spread_evenly() {
    for (rate, threads) in [(None, 1), (Some(1_000.0), 1), (None, 3), (Some(1_000.0), 3)] {
        let plan = Plan { connections: 100, rate, threads, warmup: 100 * MS, ..plan() };
        let mut stage = Stage::new(&plan);
        stage.begin();
        let mut first = vec![0; 30];
        let start = stage.world.elapsed();
        for count in &mut first {
            stage.pass(STEP, |served, bytes| {
                *count += u32::from(served.received == 64 && !bytes.is_empty());
                served.echo(bytes);
            });
        }
        assert_eq!(first.iter().sum::<u32>(), 100);
        assert!(first[..25].iter().all(|count| (3..=5).contains(count)), "{first:?}");
        assert!(stage.world.elapsed() > start);
    }
}

#[test]
fn a_schedule_is_kept_whatever_the_threads() {
    for_some_kernels(|kernel| {
        for threads in [1, 3] {
            let plan = Plan { rate: Some(2_000.0), threads, duration: 300 * MS, pipeline: 8, ..plan() };
            let mut by_connection = [0; 4];
            let measured = Stage::on(kernel, &plan).run(|served, bytes| {
                by_connection[served.number] += bytes.len();
                served.echo(bytes);
            });
            assert_eq!(errors(&measured), [0; 4]);
            // 600 are due before the end; the last ones are in flight then.
            assert_eq!(by_connection.iter().sum::<usize>(), 600 * 64, "{kernel:?}");
            assert!(by_connection.iter().all(|bytes| *bytes == 150 * 64), "{by_connection:?}");
            assert!((590..=600).contains(&measured.counts.messages), "{}", measured.counts.messages);
            assert_eq!(measured.late.max(), 0, "a virtual clock does not run on");
        }
    });
}

/// A server that stands still for 300 ms.
#[test]
fn with_a_schedule_latencies_count_from_when_messages_were_due() {
    let plan = Plan { rate: Some(200.0), connections: 2, ..plan() };
    let measured = Stage::new(&plan).run(|served, bytes| match served.now {
        now if now > 300 * MS && now < 600 * MS => served.keep(bytes),
        _ => served.echo(bytes),
    });
    assert_eq!(errors(&measured), [0; 4]);
    assert_eq!(measured.latency.len(), measured.counts.messages);
    let actual = measured.latency_actual.expect("there is a schedule");
    assert_eq!(actual.len(), measured.counts.messages);
    // One message of each connection was on its way when it stopped. The others waited for their turn.
    assert_eq!(actual.count_between(100_000_000, u64::MAX), 2);
    assert!((280.0..310.0).contains(&ms(actual.max())), "{}", ms(actual.max()));
    let late = measured.latency.count_between(10_000_000, u64::MAX);
    assert!(late > 55, "{late} messages were due meanwhile, or waited for those");
    assert!((280.0..310.0).contains(&ms(measured.latency.max())));
    assert_eq!(measured.stalls.len(), 1);
}

/// A closed loop of two connections, of which one is slower.
#[test]
fn each_connection_has_a_pace_of_its_own() {
    let plan = Plan { connections: 2, duration: 400 * MS, ..plan() };
    let measured = Stage::new(&plan).run(|served, bytes| {
        let waits = served.number == 1 && !(served.now.as_millis() as u64).is_multiple_of(40);
        if waits { served.keep(bytes) } else { served.echo(bytes) }
    });
    assert!((105..=112).contains(&measured.counts.messages), "100 and 10: {}", measured.counts.messages);
    assert!((39.0..41.0).contains(&ms(measured.latency.max())));
}

/// What is measured ends at the signal; what is in flight is awaited for a moment.
#[test]
fn an_interrupted_run_reports_what_it_has() {
    for (warmup, measures) in [(Duration::ZERO, true), (10 * SECOND, false)] {
        let plan = Plan { duration: 3600 * SECOND, reply_timeout: 10 * SECOND, warmup, ..plan() };
        let mut stage = Stage::new(&plan);
        stage.begin();
        stage.pass(340 * MS, Served::echo);
        stage.command(ToWorker::Interrupt);
        // The server answers no more: nobody waits for the reply timeout.
        let before = stage.world.elapsed();
        let measured = stage.go_on(|_, _| {});
        assert_eq!((errors(&measured), before), ([0; 4], 340 * MS));
        if measures {
            assert_eq!(measured.elapsed, 340 * MS);
            let counts: Vec<u64> = measured.intervals.iter().map(|interval| interval.messages).collect();
            assert_eq!(counts, [96, 100, 100, 44]);
            assert_eq!(measured.intervals[3].length, 40 * MS);
        } else {
            assert_eq!((measured.elapsed, measured.counts.messages), (Duration::ZERO, 0));
        }
    }
}

/// Every connection is closed gracefully: its server sees no reset, and everything was echoed.
#[test]
fn at_the_end_connections_are_closed_gracefully() {
    let plan = Plan { duration: 100 * MS, pipeline: 3, ..plan() };
    let mut stage = Stage::new(&plan);
    stage.begin();
    while !stage.is_over() {
        stage.pass(STEP, Served::echo);
    }
    assert!(stage.served.iter().all(|served| served.finished && !served.peer.was_reset()));
    // A server that does not answer the end is not waited for, and is not wrong.
    let measured = Stage::new(&plan).run(|served, bytes| {
        if !bytes.is_empty() {
            served.peer.send(bytes);
        }
    });
    assert_eq!(errors(&measured), [0; 4]);
}

/// A server that stops before the end of the measured part: what waits by then is not left out.
#[test]
fn the_end_of_a_run_hides_nothing() {
    for rate in [None, Some(1_000.0)] {
        let plan = Plan { rate, duration: SECOND, reply_timeout: 10 * SECOND, ..plan() };
        let measured = Stage::new(&plan).run(|served, bytes| match served.now {
            now if now > 600 * MS && now < 1_500 * MS => served.keep(bytes),
            _ => served.echo(bytes),
        });
        assert_eq!(errors(&measured), [0; 4]);
        assert!((890.0..=910.0).contains(&ms(measured.latency.max())), "{}", ms(measured.latency.max()));
        let waiting = measured.latency.len() - measured.counts.messages;
        // Four in flight; with a schedule, those of 400 ms, without those of the last 2 ms: half of the echoes take that long.
        assert_eq!((waiting, measured.counts.unsent), if rate.is_none() { (4, 0) } else { (398, 396) });
        let worst = measured.intervals.last().map_or(0, |interval| interval.max);
        assert_eq!((worst, measured.intervals.len()), (measured.latency.max(), 10));
        if rate.is_some() {
            // 400 of 1,000 messages waited, evenly up to 400 ms.
            let p90 = ms(measured.latency.value_at_quantile(0.9));
            assert!((290.0..=310.0).contains(&p90), "{p90}");
        }
    }
}

/// What an interrupted run does not wait for has its time so far.
#[test]
fn an_interruption_hides_nothing() {
    for rate in [None, Some(1_000.0)] {
        let plan = Plan { rate, duration: 3600 * SECOND, reply_timeout: 10 * SECOND, ..plan() };
        let mut stage = Stage::new(&plan);
        stage.begin();
        stage.pass(100 * MS, Served::echo);
        stage.pass(300 * MS, Served::keep);
        stage.command(ToWorker::Interrupt);
        let measured = stage.go_on(Served::keep);
        assert_eq!(errors(&measured), [0; 4]);
        assert!(ms(measured.latency.max()) > 1_000.0, "the last wait is a second");
        assert_eq!(measured.latency.len() - measured.counts.messages, if rate.is_none() { 4 } else { 298 });
    }
}

/// Everything was sent, and the last echoes do not come: what was measured stays what it was, and the interruption is said.
#[test]
fn an_interruption_behind_the_measured_part_changes_no_figure() {
    for rate in [None, Some(1_000.0)] {
        let plan = Plan { rate, duration: SECOND, reply_timeout: 3600 * SECOND, ..plan() };
        let waiting = |interrupt: bool| {
            let mut stage = Stage::new(&plan);
            stage.begin();
            stage.pass(600 * MS, Served::echo);
            stage.pass(2_400 * MS, Served::keep);
            if interrupt {
                stage.command(ToWorker::Interrupt);
                // Once more: it changes nothing either.
                stage.command(ToWorker::Interrupt);
                return stage.go_on(Served::keep);
            }
            stage.go_on(Served::echo)
        };
        let (interrupted, whole) = (waiting(true), waiting(false));
        assert_eq!((interrupted.interrupted, whole.interrupted), (true, false), "{rate:?}");
        assert_eq!((errors(&interrupted), interrupted.elapsed), ([0; 4], SECOND));
        assert_eq!(interrupted.counts.unsent, whole.counts.unsent, "{rate:?}");
        assert_eq!(interrupted.latency.len(), whole.latency.len(), "{rate:?}");
        assert!(ms(interrupted.latency.max()) < 3_500.0, "{}", ms(interrupted.latency.max()));
    }
}

/// A signal and the last echoes within the same second: nothing was cut short.
#[test]
fn an_interruption_that_cuts_nothing_short_is_not_reported() {
    let plan = Plan { duration: SECOND, reply_timeout: 3600 * SECOND, ..plan() };
    let mut stage = Stage::new(&plan);
    stage.begin();
    stage.pass(900 * MS, Served::echo);
    stage.pass(300 * MS, Served::keep);
    stage.command(ToWorker::Interrupt);
    let measured = stage.go_on(Served::echo);
    assert_eq!((measured.interrupted, measured.elapsed, errors(&measured)), (false, SECOND, [0; 4]));
}

/// A worker that was not scheduled until two seconds after the end of the measured part, and gets the interruption then.
#[test]
fn a_late_interruption_counts_no_more_than_was_due() {
    let plan = Plan { rate: Some(1_000.0), duration: SECOND, ..plan() };
    let mut stage = Stage::new(&plan);
    stage.began = stage.world.elapsed();
    let start = stage.began.as_nanos() as u64;
    stage.world.advance(3 * SECOND);
    for command in [ToWorker::Begin { start }, ToWorker::Interrupt] {
        (0..stage.workers).for_each(|worker| stage.world.post(worker, command));
    }
    // The first connection ends earlier than the others: they are waited for.
    let mut looks = 0;
    while !stage.is_over() {
        looks += 1;
        stage.pass(STEP, |served, bytes| {
            if served.number == 0 || looks > 10 {
                served.echo(bytes);
            }
        });
    }
    let is_graceful = stage.served.iter().all(|served| served.finished && !served.peer.was_reset());
    assert!(is_graceful, "after {looks} looks");
    let measured = stage.go_on(Served::echo);
    assert_eq!((measured.elapsed, measured.counts.unsent, measured.interrupted), (SECOND, 1_000, false));
}

/// Far more than can be sent is due: the run ends, and says how much was not sent.
#[test]
fn rates_beyond_everything_end() {
    for (rate, threads) in [(1e5, 1), (3e5, 1), (3e5, 3)] {
        let plan = Plan { rate: Some(rate), threads, duration: 100 * MS, ..plan() };
        let measured = Stage::new(&plan).run(Served::echo);
        assert_eq!(errors(&measured), [0; 4]);
        let Measured { counts, latency, .. } = &measured;
        assert!(counts.messages >= 80, "{counts:?}");
        let due = (rate / 10.0) as u64;
        assert_eq!(counts.messages + counts.unsent + 4, due);
        assert!((due - due / 20..=due).contains(&latency.len()), "{} of {due}", latency.len());
    }
}

#[test]
fn workers_without_connections_have_nothing_to_do() {
    for rate in [None, Some(500.0)] {
        let plan = Plan { rate, threads: 6, connections: 2, duration: 100 * MS, ..plan() };
        let measured = Stage::new(&plan).run(Served::echo);
        assert_eq!((errors(&measured), measured.counts.messages > 40), ([0; 4], true));
    }
}
