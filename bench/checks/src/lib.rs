//! What every peer must do before its speed counts: echo every byte, however it arrives; survive resets; answer a
//! half-closed connection in full and close it; end on SIGTERM.
//!
//! Each peer's package calls [`echoes!`] for each of its entries in `peers.json`.

mod list;
mod server;
mod traffic;

pub use list::{Build, Peer, folder, peers};
pub use server::Server;
pub use traffic::Promises;

use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// The tests of the peer of that name in `peers.json`, whose program belongs to the calling package.
#[macro_export]
macro_rules! echoes {
    ($test:ident, $name:literal, $program:literal) => {
        $crate::echoes!($test, $name, $program, $crate::Promises::All);
    };
    ($test:ident, $name:literal, $program:literal, $promises:expr) => {
        mod $test {
            const PROGRAM: &str = env!(concat!("CARGO_BIN_EXE_", $program));

            #[test]
            fn every_byte_comes_back() {
                $crate::every_byte_comes_back(PROGRAM.as_ref(), &$crate::Peer::named($name), $promises);
            }

            #[test]
            #[ignore = "10,000 connections: up to 250 MB in the peer"]
            fn ten_thousand_connections() {
                $crate::ten_thousand_connections(PROGRAM.as_ref(), &$crate::Peer::named($name));
            }
        }
    };
}

/// All kinds of traffic, one after the other at one server, which must then end on SIGTERM.
///
/// # Panics
///
/// The peer does something else.
pub fn every_byte_comes_back(program: &Path, peer: &Peer, promises: Promises) {
    let server = Server::start(program, peer);
    let address = server.address();
    traffic::whole(address);
    traffic::in_parts(address, promises);
    traffic::half_closed(address, promises);
    traffic::reset_in_the_middle(address);
    traffic::at_once(address, 200);
    server.end_by_signal();
}

/// One message each over 10,000 connections that are open at once.
///
/// # Panics
///
/// The peer loses one.
pub fn ten_thousand_connections(program: &Path, peer: &Peer) {
    // One test of a program at a time: a process has 20,000 descriptors on some machines.
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    peer::raise_descriptor_limit().expect("10,000 descriptors");
    let server = Server::start(program, peer);
    traffic::at_once(server.address(), 10_000);
    server.end_by_signal();
}
