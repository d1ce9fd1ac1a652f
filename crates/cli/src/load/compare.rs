//! `--compare FILE`: this run against earlier ones.
//!
//! Two equal runs on a shared machine differ: phases of seconds, in which everything takes 40 % longer, come from
//! outside. A run that met one and a run that did not look like two servers. So two ratios are taken of each key: that of
//! the values that the JSON has, and that of *levels*, the faster quarter of the intervals, which a slow phase does not
//! reach as long as it does not fill the run. The interval holds both, and the error of the levels. A difference counts
//! where the whole interval is further from 1 than the key's margin.
//!
//! A run of a second or two cannot be told from a slow phase, and blocks of 1 s that are drawn from it are nearly the run
//! itself each time, so their interval is too narrow. So a side with fewer than [`ENOUGH`] intervals is not judged.
//!
//! Other programs on the machine are another matter: they leave no interval alone. How long the generator waited for a
//! processor tells. The margins grow with the square of it, and beyond [`BUSY`] latencies mean nothing.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use overlapped_measure::stats::{self, Estimate, Resampling, ratio_of_runs};

use super::report::{Config, Difference, Interval, Report};
use crate::failure::{Failure, one_line};
use crate::output::note;

/// Intervals that are drawn together: 1 s, as neighbours resemble each other.
const BLOCK: usize = 10;
/// Intervals that a verdict needs on each side: those of [`LONG_ENOUGH`], of which a few may have no message. They are nearly
/// five blocks, and a slow phase of 3 s leaves their faster quarter alone.
const ENOUGH: usize = 45;
/// In seconds; what is advised.
const LONG_ENOUGH: f64 = 5.0;
/// The value of a whole run has slow phases in it: it must point in the same direction as the levels, by this part.
const AGREES: f64 = 0.03;

/// Bytes of a result at most: that of a run of a day is about half of it.
const LARGEST: u64 = 512 << 20;
/// Share of the time that the generator waited for a processor.
const BUSY: f64 = 0.25;
/// How much the margins grow with the square of that share: twice as large at [`BUSY`].
const GROWS: f64 = 16.0;

/// What is compared.
struct Key {
    name: &'static str,
    /// Of the run.
    whole: fn(&Report) -> Option<f64>,
    /// Of one interval; `None` where it has none.
    of: fn(&Interval) -> Option<f64>,
    /// Share of intervals below the level: the faster quarter.
    quantile: f64,
    /// Part of a ratio by which the levels must differ to count.
    margin: f64,
    /// Whether other programs change it beyond measure.
    is_latency: bool,
}

const KEYS: [Key; 5] = [
    Key {
        name: "messages_per_second",
        whole: |report| Some(report.messages_per_second),
        of: |interval| Some(interval.messages as f64 / interval.length_seconds),
        quantile: 0.75,
        margin: 0.12,
        is_latency: false,
    },
    Key {
        name: "latency_ns.p50",
        whole: |report| report.latency_ns.p50.map(|ns| ns as f64),
        of: |interval| interval.p50_ns.map(|ns| ns as f64),
        quantile: 0.25,
        margin: 0.15,
        is_latency: true,
    },
    Key {
        name: "latency_ns.p99",
        whole: |report| report.latency_ns.p99.map(|ns| ns as f64),
        of: |interval| interval.p99_ns.map(|ns| ns as f64),
        quantile: 0.25,
        margin: 0.40,
        is_latency: true,
    },
    Key {
        name: "generator.cpu_ns_per_message",
        whole: |report| report.generator.cpu_ns_per_message,
        of: |interval| per_message(interval, interval.generator_cpu_ns),
        quantile: 0.25,
        margin: 0.15,
        is_latency: false,
    },
    Key {
        name: "server.cpu_ns_per_message",
        whole: |report| report.server.as_ref()?.cpu_ns_per_message,
        of: |interval| per_message(interval, interval.server_cpu_ns),
        quantile: 0.25,
        margin: 0.12,
        is_latency: false,
    },
];

impl Key {
    /// Of the intervals that have one.
    fn values(&self, report: &Report) -> Vec<f64> {
        whole(&report.intervals).filter_map(self.of).collect()
    }
}

