use super::*;
use crate::load::{build, samples, system};

fn drawn(measured: &crate::load::measured::Measured, change: impl FnOnce(&mut Report)) -> String {
    let mut report = build::report(&samples::plan(), measured, system::this("io_uring"));
    change(&mut report);
    of(&report)
}

#[test]
fn a_page_needs_nothing_but_itself() {
    let page = drawn(&samples::eventful(), |_| {});
    for foreign in ["<script", "<link", "<img", "url(", "@import", "src="] {
        assert!(!page.contains(foreign), "{foreign}");
    }
    // The name space of SVG alone.
    assert_eq!(page.matches("http").count(), page.matches("xmlns=\"http://www.w3.org/2000/svg\"").count());
}

#[test]
fn what_went_wrong_is_on_the_page() {
    let page = drawn(&samples::eventful(), |report| {
        let expression = crate::args::Expression::parse("p99<1us").unwrap();
        report.assertions =
            vec![crate::load::assertion::judge(&expression, &serde_json::to_value(&*report).unwrap())];
    });
    for text in [
        "p99&lt;1us does not hold",
        "1 stall",
        "the bottleneck: its busiest",
        "expected 0x5a, got 0x5b",
        "expected nothing, got 0x00",
        "got the end of the stream",
        "Connection refused",
        ">mismatches<",
        ">resets<",
        "class=\"band\"",
        "12 MiB",
    ] {
        assert!(page.contains(text), "{text}");
    }
}

#[test]
fn a_calm_run_has_no_section_of_errors() {
    let page = drawn(&samples::calm(), |_| {});
    assert!(!page.contains("<h2>Errors</h2>") && !page.contains("<h2>Stalls</h2>"));
    assert!(page.contains("every echoed byte was the right one") && page.contains("Closed loop"));
}

#[test]
fn what_others_have_named_is_text() {
    let page = drawn(&samples::calm(), |report| report.config.target = "<b>&\"x".to_owned());
    assert!(page.contains("&lt;b&gt;&amp;&quot;x") && !page.contains("<b>"));
}

#[test]
fn nothing_was_measured() {
    let mut measured = samples::run(0.0, 1.0, 1);
    measured.counts.failed = 50;
    let page = drawn(&measured, |_| {});
    assert!(page.contains("No echo was complete") && page.contains("no data"));
}

#[test]
fn why_nothing_is_known_is_said() {
    let page = drawn(&samples::calm(), |report| report.config.server_pid = Some(123));
    assert_eq!(page.matches("process 123 ended before the run did; its use is not known").count(), 2);
    let page = drawn(&samples::run(0.0, 1.0, 1), |report| report.interrupted = true);
    assert!(page.contains("It was interrupted before an echo was measured"));
    assert!(!page.contains("was not the bottleneck"), "there was nothing to limit");
    assert!(!page.contains("No echo was complete"));
}
