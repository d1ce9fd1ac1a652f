//! Exercise 3 of `docs/lesson.md`: a protocol of lines, with `quit`.
//! `cargo run --example solution_3_lines -- 127.0.0.1:9999`, then `talk` in a second terminal.

use overlapped::{Framed, Handler, Lease, Lines, Server, Session};

struct LineServer;

impl Handler for LineServer {
    /// Holds the beginning of a line until its end arrives, and no more than 200 bytes of it.
    type State = Framed<Lines>;
    type Message = ();

    fn on_open(&mut self, _session: &mut Session<'_, Self::State>) -> Framed<Lines> {
        Framed::new(Lines::up_to(200))
    }

    fn on_data(&mut self, session: &mut Session<'_, Self::State>, lines: &mut Framed<Lines>, data: Lease) {
        lines.push(data);
        while let Some(line) = lines.next(session) {
            match line {
                Ok(line) if line.as_slice() == b"quit" => {
                    session.send("bye\n");
                    session.close(); // after "bye" has been sent; `next` returns no more lines
                }
                Ok(line) => {
                    session.send([line.as_slice(), b"\n"].concat());
                }
                Err(error) => {
                    session.send(format!("{error}\n")); // the session is closed after this
                }
            }
        }
    }
}

fn main() -> overlapped::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9999".into());
    let server = Server::bind(address.as_str())?;
    println!("listening on {}", server.local_addrs()[0]);
    server.run(|_worker| LineServer)
}

#[cfg(test)]
mod tests {
    use overlapped::testing::{self, World};

    #[test]
    fn lines_are_whole_and_quit_ends_the_session() {
        testing::for_each_behaviour(|behaviour| {
            let mut world = World::start_on(behaviour, testing::server(), |_worker| super::LineServer);
            let mut client = world.connect();
            client.send_in_pieces("one\r\ntwo\nquit\nthree\n", 3);
            world.settle();
            assert_eq!(client.received(), "one\ntwo\nbye\n");
            assert!(client.has_ended() && !client.was_reset());
        });
    }

    #[test]
    fn a_line_without_an_end_is_refused() {
        let mut world = World::start(testing::server(), |_worker| super::LineServer);
        let mut client = world.connect();
        client.send([b'x'; 1000]);
        world.settle();
        assert!(client.received().text().ends_with("over the limit of 200\n"));
        assert!(client.has_ended());
    }
}
