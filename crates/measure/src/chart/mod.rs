//! Line charts as SVG: several series with a legend, linear, logarithmic and percentile axes, bands, and lanes of events.
//!
//! A chart is drawn for a width in CSS pixels, at which its text has the size of small text. A page that is read at two
//! widths holds two drawings and shows one. Colours are CSS custom properties of [`STYLES`], so one drawing is right in
//! light and in dark.

mod axis;
mod draw;
mod frame;
mod svg;

pub use crate::number::Unit;
pub use svg::escaped;

/// Style sheet for a page that holds charts of [`Chart::inline`]. A page may set the custom properties itself, for
/// example from its own colours.
pub const STYLES: &str = include_str!("chart.css");

/// One chart. Whatever its data are, a drawing comes out: values that are not numbers, or that the scale of the axis does
/// not have, interrupt a line; a chart without data says so.
#[derive(Clone, Debug)]
pub struct Chart {
    /// What it shows, in a few words. Drawn above the chart in a file of its own; on a page, the page has a heading.
    pub title: String,
    /// What there is to see, in a sentence or two, for those who do not see it.
    pub description: String,
    /// In CSS pixels; at least 200, and without an upper limit.
    pub width: u32,
    /// Of the area that the lines are drawn in, in CSS pixels; at least 60. Title, legend and lanes add to it.
    pub height: u32,
    /// From left to right.
    pub x: Axis,
    /// From bottom to top.
    pub y: Axis,
    /// Lines, in the order of the legend. The first six have colours of their own; later ones have the same with dashes.
    pub series: Vec<Series>,
    /// Times, or other parts of the x axis, that are marked.
    pub bands: Vec<Band>,
    /// Rows of marks below the lines.
    pub lanes: Vec<Lane>,
}

/// One of the two directions.
#[derive(Clone, Debug)]
pub struct Axis {
    /// What is measured: `latency`.
    pub label: String,
    /// How values become places.
    pub scale: Scale,
    /// How marks are written.
    pub unit: Unit,
    /// First value; from the data if it is `None`, or 0 where a linear axis starts near it.
    pub from: Option<f64>,
    /// Last value; from the data if it is `None`.
    pub to: Option<f64>,
}

impl Axis {
    /// Whose range follows from the data.
    #[must_use]
    pub fn new(label: impl Into<String>, scale: Scale, unit: Unit) -> Axis {
        Axis { label: label.into(), scale, unit, from: None, to: None }
    }

    /// The same axis from one value to another.
    #[must_use]
    pub fn between(mut self, from: f64, to: f64) -> Axis {
        (self.from, self.to) = (Some(from), Some(to));
        self
    }
}

/// How values become places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// Equal distances for equal differences.
    Linear,
    /// Equal distances for equal ratios; has values above 0.
    Log,
    /// For quantiles (0 to 1, without 1): the distance between 90 % and 99 % is that between 99 % and 99.9 %, as the plots
    /// of HdrHistogram have it: a logarithmic axis of `1 / (1 - q)`.
    Percentile,
}

/// One line.
#[derive(Clone, Debug, Default)]
pub struct Series {
    /// For the legend.
    pub name: String,
    /// x and y, in the order in which they are joined.
    pub points: Vec<(f64, f64)>,
    /// x, low and high: what is shaded around the line, such as its interval.
    pub range: Vec<(f64, f64, f64)>,
    /// Whether each point has a dot: for few points.
    pub dots: bool,
}

impl Series {
    /// A line without dots and range.
    #[must_use]
    pub fn line(name: impl Into<String>, points: Vec<(f64, f64)>) -> Series {
        Series { name: name.into(), points, ..Series::default() }
    }
}

/// A part of the x axis.
#[derive(Clone, Debug)]
pub struct Band {
    /// Its beginning.
    pub from: f64,
    /// Its end; a band is at least two pixels wide.
    pub to: f64,
    /// What it is, written where there is room.
    pub label: String,
}

/// A row of marks of one kind. Marks too near to each other are drawn as one.
#[derive(Clone, Debug)]
pub struct Lane {
    /// Of the kind; short: it stands left of the row.
    pub name: String,
    /// Places on the x axis, and how many events each stands for.
    pub marks: Vec<(f64, u64)>,
}

impl Chart {
    /// An `<svg>` element for a page with [`STYLES`].
    #[must_use]
    pub fn inline(&self) -> String {
        draw::chart(self, draw::Home::Page, 0.0)
    }

    /// As [`inline`](Chart::inline), for charts that stand below each other: the areas that their lines are drawn in begin
    /// at the same place, so that equal times of several charts are in line.
    #[must_use]
    pub fn inline_aligned(charts: &[Chart]) -> Vec<String> {
        let left = charts.iter().map(draw::left).fold(0.0, f64::max);
        charts.iter().map(|chart| draw::chart(chart, draw::Home::Page, left)).collect()
    }

    /// A file of its own, which has its title and its colours for light and dark in it.
    #[must_use]
    pub fn standalone(&self) -> String {
        draw::chart(self, draw::Home::File, 0.0)
    }
}

#[cfg(test)]
mod tests;
