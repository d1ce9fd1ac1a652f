//! Against the standard library's sockets, on real kernels: two drivers with the same fault would not notice it.

use std::cell::Cell;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::ops::Deref;
use std::rc::Rc;
use std::thread::{self, JoinHandle};

use overlapped_testing::{PATIENCE, assert_same, dial, pattern, read_to_end, reset, with_timeouts};
use proactor::ConnectionKey;
use proactor::SocketCalls;
use proactor::backend::Backend;

use crate::endpoint::Finished;
use crate::fixture::Fixture;
use crate::kernel::{ANY_PORT, Kernel, Socket};
use crate::wine::Limit;

/// Runs a blocking client on a thread of its own, and adopts its connection.
pub(super) fn served<K: Kernel, T: Send + 'static>(
    fixture: &mut Fixture<'_, K>,
    client: impl FnOnce(TcpStream) -> T + Send + 'static,
) -> (ConnectionKey, JoinHandle<T>) {
    let (_, address) = fixture.there.listen(fixture.kernel.listen_on(ANY_PORT).unwrap());
    let thread = thread::spawn(move || client(dial(address)));
    fixture.until("the client", |fixture| !fixture.there.accepted.is_empty());
    let socket = fixture.there.accepted.pop_front().unwrap();
    (fixture.there.adopt(socket), thread)
}

/// Sends, half-closes, and reads its echo to the end; the received blocks themselves are sent back.
pub fn a_client_gets_its_echo_and_the_end<K: Kernel>(kernel: &K) -> Finished {
    let mut fixture = Fixture::new(kernel);
    let bytes = pattern(600_000, 1);
    let sent = bytes.clone();
    let (there, client) = served(&mut fixture, move |mut stream| {
        let mut writer = stream.try_clone().unwrap();
        let writing = thread::spawn(move || {
            writer.write_all(&sent).unwrap();
            writer.shutdown(Shutdown::Write).unwrap();
        });
        let echo = read_to_end(&mut stream);
        writing.join().unwrap();
        echo
    });
    fixture.there.keeping = true;
    fixture.there.receive(there);
    fixture.until("the whole echo", |fixture| {
        while let Some((connection, lease)) = fixture.there.kept.pop_front() {
            fixture.there.post(connection, lease);
        }
        fixture.there.seen(there).ended && fixture.there.is_flushed(there)
    });
    fixture.there.driver.finish(there).unwrap();
    fixture.there.close(there);
    fixture.until("the client to be done", |_| client.is_finished());
    assert_same(&client.join().unwrap(), &bytes, "the echo");
    fixture.finish()
}

pub fn a_client_that_resets<K: Kernel>(kernel: &K) -> Finished {
    let mut fixture = Fixture::new(kernel);
    let (there, client) = served(&mut fixture, reset);
    fixture.there.receive(there);
    fixture.until("the reset", |fixture| fixture.there.seen(there).over());
    let seen = fixture.there.seen(there);
    if seen.ended {
        // It came before the receive.
        assert!(Limit::UnwatchedResetIsAnEnd.holds(), "a reset is no end");
    } else {
        assert_eq!(seen.failures[0].1, ErrorKind::ConnectionReset);
    }
    client.join().unwrap();
    fixture.finish()
}

/// What the client sees of a close and of an abort.
pub fn a_client_tells_close_from_abort<K: Kernel>(kernel: &K) -> Finished {
    for abort in [false, true] {
        let mut fixture = Fixture::new(kernel);
        let (there, client) = served(&mut fixture, |mut stream| {
            stream.write_all(b"connected").unwrap();
            stream.read(&mut [0; 16]).map_err(|e| e.kind())
        });
        fixture.there.receive(there);
        // Its thread may sleep for long: a reset would end its connect, and not the read that is asked about.
        fixture.until("the client to be connected", |fixture| {
            fixture.there.seen(there).bytes.len() == b"connected".len()
        });
        if abort {
            fixture.there.abort(there);
        } else {
            fixture.there.close(there);
        }
        fixture.until("the client to know", |_| client.is_finished());
        let wanted = if abort { Err(ErrorKind::ConnectionReset) } else { Ok(0) };
        assert_eq!(client.join().unwrap(), wanted);
        let _: Finished = fixture.finish();
    }
    Fixture::new(kernel).finish()
}

