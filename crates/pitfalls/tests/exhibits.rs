//! Every exhibit on every kernel of this system, several times, judged by what was observed and not by the verdict.
//!
//! Where rings may not be made, the cases of io_uring fail and say so; `OVERLAPPED_TEST_WITHOUT_IO_URING=1` leaves
//! them out.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use overlapped_pitfalls::{
    ALL, Evidence, Exhibit, KernelName, Kind, Medium, Report, Timeline, Value, available, choose,
};

const TIMES: usize = 5;

/// An exhibit counts on the numbers that its process gives to sockets: one at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn kernels() -> Vec<KernelName> {
    const LEAVE_OUT: &str = "OVERLAPPED_TEST_WITHOUT_IO_URING";
    let mut kernels = Vec::new();
    if cfg!(windows) {
        kernels.push(KernelName::Iocp);
    }
    if cfg!(unix) {
        kernels.push(KernelName::Own);
    }
    if cfg!(all(target_os = "linux", target_pointer_width = "64")) {
        match available(KernelName::IoUring) {
            Ok(()) => kernels.push(KernelName::IoUring),
            Err(error) if std::env::var(LEAVE_OUT).is_ok_and(|value| value == "1") => {
                eprintln!("left out, because {LEAVE_OUT} is 1: {error}");
            }
            Err(error) => panic!("no ring can be made here: {error}; {LEAVE_OUT}=1 leaves these cases out"),
        }
    }
    kernels
}

/// Facts of one version.
struct Facts<'a>(&'a Evidence);

impl Facts<'_> {
    fn value(&self, name: &str) -> &Value {
        self.0.get(name).unwrap_or_else(|| panic!("no {name} in {:?}", self.0))
    }

    fn number(&self, name: &str) -> u64 {
        match self.value(name) {
            Value::Number(number) => *number,
            other => panic!("{name} is {other:?}"),
        }
    }

    fn yes(&self, name: &str) -> bool {
        match self.value(name) {
            Value::Bool(yes) => *yes,
            other => panic!("{name} is {other:?}"),
        }
    }

    fn text(&self, name: &str) -> &str {
        match self.value(name) {
            Value::Text(text) => text,
            other => panic!("{name} is {other:?}"),
        }
    }

    fn list(&self, name: &str) -> &[String] {
        match self.value(name) {
            Value::List(texts) => texts,
            other => panic!("{name} is {other:?}"),
        }
    }
}

/// What must have been observed. A wrong answer panics with the evidence.
fn judge(name: &str, report: &Report) {
    let (broken, repaired) = (Facts(&report.broken.evidence), Facts(&report.repaired.evidence));
    let holds = by_memory(name, &broken, &repaired).or_else(|| by_stream(name, &broken, &repaired));
    let context = format!("{name} on {:?}: {:?} {:?}", report.kernel, broken.0, repaired.0);
    assert!(holds.unwrap_or_else(|| panic!("nobody judges {name}")), "{context}");
    assert!(report.as_expected(), "the verdict is another: {context}");
}

/// Where bytes of the one end up with the other.
fn by_memory(name: &str, broken: &Facts<'_>, repaired: &Facts<'_>) -> Option<bool> {
    Some(match name {
        "use-after-release" => {
            broken.yes("same_memory")
                && broken.text("bob_before") == "Bob's balance: 100"
                && broken.text("bob_after") == "TRANSFER ALL TO ALICE"
                && broken.number("bytes_written_late") == 21
                && broken.text("completion_names") == "Bob"
                && !repaired.yes("same_memory")
                && repaired.text("bob_after") == "Bob's balance: 100"
                // The schedule is the same: the late write came here, too.
                && repaired.number("bytes_written_late") == 21
                && repaired.text("completion_names") == "Alice, who is closing"
        }
        "send-buffer" => {
            broken.text("alice_got").contains("2222")
                && repaired.text("alice_got") == "Alice, your code is 1111"
                && broken.text("sent_to_alice") == repaired.text("sent_to_alice")
        }
        "overlapped-reuse" => {
            broken.list("understood").iter().all(|text| text.starts_with("a send of"))
                && broken.text("left_in_the_buffer") == "hello"
                && broken.number("messages_received") == 0
                && repaired.list("understood")[1].contains("a message of 5 bytes: hello")
                && repaired.number("messages_received") == 1
        }
        "handle-reuse" => {
            [broken, repaired].iter().all(|facts| {
                facts.number("alices_number") == facts.number("bobs_number")
                    && facts.number("connections_until_reuse") > 0
            }) && broken.text("bob_got") == "Alice, your balance is 5000"
                && repaired.text("bob_got").is_empty()
        }
        "skip-on-success" => {
            broken.number("end_counted") == 2
                && broken.list("end_counted_by").len() == 2
                && repaired.list("end_counted_by") == &broken.list("end_counted_by")[1..]
                && broken.text("other_end_known_by").is_empty()
                && !repaired.text("other_end_known_by").is_empty()
                && broken.text("bob_after").starts_with("ONE MORE THING")
                && broken.number("sessions_leaked") == 1
                && repaired.number("end_counted") == 1
                && repaired.text("bob_after") == "Bob's balance: 100"
                && repaired.number("sessions_leaked") == 0
        }
        "close-without-cancel" => {
            broken.text("next_owner_after").starts_with("BYTES OF A CLIENT")
                && [broken, repaired].iter().all(|facts| facts.yes("same_memory"))
                && repaired.yes("cancelled")
                && repaired.text("next_owner_after") == "the next owner's data"
        }
        _ => return None,
    })
}

