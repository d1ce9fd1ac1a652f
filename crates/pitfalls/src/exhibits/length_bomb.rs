//! A length that is believed, and bytes that never come.

use std::io::{self, Write};
use std::net::{Shutdown, TcpStream};

use crate::stage::{Stage, connection, read_exactly, read_to_end};
use crate::story::{Kind, grouped};
use crate::{Exhibit, SeenIn, Version};

const CLIENTS: usize = 50;
/// What each header promises (week 24): the most that two bytes can say.
const PROMISED: usize = 65_535;
/// The longest frame that the repaired program believes in.
const LIMIT: usize = 4096;
/// How long a frame may take, in the exhibit's seconds: its clock is a number.
const DEADLINE_SECONDS: u64 = 10;

pub(super) const EXHIBIT: Exhibit = Exhibit {
    name: "length-bomb",
    aliases: &["length-prefix"],
    title: "A length that is believed",
    mistake: "A header says 65,535, and the program makes room for them and waits. The client sends nothing more. \
              For two bytes it gets 65,535, and a session that never ends.",
    repair: "A limit for the length of a frame, and a deadline for it to be whole.",
    invariant: "INV-6: memory is bounded. A framing has a limit and keeps only what has arrived; the idle timeout ends \
                a session that stays silent.",
    upheld_by: "crates/overlapped/src/framed/framing.rs",
    on_windows: "The memory is the process's, whatever the kernel: fifty clients or fifty thousand.",
    on_linux: "The memory is the process's, whatever the kernel: fifty clients or fifty thousand.",
    seen_in: &[
        SeenIn {
            name: "Polar 244 (2026)",
            url: "https://github.com/cmu-sei/Polar/issues/244",
            what: "four bytes made a server allocate about 4 GiB",
        },
        SeenIn {
            name: "DingoCache 78 (2026)",
            url: "https://github.com/dingodb/DingoCache/pull/78",
            what: "servers allocated the declared length, up to 16 GiB, before they read its bytes",
        },
    ],
    run,
    held: |evidence| {
        evidence.get("bytes_reserved") == Some(&0_u64.into())
            && evidence.get("sessions_after_an_hour") == Some(&0_u64.into())
    },
};

/// A session that waits for the rest of its frame.
struct Waiting {
    socket: TcpStream,
    frame: Vec<u8>,
    since_seconds: u64,
}

fn run(stage: &mut Stage, version: Version) -> io::Result<()> {
    let (mut clients, mut sessions, mut refused) = (Vec::new(), Vec::new(), 0_u64);
    // Every other client promises too much; the others promise a frame that would be allowed, and send nothing either.
    for number in 0..CLIENTS {
        let (mut client, socket) = connection()?;
        let promised = if number % 2 == 0 { PROMISED } else { LIMIT };
        client.write_all(&u16::try_from(promised).expect("two bytes").to_be_bytes())?;
        let header = read_exactly(&socket, 2)?;
        let length = usize::from(u16::from_be_bytes([header[0], header[1]]));
        if version == Version::Repaired && length > LIMIT {
            socket.shutdown(Shutdown::Write)?;
            refused += 1;
        } else {
            let room = if version == Version::Broken { length } else { 0 };
            sessions.push(Waiting { socket, frame: Vec::with_capacity(room), since_seconds: 0 });
        }
        clients.push(client);
    }
    let reserved: usize = sessions.iter().map(|session| session.frame.capacity()).sum();
    stage.story.step(format!("{CLIENTS} clients send two bytes each: a length."));
    stage.story.begin(Kind::Session, "sessions", format!("{} wait", sessions.len()));
    stage.story.begin(Kind::Memory, "memory", format!("{} bytes", grouped(reserved as u64)));
    if version == Version::Broken {
        stage.story.wrong(format!("{} bytes are reserved for what they promised.", grouped(reserved as u64)));
    } else {
        stage.story.step(format!(
            "{refused} promise too much and are closed. Memory grows with what really arrives."
        ));
    }
    let now_seconds = 3600;
    if version == Version::Repaired {
        sessions.retain(|session| {
            let late = now_seconds - session.since_seconds > DEADLINE_SECONDS;
            if late {
                let _ = session.socket.shutdown(Shutdown::Write);
            }
            !late
        });
        stage
            .story
            .step(format!("After {DEADLINE_SECONDS} seconds without a whole frame the others are closed."));
        stage.story.end("sessions");
        stage.story.end("memory");
    }
    let told = format!("An hour later, {} sessions wait.", sessions.len());
    if sessions.is_empty() {
        stage.story.step(told);
    } else {
        stage.story.wrong(told);
    }
    stage.note("clients", CLIENTS);
    stage.note("bytes_sent_by_each", 2_u64);
    stage.note("bytes_reserved", reserved);
    stage.note("sessions_refused", refused);
    stage.note("sessions_after_an_hour", sessions.len());
    if sessions.is_empty() {
        for client in &clients {
            read_to_end(client)?;
        }
    }
    Ok(())
}