/// A connect to a socket of the standard library, which sends and ends.
pub fn connecting_to_a_server<K: Kernel>(kernel: &K) -> Finished {
    let mut fixture = Fixture::new(kernel);
    let listener = TcpListener::bind(ANY_PORT).unwrap();
    let address = listener.local_addr().unwrap();
    let server = thread::spawn(move || {
        let mut stream = with_timeouts(listener.accept().unwrap().0, PATIENCE);
        stream.write_all(b"hello").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    });
    let here = fixture.here.connect(address);
    fixture.until("the connection", |fixture| fixture.here.seen(here).connected);
    fixture.here.receive(here);
    fixture.until("the end", |fixture| fixture.here.seen(here).ended);
    assert_eq!(fixture.here.seen(here).bytes, b"hello");
    fixture.here.post(here, "and good-bye");
    fixture.until("the send", |fixture| fixture.here.is_flushed(here));
    fixture.here.close(here);
    fixture.until("the server to be done", |_| server.is_finished());
    assert_eq!(server.join().unwrap(), "and good-bye");
    fixture.finish()
}

/// `TCP_NODELAY` is set on what a driver opens.
pub fn an_opened_connection_sends_at_once<K: Kernel>(kernel: &K) -> Finished
where
    Socket<K>: Deref<Target = socket2::Socket>,
{
    let mut fixture = Fixture::new(kernel);
    let read_back = Rc::new(Cell::new(None));
    let kept = Rc::clone(&read_back);
    let prepare = move |socket: &Socket<K>| kept.set(socket.tcp_nodelay().ok());
    fixture.here.backend().prepare_next(Box::new(prepare));
    fixture.pair();
    assert_eq!(read_back.get(), Some(true));
    fixture.finish()
}

/// It is set on what a listener of ours accepts.
pub fn a_listener_that_is_made_here_sends_at_once<K: Kernel>(kernel: &K) -> Finished
where
    Socket<K>: Deref<Target = socket2::Socket>,
{
    let mut fixture = Fixture::new(kernel);
    let socket = kernel.listen_on(ANY_PORT).unwrap();
    let (_, address) = fixture.there.listen(socket);
    let client = dial(address);
    fixture.until("the connection", |fixture| !fixture.there.accepted.is_empty());
    let socket = fixture.there.accepted.pop_front().unwrap();
    assert!(socket.tcp_nodelay().unwrap());
    fixture.there.adopt(socket);
    drop(client);
    fixture.finish()
}

/// A listener that a service manager made: `TCP_NODELAY` is set on what it accepts, also on what was in its backlog when
/// it was taken over.
pub fn a_listener_from_elsewhere_sends_at_once<K: Kernel>(kernel: &K) -> Finished
where
    Socket<K>: From<TcpListener>,
{
    let mut fixture = Fixture::new(kernel);
    let clients = clients_of_a_listener_from_elsewhere(&mut fixture);
    for _ in &clients {
        fixture.until("the connection", |fixture| !fixture.there.accepted.is_empty());
        let socket = fixture.there.accepted.pop_front().unwrap();
        assert!(fixture.there.driver.backend().calls().nodelay(&socket).unwrap(), "it is set already");
        fixture.there.adopt(socket);
    }
    fixture.finish()
}

/// The clients of a listener that somebody else made: one was in its backlog when it was taken over, one came later.
pub(super) fn clients_of_a_listener_from_elsewhere<K: Kernel>(fixture: &mut Fixture<'_, K>) -> [TcpStream; 2]
where
    Socket<K>: From<TcpListener>,
{
    let listener = TcpListener::bind(ANY_PORT).unwrap();
    let early = dial(listener.local_addr().unwrap());
    let (_, address) = fixture.there.listen(listener.into());
    [early, dial(address)]
}
