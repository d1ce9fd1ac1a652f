//! Urgent data arrives in line (RFC 6093), and no byte before or behind it is lost or delayed.
//!
//! Against the standard library's sockets, on real kernels; the simulated one has none.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use overlapped_testing::{PATIENCE, assert_same, pattern, with_timeouts};
use proactor::ConnectionKey;
use socket2::SockRef;

use super::plain_sockets::{clients_of_a_listener_from_elsewhere, served};
use crate::endpoint::{Endpoint, Finished};
use crate::fixture::Fixture;
use crate::kernel::{ANY_PORT, Kernel, Socket};

/// What a peer sends with one call.
#[derive(Clone)]
enum Piece {
    Plain(Vec<u8>),
    /// The last byte is the urgent one.
    Urgent(&'static [u8]),
}

use Piece::Urgent;

fn plain(bytes: &[u8]) -> Piece {
    Piece::Plain(bytes.to_vec())
}

/// Many times what fits into a block, and more than the kernel buffers.
const LARGE: usize = 300_000;

fn streams() -> Vec<Vec<Piece>> {
    let large = |salt| Piece::Plain(pattern(LARGE, salt));
    let one_by_one = |at: u8| if at % 3 == 1 { Urgent(b"!") } else { plain(&[at]) };
    vec![
        vec![Urgent(b"!")],
        vec![Urgent(b"!"), plain(b"abc")],
        vec![plain(b"abc"), Urgent(b"!")],
        vec![plain(b"abc"), Urgent(b"!"), plain(b"defghi")],
        vec![plain(b"abc"), Urgent(b"!"), plain(b"d"), Urgent(b"?"), plain(b"ef"), Urgent(b"."), plain(b"g")],
        vec![plain(b"abc"), Urgent(b"!"), Urgent(b"?"), plain(b"def")],
        vec![Urgent(b"!"), Urgent(b"?")],
        vec![Urgent(b"xyz"), plain(b"abc"), Urgent(b"uvw")],
        (0..30).map(one_by_one).collect(),
        vec![large(1), Urgent(b"!"), large(2)],
        vec![large(1), Urgent(b"!"), Urgent(b"?"), plain(b"the end")],
        vec![Urgent(b"!"), large(1), Urgent(b"?")],
    ]
}

fn bytes_of(stream: &[Piece]) -> Vec<u8> {
    let bytes = |piece: &Piece| match piece {
        Piece::Plain(bytes) => bytes.clone(),
        Urgent(bytes) => bytes.to_vec(),
    };
    stream.iter().flat_map(bytes).collect()
}

/// Sends all of it and waits for one byte in return: an end of the stream would be one more arrival, which makes up for
/// an earlier one that was missed.
fn send(mut stream: &TcpStream, pieces: &[Piece], sent: &AtomicBool) {
    stream.set_nodelay(true).unwrap();
    for piece in pieces {
        match piece {
            Piece::Plain(bytes) => stream.write_all(bytes).unwrap(),
            Urgent(bytes) => {
                assert_eq!(SockRef::from(stream).send_out_of_band(bytes).unwrap(), bytes.len());
            }
        }
    }
    sent.store(true, Ordering::Release);
    stream.read_exact(&mut [0]).unwrap();
}

/// How the receiving endpoint goes about it.
#[derive(Clone, Copy, Debug)]
enum Reader {
    /// It receives all the time.
    Eager,
    /// It begins when everything is there, or as much as the kernel takes.
    Late,
    /// It pauses after each arrival.
    InSteps,
}

const READERS: [Reader; 3] = [Reader::Eager, Reader::Late, Reader::InSteps];

/// Everything arrives at the endpoint that `endpoint` picks, and is acknowledged.
fn all_arrives<K: Kernel>(
    fixture: &mut Fixture<'_, K>,
    endpoint: for<'a, 'k> fn(&'a mut Fixture<'k, K>) -> &'a mut Endpoint<K>,
    key: ConnectionKey,
    reader: Reader,
    (wanted, sent): (&[u8], &AtomicBool),
) {
    let got = move |fixture: &mut Fixture<'_, K>| endpoint(fixture).seen(key).bytes.len();
    if let Reader::Late = reader {
        let unread = |fixture: &mut Fixture<'_, K>| endpoint(fixture).driver.unread(key);
        fixture
            .until("what was sent", |fixture| sent.load(Ordering::Acquire) || unread(fixture) > LARGE / 20);
        // Else a drain would not know of what lies behind the mark.
        let known = if cfg!(target_os = "linux") { wanted.len().min(LARGE / 20) } else { 1 };
        fixture.until("all of it to be counted", |fixture| unread(fixture) >= known);
    }
    if let Reader::InSteps = reader {
        while got(fixture) < wanted.len() {
            let before = got(fixture);
            endpoint(fixture).receive(key);
            fixture.until("a next piece", |fixture| got(fixture) > before);
            endpoint(fixture).driver.pause_receive(key);
            fixture.until("the pause", |fixture| !endpoint(fixture).driver.is_receiving(key));
        }
    } else {
        endpoint(fixture).receive(key);
        fixture.until("all bytes", |fixture| got(fixture) >= wanted.len());
    }
    assert_same(&endpoint(fixture).seen(key).bytes, wanted, "what arrived");
    endpoint(fixture).post(key, "k");
}

fn client_to_join<K: Kernel>(fixture: &mut Fixture<'_, K>, client: JoinHandle<()>) {
    fixture.until("the client to be done", |_| client.is_finished());
    client.join().unwrap();
}

pub fn urgent_data_on_an_accepted_connection<K: Kernel>(kernel: &K) -> Finished {
    // One fixture for all: some time after a ring went, the kernel interrupts the thread that used it, as a signal
    // (`io_ring_exit_work` in `io_uring/io_uring.c`). A worker has one ring; what signals do is another case.
    let mut fixture = Fixture::new(kernel);
    for stream in streams() {
        for reader in READERS {
            let (pieces, sent) = (stream.clone(), Arc::new(AtomicBool::new(false)));
            let told = Arc::clone(&sent);
            let (there, client) = served(&mut fixture, move |stream| send(&stream, &pieces, &told));
            all_arrives(
                &mut fixture,
                |fixture| &mut fixture.there,
                there,
                reader,
                (&bytes_of(&stream), &sent),
            );
            client_to_join(&mut fixture, client);
            fixture.there.close(there);
            fixture.until("the release", |fixture| fixture.there.seen(there).released);
        }
    }
    fixture.finish()
}

pub fn urgent_data_on_an_opened_connection<K: Kernel>(kernel: &K) -> Finished {
    let mut fixture = Fixture::new(kernel);
    for reader in READERS {
        let stream =
            vec![plain(b"abc"), Urgent(b"!"), plain(b"def"), Urgent(b"?"), Urgent(b"."), plain(b"g")];
        let (pieces, sent) = (stream.clone(), Arc::new(AtomicBool::new(false)));
        let told = Arc::clone(&sent);
        let listener = TcpListener::bind(ANY_PORT).unwrap();
        let address = listener.local_addr().unwrap();
        let server = thread::spawn(move || {
            let stream = with_timeouts(listener.accept().unwrap().0, PATIENCE);
            send(&stream, &pieces, &told);
        });
        let here = fixture.here.connect(address);
        fixture.until("the connection", |fixture| fixture.here.seen(here).connected);
        all_arrives(&mut fixture, |fixture| &mut fixture.here, here, reader, (&bytes_of(&stream), &sent));
        client_to_join(&mut fixture, server);
        fixture.here.close(here);
        fixture.until("the release", |fixture| fixture.here.seen(here).released);
    }
    fixture.finish()
}

/// A signal that is pending makes Linux refuse to read at the mark, as if there were nothing. Nothing else follows that
/// would make up for it: each urgent byte is the last until it was acknowledged.
#[cfg(unix)]
pub fn urgent_data_while_signals_come<K: Kernel>(kernel: &K) -> Finished {
    const ROUNDS: usize = 4000;
    let mut fixture = Fixture::new(kernel);
    let (there, client) = served(&mut fixture, |mut stream| {
        stream.set_nodelay(true).unwrap();
        for round in 0..ROUNDS {
            if round % 2 == 0 {
                stream.write_all(b"a").unwrap();
            }
            assert_eq!(SockRef::from(&stream).send_out_of_band(b"!").unwrap(), 1);
            stream.read_exact(&mut [0]).unwrap();
        }
    });
    let signals = signals::Signals::to_this_thread();
    fixture.there.receive(there);
    let mut wanted = Vec::new();
    for round in 0..ROUNDS {
        wanted.extend_from_slice(if round % 2 == 0 { b"a!" } else { b"!" });
        fixture.until("the urgent byte", |fixture| fixture.there.seen(there).bytes.len() >= wanted.len());
        fixture.there.post(there, "k");
    }
    assert_same(&fixture.there.seen(there).bytes, &wanted, "what arrived");
    drop(signals);
    client_to_join(&mut fixture, client);
    fixture.finish()
}

#[cfg(unix)]
mod signals {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread::{self, JoinHandle};

