//! `overlapped client` with its input piped: what goes in comes out, to the byte.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
#[cfg(target_os = "linux")]
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;

use overlapped_testing::accept;

use crate::peer::{PATIENCE, assert_same, noise, reset};
use crate::process::{Keep, Process, run};
use crate::server::{Server, binary};

fn client(address: SocketAddr) -> Command {
    binary(["client".to_owned(), address.to_string()])
}

/// Through a real server, the output is the input.
fn echoes(inputs: &[&[u8]]) {
    let server = Server::start("auto", &[]);
    for input in inputs {
        let ended = run(client(server.address()), input);
        assert_eq!((ended.status, ended.stderr.as_str()), (Some(0), ""), "{ended:?}");
        assert_same(&ended.stdout, input, "the output");
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
    // Each line awaits its echo, which takes 2 ms under Wine: 20,000 were not over in 40 s there.
    let count = if overlapped_testing::under_wine() { 5_000 } else { 20_000 };
    let lines: String = (0..count).map(|number| format!("line {number}\n")).collect();
    echoes(&[lines.as_bytes()]);
}

/// A server that echoes this number of bytes and then ends, with FIN or with a reset.
fn gone_after(bytes: usize, leave: fn(TcpStream)) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = thread::spawn(move || {
        let mut stream = accept(&listener).unwrap();
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

/// What a server makes of a line: the first is `one\n`.
type Answer = fn(&[u8]) -> Vec<u8>;

/// A server that answers each of two lines as it likes, and ends when the client does.
fn answers(answer: Answer) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let mut stream = accept(&listener).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        for line in LINES {
            let mut received = vec![0; line.len()];
            stream.read_exact(&mut received).unwrap();
            assert_eq!(received, line);
            stream.write_all(&answer(line)).unwrap();
        }
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).unwrap();
        assert_eq!(rest, b"");
    });
    address
}

const LINES: [&[u8]; 2] = [b"one\n", b"two \x1b\n"];

/// What comes back is printed as it came, and the first difference is reported. The status is 1 at the end, after the
/// other lines.
fn differs(command: fn(SocketAddr) -> Command, answer: Answer, report: &str) {
    let address = answers(answer);
    let ended = run(command(address), &LINES.concat());
    let report =
        format!("error: {report}; is {address} an echo server? (only the first difference is reported)\n");
    assert_eq!((ended.status, ended.stderr.as_str()), (Some(1), report.as_str()), "{ended:?}");
    assert_same(&ended.stdout, &LINES.map(answer).concat(), "the output");
}

fn differences(command: fn(SocketAddr) -> Command) {
    let other = |line: &[u8]| line.to_ascii_uppercase();
    let what = "the echo is not what was sent: offset 0, expected 0x6f ('o'), got 0x4f ('O')";
    differs(command, other, what);
    // The second line only, and what is no letter.
    let other = |line: &[u8]| line.iter().map(|byte| if *byte == 0x1b { b' ' } else { *byte }).collect();
    let what = "the echo is not what was sent: offset 8, expected 0x1b, got 0x20";
    differs(command, other, what);
    let more = |line: &[u8]| [line, if line == LINES[1] { b"\x07!\n" } else { b"" }].concat();
    let what = "after all 10 bytes that were sent came \"\\x07!\\n\"";
    differs(command, more, what);
    // One byte too many in the first line is a difference in the second.
    let more = |line: &[u8]| [line, if line == LINES[0] { b"!" } else { b"" }].concat();
    let what = "the echo is not what was sent: offset 4, expected 0x74 ('t'), got 0x21 ('!')";
    differs(command, more, what);
}

#[test]
fn an_echo_that_differs() {
    differences(client);
}

