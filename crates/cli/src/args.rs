//! The command line.

mod expression;
mod load;
mod serve;

use std::path::PathBuf;

use clap::builder::Styles;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args as ClapArgs, CommandFactory, Parser, Subcommand, ValueEnum};
use overlapped::{BackendKind, Choice};

pub(crate) use expression::{Expression, Quantity};
pub(crate) use load::{Behaviour, LoadArgs};
pub(crate) use serve::{DEFAULT_BIND, LogFormat, ServeArgs};

use crate::units::{listen_address, server_address};

/// TCP sessions on completion I/O: IOCP on Windows, io_uring on Linux, readiness where a ring may not be made
#[derive(Parser)]
#[command(name = "overlapped", version, propagate_version = true, arg_required_else_help = true, styles = Styles::plain())]
#[command(max_term_width = WIDEST, subcommand_negates_reqs = true, args_conflicts_with_subcommands = true)]
#[command(override_usage = "overlapped <COMMAND>\n       overlapped --generate <KIND>")]
pub(crate) struct Args {
    /// Print a man page, or completions for a shell
    #[arg(long, value_name = "KIND", required = true, exclusive = true, hide_possible_values = true)]
    #[arg(long_help = GENERATE)]
    pub(crate) generate: Option<Kind>,

    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

const GENERATE: &str = "\
Print a man page, or completions for a shell

  man: the page of this program; man-serve, man-client, man-load, man-pitfalls, man-doctor: of its commands.
  complete-bash, complete-elvish, complete-fish, complete-powershell, complete-zsh: completions.

`overlapped --generate man-serve | man -l -` shows a page. `source <(overlapped --generate complete-bash)` completes in \
this bash.";

/// What `--generate` prints.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Kind {
    Man,
    ManServe,
    ManClient,
    ManLoad,
    ManPitfalls,
    ManDoctor,
    CompleteBash,
    CompleteElvish,
    CompleteFish,
    CompletePowershell,
    CompleteZsh,
}

/// Columns. Help is as wide as the terminal up to here: longer lines are hard to read.
const WIDEST: usize = 120;

