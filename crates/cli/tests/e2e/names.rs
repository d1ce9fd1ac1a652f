//! Names and scopes of addresses, on systems where they mean something else than here.

use std::net::IpAddr;

use crate::namespace::{Namespace, Scratch};
use crate::process::run;
use crate::server::{Server, binary, serve_on};

const WITHOUT_IPV6: &str = "echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6";

/// A server on `bind`, where the hosts file is `hosts` and `script` was run, on `addresses` addresses.
fn start(
    namespace: &Namespace,
    backend: &str,
    hosts: &Scratch,
    script: &str,
    bind: &str,
    addresses: usize,
) -> Server {
    let script = format!("mount --bind {} /etc/hosts\n{script}", hosts.path());
    let command = namespace.after(&script, &serve_on(backend, &["--workers", "1", "--bind", bind]));
    Server::launch_on(command, addresses).unwrap_or_else(|ended| panic!("no server: {ended:?}"))
}

/// The client on the server's system finds it by `host`.
fn reaches(namespace: &Namespace, server: &Server, host: &str) {
    let address = format!("{host}:{}", server.address().port());
    let ended = run(namespace.beside(server.pid(), &binary(["client", &address])), b"found\n");
    assert_eq!(
        (ended.status, ended.text().as_str(), ended.stderr.as_str()),
        (Some(0), "found\n", ""),
        "{address}"
    );
}

/// As in many containers: the hosts file names `::1`, and no interface has it.
pub(crate) fn localhost_without_ipv6(backend: &str) {
    let Some(namespace) = Namespace::allowed() else { return };
    for (order, text) in
        [("first", "::1 localhost\n127.0.0.1 localhost\n"), ("last", "127.0.0.1 localhost\n::1 localhost\n")]
    {
        let hosts = Scratch::new(&format!("hosts-{backend}-{order}"), text);
        let server = start(&namespace, backend, &hosts, WITHOUT_IPV6, "localhost:0", 1);
        assert_eq!(server.address().ip(), IpAddr::from([127, 0, 0, 1]));
        reaches(&namespace, &server, "localhost");
        let ended = server.end();
        assert_eq!((ended.status, ended.stderr.lines().count()), (Some(0), 1), "{ended:?}");
        assert!(
            ended.stderr.starts_with("note: localhost:0 is also ::1, which this machine does not have"),
            "{ended:?}"
        );
        // As a literal it is an error, and so is a name that is nothing else.
        for bind in ["[::1]:0", "ip6-only:0"] {
            let hosts = Scratch::new(&format!("hosts-{backend}-only"), "::1 ip6-only\n");
            let script = format!("mount --bind {} /etc/hosts\n{WITHOUT_IPV6}", hosts.path());
            let ended = run(namespace.after(&script, &serve_on(backend, &["--bind", bind])), b"");
            assert_eq!(ended.status, Some(1), "{ended:?}");
            assert!(ended.stderr.contains("[::1]:0") && ended.stderr.contains("no interface"), "{ended:?}");
        }
    }
}

/// Named twice, an address is listened on once, and there is nothing to say.
pub(crate) fn localhost_twice(backend: &str) {
    let Some(namespace) = Namespace::allowed() else { return };
    let hosts =
        Scratch::new(&format!("hosts-{backend}-twice"), "127.0.0.1 localhost\n127.0.0.1 localhost vm\n");
    let server = start(&namespace, backend, &hosts, "", "localhost:9999", 1);
    reaches(&namespace, &server, "localhost");
    let ended = server.end();
    assert_eq!((ended.status, ended.stderr.as_str()), (Some(0), ""), "{ended:?}");
    assert!(!ended.text().contains("listening on "), "on a second one: {ended:?}");
}

/// Both addresses have one port, which only the server may have.
pub(crate) fn localhost_on_both(backend: &str) {
    let Some(namespace) = Namespace::allowed() else { return };
    let hosts = Scratch::new(&format!("hosts-{backend}-both"), "127.0.0.1 localhost\n::1 localhost\n");
    let server = start(&namespace, backend, &hosts, "", "localhost:0", 2);
    let [one, other] = server.addresses[..] else { panic!("{:?}", server.addresses) };
    assert_eq!(one.port(), other.port());
    assert_ne!(one.ip(), other.ip());
    for host in ["localhost", "127.0.0.1", "[::1]", "[::ffff:127.0.0.1]"] {
        reaches(&namespace, &server, host);
    }
    // Somebody listens there: that is no address to skip.
    for bind in ["127.0.0.1", "[::1]"] {
        let single = start(&namespace, backend, &hosts, "", &format!("{bind}:0"), 1);
        let address = format!("localhost:{}", single.address().port());
        let ended = run(namespace.beside(single.pid(), &serve_on(backend, &["--bind", &address])), b"");
        assert_eq!((ended.status, ended.text().as_str()), (Some(1), ""), "{ended:?}");
        assert!(ended.stderr.contains(&format!("cannot listen on {}", single.address())), "{ended:?}");
        assert!(ended.stderr.contains("another process listens there"), "{ended:?}");
    }
}

/// A link-local address is one of an interface, which goes by its name or its index.
pub(crate) fn link_local(backend: &str) {
    let Some(namespace) = Namespace::allowed() else { return };
    let hosts = Scratch::new(&format!("hosts-{backend}-scope"), "127.0.0.1 localhost\n");
    // The kernel makes the route to it some time after the address.
    let script = "ip -6 address add fe80::1/64 dev lo nodad
        tries=0
        until ip -6 route show table local dev lo | grep -q fe80::1 && ip -6 route get fe80::1 oif lo > /dev/null; do
            tries=$((tries + 1))
            test $tries -lt 1000
            sleep 0.02
        done";
    for bind in ["[fe80::1%lo]:0", "[fe80::1%1]:0"] {
        let server = start(&namespace, backend, &hosts, script, bind, 1);
        let address = server.address().to_string();
        assert!(address.starts_with("[fe80::1%1]:"), "{address}");
        for host in ["[fe80::1%lo]", "[fe80::1%1]"] {
            reaches(&namespace, &server, host);
        }
    }
    for bind in ["[fe80::1%no-such-if0]:0", "[fe80::1%no-such-if0]:80"] {
        for command in [binary(["serve", "--bind", bind]), binary(["client", bind])] {
            let ended = run(command, b"");
            assert_eq!((ended.status, ended.stderr.lines().count()), (Some(1), 1), "{ended:?}");
            assert!(ended.stderr.contains("no interface called `no-such-if0`"), "{ended:?}");
        }
    }
}
