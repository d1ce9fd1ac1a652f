//! `docs/lesson.md` and `docs/lesson.ko.md` have every term of the lesson, and name exhibits, solutions and files that
//! exist. `readmes.rs` compares their structure.

use std::collections::BTreeSet;

use overlapped_pitfalls::Exhibit;

const KOREAN: &str = include_str!("../../../docs/lesson.ko.md");
const ENGLISH: &str = include_str!("../../../docs/lesson.md");
const PAGES: [(&str, &str); 2] = [("docs/lesson.md", ENGLISH), ("docs/lesson.ko.md", KOREAN)];

/// What a learner may search for: the terms, names and programs of the lesson, as they are written there.
const TERMS: &[&str] = &[
    // Terms and aims.
    "IOCP",
    "WSASocket",
    "Overlapped 속성",
    "WSARecv / WSASend",
    "비동기 송수신",
    "비동기 입출력",
    "비동기 작업",
    "고성능 소켓",
    "즉시 리턴",
    "비동기 읽기",
    "Completion Key",
    "완료 키",
    "식별표",
    "꼬리표",
    "Reference Counting",
    "참조 카운팅",
    "수명 관리",
    "세션 관리",
    "OVERLAPPED 구조체 확장",
    "확장된 Overlapped 구조체",
    "세션 종료",
    // Pitfalls.
    "자주 하는 실수",
    "Use-After-Free",
    "delete session",
    "크래시",
    "WSASend 버퍼 유지",
    "지역 변수",
    "Local Variable",
    "보충 자료",
    "src/02_iocp_pitfalls.cpp",
    // The structure.
    "완료 통지",
    "LPOVERLAPPED",
    "구조체 상속",
    "포함",
    "C 스타일 캐스팅",
    "is_recv",
    // The flow and its diagram.
    "Accept",
    "메인 쓰레드",
    "메인 스레드",
    "CreateIoCompletionPort",
    "소켓 등록",
    "Completion Queue",
    "완료 큐",
    "IOCP 큐",
    "완료 패킷",
    "Worker Thread",
    "워커 스레드",
    "GetQueuedCompletionStatus",
    "에코",
    "closesocket",
    "mermaid",
    "Associate Socket",
    "Data Arrived",
    "Process Packet",
    "Echo Back",
    "Client Disconnected",
    "Close Socket",
    "Release Session",
    // The guide.
    "동시 접속",
    "build_cmake.bat",
    "setup_env.bat",
    "CMake",
    "powershell",
    "01_iocp_echo",
    "02_EchoClient",
    "02_iocp_pitfalls",
    "03_iocp_raii",
    "메모리 오류",
    "9999",
    // What its neighbours add.
    "PostQueuedCompletionStatus",
    "블로킹",
    "백프레셔",
    "타임아웃",
];

/// The names of systems that the table maps to each other.
const NAMES: &[&str] = &[
    "user_data",
    "io_uring_setup",
    "io_uring_enter",
    "WSA_FLAG_OVERLAPPED",
    "WSA_IO_PENDING",
    "FILE_SKIP_COMPLETION_PORT_ON_SUCCESS",
    "ERROR_NETNAME_DELETED",
    "ECONNRESET",
    "CancelIoEx",
    "ASYNC_CANCEL",
    "AcceptEx",
    "multishot",
    "WSABUF",
    "iovec",
    "WSAStartup",
    "eventfd",
    "CQE",
];

#[test]
fn every_term_of_the_lesson_is_found_in_korean() {
    let shown = KOREAN.replace('`', "");
    let missing: Vec<_> = TERMS.iter().filter(|term| !shown.contains(**term)).collect();
    assert!(missing.is_empty(), "not in docs/lesson.ko.md: {missing:?}");
}

#[test]
fn every_name_is_mapped_in_both_languages() {
    for (page, text) in PAGES {
        let rows: Vec<_> = text.lines().filter(|line| line.starts_with("| ")).collect();
        let missing: Vec<_> =
            NAMES.iter().filter(|name| !rows.iter().any(|row| row.contains(**name))).collect();
        assert!(missing.is_empty(), "in no table of {page}: {missing:?}");
    }
}

/// What stands behind `prefix`, up to the first character that belongs to no name.
fn names_after<'a>(text: &'a str, prefix: &str) -> BTreeSet<&'a str> {
    let belongs = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let found = text.split(prefix).skip(1).map(str::trim_start);
    let names = found.map(|rest| &rest[..rest.find(|c| !belongs(c)).unwrap_or(rest.len())]);
    names.filter(|name| !name.is_empty() && !name.starts_with('-')).collect()
}

#[test]
fn exhibits_that_the_pages_name_exist() {
    for (page, text) in PAGES {
        let named = names_after(text, "overlapped pitfalls");
        let exe = names_after(text, "overlapped.exe pitfalls");
        for wanted in ["use-after-free", "send-buffer", "overlapped-reuse", "unchecked-result"] {
            assert!(named.contains(wanted) && exe.contains(wanted), "{page}: {wanted} on both systems");
        }
        for name in named.union(&exe) {
            assert!(Exhibit::find(name).is_some(), "{page}: there is no exhibit {name}");
        }
    }
}

#[cfg(unix)]
fn repository() -> &'static std::path::Path {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("the repository")
}

/// Each exercise that has a solution names it, in order.
#[cfg(unix)]
#[test]
fn solutions_are_named_and_exist() {
    let folder = repository().join("crates/overlapped/examples/solutions");
    let files = std::fs::read_dir(folder).expect("the solutions");
    let mut files: Vec<_> =
        files.map(|file| file.expect("listed").file_name().into_string().unwrap()).collect();
    files.sort();
    files.retain(|file| file.starts_with("solution_"));
    assert!(files.len() >= 6);
    for (page, text) in PAGES {
        let named = text.split("`solution_").skip(1).map(|rest| rest.split('`').next().unwrap_or_default());
        let named: Vec<_> = named.map(|rest| format!("solution_{rest}")).collect();
        assert_eq!(named, files, "{page}");
    }
}

/// Paths in the table of names are those of files.
#[cfg(unix)]
#[test]
fn files_that_the_pages_name_exist() {
    for (page, text) in PAGES {
        let paths = text.split('`').filter(|part| part.ends_with(".rs") && part.contains('/'));
        let paths: BTreeSet<_> = paths.filter(|part| !part.contains(' ')).collect();
        assert!(paths.len() > 20, "{page}: {paths:?}");
        for path in paths {
            let places = ["crates/proactor/src", "crates/proactor/src/backend", ""];
            let exists = places.iter().any(|place| repository().join(place).join(path).is_file());
            assert!(exists, "{page}: there is no {path}");
        }
    }
}
