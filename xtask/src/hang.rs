//! What a program that hangs was doing, as Linux sees it: its threads and where they wait, its connections and the bytes
//! that are on their way in them. Read before it is ended, because nobody can ask it any more.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt::Write;
use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

/// Connections shown one by one; of more, the number.
const MOST: usize = 60;

/// Reports on a process, its descendants, and whatever runs in the same Wine prefix.
pub(crate) fn report(root: u32, prefix: Option<&OsStr>) -> String {
    let mut text = String::new();
    let mut sockets = BTreeMap::new();
    for pid in members(root, prefix) {
        let name = read(format!("/proc/{pid}/comm"));
        let _ = writeln!(text, "  process {pid}, {}:", name.trim_end());
        for (tid, thread) in entries(format!("/proc/{pid}/task")) {
            let stat = read(thread.join("stat"));
            let Some((name, state)) = thread_of(&stat) else { continue };
            let waits_in = read(thread.join("wchan"));
            let _ = writeln!(text, "    thread {tid} {name}: {state} {}", waits_in.trim_matches('0'));
        }
        for (fd, path) in entries(format!("/proc/{pid}/fd")) {
            let target = fs::read_link(path).unwrap_or_default();
            if let Some(inode) = inode_of(&target.to_string_lossy()) {
                sockets.entry(inode).or_insert(format!("{} {fd}", name.trim_end()));
            }
        }
    }
    let tables = read("/proc/net/tcp") + &read("/proc/net/tcp6");
    let known = tables.lines().filter_map(connection_of);
    let open: Vec<_> = known.filter_map(|row| Some((sockets.get(&row.inode)?, row))).collect();
    let _ = writeln!(text, "  {} TCP sockets:", open.len());
    for (holder, row) in open.iter().take(MOST) {
        let Connection { local, remote, state, unsent, unread, .. } = row;
        let _ = write!(text, "    {local} to {remote} {state}: {unread} bytes not received, ");
        let _ = writeln!(text, "{unsent} not acknowledged (descriptor {holder})");
    }
    if open.len() > MOST {
        let _ = writeln!(text, "    … and {} more", open.len() - MOST);
    }
    text
}

/// The process, its descendants, and the processes of a Wine prefix.
fn members(root: u32, prefix: Option<&OsStr>) -> Vec<u32> {
    let variable = prefix.map(|prefix| [b"WINEPREFIX=", prefix.as_encoded_bytes()].concat());
    let all: Vec<(u32, u32)> = entries("/proc")
        .filter_map(|(pid, path)| Some((pid, parent_of(&read(path.join("stat")))?)))
        .collect();
    let mut members = vec![root];
    let mut at = 0;
    while let Some(parent) = members.get(at).copied() {
        let children = all.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid);
        members.extend(children);
        at += 1;
    }
    for (pid, _) in all {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        let mut variables = environment.split(|byte| *byte == 0);
        if !members.contains(&pid) && variables.any(|given| Some(given) == variable.as_deref()) {
            members.push(pid);
        }
    }
    members
}

/// What of a directory has a number for its name.
fn entries(directory: impl AsRef<Path>) -> impl Iterator<Item = (u32, std::path::PathBuf)> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path())))
}

/// A file of `/proc`; nothing if its process has just gone.
fn read(path: impl AsRef<Path>) -> String {
    fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

/// Name and state from a line of `stat`, proc(5). The name is in parentheses, and may hold some itself.
fn thread_of(stat: &str) -> Option<(&str, &'static str)> {
    let (name, rest) = stat.split_once('(')?.1.rsplit_once(')')?;
    let state = match rest.trim_start().chars().next()? {
        'R' => "runs",
        'S' => "sleeps",
        'D' => "waits for a device",
        'T' | 't' => "is stopped",
        'Z' => "has ended",
        _ => "",
    };
    Some((name, state))
}

fn parent_of(stat: &str) -> Option<u32> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

/// The number in `socket:[123]`.
fn inode_of(target: &str) -> Option<u64> {
    target.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// A line of `/proc/net/tcp`.
#[derive(Debug, PartialEq)]
struct Connection {
    local: SocketAddr,
    remote: SocketAddr,
    state: &'static str,
    unsent: u64,
    unread: u64,
    inode: u64,
}

fn connection_of(line: &str) -> Option<Connection> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (unsent, unread) = fields.get(4)?.split_once(':')?;
    let state = match *fields.get(3)? {
        "01" => "established",
        "02" | "03" => "being established",
        "04" | "05" | "0B" => "closed by us",
        "08" | "09" => "closed by the other end",
        "0A" => "listens",
        _ => "closed",
    };
    Some(Connection {
        local: address_of(fields.get(1)?)?,
        remote: address_of(fields.get(2)?)?,
        state,
        unsent: u64::from_str_radix(unsent, 16).ok()?,
        unread: u64::from_str_radix(unread, 16).ok()?,
        inode: fields.get(9)?.parse().ok()?,
    })
}

/// `0100007F:2382`: words in the order of this machine.
fn address_of(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| Some(u32::from_str_radix(address.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    if address.len() == 8 {
        return Some((Ipv4Addr::from(word(0)?), port).into());
    }
    let words = [word(0)?, word(8)?, word(16)?, word(24)?];
    let bytes: [u8; 16] = words.concat().try_into().ok()?;
    Some((Ipv6Addr::from(bytes).to_canonical(), port).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_proc_are_understood() {
        let line = "   1: 0100007F:270F 0100007F:C3A4 01 00000010:00000040 00:00000000 00000000     0        0 4711 1";
        let wanted = Connection {
            local: "127.0.0.1:9999".parse().unwrap(),
            remote: "127.0.0.1:50084".parse().unwrap(),
            state: "established",
            unsent: 16,
            unread: 64,
            inode: 4711,
        };
        assert_eq!(connection_of(line), Some(wanted));
        assert_eq!(connection_of("  sl  local_address rem_address   st tx_queue rx_queue"), None);
        let six = address_of("0000000000000000FFFF00000100007F:0050");
        assert_eq!(six, Some("127.0.0.1:80".parse().unwrap()));
        assert_eq!(thread_of("12 (a (b) c) S 1 12"), Some(("a (b) c", "sleeps")));
        assert_eq!(parent_of("12 (a (b) c) S 1 12"), Some(1));
        assert_eq!(inode_of("socket:[123]"), Some(123));
        assert_eq!(inode_of("/dev/null"), None);
    }

    /// A program that hangs with bytes in its socket, which it inherited from here.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_hang_is_reported_with_what_is_in_flight() {
        use std::io::Write;
        use std::net::{TcpListener, TcpStream};
        use std::process::Command;
        use std::time::Duration;

        use crate::bounded;

        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (held, _) = listener.accept().unwrap();
        client.write_all(&[7; 321]).unwrap();
        let mut sleeper = Command::new("sleep");
        sleeper.arg("100").stdin(std::os::fd::OwnedFd::from(held));
        let failure = bounded::run(&mut sleeper, Duration::from_millis(300)).unwrap_err();
        assert!(failure.contains("`sleep 100` hung"), "{failure}");
        let of_client = format!("to {} established: 321 bytes not received", client.local_addr().unwrap());
        assert!(failure.contains(&of_client) && failure.contains("sleep: sleeps"), "{failure}");
    }
}
