//! What all peers have in common, so that they differ in how they move bytes alone: the command line
//! `--port PORT [--mode MODE]`, the listener, the descriptor limit and the line that says that they accept.
//!
//! Nothing here runs while bytes are echoed.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, TcpListener};
use std::process;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Bytes of every read buffer.
pub const READ_BUFFER: usize = 16 * 1024;

/// Descriptors that 10,000 connections need, with room for the runtime's own.
const DESCRIPTORS: u64 = 20_000;

/// The command line of a peer.
pub struct Options {
    /// 0 leaves the choice to the system.
    pub port: u16,
    /// One of the modes that the peer named; the first unless `--mode` says otherwise.
    pub mode: &'static str,
}

impl Options {
    /// Reads the command line; `modes` are those the peer has, the default first. A wrong command line ends the
    /// process with status 2 and the usage.
    #[must_use]
    pub fn from_arguments(modes: &[&'static str]) -> Options {
        parse(std::env::args().skip(1), modes).unwrap_or_else(|what| {
            eprintln!("{what}\nusage: --port PORT [--mode {}]", modes.join("|"));
            process::exit(2)
        })
    }
}

fn parse(mut arguments: impl Iterator<Item = String>, modes: &[&'static str]) -> Result<Options, String> {
    let (mut port, mut mode) = (None, modes[0]);
    while let Some(argument) = arguments.next() {
        let value = arguments.next().ok_or_else(|| format!("`{argument}` needs a value"))?;
        match argument.as_str() {
            "--port" => port = Some(value.parse().map_err(|error| format!("port `{value}`: {error}"))?),
            "--mode" => {
                let known = modes.iter().find(|known| **known == value);
                mode = known.ok_or_else(|| format!("there is no mode `{value}`"))?;
            }
            _ => return Err(format!("there is no option `{argument}`")),
        }
    }
    Ok(Options { port: port.ok_or("`--port` is missing")?, mode })
}

/// Listens on 127.0.0.1 with the longest backlog that the system allows, after the limit of descriptors is raised.
///
/// # Errors
///
/// The port is taken, or the process may not have [`DESCRIPTORS`] descriptors.
pub fn listen(port: u16) -> io::Result<TcpListener> {
    raise_descriptor_limit()?;
    TcpListener::bind((Ipv4Addr::LOCALHOST, port))
}

/// Raises the limit of descriptors to what 10,000 connections need; [`listen`] does it by itself.
///
/// # Errors
///
/// The hard limit is lower and the process may not raise it.
pub fn raise_descriptor_limit() -> io::Result<()> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_none_or(|current| current >= DESCRIPTORS) {
        return Ok(());
    }
    let maximum = maximum.map(|maximum| maximum.max(DESCRIPTORS));
    setrlimit(Resource::Nofile, Rlimit { current: Some(DESCRIPTORS), maximum }).map_err(|error| {
        io::Error::other(format!("{DESCRIPTORS} descriptors: {error}; raise the hard limit (`ulimit -Hn`)"))
    })
}

/// Prints where the peer accepts. Call it when connections are accepted.
pub fn announce(port: u16) {
    println!("listening on 127.0.0.1:{port}");
}

/// Whether a failed accept concerns one connection alone. Any other failure should end a peer: what it would serve
/// afterwards is not what a benchmark asks for.
#[must_use]
pub fn concerns_one_connection(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset | ErrorKind::Interrupted)
}
