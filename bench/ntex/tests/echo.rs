//! The peer does what `peer_checks` asks of all, but for half-closed connections: ntex closes a connection when it
//! learns that the client has closed its side.

peer_checks::echoes!(ntex, "ntex", "echo-ntex", peer_checks::HalfClosed::Cut);
