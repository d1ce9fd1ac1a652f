//! The examples' own tests, which are in their files: `cargo test` builds an example as a program or as a test, not both,
//! and the other tests here run the programs.
#![allow(dead_code, reason = "nobody calls their `main`")]

#[path = "../../examples/broadcast.rs"]
mod broadcast;
#[path = "../../examples/chat.rs"]
mod chat;
#[path = "../../examples/chat_server.rs"]
mod chat_server;
#[path = "../../examples/dummy_clients.rs"]
mod dummy_clients;
#[path = "../../examples/echo.rs"]
mod echo;
#[path = "../../examples/framed.rs"]
mod framed;
#[path = "../../examples/game_tick.rs"]
mod game_tick;
#[path = "../../examples/jobs.rs"]
mod jobs;
#[path = "../../examples/packets.rs"]
mod packets;
#[path = "../../examples/proxy.rs"]
mod proxy;
#[path = "../../examples/reconnect.rs"]
mod reconnect;
#[path = "../../examples/rooms.rs"]
mod rooms;
#[path = "../../examples/socks5.rs"]
mod socks5;
#[path = "../../examples/states.rs"]
mod states;
#[path = "../../examples/store.rs"]
mod store;

/// Each example has a test on the simulated kernel, and it runs here.
#[test]
fn no_example_is_without_a_test() {
    let examples = concat!(env!("CARGO_MANIFEST_DIR"), "/examples");
    for file in std::fs::read_dir(examples).expect("the examples are beside the tests") {
        let path = file.expect("it can be listed").path();
        if path.is_dir() {
            continue; // `solutions.rs` has those of the lesson
        }
        let name = path.file_name().and_then(|name| name.to_str()).expect("a file has a name");
        let here = include_str!("simulated.rs").contains(&format!("#[path = \"../../examples/{name}\"]"));
        let text = std::fs::read_to_string(&path).expect("an example is text");
        assert!(
            here && text.contains("#[test]"),
            "{name}: give it a test with `overlapped::testing`, and a line here"
        );
    }
}
