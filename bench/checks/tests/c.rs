//! The peers in C and C++ do what is asked of all. One whose Debian packages are not installed is skipped, and says so.

use std::path::PathBuf;
use std::process::Command;

use peer_checks::{Build, Peer, Promises, every_byte_comes_back, folder, ten_thousand_connections};

#[test]
fn every_byte_comes_back_from_epoll() {
    check("epoll", |program, peer| every_byte_comes_back(program, peer, Promises::All));
}

#[test]
fn every_byte_comes_back_from_libuv() {
    check("libuv", |program, peer| every_byte_comes_back(program, peer, Promises::All));
}

#[test]
fn every_byte_comes_back_from_asio() {
    check("asio", |program, peer| every_byte_comes_back(program, peer, Promises::All));
}

#[test]
#[ignore = "10,000 connections: up to 250 MB in the peer"]
fn ten_thousand_connections_to_each() {
    for name in ["epoll", "libuv", "asio"] {
        check(name, ten_thousand_connections);
    }
}

fn check(name: &str, check: impl Fn(&std::path::Path, &Peer)) {
    let peer = Peer::named(name);
    match compile(&peer) {
        Some(program) => check(&program, &peer),
        None => eprintln!("skipped: {name} needs {}", peer.needs.join(", ")),
    }
}

/// The program; none if a package that the peer needs is not installed.
fn compile(peer: &Peer) -> Option<PathBuf> {
    let compiler = match peer.build {
        Build::C => "cc",
        Build::Cpp => "c++",
        Build::Cargo => panic!("{} is no C", peer.name),
    };
    let program = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!(
        "{}-{}",
        peer.command[0],
        std::process::id()
    ));
    let mut command = Command::new(compiler);
    command
        .args(["-O3", "-Wextra", "-Wunused", "-Wuninitialized", "-Werror", "-o"])
        .arg(&program)
        .arg(&peer.source);
    command.args(peer.libs.iter().map(|lib| format!("-l{lib}")));
    command.current_dir(folder().parent().expect("bench lies in the repository"));
    let output = command.output().unwrap_or_else(|error| panic!("{compiler}: {error}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    let missing = ["No such file", "cannot find -l"].iter().any(|what| errors.contains(what));
    if missing && !peer.needs.is_empty() {
        return None;
    }
    assert!(output.status.success(), "{}: {errors}", peer.source);
    Some(program)
}
