use secrecy::ExposeSecret as _;

use super::{env, error, fs, load_all, toml};
use crate::{
    config::{Choice, Llm, LlmProvider, MaxTokensField, ModelTemperature, ProviderDialect},
    domain::budget::Price,
};

fn llm(text: &str) -> Llm {
    toml(text).unwrap().config.llm
}

fn choice(provider: LlmProvider, model: Option<&str>) -> Choice {
    Choice { provider, model: model.map(str::to_owned) }
}

#[test]
fn the_variables_of_the_guide_choose_provider_and_key() {
    let file = Some(("config.toml", "[llm]\nmodel = \"m-1\""));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key");
    fs::write(&path, "sk-file\n").unwrap();
    let path = path.display().to_string();
    for (backend, name, value, wanted) in [
        ("openai", "OPENAI_API_KEY", "sk-1", "sk-1"),
        ("openai", "OPENAI_API_KEY_FILE", &path, "sk-file"),
        ("anthropic", "ANTHROPIC_API_KEY", "sk-2", "sk-2"),
        ("anthropic", "ANTHROPIC_API_KEY_FILE", &path, "sk-file"),
    ] {
        let loaded = load_all(file, &[("LLM_BACKEND", backend), (name, value)], &[]).unwrap();
        let llm = &loaded.config.llm;
        assert_eq!(llm.provider.as_str(), backend);
        let key = if backend == "openai" { llm.openai.key() } else { llm.anthropic.key() };
        assert_eq!(key.unwrap().expose_secret(), wanted);
        assert_eq!(loaded.warnings.len(), 1, "{:?}", loaded.warnings);
        assert!(loaded.warnings[0].contains("llm.models is empty"), "{:?}", loaded.warnings);
        assert!(!format!("{:?}", loaded.config).contains(wanted));
        let shown: String = loaded.settings.iter().map(|s| s.shown().to_string()).collect();
        assert!(!shown.contains(wanted), "{shown}");
    }
    let replay = env(&[("LLM_BACKEND", "replay")]).unwrap().config.llm;
    assert_eq!(replay.first(), choice(LlmProvider::Replay, None));
}

#[test]
fn a_missing_key_or_model_is_refused_with_the_remediation() {
    let nameless = error(env(&[("LLM_BACKEND", "openai"), ("OPENAI_API_KEY", "sk-1")]));
    assert!(nameless.contains("MLSDM__LLM__MODEL"), "{nameless}");
    for (backend, variable) in [("openai", "OPENAI_API_KEY"), ("anthropic", "ANTHROPIC_API_KEY")] {
        let text = format!("[llm]\nprovider = \"{backend}\"\nmodel = \"m-1\"");
        let keyless = error(toml(&text));
        assert!(keyless.contains(variable), "{keyless}");
        let own = format!("{text}\n[llm.{backend}]\nbase_url = \"http://localhost:11434/v1\"");
        assert!(toml(&own).is_ok(), "a self-hosted server needs no key");
        let padded = format!("{text}\n[llm.{backend}]\nbase_url = \"ftp://localhost\"");
        assert!(error(toml(&padded)).contains("must be a URL"));
    }
    let fallback = error(toml("[llm]\nfallbacks = [\"openai\"]"));
    assert!(fallback.contains("openai:MODEL"), "{fallback}");
    let engine = error(toml("[llm]\nengines = [\"support=anthropic:claude\"]"));
    assert!(engine.contains("ANTHROPIC_API_KEY"), "{engine}");
}

