//! What only a console of Windows can ask of the program.

use std::os::windows::process::CommandExt;

use crate::peer::{dial, exchange};
use crate::server::{Server, Summary, serve};

/// `CREATE_NEW_PROCESS_GROUP`: its number is the process's, and Ctrl-Break can be sent to it alone.
const NEW_PROCESS_GROUP: u32 = 0x0000_0200;

/// Ctrl-Break drains, as Ctrl-C does.
#[test]
#[ignore = "under Wine 8 `GenerateConsoleCtrlEvent` fails on every console; run on Windows"]
fn ctrl_break_drains() {
    let mut command = serve("iocp", &["--workers", "2"]);
    command.creation_flags(NEW_PROCESS_GROUP);
    let server = Server::launch(command).unwrap_or_else(|ended| panic!("no server: {ended:?}"));
    let mut client = dial(server.address());
    exchange(&mut client, b"before the end");
    proactor::console::send_break(server.pid()).expect("it is a process group of this console");
    let ended = server.wait();
    assert_eq!(ended.status, Some(0), "{ended:?}");
    let wanted = Summary { sessions: 1, bytes: 14, drained: 1, cut: 0, lost: 0 };
    assert_eq!(Summary::of(&ended), wanted, "{ended:?}");
}
