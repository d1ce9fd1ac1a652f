//! The live page in a real browser: what it shows, that it loads nothing and is never wider than the screen; with pictures
//! of it at two widths, in light and dark. Whether it is pleasant to read is for eyes to say; the pictures are in
//! `target/operations`.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use super::browser::Browser;
use super::eventually;
use super::server::Server;
use crate::bounded::Failure;

/// In CSS pixels; and whether it is a phone.
const SCREENS: [(&str, u32, u32, bool); 2] = [("phone", 390, 844, true), ("desktop", 1280, 900, false)];
/// The most that the admin server has room for.
const LIVE_PAGES: usize = 32;
const SCHEMES: [&str; 2] = ["light", "dark"];

pub(super) fn check(program: &Path, place: &Path) -> Result<(), Failure> {
    let browser = Browser::start(place)?;
    for sessions in [0, 1, 10_000] {
        let server = Server::start(program, &["--workers", "2"])?;
        let mut clients = clients(&server, sessions)?;
        browser.open(&format!("http://{}/", server.admin))?;
        shows(&browser, "sessions", &sessions.to_string())?;
        shows(&browser, "standing", "ready")?;
        shows(&browser, "workers", "2")?;
        // Something for the curves.
        for round in 0..5 {
            for client in clients.iter_mut().skip(round) {
                echoed(client).map_err(|error| format!("a client: {error}"))?;
            }
            shows_another_second(&browser)?;
        }
        draws(&browser, sessions > 0)?;
        loads_nothing(&browser)?;
        pictures(&browser, place, &sessions.to_string())?;
        drop(clients);
        server.end()?;
    }
    is_one_too_many(program, place, &browser)?;
    ends(program, place, &browser)?;
    dies(program, place, &browser)
}

/// A page that the server has no room for says so, and is there when there is room again.
fn is_one_too_many(program: &Path, place: &Path, browser: &Browser) -> Result<(), Failure> {
    let server = Server::start(program, &[])?;
    let viewer = |_| {
        let mut viewer = TcpStream::connect(server.admin)?;
        viewer.write_all(b"GET /events HTTP/1.1\r\nHost: a\r\n\r\n")?;
        viewer.read_exact(&mut [0; 16])?;
        Ok(viewer)
    };
    let viewers: std::io::Result<Vec<_>> = (0..LIVE_PAGES).map(viewer).collect();
    let viewers = viewers.map_err(|error| format!("a live page: {error}"))?;
    browser.open(&format!("http://{}/", server.admin))?;
    shows(browser, "standing", "refused")?;
    pictures(browser, place, "refused")?;
    drop(viewers);
    shows(browser, "standing", "ready")?;
    server.end().map(drop)
}

/// What an open page shows while its server ends, and after it.
fn ends(program: &Path, place: &Path, browser: &Browser) -> Result<(), Failure> {
    let server =
        Server::start(program, &["--workers", "2", "--drain-delay", "10s", "--drain-timeout", "20s"])?;
    let mut clients = clients(&server, 1)?;
    browser.open(&format!("http://{}/", server.admin))?;
    shows(browser, "standing", "ready")?;
    // The client takes nothing: its session will hold the drain up.
    stall(&mut clients[0]).map_err(|error| format!("a client that reads nothing: {error}"))?;
    says(browser, "#charts", "full sessions 1")?;
    server.running.terminate();
    shows(browser, "standing", "not ready")?;
    pictures(browser, place, "delay")?;
    shows(browser, "standing", "draining")?;
    pictures(browser, place, "drain")?;
    drop(clients);
    let (status, lines) = server.running.wait()?;
    // Its session was reset with echoes on their way: cut, so 1.
    if status != Some(1) && status != Some(0) {
        return Err(format!("`overlapped serve` ended with {status:?}: {}", lines.join("\n")));
    }
    shows(browser, "standing", "ended")?;
    pictures(browser, place, "ended")
}

/// A server that is killed, and another one in its place.
fn dies(program: &Path, place: &Path, browser: &Browser) -> Result<(), Failure> {
    let server = Server::start(program, &[])?;
    let admin = server.admin.to_string();
    browser.open(&format!("http://{admin}/"))?;
    shows(browser, "standing", "ready")?;
    drop(server);
    shows(browser, "standing", "gone")?;
    pictures(browser, place, "gone")?;
    let mut next = Command::new(program);
    let next = Server::of(next.args(["serve", "--bind", "127.0.0.1:0", "--admin", &admin]))?;
    shows(browser, "standing", "ready")?;
    next.end().map(drop)
}

