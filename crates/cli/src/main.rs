//! `overlapped`: an echo server on completion I/O, and what goes with it.
#![forbid(unsafe_code)]

mod args;
mod client;
mod doctor;
mod failure;
mod generate;
mod load;
mod log;
mod output;
mod pitfalls;
mod serve;
mod signals;
mod trace;
mod units;

use std::process::ExitCode;

use clap::Parser;

use args::{Args, Command};
use failure::Failure;

fn main() -> ExitCode {
    // Before anything else: the child that shows a crash is this program, and must do nothing but crash.
    if pitfalls::is_crash_child() {
        return pitfalls::crash_child();
    }
    // Before anything is written, help included.
    signals::outlive_file_size_limit();
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => return output::usage(&error),
    };
    let result = match args.command {
        Some(Command::Serve(options)) => serve::run(&options),
        Some(Command::Client(options)) => client::run(&options),
        Some(Command::Load(options)) => Ok(load::run(&options)),
        Some(Command::Doctor(options)) => doctor::run(&options),
        Some(Command::Pitfalls(options)) => pitfalls::run(&options),
        None => {
            args.generate.map_or_else(|| Err(Failure::usage("give a command; see --help")), generate::run)
        }
    };
    result.unwrap_or_else(|failure| output::fail(&failure))
}
