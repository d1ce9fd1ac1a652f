//! A port or a ring that is torn down before its operations are over.

use std::io::{self, Write};

use crate::kernel::absent;
use crate::stage::{Stage, eventually, raw};
use crate::story::Kind;
use crate::{Exhibit, SeenIn, Version};

const LATE: &str = "BYTES OF A CLIENT";
const NEXT: &str = "the next owner's data";

pub(super) const EXHIBIT: Exhibit = Exhibit {
    name: "close-without-cancel",
    aliases: &["teardown"],
    title: "Memory is freed before the operations are over",
    mistake: "When it stops, the server frees its sessions and then closes the port or the ring. The receives are still \
              in flight: the kernel keeps the addresses of their buffers, and writes there when bytes arrive. (The \
              sockets stay open in this exhibit, so that they do arrive.)",
    repair: "End the workers, cancel, take completions until nothing is in flight, then free, then close.",
    invariant: "INV-10: dropping a driver cancels, reaps, then frees; what cannot be reaped is leaked on purpose.",
    upheld_by: "crates/proactor/src/driver/dropping.rs",
    on_windows: "CloseHandle on the port cancels nothing; CancelIoEx only asks: the packet of the operation still comes.",
    on_linux: "close(2) on the ring ends its requests later, in another thread of the kernel.",
    seen_in: &[
        SeenIn {
            name: "corosio 131 (2026)",
            url: "https://github.com/cppalliance/corosio/pull/131",
            what: "a use-after-free in the shutdown of an IOCP socket service",
        },
        SeenIn {
            name: "cloud-hypervisor 8408 (2026)",
            url: "https://github.com/cloud-hypervisor/cloud-hypervisor/pull/8408",
            what: "closing a ring did not end its requests; now they are drained, and leaked where that fails",
        },
    ],
    run,
    held: |evidence| evidence.get("next_owner_after") == evidence.get("next_owner_before"),
};

fn run(stage: &mut Stage, version: Version) -> io::Result<()> {
    let (client, server) = stage.connection()?;
    let session = stage.sessions.take();
    stage.receive(&server, session).checked()?;
    stage.story.step("The server stops. A receive is in flight.");
    stage.story.begin(Kind::Session, "session", "session");
    stage.story.begin(Kind::Memory, "its memory", "session");
    stage.story.begin(Kind::Operation, "receive", "in flight");

    if version == Version::Repaired {
        stage.kernel.cancel(raw(&server), session.receive());
        let completion = stage.next()?;
        stage.story.step("The receive is cancelled, and its completion taken: nothing is in flight.");
        stage.story.end("receive");
        stage.note("cancelled", completion.result.is_err());
    }
    stage.sessions.give_back(session);
    let next = stage.sessions.take();
    next.write(NEXT);
    stage.story.step("The session is freed; its memory is used again.");
    stage.story.end("session");
    stage.story.begin(Kind::Memory, "its memory", "next owner's");
    stage.note("same_memory", next == session);
    stage.note("next_owner_before", next.text());

    (&client).write_all(LATE.as_bytes())?;
    if version == Version::Broken {
        eventually("the kernel writes", || next.text().starts_with(LATE))?;
        stage.story.wrong("A client's bytes arrive: the kernel writes them into the next owner's memory.");
        stage.story.end("receive");
    } else {
        // Nothing is in flight, so nothing can be written; a completion would say otherwise.
        if stage.next_if_any()?.is_some() {
            return Err(io::Error::other("an operation was left in flight"));
        }
        stage.story.step("A client's bytes arrive: no operation is in flight, so they are written nowhere.");
    }
    stage.note("next_owner_after", next.text());
    stage.story.step("The port or the ring is closed.");
    stage.kernel = absent();
    Ok(())
}
