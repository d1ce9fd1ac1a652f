//! The solutions of the exercises in `docs/lesson.md`: their own tests on the simulated kernel, and each of them as a
//! program, with the clients that the page shows.
#![allow(dead_code, reason = "nobody calls the `main` of the modules")]

use std::io::{BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::Stdio;

use overlapped_testing::{
    Example, PATIENCE, eventually, exit_of, expect_bytes, expect_end, read_to_end, reset, spawned,
};

use super::line;

#[path = "../../examples/solutions/solution_5_everybody.rs"]
mod everybody;
#[path = "../../examples/solutions/solution_2_greeting.rs"]
mod greeting;
#[path = "../../examples/solutions/solution_6_kick.rs"]
mod kick;
#[path = "../../examples/solutions/solution_4_limits.rs"]
mod limits;
#[path = "../../examples/solutions/solution_3_lines.rs"]
mod lines;
#[path = "../../examples/solutions/solution_1_upper_case.rs"]
mod upper_case;

/// `talk` is a client on plain sockets: it has no handler that could be simulated.
const WITHOUT_HANDLER: [&str; 1] = ["talk.rs"];

#[test]
fn no_solution_is_without_a_test() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/solutions");
    for file in std::fs::read_dir(folder).expect("the solutions are beside the tests") {
        let path = file.expect("it can be listed").path();
        let name = path.file_name().and_then(|name| name.to_str()).expect("a file has a name");
        let text = std::fs::read_to_string(&path).expect("a solution is text");
        let simulated = include_str!("solutions.rs").contains(&format!("/solutions/{name}\"]"));
        let run = include_str!("solutions.rs").contains(&format!("(\"{}\"", name.trim_end_matches(".rs")));
        assert!(run, "{name}: give it a test with real clients here");
        assert!(
            WITHOUT_HANDLER.contains(&name) || simulated && text.contains("#[test]"),
            "{name}: give it a test with `overlapped::testing`, and a line here"
        );
    }
}

fn client_of(example: &Example) -> BufReader<TcpStream> {
    BufReader::new(example.dial())
}

#[test]
fn upper_case() {
    let example = Example::start("solution_1_upper_case", &[]);
    let mut clients: Vec<_> = (0..5).map(|_| example.dial()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.write_all(format!("client {number} 안녕\n").as_bytes()).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
    }
    for (number, client) in clients.iter_mut().enumerate() {
        assert_eq!(read_to_end(client), format!("CLIENT {number} 안녕\n").as_bytes());
    }
}

#[test]
fn greeting() {
    let example = Example::start("solution_2_greeting", &[]);
    let mut first = client_of(&example);
    assert_eq!(line(&mut first), "welcome, sessions now: 1\n");
    let mut second = client_of(&example);
    assert_eq!(line(&mut second), "welcome, sessions now: 2\n");
    second.get_mut().write_all(b"hello\n").unwrap();
    assert_eq!(line(&mut second), "hello\n");
    first.get_mut().shutdown(Shutdown::Write).unwrap();
    expect_end(&mut first);
    reset(second.into_inner());
    // A session is counted until it is released, which is after its client has read the end.
    eventually("sessions that have ended are not counted", || {
        let mut client = client_of(&example);
        let greeting = line(&mut client);
        client.get_mut().shutdown(Shutdown::Write).unwrap();
        expect_end(client);
        greeting == "welcome, sessions now: 1\n"
    });
}

#[test]
fn lines() {
    let example = Example::start("solution_3_lines", &[]);
    let mut client = example.dial();
    client.write_all(b"one\ntw").unwrap();
    expect_bytes(&mut client, b"one\n");
    client.write_all(b"o\nquit\n").unwrap();
    assert_eq!(read_to_end(&mut client), b"two\nbye\n");
}

#[test]
fn limits() {
    let example = Example::start("solution_4_limits", &[]);
    let (mut first, mut second) = (client_of(&example), client_of(&example));
    assert_eq!([line(&mut first), line(&mut second)], ["welcome\n", "welcome\n"]);
    assert_eq!(read_to_end(&mut example.dial()), b"full, try later\n");
    first.get_mut().write_all(b"hello\n").unwrap();
    assert_eq!(line(&mut first), "hello\n");
    // Ten seconds of the real clock, in which nobody speaks.
    for client in [&mut first, &mut second] {
        assert_eq!(line(client), "silent for too long\n");
        expect_end(client);
    }
}

