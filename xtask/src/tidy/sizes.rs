//! Files and functions that fit on few screens.

use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use super::source::{Source, Tree};

const FILE_LINES: usize = 500;
const FUNCTION_LINES: usize = 60;

pub(super) fn check(tree: &Tree) -> Vec<String> {
    let mut findings = Vec::new();
    for source in &tree.sources {
        let lines = source.text.lines().count();
        if lines > FILE_LINES {
            findings.push(source.finding(1, format_args!("{lines} lines; a file has at most {FILE_LINES}")));
        }
        Functions { source, findings: &mut findings }.visit_file(&source.syntax);
    }
    findings
}

struct Functions<'a> {
    source: &'a Source,
    findings: &'a mut Vec<String>,
}

impl Functions<'_> {
    /// From its signature to its last brace.
    fn measure(&mut self, signature: &syn::Signature, block: &syn::Block) {
        let first = signature.span().start().line;
        let lines = block.span().end().line - first + 1;
        if lines > FUNCTION_LINES {
            let what = format_args!(
                "fn {} has {lines} lines; a function has at most {FUNCTION_LINES}",
                signature.ident
            );
            self.findings.push(self.source.finding(first, what));
        }
    }
}

impl<'ast> Visit<'ast> for Functions<'_> {
    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        self.measure(&function.sig, &function.block);
        visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.measure(&function.sig, &function.block);
        visit::visit_impl_item_fn(self, function);
    }

    fn visit_trait_item_fn(&mut self, function: &'ast syn::TraitItemFn) {
        if let Some(block) = &function.default {
            self.measure(&function.sig, block);
        }
        visit::visit_trait_item_fn(self, function);
    }
}
