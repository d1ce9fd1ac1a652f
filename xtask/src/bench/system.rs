//! What Linux says about processors and processes, read from `/proc`.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};

/// Ticks that one processor spent, since the machine began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Ticks {
    /// For processes, the kernel and interrupts.
    pub(super) busy: u64,
    /// Taken by the host for other machines.
    pub(super) steal: u64,
}

/// Of each processor that is online, by its number.
pub(super) fn processors() -> BTreeMap<usize, Ticks> {
    ticks_in(&read("/proc/stat"))
}

/// The lines `cpu0 user nice system idle iowait irq softirq steal guest guest_nice`, proc(5). Guests are part of user.
fn ticks_in(stat: &str) -> BTreeMap<usize, Ticks> {
    let of_line = |line: &str| {
        let (name, rest) = line.split_once(' ')?;
        let number = name.strip_prefix("cpu")?.parse().ok()?;
        let ticks: Vec<u64> = rest.split_whitespace().map_while(|ticks| ticks.parse().ok()).collect();
        let busy = [0, 1, 2, 5, 6].iter().filter_map(|at| ticks.get(*at)).sum();
        Some((number, Ticks { busy, steal: ticks.get(7).copied().unwrap_or(0) }))
    };
    stat.lines().filter_map(of_line).collect()
}

/// CPU time of a process, in ticks; nothing if it is gone.
pub(super) fn ticks_of(pid: u32) -> Option<u64> {
    own_and_children(&read(format!("/proc/{pid}/stat"))).map(|(own, _)| own)
}

/// CPU time of the children of this process that have ended and were waited for, in ticks.
pub(super) fn ticks_of_children() -> u64 {
    own_and_children(&read("/proc/self/stat")).map_or(0, |(_, children)| children)
}

/// CPU time of all processes, and of what they have started and waited for, in ticks. Those that end in between are
/// counted by who waits for them.
pub(super) fn ticks_of_all() -> u64 {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let of_one = |pid: u32| own_and_children(&read(format!("/proc/{pid}/stat")));
    pids.filter_map(of_one).map(|(own, children)| own + children).sum()
}

/// From a line of `stat`: `utime + stime` and `cutime + cstime`. The name, in parentheses, may hold anything.
fn own_and_children(stat: &str) -> Option<(u64, u64)> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at)?.parse::<u64>().ok();
    Some((ticks(11)? + ticks(12)?, ticks(13)? + ticks(14)?))
}

/// The session of a process; nothing if it is gone.
pub(super) fn session_of(pid: u32) -> Option<u32> {
    let stat = read(format!("/proc/{pid}/stat"));
    stat.rsplit_once(')')?.1.split_whitespace().nth(3)?.parse().ok()
}

pub(super) fn ticks_per_second() -> f64 {
    rustix::param::clock_ticks_per_second() as f64
}

/// Resident memory of a process, in bytes. `None` if it is gone.
pub(super) fn resident(pid: u32) -> Option<u64> {
    resident_in(&read(format!("/proc/{pid}/status")))
}

fn resident_in(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// Connections that a server with this port on IPv4 has not accepted yet.
pub(super) fn waiting_to_be_accepted(port: u16) -> u64 {
    let Ok(table) = fs::File::open("/proc/net/tcp") else { return 0 };
    let lines = BufReader::new(table).lines().map_while(Result::ok).skip(1);
    // Listeners come first; all of the connections would take long to read.
    lines.map_while(|line| listener_in(&line)).filter(|(of, _)| *of == port).map(|(_, waiting)| waiting).sum()
}

/// Port and waiting connections of a listener, a line `0: 0100007F:270F 00000000:0000 0A 00000000:00000003 …`.
fn listener_in(line: &str) -> Option<(u16, u64)> {
    let fields: Vec<&str> = line.split_whitespace().take(5).collect();
    let [_, local, _, "0A", queues] = fields[..] else { return None };
    let hexadecimal = |text: &str| u64::from_str_radix(text, 16).ok();
    let port = hexadecimal(local.split_once(':')?.1)?;
    Some((u16::try_from(port).ok()?, hexadecimal(queues.split_once(':')?.1)?))
}

/// A file of `/proc`; nothing if its process is gone.
pub(super) fn read(path: impl AsRef<std::path::Path>) -> String {
    fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_proc_are_understood() {
        let stat =
            "cpu  9 9 9 9 9 9 9 9 9 9\ncpu0 100 1 20 5000 7 3 4 11 50 0\ncpu2 1 0 1 1 0 0 0 0 0 0\nintr 5";
        // Processor 1 is offline and has no line.
        let wanted = [(0, Ticks { busy: 128, steal: 11 }), (2, Ticks { busy: 2, steal: 0 })];
        assert_eq!(ticks_in(stat), BTreeMap::from(wanted));
        assert_eq!(ticks_in(""), BTreeMap::new());
        let line = "12 (a) b) S 1 2 3 4 5 6 7 8 9 10 100 20 3 4 20 0 1 0";
        assert_eq!(own_and_children(line), Some((120, 7)));
        assert_eq!(own_and_children("12 (a"), None);
        assert_eq!(resident_in("VmPeak:\t 99 kB\nVmRSS:\t    1234 kB\n"), Some(1_263_616));
        assert_eq!(resident_in("VmPeak:\t 99 kB\n"), None);
        let line =
            "   0: 0100007F:270F 00000000:0000 0A 00000000:00000010 00:00000000 00000000     0        0 1 1";
        assert_eq!(listener_in(line), Some((9999, 16)));
        assert_eq!(listener_in(&line.replace(" 0A ", " 01 ")), None);
    }

    #[test]
    fn connections_that_wait_are_counted() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let _clients = [0; 3].map(|_| std::net::TcpStream::connect(address).unwrap());
        assert_eq!(waiting_to_be_accepted(address.port()), 3);
        let _accepted = listener.accept().unwrap();
        assert_eq!(waiting_to_be_accepted(address.port()), 2);
    }

    #[test]
    fn this_process_is_there() {
        assert!(resident(std::process::id()).is_some_and(|bytes| bytes > 100_000));
        assert!(session_of(std::process::id()).is_some());
        assert!(ticks_of_all() >= ticks_of(std::process::id()).unwrap());
        assert!(!processors().is_empty() && ticks_per_second() > 0.0);
    }
}