fn per_message(interval: &Interval, cpu: Option<u64>) -> Option<f64> {
    let cpu = cpu.filter(|_| interval.messages > 0)?;
    Some(cpu as f64 / interval.messages as f64)
}

/// Earlier results.
pub(super) struct Earlier {
    runs: Vec<(PathBuf, Report)>,
}

impl Earlier {
    /// # Errors
    /// If one of the files cannot be read, or is no result of this program.
    pub(super) fn read(files: &[PathBuf]) -> Result<Earlier, Failure> {
        let runs = files.iter().map(|path| Ok((path.clone(), read(path)?)));
        Ok(Earlier { runs: runs.collect::<Result<_, _>>()? })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// One line on stderr for each run that was not made as this one was, one if there is too little to judge, and one if the
    /// machine was too busy.
    pub(super) fn warn(&self, report: &Report, compared: &[Difference]) {
        if let Some(text) = self.too_short(report, compared) {
            note(format_args!("warning: {text}"));
        }
        let waited = self.waited(report);
        if waited > BUSY {
            note(format_args!(
                "warning: the machine was busy: the generator waited for a processor for {:.0} % of the time; latencies \
                 are not judged, and other differences need to be larger",
                waited * 100.0
            ));
        }
        for (path, earlier) in &self.runs {
            let differences = differences(earlier, report);
            if !differences.is_empty() {
                note(format_args!(
                    "warning: {} was measured in another way, so differences may come from that: {}",
                    path.display(),
                    one_line(differences.join(", "))
                ));
            }
        }
    }

    /// Share of the time that the generator waited for a processor, in the run in which it waited longest.
    fn waited(&self, report: &Report) -> f64 {
        let share = |report: &Report| {
            let waited = report.generator.waited_for_processor_ns.unwrap_or(0) as f64 / 1e9;
            waited / (report.duration_seconds * f64::from(report.config.threads))
        };
        self.runs.iter().map(|(_, run)| share(run)).fold(share(report), f64::max)
    }

    /// Key by key; without those that one side did not measure.
    pub(super) fn compare(&self, report: &Report) -> Vec<Difference> {
        KEYS.iter().filter_map(|key| self.compare_one(key, report)).collect()
    }

    /// Which keys are not judged because a side has too few intervals, in words.
    fn too_short(&self, report: &Report, compared: &[Difference]) -> Option<String> {
        let earlier = || self.runs.iter().map(|(_, run)| run);
        let (mut keys, mut seconds) = (Vec::new(), LONG_ENOUGH);
        for key in KEYS.iter().filter(|key| compared.iter().any(|one| one.key == key.name)) {
            let before = (earlier().map(|run| key.values(run).len()).sum(), earlier().map(length).sum());
            let after = (key.values(report).len(), length(report));
            let short: Vec<(usize, f64)> =
                [before, after].into_iter().filter(|(number, _)| *number < ENOUGH).collect();
            if !short.is_empty() {
                keys.push(key.name);
            }
            for (number, length) in short {
                // The last interval often has no value.
                seconds = seconds.max(length * 10.0 * LONG_ENOUGH / (number + 1) as f64);
            }
        }
        let which =
            if keys.len() == compared.len() { String::new() } else { format!(" {}", keys.join(", ")) };
        (!keys.is_empty()).then(|| {
            format!(
                "too short to compare{which}: a verdict needs {ENOUGH} intervals of 100 ms with messages, before and after; \
                 measure for at least {} seconds",
                // A little less than a whole second is one.
                (seconds - 0.05).ceil()
            )
        })
    }

    fn compare_one(&self, key: &Key, report: &Report) -> Option<Difference> {
        let before: Vec<Vec<f64>> = self.runs.iter().map(|(_, run)| key.values(run)).collect();
        let before: Vec<&[f64]> = before.iter().map(Vec::as_slice).collect();
        let after = key.values(report);
        let is_enough = before.iter().map(|run| run.len()).sum::<usize>() >= ENOUGH && after.len() >= ENOUGH;
        let level = |values: &[f64]| stats::quantile(values, key.quantile).filter(|level| *level > 0.0);
        let levels = ratio_of_runs(&before, &[&after], BLOCK, level, Resampling::default())?;
        let before: Vec<f64> = self.runs.iter().filter_map(|(_, run)| (key.whole)(run)).collect();
        let (before, after) = (stats::median(&before)?, (key.whole)(report)?);
        let ratio = after / before;
        let waited = self.waited(report);
        let margin = key.margin * (1.0 + GROWS * waited * waited);
        let judged = is_enough && !(key.is_latency && waited > BUSY);
        ratio.is_finite().then(|| Difference {
            key: key.name.to_owned(),
            before,
            after,
            ratio,
            low: levels.low.min(ratio),
            high: levels.high.max(ratio),
            judged,
            differs: judged && differs(levels, ratio, margin),
        })
    }
}

/// Whether the levels differ by more than the margin, and the whole runs agree with that.
fn differs(levels: Estimate, ratio: f64, margin: f64) -> bool {
    let (more, agrees) = (1.0 + margin, 1.0 + AGREES);
    (levels.is_above(more) && ratio > agrees) || (levels.is_below(1.0 / more) && ratio < 1.0 / agrees)
}

fn read(path: &Path) -> Result<Report, Failure> {
    let failed = |what: &str| {
        Failure::usage(format_args!(
            "cannot compare with {}: {what}; name a result of --json",
            path.display()
        ))
    };
    let mut text = String::new();
    let file = File::open(path).map_err(|error| failed(&error.to_string()))?;
    let read = file.take(LARGEST + 1).read_to_string(&mut text);
    if read.map_err(|error| failed(&error.to_string()))? as u64 > LARGEST {
        return Err(failed("it is larger than any result of `overlapped load`"));
    }
    let report: Report = serde_json::from_str(&text)
        .map_err(|error| failed(&format!("it is no result of `overlapped load`: {error}")))?;
    if report.intervals.is_empty() || report.messages == 0 {
        return Err(failed("no message was measured in it"));
    }
    let is_time = |seconds: f64| seconds > 0.0 && seconds.is_finite();
    if !is_time(report.duration_seconds) || !report.intervals.iter().all(|part| is_time(part.length_seconds))
    {
        return Err(failed("a time in it is none"));
    }
    Ok(report)
}

/// Without the last one, if it is much shorter than the others.
fn whole(intervals: &[Interval]) -> impl Iterator<Item = &Interval> {
    let longest = intervals.iter().map(|interval| interval.length_seconds).fold(0.0, f64::max);
    intervals.iter().filter(move |interval| interval.length_seconds >= longest / 2.0)
}

/// Of the measured part, in seconds.
fn length(report: &Report) -> f64 {
    report.duration_seconds
}

/// What was not the same, each with its earlier and its later value.
fn differences(before: &Report, after: &Report) -> Vec<String> {
    let [one, other] = [described(&before.config), described(&after.config)];
    let systems = [before, after].map(|report| {
        let system = &report.system;
        let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "unknown".to_owned());
        vec![
            ("processor", text(&system.processor)),
            ("kernel", text(&system.kernel)),
            ("backend", system.backend.clone()),
        ]
    });
    let pairs = one.iter().zip(&other).chain(systems[0].iter().zip(&systems[1]));
    pairs
        .filter(|(one, other)| one.1 != other.1)
        .map(|((name, one), (_, other))| format!("{name} was {one} and is {other}"))
        .collect()
}

