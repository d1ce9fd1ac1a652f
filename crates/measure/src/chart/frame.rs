//! Where the parts of a chart stand.

use super::Chart;
use super::axis::{Range, Tick};
use super::svg::width_of;

const LINE: f64 = 18.0;
const LANE: f64 = 16.0;

/// The two axes and the places of everything else, in pixels.
pub(super) struct Frame {
    pub(super) x: Range,
    pub(super) y: Range,
    pub(super) x_ticks: Vec<Tick>,
    pub(super) y_ticks: Vec<Tick>,
    pub(super) left: f64,
    pub(super) right: f64,
    pub(super) top: f64,
    pub(super) bottom: f64,
    /// Of the title, if it is drawn.
    pub(super) title: Option<f64>,
    /// The legend's entries: where they stand, in the order of the series.
    pub(super) legend: Vec<(f64, f64)>,
    /// Baselines of the lanes.
    pub(super) lanes: Vec<f64>,
    pub(super) x_marks: f64,
    pub(super) x_label: f64,
    pub(super) width: f64,
    pub(super) height: f64,
}

/// Width of a legend's sample of a line, with its gap.
pub(super) const SAMPLE: f64 = 26.0;

impl Frame {
    /// `least_left`: width of the left margin at least.
    pub(super) fn of(chart: &Chart, with_title: bool, least_left: f64) -> Frame {
        let width = f64::from(chart.width.max(200));
        let plot = f64::from(chart.height.max(60));
        let y_marks = (plot / 45.0).clamp(2.0, 8.0) as usize;
        let y = Range::of(&chart.y, chart.ys(), y_marks);
        let y_ticks = y.ticks(y_marks);
        let names = y_ticks.iter().map(|tick| &tick.label).chain(chart.lanes.iter().map(|lane| &lane.name));
        let left = names.map(|name| width_of(name)).fold(20.0, f64::max).min(width / 2.5) + 10.0;
        let left = left.max(least_left);
        // Half of the last mark's label.
        let right = width - 28.0;
        let x_marks = ((right - left) / 75.0).clamp(2.0, 12.0) as usize;
        let x = Range::of(&chart.x, chart.xs(), x_marks);
        let x_ticks = x.ticks(x_marks);
        let mut y_at = 4.0;
        let title = with_title.then(|| {
            y_at += 24.0;
            y_at - 7.0
        });
        let legend = legend(chart, width, &mut y_at);
        // The label of the y axis stands above it.
        let top = y_at + LINE + 10.0;
        let bottom = top + plot;
        let lanes: Vec<f64> = (0..chart.lanes.len()).map(|at| bottom + 18.0 + LANE * at as f64).collect();
        let below = lanes.last().map_or(bottom, |last| last + 4.0);
        let x_label = below + 34.0;
        let height = x_label + 6.0;
        let x_marks = below + 17.0;
        Frame {
            x,
            y,
            x_ticks,
            y_ticks,
            left,
            right,
            top,
            bottom,
            title,
            legend,
            lanes,
            x_marks,
            x_label,
            width,
            height,
        }
    }

    /// Where a value of the x axis stands; `None` if it is not between its ends.
    pub(super) fn x(&self, value: f64) -> Option<f64> {
        let share = self.x.share(value).filter(|share| (-1e-9..=1.0 + 1e-9).contains(share))?;
        Some(self.left + share * (self.right - self.left))
    }

    /// Where a value of the y axis stands; values beyond its ends stand at them.
    pub(super) fn y(&self, value: f64) -> Option<f64> {
        Some(self.bottom - self.y.share(value)?.clamp(0.0, 1.0) * (self.bottom - self.top))
    }
}

/// Entries from left to right, in as many lines as they need.
fn legend(chart: &Chart, width: f64, y: &mut f64) -> Vec<(f64, f64)> {
    if chart.series.len() < 2 {
        return Vec::new();
    }
    let (mut x, mut places) = (0.0, Vec::new());
    *y += LINE - 4.0;
    for series in &chart.series {
        let wanted = SAMPLE + width_of(&series.name) + 14.0;
        if x > 0.0 && x + wanted > width {
            x = 0.0;
            *y += LINE;
        }
        places.push((x, *y));
        x += wanted;
    }
    *y += 6.0;
    places
}

impl Chart {
    fn xs(&self) -> impl Iterator<Item = f64> {
        let lines = self.series.iter().flat_map(|series| series.points.iter().map(|(x, _)| *x));
        let ranges = self.series.iter().flat_map(|series| series.range.iter().map(|(x, _, _)| *x));
        let bands = self.bands.iter().flat_map(|band| [band.from, band.to]);
        let marks = self.lanes.iter().flat_map(|lane| lane.marks.iter().map(|(x, _)| *x));
        lines.chain(ranges).chain(bands).chain(marks)
    }

    fn ys(&self) -> impl Iterator<Item = f64> {
        let lines = self.series.iter().flat_map(|series| series.points.iter().map(|(_, y)| *y));
        let ranges = self
            .series
            .iter()
            .flat_map(|series| series.range.iter().flat_map(|(_, low, high)| [*low, *high]));
        lines.chain(ranges)
    }
}
