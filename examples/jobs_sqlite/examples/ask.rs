//! Asks a server that answers each line with a line, and prints the answers.
//! `cargo run --release -p jobs-sqlite --example ask -- 127.0.0.1:9999 "create ann" "deposit ann 100"`
#![forbid(unsafe_code)]
use std::io::{self, BufRead, BufReader, ErrorKind, Write};
use std::net::TcpStream;

fn main() -> io::Result<()> {
    let mut args = std::env::args().skip(1);
    let mut server = BufReader::new(TcpStream::connect(args.next().expect("usage: ask ADDRESS LINE..."))?);
    for line in args {
        server.get_mut().write_all(format!("{line}\n").as_bytes())?;
        let mut answer = String::new();
        if server.read_line(&mut answer)? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        print!("{line}: {answer}");
    }
    Ok(())
}
