use super::{
    objectives::{condition, error_ratio},
    *,
};

const SLO: &str = include_str!("../../../alerts/slo.yaml");
const COMPONENTS: &str = include_str!("../../../alerts/components.yaml");
const CANARY: &str = include_str!("../../../alerts/canary.yaml");
const RUNBOOK: &str = include_str!("../../../deploy/RUNBOOK.md");

const METRICS: &[&str] = &["mlsdm_steps_total"];

fn sources(runbook: &str) -> Sources<'_> {
    Sources { slo: SLO, components: COMPONENTS, canary: CANARY, runbook, metrics: METRICS }
}

fn slo() -> Slo {
    Slo::parse(SLO).unwrap()
}

#[test]
fn every_burn_rate_of_every_slo_is_reachable() {
    let slo = slo();
    let mut pairs = 0;
    for objective in slo.objectives() {
        for burn in slo.burn_rates() {
            assert!(burn.factor * (1.0 - objective.objective) < 1.0, "{objective:?} {burn:?}");
            pairs += 1;
        }
    }
    assert_eq!(pairs, 3 * 4, "each available SLO at each burn rate");
}

#[test]
fn an_unreachable_burn_rate_is_an_error() {
    let loose = SLO.replace("objective: 0.95", "objective: 0.9");
    let error = Slo::parse(&loose).unwrap_err().to_string();
    assert!(error.contains("latency can never burn fast"), "{error}");
}

#[test]
fn unknown_and_missing_keys_are_errors() {
    let error = Slo::parse(&SLO.replace("threshold_seconds", "treshold_seconds")).unwrap_err();
    assert!(error.to_string().contains("slo.yaml"), "{error}");
    let incomplete = COMPONENTS.replace("resolved: 30m", "");
    let error = Components::parse(&incomplete, &slo(), METRICS).unwrap_err().to_string();
    assert!(error.contains("needs `silent` and `resolved`"), "{error}");
}

#[test]
fn an_unavailable_slo_has_no_rules() {
    for (name, text) in files(&sources(RUNBOOK)).unwrap() {
        assert_eq!(text.contains("freshness"), name == "deploy/SLO.md", "{name}");
    }
}

#[test]
fn rules_take_their_numbers_from_the_slos() {
    let changed = SLO.replace("threshold_seconds: 0.5", "threshold_seconds: 0.25");
    let changed = Slo::parse(&changed.replace("fast: 14.4", "fast: 12.5")).unwrap();
    let latency = changed.objectives().find(|objective| objective.name == "latency").unwrap();
    assert!(error_ratio(&changed, &latency, "5m").contains("le=\"0.25\"}[5m]"));
    let fast = changed.burn_rates().next().unwrap();
    let limit = "mlsdm:slo_errors:ratio_rate1h{slo=\"latency\"} > 12.5 * (1 - 0.95)";
    let condition = condition(&changed, &latency, &fast);
    assert!(condition.starts_with(limit), "{condition}");
    let floor = "\nand\nmlsdm:slo_errors:increase1h{slo=\"latency\"} > 2";
    assert!(condition.ends_with(floor), "{condition}");
}

#[test]
fn the_runbook_keeps_the_text_around_its_alert_sections() {
    let runbook =
        RUNBOOK.replace("<!-- end of alerts -->", "<!-- end of alerts -->\n\n## Afterwards");
    let files = files(&sources(&runbook)).unwrap();
    let made = &files.iter().find(|(name, _)| name == "deploy/RUNBOOK.md").unwrap().1;
    assert!(made.starts_with("# Runbook") && made.contains("\n## Afterwards"), "{made}");
    assert_eq!(made.matches("### MlsdmDown").count(), 1);
    assert!(super::files(&sources("# Runbook")).is_err());
}

#[test]
fn an_alert_is_left_out_until_its_metric_exists() {
    let requiring = COMPONENTS.replace(
        "  - alert: MlsdmDown\n",
        "  - alert: MlsdmDown\n    requires: mlsdm_future_total\n",
    );
    let without = Sources { components: &requiring, ..sources(RUNBOOK) };
    for (name, text) in files(&without).unwrap() {
        assert!(
            !text.contains("alertname=\\\"MlsdmDown") && !text.contains("alert: MlsdmDown"),
            "{name}"
        );
    }
    let with = Sources { metrics: &["mlsdm_future_total"], ..without };
    let error = files(&with).unwrap_err().to_string();
    assert!(error.contains("remove `requires`"), "{error}");
}