#[cfg(unix)]
const ASKED: &str = "SIGUSR1 prints the counters as of now to stderr, in one line: \
                     `now: sessions 3, in flight 5, blocks in use 2, ...`";

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Echo every byte back (RFC 862)
    ///
    /// Prints `listening on ADDR (BACKEND, N workers)` once connections are accepted, a line per address, and one line
    /// at the end that sums up. There, `echoed` counts the bytes that the kernel has taken to send; what of them a peer
    /// has read, no server can know. `drained` counts the sessions that the drain closed with everything echoed, `cut`
    /// those that its deadline closed, and `lost` the bytes that these still had to echo.
    ///
    /// SIGTERM, SIGINT, SIGHUP (unless it is ignored, as under nohup), Ctrl-C and Ctrl-Break drain: what was received
    /// is echoed, and sessions are closed gracefully. A second signal, half a second or more after the first, ends at
    /// once.
    ///
    /// Exit status 0 after a drain; 1 when its deadline cut something, when it was ended at once, when the server failed,
    /// and when stdout or the trace could not be written to its end (a full disk; a reader that has gone is no error).
    ///
    /// Sessions never wait for a reader of the output. 4 MiB of lines wait for the reader of stdout, 4 MiB for that
    /// of stderr; what does not fit is dropped, and a warning says how many lines. At the end a reader that has stopped
    /// is given one second.
    ///
    /// Durations read 500ms, 30s, 5m, 1h; as a limit that may be absent, 0s or off means none. Sizes are in bytes and read 64, 16KiB, 1MiB, 1GiB;
    /// k, m and g are short for these units, so 64k is 65536.
    #[cfg_attr(unix, command(after_help = ASKED))]
    Serve(ServeArgs),
    /// Type a line, see its echo
    ///
    /// On a terminal: a prompt with line editing and a history, and each echo with its round-trip time, control
    /// characters as \x1b; `q` or Ctrl-D quits. With stdin piped: each line is sent, its whole echo awaited and
    /// printed bare, so that `diff` shows a faithful echo; `q` is data like any other. A line of more than 1 MiB goes in
    /// pieces.
    ///
    /// Says when nothing comes for 5 seconds, and waits on. Exit status 1 when what came back is not what was
    /// sent, when the server closes the connection while an echo is awaited or, on a terminal, the next line, and when
    /// the echo cannot be written (a full disk; a reader that has gone is no error).
    Client(ClientArgs),
    /// Measure an echo server, any echo server
    ///
    /// Sends messages, checks every byte that comes back, and prints rates and latencies. Without --rate it is a closed
    /// loop: each connection sends its next message when an echo has come back, so latencies leave out how long users
    /// would have waited while the server was busy. With --rate messages are sent on a fixed schedule, and latencies count
    /// from the scheduled time.
    ///
    /// After the first wrong, missing or extra byte a connection is closed, counted once (mismatches), and opened again.
    /// Errors are connections that failed, connections that the server reset or ended without being asked to, echoes later
    /// than --reply-timeout, and mismatches; those of the warm-up count. A stall is a time in which connections waited for an
    /// echo and none came, for more than ten times the median latency and 100ms at least. Stalls, and the lateness of this
    /// program itself, are reported and are no errors.
    ///
    /// Ctrl-C ends the run early and reports what was measured until then. The exit status is that of a whole run: 0 if
    /// what was measured has no error and every --assert holds, 1 if not or if no echo was measured yet.
    ///
    /// Exit status 0 when there was no error and every --assert holds; 1 when there was one, when an assertion does not hold,
    /// when no echo came back at all, when the run could not be made on this machine, and when a result could not be written; 2 for wrong usage, which includes files that
    /// cannot be written: they are opened before the run.
    #[command(after_long_help = load::JSON)]
    Load(LoadArgs),
    /// See the classic mistakes of completion I/O happen, and not happen
    ///
    /// An exhibit is one mistake as a small program. It runs twice: with the mistake, then repaired, on the same schedule.
    /// Without a name, the exhibits are listed. Shown are a timeline of both runs, the evidence (which bytes landed
    /// where, who received what), the invariant that rules the mistake out, the file that upholds it, and public
    /// projects that had it. Connections are made on loopback only.
    ///
    /// Most run on io_uring or IOCP. Two need ordinary sockets only, and one no I/O: they say so. Where no ring may be
    /// made, as in a default container, a small kernel of this program stands in: a thread that keeps raw addresses
    /// and uses them late, as a real kernel does. A line on stderr says so, and why.
    ///
    /// Exit status 0 when each broken version broke and each repaired one held, 1 otherwise.
    #[command(after_long_help = PITFALLS_JSON)]
    Pitfalls(PitfallsArgs),
    /// What would run here, and why
    ///
    /// Tries every backend of this system, as `serve` would make it, and says which works, which is refused and what to
    /// do about that, and which one `auto` takes. Where rings can be made, each of their features is tried too. Then
    /// the limits that matter, and what to set for 10,000 and for 100,000 sessions.
    ///
    /// Nothing is changed; only loopback is used. Run it as the user, and in the container or unit, that the server
    /// will run in. Exit status 0 when a backend works, 1 when none does.
    Doctor(DoctorArgs),
}

const PITFALLS_JSON: &str = "\
The JSON is one object; null is what was not run or does not apply:
  version: of this program
  kernel: what exhibits whose runs_on is `kernel` run on: name (io_uring, iocp or own); reason and remedy say why it \
is own though that was not asked for
  without_repair: true when the broken version ran in place of the repaired one
  as_expected: true when every broken version broke and every repaired one held
  exhibits[]: in the order in which they were asked for

