//! How connections misbehave on purpose. None of it is an error of the server, but what the server owes them is checked.

use std::time::Duration;

use overlapped::Session;

use super::slot::Phase;
use super::traffic::Traffic;
use crate::load::plan::Behaviour;

/// Messages after which a connection ends its stream.
const BEFORE_HALF_CLOSE: u32 = 8;
/// How long a slow reader reads nothing.
const PAUSE: Duration = Duration::from_millis(500);
/// What it has sent by then, at most: more than the socket buffers of a server's connection usually take.
pub(in crate::load) const UNREAD: usize = 4 << 20;

impl Traffic {
    /// How many further messages a connection may have in flight.
    #[inline]
    pub(super) fn room(&self, slot: usize) -> u32 {
        let plan = &self.settings.plan;
        let state = &self.slots[slot];
        match state.behaviour {
            Behaviour::Normal | Behaviour::Reset { .. } => plan.pipeline - state.outstanding,
            Behaviour::HalfClose => {
                let left = BEFORE_HALF_CLOSE.saturating_sub(state.echoed + state.outstanding);
                left.min(plan.pipeline - state.outstanding)
            }
            Behaviour::Churn => u32::from(state.echoed + state.outstanding == 0),
            Behaviour::SlowReader if state.outstanding > 0 => 0,
            Behaviour::SlowReader => plan.pipeline.max(u32::try_from(UNREAD / plan.size).unwrap_or(u32::MAX)),
        }
    }

    /// `count` messages were sent on a connection.
    #[inline]
    pub(super) fn has_sent(&mut self, slot: usize, count: u32, session: &mut Session<'_, u32>) {
        match self.slots[slot].behaviour {
            Behaviour::Normal | Behaviour::Churn => {}
            Behaviour::HalfClose => {
                let state = &self.slots[slot];
                if state.echoed + state.outstanding >= BEFORE_HALF_CLOSE {
                    self.slots[slot].phase = Phase::Finishing;
                    session.finish();
                }
            }
            Behaviour::SlowReader => {
                self.slots[slot].is_paused = true;
                session.pause();
                session.set_timer(PAUSE, 0);
            }
            Behaviour::Reset { percent } => {
                // One of them at least.
                let none = (1.0 - percent / 100.0).powi(count as i32);
                if self.happens(1.0 - none) {
                    session.notify_when_sent(0);
                }
            }
        }
    }

    /// Echoes were complete on a connection. Returns whether it ends now.
    #[inline]
    pub(super) fn has_echoed(&mut self, slot: usize, session: &mut Session<'_, u32>) -> bool {
        let ends = self.slots[slot].behaviour == Behaviour::Churn && self.slots[slot].outstanding == 0;
        if ends {
            // Not just closed: what the server still sends is one too many, and it owes the end of its stream.
            self.slots[slot].phase = Phase::Finishing;
            session.finish();
        }
        ends
    }

    /// What was sent is on its way: the echo is not awaited.
    pub(super) fn reset_on_purpose(&mut self, slot: usize, session: &mut Session<'_, u32>) {
        if self.slots[slot].phase == Phase::Open {
            let now = self.at(session.now());
            self.wait_no_more(slot, now);
            if self.recorder.is_measured(now) {
                self.recorder.counts.given_up += u64::from(self.slots[slot].outstanding);
            }
            self.give_up(slot);
            session.abort();
        }
    }

    /// The pause of a slow reader is over.
    pub(super) fn read_again(&mut self, slot: usize, session: &mut Session<'_, u32>) {
        let now = self.at(session.now());
        self.slots[slot].is_paused = false;
        self.slots[slot].wait_from(now);
        session.resume();
    }

    /// What happens with this probability.
    fn happens(&mut self, probability: f64) -> bool {
        // xorshift64*, <https://arxiv.org/abs/1402.6246>
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        let unit = (self.random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) as f64 / (1_u64 << 53) as f64;
        unit < probability
    }
}
