//! Frames with their length before them: each is answered with a frame that says what is in it, as `wc` does.
//! `cargo run --release --example framed -- 127.0.0.1:9999`
use overlapped::{FrameError, FrameHandler, Framed, LengthPrefixed, Payload, Server, Session};

/// Four bytes of length, in network byte order, then up to 1 MiB.
fn framing() -> LengthPrefixed {
    LengthPrefixed::of_width(4, 1 << 20)
}

struct WordCount;

impl FrameHandler for WordCount {
    /// Frames so far.
    type State = u64;
    type Message = ();

    fn on_open(&mut self, _session: &mut Session<'_>) -> u64 {
        0
    }

    fn on_frame(&mut self, session: &mut Session<'_>, frames: &mut u64, frame: Payload) {
        *frames += 1;
        let text = String::from_utf8_lossy(frame.as_slice());
        let (lines, words) = (text.lines().count(), text.split_whitespace().count());
        let answer = format!("frame {frames}: {lines} lines, {words} words, {} bytes", frame.len());
        session.send(framing().encode(answer.as_bytes()).expect("an answer is short"));
    }

    /// After this, the session is closed: in a stream without frames, nobody knows where the next one begins.
    fn on_bad_frame(&mut self, session: &mut Session<'_>, _frames: &mut u64, error: &FrameError) {
        session.send(framing().encode(error.to_string().as_bytes()).expect("an error is short"));
    }
}

fn main() -> overlapped::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9999".into());
    let server = Server::bind(address.as_str())?;
    println!("listening on {}", server.local_addrs()[0]);
    server.run(|_worker| Framed::new(framing(), WordCount))
}