/// Reads lines up to this one.
fn wait_for(client: &mut BufReader<TcpStream>, wanted: &str) {
    let heard = (0..100).any(|_| line(client) == wanted);
    assert!(heard, "{wanted:?} is among the first 100 lines");
}

#[test]
fn everybody() {
    let example = Example::start("solution_5_everybody", &[]);
    let mut clients: Vec<_> = (0..4).map(|_| client_of(&example)).collect();
    // Each has heard its own line before another speaks: then all sessions are open.
    for (number, client) in clients.iter_mut().enumerate() {
        let text = format!("I am {number}\n");
        client.get_mut().write_all(text.as_bytes()).unwrap();
        wait_for(client, &text);
    }
    clients[2].get_mut().write_all(b"good morning\n").unwrap();
    for client in &mut clients {
        wait_for(client, "good morning\n");
    }
}

#[test]
fn kick() {
    let example = Example::start("solution_6_kick", &[]);
    let mut clients: Vec<_> = (0..3).map(|_| client_of(&example)).collect();
    let numbers: Vec<String> = clients
        .iter_mut()
        .map(|client| line(client).trim().strip_prefix("you are ").expect("a number").to_owned())
        .collect();
    for victim in [1, 2] {
        let number = &numbers[victim];
        clients[0].get_mut().write_all(format!("kick {number}\n").as_bytes()).unwrap();
        assert_eq!(line(&mut clients[0]), format!("kicked {number}\n"));
        assert_eq!(line(&mut clients[victim]), "you were kicked\n");
        expect_end(&mut clients[victim]);
    }
    clients[0].get_mut().write_all(b"kick 99\nstill here\n").unwrap();
    assert_eq!(line(&mut clients[0]), "nobody is 99\n");
    assert_eq!(line(&mut clients[0]), "still here\n");
}

/// The client of the page, with a server that greets it.
#[test]
fn talk() {
    let greeter = Example::start("solution_2_greeting", &[]);
    let address = greeter.dial().peer_addr().unwrap().to_string();
    let mut command = Example::command("talk");
    command.arg(address).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut client = spawned(&mut command).expect("it starts");
    client.stdin.take().expect("piped").write_all(b"hello\nq\nnot sent\n").unwrap();
    let status = exit_of(&mut client, PATIENCE);
    let mut text = String::new();
    client.stdout.take().expect("piped").read_to_string(&mut text).unwrap();
    assert!(status.success(), "{text}");
    assert!(text.contains("welcome, sessions now: ") && text.contains("hello\n"), "{text}");
    assert!(text.ends_with("the server has closed the connection\n") && !text.contains("not sent"), "{text}");

    // And without a server: a closed port.
    let nobody = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).unwrap();
    let mut command = Example::command("talk");
    command.arg(nobody.to_string()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut client = spawned(&mut command).expect("it starts");
    let status = exit_of(&mut client, PATIENCE);
    let mut text = String::new();
    client.stderr.take().expect("piped").read_to_string(&mut text).unwrap();
    assert_eq!(status.code(), Some(1), "{text}");
    assert!(text.starts_with(&format!("cannot connect to {nobody}: ")), "{text}");
    assert!(
        text.trim_end().ends_with("; start a server there") && text.trim_end().lines().count() == 1,
        "{text}"
    );
}

/// A reset is reported at once, not when the next line is typed. (Wine may report a reset as an end of stream.)
#[test]
#[cfg(unix)]
fn talk_ends_when_its_connection_is_reset() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut command = Example::command("talk");
    command.arg(listener.local_addr().unwrap().to_string()).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut client = spawned(&mut command).expect("it starts");
    let _keyboard = client.stdin.take();
    reset(overlapped_testing::accept(&listener).expect("it connects"));
    let status = exit_of(&mut client, PATIENCE);
    let mut text = String::new();
    client.stdout.take().expect("piped").read_to_string(&mut text).unwrap();
    assert_eq!(status.code(), Some(1), "{text}");
    assert!(text.contains("the connection has failed: "), "{text}");
}
