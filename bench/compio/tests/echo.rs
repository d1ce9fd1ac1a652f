//! The peer does what `peer_checks` asks of all.

peer_checks::echoes!(plain, "compio", "echo-compio");
peer_checks::echoes!(read_multi, "compio-read-multi", "echo-compio");
