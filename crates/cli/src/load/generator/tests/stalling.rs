//! Stalls: connections that waited for an echo and got none.

use super::*;

/// At, length and connections of each stall, in ms.
fn stalls(measured: &Measured) -> Vec<(u128, u128, u64)> {
    let of = |stall: &crate::load::measured::Stall| {
        (stall.at.as_millis(), stall.length.as_millis(), stall.connections)
    };
    measured.stalls.iter().map(of).collect()
}

#[test]
fn a_server_that_stands_still_is_one_stall_of_all_connections() {
    for (rate, pipeline, threads) in
        [(None, 1, 1), (None, 4, 2), (Some(1_000.0), 1, 1), (Some(1_000.0), 4, 2)]
    {
        let plan = Plan { rate, pipeline, threads, duration: 2 * SECOND, ..plan() };
        let measured = Stage::new(&plan).run(|served, bytes| match served.now {
            now if now > 500 * MS && now < 1_000 * MS => served.keep(bytes),
            _ => served.echo(bytes),
        });
        let stalls = stalls(&measured);
        assert_eq!(stalls.len(), 1, "{stalls:?}");
        let (at, length, connections) = stalls[0];
        assert!((495..=505).contains(&at) && (490..=505).contains(&length), "{stalls:?}");
        assert_eq!((connections, errors(&measured)), (4, [0; 4]));
    }
}

#[test]
fn one_connection_may_stall_alone() {
    let measured = Stage::new(&plan()).run(|served, bytes| match served.now {
        now if served.number == 2 && now > 300 * MS && now < 600 * MS => served.keep(bytes),
        _ => served.echo(bytes),
    });
    let stalls = stalls(&measured);
    assert!(matches!(stalls[..], [(295..=305, 290..=305, 1)]), "{stalls:?}");
}

/// A connection that owes nothing is not stalled: here a message each 500 ms.
#[test]
fn silence_without_a_message_is_no_stall() {
    let plan = Plan { rate: Some(8.0), duration: 3 * SECOND, ..plan() };
    let measured = Stage::new(&plan).run(Served::echo);
    assert_eq!((stalls(&measured), measured.counts.messages), (vec![], 24));
}

/// Ten times the median is what is usual.
#[test]
fn a_slow_server_is_not_stalled_all_the_time() {
    let plan = Plan { duration: 3 * SECOND, reply_timeout: 10 * SECOND, ..plan() };
    let every = |period: u128| {
        move |served: &mut Served, bytes: &[u8]| {
            let is_time = served.now.as_millis() % period < 4;
            if is_time { served.echo(bytes) } else { served.keep(bytes) }
        }
    };
    let measured = Stage::new(&plan).run(every(200));
    assert!(ms(measured.latency.min()) >= 100.0);
    assert_eq!(stalls(&measured), []);
}

/// What is not over at the end of the run, or ends in a timeout, is a stall until then; what was before the measured part is
/// not in it.
#[test]
fn stalls_are_cut_at_both_ends() {
    let plan = Plan { warmup: 500 * MS, duration: SECOND, reply_timeout: 5 * SECOND, ..plan() };
    let measured = Stage::new(&plan).run(|served, bytes| match served.now {
        now if now > 300 * MS && now < 700 * MS => served.keep(bytes),
        now if now > 1_200 * MS && now < 2_000 * MS => served.keep(bytes),
        _ => served.echo(bytes),
    });
    let found = stalls(&measured);
    assert!(matches!(found[..], [(0, 195..=205, 4), (695..=705, 295..=305, 4)]), "{found:?}");

    let plan = Plan { reply_timeout: 300 * MS, duration: 2 * SECOND, ..plan };
    let measured = Stage::new(&plan).run(|served, bytes| match served.now {
        now if served.number == 1 && now > SECOND => served.keep(bytes),
        _ => served.echo(bytes),
    });
    let found = stalls(&measured);
    assert!(matches!(found[..], [(495..=505, 300..=440, 1)]), "{found:?}");
    assert_eq!(errors(&measured), [0, 0, 1, 0]);
}

/// A server that is gone for a while: the connections in between fail, and the stall lasts until the next echo.
#[test]
fn an_outage_is_one_stall_over_all_its_connections() {
    for rate in [None, Some(1_000.0)] {
        let plan = Plan { rate, duration: 2 * SECOND, ..plan() };
        let measured = Stage::new(&plan).run(|served, bytes| match served.now {
            now if now > 500 * MS && now < 900 * MS => served.reset(),
            _ => served.echo(bytes),
        });
        let stalls = stalls(&measured);
        assert!(matches!(stalls[..], [(490..=505, 395..=1_000, 4)]), "{stalls:?}");
        assert!(measured.counts.reset >= 4, "{:?}", measured.counts);
    }
}

/// Connections that have nothing to send while they are down miss nothing.
#[test]
fn an_outage_in_which_nothing_is_due_is_no_stall() {
    let plan = Plan { rate: Some(4.0), duration: 4 * SECOND, ..plan() };
    let measured = Stage::new(&plan).run(|served, bytes| match served.now {
        now if now > 1_400 * MS && now < 1_420 * MS => served.reset(),
        _ => served.echo(bytes),
    });
    assert_eq!((stalls(&measured), measured.counts.reset >= 4), (vec![], true));
}
