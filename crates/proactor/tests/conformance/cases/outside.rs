//! Against the standard library's sockets, on real kernels: two drivers with the same fault would agree.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use proactor::ConnectionKey;
use proactor::backend::Backend;

use crate::bench::{Bench, assert_same, pattern};
use crate::side::Finished;
use crate::wine::Limit;
use crate::world::{ANY_PORT, Socket, World};

/// Runs a blocking client on a thread of its own, and adopts its connection.
pub(super) fn served<W: World, T: Send + 'static>(
    bench: &mut Bench<'_, W>,
    client: impl FnOnce(TcpStream) -> T + Send + 'static,
) -> (ConnectionKey, JoinHandle<T>) {
    let (_, address) = bench.there.listen(bench.world.listen_on(ANY_PORT).unwrap());
    let thread = thread::spawn(move || client(dial(address)));
    bench.until("the client", |bench| !bench.there.accepted.is_empty());
    let socket = bench.there.accepted.pop_front().unwrap();
    (bench.there.adopt(socket), thread)
}

/// A stream whose every wait has an end.
pub(super) fn dial(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

/// Sends, half-closes, and reads its echo to the end; the received blocks themselves are sent back.
pub fn a_client_gets_its_echo_and_the_end<W: World>(world: &W) -> Finished {
    let mut bench = Bench::new(world);
    let bytes = pattern(600_000, 1);
    let sent = bytes.clone();
    let (there, client) = served(&mut bench, move |mut stream| {
        let mut writer = stream.try_clone().unwrap();
        let writing = thread::spawn(move || {
            writer.write_all(&sent).unwrap();
            writer.shutdown(Shutdown::Write).unwrap();
        });
        let mut echo = Vec::new();
        stream.read_to_end(&mut echo).unwrap();
        writing.join().unwrap();
        echo
    });
    bench.there.keeping = true;
    bench.there.receive(there);
    bench.until("the whole echo", |bench| {
        while let Some((connection, lease)) = bench.there.kept.pop_front() {
            bench.there.post(connection, lease);
        }
        bench.there.seen(there).ended && bench.there.is_flushed(there)
    });
    bench.there.driver.finish(there).unwrap();
    bench.there.close(there);
    bench.until("the client to be done", |_| client.is_finished());
    assert_same(&client.join().unwrap(), &bytes, "the echo");
    bench.finish()
}

pub fn a_client_that_resets<W: World>(world: &W) -> Finished {
    let mut bench = Bench::new(world);
    let (there, client) = served(&mut bench, |stream| {
        socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    });
    bench.there.receive(there);
    bench.until("the reset", |bench| bench.there.seen(there).over());
    let seen = bench.there.seen(there);
    if seen.ended {
        // It came before the receive.
        assert!(Limit::UnwatchedResetIsAnEnd.holds(), "a reset is no end");
    } else {
        assert_eq!(seen.failures[0].1, ErrorKind::ConnectionReset);
    }
    client.join().unwrap();
    bench.finish()
}

/// What the client sees of a close and of an abort.
pub fn a_client_tells_close_from_abort<W: World>(world: &W) -> Finished {
    for abort in [false, true] {
        let mut bench = Bench::new(world);
        let (there, client) = served(&mut bench, |mut stream| {
            stream.write_all(b"connected").unwrap();
            stream.read(&mut [0; 16]).map_err(|e| e.kind())
        });
        bench.there.receive(there);
        // Its thread may sleep for long: a reset would end its connect, and not the read that is asked about.
        bench.until("the client to be connected", |bench| {
            bench.there.seen(there).bytes.len() == b"connected".len()
        });
        if abort {
            bench.there.abort(there);
        } else {
            bench.there.close(there);
        }
        bench.until("the client to know", |_| client.is_finished());
        let wanted = if abort { Err(ErrorKind::ConnectionReset) } else { Ok(0) };
        assert_eq!(client.join().unwrap(), wanted);
        let _: Finished = bench.finish();
    }
    Bench::new(world).finish()
}

/// A connect to a socket of the standard library, which sends and ends.
pub fn connecting_to_a_server<W: World>(world: &W) -> Finished {
    let mut bench = Bench::new(world);
    let listener = TcpListener::bind(ANY_PORT).unwrap();
    let address = listener.local_addr().unwrap();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(b"hello").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    });
    let here = bench.here.connect(address);
    bench.until("the connection", |bench| bench.here.seen(here).connected);
    bench.here.receive(here);
    bench.until("the end", |bench| bench.here.seen(here).ended);
    assert_eq!(bench.here.seen(here).bytes, b"hello");
    bench.here.post(here, "and good-bye");
    bench.until("the send", |bench| bench.here.is_flushed(here));
    bench.here.close(here);
    bench.until("the server to be done", |_| server.is_finished());
    assert_eq!(server.join().unwrap(), "and good-bye");
    bench.finish()
}

/// A listener that a service manager made: `TCP_NODELAY` is set on what it accepts, also on what was in its backlog when
/// it was taken over.
pub fn a_listener_from_elsewhere_sends_at_once<W: World>(world: &W) -> Finished
where
    Socket<W>: From<TcpListener>,
{
    let mut bench = Bench::new(world);
    let clients = clients_of_a_listener_from_elsewhere(&mut bench);
    for _ in &clients {
        bench.until("the connection", |bench| !bench.there.accepted.is_empty());
        let socket = bench.there.accepted.pop_front().unwrap();
        assert!(bench.there.driver.backend().nodelay(&socket).unwrap(), "it is set already");
        bench.there.adopt(socket);
    }
    bench.finish()
}

/// The clients of a listener that somebody else made: one was in its backlog when it was taken over, one came later.
pub(super) fn clients_of_a_listener_from_elsewhere<W: World>(bench: &mut Bench<'_, W>) -> [TcpStream; 2]
where
    Socket<W>: From<TcpListener>,
{
    let listener = TcpListener::bind(ANY_PORT).unwrap();
    let early = dial(listener.local_addr().unwrap());
    let (_, address) = bench.there.listen(listener.into());
    [early, dial(address)]
}
