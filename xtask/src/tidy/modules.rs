//! The modules of a crate, and what a path in one of them names.

use std::collections::BTreeMap;

use syn::visit::{self, Visit};

use super::source::{Source, Tree, is_for_tests};

/// A module's name from the crate's root, which itself is empty.
pub(super) type Path = Vec<String>;

/// What a crate's modules are, import and hand on.
pub(super) struct Modules<'a> {
    pub(super) all: BTreeMap<Path, Module<'a>>,
}

/// One module that is no test.
pub(super) struct Module<'a> {
    pub(super) source: &'a Source,
    /// The line and the path of everything it names that begins at the crate, itself or its parent.
    pub(super) named: Vec<(usize, Path)>,
    /// What `use` brings into it, by the name it has here.
    imports: BTreeMap<String, Path>,
}

impl<'a> Modules<'a> {
    /// Those below `root`, a `lib.rs` or `main.rs`.
    pub(super) fn of(tree: &'a Tree, root: &str) -> Option<Modules<'a>> {
        let mut modules = Modules { all: BTreeMap::new() };
        let source = tree.sources.iter().find(|source| source.path == root)?;
        let folder = root.rsplit_once('/').map_or("", |(folder, _)| folder);
        modules.add(tree, source, folder, &Vec::new());
        Some(modules)
    }

    fn add(&mut self, tree: &'a Tree, source: &'a Source, folder: &str, path: &Path) {
        self.add_items(tree, source, &source.syntax.items, folder, path);
    }

    fn add_items(
        &mut self,
        tree: &'a Tree,
        source: &'a Source,
        items: &'a [syn::Item],
        folder: &str,
        path: &Path,
    ) {
        let mut names = Names { at: path, named: Vec::new(), imports: BTreeMap::new() };
        for item in items {
            let syn::Item::Mod(module) = item else {
                names.visit_item(item);
                continue;
            };
            if is_for_tests(&module.attrs) {
                continue;
            }
            let name = module.ident.to_string();
            let inner: Path = path.iter().cloned().chain([name.clone()]).collect();
            if let Some((_, items)) = &module.content {
                self.add_items(tree, source, items, &format!("{folder}/{name}"), &inner);
                continue;
            }
            let files = [format!("{folder}/{name}.rs"), format!("{folder}/{name}/mod.rs")];
            if let Some(file) = tree.sources.iter().find(|source| files.contains(&source.path)) {
                self.add(tree, file, &format!("{folder}/{name}"), &inner);
            }
        }
        self.all.insert(path.clone(), Module { source, named: names.named, imports: names.imports });
    }

    /// The module that defines what `path` names, as far as imports tell.
    pub(super) fn home_of(&self, path: &Path) -> Path {
        let mut path = path.clone();
        // A chain of imports is short; a circle of them does not compile.
        for _ in 0..16 {
            let depth =
                (0..=path.len()).rev().find(|depth| self.all.contains_key(&path[..*depth])).unwrap_or(0);
            let module = &self.all[&path[..depth]];
            match path.get(depth).and_then(|name| module.imports.get(name)) {
                Some(import) if *import != path => {
                    path = import.iter().chain(&path[depth + 1..]).cloned().collect();
                }
                _ => return path[..depth].to_vec(),
            }
        }
        path
    }
}

/// Collects the paths that one module names.
struct Names<'a> {
    at: &'a Path,
    named: Vec<(usize, Path)>,
    imports: BTreeMap<String, Path>,
}

impl Names<'_> {
    /// From the crate's root, if it begins in this crate by a word that says so.
    fn absolute(&self, segments: &[String]) -> Option<Path> {
        let mut base = self.at.clone();
        let mut rest = segments;
        match rest.first()?.as_str() {
            "crate" => base.clear(),
            "self" => {}
            "super" => {
                while rest.first().is_some_and(|word| word == "super") {
                    base.pop()?;
                    rest = &rest[1..];
                }
                base.extend_from_slice(rest);
                return Some(base);
            }
            _ => return None,
        }
        base.extend_from_slice(&rest[1..]);
        Some(base)
    }

    fn import(&mut self, line: usize, prefix: &mut Vec<String>, tree: &syn::UseTree) {
        match tree {
            syn::UseTree::Path(path) => {
                prefix.push(path.ident.to_string());
                self.import(line, prefix, &path.tree);
                prefix.pop();
            }
            syn::UseTree::Group(group) => {
                for tree in &group.items {
                    self.import(line, prefix, tree);
                }
            }
            syn::UseTree::Name(name) => self.import_one(line, prefix, &name.ident, &name.ident),
            syn::UseTree::Rename(name) => self.import_one(line, prefix, &name.ident, &name.rename),
            syn::UseTree::Glob(_) => {
                let path = self.absolute(prefix).or_else(|| self.below(prefix));
                self.named.extend(path.map(|path| (line, path)));
            }
        }
    }

    fn import_one(&mut self, line: usize, prefix: &[String], name: &syn::Ident, here: &syn::Ident) {
        let mut segments = prefix.to_vec();
        if name != "self" {
            segments.push(name.to_string());
        }
        let here = if name == "self" && here == "self" {
            segments.last().cloned().unwrap_or_default()
        } else {
            here.to_string()
        };
        if let Some(path) = self.absolute(&segments).or_else(|| self.below(&segments)) {
            self.named.push((line, path.clone()));
            self.imports.insert(here, path);
        }
    }

    /// A path that begins with a module of this one, or with another crate: `home_of` takes the latter for an item here.
    fn below(&self, segments: &[String]) -> Option<Path> {
        (segments.len() > 1).then(|| self.at.iter().chain(segments).cloned().collect())
    }
}

impl<'ast> Visit<'ast> for Names<'_> {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        let attributes = match item {
            syn::Item::Fn(item) => &item.attrs,
            syn::Item::Impl(item) => &item.attrs,
            syn::Item::Use(item) => &item.attrs,
            syn::Item::Struct(item) => &item.attrs,
            syn::Item::Const(item) => &item.attrs,
            _ => return visit::visit_item(self, item),
        };
        if !is_for_tests(attributes) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.import(item.use_token.span.start().line, &mut Vec::new(), &item.tree);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if let (Some(first), Some(absolute)) = (path.segments.first(), self.absolute(&segments)) {
            self.named.push((first.ident.span().start().line, absolute));
        }
        visit::visit_path(self, path);
    }
}
