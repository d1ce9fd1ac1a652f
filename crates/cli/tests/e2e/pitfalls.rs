//! `overlapped pitfalls`: every exhibit, judged by the evidence that it prints and not by its verdict.

mod page;

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;

use crate::process::{Ended, Keep, Process, run};
use crate::server::binary;

/// What a fact must be.
enum Is {
    Text(&'static str),
    OneOf(&'static [&'static str]),
    StartsWith(&'static str),
    Number(u64),
    Between(u64, u64),
    Yes,
    No,
    List(&'static [&'static str]),
}
use Is::{Between, List, No, Number, OneOf, StartsWith, Text, Yes};

const BOB: &str = "Bob's balance: 100";
const FILE: u64 = 8 << 20;

/// Of an exhibit: each fact of the broken version and of the repaired one that tells them apart, or that shows that
/// both ran on the same schedule.
const FACTS: &[(&str, &str, Is, Is)] = &[
    ("use-after-release", "same_memory", Yes, No),
    ("use-after-release", "bob_before", Text(BOB), Text(BOB)),
    ("use-after-release", "bob_after", Text("TRANSFER ALL TO ALICE"), Text(BOB)),
    ("use-after-release", "bytes_written_late", Number(21), Number(21)),
    ("use-after-release", "completion_names", Text("Bob"), Text("Alice, who is closing")),
    ("send-buffer", "sent_to_alice", StartsWith("Alice, your code"), StartsWith("Alice, your code")),
    ("send-buffer", "alice_got", Text("Bob,   your code is 2222"), Text("Alice, your code is 1111")),
    ("overlapped-reuse", "messages_sent_by_client", Number(1), Number(1)),
    ("overlapped-reuse", "messages_received", Number(0), Number(1)),
    ("overlapped-reuse", "left_in_the_buffer", Text("hello"), Text("")),
    (
        "overlapped-reuse",
        "understood",
        List(&["a send of 7 bytes is over", "a send of 5 bytes is over"]),
        List(&["a send of 7 bytes is over", "a message of 5 bytes: hello"]),
    ),
    ("unchecked-result", "calls_failed", Number(3), Number(3)),
    ("unchecked-result", "sessions_leaked", Number(3), Number(0)),
    ("unchecked-result", "orders_sent", Number(1), Number(1)),
    ("unchecked-result", "orders_run", Number(2), Number(1)),
    ("zero-is-close", "answer_received", Text(""), Text("4")),
    ("zero-is-close", "reset_reported_as", Text("end of stream"), Text("reset")),
    ("zero-is-close", "upload_stored", Text("half of a file"), Text("")),
    ("zero-is-close", "empty_receive_waited", Yes, Yes),
    ("zero-is-close", "waiting_message_read", No, Yes),
    // Under Wine a reset that comes while nobody receives is read as an end.
    ("zero-is-close", "idle_client_got", OneOf(&["a reset", "an end of stream"]), Text("hi")),
    ("short-send", "sent", Number(FILE), Number(FILE)),
    ("short-send", "received", Between(1, FILE - 1), Number(FILE)),
    ("short-send", "what_arrived_is_right", Yes, Yes),
    ("interleaved-sends", "first_part_bytes", Between(1, FILE - 1), Between(1, FILE - 1)),
    ("interleaved-sends", "received_bytes", Number(FILE + 15), Number(FILE + 15)),
    ("interleaved-sends", "chat_message_at_byte", Between(1, FILE - 1), Number(FILE)),
    ("interleaved-sends", "file_in_one_piece", No, Yes),
    ("handle-reuse", "connections_until_reuse", Between(1, 300), Between(1, 300)),
    ("handle-reuse", "bob_got", Text("Alice, your balance is 5000"), Text("")),
    ("skip-on-success", "end_counted", Number(2), Number(1)),
    ("skip-on-success", "bob_after", StartsWith("ONE MORE THING"), Text(BOB)),
    ("skip-on-success", "sessions_leaked", Number(1), Number(0)),
    ("skip-on-success", "other_end_known_by", Text(""), StartsWith("the c")),
    ("close-without-cancel", "same_memory", Yes, Yes),
    (
        "close-without-cancel",
        "next_owner_after",
        StartsWith("BYTES OF A CLIENT"),
        Text("the next owner's data"),
    ),
    ("lock-while-sending", "newcomer_joined_while_one_did_not_read", No, Yes),
    ("lock-while-sending", "members_served", Number(100), Number(100)),
    ("parse-loop", "turns", Between(1000, u64::MAX), Number(2)),
    ("parse-loop", "times_a_packet_was_taken", Between(1000, u64::MAX), Number(1)),
    ("parse-loop", "sender_refused", No, Yes),
    ("parse-loop", "packets_of_bob_taken", Number(0), Number(1)),
    ("length-bomb", "clients_promising_65535_bytes", Number(25), Number(25)),
    ("length-bomb", "clients_promising_4096_bytes", Number(25), Number(25)),
    ("length-bomb", "bytes_reserved", Between(25 * (65_535 + 4096), 1 << 24), Number(0)),
    ("length-bomb", "sessions_refused", Number(0), Number(25)),
    ("length-bomb", "clock_set_forward_seconds", Number(3600), Number(3600)),
    ("length-bomb", "sessions_past_their_deadline", Number(0), Number(25)),
    ("length-bomb", "sessions_after_an_hour", Number(50), Number(0)),
];

