//! Packets with a header: a `u16` length and a `u16` id, little-endian; the length includes the header. A table has every id
//! with the lengths that it may have, so a bad header is refused before its body comes.
//! `cargo run --release --example packets -- 127.0.0.1:9999 [BACKEND]`. When its stdin ends, it drains.
use std::num::TryFromIntError;
use std::{fmt, io, ops::RangeInclusive, time::Duration};

use overlapped::codec::{Decoder, Encoder, Input};
use overlapped::settings::Choice;
use overlapped::{Framed, Handler, Lease, Payload, Server, Session};

/// Bytes of a header.
const HEADER: u16 = 4;
/// How long a packet may take to arrive, from its first byte on; one second more for each `LEAST_RATE` bytes of it.
const TIMEOUT: Duration = Duration::from_secs(5);
const LEAST_RATE: u32 = 1000;
/// How long a client may send nothing.
const SILENCE: Duration = Duration::from_secs(60);
/// The id of the server's last packet to a client whose header it has refused; the body is text.
const REFUSED: u16 = 0;

/// What a client may ask. An answer has the id of its request.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Request {
    /// Without a body, and so is its answer.
    Ping = 1,
    /// Two `i32`; the answer is their sum, an `i64`.
    Add = 2,
    /// Text; the answer is the same in upper case.
    Shout = 3,
}

/// How long each packet may be. No length is below that of the header: a parser never stands still.
const LENGTHS: [(Request, RangeInclusive<u16>); 3] = [
    (Request::Ping, HEADER..=HEADER),
    (Request::Add, HEADER + 8..=HEADER + 8),
    (Request::Shout, HEADER + 1..=HEADER + 4096),
];

struct Packets;

#[derive(Debug, PartialEq)]
struct BadHeader {
    len: u16,
    id: u16,
}

impl Decoder for Packets {
    type Item = (Request, Payload);
    type Error = BadHeader;

    fn decode(&mut self, input: &mut Input<'_>) -> Result<Option<Self::Item>, BadHeader> {
        let Some(&[len, len_high, id, id_high]) = input.first_chunk() else { return Ok(None) };
        let (len, id) = (u16::from_le_bytes([len, len_high]), u16::from_le_bytes([id, id_high]));
        let mut known =
            LENGTHS.iter().filter(|(request, lengths)| *request as u16 == id && lengths.contains(&len));
        let (request, _) = known.next().ok_or(BadHeader { len, id })?;
        if input.len() < usize::from(len) {
            input.need(usize::from(len)); // memory grows as bytes arrive, not as the length promises
            return Ok(None);
        }
        input.skip(usize::from(HEADER));
        Ok(Some((*request, input.take(usize::from(len - HEADER)))))
    }
}

impl Encoder<(u16, &[u8])> for Packets {
    type Error = TryFromIntError;

    fn encode(&mut self, (id, body): (u16, &[u8]), out: &mut Vec<u8>) -> Result<(), TryFromIntError> {
        let len = u16::try_from(usize::from(HEADER) + body.len())?;
        out.extend([len.to_le_bytes(), id.to_le_bytes()].as_flattened());
        out.extend(body);
        Ok(())
    }
}

struct Service;

impl Handler for Service {
    type State = Framed<Packets>;
    type Message = ();

    fn on_open(&mut self, _session: &mut Session<'_, Self::State>) -> Framed<Packets> {
        Framed::new(Packets).timeout(TIMEOUT).least_rate(LEAST_RATE)
    }

    fn on_data(
        &mut self,
        session: &mut Session<'_, Self::State>,
        packets: &mut Framed<Packets>,
        data: Lease,
    ) {
        packets.push(data);
        while let Some(packet) = packets.next(session) {
            let (id, answer) = match packet {
                Ok((request, body)) => (request as u16, answer(request, body.as_slice())),
                Err(refused) => (REFUSED, refused.to_string().into_bytes()), // the next call closes the session
            };
            packets.send(session, (id, &answer[..])).expect("an answer is no longer than a request");
        }
    }
}

/// The dispatch: an id without its line here does not compile.
fn answer(request: Request, body: &[u8]) -> Vec<u8> {
    match request {
        Request::Ping => Vec::new(),
        Request::Add => {
            let numbers = body.chunks_exact(4).map(|number| number.try_into().expect("4 bytes"));
            numbers.map(|number| i64::from(i32::from_le_bytes(number))).sum::<i64>().to_le_bytes().to_vec()
        }
        Request::Shout => body.to_ascii_uppercase(),
    }
}

impl fmt::Display for BadHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no packet has length {} and id {}", self.len, self.id)
    }
}

