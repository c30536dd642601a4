//! The kinds of model providers.

use serde::Deserialize;

/// A model provider.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(from = "String")]
pub enum LlmProvider {
    /// The built-in stub.
    LocalStub,
    /// The chat completions API of `OpenAI` or a compatible server.
    Openai,
    /// The messages API of Anthropic.
    Anthropic,
    /// Responses recorded in an event log.
    Replay,
    /// A provider of this name in `llm.providers`.
    Named(String),
}

impl From<String> for LlmProvider {
    fn from(name: String) -> Self {
        let known = Self::BUILT_IN.iter().find(|known| known.as_str() == name);
        known.cloned().unwrap_or(Self::Named(name))
    }
}

impl LlmProvider {
    const BUILT_IN: [Self; 4] = [Self::LocalStub, Self::Openai, Self::Anthropic, Self::Replay];

    /// The name in configuration.
    pub const fn as_str(&self) -> &str {
        match self {
            Self::LocalStub => "local_stub",
            Self::Openai => "openai",
            Self::Anthropic => "anthropic",
            Self::Replay => "replay",
            Self::Named(name) => name.as_str(),
        }
    }

    /// Returns true if the provider has several models, so that one must be named.
    pub(super) const fn has_models(&self) -> bool {
        match self {
            Self::Openai | Self::Anthropic | Self::Named(_) => true,
            Self::LocalStub | Self::Replay => false,
        }
    }
}
