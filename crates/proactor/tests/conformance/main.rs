//! The conformance suite: one set of cases, run against every backend through the driver.
//!
//! A case is a function over a [`Kernel`](kernel::Kernel); the list at the end of this file makes a test of each case
//! in each kernel: `io_uring::close::half_close_both_ways`. Both endpoints of a case are drivers, turned by one
//! thread, so that the case also runs on the simulated kernel, with many behaviours and seeds. Every case ends in
//! [`Fixture::finish`](fixture::Fixture::finish), which checks that nothing is left; every backend is observed by
//! [`Watched`](watched::Watched), which checks the rules of the `Backend` trait call by call.

// Nothing is exported from a test binary: `pub` marks what the other modules use.
#![allow(unreachable_pub)]

mod cases;
mod endpoint;
mod fixture;
mod kernel;
mod properties;
mod watched;
mod wine;

/// Makes the tests of one kernel.
macro_rules! tests {
    ($kernel:ty => $($group:ident: $($case:ident)*;)*) => {
        $($(
            #[test]
            fn $case() {
                <$kernel as crate::kernel::Kernel>::each(crate::cases::$group::$case);
            }
        )*)*
    };
}

/// Every case, for one kernel.
macro_rules! all_cases {
    ($kernel:ty) => {
        tests! { $kernel =>
            accept:
                one_connection
                several_connections
                connect_refused
                connecting_to_any_is_connecting_to_loopback
                a_closed_listener_gives_its_port_back
                a_closed_listener_keeps_what_it_accepted
                a_paused_listener_accepts_nothing_and_loses_nothing
                pausing_and_resuming_accepts_in_a_row
                closing_a_listener_races_with_a_connection
                cancelling_a_connect
                a_connect_from_a_local_address
                a_connect_from_an_address_that_is_not_here
                a_connect_that_meets_itself;
            data:
                a_few_bytes_each_way
                many_messages_in_order
                large_transfer_to_a_slow_reader
                a_gathered_send
                a_gathered_send_that_is_aborted
                a_burst_of_submissions
                a_burst_that_is_submitted_in_parts;
            fairness:
                a_large_payload_takes_a_part_of_each_turn
                a_large_gathered_send_takes_a_part_of_each_turn
                aborted_between_two_parts
                closed_between_two_parts
                dropped_between_two_parts;
            receive:
                nothing_before_it_is_asked_for
                a_pause_holds_back_and_loses_nothing
                an_end_during_a_pause_is_not_lost
                pausing_and_resuming_in_a_row
                pausing_while_an_event_is_handled
                a_cancel_that_loses_the_race
                a_cancel_that_meets_the_end;
            watching:
                a_reset_is_heard_at_once
                a_reset_before_the_watch_is_heard
                a_reset_after_the_end_is_heard
                an_end_with_nothing_before_it_is_heard
                an_end_waits_behind_its_bytes
                an_end_of_both_directions_is_no_reset
                a_reset_that_meets_the_receive_too
                a_reset_with_a_send_in_flight
                a_watch_is_one_operation
                pausing_watching_and_receiving_in_a_row
                closing_with_a_watch_in_flight
                dropped_with_watches_in_flight
                a_watch_that_fails
                a_watch_waits_for_memory;
            progress:
                caught_up_when_nothing_arrives
                an_interrupted_wait_is_no_look
                nothing_is_left_over_when_caught_up
                a_stream_longer_than_a_turn
                receives_that_wait_for_blocks
                what_the_peer_takes;
            close:
                half_close_both_ways
                an_end_while_a_send_waits
                an_end_is_not_a_failure
                a_reset_is_not_an_end
                a_reset_with_a_send_in_flight_is_not_an_end
                a_local_close_is_only_a_release
                a_released_connection_is_closed
                a_refused_connection_is_closed
                closing_with_a_send_in_flight_sends_all_of_it
                aborting_with_a_send_in_flight
                aborting_a_send_just_submitted
                a_reused_slot_gets_no_bytes_of_another_connection
                sending_to_a_peer_that_is_gone_fails;
            ending:
                dropped_with_everything_in_flight
                dropped_with_completions_not_taken
                dropped_with_nothing_in_flight
                what_cannot_be_reaped_is_leaked
                leases_outlive_their_driver;
            pool:
                blocks_are_handed_on_in_line
                leaving_the_line
                idle_connections_cost_no_blocks
                silence_is_not_starvation
                the_last_block_starves_nobody
                silent_without_a_block
                pausing_as_bytes_arrive_without_a_block
                an_end_without_a_block
                newcomers_do_not_pass_the_line
                streams_without_end_take_turns
                who_leaves_with_a_block_passes_it_on
                a_tiny_pool_serves_many;
            refusing:
                who_has_spoken_reads_an_end
                a_last_word_comes_before_the_end
                a_last_word_is_not_waited_for_without_end
                a_last_word_goes_out_where_no_socket_is_kept
                who_goes_on_speaking_reads_an_end
                who_never_stops_is_closed
                who_is_gone_is_closed_at_once
                a_crowd_keeps_a_bounded_number_of_sockets
                a_lower_limit_holds_at_once
                all_that_has_arrived_is_discarded
                a_failed_adoption_is_no_reset
                their_descriptors_are_no_shortage
                dropped_while_some_are_turned_away;
            wake:
                each_wake_ends_a_wait
                a_wake_before_the_wait_is_not_lost
                many_wakes_become_few
                no_wake_of_many_threads_is_lost
                a_waker_may_outlive_its_driver
                an_idle_wait_lasts_as_long_as_asked
                a_wait_of_part_of_a_millisecond_sleeps;
            faults:
                a_failed_accept_pauses
                an_accept_whose_peer_is_gone_is_repeated
                a_listener_that_cannot_accept_pauses
                accepts_that_fail_without_an_end_pause
                a_failed_connect
                a_failed_receive
                a_failed_send
                a_continuation_that_fails
                a_failed_adoption;
            shortage:
                a_receive_waits_and_loses_nothing
                a_send_waits_and_keeps_its_place
                the_rest_of_a_send_waits
                closing_while_something_waits
                pausing_while_a_receive_waits
                dropped_while_something_waits;
        }
    };
}