Each exhibit:
  name, aliases[], title, mistake, repair: what it is, in words
  invariant, upheld_by: the rule that prevents the mistake, and the file that keeps the rule
  runs_on: kernel, sockets (no completion kernel takes part) or memory (no I/O)
  on_windows, on_linux: how the mistake looks on a port, and on a ring
  seen_in[]: public projects that had it: name, url, what
  as_expected: true when its broken version broke and its repaired one held
  error: why it could not be run
  broken, repaired: its two runs
  crash (of use-after-release): how a child process ended that touched memory given back to the system (crashed, \
child_ended), and what the kernel did that was given such memory (kernel_refused, kernel_answered)

Each run:
  held: true when everybody got what is theirs, judged by the evidence alone
  evidence: what was observed, by name: numbers, booleans, texts, lists of texts; the name of a time ends with its unit
  timeline: moments[], each with text, and wrong (true where it goes wrong); bars[], each with lane, kind (session, \
operation or memory), label, from and to. These count moments from 0; a bar whose to is the number of moments does \
not end";

#[derive(ClapArgs)]
pub(crate) struct ClientArgs {
    /// The server: HOST:PORT
    ///
    /// The addresses of a name are tried one after the other. An IPv4-mapped address ([::ffff:127.0.0.1]:9999) is that
    /// IPv4 address. 0.0.0.0 and [::] are this machine: 127.0.0.1 and [::1]. A link-local address needs its interface:
    /// [fe80::1%eth0]:9999.
    #[arg(value_name = "ADDR", default_value = "127.0.0.1:9999", value_parser = server_address)]
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
    /// Which to run; without one, they are listed
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

    /// The completion kernel, for those that need one
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
    /// The best that works here; why a better one does not, is printed
    Auto,
    /// Linux 6.0 or newer
    #[value(name = "io_uring")]
    IoUring,
    /// Windows
    Iocp,
    /// epoll on Linux, kqueue on macOS and the BSDs
    Readiness,
}

impl BackendName {
    pub(crate) fn choice(self) -> Choice {
        match self {
            BackendName::Auto => Choice::Auto,
            BackendName::IoUring => Choice::Only(BackendKind::IoUring),
            BackendName::Iocp => Choice::Only(BackendKind::Iocp),
            BackendName::Readiness => Choice::Only(BackendKind::Readiness),
        }
    }
}

/// What to do about a command line that is wrong, to follow its error in the same line.
pub(crate) fn tip(error: &clap::Error) -> String {
    let first = |kind| match error.get(kind)? {
        ContextValue::String(text) => Some(text.clone()),
        ContextValue::Strings(texts) => texts.first().cloned(),
        _ => None,
    };
    if let Some(similar) = first(ContextKind::SuggestedSubcommand) {
        return format!("; did you mean `{similar}`?");
    }
    if let Some(similar) = first(ContextKind::SuggestedArg) {
        return format!("; did you mean {similar}?");
    }
    if error.kind() == ErrorKind::InvalidSubcommand {
        let command = Args::command();
        let names: Vec<_> =
            command.get_subcommands().map(|command| format!("`{}`", command.get_name())).collect();
        return format!("; choose one of: {}", names.join(", "));
    }
    if let Some(ContextValue::Strings(values)) = error.get(ContextKind::ValidValue)
        && !values.is_empty()
    {
        let given = first(ContextKind::InvalidValue).unwrap_or_default();
        // Only what can be chosen here.
        let known = other_word(&given).filter(|(_, name)| values.iter().any(|value| value == name));
        let hint = known.map_or(String::new(), |(hint, name)| format!("; {hint} `{name}`"));
        return format!("{hint}; choose one of: {}", values.join(", "));
    }
    let flag = first(ContextKind::InvalidArg).unwrap_or_default();
    if error.kind() == ErrorKind::UnknownArgument
        && let Some(meant) = address_meant(&flag, words())
    {
        return format!("; did you mean `{meant}`?");
    }
    let command = Args::command();
    let has_it = |command: &&clap::Command| {
        command.get_arguments().any(|arg| Some(flag.as_str()) == long(arg).as_deref())
    };
    let others = command.get_subcommands().filter(has_it).map(|other| format!("`{}`", other.get_name()));
    let others: Vec<_> = others.collect();
    let (Some((last, others)), ErrorKind::UnknownArgument) = (others.split_last(), error.kind()) else {
        return "; see --help".to_owned();
    };
    let and = if others.is_empty() { "" } else { " and " };
    format!("; it is an option of {}{and}{last}", others.join(", "))
}

