//! `examples/cluster_chat` over three processes, with a real `nats-server` behind them and HAProxy in front: everybody hears
//! everything of each sender in order, NATS is stopped for five seconds, and each process is restarted.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::server::Running;
use super::{BUILD, PATIENCE, eventually, free_port, write};
use crate::bounded::{self, Failure};
use crate::place;

const PROCESSES: usize = 3;
const CLIENTS: usize = 200;
/// Between two lines of a client.
const PAUSE: Duration = Duration::from_millis(700);
const STOPPED: Duration = Duration::from_secs(5);
/// How long the chat runs between two interventions.
const CALM: Duration = Duration::from_secs(4);

pub(super) fn check(place: &Path) -> Result<(), Failure> {
    let mut build = place::cargo();
    build.args(["build", "--quiet", "--locked", "--release", "--package", "cluster-chat"]);
    build.arg("--message-format=json-render-diagnostics");
    let (lines, _) = bounded::lines_of(&mut build, BUILD, |_| false)?;
    let program = lines.iter().find_map(|line| place::program_in(line)).ok_or("no cluster-chat was built")?;
    let mut site = Site::start(program, place)?;
    let counts = Counts::default();
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (counts, port) = (&counts, site.port);
            let body = move || Client::new(client, port, counts).run();
            let spawned = thread::Builder::new().stack_size(256 << 10).spawn_scoped(scope, body);
            spawned.map_err(|error| format!("a client's thread: {error}"))?;
        }
        let result = intervene(&mut site, &counts);
        counts.quiet.store(true, Relaxed);
        // Nobody says anything more: what was said arrives everywhere.
        let agreed =
            result.and_then(|()| eventually("that everybody has heard everything", || counts.disagreement()));
        counts.stop.store(true, Relaxed);
        agreed
    })?;
    println!("cluster chat: {}", counts.account());
    match counts.problems.lock().unwrap_or_else(PoisonError::into_inner).first() {
        Some(problem) => Err(format!("cluster chat: {problem}")),
        None => Ok(()),
    }
}

fn intervene(site: &mut Site, counts: &Counts) -> Result<(), Failure> {
    eventually("that everybody is welcome", || match counts.welcomes.load(Relaxed) {
        all if all >= CLIENTS as u64 => Ok(()),
        some => Err(format!("{some} are")),
    })?;
    thread::sleep(CALM);
    let opened = counts.welcomes.load(Relaxed);
    site.stop_nats_for(STOPPED)?;
    for (what, count) in [("interrupted", &counts.interruptions), ("going on", &counts.resumptions)] {
        eventually(&format!("that everybody is told of the chat {what}"), || match count.load(Relaxed) {
            all if all >= CLIENTS as u64 => Ok(()),
            some => Err(format!("{some} are")),
        })?;
    }
    if counts.welcomes.load(Relaxed) != opened {
        return Err("clients were disconnected while NATS was away".into());
    }
    let heard = counts.heard.load(Relaxed);
    eventually("that the chat goes on", || match counts.heard.load(Relaxed) {
        more if more > heard + (CLIENTS * CLIENTS) as u64 => Ok(()),
        more => Err(format!("{} lines were heard", more - heard)),
    })?;
    for process in 0..PROCESSES {
        site.restart(process)?;
        thread::sleep(CALM);
    }
    Ok(())
}

/// What the clients have seen.
#[derive(Default)]
struct Counts {
    /// Nobody begins to say anything.
    quiet: AtomicBool,
    stop: AtomicBool,
    welcomes: AtomicU64,
    heard: AtomicU64,
    /// Lines said again, because the connection ended before they were heard.
    repeated: AtomicU64,
    interruptions: AtomicU64,
    resumptions: AtomicU64,
    problems: Mutex<Vec<String>>,
    last: Mutex<HashMap<usize, Last>>,
}

/// Of one client, since it came last.
#[derive(Default)]
struct Last {
    /// The last number that it said and heard itself.
    said: u64,
    /// The last number that it heard of each.
    heard: HashMap<usize, u64>,
    /// What each had said and heard itself when it was welcome. The next one may have been on its way, too.
    missed: HashMap<usize, u64>,
}

impl Last {
    /// The first number of this sender that was said in any case after this client came.
    fn first_of(&self, sender: usize) -> u64 {
        self.missed.get(&sender).map_or(2, |missed| missed + 2)
    }
}

