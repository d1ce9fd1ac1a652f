//! A length that is believed, and bytes that never come.

use std::io::{self, Write};
use std::net::{Shutdown, TcpStream};

use crate::stage::{Stage, connection, read_exactly, read_to_end};
use crate::story::{Kind, grouped};
use crate::{Exhibit, SeenIn, Version};

const CLIENTS: usize = 50;
/// What every other header promises: the most that two bytes can say.
const PROMISED: usize = 65_535;
/// What the others promise, and the longest frame that the repaired program accepts.
const LIMIT: usize = 4096;
/// How long a frame may take. The exhibit's clock is a number: nobody waits.
const DEADLINE_SECONDS: u64 = 10;
/// How far that clock is set forward.
const FORWARD_SECONDS: u64 = 3600;

pub(super) const EXHIBIT: Exhibit = Exhibit {
    name: "length-bomb",
    aliases: &["length-prefix"],
    title: "A length that is believed",
    mistake: "A header says how many bytes follow. The program makes room for all of them and waits, and the client \
              sends nothing more: for two bytes it gets up to 65,535, and a session that never ends.",
    repair: "A limit for the length of a frame, memory only for bytes that have arrived, and a deadline for the frame to \
             be whole.",
    invariant: "INV-6: memory is bounded. A framing has a limit and keeps only what has arrived; the idle timeout, \
                off by default, ends a session that stays silent.",
    upheld_by: "crates/overlapped/src/codec/builtin.rs",
    on_windows: "The same: the memory is the program's own, not the kernel's.",
    on_linux: "The same: the memory is the program's own, not the kernel's.",
    seen_in: &[
        SeenIn {
            name: "Polar 244 (2026)",
            url: "https://github.com/cmu-sei/Polar/issues/244",
            what: "a length of four bytes could make a server, or a client, allocate about 4 GiB",
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
    let (mut clients, mut sessions, mut refused) = (Vec::new(), Vec::new(), 0_usize);
    let (mut too_long, mut allowed) = (0_usize, 0_usize);
    for number in 0..CLIENTS {
        let (mut client, socket) = connection()?;
        let promised = if number % 2 == 0 { PROMISED } else { LIMIT };
        client.write_all(&u16::try_from(promised).expect("two bytes").to_be_bytes())?;
        clients.push(client);
        let header = read_exactly(&socket, 2)?;
        let length = usize::from(u16::from_be_bytes([header[0], header[1]]));
        *(if length > LIMIT { &mut too_long } else { &mut allowed }) += 1;
        if version == Version::Repaired && length > LIMIT {
            socket.shutdown(Shutdown::Write)?;
            refused += 1;
        } else {
            let room = if version == Version::Broken { length } else { 0 };
            sessions.push(Waiting { socket, frame: Vec::with_capacity(room), since_seconds: 0 });
        }
    }
    let reserved: usize = sessions.iter().map(|session| session.frame.capacity()).sum();
    stage.story.step(format!(
        "{CLIENTS} clients send two bytes each, a length, and nothing more: {too_long} promise {} bytes, {allowed} \
         promise {}.",
        grouped(PROMISED as u64),
        grouped(LIMIT as u64)
    ));
    stage.story.begin(Kind::Session, "sessions", format!("{CLIENTS} wait"));
    let all = grouped(reserved as u64);
    if version == Version::Broken {
        stage.story.wrong(format!("The server reserves {all} bytes: all that was promised."));
    } else {
        stage.story.step(format!(
            "{refused} promise too much and are closed. For the others {all} bytes are reserved: memory grows with what \
             arrives."
        ));
        stage.story.begin(Kind::Session, "sessions", format!("{} wait", sessions.len()));
    }
    stage.story.begin(Kind::Memory, "memory", format!("{all} bytes"));
    let late = an_hour_later(stage, version, &mut sessions);
    stage.note("clients", CLIENTS);
    stage.note("clients_promising_65535_bytes", too_long);
    stage.note("clients_promising_4096_bytes", allowed);
    stage.note("bytes_sent_by_each", 2_u64);
    stage.note("bytes_reserved", reserved);
    stage.note("sessions_refused", refused);
    stage.note("clock_set_forward_seconds", FORWARD_SECONDS);
    stage.note("sessions_past_their_deadline", late);
    stage.note("sessions_after_an_hour", sessions.len());
    if sessions.is_empty() {
        for client in &clients {
            read_to_end(client)?;
        }
    }
    Ok(())
}

/// The clock is set forward: how many sessions the deadline closes.
fn an_hour_later(stage: &mut Stage, version: Version, sessions: &mut Vec<Waiting>) -> usize {
    let waiting = sessions.len();
    if version == Version::Repaired {
        sessions.retain(|session| {
            let late = FORWARD_SECONDS - session.since_seconds > DEADLINE_SECONDS;
            if late {
                let _ = session.socket.shutdown(Shutdown::Write);
            }
            !late
        });
    }
    let (forward, late) = (grouped(FORWARD_SECONDS), waiting - sessions.len());
    if sessions.is_empty() {
        stage.story.step(format!(
            "The exhibit's clock is set forward by {forward} seconds. The frames of {late} sessions are past their \
             deadline of {DEADLINE_SECONDS} seconds: they are closed, and none waits."
        ));
        stage.story.end("sessions");
        stage.story.end("memory");
    } else {
        stage.story.wrong(format!(
            "The exhibit's clock is set forward by {forward} seconds: {} sessions still wait.",
            sessions.len()
        ));
    }
    late
}
