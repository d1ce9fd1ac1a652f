//! A system that forbids rings, as the default profile of a container does, or has no memory for them.
//!
//! A seccomp filter cannot be taken off again, and it is inherited. So the server is started by a process of its
//! own: this test binary once more, told to run [`exec_without_rings`] alone.

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt;
use std::process::Command;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

use crate::peer::{dial, exchange, noise};
use crate::process::{Ended, run};
use crate::server::{Server, binary, serve};

const ARGUMENTS: &str = "OVERLAPPED_TEST_EXEC_WITHOUT_RINGS";
/// `io_uring_setup`: the same number on every architecture.
const IO_URING_SETUP: i64 = 425;
const IO_URING_ENTER: i64 = 426;
const IO_URING_REGISTER: i64 = 427;
const EPERM: u32 = 1;
const ENOMEM: u32 = 12;
const EACCES: u32 = 13;
const EINVAL: u32 = 22;
const ENOSYS: u32 = 38;
/// Which call is answered with which error, as `427 1`. Else rings are forbidden.
const ANSWER: &str = "OVERLAPPED_TEST_CALL_AND_ERROR";
const MEMORY: &str = "OVERLAPPED_TEST_ENTRIES_WITH_MEMORY";

/// No test: becomes the server, under a filter that forbids rings.
#[test]
#[ignore = "started by the cases in this file"]
fn exec_without_rings() {
    let Ok(arguments) = std::env::var(ARGUMENTS) else { return };
    let answer = std::env::var(ANSWER).unwrap_or_else(|_| format!("{IO_URING_SETUP} {EPERM}"));
    let (call, error) = answer.split_once(' ').expect("a call and an error");
    // All of its calls are answered so, or those with more entries than there is memory for.
    let (which, error) = match std::env::var(MEMORY) {
        Err(_) => (Vec::new(), error.parse().expect("an error's number")),
        Ok(entries) => {
            let entries = entries.parse().expect("a number of entries");
            let more = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Gt, entries);
            (vec![SeccompRule::new(vec![more.unwrap()]).unwrap()], ENOMEM)
        }
    };
    let filter = SeccompFilter::new(
        BTreeMap::from([(call.parse().expect("a call's number"), which)]),
        SeccompAction::Allow,
        SeccompAction::Errno(error),
        std::env::consts::ARCH.try_into().expect("an architecture with filters"),
    );
    let program: BpfProgram = filter.expect("one rule").try_into().expect("one rule");
    seccompiler::apply_filter(&program).expect("anybody may restrict themselves");
    let error =
        binary(arguments.split('\n')).env_remove(ARGUMENTS).env_remove(MEMORY).env_remove(ANSWER).exec();
    panic!("cannot become the server: {error}");
}

/// The same command, run under that filter. The test harness says something on stdout first.
pub(crate) fn forbidding_rings(command: &Command) -> Command {
    let arguments: Vec<&str> = command.get_args().map(|argument| argument.to_str().unwrap()).collect();
    let mut again = Command::new(std::env::current_exe().expect("this binary"));
    again.args(["--exact", "fallback::exec_without_rings", "--ignored", "--nocapture", "--quiet"]);
    again.env(ARGUMENTS, arguments.join("\n"));
    again
}

/// The same, where one system call is answered with an error.
fn answering(call: i64, error: u32, command: &Command) -> Command {
    let mut again = forbidding_rings(command);
    again.env(ANSWER, format!("{call} {error}"));
    again
}

fn without_rings(command: &Command) -> Result<Server, Ended> {
    Server::launch(forbidding_rings(command))
}

/// `auto` serves through readiness, and one line on stderr says why and what to do.
#[test]
fn auto_falls_back_and_says_why() {
    let server =
        without_rings(&serve("auto", &["--workers", "2"])).unwrap_or_else(|ended| panic!("{ended:?}"));
    assert_eq!((server.backend.as_str(), server.workers), ("readiness", 2));
    exchange(&mut dial(server.address()), noise(0, 300_000));
    let ended = server.end();
    assert_eq!(ended.status, Some(0), "{ended:?}");
    assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
    for wanted in ["io_uring", "seccomp", "allow io_uring_setup", "serving through readiness"] {
        assert!(ended.stderr.contains(wanted), "{wanted:?} is missing: {ended:?}");
    }
}

