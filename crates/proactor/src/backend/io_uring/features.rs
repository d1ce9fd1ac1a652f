//! Tries the features of a kernel's rings by using each. Nothing is concluded from the kernel's version.
//!
//! Flags are tried by making a ring with them; multishot operations by getting two completions of one submission, on
//! sockets of our own. Called by [`probe`](crate::backend::probe), never on the hot path.

use std::io::{self, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::thread;
use std::time::{Duration, Instant};

use ::io_uring::types::Fd;
use ::io_uring::{Builder, IoUring as Ring, cqueue, opcode, squeue};

use super::{buffers, buffers::Buffers, wake};
use crate::backend::feature::{Feature, Finding};
use crate::buffer::{Pool, PoolConfig};

const ENTRIES: u32 = 8;
const POOL: PoolConfig = PoolConfig { blocks: 4, block_len: 64 };
/// How long a completion may take. On loopback the awaited event has already happened.
const COMPLETION_LIMIT: Duration = Duration::from_secs(1);
/// How long the kernel may take to free the memory of a ring that was closed.
const MEMORY_LIMIT: Duration = Duration::from_millis(250);

/// Every optional feature that this backend uses. Empty where no ring can be made at all.
pub(super) fn try_all() -> Vec<Feature> {
    if ring().is_err() {
        return Vec::new();
    }
    let feature =
        |name, tried: Result<(), Finding>| Feature { name, finding: tried.err().unwrap_or(Finding::Present) };
    vec![
        feature("multishot accept", multishot_accept()),
        feature("multishot receive", multishot_receive()),
        feature("buffer ring", buffer_ring().map(drop)),
        feature("single issuer", flags(Builder::setup_single_issuer)),
        // The kernel takes deferred task run with a single issuer only.
        feature("deferred task run", flags(|ring| ring.setup_single_issuer().setup_defer_taskrun())),
        feature("NO_SQARRAY", flags(Builder::setup_no_sqarray)),
    ]
}

/// What a failure means: the kernel answers an unknown flag, opcode or registration with `EINVAL`.
fn finding(what: &str, error: &io::Error) -> Finding {
    match error.raw_os_error() {
        Some(libc::EINVAL) => Finding::Absent,
        _ => Finding::Untried(format!("{what} failed: {error}")),
    }
}

fn flags(set: impl FnOnce(&mut Builder) -> &mut Builder) -> Result<(), Finding> {
    make(set(&mut Ring::builder())).map(drop).map_err(|error| finding("making the ring", &error))
}

fn ring() -> Result<Ring, Finding> {
    make(&Ring::builder()).map_err(|error| Finding::Untried(format!("making the ring failed: {error}")))
}

fn make(builder: &Builder) -> io::Result<Ring> {
    once_memory_is_back(|| builder.build(ENTRIES))
}

/// The kernel frees a ring some time after it was closed, and counts its memory until then: under a small limit
/// the next attempt has to wait for that.
fn once_memory_is_back<T>(mut attempt: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let deadline = Instant::now() + MEMORY_LIMIT;
    loop {
        match attempt() {
            Err(error) if error.raw_os_error() == Some(libc::ENOMEM) && Instant::now() < deadline => {
                thread::sleep(Duration::from_millis(5));
            }
            made => return made,
        }
    }
}

/// A ring with blocks lent to it.
struct Lending {
    // The ring is dropped first. The kernel tears it down some time after the close; by then everything that the
    // probe sent to itself was received, so nothing is left to be written into a block.
    ring: Ring,
    buffers: Buffers,
}

fn buffer_ring() -> Result<Lending, Finding> {
    let ring = ring()?;
    let buffers =
        once_memory_is_back(|| Buffers::register(&ring, Pool::new(POOL)).map_err(|(_, error)| error));
    let buffers = buffers.map_err(|error| finding("registering the buffer ring", &error))?;
    Ok(Lending { ring, buffers })
}

/// One submission, two connections.
fn multishot_accept() -> Result<(), Finding> {
    let mut ring = ring()?;
    let (listener, _first) = connected()?;
    let accept = opcode::AcceptMulti::new(Fd(listener.as_raw_fd())).flags(libc::SOCK_CLOEXEC);
    push(&mut ring, &accept.build());
    let (fd, flags) = next(&mut ring)?;
    drop(wake::socket_of(fd));
    if !cqueue::more(flags) {
        return Err(Finding::Absent);
    }
    let _second = listener.local_addr().and_then(TcpStream::connect).map_err(no_loopback)?;
    let (fd, _) = next(&mut ring)?;
    drop(wake::socket_of(fd));
    Ok(())
}

/// One submission, two arrivals, each in a block of the buffer ring.
fn multishot_receive() -> Result<(), Finding> {
    let Lending { ring, buffers } = &mut buffer_ring().map_err(|finding| match finding {
        Finding::Absent => Finding::Untried("there is no buffer ring to receive into".to_owned()),
        other => other,
    })?;
    let (listener, mut peer) = connected()?;
    let (accepted, _) = listener.accept().map_err(no_loopback)?;
    push(ring, &opcode::RecvMulti::new(Fd(accepted.as_raw_fd()), buffers::GROUP).build());
    for _ in 0..2 {
        peer.write_all(b"x").map_err(no_loopback)?;
        let (_, flags) = next(ring)?;
        let block = cqueue::buffer_select(flags).map(|id| buffers.reclaim(id));
        if block.is_none() || !cqueue::more(flags) {
            return Err(Finding::Absent);
        }
    }
    // Its last completion is waited for: nothing is in flight when the blocks go (INV-1).
    drop(peer);
    next(ring).map(drop)
}

/// A listener with one connection in its backlog, and the other end of that.
fn connected() -> Result<(TcpListener, TcpStream), Finding> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(no_loopback)?;
    let stream = listener.local_addr().and_then(TcpStream::connect).map_err(no_loopback)?;
    Ok((listener, stream))
}

/// A failure of loopback says nothing about rings.
#[expect(clippy::needless_pass_by_value, reason = "an argument of map_err")]
fn no_loopback(error: io::Error) -> Finding {
    Finding::Untried(format!("loopback does not work: {error}"))
}

fn push(ring: &mut Ring, entry: &squeue::Entry) {
    // SAFETY: the entries of this file hold no address. The kernel writes only to lent blocks, and those are freed
    // after the ring (field order of `Lending`). The one entry in a ring of eight finds room.
    unsafe { ring.submission().push(entry) }.expect("an empty ring has room");
}

/// Result and flags of the next completion. It does not wait in the kernel: with a bound, that takes a feature too.
fn next(ring: &mut Ring) -> Result<(i32, u32), Finding> {
    let deadline = Instant::now() + COMPLETION_LIMIT;
    loop {
        ring.submit().map_err(|error| Finding::Untried(format!("submitting failed: {error}")))?;
        if let Some(entry) = ring.completion().next() {
            return match entry.result() {
                error if error < 0 => Err(finding("the operation", &io::Error::from_raw_os_error(-error))),
                result => Ok((result, entry.flags())),
            };
        }
        if Instant::now() >= deadline {
            return Err(Finding::Untried("no completion came".to_owned()));
        }
        thread::sleep(Duration::from_micros(100));
    }
}
