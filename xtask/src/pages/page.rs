//! A page of documentation, and its fenced blocks.

use std::path::Path;

/// A page, with the path that its readers know: from the workspace's root.
pub(super) struct Page {
    pub(super) path: String,
    pub(super) text: String,
    pub(super) blocks: Vec<Block>,
}

/// What stands between two fences.
pub(super) struct Block {
    /// Of the opening fence, from 1.
    pub(super) line: usize,
    /// The first word after the fence; empty if there is none.
    pub(super) language: String,
    /// The other words: `terminal=2`, `not-run`.
    pub(super) words: Vec<String>,
    /// Without the indentation of the fence.
    pub(super) lines: Vec<String>,
}

/// A fence: its character, how many of them, and the spaces before it.
struct Fence {
    character: char,
    length: usize,
    indent: usize,
}

impl Page {
    pub(super) fn read(root: &Path, path: &str) -> Result<Page, String> {
        let text = std::fs::read_to_string(root.join(path)).map_err(|error| format!("{path}: {error}"))?;
        Page::parse(path, &text)
    }

    /// # Errors
    /// If a block has no end.
    pub(super) fn parse(path: &str, text: &str) -> Result<Page, String> {
        let mut blocks = Vec::new();
        let mut open: Option<(Fence, Block)> = None;
        for (at, line) in text.lines().enumerate() {
            match &mut open {
                Some((fence, _)) if fence.is_ended_by(line) => {
                    blocks.extend(open.take().map(|(_, block)| block));
                }
                Some((fence, block)) => block.lines.push(without_indent(line, fence.indent)),
                None => open = Fence::of(line).map(|(fence, info)| (fence, Block::of(at + 1, info))),
            }
        }
        if let Some((_, block)) = open {
            return Err(format!("{path}:{}: this block has no end", block.line));
        }
        Ok(Page { path: path.to_owned(), text: text.to_owned(), blocks })
    }

    /// The page in Korean.
    pub(super) fn is_korean(&self) -> bool {
        self.path.ends_with(".ko.md")
    }

    /// The page's text, with the lines of blocks emptied: what is left is prose, on the lines where it stands.
    pub(super) fn prose(&self) -> Vec<&str> {
        let mut lines: Vec<&str> = self.text.lines().collect();
        for block in &self.blocks {
            // With both fences.
            for line in &mut lines[block.line - 1..=block.line + block.lines.len()] {
                *line = "";
            }
        }
        lines
    }
}

impl Block {
    fn of(line: usize, info: &str) -> Block {
        let mut words = info.split_whitespace().map(str::to_owned);
        Block { line, language: words.next().unwrap_or_default(), words: words.collect(), lines: Vec::new() }
    }

    pub(super) fn has(&self, word: &str) -> bool {
        self.words.iter().any(|other| other == word)
    }

    /// Its lines with their numbers in the page.
    pub(super) fn numbered(&self) -> impl Iterator<Item = (usize, &str)> {
        self.lines.iter().enumerate().map(|(at, line)| (self.line + 1 + at, line.as_str()))
    }
}

impl Fence {
    /// The fence that a line opens, and what stands behind it.
    fn of(line: &str) -> Option<(Fence, &str)> {
        let text = line.trim_start();
        let character = text.chars().next().filter(|char| ['`', '~'].contains(char))?;
        let info = text.trim_start_matches(character);
        let fence = Fence { character, length: text.len() - info.len(), indent: line.len() - text.len() };
        // A span of code may begin a line, too.
        (fence.length >= 3 && !info.contains('`')).then_some((fence, info))
    }

    fn is_ended_by(&self, line: &str) -> bool {
        let text = line.trim();
        text.len() >= self.length && text.chars().all(|char| char == self.character)
    }
}

fn without_indent(line: &str, indent: usize) -> String {
    let spaces = line.len() - line.trim_start_matches(' ').len();
    line[spaces.min(indent)..].to_owned()
}

/// A page of a test. What its author indents is not a part of it.
#[cfg(test)]
pub(super) fn page(text: &str) -> Page {
    Page::parse("page.md", text).expect("its blocks end")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_have_lines_and_words() {
        let page = page(
            "a\n\n```console terminal=2 not-run\n$ ls\n```\n\n* b\n\n  ~~~~rust\n  x\n    ~~~\n  ~~~~\n",
        );
        assert_eq!(page.blocks.len(), 2);
        let [first, second] = &page.blocks[..] else { unreachable!() };
        assert_eq!((first.line, first.language.as_str()), (3, "console"));
        assert!(first.has("terminal=2") && first.has("not-run") && !first.has("console"));
        assert_eq!(first.numbered().collect::<Vec<_>>(), [(4, "$ ls")]);
        assert_eq!(second.language, "rust");
        assert_eq!(second.lines, ["x", "  ~~~"]);
    }

    #[test]
    fn code_in_a_sentence_opens_no_block() {
        assert!(page("```x``` is code\n``y``\n").blocks.is_empty());
    }

    #[test]
    fn a_block_without_an_end_is_named() {
        let error = Page::parse("page.md", "\n```rust\nx\n").err().expect("no end");
        assert!(error.starts_with("page.md:2: "), "{error}");
    }

    #[test]
    fn prose_keeps_its_lines() {
        let page = page("a\n```\n[x](y)\n```\nb\n");
        assert_eq!(page.prose(), ["a", "", "", "", "b"]);
    }
}
