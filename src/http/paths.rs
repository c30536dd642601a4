//! Paths that more than one module knows.

/// Prefix of the engine collection, below the API version.
pub(super) const ENGINES: &str = "/engines";

/// Prefix of the routes of a named engine.
pub(super) const ENGINE_SCOPE: &str = "/v1/engines/{engine}";

/// API keys.
pub(super) const KEYS: &str = "/v1/keys";

/// Log level of this replica.
pub(super) const LOG_LEVEL: &str = "/v1/admin/log-level";

/// The OpenAPI document.
pub(super) const OPENAPI: &str = "/openapi.json";

/// The viewer of the OpenAPI document.
pub(super) const DOCS: &str = "/docs";

/// Paths that are answered without authentication, rate limit and concurrency limit.
pub(super) const PROBES: [&str; 2] = ["/health", "/status"];

/// Short paths and the paths whose handlers they share.
pub(super) const ALIASES: [(&str, &str); 4] = [
    ("/generate", "/v1/generate"),
    ("/admin/shutdown", "/v1/admin/shutdown"),
    ("/me", "/v1/me"),
    ("/status", "/health/detailed"),
];

/// Last parts of the routes that run a step.
const STEPS: [&str; 4] = ["/generate", "/completions", "/messages", "/responses"];

/// True for the route patterns that run a step.
pub(super) fn is_step(pattern: &str) -> bool {
    STEPS.iter().any(|step| pattern.ends_with(step))
}

/// Last parts of further routes that call a model or an embedder, or take texts for one.
const TEXTS: [&str; 3] = ["/embeddings", "/moderations", "/count_tokens"];

/// True for the route patterns that take texts for a model. Their limits are not those of administration
/// and queries.
pub(super) fn takes_texts(pattern: &str) -> bool {
    is_step(pattern) || TEXTS.iter().any(|route| pattern.ends_with(route))
}

/// The engine that a path names.
pub(super) fn engine_of(path: &str) -> Option<&str> {
    let rest = path.strip_prefix("/v1").and_then(|rest| rest.strip_prefix(ENGINES))?;
    rest.strip_prefix('/')?.split('/').next()
}

/// True for the paths of health probes.
pub(super) fn is_probe(path: &str) -> bool {
    PROBES.iter().any(|probe| is_under(path, probe))
}

/// True if `path` is `prefix` or lies below it.
pub(super) fn is_under(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