const EXHIBITS: usize = 13;

impl Is {
    fn holds(&self, value: &Value) -> bool {
        match self {
            Text(text) => value == text,
            OneOf(texts) => texts.iter().any(|text| value == text),
            StartsWith(text) => value.as_str().is_some_and(|value| value.starts_with(text)),
            Number(number) => value == number,
            Between(least, most) => value.as_u64().is_some_and(|value| (*least..=*most).contains(&value)),
            Yes => value == true,
            No => value == false,
            List(texts) => value.as_array().is_some_and(|values| values.iter().eq(texts.iter())),
        }
    }
}

/// `overlapped pitfalls` on the kernel that goes with a backend: where that is readiness, the program's own.
fn on(backend: &str, args: &[&str]) -> Command {
    let mut command = match backend {
        #[cfg(target_os = "linux")]
        "iocp" => crate::server::windows_binary(),
        _ => binary([""; 0]),
    };
    let kernel = if backend == "readiness" { "own" } else { backend };
    command.args(["pitfalls", "--kernel", kernel]).args(args);
    command
}

/// The one object on stdout; what a wrapper said before it is skipped.
fn report(ended: &Ended) -> Value {
    let text = ended.text();
    let start = text.find('{').unwrap_or_else(|| panic!("no object: {ended:?}"));
    serde_json::from_str(&text[start..]).unwrap_or_else(|error| panic!("{error}: {ended:?}"))
}

fn exhibits(report: &Value) -> &Vec<Value> {
    report["exhibits"].as_array().expect("a list")
}

/// All thirteen, by the evidence alone.
fn judge(report: &Value, kernel: &str) {
    assert_eq!(report["kernel"]["name"], kernel);
    assert_eq!(exhibits(report).len(), EXHIBITS);
    let judged: BTreeSet<_> = FACTS.iter().map(|(name, ..)| *name).collect();
    for exhibit in exhibits(report) {
        let name = exhibit["name"].as_str().expect("a name");
        assert!(judged.contains(name), "nobody judges {name}");
        assert_eq!(exhibit["error"], Value::Null, "{exhibit}");
        for (_, key, broken, repaired) in FACTS.iter().filter(|(of, ..)| *of == name) {
            for (version, is) in [("broken", broken), ("repaired", repaired)] {
                let fact = &exhibit[version]["evidence"][*key];
                assert!(is.holds(fact), "{name}, {version}: {key} is {fact} on {kernel}");
            }
        }
        judge_timelines(exhibit);
        assert_eq!(exhibit["runs_on"], runs_on(name), "{name}");
    }
    for version in ["broken", "repaired"] {
        let reused = &by_name(report, "handle-reuse")[version]["evidence"];
        assert_eq!(reused["alices_number"], reused["bobs_number"]);
    }
    // The chat message lies where the first part ended.
    let mixed = &by_name(report, "interleaved-sends")["broken"]["evidence"];
    assert_eq!(mixed["chat_message_at_byte"], mixed["first_part_bytes"]);
    judge_ends(by_name(report, "skip-on-success"), kernel);
}

