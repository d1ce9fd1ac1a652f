//! Listening on the addresses of a name, on systems that lack some of them; and waiting for a port that is about to be free.

use std::cell::Cell;
use std::collections::VecDeque;
use std::net::{IpAddr, TcpListener};
use std::sync::mpsc::{Receiver, Sender, channel};

use super::*;

/// A system whose answers are given. Its clock moves only while it is waited for.
struct Fake {
    clock: Cell<Duration>,
    /// What an attempt costs.
    attempt_takes: Duration,
    /// Addresses that it does not have.
    absent: Vec<IpAddr>,
    /// Addresses in use, and until when.
    in_use: Vec<(SocketAddr, Duration)>,
    /// Ports that port 0 picks.
    free: VecDeque<u16>,
    /// Every attempt.
    attempts: Vec<SocketAddr>,
}

impl Fake {
    fn new() -> Fake {
        Fake {
            clock: Cell::default(),
            attempt_takes: Duration::ZERO,
            absent: Vec::new(),
            in_use: Vec::new(),
            free: (40_000..40_100).collect(),
            attempts: Vec::new(),
        }
    }

    fn without(mut self, ip: &str) -> Fake {
        self.absent.push(ip.parse().unwrap());
        self
    }

    fn in_use(mut self, address: &str, until: Duration) -> Fake {
        self.in_use.push((address.parse().unwrap(), until));
        self
    }

    fn attempts(&self, address: &str) -> usize {
        let address: SocketAddr = address.parse().unwrap();
        self.attempts.iter().filter(|at| **at == address).count()
    }
}

impl Listen for Fake {
    type Socket = ();

    fn listen(&mut self, mut address: SocketAddr) -> io::Result<((), SocketAddr)> {
        self.attempts.push(address);
        self.pause(self.attempt_takes);
        if self.absent.contains(&address.ip()) {
            return Err(io::ErrorKind::AddrNotAvailable.into());
        }
        if address.port() == 0 {
            address.set_port(self.free.pop_front().expect("a free port"));
        }
        let now = self.clock.get();
        if self.in_use.iter().any(|(taken, until)| *taken == address && now < *until) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        Ok(((), address))
    }

    fn now(&self) -> Duration {
        self.clock.get()
    }

    fn pause(&mut self, time: Duration) {
        self.clock.set(self.clock.get() + time);
    }
}

fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn bind_name(net: &mut Fake, texts: &[&str]) -> Result<Bound<()>> {
    let addresses = addresses(texts);
    let wanted = Wanted { addresses: &addresses, name: Some("name:port"), taken: &[] };
    bind(net, &wanted, &mut RETRY_LIMIT.clone())
}

fn bound(bound: &Bound<()>) -> Vec<String> {
    bound.sockets.iter().map(|((), address)| address.to_string()).collect()
}

/// The address that cannot be listened on, and the system's error.
fn refused<S>(result: Result<Bound<S>>) -> (String, io::ErrorKind) {
    match result {
        Err(Error::Bind { address, source }) => (address, source.kind()),
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("it listens"),
    }
}

const FOREVER: Duration = Duration::MAX;

#[test]
fn an_address_of_a_name_that_is_not_here_is_skipped_and_reported() {
    for (texts, wanted) in [
        (["[::1]:80", "127.0.0.1:80"], ["127.0.0.1:80"]),
        (["127.0.0.1:80", "[::1]:80"], ["127.0.0.1:80"]),
        (["[::1]:0", "127.0.0.1:0"], ["127.0.0.1:40000"]),
    ] {
        let result = bind_name(&mut Fake::new().without("::1"), &texts).expect("one is here");
        assert_eq!(bound(&result), wanted);
        let [skipped] = result.skipped.as_slice() else { panic!("{:?}", result.skipped) };
        assert!(skipped.address.is_ipv6());
        assert_eq!(
            (skipped.name.as_str(), skipped.error.kind()),
            ("name:port", io::ErrorKind::AddrNotAvailable)
        );
        let text = skipped.to_string();
        assert!(text.starts_with("name:port is also ::1, which this machine does not have: "), "{text}");
    }
}

