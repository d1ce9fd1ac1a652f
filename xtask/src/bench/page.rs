//! The generated parts of `docs/benchmarks.md`. Each stands between two comments, which name its kind and the processor
//! that its figures are from: a run replaces the part of its own processor, or adds one.

use std::path::Path;

use crate::bounded::Failure;

pub(super) const PAGE: &str = "docs/benchmarks.md";
/// Where the page's pictures are.
pub(super) const PICTURES: &str = "docs/benchmarks";

/// Writes a part into the page.
pub(super) fn write(root: &Path, kind: &str, processor: &str, part: &str) -> Result<(), Failure> {
    let file = root.join(PAGE);
    let failed = |error: std::io::Error| format!("{}: {error}", file.display());
    let page = std::fs::read_to_string(&file).map_err(failed)?;
    let page = with_part(&page, kind, processor, part)?;
    std::fs::write(&file, page).map_err(failed)
}

fn with_part(page: &str, kind: &str, processor: &str, part: &str) -> Result<String, Failure> {
    let (begin, end) = (format!("<!-- begin {kind}: {processor} -->\n"), format!("<!-- end {kind} -->\n"));
    let section = format!("{begin}\n{}\n\n{end}", part.trim_end());
    if let Some((before, rest)) = page.split_once(&begin) {
        let (_, after) = rest
            .split_once(&end)
            .ok_or_else(|| format!("{PAGE}: `{}` has no `{}`", begin.trim_end(), end.trim_end()))?;
        return Ok(format!("{before}{section}{after}"));
    }
    let others = format!("<!-- more {kind} -->\n");
    let (before, after) = page.split_once(&others).ok_or_else(|| {
        format!("{PAGE}: there is no line `{}`, above which the part belongs", others.trim_end())
    })?;
    // What says that there are no figures yet.
    let none = format!("<!-- none {kind} -->\n");
    let before = before.split_once(&none).map_or(before, |(before, _)| before);
    Ok(format!("{before}{section}\n{others}{after}"))
}

/// A file name's part: `amd-epyc-family-25-model-1`.
pub(super) fn slug(text: &str) -> String {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.map(str::to_lowercase).collect::<Vec<_>>().join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "# Head\n\n<!-- none table -->\nNo figures yet.\n<!-- more table -->\n\n## Next\n";

    #[test]
    fn a_part_is_added_then_replaced_and_others_stay() {
        let one = with_part(EMPTY, "table", "A, family 1", "first\n").unwrap();
        let wanted = "# Head\n\n<!-- begin table: A, family 1 -->\n\nfirst\n\n<!-- end table -->\n\n<!-- more table -->\n\n## Next\n";
        assert_eq!(one, wanted);
        let two = with_part(&one, "table", "B, family 2", "second").unwrap();
        assert!(two.contains("first") && two.contains("second"));
        let again = with_part(&two, "table", "A, family 1", "third").unwrap();
        assert_eq!(again, two.replace("first", "third"));
    }

    #[test]
    fn a_page_without_its_place_is_refused() {
        let error = with_part("# Head\n", "table", "A", "x").unwrap_err();
        assert!(error.contains("there is no line `<!-- more table -->`"), "{error}");
        let error = with_part("<!-- begin table: A -->\n", "table", "A", "x").unwrap_err();
        assert!(error.contains("has no `<!-- end table -->`"), "{error}");
    }

    #[test]
    fn names_become_file_names() {
        assert_eq!(slug("AMD EPYC, family 25 model 1"), "amd-epyc-family-25-model-1");
        assert_eq!(slug("Intel(R) Xeon(R) @ 2.0GHz"), "intel-r-xeon-r-2-0ghz");
    }
}
