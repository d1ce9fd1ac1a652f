//! The key-value store, as `redis-cli` and `redis-benchmark` see it.

use std::io::Write;
use std::process::{Command, Stdio};
use std::thread;

use super::expect;
use super::served::Served;
use crate::bounded::{Failure, output_of};

/// Commands in this order, and what `redis-cli` prints for each.
const COMMANDS: &[(&[&str], &str)] = &[
    (&["PING"], "PONG"),
    (&["PING", "hello"], "hello"),
    (&["ECHO", "two words"], "two words"),
    (&["SET", "name", "Alice"], "OK"),
    (&["GET", "name"], "Alice"),
    (&["GET", "nobody"], ""),
    (&["EXISTS", "name", "nobody", "name"], "2"),
    (&["SET", "empty", ""], "OK"),
    (&["GET", "empty"], ""),
    (&["INCR", "counter"], "1"),
    (&["INCR", "counter"], "2"),
    (&["INCR", "name"], "ERR value is not an integer or out of range\n"),
    (&["MSET", "a", "1", "b", "2"], "OK"),
    (&["MGET", "a", "nobody", "b"], "1\n\n2"),
    (&["DBSIZE"], "5"),
    (&["DEL", "a", "b", "nobody"], "2"),
    (&["GET"], "ERR wrong number of arguments for 'get' command\n"),
    (&["NONSENSE"], "ERR unknown command 'NONSENSE'\n"),
    (&["FLUSHALL"], "OK"),
    (&["DBSIZE"], "0"),
];
/// More than a block of the pool, and more than the high-water mark.
const LARGE: usize = 1 << 20;
const PIPED: usize = 10_000;

pub(super) fn check(backend: &str) -> Result<usize, Failure> {
    let store = Served::start("store", backend)?;
    for (words, wanted) in COMMANDS {
        let got = output_of(cli(&store).args(*words))?;
        expect(&format!("redis-cli {}", words.join(" ")), &got, wanted)?;
    }
    large_value(&store)?;
    mass_insertion(&store)?;
    benchmark(&store)?;
    Ok(COMMANDS.len() + 3)
}

fn cli(store: &Served) -> Command {
    let mut command = Command::new("redis-cli");
    command.args(["-p", &store.port()]);
    command
}

/// The value is the standard input of `redis-cli -x`.
fn large_value(store: &Served) -> Result<(), Failure> {
    let value = "0123456789abcdef".repeat(LARGE / 16);
    let set = with_input(cli(store).args(["-x", "SET", "large"]), value.clone())?;
    expect("redis-cli -x SET large", &set, "OK")?;
    let got = output_of(cli(store).args(["GET", "large"]))?;
    if got == value { Ok(()) } else { Err(format!("a value of {LARGE} bytes came back with {}", got.len())) }
}

/// All commands at once: `redis-cli --pipe` counts the replies.
fn mass_insertion(store: &Served) -> Result<(), Failure> {
    let command = |number| {
        let (key, value) = (format!("key:{number}"), format!("value {number}"));
        format!("*3\r\n$3\r\nSET\r\n${}\r\n{key}\r\n${}\r\n{value}\r\n", key.len(), value.len())
    };
    let got = with_input(cli(store).arg("--pipe"), (0..PIPED).map(command).collect())?;
    let last = got.lines().last().unwrap_or_default();
    expect("redis-cli --pipe", last, &format!("errors: 0, replies: {PIPED}"))?;
    let last = output_of(cli(store).args(["GET", &format!("key:{}", PIPED - 1)]))?;
    expect("the last one of them", &last, &format!("value {}", PIPED - 1))
}

fn with_input(command: &mut Command, input: String) -> Result<String, Failure> {
    let (reader, mut writer) = std::io::pipe().map_err(|error| format!("a pipe: {error}"))?;
    command.stdin(Stdio::from(reader));
    let writing = thread::spawn(move || writer.write_all(input.as_bytes()));
    let output = output_of(command);
    // The reading end is in the command, which must be gone before a writer that nobody reads can end.
    *command = Command::new("true");
    writing.join().expect("writing does not panic").map_err(|error| format!("its input: {error}"))?;
    output
}

/// Each test ends with a rate if every reply was as the benchmark expects it.
fn benchmark(store: &Served) -> Result<(), Failure> {
    const TESTS: [&str; 5] = ["PING_MBULK", "SET", "GET", "INCR", "MSET (10 keys)"];
    let mut command = Command::new("redis-benchmark");
    command.args(["-p", &store.port(), "-t", "ping,set,get,incr,mset", "-n", "20000", "-P", "16", "-q"]);
    let got = output_of(&mut command)?.replace('\r', "\n");
    for test in TESTS {
        let rate =
            |line: &str| line.starts_with(&format!("{test}: ")) && line.contains("requests per second");
        if !got.lines().any(rate) {
            return Err(format!("redis-benchmark has no rate for {test}:\n{got}"));
        }
    }
    Ok(())
}
