//! `docs/pitfalls.md`, `docs/pitfalls.ko.md` and the documentation of `overlapped::docs::pitfalls` tell of exactly the
//! exhibits, in their order, and name what exists.

use std::collections::BTreeSet;

use overlapped_pitfalls::{ALL, Exhibit};

const PAGES: [(&str, &str); 2] = [
    ("docs/pitfalls.md", include_str!("../../../docs/pitfalls.md")),
    ("docs/pitfalls.ko.md", include_str!("../../../docs/pitfalls.ko.md")),
];
const REFUSALS: &str = include_str!("../../overlapped/src/docs/pitfalls.rs");
const ARCHITECTURE: &str = include_str!("../../../ARCHITECTURE.md");

fn names() -> Vec<&'static str> {
    ALL.iter().map(|exhibit| exhibit.name).collect()
}

/// The sections that are named as exhibits are (lower case, no spaces), and their text.
fn sections(text: &str) -> Vec<(&str, &str)> {
    let is_name = |head: &str| head.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
    let parts = text.split("\n## ").skip(1);
    parts.filter_map(|part| part.split_once('\n')).filter(|(head, _)| is_name(head)).collect()
}

/// The row of a table about an exhibit.
fn row<'a>(text: &'a str, exhibit: &str) -> &'a str {
    let start = format!("| [{exhibit}](#{exhibit}) |");
    text.lines().find(|line| line.starts_with(&start)).unwrap_or_else(|| panic!("no row for {exhibit}"))
}

/// What is behind `prefix`, up to the first character that does not belong to it, each time that it stands in a text.
fn all_after<'a>(text: &'a str, prefix: &str, belongs: fn(char) -> bool) -> BTreeSet<&'a str> {
    let found = text.split(prefix).skip(1);
    found.map(|rest| &rest[..rest.find(|c| !belongs(c)).unwrap_or(rest.len())]).collect()
}

fn invariants(text: &str) -> BTreeSet<&str> {
    all_after(text, "INV-", |c| c.is_ascii_digit())
}

/// Error codes of the compiler.
fn errors(text: &str) -> BTreeSet<&str> {
    let mut codes = all_after(text, "E0", |c| c.is_ascii_digit());
    codes.retain(|code| code.len() == 3);
    codes
}

fn threads(text: &str) -> BTreeSet<&str> {
    all_after(text, "https://github.com/", |c| !c.is_whitespace() && c != ')')
}

fn programs(section: &str) -> Vec<String> {
    let without_comment = |line: &str| line.split("//").next().unwrap_or_default().trim_end().to_owned();
    let program = |block: &str| {
        let code = block.split("\n```").next().unwrap_or_default();
        code.lines().map(without_comment).collect::<Vec<_>>().join("\n")
    };
    section.split("```cpp\n").skip(1).map(program).collect()
}

#[test]
fn pages_have_the_exhibits_in_their_order() {
    for (page, text) in PAGES {
        let heads: Vec<_> = sections(text).into_iter().map(|(head, _)| head).collect();
        assert_eq!(heads, names(), "sections of {page}");
        let rows = text.lines().filter_map(|line| line.strip_prefix("| [")?.split(']').next());
        assert_eq!(rows.collect::<Vec<_>>(), names(), "table of {page}");
    }
}

#[test]
fn a_section_says_how_to_run_it_what_rules_it_out_and_who_had_it() {
    for (page, text) in PAGES {
        for (exhibit, (_, section)) in ALL.iter().zip(sections(text)) {
            let Exhibit { name, invariant, upheld_by, seen_in, .. } = exhibit;
            assert!(section.contains(&format!("`overlapped pitfalls {name}`")), "{page}: command of {name}");
            assert!(section.contains(&format!("[`{upheld_by}`](../{upheld_by})")), "{page}: file of {name}");
            assert_eq!(invariants(section), invariants(invariant), "{page}: invariants of {name}");
            assert_eq!(invariants(row(text, name)), invariants(invariant), "{page}: table, {name}");
            for seen in *seen_in {
                let link = format!("[{}]({})", seen.name, seen.url);
                assert!(section.contains(&link), "{page}: {link} of {name}");
            }
            let cited: Vec<_> = seen_in.iter().map(|seen| seen.url).collect();
            assert_eq!(threads(section), threads(&cited.join(" ")), "{page}: threads of {name}");
        }
    }
}

