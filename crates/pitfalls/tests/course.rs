//! `docs/course.md` and `docs/course.ko.md`: every week has a full row, and what the rows name exists.
#![cfg(unix)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use overlapped_pitfalls::ALL;

const PAGES: [(&str, &str); 2] = [
    ("docs/course.md", include_str!("../../../docs/course.md")),
    ("docs/course.ko.md", include_str!("../../../docs/course.ko.md")),
];
/// The examples that have a section.
const SECTIONS: [&str; 5] = ["states", "jobs", "packets", "rooms", "dummy clients"];

/// The rows of the map: the week, and the other cells.
fn rows(text: &str) -> Vec<(u32, Vec<&str>)> {
    let rows = text.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| ")?.strip_suffix(" |")?.split(" | ").map(str::trim);
        Some((cells.next()?.parse().ok()?, cells.collect()))
    });
    rows.collect()
}

/// The links in a text: what is shown, and the target.
fn links(text: &str) -> Vec<(&str, &str)> {
    let closed = text.match_indices("](").filter_map(|(at, _)| {
        let shown = &text[text[..at].rfind('[')? + 1..at];
        let target = &text[at + 2..];
        Some((shown, &target[..target.find(')')?]))
    });
    closed.collect()
}

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("the repository").join("docs")
}

/// A name of a test: words in lower case, joined by `_`.
fn test_name(shown: &str) -> Option<&str> {
    let name = shown.strip_prefix('`')?.strip_suffix('`')?;
    let is_word =
        |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    name.split('_').all(is_word).then_some(name)
}

#[test]
fn every_week_has_a_row_without_an_empty_cell() {
    let weeks: Vec<u32> = [12].into_iter().chain(19..=32).collect();
    for (page, text) in PAGES {
        let rows = rows(text);
        assert_eq!(rows.iter().map(|(week, _)| *week).collect::<Vec<_>>(), weeks, "{page}");
        for (week, cells) in rows {
            assert_eq!(cells.len(), 3, "{page}: week {week}: {cells:?}");
            for cell in &cells {
                assert!(
                    cell.chars().filter(|c| c.is_alphabetic()).count() > 3,
                    "{page}: week {week}: {cell:?}"
                );
            }
            assert!(!links(cells[1]).is_empty(), "{page}: week {week} has nothing of ours");
            assert!(!links(cells[2]).is_empty(), "{page}: week {week} has nothing that shows its mistake");
        }
    }
}

/// A mistake is shown by an exhibit, or by a test: its function is in the file that the link leads to.
#[test]
fn every_exhibit_and_every_test_that_is_named_exists() {
    let mut seen = BTreeSet::new();
    for (page, text) in PAGES {
        for (week, cells) in rows(text) {
            for (shown, target) in links(cells[2]) {
                if let Some((file, exhibit)) = target.split_once('#') {
                    assert!(
                        ["pitfalls.md", "pitfalls.ko.md"].contains(&file),
                        "{page}: week {week}: {target}"
                    );
                    assert_eq!(shown, exhibit, "{page}: week {week}");
                    assert!(
                        ALL.iter().any(|known| known.name == exhibit),
                        "{page}: week {week}: no {exhibit}"
                    );
                    seen.insert(exhibit);
                } else {
                    let name =
                        test_name(shown).unwrap_or_else(|| panic!("{page}: week {week}: {shown} is no test"));
                    let text = std::fs::read_to_string(docs().join(target));
                    let text = text.unwrap_or_else(|error| panic!("{page}: week {week}: {target}: {error}"));
                    assert!(
                        text.contains(&format!("fn {name}(")),
                        "{page}: week {week}: no {name} in {target}"
                    );
                }
            }
        }
    }
    let all: BTreeSet<&str> = ALL.iter().map(|exhibit| exhibit.name).collect();
    assert_eq!(seen, all, "every exhibit is one of some week");
}

#[test]
fn every_example_of_the_map_is_explained_in_both_languages() {
    for (page, text) in PAGES {
        for section in SECTIONS {
            let body = text.split(&format!("\n## {section}\n")).nth(1);
            let body = body.unwrap_or_else(|| panic!("{page}: no section {section}"));
            let body = body.split("\n## ").next().unwrap_or_default();
            for block in ["```rust\n// ", "```console", "```powershell"] {
                assert!(body.contains(block), "{page}: {section} has no block {block:?}");
            }
        }
    }
}
