//! Refusing accepted sockets: the peer reads an end of stream, whatever it has sent or sends, and a bounded number of
//! sockets is kept for a bounded time.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use overlapped_testing::{dial, pattern};
use proactor::backend::{BackendKind, Wait};
use proactor::{ConnectionKey, Verb};
use socket2::SockRef;

use crate::endpoint::Finished;
use crate::fixture::Fixture;
use crate::kernel::{ANY_PORT, Kernel, Socket};
use crate::watched::Call;

/// What the driver allows is 100 ms; a loaded machine may notice later.
const SOON: Duration = Duration::from_secs(5);
/// How long a socket that is turned away is kept.
const LIMIT: Duration = Duration::from_millis(100);
/// If the machine stalls for this long the result proves nothing, and the case is tried again.
const TRIES: usize = 20;
const STOOD_STILL: &str = "no try was over in time";

/// A connection that was accepted and not adopted, whose peer has sent `word`.
fn arrived<K: Kernel>(fixture: &mut Fixture<'_, K>, word: &'static str) -> (ConnectionKey, Socket<K>) {
    let socket = fixture.kernel.listen_on(ANY_PORT).expect("loopback can be listened on");
    let (listener, address) = fixture.there.listen(socket);
    let here = fixture.here.connect(address);
    fixture.until("a connection", |fixture| {
        fixture.here.seen(here).connected && !fixture.there.accepted.is_empty()
    });
    fixture.there.driver.close_listener(listener);
    fixture.here.receive(here);
    fixture.here.post(here, word);
    fixture.until("its word to be out", |fixture| fixture.here.is_flushed(here));
    (here, fixture.there.accepted.pop_front().expect("just seen"))
}

fn held<K: Kernel>(fixture: &Fixture<'_, K>) -> usize {
    fixture.there.driver.snapshot().turned_away
}

fn read_an_end<K: Kernel>(fixture: &Fixture<'_, K>, here: ConnectionKey) {
    let seen = fixture.here.seen(here);
    assert!(seen.ended && seen.failures.is_empty(), "an end of stream and no reset: {:?}", seen.failures);
}

/// A peer that has spoken, and waits: it reads the end at once, and is closed when its time is over.
pub fn who_has_spoken_reads_an_end<K: Kernel>(kernel: &K) -> Finished {
    let mut fixture = Fixture::new(kernel);
    let (here, socket) = arrived(&mut fixture, "hello");
    fixture.settle();
    let before = fixture.there.driver.now();
    fixture.there.driver.refuse(socket);
    fixture.until("the end", |fixture| fixture.here.seen(here).over());
    read_an_end(&fixture, here);
    fixture.until("its time to be over", |fixture| held(fixture) == 0);
    assert!(fixture.there.driver.now().since(before) < SOON);
    fixture.settle();
    read_an_end(&fixture, here);
    assert_eq!(fixture.there.driver.snapshot(), proactor::Snapshot::default(), "it was no connection");
    fixture.finish()
}

/// A last word goes out before the end, whatever the peer has sent: nothing, bytes that nobody reads, or its own end.
/// Some kernels here take only a few bytes of it at a time.
pub fn a_last_word_comes_before_the_end<K: Kernel>(kernel: &K) -> Finished {
    const WORD: &str = "server full, try again later\n";
    let mut fixture = Fixture::new(kernel);
    for (says, ends) in [("", false), ("hello", false), ("hello", true)] {
        let (here, socket) = arrived(&mut fixture, says);
        if ends {
            fixture.here.driver.finish(here).unwrap();
        }
        fixture.settle();
        fixture.there.driver.refuse_with(socket, WORD.as_bytes());
        fixture.until("the end", |fixture| fixture.here.seen(here).over());
        assert_eq!(fixture.here.seen(here).bytes, WORD.as_bytes(), "after {says:?}, {ends}");
        read_an_end(&fixture, here);
        fixture.until("the close", |fixture| held(fixture) == 0);
        fixture.settle();
        read_an_end(&fixture, here);
    }
    fixture.finish()
}

