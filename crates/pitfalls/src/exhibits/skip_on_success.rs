//! The end of an operation that is counted twice, or never.

use std::io::{self, Write};
use std::net::TcpStream;

use crate::arena::Place;
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
    mistake: "The end of one operation is counted twice: its reference is given back twice, and the session is freed \
              while a receive is in flight. Or it is never counted: the program has asked for no completion on \
              success, and waits for one.",
    repair: "One decision for each operation, in one place, says what ends it: the call's result or one completion. \
             Never both, never neither.",
    invariant: "INV-2: one function decides between Submitted::Done and Submitted::Pending; an operation gives its \
                reference back once.",
    upheld_by: "crates/proactor/src/backend/iocp/errors.rs",
    on_windows: "Without FILE_SKIP_COMPLETION_PORT_ON_SUCCESS a completion packet comes for each call that returned 0; \
                 with it, none. A call that is pending posts one packet in both modes.",
    on_linux: "SEND_ZC posts a result and, if that has IORING_CQE_F_MORE, a notification with IORING_CQE_F_NOTIF. The operation ends with the CQE that does not have IORING_CQE_F_MORE. A request with \
               IOSQE_CQE_SKIP_SUCCESS posts no CQE when it succeeds, and CQEs of other requests prove nothing about it: \
               a ring does not order them.",
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

/// What tells the program about the end of a send.
struct Event {
    name: &'static str,
    text: &'static str,
    /// Why the send is not over with it. The last event has nothing here.
    not_over: Option<&'static str>,
}

const RESULT_OF_CALL: Event = Event {
    name: "the call's result",
    text: "The call returns success",
    not_over: Some("a completion will come"),
};
const COMPLETION: Event =
    Event { name: "the completion", text: "The completion of the same send comes", not_over: None };
const RESULT_CQE: Event = Event {
    name: "the CQE with the result",
    text: "Its first CQE brings the result, with IORING_CQE_F_MORE",
    not_over: Some("another CQE will come"),
};
const NOTIFICATION_CQE: Event = Event {
    name: "the CQE with the notification",
    text: "Its second CQE is the notification, with IORING_CQE_F_NOTIF: the kernel no longer uses the memory",
    not_over: None,
};

fn on_a_ring(stage: &Stage) -> bool {
    stage.kernel.name() == KernelName::IoUring
}

/// A session with a receive in flight sends an answer, and its client is thrown out. It has three references: its own,
/// the receive's and the send's.
fn twice(stage: &mut Stage, version: Version) -> io::Result<()> {
    let (client, server) = stage.connection()?;
    let session = stage.sessions.take();
    let text = stage.sessions.take();
    text.write(ANSWER);
    stage.receive(&server, session).checked()?;
    stage.story.step("A receive is in flight for Alice: 2 references, the session's own and the receive's.");
    stage.story.begin(Kind::Session, "Alice", "session");
    stage.story.begin(Kind::Operation, "receive for Alice", "in flight");
    stage.story.begin(Kind::Memory, "place A", "Alice's");

    let (mode, how) =
        if on_a_ring(stage) { (SendMode::ZeroCopy, " with SEND_ZC") } else { (SendMode::Whole, "") };
    // SAFETY: places of an arena.
    let started =
        unsafe { stage.kernel.send(raw(&server), text.buffer(), ANSWER.len(), session.send(), mode) };
    stage.story.step(format!("An answer is sent to her{how}: 3 references."));
    stage.story.begin(Kind::Operation, "send", "answer");
    read_exactly(&client, ANSWER.len())?;
    let counted = count_ends(stage, version, started)?;
    stage.story.end("send");

    // Of the three, one goes for each end that is counted, and the session's own.
    let references = 3 - counted.len() - 1;
    let then = if references == 0 {
        ": her memory is freed, with the receive in flight."
    } else {
        ", the receive's."
    };
    stage.story.step(format!("Alice is thrown out. References: {references}{then}"));
    stage.story.end("Alice");
    stage.note("end_counted", counted.len());
    stage.note("end_counted_by", counted);
    if references == 0 {
        stage.sessions.give_back(session);
        stage.story.end("place A");
    }
    late_bytes(stage, &client, session)?;
    stage.sessions.give_back(text);
    Ok(())
}

