//! Properties over many inputs, without a kernel or over the simulated one.

use std::collections::BTreeSet;

use proactor::backend::simulated::Behaviour;
use proactor::{Lease, Pool, PoolConfig};
use proptest::prelude::*;
use proptest::test_runner::Config;

use crate::cases::schedule;
use crate::endpoint::Finished;
use crate::kernel::SimulatedKernel;

/// Failing inputs are not stored beside the sources: they are printed, to be made into cases.
fn cases(cases: u32) -> Config {
    Config { cases, failure_persistence: None, ..Config::default() }
}

fn behaviours() -> impl Strategy<Value = Behaviour> {
    let capacity = prop_oneof![1_usize..64, 64_usize..4096, Just(64 * 1024)];
    let flags = (any::<bool>(), any::<bool>(), any::<bool>());
    (any::<u64>(), capacity, flags).prop_map(|(seed, capacity, (cuts, multishot, inline))| Behaviour {
        seed,
        capacity,
        cuts,
        multishot,
        inline,
    })
}

proptest! {
    #![proptest_config(cases(192))]

    #[test]
    fn any_schedule_over_any_simulated_kernel(behaviour in behaviours(), steps in schedule::schedules(120)) {
        let _: Finished = schedule::run(&SimulatedKernel::new(behaviour), &steps);
    }
}

/// An action on a pool. The number picks a lease, if there are any.
#[derive(Clone, Copy, Debug)]
enum Use {
    Take,
    Clone(usize),
    Split(usize),
    Drop(usize),
}

fn uses() -> impl Strategy<Value = Vec<Use>> {
    let one = prop_oneof![
        3 => Just(Use::Take),
        1 => any::<usize>().prop_map(Use::Clone),
        1 => any::<usize>().prop_map(Use::Split),
        3 => any::<usize>().prop_map(Use::Drop),
    ];
    prop::collection::vec(one, 1..200)
}

/// A lease and the number written into its block when it was taken.
struct Held {
    lease: Lease,
    number: u32,
}

proptest! {
    #![proptest_config(cases(256))]

    /// No block is handed out twice: each keeps the number that was written when it was taken, however many leases
    /// share it; and the counts follow the blocks that are held.
    #[test]
    fn a_pool_hands_out_each_block_once(blocks in 1_u16..20, uses in uses()) {
        let pool = Pool::new(PoolConfig { blocks, block_len: 8 });
        prop_assert!(pool.blocks() >= u32::from(blocks) && pool.blocks().is_power_of_two());
        let (mut held, mut number) = (Vec::<Held>::new(), 0_u32);
        for what in uses {
            match what {
                Use::Take => {
                    let full = pool.available() == 0;
                    let taken = pool.take();
                    prop_assert_eq!(taken.is_none(), full);
                    if let Some(mut block) = taken {
                        number += 1;
                        block.bytes_mut()[..4].copy_from_slice(&number.to_le_bytes());
                        held.push(Held { lease: block.into_lease(4), number });
                    }
                }
                Use::Clone(at) if !held.is_empty() => {
                    let Held { lease, number } = &held[at % held.len()];
                    held.push(Held { lease: lease.clone(), number: *number });
                }
                Use::Split(at) if !held.is_empty() => {
                    let at = at % held.len();
                    let rest = held[at].lease.split_off(2);
                    let mut whole = held[at].lease.to_bytes().to_vec();
                    whole.extend_from_slice(&rest);
                    prop_assert_eq!(whole, held[at].number.to_le_bytes());
                    held.remove(at);
                }
                Use::Drop(at) if !held.is_empty() => drop(held.swap_remove(at % held.len())),
                Use::Clone(_) | Use::Split(_) | Use::Drop(_) => {}
            }
            let distinct: BTreeSet<u32> = held.iter().map(|held| held.number).collect();
            prop_assert_eq!(pool.in_use() as usize, distinct.len());
            prop_assert_eq!(pool.available() + pool.in_use(), pool.blocks());
            for held in &held {
                prop_assert_eq!(&*held.lease, &held.number.to_le_bytes()[..]);
            }
        }
        drop(held);
        prop_assert_eq!(pool.in_use(), 0);
    }
}
