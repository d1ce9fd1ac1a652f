//! What this machine offers, found out by trying: a backend is there when it can be made.

use super::choice::Refusal;
use super::feature::{Feature, Offer, RingSize};
use super::{BackendKind, Create};
use crate::buffer::{Pool, PoolConfig};

/// Makes `name` once for each of `workers` on the calling thread, as a server with so many of them would, holds
/// all of them at a time, and drops them.
///
/// # Errors
/// Why one of them cannot be made.
pub fn probe(name: BackendKind, workers: usize) -> Result<Offer, Refusal> {
    match name {
        #[cfg(all(target_os = "linux", target_pointer_width = "64"))]
        BackendKind::IoUring => make::<super::io_uring::IoUring>(workers).map(|made| {
            let least = made.iter().map(super::io_uring::IoUring::entries).min();
            Offer { ring: least.map(|least| RingSize { least, wanted: super::io_uring::SQ_ENTRIES }) }
        }),
        #[cfg(windows)]
        BackendKind::Iocp => make::<super::iocp::Iocp>(workers).map(|_| Offer { ring: None }),
        #[cfg(unix)]
        BackendKind::Readiness => make::<super::readiness::Readiness>(workers).map(|_| Offer { ring: None }),
        other => Err(Refusal::not_here(other)),
    }
}

/// What the kernel's rings can do, each feature tried on a ring of its own. Empty where no ring can be made.
#[must_use]
pub fn ring_features() -> Vec<Feature> {
    #[cfg(all(target_os = "linux", target_pointer_width = "64"))]
    {
        super::io_uring::features::try_all()
    }
    #[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
    {
        Vec::new()
    }
}

fn make<B: Create>(workers: usize) -> Result<Vec<B>, Refusal> {
    (0..workers).map(|_| B::create(&Pool::new(PoolConfig::default()))).collect()
}
