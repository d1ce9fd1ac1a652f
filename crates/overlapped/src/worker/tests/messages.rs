//! Handles, messages and broadcasts (INV-5), and connections outwards.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use proactor::AlignedBuf;

use super::fixture::{End, Fixture, Probe, Seen, What, behaviours};
use crate::config::Config;
use crate::session::{CloseReason, Sent, SessionHandle};
use crate::session::{PostError, SendLimits};

type Handles = Rc<RefCell<Vec<SessionHandle>>>;

/// Blocks are charged in full, so they are smaller than the limit.
fn limited_to(hard_limit: usize) -> Config {
    let pool = proactor::PoolConfig { blocks: 16, block_len: 4096 };
    Config { high_water: 5_000, low_water: 1_000, hard_limit, pool, ..Config::default() }
}

fn with_handles() -> (Probe, Handles) {
    let handles = Handles::default();
    let kept = Rc::clone(&handles);
    let probe = Probe::new(move |session, what| match what {
        What::Open => kept.borrow_mut().push(session.handle()),
        What::HalfClose => session.close(),
        _ => {}
    });
    (probe, handles)
}

#[test]
fn handles_send_in_order_close_and_abort() {
    for behaviour in behaviours() {
        let (probe, handles) = with_handles();
        let mut fixture = Fixture::new(behaviour, 2, Config::default(), probe);
        let (closed, aborted) = (fixture.connect(), fixture.connect());
        let (one, two) = (handles.borrow()[0].clone(), handles.borrow()[1].clone());
        for number in 0..100u8 {
            assert_eq!(one.send(vec![number; 100]), Sent::Ok);
        }
        one.close().unwrap();
        fixture.settle();
        let wanted: Vec<u8> = (0..100u8).flat_map(|number| [number; 100]).collect();
        assert_eq!(fixture.got(closed), wanted, "INV-4: {behaviour:?}");
        assert_eq!(fixture.end(closed), End::Finished);
        assert_eq!(one.send("late"), Sent::Closed);
        two.abort().unwrap();
        fixture.settle();
        assert_eq!(fixture.end(aborted), End::Reset);
        fixture.client.close(closed);
        fixture.settle();
        assert!(one.is_closed() && two.is_closed());
        assert_eq!(fixture.reasons(), [CloseReason::Aborted, CloseReason::Local]);
        // The slots are used again; a handle kept too long still finds nothing (INV-3).
        let another = fixture.connect();
        assert_eq!(two.send("not yours"), Sent::Closed);
        two.close().unwrap();
        fixture.settle();
        assert_eq!((fixture.got(another), fixture.end(another)), (&[][..], End::Open));
    }
}

#[test]
fn a_greeting_goes_out_at_once_on_every_worker() {
    for behaviour in behaviours() {
        let probe = Probe::new(|session, what| {
            if let What::Open = what {
                assert_eq!(session.send("hello"), Sent::Ok);
            }
        });
        // A session that another worker accepted arrives by mailbox, before the worker sleeps again.
        let mut fixture = Fixture::new(behaviour, 2, Config::default(), probe);
        let keys = [fixture.connect(), fixture.connect()];
        assert_eq!((fixture.stats(0).sessions, fixture.stats(1).sessions), (1, 1));
        keys.iter().for_each(|key| assert_eq!(fixture.got(*key), b"hello", "{behaviour:?}"));
    }
}

#[test]
fn a_handle_meets_the_hard_limit_before_it_fills_the_mailbox() {
    for behaviour in behaviours().take(6) {
        let (probe, handles) = with_handles();
        let config = limited_to(10_000);
        let mut fixture = Fixture::new(behaviour, 1, config, probe);
        let key = fixture.connect();
        let handle = handles.borrow()[0].clone();
        let taken = (0..1000).take_while(|_| handle.send(vec![1; 100]) == Sent::Ok).count();
        assert_eq!(taken, 100, "INV-6");
        fixture.settle();
        assert_eq!(fixture.got(key).len(), 10_000);
        assert_eq!(handle.send(vec![1; 100]), Sent::Ok, "there is room again");
    }
}

