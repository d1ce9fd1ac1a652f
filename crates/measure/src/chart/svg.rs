//! The few elements that a chart is made of, as text.

use std::fmt::Write;

/// Text as XML or HTML, in an element or in a quoted attribute. Characters that XML does not have are left out.
#[must_use]
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for sign in text.chars() {
        match sign {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            '\'' => out += "&#39;",
            '\t' | '\n' | '\r' => out.push(' '),
            '\u{0}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => {}
            _ => out.push(sign),
        }
    }
    out
}

/// Width of a text at 12 px, in pixels: as wide as DejaVu Sans draws it, the widest of the usual fonts.
pub(super) fn width_of(text: &str) -> f64 {
    let width = |sign: char| match sign {
        'm' | 'w' | 'M' | 'W' | '%' | '@' => 11.7,
        'i' | 'j' | 'l' | '.' | ',' | ' ' | '/' | '(' | ')' => 4.3,
        sign if sign.is_ascii() => 7.6,
        _ => 12.0,
    };
    text.chars().map(width).sum()
}

pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

pub(super) struct Svg {
    out: String,
}

impl Svg {
    pub(super) fn new() -> Svg {
        Svg { out: String::new() }
    }

    pub(super) fn into_text(self) -> String {
        self.out
    }

    pub(super) fn raw(&mut self, text: &str) {
        self.out += text;
    }

    pub(super) fn text(&mut self, class: &str, (x, y): (f64, f64), anchor: &Anchor, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "",
            Anchor::Middle => " text-anchor=\"middle\"",
            Anchor::End => " text-anchor=\"end\"",
        };
        let class = if class.is_empty() { String::new() } else { format!(" class=\"{class}\"") };
        let _ = writeln!(self.out, "<text{class} x=\"{x:.1}\" y=\"{y:.1}\"{anchor}>{}</text>", escaped(text));
    }

    pub(super) fn line(&mut self, class: &str, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) {
        let _ = writeln!(self.out, "<path class=\"{class}\" d=\"M{x1:.1} {y1:.1}L{x2:.1} {y2:.1}\"/>");
    }

    pub(super) fn rect(&mut self, class: &str, (x, y): (f64, f64), (width, height): (f64, f64), hint: &str) {
        let _ = write!(
            self.out,
            "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\""
        );
        if hint.is_empty() {
            self.out += "/>\n";
        } else {
            let _ = writeln!(self.out, "><title>{}</title></rect>", escaped(hint));
        }
    }

    pub(super) fn dot(&mut self, class: &str, (x, y): (f64, f64), hint: &str) {
        let hint = escaped(hint);
        let _ = writeln!(
            self.out,
            "<circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\"><title>{hint}</title></circle>"
        );
    }

    /// Lines through the points; each part on its own.
    pub(super) fn lines(&mut self, class: &str, parts: &[Vec<(f64, f64)>]) {
        let mut path = String::new();
        for part in parts {
            for (at, (x, y)) in part.iter().enumerate() {
                let _ = write!(path, "{}{x:.1} {y:.1}", if at == 0 { "M" } else { "L" });
            }
            // With round ends, a line of no length is a dot.
            if let [(x, y)] = part.as_slice() {
                let _ = write!(path, "L{x:.1} {y:.1}");
            }
        }
        if !path.is_empty() {
            let _ = writeln!(self.out, "<path class=\"{class}\" d=\"{path}\"/>");
        }
    }

    /// The area between two lines.
    pub(super) fn area(&mut self, class: &str, corners: &[(f64, f64)]) {
        let mut path = String::new();
        for (at, (x, y)) in corners.iter().enumerate() {
            let _ = write!(path, "{}{x:.1} {y:.1}", if at == 0 { "M" } else { "L" });
        }
        if !path.is_empty() {
            let _ = writeln!(self.out, "<path class=\"{class}\" d=\"{path}Z\"/>");
        }
    }
}
