//! Drawing, from the back to the front.

use std::fmt::Write;

use super::frame::{Frame, SAMPLE};
use super::svg::{Anchor, Svg, escaped, width_of};
use super::{Chart, STYLES, Scale, Series};

/// Where a drawing will stand.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Home {
    Page,
    File,
}

/// Width of the left margin.
pub(super) fn left(chart: &Chart) -> f64 {
    Frame::of(chart, false, 0.0).left
}

/// With a left margin of at least `least_left`.
pub(super) fn chart(chart: &Chart, home: Home, least_left: f64) -> String {
    let frame = Frame::of(chart, home == Home::File, least_left);
    let mut svg = Svg::new();
    svg.raw(&open(chart, &frame, home));
    if let Some(y) = frame.title {
        svg.text("title", (0.0, y), &Anchor::Start, &chart.title);
    }
    bands(&mut svg, chart, &frame);
    grid(&mut svg, chart, &frame);
    lanes(&mut svg, chart, &frame);
    for (at, series) in chart.series.iter().enumerate() {
        range(&mut svg, series, at, &frame);
    }
    // The first series is the most important one, and lies above the others.
    for (at, series) in chart.series.iter().enumerate().rev() {
        line(&mut svg, chart, series, at, &frame);
    }
    legend(&mut svg, chart, &frame);
    if chart.series.iter().all(|series| series.points.is_empty()) {
        let middle = (f64::midpoint(frame.left, frame.right), f64::midpoint(frame.top, frame.bottom));
        svg.text("", middle, &Anchor::Middle, "no data");
    }
    svg.raw("</svg>\n");
    svg.into_text()
}

fn open(chart: &Chart, frame: &Frame, home: Home) -> String {
    let Frame { width, height, .. } = frame;
    let mut out = String::new();
    let label = escaped(&format!("{}. {}", chart.title.trim_end_matches('.'), chart.description));
    // In a file, a margin: nothing else gives it one.
    let margin = if home == Home::File { 12.0 } else { 0.0_f64 };
    let corner = 0.0 - margin;
    let (wide, high) = (width + 2.0 * margin, height + 2.0 * margin);
    let size =
        if home == Home::File { format!(" width=\"{wide:.0}\" height=\"{high:.0}\"") } else { String::new() };
    let _ = writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"chart\" viewBox=\"{corner:.0} {corner:.0} {wide:.0} \
         {high:.0}\"{size} role=\"img\" aria-label=\"{label}\">"
    );
    if home == Home::File {
        let _ = write!(
            out,
            "<title>{}</title>\n<desc>{}</desc>\n<style>\n{STYLES}</style>\n\
             <rect class=\"paper\" x=\"{corner:.0}\" y=\"{corner:.0}\" width=\"{wide:.0}\" height=\"{high:.0}\"/>\n",
            escaped(&chart.title),
            escaped(&chart.description)
        );
    }
    out
}

fn bands(svg: &mut Svg, chart: &Chart, frame: &Frame) {
    // Labels must not touch each other.
    let mut free_from = frame.left;
    for band in &chart.bands {
        let place = |value: f64| {
            let share = frame.x.share(value)?.clamp(0.0, 1.0);
            Some(frame.left + share * (frame.right - frame.left))
        };
        let (Some(from), Some(to)) = (place(band.from), place(band.to)) else { continue };
        let width = (to - from).max(2.0);
        svg.rect("band", (from, frame.top), (width, frame.bottom - frame.top), &band.label);
        let wanted = width_of(&band.label);
        let at = from.min(frame.right - wanted);
        if !band.label.is_empty() && at >= free_from && wanted <= width.max(60.0) {
            svg.text("band-label", (at + 3.0, frame.top + 13.0), &Anchor::Start, &band.label);
            free_from = at + wanted + 8.0;
        }
    }
}

