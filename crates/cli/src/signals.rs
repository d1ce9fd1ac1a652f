//! SIGTERM and SIGINT, or their kin on Windows: the first asks for a drain, the second ends at once. SIGUSR1 asks how
//! things stand, as with `dd`.

use std::io;
use std::time::Duration;

/// Calls `first` at the first request to end, with the time that the system leaves for it. At the second it calls `second` and exits with status 1. Calls `now` at
/// each request for the counters. Both threads sleep until a signal comes.
#[cfg(unix)]
pub(crate) fn watch(
    first: impl FnOnce(Duration) + Send + 'static,
    second: impl Fn() + Send + 'static,
    now: impl Fn() + Send + 'static,
) -> io::Result<()> {
    use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGUSR1])?;
    let asked = answer_apart(now)?;
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        let mut first = Some(first);
        for signal in signals.forever() {
            if signal == SIGUSR1 {
                // One that waits already will tell what is true by then.
                let _ = asked.try_send(());
                continue;
            }
            match first.take() {
                Some(first) => first(Duration::MAX),
                None => {
                    second();
                    std::process::exit(1);
                }
            }
        }
    })?;
    Ok(())
}

/// Answers on a thread of its own: whoever reads stderr may be slow, and a request to end must not wait for that.
#[cfg(unix)]
fn answer_apart(now: impl Fn() + Send + 'static) -> io::Result<std::sync::mpsc::SyncSender<()>> {
    let (ask, asked) = std::sync::mpsc::sync_channel(1);
    std::thread::Builder::new().name("counters".into()).spawn(move || asked.iter().for_each(|()| now()))?;
    Ok(ask)
}

/// Calls `first` at the first Ctrl-C, Ctrl-Break, console close or shutdown, with the time that the system leaves for
/// it. At the second it calls `second` and exits with status 1. Windows has no request for the counters.
#[cfg(windows)]
pub(crate) fn watch(
    first: impl FnOnce(Duration) + Send + 'static,
    second: impl Fn() + Send + Sync + 'static,
    _now: impl Fn() + Send + 'static,
) -> io::Result<()> {
    let first = std::sync::Mutex::new(Some(first));
    proactor::console::watch(move |event| {
        let first = first.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        match first {
            Some(first) => first(event.time_left().unwrap_or(Duration::MAX)),
            None => {
                second();
                std::process::exit(1);
            }
        }
    })
}
