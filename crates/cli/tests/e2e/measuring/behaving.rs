//! Connections that misbehave: a correct server is no error, however they behave; a server that breaks its promise is.

use std::net::SocketAddr;
use std::thread;
#[cfg(unix)]
use std::time::{Duration, Instant};

use overlapped_testing::{Fault, FaultyServer, Place, Which};

use super::{Errors, Report, measure_until};
#[cfg(unix)]
use crate::server::Server;

/// How connections behave, and whether they are opened again and again.
const BEHAVIOURS: [(&[&str], bool); 7] = [
    (&["normal"], false),
    (&["churn"], true),
    (&["half-close"], true),
    (&["slow-reader"], false),
    (&["reset"], true),
    (&["reset=60"], true),
    (&["normal", "churn", "half-close", "slow-reader", "reset=5"], true),
];

fn run(
    backend: &str,
    address: SocketAddr,
    behave: &[&str],
    more: &[&str],
    is_enough: impl Fn() -> bool,
) -> Report {
    let behave = behave.iter().flat_map(|behaviour| ["--behave", behaviour]);
    let args = ["--connections", "10"].into_iter().chain(behave).chain(more.iter().copied());
    measure_until(backend, address, &args.collect::<Vec<_>>(), is_enough)
}

/// How many bytes must be echoed until connections have behaved so. A slow reader has 4 MiB unread at a time, without a
/// schedule: what is echoed beyond that for each was read.
fn enough(behave: &[&str], more: &[&str]) -> u64 {
    if behave == ["slow-reader"] && !more.contains(&"--rate") { 41 << 20 } else { 500 << 10 }
}

/// The server is plain, or the real one.
pub(crate) fn kept_promises(backend: &str) {
    let sizes: [&[&str]; 3] =
        [&[], &["--size", "100000", "--pipeline", "4"], &["--rate", "500", "--size", "1KiB"]];
    let sizes = if backend == "iocp" { &sizes[..1] } else { &sizes };
    thread::scope(|scope| {
        for (behave, opens_again) in BEHAVIOURS {
            scope.spawn(move || {
                for size in sizes {
                    let server = FaultyServer::correct();
                    let bytes = enough(behave, size);
                    let is_enough =
                        || server.echoed() > bytes && (!opens_again || server.record().accepted > 20);
                    let report = run(backend, server.address(), behave, size, is_enough);
                    report.has(Errors::default());
                    let (opened, accepted) = (report.count("connections/opened"), server.record().accepted);
                    // The last ones may have been accepted after the end. Under Wine (and on Windows), what was reset
                    // before it was accepted is never seen by the server.
                    let least = accepted.saturating_sub(10);
                    let agree = opened >= least && (opened <= accepted || backend == "iocp" && opens_again);
                    assert!(
                        agree && (opened > 10) == opens_again,
                        "{accepted}: {behave:?} {size:?}: {report:?}"
                    );
                    assert!(report.count("messages") > 0, "{behave:?} {size:?}: {report:?}");
                }
                #[cfg(unix)]
                {
                    let server = Server::start(backend, &[]);
                    let bytes = enough(behave, &[]);
                    // The server for Windows has no counters to ask for: some of a second is enough then.
                    let start = Instant::now();
                    let is_enough = || match server.counters() {
                        Some(now) => now.echoed > bytes && (!opens_again || now.opened > 20),
                        None => start.elapsed() > Duration::from_secs(1),
                    };
                    let report = run("auto", server.address(), behave, &[], is_enough);
                    report.has(Errors::default());
                    let summary = server.end_well();
                    assert!(summary.sessions >= 10, "{behave:?}: {summary:?} {report:?}");
                }
            });
        }
    });
}

/// What a server owes to a client that has ended its stream.
pub(crate) fn broken_promises(backend: &str) {
    let on_half_close = |fault| FaultyServer::start(&[(Place::HalfClose(Which::All), fault)]);
    // What came last is not echoed: either bytes of a message are missing, or whole messages are.
    let server = on_half_close(Fault::Drop(0));
    let is_enough = || server.record().unfinished.len() >= 5;
    let report = run(backend, server.address(), &["half-close"], &[], is_enough);
    let Errors { failed, reset, timeouts, mismatches } = report.errors();
    let wrong = server.record().unfinished.len() as u64;
    assert_eq!((failed, reset + mismatches, timeouts), (0, wrong, 0), "{report:?}");
    assert_eq!((report.count("errors"), report.status), (wrong, Some(1)), "{report:?}");
    // A reset in place of the end.
    let server = on_half_close(Fault::Reset);
    let report = run(backend, server.address(), &["half-close"], &[], || server.record().broken > 20);
    let broken = server.record().broken;
    let reset = report.count("connections/reset");
    report.has(Errors { reset, ..Errors::default() });
    // The run does not wait for the last ones.
    assert!((broken - 10..=broken).contains(&reset), "{broken}: {report:?}");
    // No end at all.
    let server = on_half_close(Fault::Mute);
    let is_enough = || server.record().accepted >= 20;
    let report = run(backend, server.address(), &["half-close"], &["--reply-timeout", "300ms"], is_enough);
    let Errors { failed, reset, timeouts, mismatches } = report.errors();
    assert_eq!((failed, reset, mismatches), (0, 0, 0), "{report:?}");
    assert!(timeouts >= 10 && report.status == Some(1), "{report:?}");
}
