//! Input of `promtool test rules`: each alert is silent just below its limit, fires above it and
//! resolves; each ratio equals the ratio of its series, and is 0 without traffic.

use super::{
    objectives::{alert_name, count_name, ratio_name},
    source::{Alert, BurnRate, Components, Objective, Severity, Slo, seconds},
    yaml::{self, Expectation, TestCase},
};

/// The interval of the series in these tests.
const MINUTE: &str = "1m";

/// Relative distance from a limit that counts as just below or just above it.
const MARGIN: f64 = 0.01;

/// Minutes for which a state lasts longer than the alert is pending.
const EXTRA_MINUTES: u64 = 5;

/// Expects that an alert fires at a time, or does not. `matchers` narrows the alert by further labels.
fn fires(name: &str, matchers: &str, severity: Severity, at: String, firing: bool) -> Expectation {
    let severity = severity.as_str();
    let labels = format!("{{alertname=\"{name}\",severity=\"{severity}\"}}");
    Expectation {
        at,
        expr: format!(
            "max by (alertname, severity) (ALERTS{{alertname=\"{name}\",alertstate=\"firing\"{matchers}}})"
        ),
        sample: firing.then_some((labels, 1.0)),
    }
}

/// Tests of the alerts that belong to no SLO.
pub(super) fn components(components: &Components) -> String {
    let cases: Vec<TestCase> = components.alerts().map(component).collect();
    yaml::tests(&["records.yaml", "alerts.yaml"], MINUTE, &cases)
}

fn component(alert: &Alert) -> TestCase {
    let Alert { name, severity, test, .. } = alert;
    let times = [(&test.silent, false), (&Some(test.fires.clone()), true), (&test.resolved, false)];
    let expected = times.into_iter().filter_map(|(at, firing)| {
        let at = at.clone()?;
        Some(fires(name, "", *severity, at, firing))
    });
    TestCase {
        name: name.clone(),
        interval: test.interval.clone(),
        input: test.input.iter().map(|i| (i.series.clone(), i.values.clone())).collect(),
        expected: expected.collect(),
    }
}

/// Tests of the burn-rate alerts, with given error ratios.
pub(super) fn burn_rates(slo: &Slo) -> String {
    let mut cases = Vec::new();
    for objective in slo.objectives() {
        for burn in slo.burn_rates() {
            cases.push(fires_and_resolves(slo, &objective, &burn));
            cases.push(stays_silent(slo, &objective, &burn, Silence::ShortWindow));
            cases.push(stays_silent(slo, &objective, &burn, Silence::NoiseFloor));
        }
    }
    yaml::tests(&["slo-alerts.yaml"], MINUTE, &cases)
}

fn case_name(objective: &Objective, burn: &BurnRate) -> String {
    format!("{}, {}", alert_name(objective), burn.name)
}

/// An error-ratio series that takes each value for a number of minutes.
fn stepped(objective: &Objective, window: &str, minutes: u64, values: &[f64]) -> (String, String) {
    let series = format!("{}{{slo=\"{}\"}}", ratio_name(window), objective.name);
    let steps = values.iter().map(|value| format!("{value}+0x{}", minutes.saturating_sub(1)));
    (series, steps.collect::<Vec<_>>().join(" "))
}

/// A constant number of bad events.
fn constant_count(
    objective: &Objective,
    window: &str,
    minutes: u64,
    count: u32,
) -> (String, String) {
    let series = format!("{}{{slo=\"{}\"}}", count_name(window), objective.name);
    (series, format!("{count}+0x{minutes}"))
}

