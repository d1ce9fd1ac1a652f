//! The lesson's program, both of them, run as its reader would.

mod reader;

use reader::Lesson;

#[test]
fn on_proactor() {
    Lesson::start("lesson_echo").serves_everybody();
}

#[cfg(windows)]
#[test]
fn on_win32_calls() {
    Lesson::start("lesson_iocp_echo").serves_everybody();
}

#[cfg(not(windows))]
#[test]
fn on_win32_calls() {
    let ended = reader::program("lesson_iocp_echo").output().expect("it starts");
    assert_eq!(ended.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&ended.stderr).contains("lesson_echo"), "{ended:?}");
}
