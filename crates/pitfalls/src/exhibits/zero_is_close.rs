//! An end of stream, a reset and an empty receive, all taken for "closed".

use std::io::{self, Write};
use std::net::Shutdown;
use std::time::Duration;

use socket2::SockRef;

use crate::kernel::SendMode;
use crate::stage::{Stage, raw, read_to_end, shown};
use crate::story::Kind;
use crate::{Exhibit, SeenIn, Version};

const ANSWER: &str = "4";

pub(super) const EXHIBIT: Exhibit = Exhibit {
    name: "zero-is-close",
    aliases: &["half-close"],
    title: "Zero bytes taken for \"closed\"",
    mistake: "One line, if (bytes == 0) close, for three different things: a client that has finished sending and \
              waits for its answer, a client that broke off, and an empty receive that only asked for readiness.",
    repair: "An end of stream ends one direction: the answer still goes out. A reset is a reset. An empty receive \
             says that there is something to receive.",
    invariant: "INV-7 and INV-8: end of stream, reset, abort and local close stay four outcomes; a half-closed peer \
                gets everything that is owed to it.",
    upheld_by: "crates/overlapped/src/session/close_reason.rs",
    on_windows: "A WSARecv of zero bytes is a common way to wait without a buffer; it completes with 0 when data is \
                 there.",
    on_linux: "A RECV of length zero completes with 0 as well; readiness is asked with POLL_ADD instead.",
    seen_in: &[
        SeenIn {
            name: "skynet 50 (2013)",
            url: "https://github.com/cloudwu/skynet/issues/50",
            what: "the server closed at the client's FIN, so its answer could not be sent",
        },
        SeenIn {
            name: "ioxide 164 (2026)",
            url: "https://github.com/MDA2AV/ioxide/issues/164",
            what: "on a ring: a receive of 0 or less closed the connection, and the answer was dropped",
        },
    ],
    run,
    held: |evidence| {
        evidence.get("answer_received") == Some(&ANSWER.into())
            && evidence.get("reset_reported_as") == Some(&"reset".into())
            && evidence.get("waiting_message_read") == Some(&true.into())
    },
};

fn run(stage: &mut Stage, version: Version) -> io::Result<()> {
    half_close(stage, version)?;
    reset(stage, version)?;
    empty_receive(stage, version)
}

fn half_close(stage: &mut Stage, version: Version) -> io::Result<()> {
    let (client, server) = stage.connection()?;
    let session = stage.sessions.take();
    let started = stage.receive(&server, session);
    (&client).write_all(b"2+2")?;
    stage.finish(started)?;
    stage.story.step("Hana asks \"2+2\" and ends her stream. The answer takes a moment.");
    stage.story.begin(Kind::Session, "Hana", "asked, listens");
    stage.story.begin(Kind::Operation, "receive for Hana", "in flight");
    client.shutdown(Shutdown::Write)?;
    let started = stage.receive(&server, session);
    let bytes = stage.finish(started)?;
    stage.story.step(format!("Her next receive completes with {bytes} bytes."));
    stage.story.end("receive for Hana");
    if version == Version::Broken {
        drop(server);
        stage.story.wrong("0 bytes: closed. Her answer has nowhere to go.");
        stage.story.end("Hana");
    } else {
        session.write(ANSWER);
        let started = stage.send(raw(&server), session, ANSWER.len(), SendMode::Whole);
        stage.finish(started)?;
        server.shutdown(Shutdown::Write)?;
        stage.story.step("Her direction has ended, ours has not: the answer goes out, and the end after it.");
        stage.story.end("Hana");
    }
    let answer = shown(&read_to_end(&client)?);
    stage.note("answer_received", answer);
    Ok(())
}

fn reset(stage: &mut Stage, version: Version) -> io::Result<()> {
    let (client, server) = stage.connection()?;
    let session = stage.sessions.take();
    stage.story.step("Rita's upload is half done.");
    stage.story.begin(Kind::Session, "Rita", "uploads");
    stage.story.begin(Kind::Operation, "receive for Rita", "in flight");
    let started = stage.receive(&server, session);
    SockRef::from(&client).set_linger(Some(Duration::ZERO))?;
    drop(client);
    let result = stage.finish(started);
    let bytes = result.as_ref().map_or(0, |bytes| *bytes);
    let reported = match version {
        Version::Broken if bytes == 0 => "end of stream",
        Version::Repaired if result.is_err() => "reset",
        _ => "data",
    };
    if version == Version::Broken {
        stage.story.wrong("She breaks off. 0 bytes: closed in good order; the half upload counts as whole.");
    } else {
        stage.story.step("She breaks off. The completion failed: a reset; the half upload is thrown away.");
    }
    stage.story.end("Rita");
    stage.story.end("receive for Rita");
    stage.note("reset_reported_as", reported);
    Ok(())
}

fn empty_receive(stage: &mut Stage, version: Version) -> io::Result<()> {
    let (client, server) = stage.connection()?;
    let session = stage.sessions.take();
    (&client).write_all(b"hi")?;
    stage
        .story
        .step("Zoe is idle, so the server waits for her with a receive of zero bytes. She says \"hi\".");
    stage.story.begin(Kind::Session, "Zoe", "idle");
    stage.story.begin(Kind::Operation, "empty receive", "in flight");
    // SAFETY: a place of an arena.
    let started = unsafe { stage.kernel.receive(raw(&server), session.buffer(), 0, session.receive()) };
    let bytes = stage.finish(started)?;
    let read = if version == Version::Broken && bytes == 0 {
        stage.story.wrong("It completes with 0 bytes: closed, with \"hi\" unread. Zoe gets a reset.");
        stage.story.end("Zoe");
        drop(server);
        false
    } else {
        let started = stage.receive(&server, session);
        stage.finish(started)?;
        stage.story.step("It completes: there is something. A receive with a buffer brings \"hi\".");
        session.text() == "hi"
    };
    stage.story.end("empty receive");
    stage.note("waiting_message_read", read);
    Ok(())
}
