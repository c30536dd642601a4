//! Embeddings from a server with the `OpenAI` API (`POST …/embeddings`).
//!
//! A call has a timeout and a bounded response, and is not retried: the step has a timeout of its
//! own, and a [circuit breaker](crate::breaker) protects a failing server. Each response is
//! checked: one vector per text, each at its `index`, with the right dimension and finite
//! components. The error text of a server is dropped, because it may quote the prompt.

use std::{fmt, time::Duration};

use reqwest::{
    Client, Response, StatusCode, Url,
    header::{AUTHORIZATION, HeaderValue},
    redirect,
};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use super::{EmbedError, OpenError, gate::Gate};
use crate::{
    breaker::{self, Breaker},
    domain::vector::UnitVector,
    trust,
};

/// The maximum number of texts per request.
const BATCH_TEXTS: usize = 64;

/// The maximum size of the texts of a request in bytes; a longer text is sent alone.
const BATCH_BYTES: usize = 256 * 1024;

/// The maximum number of concurrent requests.
const RUNNING_MAX: usize = 32;

/// The maximum number of waiting calls.
const WAITING_MAX: usize = 1024;

/// The maximum size of a response: this number of bytes, plus [`COMPONENT_BYTES`] per component.
const RESPONSE_BYTES: usize = 64 * 1024;
const COMPONENT_BYTES: usize = 32;

/// A non-standard status for overload, in addition to 429 and 503.
const OVERLOADED: u16 = 529;

/// The settings of an embedding server.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The address before `/embeddings`, such as `https://api.openai.com/v1`.
    pub base_url: String,
    /// The name of the model.
    pub model: String,
    /// The API key, if the server requires one.
    pub api_key: Option<SecretString>,
    /// The dimension of the model's vectors.
    pub dimension: usize,
    /// The timeout of a call, excluding the time in the queue.
    pub timeout: Duration,
}

#[derive(Clone)]
pub(super) struct Openai {
    client: Client,
    url: Url,
    model: String,
    authorization: Option<HeaderValue>,
    dimension: usize,
    timeout: Duration,
    gate: Gate,
    breaker: Breaker,
}

impl fmt::Debug for Openai {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Openai({})", self.model)
    }
}

#[derive(Serialize)]
struct EmbeddingsRequest<'a> {
    model: &'a str,
    input: &'a [String],
}

#[derive(Deserialize)]
struct EmbeddingsResponse {
    data: Vec<EmbeddingRow>,
}

#[derive(Deserialize)]
struct EmbeddingRow {
    index: usize,
    /// 64 bits, to distinguish a number too large for 32 bits from one that is not finite
    embedding: Vec<f64>,
}

impl Openai {
    pub(super) fn new(settings: &Settings) -> Result<Self, OpenError> {
        let setting = |key, problem| OpenError::Setting { key, problem };
        let url = format!("{}/embeddings", settings.base_url.trim_end_matches('/'));
        let url = Url::parse(&url).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        let no_url = "must be a URL such as https://api.openai.com/v1";
        let url = url.ok_or_else(|| setting("embeddings.base_url", no_url))?;
        let bearer = |key: &SecretString| {
            let mut value = HeaderValue::try_from(format!("Bearer {}", key.expose_secret()))?;
            value.set_sensitive(true);
            Ok(value)
        };
        let authorization = settings.api_key.as_ref().map(bearer).transpose();
        let authorization = authorization.map_err(|_: reqwest::header::InvalidHeaderValue| {
            setting("embeddings.api_key", "has characters that a header cannot hold")
        })?;
        // no redirects: the key and the texts are for the configured server only
        let client = trust::client().redirect(redirect::Policy::none());
        let client = client.build().map_err(|error| OpenError::Client(error.to_string()))?;
        Ok(Self {
            client,
            url,
            model: settings.model.clone(),
            authorization,
            dimension: settings.dimension,
            timeout: settings.timeout,
            gate: Gate::new(RUNNING_MAX, WAITING_MAX),
            breaker: Breaker::new(
                "embedder",
                "openai",
                &settings.model,
                breaker::Settings::default(),
            ),
        })
    }

