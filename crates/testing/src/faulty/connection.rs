//! One connection: its thread reads, makes the mistakes that are due, and writes.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use socket2::SockRef;

use super::record::{Comparison, Done};
use super::rules::{Received, due};
use super::{Fault, Place, Shared, Which};
use crate::PATIENCE;

/// The most that one read takes.
const READ: usize = 64 << 10;

/// How long the end of a client's stream is waited for, where `Place::HalfClose` says `Fault::Drop`.
const BEFORE_THE_END: Duration = Duration::from_millis(50);

/// How long one read waits. Windows does not end one that waits when the socket is shut down.
pub(super) const LOOK_UP: Option<Duration> =
    if cfg!(windows) { Some(Duration::from_millis(20)) } else { None };

/// The connection is over.
struct Over;

pub(super) struct Connection {
    pub(super) number: u64,
    pub(super) stream: Arc<TcpStream>,
    pub(super) shared: Arc<Shared>,
    /// Bytes received.
    offset: u64,
    /// Bytes still to be left out.
    to_drop: u64,
    muted: bool,
    comparison: Comparison,
}

impl Connection {
    pub(super) fn new(number: u64, stream: Arc<TcpStream>, shared: Arc<Shared>) -> Connection {
        let comparison = Comparison::new(number);
        Connection { number, stream, shared, offset: 0, to_drop: 0, muted: false, comparison }
    }

    /// Serves it to its end.
    pub(super) fn run(mut self) {
        // Its end is all that there is to know.
        let _ = self.serve();
    }

    fn serve(&mut self) -> Result<(), Over> {
        for fault in self.faults(at_accept) {
            self.done(self.offset, fault);
            self.without_bytes(fault)?;
        }
        let mut buffer = vec![0; READ];
        loop {
            match self.read(&mut buffer)? {
                0 => return self.half_closed(),
                read => self.echo(&buffer[..read])?,
            }
        }
    }

    fn read(&self, buffer: &mut [u8]) -> Result<usize, Over> {
        loop {
            match (&*self.stream).read(buffer) {
                Ok(read) => return Ok(read),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::TimedOut && LOOK_UP.is_some() => {
                    if self.shared.state().down {
                        return Err(Over);
                    }
                }
                Err(_) => return Err(Over),
            }
        }
    }

    fn echo(&mut self, bytes: &[u8]) -> Result<(), Over> {
        let before = self.shared.received.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        let (connection, offset, len) = (self.number, self.offset, bytes.len());
        let due = due(&self.shared.rules, Received { connection, offset, before, len });
        self.offset += len as u64;
        if self.drops_the_end() && self.ends_now() {
            self.done(offset, Fault::Drop(len as u64));
            return self.write(bytes, &[]);
        }
        if due.is_empty() && self.to_drop == 0 && !self.muted {
            return self.write(bytes, bytes);
        }
        let mut out = Vec::with_capacity(len + due.len());
        let (mut received, mut at) = (bytes, 0);
        for (index, fault) in due {
            self.take(&bytes[at.min(index)..index], &mut out);
            at = at.max(index);
            self.done(offset + index as u64, fault);
            match fault {
                Fault::Flip => out.push(bytes[index] ^ 1),
                Fault::Double => out.extend([bytes[index]; 2]),
                Fault::Insert(byte) => out.extend([bytes[index], byte]),
                Fault::Drop(count) => self.to_drop += count,
                Fault::Swap => out.extend(self.shared.swap(bytes[index..].to_vec())),
                Fault::Mute | Fault::Pause(_) | Fault::PauseAll(_) | Fault::Reset | Fault::End => {
                    self.write(std::mem::take(&mut received), &std::mem::take(&mut out))?;
                    self.without_bytes(fault)?;
                }
            }
            at = match fault {
                Fault::Flip | Fault::Double | Fault::Insert(_) => index + 1,
                Fault::Swap => len,
                _ => at,
            };
        }
        self.take(&bytes[at..], &mut out);
        self.write(received, &out)
    }

