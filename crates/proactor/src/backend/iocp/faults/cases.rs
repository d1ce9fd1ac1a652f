//! The cases, call by call. [`no_call_is_left_out`] runs all of them, and asks whether every call has failed once.

use std::io::ErrorKind;
use std::net::TcpListener;

use windows_sys::Win32::Foundation as win;

use super::*;
use crate::driver::{Sending, Verb};
use crate::waker::Waker;

/// Makes a test of each case, and one of all of them.
macro_rules! cases {
    ($($(#[$doc:meta])* fn $name:ident() $body:block)*) => {
        $(
            $(#[$doc])*
            #[test]
            fn $name() $body
        )*

        #[test]
        fn no_call_is_left_out() {
            $($name();)*
            let met = MET.lock().unwrap_or_else(PoisonError::into_inner);
            let calls = twin::NAMES.iter().copied().chain(["accept_ex", "connect_ex"]);
            let left: Vec<&str> = calls.filter(|call| !met.contains(call)).collect();
            assert!(left.is_empty(), "no case has these fail: {left:?}");
        }
    };
}

cases! {
    fn without_winsock_or_a_port_there_is_no_backend() {
        let alone = alone();
        let before = handles();
        let pool = Pool::new(PoolConfig { blocks: 1, block_len: 64 });
        for (call, through) in
            [("startup", 0), ("socket", 0), ("ioctl", 0), ("ioctl", 1), ("ioctl", 2), ("get_option", 0), ("port", 0)]
        {
            fail_after(call, through, ws::WSASYSNOTREADY);
            let Err(refusal) = create(&pool) else { panic!("{call} failed, and the backend was made") };
            let text = refusal.to_string();
            assert!(text.contains("10091") && !refusal.remedy.is_empty(), "{call}: {text}");
            assert_eq!(handles(), before, "{call}");
        }
        // A machine without IPv6 has no say.
        fail_after("socket", 1, ws::WSAEAFNOSUPPORT);
        drop(create(&pool).unwrap_or_else(|refusal| panic!("{refusal}")));
        assert_eq!(handles(), before);
        drop(alone);
    }

    /// Out of sockets or memory: accepting pauses, and loses nobody.
    fn an_accept_that_cannot_start() {
        for (call, code) in [
            ("socket", ws::WSAEMFILE),
            ("local_address", ws::WSAENOBUFS),
            ("accept_ex", ws::WSAENOBUFS),
        ] {
            let mut scene = Scene::new();
            // What `Scene::new` called is over; the first accept is what fails.
            fail(call, code);
            let any = SocketAddr::from(([127, 0, 0, 1], 0));
            let socket = listen(any, ListenOptions::default()).expect("loopback can be listened on");
            let address = socket.local_addr().unwrap().as_socket().unwrap();
            let listener = scene.driver.listen(socket).unwrap();
            let told = scene.until("the failure", |event| match event {
                Event::AcceptFailed { error, .. } => Some(error.raw_os_error()),
                _ => None,
            });
            assert_eq!(told, Some(code), "{call}");
            let client = dial(address);
            scene.driver.resume_accept(listener);
            let socket = scene.accepted();
            let key = scene.driver.adopt(socket).unwrap();
            scene.driver.receive(key);
            say(&client, b"still there");
            scene.bytes(b"still there");
            scene.end();
        }
    }

    /// What concerns one connection is that one's affair, at once or by its packet: the next is taken.
    fn an_accept_whose_connection_is_gone() {
        let packets = [win::STATUS_CONNECTION_ABORTED, win::STATUS_CONNECTION_RESET, win::STATUS_INVALID_CONNECTION];
        for packet in packets.map(Some).into_iter().chain([None]) {
            let mut scene = Scene::new();
            if packet.is_none() {
                fail("accept_ex", ws::WSAECONNRESET);
            } else {
                orders(|orders| orders.packet = packet);
            }
            let (_, address) = scene.listen();
            let clients = [dial(address), dial(address)];
            let socket = scene.accepted();
            let peer = scene.driver.peer_of(&socket).unwrap();
            assert!(clients.iter().any(|client| client.local_addr().unwrap() == peer));
            drop(socket);
            scene.end();
        }
        // Short of memory when it was under way: that is everybody's affair.
        let mut scene = Scene::new();
        orders(|orders| orders.packet = Some(win::STATUS_INSUFFICIENT_RESOURCES));
        let (listener, address) = scene.listen();
        let _first = dial(address);
        scene.until("the failure", |event| matches!(event, Event::AcceptFailed { .. }).then_some(()));
        scene.driver.resume_accept(listener);
        let _second = dial(address);
        drop(scene.accepted());
        scene.end();
    }

    /// A connection that cannot be made a full one is closed; the next is taken.
    fn an_accepted_socket_that_cannot_be_updated() {
        for through in [0, 1, 2] {
            let mut scene = Scene::new();
            let (_, address) = scene.listen();
            fail_after("set_option", through, ws::WSAENOTSOCK);
            let first = dial(address);
            let mut gone = [0];
            let start = Instant::now();
            first.set_nonblocking(true).unwrap();
            loop {
                let soon = scene.driver.now() + Duration::from_millis(20);
                scene.driver.turn(Wait::Until(soon)).unwrap();
                let event = scene.driver.next_event();
                assert!(event.is_none(), "nobody is told: {event:?}");
                match (&first).read(&mut gone) {
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    _ => break,
                }
                assert!(start.elapsed() < PATIENCE, "it was not closed");
            }
            let second = dial(address);
            let socket = scene.accepted();
            assert_eq!(scene.driver.peer_of(&socket).unwrap(), second.local_addr().unwrap());
            drop(socket);
            scene.end();
        }
    }

    /// The accept brings its peer's address, which is known even when the peer has gone since.
    fn an_accept_brings_the_address() {
        let mut scene = Scene::new();
        let (_, address) = scene.listen();
        let client = dial(address);
        fail("peer_address", ws::WSAENOTCONN);
        let (socket, told) = scene.find("a connection", |event| match event {
            Event::Accepted { socket, peer, .. } => Ok((socket, peer)),
            other => Err(other),
        });
        assert_eq!(told.as_deref(), Some(&client.local_addr().unwrap()));
        assert_eq!(scene.driver.peer_of(&socket).unwrap_err().kind(), ErrorKind::NotConnected);
        assert_eq!(scene.driver.peer_of(&socket).unwrap(), client.local_addr().unwrap());
        drop(socket);
        scene.end();
    }

    /// A socket that cannot be tied to the port is closed, and its peer sees that.
    fn an_adoption_that_fails() {
        for call in ["modes", "port"] {
            let mut scene = Scene::new();
            let (_, address) = scene.listen();
            let client = dial(address);
            let socket = scene.accepted();
            fail(call, win::ERROR_INVALID_PARAMETER as i32);
            let error = scene.driver.adopt(socket).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(win::ERROR_INVALID_PARAMETER as i32), "{call}");
            hear_the_end(&client);
            assert_eq!(scene.driver.snapshot().connections, 0);
            scene.end();
        }
    }

    /// At once or by its packet, a receive that fails is told as what happened to the connection (INV-7).
    fn a_receive_that_fails() {
        let cases = [
            (ws::WSAECONNRESET, win::STATUS_CONNECTION_RESET, ErrorKind::ConnectionReset),
            (ws::WSAECONNABORTED, win::STATUS_CONNECTION_ABORTED, ErrorKind::ConnectionAborted),
            (ws::WSAENETRESET, win::STATUS_LOCAL_DISCONNECT, ErrorKind::ConnectionAborted),
        ];
        for (code, status, kind) in cases {
            let mut scene = Scene::new();
            let (key, client) = scene.connection();
            orders(|orders| orders.packet = Some(status));
            scene.driver.receive(key);
            say(&client, b"x");
            assert_eq!(scene.failure("the packet"), (Verb::Receive, kind), "{status:#x}");
            scene.end();

            let mut scene = Scene::new();
            let (key, _client) = scene.connection();
            fail("receive", code);
            scene.driver.receive(key);
            let (verb, _) = scene.failure("the call");
            assert_eq!(verb, Verb::Receive);
            scene.driver.abort(key);
            scene.until("the release", |event| matches!(event, Event::Released { .. }).then_some(()));
            scene.end();
        }
    }

    /// Why an operation failed cannot be told: that it did is known, and the connection is broken.
    fn a_result_that_cannot_be_had() {
        for (code, kind) in [(ws::WSAECONNRESET, ErrorKind::ConnectionReset), (0, ErrorKind::ConnectionAborted)] {
            let mut scene = Scene::new();
            let (key, client) = scene.connection();
            orders(|orders| orders.packet = Some(win::STATUS_UNSUCCESSFUL));
            fail("result", code);
            scene.driver.receive(key);
            say(&client, b"x");
            assert_eq!(scene.failure("the packet"), (Verb::Receive, kind));
            scene.end();
        }
    }

    /// No memory to lock for a block: a receive without one needs none, and tells when there is something.
    fn a_receive_without_memory_waits_without_a_block() {
        let mut scene = Scene::new();
        let (key, client) = scene.connection();
        fail("receive", ws::WSAENOBUFS);
        scene.driver.receive(key);
        assert_eq!((made("receive"), scene.pool.in_use()), (2, 0), "the second was of zero bytes");
        assert_eq!(scene.driver.snapshot().in_flight, 1);
        say(&client, b"all the same");
        scene.bytes(b"all the same");
        scene.end();
    }

    /// Not even that: it is put off, and tried again (INV-9).
    fn a_receive_without_memory_is_put_off() {
        let mut scene = Scene::new();
        let (key, client) = scene.connection();
        for _ in 0..4 {
            fail("receive", ws::WSAENOBUFS);
        }
        scene.driver.receive(key);
        for _ in 0..2 {
            let delayed = |event: &Event<Socket>| matches!(event, Event::Delayed { verb: Verb::Receive, .. });
            scene.until("the delay", |event| delayed(event).then_some(()));
        }
        say(&client, b"at last");
        scene.bytes(b"at last");
        // The same by a packet: the next receive has to be under way before there is something for it.
        scene.driver.turn(Wait::Poll).unwrap();
        orders(|orders| orders.packet = Some(win::STATUS_INSUFFICIENT_RESOURCES));
        say(&client, b"x");
        scene.until("the delay", |event| matches!(event, Event::Delayed { .. }).then_some(()));
        say(&client, b"again");
        scene.bytes(b"again");
        scene.end();
    }

    /// By its packet and at once it hears of a reset; bytes end it without a word, and wait.
    fn a_watch_hears_until_bytes_wait() {
        let reset = (Verb::Receive, ErrorKind::ConnectionReset);
        let mut scene = Scene::new();
        let (key, client) = scene.connection();
        orders(|orders| orders.packet = Some(win::STATUS_CONNECTION_RESET));
        scene.driver.watch(key);
        say(&client, b"x");
        assert_eq!(scene.failure("the packet"), reset);
        scene.end();

        let mut scene = Scene::new();
        let (key, _client) = scene.connection();
        fail("receive", ws::WSAECONNRESET);
        scene.driver.watch(key);
        assert_eq!(scene.failure("the call"), reset);
        scene.end();

        let mut scene = Scene::new();
        let (key, client) = scene.connection();
        // No memory for it: tried again (INV-9).
        fail("receive", ws::WSAENOBUFS);
        scene.driver.watch(key);
        scene.quietly("it is under way", |driver| driver.snapshot().in_flight == 1 && made("receive") == 2);
        say(&client, b"x");
        scene.quietly("it is over", |driver| driver.snapshot().in_flight == 0);
        scene.driver.watch(key);
        assert_eq!(made("receive"), 2, "it would be over at once, again and again");
        scene.driver.receive(key);
        scene.bytes(b"x");
        scene.end();
    }

    fn a_send_that_fails() {
        for (code, kind) in
            [(ws::WSAECONNABORTED, ErrorKind::ConnectionAborted), (ws::WSAECONNRESET, ErrorKind::ConnectionReset)]
        {
            let mut scene = Scene::new();
            let (key, _client) = scene.connection();
            fail("send", code);
            assert_eq!(scene.driver.send(key, "lost"), Sending::InFlight);
            assert_eq!(scene.failure("the failure"), (Verb::Send, kind));
            scene.end();
        }
        // Under way, by its packet.
        let mut scene = Scene::new();
        let (key, client) = scene.connection();
        pile_up(&mut scene, key);
        orders(|orders| orders.packet = Some(win::STATUS_CONNECTION_RESET));
        let reader = std::thread::spawn(move || std::io::copy(&mut &client, &mut std::io::sink()));
        assert_eq!(scene.failure("the packet"), (Verb::Send, ErrorKind::ConnectionReset));
        scene.end();
        let _ = reader.join().unwrap();
    }

    /// A send that waited and succeeded without sending anything (as Wine has it when the peer ends its stream) goes on.
    fn a_send_that_sends_nothing() {
        let mut scene = Scene::new();
        let (key, client) = scene.connection();
        orders(|orders| orders.idle_send = Some(key.index()));
        assert_eq!(scene.driver.send(key, "once"), Sending::InFlight);
        let sent = |event: &Event<Socket>| matches!(event, Event::Sent { bytes: 4, .. });
        scene.until("the send", |event| sent(event).then_some(()));
        hear(&client, b"once");
        // Told to end meanwhile, it ends.
        orders(|orders| orders.idle_send = Some(key.index()));
        assert_eq!(scene.driver.send(key, "never"), Sending::InFlight);
        scene.driver.abort(key);
        scene.until("the release", |event| matches!(event, Event::Released { .. }).then_some(()));
        scene.end();
    }

    /// Nothing of it is lost or doubled.
    fn a_send_without_memory_is_put_off() {
        let mut scene = Scene::new();
        let (key, client) = scene.connection();
        fail("send", ws::WSAENOBUFS);
        fail("send", ws::WSAENOBUFS);
        assert_eq!(scene.driver.send(key, "once"), Sending::InFlight);
        let sent = |event: &Event<Socket>| matches!(event, Event::Sent { bytes: 4, .. });
        scene.until("the send", |event| sent(event).then_some(()));
        hear(&client, b"once");
        scene.driver.close(key);
        scene.until("the release", |event| matches!(event, Event::Released { .. }).then_some(()));
        hear_the_end(&client);
        scene.end();
    }

    /// A cancel that finds its operation over, or fails for want of something, is no end: the operation's own comes.
    fn a_cancel_that_fails() {
        let mut scene = Scene::new();
        let (key, client) = scene.connection();
        scene.driver.receive(key);
        fail("cancel", win::ERROR_NOT_FOUND as i32);
        scene.driver.pause_receive(key);
        say(&client, b"on its way");
        scene.bytes(b"on its way");
        scene.until("the pause", |event| matches!(event, Event::Paused { .. }).then_some(()));
        // Nothing is on its way: it is cancelled again.
        scene.driver.receive(key);
        fail("cancel", win::ERROR_NOT_ENOUGH_MEMORY as i32);
        scene.driver.abort(key);
        scene.until("the release", |event| matches!(event, Event::Released { .. }).then_some(()));
        scene.end();
    }

    fn a_connect_that_cannot_start() {
        for (call, through, code) in [
            ("socket", 0, ws::WSAEMFILE),
            ("set_option", 0, ws::WSAENOTSOCK),
            ("set_option", 1, ws::WSAENOTSOCK),
            ("bind", 0, ws::WSAEADDRNOTAVAIL),
            ("modes", 0, ws::WSAEINVAL),
            ("port", 0, ws::WSAEINVAL),
        ] {
            let mut scene = Scene::new();
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            fail_after(call, through, code);
            let error = scene.driver.connect(listener.local_addr().unwrap()).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(code), "{call}");
            assert_eq!(scene.driver.snapshot().connections, 0);
            scene.end();
        }
    }

    fn a_connect_that_fails() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        for at_once in [true, false] {
            let mut scene = Scene::new();
            if at_once {
                fail("connect_ex", ws::WSAECONNREFUSED);
            } else {
                orders(|orders| orders.packet = Some(win::STATUS_CONNECTION_REFUSED));
            }
            scene.driver.connect(address).unwrap();
            assert_eq!(scene.failure("the failure"), (Verb::Connect, ErrorKind::ConnectionRefused));
            scene.end();
        }
        // It stands, and cannot be made a full one.
        let mut scene = Scene::new();
        fail_after("set_option", 2, ws::WSAENOTSOCK);
        scene.driver.connect(address).unwrap();
        assert_eq!(scene.failure("the failure").0, Verb::Connect);
        scene.end();
    }

    fn what_is_asked_about_a_socket() {
        let mut scene = Scene::new();
        let (key, client) = scene.connection();
        fail("unread", ws::WSAENOTSOCK);
        assert_eq!(scene.driver.unread(key), 0);
        for call in ["peer_address", "local_address"] {
            fail(call, ws::WSAENOTCONN);
        }
        assert_eq!(scene.driver.peer_addr(key).unwrap_err().kind(), ErrorKind::NotConnected);
        assert_eq!(scene.driver.local_addr(key).unwrap_err().kind(), ErrorKind::NotConnected);
        fail("ioctl", ws::WSAEOPNOTSUPP);
        assert_eq!(scene.driver.delivery(key), None);
        fail("shutdown", ws::WSAENOTCONN);
        assert_eq!(scene.driver.finish(key).unwrap_err().kind(), ErrorKind::NotConnected);
        scene.driver.finish(key).unwrap();
        hear_the_end(&client);
        // That it is to reset cannot be said: it is closed all the same.
        fail("set_option", ws::WSAENOTSOCK);
        scene.driver.abort(key);
        scene.until("the release", |event| matches!(event, Event::Released { .. }).then_some(()));
        scene.end();
    }

    /// A few times without memory, a wake is late; for longer, it says that nobody was woken.
    fn a_wake_without_memory() {
        let mut scene = Scene::new();
        for _ in 0..3 {
            fail("post", win::ERROR_NOT_ENOUGH_MEMORY as i32);
        }
        let waker: Waker = scene.driver.waker();
        assert!(waker.wake());
        let woken = |event: &Event<Socket>| matches!(event, Event::Woken).then_some(());
        scene.until("the wake", woken);
        while made("post") < 1000 && waker.wake() {
            scene.until("the wake", woken);
            for _ in 0..20 {
                fail("post", win::ERROR_NOT_ENOUGH_MEMORY as i32);
            }
        }
        orders(|orders| assert!(orders.calls.is_empty(), "it tries so often, and no more"));
        assert!(waker.wake(), "and the next one wakes");
        scene.until("the wake", woken);
        drop(waker);
        scene.end();
    }

    /// The port itself is broken: that ends the worker, and what the kernel still has is leaked, not freed (INV-10).
    fn a_port_that_is_broken() {
        let mut scene = Scene::new();
        let (key, _client) = scene.connection();
        scene.driver.receive(key);
        pile_up(&mut scene, key);
        for _ in 0..2 {
            fail("take", win::ERROR_INVALID_HANDLE as i32);
        }
        let error = scene.driver.turn(Wait::Forever).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(win::ERROR_INVALID_HANDLE as i32));
        let Scene { driver, pool, before, _alone } = scene;
        assert!(driver.snapshot().in_flight == 2);
        let held = pool.in_use();
        drop(driver);
        assert_eq!(handles(), before, "every handle is closed");
        assert_eq!(pool.in_use(), held, "INV-10: what the kernel may still write to is not given back");
    }
}

/// Sends more than the kernel takes: a send is under way, and waits for the peer.
fn pile_up(scene: &mut Scene, key: ConnectionKey) {
    for _ in 0..64 {
        if scene.driver.send(key, vec![7; 8 << 20]) == Sending::InFlight && waits(scene, key) {
            return;
        }
    }
    panic!("the kernel takes everything");
}

/// Whether the send in flight comes to rest before it is over. It goes on from turn to turn while the kernel takes it.
fn waits(scene: &mut Scene, key: ConnectionKey) -> bool {
    let mut quiet = 0;
    while scene.driver.is_sending(key) && quiet < 3 {
        let before = scene.driver.send_progress(key);
        scene.driver.turn(Wait::Poll).expect("the port works");
        while let Some(event) = scene.driver.next_event() {
            assert!(matches!(event, Event::Sent { .. }), "{event:?}");
        }
        quiet = if scene.driver.send_progress(key) == before { quiet + 1 } else { 0 };
    }
    scene.driver.is_sending(key)
}
