//! `overlapped serve`: every byte back.

mod ending;
mod lines;
#[cfg_attr(windows, path = "no_supervisor.rs")]
mod supervisor;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering::Acquire;
use std::thread;
use std::time::Instant;

use overlapped::{Error, Handler, Lease, Server, ServerHandle, Session};
use overlapped_admin::{Admin, AdminHandle};
use proactor::os;

use crate::args::{DEFAULT_BIND, LogFormat, ServeArgs};
use crate::failure::Failure;
use crate::log::{Format, Log, Record, STUCK};
use crate::output::remedy;
use crate::trace::{self, Trace};
use crate::units::count;

use ending::{Ending, conclude};
use supervisor::{GivenSocket, Supervisor, given_sockets};

/// A socket of the service manager with this name takes the place of `--admin`, not of `--bind`.
const ADMIN_SOCKET: &str = "admin";

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
    // First, while there are no other threads.
    let (admin_sockets, sockets): (Vec<_>, Vec<_>) =
        given_sockets()?.into_iter().partition(|given| given.name == ADMIN_SOCKET);
    let _ = overlapped::raise_descriptor_limit();
    let log = Log::new(match args.log_format {
        LogFormat::Text => Format::Text,
        LogFormat::Json => Format::Json,
    });
    let trace = match &args.trace {
        None => None,
        Some(path) => Some(Arc::new(Trace::create(path, log.clone()).map_err(|error| {
            let next = remedy(&error);
            Failure::failed(format_args!("cannot write the trace {}: {error}; {next}", path.display()))
        })?)),
    };
    // Before the server opens any.
    let too_many = too_many_sessions(args);
    note_given(&log, args, &sockets, &admin_sockets);
    let admin = admin(args, admin_sockets).map_err(explain)?;
    let server = build(args, sockets).map(|server| observe(server, args, &log, trace.clone()));
    let handle = server.and_then(|server| server.start(|_worker| Echo)).map_err(explain)?;
    if let Some(trace) = &trace {
        trace.name_workers(handle.workers().len());
    }
    let admin = admin.map(|admin| admin.start(&handle)).transpose().map_err(explain)?;
    let supervisor = Supervisor::start(&handle, &log);
    let ending = Ending {
        args,
        handle: &handle,
        admin: admin.as_ref(),
        log: &log,
        trace: trace.clone(),
        supervisor: &supervisor,
    };
    let ends_at_once = ending.watch_signals()?;
    let on_panic = log.clone();
    std::panic::set_hook(Box::new(move |panic| on_panic.panicked(panic)));
    note_start(&log, &handle, admin.as_ref(), too_many);
    log.open(&first_lines(&handle, admin.as_ref())).map_err(|error| {
        Failure::failed(format_args!("cannot start a thread to print with: {error}; raise `ulimit -u`"))
    })?;
    supervisor.ready();
    let ended = handle.wait();
    if let Some(admin) = &admin {
        // Not before: `/ready` says to the end that nothing is to be sent here.
        admin.end();
    }
    supervisor.end(Instant::now() + STUCK);
    let status = conclude(args, &handle, ended.map_err(explain), &log, trace.as_deref());
    while ends_at_once.load(Acquire) {
        // The process ends, with status 1, when that is said.
        thread::park();
    }
    Ok(ExitCode::from(status))
}

/// What an operator did not ask for, and what goes on.
fn note_start(log: &Log, handle: &ServerHandle, admin: Option<&AdminHandle>, too_many: Option<String>) {
    for refusal in handle.refusals() {
        log.note(&Record::note(format_args!("{refusal}; serving through {}", handle.backend())));
    }
    let of_admin = admin.into_iter().flat_map(AdminHandle::skipped_addresses);
    for skipped in handle.skipped_addresses().iter().chain(of_admin) {
        log.note(&Record::note(format_args!("{skipped}")));
    }
    if let Some(warning) = too_many {
        log.note(&Record::warning(format_args!("{warning}")));
    }
}

/// Which sockets come from the service manager, and what they replace.
fn note_given(log: &Log, args: &ServeArgs, sockets: &[GivenSocket], admin: &[GivenSocket]) {
    for GivenSocket { name, listener } in sockets.iter().chain(admin) {
        let address =
            listener.local_addr().map_or_else(|error| error.to_string(), |address| address.to_string());
        log.note(&Record::note(format_args!("{address} is the service manager's socket {name}")));
    }
    let replaced = |flag: &str| {
        log.note(&Record::warning(format_args!("{flag} is not used: the service manager gives the sockets")));
    };
    if !sockets.is_empty() && args.bind != [DEFAULT_BIND] {
        replaced("--bind");
    }
    if !admin.is_empty() && args.admin.is_some() {
        replaced("--admin");
    }
}

/// The admin server, if there is to be one.
fn admin(args: &ServeArgs, given: Vec<GivenSocket>) -> overlapped::Result<Option<Admin>> {
    let mut listeners = given.into_iter().map(|given| given.listener);
    let admin = match (listeners.next(), &args.admin) {
        (Some(first), _) => listeners.fold(Admin::from(first), Admin::also_listen),
        (None, Some(address)) => Admin::bind(address.as_str())?,
        (None, None) => return Ok(None),
    };
    // A ring that the operator does not want is not made for it either.
    Ok(Some(admin.backend(args.backend.choice())))
}

/// `listening on 127.0.0.1:9999 (io_uring, 2 workers)`, for each address; then where the admin server is.
fn first_lines(handle: &ServerHandle, admin: Option<&AdminHandle>) -> String {
    let how = format!("{}, {}", handle.backend(), count(handle.workers().len() as u64, "worker"));
    let serving = handle.local_addrs().iter().map(|address| format!("listening on {address} ({how})\n"));
    let watching = admin.into_iter().flat_map(AdminHandle::local_addrs);
    serving.chain(watching.map(|address| format!("admin on http://{address}/\n"))).collect()
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
            "--max-sessions {sessions} needs {needed} descriptors, and the limit is {limit}: accepting will \
             pause at about {}; raise the limit (`ulimit -n {needed}`; `overlapped doctor` says how), or lower \
             --max-sessions",
            count(room, "session")
        )
    })
}

/// On the sockets of the service manager, or where the arguments say.
fn listen(args: &ServeArgs, given: Vec<GivenSocket>) -> overlapped::Result<Server> {
    let mut listeners = given.into_iter().map(|given| given.listener);
    if let Some(first) = listeners.next() {
        return Ok(listeners.fold(Server::from(first), Server::also_listen));
    }
    let (first, rest) = args.bind.split_first().expect("there is a default");
    let server = Server::bind(first.as_str())?;
    rest.iter().try_fold(server, |server, address| server.also_bind(address.as_str()))
}

fn build(args: &ServeArgs, given: Vec<GivenSocket>) -> overlapped::Result<Server> {
    let mut server = listen(args, given)?
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

/// Sets the observer that logs and traces. With `--quiet` and no trace there is none: events cost nothing then.
fn observe(server: Server, args: &ServeArgs, log: &Log, trace: Option<Arc<Trace>>) -> Server {
    let (quiet, verbose, log_ops) = (args.quiet, args.verbose, args.log_ops);
    if quiet && trace.is_none() {
        return server;
    }
    let (began, log) = (Instant::now(), log.clone());
    server.observer(move |event| {
        if !quiet {
            lines::tell(&log, event, verbose);
        }
        if log_ops {
            trace::log_step(&log, began, event);
        }
        if let Some(trace) = &trace {
            trace.event(event);
        }
    })
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
