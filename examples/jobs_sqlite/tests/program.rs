//! The program, with clients over TCP and a database file, which is looked at by others, too.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::{fs, thread};

use overlapped_testing::{Random, dial, eventually, exit_of, read_to_end, reset, started};
use rusqlite::Connection;

/// Far longer than a query may wait for a locked file, and than anything takes.
const PATIENCE: std::time::Duration = overlapped_testing::PATIENCE;

/// The server, killed when dropped.
struct Bank {
    child: Child,
    address: SocketAddr,
    stdout: BufReader<std::process::ChildStdout>,
}

impl Bank {
    fn start(file: &str) -> Bank {
        let mut command = Command::new(env!("CARGO_BIN_EXE_jobs-sqlite"));
        command.args(["127.0.0.1:0", file]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = started(|| command.spawn()).expect("cargo built it");
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        let mut line = String::new();
        stdout.read_line(&mut line).expect("its first line");
        let address = line.trim_end().strip_prefix("listening on ").and_then(|address| address.parse().ok());
        match address {
            Some(address) => Bank { child, address, stdout },
            None => panic!("it says {line:?}, and ends with {}", exit_of(&mut child, PATIENCE)),
        }
    }

    fn client(&self) -> Client {
        Client(BufReader::new(dial(self.address)))
    }

    /// Ends its stdin, waits for its end, and returns what it says.
    fn drain(mut self) -> String {
        drop(self.child.stdin.take());
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).expect("text");
        assert!(exit_of(&mut self.child, PATIENCE).success(), "{rest}");
        rest
    }
}

impl Drop for Bank {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Client(BufReader<TcpStream>);

impl Client {
    fn send(&mut self, lines: &str) {
        self.0.get_mut().write_all(lines.as_bytes()).expect("it reads");
    }

    fn answer(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("an answer");
        assert_eq!(line.pop(), Some('\n'), "whole lines");
        line
    }

    fn ask(&mut self, line: &str) -> String {
        self.send(&format!("{line}\n"));
        self.answer()
    }
}

/// A file of this test, which does not exist yet.
fn new_file(name: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&directory);
    fs::create_dir_all(&directory).expect("a directory for temporary files");
    directory.join("bank.db")
}

fn text(file: &Path) -> &str {
    file.to_str().expect("UTF-8")
}

/// The sum of all balances, as another program reads it, when this one has ended.
fn sum_of_sound(file: &Path) -> i64 {
    let database = Connection::open(file).expect("a database");
    let check: String = database.query_row("PRAGMA integrity_check", [], |row| row.get(0)).expect("a result");
    assert_eq!(check, "ok");
    let sum = database.query_row("SELECT sum(balance) FROM accounts", [], |row| row.get(0)).expect("a sum");
    drop(database);
    let sqlite3 = Command::new("sqlite3").arg(file).arg("SELECT sum(balance) FROM accounts").output();
    match sqlite3 {
        Ok(output) => assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), i64::to_string(&sum)),
        Err(error) => eprintln!("not looked at by sqlite3: {error}"),
    }
    sum
}

const ACCOUNTS: usize = 10;
const CLIENTS: usize = 50;
/// 1,000 in each of the accounts, and of client number N, N in an account of its own.
const SUM: i64 = (ACCOUNTS * 1_000 + CLIENTS * (CLIENTS - 1) / 2) as i64;

fn open_accounts(bank: &Bank) {
    let mut client = bank.client();
    for account in 0..ACCOUNTS {
        client.send(&format!("create shared{account}\ndeposit shared{account} 1000\n"));
    }
    for number in 0..CLIENTS {
        client.send(&format!("create own{number}\n"));
    }
    for number in 1..CLIENTS {
        client.send(&format!("deposit own{number} {number}\n"));
    }
    for _ in 0..2 * ACCOUNTS + 2 * CLIENTS - 1 {
        assert!(client.answer().starts_with("ok "));
    }
}

