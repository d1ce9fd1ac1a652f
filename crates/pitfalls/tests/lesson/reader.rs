//! What a reader of the lesson does with its program: starts it, and connects several clients at once.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

pub(crate) struct Lesson {
    child: Child,
    address: String,
}

impl Lesson {
    /// Starts an example. `cargo test` builds them beside the tests.
    pub(crate) fn start(example: &str) -> Lesson {
        let child = program(example).arg("127.0.0.1:0").stdout(Stdio::piped()).spawn();
        let mut child = child
            .unwrap_or_else(|error| panic!("{example}: {error}; build it first: cargo build --examples"));
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().expect("piped")).read_line(&mut line).expect("it speaks");
        let address = line.trim().strip_prefix("listening on ").expect("it listens").to_owned();
        Lesson { child, address }
    }

    fn dial(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    /// Several at once, as in the lesson; some break off; the others get every byte, and then the end.
    pub(crate) fn serves_everybody(&self) {
        thread::scope(|scope| {
            for number in 0..50_usize {
                let client = self.dial();
                scope.spawn(move || {
                    let bytes: Vec<u8> = (0..number * 9_000).map(|at| (at * 31 + number) as u8).collect();
                    let (mut reader, mut writer) = (client.try_clone().unwrap(), client);
                    let writing = thread::spawn(move || {
                        for piece in bytes.chunks(1 + number * 300) {
                            // Every fifth breaks off with its echo unread.
                            if number % 5 == 4 && piece.len() < 1 + number * 300 {
                                return None;
                            }
                            writer.write_all(piece).expect("it receives");
                        }
                        writer.shutdown(Shutdown::Write).expect("it is there");
                        Some(bytes)
                    });
                    if number % 5 == 4 {
                        let _ = reader.read(&mut [0; 100]);
                        drop(reader);
                        return;
                    }
                    let mut got = Vec::new();
                    reader.read_to_end(&mut got).expect("an end of stream, not a reset");
                    assert!(Some(got) == writing.join().unwrap(), "client {number}");
                });
            }
        });
        let mut client = self.dial();
        client.write_all(b"still there\n").unwrap();
        let mut echo = [0; 12];
        client.read_exact(&mut echo).unwrap();
        assert_eq!(&echo, b"still there\n");
    }
}

/// An example's program.
pub(crate) fn program(example: &str) -> Command {
    let mut path = std::env::current_exe().expect("a test has a path");
    path.pop();
    path.pop();
    path.push("examples");
    path.push(format!("{example}{}", std::env::consts::EXE_SUFFIX));
    Command::new(path)
}

impl Drop for Lesson {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
