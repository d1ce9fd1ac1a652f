//! The files of the workspace, read and parsed once.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Directories that hold no text of ours.
const FOREIGN: &[&str] = &["target", ".git", "node_modules"];

/// What a check looks at.
pub(super) struct Tree {
    pub(super) sources: Vec<Source>,
    /// Pages that people read: Markdown.
    pub(super) pages: Vec<Page>,
    /// The manifest of each crate, as text.
    pub(super) manifests: Vec<Page>,
}

/// A Rust file.
pub(super) struct Source {
    /// From the workspace's root, with `/`.
    pub(super) path: String,
    pub(super) text: String,
    pub(super) syntax: syn::File,
}

pub(super) struct Page {
    pub(super) path: String,
    pub(super) text: String,
}

impl Tree {
    pub(super) fn read(root: &Path) -> io::Result<Tree> {
        let mut tree = Tree { sources: Vec::new(), pages: Vec::new(), manifests: Vec::new() };
        tree.add(root, root)?;
        Ok(tree)
    }

    fn add(&mut self, root: &Path, directory: &Path) -> io::Result<()> {
        let mut entries: Vec<PathBuf> = fs::read_dir(directory)?
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<Result<_, _>>()?;
        entries.sort();
        for entry in entries {
            let name = entry.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if entry.is_dir() {
                if !FOREIGN.contains(&name) {
                    self.add(root, &entry)?;
                }
                continue;
            }
            let path = entry.strip_prefix(root).expect("below the root").to_string_lossy().replace('\\', "/");
            let page = |text| Page { path: path.clone(), text };
            match entry.extension().and_then(|extension| extension.to_str()) {
                Some("rs") => {
                    let text = fs::read_to_string(&entry)?;
                    let syntax = syn::parse_file(&text)
                        .map_err(|error| io::Error::other(format!("{path}: {error}")))?;
                    self.sources.push(Source { path, text, syntax });
                }
                Some("md") => self.pages.push(page(fs::read_to_string(&entry)?)),
                Some("toml") if name == "Cargo.toml" => {
                    self.manifests.push(page(fs::read_to_string(&entry)?));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

impl Source {
    /// Whether the whole file is for tests: below `tests/`, or a test module in a file of its own.
    pub(super) fn is_test(&self) -> bool {
        self.path.split('/').any(|part| matches!(part, "tests" | "tests.rs" | "faults" | "loom_models.rs"))
    }

    /// `path:line: what`.
    pub(super) fn finding(&self, line: usize, what: impl std::fmt::Display) -> String {
        format!("{}:{line}: {what}", self.path)
    }
}

/// Whether an item is there for tests or models alone.
pub(super) fn is_for_tests(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let syn::Meta::List(list) = &attribute.meta else { return attribute.path().is_ident("test") };
        let condition = list.tokens.to_string();
        list.path.is_ident("cfg")
            && !condition.contains("not")
            && ["test", "loom"].iter().any(|word| condition.contains(word))
    })
}
