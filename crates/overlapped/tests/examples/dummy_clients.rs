//! The clients of `examples/dummy_clients.rs` against servers that echo, and against some that do not.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Output, Stdio};
use std::thread;

use overlapped_testing::{Example, PATIENCE, accept, read_to_end, started, under_wine, with_timeouts};

/// Runs the program to its end.
fn run(target: &str, users: u32, rate: &str, seconds: u32) -> (String, Output) {
    let mut command = Example::command("dummy_clients");
    command.args([target, &users.to_string(), rate, &seconds.to_string()]).stdin(Stdio::null());
    let output = started(|| command.output()).expect("build it first: cargo build --examples");
    (String::from_utf8(output.stdout.clone()).expect("text"), output)
}

/// How many echoes the last line counts.
fn messages(text: &str) -> u32 {
    let (_, total) = text.rsplit_once("total: ").expect("a total");
    total.split(' ').next().and_then(|count| count.parse().ok()).expect("a number")
}

#[test]
fn dummy_clients_get_all_their_echoes() {
    // Both programs inherit the limit.
    let limit = overlapped::raise_descriptor_limit().unwrap_or(u64::MAX);
    // Under Wine, each wait goes through one server process: it carries some hundred messages a second.
    let wine = under_wine();
    let users = (if wine { 100 } else { 2_000 }).min(limit / 2) as u32;
    let echo = Example::start("echo", &[]);
    let target = echo.dial().peer_addr().unwrap().to_string();
    let (text, output) = run(&target, users, "2", 2);
    assert!(output.status.success(), "{text}");
    let (lines, total) = text.trim_end().rsplit_once('\n').expect("a line a second, and the total");
    assert!(lines.contains(&format!(" s: {users} users, ")), "{text}");
    assert!(lines.lines().all(|line| line.contains(" messages/s, median ")), "{text}");
    assert!(
        total.starts_with("total: ") && total.ends_with(", 0 lost, 0 wrong, 0 connections failed"),
        "{text}"
    );
    // Each of them has sent for two seconds at least; on a busy machine, somewhat late.
    assert!((2 * users..=6 * users).contains(&messages(&text)), "{text}");
}

/// A server whose first `users` clients are served by `serve`, each on a thread.
fn serve(users: usize, serve: fn(usize, TcpStream)) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for number in 0..users {
            let stream = with_timeouts(accept(&listener).expect("a client"), PATIENCE);
            thread::spawn(move || serve(number, stream));
        }
    });
    target
}

/// Echoes until the client ends. `change` may do something to what it echoes.
fn echo(mut stream: TcpStream, mut change: impl FnMut(&mut [u8])) {
    let mut bytes = [0; 1024];
    while let Ok(count @ 1..) = stream.read(&mut bytes) {
        change(&mut bytes[..count]);
        let _ = stream.write_all(&bytes[..count]); // the client may be gone
    }
}

#[test]
fn dummy_clients_report_a_flipped_bit() {
    let target = serve(5, |number, stream| {
        let mut echoed = 0;
        echo(stream, |bytes| {
            echoed += 1;
            bytes[3] ^= u8::from(number == 2 && echoed == 3);
        });
    });
    let (text, output) = run(&target, 5, "10", 1);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.ends_with(", 0 lost, 1 wrong, 0 connections failed\n"), "{text}");
}

#[test]
fn dummy_clients_report_a_server_that_stops_answering() {
    let target = serve(5, |number, mut stream| match number {
        4 => drop(read_to_end(&mut stream)),
        _ => echo(stream, |_| {}),
    });
    let (text, output) = run(&target, 5, "10", 1);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.ends_with(", 1 lost, 0 wrong, 0 connections failed\n"), "{text}");
    // The others have gone on meanwhile: for a second, and for as long as it took to connect.
    assert!(messages(&text) >= 4 * 10, "{text}");
}

#[test]
fn dummy_clients_report_a_server_that_is_not_there() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let (text, output) = run(&nobody, 5, "10", 1);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        text.ends_with(
            "total: 0 messages, median 0.00 ms, p99 0.00 ms, 0 lost, 0 wrong, 5 connections failed\n"
        ),
        "{text}"
    );
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(
        errors.starts_with(&format!("cannot connect to {nobody}: ")) && errors.lines().count() == 1,
        "{errors}"
    );
}

#[test]
fn dummy_clients_refuse_wrong_arguments() {
    for args in
        [&["a", "x"][..], &["a", "0"], &["a", "1", "0"], &["a", "1", "-1"], &["a", "1", "1", "0"], &["a"; 5]]
    {
        let output = started(|| Example::command("dummy_clients").args(args).output()).expect("it is built");
        let text = String::from_utf8(output.stderr).expect("text");
        assert_eq!(output.status.code(), Some(2), "{args:?}: {text}");
        assert!(text.starts_with("usage: dummy_clients "), "{args:?}: {text}");
    }
}
