//! Alerts with long windows, on samples of the last three days.

use std::{
    fmt::Write as _,
    time::{SystemTime, UNIX_EPOCH},
};

use super::stack::{Plan, Prometheus, rules};

/// The interval between two samples and the time that they cover, in seconds.
const STEP: u64 = 300;
const SPAN: u64 = 3 * 86_400;

/// Requests per interval, one in a hundred of which fails.
const REQUESTS: u64 = 300;
const FAILED: u64 = 3;

/// Counters of the last three days as `OpenMetrics` text.
#[expect(clippy::disallowed_methods, reason = "Prometheus looks at the time of the system")]
fn samples_of_three_days() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let mut text = String::new();
    let mut series = |series: &str, each: u64| {
        for step in 0..=SPAN / STEP {
            let at = now - SPAN + step * STEP;
            writeln!(text, "{series} {} {at}", step * each).unwrap();
        }
    };
    let answers = |status: u16| {
        format!("http_requests_total{{job=\"mlsdm\",route=\"/v1/generate\",status=\"{status}\"}}")
    };
    series(&answers(200), REQUESTS - FAILED);
    series(&answers(503), FAILED);
    series("mlsdm_shutdown_refusals_total{job=\"mlsdm\"}", 0);
    let text = text.replacen(
        "mlsdm_shutdown",
        "# TYPE mlsdm_shutdown_refusals counter\nmlsdm_shutdown",
        1,
    );
    format!("# TYPE http_requests counter\n{text}# EOF\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_of_three_days_exhaust_the_budget_and_fire_the_slow_alerts() {
    let plan = Plan { rules: rules(), history: Some(samples_of_three_days()), ..Plan::default() };
    let prometheus = Prometheus::start(&plan).await;
    for window in ["2h", "6h", "1d", "3d", "30d"] {
        let ratio = format!("mlsdm:slo_errors:ratio_rate{window}{{slo=\"availability\"}}");
        let found = prometheus.until(&ratio, |ratio| ratio > 0.0).await;
        assert!((found - 0.01).abs() < 1e-4, "{ratio}: {found}");
    }
    let left = "mlsdm:slo_error_budget_remaining:ratio{slo=\"availability\"}";
    let left = prometheus.until(left, |left| left < 1.0).await;
    assert!((left + 9.0).abs() < 0.1, "ten times the budget is used: {left}");
    // both alerts are pending for hours before they fire
    for burn in ["creeping", "steady"] {
        let waits = format!("max(ALERTS{{alertname=\"MlsdmAvailabilityBurn\",burn=\"{burn}\"}})");
        prometheus.until(&waits, |alerts| alerts > 0.5).await;
    }
}
