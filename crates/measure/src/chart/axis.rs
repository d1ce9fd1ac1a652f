//! From values to places, and which values are marked.

use super::{Axis, Scale, Unit};

/// An axis with its range: what is drawn between its two ends.
pub(super) struct Range {
    scale: Scale,
    unit: Unit,
    /// In the units of the scale: the logarithm, where it has one.
    from: f64,
    to: f64,
    /// Between marks of a linear axis.
    step: f64,
}

/// A marked value.
#[derive(Debug, PartialEq)]
pub(super) struct Tick {
    pub(super) value: f64,
    pub(super) label: String,
}

impl Range {
    /// Of an axis on which these values lie, with about `marks` marks.
    pub(super) fn of(axis: &Axis, values: impl Iterator<Item = f64>, marks: usize) -> Range {
        let inner = |value: f64| scaled(axis.scale, value);
        let (mut least, mut most) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values.filter_map(inner) {
            (least, most) = (least.min(value), most.max(value));
        }
        if least > most {
            (least, most) = if axis.scale == Scale::Linear { (0.0, 1.0) } else { (0.0, 3.0) };
        }
        let fixed = [axis.from, axis.to].map(|end| end.and_then(inner));
        let (mut from, mut to) = (fixed[0].unwrap_or(least), fixed[1].unwrap_or(most));
        // What lies near 0 starts there: a line's height is read from it.
        if axis.scale == Scale::Linear && fixed[0].is_none() && from > 0.0 && from < 0.8 * to {
            from = 0.0;
        }
        if axis.scale == Scale::Percentile && fixed[0].is_none() {
            from = 0.0;
        }
        if to - from <= f64::EPSILON * to.abs().max(from.abs()).max(1.0) {
            (from, to) = widened(axis.scale, from, fixed);
        }
        let mut range = Range { scale: axis.scale, unit: axis.unit, from, to, step: 1.0 };
        if axis.scale == Scale::Linear {
            range.step = step(axis.unit, (to - from) / marks.max(1) as f64);
            range.round_ends(fixed);
        }
        range
    }

    /// Ends that are not fixed move out to the next mark.
    fn round_ends(&mut self, fixed: [Option<f64>; 2]) {
        if fixed[0].is_none() {
            self.from = (self.from / self.step + 1e-9).floor() * self.step;
        }
        if fixed[1].is_none() {
            self.to = (self.to / self.step - 1e-9).ceil() * self.step;
        }
        // Values much smaller than the smallest step.
        if self.to <= self.from {
            self.to = self.from + self.step;
        }
    }

    /// Where a value lies: 0 at the beginning of the axis, 1 at its end. `None` if the scale does not have it.
    pub(super) fn share(&self, value: f64) -> Option<f64> {
        Some((scaled(self.scale, value)? - self.from) / (self.to - self.from))
    }

    /// The marked values, at most about `marks` with a label.
    pub(super) fn ticks(&self, marks: usize) -> Vec<Tick> {
        match self.scale {
            Scale::Linear => self.linear_ticks(),
            Scale::Log => self.log_ticks(marks),
            Scale::Percentile => self.percentile_ticks(),
        }
    }

    fn linear_ticks(&self) -> Vec<Tick> {
        let first = (self.from / self.step - 1e-9).ceil();
        let last = (self.to / self.step + 1e-9).floor();
        let most = self.to.abs().max(self.from.abs());
        let tick = |at: f64| {
            let value = (first + at) * self.step;
            Tick { value, label: self.unit.on_axis(value, self.step, most) }
        };
        (0..=(last - first).clamp(0.0, 100.0) as u32).map(|at| tick(f64::from(at))).collect()
    }

    fn log_ticks(&self, marks: usize) -> Vec<Tick> {
        // Sizes are powers of two.
        let (base, inside): (f64, &[f64]) = match self.unit {
            Unit::Bytes => (4.0, &[1.0]),
            _ if self.to - self.from < 0.75 => (10.0, &[1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]),
            _ if (self.to - self.from) * 3.0 <= marks as f64 => (10.0, &[1.0, 2.0, 5.0]),
            _ => (10.0, &[1.0]),
        };
        let width = base.log10();
        let (first, last) = ((self.from / width).floor() as i32, (self.to / width).ceil() as i32);
        let every = ((last - first).unsigned_abs() as usize).div_ceil(marks + 2).max(1) as i32;
        let values = (first..=last)
            .filter(|power| power.rem_euclid(every) == 0)
            .flat_map(|power| inside.iter().map(move |factor| factor * base.powi(power)));
        let within = |value: &f64| (self.from - 1e-9..=self.to + 1e-9).contains(&value.log10());
        values.filter(within).map(|value| Tick { value, label: self.unit.written(value) }).collect()
    }

