//! The real binary from outside: started on a free port of loopback, driven with plain sockets, through each
//! backend of this system.
//!
//! Where rings may not be made, as in a container, the cases of io_uring fail and say so: a run that leaves them
//! out without being told to would prove less than it seems to. `OVERLAPPED_TEST_WITHOUT_IO_URING=1` tells it to;
//! then each prints that it was left out.
#![forbid(unsafe_code)]
#![cfg_attr(
    not(target_os = "linux"),
    allow(dead_code, reason = "what only the cases with signals and `/proc` use")
)]

#[cfg(unix)]
mod accepting;
#[cfg(target_os = "linux")]
mod chaos;
mod client;
#[cfg(target_os = "linux")]
mod connecting;
#[cfg(windows)]
mod console;
#[cfg(unix)]
mod counters;
#[cfg(target_os = "linux")]
mod disk;
mod doctor;
#[cfg(unix)]
mod drain;
#[cfg(target_os = "linux")]
mod fallback;
mod generate;
#[cfg(target_os = "linux")]
mod jobs;
#[cfg(target_os = "linux")]
mod leaving;
#[cfg(unix)]
mod lines;
#[cfg(target_os = "linux")]
mod load;
mod measuring;
#[cfg(target_os = "linux")]
mod names;
#[cfg(target_os = "linux")]
mod namespace;
#[cfg(unix)]
mod operations;
#[cfg(target_os = "linux")]
mod options;
mod peer;
#[cfg(unix)]
mod person;
mod pitfalls;
mod process;
#[cfg(unix)]
mod readers;
mod refusing;
#[cfg(target_os = "linux")]
mod restart;
mod server;
mod sessions;
#[cfg(unix)]
mod signals;
#[cfg(target_os = "linux")]
mod stopping;
#[cfg(target_os = "linux")]
mod stuck_terminal;
#[cfg(target_os = "linux")]
mod supervised;
#[cfg(target_os = "linux")]
mod system;
#[cfg(unix)]
mod terminal;
mod timeouts;
#[cfg(target_os = "linux")]
mod urgent;
mod usage;
#[cfg(unix)]
mod watching;
#[cfg(unix)]
mod width;

// Their cases are in the table below.
#[cfg(unix)]
use measuring::ending;
#[cfg(target_os = "linux")]
use measuring::limits;
use measuring::{behaving, broken, bytes, extremes, late};