#[test]
fn a_name_without_an_address_that_is_here_is_an_error() {
    let mut net = Fake::new().without("::1").without("10.9.9.9");
    let result = bind_name(&mut net, &["[::1]:80", "10.9.9.9:80"]);
    assert_eq!(refused(result), ("[::1]:80".to_owned(), io::ErrorKind::AddrNotAvailable));
}

#[test]
fn literal_addresses_must_all_be_here() {
    let addresses = addresses(&["127.0.0.1:80", "[::1]:80"]);
    let wanted = Wanted { addresses: &addresses, name: None, taken: &[] };
    let result = bind(&mut Fake::new().without("::1"), &wanted, &mut RETRY_LIMIT.clone());
    assert_eq!(refused(result), ("[::1]:80".to_owned(), io::ErrorKind::AddrNotAvailable));
}

/// Another process listens on one of them: clients of the name would reach either server.
#[test]
fn an_address_of_a_name_that_is_in_use_is_an_error() {
    let mut net = Fake::new().in_use("127.0.0.1:80", FOREVER);
    let result = bind_name(&mut net, &["[::1]:80", "127.0.0.1:80"]);
    assert_eq!(refused(result), ("127.0.0.1:80".to_owned(), io::ErrorKind::AddrInUse));
}

#[test]
fn a_free_port_is_the_same_on_all_addresses_of_a_name() {
    let result = bind_name(&mut Fake::new(), &["127.0.0.1:0", "[::1]:0", "10.0.0.1:0"]).unwrap();
    assert_eq!(bound(&result), ["127.0.0.1:40000", "[::1]:40000", "10.0.0.1:40000"]);
    // It may be in use on another address: then another one is chosen, and nothing is waited for.
    let mut net = Fake::new().in_use("[::1]:40000", FOREVER).in_use("[::1]:40001", FOREVER);
    let result = bind_name(&mut net, &["127.0.0.1:0", "[::1]:0"]).unwrap();
    assert_eq!(bound(&result), ["127.0.0.1:40002", "[::1]:40002"]);
    assert_eq!(net.now(), Duration::ZERO);
    // Bounded, also where none is free.
    let mut net = Fake::new();
    net.in_use =
        (40_000..40_100).map(|port| (SocketAddr::new("::1".parse().unwrap(), port), FOREVER)).collect();
    let (address, kind) = refused(bind_name(&mut net, &["127.0.0.1:0", "[::1]:0"]));
    assert!(address.starts_with("[::1]:") && kind == io::ErrorKind::AddrInUse, "{address}: {kind}");
    assert_eq!(net.attempts.len(), 2 * CHOICES);
    // Literal addresses have nothing to do with each other.
    let literal = addresses(&["127.0.0.1:0", "127.0.0.1:0"]);
    let wanted = Wanted { addresses: &literal, name: None, taken: &[] };
    let result = bind(&mut Fake::new(), &wanted, &mut RETRY_LIMIT.clone()).unwrap();
    assert_eq!(bound(&result), ["127.0.0.1:40000", "127.0.0.1:40001"]);
}

#[test]
fn an_address_in_use_is_tried_again_until_it_is_free() {
    for ms in [1, 4, 265, 1999] {
        let mut net = Fake::new().in_use("127.0.0.1:80", Duration::from_millis(ms));
        let result = bind_name(&mut net, &["127.0.0.1:80"]).expect("it is free by then");
        assert_eq!(bound(&result), ["127.0.0.1:80"]);
        assert!(net.now() >= Duration::from_millis(ms) && net.now() < Duration::from_millis(ms) + PAUSE);
    }
}

