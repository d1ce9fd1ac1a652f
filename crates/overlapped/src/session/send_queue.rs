//! What a session has to send: in order, counted, and forwarded or copied, depending on the pool's reserve (INV-4, INV-6).

use std::collections::VecDeque;
use std::fmt;
use std::num::NonZeroU32;

use proactor::{AlignedBuf, Gather, Lease, Payload};

/// Small sends gather in chunks of up to this size, each sent at once.
const CHUNK: usize = 64 * 1024;
/// A payload under this size is copied behind another instead of being sent alone.
const SMALL: usize = 1024;
/// Payloads that wait together leave together, up to this number of bytes.
const GATHER: usize = 64 * 1024;
/// Blocks that a session may hold, in flight and queued. A slow reader must not drain the pool.
pub(crate) const BLOCKS: u8 = 4;

/// What a queue may hold, as memory charged. Callers check it.
pub(crate) const MOST: usize = 1 << 30;

/// What became of bytes handed to a session. There is no fourth case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sent {
    /// They are queued, and leave in order.
    Ok,
    /// The session's hard limit is reached. They were dropped; by default the session is closed too (see
    /// [`Server::overflow`](crate::Server::overflow)).
    Full,
    /// The session is closing or gone; they were dropped.
    Closed,
}

impl fmt::Display for Sent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Sent::Ok => "queued",
            Sent::Full => "dropped: the hard limit is reached",
            Sent::Closed => "dropped: the session is closed",
        })
    }
}

/// The queue of one session. One payload of it may be in flight: taken out with [`next`](Self::next), given back
/// as a count with [`sent`](Self::sent).
///
/// Counts are 32 bits wide, to save cache lines: callers queue at most [`MOST`] bytes.
#[derive(Default)]
#[repr(C)]
pub(crate) struct SendQueue {
    /// What follows the first; allocated when there is some.
    #[expect(clippy::box_collection, reason = "it is small in every session, and there in few")]
    rest: Option<Box<VecDeque<Payload>>>,
    /// The first to go. Kept apart so that a session that answers one message at a time never allocates.
    first: Option<Payload>,
    in_flight: Option<InFlight>,
    /// Unsent bytes, those in flight included.
    bytes: u32,
    /// Memory charged for them: whole blocks for leases.
    charge: u32,
    blocks: u8,
}

struct InFlight {
    /// Never 0, so that `Option<InFlight>` needs no room for a tag.
    bytes: NonZeroU32,
    charge: u32,
    blocks: u8,
}

