use super::*;
use crate::telemetry::rules::Slo;

const SLO: &str = include_str!("../../../alerts/slo.yaml");

const SOURCE: &str = r#"
title: A title
description: Its purpose.
panels:
  - title: One
    description: Its meaning.
    kind: stat
    size: [16, 4]
    unit: s
    thresholds: [{ color: green }, { at: latency.threshold, color: red }]
    mappings: [{ from: "0", text: "off", color: green }, { from: "1", text: "on", color: red }]
    queries: [{ expr: 'a{..} > <latency.threshold>', legend: "{{engine}}" }]
  - title: Two
    description: Its meaning.
    kind: timeseries
    size: [12, 6]
    unit: s
    queries: [{ expr: 'b{.., c="d"} < 3' }]
"#;

fn made(source: &str) -> Result<Value, Error> {
    let limits = Limits::of(&Slo::parse(SLO).unwrap());
    dashboard("some", source, &limits).map(|text| serde_json::from_str(&text).unwrap())
}

#[test]
fn a_source_becomes_a_dashboard() {
    let made = made(SOURCE).unwrap();
    assert_eq!(made["uid"], "mlsdm-some");
    let [one, two] = [&made["panels"][0], &made["panels"][1]];
    let expr = r#"a{job=~"$job", instance=~"$instance"} > 0.5"#;
    assert_eq!(one["targets"][0]["expr"], expr);
    let expr = r#"b{job=~"$job", instance=~"$instance", c="d"} < 3"#;
    assert_eq!(two["targets"][0]["expr"], expr);
    assert_eq!(one["fieldConfig"]["defaults"]["thresholds"]["steps"][1]["value"], 0.5);
    assert_eq!(one["gridPos"], json!({ "x": 0, "y": 0, "w": 16, "h": 4 }));
    assert_eq!(
        two["gridPos"],
        json!({ "x": 0, "y": 4, "w": 12, "h": 6 }),
        "the second panel does not fit in the first row"
    );
}

/// Variables of the same name have other values in metrics and in logs.
#[test]
fn links_pass_variables_only_between_equal_data_sources() {
    let link =
        |name: &str| SOURCE.replacen("unit: s\n", &format!("unit: s\n    link: {name}\n"), 1);
    let url = |source: &str| made(source).unwrap()["panels"][0]["links"][0]["url"].clone();
    assert_eq!(url(&link("slo")), "/d/mlsdm-slo?${__url_time_range}&${__all_variables}");
    assert_eq!(url(&link("logs")), "/d/mlsdm-logs?${__url_time_range}");
    let logs = format!("datasource: loki\n{}", link("slo"));
    assert_eq!(url(&logs), "/d/mlsdm-slo?${__url_time_range}");
    for (source, own) in [(SOURCE, "mlsdm-prometheus"), (logs.as_str(), "mlsdm-loki")] {
        let made = made(source).unwrap();
        assert_eq!(made["tags"], json!(["mlsdm", own]));
        for to in made["links"].as_array().unwrap() {
            assert_eq!(to["keepTime"], true);
            assert_eq!(to["includeVars"], to["tags"] == made["tags"], "{to}");
        }
    }
}

#[test]
fn the_highest_matching_mapping_wins() {
    let made = made(SOURCE).unwrap();
    let mappings = &made["panels"][0]["fieldConfig"]["defaults"]["mappings"];
    assert_eq!(mappings[0]["options"]["match"], "null+nan");
    assert_eq!(mappings[1]["options"]["result"]["text"], "on");
    assert_eq!(mappings[1]["options"]["to"], Value::Null);
    assert_eq!(mappings[2]["options"]["from"], 0.0);
    assert_eq!(mappings[2]["options"]["to"], 1.0);
}

#[test]
fn an_unknown_limit_is_named_in_the_error() {
    for (from, to) in [("at: latency", "at: lateness"), ("<latency", "<lateness")] {
        let error = made(&SOURCE.replace(from, to)).unwrap_err().to_string();
        assert!(error.contains("lateness.threshold"), "{error}");
        assert!(error.contains("One"), "{error}");
    }
}

#[test]
fn an_unknown_key_is_named_in_the_error() {
    let error = made(&SOURCE.replace("unit:", "units:")).unwrap_err().to_string();
    assert!(error.contains("units"), "{error}");
}
