//! Recording rules and alerts of the SLOs: error ratios over each window, remaining error budgets and
//! multi-window burn-rate alerts.

use super::{
    annotations::Annotations,
    source::{BurnRate, Objective, Severity, Slo, seconds},
    yaml::{Kind, Rule},
};

/// The recording rules: objectives, error ratios over all windows, remaining error budgets.
pub(super) fn records(slo: &Slo) -> Vec<Rule> {
    let mut rules = Vec::new();
    for objective in slo.objectives() {
        let rule = Rule::record(
            "mlsdm:slo_objective:ratio".to_owned(),
            format!("vector({})", objective.objective),
        );
        rules.push(labelled(rule, &objective));
    }
    for objective in slo.objectives() {
        for window in slo.window_names() {
            let rule = Rule::record(ratio_name(&window), error_ratio(slo, &objective, &window));
            rules.push(labelled(rule, &objective));
        }
    }
    for objective in slo.objectives() {
        for burn in slo.burn_rates() {
            let bad = bad_events(slo, &objective, &burn.long);
            rules.push(labelled(Rule::record(count_name(&burn.long), bad), &objective));
        }
    }
    let whole = ratio_name(&format!("{}d", slo.window_days));
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

/// Name of the record that holds the ratio of bad events over a window.
pub(super) fn ratio_name(window: &str) -> String {
    format!("mlsdm:slo_errors:ratio_rate{window}")
}

/// Name of the record that holds the number of bad events over a window.
pub(super) fn count_name(window: &str) -> String {
    format!("mlsdm:slo_errors:increase{window}")
}

/// Replaces `$window`, `$governed` and `$threshold` in an expression.
fn expand(slo: &Slo, objective: &Objective, expression: &str, window: &str) -> String {
    let threshold = objective.threshold.map(|seconds| seconds.to_string()).unwrap_or_default();
    let expression = expression.replace("$window", window).replace("$governed", &slo.governed);
    expression.replace("$threshold", &threshold).replace('\n', "\n  ")
}

/// The number of bad events over a window.
fn bad_events(slo: &Slo, objective: &Objective, window: &str) -> String {
    let bad = expand(slo, objective, &objective.bad, window);
    format!("(\n  {bad}\n) * {}", seconds(window))
}

/// The ratio of bad events over a window. It is 0 without traffic and absent without a server.
pub(super) fn error_ratio(slo: &Slo, objective: &Objective, window: &str) -> String {
    let bad = expand(slo, objective, &objective.bad, window);
    let total = expand(slo, objective, &objective.total, window);
    format!("(\n  {bad}\n) / (\n  {total} > 0\n) or (\n  {total}\n) * 0")
}

/// One alert for each objective and burn rate.
pub(super) fn alerts(slo: &Slo) -> Vec<Rule> {
    let objectives: Vec<Objective> = slo.objectives().collect();
    let of = |objective| slo.burn_rates().map(move |burn| alert(slo, objective, &burn));
    objectives.iter().flat_map(of).collect()
}

/// The alert name of an objective, for example `MlsdmLatencyBurn`.
pub(super) fn alert_name(objective: &Objective) -> String {
    let mut letters = objective.name.chars();
    let first = letters.next().map(|first| first.to_ascii_uppercase());
    format!("Mlsdm{}{}Burn", first.map(String::from).unwrap_or_default(), letters.as_str())
}

pub(super) fn condition(slo: &Slo, objective: &Objective, burn: &BurnRate) -> String {
    let Objective { name, objective, .. } = objective;
    let limit = format!("{} * (1 - {objective})", burn.factor);
    let over = |window: &str| format!("{}{{slo=\"{name}\"}} > {limit}", ratio_name(window));
    let floor = format!("{}{{slo=\"{name}\"}} > {}", count_name(&burn.long), slo.noise_floor);
    format!("{}\nand\n{}\nand\n{floor}", over(&burn.long), over(&burn.short))
}

fn alert(slo: &Slo, objective: &Objective, burn: &BurnRate) -> Rule {
    let name = alert_name(objective);
    let BurnRate { factor, long, .. } = burn;
    let share = percent(objective.objective);
    let summary = format!(
        "SLO `{}` ({share} %): the error budget burns {factor} times faster than it may",
        objective.name
    );
    let impact = match burn.severity {
        Severity::Page => "Users are affected now.",
        Severity::Ticket | Severity::None => "If this continues, the objective will be missed.",
    };
    let description = format!(
        "{} Over {long}, {{{{ $value | humanizePercentage }}}} of events were bad. {impact}",
        objective.description
    );
    Rule {
        kind: Kind::Alert,
        expr: condition(slo, objective, burn),
        pending_for: burn.pending_for.clone(),
        labels: vec![
            ("severity", burn.severity.as_str().to_owned()),
            ("slo", objective.name.clone()),
            ("burn", burn.name.clone()),
        ],
        annotations: Annotations { name: &name, summary, description, dashboard: "mlsdm-slo" }
            .into_pairs(&slo.links),
        name,
    }
}

/// A ratio in percent, without the digits that only its binary form has.
pub(super) fn percent(ratio: f64) -> String {
    ((ratio * 1e6).round() / 1e4).to_string()
}
