//! Moral scorers: they map a text to a value in [0, 1] and its components.
//!
//! The name and version of the scorer are recorded with every verdict, so that a verdict can be
//! explained later. The consequence of a value is decided by the moral filter.

mod cache;
pub mod lexicon;
mod windows;

use std::borrow::Cow;

pub use cache::ScoreCache;

use crate::domain::{
    event::ScorerResult,
    moral::lowest,
    policy::{JudgedScope, ScorerId},
};

/// The name of the result for a request without text.
const NO_TEXT: &str = "no_text";

/// Scores a text as a whole with the policy's scorer; `None` if the policy has no scorer.
pub fn score(scorer: ScorerId, text: &str) -> Option<ScorerResult> {
    match scorer {
        ScorerId::None => None,
        ScorerId::Lexicon => {
            let score = lexicon::score(text);
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

/// Scores the judged texts of a request: the result of the worst part. Long texts are scored in
/// windows, so that kind words far away do not outweigh harmful ones. The texts of a turn are also
/// scored together, because harmful words may be spread over them. A last message is one part, as it
/// was before other scopes existed.
pub fn judge(scorer: ScorerId, scope: JudgedScope, texts: &[Cow<'_, str>]) -> Option<ScorerResult> {
    let joined = (scope == JudgedScope::Turn && texts.len() > 1).then(|| texts.join("\n\n"));
    let all = texts.iter().map(AsRef::as_ref).chain(joined.as_deref());
    let results: Vec<ScorerResult> = match scope {
        JudgedScope::LastMessage => all.filter_map(|text| score(scorer, text)).collect(),
        JudgedScope::Turn | JudgedScope::Request => {
            all.flat_map(windows::windows).filter_map(|window| score(scorer, window)).collect()
        }
    };
    lowest(&results).cloned()
}

/// The result for a request without text; `None` if the policy has no scorer.
pub fn no_text(scorer: ScorerId, value: f64) -> Option<ScorerResult> {
    let result = ScorerResult { id: NO_TEXT.to_owned(), version: 1, value, parts: [].into() };
    match scorer {
        ScorerId::None => None,
        ScorerId::Lexicon => Some(result),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(scope: JudgedScope, texts: &[&str]) -> f64 {
        let texts: Vec<_> = texts.iter().map(|text| Cow::Borrowed(*text)).collect();
        judge(ScorerId::Lexicon, scope, &texts).unwrap().value
    }

    #[test]
    fn a_harmless_message_does_not_hide_a_harmful_one() {
        let texts = ["Attack, kill and destroy", "Please do that"];
        assert!(value(JudgedScope::Turn, &texts) < 0.4);
        assert!(value(JudgedScope::Request, &texts) < 0.4);
    }

    #[test]
    fn harmful_words_spread_over_the_messages_of_a_turn_count_together() {
        let texts = ["attack", "kill", "destroy"];
        assert!(value(JudgedScope::Turn, &texts) < 0.4);
        assert!(value(JudgedScope::Request, &texts) > 0.6, "an old tool result is no such message");
    }

    #[test]
    fn kind_words_far_away_do_not_outweigh_harmful_ones() {
        let text = format!("attack kill destroy {} {}", "x ".repeat(9_000), "love ".repeat(50));
        assert!(value(JudgedScope::Turn, &[&text]) < 0.4);
        assert!(value(JudgedScope::LastMessage, &[&text]) > 0.9, "the value of older policies");
    }

    #[test]
    fn without_a_scorer_there_is_no_result() {
        assert_eq!(judge(ScorerId::None, JudgedScope::Turn, &[Cow::Borrowed("x")]), None);
        assert_eq!(no_text(ScorerId::None, 0.8), None);
        assert_eq!(judge(ScorerId::Lexicon, JudgedScope::Turn, &[]), None);
    }
}