fn transfer(random: &mut Random) -> String {
    let (from, to, amount) = (random.below(ACCOUNTS), random.below(ACCOUNTS), 1 + random.below(900));
    format!("transfer shared{from} shared{to} {amount}\n")
}

/// Transfers at random. Each client's own balance, which only its own answers have, comes in its place among them.
#[test]
fn fifty_clients_transfer_and_the_sum_stays() {
    let file = new_file("fifty");
    let bank = Bank::start(text(&file));
    open_accounts(&bank);
    thread::scope(|scope| {
        for number in 0..CLIENTS {
            let mut client = bank.client();
            scope.spawn(move || {
                let mut random = Random(number as u64);
                let lines = |random: &mut Random| format!("{}balance own{number}\n", transfer(random));
                if number % 5 == 4 {
                    // Gone before most of its answers.
                    (0..10).for_each(|_| client.send(&lines(&mut random)));
                    assert!(!client.answer().is_empty());
                    return reset(client.0.into_inner());
                }
                for _ in 0..10 {
                    client.send(&lines(&mut random));
                    let answer = client.answer();
                    let done = answer.starts_with("ok ");
                    assert!(
                        done || answer.starts_with("error shared") && answer.contains(" has less than "),
                        "{answer}"
                    );
                    assert_eq!(client.answer(), format!("ok {number}"));
                }
                client.0.get_mut().shutdown(Shutdown::Write).expect("an open socket");
                assert_eq!(read_to_end(&mut client.0), b"");
            });
        }
    });
    assert!(bank.client().ask("top 1").starts_with("ok shared"));
    assert!(bank.drain().ends_with(&format!("{} is closed\n", text(&file))));
    let left: Vec<_> = fs::read_dir(file.parent().expect("its directory")).expect("a list").collect();
    assert_eq!(left.len(), 1, "the log is written back and removed: {left:?}");
    assert_eq!(sum_of_sound(&file), SUM);
}

/// In the middle of transfers, several times: each of them is done or not, and what was answered is done.
#[test]
fn a_server_that_is_killed_leaves_no_half_of_a_transfer() {
    let file = new_file("killed");
    let bank = Bank::start(text(&file));
    open_accounts(&bank);
    bank.drain();
    for run in 0..5 {
        let mut bank = Bank::start(text(&file));
        let mut clients: Vec<_> = (0..4).map(|_| bank.client()).collect();
        let mut random = Random(run);
        for client in &mut clients {
            (0..100).for_each(|_| client.send(&transfer(&mut random)));
        }
        let mut one = bank.client();
        one.send(&format!("create after{run}\n"));
        clients.iter_mut().for_each(|client| _ = client.answer());
        assert_eq!(one.answer(), format!("ok after{run}"));
        bank.child.kill().expect("it runs");
        exit_of(&mut bank.child, PATIENCE);
        assert_eq!(sum_of_sound(&file), SUM);
        let again = Bank::start(text(&file));
        assert_eq!(again.client().ask(&format!("balance after{run}")), "ok 0");
        again.drain();
    }
}

#[test]
fn a_file_that_another_process_has_locked_is_an_answer_and_the_server_stays_up() {
    let file = new_file("locked");
    let bank = Bank::start(text(&file));
    let mut client = bank.client();
    assert_eq!(client.ask("create ann"), "ok ann");
    let other = Connection::open(&file).expect("a database");
    other.execute_batch("BEGIN IMMEDIATE").expect("nobody else writes");
    for query in ["deposit ann 1", "transfer ann ann 1"] {
        assert_eq!(client.ask(query), "error database is locked", "{query}");
    }
    assert_eq!(client.ask("balance ann"), "ok 0", "readers do not wait for a writer");
    other.execute_batch("COMMIT").expect("it was begun");
    assert_eq!(client.ask("deposit ann 1"), "ok 1");
    drop((client, other));
    bank.drain();
}

