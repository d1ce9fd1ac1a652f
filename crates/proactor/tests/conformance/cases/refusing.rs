//! Turning away what was accepted and is not wanted: its peer reads an end of stream, whatever it has said or says, and
//! it costs a bounded number of sockets for a bounded time.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use proactor::backend::{Name, Wait};
use proactor::{ConnectionKey, Verb};
use socket2::SockRef;

use super::outside::dial;
use crate::bench::{Bench, pattern};
use crate::side::Finished;
use crate::watched::Call;
use crate::world::{ANY_PORT, Socket, World};

/// What the driver allows is 100 ms; a loaded machine may notice later.
const SOON: Duration = Duration::from_secs(5);
/// How long a socket that is turned away is kept.
const LIMIT: Duration = Duration::from_millis(100);
/// A machine that stands still for as long proves nothing: then it is tried again.
const TRIES: usize = 20;
const STOOD_STILL: &str = "no try was over in time";

/// A connection that was accepted and is nobody's yet, whose peer has said `word`.
fn arrived<W: World>(bench: &mut Bench<'_, W>, word: &'static str) -> (ConnectionKey, Socket<W>) {
    let socket = bench.world.listen_on(ANY_PORT).expect("loopback can be listened on");
    let (listener, address) = bench.there.listen(socket);
    let here = bench.here.connect(address);
    bench.until("a connection", |bench| bench.here.seen(here).connected && !bench.there.accepted.is_empty());
    bench.there.driver.close_listener(listener);
    bench.here.receive(here);
    bench.here.post(here, word);
    bench.until("its word to be out", |bench| bench.here.is_flushed(here));
    (here, bench.there.accepted.pop_front().expect("just seen"))
}

fn held<W: World>(bench: &Bench<'_, W>) -> usize {
    bench.there.driver.snapshot().turned_away
}

fn read_an_end<W: World>(bench: &Bench<'_, W>, here: ConnectionKey) {
    let seen = bench.here.seen(here);
    assert!(seen.ended && seen.failures.is_empty(), "an end of stream and no reset: {:?}", seen.failures);
}

/// A peer that has spoken, and waits: it reads the end at once, and is closed when its time is over.
pub fn who_has_spoken_reads_an_end<W: World>(world: &W) -> Finished {
    let mut bench = Bench::new(world);
    let (here, socket) = arrived(&mut bench, "hello");
    bench.settle();
    let before = bench.there.driver.now();
    bench.there.driver.refuse(socket);
    bench.until("the end", |bench| bench.here.seen(here).over());
    read_an_end(&bench, here);
    bench.until("its time to be over", |bench| held(bench) == 0);
    assert!(bench.there.driver.now().since(before) < SOON);
    bench.settle();
    read_an_end(&bench, here);
    assert_eq!(bench.there.driver.snapshot(), proactor::Snapshot::default(), "it was no connection");
    bench.finish()
}

/// What arrives while it is turned away is discarded, too; and when it ends its stream, it is closed.
pub fn who_goes_on_speaking_reads_an_end<W: World>(world: &W) -> Finished {
    let mut bench = Bench::new(world);
    for _ in 0..TRIES {
        // Nothing is said before, so that there is something to wait for.
        let (here, socket) = arrived(&mut bench, "");
        let limit = bench.there.driver.now() + LIMIT;
        bench.there.driver.refuse(socket);
        bench.until("the end", |bench| bench.here.seen(here).ended);
        bench.here.post(here, "more");
        bench.until("it to be out", |bench| bench.here.is_flushed(here));
        if bench.there.driver.now() >= limit {
            continue;
        }
        assert_eq!(held(&bench), 1, "it is still heard");
        bench.here.driver.finish(here).unwrap();
        bench.until("the close", |bench| held(bench) == 0);
        bench.settle();
        read_an_end(&bench, here);
        return bench.finish();
    }
    panic!("{STOOD_STILL}")
}

/// Whatever is sent, it ends: such a peer learns of it by a reset.
pub fn who_never_stops_is_closed<W: World>(world: &W) -> Finished {
    let mut bench = Bench::new(world);
    let (here, socket) = arrived(&mut bench, "on ");
    let before = bench.there.driver.now();
    bench.there.driver.refuse(socket);
    let much = pattern(64 * 1024, 7);
    bench.until("the close", |bench| {
        if bench.here.is_flushed(here) {
            bench.here.post(here, much.clone());
        }
        held(bench) == 0
    });
    assert!(bench.there.driver.now().since(before) < SOON);
    assert!(bench.here.seen(here).ended, "it read the end all the same");
    bench.until("its failure", |bench| {
        if bench.here.is_flushed(here) {
            bench.here.post(here, much.clone());
        }
        bench.here.seen(here).failures.iter().any(|(verb, _)| *verb == Verb::Send)
    });
    bench.finish()
}

/// The peer is gone by then: there is nobody to wait for.
pub fn who_is_gone_is_closed_at_once<W: World>(world: &W) -> Finished {
    let mut bench = Bench::new(world);
    for abort in [false, true] {
        let (here, socket) = arrived(&mut bench, "bye");
        if abort {
            bench.here.abort(here);
        } else {
            bench.here.close(here);
        }
        bench.until("the release", |bench| bench.here.seen(here).released);
        bench.settle();
        bench.there.driver.refuse(socket);
        assert_eq!(held(&bench), 0);
    }
    bench.finish()
}