/// By which events the program counts the end of the send. Each gives back a reference.
fn count_ends(stage: &mut Stage, version: Version, started: Started) -> io::Result<Vec<String>> {
    let mut events = Vec::new();
    match started {
        Started::DoneAndPosted(_) => {
            stage.next()?.result?;
            events.extend([RESULT_OF_CALL, COMPLETION]);
        }
        Started::Pending => loop {
            let completion = stage.next()?;
            completion.result?;
            events.push(match (completion.notification, completion.more) {
                (true, _) => NOTIFICATION_CQE,
                (false, true) => RESULT_CQE,
                (false, false) => COMPLETION,
            });
            if !completion.more {
                break;
            }
        },
        Started::Done(_) => events.push(RESULT_OF_CALL),
        Started::Failed(error) => return Err(error),
    }
    let mut counted = Vec::new();
    for Event { name, text, not_over } in events {
        if let (Version::Repaired, Some(why)) = (version, not_over) {
            stage.story.step(format!("{text}: {why}. References: {}.", 3 - counted.len()));
            continue;
        }
        counted.push(name.to_owned());
        let references = 3 - counted.len();
        if counted.len() > 1 {
            stage.story.wrong(format!("{text}. The end is counted again. References: {references}."));
        } else {
            stage.story.step(format!("{text}. The end is counted. References: {references}."));
        }
    }
    Ok(counted)
}

/// Bob gets the memory that is free, and the receive for Alice completes.
fn late_bytes(stage: &mut Stage, mut client: &TcpStream, session: Place) -> io::Result<()> {
    let bob = stage.sessions.take();
    bob.write(BOB);
    stage.story.step("Bob connects and gets the memory that is free.");
    stage.story.begin(Kind::Session, "Bob", "open");
    stage.story.begin(Kind::Memory, if bob == session { "place A" } else { "place B" }, "Bob's");
    stage.note("bob_before", BOB);
    client.write_all(LATE.as_bytes())?;
    eventually("the kernel writes", || session.text().starts_with(LATE))?;
    stage.next()?.result?;
    if bob.text() == BOB {
        stage
            .story
            .step("Alice's last bytes arrive, in her own memory. It is freed with the last reference, the receive's.");
        stage.sessions.give_back(session);
        stage.story.end("place A");
    } else {
        stage.story.wrong("Alice's last bytes arrive, in Bob's memory.");
    }
    stage.story.end("receive for Alice");
    stage.note("bob_after", bob.text());
    stage.sessions.give_back(bob);
    Ok(())
}

/// A session that is released when its answer is out.
fn never(stage: &mut Stage, version: Version) -> io::Result<()> {
    let (client, server) = stage.connection()?;
    let session = stage.sessions.take();
    session.write(ANSWER);
    // A flag of one request on a ring, a mode of the socket elsewhere.
    let how = match (on_a_ring(stage), version) {
        (true, Version::Broken) => "with IOSQE_CQE_SKIP_SUCCESS",
        (true, Version::Repaired) => "without IOSQE_CQE_SKIP_SUCCESS",
        (false, _) => "on a socket that posts no completion for an immediate success",
    };
    if !on_a_ring(stage) || version == Version::Broken {
        stage.kernel.skip_on_success(raw(&server))?;
    }
    let started = stage.send(raw(&server), session, ANSWER.len(), SendMode::Whole);
    stage.story.step(format!("An answer is sent to Carol, {how}."));
    for lane in ["Bob", "place A", "place B"] {
        stage.story.end(lane);
    }
    stage.story.begin(Kind::Session, "Carol", "open");
    read_exactly(&client, ANSWER.len())?;
    stage.story.step("Carol has read it. Her session is to be released when the send is over.");
    let known_by = match (version, started) {
        (Version::Broken, _) => stage.next_if_any()?.map(|_| COMPLETION.name),
        (Version::Repaired, Started::Done(_)) => Some(RESULT_OF_CALL.name),
        (Version::Repaired, started) => stage.finish(started).map(|_| Some(COMPLETION.name))?,
    };
    match known_by {
        Some(event) => {
            stage.sessions.give_back(session);
            stage.story.step(format!("The send is over: {event} says so. Her session is released."));
            stage.story.end("Carol");
        }
        None => stage
            .story
            .wrong("No completion comes, because the send has succeeded: her session stays forever."),
    }
    stage.note("other_end_known_by", known_by.unwrap_or_default());
    stage.note("sessions_leaked", u64::from(known_by.is_none()));
    Ok(())
}
