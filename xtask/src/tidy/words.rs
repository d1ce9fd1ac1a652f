//! Words that this project does not use: metaphors and old-fashioned phrases that a reader has to translate.

use super::source::Tree;

/// What is found, and what to write.
const RETIRED: &[(&str, &str)] = &[
    ("weather", "shortage, retry"),
    ("told to whoever", "reported to"),
    ("stranger", "another connection"),
    ("strangers", "other connections"),
    ("storey", "layer"),
    ("storeys", "layers"),
    ("house", "the project, the code"),
    ("museum", "pitfalls"),
    ("traveller", "the thing itself"),
    ("temper", "behaviour"),
    ("tempers", "behaviours"),
    ("wall", "boundary"),
    ("so many", "a number"),
    ("so long", "a duration"),
    ("imagined", "simulated"),
];

/// Where a word is a term of the field, or text of somebody else.
const ALLOWED: &[&str] = &["wall clock", "wall_clock", "in-house"];

/// The list itself.
const HERE: &str = "xtask/src/tidy/words.rs";

pub(super) fn check(tree: &Tree) -> Vec<String> {
    let sources = tree.sources.iter().map(|source| (&source.path, &source.text));
    let pages = tree.pages.iter().map(|page| (&page.path, &page.text));
    sources
        .chain(pages)
        .filter(|(path, _)| *path != HERE)
        .flat_map(|(path, text)| in_text(path, text))
        .collect()
}

fn in_text(path: &str, text: &str) -> Vec<String> {
    let mut findings = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = ALLOWED.iter().fold(line.to_lowercase(), |line, allowed| line.replace(allowed, ""));
        for (word, better) in RETIRED.iter().filter(|(word, _)| has_word(&line, word)) {
            findings.push(format!("{path}:{}: `{word}`: write {better}", number + 1));
        }
    }
    findings
}

/// Whether it stands there as a word, or as a part of a name (`the_house`).
fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        ![before, after].into_iter().flatten().any(char::is_alphanumeric)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_alone_and_in_names() {
        for line in ["the house", "House.", "fn house_of()", "in_house: bool"] {
            assert_eq!(in_text("x.rs", line).len(), 1, "{line}");
        }
        for line in ["a warehouse", "households", "the wall clock", "wallpaper", "도움"] {
            assert_eq!(in_text("x.rs", line), Vec::<String>::new(), "{line}");
        }
    }
}
