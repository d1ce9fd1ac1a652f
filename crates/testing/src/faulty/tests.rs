//! The server makes exactly the mistakes that it is asked for, and records them.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::Instant;

use super::*;
use crate::{dial, eventually, exchange, expect_bytes, expect_end, noise, read_to_end};

/// Rules, the echo of `abcdef`, and the first difference.
type Case<'c> = (&'c [(Place, Fault)], &'c [u8], Option<(u64, Option<u8>, Option<u8>)>);

/// The echo of `sent` as one message, of the first connection of a server with these rules, to its end.
fn echo_of(sent: &[u8], rules: &[(Place, Fault)]) -> (Vec<u8>, Record) {
    let server = FaultyServer::start(rules);
    let mut client = dial(server.address());
    client.write_all(sent).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let echo = read_to_end(&client);
    (echo, server.record())
}

const fn at(offset: u64, fault: Fault) -> (Place, Fault) {
    (Place::Offset(Which::All, offset), fault)
}

/// In order: what the client sent and what was echoed there.
fn differs(record: &Record) -> Option<(u64, Option<u8>, Option<u8>)> {
    let all: Vec<Difference> = record.differences.iter().chain(&record.unfinished).copied().collect();
    assert!(all.len() <= 1);
    all.first().map(|first| (first.offset, first.expected, first.got))
}

#[test]
fn a_correct_server_echoes() {
    let server = FaultyServer::correct();
    thread::scope(|scope| {
        for number in 0..20 {
            let address = server.address();
            scope.spawn(move || exchange(&mut dial(address), noise(number, 200_000)));
        }
    });
    let record = server.record();
    assert_eq!((record.accepted, record.done.len(), record.differences.len()), (20, 0, 0));
    assert_eq!((server.received(), server.echoed()), (4_000_000, 4_000_000));
}

#[test]
fn bytes_are_changed_as_the_rules_say() {
    let cases: [Case; 9] = [
        (&[at(2, Fault::Flip)], b"abbdef", Some((2, Some(b'c'), Some(b'b')))),
        (&[at(2, Fault::Drop(2))], b"abef", Some((2, Some(b'c'), Some(b'e')))),
        (&[at(4, Fault::Drop(2))], b"abcd", Some((4, Some(b'e'), None))),
        (&[at(2, Fault::Double)], b"abccdef", Some((3, Some(b'd'), Some(b'c')))),
        (&[at(5, Fault::Double)], b"abcdeff", Some((6, None, Some(b'f')))),
        (&[at(0, Fault::Insert(b'x'))], b"axbcdef", Some((1, Some(b'b'), Some(b'x')))),
        (&[at(3, Fault::Mute)], b"abc", Some((3, Some(b'd'), None))),
        (&[at(3, Fault::End)], b"abc", Some((3, Some(b'd'), None))),
        (
            &[at(0, Fault::Flip), at(5, Fault::Flip), (Place::Once(3), Fault::Flip)],
            b"`bbdeg",
            Some((0, Some(b'a'), Some(b'`'))),
        ),
    ];
    for (rules, wanted, difference) in cases {
        let (echo, record) = echo_of(b"abcdef", rules);
        assert_eq!((echo.as_slice(), differs(&record)), (wanted, difference), "{rules:?}");
        assert_eq!(record.done.len(), rules.len(), "{rules:?}");
    }
}

#[test]
fn one_byte_in_a_thousand_is_flipped() {
    let (echo, record) = echo_of(noise(0, 100_500), &[(Place::OneIn(1000), Fault::Flip)]);
    let wrong: Vec<usize> = (0..echo.len()).filter(|at| echo[*at] != noise(0, 100_500)[*at]).collect();
    assert_eq!(wrong, (0..100).map(|multiple| multiple * 1000 + 999).collect::<Vec<_>>());
    assert_eq!((record.done.len(), record.differences.len()), (100, 1), "a connection differs once");
}

