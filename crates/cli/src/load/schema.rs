//! `docs/load.schema.json` describes the results, all of them and nothing else.

use std::path::Path;

use serde_json::Value;

use super::report::{Difference, Report, Step};
use super::{build, samples, system, value};

/// `None` in an unpacked archive of this crate alone, which does not have the documentation.
fn schema() -> Option<Value> {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    let text = docs.is_dir().then(|| std::fs::read_to_string(docs.join("load.schema.json")).unwrap())?;
    Some(serde_json::from_str(&text).unwrap())
}

fn report(measured: &super::measured::Measured) -> Report {
    build::report(&samples::plan(), measured, system::this("io_uring"))
}

/// With every key that there is.
fn full() -> Report {
    let mut report = report(&samples::eventful());
    report.search = Some(vec![Step { rate: 5.0, holds: true, value: Some(1.0), tries: 2, held: 2 }]);
    report.highest_rate = Some(Some(5.0));
    report.comparison = Some(vec![Difference {
        key: "messages_per_second".to_owned(),
        before: 1.0,
        after: 2.0,
        ratio: 2.0,
        low: 1.9,
        high: 2.1,
        judged: true,
        differs: true,
    }]);
    let expression = crate::args::Expression::parse("p99<5ms").unwrap();
    report.assertions = vec![super::assertion::judge(&expression, &value(&report).unwrap_or_default())];
    report
}

fn json(report: &Report) -> Value {
    serde_json::to_value(report).unwrap()
}

#[test]
fn results_are_as_the_schema_says() {
    let Some(schema) = schema() else { return };
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    let mut nothing = samples::run(0.0, 1.0, 1);
    nothing.counts = super::measured::Counts::default();
    let mut no_rate = full();
    no_rate.highest_rate = Some(None);
    for report in [full(), no_rate, report(&samples::calm()), report(&nothing)] {
        let errors: Vec<_> = validator
            .iter_errors(&json(&report))
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert!(errors.is_empty(), "{errors:#?}");
    }
    assert!(!validator.is_valid(&serde_json::json!({"messages": 1})));
}

/// Both have the same keys, and every one is described.
#[test]
fn the_schema_has_every_key_and_no_other() {
    let Some(schema) = schema() else { return };
    let mut findings = Vec::new();
    compare("", &schema, &schema, &json(&full()), &mut findings);
    assert!(findings.is_empty(), "{findings:#?}");
}

fn compare(path: &str, root: &Value, schema: &Value, value: &Value, findings: &mut Vec<String>) {
    if schema["description"].as_str().is_none_or(str::is_empty) && !path.ends_with("[]") {
        findings.push(format!("{path}: no description"));
    }
    let target = schema["$ref"].as_str().map(|to| &root["$defs"][to.trim_start_matches("#/$defs/")]);
    let schema = target.unwrap_or(schema);
    match value {
        Value::Object(object) => {
            let known = schema["properties"].as_object().cloned().unwrap_or_default();
            for key in object.keys().filter(|key| !known.contains_key(*key)) {
                findings.push(format!("{path}.{key}: not in the schema"));
            }
            for (key, schema) in &known {
                match object.get(key) {
                    Some(value) => compare(&format!("{path}.{key}"), root, schema, value, findings),
                    None => findings.push(format!("{path}.{key}: in the schema alone")),
                }
            }
        }
        Value::Array(list) => match list.first() {
            Some(first) => compare(&format!("{path}[]"), root, &schema["items"], first, findings),
            None => findings.push(format!("{path}: the sample has none")),
        },
        _ => {}
    }
}

/// What a run writes, a later one reads.
#[test]
fn a_result_can_be_read_again() {
    for report in [full(), report(&samples::calm())] {
        let text = serde_json::to_string(&report).unwrap();
        assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), report);
    }
}
