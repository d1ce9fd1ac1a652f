//! The pages of this workspace, and the runner with pages of its own.

use super::page::page;
use super::{all, findings, unplayable};
use crate::place;

/// Links, quoted code, both languages, and what the runner could not run.
#[test]
fn the_pages_are_in_order() {
    let root = place::workspace();
    let pages = all(&root).unwrap();
    assert!(pages.len() > 4, "docs and READMEs");
    assert_eq!(findings(&root, &pages), Vec::<String>::new());
}

/// A command that is not in a block of `console` or `powershell` would never be run.
#[test]
fn commands_that_escape_the_runner_are_named() {
    for (text, line) in [
        ("a\n```text\nb\n$ c\n```\n", 2),
        ("```\nPS> c\n```\n", 1),
        ("```Console\n  $ c\n```\n", 1),
        ("```sh\nc\n```\n", 1),
        ("a\n\n    $ c\n", 3),
        ("> ```console\n> $ c\n> ```\n", 2),
    ] {
        let findings = unplayable(&page(text));
        let wanted = format!("page.md:{line}: ");
        assert!(matches!(&findings[..], [one] if one.starts_with(&wanted)), "{text:?}: {findings:?}");
    }
    assert!(unplayable(&page("$5 is no command\n```sh not-run\n$ c\n```\n")).is_empty());
}

#[cfg(target_os = "linux")]
mod runner {
    use std::net::TcpListener;
    use std::path::PathBuf;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::{Duration, Instant};

    use overlapped_testing::eventually;

    use super::super::network::Network;
    use super::super::page::page;
    use super::super::player::{Limits, System, play};
    use super::super::script::{Shell, steps};
    use super::super::terminal::Terminal;
    use crate::bounded::Failure;

    /// A server, which ends with Ctrl-C, and its client, which repeats lines. What is said goes through a file.
    const PROGRAMS: &str = r#"
        serve() {
            trap 'echo "served $(wc -l < said) lines"; exit 0' INT
            : > said
            echo 'listening (2 workers)'
            while :; do sleep 0.01; done
        }
        client() {
            while printf '> ' && read -r line; do
                [ "$line" = q ] && exit 0
                echo "$line" | tee -a said
                echo "  ${#line} bytes in 84.2 µs"
            done
        }
        "$@"
    "#;

    /// A folder of its own with those programs.
    struct Here {
        folder: PathBuf,
        network: Network,
    }

    impl Here {
        fn new() -> Here {
            static COUNT: AtomicU32 = AtomicU32::new(0);
            let name =
                format!("overlapped-pages-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
            let folder = std::env::temp_dir().join(name);
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join("run"), PROGRAMS).unwrap();
            // No program listens on port 0.
            Here { folder, network: Network::of_machine(0) }
        }

        fn play(&self, text: &str) -> Result<usize, Failure> {
            self.play_within(text, Duration::from_secs(20))
        }

        fn play_within(&self, text: &str, limit: Duration) -> Result<usize, Failure> {
            let page = page(text);
            let steps = steps(&page, Shell::Unix).unwrap();
            play(&page, &steps, self, Limits { program: limit, build: limit })
        }
    }

    impl Drop for Here {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }

    impl System for Here {
        fn terminal(&self) -> Result<Terminal, Failure> {
            Terminal::start(80, &[], |shell| {
                shell.current_dir(&self.folder);
            })
        }

        fn network(&self) -> &Network {
            &self.network
        }
    }

    const FLOW: &str = "
```console
$ cd .            # a comment of the reader's
$ bash run serve
listening (1 worker…)
```

```console terminal=2
$ bash run client
> hello there
hello there
  5 bytes in 1.3 µs
> 안녕
안녕
> q
$ printf 'no newline'
no newline
```

```console
^C
served 1 lines
```
";

    #[test]
    fn a_page_does_what_it_shows() {
        assert_eq!(Here::new().play(FLOW), Ok(4));
    }

