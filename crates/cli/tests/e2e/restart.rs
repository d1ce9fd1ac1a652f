//! A server that was killed, and the next one on its port.

use std::net::{Ipv4Addr, SocketAddr};

use rustix::process::Signal;

use crate::peer::{dial, exchange, noise};
use crate::server::{Server, serve_on};

const ROUNDS: usize = 20;
const CLIENTS: usize = 20;

/// A loopback address that no other test uses, nor picks a port on, while the port is free for a moment.
fn own_address(backend: &str) -> Ipv4Addr {
    let [_, pid @ ..] = std::process::id().to_be_bytes();
    let [high, middle, low] = pid;
    // Most pids are small. 127.0.0.0/16 is left to the others.
    Ipv4Addr::new(127, 1 + 2 * (high % 100) + u8::from(backend == "io_uring"), middle, low)
}

/// `kill -9` with clients, and the next one starts on the same port at once, as a supervisor has it. The kernel closes the
/// listener of a ring some time after its process has ended.
pub(crate) fn killed_servers_give_their_port_back(backend: &str) {
    let mut bind = SocketAddr::from((own_address(backend), 0));
    let mut left = Vec::new();
    for round in 0..ROUNDS {
        let command = serve_on(backend, &["--workers", "2", "--bind", &bind.to_string()]);
        let server = Server::launch(command).unwrap_or_else(|ended| panic!("round {round}: {ended:?}"));
        bind = server.address();
        left.clear();
        let mut clients: Vec<_> = (0..CLIENTS).map(|_| dial(bind)).collect();
        for (number, client) in clients.iter_mut().enumerate() {
            exchange(client, noise(number, 1000));
        }
        server.signal(Signal::KILL);
        let ended = server.wait();
        assert_eq!((ended.status, ended.stderr.as_str()), (None, ""), "{ended:?}");
        // They stay until the next one serves: what is left of their connections must not matter either.
        left = clients;
    }
}
