//! The lines that events become: warnings on stderr, with `-v` what happens to each session on stdout.

use std::sync::Once;

use overlapped::Event;
use overlapped::events::Rejection;

use crate::log::{Field, Log, Record};
use crate::units::count;

pub(super) fn tell(log: &Log, event: &Event<'_>, verbose: bool) {
    match event {
        Event::AcceptPaused { error, .. } => {
            let next = "raise the descriptor limit (`ulimit -n`), or lower --max-sessions";
            let fields = [("event", Field::Text(&"accept_paused")), ("error", Field::Text(error))];
            log.note(&Record::warning(format_args!("accepting pauses: {error}; {next}")).with(&fields));
        }
        Event::Delayed { error, .. } => {
            let next = "sessions wait until it has some; lower --max-sessions or --high-water";
            let fields = [("event", Field::Text(&"delayed")), ("error", Field::Text(error))];
            let message = format_args!("the system is short of memory: {error}; {next}");
            log.note(&Record::warning(message).with(&fields));
        }
        Event::Opened { session, peer: Some(peer), .. } if verbose => {
            let fields = [
                ("event", Field::Text(&"opened")),
                ("session", Field::Text(session)),
                ("peer", Field::Text(peer)),
            ];
            log.say(&Record::info(format_args!("{session} opened by {peer}")).with(&fields));
        }
        Event::Opened { session, peer: None, .. } if verbose => {
            let fields = [("event", Field::Text(&"opened")), ("session", Field::Text(session))];
            log.say(&Record::info(format_args!("{session} opened")).with(&fields));
        }
        Event::Closed { session, reason, received, sent, .. } if verbose => {
            let fields = [
                ("event", Field::Text(&"closed")),
                ("session", Field::Text(session)),
                ("reason", Field::Text(reason)),
                ("received_bytes", Field::Number(*received)),
                ("sent_bytes", Field::Number(*sent)),
            ];
            let arrived = count(*received, "byte");
            let message = format_args!("{session} closed: {reason}; received {arrived}, echoed {sent}");
            log.say(&Record::info(message).with(&fields));
        }
        Event::SlowCallback { worker, session, took, .. } if verbose => {
            let what = match session {
                Some(session) => format!("a callback of {session}"),
                None => "a callback".to_owned(),
            };
            let took_ms = took.as_millis() as u64;
            let mut fields = vec![
                ("event", Field::Text(&"slow_callback")),
                ("worker", Field::Number(*worker as u64)),
                ("took_ms", Field::Number(took_ms)),
            ];
            fields.extend(session.iter().map(|session| ("session", Field::Text(session) as Field<'_>)));
            let message = format_args!("{what} took {took_ms} ms; all sessions of worker {worker} waited");
            log.note(&Record::warning(message).with(&fields));
        }
        Event::Rejected { reason, .. } => rejected(log, *reason, verbose),
        _ => {}
    }
}

/// Says that a limit has been reached, when it turns the first client away; with `-v` each time.
fn rejected(log: &Log, reason: Rejection, verbose: bool) {
    static SESSIONS: Once = Once::new();
    static ADDRESS: Once = Once::new();
    let next = match reason {
        Rejection::SessionLimit => Some((
            &SESSIONS,
            "the session limit is reached; raise --max-sessions, or the descriptor limit (`ulimit -n`), which it follows by default",
        )),
        Rejection::AddressLimit => {
            Some((&ADDRESS, "an address has as many sessions as it may; raise --max-per-address"))
        }
        _ => None,
    };
    let (word, why) = match reason {
        Rejection::SessionLimit => ("session_limit", "the session limit is reached"),
        Rejection::AddressLimit => ("address_limit", "its address has as many sessions as it may"),
        _ => ("system", "the system could not take it"),
    };
    let fields = [("event", Field::Text(&"rejected")), ("reason", Field::Text(&word))];
    if let Some((once, warning)) = next {
        let warn =
            || log.note(&Record::warning(format_args!("connections are rejected: {warning}")).with(&fields));
        once.call_once(warn);
    }
    if verbose {
        log.say(&Record::info(format_args!("a connection was rejected: {why}")).with(&fields));
    }
}
