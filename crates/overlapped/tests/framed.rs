//! Frames on the real backends: however a stream is cut, the same frames; and a limit that holds.

mod common;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use overlapped::codec::{Decoder, Encoder, Input};
use overlapped::{
    Choice, CloseReason, Closed, Delimiter, FrameError, Framed, Handler, Lease, LengthPrefixed, Lines,
    Payload, Server, ServerHandle, Session, WorkerContext,
};
use overlapped_testing::{PATIENCE, dial};

use common::backends;

const MOST: usize = 40_000;

enum FrameEvent {
    Frame(Vec<u8>),
    Bad(FrameError),
    Closed(CloseReason),
}

/// Tells the test of every frame, and sends each back without its frame.
struct Reporter<D>(D, Sender<FrameEvent>);

impl<D> Handler for Reporter<D>
where
    D: Decoder<Item = Payload, Error = FrameError> + Clone + 'static,
{
    type State = Framed<D>;
    type Message = ();

    fn on_open(&mut self, _session: &mut Session<'_, Self::State>) -> Framed<D> {
        Framed::new(self.0.clone())
    }

    fn on_data(&mut self, session: &mut Session<'_, Self::State>, frames: &mut Framed<D>, data: Lease) {
        frames.push(data);
        while let Some(frame) = frames.next(session) {
            match frame {
                Ok(frame) => {
                    let _ = self.1.send(FrameEvent::Frame(frame.as_slice().to_vec()));
                    session.send(frame);
                }
                Err(error) => {
                    let _ = self.1.send(FrameEvent::Bad(error));
                    session.send("bad");
                }
            }
        }
    }

    fn on_close(&mut self, _: &mut WorkerContext<'_, Self::State>, closed: Closed, _frames: Framed<D>) {
        let _ = self.1.send(FrameEvent::Closed(closed.reason));
    }
}

fn start_with(
    choice: Choice,
    decoder: impl Decoder<Item = Payload, Error = FrameError> + Clone + Send + Sync + 'static,
) -> (ServerHandle, Receiver<FrameEvent>) {
    let (tell, events) = channel();
    let server = Server::bind("127.0.0.1:0").unwrap().backend(choice).workers(1);
    let server = server.start(move |_worker| Reporter(decoder.clone(), tell.clone()));
    (server.expect("it starts"), events)
}

fn encoded(mut encoder: impl for<'a> Encoder<&'a [u8], Error = FrameError>, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    encoder.encode(content, &mut out).expect("it is a frame");
    out
}

/// Writes `stream` in pieces of many sizes, each in its own segment where the system does that.
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

fn same_frames<D>(decoder: &D, encode: impl Fn(&[u8]) -> Vec<u8>)
where
    D: Decoder<Item = Payload, Error = FrameError> + Clone + Send + Sync + 'static,
{
    for choice in backends() {
        let (server, events) = start_with(choice, decoder.clone());
        let wanted = [contents(), contents()].concat();
        let stream: Vec<u8> = wanted.iter().flat_map(|content| encode(content)).collect();
        let mut client = dial(server.local_addr());
        let writer = write_in_pieces(client.try_clone().unwrap(), stream);
        let mut echo = Vec::new();
        client.read_to_end(&mut echo).expect("an end of stream");
        writer.join().unwrap();
        assert!(echo == wanted.concat(), "{choice:?}: all contents, in order");
        for (number, content) in wanted.iter().enumerate() {
            match events.recv_timeout(PATIENCE).unwrap() {
                FrameEvent::Frame(frame) => assert!(frame == *content, "{choice:?}: frame {number}"),
                FrameEvent::Bad(error) => panic!("{choice:?}: frame {number}: {error}"),
                FrameEvent::Closed(reason) => panic!("{choice:?}: frame {number}: {reason}"),
            }
        }
        assert!(matches!(events.recv_timeout(PATIENCE), Ok(FrameEvent::Closed(CloseReason::EndOfStream))));
        server.drain(PATIENCE).unwrap();
        assert_eq!(server.stats().blocks_in_use, 0, "INV-1");
    }
}

#[test]
fn by_length() {
    let framing = LengthPrefixed::of_width(4, MOST);
    same_frames(&framing, |content| encoded(framing, content));
    let framing = LengthPrefixed::of_width(2, MOST).little_endian();
    same_frames(&framing, |content| encoded(framing, content));
}

#[test]
fn by_line() {
    same_frames(&Lines::up_to(MOST), |content| encoded(Lines::up_to(MOST), content));
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
        let (server, events) = start_with(choice, Lines::up_to(MOST));
        let mut other = dial(server.local_addr());
        let mut client = dial(server.local_addr());
        client.write_all(b"good\n").unwrap();
        client.write_all(&[b'x'; MOST + 1]).unwrap();
        let mut got = [0; 7];
        client.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"goodbad");
        assert_eq!(client.read(&mut got).expect("an end of stream, not a reset"), 0);
        drop(client);
        assert!(matches!(events.recv_timeout(PATIENCE), Ok(FrameEvent::Frame(_))));
        assert!(matches!(
            events.recv_timeout(PATIENCE),
            Ok(FrameEvent::Bad(FrameError::TooLong { most: MOST, .. }))
        ));
        assert!(matches!(events.recv_timeout(PATIENCE), Ok(FrameEvent::Closed(CloseReason::BadFrame))));
        other.write_all(b"fine\n").unwrap();
        other.read_exact(&mut got[..4]).unwrap();
        assert_eq!(&got[..4], b"fine");
        drop(other);
        server.drain(PATIENCE).unwrap();
        assert_eq!(server.stats().sessions_misframed, 1);
    }
}

