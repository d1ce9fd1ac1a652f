//! The servers that are measured: our own in several ways, and the peers.

use std::path::Path;

use serde::Serialize;

/// The names of ours; ratios are to the first two.
pub(super) const IO_URING: &str = "overlapped, io_uring";
pub(super) const READINESS: &str = "overlapped, readiness";

/// A server and how it is started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Server {
    /// Unique.
    pub(super) name: String,
    /// `{port}` stands for a port, 0 for one that the system chooses.
    pub(super) command: Vec<String>,
    /// That serve.
    pub(super) threads: u32,
    /// Of the project that it shows, as `tokio 1.54.0`; empty for ours.
    pub(super) version: String,
    /// How it works, in a few words.
    pub(super) notes: String,
    pub(super) ours: bool,
    /// Why it cannot run here, if it cannot.
    pub(super) missing: Option<String>,
}

impl Server {
    pub(super) fn words(&self) -> Vec<String> {
        self.command.iter().map(|word| word.replace("{port}", "0")).collect()
    }
}

/// Ours on both backends.
pub(super) fn ours(program: &Path) -> Vec<Server> {
    vec![
        own(program, IO_URING, &["--backend", "io_uring"]),
        own(program, READINESS, &["--backend", "readiness"]),
    ]
}

/// Ours on both backends, that spin before they sleep.
pub(super) fn ours_busy(program: &Path) -> Vec<Server> {
    let busy = |name, backend| own(program, name, &["--backend", backend, "--busy-poll", "1ms"]);
    vec![
        busy("overlapped, io_uring, `--busy-poll 1ms`", "io_uring"),
        busy("overlapped, readiness, `--busy-poll 1ms`", "readiness"),
    ]
}

/// Ours on both backends with two workers.
pub(super) fn ours_with_two_workers(program: &Path) -> Vec<Server> {
    let mut servers = ours(program);
    for server in &mut servers {
        server.name.push_str(", 2 workers");
        server.threads = 2;
        server.notes = "two workers".to_owned();
        let at = server.command.iter().position(|word| word == "--workers").expect("it is there");
        server.command[at + 1] = "2".to_owned();
    }
    servers
}

fn own(program: &Path, name: &str, words: &[&str]) -> Server {
    let always = ["serve", "--quiet", "--bind", "127.0.0.1:{port}", "--workers", "1"];
    let words = always.iter().chain(words).map(|word| (*word).to_owned());
    Server {
        name: name.to_owned(),
        command: std::iter::once(program.display().to_string()).chain(words).collect(),
        threads: 1,
        version: String::new(),
        notes: "one worker".to_owned(),
        ours: true,
        missing: None,
    }
}

/// The servers with these names, or whose names begin with one that ends with `*`; ours are always among them, and all
/// if there are no names. An error says which name there is not.
pub(super) fn chosen(servers: Vec<Server>, names: &[String]) -> Result<Vec<Server>, String> {
    let matches = |server: &Server, name: &String| is_named(&server.name, name);
    if let Some(name) = names.iter().find(|name| !servers.iter().any(|server| matches(server, name))) {
        let all: Vec<&str> = servers.iter().map(|server| server.name.as_str()).collect();
        return Err(format!("there is no server `{name}`; there are: {}", all.join(" | ")));
    }
    let wanted =
        |server: &Server| names.is_empty() || server.ours || names.iter().any(|name| matches(server, name));
    Ok(servers.into_iter().filter(wanted).collect())
}

/// Whether a word of `--servers` chooses this name.
pub(super) fn is_named(name: &str, word: &str) -> bool {
    word.strip_suffix('*').map_or(name == word, |beginning| name.starts_with(beginning))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_chosen_by_name() {
        let all = || {
            let mut servers = ours(Path::new("/x/overlapped"));
            for name in ["tokio", "tokio-multi-thread", "mio"] {
                servers.push(Server { name: name.to_owned(), ours: false, ..servers[0].clone() });
            }
            servers
        };
        let chosen = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            chosen(all(), &names).map(|servers| servers.len())
        };
        assert_eq!(chosen(&[]), Ok(5));
        assert_eq!(chosen(&["tokio"]), Ok(3));
        assert_eq!(chosen(&["mio", "tokio*"]), Ok(5));
        let error = chosen(&["monoio"]).unwrap_err();
        assert!(error.contains("no server `monoio`") && error.contains("tokio-multi-thread"), "{error}");
    }

    #[test]
    fn ours_are_started_on_a_free_port() {
        let two = ours_with_two_workers(Path::new("/x/overlapped"));
        let words = two[0].words().join(" ");
        let wanted = "/x/overlapped serve --quiet --bind 127.0.0.1:0 --workers 2 --backend io_uring";
        assert_eq!(words, wanted);
        assert!(ours_busy(Path::new("x"))[1].command.contains(&"--busy-poll".to_owned()));
    }
}
