//! One block for two operations.

use std::io::{self, Write};

use crate::arena::{BUFFER, prepare, purpose};
use crate::kernel::{Purpose, SendMode};
use crate::stage::{Stage, raw};
use crate::story::Kind;
use crate::{Exhibit, SeenIn, Version};

const WELCOME: &str = "welcome";
const HELLO: &str = "hello";

pub(super) const EXHIBIT: Exhibit = Exhibit {
    name: "overlapped-reuse",
    aliases: &["is-recv"],
    title: "One OVERLAPPED for two operations",
    mistake: "The session has one block, an extended OVERLAPPED with an is_recv flag, as in many first servers. While its \
              receive is in flight, a send uses the same block and sets the flag to \"send\".",
    repair: "A block for each operation, initialised before each use, and not touched until its completion.",
    invariant: "INV-1: an operation in flight has an entry of its own in the in-flight table, with its kind in it.",
    upheld_by: "crates/proactor/src/inflight/mod.rs",
    on_windows: "One OVERLAPPED in two calls: both packets bring the same address, and both results are written to \
                 the same words.",
    on_linux: "One user_data for two requests: two CQEs that cannot be told apart.",
    seen_in: &[
        SeenIn {
            name: "Reseau.jl 134 (2026)",
            url: "https://github.com/JuliaServices/Reseau.jl/pull/134",
            what: "an OVERLAPPED could be cleared and used again before its packet had been taken",
        },
        SeenIn {
            name: "pyserial 671 (2022)",
            url: "https://github.com/pyserial/pyserial/issues/671",
            what: "an open question about the code: one OVERLAPPED serves all writes of a port, also those that return \
                   before their end",
        },
    ],
    run,
    held: |evidence| evidence.get("messages_received") == Some(&1_u64.into()),
};

fn run(stage: &mut Stage, version: Version) -> io::Result<()> {
    let (client, server) = stage.connection()?;
    let (session, welcome) = (stage.sessions.take(), stage.sessions.take());
    welcome.write(WELCOME);

    let receiving = session.receive();
    prepare(receiving, Purpose::Receive);
    // SAFETY: a place of an arena.
    unsafe { stage.kernel.receive(raw(&server), session.buffer(), BUFFER, receiving) }.checked()?;
    stage.story.step("A receive is in flight; its block says \"receive\".");
    stage.story.begin(Kind::Session, "session", "session");
    stage.story.begin(Kind::Operation, "receive", "in flight");
    stage.story.begin(Kind::Memory, "block 1 says", "recv");

    let sending = if version == Version::Broken { receiving } else { session.send() };
    prepare(sending, Purpose::Send);
    // SAFETY: places of an arena. In the broken version the kernel has this block already: the mistake that is shown.
    unsafe { stage.kernel.send(raw(&server), welcome.buffer(), WELCOME.len(), sending, SendMode::Whole) }
        .checked()?;
    if version == Version::Broken {
        stage.story.wrong("A greeting is sent with the same block: it says \"send\" now.");
        stage.story.begin(Kind::Memory, "block 1 says", "send");
    } else {
        stage.story.step("A greeting is sent with a block of its own.");
        stage.story.begin(Kind::Memory, "block 2 says", "send");
    }
    stage.story.begin(Kind::Operation, "send", "in flight");

    let (mut understood, mut messages) = (Vec::new(), 0_u64);
    for _ in 0..2 {
        let completion = stage.next()?;
        let bytes = completion.result?;
        let text = match purpose(completion.block) {
            Purpose::Receive => {
                messages += 1;
                format!("a message of {bytes} bytes: {}", session.text())
            }
            Purpose::Send => format!("a send of {bytes} bytes is over"),
        };
        let first = understood.is_empty();
        stage.story.step(format!("The worker takes a completion and understands: {text}."));
        stage.story.end(if first { "send" } else { "receive" });
        if version == Version::Repaired {
            stage.story.end(if first { "block 2 says" } else { "block 1 says" });
        }
        understood.push(text);
        if first {
            stage.story.step("The client sends 5 bytes: hello.");
            (&client).write_all(HELLO.as_bytes())?;
        }
    }
    if messages == 0 {
        stage.story.wrong("The client's message lies in the buffer, and nobody looks at it.");
    }
    stage.note("understood", understood);
    stage.note("messages_sent_by_client", 1_u64);
    stage.note("messages_received", messages);
    stage.note("left_in_the_buffer", if messages == 0 { session.text() } else { String::new() });
    Ok(())
}
