//! What Linux says about a process and its connections.

use std::fs;

use overlapped_testing::{O_CLOEXEC, descriptor_flags, open_descriptors, status_field};

pub(crate) use overlapped_testing::resident;

/// The most memory that it ever had in use, in bytes.
pub(crate) fn peak(pid: u32) -> u64 {
    status_field(pid, None, "VmHWM") * 1024
}

/// Whether a signal has stopped it.
pub(crate) fn is_stopped(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process lives");
    status.lines().any(|line| line.starts_with("State:") && line.contains("(stopped)"))
}

/// Whether its thread of this name is in a system call on one of these descriptors.
pub(crate) fn waits_at(pid: u32, name: &str, descriptors: &[u64]) -> bool {
    fs::read_dir(format!("/proc/{pid}/task")).expect("the process lives").any(|task| {
        let task = task.expect("a task").path();
        let read = |file: &str| fs::read_to_string(task.join(file)).unwrap_or_default();
        // proc(5): the number of the call, and its arguments in hexadecimal.
        let call = read("syscall");
        let first = call.split(' ').nth(1).and_then(|text| u64::from_str_radix(text.get(2..)?, 16).ok());
        read("comm").trim_end() == name && first.is_some_and(|first| descriptors.contains(&first))
    })
}

/// Descriptors the process has open.
pub(crate) fn descriptors(pid: u32) -> usize {
    open_descriptors(pid).expect("the process lives")
}

/// Descriptors of a process that a program it executes would inherit: and what each is.
pub(crate) fn inheritable(pid: u32) -> Vec<(u32, String)> {
    let link = |fd: &u32| fs::read_link(format!("/proc/{pid}/fd/{fd}")).unwrap_or_default();
    let flags = descriptor_flags(pid);
    let inheritable = flags.iter().filter(|(_, flags)| *flags & O_CLOEXEC == 0);
    inheritable.map(|(fd, _)| (*fd, link(fd).to_string_lossy().into_owned())).collect()
}

/// The server of the Wine that this test runs programs in, if it does.
pub(crate) fn wine_server() -> Option<u32> {
    let prefix = format!("WINEPREFIX={}", std::env::var("WINEPREFIX").ok()?).into_bytes();
    let processes = fs::read_dir("/proc").expect("proc(5)").flatten();
    let numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers.into_iter().find(|pid: &u32| {
        let is_server =
            fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.starts_with("wineserver"));
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        is_server && environment.split(|byte| *byte == 0).any(|variable| variable == prefix)
    })
}

/// How often its threads were switched away from, by themselves or not.
pub(crate) fn switches(pid: u32) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("the process lives");
    let switches = |task: fs::DirEntry| {
        let task = task.file_name();
        let field = |name| status_field(pid, Some(&task.to_string_lossy()), name);
        field("voluntary_ctxt_switches") + field("nonvoluntary_ctxt_switches")
    };
    tasks.map(|task| switches(task.expect("the process lives"))).sum()
}

/// Processor time it has used, in ticks of 10 ms.
pub(crate) fn ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process lives");
    // The name before it, in parentheses, may contain anything.
    let (_, fields) = stat.rsplit_once(')').expect("proc(5)");
    let fields: Vec<&str> = fields.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

struct Row {
    local_port: u16,
    remote_port: u16,
    listens: bool,
    unacknowledged: u64,
    inode: u64,
}

fn connections() -> Vec<Row> {
    let table = fs::read_to_string("/proc/net/tcp").expect("proc(5)");
    let port = |address: &str| u16::from_str_radix(address.rsplit(':').next().unwrap(), 16).unwrap();
    let row = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (sending, _) = fields[4].split_once(':').unwrap();
        Row {
            local_port: port(fields[1]),
            remote_port: port(fields[2]),
            listens: fields[3] == "0A",
            unacknowledged: u64::from_str_radix(sending, 16).unwrap(),
            inode: fields[9].parse().unwrap(),
        }
    };
    table.lines().skip(1).map(row).collect()
}

/// Bytes that clients of the server on `port` have written and its kernel has not acknowledged.
pub(crate) fn unacknowledged(port: u16) -> u64 {
    connections().iter().filter(|row| row.remote_port == port).map(|row| row.unacknowledged).sum()
}

/// The port a process listens on, if it does.
pub(crate) fn port_of(pid: u32) -> Option<u16> {
    let open = fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
    let links = open.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    let names: Vec<String> = links.map(|link| link.to_string_lossy().into_owned()).collect();
    let owned = |row: &Row| row.listens && names.contains(&format!("socket:[{}]", row.inode));
    connections().iter().find(|row| owned(row)).map(|row| row.local_port)
}

/// The processors that a process's main thread may use.
pub(crate) fn processors(pid: u32) -> Vec<usize> {
    processors_in(&format!("/proc/{pid}/status"))
}

/// The same of each of its threads, with its name.
pub(crate) fn processors_of_threads(pid: u32) -> Vec<(String, Vec<usize>)> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("the process lives");
    let of = |task: fs::DirEntry| {
        let name = fs::read_to_string(task.path().join("comm")).expect("the thread lives");
        (name.trim_end().to_owned(), processors_in(&task.path().join("status").to_string_lossy()))
    };
    tasks.map(|task| of(task.expect("the process lives"))).collect()
}

/// `0-2,5`
fn processors_in(status: &str) -> Vec<usize> {
    let status = fs::read_to_string(status).expect("the thread lives");
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).expect("proc(5)");
    let number = |text: &str| text.parse::<usize>().expect("proc(5)");
    let range = |part: &str| match part.split_once('-') {
        Some((first, last)) => number(first)..=number(last),
        None => number(part)..=number(part),
    };
    list.trim().split(',').flat_map(range).collect()
}
