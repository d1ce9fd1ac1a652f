//! A socket's number that outlives its socket.

use std::io::{self, Read};
use std::net::{Ipv4Addr, TcpListener, TcpStream};

use crate::kernel::{RawSocket, SendMode};
use crate::stage::{PATIENCE, Stage, connect, raw, shown};
use crate::story::Kind;
use crate::{Exhibit, SeenIn, Version};

const STATEMENT: &str = "Alice, your balance is 5000";
/// How many connections may come until one gets the number again. POSIX gives the lowest that is free.
const TRIES: usize = 100;
/// How many of them an accepted socket may take to get it.
const ACCEPTS: usize = 8;

pub(super) const EXHIBIT: Exhibit = Exhibit {
    name: "handle-reuse",
    aliases: &["fd-reuse", "stale-handle"],
    title: "A closed socket's number is used again",
    mistake: "A job for Alice remembers her socket by its number. She leaves, her socket is closed, and the next \
              client gets the same number from the system. The job sends her statement to that number.",
    repair: "Others hold a key with a generation, not a number. A key whose session is gone finds nothing.",
    invariant: "INV-3: keys carry a generation; a handle kept too long finds nothing, never another connection.",
    upheld_by: "crates/overlapped/src/session/table.rs",
    on_windows: "A SOCKET is a handle, and handles are used again; so are completion keys that are addresses.",
    on_linux: "A file descriptor is the lowest free number: the next accept has it.",
    seen_in: &[
        SeenIn {
            name: "netty io_uring 194 (2023)",
            url: "https://github.com/netty/netty-incubator-transport-io_uring/issues/194",
            what: "a new connection with the number of a closed one was taken off the loop",
        },
        SeenIn {
            name: "tinymux 1832 (2026)",
            url: "https://github.com/brazilofmux/tinymux/issues/1832",
            what: "an old packet could reach a new connection with the same SOCKET value",
        },
    ],
    run,
    held: |evidence| evidence.get("bob_got") == Some(&"".into()),
};

/// A number that is named again carries another generation.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Key {
    number: RawSocket,
    generation: u32,
}

fn run(stage: &mut Stage, version: Version) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let (_alice_client, alice) = connect(&listener)?;
    let alices = Key { number: raw(&alice), generation: 0 };
    let session = stage.sessions.take();
    session.write(STATEMENT);
    stage.story.step(format!("Alice is served on socket {}. A job prepares her statement.", alices.number));
    stage.story.begin(Kind::Session, "Alice", format!("socket {}", alices.number));
    let what = if version == Version::Broken { "remembers the number" } else { "remembers her key" };
    stage.story.begin(Kind::Operation, "job for Alice", what);

    drop(alice);
    stage.story.step("Alice leaves. Her socket is closed.");
    stage.story.end("Alice");
    let (bob_client, bob, others) = same_number(&listener, alices.number)?;
    stage.kernel.adopt(raw(&bob))?;
    let bobs = Key { number: raw(&bob), generation: 1 };
    stage.story.step(format!("Bob connects. The system gives him socket {}.", bobs.number));
    stage.story.begin(Kind::Session, "Bob", format!("socket {}", bobs.number));

    let table = [bobs];
    let found = match version {
        Version::Broken => Some(alices.number),
        Version::Repaired => table.iter().find(|key| **key == alices).map(|key| key.number),
    };
    if let Some(number) = found {
        let started = stage.send(number, session, STATEMENT.len(), SendMode::Whole);
        stage.finish(started)?;
        stage.story.wrong(format!("The job sends the statement to socket {number}: Bob reads it."));
    } else {
        stage.story.step("The job's key has another generation than Bob's: nothing is sent.");
    }
    stage.story.end("job for Alice");
    drop(bob);
    let got = everything(&bob_client)?;
    drop(others);
    stage.note("alices_number", as_number(alices.number));
    stage.note("bobs_number", as_number(bobs.number));
    stage.note("bob_got", got);
    Ok(())
}

fn as_number(socket: RawSocket) -> u64 {
    #[cfg(unix)]
    return socket.unsigned_abs().into();
    #[cfg(windows)]
    socket
}

/// A client, the server's end of its connection, and those that got another number.
type SameNumber = (TcpStream, TcpStream, Vec<(TcpStream, TcpStream)>);

/// Connections until one has this number.
fn same_number(listener: &TcpListener, number: RawSocket) -> io::Result<SameNumber> {
    let mut others = Vec::new();
    for attempt in 0..TRIES {
        // The client first: its own number must not be the one that is waited for.
        let spare = TcpStream::connect(listener.local_addr()?)?;
        if raw(&spare) == number && attempt >= ACCEPTS {
            // Where accepting uses a number for itself, no accepted socket gets this one. Then the server's end of
            // Bob's connection is the one that connects, as a relay's is.
            let (client, _) = listener.accept()?;
            client.set_read_timeout(Some(PATIENCE))?;
            return Ok((client, spare, others));
        }
        if raw(&spare) == number {
            // It got the number itself. The next one gets another, and then this one is free again.
            let client = TcpStream::connect(listener.local_addr()?)?;
            let (first, _) = listener.accept()?;
            drop(spare);
            let (server, _) = listener.accept()?;
            others.push((client.try_clone()?, first));
            if raw(&server) == number {
                client.set_read_timeout(Some(PATIENCE))?;
                return Ok((client, server, others));
            }
            others.push((client, server));
            continue;
        }
        let (server, _) = listener.accept()?;
        if raw(&server) == number {
            spare.set_read_timeout(Some(PATIENCE))?;
            return Ok((spare, server, others));
        }
        others.push((spare, server));
    }
    Err(io::Error::other("the system gave the number to nobody"))
}

/// What a client got until its stream ended.
fn everything(mut client: &TcpStream) -> io::Result<String> {
    let mut bytes = Vec::new();
    client.read_to_end(&mut bytes)?;
    Ok(shown(&bytes))
}
