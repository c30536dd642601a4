//! The policy of an engine: every parameter that decides an outcome.
//!
//! It is recorded in `engine.created` and `policy.changed`, so a replay needs no configuration.
//! What a policy does not hold — addresses, deadlines, credentials — decides no outcome.

mod change;
mod check;

use serde::{Deserialize, Serialize};
use sha2::Digest as _;

use super::ids::Sha256;
pub use check::PolicyError;

/// All parameters that decide; defaults are those of the design's table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// Components of a memory vector, 1..=4096. Fixed for the life of an engine.
    pub dimension: usize,
    /// The embedder that makes those vectors. Fixed for the life of an engine.
    pub embedder: EmbedderId,
    /// Items the lattice memory holds, 1..=1,000,000.
    pub capacity: usize,
    /// Whose memories a step may see.
    pub memory: Memory,
    /// The wake/sleep rhythm.
    pub rhythm: Rhythm,
    /// The moral filter.
    pub moral: Moral,
    /// The lattice memory.
    pub lattice: Lattice,
    /// The context given to the model.
    pub context: Context,
    /// The trace levels L1, L2, L3.
    pub trace: Trace,
    /// What a data subject may spend. Left out of the canonical form while it is the default, so
    /// that policies from before there were budgets keep their hashes.
    #[serde(skip_serializing_if = "Budget::is_default")]
    pub budget: Budget,
}

/// An embedder's name and version: vectors of different ones are never compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmbedderId {
    /// Name, e.g. `hashing`.
    pub id: String,
    /// Version; a change of the arithmetic raises it.
    pub version: u32,
}

/// Whose memories may become a step's context.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MemoryScope {
    /// Only those of the step's own data subject.
    Subject,
    /// Those of every data subject of the engine.
    Engine,
}

/// Visibility of memories.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Memory {
    /// Whose memories a step may see.
    pub scope: MemoryScope,
}

/// What happens to a request that arrives in sleep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SleepMode {
    /// It is answered with at most `max_sleep_tokens`.
    Short,
    /// It is rejected, and ticks all the same, so that the engine wakes up.
    Refuse,
}

/// The wake/sleep rhythm, counted in admitted steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rhythm {
    /// Steps awake, ≥ 1.
    pub wake_duration: u32,
    /// Steps asleep; 0 never sleeps.
    pub sleep_duration: u32,
    /// What happens to requests in sleep.
    pub sleep_mode: SleepMode,
    /// Most tokens of an answer given awake, ≥ 1.
    pub max_wake_tokens: u32,
    /// Most tokens of an answer given asleep, ≥ 1.
    pub max_sleep_tokens: u32,
}

/// How the moral threshold moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Adaptation {
    /// Answers to what is offered; never below `initial_threshold`.
    Vigilant,
    /// The original system's: answers to its own accept rate.
    Homeostatic,
    /// Never moves.
    Fixed,
}

/// What a score given by the caller counts for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallerScore {
    /// The caller's, else the scorer's, else the request is refused.
    Accept,
    /// The smaller of those present.
    Min,
    /// Only the scorer's.
    Ignore,
}

/// The scorer that is run on every prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScorerId {
    /// Word lists.
    Lexicon,
    /// No scorer: callers must give `moral_value`.
    None,
}

/// The moral filter. Thresholds, shares and averages are in [0, 1].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Moral {
    /// How the threshold moves.
    pub adaptation: Adaptation,
    /// Threshold at the start, and the floor of `vigilant`.
    pub initial_threshold: f64,
    /// Lowest threshold of `homeostatic`.
    pub min_threshold: f64,
    /// Highest threshold.
    pub max_threshold: f64,
    /// Weight of the newest verdict in the moving averages, in (0, 1].
    pub ema_alpha: f64,
    /// `homeostatic`: distance from `target` within which nothing moves.
    pub dead_band: f64,
    /// `homeostatic`: movement of the threshold per verdict.
    pub step: f64,
    /// `homeostatic`: the accept rate aimed at.
    pub target: f64,
    /// `vigilant`: how much of the engine's average reaches every data subject.
    pub share: f64,
    /// The scorer run on every prompt.
    pub scorer: ScorerId,
    /// What the caller's own score counts for.
    pub caller_score: CallerScore,
}

/// The lattice memory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Lattice {
    /// Largest phase distance, inclusive, at which an unconsolidated item is found.
    pub phase_tolerance: f32,
    /// Phase value of items stored awake.
    pub wake_phase: f32,
    /// Phase value of items stored asleep.
    pub sleep_phase: f32,
    /// Least confidence, inclusive, of an answer that is remembered.
    pub min_store_confidence: f64,
    /// Least cosine of an item that is found.
    pub min_similarity: f64,
}

/// The context given to the model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Context {
    /// Most items, 0..=20; 0 gives none.
    pub top_k: usize,
    /// Most characters of remembered text.
    pub max_chars: usize,
}

/// The trace levels: decays λ, thresholds θ, gains g.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Trace {
    /// Decay per store of L1, L2, L3; 1 ≥ λ1 > λ2 > λ3 > 0.
    pub lambda: [f32; 3],
    /// Norms of L1 and L2 above which they pass something on; > 0.
    pub theta: [f32; 2],
    /// The part passed on from L1 to L2 and from L2 to L3; in [0, 1].
    pub gain: [f32; 2],
}

/// What one data subject may spend in a window of time. Windows tumble: they begin at whole
/// multiples of their length since the Unix epoch, by the log's clock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Budget {
    /// Tokens of prompts, contexts and answers; 0 for no limit.
    pub tokens: u64,
    /// Millionths of a US dollar; 0 for no limit. Models without a price are refused under one.
    pub cost_micro_usd: u64,
    /// Length of a window in seconds, ≥ 1.
    pub window_seconds: u32,
}

/// Named lengths of wake and sleep.
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
            embedder: EmbedderId { id: "hashing".to_owned(), version: 1 },
            capacity: 20_000,
            memory: Memory::default(),
            rhythm: Rhythm::default(),
            moral: Moral::default(),
            lattice: Lattice::default(),
            context: Context::default(),
            trace: Trace::default(),
            budget: Budget::default(),
        }
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self { scope: MemoryScope::Subject }
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
        }
    }
}

impl Default for Lattice {
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

impl Default for Context {
    fn default() -> Self {
        Self { top_k: 5, max_chars: 4000 }
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
    fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Whether anything is limited.
    pub const fn is_set(&self) -> bool {
        self.tokens > 0 || self.cost_micro_usd > 0
    }
}

impl Policy {
    /// What the engine's vectors are made by, and how long they are, for people.
    pub fn vectors(&self) -> String {
        let EmbedderId { id, version } = &self.embedder;
        format!("{id} {version}, dimension {}", self.dimension)
    }

    /// SHA-256 over the policy's canonical JSON (fields in declaration order, shortest floats; no
    /// budget while it is the default).
    ///
    /// Serialising this plain structure cannot fail; the empty text stands for that impossible case.
    pub fn hash(&self) -> Sha256 {
        let json = serde_json::to_vec(self).unwrap_or_default();
        Sha256(sha2::Sha256::digest(json).into())
    }
}
