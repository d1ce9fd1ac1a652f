//! `overlapped`: an echo server on completion I/O, and what goes with it.
#![forbid(unsafe_code)]

mod args;
mod client;
mod doctor;
mod json;
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
        Command::Serve(options) => serve::run(&options),
        Command::Client(options) => client::run(&options),
        Command::Doctor(options) => doctor::run(&options),
        Command::Pitfalls(options) => pitfalls::run(&options),
    };
    result.unwrap_or_else(|failure| output::fail(&failure))
}
