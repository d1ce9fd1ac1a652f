//! Accepting, and taking over what was accepted.

use super::*;

cases! {
    /// Out of sockets or memory: accepting pauses, and no connection is lost.
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

    /// A network that is down is reported at once, and accepting pauses; a later failure of `AcceptEx` is about its
    /// connection.
    fn an_accept_without_a_network() {
        let mut scene = Scene::new();
        fail("accept_ex", ws::WSAENETDOWN);
        let (listener, address) = scene.listen();
        assert_eq!(made("accept_ex"), 1, "the next one would fail like it");
        let told = scene.until("the failure", |event| match event {
            Event::AcceptFailed { error, .. } => Some(error.raw_os_error()),
            _ => None,
        });
        assert_eq!(told, Some(ws::WSAENETDOWN));
        scene.quietly("nothing is in flight", |driver| driver.snapshot().in_flight == 0);
        assert_eq!(made("accept_ex"), 1, "nothing is tried until it is asked for");
        scene.driver.resume_accept(listener);
        let _client = dial(address);
        drop(scene.accepted());
        scene.end();

        for status in [win::STATUS_HOST_UNREACHABLE, win::STATUS_NETWORK_UNREACHABLE, win::STATUS_IO_TIMEOUT] {
            let mut scene = Scene::new();
            orders(|orders| orders.packet = Some(status));
            let (_, address) = scene.listen();
            let _clients = [dial(address), dial(address)];
            drop(scene.accepted());
            scene.end();
        }
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
            expect_end(&client);
            assert_eq!(scene.driver.snapshot().connections, 0);
            scene.end();
        }
    }
}