/// What ends an operation differs between the kernels: the one program counts two events, the other the last of them.
fn judge_ends(exhibit: &Value, kernel: &str) {
    let (events, end) = match kernel {
        "io_uring" => (["the CQE with the result", "the CQE with the notification"], "the completion"),
        _ => (["the call's result", "the completion"], "the call's result"),
    };
    let counted = |version: &str| &exhibit[version]["evidence"]["end_counted_by"];
    assert_eq!(*counted("broken"), serde_json::json!(events));
    assert_eq!(*counted("repaired"), serde_json::json!(events[1..]));
    assert_eq!(exhibit["repaired"]["evidence"]["other_end_known_by"], end);
}

fn runs_on(name: &str) -> &'static str {
    match name {
        "parse-loop" => "memory",
        "lock-while-sending" | "length-bomb" => "sockets",
        _ => "kernel",
    }
}

/// What is drawn tells what was observed: something goes wrong in the one and nothing in the other.
fn judge_timelines(exhibit: &Value) {
    for (version, goes_wrong) in [("broken", true), ("repaired", false)] {
        let timeline = &exhibit[version]["timeline"];
        let moments = timeline["moments"].as_array().expect("a list");
        assert_eq!(moments.iter().any(|moment| moment["wrong"] == true), goes_wrong, "{exhibit}");
        let bars = timeline["bars"].as_array().expect("a list");
        assert!(!bars.is_empty(), "{exhibit}");
        for bar in bars {
            let (from, to) = (bar["from"].as_u64().unwrap(), bar["to"].as_u64().unwrap());
            assert!(from < to && to <= moments.len() as u64, "{bar}");
            assert!(["session", "operation", "memory"].contains(&bar["kind"].as_str().unwrap()), "{bar}");
        }
    }
}

fn by_name<'a>(report: &'a Value, name: &str) -> &'a Value {
    exhibits(report).iter().find(|exhibit| exhibit["name"] == name).unwrap_or_else(|| panic!("no {name}"))
}

pub(crate) fn every_pitfall_breaks_and_is_repaired(backend: &str) {
    let ended = run(on(backend, &["--all", "--json"]), b"");
    assert_eq!((ended.status, ended.stderr.as_str()), (Some(0), ""), "{ended:?}");
    let report = report(&ended);
    judge(&report, if backend == "readiness" { "own" } else { backend });
    assert_eq!((&report["as_expected"], &report["kernel"]["reason"]), (&true.into(), &Value::Null));

    // The child crashed, and a kernel did not: it refused.
    let crash = &by_name(&report, "use-after-release")["crash"];
    assert_eq!(crash["crashed"], true, "{crash}");
    let how = crash["child_ended"].as_str().expect("a text");
    let crashes = if backend == "iocp" { &["access violation"][..] } else { &["SIGSEGV", "SIGBUS"] };
    assert!(crashes.iter().any(|crash| how.contains(crash)), "{crash}");
    assert_eq!(crash["kernel_refused"], true, "{crash}");
}