/// Nothing comes any more in the middle of a line. That is said, once; the rest is still waited for.
#[test]
fn an_echo_that_stops() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut process = Process::start(client(listener.local_addr().unwrap()), Keep::All);
    process.feed(b"hello\nbye\n".to_vec());
    let mut server = accept(&listener).unwrap();
    server.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut line = [0; 6];
    server.read_exact(&mut line).unwrap();
    server.write_all(b"hel").unwrap();
    let warning = process.stderr.line().expect("it says that it waits");
    assert_eq!(warning, "warning: no echo for 5 s; still waiting for 3 of 6 bytes; Ctrl-C gives up");
    server.write_all(b"lo\n").unwrap();
    let mut line = [0; 4];
    server.read_exact(&mut line).unwrap();
    server.write_all(&line).unwrap();
    assert_eq!(server.read(&mut line).unwrap(), 0);
    drop(server);
    let ended = process.wait();
    assert_eq!((ended.status, ended.text().as_str(), ended.stderr.as_str()), (Some(0), "hello\nbye\n", ""));
}

/// A server that reads nothing more, and then ends: a line that is being sent does not wait for ever.
#[test]
fn server_gone_while_a_line_is_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut process = Process::start(client(address), Keep::All);
    process.feed(vec![b'x'; 64 << 20]);
    let server = accept(&listener).unwrap();
    let warning = process.stderr.line().expect("it says that it waits");
    assert!(warning.starts_with("warning: no echo for 5 s; still waiting for "), "{warning}");
    server.shutdown(std::net::Shutdown::Write).unwrap();
    let ended = process.wait();
    assert_eq!((ended.status, ended.stdout.as_slice()), (Some(1), &b""[..]), "{ended:?}");
    assert!(ended.stderr.contains(&format!("the server at {address} has closed")), "{ended:?}");
    drop(server);
}

/// `client < /dev/zero`: a line that never ends takes no more memory than a long one, and its echo comes meanwhile.
#[cfg(target_os = "linux")]
#[test]
fn a_line_that_never_ends() {
    const LEN: usize = 200 << 20;
    const MEMORY: u64 = 32 << 20;
    let server = Server::start("auto", &[]);
    let (mut reader, writer) = std::io::pipe().unwrap();
    let mut process =
        Process::start_into(client(server.address()), Keep::All, writer, std::process::Stdio::piped());
    let mut zeros = process.stdin();
    let feed = thread::spawn(move || {
        let piece = vec![0; 1 << 20];
        (0..LEN / piece.len()).for_each(|_| zeros.write_all(&piece).expect("the client reads on"));
        zeros
    });
    let (tell, echo) = channel();
    thread::spawn(move || {
        let mut buffer = vec![1; 1 << 20];
        while let Ok(count @ 1..) = reader.read(&mut buffer) {
            assert!(buffer[..count].iter().all(|byte| *byte == 0));
            let _ = tell.send(count);
        }
    });
    let mut left = LEN;
    while left > 0 {
        left -= echo.recv_timeout(PATIENCE).expect("the line comes back before it ends");
    }
    let peak = crate::system::peak(process.pid());
    assert!(peak < MEMORY, "{peak} bytes");
    drop(feed.join().unwrap());
    let ended = process.wait();
    assert_eq!((ended.status, ended.stderr.as_str()), (Some(0), ""), "{ended:?}");
    assert_eq!(echo.recv_timeout(PATIENCE), Err(RecvTimeoutError::Disconnected), "and nothing more");
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

    fn windows_client(address: SocketAddr) -> Command {
        let mut client = windows_binary();
        client.args(["client", &address.to_string()]);
        client
    }

    #[test]
    #[ignore = "run by `cargo xtask windows`"]
    fn a_windows_client_and_a_server_that_differs() {
        differences(windows_client);
    }

    #[test]
    #[ignore = "run by `cargo xtask windows`"]
    fn a_windows_client_and_a_linux_server() {
        let server = Server::start("auto", &[]);
        let lines: String = (0..500).map(|number| format!("line {number}\n")).collect();
        for input in [lines.as_bytes(), b"a last line\nwithout its end", noise(3, 300_000)] {
            let ended = run(windows_client(server.address()), input);
            assert_eq!((ended.status, ended.stderr.as_str()), (Some(0), ""), "{ended:?}");
            assert_same(&ended.stdout, input, "the output");
        }
    }
}
