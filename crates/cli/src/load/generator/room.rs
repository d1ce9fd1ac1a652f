//! What the system must give for a run: descriptors, memory, threads. What it does not give is an error that says what to
//! change.

use std::io;

use overlapped::{Error, Server};
use proactor::os;

use super::slot::Slot;
use crate::failure::Failure;
use crate::load::plan::Plan;
use crate::units;

/// What a thread takes before it does anything: its stack, its pool, its ring, its histograms.
const OF_THREAD: usize = 8 << 20;

pub(super) fn check_descriptors(plan: &Plan) -> Result<(), Failure> {
    let limit = overlapped::raise_descriptor_limit();
    let (Some(limit), Some(room)) = (limit, Server::room_to_connect(plan.threads as usize)) else {
        return Ok(());
    };
    if room >= plan.connections.into() {
        return Ok(());
    }
    let needed = Server::descriptors_needed_to_connect(plan.connections.into(), plan.threads as usize);
    let needed = needed.saturating_add(os::open_descriptors());
    Err(Failure::failed(format_args!(
        "{} connections need {needed} descriptors, and the limit is {limit}, which leaves room for {room}; raise it \
         (`ulimit -n {needed}`) or give fewer --connections",
        plan.connections
    )))
}

/// Where descriptors have no limit, memory has one: a number of connections that is far too high is no reason to abort. Nor
/// are threads: they allocate at the same time, and the first one that gets nothing may be in the middle of something.
pub(super) fn check_memory(plan: &Plan) -> Result<(), Failure> {
    let connections = plan.connections as usize;
    Vec::<Slot>::new().try_reserve_exact(connections).map_err(|_| {
        let needed = connections as u64 * size_of::<Slot>() as u64;
        Failure::failed(format_args!(
            "{connections} connections need {needed} bytes of memory for themselves alone, which the system does not give; \
             give fewer --connections"
        ))
    })?;
    let of_thread = |_| {
        let mut memory = Vec::<u8>::new();
        memory.try_reserve_exact(OF_THREAD).map(|()| memory)
    };
    if cfg!(windows) {
        return Ok(()); // there it would be more than address space
    }
    // Address space only, all of it at the same time: nothing is written to it.
    (0..plan.threads)
        .map(of_thread)
        .collect::<Result<Vec<_>, _>>()
        .map(drop)
        .map_err(|_| no_memory(plan.threads))
}

/// Why the workers could not be started. The library speaks of workers and their pools; here there are `--threads`.
pub(super) fn explain(error: Error, threads: u32) -> Failure {
    match error {
        Error::Worker { source, .. } | Error::Monitor { source } if is_shortage(&source) => {
            Failure::failed(format_args!(
                "cannot start {}: {source}; {}raise the limit of threads (`ulimit -u`) or of memory (`ulimit -v`)",
                units::count(threads.into(), "thread"),
                fewer(threads),
            ))
        }
        Error::Config { setting: "the pool", .. } => no_memory(threads),
        error => Failure::failed(error),
    }
}

fn no_memory(threads: u32) -> Failure {
    Failure::failed(format_args!(
        "there is no memory for {}; {}raise the limit of memory (`ulimit -v`)",
        units::count(threads.into(), "thread"),
        fewer(threads),
    ))
}

fn fewer(threads: u32) -> &'static str {
    if threads > 1 { "give fewer --threads, or " } else { "" }
}

/// Whether the system has no thread, or no memory for its stack.
fn is_shortage(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::OutOfMemory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shortage_names_options_that_there_are() {
        let line = |error, threads| explain(error, threads).line();
        let worker = |kind: io::ErrorKind| Error::Worker { worker: 3, source: kind.into() };
        let many = line(worker(io::ErrorKind::WouldBlock), 64);
        assert!(many.starts_with("error: cannot start 64 threads: ") && many.contains("--threads"), "{many}");
        assert!(many.contains("`ulimit -u`") && many.contains("`ulimit -v`"), "{many}");
        let monitor = line(Error::Monitor { source: io::ErrorKind::WouldBlock.into() }, 64);
        assert!(monitor.contains("give fewer --threads") && monitor.contains("`ulimit -u`"), "{monitor}");
        let one = line(worker(io::ErrorKind::WouldBlock), 1);
        assert!(one.contains("cannot start 1 thread: ") && !one.contains("--threads"), "{one}");
        let pool = Error::Config { setting: "the pool", problem: "give fewer or smaller blocks".to_owned() };
        let pool = line(pool, 16);
        assert!(pool.contains("give fewer --threads") && !pool.contains("blocks"), "{pool}");
        let plan = |threads| Plan { threads, ..crate::load::samples::plan() };
        assert!(check_memory(&plan(4)).is_ok());
        // Anything else is as the library says it.
        let other = line(worker(io::ErrorKind::Other), 2);
        assert!(other.starts_with("error: worker 3 stopped: "), "{other}");
    }
}
