//! The numbers of SLOs are defined once, in `alerts/slo.yaml`.

use serde_json::Value;

use super::{NAMES, load};
use crate::files;

/// The thresholds of latencies and burn rates on panels are those of `alerts/slo.yaml`.
#[test]
fn thresholds_are_those_of_the_slos() {
    let slo = files::yaml("alerts/slo.yaml");
    let mut promised = Vec::new();
    numbers(&slo, &mut promised);
    let mut shown = 0;
    for name in NAMES {
        for panel in load(name)["panels"].as_array().unwrap() {
            let defaults = &panel["fieldConfig"]["defaults"];
            if panel["type"] != "timeseries" || defaults["unit"] != "s" {
                continue;
            }
            for step in defaults["thresholds"]["steps"].as_array().unwrap() {
                let Some(limit) = step["value"].as_f64() else { continue };
                assert!(promised.contains(&limit), "{name}: {}: {limit}", panel["title"]);
                shown += 1;
            }
        }
    }
    assert!(shown >= 5, "only {shown} thresholds");
}

/// Sources refer to the numbers of SLOs by name.
#[test]
fn sources_refer_to_slos_by_name() {
    for name in NAMES {
        let source = files::text(&format!("dashboards/{name}.yaml"));
        for number in ["\"0.5\"", "\"0.05\"", "500 ms", "50 ms", "99.9", "14.4", "latency_ms > 5"] {
            assert!(!source.contains(number), "{name}: {number} is in alerts/slo.yaml");
        }
    }
}

fn numbers(value: &Value, found: &mut Vec<f64>) {
    match value {
        Value::Number(number) => found.extend(number.as_f64()),
        Value::Array(all) => all.iter().for_each(|value| numbers(value, found)),
        Value::Object(all) => all.values().for_each(|value| numbers(value, found)),
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}
