//! `delete session` while a receive is in flight.

use std::io::{self, Write};

use crate::arena::Place;
use crate::stage::{Stage, eventually};
use crate::story::{Kind, Value};
use crate::{Exhibit, SeenIn, Version};

const LATE: &str = "TRANSFER ALL TO ALICE";
const BALANCE: &str = "Bob's balance: 100";

pub(super) const EXHIBIT: Exhibit = Exhibit {
    name: "use-after-release",
    aliases: &["use-after-free"],
    title: "A session is deleted while its receive is in flight",
    mistake: "Alice is thrown out and her session is deleted, but a receive for her is still in flight: the kernel \
              keeps the address of her buffer, and writes there when her bytes arrive. (Her socket stays open in this \
              exhibit, so that they do arrive.)",
    repair: "Each operation in flight holds a reference on its session. Throwing her out gives back the session's own \
             reference; the memory is free when the last completion has been taken.",
    invariant: "INV-1 and INV-2: the in-flight table owns the memory until the completion; a connection is released \
                once, when nothing is in flight for it.",
    upheld_by: "crates/proactor/src/inflight/mod.rs",
    on_windows: "The kernel has the buffer until the operation is over, and the OVERLAPPED until its packet is taken; \
                 closesocket only makes the operation end sooner. What the kernel writes late then is its result, \
                 into the OVERLAPPED.",
    on_linux: "RECV keeps the buffer until its CQE; close(2) does not even end it, the request holds the file.",
    seen_in: &[
        SeenIn {
            name: "ponyc 5055 (2026)",
            url: "https://github.com/ponylang/ponyc/pull/5055",
            what: "completions of a closed socket touched a freed event; the first repair (5046) looked at error \
                   codes, this one at a flag, and only the third (5091) counts every reference",
        },
        SeenIn {
            name: "demikernel 1149 (2024)",
            url: "https://github.com/microsoft/demikernel/pull/1149",
            what: "a use-after-free when an operation is cancelled; the repair accepts that memory may leak",
        },
        SeenIn {
            name: "Reseau.jl 134 (2026)",
            url: "https://github.com/JuliaServices/Reseau.jl/pull/134",
            what: "buffers and OVERLAPPED blocks could be released while Windows still had them",
        },
        SeenIn {
            name: "foyer 1286 (2026)",
            url: "https://github.com/foyer-rs/foyer/issues/1286",
            what: "the same on io_uring, in Rust: a future that was dropped freed the buffer of its operation",
        },
    ],
    run,
    held: |evidence| evidence.get("bob_after") == evidence.get("bob_before"),
};

fn run(stage: &mut Stage, version: Version) -> io::Result<()> {
    let ((alice_client, alice), (_bob_client, _bob)) = (stage.connection()?, stage.connection()?);

    let alices = stage.sessions.take();
    let place = format!("memory {}", stage.sessions.number(alices));
    stage.story.step("Alice connects. Her session gets its memory.");
    stage.story.begin(Kind::Session, "Alice", "session");
    stage.story.begin(Kind::Memory, &place, "Alice's");
    stage.receive(&alice, alices).checked()?;
    stage.story.step("A receive is in flight: the kernel has the address of her buffer.");
    stage.story.begin(Kind::Operation, "receive for Alice", "in flight");

    if version == Version::Broken {
        stage.sessions.give_back(alices);
        stage.story.step("Alice is thrown out: her session is deleted, and its memory is free.");
        stage.story.end("Alice");
        stage.story.end(&place);
    } else {
        stage.story.step(
            "Alice is thrown out: her session gives back its own reference. The receive still holds one, so the \
             session and its memory stay.",
        );
        stage.story.begin(Kind::Session, "Alice", "closing");
    }

    let bobs = stage.sessions.take();
    let bobs_place = format!("memory {}", stage.sessions.number(bobs));
    bobs.write(BALANCE);
    let which = if bobs == alices { "the memory that Alice's had" } else { "other memory" };
    stage.story.step(format!("Bob connects. His session gets {which}."));
    stage.story.begin(Kind::Session, "Bob", "session");
    stage.story.begin(Kind::Memory, &bobs_place, "Bob's");
    stage.note("same_memory", bobs == alices);
    stage.note("bob_before", bobs.text());

    (&alice_client).write_all(LATE.as_bytes())?;
    eventually("the kernel writes Alice's bytes", || alices.text().starts_with(LATE))?;
    let completion = stage.next()?;
    let bytes = completion.result?;
    let after = bobs.text();
    if after == BALANCE {
        stage.story.step(format!("Alice's {bytes} bytes arrive: the kernel writes them into her memory."));
    } else {
        stage.story.wrong(format!("Alice's {bytes} bytes arrive: the kernel writes them into Bob's memory."));
    }
    stage.story.end("receive for Alice");
    stage.note("bob_after", after);
    stage.note("bytes_written_late", bytes);
    stage.note("completion_names", owner(stage, completion.block, alices, bobs));
    if version == Version::Repaired {
        stage.sessions.give_back(alices);
        stage.story.step(
            "The worker has taken the completion and gives back its reference, the last one: now her session is \
             deleted, and its memory is free.",
        );
        stage.story.end("Alice");
        stage.story.end(&place);
    }
    Ok(())
}

/// Who a worker would believe this completion is for: sessions are found by their address.
fn owner(stage: &Stage, block: *mut crate::kernel::Block, alices: Place, bobs: Place) -> Value {
    match stage.sessions.owner(block) {
        Some(place) if place == bobs => "Bob".into(),
        Some(place) if place == alices => "Alice, who is closing".into(),
        _ => "nobody".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Evidence;

    #[test]
    fn the_verdict_is_the_memory_of_the_other_session() {
        let mut evidence = Evidence::default();
        evidence.note("bob_before", BALANCE);
        evidence.note("bob_after", LATE);
        assert!(!(EXHIBIT.held)(&evidence));
    }
}
