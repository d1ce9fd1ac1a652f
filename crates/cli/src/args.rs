//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::Styles;
use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};
use overlapped::{Backend, Choice};

use crate::units::{Limit, address, duration, limit, size};

/// TCP sessions on completion I/O: IOCP on Windows, io_uring on Linux, readiness where a ring may not be made.
#[derive(Parser)]
#[command(name = "overlapped", version, propagate_version = true, arg_required_else_help = true, styles = Styles::plain())]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[cfg(unix)]
const ASKED: &str = "SIGUSR1 prints the counters as of now to stderr, in one line: \
                     `now: sessions 3, in flight 5, blocks in use 2, ...`";

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Echo every byte back (RFC 862).
    ///
    /// Prints `listening on ADDR (BACKEND, N workers)` once connections are accepted. SIGTERM, SIGINT, SIGHUP
    /// (unless it is ignored, as under nohup), Ctrl-C and Ctrl-Break drain: what was received is echoed, sessions
    /// are closed gracefully, and one line sums up. A second signal, half a second or more after the first, ends
    /// at once. Exit status 0 after a drain, 1 when its deadline cut something or it was ended at once.
    ///
    /// Sessions never wait for whoever reads the output. 4 MiB of lines wait for the reader of stdout, 4 MiB for
    /// that of stderr; what does not fit is dropped, and a warning says how many lines. At the end a reader that
    /// has stopped is given one second.
    ///
    /// Durations read 500ms, 30s, 5m, 1h, and off where there need not be one; sizes 64, 16KiB, 1MiB.
    #[command(verbatim_doc_comment)]
    #[cfg_attr(unix, command(after_help = ASKED))]
    Serve(ServeArgs),
    /// Type a line, see its echo.
    ///
    /// On a terminal: a prompt, and each echo with its round-trip time; `q` quits. With stdin piped: each line
    /// is sent, its whole echo awaited and printed bare, so that `diff` shows a faithful echo.
    #[command(verbatim_doc_comment)]
    Client(ClientArgs),
    /// What would run here, and why.
    ///
    /// Tries every backend of this system, as `serve` would make it, and says which works, which is refused and
    /// what to do about that, and which one `auto` takes. Where rings can be made, each of their features is
    /// tried too. Then the limits that matter, and what to set for 10,000 and for 100,000 sessions.
    ///
    /// Nothing is changed; only loopback is used. Run it as the user, and in the container or unit, that the
    /// server will run in. Exit status 0 when a backend works, 1 when none does.
    #[command(verbatim_doc_comment)]
    Doctor(DoctorArgs),
    /// See the classic mistakes of completion I/O happen, and not happen.
    ///
    /// Without a name, lists them. For each name, the program with the mistake runs on the real kernel, then the
    /// repaired one on the same schedule; shown are a timeline of both, the evidence (which bytes landed where, who
    /// received what), the invariant that rules the mistake out, the file that upholds it, and public projects that
    /// had it. Connections are made on loopback only.
    ///
    /// Where no ring may be made, as in a default container, the exhibits run on a small kernel of this program: a
    /// thread that keeps raw addresses and uses them late, as a real kernel does. A line on stderr says so, and why.
    ///
    /// Exit status 0 when each broken version broke and each repaired one held, 1 otherwise.
    #[command(verbatim_doc_comment, after_help = PITFALLS_JSON)]
    Pitfalls(PitfallsArgs),
}

const PITFALLS_JSON: &str = "\
Keys of the JSON: version, kernel{name,reason,remedy}, without_repair, as_expected, exhibits[].
Of an exhibit: name, aliases[], title, mistake, repair, invariant, upheld_by, on_windows, on_linux,
seen_in[]{name,url,what}, as_expected, error, broken, repaired, crash.
broken and repaired: held, evidence{...}, timeline{moments[]{text,wrong},bars[]{lane,kind,label,from,to}}; moments are
counted from 0, a bar with `to` equal to the number of moments does not end; kind is session, operation or memory.
crash: crashed, child_ended, kernel_refused, kernel_answered. What was not run is null.";

#[derive(ClapArgs)]
pub(crate) struct ServeArgs {
    /// Listen here (repeatable); port 0 picks a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9999", value_parser = address)]
    pub(crate) bind: Vec<String>,

