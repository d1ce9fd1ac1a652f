//! A buffer that is used again before its send is over.

use std::io;

use crate::kernel::SendMode;
use crate::stage::{Stage, fill, raw, read_exactly, shown};
use crate::story::Kind;
use crate::{Exhibit, SeenIn, Version};

const FOR_ALICE: &str = "Alice, your code is 1111";
const FOR_BOB: &str = "Bob,   your code is 2222";

pub(super) const EXHIBIT: Exhibit = Exhibit {
    name: "send-buffer",
    aliases: &["wsasend-buffer"],
    title: "A buffer is used again before its send is over",
    mistake: "The text for Alice lies in a buffer that is used again for the next text, as a local buffer on the stack \
              is. Her connection takes nothing for now, so the send stays in flight while the same memory gets the text \
              for Bob.",
    repair: "The send owns its bytes until its completion; the text for Bob gets memory of its own.",
    invariant: "INV-1: a payload is moved into the in-flight table when it is sent, and comes out with its completion.",
    upheld_by: "crates/proactor/src/driver/send.rs",
    on_windows: "WSASend may read the buffer when the connection takes the bytes, not when it is called: certainly so \
                 with SO_SNDBUF 0, where Winsock copies nothing.",
    on_linux: "SEND is tried again when the socket is writable, and reads the buffer then; SEND_ZC reads it even later.",
    seen_in: &[
        SeenIn {
            name: "Reseau.jl 134 (2026)",
            url: "https://github.com/JuliaServices/Reseau.jl/pull/134",
            what: "the caller of a cancelled write could go on while Windows still had its buffer",
        },
        SeenIn {
            name: "ioxide 221 (2026)",
            url: "https://github.com/MDA2AV/ioxide/issues/221",
            what: "on a ring, the buffer of a send in flight went to the next connection: the first peer received the \
                   other's response",
        },
        SeenIn {
            name: "liburing 1410 (2025)",
            url: "https://github.com/axboe/liburing/pull/1410",
            what: "a test queued sends whose msghdr lay in a stack frame that was gone when they were submitted",
        },
    ],
    run,
    held: |evidence| evidence.get("alice_got") == evidence.get("sent_to_alice"),
};

fn run(stage: &mut Stage, version: Version) -> io::Result<()> {
    let (client, alice) = stage.connection()?;
    let filler = fill(&alice)?;
    // Else Winsock may copy what waits ("Design issues: sending small data segments over TCP with Winsock").
    #[cfg(windows)]
    socket2::SockRef::from(&alice).set_send_buffer_size(0)?;
    stage.story.step("Alice reads slowly: her connection takes nothing more for now.");
    stage.story.begin(Kind::Session, "Alice", "session");

    let buffer = stage.sessions.take();
    let lane = format!("buffer {}", stage.sessions.number(buffer));
    buffer.write(FOR_ALICE);
    let started = stage.send(raw(&alice), buffer, FOR_ALICE.len(), SendMode::Whole).checked()?;
    stage.story.step("A send for Alice starts. It has to wait: the kernel keeps the address.");
    stage.story.begin(Kind::Memory, &lane, "Alice's");
    stage.story.begin(Kind::Operation, "send to Alice", "in flight");

    if version == Version::Broken {
        buffer.write(FOR_BOB);
        stage.story.step("The function returns, and the same memory gets the text for Bob.");
        stage.story.begin(Kind::Memory, &lane, "Bob's");
    } else {
        let other = stage.sessions.take();
        other.write(FOR_BOB);
        stage.story.step("The text for Bob gets memory of its own.");
        stage.story.begin(Kind::Memory, &format!("buffer {}", stage.sessions.number(other)), "Bob's");
    }

    let bytes = read_exactly(&client, filler + FOR_ALICE.len())?;
    stage.finish(started)?;
    let got = shown(&bytes[filler..]);
    if got == FOR_ALICE {
        stage.story.step("Alice reads on, the kernel sends: she gets her text.");
    } else {
        stage.story.wrong("Alice reads on, the kernel sends what lies there now: she gets Bob's code.");
    }
    stage.story.end("send to Alice");
    if version == Version::Repaired {
        stage.story.end(&lane);
    }
    stage.note("sent_to_alice", FOR_ALICE);
    stage.note("alice_got", got);
    Ok(())
}
