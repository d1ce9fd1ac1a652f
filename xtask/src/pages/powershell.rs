//! The commands of PowerShell that a page may show where this test has no PowerShell: starts of programs that the
//! workspace builds, with plain arguments.

use super::script::{Step, Typed, without_comment};

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

/// What is wrong with the commands of a page, each with its line: those that cannot be started here, and programs that
/// none of the page's builds makes. Here they are all built before, and in one place.
pub(super) fn wrong(steps: &[Step]) -> Vec<(usize, String)> {
    let mut findings = Vec::new();
    let mut built = Vec::new();
    for step in steps {
        let Typed::Command(command) = &step.typed else { continue };
        let what = match start(command) {
            Ok(Start::Build) => products(command).map(|products| built.extend(products)),
            Ok(Start::Program { .. }) => is_built(command, &built),
            Err(what) => Err(what),
        };
        findings.extend(what.err().map(|what| (step.line, what)));
    }
    findings
}

/// What `cargo build` makes, as paths below `target`. One that ends with `/` stands for all in that folder.
fn products(command: &str) -> Result<Vec<String>, String> {
    let words = words(without_comment(command))?;
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let profile = if words.contains(&"--release") { "release" } else { "debug" };
    let (mut package, mut products) = ("overlapped", Vec::new());
    let mut options = words[2..].iter();
    while let Some(option) = options.next() {
        match *option {
            "--release" | "--quiet" | "-q" | "--locked" => {}
            "--examples" => products.push("examples/".to_owned()),
            "--example" | "-p" | "--package" => match (*option, options.next()) {
                ("--example", Some(name)) => products.push(format!("examples/{name}.exe")),
                (_, Some(&"overlapped-cli")) => {}
                (_, Some(name)) => package = name,
                (_, None) => return Err(format!("`{option}` of what?")),
            },
            option => return Err(format!("`cargo build {option}`")),
        }
    }
    if products.is_empty() {
        products.push(format!("{package}.exe"));
    }
    Ok(products.into_iter().map(|product| format!("{profile}/{product}")).collect())
}

/// Whether a program of a command was built. `cargo run` builds it itself.
fn is_built(command: &str, built: &[String]) -> Result<(), String> {
    let path = command.split(' ').next().unwrap_or_default().replace('\\', "/");
    let Some((_, path)) = path.split_once("target/") else { return Ok(()) };
    let makes = |product: &String| product == path || product.ends_with('/') && path.starts_with(product);
    if built.iter().any(makes) { Ok(()) } else { Err(format!("no command before this one builds `{path}`")) }
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
    use super::super::page::page;
    use super::super::script::{Shell, steps};
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
    fn a_program_that_no_command_builds_is_found() {
        let wrong = |text: &str| {
            let page = page(&format!("```powershell\n{text}\n```\n"));
            wrong(&steps(&page, Shell::PowerShell).unwrap()).into_iter().map(|(line, _)| line).collect()
        };
        let found: Vec<usize> = wrong(
            "PS> cargo build --release   # minutes\nPS> .\\target\\release\\overlapped.exe\nPS> .\\target\\debug\\overlapped.exe",
        );
        assert_eq!(found, [4]);
        let found: Vec<usize> = wrong(
            "PS> cargo build --example a --example b\nPS> .\\target\\debug\\examples\\b.exe x\nPS> .\\target\\debug\\examples\\c.exe\nPS> cargo build --examples\nPS> .\\target\\debug\\examples\\c.exe",
        );
        assert_eq!(found, [4]);
        let found: Vec<usize> = wrong(
            "PS> .\\target\\debug\\jobs.exe\nPS> cargo build -p jobs\nPS> .\\target\\debug\\jobs.exe\nPS> cargo build --exampels\nPS> cargo run -p x",
        );
        assert_eq!(found, [2, 5]);
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
