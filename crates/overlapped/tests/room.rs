//! Back-pressure that can be asked for, on the real backends.

mod common;

use std::io::{Read, Write};
use std::sync::Mutex;
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Duration;

use overlapped::{Error, Handler, Lease, Sent, Server, Session, SessionHandle};
use overlapped_testing::{PATIENCE, dial, pattern, read_to_end};

use common::backends;

/// Gives its session's handle away, and waits where it must not.
struct GivesHandle {
    handles: Sender<(SessionHandle, [bool; 2])>,
}

impl Handler for GivesHandle {
    type State = ();
    type Message = ();

    fn on_open(&mut self, _session: &mut Session<'_, Self::State>) {}

    fn on_data(&mut self, session: &mut Session<'_, Self::State>, _state: &mut (), _data: Lease) {
        let handle = session.handle();
        let refused = [
            matches!(handle.wait_writable(Duration::MAX), Err(Error::WaitInCallback)),
            matches!(handle.send_timeout("x", Duration::MAX), Err(Error::WaitInCallback)),
        ];
        self.handles.send((handle, refused)).expect("the test takes it");
    }
}

/// A thread sends far more than may be queued, and waits for its room each time. The peer reads slowly at first.
#[test]
fn a_thread_sends_as_fast_as_the_peer_reads() {
    const PIECE: usize = 700_000;
    const PIECES: u64 = 30;
    for choice in backends() {
        let (tell, handles) = channel();
        let tell = Mutex::new(tell);
        let server = Server::bind("127.0.0.1:0").unwrap().backend(choice).workers(1);
        let server = server.start(move |_| GivesHandle { handles: tell.lock().unwrap().clone() }).unwrap();
        let mut client = dial(server.local_addr());
        client.write_all(b"!").unwrap();
        let (handle, refused) = handles.recv_timeout(PATIENCE).unwrap();
        assert_eq!(refused, [true; 2], "not on the worker's thread: {choice:?}");
        let producer = thread::spawn(move || {
            for number in 0..PIECES {
                let sent = handle.send_timeout(pattern(PIECE, number as u8), PATIENCE).unwrap();
                assert_eq!(sent, Sent::Ok, "piece {number}");
            }
            handle.close().unwrap();
            // It has what is queued to send, and takes nothing more.
            while handle.wait_writable(PATIENCE).unwrap() == Sent::Ok {
                thread::yield_now();
            }
        });
        let mut read = Vec::new();
        let mut few = [0; 1000];
        for _ in 0..100 {
            let count = client.read(&mut few).unwrap();
            read.extend_from_slice(&few[..count]);
        }
        read.extend(read_to_end(&mut client));
        let wanted: Vec<u8> = (0..PIECES).flat_map(|number| pattern(PIECE, number as u8)).collect();
        assert!(read == wanted, "{choice:?}: {} of {}", read.len(), wanted.len());
        producer.join().unwrap();
        drop(client);
        assert_eq!(server.stats().sessions_overflowed, 0);
        server.drain(PATIENCE).unwrap();
    }
}

/// Sends a stream part by part, the next when the last one is out.
struct Streams;

const PART: usize = 300_000;
const PARTS: u64 = 40;

impl Streams {
    fn send(session: &mut Session<'_>, part: u64) {
        assert_eq!(session.unsent(), 0, "the last part is out");
        assert_eq!(session.send(pattern(PART, part as u8)), Sent::Ok);
        assert!(session.notify_when_sent(part + 1));
    }
}

impl Handler for Streams {
    type State = ();
    type Message = ();

    fn on_open(&mut self, session: &mut Session<'_, Self::State>) {
        Streams::send(session, 0);
    }

    fn on_data(&mut self, _session: &mut Session<'_, Self::State>, _state: &mut (), _data: Lease) {}

    fn on_sent(&mut self, session: &mut Session<'_, Self::State>, _state: &mut (), token: u64) {
        if token < PARTS { Streams::send(session, token) } else { session.close() }
    }
}

#[test]
fn a_stream_is_sent_part_by_part() {
    for choice in backends() {
        let server = Server::bind("127.0.0.1:0").unwrap().backend(choice).workers(1);
        let server = server.start(|_| Streams).unwrap();
        let mut clients = [dial(server.local_addr()), dial(server.local_addr())];
        let wanted: Vec<u8> = (0..PARTS).flat_map(|part| pattern(PART, part as u8)).collect();
        for client in &mut clients {
            assert!(read_to_end(client) == wanted, "{choice:?}");
        }
        drop(clients);
        server.drain(PATIENCE).unwrap();
    }
}
