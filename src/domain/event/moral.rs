//! The moral verdict on a request.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::domain::{ids::SubjectRef, policy::JudgedScope};

/// The maximum number of scorers whose results one event records.
pub const SCORERS_MAX: usize = 8;

/// The result of a moral scorer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScorerResult {
    /// The scorer's name.
    pub id: String,
    /// The scorer's version.
    pub version: u32,
    /// The score in [0, 1]; 1 is harmless.
    pub value: f64,
    /// The components of the score by name.
    pub parts: BTreeMap<String, f64>,
}

/// The source of the score that decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VerdictSource {
    /// The caller's `moral_value`.
    Caller,
    /// The engine's scorer.
    Scorer,
}

/// A moral verdict: its inputs, the deciding score, and the resulting change of the filter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MoralVerdict {
    /// The score given by the caller, in [0, 1].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caller: Option<f64>,
    /// The result of the engine's scorer in a log of format 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scorer: Option<ScorerResult>,
    /// The results of the engine's scorers from log format 2 on, at most [`SCORERS_MAX`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scorers: Vec<ScorerResult>,
    /// The scorers that gave no result.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unavailable: Vec<String>,
    /// True if the caller may state its own score, so that `caller` counts by `moral.caller_score`.
    /// If it is false, `caller` can only lower the score.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asserted: Option<bool>,
    /// The part of the request that was judged; absent if it was the prompt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<JudgedScope>,
    /// Length of the judged text in characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub judged_chars: Option<u64>,
    /// HMAC of the judged text under the data subject's key, in hexadecimal. It shows that a later
    /// scoring judges the same text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub judged_hmac: Option<String>,
    /// The score that decided.
    pub value: f64,
    /// The source of that score.
    pub source: VerdictSource,
    /// The data subject's threshold `T` at the time of the verdict; accepted if `value ≥ T`.
    pub threshold_before: f64,
    /// The data subject's threshold after the verdict.
    pub threshold_after: f64,
    /// The engine's moving average `E` before the verdict.
    pub ema_before: f64,
    /// The engine's moving average after the verdict.
    pub ema_after: f64,
    /// The data subject's own moving average before the verdict; 0 if none is stored.
    pub subject_ema_before: f64,
    /// The data subject's own moving average after the verdict; 0 if none is stored.
    pub subject_ema_after: f64,
    /// The subject whose average was evicted to make room.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forgot: Option<SubjectRef>,
}

impl MoralVerdict {
    /// The results of the engine's scorers, in every log format.
    pub fn scorer_results(&self) -> impl Iterator<Item = &ScorerResult> {
        self.scorer.iter().chain(&self.scorers)
    }
}
