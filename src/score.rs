//! Moral scorers: they map a prompt to a value in [0, 1] and its components.
//!
//! The name and version of the scorer are recorded with every verdict, so that a verdict can be
//! explained later. The consequence of a value is decided by the moral filter.

pub mod lexicon;

use crate::domain::{event::ScorerResult, policy::ScorerId};

/// Scores a prompt with the policy's scorer; `None` if the policy has no scorer.
pub fn score(scorer: ScorerId, prompt: &str) -> Option<ScorerResult> {
    match scorer {
        ScorerId::None => None,
        ScorerId::Lexicon => {
            let score = lexicon::score(prompt);
            let parts = [("harmful_words", score.harmful), ("kind_words", score.kind)];
            Some(ScorerResult {
                id: lexicon::ID.to_owned(),
                version: lexicon::VERSION,
                value: score.value,
                parts: parts.map(|(name, n)| (name.to_owned(), f64::from(n))).into(),
            })
        }
    }
}
