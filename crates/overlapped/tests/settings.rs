//! Settings at their ends: each is refused at the start, with the reason, or the server serves and ends.

mod common;
#[path = "common/echo.rs"]
mod echo;

use std::io::{Read, Write};
use std::time::Duration;

use overlapped::{Choice, Error, Server, ServerHandle};
use overlapped_testing::{PATIENCE, dial, pattern};

use common::backends;
use echo::Echo;

type Set = fn(Server) -> Server;

fn start(set: Set, choice: Choice) -> Result<ServerHandle, Error> {
    set(Server::bind("127.0.0.1:0").unwrap().workers(1).backend(choice)).start(|_| Echo)
}

const MAX: Duration = Duration::MAX;
const ZERO: Duration = Duration::ZERO;
const NANOSECOND: Duration = Duration::from_nanos(1);
const UNDER_ONE: Duration = Duration::from_micros(999);

#[test]
fn what_makes_no_sense_is_refused_with_the_reason() {
    let refused: &[(&str, &str, Set)] = &[
        ("pool", "1 to 32768", |server| server.pool(40_000, 100)),
        ("pool", "1 to 32768", |server| server.pool(0, 100)),
        ("pool", "at least 1 byte", |server| server.pool(4, 0)),
        ("pool", "at most 1073741824", |server| server.pool(1, u32::MAX)),
        ("pool", "at most 1073741824", |server| server.pool(32_768, u32::MAX)),
        ("hard limit", "block", |server| server.high_water(4096).hard_limit(8192)),
        ("hard limit", "at least 16384", |server| server.high_water(4096).hard_limit(16_383)),
        ("hard limit", "block", |server| server.pool(4, 1 << 20).hard_limit((1 << 20) - 1)),
        ("hard limit", "over 1073741824", |server| server.hard_limit(usize::MAX)),
        ("hard limit", "over 1073741824", |server| server.high_water(2 << 30)),
        ("hard limit", "under the high-water mark", |server| server.high_water(65_536).hard_limit(65_535)),
        ("low-water mark", "not under", |server| server.high_water(0)),
        ("low-water mark", "not under", |server| server.low_water(usize::MAX)),
        ("number of workers", "1 to 1024", |server| server.workers(0)),
        ("number of workers", "1 to 1024", |server| server.workers(usize::MAX)),
        ("mailbox", "at least 1", |server| server.mailbox(0)),
        ("session limit", "at least 1", |server| server.max_sessions(0)),
        ("limit per address", "nobody", |server| server.max_per_address(Some(0))),
        ("IPv6 prefix", "give 1 to 128", |server| server.ipv6_prefix(0)),
        ("IPv6 prefix", "give 1 to 128", |server| server.ipv6_prefix(129)),
        ("tick", "period of 0", |server| server.tick(Some(ZERO))),
        ("idle timeout", "is 0", |server| server.idle_timeout(Some(ZERO))),
        ("first-byte timeout", "is 0", |server| server.first_byte_timeout(Some(ZERO))),
        ("write timeout", "is 0", |server| server.write_timeout(Some(ZERO))),
        ("connect timeout", "is 0", |server| server.connect_timeout(Some(ZERO))),
        ("idle timeout", "at least 1 ms", |server| server.idle_timeout(NANOSECOND)),
        ("first-byte timeout", "is 999µs", |server| server.first_byte_timeout(UNDER_ONE)),
        ("write timeout", "no peer", |server| server.write_timeout(NANOSECOND)),
        ("connect timeout", "at least 1 ms", |server| server.connect_timeout(UNDER_ONE)),
        ("trace of operations", "no observer", |server| server.trace_operations(true)),
        ("keep-alive", "zero", |server| server.keepalive(Some(ZERO))),
        ("keep-alive", "32767s", |server| server.keepalive(Some(MAX))),
        ("user timeout", "zero", |server| server.user_timeout(Some(ZERO))),
        ("user timeout", "2147483.647s", |server| server.user_timeout(Some(MAX))),
    ];
    for (number, (setting, reason, set)) in refused.iter().enumerate() {
        match start(*set, Choice::Auto) {
            Err(error @ Error::Config { .. }) => {
                let text = error.to_string();
                assert!(text.contains(setting) && text.contains(reason), "{number}, {setting}: {text}");
            }
            other => panic!("{number}, {setting}: {other:?}"),
        }
    }
}

