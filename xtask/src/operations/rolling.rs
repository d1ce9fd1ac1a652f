//! Rolling restarts behind a real HAProxy, with the configuration of `deploy/haproxy`: three servers, clients that send
//! numbered messages, and connect again and send again what was not answered.
//!
//! *Lost* is what a server had received and not echoed although its session ended orderly, and every session that was reset:
//! servers count the first (`lost`), clients see the second. A message that a client sends again because its connection
//! ended first is a *retry*.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use overlapped_testing::Random;

use super::server::{Running, Server};
use super::{PATIENCE, deployed, eventually, free_port, free_ports, read, write};
use crate::bounded::{self, Failure, PROGRAM};

const SERVERS: usize = 3;
const CLIENTS: usize = 300;
/// Between two messages of a client, at most.
const PAUSE_MS: usize = 100;
/// Longer than two failed checks of HAProxy.
const DELAY: &str = "4s";

pub(super) fn check(program: &Path, place: &Path, restarts: usize) -> Result<(), Failure> {
    let mut validate = Command::new("haproxy");
    bounded::run(validate.args(["-c", "-q", "-f"]).arg(deployed("haproxy/haproxy.cfg")), PROGRAM)?;
    for delay in [None, Some(DELAY)] {
        let tally = restart_in_turns(program, place, restarts, delay)?;
        let how =
            delay.map_or("without --drain-delay".to_owned(), |delay| format!("with --drain-delay {delay}"));
        println!("{restarts} restarts {how}: {tally}");
        if tally.lost > 0 || tally.reset > 0 || tally.wrong > 0 || tally.answered == 0 {
            return Err(format!("rolling restarts {how}: {tally}"));
        }
    }
    Ok(())
}

/// What came of a series of restarts.
#[derive(Default)]
struct Tally {
    answered: u64,
    /// Messages sent again.
    retried: u64,
    /// Connections opened after the first one of a client.
    reconnected: u64,
    /// Connects that failed.
    refused: u64,
    /// Connections that ended with a reset.
    reset: u64,
    /// Answers that are none.
    wrong: u64,
    /// Bytes that servers had received and not echoed.
    lost: u64,
    /// Bytes that arrived at servers after they had ended their stream.
    too_late: u64,
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Tally { answered, retried, reconnected, refused, reset, wrong, lost, too_late } = self;
        write!(
            f,
            "{answered} messages answered, {retried} retries, {reconnected} connections again, {refused} connects \
             refused, {reset} resets, {wrong} wrong answers, {lost} bytes lost, {too_late} bytes too late"
        )
    }
}

/// Counted by all clients.
#[derive(Default)]
struct Counts {
    stop: AtomicBool,
    answered: AtomicU64,
    retried: AtomicU64,
    reconnected: AtomicU64,
    refused: AtomicU64,
    reset: AtomicU64,
    wrong: AtomicU64,
}

fn restart_in_turns(
    program: &Path,
    place: &Path,
    restarts: usize,
    delay: Option<&str>,
) -> Result<Tally, Failure> {
    let site = Site::start(program, place, delay)?;
    let counts = Counts::default();
    let (ended, lost) = thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (counts, port) = (&counts, site.port);
            let body = move || send_numbered(client, port, counts);
            let spawned = thread::Builder::new().stack_size(128 << 10).spawn_scoped(scope, body);
            spawned.map_err(|error| format!("a client's thread: {error}"))?;
        }
        let result = site.restart(restarts, &counts);
        counts.stop.store(true, Relaxed);
        result
    })?;
    let (more_lost, more_late) = ended.end()?;
    Ok(Tally {
        answered: counts.answered.into_inner(),
        retried: counts.retried.into_inner(),
        reconnected: counts.reconnected.into_inner(),
        refused: counts.refused.into_inner(),
        reset: counts.reset.into_inner(),
        wrong: counts.wrong.into_inner(),
        lost: lost.0 + more_lost,
        too_late: lost.1 + more_late,
    })
}

