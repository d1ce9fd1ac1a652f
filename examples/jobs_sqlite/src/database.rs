//! The accounts: what a client may ask, and the SQLite database that answers. Used by one thread, and only by that one.

use std::fmt::Write;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior, params};

/// Largest amount and largest balance. Twice as much still fits an `i64` by far: no sum overflows.
const MOST: i64 = 1_000_000_000_000_000;
const LONGEST_NAME: usize = 32;
const LONGEST_LIST: u32 = 100;

/// How long a query waits for another process that has the file locked. All other queries wait behind it.
const BUSY: Duration = Duration::from_secs(2);

/// A write-ahead log lets other processes read while this one writes. `FULL`: what was answered survives a power cut.
/// The table checks the rules once more, for other programs that write to it, too.
const SETUP: &str = "
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    CREATE TABLE IF NOT EXISTS accounts (
        name TEXT PRIMARY KEY,
        balance INTEGER NOT NULL DEFAULT 0 CHECK (balance BETWEEN 0 AND 1000000000000000)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS accounts_by_balance ON accounts (balance DESC, name);
";

/// What a line asks for.
#[derive(Debug, PartialEq)]
pub(crate) enum Query {
    Create(String),
    Deposit(String, i64),
    Balance(String),
    Transfer(String, String, i64),
    Top(u32),
    /// Nothing: this is what is wrong. It is answered in its turn, like the others.
    Invalid(String),
}

impl Query {
    pub(crate) fn parse(line: &[u8]) -> Query {
        let line = String::from_utf8_lossy(line);
        let words: Vec<&str> = line.split_whitespace().collect();
        let query = || {
            Ok(match words[..] {
                ["create", name] => Query::Create(account(name)?),
                ["deposit", name, much] => Query::Deposit(account(name)?, amount(much)?),
                ["balance", name] => Query::Balance(account(name)?),
                ["transfer", from, to, much] => Query::Transfer(account(from)?, account(to)?, amount(much)?),
                ["top", count] => Query::Top(number(count, 1..=LONGEST_LIST.into())? as u32),
                _ => {
                    return Err(
                        "create NAME | deposit NAME AMOUNT | balance NAME | transfer FROM TO AMOUNT | top N"
                            .into(),
                    );
                }
            })
        };
        query().unwrap_or_else(Query::Invalid)
    }
}

fn account(name: &str) -> Result<String, String> {
    let is_valid = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    match name.len() <= LONGEST_NAME && name.bytes().all(is_valid) {
        true => Ok(name.to_owned()),
        false => Err(format!("a name has at most {LONGEST_NAME} letters, digits, _ and -")),
    }
}

fn amount(text: &str) -> Result<i64, String> {
    number(text, 1..=MOST)
}

fn number(text: &str, range: std::ops::RangeInclusive<i64>) -> Result<i64, String> {
    let number = text.parse().ok().filter(|number| range.contains(number));
    number.ok_or_else(|| format!("expected a number from {} to {}", range.start(), range.end()))
}

/// Why a query has no other answer.
struct Refused(String);

impl From<rusqlite::Error> for Refused {
    fn from(error: rusqlite::Error) -> Refused {
        Refused(error.to_string())
    }
}

pub(crate) struct Database(Connection);

impl Database {
    /// Opens a file, which is made if it is missing; `:memory:` is a database that ends with the program.
    ///
    /// # Errors
    /// SQLite's: for instance, that the file is no database, or that its directory does not exist.
    pub(crate) fn open(file: &str) -> rusqlite::Result<Database> {
        let connection = Connection::open(file)?;
        connection.busy_timeout(BUSY)?;
        connection.execute_batch(SETUP)?;
        Ok(Database(connection))
    }

    /// One line. An error of SQLite (a full disk, a locked file) is an answer, too.
    pub(crate) fn answer(&mut self, query: &Query) -> String {
        match self.execute(query) {
            Ok(result) => format!("ok {result}\n"),
            Err(Refused(why)) => format!("error {why}\n"),
        }
    }

    /// As the last one that has the file open: SQLite writes its log back into the file.
    pub(crate) fn close(self) -> rusqlite::Result<()> {
        self.0.close().map_err(|(_, error)| error)
    }

    /// What clients send is bound to parameters, and never a part of the SQL text.
    fn execute(&mut self, query: &Query) -> Result<String, Refused> {
        match query {
            Query::Create(name) => {
                self.0
                    .execute("INSERT INTO accounts (name) VALUES (?1)", [name])
                    .map_err(|error| explain(error, || format!("{name} exists")))?;
                Ok(name.clone())
            }
            Query::Deposit(name, amount) => {
                // `RETURNING` has its row before the commit, which may fail (a full disk): then nothing was deposited.
                let transaction = self.0.transaction_with_behavior(TransactionBehavior::Immediate)?;
                let balance = change(&transaction, name, *amount)?;
                transaction.commit()?;
                Ok(balance.to_string())
            }
            Query::Balance(name) => {
                let balance =
                    self.0.query_row("SELECT balance FROM accounts WHERE name = ?1", [name], |row| {
                        row.get::<_, i64>(0)
                    });
                Ok(balance.map_err(|error| explain(error, || format!("no account {name}")))?.to_string())
            }
            Query::Transfer(from, to, amount) => {
                // Both or neither: dropped without a commit, it is rolled back.
                let transaction = self.0.transaction_with_behavior(TransactionBehavior::Immediate)?;
                change(&transaction, to, *amount)?;
                let rest = change(&transaction, from, -amount)?;
                transaction.commit()?;
                Ok(rest.to_string())
            }
            Query::Top(count) => {
                let mut list = self
                    .0
                    .prepare("SELECT name, balance FROM accounts ORDER BY balance DESC, name LIMIT ?1")?;
                let mut rows = list.query([count])?;
                let mut line = String::new();
                while let Some(row) = rows.next()? {
                    let (name, balance) = (row.get_ref(0)?.as_str().unwrap_or("?"), row.get::<_, i64>(1)?);
                    let _ = write!(line, "{}{name} {balance}", if line.is_empty() { "" } else { ", " });
                }
                Ok(line)
            }
            Query::Invalid(why) => Err(Refused(why.clone())),
        }
    }
}

/// Adds to a balance, and returns the new one. The caller commits.
fn change(transaction: &Transaction<'_>, name: &str, by: i64) -> Result<i64, Refused> {
    let update = "UPDATE accounts SET balance = balance + ?2 WHERE name = ?1 RETURNING balance";
    let balance = transaction.query_row(update, params![name, by], |row| row.get(0));
    balance.map_err(|error| match &error {
        rusqlite::Error::QueryReturnedNoRows => Refused(format!("no account {name}")),
        _ if by < 0 => explain(error, || format!("{name} has less than {}", -by)),
        _ => explain(error, || format!("{name} would have more than {MOST}")),
    })
}

/// Says in words which rule of the table is broken; any other error speaks for itself.
fn explain(error: rusqlite::Error, rule: impl FnOnce() -> String) -> Refused {
    let broken = error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation)
        || error == rusqlite::Error::QueryReturnedNoRows;
    if broken { Refused(rule()) } else { error.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Asks several lines.
    fn ask(database: &mut Database, lines: &[&str]) -> Vec<String> {
        lines
            .iter()
            .map(|line| database.answer(&Query::parse(line.as_bytes())).trim_end().to_owned())
            .collect()
    }

    fn bank() -> Database {
        let mut database = Database::open(":memory:").expect("memory");
        let answers = ask(&mut database, &["create ann", "create bob", "deposit ann 100", "deposit bob 50"]);
        assert_eq!(answers, ["ok ann", "ok bob", "ok 100", "ok 50"]);
        database
    }

    #[test]
    fn accounts_are_kept() {
        let mut bank = bank();
        let answers =
            ask(&mut bank, &["transfer ann bob 30", "balance ann", "balance bob", "top 1", "top 100"]);
        assert_eq!(answers, ["ok 70", "ok 70", "ok 80", "ok bob 80", "ok bob 80, ann 70"]);
        let answers = ask(
            &mut bank,
            &["create ann", "balance eve", "deposit eve 1", "transfer ann ann 70", "transfer ann ann 71"],
        );
        let wanted = [
            "error ann exists",
            "error no account eve",
            "error no account eve",
            "ok 70",
            "error ann has less than 71",
        ];
        assert_eq!(answers[..3], wanted[..3]);
        assert_eq!(answers[3], wanted[3], "to itself: nothing changes");
    }

    #[test]
    fn a_transfer_that_fails_changes_nothing() {
        let mut bank = bank();
        let lines = ["transfer ann bob 101", "transfer ann eve 1", "transfer eve ann 1", "top 9"];
        let wanted = [
            "error ann has less than 101",
            "error no account eve",
            "error no account eve",
            "ok ann 100, bob 50",
        ];
        assert_eq!(ask(&mut bank, &lines), wanted);
        assert!(bank.0.is_autocommit(), "no transaction is left open");
    }

    #[test]
    fn no_balance_overflows() {
        let mut bank = bank();
        let most = format!("deposit ann {MOST}");
        let wanted = format!("error ann would have more than {MOST}");
        assert_eq!(ask(&mut bank, &[&most]), [wanted.as_str()]);
        let lines = [
            "create rich",
            "deposit rich 1000000000000000",
            "transfer ann rich 1",
            "balance rich",
            "balance ann",
        ];
        let answers = ask(&mut bank, &lines);
        assert_eq!(
            answers[2..],
            ["error rich would have more than 1000000000000000", "ok 1000000000000000", "ok 100"]
        );
    }

    #[test]
    fn what_is_no_query_is_refused() {
        let too_long = format!("create {}", "x".repeat(LONGEST_NAME + 1));
        for line in [
            "",
            "balance",
            "create a b",
            "CREATE ann",
            "create 'ann'",
            "create ann;--",
            "create änn",
            &too_long,
        ] {
            assert!(matches!(Query::parse(line.as_bytes()), Query::Invalid(_)), "{line}");
        }
        for amount in ["0", "-1", "1.5", "1e3", "", "9223372036854775808", "1000000000000001", "0x10"] {
            let line = format!("deposit ann {amount}");
            assert!(matches!(Query::parse(line.as_bytes()), Query::Invalid(_)), "{line}");
        }
        for count in ["0", "101", "-1", "4294967297"] {
            assert!(matches!(Query::parse(format!("top {count}").as_bytes()), Query::Invalid(_)), "{count}");
        }
        assert!(matches!(Query::parse(b"balance \xff"), Query::Invalid(_)));
        assert_eq!(Query::parse(b"  transfer a-b C_9   7\r"), Query::Transfer("a-b".into(), "C_9".into(), 7));
    }

    /// Such a name cannot come from a client; if it did, it would be a name like any other.
    #[test]
    fn a_name_is_never_sql() {
        let mut bank = bank();
        let name = "x'); DROP TABLE accounts; --".to_owned();
        assert_eq!(bank.answer(&Query::Create(name.clone())), format!("ok {name}\n"));
        assert_eq!(ask(&mut bank, &["top 9"]), [format!("ok ann 100, bob 50, {name} 0")]);
    }

    /// As it does on a full disk: all statements succeed, and the commit does not.
    #[test]
    fn a_commit_that_fails_is_an_answer() {
        let mut bank = bank();
        let owing = "
            PRAGMA foreign_keys = ON;
            CREATE TABLE owing (name REFERENCES accounts DEFERRABLE INITIALLY DEFERRED);
            CREATE TRIGGER owe AFTER UPDATE ON accounts BEGIN INSERT INTO owing VALUES ('nobody'); END;";
        bank.0.execute_batch(owing).expect("a rule that is checked at the commit");
        let answers = ask(&mut bank, &["deposit ann 1", "transfer ann bob 1", "top 2"]);
        let failed = "error FOREIGN KEY constraint failed";
        assert_eq!(answers, [failed, failed, "ok ann 100, bob 50"]);
        assert!(bank.0.is_autocommit(), "no transaction is left open");
    }

    #[test]
    fn a_full_disk_is_an_answer_and_the_rest_goes_on() {
        let mut bank = bank();
        let pages: i64 = bank.0.query_row("PRAGMA page_count", [], |row| row.get(0)).expect("a number");
        bank.0.query_row("PRAGMA max_page_count = 4", [], |_| Ok(())).expect("a limit");
        let mut full = None;
        for number in 0..1_000 {
            let answer = ask(&mut bank, &[&format!("create a-long-name-of-an-account-{number}")]).remove(0);
            if answer.starts_with("error") {
                full = Some(answer);
                break;
            }
        }
        assert_eq!(full.as_deref(), Some("error database or disk is full"), "from {pages} pages to 4");
        assert_eq!(ask(&mut bank, &["transfer bob ann 1", "balance ann"]), ["ok 49", "ok 101"]);
    }
}
