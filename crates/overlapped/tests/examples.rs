//! The examples, run as programs.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

struct Example {
    child: Child,
    address: String,
}

impl Example {
    /// `cargo test` builds examples beside the tests.
    fn start(name: &str) -> Example {
        let mut path: PathBuf = std::env::current_exe().expect("a test has a path");
        path.pop();
        path.pop();
        path.push("examples");
        path.push(format!("{name}{}", std::env::consts::EXE_SUFFIX));
        let child = Command::new(&path).arg("127.0.0.1:0").stdout(Stdio::piped()).spawn();
        let mut child = child.unwrap_or_else(|error| {
            panic!("{}: {error}; build it first: cargo build --examples", path.display())
        });
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().expect("piped")).read_line(&mut line).expect("it speaks");
        let address = line.trim().strip_prefix("listening on ").expect("it listens").to_owned();
        Example { child, address }
    }

    fn dial(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn echo() {
    let example = Example::start("echo");
    let mut client = example.dial();
    client.write_all(b"hello").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut got = String::new();
    client.read_to_string(&mut got).unwrap();
    assert_eq!(got, "hello");
}

#[test]
fn chat() {
    let example = Example::start("chat");
    let mut people: Vec<BufReader<TcpStream>> = (0..4).map(|_| BufReader::new(example.dial())).collect();
    let line = |person: &mut BufReader<TcpStream>| {
        let mut line = String::new();
        person.read_line(&mut line).expect("a line");
        line
    };
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
    assert_eq!(line(&mut people[2]), "line too long\n");
    assert_eq!(line(&mut people[2]), "", "its session is closed");
}
