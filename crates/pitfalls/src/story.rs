//! What is told about a run: facts as data, and a timeline of who had what, when.
//!
//! Time is a count of steps, not a clock: a run tells the same story each time.

use std::fmt;

/// A fact about a run, by name. Names and kinds are stable: the JSON and its tests use them.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A number.
    Number(u64),
    /// Yes or no.
    Bool(bool),
    /// A text, or bytes that are shown as one.
    Text(String),
    /// Texts in order.
    List(Vec<String>),
}

impl From<u64> for Value {
    fn from(number: u64) -> Value {
        Value::Number(number)
    }
}

impl From<usize> for Value {
    fn from(number: usize) -> Value {
        Value::Number(number as u64)
    }
}

impl From<bool> for Value {
    fn from(yes: bool) -> Value {
        Value::Bool(yes)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Value {
        Value::Text(text)
    }
}

impl From<Vec<String>> for Value {
    fn from(texts: Vec<String>) -> Value {
        Value::List(texts)
    }
}

/// For people: thousands apart, texts quoted, texts of a list with commas between.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Number(number) => f.write_str(&grouped(*number)),
            Value::Bool(true) => f.write_str("yes"),
            Value::Bool(false) => f.write_str("no"),
            Value::Text(text) if text.is_empty() => f.write_str("nothing"),
            Value::Text(text) => write!(f, "{text:?}"),
            Value::List(texts) => texts.iter().enumerate().try_for_each(|(at, text)| {
                let comma = if at > 0 { ", " } else { "" };
                write!(f, "{comma}{text:?}")
            }),
        }
    }
}

/// What was observed in a run, in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Evidence(Vec<(&'static str, Value)>);

impl Evidence {
    /// Adds a fact.
    pub(crate) fn note(&mut self, name: &'static str, value: impl Into<Value>) {
        self.0.push((name, value.into()));
    }

    /// The facts, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &Value)> {
        self.0.iter().map(|(name, value)| (*name, value))
    }

    /// A fact by name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.iter().find_map(|(other, value)| (other == name).then_some(value))
    }
}

/// What a bar of a timeline stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A session, from its start to its end.
    Session,
    /// An operation in flight, from the call to its completion.
    Operation,
    /// Who has a piece of memory.
    Memory,
}

impl Kind {
    /// As the JSON spells it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Session => "session",
            Kind::Operation => "operation",
            Kind::Memory => "memory",
        }
    }
}

/// A bar: `lane` is its row, `label` what stands in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bar {
    /// The row: bars of one lane do not overlap.
    pub lane: String,
    /// What the bar stands for.
    pub kind: Kind,
    /// The text in the bar.
    pub label: String,
    /// The step at which it begins.
    pub from: usize,
    /// The step at which it ends.
    pub to: usize,
}

/// What happened at a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moment {
    /// What happened, in a sentence.
    pub text: String,
    /// True exactly where it goes wrong.
    pub wrong: bool,
}

/// A run as it is drawn: step `n` is `moments[n]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Timeline {
    /// What happened, step by step.
    pub moments: Vec<Moment>,
    /// The bars, in the order in which they began.
    pub bars: Vec<Bar>,
}

/// A row of a timeline, as it is drawn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lane<'a> {
    /// What it is a row of.
    pub name: &'a str,
    /// What its bars stand for.
    pub kind: Kind,
    /// Its bars, from left to right.
    pub bars: Vec<&'a Bar>,
}

impl Timeline {
    /// The rows: sessions first, then operations, then memory; each kind in the order in which the rows begin.
    #[must_use]
    pub fn lanes(&self) -> Vec<Lane<'_>> {
        let mut lanes: Vec<Lane<'_>> = Vec::new();
        for bar in &self.bars {
            match lanes.iter_mut().find(|lane| lane.name == bar.lane) {
                Some(lane) => lane.bars.push(bar),
                None => lanes.push(Lane { name: &bar.lane, kind: bar.kind, bars: vec![bar] }),
            }
        }
        lanes.sort_by_key(|lane| lane.kind);
        lanes
    }
}

/// A timeline as it comes to be.
#[derive(Default)]
pub(crate) struct Story {
    timeline: Timeline,
}

/// The end of a bar that has none yet.
const OPEN: usize = usize::MAX;

impl Story {
    /// The next step: what happens.
    pub(crate) fn step(&mut self, text: impl Into<String>) {
        self.timeline.moments.push(Moment { text: text.into(), wrong: false });
    }

    /// The next step: what goes wrong.
    pub(crate) fn wrong(&mut self, text: impl Into<String>) {
        self.timeline.moments.push(Moment { text: text.into(), wrong: true });
    }

    /// A bar begins with the latest step, and the one before it in its lane ends.
    pub(crate) fn begin(&mut self, kind: Kind, lane: &str, label: impl Into<String>) {
        self.end(lane);
        let (lane, from) = (lane.to_owned(), self.now());
        self.timeline.bars.push(Bar { lane, kind, label: label.into(), from, to: OPEN });
    }

    /// The bar of a lane ends with the latest step.
    pub(crate) fn end(&mut self, lane: &str) {
        let now = self.now();
        let open = self.timeline.bars.iter_mut().find(|bar| bar.lane == lane && bar.to == OPEN);
        if let Some(bar) = open {
            bar.to = now;
        }
    }

    /// The whole; bars that did not end reach to its end.
    pub(crate) fn finish(mut self) -> Timeline {
        let end = self.timeline.moments.len();
        for bar in &mut self.timeline.bars {
            bar.to = bar.to.min(end);
        }
        self.timeline
    }

    fn now(&self) -> usize {
        self.timeline.moments.len().saturating_sub(1)
    }
}

/// A number with its thousands apart, for people.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_apart() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (8_388_608, "8,388,608")] {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn facts_are_written_for_people() {
        let texts = vec!["a \"b\"".to_owned(), String::new()];
        for (fact, written) in [
            (Value::from(1_000_000_u64), "1,000,000"),
            (Value::from(true), "yes"),
            (Value::from("line\n"), r#""line\n""#),
            (Value::from(texts), r#""a \"b\"", """#),
        ] {
            assert_eq!(fact.to_string(), written);
        }
    }

    #[test]
    fn bars_lie_in_the_order_in_which_they_began() {
        let mut story = Story::default();
        story.step("one");
        story.begin(Kind::Memory, "memory", "Alice's");
        story.begin(Kind::Session, "Alice", "session");
        story.step("two");
        story.end("Alice");
        story.begin(Kind::Memory, "memory", "Bob's");
        let timeline = story.finish();
        let bars: Vec<_> = timeline.bars.iter().map(|bar| (&*bar.label, bar.from, bar.to)).collect();
        assert_eq!(bars, [("Alice's", 0, 1), ("session", 0, 1), ("Bob's", 1, 2)]);
        let lanes = timeline.lanes();
        let lanes: Vec<_> = lanes.iter().map(|lane| (lane.name, lane.bars.len())).collect();
        assert_eq!(lanes, [("Alice", 1), ("memory", 2)]);
    }
}
