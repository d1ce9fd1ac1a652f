//! A completion that is counted twice, or waited for in vain.

use std::io::{self, Write};

use crate::kernel::{KernelName, SendMode, Started};
use crate::stage::{Stage, eventually, raw, read_exactly};
use crate::story::Kind;
use crate::{Exhibit, SeenIn, Version};

const ANSWER: &str = "done";
const LATE: &str = "ONE MORE THING";
const BOB: &str = "Bob's balance: 100";

pub(super) const EXHIBIT: Exhibit = Exhibit {
    name: "skip-on-success",
    aliases: &["immediate-success"],
    title: "A completion counted twice, or never",
    mistake: "A call succeeds at once. One program counts that and the completion that comes as well: it gives back \
              two references for one operation. Another has asked for no completions on success, and waits for one.",
    repair: "One decision for each call, in one place: over now, or over with its completion; never both, never \
             neither.",
    invariant: "INV-2: one function decides between Submitted::Done and Submitted::Pending; an operation gives its \
                reference back once.",
    upheld_by: "crates/proactor/src/backend/iocp/errors.rs",
    on_windows: "Without FILE_SKIP_COMPLETION_PORT_ON_SUCCESS a packet comes for each call that returned 0; with it, \
                 none.",
    on_linux: "SEND_ZC posts two CQEs, the first with IORING_CQE_F_MORE; IOSQE_CQE_SKIP_SUCCESS posts none on success.",
    seen_in: &[SeenIn {
        name: "libuv 5282 (2026)",
        url: "https://github.com/libuv/libuv/issues/5282",
        what: "a write request on an adopted socket could be dispatched twice",
    }],
    run,
    held: |evidence| {
        evidence.get("bob_after") == evidence.get("bob_before")
            && evidence.get("sessions_leaked") == Some(&0_u64.into())
    },
};

fn run(stage: &mut Stage, version: Version) -> io::Result<()> {
    twice(stage, version)?;
    never(stage, version)
}

/// A session that waits for its client while an answer goes out: two operations, and one more reference of its own,
/// which is given back when the client is thrown out.
fn twice(stage: &mut Stage, version: Version) -> io::Result<()> {
    let (client, server) = stage.connection()?;
    let session = stage.sessions.take();
    let text = stage.sessions.take();
    text.write(ANSWER);
    stage.receive(&server, session).checked()?;
    let mut references = 2_i32; // the session's own, and the receive's
    stage.story.step("A receive is in flight: references 2.");
    stage.story.begin(Kind::Session, "Alice", "session");
    stage.story.begin(Kind::Operation, "receive for Alice", "in flight");
    stage.story.begin(Kind::Memory, "place A", "Alice's");

    references += 1;
    let ring = stage.kernel.name() == KernelName::IoUring;
    let mode = if ring { SendMode::ZeroCopy } else { SendMode::Whole };
    // SAFETY: places of an arena.
    let started =
        unsafe { stage.kernel.send(raw(&server), text.buffer(), ANSWER.len(), session.send(), mode) };
    read_exactly(&client, ANSWER.len())?;
    let mut counted = 0;
    match started {
        Started::DoneAndPosted(_) => {
            // The broken program counts the call's result, and then the packet.
            counted += i32::from(version == Version::Broken);
            stage.next()?.result?;
            counted += 1;
        }
        Started::Pending => loop {
            let completion = stage.next()?;
            completion.result?;
            counted += i32::from(version == Version::Broken || !completion.more);
            if !completion.more {
                break;
            }
        },
        Started::Done(_) => counted += 1,
        Started::Failed(error) => return Err(error),
    }
    references -= counted;
    let told = format!("An answer is sent. Its end is counted {}: references {references}.", times(counted));
    if counted == 1 {
        stage.story.step(told);
    } else {
        stage.story.wrong(told);
    }
    references -= 1;
    stage.story.step(format!("Alice is thrown out: references {references}."));
    stage.story.end("Alice");
    if references == 0 {
        stage.sessions.give_back(session);
        stage.story.end("place A");
    }
    let bob = stage.sessions.take();
    bob.write(BOB);
    stage.story.step("Bob connects and gets the memory that is free.");
    stage.story.begin(Kind::Session, "Bob", "session");
    stage.story.begin(Kind::Memory, if bob == session { "place A" } else { "place B" }, "Bob's");
    stage.note("end_counted", counted as u64);
    stage.note("bob_before", BOB);
    (&client).write_all(LATE.as_bytes())?;
    eventually("the kernel writes", || session.text().starts_with(LATE))?;
    stage.next()?.result?;
    if bob.text() == BOB {
        stage.story.step("Alice's last bytes arrive: in her own memory, which is free after that.");
        stage.sessions.give_back(session);
        stage.story.end("place A");
    } else {
        stage.story.wrong("Alice's last bytes arrive: in Bob's memory.");
    }
    stage.story.end("receive for Alice");
    stage.note("bob_after", bob.text());
    stage.sessions.give_back(bob);
    stage.sessions.give_back(text);
    Ok(())
}

/// A session that is released when its answer is out; a success posts no completion.
fn never(stage: &mut Stage, version: Version) -> io::Result<()> {
    let (client, server) = stage.connection()?;
    let session = stage.sessions.take();
    session.write(ANSWER);
    stage.kernel.skip_on_success(raw(&server))?;
    let started = stage.send(raw(&server), session, ANSWER.len(), SendMode::Whole);
    read_exactly(&client, ANSWER.len())?;
    stage.story.step("Carol's answer is out. Her session is released when the send has ended.");
    for lane in ["Bob", "place A", "place B"] {
        stage.story.end(lane);
    }
    stage.story.begin(Kind::Session, "Carol", "open");
    let over = match (version, &started) {
        // The call has said so itself.
        (Version::Repaired, Started::Done(_)) => true,
        // On a ring nothing is said at once: who skips the completion must not need it. The next one, which is asked
        // for, comes after it.
        (Version::Repaired, _) => {
            stage.receive(&server, session).checked()?;
            (&client).write_all(b"!")?;
            stage.next()?.result.is_ok()
        }
        (Version::Broken, _) => stage.next_if_any()?.is_some(),
    };
    if over {
        stage.sessions.give_back(session);
        stage
            .story
            .step("The program knows by the call, or by the next completion, that it is over: released.");
        stage.story.end("Carol");
    } else {
        stage.story.wrong("No completion comes on success: the session stays for ever.");
    }
    stage.note("sessions_leaked", u64::from(!over));
    Ok(())
}

fn times(count: i32) -> &'static str {
    if count == 1 { "once" } else { "twice" }
}
