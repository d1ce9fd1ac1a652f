//! The commands of PowerShell that a page may show where this test has no PowerShell: starts of programs that the
//! workspace builds, with plain arguments.

use super::script::without_comment;

/// What a command comes to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// `cargo build …`: done before, with the toolchain for Windows.
    Build,
    /// A program below the folder of the build (`overlapped.exe`, `examples/echo.exe`), and its arguments.
    Program { path: String, args: Vec<String> },
}

/// What a command means, as far as it is such a start.
///
/// # Errors
/// What else it is.
pub(super) fn start(command: &str) -> Result<Start, String> {
    let words = words(without_comment(command))?;
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["cargo", "build", ..] => Ok(Start::Build),
        ["cargo", "run", ref args @ ..] => run(args),
        [program, ref args @ ..] => {
            let path = program.strip_prefix(r".\").unwrap_or(program).strip_prefix(r"target\");
            let path = path.and_then(|path| path.strip_prefix(r"release\").or(path.strip_prefix(r"debug\")));
            let path = path.filter(|path| path.ends_with(".exe"));
            let path =
                path.ok_or_else(|| format!(r"`{program}`: only `cargo` and `.\target\release\NAME.exe`"))?;
            Ok(Start::Program { path: path.replace('\\', "/"), args: owned(args) })
        }
        [] => Err("an empty command".into()),
    }
}

/// `cargo run` builds and starts: an example, a program, or the one of a package.
fn run(args: &[&str]) -> Result<Start, String> {
    let end = args.iter().position(|arg| *arg == "--").unwrap_or(args.len());
    let (options, rest) = args.split_at(end);
    let (mut package, mut program) = ("overlapped", None);
    let mut options = options.iter();
    while let Some(option) = options.next() {
        if ["--release", "--quiet", "-q", "--locked"].contains(option) {
            continue;
        }
        match (*option, options.next()) {
            ("--example", Some(name)) => program = Some(format!("examples/{name}.exe")),
            ("--bin", Some(name)) => program = Some(format!("{name}.exe")),
            ("-p" | "--package", Some(&"overlapped-cli")) => {}
            ("-p" | "--package", Some(name)) => package = name,
            _ => return Err(format!("`cargo run {option}`")),
        }
    }
    let path = program.unwrap_or_else(|| format!("{package}.exe"));
    Ok(Start::Program { path, args: owned(rest.get(1..).unwrap_or_default()) })
}

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// Words with quotes around some of them; nothing that PowerShell would do more with.
fn words(command: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for char in command.chars() {
        match (quote, char) {
            (Some(end), _) if char == end => quote = None,
            (None, '\'' | '"') => {
                quote = Some(char);
                word.get_or_insert_default();
            }
            (None, ' ') => words.extend(word.take()),
            (None, '|' | ';' | '&' | '(' | ')' | '{' | '}' | '<' | '>') | (None | Some('"'), '$' | '`') => {
                return Err(format!("`{char}` means something to PowerShell, which this test does not have"));
            }
            _ => word.get_or_insert_default().push(char),
        }
    }
    words.extend(word);
    if quote.is_some() { Err("a quote has no end".into()) } else { Ok(words) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(path: &str, args: &[&str]) -> Start {
        Start::Program { path: path.into(), args: owned(args) }
    }

    #[test]
    fn programs_of_the_workspace_are_started() {
        for (command, wanted) in [
            ("cargo build --release   # minutes", Start::Build),
            (r".\target\release\overlapped.exe serve -v", program("overlapped.exe", &["serve", "-v"])),
            (r".\target\debug\examples\chat.exe 'a b' ''", program("examples/chat.exe", &["a b", ""])),
            ("cargo run --release -- serve", program("overlapped.exe", &["serve"])),
            ("cargo run --release -p jobs-sqlite --bin jobs -- -- x", program("jobs.exe", &["--", "x"])),
            ("cargo run -p jobs-sqlite", program("jobs-sqlite.exe", &[])),
            ("cargo run --example echo", program("examples/echo.exe", &[])),
        ] {
            assert_eq!(start(command).as_ref(), Ok(&wanted), "{command}");
        }
    }

    #[test]
    fn what_needs_powershell_is_refused() {
        for command in [
            "Get-Content lines | x.exe",
            r".\target\release\overlapped.exe client > lines",
            "$env:X = 1",
            "cargo run --weird",
            "cargo run --example",
            "ls",
            "'a",
            "",
        ] {
            assert!(start(command).is_err(), "{command}");
        }
    }
}
