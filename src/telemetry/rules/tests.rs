use super::{
    objectives::{broken, condition},
    *,
};

const SLO: &str = include_str!("../../../alerts/slo.yaml");
const COMPONENTS: &str = include_str!("../../../alerts/components.yaml");
const RUNBOOK: &str = include_str!("../../../deploy/RUNBOOK.md");

const METRICS: &[&str] = &["mlsdm_steps_total"];

fn sources(runbook: &str) -> Sources<'_> {
    Sources { slo: SLO, components: COMPONENTS, runbook, metrics: METRICS }
}

fn slo() -> Slo {
    Slo::parse(SLO).unwrap()
}

#[test]
fn every_burn_of_every_promise_can_happen() {
    let slo = slo();
    let mut pairs = 0;
    for objective in slo.objectives() {
        for burn in slo.burns() {
            assert!(burn.factor * (1.0 - objective.objective) < 1.0, "{objective:?} {burn:?}");
            pairs += 1;
        }
    }
    assert_eq!(pairs, 3 * 4, "each promise that is built, at each speed");
}

#[test]
fn a_burn_that_cannot_happen_is_refused() {
    let loose = SLO.replace("objective: 0.95", "objective: 0.9");
    let error = Slo::parse(&loose).unwrap_err().to_string();
    assert!(error.contains("latency can never burn fast"), "{error}");
}

#[test]
fn what_is_misspelt_is_refused() {
    let error = Slo::parse(&SLO.replace("threshold_seconds", "treshold_seconds")).unwrap_err();
    assert!(error.to_string().contains("slo.yaml"), "{error}");
    let endless = COMPONENTS.replace("resolved: 30m", "");
    let error = Components::parse(&endless, &slo(), METRICS).unwrap_err().to_string();
    assert!(error.contains("wants `silent` and `resolved`"), "{error}");
}

#[test]
fn a_promise_that_awaits_something_has_no_rules() {
    for (name, text) in files(&sources(RUNBOOK)).unwrap() {
        assert_eq!(text.contains("freshness"), name == "deploy/SLO.md", "{name}");
    }
}

#[test]
fn numbers_are_those_of_the_promises() {
    let changed = SLO.replace("threshold_seconds: 0.5", "threshold_seconds: 0.25");
    let changed = Slo::parse(&changed.replace("fast: 14.4", "fast: 12.5")).unwrap();
    let latency = changed.objectives().find(|objective| objective.name == "latency").unwrap();
    assert!(broken(&changed, &latency, "5m").contains("le=\"0.25\"}[5m]"));
    let fast = changed.burns().next().unwrap();
    let limit = "mlsdm:slo_errors:ratio_rate1h{slo=\"latency\"} > 12.5 * (1 - 0.95)";
    let condition = condition(&changed, &latency, &fast);
    assert!(condition.starts_with(limit), "{condition}");
    let few = "\nand\nmlsdm:slo_errors:increase1h{slo=\"latency\"} > 2";
    assert!(condition.ends_with(few), "{condition}");
}

#[test]
fn a_runbook_keeps_what_is_around_its_alerts() {
    let runbook =
        RUNBOOK.replace("<!-- end of alerts -->", "<!-- end of alerts -->\n\n## Afterwards");
    let files = files(&sources(&runbook)).unwrap();
    let made = &files.iter().find(|(name, _)| name == "deploy/RUNBOOK.md").unwrap().1;
    assert!(made.starts_with("# Runbook") && made.contains("\n## Afterwards"), "{made}");
    assert_eq!(made.matches("### MlsdmDown").count(), 1);
    assert!(super::files(&sources("# Runbook")).is_err());
}

#[test]
fn an_alert_awaits_its_metric_and_no_longer() {
    let awaiting = COMPONENTS.replace(
        "  - alert: MlsdmDown\n",
        "  - alert: MlsdmDown\n    awaits: mlsdm_to_come_total\n",
    );
    let waiting = Sources { components: &awaiting, ..sources(RUNBOOK) };
    for (name, text) in files(&waiting).unwrap() {
        assert!(
            !text.contains("alertname=\\\"MlsdmDown") && !text.contains("alert: MlsdmDown"),
            "{name}"
        );
    }
    let there = Sources { metrics: &["mlsdm_to_come_total"], ..waiting };
    let error = files(&there).unwrap_err().to_string();
    assert!(error.contains("remove `awaits`"), "{error}");
}