/// Three servers and HAProxy.
struct Site {
    program: PathBuf,
    args: Vec<String>,
    servers: Vec<Server>,
    haproxy: Running,
    /// HAProxy's, for clients.
    port: u16,
    /// HAProxy's, for questions.
    questions: PathBuf,
}

impl Site {
    fn start(program: &Path, place: &Path, delay: Option<&str>) -> Result<Site, Failure> {
        let args: Vec<String> = match delay {
            None => Vec::new(),
            Some(delay) => vec!["--drain-delay".into(), delay.into()],
        };
        let server = |_| {
            let [port, admin] = free_ports()?;
            server_at(program, &args, (port, admin))
        };
        let servers = (0..SERVERS).map(server);
        let servers = servers.collect::<Result<Vec<_>, Failure>>()?;
        let (port, questions) = (free_port()?, place.join("haproxy.sock"));
        let mut config =
            read(&deployed("haproxy/haproxy.cfg"))?.replace(":9999", &format!("127.0.0.1:{port}"));
        for (index, server) in servers.iter().enumerate() {
            config = config.replace(&format!("127.0.0.1:1000{}", index + 1), &server.address.to_string());
            config =
                config.replace(&format!("port 1010{}", index + 1), &format!("port {}", server.admin.port()));
        }
        let socket = format!("global\n    stats socket {} level user\n", questions.display());
        let file = place.join("haproxy.cfg");
        write(&file, &config.replacen("global\n", &socket, 1))?;
        let haproxy = Running::start("haproxy", Command::new("haproxy").arg("-db").arg("-f").arg(&file))?;
        let site = Site { program: program.to_owned(), args, servers, haproxy, port, questions };
        let up = (0..SERVERS).try_for_each(|index| site.wait_until_up(index));
        up.map_err(|error| format!("{error}\nHAProxy said: {}", site.haproxy.said()))?;
        Ok(site)
    }

    /// Waits until HAProxy gives clients to a server.
    fn wait_until_up(&self, index: usize) -> Result<(), Failure> {
        let name = format!("echo{}", index + 1);
        eventually(&format!("that HAProxy uses {name}"), || {
            let table = self.ask("show stat").map_err(|error| format!("HAProxy does not answer: {error}"))?;
            let row = table.lines().find(|row| row.starts_with(&format!("echo,{name},")));
            let row = row.ok_or_else(|| format!("HAProxy does not know {name}: {table}"))?;
            // The column `status`, HAProxy's management guide, 9.1.
            match row.split(',').nth(17) {
                Some("UP") => Ok(()),
                status => Err(format!("HAProxy says of {name}: {status:?}")),
            }
        })
    }

    fn ask(&self, question: &str) -> std::io::Result<String> {
        let mut socket = UnixStream::connect(&self.questions)?;
        socket.write_all(format!("{question}\n").as_bytes())?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer)?;
        Ok(answer)
    }

    /// One server after the other ends and is started again, on the same ports. Returns the bytes that were lost, and those
    /// that came too late.
    fn restart(mut self, restarts: usize, counts: &Counts) -> Result<(Site, (u64, u64)), Failure> {
        let mut lost = (0, 0);
        for number in 0..restarts {
            let before = counts.answered.load(Relaxed);
            let index = number % SERVERS;
            let old = self.servers.remove(index);
            let ports = (old.address.port(), old.admin.port());
            let (of_this, late) = account_of(&old.end()?)?;
            lost = (lost.0 + of_this, lost.1 + late);
            self.servers.insert(index, server_at(&self.program, &self.args, ports)?);
            self.wait_until_up(index)?;
            if counts.answered.load(Relaxed) == before {
                return Err("no message was answered during a restart".into());
            }
        }
        Ok((self, lost))
    }

    /// Ends all of it, once its clients have gone.
    fn end(self) -> Result<(u64, u64), Failure> {
        self.haproxy.terminate();
        self.haproxy.wait()?;
        let mut lost = (0, 0);
        for server in self.servers {
            let (of_this, late) = account_of(&server.end()?)?;
            lost = (lost.0 + of_this, lost.1 + late);
        }
        Ok(lost)
    }
}

