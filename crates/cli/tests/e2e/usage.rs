//! What goes wrong before anything is served: one line, the right status, never a panic.

use std::net::TcpListener;
use std::process::Command;

use crate::process::{Ended, run};
use crate::server::binary;

/// One line on stderr with each of `wanted` in it, nothing on stdout.
fn one_line(command: Command, status: i32, wanted: &[&str]) {
    let shown = format!("{command:?}");
    let ended: Ended = run(command, b"");
    assert_eq!(ended.status, Some(status), "{shown}: {ended:?}");
    assert_eq!(ended.stderr.lines().count(), 1, "{shown}: {ended:?}");
    assert!(ended.stderr.starts_with("error: "), "{shown}: {ended:?}");
    assert!(ended.stdout.is_empty(), "{shown}: {ended:?}");
    for wanted in wanted {
        assert!(ended.stderr.contains(wanted), "{shown}: {wanted:?} is missing: {ended:?}");
    }
    for never in ["panicked", "backtrace", ".rs:"] {
        assert!(!ended.stderr.contains(never), "{shown}: {ended:?}");
    }
}

fn fails(args: &[&str], wanted: &[&str]) {
    one_line(binary(args), 1, wanted);
}

fn is_wrong(args: &[&str], wanted: &[&str]) {
    one_line(binary(args), 2, wanted);
}

#[test]
fn port_in_use() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let find = if cfg!(windows) { "netstat" } else { "`" };
    let reason = ["cannot listen on", &address, "another process listens there", find, "another port"];
    fails(&["serve", "--bind", &address], &reason);
    // The others do not help.
    fails(&["serve", "--bind", "127.0.0.1:0", "--bind", &address], &["cannot listen on", &address]);
}

#[test]
fn addresses_that_are_none() {
    is_wrong(&["serve", "--bind", "nonsense"], &["nonsense", "HOST:PORT"]);
    is_wrong(&["serve", "--bind", ""], &["HOST:PORT"]);
    is_wrong(&["serve", "--bind", ":80"], &["HOST:PORT", "127.0.0.1:80", "0.0.0.0:80"]);
    is_wrong(&["serve", "--bind", "80"], &["HOST:PORT", "127.0.0.1:80"]);
    is_wrong(&["serve", "--bind", "[localhost]:80"], &["in brackets"]);
    is_wrong(&["serve", "--bind", "[fe80::1]:80"], &["[fe80::1%eth0]:9999"]);
    is_wrong(&["client", ":80"], &["HOST:PORT", "127.0.0.1:80"]);
    is_wrong(&["serve", "--bind", "::1:80"], &["HOST:PORT", "[::1]"]);
    is_wrong(&["serve", "--bind", "127.0.0.1:65536"], &["65536", "65535"]);
    is_wrong(&["serve", "--bind", "127.0.0.1:-1"], &["65535"]);
    for plus in ["127.0.0.1:+80", "[::1]:+80", "localhost:+80"] {
        is_wrong(&["serve", "--bind", plus], &["\"+80\"", "65535"]);
        is_wrong(&["client", plus], &["\"+80\"", "65535"]);
    }
    is_wrong(&["client", "127.0.0.1:99999"], &["99999", "65535"]);
    is_wrong(&["client", "nonsense"], &["nonsense", "HOST:PORT"]);
}

#[test]
fn names_that_do_not_resolve() {
    // RFC 6761: this top-level domain never has an address.
    fails(&["serve", "--bind", "no-such-host.invalid:80"], &["cannot resolve", "no-such-host.invalid:80"]);
    fails(&["client", "no-such-host.invalid:80"], &["cannot resolve", "no-such-host.invalid:80"]);
}

#[test]
fn an_address_of_another_machine() {
    // RFC 5737: an address for documentation, nobody's.
    fails(&["serve", "--bind", "192.0.2.1:0"], &["cannot listen on 192.0.2.1:0", "no interface"]);
}

/// As root the server is run as somebody else, who may not take a port below 1024.
#[cfg(target_os = "linux")]
#[test]
fn a_port_without_permission() {
    use std::os::unix::process::CommandExt;
    const NOBODY: u32 = 65534;
    let first = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap();
    if first.trim() != "1024" {
        eprintln!("left out: here everybody may take ports from {} on", first.trim());
        return;
    }
    let mut command = binary(["serve", "--bind", "127.0.0.1:7"]);
    if rustix::process::geteuid().is_root() {
        command.uid(NOBODY);
        if let Err(error) = binary(["--version"]).uid(NOBODY).output() {
            eprintln!("left out: nobody but root may run the binary here: {error}");
            return;
        }
    }
    one_line(command, 1, &["cannot listen on 127.0.0.1:7", "privileges", "above 1023"]);
}

