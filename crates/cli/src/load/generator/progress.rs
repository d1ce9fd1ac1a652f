//! The progress of a run, on stderr if that is a terminal.

use std::io::{IsTerminal, stderr};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use overlapped_measure::number::{count, nanoseconds};

use super::recorder::Slice;
use crate::load::plan::Plan;
use crate::units;

/// Intervals that a figure on the screen is taken from.
const SHOWN: usize = 5;
/// With the bar at 20 columns, 48 of the 80 columns of a terminal are left for the figures: all of them, up to
/// 9,999,999 messages/s. What does not fit is cut: a line that wraps would stay on the screen at every redraw.
const TEMPLATE: &str = "{prefix:>10} {bar:20} {wide_msg}";

pub(super) struct Progress {
    bar: ProgressBar,
    all: Duration,
    /// Messages and the 99th percentile in ns, of the last intervals of each worker.
    recent: Vec<(usize, u64, u64)>,
    /// Of each worker.
    errors: Vec<u64>,
}

impl Progress {
    pub(super) fn new(plan: &Plan) -> Progress {
        let all = plan.warmup + plan.duration;
        let bar = ProgressBar::new(all.as_millis() as u64);
        let target =
            if stderr().is_terminal() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        bar.set_draw_target(target);
        let style = ProgressStyle::with_template(TEMPLATE);
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "));
        bar.set_prefix("connecting");
        Progress { bar, all, recent: Vec::new(), errors: vec![0; plan.threads as usize] }
    }

    /// How much of the run has passed.
    pub(super) fn passed(&mut self, plan: &Plan, time: Duration) {
        self.bar.set_prefix(match time {
            time if time < plan.warmup => "warm-up",
            time if time < self.all => "measuring",
            _ => "finishing",
        });
        self.bar.set_position(time.as_millis() as u64);
        self.bar.set_message(self.text(self.all.saturating_sub(time)));
    }

    pub(super) fn slice(&mut self, slice: &Slice) {
        let p99 = if slice.latency.is_empty() { 0 } else { slice.latency.value_at_quantile(0.99) };
        if let Some(errors) = self.errors.get_mut(slice.worker as usize) {
            *errors = slice.errors;
        }
        self.recent.push((slice.index, slice.messages, p99));
        self.recent.retain(|(index, ..)| index + SHOWN > slice.index);
    }

    fn text(&self, left: Duration) -> String {
        let mut parts = Vec::new();
        if let Some(last) = self.recent.iter().map(|(index, ..)| *index).max() {
            let messages: u64 = self.recent.iter().map(|(_, messages, _)| messages).sum();
            let worst = self.recent.iter().map(|(.., p99)| *p99).max().unwrap_or_default();
            let seconds = SHOWN.min(last + 1) as f64 * super::INTERVAL as f64 / 1e9;
            parts.push(format!("{} messages/s", count((messages as f64 / seconds).round() as u64)));
            if worst > 0 {
                parts.push(format!("p99 {}", nanoseconds(worst as f64)));
            }
        }
        match self.errors.iter().sum() {
            0 => {}
            errors => parts.push(units::count(errors, "error")),
        }
        if !left.is_zero() {
            parts.push(format!("{} s left", count(left.as_secs_f64().ceil() as u64)));
        }
        parts.join(", ")
    }

    pub(super) fn end(&self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::generator::recorder::histogram;
    use crate::load::samples;

    #[test]
    fn it_says_what_is_known() {
        let mut progress = Progress::new(&Plan { threads: 2, ..samples::plan() });
        assert_eq!(progress.text(Duration::from_millis(10_700)), "11 s left");
        for (worker, errors) in [(0, 0), (1, 1)] {
            let mut latency = histogram();
            latency.record(350_000).expect("it grows");
            progress.slice(&Slice { worker, index: 0, messages: 600, latency, actual: None, errors });
        }
        let text = progress.text(Duration::from_millis(5_200));
        assert!(text.starts_with("12,000 messages/s, p99 350"), "{text}");
        assert!(text.ends_with(", 1 error, 6 s left"), "{text}");
        let silent =
            Slice { worker: 0, index: 9, messages: 0, latency: histogram(), actual: None, errors: 4 };
        progress.slice(&silent);
        assert_eq!(progress.text(Duration::ZERO), "0 messages/s, 5 errors");
    }

    /// With the prefix, the bar and the spaces between them, at 80 columns.
    #[test]
    fn a_usual_line_fits_on_a_terminal() {
        assert!(ProgressStyle::with_template(TEMPLATE).is_ok());
        let mut progress = Progress::new(&samples::plan());
        let mut latency = histogram();
        latency.record(11_600_000).expect("it grows");
        progress.slice(&Slice { worker: 0, index: 0, messages: 123_456, latency, actual: None, errors: 0 });
        let text = progress.text(Duration::from_secs(3600));
        assert!(text.starts_with("1,234,560 messages/s, p99 11.6 ms, 3,600 s left"), "{text}");
        assert!(10 + 1 + 20 + 1 + text.chars().count() <= 80, "{text}");
    }
}
