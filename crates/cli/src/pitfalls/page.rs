//! The exhibits on one page that needs nothing but itself: no script, no font, no picture from elsewhere. The styles
//! are in `page.css`, the timelines in [`figure`].

use std::fmt::Write;

use overlapped_pitfalls::{Crash, Evidence, Exhibit, Run};

use super::escaped::escaped;
use super::figure;
use super::{Kernel, Outcome, Results, Shown};

const STYLES: &str = include_str!("page.css");

pub(super) fn of(results: &Results) -> String {
    let mut out = String::new();
    let _ = write!(
        out,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>Pitfalls of completion I/O</title>\n\
         <style>\n{STYLES}</style>\n</head>\n<body>\n<div class=\"page\">\n"
    );
    head(&mut out, results);
    out.push_str("<main>\n");
    for shown in &results.exhibits {
        article(&mut out, shown, results);
    }
    out.push_str("</main>\n");
    let _ = writeln!(
        out,
        "<footer class=\"small\"><p>Made by <code>overlapped pitfalls</code> {}. The same evidence as data: \
         <code>--json</code>.</p></footer>\n</div>\n</body>\n</html>",
        env!("CARGO_PKG_VERSION")
    );
    out
}

fn head(out: &mut String, results: &Results) {
    let count = results.exhibits.len();
    let what = if count == 1 {
        "A mistake in programs on completion ports and rings, as a small program that ran twice".to_owned()
    } else {
        format!(
            "{count} mistakes in programs on completion ports and rings, each as a small program that ran twice"
        )
    };
    let _ = write!(
        out,
        "<header>\n<p class=\"kicker\"><code>overlapped pitfalls</code></p>\n<h1>Pitfalls of completion I/O</h1>\n\
         <p class=\"lead\">{what}: with the mistake, and repaired, on the same schedule. What is shown was observed in \
         these runs.</p>\n"
    );
    if results.need_a_kernel() {
        fallback(out, &results.kernel);
    }
    out.push_str(
        "<ul class=\"legend\" aria-label=\"How to read the timelines\">\n\
         <li><span class=\"swatch session\"></span>a session, from its start to its end</li>\n\
         <li><span class=\"swatch operation\"></span>an operation in flight</li>\n\
         <li><span class=\"swatch memory\"></span>who has a piece of memory</li>\n\
         <li><span class=\"swatch moment\"></span>the moment when it goes wrong</li>\n",
    );
    if count > 1 {
        out.push_str(
            "<li><span class=\"sign good\">✓</span>as expected: broken with the mistake, held when repaired</li>\n",
        );
        if !results.as_expected() {
            out.push_str("<li><span class=\"sign bad\">✗</span>not as expected</li>\n");
        }
    }
    out.push_str("</ul>\n");
    if count > 1 {
        out.push_str("<nav aria-label=\"Exhibits\">\n<ol class=\"contents\">\n");
        for shown in &results.exhibits {
            let Exhibit { name, title, .. } = shown.exhibit;
            let _ = writeln!(out, "<li>{} <a href=\"#{name}\">{}</a></li>", sign(shown), escaped(title));
        }
        out.push_str("</ol>\n</nav>\n");
    }
    out.push_str("</header>\n");
}

fn fallback(out: &mut String, kernel: &Kernel) {
    if let Some(instead) = &kernel.instead {
        let _ = writeln!(
            out,
            "<p class=\"fallback\">No real kernel could be used here: {}. In its place stood a small kernel of the \
             program: a thread that keeps raw addresses and uses them late, as a real kernel does.</p>",
            escaped(&instead.to_string())
        );
    }
}

/// Whether all is as expected, for eyes and ears.
fn sign(shown: &Shown) -> &'static str {
    match shown.fault() {
        None => "<span class=\"sign good\" role=\"img\" aria-label=\"as expected:\">✓</span>",
        Some(_) => "<span class=\"sign bad\" role=\"img\" aria-label=\"not as expected:\">✗</span>",
    }
}

fn article(out: &mut String, shown: &Shown, results: &Results) {
    let exhibit = shown.exhibit;
    let (name, title) = (exhibit.name, escaped(exhibit.title));
    let _ = writeln!(
        out,
        "<article id=\"{name}\" aria-labelledby=\"{name}-title\">\n<header><p><code>{name}</code></p>\
         <h2 id=\"{name}-title\">{title}</h2><p class=\"small\">{}</p></header>",
        escaped(&results.runs_on(exhibit))
    );
    match &shown.outcome {
        Some(Ok(outcome)) => versions(out, exhibit, outcome, results),
        Some(Err(error)) => {
            let _ = writeln!(out, "<p class=\"bad\">It could not be run: {}</p>", escaped(error));
        }
        None => {}
    }
    out.push_str("</article>\n");
}

