//! The peer does what `peer_checks` asks of all.

peer_checks::echoes!(glommio, "glommio", "echo-glommio");
