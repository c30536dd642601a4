//! Routes and receivers of the shipped Alertmanager configuration.

use crate::run;

const CONFIG: &str = "deploy/monitoring/alertmanager/alertmanager.yml";

fn amtool(arguments: &[&str]) -> String {
    run("prometheus-alertmanager", "amtool", arguments)
}

#[test]
fn the_configuration_is_valid() {
    let output = amtool(&["check-config", CONFIG]);
    assert!(output.contains("3 receivers") && output.contains("3 inhibit rules"), "{output}");
}

#[test]
fn alerts_are_routed_by_severity() {
    for (receiver, labels) in [
        ("pager", &["alertname=MlsdmDown", "severity=page"][..]),
        ("pager", &["alertname=MlsdmAvailabilityBurn", "severity=page", "slo=availability"]),
        ("tickets", &["alertname=MlsdmLatencyBurn", "severity=ticket", "slo=latency"]),
        ("tickets", &["alertname=MlsdmLabelOverflow", "severity=ticket"]),
        // an alert without a severity still reaches a receiver
        ("tickets", &["alertname=SomebodyElses"]),
        ("watchdog", &["alertname=Watchdog", "severity=none"]),
    ] {
        let to = format!("--config.file={CONFIG}");
        let verify = format!("--verify.receivers={receiver}");
        amtool(&[&["config", "routes", "test", &to, &verify], labels].concat());
    }
}
