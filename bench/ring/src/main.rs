//! io_uring without a runtime, sessions, limits or timers: the bound that a server with all of these is measured
//! against. The kernel's manual is `io_uring(7)`, and `io_uring_setup(2)` and `io_uring_enter(2)` for the flags.
//!
//! - `buffer-ring` ([`shared`]): multishot receives into a ring of blocks that all connections share. A block is sent as
//!   it is and goes back to the ring when it has gone.
//! - `own-buffer` ([`owned`]): each connection has a buffer; receive and send take turns.
//! - `linked` ([`owned`]): as `own-buffer`, but each send is linked to the next receive.

mod blocks;
mod owned;
mod ring;
mod shared;

use std::io;
use std::os::fd::AsRawFd;

use io_uring::{IoUring, cqueue, opcode, types::Fd};
use peer::Options;
use rustix::net::sockopt::set_tcp_nodelay;

use blocks::Blocks;
use owned::{Next, Owned};
use ring::{Operation, Ring, SLOTS};
use shared::Shared;

const BUFFER_RING: &str = "buffer-ring";
const OWN_BUFFER: &str = "own-buffer";
const LINKED: &str = "linked";

const SUBMISSIONS: u32 = 4096;
const COMPLETIONS: u32 = 32_768;

/// How one mode answers completions. A slot is a connection's number in the ring's table of descriptors.
trait Echo {
    fn on_accept(&mut self, ring: &mut Ring, slot: u32) -> io::Result<()>;

    /// `result` is the number of bytes, or the negated error.
    fn on_receive(&mut self, ring: &mut Ring, slot: u32, result: i32, flags: u32) -> io::Result<()>;

    /// As [`Echo::on_receive`].
    fn on_send(&mut self, ring: &mut Ring, slot: u32, result: i32) -> io::Result<()>;

    /// After all completions that were there.
    fn after_batch(&mut self, ring: &mut Ring) -> io::Result<()>;
}

fn main() -> io::Result<()> {
    let options = Options::from_arguments(&[BUFFER_RING, OWN_BUFFER, LINKED]);
    let mut builder = IoUring::builder();
    builder.setup_single_issuer().setup_defer_taskrun().setup_submit_all();
    let mut uring = builder.setup_cqsize(COMPLETIONS).build(SUBMISSIONS)?;
    let (mut submitter, submissions, completions) = uring.split();
    submitter.register_ring_fd()?;
    submitter.register_files_sparse(SLOTS)?;
    let blocks = Blocks::register(&submitter)?;
    let ring = Ring { submitter, submissions };
    match options.mode {
        OWN_BUFFER => serve(ring, completions, options.port, Owned::new(Next::AfterSend)),
        LINKED => serve(ring, completions, options.port, Owned::new(Next::Linked)),
        _ => serve(ring, completions, options.port, Shared::new(blocks)),
    }
}

fn serve(
    mut ring: Ring,
    mut completions: cqueue::CompletionQueue,
    port: u16,
    mut echo: impl Echo,
) -> io::Result<()> {
    let listener = peer::listen(port)?;
    set_tcp_nodelay(&listener, true)?; // accepted sockets inherit it
    let accept = || opcode::AcceptMulti::new(Fd(listener.as_raw_fd())).allocate_file_index(true).build();
    // SAFETY: it refers to no memory.
    unsafe { ring.push(Operation::Accept, 0, accept())? };
    ring.enter(0)?;
    peer::announce(listener.local_addr()?.port());
    loop {
        ring.enter(1)?;
        completions.sync(); // shows those that are there
        for completion in &mut completions {
            let (result, flags) = (completion.result(), completion.flags());
            let (operation, slot) = Operation::of(completion.user_data());
            match operation {
                Operation::Receive => echo.on_receive(&mut ring, slot, result, flags)?,
                Operation::Send => echo.on_send(&mut ring, slot, result)?,
                Operation::Accept => {
                    match u32::try_from(result) {
                        Ok(slot) => echo.on_accept(&mut ring, slot)?,
                        Err(_) if result == -libc::ECONNABORTED => {}
                        Err(_) => return Err(io::Error::from_raw_os_error(-result)),
                    }
                    if !cqueue::more(flags) {
                        // SAFETY: as above.
                        unsafe { ring.push(Operation::Accept, 0, accept())? };
                    }
                }
                Operation::Quiet => {}
            }
        }
        completions.sync(); // hands them back
        echo.after_batch(&mut ring)?;
    }
}
