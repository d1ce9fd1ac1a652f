//! Modules that lie beside each other do not import each other in a circle. What a module and its own parent share is
//! theirs.

use std::collections::{BTreeMap, BTreeSet};

use super::modules::{Modules, Path};
use super::source::Tree;

pub(super) fn check(tree: &Tree) -> Vec<String> {
    let roots = tree.sources.iter().map(|source| source.path.as_str());
    let roots = roots.filter(|path| path.ends_with("/src/lib.rs") || path.ends_with("/src/main.rs"));
    roots.filter_map(|root| Modules::of(tree, root)).flat_map(|modules| in_crate(&modules)).collect()
}

/// Who names whom below one parent, and where: the first place of each.
type Siblings = BTreeMap<(String, String), String>;

fn in_crate(modules: &Modules) -> Vec<String> {
    let mut parents: BTreeMap<Path, Siblings> = BTreeMap::new();
    for (from, module) in &modules.all {
        for (line, path) in &module.named {
            let to = modules.home_of(path);
            let shared = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
            if let (Some(a), Some(b)) = (from.get(shared), to.get(shared)) {
                let place = module.source.finding(*line, format_args!("`{a}` names `{b}`"));
                let siblings = parents.entry(from[..shared].to_vec()).or_default();
                siblings.entry((a.clone(), b.clone())).or_insert(place);
            }
        }
    }
    parents.iter().flat_map(|(parent, siblings)| circles_of(parent, siblings)).collect()
}

/// One finding for each circle, with an import of each of its steps.
fn circles_of(parent: &Path, siblings: &Siblings) -> Vec<String> {
    let reach = reached(siblings);
    let mut findings = Vec::new();
    let mut seen: BTreeSet<&String> = BTreeSet::new();
    for name in reach.keys() {
        let circle: Vec<&String> = reach
            .keys()
            .filter(|other| reach[name].contains(*other) && reach[*other].contains(name))
            .collect();
        if circle.len() > 1 && seen.insert(circle[0]) {
            let steps = siblings.iter().filter(|((a, b), _)| circle.contains(&a) && circle.contains(&b));
            let steps: Vec<&str> = steps.map(|(_, place)| place.as_str()).collect();
            let parent =
                if parent.is_empty() { "the crate".to_owned() } else { format!("`{}`", parent.join("::")) };
            findings.push(format!(
                "{}: a circle of imports in {parent}\n    {}",
                steps[0],
                steps[1..].join("\n    ")
            ));
        }
    }
    findings
}

/// Everything that each names, directly or not.
fn reached(siblings: &Siblings) -> BTreeMap<String, BTreeSet<String>> {
    let mut reach: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (a, b) in siblings.keys() {
        reach.entry(a.clone()).or_default().insert(b.clone());
        reach.entry(b.clone()).or_default();
    }
    // As often as there are modules is enough for the longest chain.
    for _ in 0..reach.len() {
        let now = reach.clone();
        for far in reach.values_mut() {
            let more: Vec<String> = far.iter().flat_map(|name| now[name].iter().cloned()).collect();
            far.extend(more);
        }
    }
    reach
}

#[cfg(test)]
mod tests {
    use super::super::source::Source;
    use super::*;

    fn tree(files: &[(&str, &str)]) -> Tree {
        let source = |&(path, text): &(&str, &str)| Source {
            path: format!("crates/x/src/{path}"),
            text: text.to_owned(),
            syntax: syn::parse_file(text).unwrap(),
        };
        Tree { sources: files.iter().map(source).collect(), pages: Vec::new(), manifests: Vec::new() }
    }

    #[test]
    fn a_circle_is_found_through_a_name_handed_on() {
        let files = [
            ("lib.rs", "mod a; mod b; pub use a::deep::A; pub use b::B;"),
            ("a/mod.rs", "pub mod deep;"),
            ("a/deep.rs", "use crate::B;\npub struct A(B);"),
            ("b.rs", "pub struct B; fn f() { let _ = crate::A::new(); }"),
        ];
        let found = check(&tree(&files));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("crates/x/src/a/deep.rs:1: `a` names `b`"), "{found:?}");
        assert!(found[0].contains("crates/x/src/b.rs:1: `b` names `a`"), "{found:?}");
    }

    #[test]
    fn tests_and_parents_make_no_circle() {
        let files = [
            ("lib.rs", "mod a; mod b; struct Root;"),
            ("a.rs", "use crate::b::B; mod inner { use super::A; } struct A(B, inner::C);"),
            ("b.rs", "pub struct B; use crate::Root;\n#[cfg(test)] mod tests { use crate::a::A; }"),
        ];
        assert_eq!(check(&tree(&files)), Vec::<String>::new());
    }
}
