//! Code on a page: what it quotes is in the file that it names, and both languages of a page show the same.

use std::path::Path;

use super::page::{Block, Page};
use super::script::{Shell, without_comment};

/// Stands for lines that are left out.
const LEFT_OUT: &str = "// …";

/// What is quoted wrongly, as `path:line: what`.
pub(super) fn quotes(root: &Path, page: &Page) -> Vec<String> {
    let mut findings = Vec::new();
    for block in page.blocks.iter().filter(|block| ["rust", "cpp"].contains(&block.language.as_str())) {
        let Some(path) = block.lines.first().and_then(|line| quoted_file(line)) else {
            // A README also has code of its own; C++ is not in any file of ours.
            if block.language == "rust" && page.path.starts_with("docs/") {
                let what = "the first line of `rust` is `// PATH`, the file that it is quoted from";
                findings.push(format!("{}:{}: {what}", page.path, block.line));
            }
            continue;
        };
        let Ok(text) = std::fs::read_to_string(root.join(path)) else {
            findings.push(format!("{}:{}: there is no `{path}`", page.path, block.line + 1));
            continue;
        };
        if let Some((line, what)) = first_difference(block, &text, page.is_korean()) {
            findings.push(format!("{}:{line}: `{what}` is not in {path}, at least not here", page.path));
        }
    }
    findings
}

/// The file that a block's first line names.
fn quoted_file(line: &str) -> Option<&str> {
    let path = line.trim().strip_prefix("// ")?;
    let is_path = path.contains('/') && path.contains('.') && !path.contains(char::is_whitespace);
    (is_path && !path.contains("://")).then_some(path)
}

/// The first line of a quotation that does not follow the one before it in the file, with its number in the page. Pages
/// in Korean may translate comments: only the code is compared.
fn first_difference<'b>(block: &'b Block, file: &str, korean: bool) -> Option<(usize, &'b str)> {
    let meant = |line: &str| if korean { code_of(line) } else { line.trim().to_owned() };
    let file: Vec<String> = file.lines().map(meant).filter(|line| !line.is_empty()).collect();
    let quoted: Vec<(usize, &str)> = block.numbered().skip(1).collect();
    let mut at = 0;
    for piece in quoted.split(|(_, line)| line.trim() == LEFT_OUT) {
        let piece: Vec<(usize, &str, String)> = piece
            .iter()
            .map(|(number, line)| (*number, *line, meant(line)))
            .filter(|(_, _, meant)| !meant.is_empty())
            .collect();
        // How many lines of the piece are found from each place on.
        let matching = |from: &usize| {
            piece.iter().zip(&file[*from..]).take_while(|((_, _, wanted), line)| wanted == *line).count()
        };
        let (found, from) = (at..=file.len())
            .map(|from| (matching(&from), from))
            .max_by_key(|(found, from)| (*found, usize::MAX - from))?;
        if let Some((number, line, _)) = piece.get(found) {
            return Some((*number, line.trim()));
        }
        at = from + found;
    }
    None
}

/// A line of code without its comment.
fn code_of(line: &str) -> String {
    let mut in_text = false;
    let mut before = ' ';
    for (at, char) in line.char_indices() {
        match char {
            '"' if before != '\\' && before != '\'' => in_text = !in_text,
            '/' if !in_text && line[at..].starts_with("//") => return line[..at].trim().to_owned(),
            _ => {}
        }
        before = char;
    }
    line.trim().to_owned()
}

/// What differs between a page and the same page in Korean, as `path:line: what`.
pub(super) fn same_blocks(page: &Page, korean: &Page) -> Vec<String> {
    let compared = |block: &&Block| {
        ["console", "powershell", "rust", "cpp", "mermaid"].contains(&block.language.as_str())
    };
    let (ours, theirs): (Vec<_>, Vec<_>) =
        (page.blocks.iter().filter(compared).collect(), korean.blocks.iter().filter(compared).collect());
    let mut findings: Vec<String> = ours
        .iter()
        .zip(&theirs)
        .filter_map(|(ours, theirs)| difference(page, ours, korean, theirs))
        .collect();
    if findings.is_empty() && ours.len() != theirs.len() {
        let what = format!("{} blocks here, {} in {}", theirs.len(), ours.len(), page.path);
        findings.push(format!("{}:1: {what}", korean.path));
    }
    // What follows one that is missing differs, too.
    findings.truncate(1);
    findings
}

fn difference(page: &Page, ours: &Block, korean: &Page, theirs: &Block) -> Option<String> {
    let place = |line| format!("{}:{line}: not as in {}:{}", korean.path, page.path, ours.line);
    if (&ours.language, &ours.words) != (&theirs.language, &theirs.words) {
        return Some(format!("{}: another kind of block", place(theirs.line)));
    }
    let (left, right) = (meant(ours), meant(theirs));
    let differs = (0..left.len().max(right.len()))
        .find(|at| left.get(*at).map(|(_, text)| text) != right.get(*at).map(|(_, text)| text))?;
    let shown = |lines: &[(usize, String)]| {
        lines.get(differs).map_or("nothing".to_owned(), |(_, text)| format!("`{text}`"))
    };
    let line = right.get(differs).map_or(theirs.line, |(line, _)| *line);
    Some(format!("{}: {} here, {} there", place(line), shown(&right), shown(&left)))
}

