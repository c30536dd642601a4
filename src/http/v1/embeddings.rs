//! `POST /v1/embeddings`: embeds texts with the embedder of an engine, in the dialect of `OpenAI`.
//!
//! Runs no step and records nothing.

use actix_web::{
    HttpRequest,
    web::{Data, Json},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::moderations::texts;
use crate::{
    domain::{confidence::is_blank, vector::UnitVector},
    http::{
        AppState, Code, Problem,
        access::{Authorized, permission},
        body::JsonBody,
        engine::EngineCall,
        problem::responses::EmbeddingProblems,
    },
    llm::estimate_tokens,
};

/// Upper bound of the texts of a request.
const INPUTS_MAX: usize = 256;

/// A request for embeddings.
#[derive(Deserialize, ToSchema)]
pub struct EmbeddingRequest {
    /// A string, or a list of up to 256 strings.
    #[schema(value_type = Object)]
    input: Value,
    /// `engine/model` selects an engine. The embedder is always that of the engine.
    model: Option<String>,
    /// `float` or `base64` (little-endian 32-bit floats).
    #[serde(default)]
    encoding_format: Encoding,
    /// Only the dimension of the engine's embedder is supported.
    dimensions: Option<usize>,
    /// Ignored.
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

/// Embeddings in the order of the texts.
#[derive(Debug, Serialize, ToSchema)]
pub struct EmbeddingList {
    object: &'static str,
    #[schema(value_type = Vec<Object>)]
    data: Vec<Value>,
    /// The embedder and its version.
    model: String,
    /// Estimated token counts.
    #[schema(value_type = Object)]
    usage: Value,
}

/// Embed texts (`OpenAI` dialect).
///
/// Uses the embedder of the engine. Runs no step and records nothing. All vectors have length 1.
#[utoipa::path(
    post,
    path = "/v1/embeddings",
    tag = "compatible",
    request_body = EmbeddingRequest,
    responses(
        (status = 200, description = "One vector per text, in the order of the texts", body = EmbeddingList),
        EmbeddingProblems,
    )
)]
pub async fn post(
    authorized: Authorized<permission::Generate>,
    state: Data<AppState>,
    request: HttpRequest,
    JsonBody(body): JsonBody<EmbeddingRequest>,
) -> Result<Json<EmbeddingList>, Problem> {
    let texts = texts(&body.input, INPUTS_MAX)?;
    if texts.iter().any(|text| is_blank(text)) {
        return Err(Problem::new(
            Code::PromptBlank,
            "input contains a blank text; send at least one word in each",
        ));
    }
    let model = body.model.as_deref();
    let (call, _) = EngineCall::for_model(authorized, &state, &request, model).await?;
    let embedder = call.engine.embedder();
    if body.dimensions.is_some_and(|dimensions| dimensions != embedder.dimension()) {
        let detail =
            format!("dimensions must be {}, that of the engine's embedder", embedder.dimension());
        return Err(Problem::new(Code::BadField, detail));
    }
    let vectors = embedder.embed_all(&texts).await?;
    let data = vectors.iter().enumerate().map(|(index, vector)| {
        json!({
            "object": "embedding", "index": index, "embedding": encoded(vector, body.encoding_format),
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

fn encoded(vector: &UnitVector, encoding: Encoding) -> Value {
    match encoding {
        Encoding::Float => json!(vector.as_slice()),
        Encoding::Base64 => Value::String(STANDARD.encode(vector.to_bytes())),
    }
}
