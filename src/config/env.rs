//! Environment variables: the named ones, `MLSDM__SECTION__KEY`, and variables without effect.

use std::path::PathBuf;

use serde_json::Value;

use super::{
    error::Refusal,
    raw::{Raw, SECRETS, Source},
    suggest::nearest,
};

/// Named variables and the keys that they set.
pub const NAMED: [(&str, &str); 49] = [
    ("LLM_BACKEND", "llm.provider"),
    ("OPENAI_API_KEY", "llm.openai.api_key"),
    ("ANTHROPIC_API_KEY", "llm.anthropic.api_key"),
    ("MLSDM_DIM", "mlsdm.dimension"),
    ("MLSDM_CAPACITY", "mlsdm.capacity"),
    ("MLSDM_WAKE_DURATION", "mlsdm.wake_duration"),
    ("MLSDM_SLEEP_DURATION", "mlsdm.sleep_duration"),
    ("MLSDM_INITIAL_THRESHOLD", "mlsdm.initial_threshold"),
    ("LOG_LEVEL", "logging.level"),
    ("LOG_FORMAT", "logging.format"),
    ("MLSDM_LOKI_URL", "logging.loki_url"),
    ("API_HOST", "api.host"),
    ("API_PORT", "api.port"),
    (PLATFORM_PORT, "api.port"),
    ("API_WORKERS", "api.workers"),
    ("API_TIMEOUT", "api.timeout"),
    ("METRICS_ENABLED", "monitoring.enabled"),
    ("METRICS_PORT", "monitoring.metrics_port"),
    ("MLSDM_TRACK", "monitoring.track"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "traces.endpoint"),
    ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "traces.url"),
    ("OTEL_EXPORTER_OTLP_HEADERS", "traces.headers"),
    ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "traces.headers"),
    ("OTEL_EXPORTER_OTLP_TIMEOUT", "traces.timeout_ms"),
    ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "traces.timeout_ms"),
    ("OTEL_EXPORTER_OTLP_PROTOCOL", "traces.protocol"),
    ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "traces.protocol"),
    ("OTEL_TRACES_EXPORTER", "traces.exporter"),
    ("OTEL_SDK_DISABLED", "traces.disabled"),
    ("OTEL_SERVICE_NAME", "traces.service_name"),
    ("OTEL_RESOURCE_ATTRIBUTES", "traces.resource_attributes"),
    ("OTEL_TRACES_SAMPLER", "traces.sampler"),
    ("OTEL_TRACES_SAMPLER_ARG", "traces.sampler_arg"),
    ("MLSDM_ENV", "monitoring.env"),
    ("DATABASE_URL", "database.url"),
    ("MLSDM_CONTENT_KEY", "database.content_key"),
    ("MLSDM_INSECURE", "auth.insecure"),
    ("API_KEY", "auth.keys.user"),
    ("ADMIN_API_KEY", "auth.keys.admin"),
    ("MLSDM_OIDC_ENABLED", "auth.oidc.enabled"),
    ("MLSDM_OIDC_ISSUER", "auth.oidc.issuer"),
    ("MLSDM_OIDC_AUDIENCE", "auth.oidc.audience"),
    ("MLSDM_OIDC_ROLES_CLAIM", "auth.oidc.roles_claim"),
    ("MLSDM_OIDC_JWKS_URI", "auth.oidc.jwks_uri"),
    ("MLSDM_OIDC_ALGORITHMS", "auth.oidc.algorithms"),
    ("MLSDM_OIDC_CLIENT_ID", "auth.oidc.client_id"),
    ("DISABLE_RATE_LIMIT", "limits.rate.disabled"),
    ("RATE_LIMIT_REQUESTS", "limits.rate.requests"),
    ("RATE_LIMIT_WINDOW", "limits.rate.window"),
];

/// The port to which a platform such as Cloud Run sends requests. It overrides the other variables of
/// `api.port`, which may come from an image or a shared list: a server on another port gets no requests.
const PLATFORM_PORT: &str = "PORT";

/// The variable with the path of the configuration file.
const CONFIG_FILE: &str = "MLSDM_CONFIG";

/// Prefix of the variables that set any key.
const GENERIC: &str = "MLSDM__";

/// Credentials of commands that call a server. They are not settings.
const CREDENTIALS: [&str; 2] = ["MLSDM_TOKEN", "MLSDM_API_KEY"];

const SIGNING_ADVICE: &str = "signed checkpoints are not implemented yet; remove it";

/// The environment variables, sorted by purpose.
#[derive(Debug, Default)]
pub(super) struct Environment {
    pub(super) config_file: Option<PathBuf>,
    pub(super) values: Vec<Raw>,
    pub(super) refusals: Vec<Refusal>,
    pub(super) warnings: Vec<String>,
}

/// Sorts variables by purpose. An empty variable counts as not set.
pub(super) fn read(variables: impl IntoIterator<Item = (String, String)>) -> Environment {
    let mut variables: Vec<_> =
        variables.into_iter().filter(|(_, value)| !value.is_empty()).collect();
    variables.sort();
    let mut env = Environment::default();
    for (name, value) in variables {
        if name == CONFIG_FILE {
            env.config_file = Some(PathBuf::from(value));
        } else if let Some(key) = key_of(&name) {
            let origin = Source::Env(name.clone());
            env.values.push(Raw { name, key, value: Value::String(value), origin });
        } else if let Some(advice) = refused(&name) {
            env.refusals.push(Refusal { name, advice });
        } else if let Some(warning) = warning(&name) {
            env.warnings.push(warning);
        }
    }
    if let Some(port) = env.values.iter().find(|raw| raw.name == PLATFORM_PORT) {
        let key = port.key.clone();
        env.values.retain(|raw| raw.name == PLATFORM_PORT || raw.key != key);
    }
    env
}

fn key_of(name: &str) -> Option<String> {
    let named = |name: &str| NAMED.iter().find(|(known, _)| *known == name).map(|(_, key)| *key);
    if let Some(key) = named(name) {
        return Some(key.to_owned());
    }
    if let Some(key) = name.strip_suffix("_FILE").and_then(named)
        && SECRETS.contains(&key)
    {
        return Some(format!("{key}_file"));
    }
    let generic = name.strip_prefix(GENERIC)?;
    Some(generic.to_lowercase().replace("__", "."))
}

/// The advice for a variable of a protection that is not implemented yet.
fn refused(name: &str) -> Option<&'static str> {
    let unsupported = name.strip_suffix("_FILE").unwrap_or(name) == "MLSDM_SIGNING_KEY";
    unsupported.then_some(SIGNING_ADVICE)
}

/// The warning about a variable without effect; none for variables of other programs.
fn warning(name: &str) -> Option<String> {
    let known = match name.strip_suffix("_FILE").unwrap_or(name) {
        name if CREDENTIALS.contains(&name) => return None,
        // read by the exporter itself
        "OTEL_EXPORTER_OTLP_COMPRESSION" | "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION" => return None,
        name if name.starts_with("OTEL_") => {
            "the supported OpenTelemetry variables are listed at [traces] in deploy/CONFIGURATION.md"
        }
        name if name.starts_with("MLSDM_") => {
            let names = NAMED.iter().map(|(name, _)| *name).chain([CONFIG_FILE]);
            let hint = nearest(name, names)
                .map_or_else(String::new, |near| format!("; did you mean {near}?"));
            return Some(format!("{name} is not a variable of this program{hint}"));
        }
        _ => return None,
    };
    Some(format!("{name} has no effect yet: {known}"))
}