/// Three clients: one that waits for its answer, one whose upload breaks off, one that was silent.
fn ends_are_told_apart(broken: &Facts<'_>, repaired: &Facts<'_>) -> bool {
    broken.text("answer_received").is_empty()
        && broken.text("reset_reported_as") == "end of stream"
        && broken.text("upload_stored") == "half of a file"
        && repaired.text("upload_stored").is_empty()
        && [broken, repaired].iter().all(|facts| facts.yes("empty_receive_waited"))
        // Under Wine a reset that comes while nobody receives is read as an end.
        && ["a reset", "an end of stream"].contains(&broken.text("idle_client_got"))
        && repaired.text("idle_client_got") == "hi"
        && !broken.yes("waiting_message_read")
        && repaired.text("answer_received") == "4"
        && repaired.text("reset_reported_as") == "reset"
        && repaired.yes("waiting_message_read")
}

/// Where a stream goes wrong.
fn by_stream(name: &str, broken: &Facts<'_>, repaired: &Facts<'_>) -> Option<bool> {
    Some(match name {
        "unchecked-result" => {
            [broken, repaired].iter().all(|facts| {
                facts.number("calls_failed") == 3
                    && facts.number("orders_sent") == 1
                    && !facts.text("completion_failed_with").is_empty()
            }) && broken.number("sessions_leaked") == 3
                && broken.number("orders_run") == 2
                && repaired.number("sessions_leaked") == 0
                && repaired.number("orders_run") == 1
        }
        "zero-is-close" => ends_are_told_apart(broken, repaired),
        "short-send" => {
            let all = 8 << 20;
            broken.number("received") == broken.number("first_completion")
                && broken.number("received") < all
                && broken.number("received") > 0
                && repaired.number("first_completion") < all
                && repaired.number("received") == all
                && broken.yes("what_arrived_is_right")
                && repaired.yes("what_arrived_is_right")
        }
        "interleaved-sends" => {
            let file = 8 << 20;
            [broken, repaired].iter().all(|facts| facts.number("received_bytes") == file + 15)
                && broken.number("chat_message_at_byte") == broken.number("first_part_bytes")
                && broken.number("chat_message_at_byte") < file
                && repaired.number("first_part_bytes") < file
                && !broken.yes("file_in_one_piece")
                && repaired.number("chat_message_at_byte") == file
                && repaired.yes("file_in_one_piece")
        }
        _ => return by_session(name, broken, repaired),
    })
}

/// Where one client takes what belongs to all: a lock, a worker, memory.
fn by_session(name: &str, broken: &Facts<'_>, repaired: &Facts<'_>) -> Option<bool> {
    Some(match name {
        "lock-while-sending" => {
            [broken, repaired].iter().all(|facts| facts.number("members_served") == 100)
                && !broken.yes("newcomer_joined_while_one_did_not_read")
                && repaired.yes("newcomer_joined_while_one_did_not_read")
        }
        "parse-loop" => {
            broken.number("position") == repaired.number("position")
                && broken.number("turns") > 1000
                && !broken.yes("sender_refused")
                && broken.number("packets_of_bob_taken") == 0
                && repaired.number("turns") == 2
                && repaired.yes("sender_refused")
                && repaired.number("packets_of_bob_taken") == 1
        }
        "length-bomb" => {
            [broken, repaired].iter().all(|facts| {
                facts.number("clients_promising_65535_bytes") == 25
                    && facts.number("clients_promising_4096_bytes") == 25
                    && facts.number("clock_set_forward_seconds") == 3600
            }) && broken.number("bytes_reserved") >= 25 * (65_535 + 4096)
                && broken.number("sessions_refused") == 0
                && broken.number("sessions_past_their_deadline") == 0
                && repaired.number("sessions_past_their_deadline") == 25
                && broken.number("sessions_after_an_hour") == 50
                && repaired.number("bytes_reserved") == 0
                && repaired.number("sessions_refused") == 25
                && repaired.number("sessions_after_an_hour") == 0
        }
        _ => return None,
    })
}

