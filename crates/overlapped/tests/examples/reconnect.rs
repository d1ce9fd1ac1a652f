//! The clients of `examples/reconnect.rs` against a server that is restarted.

use std::collections::HashSet;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Stdio};

use overlapped_testing::{Example, PATIENCE, accept, eventually, spawned, with_timeouts};

const CLIENTS: usize = 200;

/// Ended with the test.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Accepts until every client has greeted. Returns their connections.
fn serve_all(listener: &TcpListener) -> Vec<TcpStream> {
    listener.set_nonblocking(true).unwrap();
    let (mut greeted, mut streams) = (HashSet::new(), Vec::new());
    eventually("all clients greet", || {
        let stream = match accept(listener) {
            Ok(stream) => stream,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
            Err(error) => panic!("{error}"),
        };
        stream.set_nonblocking(false).unwrap();
        let stream = with_timeouts(stream, PATIENCE);
        let mut line = String::new();
        let mut reader = BufReader::new(stream);
        reader.read_line(&mut line).expect("a greeting");
        let client = line.trim().strip_prefix("I am ").and_then(|client| client.parse::<usize>().ok());
        assert!(greeted.insert(client.expect("a number")), "{line:?} is connected once");
        streams.push(reader.into_inner());
        greeted.len() == CLIENTS
    });
    assert!(greeted.iter().all(|client| *client < CLIENTS));
    streams
}

#[test]
fn all_come_back_to_a_server_that_is_restarted() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    let mut command = Example::command("reconnect");
    // By name: `localhost` may have an address that nobody listens on, too.
    let target = format!("localhost:{}", address.port());
    command.args([&target, &CLIENTS.to_string()]).stdin(Stdio::null()).stdout(Stdio::null());
    let mut program = Program(spawned(&mut command).expect("build it first: cargo build --examples"));
    let streams = serve_all(&listener);
    // The listener first: nobody is to come back before the restart.
    drop(listener);
    (&streams[0]).write_all(b"until later\n").unwrap();
    drop(streams);
    let mut again = None;
    // Meanwhile the port may be the one that a connect of another program was given.
    eventually("the port can be listened on", || {
        again = TcpListener::bind(address).ok();
        again.is_some()
    });
    let streams = serve_all(&again.expect("it listens"));
    assert!(program.0.try_wait().unwrap().is_none(), "it goes on");
    drop(streams);
}