#[test]
fn what_makes_sense_serves() {
    let accepted: &[Set] = &[
        |server| server.pool(1, 1),
        |server| server.pool(3, 7),
        |server| server.pool(1, 1 << 30),
        |server| server.high_water(1),
        |server| server.high_water(4096).hard_limit(16_384),
        |server| server.low_water(0),
        |server| server.hard_limit(1 << 30),
        |server| server.mailbox(1),
        |server| server.mailbox(usize::MAX),
        |server| server.max_sessions(usize::MAX),
        |server| server.max_per_address(Some(usize::MAX)),
        |server| server.max_per_address(Some(1000)).ipv6_prefix(1),
        |server| server.max_per_address(Some(1000)).ipv6_prefix(128),
        |server| server.linger_timeout(ZERO),
        |server| server.linger_timeout(MAX),
        |server| server.max_per_address(None).max_per_address(5),
        |server| server.idle_timeout(MAX).first_byte_timeout(MAX).write_timeout(MAX).connect_timeout(MAX),
        |server| server.idle_timeout(None).first_byte_timeout(None).write_timeout(None).connect_timeout(None),
        |server| server.keepalive(None).user_timeout(None).tick(None).busy_poll(None),
        |server| server.connect_timeout(Duration::from_millis(1)),
        |server| server.trace_operations(true).observer(|_| {}),
        |server| server.idle_timeout(Some(MAX)),
        |server| server.first_byte_timeout(Some(MAX)),
        |server| server.write_timeout(Some(MAX)),
        |server| server.connect_timeout(Some(MAX)),
        |server| server.tick(Some(MAX)),
        |server| server.tick(Some(NANOSECOND)),
        |server| server.busy_poll(Some(ZERO)),
        |server| server.busy_poll(Some(MAX)),
        #[cfg(any(target_os = "linux", windows))]
        |server| server.workers(5).pin_workers(true),
        |server| server.pin_workers(true).pin_workers(false),
        |server| server.keepalive(Some(NANOSECOND)),
        |server| server.keepalive(Some(Duration::from_secs(32_767))),
        #[cfg(target_os = "linux")]
        |server| server.user_timeout(Some(Duration::from_millis(i32::MAX as u64))),
    ];
    for choice in backends() {
        for (number, set) in accepted.iter().enumerate() {
            let server = start(*set, choice).unwrap_or_else(|error| panic!("{number}: {error}"));
            serves_and_ends(&server, number);
        }
    }
}

/// More than the machine has: a system that promises memory without having it may serve all the same.
#[test]
fn a_pool_beyond_all_memory_ends_no_process() {
    for choice in backends() {
        match start(|server| server.pool(32_768, 1 << 30), choice) {
            Ok(server) => serves_and_ends(&server, 0),
            Err(error) => {
                let text = error.to_string();
                assert!(
                    text.contains("the pool of 32768 blocks") && text.contains("cannot be had"),
                    "{text}"
                );
            }
        }
    }
}

fn serves_and_ends(server: &ServerHandle, number: usize) {
    let mut client = dial(server.local_addr());
    let sent = pattern(5000, 0);
    let mut got = vec![0; sent.len()];
    let mut writer = client.try_clone().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| writer.write_all(&sent).unwrap());
        client.read_exact(&mut got).unwrap_or_else(|error| panic!("{number}: {error}"));
    });
    assert!(got == sent, "{number}");
    drop((client, writer));
    let report = server.drain(PATIENCE).unwrap();
    assert_eq!((report.cut, report.bytes_lost), (0, 0), "{number}");
}
