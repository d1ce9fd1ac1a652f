//! Usage of the calling thread, of this process and of a child.

use std::thread;
use std::time::Instant;

use overlapped_testing::PATIENCE;

use super::*;

/// Uses the processor until `enough` says so.
fn spin_until(mut enough: impl FnMut() -> bool) {
    let since = Instant::now();
    while !enough() {
        assert!(since.elapsed() < PATIENCE, "it took too long");
        std::hint::spin_loop();
    }
}

#[test]
fn a_thread_that_works_uses_time_and_one_that_waits_uses_little() {
    let before = thread_cpu_time();
    let other = thread::spawn(|| {
        spin_until(|| thread_cpu_time() >= Duration::from_millis(60));
        thread_cpu_time()
    });
    // This one only waits.
    let used = other.join().unwrap();
    assert!(thread_cpu_time() - before < used, "each thread has its own");
}

#[test]
fn run_delays_are_read_if_the_kernel_counts_them() {
    let nanos = |text| run_delay_in(text).map(|delay| delay.as_nanos());
    assert_eq!(nanos("123456 789 3\n"), Some(789));
    assert_eq!(nanos("1 0 1\n"), Some(0));
    for unknown in ["0 0 0\n", "", "12\n", "a b c\n", "1 -1 1\n"] {
        assert_eq!(nanos(unknown), None, "{unknown:?}");
    }
}

/// Two threads on one processor: each waits for the other.
#[cfg(target_os = "linux")]
#[test]
fn a_thread_that_shares_its_processor_is_delayed() {
    use std::sync::atomic::{AtomicBool, Ordering};

    use crate::os::pin_thread;

    if thread_run_delay().is_none() {
        return eprintln!("left out: this kernel does not count");
    }
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            pin_thread(0).unwrap();
            spin_until(|| over.load(Ordering::Relaxed));
        });
        scope.spawn(|| {
            pin_thread(0).unwrap();
            spin_until(|| thread_run_delay().unwrap() >= Duration::from_millis(5));
            over.store(true, Ordering::Relaxed);
        });
    });
}

#[cfg(any(target_os = "linux", windows))]
mod of_processes {
    use std::io::{BufRead, BufReader, Write};
    use std::process::{Command, Stdio};

    use overlapped_testing::{spawned, under_wine};

    use super::*;

    #[test]
    fn threads_that_have_ended_count() {
        let pid = std::process::id();
        let before = process_usage(pid).unwrap();
        let worker = thread::spawn(|| spin_until(|| thread_cpu_time() >= Duration::from_millis(100)));
        worker.join().unwrap();
        let after = process_usage(pid).unwrap();
        assert!(after.cpu - before.cpu >= Duration::from_millis(80), "{before:?}, {after:?}");
        assert!(after.cpu >= thread_cpu_time());
    }

    #[test]
    fn memory_that_is_written_to_is_resident() {
        const BYTES: u64 = 32 << 20;
        let pid = std::process::id();
        let before = process_usage(pid).unwrap();
        let block = std::hint::black_box(vec![1_u8; BYTES as usize]);
        let with = process_usage(pid).unwrap();
        // Other tests run meanwhile, and may give some back.
        assert!(with.rss_bytes >= BYTES && with.rss_bytes >= before.rss_bytes / 2, "{before:?}, {with:?}");
        drop(block);
        assert_eq!(with.voluntary_switches.is_some(), cfg!(target_os = "linux"));
        assert_eq!(with.involuntary_switches.is_some(), cfg!(target_os = "linux"));
    }

    /// Runs as the child of the test below, if that has set this.
    const ROLE: &str = "PROACTOR_TEST_USAGE_CHILD";

    /// Works until it has used 50 ms, says so, and ends when its input does.
    #[test]
    fn the_child() {
        if std::env::var_os(ROLE).is_none() {
            return;
        }
        spin_until(|| thread_cpu_time() >= Duration::from_millis(50));
        println!("\nused");
        std::io::stdin().read_line(&mut String::new()).unwrap();
    }

    #[test]
    fn a_child_is_seen_until_it_has_ended() {
        let program = std::env::current_exe().unwrap();
        let name = "os::usage::tests::of_processes::the_child";
        let mut command = Command::new(program);
        command.args([name, "--exact", "--nocapture", "--test-threads=1"]).env(ROLE, "1");
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = spawned(&mut command).unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap() == "used"), "it ended early");
        let used = process_usage(child.id()).unwrap();
        assert!(used.cpu >= Duration::from_millis(45), "{used:?}");
        assert!(used.rss_bytes > 100_000, "{used:?}");
        // Wine gives the times of the process that asks.
        assert!(under_wine() || used.cpu < PATIENCE, "{used:?}");
        assert_ne!(used.voluntary_switches, Some(0), "it waits: {used:?}");
        child.stdin.take().unwrap().write_all(b"\n").unwrap();
        let status = child.wait().unwrap();
        assert!(status.success(), "{status}");
        // On Windows the handle of `child` keeps it in sight.
        #[cfg(unix)]
        {
            let gone = process_usage(child.id()).unwrap_err();
            assert_eq!(gone.kind(), io::ErrorKind::NotFound, "{gone}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_process_that_was_not_waited_for_has_ended() {
        let mut child = Command::new("true").spawn().unwrap();
        let since = Instant::now();
        let ended = loop {
            match process_usage(child.id()) {
                Ok(_) => assert!(since.elapsed() < PATIENCE, "it is still reported"),
                Err(error) => break error,
            }
            thread::yield_now();
        };
        assert_eq!(ended.kind(), io::ErrorKind::NotFound);
        let text =
            format!("process {} has ended (its parent has not waited for it yet): give one", child.id());
        assert!(ended.to_string().starts_with(&text), "{ended}");
        child.wait().unwrap();
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_main_thread_that_has_ended_is_not_the_process() {
        let is_zombie = super::super::imp::is_zombie;
        assert!(is_zombie("Name:\tx\nState:\tZ (zombie)\nThreads:\t1\n"));
        assert!(!is_zombie("Name:\tx\nState:\tZ (zombie)\nThreads:\t2\n"));
        assert!(!is_zombie("Name:\tZ\nState:\tS (sleeping)\nThreads:\t1\n"));
    }

    #[test]
    fn numbers_that_are_no_process_are_refused_with_what_to_do() {
        for pid in [0x7fff_fff0, u32::MAX] {
            let refused = process_usage(pid).unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::NotFound, "{pid}: {refused}");
            assert!(
                refused.to_string().starts_with(&format!("there is no process {pid} here: check")),
                "{refused}"
            );
        }
        // Windows: the idle process, which cannot be opened (`ERROR_INVALID_PARAMETER`).
        assert_eq!(process_usage(0).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}

#[test]
fn what_may_not_be_read_is_said_with_a_next_step() {
    let text = |kind: io::ErrorKind| explain(7, &kind.into()).to_string();
    assert!(text(io::ErrorKind::PermissionDenied).contains("process 7 may not be read"));
    assert!(text(io::ErrorKind::PermissionDenied).contains("run this as"));
    assert!(text(io::ErrorKind::OutOfMemory).ends_with("try again"));
}