#[test]
fn both_pages_show_the_same_programs() {
    let [english, korean] = PAGES.map(|(_, text)| sections(text));
    for ((name, english), (_, korean)) in english.into_iter().zip(korean) {
        assert_eq!(programs(english).len(), 2, "{name}: broken and repaired");
        assert_eq!(programs(english), programs(korean), "{name}");
    }
}

/// The documentation of the crate, the tables of the pages and the programs that do not compile agree.
#[test]
fn the_errors_of_the_compiler_are_the_same_everywhere() {
    let text: Vec<_> = REFUSALS.lines().map(|line| line.trim_start_matches("//!").trim_start()).collect();
    let text = text.join("\n");
    let refused = sections(&text);
    assert_eq!(refused.iter().map(|(head, _)| *head).collect::<Vec<_>>(), names());
    for (name, section) in refused {
        let tried = all_after(section, "compile_fail,E0", |c| c.is_ascii_digit());
        assert_eq!(errors(section), tried, "{name}: codes that are explained, and tried");
        assert_eq!(errors(row(&text, name)), tried, "{name}: table of the crate's documentation");
        for (page, text) in PAGES {
            assert_eq!(errors(row(text, name)), tried, "{name}: table of {page}");
            let (_, section) = sections(text).into_iter().find(|(head, _)| *head == name).expect("a section");
            assert_eq!(errors(section), tried, "{name}: section of {page}");
        }
    }
}

#[test]
fn invariants_exist() {
    for exhibit in ALL {
        for number in invariants(exhibit.invariant) {
            let row = format!("\n| INV-{number} | ");
            assert!(ARCHITECTURE.contains(&row), "INV-{number} of {}", exhibit.name);
        }
    }
}

/// Of each exhibit: what in its file upholds the invariant, as it is written there.
#[cfg(unix)]
const UPHOLD: &[(&str, &[&str])] = &[
    ("use-after-release", &["struct Table<", "fn insert(", "fn remove("]),
    ("send-buffer", &["fn send(&mut self, connection: ConnectionKey, payload: impl Into<Payload>)"]),
    ("overlapped-reuse", &["\"INV-1: entry {index} is in flight\""]),
    ("unchecked-result", &["enum Submitted<", "enum Outcome<"]),
    ("zero-is-close", &["enum CloseReason {"]),
    ("short-send", &["fn complete_send("]),
    ("interleaved-sends", &["struct SendQueue {", "in_flight"]),
    ("handle-reuse", &["fn get(&self, key: ConnectionKey)", "if state.key == key"]),
    ("skip-on-success", &["fn decide("]),
    ("close-without-cancel", &["impl<B: Backend> Drop for Driver<B> {"]),
    ("lock-while-sending", &["struct SendQueue {", "fn push("]),
    ("parse-loop", &["fn check_progress<", "check_progress(&result, consumed)"]),
    ("length-bomb", &["fn of_width(width: usize, most: usize)", "FrameError::TooLong"]),
];

/// A file that was moved, and an item that was moved out of it, are noticed.
#[cfg(unix)]
#[test]
fn the_file_that_upholds_an_invariant_has_what_upholds_it() {
    assert_eq!(UPHOLD.iter().map(|(name, _)| *name).collect::<Vec<_>>(), names());
    for (Exhibit { name, upheld_by, .. }, (_, items)) in ALL.iter().zip(UPHOLD) {
        let text = std::fs::read_to_string(repository().join(upheld_by));
        let text = text.unwrap_or_else(|error| panic!("{upheld_by} of {name}: {error}"));
        for item in *items {
            assert!(text.contains(item), "{name}: no {item:?} in {upheld_by}");
        }
    }
}

#[cfg(unix)]
fn repository() -> &'static std::path::Path {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("the repository")
}

/// Files of the crates, named in the documentation: the same on every system.
#[cfg(unix)]
#[test]
fn files_exist() {
    let crates = repository().join("crates");
    let paths = REFUSALS.split('`').filter(|text| text.ends_with(".rs") && text.contains("/src/"));
    assert!(paths.clone().count() > 10);
    for path in paths {
        assert!(crates.join(path).is_file(), "{path}, named in overlapped::docs::pitfalls");
    }
}
