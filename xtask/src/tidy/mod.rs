//! What a reader may rely on in every file: its size, its words, its notes, and which modules import which.
//!
//! Each check gives its findings as `file:line: what is wrong`; none changes anything.

mod circles;
mod layers;
mod modules;
mod notes;
mod sizes;
mod source;
mod words;

use std::collections::BTreeSet;

use crate::bounded::Failure;
use crate::place;
use source::Tree;

/// Finds everything, and fails if there is something.
pub(crate) fn run() -> Result<(), Failure> {
    let tree = Tree::read(&place::workspace()).map_err(|error| error.to_string())?;
    let mut findings = BTreeSet::new();
    findings.extend(sizes::check(&tree));
    findings.extend(words::check(&tree));
    findings.extend(notes::check(&tree));
    findings.extend(layers::check(&tree));
    findings.extend(circles::check(&tree));
    for finding in &findings {
        println!("{finding}");
    }
    match findings.len() {
        0 => {
            println!("tidy: {} sources and {} pages, nothing found", tree.sources.len(), tree.pages.len());
            Ok(())
        }
        count => Err(format!("tidy found {count} places to mend, listed above")),
    }
}
