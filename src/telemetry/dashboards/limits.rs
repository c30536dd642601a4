//! The limits of `alerts/slo.yaml`, by the names that dashboards use.

use std::collections::BTreeMap;

use crate::telemetry::rules::Slo;

/// Limits by name: `latency.threshold`, `latency.threshold_ms`, `burn.fast`, `canary.p95_seconds`.
#[derive(Debug)]
pub struct Limits(BTreeMap<String, f64>);

impl Limits {
    /// Collects the limits of all available SLOs, their burn rates and the canary.
    pub fn of(slo: &Slo) -> Self {
        let mut limits = BTreeMap::new();
        for objective in slo.objectives() {
            if let Some(threshold) = objective.threshold {
                limits.insert(format!("{}.threshold", objective.name), threshold);
                limits.insert(format!("{}.threshold_ms", objective.name), threshold * 1000.0);
            }
        }
        limits.extend(slo.burn_rates().map(|burn| (format!("burn.{}", burn.name), burn.factor)));
        limits.insert("canary.errors".to_owned(), slo.canary.errors);
        limits.insert("canary.p95_seconds".to_owned(), slo.canary.p95_seconds);
        Self(limits)
    }

    pub(super) fn get(&self, name: &str) -> Option<f64> {
        self.0.get(name).copied()
    }
}
