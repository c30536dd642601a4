//! From promises to rules: how much of each is broken over each window, and who is told.

use super::{
    Told,
    source::{Burn, Objective, Severity, Slo, seconds},
    yaml::{Kind, Rule},
};

/// The recording rules: objectives, error ratios over all windows, what is left of the budgets.
pub(super) fn records(slo: &Slo) -> Vec<Rule> {
    let mut rules = Vec::new();
    for objective in slo.objectives() {
        let told = Rule::record(
            "mlsdm:slo_objective:ratio".to_owned(),
            format!("vector({})", objective.objective),
        );
        rules.push(labelled(told, &objective));
    }
    for objective in slo.objectives() {
        for window in slo.window_names() {
            let name = ratio(&window);
            rules.push(labelled(Rule::record(name, broken(slo, &objective, &window)), &objective));
        }
    }
    for objective in slo.objectives() {
        for burn in slo.burns() {
            let told = Rule::record(count(&burn.long), bad(slo, &objective, &burn.long));
            rules.push(labelled(told, &objective));
        }
    }
    let whole = ratio(&format!("{}d", slo.window_days));
    rules.push(Rule::record(
        "mlsdm:slo_error_budget_remaining:ratio".to_owned(),
        format!("1 - {whole} / on (slo) group_left () (1 - mlsdm:slo_objective:ratio)"),
    ));
    rules
}

fn labelled(mut rule: Rule, objective: &Objective) -> Rule {
    rule.labels.push(("slo", objective.name.clone()));
    rule
}

/// The name of the share of bad events over a window.
pub(super) fn ratio(window: &str) -> String {
    format!("mlsdm:slo_errors:ratio_rate{window}")
}

/// The name of the number of bad events over a window.
pub(super) fn count(window: &str) -> String {
    format!("mlsdm:slo_errors:increase{window}")
}

/// An expression of a promise with the values of a window.
fn filled(slo: &Slo, objective: &Objective, expression: &str, window: &str) -> String {
    let threshold = objective.threshold.map(|seconds| seconds.to_string()).unwrap_or_default();
    let expression = expression.replace("$window", window).replace("$governed", &slo.governed);
    expression.replace("$threshold", &threshold).replace('\n', "\n  ")
}

/// The number of bad events over a window.
fn bad(slo: &Slo, objective: &Objective, window: &str) -> String {
    let bad = filled(slo, objective, &objective.bad, window);
    format!("(\n  {bad}\n) * {}", seconds(window))
}

/// The share of bad events over a window; 0 while there are none at all, nothing where nobody counts.
pub(super) fn broken(slo: &Slo, objective: &Objective, window: &str) -> String {
    let bad = filled(slo, objective, &objective.bad, window);
    let total = filled(slo, objective, &objective.total, window);
    format!("(\n  {bad}\n) / (\n  {total} > 0\n) or (\n  {total}\n) * 0")
}

/// The alerts.
pub(super) fn alerts(slo: &Slo) -> Vec<Rule> {
    let objectives: Vec<Objective> = slo.objectives().collect();
    let of = |objective| slo.burns().map(move |burn| alert(slo, objective, &burn));
    objectives.iter().flat_map(of).collect()
}

/// The name of the alert on a promise.
pub(super) fn alert_name(objective: &Objective) -> String {
    let mut letters = objective.name.chars();
    let first = letters.next().map(|first| first.to_ascii_uppercase());
    format!("Mlsdm{}{}Burn", first.map(String::from).unwrap_or_default(), letters.as_str())
}

pub(super) fn condition(slo: &Slo, objective: &Objective, burn: &Burn) -> String {
    let Objective { name, objective, .. } = objective;
    let limit = format!("{} * (1 - {objective})", burn.factor);
    let over = |window: &str| format!("{}{{slo=\"{name}\"}} > {limit}", ratio(window));
    let many = format!("{}{{slo=\"{name}\"}} > {}", count(&burn.long), slo.few);
    format!("{}\nand\n{}\nand\n{many}", over(&burn.long), over(&burn.short))
}

fn alert(slo: &Slo, objective: &Objective, burn: &Burn) -> Rule {
    let name = alert_name(objective);
    let Burn { factor, long, .. } = burn;
    let share = shown(objective.objective);
    let summary = format!(
        "The promise `{}` ({share} % over its window) is broken {factor} times faster than it may be",
        objective.name
    );
    let told = match burn.severity {
        Severity::Page => "Users see it now.",
        Severity::Ticket | Severity::None => "It lasts, and the promise will not be kept.",
    };
    let description = format!(
        "{} Over {long} {{{{ $value | humanizePercentage }}}} did not. {told}",
        objective.promise
    );
    Rule {
        kind: Kind::Alert,
        expr: condition(slo, objective, burn),
        lasting: burn.lasting.clone(),
        labels: vec![
            ("severity", burn.severity.as_str().to_owned()),
            ("slo", objective.name.clone()),
            ("burn", burn.name.clone()),
        ],
        annotations: Told { name: &name, summary, description, dashboard: "mlsdm-slo" }
            .annotations(&slo.links),
        name,
    }
}

/// A share in percent, as people write it.
pub(super) fn shown(share: f64) -> String {
    // tenths of a thousandth: further digits are those of the binary form
    ((share * 1e6).round() / 1e4).to_string()
}
