//! `overlapped client` with its input piped: what goes in comes out, to the byte.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::thread;

use crate::peer::{PATIENCE, assert_same, noise, reset};
use crate::server::{Keep, Process, Server, binary, run};

fn client(address: SocketAddr) -> Command {
    binary(["client".to_owned(), address.to_string()])
}

/// Through a real server, the output is the input.
fn echoes(inputs: &[&[u8]]) {
    let server = Server::start("auto", &[]);
    for input in inputs {
        let ended = run(client(server.address()), input);
        assert_eq!((ended.status, ended.stderr.as_str()), (Some(0), ""), "{ended:?}");
        assert_same(&ended.stdout, input);
    }
}

#[test]
fn lines() {
    echoes(&[b"one\ntwo\nthree\n", b"a last line\nwithout its end", b"x"]);
}

#[test]
fn nothing() {
    echoes(&[b"", b"\n", b"\n\n\n", b"\n\nx\n\n"]);
}

#[test]
fn a_q_is_data() {
    echoes(&[b"q\n", b"before\nq\nafter\n", b"q", b" q \n"]);
}

#[test]
fn any_byte() {
    let all: Vec<u8> = (0..=255).chain((0..=255).rev()).collect();
    echoes(&[&all, b"\r\n\r\n", b"\0\n\0", noise(3, 300_000)]);
}

/// Longer than all buffers on the way: sending must not wait for a reader that waits for sending.
#[test]
fn a_line_of_fifty_megabytes() {
    let mut line = vec![b'a'; 50 << 20];
    line.iter_mut().enumerate().for_each(|(at, byte)| *byte += (at % 23) as u8);
    let without_end = line.clone();
    line.push(b'\n');
    line.extend(b"and a short one\n");
    echoes(&[&line, &without_end]);
}

#[test]
fn many_lines() {
    let lines: String = (0..20_000).map(|number| format!("line {number}\n")).collect();
    echoes(&[lines.as_bytes()]);
}

/// A server that echoes so many bytes and is gone then, in one way or the other.
fn gone_after(bytes: usize, leave: fn(TcpStream)) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        drop(listener);
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut left = bytes;
        while left > 0 {
            // The next line comes only after the echo of the last.
            let mut received = vec![0; left];
            let count = stream.read(&mut received).unwrap();
            assert!(count > 0, "the client is still there");
            stream.write_all(&received[..count]).unwrap();
            left -= count;
        }
        leave(stream);
    });
    let mut process = Process::start(client(address), Keep::All);
    let mut stdin = process.stdin();
    let input = b"first\nsecond\nthird\n";
    // Up to the end of the line that breaks off, which is the first one for 0 bytes.
    let lines = bytes.max(1) + input[bytes.max(1) - 1..].iter().position(|byte| *byte == b'\n').unwrap();
    stdin.write_all(&input[..lines]).unwrap();
    server.join().expect("it gets its lines");
    // Only now the rest: the server has left.
    let _ = stdin.write_all(&input[lines..]);
    drop(stdin);
    let ended = process.wait();
    assert_eq!(ended.status, Some(1), "{ended:?}");
    assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
    assert!(ended.stderr.contains(&format!("the server at {address} has closed")), "{ended:?}");
    assert!(input.starts_with(&ended.stdout) && ended.stdout.len() <= bytes, "{ended:?}");
}

#[test]
fn server_gone_before_the_first_echo() {
    gone_after(0, drop);
}

#[test]
fn server_gone_in_the_middle_of_a_line() {
    gone_after(9, drop);
}

#[test]
fn server_gone_between_lines() {
    gone_after(13, drop);
}

#[test]
fn server_gone_with_a_reset() {
    gone_after(9, reset);
}

/// Nobody reads what it prints: no error, no message.
#[test]
fn stdout_without_reader() {
    let server = Server::start("auto", &[]);
    let mut process = Process::start(client(server.address()), Keep::Nothing);
    process.feed(b"a line that nobody reads\n".repeat(1000));
    let ended = process.wait();
    assert_eq!((ended.status, ended.stderr.as_str()), (Some(0), ""), "{ended:?}");
}

/// The client for Windows, under Wine, with a server on Linux.
#[cfg(target_os = "linux")]
mod wine {
    use super::*;
    use crate::server::windows_binary;

    #[test]
    #[ignore = "run by `cargo xtask windows`"]
    fn a_windows_client_and_a_linux_server() {
        let server = Server::start("auto", &[]);
        let lines: String = (0..500).map(|number| format!("line {number}\n")).collect();
        for input in [lines.as_bytes(), b"a last line\nwithout its end", noise(3, 300_000)] {
            let mut client = windows_binary();
            client.args(["client", &server.address().to_string()]);
            let ended = run(client, input);
            assert_eq!((ended.status, ended.stderr.as_str()), (Some(0), ""), "{ended:?}");
            assert_same(&ended.stdout, input);
        }
    }
}
