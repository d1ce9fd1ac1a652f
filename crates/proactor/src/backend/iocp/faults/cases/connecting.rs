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
}
