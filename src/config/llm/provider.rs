//! The kinds of model providers.

use serde::Deserialize;

/// A model provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LlmProvider {
    /// The built-in stub.
    LocalStub,
    /// The chat completions API of `OpenAI` or a compatible server.
    Openai,
    /// The messages API of Anthropic.
    Anthropic,
    /// Responses recorded in an event log.
    Replay,
}

impl LlmProvider {
    pub(super) const ALL: [Self; 4] =
        [Self::LocalStub, Self::Openai, Self::Anthropic, Self::Replay];

    /// The name in configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::LocalStub => "local_stub",
            Self::Openai => "openai",
            Self::Anthropic => "anthropic",
            Self::Replay => "replay",
        }
    }

    /// Returns true if the provider has several models, so that one must be named.
    pub(super) const fn has_models(self) -> bool {
        match self {
            Self::Openai | Self::Anthropic => true,
            Self::LocalStub | Self::Replay => false,
        }
    }
}
