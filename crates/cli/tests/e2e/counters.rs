//! SIGUSR1: how things stand, and nothing else.

use std::io::Read;
use std::net::TcpStream;

use crate::drain::hold_up;
use crate::peer::{dial, eventually, exchange, noise};
use crate::server::{Now, Server};

/// Its numbers are those of the clients, as often as one asks, and asking is no request to end: neither before
/// nor during a drain.
pub(crate) fn asked_by_signal(backend: &str) {
    let server = Server::start(backend, &["--workers", "2", "--max-sessions", "3", "--quiet"]);
    let idle = server.now();
    assert_eq!(idle, Now { in_flight: idle.in_flight, ..Now::default() });
    let mut clients: Vec<TcpStream> = (0..3).map(|_| dial(server.address())).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        exchange(client, noise(number, 10_000));
    }
    let mut refused = dial(server.address());
    assert_eq!(refused.read(&mut [0]).unwrap_or(0), 0, "one too many");
    let with = |wanted: Now| {
        eventually("the counters are those of the clients", || {
            let now = server.now();
            assert!(now.in_flight < 100 && now.blocks_in_use < 100, "{now:?}");
            now == Now { in_flight: now.in_flight, ..wanted }
        });
    };
    let three = Now { sessions: 3, opened: 3, rejected: 1, echoed: 30_000, ..Now::default() };
    with(three);
    clients.pop();
    with(Now { sessions: 2, closed: 1, ..three });

    let held = hold_up(server.address());
    server.terminate();
    eventually("the others are drained", || server.now().sessions == 1);
    for _ in 0..3 {
        let now = server.now();
        assert_eq!((now.sessions, now.opened, now.closed), (1, 4, 3), "asked, not ended");
    }
    drop(held);
    let ended = server.wait();
    assert_eq!(ended.status, Some(0), "{ended:?}");
    assert!(ended.stdout.is_empty() && ended.stderr.is_empty(), "{ended:?}");
}
