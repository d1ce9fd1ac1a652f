//! What an idle session costs a server in memory: the growth of its resident memory from none to all of the connections,
//! which this process opens itself, first while they have said nothing, then after one echo on each.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use super::generator::Figures;
use super::jobs::Workload;
use super::running::Running;
use super::{interrupt, system};
use crate::bounded::Failure;

/// For the server to accept what has connected, and for one echo.
const PATIENCE: Duration = Duration::from_secs(20);
/// A server may do some of its work for a new connection a little later.
const SETTLE: Duration = Duration::from_millis(200);

pub(super) fn run(workload: &Workload, server: &Running) -> Result<Figures, Failure> {
    let pid = server.pid();
    let resident = || system::resident(pid).ok_or("the server has ended");
    let empty = resident()?;
    let count = workload.connections as usize;
    let mut connections = Vec::with_capacity(count);
    for number in 0..count {
        stop_if_asked()?;
        let connection = TcpStream::connect(server.address)
            .map_err(|error| format!("connection {number} of {count} failed: {error}"))?;
        connections.push(connection);
    }
    await_accepted(server.address.port())?;
    let per_session = |now: u64| now.saturating_sub(empty) as f64 / count as f64;
    let silent = per_session(resident()?);
    for connection in &mut connections {
        stop_if_asked()?;
        echo(connection, workload.size as usize).map_err(|error| format!("an echo failed: {error}"))?;
    }
    thread::sleep(SETTLE);
    let now = resident()?;
    Ok(Figures {
        resident_bytes: Some(now as f64),
        silent_bytes: Some(silent),
        idle_bytes: Some(per_session(now)),
        ..Figures::default()
    })
}

/// Until no connection waits to be accepted.
fn await_accepted(port: u16) -> Result<(), Failure> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match system::waiting_to_be_accepted(port) {
            0 => break,
            waiting if Instant::now() > deadline => {
                return Err(format!("{waiting} connections were not accepted within {PATIENCE:?}"));
            }
            _ => thread::sleep(Duration::from_millis(20)),
        }
        stop_if_asked()?;
    }
    thread::sleep(SETTLE);
    Ok(())
}

fn echo(connection: &mut TcpStream, size: usize) -> std::io::Result<()> {
    let sent: Vec<u8> = (0..size).map(|at| at as u8).collect();
    let mut received = vec![0; size];
    connection.set_read_timeout(Some(PATIENCE))?;
    connection.write_all(&sent)?;
    connection.read_exact(&mut received)?;
    if received == sent { Ok(()) } else { Err(std::io::Error::other("other bytes came back")) }
}

fn stop_if_asked() -> Result<(), Failure> {
    if interrupt::asked() { Err("interrupted".to_owned()) } else { Ok(()) }
}
