//! The SOCKS5 proxy, as `curl` sees it.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::thread;

use super::expect;
use super::served::Served;
use crate::bounded::{self, Failure, PROGRAM, output_of};

/// More than every buffer on the way.
const BODY: usize = 8 << 20;
const AT_ONCE: usize = 16;
/// `CURLE_PROXY`: the proxy answered that it cannot connect.
const PROXY_FAILED: i32 = 97;

pub(super) fn check(backend: &str) -> Result<usize, Failure> {
    let proxy = Served::start("socks5", backend)?;
    let origin = serve_pages().map_err(|error| format!("a server of pages: {error}"))?;
    let port = origin.port();
    for (option, host) in
        [("--socks5", "127.0.0.1"), ("--socks5-hostname", "127.0.0.1"), ("--socks5-hostname", "localhost")]
    {
        let got = output_of(curl(&proxy, option).arg(format!("http://{host}:{port}/small")))?;
        expect(&format!("curl {option}, {host}"), &got, "small")?;
    }
    large_pages_at_once(&proxy, port)?;
    let closed = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let closed = closed.map_err(|error| format!("a free port: {error}"))?;
    for host in [format!("127.0.0.1:{}", closed.port()), format!("nowhere.invalid:{port}")] {
        let status =
            bounded::status_of(curl(&proxy, "--socks5-hostname").arg(format!("http://{host}/")), PROGRAM)?;
        if status.code() != Some(PROXY_FAILED) {
            return Err(format!("curl to {host}, which cannot be reached: {status}, not {PROXY_FAILED}"));
        }
    }
    Ok(6)
}

fn curl(proxy: &Served, option: &str) -> Command {
    let mut command = Command::new("curl");
    command.args(["--silent", "--noproxy", "", option, &proxy.address.to_string()]);
    command
}

fn large_pages_at_once(proxy: &Served, port: u16) -> Result<(), Failure> {
    let fetch = || {
        let got = output_of(curl(proxy, "--socks5").arg(format!("http://127.0.0.1:{port}/large")))?;
        if got.len() == BODY && got.bytes().all(|byte| byte == b'x') {
            Ok(())
        } else {
            Err(format!("a page of {BODY} bytes came with {}", got.len()))
        }
    };
    thread::scope(|scope| {
        let fetching: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(fetch)).collect();
        fetching.into_iter().try_for_each(|thread| thread.join().expect("it does not panic"))
    })
}

/// Serves `/small` and `/large` on loopback, until the process ends.
fn serve_pages() -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || serve_page(client));
        }
    });
    Ok(address)
}

fn serve_page(mut client: TcpStream) -> std::io::Result<()> {
    let mut request = Vec::new();
    let mut reader = BufReader::new(client.try_clone()?);
    while reader.read_until(b'\n', &mut request)? > 2 {}
    let body = if request.starts_with(b"GET /large ") { vec![b'x'; BODY] } else { b"small".to_vec() };
    write!(client, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len())?;
    client.write_all(&body)
}
