//! The percentile curve, and what each chart of the page is set in. A chart is drawn twice, for a wide and for a narrow
//! screen; the styles show one of them.

use std::fmt::Write;

use overlapped_measure::chart::{Axis, Chart, Scale, Series, Unit};
use overlapped_measure::number::nanoseconds;

use crate::load::report::{Latency, Report};

/// Width and height in CSS pixels, and the class that `page.css` shows.
const SCREENS: [(u32, u32, &str); 2] = [(960, 280, "wide"), (344, 220, "narrow")];

/// Opens a section with its heading and its charts.
pub(super) fn section(out: &mut String, heading: &str, about: &str, charts: &[Chart]) {
    let _ = writeln!(
        out,
        "<section class=\"card\">\n<header><h2>{heading}</h2><p class=\"small\">{about}</p></header>"
    );
    for (width, height, class) in SCREENS {
        let sized = |chart: &Chart| Chart { width, height: height.min(chart.height), ..chart.clone() };
        let sized: Vec<Chart> = charts.iter().map(sized).collect();
        for drawn in Chart::inline_aligned(&sized) {
            let _ = writeln!(out, "<figure class=\"{class}\">\n{drawn}</figure>");
        }
    }
}

pub(super) fn percentiles(out: &mut String, report: &Report) {
    let count = report.messages.max(1) as f64;
    // The last point is the longest one of all, which has no place on an endless axis: it stands at its share.
    let place = |quantile: f64| quantile.min(1.0 - 1.0 / (count + 1.0));
    let curve = |of: fn(&crate::load::report::Point) -> Option<u64>| -> Vec<(f64, f64)> {
        let points = report.percentiles.iter();
        points.filter_map(|point| Some((place(point.quantile), of(point)? as f64))).collect()
    };
    let scheduled = curve(|point| Some(point.latency_ns));
    let mut series = vec![Series::line("from the scheduled time of sending", scheduled)];
    if report.latency_actual_ns.is_some() {
        series.push(Series::line("from the actual time of sending", curve(|point| point.latency_actual_ns)));
    } else {
        series[0].name = "latency".to_owned();
    }
    let latency = &report.latency_ns;
    let chart = Chart {
        title: "Latency by percentile".to_owned(),
        description: in_words(latency),
        width: 0,
        height: u32::MAX,
        x: Axis::new("share of messages at most this late", Scale::Percentile, Unit::Share),
        y: Axis::new(
            "latency",
            scale(&report.percentiles.iter().map(|point| point.latency_ns).collect::<Vec<_>>()),
            Unit::Nanoseconds,
        ),
        series,
        bands: Vec::new(),
        lanes: Vec::new(),
    };
    let about = if report.latency_actual_ns.is_some() {
        "From the scheduled time, a message's latency includes how long it waited to be sent. Where the two curves part, \
         messages waited."
    } else {
        "The share of messages that took at most this long. Each mark to the right leaves a tenth of the messages: the \
         longest ones."
    };
    section(out, "Latency by percentile", about, &[chart]);
    table(out, report);
    out.push_str("</section>\n");
}

fn in_words(latency: &Latency) -> String {
    let time = |ns: Option<u64>| ns.map_or("unknown".to_owned(), |ns| nanoseconds(ns as f64));
    format!(
        "Half of the messages took at most {}, 99 % at most {}, 99.9 % at most {}; the longest took {}.",
        time(latency.p50),
        time(latency.p99),
        time(latency.p999),
        time(latency.max)
    )
}

/// Logarithmic where the values differ by more than a drawing can show.
pub(super) fn scale(values: &[u64]) -> Scale {
    let least = values.iter().copied().filter(|value| *value > 0).min().unwrap_or(1);
    let most = values.iter().copied().max().unwrap_or(1);
    if most / least >= 20 { Scale::Log } else { Scale::Linear }
}

fn table(out: &mut String, report: &Report) {
    let latency = &report.latency_ns;
    let mut columns = vec![("latency", latency)];
    if let Some(actual) = &report.latency_actual_ns {
        columns = vec![("from schedule", latency), ("from sending", actual)];
    }
    out.push_str("<div class=\"scroll\"><table class=\"numbers short\">\n<thead><tr><td></td>");
    for (name, _) in &columns {
        let _ = write!(out, "<th scope=\"col\">{name}</th>");
    }
    out.push_str("</tr></thead>\n<tbody>\n");
    type Of = fn(&Latency) -> Option<u64>;
    let rows: [(&str, Of); 6] = [
        ("min", |latency| latency.min),
        ("p50", |latency| latency.p50),
        ("p90", |latency| latency.p90),
        ("p99", |latency| latency.p99),
        ("p99.9", |latency| latency.p999),
        ("max", |latency| latency.max),
    ];
    for (name, of) in rows {
        let _ = write!(out, "<tr><th scope=\"row\">{name}</th>");
        for (_, latency) in &columns {
            let _ =
                write!(out, "<td>{}</td>", of(latency).map_or("–".to_owned(), |ns| nanoseconds(ns as f64)));
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody>\n</table></div>\n");
}