/// Each case once per backend, by the name `backend::case`. Those of `here` need what only this system has: limits of
/// a shell, other signals.
macro_rules! cases {
    (
        everywhere { $($(#[$on:meta])* $module:ident::$case:ident,)* }
        here { $($(#[$on_here:meta])* $module_here:ident::$case_here:ident,)* }
    ) => {
        #[cfg(target_os = "linux")]
        mod io_uring {
            $($(#[$on])* #[test] fn $case() {
                if crate::rings_can_be_made() {
                    crate::$module::$case("io_uring");
                }
            })*
            $($(#[$on_here])* #[test] fn $case_here() {
                if crate::rings_can_be_made() {
                    crate::$module_here::$case_here("io_uring");
                }
            })*
        }

        /// The program for Windows, under Wine, with clients on Linux.
        #[cfg(target_os = "linux")]
        mod wine {
            $($(#[$on])* #[test] #[ignore = "run by `cargo xtask windows`"] fn $case() {
                crate::$module::$case("iocp");
            })*
        }

        #[cfg(unix)]
        mod readiness {
            $($(#[$on])* #[test] fn $case() {
                crate::$module::$case("readiness");
            })*
            $($(#[$on_here])* #[test] fn $case_here() {
                crate::$module_here::$case_here("readiness");
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
    everywhere {
        sessions::a_thousand_sessions,
        sessions::half_close_tail,
        sessions::several_addresses,
        sessions::ipv6,
        #[cfg(target_os = "linux")] load::slow_readers,
        #[cfg(target_os = "linux")] load::resets,
        #[cfg(target_os = "linux")] load::idle_sessions_wake_nobody,
        #[cfg(target_os = "linux")] drain::sigterm_loses_nothing,
        #[cfg(unix)] drain::sigterm_while_clients_write,
        #[cfg(unix)] drain::sigterm_between_messages,
        #[cfg(unix)] drain::deadline_cuts,
        #[cfg(unix)] drain::second_signal_ends_at_once,
        #[cfg(unix)] drain::interrupt_drains,
        #[cfg(unix)] accepting::session_limit,
        #[cfg(unix)] accepting::stdout_without_reader,
        #[cfg(unix)] operations::log_ops,
        #[cfg(unix)] operations::trace_file,
        #[cfg(target_os = "linux")] operations::busy_poll,
        pitfalls::every_pitfall_breaks_and_is_repaired,
        pitfalls::a_broken_repair_is_noticed,
        timeouts::idle,
        timeouts::first_byte,
        timeouts::write,
        refusing::speakers_beyond_the_limit,
        refusing::speakers_beyond_the_limit_per_address,
        #[cfg(target_os = "linux")] chaos::chaos_leaves_nothing_behind,
        bytes::a_flipped_byte,
        bytes::one_byte_in_a_million,
        bytes::a_dropped_tail,
        broken::reset_in_the_middle,
        broken::ended_within_a_message,
        broken::refused,
        broken::dies_and_comes_back,
        late::everything_stalls,
        extremes::unusual_loads,
        #[cfg(unix)] extremes::the_real_server,
        behaving::kept_promises,
        #[cfg(unix)] ending::interrupted,
        #[cfg(unix)] watching::numbers_and_sessions,
        #[cfg(unix)] watching::a_delay_before_the_drain,
        #[cfg(unix)] watching::ready_says_no_to_the_end,
        #[cfg(unix)] lines::text_has_time_stamps,
        #[cfg(unix)] lines::json,
    }
    here {
        #[cfg(target_os = "linux")] accepting::sixteen_descriptors,
        #[cfg(target_os = "linux")] accepting::thirty_two_descriptors,
        #[cfg(target_os = "linux")] accepting::stdout_closed,
        #[cfg(target_os = "linux")] operations::trace_without_room,
        #[cfg(target_os = "linux")] operations::nothing_is_inherited,
        #[cfg(target_os = "linux")] operations::pinned_workers,
        #[cfg(unix)] counters::asked_by_signal,
        #[cfg(target_os = "linux")] names::localhost_without_ipv6,
        #[cfg(target_os = "linux")] names::localhost_twice,
        #[cfg(target_os = "linux")] names::localhost_on_both,
        #[cfg(target_os = "linux")] names::link_local,
        #[cfg(target_os = "linux")] restart::killed_servers_give_their_port_back,
        #[cfg(unix)] drain::the_first_signal_is_answered,
        #[cfg(unix)] drain::no_time_for_a_drain,
        #[cfg(target_os = "linux")] urgent::while_stopped,
        #[cfg(target_os = "linux")] urgent::while_stopping,
        #[cfg(target_os = "linux")] urgent::in_a_drain,
        #[cfg(target_os = "linux")] refusing::two_thousand_speakers,
        #[cfg(target_os = "linux")] refusing::speakers_beyond_the_descriptors,
        #[cfg(target_os = "linux")] refusing::who_is_turned_away_is_soon_gone,
        #[cfg(target_os = "linux")] options::of_accepted_sockets,
        #[cfg(target_os = "linux")] stopping::speakers_are_not_idle,
        #[cfg(target_os = "linux")] stopping::first_bytes_are_in_time,
        #[cfg(target_os = "linux")] stopping::readers_are_not_stalled,
        #[cfg(unix)] signals::several_at_once_are_one,
        #[cfg(unix)] signals::hangup_drains,
        #[cfg(unix)] signals::ignored_hangup_stays_ignored,
        #[cfg(unix)] signals::file_size_limit,
        #[cfg(unix)] signals::trace_when_ended_at_once,
        #[cfg(unix)] readers::verbose_loses_nothing,
        #[cfg(unix)] readers::stuck_stdout,
        #[cfg(unix)] readers::stuck_stderr_that_goes_on,
        #[cfg(unix)] readers::both_stuck_second_signal,
        #[cfg(target_os = "linux")] readers::stuck_from_the_start,
        #[cfg(unix)] readers::non_blocking_stdout,
        #[cfg(unix)] readers::one_pipe_for_both,
        #[cfg(target_os = "linux")] readers::full_disk,
        #[cfg(target_os = "linux")] disk::trace_that_fills_at_the_end,
        #[cfg(unix)] readers::trace_into_a_stuck_pipe,
        bytes::swapped_connections,
        broken::one_connection_in_a_hundred,
        broken::dies_in_mid_run,
        #[cfg(target_os = "linux")] broken::server_is_killed,
        late::beyond_the_timeout,
        late::lateness_counts_from_the_schedule,
        #[cfg(target_os = "linux")] late::a_stopped_server,
        extremes::a_thousand_connections,
        behaving::broken_promises,
        #[cfg(unix)] ending::interrupted_twice,
        #[cfg(target_os = "linux")] limits::more_connections_than_ports,
        #[cfg(target_os = "linux")] limits::too_few_descriptors,
        #[cfg(target_os = "linux")] supervised::the_manager_is_told,
        #[cfg(target_os = "linux")] supervised::a_manager_that_does_not_read,
        #[cfg(target_os = "linux")] supervised::no_manager_listens,
        #[cfg(target_os = "linux")] supervised::a_given_socket,
        #[cfg(target_os = "linux")] supervised::no_listening_socket,
        #[cfg(target_os = "linux")] supervised::variables_for_somebody_else,
    }
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