    /// Echoes bytes, as far as they are not left out.
    fn take(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        let dropped = self.to_drop.min(bytes.len() as u64);
        self.to_drop -= dropped;
        if !self.muted {
            out.extend(&bytes[dropped as usize..]);
        }
    }

    /// What needs no byte. Everything before it is written.
    fn without_bytes(&mut self, fault: Fault) -> Result<(), Over> {
        match fault {
            Fault::Mute => self.muted = true,
            Fault::Pause(length) => {
                self.shared.wait(length);
                self.shared.state().record.resumed += 1;
            }
            Fault::PauseAll(length) => self.shared.pause(length),
            Fault::Reset => return Err(self.reset()),
            Fault::End => return Err(self.end()),
            Fault::Flip | Fault::Drop(_) | Fault::Double | Fault::Insert(_) | Fault::Swap => {}
        }
        Ok(())
    }

    /// Writes an echo. `received` are bytes from the client that were not compared yet.
    fn write(&mut self, received: &[u8], echo: &[u8]) -> Result<(), Over> {
        self.shared.wait_for_pause();
        let difference = self.comparison.add(received, echo);
        // Before the client can know.
        if let Some(difference) = difference {
            self.shared.state().record.differences.push(difference);
        }
        let written = (&*self.stream).write_all(echo);
        if written.is_err() {
            // Then it never will.
            self.shared.state().record.differences.retain(|known| Some(*known) != difference);
            return Err(Over);
        }
        self.shared.echoed.fetch_add(echo.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    fn reset(&self) -> Over {
        self.shared.state().record.broken += 1;
        SockRef::from(&*self.stream).set_linger(Some(Duration::ZERO)).expect("an open socket");
        Over
    }

    fn end(&mut self) -> Over {
        {
            let mut state = self.shared.state();
            state.record.broken += 1;
            state.record.differences.extend(self.comparison.end());
        }
        let _ = self.stream.shutdown(Shutdown::Write);
        // Closing a socket with unread bytes would reset it.
        let _ = self.stream.set_read_timeout(LOOK_UP.or(Some(PATIENCE)));
        let mut discarded = [0; 4096];
        while self.read(&mut discarded).is_ok_and(|read| read > 0) {}
        Over
    }

    /// The client has ended its stream, and everything is echoed.
    fn half_closed(&mut self) -> Result<(), Over> {
        for fault in self.faults(at_half_close) {
            match fault {
                Fault::Mute => {
                    self.done(self.offset, fault);
                    self.shared.wait(PATIENCE);
                }
                // Done before.
                Fault::Drop(_) => {}
                _ => {
                    self.done(self.offset, fault);
                    self.without_bytes(fault)?;
                }
            }
        }
        self.shared.state().record.unfinished.extend(self.comparison.end());
        Ok(())
    }

    fn drops_the_end(&self) -> bool {
        self.faults(at_half_close).iter().any(|fault| matches!(fault, Fault::Drop(_)))
    }

    /// Whether the client's stream ends here, or soon.
    fn ends_now(&self) -> bool {
        let limited = self.stream.set_read_timeout(Some(BEFORE_THE_END));
        let ends = limited.is_ok() && matches!(self.stream.peek(&mut [0]), Ok(0));
        let _ = self.stream.set_read_timeout(LOOK_UP);
        ends
    }

    /// The faults at such a place.
    fn faults(&self, at: impl Fn(Place) -> Option<Which>) -> Vec<Fault> {
        let here = |place: Place| at(place).is_some_and(|which| which.includes(self.number));
        self.shared.rules.iter().filter(|(place, _)| here(*place)).map(|(_, fault)| *fault).collect()
    }

    fn done(&self, offset: u64, fault: Fault) {
        self.shared.state().record.done.push(Done { connection: self.number, offset, fault });
    }
}

fn at_accept(place: Place) -> Option<Which> {
    if let Place::Accept(which) = place { Some(which) } else { None }
}

fn at_half_close(place: Place) -> Option<Which> {
    if let Place::HalfClose(which) = place { Some(which) } else { None }
}
