//! The peer does what the workloads ask for, and not all that `peer_checks` asks of the others. ntex closes a connection
//! when it learns that the client has closed its side; and with 100 messages of 40,000 bytes in flight on a connection,
//! version 3.12.3 with `neon-uring` returns wrong bytes (it sends what is larger than 1,536 bytes with `SEND_ZC`).

peer_checks::echoes!(ntex, "ntex", "echo-ntex", peer_checks::Promises::Some);
