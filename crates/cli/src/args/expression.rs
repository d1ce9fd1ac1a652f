//! `--assert EXPR` and `--find-rate EXPR`: a key of the JSON, a comparison, and a number.

/// An expression that was understood. Whether its key exists is not known here.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Expression {
    /// As it was given.
    pub(crate) text: String,
    /// From the root of the JSON: `latency_ns.p99`.
    pub(crate) key: String,
    relation: Relation,
    /// In the unit of the key.
    limit: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Relation {
    Less,
    AtMost,
    More,
    AtLeast,
    Equal,
    Unequal,
}

/// The longer ones first.
const RELATIONS: [(&str, Relation); 6] = [
    ("<=", Relation::AtMost),
    (">=", Relation::AtLeast),
    ("==", Relation::Equal),
    ("!=", Relation::Unequal),
    ("<", Relation::Less),
    (">", Relation::More),
];

const FORM: &str = "give KEY, one of < <= > >= == !=, and a number, such as 'p99<5ms', 'errors==0' or \
                    'messages_per_second>100000'";

/// What stands for a latency.
const LATENCIES: [&str; 7] = ["min", "p50", "p90", "p99", "p999", "max", "mean"];

impl Expression {
    /// # Errors
    /// What is wrong, and what to write.
    pub(crate) fn parse(text: &str) -> Result<Expression, String> {
        let at = text.find(['<', '>', '=', '!']).ok_or_else(|| format!("a comparison is missing; {FORM}"))?;
        let (name, rest) = text.split_at(at);
        let (sign, relation) =
            RELATIONS.into_iter().find(|(sign, _)| rest.starts_with(sign)).ok_or_else(|| {
                let meant = if rest.starts_with('=') { "; equality is written ==" } else { "" };
                format!("{rest:?} does not begin with a comparison{meant}; {FORM}")
            })?;
        let name = name.trim();
        let is_key = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '.';
        if name.is_empty() || !name.chars().all(is_key) {
            return Err(format!("{name:?} is no key of the JSON; {FORM}"));
        }
        let short = LATENCIES.contains(&name);
        if !short && is_percentile(name) {
            return Err(format!("there is no {name}; there are {}", LATENCIES.join(", ")));
        }
        let key = if short { format!("latency_ns.{name}") } else { name.to_owned() };
        let limit = number(&key, rest[sign.len()..].trim(), short)?;
        Ok(Expression { text: text.trim().to_owned(), key, relation, limit })
    }

    /// Whether `value`, of the key, makes it true.
    pub(crate) fn holds(&self, value: f64) -> bool {
        match self.relation {
            Relation::Less => value < self.limit,
            Relation::AtMost => value <= self.limit,
            Relation::More => value > self.limit,
            Relation::AtLeast => value >= self.limit,
            Relation::Equal => value == self.limit,
            Relation::Unequal => value != self.limit,
        }
    }
}

/// Whether it is meant as one, such as `p95` or `p99.9`.
fn is_percentile(name: &str) -> bool {
    let digits = name.strip_prefix('p').unwrap_or_default();
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
}

/// What a number at a key counts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Quantity {
    Nanoseconds,
    Seconds,
    Bytes,
    Plain,
}

impl Quantity {
    pub(crate) fn of(key: &str) -> Quantity {
        let last = key.rsplit('.').next().unwrap_or(key);
        if key.split('.').any(|part| part.ends_with("_ns") || part.contains("_ns_")) {
            Quantity::Nanoseconds
        } else if last.ends_with("_seconds") {
            Quantity::Seconds
        } else if last == "rss_bytes" || last == "bytes_per_second" || key == "config.size" {
            Quantity::Bytes
        } else {
            Quantity::Plain
        }
    }
}

/// A number with its unit, in the unit of the key. `named`: the key has its unit in its name, so that it need not be
/// repeated.
fn number(key: &str, text: &str, unnamed: bool) -> Result<f64, String> {
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (digits, unit) = text.split_at(split);
    let number: f64 = digits.parse().map_err(|_| format!("{text:?} is not a number, 0 or more; {FORM}"))?;
    let unit = unit.trim();
    let quantity = Quantity::of(key);
    let factor = match quantity {
        Quantity::Nanoseconds if unit.is_empty() && unnamed && number != 0.0 => {
            return Err(format!("the unit of {text} is missing; give ns, us, ms or s, such as 'p99<5ms'"));
        }
        Quantity::Nanoseconds => time(unit),
        Quantity::Seconds if unit.is_empty() => Some(1.0),
        Quantity::Seconds => time(unit).map(|ns| ns / 1e9),
        Quantity::Bytes => size(unit),
        Quantity::Plain => unit.is_empty().then_some(1.0),
    };
    let factor = factor.ok_or_else(|| match quantity {
        Quantity::Nanoseconds | Quantity::Seconds => {
            format!("{unit:?} is no unit of time; give ns, us, ms, s, m or h")
        }
        Quantity::Bytes => format!("{unit:?} is no unit of size; give B, KiB, MiB or GiB"),
        Quantity::Plain => format!("{key} is not a key of a time or a size, so it has no unit; give the number alone instead of {text:?}, or another key"),
    })?;
    Ok(number * factor)
}

/// In ns.
fn time(unit: &str) -> Option<f64> {
    Some(match unit {
        "" | "ns" => 1.0,
        "us" | "µs" | "μs" => 1e3,
        "ms" => 1e6,
        "s" => 1e9,
        "m" => 60e9,
        "h" => 3600e9,
        _ => return None,
    })
}

fn size(unit: &str) -> Option<f64> {
    Some(match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "k" | "kb" | "kib" => 1024.0,
        "m" | "mb" | "mib" => 1024.0 * 1024.0,
        "g" | "gb" | "gib" => 1024.0 * 1024.0 * 1024.0,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_said() {
        for (wrong, wanted) in [
            ("", "a comparison is missing"),
            ("p99", "a comparison is missing"),
            ("p99=5ms", "written =="),
            ("<5ms", "\"\" is no key"),
            ("P99<5ms", "\"P99\" is no key"),
            ("p99<", "\"\" is not a number"),
            ("p99<x", "\"x\" is not a number"),
            ("p99<NaN", "\"NaN\" is not a number"),
            ("p99<-5ms", "\"-5ms\" is not a number"),
            ("p99<1.2.3ms", "is not a number"),
            ("p99<5", "the unit of 5 is missing"),
            ("p99<5MiB", "\"MiB\" is no unit of time"),
            ("errors==0s", "so it has no unit"),
            ("p95<3ms", "there is no p95; there are min, p50, p90, p99, p999, max, mean"),
            ("p99.9<3ms", "there is no p99.9; there are min, p50"),
            ("p95<3", "there is no p95"),
            ("server.rss_bytes<5ms", "\"ms\" is no unit of size"),
            ("p99<<5ms", "is not a number"),
            ("p99!5ms", "does not begin with a comparison"),
        ] {
            let problem = Expression::parse(wrong).expect_err(wrong);
            assert!(problem.contains(wanted), "{wrong}: {problem}");
        }
    }
}
