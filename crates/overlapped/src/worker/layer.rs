//! What may sit between a session's handler and its connection: the place for TLS and the PROXY protocol.
//!
//! A layer is called at two places: in `receive.rs`, where bytes come in from the driver, and in `flush.rs`, where they go
//! out to it. Counters and limits are about the handler's bytes; activity is about the network's.

use proactor::{ConnectionKey, Lease, Payload};

/// Changes the bytes of sessions on their way.
pub(crate) trait Layer: 'static {
    /// Whether what goes out is what was sent, byte for byte.
    const TRANSPARENT: bool;

    /// What the handler gets of what arrived. `None`: nothing yet.
    fn incoming(&mut self, session: ConnectionKey, data: Lease) -> Option<Lease>;

    /// What goes out in the place of what the handler sent.
    fn outgoing(&mut self, session: ConnectionKey, payload: Payload) -> Payload;
}

/// No layer: bytes as they are.
pub(crate) struct Plain;

impl Layer for Plain {
    const TRANSPARENT: bool = true;

    #[inline(always)]
    fn incoming(&mut self, _session: ConnectionKey, data: Lease) -> Option<Lease> {
        Some(data)
    }

    #[inline(always)]
    fn outgoing(&mut self, _session: ConnectionKey, payload: Payload) -> Payload {
        payload
    }
}
