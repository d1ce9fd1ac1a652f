//! Those who read what a server prints: one that reads all, one that has stopped, one that goes on after a while.

use std::io::{BufRead, BufReader, ErrorKind, PipeReader, PipeWriter, Read, Write, pipe};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::thread;

use rustix::io::ioctl_fionbio;

use crate::drain::{ONE_REQUEST, hold_up};
use crate::peer::{PATIENCE, dial, eventually, eventually_refused, exchange, noise};
use crate::process::{Keep, Process, stamp_len};
#[cfg(target_os = "linux")]
use crate::server::serves_ten_and_ends;
use crate::server::{Server, Summary, serve};

/// More messages than queues take lines of `--log-ops`, of which each message makes several.
const FLOOD: usize = 40_000;

/// Fills a pipe with empty lines, so that the next write to it is stuck.
pub(crate) fn fill(mut pipe: &PipeWriter) {
    ioctl_fionbio(pipe, true).unwrap();
    let error = loop {
        if let Err(error) = pipe.write_all(b"\n") {
            break error;
        }
    };
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    ioctl_fionbio(pipe, false).unwrap();
}

/// A byte at a time: what comes after the line stays in the pipe.
fn first_line(pipe: &PipeReader) -> String {
    let mut pipe = pipe.try_clone().unwrap();
    let (tell, line) = channel();
    // From a thread, so that waiting for it is bounded.
    thread::spawn(move || {
        let mut line = Vec::new();
        while line.last() != Some(&b'\n') {
            let mut byte = [0];
            pipe.read_exact(&mut byte).expect("a line");
            line.extend(byte);
        }
        let _ = tell.send(String::from_utf8(line).unwrap().trim_end().to_owned());
    });
    line.recv_timeout(PATIENCE).expect("a line")
}

/// Starts a server whose stdout is a pipe that nobody reads any more.
fn start_stuck(command: Command, err: impl Into<Stdio>) -> (Server, PipeReader) {
    let (reader, writer) = pipe().unwrap();
    let process = Process::start_into(command, Keep::All, writer.try_clone().unwrap(), err);
    let server = Server::of(process, &first_line(&reader));
    fill(&writer);
    (server, reader)
}

/// What is in a pipe, without the lines that filled it.
pub(crate) fn rest(mut reader: PipeReader) -> String {
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    text.trim_start().to_owned()
}

/// Sessions one after another, each served.
fn sessions(server: &Server, count: usize) {
    for number in 0..count {
        exchange(&mut dial(server.address()), noise(number, 10));
    }
}

/// Two lines for each of 2,000 sessions: a reader that reads gets them all.
pub(crate) fn verbose_loses_nothing(backend: &str) {
    let server = Server::start(backend, &["-v", "--workers", "2"]);
    for _ in 0..4 {
        let mut clients: Vec<TcpStream> = (0..500).map(|_| dial(server.address())).collect();
        clients.iter_mut().for_each(|client| exchange(client, b"x"));
    }
    let ended = server.end();
    assert_eq!((ended.status, ended.stderr.as_str()), (Some(0), ""), "{ended:?}");
    assert_eq!(Summary::of(&ended).sessions, 2000);
    let text = ended.text();
    let count = |what| text.lines().filter(|line| line.contains(what)).count();
    assert_eq!((count(" opened by "), count(" closed: "), text.lines().count()), (2000, 2000, 4001));
}

/// `serve -v | less`, and nobody presses the space bar: every session is served, stderr answers, and a signal drains.
/// What nobody got is counted.
pub(crate) fn stuck_stdout(backend: &str) {
    let (server, reader) = start_stuck(serve(backend, &["-v"]), Stdio::piped());
    sessions(&server, 300);
    eventually("stderr answers", || server.now().closed == 300);
    let ended = server.end();
    assert_eq!(ended.status, Some(0), "{ended:?}");
    // Two for each session, and the summary.
    assert_eq!(ended.stderr, "warning: 601 lines were dropped: the reader of stdout is too slow\n");
    assert_eq!(rest(reader), "");
}

/// Nobody reads the operations for a while. Then somebody does, and gets whole lines in order, how many are missing
/// where they are missing, and what comes after.
pub(crate) fn stuck_stderr_that_goes_on(backend: &str) {
    let (reader, writer) = pipe().unwrap();
    let command = serve(backend, &["--log-ops", "--workers", "1"]);
    let process = Process::start_into(command, Keep::All, Stdio::piped(), writer.try_clone().unwrap());
    let line = process.stdout.line().expect("a first line");
    let server = Server::of(process, &line);
    fill(&writer);
    drop(writer);
    let mut client = dial(server.address());
    (0..FLOOD).for_each(|_| exchange(&mut client, b"x"));
    let (mut lines, mut last, mut dropped) = (BufReader::new(reader).lines(), 0.0, 0);
    let mut next = || {
        let mut line = lines.next().expect("no end of the stream before the server's").unwrap();
        line.drain(..stamp_len(line.as_bytes()));
        if let Some(rest) = line.strip_prefix("warning: ") {
            let (count, rest) = rest.split_once(' ').unwrap();
            assert_eq!(rest, "lines were dropped: the reader of stderr is too slow");
            dropped += count.parse::<u64>().unwrap();
        } else if !line.is_empty() {
            let (time, what) = line.trim_start().split_once(' ').expect("a whole line");
            let time: f64 = time.parse().expect("a whole line");
            assert!(time >= last && what.contains(": "), "{line:?} after {last}");
            last = time;
        }
        (line, dropped)
    };
    while next().1 == 0 {}
    exchange(&mut client, &[b'x'; 77]);
    while !next().0.ends_with(" 77 bytes") {}
    drop(client);
    server.terminate();
    let rest = thread::spawn(move || lines.map_while(Result::ok).count());
    let ended = server.wait();
    assert_eq!((ended.status, Summary::of(&ended).sessions), (Some(0), 1), "{ended:?}");
    assert!(rest.join().unwrap() > 0);
}