/// Cases against plain sockets, for the kernels that have them.
macro_rules! real_cases {
    ($kernel:ty) => {
        tests! { $kernel =>
            progress:
                more_connections_than_one_call_takes
                more_completions_than_a_queue_takes;
            plain_sockets:
                a_client_gets_its_echo_and_the_end
                a_client_that_resets
                a_client_tells_close_from_abort
                connecting_to_a_server
                an_opened_connection_sends_at_once
                a_listener_that_is_made_here_sends_at_once
                a_listener_from_elsewhere_sends_at_once;
            refusing:
                a_plain_client_reads_an_end
                who_has_sent_megabytes_reads_an_end
                several_that_have_sent_megabytes_read_an_end
                much_is_discarded_without_a_driver;
            urgent:
                urgent_data_on_an_accepted_connection
                urgent_data_on_an_opened_connection
                urgent_data_by_a_listener_from_elsewhere;
            schedule:
                some_schedules;
        }
    };
}

/// Cases for Unix only.
#[cfg(unix)]
macro_rules! unix_cases {
    ($kernel:ty) => {
        tests! { $kernel =>
            urgent:
                urgent_data_while_signals_come;
        }
    };
}

#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
mod io_uring {
    all_cases!(crate::kernel::RealKernel<proactor::backend::io_uring::IoUring>);
    real_cases!(crate::kernel::RealKernel<proactor::backend::io_uring::IoUring>);
    unix_cases!(crate::kernel::RealKernel<proactor::backend::io_uring::IoUring>);
}

#[cfg(windows)]
mod iocp {
    all_cases!(crate::kernel::RealKernel<proactor::backend::iocp::Iocp>);
    real_cases!(crate::kernel::RealKernel<proactor::backend::iocp::Iocp>);
}

#[cfg(unix)]
mod readiness {
    all_cases!(crate::kernel::RealKernel<proactor::backend::readiness::Readiness>);
    real_cases!(crate::kernel::RealKernel<proactor::backend::readiness::Readiness>);
    unix_cases!(crate::kernel::RealKernel<proactor::backend::readiness::Readiness>);
}

mod simulated {
    all_cases!(crate::kernel::SimulatedKernel);
}
