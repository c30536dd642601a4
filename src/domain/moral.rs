//! The moral filter: it accepts or rejects a request by comparing its moral score with a moving
//! threshold.
//!
//! A score `v` is in [0, 1]; 1 is harmless. A request is accepted iff `v ≥ T`, where `T` is the
//! threshold of its data subject before the request. The policy gives `T₀` (`initial_threshold`),
//! `T_max` (`max_threshold`) and `α` (`ema_alpha`). `E` is an exponential moving average, updated
//! with each verdict by `E ← α·x + (1−α)·E`. The policy's `adaptation` defines `x` and `T`:
//!
//! - `vigilant`: `x` is 1 if `v < T₀`, else 0, so `E` estimates the rate of harmful requests. There
//!   is one average for the engine, `E`, and one for each data subject, `E_s`;
//!   `T = min(T_max, T₀ + (T_max − T₀) · max(E_s, share · E))`.
//! - `homeostatic`: `x` is 1 if the request was accepted, else 0, so `E` estimates the acceptance
//!   rate. If `E − target > dead_band`, `T` rises by `step`, up to `max_threshold`; if
//!   `E − target < −dead_band`, it falls by `step`, down to `min_threshold`. All data subjects share
//!   one threshold.
//! - `fixed`: `T = T₀`.
//!
//! [`MoralFilter::judge`] computes a verdict and the new values; [`MoralFilter::apply`] assigns the
//! values that the event recorded, so a replay repeats no arithmetic. All arithmetic is `f64` in a
//! fixed order.

use rpds::{RedBlackTreeMapSync, RedBlackTreeSetSync};

use super::{
    event::{MoralVerdict, ScorerResult, VerdictSource},
    ids::{Position, SubjectRef},
    policy::{Adaptation, CallerScore, Moral},
};

/// The maximum number of data subjects with a moving average of their own; one more evicts the
/// subject with the smallest average.
pub const SUBJECTS_MAX: usize = 10_000;

/// A subject's average below this value is not stored.
const SUBJECT_EMA_MIN: f64 = 1e-9;

/// The average rate of harmful requests approaches 1 asymptotically; from this value on the filter
/// counts as saturated.
const EMA_SATURATED: f64 = 0.95;

/// The threshold of `vigilant`: `min(T_max, T₀ + (T_max − T₀) · alarm)`, with `alarm` in [0, 1].
fn vigilant_threshold(policy: &Moral, alarm: f64) -> f64 {
    let room = policy.max_threshold - policy.initial_threshold;
    policy.max_threshold.min(policy.initial_threshold + room * alarm)
}

/// The reason why a request has no usable score.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScoreError {
    /// Neither the caller nor a scorer gave a score.
    #[error("moral_value is required: this engine's policy runs no scorer")]
    Missing,
    /// NaN, infinite or outside the range.
    #[error("moral_value must be a number between 0 and 1")]
    OutOfRange,
}

/// The moving average of one data subject.
#[derive(Clone, Copy, Debug, PartialEq)]
struct SubjectAverage {
    ema: f64,
    verdict_at: Position,
}

/// The state of the filter. Clones share structure.
#[derive(Clone, Debug)]
pub struct MoralFilter {
    threshold: f64,
    ema: f64,
    subjects: RedBlackTreeMapSync<SubjectRef, SubjectAverage>,
    /// The order of eviction: smallest average first, then oldest verdict. Averages are positive,
    /// so their bits sort like their values.
    order: RedBlackTreeSetSync<(u64, Position, SubjectRef)>,
}

/// The scores of a request that is to be judged.
#[derive(Clone, Copy, Debug)]
pub struct ScoredRequest<'a> {
    /// The data subject of the request.
    pub subject: SubjectRef,
    /// The score given by the caller, in [0, 1].
    pub caller: Option<f64>,
    /// False if the caller may not state its own score, which then can only lower that of the scorers.
    pub asserted: Option<bool>,
    /// The results of the engine's scorers; the lowest counts.
    pub scored: &'a [ScorerResult],
}

impl MoralFilter {
    /// The filter of a new engine.
    pub fn start(policy: &Moral) -> Self {
        Self {
            threshold: policy.initial_threshold,
            ema: initial_average(policy.adaptation),
            subjects: RedBlackTreeMapSync::new_sync(),
            order: RedBlackTreeSetSync::new_sync(),
        }
    }

    /// The engine's moving average `E`: the acceptance rate (`homeostatic`) or the rate of harmful
    /// requests (`vigilant`).
    pub const fn ema(&self) -> f64 {
        self.ema
    }