    /// Signals to one thread, one after the other without a pause, until dropped. They do nothing but interrupt.
    pub(super) struct Signals {
        enough: Arc<AtomicBool>,
        sender: Option<JoinHandle<()>>,
    }

    extern "C" fn ignore(_signal: libc::c_int) {}

    impl Signals {
        pub(super) fn to_this_thread() -> Signals {
            // SAFETY: an action of zeros has no flags and blocks nothing; its handler does nothing. By default this
            // signal is ignored, so it may stay.
            unsafe {
                let mut action: libc::sigaction = std::mem::zeroed();
                action.sa_sigaction = ignore as extern "C" fn(libc::c_int) as usize;
                action.sa_flags = libc::SA_RESTART;
                assert_eq!(libc::sigaction(libc::SIGURG, &raw const action, std::ptr::null_mut()), 0);
            }
            // SAFETY: asks for this thread's name.
            let target = unsafe { libc::pthread_self() };
            let enough = Arc::new(AtomicBool::new(false));
            let until = Arc::clone(&enough);
            let sender = thread::spawn(move || {
                while !until.load(Ordering::Relaxed) {
                    // SAFETY: the thread lives: it waits for this one before it goes on.
                    unsafe { libc::pthread_kill(target, libc::SIGURG) };
                }
            });
            Signals { enough, sender: Some(sender) }
        }
    }

