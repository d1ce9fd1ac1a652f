//! Urgent data (RFC 6093) that arrives while the server is stopped, or is about to be: all of it comes back.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use rustix::process::{Pid, Signal, kill_process};
use socket2::SockRef;

use crate::peer::{assert_same, dial, eventually, exchange, read_to_end};
use crate::server::{Server, Summary};

/// What is sent with one call each; `!` and what follows it is urgent data.
const STREAMS: [&[&str]; 8] = [
    &["abc", "!X", "defghi"],
    &["!X", "abc"],
    &["abc", "!X"],
    &["!X"],
    &["a", "!X", "b", "!Y", "c"],
    &["abc", "!X", "!Y", "def"],
    &["!X", "!Y", "z"],
    &["!uvX", "abc", "!wxY"],
];

fn send(mut client: &TcpStream, stream: &[&str]) {
    for piece in stream {
        match piece.strip_prefix('!') {
            Some(urgent) => drop(SockRef::from(client).send_out_of_band(urgent.as_bytes()).unwrap()),
            None => client.write_all(piece.as_bytes()).unwrap(),
        }
    }
}

fn bytes_of(stream: &[&str]) -> Vec<u8> {
    stream.concat().replace('!', "").into_bytes()
}

/// A connection that the server has served already: its receive is armed.
fn served(address: SocketAddr) -> TcpStream {
    let mut client = dial(address);
    client.set_nodelay(true).unwrap();
    exchange(&mut client, b"served");
    client
}

fn assert_echoed(mut client: &TcpStream, stream: &[&str]) {
    let wanted = bytes_of(stream);
    let mut echo = vec![0; wanted.len()];
    client.read_exact(&mut echo).unwrap_or_else(|error| panic!("{stream:?} does not come back: {error}"));
    assert_same(&echo, &wanted, "the echo");
}

fn signal(server: &Server, signal: Signal) {
    let pid = Pid::from_raw(server.pid().cast_signed()).expect("no process has the number 0");
    kill_process(pid, signal).expect("the server is there");
}

/// Stops the server and waits until each of its threads stands still.
fn stop(server: &Server) {
    signal(server, Signal::STOP);
    eventually("the server is stopped", || {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", server.pid())).expect("it is there");
        tasks.map(|task| task.expect("listed").path().join("stat")).all(|stat| {
            let stat = std::fs::read_to_string(stat).unwrap_or_default();
            stat.rsplit_once(") ").is_some_and(|(_, state)| state.starts_with('T'))
        })
    });
}

/// All of it is there when the server looks.
pub(crate) fn while_stopped(backend: &str) {
    let server = Server::start(backend, &["--workers", "1"]);
    for stream in STREAMS {
        let client = served(server.address());
        stop(&server);
        send(&client, stream);
        signal(&server, Signal::CONT);
        assert_echoed(&client, stream);
    }
    server.end_well();
}

/// It arrives while the signal to stop is pending, which makes the kernel refuse to read at the mark; on other
/// connections something arrives too, which hides that the wait was interrupted. Whether it does so at that moment is
/// up to the scheduler, so there are many rounds.
pub(crate) fn while_stopping(backend: &str) {
    let server = Server::start(backend, &["--workers", "1"]);
    let others: Vec<TcpStream> = (0..4).map(|_| served(server.address())).collect();
    for round in 0..400 {
        let (stream, client) = (STREAMS[round % STREAMS.len()], served(server.address()));
        // Without others, in half of the rounds.
        let others = if (round / STREAMS.len()).is_multiple_of(2) { &others[..] } else { &[] };
        others.iter().for_each(|other| send(other, &["before"]));
        signal(&server, Signal::STOP);
        send(&client, stream);
        others.iter().for_each(|other| send(other, &["and after"]));
        signal(&server, Signal::CONT);
        assert_echoed(&client, stream);
        others.iter().for_each(|other| assert_echoed(other, &["before", "and after"]));
    }
    server.end_well();
}

/// A drain answers what lies behind urgent data as well: what the kernel says is unread does not end there.
pub(crate) fn in_a_drain(backend: &str) {
    let server = Server::start(backend, &["--workers", "1"]);
    let mut clients: Vec<_> = STREAMS.iter().map(|stream| (served(server.address()), *stream)).collect();
    stop(&server);
    for (client, stream) in &clients {
        send(client, stream);
    }
    server.terminate();
    signal(&server, Signal::CONT);
    let mut bytes = 0;
    for (client, stream) in &mut clients {
        assert_same(&read_to_end(client), &bytes_of(stream), "the echo");
        bytes += "served".len() + bytes_of(stream).len();
    }
    let ended = server.wait();
    assert_eq!(ended.status, Some(0), "{ended:?}");
    let sessions = STREAMS.len() as u64;
    let wanted = Summary { sessions, bytes: bytes as u64, drained: sessions, cut: 0, lost: 0 };
    assert_eq!(Summary::of(&ended), wanted, "{ended:?}");
}