fn main() -> overlapped::Result<()> {
    let mut args = std::env::args().skip(1);
    let address = args.next().unwrap_or_else(|| "127.0.0.1:9999".into());
    let backend =
        args.next().map_or(Choice::Auto, |name| name.parse().expect("auto, io_uring, iocp or readiness"));
    let server = Server::bind(address.as_str())?.backend(backend).idle_timeout(SILENCE).start(|_| Service)?;
    println!("listening on {}", server.local_addr());
    let _ = io::copy(&mut io::stdin(), &mut io::sink());
    println!("{}", server.drain(Duration::from_secs(5))?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use overlapped::CloseReason;
    use overlapped::events::Event;
    use overlapped::testing::{self, Behaviour, World};
    use std::sync::mpsc::{Receiver, channel};

    /// A server, and the reasons why its sessions end.
    fn world(behaviour: Behaviour) -> (World<Service>, Receiver<CloseReason>) {
        let (closed, reasons) = channel();
        let server = testing::server().idle_timeout(SILENCE).observer(move |event| {
            if let Event::Closed { reason, .. } = event {
                closed.send(*reason).expect("the test waits");
            }
        });
        (World::start_on(behaviour, server, |_| Service), reasons)
    }

    fn packet(id: u16, body: &[u8]) -> Vec<u8> {
        let mut packet = Vec::new();
        Packets.encode((id, body), &mut packet).expect("it is short");
        packet
    }

    fn add(left: i32, right: i32) -> Vec<u8> {
        packet(Request::Add as u16, [left.to_le_bytes(), right.to_le_bytes()].as_flattened())
    }

    #[test]
    fn packets_are_answered_however_they_are_cut() {
        let text = [b'x'; 4096];
        let requests =
            [packet(1, b""), add(i32::MAX, i32::MAX), add(-3, 1), packet(3, &text), packet(3, b"y")].concat();
        let sums = [i64::from(i32::MAX) * 2, -2].map(i64::to_le_bytes);
        let loud = text.to_ascii_uppercase();
        let answers =
            [packet(1, b""), packet(2, &sums[0]), packet(2, &sums[1]), packet(3, &loud), packet(3, b"Y")];
        for len in [1, 5, 4096, 10_000] {
            testing::for_each_behaviour(|behaviour| {
                let (mut world, reasons) = world(behaviour);
                let mut client = world.connect();
                client.send_in_pieces(&requests, len);
                client.finish();
                world.settle();
                assert_eq!(client.received(), answers.concat());
                assert_eq!(reasons.try_iter().collect::<Vec<_>>(), [CloseReason::EndOfStream]);
            });
        }
    }

    /// Each with bytes behind it that must not be taken for a packet.
    #[test]
    fn a_bad_header_is_refused_without_its_body_and_ends_the_session() {
        let bad = [
            (0, 1),
            (3, 1),
            (5, 1),
            (11, 2),
            (13, 2),
            (4, 3),
            (4101, 3),
            (u16::MAX, 3),
            (4, 0),
            (4, 4),
            (4, u16::MAX),
        ];
        for (len, id) in bad {
            testing::for_each_behaviour(|behaviour| {
                let (mut world, reasons) = world(behaviour);
                let mut client = world.connect();
                let header = [len.to_le_bytes(), id.to_le_bytes()].concat();
                client.send([packet(1, b""), header, packet(1, b"")].concat());
                world.settle();
                let text = format!("no packet has length {len} and id {id}");
                assert_eq!(client.received(), [packet(1, b""), packet(REFUSED, text.as_bytes())].concat());
                assert!(client.has_ended());
                assert_eq!(reasons.try_iter().collect::<Vec<_>>(), [CloseReason::BadFrame]);
            });
        }
    }

    #[test]
    fn a_packet_that_does_not_come_in_time_ends_the_session() {
        testing::for_each_behaviour(|behaviour| {
            let (mut world, reasons) = world(behaviour);
            let [mut promises, mut drips, mut slow, mut silent] = [(); 4].map(|()| world.connect());
            let longest = packet(3, &[b'x'; 4096]);
            promises.send(&longest[..4]);
            for (second, part) in longest.chunks(600).enumerate() {
                if drips.is_open() {
                    drips.send([longest[second]]); // never silent, never done
                }
                slow.send(part);
                world.advance(Duration::from_secs(1));
            }
            assert!(promises.has_ended() && drips.has_ended());
            assert_eq!(reasons.try_iter().collect::<Vec<_>>(), [CloseReason::ItemTimeout; 2]);
            assert_eq!(slow.received().len(), longest.len(), "it was fast enough");
            assert!(silent.is_open());
            world.advance(SILENCE + Duration::from_secs(2));
            assert!(silent.has_ended() && slow.has_ended());
            assert_eq!(silent.received(), "");
            assert_eq!(reasons.try_iter().collect::<Vec<_>>(), [CloseReason::IdleTimeout; 2]);
        });
    }
}
