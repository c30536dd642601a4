//! The facts of a request.

use serde::{Deserialize, Serialize};

use crate::domain::{
    budget::{KeyLimit, Price},
    ids::KeyId,
    policy::MemoryMode,
};

/// The facts of a request, without its content.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RequestFacts {
    /// The route template of the HTTP request.
    pub route: String,
    /// The requested model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The requested `max_tokens`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens_asked: Option<u32>,
    /// The granted answer tokens; [`UNLIMITED_TOKENS`] if nothing limits the answer.
    pub max_tokens: u32,
    /// True if the answer may be limited to `max_sleep_tokens` in the sleep phase (false for
    /// requests with tools or a response format).
    pub shortenable: bool,
    /// The rule that limited the answer; absent in older events, for which
    /// [`TokenRule::Phase`] holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_rule: Option<TokenRule>,
    /// The cause that lowered `max_tokens` below what the request would otherwise have got.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limited_by: Option<LimitedBy>,
    /// The use of the memory; absent in older events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<MemoryMode>,
    /// The number of memory items requested as context.
    pub top_k: usize,
    /// Length of the prompt in characters.
    pub prompt_chars: usize,
    /// HMAC of the prompt under the data subject's key, in hexadecimal: it identifies equal prompts
    /// of one subject and reveals nothing without the key.
    pub prompt_hmac: String,
    /// Estimated tokens of the prompt and its context; before log format 2 only if a budget
    /// applies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_tokens: Option<u64>,
    /// The price of the model, if one is configured; before log format 2 only if a budget applies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<Price>,
    /// The limit of the API key that authenticated the request, if the key has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_limit: Option<KeyLimit>,
    /// The sampling parameters of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sampling: Option<Sampling>,
    /// The credential of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
}

/// The granted answer tokens of a step whose answer nothing limits.
pub const UNLIMITED_TOKENS: u32 = u32::MAX;

/// The rule that limits the tokens of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenRule {
    /// The phase lowers the requested number.
    Phase,
    /// The requested number holds. The phase limits the answer only if the request has no number
    /// and the answer may be shortened.
    Caller,
}

/// The cause of a lowered limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitedBy {
    /// The sleep phase.
    Sleep,
    /// The budget of the data subject or of the API key.
    Budget,
}

impl LimitedBy {
    /// The name in API responses.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sleep => "sleep",
            Self::Budget => "budget",
        }
    }
}

/// Sampling parameters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sampling {
    /// The temperature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// The probability mass of nucleus sampling.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f64>,
    /// The seed of the model's random numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<i64>,
}

/// The credential that authenticated a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Auth {
    /// The kind of the credential.
    pub scheme: AuthScheme,
    /// The id of the API key, if the server's log created it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_id: Option<KeyId>,
}

/// The kind of a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuthScheme {
    /// A token of the identity provider.
    Oidc,
    /// An API key.
    Key,
    /// A TLS client certificate.
    Certificate,
    /// A token signed with the server's development key.
    Dev,
    /// Authentication is off.
    None,
}
