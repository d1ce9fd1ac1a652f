//! Two sends of one session in flight at a time.

use std::io;
use std::net::Shutdown;
use std::thread;

use socket2::SockRef;

use crate::kernel::{SendMode, Started};
use crate::large::{LEN, payload};
use crate::stage::{Stage, raw, read_to_end};
use crate::story::{Kind, grouped};
use crate::{Exhibit, SeenIn, Version};

const CHAT: &str = "<chat from Bob>";

pub(super) const EXHIBIT: Exhibit = Exhibit {
    name: "interleaved-sends",
    aliases: &["two-sends"],
    title: "Two sends of one session in flight",
    mistake: "While a file is being sent, a chat message is sent to the same client. The file's send was short, so the \
              rest of it goes out behind the chat message: in the middle of the file.",
    repair: "One send in flight for each session; what comes meanwhile waits in a queue.",
    invariant: "INV-4: at most one send is in flight per connection; bytes leave in order.",
    upheld_by: "crates/overlapped/src/session/send_queue.rs",
    on_windows: "Several WSASend at a time leave in the order of the calls, if one thread makes them and none is \
                 short: with a first try on a non-blocking socket, one is.",
    on_linux: "Requests may be tried again in any order, and each of them may be short.",
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

    // SAFETY: memory that is never freed, and a block of an arena.
    let started =
        unsafe { stage.kernel.send(raw(&server), file.as_ptr(), LEN, session.send(), SendMode::Some) };
    stage.story.step(format!("A file of {} bytes is to be sent.", grouped(LEN as u64)));
    stage.story.begin(Kind::Session, "session", "sends a file");
    stage.story.begin(Kind::Operation, "file", "part 1");
    let mut sent = stage.finish(started)?;
    stage.story.step(format!("The send is short: the connection took {} bytes.", grouped(sent as u64)));
    stage.story.end("file");

    let mut early = None;
    if version == Version::Broken {
        early = Some(stage.send(raw(&server), chat, CHAT.len(), SendMode::Whole).checked()?);
        stage.story.step("Bob writes: the chat message is sent at once, beside the file.");
        stage.story.begin(Kind::Operation, "chat", "sent");
    } else {
        stage.story.step("Bob writes: the chat message waits in the queue.");
        stage.story.begin(Kind::Memory, "queue", "chat");
    }
    let reader = thread::spawn(move || read_to_end(&client));
    if let Some(started) = early.take() {
        finish_small(stage, started)?;
        stage.story.wrong("The client reads. The chat message leaves in the middle of the file.");
        stage.story.end("chat");
    } else {
        stage.story.step("The client reads. The rest of the file is sent first.");
    }
    stage.story.begin(Kind::Operation, "file", "rest");
    while sent < LEN {
        // SAFETY: as above; the address lies in the same memory.
        let started = unsafe {
            let rest = file.as_ptr().add(sent);
            stage.kernel.send(raw(&server), rest, LEN - sent, session.send(), SendMode::Some)
        };
        sent += stage.finish(started)?;
    }
    if version == Version::Repaired {
        stage.story.step("The file has left. The chat message is the next in the queue.");
        stage.story.end("file");
        stage.story.begin(Kind::Operation, "chat", "sent");
        stage.story.end("queue");
        let started = stage.send(raw(&server), chat, CHAT.len(), SendMode::Whole);
        finish_small(stage, started)?;
        stage.story.step("The chat message leaves behind the file.");
        stage.story.end("chat");
    } else {
        stage.story.step("The rest of the file leaves behind it.");
        stage.story.end("file");
    }
    server.shutdown(Shutdown::Write)?;
    let received = reader.join().expect("it only reads")?;
    let at = received.windows(CHAT.len()).position(|bytes| bytes == CHAT.as_bytes());
    stage.note("file_bytes", LEN);
    stage.note("received_bytes", received.len());
    stage
        .note("chat_message_at_byte", at.ok_or_else(|| io::Error::other("the chat message did not arrive"))?);
    stage.note("file_in_one_piece", file.starts_with(&received[..LEN.min(received.len())]));
    Ok(())
}

/// Waits for the small send.
fn finish_small(stage: &mut Stage, started: Started) -> io::Result<()> {
    let bytes = stage.finish(started)?;
    if bytes == CHAT.len() { Ok(()) } else { Err(io::Error::other("a small send was short")) }
}
