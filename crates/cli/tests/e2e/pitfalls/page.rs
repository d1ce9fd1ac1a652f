//! What is said around the exhibits, and the page that `--html` writes.

use std::collections::BTreeSet;

use super::{EXHIBITS, exhibits, report, runs_on, without_notes};
use crate::process::run;
use crate::server::binary;

/// A kernel is named for exhibits that use one, and for no other: on the page and in text.
#[test]
fn no_kernel_is_named_that_does_not_take_part() {
    let kernels = ["io_uring", "iocp", "own"];
    for (name, said) in [
        ("parse-loop", "Runs in memory; there is no I/O."),
        ("length-bomb", "Runs on ordinary sockets; no completion kernel takes part."),
        ("lock-while-sending", "Runs on ordinary sockets; no completion kernel takes part."),
        ("send-buffer", "Runs on "),
    ] {
        let text = run(binary(["pitfalls", name]), b"").text();
        let page = run(binary(["pitfalls", name, "--html", "-"]), b"").text();
        for shown in [text, page] {
            assert!(shown.contains(said), "{name}: {shown}");
            let kernel = kernels.iter().any(|kernel| shown.contains(&format!("Runs on {kernel}")));
            assert_eq!(kernel, runs_on(name) == "kernel", "{name}: {shown}");
        }
    }
}

/// One page that needs nothing but itself, well formed, with every exhibit and every thread that is cited.
#[test]
fn the_page_needs_nothing_but_itself() {
    let json = report(&run(binary(["pitfalls", "--json"]), b""));
    let cited: BTreeSet<&str> = exhibits(&json)
        .iter()
        .flat_map(|exhibit| exhibit["seen_in"].as_array().unwrap())
        .map(|seen| seen["url"].as_str().unwrap())
        .collect();
    let ended = run(binary(["pitfalls", "--all", "--html", "-"]), b"");
    assert_eq!((ended.status, without_notes(&ended).as_str()), (Some(0), ""), "{ended:?}");
    let page = ended.text();
    for foreign in ["<script", "<link", "<img", "<iframe", "src=", "@import", "@font-face", "url("] {
        assert!(!page.contains(foreign), "the page has {foreign}");
    }
    let linked: BTreeSet<&str> =
        page.split("href=\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
    let (inside, outside): (BTreeSet<_>, BTreeSet<_>) = linked.iter().partition(|link| link.starts_with('#'));
    assert_eq!(outside, cited);
    assert_eq!(page.matches("://").count(), page.matches("href=\"https://").count(), "an address elsewhere");
    assert_eq!(inside.len(), EXHIBITS);
    for link in &inside {
        assert_eq!(page.matches(&format!("id=\"{}\"", &link[1..])).count(), 1, "{link}");
    }
    assert_eq!(page.matches("class=\"chart\" role=\"img\" aria-label=\"Timeline of").count(), 2 * EXHIBITS);
    well_formed(&page);
}

/// Every tag is closed in its turn; attributes are quoted.
fn well_formed(page: &str) {
    let body = page.strip_prefix("<!doctype html>\n").expect("a document");
    let (head, rest) = body.split_once("<style>").expect("styles");
    let (_, rest) = rest.split_once("</style>").expect("their end");
    let mut open: Vec<&str> = Vec::new();
    for tag in [head, rest].iter().flat_map(|part| part.split('<').skip(1)) {
        let (tag, text) = tag.split_once('>').unwrap_or_else(|| panic!("not a tag: {tag:?}"));
        assert!(!text.contains('>'), "not escaped: {text:?}");
        assert_eq!(tag.matches('"').count() % 2, 0, "{tag:?}");
        match tag.strip_prefix('/') {
            Some(name) => assert_eq!(open.pop(), Some(name), "closed in another's turn"),
            None if tag.starts_with("meta ") => {}
            None => open.push(tag.split([' ', '\n']).next().unwrap()),
        }
    }
    assert_eq!(open, [""; 0]);
}

/// A file gets the page, and stdout the text.
#[test]
fn the_page_goes_into_a_file() {
    let file = std::env::temp_dir().join(format!("overlapped-pitfalls-{}.html", std::process::id()));
    let ended = run(binary(["pitfalls", "short-send", "--html", file.to_str().unwrap()]), b"");
    let page = std::fs::read_to_string(&file);
    let _ = std::fs::remove_file(&file);
    assert_eq!(ended.status, Some(0), "{ended:?}");
    assert!(ended.text().contains("== short-send"), "{ended:?}");
    well_formed(&page.expect("a page"));
}
