//! Settings that exist but whose parts are not built yet.
//!
//! What promises protection or another embedder is refused: ignoring it would be a lie an operator
//! finds out about too late. The rest is named in a warning.

use super::{Refusal, Source, merge::Settings};

/// Keys that must keep their defaults, and what to do instead.
const FIXED: [(&str, &str); 5] = [
    ("embeddings.provider", "only `hashing` is built"),
    ("mlsdm.policy.embedder.id", "only `hashing` is built"),
    ("mlsdm.policy.embedder.version", "only version 1 of `hashing` is built"),
    ("api.cors_origins", "CORS is not built yet; remove it, and answer for origins in a proxy"),
    ("auth.mode", "only `none` is built; put a proxy that authenticates in front of the server"),
];

/// Sections of which no further key is built.
pub(super) const SECTIONS: [(&str, &str); 2] = [
    (
        "auth.",
        "authentication is not built yet; remove it, and put a proxy that authenticates in \
      front of the server",
    ),
    ("tls.", "TLS is not built yet; remove it, and terminate TLS in front of the server"),
];

/// Keys without effect, and why.
const IDLE: [(&str, &str); 6] = [
    ("logging.file", "logs go to standard output"),
    ("monitoring.enabled", "metrics are not built"),
    ("monitoring.metrics_port", "metrics are not built"),
    ("monitoring.health_check_interval", "background probes are not built"),
    ("embeddings.model", "the hashing embedder has no model"),
    ("embeddings.path", "the hashing embedder has no model"),
];

/// What has to be refused, and what has to be said.
pub(super) fn check(settings: &Settings) -> (Vec<Refusal>, Vec<String>) {
    let origin = |key: &str| settings.source(key).unwrap_or(&Source::Default).to_string();
    let refusals = FIXED.iter().filter(|(key, _)| settings.differs(key)).map(|(key, advice)| {
        let name = format!("{key} = {} ({})", settings.shown(key), origin(key));
        Refusal { name, advice }
    });
    let given = |key: &str| settings.source(key).is_some_and(|source| *source != Source::Default);
    let warnings = IDLE
        .iter()
        .filter(|(key, _)| given(key))
        .map(|(key, why)| format!("{key} ({}) has no effect yet: {why}", origin(key)));
    (refusals.collect(), warnings.collect())
}