/// A named backend does not fall back: one line with the reason and the remedy, status 1.
#[test]
fn a_named_backend_is_taken_at_its_word() {
    match without_rings(&serve("io_uring", &["--workers", "2"])) {
        Err(ended) => {
            assert_eq!(ended.status, Some(1), "{ended:?}");
            assert!(!ended.text().contains("listening"), "{ended:?}");
            assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
            for wanted in ["error: io_uring is not available", "seccomp", "allow io_uring_setup"] {
                assert!(ended.stderr.contains(wanted), "{wanted:?} is missing: {ended:?}");
            }
        }
        Ok(_) => panic!("it serves through what was forbidden"),
    }
}

/// Too little memory for a ring of the usual size: a smaller one serves as well, and there is nothing to say.
#[test]
fn a_ring_is_halved_until_there_is_memory_for_it() {
    let mut command = forbidding_rings(&serve("io_uring", &["--workers", "1"]));
    command.env(MEMORY, "100");
    let server = Server::launch(command).unwrap_or_else(|ended| panic!("{ended:?}"));
    let mut clients: Vec<_> = (0..200).map(|_| dial(server.address())).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        exchange(client, noise(number, 50_000));
    }
    drop(clients);
    let ended = server.end();
    assert_eq!((ended.status, ended.stderr.as_str()), (Some(0), ""), "{ended:?}");
}

/// No memory for any: `auto` falls back and says how to raise the limit.
#[test]
fn without_memory_for_a_ring_auto_falls_back() {
    let mut command = forbidding_rings(&serve("auto", &["--workers", "1"]));
    command.env(MEMORY, "0");
    let server = Server::launch(command).unwrap_or_else(|ended| panic!("{ended:?}"));
    assert_eq!(server.backend, "readiness");
    exchange(&mut dial(server.address()), noise(0, 300_000));
    let ended = server.end();
    assert_eq!(ended.status, Some(0), "{ended:?}");
    for wanted in
        ["io_uring", "the memory-lock limit leaves no room", "ulimit -l", "serving through readiness"]
    {
        assert!(ended.stderr.contains(wanted), "{wanted:?} is missing: {ended:?}");
    }
}

#[test]
fn refused_io_uring_setup() {
    refused(IO_URING_SETUP, "io_uring_setup");
}

/// A profile that allows the making of a ring, and not its use.
#[test]
fn refused_io_uring_enter() {
    refused(IO_URING_ENTER, "io_uring_enter");
}

#[test]
fn refused_io_uring_register() {
    refused(IO_URING_REGISTER, "io_uring_register");
}

/// Each way to refuse one of the three calls is met before anything is promised: `auto` serves through readiness, a named
/// backend does not start, and `doctor` gives the same reason. What is forbidden is not called old, and an old kernel,
/// which does not know the flags, is not called forbidden.
fn refused(call: i64, name: &str) {
    for error in [EPERM, EACCES, ENOSYS, EINVAL] {
        let server = Server::launch(answering(call, error, &serve("auto", &["--workers", "2"])));
        let server = server.unwrap_or_else(|ended| panic!("{name} {error}: {ended:?}"));
        assert_eq!(server.backend, "readiness", "{name} {error}");
        exchange(&mut dial(server.address()), noise(0, 300_000));
        let ended = server.end();
        assert_eq!((ended.status, ended.stderr.lines().count()), (Some(0), 1), "{name} {error}: {ended:?}");
        let (wanted, other) = match error {
            EINVAL => ("needs Linux 6.0", "a seccomp filter forbids"),
            _ => ("a seccomp filter forbids", "Linux 6.0"),
        };
        let told = &ended.stderr;
        assert!(told.contains(wanted) && !told.contains(other) && told.contains(name), "{error}: {told}");

        let doctor = run(answering(call, error, &binary(["doctor", "--json"])), b"");
        assert_eq!(doctor.status, Some(0), "{name} {error}: {doctor:?}");
        let report = crate::doctor::report(&doctor);
        let found = crate::doctor::backend(&report, "io_uring");
        for part in ["reason", "remedy"] {
            let part = found[part].as_str().unwrap_or_else(|| panic!("{name} {error}: {report}"));
            assert!(told.contains(part), "{name} {error}: {part:?} is not in {told}");
        }

        match Server::launch(answering(call, error, &serve("io_uring", &["--workers", "2"]))) {
            Err(ended) => {
                assert_eq!((ended.status, ended.stderr.lines().count()), (Some(1), 1), "{name}: {ended:?}");
                assert!(ended.stderr.contains(wanted) && !ended.text().contains("listening"), "{ended:?}");
            }
            Ok(_) => panic!("{name} {error}: it serves through what is refused"),
        }
    }
}