#[test]
fn fallbacks_and_engine_entries_determine_the_order_of_providers() {
    let llm = llm(r#"
[llm]
provider = "openai"
model = "m-1"
fallbacks = ["anthropic:claude", "openai:other", "local_stub"]
engines = ["support=anthropic:claude-2", "drill=openai"]
models = ["m-1", "m-2"]
prices = ["m-1=2.50/10", "org/m=0.1/0.2"]
[llm.openai]
api_key = "sk-1"
[llm.anthropic]
api_key = "sk-2"
"#);
    let (stub, claude) =
        (choice(LlmProvider::LocalStub, None), choice(LlmProvider::Anthropic, Some("claude")));
    let order = [choice(LlmProvider::Openai, Some("m-1")), claude, stub.clone()];
    assert_eq!(llm.order(&llm.first()), order, "each provider once");
    let support = llm.order(&llm.engines[0].choice);
    let other = choice(LlmProvider::Openai, Some("other"));
    assert_eq!(support, [choice(LlmProvider::Anthropic, Some("claude-2")), other, stub]);
    assert_eq!(llm.order(&llm.engines[1].choice)[0], choice(LlmProvider::Openai, Some("m-1")));
    assert_eq!(llm.prices[1].model, "org/m");
    assert_eq!(
        llm.prices[0].price,
        Price { input: 2_500_000, output: 10_000_000, cached_input: None }
    );
}

#[test]
fn malformed_entries_are_refused() {
    for (text, wanted) in [
        ("fallbacks = [\"gemini\"]", "provider:model"),
        ("provider = \"gemini\"\nmodel = \"m\"", "a name in llm.providers"),
        ("models = [{ name = \"m\", price = \"x\" }]", "list of names, or of tables"),
        ("models = [{ name = \"m\", provider = \"vllm\" }]", "provider is in llm.providers"),
        ("models = [\"a*b\"]", "only at the end"),
        (
            "providers = [{ name = \"openai\", dialect = \"openai\", base_url = \"http://h\" }]",
            "not",
        ),
        (
            "providers = [{ name = \"v\", dialect = \"openai\", base_url = \"ftp://u:geheim@h\", api_key = \"geheim\" }]",
            "is a URL",
        ),
        ("providers = [{ name = \"v\", api_key = \"geheim\" }]", "dialect"),
        ("fallbacks = [\"openai:\"]", "provider:model"),
        ("engines = [\"support\"]", "engine=provider:model"),
        ("engines = [\"Not An Id=openai\"]", "engine=provider:model"),
        ("prices = [\"m-1=1\"]", "model=input/output"),
        ("prices = [\"=1/2\"]", "model=input/output"),
        ("retry = { attempts = 0 }", "between 1 and 10"),
        ("retry = { base_ms = 9000 }", "between llm.retry.base_ms and"),
        ("breaker = { open_seconds = 0 }", "between 1 and 3600"),
        ("bulkhead = { concurrency = 0 }", "between 1 and 100000"),
        ("replay = { database = \"mysql://x\" }", "sqlite://PATH"),
        ("openai = { base_url = \"https://u:geheim@host/v1?x=1\" }", "without a query"),
    ] {
        let text = error(toml(&format!("[llm]\n{text}")));
        assert!(text.contains(wanted), "{text}");
        assert!(!text.contains("geheim"), "{text}");
    }
}

const NAMED: &str = r#"
[llm]
provider = "vllm"
model = "llama-3"
fallbacks = ["openai:gpt-4o"]
models = ["llama-3", "openai:gpt-4*", "ft:gpt-4:org", { name = "o3", provider = "openai", temperature = "refused", max_tokens_field = "max_completion_tokens", context_window = 200000, price = "2/8" }]
[llm.openai]
api_key = "sk-1"
[[llm.providers]]
name = "vllm"
dialect = "openai"
base_url = "http://localhost:8000/v1"
api_key = "sk-geheim"
headers = { X-Team = "geheim-team" }
"#;

#[test]
fn providers_have_names_that_models_and_fallbacks_refer_to() {
    let llm = llm(NAMED);
    let vllm = LlmProvider::Named("vllm".to_owned());
    let fallback = choice(LlmProvider::Openai, Some("gpt-4o"));
    assert_eq!(llm.order(&llm.first()), [choice(vllm, Some("llama-3")), fallback]);
    let named = llm.named("vllm").unwrap();
    assert_eq!(named.dialect, ProviderDialect::Openai);
    assert_eq!(named.key().unwrap().expose_secret(), "sk-geheim");
    let models = llm.models();
    let listed: Vec<_> = models.iter().map(|m| (m.name.as_str(), m.provider.clone())).collect();
    let openai = Some(LlmProvider::Openai);
    let wanted =
        [("llama-3", None), ("gpt-4*", openai.clone()), ("ft:gpt-4:org", None), ("o3", openai)];
    assert_eq!(listed, wanted);
    assert_eq!(models[3].temperature, Some(ModelTemperature::Refused));
    assert_eq!(models[3].max_tokens_field, Some(MaxTokensField::MaxCompletionTokens));
    assert_eq!(models[3].context_window, Some(200_000));
    assert_eq!(
        models[3].price,
        Some(Price { input: 2_000_000, output: 8_000_000, cached_input: None })
    );
}

#[test]
fn the_secrets_of_a_named_provider_are_redacted() {
    let loaded = toml(NAMED).unwrap();
    let shown: String = loaded.settings.iter().map(|s| s.shown().to_string()).collect();
    assert!(shown.contains("http://localhost:8000/v1") && !shown.contains("geheim"), "{shown}");
    assert!(!format!("{:?}", loaded.config).contains("geheim"));
}

#[test]
fn the_key_of_a_named_provider_may_be_in_a_file_and_the_list_in_a_variable() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key");
    fs::write(&path, "sk-file\n").unwrap();
    let list = serde_json::json!([{
        "name": "team-a", "dialect": "anthropic", "base_url": "http://localhost",
        "api_key_file": path.display().to_string(),
    }]);
    let env = env(&[("MLSDM__LLM__PROVIDERS", &list.to_string())]).unwrap();
    assert!(env.settings.iter().all(|setting| !setting.is_exposed()));
    let named = env.config.llm.named("team-a").unwrap();
    assert_eq!(named.key().unwrap().expose_secret(), "sk-file");
    assert_eq!(named.version, "2023-06-01");
}
