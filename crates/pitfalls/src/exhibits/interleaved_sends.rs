//! A message that goes out between the parts of another.

use std::io;
use std::net::{Shutdown, TcpStream};
use std::thread;

use socket2::SockRef;

use crate::arena::Place;
use crate::kernel::{SendMode, Started};
use crate::large::{LEN, payload};
use crate::stage::{Stage, raw, read_to_end};
use crate::story::{Kind, grouped};
use crate::{Exhibit, SeenIn, Version};

const CHAT: &str = "<chat from Bob>";

pub(super) const EXHIBIT: Exhibit = Exhibit {
    name: "interleaved-sends",
    aliases: &["two-sends"],
    title: "A message goes out in the middle of another",
    mistake: "A file is sent in parts, each when the one before is over. A chat message to the same client is sent at \
              once, whatever is under way: it goes out between two parts of the file.",
    repair: "One message at a time for each session: the next one waits in a queue until the last part of the one \
             before has been sent. So there is never more than one send in flight.",
    invariant: "INV-4: at most one send is in flight per connection; bytes leave in order.",
    upheld_by: "crates/overlapped/src/session/send_queue.rs",
    on_windows: "Overlapped WSASend calls of one thread are transmitted in the order of the calls, but that order does \
                 not keep the parts of a message together. Calls of several threads have no order at all.",
    on_linux: "Sends that wait for the same socket may be tried again in any order, and each of them may be short: \
               then the rest is another part.",
    seen_in: &[
        SeenIn {
            name: "liburing 1359 (2025)",
            url: "https://github.com/axboe/liburing/issues/1359",
            what: "\"a nearly month-long bug hunt\": writes to a pipe, in flight together, arrived out of order",
        },
        SeenIn {
            name: "liburing 1373 (2025)",
            url: "https://github.com/axboe/liburing/pull/1373",
            what: "the manual now says that overlapping sends on a stream are generally unsafe",
        },
        SeenIn {
            name: "stellar-core 455 (2015)",
            url: "https://github.com/stellar/stellar-core/issues/455",
            what: "async_write was called again before the first one was over: messages could be interleaved",
        },
    ],
    run,
    held: |evidence| evidence.get("file_in_one_piece") == Some(&true.into()),
};

fn run(stage: &mut Stage, version: Version) -> io::Result<()> {
    let (client, server) = stage.connection()?;
    SockRef::from(&server).set_send_buffer_size(64 * 1024)?;
    let file = payload();
    let (session, chat) = (stage.sessions.take(), stage.sessions.take());
    chat.write(CHAT);

    let part = part_of_file(stage, &server, session, 0);
    stage
        .story
        .step(format!("A file of {} bytes is sent in parts. The first send starts.", grouped(LEN as u64)));
    stage.story.begin(Kind::Session, "session", "sends a file");
    stage.story.begin(Kind::Operation, "file", "part 1");
    let mut early = None;
    if version == Version::Broken {
        early = Some(stage.send(raw(&server), chat, CHAT.len(), SendMode::Whole).checked()?);
        stage.story.step("Bob writes to this client. His chat message is sent at once.");
        stage.story.begin(Kind::Operation, "chat", "Bob's");
    } else {
        stage.story.step("Bob writes to this client. His chat message waits in the queue.");
        stage.story.begin(Kind::Memory, "queue", "chat");
    }
    let first = stage.finish(part)?;
    let taken = grouped(first as u64);
    let reader = thread::spawn(move || read_to_end(&client));
    if let Some(started) = early.take() {
        stage.story.step(format!(
            "Part 1 is over: the connection took {taken} bytes. The rest is still to be sent."
        ));
        stage.story.end("file");
        finish_small(stage, started)?;
        stage.story.wrong("The client reads. The chat message goes out before the rest of the file.");
        stage.story.end("chat");
        stage.story.begin(Kind::Operation, "file", "rest");
        send_rest(stage, &server, session, first)?;
        stage.story.step("The rest of the file goes out after the chat message.");
        stage.story.end("file");
    } else {
        stage.story.step(format!("Part 1 is over: the connection took {taken} bytes. The rest is sent."));
        stage.story.begin(Kind::Operation, "file", "rest");
        send_rest(stage, &server, session, first)?;
        stage.story.step(
            "The client reads. The whole file has been sent; the chat message is the next in the queue.",
        );
        stage.story.end("file");
        stage.story.end("queue");
        stage.story.begin(Kind::Operation, "chat", "Bob's");
        let started = stage.send(raw(&server), chat, CHAT.len(), SendMode::Whole);
        finish_small(stage, started)?;
        stage.story.step("The chat message goes out after the file.");
        stage.story.end("chat");
    }
    server.shutdown(Shutdown::Write)?;
    let received = reader.join().expect("it only reads")?;
    note(stage, file, &received, first)
}

/// What the client has received, and where the chat message lies in it.
fn note(stage: &mut Stage, file: &[u8], received: &[u8], first: usize) -> io::Result<()> {
    let at = received.windows(CHAT.len()).position(|bytes| bytes == CHAT.as_bytes());
    stage.note("file_bytes", LEN);
    stage.note("first_part_bytes", first);
    stage.note("received_bytes", received.len());
    stage
        .note("chat_message_at_byte", at.ok_or_else(|| io::Error::other("the chat message did not arrive"))?);
    stage.note("file_in_one_piece", file.starts_with(&received[..LEN.min(received.len())]));
    Ok(())
}

/// Starts a send of what is left of the file: the connection takes a part of it.
fn part_of_file(stage: &mut Stage, server: &TcpStream, session: Place, sent: usize) -> Started {
    let left = &payload()[sent..];
    // SAFETY: memory that is never freed, and a block of an arena.
    unsafe { stage.kernel.send(raw(server), left.as_ptr(), left.len(), session.send(), SendMode::Some) }
}

fn send_rest(stage: &mut Stage, server: &TcpStream, session: Place, mut sent: usize) -> io::Result<()> {
    while sent < LEN {
        let started = part_of_file(stage, server, session, sent);
        sent += stage.finish(started)?;
    }
    Ok(())
}

/// Waits for the small send.
fn finish_small(stage: &mut Stage, started: Started) -> io::Result<()> {
    let bytes = stage.finish(started)?;
    if bytes == CHAT.len() { Ok(()) } else { Err(io::Error::other("a small send was short")) }
}
