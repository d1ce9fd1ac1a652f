//! The port itself: making it, waking through it, losing it; and what is asked about a socket.

use super::*;

cases! {
    fn without_winsock_or_a_port_there_is_no_backend() {
        let alone = alone();
        let before = handles();
        let pool = Pool::new(PoolConfig { blocks: 1, block_len: 64 });
        for (call, through) in
            [("startup", 0), ("socket", 0), ("ioctl", 0), ("ioctl", 1), ("ioctl", 2), ("get_option", 0), ("port", 0)]
        {
            fail_after(call, through, ws::WSASYSNOTREADY);
            let Err(refusal) = create(pool.clone()) else { panic!("{call} failed, and the backend was made") };
            let text = refusal.to_string();
            assert!(text.contains("10091") && !refusal.remedy.is_empty(), "{call}: {text}");
            assert_eq!(handles(), before, "{call}");
        }
        // A machine without IPv6 has no say.
        fail_after("socket", 2, ws::WSAEAFNOSUPPORT);
        drop(create(pool.clone()).unwrap_or_else(|refusal| panic!("{refusal}")));
        assert_eq!(handles(), before);
        drop(alone);
    }

    /// Sockets that are no handles of the kernel's can neither skip packets nor be cancelled one operation at a time:
    /// they are refused, by the name of who makes them.
    fn a_layered_provider_is_refused() {
        let alone = alone();
        let before = handles();
        let pool = Pool::new(PoolConfig { blocks: 1, block_len: 64 });
        orders(|orders| orders.layer = Some("Snoop over [TCP/IP]"));
        let Err(refusal) = create(pool.clone()) else { panic!("the backend was made") };
        assert!(refusal.reason.contains("layered") && refusal.reason.ends_with("Snoop over [TCP/IP]"), "{refusal}");
        assert!(refusal.remedy.contains("winsock"), "{refusal}");
        assert_eq!(handles(), before);
        orders(|orders| orders.layer = None);
        drop(create(pool.clone()).unwrap_or_else(|refusal| panic!("{refusal}")));
        drop(alone);
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
        expect_end(&client);
        // That it is to reset cannot be said: it is closed all the same.
        fail("set_option", ws::WSAENOTSOCK);
        scene.driver.abort(key);
        scene.until("the release", |event| matches!(event, Event::Released { .. }).then_some(()));
        scene.end();
    }

    /// The system has no memory for it: it is owed to those who woke and to those who joined them, and comes by itself.
    fn a_wake_without_memory() {
        let mut scene = Scene::new();
        let waker: Waker = scene.driver.waker();
        let woken = |event: &Event<Socket>| matches!(event, Event::Woken).then_some(());
        for wait in [Wait::Forever, Wait::Poll] {
            fail("post", win::ERROR_NOT_ENOUGH_MEMORY as i32);
            let before = made("post");
            waker.wake();
            waker.wake();
            assert_eq!(made("post"), before + 1, "the second joined the first, which was not posted");
            scene.driver.turn(wait).unwrap();
            let event = scene.driver.next_event();
            assert!(matches!(event, Some(Event::Woken)), "{wait:?}: {event:?}");
            assert!(scene.driver.next_event().is_none(), "once");
        }
        waker.wake();
        assert_eq!(made("post"), 3, "and the next one is posted");
        scene.until("the wake", woken);

        // A wake from another thread fails while the worker waits, and no other wake follows.
        let start = Instant::now();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                // Orders are the thread's own.
                fail("post", win::ERROR_NOT_ENOUGH_MEMORY as i32);
                waker.wake();
            });
            scene.driver.turn(Wait::Forever).unwrap();
        });
        assert!(matches!(scene.driver.next_event(), Some(Event::Woken)));
        assert!(start.elapsed() < PATIENCE);
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