/// The ratio is just below the limit, then just above it, then 0.
fn fires_and_resolves(slo: &Slo, objective: &Objective, burn: &BurnRate) -> TestCase {
    let minutes = seconds(&burn.pending_for) / 60 + EXTRA_MINUTES;
    let limit = burn.factor * (1.0 - objective.objective);
    let values = [limit * (1.0 - MARGIN), limit * (1.0 + MARGIN), 0.0];
    let ratios =
        [&burn.long, &burn.short].map(|window| stepped(objective, window, minutes, &values));
    let count = constant_count(objective, &burn.long, minutes * 3, slo.noise_floor + 1);
    let at = |phase: u64, firing: bool| {
        let matchers = format!(",burn=\"{}\"", burn.name);
        let minute = format!("{}m", minutes * phase - 1);
        fires(&alert_name(objective), &matchers, burn.severity, minute, firing)
    };
    TestCase {
        name: format!("{}: below the limit, above it, resolved", case_name(objective, burn)),
        interval: MINUTE.to_owned(),
        input: ratios.into_iter().chain([count]).collect(),
        expected: vec![at(1, false), at(2, true), at(3, false)],
    }
}

/// Reasons for an alert to stay silent although the long window is above the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Silence {
    /// The short window is below the limit: errors have stopped.
    ShortWindow,
    /// There are too few bad events to be significant.
    NoiseFloor,
}

fn stays_silent(slo: &Slo, objective: &Objective, burn: &BurnRate, silence: Silence) -> TestCase {
    let minutes = seconds(&burn.pending_for) / 60 + EXTRA_MINUTES;
    let limit = burn.factor * (1.0 - objective.objective);
    let (above, below) = (limit * (1.0 + MARGIN), limit * (1.0 - MARGIN));
    let (short, count, reason) = match silence {
        Silence::ShortWindow => (below, slo.noise_floor + 1, "the short window is below the limit"),
        Silence::NoiseFloor => (above, slo.noise_floor, "too few bad events"),
    };
    let input = vec![
        stepped(objective, &burn.long, minutes, &[above]),
        stepped(objective, &burn.short, minutes, &[short]),
        constant_count(objective, &burn.long, minutes, count),
    ];
    let matchers = format!(",burn=\"{}\"", burn.name);
    let minute = format!("{}m", minutes - 1);
    TestCase {
        name: format!("{}: silent, {reason}", case_name(objective, burn)),
        interval: MINUTE.to_owned(),
        input,
        expected: vec![fires(&alert_name(objective), &matchers, burn.severity, minute, false)],
    }
}

/// Tests of the error ratios.
pub(super) fn ratios(slo: &Slo) -> String {
    let mut cases = Vec::new();
    for objective in slo.objectives() {
        cases.push(with_traffic(slo, &objective));
        cases.push(without_traffic(slo, &objective));
    }
    yaml::tests(&["slo-records.yaml"], MINUTE, &cases)
}

fn expect_ratio(slo: &Slo, objective: &Objective, value: f64) -> Vec<Expectation> {
    let labels = format!("{{slo=\"{}\"}}", objective.name);
    let windows = slo.window_names().into_iter();
    let ratios = windows.map(|window| (format!("{}{labels}", ratio_name(&window)), value));
    let budget = 1.0 - value / (1.0 - objective.objective);
    let remaining = format!("mlsdm:slo_error_budget_remaining:ratio{labels}");
    let target = format!("mlsdm:slo_objective:ratio{labels}");
    let all = ratios.chain([(remaining, budget), (target, objective.objective)]);
    let expect = |(series, value): (String, f64)| Expectation {
        at: "30m".to_owned(),
        expr: format!("round({series}, 0.0001)"),
        sample: Some((labels.clone(), (value * 1e4).round() / 1e4)),
    };
    all.map(expect).collect()
}

fn with_traffic(slo: &Slo, objective: &Objective) -> TestCase {
    let input = objective.test.input.iter();
    TestCase {
        name: format!("{}: the ratio of bad events over each window", objective.name),
        interval: MINUTE.to_owned(),
        input: input.map(|input| (input.series.clone(), input.values.clone())).collect(),
        expected: expect_ratio(slo, objective, objective.test.error_ratio),
    }
}

fn without_traffic(slo: &Slo, objective: &Objective) -> TestCase {
    let input = objective.test.input.iter();
    TestCase {
        name: format!("{}: without traffic the ratio is 0", objective.name),
        interval: MINUTE.to_owned(),
        input: input.map(|input| (input.series.clone(), "0+0x60".to_owned())).collect(),
        expected: expect_ratio(slo, objective, 0.0),
    }
}
