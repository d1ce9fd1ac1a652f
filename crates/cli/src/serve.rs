//! `overlapped serve`: every byte back.

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering::Acquire, Ordering::Release};
use std::sync::{Arc, Once};
use std::thread;
use std::time::{Duration, Instant};

use overlapped::events::Rejection;
use overlapped::{Error, Event, Handler, Lease, Server, ServerHandle, Session, Stats};

use proactor::os;

use crate::args::ServeArgs;
use crate::failure::Failure;
use crate::log::{AT_MOST, Log, STUCK};
use crate::output::remedy;
use crate::signals;
use crate::trace::{self, Trace};
use crate::units::{bytes, count, span};

struct Echo;

impl Handler for Echo {
    type State = ();
    type Message = ();

    fn on_open(&mut self, _session: &mut Session<'_>) {}

    fn on_data(&mut self, session: &mut Session<'_>, _state: &mut (), data: Lease) {
        session.send(data);
    }
}

pub(crate) fn run(args: &ServeArgs) -> Result<ExitCode, Failure> {
    let _ = overlapped::raise_descriptor_limit();
    let log = Log::new();
    let trace = match &args.trace {
        None => None,
        Some(path) => Some(Arc::new(Trace::create(path, log.clone()).map_err(|error| {
            let next = remedy(&error);
            Failure::failed(format_args!("cannot write the trace {}: {error}; {next}", path.display()))
        })?)),
    };
    // Before the server opens any.
    let too_many = too_many_sessions(args);
    let server = build(args).map(|server| observe(server, args, &log, trace.clone()));
    let handle = server.and_then(|server| server.start(|_worker| Echo)).map_err(explain)?;
    if let Some(trace) = &trace {
        trace.name_workers(handle.workers().len());
    }
    let ends_at_once = watch_signals(args, &handle, &log, trace.clone())?;
    let on_panic = log.clone();
    std::panic::set_hook(Box::new(move |panic| on_panic.panicked(panic)));
    for refusal in handle.refusals() {
        log.note(format_args!("note: {refusal}; serving through {}", handle.backend()));
    }
    for skipped in handle.skipped_addresses() {
        log.note(format_args!("note: {skipped}"));
    }
    if let Some(warning) = too_many {
        log.note(warning);
    }
    log.open(&first_lines(&handle)).map_err(|error| {
        Failure::failed(format_args!("cannot start a thread to print with: {error}; raise `ulimit -u`"))
    })?;
    let ended = handle.wait();

    let status = conclude(args, &handle, ended.map_err(explain), &log, trace.as_deref());
    while ends_at_once.load(Acquire) {
        // The process ends, with status 1, when that is said.
        thread::park();
    }
    Ok(ExitCode::from(status))
}

/// Says how it ended, and waits up to a second for a reader that has stopped. Returns the exit status: 1 if the drain cut
/// something, and if stdout could not be written at its end or the trace not to its end, for another reason than that
/// nobody reads them.
fn conclude(
    args: &ServeArgs,
    handle: &ServerHandle,
    ended: Result<(), Failure>,
    log: &Log,
    trace: Option<&Trace>,
) -> u8 {
    let until = Instant::now() + STUCK;
    if let Some(trace) = trace {
        trace.end();
        if let Some(warning) = trace.flush(until - STUCK / 2, until + AT_MOST) {
            log.note(warning);
        }
    }
    let traced = trace.is_none_or(Trace::is_whole);
    let (last, status) = match ended {
        Err(failure) => {
            log.note(failure.line());
            (String::new(), failure.status())
        }
        Ok(()) => {
            let stats = handle.stats();
            let last = if args.quiet { String::new() } else { summary_of(&stats) };
            (last, u8::from(stats.cut > 0))
        }
    };
    let printed = log.finish(&last, until);
    if printed && traced { status } else { status.max(1) }
}

/// `listening on 127.0.0.1:9999 (io_uring, 2 workers)`, for each address.
fn first_lines(handle: &ServerHandle) -> String {
    let how = format!("{}, {}", handle.backend(), count(handle.workers().len() as u64, "worker"));
    handle.local_addrs().iter().map(|address| format!("listening on {address} ({how})\n")).collect()
}

fn summary_of(stats: &Stats) -> String {
    let rejected = match stats.sessions_rejected {
        0 => String::new(),
        number => format!(" (and rejected {number})"),
    };
    let too_late = match stats.bytes_discarded {
        0 => String::new(),
        number => format!(" (and discarded {number} that came too late)"),
    };
    format!(
        "served {}{rejected}, echoed {} ({}); drained {}, cut {}, lost {}{too_late}\n",
        count(stats.sessions_opened, "session"),
        bytes(stats.bytes_sent),
        count(stats.bytes_sent, "byte"),
        stats.drained,
        stats.cut,
        count(stats.bytes_lost, "byte"),
    )
}

/// A warning if more sessions are asked for than there are descriptors for.
fn too_many_sessions(args: &ServeArgs) -> Option<String> {
    let sessions = u64::from(args.max_sessions?);
    let cores = || thread::available_parallelism().map_or(1, usize::from);
    let workers = args.workers.map_or_else(cores, |workers| workers as usize);
    let (limit, room) = (os::descriptor_limit()?, Server::room_for_sessions(workers)?);
    let needed = os::open_descriptors() + Server::descriptors_needed(sessions, workers);
    (sessions > room).then(|| {
        format!(
            "warning: --max-sessions {sessions} needs {needed} descriptors, and the limit is {limit}: accepting will \
             pause at about {}; raise the limit (`ulimit -n {needed}`; `overlapped doctor` says how), or lower \
             --max-sessions",
            count(room, "session")
        )
    })
}

/// Returns what becomes true when a second request ends the process at once. Nothing in here waits for a reader for more
/// than a second.
fn watch_signals(
    args: &ServeArgs,
    handle: &ServerHandle,
    log: &Log,
    trace: Option<Arc<Trace>>,
) -> Result<Arc<AtomicBool>, Failure> {
    let (drain_timeout, quiet) = (args.drain_timeout, args.quiet);
    let (draining, left, asked) = (handle.clone(), handle.clone(), handle.clone());
    let (last, answers, begins) = (log.clone(), log.clone(), log.clone());
    let ends_at_once = Arc::new(AtomicBool::new(false));
    let ending = Arc::clone(&ends_at_once);
    let at_once = move || {
        ending.store(true, Release);
        let end = Instant::now() + STUCK;
        if let Some(trace) = &trace {
            trace.end();
        }
        last.last_note(&format!("ended at once: {} cut", count(left.stats().sessions, "session")), end);
        if let Some(warning) = trace.as_ref().and_then(|trace| trace.flush_in_haste(end)) {
            last.last_note(&warning, end);
        }
    };
    let now = move || answers.note(line_of(&asked.stats()));
    let drain = move |left| {
        let limit = drain_timeout.min(left);
        if !quiet {
            // Before it begins: the end may be near.
            begins.note(drain_notice(limit));
        }
        draining.begin_drain(limit);
    };
    signals::watch(drain, at_once, now)
        .map_err(|error| Failure::failed(format_args!("cannot watch for signals: {error}")))?;
    Ok(ends_at_once)
}

/// What the first request to end is answered with, on stderr: the person who asked sees why nothing seems to happen.
fn drain_notice(limit: Duration) -> String {
    match limit {
        Duration::ZERO => "draining, at once: what is left is cut".to_owned(),
        limit => format!("draining, up to {}; a second signal ends at once", span(limit)),
    }
}

/// The counters for a script: between the commas, a name and then a number.
fn line_of(now: &Stats) -> String {
    format!(
        "now: sessions {}, in flight {}, blocks in use {}, opened {}, closed {}, rejected {}, bytes echoed {}",
        now.sessions,
        now.in_flight,
        now.blocks_in_use,
        now.sessions_opened,
        now.sessions_closed,
        now.sessions_rejected,
        now.bytes_sent,
    )
}

fn build(args: &ServeArgs) -> overlapped::Result<Server> {
    let (first, rest) = args.bind.split_first().expect("there is a default");
    let mut server = Server::bind(first.as_str())?;
    for address in rest {
        server = server.also_bind(address.as_str())?;
    }
    server = server
        .backend(args.backend.choice())
        .high_water(args.high_water)
        .idle_timeout(args.idle_timeout.0)
        .first_byte_timeout(args.first_byte_timeout.0)
        .write_timeout(args.write_timeout.0)
        .keepalive(args.keepalive.0)
        .user_timeout(args.user_timeout.0)
        .max_per_address(args.max_per_address.map(|sessions| sessions as usize))
        .busy_poll(args.busy_poll.0)
        .pin_workers(args.pin)
        .trace_operations(args.log_ops || args.trace.is_some());
    if let Some(workers) = args.workers {
        server = server.workers(workers as usize);
    }
    if let Some(sessions) = args.max_sessions {
        server = server.max_sessions(sessions as usize);
    }
    if let Some(low) = args.low_water {
        server = server.low_water(low);
    }
    Ok(server)
}

/// Whoever wants to know what happens. With `--quiet` and no trace, nobody: events cost nothing then.
fn observe(server: Server, args: &ServeArgs, log: &Log, trace: Option<Arc<Trace>>) -> Server {
    let (quiet, verbose, log_ops) = (args.quiet, args.verbose, args.log_ops);
    if quiet && trace.is_none() {
        return server;
    }
    let (began, log) = (Instant::now(), log.clone());
    server.observer(move |event| {
        if !quiet {
            tell(&log, event, verbose);
        }
        if log_ops {
            trace::log_step(&log, began, event);
        }
        if let Some(trace) = &trace {
            trace.event(event);
        }
    })
}

fn tell(log: &Log, event: &Event<'_>, verbose: bool) {
    match event {
        Event::AcceptPaused { error, .. } => {
            log.note(format_args!(
                "warning: accepting pauses: {error}; raise the descriptor limit (`ulimit -n`), or lower --max-sessions"
            ));
        }
        Event::Delayed { error, .. } => {
            log.note(format_args!(
                "warning: the system is short of memory: {error}; sessions wait until it has some; lower --max-sessions or --high-water"
            ));
        }
        Event::Opened { session, peer: Some(peer), .. } if verbose => {
            log.say(format_args!("{session} opened by {peer}"));
        }
        Event::Opened { session, peer: None, .. } if verbose => log.say(format_args!("{session} opened")),
        Event::Closed { session, reason, received, sent, .. } if verbose => {
            let received = count(*received, "byte");
            log.say(format_args!("{session} closed: {reason}; received {received}, echoed {sent}"));
        }
        Event::Rejected { reason, .. } => {
            warn_once(log, *reason);
            if verbose {
                log.say(match reason {
                    Rejection::SessionLimit => "a connection was rejected: the session limit is reached",
                    Rejection::AddressLimit => {
                        "a connection was rejected: its address has as many sessions as it may"
                    }
                    _ => "a connection was rejected: the system could not take it",
                });
            }
        }
        _ => {}
    }
}

/// Says that a limit has been reached, when it turns the first client away: all further ones are counted in silence.
fn warn_once(log: &Log, reason: Rejection) {
    static SESSIONS: Once = Once::new();
    static ADDRESS: Once = Once::new();
    let (once, warning) = match reason {
        Rejection::SessionLimit => (
            &SESSIONS,
            "the session limit is reached; raise --max-sessions, or the descriptor limit (`ulimit -n`), which it follows by default",
        ),
        Rejection::AddressLimit => {
            (&ADDRESS, "an address has as many sessions as it may; raise --max-per-address")
        }
        _ => return,
    };
    once.call_once(|| log.note(format_args!("warning: connections are rejected: {warning}")));
}

/// The flag for a setting of the library.
fn flag_of(setting: &str) -> Option<&'static str> {
    Some(match setting {
        "the number of workers" => "--workers",
        "the session limit" => "--max-sessions",
        "the limit per address" => "--max-per-address",
        "the idle timeout" => "--idle-timeout",
        "the first-byte timeout" => "--first-byte-timeout",
        "the write timeout" => "--write-timeout",
        "the keep-alive" => "--keepalive",
        "the user timeout" => "--user-timeout",
        "the pinning of workers" => "--pin",
        "the low-water mark" => "--low-water",
        "the hard limit" => "--high-water",
        _ => return None,
    })
}

fn explain(error: Error) -> Failure {
    match error {
        Error::Config { setting, problem } => match flag_of(setting) {
            Some(flag) => Failure::usage(format_args!("{flag}: {setting} {problem}")),
            None => Failure::usage(Error::Config { setting, problem }),
        },
        error => Failure::failed(error),
    }
}
