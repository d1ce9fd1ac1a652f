//! What `overlapped client` connects to: never itself, and this machine where an address means all of them.

use std::net::TcpListener;

use crate::namespace::{Namespace, Scratch};
use crate::process::run;
use crate::server::{Server, binary, serve_on};

/// A system that gives each connection the same local port.
const ONE_PORT: &str = "echo '20000 20000' > /proc/sys/net/ipv4/ip_local_port_range";

/// Where nobody listens, the system gives the client the port that it connects to: the client would be its own server,
/// and its echo a perfect one.
#[test]
fn a_client_is_not_its_own_server() {
    let Some(namespace) = Namespace::allowed() else { return };
    for address in ["127.0.0.1:20000", "[::1]:20000", "0.0.0.0:20000", "[::]:20000"] {
        let ended = run(namespace.after(ONE_PORT, &binary(["client", address])), b"a line\n");
        assert_eq!((ended.status, ended.text().as_str()), (Some(1), ""), "{address}: {ended:?}");
        let wanted =
            format!("error: cannot connect to {address}: it was connected to itself: nobody listens there");
        assert!(ended.stderr.starts_with(&wanted), "{ended:?}");
        assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
    }
}

/// Each address of a name has its turn.
#[test]
fn the_next_address_of_a_name_is_tried() {
    let Some(namespace) = Namespace::allowed() else { return };
    let hosts = Scratch::new("hosts-itself", "::1 localhost\n127.0.0.1 localhost\n");
    let script = format!("mount --bind {} /etc/hosts\n{ONE_PORT}", hosts.path());
    let ended = run(namespace.after(&script, &binary(["client", "localhost:20000"])), b"a line\n");
    assert_eq!((ended.status, ended.text().as_str()), (Some(1), ""), "{ended:?}");
    for wanted in ["::1: it was connected to itself", "127.0.0.1: it was connected to itself"] {
        assert!(ended.stderr.contains(wanted), "{wanted}: {ended:?}");
    }
}

#[test]
fn all_addresses_are_this_machine() {
    for (bind, host) in [("127.0.0.1:0", "0.0.0.0"), ("[::1]:0", "[::]")] {
        if TcpListener::bind(bind).is_err() {
            eprintln!("left out: {bind} is no address of this machine");
            continue;
        }
        let command = serve_on("auto", &["--bind", bind]);
        let server = Server::launch(command).unwrap_or_else(|ended| panic!("no server: {ended:?}"));
        let address = format!("{host}:{}", server.address().port());
        let ended = run(binary(["client", &address]), b"found\n");
        assert_eq!((ended.status, ended.text().as_str()), (Some(0), "found\n"), "{ended:?}");
    }
}