    pub(super) fn breaker(&self) -> breaker::State {
        self.breaker.state()
    }

    pub(super) fn check(&self) -> Result<(), EmbedError> {
        self.breaker.check().map_err(|retry_after| EmbedError::BreakerOpen { retry_after })
    }

    pub(super) async fn call(&self, texts: &[String]) -> Result<Vec<UnitVector>, EmbedError> {
        let mut vectors = Vec::with_capacity(texts.len());
        for batch in batches(texts) {
            vectors.extend(self.batch(batch).await?);
        }
        Ok(vectors)
    }

    async fn batch(&self, texts: &[String]) -> Result<Vec<UnitVector>, EmbedError> {
        let _running = self.gate.enter().await?;
        let permit = self.breaker.admit();
        let permit = permit.map_err(|retry_after| EmbedError::BreakerOpen { retry_after })?;
        let response =
            timeout(self.timeout, self.ask(texts)).await.unwrap_or(Err(EmbedError::Timeout));
        match &response {
            Err(error) if error.is_server_failure() => permit.failed(),
            Ok(_) | Err(_) => permit.succeeded(),
        }
        response
    }

    async fn ask(&self, texts: &[String]) -> Result<Vec<UnitVector>, EmbedError> {
        let mut request = self.client.post(self.url.clone());
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        let request = request.json(&EmbeddingsRequest { model: &self.model, input: texts });
        let response = request.send().await.map_err(|_| EmbedError::Unreachable)?;
        let status = response.status();
        if !status.is_success() {
            return Err(refused(status));
        }
        let limit = RESPONSE_BYTES + texts.len() * self.dimension * COMPONENT_BYTES;
        let body = read(response, limit).await?;
        let parsed: EmbeddingsResponse = serde_json::from_slice(&body)
            .map_err(|_| EmbedError::Malformed { what: "not a list of embeddings" })?;
        self.checked(parsed, texts.len())
    }

    /// Checks a response and returns the vectors in the order of the texts.
    fn checked(
        &self,
        response: EmbeddingsResponse,
        texts: usize,
    ) -> Result<Vec<UnitVector>, EmbedError> {
        if response.data.len() != texts {
            return Err(EmbedError::Malformed { what: "wrong number of vectors" });
        }
        let mut vectors = vec![None; texts];
        for row in response.data {
            let numbers: Vec<f32> = row.embedding.into_iter().map(|number| number as f32).collect();
            let vector = UnitVector::normalise(&numbers, self.dimension)?;
            match vectors.get_mut(row.index) {
                Some(place) if place.is_none() => *place = Some(vector),
                Some(_) | None => {
                    return Err(EmbedError::Malformed {
                        what: "the indexes do not match the texts",
                    });
                }
            }
        }
        // as many rows as texts, and no index twice: all are set
        Ok(vectors.into_iter().flatten().collect())
    }
}

/// Splits the texts into batches that fit into a request.
fn batches(mut texts: &[String]) -> impl Iterator<Item = &[String]> {
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = |text: &&String| {
            bytes += text.len();
            bytes <= BATCH_BYTES
        };
        let count = texts.iter().take(BATCH_TEXTS).take_while(fits).count();
        let (batch, rest) = texts.split_at(count.max(1).min(texts.len()));
        texts = rest;
        (!batch.is_empty()).then_some(batch)
    })
}

fn refused(status: StatusCode) -> EmbedError {
    let code = status.as_u16();
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            EmbedError::Unauthorized { status: code }
        }
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => EmbedError::Overloaded,
        _ if code == OVERLOADED => EmbedError::Overloaded,
        _ if status.is_server_error() => EmbedError::Upstream { status: code },
        _ => EmbedError::Refused { status: code },
    }
}

async fn read(mut response: Response, limit: usize) -> Result<Vec<u8>, EmbedError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|_| EmbedError::Unreachable)? {
        if body.len() + chunk.len() > limit {
            return Err(EmbedError::Malformed { what: "too long" });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

#[cfg(test)]
mod tests;
