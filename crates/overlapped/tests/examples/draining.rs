//! The examples whose sessions wait for answers from elsewhere, drained in the middle of a slow answer.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use overlapped_testing::{Example, PATIENCE, accept, expect_bytes, read_to_end, with_timeouts};

use crate::relay::wait_for_reset;

/// Each drain meets another moment.
const RUNS: u64 = 20;
/// Drains that wait for an answer have the examples' default limit, ten seconds; this is for those that cut.
const SHORT: &str = "0.1";

/// Has the example drain, and returns its report.
fn drained(mut example: Example) -> String {
    drop(example.stdin());
    let report = example.rest_of_stdout();
    assert!(example.wait().success());
    report
}

/// The report of a drain, beginning with the numbers given.
fn report(drained: u64, cut: u64, owed: u64) -> String {
    let sessions = if drained == 1 { "session" } else { "sessions" };
    let owed = match owed {
        0 => String::new(),
        1 => ", 1 answer owed".to_owned(),
        owed => format!(", {owed} answers owed"),
    };
    format!("{drained} {sessions} drained, {cut} cut, 0 bytes lost{owed}\n")
}

/// A session of `jobs` whose query of `millis` runs. Its two queries run on two threads: `millis` is far more than a thread
/// waits for its turn.
fn with_query(jobs: &Example, millis: u64) -> TcpStream {
    let mut client = jobs.dial();
    // In one segment: when the first is answered, the other one was received.
    client.write_all(format!("0\n{millis}\n").as_bytes()).unwrap();
    expect_bytes(&mut client, b"0 ms\n");
    client
}

#[test]
fn jobs_that_run_are_answered_in_a_drain() {
    for run in 0..RUNS {
        let jobs = Example::start("jobs", &[]);
        let clients: Vec<_> =
            (0..4).map(|client| (400 + run + client, with_query(&jobs, 400 + run + client))).collect();
        let clients = clients.into_iter().map(|(millis, mut client)| {
            // Dropped at its end: the session's last step.
            thread::spawn(move || assert_eq!(read_to_end(&mut client), format!("{millis} ms\n").as_bytes()))
        });
        let clients: Vec<_> = clients.collect();
        assert_eq!(drained(jobs), report(4, 0, 0));
        clients.into_iter().for_each(|client| client.join().unwrap());
    }
}

#[test]
fn jobs_that_take_too_long_are_cut_and_counted() {
    for _ in 0..RUNS {
        let jobs = Example::start("jobs", &[SHORT]);
        let clients = [with_query(&jobs, 5_000), with_query(&jobs, 5_000)];
        assert_eq!(drained(jobs), report(0, 2, 2));
        clients.into_iter().for_each(wait_for_reset);
    }
}

/// Far more than the threads are given at a time, from sessions that end their streams at once.
#[test]
fn jobs_answers_every_query_of_a_crowd() {
    let jobs = Example::start("jobs", &[]);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut client = jobs.dial();
                client.write_all("0\n".repeat(2_000).as_bytes()).unwrap();
                client.shutdown(Shutdown::Write).unwrap();
                let answers = read_to_end(&mut client);
                assert_eq!(answers.iter().filter(|byte| **byte == b'\n').count(), 2_000);
            });
        }
    });
    let mut client = jobs.dial();
    client.write_all(b"one\n").unwrap();
    expect_bytes(&mut client, b"one: not a number\n");
    client.write_all(&[b'9'; 200]).unwrap();
    assert!(String::from_utf8(read_to_end(&mut client)).unwrap().contains("over the limit"));
}

/// Who asks again as soon as it is answered does not keep the drain from ending.
#[test]
fn jobs_drains_while_its_clients_go_on_asking() {
    let jobs = Example::start("jobs", &[]);
    let begin = |_| {
        let mut client = jobs.dial();
        client.write_all(b"1\n").unwrap();
        client
    };
    let clients: Vec<_> = (0..4).map(begin).collect();
    let clients = clients.into_iter().map(|mut client| {
        thread::spawn(move || {
            let mut answered = 0;
            loop {
                let mut answer = [0; 5];
                if client.read_exact(&mut answer).is_err() {
                    return answered;
                }
                assert_eq!(&answer, b"1 ms\n");
                answered += 1;
                if client.write_all(b"1\n").is_err() {
                    return answered;
                }
            }
        })
    });
    let clients: Vec<_> = clients.collect();
    let report = drained(jobs);
    for client in clients {
        assert!(client.join().unwrap() > 0);
    }
    assert!(report.ends_with(" drained, 0 cut, 0 bytes lost\n"), "{report}");
}

/// A relay whose client has asked, and what it relays to.
fn asked(more: &[&str]) -> (Example, TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = listener.local_addr().unwrap().to_string();
    let relay = Example::start("proxy", &[&[target.as_str()], more].concat());
    let mut client = relay.dial();
    let mut target = with_timeouts(accept(&listener).unwrap(), PATIENCE);
    client.write_all(b"request").unwrap();
    expect_bytes(&mut target, b"request");
    (relay, client, target)
}

#[test]
fn a_slow_answer_passes_a_proxy_that_drains() {
    const PARTS: usize = 10;
    for run in 0..RUNS {
        let (relay, mut client, mut target) = asked(&[]);
        let half_closes = run % 2 == 1;
        let client = thread::spawn(move || {
            if half_closes {
                client.shutdown(Shutdown::Write).unwrap();
            }
            read_to_end(&mut client)
        });
        let target = thread::spawn(move || {
            for part in 0..PARTS {
                // It computes. The drain begins in one of these pauses.
                thread::sleep(Duration::from_millis(5 + run % 7));
                writeln!(target, "part {part} of {PARTS}").unwrap();
            }
        });
        assert!(drained(relay).ends_with(" drained, 0 cut, 0 bytes lost\n"));
        target.join().unwrap();
        let wanted: String = (0..PARTS).map(|part| format!("part {part} of {PARTS}\n")).collect();
        assert_eq!(String::from_utf8(client.join().unwrap()).unwrap(), wanted);
    }
}

#[test]
fn an_answer_that_never_ends_is_cut_and_counted() {
    for _ in 0..RUNS {
        let (relay, mut client, mut target) = asked(&[SHORT]);
        target.write_all(b"the beginning").unwrap();
        expect_bytes(&mut client, b"the beginning");
        assert_eq!(drained(relay), report(0, 2, 1));
        [client, target].into_iter().for_each(wait_for_reset);
    }
}
