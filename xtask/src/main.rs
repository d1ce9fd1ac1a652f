//! Chores of this workspace that cargo has no command for.
#![forbid(unsafe_code)]

#[cfg(target_os = "linux")]
mod bench;
mod bounded;
mod dist;
mod fuzz;
mod hang;
#[cfg(unix)]
mod kernels;
mod loom;
mod metadata;
#[cfg(target_os = "linux")]
mod operations;
mod package;
mod packages;
// Elsewhere the commands are read, and not run.
#[cfg_attr(not(target_os = "linux"), allow(dead_code))]
mod pages;
mod pictures;
mod place;
mod portability;
#[cfg(unix)]
mod programs;
mod tidy;
mod toolchain;
mod windows;
mod wine;

use std::process::ExitCode;

const USAGE: &str = "usage: cargo xtask tidy
       cargo xtask loom
       cargo xtask package [--publish]
       cargo xtask dist [TARGET]
       cargo xtask portability [--install]
       cargo xtask programs [--install]
       cargo xtask operations [--quick] [--only STEP] [--restarts N] [--install]
       cargo xtask fuzz [--seconds N]
       cargo xtask pages [--windows] [PAGE...]
       cargo xtask pictures [--install] [NAME...]
       cargo xtask windows [--install] [--build-only]
       cargo xtask kernels [--install]
       cargo xtask bench [--growth|--guest|--smoke] [--quick] [--rounds N] [--workloads a,b] [--servers x,y] [--out DIR]
                         [--install]

  tidy         looks for long files and functions, circles of imports, layers that are crossed, missing notes, and
               words that this project does not use
  loom         runs the models of what crosses threads, in every order of their steps
  package      packs each crate for crates.io, looks for what its archive lacks, and tests the archives without this
               workspace; with --publish, as it must be to be published
  dist         builds the archive of a release for one system, with man pages, completions and a checksum
  portability  checks types for systems that cannot be run here: 32-bit Linux and Windows, FreeBSD, macOS
  windows      builds for Windows with Debian's toolchain, runs the tests of the IOCP backend under Wine, a Windows
               server against Linux clients, and the PowerShell commands of the pages; with --build-only, it stops before
               it runs anything
  programs     tests examples with the real redis-cli, redis-benchmark and curl
  operations   tests `serve --admin` and the files of `deploy/` with Prometheus, systemd's programs, HAProxy and chromium;
               restarts servers behind HAProxy, and stops NATS behind a chat; with --quick, only what takes seconds
  fuzz         runs the fuzz targets of `fuzz/`, 30 s each
  pages        runs every command of README.md and docs/ as written and compares what it shows; checks links, quoted
               code, and that both languages of a page show the same; with --windows, its PowerShell commands, with
               what `windows` has built
  pictures     draws the page of `overlapped pitfalls` as pictures, for a phone and a desktop, in light and dark, with
               Debian's chromium
  kernels      runs conformance, vanishing clients and a short chaos on Debian's Linux 6.1 and 6.12, in qemu
  bench        measures this server and the peers of `bench/` in turns, and writes `docs/benchmarks.md`; with --quick, in
               less than ten minutes, and only shows it; with --growth, how costs grow with sessions and sizes; with
               --guest, up to 100,000 sessions in qemu; with --smoke, only whether this works
  --install    installs the Debian packages that this needs, if they are missing (as root)";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let result = match args[..] {
        ["tidy"] => tidy::run(),
        ["loom"] => loom::run(),
        ["fuzz"] => fuzz::run(None),
        ["fuzz", "--seconds", seconds] => fuzz::run(Some(seconds)),
        ["package"] => package::run(false),
        ["package", "--publish"] => package::run(true),
        ["dist"] => dist::run(None),
        ["dist", target] if !target.starts_with('-') => dist::run(Some(target)),
        ["portability"] => portability::run(false),
        ["portability", "--install"] => portability::run(true),
        #[cfg(unix)]
        ["programs"] => programs::run(false),
        #[cfg(unix)]
        ["programs", "--install"] => programs::run(true),
        ["pages", "--windows", ref names @ ..] => pages::run(true, names),
        ["pages", ref names @ ..] => pages::run(false, names),
        ["pictures", "--install", ref names @ ..] => pictures::run(true, names),
        ["pictures", ref names @ ..] => pictures::run(false, names),
        ["windows"] => windows::run(false),
        ["windows", "--install"] => windows::run(true),
        ["windows", "--build-only"] => windows::build(false).map(drop),
        ["windows", "--install", "--build-only"] => windows::build(true).map(drop),
        #[cfg(unix)]
        ["kernels"] => kernels::run(false),
        #[cfg(unix)]
        ["kernels", "--install"] => kernels::run(true),
        #[cfg(target_os = "linux")]
        ["bench", ref words @ ..] => bench::run(words),
        #[cfg(target_os = "linux")]
        ["operations", ref words @ ..] => operations::run(words),
        ["--help" | "-h" | "help"] => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