/// What an exhibit is said to run on is what it runs on: where no completion kernel takes part, none is named. (One that
/// used a kernel all the same would fail: it is given one that refuses everything.)
#[test]
fn no_kernel_is_named_that_does_not_take_part() {
    let _alone = alone();
    for exhibit in ALL {
        let medium = match exhibit.name {
            "parse-loop" => Medium::Memory,
            "lock-while-sending" | "length-bomb" => Medium::Sockets,
            _ => Medium::Kernel,
        };
        assert_eq!(exhibit.medium(), medium, "{}", exhibit.name);
        for kernel in kernels() {
            let named = (medium == Medium::Kernel).then_some(kernel);
            assert_eq!(run(exhibit, kernel).kernel, named, "{}", exhibit.name);
        }
    }
}

fn run(exhibit: &Exhibit, kernel: KernelName) -> Report {
    exhibit.run(kernel).unwrap_or_else(|error| panic!("{} on {kernel}: {error}", exhibit.name))
}

#[test]
fn every_exhibit_breaks_and_holds_on_every_kernel() {
    let _alone = alone();
    for kernel in kernels() {
        for exhibit in ALL {
            for _ in 0..TIMES {
                judge(exhibit.name, &run(exhibit, kernel));
            }
        }
    }
}

/// A repair that is none is noticed, by every exhibit.
#[test]
fn a_repair_that_is_broken_is_noticed() {
    let _alone = alone();
    for kernel in kernels() {
        for exhibit in ALL {
            let report = exhibit.run_without_repair(kernel).expect("it runs");
            assert!(!report.repaired.held && !report.as_expected(), "{} on {kernel}", exhibit.name);
        }
    }
}

#[test]
fn timelines_can_be_drawn() {
    let _alone = alone();
    for kernel in kernels() {
        for exhibit in ALL {
            let report = run(exhibit, kernel);
            for timeline in [&report.broken.timeline, &report.repaired.timeline] {
                drawable(exhibit.name, timeline);
            }
            let wrong = |timeline: &Timeline| timeline.moments.iter().filter(|moment| moment.wrong).count();
            assert!(wrong(&report.broken.timeline) > 0, "{}: nothing goes wrong", exhibit.name);
            assert_eq!(wrong(&report.repaired.timeline), 0, "{}: a repair goes wrong", exhibit.name);
        }
    }
}

/// Bars lie within the steps, begin before they end, and do not overlap in their lane.
fn drawable(name: &str, timeline: &Timeline) {
    let steps = timeline.moments.len();
    assert!((2..=12).contains(&steps), "{name}: {steps} steps");
    assert!(timeline.bars.iter().any(|bar| bar.kind == Kind::Session), "{name}: no session");
    for lane in timeline.lanes() {
        for bar in &lane.bars {
            assert!(bar.from < bar.to && bar.to <= steps && !bar.label.is_empty(), "{name}: {bar:?}");
            assert_eq!(bar.kind, lane.kind, "{name}: {bar:?}");
        }
        for pair in lane.bars.windows(2) {
            assert!(pair[0].to <= pair[1].from, "{name}: {pair:?}");
        }
    }
}

/// The same facts by the same names, whatever the kernel: who reads the JSON counts on it.
#[test]
fn evidence_has_the_same_names_on_every_kernel() {
    let _alone = alone();
    for exhibit in ALL {
        let mut all = BTreeSet::new();
        for kernel in kernels() {
            let report = run(exhibit, kernel);
            let names = |evidence: &Evidence| evidence.iter().map(|(name, _)| name).collect::<Vec<_>>();
            for names in [names(&report.broken.evidence), names(&report.repaired.evidence)] {
                let once: BTreeSet<_> = names.iter().copied().collect();
                assert_eq!(once.len(), names.len(), "{}: a name twice in {names:?}", exhibit.name);
            }
            all.insert((names(&report.broken.evidence), names(&report.repaired.evidence)));
        }
        assert_eq!(all.len(), 1, "{}: {all:?}", exhibit.name);
    }
}

#[test]
fn names_and_aliases_are_unique_and_found() {
    let mut seen = BTreeSet::new();
    for exhibit in ALL {
        for name in [exhibit.name].iter().chain(exhibit.aliases) {
            assert!(seen.insert(*name), "{name} twice");
            assert_eq!(Exhibit::find(name).map(|found| found.name), Some(exhibit.name));
        }
    }
    assert!(Exhibit::find("nonsense").is_none());
    assert_eq!(Exhibit::find("use-after-free").map(|found| found.name), Some("use-after-release"));
    assert_eq!(ALL.len(), 13);
    assert_eq!(ALL.iter().filter(|exhibit| exhibit.also_crashes()).count(), 1);
}

#[test]
fn what_is_chosen_is_available() {
    let (name, why) = choose();
    available(name).expect("it was chosen");
    assert_eq!(why.is_some(), name == KernelName::Own);
    let foreign = if cfg!(windows) { KernelName::IoUring } else { KernelName::Iocp };
    let error = available(foreign).expect_err("of another system");
    assert_eq!(error.kind(), std::io::ErrorKind::Unsupported);
}
