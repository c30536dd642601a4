//! Where alerts go.

use crate::run;

const CONFIG: &str = "deploy/monitoring/alertmanager/alertmanager.yml";

fn amtool(arguments: &[&str]) -> String {
    run("prometheus-alertmanager", "amtool", arguments)
}

#[test]
fn the_configuration_is_one() {
    let told = amtool(&["check-config", CONFIG]);
    assert!(told.contains("3 receivers") && told.contains("3 inhibit rules"), "{told}");
}

#[test]
fn alerts_go_to_whom_their_severity_says() {
    for (receiver, labels) in [
        ("pager", &["alertname=MlsdmDown", "severity=page"][..]),
        ("pager", &["alertname=MlsdmAvailabilityBurn", "severity=page", "slo=availability"]),
        ("tickets", &["alertname=MlsdmLatencyBurn", "severity=ticket", "slo=latency"]),
        ("tickets", &["alertname=MlsdmLabelOverflow", "severity=ticket"]),
        // whoever forgets to say how urgent it is must still be heard
        ("tickets", &["alertname=SomebodyElses"]),
        ("watchdog", &["alertname=Watchdog", "severity=none"]),
    ] {
        let to = format!("--config.file={CONFIG}");
        let verify = format!("--verify.receivers={receiver}");
        amtool(&[&["config", "routes", "test", &to, &verify], labels].concat());
    }
}
