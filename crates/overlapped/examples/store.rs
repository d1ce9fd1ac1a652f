//! A key-value store that speaks the Redis protocol (RESP2), with one worker: all data is in its handler.
//!
//! `store ADDRESS [auto | io_uring | readiness]`. It drains when its standard input ends.

use std::collections::HashMap;
use std::io::Write;
use std::ops::Range;
use std::time::Duration;

use overlapped::codec::{Decoder, Input};
use overlapped::{Bytes, Choice, Framed, Handler, Lease, Payload, Server, Session};

/// Longest key or value, and most arguments and bytes of one command.
const BULK: usize = 16 << 20;
const ARGUMENTS: usize = 64 << 10;
const COMMAND: usize = 64 << 20;
/// Longest inline command, and longest line that holds only a length.
const INLINE: usize = 64 << 10;
const LENGTH_LINE: usize = 32;
/// Most bytes of one reply, and of the whole store; an entry counts as `ENTRY` bytes more than its key and value.
const REPLY: usize = 64 << 20;
const STORE: usize = 1 << 30;
const ENTRY: usize = 96;
/// Values of this length or more are sent from where they lie; a shorter one is copied behind the replies before it.
const LARGE: usize = 16 << 10;

/// Finds commands: arrays of bulk strings, or lines of words. An item is the bytes of one command. Its arguments are
/// `args`, as places in these bytes, until the next call: so the vector is reused, and a command allocates nothing.
#[derive(Default)]
struct Resp {
    args: Vec<Range<usize>>,
    missing: usize, // arguments of an array that are not here yet
    at: usize,      // where the next of them begins
}

impl Decoder for Resp {
    type Item = Payload;
    type Error = &'static str;

