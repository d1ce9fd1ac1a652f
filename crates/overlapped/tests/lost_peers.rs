//! Peers whose machines are gone: nothing answers, no FIN and no reset comes. A filter on the peer's socket, which drops
//! every segment that comes in, makes a peer so without any privilege: socket(7), `SO_ATTACH_FILTER`.
#![cfg(target_os = "linux")]

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use overlapped::{
    Choice, CloseReason, Closed, Handler, Lease, Server, ServerHandle, Session, SocketOptions, WorkerContext,
    WorkerHandle,
};
use overlapped_testing::{PATIENCE, dial, with_timeouts};
use socket2::{SockFilter, SockRef};

use common::backends;

const SECOND: Duration = Duration::from_secs(1);

/// Echoes, connects to the addresses it is sent, and reports why sessions end.
struct Echo(Sender<CloseReason>);

impl Handler for Echo {
    type State = ();
    type Message = (SocketAddr, Option<SocketOptions>);

    fn on_open(&mut self, _session: &mut Session<'_, Self::State>) {}

    fn on_data(&mut self, session: &mut Session<'_, Self::State>, _state: &mut (), data: Lease) {
        session.send(data);
    }

    fn on_message(
        &mut self,
        worker: &mut WorkerContext<'_, Self::State>,
        (address, options): (SocketAddr, Option<SocketOptions>),
    ) {
        match options {
            Some(options) => worker.connect_with(address, 1, options),
            None => worker.connect(address, 1),
        }
    }

    fn on_close(
        &mut self,
        _: &mut WorkerContext<'_, Self::State>,
        Closed { reason, .. }: Closed,
        _state: (),
    ) {
        let _ = self.0.send(reason);
    }
}

struct Fixture {
    server: ServerHandle<(SocketAddr, Option<SocketOptions>)>,
    worker: WorkerHandle<(SocketAddr, Option<SocketOptions>)>,
    ended: Receiver<CloseReason>,
}

fn start(choice: Choice, options: SocketOptions) -> Fixture {
    let ((tell, ended), (give, given)) = (channel(), channel());
    let server = Server::bind("127.0.0.1:0").unwrap().backend(choice).workers(1).write_timeout(None);
    let server = server.keepalive(options.keepalive).user_timeout(options.user_timeout);
    let server = server.start(move |worker| {
        give.send(worker).unwrap();
        Echo(tell.clone())
    });
    Fixture { server: server.unwrap(), worker: given.recv().unwrap(), ended }
}

impl Fixture {
    /// The other end of a session that the server opens.
    fn opened_outwards(&self, options: Option<SocketOptions>) -> TcpStream {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        self.worker.post((listener.local_addr().unwrap(), options)).unwrap();
        with_timeouts(listener.accept().unwrap().0, PATIENCE)
    }

    /// The peer has got an echo, and vanishes. If it `speaks`, another echo is sent to it and never acknowledged.
    fn loses(&self, mut peer: TcpStream, speaks: bool) -> Duration {
        peer.write_all(b"hello").unwrap();
        peer.read_exact(&mut [0; 5]).unwrap();
        // `BPF_RET | BPF_K`, 0: of every segment, keep nothing.
        let nothing = SockFilter::new(0x06, 0, 0, 0);
        SockRef::from(&peer).attach_filter(&[nothing]).expect("any process may filter its own sockets");
        let since = Instant::now();
        if speaks {
            peer.write_all(b"are you there?").unwrap();
        }
        assert_eq!(self.ended.recv_timeout(PATIENCE), Ok(CloseReason::PeerLost));
        since.elapsed()
    }
}

/// The options of a server hold for what it accepts and for what it opens.
#[test]
fn a_peer_that_does_not_acknowledge_is_lost() {
    thread::scope(|scope| {
        for choice in backends() {
            for outwards in [false, true] {
                scope.spawn(move || {
                    let options = SocketOptions { user_timeout: Some(SECOND), ..SocketOptions::default() };
                    let fixture = start(choice, options);
                    let peer = if outwards {
                        fixture.opened_outwards(None)
                    } else {
                        dial(fixture.server.local_addr())
                    };
                    let took = fixture.loses(peer, true);
                    assert!(took >= SECOND - Duration::from_millis(100), "{took:?}: too soon");
                    // Counters are published at the end of a turn.
                    fixture.server.drain(PATIENCE).unwrap();
                    let stats = fixture.server.stats();
                    assert_eq!((stats.sessions_timed_out, stats.sessions_reset), (1, 0));
                });
            }
        }
    });
}

/// A silent peer is asked for a sign of life: after a second, and four times.
#[test]
fn a_silent_peer_is_asked_and_lost() {
    thread::scope(|scope| {
        for choice in backends() {
            scope.spawn(move || {
                let options = SocketOptions { keepalive: Some(SECOND), ..SocketOptions::default() };
                let fixture = start(choice, options);
                // One that answers stays, however silent.
                let mut stays = dial(fixture.server.local_addr());
                let took = fixture.loses(dial(fixture.server.local_addr()), false);
                assert!(took >= 2 * SECOND, "{took:?}: too soon");
                stays.write_all(b"still here").unwrap();
                stays.read_exact(&mut [0; 10]).unwrap();
                drop(stays);
                assert_eq!(fixture.ended.recv_timeout(PATIENCE), Ok(CloseReason::EndOfStream));
                fixture.server.drain(PATIENCE).unwrap();
            });
        }
    });
}

/// One session has its own options.
#[test]
fn a_connect_may_have_options_of_its_own() {
    thread::scope(|scope| {
        for choice in backends() {
            scope.spawn(move || {
                let fixture = start(choice, SocketOptions::default());
                let (keepalive, user_timeout) = (Some(SECOND), Some(SECOND));
                let options = SocketOptions { keepalive, user_timeout };
                let peer = fixture.opened_outwards(Some(options));
                // With both, the first probe that is late decides.
                fixture.loses(peer, false);
                fixture.server.drain(PATIENCE).unwrap();
            });
        }
    });
}
