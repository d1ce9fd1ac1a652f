//! Documentation only: what is easier to read in one place than item by item.

pub mod pitfalls;