    /// The moving average of a data subject; 0 if none is stored.
    pub fn subject_ema(&self, subject: SubjectRef) -> f64 {
        self.subjects.get(&subject).map_or(0.0, |kept| kept.ema)
    }

    /// The stored averages: `(subject, average, position of the last verdict)`.
    pub fn subjects(&self) -> impl Iterator<Item = (SubjectRef, f64, Position)> + '_ {
        self.subjects.iter().map(|(subject, kept)| (*subject, kept.ema, kept.verdict_at))
    }

    /// The number of data subjects with a stored average.
    pub fn subject_count(&self) -> usize {
        self.subjects.size()
    }

    /// The threshold of a data subject; with `None`, that of a data subject without a history.
    pub fn threshold(&self, policy: &Moral, subject: Option<SubjectRef>) -> f64 {
        let own = subject.map_or(0.0, |s| self.subject_ema(s));
        self.threshold_at(policy, own, self.ema)
    }

    fn threshold_at(&self, policy: &Moral, own: f64, ema: f64) -> f64 {
        match policy.adaptation {
            Adaptation::Homeostatic => self.threshold,
            Adaptation::Fixed => policy.initial_threshold,
            Adaptation::Vigilant => {
                let shared = policy.share * ema;
                vigilant_threshold(policy, if own > shared { own } else { shared })
            }
        }
    }

    /// The range `[lowest, highest]` of the threshold of a data subject without a history.
    pub fn bounds(policy: &Moral) -> [f64; 2] {
        let initial = policy.initial_threshold;
        match policy.adaptation {
            Adaptation::Fixed => [initial, initial],
            // an initial threshold outside of the bounds is part of the range
            Adaptation::Homeostatic => {
                [policy.min_threshold.min(initial), policy.max_threshold.max(initial)]
            }
            Adaptation::Vigilant => [initial, vigilant_threshold(policy, policy.share)],
        }
    }

    /// True if the threshold cannot move further in the direction in which verdicts push it.
    /// `vigilant` at its floor is not saturated: it rests there while no harmful request arrives.
    pub fn is_saturated(&self, policy: &Moral) -> bool {
        match policy.adaptation {
            Adaptation::Fixed => false,
            Adaptation::Homeostatic => {
                self.threshold <= policy.min_threshold || self.threshold >= policy.max_threshold
            }
            Adaptation::Vigilant => self.ema >= EMA_SATURATED,
        }
    }

    /// Judges a request: accepted iff `value ≥ threshold_before`. The verdict also holds the values
    /// of the filter after it. The caller adds the results of the scorers, whose form depends on the
    /// log's format.
    pub fn judge(
        &self,
        policy: &Moral,
        request: &ScoredRequest<'_>,
    ) -> Result<MoralVerdict, ScoreError> {
        let (value, source) = combine(policy.caller_score, request)?;
        let before = self.threshold(policy, Some(request.subject));
        let subject_ema = self.subject_ema(request.subject);
        let mut verdict = MoralVerdict {
            caller: request.caller,
            scorer: None,
            scorers: Vec::new(),
            unavailable: Vec::new(),
            asserted: None,
            scope: None,
            judged_chars: None,
            judged_hmac: None,
            value,
            source,
            threshold_before: before,
            threshold_after: before,
            ema_before: self.ema,
            ema_after: self.ema,
            subject_ema_before: subject_ema,
            subject_ema_after: subject_ema,
            forgot: None,
        };
        match policy.adaptation {
            Adaptation::Fixed => {}
            Adaptation::Homeostatic => self.homeostatic(policy, &mut verdict),
            Adaptation::Vigilant => self.vigilant(policy, request.subject, &mut verdict),
        }
        Ok(verdict)
    }

    fn homeostatic(&self, policy: &Moral, verdict: &mut MoralVerdict) {
        let accepted = if verdict.accepted() { 1.0 } else { 0.0 };
        verdict.ema_after = next_average(policy.ema_alpha, accepted, self.ema);
        let error = verdict.ema_after - policy.target;
        verdict.threshold_after = if error > policy.dead_band {
            (self.threshold + policy.step).min(policy.max_threshold)
        } else if error < -policy.dead_band {
            (self.threshold - policy.step).max(policy.min_threshold)
        } else {
            self.threshold
        };
    }

    fn vigilant(&self, policy: &Moral, subject: SubjectRef, verdict: &mut MoralVerdict) {
        let harmful = if verdict.value < policy.initial_threshold { 1.0 } else { 0.0 };
        verdict.ema_after = next_average(policy.ema_alpha, harmful, self.ema);
        let own = next_average(policy.ema_alpha, harmful, verdict.subject_ema_before);
        verdict.subject_ema_after = if own < SUBJECT_EMA_MIN { 0.0 } else { own };
        let is_new = !self.subjects.contains_key(&subject) && verdict.subject_ema_after > 0.0;
        if is_new && self.subjects.size() >= SUBJECTS_MAX {
            verdict.forgot = self.order.first().map(|(_, _, forgotten)| *forgotten);
        }
        verdict.threshold_after =
            self.threshold_at(policy, verdict.subject_ema_after, verdict.ema_after);
    }

    /// Assigns the values that a recorded verdict holds.
    pub fn apply(
        &mut self,
        adaptation: Adaptation,
        subject: SubjectRef,
        verdict: &MoralVerdict,
        position: Position,
    ) {
        self.ema = verdict.ema_after;
        match adaptation {
            Adaptation::Fixed => {}
            Adaptation::Homeostatic => self.threshold = verdict.threshold_after,
            Adaptation::Vigilant => {
                if let Some(forgotten) = verdict.forgot {
                    self.forget(forgotten);
                }
                self.forget(subject);
                if verdict.subject_ema_after > 0.0 {
                    let kept =
                        SubjectAverage { ema: verdict.subject_ema_after, verdict_at: position };
                    self.order.insert_mut((kept.ema.to_bits(), position, subject));
                    self.subjects.insert_mut(subject, kept);
                }
            }
        }
    }

    /// Removes the average of a data subject.
    pub fn forget(&mut self, subject: SubjectRef) {
        if let Some(kept) = self.subjects.get(&subject).copied() {
            self.order.remove_mut(&(kept.ema.to_bits(), kept.verdict_at, subject));
            self.subjects.remove_mut(&subject);
        }
    }

    /// Applies a change of policy: a different adaptation restarts the filter; otherwise the
    /// threshold is clamped to the new bounds.
    pub fn policy_changed(&mut self, before: &Moral, after: &Moral) {
        if before.adaptation == after.adaptation {
            self.threshold = self.threshold.clamp(after.min_threshold, after.max_threshold);
        } else {
            *self = Self::start(after);
        }
    }
}

