//! Both versions of the lesson's server, with several clients at once, as a reader of the lesson runs them.

mod reader;

use overlapped_testing::Example;
use reader::serves_everybody;

#[test]
fn on_proactor() {
    serves_everybody(&Example::start("lesson_echo", &[]));
}

#[cfg(windows)]
#[test]
fn on_win32_calls() {
    serves_everybody(&Example::start("lesson_iocp_echo", &[]));
}

#[cfg(not(windows))]
#[test]
fn on_win32_calls() {
    let ended = Example::command("lesson_iocp_echo").output().expect("it starts");
    assert_eq!(ended.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&ended.stderr).contains("lesson_echo"), "{ended:?}");
}