/// A peer that does not read delays nobody: what the system does not take of a last word is given up in time.
pub fn a_last_word_is_not_waited_for_without_end<K: Kernel>(kernel: &K) -> Finished {
    let mut fixture = Fixture::new(kernel);
    let (here, socket) = arrived(&mut fixture, "");
    fixture.here.driver.pause_receive(here);
    fixture.settle();
    let word = pattern(16 << 20, 3);
    fixture.there.driver.refuse_with(socket, &word);
    assert_eq!(held(&fixture), 1, "no system takes all of it at once");
    fixture.until("its time to be over", |fixture| held(fixture) == 0);
    fixture.here.receive(here);
    fixture.until("the end", |fixture| fixture.here.seen(here).over());
    assert!(word.starts_with(&fixture.here.seen(here).bytes), "what came is its beginning");
    fixture.finish()
}

/// A socket that may not be kept has its last word all the same, if the system takes it at once.
pub fn a_last_word_goes_out_where_no_socket_is_kept<K: Kernel>(kernel: &K) -> Finished {
    let mut fixture = Fixture::new(kernel);
    fixture.there.driver.turn_away_at_most(0);
    let (here, socket) = arrived(&mut fixture, "hello");
    fixture.settle();
    fixture.there.driver.refuse_with(socket, b"-");
    assert_eq!(held(&fixture), 0);
    fixture.until("the end", |fixture| fixture.here.seen(here).over());
    assert_eq!(fixture.here.seen(here).bytes, b"-");
    read_an_end(&fixture, here);
    fixture.finish()
}

/// What arrives while it is turned away is discarded, too; and when it ends its stream, it is closed.
pub fn who_goes_on_speaking_reads_an_end<K: Kernel>(kernel: &K) -> Finished {
    let mut fixture = Fixture::new(kernel);
    for _ in 0..TRIES {
        // Nothing is said before, so that there is something to wait for.
        let (here, socket) = arrived(&mut fixture, "");
        let limit = fixture.there.driver.now() + LIMIT;
        fixture.there.driver.refuse(socket);
        fixture.until("the end", |fixture| fixture.here.seen(here).ended);
        fixture.here.post(here, "more");
        fixture.until("it to be out", |fixture| fixture.here.is_flushed(here));
        if fixture.there.driver.now() >= limit {
            continue;
        }
        assert_eq!(held(&fixture), 1, "it is still heard");
        fixture.here.driver.finish(here).unwrap();
        fixture.until("the close", |fixture| held(fixture) == 0);
        fixture.settle();
        read_an_end(&fixture, here);
        return fixture.finish();
    }
    panic!("{STOOD_STILL}")
}

/// Whatever is sent, it ends: such a peer learns of it by a reset.
pub fn who_never_stops_is_closed<K: Kernel>(kernel: &K) -> Finished {
    let mut fixture = Fixture::new(kernel);
    let (here, socket) = arrived(&mut fixture, "on ");
    let before = fixture.there.driver.now();
    fixture.there.driver.refuse(socket);
    let much = pattern(64 * 1024, 7);
    fixture.until("the close", |fixture| {
        if fixture.here.is_flushed(here) {
            fixture.here.post(here, much.clone());
        }
        held(fixture) == 0
    });
    assert!(fixture.there.driver.now().since(before) < SOON);
    assert!(fixture.here.seen(here).ended, "it read the end all the same");
    fixture.until("its failure", |fixture| {
        if fixture.here.is_flushed(here) {
            fixture.here.post(here, much.clone());
        }
        fixture.here.seen(here).failures.iter().any(|(verb, _)| *verb == Verb::Send)
    });
    fixture.finish()
}

/// The peer is gone by then: there is nobody to wait for.
pub fn who_is_gone_is_closed_at_once<K: Kernel>(kernel: &K) -> Finished {
    let mut fixture = Fixture::new(kernel);
    for abort in [false, true] {
        let (here, socket) = arrived(&mut fixture, "bye");
        if abort {
            fixture.here.abort(here);
        } else {
            fixture.here.close(here);
        }
        fixture.until("the release", |fixture| fixture.here.seen(here).released);
        fixture.settle();
        fixture.there.driver.refuse(socket);
        assert_eq!(held(&fixture), 0);
    }
    fixture.finish()
}

