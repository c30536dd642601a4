use super::*;
use crate::telemetry::rules::Slo;

const SLO: &str = include_str!("../../../alerts/slo.yaml");

const SOURCE: &str = r#"
title: A title
description: Why it is there.
panels:
  - title: One
    description: What it means.
    kind: stat
    size: [16, 4]
    unit: s
    steps: [{ color: green }, { at: latency.threshold, color: red }]
    words: [{ from: "0", text: "off", color: green }, { from: "1", text: "on", color: red }]
    queries: [{ expr: 'a{..} > <latency.threshold>', legend: "{{engine}}" }]
  - title: Two
    description: What it means.
    kind: lines
    size: [12, 6]
    unit: s
    queries: [{ expr: 'b{.., c="d"} < 3' }]
"#;

fn made(source: &str) -> Result<Value, Error> {
    let promises = Promises::of(&Slo::parse(SLO).unwrap());
    dashboard("some", source, &promises).map(|text| serde_json::from_str(&text).unwrap())
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
        "it does not fit beside"
    );
}

/// Between metrics and logs only the time goes along: a variable of the same name means something else.
#[test]
fn links_carry_variables_that_mean_the_same() {
    let more =
        |name: &str| SOURCE.replacen("unit: s\n", &format!("unit: s\n    more: {name}\n"), 1);
    let url = |source: &str| made(source).unwrap()["panels"][0]["links"][0]["url"].clone();
    assert_eq!(url(&more("slo")), "/d/mlsdm-slo?${__url_time_range}&${__all_variables}");
    assert_eq!(url(&more("logs")), "/d/mlsdm-logs?${__url_time_range}");
    let of_logs = format!("datasource: loki\n{}", more("slo"));
    assert_eq!(url(&of_logs), "/d/mlsdm-slo?${__url_time_range}");
    for (source, own) in [(SOURCE, "mlsdm-prometheus"), (of_logs.as_str(), "mlsdm-loki")] {
        let made = made(source).unwrap();
        assert_eq!(made["tags"], json!(["mlsdm", own]));
        for link in made["links"].as_array().unwrap() {
            assert_eq!(link["keepTime"], true);
            assert_eq!(link["includeVars"], link["tags"] == made["tags"], "{link}");
        }
    }
}

#[test]
fn of_two_words_that_fit_the_higher_counts() {
    let made = made(SOURCE).unwrap();
    let words = &made["panels"][0]["fieldConfig"]["defaults"]["mappings"];
    assert_eq!(words[0]["options"]["match"], "null+nan");
    assert_eq!(words[1]["options"]["result"]["text"], "on");
    assert_eq!(words[1]["options"]["to"], Value::Null);
    assert_eq!(words[2]["options"]["from"], 0.0);
    assert_eq!(words[2]["options"]["to"], 1.0);
}

#[test]
fn a_promise_that_nobody_made_is_named() {
    for (from, to) in [("at: latency", "at: lateness"), ("<latency", "<lateness")] {
        let refused = made(&SOURCE.replace(from, to)).unwrap_err().to_string();
        assert!(refused.contains("lateness.threshold"), "{refused}");
        assert!(refused.contains("One"), "{refused}");
    }
}

#[test]
fn a_key_that_there_is_not_is_named() {
    let refused = made(&SOURCE.replace("unit:", "units:")).unwrap_err().to_string();
    assert!(refused.contains("units"), "{refused}");
}
