//! The policy of an engine: every parameter that determines an outcome.
//!
//! `engine.created` and `policy.changed` record the complete policy, so a replay needs no
//! configuration. Addresses, timeouts and credentials determine no outcome and are not part of a
//! policy.

mod change;
mod check;
mod defaults;
mod request;

use serde::{Deserialize, Serialize};
use sha2::Digest as _;

use super::{
    embedders::{HASHING_ID, HASHING_VERSION},
    ids::Sha256,
};
pub use check::PolicyError;
pub use request::{JudgedScope, MemoryMode, Placement, RecordPolicy, RecordedMessages};
use request::{NO_TEXT, is_default, is_no_text};

/// All parameters of an engine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// Number of components of a vector, 1..=4096. Fixed for the life of an engine.
    pub dimension: usize,
    /// The embedder that computes the vectors. Fixed for the life of an engine.
    pub embedder: EmbedderId,
    /// Maximum number of items in the lattice memory, 1..=1,000,000.
    pub capacity: usize,
    /// Visibility of memory items.
    pub memory: MemoryPolicy,
    /// The wake/sleep rhythm.
    pub rhythm: Rhythm,
    /// The moral filter.
    pub moral: Moral,
    /// The lattice memory.
    pub lattice: LatticePolicy,
    /// The memory context given to the model.
    pub context: ContextPolicy,
    /// The trace levels L1, L2, L3.
    pub trace: Trace,
    /// The budget of each data subject. The canonical JSON omits it while it has its default value,
    /// so that policies recorded before budgets existed keep their hashes.
    #[serde(skip_serializing_if = "is_default")]
    pub budget: Budget,
    /// The contents that the log keeps.
    #[serde(skip_serializing_if = "is_default")]
    pub record: RecordPolicy,
}

/// Name and version of an embedder. Vectors of different embedders are never compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmbedderId {
    /// Name, e.g. `hashing`.
    pub id: String,
    /// Version; raised whenever the embedder gives different vectors for the same text.
    pub version: u32,
}

/// The memory items that a step may use as context.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MemoryScope {
    /// Items of the step's own data subject.
    Subject,
    /// Items of all data subjects of the engine.
    Engine,
}

/// Visibility of memories.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MemoryPolicy {
    /// Visibility of memory items.
    pub scope: MemoryScope,
    /// The largest use of the memory by a step; a request may ask for less.
    #[serde(skip_serializing_if = "is_default")]
    pub mode: MemoryMode,
}

/// Treatment of requests in the sleep phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SleepMode {
    /// The answer has at most `max_sleep_tokens` tokens.
    Short,
    /// The request is rejected. It ticks nevertheless, so that the sleep phase ends.
    Refuse,
}

/// The wake/sleep rhythm, counted in admitted steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rhythm {
    /// Length of the wake phase in admitted steps, ≥ 1.
    pub wake_duration: u32,
    /// Length of the sleep phase in admitted steps; 0 disables sleep.
    pub sleep_duration: u32,
    /// Treatment of requests in the sleep phase.
    pub sleep_mode: SleepMode,
    /// Maximum answer tokens in the wake phase, ≥ 1.
    pub max_wake_tokens: u32,
    /// Maximum answer tokens in the sleep phase, ≥ 1.
    pub max_sleep_tokens: u32,
}

/// The adaptation of the moral threshold; the formulas are in [`moral`](super::moral).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Adaptation {
    /// The threshold rises with the rate of harmful requests; never below `initial_threshold`.
    Vigilant,
    /// The threshold moves with the acceptance rate, as in the original system.
    Homeostatic,
    /// The threshold is constant at `initial_threshold`.
    Fixed,
}

/// The role of a score given by the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallerScore {
    /// The caller's score decides; without one the scorer's; without both the request is refused.
    Accept,
    /// The smaller of the scores that are present decides.
    Min,
    /// Only the scorer's score decides.
    Ignore,
}

/// The scorer that is run on every prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScorerId {
    /// Scores by word lists.
    Lexicon,
    /// No scorer: callers must give `moral_value`.
    None,
}

/// The moral filter. All values are in [0, 1]; the formulas are in [`moral`](super::moral).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Moral {
    /// The adaptation of the threshold.
    pub adaptation: Adaptation,
    /// `T₀`: the initial threshold, and the lowest of `vigilant`.
    pub initial_threshold: f64,
    /// The lowest threshold of `homeostatic`.
    pub min_threshold: f64,
    /// `T_max`: the highest threshold.
    pub max_threshold: f64,
    /// `α`: the weight of the newest verdict in the moving averages, in (0, 1].
    pub ema_alpha: f64,
    /// `homeostatic`: the deviation of the acceptance rate from `target` that moves nothing.
    pub dead_band: f64,
    /// `homeostatic`: the change of the threshold per verdict.
    pub step: f64,
    /// `homeostatic`: the target acceptance rate.
    pub target: f64,
    /// `vigilant`: the factor with which the engine's average raises the threshold of every data
    /// subject.
    pub share: f64,
    /// The scorer run on every prompt.
    pub scorer: ScorerId,
    /// The role of a score given by the caller.
    pub caller_score: CallerScore,
    /// The part of a request that is judged.
    #[serde(skip_serializing_if = "is_default")]
    pub scope: JudgedScope,
    /// The score of a request without text, such as an image alone, if there is a scorer.
    #[serde(skip_serializing_if = "is_no_text")]
    pub no_text: f64,
}

