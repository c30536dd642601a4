//! POST /v1/embeddings
//!
//! The vectors an engine remembers by, in the dialect of `OpenAI`. No step: nothing is recorded.

use actix_web::{
    HttpRequest,
    web::{Data, Json},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::{chat::completions::OpenAiError, moderations::texts};
use crate::{
    domain::{confidence::is_blank, vector::UnitVector},
    http::{
        AppState, Code, Problem,
        access::{Allowed, may},
        caller::Addressed,
    },
    llm::estimate_tokens,
};

/// Most texts of one request.
const INPUTS_MAX: usize = 256;

/// Texts to embed.
#[derive(Deserialize, ToSchema)]
pub struct EmbeddingRequest {
    /// A text, or a list of at most 256.
    #[schema(value_type = Object)]
    input: Value,
    /// `engine/model` names an engine; the embedder is the engine's.
    model: Option<String>,
    /// `float` or `base64` (little-endian 32-bit floats).
    #[serde(default)]
    encoding_format: Encoding,
    /// Only the engine's own dimension.
    dimensions: Option<usize>,
    /// Not used: nothing is remembered.
    #[serde(rename = "user")]
    _user: Option<String>,
}

#[derive(Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Encoding {
    #[default]
    Float,
    Base64,
}

/// The vectors, in the dialect of `OpenAI`.
#[derive(Debug, Serialize, ToSchema)]
pub struct EmbeddingList {
    object: &'static str,
    #[schema(value_type = Vec<Object>)]
    data: Vec<Value>,
    /// The embedder with its version.
    model: String,
    /// Estimates: an embedder counts no tokens.
    #[schema(value_type = Object)]
    usage: Value,
}

/// Embeds texts without running a step. Vectors have length 1.
#[utoipa::path(
    post,
    path = "/v1/embeddings",
    tag = "compatible",
    request_body = EmbeddingRequest,
    responses(
        (status = 200, description = "A vector for each text, in order", body = EmbeddingList),
        (status = 400, description = "Bad input (E1xx)", body = OpenAiError),
        (status = 404, description = "No such engine (E408)", body = OpenAiError),
        (status = 413, description = "The body is too large (E904)", body = OpenAiError),
        (status = 415, description = "Not application/json (E903)", body = OpenAiError),
        (status = 502, description = "The embedder failed (E604)", body = OpenAiError),
        (status = 503, description = "The log is unavailable or damaged (E4xx)", body = OpenAiError),
    )
)]
pub async fn post(
    allowed: Allowed<may::Generate>,
    state: Data<AppState>,
    request: HttpRequest,
    body: Json<EmbeddingRequest>,
) -> Result<Json<EmbeddingList>, Problem> {
    let body = body.into_inner();
    let texts = texts(&body.input, INPUTS_MAX)?;
    if texts.iter().any(|text| is_blank(text)) {
        return Err(Problem::new(Code::PromptBlank, "each text of input needs some text"));
    }
    let to = Addressed::by(&allowed, &state, &request, body.model.as_deref()).await?;
    let embedder = to.engine.embedder();
    if body.dimensions.is_some_and(|asked| asked != embedder.dimension()) {
        let detail = format!("dimensions can only be {}, the engine's own", embedder.dimension());
        return Err(Problem::new(Code::BadField, detail));
    }
    let vectors = embedder.embed_all(&texts).await?;
    let data = vectors.iter().enumerate().map(|(index, vector)| {
        json!({
            "object": "embedding", "index": index, "embedding": written(vector, body.encoding_format),
        })
    });
    let tokens: u64 = texts.iter().map(|text| estimate_tokens(text)).sum();
    Ok(Json(EmbeddingList {
        object: "list",
        data: data.collect(),
        model: format!("{}-{}", embedder.id(), embedder.version()),
        usage: json!({"prompt_tokens": tokens, "total_tokens": tokens}),
    }))
}

fn written(vector: &UnitVector, encoding: Encoding) -> Value {
    match encoding {
        Encoding::Float => json!(vector.as_slice()),
        Encoding::Base64 => Value::String(STANDARD.encode(vector.to_bytes())),
    }
}
