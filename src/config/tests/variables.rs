//! Environment variables: their names, their order, and what they refuse.

use secrecy::ExposeSecret as _;

use super::{
    super::{ConfigError, Format, Level, Source},
    env, error, load_all, source_of, toml,
};

#[test]
fn every_variable_of_the_guide_has_an_effect() {
    let loaded = env(&[
        ("LLM_BACKEND", "local_stub"),
        ("MLSDM_DIM", "128"),
        ("MLSDM_CAPACITY", "500"),
        ("MLSDM_WAKE_DURATION", "20"),
        ("MLSDM_SLEEP_DURATION", "0"),
        ("MLSDM_INITIAL_THRESHOLD", "0.6"),
        ("LOG_LEVEL", "WARNING"),
        ("LOG_FORMAT", "text"),
        ("API_PORT", "8080"),
        ("API_WORKERS", "4"),
        ("API_TIMEOUT", "45"),
        ("DISABLE_RATE_LIMIT", "1"),
        ("RATE_LIMIT_REQUESTS", "7"),
        ("RATE_LIMIT_WINDOW", "9"),
        ("OPENAI_API_KEY", ""),
    ])
    .unwrap();
    let config = &loaded.config;
    let policy = &config.mlsdm.policy;
    assert_eq!((policy.dimension, policy.capacity), (128, 500));
    assert_eq!((policy.rhythm.wake_duration, policy.rhythm.sleep_duration), (20, 0));
    assert!((policy.moral.initial_threshold - 0.6).abs() < f64::EPSILON);
    assert_eq!((config.logging.level, config.logging.format), (Level::Warning, Format::Text));
    assert_eq!((config.api.port, config.api.workers()), (8080, 4));
    assert_eq!(config.api.timeout().as_secs(), 45);
    assert!(config.limits.rate.disabled);
    assert_eq!(
        source_of(&loaded, "limits.rate.requests"),
        Source::Env("RATE_LIMIT_REQUESTS".into())
    );
    assert_eq!(source_of(&loaded, "limits.rate.window"), Source::Env("RATE_LIMIT_WINDOW".into()));
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    assert_eq!(source_of(&loaded, "mlsdm.policy.dimension"), Source::Env("MLSDM_DIM".into()));
}

#[test]
fn the_port_of_a_platform_overrides_the_other_variables() {
    let given = [("PORT", "8080"), ("API_PORT", "8000"), ("MLSDM__API__PORT", "8001")];
    let loaded = env(&given).unwrap();
    assert_eq!(loaded.config.api.port, 8080);
    assert_eq!(source_of(&loaded, "api.port"), Source::Env("PORT".into()));
    assert_eq!(load_all(None, &given, &[("api.port", "9000")]).unwrap().config.api.port, 9000);
    assert!(matches!(env(&given[1..]), Err(ConfigError::Twice { .. })));
}

/// Docker passes the comments of an env file on, as parts of the values.
#[test]
fn a_comment_after_an_otherwise_valid_variable_is_ignored() {
    let loaded = env(&[
        ("LOG_LEVEL", "WARNING  # DEBUG, INFO, WARNING, ERROR"),
        ("API_TIMEOUT", "45\t# seconds"),
        ("METRICS_ENABLED", "false\t #"),
        ("MLSDM_CONTENT_KEY", "secret #1"),
        ("MLSDM__LLM__MODEL", "model #1"),
    ]);
    let config = loaded.unwrap().config;
    assert_eq!(config.logging.level, Level::Warning);
    assert_eq!(config.api.timeout().as_secs(), 45);
    assert!(!config.monitoring.enabled);
    assert_eq!(config.database.content_key().unwrap().expose_secret(), "secret #1");
    assert_eq!(config.llm.model, "model #1");
    let text = error(env(&[("LOG_LEVEL", "LOUD  # DEBUG")]));
    assert!(text.contains("logging.level = LOUD  # DEBUG (env LOG_LEVEL)"), "{text}");
    assert!(toml("[logging]\nlevel = \"INFO # DEBUG\"").is_err(), "files have comments");
}

#[test]
fn variables_without_effect_cause_a_warning() {
    let given = ["OTEL_PROPAGATORS=b3", "MLSDM_API_SERVICE_PORT=80"];
    for line in given {
        let (name, value) = line.split_once('=').unwrap();
        let warnings = env(&[(name, value)]).unwrap().warnings;
        assert_eq!(warnings.len(), 1, "{name}");
        assert!(warnings[0].contains(name), "{}", warnings[0]);
        assert!(!warnings[0].contains("123"));
    }
    let typo = env(&[("MLSDM_CAPACTY", "5")]).unwrap().warnings;
    assert!(typo[0].contains("did you mean MLSDM_CAPACITY?"), "{}", typo[0]);
    assert!(env(&[("PATH", "/bin")]).unwrap().warnings.is_empty());
}

#[test]
fn settings_of_missing_protections_are_refused() {
    let given = ["MLSDM_SIGNING_KEY=geheim", "MLSDM__MLSDM__POLICY__EMBEDDER__ID=minilm"];
    for line in given {
        let (name, value) = line.split_once('=').unwrap();
        let result = env(&[(name, value)]);
        assert!(matches!(result, Err(ConfigError::NotBuilt(_))), "{line}");
        let text = error(result);
        assert!(text.contains(name), "{text}");
        assert!(!text.contains("geheim"), "{text}");
    }
}