/// Waits until curves are drawn, each worker has a row, and the rate of bytes has been more than none, if there were echoes.
fn draws(browser: &Browser, echoes: bool) -> Result<(), Failure> {
    let looks = "const lines = [...document.querySelectorAll('#charts path')].map(path => path.getAttribute('d'));\
                 const tops = [...document.querySelectorAll('#charts .head span')].map(top => top.textContent);\
                 const rows = document.querySelectorAll('#workers tbody tr').length;\
                 return [lines.filter(line => line && line.includes('L')).length, rows, tops[1]]";
    eventually("curves and workers on the live page", || {
        let shown = browser.run(looks)?;
        let count = |index: usize| shown[index].as_u64().unwrap_or(0);
        // Of the 13 curves that of the mean turn may be empty: an idle server has no turns.
        if count(0) >= 12 && count(1) == 2 && (shown[2] != "top 1 B") == echoes {
            Ok(())
        } else {
            Err(format!("it shows {shown}"))
        }
    })
}

/// Waits until a part of the page has this text.
fn says(browser: &Browser, part: &str, wanted: &str) -> Result<(), Failure> {
    eventually(&format!("{wanted} on the live page"), || {
        let text = browser.run(&format!("return document.querySelector('{part}').textContent"))?;
        let text = text.as_str().unwrap_or_default();
        if text.contains(wanted) { Ok(()) } else { Err(format!("it says {text}")) }
    })
}

/// Waits until the page's script has noted that it shows this.
fn shows(browser: &Browser, what: &str, wanted: &str) -> Result<(), Failure> {
    eventually(&format!("a live page with {what} {wanted}"), || {
        let shown = browser.run(&format!("return document.body.dataset.{what} ?? ''"))?;
        if shown.as_str() == Some(wanted) { Ok(()) } else { Err(format!("it shows {shown}")) }
    })
}

fn shows_another_second(browser: &Browser) -> Result<(), Failure> {
    const SEEN: &str = "return document.body.dataset.at ?? ''";
    let before = browser.run(SEEN)?;
    eventually("another second on the live page", || {
        let now = browser.run(SEEN)?;
        if now != before { Ok(()) } else { Err(format!("it stays at {now}")) }
    })
}

fn loads_nothing(browser: &Browser) -> Result<(), Failure> {
    let strange = browser.run(
        "return performance.getEntriesByType('resource').map(entry => entry.name)\
         .filter(name => !name.startsWith(location.origin + '/') && !name.startsWith('data:'))",
    )?;
    match strange.as_array() {
        Some(names) if names.is_empty() => Ok(()),
        _ => Err(format!("the live page loads {strange}")),
    }
}

fn pictures(browser: &Browser, place: &Path, name: &str) -> Result<(), Failure> {
    for (screen, width, height, is_phone) in SCREENS {
        browser.set_screen(width, height, is_phone)?;
        for scheme in SCHEMES {
            browser.set_scheme(scheme)?;
            let wide = browser.run("return document.documentElement.scrollWidth")?;
            if wide.as_u64().is_none_or(|wide| wide > u64::from(width)) {
                return Err(format!("the live page ({name}) is {wide} pixels wide on a screen of {width}"));
            }
            browser.picture(&place.join(format!("live-{name}-{screen}-{scheme}.png")))?;
        }
    }
    Ok(())
}

/// Each has had an answer.
fn clients(server: &Server, number: usize) -> Result<Vec<TcpStream>, Failure> {
    let client = |index: usize| {
        let failed = |error| format!("client {index}: {error}; the descriptor limit must be above {number}");
        let mut client = TcpStream::connect(server.address).map_err(failed)?;
        echoed(&mut client).map_err(failed)?;
        Ok(client)
    };
    (0..number).map(client).collect()
}

fn echoed(client: &mut TcpStream) -> std::io::Result<()> {
    client.write_all(b"hello").and_then(|()| client.read_exact(&mut [0; 5]))
}

/// Sends until the server's echoes fill everything between.
fn stall(client: &mut TcpStream) -> std::io::Result<()> {
    client.set_nonblocking(true)?;
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(2);
    while std::time::Instant::now() < deadline {
        match client.write(&[b'x'; 65536]) {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => std::thread::yield_now(),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
