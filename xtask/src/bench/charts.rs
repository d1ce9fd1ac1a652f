//! The pictures of `docs/benchmarks.md`.

use overlapped_measure::chart::{Axis, Chart, Scale, Series, Unit};

use super::summary::Middle;

/// Of one server.
#[derive(Clone, Debug)]
pub(super) struct Curve {
    pub(super) name: String,
    pub(super) points: Vec<(f64, Middle)>,
}

const WIDTH: u32 = 760;
const HEIGHT: u32 = 340;

pub(super) fn sessions(curves: Vec<Curve>) -> String {
    let x = Axis::new("sessions", Scale::Log, Unit::Number);
    let y = Axis::new("server CPU per message", Scale::Linear, Unit::Nanoseconds);
    chart("Messages of 64 B: cost over the number of sessions", x, y, curves)
}

pub(super) fn sizes(curves: Vec<Curve>) -> String {
    let x = Axis::new("size of a message", Scale::Log, Unit::Bytes);
    let y = Axis::new("server CPU per message", Scale::Log, Unit::Nanoseconds);
    chart("50 sessions: cost over the size of a message", x, y, curves)
}

pub(super) fn memory(curves: Vec<Curve>) -> String {
    let x = Axis::new("idle sessions", Scale::Log, Unit::Number);
    let y = Axis::new("resident memory per session", Scale::Log, Unit::Bytes);
    chart("Memory of an idle session that has echoed once", x, y, curves)
}

pub(super) fn connections(curves: Vec<Curve>) -> String {
    let x = Axis::new("clients at the same time", Scale::Log, Unit::Number);
    let y = Axis::new("connections per second", Scale::Linear, Unit::Number);
    chart("Connect, one echo, close: connections per second", x, y, curves)
}

/// Of what the guest measured: several times over the same numbers of sessions, in ns for each session.
pub(super) fn guest(curves: Vec<Curve>) -> String {
    let x = Axis::new("sessions", Scale::Linear, Unit::Number);
    let y = Axis::new("time per session", Scale::Linear, Unit::Nanoseconds);
    chart("Time per session, in a machine of qemu", x, y, curves)
}

/// Medians as lines, with the middle half of the rounds around them.
fn chart(title: &str, x: Axis, y: Axis, curves: Vec<Curve>) -> String {
    let described: Vec<String> = curves.iter().filter_map(|curve| described(curve, &x, &y)).collect();
    let chart = Chart {
        title: title.to_owned(),
        description: format!("{} over {}. {}", y.label, x.label, described.join(" ")),
        width: WIDTH,
        height: HEIGHT,
        x,
        y,
        series: curves.into_iter().map(series).collect(),
        bands: Vec::new(),
        lanes: Vec::new(),
    };
    chart.standalone()
}

/// Its first and last point in words, for those who do not see the chart.
fn described(curve: &Curve, x: &Axis, y: &Axis) -> Option<String> {
    let ((from, first), (to, last)) = (curve.points.first()?, curve.points.last()?);
    Some(format!(
        "{}: {} at {}, {} at {}.",
        curve.name,
        y.unit.written(first.median),
        x.unit.written(*from),
        y.unit.written(last.median),
        x.unit.written(*to)
    ))
}

fn series(curve: Curve) -> Series {
    Series {
        name: curve.name,
        points: curve.points.iter().map(|(x, middle)| (*x, middle.median)).collect(),
        range: curve.points.iter().map(|(x, middle)| (*x, middle.low, middle.high)).collect(),
        dots: true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chart_names_its_servers_and_says_what_is_to_be_seen() {
        let point = |x: f64, y: f64| {
            (x, Middle { median: y, low: y * 0.9, high: y * 1.1, least: y * 0.8, most: y * 1.2 })
        };
        let ours =
            Curve { name: "overlapped".to_owned(), points: vec![point(1.0, 9000.0), point(1000.0, 6000.0)] };
        let none = Curve { name: "gone".to_owned(), points: Vec::new() };
        let svg = sessions(vec![ours, none]);
        assert!(svg.starts_with("<svg") && svg.contains("overlapped"), "{svg}");
        assert!(svg.contains("overlapped: 9 µs at 1, 6 µs at 1 k."), "{svg}");
    }
}