/// However many come, only the allowed number of sockets is kept; all clients read an end.
pub fn a_crowd_keeps_a_bounded_number_of_sockets<W: World>(world: &W) -> Finished {
    const CROWD: usize = 20;
    for most in [4, 0] {
        let mut bench = Bench::new(world);
        bench.there.driver.turn_away_at_most(most);
        let arrived: Vec<_> = (0..CROWD).map(|_| arrived(&mut bench, "me")).collect();
        bench.settle();
        let mut keys = Vec::new();
        for (number, (here, socket)) in arrived.into_iter().enumerate() {
            bench.there.driver.refuse(socket);
            assert_eq!(held(&bench), most.min(number + 1));
            keys.push(here);
        }
        bench.until("all ends", |bench| keys.iter().all(|here| bench.here.seen(*here).over()));
        bench.until("the last to be closed", |bench| held(bench) == 0);
        bench.settle();
        keys.iter().for_each(|here| read_an_end(&bench, *here));
        let _ = bench.finish();
    }
    Bench::new(world).finish()
}

/// A limit that falls while some are held.
pub fn a_lower_limit_holds_at_once<W: World>(world: &W) -> Finished {
    let mut bench = Bench::new(world);
    let arrived: Vec<_> = (0..5).map(|_| arrived(&mut bench, "me")).collect();
    bench.settle();
    for (_, socket) in arrived {
        bench.there.driver.refuse(socket);
    }
    assert_eq!(held(&bench), 5);
    bench.there.driver.turn_away_at_most(2);
    assert_eq!(held(&bench), 2);
    bench.finish()
}

/// What cannot be registered is turned away, too.
pub fn a_failed_adoption_is_no_reset<W: World>(world: &W) -> Finished {
    let mut bench = Bench::new(world);
    let (here, socket) = arrived(&mut bench, "hello");
    bench.settle();
    bench.there.backend().fail(Call::Adopt, ErrorKind::OutOfMemory);
    assert_eq!(bench.there.driver.adopt(socket).unwrap_err().kind(), ErrorKind::OutOfMemory);
    bench.until("the end", |bench| bench.here.seen(here).over());
    bench.until("the close", |bench| held(bench) == 0);
    bench.settle();
    read_an_end(&bench, here);
    bench.finish()
}

/// Descriptors that those turned away have used up come back by themselves: accepting goes on. Any other want of them is
/// a pause (INV-9), and so is the same again when nothing came back.
pub fn their_descriptors_are_no_shortage<W: World>(world: &W) -> Finished {
    #[cfg(unix)]
    const OUT_OF_DESCRIPTORS: i32 = libc::EMFILE;
    #[cfg(windows)]
    const OUT_OF_DESCRIPTORS: i32 = windows_sys::Win32::Networking::WinSock::WSAEMFILE;
    for _ in 0..TRIES {
        let mut bench = Bench::new(world);
        let arrived: Vec<_> = (0..3).map(|_| arrived(&mut bench, "me")).collect();
        bench.settle();
        let keys: Vec<_> = arrived.iter().map(|(here, _)| *here).collect();
        let limit = bench.there.driver.now() + LIMIT;
        for (_, socket) in arrived {
            bench.there.driver.refuse(socket);
        }
        bench.there.backend().fail_with(Call::Accept, OUT_OF_DESCRIPTORS);
        let (_, address) = bench.there.listen(world.listen_on(ANY_PORT).unwrap());
        let here = bench.here.connect(address);
        bench.until("it to be accepted", |bench| !bench.there.accepted.is_empty());
        assert!(bench.there.accept_failures.is_empty(), "nobody was told");
        assert!(held(&bench) <= 1, "half of them made room");
        let in_time = bench.there.driver.now() < limit;
        bench.until("all ends", |bench| {
            bench.here.seen(here).connected && keys.iter().all(|here| bench.here.seen(*here).over())
        });
        bench.until("the rest to be closed", |bench| held(bench) == 0);
        if !in_time {
            let _: Finished = bench.finish();
            continue;
        }
        // That they came back counts once.
        for expected in 0..2 {
            bench.there.backend().fail_with(Call::Accept, OUT_OF_DESCRIPTORS);
            bench.there.listen(world.listen_on(ANY_PORT).unwrap());
            bench.settle();
            assert_eq!(bench.there.accept_failures.len(), expected);
        }
        return bench.finish();
    }
    panic!("{STOOD_STILL}")
}

/// Some are held when the driver goes.
pub fn dropped_while_some_are_turned_away<W: World>(world: &W) -> Finished {
    let mut bench = Bench::new(world);
    let arrived: Vec<_> = (0..3).map(|_| arrived(&mut bench, "me")).collect();
    for (_, socket) in arrived {
        bench.there.driver.refuse(socket);
    }
    assert_eq!(held(&bench), 3);
    bench.finish_by_dropping()
}

