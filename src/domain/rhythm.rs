//! The wake/sleep rhythm: a phase and a counter of steps.
//!
//! Each admitted step, and each step rejected because of sleep, decrements the counter; at 0 the
//! phase flips and the counter is reloaded with the duration of the new phase. The transition from
//! wake to sleep consolidates the memory.

use serde::{Deserialize, Serialize};

use super::policy;

/// The phase of an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Answers have up to `max_wake_tokens`.
    Wake,
    /// Answers are limited to `max_sleep_tokens` or refused, by the policy's `sleep_mode`.
    Sleep,
}

impl Phase {
    /// The name used in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Wake => "wake",
            Self::Sleep => "sleep",
        }
    }
}

/// The state of the rhythm: the current phase and the steps that are left in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RhythmState {
    /// The phase of the next step.
    pub phase: Phase,
    /// Steps until the phase ends, ≥ 1.
    pub counter: u32,
}

/// The effect of one tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transition {
    /// The rhythm after the tick.
    pub tick: RhythmState,
    /// True if this tick consolidates the memory.
    pub consolidates: bool,
}

/// The rhythm of a new engine.
pub const fn start(policy: &policy::Rhythm) -> RhythmState {
    RhythmState { phase: Phase::Wake, counter: policy.wake_duration }
}

/// One tick: decrements the counter; at 0 the phase flips and the counter is reloaded.
///
/// With `sleep_duration` 0 the phase stays wake, and the memory is consolidated at 0 nevertheless.
pub const fn tick(now: RhythmState, policy: &policy::Rhythm) -> Transition {
    let counter = now.counter.saturating_sub(1);
    if counter > 0 {
        return Transition { tick: RhythmState { phase: now.phase, counter }, consolidates: false };
    }
    match now.phase {
        Phase::Wake if policy.sleep_duration > 0 => Transition {
            tick: RhythmState { phase: Phase::Sleep, counter: policy.sleep_duration },
            consolidates: true,
        },
        Phase::Wake => Transition { tick: start(policy), consolidates: true },
        Phase::Sleep => Transition { tick: start(policy), consolidates: false },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rhythm_follows_the_golden_trajectories() {
        let golden: serde_json::Value =
            serde_json::from_str(include_str!("../../tests/golden/rhythm.json")).unwrap();
        for case in golden["cases"].as_array().unwrap() {
            let policy = policy::Rhythm {
                wake_duration: case["wake"].as_u64().unwrap() as u32,
                sleep_duration: case["sleep"].as_u64().unwrap() as u32,
                ..policy::Rhythm::default()
            };
            let mut now = start(&policy);
            for row in case["rows"].as_array().unwrap() {
                assert_eq!(now.phase.as_str(), row[0].as_str().unwrap());
                assert_eq!(u64::from(now.counter), row[1].as_u64().unwrap());
                now = tick(now, &policy).tick;
            }
        }
    }

    #[test]
    fn an_engine_without_sleep_still_consolidates() {
        let policy =
            policy::Rhythm { wake_duration: 2, sleep_duration: 0, ..policy::Rhythm::default() };
        let first = tick(start(&policy), &policy);
        let second = tick(first.tick, &policy);
        assert!(!first.consolidates && second.consolidates);
        assert_eq!(second.tick, start(&policy));
    }
}
