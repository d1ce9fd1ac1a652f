//! Listeners: connections come in, accepting pauses, ports are given back.

use crate::bench::Bench;
use crate::side::Finished;
use crate::world::{ANY_PORT, World};

pub fn one_connection<W: World>(world: &W) -> Finished {
    let (bench, ends) = Bench::connected(world);
    let (here, there) = (&bench.here.driver, &bench.there.driver);
    assert_eq!(here.peer_addr(ends.here).unwrap(), there.local_addr(ends.there).unwrap());
    assert_eq!(here.local_addr(ends.here).unwrap(), there.peer_addr(ends.there).unwrap());
    assert_ne!(here.local_addr(ends.here).unwrap().port(), 0);
    bench.finish()
}

pub fn several_connections<W: World>(world: &W) -> Finished {
    const CONNECTIONS: usize = 20;
    let mut bench = Bench::new(world);
    let (_, address) = bench.there.listen(world.listen_on(ANY_PORT).unwrap());
    let here: Vec<_> = (0..CONNECTIONS).map(|_| bench.here.connect(address)).collect();
    bench.until("all to be accepted", |bench| {
        bench.there.accepted.len() == CONNECTIONS && here.iter().all(|key| bench.here.seen(*key).connected)
    });
    // Each is another connection: whoever says its number is heard by one alone.
    while let Some(socket) = bench.there.accepted.pop_front() {
        let there = bench.there.adopt(socket);
        bench.there.receive(there);
    }
    for (number, key) in here.iter().enumerate() {
        bench.here.post(*key, vec![number as u8]);
    }
    bench.until("all to be heard", |bench| bench.there.seen.values().all(|seen| seen.bytes.len() == 1));
    let mut heard: Vec<u8> = bench.there.seen.values().map(|seen| seen.bytes[0]).collect();
    heard.sort_unstable();
    assert_eq!(heard, (0..CONNECTIONS as u8).collect::<Vec<_>>());
    bench.finish()
}
