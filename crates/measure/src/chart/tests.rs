use proptest::prelude::*;

use super::*;

fn chart(series: Vec<Series>) -> Chart {
    Chart {
        title: "Latency".to_owned(),
        description: "It rises.".to_owned(),
        width: 400,
        height: 200,
        x: Axis::new("time", Scale::Linear, Unit::Seconds),
        y: Axis::new("latency", Scale::Log, Unit::Nanoseconds),
        series,
        bands: Vec::new(),
        lanes: Vec::new(),
    }
}

#[test]
fn a_chart_says_what_it_shows() {
    let drawn = chart(vec![Series::line("p50", vec![(0.0, 1e3), (1.0, 1e5)])]).inline();
    assert!(drawn.starts_with("<svg ") && drawn.ends_with("</svg>\n"), "{drawn}");
    assert!(drawn.contains("role=\"img\" aria-label=\"Latency. It rises.\""), "{drawn}");
    for text in [">latency<", ">time<", ">1 µs<", ">100 µs<", ">0.0 s<", ">1.0 s<"] {
        assert!(drawn.contains(text), "{text}: {drawn}");
    }
    assert!(!drawn.contains("no data") && !drawn.contains("<style>"), "{drawn}");
}

#[test]
fn a_file_has_its_styles_and_its_title() {
    let drawn = chart(Vec::new()).standalone();
    for text in ["prefers-color-scheme: dark", "<title>Latency</title>", "<desc>It rises.</desc>", "no data"]
    {
        assert!(drawn.contains(text), "{text}: {drawn}");
    }
}

#[test]
fn several_series_have_a_legend() {
    let points = vec![(0.0, 1.0), (1.0, 2.0)];
    let one = chart(vec![Series::line("alone", points.clone())]).inline();
    assert!(!one.contains("alone"), "{one}");
    let two = chart(vec![Series::line("a & b", points.clone()), Series::line("<c>", points)]).inline();
    assert!(two.contains(">a &amp; b<") && two.contains(">&lt;c&gt;<"), "{two}");
}

#[test]
fn aligned_charts_begin_at_the_same_place() {
    let points = vec![(0.0, 1.0), (1.0, 2.0)];
    let narrow = chart(vec![Series::line("a", points.clone())]);
    let mut wide = chart(vec![Series::line("a", points)]);
    wide.lanes.push(Lane { name: "a long name".to_owned(), marks: vec![(0.5, 1)] });
    let begins = |drawn: &str| drawn.lines().find(|line| line.contains("\"line c0\"")).unwrap().to_owned();
    let drawn = Chart::inline_aligned(&[narrow.clone(), wide]);
    let place = |line: String| line.split_once("d=\"M").unwrap().1.split_once(' ').unwrap().0.to_owned();
    assert_eq!(place(begins(&drawn[0])), place(begins(&drawn[1])));
    assert_ne!(place(begins(&drawn[0])), place(begins(&narrow.inline())));
}

#[test]
fn what_has_no_place_interrupts_the_line() {
    let points = vec![(0.0, 1e3), (1.0, 1e4), (2.0, 0.0), (3.0, 1e3), (4.0, 1e4)];
    let drawn = chart(vec![Series::line("p50", points)]).inline();
    let line = drawn.lines().find(|line| line.contains("class=\"line")).unwrap();
    assert_eq!(line.matches('M').count(), 2, "{line}");
}

#[test]
fn thousands_of_points_and_marks_stay_small() {
    let points = (0..100_000).map(|at| (f64::from(at), 1e3 + f64::from(at % 1000))).collect();
    let mut many = chart(vec![Series::line("p50", points)]);
    many.lanes
        .push(Lane { name: "resets".to_owned(), marks: (0..50_000).map(|at| (f64::from(at), 2)).collect() });
    let drawn = many.inline();
    assert!(drawn.len() < 60_000, "{} bytes", drawn.len());
    let marked: u64 = drawn
        .split("<title>resets: ")
        .skip(1)
        .map(|rest| rest.split('<').next().unwrap().parse::<u64>().unwrap())
        .sum();
    assert_eq!(marked, 100_000);
}

fn any_number() -> impl Strategy<Value = f64> {
    prop_oneof![any::<f64>(), -10.0..10.0, Just(0.0), Just(f64::NAN), Just(1.0)]
}

fn any_scale() -> impl Strategy<Value = Scale> {
    prop_oneof![Just(Scale::Linear), Just(Scale::Log), Just(Scale::Percentile)]
}

fn any_unit() -> impl Strategy<Value = Unit> {
    let units = [Unit::Number, Unit::Nanoseconds, Unit::Seconds, Unit::Bytes, Unit::Share];
    prop::sample::select(units.to_vec())
}

proptest! {
    /// Whatever the data are, a drawing comes out, and every number in it is one.
    #[test]
    fn any_data_are_drawn(
        points in prop::collection::vec((any_number(), any_number()), 0..20),
        range in prop::collection::vec((any_number(), any_number(), any_number()), 0..5),
        band in (any_number(), any_number()),
        mark in (any_number(), any::<u64>()),
        scales in (any_scale(), any_scale()),
        units in (any_unit(), any_unit()),
        ends in (prop::option::of(any_number()), prop::option::of(any_number())),
        (width, height) in (0u32..2000, 0u32..1000),
        dots: bool,
    ) {
        let mut chart = chart(vec![Series { name: "s".into(), points, range, dots }, Series::default()]);
        (chart.width, chart.height) = (width, height);
        (chart.x.scale, chart.y.scale, chart.x.unit, chart.y.unit) = (scales.0, scales.1, units.0, units.1);
        (chart.x.from, chart.y.to) = ends;
        chart.bands.push(Band { from: band.0, to: band.1, label: "stall".into() });
        chart.lanes.push(Lane { name: "resets".into(), marks: vec![mark] });
        for drawn in [chart.inline(), chart.standalone()] {
            prop_assert!(drawn.ends_with("</svg>\n"));
            prop_assert!(!drawn.contains("NaN") && !drawn.contains("=\"inf") && drawn.len() < 100_000);
        }
    }
}
