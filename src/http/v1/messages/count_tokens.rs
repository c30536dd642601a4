//! `POST /v1/messages/count_tokens`: the estimated size of a request, in the dialect of Anthropic.
//!
//! The provider is not asked: it would get the messages of the caller without a verdict and without a
//! trace in the event log.

use actix_web::{
    HttpRequest,
    web::{Data, Json},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::{
    http::{
        AppState, Problem,
        access::{Authorized, permission},
        body::JsonBody,
        engine::EngineCall,
        problem::responses::CountProblems,
    },
    llm::TOKEN_CHARS,
};

/// Tokens of an image: Anthropic scales larger ones down to this.
const IMAGE_TOKENS: u64 = 1_600;
/// Tokens that surround a message, and a definition of a tool.
const FRAME_TOKENS: u64 = 4;

/// A request whose tokens are counted. Other fields are ignored.
#[derive(Deserialize, ToSchema)]
pub struct CountRequest {
    /// The model, or `engine/model`.
    #[serde(default)]
    model: Option<String>,
    #[schema(value_type = Vec<Object>)]
    messages: Vec<Value>,
    #[serde(default)]
    #[schema(value_type = Object)]
    system: Value,
    #[serde(default)]
    #[schema(value_type = Vec<Object>)]
    tools: Vec<Value>,
}

/// The tokens of a request.
#[derive(Debug, Serialize, ToSchema)]
pub struct TokenCount {
    /// An estimate by the length of the texts.
    input_tokens: u64,
}

/// Estimate the tokens of a request (Anthropic dialect).
///
/// The estimate counts the texts, the definitions of tools and the images. No model is asked.
#[utoipa::path(
    post,
    path = "/v1/messages/count_tokens",
    tag = "compatible",
    request_body = CountRequest,
    responses(
        (status = 200, description = "The estimate", body = TokenCount),
        CountProblems,
    )
)]
pub async fn post(
    authorized: Authorized<permission::Generate>,
    state: Data<AppState>,
    request: HttpRequest,
    JsonBody(body): JsonBody<CountRequest>,
) -> Result<Json<TokenCount>, Problem> {
    let model = body.model.as_deref();
    EngineCall::for_model(authorized, &state, &request, model).await?;
    Ok(Json(TokenCount { input_tokens: body.tokens() }))
}

impl CountRequest {
    fn tokens(&self) -> u64 {
        let frames = (self.messages.len() + self.tools.len()) as u64 * FRAME_TOKENS;
        let mut size = Size::default();
        self.messages.iter().chain([&self.system]).for_each(|value| size.add(value));
        // the model reads the definition of a tool as JSON
        let tools: usize = self.tools.iter().map(|tool| tool.to_string().chars().count()).sum();
        let texts = (size.chars + tools).div_ceil(TOKEN_CHARS) as u64;
        texts + size.images * IMAGE_TOKENS + frames
    }
}

#[derive(Default)]
struct Size {
    chars: usize,
    images: u64,
}

impl Size {
    fn add(&mut self, value: &Value) {
        match value {
            Value::String(text) => self.chars += text.chars().count(),
            Value::Array(parts) => parts.iter().for_each(|part| self.add(part)),
            Value::Object(fields) => {
                let kind = fields.get("type").and_then(Value::as_str).unwrap_or_default();
                if kind == "image" {
                    self.images += 1;
                    return;
                }
                for (name, value) in fields {
                    // not read by the model: the type of a part, the data of a file, its mark for a cache
                    let is_text = !["type", "role", "data", "cache_control", "signature"]
                        .contains(&name.as_str());
                    if is_text {
                        self.add(value);
                    }
                }
            }
            Value::Number(_) | Value::Bool(_) => self.chars += value.to_string().len(),
            Value::Null => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn tokens(body: Value) -> u64 {
        serde_json::from_value::<CountRequest>(body).unwrap().tokens()
    }

    #[test]
    fn texts_tools_and_images_are_counted_and_the_data_of_files_is_not() {
        let text = "x".repeat(400);
        let user = json!({"role": "user", "content": text});
        assert_eq!(tokens(json!({"messages": [user]})), 100 + 4);
        assert_eq!(tokens(json!({"messages": [user], "system": text, "max_tokens": 9})), 200 + 4);
        let part = json!({"type": "text", "text": text, "cache_control": {"type": "ephemeral"}});
        let parts =
            json!({"role": "user", "content": [part, {"type": "image", "source": {"data": text}}]});
        assert_eq!(tokens(json!({"messages": [parts]})), 100 + 1_600 + 4);
        let tool = json!({"name": "w", "input_schema": {"type": "object"}});
        let tools = tool.to_string().len().div_ceil(4) as u64;
        assert_eq!(tokens(json!({"messages": [], "tools": [tool]})), tools + 4);
    }
}
