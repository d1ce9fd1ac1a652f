//! `overlapped doctor`: what it finds on this machine, and on one that was made worse for it.

use serde_json::Value;

use crate::process::{Ended, Keep, Process, run};
use crate::server::binary;

/// The one object on stdout; what a wrapper said before it is skipped.
pub(crate) fn report(ended: &Ended) -> Value {
    let text = ended.text();
    let start = text.find('{').unwrap_or_else(|| panic!("no object: {ended:?}"));
    serde_json::from_str(&text[start..]).unwrap_or_else(|error| panic!("{error}: {ended:?}"))
}

pub(crate) fn backend<'a>(report: &'a Value, name: &str) -> &'a Value {
    let list = report["backends"].as_array().expect("a list");
    list.iter().find(|backend| backend["name"] == name).unwrap_or_else(|| panic!("no {name} in {report}"))
}

/// What it says of this machine is what `serve` does on it.
#[test]
fn it_agrees_with_serve() {
    let ended = run(binary(["doctor", "--json"]), b"");
    assert_eq!((ended.status, ended.stderr.as_str()), (Some(0), ""), "{ended:?}");
    let report = report(&ended);
    let server = crate::server::Server::start("auto", &[]);
    assert_eq!(report["auto"], server.backend.as_str());
    assert_eq!(report["workers"], server.workers);
    assert_eq!(backend(&report, &server.backend)["works"], true);
    let features = report["ring_features"].as_array().expect("a list");
    assert!(!features.is_empty() || server.backend != "io_uring", "{report}");
}

/// Both forms tell the same: each backend, feature and limit of the one is in the other.
#[test]
fn text_and_json_tell_the_same() {
    let json = report(&run(binary(["doctor", "--json"]), b""));
    let ended = run(binary(["doctor"]), b"");
    assert_eq!((ended.status, ended.stderr.as_str()), (Some(0), ""), "{ended:?}");
    let text = ended.text();
    assert!(text.lines().all(|line| line.len() <= 80 && line.trim_end() == line), "{text}");
    assert!(text.bytes().all(|byte| byte == b'\n' || !byte.is_ascii_control()), "{text:?}");
    for list in ["backends", "ring_features", "limits"] {
        for item in json[list].as_array().expect("a list") {
            let name = item["name"].as_str().expect("a name");
            assert!(text.contains(name), "{name} is missing: {text}");
        }
    }
    assert!(text.contains("works; auto takes it"), "{text}");
}

#[test]
fn flags_that_make_no_sense() {
    for wrong in [&["doctor", "--nonsense"][..], &["doctor", "now"], &["doctor", "--json=yes"]] {
        let ended = run(binary(wrong), b"");
        assert_eq!(ended.status, Some(2), "{wrong:?}: {ended:?}");
        assert_eq!(ended.stderr.lines().count(), 1, "{wrong:?}: {ended:?}");
        assert!(ended.stderr.starts_with("error: ") && ended.stdout.is_empty(), "{wrong:?}: {ended:?}");
    }
}

/// Nobody reads what it prints: no message, and the status still tells.
#[test]
fn stdout_without_reader() {
    for args in [&["doctor"][..], &["doctor", "--json"]] {
        let ended = Process::start(binary(args), Keep::Nothing).wait();
        assert_eq!((ended.status, ended.stderr.as_str()), (Some(0), ""), "{args:?}");
    }
}

#[cfg(target_os = "linux")]
mod on_linux {
    use super::*;
    use crate::fallback::forbidding_rings;
    use crate::server::after;

