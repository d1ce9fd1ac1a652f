//! A call that failed at once, and a completion that failed, taken for success.

use std::io::{self, Write};
use std::net::{TcpListener, TcpStream};

use socket2::{Domain, SockRef, Socket, Type};

use crate::arena::BUFFER;
use crate::kernel::{KernelName, SUBMISSIONS, Started};
use crate::stage::{Stage, raw};
use crate::story::Kind;
use crate::{Exhibit, SeenIn, Version};

const ORDER: &str = "buy 100";
/// How many of the receives can start.
const STARTS: usize = SUBMISSIONS as usize;
/// How many cannot.
const FAILS: usize = 3;

pub(super) const EXHIBIT: Exhibit = Exhibit {
    name: "unchecked-result",
    aliases: &["unchecked-error"],
    title: "Results that nobody looks at",
    mistake: "The result of the call that starts an operation is ignored, and so is the result in the completion.",
    repair: "A call that fails at once gives its reference back at once: no completion will come. A completion that \
             failed brings an error, not bytes.",
    invariant: "INV-2 and INV-7: Submitted::Done or Submitted::Pending is one decision, in one type; an outcome is \
                bytes, an end or an error.",
    upheld_by: "crates/proactor/src/operation.rs",
    on_windows: "SOCKET_ERROR with another error than WSA_IO_PENDING: no completion packet comes. \
                 GetQueuedCompletionStatus returns FALSE with an OVERLAPPED: that operation failed.",
    on_linux: "io_uring_get_sqe returns NULL while the submission queue is full: nothing was submitted, no CQE comes. A \
               negative res in a CQE is an error code.",
    seen_in: &[
        SeenIn {
            name: "ponyc 5090 (2026)",
            url: "https://github.com/ponylang/ponyc/issues/5090",
            what: "for one error code of WSASend the operation's reference would be kept",
        },
        SeenIn {
            name: "rocksdb 14521 (2026)",
            url: "https://github.com/facebook/rocksdb/pull/14521",
            what: "a null io_uring_get_sqe was not looked at: with a full submission queue the program could crash",
        },
    ],
    run,
    held: |evidence| {
        evidence.get("sessions_leaked") == Some(&0_u64.into())
            && evidence.get("orders_run") == Some(&1_u64.into())
    },
};

fn run(stage: &mut Stage, version: Version) -> io::Result<()> {
    failing_calls(stage, version)?;
    failing_completion(stage, version)
}

/// Sessions whose first receive cannot start.
fn failing_calls(stage: &mut Stage, version: Version) -> io::Result<()> {
    let (mut connections, mut failed) = (Vec::new(), 0_usize);
    stage.kernel.hold_submissions();
    for number in 0..STARTS + FAILS {
        let (client, server) = if number < STARTS || stage.kernel.name() == KernelName::IoUring {
            stage.connection()?
        } else {
            unconnected(stage)?
        };
        let session = stage.sessions.take();
        if matches!(stage.receive(&server, session), Started::Failed(_)) {
            failed += 1;
            if version == Version::Repaired {
                stage.sessions.give_back(session);
            }
        }
        connections.push((client, server));
    }
    stage.kernel.submit_held()?;
    let all = STARTS + FAILS;
    let why = if stage.kernel.name() == KernelName::IoUring {
        format!("The submission queue has room for {STARTS}, so the other {failed} calls fail.")
    } else {
        format!("{failed} of the sockets are not connected, so their calls fail.")
    };
    let (sessions, receives) = (format!("{STARTS} sessions"), format!("{STARTS} receives"));
    let stuck = format!("{failed} sessions");
    stage.story.step(format!("{all} sessions each start a receive at once. {why}"));
    stage.story.begin(Kind::Session, &sessions, "open");
    stage.story.begin(Kind::Session, &stuck, "open");
    stage.story.begin(Kind::Operation, &receives, "in flight");
    if version == Version::Repaired {
        stage.story.step("A session whose call has failed is released at once.");
        stage.story.end(&stuck);
    } else {
        stage.story.step(format!("The results are ignored: all {all} sessions wait for a completion."));
    }
    for (client, _) in connections.drain(..STARTS) {
        drop(client);
        let completion = stage.next()?;
        let session = stage.sessions.owner(completion.block).expect("a session");
        stage.sessions.give_back(session);
    }
    drop(connections);
    let leaked = stage.sessions.in_use();
    stage.story.step(format!("The clients leave. {STARTS} completions come, and each releases its session."));
    stage.story.end(&sessions);
    stage.story.end(&receives);
    if leaked > 0 {
        stage.story.wrong(format!("{leaked} sessions wait for completions that will never come."));
    }
    stage.note("sessions_started", all);
    stage.note("calls_failed", failed);
    stage.note("sessions_leaked", leaked);
    Ok(())
}

/// A client that breaks off after its first order.
fn failing_completion(stage: &mut Stage, version: Version) -> io::Result<()> {
    let (client, server) = stage.connection()?;
    let session = stage.sessions.take();
    let mut run = Vec::new();
    let started = stage.receive(&server, session);
    (&client).write_all(ORDER.as_bytes())?;
    stage.finish(started)?;
    run.push(session.text());
    stage
        .story
        .step(format!("A client sends the order \"{ORDER}\". It is carried out. The next receive starts."));
    stage.story.begin(Kind::Session, "client", "session");
    stage.story.begin(Kind::Operation, "client's receive", "in flight");

    // SAFETY: a place of an arena.
    let started = unsafe { stage.kernel.receive(raw(&server), session.buffer(), BUFFER, session.receive()) };
    SockRef::from(&client).set_linger(Some(std::time::Duration::ZERO))?;
    drop(client);
    let result = stage.finish(started);
    let error = result.as_ref().err().map(ToString::to_string);
    stage.story.step("The client resets the connection.");
    // All orders have the same size, so the broken worker does not look at the number of bytes either.
    if version == Version::Broken || result.is_ok() {
        run.push(session.text());
        stage.story.wrong(
            "The receive completes with an error. The worker takes it for data: the last order, which is still in the \
             buffer, is carried out again.",
        );
    } else {
        stage.story.step("The receive completes with an error. The worker closes the session.");
        stage.story.end("client");
    }
    stage.story.end("client's receive");
    stage.note("completion_failed_with", error.unwrap_or_default());
    stage.note("orders_sent", 1_u64);
    stage.note("orders_run", run.len());
    Ok(())
}

/// A socket on which every receive fails at once.
fn unconnected(stage: &mut Stage) -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let client = TcpStream::connect(listener.local_addr()?)?;
    let socket: TcpStream = Socket::new(Domain::IPV4, Type::STREAM, None)?.into();
    stage.kernel.adopt(raw(&socket))?;
    Ok((client, socket))
}
