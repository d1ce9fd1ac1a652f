//! A feed: every line of the standard input goes to all sessions, on whatever worker they are, as one buffer that
//! nobody copies. `cargo run --release --example broadcast -- 127.0.0.1:9999`, then `nc 127.0.0.1 9999`.
use std::io::BufRead;
use std::time::Duration;

use overlapped::{Bytes, Handler, Lease, Server, Session};

struct Feed;

impl Handler for Feed {
    type State = ();
    type Message = ();

    fn on_open(&mut self, session: &mut Session<'_>) {
        session.send("subscribed\n");
    }

    fn on_data(&mut self, _session: &mut Session<'_>, _: &mut (), _data: Lease) {}
}

fn main() -> overlapped::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9999".into());
    let server = Server::bind(address.as_str())?.start(|_worker| Feed)?;
    println!("listening on {}", server.local_addr());
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        server.broadcast(&Bytes::from(line + "\n")); // one message per worker
    }
    server.drain(Duration::from_secs(1))?;
    Ok(())
}