/// With both streams stuck, and somebody who holds up the drain, a second signal ends at once all the same.
pub(crate) fn both_stuck_second_signal(backend: &str) {
    let (err_reader, err) = pipe().unwrap();
    fill(&err);
    let command = serve(backend, &["-v", "--log-ops", "--drain-timeout", "10m"]);
    let (server, out_reader) = start_stuck(command, err.try_clone().unwrap());
    let address = server.address();
    sessions(&server, 100);
    let held = hold_up(address);
    // More than the pipes and the writers' hands.
    let mut client = dial(address);
    (0..FLOOD).for_each(|_| exchange(&mut client, b"x"));
    server.terminate();
    eventually_refused(address);
    // Not a wait: the time between the two is what makes them two.
    thread::sleep(ONE_REQUEST);
    server.terminate();
    let ended = server.wait();
    assert_eq!(ended.status, Some(1), "{ended:?}");
    drop((held, err, err_reader, out_reader));
}

/// Its first line does not get out, and it serves and drains.
#[cfg(target_os = "linux")]
pub(crate) fn stuck_from_the_start(backend: &str) {
    let (reader, writer) = pipe().unwrap();
    fill(&writer);
    let process = Process::start_into(serve(backend, &["-v"]), Keep::All, writer, Stdio::piped());
    let ended = serves_ten_and_ends(process);
    assert_eq!(ended.status, Some(0), "{ended:?}");
    // The first line, two for each session, the summary.
    assert_eq!(ended.stderr, "warning: 22 lines were dropped: the reader of stdout is too slow\n");
    assert_eq!(rest(reader), "");
}

/// A pipe that somebody else made non-blocking: it is full for a while, and nothing is lost.
pub(crate) fn non_blocking_stdout(backend: &str) {
    let (reader, writer) = pipe().unwrap();
    ioctl_fionbio(&writer, true).unwrap();
    let command = serve(backend, &["-v", "--workers", "1"]);
    let process = Process::start_into(command, Keep::All, writer, Stdio::piped());
    let server = Server::of(process, &first_line(&reader));
    // Lines of more than the pipe takes.
    sessions(&server, 1000);
    eventually("the last one is closed", || server.now().closed == 1000);
    let read = thread::spawn(move || rest(reader));
    let ended = server.end();
    assert_eq!((ended.status, ended.stderr.as_str()), (Some(0), ""), "{ended:?}");
    let text = read.join().unwrap();
    assert_eq!(text.lines().count(), 2001, "{text}");
    assert!(text.len() > 64 * 1024, "more than the pipe takes");
}

/// `serve --log-ops 2>&1 | ...`: the address first, the summary last, and whole lines between them.
pub(crate) fn one_pipe_for_both(backend: &str) {
    let (reader, writer) = pipe().unwrap();
    let err = writer.try_clone().unwrap();
    let process = Process::start_into(serve(backend, &["-v", "--log-ops"]), Keep::All, writer, err);
    let server = Server::of(process, &first_line(&reader));
    let read = thread::spawn(move || rest(reader));
    sessions(&server, 300);
    let ended = server.end();
    assert_eq!(ended.status, Some(0), "{ended:?}");
    let text = read.join().unwrap();
    let mut lines: Vec<&str> = text.lines().map(|line| &line[stamp_len(line.as_bytes())..]).collect();
    assert!(lines.pop().unwrap().starts_with("served 300 sessions, "), "{text}");
    let verbose = lines.iter().filter(|line| line.contains(" opened by ") || line.contains(" closed: "));
    assert_eq!(verbose.count(), 600);
    lines.retain(|line| !line.starts_with("draining, up to "));
    assert!(lines.iter().all(|line| line.matches(": ").count() + line.matches(" opened by ").count() > 0));
}

/// A disk that is full loses the lines, not the sessions, and stderr says so. So does the status, for who has both in
/// one file.
#[cfg(target_os = "linux")]
pub(crate) fn full_disk(backend: &str) {
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let process = Process::start_into(serve(backend, &["-v"]), Keep::All, full, Stdio::piped());
    let ended = serves_ten_and_ends(process);
    assert_eq!(ended.status, Some(1), "{ended:?}");
    let wanted = "warning: 22 lines were dropped: stdout cannot be written: No space left on device (os error 28); \
                  make room on the disk (`df` shows it), or write elsewhere\n";
    assert_eq!(ended.stderr, wanted);
}

/// `--trace` into a named pipe whose reader has stopped.
pub(crate) fn trace_into_a_stuck_pipe(backend: &str) {
    let mut path = std::env::temp_dir();
    path.push(format!("overlapped-pipe-{}-{backend}", std::process::id()));
    let made = Command::new("mkfifo").arg(&path).status().expect("POSIX has it");
    assert!(made.success());
    // Opening either end waits for the other.
    let (name, opening) = (path.clone(), path.clone());
    let opened = thread::spawn(move || std::fs::File::open(opening).unwrap());
    let server = Server::start(backend, &["--workers", "1", "--trace", name.to_str().unwrap()]);
    let reader = opened.join().unwrap();
    let mut client = dial(server.address());
    // More than the pipe takes.
    (0..2_000).for_each(|_| exchange(&mut client, b"x"));
    drop(client);
    let ended = server.end();
    std::fs::remove_file(&path).unwrap();
    assert_eq!((ended.status, Summary::of(&ended).sessions), (Some(0), 1), "{ended:?}");
    assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
    assert!(ended.stderr.contains(" events of the trace were dropped: "), "{ended:?}");
    drop(reader);
}