/// In the order of the calls, whatever the form.
#[test]
fn a_handle_sends_every_form_of_bytes() {
    const STATIC: &[u8; 3] = b"abc";
    for behaviour in behaviours() {
        let (probe, handles) = with_handles();
        let mut fixture = Fixture::new(behaviour, 1, Config::default(), probe);
        let key = fixture.connect();
        let handle = handles.borrow()[0].clone();
        let sent = [
            handle.send(&STATIC[..]),
            handle.send(STATIC),
            handle.send(*b"def"),
            handle.send(Box::<[u8]>::from(*b"ghi")),
            handle.send(b"jkl".to_vec()),
            handle.send("mno"),
            handle.send("pqr".to_owned()),
            handle.send(Bytes::from_static(b"stu")),
            handle.send(BytesMut::from(&b"vwx"[..])),
            handle.send(AlignedBuf::from(&b"yz"[..])),
        ];
        assert_eq!(sent, [Sent::Ok; 10]);
        fixture.settle();
        assert_eq!(fixture.got(key), b"abcabcdefghijklmnopqrstuvwxyz", "{behaviour:?}");
    }
}

/// What is posted is charged as it is once it is queued: a vector counts with half of its capacity at least.
#[test]
fn a_handle_charges_memory_and_not_only_bytes() {
    for behaviour in behaviours().take(6) {
        let (probe, handles) = with_handles();
        let mut fixture = Fixture::new(behaviour, 1, limited_to(10_000), probe);
        let key = fixture.connect();
        let handle = handles.borrow()[0].clone();
        let wide = || {
            let mut bytes = Vec::with_capacity(8_000);
            bytes.push(7);
            bytes
        };
        assert_eq!(
            [handle.send(wide()), handle.send(wide()), handle.send(wide())],
            [Sent::Ok, Sent::Ok, Sent::Full]
        );
        fixture.settle();
        assert_eq!(fixture.got(key), [7, 7], "{behaviour:?}: nothing was refused on the worker");
        assert_eq!((fixture.stats(0).posts_refused, handle.send(wide())), (0, Sent::Ok));
    }
}

#[test]
fn a_handle_made_late_knows_what_is_queued() {
    for behaviour in behaviours().filter(|behaviour| !behaviour.inline && behaviour.capacity < 8_000) {
        let (handles, first) = (Handles::default(), Rc::new(RefCell::new(None)));
        let (kept, opened) = (Rc::clone(&handles), Rc::clone(&first));
        let probe = Probe::new(move |session, what| {
            if let What::Open = what {
                *opened.borrow_mut() = Some(session.id());
            }
        });
        let probe = probe.on_worker(move |worker, seen| {
            let (mut session, _) = worker.session(first.borrow().unwrap()).unwrap();
            match seen {
                Seen::Message(1) => assert_eq!(session.send(vec![1; 8_000]), Sent::Ok),
                _ => kept.borrow_mut().push(session.handle()),
            }
        });
        let config = limited_to(10_000);
        let mut fixture = Fixture::new(behaviour, 1, config, probe);
        fixture.connect();
        for message in [1, 2] {
            fixture.handles[0].post(message).unwrap();
        }
        fixture.workers[0].turn(false).unwrap();
        assert_eq!(handles.borrow()[0].send(vec![1; 5_000]), Sent::Full, "INV-6: {behaviour:?}");
    }
}

#[test]
fn a_handle_made_of_a_closing_session_is_closed() {
    for behaviour in behaviours() {
        let handles = Handles::default();
        let kept = Rc::clone(&handles);
        let probe = Probe::new(move |session, what| {
            if let What::Open = what {
                session.close();
                kept.borrow_mut().push(session.handle());
            }
        });
        let mut fixture = Fixture::new(behaviour, 1, Config::default(), probe);
        fixture.connect();
        let handle = handles.borrow()[0].clone();
        assert!(handle.is_closed());
        assert_eq!(handle.send("late"), Sent::Closed, "{behaviour:?}");
    }
}

