//! The cases, call by call. [`no_call_is_left_out`] runs all of them, and asks whether every call has failed once.

use std::io::{ErrorKind, Read};
use std::net::TcpListener;

use windows_sys::Win32::Foundation as win;

use super::*;
use crate::driver::{Sending, Verb};
use crate::waker::Waker;

/// Makes a test of each case, and one function that runs all of them.
macro_rules! cases {
    ($($(#[$doc:meta])* fn $name:ident() $body:block)*) => {
        $(
            $(#[$doc])*
            #[test]
            fn $name() $body
        )*

        pub(super) fn all() {
            $($name();)*
        }
    };
}

mod accepting;
mod connecting;
mod port;
mod transfer;

#[test]
fn no_call_is_left_out() {
    port::all();
    accepting::all();
    connecting::all();
    transfer::all();
    let met = MET.lock().unwrap_or_else(PoisonError::into_inner);
    let calls = twin::NAMES.iter().copied().chain(["accept_ex", "connect_ex"]);
    let left: Vec<&str> = calls.filter(|call| !met.contains(call)).collect();
    assert!(left.is_empty(), "no case has these fail: {left:?}");
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