    fn percentile_ticks(&self) -> Vec<Tick> {
        let nines = (1..=9).map(|power| 1.0 - 10f64.powi(-power));
        let within = |value: &f64| scaled(self.scale, *value).is_some_and(|at| at <= self.to + 1e-9);
        let tick = |value: f64| {
            // 1 - 10^-7 has seven nines, whatever rounding makes of it.
            let nines = (-(1.0 - value).log10()).round() as usize;
            let decimals = nines.saturating_sub(2);
            Tick { value, label: format!("{:.decimals$} %", value * 100.0) }
        };
        [0.0, 0.5].into_iter().chain(nines).filter(within).map(tick).collect()
    }
}

/// A value in the units of its scale.
fn scaled(scale: Scale, value: f64) -> Option<f64> {
    let scaled = match scale {
        Scale::Linear => value,
        Scale::Log if value > 0.0 => value.log10(),
        Scale::Percentile if (0.0..1.0).contains(&value) => -(1.0 - value).log10(),
        Scale::Log | Scale::Percentile => return None,
    };
    // The difference of two values has to be finite too.
    (scaled.abs() < 1e300).then_some(scaled)
}

/// A range around a single value.
fn widened(scale: Scale, value: f64, fixed: [Option<f64>; 2]) -> (f64, f64) {
    match (scale, fixed) {
        (Scale::Percentile, _) => (0.0, value.max(1.0)),
        (Scale::Log, _) => (value - 0.5, value + 0.5),
        (Scale::Linear, [Some(from), _]) => (from, from + from.abs().max(1.0)),
        (Scale::Linear, _) if value > 0.0 => (0.0, value * 1.25),
        (Scale::Linear, _) if value < 0.0 => (value * 1.25, 0.0),
        (Scale::Linear, _) => (0.0, 1.0),
    }
}

/// The next larger step that is easy to count in.
fn step(unit: Unit, wanted: f64) -> f64 {
    // Minutes and hours.
    const SECONDS: [f64; 12] = [1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0];
    if unit == Unit::Seconds
        && wanted > 0.5
        && let Some(step) = SECONDS.into_iter().find(|step| *step >= wanted)
    {
        return step;
    }
    if unit == Unit::Bytes {
        return wanted.max(1.0).log2().ceil().exp2();
    }
    let power = 10f64.powf(wanted.log10().floor());
    let step =
        [1.0, 2.0, 5.0, 10.0].into_iter().map(|factor| factor * power).find(|step| *step >= wanted * 0.9999);
    step.filter(|step| step.is_finite() && *step > 0.0).unwrap_or(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticks(scale: Scale, unit: Unit, values: &[f64], marks: usize) -> Vec<String> {
        let range = Range::of(&Axis::new("", scale, unit), values.iter().copied(), marks);
        range.ticks(marks).into_iter().map(|tick| tick.label).collect()
    }

    #[test]
    fn marks_are_round_numbers() {
        let linear = |values: &[f64]| ticks(Scale::Linear, Unit::Number, values, 5);
        assert_eq!(linear(&[3.0, 97.0]), ["0", "20", "40", "60", "80", "100"]);
        assert_eq!(linear(&[95.0, 99.0]), ["95", "96", "97", "98", "99"]);
        assert_eq!(linear(&[7.0]), ["0", "2", "4", "6", "8", "10"]);
        assert_eq!(linear(&[]), ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(linear(&[f64::NAN, f64::INFINITY, 0.0]), ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(
            ticks(Scale::Linear, Unit::Seconds, &[0.0, 100.0], 5),
            ["0 s", "30 s", "60 s", "90 s", "120 s"]
        );
    }

    #[test]
    fn logarithms_mark_powers() {
        let log = |values: &[f64]| ticks(Scale::Log, Unit::Nanoseconds, values, 6);
        assert_eq!(log(&[1e3, 1e6]), ["1 µs", "10 µs", "100 µs", "1 ms"]);
        assert_eq!(log(&[0.0, 1e3, 9e4]), ["1 µs", "2 µs", "5 µs", "10 µs", "20 µs", "50 µs"]);
        assert!(log(&[5e5]).len() > 2);
        assert_eq!(ticks(Scale::Log, Unit::Bytes, &[64.0, 4096.0], 8), ["64 B", "256 B", "1 KiB", "4 KiB"]);
    }

    #[test]
    fn percentiles_are_nines() {
        let marks = |most: f64| ticks(Scale::Percentile, Unit::Share, &[most], 8);
        assert_eq!(marks(0.9995), ["0 %", "50 %", "90 %", "99 %", "99.9 %"]);
        assert_eq!(marks(0.999_995).last().map(String::as_str), Some("99.999 %"));
        let range = Range::of(&Axis::new("", Scale::Percentile, Unit::Share), [0.99].into_iter(), 5);
        assert!((range.share(0.9).unwrap() - 0.5).abs() < 1e-9);
        assert_eq!((range.share(1.0), range.share(-0.1)), (None, None));
    }
}
