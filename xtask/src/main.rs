//! Chores of this workspace that cargo has no command for.
#![forbid(unsafe_code)]

mod bounded;
mod hang;
mod loom;
mod pictures;
mod place;
mod windows;

use std::process::ExitCode;

const USAGE: &str = "usage: cargo xtask loom
       cargo xtask pictures [NAME...]
       cargo xtask windows [--install]

  loom       runs the models of what crosses threads, in every order of their steps
  pictures   draws the page of `overlapped pitfalls` as pictures, for a phone and a desktop, in light and dark, with
             Debian's chromium
  windows    builds for Windows with Debian's toolchain, runs the tests of the IOCP backend under Wine, and a
             Windows server against Linux clients
  --install  installs the Debian packages that this needs, if they are missing (as root)";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let result = match args[..] {
        ["loom"] => loom::run(),
        ["pictures", ref names @ ..] => pictures::run(names),
        ["windows"] => windows::run(false),
        ["windows", "--install"] => windows::run(true),
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