/// Who breaks a repair sees it: the status, the reason, and the evidence.
pub(crate) fn a_broken_repair_is_noticed(backend: &str) {
    let ended = run(on(backend, &["--all", "--json", "--without-repair"]), b"");
    assert_eq!(ended.status, Some(1), "{ended:?}");
    let report = report(&ended);
    assert_eq!((&report["as_expected"], &report["without_repair"]), (&false.into(), &true.into()));
    assert_eq!(exhibits(&report).len(), EXHIBITS);
    for exhibit in exhibits(&report) {
        let name = exhibit["name"].as_str().unwrap();
        assert_eq!(exhibit["repaired"]["held"], false, "{exhibit}");
        assert!(
            ended.stderr.contains(&format!("error: {name}: the repaired version did not hold")),
            "{ended:?}"
        );
        let facts = FACTS.iter().filter(|(of, ..)| *of == name);
        let same = |(_, key, _, repaired): &(&str, &str, Is, Is)| {
            repaired.holds(&exhibit["repaired"]["evidence"][*key])
        };
        assert!(!facts.clone().all(same), "the evidence does not show it: {exhibit}");
    }
}

#[test]
fn they_are_listed() {
    let ended = run(binary(["pitfalls"]), b"");
    assert_eq!((ended.status, ended.stderr.as_str()), (Some(0), ""), "{ended:?}");
    let json = report(&run(binary(["pitfalls", "--json"]), b""));
    assert_eq!((exhibits(&json).len(), &json["as_expected"]), (EXHIBITS, &Value::Null));
    for exhibit in exhibits(&json) {
        let line = ended.text();
        let name = exhibit["name"].as_str().unwrap();
        let line = line.lines().find(|line| line.split(' ').next() == Some(name));
        assert!(line.is_some_and(|line| line.contains(exhibit["title"].as_str().unwrap())), "{ended:?}");
        assert_eq!((&exhibit["broken"], &exhibit["as_expected"]), (&Value::Null, &Value::Null), "it ran");
    }
}

