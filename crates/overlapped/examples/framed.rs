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

#[cfg(test)]
mod tests {
    use overlapped::testing::{self, World};

    #[test]
    fn frames_are_counted_however_they_are_cut() {
        testing::for_each_behaviour(|behaviour| {
            let mut world = World::start_on(behaviour, testing::server(), |_worker| super::WordCount);
            let mut client = world.connect();
            client.send_in_pieces(b"\0\0\0\x07one two\0\0\0\0", 3);
            world.settle();
            let answers = ["frame 1: 1 lines, 2 words, 7 bytes", "frame 2: 0 lines, 0 words, 0 bytes"];
            let answers = answers.map(|answer| format!("\0\0\0\x22{answer}")).concat();
            assert_eq!(client.received(), answers);
        });
    }
}
