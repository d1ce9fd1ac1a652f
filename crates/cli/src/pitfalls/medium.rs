//! What an exhibit runs on, for people: a kernel is named where one takes part, and nowhere else.

use overlapped_pitfalls::{Exhibit, KernelName, Medium};

use super::Results;

pub(super) fn needs_a_kernel(exhibit: &Exhibit) -> bool {
    exhibit.medium() == Medium::Kernel
}

impl Results {
    /// Whether any of them needs a completion kernel.
    pub(super) fn need_a_kernel(&self) -> bool {
        self.exhibits.iter().any(|shown| needs_a_kernel(shown.exhibit))
    }

    /// What an exhibit runs on, as a sentence.
    pub(super) fn runs_on(&self, exhibit: &Exhibit) -> String {
        match exhibit.medium() {
            Medium::Kernel if self.kernel.name == KernelName::Own => {
                "Runs on own, a small completion kernel of this program.".to_owned()
            }
            Medium::Kernel => format!("Runs on {}.", self.kernel.name),
            Medium::Sockets => "Runs on ordinary sockets; no completion kernel takes part.".to_owned(),
            Medium::Memory => "Runs in memory; there is no I/O.".to_owned(),
        }
    }
}
