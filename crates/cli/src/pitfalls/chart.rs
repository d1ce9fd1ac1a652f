//! A timeline in text: a row for each lane, a column for each step, bars from step to step.

use overlapped_pitfalls::{Bar, Kind, Lane, Timeline};

use super::screen::{Ink, Screen};

const INDENT: usize = 2;
/// Columns of the lanes' names: fewer cannot be told apart, more leave no room for bars.
const NAMES: (usize, usize) = (8, 22);
/// Columns of a step: fewer cannot be told apart, more tear a timeline asunder.
const STEP: (usize, usize) = (3, 16);

/// Nothing where a terminal is too narrow for it: what happened is told in words too.
pub(super) fn of(screen: &Screen, timeline: &Timeline) -> String {
    let steps = timeline.moments.len();
    let lanes = timeline.lanes();
    let longest = lanes.iter().map(|lane| lane.name.chars().count()).max().unwrap_or(0);
    let beside_names = INDENT + 2 + steps * STEP.0 + 1;
    let names = longest.min(screen.width.saturating_sub(beside_names).clamp(NAMES.0, NAMES.1));
    if names + beside_names > screen.width {
        return String::new();
    }
    let left = INDENT + names + 2;
    let step = (screen.width.saturating_sub(left + 1) / steps.max(1)).clamp(STEP.0, STEP.1);
    let wrong: Vec<usize> = steps_gone_wrong(timeline).map(|at| at * step).collect();

    let mut out = Row::new(left, screen.width).numbers(timeline, step).paint(screen, "");
    for lane in &lanes {
        let mut row = Row::new(left, screen.width);
        for (bar, next) in neighbours(lane) {
            row.bar(screen, bar, next, step, steps);
        }
        row.mark(screen, &wrong);
        out += &row.paint(screen, &cut(lane.name, names, screen));
    }
    if !wrong.is_empty() {
        let mut row = Row::new(left, screen.width);
        // The last step has room behind it; another one, where its column is wide enough.
        let sign = if step >= "^ wrong ".len() { "^ wrong" } else { "^" };
        for column in &wrong {
            row.write(*column, sign, Ink::Wrong);
        }
        out += &row.paint(screen, "");
    }
    out
}

fn steps_gone_wrong(timeline: &Timeline) -> impl Iterator<Item = usize> {
    timeline.moments.iter().enumerate().filter(|(_, moment)| moment.wrong).map(|(at, _)| at)
}

/// Each bar, and the step at which the next one of its lane begins.
fn neighbours<'a>(lane: &'a Lane<'a>) -> impl Iterator<Item = (&'a Bar, Option<usize>)> {
    let nexts = lane.bars.iter().skip(1).map(|bar| Some(bar.from)).chain([None]);
    lane.bars.iter().copied().zip(nexts)
}

fn cut(name: &str, room: usize, screen: &Screen) -> String {
    if name.chars().count() <= room {
        return name.to_owned();
    }
    let end = if screen.boxes { "…" } else { "~" };
    name.chars().take(room.saturating_sub(1)).chain(end.chars()).collect()
}

/// A row of characters, each with its ink, to the right of the names.
struct Row {
    left: usize,
    room: usize,
    cells: Vec<(char, Ink)>,
}

/// The signs of a bar.
struct Signs {
    begin: char,
    fill: char,
    end: char,
    goes_on: char,
    instant: char,
}

const BLANK: (char, Ink) = (' ', Ink::Plain);

impl Row {
    fn new(left: usize, width: usize) -> Row {
        Row { left, room: width.saturating_sub(left), cells: Vec::new() }
    }

    fn numbers(mut self, timeline: &Timeline, step: usize) -> Row {
        for (at, moment) in timeline.moments.iter().enumerate() {
            let ink = if moment.wrong { Ink::Wrong } else { Ink::Faint };
            self.write(at * step, &(at + 1).to_string(), ink);
        }
        self
    }

    fn put(&mut self, column: usize, sign: char, ink: Ink) {
        if self.cells.len() <= column {
            self.cells.resize(column + 1, BLANK);
        }
        self.cells[column] = (sign, ink);
    }

    fn write(&mut self, column: usize, text: &str, ink: Ink) {
        for (offset, sign) in text.chars().enumerate() {
            self.put(column + offset, sign, ink);
        }
    }

    fn bar(&mut self, screen: &Screen, bar: &Bar, next: Option<usize>, step: usize, steps: usize) {
        let (signs, ink) = (signs(screen, bar.kind), Ink::Bar(bar.kind));
        let (from, to) = (bar.from * step, bar.to * step);
        if from == to {
            self.put(from, signs.instant, ink);
        } else {
            for column in from + 1..to {
                self.put(column, signs.fill, ink);
            }
            self.put(from, signs.begin, ink);
            self.put(to, if bar.to == steps { signs.goes_on } else { signs.end }, ink);
        }
        self.label(screen, bar, (from, to), next.map_or(self.room, |next| next * step));
    }

    /// In the bar, or behind it, or as much of it as the bar has room for.
    fn label(&mut self, screen: &Screen, bar: &Bar, (from, to): (usize, usize), next: usize) {
        let len = bar.label.chars().count();
        let inside = (to - from).saturating_sub(3);
        if len + 2 <= inside {
            self.write(from + 2, &format!(" {} ", bar.label), Ink::Plain);
        } else if len <= inside {
            self.write(from + 2, &bar.label, Ink::Plain);
        } else if to + 2 + len < next {
            self.write(to + 2, &bar.label, Ink::Plain);
        } else if inside >= 4 {
            self.write(from + 2, &cut(&bar.label, inside, screen), Ink::Plain);
        }
    }

    /// The moments when it goes wrong run through every row.
    fn mark(&mut self, screen: &Screen, wrong: &[usize]) {
        for column in wrong {
            match self.cells.get(*column).copied().unwrap_or(BLANK) {
                (' ', _) => self.put(*column, if screen.boxes { '┊' } else { ':' }, Ink::Wrong),
                (sign, Ink::Bar(_)) => self.put(*column, sign, Ink::Wrong),
                _ => {}
            }
        }
    }

    /// The row as a line, with a name before it.
    fn paint(&self, screen: &Screen, name: &str) -> String {
        let mut line = format!("{:INDENT$}{name:1$}", "", self.left - INDENT);
        let end = self.cells.iter().rposition(|(sign, _)| *sign != ' ').map_or(0, |last| last + 1);
        for run in self.cells[..end].chunk_by(|(_, one), (_, other)| one == other) {
            let text: String = run.iter().map(|(sign, _)| sign).collect();
            line += &screen.paint(run[0].1, &text);
        }
        line.truncate(line.trim_end().len());
        line + "\n"
    }
}

/// Sessions, operations and memory are told apart without colours too.
fn signs(screen: &Screen, kind: Kind) -> Signs {
    let of = |[begin, fill, end, goes_on, instant]: [char; 5]| Signs { begin, fill, end, goes_on, instant };
    match (screen.boxes, kind) {
        (true, Kind::Session) => of(['├', '─', '┤', '→', '│']),
        (true, Kind::Operation) => of(['╞', '═', '╡', '⇒', '║']),
        (true, Kind::Memory) => of(['▐', '▒', '▌', '▒', '▐']),
        (false, Kind::Session) => of(['|', '-', '|', '>', '|']),
        (false, Kind::Operation) => of(['[', '=', ']', '>', '|']),
        (false, Kind::Memory) => of(['{', '#', '}', '>', '|']),
    }
}
