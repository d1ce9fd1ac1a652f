//! Exercise 1 of `docs/lesson.md`: answers in upper case.
//! `cargo run --example solution_1_upper_case -- 127.0.0.1:9999`, then `talk` in a second terminal.

use overlapped::{Handler, Lease, Server, Session};

struct UpperCase;

impl Handler for UpperCase {
    type State = ();
    type Message = ();

    fn on_open(&mut self, _session: &mut Session<'_>) {}

    fn on_data(&mut self, session: &mut Session<'_>, _state: &mut (), data: Lease) {
        // ASCII alone: a UTF-8 character may arrive in two pieces, but its bytes are never ASCII.
        session.send(data.to_ascii_uppercase());
    }
}

fn main() -> overlapped::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9999".into());
    let server = Server::bind(address.as_str())?;
    println!("listening on {}", server.local_addrs()[0]);
    server.run(|_worker| UpperCase)
}

#[cfg(test)]
mod tests {
    use overlapped::testing::{self, World};

    #[test]
    fn letters_come_back_in_upper_case_however_they_are_cut() {
        testing::for_each_behaviour(|behaviour| {
            let mut world = World::start_on(behaviour, testing::server(), |_worker| super::UpperCase);
            let mut client = world.connect();
            client.send_in_pieces("hello, 세션 22\n", 1);
            client.finish();
            world.settle();
            assert_eq!(client.received(), "HELLO, 세션 22\n");
            assert!(client.has_ended());
        });
    }
}
