//! A broadcast that holds the list's lock while it sends.

use std::io::{self, Write};
use std::net::TcpStream;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use socket2::SockRef;

use crate::large::payload;
use crate::stage::{PATIENCE, Stage, connection, read_exactly};
use crate::story::Kind;
use crate::{Exhibit, SeenIn, Version};

const MEMBERS: usize = 100;
/// Who does not read.
const SLOW: usize = 3;
/// One broadcast: more than a connection takes that nobody reads.
const LEN: usize = 384 * 1024;
const PIECE: usize = 16 * 1024;
/// How long the newcomer is watched, at the lock, before the slow member reads. It is not a limit: what blocks her does
/// not end.
const WATCH: Duration = Duration::from_millis(300);

pub(super) const EXHIBIT: Exhibit = Exhibit {
    name: "lock-while-sending",
    aliases: &["broadcast-lock"],
    title: "A lock is held while sending to everybody",
    mistake: "A broadcast locks the list of sessions and sends to a hundred of them on blocking sockets, one after the \
              other. One of them does not read, so the send to it waits, and so does everybody who needs the list.",
    repair: "The list is copied under the lock. Sends are queued and never wait, and each queue has a limit.",
    invariant: "INV-5 and INV-6: a session is touched by its own worker alone, without a lock; a send queues, and the \
                queue has a limit.",
    upheld_by: "crates/overlapped/src/session/send_queue.rs",
    on_windows: "send, or WSASend without an OVERLAPPED, waits on a blocking socket; so does everybody at the lock.",
    on_linux: "send(2) waits on a blocking socket; so does everybody at the lock.",
    seen_in: &[SeenIn {
        name: "kubestellar console 3368 (2026)",
        url: "https://github.com/kubestellar/console/issues/3368",
        what: "a broadcast wrote to every WebSocket under one mutex: one slow client held up all of them",
    }],
    run,
    held: |evidence| evidence.get("newcomer_joined_while_one_did_not_read") == Some(&true.into()),
};

/// A member: its socket, and how much of the broadcast it took (the repaired program's queue is the rest).
struct Member {
    socket: TcpStream,
    sent: Mutex<usize>,
}

fn run(stage: &mut Stage, version: Version) -> io::Result<()> {
    let (clients, list) = room()?;
    stage.story.step(format!("{MEMBERS} members are in the room. One of them does not read."));
    stage.story.begin(Kind::Session, "the slow one", "does not read");
    let (joined, served) = match version {
        Version::Broken => under_the_lock(stage, &clients, &list)?,
        Version::Repaired => with_queues(stage, &clients, &list)?,
    };
    stage.note("newcomer_joined_while_one_did_not_read", joined);
    stage.note("members_served", served);
    stage.note("members_in_the_list", list.lock().unwrap_or_else(PoisonError::into_inner).len());
    Ok(())
}

/// Whether the newcomer joined while one member did not read, and how many members got the broadcast in the end.
fn under_the_lock(stage: &mut Stage, clients: &[TcpStream], list: &List) -> io::Result<(bool, usize)> {
    let theirs = Arc::clone(list);
    let broadcast = thread::spawn(move || {
        let members = theirs.lock().unwrap_or_else(PoisonError::into_inner);
        members.iter().try_for_each(|member| {
            // Winsock takes a single send whole, however long.
            payload()[..LEN].chunks(PIECE).try_for_each(|piece| (&member.socket).write_all(piece))
        })
    });
    stage.story.step("A broadcast: the list is locked, and each member is sent to.");
    stage.story.begin(Kind::Operation, "broadcast", "sending");
    stage.story.begin(Kind::Memory, "the list", "locked");
    // Those before the slow one read. What stands still now, stands still because of it.
    let mut served = read_all(&clients[..SLOW])?;

    let joining = join(list)?;
    let joined = !matches!(joining.recv_timeout(WATCH), Err(RecvTimeoutError::Timeout));
    stage.note("newcomer_watched_at_the_lock_milliseconds", WATCH.as_millis() as u64);
    stage.story.wrong("Nora wants to join, and waits at the lock for as long as the slow one does not read.");
    stage.story.begin(Kind::Session, "Nora", "waits");

    served += read_all(&clients[SLOW..])?;
    broadcast.join().expect("it only sends")?;
    joining.recv_timeout(PATIENCE).map_err(io::Error::other)?;
    stage.story.step("The slow one reads at last. The broadcast goes on, the lock is free, Nora is in.");
    for lane in ["broadcast", "the list", "the slow one"] {
        stage.story.end(lane);
    }
    stage.story.begin(Kind::Session, "Nora", "is in");
    Ok((joined, served))
}