/// The lines of a block that are the same in every language: without comments, and nothing of a diagram, which has its
/// words everywhere.
fn meant(block: &Block) -> Vec<(usize, String)> {
    let shell = Shell::ALL.into_iter().find(|shell| shell.language() == block.language);
    let meant = |line: &str| match (block.language.as_str(), shell) {
        ("mermaid", _) => String::new(),
        (_, Some(shell)) if line.starts_with(shell.prompt()) => without_comment(line).to_owned(),
        (_, Some(_)) => line.trim_end().to_owned(),
        (_, None) => code_of(line),
    };
    let lines = block.numbered().map(|(number, line)| (number, meant(line)));
    lines.filter(|(_, text)| !text.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::super::page::page;
    use super::*;

    const FILE: &str = "// a file\nfn a() {\n    one(); // 1\n    two(\"// not a comment\");\n}\n\nfn b() {\n    one();\n    three();\n}\n";

    fn differs(quoted: &str, korean: bool) -> Option<(usize, String)> {
        let page = page(&format!("```rust\n// x/y.rs\n{quoted}\n```\n"));
        first_difference(&page.blocks[0], FILE, korean).map(|(line, text)| (line, text.to_owned()))
    }

    #[test]
    fn a_quotation_is_in_its_file() {
        assert_eq!(differs("one(); // 1\n\n  two(\"// not a comment\");", false), None);
        assert_eq!(differs("fn a() {\n    // …\n}\n\nfn b() {\n    one();\n// …", false), None);
        assert_eq!(differs("one(); // 하나\ntwo(\"// not a comment\");", true), None);
        assert_eq!(differs("fn b() {\n    one();\n    three();\n}", false), None);
    }

    #[test]
    fn what_is_not_there_is_named() {
        let wrong = |quoted| differs(quoted, false).map(|(line, _)| line);
        assert_eq!(wrong("one(); // 2"), Some(3));
        assert_eq!(wrong("fn a() {\n    two(\"// not a comment\");"), Some(4));
        assert_eq!(wrong("fn b() {\n// …\nfn a() {"), Some(5));
        assert_eq!(wrong("fn b() {\n    one();\n    two();\n"), Some(5));
    }

    #[test]
    fn code_that_names_no_file_is_found() {
        let quoted = |path: &str, text: &str| quotes(Path::new("/none"), &Page::parse(path, text).unwrap());
        for first in ["let a = 1;", "// crates/a/b.rs (excerpt)"] {
            let findings = quoted("docs/page.md", &format!("```rust\n{first}\n```\n"));
            assert!(matches!(&findings[..], [one] if one.starts_with("docs/page.md:1: ")), "{findings:?}");
        }
        assert!(quoted("README.md", "```rust\nlet a = 1;\n```\n").is_empty());
        assert!(quoted("docs/page.md", "```cpp\nint a;\n```\n").is_empty());
    }

    #[test]
    fn a_first_line_names_a_file_or_not() {
        assert_eq!(quoted_file("// crates/a/b.rs"), Some("crates/a/b.rs"));
        for line in ["// see crates/a/b.rs", "// https://a.b/c", "let a = 1;", "// …"] {
            assert_eq!(quoted_file(line), None, "{line}");
        }
    }

    #[test]
    fn languages_differ_in_comments_alone() {
        let english =
            page("```console\n$ a   # one\nb\n```\n```rust\nx(); // one\n```\n```mermaid\none\n```\n");
        let same = page("```console\n$ a # 하나\nb\n```\n");
        let korean =
            page("```console\n$ a   # 하나\nb\n```\n```rust\n// 하나\nx();\n```\n```mermaid\n하나\n```\n");
        assert_eq!(same_blocks(&english, &korean), Vec::<String>::new());
        assert_eq!(same_blocks(&english, &same).len(), 1, "a comment begins after two spaces");
    }

    #[test]
    fn what_differs_is_named() {
        let english = page("```console\n$ a\nb\n```\n\n```rust\nx();\n```\n");
        for (korean, line) in [
            ("```console\n$ a\nc\n```\n\n```rust\nx();\n```\n", 3),
            ("```console\n$ a\nb\n```\n\n```rust\ny();\n```\n", 7),
            ("```console\n$ a\n```\n\n```rust\nx();\n```\n", 1),
            ("```console terminal=2\n$ a\nb\n```\n\n```rust\nx();\n```\n", 1),
            ("```console\n$ a\nb\n```\n", 1),
        ] {
            let findings = same_blocks(&english, &page(korean));
            assert!(
                matches!(&findings[..], [one] if one.starts_with(&format!("page.md:{line}: "))),
                "{findings:?}"
            );
        }
    }
}