/// Other threads reach a session by its id, and share its limit with the handles that it made itself.
#[test]
fn a_session_is_found_by_its_id() {
    for behaviour in behaviours() {
        let handles = Rc::new(RefCell::new(Vec::new()));
        let kept = Rc::clone(&handles);
        let probe = Probe::new(move |session, what| match what {
            What::Open => kept.borrow_mut().push((session.id(), None)),
            What::Data(_) => kept.borrow_mut()[0].1 = Some(session.handle()),
            _ => {}
        });
        let mut fixture = Fixture::new(behaviour, 1, Config::default(), probe);
        let client = fixture.connect();
        let id = handles.borrow()[0].0;
        let limits = SendLimits { hard_limit: 100, ..Config::default().send_limits() };
        let directory = |fixture: &Fixture| fixture.mailboxes[0].shared.directory.len();

        // Another thread has just made the handle, and its mail is not posted yet.
        let (made, is_new) = fixture.mailboxes[0].shared.directory.find(id.key);
        assert!(is_new);
        let found = fixture.mailboxes[0].session(id, limits);
        assert_eq!(found.send("by id, "), Sent::Ok);
        fixture.settle();
        fixture.send(client, b"make one");
        fixture.settle();
        let own = handles.borrow()[0].1.clone().expect("it was made");
        assert!(Arc::ptr_eq(&made, &found.state) && Arc::ptr_eq(&made, &own.state), "{behaviour:?}");
        assert_eq!((own.send("by itself"), directory(&fixture)), (Sent::Ok, 1));
        fixture.settle();
        assert_eq!(fixture.got(client), b"by id, by itself");
        assert_eq!(found.send([0; 101].to_vec()), Sent::Full, "nothing posted is left in its count");
        assert_eq!(found.send([0; 100].to_vec()), Sent::Ok);

        found.close().expect("the worker lives");
        fixture.finish(client);
        fixture.settle();
        assert!(found.is_closed() && directory(&fixture) == 0, "{behaviour:?}");
        let late = fixture.mailboxes[0].session(id, limits);
        assert!(!late.is_closed(), "its worker has not looked yet");
        fixture.settle();
        assert!(late.is_closed() && directory(&fixture) == 0, "{behaviour:?}");
        assert_eq!(late.send("late"), Sent::Closed);
    }
}

#[test]
fn a_full_mailbox_refuses_and_counts() {
    let config = Config { mailbox: 3, ..Config::default() };
    let mut fixture = Fixture::new(behaviours().next().unwrap(), 1, config, Probe::echo());
    let answers: Vec<_> = (0..5).map(|message| fixture.handles[0].post(message)).collect();
    assert_eq!(answers, [Ok(()), Ok(()), Ok(()), Err(PostError::Full(3)), Err(PostError::Full(4))]);
    fixture.settle();
    assert_eq!(fixture.all_stats().posts_refused, 2);
    assert_eq!(fixture.log(), [Seen::Message(0), Seen::Message(1), Seen::Message(2)]);
    let handle = fixture.handles[0].clone();
    fixture.workers.clear();
    assert_eq!(handle.post(9), Err(PostError::Stopped(9)));
}

#[test]
fn one_buffer_reaches_sessions_of_every_worker() {
    for behaviour in behaviours() {
        let (probe, handles) = with_handles();
        let mut fixture = Fixture::new(behaviour, 3, Config::default(), probe);
        let keys: Vec<_> = (0..9).map(|_| fixture.connect()).collect();
        let ids: Vec<_> = handles.borrow().iter().map(SessionHandle::id).collect();
        let bytes = Bytes::from(vec![8; 20_000]);
        assert_eq!(fixture.handles[1].broadcast_to(&ids, &bytes), 0);
        fixture.settle();
        for key in &keys {
            assert_eq!(fixture.got(*key), bytes, "{behaviour:?}");
        }
    }
}

