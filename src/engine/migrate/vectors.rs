//! The vectors of a page of texts. Retries while the embedder is unavailable, and leaves out texts
//! that it rejects.

use std::time::Duration;

use tokio::time::sleep;

use crate::{
    domain::vector::UnitVector,
    embed::{EmbedError, Embedder},
};

/// Maximum number of attempts to embed the same texts.
const ATTEMPTS: u32 = 5;

/// Pause before the second attempt. It doubles with each further attempt.
const PAUSE: Duration = Duration::from_secs(1);

/// The vectors of texts, in their order; `None` for a text that the embedder rejects.
pub(super) async fn vectors(
    embedder: &Embedder,
    texts: &[&str],
) -> Result<Vec<Option<UnitVector>>, EmbedError> {
    match embed_with_retries(embedder, texts).await {
        Ok(vectors) => return Ok(vectors.into_iter().map(Some).collect()),
        Err(error) if error.is_caused_by_text() => {}
        Err(error) => return Err(error),
    }
    // the error does not name the rejected text
    let mut vectors = Vec::with_capacity(texts.len());
    for text in texts {
        vectors.push(match embed_with_retries(embedder, &[text]).await {
            Ok(vectors) => vectors.into_iter().next(),
            Err(error) if error.is_caused_by_text() => None,
            Err(error) => return Err(error),
        });
    }
    Ok(vectors)
}

async fn embed_with_retries(
    embedder: &Embedder,
    texts: &[&str],
) -> Result<Vec<UnitVector>, EmbedError> {
    let mut pause = PAUSE;
    for _ in 1..ATTEMPTS {
        match embedder.embed_all(texts).await {
            Err(EmbedError::BreakerOpen { retry_after }) => sleep(retry_after).await,
            Err(error) if error.is_transient() => sleep(pause).await,
            settled => return settled,
        }
        pause *= 2;
    }
    embedder.embed_all(texts).await
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    };

    use tokio::time::Instant;

    use super::*;

    /// Fails with an error in the first `times` calls, and always for the text "bad".
    fn embedder(error: EmbedError, times: u32) -> Embedder {
        let calls = Arc::new(AtomicU32::new(0));
        let function: crate::embed::Function = Arc::new(move |text| {
            let fails = text == "bad" || calls.fetch_add(1, Ordering::Relaxed) < times;
            let result = if fails { Err(error.clone()) } else { Ok(vec![1.0, 0.0]) };
            Box::pin(async move { result })
        });
        Embedder::function("own", 1, 2, function)
    }

    #[tokio::test(start_paused = true)]
    async fn an_unavailable_embedder_is_retried_a_limited_number_of_times() {
        let began = Instant::now();
        let found = vectors(&embedder(EmbedError::Overloaded, 2), &["a", "b"]).await.unwrap();
        assert!(found.iter().all(Option::is_some) && found.len() == 2);
        assert_eq!(began.elapsed(), 3 * PAUSE);
        let lost = vectors(&embedder(EmbedError::Overloaded, u32::MAX), &["a"]).await;
        assert_eq!(lost, Err(EmbedError::Overloaded));
        let open = EmbedError::BreakerOpen { retry_after: Duration::from_secs(30) };
        let began = Instant::now();
        vectors(&embedder(open, 1), &["a"]).await.unwrap();
        assert_eq!(began.elapsed(), Duration::from_secs(30));
    }

    #[tokio::test(start_paused = true)]
    async fn only_rejected_texts_are_left_out() {
        for error in [EmbedError::Refused { status: 400 }, EmbedError::NoDirection] {
            let found = vectors(&embedder(error, 0), &["a", "bad", "c"]).await.unwrap();
            let there: Vec<bool> = found.iter().map(Option::is_some).collect();
            assert_eq!(there, [true, false, true]);
        }
        for error in [EmbedError::Broken, EmbedError::Refused { status: 404 }] {
            let lost = vectors(&embedder(error.clone(), 0), &["a", "bad", "c"]).await;
            assert_eq!(lost, Err(error));
        }
    }
}