    fn limit<'a>(report: &'a Value, name: &str) -> &'a Value {
        let list = report["limits"].as_array().expect("a list");
        list.iter().find(|limit| limit["name"] == name).unwrap_or_else(|| panic!("no {name} in {report}"))
    }

    /// On a kernel where this backend works, all that it cannot do without is there.
    #[test]
    fn rings_do_what_the_backend_needs() {
        if !crate::rings_can_be_made() {
            return;
        }
        let report = report(&run(binary(["doctor", "--json"]), b""));
        let features = report["ring_features"].as_array().expect("a list");
        for name in ["multishot accept", "multishot receive", "buffer ring", "single issuer"] {
            let feature = features.iter().find(|feature| feature["name"] == name);
            assert_eq!(feature.expect(name)["present"], true, "{report}");
        }
    }

    /// Readiness is what is left: that is success, and the reason and the remedy are told.
    #[test]
    fn rings_forbidden() {
        let ended = run(forbidding_rings(&binary(["doctor", "--json"])), b"");
        assert_eq!(ended.status, Some(0), "{ended:?}");
        let json = report(&ended);
        assert_eq!(json["auto"], "readiness");
        assert_eq!(json["ring_permissions"]["seccomp_filtered"], true);
        assert_eq!(json["ring_features"], Value::Array(Vec::new()));
        let refused = backend(&json, "io_uring");
        assert_eq!(refused["works"], false);
        assert!(refused["reason"].as_str().unwrap().contains("seccomp"), "{refused}");
        assert!(refused["remedy"].as_str().unwrap().contains("allow io_uring_setup"), "{refused}");
        // Whether memory to lock would be enough cannot be tried.
        assert_eq!(limit(&json, "memory lock")["advice"][0]["fine"], Value::Null);

        let ended = run(forbidding_rings(&binary(["doctor"])), b"");
        assert_eq!(ended.status, Some(0), "{ended:?}");
        let text = ended.text();
        for wanted in [
            "io_uring   refused: a seccomp filter",
            "remedy: allow io_uring_setup",
            "readiness  works; auto takes it",
            "not tried: no ring can be made",
        ] {
            assert!(text.contains(wanted), "{wanted:?} is missing: {text}");
        }
    }

    /// Too few descriptors for the sessions, enough for the backends.
    #[test]
    fn few_descriptors() {
        let ended = run(after("ulimit -n 4096", &binary(["doctor", "--json"])), b"");
        assert_eq!(ended.status, Some(0), "{ended:?}");
        let json = report(&ended);
        assert!(json["room_for_sessions"].as_u64().unwrap() < 4096, "{json}");
        for name in ["descriptors, soft", "descriptors, hard"] {
            let limit = limit(&json, name);
            assert_eq!(
                (&limit["now"], &limit["advice"][0]["fine"]),
                (&4096.into(), &false.into()),
                "{limit}"
            );
            assert_eq!(limit["advice"][0]["set"], "16384");
            assert_eq!(limit["advice"][1]["set"], "131072");
        }
        let text = run(after("ulimit -n 4096", &binary(["doctor"])), b"").text();
        assert!(text.contains("ulimit -n 16384"), "{text}");
    }

    /// A low soft limit alone stops nobody: `serve` raises it.
    #[test]
    fn a_low_soft_limit() {
        let ended = run(after("ulimit -Sn 256", &binary(["doctor", "--json"])), b"");
        let json = report(&ended);
        assert_eq!(limit(&json, "descriptors, soft")["now"], 256, "{json}");
        let hard = limit(&json, "descriptors, hard")["now"].as_u64();
        let room = json["room_for_sessions"].as_u64();
        assert!(hard.is_none() || hard.unwrap() < 512 || room.unwrap() > 256, "{json}");
    }

    /// What a container hides is said to be hidden, and never to be fine.
    #[test]
    fn settings_that_are_hidden() {
        let Some(namespace) = crate::namespace::Namespace::allowed() else { return };
        let hide = "mount -t tmpfs none /proc/sys";
        let ended = run(namespace.after(hide, &binary(["doctor", "--json"])), b"");
        assert_eq!((ended.status, ended.stderr.as_str()), (Some(0), ""), "{ended:?}");
        let json = report(&ended);
        for name in ["fs.nr_open", "net.core.somaxconn", "net.ipv4.ip_local_port_range"] {
            let limit = limit(&json, name);
            assert_eq!((&limit["unit"], &limit["now"]), (&"not readable".into(), &Value::Null), "{limit}");
            assert_eq!(limit["advice"][0]["fine"], Value::Null, "{limit}");
        }
        let ended = run(namespace.after(hide, &binary(["doctor"])), b"");
        let text = ended.text();
        assert!(text.lines().all(|line| line.len() <= 80 && line.trim_end() == line), "{text}");
        assert!(!text.contains("nothing to set"), "{text}");
        for wanted in [
            "  net.core.somaxconn             not readable  unknown",
            "kernel.io_uring_disabled: not readable",
        ] {
            assert!(text.contains(wanted), "{wanted:?} is missing: {text}");
        }
        // For 10,000 and for 100,000.
        assert_eq!(text.matches("not known here: fs.nr_open, fs.file-max").count(), 2, "{text}");
    }

    /// No descriptor is left for any backend: status 1, and each says so.
    #[test]
    fn nothing_works() {
        let ended = run(after("ulimit -n 4", &binary(["doctor", "--json"])), b"");
        assert_eq!(ended.status, Some(1), "{ended:?}");
        let json = report(&ended);
        assert_eq!(json["auto"], Value::Null);
        for name in ["io_uring", "readiness"] {
            assert_eq!(backend(&json, name)["works"], false, "{json}");
        }
        let remedy = backend(&json, "readiness")["remedy"].as_str().unwrap();
        assert!(remedy.contains("ulimit -n"), "{json}");
        let text = run(after("ulimit -n 4", &binary(["doctor"])), b"").text();
        assert!(text.contains("None works"), "{text}");
    }
}
