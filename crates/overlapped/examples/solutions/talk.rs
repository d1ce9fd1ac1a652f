//! A client for the exercises of `docs/lesson.md`: sends each line that is typed, and prints all that arrives, when it
//! arrives. (`overlapped client` compares each answer with what was sent: it is for echo servers.) `q` quits.
//! `cargo run --example talk -- 127.0.0.1:9999`

use std::io::{self, BufRead, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// True exactly when a prompt is the last that was printed: what arrives then begins on a new line.
static AT_PROMPT: AtomicBool = AtomicBool::new(false);

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9999".into());
    let server = TcpStream::connect(&address).unwrap_or_else(|error| {
        eprintln!("cannot connect to {address}: {error}; start a server there");
        std::process::exit(1)
    });
    prompt()?;
    let from_server = server.try_clone()?;
    let printing = thread::spawn(move || print_all(from_server));
    for line in io::stdin().lock().lines() {
        AT_PROMPT.store(false, Ordering::Relaxed);
        let line = line?;
        if line == "q" {
            break;
        }
        (&server).write_all(format!("{line}\n").as_bytes())?;
    }
    server.shutdown(Shutdown::Write)?; // the server answers what it has got, and closes
    printing.join().expect("it does not panic")
}

fn prompt() -> io::Result<()> {
    let mut terminal = io::stdout().lock();
    AT_PROMPT.store(true, Ordering::Relaxed);
    write!(terminal, "> ")?;
    terminal.flush()
}

fn print_all(mut server: TcpStream) -> io::Result<()> {
    let mut buffer = [0; 4096];
    loop {
        let received = server.read(&mut buffer);
        if AT_PROMPT.swap(false, Ordering::Relaxed) {
            println!();
        }
        // Both ends exit here: the other thread may be waiting for a line.
        match received {
            Ok(0) => {
                println!("the server has closed the connection");
                std::process::exit(0);
            }
            Ok(len) => io::stdout().write_all(&buffer[..len])?,
            Err(error) => {
                println!("the connection has failed: {error}");
                std::process::exit(1);
            }
        }
        prompt()?;
    }
}
