//! Required notes: a `SAFETY` comment above each unsafe block, a test that cites each invariant. Clippy looks for the former
//! too, but only in the code of the system that it runs for.

use std::collections::BTreeSet;

use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use super::source::{Source, Tree};

/// Where `unsafe` may stand at all.
const UNSAFE: &[&str] = &["crates/proactor/", "crates/pitfalls/", "bench/"];
/// How far above its block a note may begin.
const NOTE_LINES: usize = 8;
/// The page whose table lists the invariants.
const INVARIANTS: &str = "ARCHITECTURE.md";

pub(super) fn check(tree: &Tree) -> Vec<String> {
    let mut findings = Vec::new();
    for source in &tree.sources {
        Blocks { source, lines: source.text.lines().collect(), findings: &mut findings }
            .visit_file(&source.syntax);
    }
    let cited: BTreeSet<u32> =
        tree.sources.iter().flat_map(|source| invariants_in(test_text(source))).collect();
    let promised = tree.pages.iter().find(|page| page.path == INVARIANTS);
    let promised: BTreeSet<u32> =
        promised.map(|page| invariants_in(&page.text).collect()).unwrap_or_default();
    if promised.is_empty() {
        findings.push(format!("{INVARIANTS}:1: no invariant is listed"));
    }
    for number in promised.difference(&cited) {
        findings.push(format!("{INVARIANTS}:1: no test cites INV-{number}"));
    }
    findings
}

/// The part of a file that is tests.
fn test_text(source: &Source) -> &str {
    if source.is_test() {
        return &source.text;
    }
    source.text.find("#[cfg(test)]\nmod ").map_or("", |at| &source.text[at..])
}

/// The numbers in `INV-n`.
fn invariants_in(text: &str) -> impl Iterator<Item = u32> {
    text.split("INV-").skip(1).filter_map(|rest| {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        rest[..digits].parse().ok()
    })
}

struct Blocks<'a> {
    source: &'a Source,
    lines: Vec<&'a str>,
    findings: &'a mut Vec<String>,
}

impl Blocks<'_> {
    fn note(&mut self, line: usize, what: &str) {
        let found = if UNSAFE.iter().any(|place| self.source.path.starts_with(place)) {
            let above = &self.lines[line.saturating_sub(1 + NOTE_LINES)..line];
            let noted = above.iter().any(|line| line.contains("SAFETY:") || line.contains("# Safety"));
            (!noted).then(|| format!("{what} without a `// SAFETY:` comment"))
        } else {
            Some(format!("{what} outside {}", UNSAFE.join(" and ")))
        };
        self.findings.extend(found.map(|found| self.source.finding(line, found)));
    }
}

impl<'ast> Visit<'ast> for Blocks<'_> {
    fn visit_expr_unsafe(&mut self, block: &'ast syn::ExprUnsafe) {
        self.note(block.unsafe_token.span().start().line, "an unsafe block");
        visit::visit_expr_unsafe(self, block);
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        if let Some(token) = &item.unsafety {
            self.note(token.span().start().line, "an unsafe impl");
        }
        visit::visit_item_impl(self, item);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invariants_are_read_with_all_their_digits() {
        assert_eq!(invariants_in("INV-1, INV-10: INV-x (INV-3)").collect::<Vec<_>>(), [1, 10, 3]);
    }
}