impl SendQueue {
    /// Unsent bytes, those in flight included.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes as usize
    }

    /// Memory charged for what is unsent.
    pub(crate) fn charge(&self) -> usize {
        self.charge as usize
    }

    /// Whether nothing is queued or in flight.
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    pub(crate) fn is_in_flight(&self) -> bool {
        self.in_flight.is_some()
    }

    /// Whether there is something that could be sent now.
    pub(crate) fn has_next(&self) -> bool {
        self.first.is_some() && self.in_flight.is_none()
    }

    /// Queues `payload`. A lease is forwarded as it is if that costs no other session anything; else it is copied and its
    /// block returned at once.
    #[inline]
    pub(crate) fn push(&mut self, payload: Payload) {
        match payload {
            payload if payload.is_empty() => {}
            Payload::Lease(lease) if self.may_forward(&lease) => {
                self.blocks += 1;
                self.append(Payload::Lease(lease));
            }
            Payload::Lease(lease) => self.copy(&lease),
            payload if payload.len() < SMALL && !self.is_empty() => self.copy(payload.as_slice()),
            payload => self.append(payload),
        }
    }

    /// Queues a copy of `bytes`, behind others in one chunk where there is room. Chunks start on cache lines: kernels
    /// copy faster from there.
    pub(crate) fn copy(&mut self, bytes: &[u8]) {
        let taken = self.extend_last(bytes);
        for piece in bytes[taken..].chunks(CHUNK) {
            self.append(Payload::Aligned(AlignedBuf::from(piece)));
        }
    }

    /// Appends as much of `bytes` to the last payload as goes into its chunk. Returns how much that is.
    fn extend_last(&mut self, bytes: &[u8]) -> usize {
        let Some(last) = self.last() else { return 0 };
        let (before, room) = (last.charge(), CHUNK.saturating_sub(last.len()).min(bytes.len()));
        match last {
            Payload::Aligned(chunk) => chunk.extend_from_slice(&bytes[..room]),
            Payload::Owned(vec) if vec.capacity() - vec.len() >= room => {
                vec.extend_from_slice(&bytes[..room]);
            }
            // It has to be reallocated anyway: the new memory is aligned.
            Payload::Owned(vec) => {
                let mut chunk = AlignedBuf::with_capacity((vec.len() + room).max(2 * vec.len()));
                chunk.extend_from_slice(vec);
                chunk.extend_from_slice(&bytes[..room]);
                *last = Payload::Aligned(chunk);
            }
            _ => return 0,
        }
        let added = last.charge() - before;
        self.charge += added as u32;
        self.bytes += room as u32;
        room
    }

    /// Whether something is queued behind the first payload.
    #[inline]
    pub(crate) fn has_more(&self) -> bool {
        self.rest.is_some()
    }

    /// Takes out the one payload that is queued, to be sent. Where there are more, [`gather`](Self::gather) them.
    #[inline(always)]
    pub(crate) fn next(&mut self) -> Option<Payload> {
        debug_assert!(!self.has_more(), "INV-4: what is behind moves up");
        debug_assert!(self.in_flight.is_none(), "INV-4: one send at a time");
        let payload = self.first.take()?;
        let bytes = NonZeroU32::new(payload.len() as u32).expect("nothing is not queued");
        let (charge, blocks) = (payload.charge() as u32, u8::from(matches!(payload, Payload::Lease(_))));
        self.in_flight = Some(InFlight { bytes, charge, blocks });
        Some(payload)
    }

    /// The payload in flight is out. Returns its length.
    #[inline]
    pub(crate) fn sent(&mut self) -> usize {
        let done = self.in_flight.take().expect("INV-4: what is sent was in flight");
        self.bytes -= done.bytes.get();
        self.charge -= done.charge;
        self.blocks -= done.blocks;
        done.bytes.get() as usize
    }

    /// Drops everything. Returns how many bytes were not sent.
    pub(crate) fn clear(&mut self) -> usize {
        std::mem::take(self).bytes as usize
    }

    /// Takes out the first payload, to be sent, with what is behind it as far as one call takes it along.
    #[cold]
    pub(crate) fn gather(&mut self) -> Option<Gather> {
        let mut rest = self.rest.take()?;
        let mut parts = vec![self.next()?];
        let in_flight = self.in_flight.as_mut()?;
        // The last one may be long: a short header goes with its body in one call.
        while parts.len() < Gather::MOST
            && (in_flight.bytes.get() as usize) < GATHER
            && let Some(next) = rest.pop_front()
        {
            in_flight.bytes = in_flight.bytes.saturating_add(next.len() as u32);
            in_flight.charge += next.charge() as u32;
            in_flight.blocks += u8::from(matches!(next, Payload::Lease(_)));
            parts.push(next);
        }
        self.first = rest.pop_front();
        // An idle session keeps no memory for an earlier burst.
        self.rest = Some(rest).filter(|rest| !rest.is_empty());
        Some(Gather::new(parts))
    }

    #[inline]
    fn may_forward(&self, lease: &Lease) -> bool {
        // Behind another send, a small piece would pin a block for long: it is copied then.
        let worth_it = self.is_empty() || lease.len() * 2 >= lease.pinned();
        worth_it && self.blocks < BLOCKS && lease.pool_has_reserve()
    }

    #[inline]
    fn append(&mut self, payload: Payload) {
        self.bytes += payload.len() as u32;
        self.charge += payload.charge() as u32;
        if self.first.is_none() {
            self.first = Some(payload);
        } else {
            self.rest.get_or_insert_default().push_back(payload);
        }
    }

    fn last(&mut self) -> Option<&mut Payload> {
        self.rest.as_mut().and_then(|rest| rest.back_mut()).or(self.first.as_mut())
    }
}

#[cfg(test)]
mod tests {
    use proactor::buffer::CACHE_LINE;
    use proactor::{Pool, PoolConfig};
    use proptest::prelude::*;

    use super::*;

    fn lease(pool: &Pool, bytes: &[u8]) -> Option<Lease> {
        let mut block = pool.take()?;
        block.bytes_mut()[..bytes.len()].copy_from_slice(bytes);
        Some(block.into_lease(bytes.len()))
    }

    /// What a worker hands on at a time.
    fn take(queue: &mut SendQueue) -> Option<Gather> {
        if queue.has_more() { queue.gather() } else { queue.next().map(|payload| Gather::new(vec![payload])) }
    }

    fn bytes_of(taken: &Gather) -> Vec<u8> {
        taken.parts().iter().flat_map(|part| part.as_slice().to_vec()).collect()
    }

    /// What the queue allocated starts on a cache line. Payloads of the tests are leases and vectors.
    fn copies_are_aligned(part: &Payload) -> bool {
        !matches!(part, Payload::Aligned(_)) || part.as_slice().as_ptr().addr().is_multiple_of(CACHE_LINE)
    }