fn versions(out: &mut String, exhibit: &Exhibit, outcome: &Outcome, results: &Results) {
    let (broken, repaired) = (&outcome.report.broken, &outcome.report.repaired);
    let verdict = if broken.held { "held, and should not".to_owned() } else { went_wrong(broken) };
    let heading = format!("Broken <span class=\"verdict bad\">{verdict}</span>");
    version(out, "broken", &heading, exhibit.mistake, broken);
    let (class, verdict) = if repaired.held { ("good", "held") } else { ("bad", "did not hold") };
    let heading = format!("Repaired, on the same schedule <span class=\"verdict {class}\">{verdict}</span>");
    let text =
        if results.without_repair { "Not repaired: the broken version once more." } else { exhibit.repair };
    version(out, "repaired", &heading, text, repaired);
    out.push_str("<div class=\"after\">\n<section>\n");
    evidence(out, [&broken.evidence, &repaired.evidence]);
    if let Some(seen) = &outcome.crash {
        crash(out, seen);
    }
    out.push_str("</section>\n<section>\n");
    why(out, exhibit);
    out.push_str("</section>\n</div>\n");
}

/// At which steps, as they are counted in the drawing.
fn went_wrong(run: &Run) -> String {
    let moments = run.timeline.moments.iter().enumerate().filter(|(_, moment)| moment.wrong);
    let steps: Vec<String> = moments.map(|(at, _)| (at + 1).to_string()).collect();
    match steps.split_last() {
        Some((last, [])) => format!("goes wrong at step {last}"),
        Some((last, others)) => format!("goes wrong at steps {} and {last}", others.join(", ")),
        None => "broke".to_owned(),
    }
}

fn version(out: &mut String, class: &str, heading: &str, text: &str, run: &Run) {
    let text = escaped(text);
    let _ = writeln!(
        out,
        "<section class=\"version {class}\">\n<header><h3>{heading}</h3><p>{text}</p></header>"
    );
    figure::of(out, run);
    out.push_str("</section>\n");
}

fn evidence(out: &mut String, [broken, repaired]: [&Evidence; 2]) {
    out.push_str(
        "<h3>Evidence</h3>\n<table>\n<thead><tr><th scope=\"col\">what</th><th scope=\"col\">broken</th>\
         <th scope=\"col\">repaired</th></tr></thead>\n<tbody>\n",
    );
    let only_repaired = repaired.iter().filter(|(name, _)| broken.get(name).is_none());
    for (name, _) in broken.iter().chain(only_repaired) {
        let both = [broken.get(name), repaired.get(name)];
        let [one, other] =
            both.map(|value| value.map_or("–".to_owned(), |value| escaped(&value.to_string())));
        let differs = if one == other { "" } else { " class=\"differs\"" };
        let what = name.replace('_', " ");
        let _ =
            writeln!(out, "<tr{differs}><th scope=\"row\">{what}</th><td>{one}</td><td>{other}</td></tr>");
    }
    out.push_str("</tbody>\n</table>\n");
}

fn crash(out: &mut String, seen: &Crash) {
    let _ = writeln!(
        out,
        "<h3 class=\"crash\">When the memory is given back to the system</h3>\n<dl>\n\
         <dt>The program's own code touches it (tried in a child process)</dt><dd>{}</dd>\n\
         <dt>The kernel is given its address</dt><dd>{}</dd>\n</dl>",
        escaped(&seen.child_ended),
        escaped(&seen.kernel_answered)
    );
}

fn why(out: &mut String, exhibit: &Exhibit) {
    let _ = write!(
        out,
        "<h3>What rules it out</h3>\n<dl>\n<dt>Invariant</dt><dd>{}</dd>\n<dt>Upheld by</dt><dd><code>{}</code></dd>\n\
         <dt>On Windows</dt><dd>{}</dd>\n<dt>On Linux</dt><dd>{}</dd>\n",
        escaped(exhibit.invariant),
        escaped(exhibit.upheld_by),
        escaped(exhibit.on_windows),
        escaped(exhibit.on_linux)
    );
    if !exhibit.seen_in.is_empty() {
        out.push_str("<dt>Seen in</dt>");
    }
    for seen in exhibit.seen_in {
        let (url, name, what) = (escaped(seen.url), escaped(seen.name), escaped(seen.what));
        let _ = writeln!(out, "<dd><a href=\"{url}\">{name}</a>: {what}</dd>");
    }
    out.push_str("</dl>\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_was_observed_becomes_markup() {
        assert_eq!(
            escaped("<script>alert(\"a\" & 'b')</script>"),
            "&lt;script&gt;alert(&quot;a&quot; &amp; &#39;b&#39;)&lt;/script&gt;"
        );
        assert_eq!(escaped("한글 \u{1F600}"), "한글 \u{1F600}");
    }
}
