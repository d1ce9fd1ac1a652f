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
