use secrecy::ExposeSecret as _;

use super::{env, error, fs, load_all, toml};
use crate::{
    config::{Choice, Llm, LlmProvider},
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
        assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
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
    assert_eq!(llm.prices[0].price, Price { input: 2_500_000, output: 10_000_000 });
}

#[test]
fn malformed_entries_are_refused() {
    for (text, wanted) in [
        ("fallbacks = [\"gemini\"]", "provider:model"),
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
