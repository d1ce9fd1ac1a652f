//! The peer does what `peer_checks` asks of all.

peer_checks::echoes!(current_thread, "tokio", "echo-tokio");
peer_checks::echoes!(multi_thread, "tokio-multi-thread", "echo-tokio");
