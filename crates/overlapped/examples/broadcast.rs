//! A feed: every line of the standard input goes to all subscribers, on whatever worker they are, as one buffer that
//! nobody copies. `cargo run --release --example broadcast -- 127.0.0.1:9999`, then `nc 127.0.0.1 9999`.
use std::collections::HashSet;
use std::io::BufRead;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};

use overlapped::{Bytes, CloseReason, Handler, Lease, Server, Session, SessionId, WorkerContext};

#[derive(Clone, Default)]
struct Subscribers(Arc<Mutex<HashSet<SessionId>>>);

impl Subscribers {
    fn lock(&self) -> MutexGuard<'_, HashSet<SessionId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Handler for Subscribers {
    type State = ();
    type Message = ();

    fn on_open(&mut self, session: &mut Session<'_>) {
        self.lock().insert(session.id());
        session.send("subscribed\n");
    }

    fn on_data(&mut self, _session: &mut Session<'_>, _: &mut (), _data: Lease) {}

    fn on_close(&mut self, _: &mut WorkerContext<'_>, id: SessionId, _: (), _: CloseReason) {
        self.lock().remove(&id);
    }
}

fn main() -> overlapped::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9999".into());
    let server = Server::bind(address.as_str())?;
    let (subscribers, (give, given)) = (Subscribers::default(), mpsc::channel());
    let all = subscribers.clone();
    let server = server.start(move |worker| {
        let _ = give.send(worker);
        all.clone()
    })?;
    println!("listening on {}", server.local_addrs()[0]);
    let worker = given.recv().expect("there is a worker"); // the handle of one knows all
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        let to: Vec<SessionId> = subscribers.lock().iter().copied().collect();
        worker.broadcast(&to, &Bytes::from(line + "\n")); // one message per worker
    }
    server.drain(std::time::Duration::from_secs(1))?;
    Ok(())
}