/// However many come, only the allowed number of sockets is kept; all clients read an end.
pub fn a_crowd_keeps_a_bounded_number_of_sockets<K: Kernel>(kernel: &K) -> Finished {
    const CROWD: usize = 20;
    for most in [4, 0] {
        let mut fixture = Fixture::new(kernel);
        fixture.there.driver.turn_away_at_most(most);
        let arrived: Vec<_> = (0..CROWD).map(|_| arrived(&mut fixture, "me")).collect();
        fixture.settle();
        let mut keys = Vec::new();
        for (number, (here, socket)) in arrived.into_iter().enumerate() {
            fixture.there.driver.refuse(socket);
            assert_eq!(held(&fixture), most.min(number + 1));
            keys.push(here);
        }
        fixture.until("all ends", |fixture| keys.iter().all(|here| fixture.here.seen(*here).over()));
        fixture.until("the last to be closed", |fixture| held(fixture) == 0);
        fixture.settle();
        keys.iter().for_each(|here| read_an_end(&fixture, *here));
        let _ = fixture.finish();
    }
    Fixture::new(kernel).finish()
}

/// A limit that falls while some are held.
pub fn a_lower_limit_holds_at_once<K: Kernel>(kernel: &K) -> Finished {
    let mut fixture = Fixture::new(kernel);
    let arrived: Vec<_> = (0..5).map(|_| arrived(&mut fixture, "me")).collect();
    fixture.settle();
    for (_, socket) in arrived {
        fixture.there.driver.refuse(socket);
    }
    assert_eq!(held(&fixture), 5);
    fixture.there.driver.turn_away_at_most(2);
    assert_eq!(held(&fixture), 2);
    fixture.finish()
}

/// What cannot be registered is turned away, too.
pub fn a_failed_adoption_is_no_reset<K: Kernel>(kernel: &K) -> Finished {
    let mut fixture = Fixture::new(kernel);
    let (here, socket) = arrived(&mut fixture, "hello");
    fixture.settle();
    fixture.there.backend().fail(Call::Adopt, ErrorKind::OutOfMemory);
    assert_eq!(fixture.there.driver.adopt(socket).unwrap_err().kind(), ErrorKind::OutOfMemory);
    fixture.until("the end", |fixture| fixture.here.seen(here).over());
    fixture.until("the close", |fixture| held(fixture) == 0);
    fixture.settle();
    read_an_end(&fixture, here);
    fixture.finish()
}

/// Descriptors that those turned away have used up come back by themselves: accepting goes on. Any other want of them is
/// a pause (INV-9), and so is the same again when nothing came back.
pub fn their_descriptors_are_no_shortage<K: Kernel>(kernel: &K) -> Finished {
    #[cfg(unix)]
    const OUT_OF_DESCRIPTORS: i32 = libc::EMFILE;
    #[cfg(windows)]
    const OUT_OF_DESCRIPTORS: i32 = windows_sys::Win32::Networking::WinSock::WSAEMFILE;
    for _ in 0..TRIES {
        let mut fixture = Fixture::new(kernel);
        let arrived: Vec<_> = (0..3).map(|_| arrived(&mut fixture, "me")).collect();
        fixture.settle();
        let keys: Vec<_> = arrived.iter().map(|(here, _)| *here).collect();
        let limit = fixture.there.driver.now() + LIMIT;
        for (_, socket) in arrived {
            fixture.there.driver.refuse(socket);
        }
        fixture.there.backend().fail_with(Call::Accept, OUT_OF_DESCRIPTORS);
        let (_, address) = fixture.there.listen(kernel.listen_on(ANY_PORT).unwrap());
        let here = fixture.here.connect(address);
        fixture.until("it to be accepted", |fixture| !fixture.there.accepted.is_empty());
        assert!(fixture.there.accept_failures.is_empty(), "nobody was told");
        assert!(held(&fixture) <= 1, "half of them made room");
        let in_time = fixture.there.driver.now() < limit;
        fixture.until("all ends", |fixture| {
            fixture.here.seen(here).connected && keys.iter().all(|here| fixture.here.seen(*here).over())
        });
        fixture.until("the rest to be closed", |fixture| held(fixture) == 0);
        if !in_time {
            let _: Finished = fixture.finish();
            continue;
        }
        // That they came back counts once.
        for expected in 0..2 {
            fixture.there.backend().fail_with(Call::Accept, OUT_OF_DESCRIPTORS);
            fixture.there.listen(kernel.listen_on(ANY_PORT).unwrap());
            fixture.settle();
            assert_eq!(fixture.there.accept_failures.len(), expected);
        }
        return fixture.finish();
    }
    panic!("{STOOD_STILL}")
}

