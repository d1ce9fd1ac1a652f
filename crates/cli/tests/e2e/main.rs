//! The real binary from outside: started on a free port of loopback, driven with plain sockets, through each
//! backend of this system.
//!
//! Where rings may not be made, as in a container, the cases of io_uring fail and say so: a run that leaves them
//! out without being told to would prove less than it seems to. `OVERLAPPED_TEST_WITHOUT_IO_URING=1` tells it to;
//! then each prints that it was left out.
#![forbid(unsafe_code)]
#![cfg_attr(windows, allow(dead_code, reason = "what only the cases with signals and `/proc` use"))]

#[cfg(unix)]
mod accepting;
#[cfg(target_os = "linux")]
mod chaos;
mod client;
#[cfg(unix)]
mod counters;
mod doctor;
#[cfg(unix)]
mod drain;
#[cfg(target_os = "linux")]
mod fallback;
#[cfg(target_os = "linux")]
mod load;
#[cfg(unix)]
mod operations;
mod peer;
mod server;
mod sessions;
#[cfg(target_os = "linux")]
mod system;
#[cfg(unix)]
mod terminal;
mod timeouts;
mod usage;

/// Each case once per backend, by the name `backend::case`.
macro_rules! cases {
    ($($(#[$on:meta])* $module:ident::$case:ident,)*) => {
        #[cfg(target_os = "linux")]
        mod io_uring {
            $($(#[$on])* #[test] fn $case() {
                if crate::rings_can_be_made() {
                    crate::$module::$case("io_uring");
                }
            })*
        }

        #[cfg(unix)]
        mod readiness {
            $($(#[$on])* #[test] fn $case() {
                crate::$module::$case("readiness");
            })*
        }

        #[cfg(windows)]
        mod iocp {
            $($(#[$on])* #[test] fn $case() {
                crate::$module::$case("iocp");
            })*
        }
    };
}

cases! {
    sessions::a_thousand_sessions,
    sessions::half_close_tail,
    sessions::several_addresses,
    sessions::ipv6,
    #[cfg(target_os = "linux")] load::slow_readers,
    #[cfg(target_os = "linux")] load::resets,
    #[cfg(target_os = "linux")] load::idle_sessions_wake_nobody,
    #[cfg(target_os = "linux")] chaos::chaos_leaves_nothing_behind,
    #[cfg(target_os = "linux")] drain::sigterm_loses_nothing,
    #[cfg(unix)] drain::sigterm_while_clients_write,
    #[cfg(unix)] drain::sigterm_between_messages,
    #[cfg(unix)] drain::deadline_cuts,
    #[cfg(unix)] drain::second_signal_ends_at_once,
    #[cfg(unix)] drain::interrupt_drains,
    #[cfg(unix)] accepting::session_limit,
    #[cfg(target_os = "linux")] accepting::sixteen_descriptors,
    #[cfg(target_os = "linux")] accepting::thirty_two_descriptors,
    #[cfg(unix)] accepting::stdout_without_reader,
    #[cfg(target_os = "linux")] accepting::stdout_closed,
    #[cfg(unix)] operations::log_ops,
    #[cfg(unix)] operations::trace_file,
    #[cfg(target_os = "linux")] operations::trace_without_room,
    #[cfg(target_os = "linux")] operations::busy_poll,
    #[cfg(unix)] counters::asked_by_signal,
    timeouts::idle,
    timeouts::first_byte,
    timeouts::write,
}

/// Whether the cases of io_uring can run. If not, fails, unless told to leave them out.
#[cfg(target_os = "linux")]
fn rings_can_be_made() -> bool {
    const LEAVE_OUT: &str = "OVERLAPPED_TEST_WITHOUT_IO_URING";
    match server::Server::launch(server::serve("io_uring", &["--workers", "1"])) {
        Ok(_) => true,
        Err(ended) if std::env::var(LEAVE_OUT).is_ok_and(|value| value == "1") => {
            eprintln!("left out, because {LEAVE_OUT} is 1: {}", ended.stderr.trim_end());
            false
        }
        Err(ended) => panic!(
            "no ring can be made here: {}\nallow it, or set {LEAVE_OUT}=1 to leave these cases out",
            ended.stderr.trim_end()
        ),
    }
}
