//! The server between a client and the strict provider.

use std::path::{Path, PathBuf};

use mlsdm::testkit::{
    TestDatabase, TestEnv, TestServer,
    strict::{Provider, Script},
};
use serde_json::Value;

/// The dialect of the provider.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Backend {
    /// Chat completions alone, as most compatible servers.
    OpenAi,
    /// Chat completions and responses.
    Responses,
    Anthropic,
}

/// A server with its provider.
pub(crate) struct Gateway {
    pub(crate) provider: Provider,
    pub(crate) server: TestServer,
    pub(crate) env: TestEnv,
    _database: TestDatabase,
}

impl Gateway {
    /// A server with the default policy and with these variables.
    pub(crate) async fn new(backend: Backend, script: Script, variables: &[(&str, &str)]) -> Self {
        let provider = Provider::new(script).await;
        let database = TestDatabase::sqlite();
        let mut env = env(&database, &provider, backend);
        for (name, value) in variables {
            env = env.with(name, value);
        }
        let server = env.serve().await;
        Self { provider, server, env, _database: database }
    }

    /// Asserts that the provider refused nothing, that every call is a step with an end and a price,
    /// and that a replay of the log gives the same state.
    pub(crate) async fn is_consistent(&self) {
        assert_eq!(self.provider.refused(), Vec::<String>::new());
        let state = self.server.until_closed("default").await;
        let calls = self.provider.calls().len();
        assert_eq!(state["completed_count"], calls, "{state}");
        let replay = self.env.run(&["replay", "--engine", "default", "--json"]).await;
        let replay = replay.exits(0).json();
        for field in ["position", "state_digest", "chain_hash"] {
            assert_eq!(replay[field], state[field], "{field}: {replay}");
        }
        self.env.run(&["replay", "--engine", "default", "--verify"]).await.exits(0);
        self.env.run(&["audit", "verify"]).await.exits(0);
    }

    /// The events of a type in the log of the default engine.
    pub(crate) async fn events(&self, kind: &str) -> Vec<Value> {
        let page = self.server.read("/v1/engines/default/events?limit=500").await;
        let events = page["events"].as_array().unwrap();
        events.iter().filter(|event| event["type"] == kind).cloned().collect()
    }
}

/// A server on this database that asks this provider.
pub(crate) fn env(database: &TestDatabase, provider: &Provider, backend: Backend) -> TestEnv {
    let env = TestEnv::new(database.url())
        .with("MLSDM__LLM__PRICES", "gpt-4.1=2/8,gpt-5=1.25/10,claude-opus-4-8=5/25");
    match backend {
        Backend::Responses => openai(env, provider).with("MLSDM__LLM__OPENAI__RESPONSES", "always"),
        Backend::OpenAi => openai(env, provider),
        Backend::Anthropic => env
            .with("LLM_BACKEND", "anthropic")
            .with("ANTHROPIC_API_KEY", "k")
            .with("MLSDM__LLM__ANTHROPIC__BASE_URL", &provider.url)
            .with("MLSDM__LLM__MODEL", "claude-opus-4-8"),
    }
}

fn openai(env: TestEnv, provider: &Provider) -> TestEnv {
    env.with("LLM_BACKEND", "openai")
        .with("OPENAI_API_KEY", "k")
        .with("MLSDM__LLM__OPENAI__BASE_URL", format!("{}/v1", provider.url))
        .with("MLSDM__LLM__MODEL", "gpt-4.1")
}

/// The path of a file of this test.
pub(crate) fn file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(path)
}

/// The path of a file that `.ci/test` installs.
pub(crate) fn installed(path: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/ci").join(path);
    assert!(path.exists(), "{} is missing: run .ci/test, which installs it", path.display());
    path
}
