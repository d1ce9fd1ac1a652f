//! What an exhibit without a completion kernel gets in its place: every operation is refused, so that "no completion
//! kernel takes part" is true of each exhibit that says it.

use std::io;
use std::time::Duration;

use super::{Block, Completion, Kernel, KernelName, RawSocket, SendMode, Started};

pub(super) struct Absent;

fn refusal() -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, "no completion kernel takes part in this exhibit")
}

impl Kernel for Absent {
    fn name(&self) -> KernelName {
        unreachable!("{}", refusal())
    }

    fn adopt(&mut self, _: RawSocket) -> io::Result<()> {
        Err(refusal())
    }

    unsafe fn receive(&mut self, _: RawSocket, _: *mut u8, _: usize, _: *mut Block) -> Started {
        Started::Failed(refusal())
    }

    unsafe fn send(&mut self, _: RawSocket, _: *const u8, _: usize, _: *mut Block, _: SendMode) -> Started {
        Started::Failed(refusal())
    }

    fn cancel(&mut self, _: RawSocket, _: *mut Block) {}

    fn next(&mut self, _: Duration) -> io::Result<Option<Completion>> {
        Err(refusal())
    }

    fn skip_on_success(&mut self, _: RawSocket) -> io::Result<()> {
        Err(refusal())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_refused() {
        let mut kernel = Absent;
        assert!(kernel.adopt(0).is_err() && kernel.next(Duration::ZERO).is_err());
        assert!(kernel.skip_on_success(0).is_err());
        let (buffer, block) = (std::ptr::null_mut(), std::ptr::null_mut());
        // SAFETY: the addresses are not used.
        let started = unsafe {
            [kernel.receive(0, buffer, 0, block), kernel.send(0, buffer, 0, block, SendMode::Whole)]
        };
        assert!(started.into_iter().all(|started| started.checked().is_err()));
    }
}
