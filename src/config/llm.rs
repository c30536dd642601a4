//! `llm`: the model that answers.

use std::time::Duration;

use serde::Deserialize;

use super::error::{Fault, check};

/// Who provides the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LlmProvider {
    /// The built-in model.
    LocalStub,
    /// The `OpenAI` API; not built yet.
    Openai,
    /// The Anthropic API; not built yet.
    Anthropic,
    /// Recorded answers; not built yet.
    Replay,
}

/// The model.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Llm {
    /// Who provides it.
    pub provider: LlmProvider,
    /// Its name with that provider.
    pub model: String,
    /// Most tokens ever asked of it, 1..=1,000,000, whatever the policy grants.
    pub max_tokens: u32,
    /// Sampling temperature, 0 to 2.
    pub temperature: f64,
    /// Settings of the built-in model.
    pub stub: Stub,
}

/// The built-in model.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stub {
    latency_ms: u64,
    word_latency_ms: u64,
}

impl Stub {
    /// How long it takes to answer.
    pub const fn latency(&self) -> Duration {
        Duration::from_millis(self.latency_ms)
    }

    /// How long it takes between two words of an answer that is streamed.
    pub const fn word_latency(&self) -> Duration {
        Duration::from_millis(self.word_latency_ms)
    }
}

impl Llm {
    pub(super) fn validate(&self) -> Result<(), Fault> {
        let named = (1..=200).contains(&self.model.len());
        check(named, "llm.model", "a name of 1 to 200 characters")?;
        let tokens = (1..=1_000_000).contains(&self.max_tokens);
        check(tokens, "llm.max_tokens", "between 1 and 1000000")?;
        let temperature = (0.0..=2.0).contains(&self.temperature);
        check(temperature, "llm.temperature", "between 0 and 2")?;
        let within = |ms| ms <= 600_000;
        let must = "between 0 and 600000";
        check(within(self.stub.latency_ms), "llm.stub.latency_ms", must)?;
        check(within(self.stub.word_latency_ms), "llm.stub.word_latency_ms", must)
    }
}
