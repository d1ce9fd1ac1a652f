use proactor::backend::simulated::{Behaviour, Simulation};
use proactor::{Driver, Pool, PoolConfig};

use super::*;

const PHASES: [Phase; 6] = [
    Phase::Open,
    Phase::HalfClosedLocal,
    Phase::AwaitSent,
    Phase::AwaitFin,
    Phase::AwaitRelease,
    Phase::Aborted,
];
const EVENTS: [PhaseEvent; 8] = [
    PhaseEvent::Finish,
    PhaseEvent::Close(CloseReason::Local),
    PhaseEvent::PeerFin,
    PhaseEvent::FinSent,
    PhaseEvent::BothEnded,
    PhaseEvent::LingerOver,
    PhaseEvent::Abort(CloseReason::Reset),
    PhaseEvent::Cut,
];

fn name(value: impl std::fmt::Debug) -> String {
    let text = format!("{value:?}");
    text.split('(').next().unwrap_or_default().to_owned()
}

/// The cells of each row of the table in this file's head.
fn table() -> Vec<Vec<String>> {
    let rows = include_str!("../state.rs").lines().filter_map(|line| line.strip_prefix("//! | "));
    let cells = |row: &str| row.trim_end_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
    rows.map(cells).collect()
}

#[test]
fn every_cell_of_the_table_is_what_happens() {
    let table = table();
    assert_eq!(table[0][1..], EVENTS.map(name), "the events, in order");
    assert_eq!(table.len(), 2 + PHASES.len());
    for (phase, row) in PHASES.iter().zip(&table[2..]) {
        assert_eq!(row[0], name(phase), "the phases, in order");
        for (event, cell) in EVENTS.iter().zip(&row[1..]) {
            let (next, action) = phase.after(*event);
            let unchanged = (next, action) == (*phase, PhaseAction::Nothing);
            let wanted = if unchanged { String::new() } else { format!("{next:?}, {action:?}") };
            assert_eq!(*cell, wanted, "{phase:?}, {event:?}");
        }
    }
}

fn key() -> ConnectionKey {
    let behaviour = Behaviour { seed: 1, capacity: 64, cuts: false, multishot: false, inline: false };
    let simulation = Simulation::new(behaviour);
    let pool = Pool::new(PoolConfig { blocks: 1, block_len: 16 });
    let mut driver = Driver::new(simulation.backend(pool));
    let address = SocketAddr::from(([127, 0, 0, 1], 1));
    driver.connect(address).expect("the simulated network has room")
}

/// Every sequence of up to five events.
#[test]
fn a_session_stops_hearing_once_and_ends_one_way() {
    let key = key();
    for sequence in 0..EVENTS.len().pow(5) {
        let mut state = SessionState::new(key, Origin::Accepted { listener: 0 }, Time::ZERO);
        let events = (0..5).map(|at| EVENTS[sequence / EVENTS.len().pow(at) % EVENTS.len()]);
        let (mut stopped, mut closed) = (0, 0);
        for event in events {
            let (phase, reason) = (state.phase(), state.reason());
            let action = state.apply(event);
            stopped += usize::from(action == PhaseAction::StopHearing && phase.is_live());
            closed += usize::from(action == PhaseAction::CloseConnection);
            assert!(state.phase() >= phase, "{phase:?}, {event:?}");
            let replaced = event == PhaseEvent::Cut && state.phase() == Phase::Aborted;
            assert!(reason.is_none() || state.reason() == reason || replaced, "INV-7: {phase:?}, {event:?}");
            assert_eq!(state.is_live(), state.reason().is_none(), "it has a reason once it closes");
        }
        assert_eq!(stopped, usize::from(!state.is_live()));
        assert_eq!(closed, usize::from(state.phase() == Phase::AwaitRelease), "INV-2");
    }
}

#[test]
fn the_side_that_ended_first_gives_the_reason() {
    let reason = |events: &[PhaseEvent]| {
        let mut state = SessionState::new(key(), Origin::Accepted { listener: 0 }, Time::ZERO);
        for event in events {
            let _ = state.apply(*event);
        }
        state.reason()
    };
    let close = PhaseEvent::Close(CloseReason::Local);
    assert_eq!(reason(&[close]), Some(CloseReason::Local));
    assert_eq!(reason(&[PhaseEvent::PeerFin, close]), Some(CloseReason::EndOfStream));
    assert_eq!(reason(&[PhaseEvent::PeerFin, PhaseEvent::Finish]), Some(CloseReason::EndOfStream));
    assert_eq!(reason(&[PhaseEvent::Finish, PhaseEvent::PeerFin, close]), Some(CloseReason::Local));
    assert_eq!(reason(&[close, PhaseEvent::Abort(CloseReason::Reset)]), Some(CloseReason::Local));
    assert_eq!(reason(&[close, PhaseEvent::Cut]), Some(CloseReason::Cut));
    assert_eq!(reason(&[close, PhaseEvent::FinSent, PhaseEvent::Cut]), Some(CloseReason::Local));
    let with_code = PhaseEvent::Close(CloseReason::ClosedWith(7));
    assert_eq!(reason(&[PhaseEvent::PeerFin, with_code]), Some(CloseReason::ClosedWith(7)));
    assert_eq!(reason(&[close, with_code]), Some(CloseReason::Local));
}
