//! What an address means, on the real system.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};

use overlapped::{Error, Server};

fn has_ipv6() -> bool {
    let has = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok();
    if !has {
        eprintln!("left out: this machine has no IPv6");
    }
    has
}

/// An IPv6 socket would take it on some systems only; here it means the same everywhere.
#[test]
fn an_ipv4_mapped_address_is_the_ipv4_address() {
    let server = Server::bind("[::ffff:127.0.0.1]:0").expect("IPv4 loopback");
    let address = server.local_addrs()[0];
    assert_eq!(address.ip(), Ipv4Addr::LOCALHOST);
    TcpStream::connect(address).expect("it listens there");
    let mapped = SocketAddr::from((Ipv4Addr::LOCALHOST.to_ipv6_mapped(), 0));
    assert!(Server::bind(mapped).expect("as a literal, too").local_addrs()[0].is_ipv4());
}

/// `[::]` is IPv6 alone, whatever the value of `net.ipv6.bindv6only`; `0.0.0.0` can be bound as well.
#[test]
fn all_of_ipv6_is_not_ipv4() {
    if !has_ipv6() {
        return;
    }
    // The port may be in use on IPv4 already, but not time and again.
    let side_by_side = (0..16).any(|_| {
        let server = Server::bind((Ipv6Addr::UNSPECIFIED, 0)).unwrap();
        let port = server.local_addrs()[0].port();
        TcpStream::connect((Ipv6Addr::LOCALHOST, port)).expect("it listens there");
        TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
    });
    assert!(side_by_side);
}

/// All addresses of a name have one port, each once.
#[test]
fn a_name_has_one_free_port() {
    let server = Server::bind("localhost:0").expect("every system has a localhost");
    let addresses = server.local_addrs();
    for (index, address) in addresses.iter().enumerate() {
        assert!(address.ip().is_loopback() && address.port() == addresses[0].port(), "{addresses:?}");
        assert!(!addresses[..index].contains(address), "{addresses:?}");
        TcpStream::connect(address).expect("it listens there");
    }
    assert!(server.skipped_addresses().iter().all(|skipped| skipped.name == "localhost:0"));
}

/// The message says what to do, and does not blame another process.
#[test]
fn an_address_given_twice() {
    let server = Server::bind("127.0.0.1:0").unwrap();
    let address = server.local_addrs()[0];
    let error = server.also_bind(address).expect_err("once is enough").to_string();
    let wanted = format!(
        "cannot listen on {address}: this server listens on {address} already; leave one of the two out"
    );
    assert_eq!(error, wanted);
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap();
    match Server::bind(address) {
        Err(error @ Error::Bind { .. }) => {
            let (text, port) = (error.to_string(), address.port().to_string());
            assert!(text.contains("another process") && text.contains(&port), "{text}");
        }
        other => panic!("{:?}", other.map(|server| server.local_addrs().to_vec())),
    }
}