/// Some are held when the driver goes.
pub fn dropped_while_some_are_turned_away<K: Kernel>(kernel: &K) -> Finished {
    let mut fixture = Fixture::new(kernel);
    let arrived: Vec<_> = (0..3).map(|_| arrived(&mut fixture, "me")).collect();
    for (_, socket) in arrived {
        fixture.there.driver.refuse(socket);
    }
    assert_eq!(held(&fixture), 3);
    fixture.finish_by_dropping()
}

/// A plain client that says more than a block holds, and only then reads.
pub fn a_plain_client_reads_an_end<K: Kernel>(kernel: &K) -> Finished {
    let mut fixture = Fixture::new(kernel);
    let (_, address) = fixture.there.listen(kernel.listen_on(ANY_PORT).unwrap());
    let client = thread::spawn(move || {
        let mut stream = dial(address);
        stream.write_all(&pattern(100_000, 3)).expect("it is taken, and discarded");
        stream.read(&mut [0; 16]).expect("an end, and no reset")
    });
    fixture.until("the client", |fixture| !fixture.there.accepted.is_empty());
    let socket = fixture.there.accepted.pop_front().unwrap();
    fixture.there.driver.refuse(socket);
    fixture.until("the client's end", |_| client.is_finished());
    assert_eq!(client.join().unwrap(), 0);
    fixture.finish()
}

/// More than ten calls of discarding take, which is what the time of one that is turned away has room for at the pace of
/// its looks.
const LARGE: usize = 4 * 1024 * 1024;

/// A client that has sent `len` bytes, or as much as its buffers and those of the other end take, and reads nothing; and
/// the socket that was accepted for it.
fn with_full_buffers<K: Kernel>(fixture: &mut Fixture<'_, K>, len: usize) -> (TcpStream, Socket<K>) {
    let listener = fixture.kernel.listen_with(LARGE).expect("loopback can be listened on");
    let (listener, address) = fixture.there.listen(listener);
    let mut client = dial(address);
    SockRef::from(&client).set_send_buffer_size(LARGE).unwrap();
    fixture.until("the client", |fixture| !fixture.there.accepted.is_empty());
    fixture.there.driver.close_listener(listener);
    client.set_nonblocking(true).unwrap();
    let bytes = pattern(len, 4);
    let mut sent = 0;
    while sent < len {
        match client.write(&bytes[sent..]) {
            Ok(taken) => sent += taken,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => panic!("{error}"),
        }
    }
    client.set_nonblocking(false).unwrap();
    (client, fixture.there.accepted.pop_front().expect("just seen"))
}

/// Whether the other end's system has all that was sent. Where that is not told, it is taken for granted.
fn has_arrived(client: &TcpStream) -> bool {
    #[cfg(target_os = "linux")]
    {
        use std::os::fd::AsRawFd;
        let mut left: libc::c_int = 0;
        // SAFETY: an open socket, and an integer that the call writes: SIOCOUTQ, tcp(7).
        assert_eq!(unsafe { libc::ioctl(client.as_raw_fd(), libc::TIOCOUTQ, &raw mut left) }, 0);
        left == 0
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = client;
        true
    }
}

