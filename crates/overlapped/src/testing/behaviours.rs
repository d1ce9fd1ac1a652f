//! The kernels that a test runs over.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

pub use proactor::backend::simulated::Behaviour;

/// Kernels of every kind: with much and little room for bytes, that cut sends and receives or not, that complete
/// operations at once or later; each with a seed of its own.
pub fn behaviours() -> impl Iterator<Item = Behaviour> {
    (0..24u64).map(|seed| Behaviour {
        seed,
        capacity: [300, 5_000, 64 * 1024][seed as usize % 3],
        cuts: seed % 4 != 3,
        multishot: seed % 2 == 0,
        inline: seed % 5 < 2,
    })
}

/// Runs a test over each of the [`behaviours`]. If it fails, the behaviour is printed: a run with that one alone
/// fails the same way.
///
/// ```
/// # use overlapped::{Handler, Lease, Session, testing};
/// # struct Echo;
/// # impl Handler for Echo {
/// #     type State = ();
/// #     type Message = ();
/// #     fn on_open(&mut self, _session: &mut Session<'_>) {}
/// #     fn on_data(&mut self, session: &mut Session<'_>, _state: &mut (), data: Lease) {
/// #         session.send(data);
/// #     }
/// # }
/// testing::for_each_behaviour(|behaviour| {
///     let mut world = testing::World::start_on(behaviour, testing::server(), |_worker| Echo);
///     let mut client = world.connect();
///     client.send([7; 100_000]);
///     world.settle();
///     assert_eq!(client.received(), [7; 100_000]);
/// });
/// ```
pub fn for_each_behaviour(mut test: impl FnMut(Behaviour)) {
    for behaviour in behaviours() {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| test(behaviour))) {
            eprintln!("the test failed with {behaviour:?}");
            resume_unwind(panic);
        }
    }
}
