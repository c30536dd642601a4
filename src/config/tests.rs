mod auth;
mod edge;
mod files;
mod llm;
mod variables;

use std::{fs, path::PathBuf};

use secrecy::ExposeSecret as _;
use serde_json::json;

use super::{Config, ConfigError, Flag, LlmProvider, Loaded, Source, Sources, source};
use crate::domain::policy::{EmbedderId, Policy};

const GUIDE: &str = r#"
mlsdm:
  dimension: 384
  capacity: 20000
  wake_duration: 8
  sleep_duration: 3
  initial_threshold: 0.50

llm:
  provider: openai
  model: gpt-3.5-turbo
  max_tokens: 2048
  temperature: 0.7

embeddings:
  provider: sentence-transformers
  model: all-MiniLM-L6-v2
  dimension: 384

api:
  port: 8000
  workers: 4
  timeout: 30
  cors_origins:
    - "https://yourdomain.com"

logging:
  level: INFO
  format: json
  file: /var/log/mlsdm/app.log

monitoring:
  enabled: true
  metrics_port: 9090
  health_check_interval: 30
"#;

/// Loads a configuration file of the given name and text, variables and flags, in a temporary directory.
fn load_all(
    file: Option<(&str, &str)>,
    env: &[(&str, &str)],
    flags: &[(&str, &str)],
) -> Result<Loaded, ConfigError> {
    let dir = tempfile::tempdir().unwrap();
    if let Some((name, text)) = file {
        fs::write(dir.path().join(name), text).unwrap();
    }
    let flag = |(key, value): &(&str, &str)| Flag {
        name: format!("--set {key}"),
        key: (*key).to_owned(),
        value: (*value).to_owned(),
    };
    Config::load(Sources {
        file: None,
        dir: dir.path().to_owned(),
        env: env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect::<Vec<_>>(),
        flags: flags.iter().map(flag).collect(),
    })
}

fn env(variables: &[(&str, &str)]) -> Result<Loaded, ConfigError> {
    load_all(None, variables, &[])
}

fn toml(text: &str) -> Result<Loaded, ConfigError> {
    load_all(Some(("config.toml", text)), &[], &[])
}

fn error(result: Result<Loaded, ConfigError>) -> String {
    result.map(|_| ()).unwrap_err().to_string()
}

fn source_of(loaded: &Loaded, key: &str) -> Source {
    loaded.settings.iter().find(|s| s.key == key).unwrap().source.clone()
}

#[test]
fn the_defaults_are_complete_and_match_the_policy_of_new_engines() {
    let loaded = env(&[]).unwrap();
    assert_eq!(loaded.config.mlsdm.policy, Policy::of_new_engine());
    assert!(loaded.warnings.is_empty());
    let policy = Policy::of_new_engine().tree().unwrap();
    for (key, _) in source::flatten(&json!({"mlsdm": {"policy": policy}})) {
        assert_eq!(source_of(&loaded, &key), Source::Default, "{key}");
    }
}

#[test]
fn the_configuration_file_of_the_guide_loads() {
    let key = [("OPENAI_API_KEY", "sk-1")];
    let loaded = load_all(Some(("config.yaml", GUIDE)), &key, &[]).unwrap();
    let embedder = EmbedderId { id: "minilm-l6-v2".to_owned(), version: 1 };
    assert_eq!(loaded.config.mlsdm.policy, Policy { embedder, ..Policy::of_new_engine() });
    assert_eq!(loaded.config.llm.provider, LlmProvider::Openai);
    assert_eq!(loaded.config.api.workers(), 4);
    assert_eq!(loaded.config.api.cors_origins, ["https://yourdomain.com"]);
    assert_eq!(loaded.config.llm.model, "gpt-3.5-turbo");
    let file = std::path::Path::new("/var/log/mlsdm/app.log");
    assert_eq!(loaded.config.logging.file(), Some(file));
    let from = source_of(&loaded, "mlsdm.policy.rhythm.wake_duration");
    assert!(matches!(from, Source::File(_)));
}

#[test]
fn the_embedder_of_the_policy_is_derived_from_the_provider() {
    let small = "model = \"small\"\ndimension = 1536\napi_key = \"geheim\"";
    let cases = [
        ("provider = \"hashing\"", "hashing"),
        ("provider = \"minilm\"", "minilm-l6-v2"),
        (&format!("provider = \"openai\"\n{small}"), "openai:small"),
    ];
    for (section, id) in cases {
        let loaded = toml(&format!("[embeddings]\n{section}")).unwrap();
        let embedder = EmbedderId { id: id.to_owned(), version: 1 };
        assert_eq!(loaded.config.mlsdm.policy.embedder, embedder);
        let shown = |key: &str| loaded.settings.iter().find(|s| s.key == key).unwrap().shown();
        assert_eq!(shown("mlsdm.policy.embedder.id"), id);
        assert!(matches!(source_of(&loaded, "mlsdm.policy.embedder.id"), Source::File(_)));
        assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
        assert!(!format!("{:?} {}", loaded.config, shown("embeddings.api_key")).contains("geheim"));
    }
    let key = [("MLSDM__EMBEDDINGS__API_KEY", "geheim")];
    let loaded = env(&key).unwrap();
    assert_eq!(loaded.config.embeddings.api_key().unwrap().expose_secret(), "geheim");
    assert!(loaded.warnings[0].contains("has no effect"), "{:?}", loaded.warnings);
}

