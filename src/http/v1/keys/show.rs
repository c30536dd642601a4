//! Keys as they are shown.

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

/// How often a key may be used.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RateLimit {
    /// Requests in a window, 1 to 1000000; a fifth of them may come at once.
    #[schema(minimum = 1, maximum = 1_000_000)]
    requests: u32,
    /// The window in seconds, 1 to 86400.
    #[schema(minimum = 1, maximum = 86_400)]
    window_seconds: u32,
}

impl From<RateLimit> for KeyRate {
    fn from(RateLimit { requests, window_seconds }: RateLimit) -> Self {
        Self { requests, window_seconds }
    }
}

/// What a key may spend in each engine, in each window of the engine's policy
/// (`budget.window_seconds`). At least one of the two is a limit.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyBudget {
    /// Tokens of prompts, contexts and answers; 0 for no limit.
    #[serde(default)]
    tokens: u64,
    /// Millionths of a US dollar; 0 for no limit.
    #[serde(default)]
    cost_micro_usd: u64,
}

impl From<KeyBudget> for Amount {
    fn from(KeyBudget { tokens, cost_micro_usd }: KeyBudget) -> Self {
        Self { tokens, cost_micro_usd }
    }
}

/// All keys that exist for the caller.
#[derive(Debug, Serialize, ToSchema)]
pub struct KeyList {
    /// The oldest first.
    pub(super) keys: Vec<KeySummary>,
}

/// One key, without its secret.
#[derive(Debug, Serialize, ToSchema)]
pub struct KeySummary {
    /// Its name for good.
    id: String,
    /// The actor of what is done with it.
    subject: String,
    /// What people call it.
    name: String,
    /// Its roles.
    roles: Vec<String>,
    /// The engines that exist for it; `*` is all.
    engines: Vec<String>,
    /// When it was created, RFC 3339.
    created_at: String,
    /// By whom.
    created_by: String,
    /// When it ends, RFC 3339; null: when it is revoked.
    expires_at: Option<String>,
    /// Whether that is over.
    expired: bool,
    /// When its secret was replaced last, RFC 3339.
    rotated_at: Option<String>,
    /// Until when the secret before that still counts, RFC 3339.
    previous_until: Option<String>,
    /// How often it may be used; null: as often as its roles may.
    rate: Option<RateLimit>,
    /// What it may spend; null: what the end users may.
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

/// A key with a new secret. No `Debug`: the secret is shown to nobody else.
#[derive(Serialize, ToSchema)]
pub struct CreatedKey {
    /// The secret, to be sent as `X-API-Key` or `Authorization: Bearer`. It is kept nowhere.
    #[schema(example = "mlsdm_<id>_<secret>")]
    pub(super) key: String,
    /// What there is to know about the key.
    #[serde(flatten)]
    pub(super) summary: KeySummary,
    /// Position of the event in the server's own log.
    pub(super) position: u64,
    /// Chain hash there, hexadecimal.
    pub(super) chain_hash: String,
}

/// A key that counts no longer.
#[derive(Debug, Serialize, ToSchema)]
pub struct RevokedKey {
    /// Its id.
    pub(super) id: String,
    /// `revoked`
    pub(super) status: &'static str,
    /// Position of the event in the server's own log.
    pub(super) position: u64,
    /// Chain hash there, hexadecimal.
    pub(super) chain_hash: String,
}
