//! mio: edge-triggered readiness and one buffer for all connections, as in mio's `examples/tcp_server.rs` and the
//! rules for draining readiness in <https://docs.rs/mio/1/mio/struct.Poll.html>.

use std::io::{self, ErrorKind, Read, Write};

use mio::event::Event;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Registry, Token};
use peer::Options;
use slab::Slab;

/// No connection's token: those are indices of the slab.
const LISTENER: Token = Token(usize::MAX);
const EVENTS: usize = 1024;

fn main() -> io::Result<()> {
    let options = Options::from_arguments(&["edge-triggered"]);
    let listener = peer::listen(options.port)?;
    listener.set_nonblocking(true)?;
    let mut listener = TcpListener::from_std(listener);
    let mut poll = Poll::new()?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    peer::announce(listener.local_addr()?.port());

    let mut events = Events::with_capacity(EVENTS);
    let mut connections = Slab::new();
    let mut buffer = vec![0; peer::READ_BUFFER];
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        for event in &events {
            if event.token() == LISTENER {
                accept(&listener, poll.registry(), &mut connections)?;
                continue;
            }
            let key = event.token().0;
            // A batch has at most one event of a connection, so this one belongs to the connection in the slot.
            if let Some(connection) = connections.get_mut(key)
                && !matches!(connection.on_event(event, &mut buffer), Ok(State::Open))
            {
                connections.remove(key); // which closes it
            }
        }
    }
}

/// All connections that wait.
fn accept(listener: &TcpListener, registry: &Registry, connections: &mut Slab<Connection>) -> io::Result<()> {
    loop {
        match listener.accept() {
            Ok((mut stream, _)) => {
                stream.set_nodelay(true)?;
                let entry = connections.vacant_entry();
                registry.register(
                    &mut stream,
                    Token(entry.key()),
                    Interest::READABLE | Interest::WRITABLE,
                )?;
                entry.insert(Connection { stream, pending: Vec::new(), sent: 0 });
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) if peer::concerns_one_connection(&error) => {}
            Err(error) => return Err(error),
        }
    }
}

struct Connection {
    stream: TcpStream,
    /// What the socket did not take; nothing is read before it has gone.
    pending: Vec<u8>,
    /// Bytes of `pending` that have gone.
    sent: usize,
}

enum State {
    Open,
    /// The client has closed its side and has got all of its bytes.
    Finished,
}

impl Connection {
    /// Echoes until the socket has nothing to read or no room to write.
    fn on_event(&mut self, event: &Event, buffer: &mut [u8]) -> io::Result<State> {
        let waited = !self.pending.is_empty();
        if waited && !self.flush()? {
            return Ok(State::Open);
        }
        // A short read has emptied the socket: what arrives later is a new event. Not so the end of the stream and
        // what was not read while output waited, which this event or an earlier one announced.
        let to_the_end = waited || event.is_read_closed();
        loop {
            let length = match self.stream.read(buffer) {
                Ok(0) => return Ok(State::Finished),
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(State::Open),
                Err(error) => return Err(error),
            };
            let sent = write(&mut self.stream, &buffer[..length])?;
            if sent < length {
                self.pending.extend_from_slice(&buffer[sent..length]);
                return Ok(State::Open);
            }
            if length < buffer.len() && !to_the_end {
                return Ok(State::Open);
            }
        }
    }

    /// Whether nothing is pending any more.
    fn flush(&mut self) -> io::Result<bool> {
        self.sent += write(&mut self.stream, &self.pending[self.sent..])?;
        if self.sent < self.pending.len() {
            return Ok(false);
        }
        self.pending.clear();
        self.sent = 0;
        Ok(true)
    }
}

/// Writes until the socket takes no more; how many bytes it took.
fn write(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<usize> {
    let mut sent = 0;
    while sent < bytes.len() {
        match stream.write(&bytes[sent..]) {
            Ok(length) => sent += length,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    Ok(sent)
}