#[test]
fn two_connections_get_each_others_bytes() {
    let server = FaultyServer::start(&[(Place::Offset(Which::First(2), 0), Fault::Swap)]);
    let mut clients = [0; 3].map(|_| dial(server.address()));
    clients[0].write_all(b"one").unwrap();
    clients[1].write_all(b"other").unwrap();
    exchange(&mut clients[2], b"a third one is not concerned");
    expect_bytes(&clients[0], b"oth");
    expect_bytes(&clients[1], b"oneer");
    assert_eq!(server.record().differences.len(), 2);
}

#[test]
fn connections_are_broken() {
    let server = FaultyServer::start(&[
        (Place::Offset(Which::Number(0), 3), Fault::Reset),
        (Place::Offset(Which::Number(1), 3), Fault::End),
        (Place::Accept(Which::Number(2)), Fault::End),
    ]);
    // They are accepted in the order in which they connect.
    let mut clients = [0; 4].map(|_| dial(server.address()));
    for client in &mut clients[..2] {
        exchange(client, b"abc");
        client.write_all(b"d").unwrap();
    }
    // Under Wine, a reset that meets a socket with no receive under way reads as an end of stream.
    assert!(clients[0].read(&mut [0]).is_err() || cfg!(windows));
    expect_end(&clients[1]);
    expect_end(&clients[2]);
    exchange(&mut clients[3], b"served");
    assert_eq!(server.record().broken, 3);
}

#[test]
fn pauses_hold_back_one_connection_or_all() {
    const PAUSE: Duration = Duration::from_millis(100);
    let server = FaultyServer::start(&[
        (Place::Offset(Which::Number(0), 1), Fault::Pause(PAUSE)),
        (Place::Offset(Which::Number(0), 2), Fault::PauseAll(PAUSE)),
    ]);
    let mut held = dial(server.address());
    exchange(&mut held, b"0");
    let mut other = dial(server.address());
    let start = Instant::now();
    exchange(&mut held, b"1");
    assert!(start.elapsed() >= PAUSE);
    let start = Instant::now();
    held.write_all(b"2").unwrap();
    eventually("the pause begins", || server.record().done.len() == 2);
    exchange(&mut other, b"waits");
    assert!(start.elapsed() >= PAUSE);
    expect_bytes(&held, b"2");
}

#[test]
fn a_half_closed_stream_is_answered_as_the_rules_say() {
    let half_close = |number| Place::HalfClose(Which::Number(number));
    let mut server = FaultyServer::start(&[
        (half_close(0), Fault::Drop(0)),
        (half_close(1), Fault::Reset),
        (half_close(2), Fault::Mute),
    ]);
    let send = |server: &FaultyServer| -> TcpStream {
        let mut client = dial(server.address());
        exchange(&mut client, b"echoed");
        client.write_all(b"the end").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        client
    };
    assert_eq!(read_to_end(&send(&server)), b"", "what came with the end is lost");
    assert_eq!(differs(&server.record()), Some((6, Some(b't'), None)));
    let mut echo = Vec::new();
    let read = send(&server).read_to_end(&mut echo);
    assert!(read.is_err() || cfg!(windows), "{echo:?}");
    let open = send(&server);
    expect_bytes(&open, b"the end");
    open.set_nonblocking(true).unwrap();
    eventually("the stream is kept open", || server.record().done.len() == 3);
    assert!((&open).read(&mut [0]).is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock));
    assert_eq!(read_to_end(&send(&server)), b"the end");
    server.die();
    open.set_nonblocking(false).unwrap();
    expect_end(&open);
}

#[test]
fn it_dies_and_comes_back() {
    let mut server = FaultyServer::correct();
    let mut client = dial(server.address());
    exchange(&mut client, b"before");
    server.die();
    expect_end(&client);
    assert!(TcpStream::connect(server.address()).is_err(), "nothing listens");
    server.come_back();
    exchange(&mut dial(server.address()), b"after");
    assert_eq!(server.record().accepted, 2);
}