fn long(arg: &clap::Arg) -> Option<String> {
    arg.get_long().map(|long| format!("--{long}"))
}

/// The backend or kernel that goes by another word elsewhere: the beginning of a sentence, and the name that ends it.
fn other_word(given: &str) -> Option<(&'static str, &'static str)> {
    const WRITTEN: &str = "it is written";
    let word = given.to_ascii_lowercase().replace('-', "_");
    match word.as_str() {
        "epoll" | "kqueue" | "poll" | "select" => Some(("here that kind of backend is called", "readiness")),
        "uring" | "iouring" | "ring" => Some(("here the ring of Linux is called", "io_uring")),
        "io_uring" => Some((WRITTEN, "io_uring")),
        "iocp" => Some((WRITTEN, "iocp")),
        "readiness" => Some((WRITTEN, "readiness")),
        "auto" => Some((WRITTEN, "auto")),
        "own" => Some((WRITTEN, "own")),
        _ => None,
    }
}

/// The command line, without the program's name. A word need not be UTF-8: a file may have any name.
fn words() -> impl Iterator<Item = String> {
    std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned())
}

/// How the address is given that somebody meant who wrote `unknown`: a port or an address without a flag, or one of the
/// flags that other programs have for a port. `line` is the whole command line, without the program's name.
fn address_meant(unknown: &str, line: impl Iterator<Item = String>) -> Option<String> {
    let line: Vec<String> = line.collect();
    let command = line.first()?.as_str();
    let given = match unknown.split('=').next()? {
        flag @ ("--port" | "-p" | "--listen" | "--address" | "--addr" | "-l") => {
            let at = line.iter().position(|word| word.split('=').next() == Some(flag))?;
            line[at]
                .split_once('=')
                .map(|(_, value)| value)
                .or_else(|| line.get(at + 1).map(String::as_str))?
        }
        bare => bare,
    };
    let given = given.strip_prefix(':').unwrap_or(given);
    let address = if given.parse::<u16>().is_ok() { format!("127.0.0.1:{given}") } else { given.to_owned() };
    listen_address(&address).ok()?;
    match command {
        "serve" => Some(format!("overlapped serve --bind {address}")),
        "client" | "load" => Some(format!("overlapped {command} {address}")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What clap itself finds wrong with the definitions above.
    #[test]
    fn the_definitions_are_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn an_address_is_found_however_it_is_given() {
        let meant = |unknown: &str, line: &str| address_meant(unknown, line.split(' ').map(str::to_owned));
        for (unknown, line, address) in [
            ("9998", "serve 9998", "127.0.0.1:9998"),
            (":9998", "serve :9998", "127.0.0.1:9998"),
            ("[::1]:80", "serve -v [::1]:80", "[::1]:80"),
            ("--port", "serve --port 9998", "127.0.0.1:9998"),
            ("--port", "serve -v --port=9998", "127.0.0.1:9998"),
            ("-p", "serve -p 9998", "127.0.0.1:9998"),
            ("--listen", "serve --listen localhost:80", "localhost:80"),
        ] {
            let wanted = format!("overlapped serve --bind {address}");
            assert_eq!(meant(unknown, line), Some(wanted), "{line}");
        }
        assert_eq!(meant("--port", "client --port 80").as_deref(), Some("overlapped client 127.0.0.1:80"));
        for (unknown, line) in [
            ("--port", "serve --port"),
            ("--port", "doctor --port 80"),
            ("x", "serve x"),
            ("--x", "serve --x 80"),
        ] {
            assert_eq!(meant(unknown, line), None, "{line}");
        }
    }
}
