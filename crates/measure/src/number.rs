//! Numbers as people read them. Three digits say what a measurement can; a space stands between a number and its unit.

/// A time in ns: `850 ns`, `12.3 µs`, `1.25 ms`, `2.5 s`.
#[must_use]
pub fn nanoseconds(ns: f64) -> String {
    scaled(ns, &TIMES)
}

/// A count in full, with separators: `1,234,567`.
#[must_use]
pub fn count(count: u64) -> String {
    separated(&count.to_string())
}

/// A number in short: `950`, `12.3 k`, `1.25 M`.
#[must_use]
pub fn short(number: f64) -> String {
    scaled(number, &COUNTS)
}

/// A size in bytes: `64 B`, `16 KiB`, `1.5 MiB`.
#[must_use]
pub fn bytes(bytes: f64) -> String {
    scaled(bytes, &SIZES)
}

/// A share of 1 as per cent: `12.5 %`, `99.99 %`.
#[must_use]
pub fn percent(share: f64) -> String {
    let mut text = format!("{:.4}", share * 100.0);
    text.truncate(text.trim_end_matches('0').trim_end_matches('.').len());
    text + " %"
}

/// What a number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Nothing, or what the axis' label says: `12.3 k`.
    Number,
    /// Times in ns.
    Nanoseconds,
    /// Seconds since a beginning.
    Seconds,
    /// Sizes.
    Bytes,
    /// Shares of 1.
    Share,
}

impl Unit {
    /// A number with this unit.
    #[must_use]
    pub fn written(self, number: f64) -> String {
        match self {
            Unit::Number => short(number),
            Unit::Nanoseconds => nanoseconds(number),
            Unit::Seconds => format!("{} s", separated(&digits(number, 3))),
            Unit::Bytes => bytes(number),
            Unit::Share => percent(number),
        }
    }

    /// A mark of an axis whose marks lie `step` apart and reach up to `most`: all of them in one unit, with as many
    /// decimals as tell them apart.
    #[must_use]
    pub(crate) fn on_axis(self, number: f64, step: f64, most: f64) -> String {
        let (size, name) = match self {
            Unit::Number => of_size(most, &COUNTS),
            Unit::Nanoseconds => of_size(most, &TIMES),
            Unit::Bytes => of_size(most, &SIZES),
            Unit::Seconds => (1.0, " s"),
            Unit::Share => (0.01, " %"),
        };
        let step = step / size;
        let whole = |decimals: &usize| {
            let times = step * 10f64.powi(*decimals as i32);
            (times - times.round()).abs() < 1e-6 * times.abs()
        };
        let decimals = (0..6).find(whole).unwrap_or(6);
        // Below half of the last decimal, -0 is meant to be 0.
        let number = if number.abs() < step * 1e-6 { 0.0 } else { number / size };
        format!("{}{name}", separated(&format!("{number:.decimals$}")))
    }
}

type Units = [(f64, &'static str)];

const TIMES: [(f64, &str); 4] = [(1e9, " s"), (1e6, " ms"), (1e3, " µs"), (1.0, " ns")];
const COUNTS: [(f64, &str); 4] = [(1e9, " G"), (1e6, " M"), (1e3, " k"), (1.0, "")];
const SIZES: [(f64, &str); 5] = [
    (1024.0 * 1024.0 * 1024.0 * 1024.0, " TiB"),
    (1024.0 * 1024.0 * 1024.0, " GiB"),
    (1024.0 * 1024.0, " MiB"),
    (1024.0, " KiB"),
    (1.0, " B"),
];

/// The largest that is not larger than the number.
fn of_size(number: f64, units: &Units) -> (f64, &'static str) {
    if !number.is_finite() {
        return (1.0, "");
    }
    let found = units.iter().find(|(size, _)| number.abs() >= *size).or(units.last());
    found.copied().unwrap_or((1.0, ""))
}

fn scaled(number: f64, units: &Units) -> String {
    // 999.6 µs will be written as 1 ms: three digits.
    let (size, name) = of_size(number * 1.0005, units);
    format!("{}{name}", separated(&digits(number / size, 3)))
}

/// With that many digits that count, and without zeros at the end of decimals.
fn digits(number: f64, wanted: i32) -> String {
    if !number.is_finite() {
        return number.to_string();
    }
    let before = if number == 0.0 { 1 } else { number.abs().log10().floor() as i32 + 1 };
    let decimals = (wanted - before).clamp(0, 6) as usize;
    let text = format!("{number:.decimals$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// With a comma between thousands.
fn separated(text: &str) -> String {
    let (sign, text) = text.strip_prefix('-').map_or(("", text), |rest| ("-", rest));
    let (whole, rest) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let mut out = sign.to_owned();
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        for (ns, wanted) in [
            (0.0, "0 ns"),
            (850.0, "850 ns"),
            (999.6, "1 µs"),
            (12_345.0, "12.3 µs"),
            (1_250_000.0, "1.25 ms"),
            (999_960.0, "1 ms"),
            (2.5e9, "2.5 s"),
            (4_321e9, "4,321 s"),
        ] {
            assert_eq!(nanoseconds(ns), wanted);
        }
        assert_eq!([0, 999, 1000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([0.0, 950.0, 12_345.0, 1.25e6, 0.5].map(short), ["0", "950", "12.3 k", "1.25 M", "0.5"]);
        assert_eq!([64.0, 16384.0, 1.5 * 1_048_576.0].map(bytes), ["64 B", "16 KiB", "1.5 MiB"]);
        assert_eq!([0.0, 0.125, 0.9999, 1.0].map(percent), ["0 %", "12.5 %", "99.99 %", "100 %"]);
        assert_eq!(short(f64::INFINITY), "inf");
    }

    #[test]
    fn marks_of_an_axis_have_one_unit() {
        let marks = |unit: Unit, step: f64, most: f64| -> Vec<String> {
            (0..=(most / step).round() as u32)
                .map(|at| unit.on_axis(f64::from(at) * step, step, most))
                .collect()
        };
        assert_eq!(marks(Unit::Nanoseconds, 5e5, 1.5e6), ["0.0 ms", "0.5 ms", "1.0 ms", "1.5 ms"]);
        assert_eq!(marks(Unit::Number, 50_000.0, 150_000.0), ["0 k", "50 k", "100 k", "150 k"]);
        assert_eq!(marks(Unit::Seconds, 0.2, 0.4), ["0.0 s", "0.2 s", "0.4 s"]);
        assert_eq!(marks(Unit::Share, 0.25, 0.5), ["0 %", "25 %", "50 %"]);
        assert_eq!(marks(Unit::Number, 2.5, 5.0), ["0.0", "2.5", "5.0"]);
    }
}
