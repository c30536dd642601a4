//! API keys in responses.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    auth::keys::subject,
    clock::rfc3339,
    domain::{
        budget::Amount,
        ids::{KeyId, Micros},
        keys::{ApiKey, KeyRate},
    },
};

/// The rate limit of an API key.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RateLimit {
    /// Requests per window, 1 to 1000000; a fifth of them may arrive at once.
    #[schema(minimum = 1, maximum = 1_000_000)]
    requests: u32,
    /// Length of the window in seconds, 1 to 86400.
    #[schema(minimum = 1, maximum = 86_400)]
    window_seconds: u32,
}

impl From<RateLimit> for KeyRate {
    fn from(RateLimit { requests, window_seconds }: RateLimit) -> Self {
        Self { requests, window_seconds }
    }
}

/// The budget of an API key in each engine and budget window (`budget.window_seconds` of the engine's
/// policy). At least one of the two limits must not be 0.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyBudget {
    /// Tokens of prompts, contexts and answers; 0 means no limit.
    #[serde(default)]
    tokens: u64,
    /// Cost in millionths of a US dollar; 0 means no limit.
    #[serde(default)]
    cost_micro_usd: u64,
}

impl From<KeyBudget> for Amount {
    fn from(KeyBudget { tokens, cost_micro_usd }: KeyBudget) -> Self {
        Self { tokens, cost_micro_usd }
    }
}

/// API keys that the caller can see.
#[derive(Debug, Serialize, ToSchema)]
pub struct KeyList {
    /// Oldest first.
    pub(super) keys: Vec<KeySummary>,
}

/// An API key without its secret.
#[derive(Debug, Serialize, ToSchema)]
pub struct KeySummary {
    /// Id of the key, which never changes.
    id: String,
    /// The actor of requests with this key.
    subject: String,
    /// Display name.
    name: String,
    /// Roles.
    roles: Vec<String>,
    /// Engines that the key can see; `*` stands for all.
    engines: Vec<String>,
    /// Time of creation, RFC 3339.
    created_at: String,
    /// The actor who created the key.
    created_by: String,
    /// Time of expiry, RFC 3339; null: never.
    expires_at: Option<String>,
    /// True if the key has expired.
    expired: bool,
    /// Time of the last rotation, RFC 3339.
    rotated_at: Option<String>,
    /// End of the validity of the previous secret, RFC 3339; null if it is not valid.
    previous_until: Option<String>,
    /// Rate limit; null: that of its roles.
    rate: Option<RateLimit>,
    /// Budget; null: none besides the budgets of its end users.
    budget: Option<KeyBudget>,
}

impl KeySummary {
    pub(super) fn of(id: KeyId, key: &ApiKey, now: Micros) -> Self {
        let grant = &key.grant;
        let previous = key.previous.filter(|previous| previous.until > now);
        let budget = grant.budget;
        Self {
            subject: subject(&id.to_string()),
            id: id.to_string(),
            name: grant.name.clone(),
            roles: grant.roles.clone(),
            engines: grant.engines.clone(),
            created_at: rfc3339(key.created_at),
            created_by: key.created_by.clone(),
            expires_at: grant.expires_at.map(rfc3339),
            expired: key.is_expired(now),
            rotated_at: key.rotated_at.map(rfc3339),
            previous_until: previous.map(|previous| rfc3339(previous.until)),
            rate: grant
                .rate
                .map(|KeyRate { requests, window_seconds }| RateLimit { requests, window_seconds }),
            budget: budget
                .map(|Amount { tokens, cost_micro_usd }| KeyBudget { tokens, cost_micro_usd }),
        }
    }
}

/// An API key with a new secret. Deliberately without `Debug`, so that the secret is not logged.
#[derive(Serialize, ToSchema)]
pub struct CreatedKey {
    /// The secret, for the header `X-API-Key` or `Authorization: Bearer`. It is not stored.
    #[schema(example = "mlsdm_<id>_<secret>")]
    pub(super) key: String,
    /// The key without its secret.
    #[serde(flatten)]
    pub(super) summary: KeySummary,
    /// Position of the event in the system log.
    pub(super) position: u64,
    /// Chain hash at that position, hexadecimal.
    pub(super) chain_hash: String,
}

/// A revoked API key.
#[derive(Debug, Serialize, ToSchema)]
pub struct RevokedKey {
    /// Id of the key.
    pub(super) id: String,
    /// Always `revoked`.
    pub(super) status: &'static str,
    /// Position of the event in the system log.
    pub(super) position: u64,
    /// Chain hash at that position, hexadecimal.
    pub(super) chain_hash: String,
}
