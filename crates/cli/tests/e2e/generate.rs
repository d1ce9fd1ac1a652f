//! `overlapped --generate KIND`: the man pages and the completions are those of this program, and other programs read
//! them.

use crate::process::run;
use crate::server::binary;

const COMMANDS: [&str; 5] = ["serve", "client", "load", "pitfalls", "doctor"];

fn generated(kind: &str) -> String {
    let ended = run(binary(["--generate", kind]), b"");
    assert_eq!((ended.status, ended.stderr.as_str()), (Some(0), ""), "{kind}: {ended:?}");
    ended.text()
}

/// The long options of a help text, each with its dashes.
fn options(help: &str) -> Vec<String> {
    let starts = |line: &&str| line.trim_start().starts_with('-');
    let lines = help.lines().filter(starts);
    let words = lines.filter_map(|line| line.split([' ', ',']).find(|word| word.starts_with("--")));
    words.map(str::to_owned).collect()
}

/// A page without the escapes of its dashes.
fn page(kind: &str) -> String {
    generated(kind).replace("\\-", "-")
}

#[test]
fn the_pages_have_what_help_has() {
    for command in COMMANDS {
        let help = run(binary([command, "--help"]), b"").text();
        let options = options(&help);
        assert!(options.len() >= 2, "--help and --version at least: {help}");
        let page = page(&format!("man-{command}"));
        assert!(page.contains(&format!("overlapped-{command} 1")), "the title: {page}");
        for option in options {
            assert!(page.contains(&option), "{command} {option} is missing: {page}");
        }
    }
    let page = page("man");
    for command in COMMANDS {
        assert!(page.contains(&format!("overlapped-{command}(1)")), "{command} is missing: {page}");
    }
}

#[test]
fn every_shell_completes_every_option() {
    let help = run(binary(["serve", "--help"]), b"").text();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = generated(&format!("complete-{shell}"));
        for option in options(&help) {
            // fish has it without its dashes: `-l bind`.
            assert!(script.contains(option.trim_start_matches('-')), "{shell}: {option} is missing");
        }
        // For the other two, `clap_complete` writes the names of options alone.
        let has_values = !matches!(shell, "elvish" | "powershell");
        assert_eq!(script.contains("readiness"), has_values, "{shell}: the values of --backend");
    }
}

#[test]
fn wrong_usage() {
    for wrong in [
        &["--generate"][..],
        &["--generate", "nonsense"],
        &["--generate", "man-everything"],
        &["--generate", "man", "serve"],
        &["serve", "--generate", "man"],
    ] {
        let ended = run(binary(wrong), b"");
        assert_eq!((ended.status, ended.text().as_str()), (Some(2), ""), "{wrong:?}: {ended:?}");
        assert_eq!(ended.stderr.lines().count(), 1, "{wrong:?}: {ended:?}");
    }
    let ended = run(binary(["--generate", "nonsense"]), b"");
    for kind in ["man,", "man-serve", "complete-bash", "complete-powershell"] {
        assert!(ended.stderr.contains(kind), "{kind} is not offered: {ended:?}");
    }
}

#[cfg(unix)]
mod on_unix {
    use std::process::Command;

    use super::*;

    /// Whether a program can be started; if not, a test says that it is left out.
    fn have(program: &str) -> bool {
        let there = Command::new(program).arg("--version").output().is_ok();
        if !there {
            eprintln!("left out: no {program} here");
        }
        there
    }

    #[test]
    fn groff_finds_no_fault_in_a_page() {
        if !have("groff") {
            return;
        }
        for kind in ["man", "man-serve", "man-client", "man-pitfalls", "man-doctor"] {
            let mut groff = Command::new("groff");
            groff.args(["-man", "-Tascii", "-ww"]);
            let ended = run(groff, generated(kind).as_bytes());
            assert_eq!((ended.status, ended.stderr.as_str()), (Some(0), ""), "{kind}: {ended:?}");
            assert!(ended.text().lines().count() > 20, "{kind}: {ended:?}");
        }
    }

    /// What bash offers for the last of `words`.
    fn bash_offers(words: &[&str]) -> Vec<String> {
        let mut script = generated("complete-bash");
        let last = words.len() - 1;
        let before = words[last - 1];
        script.push_str(&format!(
            "\nCOMP_WORDS=({}); COMP_CWORD={last}; _overlapped overlapped '{}' '{before}'\n\
             printf '%s\\n' \"${{COMPREPLY[@]}}\"\n",
            words.iter().map(|word| format!("'{word}' ")).collect::<String>(),
            words[last],
        ));
        let mut bash = Command::new("bash");
        bash.args(["--noprofile", "--norc", "-s"]);
        let ended = run(bash, script.as_bytes());
        assert_eq!((ended.status, ended.stderr.as_str()), (Some(0), ""), "{words:?}: {ended:?}");
        let mut offers: Vec<_> = ended.text().lines().map(str::to_owned).collect();
        offers.sort();
        offers
    }

    #[test]
    fn bash_completes() {
        if !have("bash") {
            return;
        }
        let offered = [
            (&["overlapped", "d"][..], &["doctor"][..]),
            (&["overlapped", "serve", "--b"], &["--backend", "--bind", "--busy-poll"]),
            (&["overlapped", "serve", "--backend", ""], &["auto", "io_uring", "iocp", "readiness"]),
            (&["overlapped", "pitfalls", "--k"], &["--kernel"]),
            (&["overlapped", "--generate", "complete-z"], &["complete-zsh"]),
        ];
        for (words, wanted) in offered {
            assert_eq!(bash_offers(words), wanted, "{words:?}");
        }
    }
}
