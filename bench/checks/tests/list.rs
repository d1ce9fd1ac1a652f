//! `peers.json` fits the workspace.

use std::collections::BTreeSet;
use std::fs;

use peer_checks::{folder, peers};

#[test]
fn names_are_unique_and_commands_have_a_port() {
    let peers = peers();
    let names: BTreeSet<&str> = peers.iter().map(|peer| peer.name.as_str()).collect();
    assert_eq!(names.len(), peers.len(), "two peers have one name");
    for peer in &peers {
        assert!(peer.arguments(1).any(|argument| argument == "1"), "{}: no `{{port}}`", peer.name);
    }
}

#[test]
fn every_source_is_there_and_every_program_is_listed() {
    let root = folder().parent().expect("bench lies in the repository").to_owned();
    let listed: BTreeSet<String> = peers().into_iter().map(|peer| peer.source).collect();
    let mut there = BTreeSet::new();
    for entry in fs::read_dir(folder()).expect("bench") {
        let entry = entry.expect("an entry of bench");
        if entry.path().join("src/main.rs").exists() {
            there.insert(format!("echo-{}", entry.file_name().display()));
        }
    }
    for entry in fs::read_dir(folder().join("c")).expect("bench/c") {
        let path = entry.expect("an entry of bench/c").path();
        if path.extension().is_some_and(|extension| extension != "h") {
            there.insert(path.strip_prefix(&root).expect("below the root").display().to_string());
        }
    }
    assert_eq!(listed, there);
}
