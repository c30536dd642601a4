//! The embedder of a configuration.

use super::StartError;
use crate::{
    config::{Config, EmbeddingsProvider},
    embed::{self, Embedder, OpenaiSettings},
};

/// The embedder of a configuration. Does not contact an embedding server.
pub fn embedder(config: &Config) -> Result<Embedder, embed::OpenError> {
    let (embeddings, dimension) = (&config.embeddings, config.mlsdm.policy.dimension);
    let embedder = match embeddings.provider {
        EmbeddingsProvider::Hashing => Embedder::hashing(dimension),
        EmbeddingsProvider::Minilm => Embedder::minilm(&embeddings.path)?,
        EmbeddingsProvider::Openai => Embedder::openai(&OpenaiSettings {
            base_url: embeddings.base_url.clone(),
            model: embeddings.model.clone(),
            api_key: embeddings.api_key().cloned(),
            dimension,
            timeout: embeddings.timeout(),
        })?,
    };
    Ok(embedder.cached(embeddings.cache_bytes()))
}

/// Embeds one text, so that a wrong dimension or API key stops the start and not the first request.
/// An embedding server that is temporarily unavailable does not prevent the start.
pub(super) async fn check(embedder: &Embedder) -> Result<(), StartError> {
    match embedder.probe().await {
        Ok(()) => Ok(()),
        Err(error) if error.is_transient() => {
            tracing::warn!(
                event_type = "embedder.unavailable",
                embedder = embedder.id(),
                "the embedder is unavailable, requests that need it will fail: {error}"
            );
            Ok(())
        }
        Err(error) => Err(embed::OpenError::Probe(error).into()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::embed::{EmbedError, OpenError};

    fn failing(error: EmbedError) -> Embedder {
        let function: embed::Function = Arc::new(move |_| {
            let error = error.clone();
            Box::pin(async move { Err(error) })
        });
        Embedder::function("own", 1, 2, function)
    }

    #[tokio::test]
    async fn an_unavailable_embedder_is_tolerated_at_start_and_a_wrong_one_is_not() {
        check(&Embedder::default()).await.unwrap();
        check(&failing(EmbedError::Unreachable)).await.unwrap();
        let wrong = EmbedError::Dimension { expected: 2, actual: 3 };
        for error in [wrong, EmbedError::NotFinite, EmbedError::Unauthorized { status: 401 }] {
            let refused = check(&failing(error.clone())).await.unwrap_err();
            let StartError::Embedder(OpenError::Probe(found)) = refused else {
                panic!("{refused}")
            };
            assert_eq!(found, error);
        }
    }
}