/// The lattice memory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LatticePolicy {
    /// Maximum phase distance, inclusive, at which an unconsolidated item is found, in [0, 1].
    pub phase_tolerance: f32,
    /// Phase value of items stored in the wake phase, in [0, 1].
    pub wake_phase: f32,
    /// Phase value of items stored in the sleep phase, in [0, 1].
    pub sleep_phase: f32,
    /// Minimum confidence, inclusive, of an answer that is stored, in [0, 1].
    pub min_store_confidence: f64,
    /// Minimum cosine similarity of an item that is found, in [0, 1].
    pub min_similarity: f64,
}

/// The memory context given to the model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ContextPolicy {
    /// Maximum number of items, 0..=20; 0 disables the context.
    pub top_k: usize,
    /// Maximum length of the context in characters, 0..=100,000.
    pub max_chars: usize,
    /// Its place in a chat.
    #[serde(skip_serializing_if = "is_default")]
    pub placement: Placement,
}

/// Parameters of the trace levels: decays λ, thresholds θ, gains g; the formulas are in
/// [`synaptic`](super::synaptic).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Trace {
    /// λ1, λ2, λ3: the fraction of each level that is lost with each stored item; 1 ≥ λ1 > λ2 > λ3
    /// > 0.
    pub lambda: [f32; 3],
    /// θ1, θ2: the norm above which L1 spills into L2, and L2 into L3; > 0.
    pub theta: [f32; 2],
    /// g1, g2: the fraction that spills from L1 to L2, and from L2 to L3; in [0, 1].
    pub gain: [f32; 2],
}

/// The limits of each data subject in a tumbling window of time. Windows start at whole multiples
/// of their length since the Unix epoch, by the log's clock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Budget {
    /// Maximum tokens of prompts, contexts and answers together; 0 means no limit.
    pub tokens: u64,
    /// Maximum cost in millionths of a US dollar; 0 means no limit. With a limit, requests to
    /// models without a price are refused.
    pub cost_micro_usd: u64,
    /// Length of a window in seconds, ≥ 1.
    pub window_seconds: u32,
}

/// Named lengths of the wake and sleep phases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Preset {
    /// 8 awake, 3 asleep.
    Balanced,
    /// 20 awake, 2 asleep.
    Throughput,
    /// 5 awake, 5 asleep.
    Consolidating,
}

impl Preset {
    /// `(wake_duration, sleep_duration)` in admitted steps.
    pub const fn durations(self) -> (u32, u32) {
        match self {
            Self::Balanced => (8, 3),
            Self::Throughput => (20, 2),
            Self::Consolidating => (5, 5),
        }
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            dimension: 384,
            embedder: EmbedderId { id: HASHING_ID.to_owned(), version: HASHING_VERSION },
            capacity: 20_000,
            memory: MemoryPolicy::default(),
            rhythm: Rhythm::default(),
            moral: Moral::default(),
            lattice: LatticePolicy::default(),
            context: ContextPolicy::default(),
            trace: Trace::default(),
            budget: Budget::default(),
            record: RecordPolicy::default(),
        }
    }
}

impl Default for MemoryPolicy {
    fn default() -> Self {
        Self { scope: MemoryScope::Subject, mode: MemoryMode::Full }
    }
}

impl Default for Rhythm {
    fn default() -> Self {
        let (wake_duration, sleep_duration) = Preset::Balanced.durations();
        Self {
            wake_duration,
            sleep_duration,
            sleep_mode: SleepMode::Short,
            max_wake_tokens: 2048,
            max_sleep_tokens: 150,
        }
    }
}

impl Default for Moral {
    fn default() -> Self {
        Self {
            adaptation: Adaptation::Vigilant,
            initial_threshold: 0.50,
            min_threshold: 0.30,
            max_threshold: 0.90,
            ema_alpha: 0.1,
            dead_band: 0.05,
            step: 0.05,
            target: 0.5,
            share: 0.25,
            scorer: ScorerId::Lexicon,
            caller_score: CallerScore::Accept,
            scope: JudgedScope::LastMessage,
            no_text: NO_TEXT,
        }
    }
}

impl Default for LatticePolicy {
    fn default() -> Self {
        Self {
            phase_tolerance: 0.15,
            wake_phase: 0.1,
            sleep_phase: 0.9,
            min_store_confidence: 0.5,
            min_similarity: 0.15,
        }
    }
}

impl Default for ContextPolicy {
    fn default() -> Self {
        Self { top_k: 5, max_chars: 4000, placement: Placement::Prompt }
    }
}

impl Default for Trace {
    fn default() -> Self {
        Self { lambda: [0.50, 0.10, 0.01], theta: [1.2, 2.5], gain: [0.45, 0.30] }
    }
}

impl Default for Budget {
    fn default() -> Self {
        Self { tokens: 0, cost_micro_usd: 0, window_seconds: 86_400 }
    }
}

impl Budget {
    /// True if the policy limits tokens or cost.
    pub const fn is_set(&self) -> bool {
        self.tokens > 0 || self.cost_micro_usd > 0
    }
}

impl Policy {
    /// Embedder and dimension as text for messages, such as `hashing 1, dimension 384`.
    pub fn vectors(&self) -> String {
        let EmbedderId { id, version } = &self.embedder;
        format!("{id} {version}, dimension {}", self.dimension)
    }

    /// SHA-256 of the policy's canonical JSON: fields in declaration order, shortest representation
    /// of floats, without fields added later (such as the budget) while they have their default value.
    ///
    /// Serialising this structure cannot fail; the hash of the empty text stands for that
    /// impossible case.
    pub fn hash(&self) -> Sha256 {
        let json = serde_json::to_vec(self).unwrap_or_default();
        Sha256(sha2::Sha256::digest(json).into())
    }
}