/// As above.
fn with_queues(stage: &mut Stage, clients: &[TcpStream], list: &List) -> io::Result<(bool, usize)> {
    let members = list.lock().unwrap_or_else(PoisonError::into_inner).clone();
    stage.story.step("A broadcast: the list is copied under its lock, which is free again.");
    stage.story.begin(Kind::Operation, "broadcast", "queued");
    stage.story.begin(Kind::Memory, "the list", "copied");
    for member in &members {
        member.socket.set_nonblocking(true)?;
        member.flush()?;
    }
    stage.story.step("Each member's socket takes what fits; the rest waits in the member's queue.");
    stage.story.end("the list");

    let joined = join(list)?.recv_timeout(PATIENCE).is_ok();
    stage.story.step("Nora joins: nobody holds the lock.");
    stage.story.begin(Kind::Session, "Nora", "is in");

    let mut served = flush_while_read(&members, clients, |at| at != SLOW)?;
    stage.story.step(format!("{served} members read; their queues run empty. The slow one's waits."));
    served += flush_while_read(&members, clients, |at| at == SLOW)?;
    stage.story.step("The slow one reads at last, and gets all of it.");
    stage.story.end("broadcast");
    stage.story.end("the slow one");
    Ok((joined, served))
}

impl Member {
    /// Sends what the socket takes. True: nothing is left.
    fn flush(&self) -> io::Result<bool> {
        let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        while *sent < LEN {
            match (&self.socket).write(&payload()[*sent..LEN.min(*sent + PIECE)]) {
                Ok(bytes) => *sent += bytes,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}

fn read_all(clients: &[TcpStream]) -> io::Result<usize> {
    clients.iter().try_for_each(|client| read_exactly(client, LEN).map(|_| ()))?;
    Ok(clients.len())
}

/// Members of whom `who` is true read, while their queues are sent: how many got all of it.
fn flush_while_read(
    members: &[Arc<Member>],
    clients: &[TcpStream],
    who: fn(usize) -> bool,
) -> io::Result<usize> {
    thread::scope(|scope| {
        let reading: Vec<_> = clients
            .iter()
            .enumerate()
            .filter(|(at, _)| who(*at))
            .map(|(_, client)| scope.spawn(|| read_exactly(client, LEN)))
            .collect();
        let mut left: Vec<_> = members.iter().enumerate().filter(|(at, _)| who(*at)).collect();
        let deadline = Instant::now() + PATIENCE;
        while !left.is_empty() && Instant::now() < deadline {
            let mut failed = Ok(());
            left.retain(|(_, member)| match member.flush() {
                Ok(over) => !over,
                Err(error) => {
                    failed = Err(error);
                    false
                }
            });
            failed?;
            thread::yield_now();
        }
        let mut served = 0;
        for reader in reading {
            reader.join().expect("it only reads")?;
            served += 1;
        }
        Ok(served)
    })
}

type List = Arc<Mutex<Vec<Arc<Member>>>>;

fn room() -> io::Result<(Vec<TcpStream>, List)> {
    let (mut clients, mut members) = (Vec::new(), Vec::new());
    for number in 0..MEMBERS {
        let (client, socket) = connection()?;
        if number == SLOW {
            // A broadcast is more than this connection takes while nobody reads.
            SockRef::from(&socket).set_send_buffer_size(16 * 1024)?;
            SockRef::from(&client).set_recv_buffer_size(64 * 1024)?;
        }
        clients.push(client);
        members.push(Arc::new(Member { socket, sent: Mutex::new(0) }));
    }
    Ok((clients, Arc::new(Mutex::new(members))))
}

/// Somebody who wants to join, and has come to the lock: a message when the list has her.
fn join(list: &List) -> io::Result<Receiver<()>> {
    let (done, joined) = channel();
    let (_, socket) = connection()?;
    let member = Arc::new(Member { socket, sent: Mutex::new(0) });
    let (come, at_the_lock) = channel();
    let list = Arc::clone(list);
    thread::spawn(move || {
        let _ = come.send(());
        list.lock().unwrap_or_else(PoisonError::into_inner).push(member);
        let _ = done.send(());
    });
    at_the_lock.recv_timeout(PATIENCE).map_err(io::Error::other)?;
    Ok(joined)
}