    #[track_caller]
    fn fails(text: &str, wanted: &[&str]) {
        let failure = Here::new().play(text).expect_err("it is wrong");
        for text in wanted {
            assert!(failure.contains(text), "{text:?} is not in: {failure}");
        }
    }

    #[test]
    fn wrong_output_is_named_with_its_line() {
        fails(
            &FLOW.replace("served 1 lines", "saved 1 lines"),
            &["page.md:22: `bash run serve`: ", "    saved 1 lines\n", "status 0", "| served 2 lines\n"],
        );
        // The echo of what was typed is no output.
        fails("```console\n$ true hello\ntrue hello\n```\n", &["page.md:3: ", "status 0"]);
        // Lines in another order.
        fails("```console\n$ echo a; echo b\nb\na\n```\n", &["page.md:4: ", "    a\n", "earlier", "| b\n"]);
    }

    /// The file is there after the line was printed, and says when the test goes on.
    #[test]
    fn what_was_shown_before_a_key_does_not_come_after_it() {
        let page = "```console\n$ rm -f late; (echo up; echo late; touch late; cat)\nup\n```\n\n```console terminal=2\n$ until [ -e late ]; do :; done\n```\n\n```console\n^C\nlate\n```\n";
        fails(page, &["page.md:12: ", "    late\n", "earlier"]);
    }

    #[test]
    fn a_status_is_not_passed_over() {
        fails("```console\n$ echo a; false\na\n$ true\n```\n", &["page.md:2: ", "status 1"]);
        assert_eq!(Here::new().play("```console\n$ false; echo $?\n1\n```\n"), Ok(1));
        fails("```console\n$ (exit 130)\n```\n", &["page.md:2: ", "status 130"]);
    }

    #[test]
    fn a_program_that_is_interrupted_may_say_so() {
        // It does not end by itself, and does not catch the signal.
        let page = "```console\n$ echo up > up\n$ tail -f up\nup\n^C\n$ true\n```\n";
        assert_eq!(Here::new().play(page), Ok(3));
    }

    #[test]
    fn nobody_types_into_a_program_that_has_ended() {
        fails(
            "```console\n$ echo '> hello'\n> hello\n```\n",
            &["page.md:3: ", "no program asks", "status 0"],
        );
        fails("```console\n$ exit\n$ true\n```\n", &["page.md:2: ", "it has ended the shell"]);
    }

    /// And what hung is ended.
    #[test]
    fn what_hangs_fails_in_time() {
        let (start, here) = (Instant::now(), Here::new());
        let sleeper = format!("1000.{}", std::process::id());
        for page in [
            format!("```console\n$ sleep {sleeper} & sleep {sleeper}\n```\n"),
            format!("```console\n$ echo up; sleep {sleeper}\nup\nmore\n```\n"),
            format!("```console\n$ trap '' HUP; sleep {sleeper}\n> hello\n```\n"),
        ] {
            let failure = here.play_within(&page, Duration::from_secs(2)).expect_err("it hangs");
            assert!(failure.starts_with("page.md:") && failure.contains("2s"), "{failure}");
            eventually("all of it is ended", || !runs(&sleeper));
        }
        assert!(start.elapsed() < Duration::from_secs(60));
    }

    /// Whether a process has this argument.
    fn runs(argument: &str) -> bool {
        let processes = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
        let mut words = processes.filter_map(|process| std::fs::read(process.path().join("cmdline")).ok());
        words.any(|words| words.starts_with(b"sleep\0") && String::from_utf8_lossy(&words).contains(argument))
    }

    #[test]
    fn a_port_in_use_is_named() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut here = Here::new();
        here.network = Network::of_machine(port);
        let failure = here.play("```console\n$ true\n```\n").expect_err("it is in use");
        assert!(failure.contains(&format!("port {port}")), "{failure}");
        drop(listener);
        assert_eq!(here.play("```console\n$ true\n```\n"), Ok(1));
    }
}
