//! The examples, run as programs.

mod course;
mod draining;
mod dummy_clients;
mod reconnect;
mod relay;
mod simulated;
mod solutions;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::Stdio;

use overlapped_testing::{Example, read_to_end, started};

#[test]
fn echo() {
    let example = Example::start("echo", &[]);
    let mut client = example.dial();
    client.write_all(b"hello").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_to_end(&mut client), b"hello");
}

/// Their `main` returns the library's error: what is printed is the message, with what to do next, and not the fields.
#[test]
fn a_main_that_returns_the_error_prints_its_message() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for name in ["echo", "chat", "game_tick"] {
        let mut command = Example::command(name);
        command.arg(&address).stdin(Stdio::null());
        let output = started(|| command.output()).unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{name}: {text}");
        let start = format!("Error: cannot listen on {address}: ");
        assert!(text.starts_with(&start) && text.contains("choose another port"), "{name}: {text}");
        let fields = ["Bind", "{", "source"];
        assert!(
            text.lines().count() == 1 && !fields.iter().any(|field| text.contains(field)),
            "{name}: {text}"
        );
    }
}

fn line(from: &mut BufReader<TcpStream>) -> String {
    let mut line = String::new();
    from.read_line(&mut line).expect("a line");
    line
}

#[test]
fn chat() {
    let example = Example::start("chat", &[]);
    let mut people: Vec<BufReader<TcpStream>> = (0..4).map(|_| BufReader::new(example.dial())).collect();
    let names: Vec<String> = people
        .iter_mut()
        .map(|person| line(person).trim().strip_prefix("you are ").expect("a greeting").to_owned())
        .collect();
    // In pieces: only whole lines are passed on.
    for piece in ["go", "od morning\nand", " good night\n"] {
        people[1].get_mut().write_all(piece.as_bytes()).unwrap();
    }
    for person in [0, 2, 3] {
        assert_eq!(line(&mut people[person]), format!("{}: good morning\n", names[1]));
        assert_eq!(line(&mut people[person]), format!("{}: and good night\n", names[1]));
    }
    people[2].get_mut().write_all(&[b'x'; 10_000]).unwrap();
    assert!(line(&mut people[2]).ends_with("over the limit of 4096\n"));
    assert_eq!(line(&mut people[2]), "", "its session is closed");
}

#[test]
fn broadcast() {
    let mut example = Example::start("broadcast", &[]);
    let mut subscribers: Vec<_> = (0..5).map(|_| BufReader::new(example.dial())).collect();
    for subscriber in &mut subscribers {
        assert_eq!(line(subscriber), "subscribed\n");
    }
    drop(subscribers.pop());
    let mut feed = example.stdin();
    for text in ["one\n", "two\n"] {
        feed.write_all(text.as_bytes()).unwrap();
        for subscriber in &mut subscribers {
            assert_eq!(line(subscriber), text);
        }
    }
    drop(feed);
    for subscriber in &mut subscribers {
        assert_eq!(line(subscriber), "", "the feed is over: each session ends in good order");
    }
    assert!(example.wait().success());
}

fn frame(from: &mut TcpStream) -> String {
    let mut len = [0; 4];
    from.read_exact(&mut len).expect("a prefix");
    let mut content = vec![0; u32::from_be_bytes(len) as usize];
    from.read_exact(&mut content).expect("a whole frame");
    String::from_utf8(content).unwrap()
}

#[test]
fn framed() {
    let example = Example::start("framed", &[]);
    let mut client = example.dial();
    let mut stream = Vec::new();
    for content in [&b"one two\nthree\n"[..], b"", &[b'x'; 100_000]] {
        stream.extend((content.len() as u32).to_be_bytes());
        stream.extend(content);
    }
    // One byte by itself, some in one segment, the rest in as many as it takes.
    let (first, rest) = stream.split_at(1);
    client.write_all(first).unwrap();
    client.write_all(rest).unwrap();
    assert_eq!(frame(&mut client), "frame 1: 2 lines, 3 words, 14 bytes");
    assert_eq!(frame(&mut client), "frame 2: 0 lines, 0 words, 0 bytes");
    assert_eq!(frame(&mut client), "frame 3: 1 lines, 1 words, 100000 bytes");
    client.write_all(&(2_u32 << 20).to_be_bytes()).unwrap();
    assert_eq!(frame(&mut client), "a frame of 2097152 bytes or more is over the limit of 1048576");
    assert_eq!(client.read(&mut [0]).unwrap(), 0, "its session is closed");
}

#[test]
fn game_tick() {
    let example = Example::start("game_tick", &[]);
    let mut players: Vec<_> = (0..3).map(|_| BufReader::new(example.dial())).collect();
    players[0].get_mut().write_all(b"dddsw").unwrap();
    for (player, place) in players.iter_mut().zip(["3,0", "0,0", "0,0"]) {
        let wanted = format!("3 in all, you at {place}\n");
        let seen = (0..200).map(|_| line(player)).any(|tick| tick.ends_with(&wanted));
        assert!(seen, "two worlds with three players in all, after at most 200 ticks");
    }
    drop(players.pop());
    let seen = (0..200).map(|_| line(&mut players[0])).any(|tick| tick.contains("2 in all"));
    assert!(seen, "who left is counted no more");
}
