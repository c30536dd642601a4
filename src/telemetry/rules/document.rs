//! `deploy/SLO.md`, and the sections of alerts in `deploy/RUNBOOK.md`.

use super::{
    objectives::{alert_name, broken, condition, shown},
    source::{Alert, Components, Error, Objective, Runbook, Slo},
};

/// Between these lines of the runbook stand the alerts.
const BEGIN: &str = "<!-- alerts: made by `mlsdm telemetry generate` from alerts/*.yaml -->";
const END: &str = "<!-- end of alerts -->";

/// Minutes of a day.
const DAY_MINUTES: f64 = 1_440.0;

/// The document of what is promised.
pub(super) fn promises(slo: &Slo) -> String {
    let days = slo.window_days;
    let mut text = format!(
        "# What is promised\n\n<!-- made by `mlsdm telemetry generate` from alerts/slo.yaml -->\n\n\
         Over {days} days. An error budget is what may go wrong: used up evenly, it lasts just as long.\n\n\
         | promise | objective | still good | budget | what it says |\n|---|---|---|---|---|\n"
    );
    for objective in slo.objectives() {
        row(&mut text, slo, &objective);
    }
    for (name, awaits) in slo.awaited() {
        line(&mut text, format_args!("| {name} | — | — | — | not watched yet: awaits {awaits} |"));
    }
    text.push_str(
        "\n## Who is told\n\nAn alert fires when a budget burns so fast over both windows: the long one \
         says that it matters, the short\none that it goes on, so it ends soon after the trouble.\n\n\
         | burn | times too fast | long | short | waits | whole budget in | told |\n|---|---|---|---|---|---|---|\n",
    );
    for burn in slo.burns() {
        let hours = f64::from(days) * 24.0 / burn.factor;
        line(
            &mut text,
            format_args!(
                "| {} | {} | {} | {} | {} | {} h | {} |",
                burn.name,
                burn.factor,
                burn.long,
                burn.short,
                burn.lasting,
                hours.round(),
                burn.severity.as_str()
            ),
        );
    }
    text.push_str("\n## What is measured\n\nThe share of bad events, here over 1h.\n");
    for objective in slo.objectives() {
        let expression = broken(slo, &objective, "1h");
        let Objective { name, .. } = objective;
        line(&mut text, format_args!("\n### {name}\n\n```promql\n{expression}\n```"));
    }
    text
}

fn row(text: &mut String, slo: &Slo, objective: &Objective) {
    let budget = 1.0 - objective.objective;
    let minutes = (f64::from(slo.window_days) * DAY_MINUTES * budget).round();
    let good = objective.threshold.map_or_else(|| "—".to_owned(), |t| format!("≤ {} ms", t * 1e3));
    let excluded = if objective.excluded.is_empty() {
        String::new()
    } else {
        format!(" Not counted: {}", objective.excluded)
    };
    line(
        text,
        format_args!(
            "| {} | {} % | {good} | {} % (a whole outage of {minutes} minutes) | {}{excluded} |",
            objective.name,
            shown(objective.objective),
            shown(budget),
            objective.promise
        ),
    );
}

fn line(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    text.push_str(&arguments.to_string());
    text.push('\n');
}

/// The runbook with the sections of alerts in their place.
pub(super) fn runbook(text: &str, slo: &Slo, components: &Components) -> Result<String, Error> {
    let missing = Error::Runbook { begin: BEGIN, end: END };
    let parts = text.split_once(BEGIN).and_then(|(before, rest)| {
        let (_, after) = rest.split_once(END)?;
        Some((before, after))
    });
    let Some((before, after)) = parts else { return Err(missing) };
    let mut sections = String::new();
    for objective in slo.objectives() {
        promise(&mut sections, slo, &objective);
    }
    for alert in components.alerts() {
        component(&mut sections, alert);
    }
    Ok(format!("{before}{BEGIN}\n{sections}\n{END}{after}"))
}

fn promise(text: &mut String, slo: &Slo, objective: &Objective) {
    let name = alert_name(objective);
    line(text, format_args!("\n### {name}\n\nPromised: {}\n", objective.promise));
    line(
        text,
        format_args!("Told when one of these holds; [SLO.md](SLO.md) says what they mean:\n"),
    );
    for burn in slo.burns() {
        let (condition, severity) = (condition(slo, objective, &burn), burn.severity.as_str());
        line(text, format_args!("```promql\n# {}: {severity}\n{condition}\n```\n", burn.name));
    }
    let Runbook { panel, command, mend } = &objective.runbook;
    ending(text, &format!("`mlsdm-slo`: {panel}"), command, mend);
}

fn component(text: &mut String, alert: &Alert) {
    let (name, severity) = (&alert.name, alert.severity.as_str());
    line(text, format_args!("\n### {name}\n\n{} Severity: {severity}.\n", alert.meaning.trim()));
    line(text, format_args!("```promql\n{}\n```", alert.expr.trim()));
    let Runbook { panel, command, mend } = &alert.runbook;
    ending(text, &format!("`{}`: {panel}", alert.dashboard), command, mend);
}

fn ending(text: &mut String, panel: &str, command: &str, mend: &str) {
    line(text, format_args!("\nLook at: {panel}. Ask:\n\n```sh\n{}\n```", command.trim()));
    line(text, format_args!("\nMend: {}", mend.trim()));
}