impl MoralVerdict {
    /// True if the request was accepted.
    pub fn accepted(&self) -> bool {
        self.value >= self.threshold_before
    }
}

/// The initial average: `homeostatic` starts at an acceptance rate of one half, `vigilant` at no
/// harmful requests.
const fn initial_average(adaptation: Adaptation) -> f64 {
    match adaptation {
        Adaptation::Homeostatic => 0.5,
        Adaptation::Vigilant | Adaptation::Fixed => 0.0,
    }
}

/// The exponential moving average: `α·x + (1−α)·E`.
fn next_average(alpha: f64, x: f64, ema: f64) -> f64 {
    alpha * x + (1.0 - alpha) * ema
}

fn combine(
    rule: CallerScore,
    request: &ScoredRequest<'_>,
) -> Result<(f64, VerdictSource), ScoreError> {
    let in_range = |v: f64| (0.0..=1.0).contains(&v);
    if request.caller.is_some_and(|v| !in_range(v)) {
        return Err(ScoreError::OutOfRange);
    }
    if request.scored.iter().any(|result| !in_range(result.value)) {
        return Err(ScoreError::OutOfRange);
    }
    let scorer = lowest(request.scored).map(|result| result.value);
    let is_asserted = request.asserted != Some(false);
    let counts = rule != CallerScore::Ignore && (is_asserted || scorer.is_some());
    let lowers = rule == CallerScore::Min || !is_asserted;
    match (request.caller.filter(|_| counts), scorer) {
        (Some(own), Some(other)) if lowers && other < own => Ok((other, VerdictSource::Scorer)),
        (Some(own), _) => Ok((own, VerdictSource::Caller)),
        (None, Some(other)) => Ok((other, VerdictSource::Scorer)),
        (None, None) => Err(ScoreError::Missing),
    }
}

/// The lowest result of several scorers, the first one of equal results.
pub fn lowest(scored: &[ScorerResult]) -> Option<&ScorerResult> {
    scored.iter().min_by(|a, b| a.value.total_cmp(&b.value))
}

#[cfg(test)]
mod tests;
