//! Links from one page to another, and to headings: they lead somewhere.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use super::page::Page;

/// Relative links of a page that lead nowhere, as `path:line: what`.
pub(super) fn dead(root: &Path, page: &Page) -> Vec<String> {
    let here = Path::new(&page.path).parent().unwrap_or(Path::new(""));
    let mut findings = Vec::new();
    for (line, target) in targets(page) {
        if let Err(what) = lead(root, page, here, &target) {
            findings.push(format!("{}:{line}: `{target}`: {what}", page.path));
        }
    }
    findings
}

fn lead(root: &Path, page: &Page, here: &Path, target: &str) -> Result<(), String> {
    if target.contains("://") || target.starts_with("mailto:") {
        return Ok(());
    }
    let (path, anchor) = target.split_once('#').map_or((target, None), |(path, anchor)| (path, Some(anchor)));
    let path = if path.is_empty() { Some(PathBuf::from(&page.path)) } else { plain(&here.join(path)) };
    let path = path.ok_or("it leads out of the repository")?;
    if !root.join(&path).exists() {
        return Err(format!("there is no `{}`", path.display()));
    }
    match anchor {
        None => Ok(()),
        Some(anchor) if path.extension().is_some_and(|extension| extension == "md") => {
            let other;
            let other = if path == Path::new(&page.path) {
                page
            } else {
                other = Page::read(root, &path.to_string_lossy())?;
                &other
            };
            if anchors(other).iter().any(|other| other == anchor) {
                Ok(())
            } else {
                Err(format!("{} has no such heading", path.display()))
            }
        }
        Some(_) => Err("lines and headings of files that are no pages move".into()),
    }
}

/// A path without `..`; `None` if it leads out of the root.
fn plain(path: &Path) -> Option<PathBuf> {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir if !plain.pop() => return None,
            Component::ParentDir | Component::CurDir => {}
            part => plain.push(part),
        }
    }
    Some(plain)
}

/// What the links of a page's prose lead to: `[text](target)`, and `[name]: target`.
fn targets(page: &Page) -> Vec<(usize, String)> {
    let mut targets = Vec::new();
    for (at, line) in page.prose().into_iter().enumerate() {
        let line = without_code(line);
        let inline = line.match_indices("](").map(|(at, _)| &line[at + 2..]);
        let defined =
            line.strip_prefix('[').and_then(|line| line.split_once("]: ")).map(|(_, target)| target);
        for target in inline.chain(defined) {
            let end = target.find([')', ' ']).unwrap_or(target.len());
            targets.push((at + 1, target[..end].to_owned()));
        }
    }
    targets
}

/// A line without the contents of its code spans.
fn without_code(line: &str) -> String {
    line.split('`').enumerate().map(|(at, part)| if at % 2 == 0 { part } else { "" }).collect()
}

/// The anchors that GitHub gives to the headings of a page, in their order.
fn anchors(page: &Page) -> Vec<String> {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut anchors = Vec::new();
    for line in page.prose() {
        let text = line.trim_start_matches('#');
        let level = line.len() - text.len();
        if (1..=6).contains(&level) && text.starts_with(' ') {
            let anchor = anchor(text.trim());
            let before = seen.entry(anchor.clone()).or_default();
            anchors.push(if *before == 0 { anchor } else { format!("{anchor}-{before}") });
            *before += 1;
        }
        let named = line.split(r#"<a id=""#).skip(1).filter_map(|rest| rest.split_once('"'));
        anchors.extend(named.map(|(name, _)| name.to_owned()));
    }
    anchors
}

/// Letters and digits of every script, `_` and `-`; a space becomes `-`.
fn anchor(heading: &str) -> String {
    let mut text = heading.to_owned();
    // Of a link, its text.
    while let Some((before, rest)) = text.split_once("](") {
        let after = rest.split_once(')').map_or("", |(_, after)| after);
        text = format!("{before}{after}");
    }
    let kept = |char: &char| char.is_alphanumeric() || ['_', '-', ' '].contains(char);
    text.to_lowercase().chars().filter(kept).map(|char| if char == ' ' { '-' } else { char }).collect()
}

#[cfg(test)]
mod tests {
    use super::super::page::page;
    use super::*;

    #[test]
    fn anchors_are_as_github_makes_them() {
        for (heading, wanted) in [
            ("Run them", "run-them"),
            ("1. `OVERLAPPED`를 확장하기: 왜?", "1-overlapped를-확장하기-왜"),
            ("skip-on-success", "skip-on-success"),
            ("C++ & Rust", "c--rust"),
            ("`is_recv` [here](x.md), *now*", "is_recv-here-now"),
            ("io_uring — 링", "io_uring--링"),
        ] {
            assert_eq!(anchor(heading), wanted);
        }
        let page = page("# A\n\n```\n# no\n```\n## A\n#no\n<a id=\"b\"></a>\n");
        assert_eq!(anchors(&page), ["a", "a-1", "b"]);
    }

    #[test]
    fn links_are_found_outside_code() {
        let page =
            page("[a](b.md) `[c](d)` and [`e`](f#g \"title\")\n\n[h]: i.md\n```\n[j](k)\n```\n![l](m.png)");
        let targets: Vec<_> = targets(&page);
        let wanted = [(1, "b.md"), (1, "f#g"), (3, "i.md"), (7, "m.png")];
        assert_eq!(targets, wanted.map(|(line, target)| (line, target.to_owned())));
    }

    #[test]
    fn dead_links_are_named() {
        let root = crate::place::workspace();
        let page = |text: &str| Page::parse("docs/pitfalls.md", text).unwrap();
        let alive = page(
            "[a](../ARCHITECTURE.md#invariants) [b](../README.md) [c](https://a.invalid/x#y) [d](../crates)",
        );
        assert_eq!(dead(&root, &alive), Vec::<String>::new());
        let dead = dead(
            &root,
            &page(
                "# There\n[there](#there)\n[a](none.md)\n[b](../README.md#none)\n[c](#none)\n[d](../xtask/src/main.rs#L1)\n[e](../../README.md)\n",
            ),
        );
        assert_eq!(dead.len(), 5, "{dead:?}");
        assert!(dead[1].starts_with("docs/pitfalls.md:4: "), "{dead:?}");
    }
}