/// What decides the figures of a run.
fn described(config: &Config) -> Vec<(&'static str, String)> {
    let Config { connections, size, pipeline, rate, threads, pin, behave, check, .. } = config;
    vec![
        ("connections", connections.to_string()),
        ("size", size.to_string()),
        ("pipeline", pipeline.to_string()),
        ("rate", rate.map_or("none".to_owned(), |rate| rate.to_string())),
        ("threads", threads.to_string()),
        ("pin", pin.to_string()),
        ("behave", behave.join(" ")),
        ("check", check.to_string()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::{build, samples, system};

    fn report(seed: u64, factor: f64) -> Report {
        let mut report = build::report(
            &samples::plan(),
            &samples::run(10.0, 100_000.0 * factor, seed),
            system::this("io_uring"),
        );
        for (at, interval) in report.intervals.iter_mut().enumerate() {
            // A slow phase of three seconds, somewhere.
            let slow = (at as u64 + 7 * seed) % 100 < 30;
            let scale = factor * if slow { 1.4 } else { 1.0 };
            interval.messages = (interval.messages as f64 / scale) as u64;
            if slow {
                interval.p50_ns = interval.p50_ns.map(|ns| ns * 7 / 5);
                interval.p99_ns = interval.p99_ns.map(|ns| ns * 7 / 5);
            }
        }
        report.messages = report.intervals.iter().map(|interval| interval.messages).sum();
        report.messages_per_second = report.messages as f64 / report.duration_seconds;
        report
    }

    fn compared(before: Vec<Report>, after: &Report) -> Vec<Difference> {
        let runs = before.into_iter().map(|report| (PathBuf::from("x.json"), report)).collect();
        Earlier { runs }.compare(after)
    }

    #[test]
    fn slow_phases_of_the_machine_are_noise() {
        for seed in 1..=10 {
            let differences = compared(vec![report(seed, 1.0)], &report(seed + 20, 1.0));
            let keys: Vec<_> = differences.iter().map(|difference| difference.key.as_str()).collect();
            assert_eq!(
                keys,
                ["messages_per_second", "latency_ns.p50", "latency_ns.p99", "generator.cpu_ns_per_message"]
            );
            assert!(differences.iter().all(|difference| !difference.differs), "{differences:?}");
        }
    }

    #[test]
    fn a_slower_server_is_found() {
        for seed in 1..=10 {
            let differences =
                compared(vec![report(seed, 1.0), report(seed + 40, 1.0)], &report(seed + 20, 1.3));
            assert!(differences[0].differs && differences[0].ratio < 1.0, "{differences:?}");
            assert!(differences[1].differs && differences[1].ratio > 1.0, "{differences:?}");
        }
    }

    /// The first `intervals` of a run.
    fn shorter(mut report: Report, intervals: usize) -> Report {
        report.intervals.truncate(intervals);
        report.duration_seconds = intervals as f64 / 10.0;
        report.messages = report.intervals.iter().map(|interval| interval.messages).sum();
        report.messages_per_second = report.messages as f64 / report.duration_seconds;
        report
    }

    fn short_of(before: Vec<Report>, after: &Report) -> Option<String> {
        let runs = before.into_iter().map(|report| (PathBuf::from("x.json"), report)).collect();
        let earlier = Earlier { runs };
        earlier.too_short(after, &earlier.compare(after))
    }

    /// A second that is a slow phase, and one that is not: no resampling of them knows that.
    #[test]
    fn a_short_run_is_not_judged() {
        let (slow, fast) = (shorter(report(0, 1.0), 10), shorter(report(5, 1.0), 10));
        assert!(slow.messages_per_second < 0.8 * fast.messages_per_second, "the example is one");
        let differences = compared(vec![slow.clone()], &fast);
        assert_eq!(differences.len(), 4);
        assert!(differences.iter().all(|one| !one.judged && !one.differs), "{differences:?}");
        let wanted = "too short to compare: a verdict needs 45 intervals of 100 ms with messages, before and after; \
                      measure for at least 5 seconds";
        assert_eq!(short_of(vec![slow], &fast).as_deref(), Some(wanted));
        // The last interval, of half the length, would count as a whole one.
        let mut shortest = shorter(report(2, 1.0), 2);
        shortest.duration_seconds = 0.15;
        assert_eq!(short_of(vec![report(1, 1.0)], &shortest).as_deref(), Some(wanted));
        for (before, after, is_enough) in [(100, 44, false), (44, 100, false), (45, 45, true)] {
            let (before, after) = (shorter(report(1, 1.0), before), shorter(report(2, 2.0), after));
            let differences = compared(vec![before.clone()], &after);
            assert!(differences.iter().all(|one| one.judged == is_enough), "{differences:?}");
            assert_eq!(short_of(vec![before], &after).is_none(), is_enough);
        }
        // Earlier runs count together.
        let several = vec![shorter(report(1, 1.0), 22), shorter(report(2, 1.0), 23)];
        assert!(compared(several, &report(3, 1.0)).iter().all(|one| one.judged));
    }

    /// As [`slow_phases_of_the_machine_are_noise`], with no more than is needed for a verdict.
    #[test]
    fn slow_phases_are_noise_in_the_shortest_runs() {
        for (one, other) in (0..20).flat_map(|one| (0..20).map(move |other| (one, other))).step_by(29) {
            let (one, other) = (shorter(report(one, 1.0), ENOUGH), shorter(report(other + 20, 1.0), ENOUGH));
            let differences = compared(vec![one], &other);
            assert!(differences.iter().all(|one| one.judged && !one.differs), "{differences:?}");
        }
    }

    /// Few messages: their latencies are not judged, and the time that they need is longer.
    #[test]
    fn rare_messages_need_a_longer_run() {
        let rare = |seed| {
            let mut report = report(seed, 1.0);
            for interval in report.intervals.iter_mut().enumerate().filter(|(at, _)| at % 4 != 0) {
                (interval.1.p50_ns, interval.1.p99_ns) = (None, None);
            }
            report
        };
        let differences = compared(vec![rare(1)], &rare(2));
        let judged: Vec<bool> = differences.iter().map(|one| one.judged).collect();
        assert_eq!(judged, [true, false, false, true], "{differences:?}");
        let text = short_of(vec![rare(1)], &rare(2)).unwrap();
        assert!(text.starts_with("too short to compare latency_ns.p50, latency_ns.p99: "), "{text}");
        assert!(text.ends_with("at least 20 seconds"), "{text}");
    }

    #[test]
    fn a_busy_machine_is_not_judged() {
        let (before, mut after) = (report(1, 1.0), report(2, 1.3));
        after.generator.waited_for_processor_ns = Some(4_000_000_000);
        let differences = compared(vec![before], &after);
        assert!(differences.iter().all(|difference| !difference.differs), "{differences:?}");
        let mut after = report(2, 4.0);
        after.generator.waited_for_processor_ns = Some(4_000_000_000);
        assert!(compared(vec![report(1, 1.0)], &after)[0].differs);
    }

    #[test]
    fn the_values_are_those_of_the_json() {
        let (before, after) = (report(1, 1.0), report(2, 1.3));
        let rates = compared(vec![before.clone()], &after).swap_remove(0);
        assert_eq!((rates.before, rates.after), (before.messages_per_second, after.messages_per_second));
        assert!(rates.low <= rates.ratio && rates.ratio <= rates.high, "{rates:?}");
    }

    #[test]
    fn other_configurations_are_named() {
        let (before, mut after) = (report(1, 1.0), report(2, 1.0));
        assert_eq!(differences(&before, &after), Vec::<String>::new());
        after.config.connections = 10;
        after.config.rate = Some(500.0);
        assert_eq!(
            differences(&before, &after),
            ["connections was 50 and is 10", "rate was none and is 500"]
        );
    }

    #[test]
    fn results_with_times_that_are_none_are_refused() {
        let path = std::env::temp_dir().join(format!("overlapped-compare-{}.json", std::process::id()));
        let refused = |change: fn(&mut Report)| {
            let mut report = report(1, 1.0);
            change(&mut report);
            std::fs::write(&path, serde_json::to_vec(&report).unwrap()).unwrap();
            read(&path).err().map(|failure| failure.line())
        };
        assert_eq!(refused(|_| {}), None);
        let wrong: [fn(&mut Report); 3] = [
            |report| report.duration_seconds = 0.0,
            |report| report.intervals[3].length_seconds = -0.1,
            |report| report.intervals[0].length_seconds = 0.0,
        ];
        for change in wrong {
            let failure = refused(change).expect("it is refused");
            assert!(failure.contains("a time in it is none; name a result of --json"), "{failure}");
        }
        std::fs::remove_file(&path).unwrap();
    }
}