    #[derive(Clone, Debug)]
    enum Step {
        Lease(usize),
        Owned(usize),
        Copy(usize),
        Next,
        Sent,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => (0..256usize).prop_map(Step::Lease),
            1 => (0..4000usize).prop_map(Step::Owned),
            1 => (0..150_000usize).prop_map(Step::Copy),
            3 => Just(Step::Next),
            3 => Just(Step::Sent),
        ]
    }

    proptest! {
        /// Against a plain vector of bytes: order kept, nothing lost or doubled, counts exact, blocks bounded.
        #[test]
        fn is_a_queue_of_bytes(steps in prop::collection::vec(step(), 1..80)) {
            let pool = Pool::new(PoolConfig { blocks: 16, block_len: 256 });
            let mut queue = SendQueue::default();
            let (mut wanted, mut got, mut serial) = (Vec::new(), Vec::new(), 0u32);
            let mut flying: Option<Gather> = None;
            let mut bytes = |len: usize| -> Vec<u8> {
                (0..len).map(|_| { serial += 1; (serial % 251) as u8 }).collect()
            };
            for step in steps {
                match step {
                    Step::Lease(len) => {
                        let bytes = bytes(len);
                        if let Some(lease) = lease(&pool, &bytes) {
                            wanted.extend(&bytes);
                            queue.push(Payload::Lease(lease));
                        }
                    }
                    Step::Owned(len) => {
                        let bytes = bytes(len);
                        wanted.extend(&bytes);
                        queue.push(Payload::Owned(bytes));
                    }
                    Step::Copy(len) => {
                        let bytes = bytes(len);
                        wanted.extend(&bytes);
                        queue.copy(&bytes);
                    }
                    Step::Next => {
                        if queue.has_next() {
                            flying = take(&mut queue);
                        }
                    }
                    Step::Sent => {
                        if let Some(payload) = flying.take() {
                            prop_assert!(payload.parts().iter().all(copies_are_aligned));
                            got.extend(bytes_of(&payload));
                            prop_assert_eq!(queue.sent(), bytes_of(&payload).len());
                        }
                    }
                }
                prop_assert_eq!(queue.bytes(), wanted.len() - got.len());
                prop_assert_eq!(queue.is_empty(), wanted.len() == got.len());
                prop_assert!(queue.charge() >= queue.bytes());
                prop_assert!(pool.in_use() <= u32::from(BLOCKS));
            }
            if let Some(payload) = flying.take() {
                got.extend(bytes_of(&payload));
                queue.sent();
            }
            while let Some(payload) = take(&mut queue) {
                got.extend(bytes_of(&payload));
                queue.sent();
            }
            prop_assert_eq!(got, wanted);
            prop_assert_eq!((queue.bytes(), queue.charge(), pool.in_use()), (0, 0, 0));
        }
    }

    #[test]
    fn a_received_block_is_forwarded_not_copied() {
        let pool = Pool::new(PoolConfig { blocks: 8, block_len: 256 });
        let mut queue = SendQueue::default();
        let data = lease(&pool, b"hello").unwrap();
        let address = data.as_ptr();
        queue.push(Payload::Lease(data));
        assert_eq!(queue.next().unwrap().as_slice().as_ptr(), address);
    }

    #[test]
    fn a_slow_reader_does_not_hold_the_pool() {
        let pool = Pool::new(PoolConfig { blocks: 8, block_len: 256 });
        let mut queue = SendQueue::default();
        for _ in 0..100 {
            queue.push(Payload::Lease(lease(&pool, &[7; 64]).unwrap()));
        }
        assert_eq!(pool.in_use(), 1, "the first is forwarded, the others are copied behind it");
        assert_eq!(queue.bytes(), 6400);
        assert_eq!(queue.clear(), 6400);
        assert_eq!(pool.in_use(), 0);
    }

    /// However often it is appended to: a chunk that grows is another allocation each time.
    #[test]
    fn copies_start_on_cache_lines() {
        let mut kept = Vec::new(); // so that no two take the same place
        for (first, then) in [(1, 1), (100, 63), (1000, 64), (16 * 1024, 1000), (200_000, 16 * 1024)] {
            for owned in [false, true] {
                let mut queue = SendQueue::default();
                let first = vec![1; first];
                if owned {
                    queue.push(Payload::Owned(first));
                } else {
                    queue.copy(&first);
                }
                (0..100).for_each(|_| queue.copy(&vec![2; then]));
                while let Some(taken) = take(&mut queue) {
                    assert!(taken.parts().iter().all(copies_are_aligned));
                    queue.sent();
                    kept.push(taken);
                }
            }
        }
        let parts = kept.iter().flat_map(Gather::parts);
        assert!(parts.filter(|part| matches!(part, Payload::Aligned(_))).count() > 50);
    }

    /// A copy behind a vector that has no room takes its place, as one payload, and is charged as such.
    #[test]
    fn a_vector_is_continued_in_a_chunk() {
        let mut queue = SendQueue::default();
        queue.push(Payload::Owned(vec![1; 100]));
        queue.copy(&[2; 100]);
        assert!(!queue.has_more());
        assert_eq!((queue.bytes(), queue.charge()), (200, 200));
        assert_eq!(queue.next().unwrap().as_slice(), [[1; 100], [2; 100]].concat());
        queue.sent();
        assert_eq!((queue.bytes(), queue.charge()), (0, 0));
    }

    #[test]
    fn below_the_reserve_everything_is_copied() {
        let pool = Pool::new(PoolConfig { blocks: 8, block_len: 256 });
        let held: Vec<Lease> = (0..5).map(|_| lease(&pool, b"x").unwrap()).collect();
        let mut queue = SendQueue::default();
        queue.push(Payload::Lease(lease(&pool, b"y").unwrap()));
        assert_eq!(pool.in_use() as usize, held.len());
    }
}
