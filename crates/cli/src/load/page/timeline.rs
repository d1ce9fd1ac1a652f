//! What happened over time: latencies with stalls and errors, the rate, and the CPU time of the server.

use overlapped_measure::chart::{Axis, Band, Chart, Lane, Scale, Series, Unit};
use overlapped_measure::number::{count, nanoseconds};
use overlapped_measure::stats::median;

use super::charts::{scale, section};
use crate::load::report::{Interval, Kind, Report};
use crate::units;

/// Height of the lower charts.
const LOW: u32 = 150;
/// Points of a line at most: more would only be a thick band.
const POINTS: usize = 150;
/// Stalls up to which each is named in the charts.
const NAMED: usize = 6;

pub(super) fn timeline(out: &mut String, report: &Report) {
    let parts = parts(report);
    let charts: Vec<Chart> =
        [Some(latencies(report, &parts)), Some(rates(report, &parts)), server(report, &parts)]
            .into_iter()
            .flatten()
            .collect();
    let length = parts.first().map_or(0.1, |part| part.length_seconds);
    let mut about = format!("By intervals of {}.", nanoseconds(length * 1e9));
    if parts.len() < report.intervals.len() {
        about += " p50 and p99 are the median of those of its parts, max is the longest of all.";
    }
    if !report.stalls.is_empty() {
        about += " Shaded: stalls, in which connections waited and no echo came.";
    }
    if !report.events.is_empty() {
        about += " Marked below: errors.";
    }
    section(out, "Over time", &about, &charts);
    out.push_str("</section>\n");
}

/// The intervals, joined where there are more of them than points.
fn parts(report: &Report) -> Vec<Interval> {
    let together = report.intervals.len().div_ceil(POINTS).max(1);
    report.intervals.chunks(together).map(joined).collect()
}

fn joined(parts: &[Interval]) -> Interval {
    let middle = |of: fn(&Interval) -> Option<u64>| {
        let values: Vec<f64> = parts.iter().filter_map(of).map(|ns| ns as f64).collect();
        median(&values).map(|ns| ns as u64)
    };
    Interval {
        at_seconds: parts.first().map_or(0.0, |first| first.at_seconds),
        length_seconds: parts.iter().map(|part| part.length_seconds).sum(),
        messages: parts.iter().map(|part| part.messages).sum(),
        p50_ns: middle(|part| part.p50_ns),
        p90_ns: middle(|part| part.p90_ns),
        p99_ns: middle(|part| part.p99_ns),
        max_ns: parts.iter().filter_map(|part| part.max_ns).max(),
        generator_cpu_ns: parts.iter().map(|part| part.generator_cpu_ns).sum(),
        server_cpu_ns: parts.iter().map(|part| part.server_cpu_ns).sum(),
    }
}

/// A chart over the time of the run, with its stalls.
fn over_time(report: &Report, title: &str, y: Axis, series: Vec<Series>, description: String) -> Chart {
    let bands = report.stalls.iter().map(|stall| Band {
        from: stall.at_seconds,
        to: stall.at_seconds + stall.length_seconds,
        label: if report.stalls.len() <= NAMED { "stall".to_owned() } else { String::new() },
    });
    Chart {
        title: title.to_owned(),
        description,
        width: 0,
        height: LOW,
        x: Axis::new("time since the end of the warm-up", Scale::Linear, Unit::Seconds)
            .between(0.0, report.duration_seconds),
        y,
        series,
        bands: bands.collect(),
        lanes: Vec::new(),
    }
}

/// In the middle of each interval; what is not a number interrupts the line.
fn points(parts: &[Interval], of: impl Fn(&Interval) -> f64) -> Vec<(f64, f64)> {
    let middle = |interval: &Interval| interval.at_seconds + interval.length_seconds / 2.0;
    parts.iter().map(|part| (middle(part), of(part))).collect()
}

fn latencies(report: &Report, parts: &[Interval]) -> Chart {
    let line = |name: &str, of: fn(&Interval) -> Option<u64>| {
        Series::line(name, points(parts, |interval| of(interval).map_or(f64::NAN, |ns| ns as f64)))
    };
    let series = vec![
        line("p50", |interval| interval.p50_ns),
        line("p99", |interval| interval.p99_ns),
        line("max", |interval| interval.max_ns),
    ];
    let values: Vec<u64> =
        parts.iter().flat_map(|interval| [interval.p50_ns, interval.max_ns]).flatten().collect();
    let stalls = units::count(report.stalls.len() as u64, "stall");
    let events: u64 = report.events.iter().map(|event| event.count).sum();
    let description = format!(
        "Median, 99th percentile and longest latency of each interval; {stalls}, {}.",
        units::count(events, "error")
    );
    let y = Axis::new("latency", scale(&values), Unit::Nanoseconds);
    let mut chart = over_time(report, "Latency over time", y, series, description);
    chart.height = u32::MAX;
    chart.lanes = lanes(report);
    chart
}

/// One for each kind of event that there was.
fn lanes(report: &Report) -> Vec<Lane> {
    let kinds = [
        (Kind::ConnectFailed, "connects"),
        (Kind::Reset, "resets"),
        (Kind::Timeout, "timeouts"),
        (Kind::Mismatch, "mismatches"),
    ];
    let lane = |(kind, name): (Kind, &str)| {
        let events = report.events.iter().filter(|event| event.kind == kind);
        Lane { name: name.to_owned(), marks: events.map(|event| (event.at_seconds, event.count)).collect() }
    };
    kinds.map(lane).into_iter().filter(|lane| !lane.marks.is_empty()).collect()
}

fn rates(report: &Report, parts: &[Interval]) -> Chart {
    let rate = |interval: &Interval| interval.messages as f64 / interval.length_seconds;
    let series = vec![Series::line("messages/s", points(parts, rate))];
    let average = count(report.messages_per_second.round() as u64);
    let description = format!("Echoes that were complete, by interval; {average} per second on average.");
    let mut y = Axis::new("messages per second", Scale::Linear, Unit::Number);
    y.from = Some(0.0);
    over_time(report, "Messages per second over time", y, series, description)
}

/// With `--server-pid`.
fn server(report: &Report, parts: &[Interval]) -> Option<Chart> {
    let server = report.server.as_ref()?;
    parts.iter().find_map(|part| part.server_cpu_ns)?;
    let share = |interval: &Interval| {
        interval.server_cpu_ns.map_or(f64::NAN, |ns| ns as f64 / 1e9 / interval.length_seconds)
    };
    let series = vec![Series::line("server", points(parts, share))];
    let description = format!("CPU time of the server by interval; {:.0} % on average.", server.cpu_percent);
    let mut y = Axis::new("server, of a processor", Scale::Linear, Unit::Share);
    y.from = Some(0.0);
    Some(over_time(report, "CPU time of the server", y, series, description))
}
