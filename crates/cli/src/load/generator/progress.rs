//! The progress of a run, on stderr if that is a terminal.

use std::io::{IsTerminal, stderr};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::recorder::Slice;
use crate::load::plan::Plan;
use crate::units;

/// Intervals that a figure on the screen is taken from.
const SHOWN: usize = 5;

pub(super) struct Progress {
    bar: ProgressBar,
    recent: Vec<(usize, u64, u64)>,
    errors: u64,
}

impl Progress {
    pub(super) fn new(plan: &Plan) -> Progress {
        let all = plan.warmup + plan.duration;
        let bar = ProgressBar::new(all.as_millis() as u64);
        let target =
            if stderr().is_terminal() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        bar.set_draw_target(target);
        let style = ProgressStyle::with_template("{prefix:>10} {bar:30} {msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "));
        bar.set_prefix("connecting");
        Progress { bar, recent: Vec::new(), errors: 0 }
    }

    /// How much of the run has passed.
    pub(super) fn passed(&mut self, plan: &Plan, time: Duration) {
        self.bar.set_prefix(if time < plan.warmup { "warm-up" } else { "measuring" });
        self.bar.set_position(time.as_millis() as u64);
    }

    pub(super) fn slice(&mut self, slice: &Slice) {
        let p99 = slice.latency.value_at_quantile(0.99);
        self.errors = self.errors.max(slice.errors);
        self.recent.push((slice.index, slice.messages, p99));
        self.recent.retain(|(index, ..)| index + SHOWN > slice.index);
        let messages: u64 = self.recent.iter().map(|(_, messages, _)| messages).sum();
        let worst = self.recent.iter().map(|(.., p99)| *p99).max().unwrap_or_default();
        let seconds = SHOWN.min(slice.index + 1) as f64 * super::INTERVAL as f64 / 1e9;
        let errors = match self.errors {
            0 => String::new(),
            errors => format!(", {errors} errors"),
        };
        self.bar.set_message(format!(
            "{:.0} messages/s, p99 {}{errors}",
            messages as f64 / seconds,
            units::span(Duration::from_nanos(worst)),
        ));
    }

    pub(super) fn end(&self) {
        self.bar.finish_and_clear();
    }
}