fn server_at(program: &Path, args: &[String], (port, admin): (u16, u16)) -> Result<Server, Failure> {
    let (bind, admin) = (format!("127.0.0.1:{port}"), format!("127.0.0.1:{admin}"));
    let mut command = Command::new(program);
    command.args(["serve", "--workers", "1", "--bind", &bind, "--admin", &admin]).args(args);
    Server::of(&mut command)
}

/// Bytes lost, and bytes that came too late, from a server's last line.
fn account_of(line: &str) -> Result<(u64, u64), Failure> {
    let number_after = |marker: &str| -> Option<u64> {
        line.split_once(marker).map_or(Some(0), |(_, rest)| rest.split(' ').next()?.parse().ok())
    };
    let numbers = (number_after(", lost "), number_after("(and discarded "));
    match numbers {
        (Some(lost), Some(late)) if line.contains(", lost ") => Ok((lost, late)),
        _ => Err(format!("a server's account is not understood: {line}")),
    }
}

/// A client: a message, its answer, a pause.
fn send_numbered(client: usize, port: u16, counts: &Counts) {
    let (mut random, mut connection, mut number) = (Random(client as u64 + 1), None, 0);
    let (mut was_connected, mut unanswered) = (false, false);
    let deadline = Instant::now() + 60 * PATIENCE;
    while !counts.stop.load(Relaxed) && Instant::now() < deadline {
        let Some(stream) = connection.as_mut() else {
            match TcpStream::connect(("127.0.0.1", port)) {
                Ok(stream) => {
                    let _ = stream.set_read_timeout(Some(PATIENCE));
                    let _ = stream.set_nodelay(true);
                    connection = Some(stream);
                    counts.reconnected.fetch_add(u64::from(was_connected), Relaxed);
                    was_connected = true;
                }
                Err(_) => {
                    counts.refused.fetch_add(1, Relaxed);
                    thread::sleep(Duration::from_millis(50));
                }
            }
            continue;
        };
        counts.retried.fetch_add(u64::from(unanswered), Relaxed);
        let message = format!("client {client}, message {number}\n");
        match ask(stream, message.as_bytes()) {
            Answer::Same => {
                counts.answered.fetch_add(1, Relaxed);
                (number, unanswered) = (number + 1, false);
                thread::sleep(Duration::from_millis(random.below(PAUSE_MS) as u64));
            }
            other => {
                unanswered = true;
                connection = None;
                let count = match other {
                    Answer::Reset => &counts.reset,
                    Answer::Other => &counts.wrong,
                    _ => continue,
                };
                count.fetch_add(1, Relaxed);
            }
        }
    }
}

enum Answer {
    Same,
    /// The stream ended first.
    Ended,
    Reset,
    Other,
}

fn ask(stream: &mut TcpStream, message: &[u8]) -> Answer {
    if stream.write_all(message).is_err() {
        // What came before tells an end from a reset.
        return of_read(stream, &mut [0]);
    }
    let (mut answer, mut len) = (vec![0; message.len()], 0);
    while len < answer.len() {
        match stream.read(&mut answer[len..]) {
            Ok(0) if len == 0 => return Answer::Ended,
            Ok(0) => return Answer::Other,
            Ok(more) => len += more,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return Answer::Reset,
            Err(_) => return Answer::Other,
        }
    }
    if answer == message { Answer::Same } else { Answer::Other }
}

fn of_read(stream: &mut TcpStream, room: &mut [u8]) -> Answer {
    match stream.read(room) {
        Ok(0) => Answer::Ended,
        Ok(_) => Answer::Other,
        Err(_) => Answer::Reset,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_servers_last_line() {
        let line = "served 3 sessions, echoed 1.2 KiB (1234 bytes); drained 3, cut 0, lost 5 bytes";
        assert_eq!(account_of(line), Ok((5, 0)));
        let line = format!("{line} (and discarded 7 that came too late)");
        assert_eq!(account_of(&line), Ok((5, 7)));
        assert!(account_of("served 3 sessions").is_err());
    }
}
