//! Settings of features that are not implemented yet.
//!
//! A setting of a protection is refused, because an operator would rely on it. Any other setting causes a
//! warning.

use super::{error::Refusal, merge::Settings, raw::Source};

const FOLLOWS: &str = "derived from the embedder; set embeddings.provider instead";

/// Keys that must keep their defaults, with the remediation.
const FIXED: [(&str, &str); 2] =
    [("mlsdm.policy.embedder.id", FOLLOWS), ("mlsdm.policy.embedder.version", FOLLOWS)];

/// Keys without effect, with the reason.
const IDLE: [(&str, &str); 1] =
    [("monitoring.health_check_interval", "background probes are not implemented")];

/// Returns the refused settings and the warnings.
pub(super) fn check(settings: &Settings) -> (Vec<Refusal>, Vec<String>) {
    let origin = |key: &str| settings.source(key).unwrap_or(&Source::Default).to_string();
    let refusals = FIXED.iter().filter(|(key, _)| settings.differs(key)).map(|(key, advice)| {
        let name = format!("{key} = {} ({})", settings.shown(key), origin(key));
        Refusal { name, advice }
    });
    (refusals.collect(), without_effect(settings, &IDLE))
}

/// Returns a warning for each of the keys that was given.
pub(super) fn without_effect(settings: &Settings, keys: &[(&str, &str)]) -> Vec<String> {
    let warning = |(key, why): &(&str, &str)| {
        let given = settings.source(key).filter(|source| **source != Source::Default)?;
        Some(format!("{key} ({given}) has no effect: {why}"))
    };
    keys.iter().filter_map(warning).collect()
}
