//! A parser that does not advance.

use std::io;

use crate::stage::Stage;
use crate::story::{Kind, grouped};
use crate::{Exhibit, SeenIn, Version};

/// A header: the length of the whole packet, header included, and its kind.
const HEADER: usize = 4;
/// How many turns the loop gets before it counts as endless, and the exhibit ends it.
const TURNS: usize = 1_000_000;

pub(super) const EXHIBIT: Exhibit = Exhibit {
    name: "parse-loop",
    aliases: &["zero-length-packet"],
    title: "A parser that does not advance",
    mistake: "A parser takes packets from the buffer as long as a whole one is there. Mallory sends a packet whose \
              length is 0: it counts as whole, and taking it does not advance. Bob's bytes are next, and the worker never \
              comes to them.",
    repair: "A length that is shorter than the header is refused, and the connection of its sender closed.",
    invariant: "An item that takes no byte is refused (`check_progress` panics): a decoder advances or ends.",
    upheld_by: "crates/overlapped/src/codec/framed.rs",
    on_windows: "The thread never gets back to GetQueuedCompletionStatus. The other threads of the port go on, until each \
                 of them has met such a packet.",
    on_linux: "The thread never gets back to io_uring_enter: all sessions of its ring stand still.",
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
    held: |evidence| {
        evidence.get("loop_ended") == Some(&true.into())
            && evidence.get("packets_of_bob_taken") == Some(&1_u64.into())
    },
};

/// What a parser did with one buffer.
struct Parsed {
    turns: usize,
    /// Where it stands: the bytes before are taken.
    position: usize,
    packets: usize,
    end: End,
}

#[derive(PartialEq, Eq)]
enum End {
    /// Every whole packet is taken.
    Empty,
    /// A length that cannot be.
    Refused,
    /// It did not end: the exhibit ended it.
    TooManyTurns,
}

fn run(stage: &mut Stage, version: Version) -> io::Result<()> {
    let mallorys = [packet(1, b"move north"), header(0, 2), packet(3, b"say hello")].concat();
    let bobs = packet(3, b"good evening");
    stage.story.step(
        "A worker has received bytes of two clients. Mallory's are three packets, and the second says that its length \
         is 0. Bob's are one packet.",
    );
    stage.story.begin(Kind::Session, "Mallory", "session");
    stage.story.begin(Kind::Session, "Bob, who is next", "waits");

    let first = parse(&mallorys, version);
    stage.story.step(format!(
        "The worker takes Mallory's first packet. The parser stands at byte {}.",
        first.position
    ));
    let mut packets_of_bob = 0;
    if first.end == End::TooManyTurns {
        stage.story.wrong(format!(
            "After {} turns it still stands there, and the exhibit ends the loop. The worker has not come to Bob's bytes.",
            grouped(first.turns as u64)
        ));
    } else {
        stage.story.step("A length of 0 cannot be: Mallory's connection is closed.");
        stage.story.end("Mallory");
        packets_of_bob = parse(&bobs, version).packets;
        stage.story.step("The worker goes on, and takes Bob's packet.");
        stage.story.begin(Kind::Session, "Bob, who is next", "served");
    }
    stage.note("turns", first.turns);
    stage.note("position", first.position);
    stage.note("times_a_packet_was_taken", first.packets);
    stage.note("loop_ended", first.end != End::TooManyTurns);
    stage.note("sender_refused", first.end == End::Refused);
    stage.note("packets_of_bob_taken", packets_of_bob);
    Ok(())
}

fn parse(bytes: &[u8], version: Version) -> Parsed {
    let mut parsed = Parsed { turns: 0, position: 0, packets: 0, end: End::Empty };
    while bytes.len() - parsed.position >= HEADER {
        if parsed.turns == TURNS {
            parsed.end = End::TooManyTurns;
            break;
        }
        parsed.turns += 1;
        let rest = &bytes[parsed.position..];
        let length = usize::from(u16::from_le_bytes([rest[0], rest[1]]));
        if version == Version::Repaired && length < HEADER {
            parsed.end = End::Refused;
            break;
        }
        if rest.len() < length {
            break;
        }
        parsed.packets += 1;
        parsed.position += length;
    }
    parsed
}

fn header(length: u16, kind: u16) -> Vec<u8> {
    [length.to_le_bytes(), kind.to_le_bytes()].concat()
}

fn packet(kind: u16, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(HEADER + body.len()).expect("short");
    [header(length, kind), body.to_vec()].concat()
}
