//! Whether an expression fits the results, and whether it holds in them.

use overlapped_measure::number::{Unit, count};
use serde_json::Value;

use super::report::Assertion;
use crate::args::{Expression, Quantity};

/// Whether the key is a number in results like this one. `sample` has everything that this run will report;
/// `everything` has what any run can.
///
/// # Errors
/// What is wrong with the key, and which option or key to give.
pub(super) fn fits(expression: &Expression, sample: &Value, everything: &Value) -> Result<(), String> {
    let Expression { text, key, .. } = expression;
    match (found(sample, key), found(everything, key)) {
        (Found::Number(_) | Found::Unknown, _) => Ok(()),
        (_, Found::Number(_) | Found::Unknown) => {
            let option = match first(key) {
                "server" => "--server-pid",
                "highest_rate" | "search" => "--find-rate",
                "comparison" => "--compare",
                _ => "--rate",
            };
            Err(format!("{text}: {key} is reported with {option} alone; give it too"))
        }
        (Found::Text, _) => {
            Err(format!("{text}: {key} is a text, not a number; name a key that has a number"))
        }
        (Found::Group, _) => Err(format!("{text}: {key} is a group, not a number; name a number in it")),
        (Found::Nothing, _) => Err(format!("{text}: the JSON has no key {key}; {}", next(key, everything))),
    }
}

/// As [`fits`], of the expression of a search, which judges its runs one by one.
///
/// # Errors
/// As [`fits`], and if the key comes about after the search.
pub(super) fn fits_search(expression: &Expression, sample: &Value, everything: &Value) -> Result<(), String> {
    let Expression { text, key, .. } = expression;
    if matches!(first(key), "highest_rate" | "search" | "comparison" | "assertions") {
        return Err(format!(
            "{text}: a search judges single runs, and {key} is known after all of them; name a key of a run, such as p99 or \
             messages_per_second"
        ));
    }
    fits(expression, sample, everything)
}

fn first(key: &str) -> &str {
    key.split('.').next().unwrap_or(key)
}

/// What the results say. What they do not have does not hold.
pub(super) fn judge(expression: &Expression, results: &Value) -> Assertion {
    let value = if let Found::Number(value) = found(results, &expression.key) { Some(value) } else { None };
    Assertion {
        expression: expression.text.clone(),
        key: expression.key.clone(),
        value,
        holds: value.is_some_and(|value| expression.holds(value)),
    }
}

impl Assertion {
    /// The value as people read it.
    pub(crate) fn shown(&self) -> String {
        match (self.value, Quantity::of(&self.key)) {
            (None, _) => "not measured".to_owned(),
            (Some(value), Quantity::Nanoseconds) => Unit::Nanoseconds.written(value),
            (Some(value), Quantity::Seconds) => Unit::Seconds.written(value),
            (Some(value), Quantity::Bytes) => Unit::Bytes.written(value),
            (Some(value), Quantity::Plain) if value.fract() == 0.0 && (0.0..1e15).contains(&value) => {
                count(value as u64)
            }
            (Some(value), Quantity::Plain) => Unit::Number.written(value),
        }
    }
}

enum Found {
    Number(f64),
    Text,
    Group,
    /// Not before the run.
    Unknown,
    Nothing,
}

/// What stands at a key. The length of a list counts as its number.
fn found(results: &Value, key: &str) -> Found {
    let mut at = results;
    for part in key.split('.') {
        let next = match at {
            Value::Array(list) => match part.parse::<usize>() {
                Ok(index) => match list.get(index) {
                    Some(value) => Some(value),
                    None => return Found::Unknown,
                },
                Err(_) => None,
            },
            Value::Object(object) => object.get(part),
            _ => None,
        };
        let Some(value) = next else { return Found::Nothing };
        at = value;
    }
    match at {
        Value::Number(number) => number.as_f64().map_or(Found::Nothing, Found::Number),
        Value::Bool(value) => Found::Number(f64::from(u8::from(*value))),
        Value::Array(list) => Found::Number(list.len() as f64),
        Value::Null => Found::Unknown,
        Value::String(_) => Found::Text,
        Value::Object(_) => Found::Group,
    }
}