impl Counts {
    fn account(&self) -> String {
        format!(
            "{CLIENTS} clients at {PROCESSES} processes heard {} lines; {} welcomes, {} lines said again",
            self.heard.load(Relaxed),
            self.welcomes.load(Relaxed),
            self.repeated.load(Relaxed)
        )
    }

    /// Whether everybody has heard the last line of everybody who said something since it came.
    fn disagreement(&self) -> Result<(), Failure> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        for (listener, its) in last.iter() {
            for (sender, Last { said, .. }) in last.iter() {
                let heard = its.heard.get(sender);
                if heard.is_none_or(|heard| heard != said)
                    && (heard.is_some() || *said >= its.first_of(*sender))
                {
                    return Err(format!(
                        "{listener} has heard line {heard:?} of {sender}, who has said {said}"
                    ));
                }
            }
        }
        if last.len() == CLIENTS {
            Ok(())
        } else {
            Err(format!("{} clients have heard something", last.len()))
        }
    }

    fn problem(&self, problem: String) {
        self.problems.lock().unwrap_or_else(PoisonError::into_inner).push(problem);
    }
}

/// NATS, the processes, and HAProxy.
struct Site {
    program: PathBuf,
    nats: Option<Running>,
    nats_port: u16,
    store: PathBuf,
    processes: Vec<(u16, Running)>,
    _haproxy: Running,
    port: u16,
}

impl Site {
    fn start(program: PathBuf, place: &Path) -> Result<Site, Failure> {
        let (nats_port, store) = (free_port()?, place.join("nats"));
        let _ = std::fs::remove_dir_all(&store);
        let nats = nats_at(nats_port, &store)?;
        let mut processes = Vec::new();
        for _ in 0..PROCESSES {
            let port = free_port()?;
            processes.push((port, chat_at(&program, port, nats_port)?));
        }
        let port = free_port()?;
        let mut config = format!(
            "defaults\n    mode tcp\n    timeout connect 3s\n    timeout client 1h\n    timeout server 1h\n    retries 3\n    \
             option redispatch 1\nlisten chat\n    bind 127.0.0.1:{port}\n    balance leastconn\n    \
             default-server check inter 500ms fall 1 rise 1\n"
        );
        for (number, (port, _)) in processes.iter().enumerate() {
            config += &format!("    server chat{number} 127.0.0.1:{port}\n");
        }
        let file = place.join("haproxy-chat.cfg");
        write(&file, &config)?;
        let haproxy = Running::start("haproxy", Command::new("haproxy").arg("-db").arg("-f").arg(&file))?;
        eventually("that HAProxy listens", || {
            TcpStream::connect(("127.0.0.1", port)).map(drop).map_err(|error| error.to_string())
        })?;
        Ok(Site { program, nats: Some(nats), nats_port, store, processes, _haproxy: haproxy, port })
    }

    fn stop_nats_for(&mut self, time: Duration) -> Result<(), Failure> {
        let nats = self.nats.take().expect("it runs");
        nats.terminate();
        nats.wait()?;
        thread::sleep(time);
        self.nats = Some(nats_at(self.nats_port, &self.store)?);
        Ok(())
    }

    /// It drains, and is started again on its port.
    fn restart(&mut self, process: usize) -> Result<(), Failure> {
        let (port, mut old) = self.processes.remove(process);
        old.close_stdin();
        match old.wait()? {
            (Some(0), _) => {}
            (status, lines) => {
                return Err(format!("`cluster-chat` ended with {status:?}: {}", lines.join("\n")));
            }
        }
        self.processes.insert(process, (port, chat_at(&self.program, port, self.nats_port)?));
        Ok(())
    }
}

fn nats_at(port: u16, store: &Path) -> Result<Running, Failure> {
    let mut command = Command::new("nats-server");
    command
        .args(["--addr", "127.0.0.1", "--port", &port.to_string(), "--jetstream", "--store_dir"])
        .arg(store);
    let nats = Running::start("nats-server", &mut command)?;
    nats.line("that it is ready", |line| line.contains("Server is ready").then_some(()))?;
    Ok(nats)
}

fn chat_at(program: &Path, port: u16, nats: u16) -> Result<Running, Failure> {
    let mut command = Command::new(program);
    command.arg(format!("127.0.0.1:{port}")).arg(format!("127.0.0.1:{nats}"));
    let running = Running::start("cluster-chat", &mut command)?;
    running.line("where it listens", |line| line.starts_with("listening on ").then_some(()))?;
    Ok(running)
}

