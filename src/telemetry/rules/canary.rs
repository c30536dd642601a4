//! The criteria for the promotion of a canary, for `deploy/canary/verify` and for Argo Rollouts.

use serde::Deserialize;
use serde_json::json;

use super::{
    source::{Error, Slo, yaml},
    yaml::{HEADER, quoted},
};

/// `alerts/canary.yaml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Criteria {
    traffic: Criterion,
    criteria: Vec<Criterion>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Criterion {
    name: String,
    title: String,
    #[serde(default)]
    needs_traffic: bool,
    value: String,
    at_most: Option<String>,
    at_least: Option<String>,
}

impl Criteria {
    /// Parses `alerts/canary.yaml` and fills in the numbers of `slo`.
    pub(super) fn parse(text: &str, slo: &Slo) -> Result<Self, Error> {
        let of = |track: &str| {
            // within the window: an instance that cannot be scraped has no current value
            let requests =
                format!("http_requests_total{{job=\"mlsdm\",track=\"{track}\"}}[$window]");
            format!("and on (job, instance) last_over_time({requests})")
        };
        let text = slo
            .fill_in(text)
            .replace("$of_canary", &of("canary"))
            .replace("$of_stable", &of("stable"));
        let criteria: Self = yaml("canary.yaml", &text)?;
        for one in criteria.criteria.iter().chain([&criteria.traffic]) {
            if one.at_most.is_some() == one.at_least.is_some() {
                return Err(Error::Criterion(one.name.clone()));
            }
        }
        Ok(criteria)
    }

    /// The files that are generated from the criteria: names and texts.
    pub(super) fn files(&self) -> [(String, String); 2] {
        let template = "deploy/k8s/components/argo-rollouts/analysis-template.yaml";
        [
            ("deploy/canary/queries.json".to_owned(), self.queries()),
            (template.to_owned(), self.analysis()),
        ]
    }

    fn queries(&self) -> String {
        let one = |criterion: &Criterion| {
            let (compare, limit) = criterion.comparison();
            json!({
                "name": criterion.name,
                "title": criterion.title,
                "needs_traffic": criterion.needs_traffic,
                "value": criterion.value,
                "compare": compare,
                "limit": limit,
            })
        };
        let criteria: Vec<_> = self.criteria.iter().map(one).collect();
        let about = "Generated from alerts/canary.yaml by `mlsdm telemetry generate`; do not edit.";
        let whole = json!({ "about": about, "traffic": one(&self.traffic), "criteria": criteria });
        format!("{whole:#}\n")
    }

    fn analysis(&self) -> String {
        let mut lines: Vec<String> = ANALYSIS.lines().map(ToOwned::to_owned).collect();
        lines.extend(self.traffic.metric(&Otherwise::Inconclusive));
        for criterion in &self.criteria {
            let otherwise = if criterion.needs_traffic {
                Otherwise::FailedWith(&self.traffic)
            } else {
                Otherwise::Failed
            };
            lines.extend(criterion.metric(&otherwise));
        }
        HEADER.to_owned() + &lines.join("\n") + "\n"
    }
}

/// The template without its metrics.
const ANALYSIS: &str = "\
# Start it after the time of observation: a pause of 15 minutes, then this analysis.
apiVersion: argoproj.io/v1alpha1
kind: AnalysisTemplate
metadata:
  name: mlsdm-canary
  labels:
    app: mlsdm
spec:
  args:
    - name: prometheus
      value: http://prometheus-operated.monitoring.svc:9090
    - name: window
      value: 15m
    - name: seconds
      value: \"900\"
  metrics:";

/// The result of a metric that is not met. An inconclusive one pauses the rollout.
enum Otherwise<'a> {
    Failed,
    Inconclusive,
    /// Failed with enough of this traffic, inconclusive with less.
    FailedWith(&'a Criterion),
}

impl Criterion {
    fn comparison(&self) -> (&'static str, &str) {
        match &self.at_most {
            Some(limit) => ("at_most", limit),
            None => ("at_least", self.at_least.as_deref().unwrap_or_default()),
        }
    }

    /// The metric of an `AnalysisTemplate`.
    fn metric(&self, otherwise: &Otherwise<'_>) -> Vec<String> {
        let (compare, limit) = self.comparison();
        let sign = if compare == "at_most" { "<=" } else { ">=" };
        let (mut query, limit) = if limit.parse::<f64>().is_ok() || limit == "$seconds" {
            (self.value.clone(), limit)
        } else {
            (format!("({})\n- ({limit})", self.value), "0")
        };
        let argument = |text: &str| {
            text.replace("$window", "{{args.window}}").replace("$seconds", "{{args.seconds}}")
        };
        let (has_data, is_met) =
            ("len(result) > 0 && !isNaN(result[0])", format!("result[0] {sign} {limit}"));
        let success = format!("{has_data} && {is_met}");
        let failure = match otherwise {
            // without it, whatever is no success is a failure
            Otherwise::Failed => None,
            Otherwise::Inconclusive => Some("false".to_owned()),
            Otherwise::FailedWith(traffic) => {
                let (_, enough) = traffic.comparison();
                query = format!("({query})\nand on () ({} >= {enough})", traffic.value);
                Some(format!("{has_data} && !({is_met})"))
            }
        };
        let mut lines = vec![format!("    - name: {}", self.name), "      count: 1".to_owned()];
        lines.push(format!("      successCondition: {}", quoted(&argument(&success))));
        lines.extend(failure.map(|text| format!("      failureCondition: {}", quoted(&text))));
        lines.push("      provider:".to_owned());
        lines.push("        prometheus:".to_owned());
        lines.push("          address: \"{{args.prometheus}}\"".to_owned());
        lines.push("          query: |-".to_owned());
        lines.extend(argument(&query).lines().map(|line| format!("            {line}")));
        lines
    }
}
