//! Tests of handlers without sockets, threads and waiting: on a simulated kernel, under a virtual clock.
//!
//! A [`World`] is a server of your handlers, with everything that is around it. The handlers run on the same engine as in
//! production; only the kernel below it is simulated. It takes bytes in pieces and completes operations in an order
//! that a seed decides, so a test also finds what a quick loopback hides: half a message, a peer that does not read, a
//! close that comes too early. The same seed gives the same run.
//!
//! ```
//! use std::time::Duration;
//!
//! use overlapped::testing::{self, World};
//! use overlapped::{Framed, Handler, Lease, Lines, Session};
//!
//! /// Answers every line with its length. A silent client is sent away.
//! struct Lengths;
//!
//! impl Handler for Lengths {
//!     type State = Framed<Lines>;
//!     type Message = ();
//!
//!     fn on_open(&mut self, _session: &mut Session<'_, Self::State>) -> Framed<Lines> {
//!         Framed::new(Lines::up_to(80))
//!     }
//!
//!     fn on_data(&mut self, session: &mut Session<'_, Self::State>, lines: &mut Framed<Lines>, data: Lease) {
//!         lines.push(data);
//!         while let Some(line) = lines.next(session) {
//!             match line {
//!                 Ok(line) => session.send(format!("{}\n", line.as_slice().len())),
//!                 Err(error) => session.send(format!("{error}\n")), // the session is closed after this
//!             };
//!         }
//!     }
//!
//!     fn on_idle(&mut self, session: &mut Session<'_, Self::State>, _lines: &mut Framed<Lines>) {
//!         session.send("bye\n");
//!         session.close();
//!     }
//! }
//!
//! // All settings of a server can be used; this one has no sockets.
//! let server = testing::server().idle_timeout(Some(Duration::from_secs(30)));
//! let mut world = World::start(server, |_worker| Lengths);
//!
//! let mut client = world.connect();
//! client.send_in_pieces("hello\nyou\n", 1); // the handler gets every byte by itself
//! world.settle(); // everything happens that happens without time passing
//! assert_eq!(client.received(), "5\n3\n");
//!
//! world.advance(Duration::from_secs(31));
//! assert_eq!(client.received(), "bye\n");
//! assert!(client.has_ended());
//! assert_eq!(world.stats().sessions, 0);
//! ```
//!
//! # To do this, use that
//!
//! | to … | use |
//! | --- | --- |
//! | connect, also from an address of choice | [`World::connect`], [`World::connect_from`] |
//! | send, also cut into pieces | [`Peer::send`], [`Peer::send_in_pieces`] |
//! | end or break off a connection | [`Peer::finish`], [`Peer::reset`] |
//! | look at what the handler did | [`Peer::received`], [`Peer::has_ended`], [`Peer::was_reset`] |
//! | play a peer that does not read | [`Peer::stop_reading`], [`Peer::resume_reading`], [`Peer::unsent`] |
//! | play a server that the handler connects to | [`World::listen`], [`Listener::accept`] |
//! | refuse a connect, fail it, or leave it without an answer | no [`World::listen`], [`World::fail_connects`], [`World::silence`] |
//! | take memory away from the kernel | [`World::set_short_of_memory`] |
//! | let timers, ticks and deadlines come | [`World::advance`] |
//! | post a message | [`World::post`] |
//! | drain | [`World::drain`] |
//! | look into a handler, or into a session's state | [`World::handler`], [`World::state`] |
//! | test a panic | [`World::expect_panics`], [`World::panics`] |
//! | run over many kernels | [`for_each_behaviour`], [`World::start_on`] |
//!
//! # Limits
//!
//! The simulated network has TCP streams of IP addresses, and nothing below them: no packets, no loss, no latency, no
//! urgent data, no keep-alive. Other threads may post to handles, but nothing waits for them: a test with threads of its
//! own has to join them before it settles. What depends on the system itself is for tests with sockets.
//!
//! The module costs a program that does not use it nothing: its types are generic, and compiled where they are used.

mod behaviours;
mod peer;
mod received;
pub(crate) mod simulated_server;
#[cfg(all(test, not(loom)))]
mod tests;
mod world;

use std::net::{Ipv4Addr, SocketAddr};

use crate::server::Server;

pub use behaviours::{Behaviour, behaviours, for_each_behaviour};
pub use peer::{Listener, Peer};
pub use received::Received;
pub use world::World;

/// A server for a [`World`], with every setting at its default. It has no sockets; in the simulated network it listens
/// on `127.0.0.1:9999`.
#[must_use]
pub fn server() -> Server {
    Server::without_sockets(vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 9999))])
}