    /// Worker threads, each with a ring or port of its own [default: number of cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) workers: Option<u16>,

    /// How to talk to the kernel; `auto` takes the best that works and says why
    #[arg(long, value_name = "NAME", default_value = "auto")]
    pub(crate) backend: BackendName,

    /// Sessions at most; connections beyond are closed at once [default: what the descriptor limit allows]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_sessions: Option<u32>,

    /// Sessions from one peer address at most; connections beyond are closed at once [default: off]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_per_address: Option<u32>,

    /// Close sessions silent for so long
    #[arg(long, value_name = "DURATION", default_value = "off", value_parser = limit)]
    pub(crate) idle_timeout: Limit,

    /// Close sessions that never send a byte
    #[arg(long, value_name = "DURATION", default_value = "off", value_parser = limit)]
    pub(crate) first_byte_timeout: Limit,

    /// Cut sessions whose peer does not read
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = limit)]
    pub(crate) write_timeout: Limit,

    /// How long a drain may take before what is left is cut
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    pub(crate) drain_timeout: Duration,

    /// Unsent bytes at which a session's receive pauses
    #[arg(long, value_name = "SIZE", default_value = "64KiB", value_parser = size)]
    pub(crate) high_water: usize,

    /// Unsent bytes at which it resumes [default: half of the high-water mark]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub(crate) low_water: Option<usize>,

    /// Spin for so long before sleeping: latency for a core
    #[arg(long, value_name = "DURATION", default_value = "off", value_parser = limit)]
    pub(crate) busy_poll: Limit,

    /// Write every submission and completion to a file that Perfetto opens (ui.perfetto.dev); it grows fast.
    /// Events that a slow disk leaves no room for (16 MiB may wait) are dropped and counted, in the file and on stderr
    #[arg(long, value_name = "FILE")]
    pub(crate) trace: Option<PathBuf>,

    /// Print a line per submission and completion to stderr, in the system's own words. Lines that come faster than
    /// they are read are dropped and counted
    #[arg(long)]
    pub(crate) log_ops: bool,

    /// Print only the addresses listened on; warnings still go to stderr
    #[arg(long, conflicts_with_all = ["verbose", "log_ops"])]
    pub(crate) quiet: bool,

    /// Print a line per session as it opens and as it closes, by its name: WORKER/SLOT.GENERATION
    #[arg(short, long)]
    pub(crate) verbose: bool,
}

#[derive(ClapArgs)]
pub(crate) struct ClientArgs {
    /// The server
    #[arg(value_name = "ADDR", default_value = "127.0.0.1:9999", value_parser = address)]
    pub(crate) address: String,
}

#[derive(ClapArgs)]
pub(crate) struct DoctorArgs {
    /// Print the same as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(ClapArgs)]
pub(crate) struct PitfallsArgs {
    /// What to run
    #[arg(value_name = "NAME", conflicts_with = "all")]
    pub(crate) names: Vec<String>,

    /// Run every one
    #[arg(long)]
    pub(crate) all: bool,

    /// Print the evidence as JSON
    #[arg(long)]
    pub(crate) json: bool,

    /// Also draw the timelines on one page, which needs nothing but itself (`-` is stdout)
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,

    /// What they run on
    #[arg(long, value_name = "NAME", default_value = "auto")]
    pub(crate) kernel: KernelChoice,

    /// Run the broken version in place of the repaired one: a check of the check, which must fail
    #[arg(long, hide = true)]
    pub(crate) without_repair: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum KernelChoice {
    /// The real one of this system, or the program's own where that may not be used
    Auto,
    /// A ring of Linux
    #[value(name = "io_uring")]
    IoUring,
    /// A completion port of Windows
    Iocp,
    /// The small kernel of this program
    Own,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum BackendName {
    Auto,
    #[value(name = "io_uring")]
    IoUring,
    Iocp,
    Readiness,
}

impl BackendName {
    pub(crate) fn choice(self) -> Choice {
        match self {
            BackendName::Auto => Choice::Auto,
            BackendName::IoUring => Choice::Only(Backend::IoUring),
            BackendName::Iocp => Choice::Only(Backend::Iocp),
            BackendName::Readiness => Choice::Only(Backend::Readiness),
        }
    }
}
