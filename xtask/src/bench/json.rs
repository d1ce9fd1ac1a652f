//! The JSON of a run: what was measured, and what follows from it.

use std::path::Path;

use overlapped_measure::stats::Estimate;
use serde::Serialize;

use super::results::Results;
use super::summary::{self, Row, Verdict};
use crate::bounded::Failure;

#[derive(Serialize)]
struct Written<'r> {
    summary: Vec<Summary>,
    #[serde(flatten)]
    results: &'r Results,
}

/// A server in a workload. What is compared is named in the job, as `measure`.
#[derive(Serialize)]
struct Summary {
    workload: String,
    server: String,
    rounds: u32,
    noisy: u32,
    repeated: u32,
    failed: u32,
    failure: Option<String>,
    median: Option<f64>,
    /// Of the middle half of the rounds.
    low: Option<f64>,
    high: Option<f64>,
    least: Option<f64>,
    per_second: Option<f64>,
    p50_ns: Option<f64>,
    p99_ns: Option<f64>,
    p999_ns: Option<f64>,
    ratios: Vec<Ratio>,
}

/// One of ours over this server.
#[derive(Serialize)]
struct Ratio {
    ours: String,
    ratio: f64,
    low: f64,
    high: f64,
    /// `null` for a single round.
    verdict: Option<&'static str>,
}

pub(super) fn write(results: &Results, file: &Path) -> Result<(), Failure> {
    let summary = results.jobs.iter().flat_map(|job| {
        let ours: Vec<&str> = summary::ours(job).map(|server| server.name.as_str()).collect();
        let rows = summary::rows(results, job);
        rows.iter().map(|row| summary_of(&job.workload.key, row, &ours)).collect::<Vec<_>>()
    });
    let written = Written { summary: summary.collect(), results };
    let text = serde_json::to_string_pretty(&written).map_err(|error| error.to_string())?;
    std::fs::write(file, text + "\n").map_err(|error| format!("{}: {error}", file.display()))
}

fn summary_of(workload: &str, row: &Row, ours: &[&str]) -> Summary {
    let ratio = |(ours, ratio): (&&str, &summary::Ratio)| {
        let Estimate { value, low, high } = ratio.estimate()?;
        let verdict = ratio.verdict().map(Verdict::name);
        Some(Ratio { ours: (*ours).to_owned(), ratio: value, low, high, verdict })
    };
    Summary {
        workload: workload.to_owned(),
        server: row.server.name.clone(),
        rounds: row.rounds,
        noisy: row.noisy,
        repeated: row.repeated,
        failed: row.failed,
        failure: row.failure.map(str::to_owned),
        median: row.decisive.map(|middle| middle.median),
        low: row.decisive.map(|middle| middle.low),
        high: row.decisive.map(|middle| middle.high),
        least: row.decisive.map(|middle| middle.least),
        per_second: row.median(|figures| figures.per_second),
        p50_ns: row.median(|figures| figures.p50_ns),
        p99_ns: row.median(|figures| figures.p99_ns),
        p999_ns: row.median(|figures| figures.p999_ns),
        ratios: ours.iter().zip(&row.ratios).filter_map(ratio).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::summary::tests::sample_results;
    use super::*;

    #[test]
    fn the_file_has_samples_medians_and_ratios() {
        let file = std::env::temp_dir().join(format!("overlapped-bench-{}.json", std::process::id()));
        write(&sample_results(), &file).unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::remove_file(&file).unwrap();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        let summary = value["summary"].as_array().unwrap();
        let mio = summary.iter().find(|one| one["server"] == "mio").unwrap();
        assert_eq!(mio["ratios"][1]["verdict"], "behind");
        assert_eq!(mio["failed"], 2);
        assert_eq!(value["machine"]["fsrm"], true);
        assert_eq!(value["samples"][0]["outcome"]["measured"]["cpu_ns"], 6000.0);
        assert_eq!(value["jobs"][0]["workload"]["measure"], "cpu-per-message");
    }
}
