//! The programs that `overlapped::docs::pitfalls` says do not compile fail with the error that is stated, and with no
//! other. rustdoc itself looks at the code of a `compile_fail` on nightly only.
#![cfg(unix)] // what the compiler refuses does not depend on the system; under Wine there is no compiler

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Programs compiled so far: each has a name of its own, for tests run at the same time.
static PROGRAMS: AtomicUsize = AtomicUsize::new(0);
const PAGE: &str = include_str!("../src/docs/pitfalls.rs");

/// A block of code of the page.
struct Block {
    /// What follows the fence.
    attributes: String,
    code: String,
}

#[test]
fn what_is_said_not_to_compile_fails_with_the_stated_error_alone() {
    let mut seen = 0;
    for block in blocks() {
        let Some(code) = block.attributes.strip_prefix("compile_fail,") else { continue };
        let errors = errors_of(&block.code);
        assert!(!errors.is_empty(), "it compiles, and should fail with {code}:\n{}", block.code);
        let stated = format!("error[{code}]");
        let others: Vec<_> = errors.iter().filter(|error| !error.starts_with(&stated)).collect();
        assert!(others.is_empty(), "{others:?} in place of {code}, or beside it:\n{}", block.code);
        seen += 1;
    }
    assert!(seen > 10, "only {seen} programs were found");
}

#[test]
fn what_fails_is_followed_by_what_compiles() {
    let blocks: Vec<_> = blocks().collect();
    for (at, block) in blocks.iter().enumerate() {
        if block.attributes.is_empty() {
            continue;
        }
        let next = blocks.get(at + 1).expect("a program that compiles follows");
        assert!(next.attributes.is_empty(), "{} follows {}", next.attributes, block.attributes);
        assert_ne!(next.code, block.code);
        assert_eq!(errors_of(&next.code), [""; 0], "{}", next.code);
    }
}

fn blocks() -> impl Iterator<Item = Block> {
    let text: Vec<_> = PAGE.lines().map(|line| line.trim_start_matches("//!").trim_start()).collect();
    let fences: Vec<_> = (0..text.len()).filter(|at| text[*at].starts_with("```")).collect();
    assert!(fences.len().is_multiple_of(2), "a block has no end");
    let block = |fence: &[usize]| Block {
        attributes: text[fence[0]].trim_start_matches("```").to_owned(),
        code: text[fence[0] + 1..fence[1]].join("\n"),
    };
    fences.chunks(2).map(block).collect::<Vec<_>>().into_iter()
}

/// The errors that the compiler reports for a program, one line each.
fn errors_of(code: &str) -> Vec<String> {
    let mut rustc = Command::new("rustc")
        .args(["-", "--crate-type=lib", "--edition=2024", "--color=never", "--allow=warnings"])
        .arg(format!("--crate-name=program_{}", PROGRAMS.fetch_add(1, Ordering::Relaxed)))
        .args(["--emit=metadata", "--out-dir", env!("CARGO_TARGET_TMPDIR"), "-L"])
        .arg(format!("dependency={}", libraries().display()))
        .args(["overlapped", "proactor"].map(|name| format!("--extern={name}={}", newest(name).display())))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a compiler: these tests were built with one");
    rustc.stdin.take().expect("piped").write_all(code.as_bytes()).expect("the compiler reads its program");
    let output = rustc.wait_with_output().expect("the compiler ends");
    let text = String::from_utf8(output.stderr).expect("the compiler writes UTF-8");
    let is_one = |line: &&str| line.starts_with("error") && !line.starts_with("error: aborting due to");
    let errors: Vec<_> = text.lines().filter(is_one).map(str::to_owned).collect();
    assert_eq!(errors.is_empty(), output.status.success(), "{text}");
    errors
}

/// Where cargo has put this test, and the libraries that it was built with.
fn libraries() -> PathBuf {
    let program = std::env::current_exe().expect("the path of this test");
    program.parent().expect("a directory").to_owned()
}

/// The library that was built last: cargo leaves those of earlier builds beside it.
fn newest(name: &str) -> PathBuf {
    let is_it = |path: &Path| {
        let file = path.file_name().and_then(|file| file.to_str()).unwrap_or_default();
        file.starts_with(&format!("lib{name}-")) && file.ends_with(".rlib")
    };
    let files = libraries().read_dir().expect("a directory").map(|entry| entry.expect("an entry").path());
    let built = |path: &PathBuf| path.metadata().and_then(|data| data.modified()).expect("a time");
    files.filter(|path| is_it(path)).max_by_key(built).expect("a library")
}
