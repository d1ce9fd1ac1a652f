//! Every descriptor of this library is close-on-exec: a program that the process executes holds none of its connections
//! and ports open. In a process of its own, because it looks at all descriptors of the process.
#![cfg(target_os = "linux")]

use std::collections::BTreeMap;
use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use overlapped_testing::{O_CLOEXEC, PATIENCE, descriptor_flags};
use proactor::backend::readiness::Readiness;
use proactor::backend::{Create, Wait};
use proactor::{AcceptWatch, Driver, Event, ListenOptions, Pool, PoolConfig, Socket, listen, os, try_accept};

/// Open descriptors of this process, with their flags.
fn descriptors() -> BTreeMap<u32, u32> {
    descriptor_flags(std::process::id())
}

/// Asserts that `count` descriptors are open that were not open before, and that none of them is inherited.
fn assert_new(before: &BTreeMap<u32, u32>, count: usize, what: &str) {
    let new: Vec<(u32, u32)> = descriptors().into_iter().filter(|(fd, _)| !before.contains_key(fd)).collect();
    assert_eq!(new.len(), count, "{what}: {new:?}");
    let inherited: Vec<u32> =
        new.iter().filter(|(_, flags)| flags & O_CLOEXEC == 0).map(|(fd, _)| *fd).collect();
    let name = |fd: &u32| fs::read_link(format!("/proc/self/fd/{fd}")).unwrap_or_default();
    assert!(inherited.is_empty(), "{what}: {:?}", inherited.iter().map(name).collect::<Vec<_>>());
}

struct Fixture<B: Create<Socket = Socket>> {
    driver: Driver<B>,
    events: Vec<Event<Socket>>,
}

impl<B: Create<Socket = Socket>> Fixture<B> {
    /// Turns until there is an event of this kind, and takes it.
    fn until(&mut self, wanted: impl Fn(&Event<Socket>) -> bool) -> Event<Socket> {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            if let Some(at) = self.events.iter().position(&wanted) {
                return self.events.remove(at);
            }
            let soon = self.driver.now() + Duration::from_millis(10);
            self.driver.turn(Wait::Until(soon)).unwrap();
            while let Some(event) = self.driver.next_event() {
                self.events.push(event);
            }
        }
        panic!("nothing of that kind happened: {:?}", self.events);
    }

    fn accepted(&mut self) -> Socket {
        match self.until(|event| matches!(event, Event::Accepted { .. })) {
            Event::Accepted { socket, .. } => socket,
            other => unreachable!("{other:?}"),
        }
    }
}

/// Everything that a worker and its helpers open. Then all of it is closed and the counts are zero.
fn a_life_of_a_driver<B: Create<Socket = Socket>>(own: usize) {
    let before = descriptors();
    let counted = os::handles();
    let pool = Pool::new(PoolConfig { blocks: 4, block_len: 64 });
    let Ok(backend) = B::create(pool) else { return eprintln!("skipped: it cannot be made here") };
    assert_new(&before, own, "a ring or poller, and what wakes it");
    let mut fixture = Fixture { driver: Driver::new(backend), events: Vec::new() };
    let socket = listen(SocketAddr::from(([127, 0, 0, 1], 0)), ListenOptions::default()).unwrap();
    let spare = socket.try_clone().unwrap();
    let listener = fixture.driver.listen(socket).unwrap();
    let address = fixture.driver.listener_addr(listener).unwrap();
    assert_new(&before, own + 2, "a listener and a duplicate");
    // Two, so that a multishot accept has brought more than its first.
    let peers = [TcpStream::connect(address).unwrap(), TcpStream::connect(address).unwrap()];
    let one = fixture.accepted();
    let one = fixture.driver.adopt(one).unwrap();
    let two = fixture.accepted();
    assert_new(&before, own + 2 + 2 * peers.len(), "accepted");
    let out = fixture.driver.connect(address).unwrap();
    assert_new(&before, own + 2 + 4 + 1, "outbound");
    let three = fixture.accepted();
    fixture.driver.pause_accept(listener);
    fixture.driver.turn(Wait::Poll).unwrap();
    let watch = AcceptWatch::new().unwrap();
    watch.watch(&spare).unwrap();
    let late = TcpStream::connect(address).unwrap();
    let four = beside(&spare, &mut fixture);
    assert_new(&before, own + 2 + 4 + 2 + 2 + 2, "a watch, and what is accepted beside the driver");
    drop((watch, late, four));
    assert_new(&before, own + 2 + 4 + 2, "without them");
    fixture.driver.turn_away_at_most(1);
    fixture.driver.refuse(two);
    fixture.driver.refuse(three);
    assert_new(&before, own + 2 + 4 + 1, "refused: one is turned away, the other was closed for it");
    fixture.driver.turn_away_at_most(0);
    assert_new(&before, own + 2 + 4, "nobody is turned away");
    for (at, key) in [one, out].into_iter().enumerate() {
        fixture.driver.receive(key);
        fixture.driver.turn(Wait::Poll).unwrap();
        if at == 0 {
            fixture.driver.close(key);
        } else {
            fixture.driver.abort(key);
        }
        fixture.until(|event| matches!(event, Event::Released { connection } if *connection == key));
        assert_new(&before, own + 2 + 4 - 1 - at, "released: closed");
        assert_eq!(os::handles().sockets, counted.sockets + 2 + 1 - at, "and counted until then");
    }
    drop(peers);
    fixture.driver.close_listener(listener);
    fixture.until(|event| matches!(event, Event::ListenerReleased { .. }));
    assert_new(&before, own + 1, "the duplicate is left");
    drop(spare);
    assert!(TcpStream::connect(address).is_err(), "the port is free");
    drop(fixture);
    assert_new(&before, 0, "everything is closed");
    assert_eq!(os::handles(), counted);
}

/// The next connection, which the driver, which pauses, does not take.
fn beside<B: Create<Socket = Socket>>(listener: &Socket, fixture: &mut Fixture<B>) -> Socket {
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        if let Some(socket) = try_accept(listener).unwrap() {
            return socket;
        }
        fixture.driver.turn(Wait::Poll).unwrap();
        // An accept that was cancelled too late may have taken it.
        if let Some(Event::Accepted { socket, .. }) = fixture.driver.next_event() {
            return socket;
        }
    }
    panic!("nobody accepts");
}

#[test]
fn no_descriptor_is_inherited() {
    let before = descriptors();
    // The test detects an inherited descriptor.
    let shared = socket2::Socket::new_raw(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let caught = std::panic::catch_unwind(|| assert_new(&before, 1, "one that is inherited"));
    assert!(caught.is_err(), "it was not noticed");
    drop(shared);
    // Where there is one.
    #[cfg(target_pointer_width = "64")]
    a_life_of_a_driver::<proactor::backend::io_uring::IoUring>(2);
    a_life_of_a_driver::<Readiness>(2);
}
