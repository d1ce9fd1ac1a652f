//! The progress of a run, on stderr if that is a terminal.
//!
//! A thread of its own draws it, and draws only the latest state: a terminal that is suspended or not read holds up that
//! thread alone.

use std::io::IsTerminal;
use std::sync::atomic::{AtomicBool, Ordering::AcqRel, Ordering::Acquire, Ordering::Release};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use overlapped_measure::number::{count, nanoseconds};

use super::recorder::Slice;
use crate::load::plan::Plan;
use crate::load::stderr;
use crate::units;

/// Intervals that a figure on the screen is taken from.
const SHOWN: usize = 5;
/// With the bar at 20 columns, 48 of the 80 columns of a terminal are left for the figures: all of them, up to
/// 9,999,999 messages/s. What does not fit is cut: a line that wraps would stay on the screen at every redraw.
const TEMPLATE: &str = "{prefix:>10} {bar:20} {wide_msg}";

/// How long the end of a run waits until the progress is gone from the screen.
const CLEARING: Duration = Duration::from_secs(1);

pub(super) struct Progress {
    /// Unless stderr is no terminal, or an earlier run's progress still waits for it.
    screen: Option<Screen>,
    all: Duration,
    /// Messages and the 99th percentile in ns, of the last intervals of each worker.
    recent: Vec<(usize, u64, u64)>,
    /// Of each worker.
    errors: Vec<u64>,
}

impl Progress {
    pub(super) fn new(plan: &Plan) -> Progress {
        let all = plan.warmup + plan.duration;
        let screen = if std::io::stderr().is_terminal() { Screen::open(all) } else { None };
        Progress { screen, all, recent: Vec::new(), errors: vec![0; plan.threads as usize] }
    }

    /// How much of the run has passed.
    pub(super) fn passed(&mut self, plan: &Plan, time: Duration) {
        let Some(screen) = &self.screen else { return };
        let stage = match time {
            time if time < plan.warmup => "warm-up",
            time if time < self.all => "measuring",
            _ => "finishing",
        };
        let text = self.text(self.all.saturating_sub(time));
        screen.show(Line { stage, passed: time, text });
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

    /// The line is cleared, if the terminal takes that within [`CLEARING`].
    pub(super) fn end(self) {
        if let Some(screen) = self.screen {
            screen.clear();
        }
    }
}

/// What is drawn.
struct Line {
    stage: &'static str,
    passed: Duration,
    text: String,
}

/// What the thread that draws is to do.
enum Next {
    /// Nothing since the last time.
    Wait,
    Draw(Line),
    Clear,
}

/// Shared with the thread that draws.
struct Drawing {
    next: Mutex<Next>,
    changed: Condvar,
}

struct Screen {
    drawing: Arc<Drawing>,
    /// Its other end is dropped with the end of the thread.
    ended: Receiver<()>,
}

/// True exactly while a thread draws: one that is stuck keeps later ones from waiting as well.
static IS_DRAWN: AtomicBool = AtomicBool::new(false);

impl Screen {
    fn open(all: Duration) -> Option<Screen> {
        Screen::on(all, &IS_DRAWN, |all| {
            // Before the line, not into it.
            stderr::flush();
            bar(all, ProgressDrawTarget::stderr())
        })
    }

    /// With a bar that the thread makes. `None` if another thread draws, or if the system has no thread.
    fn on(
        all: Duration,
        is_drawn: &'static AtomicBool,
        bar: impl FnOnce(Duration) -> ProgressBar + Send + 'static,
    ) -> Option<Screen> {
        is_drawn.compare_exchange(false, true, AcqRel, Acquire).ok()?;
        let first = Line { stage: "connecting", passed: Duration::ZERO, text: String::new() };
        let drawing = Arc::new(Drawing { next: Mutex::new(Next::Draw(first)), changed: Condvar::new() });
        let (ends, ended) = channel();
        let of_thread = Arc::clone(&drawing);
        let started = thread::Builder::new().name("progress".into()).spawn(move || {
            of_thread.draw_until_cleared(&bar(all));
            is_drawn.store(false, Release);
            drop::<Sender<()>>(ends);
        });
        if started.is_err() {
            is_drawn.store(false, Release);
            return None;
        }
        Some(Screen { drawing, ended })
    }

    fn show(&self, line: Line) {
        self.drawing.set(Next::Draw(line));
    }

    fn clear(self) {
        self.drawing.set(Next::Clear);
        // Disconnected, or too late.
        let _ = self.ended.recv_timeout(CLEARING);
    }
}

impl Drawing {
    /// Replaces what was not drawn yet.
    fn set(&self, next: Next) {
        *self.next.lock().unwrap_or_else(PoisonError::into_inner) = next;
        self.changed.notify_one();
    }

    fn take(&self) -> Next {
        let next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let next = self.changed.wait_while(next, |next| matches!(next, Next::Wait));
        std::mem::replace(&mut *next.unwrap_or_else(PoisonError::into_inner), Next::Wait)
    }

    fn draw_until_cleared(&self, bar: &ProgressBar) {
        while let Next::Draw(Line { stage, passed, text }) = self.take() {
            bar.set_prefix(stage);
            bar.set_position(passed.as_millis() as u64);
            bar.set_message(text);
        }
        bar.finish_and_clear();
    }
}

fn bar(all: Duration, target: ProgressDrawTarget) -> ProgressBar {
    let bar = ProgressBar::new(all.as_millis() as u64);
    bar.set_draw_target(target);
    let style = ProgressStyle::with_template(TEMPLATE);
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "));
    bar
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

    /// Nobody waits for it, and no second thread gets stuck.
    #[test]
    fn a_terminal_that_takes_nothing_holds_up_nothing() {
        static IS_DRAWN: AtomicBool = AtomicBool::new(false);
        let all = Duration::from_secs(10);
        let (reads, read) = channel::<()>();
        let stuck = Screen::on(all, &IS_DRAWN, move |all| {
            let _ = read.recv();
            bar(all, ProgressDrawTarget::hidden())
        });
        let stuck = stuck.expect("nothing else draws");
        let drawing = Arc::downgrade(&stuck.drawing);
        for ms in 0..100_000 {
            stuck.show(Line { stage: "measuring", passed: Duration::from_millis(ms), text: String::new() });
        }
        let hidden = |all| bar(all, ProgressDrawTarget::hidden());
        assert!(Screen::on(all, &IS_DRAWN, hidden).is_none(), "one is enough");
        stuck.clear();
        assert!(IS_DRAWN.load(Acquire), "it is stuck still");
        drop(reads);
        let next = || Screen::on(all, &IS_DRAWN, hidden);
        overlapped_testing::eventually("it has ended", || drawing.strong_count() == 0);
        overlapped_testing::eventually("the next run is drawn", || next().map(Screen::clear).is_some());
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
