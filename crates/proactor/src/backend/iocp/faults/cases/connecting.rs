//! Connecting.

use super::*;

cases! {
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

    /// `ConnectEx` wants a bound socket, and a bound socket has a port: it is to share that. A system that does not
    /// know how gives each its own.
    fn a_connect_shares_its_port_and_becomes_a_full_one() {
        for known in [true, false] {
            let mut scene = Scene::new();
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            if !known {
                fail_after("set_option", 2, ws::WSAENOPROTOOPT);
            }
            let key = scene.driver.connect(listener.local_addr().unwrap()).unwrap();
            let set = |option| {
                let last = orders(|orders| orders.options.iter().rfind(|(set, ..)| *set == option).copied());
                last.expect("it was set")
            };
            assert_eq!(set(ws::SO_REUSE_UNICASTPORT).2, 4);
            let connected = |event: &Event<Socket>| matches!(event, Event::Connected { .. }).then_some(());
            scene.until("the connection", connected);
            let update = set(ws::SO_UPDATE_CONNECT_CONTEXT);
            assert_eq!(update, (ws::SO_UPDATE_CONNECT_CONTEXT, true, 0), "null, and not an address of nothing");
            scene.driver.finish(key).unwrap();
            expect_end(&listener.accept().unwrap().0);
            scene.end();
        }
    }

    /// Winsock refuses to connect to "any" (`WSAEADDRNOTAVAIL`); elsewhere that is this machine.
    fn connecting_to_any_is_connecting_to_loopback() {
        for (any, this) in [("0.0.0.0:9", "127.0.0.1:9"), ("[::]:9", "[::1]:9")] {
            let mut scene = Scene::new();
            // Whether there is a listener, or IPv6, does not matter here.
            if scene.driver.connect(any.parse().unwrap()).is_ok() {
                let to = orders(|orders| orders.connected.clone());
                assert_eq!(to, [this.parse::<SocketAddr>().unwrap()]);
            }
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
        fail_after("set_option", 3, ws::WSAENOTSOCK);
        scene.driver.connect(address).unwrap();
        assert_eq!(scene.failure("the failure").0, Verb::Connect);
        scene.end();
    }
}
