//! The operations that an observer gets of a worker, on the real backends.

mod common;

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex};

use overlapped::events::{Call, OpKey};
use overlapped::{
    Bytes, Choice, Event, Handler, Lease, Moment, OnPanic, Server, Session, SessionId, Step, TraceResult,
};
use overlapped_testing::{PATIENCE, dial};

use common::backends;

struct Echo;

impl Handler for Echo {
    type State = ();
    type Message = ();

    fn on_open(&mut self, _session: &mut Session<'_, Self::State>) {}

    fn on_data(&mut self, session: &mut Session<'_, Self::State>, _state: &mut (), data: Lease) {
        assert_ne!(data[0], b'!', "a mistake in a handler");
        if data[0] == b'?' {
            // An answer in pieces, each too large to be copied behind the one before.
            for piece in ANSWER {
                session.send(Bytes::from_static(piece));
            }
        } else {
            session.send(data);
        }
    }
}

const ANSWER: [&[u8]; 3] = [b"a short head, ", &[b'x'; 5_000], &[b'y'; 7_000]];

type Steps = Vec<(Option<SessionId>, Step)>;

/// Every step there was, in order, for one worker.
fn watch(choice: Choice, visit: impl FnOnce(TcpStream)) -> Steps {
    let seen: Arc<Mutex<Steps>> = Arc::default();
    let seen_by_observer = Arc::clone(&seen);
    let server = Server::bind("127.0.0.1:0").unwrap().backend(choice).workers(1);
    let server = server.trace_operations(true).observer(move |event| {
        if let Event::Operation { worker: 0, session, step, .. } = event {
            seen_by_observer.lock().unwrap().push((*session, **step));
        }
    });
    let server = server.start(|_worker| Echo).unwrap();
    visit(dial(server.local_addr()));
    server.drain(PATIENCE).unwrap();
    std::mem::take(&mut *seen.lock().unwrap())
}

#[test]
fn every_submission_completes_and_every_byte_is_told() {
    const BYTES: usize = 100_000;
    for choice in backends() {
        let steps = watch(choice, |mut client| {
            let mut writing = client.try_clone().unwrap();
            let writer = std::thread::spawn(move || {
                writing.write_all(&[7; BYTES]).unwrap();
                writing.shutdown(Shutdown::Write).unwrap();
            });
            assert_eq!(client.read_to_end(&mut Vec::new()).unwrap(), BYTES);
            writer.join().unwrap();
        });
        let mut open: HashMap<OpKey, Call> = HashMap::new();
        let (mut received, mut sent) = (0, 0);
        for (session, step) in &steps {
            match step.moment {
                Moment::Submitted { .. } => {
                    open.insert(step.operation.expect("it is in flight"), step.call);
                }
                Moment::Completed { result, more } => {
                    let op = step.operation.expect("it was in flight");
                    assert_eq!(open.get(&op), Some(&step.call), "INV-1: it was submitted: {step:?}");
                    if !more {
                        open.remove(&op);
                    }
                    if let TraceResult::Bytes(bytes) = result {
                        assert!(session.is_some());
                        *(if step.call == Call::Receive { &mut received } else { &mut sent }) += bytes;
                    }
                }
                Moment::Cancelling => assert!(open.contains_key(&step.operation.unwrap())),
                Moment::Returned(TraceResult::Bytes(bytes)) => sent += bytes,
                Moment::Returned(_) | Moment::Began | Moment::Ended => {}
            }
        }
        assert!(open.is_empty(), "everything completed: {open:?}");
        assert_eq!((received, sent), (BYTES, BYTES), "{choice:?}");
        let closed = steps.iter().filter(|(session, step)| session.is_some() && step.call == Call::Close);
        assert_eq!(closed.count(), 1, "INV-2");
    }
}

/// What a callback sends piece by piece leaves with one call, not with one for each.
#[test]
fn pieces_of_an_answer_leave_together() {
    for choice in backends() {
        let whole = ANSWER.concat();
        let steps = watch(choice, |mut client| {
            for _ in 0..10 {
                client.write_all(b"?").unwrap();
                let mut answer = vec![0; whole.len()];
                client.read_exact(&mut answer).unwrap();
                assert!(answer == whole);
            }
        });
        let sends = steps.iter().filter(|(_, step)| {
            let begins =
                matches!(step.moment, Moment::Submitted { .. } | Moment::Returned(TraceResult::Bytes(_)));
            step.call == Call::Send && begins
        });
        assert_eq!(sends.count(), 10, "{choice:?}");
    }
}

#[test]
fn a_server_that_asked_to_stop_on_a_panic_does() {
    for choice in backends() {
        let server = Server::bind("127.0.0.1:0").unwrap().backend(choice).workers(2);
        let server = server.on_panic(OnPanic::StopServer).start(|_worker| Echo).unwrap();
        let (mut bad, mut good) = (dial(server.local_addr()), dial(server.local_addr()));
        bad.write_all(b"!").unwrap();
        let error = server.wait().expect_err("the panic");
        assert!(error.to_string().contains("a mistake in a handler"), "{error}");
        assert!(!matches!(good.read(&mut [0]), Ok(1..)), "nobody is served any more");
    }
}
