//! The pages that exist in English and in Korean have the same structure (their code is compared by `cargo xtask pages`).
//! The Korean ones use the words of the lesson, and none that reads as translated.

macro_rules! page {
    ($name:literal) => {
        (
            $name,
            include_str!(concat!("../../../", $name, ".md")),
            include_str!(concat!("../../../", $name, ".ko.md")),
        )
    };
}

/// Pages in both languages: name, English, Korean.
const PAGES: [(&str, &str, &str); 6] = [
    page!("README"),
    page!("docs/lesson"),
    page!("docs/rust-for-cpp"),
    page!("docs/course"),
    page!("docs/pitfalls"),
    page!("docs/ownership-of-buffers"),
];
const README_KO: &str = include_str!("../../../README.ko.md");
const README: &str = include_str!("../../../README.md");
const LESSON_PROGRAM: &str = include_str!("../examples/lesson_iocp_echo.rs");

/// The title of the lesson, and the words that a reader of it searches for.
const TITLE: &str = "22주차: IOCP 에코 서버 구현";
const WORDS: [&str; 17] = [
    "WSASocket",
    "WSARecv",
    "WSASend",
    "완료 키(Completion Key)",
    "CreateIoCompletionPort",
    "GetQueuedCompletionStatus",
    "Use-After-Free",
    "is_recv",
    "지역 변수",
    "OVERLAPPED",
    "참조 카운팅(Reference Counting)",
    "delete session",
    "01_iocp_echo",
    "02_EchoClient",
    "02_iocp_pitfalls",
    "03_iocp_raii",
    "build_cmake.bat",
];

/// Wordings that were replaced, and by what.
const REPLACED: [(&str, &str); 13] = [
    ("배압", "백프레셔"),
    ("합류", "join"),
    ("진행 중인 연산 0", "진행 중인 연산이 0이 될 때까지 대기"),
    ("밖으로 거는", "아웃바운드"),
    ("닿을 수 있", "접근할 수 있"),
    ("가운데 하나", "중 하나"),
    ("그 자리에서 끝", "즉시 종료"),
    ("똑같이 움직", "동일하게 동작"),
    ("기계에서", "머신에서"),
    ("시간 제한", "타임아웃"),
    ("종단 간", "E2E"),
    ("아래층", "하위 계층"),
    ("위층", "상위 계층"),
];

/// One line of a page, and the fenced block that it is in: its info string.
fn lines(text: &str) -> impl Iterator<Item = (Option<&str>, &str)> {
    let mut block = None;
    text.lines().filter_map(move |line| {
        if let Some(info) = line.strip_prefix("```") {
            block = if block.is_some() { None } else { Some(info) };
            return None;
        }
        Some((block, line))
    })
}

/// The levels of the headings, in their order.
fn headings(text: &str) -> Vec<usize> {
    let outside = lines(text).filter(|(block, line)| block.is_none() && line.starts_with('#'));
    outside.map(|(_, line)| line.bytes().take_while(|&byte| byte == b'#').count()).collect()
}

/// How many rows each table has.
fn tables(text: &str) -> Vec<usize> {
    let mut sizes = vec![0];
    for (_, line) in lines(text).filter(|(block, _)| block.is_none()) {
        match (line.starts_with('|'), sizes.last_mut()) {
            (true, Some(rows)) => *rows += 1,
            (false, Some(0)) => {}
            _ => sizes.push(0),
        }
    }
    sizes
}

#[test]
fn both_languages_have_the_same_structure() {
    for (page, english, korean) in PAGES {
        assert!(headings(english).len() > 2, "{page}");
        assert_eq!(headings(english), headings(korean), "{page}: headings");
        assert_eq!(tables(english), tables(korean), "{page}: rows of tables");
    }
}

/// A Korean page leads to the Korean version of each page that has one.
#[test]
fn korean_pages_lead_to_korean_pages() {
    let pages = ["lesson", "rust-for-cpp", "course", "ownership-of-buffers", "pitfalls"];
    for page in pages {
        assert!(README_KO.contains(&format!("(docs/{page}.ko.md)")), "README.ko.md: {page}");
        assert!(README.contains(&format!("(docs/{page}.md)")), "README.md: {page}");
    }
    for (page, english, korean) in PAGES {
        let name = page.rsplit('/').next().unwrap_or(page);
        assert!(english.contains(&format!("한국어: [{name}.ko.md]({name}.ko.md)")), "{page}");
        assert!(korean.contains(&format!("English: [{name}.md]({name}.md)")), "{page}");
        for other in pages.into_iter().filter(|&other| other != name) {
            let english_only = [format!("({other}.md"), format!("(docs/{other}.md")];
            assert!(
                !english_only.iter().any(|link| korean.contains(link)),
                "{page}: English link to {other}"
            );
        }
    }
}

#[test]
fn the_words_of_the_lesson_are_found() {
    for text in [README, README_KO] {
        assert!(text.contains(TITLE));
    }
    for word in WORDS {
        assert!(README_KO.contains(word), "README.ko.md: {word}");
    }
    // Words that are no Korean.
    for word in WORDS.into_iter().filter(|word| word.is_ascii()) {
        assert!(README.contains(word), "README.md: {word}");
    }
}

#[test]
fn no_wording_that_was_replaced_returns() {
    let pages = PAGES.map(|(page, _, korean)| (page, korean));
    let pitfalls = ("docs/pitfalls", include_str!("../../../docs/pitfalls.ko.md"));
    for (page, text) in pages.into_iter().chain([pitfalls]) {
        for (old, better) in REPLACED {
            assert!(!text.contains(old), "{page}.ko.md: {old:?}: write {better:?}");
        }
    }
}

/// `docs/rust-for-cpp.md` goes through all steps of the program.
#[test]
fn all_steps_of_the_lessons_program_are_explained() {
    let (page, english, _) = page!("docs/rust-for-cpp");
    for step in 1..=9 {
        assert!(LESSON_PROGRAM.contains(&format!("Step {step}: ")), "the program: step {step}");
        assert!(english.contains(&format!("Step {step}: ")), "{page}: step {step}");
    }
}
