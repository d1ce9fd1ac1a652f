//! Probes which backends this machine supports, by creating each of them.

use super::choice::Refusal;
use super::feature::{Feature, Offer, RingSize};
use super::visit::Visitor;
use super::{BackendKind, Create, PREFERENCE, visit};
use crate::buffer::{Pool, PoolConfig};
use crate::socket::Socket;

/// Makes a backend once for each of `workers` on the calling thread, as a server with that many would, holds all of them
/// at a time, and drops them.
///
/// # Errors
/// Why one of them cannot be made.
pub fn probe(kind: BackendKind, workers: usize) -> Result<Offer, Refusal> {
    visit(kind, Make { workers })?
}

struct Make {
    workers: usize,
}

impl Visitor for Make {
    type Output = Result<Offer, Refusal>;

    fn visit<B: Create<Socket = Socket>>(self) -> Result<Offer, Refusal> {
        let make = |_| B::create(Pool::new(PoolConfig::default()));
        let made = (0..self.workers).map(make).collect::<Result<Vec<B>, Refusal>>()?;
        let sizes = made.iter().filter_map(Create::ring_size);
        Ok(Offer { ring: sizes.min_by_key(|size: &RingSize| size.least) })
    }
}

/// What the kernel's rings can do, each feature tried on a ring of its own. Empty where no ring can be made.
#[must_use]
pub fn ring_features() -> Vec<Feature> {
    PREFERENCE.iter().flat_map(|kind| visit(*kind, Try).unwrap_or_default()).collect()
}

struct Try;

impl Visitor for Try {
    type Output = Vec<Feature>;

    fn visit<B: Create<Socket = Socket>>(self) -> Vec<Feature> {
        B::features()
    }
}