#[test]
fn a_message_reaches_all_sessions_of_its_worker() {
    for behaviour in behaviours() {
        let probe = Probe::echo().on_worker(|worker, seen| {
            if let Seen::Message(number) = seen {
                let all = worker.sessions();
                assert_eq!(worker.broadcast(&Bytes::from(number.to_string()), all.first().copied()), 2);
                assert_eq!(worker.session(all[0]).unwrap().0.send("first"), Sent::Ok);
            }
        });
        let mut fixture = Fixture::new(behaviour, 1, Config::default(), probe);
        let keys: Vec<_> = (0..3).map(|_| fixture.connect()).collect();
        fixture.handles[0].post(42).unwrap();
        fixture.settle();
        let mut got: Vec<&[u8]> = keys.iter().map(|key| fixture.got(*key)).collect();
        got.sort_unstable();
        assert_eq!(got, [&b"42"[..], b"42", b"first"]);
    }
}

#[test]
fn sessions_are_opened_outwards_too() {
    for behaviour in behaviours() {
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 1));
        let here = SocketAddr::from(([127, 0, 0, 1], 9999));
        // Two sessions that answer each other would never end: only the outbound one speaks first.
        let probe = Probe::new(|session, what| match what {
            What::Open if session.is_outbound() => assert_eq!(session.send("ping"), Sent::Ok),
            What::Data(data) if session.is_outbound() => {
                assert_eq!(&data[..], &b"ping"[..data.len()]);
                if data.len() == 4 || data.ends_with(b"g") {
                    session.close();
                }
            }
            What::Data(data) => assert_eq!(session.send(data), Sent::Ok),
            What::HalfClose => session.close(),
            _ => {}
        });
        let probe = probe.on_worker(move |worker, seen| match seen {
            Seen::Message(1) => worker.connect(nowhere, 77),
            Seen::Message(2) => worker.connect(here, 78),
            _ => {}
        });
        let behaviour = proactor::backend::simulated::Behaviour { cuts: false, ..behaviour };
        let mut fixture = Fixture::new(behaviour, 2, Config::default(), probe);
        fixture.handles[1].post(1).unwrap();
        fixture.handles[1].post(2).unwrap();
        fixture.settle();
        let refused = Seen::ConnectFailed(77, std::io::ErrorKind::ConnectionRefused);
        assert!(fixture.log().contains(&refused), "{:?}", fixture.log());
        let mut reasons = fixture.reasons();
        reasons.sort_by_key(ToString::to_string);
        assert_eq!(reasons, [CloseReason::Local, CloseReason::EndOfStream], "{behaviour:?}");
        assert_eq!(fixture.all_stats().connects_failed, 1);
        fixture.assert_clean();
    }
}

/// A handle calls a session closed exactly when its worker calls it closing. One that only finished its own stream
/// is not, though nothing can be sent in it any more; whether the handle was made before that or after.
#[test]
fn a_handle_and_its_session_agree_on_what_is_closed() {
    for behaviour in behaviours() {
        let (handles, said) = (Handles::default(), Rc::new(RefCell::new(Vec::new())));
        let (kept, heard) = (Rc::clone(&handles), Rc::clone(&said));
        let probe = Probe::new(move |session, what| match what {
            What::Open => {
                kept.borrow_mut().push(session.handle());
                session.finish();
                kept.borrow_mut().push(session.handle());
                heard.borrow_mut().push(session.is_closing());
            }
            What::HalfClose => heard.borrow_mut().push(session.is_closing()),
            _ => {}
        });
        let mut fixture = Fixture::new(behaviour, 1, Config::default(), probe);
        let key = fixture.connect();
        for handle in handles.borrow().iter() {
            assert_eq!((handle.is_closed(), handle.send("too late")), (false, Sent::Closed), "{behaviour:?}");
        }
        fixture.finish(key);
        fixture.settle();
        assert_eq!(*said.borrow(), [false, false], "{behaviour:?}");
        assert_eq!(handles.borrow().len(), 2);
        assert!(handles.borrow().iter().all(SessionHandle::is_closed), "{behaviour:?}");
    }
}
