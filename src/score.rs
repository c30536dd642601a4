//! Moral scorers: from a prompt to a value in [0, 1], with its reasons.
//!
//! A scorer has a name and a version, both recorded with every verdict, so that a verdict can be
//! explained years later. What a value leads to is not decided here but by the moral filter.

pub mod lexicon;

use crate::domain::{event::ScorerResult, policy::ScorerId};

/// Scores a prompt by the policy's scorer; nothing comes of `none`.
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
