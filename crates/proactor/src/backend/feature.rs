//! What a backend that can be made comes with, as a report prints it.

/// What a backend that can be made comes with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// `None` for a backend without rings.
    pub ring: Option<RingSize>,
}

/// Entries of submission rings. Under a memory limit they are halved, which costs system calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingSize {
    /// The smallest ring that a worker got.
    pub least: u32,
    /// What each asked for.
    pub wanted: u32,
}

/// A feature, and whether it is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Feature {
    /// The field's name for it.
    pub name: &'static str,
    /// What trying it showed.
    pub finding: Finding,
}

/// What trying a feature showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// It was used, and worked.
    Present,
    /// The kernel does not know it.
    Absent,
    /// It could not be tried: why, as a clause.
    Untried(String),
}
