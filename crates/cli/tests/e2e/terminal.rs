//! `overlapped client` as a person meets it: on a terminal.

use std::fs::File;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::process::{Child, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::peer::PATIENCE;
use crate::server::{Server, binary};

/// A client whose terminal this test holds.
struct Person {
    child: Child,
    keyboard: File,
    screen: Receiver<Vec<u8>>,
    seen: String,
}

impl Person {
    fn at(server: SocketAddr) -> Person {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        grantpt(&ours).unwrap();
        unlockpt(&ours).unwrap();
        let name = ptsname(&ours, Vec::new()).unwrap().into_string().unwrap();
        let theirs: OwnedFd = File::options().read(true).write(true).open(name).unwrap().into();
        let mut command = binary(["client".to_owned(), server.to_string()]);
        let (input, output) = (theirs.try_clone().unwrap(), theirs.try_clone().unwrap());
        let child = command.stdin(input).stdout(output).stderr(Stdio::from(theirs)).spawn().unwrap();
        drop(command); // and with it the last of our copies of their end
        let keyboard = File::from(ours);
        let mut reader = keyboard.try_clone().unwrap();
        let (tell, screen) = mpsc::channel();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = reader.read(&mut buffer) {
                let _ = tell.send(buffer[..count].to_vec());
            }
        });
        Person { child, keyboard, screen, seen: String::new() }
    }

    fn types(&mut self, text: &str) {
        self.keyboard.write_all(text.as_bytes()).unwrap();
    }

    /// Waits until `text` is on the screen, after what was waited for before.
    fn sees(&mut self, text: &str) {
        while !self.seen.contains(text) {
            match self.screen.recv_timeout(PATIENCE) {
                Ok(bytes) => self.seen += &String::from_utf8_lossy(&bytes),
                Err(_) => panic!("no {text:?} on the screen, but {:?}", self.seen),
            }
        }
        self.seen = self.seen.split_once(text).expect("it is there").1.to_owned();
    }
}

impl Drop for Person {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn an_echo_and_its_time_and_q() {
    let server = Server::start("auto", &[]);
    let mut person = Person::at(server.address());
    person.sees("> ");
    person.types("hello\n");
    for text in ["hello\r\n", "hello\r\n", "  6 bytes in ", " µs\r\n> "] {
        person.sees(text); // the terminal's own echo, the server's, and the time
    }
    person.types("q\n");
    assert_eq!(person.child.wait().unwrap().code(), Some(0));
}

/// A server that goes away is told at the prompt, not with the next line.
#[test]
fn a_server_that_goes_away_at_the_prompt() {
    let server = Server::start("auto", &[]);
    let address = server.address();
    let mut person = Person::at(address);
    person.types("hello\n");
    person.sees(" µs\r\n> ");
    server.end();
    person.sees(&format!("error: the server at {address} has closed the connection"));
    assert_eq!(person.child.wait().unwrap().code(), Some(1));
}
