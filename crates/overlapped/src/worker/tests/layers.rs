//! A layer that changes bytes and their number, at the two choke points: what TLS and the PROXY protocol will use.

use std::collections::HashMap;

use overlapped_testing::pattern;
use proactor::{ConnectionKey, Payload, Pool, PoolConfig};

use super::fixture::{End, Fixture, Probe, behaviours};
use crate::Lease;
use crate::config::Config;
use crate::session::CloseReason;
use crate::worker::Layer;

/// On the wire each byte is two hexadecimal digits.
struct Hex {
    pool: Pool,
    /// A digit without its other half: the network cuts where it pleases.
    halves: HashMap<ConnectionKey, u8>,
}

impl Layer for Hex {
    const TRANSPARENT: bool = false;

    fn incoming(&mut self, session: ConnectionKey, data: Lease) -> Option<Lease> {
        let digits: Vec<u8> = self.halves.remove(&session).into_iter().chain(data.iter().copied()).collect();
        let value = |digit: u8| (digit as char).to_digit(16).expect("the peer sends digits") as u8;
        let (pairs, half) = digits.as_chunks::<2>();
        self.halves.extend(half.first().map(|half| (session, *half)));
        let mut block = self.pool.take().filter(|_| !pairs.is_empty())?;
        for (byte, [high, low]) in block.bytes_mut().iter_mut().zip(pairs) {
            *byte = value(*high) << 4 | value(*low);
        }
        Some(block.into_lease(pairs.len()))
    }

    fn outgoing(&mut self, _session: ConnectionKey, payload: Payload) -> Payload {
        Payload::Owned(hex(payload.as_slice()))
    }
}

fn hex(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().flat_map(|byte| format!("{byte:02x}").into_bytes()).collect()
}

#[test]
fn a_layer_changes_what_comes_in_and_what_goes_out() {
    for behaviour in behaviours() {
        let layer = || Hex {
            pool: Pool::new(PoolConfig { blocks: 64, block_len: 16 * 1024 }),
            halves: HashMap::new(),
        };
        let mut fixture = Fixture::with_layers(behaviour, 1, Config::default(), Probe::echo(), layer);
        let plain: Vec<Vec<u8>> = (0..3).map(|index| pattern(index * 30_000, 0)).collect();
        let keys: Vec<_> = plain.iter().map(|_| fixture.connect()).collect();
        for (key, bytes) in keys.iter().zip(&plain) {
            fixture.send(*key, &hex(bytes));
            fixture.finish(*key);
        }
        fixture.settle();
        for (key, bytes) in keys.iter().zip(&plain) {
            assert_eq!(fixture.got(*key), hex(bytes), "{behaviour:?}");
            assert_eq!(fixture.end(*key), End::Finished);
        }
        assert_eq!(fixture.reasons(), [CloseReason::EndOfStream; 3]);
        let stats = fixture.all_stats();
        assert_eq!((stats.bytes_received, stats.bytes_sent), (90_000, 90_000), "as the handler sees them");
        fixture.assert_clean();
    }
}
