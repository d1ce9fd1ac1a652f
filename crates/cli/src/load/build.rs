//! From what was measured to the report.

use std::time::{Duration, SystemTime};

use hdrhistogram::Histogram;
use overlapped::Choice;

use super::measured::{Counts, EventKind, Measured, Mismatch, ServerUse};
use super::plan::{Behaviour, Plan};
use super::report::{
    Config, Connections, Event, Generator, Interval, Kind, Latency, Point, Reason, Report, Server, Stall,
    System, WrongByte,
};

/// The report of one run, without what is said about it: assertions, search and comparison.
pub(crate) fn report(plan: &Plan, measured: &Measured, system: System) -> Report {
    let Measured { counts, elapsed, latency, latency_actual, .. } = measured;
    let per_second = ratio(counts.messages as f64, elapsed.as_secs_f64()).unwrap_or(0.0);
    Report {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        started_at: humantime::format_rfc3339_millis(SystemTime::UNIX_EPOCH + measured.began).to_string(),
        duration_seconds: elapsed.as_secs_f64(),
        interrupted: measured.interrupted,
        closed_loop: plan.rate.is_none(),
        messages: counts.messages,
        messages_per_second: per_second,
        bytes_per_second: per_second * plan.size as f64,
        latency_ns: latency_of(latency),
        latency_actual_ns: latency_actual.as_ref().map(latency_of),
        percentiles: percentiles(latency, latency_actual.as_ref()),
        connections: Connections {
            opened: counts.opened,
            failed: counts.failed,
            reset: counts.reset,
            ended_early: counts.ended_early,
        },
        unsent: counts.unsent,
        given_up: counts.given_up,
        timeouts: counts.timeouts,
        mismatches: counts.mismatches,
        errors: errors(counts),
        failures: counts
            .failures
            .iter()
            .map(|(reason, count)| Reason { reason: reason.clone(), count: *count })
            .collect(),
        first_mismatches: measured.first_mismatches.iter().map(wrong_byte).collect(),
        stalls: measured.stalls.iter().map(stall).collect(),
        events: measured.events.iter().map(event).collect(),
        intervals: measured.intervals.iter().map(interval).collect(),
        generator: generator(measured),
        server: measured.server.as_ref().map(|server| server_use(server, measured)),
        assertions: Vec::new(),
        search: None,
        highest_rate: None,
        comparison: None,
        config: config(plan),
        system,
    }
}

fn errors(counts: &Counts) -> u64 {
    counts.failed + counts.reset + counts.timeouts + counts.mismatches
}

