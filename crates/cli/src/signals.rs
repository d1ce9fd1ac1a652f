//! SIGTERM and SIGINT, or their kin on Windows: the first asks for a drain, the second ends at once.

use std::io;

/// Calls `first` at the first request to end. At the second it calls `second` and exits with status 1.
#[cfg(unix)]
pub(crate) fn on_request_to_end(
    first: impl FnOnce() + Send + 'static,
    second: impl Fn() + Send + 'static,
) -> io::Result<()> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM])?;
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        let mut first = Some(first);
        for _ in signals.forever() {
            match first.take() {
                Some(first) => first(),
                None => {
                    second();
                    std::process::exit(1);
                }
            }
        }
    })?;
    Ok(())
}

/// Calls `first` at the first Ctrl-C, Ctrl-Break, console close or shutdown. At the second it calls
/// `second` and exits with status 1.
#[cfg(windows)]
pub(crate) fn on_request_to_end(
    first: impl FnOnce() + Send + 'static,
    second: impl Fn() + Send + 'static,
) -> io::Result<()> {
    let mut first = Some(first);
    let handler = move || match first.take() {
        Some(first) => first(),
        None => {
            second();
            std::process::exit(1);
        }
    };
    ctrlc::set_handler(handler).map_err(io::Error::other)
}
