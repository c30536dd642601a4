//! Tests for `promtool test rules`: each alert is silent just below its limit, fires above it, and
//! ends; each ratio is what its series say, and 0 without traffic.

use super::{
    objectives::{alert_name, count as count_name, ratio},
    source::{Alert, Burn, Components, Objective, Severity, Slo, seconds},
    yaml::{self, Expectation, Scene},
};

/// A minute, in which series of these tests advance.
const MINUTE: &str = "1m";

/// How far below and above a limit is close to it.
const CLOSE: f64 = 0.01;

/// Minutes that a state lasts longer than an alert waits.
const LONGER: u64 = 5;

/// Whether an alert fires at a time. Other labels than these are left to the rule.
fn fires(name: &str, more: &str, severity: Severity, at: String, firing: bool) -> Expectation {
    let severity = severity.as_str();
    let labels = format!("{{alertname=\"{name}\",severity=\"{severity}\"}}");
    Expectation {
        at,
        expr: format!(
            "max by (alertname, severity) (ALERTS{{alertname=\"{name}\",alertstate=\"firing\"{more}}})"
        ),
        gives: firing.then_some((labels, 1.0)),
    }
}

/// Those of the alerts that are not about promises.
pub(super) fn components(components: &Components) -> String {
    let scenes: Vec<Scene> = components.alerts().map(component).collect();
    yaml::tests(&["records.yaml", "alerts.yaml"], MINUTE, &scenes)
}

fn component(alert: &Alert) -> Scene {
    let Alert { name, severity, test, .. } = alert;
    let times = [(&test.silent, false), (&Some(test.fires.clone()), true), (&test.resolved, false)];
    let expected = times.into_iter().filter_map(|(at, firing)| {
        let at = at.clone()?;
        Some(fires(name, "", *severity, at, firing))
    });
    Scene {
        name: name.clone(),
        interval: test.interval.clone(),
        input: test.input.iter().map(|i| (i.series.clone(), i.values.clone())).collect(),
        expected: expected.collect(),
    }
}

/// Those of the alerts on promises, from ratios that are given.
pub(super) fn burns(slo: &Slo) -> String {
    let mut scenes = Vec::new();
    for objective in slo.objectives() {
        for burn in slo.burns() {
            scenes.push(burning(slo, &objective, &burn));
            scenes.push(silent(slo, &objective, &burn, true));
            scenes.push(silent(slo, &objective, &burn, false));
        }
    }
    yaml::tests(&["slo-alerts.yaml"], MINUTE, &scenes)
}

fn named(objective: &Objective, burn: &Burn) -> String {
    format!("{}, {}", alert_name(objective), burn.name)
}

/// A series that has these values one after the other, each for so many minutes.
fn stepped(objective: &Objective, window: &str, minutes: u64, values: &[f64]) -> (String, String) {
    let series = format!("{}{{slo=\"{}\"}}", ratio(window), objective.name);
    let steps = values.iter().map(|value| format!("{value}+0x{}", minutes.saturating_sub(1)));
    (series, steps.collect::<Vec<_>>().join(" "))
}

/// The number of bad events, the same all the time.
fn counted(objective: &Objective, window: &str, minutes: u64, count: u32) -> (String, String) {
    let series = format!("{}{{slo=\"{}\"}}", count_name(window), objective.name);
    (series, format!("{count}+0x{minutes}"))
}

/// Just below the limit, just above it, and well again.
fn burning(slo: &Slo, objective: &Objective, burn: &Burn) -> Scene {
    let minutes = seconds(&burn.lasting) / 60 + LONGER;
    let limit = burn.factor * (1.0 - objective.objective);
    let values = [limit * (1.0 - CLOSE), limit * (1.0 + CLOSE), 0.0];
    let ratios =
        [&burn.long, &burn.short].map(|window| stepped(objective, window, minutes, &values));
    let many = counted(objective, &burn.long, minutes * 3, slo.few + 1);
    let at = |phase: u64, firing: bool| {
        let more = format!(",burn=\"{}\"", burn.name);
        let minute = format!("{}m", minutes * phase - 1);
        fires(&alert_name(objective), &more, burn.severity, minute, firing)
    };
    Scene {
        name: format!("{}: below, above, over", named(objective, burn)),
        interval: MINUTE.to_owned(),
        input: ratios.into_iter().chain([many]).collect(),
        expected: vec![at(1, false), at(2, true), at(3, false)],
    }
}

/// What burnt an hour ago and burns no more is told to nobody, nor what is too few to say anything.
fn silent(slo: &Slo, objective: &Objective, burn: &Burn, well: bool) -> Scene {
    let minutes = seconds(&burn.lasting) / 60 + LONGER;
    let limit = burn.factor * (1.0 - objective.objective);
    let (above, below) = (limit * (1.0 + CLOSE), limit * (1.0 - CLOSE));
    let long = stepped(objective, &burn.long, minutes, &[above]);
    let short = stepped(objective, &burn.short, minutes, &[if well { below } else { above }]);
    let count = counted(objective, &burn.long, minutes, slo.few + u32::from(well));
    let more = format!(",burn=\"{}\"", burn.name);
    let minute = format!("{}m", minutes - 1);
    let silent = fires(&alert_name(objective), &more, burn.severity, minute, false);
    let why = if well { "the short window is well again" } else { "so few are chance" };
    Scene {
        name: format!("{}: {why}", named(objective, burn)),
        interval: MINUTE.to_owned(),
        input: vec![long, short, count],
        expected: vec![silent],
    }
}

/// Those of the ratios.
pub(super) fn ratios(slo: &Slo) -> String {
    let mut scenes = Vec::new();
    for objective in slo.objectives() {
        scenes.push(measured(slo, &objective));
        scenes.push(idle(slo, &objective));
    }
    yaml::tests(&["slo-records.yaml"], MINUTE, &scenes)
}

fn ratio_is(slo: &Slo, objective: &Objective, value: f64) -> Vec<Expectation> {
    let labels = format!("{{slo=\"{}\"}}", objective.name);
    let windows = slo.window_names().into_iter();
    let ratios = windows.map(|window| (format!("{}{labels}", ratio(&window)), value));
    let left = 1.0 - value / (1.0 - objective.objective);
    let remaining = format!("mlsdm:slo_error_budget_remaining:ratio{labels}");
    let promised = format!("mlsdm:slo_objective:ratio{labels}");
    let all = ratios.chain([(remaining, left), (promised, objective.objective)]);
    let expect = |(series, value): (String, f64)| Expectation {
        at: "30m".to_owned(),
        expr: format!("round({series}, 0.0001)"),
        gives: Some((labels.clone(), (value * 1e4).round() / 1e4)),
    };
    all.map(expect).collect()
}

fn measured(slo: &Slo, objective: &Objective) -> Scene {
    let input = objective.proof.input.iter();
    Scene {
        name: format!("{}: the share of bad events over all windows", objective.name),
        interval: MINUTE.to_owned(),
        input: input.map(|input| (input.series.clone(), input.values.clone())).collect(),
        expected: ratio_is(slo, objective, objective.proof.bad),
    }
}

fn idle(slo: &Slo, objective: &Objective) -> Scene {
    let input = objective.proof.input.iter();
    Scene {
        name: format!("{}: nothing is broken where nothing happens", objective.name),
        interval: MINUTE.to_owned(),
        input: input.map(|input| (input.series.clone(), "0+0x60".to_owned())).collect(),
        expected: ratio_is(slo, objective, 0.0),
    }
}