/// A plain client that says more than a block holds, and only then reads.
pub fn a_plain_client_reads_an_end<W: World>(world: &W) -> Finished {
    let mut bench = Bench::new(world);
    let (_, address) = bench.there.listen(world.listen_on(ANY_PORT).unwrap());
    let client = thread::spawn(move || {
        let mut stream = dial(address);
        stream.write_all(&pattern(100_000, 3)).expect("it is taken, and discarded");
        stream.read(&mut [0; 16]).expect("an end, and no reset")
    });
    bench.until("the client", |bench| !bench.there.accepted.is_empty());
    let socket = bench.there.accepted.pop_front().unwrap();
    bench.there.driver.refuse(socket);
    bench.until("the client's end", |_| client.is_finished());
    assert_eq!(client.join().unwrap(), 0);
    bench.finish()
}

/// More than ten calls of discarding take, which is what the time of one that is turned away has room for at the pace of
/// its looks.
const LARGE: usize = 4 * 1024 * 1024;

/// A client that has sent `len` bytes, or as much as its buffers and those of the other end take, and reads nothing; and
/// the socket that was accepted for it.
fn with_full_buffers<W: World>(bench: &mut Bench<'_, W>, len: usize) -> (TcpStream, Socket<W>) {
    let listener = bench.world.listen_with(LARGE).expect("loopback can be listened on");
    let (listener, address) = bench.there.listen(listener);
    let mut client = dial(address);
    SockRef::from(&client).set_send_buffer_size(LARGE).unwrap();
    bench.until("the client", |bench| !bench.there.accepted.is_empty());
    bench.there.driver.close_listener(listener);
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
    (client, bench.there.accepted.pop_front().expect("just seen"))
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
fn megabytes_are_discarded<W: World>(bench: &mut Bench<'_, W>, clients: usize) {
    for _ in 0..TRIES {
        let arrived: Vec<_> = (0..clients).map(|_| with_full_buffers(bench, LARGE)).collect();
        let limit = bench.there.driver.now() + LIMIT;
        let mut waiting = Vec::new();
        for (client, socket) in arrived {
            bench.there.driver.refuse(socket);
            waiting.push(client);
        }
        while bench.there.driver.now() < limit && !waiting.iter().all(has_arrived) {
            bench.there.step(Wait::Until(limit));
        }
        let in_time = bench.there.driver.now() < limit;
        bench.until("their time to be over", |bench| held(bench) == 0);
        if in_time {
            return waiting.into_iter().for_each(reads_an_end);
        }
    }
    panic!("{STOOD_STILL}: not all was discarded");
}

pub fn who_has_sent_megabytes_reads_an_end<W: World>(world: &W) -> Finished {
    let mut bench = Bench::new(world);
    megabytes_are_discarded(&mut bench, 1);
    bench.finish()
}

/// They share what a turn discards.
pub fn several_that_have_sent_megabytes_read_an_end<W: World>(world: &W) -> Finished {
    let mut bench = Bench::new(world);
    megabytes_are_discarded(&mut bench, 3);
    bench.finish()
}

/// Without a driver, too: all that has arrived.
pub fn much_is_discarded_without_a_driver<W: World>(world: &W) -> Finished
where
    Socket<W>: Into<proactor::Socket>,
{
    let mut bench = Bench::new(world);
    // Where it is not told what has arrived: what any buffer holds.
    let mut len = if cfg!(target_os = "linux") { LARGE / 2 } else { 300 * 1024 };
    let (client, socket) = loop {
        let (client, socket) = with_full_buffers(&mut bench, len);
        bench.settle();
        if has_arrived(&client) {
            break (client, socket);
        }
        // This system does not give a socket as much.
        len /= 2;
        bench.there.driver.refuse(socket);
    };
    bench.there.open.set(bench.there.open.get() - 1);
    proactor::turn_away(socket.into());
    reads_an_end(client);
    bench.finish()
}

/// All that has arrived is discarded, whether or not a socket may be kept: several calls of it, for several sockets.
pub fn all_that_has_arrived_is_discarded<W: World>(world: &W) -> Finished {
    for most in [0, 2, 128] {
        let mut bench = Bench::new(world);
        bench.there.driver.turn_away_at_most(most);
        let arrived: Vec<_> = (0..4).map(|_| arrived(&mut bench, "me")).collect();
        // As much as a network gives room for, without what has to wait for it.
        let len = if bench.there.driver.name() == Name::Simulated { 60 * 1024 } else { 24 * 1024 };
        for (here, _) in &arrived {
            bench.here.post(*here, pattern(len, 9));
        }
        bench.settle();
        let all_is_there: Vec<_> =
            arrived.iter().map(|(here, _)| *here).filter(|here| bench.here.is_flushed(*here)).collect();
        for (_, socket) in arrived {
            bench.there.driver.refuse(socket);
        }
        assert!(held(&bench) <= most);
        bench.until("the closes", |bench| held(bench) == 0);
        bench.settle();
        all_is_there.iter().for_each(|here| read_an_end(&bench, *here));
        let _: Finished = bench.finish();
    }
    Bench::new(world).finish()
}