/// In the order in which they are named, each once, by any of its names.
#[test]
fn several_are_named() {
    let ended = run(
        binary(["pitfalls", "--json", "short-send", "use-after-free", "partial-send", "parse-loop"]),
        b"",
    );
    assert_eq!(ended.status, Some(0), "{ended:?}");
    let json = report(&ended);
    let names: Vec<_> = exhibits(&json).iter().map(|exhibit| exhibit["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["short-send", "use-after-release", "parse-loop"]);
    assert_eq!(exhibits(&json)[1]["aliases"][0], "use-after-free");
}

#[test]
fn wrong_usage() {
    let other = if cfg!(windows) { "io_uring" } else { "iocp" };
    let missing = std::env::temp_dir().join("no-such-directory").join("page.html");
    let missing = missing.to_str().unwrap();
    for (args, status, wanted) in [
        (&["use-after-fre"][..], 2, &["use-after-fre", "did you mean use-after-free?"][..]),
        (&["USE-AFTER-RELEASE"], 2, &["USE-AFTER-RELEASE", "did you mean use-after-release?"]),
        (&["nonsense"], 2, &["nonsense", "overlapped pitfalls", "lists them"]),
        (&["--all", "short-send"], 2, &["cannot be used with"]),
        (&["--html", "page.html"], 2, &["--html", "name an exhibit"]),
        (&["--all", "--json", "--html", "-"], 2, &["--html", "stdout"]),
        (&["--kernel", "nonsense", "--all"], 2, &["nonsense", "io_uring", "own"]),
        (
            &["--kernel", other, "--all"],
            1,
            &[other, "is not available", "; choose --kernel auto or --kernel own"],
        ),
        (&["parse-loop", "--html", missing], 1, &["cannot write", "no-such-directory"]),
    ] {
        let ended = run(binary([&["pitfalls"], args].concat()), b"");
        assert_eq!(ended.status, Some(status), "{args:?}: {ended:?}");
        assert_eq!(ended.stderr.lines().count(), 1, "{args:?}: {ended:?}");
        assert!(ended.stderr.starts_with("error: "), "{args:?}: {ended:?}");
        for wanted in wanted {
            assert!(ended.stderr.contains(wanted), "{args:?}: no {wanted:?} in {ended:?}");
        }
    }
}

/// Nobody reads what it prints: no message, and the status still tells.
#[test]
fn stdout_without_reader() {
    for args in [&["--all"][..], &["--all", "--json"], &["--all", "--html", "-"], &[]] {
        let ended = Process::start(binary([&["pitfalls"], args].concat()), Keep::Nothing).wait();
        assert_eq!((ended.status, without_notes(&ended).as_str()), (Some(0), ""), "{args:?}");
    }
}

/// A fall-back may be said: these cases do not name a kernel.
fn without_notes(ended: &Ended) -> String {
    ended.stderr.split_inclusive('\n').filter(|line| !line.starts_with("note: ")).collect()
}

/// As wide as is asked, in ASCII, without colours; and both forms tell the same.
#[test]
fn piped_text_is_plain() {
    let json = report(&run(binary(["pitfalls", "--all", "--json"]), b""));
    for width in [30, 40, 60, 80, 140] {
        let mut command = binary(["pitfalls", "--all"]);
        command.env("COLUMNS", width.to_string());
        let ended = run(command, b"");
        assert_eq!((ended.status, without_notes(&ended).as_str()), (Some(0), ""), "{ended:?}");
        let text = ended.text();
        for line in text.lines() {
            let of_one_word = !line.trim_start().contains(' ');
            assert!(line.len() <= width || of_one_word, "{width}: {line:?}");
            assert!(line.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()), "{line:?}");
            assert_eq!(line.trim_end(), line, "{line:?}");
        }
        let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
        for exhibit in exhibits(&json) {
            for key in
                ["name", "title", "mistake", "repair", "invariant", "upheld_by", "on_windows", "on_linux"]
            {
                let told = exhibit[key].as_str().unwrap();
                assert!(words.contains(told), "{width}: {told:?} is missing");
            }
            for seen in exhibit["seen_in"].as_array().unwrap() {
                assert!(words.contains(seen["url"].as_str().unwrap()), "{width}: {seen} is missing");
            }
        }
        assert!(words.ends_with("13 of 13: the broken version broke, and the repaired one held."), "{words}");
    }
}

#[cfg(unix)]
mod on_unix;

#[cfg(target_os = "linux")]
mod on_linux {
    use super::*;
    use crate::fallback::forbidding_rings;

    /// Rings are forbidden: the program's own kernel shows the same, and the reason is told.
    #[test]
    fn rings_forbidden() {
        let ended = run(forbidding_rings(&binary(["pitfalls", "--all", "--json"])), b"");
        assert_eq!(ended.status, Some(0), "{ended:?}");
        let json = report(&ended);
        judge(&json, "own");
        assert!(json["kernel"]["reason"].as_str().unwrap().contains("seccomp"), "{json}");
        assert!(json["kernel"]["remedy"].as_str().unwrap().contains("allow io_uring_setup"), "{json}");
        assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
        for wanted in ["note: ", "seccomp", "a small kernel of this program"] {
            assert!(ended.stderr.contains(wanted), "{wanted:?} is missing: {ended:?}");
        }
        for (name, needs_a_kernel) in [("send-buffer", true), ("parse-loop", false)] {
            let ended = run(forbidding_rings(&binary(["pitfalls", name, "--html", "-"])), b"");
            let (page, note) = (ended.text(), ended.stderr.contains("a small kernel of this program"));
            let said = page.contains("No real kernel could be used here: a seccomp filter");
            assert_eq!((said, note), (needs_a_kernel, needs_a_kernel), "{name}: {ended:?}");
        }
    }

    /// A named kernel does not fall back.
    #[test]
    fn a_named_kernel_is_taken_at_its_word() {
        let ended = run(forbidding_rings(&binary(["pitfalls", "--all", "--kernel", "io_uring"])), b"");
        assert_eq!(ended.status, Some(1), "{ended:?}");
        assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
        for wanted in [
            "error: io_uring is not available",
            "seccomp",
            "allow io_uring_setup",
            "; or choose --kernel auto",
        ] {
            assert!(ended.stderr.contains(wanted), "{wanted:?} is missing: {ended:?}");
        }
    }
}