/// `None` rather than a division by zero.
fn ratio(part: f64, whole: f64) -> Option<f64> {
    (whole > 0.0).then(|| part / whole)
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn latency_of(histogram: &Histogram<u64>) -> Latency {
    let any = !histogram.is_empty();
    let at = |quantile| any.then(|| histogram.value_at_quantile(quantile).min(histogram.max()));
    Latency {
        min: any.then(|| histogram.min()),
        p50: at(0.5),
        p90: at(0.9),
        p99: at(0.99),
        p999: at(0.999),
        max: any.then(|| histogram.max()),
        mean: any.then(|| histogram.mean()),
    }
}

/// Points that lie ever closer towards the end, where the curve is interesting.
fn percentiles(latency: &Histogram<u64>, actual: Option<&Histogram<u64>>) -> Vec<Point> {
    const POINTS_PER_HALF: u32 = 5;
    if latency.is_empty() {
        return Vec::new();
    }
    let point = |quantile: f64| Point {
        quantile,
        latency_ns: latency.value_at_quantile(quantile).min(latency.max()),
        latency_actual_ns: actual
            .filter(|actual| !actual.is_empty())
            .map(|actual| actual.value_at_quantile(quantile).min(actual.max())),
    };
    let mut quantiles: Vec<f64> =
        latency.iter_quantiles(POINTS_PER_HALF).map(|step| step.quantile_iterated_to()).collect();
    quantiles.dedup();
    quantiles.into_iter().map(point).collect()
}

fn wrong_byte(mismatch: &Mismatch) -> WrongByte {
    let Mismatch { connection, offset, expected, got } = *mismatch;
    WrongByte { connection, offset, expected, got }
}

fn stall(stall: &super::measured::Stall) -> Stall {
    Stall {
        at_seconds: stall.at.as_secs_f64(),
        length_seconds: stall.length.as_secs_f64(),
        connections: stall.connections,
    }
}

fn event(event: &super::measured::Event) -> Event {
    let kind = match event.kind {
        EventKind::Reset => Kind::Reset,
        EventKind::Timeout => Kind::Timeout,
        EventKind::Mismatch => Kind::Mismatch,
        EventKind::ConnectFailed => Kind::ConnectFailed,
    };
    Event { at_seconds: event.at.as_secs_f64(), kind, count: event.count }
}

fn interval(interval: &super::measured::Interval) -> Interval {
    // Messages of slow readers count, and their latencies do not.
    let any = |ns: u64| (interval.max > 0).then_some(ns);
    Interval {
        at_seconds: interval.at.as_secs_f64(),
        length_seconds: interval.length.as_secs_f64(),
        messages: interval.messages,
        p50_ns: any(interval.p50),
        p90_ns: any(interval.p90),
        p99_ns: any(interval.p99),
        max_ns: any(interval.max),
        generator_cpu_ns: interval.generator_cpu.map(nanoseconds),
        server_cpu_ns: interval.server_cpu.map(nanoseconds),
    }
}

fn cpu_percent(cpu: Duration, elapsed: Duration) -> f64 {
    ratio(cpu.as_secs_f64(), elapsed.as_secs_f64()).unwrap_or(0.0) * 100.0
}

fn generator(measured: &Measured) -> Generator {
    let Measured { generator, late, elapsed, counts, .. } = measured;
    let any = !late.is_empty();
    let late_at = |quantile| any.then(|| late.value_at_quantile(quantile).min(late.max()));
    Generator {
        cpu_percent: cpu_percent(generator.cpu, *elapsed),
        cpu_ns_per_message: ratio(generator.cpu.as_nanos() as f64, counts.messages as f64),
        busiest_thread_percent: generator.busiest_thread * 100.0,
        waited_for_processor_ns: generator.waited_for_processor.map(nanoseconds),
        late_ns_p50: late_at(0.5),
        late_ns_p99: late_at(0.99),
        late_ns_max: late_at(1.0),
        bottleneck: generator.bottleneck.clone(),
    }
}

fn server_use(server: &ServerUse, measured: &Measured) -> Server {
    Server {
        cpu_percent: cpu_percent(server.cpu, measured.elapsed),
        cpu_ns_per_message: ratio(server.cpu.as_nanos() as f64, measured.counts.messages as f64),
        rss_bytes: server.rss_bytes,
        voluntary_switches: server.voluntary_switches,
        involuntary_switches: server.involuntary_switches,
    }
}

fn config(plan: &Plan) -> Config {
    Config {
        target: plan.target.clone(),
        addresses: plan.addresses.iter().map(ToString::to_string).collect(),
        connections: plan.connections,
        size: plan.size,
        pipeline: plan.pipeline,
        rate: plan.rate,
        duration_seconds: plan.duration.as_secs_f64(),
        warmup_seconds: plan.warmup.as_secs_f64(),
        reply_timeout_seconds: plan.reply_timeout.as_secs_f64(),
        threads: plan.threads,
        pin: plan.pin,
        backend: match plan.backend {
            Choice::Only(kind) => kind.to_string(),
            _ => "auto".to_owned(),
        },
        behave: plan.behaviours.iter().map(behaviour).collect(),
        check: plan.check,
        server_pid: plan.server_pid,
    }
}

fn behaviour(behaviour: &Behaviour) -> String {
    match behaviour {
        Behaviour::Normal => "normal".to_owned(),
        Behaviour::Churn => "churn".to_owned(),
        Behaviour::HalfClose => "half-close".to_owned(),
        Behaviour::SlowReader => "slow-reader".to_owned(),
        Behaviour::Reset { percent } => format!("reset={percent}"),
    }
}