    fn decode(&mut self, input: &mut Input<'_>) -> Result<Option<Payload>, &'static str> {
        while self.missing == 0 {
            self.args.clear();
            self.args.shrink_to(64);
            match input.first() {
                None => return Ok(None),
                Some(b'*') => {
                    if !self.begin_array(input)? {
                        return Ok(None);
                    }
                }
                Some(_) => {
                    let Some(len) = self.inline(input)? else { return Ok(None) };
                    if !self.args.is_empty() {
                        return Ok(Some(input.take(len)));
                    }
                    input.skip(len);
                }
            }
        }
        while self.missing > 0 {
            match input.get(self.at) {
                None => return Ok(None),
                Some(b'$') => {}
                Some(_) => return Err("expected '$'"),
            }
            let Some((len, start)) = length(input, self.at, "invalid bulk length")? else { return Ok(None) };
            let end = match usize::try_from(len) {
                Ok(len) if len <= BULK && start + len + 2 <= COMMAND => start + len,
                _ => return Err("invalid bulk length"),
            };
            match input.get(end..end + 2) {
                None => {
                    input.need(end + 2);
                    return Ok(None);
                }
                Some(b"\r\n") => self.args.push(start..end),
                Some(_) => return Err("expected CRLF after a bulk string"),
            }
            (self.missing, self.at) = (self.missing - 1, end + 2);
        }
        Ok(Some(input.take(self.at)))
    }
}

impl Resp {
    /// The head of an array. False: it is not complete.
    fn begin_array(&mut self, input: &mut Input<'_>) -> Result<bool, &'static str> {
        let Some((count, end)) = length(input, 0, "invalid multibulk length")? else { return Ok(false) };
        if count > ARGUMENTS as i64 {
            return Err("invalid multibulk length");
        }
        if count <= 0 {
            input.skip(end); // as in Redis, a command without a name is not answered
        }
        (self.missing, self.at) = (count.max(0) as usize, end);
        Ok(true)
    }

    /// The words of a line, and its length.
    fn inline(&mut self, input: &Input<'_>) -> Result<Option<usize>, &'static str> {
        let searched = input.searched();
        let end = input[searched..].iter().position(|&byte| byte == b'\n').map(|end| searched + end);
        let line = &input[..end.unwrap_or(input.len())];
        if line.len() > INLINE {
            return Err("too big inline request");
        }
        let Some(end) = end else { return Ok(None) };
        let mut at = 0;
        for word in line.split(u8::is_ascii_whitespace) {
            if !word.is_empty() {
                self.args.push(at..at + word.len());
            }
            at += word.len() + 1;
        }
        Ok(Some(end + 1))
    }
}

/// The number in the line at `at`, behind its first byte, and where the line after it begins.
fn length(input: &[u8], at: usize, error: &'static str) -> Result<Option<(i64, usize)>, &'static str> {
    let line = &input[at..input.len().min(at + LENGTH_LINE)];
    match line.iter().position(|&byte| byte == b'\n') {
        None if line.len() < LENGTH_LINE => Ok(None),
        Some(end) if line[end - 1] == b'\r' && end > 1 => match integer(&line[1..end - 1]) {
            Some(number) => Ok(Some((number, at + end + 1))),
            None => Err(error),
        },
        _ => Err(error),
    }
}

/// A decimal number as Redis accepts one: without a plus sign and leading zeros.
fn integer(text: &[u8]) -> Option<i64> {
    match text {
        [b'+', ..] | [b'0', _, ..] | [b'-', b'0', ..] => None,
        _ => std::str::from_utf8(text).ok()?.parse().ok(),
    }
}

type Client<'a> = Session<'a, Framed<Resp>>;

#[derive(Default)]
struct Store {
    entries: HashMap<Box<[u8]>, Bytes>,
    used: usize, // bytes that count against STORE
}

impl Handler for Store {
    type State = Framed<Resp>;
    type Message = ();

    fn on_open(&mut self, _client: &mut Client<'_>) -> Framed<Resp> {
        // A client that begins a large command and does not go on must not keep its memory.
        Framed::new(Resp::default()).timeout(Duration::from_secs(30)).least_rate(64 << 10)
    }

    fn on_data(&mut self, client: &mut Client<'_>, commands: &mut Framed<Resp>, data: Lease) {
        commands.push(data);
        while let Some(command) = commands.next(client) {
            match command {
                Ok(bytes) => self.execute(client, bytes.as_slice(), &commands.decoder().args),
                Err(what) => error(client, format_args!("ERR Protocol error: {what}")), // closed after this
            }
        }
    }
}

impl Store {
    fn execute(&mut self, client: &mut Client<'_>, bytes: &[u8], args: &[Range<usize>]) {
        let arg = |place: &Range<usize>| &bytes[place.clone()];
        let Some((name, args)) = args.split_first() else { return };
        let name = arg(name);
        let mut upper = [0; 8];
        let known = uppercase(name, &mut upper);
        if matches!(known, b"SET" | b"MSET" | b"INCR") && self.used + bytes.len() + args.len() * ENTRY > STORE
        {
            return error(client, format_args!("OOM command not allowed when used memory > 'maxmemory'."));
        }
        match (known, args) {
            (b"GET", [key]) => bulk(client, self.entries.get(arg(key))),
            (b"SET", [key, value]) => {
                self.set(arg(key), arg(value));
                simple(client, b"+OK\r\n");
            }
            (b"SET", [_, _, ..]) => error(client, format_args!("ERR syntax error")),
            (b"INCR", [key]) => match self.entries.get(arg(key)).map_or(Some(0), |value| integer(value)) {
                Some(number) if number < i64::MAX => {
                    self.set(arg(key), (number + 1).to_string().as_bytes());
                    header(client, ':', number + 1);
                }
                _ => error(client, format_args!("ERR value is not an integer or out of range")),
            },
            (b"MGET", [_, ..]) => {
                let values = || args.iter().map(|key| self.entries.get(arg(key)));
                if values().flatten().map(Bytes::len).sum::<usize>() > REPLY {
                    return error(client, format_args!("ERR the reply is too long"));
                }
                header(client, '*', args.len() as i64);
                values().for_each(|value| bulk(client, value));
            }
            (b"MSET", [_, ..]) if args.len() % 2 == 0 => {
                args.chunks_exact(2).for_each(|pair| self.set(arg(&pair[0]), arg(&pair[1])));
                simple(client, b"+OK\r\n");
            }
            (b"DEL", [_, ..]) => {
                let deleted = args.iter().filter(|key| self.delete(arg(key))).count();
                header(client, ':', deleted as i64);
            }
            (b"EXISTS", [_, ..]) => {
                let found = args.iter().filter(|key| self.entries.contains_key(arg(key))).count();
                header(client, ':', found as i64);
            }
            (b"PING", []) => simple(client, b"+PONG\r\n"),
            (b"PING" | b"ECHO", [text]) => copied_bulk(client, arg(text)),
            (b"DBSIZE", []) => header(client, ':', self.entries.len() as i64),
            (b"FLUSHALL", _) => {
                *self = Store::default();
                simple(client, b"+OK\r\n");
            }
            (b"CONFIG", [_, ..]) | (b"COMMAND", _) => header(client, '*', 0),
            (b"QUIT", _) => {
                simple(client, b"+OK\r\n");
                client.close();
            }
            _ => refuse(client, known, name),
        }
    }

    fn set(&mut self, key: &[u8], value: &[u8]) {
        self.used += value.len();
        let value = Bytes::copy_from_slice(value); // the received block must not be pinned
        match self.entries.get_mut(key) {
            Some(old) => self.used -= std::mem::replace(old, value).len(),
            None => {
                self.used += key.len() + ENTRY;
                self.entries.insert(key.into(), value);
            }
        }
    }

    fn delete(&mut self, key: &[u8]) -> bool {
        let old = self.entries.remove(key);
        self.used -= old.as_ref().map_or(0, |value| key.len() + value.len() + ENTRY);
        old.is_some()
    }
}

/// The name of a command in capitals; empty if it is longer than every known one.
fn uppercase<'a>(name: &[u8], upper: &'a mut [u8; 8]) -> &'a [u8] {
    let Some(upper) = upper.get_mut(..name.len()) else { return b"" };
    upper.copy_from_slice(name);
    upper.make_ascii_uppercase();
    upper
}

/// A command that was not understood.
fn refuse(client: &mut Client<'_>, known: &[u8], name: &[u8]) {
    const KNOWN: [&[u8]; 11] = [
        b"GET", b"SET", b"INCR", b"MGET", b"MSET", b"DEL", b"EXISTS", b"PING", b"ECHO", b"DBSIZE", b"CONFIG",
    ];
    if KNOWN.contains(&known) {
        let name = name.to_ascii_lowercase();
        error(client, format_args!("ERR wrong number of arguments for '{}' command", name.escape_ascii()));
    } else {
        let name = name[..name.len().min(128)].escape_ascii();
        error(client, format_args!("ERR unknown command '{name}'"));
    }
}

fn simple(client: &mut Client<'_>, reply: &[u8]) {
    client.send_copy(reply);
}

fn error(client: &mut Client<'_>, text: std::fmt::Arguments<'_>) {
    client.send_with(|out| write!(out, "-{text}\r\n").expect("a vector takes all bytes"));
}

fn header(client: &mut Client<'_>, kind: char, number: i64) {
    client.send_with(|out| write!(out, "{kind}{number}\r\n").expect("a vector takes all bytes"));
}

fn bulk(client: &mut Client<'_>, value: Option<&Bytes>) {
    match value {
        None => simple(client, b"$-1\r\n"),
        Some(value) if value.len() < LARGE => copied_bulk(client, value),
        Some(value) => {
            header(client, '$', value.len() as i64);
            client.send(value.clone());
            simple(client, b"\r\n");
        }
    }
}

fn copied_bulk(client: &mut Client<'_>, value: &[u8]) {
    client.send_with(|out| {
        write!(out, "${}\r\n", value.len()).expect("a vector takes all bytes");
        out.extend_from_slice(value);
        out.extend_from_slice(b"\r\n");
    });
}

fn server(server: Server) -> Server {
    // Above the high-water mark no command is executed, so at most one reply is queued above it.
    server.workers(1).hard_limit(2 * REPLY)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let address = args.next().ok_or("usage: store ADDRESS [auto | io_uring | readiness]")?;
    let choice = args.next().map_or(Ok(Choice::Auto), |word| word.parse())?;
    overlapped::raise_descriptor_limit(); // whatever it is, the server takes as many as fit
    let running =
        server(Server::bind(address.as_str())?).backend(choice).start(|_worker| Store::default())?;
    println!("listening on {}", running.local_addr());
    std::io::stdout().flush()?;
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
    println!("{}", running.drain(Duration::from_secs(5))?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use overlapped::testing::{World, for_each_behaviour, server as simulated};

    use super::*;

    fn array(args: &[&[u8]]) -> Vec<u8> {
        let mut out = format!("*{}\r\n", args.len()).into_bytes();
        for arg in args {
            out.extend(format!("${}\r\n", arg.len()).bytes().chain(arg.iter().copied()).chain(*b"\r\n"));
        }
        out
    }

    #[test]
    fn commands_are_answered_in_order_however_they_are_cut() {
        for_each_behaviour(|behaviour| {
            let mut world = World::start_on(behaviour, server(simulated()), |_worker| Store::default());
            let mut client = world.connect();
            let mut sent = array(&[b"SET", b"k\r\n\0", b"\xff$1\r\n"]);
            sent.extend(array(&[b"get", b"k\r\n\0"]));
            sent.extend_from_slice(b"*0\r\n\r\nincr n\r\nINCR n\nINCR k\r\nMSET a 1 b 2\r\nMGET a x b\r\n");
            sent.extend_from_slice(b"EXISTS a a x\r\nDEL a x\r\nDBSIZE\r\nPING\r\nSET n x\r\nINCR n\r\n");
            client.send_in_pieces(&sent, 1);
            world.settle();
            let expected = "+OK\r\n$5\r\n\u{fffd}$1\r\n\r\n:1\r\n:2\r\n:1\r\n\
                   +OK\r\n*3\r\n$1\r\n1\r\n$-1\r\n$1\r\n2\r\n:2\r\n:1\r\n:4\r\n+PONG\r\n+OK\r\n\
                   -ERR value is not an integer or out of range\r\n";
            assert_eq!(String::from_utf8_lossy(&client.received()), expected);
        });
    }

    #[test]
    fn a_large_value_is_stored_and_sent_to_a_slow_reader() {
        for_each_behaviour(|behaviour| {
            let mut world = World::start_on(behaviour, server(simulated()), |_worker| Store::default());
            let mut client = world.connect();
            let value = vec![7; 300_000];
            client.stop_reading();
            client.send(array(&[b"SET", b"k", &value]));
            (0..9).for_each(|_| client.send("GET k\r\n"));
            world.settle();
            client.resume_reading();
            world.settle();
            let one = [b"$300000\r\n", &value[..], b"\r\n"].concat();
            assert_eq!(client.received(), [b"+OK\r\n".to_vec(), one.repeat(9)].concat());
        });
    }

    #[test]
    fn errors_of_the_protocol_end_the_session_and_others_do_not() {
        let mut world = World::start(server(simulated()), |_worker| Store::default());
        let mut client = world.connect();
        client.send("NONSENSE 1\r\nGET\r\nMSET a\r\n*1\r\n$-1\r\nPING\r\n");
        world.settle();
        assert_eq!(
            client.received(),
            "-ERR unknown command 'NONSENSE'\r\n-ERR wrong number of arguments for 'get' command\r\n\
             -ERR wrong number of arguments for 'mset' command\r\n-ERR Protocol error: invalid bulk length\r\n"
        );
        assert!(client.has_ended());
        for bad in
            ["*x\r\n", "*65537\r\n", "*1\r\nPING\r\n", "*1\r\n$16777217\r\n", "*1\r\n$1\r\naXX", "*\r\n"]
        {
            let mut client = world.connect();
            client.send(bad);
            world.settle();
            assert!(client.received().text().starts_with("-ERR Protocol error: "), "{bad:?}");
            assert!(client.has_ended(), "{bad:?}");
        }
    }

    #[test]
    fn quit_is_answered_and_a_command_that_never_ends_is_not_kept() {
        let mut world = World::start(server(simulated()), |_worker| Store::default());
        let (mut quits, mut stops) = (world.connect(), world.connect());
        quits.send("QUIT\r\nPING\r\n");
        stops.send("*2\r\n$3\r\nGET\r\n$100\r\nk");
        world.settle();
        assert_eq!(quits.received(), "+OK\r\n");
        assert!(quits.has_ended() && !stops.has_ended());
        world.advance(Duration::from_secs(32));
        assert!(stops.has_ended());
        assert_eq!(world.stats().sessions, 0);
    }

    #[test]
    fn bytes_are_counted_as_long_as_they_are_kept() {
        let mut store = Store::default();
        store.set(b"key", b"value");
        store.set(b"key", b"longer value");
        assert_eq!(store.used, 3 + 12 + ENTRY);
        assert!(store.delete(b"key") && !store.delete(b"key"));
        assert_eq!(store.used, 0);
    }
}