/// Answers each frame with a number of bytes.
#[derive(Clone)]
struct Answers {
    len: usize,
    most_unsent: Arc<AtomicUsize>,
    tell: Sender<FrameEvent>,
}

impl Handler for Answers {
    type State = Framed<Lines>;
    type Message = ();

    fn on_open(&mut self, _session: &mut Session<'_, Self::State>) -> Framed<Lines> {
        Framed::new(Lines::up_to(100))
    }

    fn on_data(&mut self, session: &mut Session<'_, Self::State>, lines: &mut Framed<Lines>, data: Lease) {
        lines.push(data);
        while let Some(line) = lines.next(session) {
            line.expect("it is short");
            session.send(vec![b'v'; self.len]);
            self.most_unsent.fetch_max(session.unsent(), Relaxed);
        }
    }

    fn on_close(&mut self, _: &mut WorkerContext<'_, Self::State>, closed: Closed, _lines: Framed<Lines>) {
        let _ = self.tell.send(FrameEvent::Closed(closed.reason));
    }
}

/// A client that pipelines requests and reads all the time, or reads late, gets every answer, however much larger
/// than the requests the answers are.
#[test]
fn a_client_that_pipelines_gets_every_answer() {
    for choice in backends() {
        for (len, requests, reads_late) in [
            (800, 4_000, false),
            (1_000, 20_000, false),
            (800, 20_000, true),
            (1, 200_000, false),
            (90_000, 300, true),
        ] {
            let (tell, events) = channel();
            let most_unsent = Arc::new(AtomicUsize::new(0));
            let handler = Answers { len, most_unsent: Arc::clone(&most_unsent), tell };
            let server = Server::bind("127.0.0.1:0").unwrap().backend(choice).workers(1);
            let server = server.start(move |_| handler.clone()).unwrap();
            let client = dial(server.local_addr());
            let mut writing = client.try_clone().unwrap();
            let (written, all_written) = channel();
            let writer = thread::spawn(move || {
                let result = writing.write_all(&b"GET k\n".repeat(requests));
                writing.shutdown(Shutdown::Write).unwrap();
                written.send(()).unwrap();
                result
            });
            if reads_late {
                // All requests may be with the kernels before the first answer is read; if they are more than that,
                // the writer waits for us.
                let _ = all_written.recv_timeout(Duration::from_millis(200));
            }
            let (mut got, mut buffer) = (0, vec![0; 1 << 20]);
            loop {
                match (&client).read(&mut buffer).expect("an end of stream, not a reset") {
                    0 => break,
                    read => got += read,
                }
            }
            writer.join().unwrap().expect("all requests were taken");
            assert_eq!(got, len * requests, "{choice:?}");
            assert!(matches!(
                events.recv_timeout(PATIENCE),
                Ok(FrameEvent::Closed(CloseReason::EndOfStream))
            ));
            assert!(
                most_unsent.load(Relaxed) < 64 * 1024 + len,
                "one answer above the high-water mark at most"
            );
            server.drain(PATIENCE).unwrap();
            assert_eq!(server.stats().blocks_in_use, 0, "INV-1");
        }
    }
}

/// Takes one frame at a time: pauses, and is resumed by a timer.
struct OneAtATime(Sender<FrameEvent>, bool);

impl Handler for OneAtATime {
    type State = Framed<Lines>;
    type Message = ();

    fn on_open(&mut self, _session: &mut Session<'_, Self::State>) -> Framed<Lines> {
        Framed::new(Lines::up_to(100))
    }

    fn on_data(&mut self, session: &mut Session<'_, Self::State>, lines: &mut Framed<Lines>, data: Lease) {
        lines.push(data);
        while let Some(line) = lines.next(session) {
            assert!(!std::mem::replace(&mut self.1, true), "no frame after pause()");
            session.pause();
            let _ = self.0.send(FrameEvent::Frame(line.expect("it is short").as_slice().to_vec()));
            session.set_timer(Duration::ZERO, 0);
        }
    }

    fn on_timer(&mut self, session: &mut Session<'_, Self::State>, _lines: &mut Framed<Lines>, _token: u64) {
        self.1 = false;
        session.resume();
    }

    fn on_close(&mut self, _: &mut WorkerContext<'_, Self::State>, closed: Closed, _lines: Framed<Lines>) {
        let _ = self.0.send(FrameEvent::Closed(closed.reason));
    }
}

