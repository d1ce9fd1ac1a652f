//! A run as it is drawn on the page: a grid whose columns are the steps and whose rows are the lanes, and the steps in
//! words. The styles give both their places, on a narrow screen other ones than on a wide one.

use std::fmt::Write;

use overlapped_pitfalls::{Bar, Kind, Lane, Run, Timeline};

use super::escaped::escaped;

/// Width of a letter in a bar, and what is left and right of its text, in CSS pixels: generous.
const LETTER: usize = 7;
const PADDING: usize = 12;
/// What all steps together have on the narrowest screen that is drawn for (360 pixels), and on the narrowest on which
/// the lanes' names stand beside their bars (960): `page.css` has both.
const NARROW: usize = 272;
const WIDE: usize = 355;

pub(super) fn of(out: &mut String, run: &Run) {
    out.push_str("<div class=\"drawn\">\n");
    drawing(out, &run.timeline);
    out.push_str("<ol class=\"steps\">\n");
    for (at, moment) in run.timeline.moments.iter().enumerate() {
        let (class, said) = if moment.wrong {
            (" class=\"wrong\"", "<span class=\"unseen\">Here it goes wrong: </span>")
        } else {
            ("", "")
        };
        let text = escaped(&moment.text);
        let _ =
            writeln!(out, "<li{class}><b aria-hidden=\"true\">{}</b><span>{said}{text}</span></li>", at + 1);
    }
    out.push_str("</ol>\n</div>\n");
}

fn drawing(out: &mut String, timeline: &Timeline) {
    let (lanes, steps) = (timeline.lanes(), timeline.moments.len());
    let label = escaped(&in_words(timeline, &lanes));
    let _ = writeln!(
        out,
        "<div class=\"chart\" role=\"img\" aria-label=\"{label}\" style=\"--steps:{steps};--lanes:{}\">",
        lanes.len()
    );
    out.push_str("<span class=\"head\"></span>\n");
    for (at, moment) in timeline.moments.iter().enumerate() {
        let wrong = if moment.wrong { " wrong" } else { "" };
        let _ = writeln!(out, "<span class=\"step{wrong}\" style=\"--at:{at}\"><b>{}</b></span>", at + 1);
    }
    let owners = owners(&lanes);
    for (row, lane) in lanes.iter().enumerate() {
        let _ = writeln!(
            out,
            "<span class=\"lane\" style=\"--lane:{row}\"><span>{}</span></span>",
            escaped(lane.name)
        );
        for (at, bar) in lane.bars.iter().enumerate() {
            let next = lane.bars.get(at + 1).map(|next| next.from);
            let other =
                lane.kind == Kind::Memory && owners.iter().position(|owner| *owner == bar.label) > Some(0);
            draw(out, bar, row, next, steps, other);
        }
    }
    out.push_str("</div>\n");
}

/// Who has memory in this run, in the order of their coming: the first and the others differ in colour.
fn owners<'a>(lanes: &'a [Lane<'_>]) -> Vec<&'a str> {
    let mut owners = Vec::new();
    for bar in lanes.iter().filter(|lane| lane.kind == Kind::Memory).flat_map(|lane| &lane.bars) {
        if !owners.contains(&bar.label.as_str()) {
            owners.push(bar.label.as_str());
        }
    }
    owners
}

fn draw(out: &mut String, bar: &Bar, row: usize, next: Option<usize>, steps: usize, other: bool) {
    let mut class = format!("bar {}", bar.kind.as_str());
    if other {
        class += " other";
    }
    if bar.to == steps {
        class += " goes-on";
    }
    for (screen, room) in [("narrow", NARROW), ("wide", WIDE)] {
        match place(bar, next, steps, room) {
            Place::Inside => {}
            Place::Outside => class = class + " " + screen + "-outside",
            Place::Nowhere => class = class + " " + screen + "-hidden",
        }
    }
    let (from, to, text) = (bar.from, bar.to, escaped(&bar.label));
    let _ = writeln!(
        out,
        "<span class=\"{class}\" style=\"--lane:{row};--from:{from};--to:{to}\"><span>{text}</span></span>"
    );
}

/// Where a bar's text stands.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    Inside,
    /// Behind the bar.
    Outside,
    /// There is no room. What cannot be seen is in the drawing's description.
    Nowhere,
}

/// Behind the bar, where it is too short for its text, if there is room before the next one.
fn place(bar: &Bar, next: Option<usize>, steps: usize, room: usize) -> Place {
    let step = room / steps.max(1);
    let text = bar.label.chars().count() * LETTER + PADDING;
    let inside = (bar.to - bar.from) * step;
    let behind = (next.unwrap_or(steps) - bar.to) * step;
    match (text <= inside, text <= behind) {
        (true, _) => Place::Inside,
        (false, true) => Place::Outside,
        (false, false) => Place::Nowhere,
    }
}

/// The drawing for those who cannot see it.
fn in_words(timeline: &Timeline, lanes: &[Lane<'_>]) -> String {
    let steps = timeline.moments.len();
    let mut words = format!("Timeline of {steps} steps.");
    for lane in lanes {
        let _ = write!(words, " {} ({})", lane.name, lane.kind.as_str());
        for (at, bar) in lane.bars.iter().enumerate() {
            let end =
                if bar.to == steps { "to the end".to_owned() } else { format!("to step {}", bar.to + 1) };
            let separator = if at == 0 { ":" } else { ";" };
            let _ = write!(words, "{separator} {}, from step {} {end}", bar.label, bar.from + 1);
        }
        words.push('.');
    }
    let wrong: Vec<String> = timeline
        .moments
        .iter()
        .enumerate()
        .filter(|(_, moment)| moment.wrong)
        .map(|(at, _)| (at + 1).to_string())
        .collect();
    if !wrong.is_empty() {
        let _ = write!(words, " It goes wrong at step {}.", wrong.join(" and "));
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_stands_where_there_is_room() {
        let bar = |label: &str, from, to| Bar {
            lane: String::new(),
            kind: Kind::Operation,
            label: label.to_owned(),
            from,
            to,
        };
        let long = "a text of 24 letters ...";
        assert_eq!(place(&bar("ab", 0, 1), None, 5, NARROW), Place::Inside);
        assert_eq!(place(&bar(long, 0, 1), None, 5, NARROW), Place::Outside);
        assert_eq!(place(&bar(long, 0, 1), Some(2), 5, NARROW), Place::Nowhere);
        assert_eq!(place(&bar(long, 4, 5), None, 5, NARROW), Place::Nowhere);
        assert_eq!(place(&bar(long, 0, 5), None, 5, NARROW), Place::Inside);
    }
}