/// A word that is not UTF-8 is wrong usage, or the name of a file.
#[cfg(unix)]
#[test]
fn words_that_are_not_utf8() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    let raw = OsStr::from_bytes;
    for words in [
        &[raw(b"serve"), raw(b"\xff")][..],
        &[raw(b"doctor"), raw(b"\xff")],
        &[raw(b"serve"), raw(b"--x=\xff")],
        &[raw(b"client"), raw(b"\xff")],
        &[raw(b"serve"), raw(b"9998"), raw(b"--trace"), raw(b"/no/such/\xff")],
    ] {
        let output = std::process::Command::new(crate::server::BINARY).args(words).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), told.lines().count()), (Some(2), 1), "{words:?}: {told}");
    }
}

#[test]
fn flags_that_make_no_sense() {
    is_wrong(&["serve", "--nonsense"], &["--nonsense"]);
    is_wrong(&["serve", "--worker", "2"], &["--worker", "did you mean --workers"]);
    is_wrong(&["nonsense"], &["nonsense", "`serve`", "`client`", "`pitfalls`", "`doctor`"]);
    is_wrong(&["srve"], &["srve", "did you mean `serve`?"]);
    is_wrong(&["server"], &["server", "did you mean `serve`?"]);
    is_wrong(&["--bind", "127.0.0.1:0"], &["--bind", "an option of `serve`"]);
    is_wrong(&["serve", "--json"], &["--json", "an option of `load`, `pitfalls` and `doctor`"]);
    is_wrong(&["serve", "--quiet", "-v"], &["cannot be used with"]);
    is_wrong(&["serve", "--backend", "nonsense"], &["nonsense", "io_uring", "readiness"]);
    for poller in ["epoll", "kqueue", "EPOLL"] {
        is_wrong(&["serve", "--backend", poller], &[poller, "`readiness`"]);
    }
    // Of these, an exhibit can run on none.
    for poller in ["epoll", "readiness"] {
        is_wrong(&["pitfalls", "--kernel", poller], &[poller, "'; choose one of: auto, io_uring, iocp, own"]);
    }
    is_wrong(&["pitfalls", "--kernel", "uring"], &["uring", "`io_uring`"]);
    is_wrong(&["serve", "9998"], &["9998", "`overlapped serve --bind 127.0.0.1:9998`"]);
    is_wrong(&["serve", "--port", "9998"], &["--port", "`overlapped serve --bind 127.0.0.1:9998`"]);
    is_wrong(&["client", "--port=9998"], &["--port", "`overlapped client 127.0.0.1:9998`"]);
    for ring in ["uring", "io-uring", "IO_URING"] {
        is_wrong(&["serve", "--backend", ring], &[ring, "`io_uring`"]);
    }
    for none in ["0", "-1", "+2", "1025", "65537", "two", "", "99999999999999999999"] {
        is_wrong(&["serve", &format!("--workers={none}")], &["--workers"]);
    }
    for none in ["0", "-1", "+2", "many", "", "4294967296", "99999999999999999999"] {
        for flag in ["--max-sessions", "--max-per-address"] {
            is_wrong(&["serve", &format!("{flag}={none}")], &[flag, "give a whole number"]);
        }
    }
}

#[test]
fn sizes_and_durations_that_are_none() {
    for none in
        ["0", "0KiB", "abc", "", "-1", "+1", "1kx", "5s", "1.5MiB", "99999999999999999999", "17179869184GiB"]
    {
        for flag in ["--high-water", "--low-water"] {
            is_wrong(&["serve", &format!("{flag}={none}")], &[flag, "give"]);
        }
    }
    for none in ["5", "abc", "", "-1s", "+1s", "1.5s", "5MiB", "99999999999999999999s", "400000h"] {
        for flag in ["--idle-timeout", "--first-byte-timeout", "--write-timeout", "--drain-timeout"] {
            is_wrong(&["serve", &format!("{flag}={none}")], &[flag, "give"]);
        }
    }
}

