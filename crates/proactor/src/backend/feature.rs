//! What was found out about a backend that can be made, for reports such as `overlapped doctor`.

/// What was found out about a backend that can be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// `None` for a backend without rings.
    pub ring: Option<RingSize>,
}

/// The sizes of submission rings, in entries. Under a memory limit they are halved, which costs system calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingSize {
    /// The size of the smallest ring that a worker got.
    pub least: u32,
    /// The size that each worker asked for.
    pub wanted: u32,
}

/// A kernel feature, and whether it is present.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Feature {
    /// Its common name.
    pub name: &'static str,
    /// The result of trying it.
    pub finding: Finding,
}

/// The result of trying a feature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// It was used and worked.
    Present,
    /// The kernel does not know it.
    Absent,
    /// It could not be tried, with the cause as a clause.
    Untried(String),
}
