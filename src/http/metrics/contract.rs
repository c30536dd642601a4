//! The list of all metrics.
//!
//! Dashboards, rules and documents are checked against `alerts/metrics.json`, which is this list as
//! JSON. A test compares it with a scrape: every metric of the list is registered, and no other.

use std::sync::LazyLock;

use super::{exporter, requests};
use crate::{auth, embed, engine, llm, metrics::process, store, telemetry};

pub use crate::metrics::{Kind, Spec};

/// All metrics, by module.
pub static ALL: LazyLock<Vec<Spec>> = LazyLock::new(|| {
    [
        requests::SPECS,
        auth::metrics::SPECS,
        engine::metrics::SPECS,
        store::metrics::events::SPECS,
        store::metrics::SPECS,
        llm::metrics::SPECS,
        embed::metrics::SPECS,
        telemetry::metrics::SPECS,
        exporter::SPECS,
        process::SPECS,
    ]
    .concat()
});

/// The list as `alerts/metrics.json` has it.
///
/// # Errors
/// None in practice: plain structures have a JSON form.
pub fn json() -> Result<String, serde_json::Error> {
    serde_json::to_string_pretty(&*ALL).map(|text| text + "\n")
}