/// The query that waits is that of a client that is gone when it is answered.
#[test]
fn a_client_that_goes_while_its_query_waits_harms_nobody() {
    let file = new_file("gone");
    let bank = Bank::start(text(&file));
    let (mut gone, mut stays) = (bank.client(), bank.client());
    assert_eq!(gone.ask("create ann"), "ok ann");
    let other = Connection::open(&file).expect("a database");
    other.execute_batch("BEGIN IMMEDIATE").expect("nobody else writes");
    gone.send("deposit ann 5\ndeposit ann 5\n");
    reset(gone.0.into_inner());
    stays.send("create bob\n");
    other.execute_batch("COMMIT").expect("it was begun");
    // Sent before or after the lock was given up: it is answered, and no other session's answer comes.
    let answer = stays.answer();
    assert!(answer == "ok bob" || answer == "error database is locked", "{answer}");
    assert_eq!(stays.ask("balance eve"), "error no account eve");
    drop(stays);
    assert!(bank.drain().contains(" 0 cut, 0 bytes lost\n"));
    assert!([0, 5, 10].contains(&sum_of_sound(&file)));
}

#[test]
fn a_drain_waits_for_the_database() {
    let file = new_file("drained");
    let bank = Bank::start(text(&file));
    let mut client = bank.client();
    assert_eq!(client.ask("create ann"), "ok ann");
    let other = Connection::open(&file).expect("a database");
    other.execute_batch("BEGIN IMMEDIATE").expect("nobody else writes");
    // In one segment: when the first is answered, the other one was received. It waits for the lock.
    client.send("balance ann\ndeposit ann 7\n");
    assert_eq!(client.answer(), "ok 0");
    let address = bank.address;
    let drained = thread::spawn(|| bank.drain());
    eventually("it does not listen any more", || TcpStream::connect(address).is_err());
    other.execute_batch("COMMIT").expect("it was begun");
    drop(other);
    let answer = client.answer();
    assert!(answer == "ok 7" || answer == "error database is locked", "{answer}");
    assert_eq!(read_to_end(&mut client.0), b"");
    drop(client);
    let report = drained.join().expect("it drains");
    assert!(report.contains(" drained, 0 cut, 0 bytes lost\n"), "{report}");
}

#[test]
#[cfg(unix)]
fn a_file_that_cannot_be_written_is_an_answer() {
    let file = new_file("read-only");
    let bank = Bank::start(text(&file));
    assert_eq!(bank.client().ask("create ann"), "ok ann");
    bank.drain();
    let bank = Bank::start(&format!("file:{}?mode=ro", text(&file)));
    let mut client = bank.client();
    assert_eq!(client.ask("deposit ann 1"), "error attempt to write a readonly database");
    assert_eq!(client.ask("balance ann"), "ok 0");
}

#[test]
fn a_file_that_is_no_database_is_refused_at_the_start() {
    let file = new_file("no-database");
    fs::write(&file, "a text that is no database at all, but longer than a header").expect("a file");
    let mut command = Command::new(env!("CARGO_BIN_EXE_jobs-sqlite"));
    command.args(["127.0.0.1:0", text(&file)]).stdin(Stdio::null());
    let output = started(|| command.output()).expect("cargo built it");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.contains("cannot open ") && errors.contains("file is not a database"), "{errors}");
}

#[test]
fn without_a_file_the_accounts_are_in_memory() {
    let bank = Bank::start(":memory:");
    let mut client = bank.client();
    let lines = [
        "create ann",
        "create bob",
        "deposit ann 100",
        "transfer ann bob 30",
        "transfer ann bob 71",
        "top 2",
    ];
    let answers = ["ok ann", "ok bob", "ok 100", "ok 70", "error ann has less than 71", "ok ann 70, bob 30"];
    assert_eq!(lines.map(|line| client.ask(line)), answers);
    drop(client);
    assert!(bank.drain().ends_with(" 0 cut, 0 bytes lost\n:memory: is closed\n"));
    assert_eq!(Bank::start(":memory:").client().ask("balance ann"), "error no account ann");
}
