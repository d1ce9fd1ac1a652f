//! The units of `deploy/systemd`, and activation by systemd's own program.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use super::server::Running;
use super::{deployed, free_port, free_ports, read, write};
use crate::bounded::{self, Failure, PROGRAM, output_of};

/// The exposure that `systemd-analyze security` may find at most: 0 is none, 10 is all.
const EXPOSURE: f64 = 1.5;

pub(super) fn check(program: &Path, place: &Path) -> Result<(), Failure> {
    units_are_valid(program, place)?;
    is_activated(program)?;
    with_several_sockets(program)
}

/// As installed, with this program in the place of the installed one.
fn units_are_valid(program: &Path, place: &Path) -> Result<(), Failure> {
    let units = place.join("systemd");
    std::fs::create_dir_all(&units).map_err(|error| format!("{}: {error}", units.display()))?;
    let service = read(&deployed("systemd/overlapped.service"))?;
    let service = service.replace("/usr/bin/overlapped", &program.display().to_string());
    write(&units.join("overlapped.service"), &service)?;
    write(&units.join("overlapped.socket"), &read(&deployed("systemd/overlapped.socket"))?)?;
    let files = ["overlapped.service", "overlapped.socket"].map(|file| units.join(file));
    let mut verify = Command::new("systemd-analyze");
    verify.args(["verify", "--man=no", "--recursive-errors=yes"]).args(&files);
    let (_, complaints) = bounded::lines_of(&mut verify, PROGRAM, |line| line.contains("overlapped"))?;
    if !complaints.is_empty() {
        return Err(format!("systemd-analyze verify: {}", complaints.join("\n")));
    }
    let mut security = Command::new("systemd-analyze");
    let text = output_of(security.args(["security", "--offline=true", "--no-pager"]).arg(&files[0]))?;
    let last = text.lines().last().unwrap_or_default();
    let score = last
        .split_once("overlapped.service: ")
        .and_then(|(_, rest)| rest.split(' ').next()?.parse::<f64>().ok());
    println!("systemd-analyze security: {}", score.map_or("?".to_owned(), |score| score.to_string()));
    match score {
        Some(score) if score <= EXPOSURE => Ok(()),
        _ => Err(format!("systemd-analyze security: {last:?}, wanted at most {EXPOSURE}")),
    }
}

/// It starts with the first client, on the socket that was there before it.
fn is_activated(program: &Path) -> Result<(), Failure> {
    let port = free_port()?;
    let mut command = Command::new("systemd-socket-activate");
    command.args(["--listen", &format!("127.0.0.1:{port}"), "--fdname", "echo"]);
    let running = Running::start("systemd-socket-activate", command.arg(program).arg("serve"))?;
    running.line("that it listens", |line| line.contains("Listening on").then_some(()))?;
    let mut client = client(port)?;
    running.line("which socket it has", |line| {
        line.contains("is the service manager's socket echo").then_some(())
    })?;
    echo(&mut client)?;
    drop(client);
    running.terminate();
    match running.wait()? {
        (Some(0), _) => Ok(()),
        (status, lines) => Err(format!("an activated server ended with {status:?}: {}", lines.join("\n"))),
    }
}

/// Two for clients, and one by the name of `admin` between them: each has its own name, and they are served in their order.
fn with_several_sockets(program: &Path) -> Result<(), Failure> {
    let [first, admin, second] = free_ports()?;
    let mut command = Command::new("systemd-socket-activate");
    for port in [first, admin, second] {
        command.args(["--listen", &format!("127.0.0.1:{port}")]);
    }
    command.args(["--fdname", "echo:admin:more"]).arg(program).arg("serve");
    let running = Running::start("systemd-socket-activate", &mut command)?;
    running.line("that it listens on all", |line| line.contains(&format!(":{second}")).then_some(()))?;
    let mut client = client(second)?;
    let note = |port, name| format!("127.0.0.1:{port} is the service manager's socket {name}");
    let notes = [note(first, "echo"), note(second, "more"), note(admin, "admin")];
    let listens = |port| format!("listening on 127.0.0.1:{port} ");
    let lines = [listens(first), listens(second), format!("admin on http://127.0.0.1:{admin}/")];
    let wanted = [notes, lines].concat();
    let next =
        |_| running.line("every socket", |line| wanted.iter().position(|wanted| line.contains(wanted)));
    let said = wanted.iter().map(next).collect::<Result<Vec<_>, Failure>>()?;
    // Notes and lines are on different streams: each has its own order.
    let (notes, lines): (Vec<usize>, Vec<usize>) = said.iter().partition(|place| **place < 3);
    if (notes.as_slice(), lines.as_slice()) != (&[0, 1, 2], &[3, 4, 5]) {
        return Err(format!("sockets in another order: {said:?} of {wanted:?}"));
    }
    echo(&mut client)?;
    let ready = output_of(Command::new("curl").args([
        "--silent",
        "--fail",
        &format!("http://127.0.0.1:{admin}/ready"),
    ]))?;
    if ready != "ready" {
        return Err(format!("the admin socket answers {ready:?}"));
    }
    drop(client);
    running.terminate();
    match running.wait()? {
        (Some(0), _) => Ok(()),
        (status, lines) => Err(format!("the server ended with {status:?}: {}", lines.join("\n"))),
    }
}

fn client(port: u16) -> Result<TcpStream, Failure> {
    let client = TcpStream::connect(("127.0.0.1", port)).map_err(|error| format!("a client: {error}"))?;
    client.set_read_timeout(Some(PROGRAM)).map_err(|error| format!("a client: {error}"))?;
    Ok(client)
}

fn echo(client: &mut TcpStream) -> Result<(), Failure> {
    let mut answer = [0; 5];
    client
        .write_all(b"hello")
        .and_then(|()| client.read_exact(&mut answer))
        .map_err(|error| format!("no echo: {error}"))?;
    if answer == *b"hello" { Ok(()) } else { Err(format!("not an echo: {answer:?}")) }
}
