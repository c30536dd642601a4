//! Dashboards match their sources and follow the rules of `grafana/dashboard-linter` and of this
//! project.

mod broken;
mod limits;
mod lint;
mod promql;
mod world;

use mlsdm::telemetry::{
    dashboards::{Limits, dashboard},
    rules::Slo,
};
use serde_json::Value;

use crate::files;
use lint::lint;
use world::World;

/// The names of all dashboards.
const NAMES: [&str; 8] =
    ["canary", "event-log", "governance", "llm", "logs", "overview", "slo", "telemetry"];

/// A dashboard as Grafana loads it.
fn load(name: &str) -> Value {
    serde_json::from_str(&files::text(&format!("dashboards/{name}.json"))).unwrap()
}

fn slo_limits() -> Limits {
    Limits::of(&Slo::parse(&files::text("alerts/slo.yaml")).unwrap())
}

#[test]
fn each_name_has_a_source_and_a_dashboard() {
    assert_eq!(files::names("dashboards", "yaml"), NAMES);
    assert_eq!(files::names("dashboards", "json"), NAMES);
}

#[test]
fn generated_dashboards_are_up_to_date() {
    let limits = slo_limits();
    for name in NAMES {
        let source = files::text(&format!("dashboards/{name}.yaml"));
        let made = dashboard(name, &source, &limits).unwrap();
        let advice = "run `mlsdm-dev generate`";
        assert!(made == files::text(&format!("dashboards/{name}.json")), "{name}: {advice}");
    }
}

#[test]
fn dashboards_break_no_rule() {
    let world = World::of_the_repository();
    let findings: Vec<String> =
        NAMES.iter().flat_map(|name| lint(name, &load(name), &world)).collect();
    assert!(findings.is_empty(), "{}", findings.join("\n"));
}