/// One that says numbers, the next when it has heard the last.
struct Client<'a> {
    name: usize,
    port: u16,
    counts: &'a Counts,
    /// What it says next, or has said and not heard.
    number: u64,
    is_said: bool,
}

impl<'a> Client<'a> {
    fn new(name: usize, port: u16, counts: &'a Counts) -> Client<'a> {
        Client { name, port, counts, number: 1, is_said: false }
    }

    fn run(mut self) {
        let deadline = Instant::now() + 10 * PATIENCE;
        while !self.counts.stop.load(Relaxed) {
            if Instant::now() > deadline {
                return self.counts.problem(format!("client {} still runs at its deadline", self.name));
            }
            // Whatever ends the connection, it comes back.
            let _ = self.visit();
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// One connection, to its end.
    fn visit(&mut self) -> std::io::Result<()> {
        let stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(Duration::from_millis(100)))?;
        let (mut writer, mut reader) = (stream.try_clone()?, BufReader::new(stream));
        writer.write_all(format!("{}\n", self.name).as_bytes())?;
        let (mut heard, mut is_welcome): (HashMap<usize, u64>, bool) = (HashMap::new(), false);
        let (mut next, mut line) = (Instant::now(), Vec::new());
        let was_said = std::mem::take(&mut self.is_said);
        while !self.counts.stop.load(Relaxed) {
            match reader.read_until(b'\n', &mut line) {
                Ok(0) => return Ok(()),
                // A part stays in `line` until its end comes.
                Ok(_) if line.ends_with(b"\n") => {
                    let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                    line.clear();
                    if text.starts_with("* ") {
                        is_welcome |= self.told(&text);
                    } else {
                        self.hear(&text, &mut heard);
                    }
                }
                Ok(_) => return Ok(()),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) => return Err(error),
            }
            // A line that it said before, and did not hear, is said again even in the end.
            let may_say = !self.counts.quiet.load(Relaxed) || (was_said && !heard.contains_key(&self.name));
            if is_welcome && may_say && !self.is_said && Instant::now() >= next {
                writer.write_all(format!("{}\n", self.number).as_bytes())?;
                self.is_said = true;
                self.counts
                    .repeated
                    .fetch_add(u64::from(was_said && !heard.contains_key(&self.name)), Relaxed);
                next = Instant::now() + PAUSE;
            }
        }
        Ok(())
    }

    /// Whether it is welcome now.
    fn told(&self, text: &str) -> bool {
        let count = match text {
            "* the chat is interrupted; lines wait" => &self.counts.interruptions,
            "* the chat goes on" => &self.counts.resumptions,
            _ if text.starts_with("* welcome ") => &self.counts.welcomes,
            _ => {
                self.counts.problem(format!("{} is told {text:?}", self.name));
                return false;
            }
        };
        count.fetch_add(1, Relaxed);
        let is_welcome = text.starts_with("* welcome ");
        if is_welcome {
            let mut all = self.counts.last.lock().unwrap_or_else(PoisonError::into_inner);
            let missed = all.iter().map(|(name, last)| (*name, last.said)).collect();
            let mine = all.entry(self.name).or_default();
            (mine.heard, mine.missed) = (HashMap::new(), missed);
        }
        is_welcome
    }

    /// `17: 4`: the line behind the last one of that sender, or that one again.
    fn hear(&mut self, text: &str, heard: &mut HashMap<usize, u64>) {
        let parts =
            text.split_once(": ").and_then(|(name, number)| Some((name.parse().ok()?, number.parse().ok()?)));
        let Some((sender, number)): Option<(usize, u64)> = parts else {
            return self.counts.problem(format!("{} hears {text:?}", self.name));
        };
        let last = heard.insert(sender, number);
        if last.is_some_and(|last| number != last + 1 && number != last) {
            self.counts.problem(format!("{} hears line {number} of {sender} after {last:?}", self.name));
        }
        if sender == self.name && number == self.number {
            (self.number, self.is_said) = (self.number + 1, false);
        }
        self.counts.heard.fetch_add(1, Relaxed);
        let mut all = self.counts.last.lock().unwrap_or_else(PoisonError::into_inner);
        let mine = all.entry(self.name).or_default();
        mine.said = self.number - 1;
        mine.heard.clone_from(heard);
        let first = mine.first_of(sender);
        if last.is_none() && number > first {
            self.counts.problem(format!("{} hears line {number} of {sender} first, not {first}", self.name));
        }
    }
}
