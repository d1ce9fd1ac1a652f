//! Frames on the real backends: however a stream is cut, the same frames; and a limit that holds.

mod common;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use overlapped::{
    Choice, CloseReason, Delimiter, FrameError, FrameHandler, Framed, Framing, LengthPrefixed, Lines,
    Payload, Server, ServerHandle, Session, SessionId, WorkerContext,
};

use common::{PATIENCE, backends, dial};

const MOST: usize = 40_000;

enum Told {
    Frame(Vec<u8>),
    Bad(FrameError),
    Closed(CloseReason),
}

/// Tells the test of every frame, and sends each back without its frame.
struct Teller(Sender<Told>);

impl FrameHandler for Teller {
    type State = ();
    type Message = ();

    fn on_open(&mut self, _session: &mut Session<'_>) {}

    fn on_frame(&mut self, session: &mut Session<'_>, _state: &mut (), frame: Payload) {
        let _ = self.0.send(Told::Frame(frame.as_slice().to_vec()));
        session.send(frame);
    }

    fn on_bad_frame(&mut self, session: &mut Session<'_>, _state: &mut (), error: &FrameError) {
        let _ = self.0.send(Told::Bad(*error));
        session.send("bad");
    }

    fn on_close(&mut self, _: &mut WorkerContext<'_>, _: SessionId, _state: (), reason: CloseReason) {
        let _ = self.0.send(Told::Closed(reason));
    }
}

fn start(choice: Choice, framing: impl Framing + Clone + Send + Sync) -> (ServerHandle, Receiver<Told>) {
    let (tell, told) = channel();
    let server = Server::bind("127.0.0.1:0").unwrap().backend(choice).workers(1);
    let server = server.start(move |_worker| Framed::new(framing.clone(), Teller(tell.clone())));
    (server.expect("it starts"), told)
}

/// Writes `stream` in pieces of many sizes, each in a segment of its own where the system is so kind.
fn write_in_pieces(mut to: TcpStream, stream: Vec<u8>) -> thread::JoinHandle<()> {
    to.set_nodelay(true).unwrap();
    thread::spawn(move || {
        let sizes = [1, 2, 1, 7, 1000, 3, 16_384, 1, 1, 20_000, 5];
        let (mut rest, mut turn) = (&stream[..], 0);
        while !rest.is_empty() {
            let (piece, more) = rest.split_at(sizes[turn % sizes.len()].min(rest.len()));
            to.write_all(piece).expect("it receives");
            (rest, turn) = (more, turn + 1);
        }
        to.shutdown(Shutdown::Write).expect("it is there");
    })
}

/// Contents of all sizes, without a byte that a delimiter has, but for lone halves of one.
fn contents() -> Vec<Vec<u8>> {
    let lens = [0, 1, 2, 500, 0, 16_384, 3, MOST, 1, 1, 0, 20_000, 16_383, 16_385, 9];
    let byte = |at: usize| if at % 97 == 5 { b'-' } else { b'a' + (at % 23) as u8 };
    lens.iter().map(|len| (0..*len).map(byte).collect()).collect()
}

fn same_frames(framing: &(impl Framing + Clone + Send + Sync), encode: impl Fn(&[u8]) -> Vec<u8>) {
    for choice in backends() {
        let (server, told) = start(choice, framing.clone());
        let wanted = [contents(), contents()].concat();
        let stream: Vec<u8> = wanted.iter().flat_map(|content| encode(content)).collect();
        let mut client = dial(server.local_addr());
        let writer = write_in_pieces(client.try_clone().unwrap(), stream);
        let mut echo = Vec::new();
        client.read_to_end(&mut echo).expect("an end of stream");
        writer.join().unwrap();
        assert!(echo == wanted.concat(), "{choice:?}: all contents, in order");
        for (number, content) in wanted.iter().enumerate() {
            match told.recv_timeout(PATIENCE).unwrap() {
                Told::Frame(frame) => assert!(frame == *content, "{choice:?}: frame {number}"),
                Told::Bad(error) => panic!("{choice:?}: frame {number}: {error}"),
                Told::Closed(reason) => panic!("{choice:?}: frame {number}: {reason}"),
            }
        }
        assert!(matches!(told.recv_timeout(PATIENCE), Ok(Told::Closed(CloseReason::EndOfStream))));
        server.drain(PATIENCE).unwrap();
        assert_eq!(server.stats().blocks_in_use, 0, "INV-1");
    }
}

#[test]
fn by_length() {
    let framing = LengthPrefixed::of_width(4, MOST);
    same_frames(&framing, |content| framing.encode(content).unwrap());
    let framing = LengthPrefixed::of_width(2, MOST).little_endian();
    same_frames(&framing, |content| framing.encode(content).unwrap());
}

#[test]
fn by_line() {
    same_frames(&Lines::up_to(MOST), |content| [content, b"\n"].concat());
    same_frames(&Lines::up_to(MOST), |content| [content, b"\r\n"].concat());
}

#[test]
fn by_delimiter() {
    same_frames(&Delimiter::new(*b"-=-", MOST), |content| [content, b"-=-"].concat());
}

/// What was queued goes out, then the session ends, with its reason counted.
#[test]
fn a_frame_that_is_too_long_ends_its_session_and_no_other() {
    for choice in backends() {
        let (server, told) = start(choice, Lines::up_to(MOST));
        let mut other = dial(server.local_addr());
        let mut client = dial(server.local_addr());
        client.write_all(b"good\n").unwrap();
        client.write_all(&[b'x'; MOST + 1]).unwrap();
        let mut got = [0; 7];
        client.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"goodbad");
        assert_eq!(client.read(&mut got).expect("an end of stream, not a reset"), 0);
        drop(client);
        assert!(matches!(told.recv_timeout(PATIENCE), Ok(Told::Frame(_))));
        assert!(matches!(told.recv_timeout(PATIENCE), Ok(Told::Bad(FrameError::TooLong { most: MOST, .. }))));
        assert!(matches!(told.recv_timeout(PATIENCE), Ok(Told::Closed(CloseReason::BadFrame))));
        other.write_all(b"fine\n").unwrap();
        other.read_exact(&mut got[..4]).unwrap();
        assert_eq!(&got[..4], b"fine");
        drop(other);
        server.drain(PATIENCE).unwrap();
        assert_eq!(server.stats().sessions_misframed, 1);
    }
}
