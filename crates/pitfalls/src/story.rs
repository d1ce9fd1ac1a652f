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

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Number(number) => number.fmt(f),
            Value::Bool(true) => f.write_str("yes"),
            Value::Bool(false) => f.write_str("no"),
            Value::Text(text) => write!(f, "{text:?}"),
            Value::List(texts) => write!(f, "{texts:?}"),
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

/// A timeline as it comes to be.
#[derive(Default)]
pub(crate) struct Story {
    timeline: Timeline,
    /// Bars that have not ended.
    open: Vec<Bar>,
}

impl Story {
    /// The next step: what happens.
    pub(crate) fn step(&mut self, text: impl Into<String>) {
        self.timeline.moments.push(Moment { text: text.into(), wrong: false });
    }

    /// The next step: what goes wrong.
    pub(crate) fn wrong(&mut self, text: impl Into<String>) {
        self.timeline.moments.push(Moment { text: text.into(), wrong: true });
    }

    /// A bar begins with the latest step.
    pub(crate) fn begin(&mut self, kind: Kind, lane: &str, label: impl Into<String>) {
        self.end(lane);
        let (lane, from) = (lane.to_owned(), self.now());
        self.open.push(Bar { lane, kind, label: label.into(), from, to: from });
    }

    /// The bar of a lane ends with the latest step.
    pub(crate) fn end(&mut self, lane: &str) {
        if let Some(at) = self.open.iter().position(|bar| bar.lane == lane) {
            let mut bar = self.open.remove(at);
            bar.to = self.now();
            self.timeline.bars.push(bar);
        }
    }

    /// The whole; bars that did not end reach to its end.
    pub(crate) fn finish(mut self) -> Timeline {
        let end = self.timeline.moments.len();
        for mut bar in self.open.drain(..) {
            bar.to = end;
            self.timeline.bars.push(bar);
        }
        self.timeline.bars.sort_by_key(|bar| bar.from);
        self.timeline
    }

    fn now(&self) -> usize {
        self.timeline.moments.len().saturating_sub(1)
    }
}
