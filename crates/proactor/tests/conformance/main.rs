//! The conformance suite: one set of cases, run against every backend through the driver.
//!
//! A case is a function over a [`World`](world::World); the list at the end of this file makes a test of each
//! case in each world: `io_uring::close::half_close_both_ways`. Both ends of a case are drivers, turned by one
//! thread, so that it runs unchanged on the simulated kernel, there in many behaviours and seeds. Every case ends
//! in [`Bench::finish`](bench::Bench::finish), which checks that nothing is left; every backend is observed by
//! [`Watched`](watched::Watched), which checks the rules of the `Backend` trait call by call.

// A test binary has no outside: `pub` here says what the other modules use.
#![allow(unreachable_pub)]

mod bench;
mod cases;
mod side;
mod watched;
mod world;

/// Makes the tests of one world.
macro_rules! tests {
    ($world:ty => $($group:ident: $($case:ident)*;)*) => {
        $($(
            #[test]
            fn $case() {
                <$world as crate::world::World>::each(crate::cases::$group::$case);
            }
        )*)*
    };
}

/// Every case, for one world.
macro_rules! all_cases {
    ($world:ty) => {
        tests! { $world =>
            accept: one_connection several_connections;
            data: a_few_bytes_each_way many_messages_in_order large_transfer_to_a_slow_reader;
            close: half_close_both_ways;
        }
    };
}

#[cfg(target_os = "linux")]
mod io_uring {
    all_cases!(crate::world::Real<proactor::backend::io_uring::IoUring>);
}

#[cfg(windows)]
mod iocp {
    all_cases!(crate::world::Real<proactor::backend::iocp::Iocp>);
}

#[cfg(unix)]
mod readiness {
    all_cases!(crate::world::Real<proactor::backend::readiness::Readiness>);
}

mod simulated {
    all_cases!(crate::world::Imagined);
}
