use std::collections::VecDeque;
use std::fmt::Display;
use std::io::{self, ErrorKind, Write};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;

use overlapped_testing::PATIENCE;

use super::queue::{Batch, Queue, lines};
use super::record::{Record, Style};
use super::stream::{Stream, piece_len};
use super::{LIMIT, Log, append};

/// What a write does.
enum Step {
    Take(usize),
    Fail(ErrorKind),
}

/// A stream of which the test is the reader: each write says that it has begun, then does as the test tells. When the
/// test lets go of it, everything is taken.
struct Slow {
    text: Text,
    begun: Sender<()>,
    steps: Receiver<Step>,
}

/// What was written.
#[derive(Clone, Default)]
struct Text(Arc<Mutex<Vec<u8>>>);

impl Text {
    fn get(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Text {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Write for Slow {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = self.begun.send(());
        match self.steps.recv() {
            Ok(Step::Take(most)) => self.text.write(&bytes[..most.min(bytes.len())]),
            Ok(Step::Fail(kind)) => Err(kind.into()),
            Err(_) => self.text.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A disk that may be full.
#[derive(Clone, Default)]
struct Disk {
    text: Text,
    full: Arc<AtomicBool>,
}

impl Write for Disk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.full.load(Relaxed) {
            Err(io::Error::other("the disk is full"))
        } else {
            self.text.write(bytes)
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The test's end of a [`Slow`].
struct Reader {
    text: Text,
    begun: Receiver<()>,
    steps: Sender<Step>,
}

impl Reader {
    fn new() -> (Slow, Reader) {
        let (text, (say, begun), (tell, steps)) = (Text::default(), channel(), channel());
        (Slow { text: text.clone(), begun: say, steps }, Reader { text, begun, steps: tell })
    }

    /// Waits until the writer is in a write.
    fn wait_for_write(&self) {
        self.begun.recv_timeout(PATIENCE).expect("a write begins");
    }

    fn step(&self, step: Step) {
        self.steps.send(step).unwrap();
    }

    /// Takes everything from now on.
    fn go_on(self) -> Text {
        self.text
    }
}

fn plain_log(limit: usize) -> Log {
    Log::with_limit(limit, (Style::plain(), Style::plain()))
}

fn say(log: &Log, text: impl Display) {
    log.say(&Record::info(format_args!("{text}")));
}

fn note(log: &Log, text: impl Display) {
    log.note(&Record::info(format_args!("{text}")));
}

fn later() -> Instant {
    Instant::now() + PATIENCE
}

fn written(queue: &Queue) {
    assert!(queue.flush(later(), later()), "all is written in the end");
}

fn push(queue: &Queue, line: &str) {
    queue.push(|text| append(text, line));
}

/// A stream with a limit of `limit` bytes and this sink.
fn stream(limit: usize, sink: impl Write + Send + 'static, copy: Option<&Arc<Stream>>) -> Arc<Stream> {
    let stream = Arc::new(Stream::new("stdout", limit, Style::plain()));
    stream.start(Box::new(sink), copy.map(Arc::clone), ()).unwrap();
    stream
}

#[test]
fn what_does_not_fit_is_dropped_and_reported_in_its_place() {
    let (sink, reader) = Reader::new();
    let other = Arc::new(Stream::new("stderr", 1000, Style::plain()));
    let stream = stream(12, sink, Some(&other));
    push(&stream.queue, "in hand");
    reader.wait_for_write();
    for line in ["one", "two", "three", "four", "5"] {
        push(&stream.queue, line);
    }
    assert_eq!(stream.unreported(), 6, "nothing is written yet");
    let text = reader.go_on();
    written(&stream.queue);
    let warning = "warning: 3 lines were dropped: the reader of stdout is too slow\n";
    // The fifth would have fitted. But then the gap would not lie in one place.
    assert_eq!(text.get(), format!("in hand\none\ntwo\n{warning}"));
    assert_eq!(stream.unreported(), 0);
    push(&stream.queue, "six");
    written(&stream.queue);
    assert_eq!(text.get(), format!("in hand\none\ntwo\n{warning}six\n"));
    let copy = Text::default();
    other.start(Box::new(copy.clone()), None, ()).unwrap();
    written(&other.queue);
    assert_eq!(copy.get(), warning);
}

#[test]
fn a_full_or_closed_queue_does_not_even_format() {
    let queue = Queue::new(4);
    push(&queue, "one");
    push(&queue, "two");
    queue.push(|_| panic!("it is full"));
    assert_eq!(queue.unwritten(), 3);
    let mut batch = Batch::default();
    assert!(queue.take(&mut batch));
    assert_eq!((&*batch.bytes, batch.dropped), (&b"one\n"[..], 2));
    push(&queue, "old");
    queue.close();
    queue.push(|_| panic!("nobody reads"));
    assert!(!queue.take(&mut batch));
    assert_eq!(queue.unwritten(), 0);
    assert!(queue.flush(Instant::now(), Instant::now()), "nothing to wait for");
}

/// A writer that is idle is woken for a batch, for somebody who waits, and at the end.
#[test]
fn batches_are_written_together() {
    let queue = Queue::in_batches(100, 8);
    let (tell, taken) = channel();
    thread::scope(|scope| {
        let queue = &queue;
        scope.spawn(move || {
            let mut batch = Batch::default();
            while queue.take(&mut batch) {
                queue.wrote(lines(&batch.bytes));
                tell.send(String::from_utf8(batch.bytes.clone()).unwrap()).unwrap();
            }
        });
        let next = || taken.recv_timeout(PATIENCE).expect("a batch");
        push(queue, "one");
        push(queue, "two");
        assert_eq!(next(), "one\ntwo\n");
        push(queue, "three");
        written(queue);
        assert_eq!(next(), "three\n");
        push(queue, "four");
        queue.end_with(b"");
        assert_eq!(next(), "four\n");
    });
}

#[test]
fn an_ended_queue_is_written_to_its_end() {
    let queue = Queue::new(100);
    push(&queue, "one");
    queue.end_with(b"end\n");
    queue.end_with(b"another end\n");
    push(&queue, "late");
    let mut batch = Batch::default();
    assert!(queue.take(&mut batch));
    assert_eq!(batch.bytes, b"one\nend\n");
    queue.wrote(2);
    assert!(!queue.take(&mut batch));
    assert_eq!(queue.unwritten(), 0);
}

#[test]
fn what_was_not_reported_as_written_is_lost() {
    let queue = Queue::new(100);
    push(&queue, "one");
    push(&queue, "two");
    let mut batch = Batch::default();
    assert!(queue.take(&mut batch));
    queue.wrote(1);
    assert_eq!(queue.unwritten(), 1);
    queue.end_with(b"");
    assert!(!queue.take(&mut batch));
    assert_eq!(queue.unwritten(), 1, "lost");
}

/// Slow and quick by turns, and never more than whole lines in order; each is written or counted.
#[test]
fn several_threads_lose_nothing_uncounted() {
    const THREADS: usize = 4;
    const LINES: usize = 5_000;
    let (sink, reader) = Reader::new();
    let stream = stream(1000, sink, None);
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let queue = &stream.queue;
            scope.spawn(move || (0..LINES).for_each(|line| push(queue, &format!("{thread} {line}"))));
        }
        // Of the first thousand bytes.
        for _ in 0..8 {
            reader.wait_for_write();
            reader.step(Step::Take(77));
        }
    });
    let text = reader.go_on();
    written(&stream.queue);
    let (mut next, mut counted) = ([0; THREADS], 0);
    for line in text.get().lines() {
        if let Some(rest) = line.strip_prefix("warning: ") {
            counted += rest.split(' ').next().unwrap().parse::<usize>().unwrap();
            continue;
        }
        let (thread, line) = line.split_once(' ').expect("a whole line");
        let (thread, line): (usize, usize) = (thread.parse().unwrap(), line.parse().unwrap());
        assert!(line >= next[thread], "in order");
        next[thread] = line + 1;
        counted += 1;
    }
    assert_eq!(counted, THREADS * LINES);
}

#[test]
fn a_reader_that_went_away_is_no_error() {
    for kind in [ErrorKind::BrokenPipe, ErrorKind::ConnectionReset] {
        let (sink, reader) = Reader::new();
        let stream = stream(100, sink, None);
        push(&stream.queue, "one");
        reader.wait_for_write();
        push(&stream.queue, "two");
        reader.step(Step::Fail(kind));
        written(&stream.queue);
        stream.queue.push(|_| panic!("nobody reads"));
        assert_eq!(stream.unreported(), 0);
        assert_eq!(reader.text.get(), "");
    }
}

/// A disk that was full for a while: what is missing is counted, and a line that was cut is ended.
#[test]
fn a_failed_write_loses_lines_and_says_why() {
    let (sink, reader) = Reader::new();
    let stream = stream(100, sink, None);
    push(&stream.queue, "one");
    reader.wait_for_write();
    push(&stream.queue, "two");
    push(&stream.queue, "three");
    reader.step(Step::Take(2));
    reader.wait_for_write();
    reader.step(Step::Fail(ErrorKind::StorageFull));
    // So does the report of it, and the report before the next lines, which are then missing, too.
    for _ in 0..2 {
        reader.wait_for_write();
        reader.step(Step::Fail(ErrorKind::StorageFull));
    }
    reader.wait_for_write();
    assert_eq!(stream.unreported(), 3);
    let text = reader.go_on();
    written(&stream.queue);
    push(&stream.queue, "four");
    written(&stream.queue);
    let failure = io::Error::from(ErrorKind::StorageFull);
    let next = "make room on the disk (`df` shows it), or write elsewhere";
    let warning = format!("warning: 3 lines were dropped: stdout cannot be written: {failure}; {next}\n");
    assert_eq!(text.get(), format!("on\n{warning}four\n"));
    assert_eq!(stream.unreported(), 0);
}

#[test]
fn a_non_blocking_stream_loses_nothing() {
    let (sink, reader) = Reader::new();
    let stream = stream(100, sink, None);
    push(&stream.queue, "one");
    for step in [ErrorKind::WouldBlock, ErrorKind::Interrupted, ErrorKind::WouldBlock] {
        reader.wait_for_write();
        reader.step(Step::Fail(step));
        reader.wait_for_write();
        reader.step(Step::Take(1));
    }
    let text = reader.go_on();
    written(&stream.queue);
    assert_eq!(text.get(), "one\n");
}

#[test]
fn a_stuck_stream_holds_up_neither_the_other_nor_the_end() {
    let log = plain_log(8);
    let (out, reader) = Reader::new();
    let err = Text::default();
    log.open_on("first\n", Box::new(out), Box::new(err.clone())).unwrap();
    reader.wait_for_write();
    note(&log, "noted");
    written(&log.err.queue);
    assert_eq!(err.get(), "noted\n");
    for line in ["one", "two", "three"] {
        say(&log, line);
    }
    assert!(log.finish("last\n", Instant::now()), "a slow reader is no error");
    let warning = "warning: 5 lines were dropped: the reader of stdout is too slow\n";
    assert_eq!(err.get(), format!("noted\n{warning}"));
    // Had it been there in time, its last line would be the last.
    let text = reader.go_on();
    written(&log.out.queue);
    let gap = "warning: 1 line was dropped: the reader of stdout is too slow\n";
    assert_eq!(text.get(), format!("first\none\ntwo\nlast\n{gap}"));
}

#[test]
fn both_stuck_hold_up_the_end_for_a_bounded_time() {
    let log = plain_log(100);
    let ((out, out_reader), (err, err_reader)) = (Reader::new(), Reader::new());
    note(&log, "noted");
    log.open_on("first\n", Box::new(out), Box::new(err)).unwrap();
    out_reader.wait_for_write();
    let began = Instant::now();
    assert!(log.finish("last\n", began));
    log.last_note(&Record::info(format_args!("ended at once")), Instant::now());
    // Streams that have just moved are given their second; a bound of patience would find a hang.
    assert!(began.elapsed() < PATIENCE);
    assert_eq!((out_reader.text.get(), err_reader.text.get()), (String::new(), String::new()));
}

/// stdout and stderr in one file.
#[test]
fn the_first_lines_are_the_first_and_the_last_is_the_last() {
    let log = plain_log(LIMIT);
    let both = Text::default();
    say(&log, "early");
    note(&log, "early, too");
    log.open_on("first\nsecond\n", Box::new(both.clone()), Box::new(both.clone())).unwrap();
    (0..100).for_each(|number| note(&log, number));
    assert!(log.finish("last\n", later()));
    let text = both.get();
    assert!(text.starts_with("first\nsecond\nearly\nearly, too\n0\n"), "{text}");
    assert!(text.ends_with("99\nlast\n"), "{text}");
}

/// A disk that is full for a while, and full at the end.
#[test]
fn an_end_that_cannot_be_written_is_an_error() {
    for full_at_the_end in [false, true] {
        let log = plain_log(LIMIT);
        let (disk, err) = (Disk::default(), Text::default());
        log.open_on("first\n", Box::new(disk.clone()), Box::new(err.clone())).unwrap();
        written(&log.out.queue);
        disk.full.store(true, Relaxed);
        say(&log, "one");
        written(&log.out.queue);
        disk.full.store(full_at_the_end, Relaxed);
        assert_eq!(log.finish("last\n", later()), !full_at_the_end);
        let warning = |lines| {
            format!("warning: {lines} dropped: stdout cannot be written: the disk is full; write elsewhere\n")
        };
        if full_at_the_end {
            assert_eq!((disk.text.get(), err.get()), ("first\n".into(), warning("2 lines were")));
        } else {
            assert_eq!(disk.text.get(), format!("first\n{}last\n", warning("1 line was")));
            assert_eq!(err.get(), warning("1 line was"));
        }
    }
}

/// What was lost to a full disk before is not the reason for what a slow reader loses now.
#[test]
fn a_failure_that_is_over_is_no_reason() {
    let log = plain_log(LIMIT);
    let disk = Disk::default();
    log.open_on("", Box::new(disk.clone()), Box::new(Text::default())).unwrap();
    disk.full.store(true, Relaxed);
    say(&log, "one");
    written(&log.out.queue);
    assert!(log.out.fails());
    disk.full.store(false, Relaxed);
    say(&log, "two");
    written(&log.out.queue);
    assert!(!log.out.fails());
    assert_eq!(log.out.gap(1), "1 line was dropped: the reader of stdout is too slow");
}

/// It goes where everything goes, so it cannot block a worker either.
#[test]
fn a_panic_is_one_line_more() {
    let log = plain_log(LIMIT);
    let (before, here) = (std::panic::take_hook(), log.clone());
    std::panic::set_hook(Box::new(move |panic| here.panicked(panic)));
    let worker = thread::Builder::new().name("worker 7".into()).spawn(|| panic!("the reason")).unwrap();
    assert!(worker.join().is_err());
    std::panic::set_hook(before);
    let mut batch = Batch::default();
    assert!(log.err.queue.take(&mut batch));
    let text = String::from_utf8(batch.bytes).unwrap();
    assert!(text.contains("thread 'worker 7' panicked at "), "{text}");
    assert!(text.contains("the reason\n"), "{text}");
}

#[test]
fn pieces_are_whole_lines() {
    let text = b"12\n345\n\n123456789\n1\n";
    for most in 1..text.len() + 2 {
        let (mut rest, mut pieces) = (&text[..], VecDeque::new());
        while !rest.is_empty() {
            let (piece, later) = rest.split_at(piece_len(rest, most));
            assert!(piece.ends_with(b"\n"), "{most}");
            assert!(piece.len() <= most || lines(piece) == 1, "{most}");
            pieces.push_back(piece);
            rest = later;
        }
        assert_eq!(pieces.make_contiguous().concat(), text);
    }
    assert_eq!(piece_len(b"no end", 3), 6);
}