    impl Drop for Signals {
        fn drop(&mut self) {
            self.enough.store(true, Ordering::Relaxed);
            let sender = self.sender.take().expect("dropped once");
            sender.join().expect("it only sends");
        }
    }
}

/// A listener that somebody else made, with a connection in its backlog: that one inherits nothing.
pub fn urgent_data_by_a_listener_from_elsewhere<K: Kernel>(kernel: &K) -> Finished
where
    Socket<K>: From<TcpListener>,
{
    let mut fixture = Fixture::new(kernel);
    for client in clients_of_a_listener_from_elsewhere(&mut fixture) {
        fixture.until("the connection", |fixture| !fixture.there.accepted.is_empty());
        let socket = fixture.there.accepted.pop_front().unwrap();
        let there = fixture.there.adopt(socket);
        let (stream, sent) = ([plain(b"abc"), Urgent(b"!"), plain(b"def")], Arc::new(AtomicBool::new(false)));
        let (pieces, told) = (stream.clone(), Arc::clone(&sent));
        let client = thread::spawn(move || send(&client, &pieces, &told));
        let all = (&bytes_of(&stream)[..], &*sent);
        all_arrives(&mut fixture, |fixture| &mut fixture.there, there, Reader::Late, all);
        client_to_join(&mut fixture, client);
    }
    fixture.finish()
}