fn reads_an_end(mut client: TcpStream) {
    assert_eq!(client.read(&mut [0; 16]).expect("an end, and no reset"), 0);
    let error = SockRef::from(&client).take_error().unwrap();
    assert!(error.is_none(), "{error:?} behind the end");
}

/// Clients that have sent megabytes before they are turned away read an end, and no reset: neither at once nor when the
/// socket is closed.
fn megabytes_are_discarded<K: Kernel>(fixture: &mut Fixture<'_, K>, clients: usize) {
    for _ in 0..TRIES {
        let arrived: Vec<_> = (0..clients).map(|_| with_full_buffers(fixture, LARGE)).collect();
        let limit = fixture.there.driver.now() + LIMIT;
        let mut waiting = Vec::new();
        for (client, socket) in arrived {
            fixture.there.driver.refuse(socket);
            waiting.push(client);
        }
        while fixture.there.driver.now() < limit && !waiting.iter().all(has_arrived) {
            fixture.there.step(Wait::Until(limit));
        }
        let in_time = fixture.there.driver.now() < limit;
        fixture.until("their time to be over", |fixture| held(fixture) == 0);
        if in_time {
            return waiting.into_iter().for_each(reads_an_end);
        }
    }
    panic!("{STOOD_STILL}: not all was discarded");
}

pub fn who_has_sent_megabytes_reads_an_end<K: Kernel>(kernel: &K) -> Finished {
    let mut fixture = Fixture::new(kernel);
    megabytes_are_discarded(&mut fixture, 1);
    fixture.finish()
}

/// They share what a turn discards.
pub fn several_that_have_sent_megabytes_read_an_end<K: Kernel>(kernel: &K) -> Finished {
    let mut fixture = Fixture::new(kernel);
    megabytes_are_discarded(&mut fixture, 3);
    fixture.finish()
}

/// Without a driver, too: all that has arrived.
pub fn much_is_discarded_without_a_driver<K: Kernel>(kernel: &K) -> Finished
where
    Socket<K>: Into<proactor::Socket>,
{
    let mut fixture = Fixture::new(kernel);
    // Where it is not told what has arrived: what any buffer holds.
    let mut len = if cfg!(target_os = "linux") { LARGE / 2 } else { 300 * 1024 };
    let (client, socket) = loop {
        let (client, socket) = with_full_buffers(&mut fixture, len);
        fixture.settle();
        if has_arrived(&client) {
            break (client, socket);
        }
        // This system does not give a socket as much.
        len /= 2;
        fixture.there.driver.refuse(socket);
    };
    fixture.there.open.set(fixture.there.open.get() - 1);
    proactor::turn_away(socket.into());
    reads_an_end(client);
    fixture.finish()
}

/// All that has arrived is discarded, whether or not a socket may be kept: several calls of it, for several sockets.
pub fn all_that_has_arrived_is_discarded<K: Kernel>(kernel: &K) -> Finished {
    for most in [0, 2, 128] {
        let mut fixture = Fixture::new(kernel);
        fixture.there.driver.turn_away_at_most(most);
        let arrived: Vec<_> = (0..4).map(|_| arrived(&mut fixture, "me")).collect();
        // As much as a network gives room for, without what has to wait for it.
        let len = if fixture.there.driver.kind() == BackendKind::Simulated { 60 * 1024 } else { 24 * 1024 };
        for (here, _) in &arrived {
            fixture.here.post(*here, pattern(len, 9));
        }
        fixture.settle();
        let all_is_there: Vec<_> =
            arrived.iter().map(|(here, _)| *here).filter(|here| fixture.here.is_flushed(*here)).collect();
        for (_, socket) in arrived {
            fixture.there.driver.refuse(socket);
        }
        assert!(held(&fixture) <= most);
        fixture.until("the closes", |fixture| held(fixture) == 0);
        fixture.settle();
        all_is_there.iter().for_each(|here| read_an_end(&fixture, *here));
        let _: Finished = fixture.finish();
    }
    Fixture::new(kernel).finish()
}