/// One time for a whole server, however many addresses there are and however slow the system is.
#[test]
fn all_addresses_together_are_tried_again_for_no_longer_than_one() {
    for takes in [Duration::ZERO, Duration::from_millis(3), Duration::from_millis(400)] {
        let mut net = Fake::new().in_use("10.0.0.1:80", Duration::from_millis(100));
        net.attempt_takes = takes;
        let mut left = RETRY_LIMIT;
        for (text, until) in
            [("10.0.0.1:80", 100), ("10.0.0.2:80", 150), ("10.0.0.3:80", u64::MAX), ("10.0.0.4:80", u64::MAX)]
        {
            net.in_use.push((text.parse().unwrap(), net.now().saturating_add(Duration::from_millis(until))));
            let addresses = addresses(&[text]);
            let wanted = Wanted { addresses: &addresses, name: None, taken: &[] };
            let _ = bind(&mut net, &wanted, &mut left);
        }
        assert_eq!(left, Duration::ZERO);
        // The last try may begin just before the end.
        let first_tries = 4 * takes;
        assert!(net.now() <= RETRY_LIMIT + first_tries + takes, "{takes:?}: {:?}", net.now());
        assert_eq!(net.attempts("10.0.0.4:80"), 1, "nothing is left for it: {takes:?}");
    }
}

#[test]
fn other_errors_are_not_tried_again() {
    let mut net = Fake::new().without("192.0.2.1");
    let addresses = addresses(&["192.0.2.1:80"]);
    let wanted = Wanted { addresses: &addresses, name: None, taken: &[] };
    let _ = refused(bind(&mut net, &wanted, &mut RETRY_LIMIT.clone()));
    assert_eq!((net.attempts.len(), net.now()), (1, Duration::ZERO));
    // With port 0 it means that no port is free at all.
    let mut net = Fake::new();
    net.in_use = vec![("127.0.0.1:40000".parse().unwrap(), FOREVER)];
    let (_, kind) = refused(bind_name(&mut net, &["127.0.0.1:0"]));
    assert_eq!((kind, net.attempts.len(), net.now()), (io::ErrorKind::AddrInUse, 1, Duration::ZERO));
}

/// Waiting for oneself would be in vain.
#[test]
fn an_address_that_the_server_has_itself_is_refused_at_once() {
    for (taken, again) in [
        ("127.0.0.1:80", "127.0.0.1:80"),
        ("0.0.0.0:80", "127.0.0.1:80"),
        ("127.0.0.1:80", "0.0.0.0:80"),
        ("[::]:80", "[::1]:80"),
    ] {
        let (mut net, taken) = (Fake::new().in_use(again, FOREVER), addresses(&[taken]));
        let wanted = Wanted { addresses: &addresses(&[again]), name: None, taken: &taken };
        let error =
            bind(&mut net, &wanted, &mut RETRY_LIMIT.clone()).err().expect("it is in use").to_string();
        let wanted = format!("cannot listen on {again}: this server listens on {} already", taken[0]);
        assert!(error.starts_with(&wanted), "{error}");
        assert_eq!(net.now(), Duration::ZERO);
    }
    assert!(
        !clash(&addresses(&["[::]:80"])[0], &addresses(&["127.0.0.1:80"])[0]),
        "IPv6 sockets are IPv6 only"
    );
}

/// The real system, where the port becomes free after it was found in use.
struct Handed {
    system: System,
    found_in_use: Sender<()>,
    given_back: Receiver<()>,
}

impl Listen for Handed {
    type Socket = Socket;

    fn listen(&mut self, address: SocketAddr) -> io::Result<(Socket, SocketAddr)> {
        self.system.listen(address)
    }

    fn now(&self) -> Duration {
        Duration::ZERO
    }

    fn pause(&mut self, _: Duration) {
        self.found_in_use.send(()).expect("the other thread listens");
        self.given_back.recv().expect("it gives the port back");
    }
}

#[test]
fn a_listener_that_another_thread_closes_makes_room() {
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap();
    let ((found_in_use, wait), (give, given_back)) = (channel(), channel());
    let closing = thread::spawn(move || {
        wait.recv().expect("it was tried");
        drop(other);
        give.send(()).unwrap();
    });
    let mut net = Handed { system: System::new(), found_in_use, given_back };
    let wanted = Wanted { addresses: &[address], name: None, taken: &[] };
    let result = bind(&mut net, &wanted, &mut RETRY_LIMIT.clone()).expect("it is free now");
    assert_eq!(result.sockets[0].1, address);
    closing.join().unwrap();
}
