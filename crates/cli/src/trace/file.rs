//! The thread that writes a trace file. The file is an array in JSON from its first event to its end, whatever becomes
//! of the disk.

use std::fs::File;
use std::io::{self, ErrorKind, Seek, SeekFrom, Write};
use std::time::Instant;

use crate::log::{Batch, Queue, lines};

/// Most bytes of one write: after each the queue hears that the writer moves.
const PIECE: usize = 64 * 1024;

/// Stands before every event but the first, and nowhere else: within an event there is no line end.
pub(super) const SEPARATOR: &[u8] = b",\n";
pub(super) const END: &[u8] = b"\n]\n";

/// Writes what is queued until the queue has ended. Lines that were dropped leave an event that says how many.
///
/// # Errors
/// What a write failed with. The array is then complete up to the event before, or the file empty if there is none, if
/// it can be cut. The caller is to close the queue: until then a flush waits, and the process does not end before the
/// file is in order.
pub(super) fn write(mut file: impl Write + Seek + Truncate, queue: &Queue, began: Instant) -> io::Result<()> {
    let mut batch = Batch::default();
    let mut place = Place::default();
    while queue.take(&mut batch) {
        if batch.dropped > 0 {
            gap(&mut batch, began);
        }
        for piece in batch.bytes.chunks(PIECE) {
            if let Err(error) = place.write(&mut file, piece) {
                // Not for a pipe, which has no place to go back to.
                let _ = place.end_before_last_event(&mut file);
                return Err(error);
            }
            queue.wrote(lines(piece));
        }
    }
    Ok(())
}

/// Puts an event in the place of those that were dropped: after the batch, but within the array.
fn gap(batch: &mut Batch, began: Instant) {
    let at = began.elapsed().as_nanos() as f64 / 1000.0;
    let count = batch.dropped;
    let ended = batch.bytes.ends_with(END);
    if ended {
        batch.bytes.truncate(batch.bytes.len() - END.len());
    }
    batch.bytes.extend_from_slice(SEPARATOR);
    let event = format!(
        r#"{{"ph":"i","pid":1,"ts":{at:.3},"s":"g","name":"{count} events dropped: the file is written too slowly"}}"#
    );
    batch.bytes.extend_from_slice(event.as_bytes());
    if ended {
        batch.bytes.extend_from_slice(END);
    }
}

/// How far a file is written.
#[derive(Default)]
struct Place {
    /// Bytes in the file.
    len: u64,
    /// Where the last separator begins, if there is one.
    last_event: Option<u64>,
    /// The last byte may be the first half of a separator.
    half: bool,
}

impl Place {
    fn write(&mut self, file: &mut impl Write, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match file.write(bytes) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => {
                    self.moved(&bytes[..count]);
                    bytes = &bytes[count..];
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn moved(&mut self, written: &[u8]) {
        if self.half && written[0] == SEPARATOR[1] {
            self.last_event = Some(self.len - 1);
        }
        if let Some(at) = written.windows(SEPARATOR.len()).rposition(|pair| pair == SEPARATOR) {
            self.last_event = Some(self.len + at as u64);
        }
        self.half = written.last() == Some(&SEPARATOR[0]);
        self.len += written.len() as u64;
    }

    /// Ends the array where its last event begins, which may be written in part only. What it gives back is room
    /// enough, on a full disk too. A disk without room for a first event gets an empty file.
    fn end_before_last_event(&self, file: &mut (impl Write + Seek + Truncate)) -> io::Result<()> {
        let Some(at) = self.last_event else { return file.truncate(0) };
        file.truncate(at)?;
        file.seek(SeekFrom::Start(at))?;
        file.write_all(END)
    }
}

/// A file that can be cut.
pub(super) trait Truncate {
    fn truncate(&self, len: u64) -> io::Result<()>;
}

impl Truncate for File {
    fn truncate(&self, len: u64) -> io::Result<()> {
        self.set_len(len)
    }
}
