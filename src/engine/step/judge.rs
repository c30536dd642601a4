//! The scores of a request: which texts are judged, and the results of the scorer.

use std::borrow::Cow;

use sha2::{Digest as _, Sha256};

use super::{error::StepError, request::Step};
use crate::{
    domain::{
        command::Judged,
        event::ScorerResult,
        ids::SubjectRef,
        policy::{JudgedScope, Moral},
    },
    score,
    store::subject::Subject,
};

/// Separates the HMACs of judged texts from those of prompts, under one key.
const JUDGED_LABEL: &str = "judged";

/// Bytes from which a text is scored on a thread of its own, so that it delays no other request.
const OFFLOAD_BYTES: usize = 64 * 1024;

/// The inputs of a verdict.
pub(super) struct Scores {
    pub(super) scored: Vec<ScorerResult>,
    /// `None` if the prompt was judged.
    pub(super) judged: Option<Judged>,
}

/// Scores the texts of the policy's scope.
pub(super) async fn judge(
    step: Step<'_>,
    subject: &Subject,
    moral: &Moral,
) -> Result<Scores, StepError> {
    let texts = step.request.judged(moral.scope);
    let chars: usize = texts.iter().map(|text| text.chars().count()).sum();
    let limit = step.engine.settings.judged_chars;
    if chars > limit {
        return Err(StepError::TooMuchText { chars, limit });
    }
    let digest = digest(&texts);
    let is_prompt =
        texts.first().is_none_or(|text| **text == *step.request.prompt) && texts.len() < 2;
    let is_plain = moral.scope == JudgedScope::LastMessage && is_prompt;
    let judged = (!is_plain).then(|| Judged {
        scope: moral.scope,
        chars: chars as u64,
        hmac: hex::encode(subject.key.hmac(JUDGED_LABEL, &digest)),
    });
    let scored = if texts.is_empty() {
        score::no_text(moral.scorer, moral.no_text)
    } else {
        scored(step, subject.subject_ref, moral, (texts, digest)).await?
    };
    Ok(Scores { scored: scored.into_iter().collect(), judged })
}

/// The result of the scorer, now or earlier.
async fn scored(
    step: Step<'_>,
    subject: SubjectRef,
    moral: &Moral,
    (texts, digest): (Vec<Cow<'_, str>>, [u8; 32]),
) -> Result<Option<ScorerResult>, StepError> {
    let (scorer, scope) = (moral.scorer, moral.scope);
    let mut key = Sha256::new();
    key.update(subject.get().to_be_bytes());
    key.update(format!("{scorer:?} {} {scope:?}", score::lexicon::VERSION));
    key.update(digest);
    let key: [u8; 32] = key.finalize().into();
    let recent = &step.engine.caches.scores;
    if let Some(result) = recent.get(&key) {
        return Ok(result);
    }
    let result = if texts.iter().map(|text| text.len()).sum::<usize>() < OFFLOAD_BYTES {
        score::judge(scorer, scope, &texts)
    } else {
        let texts: Vec<Cow<'static, str>> =
            texts.into_iter().map(|text| Cow::Owned(text.into_owned())).collect();
        let scoring = tokio::task::spawn_blocking(move || score::judge(scorer, scope, &texts));
        scoring.await.map_err(|_| StepError::defect("the scorer panicked"))?
    };
    recent.put(key, result.clone());
    Ok(result)
}

/// SHA-256 of the texts, each preceded by its length.
fn digest(texts: &[Cow<'_, str>]) -> [u8; 32] {
    let mut digest = Sha256::new();
    for text in texts {
        digest.update((text.len() as u64).to_be_bytes());
        digest.update(text.as_bytes());
    }
    digest.finalize().into()
}
