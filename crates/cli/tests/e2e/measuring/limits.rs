//! More connections than the system gives.

use crate::namespace::Namespace;
use crate::process::{Ended, run};
use crate::server::{Server, after, binary, serve_on};

use super::{Report, load};
use overlapped_testing::FaultyServer;

/// Fifty ports for each source address.
const FEW_PORTS: &str = "echo '20000 20049' > /proc/sys/net/ipv4/ip_local_port_range";
const ARGS: [&str; 6] = ["--connections", "200", "--duration", "1s", "--warmup", "0s"];

/// On loopback there are more source addresses.
pub(crate) fn more_connections_than_ports(backend: &str) {
    let Some(namespace) = Namespace::allowed() else { return };
    let serve = serve_on("auto", &["--bind", "127.0.0.1:9999"]);
    let server =
        Server::launch(namespace.after(FEW_PORTS, &serve)).unwrap_or_else(|ended| panic!("{ended:?}"));
    let args = [&ARGS[..], &["--json", "-"]].concat();
    let command = namespace.beside(server.pid(), &load(backend, server.address(), &args));
    let report = Report::of(run(command, b""));
    report.has(super::Errors::default());
    assert_eq!(report.count("connections/opened"), 200, "{report:?}");
    assert!(report.count("messages") > 0, "{report:?}");
}

/// Elsewhere it says what to do.
#[test]
fn more_connections_than_ports_elsewhere() {
    let Some(namespace) = Namespace::allowed() else { return };
    let script = format!("{FEW_PORTS}\nip address add 192.0.2.1/32 dev lo");
    let serve = serve_on("auto", &["--bind", "192.0.2.1:9999"]);
    let server = Server::launch(namespace.after(&script, &serve)).unwrap_or_else(|ended| panic!("{ended:?}"));
    let ended = run(namespace.beside(server.pid(), &load("auto", server.address(), &ARGS)), b"");
    assert_eq!((ended.status, ended.stderr.lines().count()), (Some(1), 1), "{ended:?}");
    assert!(ended.stderr.contains("ip_local_port_range"), "what to do: {ended:?}");
}

/// A limit that the run cannot keep is an error before it begins.
pub(crate) fn too_few_descriptors(backend: &str) {
    let server = FaultyServer::correct();
    let args = ["--connections", "100", "--duration", "1h"];
    let ended = run(after("ulimit -n 64", &load(backend, server.address(), &args)), b"");
    assert_eq!(
        (ended.status, ended.stderr.lines().count(), ended.text().as_str()),
        (Some(1), 1, ""),
        "{ended:?}"
    );
    for wanted in ["error: ", "100 connections", "ulimit -n"] {
        assert!(ended.stderr.contains(wanted), "{wanted}: {ended:?}");
    }
    assert_eq!(number_after(&ended, "the limit is "), 64, "{ended:?}");
    let needed = number_after(&ended, "100 connections need ");
    let missing = 100 - number_after(&ended, "leaves room for ");
    assert_eq!(needed, 64 + missing, "the numbers fit together: {ended:?}");
    // What it says is true, and not more than that.
    let args = ["--connections", "100", "--duration", "1s", "--warmup", "0s", "--json", "-"];
    let under =
        |limit: u64| run(after(&format!("ulimit -n {limit}"), &load(backend, server.address(), &args)), b"");
    let refused = under(needed - 1);
    assert_eq!((refused.status, number_after(&refused, "leaves room for ")), (Some(1), 99), "{refused:?}");
    let report = Report::of(under(needed));
    report.is_clean();
    assert_eq!(report.count("connections/opened"), 100, "{report:?}");
}

#[track_caller]
fn number_after(ended: &Ended, words: &str) -> u64 {
    let rest = ended.stderr.split_once(words).map(|(_, rest)| rest);
    let digits = rest.and_then(|rest| rest.split(|character: char| !character.is_ascii_digit()).next());
    digits.and_then(|digits| digits.parse().ok()).unwrap_or_else(|| panic!("{words}: {ended:?}"))
}

/// Threads that the system has no memory for are an error that names the option for them.
#[test]
fn too_little_memory_for_the_threads() {
    let server = FaultyServer::correct();
    let command = load("auto", server.address(), &["--threads", "64", "--duration", "1h"]);
    let ended = run(after("ulimit -v 250000", &command), b"");
    assert_eq!((ended.status, ended.stderr.lines().count()), (Some(1), 1), "{ended:?}");
    for wanted in ["error: ", "64 threads", "--threads", "ulimit -v"] {
        assert!(ended.stderr.contains(wanted), "{wanted}: {ended:?}");
    }
}

/// A name with an address where nothing listens, and one where the server does.
#[test]
fn the_next_address_of_a_name_is_tried() {
    let Some(namespace) = Namespace::allowed() else { return };
    let hosts = crate::namespace::Scratch::new("hosts-load", "::1 twice\n127.0.0.1 twice\n");
    let script = format!("mount --bind {} /etc/hosts", hosts.path());
    let serve = serve_on("auto", &["--bind", "127.0.0.1:9999"]);
    let server = Server::launch(namespace.after(&script, &serve)).unwrap_or_else(|ended| panic!("{ended:?}"));
    let args = ["load", "twice:9999", "--duration", "1s", "--warmup", "0s", "--json", "-"];
    let report = Report::of(run(namespace.beside(server.pid(), &binary(args)), b""));
    report.has(super::Errors::default());
    assert!(report.count("messages") > 0, "{report:?}");
}
