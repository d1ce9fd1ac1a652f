//! The network that the programs of the pages use: one of their own, where the system allows that, so that their port is
//! free whatever else this machine does; else this machine's.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

pub(super) struct Network {
    /// Where the pages have their servers.
    pub(super) port: u16,
    own: Option<Own>,
}

struct Own {
    /// It keeps the network for as long as its stdin is open.
    holder: Child,
    /// For a user who is not root: in a user namespace, too.
    own_user: bool,
}

impl Network {
    /// This machine's.
    #[cfg(test)]
    pub(super) fn of_machine(port: u16) -> Network {
        Network { port, own: None }
    }

    /// One of its own, if that may be had.
    pub(super) fn new(port: u16) -> Network {
        Network { port, own: [false, true].into_iter().find_map(Own::new) }
    }

    pub(super) fn is_own(&self) -> bool {
        self.own.is_some()
    }

    /// A command that runs another one in this network.
    pub(super) fn within(&self) -> Vec<String> {
        let Some(own) = &self.own else { return Vec::new() };
        let pid = own.holder.id().to_string();
        let mut words = vec!["nsenter", "--target", &pid, "--net"];
        if own.own_user {
            words.extend(["--user", "--preserve-credentials"]);
        }
        words.push("--");
        words.into_iter().map(str::to_owned).collect()
    }

    /// Whether no program listens on the port, at the end of this time at the latest.
    pub(super) fn is_free_within(&self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        while self.has_listener() {
            if Instant::now() > deadline {
                return false;
            }
            thread::sleep(Duration::from_millis(10));
        }
        true
    }

    /// Whether a program listens on the port. Linux, proc(5).
    fn has_listener(&self) -> bool {
        let process = self.own.as_ref().map_or("self".to_owned(), |own| own.holder.id().to_string());
        ["tcp", "tcp6"].into_iter().any(|kind| {
            let sockets = std::fs::read_to_string(format!("/proc/{process}/net/{kind}")).unwrap_or_default();
            sockets.lines().any(|line| listens(line, self.port))
        })
    }
}

/// Whether this is the line of a listener on the port: `sl local_address rem_address st`, in hexadecimal.
fn listens(line: &str, port: u16) -> bool {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let [_, local, _, state, ..] = fields[..] else { return false };
    state == "0A" && local.ends_with(&format!(":{port:04X}"))
}

impl Own {
    fn new(own_user: bool) -> Option<Own> {
        let mut command = Command::new("unshare");
        command.args(own_user.then_some("--map-root-user"));
        command.args(["--net", "sh", "-c", "ip link set lo up && nsenter --version && exec cat"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut holder = command.spawn().ok()?;
        let mut line = String::new();
        // Ends with the line, or with the process.
        let _ = BufReader::new(holder.stdout.take()?).read_line(&mut line);
        let own = Own { holder, own_user };
        (!line.is_empty()).then_some(own)
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_are_seen() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let machine = Network::of_machine(port);
        assert!(machine.has_listener());
        drop(listener);
        assert!(!machine.has_listener());
    }

    #[test]
    fn a_connection_is_no_listener() {
        let line = "   1: 0100007F:270F 0100007F:8CE6 01 00000000:00000000 00:00000000";
        assert!(!listens(line, 9999));
        assert!(listens(&line.replace(" 01 ", " 0A "), 9999));
    }
}
