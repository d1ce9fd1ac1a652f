//! Programs and probes on chosen processors, at the highest priority that is permitted.
//!
//! A program inherits processors and priority from the thread that starts it. So a thread of its own takes them and starts
//! the program: nothing has to be done between fork and exec.
//!
//! Linux divides processors among *sessions* first (`sched_autogroup_enabled`, sched(7)): a priority counts within a session
//! only. So each program gets a session of its own, with a priority for it.

use std::fs;
use std::io;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setpriority_process, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use super::system;

const PRIORITY: i32 = -20;
/// From the start of a program to its session.
const SESSION: Duration = Duration::from_secs(5);

/// A program with these words, to be given to [`spawn`]. It begins a session of its own: Ctrl-C reaches this chore alone,
/// which ends what it has started and reports what it has.
pub(super) fn command(program: impl AsRef<Path>) -> Command {
    let mut command = Command::new("setsid");
    command.arg(program.as_ref()).stdin(Stdio::null());
    command
}

/// Starts a program on these processors.
pub(super) fn spawn(processors: &[usize], command: &mut Command) -> io::Result<Child> {
    let child = on(processors, || command.spawn())??;
    raise_session(child.id());
    Ok(child)
}

/// Gives the session of a program its priority, as soon as it has one.
fn raise_session(pid: u32) {
    let file = format!("/proc/{pid}/autogroup");
    let deadline = Instant::now() + SESSION;
    while system::session_of(pid).is_some_and(|session| session != pid) && Instant::now() < deadline {
        thread::sleep(Duration::from_micros(200));
    }
    // Before it has its own, it would be that of this chore.
    if system::session_of(pid) == Some(pid) {
        let _ = fs::write(file, PRIORITY.to_string());
    }
}

/// Calls `work` in a thread that runs on these processors.
pub(super) fn on<T: Send>(processors: &[usize], work: impl FnOnce() -> T + Send) -> io::Result<T> {
    let placed = || {
        let mut set = CpuSet::new();
        processors.iter().for_each(|processor| set.set(*processor));
        sched_setaffinity(None, &set)?;
        // Not permitted to everybody: the report says whether it was.
        let _ = setpriority_process(None, PRIORITY);
        Ok(work())
    };
    thread::scope(|scope| scope.spawn(placed).join().expect("a placed thread does not panic"))
}

/// Whether programs get a priority above the others.
pub(super) fn may_raise_priority() -> bool {
    thread::spawn(|| setpriority_process(None, PRIORITY).is_ok()).join().unwrap_or(false)
}

/// The processors that this process may use.
pub(super) fn allowed() -> Vec<usize> {
    let set = sched_getaffinity(None).unwrap_or_default();
    (0..CpuSet::MAX_CPU).filter(|processor| set.is_set(*processor)).collect()
}

/// Two processors, of different cores where there are any: for the server and for the generator.
pub(super) fn apart() -> (usize, usize) {
    let all = allowed();
    let first = all.first().copied().unwrap_or(0);
    let siblings = format!("/sys/devices/system/cpu/cpu{first}/topology/thread_siblings_list");
    (first, other_than(first, &all, &numbers_in(&system::read(siblings))))
}

/// The first one of another core, else the first other one, else the same.
fn other_than(first: usize, all: &[usize], siblings: &[usize]) -> usize {
    let others = || all.iter().copied().filter(|other| *other != first);
    others().find(|other| !siblings.contains(other)).or_else(|| others().next()).unwrap_or(first)
}

/// `0,4-6`
fn numbers_in(list: &str) -> Vec<usize> {
    let range = |part: &str| {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        Some(from.parse::<usize>().ok()?..=to.parse().ok()?)
    };
    list.trim().split(',').filter_map(range).flatten().collect()
}

/// Raises the limit of descriptors to what is permitted, for this process and those that it starts. Returns it.
pub(super) fn raise_descriptor_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let reached = if setrlimit(Resource::Nofile, raised).is_ok() { limit.maximum } else { limit.current };
    reached.unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_and_generator_are_on_different_cores() {
        assert_eq!(numbers_in("0,4-6\n"), [0, 4, 5, 6]);
        assert_eq!(other_than(0, &[0, 1, 2, 3], &[0, 1]), 2);
        assert_eq!(other_than(0, &[0, 1], &[0, 1]), 1);
        assert_eq!(other_than(0, &[0], &[]), 0);
    }

    #[test]
    fn a_program_runs_where_it_was_put() {
        let last = *allowed().last().expect("a processor");
        let mut command = command("grep");
        command.args(["Cpus_allowed_list", "/proc/self/status"]).stdout(Stdio::piped());
        let child = spawn(&[last], &mut command).unwrap();
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(text.split_whitespace().last(), Some(last.to_string().as_str()));
        // This thread stays where it was.
        assert!(allowed().contains(&last));
    }
}
