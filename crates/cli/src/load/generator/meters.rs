//! What the generator's thread, and the server's process, use in the measured part.

use std::time::{Duration, Instant};

use proactor::os;
use proactor::os::ProcessUsage;

use crate::load::measured::ServerUse;
use crate::load::plan::Plan;

/// What a thread has used until a moment.
#[derive(Clone, Copy)]
struct Reading {
    at: Instant,
    cpu: Duration,
    waited: Option<Duration>,
    server: Option<ProcessUsage>,
}

/// What one worker, and the server, used in the measured part.
#[derive(Clone, Debug, Default)]
pub(super) struct Use {
    pub(super) elapsed: Duration,
    pub(super) cpu: Duration,
    pub(super) waited: Option<Duration>,
    pub(super) server: Option<ServerUse>,
    /// CPU time of the thread until a moment, both since the beginning of the measured part.
    pub(super) own_cpu: Vec<(Duration, Duration)>,
    /// That of the server.
    pub(super) server_cpu: Vec<(Duration, Duration)>,
}

/// The meters of one worker; read on its thread.
pub(super) struct Meters {
    server: Option<u32>,
    begun: Option<Reading>,
    ended: Option<Reading>,
    own_cpu: Vec<(Duration, Duration)>,
    server_cpu: Vec<(Duration, Duration)>,
}

impl Meters {
    /// `server`: the process that this worker looks at.
    pub(super) fn new(server: Option<u32>) -> Meters {
        Meters { server, begun: None, ended: None, own_cpu: Vec::new(), server_cpu: Vec::new() }
    }

    /// The thread has begun.
    pub(super) fn prepare(&mut self, plan: &Plan, worker: u32) {
        if plan.pin {
            let processors = os::processors().map_or(1, |all| all.len().max(1));
            // From the last one: a server that is pinned begins with the first. Without it the run is noisier, and
            // nothing else.
            let _ = os::pin_thread(processors - 1 - worker as usize % processors);
        }
    }

    fn read(&self) -> Reading {
        Reading {
            server: self.server.and_then(|pid| os::process_usage(pid).ok()),
            at: Instant::now(),
            cpu: os::thread_cpu_time(),
            waited: os::thread_run_delay(),
        }
    }

    pub(super) fn has_begun(&self) -> bool {
        self.begun.is_some()
    }

    pub(super) fn begin(&mut self) {
        self.begun = Some(self.read());
    }

    /// In the measured part, now and then; `at` counts from its beginning, in ns.
    pub(super) fn sample(&mut self, at: u64) {
        let (Some(begun), None) = (&self.begun, &self.ended) else { return };
        let at = Duration::from_nanos(at);
        self.own_cpu.push((at, os::thread_cpu_time().saturating_sub(begun.cpu)));
        if let (Some(pid), Some(first)) = (self.server, begun.server)
            && let Ok(now) = os::process_usage(pid)
        {
            self.server_cpu.push((at, now.cpu.saturating_sub(first.cpu)));
        }
    }

    pub(super) fn end(&mut self) {
        if self.ended.is_none() {
            self.ended = Some(self.read());
        }
    }

    pub(super) fn total(&mut self) -> Use {
        let (Some(begun), Some(ended)) = (self.begun, self.ended) else { return Use::default() };
        let server = begun.server.zip(ended.server).map(|(first, last)| ServerUse {
            cpu: last.cpu.saturating_sub(first.cpu),
            rss_bytes: last.rss_bytes,
            voluntary_switches: difference(first.voluntary_switches, last.voluntary_switches),
            involuntary_switches: difference(first.involuntary_switches, last.involuntary_switches),
        });
        Use {
            elapsed: ended.at - begun.at,
            cpu: ended.cpu.saturating_sub(begun.cpu),
            waited: begun.waited.zip(ended.waited).map(|(first, last)| last.saturating_sub(first)),
            server,
            own_cpu: std::mem::take(&mut self.own_cpu),
            server_cpu: std::mem::take(&mut self.server_cpu),
        }
    }
}

fn difference(first: Option<u64>, last: Option<u64>) -> Option<u64> {
    first.zip(last).map(|(first, last)| last.saturating_sub(first))
}
