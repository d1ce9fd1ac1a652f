//! SIGTERM, SIGINT and SIGHUP, or their kin on Windows: the first asks for a drain, one that comes half a second or more
//! later ends at once. SIGUSR1 asks how things stand, as with `dd`.

use std::io;
use std::time::{Duration, Instant};

/// Requests to end that come within this time of the first are one: `timeout` signals its child and then the group that
/// the child is in, a terminal that is closed sends SIGHUP and its shell SIGTERM.
const ONE_REQUEST: Duration = Duration::from_millis(500);

/// Requests to end, as they come.
#[derive(Debug, Default)]
struct Requests {
    first_at: Option<Instant>,
}

/// What a request to end means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Request {
    /// The first: drain.
    Drain,
    /// The first once more.
    Repeated,
    /// Somebody does not want to wait.
    EndAtOnce,
}

impl Requests {
    fn heard(&mut self, now: Instant) -> Request {
        match self.first_at {
            None => {
                self.first_at = Some(now);
                Request::Drain
            }
            Some(first) if now.saturating_duration_since(first) < ONE_REQUEST => Request::Repeated,
            Some(_) => Request::EndAtOnce,
        }
    }
}

/// Calls `drain` at the first request to end, with the time that the system leaves for it. At one that comes
/// [`ONE_REQUEST`] later or more it calls `at_once` and exits with status 1. Calls `now` at each request for the
/// counters. None of them may block; the thread that calls them sleeps until a signal comes.
///
/// SIGHUP that is ignored stays ignored: somebody wants the server to outlive its terminal (`nohup`).
#[cfg(unix)]
pub(crate) fn watch(
    drain: impl FnOnce(Duration) + Send + 'static,
    at_once: impl Fn() + Send + 'static,
    now: impl Fn() + Send + 'static,
) -> io::Result<()> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
    let hangup = (!proactor::os::ignores_signal(SIGHUP)).then_some(SIGHUP);
    let mut signals =
        signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGUSR1].into_iter().chain(hangup))?;
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        let (mut drain, mut requests) = (Some(drain), Requests::default());
        for signal in signals.forever() {
            if signal == SIGUSR1 {
                now();
                continue;
            }
            match requests.heard(Instant::now()) {
                Request::Drain => drain.take().into_iter().for_each(|drain| drain(Duration::MAX)),
                Request::Repeated => {}
                Request::EndAtOnce => {
                    at_once();
                    std::process::exit(1);
                }
            }
        }
    })?;
    Ok(())
}

/// Calls `drain` at the first Ctrl-C, Ctrl-Break, console close or shutdown, with the time that the system leaves for
/// it. At one that comes [`ONE_REQUEST`] later or more it calls `at_once` and exits with status 1. Windows has no
/// request for the counters.
#[cfg(windows)]
pub(crate) fn watch(
    drain: impl FnOnce(Duration) + Send + 'static,
    at_once: impl Fn() + Send + Sync + 'static,
    _now: impl Fn() + Send + 'static,
) -> io::Result<()> {
    let state = std::sync::Mutex::new((Some(drain), Requests::default()));
    proactor::console::watch(move |event| {
        let mut state = state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let request = state.1.heard(Instant::now());
        let drain = state.0.take_if(|_| request == Request::Drain);
        drop(state);
        if let Some(drain) = drain {
            drain(event.time_left().unwrap_or(Duration::MAX));
        }
        if request == Request::EndAtOnce {
            at_once();
            std::process::exit(1);
        }
    })
}

/// Has a write beyond the limit for the size of a file (`ulimit -f`, `LimitFSIZE=`) fail like any other write, with
/// `EFBIG`. By default SIGXFSZ ends the process.
pub(crate) fn outlive_file_size_limit() {
    #[cfg(unix)]
    {
        let caught = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        // It fails for signals that cannot be caught only; this one can.
        let _ = signal_hook::flag::register(signal_hook::consts::SIGXFSZ, caught);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_within_half_a_second_of_the_first_are_one() {
        let (mut requests, start) = (Requests::default(), Instant::now());
        let mut at = |ms| requests.heard(start + Duration::from_millis(ms));
        assert_eq!(at(0), Request::Drain);
        assert_eq!(at(0), Request::Repeated);
        assert_eq!(at(300), Request::Repeated);
        assert_eq!(at(499), Request::Repeated, "counted from the first, not from the last");
        assert_eq!(at(500), Request::EndAtOnce);
        assert_eq!(at(700), Request::EndAtOnce);
    }

    #[test]
    fn a_clock_that_stands_still_repeats() {
        let (mut requests, start) = (Requests::default(), Instant::now());
        assert_eq!(requests.heard(start + Duration::from_secs(1)), Request::Drain);
        assert_eq!(requests.heard(start), Request::Repeated);
    }
}
