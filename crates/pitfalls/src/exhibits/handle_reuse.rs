//! A socket's number that outlives its socket.

use std::io::{self, Read};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};

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
    mistake: "A job for Alice keeps the number of her socket. She leaves, her socket is closed, and the system gives \
              the number to the connection of a later client. The job sends her statement to that number.",
    repair: "The job keeps a key with a generation, not a number. The key of a session that has ended finds nothing; one \
             that finds a session holds a reference on it while it sends.",
    invariant: "INV-3: keys carry a generation; a handle kept too long finds nothing, never another connection.",
    upheld_by: "crates/overlapped/src/session/table.rs",
    on_windows: "A SOCKET is a handle, and values of handles are used again. A completion key that is the address of a \
                 session is used again in the same way.",
    on_linux: "A new file descriptor gets the lowest free number. So the next accept gets the number that was closed \
               last, if it is the lowest.",
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
    let (alice_client, alice) = connect(&listener)?;
    let alices = Key { number: raw(&alice), generation: 0 };
    let session = stage.sessions.take();
    session.write(STATEMENT);
    stage.story.step(format!("Alice is served on socket {}. A job prepares her statement.", alices.number));
    stage.story.begin(Kind::Session, "Alice", format!("socket {}", alices.number));
    let what = if version == Version::Broken { "keeps the number" } else { "keeps her key" };
    stage.story.begin(Kind::Operation, "job for Alice", what);

    // Her descriptor in this process stays: a number that she gave back would be the next that is taken.
    alice_client.shutdown(Shutdown::Both)?;
    everything(&alice)?;
    drop(alice);
    stage.story.step("Alice leaves. The server closes her socket.");
    stage.story.end("Alice");
    let mut connections = 0;
    let SameNumber { client: bob_client, server: bob, others } =
        same_number(&listener, alices.number, &mut connections)?;
    stage.kernel.adopt(raw(&bob))?;
    let bobs = Key { number: raw(&bob), generation: 1 };
    let who = if connections == 1 {
        "Bob connects".to_owned()
    } else {
        format!("{connections} clients connect, the last is Bob")
    };
    stage.story.step(format!("{who}. The system gives his connection socket {}.", bobs.number));
    stage.story.begin(Kind::Session, "Bob", format!("socket {}", bobs.number));

    let table = [bobs];
    let found = match version {
        Version::Broken => Some(alices.number),
        Version::Repaired => table.iter().find(|key| **key == alices).map(|key| key.number),
    };
    if let Some(number) = found {
        let started = stage.send(number, session, STATEMENT.len(), SendMode::Whole);
        stage.finish(started)?;
        stage.story.wrong(format!("The job sends Alice's statement to socket {number}. Bob receives it."));
    } else {
        stage.story.step(
            "The job looks up its key. Bob's has another generation, so it finds nothing and sends nothing.",
        );
    }
    stage.story.end("job for Alice");
    drop(bob);
    let got = everything(&bob_client)?;
    drop(others);
    stage.note("alices_number", as_number(alices.number));
    stage.note("bobs_number", as_number(bobs.number));
    stage.note("connections_until_reuse", connections);
    stage.note("bob_got", got);
    Ok(())
}

fn as_number(socket: RawSocket) -> u64 {
    #[cfg(unix)]
    return socket.unsigned_abs().into();
    #[cfg(windows)]
    socket
}

/// A connection whose server's end got the number.
struct SameNumber {
    client: TcpStream,
    server: TcpStream,
    /// Those that got another one.
    others: Vec<(TcpStream, TcpStream)>,
}

/// Makes connections until one has this number, and counts them.
fn same_number(listener: &TcpListener, number: RawSocket, connections: &mut u64) -> io::Result<SameNumber> {
    let mut others = Vec::new();
    let mut connect = || {
        *connections += 1;
        TcpStream::connect(listener.local_addr()?)
    };
    for attempt in 0..TRIES {
        // The client first: its own number must not be the one that is waited for.
        let spare = connect()?;
        if raw(&spare) == number && attempt >= ACCEPTS {
            // Where accepting uses a number for itself, no accepted socket gets this one. Then the server's end of
            // Bob's connection is the one that connects, as a relay's is.
            let (client, _) = listener.accept()?;
            client.set_read_timeout(Some(PATIENCE))?;
            return Ok(SameNumber { client, server: spare, others });
        }
        if raw(&spare) == number {
            // It got the number itself. The next one gets another, and then this one is free again.
            let client = connect()?;
            let (first, _) = listener.accept()?;
            drop(spare);
            let (server, _) = listener.accept()?;
            others.push((client.try_clone()?, first));
            if raw(&server) == number {
                client.set_read_timeout(Some(PATIENCE))?;
                return Ok(SameNumber { client, server, others });
            }
            others.push((client, server));
            continue;
        }
        let (server, _) = listener.accept()?;
        if raw(&server) == number {
            spare.set_read_timeout(Some(PATIENCE))?;
            return Ok(SameNumber { client: spare, server, others });
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
