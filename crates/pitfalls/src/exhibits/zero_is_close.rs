//! An end of stream, a reset and an empty receive, all taken for "closed".

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::time::Duration;

use socket2::SockRef;

use crate::kernel::SendMode;
use crate::stage::{Stage, raw, read_to_end, shown};
use crate::story::Kind;
use crate::{Exhibit, SeenIn, Version};

const ANSWER: &str = "4";
/// What arrives of an upload whose end is the end of the stream.
const HALF: &str = "half of a file";
const GREETING: &str = "hi";

pub(super) const EXHIBIT: Exhibit = Exhibit {
    name: "zero-is-close",
    aliases: &["half-close"],
    title: "Zero bytes taken for \"closed\"",
    mistake: "One line, if (bytes == 0) close, for three different things: the end of the stream of a client that waits \
              for its answer, a reset, and a receive of zero bytes that only waits until there is something to receive.",
    repair: "An end of stream ends one direction: the answer still goes out. A reset is an error. A receive of zero bytes \
             that completes is followed by one with a buffer.",
    invariant: "INV-7 and INV-8: end of stream, reset, abort and local close stay four outcomes; a half-closed peer \
                gets everything that is owed to it.",
    upheld_by: "crates/overlapped/src/session/close_reason.rs",
    on_windows: "After a reset the completion has 0 bytes and an error, ERROR_NETNAME_DELETED. A WSARecv of zero bytes \
                 is a common way to wait without a buffer: it completes with 0 bytes when there is data or the stream \
                 has ended.",
    on_linux: "res is 0 at the end of the stream and -ECONNRESET after a reset. A RECV of length zero completes with 0 \
               as well; programs on rings use POLL_ADD or buffers that the kernel selects instead.",
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
            && evidence.get("upload_stored") == Some(&"".into())
            && evidence.get("waiting_message_read") == Some(&true.into())
            && evidence.get("idle_client_got") == Some(&GREETING.into())
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
    let started = stage.receive(&server, session);
    stage.story.step("Hana asks \"2+2\". The server computes, and the next receive starts.");
    stage.story.begin(Kind::Session, "Hana", "open");
    stage.story.begin(Kind::Operation, "receive", "Hana's");
    client.shutdown(Shutdown::Write)?;
    stage.story.step("Hana has nothing more to send: she ends her stream and waits for the answer.");
    let bytes = stage.finish(started)?;
    if version == Version::Broken {
        drop(server);
        stage.story.wrong(format!(
            "The receive completes with {bytes} bytes. The server takes that for closed and closes: Hana gets no \
             answer."
        ));
    } else {
        session.write(ANSWER);
        let started = stage.send(raw(&server), session, ANSWER.len(), SendMode::Whole);
        stage.finish(started)?;
        server.shutdown(Shutdown::Write)?;
        stage.story.step(format!(
            "The receive completes with {bytes} bytes: her stream has ended. The answer is sent, then the end of \
             ours."
        ));
    }
    stage.story.end("Hana");
    stage.story.end("receive");
    stage.note("answer_received", shown(&read_to_end(&client)?));
    Ok(())
}

/// An upload as in FTP, whose end is the end of the stream.
fn reset(stage: &mut Stage, version: Version) -> io::Result<()> {
    let (client, server) = stage.connection()?;
    let session = stage.sessions.take();
    let started = stage.receive(&server, session);
    (&client).write_all(HALF.as_bytes())?;
    let arrived = stage.finish(started)?;
    let mut upload = session.bytes()[..arrived].to_vec();
    stage.story.step("Rita uploads a file; the end of her stream is its end. Half of it has arrived.");
    let started = stage.receive(&server, session);
    stage.story.begin(Kind::Session, "Rita", "open");
    stage.story.begin(Kind::Operation, "receive", "Rita's");
    SockRef::from(&client).set_linger(Some(Duration::ZERO))?;
    drop(client);
    stage.story.step("Rita breaks off: a reset arrives.");
    let result = stage.finish(started);
    let bytes = result.as_ref().map_or(0, |bytes| *bytes);
    let reported = match version {
        Version::Broken if bytes == 0 => "end of stream",
        Version::Repaired if result.is_err() => "reset",
        _ => "data",
    };
    if version == Version::Broken {
        stage.story.wrong(
            "The receive fails, so it has 0 bytes. The server takes that for the end: half a file is stored.",
        );
    } else {
        upload.clear();
        stage.story.step("The receive fails. The server discards what has arrived.");
    }
    stage.story.end("Rita");
    stage.story.end("receive");
    stage.note("reset_reported_as", reported);
    stage.note("upload_stored", shown(&upload));
    Ok(())
}

fn empty_receive(stage: &mut Stage, version: Version) -> io::Result<()> {
    let (mut client, server) = stage.connection()?;
    let session = stage.sessions.take();
    // SAFETY: a place of an arena.
    let started = unsafe { stage.kernel.receive(raw(&server), session.buffer(), 0, session.receive()) };
    let early = stage.kernel.next(Duration::ZERO)?;
    stage
        .story
        .step("Zoe is silent. The server waits for her with a receive of zero bytes, which needs no buffer.");
    stage.story.begin(Kind::Session, "Zoe", "open");
    stage.story.begin(Kind::Operation, "receive", "Zoe's");
    stage.note("empty_receive_waited", early.is_none());
    client.write_all(GREETING.as_bytes())?;
    stage.story.step(format!("Zoe says \"{GREETING}\"."));
    let bytes = match early {
        Some(completion) => completion.result?,
        None => stage.finish(started)?,
    };
    let read = version == Version::Repaired || bytes > 0;
    if read {
        let started = stage.receive(&server, session);
        let bytes = stage.finish(started)?;
        let started = stage.send(raw(&server), session, bytes, SendMode::Whole);
        stage.finish(started)?;
        stage.story.step(format!(
            "It completes: there is something to receive. A receive with a buffer gets \"{GREETING}\", and it is sent \
             back."
        ));
    } else {
        drop(server);
        stage.story.wrong(format!(
            "It completes with {bytes} bytes. The server takes that for closed and closes, \"{GREETING}\" unread: Zoe \
             gets a reset."
        ));
        stage.story.end("Zoe");
    }
    stage.story.end("receive");
    stage.note("waiting_message_read", read && session.text() == GREETING);
    let mut got = [0; GREETING.len()];
    let got = match client.read_exact(&mut got) {
        Ok(()) => shown(&got),
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => "a reset".to_owned(),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => "an end of stream".to_owned(),
        Err(error) => return Err(error),
    };
    stage.note("idle_client_got", got);
    Ok(())
}
