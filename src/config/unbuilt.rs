//! Settings that exist but whose parts are not built yet.
//!
//! What promises protection is refused: ignoring it would be a lie an operator
//! finds out about too late. The rest is named in a warning.

use super::{Refusal, Source, merge::Settings};

const FOLLOWS: &str = "it follows from the embedder; set embeddings.provider instead";

/// Keys that must keep their defaults, and what to do instead.
const FIXED: [(&str, &str); 2] =
    [("mlsdm.policy.embedder.id", FOLLOWS), ("mlsdm.policy.embedder.version", FOLLOWS)];

/// Keys without effect, and why.
const IDLE: [(&str, &str); 1] =
    [("monitoring.health_check_interval", "background probes are not built")];

/// What has to be refused, and what has to be said.
pub(super) fn check(settings: &Settings) -> (Vec<Refusal>, Vec<String>) {
    let origin = |key: &str| settings.source(key).unwrap_or(&Source::Default).to_string();
    let refusals = FIXED.iter().filter(|(key, _)| settings.differs(key)).map(|(key, advice)| {
        let name = format!("{key} = {} ({})", settings.shown(key), origin(key));
        Refusal { name, advice }
    });
    (refusals.collect(), without_effect(settings, &IDLE))
}

/// A warning for each of the keys that was given.
pub(super) fn without_effect(settings: &Settings, keys: &[(&str, &str)]) -> Vec<String> {
    let warning = |(key, why): &(&str, &str)| {
        let given = settings.source(key).filter(|source| **source != Source::Default)?;
        Some(format!("{key} ({given}) has no effect: {why}"))
    };
    keys.iter().filter_map(warning).collect()
}
