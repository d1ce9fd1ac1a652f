//! Frames with their length before them: each is answered with a frame that says what is in it, as `wc` does.
//! `cargo run --release --example framed -- 127.0.0.1:9999`
use overlapped::{FrameError, Framed, Handler, Lease, LengthPrefixed, Server, Session};

struct WordCount;

struct Client {
    frames: Framed<LengthPrefixed>,
    count: u64,
}

impl Handler for WordCount {
    type State = Client;
    type Message = ();

    fn on_open(&mut self, _session: &mut Session<'_, Self::State>) -> Client {
        // Four bytes of length, in network byte order, then up to 1 MiB.
        Client { frames: Framed::new(LengthPrefixed::of_width(4, 1 << 20)), count: 0 }
    }

    fn on_data(
        &mut self,
        session: &mut Session<'_, Self::State>,
        Client { frames, count }: &mut Client,
        data: Lease,
    ) {
        frames.push(data);
        while let Some(frame) = frames.next(session) {
            *count += 1;
            let answer = match frame {
                Ok(frame) => format!("frame {count}: {}", describe(frame.as_slice())),
                Err(error) => error.to_string(), // the session is closed after this
            };
            let sent: Result<_, FrameError> = frames.send(session, answer.as_bytes());
            sent.expect("an answer is short");
        }
    }
}

fn describe(frame: &[u8]) -> String {
    let text = String::from_utf8_lossy(frame);
    let (lines, words) = (text.lines().count(), text.split_whitespace().count());
    format!("{lines} lines, {words} words, {} bytes", frame.len())
}

fn main() -> overlapped::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9999".into());
    let server = Server::bind(address.as_str())?;
    println!("listening on {}", server.local_addrs()[0]);
    server.run(|_worker| WordCount)
}
