//! A parser that does not advance.

use std::io;

use crate::stage::Stage;
use crate::story::{Kind, grouped};
use crate::{Exhibit, SeenIn, Version};

/// A header: the length of the whole packet, header included, and its kind (week 24).
const HEADER: usize = 4;
/// How many turns the loop gets before it counts as endless.
const TURNS: usize = 1_000_000;

pub(super) const EXHIBIT: Exhibit = Exhibit {
    name: "parse-loop",
    aliases: &["zero-length-packet"],
    title: "A parser that does not advance",
    mistake: "Packets are taken from the buffer while there is a whole one: while (have >= header.length). A client \
              sends a packet whose length is 0: it is whole, and taking it takes nothing.",
    repair: "A length that is shorter than the header is refused, and its sender closed.",
    invariant: "A frame that takes no byte is refused (FrameError::Impossible): a decoder advances or ends.",
    upheld_by: "crates/overlapped/src/framed/framing.rs",
    on_windows: "The worker thread never gets back to GetQueuedCompletionStatus: all of its sessions stand still.",
    on_linux: "The worker thread never gets back to io_uring_enter: all of its sessions stand still.",
    seen_in: &[
        SeenIn {
            name: "sipsorcery 1758 (2026)",
            url: "https://github.com/sipsorcery-org/sipsorcery/pull/1758",
            what: "an SCTP chunk of length 0 kept the parser in its loop, at 100 % of a processor",
        },
        SeenIn {
            name: "collectd 2174 (2017)",
            url: "https://github.com/collectd/collectd/issues/2174",
            what: "one crafted packet kept parse_packet in its while loop",
        },
    ],
    run,
    held: |evidence| evidence.get("loop_ended") == Some(&true.into()),
};

fn run(stage: &mut Stage, version: Version) -> io::Result<()> {
    let mut bytes = packet(1, b"move north");
    bytes.extend(header(0, 2));
    bytes.extend(packet(3, b"say hello"));
    stage.story.step("Three packets arrive in one buffer; the second says that its length is 0.");
    stage.story.begin(Kind::Session, "Mallory", "session");
    stage.story.begin(Kind::Session, "Bob, same worker", "waits");

    let (mut position, mut turns, mut packets, mut refused) = (0, 0_usize, 0_usize, false);
    while turns < TURNS && bytes.len() - position >= HEADER {
        turns += 1;
        let length = usize::from(u16::from_le_bytes([bytes[position], bytes[position + 1]]));
        if version == Version::Repaired && length < HEADER {
            refused = true;
            break;
        }
        if bytes.len() - position < length {
            break;
        }
        packets += 1;
        position += length;
    }
    let ended = turns < TURNS;
    stage.story.step(format!("The parser takes the first packet and stands at byte {position}."));
    if ended {
        stage.story.step("A length of 0 cannot be: Mallory is closed. The worker goes on with Bob.");
        stage.story.end("Mallory");
        stage.story.begin(Kind::Session, "Bob, same worker", "is served");
        stage.story.step("Bob is served.");
    } else {
        stage.story.wrong(format!(
            "After {} turns it still stands there. Bob is never served.",
            grouped(turns as u64)
        ));
    }
    stage.note("turns", turns);
    stage.note("position", position);
    stage.note("packets_taken", packets);
    stage.note("loop_ended", ended);
    stage.note("sender_refused", refused);
    Ok(())
}

fn header(length: u16, kind: u16) -> Vec<u8> {
    [length.to_le_bytes(), kind.to_le_bytes()].concat()
}

fn packet(kind: u16, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(HEADER + body.len()).expect("short");
    [header(length, kind), body.to_vec()].concat()
}