/// Which keys there are where this one was looked for.
fn next(key: &str, everything: &Value) -> String {
    let mut at = everything;
    let mut before = Vec::new();
    for part in key.split('.') {
        match at.get(part) {
            Some(value) => {
                before.push(part);
                at = value;
            }
            None => break,
        }
    }
    let Value::Object(object) = at else { return "see --help for its keys".to_owned() };
    let names: Vec<_> = object.keys().map(String::as_str).collect();
    if before.is_empty() {
        "see --help for its keys".to_owned()
    } else {
        format!("{} has: {}", before.join("."), names.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn judged(text: &str) -> Assertion {
        let results = json!({
            "errors": 0, "messages_per_second": 1000.5, "latency_ns": {"p99": 4_000_000, "max": null},
            "server": {"rss_bytes": 1_048_576}, "stalls": [{}, {}], "search": [{"rate": 5}], "interrupted": false,
            "duration_seconds": 10.0, "config": {"target": "x"},
        });
        let expression = Expression::parse(text).unwrap_or_else(|problem| panic!("{text}: {problem}"));
        judge(&expression, &results)
    }

    #[test]
    fn expressions_hold_or_not() {
        for holds in [
            "p99<5ms",
            "p99<=4ms",
            "p99 >= 4000us",
            "p99==4000000ns",
            "latency_ns.p99<5000000",
            "p99!=3ms",
            "errors==0",
            "messages_per_second>1000",
            "messages_per_second < 1000.6",
            "server.rss_bytes<=1MiB",
            "server.rss_bytes<2048k",
            "stalls==2",
            "search.0.rate==5",
            "interrupted==0",
            "duration_seconds<11s",
            "duration_seconds>=10",
            "p99>0",
        ] {
            assert!(judged(holds).holds, "{holds}");
        }
        for not in
            ["p99<4ms", "p99>4ms", "errors!=0", "errors>0", "max<1h", "max>0", "max!=5s", "search.1.rate==5"]
        {
            assert!(!judged(not).holds, "{not}");
        }
        assert_eq!(judged("max<1s").shown(), "not measured");
        assert_eq!(judged("p99<5ms").shown(), "4 ms");
        assert_eq!(judged("errors==0").shown(), "0");
        assert_eq!(judged("server.rss_bytes<1MiB").shown(), "1 MiB");
    }

    #[test]
    fn keys_are_checked_before_the_run() {
        let sample = json!({"errors": 0, "latency_ns": {"p99": null}, "search": []});
        let everything = json!({
            "errors": 0, "latency_ns": {"p50": 0, "p99": 0}, "server": {"rss_bytes": 0}, "highest_rate": 0,
            "latency_actual_ns": {"p99": 0}, "config": {"target": "x"}, "search": [], "comparison": [],
        });
        let fits = |text: &str| fits(&Expression::parse(text).unwrap(), &sample, &everything);
        for right in ["p99<5ms", "errors==0", "search.0.rate>5", "search==0"] {
            assert_eq!(fits(right), Ok(()), "{right}");
        }
        for (wrong, wanted) in [
            ("server.rss_bytes<1MiB", "give it too"),
            ("server.rss_bytes<1MiB", "--server-pid"),
            ("highest_rate>5", "--find-rate"),
            ("latency_actual_ns.p99<5ms", "--rate"),
            ("comparison==0", "with --compare alone"),
            ("comparison.0.ratio>0.9", "with --compare alone"),
            ("erors==0", "no key erors"),
            ("latency_ns.p98<5ms", "latency_ns has: p50, p99"),
            ("latency_ns<5ms", "is a group"),
        ] {
            let problem = fits(wrong);
            let problem = problem.expect_err(wrong);
            assert!(problem.contains(wanted), "{wrong}: {problem}");
        }
    }

    /// `--find-rate` cannot be given for a key that comes about after the search: it is given.
    #[test]
    fn a_search_cannot_judge_what_follows_it() {
        let everything = json!({
            "errors": 0, "search": [], "highest_rate": 0, "comparison": [], "server": {"rss_bytes": 0},
            "assertions": [],
        });
        let sample = json!({"errors": 0, "assertions": []});
        let problem = |text: &str| fits_search(&Expression::parse(text).unwrap(), &sample, &everything);
        for after in ["highest_rate>5", "search==0", "search.0.rate>5", "comparison==0", "assertions==0"] {
            let problem = problem(after).expect_err(after);
            assert!(problem.contains("known after all of them; name a key of a run"), "{after}: {problem}");
            assert!(!problem.contains("give it too"), "{after}: {problem}");
        }
        assert_eq!(problem("errors==0"), Ok(()));
        assert!(problem("server.rss_bytes<1MiB").unwrap_err().contains("with --server-pid alone"));
    }
}
