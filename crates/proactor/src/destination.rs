//! Rules for connecting to an address, the same on every system. The driver and blocking clients use them.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

/// The address that a connect to `address` really uses: loopback of the same family for `0.0.0.0` and `[::]`, else
/// `address` itself. Linux does the same (ip(7)); Windows would refuse the connect (`WSAEADDRNOTAVAIL`, `connect`),
/// and the BSDs choose an interface.
#[must_use]
pub fn destination(address: SocketAddr) -> SocketAddr {
    match address {
        _ if !address.ip().is_unspecified() => address,
        SocketAddr::V4(_) => (Ipv4Addr::LOCALHOST, address.port()).into(),
        SocketAddr::V6(_) => (Ipv6Addr::LOCALHOST, address.port()).into(),
    }
}

/// Checks the two ends of a connection that was just made. If a port of this machine has no listener, the system may
/// give that port to the connecting socket, which then is its own peer (RFC 9293, section 3.5, "simultaneous open").
///
/// # Errors
/// [`ConnectionRefused`](io::ErrorKind::ConnectionRefused) if both ends are the same. Close the connection: while it is
/// open, no server can listen there.
pub fn refuse_itself(local: SocketAddr, peer: SocketAddr) -> io::Result<()> {
    if local != peer {
        return Ok(());
    }
    let problem = "it was connected to itself: nobody listens there, and the system gave it that port";
    Err(io::Error::new(io::ErrorKind::ConnectionRefused, problem))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unspecified_addresses_are_loopback() {
        for (given, wanted) in [
            ("0.0.0.0:80", "127.0.0.1:80"),
            ("[::]:80", "[::1]:80"),
            ("10.0.0.1:80", "10.0.0.1:80"),
            ("[fe80::1%3]:80", "[fe80::1%3]:80"),
        ] {
            assert_eq!(destination(given.parse().unwrap()).to_string(), wanted);
        }
    }

    #[test]
    fn only_the_same_end_is_itself() {
        let [one, other, elsewhere] =
            ["127.0.0.1:80", "127.0.0.1:81", "127.0.0.2:80"].map(|text| text.parse().unwrap());
        assert!(refuse_itself(one, other).is_ok() && refuse_itself(one, elsewhere).is_ok());
        let error = refuse_itself(one, one).expect_err("itself");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }
}