fn grid(svg: &mut Svg, chart: &Chart, frame: &Frame) {
    for tick in &frame.y_ticks {
        let Some(y) = frame.y(tick.value) else { continue };
        svg.line("grid", (frame.left, y), (frame.right, y));
        svg.text("", (frame.left - 8.0, y + 4.0), &Anchor::End, &tick.label);
    }
    let mut free_from = f64::NEG_INFINITY;
    for tick in &frame.x_ticks {
        let Some(x) = frame.x(tick.value) else { continue };
        if chart.x.scale != Scale::Linear {
            svg.line("grid", (x, frame.top), (x, frame.bottom));
        }
        svg.line("axis", (x, frame.bottom), (x, frame.bottom + 4.0));
        // A label that would touch its neighbour is left out; its mark stays.
        let width = width_of(&tick.label);
        let left = (x - width / 2.0).min(frame.width - width);
        if left >= free_from {
            let middle = left + width / 2.0;
            svg.text("", (middle, frame.x_marks), &Anchor::Middle, &tick.label);
            free_from = left + width + 6.0;
        }
    }
    svg.line("axis", (frame.left, frame.bottom), (frame.right, frame.bottom));
    svg.text("", (0.0, frame.top - 14.0), &Anchor::Start, &chart.y.label);
    svg.text("", (frame.right, frame.x_label), &Anchor::End, &chart.x.label);
}

fn lanes(svg: &mut Svg, chart: &Chart, frame: &Frame) {
    for (lane, y) in chart.lanes.iter().zip(&frame.lanes) {
        svg.text("", (frame.left - 8.0, *y), &Anchor::End, &lane.name);
        svg.line("grid", (frame.left, y - 4.0), (frame.right, y - 4.0));
        let mut marks = lane.marks.clone();
        marks.sort_unstable_by(|one, other| one.0.total_cmp(&other.0));
        // One for each three pixels: a page with thousands of events stays small.
        let mut drawn: Vec<(f64, u64)> = Vec::new();
        for (x, count) in marks.iter().filter_map(|(at, count)| Some((frame.x(*at)?, *count))) {
            match drawn.last_mut() {
                Some((last, total)) if x - *last < 3.0 => *total += count,
                _ => drawn.push((x, count)),
            }
        }
        for (x, count) in drawn {
            let hint = format!("{}: {count}", lane.name);
            svg.rect("mark", (x - 1.0, y - 10.0), (2.5, 11.0), &hint);
        }
    }
}

fn range(svg: &mut Svg, series: &Series, at: usize, frame: &Frame) {
    let place = |x: f64, y: f64| Some((frame.x(x)?, frame.y(y)?));
    let high = series.range.iter().filter_map(|(x, _, high)| place(*x, *high));
    let low = series.range.iter().rev().filter_map(|(x, low, _)| place(*x, *low));
    let corners: Vec<_> = high.chain(low).collect();
    svg.area(&format!("range c{}", at % 6), &corners);
}

fn line(svg: &mut Svg, chart: &Chart, series: &Series, at: usize, frame: &Frame) {
    let mut parts = vec![Vec::new()];
    for (x, y) in &series.points {
        match (frame.x(*x), frame.y(*y)) {
            (Some(x), Some(y)) => parts.last_mut().into_iter().for_each(|part| part.push((x, y))),
            _ => parts.push(Vec::new()),
        }
    }
    let thin: Vec<Vec<(f64, f64)>> = parts.iter().map(|part| thinned(part)).collect();
    svg.lines(&format!("line {}", look(at)), &thin);
    if series.dots {
        for (x, y) in &series.points {
            let (Some(left), Some(top)) = (frame.x(*x), frame.y(*y)) else { continue };
            let hint = format!("{}: {}, {}", series.name, chart.x.unit.written(*x), chart.y.unit.written(*y));
            svg.dot(&format!("dot c{}", at % 6), (left, top), &hint);
        }
    }
}

/// At most four points for each pixel column: its first, lowest, highest and last, so that no peak is lost.
fn thinned(part: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let mut out: Vec<(f64, f64)> = Vec::new();
    for column in part.chunk_by(|one, other| one.0.floor() as i64 == other.0.floor() as i64) {
        if column.len() <= 4 {
            out.extend_from_slice(column);
            continue;
        }
        let by_height = |one: &&(f64, f64), other: &&(f64, f64)| one.1.total_cmp(&other.1);
        let ends =
            [column.first(), column.iter().min_by(by_height), column.iter().max_by(by_height), column.last()];
        out.extend(ends.into_iter().flatten());
    }
    out
}

fn legend(svg: &mut Svg, chart: &Chart, frame: &Frame) {
    for (at, (series, (x, y))) in chart.series.iter().zip(&frame.legend).enumerate() {
        svg.line(&format!("line {}", look(at)), (*x, y - 4.0), (x + SAMPLE - 8.0, y - 4.0));
        svg.text("legend", (x + SAMPLE, *y), &Anchor::Start, &series.name);
    }
}

fn look(at: usize) -> String {
    format!("c{}{}", at % 6, if (at / 6).is_multiple_of(2) { "" } else { " dashed" })
}