#[test]
fn no_frame_follows_a_pause() {
    for choice in backends() {
        let (tell, events) = channel();
        let server = Server::bind("127.0.0.1:0").unwrap().backend(choice).workers(1);
        let server = server.start(move |_| OneAtATime(tell.clone(), false)).unwrap();
        let mut client = dial(server.local_addr());
        let lines: Vec<Vec<u8>> = (0..200).map(|number| format!("line {number}").into_bytes()).collect();
        for line in &lines {
            client.write_all(&[&line[..], b"\n"].concat()).unwrap();
        }
        client.shutdown(Shutdown::Write).unwrap();
        for line in &lines {
            match events.recv_timeout(PATIENCE) {
                Ok(FrameEvent::Frame(frame)) => assert_eq!(frame, *line, "{choice:?}"),
                _ => panic!("{choice:?}: a frame was expected"),
            }
        }
        assert_eq!(client.read(&mut [0]).expect("an end of stream"), 0);
        assert!(
            matches!(events.recv_timeout(PATIENCE), Ok(FrameEvent::Closed(CloseReason::EndOfStream))),
            "{choice:?}"
        );
        server.drain(PATIENCE).unwrap();
        assert_eq!(server.stats().sessions_panicked, 0);
    }
}

/// A decoder that is wrong about the first byte `0`, and right about all others.
#[derive(Clone)]
struct Wrong(fn(&mut Input<'_>) -> Payload);

impl Decoder for Wrong {
    type Item = Payload;
    type Error = FrameError;

    fn decode(&mut self, input: &mut Input<'_>) -> Result<Option<Payload>, FrameError> {
        Ok((!input.is_empty()).then(|| if input[0] == b'0' { (self.0)(input) } else { input.take(1) }))
    }
}

fn skips_too_much(input: &mut Input<'_>) -> Payload {
    input.skip(2);
    Payload::from("")
}

#[test]
fn a_decoder_that_is_wrong_ends_its_session_and_no_other() {
    let wrong: [fn(&mut Input<'_>) -> Payload; 4] =
        [|_| Payload::from("stuck"), |input| input.take(2), skips_too_much, |input| input.take(usize::MAX)];
    for choice in backends() {
        for decode in wrong {
            let (server, events) = start_with(choice, Wrong(decode));
            let (mut other, mut client) = (dial(server.local_addr()), dial(server.local_addr()));
            client.write_all(b"0").unwrap();
            assert!(client.read(&mut [0]).is_err(), "{choice:?}: it is aborted");
            other.write_all(b"x").unwrap();
            other.read_exact(&mut [0]).unwrap();
            drop(other);
            assert!(matches!(events.recv_timeout(PATIENCE), Ok(FrameEvent::Frame(frame)) if frame == b"x"));
            server.drain(PATIENCE).unwrap();
            assert_eq!(server.stats().sessions_panicked, 1);
        }
    }
}

const COUNTED: fn() -> LengthPrefixed = || LengthPrefixed::of_width(4, 1_000);

/// Counts frames by whether they were copied.
struct Counts(Arc<[AtomicUsize; 2]>, Sender<FrameEvent>);

impl Handler for Counts {
    type State = Framed<LengthPrefixed>;
    type Message = ();

    fn on_open(&mut self, _session: &mut Session<'_, Self::State>) -> Self::State {
        Framed::new(COUNTED())
    }

    fn on_data(&mut self, session: &mut Session<'_, Self::State>, frames: &mut Self::State, data: Lease) {
        frames.push(data);
        while let Some(frame) = frames.next(session) {
            let frame = frame.expect("it is short");
            assert!(frame.as_slice().iter().all(|byte| *byte == 7) && frame.len() == 93);
            self.0[usize::from(!matches!(frame, Payload::Lease(_)))].fetch_add(1, Relaxed);
        }
    }

    fn on_close(&mut self, _: &mut WorkerContext<'_, Self::State>, closed: Closed, _frames: Self::State) {
        let _ = self.1.send(FrameEvent::Closed(closed.reason));
    }
}

/// Only a frame that spans two blocks is copied, wherever blocks end.
#[test]
fn frames_within_a_block_are_not_copied() {
    const FRAMES: usize = 50_000;
    for choice in backends() {
        let counts: Arc<[AtomicUsize; 2]> = Arc::default();
        let (ours, (tell, events)) = (Arc::clone(&counts), channel());
        let server = Server::bind("127.0.0.1:0").unwrap().backend(choice).workers(1);
        let server = server.start(move |_| Counts(Arc::clone(&ours), tell.clone())).unwrap();
        let mut client = dial(server.local_addr());
        client.write_all(&encoded(COUNTED(), &[7; 93]).repeat(FRAMES)).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        assert!(matches!(events.recv_timeout(PATIENCE), Ok(FrameEvent::Closed(CloseReason::EndOfStream))));
        let [whole, copied] = [0, 1].map(|kind| counts[kind].load(Relaxed));
        assert_eq!(whole + copied, FRAMES, "{choice:?}");
        // How a stream is cut is the system's affair: a cut ends at most one frame in its middle.
        assert!(copied < FRAMES / 10, "{choice:?}: {copied} copied, {whole} not");
        server.drain(PATIENCE).unwrap();
    }
}
