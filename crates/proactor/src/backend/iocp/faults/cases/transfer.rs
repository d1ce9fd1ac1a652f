//! Receiving, watching, sending and cancelling.

use super::*;

cases! {
    /// At once or by its packet, a failed receive is reported as what happened to the connection (INV-7).
    fn a_receive_that_fails() {
        let cases = [
            (ws::WSAECONNRESET, win::STATUS_CONNECTION_RESET, ErrorKind::ConnectionReset),
            (ws::WSAECONNABORTED, win::STATUS_CONNECTION_ABORTED, ErrorKind::ConnectionAborted),
            (ws::WSAECONNABORTED, win::STATUS_LOCAL_DISCONNECT, ErrorKind::ConnectionAborted),
            (ws::WSAETIMEDOUT, win::STATUS_IO_TIMEOUT, ErrorKind::TimedOut),
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
            assert_eq!(scene.failure("the call"), (Verb::Receive, kind));
            scene.driver.abort(key);
            scene.until("the release", |event| matches!(event, Event::Released { .. }).then_some(()));
            scene.end();
        }
    }

    /// The reason of a failure cannot be found out: the connection is broken all the same.
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
        for code in [ws::WSAENOBUFS, ws::WSAEWOULDBLOCK, ws::WSAEWOULDBLOCK, ws::WSAENOBUFS] {
            fail("receive", code);
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

    /// Keep-alive found the peer gone; or the receiving half was shut down before the socket came here, which is an end.
    fn a_receive_on_a_connection_that_is_no_more() {
        let mut scene = Scene::new();
        let (key, _client) = scene.connection();
        fail("receive", ws::WSAENETRESET);
        scene.driver.receive(key);
        assert_eq!(scene.failure("the call"), (Verb::Receive, ErrorKind::TimedOut));
        scene.end();

        let mut scene = Scene::new();
        let (key, _client) = scene.connection();
        fail("receive", ws::WSAESHUTDOWN);
        scene.driver.receive(key);
        scene.until("the end", |event| matches!(event, Event::EndOfStream { .. }).then_some(()));
        scene.end();
    }

    fn a_send_that_fails() {
        for (code, kind) in [
            (ws::WSAECONNABORTED, ErrorKind::BrokenPipe),
            (ws::WSAESHUTDOWN, ErrorKind::BrokenPipe),
            (ws::WSAENETRESET, ErrorKind::TimedOut),
            (ws::WSAECONNRESET, ErrorKind::ConnectionReset),
        ] {
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
        expect_bytes(&client, b"once");
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
        // What an overlapped call says when too many are outstanding.
        fail("send", ws::WSAEWOULDBLOCK);
        assert_eq!(scene.driver.send(key, "once"), Sending::InFlight);
        let sent = |event: &Event<Socket>| matches!(event, Event::Sent { bytes: 4, .. });
        scene.until("the send", |event| sent(event).then_some(()));
        expect_bytes(&client, b"once");
        scene.driver.close(key);
        scene.until("the release", |event| matches!(event, Event::Released { .. }).then_some(()));
        expect_end(&client);
        scene.end();
    }

    /// A cancel that finds its operation over, or fails for lack of resources, ends nothing: the operation's own
    /// completion comes.
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
}
