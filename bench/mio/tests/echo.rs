//! The peer does what `peer_checks` asks of all.

peer_checks::echoes!(mio, "mio", "echo-mio");
