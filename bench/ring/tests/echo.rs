//! The peer does what `peer_checks` asks of all.

peer_checks::echoes!(buffer_ring, "ring", "echo-ring");
peer_checks::echoes!(own_buffer, "ring-own", "echo-ring");
peer_checks::echoes!(linked, "ring-linked", "echo-ring");
