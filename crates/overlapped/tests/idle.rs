//! A server on which nothing happens costs nothing: none of its threads wakes. A separate program, because it counts
//! what the whole process does.
#![cfg(target_os = "linux")]

mod common;
#[path = "common/echo.rs"]
mod echo;

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::time::{Duration, Instant};

use overlapped::Server;
use overlapped_testing::{PATIENCE, dial, eventually};

use common::backends;
use echo::Echo;

/// How often each of the server's threads gave up its processor: `proc(5)`.
fn switches() -> BTreeMap<String, u64> {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    let status = tasks.filter_map(|task| fs::read_to_string(task.unwrap().path().join("status")).ok());
    let field = |status: &str, name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("proc(5) names it");
        line.trim().to_owned()
    };
    let named = status.map(|status| {
        let count = field(&status, "voluntary_ctxt_switches:").parse().expect("a number");
        (field(&status, "Name:"), count)
    });
    named.filter(|(name, _)| name.starts_with("worker-") || name == "monitor").collect()
}

#[test]
fn an_idle_server_wakes_no_thread() {
    const WHILE: Duration = Duration::from_secs(1);
    for choice in backends() {
        let server = Server::bind("127.0.0.1:0").unwrap().backend(choice).workers(3);
        let server = server.start(|_worker| Echo).unwrap();
        let mut client = dial(server.local_addr());
        client.write_all(b"x").unwrap();
        client.read_exact(&mut [0]).unwrap();
        // The monitor looks for a few ticks more, and falls asleep. A server that is never idle fails here.
        let deadline = Instant::now() + PATIENCE;
        // A thread names itself, some time after it was started.
        eventually("three workers and the monitor have names", || switches().len() == 4);
        let mut before = switches();
        loop {
            std::thread::sleep(WHILE);
            let now = switches();
            if now == before {
                break;
            }
            assert!(
                Instant::now() < deadline,
                "{choice:?}: it is awake again and again: {before:?}, {now:?}"
            );
            before = now;
        }
        // It wakes for what happens, and only for that.
        client.write_all(b"x").unwrap();
        client.read_exact(&mut [0]).unwrap();
        assert_ne!(switches(), before);
        drop(client);
        server.drain(PATIENCE).unwrap();
    }
}