/// What is not understood says what is.
#[test]
fn units_that_are_none() {
    is_wrong(&["serve", "--high-water=64x"], &["`x` is no unit of size", "KiB, MiB or GiB", "k, m, g"]);
    is_wrong(&["serve", "--idle-timeout=64k"], &["`k` is no unit of time", "ms, s, m or h", "or off"]);
    is_wrong(&["serve", "--drain-timeout=30"], &["the unit is missing", "ms, s, m or h"]);
    is_wrong(&["serve", "--write-timeout=1.5s"], &["only whole numbers", "500ms"]);
}

/// The marks are compared in bytes, so an error of the library shows how they were understood.
#[test]
fn short_units() {
    let marks = ["serve", "--bind", "127.0.0.1:0", "--high-water=64k", "--low-water=1M"];
    is_wrong(&marks, &["1048576 bytes", "65536"]);
}

#[test]
fn water_marks_in_the_wrong_order() {
    let bind = ["serve", "--bind", "127.0.0.1:0"];
    let with = |marks: &[&'static str]| [&bind[..], marks].concat();
    is_wrong(&with(&["--high-water", "16KiB", "--low-water", "32KiB"]), &["low-water", "high-water"]);
    is_wrong(&with(&["--high-water", "16KiB", "--low-water", "16KiB"]), &["low-water", "high-water"]);
}

/// A backend of another system is known by name, and says what there is here.
#[test]
fn a_backend_of_another_system() {
    let (other, here) = if cfg!(windows) { ("io_uring", "iocp") } else { ("iocp", "readiness") };
    fails(&["serve", "--bind", "127.0.0.1:0", "--backend", other], &[other, "not available", here]);
}

/// What fails says what to do.
#[test]
fn a_trace_that_cannot_be_written() {
    let missing = std::env::temp_dir().join("no-such-directory").join("trace.json");
    let trace = |path: &str| ["serve", "--bind", "127.0.0.1:0", "--trace", path].map(str::to_owned);
    let missing = trace(missing.to_str().unwrap());
    fails(&missing.each_ref().map(String::as_str), &["cannot write the trace", "create the directory"]);
    let directory = trace(std::env::temp_dir().to_str().unwrap());
    fails(&directory.each_ref().map(String::as_str), &["cannot write the trace", "; "]);
}

/// Nobody listening on a client's address.
#[test]
fn no_server_for_a_client() {
    let nowhere = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    fails(&["client", &nowhere], &["cannot connect to", &nowhere, "overlapped serve"]);
}

#[test]
fn help_and_version() {
    for args in [
        &["--help"][..],
        &["--version"],
        &["serve", "--help"],
        &["client", "--help"],
        &["doctor", "--help"],
        &["pitfalls", "--help"],
    ] {
        let ended = run(binary(args), b"");
        assert_eq!((ended.status, ended.stderr.as_str()), (Some(0), ""), "{args:?}: {ended:?}");
        assert!(!ended.stdout.is_empty(), "{args:?}");
    }
    // No terminal, so as wide as usual; 100 columns at most.
    for command in ["serve", "client", "doctor"] {
        let text = run(binary([command, "--help"]), b"").text();
        assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    }
    let serve = run(binary(["serve", "--help"]), b"").text();
    for wanted in [
        "[::]:9999",
        "0.0.0.0:9999",
        "[::ffff:127.0.0.1]:9999",
        "%eth0",
        "64k is 65536",
        "taken to send",
        "or the trace could not be written to its end",
        "`drained` counts the sessions that the drain closed with everything echoed",
        "`cut` those that its deadline closed, and `lost` the bytes that these still had to echo",
        "With 0s nothing is waited for",
        "written 16 KiB at a time",
        "Its columns: seconds since the start",
    ] {
        assert!(serve.split_whitespace().collect::<Vec<_>>().join(" ").contains(wanted), "{wanted}: {serve}");
    }
    let client = run(binary(["client", "--help"]), b"").text();
    let client = client.split_whitespace().collect::<Vec<_>>().join(" ");
    for wanted in
        ["while an echo is awaited or, on a terminal, the next line", "a reader that has gone is no error"]
    {
        assert!(client.contains(wanted), "{wanted}: {client}");
    }
    assert_eq!(run(binary([""; 0]), b"").status, Some(2), "no command is wrong usage");
}
