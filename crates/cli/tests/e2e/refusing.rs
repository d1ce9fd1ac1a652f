//! Clients beyond a limit: each is turned away with an end of stream, also if it has spoken, and soon.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
#[cfg(target_os = "linux")]
use std::time::{Duration, Instant};

use crate::peer::{dial, eventually, exchange, noise};
use crate::server::Server;
#[cfg(target_os = "linux")]
use crate::server::{after, serve};

const THREADS: usize = 4;

/// How clients that spoke at once were answered.
struct Answers {
    echoed: usize,
    ended: usize,
    /// Still open.
    clients: Vec<TcpStream>,
}

/// Connects `clients` clients. Each sends as soon as it is connected, and then reads. A reset fails the test.
fn speak_at_once(address: SocketAddr, clients: usize) -> Answers {
    let speak = move || -> Vec<(bool, TcpStream)> {
        let talk = |_| {
            let mut client = dial(address);
            client.write_all(b"hello").expect("nobody resets while it speaks");
            let mut got = [0; 5];
            let ended = client.read(&mut got).expect("an echo or an end of stream, and no reset") == 0;
            assert!(ended || got[0] == b'h');
            (ended, client)
        };
        (0..clients / THREADS).map(talk).collect()
    };
    let threads: Vec<_> = (0..THREADS).map(|_| thread::spawn(speak)).collect();
    let all = threads.into_iter().flat_map(|thread| thread.join().expect("each is answered"));
    let (ended, echoed): (Vec<_>, Vec<_>) = all.partition(|(ended, _)| *ended);
    let (counts, both) = ((echoed.len(), ended.len()), echoed.into_iter().chain(ended));
    Answers { echoed: counts.0, ended: counts.1, clients: both.map(|(_, client)| client).collect() }
}

fn beyond_the_limit(backend: &str, sessions: usize, clients: usize) {
    let _ = overlapped::raise_descriptor_limit();
    let most = sessions.to_string();
    let server = Server::start(backend, &["--max-sessions", &most, "--workers", "2"]);
    let mut inside: Vec<TcpStream> = (0..sessions).map(|_| dial(server.address())).collect();
    inside.iter_mut().for_each(|client| exchange(client, noise(0, 100)));
    // They stay open, so that none is closed because its client was.
    let answers = speak_at_once(server.address(), clients);
    assert_eq!((answers.echoed, answers.ended), (0, clients));
    inside.iter_mut().for_each(|client| exchange(client, noise(1, 10_000)));
    #[cfg(unix)]
    if backend != "iocp" {
        let ended = server.end();
        let summary = crate::server::Summary::of(&ended);
        assert_eq!(summary.sessions, sessions as u64, "rejected ones are no sessions");
        assert!(ended.text().contains(&format!("rejected {clients}")), "{ended:?}");
        one_warning(&ended, "--max-sessions");
    }
    drop(answers.clients);
}

/// However many are turned away, one line says so, with what to raise.
#[cfg(unix)]
fn one_warning(ended: &crate::process::Ended, remedy: &str) {
    let warnings: Vec<&str> = ended.stderr.lines().filter(|line| line.contains("are rejected")).collect();
    assert!(matches!(warnings[..], [warning] if warning.contains(remedy)), "{ended:?}");
}

/// Two thousand.
#[cfg(target_os = "linux")]
pub(crate) fn two_thousand_speakers(backend: &str) {
    beyond_the_limit(backend, 18, 2000);
}

/// The same on every system, with fewer.
pub(crate) fn speakers_beyond_the_limit(backend: &str) {
    beyond_the_limit(backend, 3, 100);
}

/// A client beyond the limit of its address speaks, reads an end of stream, and may connect again later.
pub(crate) fn speakers_beyond_the_limit_per_address(backend: &str) {
    let server = Server::start(backend, &["--max-per-address", "2", "--workers", "2"]);
    let mut inside: Vec<TcpStream> = (0..2).map(|_| dial(server.address())).collect();
    inside.iter_mut().for_each(|client| exchange(client, noise(0, 100)));
    let answers = speak_at_once(server.address(), 40);
    assert_eq!((answers.echoed, answers.ended), (0, 40));
    drop((answers.clients, inside));
    eventually("the place that became free is given away", || {
        let mut client = dial(server.address());
        client.write_all(b"x").is_ok() && matches!(client.read(&mut [0]), Ok(1))
    });
    #[cfg(unix)]
    if backend != "iocp" {
        one_warning(&server.end(), "--max-per-address");
    }
}

/// The limit that the descriptors leave. Those turned away must not use up what is left of them: nothing pauses, and the
/// server keeps within its descriptors.
#[cfg(target_os = "linux")]
pub(crate) fn speakers_beyond_the_descriptors(backend: &str) {
    let _ = overlapped::raise_descriptor_limit();
    const CLIENTS: usize = 1000;
    for workers in ["1", "2"] {
        let command = after("ulimit -n 64", &serve(backend, &["--workers", workers]));
        let server = Server::launch(command).unwrap_or_else(|ended| panic!("{ended:?}"));
        let began = Instant::now();
        let answers = speak_at_once(server.address(), CLIENTS);
        assert!(answers.echoed >= 20, "{} are served", answers.echoed);
        assert_eq!(answers.echoed + answers.ended, CLIENTS);
        drop(answers.clients);
        let ended = server.end();
        // Neither a pause of 100 ms for every few dozen, nor a drain that waits for its deadline.
        assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
        assert_eq!((ended.status, ended.stderr.lines().count()), (Some(0), 1), "nothing paused: {ended:?}");
        one_warning(&ended, "ulimit -n");
    }
}

/// A client that never stops speaking, and one that says nothing, keep their descriptors for a moment only.
#[cfg(target_os = "linux")]
pub(crate) fn who_is_turned_away_is_soon_gone(backend: &str) {
    let server = Server::start(backend, &["--max-sessions", "1", "--workers", "1"]);
    let mut inside = dial(server.address());
    exchange(&mut inside, b"inside");
    let before = server.descriptors();
    let silent: Vec<TcpStream> = (0..10).map(|_| dial(server.address())).collect();
    let mut speaker = dial(server.address());
    let speaking = thread::spawn(move || {
        let bytes = noise(0, 64 << 10);
        // Until the reset, which is all that is left to tell it.
        while speaker.write_all(bytes).is_ok() {}
    });
    for mut client in silent.iter().chain([]) {
        assert_eq!(client.read(&mut [0]).expect("an end of stream"), 0);
    }
    eventually("all to be closed", || speaking.is_finished() && server.descriptors() == before);
    speaking.join().unwrap();
    exchange(&mut inside, b"still inside");
}
