//! Validation of a policy before it is recorded.

use super::{CallerScore, Moral, Policy, ScorerId, Trace};

/// A violated bound: the field and its condition.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("policy.{field} must be {must}")]
pub struct PolicyError {
    /// Dotted name of the field.
    pub field: &'static str,
    /// The condition, for use after "must be".
    pub must: &'static str,
}

const fn check(ok: bool, field: &'static str, must: &'static str) -> Result<(), PolicyError> {
    if ok { Ok(()) } else { Err(PolicyError { field, must }) }
}

impl Policy {
    /// Checks all bounds.
    ///
    /// # Errors
    /// The first violated bound.
    pub fn validate(&self) -> Result<(), PolicyError> {
        check((1..=4096).contains(&self.dimension), "dimension", "between 1 and 4096")?;
        check((1..=1_000_000).contains(&self.capacity), "capacity", "between 1 and 1,000,000")?;
        check(!self.embedder.id.is_empty(), "embedder.id", "the name of an embedder")?;
        let rhythm = &self.rhythm;
        check(rhythm.wake_duration >= 1, "rhythm.wake_duration", "at least 1")?;
        check(rhythm.max_wake_tokens >= 1, "rhythm.max_wake_tokens", "at least 1")?;
        check(rhythm.max_sleep_tokens >= 1, "rhythm.max_sleep_tokens", "at least 1")?;
        self.moral.validate()?;
        let lattice = &self.lattice;
        check(unit32(lattice.phase_tolerance), "lattice.phase_tolerance", "in [0, 1]")?;
        check(unit32(lattice.wake_phase), "lattice.wake_phase", "in [0, 1]")?;
        check(unit32(lattice.sleep_phase), "lattice.sleep_phase", "in [0, 1]")?;
        check(unit(lattice.min_store_confidence), "lattice.min_store_confidence", "in [0, 1]")?;
        check(unit(lattice.min_similarity), "lattice.min_similarity", "in [0, 1]")?;
        check(self.context.top_k <= 20, "context.top_k", "at most 20")?;
        check(self.context.max_chars <= 100_000, "context.max_chars", "at most 100,000")?;
        let window = self.budget.window_seconds;
        check(window >= 1, "budget.window_seconds", "at least 1")?;
        self.trace.validate()
    }
}

impl Moral {
    fn validate(&self) -> Result<(), PolicyError> {
        let ordered = self.min_threshold <= self.initial_threshold
            && self.initial_threshold <= self.max_threshold;
        check(unit(self.min_threshold), "moral.min_threshold", "in [0, 1]")?;
        check(unit(self.max_threshold), "moral.max_threshold", "in [0, 1]")?;
        check(ordered, "moral.initial_threshold", "between min_threshold and max_threshold")?;
        check(unit(self.ema_alpha) && self.ema_alpha > 0.0, "moral.ema_alpha", "in (0, 1]")?;
        check(unit(self.dead_band), "moral.dead_band", "in [0, 1]")?;
        check(unit(self.step), "moral.step", "in [0, 1]")?;
        check(unit(self.target), "moral.target", "in [0, 1]")?;
        check(unit(self.share), "moral.share", "in [0, 1]")?;
        check(unit(self.no_text), "moral.no_text", "in [0, 1]")?;
        let scored = self.scorer != ScorerId::None || self.caller_score == CallerScore::Accept;
        check(scored, "moral.caller_score", "`accept` when moral.scorer is `none`")
    }
}

impl Trace {
    fn validate(&self) -> Result<(), PolicyError> {
        let [l1, l2, l3] = self.lambda;
        check(1.0 >= l1 && l1 > l2 && l2 > l3 && l3 > 0.0, "trace.lambda", "1 ≥ λ1 > λ2 > λ3 > 0")?;
        let positive = self.theta.iter().all(|t| t.is_finite() && *t > 0.0);
        check(positive, "trace.theta", "finite and above 0")?;
        check(self.gain.iter().all(|g| unit32(*g)), "trace.gain", "in [0, 1]")
    }
}

/// True if `x` is in [0, 1]; false for NaN.
fn unit(x: f64) -> bool {
    (0.0..=1.0).contains(&x)
}

fn unit32(x: f32) -> bool {
    (0.0..=1.0).contains(&x)
}
