//! `promtool` reads the metrics, the configuration and the rules; a real Prometheus scrapes a server.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use serde_json::Value;

use super::server::{Running, Server};
use super::{deployed, eventually, free_port, read, write};
use crate::bounded::{self, Failure, PROGRAM, output_of};

pub(super) fn check(program: &Path, place: &Path) -> Result<(), Failure> {
    let directory = deployed("prometheus");
    let promtool = |words: &[&str]| {
        let mut command = Command::new("promtool");
        bounded::run(command.args(words).current_dir(&directory), PROGRAM)
    };
    promtool(&["check", "config", "prometheus.yml"])?;
    promtool(&["check", "rules", "alerts.yml"])?;
    promtool(&["test", "rules", "alerts_test.yml"])?;
    let server = Server::start(program, &["--workers", "2"])?;
    metrics_are_valid(&server)?;
    rules_name_what_there_is(&server)?;
    is_scraped(&server, place)?;
    server.end().map(drop)
}

fn get(server: &Server, path: &str, fields: &[&str]) -> Result<String, Failure> {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--fail"]);
    for field in fields {
        curl.args(["--header", field]);
    }
    output_of(curl.arg(format!("http://{}{path}", server.admin)))
}

/// `promtool check metrics` reads what `curl` gets.
fn metrics_are_valid(server: &Server) -> Result<(), Failure> {
    let text = get(server, "/metrics", &[])? + "\n";
    let (reader, mut writer) = std::io::pipe().map_err(|error| format!("a pipe: {error}"))?;
    let writing = thread::spawn(move || writer.write_all(text.as_bytes()));
    let mut promtool = Command::new("promtool");
    promtool.args(["check", "metrics"]).stdin(Stdio::from(reader));
    let (said, warned) = bounded::lines_of(&mut promtool, PROGRAM, |_| true)?;
    writing.join().expect("writing does not panic").map_err(|error| format!("promtool's input: {error}"))?;
    let complaints = [said, warned].concat();
    if complaints.is_empty() {
        Ok(())
    } else {
        Err(format!("promtool check metrics: {}", complaints.join("\n")))
    }
}

/// Every metric that an alert or the dashboard looks at is one that the server exports.
fn rules_name_what_there_is(server: &Server) -> Result<(), Failure> {
    let metrics = get(server, "/metrics", &[])?;
    let exported = |name: &str| {
        metrics.lines().any(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])))
    };
    for file in ["prometheus/alerts.yml", "grafana/overlapped.json"] {
        let text = read(&deployed(file))?;
        let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
        let words = text.split(|letter| !is_part(letter));
        let named = words.filter(|word| word.starts_with("overlapped_") || word.starts_with("process_"));
        let unknown: Vec<_> = named.filter(|name| !exported(name)).collect();
        if !unknown.is_empty() {
            return Err(format!("deploy/{file} names what is not exported: {}", unknown.join(", ")));
        }
    }
    Ok(())
}

/// With the configuration of `deploy/`, for this server's address.
fn is_scraped(server: &Server, place: &Path) -> Result<(), Failure> {
    let (port, data) = (free_port()?, place.join("prometheus"));
    let _ = std::fs::remove_dir_all(&data);
    std::fs::create_dir_all(&data).map_err(|error| format!("{}: {error}", data.display()))?;
    let config = read(&deployed("prometheus/prometheus.yml"))?;
    let config = config.replace("127.0.0.1:9180", &server.admin.to_string()).replace("15s", "1s");
    write(&data.join("prometheus.yml"), &config)?;
    write(&data.join("alerts.yml"), &read(&deployed("prometheus/alerts.yml"))?)?;
    let mut command = Command::new("prometheus");
    command.arg(format!("--config.file={}", data.join("prometheus.yml").display()));
    command.arg(format!("--storage.tsdb.path={}", data.join("data").display()));
    command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
    let prometheus = Running::start("prometheus", &mut command)?;
    let mut clients = Vec::new();
    for number in 0..7 {
        let failed = |error| format!("client {number}: {error}");
        let mut client = TcpStream::connect(server.address).map_err(failed)?;
        client.write_all(&[b'x'; 100]).and_then(|()| client.read_exact(&mut [0; 100])).map_err(failed)?;
        clients.push(client);
    }
    let ask = |query: &str| -> Result<f64, Failure> {
        let url = format!("http://127.0.0.1:{port}/api/v1/query");
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--get", "--data-urlencode", &format!("query={query}"), &url]);
        let answer: Value =
            serde_json::from_str(&output_of(&mut curl)?).map_err(|error| format!("{query}: {error}"))?;
        let value = answer["data"]["result"][0]["value"][1].as_str().and_then(|value| value.parse().ok());
        value.ok_or_else(|| format!("{query}: {answer}"))
    };
    for (query, wanted) in [
        ("up{job=\"overlapped\"}", 1.0),
        ("sum(overlapped_sessions)", 7.0),
        ("sum(overlapped_sent_bytes_total)", 700.0),
        ("sum(overlapped_received_bytes_total)", 700.0),
        ("overlapped_ready", 1.0),
        ("count(overlapped_turn_seconds_total)", 2.0),
    ] {
        eventually(query, || match ask(query)? {
            value if value == wanted => Ok(()),
            value => Err(format!("{query} is {value}, not {wanted}")),
        })?;
    }
    prometheus.terminate();
    prometheus.wait().map(drop)
}
