//! A send that took a part, taken for the whole.

use std::io;
use std::net::Shutdown;
use std::thread;

use socket2::SockRef;

use crate::kernel::SendMode;
use crate::large::{LEN, payload};
use crate::stage::{Stage, raw, read_to_end};
use crate::story::{Kind, grouped};
use crate::{Exhibit, SeenIn, Version};

pub(super) const EXHIBIT: Exhibit = Exhibit {
    name: "short-send",
    aliases: &["partial-send"],
    title: "A partial send is taken for the whole",
    mistake: "A send completes with fewer bytes than were asked for. The program takes \"completed\" for \"sent\".",
    repair: "The rest is sent from where the first part ended, until nothing is left.",
    invariant: "INV-4: a short send is continued; nothing is lost or doubled.",
    upheld_by: "crates/proactor/src/driver/send.rs",
    on_windows: "A send without an OVERLAPPED on a non-blocking socket takes what fits. An overlapped WSASend that \
                 succeeds has sent all of its bytes.",
    on_linux: "SEND without MSG_WAITALL completes with what the socket took.",
    seen_in: &[
        SeenIn {
            name: "liburing 1001 (2023)",
            url: "https://github.com/axboe/liburing/issues/1001",
            what: "a developer of io_uring says that a send may be short even with MSG_WAITALL",
        },
        SeenIn {
            name: "objeck-lang 670 (2026)",
            url: "https://github.com/objeck/objeck-lang/pull/670",
            what: "one send was made, and what it did not take was dropped",
        },
    ],
    run,
    held: |evidence| evidence.get("received") == evidence.get("sent"),
};

fn run(stage: &mut Stage, version: Version) -> io::Result<()> {
    let (client, server) = stage.connection()?;
    SockRef::from(&server).set_send_buffer_size(64 * 1024)?;
    let payload = payload();
    let session = stage.sessions.take();
    stage.story.step(format!("A file of {} bytes is to be sent.", grouped(LEN as u64)));
    stage.story.begin(Kind::Session, "session", "sends a file");

    // SAFETY: memory that is never freed, and a block of an arena.
    let started =
        unsafe { stage.kernel.send(raw(&server), payload.as_ptr(), LEN, session.send(), SendMode::Some) };
    stage.story.begin(Kind::Operation, "send", "part 1");
    let mut sent = stage.finish(started)?;
    let first = sent;
    stage.story.step(format!("The send completes: the connection took {} bytes.", grouped(first as u64)));
    stage.story.end("send");

    let reader = thread::spawn(move || read_to_end(&client));
    if version == Version::Repaired {
        stage.story.step("The client reads. The rest is sent from where the first part ended.");
        stage.story.begin(Kind::Operation, "send", "rest");
        while sent < LEN {
            // SAFETY: as above; the address lies in the same memory.
            let started = unsafe {
                let rest = payload.as_ptr().add(sent);
                stage.kernel.send(raw(&server), rest, LEN - sent, session.send(), SendMode::Some)
            };
            sent += stage.finish(started)?;
        }
    }
    server.shutdown(Shutdown::Write)?;
    let received = reader.join().expect("it only reads")?;
    if received.len() == LEN {
        stage.story.step("The client has the whole file.");
    } else {
        let missing = grouped((LEN - received.len()) as u64);
        stage.story.wrong(format!("The session is closed. The client has {missing} bytes too few."));
        stage.story.end("session");
    }
    stage.story.end("send");
    stage.note("sent", LEN);
    stage.note("first_completion", first);
    stage.note("received", received.len());
    stage.note("what_arrived_is_right", payload.starts_with(&received));
    Ok(())
}
