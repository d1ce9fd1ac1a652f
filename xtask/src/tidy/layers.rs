//! Which crate may use which: kernels below the engine, the engine below the program.

use super::source::Tree;

/// A crate, and those of the workspace that it may name, in its manifest and in its sources.
const LAYERS: &[(&str, &[&str])] = &[
    ("proactor", &[]),
    ("overlapped", &["proactor"]),
    ("pitfalls", &[]),
    ("measure", &[]),
    ("cli", &["proactor", "overlapped", "overlapped_pitfalls", "overlapped_measure"]),
    ("testing", &[]),
];

/// What each is called in code.
const NAMES: &[&str] =
    &["proactor", "overlapped", "overlapped_pitfalls", "overlapped_measure", "overlapped_cli", TESTING];

/// The helpers of tests: a dependency of tests alone.
const TESTING: &str = "overlapped_testing";

pub(super) fn check(tree: &Tree) -> Vec<String> {
    let mut findings = Vec::new();
    for (folder, allowed) in LAYERS {
        let manifest = format!("crates/{folder}/Cargo.toml");
        let Some(page) = tree.manifests.iter().find(|page| page.path == manifest) else {
            findings.push(format!("{manifest}:1: there is no such crate"));
            continue;
        };
        let own = own_name(&page.text);
        let forbidden = |name: &&&str| **name != own && !allowed.contains(*name);
        for name in NAMES.iter().filter(forbidden) {
            for (number, _) in dependencies(&page.text).filter(|(_, dependency)| dependency == name) {
                findings.push(format!("{manifest}:{number}: `{name}` lies above this crate"));
            }
            // The compiler refuses it outside tests: it is no dependency there.
            if *name == TESTING {
                continue;
            }
            let sources = format!("crates/{folder}/src/");
            for source in tree.sources.iter().filter(|source| source.path.starts_with(&sources)) {
                let lines = source.text.lines().enumerate();
                let uses = lines.filter(|(_, line)| line.trim_start().starts_with(&format!("use {name}::")));
                findings.extend(
                    uses.map(|(at, _)| {
                        source.finding(at + 1, format_args!("`{name}` lies above this crate"))
                    }),
                );
            }
        }
    }
    findings
}

fn own_name(manifest: &str) -> String {
    let name = manifest.lines().find_map(|line| line.strip_prefix("name = \""));
    name.and_then(|rest| rest.split('"').next()).unwrap_or_default().replace('-', "_")
}

/// The lines of its dependencies, but for those of its tests, which may use what they like.
fn dependencies(manifest: &str) -> impl Iterator<Item = (usize, String)> {
    let mut counts = false;
    manifest.lines().enumerate().filter_map(move |(at, line)| {
        if let Some(section) = line.strip_prefix('[') {
            counts = section.contains("dependencies") && !section.contains("dev-dependencies");
            return None;
        }
        let name = line.split(['.', ' ', '=']).next()?.replace('-', "_");
        (counts && !name.is_empty()).then_some((at + 1, name))
    })
}

#[cfg(test)]
mod tests {
    use super::super::source::{Page, Source};
    use super::*;

    /// A workspace that consists of its manifests, one of which has another dependency, and of one source.
    fn findings(folder: &str, dependencies: &str, source: &str) -> Vec<String> {
        let manifest = |name: &str| {
            let section = if name == folder { dependencies } else { "" };
            let package = if ["proactor", "overlapped"].contains(&name) {
                name.into()
            } else {
                format!("overlapped-{name}")
            };
            let text = format!("[package]\nname = \"{package}\"\n{section}");
            Page { path: format!("crates/{name}/Cargo.toml"), text }
        };
        let manifests = LAYERS.iter().map(|(name, _)| manifest(name)).collect();
        let syntax = syn::parse_file(source).expect("it is Rust");
        let source = Source { path: format!("crates/{folder}/src/lib.rs"), text: source.into(), syntax };
        check(&Tree { sources: vec![source], pages: Vec::new(), manifests })
    }

    #[test]
    fn a_dependency_that_points_upwards_is_found() {
        let wanted = ["crates/proactor/Cargo.toml:4: `overlapped` lies above this crate"];
        assert_eq!(findings("proactor", "[dependencies]\noverlapped.workspace = true\n", ""), wanted);
        assert_eq!(findings("proactor", "[dependencies]\noverlapped = \"1\"\n", ""), wanted);
        let wanted = ["crates/overlapped/src/lib.rs:2: `overlapped_cli` lies above this crate"];
        assert_eq!(findings("overlapped", "", "use proactor::Lease;\nuse overlapped_cli::serve;\n"), wanted);
        let downwards = "[dependencies]\nproactor.workspace = true\n";
        assert!(findings("overlapped", downwards, "use proactor::Lease;\n").is_empty());
    }

    #[test]
    fn dependencies_of_tests_are_not_counted() {
        let manifest = "[package]\nname = \"a-b\"\n[dependencies]\nproactor.workspace = true\n[dev-dependencies]\noverlapped = \"1\"\n";
        assert_eq!(own_name(manifest), "a_b");
        assert_eq!(dependencies(manifest).collect::<Vec<_>>(), [(4, "proactor".to_owned())]);
    }
}
