use std::io::{self, Cursor, ErrorKind, Seek, SeekFrom, Write};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use serde_json::Value;

use super::file::{END, SEPARATOR, Truncate, write};
use crate::log::Queue;

/// A file on a disk of `room` bytes. A pipe, where it cannot be cut.
#[derive(Clone)]
struct Disk {
    bytes: Arc<Mutex<Cursor<Vec<u8>>>>,
    room: u64,
    is_pipe: bool,
}

impl Disk {
    fn of(room: usize) -> Disk {
        Disk { bytes: Arc::default(), room: room as u64, is_pipe: false }
    }

    fn text(&self) -> String {
        String::from_utf8(self.bytes.lock().unwrap().get_ref().clone()).unwrap()
    }

    fn events(&self) -> Vec<Value> {
        let text = self.text();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }
}

impl Write for Disk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut file = self.bytes.lock().unwrap();
        match (self.room - file.position()) as usize {
            0 => Err(ErrorKind::StorageFull.into()),
            room => file.write(&bytes[..room.min(bytes.len())]),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Disk {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.bytes.lock().unwrap().seek(to)
    }
}

impl Truncate for Disk {
    fn truncate(&self, len: u64) -> io::Result<()> {
        if self.is_pipe {
            return Err(ErrorKind::InvalidInput.into());
        }
        self.bytes.lock().unwrap().get_mut().truncate(len as usize);
        Ok(())
    }
}

const HEADER: &[u8] = br#"[{"first":"event"}"#;

/// A queue that holds a header, the given number of events, and the end.
fn queue(limit: usize, events: usize) -> Queue {
    let queue = Queue::new(limit);
    queue.push(|text| text.extend_from_slice(HEADER));
    for number in 0..events {
        queue.push(|text| {
            text.extend_from_slice(SEPARATOR);
            text.extend_from_slice(format!(r#"{{"number":{number}}}"#).as_bytes());
        });
    }
    queue.end_with(END);
    queue
}

#[test]
fn whatever_room_a_disk_has_the_array_has_an_end() {
    let whole = Disk::of(usize::MAX >> 1);
    write(whole.clone(), &queue(1 << 20, 12), Instant::now()).unwrap();
    assert_eq!(whole.events().len(), 13);
    for room in 0..whole.text().len() {
        let (disk, queue) = (Disk::of(room), queue(1 << 20, 12));
        let error = write(disk.clone(), &queue, Instant::now()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StorageFull);
        // Half an event is none.
        if room < HEADER.len() + SEPARATOR.len() {
            assert_eq!(disk.text(), "", "{room}");
            continue;
        }
        let events = disk.events();
        for (number, event) in events[1..].iter().enumerate() {
            assert_eq!(event["number"], number, "{room}");
        }
        // The last event that fits makes room for the end.
        let fit = whole.text().as_bytes()[..room].windows(2).filter(|pair| pair == &SEPARATOR).count();
        assert_eq!(events.len(), fit, "{room}");
    }
}

/// Who waits for the trace before the process ends waits until the file is in order, and the loss reported.
#[test]
fn a_flush_waits_until_the_end_is_cut() {
    #[derive(Clone)]
    struct Watched(Disk, Arc<Queue>);
    impl Write for Watched {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    impl Seek for Watched {
        fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
            self.0.seek(to)
        }
    }
    impl Truncate for Watched {
        fn truncate(&self, len: u64) -> io::Result<()> {
            assert!(!self.1.flush(Instant::now(), Instant::now()), "nobody may leave yet");
            self.0.truncate(len)
        }
    }
    let queue = Arc::new(queue(1 << 20, 12));
    let disk = Watched(Disk::of(100), Arc::clone(&queue));
    write(disk.clone(), &queue, Instant::now()).unwrap_err();
    assert!(!queue.flush(Instant::now(), Instant::now()), "the loss is not reported yet");
    assert!(disk.0.events().len() > 1);
}

#[test]
fn a_pipe_that_breaks_is_left_as_it_is() {
    let disk = Disk { is_pipe: true, ..Disk::of(40) };
    assert!(write(disk.clone(), &queue(1000, 12), Instant::now()).is_err());
    assert_eq!(disk.text().len(), 40);
}

#[test]
fn dropped_events_leave_one_that_counts_them() {
    // Room for the header and two events.
    let limit = HEADER.len() + 2 * (SEPARATOR.len() + r#"{"number":0}"#.len());
    let disk = Disk::of(1 << 20);
    write(disk.clone(), &queue(limit, 9), Instant::now()).unwrap();
    let events = disk.events();
    assert_eq!(events.len(), 4, "{events:?}");
    assert_eq!(events[3]["name"], "7 events dropped: the file is written too slowly");
    assert_eq!((&events[3]["ph"], &events[3]["s"]), (&"i".into(), &"g".into()));
}

/// A piece may end in the middle of a separator.
#[test]
fn pieces_end_anywhere() {
    for shift in 0..4 {
        let queue = Queue::new(1 << 20);
        let header = [HEADER, " ".repeat(64 * 1024 - HEADER.len() - shift).as_bytes()].concat();
        queue.push(|text| text.extend_from_slice(&header));
        queue.push(|text| text.extend_from_slice(b",\n{\"number\":0}"));
        queue.end_with(END);
        let disk = Disk::of(64 * 1024 - shift + 8);
        assert!(write(disk.clone(), &queue, Instant::now()).is_err());
        assert_eq!(disk.events().len(), 1, "{shift}");
    }
}