#[test]
fn an_invalid_embedder_is_refused() {
    let cases = [
        ("provider = \"openai\"", "embeddings.model = not set"),
        ("provider = \"openai\"\nmodel = \"m\"\nbase_url = \"x\"", "embeddings.base_url = x"),
        ("provider = \"minilm\"\ndimension = 768", "mlsdm.policy.dimension = 768"),
        ("provider = \"minilm\"\nmodel = \"bge\"", "embeddings.model = bge"),
        ("provider = \"minilm\"\npath = \"\"", "embeddings.path = not set"),
        ("provider = \"word2vec\"", "must be one of: `hashing`, `minilm`"),
        ("timeout = 0", "embeddings.timeout = 0"),
        ("cache_mb = 100000", "embeddings.cache_mb = 100000"),
    ];
    for (section, expected) in cases {
        let text = error(toml(&format!("[embeddings]\n{section}")));
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn later_layers_override_earlier_ones() {
    let file = Some(("config.toml", "[api]\nport = 1001\nworkers = 1\ntimeout = 11"));
    let variables = [("API_PORT", "1002"), ("API_WORKERS", "2")];
    let loaded = load_all(file, &variables, &[("api.port", "1003")]).unwrap();
    let api = &loaded.config.api;
    assert_eq!((api.port, api.workers(), api.timeout().as_secs()), (1003, 2, 11));
    assert_eq!(source_of(&loaded, "api.port"), Source::Flag("--set api.port".into()));
    assert_eq!(source_of(&loaded, "api.workers"), Source::Env("API_WORKERS".into()));
}

#[test]
fn the_configuration_file_is_found_by_flag_variable_or_name() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, port: u16| {
        fs::write(dir.path().join(name), format!("[api]\nport = {port}")).unwrap();
        dir.path().join(name)
    };
    let (first, second) = (write("first.toml", 1001), write("second.toml", 1002));
    let load = |file: Option<PathBuf>, env: Vec<(String, String)>| {
        let dir = dir.path().to_owned();
        Config::load(Sources { file, dir, env, flags: Vec::new() }).map(|l| l.config.api.port)
    };
    let variable = vec![("MLSDM_CONFIG".to_owned(), second.display().to_string())];
    assert_eq!(load(None, Vec::new()).unwrap(), 8000);
    assert_eq!(load(None, variable.clone()).unwrap(), 1002);
    assert_eq!(load(Some(first), variable).unwrap(), 1001);
    write("config.toml", 1003);
    assert_eq!(load(None, Vec::new()).unwrap(), 1003);
    fs::write(dir.path().join("config.yaml"), "api: {port: 1004}").unwrap();
    assert!(matches!(load(None, Vec::new()), Err(ConfigError::TwoFiles(_))));
    let missing = load(Some(dir.path().join("none.toml")), Vec::new());
    assert!(matches!(missing, Err(ConfigError::Read { .. })));
    let kind = load(Some(dir.path().join("none.ini")), Vec::new());
    assert!(matches!(kind, Err(ConfigError::Extension(_))));
}

#[test]
fn unknown_names_are_refused_with_a_suggestion() {
    let cases = [
        (toml("[api]\nprot = 1"), "unknown setting api.prot", "did you mean api.port?"),
        (toml("[mlsdm]\ncapasity = 1"), "mlsdm.capasity", "did you mean mlsdm.capacity?"),
        (env(&[("MLSDM__API__PROT", "1")]), "MLSDM__API__PROT", "did you mean MLSDM__API__PORT?"),
        (toml("llm = 5"), "unknown setting llm", "it is a section"),
        (toml("zzz = 1"), "unknown setting zzz", ""),
    ];
    for (result, name, hint) in cases {
        let text = error(result);
        assert!(text.contains(name) && text.contains(hint), "{text}");
    }
}

#[test]
fn invalid_values_are_refused_with_source_bound_and_default() {
    let env = |variables: &[(&str, &str)]| error(env(variables));
    let toml = |text: &str| error(toml(text));
    let cases = vec![
        (
            env(&[("API_PORT", "70000")]),
            "api.port = 70000 (env API_PORT): must be an integer from 0 to 65535 (the default is 8000)",
        ),
        (env(&[("API_PORT", "0")]), "must be between 1 and 65535"),
        (
            env(&[("API_PORT", "tcp://10.0.0.1:80")]),
            "api.port = tcp://10.0.0.1:80 (env API_PORT): must be an integer",
        ),
        (env(&[("API_WORKERS", "-1")]), "must be an integer, not negative"),
        (
            env(&[("API_TIMEOUT", "0")]),
            "api.timeout = 0 (env API_TIMEOUT): must be between 1 and 600",
        ),
        (env(&[("LOG_LEVEL", "LOUD")]), "logging.level = LOUD (env LOG_LEVEL): must be one of"),
        (
            env(&[("MLSDM_DIM", "5000")]),
            "mlsdm.policy.dimension = 5000 (env MLSDM_DIM): must be between 1 and 4096",
        ),
        (env(&[("MLSDM_INITIAL_THRESHOLD", "NaN")]), "must be a number"),
        (env(&[("MLSDM_INITIAL_THRESHOLD", "0.1")]), "between min_threshold and max_threshold"),
        (env(&[("METRICS_ENABLED", "maybe")]), "must be true or false"),
        (toml("[api]\nport = 1.5"), "must be an integer"),
        (toml("[api]\nhost = \"localhost\""), "api.host = localhost"),
        (toml("[database]\nurl = \"mysql://u:geheim@h/d\""), "database.url = mysql://***@h/d"),
        (env(&[("MLSDM__DATABASE__MAX_CONNECTIONS", "0")]), "between 1 and 1000"),
    ];
    for (text, expected) in cases {
        assert!(text.contains(expected), "{text}");
        assert!(!text.contains("geheim"), "{text}");
    }
}

#[test]
fn explicit_durations_override_a_preset() {
    let rhythm = |loaded: Loaded| {
        let rhythm = loaded.config.mlsdm.policy.rhythm;
        (rhythm.wake_duration, rhythm.sleep_duration)
    };
    assert_eq!(rhythm(toml("[mlsdm]\npreset = \"throughput\"").unwrap()), (20, 2));
    let both = "[mlsdm]\nwake_duration = 9\npreset = \"throughput\"";
    assert_eq!(rhythm(toml(both).unwrap()), (9, 2));
    let file = Some(("config.toml", "[mlsdm]\nwake_duration = 9"));
    let variable = [("MLSDM__MLSDM__PRESET", "consolidating")];
    assert_eq!(rhythm(load_all(file, &variable, &[]).unwrap()), (5, 5));
    assert!(error(toml("[mlsdm]\npreset = \"lazy\"")).contains("balanced, throughput"));
}

#[test]
fn two_names_of_one_key_must_agree() {
    let text = "[mlsdm]\ndimension = 384\n[embeddings]\ndimension = 128";
    assert!(matches!(toml(text), Err(ConfigError::Twice { .. })));
    assert!(toml("[mlsdm]\ndimension = 128\n[embeddings]\ndimension = 128").is_ok());
}

#[test]
fn secrets_stay_strings_can_come_from_files_and_are_redacted() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key");
    fs::write(&path, "0012345678\n").unwrap();
    let path = path.display().to_string();
    let key = |loaded: &Loaded| {
        loaded.config.database.content_key().map(|key| key.expose_secret().to_owned())
    };

    let direct = env(&[("MLSDM_CONTENT_KEY", "0012345678")]).unwrap();
    assert_eq!(key(&direct).unwrap(), "0012345678");
    assert_eq!(key(&env(&[("MLSDM_CONTENT_KEY_FILE", &path)]).unwrap()).unwrap(), "0012345678");
    let generic = env(&[("MLSDM__DATABASE__CONTENT_KEY_FILE", &path)]).unwrap();
    assert_eq!(key(&generic).unwrap(), "0012345678");
    let in_file = toml(&format!("[database]\ncontent_key_file = \"{path}\"")).unwrap();
    assert_eq!(key(&in_file).unwrap(), "0012345678");
    assert_eq!(key(&env(&[]).unwrap()), None);

    let url = env(&[("DATABASE_URL", "postgres://u:p@ss@h/d?password=x")]).unwrap();
    let shown =
        |loaded: &Loaded, key: &str| loaded.settings.iter().find(|s| s.key == key).unwrap().shown();
    assert_eq!(shown(&url, "database.url"), "postgres://***@h/d?***");
    assert_eq!(shown(&direct, "database.content_key"), "(set)");
    assert!(!format!("{:?}", direct.config).contains("0012345678"));

    let number = error(toml("[database]\ncontent_key = 99912345"));
    assert!(number.contains("in quotes") && !number.contains("99912345"), "{number}");
    let both = error(env(&[("MLSDM_CONTENT_KEY", "5551"), ("MLSDM_CONTENT_KEY_FILE", &path)]));
    assert!(both.contains("MLSDM_CONTENT_KEY_FILE") && !both.contains("5551"), "{both}");
    let missing = error(env(&[("DATABASE_URL_FILE", "/nonexistent/file")]));
    assert!(missing.contains("DATABASE_URL_FILE names /nonexistent/file"), "{missing}");
}

#[test]
fn a_parse_error_quotes_no_line() {
    let broken = error(toml("[database]\nurl = geheim"));
    assert!(broken.contains("config.toml is not well formed"), "{broken}");
    assert!(!broken.contains("geheim"), "{broken}");
}
