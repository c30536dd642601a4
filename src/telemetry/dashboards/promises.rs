//! The promises of `alerts/slo.yaml`, by the names that dashboards use.

use std::collections::BTreeMap;

use crate::telemetry::rules::Slo;

/// Limits by name: `latency.threshold`, `latency.threshold_ms`, `burn.fast`, `canary.p95_seconds`.
#[derive(Debug)]
pub struct Promises(BTreeMap<String, f64>);

impl Promises {
    /// What is promised, by name.
    pub fn of(slo: &Slo) -> Self {
        let mut limits = BTreeMap::new();
        for promise in slo.objectives() {
            if let Some(threshold) = promise.threshold {
                limits.insert(format!("{}.threshold", promise.name), threshold);
                limits.insert(format!("{}.threshold_ms", promise.name), threshold * 1000.0);
            }
        }
        limits.extend(slo.burns().map(|burn| (format!("burn.{}", burn.name), burn.factor)));
        limits.insert("canary.errors".to_owned(), slo.canary.errors);
        limits.insert("canary.p95_seconds".to_owned(), slo.canary.p95_seconds);
        Self(limits)
    }

    /// What a name stands for.
    pub(super) fn limit(&self, name: &str) -> Option<f64> {
        self.0.get(name).copied()
    }
}
