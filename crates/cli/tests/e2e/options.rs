//! `--keepalive` and `--user-timeout`: a client whose machine is gone ends its session, one that answers stays.
//!
//! A filter on the client's socket drops whatever comes in, so that nothing is acknowledged any more: socket(7),
//! `SO_ATTACH_FILTER`.

use std::io::Write;
use std::net::TcpStream;

use socket2::{SockFilter, SockRef};

use crate::peer::{dial, exchange};
use crate::process::run;
use crate::server::{Server, binary};

/// From now on nothing reaches this client.
fn vanish(client: &TcpStream) {
    // `BPF_RET | BPF_K`, 0: of every segment, keep nothing.
    let nothing = SockFilter::new(0x06, 0, 0, 0);
    SockRef::from(client).attach_filter(&[nothing]).expect("any process may filter its own sockets");
}

pub(crate) fn of_accepted_sockets(backend: &str) {
    let args = ["--keepalive", "1s", "--user-timeout", "1500ms", "-v", "--workers", "2"];
    let server = Server::start(backend, &args);
    let mut stays = dial(server.address());
    exchange(&mut stays, b"here");
    let (mut silent, mut owed) = (dial(server.address()), dial(server.address()));
    for client in [&mut silent, &mut owed] {
        exchange(client, b"here");
        vanish(client);
    }
    // Its echo is never acknowledged; of the other one, probes are not.
    owed.write_all(b"echo this").unwrap();
    let mut lost = 0;
    while lost < 2 {
        let line = server.line().expect("sessions end");
        assert!(!line.contains("closed") || line.contains("the peer no longer answers"), "{line}");
        lost += usize::from(line.contains("closed"));
    }
    exchange(&mut stays, b"still here");
    drop((silent, owed));
    server.end_well();
}

/// What no system takes is wrong usage, and says what would be right.
#[test]
fn beyond_what_systems_take() {
    for (flag, value, reason) in
        [("--keepalive", "10h", "32767s"), ("--user-timeout", "1000h", "2147483.647s")]
    {
        let ended = run(binary(["serve", "--bind", "127.0.0.1:0", flag, value]), b"");
        assert_eq!((ended.status, ended.text().as_str()), (Some(2), ""), "{ended:?}");
        assert!(ended.stderr.contains(reason) && ended.stderr.contains(flag), "{ended:?}");
    }
}
